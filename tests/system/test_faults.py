"""Whatever fails in a door that serves, or in one that starts: memory, descriptors, the disk, the network. Each call that a role makes while clients of all kinds come fails once, and then all from
that one on (sampled; all of them with TARRY_LONG=1). What must hold then is in faults.py."""
import errno
import itertools
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import mta
from door import PATIENCE, Door, pairs
from faults import ACCESS, AFTER, CLASSES, DIE, ERRORS, EXEMPT, LINES, LONG, SHORT, Faults, Mailbox, Trial, Visit, deaths, spread
from maps import makemap
from test_known import processes

GENTLE = {errno.EINTR}                          # as a rule for ever it is no error but a system that does nothing else
GONE = {errno.EPIPE, errno.ECONNRESET}          # the other side's end, which is nobody's failure
SYSEXITS = range(64, 79)
START_KINDS = [k for k in CLASSES if k not in ("send", "sync", "connect")]
OPTIONS = {"fronts": 1, "mail_processes": 1, "greet_pause": 50}
EXPECTED = ("Assertion",)                       # see deaths()
# What may die of it. libdb crashes where it has no memory, before it returns: one of the reasons for which lookup is a program of its own. The next one is there at once, and takes the table.
CRASHES = {("lookup", "memory"): 'role_died role=lookup .*signal="Segmentation fault"'}
PASSING = {errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, DIE}
SOON = 2
LOOKS = 8                                       # seconds in which Sendmail's table has been looked at three times
PLACES = 1000 if LONG else 3                    # of each kind of call, that fail once
PLACES_ON = 25 if LONG else 1                   # and after which all fail
KINDS = CLASSES if LONG else ["memory", "descriptor", "send", "read"]  # where not all are looked at


FILES = ("lmdb", "cdb")                         # tables that a child of the parent checks before they are taken


def name_of(error):
    return {SHORT: "SHORT", DIE: "DIE", AFTER: "AFTER"}.get(error) or errno.errorcode[error]


class Post(Mailbox):
    """Postfix acknowledges before it delivers."""

    def __init__(self, postfix):
        super().__init__(postfix.mail)
        self.folder = postfix.mail / "victim" / "new"

    def fresh(self, acknowledged=()):
        found, deadline = super().fresh(), time.monotonic() + PATIENCE
        while set(acknowledged) - set(found) and time.monotonic() < deadline:
            time.sleep(0.02)
            for subject, copies in super().fresh().items():
                found.setdefault(subject, []).extend(copies)
        return found


