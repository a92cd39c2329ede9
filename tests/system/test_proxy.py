"""Behind a load balancer: a real HAProxy before the door, and headers that no load balancer would send."""
import contextlib
import os
import re
import shutil
import signal
import smtplib
import socket
import struct
import subprocess
import time

import pytest

import mta
from door import PATIENCE
from talk import Backend, command, read_line

PAUSE_MS = 300
BALANCER = "127.0.0.200"  # HAProxy's own address, as the door sees it
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
PROXY = f'proxy = yes  trust = {{ "{BALANCER}" }}'
STRANGER = "421 4.7.0 mail.example.org Not for you"


def v2(client, server="192.0.2.25", tlvs=b"", verb=0x21, family=0x11, length=None):
    body = socket.inet_aton(client) + socket.inet_aton(server) + struct.pack("!HH", 40000, 25) if family == 0x11 else b""
    body += tlvs
    return SIGNATURE + bytes([verb, family]) + struct.pack("!H", len(body) if length is None else length) + body


def v1(client, server="192.0.2.25"):
    return f"PROXY TCP4 {client} {server} 40000 25\r\n".encode()


@pytest.fixture
def balance(scratch):
    """HAProxy before a door: balance(door, "send-proxy-v2"); returns the address it listens at. More lines may go into its section, and it can be asked for its servers."""
    if not shutil.which("haproxy"):
        pytest.skip("haproxy is not installed: script/setup test does that")
    running = []

    class Balancer:
        def __init__(self, port, process, socket_path):
            self.address, self.process, self.socket_path = ("127.0.0.1", port), process, socket_path

        def servers(self):
            """The state of each server as HAProxy's statistics have it: UP, DOWN, no check."""
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(PATIENCE)
                s.connect(str(self.socket_path))
                s.sendall(b"show stat\n")
                text = b"".join(iter(lambda: s.recv(65536), b"")).decode()
            return {f[1]: f[17] for f in (line.split(",") for line in text.splitlines()) if len(f) > 17 and f[0] == "smtp" and f[1] not in ("FRONTEND", "BACKEND")}

    def answers(path):
        """The socket is there before it is listened to."""
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(str(path)) == 0

    def start(door, server_options, *lines):
        port, folder = mta.free_port(), door.folder
        path = folder / f"haproxy-{port}.sock"
        config = folder / f"haproxy-{port}.cfg"
        config.write_text("\n".join([
            "global", f"  stats socket {path}", "defaults", "  mode tcp", "  timeout connect 5s", "  timeout client 60s", "  timeout server 60s",
            "listen smtp", f"  bind 127.0.0.1:{port}", *["  " + line for line in lines],
            f"  server door 127.0.0.1:{door.port} source {BALANCER} {server_options}", ""]))
        process = subprocess.Popen(["haproxy", "-db", "-f", str(config)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        running.append(process)
        mta.wait_until(lambda: answers(path), "haproxy has started")
        return Balancer(port, process, path)

    yield start
    for process in running:
        process.terminate()
        process.communicate(timeout=PATIENCE)


@pytest.fixture
def make_proxied(make_door):
    def make(listen=PROXY, **options):
        options.setdefault("greet_pause", PAUSE_MS)
        return make_door(listens=[("127.0.0.1:0", listen)], **options)
    return make


def read_all(s):
    data = b""
    try:
        while chunk := s.recv(65536):
            data += chunk
    except ConnectionResetError:
        pass
    return data


def deliver(address, source):
    with smtplib.SMTP(source_address=(source, 0), timeout=PATIENCE) as client:
        client.connect(*address)
        client.sendmail("sender@example.net", ["victim@example.org"], f"Subject: from {source}\r\n\r\nhi\r\n")


# ---- HAProxy -------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("options, lines", [
    ("send-proxy", []),
    ("send-proxy-v2", []),
    ("send-proxy-v2 proxy-v2-options unique-id,crc32c", ["unique-id-format %[uuid()]"]),
], ids=["v1", "v2", "v2 with unique-id and checksum"])
def test_message_through_haproxy(make_proxied, balance, options, lines):
    """The client that HAProxy names is the one that waits, that the log names, and that the server behind learns of."""
    door = make_proxied()
    balancer = balance(door, options, *lines)
    deliver(balancer.address, "127.0.0.5")
    said = door.wait_verdict("patient")[0]
    assert said["client"] == "127.0.0.5" and said["via"] == BALANCER and said["to"] == "127.0.0.1:%d" % balancer.address[1]
    assert float(said["after_ms"]) >= PAUSE_MS
    assert ("via_id" in said) == bool(lines) and (not lines or re.fullmatch(r"[0-9a-f-]{36}", said["via_id"]))
    assert "[127.0.0.5]" in door.messages()[0].read_text().split("Received:")[1]


