"""Real mail servers started on the client's socket: a message from swaks comes through the pause into their mailbox, and they know the client's address by themselves."""
import re
import smtplib
import subprocess
import time

import pytest

from inetd import Exim, Mailfront, Sendmail
from mta import wait_until
from talk import REFUSAL, command, read_all, read_line

SERVERS = [Exim, Sendmail, Mailfront]


@pytest.fixture(params=SERVERS, ids=lambda kind: kind.__name__)
def server(request, scratch):
    return request.param(scratch / f"inetd-{request.node.name.replace('[', '-').replace(']', '')}")


@pytest.fixture
def front_of(make_door, binary):
    def make(server, more="", **options):
        door = make_door(start=False, listens=("[::]:0",), **options)
        door.binary = str(server.under(binary))
        door.verbatim = [server.section(more)]
        return door.start()
    return make


def received(server):
    """The Received header that the server itself put on, of its one message."""
    wait_until(lambda: len(server.messages()) == 1, "a message in the mailbox")
    text = server.messages()[0]
    assert "This is a test mailing" in text or "by way of six" in text, text
    return re.search(r"^Received:.*(?:\n[ \t].*)*", text, re.M).group(0)


def test_a_message_through_the_pause(front_of, server):
    door = front_of(server, greet_pause=300)
    done = subprocess.run(["swaks", "--server", f"127.0.0.1:{door.port}", "--local-interface", "127.0.0.7", "--from", "sender@example.net", "--to", server.recipient,
                           "--helo", "client.example.net"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr + door.text()
    first = received(server).splitlines()[0]
    assert "[127.0.0.7]" in first and "client.example.net" in first, first
    line = door.wait_verdict("patient")[0]
    assert line["client"] == "127.0.0.7" and int(line["handed"]) > 0 and 300 <= float(line["after_ms"]) < 5000
    if isinstance(server, Exim):
        assert re.search(r"<= sender@example.net H=\(client.example.net\) \[127.0.0.7\]", server.log()), server.log()


def test_a_message_over_ipv6(front_of, server):
    door = front_of(server, greet_pause=50)
    with smtplib.SMTP("::1", door.port, "six.example.net") as client:
        assert client.sendmail("sender@example.net", [server.recipient], "Subject: six\r\n\r\nby way of six\r\n") == {}
    first = received(server).splitlines()[0]
    assert ("::1" in first or "IPv6:0:0:0:0:0:0:0:1" in first) and "six.example.net" in first, first


def test_early_talkers_never_reach_it(front_of, server, connect):
    door = front_of(server, greet_pause=400)
    for n in range(10):
        client = connect(("127.0.0.1", door.port))
        time.sleep(0.03 * n)
        client.sendall(b"EHLO x\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<%s>\r\nDATA\r\n\r\nx\r\n.\r\nQUIT\r\n" % server.recipient.encode())
        assert read_all(client).startswith(REFUSAL)
        client.close()
    door.wait_verdict("early", 10)
    assert door.counters()["exec_started"] == 0 and server.messages() == []


def test_pipelining_and_a_large_message(front_of, server, connect):
    """Commands in one packet, and ten megabytes; they are the server's business now, and the door must not be in their way."""
    door = front_of(server, greet_pause=50)
    client = connect(("127.0.0.1", door.port))
    assert read_line(client).startswith(b"220")
    assert command(client, "EHLO x").startswith(b"250")
    client.sendall(b"MAIL FROM:<sender@example.net>\r\nRCPT TO:<%s>\r\nDATA\r\n" % server.recipient.encode())
    while not (line := read_line(client)).startswith(b"354"):
        assert line.startswith(b"250"), line
    client.sendall(b"Subject: large\r\n\r\n" + (b"y" * 70 + b"\r\n") * 140_000 + b".\r\nQUIT\r\n")
    assert read_line(client).startswith(b"250")
    assert read_line(client).startswith(b"221")
    wait_until(lambda: len(server.messages()) == 1, "a message in the mailbox")
    assert server.messages()[0].count("y" * 70) == 140_000
