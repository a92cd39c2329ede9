"""The door with maps that may block: Sendmail's own access.db, Redis and LDAP, and what clients get when these are not there."""
import os
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from door import status
from maps import Redis, Slapd, entry, makemap
from talk import REFUSAL, command, read_all, read_line, read_reply, reset

LONG = 60_000


@pytest.fixture
def folder(scratch):
    path = Path(tempfile.mkdtemp(dir=scratch))
    path.chmod(0o755)
    return path


@pytest.fixture
def server(folder):
    made = []

    def make(kind, **options):
        path = folder / f"server{len(made)}"
        path.mkdir()
        made.append(kind(path, **options).start())
        return made[-1]

    yield make
    for one in made:
        one.stop()


def door_with(make_door, *maps, **options):
    return make_door(access_db=list(maps), lookup_processes=2, **{"greet_pause": LONG, "lookup_timeout": 3000, "lookup_cache": 0, "linger": 100, **options})


def greeted(connect, door, source):
    client = connect(door, source)
    line = read_line(client)
    client.close()
    return line


def test_sendmails_own_database(make_door, connect, folder):
    """makemap's file as it is: exemption by prefix, refusal by address, early talk refused, and a new file taken without a restart."""
    text = "GreetPause:127.0.0.2\t0\nGreetPause:127.0.1\t0\nConnect:127.0.0.3\tREJECT\n127.0.0.7\t550 5.7.1 not you\n"
    door = door_with(make_door, makemap(folder, text))
    assert greeted(connect, door, "127.0.0.2").startswith(b"220 ")
    assert greeted(connect, door, "127.0.1.9").startswith(b"220 ")
    for source, answer in (("127.0.0.3", b"550 5.7.1 Access denied\r\n"), ("127.0.0.7", b"550 5.7.1 not you\r\n")):
        client = connect(door, source)
        assert read_line(client).startswith(b"220 ")
        assert command(client, "MAIL FROM:<a@b>") == answer
    early = connect(door, "127.0.0.4")
    early.sendall(b"HELO x\r\n")
    assert read_line(early) == REFUSAL
    makemap(folder, text + "GreetPause:127.0.0.9\t0\n")
    deadline = time.monotonic() + 15
    while True:
        client = connect(door, "127.0.0.9")
        client.settimeout(1)
        try:
            assert read_line(client).startswith(b"220 ")
            break
        except TimeoutError:
            assert time.monotonic() < deadline, "the new table is not taken"
        client.close()


def test_the_first_map_that_has_the_key(make_door, connect, folder, server):
    """A text file before Redis: for the same key the file answers, and a longer key in Redis beats a shorter one in the file."""
    r = server(Redis)
    r.do("MSET", "greetpause:127.0.0.2", str(LONG), "greetpause:127.0.3.1", "0", "connect:127.0.0.5", "OK")
    (folder / "access").write_text("GreetPause:127.0.0.2 0\nGreetPause:127.0.3 60000\nConnect:127.0.0 OK\n")
    door = door_with(make_door, f"text:{folder}/access", r.url())
    assert greeted(connect, door, "127.0.0.2").startswith(b"220 ")
    assert greeted(connect, door, "127.0.3.1").startswith(b"220 ")


def test_ldap_by_name_of_tag_and_key(make_door, connect, server):
    s = server(Slapd)
    s.load(entry("greetpause:127.0.0.2", "0"), entry("connect:127.0.0.3", "ERROR:4.7.1:450 later"))
    door = door_with(make_door, s.url())
    assert greeted(connect, door, "127.0.0.2").startswith(b"220 ")
    client = connect(door, "127.0.0.3")
    assert read_line(client).startswith(b"220 ")
    assert command(client, "MAIL FROM:<a@b>") == b"450 4.7.1 later\r\n"


