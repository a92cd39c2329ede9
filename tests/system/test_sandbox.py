"""The walls around each process of a door that runs: what the kernel shows of them, what becomes of an intruder, and what `tarry check --sandbox` says."""
import errno
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from door import ACCOUNT, AS_ROOT, status
from faults import Faults, spread
from inject import Intruder, is_possible
from maps import makemap
from mta import free_port, wait_until
from talk import command, read_line
from test_exec import Programs
from test_tls import make_certificate

FORBIDDEN = ("event=sandbox_killed", "event=sandbox_denied")
EXPECTED = {"front", "mail", "lookup", "tls", "known", "bans", "desk"}


def name_of(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip().removeprefix("tarry-")
    except FileNotFoundError:  # a child that verifies a file is soon gone
        return ""


def pids(door, role):
    return [p for p in door.children() if name_of(p) == role]


def landlock_abi(check):
    found = re.search(r"Landlock ABI (\d+)", check.stdout)
    return int(found.group(1)) if found else 0


@pytest.fixture(scope="module", autouse=True)
def whole_walls(binary):
    """A build with a sanitizer, or for coverage, says that it has not got them."""
    done = subprocess.run([str(binary), "check", "--sandbox", "-o", f"user={ACCOUNT}"], capture_output=True, text=True, timeout=60, check=False)
    if "this program was built with" in done.stderr:
        pytest.skip(done.stderr.splitlines()[0])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("certificate"), "mail.example.org")


@pytest.fixture
def folder(scratch):
    """That everybody may write in."""
    path = Path(tempfile.mkdtemp(dir=scratch))
    path.chmod(0o777)
    return path


@pytest.fixture
def full_door(make_door, certificate):
    """With as many roles as there are in one door."""
    def make(**options):
        door = make_door(start=False, greet_pause=0, fronts=1, mail_processes=1, tls_processes=1, lookup_processes=1, known_ttl="1h", ban_after=1000, **options)
        folder = door.folder / "state"
        folder.mkdir()
        folder.chmod(0o777)
        for n, name in enumerate(("cert.pem", "key.pem")):
            (door.folder / name).write_bytes(Path(certificate[n]).read_bytes())
        door.options.update(known_db=str(folder / "known"), ban_db=str(folder / "bans"), tls_certificate=str(door.folder / "cert.pem"), tls_key=str(door.folder / "key.pem"), desk=f"127.0.0.1:{free_port()}",
                            access_db=[makemap(door.folder, "GreetPause:127.0.0.9\t0\n")])
        door.start()
        wait_until(lambda: {name_of(p) for p in door.children()} == EXPECTED, "all roles")
        wait_until(lambda: all(status(p, "Seccomp") == ["2"] for p in door.children()) or options.get("sandbox"), "walls around all roles")
        return door
    return make


def send_mail(door, connect, source="127.0.0.1"):
    client = connect(door, source)
    assert read_line(client).startswith(b"220 ")
    for text in ("HELO x", "MAIL FROM:<a@example.net>", "RCPT TO:<victim@example.org>"):
        assert command(client, text).startswith(b"250 ")
    assert command(client, "DATA").startswith(b"354 ")
    assert command(client, "Subject: x\r\n\r\nbody\r\n.").startswith(b"250 ")
    client.close()


def test_what_the_kernel_shows(full_door, connect):
    door = full_door()
    for pid in door.children():
        role = name_of(pid)
        assert status(pid, "Seccomp") == ["2"], role
        assert status(pid, "NoNewPrivs") == ["1"], role
        for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            assert int(status(pid, kind)[0], 16) == 0, f"{role} {kind}"
        if AS_ROOT:
            assert int(status(pid, "CapBnd")[0], 16) == 0, role
            assert status(pid, "Uid")[0] != "0" and status(pid, "Gid")[0] != "0"
        limit = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith("Max core file size"))
        assert limit.split()[4:6] == ["0", "0"], role
        if AS_ROOT:  # nobody but root looks into it
            assert Path(f"/proc/{pid}/environ").stat().st_uid == 0, role
    if AS_ROOT:
        assert int(status(door.process.pid, "CapBnd")[0], 16) & (1 << 16 | 1 << 17 | 1 << 19 | 1 << 22) == 0  # modules, raw input and output, ptrace, reboot
    send_mail(door, connect)
    wait_until(lambda: len(door.messages()) == 1, "the message")
    assert not [f for f in FORBIDDEN if f in door.text()]


