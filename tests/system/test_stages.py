"""Stages after the greeting, with a real Postfix behind the door, and one that sends: who waits is served, however long that is; who does not gets nothing delivered."""
import smtplib
import subprocess
import time

import pytest

import mta
from door import PATIENCE
from talk import command, read_all, read_line, read_reply

EHLO = b"EHLO client.example.net\r\n"
ENVELOPE = b"MAIL FROM:<a@example.net>\r\nRCPT TO:<victim@example.org>\r\n"
TEXT = b"Subject: slammed\r\n\r\nhello\r\n.\r\n"
PAUSES = {"helo_pause": 300, "mail_pause": 200, "rcpt_pause": 200, "data_pause": 200, "eom_pause": 400}


@pytest.fixture(scope="module")
def postfix(scratch):
    one = mta.Postfix(scratch / "postfix-behind-stages", smtpd=True).start()
    yield one
    one.stop()


def door_before(make_door, postfix, **options):
    return make_door(**{"greet_pause": 100, "linger": 100, "backends": {"postfix": (f"smtp:127.0.0.1:{postfix.port}", "v2")}, **options})


def greeted(connect, door, hello):
    client = connect(door)
    assert read_line(client).startswith(b"220 postfix.example.net ")
    if hello:
        assert command(client, hello).startswith(b"250")
    return client


def expect_early(door, client, stage, said, count=1):
    """It is told so, and refused whatever it says until it goes."""
    heard = read_all(client)
    assert b"554 5.5.0 You sent more before you had the reply to " + said in heard, heard
    assert heard.endswith(b"221 2.0.0 mail.example.org closing connection\r\n")
    assert any(line["stage"] == stage and line["backend"] == "postfix" for line in door.wait_verdict("early", count))
    assert door.counters()[f"early_{stage}"] == 1


def test_each_stage_before_postfix(make_door, connect, postfix, binary):
    """None of them gets a message through, and those who wait do, in groups where they may."""
    before = postfix.log().count("removed")
    door = door_before(make_door, postfix)
    client = greeted(connect, door, "")
    client.sendall(EHLO + ENVELOPE + b"DATA\r\n" + TEXT + b"QUIT\r\n")
    expect_early(door, client, "helo", b"HELO or EHLO")
    client = greeted(connect, door, "EHLO c")
    client.sendall(ENVELOPE + b"DATA\r\n" + TEXT + b"QUIT\r\n")
    expect_early(door, client, "data", b"DATA", 2)
    client = greeted(connect, door, "HELO c")
    client.sendall(ENVELOPE + b"DATA\r\n" + TEXT + b"QUIT\r\n")
    expect_early(door, client, "mail", b"MAIL", 3)
    client = greeted(connect, door, "HELO c")
    for line, code in ((b"MAIL FROM:<a@example.net>", b"250"), (b"RCPT TO:<victim@example.org>", b"250"), (b"DATA", b"354")):
        client.sendall(line + b"\r\n")
        assert read_reply(client).startswith(code)
    client.sendall(TEXT + b"NOOP\r\nQUIT\r\n")
    expect_early(door, client, "eom", b"your message", 4)
    said = subprocess.run([binary, "status", "-c", door.config], capture_output=True, text=True, check=False).stdout.splitlines()
    assert "and later    1 helo, 1 mail, 1 data, 1 eom" in said, said
    client = greeted(connect, door, "EHLO c")
    client.sendall(ENVELOPE + b"RSET\r\n" + ENVELOPE + b"DATA\r\n")
    assert [read_reply(client)[:3] for _ in range(6)] == [b"250"] * 5 + [b"354"]
    client.sendall(TEXT + ENVELOPE + b"BDAT 20\r\nSubject: waited\r\n\r\nxBDAT 3 LAST\r\nx\r\nQUIT\r\n")
    assert [read_reply(client)[:3] for _ in range(6)] == [b"250"] * 5 + [b"221"]
    assert door.wait_verdict("patient")[0]["end"] == "backend"
    mta.wait_until(lambda: postfix.log().count("removed") >= before + 2, postfix.log())
    assert postfix.log().count("removed") == before + 2