@pytest.mark.parametrize("proxy, wanted", [
    ("v1", lambda port: f"PROXY TCP4 127.0.0.5 127.0.0.1 [0-9]+ {port}\r\n".encode()),
    ("v2", lambda port: re.escape(SIGNATURE + b"\x21\x11") + b".." + re.escape(socket.inet_aton("127.0.0.5") + socket.inet_aton("127.0.0.1")) + b".." + re.escape(struct.pack("!H", port))),
])
def test_backend_learns_of_both_addresses(make_proxied, balance, connect, proxy, wanted):
    """The client's own, and that which the client connected to: HAProxy's, not the door's."""
    backend = Backend()
    door = make_proxied(greet_pause=0, backends={"mta": (backend.at, proxy)})
    at = balance(door, "send-proxy-v2").address
    s = connect(at, source="127.0.0.5")
    behind = backend.accept(b"220 behind\r\n")
    assert read_line(s) == b"220 behind\r\n"
    assert re.match(wanted(at[1]), behind.recv(4096), re.DOTALL)
    backend.close()


@pytest.mark.parametrize("options", ["send-proxy", "send-proxy-v2"])
def test_slammer_through_haproxy(make_proxied, balance, connect, options):
    door = make_proxied()
    s = connect(balance(door, options).address, source="127.0.0.6")
    s.sendall(b"EHLO slammer\r\nQUIT\r\n")
    assert read_line(s).startswith(b"554 ")
    early = door.wait_verdict("early")[0]
    assert early["client"] == "127.0.0.6" and early["data"] == r"EHLO slammer\r\nQUIT\r\n"
    assert float(early["after_ms"]) < PAUSE_MS


def test_rules_are_about_the_client(make_proxied, balance, connect):
    """Not about the load balancer, whose own address is exempt here."""
    door = make_proxied(access=["Connect:127.0.0.7\tREJECT", f"GreetPause:{BALANCER}\t0", "GreetPause:127.0.0.8\t0"])
    at = balance(door, "send-proxy-v2").address
    refused, exempt, patient = connect(at, source="127.0.0.7"), connect(at, source="127.0.0.8"), connect(at, source="127.0.0.9")
    assert read_line(refused).startswith(b"220 ") and command(refused, "MAIL FROM:<>").startswith(b"550 5.7.1")
    assert read_line(exempt).startswith(b"220 ") and read_line(patient).startswith(b"220 ")
    assert command(exempt, "QUIT").startswith(b"221 ") and command(patient, "QUIT").startswith(b"221 ")
    assert door.wait_verdict("refused")[0]["client"] == "127.0.0.7"
    assert door.wait_verdict("exempt")[0]["client"] == "127.0.0.8"
    assert door.wait_verdict("patient")[0]["client"] == "127.0.0.9"


def test_one_client_one_front(make_proxied, balance, connect):
    """All connections come from one address, and each client still meets the front that owns it: its limit counts over all of them."""
    door = make_proxied(fronts=4, max_per_client=2, greet_pause=0)
    at = balance(door, "send-proxy-v2").address
    sockets = []
    for n in range(1, 13):
        sockets.append([connect(at, source=f"127.0.1.{n}") for _ in range(3)])
    for three in sockets:
        assert sorted(read_line(s)[:3] for s in three) == [b"220", b"220", b"421"]
    for three in sockets:
        for s in three:
            s.close()
    said = door.wait_verdict("exempt", 24) + door.wait_verdict("limited", 12)
    roles = {}
    for line in said:
        roles.setdefault(line["client"], set()).add(line["_role"])
    assert len(roles) == 12 and all(len(r) == 1 for r in roles.values()), roles
    assert len(set.union(*roles.values())) > 1
    counters = door.counters()
    assert 0 < counters["owner_passed"] < 36 and counters["owner_missed"] == 0


def front_pid(door, role):
    return next(int(d["pid"]) for d in reversed(door.events("role_started")) if f'{d["role"]}/{d["index"]}' == role)


def owner(address, fronts):
    """The front that an IPv4 client belongs to: sock_steered_to()."""
    a = struct.unpack("!I", socket.inet_aton(address))[0]
    return ((a * 2654435761 & 0xffffffff) >> 16) % fronts


