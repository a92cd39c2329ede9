"""`tarry status`: what a running door says of its backends and of itself, for people and for monitors."""
import json
import os
import re
import resource
import signal
import socket
import subprocess
from pathlib import Path

import pytest

import mta
from door import PATIENCE
from talk import Backend, Background, read_line


def status(door, *arguments, config=None):
    return subprocess.run([door.binary, "status", "-c", str(config or door.config), *arguments], capture_output=True, text=True, timeout=60, check=False)


def as_json(door):
    done = status(door, "--json")
    return done.returncode, json.loads(done.stdout)


def test_backend_goes_down_and_comes_up(make_door, connect):
    backend = Backend()
    door = make_door(greet_pause=0, backends={"mta": (backend.at, "no")})
    mta.wait_until(lambda: as_json(door)[1]["fronts_at_work"] == 2, "the fronts are at work")
    code, said = as_json(door)
    assert code == 0 and said["backends"][0]["state"] == "unknown" and said["backends"][0]["since"] is None
    assert said["fronts"] == said["fronts_at_work"] == 2 and said["pid"] == door.process.pid
    assert said["listen"] == [{"at": "127.0.0.1:%d" % door.port, "proxy": False}]
    s = connect(door)
    backend.accept(b"220 hi\r\n")
    assert read_line(s) == b"220 hi\r\n"
    code, said = as_json(door)
    assert code == 0 and said["backends"][0] | {"since": 0, "tried": 0} == {"name": "mta", "address": backend.at, "state": "up", "since": 0, "tried": 0, "error": "", "good": 1, "bad": 0}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", said["backends"][0]["since"])
    assert said["counters"]["relayed"] == 1 and said["counters"]["open"] == 1 and said["counters"]["connections"] == 1
    text = status(door).stdout
    assert f"backend      mta ({backend.at}): up since 20" in text and "1 open: 0 arriving, 0 handshaking, 0 asked, 0 held, 0 dialling, 1 relayed, 0 refusing, 0 closing" in text
    at = backend.socket.getsockname()
    backend.close()
    assert read_line(connect(door)).startswith(b"421 4.3.2")
    code, said = as_json(door)
    assert code == 2 and said["backends"][0]["state"] == "down" and said["backends"][0]["error"] == "Connection refused"
    assert status(door).returncode == 2 and "Connection refused" in status(door).stdout
    with socket.create_server(at) as again:
        again.settimeout(PATIENCE)

        def greet():
            s, _ = again.accept()
            s.sendall(b"220 back\r\n")
            return s

        behind = Background(greet)
        # It is left alone for a while after a failure.
        mta.wait_until(lambda: read_line(connect(door)) == b"220 back\r\n", "the backend is tried again")
        assert as_json(door)[0] == 0
        behind.result().close()


def test_every_state_is_counted(make_door, connect):
    backend = Backend()
    door = make_door(greet_pause="60s", access=["GreetPause:127.0.0.3\t0", "GreetPause:127.0.0.4\t0"], backends={"mta": (backend.at, "no")})
    held, refused = connect(door, source="127.0.0.2"), connect(door, source="127.0.0.5")
    relayed = connect(door, source="127.0.0.3")
    backend.accept(b"220 hi\r\n")
    assert read_line(relayed) == b"220 hi\r\n"
    dialling = connect(door, source="127.0.0.4")
    backend.accept()
    refused.sendall(b"EHLO x\r\n")
    assert read_line(refused).startswith(b"554 ")
    mta.wait_until(lambda: as_json(door)[1]["counters"]["open"] == 4, "all are in")
    counters = as_json(door)[1]["counters"]
    assert {k: counters[k] for k in ("held", "refusing", "relayed", "dialling", "closing", "asked", "arriving")} == {
        "held": 1, "refusing": 1, "relayed": 1, "dialling": 1, "closing": 0, "asked": 0, "arriving": 0}
    for s in (held, refused, relayed, dialling):
        s.close()
    backend.close()
    mta.wait_until(lambda: as_json(door)[1]["counters"]["open"] == 0, "all are gone")
    counters = as_json(door)[1]["counters"]
    assert not any(counters[k] for k in ("held", "refusing", "relayed", "dialling", "closing"))


