"""The packages on a Debian of their own, where systemd runs: installed, serving, changed, upgraded, removed. Run by script/test-package."""
import json
import os
import re
import select
import subprocess
import time
from pathlib import Path

import pytest

from machine import Machine

ROOT = Path(__file__).resolve().parent.parent.parent
BASE = Path(os.environ["TARRY_BASE"])  # script/test-package
PACKAGES = sorted(p for p in Path(os.environ["TARRY_PACKAGES"]).glob("*.deb") if "dbgsym" not in p.name)
PORT = 2525
PROMPT = 10 if os.getloadavg()[0] < 2 * os.cpu_count() else 60  # seconds from the install to a greeting; on a machine that has other things to do it takes longer
OTHERS = "fail2ban python3-systemd nftables rsyslog logrotate"  # of Debian's, with which the door is to get on
SESSION = b"HELO a\r\nMAIL FROM:<s@example.net>\r\nRCPT TO:<someone@mx.example.org>\r\nDATA\r\nSubject: hi\r\n\r\nhi\r\n.\r\nQUIT\r\n"


@pytest.fixture(scope="module", autouse=True)
def fetched():
    """What the packages need is in the base's cache: how long a mirror takes is not ours. Nothing of it is installed there."""
    names = " ".join(f"/root/{p.name}" for p in PACKAGES)
    script = f"""set -e; cp {' '.join(map(str, PACKAGES))} {BASE}/root/; cp /etc/resolv.conf {BASE}/etc/; mount -t proc none {BASE}/proc; mount --rbind /dev {BASE}/dev
        chroot {BASE} sh -c 'apt-get -qq update; apt-get -qq -y --download-only install {names}; apt-get -qq -y --no-install-recommends --download-only install {OTHERS}'"""
    done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "sh", "-c", script], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for p in PACKAGES:
        (BASE / "root" / p.name).unlink()


@pytest.fixture(scope="module")
def machine():
    one = Machine(BASE, PACKAGES)
    try:
        one.wait(lambda: one.run("systemctl is-system-running", check=False).stdout.strip() in ("running", "degraded"), "systemd has booted")
        yield one
    finally:
        one.stop()


def apt(*names, action="install", options=""):
    return f"apt-get -qq -y -o Dpkg::Use-Pty=0 {options} {action} " + " ".join(f"./{p.name}" if action == "install" else p for p in names)


def package(name):
    return next(p for p in PACKAGES if p.name.startswith(name + "_"))


def read_line(s):
    line = b""
    while not line.endswith(b"\n") and (c := s.recv(1)):
        line += c
    return line


def read_all(s):
    out = b""
    while data := s.recv(4096):
        out += data
    return out


def door_ready(machine):
    """Somebody listens. What connects is a client and is held, so nobody asks for more than that."""
    return machine.run(f"ss -Hltn sport = :{PORT}" if machine.path("/usr/bin/ss").exists() else
                       "grep -q ' [0-9A-F]*:%04X 0*:0000 0A ' /proc/net/tcp && echo yes" % PORT, check=False).stdout.strip() != ""


def journal(machine, *patterns):
    text = machine.run("journalctl -q --no-pager -o cat -u tarry").stdout
    return all(p in text for p in patterns) and text


def greeted(machine, source="127.0.0.1"):
    begun = time.monotonic()  # before it: the pause may begin before we hear of the connection
    s = machine.connect(PORT, source)
    line = read_line(s)
    return s, line, time.monotonic() - begun


def slam(machine, source):
    s = machine.connect(PORT, source)
    s.sendall(SESSION)
    assert read_all(s).startswith(b"554 ")
    s.close()


def pid_of(machine):
    return machine.run("systemctl show -p MainPID --value tarry").stdout.strip()


def test_from_install_to_a_greeting(machine):
    begun = time.monotonic()
    machine.run("cd /root && " + apt(package("tarry")))
    installed = time.monotonic() - begun
    machine.wait(lambda: door_ready(machine), "the door listens")
    connected = time.monotonic()
    clients = [machine.connect(PORT, f"127.0.0.{n}") for n in (1, 2, 3)]  # one of a hundred waits longer (explore)
    s = select.select(clients, [], [], 60)[0][0]
    line, held = read_line(s), time.monotonic() - connected
    whole = time.monotonic() - begun
    print(f"\napt-get install: {installed:.2f} s; held {held:.2f} s; from the one to the greeting {whole:.2f} s")
    assert line.startswith(b"220 mx.example.org ESMTP ") and held >= 1
    assert whole < PROMPT
    for s in clients:
        s.close()


