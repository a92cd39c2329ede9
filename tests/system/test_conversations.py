"""Random conversations with a real Postfix behind the door: who keeps to RFC 5321, RFC 2920 and RFC 3030 is never refused, wherever and whenever its bytes are cut; who talks at a
point where it has to wait gets nothing through.

TARRY_CONVERSATIONS=100000 plays more of them, TARRY_SEED=7 others. The same against a model of a server, with a clock moved by hand, is tests/unit/gate/test_stages.c.
"""
import os
import random
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import mta
from door import PATIENCE

COUNT = int(os.environ.get("TARRY_CONVERSATIONS", "300"))
SEED = int(os.environ.get("TARRY_SEED", "1"))
EARLY = b"554 5.5.0 You sent more before you had the reply to "


class Step:
    """Bytes that may be sent at once, and the codes of the replies to them. wait: it does for these, before the next step; ends: the subject of the message that it completes."""

    def __init__(self, sent, codes, wait=True, ends=None):
        self.sent, self.codes, self.wait, self.ends = sent, codes, wait, ends


def text(dice, subject):
    lines = [b"x" * dice.randrange(0, 200) for _ in range(dice.randrange(0, 12))] + [b"..", b"..MAIL FROM:<a@example.net>", b""]
    dice.shuffle(lines)
    return b"Subject: %s\r\n\r\n" % subject.encode() + b"".join(line + b"\r\n" for line in lines)


def envelope(dice):
    """The commands before DATA, and the codes of their replies."""
    some = [(b"MAIL FROM:<a@example.net>\r\n", "250")] + [(b"RCPT TO:<victim@example.org>\r\n", "250")] * dice.randrange(1, 4)
    if dice.random() < 0.2:
        some = [(b"MAIL FROM:<b@example.net>\r\n", "250"), (b"RSET\r\n", "250")] + some
    if dice.random() < 0.2:
        some.append((b"RCPT TO:<somebody@elsewhere.example>\r\n", "554"))
    return some


def in_step(dice, some):
    """Each alone."""
    for line, code in some:
        yield Step(line, [code])
        if dice.random() < 0.1:
            yield Step(b"NOOP\r\n", ["250"])


def in_groups(dice, some):
    while some:
        n = dice.randrange(1, len(some) + 1)
        yield Step(b"".join(line for line, _ in some[:n]), [code for _, code in some[:n]], wait=False)
        some = some[n:]


def by_data(dice, subject, grouped):
    yield from (in_groups if grouped else in_step)(dice, envelope(dice))
    yield Step(b"DATA\r\n", ["354"])
    yield Step(text(dice, subject) + b".\r\n", ["250"], wait=not grouped, ends=subject)


def by_bdat(dice, subject):
    """Chunks may follow each other, and their MAIL and RCPT, without waiting."""
    body, some = text(dice, subject), envelope(dice)
    commands = b"".join(line for line, _ in some)
    codes = [code for _, code in some]
    while body:
        n = dice.randrange(1, len(body) + 1)
        last = n == len(body)
        commands += b"BDAT %d%s\r\n" % (n, b" LAST" if last else b"") + body[:n]
        codes.append("250")
        body = body[n:]
    yield Step(commands, codes, wait=False, ends=subject)


def conversation(dice, name):
    """Legal from its first byte to its last."""
    extended = dice.random() < 0.75
    yield Step(b"EHLO client.example.net\r\n" if extended else b"HELO client.example.net\r\n", ["250"])
    for n in range(dice.randrange(1, 4)):
        subject = f"{name}-{n}"
        if extended and dice.random() < 0.3:
            yield from by_bdat(dice, subject)
        else:
            yield from by_data(dice, subject, extended and dice.random() < 0.7)
        if dice.random() < 0.1:
            yield Step(b"EHLO again.example.net\r\n" if extended else b"HELO again.example.net\r\n", ["250"])
    yield Step(b"QUIT\r\n", ["221"])


