"""Bans in the kernel: real nftables, a client on a machine of its own (a network namespace)."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile

import pytest

from door import PATIENCE, status
from inject import Intruder, is_possible
from mta import wait_until
from network import in_network, networks  # noqa: F401 (a fixture)
from test_bans import ban, banned
from test_known import processes
from test_life import reload

SETS = """
nft add table inet tarry
nft add set inet tarry banned4 '{ type ipv4_addr; flags timeout, interval; }'
nft add set inet tarry banned6 '{ type ipv6_addr; flags timeout, interval; }'
nft add chain inet tarry input '{ type filter hook input priority -10; }'
nft add rule inet tarry input ip saddr @banned4 tcp dport PORT ct state new counter drop
nft add rule inet tarry input ip6 saddr @banned6 tcp dport PORT ct state new counter drop
"""
OFFENDER = """
    import socket, sys
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 20, (sys.argv[3], 0)) as s, s.makefile("rwb") as f:
        f.write(b"HELO x\\r\\n"); f.flush()
        print(f.readline().decode().strip())
"""
CALLER = """
    import socket, sys
    s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
    s.settimeout(float(sys.argv[4]))
    s.bind((sys.argv[3], 0))
    try:
        s.connect((sys.argv[1], int(sys.argv[2])))
        print(s.makefile("rb").readline().decode().strip())
    except TimeoutError:
        print("silence")
