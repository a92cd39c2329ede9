"""transparent = yes: the backend sees the client's own address in getpeername(). Two machines of one's own, as network namespaces: the client's, and that of door and backend."""
import subprocess
import sys
import textwrap

import pytest

from door import AS_ROOT, status
from network import Network, in_network, networks  # noqa: F401 (a fixture)

ROUTES = """
ip rule add from 127.0.0.0/8 iif lo lookup 123
ip route add local 0.0.0.0/0 dev lo table 123
ip -6 rule add from ::1 iif lo lookup 123
ip -6 route add local ::/0 dev lo table 123
"""  # as tarry.conf(5) has them
# Greets each client with the address it sees, on 127.0.0.1 and ::1; its ports come first.
BACKEND = """
    import selectors, socket, threading
    def serve(s, peer):
        with s, s.makefile("rwb") as f:
            f.write(b"220 you are %s\\r\\n" % peer[0].encode()); f.flush()
            for line in f:
                f.write(b"221 bye\\r\\n" if line.upper().startswith(b"QUIT") else b"250 ok\\r\\n"); f.flush()
                if line.upper().startswith(b"QUIT"):
                    return
    both = selectors.DefaultSelector()
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        listener = socket.create_server((host, 0), family=family)
        both.register(listener, selectors.EVENT_READ)
        print(listener.getsockname()[1], flush=True)
    while True:
        for key, _ in both.select():
            threading.Thread(target=serve, args=key.fileobj.accept(), daemon=True).start()
"""
CLIENT = """
    import socket, sys
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 20) as s, s.makefile("rwb") as f:
        greeting = f.readline()
        f.write(b"NOOP\\r\\n"); f.flush()
        ok = f.readline()
        f.write(b"QUIT\\r\\n"); f.flush()
        print(greeting.decode().strip(), ok.decode().strip(), f.readline().decode().strip(), s.getsockname()[0], sep="|")
"""


@pytest.fixture
def peers(networks):
    here, _ = networks
    process = subprocess.Popen([*here.prefix, sys.executable, "-c", textwrap.dedent(BACKEND)], stdout=subprocess.PIPE, text=True, start_new_session=True)
    yield [int(process.stdout.readline()) for _ in range(2)]
    process.kill()
    process.wait()
    process.stdout.close()


def start(make_door, tmp_path, binary, network, ports):
    door = make_door(start=False, greet_pause=100, fronts=1, listens=("[::]:0",))
    door.binary = str(in_network(tmp_path, network, binary))
    door.verbatim = [f'backend "four" {{ address = "smtp:127.0.0.1:{ports[0]}" transparent = yes }}', f'backend "six" {{ address = "smtp:[::1]:{ports[1]}" transparent = yes }}']
    return door


def test_backend_sees_the_client(networks, peers, make_door, tmp_path, binary):
    here, there = networks
    here.run(ROUTES)
    door = start(make_door, tmp_path, binary, here, peers).start()
    for _ in range(3):
        assert there.python(CLIENT, "198.51.100.1", str(door.port)) == "220 you are 198.51.100.7|250 ok|221 bye|198.51.100.7"
        assert there.python(CLIENT, "2001:db8:1::1", str(door.port)) == "220 you are 2001:db8:1::7|250 ok|221 bye|2001:db8:1::7"
    assert sorted(d["backend"] for d in door.wait_verdict("patient", 6)) == ["four"] * 3 + ["six"] * 3
    fronts = [p for p in door.children() if status(p, "Name") == ["tarry-front"]]
    assert len(fronts) == 1
    assert status(fronts[0], "CapPrm") == status(fronts[0], "CapEff") == ["%016x" % (1 << 13)]  # CAP_NET_RAW and nothing else
    assert all(uid != "0" for uid in status(fronts[0], "Uid"))
    assert not [p for p in door.children() if p not in fronts and int(status(p, "CapPrm")[0], 16)]