def test_front_that_is_not_at_work(make_door):
    door = make_door()

    def fronts():
        return [p for p in door.children() if Path(f"/proc/{p}/comm").read_text().strip() == "tarry-front"]

    mta.wait_until(lambda: len(fronts()) == 2, "both run")
    for n in range(3):  # its successor takes longer each time
        os.kill(fronts()[0], signal.SIGKILL)
        door.wait_for(lambda d: d.get("event") == "role_died", n + 1)
        if n < 2:
            mta.wait_until(lambda: as_json(door)[1]["fronts_at_work"] == 2, "it is back")
    code, said = as_json(door)
    assert (code, said["fronts_at_work"]) in ((1, 1), (0, 2))  # it may be back already
    mta.wait_until(lambda: as_json(door)[0] == 0, "it is back")


def test_no_door(make_door, tmp_path):
    door = make_door()
    done = status(door, config=tmp_path / "other.conf")
    assert done.returncode == 69 and "no door runs with" in done.stderr and done.stdout == ""
    assert status(door, "more").returncode == 64 and status(door, "-x").returncode == 64
    assert status(door, "-h").stdout.startswith("usage: tarry status")
    door.stop()
    assert status(door).returncode == 69


def test_one_of_two_backends_is_down(make_door, connect):
    """Mail still flows, and whoever watches is told."""
    good, dead = Backend(), Backend()
    door = make_door(listens=[("127.0.0.1:0", 'health = { "127.0.0.3" }')], greet_pause=0, fronts=1, backends={"dead": (dead.at, "no"), "good": (good.at, "no")})
    dead.close()
    for source in ("127.0.0.3", "127.0.0.2", "127.0.0.3"):
        s = connect(door, source=source)
        behind = good.accept(b"220 good\r\n")
        assert read_line(s).startswith(b"220 ")
        if source == "127.0.0.3":
            assert behind.recv(100) == b"QUIT\r\n" and behind.recv(100) == b""
    code, said = as_json(door)
    assert code == 1 and {b["name"]: (b["state"], b["error"]) for b in said["backends"]} == {"dead": ("down", "Connection refused"), "good": ("up", "")}
    good.close()
    s = connect(door, source="127.0.0.3")
    assert read_line(s) == b"421 4.3.2 mail.example.org Service not available, try again later\r\n"
    assert as_json(door)[0] == 2


def test_probe_passes_over_a_backend_that_greets_with_an_error(make_door, connect):
    good, busy = Backend(), Backend()
    door = make_door(listens=[("127.0.0.1:0", 'health = { "127.0.0.3" }')], fronts=1, backends={"busy": (busy.at, "no"), "good": (good.at, "no")})
    for _ in range(2):
        s = connect(door, source="127.0.0.3")
        # Whichever is asked first.
        helpers = [Background(b.accept, g) for b, g in ((busy, b"421 busy\r\n"), (good, b"220 good\r\n"))]
        assert read_line(s).startswith(b"220 mail.example.org ")
        del helpers
    s = connect(door, source="127.0.0.3")
    helpers = [Background(b.accept, b"421 busy\r\n") for b in (busy, good)]
    assert read_line(s).startswith(b"421 4.3.2")
    del helpers
    busy.close()
    good.close()
    assert door.verdicts() == [] and as_json(door)[0] == 0


def test_parent_without_descriptors(make_door):
    """Who asks waits until there are some again; the parent does not turn round and round meanwhile."""
    door = make_door(greet_pause=0)
    pid = door.process.pid

    def ticks():
        return sum(int(n) for n in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])

    mta.wait_until(lambda: as_json(door)[1]["fronts_at_work"] == 2, "the fronts are at work")
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(n) for n in os.listdir(f"/proc/{pid}/fd")}
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (next(n for n in range(1 << 20) if n not in used), before[1]))
    spent = ticks()
    with subprocess.Popen([door.binary, "status", "-c", str(door.config)], stdout=subprocess.PIPE, text=True) as asker:
        with pytest.raises(subprocess.TimeoutExpired):
            asker.wait(1.5)
        assert ticks() - spent < 30
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        assert "2 of 2 fronts at work" in asker.communicate(timeout=PATIENCE)[0]
        assert asker.returncode == 0
