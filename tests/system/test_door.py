"""The door as an administrator and as a hostile network see it: limits, reload, restarts, crashes, errors, and any bytes at any time."""
import fcntl
import hashlib
import os
import re
import resource
import select
import signal
import smtplib
import socket
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from door import ACCOUNT, AS_ROOT, PATIENCE, memory_kb, session_members, status
from mta import free_port, wait_until
from talk import Backend, Background, REFUSAL, command, owner_of, read_all, read_line, reset, well_formed

LONG = 60_000  # a pause that does not end within a test
FULL = b"421 4.3.2 "


@pytest.fixture
def backend():
    one = Backend()
    yield one
    one.close()


def told(door, connect, source="127.0.0.1"):
    """What a client is told who then goes, as one does who is told to come again."""
    client = connect(door, source)
    answer = read_all(client)
    client.close()
    return answer


def held(door, n):
    wait_until(lambda: door.counters()["held"] == n, f"{n} clients held")


# ---- the pause and the refusal -----------------------------------------------------------------------------------------------------------

def test_hang_up_in_the_pause(make_door, connect):
    """A client that goes without a word has not talked: nothing is sent, nobody is called an early talker."""
    door = make_door(greet_pause=LONG)
    half = connect(door)
    half.shutdown(socket.SHUT_WR)
    assert read_all(half) == b""
    gone = connect(door)
    held(door, 1)
    reset(gone)
    lines = door.wait_verdict("gone", 2)
    assert all(float(d["after_ms"]) < LONG for d in lines)
    assert door.verdicts("early") == []
    counters = door.counters()
    assert (counters["gone"], counters["early"], counters["held"], counters["open"]) == (2, 0, 0, 0)


def test_a_refused_client_may_be_silent_for_a_minute(make_door, connect, binary):
    shown = subprocess.run([binary, "check", "-v", "-o", "access_db=", "-o", f"user={ACCOUNT}"], capture_output=True, text=True, timeout=PATIENCE, check=False).stdout
    assert re.search(r"^\s*refuse_timeout\s*=\s*\"?(1m|60s|60000(ms)?)\"?$", shown, re.M), shown
    door = make_door(greet_pause=LONG, refuse_timeout=300)
    client = connect(door)
    client.sendall(b"NOOP\r\n")
    begin = time.monotonic()
    assert read_all(client) == REFUSAL + b"250 2.0.0 OK\r\n"
    assert 0.25 < time.monotonic() - begin < 5


def test_what_the_mail_server_inside_will_not_do(make_door, connect):
    door = make_door(greet_pause=0)
    client = connect(door)
    assert read_line(client).startswith(b"220 ")
    for said, answer in ((b"VRFY root", b"252 2.5.2 "), (b"EXPN list", b"502 5.7.0 "), (b"ETRN example.org", b"502 5.7.0 "), (b"VERB", b"502 5.7.0 "),
                         (b"NOOP " + b"x" * 3000, b"500 5.5.2 Line too long"), (b"NOOP", b"250 2.0.0 OK")):
        client.sendall(said + b"\r\n")
        assert read_line(client).startswith(answer), said[:20]


def test_refusal_arrives_whatever_was_sent(make_door, connect):
    """Hundreds of kilobytes unread, and no reset destroys the answer: all lines that are due arrive, then a clean end."""
    door = make_door(greet_pause=LONG)
    for _ in range(20):
        client = connect(door)
        client.sendall(b"XYZZY\r\n" * 30_000)
        lines = read_all(client).split(b"\r\n")
        assert lines[0] + b"\r\n" == REFUSAL
        assert lines[1:26] == [b'500 5.5.1 Command unrecognized: "XYZZY"'] * 25
        assert lines[26:] == [b"421 4.7.0 mail.example.org Too many bad commands; closing connection", b""]
        client.sendall(b"XYZZY\r\n" * 100)  # the door still listens, and throws it away
        client.shutdown(socket.SHUT_WR)
        wait_until(lambda: door.counters()["open"] == 0, "the door has closed it")
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_one_line_per_connection(make_door, connect):
    door = make_door(greet_pause=LONG)
    client = connect(door, "127.0.0.9")
    client.sendall(b"EHLO \x1b[31m\"x\r\nQUIT\r\n")
    read_all(client)
    line = door.wait_verdict("early")[0]
    assert line["client"] == "127.0.0.9" and line["port"] == str(client.getsockname()[1]) and line["pause_ms"] == str(LONG)
    assert line["data"] == r'EHLO \x1b[31m\"x\r\nQUIT\r\n' and line["bytes"] == "20" and line["kind"] and line["id"]
    assert len(door.verdicts()) == 1