def test_it_serves(machine):
    s = machine.connect(PORT, "127.0.0.2")
    s.sendall(SESSION)
    refused = read_all(s)
    assert refused.startswith(b"554 mx.example.org ESMTP not accepting messages\r\n") and b"\r\n250 2." not in refused
    s, line, _ = greeted(machine, "127.0.0.9")  # it will be known
    for command in SESSION.split(b"\r\n")[:4]:
        s.sendall(command + b"\r\n")
        line = read_line(s)
    assert line.startswith(b"354 ")
    s.sendall(b"Subject: hi\r\n\r\nhi\r\n.\r\nQUIT\r\n")
    assert read_line(s).startswith(b"250 2.0.0 ")
    mail = machine.run("ls /var/mail/tarry/mx.example.org/someone/new/*").stdout.split()
    assert len(mail) == 1 and machine.run(f"stat -c '%U %a' {mail[0]}").stdout.split()[0] == "tarry"
    machine.wait(lambda: journal(machine, "verdict=early", "verdict=patient"), "both are in the journal")
    assert not re.search("role_died|_failed|level=error| error ", journal(machine, "verdict=early"))


def test_who_runs(machine):
    """The parent is root without most of what root may; all others are tarry with nothing."""
    main = machine.run("systemctl show -p MainPID --value tarry").stdout.strip()
    rows = [line.split() for line in machine.run("for p in /proc/[0-9]*; do grep -q tarry.service $p/cgroup && sed -n 's/^Uid:.//p; s/^CapEff:.//p; s/^CapBnd:.//p; s/^NoNewPrivs:.//p; s/^Seccomp:.//p; s/^Pid:.//p' $p/status "
                                                 "| tr '\\n' ' ' && echo; done", check=False).stdout.splitlines()]
    uid = machine.run("id -u tarry").stdout.strip()
    assert len(rows) > 4
    for pid, real, *_, effective, bounding, no_new, seccomp in rows:
        assert (real == "0") == (pid == main) and real in ("0", uid)
        assert no_new == "1" and seccomp == "2"
        assert effective == "0" * 16 if pid != main else int(effective, 16) & ~0x1e6 == int("400", 16) & int(effective, 16)
        assert int(bounding, 16) < 1 << 11
    assert machine.run("stat -c '%U:%G %a' /var/lib/tarry /var/mail/tarry /etc/tarry/tarry.conf").stdout.split("\n")[:3] == ["tarry:tarry 700", "tarry:mail 770", "root:root 644"]
    machine.wait(lambda: machine.path("/var/lib/tarry/known").exists(), "who is known is on disk")


def test_reload_and_status(machine):
    machine.run("echo 'GreetPause:127.0.0.1 0' >>/etc/tarry/access && systemctl reload tarry")
    _, line, held = greeted(machine)
    assert line.startswith(b"220 ") and held < 0.9
    machine.run("sed -i '$d' /etc/tarry/access && systemctl reload tarry")
    assert greeted(machine)[2] >= 1
    machine.run("tarry status && tarry check && tarry access why 127.0.0.1")
    assert "active" in machine.run("systemctl is-enabled tarry && systemctl is-active tarry").stdout


def test_desk_comes_with_its_package(machine):
    """The door that runs finds it, and goes on in the same process."""
    assert journal(machine, "event=no_desk") and machine.run("systemctl is-active tarry").stdout == "active\n"
    main = pid_of(machine)
    machine.run("cd /root && " + apt(package("tarry-desk")))
    text = machine.get(8025, "/metrics")
    assert "\ntarry_connections_total " in text and pid_of(machine) == main
    assert "libmicrohttpd" not in machine.run(f"cat /proc/{main}/maps").stdout


def test_maps_come_with_their_packages(machine):
    for name, url in (("hash", "hash:/etc/tarry/access"), ("ldap", "ldap://127.0.0.1/dc=example"), ("redis", "redis://127.0.0.1/")):
        command = f"tarry check -o access_db={url}"
        assert f"it comes with the package tarry-{name}" in machine.run(command, check=False).stderr
        machine.run("cd /root && " + apt(package(f"tarry-{name}")))
        said = machine.run(command, check=False)
        assert "comes with" not in said.stderr and ("access_db" in said.stderr or "asked by tarry-lookup" in said.stdout), said
    mapped = machine.run("for p in $(cat /sys/fs/cgroup/system.slice/tarry.service/cgroup.procs); do cat /proc/$p/maps; done").stdout
    assert "libconfuse" in mapped and not re.search(r"libldap|libhiredis|libdb-|/tarry/[a-z_]+\.so", mapped)  # nobody has named such a map