def send_in_pieces(dice, s, data):
    while data:
        n = len(data) if dice.random() < 0.5 else dice.randrange(1, len(data) + 1)
        s.sendall(data[:n])
        data = data[n:]
        if dice.random() < 0.3:
            time.sleep(dice.random() * 0.003)


class Client:
    def __init__(self, port, source):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE, source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def expect(self, codes, what):
        for code in codes:
            line = b"250-"
            while line[3:4] == b"-":
                line = self.file.readline()
            assert line[:3] == code.encode(), f"{what}: expected {code}, got {line}"

    def close(self):
        self.file.close()
        self.socket.close()


def play_legally(client, dice, steps, subjects):
    """Sends what may be sent together, together, as the dice fall; notes the messages that were acknowledged."""
    client.expect(["220"], "greeting")
    at = 0
    while at < len(steps):
        end = at + 1
        while end < len(steps) and not steps[end - 1].wait and dice.random() < 0.6:
            end += 1
        send_in_pieces(dice, client.socket, b"".join(s.sent for s in steps[at:end]))
        for s in steps[at:end]:
            client.expect(s.codes, s.sent[-300:])
            if s.ends:
                subjects.append(s.ends)
        at = end


def play_illegally(client, dice, steps, subjects):
    """Up to a point at which it has to wait, with PIPELINING or, after HELO, without, and there it does not. Returns what it has heard after that."""
    extended = steps[0].sent.startswith(b"EHLO")
    waits = [i for i, s in enumerate(steps[:-1]) if not extended or s.sent.startswith((b"EHLO", b"DATA"))]
    at = dice.choice([i for i in waits if not steps[i + 1].sent.startswith(b"QUIT")])  # that, behind a message's end, is no talk
    play_legally(client, dice, steps[:at], subjects)
    client.socket.sendall(steps[at].sent + steps[at + 1].sent + b"QUIT\r\n")
    client.socket.shutdown(socket.SHUT_WR)
    return client.file.read()


@pytest.fixture(scope="module")
def postfix(scratch):
    one = mta.Postfix(scratch / "postfix-of-conversations", smtpd=True).start()
    yield one
    one.stop()


def delivered(postfix):
    return [re.search(r"^Subject: (\S*)", p.read_text("latin-1"), re.M).group(1) for p in (postfix.mail / "victim" / "new").glob("*")]


@pytest.fixture
def door(make_door, postfix):
    return make_door(greet_pause=20, max_per_client=0, stress_at=0, slow_commands="no", backends={"postfix": (f"smtp:127.0.0.1:{postfix.port}", "v2")})


def play_all(door, postfix, kind, play):
    """[what play() returned]; every acknowledged message is there, once for each recipient, and none besides."""
    subjects, wrong = [], []

    def one(n):
        dice = random.Random(f"{SEED}-{kind}-{n}")
        client = Client(door.port, f"127.0.2.{n % 200 + 1}")
        try:
            return play(client, dice, list(conversation(dice, f"{kind}-{n}")), subjects)
        except (AssertionError, OSError) as e:
            wrong.append(f"TARRY_SEED={SEED}, {kind} conversation {n}: {e}")
            return None
        finally:
            client.close()

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(one, range(COUNT)))
    assert not wrong, "\n".join(wrong[:5])
    mta.wait_until(lambda: set(subjects) <= set(delivered(postfix)), "what was acknowledged is delivered")
    assert {s for s in delivered(postfix) if s.startswith(kind)} == set(subjects)
    return results


def test_legal(door, postfix):
    play_all(door, postfix, "legal", play_legally)
    assert not door.verdicts("early")
    assert len(door.wait_verdict("patient", COUNT)) == COUNT


def test_illegal(door, postfix):
    heard = play_all(door, postfix, "illegal", play_illegally)
    assert all(EARLY in h for h in heard), next(h for h in heard if EARLY not in h)
    assert len(door.wait_verdict("early", COUNT)) == COUNT