def test_lines_that_the_log_could_not_take_come_later(make_door, connect):
    """Whoever reads the log stops for a while and goes on when nothing happens at the door any more: every line is there within seconds.
    At first the pipe is full, so that what is logged at the start waits too."""
    door = make_door(start=False, greet_pause=LONG, max_per_client=0, fronts=1)
    door.write_config()
    reader, writer = os.pipe()
    os.write(writer, b"." * fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096))
    os.set_blocking(reader, False)
    text = b""

    def lines(wanted, n):
        nonlocal text
        if select.select([reader], [], [], 0.1)[0]:
            text += os.read(reader, 65536)
        return text.count(wanted) >= n

    door.process = subprocess.Popen([door.binary, "serve", "-c", str(door.config)], stdin=subprocess.DEVNULL, stderr=writer, start_new_session=True)
    os.close(writer)
    try:
        wait_until(lambda: len(door.children()) == 3, "its roles run")
        wait_until(lambda: lines(b"event=listening", 1), "it listens")
        port = int(re.search(rb" at=\S+:([0-9]+) ", text).group(1))
        for _ in range(100):
            client = connect(("127.0.0.1", port))
            client.sendall(b"QUIT\r\n")
            read_all(client)
            client.close()
        wait_until(lambda: lines(b"verdict=early", 100), "a line for each client")
        assert b"log_lines_lost" not in text
    finally:
        door.end()
        os.close(reader)


def test_addresses_of_both_families(make_door, connect):
    """An IPv4 client on a listener for both is an IPv4 client: its key matches, and the log says so."""
    door = make_door(greet_pause=LONG, listens=("[::]:0",), access=["GreetPause:127.0.0.3 0", "GreetPause:IPv6:::1 0"])
    four, six = connect(("127.0.0.1", door.port), "127.0.0.3"), connect(("::1", door.port))
    for client, literal in ((four, b"[127.0.0.3]"), (six, b"[IPv6:::1]")):
        assert read_line(client).startswith(b"220 ")
        assert command(client, "HELO x") == b"250 mail.example.org Hello " + literal + b", pleased to meet you\r\n"
        assert command(client, "QUIT").startswith(b"221 ")
        client.close()
    assert {d["client"] for d in door.wait_verdict("exempt", 2)} == {"127.0.0.3", "::1"}


# ---- the access file ---------------------------------------------------------------------------------------------------------------------------

def test_changed_access_file_is_taken_without_losing_anybody(make_door, connect):
    door = make_door(greet_pause=LONG, access=["GreetPause:127.0.0.2 3000", "GreetPause:127.0.0.3 0"])
    waiting, served = connect(door, "127.0.0.2"), connect(door, "127.0.0.3")
    assert read_line(served).startswith(b"220 ")
    door.write_access(["GreetPause:127.0.0.4 0"])
    door.wait_for(lambda d: d.get("event") == "access_loaded", 2)
    assert read_line(connect(door, "127.0.0.4")).startswith(b"220 ")
    assert command(served, "NOOP").startswith(b"250 ")
    assert read_line(waiting).startswith(b"220 ")
    late = connect(door, "127.0.0.3")
    late.sendall(b"NOOP\r\n")
    assert read_line(late) == REFUSAL
    assert door.counters()["access_reloads"] == 2


def test_hangup_signal_reads_the_access_file(make_door, connect):
    door = make_door(greet_pause=LONG, access=[])
    door.write_access(["GreetPause:127 0"])
    door.kill(signal.SIGHUP)
    door.wait_for(lambda d: d.get("event") == "access_loaded" and d["entries"] == "1")
    assert read_line(connect(door)).startswith(b"220 ")


def test_bad_access_file_keeps_the_old_table(make_door, connect):
    door = make_door(greet_pause=LONG, access=["GreetPause:127.0.0.3 0"])
    door.write_access(["GreetPause:127.0.0.4 0", "GreetPause:127.0.0.5", "  leading blank"])
    door.kill(signal.SIGHUP)
    door.wait_for(lambda d: d.get("event") == "access_kept")
    assert "access:2:" in door.text() and "access:3:" in door.text()
    assert read_line(connect(door, "127.0.0.3")).startswith(b"220 ")
    client = connect(door, "127.0.0.4")
    client.sendall(b"NOOP\r\n")
    assert read_line(client) == REFUSAL
    assert door.counters()["access_failed"] == 1
    door.access_path.unlink()
    door.kill(signal.SIGHUP)
    door.wait_for(lambda d: d.get("event") == "access_kept", 2)
    assert read_line(connect(door, "127.0.0.3")).startswith(b"220 ")
    asked = [door.binary, "status", "-c", str(door.config)]
    said = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 1 and f"warning      access_db text:{door.access_path}: the file is no good since 20" in said.stdout
    door.write_access(["GreetPause:127.0.0.5 0"])
    door.kill(signal.SIGHUP)
    wait_until(lambda: subprocess.run(asked, capture_output=True, timeout=60, check=False).returncode == 0, "the file is in force")


