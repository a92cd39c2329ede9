"""Several backends, and each way in which one learns its client's address: real Postfixes behind the door, and backends that misbehave at every step."""
import re
import smtplib
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from collections import Counter

import pytest

import dns
import mta
from door import PATIENCE
from talk import Background, Backend, command, read_all, read_line, read_reply

FULL = b"421 4.3.2 "
OFFER = b"250-mx.example.net\r\n250-PIPELINING\r\n250-XCLIENT NAME ADDR PORT\r\n250-X_PIPE_CONNECT\r\n250-PIPE_CONNECT\r\n250 PIPECONNECT\r\n"


@pytest.fixture
def backend():
    one = Backend()
    yield one
    one.close()


@pytest.fixture
def names():
    server = dns.Server({"127.0.0.9": "client.example.com", "127.0.0.8": ["liar.example.com", "127.0.0.99"], "127.0.0.20": "SERVFAIL"})
    yield server
    server.stop()


@pytest.fixture
def postfixes(scratch):
    """make(smtpd=…, more=…): a Postfix that ends with the test. Its folder has a short name, since those of its sockets do not fit otherwise."""
    all_of_them = []

    def make(**options):
        folder = Path(tempfile.mkdtemp(prefix="p", dir=scratch))
        folder.chmod(0o755)
        one = mta.Postfix(folder, **options)
        all_of_them.append(one)
        return one.start()

    yield make
    for one in all_of_them:
        one.stop()


def section(name, port, what):
    return f'backend "{name}" {{ address = "smtp:127.0.0.1:{port}" {what} }}'


def behind(make_door, sections, **options):
    door = make_door(start=False, **{"greet_pause": 0, "fronts": 1, **options})
    door.verbatim = list(sections)
    return door.start()


def client_from(door, source):
    return smtplib.SMTP("127.0.0.1", door.port, source_address=(source, 0), timeout=PATIENCE)


def subjects(postfix):
    found = [re.search(r"^Subject: (.*)$", p.read_text(), re.M).group(1) for p in (postfix.mail / "victim" / "new").glob("*")]
    return Counter(found)


@pytest.mark.parametrize("normalize,found", [("no", {"outer": 1, "smuggled": 1}), ("yes", {"outer": 1})])
def test_normalize(make_door, postfixes, normalize, found):
    """A Postfix of that age takes LF, dot, CRLF for the end of a message, unless it is told not to or never gets to see it."""
    postfix = postfixes(smtpd=True)
    door = behind(make_door, [section("one", postfix.port, f"proxy = v2 normalize = {normalize}")], local_greet_pause=["* 0"])
    with socket.create_connection(("127.0.0.1", door.port), timeout=PATIENCE) as s:
        assert read_reply(s).startswith(b"220 ")
        for line in ("EHLO c.example", "MAIL FROM:<a@b.example>", "RCPT TO:<victim@example.org>"):
            assert command(s, line)[:3] == b"250"
        assert command(s, "DATA")[:3] == b"354"
        s.sendall(b"Subject: outer\r\n\r\nhi\n.\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nSubject: smuggled\r\n\r\ninner\r\n.\r\nQUIT\r\n")
        assert b"221 " in read_all(s)
    deadline = time.monotonic() + PATIENCE
    while subjects(postfix) != found and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    assert subjects(postfix) == found


# ---- several ------------------------------------------------------------------------------------------------------------------------------

