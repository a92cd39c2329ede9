"""What speaks another protocol, by real clients of it: openssl, curl, ssh, a load balancer's header. And the teaser, in front of real mail servers."""
import smtplib
import ssl
import subprocess

import pytest

from door import PATIENCE
from inetd import Exim
from mta import Postfix, wait_until
from talk import Backend, Background, REFUSAL, command, read_all, read_line
from test_tls import certificates, tls_door, wrap  # noqa: F401 (fixtures)

LONG = 60_000
TEASER = b"220-mail.example.org ESMTP\r\n"
OWED = b"220 mail.example.org ESMTP not accepting messages\r\n"
TLS_TEXT = b"521 5.5.1 mail.example.org This port speaks SMTP in clear: TLS begins with STARTTLS\r\n"


@pytest.fixture
def backend():
    one = Backend()
    yield one
    one.close()


def run(*command_line, text=None):
    return subprocess.run([str(c) for c in command_line], input=text, capture_output=True, text=True, timeout=PATIENCE, check=False)


def hello_of_tls():
    """A ClientHello as Python's OpenSSL makes it."""
    out = ssl.MemoryBIO()
    session = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(ssl.MemoryBIO(), out, server_hostname="mail.example.org")
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    return out.read()


# ---- before the greeting -----------------------------------------------------------------------------------------------------------------

def test_tls_on_a_plain_port(make_door, connect):
    """Who looks at what comes back can read what is wrong; openssl itself says that it is no TLS, at once."""
    door = make_door(greet_pause=LONG)
    client = connect(door)
    client.sendall(hello_of_tls())
    assert read_all(client) == TLS_TEXT
    client.close()
    done = run("openssl", "s_client", "-connect", f"127.0.0.1:{door.port}", text="")
    assert done.returncode != 0 and "wrong version number" in done.stderr + done.stdout, done.stderr
    lines = door.wait_verdict("early", 2)
    assert all((d["kind"], d["reaction"]) == ("tls", "drop") and d["data"].startswith(r"\x16\x03\x01") for d in lines), lines
    assert (door.counters()["early_tls"], door.counters()["early"]) == (2, 2)


def test_curl(make_door):
    door = make_door(greet_pause=LONG)
    done = run("curl", "-sS", "--noproxy", "*", "--http0.9", f"http://127.0.0.1:{door.port}/")
    assert done.stdout == "521 5.5.1 mail.example.org This port speaks SMTP, not HTTP\n", (done.stdout, done.stderr)
    done = run("curl", "-sS", "--http0.9", "--proxytunnel", "--proxy", f"http://127.0.0.1:{door.port}", "smtp://mx.example.net:25/")
    assert done.returncode != 0
    lines = door.wait_verdict("early", 2)
    assert [d["kind"] for d in lines] == ["http", "http"] and lines[1]["data"].startswith("CONNECT mx.example.net:25")
    assert door.counters()["early_http"] == 2


