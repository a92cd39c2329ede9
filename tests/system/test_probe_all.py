"""tarry probe --all: against the door, against a real postscreen, and against small servers of every kind, some of them hostile."""

import contextlib
import json
import os
import re
import select
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

import peers_page
import peers_run
from test_probe import HOST, TARRY, Server, mail_server, probe

pytestmark = pytest.mark.skipif(not TARRY or not os.path.exists(TARRY), reason="no tarry binary: name it in $TARRY")

TO = "victim@example.org"
# A server here answers at once or not at all: silence may be short.
QUICK = ["--wait", "700ms", "--jobs", "8", "--helo", "client.example.net"]
EARLY = ["early-verb", "early-session", "early-tls", "early-http", "early-proxy1", "early-proxy2", "early-ssh", "early-text", "early-binary"]
SENDS = ["data-ahead", "eom-ahead", "eod-lf-lf", "eod-lf-crlf", "eod-cr-cr", "eod-crlf-lf", "group-data", "group-bdat", "eom-group"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    folder.chmod(0o755)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=mail.example.org", "-keyout", folder / "key.pem",
                    "-out", folder / "cert.pem"], check=True, capture_output=True, timeout=60)
    for name in ("key.pem", "cert.pem"):
        (folder / name).chmod(0o644)
    return folder


@pytest.fixture
def serve():
    servers = []

    def make(session, **where):
        servers.append(Server(session, **where))
        return servers[-1]

    yield make
    for one in servers:
        one.stop()


def run(server, *args, quick=True):
    """Text and JSON agree about the exit code; the acts by way and name, and the whole."""
    done = probe("--all", "--json", *(QUICK if quick else []), *args, server=server)
    assert done.err == b"", done.err
    report = done.json()
    assert report["exit"] == done.code
    acts = {(a["way"], a["act"]): a for a in report["acts"]}
    assert len(acts) == len(report["acts"])
    return acts, report


def words(acts, way="clear"):
    return {name: a["word"] for (w, name), a in acts.items() if w == way}


class At:
    def __init__(self, port):
        self.port = port


# ---- the door -----------------------------------------------------------------------------------------------------------------------------

def test_the_door(make_door, certificate):
    """Alone, with the mail server inside, each client another: what it refuses, what it must not, and that every message that counts as accepted is there, and no other."""
    door = make_door(greet_pause=300, max_per_client=0, tls_certificate=f"{certificate}/cert.pem", tls_key=f"{certificate}/key.pem")
    acts, report = run(At(door.port), "--to", TO, "--source", "127.0.9.0/24")
    clear, inside = words(acts), words(acts, "starttls")
    assert {clear[name] for name in EARLY} <= {"refused", "tempfail"} and clear["early-session"] == "refused", clear
    assert all(acts["clear", name]["after_ms"] < 300 for name in EARLY)
    assert acts["clear", "patient"]["after_ms"] >= 300
    assert clear["patient"] == inside["patient"] == "accepted-message"
    assert report["punished"] == report["unknown"] == 0 and report["good"] == 8
    assert {clear[n] for n in SENDS if n.startswith("eod")} == {inside[n] for n in SENDS if n.startswith("eod")} == {"ignored"}
    assert acts["clear", "starttls-ahead"]["mark"] == "caught"
    assert acts["clear", "group-bdat"]["why"] == "CHUNKING is not offered"
    assert set(inside) == {"patient", "http", "http-post", "ehlo-ahead", "helo-ahead", "helo-group", "lf-commands", "group", *SENDS}
    assert all(a.get("tls", "").startswith("TLSv1.") for (way, _), a in acts.items() if way == "starttls" and a["word"] != "left-out")
    accepted = sorted(name for (_, name), a in acts.items() if any(r["to"] in ("message", "false-end") and r["code"] == 250 for r in a.get("replies", [])))
    found = sorted(re.search(rb"^Subject: tarry probe: (\S+)\r?$", path.read_bytes(), re.M).group(1).decode() for path in door.messages())
    assert found == accepted