def test_two_postfixes_share_and_take_over(make_door, postfixes):
    """100 messages over 40 connections at a time of which one Postfix is killed and started again: what was acknowledged is there, once."""
    one, two = postfixes(smtpd=True), postfixes(smtpd=True)
    door = behind(make_door, [section("one", one.port, "proxy = v2"), section("two", two.port, "proxy = v1")], backend_timeout=15000)
    acknowledged, lock, stopped = [], threading.Lock(), threading.Event()

    def send(worker):
        for i in range(10):
            if worker == 0 and i == 3:
                one.stop()
                stopped.set()
            if worker == 0 and i == 7:
                one.start()
            subject = f"w{worker}-{i}"
            try:
                with client_from(door, f"127.0.1.{worker + 1}") as client:
                    client.sendmail("sender@example.net", ["victim@example.org"], f"Subject: {subject}\r\n\r\nhi\r\n")
            except (smtplib.SMTPException, OSError):
                continue  # not acknowledged: it was in the middle of it
            with lock:
                acknowledged.append(subject)

    workers = [Background(send, n) for n in range(10)]
    for worker in workers:
        worker.result()
    mta.wait_until(lambda: set(acknowledged) <= set(subjects(one) + subjects(two)), "all of it is delivered")
    found = subjects(one) + subjects(two)
    assert len(acknowledged) >= 80 and not [s for s in acknowledged if found[s] != 1], (len(acknowledged), found)
    used = Counter(d["backend"] for d in door.wait_verdict("exempt", len(acknowledged)))
    assert used["one"] > 5 and used["two"] > 30, used
    assert not door.verdicts("nobackend")
    assert {d["backend"] for d in door.events("backend_down")} == {"one"}
    mta.wait_until(lambda: tried(door), "the one that was down is used again")
    assert door.events("backend_up")


def tried(door):
    with client_from(door, "127.0.0.1") as client:
        client.noop()
    return door.events("backend_up")


def test_all_down_and_one_back(make_door, connect):
    first, second = mta.free_port(), mta.free_port()
    door = behind(make_door, [section("a", first, "proxy = v1"), section("b", second, "proxy = v1")])
    for _ in range(3):
        assert read_all(connect(door)).startswith(FULL)
    assert sorted(d["backend"] for d in door.wait_for(lambda d: d.get("event") == "backend_down", 2)) == ["a", "b"]
    with socket.create_server(("127.0.0.1", second)) as listener:
        listener.settimeout(PATIENCE)
        server = Background(lambda: listener.accept()[0])
        while server.is_alive():
            client = connect(door)
            if not server.is_alive():
                break
            client.close()
            time.sleep(0.02)
        there = server.result()
        with there:
            assert read_line(there).startswith(b"PROXY TCP4 127.0.0.1 ")
    assert [d["backend"] for d in door.log() if d.get("event") == "backend_up"] in ([], ["b"])


def test_no_more_than_max_over_all_fronts(make_door, connect, backend):
    """Clients of both fronts, and a limit of three: the fourth waits and is served as soon as one leaves."""
    door = behind(make_door, [section("a", backend.socket.getsockname()[1], "proxy = v1 max = 3")], fronts=2, greet_pause=50, backend_timeout=PATIENCE * 1000)
    clients = [connect(door, f"127.0.0.{n}") for n in range(1, 7)]
    backend.socket.settimeout(PATIENCE)
    inside = [backend.accept() for _ in range(3)]
    backend.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        backend.accept()
    ports = [read_line(s).split()[4] for s in inside]
    by_port = {str(c.getsockname()[1]).encode(): c for c in clients}
    for i, s in enumerate(inside):
        s.sendall(b"220 %d\r\n" % i)
        assert read_line(by_port[ports[i]]) == b"220 %d\r\n" % i
    backend.socket.settimeout(PATIENCE)
    waiting = [c for p, c in by_port.items() if p not in ports]
    inside[0].close()
    fourth = backend.accept()
    port = read_line(fourth).split()[4]
    assert by_port[port] in waiting
    fourth.sendall(b"220 four\r\n")
    assert read_line(by_port[port]) == b"220 four\r\n"
    waiting.remove(by_port[port])
    waiting[0].sendall(b"EHLO x\r\n")  # who waits for room and talks is early
    assert read_line(waiting[0]).startswith(b"554 ")
    assert len(door.wait_verdict("early")) == 1


