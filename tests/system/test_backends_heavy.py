"""Much mail, large mail, and a server that is killed in the middle: nothing lost after its 250, nothing twice."""
import collections
import contextlib
import hashlib
import signal
import smtplib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from machine import CROWD, SERVER4
from mta import wait_until
from peers import Pair
from senders import RECIPIENT, SENDER, Client
from test_backends import assert_from

LARGE = 50 * 1000 * 1000
CONNECTIONS, EACH = 100, 10


@pytest.fixture(scope="module", params=["postfix/proxy-v2", "opensmtpd/proxy-v2"])
def pair(request, binary, scratch):
    one = Pair(request.param, scratch / ("heavy-" + request.param.replace("/", "-")), binary)
    try:
        yield one.start()
    finally:
        one.stop()


def message(subject):
    return f"From: {SENDER}\r\nTo: {RECIPIENT}\r\nSubject: {subject}\r\n\r\n{'x' * 70}\r\n.{'y' * 70}\r\n"


class Session(smtplib.SMTP):
    """smtplib's client, from an address of that machine."""

    def __init__(self, machine, source):
        self.machine = machine
        super().__init__(SERVER4, 25, "client.example.net", timeout=60, source_address=(source, 0))

    def _get_socket(self, host, port, timeout):
        with self.machine.network():
            return super()._get_socket(host, port, timeout)


def counted(pair):
    return collections.Counter({s: len(m) for s, m in pair.subjects().items()})


def test_fifty_megabytes(pair):
    line = b"0123456789abcdef" * 4 + b"....\r\n"
    text = b"." + line * (LARGE // len(line))
    with Client(pair.machine, source=CROWD[0]) as client:
        client.envelope()
        client.say("DATA", "354")
        client.send(b"Subject: large\r\n\r\n." + text)
        client.socket.settimeout(60)
        client.say(".", "250")
        client.say("QUIT", "221")
    got = pair.wait_mail("large", patience=40)
    body = got.replace(b"\r\n", b"\n").split(b"\n\n", 1)[1].rstrip(b"\n")
    assert hashlib.sha256(body).digest() == hashlib.sha256(text.replace(b"\r\n", b"\n").rstrip(b"\n")).digest()
    assert_from(pair, got[:10000], CROWD[0])
    pair.peer.forget()


def test_a_thousand_messages_over_a_hundred_connections(pair):
    """All of them open at the same time."""
    everybody = threading.Barrier(CONNECTIONS)

    def send(number):
        with Session(pair.machine, CROWD[number % len(CROWD)]) as session:
            everybody.wait(60)
            for n in range(EACH):
                session.sendmail(SENDER, [RECIPIENT], message(f"many-{number}-{n}"))

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(send, range(CONNECTIONS)))
    wanted = collections.Counter(f"many-{i}-{n}" for i in range(CONNECTIONS) for n in range(EACH))
    wait_until(lambda: len(pair.peer.mail_paths()) >= len(wanted), lambda: f"{len(pair.peer.mail_paths())} of {len(wanted)} messages", 60)
    time.sleep(0.2)
    assert counted(pair) == wanted
    pair.front.wait_verdict("patient", CONNECTIONS)
    pair.peer.forget()


def test_killed_in_the_middle(pair):
    """The server stores mail, and delivers it only when all is over, so that every duplicate is the door's or the clients'. Nobody sends a message again."""
    pair.peer.hold()
    acknowledged, doubtful, stop = set(), set(), threading.Event()

    def send(number):
        n = 0
        while not stop.is_set():
            with contextlib.suppress(OSError, smtplib.SMTPException):
                with Session(pair.machine, CROWD[number % len(CROWD)]) as session:
                    while not stop.is_set():
                        n += 1
                        doubtful.add(f"killed-{number}-{n}")
                        session.sendmail(SENDER, [RECIPIENT], message(f"killed-{number}-{n}"))
                        acknowledged.add(f"killed-{number}-{n}")

    senders = [threading.Thread(target=send, args=(i,), daemon=True) for i in range(20)]
    for s in senders:
        s.start()
    wait_until(lambda: len(acknowledged) > 100, "mail goes through")
    pair.peer.stop(pair.front.members(), signal.SIGKILL)
    before = len(acknowledged)
    wait_until(lambda: pair.front.verdicts("nobackend"), "clients are turned away while it is down")
    pair.peer.start()
    wait_until(lambda: len(acknowledged) > before + 100, "mail goes through again", 40)
    stop.set()
    for s in senders:
        s.join(60)
    doubtful -= acknowledged
    pair.peer.release()
    wait_until(lambda: len(pair.peer.mail_paths()) >= len(acknowledged), lambda: f"{len(pair.peer.mail_paths())} of {len(acknowledged)}\n{pair.peer.log()[-3000:]}", 60)
    wait_until(pair.peer.is_idle, "its queue is empty", 120)
    found = counted(pair)
    assert max(found.values()) == 1
    assert set(found) >= acknowledged, sorted(acknowledged - set(found))[:10]
    assert set(found) <= acknowledged | doubtful
    pair.peer.forget()