def test_what_a_newcomer_meets(machine):
    """The configuration as it comes has nothing wrong with it; root is answered, anybody else is told why not; errors can be told from the rest in the journal."""
    said = machine.run("tarry check --strict")
    assert said.stderr == "" and "/etc/tarry/tarry.conf" in said.stdout
    machine.run("useradd joe && tarry known add 192.0.2.200")
    assert machine.run("tarry known list 192.0.2.200").stdout.startswith("192.0.2.200\t")
    machine.run("tarry known drop 192.0.2.200")
    nobody = machine.run("tarry ban list", check=False)
    assert (nobody.returncode, nobody.stderr) == (69, "tarry: ban: nobody is banned with this configuration: ban_after = 0; ban_after = 10 and tarry reload change that\n")
    for words in ("status", "known list", "reload", "drain", "upgrade", "advise"):
        done = machine.run(f"runuser -u joe -- tarry {words}", check=False)
        assert (done.returncode, done.stderr) == (77, f"tarry: {words.split()[0]}: the door is root's, and answers nobody else but root\n"), done
    screen = "script -qec 'stty cols 100 rows 30; {}' /dev/null"
    seen = machine.run("(sleep 3; printf q) | env TERM=xterm " + screen.format("tarry top")).stdout
    assert "Networks turned away" in seen and "mail:" in seen
    assert "the door is root's" in machine.run("env TERM=xterm " + screen.format("runuser -u joe -- tarry top"), check=False).stdout
    lines = machine.run("journalctl -q --no-pager -o json -u tarry | grep '\"MESSAGE\":\"[a-z/0-9]* [a-z]* \\(event\\|verdict\\)='").stdout.splitlines()
    assert len(lines) > 5
    priorities = {"error": "3", "warning": "4", "notice": "5", "info": "6"}
    for line in map(json.loads, lines):
        assert line["PRIORITY"] == priorities[line["MESSAGE"].split(" ")[1]] and line["SYSLOG_IDENTIFIER"] == "tarry" and line["SYSLOG_FACILITY"] == "2", line
    assert machine.get(8025, "/").startswith("HTTP/1.1 200 ") and '"version": ' in machine.get(8025, "/status.json")


def check_unit(machine):
    """What `tarry check --sandbox` says in the unit's place, as doc/installing.md has it."""
    recipe = re.search(r"^```\n(systemctl cat tarry .*?)\n```$", (ROOT / "doc/installing.md").read_text(), re.MULTILINE | re.DOTALL)[1]
    before = machine.run("journalctl -q --no-pager -o cat -u tarry-check").stdout
    said = machine.run(recipe, check=False).stdout[len(before):]
    failed = machine.run("systemctl is-failed tarry-check", check=False).returncode == 0
    machine.run("systemctl reset-failed tarry-check", check=False)
    machine.run("rm /run/systemd/system/tarry-check.service; systemctl daemon-reload")
    return failed, said


def roles_of(said):
    return {line.split()[2].rstrip(":"): line for line in said.splitlines() if line.startswith("# sandbox ")}


def test_walls_of_the_unit_and_of_the_program(machine):
    """Both at once: neither takes from the other what it needs, and each role still cannot do what it must not."""
    failed, said = check_unit(machine)
    roles = roles_of(said)
    assert not failed and set(roles) == {"parent", "front", "mail", "desk", "known"}, said
    assert "capabilities 5e4; no_new_privs; seccomp as it was started with" in roles.pop("parent")
    for line in roles.values():
        assert "no capabilities; no_new_privs; seccomp: " in line and "Landlock ABI " in line, line
    analysed = machine.run("systemctl show -p NoNewPrivileges,ProtectSystem,MemoryDenyWriteExecute,RestrictNamespaces tarry").stdout
    assert {"NoNewPrivileges=yes", "ProtectSystem=strict", "MemoryDenyWriteExecute=yes", "RestrictNamespaces=yes"} <= set(analysed.split())


