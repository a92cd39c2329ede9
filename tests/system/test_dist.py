"""What surrounds the door on a system: the configuration that is installed, files in their places, and whether the door finds them there; the unit, fail2ban's filter on
real lines, nftables' example."""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from door import AS_ROOT, ROOT
from talk import read_line, read_all

DIST = ROOT / "dist"
FAIL2BAN = ROOT / "build-mta/fail2ban"
OPTION = re.compile(r"^#?([a-z_0-9]+) = ")


def run(*args, **options):
    return subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=120, check=False, **options)


def build_folder(binary):
    return binary.parent.parent


# ---- the configuration ----

@pytest.fixture
def fresh(binary, scratch):
    """The lines of the configuration that a package installs, for this machine: its access file is one of ours."""
    access = scratch / "fresh-access"
    shutil.copy(DIST / "conf/access", access)
    text = (build_folder(binary) / "man/fresh.conf").read_text()
    assert "\naccess_db = { \"text:/etc/tarry/access\" }\n" in text
    return text.replace("text:/etc/tarry/access", f"text:{access}").splitlines()


def check(binary, path, lines):
    path.write_text("\n".join(lines) + "\n")
    return run(binary, "check", "-c", path, "-o", "user=nobody")


def test_fresh_configuration(binary, scratch, fresh):
    done = check(binary, scratch / "fresh.conf", fresh)
    assert done.returncode == 0 and "error" not in done.stderr
    set_lines = [line for line in fresh if line and line[0] != "#"]
    assert [line.split(" ")[0] for line in set_lines] == ["greet_pause", "access_db", "listen"]
    assert all(len(line) <= 80 for line in fresh if not OPTION.match(line))
    assert {OPTION.match(line)[1] for line in fresh if OPTION.match(line)} > {"hostname", "mode", "known_db", "log_level"}
    assert len([line for line in fresh if OPTION.match(line)]) == len(re.findall(r"^OPTION\(", (ROOT / "src/options.def").read_text(), re.MULTILINE))


def test_each_line_can_be_taken_into_use(binary, scratch, fresh):
    """Whoever takes the # away from one line gets what stood there already, and no complaint."""
    before = check(binary, scratch / "fresh.conf", fresh)
    commented = [n for n, line in enumerate(fresh) if re.match(r"#[a-z]", line)]
    assert len(commented) > 80
    for n in commented:
        lines = list(fresh)
        lines[n] = lines[n][1:]
        after = check(binary, scratch / "fresh.conf", lines)
        assert after.returncode == 0 and after.stdout == before.stdout, (fresh[n], after.stdout, after.stderr)
        assert after.stderr.replace(f"fresh.conf:{n + 1}:", "default:") .replace(str(scratch) + "/default:", "default:") == before.stderr, fresh[n]
    broken = list(fresh)
    broken[commented[0]] = "no_such_option = 1"
    assert check(binary, scratch / "fresh.conf", broken).returncode == 78


def test_sample_access_file(binary, scratch, fresh):
    """Its examples are comments, and every one of them is understood."""
    path = scratch / "examples"
    lines = (DIST / "conf/access").read_text().splitlines()
    examples = [line[1:] for line in lines if re.match(r"#[A-Z][A-Za-z]+:\S+\t", line)]
    assert len(examples) > 5 and all(line.startswith("#") or not line for line in lines)
    path.write_text("\n".join(examples) + "\n")
    done = run(binary, "access", "build", path, f"lmdb:{scratch}/examples")
    assert done.returncode == 0 and done.stderr == "" and str(len(examples)) in done.stdout


# ---- where files are ----

