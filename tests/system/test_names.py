"""Names of clients, asked of a real name server."""
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

import dns
from door import AS_ROOT
from mta import free_port, wait_until
from talk import REFUSAL, command, read_line

NAMES = {"127.0.0.2": "host.sub.example.com", "127.0.0.3": "bad.example.net", "127.0.0.4": None, "127.0.0.5": ["forged.example.com", "127.0.0.99"],
         "127.0.0.20": "SERVFAIL", "127.0.0.21": "SILENT", "::1": "six.example.com"}
LONG = 60_000


@pytest.fixture
def server():
    one = dns.Server(NAMES)
    yield one
    one.stop()


def named(make_door, server, **options):
    return make_door(resolver=f"127.0.0.1:{server.port}", **{"greet_pause": LONG, "resolve_timeout": 700, "linger": 100, **options})


def test_keys_that_are_names(make_door, connect, server):
    door = named(make_door, server, access=["GreetPause:example.com 0", "GreetPause:127.0.0.4 0", "GreetPause:[127.0.0.20] 0", "Connect:example.net REJECT"])
    for source, hello in (("127.0.0.2", "host.sub.example.com [127.0.0.2]"), ("127.0.0.4", "[127.0.0.4]"), ("127.0.0.20", "[127.0.0.20]"),
                          ("127.0.0.5", "forged.example.com [127.0.0.5] (may be forged)")):
        client = connect(door, source)
        assert read_line(client).startswith(b"220 "), source
        assert command(client, "HELO x") == f"250 mail.example.org Hello {hello}, pleased to meet you\r\n".encode()
        assert command(client, "QUIT").startswith(b"221 ")
        client.close()
    lines = {d["client"]: d for d in door.wait_verdict("exempt", 4)}
    assert [(lines[c]["name"], lines[c].get("forged")) for c in ("127.0.0.2", "127.0.0.4", "127.0.0.20", "127.0.0.5")] == [
        ("host.sub.example.com", None), ("none", None), ("failed", None), ("forged.example.com", "yes")]
    client = connect(door, "127.0.0.3")
    assert read_line(client).startswith(b"220 ")
    assert command(client, "HELO x") == b"250 mail.example.org Hello bad.example.net [127.0.0.3], pleased to meet you\r\n"
    assert command(client, "MAIL FROM:<a@b>") == b"550 5.7.1 Access denied\r\n"
    assert {k: v for k, v in door.counters().items() if k.startswith("names_")} == {"names_confirmed": 2, "names_forged": 1, "names_none": 1, "names_failed": 1, "names_timeout": 0}


def test_a_forged_name_is_no_name_for_connect(make_door, connect, server):
    door = named(make_door, server, greet_pause=0, access=["Connect:forged.example.com REJECT", "Connect:[127.0.0.5] 550 no such name"])
    client = connect(door, "127.0.0.5")
    assert read_line(client).startswith(b"220 ")
    assert command(client, "MAIL FROM:<a@b>") == b"550 5.0.0 no such name\r\n"


def test_whoever_talks_is_judged_when_the_name_is_known(make_door, connect, server):
    """An exempt client's early words are taken; who is not exempt is refused, and no greeting overtakes the name."""
    door = named(make_door, server, access=["GreetPause:example.com 0"])
    exempt, early = connect(door, "127.0.0.2"), connect(door, "127.0.0.4")
    for client in (exempt, early):
        client.sendall(b"HELO x\r\n")
    assert read_line(exempt).startswith(b"220 ")
    assert read_line(exempt).startswith(b"250 mail.example.org Hello host.sub.example.com [127.0.0.2]")
    assert read_line(early) == REFUSAL
    assert read_line(early) == b"250 mail.example.org Hello [127.0.0.4], pleased to meet you\r\n"


