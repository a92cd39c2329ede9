"""Real mail servers for the tests: Postfix and Exim from Debian's packages, unpacked into build-mta by script/setup and run from there.

Nothing of an installed mail server is read, written or started. Both want to begin as root; needs() tells a test why it cannot run.
"""
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from door import AS_ROOT, PATIENCE, ROOT

UNPACKED = ROOT / "build-mta"
OWNER = "daemon"  # an account and a group that every Debian has, in the place of postfix and postdrop
GROUP = "games"


def needs_root():
    if not AS_ROOT:
        pytest.skip("Postfix and Exim begin as root, and this is not root")


def unpacked(path):
    found = UNPACKED / path
    if not found.exists():
        pytest.skip(f"{path} is not unpacked: script/setup test does that")
    return found


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(true, what, patience=PATIENCE):
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, f"not within {patience} s: {what() if callable(what) else what}"
        time.sleep(0.02)


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def end_session(process):
    """End that process and whatever it started; all are in a session of their own."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[3]) == process.pid:
                os.kill(int(stat.parent.name), signal.SIGKILL)
        except (OSError, ValueError):
            continue


class Postfix:
    """A Postfix that sends everything to relayhost, and whose smtpd (if asked for) takes the PROXY protocol and delivers to a Maildir.

    smtpd: True, or what stands behind -o in place of that; more: further lines of main.cf."""

    def __init__(self, folder, relayhost=None, smtpd=False, more=""):
        needs_root()
        self.daemons = unpacked("postfix/usr/lib/postfix/sbin")
        self.libraries = unpacked("postfix/usr/lib/postfix")
        self.sbin = unpacked("postfix/usr/sbin")
        self.folder = Path(folder)
        self.config, self.queue, self.data, self.mail = (self.folder / n for n in ("etc", "spool", "data", "mail"))
        self.log_path = self.folder / "log"
        self.smtpd = {"smtpd_upstream_proxy_protocol": "haproxy"} if smtpd is True else smtpd or {}
        self.more = more
        self.relayhost, self.port = relayhost, free_port() if smtpd is not False else None
        self.process = None
        self.environment = {**os.environ, "LD_LIBRARY_PATH": str(self.libraries), "MAIL_CONFIG": str(self.config)}

    def write(self):
        for path in (self.config, self.queue, self.data, self.mail):
            path.mkdir(parents=True)
        owner = pwd.getpwnam(OWNER)
        for name in ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "maildrop", "private", "public", "saved", "trace"):
            (self.queue / name).mkdir()
            os.chown(self.queue / name, owner.pw_uid, 0)
        (self.queue / "pid").mkdir()
        shutil.chown(self.queue / "maildrop", OWNER, GROUP)
        (self.queue / "maildrop").chmod(0o730)
        shutil.chown(self.queue / "public", OWNER, GROUP)
        (self.queue / "public").chmod(0o710)
        shutil.chown(self.data, OWNER, OWNER)
        nobody = pwd.getpwnam("nobody")
        os.chown(self.mail, nobody.pw_uid, nobody.pw_gid)
        (self.config / "main.cf").write_text(f"""
compatibility_level = 3.6
maillog_file = {self.log_path}
maillog_file_prefixes = {self.folder}
queue_directory = {self.queue}
data_directory = {self.data}
daemon_directory = {self.daemons}
command_directory = {self.sbin}
mail_owner = {OWNER}
setgid_group = {GROUP}
import_environment = MAIL_CONFIG LD_LIBRARY_PATH={self.libraries}
export_environment = MAIL_CONFIG LD_LIBRARY_PATH={self.libraries}
myhostname = postfix.example.net
mynetworks = 127.0.0.0/8
inet_protocols = ipv4
mydestination =
alias_maps =
local_recipient_maps =
smtpd_recipient_restrictions = reject_unauth_destination
smtpd_relay_restrictions =
smtpd_peername_lookup = no
smtp_tls_security_level = none
disable_dns_lookups = yes
smtp_host_lookup = native
minimal_backoff_time = 1s
queue_run_delay = 1s
maximal_backoff_time = 2s
transport_retry_time = 1s
relayhost = {self.relayhost or ''}
default_transport = smtp
""" + (f"""
virtual_mailbox_domains = example.org
virtual_mailbox_maps = static:victim/
virtual_mailbox_base = {self.mail}
virtual_uid_maps = static:{nobody.pw_uid}
virtual_gid_maps = static:{nobody.pw_gid}
""" if self.port else "") + self.more)
        options = "".join(f" -o {name}={value}" for name, value in self.smtpd.items())
        smtpd = f"127.0.0.1:{self.port} inet n - n - - smtpd{options}\n" if self.port else ""
        (self.config / "master.cf").write_text(smtpd + """pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