# ---- the backend ---------------------------------------------------------------------------------------------------------------------------------

def test_backend_down(make_door, connect):
    door = make_door(greet_pause=0, backends={"down": (f"smtp:127.0.0.1:{free_port()}", "no")})
    answer = read_all(connect(door))
    assert answer.startswith(FULL) and answer.count(b"\n") == 1
    assert len(door.wait_verdict("nobackend")) == 1 and len(door.verdicts()) == 1
    assert door.counters()["nobackend"] == 1


def test_backend_silent(make_door, connect, backend):
    door = make_door(greet_pause=0, backend_timeout=300, backends={"silent": (backend.at, "no")})
    assert read_all(connect(door)).startswith(FULL)
    assert len(door.wait_verdict("nobackend")) == 1


def test_backend_hangs_up_without_greeting(make_door, connect, backend):
    door = make_door(greet_pause=0, backends={"rude": (backend.at, "no")})
    client = connect(door)
    backend.accept().close()
    assert read_all(client).startswith(FULL)
    assert len(door.wait_verdict("nobackend")) == 1


def test_talk_while_the_backend_is_dialled(make_door, connect, backend):
    """The pause is over, the greeting has not come yet: who talks now is early all the same, and the backend never hears it."""
    door = make_door(greet_pause=50, backends={"slow": (backend.at, "no")})
    client = connect(door)
    server = backend.accept()
    client.sendall(b"HELO x\r\nQUIT\r\n")
    answer = read_all(client)
    assert answer.startswith(REFUSAL) and answer.count(b"\n") == 3
    assert read_all(server) == b""
    assert len(door.wait_verdict("early")) == 1


def test_exempt_client_may_talk_first(make_door, connect, backend):
    door = make_door(greet_pause=0, backends={"slow": (backend.at, "no")})
    client = connect(door)
    client.sendall(b"HELO x\r\n")
    server = backend.accept(b"220 at last\r\n")
    assert read_line(server) == b"HELO x\r\n"
    assert read_line(client) == b"220 at last\r\n"


# ---- the relay -----------------------------------------------------------------------------------------------------------------------------------

def beyond_mail(make_door, connect, backend):
    """A door, and the two ends of a relay of an exempt client whose first MAIL has passed, so that nothing is looked at any more."""
    door = make_door(local_greet_pause=["* 0"], backends={"b": (backend.at, "v1")})
    client = connect(door)
    server = backend.accept(b"220 b\r\n")
    assert read_line(client) == b"220 b\r\n"
    client.sendall(b"MAIL FROM:<a@example.net>\r\n")
    assert read_line(server).startswith(b"PROXY ") and read_line(server) == b"MAIL FROM:<a@example.net>\r\n"
    return door, client, server


def test_half_close_goes_through(make_door, connect, backend):
    _, client, server = beyond_mail(make_door, connect, backend)
    client.sendall(b"last words\r\n")
    client.shutdown(socket.SHUT_WR)
    assert read_all(server) == b"last words\r\n"
    server.sendall(b"still heard\r\n" * 1000)
    server.close()
    assert read_all(client) == b"still heard\r\n" * 1000


def test_backend_that_ends_the_session(make_door, connect, backend):
    """The client hears all of its last words and a clean end, whatever it still had to say."""
    _, client, server = beyond_mail(make_door, connect, backend)
    client.sendall(b"unread\r\n" * 10_000)
    server.sendall(b"421 go away\r\n" * 1000)
    server.shutdown(socket.SHUT_WR)
    assert read_all(client) == b"421 go away\r\n" * 1000
    client.sendall(b"unasked\r\n" * 1000)
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""


def fronts_memory(door):
    return sum(memory_kb(pid) for pid in door.members())


def pour(s, total):
    """Sends total bytes that nothing can guess; their hash."""
    digest, block = hashlib.sha256(), os.urandom(1 << 16)
    s.settimeout(PATIENCE * 3)
    for i in range(total >> 16):
        part = i.to_bytes(4, "big") + block[4:]
        digest.update(part)
        s.sendall(part)
    s.shutdown(socket.SHUT_WR)
    return digest.hexdigest()


def hash_of(s):
    digest = hashlib.sha256()
    while data := s.recv(1 << 18):
        digest.update(data)
    return digest.hexdigest()


