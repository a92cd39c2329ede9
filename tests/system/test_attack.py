"""The door attacked: what ran into the ground once, or must not, each as short as it can be. Nothing is waited for but events."""
import itertools
import os
import pwd
import re
import resource
import select
import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from door import ACCOUNT, AS_ROOT, PATIENCE, memory_kb, name_of
from mta import wait_until
from talk import REFUSAL, Backend, Background, command, read_all, read_line, reset

LONG = 60_000
PROXY2 = bytes.fromhex("0d0a0d0a000d0a515549540a")


def raise_nofile(n):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < n:
        pytest.skip(f"needs {n} descriptors, the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(n, resource.getrlimit(resource.RLIMIT_NOFILE)[0]), hard))


def processes(door, name):
    """Those of a role."""
    return [p for p in door.children() if name_of(p) == name]


def descriptors(door):
    return {p: len(os.listdir(f"/proc/{p}/fd")) for p in door.members()}


def is_sanitized(door):
    """Such a build keeps what it has freed."""
    return b"__asan_init" in Path(door.binary).read_bytes()


def all_gone(door):
    wait_until(lambda: door.counters()["open"] == 0, "all connections are closed")


def session(connect, door, *commands):
    """The last reply to each command of a session from the greeting on."""
    s = connect(door)
    replies = [read_line(s)] + [command(s, c) for c in commands]
    s.close()
    return replies


# ---- too many ------------------------------------------------------------------------------------------------------------------------------------

def test_nobody_is_refused_while_a_mail_process_has_room(make_door, connect):
    """One process took a thousand clients and turned away the next ones, while the other had none."""
    n = 1050
    raise_nofile(3 * n)
    door = make_door(greet_pause=0, max_per_client=0, fronts=1, mail_processes=2)
    for i in range(n):
        assert read_line(connect(door, f"127.0.{i // 250 + 1}.{i % 250 + 1}")).startswith(b"220 ")


def test_patient_clients_get_a_backend_when_descriptors_are_short(make_door, connect):
    """Those over the limit do not use up what the patient ones need for their backends; and a new table is taken all the same."""
    door = make_door(greet_pause=2000, max_per_client=0, fronts=1, mail_processes=1, reserve_descriptors=64, linger=100, stress_at=0, limits={"RLIMIT_NOFILE": 200},
                     access=["GreetPause:127.0.0.3 0"])
    clients = [connect(door, f"127.0.1.{n % 200 + 1}") for n in range(300)]
    door.wait_for(lambda d: d.get("reason") == "descriptors")
    heard = [read_line(c)[:4] for c in clients[:20]]
    assert heard == [b"220 "] * 20
    front, = processes(door, "tarry-front")
    wait_until(lambda: len(os.listdir(f"/proc/{front}/fd")) == 200, "backends have taken the last descriptor")
    door.write_access(["GreetPause:127.0.0.4 0"])
    door.kill(signal.SIGHUP)
    door.wait_for(lambda d: d.get("event") == "access_loaded", 2)
    for c in clients:
        c.close()
    all_gone(door)
    assert read_line(connect(door, "127.0.0.4")).startswith(b"220 ")
    early = connect(door, "127.0.0.3")
    early.sendall(b"QUIT\r\n")
    assert read_all(early).startswith(REFUSAL)


def test_clients_that_read_no_replies(make_door, connect):
    """Each has as many replies waiting as there may be: no memory grows, others are served, and the time-out gets rid of them."""
    door = make_door(greet_pause=0, max_per_client=0, fronts=1, mail_processes=1, command_timeout=700, relay_timeout=1000, linger=100)
    before = {p: memory_kb(p) for p in door.members()}
    clients = []
    for n in range(20):
        s = connect(door, f"127.0.0.{n + 5}")
        assert read_line(s).startswith(b"220 ")
        s.setblocking(False)
        clients.append(s)
    stuck = set()
    while len(stuck) < len(clients):
        for s in clients:
            try:
                s.send(b"HELP\r\n" * 10_000)
            except OSError:
                stuck.add(s)
    assert read_line(connect(door)).startswith(b"220 ")
    assert is_sanitized(door) or all(memory_kb(p) - kb < 20 * 200 for p, kb in before.items())
    all_gone(door)
    assert door.counters()["restarts"] == 0


# ---- what ends up in the Maildir ---------------------------------------------------------------------------------------------------------------------

def test_no_smuggling_through_any_line_ends(make_door, connect):
    """Every combination of up to four CR, LF and dots, in segments of one byte, before a would-be second message."""
    door = make_door(local_greet_pause=["* 0"], max_per_client=0, fronts=1, mail_processes=1)
    for length in range(1, 5):
        for marks in itertools.product(b"\r\n.", repeat=length):
            text = b"a" + bytes(marks) + b"MAIL FROM:<smuggled@example.net>\r\n.\r\nQUIT\r\n"
            s = connect(door)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.sendall(b"HELO x\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n")
            assert [read_line(s)[:3] for _ in range(5)] == [b"220", b"250", b"250", b"250", b"354"]
            for i in range(length):
                s.sendall(text[i:i + 1])
            s.sendall(text[length:])
            end = text.index(b"\r\n.\r\n") + 5
            owed = [b"250"]
            for line in text[end:].split(b"\n")[:-1]:
                owed.append(b"250" if line.startswith(b"MAIL") else b"221" if line.startswith(b"QUIT") else b"500")
            assert [line[:3] for line in read_all(s).splitlines()] == owed, text
            s.close()
    assert len(door.messages()) == 3 + 9 + 27 + 81


EVIL = ["x\rX-Evil: yes", "x\x0bX-Evil: yes", "x\x1b[31m", "x\x00y", "x\x7f", "\xc2\x9b31m", "a\xc2\x85X-Evil: yes"]


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
def test_nothing_is_injected_into_headers_or_log(make_door, connect, evil):
    """Line ends, escapes and controls, beyond ASCII too, in what is repeated to the client, written to the message and to the log."""
    door = make_door(greet_pause=0, access=["GreetPause:127.0.0.2 60000"], fronts=1, mail_processes=1)
    s = connect(door)
    read_line(s)
    for c in (f"HELO {evil}", f'MAIL FROM:<"{evil}"@example.net> SMTPUTF8', f"MAIL FROM:<a@example.net> X={evil}", f"VRFY {evil}", evil):
        reply = command(s, c)
        assert reply[:1] == b"5" or c.startswith("VRFY"), reply
        assert re.fullmatch(rb"[\x20-\x7e\t]*\r\n", reply), reply
    replies = [command(s, c) for c in ("HELO x", "MAIL FROM:<> SMTPUTF8", f'RCPT TO:<"{evil}"@example.org>', "RCPT TO:<victim@example.org>", "DATA", "text\r\n.")]
    assert [r[:1] for r in replies] == [b"2", b"2", b"5", b"2", b"3", b"2"]
    slammer = connect(door, "127.0.0.2")
    slammer.sendall(evil.encode("latin-1") + b"\n2026-11-22T00:00:00.000Z tarry[1] parent error event=role_died\r\nQUIT\r\n")
    read_all(slammer)
    door.wait_verdict("early")
    assert door.events("role_died") == []
    for data in (door.messages()[0].read_bytes(), door.log_path.read_bytes()):
        assert re.fullmatch(rb"[\x20-\x7e\t\n]*", data)
        assert not re.search(rb"^X-Evil", data, re.M)


@pytest.mark.parametrize("user", ["../../x", "..", '"../x"', '"a/../b"', '"a\\/b"', ".x", '"\\."', "+x", '""', "x" * 65], ids=range(10))
def test_no_way_out_of_the_mail_folder(make_door, connect, user):
    door = make_door(greet_pause=0, fronts=1, mail_processes=1)
    replies = session(connect, door, "HELO x", "MAIL FROM:<>", f"RCPT TO:<{user}@example.org>", "DATA")
    assert replies[3].startswith(b"553 ") and replies[4].startswith(b"503 ")
    assert list(door.mail.iterdir()) == []


@pytest.mark.skipif(not AS_ROOT, reason="only root can be several users")
def test_another_user_does_not_reach_the_mail_server_inside(make_door, connect):
    """Its socket can be found, but who is neither the door nor root is not spoken to; and no client says who it is."""
    door = make_door(local_greet_pause=["* 0"], fronts=1, mail_processes=1, forbidden_commands="")
    name = re.search(r"@(tarry-mail-%d-\S+)" % door.process.pid, Path("/proc/net/unix").read_text(encoding="ascii")).group(1)
    code = f"import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0' + {name!r})\ns.send({PROXY2!r} + b'\\x20\\0\\0\\0')\nprint(s.recv(99))"
    uid = next(u.pw_uid for u in pwd.getpwall() if u.pw_uid not in (0, pwd.getpwnam(ACCOUNT).pw_uid))
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, user=uid, group=uid, timeout=PATIENCE, check=False)
    assert "220" not in told.stdout and ("b''" in told.stdout or "reset" in told.stderr or "Broken pipe" in told.stderr), told
    door.wait_for(lambda d: "another user" in d.get("msg", ""))
    s = connect(door)
    s.sendall(PROXY2[:7] + b"\r\nPROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nHELO x\r\n")  # whole, the signature says QUIT
    assert read_line(s).startswith(b"220 ")
    while not (reply := read_line(s)).startswith(b"250 "):
        assert reply.startswith(b"500 ")
    assert b"[127.0.0.1]" in reply


