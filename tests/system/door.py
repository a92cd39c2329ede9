"""A running door: the real binary with a configuration, an access file and a folder of its own.

Nothing here sleeps for a pause. What a door has to say it says in its log, and wait_for() waits for that.
"""
import os
import pwd
import re
import signal
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
AS_ROOT = os.geteuid() == 0
ACCOUNT = "nobody"  # whom the roles run as when the tests run as root
PATIENCE = 20       # seconds until something that should happen at once counts as not happening

PAIR = re.compile(r'([A-Za-z_][A-Za-z0-9_.]*)=("(?:[^"\\]|\\.)*"|\S*)')
WRITER = re.compile(r"\S+ tarry\[([0-9]+)\] (\S+) ")
COMPLAINTS = ("event=sandbox_killed", "event=sandbox_denied", "event=sandbox_partial", "ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:", "Assertion", "SUMMARY: ")


def find_binary():
    """The binary under test: $TARRY, or the newest of the build folders."""
    if os.environ.get("TARRY"):
        return Path(os.environ["TARRY"]).resolve()
    found = [p for p in ROOT.glob("build*/**/tarry") if p.is_file() and os.access(p, os.X_OK)]
    return max(found, key=lambda p: p.stat().st_mtime) if found else None


def pairs(line):
    """The keys and values of a log line, and _pid and _role of who wrote it; quotes are taken off, escapes stay as the door wrote them."""
    found = {k: v[1:-1] if v.startswith('"') else v for k, v in PAIR.findall(line)}
    writer = WRITER.match(line)
    return {**found, "_pid": writer.group(1), "_role": writer.group(2)} if writer else found


def is_number(value):
    return re.fullmatch(r"[0-9]+[A-Za-z]*", value) is not None


def setting(name, value):
    if isinstance(value, (list, tuple)):
        return "%s = { %s }" % (name, ", ".join('"%s"' % v for v in value))
    value = str(value)
    return "%s = %s" % (name, value if is_number(value) or value in ("yes", "no") else '"%s"' % value)


def session_members(sid, of=None):
    """Processes of that session which still run (a zombie does not); of: the children of that one alone."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == sid and fields[0] not in "ZX" and of in (None, int(fields[1])):
            members.append(int(stat.parent.name))
    return sorted(members)


def name_of(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def status(pid, key):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return line.split(":", 1)[1].split()
    return []


def is_shut_in(pid):
    """It has its filter, which is the last thing that it waits for."""
    try:
        return status(pid, "Seccomp") == ["2"]
    except OSError:
        return True


def memory_kb(pid, kind="Pss"):
    """What the process has for itself and its share of the rest; Pss_Anon: the first alone. One that has ended has nothing."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith(kind + ":")), 0)


