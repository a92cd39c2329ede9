"""Faults on purpose: what is said to tests/system/faults.c, which sits in every process of a door; and clients that look at what comes of it.

The rules, whatever fails: nobody dies; what was acknowledged is in the Maildir, once and whole; nobody gets a message in who may not; and afterwards everybody is served as ever.
"""
import errno
import mmap
import os
import re
import socket
import struct
import subprocess
import threading
import time

from door import ROOT
from talk import read_line, read_reply

# Rows and columns of the table in faults.c.
ROLES = ["other", "parent", "child", "front", "mail", "lookup", "tls", "spawn", "known", "desk", "ban", "bans", "filter", "lookup-child"]
CLASSES = ["memory", "descriptor", "write", "send", "read", "sync", "names", "map", "fork", "connect", "epoll", "option", "log", "stat", "wait", "identity"]
SHORT, DIE, AFTER = 10000, 10001, 10002
# What each class of calls may fail with.
ERRORS = {
    "memory": [errno.ENOMEM], "descriptor": [errno.EMFILE, errno.ENFILE], "write": [errno.ENOSPC, errno.EIO, errno.EINTR, SHORT],
    "send": [errno.EPIPE, errno.EINTR, errno.ENOBUFS, SHORT], "read": [errno.ECONNRESET, errno.EINTR, SHORT], "sync": [errno.EIO], "names": [errno.ENOSPC, errno.EIO, AFTER],
    "map": [errno.ENOMEM], "fork": [errno.EAGAIN], "connect": [errno.ECONNREFUSED, errno.EAGAIN], "epoll": [errno.ENOSPC], "option": [errno.ENOBUFS],
    "log": [errno.EAGAIN, errno.ENOSPC, SHORT], "stat": [errno.EIO], "wait": [errno.EINTR, errno.ECHILD], "identity": [errno.EPERM, errno.EAGAIN],
}
LIBRARY = "tests/system/faults.so"
SIZE = 4096
FIELDS = {name: 8 * i for i, name in enumerate(["armed", "role", "class", "nth", "on", "error", "seen", "hits", "pid"])}
CALL, PROGRAM, FRAMES, NAMES, CALLS = 72, 104, 120, 248, 504


def library(binary):
    return next(p for p in (folder / LIBRARY for folder in binary.parents) if p.exists())


class Faults:
    def __init__(self, folder, binary):
        self.path, self.binary = folder / "faults", binary
        self.path.write_bytes(bytes(SIZE))
        self.path.chmod(0o666)
        with open(self.path, "r+b") as f:
            self.memory = mmap.mmap(f.fileno(), SIZE)
        for i, name in enumerate(ROLES):
            struct.pack_into("16s", self.memory, NAMES + 16 * i, name.encode())
        self.environment = {"LD_PRELOAD": str(library(binary)), "TARRY_FAULTS": str(self.path)}

    def put(self, **values):
        for name, value in values.items():
            struct.pack_into("<Q", self.memory, FIELDS[name], value)

    def get(self, name):
        return struct.unpack_from("<Q", self.memory, FIELDS[name])[0]

    def arm(self, role, kind, n, error, on=False):
        """The nth call of that kind fails, from now on counted; on: so do all that follow."""
        self.put(armed=0)
        self.put(role=ROLES.index(role), **{"class": CLASSES.index(kind)}, nth=n, on=int(on), error=error, seen=0, hits=0)
        self.put(armed=1)

    def disarm(self):
        self.put(armed=0)
        return self.get("hits")

    def calls(self):
        """{(role, kind): calls since the door started}"""
        return {(role, kind): struct.unpack_from("<Q", self.memory, CALLS + 8 * (16 * r + c))[0] for r, role in enumerate(ROLES) for c, kind in enumerate(CLASSES)}

    def where(self):
        """Which call failed first, and who called it."""
        call, program = (self.memory[at:at + size].split(b"\0")[0].decode() for at, size in ((CALL, 32), (PROGRAM, 16)))
        frames = [f"{at - 1:#x}" for at in struct.unpack_from("<16Q", self.memory, FRAMES) if at]
        out = subprocess.run(["addr2line", "-f", "-s", "-e", str(self.binary.parent / program), *frames], capture_output=True, text=True, check=False).stdout.split("\n")
        return f"{call} in {program}[{self.get('pid')}] < " + " < ".join(f"{name} {place}" for name, place in zip(out[::2], out[1::2]))


