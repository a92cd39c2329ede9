"""`tarry top`: what a person sees of a running door in a terminal."""
import os
import re
import signal
import subprocess
import termios

import pytest

from desk import free_port
from door import AS_ROOT, PATIENCE
from screen import Terminal
from talk import Backend, read_line

HOSTILE = b"\x1b]0;owned\x07\x1b[2J\x9b31m\xe2\x80\xae\x00<b>\r\n"
# What a terminal is told by ncurses for TERM=screen-256color, vt100 and linux: CSI with a final letter, charsets, a keypad, saved cursors.
CONTROL = re.compile(rb"\x1b(?:\[[?>]?[0-9;]*[A-Za-z@`]|[()][0AB]|[=>78M])")


@pytest.fixture
def on_terminal():
    made = []

    def make(door, *arguments, **options):
        made.append(Terminal([door.binary, "top", "-c", str(door.config), "-d", "0.2", *arguments], **options))
        return made[-1]

    yield make
    for t in made:
        t.close()


def is_tame(raw):
    """Nothing but text and what ncurses itself says: no titles, no bells, no C1 controls but within UTF-8 blocks."""
    rest = CONTROL.sub(b"", raw).replace(b"\x0e", b"").replace(b"\x0f", b"").replace(b"\x00", b"")
    text = rest.decode("utf-8")  # which a byte of its own above 0x7f would not be
    return [c for c in text if not (" " <= c <= "~" or c in "\r\n\b\t" or "\u2581" <= c <= "\u2588" or c == "\u2502")] == []


def refuse(door, connect, source, said):
    s = connect(door, source=source)
    s.sendall(said)
    assert read_line(s).startswith(b"554 ")
    s.close()


def test_what_a_door_does(make_door, connect, on_terminal):
    """Live, as it happens, in all panes; what strangers say does nothing to the terminal."""
    backend = Backend()
    door = make_door(greet_pause="60s", access=["GreetPause:127.0.0.3\t0"], backends={"mta": (backend.at, "no")})
    t = on_terminal(door, rows=50, cols=110)
    t.shows("live", "0 open: 0 held, 0 relayed", "pause 60000 ms", "nobody has so far", "not tried yet", "Turned away lately")
    held = connect(door, source="127.0.0.2")
    t.shows("1 open: 1 held")
    refuse(door, connect, "127.0.0.9", b"EHLO first\r\n")
    text = t.shows("EHLO first\\r\\n", "127.0.0.9", "early smtp", "127.0.0.0/24", "half of 1 within")
    assert re.search(r"early +[0-9.]+ +1 +1 +1", text), text
    refuse(door, connect, "127.0.0.10", HOSTILE)
    t.shows("\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\xe2\\x80\\xae\\x00<b>", "half of 2 within")
    relayed = connect(door, source="127.0.0.3")
    backend.accept(b"220 hi\r\n")
    assert read_line(relayed) == b"220 hi\r\n"
    t.shows("1 held, 1 relayed", "up 00:00:")
    backend.close()
    assert read_line(connect(door, source="127.0.0.3")).startswith(b"421 ")
    t.shows("backend mta is down; see 5", "down 00:")
    for key, words in (("2", ("id=", "pause=60000ms", "127.0.0.10")), ("\t", ("Networks turned away", "127.0.0.0/24")), ("4", ("pause 60000 ms", "100 ms", "Too few early talkers seen yet: ")), ("5", ("Backends and maps", "Connection refused", "1 good, 1 bad")),
                       ("h", ("p, space",)), ("h", ("Backends and maps",)), ("\x1bOC", ("verdict", "last minute")), ("\x1bOD", ("Backends and maps",)), ("1", ("verdict",))):
        t.keys(key)
        t.shows(*words)
    t.keys("q")
    assert t.ended() == 0 and is_tame(t.raw), t.raw
    held.close()
    relayed.close()


def test_stands_still_and_goes_on(make_door, connect, on_terminal):
    door = make_door(greet_pause="60s")
    t = on_terminal(door)
    t.shows("live", "0 held")
    t.keys("p")
    t.shows("PAUSED")
    refuse(door, connect, "127.0.0.9", b"EHLO meanwhile\r\n")
    door.wait_verdict("early")
    t.read(0.5)
    t.size(45, 120)
    assert "EHLO meanwhile" not in t.until(lambda text: "PAUSED" in text and "Turned away lately" in text)
    t.keys(" ")
    t.shows("live", "EHLO meanwhile")


def test_size_and_colours(make_door, connect, on_terminal):
    door = make_door(greet_pause="60s")
    refuse(door, connect, "127.0.0.9", b"EHLO here\r\n")
    t = on_terminal(door, rows=24, cols=80)
    t.shows("verdict", "q quit")
    assert b"\x1b[3" in t.raw or b"\x1b[1;3" in t.raw  # colours
    for rows, cols, words in ((15, 60, ("nobackend", "5 servers")), (14, 60, ("60x14 is too small", "60x15 is needed")), (5, 20, ("20x5 is too small",)), (40, 100, ("EHLO here\\r\\n",))):
        t.size(rows, cols)
        t.shows(*words)
    t.keys("q")
    assert t.ended() == 0
    for options in ({"term": "vt100"}, {"NO_COLOR": "1"}, {"LC_ALL": "C"}):
        plain = on_terminal(door, rows=40, cols=100, **options)
        plain.shows("verdict", "EHLO here\\r\\n", "pause 60000 ms")
        plain.keys("4")
        plain.shows("pause 60000 ms", "1 s")
        if options != {"LC_ALL": "C"}:
            assert not re.search(rb"\x1b\[[0-9;]*3[0-7]m", plain.raw) and "\u2588" in plain.text()
        else:
            assert "#" in plain.text() and "\u2588" not in plain.text()
        plain.keys("q")
        assert plain.ended() == 0 and is_tame(plain.raw), options


