"""Senders and recipients judged while the dialogue goes on: what each hears, what arrives, and what a hostile client or a failing backend makes of it."""
import email
import random
import re
import socket
import tempfile
import time
from pathlib import Path

import pytest

import mta
from door import PATIENCE, memory_kb
from maps import Redis
from talk import Backend, Background, command, read_all, read_line, read_reply, reset, well_formed

BLOCKED = "127.0.0.5"
ACCESS = [f"Connect:{BLOCKED}\tREJECT", "Connect:127.0.0.6\tDISCARD", "Connect:127.0.0.7\tQUARANTINE:odd client", "Spam:friend@\tFRIEND", "Spam:pal@\tFRIEND",
          "From:spammer@\t554 5.7.1 no spam", "From:hole@\tDISCARD", "From:odd@\tQUARANTINE:odd sender", "To:gone@\tREJECT", "To:late@\tERROR:4.3.2:421 come again",
          "To:hole@\tDISCARD"]
LAST = b"END"


@pytest.fixture
def backend():
    one = Backend()
    yield one
    one.close()


@pytest.fixture
def folder(scratch):
    path = Path(tempfile.mkdtemp(dir=scratch))
    path.chmod(0o755)
    return path


def judging(make_door, **options):
    """Without a greet_pause everybody is exempt, and may say all at once."""
    exempt = {} if "greet_pause" in options else {"local_greet_pause": ["* 0"]}
    return make_door(**{**exempt, "delay_checks": "friend", "access": ACCESS, "linger": 100, **options})


def in_front(make_door, backend, **options):
    """A door before a backend that the test plays."""
    return judging(make_door, backends={"test": (backend.at, "no")}, **options)


def greeted(connect, door, source="127.0.0.1", hello="EHLO client.example.net"):
    client = connect(door, source)
    assert read_line(client).startswith(b"220 ")
    if hello:
        assert command(client, hello).startswith(b"250 ")
    return client


def through(connect, door, backend, source="127.0.0.1", offers=b"250 test\r\n"):
    """Both ends, greeted and past EHLO."""
    client = connect(door, source)
    server = backend.accept(b"220 test\r\n")
    assert read_line(client) == b"220 test\r\n"
    client.sendall(b"EHLO client.example.net\r\n")
    assert read_line(server) == b"EHLO client.example.net\r\n"
    server.sendall(offers)
    seen = [read_line(client)]
    while seen[-1][3:4] == b"-":
        seen.append(read_line(client))
    return client, server, b"".join(seen)


def relayed(client, server, said, reply):
    """A command that goes to the backend, and its reply to the client."""
    client.sendall(said + b"\r\n")
    assert read_line(server) == said + b"\r\n"
    server.sendall(reply + b"\r\n")
    assert read_line(client) == reply + b"\r\n"


def transaction(client, server):
    relayed(client, server, b"MAIL FROM:<a@example.net>", b"250 ok")
    relayed(client, server, b"RCPT TO:<friend@example.org>", b"250 ok")


def codes(client, n):
    return [int(read_reply(client)[:3]) for _ in range(n)]


def bodies(door, user):
    return [email.message_from_bytes(p.read_bytes())["Subject"] for p in door.messages(user=user)]


def of(door, event, count):
    """Of whom and to whom, as the log has it; it is written in its own time."""
    return [(d.get("from"), d.get("to")) for d in door.wait_for(lambda d: d.get("event") == event, count)]


# ---- who is told what --------------------------------------------------------------------------------------------------------------------

def test_only_friends_of_a_blocked_client_get_the_message(make_door, connect):
    """In one packet: each reply at its place, and the message goes to friends alone."""
    door = judging(make_door)
    client = greeted(connect, door, BLOCKED)
    client.sendall(b"MAIL FROM:<a@example.net>\r\nRCPT TO:<victim@example.org>\r\nRCPT TO:<friend@example.org>\r\nRCPT TO:<other@example.org>\r\n"
                   b"RCPT TO:<pal@example.org>\r\nDATA\r\n")
    assert codes(client, 6) == [250, 550, 250, 550, 250, 354]
    client.sendall(b"Subject: mixed\r\n\r\n..dot\r\n.\r\nQUIT\r\n")
    assert codes(client, 2) == [250, 221]
    assert read_all(client) == b""
    assert [len(door.messages(user=u)) for u in ("victim", "friend", "other", "pal")] == [0, 1, 0, 1]
    assert b"\n.dot\n" in door.messages(user="friend")[0].read_bytes().replace(b"\r\n", b"\n")
    assert of(door, "rejected", 2) == [("<a@example.net>", "<victim@example.org>"), ("<a@example.net>", "<other@example.org>")]
    assert door.counters()["rejected_recipients"] == 2


