"""Clients handed to a program with their own socket: what the program is given, who never gets one, how many there may be, and what outlives whom."""
import ast
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from door import ACCOUNT, AS_ROOT, HERE, PATIENCE, status
from mta import wait_until
from talk import REFUSAL, command, read_all, read_line, reset

LONG = 60_000
NO_SERVICE = b"421 4.3.2 mail.example.org Service not available, try again later\r\n"
GREETING = b"220 program ESMTP\r\n"


class Programs:
    """Where the program lies, and the files that say which ones run or were killed."""

    def __init__(self, folder):
        self.folder = Path(folder) / "started"
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o777)
        self.path = Path(folder) / "program"
        shutil.copy(HERE / "exec_program.py", self.path)
        self.path.chmod(0o755)

    def started(self):
        return sorted(int(p.name) for p in self.folder.iterdir())

    def section(self, more="", name="program"):
        return 'backend "%s" { exec = { "%s", "%s" }  %s }' % (name, self.path, self.folder, more)


@pytest.fixture
def programs(scratch, request):
    one = Programs(scratch / ("exec-" + request.node.name.replace("[", "-").replace("]", "")))
    yield one
    for pid in one.started():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


@pytest.fixture
def exec_door(make_door, programs):
    def make(more="", **options):
        options.setdefault("greet_pause", 0)
        door = make_door(start=False, **options)
        door.verbatim = [programs.section(more)]
        return door.start()
    return make


def ask(client, text):
    return ast.literal_eval(command(client, text)[4:].decode())


def role(door, name):
    """Its process, when it has its name: the door listens before each has."""
    found = []
    wait_until(lambda: found.extend(int(p) for p in door.children() if Path(f"/proc/{p}/comm").read_text().strip() == f"tarry-{name}") or found, f"tarry-{name}")
    return found[0]


def cpu_of(pids):
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids)


# ---- what a program is given -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("source", ["127.0.0.7", "::1"])
def test_a_program_is_given_what_inetd_gives(exec_door, connect, source):
    door = exec_door(greet_pause=100, listens=("[::]:0",))
    client = connect(("::1" if ":" in source else "127.0.0.1", door.port), source)
    assert read_line(client) == GREETING
    ours = client.getsockname()
    env, identity = ask(client, "ENV"), ask(client, "ID")
    of = {"LOCALIP": "::1" if ":" in source else "127.0.0.1", "LOCALPORT": str(door.port), "LOCALHOST": "mail.example.org", "REMOTEIP": source, "REMOTEPORT": str(ours[1])}
    wanted = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PROTO": "TCP6" if ":" in source else "TCP"}
    wanted.update({"TCP" + k: v for k, v in of.items()})
    if ":" in source:
        wanted.update({"TCP6" + k: v for k, v in of.items()})
    assert env == wanted
    assert identity["peer"][1] == ours[1] and identity["peer"][0].removeprefix("::ffff:") == source
    assert identity["descriptors"] == [0, 1, 2] and identity["same"] and identity["blocking"] and identity["leader"] and identity["folder"] == "/"
    assert identity["blocked"] == 0 and identity["ignored"] & ~(1 << signal.SIGPIPE - 1 | 1 << 24) == 0  # Python itself ignores SIGPIPE and SIGXFSZ
    assert identity["files"] == resource.getrlimit(resource.RLIMIT_NOFILE)
    if AS_ROOT:
        assert identity["uid"] == (65534,) * 3 and identity["gid"] == (65534,) * 3 and identity["groups"] == [65534]
    assert status(identity["pid"], "NoNewPrivs") == ["0"]  # set-user-id programs are what mail servers are made of
    assert status(role(door, "front"), "NoNewPrivs") == ["1"]
    assert command(client, "QUIT") == b"221 bye\r\n"
    assert read_all(client) == b""
    line = door.wait_verdict("patient")[0]
    assert line["backend"] == "program" and line["handed"] == str(identity["pid"]) and float(line["after_ms"]) >= 100 and "in" not in line


@pytest.mark.skipif(not AS_ROOT, reason="only root starts programs as others")
def test_a_program_runs_as_another_account(exec_door, connect, programs):
    door = exec_door('user = "daemon"  group = "mail"')
    client = connect(door)
    assert read_line(client) == GREETING
    identity = ask(client, "ID")
    assert identity["uid"] == (1,) * 3 and identity["gid"] == (8,) * 3 and 8 in identity["groups"] and 0 not in identity["groups"]
    for pid in door.children():
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        uid = Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[0]
        assert (uid == "0") == (name == "tarry-spawn"), name  # the only one that stays root, since it has to