def test_the_door_before_tls(make_door, certificate):
    """TLS first: early talk is talk inside it."""
    door = make_door(greet_pause=300, max_per_client=0, listens=[("127.0.0.1:0", "tls = implicit")], tls_certificate=f"{certificate}/cert.pem", tls_key=f"{certificate}/key.pem")
    acts, report = run(At(door.port), "--tls", "--source", "127.0.9.0/24")
    assert {way for way, _ in acts} == {"tls"}
    assert {acts["tls", name]["mark"] for name in EARLY} == {"caught"}, words(acts, "tls")
    assert words(acts, "tls")["patient"] == "passed" and report["punished"] == 0
    assert acts["tls", "patient"]["after_ms"] > 250  # the door knew a moment before us that TLS stood
    assert door.messages() == []


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_door_behind_a_load_balancer(make_door, version):
    door = make_door(greet_pause=300, max_per_client=0, listens=[("127.0.0.1:0", 'proxy = yes  trust = { "127.0.0.0/8" }')])
    acts, _ = run(At(door.port), "--proxy", version, "--proxy-source", "198.51.100.0/24", "--only", "early-verb,early-ssh,group")
    assert words(acts) == {"patient": "passed", "early-verb": "refused", "early-ssh": "refused", "group": "passed"}
    clients = {d["client"] for d in door.wait_for(lambda d: "verdict" in d, 4)}
    assert len(clients) == 4 and all(c.startswith("198.51.100.") for c in clients)


def test_addresses_of_ones_own(make_door):
    door = make_door(greet_pause=300)
    acts, _ = run(At(door.port), "--source", "127.0.7.0/24", "--only", "early-verb,ehlo-ahead")
    assert all(a["word"] != "no-connection" for a in acts.values())
    assert {d["client"] for d in door.wait_for(lambda d: "verdict" in d, 3)} == {"127.0.7.1", "127.0.7.2", "127.0.7.3"}
    acts, report = run(At(door.port), "--source", "203.0.113.0/24", "--only", "early-verb")
    assert report["exit"] == 69 and acts["clear", "early-verb"]["error"] == "Cannot assign requested address"


# ---- a real one ---------------------------------------------------------------------------------------------------------------------------

class Quick(peers_run.PostscreenDeep):
    settings = peers_run.PostscreenDeep.settings + "postscreen_greet_wait = 1s\n"
    ways = {"clear": peers_run.Way("--clear", "--source", peers_run.CLIENTS, "--jobs", "8", "--wait", "1s", "--only",
                                   "early-verb,early-session,early-tls,teaser,ehlo-ahead,helo-group,http,group")}


def test_postscreen(binary, scratch, tmp_path):
    """Its teaser is seen, and that it refuses at RCPT only; that a good client has to come again is said, too."""
    server = Quick(scratch / tmp_path.name, binary)
    try:
        report = server.start().results()["ways"]["clear"]
    finally:
        server.stop()
    acts = {a["act"]: a for a in report["acts"]}
    assert {n: (a["word"], a.get("decisive", {}).get("to"), a.get("decisive", {}).get("code")) for n, a in acts.items()} == {
        "patient": ("tempfail", "RCPT", 450), "early-verb": ("refused", "RCPT", 550), "early-session": ("refused", "RCPT", 550), "early-tls": ("refused", "bytes", 521)
        if acts["early-tls"]["decisive"]["to"] == "bytes" else ("refused", "greeting", 521), "teaser": ("refused", "RCPT", 550), "ehlo-ahead": ("refused", "RCPT", 550),
        "helo-group": ("refused", "RCPT", 550), "http": ("refused", "bytes", 521), "group": ("left-out", None, None)}
    assert report["exit"] == 75 and acts["patient"]["mark"] == "punished" and acts["patient"]["after_ms"] >= 900