def test_a_name_that_does_not_come(make_door, connect, server):
    """After resolve_timeout the client is one without a name, and the log says so; a pause that is over by then is not waited for again."""
    door = named(make_door, server, greet_pause=300, access=["GreetPause:example.com 0", "GreetPause:[127.0.0.21] 100"])
    client = connect(door, "127.0.0.21")
    begin = time.monotonic()
    assert read_line(client).startswith(b"220 ")
    assert 0.6 < time.monotonic() - begin < 2
    client.close()
    assert door.wait_verdict("patient")[0]["name"] == "timeout"
    assert door.counters()["names_timeout"] == 1


def test_a_name_server_that_hangs_and_comes_back(make_door, connect, server):
    door = named(make_door, server, greet_pause=100, access=["GreetPause:example.com 0"])
    server.hush(True)
    client = connect(door, "127.0.0.2")
    assert read_line(client).startswith(b"220 ")
    client.close()
    assert door.wait_verdict("patient")[0]["name"] == "timeout"
    server.hush(False)
    client = connect(door, "127.0.0.2")
    assert read_line(client).startswith(b"220 ")
    client.close()
    assert door.wait_verdict("exempt")[0]["name"] == "host.sub.example.com"


def test_nobody_is_asked_without_need(make_door, connect, server):
    door = named(make_door, server, greet_pause=0, access=["GreetPause:127 0"])
    assert read_line(connect(door, "127.0.0.2")).startswith(b"220 ")
    assert server.asked == 0
    assert door.counters()["asked"] == 0


def test_names_in_the_trace_of_a_message(make_door, connect, server):
    door = named(make_door, server, greet_pause=0, resolve="always", listens=("[::]:0",))
    client = connect(("::1", door.port))
    read_line(client)
    for said in ("HELO there", "MAIL FROM:<a@b.example>", "RCPT TO:<victim@example.org>", "DATA"):
        command(client, said)
    assert command(client, "Subject: x\r\n\r\nx\r\n.").startswith(b"250 2.0.0 ")
    assert b"Received: from there (six.example.com [IPv6:::1])" in door.messages()[0].read_bytes()


def test_hang_up_while_the_name_is_asked_for(make_door, connect, server):
    door = named(make_door, server, access=["GreetPause:example.com 0"])
    client = connect(door, "127.0.0.21")
    client.close()
    assert door.wait_verdict("gone")[0]["name"] == "timeout"
    assert door.counters()["asked"] == 0


@pytest.fixture
def with_files(binary, scratch):
    """A program that is the door where /etc has other files of these names; with_files(hosts=TEXT, …). In a mount namespace, which only root can make."""
    if not AS_ROOT or subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no mount namespace can be made here")
    def make(**files):
        folder = Path(tempfile.mkdtemp(dir=scratch))
        folder.chmod(0o755)
        mounts = ""
        for name, text in files.items():
            name = name.replace("_", ".")
            (folder / name).write_text(text)
            mounts += f"mount --bind {folder / name} /etc/{name} && "
        program = folder / "tarry"
        program.write_text(f"#!/bin/sh\nexec unshare --mount sh -c '{mounts}exec {binary} \"$@\"' sh \"$@\"\n")
        program.chmod(0o755)
        return program

    return make


@pytest.fixture
def system_server():
    """A name server that resolv.conf can name: it has no word for ports. The address is nobody else's."""
    try:
        one = dns.Server(NAMES, ("127.0.0.77", 53))
    except OSError as e:
        pytest.skip(f"no name server can be at port 53: {e}")
    yield one
    one.stop()


def names_seen(connect, door, *sources):
    seen = {}
    for source in sources:
        client = connect(door, source)
        assert read_line(client).startswith(b"220 ")
        seen[source] = command(client, "HELO x").decode().split("Hello ")[1].split(", pleased")[0]
        client.close()
    return seen


