"""Maps that may block, asked through tarry-lookup: Sendmail's access.db, Redis and LDAP as they really are, and what happens when they are not there."""
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from door import AS_ROOT, PATIENCE, status
from maps import Farewells, Fronts, Redis, Slapd, entry, freeze, makemap
from mta import free_port, wait_until

HOSTILE = ["*", "*)(uid=*", "x)(|(sendmailMTAKey=*", "\\2a", "a\r\nGET secret\r\n", "a\nb", "a\x00b", "\x00", " ", "%s%n", "caf\xe9", "\xff\xfe", "$1\r\n", "'; x"]
USUAL = "Connect:10.1.2\tREJECT\nGreetPause:127.0.0.2\t0\nexample.com\tOK\n"


@pytest.fixture
def folder(scratch):
    path = Path(tempfile.mkdtemp(dir=scratch))
    path.chmod(0o755)
    return path


@pytest.fixture
def lookup_binary(binary):
    path = binary.parent / "tarry-lookup"
    assert path.exists(), "no tarry-lookup beside the tarry binary"
    return path


@pytest.fixture
def fronts(binary, lookup_binary, folder):
    """Make fronts with their lookup processes for these maps; they end with the test."""
    program = next((p for p in (binary.parent.parent / "tests/system/fronts",) if p.exists()), None)
    assert program, "no tests/system/fronts in the build folder"
    made = []

    def make(*maps, **options):
        made.append(Fronts(program, lookup_binary, folder, maps, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def server(folder):
    """Servers that end with the test."""
    made = []

    def make(kind, load=None, start=True, **options):
        path = folder / f"server{len(made)}"
        path.mkdir()
        one = kind(path, **options)
        if load:
            one.load(*load)
        if start:
            made.append(one.start())
        return one

    yield make
    for one in made:
        one.stop()


# ---- the program -------------------------------------------------------------------------------------------------------------------------

def test_heavy_libraries_stay_out_of_the_door(binary, lookup_binary):
    def libraries(path):
        return subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    heavy = re.compile(r"libdb-|libhiredis|libldap|liblber")
    for program in (binary, lookup_binary, binary.parent / "tarry-known"):  # for those who want no such map they need not be there at all
        assert not heavy.search(libraries(program))
    brought = {module: set(heavy.findall(libraries(binary.parent / f"{module}.so"))) for module in ("map_hash", "map_redis", "map_ldap", "known_share")}
    assert brought == {"map_hash": {"libdb-"}, "map_redis": {"libhiredis"}, "map_ldap": {"libldap", "liblber"}, "known_share": {"libhiredis"}}


def test_names_are_checked(lookup_binary):
    def check(*maps):
        done = subprocess.run([str(lookup_binary), "--check", "--", *maps], capture_output=True, text=True, check=False, timeout=PATIENCE)
        return done.returncode, done.stderr
    assert check("hash:/etc/mail/access", "redis://127.0.0.1/0?prefix=a:", "ldap://127.0.0.1/dc=x") == (0, "")
    code, said = check("hash:/etc/mail/access", "redis://h/0?nonsense=1", "text:/x")
    assert code == 78 and len(said.splitlines()) == 2
    assert "no such option" in said and "no such kind of map" in said
    assert subprocess.run([str(lookup_binary), "--questions", "x"], capture_output=True, check=False, timeout=PATIENCE).returncode == 64
    assert subprocess.run([str(lookup_binary)], capture_output=True, check=False, timeout=PATIENCE).returncode == 64


def test_it_runs_without_privileges(fronts, folder):
    f = fronts(makemap(folder, USUAL))
    assert f.one("example.com") == ("found", 0, "OK")
    for pid in f.pids.values():
        if AS_ROOT:
            assert "0" not in status(pid, "Uid") and "0" not in status(pid, "Gid")
        assert status(pid, "NoNewPrivs") == ["1"]


def test_it_ends_with_its_parent(fronts, folder):
    f = fronts(makemap(folder, USUAL))
    f.one("example.com")
    f.process.kill()
    f.process.wait(PATIENCE)
    wait_until(lambda: not any(Path(f"/proc/{p}").exists() for p in f.pids.values()), "the lookup processes have gone")
    f.stop = lambda: None


# ---- one socket for all questions --------------------------------------------------------------------------------------------------------

def test_each_front_gets_its_own_answers(fronts, folder):
    f = fronts(makemap(folder, "".join(f"k{i}\tv{i}\n" for i in range(300))))
    tags = [(i, f.send([f"k{i}"], front=i % 2)) for i in range(300)]
    for i, tag in tags:
        assert f.wait(tag) == [("found", 0, f"v{i}")]


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_one_process_less(fronts, folder, how):
    """Stopped or killed: whatever it had not taken is answered by the other. A killed one is back soon."""
    f = fronts(makemap(folder, USUAL))
    f.one("example.com")
    first = f.pids[0]
    freeze(first) if how == signal.SIGSTOP else os.kill(first, how)
    for i in range(200):
        assert f.one("connect:10.1.2" if i % 2 else f"no{i}", front=i % 2) == (("found", 0, "REJECT") if i % 2 else ("none",))
    if how == signal.SIGKILL:
        wait_until(lambda: f.pids[0] != first, "another one is started")
        freeze(f.pids[1])
        assert f.one("example.com") == ("found", 0, "OK")
    assert f.events("lookup_silent") == []


def test_all_stopped_and_gone_on(fronts, folder):
    """Nobody answers: each question fails in its time, the log says so once, late answers mean nothing, and then all is well again."""
    f = fronts(makemap(folder, USUAL), timeout=700)
    f.one("example.com")
    for pid in f.pids.values():
        freeze(pid)
    tags = [f.send([f"k{i}"], front=i % 2) for i in range(1000)]
    for tag in tags:
        assert f.wait(tag)[0][0] == "failed"
        assert 690 <= f.milliseconds(tag) < 5000
    for pid in f.pids.values():
        os.kill(pid, signal.SIGCONT)
    f.until("example.com", ("found", 0, "OK"))
    deadline = time.monotonic() + 20
    while len(f.events("lookup_back")) < 2:  # said by the first answer that comes as long after the last silence as a question may take
        assert time.monotonic() < deadline
        time.sleep(0.8)
        for front in range(2):
            assert f.one("example.com", front=front) == ("found", 0, "OK")
    assert len(f.events("lookup_silent")) == 2 and len(f.events("lookup_back")) == 2  # one for each front


def test_answers_are_kept(fronts, folder):
    f = fronts(makemap(folder, USUAL), ttl=60_000, timeout=1000)
    for key in ("example.com", "nothing"):
        f.one(key)
    for pid in f.pids.values():
        freeze(pid)
    assert f.one("example.com") == ("found", 0, "OK")
    assert f.one("nothing") == ("none",)
    assert f.one("connect:10.1.2")[0] == "failed"
    for pid in f.pids.values():
        os.kill(pid, signal.SIGCONT)
    f.until("connect:10.1.2", ("found", 0, "REJECT"))  # a failure is not kept


# ---- hash --------------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind,options", [("hash", ()), ("btree", ()), ("hash", ("-N",)), ("btree", ("-N",))])
def test_makemaps_table(fronts, folder, kind, options):
    f = fronts(makemap(folder, USUAL, kind, options))
    assert f.ask(["connect:10.1.2.3", "connect:10.1.2", "connect:10.1"], ["greetpause:127.0.0.2"], ["example.org", "org"]) == [
        ("found", 1, "REJECT"), ("found", 0, "0"), ("none",)]
    for key in HOSTILE:
        assert f.one(key) == ("none",)


def test_makemap_again_in_place(fronts, folder):
    f = fronts(makemap(folder, USUAL), workers=1)
    assert f.one("example.com") == ("found", 0, "OK")
    makemap(folder, USUAL.replace("OK", "REJECT") + "new.example\tOK\n")
    f.until("example.com", ("found", 0, "REJECT"))
    assert f.one("new.example") == ("found", 0, "OK")
    assert [(d["entries"], d["before"]) for d in f.events("map_loaded")] == [("3", "0"), ("4", "3")]


def test_a_table_of_garbage(fronts, folder):
    """From the start: failed, said once; then refused beside a good one: kept, said once."""
    path = folder / "access.db"
    path.write_bytes(os.urandom(50_000))
    f = fronts(f"hash:{folder}/access", workers=1)
    for _ in range(20):
        result = f.one("example.com")
        assert result[0] == "failed" and "access.db: " in result[1]
    assert len(f.events("map_failed")) == 1
    path.unlink()
    makemap(folder, USUAL)
    f.until("example.com", ("found", 0, "OK"))
    wait_until(lambda: f.events("map_back"), "the log says that it is back")
    assert len(f.events("map_failed")) == 1 and len(f.events("map_back")) == 1
    path.write_bytes(path.read_bytes()[:9000])
    wait_until(lambda: f.events("map_kept"), "the log says that the old one is kept")
    assert f.one("example.com") == ("found", 0, "OK")
    path.unlink()
    wait_until(lambda: len(f.events("map_kept")) == 2, "and again when there is none")
    assert f.one("example.com") == ("found", 0, "OK")
    time.sleep(2.5)
    assert len(f.events("map_kept")) == 2


def test_a_large_table_is_taken_while_the_old_one_answers(fronts, folder):
    f = fronts(makemap(folder, USUAL), workers=1)
    f.one("example.com")
    makemap(folder, "".join(f"connect:10.{i >> 8}.{i & 255}\tREJECT\n" for i in range(60_000)) + "example.com\tNEW\n")
    slowest, seen = 0, None
    deadline = time.monotonic() + PATIENCE
    while seen != ("found", 0, "NEW"):
        tag = f.send(["example.com"])
        seen = f.wait(tag)[0]
        slowest = max(slowest, f.milliseconds(tag))
        assert seen[0] == "found" and time.monotonic() < deadline
    assert slowest < 1000


# ---- redis -------------------------------------------------------------------------------------------------------------------------------

def test_redis(fronts, server, folder):
    r = server(Redis)
    r.do("MSET", "access:connect:10.1.2", "REJECT", "access:example.com", "OK", "secret", "x", "access:large", "v" * 70000, "access:edge", "v" * 1024)
    r.do("HSET", "table", "example.com", "HASHED")
    r.do("SET", "example.com", "DB3", db=3)
    r.do("LPUSH", "access:list", "x")
    f = fronts(r.url("prefix=access:"), r.url("hash=table"), r.url(db=3), f"redis:unix:{r.socket}?prefix=access:", r.url("hash=access:list"))
    for at in (0, 3):
        assert f.ask(["connect:10.1.2.3", "connect:10.1.2"], ["example.com"], ["secret", "list"], at=at) == [("found", 1, "REJECT"), ("found", 0, "OK"), ("none",)]
    assert f.one("example.com", at=1) == ("found", 0, "HASHED")
    assert f.one("example.com", at=2) == ("found", 0, "DB3")
    assert f.one("large") == ("found", 0, "v" * 1024, "cut")
    assert f.one("edge") == ("found", 0, "v" * 1024)
    assert f.one("x", at=4)[0] == "failed"  # not a hash
    before = r.do("DBSIZE")
    for key in HOSTILE:
        for at in (0, 1, 3):
            assert f.one(key, at=at) == ("none",)
    assert f.one("x" * 65536)[0] == "failed"
    assert f.ask(["x" * 1000] * 20) == [("none",)]
    assert f.ask([f"connect:10.{i}" for i in range(200)]) == [("none",)]
    assert r.do("DBSIZE") == before and r.do("GET", "secret") == "x"


def test_redis_with_a_password(fronts, server, folder):
    r = server(Redis, password="secret word")
    r.do("SET", "example.com", "OK")
    right, wrong = folder / "right", folder / "wrong"
    right.write_text("secret word\n")
    wrong.write_text("other")
    for path in (right, wrong):
        path.chmod(0o644)
    f = fronts(r.url(f"password_file={right}"), r.url(f"user=default&password_file={right}"), r.url(f"password_file={wrong}"), r.url(), r.url("password_file=/none"))
    assert [f.one("example.com", at=at)[0] for at in range(5)] == ["found", "found", "failed", "failed", "failed"]
    for said in ({"map": str(wrong), "why": "WRONGPASS"}, {"why": "NOAUTH"}, {"map": "/none", "why": "No such file"}):
        wait_until(lambda said=said: f.events("map_failed", **said), f"the log says {said}")  # after the answer
    assert "secret" not in f.text()


def outage(f, one, good, at, name, hang):
    """The server is gone or hangs, with questions all the while, and comes back."""
    assert f.one("example.com", at=at) == good
    one.hang() if hang else one.kill()
    begin = time.monotonic()
    slowest = 0
    while time.monotonic() - begin < 6:
        tags = [f.send([f"k{n}.example"], front=n % 2, at=at) for n in range(20)]
        for tag in tags:
            assert f.wait(tag)[0][0] == "failed"
            slowest = max(slowest, f.milliseconds(tag))
        assert f.one("example.com", at=1 - at)[0] == "found"  # the other map answers all the while
        time.sleep(0.1)
    assert slowest < 5500
    one.go_on() if hang else one.start()
    f.until("example.com", good, at=at)
    for _ in range(20):
        f.one("example.com", at=at)
    assert len(f.events("map_failed", map=name)) == 1 and len(f.events("map_back", map=name)) == 1, f.text()


@pytest.mark.parametrize("hang", [False, True])
def test_redis_outage(fronts, server, folder, hang):
    r = server(Redis)
    r.do("SET", "example.com", "OK")
    name = r.url()
    if not hang:
        r.command[r.command.index("--save") + 1] = "3600 1"
        r.stop()
        r.start()
        r.do("SET", "example.com", "OK")
        r.do("SAVE")
    f = fronts(name, makemap(folder, USUAL), workers=2, timeout=4000)
    outage(f, r, ("found", 0, "OK"), 0, name, hang)


def test_a_redis_that_talks_nonsense(fronts, folder):
    """A port where something else answers, slowly, without an end."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(50)
        f = fronts(f"redis://127.0.0.1:{s.getsockname()[1]}/", f"ldap://127.0.0.1:{s.getsockname()[1]}/dc=x", workers=1, timeout=1500)
        for at in range(2):
            tag = f.send(["k"], at=at)
            client, _ = s.accept()
            client.settimeout(0.2)
            for _ in range(100):
                try:
                    client.sendall(b"220 hello\r\n" if at == 0 else b"\x30\x84\x7f")
                except OSError:
                    break
                if tag in f.answers:
                    break
                time.sleep(0.05)
            assert f.wait(tag)[0][0] == "failed"
            client.close()


# ---- ldap --------------------------------------------------------------------------------------------------------------------------------

ENTRIES = [
    entry("Connect:10.1.2", "REJECT"),
    entry(["example.com", "example.net"], "OK"),
    entry("other.example", "NO", sendmailMTAMapName="other"),
    entry("cluster.example", "CLUSTER", sendmailMTACluster="Servers"),
    entry("host.example", "HOST", sendmailMTAHost="mx1"),
    entry("large.example", "v" * 5000),
    entry("edge.example", "v" * 1024),
    ("ou=closed", {"objectClass": "organizationalUnit", "ou": "closed"}),
    ("cn=in,ou=closed", {"objectClass": "sendmailMTAMapObject", "sendmailMTAMapName": "access", "sendmailMTAKey": "closed.example", "sendmailMTAMapValue": "IN", "cn": "in"}),
    ("cn=person", {"objectClass": "organizationalRole", "cn": "person", "description": "FOUND"}),
]


def test_ldap(fronts, server):
    s = server(Slapd, ENTRIES)
    f = fronts(s.url(), s.url("????map=other"), s.url("????cluster=Servers,host=mx1"), s.url("?cn?description?one"), s.url("?cn?description?base"), s.url(base="dc=none"))
    assert f.ask(["connect:10.1.2.3", "connect:10.1.2"], ["example.net"], ["other.example", "host"]) == [("found", 1, "REJECT"), ("found", 0, "OK"), ("none",)]
    assert f.one("other.example", at=1) == ("found", 0, "NO")
    assert f.ask(["cluster.example"], ["host.example"], ["example.com"], at=2) == [("found", 0, "CLUSTER"), ("found", 0, "HOST"), ("none",)]
    assert f.one("person", at=3) == ("found", 0, "FOUND")
    assert f.one("person", at=4) == ("none",)
    assert f.one("large.example") == ("found", 0, "v" * 1024, "cut")
    assert f.one("edge.example") == ("found", 0, "v" * 1024)
    assert f.one("example.com", at=5)[0] == "failed"
    assert f.events("map_failed", why="No such object")
    for key in HOSTILE:
        for at in (0, 3):
            assert f.one(key, at=at) == ("none",), key
    assert f.ask(["*)(sendmailMTAKey=*", "example.com"]) == [("found", 1, "OK")]
    assert f.one("x" * 65536)[0] == "failed"
    assert f.ask(["*" * 1000] * 30) == [("none",)]
    assert f.ask([f"connect:10.{i}" for i in range(199)] + ["connect:10.1.2"]) == [("found", 199, "REJECT")]


def test_ldap_with_a_password(fronts, server, folder):
    s = server(Slapd, ENTRIES)
    right, wrong = folder / "right", folder / "wrong"
    right.write_text("secret\n")
    wrong.write_text("guess\n")
    for path in (right, wrong):
        path.chmod(0o644)
    bind = "????binddn=cn=admin%2cdc=example%2cdc=org,password_file="
    f = fronts(s.url(), s.url(bind + str(right)), s.url(bind + str(wrong)))
    assert f.one("closed.example", at=0) == ("none",)
    assert f.one("closed.example", at=1) == ("found", 0, "IN")
    assert f.one("closed.example", at=2)[0] == "failed"
    assert f.events("map_failed", map=str(wrong), why="Invalid credentials")


def test_ldap_with_tls(fronts, server, folder):
    s = server(Slapd, ENTRIES, tls=True)
    f = fronts(s.url(f"????starttls,cacert={s.folder}/cert.pem"), s.url("????starttls"))
    assert f.one("example.com", at=0) == ("found", 0, "OK")
    assert f.one("example.com", at=1)[0] == "failed"  # nobody vouches for the certificate
    s.kill()
    port, tls_port = s.port, free_port()
    s.command[2] = f"ldaps://127.0.0.1:{tls_port}/"
    s.port = tls_port
    s.start()
    g = fronts(f"ldaps://127.0.0.1:{tls_port}/dc=example,dc=org????cacert={s.folder}/cert.pem", f"ldaps://127.0.0.1:{tls_port}/dc=example,dc=org")
    assert port != tls_port
    assert g.one("example.com", at=0) == ("found", 0, "OK")
    assert g.one("example.com", at=1)[0] == "failed"


@pytest.mark.parametrize("hang", [False, True])
def test_ldap_outage(fronts, server, folder, hang):
    s = server(Slapd, ENTRIES)
    f = fronts(s.url(), makemap(folder, USUAL), workers=2, timeout=4000)
    outage(f, s, ("found", 0, "OK"), 0, s.url(), hang)


def test_a_restart_between_two_questions_is_no_outage(fronts, server):
    """The old connections are dead, and new ones are made; nobody notices."""
    s = server(Slapd, ENTRIES)
    r = server(Redis)
    f = fronts(s.url(), r.url())
    for _ in range(10):
        assert f.one("example.com")[0] == "found" and f.one("k", at=1) == ("none",)
    for one in (s, r):
        one.kill()
        one.start()
    for _ in range(10):
        assert f.one("example.com")[0] == "found" and f.one("k", at=1) == ("none",)
    assert f.events("map_failed") == []


def test_a_server_that_says_goodbye(fronts, lookup_binary):
    """A new connection is made, and nobody notices; what is said besides is passed over; and none of it is kept."""
    s = Farewells()
    f = fronts(f"ldap://127.0.0.1:{s.port}/dc=x", workers=1)

    def ask(times):
        for n in range(times):
            assert f.one(f"key{n}.example") == ("none",), f.text()
        return int(status(f.pids[0], "VmRSS")[0])

    before = ask(3)
    after = ask(30)
    s.stop()
    assert s.said == 32 and f.events("map_failed") == []
    sanitized = b"__asan_init" in lookup_binary.read_bytes()  # such a build keeps what it has freed, and finds what is lost itself
    assert sanitized or after - before < 10 << 10, (before, after)


def test_a_connection_that_has_ended_while_nobody_used_it(fronts):
    """No question is lost on it, and the library does not read why it has ended: it would keep the text for good."""
    s = Farewells(idle=True)
    f = fronts(f"ldap://127.0.0.1:{s.port}/dc=x", workers=1)
    for n in range(5):
        assert f.one(f"key{n}.example") == ("none",), f.text()
        wait_until(lambda: s.said == n + 1, "it has said goodbye")
    f.one("last.example")
    s.stop()
    assert s.unheard == 0 and f.events("map_failed") == []