@pytest.mark.parametrize("rule,answer", [("tempfail", b"451 4.3.0 Temporary system failure. Please try again later.\r\n"), ("closed", b"550 5.7.1 Access denied\r\n"),
                                         ("open", b"250 2.1.0 <a@b.example>... Sender ok\r\n")])
def test_a_map_that_is_gone(make_door, connect, server, rule, answer):
    """What the configuration says, per client; the log says it once, and once when it is back. With no pause, so that only the answer differs."""
    r = server(Redis)
    r.do("SET", "greetpause:127.0.0.2", "0")
    door = door_with(make_door, r.url(), greet_pause=0, access_failure=rule, lookup_timeout=1000)
    client = connect(door)
    assert read_line(client).startswith(b"220 ") and command(client, "MAIL FROM:<a@b.example>").startswith(b"250 ")
    client.close()
    r.kill()
    for _ in range(5):
        client = connect(door)
        assert read_line(client).startswith(b"220 ")
        assert command(client, "MAIL FROM:<a@b.example>") == answer
        client.close()
    r.start()
    deadline = time.monotonic() + 40
    while True:
        client = connect(door)
        assert read_line(client).startswith(b"220 ")
        if command(client, "MAIL FROM:<a@b.example>").startswith(b"250 ") and door.events("map_back"):
            break
        client.close()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(door.events("map_failed")) == 1 and len(door.events("map_back")) == 1


def test_the_pause_stays_when_a_map_is_gone(make_door, connect, server):
    """Unlike Sendmail's: no answer is not "no pause", so who talks early is refused all the same."""
    r = server(Redis)
    door = door_with(make_door, r.url(), access_failure="open", greet_pause=LONG, lookup_timeout=500)
    r.kill()
    client = connect(door)
    client.sendall(b"HELO x\r\n")
    assert read_line(client) == REFUSAL