SETS = """table inet tarry {
	set banned4 { type ipv4_addr; flags timeout, interval; }
	set banned6 { type ipv6_addr; flags timeout, interval; }
	chain input {
		type filter hook input priority -10; policy accept;
		tcp dport 2525 ct state new ip saddr @banned4 counter drop
	}
}"""


def test_bans_in_the_kernel(machine):
    """As tarry-ban(8) has it: without the drop-in the log says what is missing, with it the kernel drops, and one process alone has the capability."""
    machine.run("apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 install nftables")
    machine.path("/root/sets.nft").write_text(SETS)
    machine.run("nft -f /root/sets.nft && cp /etc/tarry/tarry.conf /root/ && printf 'ban_after = 2\nban_kernel = \"nftables inet tarry banned\"\n' >>/etc/tarry/tarry.conf && systemctl reload tarry")
    machine.wait(lambda: journal(machine, "event=ban_kernel_failed", "systemctl edit tarry: [Service], CapabilityBoundingSet=CAP_NET_ADMIN"), "the journal says what is missing")
    assert machine.run("tarry ban add 127.0.0.41", check=False).returncode == 65  # never the loopback
    machine.run("tarry ban add 192.0.2.41 1h by the test")
    assert machine.run("runuser -u nobody -- tarry ban list", check=False).returncode == 77
    machine.run("mkdir -p /run/systemd/system/tarry.service.d && printf '[Service]\nCapabilityBoundingSet=CAP_NET_ADMIN\n' >/run/systemd/system/tarry.service.d/ban.conf && systemctl daemon-reload && systemctl restart tarry")
    machine.wait(lambda: "192.0.2.41 " in machine.run("nft list set inet tarry banned4").stdout, "the kernel knows who was banned before")
    having = machine.run("for p in $(cat /sys/fs/cgroup/system.slice/tarry.service/cgroup.procs); do echo $(cat /proc/$p/comm) $(sed -n 's/^Cap\\(Eff\\|Bnd\\):.//p' /proc/$p/status); done").stdout
    assert {line.split()[0] for line in having.splitlines() if any(int(c, 16) & 1 << 12 for c in line.split()[1:])} == {"tarry", "tarry-ban"}, having
    failed, said = check_unit(machine)  # with the drop-in
    assert not failed and {"bans", "ban"} <= set(roles_of(said)), said
    machine.run("tarry ban drop 192.0.2.41")
    machine.wait(lambda: "192.0.2.41" not in machine.run("nft list set inet tarry banned4").stdout, "the kernel has let it go")
    assert machine.run("tarry ban list").stdout == "" and greeted(machine, "127.0.0.41")[1].startswith(b"220 ")
    machine.run("rm -r /run/systemd/system/tarry.service.d; systemctl daemon-reload; cp /root/tarry.conf /etc/tarry/tarry.conf; systemctl restart tarry; nft delete table inet tarry")
    assert machine.path("/var/lib/tarry/bans").exists()  # to be purged


def test_what_stops_it_is_said(machine):
    """A configuration that is wrong, a port that is taken: the service says why, and packages can be installed all the same."""
    machine.run("cp /etc/tarry/tarry.conf /root/ && echo 'greet_pawse = 1s' >>/etc/tarry/tarry.conf")
    assert machine.run("systemctl restart tarry", check=False).returncode != 0 or machine.run("sleep 1; systemctl is-active tarry", check=False).stdout.strip() != "active"
    machine.wait(lambda: journal(machine, "no such option 'greet_pawse'"), "the journal says what is wrong")
    machine.wait(lambda: machine.run("systemctl is-active tarry", check=False).stdout.strip() == "failed", "it is not tried again")
    machine.run("cp /root/tarry.conf /etc/tarry/tarry.conf")
    taken = subprocess.Popen(["nsenter", "-t", str(machine.pid), "-n", "python3", "-c", f"import socket,time\ns=socket.create_server(('127.0.0.1', {PORT}))\nprint(flush=True)\ntime.sleep(600)"], stdout=subprocess.PIPE)
    taken.stdout.readline()
    machine.run("cd /root && " + apt(package("tarry"), options="--reinstall"))
    machine.wait(lambda: journal(machine, f'listen "127.0.0.1:{PORT}": Address already in use; another server has this port'), "the journal says who is in the way")
    taken.kill()
    taken.wait()
    machine.run("systemctl reset-failed tarry; systemctl start tarry")
    machine.wait(lambda: door_ready(machine), "the door listens")
    assert greeted(machine)[1].startswith(b"220 ")