@pytest.mark.skipif(not AS_ROOT, reason="only root can mount")
def test_disk_full(make_door, connect):
    """452, no half file, and what was acknowledged is there."""
    door = make_door(start=False, greet_pause=0, fronts=1, mail_processes=2)
    door.mail.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k,mode=755", "tmpfs", door.mail], capture_output=True, check=False).returncode != 0:
        pytest.skip("cannot mount a small disk here")
    try:
        door.start()
        ok = full = 0
        while full < 5:
            with smtplib.SMTP("127.0.0.1", door.port, timeout=PATIENCE) as client:
                try:
                    client.sendmail("a@example.net", ["victim@example.org", "other@example.org"], ("y" * 70 + "\r\n") * 1000)
                    ok += 1
                except smtplib.SMTPResponseException as e:
                    assert e.smtp_code == 452 and e.smtp_error.startswith(b"4.3.1"), e
                    full += 1
        assert ok > 0 and len(door.messages()) == len(door.messages(user="other")) == ok
        assert not door.stray_files()
        assert all(m.read_bytes().endswith(b"y" * 70 + b"\n") for m in door.messages())
    finally:
        door.stop()
        subprocess.run(["umount", door.mail], check=True)


# ---- processes that die, stop, or do not listen ---------------------------------------------------------------------------------------------------------

