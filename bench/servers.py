"""The servers that bench/run measures: Tarry, the floor, nginx's mail proxy, Postfix; how each is started, and what its processes cost.

A Server owns a process tree and a folder; stop() ends exactly that tree. CPU time is what the scheduler accounted to the tree's processes
(nanoseconds, /proc/PID/schedstat), and for those that have ended what their parent inherited; memory is the sum of their PSS.
"""
import contextlib
import glob
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time

HOST = "mail.example.org"
TICK = 1e9 / os.sysconf("SC_CLK_TCK")


class Unavailable(Exception):
    """This peer cannot be run here; the text says why."""


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read().decode("latin-1")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def stat_of(pid):
    """(name, fields after it) of /proc/PID/stat, or None when it is gone."""
    text = read(f"/proc/{pid}/stat")
    if not text:
        return None
    return text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()


def tree(root):
    children = {}
    for path in glob.glob("/proc/[0-9]*"):
        pid = int(path[6:])
        stat = stat_of(pid)
        if stat:
            children.setdefault(int(stat[1][1]), []).append(pid)
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


class Server:
    label = "server"

    def __init__(self, folder, port):
        self.folder, self.port, self.process = folder, port, None
        self.at = f"127.0.0.1:{port}"
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o755)

    def command(self):
        raise NotImplementedError

    def environment(self):
        return None

    def start(self):
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment(),
                                            start_new_session=True)
        deadline = time.monotonic() + 20
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = read(os.path.join(self.folder, "log"))[-2000:]
                self.stop()
                raise Unavailable(f"{self.label} did not start: {tail}")
            time.sleep(0.02)
        return self

    def answers(self):
        with contextlib.closing(socket.socket()) as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        if self.process is None:
            return
        pids = tree(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def pids(self):
        return tree(self.process.pid)

    def role(self, pid, name):
        """What the CPU time of a process is reported under."""
        return name

    def cpu(self):
        """{role: nanoseconds so far}; 'ended' is what processes used that are gone."""
        used = {}
        for pid in self.pids():
            stat = stat_of(pid)
            if not stat:
                continue
            role = self.role(pid, stat[0])
            for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
                used[role] = used.get(role, 0) + int((read(path) or "0").split()[0])
            inherited = (int(stat[1][13]) + int(stat[1][14])) * TICK
            if inherited:
                used["ended"] = used.get("ended", 0) + inherited
        return used

    def pss(self):
        """Bytes, over all processes."""
        total = 0
        for pid in self.pids():
            for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total

    def sockets(self):
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.pids() if os.path.isdir(f"/proc/{pid}/fd"))


class Floor(Server):
    label = "the floor"

    def __init__(self, folder, port, build, pause, processes=1, relay=None, listen=None):
        super().__init__(folder, port)
        self.args = [os.path.join(build, "bench", "floor"), listen or self.at, "--pause", str(pause), "--processes", str(processes), "--host", HOST]
        self.args += ["--relay", relay] if relay else []
        self.listen = listen

    def command(self):
        return self.args

    def answers(self):
        if not self.listen:
            return super().answers()
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as s:
            return s.connect_ex(self.listen[5:]) == 0


class Tarry(Server):
    label = "Tarry"

    def __init__(self, folder, port, build, pause, fronts=0, backend=None, level="info", options=(), proxy=None, section=""):
        super().__init__(folder, port)
        self.binary = tarry_binary(build)
        self.maildirs = os.path.join(folder, "mail")
        os.makedirs(self.maildirs, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.maildirs, "nobody")
        lines = [f'hostname = "{HOST}"', 'user = "nobody"', f"fronts = {fronts}", f"greet_pause = {pause}", "explore = 0", "max_connections = 20000",
                 'accept_domains = { "example.org" }', f'maildir = "{self.maildirs}/%d/%u"', f"log_level = {level}",
                 f'listen "{self.at}" {{ }}', *options]
        if not any(option.startswith("known_db") for option in options):
            lines.append('known_db = ""')  # what one run has learned is nothing to the next
        if not any(option.startswith("desk") for option in options):
            lines.append('desk = ""')
        lines.append(f'backend "inside" {{ address = "{backend or "mail:"}"{f" proxy = {proxy}" if proxy else ""} {section} }}')
        self.config = os.path.join(folder, "tarry.conf")
        with open(self.config, "w") as f:
            f.write("\n".join(lines) + "\n")

    def command(self):
        return [self.binary, "serve", "-c", self.config]

    def role(self, pid, name):
        return next((role for role in ("front", "mail", "known", "desk") if role in name), "parent")


