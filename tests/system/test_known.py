"""Clients that have passed are greeted at once: over restarts, crashes and damaged files; until they talk too early."""
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

import dns
from door import AS_ROOT, session_members
from mta import wait_until
from talk import REFUSAL, command, read_line

LONG = 60_000
MAIL = b"Subject: x\r\n\r\nhello\r\n.\r\n"


def remembering(make_door, **options):
    """A door whose pause nobody outlasts in a test: who is greeted is known. Its file lies where its account may make files."""
    door = make_door(start=False, **{"greet_pause": LONG, "known_ttl": "30d", "linger": 100, "fronts": 1, "mail_processes": 1, **options})
    if "known_db" not in options:
        folder = door.folder / "known"
        folder.mkdir()
        folder.chmod(0o777)
        door.options["known_db"] = str(folder / "db")
    return begin(door)


def begin(door):
    """Who is known is known a moment after the door listens: when the file has been read."""
    door.start()
    if door.options["known_db"]:
        door.wait_for(lambda d: d.get("event") in ("known_loaded", "known_rebuilt", "known_unsaved"))
    return door


def known(door, *words, code=0, given=None):
    """What `tarry known` says, and that it ends so."""
    done = subprocess.run([door.binary, "known", words[0], "-c", str(door.config), *words[1:]], input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done
    return done.stdout if code == 0 else done.stderr


def keys(door):
    return sorted(line.split("\t")[0] for line in known(door, "list").splitlines())


def deliver(client, greeting=True):
    if greeting:
        assert read_line(client).startswith(b"220 ")
    for line in ("EHLO x", "MAIL FROM:<a@example.com>", "RCPT TO:<victim@example.org>", "DATA"):
        client.sendall(line.encode() + b"\r\n")
        while True:
            reply = read_line(client)
            if reply[3:4] == b" ":
                break
    client.sendall(MAIL)
    assert read_line(client).startswith(b"250 ")
    assert command(client, "QUIT").startswith(b"221 ")


def waits(client):
    """Silence: it is held."""
    client.settimeout(0.2)
    with pytest.raises(socket.timeout):
        client.recv(1)
    client.settimeout(20)


def test_once_and_never_again(make_door, connect):
    """It waits, its mail is taken, and from then on it is greeted at once; another one is not."""
    door = remembering(make_door, greet_pause=200)
    deliver(connect(door, "127.0.0.5"))
    wait_until(lambda: keys(door) == ["127.0.0.5"], "it is known")
    begin = time.monotonic()
    client = connect(door, "127.0.0.5")
    deliver(client)
    assert [d["pause_ms"] for d in door.wait_verdict("known")] == ["0"]
    assert float(door.verdicts("known")[0]["after_ms"]) < 150 and time.monotonic() - begin < 20
    assert [d["client"] for d in door.verdicts("patient")] == ["127.0.0.5"]
    greeted = connect(door, "127.0.0.6")
    assert read_line(greeted).startswith(b"220 ")
    assert command(greeted, "QUIT").startswith(b"221 ")  # no mail: it has not passed
    assert len(door.wait_verdict("patient", 2)) == 2
    assert keys(door) == ["127.0.0.5"]
    counters = door.counters()
    assert (counters["known"], counters["known_passed"], counters["known_clients"], counters["known_added"]) == (1, 1, 1, 1)


def greeted(connect, door, source):
    """At once, and it leaves."""
    client = connect(door, source)
    assert read_line(client).startswith(b"220 ")
    assert command(client, "QUIT").startswith(b"221 ")
    client.close()


def processes(door, name):
    found = []
    for pid in door.children():
        try:
            with open(f"/proc/{pid}/comm", encoding="ascii") as f:
                found += [pid] if f.read().strip().startswith(name) else []
        except OSError:
            pass
    return found


def keeper(door):
    return (processes(door, "tarry-known") or [0])[0]


def talk_early(connect, door, source):
    """Before the greeting can be there: with the fronts stopped."""
    fronts = processes(door, "tarry-front")
    for pid in fronts:
        os.kill(pid, signal.SIGSTOP)
    client = connect(door, source)
    client.sendall(b"HELO x\r\n")
    for pid in fronts:
        os.kill(pid, signal.SIGCONT)
    assert read_line(client) == REFUSAL


def file_has(path, text):
    with open(path, "rb") as f:
        return text in f.read()


def test_talk_costs_it(make_door, connect):
    """Known or not, who talks before the greeting is refused; known is then neither the client nor the domain."""
    server = dns.Server({"127.0.0.5": "mx1.example.com", "127.0.0.6": "mx2.example.com"})
    try:
        door = remembering(make_door, resolver=f"127.0.0.1:{server.port}", resolve="always", access=["GreetPause:127.0.0.9 60000"])
        known(door, "add", "127.0.0.5", "example.com", "127.0.0.9")
        greeted(connect, door, "127.0.0.6")
        waits(connect(door, "127.0.0.9"))  # an entry counts for who is known, too
        waits(connect(door, "127.0.0.10"))
        # Its words and the greeting may cross, though the name has to be asked for first; then it was in time.
        for _ in range(20):
            early = connect(door, "127.0.0.6")
            early.sendall(b"HELO x\r\n")
            said = read_line(early)
            if said == REFUSAL:
                break
        assert said == REFUSAL
        wait_until(lambda: keys(door) == ["127.0.0.5", "127.0.0.9"], "the domain is not known any more")
        greeted(connect, door, "127.0.0.5")
        waits(connect(door, "127.0.0.6"))
        assert door.verdicts("early")[0]["name"] == "mx2.example.com"
        assert door.counters()["known_forfeited"] == 1
    finally:
        server.stop()


def test_a_pool_passes_as_one(make_door, connect):
    """By the domain of names that lead back; not by one that carries the address, is lent to anybody, is forged, or is everybody's."""
    names = {"127.0.0.5": "mx1.example.com", "127.0.0.6": "mx2.example.com", "127.0.1.7": "host-127-0-1-7.example.net", "127.0.0.8": "other.example.net", "127.0.0.9": "a.dyn.example.org",
             "127.0.0.10": ["forged.example.com", "127.0.0.99"], "127.0.0.11": "x.co.uk", "127.0.0.12": "y.co.uk"}
    server = dns.Server(names)
    try:
        door = remembering(make_door, resolver=f"127.0.0.1:{server.port}", resolve="always", greet_pause=100)
        for source in ("127.0.0.5", "127.0.1.7", "127.0.0.9", "127.0.0.10", "127.0.0.11"):
            deliver(connect(door, source))
        expected = ["127.0.0.10", "127.0.0.11", "127.0.0.5", "127.0.0.9", "127.0.1.7", "example.com"]
        wait_until(lambda: keys(door) == expected, "all have passed")
        for source, verdict in (("127.0.0.6", "known"), ("127.0.0.8", "patient"), ("127.0.0.12", "patient"), ("127.0.0.10", "known")):
            greeted(connect, door, source)
            assert door.wait_for(lambda d, s=source: d.get("client") == s and "verdict" in d and d["end"] == "backend" and d["in"] == "6")[-1]["verdict"] == verdict, source
        assert "everybody may have a name below that domain" in known(door, "add", "co.uk", code=65)
    finally:
        server.stop()


def test_networks(make_door, connect):
    door = remembering(make_door, listens=("127.0.0.1:0", "[::1]:0"), known_prefix=24)
    known(door, "add", "127.0.7.0/24", "::/64")
    assert known(door, "add", "127.0.9.1", code=65) == 'tarry: known: "127.0.9.1": nobody would be known by it: expected a network of as many bits as known_prefix has\n'
    greeted(connect, door, "127.0.7.200")
    waits(connect(door, "127.0.8.200"))
    client = connect(door.addresses[1])
    assert read_line(client).startswith(b"220 ")
    assert door.wait_verdict("known")[0]["client"] == "127.0.7.200"


def test_over_restart_and_crash(make_door, connect, binary):
    """What was learned a second ago outlives the keeper's end, the whole door's, and a restart; a forfeit does at once."""
    door = remembering(make_door)
    known(door, "add", "127.0.0.5", "127.0.0.6")
    path = door.options["known_db"]
    wait_until(lambda: os.path.exists(path) and file_has(path, bytes([127, 0, 0, 6])), "it is on disk")
    pid = keeper(door)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: keeper(door) not in (0, pid), "another keeper")
    wait_until(lambda: door.events("known_loaded") and door.events("known_loaded")[-1]["clients"] == "2", "it has read the file")
    greeted(connect, door, "127.0.0.5")
    talk_early(connect, door, "127.0.0.6")
    wait_until(lambda: keys(door) == ["127.0.0.5"], "the forfeit is heard")
    members = session_members(door.process.pid)
    for p in members:
        os.kill(p, signal.SIGKILL)
    door.process.wait()
    wait_until(lambda: not session_members(door.process.pid), "all are gone")
    door.log_path.unlink()
    begin(door)
    greeted(connect, door, "127.0.0.5")
    waits(connect(door, "127.0.0.6"))
    assert keys(door) == ["127.0.0.5"]
    door.stop()
    assert known(door, "list").startswith("127.0.0.5\t")  # without a door
    known(door, "add", "127.0.0.7")
    known(door, "drop", "127.0.0.5")
    known(door, "drop", "127.0.0.5", code=1)
    assert keys(door) == ["127.0.0.7"]
    door.log_path.unlink()
    begin(door)
    greeted(connect, door, "127.0.0.7")