def test_backend_on_another_machine(networks, make_door, tmp_path, binary):
    here, there = networks
    third = Network()
    try:
        here.run(f"ip link add back type veth peer name door netns {third.holder.pid}; ip link set back up; ip addr add 192.0.2.10/24 dev back")
        third.run("ip link set door up; ip addr add 192.0.2.20/24 dev door")
        process = subprocess.Popen([*third.prefix, sys.executable, "-c", textwrap.dedent(BACKEND.replace('"127.0.0.1"', '"192.0.2.20"'))], stdout=subprocess.PIPE, text=True,
                                   start_new_session=True)
        port = int(process.stdout.readline())
        third.run(f"ip rule add from 192.0.2.20 ipproto tcp sport {port} lookup 123; ip route add default via 192.0.2.10 table 123")
        here.run(f"ip rule add from 192.0.2.20 ipproto tcp sport {port} lookup 123; ip route add local 0.0.0.0/0 dev lo table 123")
        door = make_door(start=False, greet_pause=100)
        door.binary, door.listens = str(in_network(tmp_path, here, binary)), ("[::]:0",)
        door.verbatim = [f'backend "third" {{ address = "smtp:192.0.2.20:{port}" transparent = yes }}']
        door.start()
        assert there.python(CLIENT, "198.51.100.1", str(door.port)) == "220 you are 198.51.100.7|250 ok|221 bye|198.51.100.7"
        process.kill()
        process.wait()
        process.stdout.close()
    finally:
        third.close()


def test_no_backend_of_that_family(networks, peers, make_door, tmp_path, binary):
    here, there = networks
    here.run(ROUTES)
    door = start(make_door, tmp_path, binary, here, peers)
    door.verbatim.pop()
    door.start()
    assert there.python(CLIENT, "2001:db8:1::1", str(door.port)).startswith("421 4.3.2 ")
    assert [d["error"] for d in door.wait_verdict("nobackend")] == ["no backend of the client's address family"]
    assert there.python(CLIENT, "198.51.100.1", str(door.port)).startswith("220 you are 198.51.100.7|")
    assert not door.events("backend_down")


def test_without_the_routes(networks, peers, make_door, tmp_path, binary):
    """The answers of the backend are on their way to the client: the door hears none, and says so in time."""
    here, there = networks
    door = start(make_door, tmp_path, binary, here, peers)
    door.options["backend_timeout"] = 500
    door.start()
    assert there.python(CLIENT, "198.51.100.1", str(door.port)).startswith("421 4.3.2 ")
    assert [(d["backend"], d["error"]) for d in door.wait_for(lambda d: d.get("event") == "backend_down")] == [("four", "no greeting in time")]


def test_the_capability_is_missing(make_door, peers, binary):
    if not AS_ROOT:
        pytest.skip("only root has it to give up")
    door = make_door(start=False)
    door.verbatim = [f'backend "four" {{ address = "smtp:127.0.0.1:{peers[0]}" transparent = yes }}']
    door.write_config()
    without = ["setpriv", "--bounding-set", "-net_raw,-net_admin", "--inh-caps", "-net_raw,-net_admin"]
    check = subprocess.run([*without, binary, "check", "-c", door.config], capture_output=True, text=True, timeout=20, check=False)
    assert check.returncode == 0 and "warning: " in check.stderr and "needs CAP_NET_RAW or CAP_NET_ADMIN" in check.stderr, check.stderr
    assert "# backend      four, smtp:127.0.0.1:%d; connected from the client's address\n" % peers[0] in check.stdout
    serve = subprocess.run([*without, binary, "serve", "-c", door.config], capture_output=True, text=True, timeout=20, check=False)
    assert serve.returncode == 77 and "tarry.conf:" in serve.stderr and "transparent = yes" in serve.stderr
    check = subprocess.run([binary, "check", "-c", door.config], capture_output=True, text=True, timeout=20, check=False)
    assert check.returncode == 0 and "CAP_NET_RAW" not in check.stderr
