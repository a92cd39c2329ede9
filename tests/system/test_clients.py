"""Real clients and real mail servers: through the door into the Maildir, and behind the door."""
import asyncio
import contextlib
import email
import re
import shutil
import smtplib
import socket
import subprocess
import threading
from email.message import EmailMessage

import pytest
from aiosmtpd.smtp import SMTP

import mta
from door import AS_ROOT, PATIENCE
from talk import ACCEPTED_SESSION, ARTICLE_SESSION, REFUSED_SESSION, command, read_line

PAUSE_MS = 300


def run(arguments, text="", expect=0):
    if not shutil.which(arguments[0]):
        pytest.skip(f"{arguments[0]} is not installed: script/setup test does that")
    done = subprocess.run(arguments, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert expect is None or done.returncode == expect, done.stdout + done.stderr
    return done


def only_message(door, source="127.0.0.1", pause_ms=PAUSE_MS, sender="sender@example.net"):
    """The one message in victim's Maildir, with the headers every delivery gets."""
    paths = door.messages()
    assert len(paths) == 1
    assert not door.stray_files()
    message = email.message_from_bytes(paths[0].read_bytes())
    assert message["Return-Path"] == f"<{sender}>"
    received = message.get_all("Received")[0]
    assert f"[{source}]" in received and "by mail.example.org" in received, received
    waited = re.search(r"(\d+) ms", received)
    if pause_ms:
        assert waited and int(waited.group(1)) >= pause_ms, f"no pause in: {received}"
    return message


@pytest.fixture
def door(make_door):
    return make_door(greet_pause=PAUSE_MS)


# ---- the article's test --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("half_close", [[], ["-N"]], ids=["open", "half-closed"])
def test_piped_session_is_refused(door, half_close):
    done = run(["nc", *half_close, "127.0.0.1", str(door.port)], ARTICLE_SESSION)
    assert done.stdout == REFUSED_SESSION
    early = door.wait_verdict("early")[0]
    assert early["client"] == "127.0.0.1" and early["bytes"] == str(len(ARTICLE_SESSION)) and early["data"].startswith(r"helo localhost.localdomain\n")
    assert door.messages() == []


@pytest.mark.parametrize("half_close", [[], ["-N"]], ids=["open", "half-closed"])
def test_piped_session_is_accepted_without_a_pause(make_door, half_close):
    door = make_door(greet_pause=PAUSE_MS, access=["GreetPause:127.0.0.1\t0"])
    done = run(["nc", *half_close, "127.0.0.1", str(door.port)], ARTICLE_SESSION)
    lines = done.stdout.splitlines()
    assert len(lines) == len(ACCEPTED_SESSION)
    for line, wanted in zip(lines, ACCEPTED_SESSION):
        assert re.fullmatch(wanted, line), line
    message = only_message(door, pause_ms=0)
    assert message["Subject"] == "testing" and message.get_payload() == "1 2 3\n"
    assert door.wait_verdict("exempt")


def test_slammer_and_patient_side_by_side(door):
    """One leaves nothing; the other's mail lies there."""
    with smtplib.SMTP("127.0.0.1", door.port, timeout=PATIENCE) as client:
        refused = run(["nc", "-N", "127.0.0.1", str(door.port)], ARTICLE_SESSION.replace("testing", "slammed"))
        assert refused.stdout.startswith("554 ")
        client.sendmail("sender@example.net", ["victim@example.org"], "Subject: waited\r\n\r\nhi\r\n")
    assert only_message(door)["Subject"] == "waited"


# ---- clients that wait -----------------------------------------------------------------------------------------------------------------

def test_smtplib(door):
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Grüße", "sender@example.net", "victim@example.org"
    message.set_content("first\n.second begins with a dot\n..third with two\nlast\n")
    with smtplib.SMTP("127.0.0.1", door.port, timeout=PATIENCE) as client:
        client.send_message(message)
    got = only_message(door)
    assert got.get_payload().replace("\r\n", "\n") == "first\n.second begins with a dot\n..third with two\nlast\n"
    patient = door.wait_verdict("patient")[0]
    assert float(patient["pause_ms"]) >= PAUSE_MS


def test_swaks(door):
    run(["swaks", "--server", "127.0.0.1", "--port", str(door.port), "--from", "sender@example.net", "--to", "victim@example.org",
         "--header", "Subject: swaks", "--body", "hi", "--helo", "client.example.net"])
    assert only_message(door)["Subject"] == "swaks"


def test_swaks_pipelining(door):
    run(["swaks", "--server", "127.0.0.1", "--port", str(door.port), "--from", "sender@example.net", "--to", "victim@example.org,other@example.org",
         "--header", "Subject: together", "--pipeline"])
    assert only_message(door)["Subject"] == "together"
    assert len(door.messages(user="other")) == 1


def test_msmtp(door, tmp_path):
    run(["msmtp", "-C", "/dev/null", "--host=127.0.0.1", f"--port={door.port}", "--tls=off", "--auth=off", "--from=sender@example.net",
         "victim@example.org"], "Subject: msmtp\n\nhi\n")
    assert only_message(door)["Subject"] == "msmtp"


def test_relaying_is_denied(door):
    with smtplib.SMTP("127.0.0.1", door.port, timeout=PATIENCE) as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            client.sendmail("sender@example.net", ["somebody@example.com"], "Subject: no\r\n\r\n")
    code, text = refused.value.recipients["somebody@example.com"]
    assert code == 550 and text.startswith(b"5.7.1") and text.endswith(b"Relaying denied")
    assert list(door.mail.glob("*/*/new/*")) == []


# ---- mail servers as clients -------------------------------------------------------------------------------------------------------------

def test_postfix_sends_through_the_door(door, scratch):
    postfix = mta.Postfix(scratch / f"postfix-{door.port}", relayhost=f"[127.0.0.1]:{door.port}").start()
    try:
        postfix.submit("sender@example.net", "victim@example.org", "Subject: from Postfix\n\nhi\n")
        postfix.wait_log("status=sent")
    finally:
        postfix.stop()
    assert only_message(door)["Subject"] == "from Postfix"


def test_exim_sends_through_the_door(door, scratch):
    code, log = mta.exim_message(scratch / f"exim-{door.port}", door.port, "sender@example.net", "victim@example.org", "Subject: from Exim\n\nhi\n")
    assert code == 0 and "=> victim@example.org" in log and "Completed" in log, log
    assert only_message(door)["Subject"] == "from Exim"


# ---- mail servers behind the door ----------------------------------------------------------------------------------------------------------

def patient_from(source, port):
    client = smtplib.SMTP(timeout=PATIENCE, source_address=(source, 0))
    client.connect("127.0.0.1", port)
    return client


def test_in_front_of_smtp_sink(make_door):
    sink = mta.unpacked("postfix/usr/sbin/smtp-sink")
    port = mta.free_port()
    account = ["-u", "nobody"] if AS_ROOT else []
    process = subprocess.Popen([sink, *account, f"127.0.0.1:{port}", "10"], env={"LD_LIBRARY_PATH": str(mta.unpacked("postfix/usr/lib/postfix"))},
                               start_new_session=True)
    try:
        mta.wait_until(lambda: mta.answers(port), "smtp-sink listens")
        door = make_door(greet_pause=PAUSE_MS, backends={"sink": (f"smtp:127.0.0.1:{port}", "no")})
        with patient_from("127.0.0.1", door.port) as client:
            client.sendmail("sender@example.net", ["anybody@example.com"], "Subject: sink\r\n\r\n" + "x" * 2000 + "\r\n")
        with socket.create_connection(("127.0.0.1", door.port), PATIENCE) as slammer:
            slammer.sendall(b"HELO x\r\n")
            assert read_line(slammer).startswith(b"554 mail.example.org ")
    finally:
        mta.end_session(process)


def test_in_front_of_postfix(make_door, scratch):
    """Its log shows the client, not the door: the address came by the PROXY protocol."""
    postfix = mta.Postfix(scratch / "postfix-behind", smtpd=True).start()
    try:
        door = make_door(greet_pause=PAUSE_MS, backends={"postfix": (f"smtp:127.0.0.1:{postfix.port}", "v2")})
        with patient_from("127.0.0.7", door.port) as client:
            client.sendmail("sender@example.net", ["victim@example.org"], "Subject: behind\r\n\r\nhi\r\n")
        postfix.wait_log("delivered to maildir")
        assert "[127.0.0.7]" in postfix.log()
        assert list((postfix.mail / "victim" / "new").iterdir())
    finally:
        postfix.stop()


class Keeper:
    def __init__(self):
        self.got = []

    async def handle_PROXY(self, _server, _session, _envelope, _proxy):
        return True

    async def handle_DATA(self, _server, session, envelope):
        proxy = session.proxy_data
        self.got.append((str(proxy.src_addr) if proxy else None, envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 2.0.0 kept"


@contextlib.contextmanager
def aiosmtpd(**options):
    """A port where it listens, and what it got. Not its own Controller: that makes a trial connection, which has no PROXY header."""
    keeper, loop = Keeper(), asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: SMTP(keeper, hostname="python.example.net", loop=loop, **options), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1], keeper.got
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        server.close()


@pytest.mark.parametrize("version", ["v1", "v2", "no"])
def test_in_front_of_aiosmtpd(make_door, version):
    options = {} if version == "no" else {"proxy_protocol_timeout": 5.0}
    with aiosmtpd(**options) as (port, got):
        door = make_door(greet_pause=PAUSE_MS, backends={"python": (f"smtp:127.0.0.1:{port}", version)})
        with patient_from("127.0.0.9", door.port) as client:
            client.sendmail("sender@example.net", ["victim@example.org"], "Subject: behind\r\n\r\nhi\r\n")
    assert got == [(None if version == "no" else "127.0.0.9", "sender@example.net", ["victim@example.org"], b"Subject: behind\r\n\r\nhi\r\n")]


def test_ipv6_client_reaches_the_backend_with_its_address(make_door):
    with aiosmtpd(proxy_protocol_timeout=5.0) as (port, got):
        door = make_door(greet_pause=PAUSE_MS, listens=("[::1]:0",), backends={"python": (f"smtp:127.0.0.1:{port}", "v2")})
        with smtplib.SMTP("::1", door.port, timeout=PATIENCE) as client:
            client.sendmail("sender@example.net", ["victim@example.org"], "Subject: six\r\n\r\nhi\r\n")
    assert got[0][0] == "::1"


def test_unix_socket_backend(make_door, scratch):
    path = scratch / "backend.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        listener.settimeout(PATIENCE)
        door = make_door(greet_pause=0, backends={"unix": (f"smtp:unix:{path}", "v1")})
        with socket.create_connection(("127.0.0.1", door.port), PATIENCE) as client:
            backend, _ = listener.accept()
            with backend:
                header = read_line(backend)
                assert header == b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n" % (client.getsockname()[1], door.port)
                backend.sendall(b"220 unix\r\n")
                assert read_line(client) == b"220 unix\r\n"
                client.sendall(b"NOOP\r\n")
                assert read_line(backend) == b"NOOP\r\n"
                backend.sendall(b"250 ok\r\n")
                assert read_line(client) == b"250 ok\r\n"
    path.unlink()


def test_ehlo_of_the_server_inside(door):
    """EHLO through the door: the list ends where it should, and offers what the server inside can do."""
    with socket.create_connection(("127.0.0.1", door.port), PATIENCE) as s:
        s.settimeout(PATIENCE)
        assert read_line(s).startswith(b"220 mail.example.org ESMTP Tarry ")
        s.sendall(b"EHLO client.example.net\r\n")
        lines = []
        while True:
            lines.append(read_line(s))
            if lines[-1][3:4] == b" ":
                break
        words = {line[4:].split()[0] for line in lines[1:]}
        assert {b"PIPELINING", b"SIZE", b"8BITMIME", b"SMTPUTF8", b"ENHANCEDSTATUSCODES"} <= words
        assert command(s, "QUIT").startswith(b"221 2.0.0 ")