@pytest.mark.skipif(not is_possible(), reason="only root can take a process over, and x86-64 is what these calls are written for")
@pytest.mark.parametrize("role", sorted(EXPECTED))
def test_an_intruder_gets_nowhere(full_door, connect, role, folder):
    """Somebody makes a role call what it never calls: the call is not carried out, the log says so, another process takes its place, and mail is served."""
    door = full_door()
    door.expected = FORBIDDEN
    pid = pids(door, role)[0]
    outside = folder / "made"
    with Intruder(pid) as intruder:
        made = intruder.call("mkdir", intruder.put(str(outside)), 0o700)
    assert made in (-1, -13), made
    assert not outside.exists()
    if made == -1:  # the filter; -13 is Landlock's word
        wait_until(lambda: door.events("sandbox_denied"), "a word of the call")
        assert "mkdir" in door.events("sandbox_denied")[0]["msg"] and door.events("sandbox_denied")[0]["_role"] == f"{role}/0"
    assert pids(door, role) == [pid]  # a call that may be a mistake of ours ends nothing
    with Intruder(pid) as intruder:
        assert intruder.call("execve", intruder.put("/bin/true"), 0, 0) == "ended"
    killed = door.wait_for(lambda d: d.get("event") == "sandbox_killed")[0]
    assert "execve" in killed["msg"] and killed["_role"] == f"{role}/0" and killed["_pid"] == str(pid)
    door.wait_for(lambda d: d.get("event") == "role_died" and d["role"] == role and d["status"] == "77")
    wait_until(lambda: pids(door, role) not in ([], [pid]), "another process")
    wait_until(lambda: connected(door, connect), "service")
    wait_until(lambda: len(door.messages()) >= 1, "the message")


def connected(door, connect):
    try:
        send_mail(door, connect)
    except (AssertionError, OSError):
        return False
    return True


@pytest.mark.skipif(not is_possible(), reason="only root can take a process over, and x86-64 is what these calls are written for")
def test_without_walls_the_same_intruder_succeeds(full_door, folder):
    door = full_door(sandbox="off")
    outside = folder / "made"
    pid = pids(door, "front")[0]
    assert status(pid, "Seccomp") == ["0"]
    with Intruder(pid) as intruder:
        assert intruder.call("mkdir", intruder.put(str(outside)), 0o700) == 0
    assert outside.exists()
    with Intruder(pid) as intruder:
        assert intruder.call("open", intruder.put("/etc/passwd"), 0) >= 0
    with Intruder(pid) as intruder:
        assert intruder.call("kill", pids(door, "mail")[0], 0) == 0