class Setting:
    """A door of which something fails, as often as it takes: one that has ended is replaced. kind: inside; changes: other fronts in each round; or the kind of the access table, of which "rehash" is Sendmail's, made anew
    in each round."""

    access = ACCESS
    places_on = PLACES_ON
    rests = ()      # kinds of calls after which the role does nothing of that kind for a while
    killed = False  # each call is also the last one of its process

    def __init__(self, binary, scratch, kind="inside", postfix=None):
        self.binary, self.scratch, self.kind, self.postfix = binary, scratch, kind, postfix
        self.numbers = itertools.count()
        self.door = None
        self.begin()

    def lay_out(self):
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        folder.chmod(0o755)
        self.faults = Faults(folder, self.binary)
        self.door = self.make_door(folder)
        self.write_access()

    def begin(self):
        self.lay_out()
        self.door.start()
        self.trial = self.make_trial()

    def make_door(self, folder):
        options = {**OPTIONS, "lookup_processes": 1, "lookup_cache": 0, "lookup_timeout": 1000, "access_db": [f"text:{folder}/door/access"]}
        if self.kind in FILES:
            options["access_db"] = [f"{self.kind}:{folder}/access.{self.kind}"]
        if self.kind in ("hash", "rehash"):
            options["access_db"] = [f"hash:{folder}/access"]
        door = Door(self.binary, folder / "door", environment=self.faults.environment, **options)
        door.expected = EXPECTED
        if self.postfix:
            door.verbatim = [f'backend "behind" {{ address = "smtp:127.0.0.1:{self.postfix.port}" proxy = v2 }}']
        return door

    def make_trial(self):
        return Trial(self.door, Post(self.postfix) if self.postfix else Mailbox(self.door.mail))

    def write_access(self):
        n = next(self.numbers)
        lines = [*self.access, *(f"GreetPause:10.{9 + i}.{n >> 8}.{n & 255} 7" for i in range(1 + n % 5))]
        self.lengths = (getattr(self, "lengths", ()) + (len(lines),))[-2:]  # of the table that is there, and of the one before
        self.door.write_access(lines)
        folder = self.door.folder.parent
        if self.kind in FILES:
            subprocess.run([str(self.binary), "access", "build", str(self.door.access_path), f"{self.kind}:{folder}/access.{self.kind}"], check=True, capture_output=True)
        if self.kind == "rehash" or (self.kind == "hash" and not (folder / "access.db").exists()):
            makemap(folder, "".join(line.replace(" ", "\t", 1) + "\n" for line in lines))

    def changed(self):
        """Another configuration, and so other fronts."""
        return {"greet_pause": OPTIONS["greet_pause"] + 1 + next(self.numbers) % 9}

    def during(self):
        self.write_access()
        self.before, self.asked_at = self.fronts(), self.door.log_path.stat().st_size
        if self.kind == "changes":
            self.door.options.update(self.changed())
            self.door.write_config()
        self.door.kill(signal.SIGHUP)

    def fronts(self):
        return set(processes(self.door, "tarry-front"))

    def changes(self, patience):
        """Whether a change is over by then: the fronts are others."""
        deadline = time.monotonic() + patience
        while self.kind == "changes" and self.door.process.poll() is None:
            now = self.fronts()
            if now and not now & self.before:
                break
            if time.monotonic() > deadline or self.has_said(b" event=reload_failed "):
                return False
            time.sleep(0.01)
        return True

    def has_said(self, text):
        with open(self.door.log_path, "rb") as log:
            log.seek(self.asked_at)
            return text in log.read()

    def takes_table(self, patience):
        """Whether the table of this round has been taken or refused by then, and what is wrong with that: one is taken as it is, or not at all."""
        deadline = time.monotonic() + patience
        while self.kind in (*FILES, "rehash") and self.door.process.poll() is None:
            said = [d for d in self.since() if d.get("event") in ("access_loaded", "access_kept", "map_loaded", "map_kept")]
            if said:
                return [f"a table that nobody has made: {d}" for d in said if d["event"].endswith("loaded") and int(d["entries"]) not in self.lengths]
            if time.monotonic() > deadline:
                return ["nobody says what has become of the table"]
            time.sleep(0.01)
        return []

    def takes_it_later(self, error):
        """What Sendmail's table could not be read for was over at once, and it has not been changed since."""
        deadline = time.monotonic() + PATIENCE
        while self.kind == "rehash" and error in PASSING and self.door.process.poll() is None:
            if any(d.get("event") == "map_loaded" and int(d["entries"]) == self.lengths[-1] for d in self.since()):
                break
            if time.monotonic() > deadline:
                return ["the table of this round is not taken afterwards"]
            time.sleep(0.01)
        return []

    def since(self):
        with open(self.door.log_path, "rb") as log:
            log.seek(self.asked_at)
            return [pairs(line) for line in log.read().decode(errors="replace").rpartition("\n")[0].splitlines()]

    def changes_again(self):
        """What was asked for in a bad moment may have come to nothing; what is asked for then has not."""
        self.during()
        return [] if self.changes(PATIENCE) else ["a reload afterwards does nothing"]

    def look(self, role):
        """What may never be, whatever fails."""
        return []

    def renew(self):
        self.door.stop()
        self.begin()

    def count(self, role):
        """How many calls of each kind a round makes, by role; the second one, for the first one makes folders."""
        for _ in range(2):
            before = self.faults.calls()
            visits = self.trial.round(self.during)
            wrong = [] if self.changes(PATIENCE) else ["the change is not over"]
            wrong += self.takes_table(PATIENCE)
            after = self.faults.calls()
            wrong += self.trial.judge(visits) + self.trial.served_again() + self.look(role)
            assert wrong == [], "\n".join(wrong)
        return {of: n - before[of] for of, n in after.items() if n > before[of]}

    def fail(self, role, kind, n, error, on):
        """One round in which that fails: whether it was reached, and what came of it that should not."""
        self.trial.log()
        self.faults.arm(role, kind, n, error, on)
        visits = self.trial.round(self.during, self.faults if on else None)
        changed = self.changes(SOON)
        table = [] if kind == "log" else self.takes_table(LOOKS if self.kind == "rehash" else SOON)
        hits = self.faults.disarm()
        wrong = table + self.takes_it_later(error) + self.trial.judge(visits) + self.look(role)
        again = ([] if changed else self.changes_again()) + self.trial.served_again()
        wrong += again
        text = self.trial.log()
        wrong += deaths(text, error == DIE, CRASHES.get((role, kind)))
        unhappy = [v for v in visits if v.should and not v.acknowledged and not (self.reply_tells and v.heard and v.heard[-1].startswith(b"4"))]
        if hits and unhappy and error not in GONE and kind != "log" and not self.trial.told(text):
            wrong.append("nothing in the log says so: " + "; ".join(map(str, unhappy)))
        ended = self.door.process.poll()
        if ended is not None:
            wrong.append(f"the door ended with {ended}:\n{self.door.text()[-2000:]}")
        if wrong:
            wrong = [f"{role} {kind} {n} {'and all that follow' if on else 'once'} {name_of(error)}, {self.faults.where() if hits else 'not reached'}:", *("    " + w for w in wrong)]
        if ended is not None:
            self.begin()
        elif again or (hits and (error == DIE or kind in self.rests or (self.kind == "rehash" and "event=role_died" in text))):  # of who dies often the next one comes later
            self.renew()
        if wrong:
            print("\n".join(wrong), flush=True)
        return hits, wrong

    def walk(self, role, kinds=tuple(CLASSES), few=False):
        """Every kind of call of that role: each fails once, and some for good. few: the first of each kind. What went wrong."""
        self.few = few
        counts = {kind: n for (r, kind), n in self.count(role).items() if r == role and kind in kinds}
        wrong, rounds, reached = [], 0, dict.fromkeys(counts, 0)
        for kind, total in counts.items():
            errors = ERRORS[kind] + [DIE] * self.killed
            for i, error in enumerate(errors[:1 if few else None]):
                once = [1] if few else spread(total, PLACES if i == 0 or LONG else 1)
                on = [] if error in GENTLE or error == DIE or (role, kind) == ("front", "read") else [1] if few else spread(total, self.places_on)
                for n, forever in [(n, False) for n in once] + [(n, True) for n in on]:
                    hits, more = self.fail(role, kind, n, error, forever)
                    rounds, wrong = rounds + 1, wrong + more
                    reached[kind] += hits > 0
        assert counts and (any if self.beside and not few else all)(reached.values()), f"nothing failed: {reached}"
        print(f"{self.kind} {role}: {rounds} rounds, calls {counts}, failed in {reached}")
        return wrong

    def end(self, after=True):
        self.faults.disarm()
        self.door.stop()
        if after and not self.postfix:
            assert len(self.door.stray_files()) <= self.leftovers, self.door.stray_files()

    leftovers = 0
    few = False
    reply_tells = False # a 4xx to the client is enough: what fails is not ours to see
    beside = False  # the role works beside the clients, not for each of them: a call of one round need not come in the next