def test_a_front_that_hangs_or_is_dead_loses_nobody(make_proxied, balance, connect):
    """Its clients are served by the front that accepted them; those in its queue by its successor."""
    door = make_proxied(fronts=2, greet_pause=0, max_per_client=0, log_level="debug")
    at = balance(door, "send-proxy-v2", "maxconn 2000").address
    other = 1 - owner(BALANCER, 2)
    source = next(a for a in (f"127.0.2.{n}" for n in range(1, 50)) if owner(a, 2) == other)
    first = connect(at, source=source)
    assert read_line(first).startswith(b"220 ")
    first.close()
    assert door.wait_verdict("exempt")[0]["_role"] == f"front/{other}"
    pid = front_pid(door, f"front/{other}")
    os.kill(pid, signal.SIGSTOP)
    try:
        waiting = [connect(at, source=source) for _ in range(500)]
        mta.wait_until(lambda: door.counters()["owner_missed"] > 20, "the queue is full")
    finally:
        os.kill(pid, signal.SIGKILL)
    for s in waiting:
        assert read_line(s).startswith(b"220 ")
        s.close()
    served = door.wait_verdict("exempt", 501)
    assert {d["client"] for d in served} == {source}
    assert {d["_role"] for d in served} == {"front/0", "front/1"} and front_pid(door, f"front/{other}") != pid


def test_dead_front_is_not_waited_for(make_proxied, connect, balance):
    """Between the end of a front and the start of its successor its clients are served elsewhere."""
    door = make_proxied(fronts=2, greet_pause=0, log_level="debug")
    at = balance(door, "send-proxy-v2").address
    other = 1 - owner(BALANCER, 2)
    source = next(a for a in (f"127.0.2.{n}" for n in range(1, 50)) if owner(a, 2) == other)
    for _ in range(4):  # each time its successor takes twice as long to come
        died = len(door.events("role_died"))
        started = len([d for d in door.events("role_started") if d["role"] == "front" and d["index"] == str(other)])
        os.kill(front_pid(door, f"front/{other}"), signal.SIGKILL)
        door.wait_for(lambda d: d.get("event") == "role_died", died + 1)
        last = connect(at, source=source)
        assert read_line(last).startswith(b"220 ")
        last.close()
        door.wait_for(lambda d: d.get("event") == "role_started" and d["role"] == "front" and d["index"] == str(other), started + 1)
    assert f"front/{1 - other}" in {d["_role"] for d in door.wait_verdict("exempt", 4)}


# ---- health checks -------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("options", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c"], ids=["v1", "v2", "v2 with checksum"])
def test_haproxy_checks_the_way_to_the_backend(make_door, balance, options, scratch):
    """Up while the backend greets, down when it is gone, up again; and not a line of the checks in the log."""
    backend = mta.free_port()
    door = make_door(listens=[("127.0.0.1:0", PROXY + f' health = {{ "{BALANCER}" }}')], greet_pause=5000,
                     backends={"mta": (f"smtp:127.0.0.1:{backend}", "v2")})
    balancer = balance(door, options + " check check-send-proxy inter 100ms fall 2 rise 2", "option smtpchk EHLO probe.example.net")
    mta.wait_until(lambda: balancer.servers()["door"].startswith("DOWN"), "down without a backend")
    inside = make_door(greet_pause=0, start=False)
    inside.listens = [(f"127.0.0.1:{backend}", 'proxy = yes  trust = { "127.0.0.0/8" }')]
    inside.start()
    mta.wait_until(lambda: balancer.servers()["door"] == "UP", "up with a backend")
    probes = door.counters()["probes"]
    mta.wait_until(lambda: door.counters()["probes"] > probes + 10, "more checks")
    assert balancer.servers()["door"] == "UP"
    inside.stop()
    mta.wait_until(lambda: balancer.servers()["door"].startswith("DOWN"), "down when the backend has gone")
    assert door.verdicts() == [] and door.events("proxy_refused") == []
    counters = door.counters()
    assert counters["connections"] == 0 and counters["nobackend"] == 0 and counters["refused_commands"] == 0
    assert door.events("backend_down") and len(door.events("backend_up")) == 1


def test_haproxy_checks_without_smtp(make_proxied, balance):
    """A check that only connects and leaves is no trouble to note."""
    door = make_proxied()
    balancer = balance(door, "send-proxy-v2 check inter 50ms")
    mta.wait_until(lambda: balancer.servers()["door"] == "UP", "up")
    mta.wait_until(lambda: door.counters()["probes"] > 5, "checks say LOCAL")
    assert door.verdicts() == [] and door.events("proxy_refused") == []