def test_check_lists_all_of_them(make_door, binary):
    door = make_door(start=False)
    door.verbatim = [section("a", 1025, "proxy = v2 weight = 3"), section("b", 1026, "xclient = yes max = 20"), 'backend "c" { address = "mail:" }']
    door.write_config()
    done = subprocess.run([binary, "check", "-c", door.config], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert "# backend      a, smtp:127.0.0.1:1025; told the client's address by PROXY v2; weight 3\n" in done.stdout
    assert "# backend      b, smtp:127.0.0.1:1026; told the client's name and address by XCLIENT; 20 connections at most\n" in done.stdout
    assert "# backend      the mail server inside, for example.org\n" in done.stdout


# ---- the client's address, as a real Postfix sees it ---------------------------------------------------------------------------------------

XCLIENT = {"smtpd_authorized_xclient_hosts": "127.0.0.1/32"}


@pytest.mark.parametrize("how,options", [("proxy = v1", True), ("proxy = v2", True), ("xclient = yes", XCLIENT)], ids=["v1", "v2", "xclient"])
def test_postfix_sees_the_client(make_door, postfixes, names, how, options):
    postfix = postfixes(smtpd=options, more="inet_protocols = all\n")
    door = behind(make_door, [section("postfix", postfix.port, how)], resolver=f"127.0.0.1:{names.port}", listens=("127.0.0.1:0", "[::1]:0"))
    for source in ("127.0.0.9", "127.0.0.8", "127.0.0.20"):
        with client_from(door, source) as client:
            client.sendmail("sender@example.net", ["victim@example.org"], f"Subject: {source}\r\n\r\nhi\r\n")
    with smtplib.SMTP("::1", door.addresses[1][1], timeout=PATIENCE) as client:
        client.sendmail("sender@example.net", ["victim@example.org"], "Subject: six\r\n\r\nhi\r\n")
    mta.wait_until(lambda: sum(subjects(postfix).values()) == 4, postfix.log())
    received = {re.search(r"^Subject: (.*)$", p.read_text(), re.M).group(1): p.read_text() for p in (postfix.mail / "victim" / "new").glob("*")}
    for source in ("127.0.0.9", "127.0.0.8", "127.0.0.20"):
        assert f"[{source}])" in received[source], received[source]
    assert "[IPv6:::1])" in received["six"] or "[::1])" in received["six"], received["six"]
    if how == "xclient = yes":
        assert "(client.example.com [127.0.0.9])" in received["127.0.0.9"], received
        assert "(unknown [127.0.0.8])" in received["127.0.0.8"], received
        log = postfix.log()
        assert "client=client.example.com[127.0.0.9]" in log and "client=unknown[127.0.0.8]" in log and "client=unknown[127.0.0.20]" in log, log
    assert "client=localhost" not in postfix.log()


def test_postfix_refuses_at_connect_what_xclient_tells_it(make_door, postfixes, connect, scratch):
    """Its decision about the client, in place of its second greeting, is the client's greeting."""
    rules = scratch / "clients.cidr"
    rules.write_text("127.0.0.66 REJECT not you\n127.0.0.67 450 4.7.1 later\n")
    postfix = postfixes(smtpd={**XCLIENT, "smtpd_delay_reject": "no", "smtpd_client_restrictions": f"check_client_access,cidr:{rules}"})
    door = behind(make_door, [section("postfix", postfix.port, "xclient = yes")], resolve="never")
    assert read_line(connect(door, "127.0.0.65")).startswith(b"220 postfix.example.net ")
    assert b"not you" in read_line(refused := connect(door, "127.0.0.66"))
    assert b"later" in read_line(connect(door, "127.0.0.67"))
    refused.close()
    assert not door.events("backend_down")
    assert {d["client"]: d["greeting"][0] for d in door.wait_for(lambda d: "greeting" in d and "verdict" in d)} == {"127.0.0.66": "5"}


def test_postfix_that_does_not_offer_xclient_gets_no_mail(make_door, postfixes, connect):
    closed = postfixes(smtpd={"smtpd_authorized_xclient_hosts": "192.0.2.1"})
    door = behind(make_door, [section("closed", closed.port, "xclient = yes")], resolve="never")
    assert read_all(connect(door)).startswith(FULL)
    down = door.wait_for(lambda d: d.get("event") == "backend_down")[0]
    assert (down["backend"], down["error"]) == ("closed", "does not offer XCLIENT to us (Postfix: smtpd_authorized_xclient_hosts)")


def certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", folder / "key.pem", "-out", folder / "cert.pem",
                    "-days", "2", "-subj", "/CN=postfix.example.net"], check=True, capture_output=True, timeout=PATIENCE)
    return f"smtpd_tls_cert_file = {folder}/cert.pem\nsmtpd_tls_key_file = {folder}/key.pem\nsmtpd_tls_security_level = may\n"