def test_the_page():
    """doc/peers.md has a row for each act of this program, and a column for each server: else script/peers is to be run again."""
    text = peers_page.PAGE.read_text()
    titles = {a["title"] for a in probe("--all", "--json", "--timeout", "100ms", server=At(1)).json()["acts"] if a["way"] == "clear"}
    table = re.search(r"<!-- made: clear -->\n(.*?)<!-- end -->", text, re.S).group(1).splitlines()
    rows = {line.split("|")[1].strip(" ✓") for line in table[2:]}
    assert rows == titles
    columns = [c.strip() for c in table[0].split("|")[2:-1]]
    assert columns == [one.name for one in peers_run.SERVERS.values()]
    assert all(line.count("|") == len(columns) + 2 for line in table)


# ---- small ones ---------------------------------------------------------------------------------------------------------------------------

def test_nothing_is_sent_to_nobody(serve):
    """Without --to: no DATA, no BDAT, and no recipient but postmaster."""
    server = serve(mail_server)
    acts, report = run(server)
    heard = server.heard()
    assert not re.search(rb"^\s*(DATA|BDAT)", heard, re.I | re.M)
    assert set(re.findall(rb"RCPT TO:\S*", heard)) == {b"RCPT TO:<postmaster>"}
    assert {acts["clear", name]["why"] for name in SENDS} == {"it would send a message: --to is not given"}
    assert report["exit"] == 1 and {w for w, _ in acts} == {"clear", "starttls"}
    assert {a["why"] for (way, name), a in acts.items() if way == "starttls" and name not in SENDS} == {"STARTTLS is not offered"}
    text = probe("--all", *QUICK, server=server)
    assert text.code == 1 and text.err == b""
    assert re.search(rb"^ ! HELO before the greeting +passed ", text.out, re.M)
    assert b"of 1 that a good one does 1 went well" in text.out


def test_only(serve):
    server = serve(mail_server)
    acts, _ = run(server, "--only", "early-ssh,helo-ahead", "--only", "http", "--clear")
    assert set(acts) == {("clear", n) for n in ("patient", "early-ssh", "helo-ahead", "http")}
    assert len(server.links) == 4


def test_list():
    done = probe("--list")
    names = [line.split()[0].decode() for line in done.out.splitlines()]
    assert done.code == 0 and names[0] == "patient" and set(EARLY + SENDS) < set(names)


def test_transcript(serve):
    done = probe("--all", "-v", *QUICK, "--only", "early-ssh", server=serve(mail_server))
    assert re.search(rb"^ +\d+\.\d{3} ms  clear early-ssh > SSH-2.0-OpenSSH_9.6\\r\\n$", done.out, re.M)
    assert re.search(rb"^ +\d+\.\d{3} ms  clear patient < 220 mx.example.org ESMTP$", done.out, re.M)


class Several:
    """A server whose every connection is of its own kind; those that find it busy come again."""

    def __init__(self, most):
        self.most, self.now, self.lock, self.peak, self.refused = most, 0, threading.Lock(), 0, 0

    def __call__(self, link):
        with self.lock:
            self.now += 1
            self.peak = max(self.peak, self.now)
            busy = self.now > self.most
            self.refused += busy
        try:
            if busy:
                link.say(b"421 4.7.0 too many connections")
            else:
                select.select([], [], [], 0.05)
                mail_server(link)
        finally:
            with self.lock:
                self.now -= 1


def test_jobs(serve):
    one = Several(2)
    acts, _ = run(serve(one), "--jobs", "2", "--clear", "--only", "early-verb,early-session,ehlo-ahead,helo-ahead,helo-group,lf-commands")
    assert one.peak == 2 and one.refused == 0 and not any(a["again"] for a in acts.values())


def test_busy_server(serve):
    """Those that it had no time for are tried again, alone, and are judged by that."""
    one = Several(1)
    acts, report = run(serve(one), "--jobs", "8", "--clear", "--only", "early-verb,early-ssh,ehlo-ahead,helo-group")
    assert one.refused > 0 and any(a["again"] for a in acts.values())
    assert {a["word"] for a in acts.values()} == {"passed"} and report["exit"] == 1


def silent(link):
    link.wait_for_end()


def slam(link):
    pass


def reset(link):
    link.connection.recv(1)
    link.reset()


def flood(link):
    while True:
        link.connection.sendall(b"220-on and on\r\n")


def garbage(link):
    link.connection.sendall(os.urandom(100) + b"\r\n")
    link.wait_for_end()