def test_probe_takes_no_mail(make_door, connect):
    """What a prober may do: hear the greeting, say HELO, and QUIT. Listed ones need no PROXY header where they are not in trust."""
    door = make_door(listens=[("127.0.0.1:0", 'health = { "127.0.0.3" }'), ("127.0.0.1:0", PROXY + ' health = { "127.0.0.3" }')], greet_pause=5000, max_per_client=1)
    for address in door.addresses:
        for s in [connect(address, source="127.0.0.3") for _ in range(3)]:
            assert read_line(s).startswith(b"220 mail.example.org ESMTP")
            assert command(s, "HELO probe.example.net").startswith(b"250 ") and command(s, "NOOP").startswith(b"250 ")
            assert command(s, "MAIL FROM:<a@example.net>").startswith(b"550 5.7.1 Health checks only")
            assert command(s, "RCPT TO:<victim@example.org>").startswith(b"550 ") and command(s, "DATA").startswith(b"550 ")
            assert command(s, "QUIT").startswith(b"221 ")
            assert read_all(s) == b""
    assert door.verdicts() == [] and door.counters()["probes"] == 6 and door.counters()["connections"] == 0
    assert door.messages() == []


# ---- headers that nobody should send -------------------------------------------------------------------------------------------------

def test_stranger_is_not_believed(make_proxied, connect):
    door = make_proxied()
    for header in (v1("127.0.0.5"), v2("127.0.0.5"), b"EHLO x\r\n", b""):
        s = connect(door, source="127.0.0.9")
        s.sendall(header)
        assert read_all(s).decode() == STRANGER + "\r\n"
    said = door.wait_for(lambda d: d.get("event") == "proxy_refused")
    assert len(said) == 1 and said[0]["peer"] == "127.0.0.9" and said[0]["reason"] == "stranger"  # the rest of the four is counted
    assert door.counters()["proxy_refused"] == 4 and door.verdicts() == []