KEPT = "--reinstall -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"


def test_upgrade_loses_nobody(machine):
    """Installed over what somebody has changed, while a client is held: that one is greeted when its pause is over, by the new version; the process stays, and the configuration."""
    machine.run("sed -i 's/^greet_pause = 1s/greet_pause = 20s/' /etc/tarry/tarry.conf && systemctl reload tarry")
    main = pid_of(machine)
    begun = time.monotonic()
    s = machine.connect(PORT, "127.0.0.3")
    said = machine.run("cd /root && " + apt(package("tarry"), options=KEPT))
    assert machine.run("systemctl is-active tarry").stdout == "active\n" and pid_of(machine) == main, said
    assert re.search("event=upgrade .*/usr/sbin/tarry takes over; ", journal(machine, "event=upgrade"))
    assert machine.run(f"readlink /proc/{main}/exe").stdout == "/usr/sbin/tarry\n"  # and not the one that was there before, "(deleted)"
    took = time.monotonic() - begun
    assert read_line(s).startswith(b"220 ") and 20 <= time.monotonic() - begun < 22, took
    s.close()
    assert machine.run("grep ^greet_pause /etc/tarry/tarry.conf").stdout == "greet_pause = 20s\n"


def test_upgrade_with_a_configuration_that_is_wrong(machine):
    """It says so, and the version that runs goes on."""
    main = pid_of(machine)
    machine.run("cp /etc/tarry/tarry.conf /root/ && echo 'greet_pawse = 1s' >>/etc/tarry/tarry.conf")
    said = machine.run("cd /root && " + apt(package("tarry"), options=KEPT))
    assert "no such option 'greet_pawse'" in said.stdout + said.stderr and "the version that ran before goes on" in said.stderr
    assert pid_of(machine) == main and door_ready(machine)
    machine.run("sed 's/^greet_pause = 20s/greet_pause = 1s/' /root/tarry.conf >/etc/tarry/tarry.conf && tarry upgrade")
    assert pid_of(machine) == main and 1 <= greeted(machine, "127.0.0.4")[2] < 19


def test_watchdog(machine):
    """systemd hears of it that it lives; a parent that does not is ended and started again."""
    assert machine.run("systemctl show -p Type,WatchdogUSec,NotifyAccess tarry").stdout.split() == ["Type=notify", "NotifyAccess=main", "WatchdogUSec=1min"]
    machine.run("mkdir -p /run/systemd/system/tarry.service.d && printf '[Service]\nWatchdogSec=2\n' >/run/systemd/system/tarry.service.d/soon.conf && systemctl daemon-reload && systemctl restart tarry")
    main = pid_of(machine)
    time.sleep(5)  # longer than that: it has said so several times
    assert pid_of(machine) == main
    machine.run(f"kill -STOP {main}")
    machine.wait(lambda: pid_of(machine) not in (main, "0"), "another one runs")
    machine.run("rm -r /run/systemd/system/tarry.service.d; systemctl daemon-reload; systemctl restart tarry")
    assert greeted(machine, "127.0.0.5")[1].startswith(b"220 ")


def test_socket_activation(machine):
    """The example: systemd has the port; it fits the example of a service without root, too."""
    machine.run("""sed 's/^ListenStream=.*/ListenStream=127.0.0.1:2525/; s/^BindIPv6Only.*//' /usr/share/doc/tarry/examples/tarry.socket >/run/systemd/system/tarry.socket
        mkdir -p /run/systemd/system/tarry.service.d
        printf '[Service]\nUser=tarry\nCapabilityBoundingSet=\n' >/run/systemd/system/tarry.service.d/plain.conf
        systemctl daemon-reload; systemctl stop tarry; systemctl start tarry.socket""")
    s, line, held = greeted(machine, "127.0.0.6")
    assert line.startswith(b"220 ") and held >= 1
    s.close()
    assert set(machine.run("cat $(for p in $(cat /sys/fs/cgroup/system.slice/tarry.service/cgroup.procs); do echo /proc/$p/status; done) | grep ^Uid: | sort -u").stdout.split()[1:]) == {machine.run("id -u tarry").stdout.strip()}
    machine.run("systemctl stop tarry.socket tarry; rm -r /run/systemd/system/tarry.socket /run/systemd/system/tarry.service.d; systemctl daemon-reload; systemctl start tarry")
    assert greeted(machine, "127.0.0.7")[1].startswith(b"220 ")