def test_nothing_is_consumed(exec_door, connect):
    """An exempt client may talk before it is greeted: all of it is the program's, from the first byte on, also when the client has ended."""
    door = exec_door(access=["GreetPause:127 0"])
    client = connect(door)
    client.sendall(b"ONE\r\nTWO\r\n" * 500)
    client.shutdown(socket.SHUT_WR)
    assert read_all(client) == GREETING + b"250 ONE\r\n250 TWO\r\n" * 500
    assert door.wait_verdict("exempt")[0]["backend"] == "program"


def test_standard_error_and_bad_ends_are_in_the_log(exec_door, connect):
    door = exec_door()
    client = connect(door)
    read_line(client)
    command(client, 'SAY what \x1b"')
    line = door.wait_for(lambda d: d.get("event") == "exec_said")[0]
    assert line["backend"] == "program" and line["data"] == r'what \x1b\"'
    client.sendall(b"EXIT 3\r\n")
    assert read_all(client) == b""
    line = door.wait_for(lambda d: d.get("event") == "exec_ended")[0]
    assert line["status"] == "3" and line["client"] == "127.0.0.1" and line["id"]
    client = connect(door)
    read_line(client)
    client.sendall(b"DIE\r\n")
    door.wait_for(lambda d: d.get("event") == "exec_ended" and d.get("signal") == "Killed")
    client = connect(door)
    read_line(client)
    client.sendall(b"SAY many\r\n" * 1000)  # the log is not theirs to fill
    for _ in range(1000):
        read_line(client)
    time.sleep(1.1)
    command(client, "SAY last")
    client.close()
    assert len(door.events("exec_said")) < 1000
    door.wait_for(lambda d: d.get("event") == "exec_said" and "left_out" in d)


def test_a_client_behind_a_load_balancer(exec_door, connect):
    """The variables have the client that the PROXY header names, and where it connected to; the header itself is not the program's."""
    door = exec_door(greet_pause=100, listens=[("127.0.0.1:0", 'proxy = yes  trust = { "127.0.0.0/8" }')], max_per_client=1)
    header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 25\r\n"
    client = connect(door)
    client.sendall(header)
    assert read_line(client) == GREETING
    env = ask(client, "ENV")
    assert {k: env[k] for k in env if k.startswith("TCP")} == {"TCPREMOTEIP": "192.0.2.7", "TCPREMOTEPORT": "4000", "TCPLOCALIP": "198.51.100.1", "TCPLOCALPORT": "25",
                                                             "TCPLOCALHOST": "mail.example.org"}
    over = connect(door)
    over.sendall(header)
    assert read_line(over).startswith(b"421 4.7.0 ")  # it is that client's connection, wherever its socket is
    early = connect(door)
    early.sendall(header.replace(b"192.0.2.7", b"192.0.2.8") + b"NOOP\r\n")
    assert read_line(early) == REFUSAL
    assert door.wait_verdict("patient")[0]["client"] == "192.0.2.7"
    assert door.counters()["exec_started"] == 1
    done = check(door)
    assert done.returncode == 0 and done.stderr.count("is told the load balancer") == 1


# ---- who never gets one ------------------------------------------------------------------------------------------------------------------

def test_an_early_talker_never_has_a_program(exec_door, connect, programs):
    """However late in the pause the byte comes: those that come near its end are decided by the last looks. How many of them come before it is a matter of the machine, of one it is not."""
    door = exec_door(greet_pause=200, max_per_client=0, access=["GreetPause:127.0.0.99 60000"])
    sure = connect(door, "127.0.0.99")
    sure.sendall(b"NOOP\r\n")
    assert read_line(sure) == REFUSAL
    clients = []
    for i in range(150):
        client = connect(door, f"127.0.0.{2 + i % 50}")
        clients.append((time.monotonic(), client))
    early = 0
    for i, (since, client) in enumerate(clients):
        time.sleep(max(0.0, since + 0.15 + 0.05 * i / 150 - time.monotonic()))
        client.sendall(b"NOOP\r\n")
    for _, client in clients:
        first = read_line(client)
        assert first in (REFUSAL, GREETING)
        early += first == REFUSAL
        client.close()
    door.wait_verdict("early", early + 1)
    door.wait_verdict("patient", 150 - early)
    assert door.counters()["exec_started"] == 150 - early