@pytest.fixture
def setting(binary, scratch):
    made = []

    def make(**options):
        made.append(Setting(binary, scratch, **options))
        return made[-1]

    yield make
    for one in made:
        one.end()


def test_what_is_wrong_is_found(tmp_path):
    """The judge of these tests: a message lost, a message twice, half a message, one of somebody who may not."""
    new = tmp_path / "example.org" / "victim" / "new"
    new.mkdir(parents=True)

    class Said:
        hangs = False

        def __init__(self, subject, acknowledged):
            self.subject, self.acknowledged, self.should = subject, acknowledged, "early" not in subject

    def judged(visit, *copies):
        trial = Trial(None, Mailbox(tmp_path))
        for old in new.glob("*"):
            old.unlink()
        for i, lines in enumerate(copies):
            (new / str(i)).write_text("\n".join([f"Subject: {visit.subject}", "", *lines, ""]))
        return len(trial.judge([visit]))

    assert judged(Said("1-patient", True), LINES) == 0
    assert judged(Said("1-patient", False)) == 0
    assert judged(Said("1-patient", False), LINES) == 0  # it will come again: twice is no loss
    assert judged(Said("1-patient", True)) == 1
    assert judged(Said("1-patient", True), LINES, LINES) > 0
    assert judged(Said("1-patient", True), LINES[:-1]) > 0
    assert judged(Said("1-patient", False), LINES[:100] + LINES[150:]) > 0
    assert judged(Said("1-early", False), LINES) == 1
    assert judged(Said("1-early", True)) == 1
    assert deaths("x tarry[1] parent error event=role_died role=front index=0 pid=1 signal=\"Segmentation fault\"\n") != []
    assert deaths("x tarry[1] parent error event=role_died role=front index=0 pid=1 status=71\n") == []


@pytest.mark.parametrize("role", ["front", "mail", "parent"])
def test_a_door_that_serves(setting, role):
    one = setting()
    wrong = one.walk(role)
    one.leftovers = 1000 if role == "mail" else 0  # what cannot be removed stays, until it is old
    assert wrong == [], "\n".join(wrong)


@pytest.mark.parametrize("kind,role", [("changes", "parent"), ("lmdb", "front"), ("hash", "front"), ("hash", "lookup")])
def test_others(setting, kind, role):
    one = setting(kind=kind)
    wrong = one.walk(role, KINDS)
    assert wrong == [], "\n".join(wrong)