""")

    def start(self):
        """Also after a stop()."""
        if not self.config.exists():
            self.write()
        with open(self.folder / "output", "ab") as out:
            self.process = subprocess.Popen([str(self.daemons / "master"), "-c", str(self.config), "-d"], env=self.environment, stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=out, start_new_session=True)
        wait_until(lambda: (self.queue / "public" / "pickup").exists() or self.process.poll() is not None, "Postfix is up")
        if self.port:
            wait_until(lambda: answers(self.port), "Postfix listens")
        assert self.process.poll() is None, self.log()
        return self

    def submit(self, sender, recipient, message):
        subprocess.run([str(self.sbin / "sendmail"), "-C", str(self.config), "-f", sender, recipient], input=message, text=True, env=self.environment, check=True,
                       timeout=PATIENCE, capture_output=True)

    def log(self):
        return "".join(p.read_text(errors="replace") for p in (self.log_path, self.folder / "output") if p.exists())

    def wait_log(self, text):
        wait_until(lambda: text in self.log(), f"{text!r} in the log of Postfix:\n{self.log()}")

    def stop(self):
        if self.process:
            end_session(self.process)


def exim_message(folder, port, sender, recipient, message):
    """Exim sends one message through the door at once; what it logged. It gets a passwd of its own, since its package compiled an account in."""
    needs_root()
    exim = unpacked("exim4/usr/sbin/exim4")
    folder = Path(folder)
    spool, config = folder / "spool", folder / "exim.conf"
    for path in (spool, folder / "log"):
        path.mkdir(parents=True)
        shutil.chown(path, OWNER, OWNER)
    config.write_text(f"""
exim_path = {exim}
exim_user = {OWNER}
exim_group = {OWNER}
spool_directory = {spool}
log_file_path = {folder}/log/%s
primary_hostname = exim.example.net
keep_environment =
trusted_users = root
tls_advertise_hosts =
qualify_domain = example.net
begin routers
door:
  driver = manualroute
  domains = *
  transport = door
  route_list = * 127.0.0.1 byname
  self = send
begin transports
door:
  driver = smtp
  port = {port}
  allow_localhost
  hosts_avoid_tls = *
  hosts_try_chunking =
  hosts_try_prdr =
begin retry
* * F,1h,1m
""")
    config.chmod(0o644)
    folder.chmod(0o755)
    for name in ("passwd", "group"):
        own = folder / name
        row = {"passwd": "Debian-exim:x:64042:64042::/nonexistent:/usr/sbin/nologin\n", "group": "Debian-exim:x:64042:\n"}[name]
        text = Path("/etc", name).read_text()
        own.write_text(text if "Debian-exim" in text else text + row)
    binds = "".join(f"mount --bind {folder}/{name} /etc/{name} && " for name in ("passwd", "group"))
    command = f'{binds}exec "$@"'
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no mount namespace of one's own is allowed here")
    done = subprocess.run(["unshare", "-m", "sh", "-c", command, "sh", str(exim), "-C", str(config), "-odf", "-f", sender, recipient], input=message, text=True,
                          capture_output=True, timeout=60, check=False)
    log = "".join(p.read_text() for p in (folder / "log").glob("*"))
    return done.returncode, done.stdout + done.stderr + log