def http_server(link):
    link.connection.recv(1)
    link.connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def refuses_all(link):
    link.say(b"554 no service")
    link.wait_for_end()


def hangs_after_greeting(link):
    link.say(b"220 mx")
    link.wait_for_end()


@pytest.mark.parametrize("session,code,gave_up,patient", [
    (silent, 75, "nobody answers", "silent"),
    (slam, 77, "nobody answers", "closed"),
    (reset, 75, "nobody answers", "silent"),
    (flood, 76, "it does not speak SMTP", None),
    (garbage, 76, "it does not speak SMTP", None),
    (refuses_all, 77, None, "refused"),
    (hangs_after_greeting, 75, None, "silent"),
])
def test_hostile(serve, session, code, gave_up, patient):
    """None of them keeps the probe for long, or gets a word in."""
    done = probe("--all", "--json", *QUICK, "--timeout", "300ms", "--only", "early-verb,early-tls,early-ssh,early-text,ehlo-ahead,helo-group,http", server=serve(session))
    report = done.json()
    acts = {a["act"]: a for a in report["acts"] if a["way"] == "clear"}
    assert (done.code, report.get("gave_up")) == (code, gave_up), {n: a["word"] for n, a in acts.items()}
    assert patient in (None, acts["patient"]["word"])
    assert report["served"] == report["good"] == 0


def test_hostile_text(serve):
    """Nothing of it reaches a terminal."""
    text = probe("--all", *QUICK, "--timeout", "300ms", "--only", "early-verb,ehlo-ahead", server=serve(garbage))
    assert b"not-smtp" in text.out and not re.search(rb"[^\n -~]", text.out)


def test_slow_replies(serve):
    """An answer now and then for ever: the time of an act has an end."""
    def drip(link):
        link.say(b"220 mx")
        link.line()
        while True:
            link.say(b"500 what?")
            select.select([], [], [], 0.1)

    acts, _ = run(serve(drip), "--timeout", "400ms", "--only", "http", "--clear")
    assert acts["clear", "http"]["end"] == "timeout" and len(acts["clear", "http"]["replies"]) > 4
    assert 1500 < acts["clear", "http"]["end_ms"] < 10000


def test_cannot_connect():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        acts, report = run(At(s.getsockname()[1]))
    assert report["exit"] == 69 and report["gave_up"] == "no connection"
    assert [a["word"] for a in acts.values()].count("no-connection") == 1


# ---- TLS ----------------------------------------------------------------------------------------------------------------------------------

def offers_starttls(answer):
    """answer(link): what comes behind the client's STARTTLS."""
    def session(link):
        link.say(b"220 mx")
        while (line := link.line()) is not None:
            if line.startswith(b"EHLO"):
                link.say(b"250-mx", b"250 STARTTLS")
            elif line == b"STARTTLS":
                answer(link)
                return
            elif line == b"QUIT":
                link.say(b"221 bye")
                return
            else:
                link.say(b"250 ok")
    return session


