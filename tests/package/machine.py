"""A Debian of its own, made by debootstrap: systemd boots in it as process 1, in namespaces, and nothing of it is left afterwards."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PATIENCE = 60


def cgroup():
    """A folder in the second hierarchy of control groups, where there is one."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, at, kind, *_ = line.split(" ")
        if kind == "cgroup2":
            return Path(at)
    return None


class Machine:
    def __init__(self, base, files, init=("/lib/systemd/systemd",)):
        self.at = Path(tempfile.mkdtemp(prefix="tarry-machine-"))
        self.group = cgroup() / f"tarry-test-{os.getpid()}-{self.at.name[-8:]}"
        self.group.mkdir()
        self.init = init
        command = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child", "bash", HERE / "machine.sh", base, self.at, *files]
        # The shell is in the control group first, so that the group's root is what the machine sees as its own.
        self.process = subprocess.Popen(["sh", "-c", 'echo $$ >"$0/cgroup.procs"; exec "$@"', str(self.group), *map(str, command)], env={**os.environ, "INIT": " ".join(init)})
        self.pid = self.find_init()

    def find_init(self):
        """The process that is 1 inside: when it has become what it is to be, the disk is in its place."""
        def found():
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            return int(children[0]) if children and Path(f"/proc/{children[0]}/comm").read_text().strip() == Path(self.init[0]).name else None
        return self.wait(found, "the machine is there")

    def wait(self, true, what):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            assert self.process.poll() is None, "the machine has stopped"
            value = true()
            if value:
                return value
            time.sleep(0.02)
        raise AssertionError(f"{what}: not within {PATIENCE} s")

    def run(self, text, check=True, timeout=300):
        done = subprocess.run(["nsenter", "-t", str(self.pid), "-m", "-n", "-p", "-u", "-i", "-C", "-r", "-w", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C",
                               "DEBIAN_FRONTEND=noninteractive", "sh", "-c", text], capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL)
        assert not check or done.returncode == 0, f"{text}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def path(self, name):
        return Path(f"/proc/{self.pid}/root{name}")

    def connect(self, port, source):
        """A socket in the machine's network: made while this thread is there."""
        s = None
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
        try:
            setns(there)
            s = socket.socket()
        finally:
            setns(here)
            os.close(here)
            os.close(there)
        s.settimeout(PATIENCE)
        try:
            s.bind((source, 0))
            s.connect(("127.0.0.1", port))
        except OSError:
            s.close()
            raise
        return s

    def get(self, port, path):
        """What a web server in the machine has, when it is there."""
        def answer():
            try:
                s = self.connect(port, "127.0.0.1")
            except ConnectionRefusedError:
                return None
            with s:
                s.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                data = b""
                while more := s.recv(65536):
                    data += more
            return data.decode()
        return self.wait(answer, f"port {port} answers")

    def stop(self):
        self.process.send_signal(signal.SIGKILL)  # takes its child along, and that one everything in the machine
        self.process.wait()
        end = time.monotonic() + PATIENCE
        while Path(f"/proc/{self.pid}").exists() and time.monotonic() < end:
            time.sleep(0.02)
        for folder in sorted((p for p in self.group.rglob("*") if p.is_dir()), reverse=True):
            folder.rmdir()
        self.group.rmdir()
        shutil.rmtree(self.at)


def setns(fd):
    import ctypes
    if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000) != 0:
        raise OSError(ctypes.get_errno(), "setns")