class Senders:
    """Threads that send mail as fast as they are let, and remember what was acknowledged."""

    def __init__(self, door, count=4):
        self.door, self.acked, self.ending = door, [], False
        self.threads = [threading.Thread(target=self.run, args=(n,), daemon=True) for n in range(count)]
        for t in self.threads:
            t.start()

    def run(self, number):
        for i in itertools.count():
            if self.ending:
                return
            try:
                with smtplib.SMTP("127.0.0.1", self.door.port, timeout=PATIENCE) as client:
                    client.sendmail("a@example.net", ["victim@example.org"], f"X-Number: {number}/{i}/\r\n\r\n" + "z" * 70_000 + "\r\nlast line\r\n")
                    self.acked.append(f"X-Number: {number}/{i}/")
            except (smtplib.SMTPException, OSError):
                pass

    def end(self):
        self.ending = True
        for t in self.threads:
            t.join(PATIENCE)
            assert not t.is_alive()

    def check(self):
        """Nothing acknowledged is missing, and nothing in new/ is half a message."""
        texts = [m.read_text() for m in self.door.messages()]
        assert all(t.endswith("last line\n") for t in texts)
        stored = {re.search(r"^X-Number: \S+", t, re.M).group(0) for t in texts}
        assert not [a for a in self.acked if a not in stored]


def test_kills_lose_no_acknowledged_message(make_door):
    door = make_door(greet_pause=0, max_per_client=0, fronts=2, mail_processes=2)
    senders = Senders(door)
    for n in range(4):
        have = len(senders.acked)
        wait_until(lambda h=have: len(senders.acked) >= h + 20, "mail flows")
        victim = processes(door, ("tarry-mail", "tarry-front")[n % 2])[0]
        os.kill(victim, signal.SIGKILL)
        door.wait_for(lambda d: d.get("event") == "role_died", n + 1)
    have = len(senders.acked)
    wait_until(lambda: len(senders.acked) >= have + 20, "mail flows again")
    senders.end()
    senders.check()
    all_gone(door)


def test_end_under_load_loses_no_acknowledged_message(make_door):
    door = make_door(greet_pause=0, max_per_client=0, fronts=2, mail_processes=2)
    senders = Senders(door)
    wait_until(lambda: len(senders.acked) >= 40, "mail flows")
    assert door.end() == 0
    senders.end()
    senders.check()
    assert not door.stray_files()


def test_a_front_that_was_stopped_hears_the_last_table(make_door, connect):
    """Of many tables that came meanwhile only a few wait in its channel, and the last one is not lost."""
    door = make_door(greet_pause=0, fronts=1, mail_processes=1, access=[])
    front, = processes(door, "tarry-front")
    os.kill(front, signal.SIGSTOP)
    with door.log_path.open() as log:
        log.seek(0, os.SEEK_END)
        for n in range(300):
            door.write_access([f"GreetPause:127.0.1.{n % 250 + 1} {LONG}"])
            door.kill(signal.SIGHUP)
            deadline, text = time.monotonic() + PATIENCE, ""
            while "event=access_loaded" not in text:
                assert time.monotonic() < deadline
                time.sleep(0.001)
                text += log.read()
    os.kill(front, signal.SIGCONT)

    def refused():
        s = connect(door, "127.0.1.50")
        s.sendall(b"QUIT\r\n")
        return read_all(s).startswith(REFUSAL)

    wait_until(refused, "the last table is in force")
    assert read_line(connect(door, "127.0.1.49")).startswith(b"220 ")