def test_ssh(make_door):
    """ssh shows what comes before the other side's own first line, with -v."""
    door = make_door(greet_pause=LONG)
    done = run("ssh", "-v", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-p", door.port, "127.0.0.1", "true")
    assert done.returncode == 255 and "This port speaks SMTP, not SSH" in done.stderr, done.stderr
    assert door.wait_verdict("early")[0]["kind"] == "ssh"


@pytest.mark.parametrize("header", [b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\0\x01\0\x19"])
def test_a_load_balancer_that_nobody_expects(make_door, connect, header, binary):
    """Its clients may come again, and the log says what there is to do."""
    door = make_door(greet_pause=LONG)
    client = connect(door, "127.0.0.7")
    client.sendall(header)
    assert read_all(client) == b"421 4.7.0 mail.example.org No PROXY header is taken from [127.0.0.7]\r\n"
    line = door.wait_verdict("early")[0]
    assert (line["client"], line["kind"], line["reaction"]) == ("127.0.0.7", "proxy", "tempfail") and "proxy = yes" in line["hint"]
    other = connect(door)
    other.sendall(b"QUIT\r\n")
    assert read_all(other).startswith(REFUSAL)
    door.wait_verdict("early", 2)
    said = run(binary, "status", "-c", door.config).stdout.splitlines()
    assert "early talk   1 smtp, 1 proxy" in said and any(text.startswith("warning      clients began with a PROXY header") for text in said), said


def test_as_sendmail(make_door, connect):
    """With refuse, every kind gets what Sendmail says."""
    door = make_door(greet_pause=LONG, early_tls="refuse", early_http="refuse", early_proxy="refuse", early_ssh="refuse")
    for said in (hello_of_tls() + b"\r\nQUIT\r\n", b"GET / HTTP/1.0\r\nQUIT\r\n", b"PROXY UNKNOWN\r\nQUIT\r\n", b"SSH-2.0-x\r\nQUIT\r\n"):
        client = connect(door)
        client.sendall(said)
        lines = read_all(client).split(b"\r\n")
        assert lines[0] + b"\r\n" == REFUSAL and lines[1].startswith(b"500 5.5.1 Command unrecognized: ") and lines[-2].startswith(b"221 ")


def test_what_check_says_of_it(make_door, binary):
    door = make_door(start=False, early_ssh="close", early_http="tempfail 450 4.7.1 Later", greet_teaser="yes")
    door.write_config()
    done = run(binary, "check", "-c", door.config)
    assert done.returncode == 0, done.stderr
    assert "# early talk   refuse: smtp, session, text, binary; drop: tls; tempfail: http, proxy; close: ssh\n" in done.stdout
    assert "# teaser       220-mail.example.org ESMTP\n" in done.stdout
    door.verbatim = ['early_tls = "drop 250 welcome"']
    door.write_config()
    number = door.config.read_text().splitlines().index(door.verbatim[0]) + 1
    done = run(binary, "check", "-c", door.config)
    assert done.returncode == 78
    assert done.stderr == f'tarry: {door.config}:{number}: early_tls = "drop 250 welcome": drop with a reply that is no refusal; expected a code of the class 4 or 5, such as 521\n'
    door.verbatim = ['early_tls = "drop 521 $x $&{client_addr}"']
    door.write_config()
    done = run(binary, "check", "-c", door.config)
    assert done.returncode == 0 and "early_tls: $x: no macro" in done.stderr


# ---- after it ----------------------------------------------------------------------------------------------------------------------------

def test_nothing_of_it_reaches_the_server_behind(make_door, connect, backend):
    """A browser that is told to post a message to a mail server."""
    door = make_door(greet_pause=0, backends={"behind": (backend.at, "no")})
    page = Background(run, "curl", "-sS", "--noproxy", "*", "--http0.9", "--data-binary", "EHLO x\r\nMAIL FROM:<a@b>\r\n", f"http://127.0.0.1:{door.port}/")
    behind = backend.accept(b"220 behind ESMTP\r\n")
    assert read_all(behind) == b""
    assert page.result().stdout.replace("\r", "") == "220 behind ESMTP\n421 4.7.0 mail.example.org Rejecting open proxy [127.0.0.1]\n"
    line = door.wait_for(lambda d: d.get("event") == "forbidden")[0]
    assert line["kind"] == "http" and line["data"].startswith("POST / HTTP/1.1")
    assert door.wait_verdict("exempt")[0]["end"] == "forbidden"
    assert door.counters()["forbidden"] == 1
    # TLS has no lines, and comes in two pieces.
    client = connect(door)
    behind = backend.accept(b"220 behind ESMTP\r\n")
    assert read_line(client) == b"220 behind ESMTP\r\n"
    client.sendall(b"\x16")
    client.sendall(hello_of_tls()[1:])
    assert read_all(client) == b"421 4.7.0 mail.example.org This port speaks SMTP in clear: TLS begins with STARTTLS\r\n"
    assert read_all(behind) == b""


@pytest.mark.parametrize("said,text", [(b"GET / HTTP/1.0\r\n\r\n", b"Rejecting open proxy [127.0.0.1]"), (b"USER joe\r\n", b"Rejecting open proxy [127.0.0.1]"),
                                       (b"\x16\x03\x01\x02\x00", b"This port speaks SMTP in clear: TLS begins with STARTTLS"), (b"SSH-2.0-x\r\n", b"This port speaks SMTP, not SSH")])
def test_the_mail_server_inside(make_door, connect, said, text):
    door = make_door(greet_pause=0)
    client = connect(door)
    assert read_line(client).startswith(b"220 ")
    client.sendall(said)
    assert read_all(client) == b"421 4.7.0 mail.example.org " + text + b"\r\n"
    assert door.wait_for(lambda d: d.get("event") == "forbidden")[0]["client"] == "127.0.0.1"


def test_nothing_is_forbidden(make_door, connect):
    door = make_door(greet_pause=0, forbidden_commands="")
    client = connect(door)
    assert read_line(client).startswith(b"220 ")
    assert command(client, "GET / HTTP/1.0") == b'500 5.5.1 Command unrecognized: "GET / HTTP/1.0"\r\n'
    assert command(client, "QUIT").startswith(b"221 ")


# ---- the teaser --------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["proxy", "xclient"])
def test_the_teaser_in_front_of_a_real_postfix(make_door, connect, scratch, tmp_path, how):
    """swaks and Python's client take the two lines for one greeting; who takes the first one for it is refused."""
    postfix = Postfix(scratch / tmp_path.name, smtpd=True if how == "proxy" else {"smtpd_authorized_xclient_hosts": "127.0.0.0/8"}).start()
    try:
        door = make_door(start=False, greet_pause=300, greet_teaser="yes", resolve="never")
        door.verbatim = ['backend "postfix" { address = "smtp:127.0.0.1:%d"  %s }' % (postfix.port, "proxy = v2" if how == "proxy" else "xclient = yes")]
        door.start()
        done = run("swaks", "--server", "127.0.0.1", "--port", door.port, "--local-interface", "127.0.0.9", "--from", "a@example.net", "--to", "victim@example.org", "--body", "teased")
        assert done.returncode == 0, done.stdout + postfix.log() + door.text()
        assert "<-  220-mail.example.org ESMTP\n<-  220 postfix.example.net ESMTP Postfix" in done.stdout, done.stdout
        with smtplib.SMTP("127.0.0.1", door.port, "client.example.net", timeout=PATIENCE) as client:
            assert client.sendmail("a@example.net", ["victim@example.org"], "Subject: x\r\n\r\nteased too\r\n") == {}
        postfix.wait_log("[127.0.0.9]")
        hasty = connect(door)
        assert read_line(hasty) == TEASER
        hasty.sendall(b"EHLO x\r\nMAIL FROM:<a@example.net>\r\nQUIT\r\n")
        lines = read_all(hasty).split(b"\r\n")
        assert lines[0] + b"\r\n" == OWED and lines[3:] == [b"550 5.0.0 Command rejected", b"221 2.0.0 mail.example.org closing connection", b""]
    finally:
        postfix.stop()
    assert (door.counters()["teased"], door.counters()["patient"], door.counters()["early"]) == (3, 2, 1)


def test_postfix_as_a_client_of_it(make_door, scratch, tmp_path):
    door = make_door(greet_pause=300, greet_teaser="yes")
    postfix = Postfix(scratch / tmp_path.name, relayhost="[127.0.0.1]:%d" % door.port).start()
    try:
        postfix.submit("sender@example.net", "victim@example.org", "Subject: by way of a teaser\n\nhello\n")
        postfix.wait_log("status=sent")
    finally:
        postfix.stop()
    assert len(door.messages()) == 1 and door.wait_verdict("patient") and door.counters()["teased"] == 1


@pytest.mark.parametrize("greeting", [b"554 5.3.2 no mail here\r\n", b"421 4.3.2 too busy\r\n"])
def test_a_backend_that_declines(make_door, scratch, tmp_path, backend, greeting):
    """A real client hears the backend's words at its first command, and takes them for what they are: 5xx is for good, 4xx is not."""
    door = make_door(greet_pause=200, greet_teaser="yes", backends={"behind": (backend.at, "no")})
    sending = Background(run, "swaks", "--server", "127.0.0.1", "--port", door.port, "--from", "a@example.net", "--to", "victim@example.org")
    backend.accept(greeting)
    done = sending.result()
    assert done.returncode == 23 and greeting.decode().strip() in done.stdout, done.stdout  # 23: at MAIL
    line = door.wait_verdict("patient")[0]
    assert line["greeting"] == greeting[:3].decode() and line["end"] == "declined"


def test_a_program_ends_it(make_door, scratch, connect, binary):
    """The program's own 220 is the last line of the reply that the door has begun."""
    server = Exim(scratch / "inetd-teaser")
    door = make_door(start=False, greet_pause=300, greet_teaser="yes", listens=("[::]:0",))
    door.binary = str(server.under(binary))
    door.verbatim = [server.section("")]
    door.start()
    client = connect(("127.0.0.1", door.port))
    assert read_line(client) == TEASER
    assert read_line(client).startswith(b"220 ")
    assert command(client, "EHLO client.example.net").startswith(b"250 ")
    assert command(client, "QUIT").startswith(b"221 ")
    done = run("swaks", "--server", f"127.0.0.1:{door.port}", "--from", "sender@example.net", "--to", server.recipient)
    assert done.returncode == 0, done.stdout
    wait_until(lambda: len(server.messages()) == 1, "a message in the mailbox")


def test_behind_tls_and_a_load_balancer(tls_door, connect):  # noqa: F811
    door = tls_door(greet_teaser="yes")
    client = wrap(door, connect)
    assert read_line(client) == TEASER
    assert read_line(client).startswith(b"220 mail.example.org ESMTP Tarry ")
    assert command(client, "NOOP").startswith(b"250 ")
    hasty = wrap(door, connect)
    assert read_line(hasty) == TEASER
    hasty.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert read_line(hasty) + read_line(hasty) == OWED + b"521 5.5.1 mail.example.org This port speaks SMTP, not HTTP\r\n"


def test_behind_a_load_balancer(make_door, connect):
    door = make_door(greet_pause=300, greet_teaser="yes", listens=(("127.0.0.1:0", 'proxy = yes  trust = { "127.0.0.1" }'),))
    client = connect(door)
    client.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 25\r\n")
    assert read_line(client) == TEASER
    assert read_line(client).startswith(b"220 mail.example.org ESMTP Tarry ")
    hasty = connect(door)
    hasty.sendall(b"PROXY TCP4 192.0.2.3 192.0.2.2 4712 25\r\nQUIT\r\n")
    assert read_all(hasty) == TEASER + OWED + b"221 2.0.0 mail.example.org closing connection\r\n"
    assert door.wait_verdict("early")[0]["client"] == "192.0.2.3"