def test_a_map_that_hangs_makes_no_greeting_late(make_door, connect, server):
    """From the first client on: who is asked for is greeted when its pause is over, and only its commands wait."""
    s = server(Slapd)
    s.load(entry("connect:127.0.0.3", "REJECT"))
    door = door_with(make_door, s.url(), greet_pause=200, lookup_timeout=5000)
    assert greeted(connect, door, "127.0.0.4").startswith(b"220 ")
    s.hang()
    waits = []

    def visit(n):
        begin = time.monotonic()
        line = greeted(connect, door, f"127.0.1.{n}")
        waits.append((time.monotonic() - begin, line[:4]))

    threads = [threading.Thread(target=visit, args=(n,)) for n in range(1, 40)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(line == b"220 " for _, line in waits)
    assert 0.2 <= min(waits)[0] and max(wait for wait, _ in waits) < 2
    s.go_on()


def hanging(make_door, connect, server, **options):
    """A door whose LDAP server, which refuses 127.0.0.3, has just ceased to answer, and a client of it that has its greeting."""
    s = server(Slapd)
    s.load(entry("connect:127.0.0.3", "REJECT"))
    door = door_with(make_door, s.url(), **{"greet_pause": 200, "lookup_timeout": 6000, **options})
    assert greeted(connect, door, "127.0.0.4").startswith(b"220 ")
    s.hang()
    begin = time.monotonic()
    client = connect(door, "127.0.0.3")
    assert read_line(client).startswith(b"220 ") and time.monotonic() - begin < 2
    return s, door, client


@pytest.mark.parametrize("delay,refused", [("off", b"MAIL"), ("on", b"RCPT")])
def test_an_answer_that_comes_late(make_door, connect, server, delay, refused):
    """What the client said has waited; what it would have been told at connect it is told at its first command that matters, and it gets no STARTTLS to hide behind."""
    s, door, client = hanging(make_door, connect, server, delay_checks=delay, log_level="info")
    client.sendall(b"EHLO c.example\r\n")
    client.settimeout(0.5)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(10)
    s.go_on()
    assert b"STARTTLS" not in read_reply(client)
    client.sendall(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<u@example.org>\r\nNOOP\r\nQUIT\r\n")
    replies = [line for line in read_all(client).split(b"\r\n") if line[3:4] == b" "]
    assert [line[:3] for line in replies] == ([b"550", b"503", b"250", b"221"] if refused == b"MAIL" else [b"250", b"550", b"250", b"221"])
    assert [line for line in replies if line[:3] == b"550"][0].endswith(b"... Access denied")
    line = door.wait_for(lambda d: d.get("client") == "127.0.0.3" and "verdict" in d, 1)[0]
    assert line["verdict"] == "patient" and line["answers"] == "late" and line["rejected"] == "1"


@pytest.mark.parametrize("rule,answer", [("tempfail", b"451 4.3.0 Temporary system failure. Please try again later.\r\n"), ("closed", b"550 5.7.1 Access denied\r\n"),
                                         ("open", b"250 2.1.0 <a@b.example>... Sender ok\r\n")])
def test_an_answer_that_never_comes(make_door, connect, server, rule, answer):
    """Greeted on time; after lookup_timeout the rule decides. Another that hangs up meanwhile, or resets, does no harm."""
    s, door, client = hanging(make_door, connect, server, lookup_timeout=1500, access_failure=rule)
    for how in ("close", "reset"):
        other = connect(door, "127.0.0.5")
        time.sleep(0.3)
        (reset(other) if how == "reset" else other.close())
    assert command(client, "MAIL FROM:<a@b.example>").replace(b"<a@b.example>... Access", b"Access") == answer
    assert command(client, "NOOP").startswith(b"250 ")
    s.go_on()


def test_early_talk_while_a_map_hangs(make_door, connect, server):
    s, door, _ = hanging(make_door, connect, server, greet_pause=1000)
    client = connect(door, "127.0.0.6")
    client.sendall(b"HELO x\r\n")
    assert read_line(client) == REFUSAL
    s.go_on()


def test_a_map_may_have_its_time(make_door, connect, server):
    """lookup_wait: with it as long as lookup_timeout no greeting goes out before the answer, as for who wants to be told at connect."""
    s = server(Slapd)
    s.load(entry("connect:127.0.0.3", "REJECT"))
    door = door_with(make_door, s.url(), greet_pause=0, lookup_timeout=6000, lookup_wait=6000)
    s.hang()
    client = connect(door, "127.0.0.3")
    client.settimeout(0.7)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(10)
    s.go_on()
    assert read_line(client).startswith(b"220 ")
    assert command(client, "MAIL FROM:<a@b.example>") == b"550 5.7.1 Access denied\r\n"


def test_lookups_that_die_are_started_again(make_door, connect, folder):
    door = door_with(make_door, makemap(folder, "GreetPause:127.0.0.2\t0\n"))
    assert greeted(connect, door, "127.0.0.2").startswith(b"220 ")
    def is_lookup(pid):
        return Path(f"/proc/{pid}/comm").read_text().startswith("tarry-lookup") and status(pid, "PPid") == [str(door.process.pid)]

    killed = [p for p in door.children() if is_lookup(p)]
    assert len(killed) == 2
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    door.wait_for(lambda d: d.get("event") == "role_died" and d.get("role") == "lookup", 2)
    assert greeted(connect, door, "127.0.0.2").startswith(b"220 ")


def test_a_map_with_a_bad_name(make_door):
    door = make_door(start=False, access_db=["ldap:not a url"], greet_pause=0)
    door.spawn()
    assert door.process.wait(20) == 78
    door.process = None
    assert "ldap:not a url" in door.text()


def tarry(door, *arguments):
    return subprocess.run([door.binary, *map(str, arguments)], capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize("kind", ["lmdb", "cdb"])
def test_a_map_that_tarry_access_builds(make_door, connect, folder, binary, kind):
    """Made of a text, asked in place, taken anew when it is made anew; a table that is none leaves the old one."""
    text = folder / "access"
    spec = f"{kind}:{text}"

    def build(lines):
        text.write_text(lines)
        return subprocess.run([binary, "access", "build", text, spec], capture_output=True, text=True, timeout=20, check=False)

    made = build("GreetPause:127.0.0.2 0\nGreetPause:127.0.3.0/24 0\nConnect:127.0.0.5 REJECT\n")
    assert (made.returncode, made.stdout) == (0, f"{text}.{kind}: 3 entries\n"), made.stderr
    door = door_with(make_door, spec)
    assert greeted(connect, door, "127.0.0.2").startswith(b"220 ")
    assert greeted(connect, door, "127.0.3.77").startswith(b"220 ")
    client = connect(door, "127.0.0.5")
    assert read_line(client).startswith(b"220 ")
    assert command(client, "MAIL FROM:<a@b>") == b"550 5.7.1 Access denied\r\n"
    bad = build("GreetPause:127.0.0.9 0\nGreetPause:127.0.0.8\nConnect:x y z\nGreetPause:127.0.0.9 1\n")
    assert bad.returncode == 65 and ":2: " in bad.stderr and ":4: " in bad.stderr, bad.stderr
    assert greeted(connect, door, "127.0.0.2").startswith(b"220 ")
    assert build("GreetPause:127.0.0.9 0\n").returncode == 0
    reloaded = tarry(door, "reload", "-c", door.config)
    assert (reloaded.returncode, reloaded.stdout) == (0, f"{spec}: 1 entries, before 3\n"), reloaded.stderr
    assert greeted(connect, door, "127.0.0.9").startswith(b"220 ")
    broken = Path(f"{text}.{kind}.new")
    broken.write_bytes(b"\xa5" * 9000)
    broken.rename(f"{text}.{kind}")
    kept = tarry(door, "reload", "-c", door.config)
    assert kept.returncode == 65 and "stays, 1 entries" in kept.stderr, kept.stderr
    assert greeted(connect, door, "127.0.0.9").startswith(b"220 ")
    dumped = tarry(door, "access", "dump", f"text:{text}")
    assert dumped.stdout == "GreetPause:127.0.0.9\t0\n"


def test_a_cdb_of_somebody_elses(make_door, connect, folder):
    """As tinycdb makes it, or Postfix's postmap: keys are the text."""
    keys = {"greetpause:127.0.0.2": "0", "greetpause:127.0.4": "0", "connect:127.0.0.5": "REJECT"}
    records = "".join(f"+{len(k)},{len(v)}:{k}->{v}\n" for k, v in keys.items()) + "\n"
    subprocess.run(["cdb", "-c", folder / "access.cdb"], input=records, text=True, check=True, timeout=20)
    (folder / "access.cdb").chmod(0o644)
    door = door_with(make_door, f"cdb:{folder / 'access'}")
    assert greeted(connect, door, "127.0.0.2").startswith(b"220 ")
    assert greeted(connect, door, "127.0.4.9").startswith(b"220 ")
    client = connect(door, "127.0.0.5")
    assert read_line(client).startswith(b"220 ")
    assert command(client, "MAIL FROM:<a@b>") == b"550 5.7.1 Access denied\r\n"


def test_check_strict(make_door, folder):
    (folder / "access").write_text("Connect:127.0.0.5 300\n")
    door = door_with(make_door, f"text:{folder / 'access'}")
    assert tarry(door, "check", "-c", door.config).returncode == 0
    strict = tarry(door, "check", "--strict", "-c", door.config)
    assert strict.returncode == 65 and "access:1: Connect:127.0.0.5 300: " in strict.stderr


def test_check_of_skip(make_door, folder):
    """No word without access_skip: it is said in which line, what it means, and with --strict it is an error."""
    (folder / "access").write_text("Connect:10 OK\nConnect:127.0.0.5 SKIP\nGreetPause:10.1 SKIP\n")
    door = door_with(make_door, f"text:{folder / 'access'}")
    assert "warning: " in door.text() and "access:2: Connect:127.0.0.5 SKIP: no word without access_skip = yes, read as a refusal with 553 5.3.0 SKIP" in door.text()
    assert tarry(door, "check", "-c", door.config).returncode == 0
    strict = tarry(door, "check", "--strict", "-c", door.config)
    assert strict.returncode == 65 and "access:2: Connect:127.0.0.5 SKIP: " in strict.stderr and "access:3: " in strict.stderr
    skips = tarry(door, "check", "--strict", "-c", door.config, "-o", "access_skip=yes")
    assert (skips.returncode, skips.stderr) == (0, "")


def test_reload_without_a_door(make_door, folder):
    door = door_with(make_door, f"text:{folder / 'access'}", access_missing="ignore")
    other = folder / "other.conf"
    other.write_text("")
    assert tarry(door, "reload", "-c", other).returncode == 69


def test_each_map_has_its_own_rule(make_door, connect, server):
    """Two maps that are gone: what the one that is closed says counts before the one that is open, and a temporary error before both."""
    urls = []
    for _ in range(2):
        r = server(Redis)
        urls.append(r.url())
        r.kill()
    for rules, answer in ((["open", "closed"], b"550 5.7.1 Access denied\r\n"), (["closed", "tempfail"], b"451 4.3.0 "), (["open"], b"250 2.1.0 ")):
        door = door_with(make_door, *urls, greet_pause=0, access_failure=rules, lookup_timeout=500)
        client = connect(door)
        assert read_line(client).startswith(b"220 ")
        assert command(client, "MAIL FROM:<a@b.example>").startswith(answer)
        client.close()


# ---- tarry access ------------------------------------------------------------------------------------------------------------------------

def asked(binary, what, *arguments, db, **options):
    """tarry access with these maps and options; (exit code, stdout, stderr)."""
    given = {"user": "nobody", "hostname": "mx.example", "lookup_timeout": 2000, "access_db": ",".join(db), **options}
    done = subprocess.run([binary, "access", what, *(w for k, v in given.items() for w in ("-o", f"{k}={v}")), *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_access_asks_all_maps(binary, folder, server):
    """get and why, of all three kinds, as the door would; dump where a listing makes sense."""
    h = makemap(folder, "GreetPause:127.0.0.2\t0\nConnect:127.0.0.5\tREJECT\nFrom:bad@x.example\t550 no\n")
    r = server(Redis)
    r.do("SET", "greetpause:ipv6:2001:db8:0:0:0:0:0:1", "7")
    r.do("SET", "to:x@localhost", "450 4.7.1 later")
    (folder / "ldap").mkdir()
    s = Slapd(folder / "ldap").load(entry("connect:127.0.0.3", "REJECT")).start()
    try:
        db = [h, r.url(), s.url()]
        assert asked(binary, "get", "GreetPause:127.0.0.2", db=db) == (0, f"0\t{h}\n", "")
        assert asked(binary, "get", "greetpause:IPv6:2001:DB8::1", db=db) == (0, f"7\t{r.url()}\n", "")
        assert asked(binary, "get", "Connect:127.0.0.3", db=db) == (0, f"REJECT\t{s.url()}\n", "")
        assert asked(binary, "get", "Connect:127.0.0.4", db=db) == (1, "", "")

        code, said, _ = asked(binary, "why", "127.0.0.3", db=db)
        assert code == 0 and f"    Connect:127.0.0  not in {h}\n" in said and f"    Connect:127.0.0.3  REJECT  ({s.url()})\n" in said
        assert f"connect  550 5.7.1 Access denied because {s.url()} says REJECT\n" in said
        code, said, _ = asked(binary, "why", "2001:db8::1", "--name", "a.example", "--from", "bad@x.example", "--to", "x@localhost", db=db)
        assert code == 0 and f"    GreetPause:a.example  not in {r.url()}\n    GreetPause:example  not in {r.url()}\n" in said
        assert f"greet    greeted after 7 ms because {r.url()} says 7\n" in said
        assert f"    From:bad@x.example  550 no  ({h})\n" in said and f"mail     550 5.0.0 <bad@x.example>... no because {h} says 550 no\n" in said
        assert f"rcpt     450 4.7.1 <x@localhost>... later because {r.url()} says 450 4.7.1 later\n" in said

        listed = "connect:127.0.0.5\tREJECT\nfrom:bad@x.example\t550 no\ngreetpause:127.0.0.2\t0\n"
        assert asked(binary, "dump", db=[h]) == (0, listed, "")
        bare = subprocess.run([binary, "access", "dump", h], capture_output=True, text=True, timeout=60, check=False)
        assert (bare.returncode, bare.stdout, bare.stderr) == (0, listed, "")
        for url in (r.url(), s.url()):
            code, said, why = asked(binary, "dump", db=[url])
            assert (code, said) == (69, "") and "cannot be listed" in why
    finally:
        s.stop()


def test_access_with_a_map_that_is_gone(binary, folder, server):
    """It is said which one, why, and what access_failure makes of it at each stage."""
    text = folder / "access"
    text.write_text("Connect:127.0.0.5 OK\n")
    r = server(Redis)
    r.kill()
    db = [f"text:{text}", r.url()]
    replies = {"tempfail": "451 4.3.0 Temporary system failure. Please try again later.", "closed": "550 5.7.1 {}Access denied", "open": "accepted"}
    for rule, reply in replies.items():
        code, said, _ = asked(binary, "why", "127.0.0.6", "--from", "a@b.example", "--to", "x@localhost", db=db, access_failure=f"tempfail,{rule}", greet_pause=1234)
        because = f" because {r.url()} could not be asked, and access_failure says {rule}\n"
        assert code == 0 and f"    {r.url()} could not be asked: connect: Connection refused\n" in said
        assert "connect  " + reply.format("") + because in said, said
        assert "mail     " + reply.format("<a@b.example>... ") + because in said and "rcpt     " + reply.format("<x@localhost>... ") + because in said
        assert ("greet    greeted after 1234 ms, as greet_pause has it (" in said) == (rule == "open")
    code, said, _ = asked(binary, "why", "127.0.0.5", db=db)
    assert code == 0 and f"connect  accepted because {text}:1 says OK\n" in said
    code, said, why = asked(binary, "get", "Connect:127.0.0.6", db=db)
    assert (code, said) == (69, "") and f"{r.url()} could not be asked: connect: Connection refused" in why
    assert asked(binary, "get", "Connect:127.0.0.5", db=db)[:2] == (0, f"OK\t{text}:1\n")


def test_access_with_a_server_that_hangs(binary, server):
    s = server(Slapd)
    s.hang()
    begin = time.monotonic()
    code, said, _ = asked(binary, "why", "127.0.0.6", "--from", "a@b.example", db=[s.url()], lookup_timeout=500)
    assert code == 0 and f"{s.url()} could not be asked: no answer in time" in said and "connect  451 4.3.0" in said
    assert time.monotonic() - begin < 10


def test_access_with_a_file_of_garbage(binary, folder):
    (folder / "access.db").write_bytes(b"\xa5" * 9000)
    h = f"hash:{folder / 'access'}"
    code, said, _ = asked(binary, "why", "127.0.0.6", db=[h])
    assert code == 0 and f"    {h} could not be asked: {folder / 'access.db'}: it is no Berkeley database" in said, said
    code, said, why = asked(binary, "dump", db=[h])
    assert (code, said) == (69, "") and "it is no Berkeley database" in why
    (folder / "access.db").unlink()
    assert "No such file" in asked(binary, "why", "127.0.0.6", db=[h])[1]
    assert "connect  accepted\n" in asked(binary, "why", "127.0.0.6", db=[h], access_missing="ignore")[1]


# ---- tarry check -------------------------------------------------------------------------------------------------------------------------

def checked(binary, *arguments, db, **options):
    given = {"user": "nobody", "hostname": "mx.example", "lookup_timeout": 1000, "maildir": "/tmp/%u", "access_db": ",".join(db), **options}
    done = subprocess.run([binary, "check", "-c", "/dev/null", *(w for k, v in given.items() for w in ("-o", f"{k}={v}")), *arguments], capture_output=True, text=True, timeout=60,
                          check=False)
    return done.returncode, done.stdout, done.stderr


def test_check_reads_a_hash(binary, folder):
    """As it reads a text:, but without lines; one that is none, or half of one, or not there, is an error."""
    h = makemap(folder, "GreetPause:127.0.0.2\t0\nConnect:127.0.0.5\t300\nConnect:10.0.0.0/8\tREJECT\n" + "".join(f"k{i}.example\tOK\n" for i in range(2000)))
    code, said, why = checked(binary, db=[h])
    assert code == 0 and "2003 entries" in said and f"{h}, asked by tarry-lookup" in said
    assert f"warning: {h}: connect:127.0.0.5 300: no word that is known here, read as a refusal with 553 5.3.0 300" in why
    assert f"warning: {h}: connect:10.0.0.0/8: never matches, ignored; such a map is asked for addresses" in why
    assert checked(binary, "--strict", db=[h])[0] == 65
    file = folder / "access.db"
    whole = file.read_bytes()
    for broken, reason in ((whole[: len(whole) // 2], "it is damaged, or not all there"), (b"\xa5" * 9000, "it is no Berkeley database"), (b"", "it is empty"),
                           (whole[:4096] + b"\xa5" * (len(whole) - 4096), "it is damaged, or not all there")):
        file.write_bytes(broken)
        code, said, why = checked(binary, db=[h])
        assert (code, said) == (65, ""), why
        assert f'tarry: -o access_db={h}: access_db = "{h}": {file}: {reason}' in why and "access_failure says, tempfail" in why, why
    code, said, why = checked(binary, db=[h], access_missing="ignore")
    assert code == 0 and "0 entries" in said and "warning: " in why
    file.unlink()
    code, said, why = checked(binary, db=[h])
    assert (code, said) == (66, "") and "No such file or directory" in why
    code, said, why = checked(binary, db=[h], access_missing="ignore")
    assert code == 0 and "0 entries" in said and h not in why
    if os.geteuid() == 0:
        file.write_bytes(whole)
        file.chmod(0o600)
        code, _, why = checked(binary, db=[h])
        assert code == 66 and "Permission denied" in why


def test_check_asks_whether_servers_answer(binary, server):
    r, s = server(Redis), server(Slapd)
    code, said, why = checked(binary, db=[r.url(), s.url()])
    assert code == 0 and f"{r.url()}, asked by tarry-lookup" in said and "No such object" in why and why.count("warning") == 1  # it has no such tree yet
    s.load(entry("connect:127.0.0.3", "REJECT"))
    code, said, why = checked(binary, db=[r.url(), s.url()])
    assert (code, why) == (0, "")
    r.kill()
    s.hang()
    code, said, why = checked(binary, db=[r.url(), s.url()], access_failure="closed")
    assert code == 0 and f'tarry: warning: -o access_db={r.url()},{s.url()}: access_db = "{r.url()}": connect: Connection refused; it could not be asked now' in why, why
    assert f'"{s.url()}": no answer in time; ' in why and why.count("access_failure says, closed") == 2
    assert checked(binary, "--strict", db=[r.url()])[0] == 0
    for bad, reason in (("redis://127.0.0.1/0?nonsense=1", "no such option"), ("ldap://127.0.0.1/", "there has to be a base DN")):
        code, said, why = checked(binary, db=[bad])
        assert (code, said) == (78, "") and reason in why