# ---- clients ----

PATIENT, EARLY, EXEMPT, PIPELINING, REFUSED = ("127.0.0.%d" % n for n in range(11, 16))
ACCESS = [f"GreetPause:{EARLY} 60000", f"GreetPause:{EXEMPT} 0", f"Connect:{REFUSED} REJECT", "GreetPause:127.0.0.99 5000"]
LINES = ["." * (1 + n % 3) + " a line of some length, number %d" % n for n in range(300)]
TIMEOUT = 10
LASTS = 0.3  # seconds that something fails which fails for good


class Visit(threading.Thread):
    """One client; afterwards: its subject, whether its message was acknowledged, what it was told last, and whether it was kept waiting."""

    def __init__(self, address, source, subject, script):
        super().__init__(daemon=True)
        self.address, self.source, self.subject, self.script = address, source, subject, script
        self.acknowledged, self.heard, self.hangs = False, [], False
        self.should = source in (PATIENT, EXEMPT, PIPELINING)
        self.recipients = ["victim"]
        self.start()

    def reply(self, s, wanted):
        """A reply; what is not wanted ends the visit."""
        line = read_reply(s)
        self.heard.append(line)
        if not line.startswith(wanted):
            raise ConnectionAbortedError
        return line

    def ask(self, s, text, wanted):
        s.sendall(text.encode() + b"\r\n")
        return self.reply(s, wanted)

    def message(self, subject=None):
        text = [f"Subject: {subject or self.subject}", "", *("." + line for line in LINES)]
        return "\r\n".join(text + ["."])

    def patient(self, s):
        self.reply(s, b"220")
        self.ask(s, "EHLO client.example.net", b"250")
        self.ask(s, "MAIL FROM:<sender@example.net>", b"250")
        self.ask(s, "RCPT TO:<victim@example.org>", b"250")
        self.ask(s, "DATA", b"354")
        self.ask(s, self.message(), b"250")
        self.acknowledged = True
        self.ask(s, "QUIT", b"221")

    def pipelining(self, s):
        self.reply(s, b"220")
        self.ask(s, "EHLO client.example.net", b"250")
        self.ask(s, "MAIL FROM:<sender@example.net>\r\nRCPT TO:<victim@example.org>\r\nDATA", b"250")
        self.reply(s, b"250")
        self.reply(s, b"354")
        s.sendall(self.message().encode() + b"\r\nQUIT\r\n")
        self.reply(s, b"250")
        self.acknowledged = True
        self.reply(s, b"221")

    def early(self, s):
        """Everything at once, and no reply makes it stop."""
        s.sendall(f"EHLO slammer\r\nMAIL FROM:<spam@example.net>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n{self.message()}\r\nQUIT\r\n".encode())
        while line := read_line(s):
            self.heard.append(line)
            if line[:3] == b"354" or line.startswith(b"250 2.0.0") and b"Message accepted" in line:
                self.acknowledged = True

    def run(self):
        try:
            with socket.socket() as s:
                s.settimeout(TIMEOUT)
                s.bind((self.source, 0))
                s.connect(self.address)
                getattr(self, self.script)(s)
        except TimeoutError:
            self.hangs = True
        except OSError:
            pass

    def __str__(self):
        return f"{self.subject} from {self.source}: {'acknowledged' if self.acknowledged else 'hangs' if self.hangs else 'not taken'}, heard {[h.decode('latin-1').strip() for h in self.heard[-2:]]}"


WHOLE = re.compile(r"^Subject: (\S+)$", re.M)


class Mailbox:
    """What has come since it was last asked."""

    def __init__(self, folder, user="victim"):
        self.folder, self.seen = folder / "example.org" / user / "new", set()

    def fresh(self, acknowledged=()):
        """{subject: [whether it is whole, of each copy]}"""
        found = {}
        for path in (p for p in self.folder.glob("*") if p.name not in self.seen):
            self.seen.add(path.name)
            text = path.read_text()
            subject = WHOLE.search(text)
            found.setdefault(subject.group(1) if subject else path.name, []).append(text.endswith("\n".join(["", *LINES, ""])) and len(WHOLE.findall(text)) == 1)
        return found