MALFORMED = {
    "no header": b"EHLO client.example.net\r\n",
    "half a header": v2("127.0.0.5")[:20],
    "half a line": b"PROXY TCP4 127.0.0.5 ",
    "line without CR": b"PROXY TCP4 127.0.0.5 192.0.2.25 40000 25\n",
    "line too long": b"PROXY TCP4 " + b"1" * 120 + b"\r\n",
    "leading zeros": b"PROXY TCP4 127.0.0.05 192.0.2.25 40000 25\r\n",
    "port out of range": b"PROXY TCP4 127.0.0.5 192.0.2.25 40000 65536\r\n",
    "two blanks": b"PROXY TCP4  127.0.0.5 192.0.2.25 40000 25\r\n",
    "length below the addresses": v2("127.0.0.5", length=11),
    "length of too much": v2("127.0.0.5", length=65535),
    "extension beyond the end": v2("127.0.0.5", tlvs=b"\x04\x00\xff"),
    "extension cut": v2("127.0.0.5", tlvs=b"\x04\x00"),
    "wrong checksum": v2("127.0.0.5", tlvs=b"\x03\x00\x04\x01\x02\x03\x04"),
    "version 3": v2("127.0.0.5", verb=0x31),
    "no such command": v2("127.0.0.5", verb=0x22),
    "datagrams": v2("127.0.0.5", family=0x12),
    "nobody's address": v2("0.0.0.0"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_header_is_closed_and_logged(make_proxied, connect, name):
    door = make_proxied()
    s = connect(door, source=BALANCER)
    s.sendall(MALFORMED[name])
    with contextlib.suppress(OSError):  # it may have been reset by now
        s.shutdown(socket.SHUT_WR)
    assert read_all(s) == b""
    said = door.wait_for(lambda d: d.get("event") == "proxy_refused")[0]
    assert said["reason"] == "malformed" and said["peer"] == BALANCER and said["bytes"] == str(len(MALFORMED[name]))
    assert said["data"].startswith("PROXY" if MALFORMED[name].startswith(b"PROXY") else "EHLO" if name == "no header" else r"\r\n\r\n\x00\r\nQUIT\n")
    assert door.verdicts() == [] and door.counters()["arriving"] == 0


def test_malformed_headers_do_not_fill_the_log(make_proxied, connect):
    door = make_proxied(fronts=1)
    for _ in range(50):
        s = connect(door, source=BALANCER)
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        read_all(s)
    door.wait_for(lambda d: d.get("event") == "proxy_refused")
    assert door.counters()["proxy_refused"] == 50
    assert len(door.events("proxy_refused")) == 1


@pytest.mark.parametrize("sent", [b"", b"PROXY TCP4 ", SIGNATURE], ids=["nothing", "half a line", "half a header"])
def test_header_that_does_not_come(make_proxied, connect, sent):
    door = make_proxied(proxy_timeout="300ms")
    s = connect(door, source=BALANCER)
    s.sendall(sent)
    before = time.monotonic()
    assert read_all(s) == b""
    assert time.monotonic() - before < PATIENCE
    said = door.wait_for(lambda d: d.get("event") == "proxy_refused")[0]
    assert said["reason"] == "timeout" and ("bytes" in said) == bool(sent)


@pytest.mark.parametrize("header", [v1("127.0.0.5"), v2("127.0.0.5", tlvs=b"\xe5\x00\x03abc")], ids=["v1", "v2"])
def test_header_byte_by_byte(make_proxied, connect, header):
    """However it is cut, it is one header, and the first byte behind it is the client's."""
    door = make_proxied(greet_pause=5000, log_level="debug")
    s = connect(door, source=BALANCER)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for i in range(len(header)):
        s.sendall(header[i:i + 1])
    door.wait_for(lambda d: d.get("event") == "state" and d.get("to") == "hold")
    s.sendall(b"Q")
    assert read_line(s).startswith(b"554 ")
    early = door.wait_verdict("early")[0]
    assert early["client"] == "127.0.0.5" and early["data"] == "Q" and early["to"] == "192.0.2.25:25"


def test_header_without_an_address(make_proxied, connect):
    """No rule fits it, so it gets nowhere: the load balancer's own address, exempt here, is not the client's."""
    door = make_proxied(access=[f"GreetPause:{BALANCER}\t0"])
    for header in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", v2("", family=0x00), v2("", family=0x31, tlvs=bytes(216))):
        s = connect(door, source=BALANCER)
        s.sendall(header + b"EHLO x\r\n")
        assert read_all(s) == b"421 4.7.0 mail.example.org Your address is not known here, try again later\r\n"
    said = door.wait_for(lambda d: d.get("event") == "proxy_refused")
    assert len(said) == 1 and said[0]["reason"] == "unknown" and said[0]["peer"] == BALANCER
    assert door.verdicts() == []


def test_local_header_is_a_health_check(make_proxied, connect):
    door = make_proxied(greet_pause=5000)
    s = connect(door, source=BALANCER)
    s.sendall(v2("", verb=0x20, family=0x00))
    assert read_line(s).startswith(b"220 ")
    assert command(s, "QUIT").startswith(b"221 ")
    assert door.verdicts() == [] and door.counters()["probes"] == 1


def test_ipv6_client_of_an_ipv4_balancer(make_proxied, connect):
    door = make_proxied(greet_pause=0)
    header = SIGNATURE + b"\x21\x21" + struct.pack("!H", 36) + socket.inet_pton(socket.AF_INET6, "2001:db8::7") + socket.inet_pton(socket.AF_INET6, "2001:db8::25") + struct.pack("!HH", 4321, 25)
    s = connect(door, source=BALANCER)
    s.sendall(header)
    assert read_line(s).startswith(b"220 ") and command(s, "QUIT").startswith(b"221 ")
    said = door.wait_verdict("exempt")[0]
    assert said["client"] == "2001:db8::7" and said["port"] == "4321" and said["to"] == "[2001:db8::25]:25"


def test_stopping_door_says_so(make_proxied, connect):
    """Also to those whose header has not come yet."""
    door = make_proxied(fronts=1)
    s = connect(door, source=BALANCER)
    mta.wait_until(lambda: door.counters()["arriving"] == 1, "it has been accepted")
    assert door.end() == 0
    assert read_all(s) == b"421 4.3.2 mail.example.org Service shutting down, try again later\r\n"


def test_program_is_told_the_client(make_proxied, balance, connect):
    """What a program that the client's socket is handed to (exec) reads from its environment is the client, not HAProxy."""
    script = "printf '220 %s to %s:%s\\r\\n' \"$TCPREMOTEIP\" \"$TCPLOCALIP\" \"$TCPLOCALPORT\"; read line; printf '221 bye\\r\\n'"
    door = make_proxied(greet_pause=0, start=False)
    door.verbatim.append('backend "program" { exec = { "/bin/sh", "-c", "%s" } }' % script.replace("\\", "\\\\").replace('"', '\\"'))
    door.start()
    at = balance(door, "send-proxy-v2").address
    s = connect(at, source="127.0.0.5")
    assert read_line(s) == b"220 127.0.0.5 to 127.0.0.1:%d\r\n" % at[1]
    assert command(s, "QUIT") == b"221 bye\r\n"
    assert door.wait_verdict("exempt")[0]["client"] == "127.0.0.5"
