"""Whatever fails in the roles that do one thing for the others: TLS, programs for clients, who is known, who is banned, the kernel's sets, the page. Each has work in every round, and is a new process in every
round of the kind "changes", so that its beginning and its end fail, too. Beside what test_faults.py asks of a door, the role must be at work again afterwards, and must not have said what is not true."""
import ctypes
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException

import pytest

from desk import Events, free_port, get
from door import AS_ROOT, HERE, PATIENCE, Door
from faults import ACCESS, CLASSES, EARLY, EXEMPT, LONG, PATIENT, PIPELINING, TIMEOUT, Mailbox, Trial, Visit
from talk import read_line, read_reply
from test_faults import EXPECTED, OPTIONS, Setting
from test_proxy import v1
from test_tls import READY, context, make_certificate

INJECTED, GARBAGE = "127.0.0.17", "127.0.0.18"
NETWORKS_OF_OTHERS = "203.0.113.77"  # in the kernel's set, and not ours


class Errand(threading.Thread):
    """What somebody else than a client does meanwhile. It may fail, but it may not hang; what it finds wrong it says in `wrong`."""

    def __init__(self, subject, work):
        super().__init__(daemon=True)
        self.subject, self.work, self.hangs, self.wrong = subject, work, False, []
        self.source, self.should, self.acknowledged = None, False, False
        self.start()

    def run(self):
        try:
            wrong = self.work()
            self.wrong = [f"{self.subject}: {wrong}"] if wrong else []
        except (TimeoutError, subprocess.TimeoutExpired):
            self.hangs = True
        except RuntimeError as e:
            self.wrong = [f"{self.subject}: {e}"]
        except (OSError, ValueError, AssertionError, HTTPException):  # it was turned away
            pass

    def __str__(self):
        return self.subject