@pytest.mark.parametrize("delay", ["off", "on", "friend"])
def test_who_is_blocked_is_refused_at_connect(exec_door, connect, programs, delay):
    """A program's RCPT nobody here hears: the refusal does not wait for it, whatever delay_checks says. DISCARD is a refusal too."""
    door = exec_door(delay_checks=delay, access=["Connect:127.0.0.2 REJECT", "Connect:127.0.0.3 ERROR:4.7.1:421 later", "Connect:127.0.0.4 DISCARD", "Connect:127.0.0.5 OK"])
    for source, wanted in (("127.0.0.2", b"550 5.7.1 "), ("127.0.0.3", b"421 4.7.1 later"), ("127.0.0.4", b"550 5.7.1 ")):
        client = connect(door, source)
        first = read_line(client)
        assert (first.startswith(b"220 mail.example.org ESMTP Tarry") if wanted != b"421 4.7.1 later" else first.startswith(wanted)), source
        assert wanted.startswith(b"421") or command(client, "MAIL FROM:<a@example.net>").startswith(wanted), source
        client.close()
    assert read_line(connect(door, "127.0.0.5")) == GREETING
    door.wait_verdict("refused", 3)
    assert door.counters()["exec_started"] == 1


def test_delay_early_has_no_effect(exec_door, connect):
    door = exec_door(greet_pause=LONG, delay_checks="friend", delay_early="yes", access=["Spam:x@example.org FRIEND"])
    client = connect(door)
    client.sendall(b"NOOP\r\n")
    assert read_line(client) == REFUSAL


def test_a_program_that_is_not_there(exec_door, connect, programs):
    """The client gets a reply, not a closed connection; the log says it once; a program that comes is found."""
    away = programs.path.with_suffix(".away")
    programs.path.rename(away)
    door = exec_door(greet_pause=50)
    assert "No such file or directory" in door.text()
    for _ in range(3):
        client = connect(door, "127.0.0.9")
        assert read_all(client) == NO_SERVICE
        client.close()
    line = door.wait_for(lambda d: d.get("event") == "backend_down")
    assert len(line) == 1 and line[0]["address"] == str(programs.path) and line[0]["error"] == "No such file or directory"
    assert door.wait_verdict("nobackend", 3)[0]["error"] == "No such file or directory"
    away.rename(programs.path)
    programs.path.chmod(0o644)
    client = connect(door, "127.0.0.9")
    assert read_all(client) == NO_SERVICE
    programs.path.chmod(0o755)
    wait_until(lambda: read_line(connect(door, "127.0.0.9")) == GREETING, "it is tried again")  # one that failed is left alone for a while
    assert int(door.wait_for(lambda d: d.get("event") == "backend_up")[0]["turned_away"]) >= 4


def test_programs_among_other_backends(make_door, programs, connect):
    """The next one at once when a program is not there; the others by their load, sessions of programs included, and max of each."""
    door = make_door(start=False, greet_pause=50, fronts=1, delay_checks="off")
    more = [Programs(programs.folder.parent / name) for name in ("b", "c")]
    door.verbatim = ['backend "away" { exec = { "/no/such/program" } }', more[0].section("max = 3", "b"), more[1].section("", "c")]
    door.start()
    clients = [connect(door, f"127.0.0.{n}") for n in range(2, 8)]
    assert [read_line(c) for c in clients] == [GREETING] * 6
    door.wait_verdict("patient", 6)
    assert sorted(d["backend"] for d in door.verdicts("patient")) == ["b"] * 3 + ["c"] * 3
    clients += [connect(door, f"127.0.0.{n}") for n in range(8, 10)]
    assert [read_line(c) for c in clients[6:]] == [GREETING] * 2
    door.wait_verdict("patient", 8)
    assert sorted(d["backend"] for d in door.verdicts("patient")) == ["b"] * 3 + ["c"] * 5
    for client in clients:
        command(client, "QUIT")
    wait_until(lambda: door.counters()["handed_open"] == 0, "all have ended")
    first = connect(door)
    assert read_line(first) == GREETING


# ---- how many ----------------------------------------------------------------------------------------------------------------------------

