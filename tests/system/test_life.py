"""The life of a door: another configuration, another version, a drain, an end, accidents; and what its service manager is told. Nobody may notice who need not.

The same under load, and with accidents, is test_life_load.py."""
import errno
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from door import AS_ROOT, PATIENCE, name_of, session_members
from mta import free_port, unpacked, wait_until
from maps import makemap
from talk import Backend, command, read_all, read_line
from test_exec import exec_door, programs  # noqa: F401 (fixtures)
from test_tls import IMPLICIT, certificates, context, tls_door  # noqa: F401 (fixtures)

LONG = 60_000


@pytest.fixture
def backend():
    one = Backend()
    yield one
    one.close()


def tarry(door, *words):
    return subprocess.run([door.binary, *words, "-c", str(door.config)], capture_output=True, text=True, timeout=120, check=False)


def reload(door, **options):
    """With these options, and what else of the door's has been changed."""
    door.options.update(options)
    door.write_config()
    done = tarry(door, "reload")
    assert done.returncode == 0, done.stderr
    return done.stdout


def of_role(door, role):
    """The processes of a role, of all generations."""
    return {p for p in door.children() if name_of(p) == f"tarry-{role}"}


def fronts(door):
    return of_role(door, "front")


def greeted(connect, door, source="127.0.0.1"):
    client = connect(door, source)
    assert read_line(client).startswith(b"220 ")
    return client


def turned_away(connect, door, source):
    client = connect(door, source)
    assert read_line(client).startswith(b"421 4.7.0 ")
    client.close()


def quits(client):
    assert command(client, "QUIT").startswith(b"221 ")
    client.close()


def send_message(client, body):
    for said in ("HELO x", "MAIL FROM:<a@example.net>", "RCPT TO:<victim@example.org>", "DATA"):
        last = command(client, said)
    assert last.startswith(b"354 ")
    client.sendall(body)


def alone(door, generation, n=2):
    """All earlier generations are over, and the counts are right again."""
    wait_until(lambda: len(fronts(door)) == n, "the old fronts have ended")
    wait_until(lambda: f'"generation": {generation}, "old_processes": 0' in tarry(door, "status", "--json").stdout, "what else they had has ended")
    counters = door.counters()
    assert (counters["serving"], counters["leaving"]) == (n, 0)
    return counters


# ---- another configuration ---------------------------------------------------------------------------------------------------------------

def test_a_new_configuration(make_door, connect):
    """Who comes meets it; who talks already finishes where he is; who is held moves, and is judged by it, from when he came."""
    door = make_door(greet_pause=0)
    before = fronts(door)
    talking = greeted(connect, door)
    assert "generation 2; " in reload(door, greet_pause=LONG)
    held = connect(door, "127.0.0.2")
    wait_until(lambda: door.counters()["held"] == 1, "the new pause holds")
    assert len(before & fronts(door)) == 1, "the old front that has a client is there, the other one has ended"
    assert command(talking, "NOOP").startswith(b"250 ")
    assert "generation 3; " in reload(door, greet_pause=0)
    assert read_line(held).startswith(b"220 "), "its pause is over by the new configuration"
    counters = door.counters()
    assert (counters["moved"], counters["connections"], counters["open"], counters["relayed"]) == (1, 2, 2, 2)
    quits(talking)
    quits(held)
    counters = alone(door, 3)
    assert (counters["open"], counters["held"], counters["relayed"]) == (0, 0, 0)
    assert counters["exempt"] + counters["patient"] == 2 and counters["restarts"] == 0
    assert not door.events("role_died")


def test_the_clock_goes_on(make_door, connect):
    """However often a held client moves: its pause is as long as it was to be, not shorter, and hardly longer."""
    door = make_door(greet_pause=3000)
    clients = [connect(door, f"127.0.0.{i}") for i in range(1, 9)]
    wait_until(lambda: door.counters()["held"] == 8, "all held")
    for i in range(4):
        reload(door, max_bad_commands=20 + i)
    assert tarry(door, "upgrade").returncode == 0
    assert door.counters()["moved"] >= 8
    for client in clients:
        assert read_line(client).startswith(b"220 ")
        quits(client)
    lines = door.wait_verdict("patient", 8)
    assert all(3000 <= float(d["after_ms"]) < 3000 + 2000 for d in lines), lines
    assert {d["client"] for d in lines} == {f"127.0.0.{i}" for i in range(1, 9)}
    assert all(d["pause_ms"] == "3000" for d in lines)