def test_a_slammer_before_postfix_sits_in_the_tarpit(make_door, connect, postfix):
    """It is told at once, and after that each of its lines is answered half a second late, one at a time; nothing is delivered."""
    before = postfix.log().count("removed")
    door = door_before(make_door, postfix, refuse_tarpit=500)
    client = greeted(connect, door, "EHLO c")
    client.sendall(ENVELOPE + b"DATA\r\n" + TEXT + b"QUIT\r\n")
    assert [read_reply(client)[:3] for _ in range(2)] == [b"250"] * 2
    heard, times = [], []
    while line := read_line(client):
        heard.append(line[:3])
        times.append(time.monotonic())
    assert heard == [b"554"] + [b"500"] * 4 + [b"221"], heard
    assert all(later - one >= 0.45 for one, later in zip(times, times[1:])), times
    assert door.wait_verdict("early")[0]["stage"] == "data"
    assert door.counters()["tarpitted"] == 1
    assert postfix.log().count("removed") == before


def test_pauses_before_postfix(make_door, connect, postfix):
    """Who waits through all of them is served; who talks in the last one has its message undone, of which Postfix had all but the last byte."""
    before = postfix.log().count("removed")
    door = door_before(make_door, postfix, **PAUSES)
    begin = time.monotonic()
    with smtplib.SMTP("127.0.0.1", door.port, timeout=PATIENCE) as client:
        client.ehlo("client.example.net")
        assert not client.has_extn("pipelining") and client.has_extn("chunking")
        client.sendmail("a@example.net", ["victim@example.org"], "Subject: patient\r\n\r\nhello\r\n")
    assert time.monotonic() - begin > (100 + sum(PAUSES.values())) / 1000
    assert door.wait_verdict("patient")[0]["paused_ms"] == str(sum(PAUSES.values()))
    client = greeted(connect, door, "EHLO c")
    for line in (b"MAIL FROM:<a@example.net>", b"RCPT TO:<victim@example.org>", b"DATA"):
        client.sendall(line + b"\r\n")
        read_reply(client)
    client.sendall(TEXT)
    time.sleep(0.1) # within the pause
    client.sendall(b"NOOP\r\nQUIT\r\n")
    expect_early(door, client, "eom", b"your message")
    mta.wait_until(lambda: postfix.log().count("removed") >= before + 1, postfix.log())
    assert postfix.log().count("removed") == before + 1
    assert door.counters()["paused"] == 0


def test_the_tools_explain(binary, tmp_path):
    """What the pauses of a client are and why; what is hardly meant."""
    access = tmp_path / "access"
    access.write_text("GreetPause:192.0.2.1 0\nHeloPause:192.0.2 1500\nEomPause:192.0.2.3 2s\nHeloPause:x@y 3\n")
    options = ["-o", f"access_db=text:{access}", "-o", "user=nobody", "-o", "rcpt_pause=20", "-o", "data_pause=30s"]

    def why(address):
        return subprocess.run([binary, "access", "why", *options, address], capture_output=True, text=True, timeout=PATIENCE, check=False).stdout

    told = why("192.0.2.3")
    assert f"helo     the reply to HELO or EHLO withheld for 1500 ms because {access}:2 says 1500\n" in told
    assert "rcpt     the reply to each RCPT withheld for 20 ms, as rcpt_pause has it\n" in told and "    EomPause:192.0.2.3  2s" in told
    assert "MailPause:" not in told
    assert "withheld for 0 ms: it is exempt by its GreetPause: of 0\n" in why("192.0.2.1")
    warned = subprocess.run([binary, "check", *options], capture_output=True, text=True, timeout=PATIENCE, check=False).stderr
    for text in ("rcpt_pause: 20 ms, which hardly anybody is too early for", "data_pause: more than pause_budget, which cuts it", ":3: EomPause:192.0.2.3 2s: read as 2 ms",
                 ":4: HeloPause:x@y: never matches"):
        assert text in warned, warned


def test_postfix_waits(make_door, postfix, scratch):
    """A real mail server as the client waits through all of them."""
    before = postfix.log().count("removed")
    door = door_before(make_door, postfix, **PAUSES)
    sender = mta.Postfix(scratch / "postfix-stages", relayhost=f"[127.0.0.1]:{door.port}").start()
    try:
        sender.submit("sender@example.net", "victim@example.org", "Subject: one\n\nhello\n")
        sender.wait_log("status=sent")
    finally:
        sender.stop()
    assert all("would" not in line for line in door.wait_verdict("patient")) and not door.verdicts("early")
    mta.wait_until(lambda: postfix.log().count("removed") == before + 1, postfix.log())