def test_rsyslog_and_logrotate(machine):
    """The example, put where it belongs: the lines are in a file of their own, which is rotated."""
    machine.run("apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 install rsyslog logrotate && cp /usr/share/doc/tarry/examples/rsyslog.d/tarry.conf /etc/rsyslog.d/ && rsyslogd -N1 && systemctl restart rsyslog")
    slam(machine, "127.0.0.21")
    log = machine.path("/var/log/tarry.log")
    machine.wait(lambda: log.exists() and "verdict=early client=127.0.0.21 " in log.read_text(), "the line is in the file")
    assert "verdict=" not in machine.run("cat /var/log/mail.log /var/log/syslog", check=False).stdout
    machine.run("logrotate -f /etc/logrotate.d/tarry")
    assert "client=127.0.0.21 " in machine.path("/var/log/tarry.log.1").read_text()
    slam(machine, "127.0.0.22")
    machine.wait(lambda: log.exists() and "verdict=early client=127.0.0.22 " in log.read_text(), "the line is in the new file")
    assert machine.run("tarry report /var/log/tarry.log /var/log/tarry.log.1").stdout.startswith("2 connections of 2 clients, ")
    machine.run("rm /etc/rsyslog.d/tarry.conf; systemctl stop rsyslog")


def test_fail2ban(machine):
    """Put in force as its comment says: who talks too early is shut out by the kernel, and nobody else."""
    machine.run("""apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 install fail2ban python3-systemd nftables
        printf '[DEFAULT]\nbanaction = nftables-multiport\nignoreself = false\nignoreip =\n[sshd]\nenabled = false\n[tarry]\nenabled = true\nport = 2525\n' >/etc/fail2ban/jail.d/tarry.local
        systemctl restart fail2ban""")
    machine.wait(lambda: "tarry" in machine.run("fail2ban-client status", check=False).stdout, "the jail is there")
    for _ in range(5):
        slam(machine, "127.0.0.31")
    assert greeted(machine, "127.0.0.32")[1].startswith(b"220 ")
    machine.wait(lambda: "127.0.0.31" in machine.run("fail2ban-client status tarry").stdout, "it is banned")
    assert "127.0.0.31" in machine.run("nft list ruleset").stdout and "127.0.0.32" not in machine.run("nft list ruleset").stdout
    with pytest.raises(OSError):
        machine.connect(PORT, "127.0.0.31")
    assert greeted(machine, "127.0.0.32")[1].startswith(b"220 ")
    machine.run("systemctl stop fail2ban; rm /etc/fail2ban/jail.d/tarry.local")


def test_removed_and_purged(machine):
    machine.run(apt("tarry", action="remove"))
    assert not door_ready(machine) and machine.path("/etc/tarry/tarry.conf").exists() and not machine.path("/usr/libexec/tarry").exists()
    machine.run(apt("tarry", action="purge"))
    left = machine.run("find / -xdev \\( -name '*tarry*' -o -path '*/tarry/*' \\) -not -path '/root/*' -not -path '/proc/*' -not -path '/sys/*' -not -path '/var/log/*' -not -path '/var/lib/dpkg/*' -not -path '/var/cache/*'").stdout.split()
    assert all(p.startswith("/var/mail/tarry") or p.startswith("/var/lib/systemd") for p in left), left
    assert machine.run("ls /var/mail/tarry/mx.example.org/someone/new").stdout.split() != []


def test_without_systemd(tmp_path):
    """In a chroot where no service is started: the unit's command, by hand."""
    one = Machine(BASE, PACKAGES, init=("/usr/bin/sleep", "600"))
    try:
        begun = time.monotonic()
        one.run("cd /root && " + apt(*PACKAGES))
        unit = one.run("cat /lib/systemd/system/tarry.service").stdout
        one.run(re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)[1] + " >/run/tarry.log 2>&1 &")
        one.wait(lambda: door_ready(one), "the door listens")
        s, line, held = greeted(one)
        print(f"\nall packages, without systemd: {time.monotonic() - begun:.2f} s")
        assert line.startswith(b"220 mx.example.org ESMTP ") and held >= 1 and time.monotonic() - begun < PROMPT
        s.close()
    finally:
        one.stop()