def spoil(path, data, what):
    with open(path, "r+b") as f:
        if what == "cut":
            f.truncate(len(data) // 2)
        elif what == "empty":
            f.truncate(0)
        elif what == "garbage":
            f.write(os.urandom(len(data)))
        else:
            at, bytes_ = what
            f.seek(at)
            f.write(bytes_)


def test_a_damaged_file_harms_nobody(make_door, connect):
    """At each place: the door starts, says so or has lost nothing, lets in nobody who was not known, and goes on remembering."""
    door = remembering(make_door)
    known(door, "add", *(f"10.1.{i // 250}.{i % 250}" for i in range(600)))
    path = door.options["known_db"]
    door.stop()
    was = set(keys(door))
    with open(path, "rb") as f:
        whole = f.read()
    pages = len(whole) // 4096
    assert len(was) == 600 and pages >= 6
    kinds = ["cut", "empty", "garbage"] + [(page * 4096 + at, bytes([0xff ^ whole[page * 4096 + at]])) for page in range(pages) for at in (0, 12, 24, 2000)] + [
        (page * 4096, os.urandom(4096)) for page in range(pages)]
    for what in kinds:
        with open(path, "wb") as f:
            f.write(whole)
        spoil(path, whole, what)
        done = subprocess.run([door.binary, "known", "list", "-c", str(door.config)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (what, done)
        now = {line.split("\t")[0] for line in done.stdout.splitlines()}
        assert now <= was, what
        assert now == was or what == "empty" or "known_rebuilt" in done.stderr, (what, done.stderr)
    with open(path, "wb") as f:
        f.write(whole[:5000])
    door.log_path.unlink()
    begin(door)
    said = door.events("known_rebuilt")[0]
    assert said["clients"] == "0" and said["why"] and os.path.exists(path + ".damaged")
    known(door, "add", "127.0.0.5")
    greeted(connect, door, "127.0.0.5")
    door.stop()
    assert keys(door) == ["127.0.0.5"]


def test_without_a_file(make_door, connect):
    """No folder, somebody else's folder, another door's file: the door says so and remembers in memory."""
    door = remembering(make_door, known_db="/nonexistent/folder/known")
    assert "No such file" in door.wait_for(lambda d: d.get("event") == "known_unsaved")[0]["msg"]
    known(door, "add", "127.0.0.5")
    greeted(connect, door, "127.0.0.5")
    one = remembering(make_door)
    two = remembering(make_door, known_db=one.options["known_db"])
    assert "another door has it" in two.wait_for(lambda d: d.get("event") == "known_unsaved")[0]["msg"]
    known(two, "add", "127.0.0.6")
    greeted(connect, two, "127.0.0.6")
    waits(connect(one, "127.0.0.6"))
    one.stop()
    off = make_door(known_ttl=0)
    assert "known_ttl = 0" in known(off, "list", code=69)
    assert not keeper(off)


@pytest.mark.skipif(not AS_ROOT, reason="only root can be somebody else")
def test_another_user_is_told(make_door):
    door = remembering(make_door, ban_after=5)
    door.folder.chmod(0o755)
    for words in (["known", "list"], ["known", "add", "192.0.2.1"], ["ban", "list"], ["ban", "add", "192.0.2.1"], ["status"], ["advise"], ["reload"]):
        done = subprocess.run([door.binary, *words[:2], "-c", str(door.config), *words[2:]], capture_output=True, text=True, timeout=60, check=False, user=65534, group=65534, extra_groups=[])
        assert (done.returncode, done.stdout, done.stderr) == (77, "", f"tarry: {words[0]}: the door is root's, and answers nobody else but root\n"), words
    assert keys(door) == []


def test_lists(make_door, connect):
    """What is exported can be imported; lines that are none are named; a million of them is no matter."""
    door = remembering(make_door, known_max=20_000)
    text = "".join(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}\t2026-11-01T00:00:00Z\t2026-11-02T00:00:{i % 60:02}Z\n" for i in range(30_000))
    assert known(door, "import", given=text) == "30000 taken\n"
    listed = known(door, "export").splitlines()
    assert len(listed) == 20_000 and set(listed) <= set(text.splitlines())
    assert door.counters()["known_evicted"] == 10_000
    assert known(door, "import", given="# a remark\n\nExample.COM 2026-11-01T00:00:00Z 2099-01-01T00:00:00Z\n2001:db8::1\n192.0.2.0/24\n") == "3 taken\n"
    domain = known(door, "list", "example.com").split("\t")
    assert domain[:2] == ["example.com", "2026-11-01T00:00:00Z"] and domain[2] < "2099"
    assert known(door, "list", "2001:db8::/64").startswith("2001:db8::/64\t")
    assert known(door, "list", "192.0.2.1", code=1) == ""
    known(door, "drop", "192.0.2.0/24", "example.com")
    counters = door.counters()
    assert (counters["known_dropped"], counters["known_expired"]) == (2, 0)
    assert known(door, "list", "example.com", code=1) == ""
    for bad, why in (("192.0.2.1/33", "expected an address"), ("localhost", "expected an address"), ("10.0.0.1 yesterday", "expected nothing behind it, or two times"),
                     ("10.0.0.1 2026-11-01T00:00:00Z", "two times"), ("x" * 600, "too long")):
        said = known(door, "import", code=65, given=f"127.0.0.77\n{bad}\n")
        assert "line 2: " in said and why in said and "1 before it are taken" in said, said
    assert known(door, "add", "not an address", code=64)
    assert known(door, "nonsense", code=64)


@pytest.mark.parametrize("word", ["known", "ban"])
def test_who_is_no_door_steers_no_terminal(make_door, word):
    """Anybody may have taken the name at which a door is found."""
    door = remembering(make_door, ban_after=5)
    own = {os.readlink(p) for p in Path(f"/proc/{door.process.pid}/fd").iterdir()}
    sockets = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    name = next(s[7] for s in sockets if len(s) > 7 and s[7].startswith(f"@tarry-{word}-") and f"socket:[{s[6]}]" in own)
    door.stop()
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("\0" + name[1:])
        s.listen()
        for lines in (b"\x1b]0;x\x07192.0.2.1\tsince\tuntil\t1\t0\tany\t\xc2\x9b31m\x9b\n+ 1\n", b"- \x1b[2J\n"):
            asker = subprocess.Popen([door.binary, word, "list", "-c", str(door.config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            peer, _ = s.accept()
            while peer.recv(100):
                pass
            peer.sendall(lines)
            peer.close()
            out, err = asker.communicate(timeout=60)
            said = out + err
            assert b"192.0.2.1" in said or b"[2J" in said, said
            assert not [c for c in said if c < 32 and c not in b"\t\n" or c >= 128 and c != 0xc2], said


def test_there_is_room_for_fewer(make_door):
    """A file of more than known_max: those who passed last are kept."""
    door = remembering(make_door, known_max=5000)
    known(door, "import", given="".join(f"10.0.{i // 250}.{i % 250} 2026-11-01T00:00:00Z 2026-11-02T{i % 4:02}:00:00Z\n" for i in range(4000)))
    door.stop()
    door.options["known_max"] = 1500
    door.log_path.unlink()
    begin(door)
    times = [line.split("\t")[2][11:13] for line in known(door, "list").splitlines()]
    assert (times.count("03"), times.count("02"), len(times)) == (1000, 500, 1500)
    known(door, "add", "127.0.0.5")
    times = [line.split("\t")[2][11:13] for line in known(door, "list").splitlines() if line.startswith("10.")]
    assert (times.count("03"), times.count("02")) == (1000, 499)  # the oldest made room


# ---- other doors ----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def redis(scratch):
    import maps
    import tempfile
    folder = tempfile.mkdtemp(dir=scratch)
    os.chmod(folder, 0o755)
    one = maps.Redis(folder).start()
    yield one
    one.stop()


def shared(make_door, redis, **options):
    door = remembering(make_door, **{"known_share": redis.url("prefix=k:"), "known_share_timeout": 2000, **options})
    wait_until(lambda: redis.do("PUBSUB", "NUMPAT") == "0" and f"cmd=" in redis.do("CLIENT", "LIST"), "somebody is connected")
    return door


def elsewhere_known(connect, door, source, patience=20):
    """Greeted at once by a door that did not know it: it may be asked again until the server is back."""
    deadline = time.monotonic() + patience
    while True:
        client = connect(door, source)
        client.settimeout(0.5)
        try:
            if read_line(client).startswith(b"220 "):
                return
        except TimeoutError:
            pass
        finally:
            client.close()
        assert time.monotonic() < deadline, door.text()[-3000:]


def test_doors_share(make_door, connect, redis):
    """Who has passed at one door is greeted by another, and who forfeits at one has done so at all."""
    one, two = shared(make_door, redis, greet_pause=300), shared(make_door, redis)
    deliver(connect(one, "127.0.0.5"))
    wait_until(lambda: redis.do("GET", "k:127.0.0.5") != "", "it is told")
    assert 0 < int(redis.do("TTL", "k:127.0.0.5")) <= 30 * 86400
    elsewhere_known(connect, two, "127.0.0.5")
    line = two.wait_verdict("known")[0]
    assert float(line["after_ms"]) < 2000 and line["pause_ms"] == "0"
    assert keys(two) == ["127.0.0.5"]
    waits(connect(two, "127.0.0.6"))
    talk_early(connect, two, "127.0.0.5")
    wait_until(lambda: keys(one) == [] and keys(two) == [], "nobody knows it any more")
    assert redis.do("GET", "k:127.0.0.5") == ""
    waits(connect(two, "127.0.0.5"))
    counters = two.counters()
    assert counters["known_asked"] >= 3 and counters["known_elsewhere"] >= 1 and counters["known_share_failed"] == 0


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_server_that_is_gone_for_a_while(make_door, connect, redis, how):
    """Each door goes on alone, no greeting comes later than its pause, and what was learned meanwhile is told when the server is back."""
    one, two = shared(make_door, redis, greet_pause=300), shared(make_door, redis, known_share_timeout=50)
    known(one, "add", "127.0.0.5")
    elsewhere_known(connect, two, "127.0.0.5")
    if how == "killed":
        redis.kill()
    else:
        redis.hang()
    known(two, "drop", "127.0.0.5")
    deliver(connect(one, "127.0.0.7"))
    assert float(one.wait_verdict("patient")[-1]["after_ms"]) < 2000
    greeted(connect, one, "127.0.0.7")
    waits(connect(two, "127.0.0.7"))
    one.wait_for(lambda d: d.get("event") == "known_share_failed")
    two.wait_for(lambda d: d.get("event") == "known_share_failed")
    if how == "killed":
        redis.start()
    else:
        redis.go_on()
    one.wait_for(lambda d: d.get("event") == "known_share_back")
    two.wait_for(lambda d: d.get("event") == "known_share_back")
    elsewhere_known(connect, two, "127.0.0.7")
    wait_until(lambda: keys(one) == ["127.0.0.7"], "the forfeit was told, too")


def test_a_server_that_loses_things(make_door, connect, redis):
    """Its data, its scripts, its sense of types: nobody is harmed, and it goes on."""
    one, two = shared(make_door, redis), shared(make_door, redis)
    known(one, "add", "127.0.0.5")
    wait_until(lambda: redis.do("GET", "k:127.0.0.5") != "", "it is told")
    redis.do("FLUSHALL")
    redis.do("SCRIPT", "FLUSH")
    waits(connect(two, "127.0.0.5"))
    greeted(connect, one, "127.0.0.5")
    known(one, "add", "127.0.0.6")
    elsewhere_known(connect, two, "127.0.0.6")
    redis.do("RPUSH", "k:127.0.0.7", "somebody else's")
    redis.do("SET", "k:127.0.0.8", "4294967295 99999999999999999999")
    redis.do("SET", "k:127.0.0.9", "nonsense")
    for source in ("127.0.0.7", "127.0.0.8", "127.0.0.9"):
        waits(connect(two, source))
    known(one, "add", "127.0.0.7")
    elsewhere_known(connect, two, "127.0.0.7")
    redis.do("DEL", "k:/forfeits")
    redis.do("SET", "k:/forfeits", "somebody else's")
    two.wait_for(lambda d: d.get("event") == "known_share_failed" and "WRONGTYPE" in d["msg"])
    greeted(connect, two, "127.0.0.7")
    redis.do("DEL", "k:/forfeits")
    two.wait_for(lambda d: d.get("event") == "known_share_back")
    known(one, "add", "127.0.0.10")
    elsewhere_known(connect, two, "127.0.0.10")


def test_a_server_that_is_none(make_door, connect, scratch, tmp_path):
    """A name that is none keeps the door from starting; one where nobody answers, or somebody talks nonsense, does not."""
    door = make_door(start=False, known_ttl="1d", known_share="redis://127.0.0.1/0?hash=x")
    door.spawn()
    assert door.process.wait(20) == 78 and "hash= is for maps" in door.text()
    door.process = None
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        door = remembering(make_door, known_share=f"redis://127.0.0.1:{s.getsockname()[1]}/", greet_pause=200)
        s.settimeout(20)
        peer, _ = s.accept()
        peer.sendall(b"220 this is no Redis\r\n")
        assert "no Redis protocol" in door.wait_for(lambda d: d.get("event") == "known_share_failed")[0]["msg"]
        deliver(connect(door, "127.0.0.5"))
        wait_until(lambda: keys(door) == ["127.0.0.5"], "it is known here")
        peer.close()


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another account")
def test_check_says_where_nobody_could_be_kept(scratch, binary):
    """A file, or its folder, of somebody else; none of it where there is no folder, or all is well."""
    state = scratch / "whose"
    check = [binary, "check", "-o", "user=nobody", "-o", f"known_db={state}/known"]

    def said():
        return subprocess.run(check, capture_output=True, text=True, timeout=60, check=False).stderr
    assert "known_db" not in said()
    state.mkdir(mode=0o700)
    assert f'known_db = "{state}/known": nobody cannot write there (Permission denied)' in said()
    state.chmod(0o777)
    assert "known_db" not in said()
    (state / "known").touch(mode=0o600)
    assert "nobody cannot write there" in said()