class Trial:
    """Clients of all kinds at a door of which something fails. wrong: what came of it and should not."""

    def __init__(self, door, mailbox):
        self.door, self.mailbox, self.number = door, mailbox, 0
        self.offset = 0

    def log(self):
        """What was logged since this was last asked."""
        with open(self.door.log_path, "rb") as f:
            f.seek(self.offset)
            text = f.read()
        text = text[:text.rfind(b"\n") + 1]
        self.offset += len(text)
        return text.decode(errors="replace")

    def visits(self):
        self.number += 1
        kinds = [("patient", PATIENT, "patient"), ("early", EARLY, "early"), ("exempt", EXEMPT, "patient"), ("pipelining", PIPELINING, "pipelining"), ("refused", REFUSED, "patient")]
        return [Visit(self.door.address, source, f"{self.number}-{name}", script) for name, source, script in kinds]

    def round(self, during, faults=None):
        """All of them at once, and during() beside them; what fails for good (faults) does so for a while only, and then those who still wait are served."""
        visits = self.visits()
        during()
        end = time.monotonic() + self.lasts
        while faults and time.monotonic() < end and self.goes_on(visits, faults):
            time.sleep(0.01)
        if faults:
            faults.disarm()
        for visit in visits:
            visit.join()
        return visits

    lasts = LASTS

    def goes_on(self, visits, faults):
        return any(visit.is_alive() for visit in visits)

    def judge(self, visits, mailbox=None):
        wrong = []
        found = (mailbox or self.mailbox).fresh([v.subject for v in visits if v.acknowledged])
        for v in visits:
            copies = found.pop(v.subject, [])
            if v.hangs:
                wrong.append(f"{v}: it was left waiting")
            if not v.should and (v.acknowledged or copies):
                wrong.append(f"{v}: it got in, {len(copies)} messages delivered")
            if len(copies) > 1 or not all(copies):
                wrong.append(f"{v}: copies (whole?) {copies}")
            if v.should and v.acknowledged and len(copies) != 1:
                wrong.append(f"{v}: acknowledged, and {len(copies)} delivered")
        wrong += [f"a message of nobody: {name}" for name in found]
        return wrong

    def told(self, text):
        """Whether what was logged, or is within a moment, says that something has failed."""
        deadline = time.monotonic() + 2
        while not TOLD.search(text) and time.monotonic() < deadline:
            time.sleep(0.02)
            text += self.log()
        return TOLD.search(text)

    def served_again(self):
        """What has failed has failed: a client that comes then is served. Roles that have ended may need a moment to come back."""
        deadline = time.monotonic() + 10
        while True:
            self.number += 1
            visit = Visit(self.door.address, EXEMPT, f"{self.number}-again", "patient")
            visit.join()
            wrong = self.judge([visit])
            if visit.acknowledged or wrong or time.monotonic() > deadline:
                return wrong if visit.acknowledged else wrong + [f"{visit}: and that some time after the fault"]
            time.sleep(0.05)


DIED = re.compile(r"event=role_died .*signal=.*|event=sandbox_(?:denied|killed)")
TOLD = re.compile(r" (?:error|warning) event=|verdict=(?:tempfail|nobackend|limit)|error=|reply=.?4")
SANITIZER = re.compile(r"ERROR: \w+Sanitizer|runtime error:|Assertion")


def deaths(text, killed=False, crashes=None):
    """Lines that no fault excuses. The C library's name service and libconfuse end a process that asks them without memory: those do nothing else. killed: a process of ours was; crashes: what may crash."""
    excused = re.compile("|".join(["nss_database|lexer\\.l:", *(["signal=Killed"] * killed), *([crashes] if crashes else [])]))
    return [line for line in text.splitlines() if (DIED.search(line) or SANITIZER.search(line)) and not excused.search(line)]


def spread(total, most):
    """Numbers from 1 to total: all, or so many of them, evenly."""
    return list(range(1, total + 1)) if total <= most else sorted({1 + (2 * i + 1) * total // (2 * most) for i in range(most)})


LONG = bool(os.environ.get("TARRY_LONG"))
