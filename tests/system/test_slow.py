"""Who is refused is slowed down, who asks for recipients that are not there, too; and a door that is nearly full has no time for that. Lower bounds of times only: a busy machine is late, never early."""
import select
import socket
import time

from mta import wait_until
from talk import ARTICLE_SESSION, REFUSED_SESSION, REFUSAL, Backend, command, read_all, read_line, read_reply
from test_status import status

SAID = ARTICLE_SESSION.replace("\n", "\r\n").encode()


def test_a_refused_session_line_by_line(make_door, connect):
    """All at once in, one reply after the other out, none before its time."""
    delay = 0.15
    door = make_door(fronts=1, greet_pause="20s", refuse_tarpit="150ms")
    s = connect(door)
    begun = time.monotonic()
    s.sendall(SAID)
    for n, expected in enumerate(REFUSED_SESSION.splitlines()):
        assert read_line(s).decode() == expected + "\r\n"
        assert time.monotonic() - begun >= delay * (n + 1)
    assert read_line(s) == b""
    s.close()
    wait_until(lambda: door.counters()["open"] == 0, "it has gone")
    counters = door.counters()
    assert counters["tarpitted"] == 1 and counters["tarpit"] == 0 and counters["refused_commands"] == 11
    (line,) = door.verdicts("early")
    assert line["kind"] == "session" and int(line["bytes"]) == len(SAID)


def test_a_tarpit_that_is_full(make_door, connect):
    """refuse_tarpit_max counts over all fronts, a hang-up makes room, and status says how many there are."""
    door = make_door(fronts=2, greet_pause="20s", refuse_tarpit="100s", refuse_tarpit_max=4, max_per_client=0)
    clients = [connect(door, f"127.0.1.{n + 1}") for n in range(20)]
    for c in clients:
        c.sendall(b"NOOP\r\n")
    door.wait_verdict("early", 20)
    wait_until(lambda: sum(door.counters()[k] for k in ("tarpitted", "tarpit_full")) == 20, "each has found its place")
    counters = door.counters()
    assert 4 <= counters["tarpit"] <= 5 and counters["tarpit"] == counters["tarpitted"]  # both fronts may let in the last one
    assert f"{counters['tarpit']} in the tarpit" in status(door).stdout
    wait_until(lambda: len(select.select(clients, [], [], 0)[0]) == counters["tarpit_full"], "the others are answered at once")
    for c in select.select(clients, [], [], 0)[0]:
        assert read_line(c) == REFUSAL
    for c in clients:
        c.close()
    wait_until(lambda: door.counters()["open"] == 0, "all have gone")
    late = connect(door)
    late.sendall(b"NOOP\r\n")
    wait_until(lambda: door.counters()["tarpit"] == 1, "there is room again")


def test_stress_begins_and_ends(make_door, connect):
    """Nine of ten: the tarpit is emptied, held clients are greeted sooner, refused ones are got rid of; the log says it once for two fronts; fewer than seven: all as before."""
    door = make_door(fronts=2, greet_pause="200s", stress_greet_pause="300ms", refuse_tarpit="100s", refuse_timeout="200s", stress_refuse_timeout="300ms", max_connections=10,
                     max_per_client=0)
    talkers = [connect(door, f"127.0.1.{n + 1}") for n in range(4)]
    for c in talkers:
        c.sendall(b"NOOP\r\n")
    silent = [connect(door, f"127.0.2.{n + 1}") for n in range(4)]
    wait_until(lambda: door.counters()["tarpit"] == 4 and door.counters()["held"] == 4, "four sit in the tarpit, four are held")
    assert not door.events("stress") and "under stress" not in status(door).stdout
    silent.append(connect(door, "127.0.2.9"))
    begin = door.wait_for(lambda d: d.get("event") == "stress")[0]
    assert begin["state"] == "begin" and begin["reason"] == "max_connections" and int(begin["open"]) >= 9
    for c in talkers:
        assert read_all(c) == REFUSAL + b"250 2.0.0 OK\r\n"  # and then the short time-out
    for c in silent:
        assert read_line(c).startswith(b"220 ")
        assert command(c, "QUIT").startswith(b"221 ")
    for c in talkers + silent:
        c.close()
    end = door.wait_for(lambda d: d.get("event") == "stress", 2)[1]
    assert end["state"] == "end"
    wait_until(lambda: door.counters()["open"] == 0, "all have gone")
    counters = door.counters()
    assert counters["stress"] == 0 and counters["stress_begun"] == 1 and counters["tarpit_released"] == 4
    again = connect(door)
    again.sendall(b"NOOP\r\n")
    wait_until(lambda: door.counters()["tarpit"] == 1, "the tarpit is in use again")
    assert len(door.events("stress")) == 2


def test_bad_recipients_are_throttled(make_door, connect):
    """The mail server inside refuses them for relaying; those that follow come late, in order, and the message goes to who is left."""
    door = make_door(greet_pause=0, bad_rcpt_throttle=2)
    s = connect(door)
    assert read_line(s).startswith(b"220 ")
    s.sendall(b"EHLO x\r\n")
    assert read_reply(s).startswith(b"250 ")
    recipients = b"".join(b"RCPT TO:<u@%s>\r\n" % d for d in (b"elsewhere.net", b"example.org", b"elsewhere.net", b"elsewhere.net", b"example.org"))
    begun = time.monotonic()
    s.sendall(b"MAIL FROM:<a@b.example>\r\n" + recipients + b"DATA\r\n")
    assert [read_reply(s)[:3] for _ in range(4)] == [b"250", b"550", b"250", b"550"]
    for n, code in enumerate((b"550", b"250", b"354")):
        assert read_reply(s)[:3] == code
        assert time.monotonic() - begun >= min(n + 1, 2)
    s.sendall(b"Subject: x\r\n\r\nx\r\n.\r\n")
    assert read_reply(s).startswith(b"250 ") and command(s, "QUIT").startswith(b"221 ")
    (attack,) = door.wait_for(lambda d: d.get("event") == "attack")
    assert (attack["command"], attack["count"]) == ("RCPT", "2")
    assert door.counters()["slowed_commands"] == 2


def test_a_relayed_client_that_repeats_itself(make_door, connect):
    """Before a mail server of another kind: the third EHLO comes a second late; after the first message nothing is read any more, unless there is a reason."""
    backend = Backend()
    door = make_door(greet_pause=0, backends={"mta": (backend.at, "no")})
    s = connect(door)
    behind = backend.accept(b"220 hi\r\n")
    assert read_line(s) == b"220 hi\r\n"
    for n in range(3):
        begun = time.monotonic()
        s.sendall(b"EHLO x\r\n")
        assert read_line(behind) == b"EHLO x\r\n"
        assert n < 2 or time.monotonic() - begun >= 1
        behind.sendall(b"250 mta\r\n")
        assert read_line(s) == b"250 mta\r\n"
    (attack,) = door.wait_for(lambda d: d.get("event") == "attack")
    assert (attack["client"], attack["command"], attack["count"]) == ("127.0.0.1", "HELO/EHLO", "3")
    s.shutdown(socket.SHUT_WR)
    assert behind.recv(1) == b""
    behind.close()
    backend.close()
