"""TLS that ends at the door, implicit and by STARTTLS, tried by OpenSSL's and Python's clients, swaks and Postfix; and by who means harm."""
import os
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from door import AS_ROOT, PATIENCE
from mta import Postfix, wait_until
from talk import Backend, Background, command, read_all, read_line, read_reply, reset

NAME = "mail.example.org"
CLEAR, IMPLICIT, PASS = 0, 1, 2 # the door's listeners
READY = b"220 2.0.0 Ready to start TLS\r\n"


def make_certificate(folder, name, days=100, kind="ec"):
    """NAME.pem and NAME.key in the folder."""
    new = {"ec": ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"], "rsa": ["rsa:2048"]}[kind]
    subprocess.run(["openssl", "req", "-x509", "-newkey", *new, "-nodes", "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem", "-days", str(days),
                    "-subj", f"/CN={name}"], check=True, capture_output=True, timeout=60)
    os.chmod(f"{folder}/{name}.key", 0o600)
    return Path(folder, f"{name}.pem"), Path(folder, f"{name}.key")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    return {name: make_certificate(folder, name, days) for name, days in ((NAME, 100), ("second.example.org", 100), ("soon.example.org", 5))}


def install(door, pair):
    """As an administrator's tool does: each file in one step."""
    for path, to in zip(pair, (door.folder / "cert.pem", door.folder / "key.pem")):
        fresh = to.with_suffix(".new")
        fresh.write_bytes(path.read_bytes())
        fresh.chmod(0o600)
        fresh.rename(to)


@pytest.fixture
def tls_door(make_door, certificates):
    def make(start=True, **options):
        listens = ("127.0.0.1:0", ("127.0.0.1:0", "tls = implicit"), ("127.0.0.1:0", "tls = no"))
        door = make_door(start=False, listens=listens, **{"greet_pause": 300, **options})
        door.options.update(tls_certificate=door.folder / "cert.pem", tls_key=door.folder / "key.pem")
        install(door, certificates[NAME])
        return door.start() if start else door
    return make


def context(**changes):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    for name, value in changes.items():
        setattr(c, name, value)
    return c


def wrap(door, connect, name=None, which=IMPLICIT, **changes):
    return context(**changes).wrap_socket(connect(door.addresses[which]), server_hostname=name)


def starttls(client, **changes):
    """EHLO, STARTTLS, and the same socket in TLS."""
    assert command(client, "EHLO client.example.net").endswith(b"STARTTLS\r\n")
    assert command(client, "STARTTLS") == READY
    return context(**changes).wrap_socket(client)


def patient(door, connect, which=CLEAR):
    client = connect(door.addresses[which])
    assert read_line(client).startswith(b"220 ")
    return client


def openssl(door, which, *arguments, commands="quit\n"):
    """What s_client says; commands go in when the greeting is there, or with -starttls the last line of EHLO's reply. To it, R and Q at the beginning of a line mean something, unless
    -ign_eof is there."""
    host, port = door.addresses[which]
    ends = [] if commands.startswith("R") else ["-ign_eof"]
    with subprocess.Popen(["openssl", "s_client", "-connect", f"{host}:{port}", *ends, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, bufsize=1) as client:
        guard = threading.Timer(PATIENCE, client.kill)
        guard.start()
        out = ""
        for line in client.stdout:
            out += line
            if line.startswith(("220 ", "250 ")):
                client.stdin.write(commands)
                if not ends:
                    out += client.stdout.read() # it ends by itself
                break
        try:
            client.stdin.close()
        except BrokenPipeError:
            pass
        out += client.stdout.read()
        guard.cancel()
    return client.returncode, out


# ---- what is shown with other people's clients -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
@pytest.mark.parametrize("which,how", [(IMPLICIT, []), (CLEAR, ["-starttls", "smtp"])])
def test_openssl(tls_door, version, which, how):
    door = tls_door()
    code, out = openssl(door, which, "-" + version, "-crlf", *how)
    assert code == 0, out
    assert "221 2.0.0 mail.example.org closing connection" in out
    line = door.wait_verdict("patient")[0]
    assert line["tls"] == {"tls1_2": "TLSv1.2", "tls1_3": "TLSv1.3"}[version]
    assert line["cipher"] in out


def test_old_versions_are_refused(tls_door):
    door = tls_door()
    code, out = openssl(door, IMPLICIT, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    assert code != 0 and "alert protocol version" in out, out
    line = door.wait_verdict("gone")[0]
    assert line["tls"] == "failed" and line["tls_error"] == "unsupported protocol"


def test_renegotiation_is_off(tls_door):
    door = tls_door()
    _, out = openssl(door, IMPLICIT, "-tls1_2", commands="R\n")
    assert "no renegotiation" in out or "RENEGOTIATING" in out and "NO_RENEGOTIATION" in out.upper().replace(" ", "_"), out


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_sessions_are_resumed(tls_door, version, tmp_path):
    """By any of the processes, and by one that was started anew."""
    door = tls_door()
    session = str(tmp_path / "session")
    _, out = openssl(door, IMPLICIT, version, "-crlf", "-sess_out", session)
    assert "\nNew, " in out
    for pid in processes(door):
        os.kill(pid, signal.SIGKILL)
    door.wait_for(lambda d: d.get("event") == "role_died" and d.get("role") == "tls", 2)
    wait_until(lambda: len(processes(door)) == 2, "the processes are back")
    _, out = openssl(door, IMPLICIT, version, "-crlf", "-sess_in", session)
    assert "\nReused, " in out, out
    assert door.wait_verdict("patient", 2)[1]["tls_resumed"] == "yes"


def test_ticket_keys_rotate(tls_door, tmp_path):
    """A ticket is good for its key's time and once more as long; then it is a stranger's."""
    door = tls_door(tls_tickets=3000, greet_pause=0)
    session = str(tmp_path / "session")
    openssl(door, IMPLICIT, "-tls1_2", "-sess_out", session)
    begin = time.monotonic()
    results = []
    while time.monotonic() < begin + 9:
        results.append("\nReused, " in openssl(door, IMPLICIT, "-tls1_2", "-sess_in", session)[1])
        time.sleep(0.2)
    assert results[0] and not results[-1]
    assert results == sorted(results, reverse=True)


def test_no_tickets(tls_door, tmp_path):
    door = tls_door(tls_tickets=0)
    for version in ("-tls1_2", "-tls1_3"):
        session = tmp_path / version
        openssl(door, IMPLICIT, version, "-sess_out", str(session))
        if session.exists():
            assert "\nReused, " not in openssl(door, IMPLICIT, version, "-sess_in", str(session))[1]


@pytest.mark.parametrize("how", [["--tls"], ["--tls-on-connect"]])
def test_swaks(tls_door, how):
    door = tls_door()
    host, port = door.addresses[IMPLICIT if how == ["--tls-on-connect"] else CLEAR]
    done = subprocess.run(["swaks", "--server", host, "--port", str(port), *how, "--from", "a@example.net", "--to", "victim@example.org", "--body", "by swaks"],
                          capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout
    wait_until(door.messages, "the message is there")
    text = door.messages()[0].read_text()
    assert "by swaks" in text
    assert "(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\n\tby mail.example.org" in text and " with ESMTPS id " in text


def test_a_real_postfix_sends(tls_door, scratch, tmp_path):
    """smtp_tls_security_level = encrypt: without TLS it would not send."""
    door = tls_door()
    postfix = Postfix(scratch / tmp_path.name, relayhost="[127.0.0.1]:%d" % door.addresses[CLEAR][1])
    write = postfix.write

    def encrypted():
        write()
        config = postfix.config / "main.cf"
        config.write_text(config.read_text().replace("smtp_tls_security_level = none", "smtp_tls_security_level = encrypt\nsmtp_tls_loglevel = 1\n"
                                                     "tls_random_source = dev:/dev/urandom"))
        master = postfix.config / "master.cf"
        master.write_text(master.read_text() + "tlsmgr unix - - n 1000? 1 tlsmgr\n")

    postfix.write = encrypted
    try:
        postfix.start()
        postfix.submit("a@example.net", "victim@example.org", "Subject: x\n\nby postfix\n")
        postfix.wait_log("status=sent")
        assert "TLS connection established to 127.0.0.1" in postfix.log()
    finally:
        postfix.stop()
    assert " with ESMTPS id " in door.messages()[0].read_text()


@pytest.mark.parametrize("which", [CLEAR, IMPLICIT])
def test_a_real_postfix_behind(tls_door, scratch, tmp_path, which):
    """Its smtpd takes the header with what is said of TLS in it, and the client's address stays the client's."""
    postfix = Postfix(scratch / tmp_path.name, smtpd=True).start()
    try:
        door = tls_door(backends={"postfix": (f"smtp:127.0.0.1:{postfix.port}", "v2")})
        how = ["--tls-on-connect"] if which == IMPLICIT else ["--tls"]
        done = subprocess.run(["swaks", "--server", "127.0.0.1", "--port", str(door.addresses[which][1]), *how, "--local-interface", "127.0.0.9", "--from", "a@example.net",
                               "--to", "victim@example.org", "--body", "to postfix"], capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stdout + postfix.log()
        postfix.wait_log("status=sent (delivered to maildir)")
        assert "client=unknown[127.0.0.9]" in postfix.log()
    finally:
        postfix.stop()


# ---- the pause ---------------------------------------------------------------------------------------------------------------------------

def test_the_pause_is_inside(tls_door, connect):
    """A hello is not talk; the greeting is withheld in TLS, from the end of the handshake on; who talks in it is refused in it."""
    door = tls_door(greet_pause=700)
    client = connect(door.addresses[IMPLICIT])
    time.sleep(0.4) # which is not the pause's
    client = context().wrap_socket(client, server_hostname="who.example.org")
    begin = time.monotonic()
    assert read_line(client).startswith(b"220 mail.example.org ESMTP Tarry")
    assert time.monotonic() - begin > 0.6
    early = wrap(door, connect)
    early.sendall(b"EHLO early\r\nQUIT\r\n")
    told = read_all(early)
    assert told.startswith(b"554 mail.example.org ESMTP not accepting messages\r\n") and told.endswith(b"221 2.0.0 mail.example.org closing connection\r\n")
    line = door.wait_verdict("early")[0]
    assert line["tls"] == "TLSv1.3" and line["kind"] == "session" and line["client"] == "127.0.0.1"
    client.sendall(b"QUIT\r\n")
    read_all(client)
    line = door.wait_verdict("patient")[0]
    assert line["tls_name"] == "who.example.org" and float(line["after_ms"]) >= 700 and line["client"] == "127.0.0.1"


def test_talk_in_one_breath_with_the_handshake(tls_door, connect):
    """The last flight of a TLS 1.3 client, and its EHLO, in one packet."""
    door = tls_door(greet_pause=60000)
    raw = connect(door.addresses[IMPLICIT])
    come, go = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context().wrap_bio(come, go)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    raw.sendall(go.read())
    while True:
        come.write(raw.recv(65536))
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            continue
    client.write(b"EHLO eager\r\n")
    raw.sendall(go.read())
    assert door.wait_verdict("early")[0]["data"] == r"EHLO eager\r\n"


def test_rules_count_inside(tls_door, connect):
    """What end to end would hide: senders and recipients are judged."""
    door = tls_door(access=["From:bad@example.net REJECT", "To:closed@example.org ERROR:5.7.1:550 closed"], greet_pause=0)
    implicit = wrap(door, connect)
    assert read_line(implicit).startswith(b"220 ")
    for client in (starttls(patient(door, connect)), implicit):
        command(client, "EHLO x")
        assert command(client, "MAIL FROM:<bad@example.net>").startswith(b"550 5.7.1 ")
        assert command(client, "MAIL FROM:<good@example.net>").startswith(b"250 ")
        assert command(client, "RCPT TO:<closed@example.org>") .startswith(b"550 5.7.1 ")
    assert len(door.wait_for(lambda d: d.get("event") == "rejected", 4)) == 4


def test_behind_a_load_balancer(make_door, certificates, connect):
    """The header first and in clear, then TLS, then the pause; by any front, and the client's address is what the header says. A prober gets its answer in TLS."""
    door = make_door(start=False, greet_pause=300, listens=[("127.0.0.1:0", 'proxy = yes  trust = { "127.0.0.0/8" }  tls = implicit  health = { "127.0.0.8" }')])
    door.options.update(tls_certificate=door.folder / "cert.pem", tls_key=door.folder / "key.pem")
    install(door, certificates[NAME])
    door.start()
    for last in range(1, 9): # some of them are the other front's
        client = connect(door)
        client.sendall(b"PROXY TCP4 192.0.2.%d 192.0.2.250 4000 465\r\n" % last)
        client = context().wrap_socket(client)
        assert read_line(client).startswith(b"220 mail.example.org ESMTP Tarry")
        command(client, "QUIT")
    lines = door.wait_verdict("patient", 8)
    assert {d["client"] for d in lines} == {"192.0.2.%d" % n for n in range(1, 9)} and {d["tls"] for d in lines} == {"TLSv1.3"}
    assert len({d["_role"] for d in lines}) == 2
    prober = connect(door)
    prober.sendall(b"PROXY TCP4 127.0.0.8 192.0.2.250 4000 465\r\n")
    prober = context().wrap_socket(prober)
    assert read_line(prober).startswith(b"220 ")
    assert command(prober, "QUIT").startswith(b"221 ")


# ---- STARTTLS ----------------------------------------------------------------------------------------------------------------------------

def test_what_is_offered(tls_door, connect):
    """Once, by the door, whatever the backend has; not in TLS; and where tls = no, as the backend has it."""
    backend = Backend()
    door = tls_door(greet_pause=0, backends={"b": (backend.at, "no")})
    for with_tls in (True, False):
        offer = b"250-b\r\n250-STARTTLS\r\n250 SIZE\r\n" if with_tls else b"250-b\r\n250 SIZE\r\n"
        client = connect(door.addresses[CLEAR])
        behind = backend.accept(b"220 b\r\n")
        read_line(client)
        client.sendall(b"EHLO x\r\n")
        assert read_line(behind) == b"EHLO x\r\n"
        behind.sendall(offer)
        assert [read_line(client) for _ in range(3)] == [b"250-b\r\n", b"250-SIZE\r\n", b"250 STARTTLS\r\n"]
        assert command(client, "STARTTLS") == READY
        client = context().wrap_socket(client)
        client.sendall(b"MAIL FROM:<a@b>\r\n")
        assert read_line(client) == b"503 5.5.1 EHLO first\r\n"
        client.sendall(b"EHLO y\r\n")
        assert read_line(behind) == b"EHLO y\r\n" # and nothing before it
        behind.sendall(offer)
        assert [read_line(client) for _ in range(2)] == [b"250-b\r\n", b"250 SIZE\r\n"]
        assert command(client, "STARTTLS") == b"503 5.5.1 TLS has begun already\r\n"
    plain = connect(door.addresses[PASS])
    behind = backend.accept(b"220 b\r\n")
    read_line(plain)
    plain.sendall(b"EHLO x\r\n")
    read_line(behind)
    behind.sendall(b"250-b\r\n250-STARTTLS\r\n250 SIZE\r\n")
    assert [read_line(plain) for _ in range(3)] == [b"250-b\r\n", b"250-STARTTLS\r\n", b"250 SIZE\r\n"]
    backend.close()


def test_injection(tls_door, connect):
    """Whatever follows the STARTTLS line in clear never becomes a part of what is said in TLS: CVE-2011-0411."""
    door = tls_door(greet_pause=0)
    for behind in (b"EHLO injected\r\n", b"R", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\r\n" * 9000):
        client = patient(door, connect)
        command(client, "EHLO x")
        client.sendall(b"STARTTLS\r\n" + behind)
        assert read_line(client) == b"554 5.5.0 You sent more before you had the reply to STARTTLS\r\n"
        client.close()
    lines = door.wait_verdict("early", 4)
    assert {d["stage"] for d in lines} == {"starttls"} and not any("tls" in d for d in lines)
    assert door.counters()["early_starttls"] == 4
    # A breath later it is a handshake that fails.
    client = patient(door, connect)
    command(client, "EHLO x")
    assert command(client, "STARTTLS") == READY
    client.sendall(b"EHLO injected\r\n")
    read_all(client)
    line = door.wait_verdict("exempt")[0]
    assert line["tls"] == "failed" and line["tls_error"] == "wrong version number"


def test_starttls_without_anybody_to_do_it(tls_door, connect):
    """454, and the dialogue goes on in clear; then they are back."""
    door = tls_door(greet_pause=0)
    client = patient(door, connect)
    command(client, "EHLO x")
    pids = processes(door)
    door.kill(signal.SIGSTOP) # the parent, which would start them again
    try:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    finally:
        door.kill(signal.SIGCONT)
    wait_until(lambda: not set(processes(door)) & set(pids), "they are gone")
    answer = command(client, "STARTTLS")
    if answer != READY: # else they were back already
        assert answer == b"454 4.7.0 TLS not available due to temporary reason\r\n"
        assert command(client, "NOOP").startswith(b"250 ")
    wait_until(lambda: len(processes(door)) == 2, "the processes are back")
    client = starttls(patient(door, connect))
    assert command(client, "EHLO x").startswith(b"250 ")


def test_starttls_end_to_end(tls_door, scratch, tmp_path, certificates, connect):
    """tls = no: a real Postfix ends it, and the door is a pipe; nothing may be said before TLS by either side."""
    postfix = Postfix(scratch / tmp_path.name, smtpd=True)
    write = postfix.write

    def with_tls():
        write()
        certificate, key = certificates["second.example.org"]
        config = postfix.config / "main.cf"
        config.write_text(config.read_text() + f"smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {certificate}\nsmtpd_tls_key_file = {key}\n"
                          f"tls_random_source = dev:/dev/urandom\nsmtpd_tls_session_cache_database =\n")
        master = postfix.config / "master.cf"
        master.write_text(master.read_text() + "tlsmgr unix - - n 1000? 1 tlsmgr\n")

    postfix.write = with_tls
    try:
        postfix.start()
        # With rules, so that the dialogue is watched until TLS hides it.
        door = tls_door(backends={"postfix": (f"smtp:127.0.0.1:{postfix.port}", "v2")}, access=["From:bad@example.net REJECT"])
        _, out = openssl(door, PASS, "-starttls", "smtp", "-crlf")
        assert re.search("CN ?= ?second.example.org", out) and "221 2.0.0 Bye" in out, out
        done = subprocess.run(["swaks", "--server", "127.0.0.1", "--port", str(door.addresses[PASS][1]), "--tls", "--from", "a@example.net", "--to", "victim@example.org"],
                              capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0 and "CN=second.example.org" in done.stdout.replace(" = ", "="), done.stdout
        postfix.wait_log("status=sent (delivered to maildir)")
        client = patient(door, connect, PASS)
        assert command(client, "EHLO x").startswith(b"250 ")
        client.sendall(b"STARTTLS\r\nRSET\r\n")
        assert read_line(client).startswith(b"554 5.5.0 ")
    finally:
        postfix.stop()
    # The other side: a backend that says more than its 220 in one breath.
    backend = Backend()
    door = tls_door(greet_pause=0, backends={"b": (backend.at, "no")}, access=["From:bad@example.net REJECT"])
    client = connect(door.addresses[PASS])
    behind = backend.accept(b"220 b\r\n")
    read_line(client)
    client.sendall(b"STARTTLS\r\n")
    assert read_line(behind) == b"STARTTLS\r\n"
    behind.sendall(b"220 go\r\n250 injected\r\n")
    assert read_line(client).startswith(b"421 4.3.0 ")
    backend.close()


# ---- certificates ------------------------------------------------------------------------------------------------------------------------

def subject(door, connect, which=IMPLICIT):
    client = wrap(door, connect, which=which)
    text = ssl.DER_cert_to_PEM_cert(client.getpeercert(True))
    client.close()
    return re.search(r"CN ?= ?(\S+)", subprocess.run(["openssl", "x509", "-noout", "-subject"], input=text, capture_output=True, text=True, check=True).stdout).group(1)


def test_a_new_certificate(tls_door, connect, certificates, binary):
    """Taken when the files have changed, and by tarry reload; nobody loses a connection; a bad one is refused by name and the old one stays."""
    door = tls_door(greet_pause=0)
    before = wrap(door, connect)
    assert read_line(before).startswith(b"220 ")
    assert subject(door, connect) == NAME
    install(door, certificates["second.example.org"])
    door.wait_for(lambda d: d.get("event") == "tls_certificate", 2)
    wait_until(lambda: subject(door, connect) == "second.example.org", "the new certificate is shown")
    assert command(before, "EHLO x").startswith(b"250 ")

    def reloaded():
        done = subprocess.run([binary, "reload", "-c", str(door.config)], capture_output=True, text=True, timeout=PATIENCE, check=False)
        return done.returncode, done.stdout + done.stderr

    (door.folder / "key.pem").write_bytes(certificates["soon.example.org"][1].read_bytes())
    code, said = reloaded()
    assert code != 0 and f"{door.folder}/key.pem: the key does not belong to the certificate in {door.folder}/cert.pem" in said and "stays" in said
    (door.folder / "key.pem").write_text("no key\n")
    assert f"{door.folder}/key.pem: no private key is in it" in reloaded()[1]
    (door.folder / "cert.pem").unlink()
    assert f"{door.folder}/cert.pem: No such file" in reloaded()[1]
    assert len(door.events("tls_certificate_kept")) >= 3
    assert subject(door, connect) == "second.example.org"
    install(door, certificates["soon.example.org"])
    code, said = reloaded()
    assert code == 0 and "the certificate ends in 4 days" in said and "CN = soon.example.org" in said
    wait_until(lambda: subject(door, connect) == "soon.example.org", "the new certificate is shown")
    assert command(before, "NOOP").startswith(b"250 ")


def test_check_and_start(tls_door, certificates, binary):
    door = tls_door(start=False)
    door.write_config()

    def check():
        done = subprocess.run([binary, "check", "-c", str(door.config)], capture_output=True, text=True, timeout=PATIENCE, check=False)
        return done.returncode, done.stdout + done.stderr

    code, said = check()
    assert code == 0 and "# tls          CN = mail.example.org, until " in said and "warning" not in said
    install(door, certificates["soon.example.org"])
    code, said = check()
    assert code == 0 and f"warning: {door.folder}/cert.pem: the certificate ends in 4 days" in said
    install(door, (certificates[NAME][0], certificates["soon.example.org"][1]))
    code, said = check()
    assert code == 78 and "does not belong" in said
    done = subprocess.run([binary, "serve", "-c", str(door.config)], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 78 and "does not belong" in done.stderr
    door.options["tls_ciphers"] = "NOTHING"
    install(door, certificates[NAME])
    door.write_config()
    assert "tls_ciphers: OpenSSL knows none of them" in check()[1]
    del door.options["tls_ciphers"], door.options["tls_certificate"]
    door.write_config()
    code, said = check()
    assert code == 78 and "there is no tls_certificate" in said


@pytest.mark.skipif(not AS_ROOT, reason="who is not root has one account only")
def test_the_key_is_nobodys(tls_door, connect):
    """The account that the roles run as cannot read the file, and no front has it open or OpenSSL in its memory."""
    door = tls_door(greet_pause=0)
    os.chmod(door.folder / "key.pem", 0o400)
    assert subject(door, connect) == NAME
    for pid in door.children():
        maps = Path(f"/proc/{pid}/maps").read_text()
        open_files = [os.readlink(p) for p in Path(f"/proc/{pid}/fd").iterdir()]
        is_tls = pid in processes(door)
        assert ("libssl" in maps) == is_tls
        assert not any("certificate" in f or "tickets" in f or "key.pem" in f for f in open_files), open_files


# ---- client certificates -----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("which", ["good", "stranger", "none"])
def test_client_certificates(tls_door, certificates, which, connect):
    """Asked for with tls_client_ca, never needed; the backend hears of it by the header."""
    backend = Backend()
    door = tls_door(start=False, greet_pause=0, backends={"b": (backend.at, "v2")})
    (door.folder / "ca.pem").write_bytes(certificates["second.example.org"][0].read_bytes())
    door.options["tls_client_ca"] = door.folder / "ca.pem"
    door.start()
    c = context()
    if which != "none":
        c.load_cert_chain(*certificates["second.example.org" if which == "good" else "soon.example.org"])
    client = c.wrap_socket(connect(door.addresses[IMPLICIT]))
    behind = backend.accept(b"220 b\r\n")
    read_line(client)
    header = behind.recv(1024)
    flags, verify = {"good": (7, 0), "stranger": (7, 1), "none": (1, 1)}[which]
    assert bytes([flags]) + verify.to_bytes(4, "big") + b"\x21\x00\x07TLSv1.3" in header
    assert (b"\x22\x00\x12second.example.org" in header) == (which == "good")
    client.close()
    behind.close()
    line = door.wait_verdict("exempt")[0]
    assert line.get("tls_verified") == {"good": "yes", "stranger": "no", "none": None}[which]
    backend.close()


# ---- who means harm ----------------------------------------------------------------------------------------------------------------------

def processes(door):
    found = []
    for pid in door.children():
        try:
            if Path(f"/proc/{pid}/exe").readlink().name == "tarry-tls":
                found.append(pid)
        except OSError:
            continue
    return found


def hello():
    come, go = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context().wrap_bio(come, go).do_handshake()
    return go.read()


def test_no_hello_at_all(tls_door, connect):
    """In clear, garbage, half closed, reset, or nothing: the connection ends, in time, and nothing else does."""
    door = tls_door(tls_timeout=1500)
    for said in (b"EHLO clear\r\n", b"GET / HTTP/1.0\r\n\r\n", b"\0" * 4000, os.urandom(3000), b"\x16\x03\x01\xff\xff" + b"x" * 70000, b"\x15\x03\x01\x00\x02\x02\x28"):
        client = connect(door.addresses[IMPLICIT])
        client.sendall(said)
        assert not read_all(client).startswith((b"220", b"421", b"5"))
        client.close()
    door.wait_verdict("gone", 6)
    half = connect(door.addresses[IMPLICIT])
    half.shutdown(socket.SHUT_WR)
    assert read_all(half) == b""
    reset(connect(door.addresses[IMPLICIT]))
    door.wait_verdict("gone", 8)
    silent = connect(door.addresses[IMPLICIT])
    begin = time.monotonic()
    assert read_all(silent) == b""
    assert 1 < time.monotonic() - begin < 10
    line = door.wait_verdict("gone", 9)[-1]
    assert line["tls_error"] == "no handshake in time"
    assert door.counters()["tls_failed"] == 9 and len(processes(door)) == 2 and door.counters()["restarts"] == 0


def test_a_hello_cut_at_each_byte(tls_door, connect):
    door = tls_door(max_per_client=0)
    whole = hello()
    for n in range(len(whole)):
        client = connect(door.addresses[IMPLICIT])
        client.sendall(whole[:n])
        client.shutdown(socket.SHUT_WR)
        read_all(client)
        client.close()
    lines = door.wait_verdict("gone", len(whole))
    assert len(lines) == len(whole) and all(d["tls"] == "failed" for d in lines)
    counters = door.counters()
    assert counters["open"] == 0 and counters["restarts"] == 0


def test_half_closed(tls_door, connect):
    """A client that has said all it has to say still hears the answers."""
    door = tls_door(greet_pause=0)
    client = wrap(door, connect)
    read_line(client)
    command(client, "EHLO x")
    client.sendall(b"RSET\r\nNOOP\r\n")
    socket.socket.shutdown(client, socket.SHUT_WR) # without close_notify, as many do
    assert read_all(client).count(b"250 ") == 2


def test_a_client_that_does_not_read(tls_door, connect):
    """It holds no more than the buffers, and nobody else up; when it reads, nothing is lost."""
    backend = Backend()
    door = tls_door(greet_pause=0, backends={"b": (backend.at, "no")})
    client = wrap(door, connect)
    behind = backend.accept(b"220 b\r\n")
    assert read_line(client) == b"220 b\r\n"
    client.sendall(b"HELP\r\n")
    assert read_line(behind) == b"HELP\r\n"
    behind.settimeout(1)
    line, sent = b"214-" + b"x" * 500 + b"\r\n", 0
    try:
        while sent < 900: # a reply has an end
            behind.sendall(line)
            sent += 1
    except TimeoutError:
        pass
    behind.settimeout(PATIENCE)
    feed = Background(behind.sendall, b"214 done\r\n")
    got = b""
    while not got.endswith(b"214 done\r\n"):
        got += client.recv(65536)
    feed.result()
    assert got.count(b"214-") >= sent
    backend.close()


def test_large_messages(tls_door, connect):
    door = tls_door(greet_pause=0)
    body = b"".join(b"%07d" % i + b"y" * 70 + b"\r\n" for i in range(130000))
    for secure in (True, False):
        with (smtplib.SMTP_SSL if secure else smtplib.SMTP)(*door.addresses[IMPLICIT if secure else CLEAR], timeout=60, **({"context": context()} if secure else {})) as s:
            if not secure:
                s.starttls(context=context())
            s.sendmail("a@example.net", ["victim@example.org"], b"Subject: large\r\n\r\n" + body)
    wait_until(lambda: len(door.messages()) == 2, "both are there")
    for path in door.messages():
        assert path.read_bytes().endswith(b"\n\n" + body.replace(b"\r\n", b"\n"))


def test_many_handshakes_at_once(tls_door):
    """More than the queue of orders holds: all are done, one after the other."""
    door = tls_door(greet_pause=0, max_per_client=0, tls_timeout=60000)
    n = 1000
    first = hello()
    clients = []
    for _ in range(n):
        s = socket.create_connection(door.addresses[IMPLICIT])
        s.settimeout(60)
        s.sendall(first)
        clients.append(s)
    answered = sum(s.recv(3) == b"\x16\x03\x03" for s in clients)
    for s in clients:
        s.close()
    assert answered == n
    wait_until(lambda: door.counters()["open"] == 0, "all are gone", 60)
    assert door.counters()["restarts"] == 0


def test_a_process_is_killed(tls_door, connect):
    """Its connections end, no other does, and it is started again."""
    door = tls_door(greet_pause=0, max_per_client=0)
    wait_until(lambda: len(processes(door)) == 2, "both are there")

    def files():
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in processes(door)]

    before, clients = files(), []
    while len(clients) < 20 or not all(now > then + 5 for now, then in zip(files(), before)):  # both have some, beside what they open for themselves: which takes the next is chance
        assert len(clients) < 400
        clients.append(wrap(door, connect))
        assert read_line(clients[-1]).startswith(b"220 ")
    plain = patient(door, connect)
    os.kill(processes(door)[0], signal.SIGKILL)
    door.wait_for(lambda d: d.get("event") == "role_died" and d["role"] == "tls")
    alive = 0
    for client in clients:
        try:
            client.sendall(b"NOOP\r\n")
            alive += read_line(client).startswith(b"250 ")
        except OSError:
            continue
    assert 0 < alive < len(clients)
    assert command(plain, "NOOP").startswith(b"250 ")
    wait_until(lambda: len(processes(door)) == 2, "it is back")
    assert read_line(wrap(door, connect)).startswith(b"220 ")


def test_over_a_limit(tls_door, connect):
    """No handshake for who is over a limit: the connection is closed, and the log says why."""
    door = tls_door(greet_pause=0, max_per_client=1)
    first = wrap(door, connect)
    assert read_line(first).startswith(b"220 ")
    assert read_all(connect(door.addresses[IMPLICIT])) == b""
    assert door.wait_verdict("limited")[0]["reason"] == "max_per_client"


def test_stop(tls_door, connect):
    """Who waits in TLS is told so in TLS."""
    door = tls_door(greet_pause=60000)
    client = wrap(door, connect)
    handshaking = connect(door.addresses[IMPLICIT])
    wait_until(lambda: door.counters()["held"] == 1, "one waits")
    assert door.end() == 0
    assert read_all(client).startswith(b"421 4.3.2 ")
    assert read_all(handshaking) == b""