@pytest.mark.parametrize("who_sends", ["client", "backend"])
def test_slow_reader_grows_nothing(make_door, connect, backend, who_sends):
    door, client, server = beyond_mail(make_door, connect, backend)
    source, sink = (client, server) if who_sends == "client" else (server, client)
    before = fronts_memory(door)
    sender = Background(pour, source, 64 << 20)

    def stuck():
        """The sender cannot send: its socket stays full."""
        return not select.select([], [source], [], 0.3)[1]

    wait_until(stuck, "the sender is held back")
    assert sender.is_alive()
    sanitized = b"__asan_init" in Path(door.binary).read_bytes()  # such a build keeps what it has freed
    assert fronts_memory(door) - before < (16 << 10 if sanitized else 1 << 10)
    assert hash_of(sink) == sender.result()


def test_silent_relay_ends(make_door, connect, backend):
    door = make_door(greet_pause=0, relay_timeout=1000, backends={"b": (backend.at, "no")})
    client = connect(door)
    server = backend.accept(b"220 b\r\n")
    assert read_line(client) == b"220 b\r\n"
    read_all(client)
    read_all(server)
    held(door, 0)
    assert door.counters()["open"] == 0


def test_big_message(make_door):
    """30 MB arrive as they were sent."""
    door = make_door(greet_pause=0)
    lines = [os.urandom(35).hex() for _ in range(30_000_000 // 72)]
    text = "Subject: big\r\n\r\n" + "\r\n".join(lines) + "\r\n"
    with smtplib.SMTP("127.0.0.1", door.port, timeout=PATIENCE * 2) as client:
        client.sendmail("sender@example.net", ["victim@example.org"], text)
    stored = door.messages()[0].read_bytes()
    assert stored.partition(b"\n\n")[2].decode() == "\n".join(lines) + "\n"
    assert not door.stray_files()


def test_message_over_the_limit_leaves_nothing(make_door):
    door = make_door(greet_pause=0, max_message_size="100K")
    with smtplib.SMTP("127.0.0.1", door.port, timeout=PATIENCE) as client:
        client.ehlo_or_helo_if_needed()
        client.does_esmtp = False  # so that it does not announce the size and is refused before
        with pytest.raises(smtplib.SMTPDataError) as refused:
            client.sendmail("sender@example.net", ["victim@example.org"], "x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 5000)
        assert refused.value.smtp_code == 552 and refused.value.smtp_error.startswith(b"5.3.4")
        assert client.noop()[0] == 250
    assert door.messages() == [] and not door.stray_files()
    counters = door.counters()
    assert (counters["messages_refused"], counters["messages"], counters["message_bytes"]) == (1, 0, 0)


# ---- limits ----------------------------------------------------------------------------------------------------------------------------------------

def test_max_per_client(make_door, connect):
    door = make_door(greet_pause=LONG, max_per_client=2)
    first, _second = connect(door, "127.0.0.2"), connect(door, "127.0.0.2")
    held(door, 2)
    assert told(door, connect, "127.0.0.2").startswith(b"421 4.7.0 ")
    assert door.wait_verdict("limited")[0]["client"] == "127.0.0.2"
    connect(door, "127.0.0.3")
    held(door, 3)
    first.close()
    held(door, 2)
    connect(door, "127.0.0.2")
    held(door, 3)
    assert door.counters()["limited_client"] == 1


def test_max_connections(make_door, connect):
    door = make_door(greet_pause=LONG, max_connections=3, max_per_client=0, stress_at=0)
    clients = [connect(door, f"127.0.0.{n}") for n in (2, 3, 4)]
    held(door, 3)
    for n in (2, 5, 6):
        assert told(door, connect, f"127.0.0.{n}").startswith(FULL)
    assert door.counters()["limited_total"] == 3
    clients.pop().close()
    held(door, 2)
    connect(door, "127.0.0.7")
    held(door, 3)


def test_out_of_descriptors(make_door, connect):
    """More clients than descriptors: everybody is held or told 421, nobody is left without an answer, and it goes on afterwards."""
    door = make_door(greet_pause=LONG, max_per_client=0, fronts=1, reserve_descriptors=32, linger=100, stress_at=0, limits={"RLIMIT_NOFILE": 128})
    clients = [connect(door, f"127.0.1.{n % 200 + 1}") for n in range(300)]
    wait_until(lambda: sum(door.counters()[k] for k in ("held", "limited_total")) >= 300, "all 300 held or told")
    counters = door.counters()
    assert 40 <= counters["held"] <= 128
    assert {d["reason"] for d in door.verdicts("limited")} == {"descriptors"}
    readable = select.select(clients, [], [], 1)[0]
    told = [c for c in readable if read_all(c).startswith(FULL)]
    assert len(told) == counters["limited_total"] and len(told) + counters["held"] == 300
    for c in clients:
        c.close()
    held(door, 0)
    client = connect(door)
    client.sendall(b"QUIT\r\n")
    assert read_all(client).startswith(REFUSAL)


def raise_nofile(n):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < n:
        pytest.skip(f"needs {n} descriptors, the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(n, resource.getrlimit(resource.RLIMIT_NOFILE)[0]), hard))


def test_five_thousand_held_at_once(make_door):
    """All are held, at a small cost, and all are greeted: none of them early."""
    raise_nofile(6000)
    pause_s, n = 6, 5000
    door = make_door(greet_pause=f"{pause_s}s", max_per_client=0)
    before = fronts_memory(door)
    poll, clients, begun, greeted = select.epoll(), {}, {}, {}
    try:
        for i in range(n):
            s = socket.socket()
            s.bind((f"127.0.{2 + i // 200}.{1 + i % 200}", 0))
            begun[s.fileno()] = time.monotonic()
            s.connect(door.address)
            clients[s.fileno()] = s
        took = time.monotonic() - begun[min(begun)]
        for fd in clients:
            poll.register(fd, select.EPOLLIN)
        if took < pause_s - 1:
            held(door, n)
            assert fronts_memory(door) - before < n * 1024 // 1024 + 2048
        deadline = time.monotonic() + pause_s + PATIENCE
        while len(greeted) < n and time.monotonic() < deadline:
            for fd, _ in poll.poll(1):
                if fd not in greeted:
                    greeted[fd] = time.monotonic() - begun[fd]
                    answer = clients[fd].recv(200)
                    assert answer.startswith((b"220 mail.example.org ", FULL)), answer
                    poll.unregister(fd)
                    clients[fd].close()
        assert len(greeted) == n
        assert min(greeted.values()) >= pause_s
    finally:
        for s in clients.values():
            s.close()
    counters = door.counters()
    assert counters["connections"] >= n and counters["limited_total"] == counters["limited_client"] == counters["early"] == 0


# ---- roles -----------------------------------------------------------------------------------------------------------------------------------------

def two_fronts(door, connect):
    """Two held clients whom different processes hold, and those."""
    first = connect(door, "127.0.0.2")
    wait_until(lambda: owner_of(door, first) in door.children(), "a front has it")
    for n in range(3, 60):
        second = connect(door, f"127.0.0.{n}")
        wait_until(lambda s=second: owner_of(door, s) in door.children(), "a front has it")
        if owner_of(door, second) != owner_of(door, first):
            return first, second
    raise AssertionError("58 clients met the same front")


def test_one_client_meets_one_front(make_door, connect):
    door = make_door(log_level="debug", greet_pause=LONG, max_per_client=0)
    for n in range(2, 8):
        clients = [connect(door, f"127.0.0.{n}") for _ in range(8)]
        wait_until(lambda c=clients: all(owner_of(door, s) in door.children() for s in c), "all are accepted")
        assert len({owner_of(door, s) for s in clients}) == 1


def test_killed_front_is_started_again_and_costs_only_its_own(make_door, connect):
    door = make_door(log_level="debug", greet_pause=3000, access=["GreetPause:127.0.0.2 60000"])
    lost, other = two_fronts(door, connect)
    count = len(door.children())
    os.kill(owner_of(door, lost), signal.SIGKILL)
    try:
        assert lost.recv(100) == b""
    except ConnectionResetError:
        pass
    assert read_line(other).startswith(b"220 ")
    assert command(other, "NOOP").startswith(b"250 ")
    door.wait_for(lambda d: d.get("event") == "role_died" and d["role"] == "front")
    wait_until(lambda: len(door.children()) == count, "it is started again")
    again = connect(door, lost.getsockname()[0] if lost.fileno() >= 0 else "127.0.0.2")
    again.sendall(b"QUIT\r\n")
    assert read_all(again).startswith(REFUSAL)
    counters = door.counters()
    assert counters["restarts"] == 1 and counters["held"] >= 0 and counters["open"] >= 0


def test_killed_mail_process_is_started_again(make_door, connect):
    door = make_door(log_level="debug", greet_pause=0, mail_processes=1, fronts=1)
    client = connect(door)
    assert read_line(client).startswith(b"220 ")
    wait_until(lambda: owner_of(door, client) in door.children(), "the log says who has it")
    front = owner_of(door, client)
    mail = [p for p in door.children() if p != front]
    assert len(mail) == 1
    os.kill(mail[0], signal.SIGKILL)
    read_all(client)
    door.wait_for(lambda d: d.get("event") == "role_died" and d["role"] == "mail")
    assert read_line(connect(door)).startswith(b"220 ")


def test_who_is_served_is_told_when_the_door_ends(make_door, connect):
    """The mail server inside has a 421 for a client between commands and for one in the middle of its message; each has its line in the log."""
    door = make_door(greet_pause=0)
    idle, sending = connect(door), connect(door)
    for client in (idle, sending):
        assert read_line(client).startswith(b"220 ")
    for said in ("HELO x", "MAIL FROM:<a@example.net>", "RCPT TO:<victim@example.org>", "DATA"):
        last = command(sending, said)
    assert last.startswith(b"354 ")
    sending.sendall(b"Subject: half\r\n")
    assert door.end() == 0
    for client in (idle, sending):
        assert read_all(client) == b"421 4.3.2 mail.example.org Service shutting down, try again later\r\n"
    assert [d["end"] for d in door.verdicts("exempt")] == ["stop", "stop"]
    assert door.messages() == [] and door.stray_files() == []


def test_what_is_refused_inside_is_in_the_log(make_door, connect):
    door = make_door(greet_pause=0, max_message_size=2000, create_maildirs="no")
    client = connect(door)
    read_line(client)
    for said in ("HELO x", "MAIL FROM:<a@example.net>", "RCPT TO:<x@example.com>", "RCPT TO:<nobody@example.org>", "RSET", "MAIL FROM:<b@example.net> SIZE=9999"):
        command(client, said)
    found = door.wait_for(lambda d: d.get("event") == "rejected", 3)
    assert [(d["client"], d["from"], d.get("to"), d["reply"][:9]) for d in found] == [
        ("127.0.0.1", "a@example.net", "<x@example.com>", "550 5.7.1"), ("127.0.0.1", "a@example.net", "<nobody@example.org>", "550 5.1.1"),
        ("127.0.0.1", "<b@example.net>", None, "552 5.3.4")]
    assert len({d["session"] for d in found}) == 1
    counters = door.counters()
    assert (counters["messages_refused"], counters["recipients_denied"]) == (1, 2)


def test_backend_that_is_down_is_a_warning(make_door, connect, backend):
    """Who reads only warnings learns of it: once when it goes, and once when it is there again."""
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    port = silent.getsockname()[1]
    door = make_door(greet_pause=0, fronts=1, log_level="notice", max_per_client=0, backends={"b": (f"smtp:127.0.0.1:{port}", "no")})
    for _ in range(3):
        assert read_all(connect(door)).startswith(b"421 4.3.2 ")
    down = door.wait_for(lambda d: d.get("event") == "backend_down")
    assert [(d["backend"], d["address"], d["error"]) for d in down] == [("b", f"smtp:127.0.0.1:{port}", "Connection refused")]
    silent.listen()
    server = Background(lambda: silent.accept()[0])
    while server.is_alive():  # until it is tried again, clients are turned away at once
        client = connect(door)
        if select.select([client], [], [], 0.5)[0]:
            assert read_all(client).startswith(b"421 4.3.2 ")
            client.close()
            time.sleep(0.02)
    there = server.result()
    there.sendall(b"220 here\r\n")
    assert read_line(client) == b"220 here\r\n"
    up = door.wait_for(lambda d: d.get("event") == "backend_up")
    assert int(up[0]["turned_away"]) >= 3 and len(up) == len(door.events("backend_down")) == 1
    there.close()
    silent.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_end_leaves_nothing_running(make_door, connect, number):
    """With clients held, refused and relayed: all roles end, every client sees the end of its connection."""
    door = make_door(greet_pause=LONG, access=["GreetPause:127.0.0.3 0"])
    waiting, refused, served = connect(door), connect(door), connect(door, "127.0.0.3")
    refused.sendall(b"NOOP\r\n")
    assert read_line(refused) == REFUSAL
    assert read_line(served).startswith(b"220 ")
    sid = door.process.pid
    assert door.end(number) == 0
    assert session_members(sid) == []
    assert read_all(waiting).startswith(FULL)
    for client in (refused, served):
        try:
            read_all(client)
        except ConnectionResetError:
            pass
    with pytest.raises(ConnectionRefusedError):
        connect(door)


@pytest.mark.skipif(not AS_ROOT, reason="only root can change to another account")
def test_roles_run_without_privileges(make_door, connect):
    import pwd
    door = make_door(greet_pause=0)
    assert read_line(connect(door)).startswith(b"220 ")
    account = pwd.getpwnam(ACCOUNT)
    assert status(door.process.pid, "Uid")[0] == "0"
    assert len(door.children()) == 4
    for pid in door.children():
        deadline = time.monotonic() + 10
        while "-" not in status(pid, "Name")[0] and time.monotonic() < deadline:
            time.sleep(0.01)  # it has just been made: another role may have answered the client meanwhile
        assert set(status(pid, "Uid")) == {str(account.pw_uid)} and set(status(pid, "Gid")) == {str(account.pw_gid)}
        assert status(pid, "Groups") in ([], [str(account.pw_gid)])
        assert status(pid, "CapEff") == ["0000000000000000"] and status(pid, "CapPrm") == ["0000000000000000"]
        assert status(pid, "NoNewPrivs") == ["1"]


def test_no_descriptor_stays_open_when_clients_have_gone(make_door, connect):
    door = make_door(greet_pause=200, fronts=1, mail_processes=1)

    def descriptors():
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in door.members())

    def visit():
        slammer, patient = connect(door), connect(door)
        slammer.sendall(b"QUIT\r\n")
        read_all(slammer)
        assert read_line(patient).startswith(b"220 ")
        assert command(patient, "QUIT").startswith(b"221 ")
        slammer.close()
        patient.close()

    visit()
    wait_until(lambda: door.counters()["open"] == 0, "all closed")
    before = descriptors()
    for _ in range(5):
        visit()
    wait_until(lambda: door.counters()["open"] == 0 and descriptors() == before, "no descriptor more than before")


# ---- hostile clients ---------------------------------------------------------------------------------------------------------------------------------

def test_reset_at_every_moment(make_door, connect):
    """A client that goes with a reset, whatever is happening: nothing is left of it, and the next one is served."""
    door = make_door(greet_pause=100, access=["GreetPause:127.0.0.3 0"])
    stages = [
        lambda s: None,
        lambda s: s.sendall(b"X"),
        lambda s: (s.sendall(b"NOOP\r\n"), read_line(s)),
        lambda s: s.sendall(b"XYZZY\r\n" * 5000),
        lambda s: read_line(s),
        lambda s: (read_line(s), s.sendall(b"HELO x\r\n")),
        lambda s: (read_line(s), command(s, "HELO x"), command(s, "MAIL FROM:<a@example.net>"), command(s, "RCPT TO:<victim@example.org>")),
        lambda s: (read_line(s), s.sendall(b"HELO x\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n"),
                   [read_line(s) for _ in range(4)], s.sendall(b"Subject: half\r\n\r\n" + b"text\r\n" * 20_000)),
        lambda s: (read_line(s), s.sendall(b"QUIT\r\n")),
    ]
    for source in ("127.0.0.2", "127.0.0.3"):
        for stage in stages[:4] if source == "127.0.0.2" else stages[4:]:
            client = connect(door, source)
            stage(client)
            reset(client)
    wait_until(lambda: door.counters()["open"] == 0, "all are gone")
    assert door.counters()["held"] == 0 and door.counters()["restarts"] == 0
    wait_until(lambda: not door.stray_files(), "no half message is left")
    assert door.messages() == []
    assert read_line(connect(door, "127.0.0.3")).startswith(b"220 ")


PIECES = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([b"\r\n", b"\n", b"\r", b"\0", b".\r\n", b"EHLO x\r\n", b"HELO x\r\n", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<c@example.org>\r\n", b"DATA\r\n",
                     b"QUIT\r\n", b"RSET\r\n", b"BDAT 5 LAST\r\n", b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.0\r\n\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n",
                     b"A" * 3000, b"VRFY " + b"\xff" * 600 + b"\r\n"]))


@pytest.fixture(scope="module")
def patient_door(binary, scratch):
    """One that refuses 127.0.0.2 and serves 127.0.0.3, for all the guesses."""
    from door import Door
    door = Door(binary, scratch / "fuzz", greet_pause=LONG, access=["GreetPause:127.0.0.3 0"], refuse_timeout=500, command_timeout=500, linger=100,
                max_per_client=0, hopcount_limit=5)
    door.start()
    yield door
    door.stop()


@pytest.mark.parametrize("source", ["127.0.0.2", "127.0.0.3"], ids=["refused", "served"])
def test_any_bytes(patient_door, source):
    """Whatever comes, what goes back are whole reply lines without control characters, and the door stays up."""
    parents = patient_door.members()

    @settings(max_examples=400, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(PIECES, max_size=12))
    def guess(pieces):
        with socket.socket() as s:
            s.settimeout(PATIENCE)
            s.bind((source, 0))
            s.connect(patient_door.address)
            answer = b""
            try:
                for piece in pieces:
                    s.sendall(piece)
                s.shutdown(socket.SHUT_WR)
                while data := s.recv(1 << 16):
                    answer += data
            except TimeoutError:
                raise
            except OSError:
                assert source == "127.0.0.3", "a refusal was followed by a reset"
        assert well_formed(answer), answer
        if source == "127.0.0.2":
            assert answer.startswith((REFUSAL, b"521 5.5.1 mail.example.org This port", b"421 4.7.0 mail.example.org No PROXY")) if b"".join(pieces) else answer == b""

    guess()
    assert patient_door.members() == parents
    assert patient_door.counters()["restarts"] == 0


# ---- errors people see ---------------------------------------------------------------------------------------------------------------------------------

def start_fails(door, code, *words):
    """It says what is wrong in one line, ends with that code, and starts nothing."""
    door.spawn()
    assert door.process.wait(PATIENCE) == code, door.text()
    assert session_members(door.process.pid) == []
    lines = [line for line in door.text().splitlines() if line.startswith("tarry: ")]
    assert lines, door.text()
    assert any(all(word in line for word in words) for line in lines), door.text()
    assert door.events("listening") == []
    door.process = None


def test_port_in_use(make_door):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        start_fails(make_door(start=False, listens=(f"127.0.0.1:{port}",)), 71, f"127.0.0.1:{port}", "in use")


def test_two_doors_do_not_share_a_port(make_door):
    first = make_door(greet_pause=LONG)
    start_fails(make_door(start=False, listens=(f"127.0.0.1:{first.port}",)), 71, "in use")


def test_configuration_that_is_not_there(binary, tmp_path):
    done = subprocess.run([binary, "serve", "-c", str(tmp_path / "none.conf")], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 66 and "none.conf" in done.stderr and done.stderr.startswith("tarry: ") and done.stderr.count("\n") == 1


def test_unknown_option(make_door):
    start_fails(make_door(start=False, greet_pawse=1000), 78, "tarry.conf:", "greet_pawse")


@pytest.mark.parametrize("name,value", [("max_bad_commands", 0), ("max_bad_commands", "many"), ("greet_pause", "soon"), ("log_level", "loud"), ("create_maildirs", "maybe")])
def test_value_out_of_bounds(make_door, name, value):
    start_fails(make_door(start=False, **{name: value}), 78, "tarry.conf:", name)


def test_bad_access_file_at_start(make_door):
    start_fails(make_door(start=False, access=["GreetPause:127.0.0.2 300", "GreetPause:127.0.0.3"]), 65, "access:2:", "no RHS")


def test_access_file_that_is_not_there(make_door, tmp_path):
    start_fails(make_door(start=False, access_db=[f"text:{tmp_path}/none"]), 66, "none")


@pytest.mark.skipif(not AS_ROOT, reason="only root can change to another account")
def test_account_that_is_not_there(make_door):
    door = make_door(start=False)
    door.write_config()
    door.options["user"] = "nobody-of-that-name"
    door.write_config = lambda: door.config.write_text(door.config.read_text().replace(f'"{ACCOUNT}"', '"nobody-of-that-name"'))
    start_fails(door, 67, "nobody-of-that-name")


def test_override_on_the_command_line(make_door, connect):
    door = make_door(start=False, greet_pause=LONG)
    door.start("-o", "greet_pause=0")
    assert read_line(connect(door)).startswith(b"220 ")
    bad = subprocess.run([door.binary, "serve", "-o", "greet_pause=soon"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert bad.returncode == 78 and "greet_pause" in bad.stderr


def test_check_says_that_a_pause_is_cut(make_door, binary):
    """Above 300 seconds a pause counts as 300 (what the transcripts show by waiting for it, in the long run of the suite)."""
    door = make_door(start=False, greet_pause="400s", access=["GreetPause:127.0.0.2 400000", "GreetPause:127.0.0.3 1s"])
    door.write_config()
    done = subprocess.run([binary, "check", "-c", str(door.config), "-v"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert re.search(r"tarry\.conf:\d+: .*300", text) and re.search(r"access:1: .*300", text) and re.search(r"access:2: ", text), text
    assert re.search(r"^\s*greet_pause\s*=\s*\"?(5m|300s|300000(ms)?)\"?$", text, re.M), text


def test_start_to_first_greeting(make_door, connect):
    """Quick enough for a restart that nobody notices. The number itself is measured in bench/."""
    door = make_door(start=False, greet_pause=0)
    begin = time.monotonic()
    door.start()
    assert read_line(connect(door)).startswith(b"220 ")
    assert time.monotonic() - begin < 2