class RoleTrial(Trial):
    """Clients, and who else has to do with the role. At the end of a round it is waited for what the role does each second."""
    seconds = 0

    def __init__(self, setting, mailbox):
        super().__init__(setting.door, mailbox)
        self.setting = setting
        self.lasts = 0.3 + 2 * self.seconds

    def round(self, during, faults=None):
        begun, faults_of = time.monotonic(), self.setting.faults
        visits = super().round(during, faults)
        patience = begun + (PATIENCE if self.setting.few else self.seconds + 2)
        while time.monotonic() < begun + self.seconds or (faults_of.get("armed") and not faults_of.get("hits") and time.monotonic() < patience):
            time.sleep(0.01)
        return visits

    def goes_on(self, visits, faults):
        """What is done each second only may not have failed when the clients have gone."""
        return super().goes_on(visits, faults) or (self.seconds > 0 and not self.setting.few and not faults.get("hits"))

    def visits(self):
        return super().visits() + self.others()

    def others(self):
        return []

    def judge(self, visits):
        return super().judge(visits) + [w for v in visits for w in getattr(v, "wrong", [])] + self.look()

    def look(self):
        """What may never be, whatever fails."""
        return []

    def served_again(self):
        wrong, deadline = super().served_again(), time.monotonic() + 2 * PATIENCE
        while not wrong:
            try:
                last = self.at_work()
            except (subprocess.TimeoutExpired, TimeoutError) as e:
                last = repr(e)
            if last is None:
                break
            if time.monotonic() > deadline:
                wrong = [f"the role is not at work again: {last}"]
            time.sleep(0.05)
        return wrong

    def at_work(self):
        """None, or what it has not done."""
        return None

    def visit_again(self, source, script="patient", kind=Visit):
        self.number += 1
        visit = kind(self.door.address, source, f"{self.number}-again", script)
        visit.join()
        wrong = super().judge([visit])
        assert not wrong, wrong
        return visit

    def tarry(self, *words, good=(0,)):
        """What a sub-command says; None: it has ended with another code than these. It may not die."""
        done = subprocess.run([self.door.binary, *words[:2], "-c", str(self.door.config), *words[2:]], capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode < 0:
            raise RuntimeError(f"tarry {' '.join(words)}: {done.returncode} {done.stderr}")
        return done.stdout if done.returncode in good else None


class RoleSetting(Setting):
    """kind: steady, or changes: a configuration that makes new processes of the role, in each round."""
    trial_of = RoleTrial
    beside = True
    leaves = ()  # kinds of calls that are not walked

    def options(self, folder):
        return {}

    def prepare(self, folder):
        pass

    def make_door(self, folder):
        self.prepare(folder)
        door = Door(self.binary, folder / "door", environment=self.faults.environment, **{**OPTIONS, "access_db": [f"text:{folder}/door/access"], **self.options(folder)})
        door.expected = EXPECTED
        return door

    def make_trial(self):
        return self.trial_of(self, Mailbox(self.mail()))

    def mail(self):
        return self.door.mail


# ---- TLS ----

class TlsVisit(Visit):
    """Of a door whose second listener has TLS from the first byte on."""

    def implicit(self, s):
        with context().wrap_socket(s) as tls:
            self.patient(tls)

    def starttls(self, s):
        self.reply(s, b"220")
        self.ask(s, "EHLO client.example.net", b"250")
        self.ask(s, "STARTTLS", READY)
        with context().wrap_socket(s) as tls:
            for text, wanted in (("EHLO client.example.net", b"250"), ("MAIL FROM:<sender@example.net>", b"250"), ("RCPT TO:<victim@example.org>", b"250"), ("DATA", b"354"), (self.message(), b"250")):
                self.ask(tls, text, wanted)
            self.acknowledged = True
            self.ask(tls, "QUIT", b"221")

    def early_in_tls(self, s):
        with context().wrap_socket(s) as tls:
            self.early(tls)

    def injected(self, s):
        """What is behind STARTTLS in the same breath is nobody's who speaks TLS. Where TLS is refused it is a session like any other."""
        self.reply(s, b"220")
        self.ask(s, "EHLO client.example.net", b"250")
        s.sendall(f"STARTTLS\r\nMAIL FROM:<sender@example.net>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n{self.message()}\r\nQUIT\r\n".encode())
        self.heard.append(read_reply(s))
        self.should = not self.heard[-1].startswith((b"220", b"554")) and self.heard[-1] != b""
        self.listen(s)

    def listen(self, s):
        while line := read_line(s):
            self.heard.append(line)
            self.acknowledged = self.acknowledged or b"Message accepted" in line

    def garbage(self, s):
        s.sendall(b"\x16\x03\x01\x00\x05hello" + b"x" * 400)
        self.listen(s)


class TlsTrial(RoleTrial):
    def others(self):
        clear, implicit = self.door.addresses[:2]
        kinds = [(implicit, PATIENT, "implicit"), (clear, PIPELINING, "starttls"), (implicit, EXEMPT, "implicit"), (implicit, EARLY, "early_in_tls"), (clear, INJECTED, "injected"), (implicit, GARBAGE, "garbage")]
        return [TlsVisit(at, source, f"{self.number}-{script}-{source}", script) for at, source, script in kinds]

    def at_work(self):
        for at, script in ((self.door.addresses[1], "implicit"), (self.door.address, "starttls")):
            self.number += 1
            visit = TlsVisit(at, EXEMPT, f"{self.number}-again", script)
            visit.join()
            wrong = self.judge([visit])
            assert not wrong, wrong
            if not visit.acknowledged:
                return str(visit)
        return None


class TlsSetting(RoleSetting):
    trial_of = TlsTrial
    access = [*ACCESS, f"GreetPause:{INJECTED} 0"]

    def prepare(self, folder):
        make_certificate(folder, "mail.example.org")

    def options(self, folder):
        return {"listens": ("127.0.0.1:0", ("127.0.0.1:0", "tls = implicit")), "tls_certificate": folder / "mail.example.org.pem", "tls_key": folder / "mail.example.org.key", "tls_processes": 1}


class BehindSetting(RoleSetting):
    """The other side: a backend that speaks TLS, which is another door. Of one that breaks off nobody knows whether it wanted to."""
    reply_tells = True
    tls = "implicit"

    def prepare(self, folder):
        make_certificate(folder, "mail.example.org")
        if getattr(self, "other", None):
            self.other.stop()
        self.other = Door(self.binary, folder / "other", listens=(("127.0.0.1:0", f"tls = {self.tls}"),), access=["GreetPause:127 0"], tls_certificate=folder / "mail.example.org.pem",
                          tls_key=folder / "mail.example.org.key", **{**OPTIONS, "max_per_client": 0}).start()

    def make_door(self, folder):
        door = super().make_door(folder)
        door.verbatim = [f'backend "behind" {{ address = "smtp:127.0.0.1:{self.other.port}"  proxy = no  tls = {self.tls} }}']
        return door

    def options(self, folder):
        return {"tls_processes": 1}

    def mail(self):
        return self.other.mail

    def end(self, after=True):
        super().end(after)
        self.other.stop()


class InClearSetting(BehindSetting):
    tls = "no"


# ---- programs ----

class SpawnTrial(RoleTrial):
    pass


class SpawnSetting(RoleSetting):
    trial_of = SpawnTrial

    def make_door(self, folder):
        door = super().make_door(folder)
        shutil.copy(HERE / "exec_mail.py", folder / "program")
        (folder / "program").chmod(0o755)
        door.verbatim = [f'backend "program" {{ exec = {{ "{folder}/program", "{door.mail}" }} }}']
        return door


# ---- who is known ----

def client_of(n):
    return f"127.1.{n >> 8 & 255}.{n & 255}"


class KnownVisit(Visit):
    """One that was never here, or once: both are served."""

    def __init__(self, *arguments):
        self.known = None
        super().__init__(*arguments)
        self.should = True


TRANSIENT = ("Cannot allocate memory", "Too many open files", "Too many open files in system", "Interrupted system call", "it cannot be read to its end")


def taken_for_damaged(door):
    """A file for which there is no memory at present is still a good one. A disk that fails is another matter."""
    return [f"taken for damaged: {d}" for name in ("known_rebuilt", "bans_rebuilt") for d in door.events(name) if d.get("why") in TRANSIENT]


class KnownTrial(RoleTrial):
    seconds = 1.1

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.may = set()  # be known

    def others(self):
        n = self.number
        fresh, again = client_of(n), client_of(n - 1)
        self.may |= {fresh, again, "10.3.0.0/24", PATIENT, EXEMPT, PIPELINING}
        return [KnownVisit(self.door.address, fresh, f"{n}-fresh", "patient"), KnownVisit(self.door.address, again, f"{n}-known", "patient"), Errand(f"{n}-list", self.list_known),
                Errand(f"{n}-change", self.change)]

    def change(self):
        self.tarry("known", "add", f"10.3.{self.number % 200 + 1}.1", good=(0, 1, 65, 69, 75))
        self.tarry("known", "drop", f"10.3.{self.number % 200 + 1}.1", good=(0, 1, 65, 69, 75))

    def list_known(self):
        """Only those that may be."""
        out = self.tarry("known", "list")
        strange = [k for k in (line.split("\t")[0] for line in (out or "").splitlines()) if k not in self.may and not k.startswith("10.3.")]
        return f"known, and nobody knows why: {strange}" if strange else None

    def look(self):
        strange = [d for d in self.door.verdicts("known") if d["client"] not in self.may]
        return ([f"let in as known: {strange}"] if strange else []) + taken_for_damaged(self.door)

    def at_work(self):
        """Who delivers is known a moment later."""
        client = client_of(self.number + 1)
        self.may.add(client)
        self.number += 1
        visit = KnownVisit(self.door.address, client, f"{self.number}-again", "patient")
        visit.join()
        wrong = self.judge([visit])
        assert not wrong, wrong
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            out = self.tarry("known", "list", client, good=(0, 1))
            if out:
                return self.list_known()
            time.sleep(0.02)
        return f"{visit}: not known"


class KnownSetting(RoleSetting):
    trial_of = KnownTrial
    rests = ("write", "sync", "names")

    def prepare(self, folder):
        (folder / "known").mkdir()
        (folder / "known").chmod(0o777)

    def options(self, folder):
        return {"known_ttl": "30d", "known_db": folder / "known" / "db", "known_max": 1000}

    def changed(self):
        return {"known_apart": f"{next(self.numbers) % 9 + 1}s"}


# ---- the page ----

class DeskTrial(RoleTrial):
    seconds = 1.1

    def others(self):
        n, port = self.number, self.setting.port
        pages = [Errand(f"{n}-{path}", lambda path=path: self.ask(port, path)) for path in ("/metrics", "/", "/status.json", "/nothing")]
        return pages + [Errand(f"{n}-events", lambda: self.events(port))]

    def ask(self, port, path):
        code, headers, body = get(port, path)
        if "default-src 'none'" not in headers.get("content-security-policy", ""):
            return f"{code} without a policy: {headers}"
        if path == "/nothing":
            return None if code == 404 else f"{code}"
        ok = {"/metrics": b"tarry_open", "/": b"<!DOCTYPE html>", "/status.json": b'"pid"'}[path] in body
        return None if code >= 500 or (code == 200 and ok) else f"{code}, {body[:200]}"

    def events(self, port):
        events = Events(port)
        try:
            if events.status == 200:
                name, first = events.next()
                if name != "all" or "turned" not in first:
                    return f"{name}: {first}"
                events.next()
        finally:
            events.close()
        return None

    def at_work(self):
        try:
            for path in ("/metrics", "/", "/status.json"):
                code = get(self.setting.port, path)[0]
                if code != 200:
                    return f"{path}: {code}"
            events = Events(self.setting.port)
            try:
                return None if events.next()[0] == "all" else "no events"
            finally:
                events.close()
        except (OSError, ValueError, AssertionError, HTTPException) as e:
            return repr(e)


class DeskSetting(RoleSetting):
    trial_of = DeskTrial

    def options(self, folder):
        self.port = free_port()
        return {"desk": f"127.0.0.1:{self.port}"}


# ---- bans ----

class BanTrial(RoleTrial):
    seconds = 1.1
    trusted = "192.0.2.60"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.may = set()  # be banned

    def offend(self, client):
        with socket.create_connection(self.door.addresses[1], TIMEOUT) as s:
            s.sendall(v1(client) + b"HELO x\r\n")
            read_line(s)

    def others(self):
        n = self.number
        client = f"192.0.3.{n % 250}"
        self.may |= {client, f"198.51.{n % 200}.7"}
        return [Errand(f"{n}-offends", lambda: self.offend(client)), Errand(f"{n}-trusted", lambda: self.offend(self.trusted)), Errand(f"{n}-change", lambda: self.change(n)),
                Errand(f"{n}-list", self.list_banned)]

    def change(self, n):
        self.tarry("ban", "add", f"198.51.{n % 200}.7", "1h")
        self.tarry("ban", "drop", f"198.51.{(n - 2) % 200}.7")
        if self.tarry("ban", "add", "127.0.0.0/8") is not None:
            return "the loopback is banned"
        return None

    def look(self):
        return taken_for_damaged(self.door)

    def banned(self):
        out = self.tarry("ban", "list", "--json")
        return {b["client"] for b in json.loads(out)["banned"]} if out else None

    def list_banned(self):
        strange = (self.banned() or set()) - self.may
        return f"banned, and nobody knows why: {strange}" if strange else None

    def at_work(self):
        """Who offends is banned; and where the kernel is told, it has who was banned by hand, and nobody else of ours."""
        self.number += 1
        client = f"192.0.3.{self.number % 250}"
        self.may.add(client)
        if client in (self.banned() or ()):
            self.tarry("ban", "drop", client)
        self.offend(client)
        deadline = time.monotonic() + 2
        while client not in (self.banned() or ()):
            if time.monotonic() > deadline:
                return f"{client} has offended and is not banned"
            time.sleep(0.02)
        wrong = self.list_banned()
        assert not wrong, wrong
        return None


class BansSetting(RoleSetting):
    trial_of = BanTrial
    access = [*ACCESS, f"Connect:{BanTrial.trusted} OK"]

    def prepare(self, folder):
        (folder / "bans").mkdir()
        (folder / "bans").chmod(0o777)

    def options(self, folder):
        return {"listens": ("127.0.0.1:0", ("127.0.0.1:0", 'proxy = yes  trust = { "127.0.0.1" }')), "ban_after": 1, "ban_time": "1h", "linger": 100, "ban_db": folder / "bans" / "db"}

    def changed(self):
        return {"ban_time": f"{next(self.numbers) % 9 + 60}m"}


SETS = """
nft add table inet tarry
nft add set inet tarry banned4 '{ type ipv4_addr; flags timeout, interval; }'
nft add set inet tarry banned6 '{ type ipv6_addr; flags timeout, interval; }'
nft add element inet tarry banned4 '{ %s timeout 2h comment "mine" }'
"""


def in_kernel():
    out = json.loads(subprocess.run(["nft", "-j", "list", "set", "inet", "tarry", "banned4"], check=True, capture_output=True, text=True, timeout=PATIENCE).stdout)
    elements = next(t["set"] for t in out["nftables"] if "set" in t).get("elem", [])
    return {e["elem"]["val"] if isinstance(e, dict) and "elem" in e else str(e) for e in elements}


class KernelTrial(BanTrial):
    """Who came by a load balancer is no business of the kernel's."""

    def look(self):
        have = in_kernel()
        wrong = [] if NETWORKS_OF_OTHERS in have else ["what others have put into the set is gone"]
        strange = {c for c in have - self.may - {NETWORKS_OF_OTHERS} if not c.startswith("198.51.")}
        return wrong + ([f"in the kernel, and nobody knows why: {strange}"] if strange else [])

    def at_work(self):
        wanted = {c for c in self.banned() or () if c.startswith("198.51.")}
        self.tarry("ban", "add", f"198.51.{self.number % 200}.9", "1h")
        self.may.add(f"198.51.{self.number % 200}.9")
        wanted = {c for c in self.banned() or () if c.startswith("198.51.")}
        deadline = time.monotonic() + 5
        while in_kernel() - {NETWORKS_OF_OTHERS} != wanted:
            if time.monotonic() > deadline:
                return f"the kernel has {in_kernel()}, and the door bans {wanted}"
            time.sleep(0.05)
        return None


class KernelSetting(BansSetting):
    trial_of = KernelTrial
    leaves = ("identity",)  # nobody is refused a capability that he has; without it the helper says what it may not, and nothing changes before the next start

    def options(self, folder):
        return {**super().options(folder), "ban_kernel": "nftables inet tarry banned"}


def enter_network():
    """This thread, and whom it starts, into a network of their own, where the sets are: this machine's are none of its business. Whether that is allowed."""
    clone_newnet = 0x40000000
    if not AS_ROOT or not shutil.which("nft") or ctypes.CDLL(None, use_errno=True).unshare(clone_newnet) != 0:
        return False
    subprocess.run(["sh", "-ec", "ip link set lo up\n" + SETS % NETWORKS_OF_OTHERS], check=True, timeout=PATIENCE)
    return True


# ---- the walk ----

def walk(binary, scratch, setting, role, kind="steady", kinds=tuple(CLASSES), few=False):
    """In a thread of its own. What is wrong; None: it cannot be had here."""
    if setting is KernelSetting and not enter_network():
        return None
    one = setting(binary, scratch, kind=kind)
    try:
        return one.walk(role, tuple(k for k in kinds if k not in setting.leaves), few)
    finally:
        one.leftovers = 1000
        one.end()


# What is walked, and in the short form: which kinds of calls.
WALKS = {"tls": (TlsSetting, "tls", ("memory", "send")), "behind": (BehindSetting, "tls", ("memory", "send")), "front": (BehindSetting, "front", ()), "clear": (InClearSetting, "front", ()), "spawn": (SpawnSetting, "spawn", ("descriptor", "fork")),
         "child": (SpawnSetting, "child", ("write",)), "known": (KnownSetting, "known", ("memory", "descriptor")), "desk": (DeskSetting, "desk", ("memory", "descriptor")),
         "bans": (BansSetting, "bans", ("memory", "descriptor")), "ban": (KernelSetting, "ban", ("send", "read"))}


def test_roles(binary, scratch):
    """One call of some kinds, of all roles at the same time: most of them wait for the next second."""
    with ThreadPoolExecutor(len(WALKS)) as pool:
        jobs = {name: pool.submit(walk, binary, scratch, setting, role, kinds=kinds, few=True) for name, (setting, role, kinds) in WALKS.items() if kinds}
        wrong = {name: job.result() for name, job in jobs.items()}
    assert not any(wrong.values()), "\n".join(w for some in wrong.values() for w in some or [])


@pytest.mark.skipif(not LONG, reason="hundreds of rounds, of a second each: TARRY_LONG=1")
@pytest.mark.parametrize("kind", ["steady", "changes"])
@pytest.mark.parametrize("name", WALKS)
def test_all_of_a_role(binary, scratch, name, kind):
    setting, role, _ = WALKS[name]
    with ThreadPoolExecutor(1) as pool:
        wrong = pool.submit(walk, binary, scratch, setting, role, kind).result()
    if wrong is None:
        pytest.skip("no network namespace of one's own, or no nft")
    assert wrong == [], "\n".join(wrong)