@pytest.mark.parametrize("how,options", [("proxy = v2", {"smtpd_upstream_proxy_protocol": "haproxy", **XCLIENT}), ("xclient = yes", XCLIENT)], ids=["v2", "xclient"])
def test_a_client_cannot_say_that_it_is_somebody_else(make_door, postfixes, tmp_path, how, options):
    """Not in clear, where the door refuses it, and not within TLS, where a Postfix that knows the client's address does."""
    postfix = postfixes(smtpd=options, more=certificate(tmp_path))
    door = behind(make_door, [section("postfix", postfix.port, how)], resolve="never")
    untrusting = ssl.create_default_context()
    untrusting.check_hostname, untrusting.verify_mode = False, ssl.CERT_NONE
    with client_from(door, "127.0.0.9") as client:
        client.ehlo()
        assert not client.has_extn("xclient") and not client.has_extn("xforward") and client.has_extn("starttls") and client.has_extn("pipelining")
        for verb in ("XCLIENT", "xclient", "XFORWARD"):
            assert client.docmd(verb, "ADDR=192.0.2.1")[0] == 550
        assert client.starttls(context=untrusting)[0] == 220
        client.ehlo()
        assert not client.has_extn("xclient")
        assert client.docmd("XCLIENT", "ADDR=192.0.2.1")[0] // 100 == 5
        client.sendmail("sender@example.net", ["victim@example.org"], "Subject: sealed\r\n\r\nhi\r\n")
    mta.wait_until(lambda: subjects(postfix)["sealed"] == 1, postfix.log())
    assert "[127.0.0.9]" in postfix.log() and "192.0.2.1]" not in postfix.log()