"""
FOUR, SIX = "198.51.100.1", "2001:db8:1::1"
CLIENT4, CLIENT6 = "198.51.100.7", "2001:db8:2::7"  # not of the door's own /64: that is never banned
ROUTES = "ip -6 route add 2001:db8:2::/64 dev door"


@pytest.fixture
def make_there(networks, make_door, tmp_path, binary):
    if not shutil.which("nft"):
        pytest.skip("nft is not installed: script/setup test does that")
    here, _ = networks

    def make(sets=True, leave=True, **options):
        door = make_door(start=False, **{"greet_pause": 60_000, "fronts": 2, "mail_processes": 1, "listens": ("[::]:0",), "ban_after": 1, "ban_db": "", "ban_kernel": "nftables inet tarry banned", "linger": 100, **options})
        door.binary = str(in_network(tmp_path, here, binary if leave else f"setpriv --bounding-set -net_admin {binary}"))
        door.start()
        if sets:
            here.run(SETS.replace("PORT", str(door.port)))
        return door
    return make


def elements(network, name):
    """What the set has: the address or network, and its comment and seconds."""
    done = subprocess.run([*network.prefix, "nft", "-j", "list", "set", "inet", "tarry", name], check=True, capture_output=True, text=True, timeout=20)
    found = {}
    for one in [t["set"] for t in json.loads(done.stdout)["nftables"] if "set" in t][0].get("elem", []):
        elem = one["elem"] if isinstance(one, dict) and "elem" in one else {"val": one}
        val = elem["val"]
        key = "{addr}/{len}".format(**val["prefix"]) if isinstance(val, dict) else val
        found[key] = (elem.get("comment"), elem.get("expires", 0))
    return found


def wait_elements(network, name, expected):
    with contextlib.suppress(AssertionError):
        wait_until(lambda: set(elements(network, name)) == set(expected), "the kernel has them", PATIENCE)
    assert set(elements(network, name)) == set(expected)


def helpers(door):
    """Those that have become the program."""
    return [p for p in processes(door, "tarry-ban") if "--sets" in open(f"/proc/{p}/cmdline", encoding="ascii").read().split("\0")]


def test_packets_are_dropped(networks, make_there):
    """Who offends is in the set within a second or two, with its time, and its packets come to nothing; dropped, it may come again. One process has the capability for it, and no other."""
    here, there = networks
    here.run(ROUTES)
    there.run(f"ip addr add {CLIENT6}/64 dev client nodad")
    door = make_there(ban_time="1h")
    for to, source in ((FOUR, CLIENT4), (SIX, CLIENT6), (SIX, "2001:db8:1::7")):
        assert there.python(OFFENDER, to, str(door.port), source) == "554 mail.example.org ESMTP not accepting messages"
    wait_elements(here, "banned4", ["198.51.100.7"])
    wait_elements(here, "banned6", ["2001:db8:2::/64"])
    comment, seconds = elements(here, "banned4")["198.51.100.7"]
    assert comment == "tarry" and 3500 < seconds <= 3600
    for to, source in ((FOUR, CLIENT4), (SIX, CLIENT6)):
        assert there.python(CALLER, to, str(door.port), source, "0.5") == "silence"
    counters = door.counters()
    assert (counters["bans_kernel"], counters["ban_hits"], counters["bans"]) == (2, 0, 2)
    helper = helpers(door)
    assert len(helper) == 1
    assert status(helper[0], "CapPrm") == status(helper[0], "CapEff") == ["%016x" % (1 << 12)]  # CAP_NET_ADMIN and nothing else
    assert all(uid != "0" for uid in status(helper[0], "Uid"))
    assert status(helper[0], "NoNewPrivs") == ["1"]
    assert not [p for p in door.children() if p not in helper and int(status(p, "CapPrm")[0], 16)]
    assert len(os.listdir(f"/proc/{helper[0]}/fd")) <= 10, [os.readlink(f"/proc/{helper[0]}/fd/{f}") for f in os.listdir(f"/proc/{helper[0]}/fd")]
    ban(door, "drop", CLIENT4, CLIENT6)
    wait_elements(here, "banned4", [])
    wait_elements(here, "banned6", [])
    assert there.python(CALLER, FOUR, str(door.port), CLIENT4, "0.5") == "silence"  # held
    wait_until(lambda: door.counters()["gone"] == 1, "it had been let in")
    assert not banned(door)


def test_whatever_happens_to_the_sets(networks, make_there):
    """They are missing; others have elements in them; the helper is killed: in the end they are what the table of bans is, and what is not ours has stayed."""
    here, _ = networks
    door = make_there(sets=False)
    ban(door, "add", "192.0.2.1", "1h")
    line = door.wait_for(lambda d: d.get("event") == "ban_kernel_failed")[0]
    assert "nft add set inet tarry banned4" in line["msg"]
    ban(door, "add", "2001:db8:9::/48", "1h")
    here.run(SETS.replace("PORT", str(door.port)))
    here.run("nft add element inet tarry banned4 '{ 203.0.113.5, 203.0.113.64/26 timeout 2h comment \"mine\" }'")
    ban(door, "add", "203.0.113.0/27", "1h")  # has the foreign one in it
    ban(door, "add", "255.255.255.255", "1h")  # behind it there is nothing
    ban(door, "add", "203.0.113.128/25", "1h")  # next to one
    ours = ["192.0.2.1", "255.255.255.255", "203.0.113.128/25"]
    foreign = ["203.0.113.5", "203.0.113.64/26"]
    wait_elements(here, "banned4", ours + foreign)
    wait_elements(here, "banned6", ["2001:db8:9::/48"])
    door.wait_for(lambda d: d.get("event") == "ban_kernel_back")
    helper = helpers(door)
    os.kill(helper[0], signal.SIGSTOP)  # what changes meanwhile the next one finds
    ban(door, "drop", "192.0.2.1", "2001:db8:9::/48")
    ban(door, "add", "192.0.2.2", "1h")
    ban(door, "add", "203.0.113.128/25", "3h")
    os.kill(helper[0], signal.SIGKILL)
    ours = ["192.0.2.2", "255.255.255.255", "203.0.113.128/25"]
    wait_elements(here, "banned4", ours + foreign)
    wait_elements(here, "banned6", [])
    wait_until(lambda: elements(here, "banned4")["203.0.113.128/25"][1] > 7200, "its time is the new one")
    door.stop()
    door.process = None
    assert set(elements(here, "banned4")) == set(ours + foreign)  # each ends by itself


@pytest.mark.skipif(not is_possible(), reason="only root can take a process over, and x86-64 is what these calls are written for")
def test_an_intruder_has_the_sets_and_no_more(networks, make_there):
    """Whoever takes the helper over has its capability, and netlink of the packet filter: no other netlink, no network, no file."""
    here, _ = networks
    door = make_there()
    door.expected = ("event=sandbox_killed", "event=sandbox_denied")
    helper = helpers(door)
    wait_until(lambda: status(helper[0], "Seccomp") == ["2"], "walls")
    with Intruder(helper[0]) as intruder:
        assert intruder.call("socket", 16, 3, 12) >= 0  # AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER
    with Intruder(helper[0]) as intruder:
        assert intruder.call("open", intruder.put("/etc/passwd"), 0) == -1
    assert helpers(door) == helper
    for n, what in enumerate(((16, 3, 0), (2, 1, 0))):  # netlink of routes, TCP
        with Intruder(helper[0]) as intruder:
            assert intruder.call("socket", *what) == "ended", what
        door.wait_for(lambda d: d.get("event") == "role_died" and d["role"] == "ban" and d["status"] == "77", n + 1)
        wait_until(lambda: len(helpers(door)) == 1 and helpers(door) != helper and status(helpers(door)[0], "Seccomp") == ["2"], "another one")
        helper = helpers(door)
    ban(door, "add", "192.0.2.1", "1h")
    wait_elements(here, "banned4", ["192.0.2.1"])


def test_many_and_over(networks, make_there, request):
    """Thousands of bans; those that are over leave; those of clients that came by a load balancer stay at the door."""
    here, _ = networks
    folder = tempfile.mkdtemp(prefix="tarry-bans-", dir="/tmp")
    os.chmod(folder, 0o777)
    request.addfinalizer(lambda: shutil.rmtree(folder))
    door = make_there(ban_db=f"{folder}/db")
    lines = [f"10.{i >> 8 & 255}.{i & 255}.1 2026-01-01T00:00:00Z 2036-01-01T00:00:00Z 1 0 any x\n" for i in range(3000)]
    lines.append("10.99.0.1 2026-01-01T00:00:00Z 2036-01-01T00:00:00Z 1 0 door x\n")
    assert ban(door, "import", given="".join(lines)) == "3001 taken\n"
    ban(door, "add", "192.0.2.1", "1s")
    wait_until(lambda: door.counters()["bans_kernel"] in (3000, 3001), "all are there")
    wait_until(lambda: len(elements(here, "banned4")) == 3000, "all but the one that is over")
    assert "10.99.0.1" not in elements(here, "banned4")
    helper = helpers(door)
    reload(door, max_bad_commands=21)
    assert helpers(door) == helper  # nothing of it has changed
    reload(door, ban_time="2h")  # the keeper and the helper are others, which begin with what is in the file
    wait_until(lambda: len(helpers(door)) == 1 and helpers(door) != helper, "another helper, and only that")
    ban(door, "add", "192.0.2.3")
    wait_until(lambda: len(elements(here, "banned4")) == 3001, "it is at work, and nothing is lost")
    ban(door, "drop", "192.0.2.3")
    assert door.counters()["bans_kernel_failed"] <= 4  # before there were sets
    wait_until(lambda: door.counters()["bans_kernel"] == 3000, "it is counted right")


def test_without_leave(networks, make_there):
    """Who may not change the kernel's rules says so, and the door itself turns away whom it bans."""
    here, there = networks
    door = make_there(leave=False)
    assert "CAP_NET_ADMIN" in door.wait_for(lambda d: d.get("event") == "ban_kernel_failed")[0]["msg"]
    assert there.python(OFFENDER, FOUR, str(door.port), CLIENT4).startswith("554 ")
    door.wait_for(lambda d: d.get("event") == "ban")
    assert there.python(CALLER, FOUR, str(door.port), CLIENT4, "20").startswith("421 4.7.0 ")
    assert elements(here, "banned4") == {}