def test_at_most_max_run_and_others_wait(exec_door, connect, programs):
    door = exec_door("max = 2", greet_pause=50, backend_timeout=3000)
    first, second = connect(door, "127.0.0.2"), connect(door, "127.0.0.3")
    assert read_line(first) == read_line(second) == GREETING
    third, early, gone = connect(door, "127.0.0.4"), connect(door, "127.0.0.5"), connect(door, "127.0.0.6")
    time.sleep(0.3)
    early.sendall(b"NOOP\r\n")  # it has waited its pause, and has no greeting yet
    assert read_line(early) == REFUSAL
    reset(gone)
    door.wait_verdict("gone")
    assert len(programs.started()) == 2
    command(first, "QUIT")
    assert read_line(third) == GREETING
    begin = time.monotonic()
    fourth = connect(door, "127.0.0.7")
    assert read_all(fourth) == NO_SERVICE
    assert 2.5 < time.monotonic() - begin < 8
    fourth.close()
    late = connect(door, "127.0.0.8")
    second.close()
    assert read_line(late) == GREETING
    assert (door.counters()["exec_started"], door.counters()["exec_open"]) == (4, 2)


def test_a_crowd_that_waits_is_served_in_turn(exec_door, connect):
    door = exec_door("max = 3", fronts=1, max_per_client=0, greet_pause=50, backend_timeout=60000)
    clients = [connect(door) for _ in range(40)]
    for client in clients:
        assert read_line(client) == GREETING
        command(client, "QUIT")
    door.wait_verdict("patient", 40)
    wait_until(lambda: door.counters()["handed_open"] == 0, "all programs have ended")


def test_programs_count_for_their_client(exec_door, connect):
    """A client whose connections have left the door still has them."""
    door = exec_door(max_per_client=2, access=[], conncontrol="on")
    first, second = connect(door, "127.0.0.2"), connect(door, "127.0.0.2")
    assert read_line(first) == read_line(second) == GREETING
    wait_until(lambda: door.counters()["handed_open"] == 2, "both are handed over")
    third = connect(door, "127.0.0.2")
    assert read_line(third).startswith(b"421 4.7.0 ")
    third.close()
    assert read_line(connect(door, "127.0.0.3")) == GREETING
    command(first, "QUIT")
    wait_until(lambda: door.counters()["handed_open"] == 2, "one has ended")
    assert read_line(connect(door, "127.0.0.2")) == GREETING


# ---- what outlives whom ------------------------------------------------------------------------------------------------------------------

def test_a_spawner_that_dies_leaves_its_sessions(exec_door, connect):
    door = exec_door("max = 3", max_per_client=2, greet_pause=20)
    one, two = connect(door, "127.0.0.2"), connect(door, "127.0.0.2")
    assert read_line(one) == read_line(two) == GREETING
    spawner = role(door, "spawn")
    os.kill(spawner, signal.SIGKILL)
    meanwhile = connect(door, "127.0.0.3")  # waits for the next spawner
    door.wait_for(lambda d: d.get("event") == "role_died" and d["role"] == "spawn")
    assert read_line(meanwhile) == GREETING
    assert role(door, "spawn") != spawner
    assert command(one, "NOOP") == b"250 NOOP\r\n"
    assert command(two, "SAY still heard") == b"250 said\r\n"
    door.wait_for(lambda d: d.get("event") == "exec_said" and d["data"] == "still heard")
    over = connect(door, "127.0.0.2")
    assert read_line(over).startswith(b"421 4.7.0 ")  # the front's count is as it was
    over.close()
    full = connect(door, "127.0.0.4")
    time.sleep(0.3)
    command(one, "QUIT")                             # and the spawner's too: there is room when one ends
    assert read_line(full) == GREETING
    wait_until(lambda: door.counters()["exec_open"] == 3, "three run")


def test_a_spawner_that_hangs(exec_door, connect):
    """The client is told in time, and the program is not started for it when the spawner goes on."""
    door = exec_door(greet_pause=20, backend_timeout=500)
    spawner = role(door, "spawn")
    os.kill(spawner, signal.SIGSTOP)
    try:
        clients = [connect(door, "127.0.0.2"), connect(door, "127.0.0.3")]
        assert [read_all(c) for c in clients] == [NO_SERVICE] * 2
        clients[0].close()  # the other one stays
    finally:
        os.kill(spawner, signal.SIGCONT)
    wait_until(lambda: read_line(connect(door, "127.0.0.4")) == GREETING, "it is tried again")
    assert door.counters()["exec_started"] == door.counters()["patient"] == 1
    assert clients[1].recv(10) == b""