def test_data_without_a_recipient_that_is_left(make_door, connect):
    """The text that such a client sends all the same is no message; and the connection goes on."""
    door = judging(make_door)
    client = greeted(connect, door, BLOCKED)
    client.sendall(b"MAIL FROM:<a@example.net>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n")
    assert codes(client, 3) == [250, 550, 503]
    assert command(client, "RCPT TO:<friend@example.org>").startswith(b"250 ")
    assert command(client, "RSET").startswith(b"250 ")
    assert command(client, "RCPT TO:<friend@example.org>").startswith(b"503 ")
    assert command(client, "DATA").startswith(b"503 ")
    assert command(client, "QUIT").startswith(b"221 ")
    assert door.messages(user="friend") == [] and door.messages() == []


def test_transactions_do_not_touch_each_other(make_door, connect):
    """A sender that is thrown away, one that is refused and one that passes, one after the other, with RSET and EHLO between."""
    door = judging(make_door)
    client = greeted(connect, door)

    def send(sender, *recipients):
        said = [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{r}@example.org>" for r in recipients), "DATA"]
        client.sendall("".join(s + "\r\n" for s in said).encode())
        got = codes(client, len(said))
        if got[-1] == 354:
            client.sendall(f"Subject: {sender}\r\n\r\nx\r\n.\r\n".encode())
            got += codes(client, 1)
        return got

    assert send("hole@example.net", "victim", "other") == [250, 250, 250, 354, 250]
    assert send("spammer@example.net", "victim", "friend") == [250, 554, 250, 354, 250]
    assert send("good@example.net", "victim", "gone") == [250, 250, 550, 354, 250]
    assert command(client, "MAIL FROM:<hole@example.net>").startswith(b"250 ")
    assert command(client, "RCPT TO:<victim@example.org>").startswith(b"250 ")
    assert command(client, "RSET").startswith(b"250 ")
    assert send("second@example.net", "victim") == [250, 250, 354, 250]
    assert command(client, "MAIL FROM:<hole@example.net>").startswith(b"250 ")
    assert command(client, "RCPT TO:<victim@example.org>").startswith(b"250 ")
    assert command(client, "EHLO again.example.net").startswith(b"250 ")
    assert send("third@example.net", "victim") == [250, 250, 354, 250]
    assert send("", "victim") == [250, 250, 354, 250]
    assert command(client, "QUIT").startswith(b"221 ")
    assert sorted(bodies(door, "victim")) == ["", "good@example.net", "second@example.net", "third@example.net"]
    assert bodies(door, "friend") == ["spammer@example.net"] and door.messages(user="other") == []
    assert door.counters()["discarded"] == 1


@pytest.mark.parametrize("delay", ["off", "on", "friend", "hater"])
def test_what_is_thrown_away_looks_accepted(make_door, connect, delay):
    """By its client, its sender or one of its recipients: 250 everywhere, nothing is delivered, and the log says so once for each message."""
    door = judging(make_door, delay_checks=delay, access=ACCESS + ["Spam:victim@\tHATER"])
    for source, sender, recipient in (("127.0.0.6", "a", "victim"), ("127.0.0.1", "hole", "victim"), ("127.0.0.1", "a", "hole")):
        client = greeted(connect, door, source)
        client.sendall(f"MAIL FROM:<{sender}@example.net>\r\nRCPT TO:<victim@example.org>\r\nRCPT TO:<{recipient}@example.org>\r\nDATA\r\n".encode())
        assert codes(client, 4) == [250, 250, 250, 354]
        client.sendall(b"Subject: nothing\r\n\r\n" + b"x" * 70 + b"\r\n.\r\n")
        assert codes(client, 1) == [250]
        assert command(client, "QUIT").startswith(b"221 ")
    assert not list(door.mail.glob("**/new/*")) and not door.stray_files()
    assert len(of(door, "discard", 3)) == 3 and door.counters()["discarded"] == 3


@pytest.mark.parametrize("delay", ["off", "friend"])
def test_quarantine_is_delivered_and_logged(make_door, connect, delay):
    door = judging(make_door, delay_checks=delay)
    for source, sender, reason in (("127.0.0.7", "a", "odd client"), ("127.0.0.1", "odd", "odd sender")):
        client = greeted(connect, door, source)
        client.sendall(f"MAIL FROM:<{sender}@example.net>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n".encode())
        assert codes(client, 3) == [250, 250, 354]
        client.sendall(b"Subject: q\r\n\r\n.\r\n")
        assert codes(client, 1) == [250]
        assert door.wait_for(lambda d: d.get("event") == "quarantine" and d["reason"] == reason)
    assert len(door.messages()) == 2


def test_without_delay_senders_are_refused_at_mail(make_door, connect):
    door = judging(make_door, delay_checks="off")
    client = greeted(connect, door)
    assert command(client, "MAIL FROM:<spammer@example.net>") == b"554 5.7.1 no spam\r\n"
    assert command(client, "RCPT TO:<victim@example.org>").startswith(b"503 ")
    assert command(client, "MAIL FROM:<a@example.net>").startswith(b"250 ")
    assert command(client, "RCPT TO:<gone@example.org>") == b"550 5.7.1 <gone@example.org>... Access denied\r\n"
    assert command(client, "RCPT TO:<late@example.org>") == b"421 4.3.2 come again\r\n"
    assert command(client, "RCPT TO:<friend@example.org>").startswith(b"250 ")  # the connection is still open
    assert command(client, "MAIL FROM:<spammer@example.net>") == b"503 5.5.0 Sender already specified\r\n"  # and in the middle of a transaction, which stays what it was
    assert command(client, "RCPT TO:<friend@example.org>").startswith(b"250 ")
    assert command(client, "RSET").startswith(b"250 ")
    assert command(client, "MAIL FROM:<spammer@example.net>").startswith(b"554 ")
    assert command(client, "DATA").startswith(b"503 ")
    assert command(client, "QUIT").startswith(b"221 ")
    assert of(door, "rejected", 4)[0] == of(door, "rejected", 4)[-1] == ("<spammer@example.net>", None)
    assert door.messages(user="friend") == []


@pytest.mark.parametrize("source,hidden", [("127.0.0.1", False), (BLOCKED, True), ("127.0.0.6", True)])
def test_starttls_is_for_those_who_are_not_judged(make_door, connect, backend, source, hidden):
    door = in_front(make_door, backend)
    client, server, seen = through(connect, door, backend, source, b"250-test\r\n250-SIZE 9\r\n250 STARTTLS\r\n")
    assert (b"STARTTLS" not in seen) == hidden and seen.endswith(b"250 SIZE 9\r\n" if hidden else b"250 STARTTLS\r\n")
    client.sendall(b"STARTTLS\r\n")
    if hidden:
        assert read_line(client).startswith(b"454 4.7.0 ")
        relayed(client, server, b"NOOP", b"250 still SMTP")
        return
    assert read_line(server) == b"STARTTLS\r\n"
    server.sendall(b"220 go\r\n")
    assert read_line(client) == b"220 go\r\n"
    for sender, receiver in ((client, server), (server, client)):
        sender.sendall(b"\x16\x03\x00\r\n\x00MAIL" + LAST)
        assert receiver.recv(100) == b"\x16\x03\x00\r\n\x00MAIL" + LAST
    client.shutdown(socket.SHUT_WR)
    assert read_all(server) == b""
    server.sendall(b"bye")
    server.close()
    assert read_all(client) == b"bye"


def test_starttls_with_something_behind_it(make_door, connect, backend):
    """CVE-2011-0411: neither side's bytes cross the line."""
    door = in_front(make_door, backend, greet_pause=0)
    client, server, _ = through(connect, door, backend)
    client.sendall(b"STARTTLS\r\nRSET\r\n")
    assert read_line(client).startswith(b"554 5.5.0 ")
    assert read_all(server) in (b"", b"STARTTLS\r\n")
    assert door.wait_verdict("early")[0]["stage"] == "starttls"


# ---- bytes -------------------------------------------------------------------------------------------------------------------------------

def test_one_byte_at_a_time(make_door, connect):
    door = judging(make_door)
    client = connect(door, BLOCKED)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    said = (b"EHLO c\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<victim@example.org>\r\nRCPT TO:<friend@example.org>\r\nDATA\r\n"
            b"Subject: slow\r\n\r\n..\r\n.\r\nQUIT\r\n")
    assert read_line(client).startswith(b"220 ")
    for byte in said:
        client.sendall(bytes([byte]))
        time.sleep(0.0005)
    assert [line[:3] for line in read_all(client).split(b"\r\n") if line[3:4] == b" "] == [b"250", b"250", b"550", b"250", b"354", b"250", b"221"]
    assert bodies(door, "friend") == ["slow"] and door.messages() == []


def test_everything_at_once_and_the_end(make_door, connect):
    """Half-closed behind QUIT, in one packet: all replies come, and the message is there."""
    door = judging(make_door)
    client = connect(door, BLOCKED)
    client.sendall(b"EHLO c\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<victim@example.org>\r\nRCPT TO:<friend@example.org>\r\nDATA\r\nSubject: all\r\n\r\n.\r\n"
                   b"QUIT\r\n")
    client.shutdown(socket.SHUT_WR)
    got = [line[:3] for line in read_all(client).split(b"\r\n") if line[3:4] == b" "]
    assert got == [b"220", b"250", b"250", b"550", b"250", b"354", b"250", b"221"]
    assert bodies(door, "friend") == ["all"]


@pytest.mark.parametrize("text", [b"Subject: cut\r\n\r\nhalf a mess", b"Subject: cut\r\n\r\n", b"Subject: cut\r\n\r\n.", b"Subject: cut\r\n\r\n.\r", b"x" * 100_000])
@pytest.mark.parametrize("how", ["reset", "end"])
def test_a_message_without_its_end_is_none(make_door, connect, backend, text, how):
    door = in_front(make_door, backend)
    client, server, _ = through(connect, door, backend)
    transaction(client, server)
    client.sendall(b"DATA\r\n")
    assert read_line(server) == b"DATA\r\n"
    server.sendall(b"354 go\r\n")
    assert read_line(client) == b"354 go\r\n"
    client.sendall(text)
    if how == "reset":
        reset(client)
    else:
        client.shutdown(socket.SHUT_WR)
    got = b""
    try:
        got = read_all(server)
    except ConnectionResetError:
        pass
    assert b"\r\n.\r\n" not in b"\r\n" + got
    server.close()
    door.wait_verdict("exempt")


@pytest.mark.parametrize("tricky", [b"x\n.\nMAIL FROM:<smuggled@example.net>\r\n", b"x\r.\r\nMAIL FROM:<smuggled@example.net>\r\n",
                                    b"x\n.\r\nMAIL FROM:<smuggled@example.net>\r\n", b"x\r\n.\rMAIL FROM:<smuggled@example.net>\r\n", b"\x00\r\n.\x00\r\n"])
def test_no_second_end_of_a_message(make_door, connect, backend, tricky):
    """Smuggling: whatever stands in the text, a server that takes any line end for one sees the one end only (CVE-2023-51764)."""
    door = in_front(make_door, backend)
    client, server, _ = through(connect, door, backend)
    transaction(client, server)
    client.sendall(b"DATA\r\n")
    assert read_line(server) == b"DATA\r\n"
    server.sendall(b"354 go\r\n")
    read_line(client)
    client.sendall(b"a\r\n" + tricky + b"z\r\n.\r\nNOOP\r\n")
    text = b""
    while not text.endswith(b"\r\n.\r\n"):
        text += read_line(server)
    lines = re.split(rb"\r\n|\r|\n", text[:-5])
    assert b"." not in lines and lines[-1] == b"z"
    server.sendall(b"250 taken\r\n")
    assert read_line(client) == b"250 taken\r\n" and read_line(server) == b"NOOP\r\n"


def test_nonsense_is_answered_line_by_line(make_door, connect):
    door = judging(make_door, max_bad_commands=100)
    client = greeted(connect, door, BLOCKED)
    for said, answer in ((b"MAIL FROM:<" + b"a" * 5000 + b">", b"500 5.5.2 Line too long"), (b"NOOP\x00MAIL FROM:<a@b.example>", b"500 5.5.2 "),
                         (b"NOOP\rDATA", b"500 5.5.2 "), (b"", b"500 5.5.1 "), (b"MAIL", b"501 "), (b"RCPT", b"503 "), (b"MAIL FROM:", b"5"),
                         (b"MAIL FROM:<a@b.example> " + b"X=1 " * 400, b"5"), (bytes(range(128, 250)), b"500 "), (b"BDAT 5", b"502 "),
                         (b"BDAT 99999999999999999999", b"501 "), (b"DATA x", b"503 "), (b"XCLIENT ADDR=127.0.0.1", b"550 "), (b"MAILX", b"500 "),
                         (b"NOOP", b"250 ")):
        client.sendall(said + b"\r\n")
        if said == b"BDAT 5":
            client.sendall(b"QUIT\n")
        answered = read_reply(client)
        assert answered.startswith(answer) and well_formed(answered.replace(b"?", b"")), (said[:40], answered)
    assert command(client, "QUIT").startswith(b"221 ")


@pytest.mark.parametrize("exempt", [True, False])
def test_any_bytes(make_door, connect, exempt):
    """Random clients: every one gets whole replies and an end, and the door lives."""
    door = judging(make_door, linger=200, slow_commands="no", **({} if exempt else {"greet_pause": 0}))
    words = [b"EHLO c\r\n", b"MAIL FROM:<a@example.net>\r\n", b"MAIL FROM:<hole@example.net>\r\n", b"RCPT TO:<friend@example.org>\r\n", b"RCPT TO:<victim@example.org>\r\n",
             b"RCPT TO:<hole@example.org>\r\n", b"DATA\r\n", b".\r\n", b"\r\n", b"RSET\r\n", b"BDAT 4\r\nabcd", b"BDAT 3 LAST\r\nabc", b"NOOP\n", b"\x00", b"x" * 3000,
             b"STARTTLS\r\n", b"AUTH PLAIN\r\n", b"QUIT\r\n", b"\r", b"Subject: x\r\n"]
    for seed in range(exempt, 60, 2):
        chance = random.Random(seed)
        client = connect(door, chance.choice(("127.0.0.1", BLOCKED, "127.0.0.6")))
        said = b"".join(chance.choices(words, k=chance.randrange(1, 200)))
        for at in range(0, len(said), step := chance.choice((1000, 7000, 1 << 20))):
            try:
                client.sendall(said[at:at + step])
            except OSError:
                break
        try:
            client.shutdown(socket.SHUT_WR)
            got = read_all(client)
        except OSError:
            continue
        assert re.fullmatch(rb"(?:[2345][0-9][0-9][ -][^\r\n]*\r\n)*", got), (seed, got[-500:])
    wait = door.wait_for(lambda d: "verdict" in d, 30)
    assert len(wait) == 30 and door.counters()["open"] == 0


@pytest.mark.parametrize("source", ["127.0.0.1", BLOCKED])
def test_a_large_message_arrives_as_it_was(make_door, connect, source):
    door = judging(make_door)
    client = greeted(connect, door, source)
    chance = random.Random(1)
    lines = [bytes(chance.choices(b"abcdefgh .=\xc3\xa4\t", k=chance.randrange(0, 120))) for _ in range(1000)]
    text = b"\r\n".join(lines * 170) + b"\r\n"  # 10 MB
    assert len(text) > 10_000_000
    client.sendall(b"MAIL FROM:<a@example.net> BODY=8BITMIME\r\nRCPT TO:<friend@example.org>\r\nDATA\r\n")
    assert codes(client, 3) == [250, 250, 354]
    client.sendall(b"Subject: large\r\n\r\n" + re.sub(rb"(?m)^\.", b"..", text) + b".\r\n")
    assert codes(client, 1) == [250]
    got = door.messages(user="friend")[0].read_bytes().replace(b"\r\n", b"\n")
    assert got.partition(b"\n\n")[2] == text.replace(b"\r\n", b"\n")


# ---- sides that do not play along --------------------------------------------------------------------------------------------------------

def test_a_client_that_never_reads(make_door, connect):
    """It is not read on, and costs a bounded amount of memory; others are served meanwhile."""
    door = judging(make_door, fronts=1, max_per_client=0, slow_commands="no")
    greeted(connect, door).close()
    before = {p: memory_kb(p) for p in door.members()}
    stuck = []
    for _ in range(20):
        client = connect(door, BLOCKED)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        sent, quiet = 0, time.monotonic()
        while time.monotonic() < quiet + 0.05 and sent < 20_000_000:
            try:
                sent += client.send(b"NOOP\r\nHELP\r\nRCPT TO:<x@example.org>\r\n" * 500)
                quiet = time.monotonic()
            except BlockingIOError:
                time.sleep(0.002)
        assert sent < 20_000_000, "all that it says is read"
        stuck.append(client)
    sanitized = b"__asan_init" in Path(door.binary).read_bytes()  # such a build keeps what it has freed
    assert sanitized or all(memory_kb(p) - kb < 20 * 200 for p, kb in before.items())
    assert command(greeted(connect, door, BLOCKED), "NOOP").startswith(b"250 ")
    first = stuck[0]  # whoever begins to read gets everything
    first.settimeout(PATIENCE)
    assert read_line(first).startswith(b"220 ")
    for _ in range(2000):
        assert re.match(rb"[2-5][0-9][0-9][ -].*\r\n", read_line(first))


def test_a_backend_that_never_reads(make_door, connect, backend):
    door = in_front(make_door, backend)
    client, server, _ = through(connect, door, backend)
    transaction(client, server)
    client.sendall(b"DATA\r\n")
    assert read_line(server) == b"DATA\r\n"
    server.sendall(b"354 go\r\n")
    read_line(client)
    text = b"".join(b"%070d\r\n" % i for i in range(200_000))  # 14 MB, more than the sockets hold
    writer = Background(client.sendall, text + b".\r\n")
    time.sleep(0.3)
    assert writer.is_alive(), "all of it has been read"
    got = bytearray()
    while not got.endswith(b"\r\n.\r\n"):
        got += server.recv(1 << 20)
    writer.result()
    assert got == text + b".\r\n"
    server.sendall(b"250 ok\r\n")
    assert read_line(client) == b"250 ok\r\n"


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("when", ["command", "text", "idle"])
def test_a_backend_that_goes(make_door, connect, backend, when, how):
    """A client that waits for a reply is told; nobody is left hanging."""
    door = in_front(make_door, backend)
    client, server, _ = through(connect, door, backend)
    if when == "command":
        client.sendall(b"MAIL FROM:<a@example.net>\r\n")
        read_line(server)
    elif when == "text":
        transaction(client, server)
        client.sendall(b"DATA\r\n")
        read_line(server)
        server.sendall(b"354 go\r\n")
        assert read_line(client) == b"354 go\r\n"
        client.sendall(b"half of it\r\n")
        read_line(server)
    if how == "reset":
        reset(server)
    else:
        server.close()
    if when == "text":
        try:
            client.sendall(b"the other half\r\n.\r\n")
        except OSError:
            pass
    assert read_all(client) == (b"" if when == "idle" else b"421 4.3.0 mail.example.org Mail server has gone, closing connection\r\n")
    assert door.wait_verdict("exempt")[0]["end"] == "backend"


def test_the_last_words_of_a_backend(make_door, connect, backend):
    door = in_front(make_door, backend)
    client, server, _ = through(connect, door, backend, BLOCKED)
    server.sendall(b"421 4.3.2 test going down\r\n")
    server.close()
    assert read_all(client) == b"421 4.3.2 test going down\r\n"


@pytest.mark.parametrize("said", [b"250 unasked\r\n", b"nonsense\r\n", b"x" * 5000, b"250-\r\n" * 3000, b"\x00\r\n"])
def test_a_backend_that_does_not_keep_to_smtp(make_door, connect, backend, said):
    door = in_front(make_door, backend)
    client, server, _ = through(connect, door, backend, BLOCKED)
    server.sendall(said)
    got = read_all(client)
    assert re.fullmatch(rb"(?:250-\r\n)*(?:421 [^\r\n]*\r\n)?", got), got[-300:]
    assert door.wait_verdict("exempt")[0]["end"] == "protocol"


def test_a_message_that_is_thrown_away_keeps_the_connection_alive(make_door, connect):
    """Nothing of it goes to the mail server, but the client is not idle."""
    door = judging(make_door, relay_timeout=1000)
    client = greeted(connect, door, "127.0.0.6")
    client.sendall(b"MAIL FROM:<a@example.net>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n")
    assert codes(client, 3) == [250, 250, 354]
    for _ in range(8):
        client.sendall(b"x\r\n")
        time.sleep(0.2)
    client.sendall(b".\r\n")
    assert codes(client, 1) == [250]


@pytest.mark.parametrize("source", ["127.0.0.1", BLOCKED])
def test_a_client_that_ends_without_quit(make_door, connect, source):
    """The log says who ended it, whether the dialogue was read or not."""
    door = judging(make_door, access=ACCESS[:1])
    client = greeted(connect, door, source)
    client.shutdown(socket.SHUT_WR)
    assert read_all(client) == b""
    assert door.wait_verdict("exempt")[0]["end"] == "client"


def test_a_watched_client_that_is_idle(make_door, connect):
    door = judging(make_door, relay_timeout=1000)
    client = greeted(connect, door, BLOCKED)
    assert read_all(client) == b""
    assert door.wait_verdict("exempt")[0]["end"] == "timeout"


def test_chunks(make_door, connect, backend):
    """BDAT goes by count, whatever it holds; and with no recipient the chunk is swallowed, not taken for commands."""
    door = in_front(make_door, backend)
    client, server, _ = through(connect, door, backend, BLOCKED, b"250-test\r\n250 CHUNKING\r\n")
    relayed(client, server, b"MAIL FROM:<a@example.net>", b"250 ok")
    client.sendall(b"RCPT TO:<victim@example.org>\r\nBDAT 12 LAST\r\nRSET\r\nRSET\r\n")
    assert codes(client, 2) == [550, 503]
    relayed(client, server, b"RCPT TO:<friend@example.org>", b"250 ok")
    binary = bytes(range(256)) * 2000
    chunk = b"BDAT %d\r\n" % len(binary)
    client.sendall(chunk + binary)
    got = bytearray()
    while len(got) < len(chunk) + len(binary):
        got += server.recv(1 << 20)
    assert got == chunk + binary
    server.sendall(b"250 ok\r\n")
    assert read_line(client) == b"250 ok\r\n"
    relayed(client, server, b"BDAT 0 LAST", b"250 taken")
    client.sendall(b"MAIL FROM:<a@example.net>\r\n")
    assert read_line(server) == b"MAIL FROM:<a@example.net>\r\n"


# ---- maps elsewhere ----------------------------------------------------------------------------------------------------------------------

@pytest.fixture
def redis(folder):
    one = Redis(folder).start()
    yield one
    one.stop()


def asking(make_door, redis, **options):
    return make_door(**{"access_db": [redis.url()], "lookup_processes": 2, "lookup_timeout": 2000, "lookup_cache": 0, "greet_pause": 0, "linger": 100, **options})


def test_a_map_that_hangs(make_door, connect, redis):
    """451 when the time of the question is over, at its place in the order; meanwhile nobody else waits, and those who leave are forgotten."""
    redis.do("MSET", "to:gone@example.org", "REJECT", "from:hole@", "DISCARD", "spam:friend@", "FRIEND")
    door = asking(make_door, redis, lookup_timeout=1000)
    client = greeted(connect, door)
    assert command(client, "MAIL FROM:<a@example.net>").startswith(b"250 ")
    assert command(client, "RCPT TO:<gone@example.org>").startswith(b"550 ")
    others = [greeted(connect, door) for _ in range(3)]
    redis.hang()
    begin = time.monotonic()
    client.sendall(b"RCPT TO:<victim@example.org>\r\nNOOP\r\nRCPT TO:<other@example.org>\r\n")
    others[1].sendall(b"MAIL FROM:<b@example.net>\r\n")
    others[2].sendall(b"MAIL FROM:<c@example.net>\r\nRCPT TO:<victim@example.org>\r\nQUIT\r\n")
    for _ in range(15):
        assert command(others[0], "NOOP").startswith(b"250 ")
    assert time.monotonic() - begin < 0.5
    reset(others[1])
    others[2].shutdown(socket.SHUT_WR)
    assert codes(client, 3) == [451, 250, 451]
    assert 0.5 < time.monotonic() - begin < 5
    assert [line[:3] for line in read_all(others[2]).split(b"\r\n")] == [b"451", b"503", b"221", b""]
    redis.go_on()
    mta.wait_until(lambda: command(client, "RCPT TO:<victim@example.org>").startswith(b"250 "), "the map answers again")
    assert command(client, "RCPT TO:<gone@example.org>").startswith(b"550 ")
    assert command(client, "QUIT").startswith(b"221 ")


def test_a_long_text_is_a_line_all_the_same(make_door, connect, redis):
    """A reply may be cut, but never loses its end."""
    door = asking(make_door, redis)
    client = greeted(connect, door)
    for length in (100, 480, *range(984, 1028), 2000, 8000):
        redis.do("MSET", "to:long@example.org", "550 5.7.1 " + "x" * length, "from:long@", "ERROR:5.7.1:553 " + "y" * length)
        first = command(client, "MAIL FROM:<long@example.net>")
        assert first.startswith(b"553 5.7.1 ") and first.endswith(b"y\r\n") and len(first) <= 1024
        assert command(client, "MAIL FROM:<a@example.net>").startswith(b"250 ")
        second = command(client, "RCPT TO:<long@example.org>")
        assert second.startswith(b"550 5.7.1 ") and second.endswith(b"x\r\n") and len(second) <= 1024
        assert command(client, "RSET").startswith(b"250 ")


def test_a_long_text_of_the_file(make_door, connect):
    door = judging(make_door, delay_checks="off", access=["To:long@\t550 5.7.1 " + "x" * 990, "To:other@\tREJECT"])
    client = greeted(connect, door)
    client.sendall(b"MAIL FROM:<a@example.net>\r\n" + b"RCPT TO:<long@example.org>\r\n" * 10 + b"NOOP\r\n")
    assert codes(client, 12) == [250] + [550] * 10 + [250]


# ---- the end of the door, and a mail server elsewhere ------------------------------------------------------------------------------------

def test_the_door_ends_with_watched_clients(make_door, connect, redis, backend):
    """In mid-dialogue, in a message, and in a question that nobody answers: it ends, in time and without a complaint."""
    door = asking(make_door, redis, lookup_timeout=20_000)
    idle, text, asked = (greeted(connect, door) for _ in range(3))
    text.sendall(b"MAIL FROM:<a@example.net>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n")
    assert codes(text, 3) == [250, 250, 354]
    redis.hang()
    asked.sendall(b"MAIL FROM:<b@example.net>\r\n")
    assert command(idle, "NOOP").startswith(b"250 ")
    begin = time.monotonic()
    assert door.end() == 0
    assert time.monotonic() - begin < 15
    assert re.fullmatch(rb"421 [^\r\n]*\r\n", read_all(idle))
    assert not door.messages()


def test_real_postfix_behind(make_door, connect, scratch):
    """Postfix with PIPELINING and CHUNKING: only friends get the message, by DATA and by BDAT."""
    postfix = mta.Postfix(scratch / "postfix-judged", smtpd=True).start()
    try:
        door = judging(make_door, backends={"postfix": (f"smtp:127.0.0.1:{postfix.port}", "v2")})
        client = greeted(connect, door, BLOCKED)
        client.sendall(b"MAIL FROM:<a@example.net>\r\nRCPT TO:<victim@example.org>\r\nRCPT TO:<friend@example.org>\r\nDATA\r\n")
        assert codes(client, 4) == [250, 550, 250, 354]
        client.sendall(b"Subject: data\r\n\r\nx\r\n.\r\n")
        assert codes(client, 1) == [250]
        body = b"Subject: bdat\r\n\r\n.\r\nx\r\n"
        client.sendall(b"MAIL FROM:<a@example.net>\r\nRCPT TO:<victim@example.org>\r\nBDAT 6 LAST\r\nRSET\r\nRCPT TO:<friend@example.org>\r\n"
                       b"BDAT %d LAST\r\n%sQUIT\r\n" % (len(body), body))
        assert codes(client, 6) == [250, 550, 503, 250, 250, 221]
        mta.wait_until(lambda: postfix.log().count("delivered to maildir") == 2, postfix.log())
        assert "to=<victim@" not in postfix.log() and postfix.log().count("to=<friend@example.org>") == 2
        client = greeted(connect, door, "127.0.0.6")
        client.sendall(b"MAIL FROM:<a@example.net>\r\nRCPT TO:<victim@example.org>\r\nBDAT 3\r\nabcBDAT 3 LAST\r\nabcQUIT\r\n")
        assert codes(client, 5) == [250, 250, 250, 250, 221]
    finally:
        postfix.stop()


@pytest.mark.parametrize("pause,when", [(60_000, "held"), (300, "patient for a while")])
def test_an_early_talker_reaches_friends_only_with_delay_early(make_door, connect, pause, when):
    """Its verdict is early all the same, and its whole conversation was sent before the greeting."""
    script = "EHLO slam.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<victim@example.org>\r\nRCPT TO:<friend@example.org>\r\nDATA\r\nSubject: slam\r\n\r\nhelp\r\n.\r\nQUIT\r\n"
    door = judging(make_door, greet_pause=pause, delay_early="yes", access=["Spam:friend@\tFRIEND"])
    client = connect(door)
    if when != "held":
        time.sleep(0.1)
    client.sendall(script.encode())
    said = read_all(client)
    assert said.startswith(b"220 ") and b"\r\n550 5.0.0 <victim@example.org>... Command rejected\r\n250 2.1.5 <friend@example.org>" in said, said
    assert b"STARTTLS" not in said and said.endswith(b"221 2.0.0 mail.example.org closing connection\r\n")
    assert len(door.messages(user="friend")) == 1 and not door.messages(user="victim")
    assert door.wait_verdict("early")[0]["delayed"] == "yes"
    assert not door.verdicts("patient") and not door.verdicts("exempt")
    door.stop()
    plain = judging(make_door, greet_pause=pause, access=["Spam:friend@\tFRIEND"])
    client = connect(plain)
    client.sendall(script.encode())
    assert read_all(client).startswith(b"554 ")


def test_delay_early_and_a_backend_that_greets_late(make_door, connect, backend):
    """Talk that comes while the backend is being dialled is early, too."""
    door = in_front(make_door, backend, greet_pause=100, delay_early="yes", access=["Spam:friend@\tFRIEND"])
    client = connect(door)
    server = backend.accept(None)
    client.sendall(b"RSET\r\n")
    time.sleep(0.1)
    server.sendall(b"220 late\r\n")
    assert read_line(client) == b"220 late\r\n"
    assert read_line(server) == b"RSET\r\n"
    assert door.wait_verdict("early")[0]["data"] == "RSET\\r\\n"


def test_refusals_do_not_fill_the_log(make_door, connect):
    door = judging(make_door)
    client = greeted(connect, door, BLOCKED)
    assert command(client, "MAIL FROM:<a@example.net>").startswith(b"250 ")
    for _ in range(5):
        client.sendall(b"RCPT TO:<victim@example.org>\r\n" * 100)
        assert [read_line(client)[:4] for _ in range(100)] == [b"550 "] * 100
    assert command(client, "QUIT").startswith(b"221 ")
    assert door.wait_verdict("exempt")[0]["rejected"] == "500"
    assert len(door.events("rejected")) == 100