def test_a_teased_client_moves(make_door, connect):
    """It has heard the first line of a greeting, and hears it once."""
    door = make_door(greet_pause=LONG, greet_teaser="yes")
    client = connect(door)
    assert read_line(client).startswith(b"220-")
    reload(door, greet_pause=0)
    assert read_line(client).startswith(b"220 ")
    quits(client)


def test_who_talks_after_the_move_is_early(make_door, connect):
    door = make_door(greet_pause=LONG)
    client = connect(door)
    wait_until(lambda: door.counters()["held"] == 1, "held")
    reload(door, max_bad_commands=21)
    wait_until(lambda: door.counters()["moved"] == 1, "moved")
    client.sendall(b"EHLO x\r\n")
    assert read_line(client).startswith(b"554 ")
    assert door.wait_verdict("early")[0]["client"] == "127.0.0.1"


def test_a_proxied_client_moves(make_door, connect):
    """What the load balancer has said of it moves along."""
    door = make_door(greet_pause=LONG, listens=(("127.0.0.1:0", 'proxy = yes  trust = { "127.0.0.0/8" }'),), fronts=3)
    clients = []
    for i in range(1, 7):
        s = connect(door)
        s.sendall(b"PROXY TCP4 192.0.2.%d 198.51.100.1 4%d 25\r\n" % (i, i))
        clients.append(s)
    wait_until(lambda: door.counters()["held"] == 6, "all held")
    reload(door, greet_pause=100, fronts=2)
    for s in clients:
        assert read_line(s).startswith(b"220 ")
    assert command(clients[0], "HELO x").startswith(b"250 mail.example.org Hello [192.0.2.1]")
    for s in clients:
        quits(s)
    assert {d["client"] for d in door.wait_verdict("patient", 6)} == {f"192.0.2.{i}" for i in range(1, 7)}


def test_errors_change_nothing(make_door, connect, binary):
    door = make_door(greet_pause=0, access=["Connect:192.0.2.1 REJECT"])
    before = set(door.children())
    good = door.config.read_text()
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    for text, named in ((good + "greet_pawse = 1\n", "no such option 'greet_pawse'"), (good + 'listen "127.0.0.1:%d" { }\n' % port, "Address already in use"),
                        (good + 'backend "x" { address = "smtp:nowhere.invalid:25" }\n', "nowhere.invalid"), (good.replace("access_db", 'tls_certificate = "/nowhere"\naccess_db'), "/nowhere"),
                        (good.replace('user = "', 'user = "no-such-user-'), "no-such-user-") if AS_ROOT else (good + "fronts = 65\n", "fronts")):
        door.config.write_text(text)
        done = tarry(door, "reload")
        assert done.returncode == 65 and named in done.stderr and "the configuration that is in force stays" in done.stderr, (done.returncode, done.stdout, done.stderr)
        assert "tarry[" not in done.stderr, "the log of the rehearsal is no answer"
    assert str(door.config) + ":" in done.stderr or not AS_ROOT
    door.kill(signal.SIGHUP)
    door.wait_for(lambda d: d.get("event") == "reload_failed", 11)
    assert set(door.children()) == before
    door.config.write_text(good)
    assert reload(door) == f"text:{door.access_path}: 1 entries, before 1\n", "nothing has changed: only the tables are read again"
    assert set(door.children()) == before
    quits(greeted(connect, door))
    taken.close()


def test_sighup(make_door, connect):
    door = make_door(greet_pause=0)
    door.options["hostname"] = "other.example.org"
    door.write_config()
    door.kill(signal.SIGHUP)
    door.wait_for(lambda d: d.get("event") == "listening", 2)
    wait_until(lambda: read_line(connect(door)).startswith(b"220 other.example.org "), "the new name")