@pytest.mark.skipif(not LONG, reason="a Postfix delivers when it has the time, so this wants a quiet machine: TARRY_LONG=1")
def test_a_real_backend(setting, scratch):
    folder = Path(tempfile.mkdtemp(prefix="p", dir=scratch))
    folder.chmod(0o755)
    postfix = mta.Postfix(folder, smtpd=True).start()
    try:
        wrong = setting(kind="behind", postfix=postfix).walk("front", KINDS)
    finally:
        postfix.stop()
    assert wrong == [], "\n".join(wrong)


# ---- at start ----

class Starting(Setting):
    """A door that has not been started."""

    def begin(self):
        self.lay_out()


def start_counts(binary, scratch, table, roles):
    one = Setting(binary, scratch, kind=table)
    assert one.trial.served_again() == []
    counts = {(role, kind): n for (role, kind), n in one.faults.calls().items() if role in roles and kind in START_KINDS and n > 0}
    one.end()
    return counts


def start_with(binary, scratch, table, role, kind, n, error):
    """A door that starts while that call fails: it says why it does not, or it serves. What is wrong, None if nothing is."""
    one = Starting(binary, scratch, kind=table)
    faults, door, folder = one.faults, one.door, one.door.folder.parent
    faults.arm(role, kind, n, error)
    door.spawn()
    deadline = time.monotonic() + PATIENCE
    try:
        while door.process.poll() is None and not door.events("listening") and time.monotonic() < deadline:
            time.sleep(0.01)
        wrong = judge_start(door, deadline)
        if not wrong and door.process.poll() is None:
            code = door.end()
            wrong = None if code == 0 else f"ended with {code}"
        died = deaths(door.text(), crashes=CRASHES.get((role, kind)))
        if wrong or died:
            return f"{role} {kind} {n} {name_of(error)}, {faults.where()}: {wrong} {died}"
        return None
    finally:
        if door.process.poll() is None:
            door.process.kill()
            door.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def judge_start(door, deadline):
    code = door.process.poll()
    if code is not None:
        said = door.text().strip()
        return None if code in SYSEXITS and said else f"it ended with {code} and said {said!r}"
    if not door.events("listening"):
        return None if door.process.poll() is None and "event=" in door.text() else "it neither serves nor ends"  # its log is what has failed
    door.addresses = [(a.rpartition(":")[0], int(a.rpartition(":")[2])) for a in (e["at"] for e in door.events("listening"))]
    while time.monotonic() < deadline:
        visit = Visit(door.address, EXEMPT, "0-again", "patient")
        visit.join()
        if visit.acknowledged:
            return None
        time.sleep(0.05)
    return f"nobody is served:\n{door.text()[-2000:]}"


def starts(binary, scratch, table, roles):
    counts = start_counts(binary, scratch, table, roles)
    jobs = [(table, role, kind, n, error) for (role, kind), total in counts.items() for i, error in enumerate(ERRORS[kind]) if error not in GONE
            for n in spread(total, (4000 if i == 0 else 40) if LONG else (3 if i == 0 else 1))]
    with ThreadPoolExecutor(3) as pool:
        wrong = [w for w in pool.map(lambda job: start_with(binary, scratch, *job), jobs) if w]
    print(f"{table}: {len(jobs)} starts, calls {counts}")
    assert wrong == [], "\n".join(wrong)


def test_a_door_that_starts(binary, scratch):
    starts(binary, scratch, "inside", ("parent", "child", "front", "mail"))


@pytest.mark.skipif(not LONG, reason="thousands of starts: TARRY_LONG=1")
@pytest.mark.parametrize("table,roles", [("lmdb", ("parent", "child", "front")), ("cdb", ("parent", "child")), ("hash", ("child", "lookup", "lookup-child"))])
def test_a_door_with_tables_that_starts(binary, scratch, table, roles):
    starts(binary, scratch, table, roles)


@pytest.mark.skipif(not LONG, reason="three times 20 s until a door gives new fronts up: TARRY_LONG=1")
def test_fronts_that_never_get_ready(setting):
    """Those of before go on, and the next change does not wait for them."""
    one = setting()
    door = one.door

    def reload(**options):
        door.options.update(options)
        door.write_config()
        return subprocess.run([door.binary, "reload", "-c", str(door.config)], capture_output=True, text=True, timeout=60, check=False)

    assert reload(max_bad_commands=21).returncode == 0
    one.faults.arm("front", "map", 1, errno.ENOMEM, on=True)
    for n in (22, 23):
        done = reload(max_bad_commands=n)
        assert done.returncode != 0 and "its fronts do not get ready" in done.stderr + done.stdout, done
        with socket.create_connection(door.addresses[0], PATIENCE) as client:
            assert client.recv(1000).startswith(b"220 ")
    one.faults.disarm()
    done = reload(max_bad_commands=24)
    assert done.returncode == 0, done
    assert len(door.events("reload_failed")) == 2