# ---- what the door keeps to itself ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["proxy = no", "proxy = v1", "xclient = yes"])
def test_what_is_struck_and_refused(make_door, connect, backend, how):
    """Of an exempt client, which is not watched any more once MAIL has passed, unless the backend would believe it."""
    door = behind(make_door, [section("a", backend.socket.getsockname()[1], how)], resolve="never", local_greet_pause=["* 0"])
    client = connect(door)
    there = backend.accept()
    if how == "proxy = v1":
        assert read_line(there).startswith(b"PROXY TCP4 ")
    there.sendall(b"220 mx\r\n")
    if how == "xclient = yes":
        assert read_line(there) == b"EHLO mail.example.org\r\n"
        there.sendall(OFFER)
        assert read_line(there) == b"XCLIENT PORT=%d NAME=[UNAVAILABLE] ADDR=127.0.0.1\r\n" % client.getsockname()[1]
        there.sendall(b"220 mx\r\n")
    assert read_line(client) == b"220 mx\r\n"
    client.sendall(b"eHlO me\n")
    assert read_line(there) == b"eHlO me\r\n"
    there.sendall(OFFER)
    assert [read_line(client) for _ in range(2)] == [b"250-mx.example.net\r\n", b"250 PIPELINING\r\n"]
    for verb in (b"XCLIENT", b"xforward"):
        client.sendall(verb + b" ADDR=192.0.2.1\r\n")
        assert read_line(client) == b"550 5.7.1 Not allowed\r\n"
    client.sendall(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n")
    assert read_line(there) == b"MAIL FROM:<a@b>\r\n"  # and nothing of the others before it
    assert read_line(there) == b"RCPT TO:<c@d>\r\n"
    there.sendall(b"250 ok\r\n250 ok\r\n")
    assert read_line(client) == read_line(client) == b"250 ok\r\n"
    client.sendall(b"XCLIENT ADDR=192.0.2.1\r\nNOOP\r\n")
    if how == "proxy = v1":  # it knows the client, and takes such a word from no client
        assert read_line(there) == b"XCLIENT ADDR=192.0.2.1\r\n"
    else:
        assert read_line(client) == b"550 5.7.1 Not allowed\r\n"
    assert read_line(there) == b"NOOP\r\n"


# ---- backends that misbehave ---------------------------------------------------------------------------------------------------------------

LONG_LINE = b"250-" + b"x" * 100_000
ENDLESS = b"250-x\r\n" * 20_000
BEGIN = {"greeting": b"", "ehlo": b"220 mx\r\n", "xclient": b"220 mx\r\n" + b"|" + OFFER}


@pytest.mark.parametrize("at", list(BEGIN))
@pytest.mark.parametrize("what", [b"\x00\xff garbage\r\n", LONG_LINE, ENDLESS, b"220 mx\r\n250 mx\r\n250 more\r\n", b"250", None], ids=["garbage", "long", "endless", "ahead", "stalls", "closes"])
def test_a_backend_that_is_none(make_door, connect, at, what):
    """Told by XCLIENT or not, at each step: the client is served by the next backend and sees nothing of this one."""
    bad, good = Backend(), Backend()
    door = behind(make_door, [section("bad", bad.socket.getsockname()[1], "xclient = yes weight = 2"), section("good", good.socket.getsockname()[1], "proxy = v1")],
                  resolve="never", backend_timeout=2000)
    try:
        client = connect(door)
        there = bad.accept()
        for step in BEGIN[at].split(b"|"):
            if step:
                there.sendall(step)
                read_line(there)
        try:
            if what:
                there.sendall(what)
            else:
                there.close()
        except OSError:
            pass  # the door did not want to hear all of it
        second = good.accept(b"220 good\r\n")
        assert read_line(client) == b"220 good\r\n"
        assert read_line(second).startswith(b"PROXY ")
        assert command_through(client, second, b"NOOP\r\n") == b"250 ok\r\n"
        assert [d["backend"] for d in door.wait_for(lambda d: d.get("event") == "backend_down")] == ["bad"]
    finally:
        bad.close()
        good.close()


def command_through(client, there, line):
    client.sendall(line)
    assert read_line(there) == line
    there.sendall(b"250 ok\r\n")
    return read_line(client)


@pytest.mark.parametrize("how", ["proxy = no", "proxy = v1"])
@pytest.mark.parametrize("what", [b"\x00\xff garbage\r\n", LONG_LINE, ENDLESS, b"250 one\r\n250 two\r\n"], ids=["garbage", "long", "endless", "ahead"])
def test_a_backend_that_goes_mad_after_ehlo(make_door, connect, backend, how, what):
    """The client is told that something is wrong, in one line, and both are rid of each other."""
    door = behind(make_door, [section("a", backend.socket.getsockname()[1], how)])
    client = connect(door)
    there = backend.accept(b"220 mx\r\n")
    assert read_line(client) == b"220 mx\r\n"
    client.sendall(b"EHLO me\r\n")
    line = read_line(there)
    assert (read_line(there) if line.startswith(b"PROXY ") else line) == b"EHLO me\r\n"
    sender = Background(send_until_closed, there, what)
    rest = read_all(client)
    client.close()
    sender.result()
    assert len(rest) < 64 * 1024 and rest.count(b"421 ") <= 1
    end = door.wait_verdict("exempt")[0]
    assert end["end"] in ("protocol", "backend") and end.get("error", "").startswith("the mail server"), end


def send_until_closed(there, what):
    try:
        there.sendall(what)
        read_all(there)
    except OSError:
        pass