def tls_server(certificate, injected=False):
    """injected: what came in clear behind STARTTLS is answered inside TLS (CVE-2011-0411)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{certificate}/cert.pem", f"{certificate}/key.pem")

    def answer(link):
        before, link.rest = link.rest, b""
        link.say(b"220 go on")
        link.connection = context.wrap_socket(link.connection, server_side=True)
        if injected and before:
            link.say(b"250 ok")
        while (line := link.line()) is not None:
            link.say(b"221 bye" if line == b"QUIT" else b"250 ok")
            if line == b"QUIT":
                return
    return offers_starttls(answer)


def test_injection(serve, certificate):
    acts, _ = run(serve(tls_server(certificate)), "--only", "starttls-ahead")
    assert (acts["clear", "starttls-ahead"]["word"], acts["clear", "starttls-ahead"]["mark"]) == ("ignored", "caught")
    assert acts["starttls", "patient"]["word"] == "passed" and acts["starttls", "patient"]["tls"].startswith("TLSv1.3 ")
    acts, report = run(serve(tls_server(certificate, injected=True)), "--only", "starttls-ahead")
    assert (acts["clear", "starttls-ahead"]["word"], acts["clear", "starttls-ahead"]["mark"]) == ("passed", "served")
    assert report["exit"] == 1


@pytest.mark.parametrize("answer", [
    lambda link: link.say(b"220 go on", b"250 in clear"), lambda link: link.say(b"454 not now"),
    lambda link: (link.say(b"220 go on"), link.connection.recv(100), link.connection.sendall(os.urandom(5000))),
    lambda link: (link.say(b"220 go on"), link.connection.recv(1)),
    lambda link: (link.say(b"220 go on"), link.wait_for_end()),
], ids=["clear", "refused", "garbage", "end", "silent"])
def test_no_tls(serve, answer):
    """Nothing of the session inside is said in clear, whatever the server does instead."""
    server = serve(offers_starttls(answer))
    acts, _ = run(server, "--starttls", "--timeout", "1s", "--only", "ehlo-ahead")
    assert {a["word"] for a in acts.values()} <= {"not-reached", "not-smtp"}, words(acts, "starttls")
    assert b"MAIL" not in server.heard()


def test_no_tls_for_anybody(serve):
    """It is not tried for ever."""
    server = serve(offers_starttls(lambda link: (link.say(b"220 go on"), link.wait_for_end())))
    acts, report = run(server, "--starttls", "--timeout", "500ms", "--jobs", "2")
    left_out = [a for a in acts.values() if a.get("why") == "TLS cannot be begun"]
    assert len(left_out) >= 2 and len(server.links) <= 6 and report["exit"] == 75
    server = serve(mail_server)
    acts, report = run(server, "--tls", "--timeout", "500ms", "--jobs", "2")
    assert [a["why"] for a in acts.values() if a["word"] == "left-out" and a["act"] not in SENDS] and len(server.links) <= 6
    assert report["exit"] == 75 and b"MAIL" not in server.heard()


def test_without_tarry_tls(serve, tmp_path):
    """The program alone: in clear all is there but what needs TLS, and whoever asks for TLS is told why there is none."""
    shutil.copy(TARRY, tmp_path / "tarry")
    server = serve(offers_starttls(lambda link: link.say(b"220 go on")))

    def run_it(*args):
        return subprocess.run([tmp_path / "tarry", "probe", "--all", "--json", *QUICK, "--only", "ehlo-ahead,starttls-ahead", *args, f"127.0.0.1:{server.port}"], capture_output=True, timeout=60)

    done = run_it()
    assert done.returncode == 69 and done.stdout == b"" and b"tarry-tls" in done.stderr and b"--clear" in done.stderr
    done = run_it("--clear")
    acts = {a["act"]: a for a in json.loads(done.stdout)["acts"]}
    assert acts["starttls-ahead"]["why"] == "tarry-tls is not to be had" and acts["ehlo-ahead"]["word"] == "passed"


@pytest.mark.parametrize("args", [
    ["--all"], ["--all", "--slammer", "h"], ["--all", "--deliver", "a@b", "c@d", "h"], ["--all", "--threshold", "1s", "h"], ["--to", "a@b", "h"], ["--jobs", "2", "h"],
    ["--all", "--jobs", "0", "h"], ["--all", "--jobs", "33", "h"], ["--all", "--jobs", "2x", "h"], ["--all", "--proxy", "v3", "h"], ["--all", "--proxy-source", "a", "h"],
    ["--all", "--source", "1.2.3.4/33", "h"], ["--all", "--only", "early", "h"], ["--all", "--only", "", "h"], ["--all", "--only", "patient,", "h"], ["--all", "--to", "a b", "h"],
    ["--all", "--to", "", "h"], ["--all", "--to", "a@b\r\nDATA", "h"], ["--all", "--wait", "0", "h"], ["--all", "--tls", "--clear", "h"], ["--all", "--from", "a>b", "h"],
])
def test_usage(args):
    done = probe(*args)
    assert done.code == 64, done.err
    assert done.out == b"" and done.err.startswith(b"tarry probe: ") and done.err.count(b"\n") == 1