def test_stopped_mail_processes(make_door, connect):
    """Clients wait, and are served when the processes go on."""
    door = make_door(greet_pause=0, max_per_client=0, fronts=1, mail_processes=2, backend_timeout=PATIENCE * 1000)
    for p in processes(door, "tarry-mail"):
        os.kill(p, signal.SIGSTOP)
    clients = [connect(door, f"127.0.0.{n + 1}") for n in range(200)]
    wait_until(lambda: door.counters()["open"] == len(clients), "all have come")
    for p in processes(door, "tarry-mail"):
        os.kill(p, signal.SIGCONT)
    assert all(read_line(c).startswith(b"220 ") for c in clients)


def test_a_log_that_nobody_reads_stops_nobody(make_door, connect):
    """stderr is a pipe, full: lines are lost, clients are not."""
    door = make_door(start=False, greet_pause=0, log_level="debug", fronts=1, mail_processes=1, listens=("127.0.0.1:0",))
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    door.listens = (f"127.0.0.1:{port}",)
    door.write_config()
    out, into = os.pipe()
    running = subprocess.Popen([door.binary, "serve", "-c", str(door.config)], stdin=subprocess.DEVNULL, stdout=into, stderr=into, start_new_session=True)
    os.close(into)
    try:
        text = b""
        while b"event=listening" not in text:
            text += os.read(out, 1 << 16)
        for _ in range(600):
            s = connect(("127.0.0.1", port))
            assert read_line(s).startswith(b"220 ")
            s.close()
        running.send_signal(signal.SIGTERM)
        assert running.wait(PATIENCE) == 0
        assert len(os.read(out, 1 << 20)) > 30_000
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        os.close(out)


# ---- backends that behave badly --------------------------------------------------------------------------------------------------------------------------

def all_at_once(s, data):
    try:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        s.recv(1 << 16)
    except OSError:
        pass
    s.close()


GREETING = b"220 backend.example.org ready\r\n"
BAD_BACKENDS = {
    "garbage": lambda s: all_at_once(s, os.urandom(300_000)),
    "no line end": lambda s: all_at_once(s, b"2" * 1_000_000),
    "answers before it is asked": lambda s: all_at_once(s, GREETING + b"250 ok\r\n" * 5000),
    "closes at once": lambda s: s.close(),
    "closes within its greeting": lambda s: (s.sendall(GREETING[:7]), s.close()),
    "resets at once": reset,
    "resets after its greeting": lambda s: (s.sendall(GREETING), reset(s)),
    "half-closes": lambda s: (s.sendall(GREETING), s.shutdown(socket.SHUT_WR)),
    "never reads": lambda s: s.sendall(GREETING),
}


def handed_on(door, connect, backend):
    """A client whose connection is at the backend: one that has failed is left alone for a while, and who comes then is turned away at once."""
    while True:
        client = connect(door)
        if backend.socket in select.select([backend.socket, client], [], [], PATIENCE)[0]:
            return client
        client.close()


@pytest.mark.parametrize("what", BAD_BACKENDS)
def test_bad_backend(make_door, connect, what):
    """The client hears what there is to hear or 421, all ends by itself, and nothing stays behind."""
    backend = Backend()
    door = make_door(local_greet_pause=["* 0"], backends={"bad": (backend.at, "v2")}, fronts=1, relay_timeout=1000, backend_timeout=1000, linger=100, slow_commands="no")
    before = descriptors(door)
    for _ in range(2):
        client = handed_on(door, connect, backend)
        serve = Background(lambda: BAD_BACKENDS[what](backend.accept()))
        if what == "never reads":
            client.setblocking(False)
            try:
                while True:
                    client.send(b"NOOP\r\n" * 10_000)
            except BlockingIOError:
                client.settimeout(PATIENCE)
        try:
            heard = read_all(client)
        except ConnectionResetError:
            heard = None
        serve.result()
        client.close()
        if "resets" not in what and "close" not in what and what != "never reads":
            assert heard and not heard.startswith(b"421 4.3.2 mail.example.org Service")
    all_gone(door)
    # Pipes, once made, are kept for the next ones, a few.
    assert sum(descriptors(door).values()) - sum(before.values()) <= 2 * 4
    assert door.counters()["restarts"] == 0
    backend.close()
