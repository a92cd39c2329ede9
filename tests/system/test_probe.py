"""tarry probe against small servers of every kind, each a few lines here, on loopback."""

import contextlib
import json
import os
import re
import select
import socket
import struct
import subprocess
import threading

import pytest

TARRY = os.environ.get("TARRY")
pytestmark = pytest.mark.skipif(not TARRY or not os.path.exists(TARRY), reason="no tarry binary: name it in $TARRY")

PAUSE = 0.2  # of a server that holds its greeting
HOST = b"mx.example.org"

# Thresholds far from what a busy machine may add: a held greeting is well above the first, one at once well below the other.
HELD = ["--threshold", "60ms"]
AT_ONCE = ["--threshold", "10s"]


class Server:
    """Runs `session(link)` for each connection in a thread of its own; keeps what clients sent."""

    def __init__(self, session, family=socket.AF_INET, address="127.0.0.1"):
        self.session = session
        self.links = []
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.bind((address, 0))
        self.listener.listen()
        self.port = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            link = Link(connection, len(self.links))
            self.links.append(link)
            thread = threading.Thread(target=self.run, args=(link,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def run(self, link):
        with contextlib.suppress(OSError):
            self.session(link)
        link.connection.close()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(10)

    def heard(self):
        return b"".join(link.heard for link in self.links)


class Link:
    def __init__(self, connection, number):
        self.connection = connection
        self.number = number
        self.heard = b""
        self.rest = b""
        connection.settimeout(10)

    def talked_within(self, seconds):
        return bool(select.select([self.connection], [], [], seconds)[0])

    def say(self, *lines):
        self.connection.sendall(b"".join(line + b"\r\n" for line in lines))

    def line(self):
        """The next line, or None at the end."""
        while b"\n" not in self.rest:
            data = self.connection.recv(4096)
            if not data:
                return None
            self.heard += data
            self.rest += data
        line, self.rest = self.rest.split(b"\n", 1)
        return line.rstrip(b"\r")

    def wait_for_end(self):
        while self.line() is not None:
            pass

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def mail_server(link, greeting=(b"220 " + HOST + b" ESMTP",), rcpt=b"250 2.1.5 ok", mail=b"250 2.1.0 ok"):
    """The rest of a session, as an obliging server."""
    link.say(*greeting)
    while (line := link.line()) is not None:
        verb = line[:4].upper()
        if verb == b"EHLO":
            link.say(b"250-" + HOST + b" Hello", b"250 HELP")
        elif verb == b"MAIL":
            link.say(mail)
        elif verb == b"RCPT":
            link.say(rcpt)
        elif verb == b"DATA":
            link.say(b"354 go on")
            while (line := link.line()) not in (b".", None):
                pass
            link.say(b"250 2.0.0 taken")
        elif verb == b"QUIT":
            link.say(b"221 2.0.0 bye")
            return
        else:
            link.say(b"250 2.0.0 ok")


def null_server(link):
    """What the article shows after early talk."""
    link.say(b"554 " + HOST + b" ESMTP not accepting messages")
    while (line := link.line()) is not None:
        verb = line[:4].upper()
        if verb in (b"HELO", b"RSET", b"NOOP"):
            link.say(b"250 ok")
        elif verb in (b"MAIL", b"RCPT", b"DATA"):
            link.say(b"550 5.0.0 Command rejected")
        elif verb == b"QUIT":
            link.say(b"221 2.0.0 bye")
            return
        else:
            link.say(b'500 5.5.1 Command unrecognized: "' + line + b'"')


def sendmail(link):
    if link.talked_within(PAUSE):
        null_server(link)
    else:
        mail_server(link)


def postscreen(link):
    link.say(b"220-" + HOST + b" ESMTP wait")
    if link.talked_within(PAUSE):
        link.say(b"521 5.5.1 Protocol error")
        link.reset()
    else:
        mail_server(link)


def slow(link):
    threading.Event().wait(PAUSE)
    mail_server(link)


def synchronous(link):
    """Greets at once, and refuses a HELO that more came with."""
    link.say(b"220 " + HOST + b" ESMTP")
    link.line()
    if link.rest:
        link.say(b"554 5.5.0 SMTP protocol error")
    else:
        link.say(b"250 " + HOST)
    while (line := link.line()) is not None:
        if line == b"QUIT":
            link.say(b"221 bye")
            return
        link.say(b"250 ok" if link.number == 0 else b"550 5.0.0 Command rejected")


class Result:
    def __init__(self, process):
        self.code = process.returncode
        self.out = process.stdout
        self.err = process.stderr

    def json(self):
        return json.loads(self.out.decode("utf-8"))

    @property
    def words(self):
        """The sentence, without the host."""
        return self.out.decode("ascii").split("\n")[0].split("): ", 1)[1]


def probe(*args, host="127.0.0.1", server=None):
    target = [f"{host}:{server.port}"] if server else []
    done = subprocess.run([TARRY, "probe", *args, *target], capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
    return Result(done)


@pytest.fixture
def serve():
    """serve(session): a server that ends with the test. Unless told otherwise, nobody may have tried to send it a message."""
    servers = []

    def make(session, deliver=False, **where):
        server = Server(session, **where)
        servers.append((server, deliver))
        return server

    yield make
    for server, deliver in servers:
        server.stop()
        if not deliver:
            assert not re.search(rb"^\s*(RCPT|DATA|BDAT)", server.heard(), re.I | re.M), server.heard()


def both(server, *args):
    """The same probe as text and as JSON; they agree."""
    text = probe(*args, server=server)
    machine = probe("--json", *args, server=server)
    report = machine.json()
    assert text.code == machine.code == report["exit"], (text.out, machine.out)
    assert text.err == machine.err == b""
    return text, report


def test_holds_and_refuses(serve):
    text, report = both(serve(sendmail), *HELD)
    assert text.code == 0
    assert re.fullmatch(r"holds the greeting [\d.]+ m?s; early talk refused after [\d.]+ ms with 554", text.words), text.words
    assert report["verdict"] == "holds"
    assert report["held_ms"] >= PAUSE * 1000 - 5
    assert report["patient"]["outcome"] == "held" and report["patient"]["code"] == 220
    assert [(r["to"], r["code"]) for r in report["patient"]["replies"]] == [
        ("greeting", 220), ("EHLO", 250), ("MAIL", 250), ("RSET", 250), ("QUIT", 221)]
    assert report["slammer"]["outcome"] == "refused"
    assert [(r["to"], r["code"]) for r in report["slammer"]["replies"]] == [
        ("greeting", 554), ("HELO", 250), ("MAIL", 550), ("RSET", 250), ("NOOP", 250), ("QUIT", 221)]
    assert report["slammer"]["end"] == "closed"
    assert report["refusal"]["code"] == 554 and report["refusal"]["to"] == "greeting"
    assert 0 <= report["refusal"]["after_ms"] < PAUSE * 1000
    assert report["slammer"]["replies"][0]["text"] == "mx.example.org ESMTP not accepting messages"


def test_no_pause(serve):
    text, report = both(serve(mail_server), *AT_ONCE)
    assert text.code == 1
    assert text.words == "no pause: a slamming client was served"
    assert b"exempt" in text.out
    assert report["verdict"] == "no-pause" and report["slammer"]["outcome"] == "served"


def test_holds_but_serves(serve):
    text, report = both(serve(slow), *HELD)
    assert text.code == 3
    assert re.fullmatch(r"holds the greeting [\d.]+ m?s, but early talk is not refused", text.words), text.words
    assert b"--deliver" in text.out
    assert report["verdict"] == "holds-only"


def test_refuses_but_greets_at_once(serve):
    # The patient client is always the first to connect.
    text, report = both(serve(synchronous), "--patient", *AT_ONCE)
    assert text.code == 1 and text.words == "you are greeted at once: is your address exempt?"
    text = probe(*AT_ONCE, server=serve(synchronous))
    assert text.code == 2
    assert re.fullmatch(r"early talk is refused although you are greeted at once: after [\d.]+ m?s with 554 to HELO", text.words), text.words
    assert probe("--json", *AT_ONCE, server=serve(synchronous)).json()["verdict"] == "checks-only"


def test_teaser_and_reset(serve):
    text, report = both(serve(postscreen), *HELD)
    assert text.code == 0
    assert re.fullmatch(r"holds the greeting [\d.]+ m?s; early talk refused after [\d.]+ ms with 521", text.words), text.words
    assert b"teaser" in text.out
    assert b"may never read why" in text.out
    greeting = report["patient"]["replies"][0]
    assert greeting["lines"] == 2 and greeting["first_line_ms"] < greeting["ms"]
    assert greeting["text"] == "mx.example.org ESMTP wait\nmx.example.org ESMTP"
    assert report["slammer"]["end"] == "reset"
    assert b": 521 5.5.1 Protocol error (last of 2 lines)\n" in text.out


def test_too_many_connections(serve):
    def busy(link):
        link.say(b"421 4.7.0 Too many connections")

    text, report = both(serve(busy))
    assert text.code == 75
    assert text.words.startswith("refused with 421 4.7.0 Too many connections: too many connections?")
    assert report["verdict"] == "unsure" and report["patient"]["outcome"] == "busy"


def test_one_connection_only(serve):
    def one(link):
        if link.number % 2 == 1:
            link.say(b"421 one at a time")
        else:
            mail_server(link)

    text, report = both(serve(one), *AT_ONCE)
    assert text.code == 75
    assert "too many connections, or the answer to early talk?" in text.words
    assert b"--slammer and --patient" in text.out


def test_refuses_everybody(serve):
    def closed(link):
        link.say(b"554 no service here")
        link.wait_for_end()

    text, report = both(serve(closed), "--timeout", "100ms")
    assert text.code == 77
    assert text.words.startswith("a client that waits is refused, after "), text.words
    assert "554 no service here" in text.words
    assert report["verdict"] == "unwelcome"
    assert report["patient"]["end"] == "timeout"


def test_closes_at_once(serve):
    text, report = both(serve(lambda link: None))
    assert text.code == 77
    assert "the connection without a greeting, after " in text.words
    assert report["patient"]["outcome"] == "dropped"


def test_drops_without_a_word(serve):
    def drop(link):
        if link.talked_within(PAUSE):
            link.reset()
        else:
            mail_server(link)

    text, report = both(serve(drop), *HELD)
    assert text.code == 0
    assert re.search(r"; early talk is cut off after [\d.]+ ms without a reply$", text.words), text.words
    assert b"a client cannot know why" in text.out
    assert report["slammer"]["outcome"] == "dropped"


@pytest.mark.parametrize("greeting,guess", [
    (b"SSH-2.0-Some_9.2\r\n", "an SSH server"),
    (b"* OK IMAP4rev1 ready\r\n", "an IMAP server"),
    (b"\x15\x03\x03\x00\x02\x02\x28", "TLS is wanted first"),
    (b"\x00\xff\x1b[2J no line end", ""),
    (b"2200 four digits\r\n", ""),
    (b"199 hello\r\n", ""),
])
def test_not_smtp(serve, greeting, guess):
    def other(link):
        link.connection.sendall(greeting)
        link.wait_for_end()

    text, report = both(serve(other), "--timeout", "3s")  # told at once, not when the time is over
    assert text.code == 76
    assert text.words.startswith("does not speak SMTP: it says \"")
    assert guess in text.words
    assert not re.search(rb"[^\n -~]", text.out)
    assert report["verdict"] == "not-smtp" and report["patient"]["end"] == "not-smtp"


def test_tls_port(serve):
    """Silent until the client talks, and then an alert."""
    def tls(link):
        link.connection.recv(1)
        link.connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")

    text, report = both(serve(tls), "--timeout", "100ms")
    assert text.code == 76
    assert "TLS is wanted first" in text.words


@pytest.mark.parametrize("endless,words", [
    (b"220-on and on\r\n", "a reply goes on after 200 lines"),
    (b"220-" + b"y" * 1900 + b"\r\n", "it says more than SMTP allows"),
    (b"220 " + b"x" * 4000, "it says more than SMTP allows"),
    (b"220 again\r\n", None),
])
def test_endless(serve, endless, words):
    """None of them keeps the probe for ever, or makes it grow."""
    def flood(link):
        while True:
            link.connection.sendall(endless)

    text, report = both(serve(flood), "--patient", *AT_ONCE)
    assert report["patient"]["end"] == "too-much"
    if words:
        assert text.code == 76
        assert text.words.startswith("does not speak SMTP: " + words)
    else:
        assert text.code == 1


def test_greeting_never_complete(serve):
    def trickle(link):
        link.say(b"220-first")
        link.wait_for_end()

    text, report = both(serve(trickle), "--patient", "--timeout", "100ms")
    assert text.code == 75
    assert text.words == "the greeting, 1 line so far, was not complete within 100 ms"


def test_silent(serve):
    text, report = both(serve(lambda link: link.wait_for_end()), "--timeout", "100ms")
    assert text.code == 75
    assert text.words == "no greeting within 100 ms; early talk gets no answer within 100 ms"
    assert report["patient"]["outcome"] == report["slammer"]["outcome"] == "silent"


def test_pause_longer_than_timeout(serve):
    def hold(link):
        link.talked_within(10)
        null_server(link)

    def session(link):
        if link.number % 2 == 0:
            link.wait_for_end()
        else:
            hold(link)

    text, report = both(serve(session), "--timeout", "100ms")
    assert text.code == 0
    assert re.fullmatch(r"holds the greeting longer than 100 ms; early talk refused after [\d.]+ ms with 554", text.words), text.words
    assert report["held_ms"] is None


def test_early_talk_thrown_away(serve):
    def forget(link):
        if link.talked_within(PAUSE):
            link.connection.recv(4096)
            link.say(b"220 welcome")
            link.wait_for_end()
        else:
            mail_server(link)

    text, report = both(serve(forget), "--timeout", "300ms", *HELD)
    assert text.code == 75
    assert b"thrown away" in text.out
    assert report["slammer"]["outcome"] == "silent"


def test_authentication_first(serve):
    """530 is said to everybody: no refusal of early talk, whether or not a patient client was tried."""
    def submission(link):
        mail_server(link, mail=b"530 5.7.0 Authentication required")

    server = serve(submission)
    text, report = both(server, *AT_ONCE)
    assert text.code == 1 and text.words == "no pause: a slamming client was served"
    assert b"that is not about early talk" in text.out
    assert probe("--slammer", server=server).code == 1


def test_same_refusal_for_both(serve):
    """A refusal that a patient client gets as well says nothing about early talk."""
    def no_null_sender(link):
        mail_server(link, mail=b"550 5.7.1 no")

    text, report = both(serve(no_null_sender), *AT_ONCE)
    assert text.code == 1
    assert b"the patient client, too, was refused at MAIL: 550 5.7.1 no" in text.out


def test_helo_after_ehlo(serve):
    def old(link):
        link.say(b"220 old")
        while (line := link.line()) is not None:
            if line.startswith(b"EHLO"):
                link.say(b"500 what?")
            elif line == b"QUIT":
                link.say(b"221 bye")
                return
            else:
                link.say(b"250 ok")

    report = probe("--json", "--patient", server=serve(old)).json()
    assert [r["to"] for r in report["patient"]["replies"]] == ["greeting", "EHLO", "HELO", "MAIL", "RSET", "QUIT"]


def test_hostile_text(serve):
    """Control bytes and broken UTF-8 of the server reach neither the terminal nor a JSON reader."""
    evil = b'220 \x1b]0;owned\x07 "q" \\ \xff\xc3\xa9\xc3 \xe2\x82\xac\xed\xa0\x80\x00end'

    def session(link):
        mail_server(link, greeting=(evil,))

    server = serve(session)
    text = probe("-v", *AT_ONCE, server=server)
    assert not re.search(rb"[^\n -~]", text.out)
    assert b"\\x1b]0;owned\\x07" in text.out
    report = probe("--json", *AT_ONCE, server=server).json()
    assert report["patient"]["replies"][0]["text"] == '\x1b]0;owned\x07 "q" \\ \ufffd\u00e9\ufffd \u20ac\ufffd\ufffd\ufffd\x00end'


def test_slammer_alone(serve):
    server = serve(sendmail)
    text = probe("--slammer", server=server)
    assert text.code == 0
    assert re.fullmatch(r"early talk refused after [\d.]+ ms with 554", text.words), text.words
    assert len(server.links) == 1
    assert server.heard().split(b"\r\n")[1:] == [b"MAIL FROM:<>", b"RSET", b"NOOP", b"QUIT", b""]
    report = probe("--json", "--slammer", server=server).json()
    assert "patient" not in report and report["held_ms"] is None
    text = probe("--slammer", server=serve(mail_server))
    assert text.code == 1 and text.words == "no pause: a slamming client was served"


def test_patient_alone(serve):
    server = serve(sendmail)
    text = probe("--patient", *HELD, server=server)
    assert text.code == 0
    assert re.fullmatch(r"holds the greeting [\d.]+ m?s", text.words), text.words
    assert len(server.links) == 1
    assert "slammer" not in probe("--json", "--patient", *HELD, server=server).json()


def test_threshold(serve):
    """The same greeting is held or at once, as the threshold says."""
    server = serve(slow)
    assert probe("--patient", "--threshold", "60ms", server=server).code == 0
    assert probe("--patient", "--threshold", "10s", server=server).code == 1


def test_talk_in_the_middle_of_the_pause(serve):
    text, report = both(serve(sendmail), "--early", "50", *HELD)
    assert text.code == 0
    assert report["slammer"]["talk_ms"] >= 50
    assert report["refusal"]["after_ms"] < report["slammer"]["greeting_ms"]


def test_talk_too_late(serve):
    server = serve(mail_server)
    text, report = both(server, "--early", "5s", *AT_ONCE)
    assert text.code == 1
    assert text.words == "no pause: you are greeted at once, before the slammer talked"
    assert report["slammer"]["outcome"] == "late"
    server = serve(sendmail)
    text, report = both(server, "--early", "5s", *HELD)
    assert text.code == 75
    assert b"--early must be less than the pause" in text.out
    assert b"MAIL FROM:<>\r\nRSET\r\nNOOP" not in server.heard()


def test_deliver(serve):
    server = serve(mail_server, deliver=True)
    text, report = both(server, "--deliver", "a@example.net", "<b@example.org>", "--helo", "probe.example.net", *AT_ONCE)
    assert text.code == 1
    assert [r["to"] for r in report["patient"]["replies"]] == ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "message", "QUIT"]
    assert [r["to"] for r in report["slammer"]["replies"]] == ["greeting", "HELO", "MAIL", "RCPT", "DATA", "message", "QUIT"]
    assert b"the slammer's message was accepted" in text.out
    for link in server.links:
        said = link.heard.decode("ascii")
        hello, mail, rcpt, data, date, sender, to, subject, empty, body, dot, bye, end = said.split("\r\n")
        assert hello in ("HELO probe.example.net", "EHLO probe.example.net")
        assert (mail, rcpt, data) == ("MAIL FROM:<a@example.net>", "RCPT TO:<b@example.org>", "DATA")
        assert (sender, to, subject) == ("From: <a@example.net>", "To: <b@example.org>", "Subject: testing")
        assert date.startswith("Date: ") and (empty, dot, bye, end) == ("", ".", "QUIT", "")


def test_deliver_is_refused_as_in_the_article(serve):
    text, report = both(serve(sendmail, deliver=True), "--deliver", "", "b@example.org", *HELD)
    assert text.code == 0
    assert [(r["to"], r["code"]) for r in report["slammer"]["replies"]] == [
        ("greeting", 554), ("HELO", 250), ("MAIL", 550), ("RCPT", 550), ("DATA", 550)] + [("line", 500)] * 6 + [("message", 500), ("QUIT", 221)]


def test_refused_only_at_rcpt(serve):
    """postscreen's enforce: shows only with --deliver, and only because a patient client does better."""
    def enforce(link):
        early = link.talked_within(PAUSE)
        mail_server(link, rcpt=b"550 5.5.1 Protocol error" if early else b"250 ok")

    assert probe(*HELD, server=serve(enforce)).code == 3
    text = probe("--deliver", "a@example.net", "b@example.org", *HELD, server=serve(enforce, deliver=True))
    assert text.code == 0
    assert re.search(r"early talk refused after [\d.]+ m?s with 550 to RCPT", text.words), text.words


def test_unknown_recipient_is_not_a_refusal_of_early_talk(serve):
    def unknown(link):
        mail_server(link, rcpt=b"550 5.1.1 unknown")

    text = probe("--deliver", "a@example.net", "b@example.org", *AT_ONCE, server=serve(unknown, deliver=True))
    assert text.code == 1
    assert b"was refused at RCPT: 550 5.1.1 unknown" in text.out


def test_transcript(serve):
    server = serve(sendmail)
    text = probe("-v", *HELD, server=server)
    assert re.search(rb"^ +\d+\.\d{3} ms  slammer > MAIL FROM:<>$", text.out, re.M)
    assert re.search(rb"^ +\d+\.\d{3} ms  slammer < 554 mx.example.org ESMTP not accepting messages$", text.out, re.M)
    assert re.search(rb"^ +\d+\.\d{3} ms  patient < 220 mx.example.org ESMTP$", text.out, re.M)
    assert re.search(rb"^ +\d+\.\d{3} ms  patient \* closed by the server$", text.out, re.M)
    machine = probe("-v", "--json", *HELD, server=server)
    assert machine.json()["exit"] == 0 and b"patient < 220" in machine.err


def test_several_addresses(serve):
    """localhost is ::1 and 127.0.0.1 on most machines; the server is on the second only."""
    server = serve(mail_server)
    report = probe("--json", *AT_ONCE, host="localhost", server=server).json()
    assert report["exit"] == 1 and report["address"] == "127.0.0.1" and report["host"] == "localhost"
    assert probe("-4", *AT_ONCE, host="localhost", server=server).code == 1


def test_ipv6(serve):
    try:
        server = serve(mail_server, family=socket.AF_INET6, address="::1")
    except OSError:
        pytest.skip("no IPv6 on loopback")
    report = probe("--json", *AT_ONCE, host="[::1]", server=server).json()
    assert report["address"] == "::1" and report["exit"] == 1
    assert b"HELO " in server.heard()


def test_cannot_connect():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    text = probe(f"127.0.0.1:{port}")
    assert text.code == 69 and text.words == "cannot connect: connection refused"
    text = probe("--slammer", f"127.0.0.1:{port}")
    assert text.code == 69 and text.words == "cannot connect: connection refused"
    report = probe("--json", f"127.0.0.1:{port}").json()
    assert report["verdict"] == "unreachable" and report["patient"]["error"] == "Connection refused"


def test_connect_times_out():
    """A listener whose backlog is full answers no SYN."""
    with socket.socket() as s, contextlib.ExitStack() as stack:
        s.bind(("127.0.0.1", 0))
        s.listen(0)
        for _ in range(4):
            c = stack.enter_context(socket.socket())
            c.setblocking(False)
            c.connect_ex(s.getsockname())
        text = probe("--timeout", "150ms", f"127.0.0.1:{s.getsockname()[1]}")
    assert text.code == 69 and text.words == "cannot connect: connection timed out"


def test_no_such_host():
    """The family is the wrong one for this address, which needs no name server to find out."""
    text = probe("-6", "127.0.0.1")
    assert text.code == 68 and text.out == b"" and text.err.startswith(b"tarry probe: 127.0.0.1: ")


@pytest.mark.parametrize("args", [
    [], ["a", "b"], ["--nonsense", "a"], ["--timeout", "soon", "a"], ["--timeout", "0", "a"], ["--timeout"], ["--early", "25h", "a"],
    ["a:0"], ["a:99999"], ["a:smtp"], ["[::1"], ["[::1]25"], [""], [":25"], ["[a]:25"], ["a:"], ["--helo", "two words", "a"], ["-4", "-6", "a"],
    ["--deliver", "a@b"], ["--deliver", "a@b", "a b", "h"], ["--deliver", "a\r\nRCPT TO:<x>", "b@c", "h"], ["--deliver", "a@b", "", "h"],
    ["--deliver", "a@b", "-v", "h"], ["--deliver", "a@b", "b>@c", "h"],
])
def test_usage(args):
    text = probe(*args)
    assert text.code == 64, text.err
    assert text.out == b"" and text.err.startswith(b"tarry probe: ") and text.err.count(b"\n") == 1


def test_help():
    for option in ("-h", "--help"):
        text = probe(option)
        assert text.code == 0 and text.err == b"" and text.out.startswith(b"usage: tarry probe ")