@pytest.mark.usefixtures("system_server")
def test_the_hosts_file(make_door, connect, with_files):
    """The system's resolver: /etc/hosts first, for an address and for a name's addresses, then the name server of resolv.conf."""
    program = with_files(hosts="127.0.0.1 localhost\n127.0.0.3 three.example.com alias\n127.0.0.98 host.sub.example.com\n::1 six.example.com\n", nsswitch_conf="hosts: files dns\n",
                         resolv_conf="nameserver 127.0.0.77\n")
    door = make_door(start=False, access=["GreetPause:example.com 0", "GreetPause:[127.0.0.4] 0"], greet_pause=LONG, linger=100, listens=("127.0.0.1:0", "[::1]:0"))
    door.binary = str(program)
    door.start()
    assert names_seen(connect, door, "127.0.0.3", "127.0.0.2", "127.0.0.4") == {
        "127.0.0.3": "three.example.com [127.0.0.3]", "127.0.0.2": "host.sub.example.com [127.0.0.2] (may be forged)", "127.0.0.4": "[127.0.0.4]"}
    six = connect(door.addresses[1])
    assert read_line(six).startswith(b"220 ")
    assert command(six, "HELO x") == b"250 mail.example.org Hello six.example.com [IPv6:::1], pleased to meet you\r\n"


@pytest.mark.usefixtures("system_server")
def test_the_hosts_file_where_it_does_not_count(make_door, connect, server, with_files):
    """With a resolver of the door's own, or a system that asks the DNS alone, it is not looked at."""
    hosts = "127.0.0.2 three.example.com\n127.0.0.98 host.sub.example.com\n"
    for options, files in (({"resolver": f"127.0.0.1:{server.port}"}, {"nsswitch_conf": "hosts: files dns\n"}),
                           ({}, {"nsswitch_conf": "hosts: dns\n", "resolv_conf": "nameserver 127.0.0.77\n"})):
        door = make_door(start=False, access=["GreetPause:example.com 0"], greet_pause=LONG, linger=100, **options)
        door.binary = str(with_files(hosts=hosts, **files))
        door.start()
        assert names_seen(connect, door, "127.0.0.2") == {"127.0.0.2": "host.sub.example.com [127.0.0.2]"}


