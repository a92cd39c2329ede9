"""A machine of its own for each mail server: this one's files with others laid over them, networks and processes that nobody else sees.

Debian's packages are unpacked into it as dpkg would, so a configuration can be written there with the paths, ports, accounts and addresses that an
administrator would use. Nothing of it is left when it ends. Wants root; where the kernel does not let us, a test is skipped and says so.
"""
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from mta import needs_root, unpacked, wait_until

# Where clients come from: addresses for documentation, which no other interface has.
CLIENT4, OTHER4, CLIENT6, SERVER4, SERVER6 = "192.0.2.7", "192.0.2.8", "2001:db8:7::7", "192.0.2.1", "2001:db8:1::1"
CROWD = ["198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4"]
CLONE_NEWNET = 0x40000000

# The first process there ends with us and takes the others with it. It waits for its children, as the first process has to.
BEGIN = r"""
set -e
folder=$1 root=$1/root
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty "$root/dev"
for path in tmp run; do mount -t tmpfs -o mode=1777 tmpfs "$root/$path"; done
ln -sfn /run "$root/var/run"
ip link set lo up
hostname mail.example.org
shift
for address in "$@"; do ip addr add "$address" dev lo; done
cd "$root"
exec chroot "$root" /bin/sh -c 'echo ready; while :; do sleep 1000 & wait; done'
"""

HOSTS = f"""127.0.0.1 localhost
::1 localhost
{SERVER4} mail.example.org
{SERVER6} mail.example.org
{CLIENT4} client.example.net
{CLIENT6} client6.example.net
"""


class Syslog(threading.Thread):
    """What is written to /dev/log there, as lines of a file there. Ends with its socket."""

    def __init__(self, machine, path):
        super().__init__(daemon=True)
        self.file = machine.path(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(machine.path("/dev/log")))
        machine.path("/dev/log").chmod(0o666)
        self.start()

    def run(self):
        with contextlib.suppress(OSError), open(self.file, "ab", buffering=0) as out:
            while line := self.socket.recv(8192):
                out.write(line.rstrip(b"\n\0") + b"\n")

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.join(5)
        self.socket.close()