class Door:
    """Start with start(), end with stop(), which also checks that it ended well. Options are those of tarry.conf; a listener is an address, or (address, what stands in its braces)."""

    def __init__(self, binary, folder, access=None, listens=("127.0.0.1:0",), backends=None, limits=None, account=ACCOUNT, environment=None, **options):
        self.binary = str(binary)
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self.config = self.folder / "tarry.conf"
        self.log_path = self.folder / "log"
        self.access_path = self.folder / "access"
        self.mail = self.folder / "mail"
        self.listens, self.backends, self.limits = listens, backends or {}, limits or {}
        self.environment = {**os.environ, **(environment or {})}
        self.options = {"hostname": "mail.example.org", "fronts": 2, "mail_processes": 2, "accept_domains": ["example.org"],
                        "maildir": f"{self.mail}/%d/%u", "known_ttl": 0,  # a test's clients come more than once,
                        "explore": 0,  # and none of them is to wait longer by chance
                        "stop_timeout": 2000, "desk": ""}  # and its doors are several
        self.options.update(options)
        if access is not None:
            self.write_access(access)
            self.options.setdefault("access_db", [f"text:{self.access_path}"])
        if AS_ROOT:
            self.options.setdefault("user", account)
        self.verbatim = []  # lines for tarry.conf as they are
        self.expected = ()  # complaints that the test brings about
        self.process = None
        self.addresses = []

    def write_access(self, lines):
        """Replaced in one step, as an administrator's editor or configuration management does."""
        fresh = self.access_path.with_suffix(".new")
        fresh.write_text("".join(line + "\n" for line in lines), encoding="latin-1")
        fresh.chmod(0o644)
        fresh.rename(self.access_path)

    def write_config(self):
        self.mail.mkdir(exist_ok=True)
        if AS_ROOT:
            account = pwd.getpwnam(self.options.get("user", ACCOUNT))
            os.chown(self.mail, account.pw_uid, account.pw_gid)
        text = [setting(k, v) for k, v in self.options.items()] + self.verbatim
        text += ['listen "%s" { %s }' % ((at, "") if isinstance(at, str) else at) for at in self.listens]
        for name, (address, proxy) in self.backends.items():
            text.append('backend "%s" { address = "%s"  proxy = %s }' % (name, address, proxy))
        self.config.write_text("\n".join(text) + "\n")

    def spawn(self, *arguments):
        """Start it without waiting for anything."""
        self.write_config()

        def limit():
            import resource
            for what, value in self.limits.items():
                resource.setrlimit(getattr(resource, what), (value, value))

        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([self.binary, "serve", "-c", str(self.config), *arguments], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True, env=self.environment, preexec_fn=limit if self.limits else None)
        return self

    def start(self, *arguments):
        self.spawn(*arguments)
        self.await_listening()
        return self

    def await_listening(self):
        self.wait_for(lambda d: d.get("event") == "listening", count=len(self.listens))
        self.addresses = [split_port(d["at"]) for d in self.events("listening")]
        self.await_roles()

    def await_roles(self):
        """It listens before each of its roles has its name, by which tests find them, and is ready, which tests that measure times must not wait for."""
        deadline, shut_in = time.monotonic() + PATIENCE, time.monotonic() + 1
        while time.monotonic() < deadline:
            names = {pid: name_of(pid) for pid in self.children()}
            late = [pid for pid, name in names.items() if name in ("tarry-front", "tarry-mail", "tarry-lookup") and not is_shut_in(pid)]
            if name_of(self.process.pid) not in names.values() and (not late or time.monotonic() > shut_in or self.options.get("sandbox") == "off"):
                return
            time.sleep(0.002)

    @property
    def port(self):
        return self.addresses[0][1]

    @property
    def address(self):
        return self.addresses[0]

    def text(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log(self):
        """Whole lines: of one that is being written only a part may be there."""
        return [pairs(line) for line in self.text().rpartition("\n")[0].splitlines()]

    def events(self, name):
        return [d for d in self.log() if d.get("event") == name]

    def verdicts(self, name=None):
        return [d for d in self.log() if "verdict" in d and name in (None, d["verdict"])]

    def wait_for(self, wanted, count=1, patience=PATIENCE):
        """The log lines (as dicts) for which wanted() holds, once there are count of them."""
        deadline = time.monotonic() + patience
        while True:
            found = [d for d in self.log() if wanted(d)]
            if len(found) >= count:
                return found
            if self.process.poll() is not None:
                raise AssertionError(f"the door ended with {self.process.returncode}:\n{self.text()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(found)} of {count} log lines after {patience} s:\n{self.text()[-4000:]}")
            time.sleep(0.005)

    def wait_verdict(self, name, count=1, patience=PATIENCE):
        return self.wait_for(lambda d: d.get("verdict") == name, count, patience)

    def kill(self, number):
        self.process.send_signal(number)

    def counters(self):
        before = len(self.events("counters"))
        self.kill(signal.SIGUSR1)
        last = self.wait_for(lambda d: d.get("event") == "counters", before + 1)[-1]
        return {k: int(v) for k, v in last.items() if re.fullmatch(r"-?[0-9]+", v)}

    def members(self):
        """It and its roles."""
        return [p for p in session_members(self.process.pid) if p == self.process.pid] + self.children()

    def children(self):
        """Its roles; not what makes a role's filter, and is gone in a moment (sandbox_calls.c)."""
        return session_members(self.process.pid, of=self.process.pid)

    def end(self, number=signal.SIGTERM):
        """Ask it to end; what it returned."""
        if self.process.poll() is None:
            self.kill(number)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            for pid in session_members(self.process.pid):
                os.kill(pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError(f"did not end when asked to:\n{self.text()[-4000:]}") from None

    def stop(self):
        if self.process is None:
            return
        code = self.end()
        left = session_members(self.process.pid)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        text = self.text()
        found = [c for c in COMPLAINTS if c in text and c not in self.expected]
        assert not found, "\n".join([line for line in text.splitlines() if any(c in line for c in found)] + ["", text[-8000:]])
        assert code == 0, f"exit code {code}:\n{text[-4000:]}"
        assert not left, f"processes left: {left}"

    def messages(self, domain="example.org", user="victim"):
        return sorted(p for p in (self.mail / domain / user / "new").glob("*"))

    def stray_files(self):
        """Files that no delivery should leave behind."""
        return [p for p in self.mail.glob("**/tmp/*")]


def split_port(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