@pytest.mark.parametrize("how", ["q", signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_leaves_the_terminal_as_it_was(make_door, on_terminal, how):
    door = make_door()
    t = on_terminal(door)
    t.shows("live")
    assert termios.tcgetattr(t.slave) != t.before
    if isinstance(how, str):
        t.keys(how)
    else:
        os.kill(t.process.pid, how)
    assert t.ended() == 0
    assert termios.tcgetattr(t.slave) == t.before
    assert t.raw.rfind(b"\x1b[?1049l") > t.raw.rfind(b"\x1b[?1049h") and not t.screen.cursor.hidden


def test_the_door_goes_and_comes_back(make_door, connect, on_terminal):
    door = make_door(greet_pause="60s")
    refuse(door, connect, "127.0.0.9", b"EHLO before\r\n")
    t = on_terminal(door, rows=40)
    t.shows("live", "EHLO before")
    first = door.process.pid
    door.stop()
    t.shows("NO DOOR", "no door since", "EHLO before")
    door.options["greet_pause"] = "30s"
    door.spawn()
    t.shows("live", "the door was started again: pid %d" % door.process.pid, "pause 30000 ms", "pid %d" % door.process.pid)
    assert door.process.pid != first
    door.wait_for(lambda d: d.get("event") == "listening", 2)
    door.addresses = [(door.events("listening")[-1]["at"].rpartition(":")[0], int(door.events("listening")[-1]["at"].rpartition(":")[2]))]
    refuse(door, connect, "127.0.0.8", b"EHLO after\r\n")
    t.shows("EHLO after", "EHLO before", "half of 1 within")
    # Nobody is asked each second: a parent that stands still is not noticed at once.
    os.kill(door.process.pid, signal.SIGSTOP)
    t.keys("2")
    t.shows("EHLO after", "live")
    os.kill(door.process.pid, signal.SIGCONT)
    # A reload, for which the process stays; whoever is with a front of before lets it be noticed at once.
    there = connect(door, source="127.0.0.7")
    there.sendall(b"EHLO x\r\n")
    assert read_line(there).startswith(b"554 ")
    door.options["greet_pause"] = "45s"
    door.write_config()
    assert subprocess.run([door.binary, "reload", "-c", str(door.config)], capture_output=True, timeout=60, check=False).returncode == 0
    t.shows("live", "pause 45000 ms", "pid %d" % door.process.pid)
    there.close()
    t.keys("q")
    assert t.ended() == 0


def test_begins_with_what_the_desk_remembers(make_door, connect, on_terminal):
    door = make_door(greet_pause="60s", desk=f"127.0.0.1:{free_port()}")
    if door.events("no_desk"):
        pytest.skip("there is no tarry-desk here")
    door.wait_for(lambda d: d.get("event") == "desk_listening")
    refuse(door, connect, "127.0.0.9", b"EHLO once\r\n")
    # Where the ring is gone with its front, or is written over, the desk still knows.
    t = on_terminal(door, rows=40)
    t.shows("EHLO once", "127.0.0.0/24")
    text = t.until(lambda s: re.search(r"early +[0-9.-]+ +[01] +[01] +1\b", s))
    assert text.count("EHLO once") == 1, text
    t.keys("q")
    assert t.ended() == 0


def test_no_terminal_no_door_no_such_option(make_door, tmp_path, on_terminal):
    door = make_door()

    def run(*arguments, **more):
        return subprocess.run([door.binary, "top", *arguments], capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL, **more)

    done = run("-c", str(door.config))
    assert done.returncode == 64 and "tarry status" in done.stderr and done.stdout == ""
    assert run("-h").stdout.startswith("usage: tarry top") and run("-h").returncode == 0
    for wrong in (("-d",), ("-d", "0"), ("-d", "nan"), ("-d", "1s"), ("-d", "1e9"), ("-x",), ("more\x1b[2J",)):
        done = run(*wrong)
        assert done.returncode == 64 and "see tarry top -h" in done.stderr and "\x1b" not in done.stderr, wrong
    t = Terminal([door.binary, "top", "-c", str(tmp_path / "other.conf")])
    assert t.ended() == 69 and b"no door runs with" in t.process.stderr.read()
    t.close()
    for term in ("dumb", "no-such-terminal"):
        t = on_terminal(door, term=term)
        assert t.ended() == 69 and b"tarry status" in t.process.stderr.read()
        assert termios.tcgetattr(t.slave) == t.before
    libraries = subprocess.run(["ldd", door.binary], capture_output=True, text=True, check=True).stdout
    assert "curses" not in libraries and "tinfo" not in libraries  # it faces the Internet


@pytest.mark.skipif(not AS_ROOT, reason="needs another user")
def test_another_user_sees_nothing(make_door, tmp_path):
    door = make_door()
    for f in (door.config.parent, door.config):
        f.chmod(0o755)
    t = Terminal(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", door.binary, "top", "-c", str(door.config)])
    assert t.ended() == 77 and b"the door is root's" in t.process.stderr.read()
    t.close()