def test_a_file_that_changes_meanwhile(make_door, connect, installed):
    """What is rehearsed is what will be read: where the file changed meanwhile, it is rehearsed again."""
    door = make_door(start=False, greet_pause=0, fronts=1)
    door.binary = str(installed)
    door.start()
    real, bad = installed.with_name("real"), door.folder / "bad.conf"
    shutil.copy2(installed, real)
    bad.write_text("nonsense = 1\n")
    once = door.folder / "once"
    replace(installed, f'#!/bin/sh\nif [ "$1" = rehearse ]; then {real} "$@"; code=$?; [ -e {once} ] || cp {bad} {door.config}; touch {once}; exit $code; fi\nexec {real} "$@"\n'.encode())
    good = door.config.read_text()
    done = subprocess.run([str(real), "upgrade", "-c", str(door.config)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 65 and "no such option 'nonsense'" in done.stderr, (done.stdout, done.stderr)
    assert not door.events("takeover_failed")
    door.config.write_text(good)
    done = subprocess.run([str(real), "upgrade", "-c", str(door.config)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    quits(greeted(connect, door))


def test_listeners_come_and_go(make_door, connect):
    """One that stays is never closed; fronts may be more or fewer, and nobody is lost who waits to be accepted."""
    other = free_port()
    door = make_door(greet_pause=0, max_per_client=2)
    port = door.port
    door.listens = (f"127.0.0.1:{port}", f"127.0.0.1:{other}")
    reload(door)
    quits(greeted(connect, ("127.0.0.1", other)))
    for n in (3, 1, 4, 2):
        reload(door, fronts=n)
        clients = [greeted(connect, door, f"127.0.0.{i}") for i in range(1, 20)]
        again = [greeted(connect, door, f"127.0.0.{i}") for i in range(1, 20)]
        for i in range(1, 20):  # each meets a front that counts all of its connections
            turned_away(connect, door, f"127.0.0.{i}")
        for client in clients + again:
            quits(client)
        alone(door, n and int(re.search(r'"generation": ([0-9]+)', tarry(door, "status", "--json").stdout).group(1)), n)
    door.listens = (f"127.0.0.1:{port}",)
    reload(door)
    wait_until(lambda: is_refused_at(other), "the old fronts have closed it")
    assert [d["msg"] for d in door.events("not_listening")] == [f"127.0.0.1:{other} any more"]
    quits(greeted(connect, door))


def test_generations_are_bounded(make_door, connect):
    """Nine have a client each: the oldest is told to end. And drain_timeout ends them anyhow."""
    door = make_door(greet_pause=0, fronts=1, mail_processes=1, stop_timeout=0, max_per_client=0)
    clients = []
    for i in range(10):
        clients.append(greeted(connect, door))
        reload(door, max_bad_commands=20 + i)
    assert read_all(clients[0]) in (b"", b"421 4.3.2 mail.example.org Service shutting down, try again later\r\n")
    for client in clients[2:]:
        assert command(client, "NOOP").startswith(b"250 ")
    assert len(fronts(door)) <= 10
    reload(door, drain_timeout=100)
    for client in clients[2:]:
        read_all(client)
    alone(door, 12, 1)
    assert {d["msg"].rpartition(": ")[2] for d in door.events("clients_cut")} == {"there are too many generations", "drain_timeout"}


def test_who_is_known_stays_known(make_door, connect):
    """The keeper goes on where its settings are the same, and hands over its file where they are not."""
    door = make_door(greet_pause=400, known_ttl="1h", known_db="", account="nobody")
    door.options["known_db"] = str(door.folder / "k" / "known")
    (door.folder / "k").mkdir()
    if AS_ROOT:
        shutil.chown(door.folder / "k", door.options["user"])
    reload(door)
    client = greeted(connect, door)
    send_message(client, b"Subject: x\r\n\r\nx\r\n.\r\n")
    assert read_line(client).startswith(b"250 ")
    quits(client)
    wait_until(lambda: "127.0.0.1" in tarry(door, "known", "list").stdout, "known")
    keeper = [p for p in door.children() if name_of(p) == "tarry-known"]
    reload(door, max_bad_commands=21)
    assert [p for p in door.children() if name_of(p) == "tarry-known"] == keeper
    quits(greeted(connect, door))
    assert tarry(door, "upgrade").returncode == 0
    wait_until(lambda: [p for p in door.children() if name_of(p) == "tarry-known"] not in (keeper, []), "another keeper")
    wait_until(lambda: "127.0.0.1" in tarry(door, "known", "list").stdout, "read from the file")
    reload(door, known_max=5000)
    wait_until(lambda: "127.0.0.1" in tarry(door, "known", "list").stdout, "read from the file")
    quits(greeted(connect, door))
    assert len(door.wait_verdict("known", 2)) == 2
    assert door.counters()["known_added"] >= 1


def test_what_a_generation_needs_stays(tls_door, connect, scratch):
    """Who talks goes on with the certificate, the maps and the mail server of his generation: its tarry-tls and its tarry-lookup end when its last client has gone. Tickets are good in the next one."""
    folder = scratch / f"maps-{time.monotonic_ns()}"
    folder.mkdir()
    folder.chmod(0o755)
    spec = makemap(folder, "From:blocked@example.net\tREJECT\n")
    door = tls_door(greet_pause=0, access_db=[spec], lookup_processes=1, lookup_cache=0, tls_processes=1)
    secret = context()
    client = secret.wrap_socket(connect(door.addresses[IMPLICIT]))
    assert read_line(client).startswith(b"220 ")
    helpers = of_role(door, "lookup") | of_role(door, "tls") | of_role(door, "mail")
    reload(door, access_db=[], accept_domains=["elsewhere.example"])
    assert helpers <= set(door.children())
    again = secret.wrap_socket(connect(door.addresses[IMPLICIT]), session=client.session)
    assert again.session_reused and read_line(again).startswith(b"220 ")
    for said, code in (("EHLO x", b"250"), ("MAIL FROM:<blocked@example.net>", b"550"), ("MAIL FROM:<a@example.net>", b"250"), ("RCPT TO:<victim@example.org>", b"250"), ("DATA", b"354")):
        assert command(client, said).startswith(code), said
    client.sendall(b"Subject: x\r\n\r\nx\r\n.\r\n")
    assert read_line(client).startswith(b"250 ")
    for said, code in (("EHLO x", b"250"), ("MAIL FROM:<a@example.net>", b"250"), ("RCPT TO:<victim@example.org>", b"550")):
        assert command(again, said).startswith(code), said
    quits(client)
    wait_until(lambda: not helpers & set(door.children()), "they have ended")
    assert command(again, "NOOP").startswith(b"250 ")
    quits(again)
    assert len(door.messages()) == 1 and not door.events("role_died")


def test_limits_count_all_generations(make_door, connect, backend):
    """max_connections, and max of a backend that is the same one."""
    door = make_door(start=False, greet_pause=0, fronts=1, max_connections=3, backend_timeout=60_000)
    door.verbatim = ['backend "b" { address = "%s"  max = 1 }' % backend.at]
    door.start()
    first = connect(door)
    there = backend.accept(b"220 one\r\n")
    assert read_line(first) == b"220 one\r\n"
    reload(door, max_bad_commands=21)
    second = connect(door)
    wait_until(lambda: door.counters()["dialling"] == 1, "it waits for room")
    third = connect(door)
    wait_until(lambda: door.counters()["open"] == 3, "all three are open")
    assert read_line(connect(door)).startswith(b"421 4.3.2 ")
    assert not select.select([second, third], [], [], 0.5)[0]
    there.close()
    read_all(first)
    first.close()
    backend.accept(b"220 two\r\n")
    ready = select.select([second, third], [], [], PATIENCE)[0]
    assert len(ready) == 1 and read_line(ready[0]) == b"220 two\r\n"


def test_programs_go_on(exec_door, connect, programs):
    """A program has its client for itself, whatever becomes of the door."""
    door = exec_door(greet_pause=0)
    client = connect(door)
    assert read_line(client).startswith(b"220 ")
    reload(door, max_bad_commands=21)
    alone(door, 2)
    assert command(client, "NOOP").startswith(b"250 ")
    second = connect(door)
    assert read_line(second).startswith(b"220 ")
    quits(client)
    quits(second)


# ---- another version ---------------------------------------------------------------------------------------------------------------------

@pytest.fixture
def installed(binary, scratch):
    """A copy of the programs, which a test may replace."""
    folder = scratch / f"bin-{time.monotonic_ns()}"
    folder.mkdir()
    folder.chmod(0o755)
    for program in binary.parent.glob("tarry*"):
        if program.is_file() and os.access(program, os.X_OK):
            shutil.copy2(program, folder)
    yield folder / "tarry"
    shutil.rmtree(folder)


def replace(path, data):
    fresh = path.with_name("fresh")
    fresh.write_bytes(data)
    fresh.chmod(0o755)
    fresh.rename(path)


def test_upgrade(make_door, connect, installed):
    """The same process, another program; nobody is lost, and one that does not work changes nothing."""
    door = make_door(start=False, greet_pause=2500)
    door.binary = str(installed)
    door.start()
    pid, inode = door.process.pid, os.stat(f"/proc/{door.process.pid}/exe").st_ino
    held = connect(door)
    wait_until(lambda: door.counters()["held"] == 1, "held")
    replace(installed, installed.read_bytes())
    done = tarry(door, "upgrade")
    assert done.returncode == 0 and "in force: generation 2" in done.stdout, done.stderr
    assert os.stat(f"/proc/{pid}/exe").st_ino != inode and Path(f"/proc/{pid}/comm").read_text() == "tarry\n"
    wait_until(lambda: len(fronts(door)) == 2, "the old fronts have ended")
    assert all("(deleted)" not in os.readlink(f"/proc/{p}/exe") for p in [pid, *fronts(door)])
    good, left = installed.read_bytes(), door.folder / "left"
    for bad, named in ((f"#!/bin/sh\nsleep 600 &\necho $! >{left}\necho alone, all the same\nexit 3\n".encode(), "alone, all the same\n"), (b"#!/bin/sh\necho no, thanks\nexit 3\n", "no, thanks\n"), (b"#!/bin/sh\nkill -9 $$\n", "signal 9"), (b"no program at all", "Exec format error"),
                       (b"#!/bin/sh\nexit 64\n", "does not know how to take over")):
        replace(installed, bad)
        done = subprocess.run([f"/proc/{pid}/exe", "upgrade", "-c", str(door.config)], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 65 and named in done.stderr and "the version that runs goes on" in done.stderr, (done.stdout, done.stderr)
    os.kill(int(left.read_text()), signal.SIGKILL)
    replace(installed, good)
    assert read_line(held).startswith(b"220 ")
    quits(held)
    alone(door, 2)
    assert door.counters()["connections"] == 1, "what was counted is counted on"


def test_upgrade_to_a_version_that_counts_something_else(make_door, connect, installed):
    """Its memory is laid out in another way, so what has been counted goes there by name: the times, too, of which advise and the page make their advice."""
    door = make_door(start=False, greet_pause=60_000, access=["GreetPause:127.0.0.3 0"])
    door.binary = str(installed)
    door.start()

    def asked():
        return json.loads(tarry(door, "status", "--json").stdout)

    for address in ("127.0.0.4", "127.0.0.5"):
        early = connect(door, address)
        early.sendall(b"HELO x\r\n")
        assert read_line(early).startswith(b"554 ")
    wait_until(lambda: asked()["times"]["talk_after"]["count"] == 2, "seen")
    before = asked()["times"]
    for program in installed.parent.glob("tarry*"):
        data = program.read_bytes()
        assert program.name != "tarry" or b"would_banned\0" in data
        replace(program, data.replace(b"would_banned\0", b"would_bonned\0"))
    done = tarry(door, "upgrade")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: asked()["generation"] == 2, "in force")
    assert "would_bonned" in door.counters() and door.counters()["early"] == 2
    assert asked()["times"]["talk_after"] == before["talk_after"]
    early = connect(door, "127.0.0.6")
    early.sendall(b"HELO x\r\n")
    assert read_line(early).startswith(b"554 ")
    wait_until(lambda: asked()["times"]["talk_after"]["count"] == 3, "seen, too")


def test_a_start_that_fails_after_all(make_door, connect, installed):
    """The rehearsal was good, the configuration is not any more: the processes of before serve on, and it is tried again."""
    door = make_door(start=False, greet_pause=0, fronts=1)
    door.binary = str(installed)
    door.start()
    real, bad, good = installed.with_name("real"), door.folder / "bad.conf", door.folder / "good.conf"
    shutil.copy2(installed, real)
    shutil.copy2(door.config, good)
    bad.write_text("nonsense = 1\n")
    replace(installed, f'#!/bin/sh\nif [ "$1" = rehearse ]; then {real} "$@"; exit $?; fi\nif [ ! -e {door.folder}/once ]; then touch {door.folder}/once; cp {bad} {door.config}; fi\nexec {real} "$@"\n'.encode())
    done = subprocess.run([str(real), "upgrade", "-c", str(door.config)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 65 and "the processes of before go on" in done.stderr, (done.stdout, done.stderr)
    quits(greeted(connect, door))
    door.binary = str(real)
    shutil.copy2(good, door.config)
    wait_until(lambda: '"generation": 2' in tarry(door, "status", "--json").stdout, "it has been tried again", 60)
    quits(greeted(connect, door))
    assert len(door.events("takeover_failed")) >= 1


# ---- the end -----------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["tarry drain", "SIGQUIT"])
def test_drain(make_door, connect, how):
    door = make_door(greet_pause=1000, access=["GreetPause:127.0.0.3 0"])
    talking, held = greeted(connect, door, "127.0.0.3"), connect(door)
    wait_until(lambda: door.counters()["held"] == 1, "held")
    if how == "SIGQUIT":  # by Ctrl-\ or systemctl kill: all of them get it, and it is meant for the parent
        os.killpg(door.process.pid, signal.SIGQUIT)
    else:
        done = tarry(door, "drain")
        assert done.returncode == 0 and "its 2 clients" in done.stdout
        assert "drains" in tarry(door, "reload").stderr
    wait_until(lambda: is_refused(door), "nobody is accepted any more")
    assert read_line(held).startswith(b"220 "), "who is held is served"
    send_message(talking, b"Subject: x\r\n\r\nx\r\n.\r\n")
    assert read_line(talking).startswith(b"250 ")
    quits(held)
    assert door.process.poll() is None
    quits(talking)
    assert door.process.wait(PATIENCE) == 0
    assert len(door.messages()) == 1


def test_a_drain_ends_a_reload(make_door, connect):
    """What was tried when the drain came does not take over: it would accept again."""
    door = make_door(greet_pause=0)
    talking = greeted(connect, door)
    door.options.update(max_bad_commands=21)
    door.write_config()
    door.kill(signal.SIGHUP)
    door.kill(signal.SIGQUIT)
    wait_until(lambda: door.events("reload_failed"), "it is given up")
    assert is_refused(door)
    quits(talking)
    assert door.process.wait(PATIENCE) == 0


def is_refused(door):
    with socket.socket() as s:
        return s.connect_ex(door.address) == errno.ECONNREFUSED


def test_drain_does_not_wait_for_ever(make_door, connect):
    door = make_door(greet_pause=0, drain_timeout=300, stop_timeout=0)
    talking = greeted(connect, door)
    door.kill(signal.SIGQUIT)
    read_all(talking)
    assert door.process.wait(PATIENCE) == 0


def test_a_message_on_its_way_arrives(make_door, connect):
    """SIGTERM: who sends a message may finish it; the idle hear a 421 at once, the held too."""
    door = make_door(greet_pause=0, stop_timeout=20_000)
    sending, idle = greeted(connect, door), greeted(connect, door, "127.0.0.2")
    send_message(sending, b"Subject: half\r\n\r\n")
    door.kill(signal.SIGTERM)
    assert read_all(idle) == b"421 4.3.2 mail.example.org Service shutting down, try again later\r\n"
    for _ in range(10):
        sending.sendall(b"line\r\n")
        time.sleep(0.1)
    assert door.process.poll() is None
    sending.sendall(b".\r\n")
    assert read_line(sending).startswith(b"250 2.0.0 ")
    assert read_line(sending).startswith(b"421 ")
    assert door.process.wait(PATIENCE) == 0
    assert len(door.messages()) == 1 and b"line" in door.messages()[0].read_bytes()


def test_a_message_behind_arrives(make_door, connect, backend):
    """The same with a mail server behind, whose dialogue is not read at that time."""
    door = make_door(greet_pause=0, stop_timeout=20_000, backends={"b": (backend.at, "no")})
    sending = connect(door)
    there = backend.accept()
    there.sendall(b"220 here\r\n")
    assert read_line(sending) == b"220 here\r\n"
    for said, answer in (("HELO x", b"250 x\r\n"), ("MAIL FROM:<a@example.net>", b"250 x\r\n"), ("RCPT TO:<b@example.org>", b"250 x\r\n"), ("DATA", b"354 x\r\n")):
        sending.sendall(said.encode() + b"\r\n")
        read_line(there)
        there.sendall(answer)
        assert read_line(sending) == answer
    sending.sendall(b"half\r\n")
    assert read_line(there) == b"half\r\n"
    door.kill(signal.SIGTERM)
    for i in range(15):
        time.sleep(0.1)
        sending.sendall(b"line\r\n")
        assert read_line(there) == b"line\r\n", i
    sending.sendall(b".\r\n")
    assert read_line(there) == b".\r\n"
    there.sendall(b"250 taken\r\n")
    assert read_line(sending) == b"250 taken\r\n"
    there.close()
    assert door.process.wait(PATIENCE) == 0


def test_a_second_signal_does_not_wait(make_door, connect):
    door = make_door(greet_pause=0, stop_timeout=60_000)
    sending = greeted(connect, door)
    send_message(sending, b"Subject: half\r\n")
    door.kill(signal.SIGTERM)
    wait_until(lambda: is_refused(door), "it ends")
    assert door.process.poll() is None
    door.kill(signal.SIGTERM)
    assert door.process.wait(PATIENCE) == 0
    assert door.messages() == [] and session_members(door.process.pid) == []


# ---- accidents ---------------------------------------------------------------------------------------------------------------------------

def test_roles_come_back_within_a_second(make_door, connect):
    """Killed again and again, as soon as it is there."""
    door = make_door(greet_pause=0, fronts=1, mail_processes=1)
    for role in ("front", "mail"):
        for _ in range(5):
            wait_until(lambda: len(of_role(door, role)) == 1, role)
            time.sleep(0.2)
            os.kill(of_role(door, role).pop(), signal.SIGKILL)
            wait_until(lambda: len(of_role(door, role)) == 0, role)
    died = door.wait_for(lambda d: d.get("event") == "role_died", 10)
    assert all(float(d["restart_in_ms"]) < 1000 for d in died), died
    wait_until(lambda: len(fronts(door)) == 1 and len(of_role(door, "mail")) == 1, "both")
    quits(greeted(connect, door))
    wait_until(lambda: door.counters()["open"] == 0, "nothing open")
    counters = door.counters()
    assert (counters["serving"], counters["relayed"], counters["restarts"]) == (1, 0, 10)


def test_the_parent_is_killed(make_door, connect):
    """Its children end; a message that is on its way they take; and another door can start at once."""
    door = make_door(greet_pause=0)
    sending, idle = greeted(connect, door), greeted(connect, door, "127.0.0.2")
    send_message(sending, b"Subject: half\r\n\r\n")
    door.listens = (f"127.0.0.1:{door.port}",)
    sid = door.process.pid
    door.kill(signal.SIGKILL)
    door.process.wait()
    door.spawn()  # the same address, the same configuration
    door.wait_for(lambda d: d.get("event") == "listening", 2)
    client = greeted(connect, door)
    wait_until(lambda: tarry(door, "status").returncode == 0, "the new one is found, and well")
    read_all(idle)
    sending.sendall(b".\r\n")
    assert read_line(sending).startswith(b"250 ")
    quits(client)
    wait_until(lambda: session_members(sid) == [], "all children of the first one have ended")
    assert len(door.messages()) == 1


def test_a_front_that_hangs(make_door, connect):
    """It is found, ended, and another one serves."""
    door = make_door(greet_pause=0, fronts=1, hang_timeout=1000)
    wait_until(lambda: len(fronts(door)) == 1, "it runs")
    front = fronts(door).pop()
    os.kill(front, signal.SIGSTOP)
    assert door.wait_for(lambda d: d.get("event") == "front_hangs")[0]["pid"] == str(front)
    door.wait_for(lambda d: d.get("event") == "role_died" and d["role"] == "front")
    quits(greeted(connect, door))
    assert fronts(door) != {front}


# ---- the service manager -----------------------------------------------------------------------------------------------------------------

class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.settimeout(PATIENCE)

    def hear(self, wanted):
        """Until that is said; the whole message."""
        while True:
            lines = self.socket.recv(4096).decode().splitlines()
            if wanted in lines:
                return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("abstract", [False, True])
def test_notify(make_door, connect, monkeypatch, scratch, abstract):
    path = f"tarry-test-{time.monotonic_ns()}"
    manager = Manager("\0" + path if abstract else str(scratch / path))
    monkeypatch.setenv("NOTIFY_SOCKET", "@" + path if abstract else str(scratch / path))
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    door = make_door(greet_pause=0, fronts=1, hang_timeout=1000)
    monkeypatch.undo()
    manager.hear("READY=1")
    for _ in range(3):
        manager.hear("WATCHDOG=1")
    now = time.monotonic_ns() // 1000
    reload(door, max_bad_commands=21)
    assert now <= int(manager.hear("RELOADING=1")["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert manager.hear("READY=1")["STATUS"] == "generation 2"
    manager.hear("WATCHDOG=1")  # by the program that has taken over
    door.options["nonsense"] = 1
    door.write_config()
    assert tarry(door, "reload").returncode == 65
    manager.hear("RELOADING=1")
    manager.hear("READY=1")
    door.kill(signal.SIGTERM)
    assert int(manager.hear("STOPPING=1")["EXTEND_TIMEOUT_USEC"]) > 2_000_000
    assert door.process.wait(PATIENCE) == 0


def launch(door, sockets, pid="$$"):
    """As systemd does for a service with sockets: descriptors from 3 on, and LISTEN_PID the process itself."""
    door.write_config()

    def hand_over():
        high = [os.dup(s.fileno()) for s in sockets]
        for i, fd in enumerate(high):
            os.dup2(fd, 100 + i)
        for i in range(len(high)):
            os.dup2(100 + i, 3 + i)
            os.close(100 + i)

    with open(door.log_path, "ab") as log:
        door.process = subprocess.Popen(["/bin/sh", "-c", f'LISTEN_PID={pid} LISTEN_FDS={len(sockets)} LISTEN_FDNAMES=smtp exec {door.binary} serve -c {door.config}'], stdin=subprocess.DEVNULL,
                                        stdout=log, stderr=log, start_new_session=True, preexec_fn=hand_over, close_fds=False)
    door.await_listening()


@pytest.mark.parametrize("reuseport", [True, False])
def test_socket_activation(make_door, connect, reuseport):
    """A socket of systemd's is used by its address; with SO_REUSEPORT the others are made to it, without it all fronts share it, and a client is still counted by one."""
    given, other = socket.socket(), socket.socket()
    if reuseport:
        given.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    given.bind(("127.0.0.1", 0))
    given.listen(64)
    other.bind(("127.0.0.1", 0))
    other.listen(1)
    port = given.getsockname()[1]
    door = make_door(start=False, greet_pause=0, fronts=3, max_per_client=2, listens=(f"127.0.0.1:{port}",))
    launch(door, [given, other])
    given.close()
    unused = other.getsockname()[1]
    other.close()
    for round in range(2):
        alone(door, 1 + round, 3)
        for i in range(1, 15):
            clients = [greeted(connect, door, f"127.0.0.{i}") for _ in range(2)]
            turned_away(connect, door, f"127.0.0.{i}")
            for client in clients:
                quits(client)
        wait_until(lambda: door.counters()["open"] == 0, "all gone")
        if round == 0:
            reload(door, max_bad_commands=21)
    assert f"127.0.0.1:{unused} comes by socket activation" in door.wait_for(lambda d: d.get("event") == "socket_unused")[0]["msg"]
    wait_until(lambda: is_refused_at(unused), "what nobody uses is closed")
    assert door.counters()["owner_missed"] == 0
    if not reuseport:
        assert door.counters()["owner_passed"] > 0


def is_refused_at(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_sockets_for_another_process(make_door, connect):
    """LISTEN_PID is another one's: they are none of ours."""
    given = socket.socket()
    given.bind(("127.0.0.1", 0))
    given.listen()
    door = make_door(start=False, greet_pause=0)
    launch(door, [given], pid="1")
    assert door.port != given.getsockname()[1] and not door.events("socket_unused")
    quits(greeted(connect, door))
    given.close()


def test_real_socket_activation(make_door, connect):
    activate = shutil.which("systemd-socket-activate") or unpacked("systemd/usr/bin/systemd-socket-activate")
    port = free_port()
    door = make_door(start=False, greet_pause=0, listens=(f"127.0.0.1:{port}",))
    door.write_config()
    with open(door.log_path, "ab") as log:
        door.process = subprocess.Popen([str(activate), "-l", f"127.0.0.1:{port}", "--fdname=smtp", door.binary, "serve", "-c", str(door.config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                        start_new_session=True)
    wait_until(lambda: not is_refused_at(port), "it listens")
    door.addresses = [("127.0.0.1", port)]
    first = connect(door)  # by which it is started
    assert read_line(first).startswith(b"220 ")
    quits(first)
    door.await_listening()
    reload(door, max_bad_commands=21)
    quits(greeted(connect, door))