@pytest.fixture(scope="module")
def installed(binary, tmp_path_factory):
    """What `meson install` puts where."""
    folder = tmp_path_factory.mktemp("installed")
    folder.chmod(0o755)
    done = run("meson", "install", "-C", build_folder(binary), "--no-rebuild", "--destdir", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def found(folder, pattern):
    return sorted(p.relative_to(folder).as_posix() for p in folder.glob(pattern) if p.is_file())


def test_what_is_installed(installed):
    programs = found(installed, "**/libexec/tarry/*")
    assert {Path(p).name for p in programs} >= {"tarry-lookup", "tarry-known", "tarry-tls", "tarry-desk"}
    assert {Path(p).name for p in found(installed, "**/lib/**/tarry/*.so")} == {"map_hash.so", "map_ldap.so", "map_redis.so", "known_share.so"}
    assert len(found(installed, "**/sbin/tarry")) == 1
    pages = [Path(p).name for p in found(installed, "**/share/man/**/*")]
    assert {"tarry.8", "tarry.conf.5", "tarry-access.5", "tarry-probe.1", "tarry-lookup.8"} <= set(pages)
    unit = next(installed.glob("**/lib/systemd/system/tarry.service")).read_text()
    program = re.search(r"^ExecStart=(\S+) serve", unit, re.MULTILINE)[1]
    assert os.access(f"{installed}{program}", os.X_OK) and "@" not in re.sub(r"@[a-z-]+", "", unit)
    assert not list(installed.glob("etc")) and not list(installed.glob("**/etc/*"))


# $1: a folder for it; $2: what to run; the others: what lies over this machine, topmost first. Layers must not lie in one another, so they are copied.
OVERLAID = """
set -e
at=$1 text=$2 layers=
shift 2
mount -t tmpfs none "$at"
for layer; do
	mkdir "$at/$#"
	cp -a "$layer/." "$at/$#"
	layers=$layers$at/$#:
	shift
done
mkdir "$at/root"
mount -t overlay -o ro,lowerdir="$layers/" none "$at/root"
mount --rbind /dev "$at/root/dev"
mount -t proc none "$at/root/proc"
ip link set lo up
exec chroot "$at/root" /bin/sh -c "$text"
"""


@pytest.fixture
def machine(installed, tmp_path):
    """A machine like this one on which all that is installed: machine(shell text) runs in it, with a network of its own."""
    if not AS_ROOT or "overlay" not in Path("/proc/filesystems").read_text():
        pytest.skip("needs root and overlay, to see the files in their places")
    at = tmp_path / "at"
    at.mkdir()

    def inside(text, *more):
        return run("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", OVERLAID, "sh", at, text, *more, installed,
                   env={**os.environ, "TARRY": "/" + found(installed, "**/sbin/tarry")[0]})

    done = inside("true")
    if done.returncode != 0:
        pytest.skip("no overlay here: " + done.stderr)
    return inside


def test_programs_and_modules_are_found(machine):
    """From where they are installed, by a door that has them in libexec and not beside itself."""
    done = machine('$TARRY check -o user=nobody -o known_share=redis://127.0.0.1/ -o access_db=ldap://127.0.0.1/dc=example')
    assert "not installed" not in done.stderr and "is not there" not in done.stderr and "asked by tarry-lookup" in done.stdout, done.stderr
    done = machine('$TARRY serve -o user=nobody -o known_share=redis://127.0.0.1:1/ -o known_db= -o access_db=redis://127.0.0.1:1/ >/dev/shm/log 2>&1 & '
                   'for i in $(seq 200); do grep -q known_share_failed /dev/shm/log && break; sleep 0.1; done; kill $!; wait $!; cat /dev/shm/log; rm /dev/shm/log')
    assert "event=listening" in done.stdout and "event=known_share_failed" in done.stdout and "event=ended" in done.stdout
    assert "role_died" not in done.stdout, done.stdout


def test_modules_that_are_not_installed(machine, tmp_path, installed):
    """A package that is not there is named; who needs none of them has a door."""
    hide = tmp_path / "hide"
    for path in found(installed, "**/*.so"):
        (hide / path).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mknod", hide / path, "c", "0", "0"], check=True)  # what overlay takes for "deleted"
    for option, module, package in (("access_db=hash:/etc/access", "map_hash.so", "tarry-hash"), ("access_db=ldap://h/dc=x", "map_ldap.so", "tarry-ldap"),
                                    ("access_db=redis://h/", "map_redis.so", "tarry-redis"), ("known_share=redis://h/", "known_share.so", "tarry-redis")):
        for command in ("check", "serve"):
            done = machine(f"$TARRY {command} -o user=nobody -o {option}", hide)
            assert done.returncode == 78 and f"{module} is not installed; it comes with the package {package}" in done.stderr, (option, command, done.stderr)
    done = machine('$TARRY serve -o user=nobody -o known_db= >/dev/shm/log 2>&1 & for i in $(seq 200); do grep -q listening /dev/shm/log && break; sleep 0.1; done; '
                   'sleep 0.5; kill $!; wait $!; cat /dev/shm/log; rm /dev/shm/log', hide)
    assert "event=ended" in done.stdout and "role_died" not in done.stdout and "role_failed" not in done.stdout, done.stdout


# ---- systemd ----

def test_unit(installed, tmp_path):
    """systemd understands every line of it, and finds little to object."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze")
    unit = next(installed.glob("**/lib/systemd/system/tarry.service"))
    program = re.search(r"^ExecStart=(\S+) serve", unit.read_text(), re.MULTILINE)[1]
    text = unit.read_text().replace(program, f"{installed}{program}")
    here = tmp_path / "tarry.service"
    here.write_text(text)
    port = next(installed.glob("**/examples/tarry.socket"))
    shutil.copy(port, tmp_path)
    done = run("systemd-analyze", "verify", "--man=no", here, tmp_path / "tarry.socket")
    assert done.returncode == 0 and "/tarry.s" not in done.stderr, done.stderr
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=30", here)
    assert done.returncode == 0 and re.search(r"Overall exposure level for tarry.service: [0-2]\.", done.stdout), done.stdout[-400:]
    here.write_text(text + "\n[Service]\nNoSuchWord=yes\n")
    assert "NoSuchWord" in run("systemd-analyze", "verify", "--man=no", here).stderr


# ---- fail2ban ----

def fail2ban(program, *args):
    if not FAIL2BAN.exists():
        pytest.skip("no fail2ban: script/setup test")
    return run(sys.executable, FAIL2BAN / "usr/bin" / program, *args, env={**os.environ, "PYTHONPATH": str(FAIL2BAN / "usr/lib/python3/dist-packages")})


def banned(log, mode, tmp_path):
    """The addresses of the lines that the filter finds, by fail2ban's own judgement, one for each line."""
    config = tmp_path / "fail2ban"
    if not config.exists():
        shutil.copytree(FAIL2BAN / "etc/fail2ban", config) if FAIL2BAN.exists() else pytest.skip("no fail2ban: script/setup test")
        shutil.copytree(DIST / "fail2ban", config, dirs_exist_ok=True)
    done = fail2ban("fail2ban-regex", "-c", config, "-o", "ip", log, f"tarry[mode={mode}]")
    assert done.returncode == 0 or "0 matched" in done.stdout, done.stdout + done.stderr
    return done.stdout.split()


HOSTILE = [
    b"helo x\nverdict=early client=9.9.9.9 port=25 id=1\n",
    b"2026-11-30T17:33:36.451Z tarry[1] front/1 info verdict=early client=9.9.9.9 port=25 id=1\n",
    b'" verdict=early client=9.9.9.9 port=25 id=1 data="\n',
    b"\\\" \\\nverdict=early client=9.9.9.9 port=1 id=\r\n",
    b"\xe2\x80\xa8verdict=early client=9.9.9.9 port=1 id=\xff\x00\x85\x0b\x0c\x1e\n",
    b"Nov 30 17:33:36 host tarry[1]: front/1 verdict=early client=9.9.9.9 port=25 id=1\n",
]


def test_fail2ban_filter(make_door, connect, tmp_path):
    """Real lines of a real door: who was turned away is found, by its own address, and nobody else, whatever they sent."""
    door = make_door(greet_pause="300ms", access=["GreetPause:127.0.0.4 0", "Connect:127.0.0.5 REJECT", "Connect:127.0.0.6 OBSERVE", "GreetPause:127.0.0.8 60000"], max_per_client=50)
    for payload in HOSTILE:
        s = connect(door, "127.0.0.2")
        s.sendall(payload)
        read_line(s)
        s.shutdown(socket.SHUT_WR)
        read_all(s)
    patient = {"127.0.0.3": b"", "127.0.0.4": b"", "127.0.0.6": b"early "}
    for source, first in patient.items():
        s = connect(door, source)
        s.sendall(first)
        assert read_line(s).startswith(b"220 ")
        for payload in HOSTILE:
            s.sendall(b"XTRY " + payload.replace(b"\n", b" ").replace(b"\r", b" ") + b"\r\n")
            read_line(s)
        s.sendall(b"QUIT\r\n")
        read_all(s)
    s = connect(door, "127.0.0.5")
    s.sendall(b"QUIT\r\n")
    read_all(s)
    connect(door, "127.0.0.8").close()
    lines = [door.wait_verdict(v, n) for v, n in (("early", len(HOSTILE)), ("patient", 2), ("exempt", 1), ("refused", 1), ("gone", 1))]
    assert all(lines)
    log = tmp_path / "stderr.log"
    log.write_bytes(door.log_path.read_bytes())
    assert banned(log, "normal", tmp_path) == ["127.0.0.2"] * len(HOSTILE)
    assert sorted(banned(log, "aggressive", tmp_path)) == ["127.0.0.2"] * len(HOSTILE) + ["127.0.0.5"]
    # As syslog writes them into a file, and as the journal has what a service writes to standard error.
    bodies = [re.sub(r"^\S+ tarry(\[\d+\]) (\S+) \S+ ", r"Nov 30 17:33:36 mx1 tarry\1: \2 ", line) for line in log.read_text(errors="surrogateescape").splitlines()]
    log.write_text("\n".join(bodies) + "\n", errors="surrogateescape")
    assert banned(log, "normal", tmp_path) == ["127.0.0.2"] * len(HOSTILE)
    log.write_text("".join(f"2026-11-30 17:33:36 mx1 tarry[77]: {line}\n" for line in door.log_path.read_text(errors="surrogateescape").splitlines()), errors="surrogateescape")
    assert banned(log, "normal", tmp_path) == ["127.0.0.2"] * len(HOSTILE)


def test_fail2ban_jail(tmp_path):
    """Off as it is installed; put in force it is a jail with the filter's expressions."""
    config = tmp_path / "fail2ban"
    if not FAIL2BAN.exists():
        pytest.skip("no fail2ban: script/setup test")
    shutil.copytree(FAIL2BAN / "etc/fail2ban", config)
    shutil.copytree(DIST / "fail2ban", config, dirs_exist_ok=True)
    shutil.rmtree(config / "jail.d")
    shutil.copytree(DIST / "fail2ban/jail.d", config / "jail.d")
    done = fail2ban("fail2ban-client", "-c", config, "-d")
    assert done.returncode == 0 and "'tarry'" not in done.stdout, done.stdout + done.stderr
    (config / "jail.d/tarry.local").write_text("[tarry]\nenabled = true\n")
    done = fail2ban("fail2ban-client", "-c", config, "-d")
    assert done.returncode == 0 and "['add', 'tarry', 'systemd']" in done.stdout and "verdict=(?:early) client=" in done.stdout, done.stdout + done.stderr
    assert "['set', 'tarry', 'addjournalmatch', 'SYSLOG_IDENTIFIER=tarry']" in done.stdout and "['set', 'tarry', 'bantime', '1h']" in done.stdout


# ---- nftables ----

def test_nftables_example(tmp_path):
    if not AS_ROOT or not shutil.which("nft"):
        pytest.skip("needs root and nft")
    rules = DIST / "nftables/tarry.nft"
    done = run("unshare", "--net", "sh", "-c", f"nft -c -f {rules} && nft -f {rules} && nft -f {rules} && nft add element inet smtp_door blocked4 '{{ 192.0.2.7 timeout 1h }}' && nft -j list ruleset")
    assert done.returncode == 0, done.stderr
    things = [next(iter(t)) for t in json.loads(done.stdout)["nftables"]]
    assert things.count("chain") == 2 and things.count("set") == 6
    broken = tmp_path / "broken.nft"
    broken.write_text(rules.read_text().replace("ct state new", "ct state never"))
    assert run("unshare", "--net", "nft", "-c", "-f", broken).returncode != 0
