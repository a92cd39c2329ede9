"""What it costs to start a mail server for each client: Tarry's exec beside tcpserver and inetd, each with the same program, in one run."""
import os
import pwd
import re
import shutil
import socket
import time

from measure import Table, median, say
from servers import Server, Tarry, Unavailable, read, tree, unpack

MOST = 200  # sessions at the same time, for all of them


class Program:
    """What is started: its arguments, and the account it begins as."""

    def __init__(self, name, arguments, user="nobody"):
        self.name, self.arguments, self.user = name, [str(a) for a in arguments], user


class Placed(Server):
    """A server that is started where the accounts of `binds` are those of the machine."""
    binds = ""

    def under(self, command):
        return ["unshare", "-m", "sh", "-c", f'{self.binds}exec "$@"', "sh", *command] if self.binds else command

    def pids_of(self, *names):
        return [pid for pid in tree(self.process.pid) if any(read(f"/proc/{pid}/comm").startswith(name) for name in names)]

    def own(self):
        """CPU of its own processes so far, ns, without that of the programs."""
        return sum(int((read(f"/proc/{pid}/schedstat") or "0").split()[0]) for pid in self.pids_of(*self.names))


class TarryExec(Placed, Tarry):
    label, names = "Tarry", ("tarry",)

    def __init__(self, folder, port, build, program, binds=""):
        Tarry.__init__(self, folder, port, build, 0, options=["max_per_client = 0"])
        self.binds = binds
        arguments = ", ".join(f'"{a}"' for a in program.arguments)
        section = f'backend "program" {{ exec = {{ {arguments} }}  user = {program.user}  max = {MOST} }}\n'
        text = re.sub(r'backend "inside".*\n', lambda _: section, read(self.config))
        with open(self.config, "w") as f:
            f.write(text)

    def command(self):
        return self.under(Tarry.command(self))


class Tcpserver(Placed):
    label, names = "tcpserver", ("tcpserver",)

    def __init__(self, folder, port, peers, program, binds=""):
        super().__init__(folder, port)
        self.binds = binds
        account = pwd.getpwnam(program.user)
        binary = unpack(peers, "ucspi-tcp", "usr/bin/tcpserver") + "/usr/bin/tcpserver"
        self.args = [binary, "-H", "-R", "-l0", f"-c{MOST}", "-b4096", f"-u{account.pw_uid}", f"-g{account.pw_gid}", "127.0.0.1", str(port), *program.arguments]

    def command(self):
        return self.under(self.args)


class Inetd(Placed):
    label, names = "inetd", ("inetd",)

    def __init__(self, folder, port, peers, program, binds=""):
        super().__init__(folder, port)
        self.binds = binds
        self.binary = unpack(peers, "openbsd-inetd", "usr/sbin/inetd") + "/usr/sbin/inetd"
        self.config = os.path.join(folder, "inetd.conf")
        with open(self.config, "w") as f:
            f.write(f"127.0.0.1:{port} stream tcp nowait.1000000 {program.user} {program.arguments[0]} {' '.join(program.arguments)}\n")

    def command(self):
        return self.under([self.binary, "-i", "-q", "4096", self.config])


def exim(bench, folder):
    """Exim from its package, which takes messages into a queue that nobody delivers; (program, binds)."""
    root = unpack(bench.peers, "exim4-daemon-light", "usr/sbin/exim4")
    os.makedirs(folder)
    os.chmod(folder, 0o755)
    for name in ("spool", "log"):
        os.makedirs(os.path.join(folder, name))
        shutil.chown(os.path.join(folder, name), "daemon", "daemon")
    binds = ""
    for name, row in (("passwd", "Debian-exim:x:64042:64042::/nonexistent:/usr/sbin/nologin\n"), ("group", "Debian-exim:x:64042:\n")):
        text = read(f"/etc/{name}")
        with open(os.path.join(folder, name), "w") as f:
            f.write(text if "Debian-exim" in text else text + row)
        binds += f"mount --bind {folder}/{name} /etc/{name} && "
    config = os.path.join(folder, "exim.conf")
    with open(config, "w") as f:
        f.write(f"""exim_path = {root}/usr/sbin/exim4
exim_user = daemon
exim_group = daemon
spool_directory = {folder}/spool
log_file_path = {folder}/log/%s
primary_hostname = exim.example.org
keep_environment =
tls_advertise_hosts =
queue_only
smtp_accept_max_per_connection = 0
acl_smtp_rcpt = everybody
begin acl
everybody:
  accept
""")
    return Program("exim4 -bs, into its queue", [f"{root}/usr/sbin/exim4", "-bs", "-C", config], "root"), binds