def test_a_front_that_dies_leaves_its_clients_sessions(exec_door, connect):
    door = exec_door(max_per_client=2, fronts=1)
    one, two = connect(door, "127.0.0.2"), connect(door, "127.0.0.2")
    assert read_line(one) == read_line(two) == GREETING
    wait_until(lambda: door.counters()["handed_open"] == 2, "both are handed over")
    os.kill(role(door, "front"), signal.SIGKILL)
    door.wait_for(lambda d: d.get("event") == "role_died")
    wait_until(lambda: door.counters()["handed_open"] == 2, "the next front knows of them")
    assert command(one, "NOOP") == b"250 NOOP\r\n"
    over = connect(door, "127.0.0.2")
    assert read_line(over).startswith(b"421 4.7.0 ")
    over.close()
    command(one, "QUIT")
    wait_until(lambda: door.counters()["handed_open"] == 1, "one has ended")
    assert read_line(connect(door, "127.0.0.2")) == GREETING


def test_sessions_go_on_when_the_door_ends(exec_door, connect, programs):
    door = exec_door()
    client = connect(door)
    assert read_line(client) == GREETING
    assert door.end() == 0
    assert command(client, "NOOP") == b"250 NOOP\r\n"
    for _ in range(300):  # nobody reads its standard error any more: it neither dies of that nor hangs
        assert command(client, "SAY " + "x" * 400) == b"250 said\r\n"
    assert command(client, "QUIT") == b"221 bye\r\n"


def test_the_door_costs_nothing_after_the_handover(exec_door, connect):
    door = exec_door(fronts=1)
    client = connect(door)
    assert read_line(client) == GREETING
    door.wait_verdict("exempt")
    time.sleep(0.2)
    pids = [door.process.pid, *door.children()]
    held = {pid: os.listdir(f"/proc/{pid}/fd") for pid in door.children()}
    before = cpu_of(pids)
    for _ in range(3000):
        assert command(client, "NOOP") == b"250 NOOP\r\n"
    assert cpu_of(pids) - before < 2_000_000  # ns; the parent looks at files once a second
    assert {pid: os.listdir(f"/proc/{pid}/fd") for pid in door.children()} == held
    assert door.counters()["open"] == 0


# ---- tarry status ------------------------------------------------------------------------------------------------------------------------

def test_status(exec_door, connect, programs):
    door = exec_door()
    assert read_line(connect(door)) == GREETING
    wait_until(lambda: door.counters()["handed_open"] == 1, "it is handed over")
    done = subprocess.run([door.binary, "status", "-c", str(door.config)], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0 and str(programs.path) in done.stdout and " up" in done.stdout and "1 with programs" in done.stdout, done.stdout + done.stderr
    assert door.process.poll() is None


# ---- tarry check -------------------------------------------------------------------------------------------------------------------------

def check(door):
    door.write_config()
    return subprocess.run([door.binary, "check", "-c", str(door.config)], capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_check(make_door, programs):
    door = make_door(start=False, delay_checks="friend", access=["To:x@example.org REJECT"])
    door.verbatim = [programs.section()]
    done = check(door)
    assert done.returncode == 0 and "have no effect" in done.stderr and "delay_checks" in done.stderr and str(programs.path) in done.stdout
    programs.path.chmod(0o644)
    done = check(door)
    assert done.returncode == 69 and f"{ACCOUNT if AS_ROOT else 'whoever runs this'} cannot execute it (Permission denied)" in done.stderr
    programs.path.unlink()
    done = check(door)
    assert done.returncode == 69 and "tarry.conf:" in done.stderr and "No such file" in done.stderr
    door.verbatim = [programs.section('user = "no-such-account"')]
    assert check(door).returncode == 67


def test_who_waits_again_is_known(exec_door, connect):
    """Nothing is seen of a client that a program has: to have waited once, or twice in a moment, says little of it; some time later it says enough."""
    door = exec_door(greet_pause=100, known_ttl="30d", known_apart="1s", known_db="", fronts=1)
    come, until = 0, time.monotonic() + PATIENCE
    while door.counters()["known_clients"] == 0 and time.monotonic() < until:
        client = connect(door, "127.0.0.5")
        assert read_line(client) == GREETING
        client.close()
        come += 1
        assert len(door.wait_verdict("patient", come)) == come
    counters = door.counters()
    assert come >= 2 and counters["known_waited"] == come and counters["known_passed"] == 0, counters
    assert counters["known_clients"] == counters["known_added"] == 1
    client = connect(door, "127.0.0.5")
    assert read_line(client) == GREETING
    assert [d["pause_ms"] for d in door.wait_verdict("known")] == ["0"]
    client.close()