class Dnsmasq:
    """A real name server, on a loopback port of its own. hang() stops it in the middle of things."""

    def __init__(self, folder, records):
        self.port = free_port()
        words = [f"--port={self.port}", "--no-daemon", "--no-resolv", "--no-hosts", "--listen-address=127.0.0.1", "--bind-interfaces", "--conf-file=/dev/null", "--no-poll",
                 "--user=root" if AS_ROOT else "--pid-file=", *records]
        self.log = open(folder / "dnsmasq.log", "wb")
        self.process = subprocess.Popen(["/usr/sbin/dnsmasq", *words], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        wait_until(self.up, "dnsmasq is up")

    def up(self):
        with socket.socket(socket.AF_INET) as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def hang(self, still):
        self.process.send_signal(signal.SIGSTOP if still else signal.SIGCONT)

    def stop(self):
        self.hang(False)
        self.process.terminate()
        self.process.wait(10)
        self.log.close()


def test_a_real_name_server(make_door, connect, tmp_path):
    """dnsmasq: names confirmed, forged and missing; then it hangs, and comes back."""
    server = Dnsmasq(tmp_path, ["--host-record=host.sub.example.com,127.0.0.2", "--ptr-record=5.0.0.127.in-addr.arpa,forged.example.com",
                                "--address=/forged.example.com/127.0.0.99", "--host-record=later.example.com,127.0.0.6", "--local=/in-addr.arpa/"])
    try:
        door = named(make_door, server, access=["GreetPause:example.com 0", "GreetPause:[127.0.0.4] 0", "GreetPause:[127.0.0.6] 5"])
        seen = {}
        for source in ("127.0.0.2", "127.0.0.4", "127.0.0.5"):
            client = connect(door, source)
            assert read_line(client).startswith(b"220 ")
            seen[source] = command(client, "HELO x").split(b"Hello ")[1].split(b", pleased")[0]
            client.close()
        assert seen == {"127.0.0.2": b"host.sub.example.com [127.0.0.2]", "127.0.0.4": b"[127.0.0.4]", "127.0.0.5": b"forged.example.com [127.0.0.5] (may be forged)"}
        server.hang(True)
        client = connect(door, "127.0.0.6")
        begin = time.monotonic()
        assert read_line(client).startswith(b"220 ")
        assert 0.6 < time.monotonic() - begin < 2
        client.close()
        assert door.wait_verdict("patient")[-1]["name"] == "timeout"
        server.hang(False)
        client = connect(door, "127.0.0.6")
        assert read_line(client).startswith(b"220 ")
        assert command(client, "HELO x").startswith(b"250 mail.example.org Hello later.example.com [127.0.0.6]")
    finally:
        server.stop()


def assert_told(reply, expected):
    either = [expected.replace("(TEMP|FAIL)", word) for word in ("TEMP", "FAIL")]
    assert reply.decode() in either


def test_macros_of_reject_msg(make_door, connect, server):
    """What a refused client reads of itself, at once and at RCPT; its name is asked for, though no key needs it. A hostile name never gets that far."""
    text = "550 5.7.1 $&{client_name}|$&{client_ptr}|$&{client_resolve}|$&{client_addr}|$j|$x|"
    seen = {"127.0.0.2": "host.sub.example.com|host.sub.example.com|OK|127.0.0.2", "127.0.0.4": "[127.0.0.4]|[127.0.0.4]|FAIL|127.0.0.4",
            "127.0.0.5": "[127.0.0.5]|forged.example.com|FORGED|127.0.0.5", "127.0.0.20": "[127.0.0.20]|[127.0.0.20]|TEMP|127.0.0.20",
            "127.0.0.6": "[127.0.0.6]|[127.0.0.6]|(TEMP|FAIL)|127.0.0.6"}  # by the version of c-ares
    server.reverse["6.0.0.127.in-addr.arpa"] = "a\r\n250 ok.example.com"
    for delayed in (False, True):
        door = named(make_door, server, greet_pause=0, access=["Connect:127 REJECT", "Connect:127.0.0.9 550 $&{client_addr}"], reject_msg=text, delay_checks="on" if delayed else "off")
        for source, expected in seen.items():
            client = connect(door, source)
            assert read_line(client).startswith(b"220 ")
            assert command(client, "HELO x").startswith(b"250 ")
            if delayed:
                assert command(client, "MAIL FROM:<a@example.com>").startswith(b"250 ")
                assert_told(command(client, "RCPT TO:<b@example.org>"), f"550 5.7.1 <b@example.org>... {expected}|mail.example.org||\r\n")
            else:
                assert_told(command(client, "MAIL FROM:<a@example.com>"), f"550 5.7.1 {expected}|mail.example.org||\r\n")
            assert command(client, "QUIT").startswith(b"221 ")
            client.close()
        # The text of a value is no text of the configuration.
        client = connect(door, "127.0.0.9")
        assert read_line(client).startswith(b"220 ")
        command(client, "HELO x")
        said = command(client, "MAIL FROM:<a@example.com>") if not delayed else [command(client, w) for w in ("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>")][1]
        assert said.endswith(b"$&{client_addr}\r\n")


def test_name_servers_that_are_silent_are_told_of_once(make_door, connect, server):
    """Many clients in a row without an answer are no matter of theirs: one line says so, another when it is over, and tarry status counts."""
    door = named(make_door, server, greet_pause=0, resolve="always", resolve_timeout=100, max_per_client=0, fronts=1)
    for clients in ([connect(door, "127.0.0.21") for _ in range(10)] for _ in range(3)):
        assert all(read_line(c).startswith(b"220 ") for c in clients)
    told = door.wait_for(lambda d: d.get("event") == "names_silent")
    assert len(told) == 1 and f"resolver = 127.0.0.1:{server.port}" in told[0]["msg"]
    assert read_line(connect(door, "127.0.0.2")).startswith(b"220 ")
    door.wait_for(lambda d: d.get("event") == "names_back" and "30 clients" in d["msg"])
    said = subprocess.run([door.binary, "status", "-c", str(door.config)], capture_output=True, text=True, timeout=60, check=False).stdout
    assert "names        1 that lead back, 0 that do not, 0 clients without one; of 0 no name server could tell, of 30 none in time\n" in said