def one(bench, server, count, **options):
    begin, own = time.monotonic(), server.own()
    answer = bench.load("mail", server, count, parallel=50, **options)
    seconds = time.monotonic() - begin
    time.sleep(0.1)  # what is left to be closed
    return {"rate": answer["acked"] / seconds, "own": (server.own() - own) / count / 1000}


def handed_over(server, clients=20, messages=200):
    """µs of the door's CPU for each message of connections that have been handed over already."""
    conversations = []
    for _ in range(clients):
        s = socket.create_connection(("127.0.0.1", server.port), 20)
        s.recv(1000)
        conversations.append(s)
    time.sleep(0.5)  # the door has nothing more to do for them
    own = server.own()
    for _ in range(messages):
        for s in conversations:
            for line in (b"MAIL FROM:<a@example.net>\r\n", b"RCPT TO:<b@example.org>\r\n", b"DATA\r\n", b"x" * 2000 + b"\r\n.\r\n"):
                s.sendall(line)
                s.recv(1000)
    used = (server.own() - own) / clients / messages / 1000
    for s in conversations:
        s.close()
    return used


def exec_(bench):
    if os.geteuid() != 0:
        raise Unavailable("programs run as another account, and that takes root")
    programs = [(Program("a program that does next to nothing", [os.path.join(bench.build, "bench", "inetd_sink")]), "", 2000 if bench.quick else 10000)]
    try:
        programs.append((*exim(bench, os.path.join(bench.work, "exim")), 300 if bench.quick else 1000))
    except Unavailable as e:
        say(f"  left out: {e}")
    table = Table("A program for each client", f"The same program started by Tarry's exec (pause 0), by tcpserver and by Debian's inetd, {MOST} at a time at most for the first two; one message of 2 KB in each connection, 50 connections at a time. "
                  "CPU: of the server's own processes, without the program's (and, for all of them, without what the forked process does before it is the program). At the end: what the door itself uses while 20 connections that it has handed over send 200 messages each. Each starts its programs in sessions of their own but tcpserver, and the scheduler shares a busy machine among sessions: an earlier run on a busier one gave 0.94 of tcpserver with the small program and 0.86 of inetd with Exim. Tarry's own processes, three of them in place of one, use more for a connection than either.",
                  ["program", "started by", "messages/s", "Tarry ÷ this", "its own CPU, µs a connection"])
    for program, binds, count in programs:
        say(f" {program.name}")
        servers = {"Tarry": bench.start("tarry", TarryExec, bench.build, program, binds), "tcpserver": bench.start("tcpserver", Tcpserver, bench.peers, program, binds),
                   "inetd": bench.start("inetd", Inetd, bench.peers, program, binds)}
        servers = {name: s for name, s in servers.items() if s}
        got = {name: [] for name in servers}
        more = []
        for i in range(bench.rounds):
            for name in list(servers)[i % len(servers):] + list(servers)[:i % len(servers)]:
                got[name].append(one(bench, servers[name], count))
                say(f"  {name:<10} {got[name][-1]['rate']:8.0f} messages/s  {got[name][-1]['own']:6.1f} µs")
            if binds == "":
                more.append(handed_over(servers["Tarry"]))
                say(f"  handed over {more[-1]:.3f} µs of the door's CPU a message")
        for name, rounds in got.items():
            against = median([t["rate"] / r["rate"] for t, r in zip(got["Tarry"], rounds)])
            table.rows.append([program.name, name, f"{median([r['rate'] for r in rounds]):.0f}", f"{against:.2f}" if name != "Tarry" else "", f"{median([r['own'] for r in rounds]):.1f}"])
            if name != "Tarry":
                table.judge(f"{program.name}: Tarry ÷ {name}, messages/s", against, 0.95, "×", least=True)
        if more:
            table.judge("the door's CPU for a message after the hand-over", median(more), 0.1, " µs")
    return table


EXEC_MEASUREMENTS = {"exec": exec_}
