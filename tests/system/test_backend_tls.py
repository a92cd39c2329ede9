"""TLS towards a backend: a real Postfix, OpenSSL's server and Python's, and backends that do not keep to it."""
import collections
import contextlib
import os
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import threading
import time

import pytest

from door import PATIENCE
from mta import Postfix, free_port, wait_until
from talk import Backend, Background, command, read_all, read_line
from test_tls import processes

NAME = "mx.example.org"
DOWN = b"421 4.3.2 mail.example.org Service not available, try again later\r\n"


def run(*words):
    subprocess.run([str(w) for w in words], check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """ca.pem, and what it vouches for: NAME, another name, and NAME too long ago."""
    folder = tmp_path_factory.mktemp("authority")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca", "other-ca"):
        run("openssl", "req", "-x509", *key, "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem", "-days", 100, "-subj", "/CN=Test CA")
    (folder / "index").write_text("")
    (folder / "ca.cnf").write_text(f"""[ca]
default_ca = c
[c]
dir = {folder}
new_certs_dir = {folder}
database = {folder}/index
rand_serial = yes
default_md = sha256
policy = p
unique_subject = no
copy_extensions = copy
[p]
commonName = supplied
""")
    for file, name, begin, end in (("good", NAME, "20200101000000Z", "20990101000000Z"), ("wrong", "elsewhere.example.org", "20200101000000Z", "20990101000000Z"),
                                   ("expired", NAME, "20200101000000Z", "20210101000000Z")):
        run("openssl", "req", *key, "-new", "-keyout", folder / f"{file}.key", "-out", folder / f"{file}.csr", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}")
        run("openssl", "ca", "-batch", "-notext", "-config", folder / "ca.cnf", "-cert", folder / "ca.pem", "-keyfile", folder / "ca.key", "-in", folder / f"{file}.csr",
            "-out", folder / f"{file}.pem", "-startdate", begin, "-enddate", end)
    return folder


class TlsBackend(Backend):
    """accept_tls(): the next connection from the door, the handshake done beside the test."""

    def __init__(self, authority, file="good"):
        super().__init__()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(authority / f"{file}.pem", authority / f"{file}.key")
        self.asked = None
        self.context.sni_callback = self.sni

    def sni(self, _socket, name, _context):
        self.asked = name

    def wrap(self, clear):
        return self.context.wrap_socket(clear, server_side=True, suppress_ragged_eofs=True)

    def accept_tls(self, greeting=None):
        s = self.wrap(self.accept())
        self.taken.append(s)
        if greeting:
            s.sendall(greeting)
        return s


@pytest.fixture
def tls_backend(authority):
    made = []

    def make(**more):
        made.append(TlsBackend(authority, **more))
        return made[-1]
    yield make
    for one in made:
        one.close()


@pytest.fixture
def out_door(make_door):
    """A door before these backends: name -> (address, what else stands in its section)."""
    def make(start=True, **more):
        backends = {name: (at, f"{proxy}  {rest}") for name, (at, proxy, rest) in more.pop("behind").items()}
        return make_door(start=start, backends=backends, **{"greet_pause": 200, **more})
    return make


# ---- what is shown with a real one --------------------------------------------------------------------------------------------------------

def postfix_with(folder, authority, file="good", **smtpd):
    keys = {"smtpd_tls_cert_file": authority / f"{file}.pem", "smtpd_tls_key_file": authority / f"{file}.key", "tls_random_source": "dev:/dev/urandom"}
    return Postfix(folder, smtpd={**smtpd, **keys}, more="smtpd_tls_loglevel = 1\n").start()


MODES = {"implicit": {"smtpd_tls_wrappermode": "yes"}, "starttls": {"smtpd_tls_security_level": "encrypt"}}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("proxy", ["no", "v2"])
def test_a_real_postfix(out_door, authority, scratch, tmp_path, mode, proxy):
    """A message, its certificate looked at; the client's address where the header says it."""
    more = {"smtpd_upstream_proxy_protocol": "haproxy"} if proxy != "no" else {}
    postfix = postfix_with(scratch / tmp_path.name, authority, **MODES[mode], **more)
    try:
        door = out_door(behind={"postfix": (f"smtp:127.0.0.1:{postfix.port}", proxy, f'tls = {mode}  tls_ca = "{authority}/ca.pem"  tls_name = "{NAME}"')})
        done = subprocess.run(["swaks", "--server", "127.0.0.1", "--port", str(door.port), "--local-interface", "127.0.0.9", "--from", "a@example.net",
                               "--to", "victim@example.org", "--body", "to postfix"], capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stdout + postfix.log() + door.text()
        assert "STARTTLS" not in done.stdout
        postfix.wait_log("status=sent (delivered to maildir)")
        assert "TLS connection established from" in postfix.log()
        assert ("client=unknown[127.0.0.9]" in postfix.log()) == (proxy == "v2")
    finally:
        postfix.stop()
    line = door.wait_verdict("patient")[0]
    assert line["backend_tls"] == "TLSv1.3" and line["end"] in ("client", "backend")
    assert door.counters()["backend_tls"] == 1


def test_a_real_postfix_with_xclient(out_door, authority, scratch, tmp_path):
    """STARTTLS first, then XCLIENT in it."""
    postfix = postfix_with(scratch / tmp_path.name, authority, **MODES["starttls"], smtpd_authorized_xclient_hosts="127.0.0.0/8")
    try:
        door = out_door(behind={"postfix": (f"smtp:127.0.0.1:{postfix.port}", "no", "tls = starttls  xclient = yes")}, resolve="never")
        done = subprocess.run(["swaks", "--server", "127.0.0.1", "--port", str(door.port), "--local-interface", "127.0.0.9", "--from", "a@example.net",
                               "--to", "victim@example.org", "--body", "to postfix"], capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stdout + postfix.log() + door.text()
        postfix.wait_log("status=sent (delivered to maildir)")
        assert re.search(r"client=\S*\[127\.0\.0\.9\]", postfix.log()), postfix.log()
    finally:
        postfix.stop()


def test_a_real_postfix_in_clear(out_door, scratch, tmp_path):
    """One without TLS gets nothing from a door that was told to want it."""
    postfix = Postfix(scratch / tmp_path.name, smtpd={"smtpd_tls_security_level": "none"}).start()
    try:
        door = out_door(behind={"postfix": (f"smtp:127.0.0.1:{postfix.port}", "no", "tls = starttls")})
        done = subprocess.run(["swaks", "--server", "127.0.0.1", "--port", str(door.port), "--from", "a@example.net", "--to", "victim@example.org"],
                              capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode != 0 and "421 4.3.2" in done.stdout, done.stdout
    finally:
        postfix.stop()
    assert door.wait_verdict("nobackend")[0]["error"] == "does not offer STARTTLS"


# ---- what is said, and when ---------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("proxy", ["no", "v1", "v2"])
def test_implicit(out_door, tls_backend, connect, proxy):
    """The header in clear, then TLS, then all the rest; STARTTLS is nobody's."""
    backend = tls_backend()
    door = out_door(behind={"b": (backend.at, proxy, f'tls = implicit  tls_name = "{NAME}"')})
    client = connect(door)
    behind = backend.accept()
    if proxy == "v1":
        assert read_line(behind).startswith(b"PROXY TCP4 127.0.0.1 ")
    elif proxy == "v2":
        head = behind.recv(16, socket.MSG_WAITALL)
        assert head.startswith(b"\r\n\r\n\0\r\nQUIT\n\x21")
        behind.recv(int.from_bytes(head[14:], "big"), socket.MSG_WAITALL)
    behind = backend.wrap(behind)
    behind.sendall(b"220 b\r\n")
    assert read_line(client) == b"220 b\r\n"
    assert backend.asked == NAME
    client.sendall(b"EHLO x\r\n")
    assert read_line(behind) == b"EHLO x\r\n"
    behind.sendall(b"250-b\r\n250-STARTTLS\r\n250 SIZE\r\n")
    assert [read_line(client), read_line(client)] == [b"250-b\r\n", b"250 SIZE\r\n"]
    assert command(client, "STARTTLS").startswith(b"454 4.7.0 ")
    client.sendall(b"QUIT\r\n")
    assert read_line(behind) == b"QUIT\r\n"
    behind.sendall(b"221 b\r\n")
    behind.unwrap()
    assert read_all(client) == b"221 b\r\n"
    assert door.wait_verdict("patient")[0]["backend_tls"] == "TLSv1.3"


def test_slow_to_connect(out_door, authority, connect):
    """A backend whose queue is full: the connection stands when a second SYN gets through, and then the header is first all the same."""
    backend = TlsBackend(authority)
    backend.socket.listen(0)
    fill = socket.create_connection(backend.socket.getsockname())
    door = out_door(behind={"b": (backend.at, "v1", "tls = implicit")}, greet_pause=0)
    client = connect(door)
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.recv(1) # nor does it give up
    client.settimeout(PATIENCE)
    backend.accept() # fill's
    behind = backend.accept()
    assert read_line(behind).startswith(b"PROXY TCP4 127.0.0.1 ")
    backend.wrap(behind).sendall(b"220 b\r\n")
    assert read_line(client) == b"220 b\r\n"
    fill.close()
    backend.close()


def test_xclient_inside(out_door, tls_backend, connect):
    """The dialogue that tells who the client is is had in TLS."""
    backend = tls_backend()
    door = out_door(behind={"b": (backend.at, "no", "tls = implicit  xclient = yes")})
    client = connect(door)
    behind = backend.accept_tls(b"220 first\r\n")
    assert read_line(behind) == b"EHLO mail.example.org\r\n"
    behind.sendall(b"250-b\r\n250 XCLIENT ADDR\r\n")
    assert read_line(behind) == b"XCLIENT ADDR=127.0.0.1\r\n"
    behind.sendall(b"220 second\r\n")
    assert read_line(client) == b"220 second\r\n"


def test_large_messages(out_door, tls_backend, connect):
    backend = tls_backend()
    door = out_door(behind={"b": (backend.at, "no", "tls = implicit")}, greet_pause=0)
    client = connect(door)
    behind = backend.accept_tls(b"220 b\r\n")
    read_line(client)
    for said, answer in ((b"EHLO x", b"250 b"), (b"MAIL FROM:<a@example.net>", b"250 ok"), (b"RCPT TO:<b@example.org>", b"250 ok"), (b"DATA", b"354 go")):
        client.sendall(said + b"\r\n")
        assert read_line(behind) == said + b"\r\n"
        behind.sendall(answer + b"\r\n")
        assert read_line(client) == answer + b"\r\n"
    body = b"".join(b"%07d" % i + b"y" * 70 + b"\r\n" for i in range(100000)) + b".\r\n"
    sending = Background(client.sendall, body)
    got = b""
    while len(got) < len(body):
        got += behind.recv(1 << 16)
    sending.result()
    assert got == body
    reset_out = b"250 " + b"z" * 400 + b"\r\n"
    behind.sendall(reset_out)
    assert read_line(client) == reset_out


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed(out_door, authority, tls_backend, connect, version):
    """From the second connection on; and a backend that has forgotten all about it is no worse off."""
    backend = tls_backend()
    backend.context.maximum_version = version
    door = out_door(behind={"b": (backend.at, "no", f'tls = implicit  tls_ca = "{authority}/ca.pem"  tls_name = "{NAME}"')}, greet_pause=0, tls_processes=1)
    reused = []
    for n in range(5):
        if n == 3: # it is started again, and its keys for tickets are others
            backend.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            backend.context.load_cert_chain(authority / "good.pem", authority / "good.key")
            backend.context.maximum_version = version
        client = connect(door)
        behind = backend.accept_tls(b"220 b\r\n")
        assert read_line(client) == b"220 b\r\n"
        reused.append(behind.session_reused)
        client.close()
        assert read_all(behind) == b""
        behind.close()
    assert reused == [False, True, True, False, True]
    assert not door.events("backend_down")


def test_many_at_once(out_door, tls_backend):
    """More than the queue of orders holds: all are greeted, each with its own connection."""
    backend, n = tls_backend(), 500
    backend.socket.listen(n)
    door = out_door(behind={"b": (backend.at, "v1", "tls = implicit")}, greet_pause=300, max_per_client=0, backend_timeout=60000)

    def serve():
        for _ in range(n):
            behind = backend.accept()
            port = read_line(behind).split()[4]
            behind = backend.wrap(behind)
            backend.taken.append(behind)
            behind.sendall(b"220 " + port + b"\r\n")

    serving = Background(serve)
    clients = [socket.create_connection(door.address) for _ in range(n)]
    for client in clients:
        client.settimeout(60)
        assert read_line(client) == b"220 %d\r\n" % client.getsockname()[1]
    serving.result()
    for one in (*clients, *backend.taken):
        one.close()
    assert len(door.wait_verdict("patient", n, 60)) == n
    wait_until(lambda: door.counters()["open"] == 0, "all are gone")
    counters = door.counters()
    assert counters["backend_tls"] == n and counters["backend_failures"] == 0


def test_ends_for_clients_too(make_door, authority, tls_backend, connect):
    """TLS on both sides: the door's own STARTTLS in front, and a backend in TLS."""
    backend = tls_backend()
    door = make_door(start=False, greet_pause=0, backends={"b": (backend.at, "no  tls = implicit")})
    for name in ("good.pem", "good.key"):
        (door.folder / name).write_bytes((authority / name).read_bytes())
        (door.folder / name).chmod(0o600)
    door.options.update(tls_certificate=door.folder / "good.pem", tls_key=door.folder / "good.key")
    door.start()
    client = connect(door)
    behind = backend.accept_tls(b"220 b\r\n")
    read_line(client)
    client.sendall(b"EHLO x\r\n")
    assert read_line(behind) == b"EHLO x\r\n"
    behind.sendall(b"250-b\r\n250 STARTTLS\r\n")
    assert [read_line(client), read_line(client)] == [b"250-b\r\n", b"250 STARTTLS\r\n"]
    assert command(client, "STARTTLS").startswith(b"220 ")
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    client = c.wrap_socket(client)
    client.sendall(b"EHLO y\r\n")
    assert read_line(behind) == b"EHLO y\r\n"
    behind.sendall(b"250 b\r\n")
    assert read_line(client) == b"250 b\r\n"


def test_probes(make_door, tls_backend, connect):
    """A prober is told what a client would find."""
    backend = tls_backend()
    door = make_door(listens=[("127.0.0.1:0", 'health = { "127.0.0.8" }')], backends={"b": (backend.at, "no  tls = implicit")})
    prober = connect(door, source="127.0.0.8")
    behind = backend.accept_tls(b"220 b\r\n")
    assert read_line(prober).startswith(b"220 mail.example.org")
    assert read_line(behind) == b"QUIT\r\n"


# ---- STARTTLS ----------------------------------------------------------------------------------------------------------------------------

OURS = b"EHLO mail.example.org\r\n"
OFFER = b"250-b\r\n250-PIPELINING\r\n250 STARTTLS\r\n"


def asked(backend, greeting=b"220 b in clear\r\n", offer=OFFER):
    """The door's connection, its STARTTLS read."""
    behind = backend.accept(greeting)
    assert read_line(behind) == OURS
    behind.sendall(offer)
    assert read_line(behind) == b"STARTTLS\r\n"
    return behind


@pytest.mark.parametrize("proxy", ["no", "v1"])
@pytest.mark.parametrize("xclient", [False, True])
def test_starttls(out_door, tls_backend, connect, proxy, xclient):
    if xclient and proxy != "no":
        pytest.skip("the configuration has one of them")
    backend = tls_backend()
    door = out_door(behind={"b": (backend.at, proxy, f'tls = starttls  tls_name = "{NAME}"' + ("  xclient = yes" if xclient else ""))})
    client = connect(door)
    behind = backend.accept(b"220-b\r\n220 in clear\r\n")
    if proxy == "v1":
        assert read_line(behind).startswith(b"PROXY TCP4 127.0.0.1 ")
    assert read_line(behind) == OURS
    behind.sendall(OFFER)
    assert read_line(behind) == b"STARTTLS\r\n"
    behind.sendall(b"220 go\r\n")
    behind = backend.wrap(behind)
    if xclient:
        assert read_line(behind) == OURS
        behind.sendall(b"250-b\r\n250 XCLIENT ADDR\r\n")
        assert read_line(behind) == b"XCLIENT ADDR=127.0.0.1\r\n"
        behind.sendall(b"220 second\r\n")
        assert read_line(client) == b"220 second\r\n"
    else:
        assert [read_line(client), read_line(client)] == [b"220-b\r\n", b"220 in clear\r\n"]
    assert backend.asked == NAME
    client.sendall(b"EHLO x\r\n")
    assert read_line(behind) == b"EHLO x\r\n"
    behind.sendall(OFFER)
    assert [read_line(client), read_line(client)] == [b"250-b\r\n", b"250 PIPELINING\r\n"]
    assert command(client, "STARTTLS").startswith(b"454 4.7.0 ")
    behind.close()
    assert read_all(client) == b""
    assert door.wait_verdict("patient")[0]["backend_tls"] == "TLSv1.3"


@pytest.mark.parametrize("said,error", [
    ((b"220 b\r\n250 early\r\n",), "speaks before it is asked"),
    ((b"250 b\r\n",), "its greeting is none"),
    ((b"hello\r\n",), "does not speak SMTP"),
    ((b"x" * 5000,), "its line has no end"),
    ((b"220 b\r\n", b"250-b\r\n250 SIZE\r\n"), "does not offer STARTTLS"),
    ((b"220 b\r\n", b"250-STARTTLS\r\n250 SIZE\r\n"), "does not offer STARTTLS"),
    ((b"220 b\r\n", b"502 what\r\n"), "does not take our EHLO, and so not STARTTLS"),
    ((b"220 b\r\n", OFFER + b"220 go\r\n"), "speaks before it is asked"),
    ((b"220 b\r\n", b"250-b\r\n" * 200 + b"250 STARTTLS\r\n"), "its reply has no end"),
    ((b"220 b\r\n", OFFER, b"454 4.7.0 not now\r\n"), "refuses STARTTLS"),
    ((b"220 b\r\n", OFFER, b"220 go\r\n250-b\r\n250 AUTH PLAIN\r\n"), "speaks between its reply to STARTTLS and TLS"),
    ((b"220 b\r\n", OFFER, b"220 go\r\n2"), "speaks between its reply to STARTTLS and TLS"),
    ((b"220 b\r\n", OFFER, b"220 go\r\n", b"250 no TLS at all\r\n"), "TLS: wrong version number"),
    ((b"220 b\r\n", OFFER, b"220 go\r\n", b""), "TLS: closed before the handshake was done"),
    ((b"220 b\r\n", OFFER, b""), "closed before TLS began"),
], ids=range(15))
def test_starttls_fails(out_door, connect, said, error):
    """Whatever is wrong, the client hears a 421, and the backend nothing of the client's."""
    backend = Backend()
    door = out_door(behind={"b": (backend.at, "no", "tls = starttls")}, greet_pause=0)
    client = connect(door)
    behind = backend.accept()
    client.sendall(b"EHLO secret\r\nMAIL FROM:<secret@example.net>\r\n")
    heard = b""
    for n, part in enumerate(said):
        behind.sendall(part)
        if not part:
            behind.shutdown(socket.SHUT_WR)
        elif n + 1 < len(said):
            heard += behind.recv(3, socket.MSG_WAITALL) if n == 2 else read_line(behind)
    assert read_all(client) == DOWN
    try:
        heard += read_all(behind)
    except OSError:
        pass
    assert b"secret" not in heard
    line = door.wait_verdict("nobackend")[0]
    assert line["error"] == error
    assert door.wait_for(lambda d: d.get("event") == "backend_down")[0]["error"] == error
    backend.close()


@pytest.mark.parametrize("file,error", [("wrong", "TLS: hostname mismatch"), ("expired", "TLS: certificate has expired")])
def test_starttls_looks(out_door, authority, tls_backend, connect, file, error):
    bad, good = tls_backend(file=file), tls_backend()
    rest = f'tls = starttls  tls_ca = "{authority}/ca.pem"  tls_name = "{NAME}"'
    door = out_door(behind={"bad": (bad.at, "no", rest + "  weight = 1000"), "good": (good.at, "no", rest)}, greet_pause=0)
    client = connect(door)
    behind = asked(bad)
    behind.sendall(b"220 go\r\n")
    with pytest.raises(ssl.SSLError):
        bad.wrap(behind).recv(1)
    behind = asked(good, b"220 good\r\n")
    behind.sendall(b"220 go\r\n")
    behind = good.wrap(behind)
    assert read_line(client) == b"220 good\r\n"
    client.sendall(b"EHLO x\r\n")
    assert read_line(behind) == b"EHLO x\r\n"
    assert door.wait_for(lambda d: d.get("event") == "backend_down")[0]["error"] == error


@pytest.mark.parametrize("greeting", [b"554-no\r\n554 mail here\r\n", b"421 too many\r\n"])
def test_starttls_refusal(out_door, connect, greeting):
    """A refusal in place of a greeting is the client's to hear, though it is in clear; but nothing of the client's follows it there."""
    backend = Backend()
    door = out_door(behind={"b": (backend.at, "no", "tls = starttls")}, greet_pause=0)
    client = connect(door)
    behind = backend.accept(greeting)
    assert b"".join(read_line(client) for _ in greeting.splitlines()) == greeting
    client.sendall(b"EHLO secret\r\n")
    assert read_all(behind) == b""
    behind.close()
    assert read_all(client) in (b"", b"421 4.3.0 mail.example.org Mail server has gone, closing connection\r\n") # as soon as its EHLO is read
    assert door.wait_verdict("exempt")[0]["greeting"] == greeting[:3].decode()
    backend.close()


@pytest.mark.parametrize("said,error", [((), "no greeting in time"), ((b"220 b\r\n",), "no answer in time to our EHLO and STARTTLS"),
                                        ((b"220 b\r\n", OFFER), "no answer in time to our EHLO and STARTTLS"),
                                        ((b"220 b\r\n", OFFER, b"220 go\r\n"), "no TLS handshake in time")], ids=range(4))
def test_starttls_silent(out_door, connect, said, error):
    backend = Backend()
    door = out_door(behind={"b": (backend.at, "no", "tls = starttls")}, backend_timeout=1500, greet_pause=0)
    client = connect(door)
    begin = time.monotonic()
    behind = backend.accept()
    for part in said:
        behind.sendall(part)
        behind.recv(3)
        time.sleep(0.05)
        behind.recv(100)
    assert read_all(client) == DOWN
    assert 1.4 < time.monotonic() - begin < 10
    assert door.wait_verdict("nobackend")[0]["error"] == error
    backend.close()


def test_starttls_killed(out_door, tls_backend, connect):
    """tarry-tls gone between the 220 and the handshake's end, and while nobody is there: never in clear."""
    backend = tls_backend()
    door = out_door(behind={"b": (backend.at, "no", "tls = starttls")}, tls_processes=1, greet_pause=0)
    client = connect(door)
    behind = asked(backend)
    behind.sendall(b"220 go\r\n")
    assert behind.recv(3, socket.MSG_WAITALL) == b"\x16\x03\x01"
    os.kill(processes(door)[0], signal.SIGKILL)
    assert read_all(client) == DOWN
    try:
        assert b"EHLO" not in read_all(behind)
    except OSError:
        pass
    assert door.wait_verdict("nobackend")[0]["error"] == "TLS: the process that had it has gone"


# ---- backends that are not what they should be ---------------------------------------------------------------------------------------------

class Server:
    """openssl s_server."""

    def __init__(self, authority, file, *more):
        self.port = free_port()
        self.process = subprocess.Popen(["openssl", "s_server", "-accept", f"127.0.0.1:{self.port}", "-cert", authority / f"{file}.pem", "-key", authority / f"{file}.key", *more],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in self.process.stdout:
            if line.startswith("ACCEPT"):
                break

    def stop(self):
        self.process.kill()
        self.process.communicate()


BAD = {
    "wrong": ("wrong", "TLS: hostname mismatch"),
    "expired": ("expired", "TLS: certificate has expired"),
    "stranger": ("good", "TLS: unable to get local issuer certificate"),
    "tls1_1": ("good", "TLS: tlsv1 alert protocol version"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused(out_door, authority, connect, case):
    """The reason is in the log, the client is told to come again, and nothing is said in clear."""
    file, error = BAD[case]
    server = Server(authority, file, *(["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"] if case == "tls1_1" else []))
    ca = "other-ca" if case == "stranger" else "ca"
    try:
        door = out_door(behind={"b": (f"smtp:127.0.0.1:{server.port}", "no", f'tls = implicit  tls_ca = "{authority}/{ca}.pem"  tls_name = "{NAME}"')})
        assert read_all(connect(door)) == DOWN
    finally:
        server.stop()
    line = door.wait_verdict("nobackend")[0]
    assert line["error"] in (error, "TLS: unsupported protocol" if case == "tls1_1" else error), line
    assert door.wait_for(lambda d: d.get("event") == "backend_down")[0]["error"] == line["error"]


@pytest.mark.parametrize("file", ["wrong", "expired"])
def test_not_looked_at(out_door, tls_backend, connect, file):
    """Without tls_ca any certificate will do, as between mail servers."""
    backend = tls_backend(file=file)
    door = out_door(behind={"b": (backend.at, "no", f'tls = implicit  tls_name = "{NAME}"')})
    client = connect(door)
    backend.accept_tls(b"220 b\r\n")
    assert read_line(client) == b"220 b\r\n"


@pytest.mark.parametrize("said", [b"220 in clear\r\n", os.urandom(3000), b"\x16\x03\x03\xff\xff" + b"x" * 70000, b"\x15\x03\x03\x00\x02\x02\x28", b""],
                         ids=["clear", "garbage", "much", "alert", "end"])
def test_no_tls(out_door, connect, said):
    """Clear text, garbage, an alert, an end: failed, and the next one has the client."""
    bad, good = Backend(), Backend()
    door = out_door(behind={"bad": (bad.at, "no", "tls = implicit  weight = 1000"), "good": (good.at, "no", "")})
    client = connect(door)
    behind = bad.accept(said)
    assert behind.recv(3, socket.MSG_WAITALL) == b"\x16\x03\x01" # a hello, and nothing else ever
    behind.shutdown(socket.SHUT_WR)
    good.accept(b"220 good\r\n")
    assert read_line(client) == b"220 good\r\n"
    rest = b""
    try:
        rest = read_all(behind)
    except OSError:
        pass
    assert b"EHLO" not in rest and b"MAIL" not in rest
    assert door.wait_for(lambda d: d.get("event") == "backend_down")[0]["error"].startswith("TLS: ")
    bad.close()
    good.close()


def test_silent(out_door, connect):
    """backend_timeout is for the handshake and the greeting together."""
    backend = Backend()
    door = out_door(behind={"b": (backend.at, "no", "tls = implicit")}, backend_timeout=1500)
    client = connect(door)
    begin = time.monotonic()
    behind = backend.accept()
    assert read_all(client) == DOWN
    assert 1.4 < time.monotonic() - begin < 10
    assert door.wait_verdict("nobackend")[0]["error"] in ("no TLS handshake in time", "TLS: no handshake in time")  # the door's clock, or tarry-tls's
    assert read_all(behind).startswith(b"\x16\x03\x01") # and it is let go
    backend.close()


def test_silent_after_the_handshake(out_door, tls_backend, connect):
    backend = tls_backend()
    door = out_door(behind={"b": (backend.at, "no", "tls = implicit")}, backend_timeout=1500)
    client = connect(door)
    behind = backend.accept_tls()
    assert read_all(client) == DOWN
    assert read_all(behind) == b""
    assert door.wait_verdict("nobackend")[0]["error"] == "no greeting in time"


# ---- tarry-tls ----------------------------------------------------------------------------------------------------------------------------

def test_a_process_is_killed(out_door, tls_backend, connect):
    """In the middle of relays and of a handshake: its connections end, others come, and none goes on in clear."""
    backend = tls_backend()
    door = out_door(behind={"b": (backend.at, "no", "tls = implicit")}, greet_pause=0, tls_processes=1)
    client = connect(door)
    behind = backend.accept_tls(b"220 b\r\n")
    assert read_line(client) == b"220 b\r\n"
    other = connect(door)
    half = backend.accept() # a handshake that nobody answers
    assert half.recv(1) == b"\x16"
    os.kill(processes(door)[0], signal.SIGKILL)
    try:
        assert read_all(client) == b""
        assert read_all(behind) == b""
    except OSError:
        pass
    assert read_all(other) == DOWN
    assert door.wait_verdict("nobackend")[0]["error"] == "TLS: the process that had it has gone"
    half.close()
    wait_until(lambda: len(processes(door)) == 1, "it is back")
    time.sleep(0.3) # the backend is left alone for so long
    client = connect(door)
    backend.accept_tls(b"220 again\r\n")
    assert read_line(client) == b"220 again\r\n"


def test_nobody_there(out_door, tls_backend, connect):
    """Stopped, so that it takes nothing: the client waits, and is served when it goes on."""
    backend = tls_backend()
    door = out_door(behind={"b": (backend.at, "no", "tls = implicit")}, greet_pause=0, tls_processes=1)
    wait_until(lambda: len(processes(door)) == 1, "tarry-tls")
    pid = processes(door)[0]
    os.kill(pid, signal.SIGSTOP)
    client = connect(door)
    clear = backend.accept()
    clear.settimeout(0.5)
    with pytest.raises(TimeoutError):
        clear.recv(1)
    clear.settimeout(PATIENCE)
    os.kill(pid, signal.SIGCONT)
    backend.wrap(clear).sendall(b"220 b\r\n")
    assert read_line(client) == b"220 b\r\n"


def test_killed_in_the_middle_of_mail(out_door, authority, scratch, tmp_path):
    """Before a real Postfix: what was acknowledged is delivered, once; what was not, once or never. Nobody sends a message again."""
    postfix = postfix_with(scratch / tmp_path.name, authority, smtpd_upstream_proxy_protocol="haproxy", **MODES["starttls"])
    acknowledged, tried, stop = set(), set(), threading.Event()

    def send(number):
        n = 0
        while not stop.is_set():
            with contextlib.suppress(OSError, smtplib.SMTPException):
                with smtplib.SMTP("127.0.0.1", door.port, "client.example.net", timeout=30) as session:
                    while not stop.is_set():
                        n += 1
                        tried.add(f"m-{number}-{n}")
                        session.sendmail("a@example.net", ["victim@example.org"], f"Subject: m-{number}-{n}\r\n\r\n{'x' * 2000}\r\n")
                        acknowledged.add(f"m-{number}-{n}")

    def delivered():
        return [re.search(r"^Subject: (\S+)", f.read_text(), re.M).group(1) for f in (postfix.mail / "victim" / "new").glob("*")]

    try:
        door = out_door(behind={"postfix": (f"smtp:127.0.0.1:{postfix.port}", "v2", f'tls = starttls  tls_ca = "{authority}/ca.pem"  tls_name = "{NAME}"')},
                        greet_pause=0, max_per_client=0, tls_processes=2)
        senders = [threading.Thread(target=send, args=(i,), daemon=True) for i in range(10)]
        for s in senders:
            s.start()
        for kills in range(1, 4):
            before = len(acknowledged)
            wait_until(lambda goal=before + 40: len(acknowledged) > goal, "mail goes through")
            os.kill(processes(door)[0], signal.SIGKILL)
            door.wait_for(lambda d: d.get("event") == "role_died" and d.get("role") == "tls", kills)
        before = len(acknowledged)
        wait_until(lambda: len(acknowledged) > before + 40, "mail goes through again")
        stop.set()
        for s in senders:
            s.join(40)
        wait_until(lambda: acknowledged <= set(delivered()), lambda: f"{len(delivered())} of {len(acknowledged)}", 40)
        time.sleep(0.5)
        found = collections.Counter(delivered())
    finally:
        stop.set()
        postfix.stop()
    assert max(found.values()) == 1 and acknowledged <= set(found) <= tried
    assert len(tried) > len(acknowledged) # some were in the middle


# ---- the configuration --------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("rest,said", [
    ('tls = implicit  tls_ca = "/nonexistent"  tls_name = "b.example"', "/nonexistent: No such file"),
    ('tls = implicit  tls_ca = "/etc/passwd"  tls_name = "b.example"', "tls_ca: /etc/passwd: no certificate is in it"),
    ('tls = implicit  tls_ca = "/etc/passwd"', "no name that the certificate should have"),
    ('tls_name = "b.example"', "tls_ca or tls_name, and tls = no"),
    ('tls = implicit  tls_name = "b example"', "not the name of a host"),
])
def test_check(out_door, rest, said):
    door = out_door(start=False, behind={"b": ("smtp:127.0.0.1:9", "no", rest)})
    door.write_config()
    done = subprocess.run([door.binary, "check", "-c", str(door.config)], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode != 0 and said in done.stderr, done.stderr


def test_reload(out_door, authority, tls_backend, connect):
    """A new tls_ca counts from then on; a bad one is refused, and the old one stays."""
    backend = tls_backend()
    door = out_door(start=False, behind={}, greet_pause=0)
    ca = door.folder / "ca.pem"
    ca.write_bytes((authority / "other-ca.pem").read_bytes())
    door.backends = {"b": (backend.at, f'no  tls = implicit  tls_ca = "{ca}"  tls_name = "{NAME}"')}
    door.start()
    client = connect(door)
    with pytest.raises(ssl.SSLError):
        backend.accept_tls()
    assert read_all(client) == DOWN
    for text, event in (((authority / "ca.pem").read_bytes(), None), (b"nothing", "tls_certificate_kept")):
        ca.write_bytes(text)
        done = subprocess.run([door.binary, "reload", "-c", str(door.config)], capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert (done.returncode == 0) == (event is None), done.stdout + done.stderr
        if event:
            door.wait_for(lambda d: d.get("event") == event)
        time.sleep(0.3) # the backend is left alone for so long
        client = connect(door)
        backend.accept_tls(b"220 b\r\n")
        assert read_line(client) == b"220 b\r\n"