def test_a_link_out_of_maildir(make_door, connect, folder):
    """Mail goes where the configuration says, not where a link leads, unless that is in sandbox_paths."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o777)
    for paths in ([], [str(elsewhere)]):
        door = make_door(start=False, greet_pause=0, sandbox_paths=paths)
        door.write_config()
        (door.mail / "example.org").symlink_to(elsewhere)
        door.start()
        if not paths and "no Landlock" in check(door).stdout:
            pytest.skip("this kernel has no Landlock")
        client = connect(door)
        assert read_line(client).startswith(b"220 ")
        for text in ("HELO x", "MAIL FROM:<a@example.net>", "RCPT TO:<victim@example.org>"):
            assert command(client, text).startswith(b"250 ")
        said = command(client, "DATA")
        assert said.startswith(b"354 " if paths else b"4"), said
        if paths:
            assert command(client, "x\r\n.").startswith(b"250 ")
        client.close()
    assert len(list(elsewhere.glob("victim/new/*"))) == 1


@pytest.mark.skipif(not AS_ROOT, reason="only root can mount")
def test_a_folder_that_takes_the_place_of_maildir(make_door, connect):
    """A file system is mounted where the mail goes, or the folder is made anew: what is there counts, after a moment."""
    door = make_door(greet_pause=0, mail_processes=1)
    send_mail(door, connect)
    old = door.mail.rename(door.mail.with_suffix(".old"))
    door.mail.mkdir()
    door.mail.chmod(0o777)
    wait_until(lambda: connected(door, connect), "service")
    assert len(door.messages()) == 1
    assert len(list((old / "example.org" / "victim" / "new").iterdir())) == 1


def check(door, *more, env=None):
    door.write_config()
    return subprocess.run([door.binary, "check", "--sandbox", "-c", str(door.config), *more], env=env, capture_output=True, text=True, timeout=60, check=False)


def test_check_tries(full_door, scratch):
    door = full_door()
    done = check(door)
    lines = {line.split()[2].rstrip(":"): line for line in done.stdout.splitlines() if line.startswith("# sandbox ")}
    assert set(lines) == {"parent", *EXPECTED}
    for role in EXPECTED:
        assert "no capabilities; no_new_privs; seccomp: " in lines[role], lines[role]
    abi = landlock_abi(done)
    if abi >= 6:
        assert done.returncode == 0 and "tarry: sandbox" not in done.stderr, done.stderr
        assert "no files" in lines["front"] and f"writes {door.mail}" in lines["mail"] and "no files" in lines["tls"]
    off = check(door, "-o", "sandbox=off")
    assert off.returncode == 69
    for what in ("read /etc/passwd", "start programs", "connect to any TCP port"):
        for role in EXPECTED - {"lookup", "known", "bans"}:
            assert f"tarry: sandbox: {role}: it can {what}: sandbox = off" in off.stderr


@pytest.mark.parametrize("abi", [2, 3, 4, 5])
def test_kernels_of_before(binary, full_door, connect, abi):
    """What Landlock cannot forbid there the filters do: a door that asks no server by its name loses nothing. 2 is that of Debian 12."""
    old = {"LD_PRELOAD": str(binary.parent.parent / "tests" / "system" / "old_kernel.so"), "TARRY_LANDLOCK_ABI": str(abi)}
    door = full_door(environment=old)
    done = check(door, env=door.environment)
    newest = landlock_abi(check(door))
    assert landlock_abi(done) == min(abi, newest)
    faults = [line for line in done.stderr.splitlines() if line.startswith("tarry: sandbox: ")]
    assert [f for f in faults if "lookup: it can send signals" not in f] == [], faults  # to children of its own, and the filter cannot tell them apart
    assert done.returncode == (69 if faults else 0)
    keepers = [line for line in done.stdout.splitlines() if re.match("# sandbox +(known|bans|lookup):", line)]
    assert len(keepers) == 3 and all("connects to 0 addresses" in line for line in keepers), keepers
    send_mail(door, connect)
    wait_until(lambda: len(door.messages()) == 1, "the message")
    assert not [f for f in FORBIDDEN if f in door.text()]


@pytest.mark.skipif(not AS_ROOT, reason="only root can mount another /proc")
def test_check_where_proc_hides_others(full_door):
    """As in a service with ProtectProc=invisible: who has no privileges sees nobody that has made itself unreadable, and can still say what it is itself."""
    door = full_door()
    door.write_config()
    done = subprocess.run(["unshare", "--mount", "sh", "-c", 'mount -t proc -o hidepid=2,subset=pid none /proc && exec "$@"', "sh", door.binary, "check", "--sandbox", "-c", str(door.config)],
                          capture_output=True, text=True, timeout=60, check=False)
    lines = {line.split()[2].rstrip(":"): line for line in done.stdout.splitlines() if line.startswith("# sandbox ")}
    assert set(lines) == {"parent", *EXPECTED} and "cannot be tried" not in done.stderr, done
    for role in EXPECTED:
        assert "no capabilities; no_new_privs; seccomp: " in lines[role], lines[role]


def test_check_says_what_exec_means(make_door, scratch):
    door = make_door(start=False)
    door.verbatim = [Programs(scratch / "exec-check").section()]
    done = check(door)
    assert done.returncode == 0, done.stderr
    spawn = next(line for line in done.stdout.splitlines() if "spawn: " in line)
    assert "no seccomp" in spawn and "may start set-user-id programs" in spawn


def test_the_log_alone(full_door, connect):
    door = full_door(sandbox="log")
    wait_until(lambda: len(door.events("sandbox_logs")) == len(EXPECTED), "a word of each role")
    send_mail(door, connect)
    wait_until(lambda: len(door.messages()) == 1, "the message")


def test_folders_that_come_later(make_door, connect):
    """The file of those who are known, and that of a map: their folders are not there when the door starts, and come, or are made anew."""
    door = make_door(start=False, greet_pause=60_000, fronts=1, known_ttl="1h", lookup_processes=1, access_missing="ignore")
    known, maps = door.folder / "state", door.folder / "maps"
    door.options.update(known_db=str(known / "known"), access_db=[f"hash:{maps}/access"])
    door.start()
    wait_until(lambda: {"known", "lookup"} <= {name_of(p) for p in door.children()}, "the roles")
    for n, source in enumerate(("127.0.0.8", "127.0.0.9")):
        if n:
            maps.rename(maps.with_suffix(".old"))
            known.rename(known.with_suffix(".old"))
        for folder in (known, maps):
            folder.mkdir()
            folder.chmod(0o777)
        makemap(maps, f"GreetPause:{source}\t0\n")
        door.wait_for(lambda d: d.get("event") == "map_loaded", n + 1, patience=60)
        wait_until(lambda: (known / "known").exists(), "the file of those who are known")
        send_mail(door, connect, source)


# ---- what could be had, but not at this moment ----

@pytest.fixture
def faulty(make_door, binary, folder):
    """A door, and what says which calls fail in what makes the filters ("other": it is no role)."""
    faults = Faults(folder, binary)

    def make(**options):
        return make_door(environment=faults.environment, greet_pause=0, mail_processes=1, **options), faults
    yield make
    faults.disarm()


def died(door, role, status="75"):
    return [e for e in door.events("role_died") if e["role"] == role and e.get("status") == status]


def test_nobody_begins_without_walls(faulty, connect):
    """The parent tries again until there is memory, and no client is greeted meanwhile."""
    door, faults = faulty(start=False, fronts=1)
    faults.arm("filter", "memory", 1, errno.ENOMEM, on=True)
    door.spawn()
    wait_until(lambda: len(died(door, "front")) >= 2 and died(door, "mail"), "roles that could not be shut in")
    said = [e for e in door.events("sandbox_failed") if e["_role"] == "front/0"]
    assert said and "there is no seccomp filter: Cannot allocate memory" in said[0]["msg"], said
    door.addresses = [(at.rpartition(":")[0], int(at.rpartition(":")[2])) for at in (e["at"] for e in door.events("listening"))]
    client = connect(door)
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.recv(1)
    faults.disarm()
    client.settimeout(40)
    assert read_line(client).startswith(b"220 ")
    send_mail(door, connect)


def test_those_of_before_go_on_meanwhile(faulty, connect):
    """A change whose fronts cannot be shut in waits; nobody is without a front by it."""
    door, faults = faulty(fronts=2)
    before = set(pids(door, "front"))
    faults.arm("filter", "memory", 1, errno.ENOMEM, on=True)
    door.options.update(max_bad_commands=21)
    door.write_config()
    door.kill(signal.SIGHUP)
    wait_until(lambda: len(died(door, "front")) >= 4, "new fronts that could not be shut in")
    assert before <= set(pids(door, "front"))
    for n in range(2, 6):
        send_mail(door, connect, f"127.0.0.{n}")
    faults.disarm()
    wait_until(lambda: len(now := set(pids(door, "front"))) == 2 and not now & before, "the fronts are others", 40)
    send_mail(door, connect)


def test_wherever_memory_ends(faulty, connect):
    """The library dies of it, hangs or leaves something out: whatever it does, no front goes on."""
    door, faults = faulty(fronts=6)
    first, *fronts = pids(door, "front")

    def whole():
        now = pids(door, "front")
        try:
            return len(now) == 6 and all(status(p, "Seccomp") == ["2"] for p in now)
        except OSError:  # one has ended just now
            return False

    begun = faults.calls()["other", "memory"]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: first not in pids(door, "front") and whole(), "all fronts")
    total = faults.calls()["other", "memory"] - begun
    places = spread(total, len(fronts))
    for failed, (n, pid) in enumerate(zip(places, fronts)):
        faults.arm("filter", "memory", n, errno.ENOMEM)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: faults.get("hits") == 1 and len(door.events("sandbox_failed")) > failed, f"allocation {n} of {total} fails")
        faults.disarm()
        wait_until(whole, "all fronts")
        assert len(door.events("sandbox_failed")) == failed + 1
    assert len(died(door, "front")) == len(places)
    send_mail(door, connect)