def stat_fields(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


class Machine:
    """start() makes it, stop() ends all that runs in it."""

    def __init__(self, folder):
        needs_root()
        self.folder = Path(folder)
        self.holder = self.syslog = None
        self.pid = 0

    @property
    def root(self):
        return Path(f"/proc/{self.pid}/root")

    def path(self, name):
        return self.root / str(name).lstrip("/")

    def start(self, *packages):
        """Packages are folders of build-mta."""
        for path in ("upper", "work", "root"):
            (self.folder / path).mkdir(parents=True)
        addresses = [f"{a}/32" if "." in a else f"{a}/128" for a in (CLIENT4, OTHER4, CLIENT6, SERVER4, SERVER6, *CROWD)]
        first = ["sh", "-c", BEGIN, "sh", str(self.folder), *addresses]
        self.holder = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "-m", "-n", "-p", "-u", "--fork", "--kill-child", *first],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        if self.holder.stdout.readline() != "ready\n":
            why = self.holder.stderr.read().strip()
            self.holder.wait()
            pytest.skip(f"no machine of one's own is allowed here (unshare, overlay): {why}")
        self.pid = int(Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text().split()[0])
        for package in packages:
            self.unpack(unpacked(package))
        self.write("/etc/hosts", HOSTS)
        self.write("/etc/hostname", "mail.example.org\n")
        self.write("/etc/mailname", "mail.example.org\n")
        self.write("/etc/resolv.conf", "nameserver 127.0.0.53\noptions attempts:1 timeout:1\n")  # nobody answers there
        self.write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\nservices: files\nprotocols: files\n")
        self.syslog = Syslog(self, "/var/log/syslog")
        return self

    def unpack(self, folder):
        """As dpkg does: /lib and /bin stay the links that they are."""
        with subprocess.Popen(["tar", "-C", str(folder), "-c", "."], stdout=subprocess.PIPE) as tar:
            subprocess.run(["tar", "-C", str(self.root), "-x", "--keep-directory-symlink", "--no-same-owner"], stdin=tar.stdout, check=True)

    def inside(self, *arguments, user=None):
        change = ["setpriv", f"--reuid={user}", "--regid=" + user, "--clear-groups"] if user else []
        return ["nsenter", "-t", str(self.pid), "-m", "-n", "-p", "-u", "-r", "-w", "--", *change, *map(str, arguments)]

    def run(self, *arguments, expect=0, patience=60, **options):
        done = subprocess.run(self.inside(*arguments), capture_output=True, timeout=patience, check=False, **{"text": True, **options})
        assert expect is None or done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def popen(self, *arguments, output="/var/log/output", **options):
        with open(self.path(output), "ab") as out:
            return subprocess.Popen(self.inside(*arguments), **{"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out, "start_new_session": True, **options})

    def write(self, name, text, mode=0o644):
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            path.unlink()
        path.write_text(text)
        path.chmod(mode)

    def read(self, name):
        path = self.path(name)
        return path.read_text(errors="replace") if path.exists() else ""

    def bind(self, ours, theirs):
        """A folder of this machine, seen there."""
        subprocess.run(["nsenter", "-t", str(self.pid), "-m", "mount", "--bind", str(ours), f"{self.folder}/root{theirs}"], check=True)

    def account(self, name, home="/nonexistent", make=False):
        if self.run("id", name, expect=None).returncode != 0:
            self.run("useradd", "--system", "--user-group", "--home-dir", home, "--shell", "/bin/sh" if make else "/usr/sbin/nologin", name)
        if make:
            self.run("install", "-d", "-o", name, "-g", name, "-m", "755", home)

    def group(self, name):
        self.run("groupadd", "--system", "--force", name)

    @contextlib.contextmanager
    def network(self):
        """Sockets made within are sockets of this machine; the calling thread's only."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net", "rb") as ours, open(f"/proc/{self.pid}/ns/net", "rb") as theirs:
            if libc.setns(theirs.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            try:
                yield
            finally:
                libc.setns(ours.fileno(), CLONE_NEWNET)

    def connect(self, port=25, source=CLIENT4, patience=15):
        """A client's socket, to the address of the same family as its own."""
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        with self.network():
            s = socket.socket(family, socket.SOCK_STREAM)
        s.settimeout(patience)
        s.bind((source, 0))
        s.connect((SERVER6 if family == socket.AF_INET6 else SERVER4, port))
        return s

    def listens(self, port, address="127.0.0.1"):
        with self.network():
            s = socket.socket()
        try:
            s.settimeout(5)
            return s.connect_ex((address, port)) == 0
        finally:
            s.close()

    def wait_listens(self, port, process, said):
        wait_until(lambda: self.listens(port) or process.poll() is not None, f"port {port} is listened on")
        assert process.poll() is None, said()

    def members(self):
        """Every process in it but the first, as numbers of this machine: zombies do not count."""
        space = os.readlink(f"/proc/{self.pid}/ns/pid")
        found = set()
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if int(path.name) != self.pid and os.readlink(path / "ns/pid") == space and (stat_fields(path.name) or "Z")[0] not in "ZX":
                    found.add(int(path.name))
        return found

    def tree(self, pid):
        """That process and what it has started; its number is nsenter's."""
        found, more = {pid}, True
        while more:
            more = {m for m in self.members() - found if int((stat_fields(m) or [0, 0])[1]) in found}
            found |= more
        return found

    def end(self, process, others=frozenset(), number=signal.SIGTERM):
        """End that server: its tree, and whatever is not among others (of nobody else)."""
        tree = self.tree(process.pid) if process.poll() is None else set()
        for pid in (tree - {process.pid}) if number == signal.SIGTERM else ((tree | self.members()) - set(others)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        deadline = time.monotonic() + 5
        while (left := self.members() - set(others)) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def stop(self):
        if self.holder is None:
            return
        if self.syslog:
            self.syslog.close()
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.holder.kill()
        self.holder.wait()