def tarry_binary(build):
    for path in ("tarry", "src/tarry"):
        if os.access(os.path.join(build, path), os.X_OK):
            return os.path.join(build, path)
    raise Unavailable(f"no tarry in {build}: ninja -C {build}")


def unpack(peers, package, wanted):
    """The path of `wanted` as installed, or out of Debian's package, fetched and unpacked under `peers` and not installed. Its root comes back."""
    if os.path.exists("/" + wanted):
        return ""
    if not os.path.exists(os.path.join(peers, wanted)):
        os.makedirs(peers, exist_ok=True)
        got = subprocess.run(["apt-get", "download", package], cwd=peers, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        debs = glob.glob(os.path.join(peers, f"{package}_*.deb"))
        if not debs:
            raise Unavailable(f"{package} is not installed, and apt-get download {package} failed: {got.stdout.strip()[-300:]}")
        subprocess.run(["dpkg", "-x", debs[0], peers], check=True)
    return peers


class Nginx(Server):
    """nginx's mail proxy. `auth` is the port of an NginxAuth, `backend` the port it sends clients to."""
    label = "nginx"

    def __init__(self, folder, port, peers, pause, auth=9):
        super().__init__(folder, port)
        self.binary = unpack(peers, "nginx", "usr/sbin/nginx") + "/usr/sbin/nginx"
        module = unpack(peers, "libnginx-mod-mail", "usr/lib/nginx/modules/ngx_mail_module.so") + "/usr/lib/nginx/modules/ngx_mail_module.so"
        self.write(f"load_module {module};", f"""
mail {{
    server_name {HOST};
    auth_http 127.0.0.1:{auth}/;
    server {{
        listen {self.at} backlog=4096;
        protocol smtp;
        smtp_auth none;
        smtp_greeting_delay {pause}ms;
        xclient off;
        timeout 600s;
    }}
}}""")

    def write(self, load, section):
        with open(os.path.join(self.folder, "nginx.conf"), "w") as f:
            f.write(f"""{load}
daemon off;
{"user nobody nogroup;" if os.geteuid() == 0 else ""}
worker_processes {os.cpu_count()};
worker_rlimit_nofile 20000;
pid {self.folder}/pid;
error_log {self.folder}/error.log error;
events {{ worker_connections 19900; }}
{section}
""")

    def command(self):
        return [self.binary, "-e", f"{self.folder}/error.log", "-c", f"{self.folder}/nginx.conf"]


class NginxAuth(Nginx):
    """The answer that nginx's mail proxy asks for before it connects: a second nginx, so that its CPU can be told apart."""
    label = "nginx's auth_http"

    def __init__(self, folder, port, peers, backend):
        Server.__init__(self, folder, port)
        self.binary = unpack(peers, "nginx", "usr/sbin/nginx") + "/usr/sbin/nginx"
        temp = "\n".join(f"    {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        self.write("", f"""
http {{
    access_log off;
{temp}
    server {{
        listen {self.at};
        location / {{
            add_header Auth-Status OK;
            add_header Auth-Server 127.0.0.1;
            add_header Auth-Port {backend};
            return 200 "";
        }}
    }}
}}""")


POSTFIX_SERVICES = """
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
dnsblog unix - - n - 0 dnsblog
tlsproxy unix - - n - 0 tlsproxy
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix(Server):
    """postscreen on `port`, smtpd on port + 1, virtual into Maildirs. Runs from Debian's package without being installed: its programs find their
    libraries by LD_LIBRARY_PATH, and run as accounts that every Debian has. Master wants root."""
    label = "Postfix"

    def __init__(self, folder, port, peers, pause, action="enforce"):
        super().__init__(folder, port)
        if os.geteuid() != 0:
            raise Unavailable("Postfix's master has to be started as root")
        self.prefix = unpack(peers, "postfix", "usr/lib/postfix/sbin/master")
        self.daemons = f"{self.prefix}/usr/lib/postfix/sbin"
        self.config, self.queue, self.data = (os.path.join(folder, name) for name in ("etc", "spool", "lib"))
        self.maildirs = os.path.join(folder, "mail")
        self.owner, self.group = ("postfix", "postdrop") if not self.prefix else ("mail", "games")
        self.lay_out()
        nobody = pwd.getpwnam("nobody")
        with open(os.path.join(self.config, "main.cf"), "w") as f:
            f.write(f"""compatibility_level = 3.6
queue_directory = {self.queue}
data_directory = {self.data}
daemon_directory = {self.daemons}
command_directory = {self.prefix}/usr/sbin
shlib_directory = {self.prefix}/usr/lib/postfix
meta_directory = {self.config}
mail_owner = {self.owner}
setgid_group = {self.group}
default_privs = nobody
import_environment = MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LANG=C LD_LIBRARY_PATH
maillog_file = {folder}/maillog
maillog_file_prefixes = {folder}
myhostname = {HOST}
mydestination =
mynetworks = 192.0.2.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
biff = no
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_recipient_restrictions = reject_unauth_destination
default_process_limit = 200
in_flow_delay = 0
virtual_mailbox_domains = example.org
virtual_mailbox_base = {self.maildirs}
virtual_mailbox_maps = inline:{{ {" ".join(f"{{ user{n}@example.org = user{n}/ }}" for n in range(100))} }}
virtual_uid_maps = static:{nobody.pw_uid}
virtual_gid_maps = static:{nobody.pw_gid}
virtual_minimum_uid = 100
postscreen_access_list =
postscreen_greet_wait = {max(pause // 1000, 1)}s
postscreen_greet_action = {action}
postscreen_pre_queue_limit = 100000
postscreen_post_queue_limit = 100000
postscreen_client_connection_count_limit = 0
postscreen_command_count_limit = 100
""")
        with open(os.path.join(self.config, "master.cf"), "w") as f:
            f.write(f"{self.at} inet n - n - 1 postscreen\n127.0.0.1:{port + 1} inet n - n - - smtpd\nsmtpd pass - - n - - smtpd\n{POSTFIX_SERVICES}")

    def lay_out(self):
        owner, group = pwd.getpwnam(self.owner).pw_uid, grp.getgrnam(self.group).gr_gid
        os.makedirs(self.config, exist_ok=True)
        os.makedirs(self.queue, exist_ok=True)
        for name in ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace"):
            os.makedirs(os.path.join(self.queue, name), 0o700, exist_ok=True)
            os.chown(os.path.join(self.queue, name), owner, 0)
        os.makedirs(os.path.join(self.queue, "pid"), exist_ok=True)
        for name, mode in (("public", 0o710), ("maildrop", 0o730)):
            path = os.path.join(self.queue, name)
            os.makedirs(path, exist_ok=True)
            os.chown(path, owner, group)
            os.chmod(path, mode)
        os.makedirs(self.data, 0o700, exist_ok=True)
        os.chown(self.data, owner, 0)
        os.makedirs(self.maildirs, exist_ok=True)
        shutil.chown(self.maildirs, "nobody")

    def environment(self):
        return dict(os.environ, MAIL_CONFIG=self.config, LD_LIBRARY_PATH=f"{self.prefix}/usr/lib/postfix")

    def command(self):
        return [f"{self.daemons}/master", "-c", self.config, "-d"]


class PostfixQueue(Postfix):
    """A Postfix that takes every message into its queue and leaves it there: smtpd on `port`, and the same behind a PROXY header on port + 1."""

    def __init__(self, folder, port, peers):
        super().__init__(folder, port, peers, 1000)
        hold = "-o smtpd_recipient_restrictions=check_recipient_access,static:HOLD,reject_unauth_destination"
        with open(os.path.join(self.config, "master.cf"), "w") as f:
            f.write(f"{self.at} inet n - n - 200 smtpd {hold}\n127.0.0.1:{port + 1} inet n - n - 200 smtpd {hold} -o smtpd_upstream_proxy_protocol=haproxy\n{POSTFIX_SERVICES}")

    def forget(self):
        """The messages taken so far, so that a queue does not grow from round to round. Returns how many there were."""
        queue, gone = os.path.join(self.queue, "hold"), 0
        for folder, _, files in os.walk(queue):
            for name in files:
                os.unlink(os.path.join(folder, name))
                gone += 1
        return gone


class Splice(Server):
    """The bare splice loop."""
    label = "splice"

    def __init__(self, folder, port, build, backend):
        super().__init__(folder, port)
        self.build, self.backend = build, backend

    def command(self):
        return [os.path.join(self.build, "bench", "splice"), self.at, self.backend]


class Sink(Server):
    """Postfix's smtp-sink: a backend that takes every message and keeps none."""
    label = "smtp-sink"

    def __init__(self, folder, port, peers):
        super().__init__(folder, port)
        self.prefix = unpack(peers, "postfix", "usr/sbin/smtp-sink")

    def environment(self):
        return dict(os.environ, LD_LIBRARY_PATH=f"{self.prefix}/usr/lib/postfix")

    def command(self):
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        return [f"{self.prefix}/usr/sbin/smtp-sink", *user, "-F", "-C", "-m", "4000", self.at, "4000"]


class Postmap:
    """Postfix's postmap with the modules of its cdb: and lmdb:, and a configuration that is only its own. Needs no daemon and no root."""

    def __init__(self, folder, peers):
        self.prefix = unpack(peers, "postfix", "usr/sbin/postmap")
        self.config, self.made = folder, {}
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "dynamicmaps.cf"), "w") as f:
            for kind in ("cdb", "lmdb"):
                module = f"usr/lib/postfix/postfix-{kind}.so"
                f.write(f"{kind}\t{unpack(peers, f'postfix-{kind}', module)}/{module}\tdict_{kind}_open\tmkmap_{kind}_open\n")
        owner, group = ("postfix", "postdrop") if not self.prefix else ("mail", "games")
        with open(os.path.join(folder, "main.cf"), "w") as f:
            f.write(f"""compatibility_level = 3.6
meta_directory = {folder}
shlib_directory = {self.prefix}/usr/lib/postfix
mail_owner = {owner}
setgid_group = {group}
myhostname = {HOST}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
lmdb_map_size = 1073741824
""")

    def run(self, *args, **more):
        environment = dict(os.environ, LD_LIBRARY_PATH=f"{self.prefix}/usr/lib/postfix")
        got = subprocess.run([f"{self.prefix}/usr/sbin/postmap", "-c", self.config, *args], env=environment, stderr=subprocess.PIPE, check=False, **more)
        if got.stderr or got.returncode > 1:  # 1: the last key, or all, were not there
            raise Unavailable(f"postmap {args}: {got.stderr.decode(errors='replace')[-300:]}")

    def make(self, kind, path):
        """`made` is the processor time of it, seconds."""
        before = os.times()
        self.run(f"{kind}:{path}")
        after = os.times()
        self.made[kind] = after.children_user + after.children_system - before.children_user - before.children_system

    def ask(self, kind, path, keys):
        """All keys of a file; what is found goes nowhere."""
        self.run("-q", "-", f"{kind}:{path}", stdin=keys, stdout=subprocess.DEVNULL)
