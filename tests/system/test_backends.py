"""Real mail servers behind the door, as doc/backends.md has them: whose address they see, and that mail comes through as it was, once or not at all."""
import ipaddress
import itertools
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

import page
from door import ROOT
from machine import CLIENT4, CLIENT6, CROWD, OTHER4, SERVER4, SERVER6
from mta import wait_until
from peers import CERTIFICATE, Pair
from senders import SEND, SENDER, RECIPIENT, Client, OpenSSL, swaks
from talk import ARTICLE_SESSION

NUMBERS = itertools.count(1)


@pytest.fixture(scope="module", params=page.ways())
def pair(request, binary, scratch):
    one = Pair(request.param, scratch / request.param.replace("/", "-"), binary)
    try:
        yield one.start()
    finally:
        one.stop()


@pytest.fixture
def tls_pair(pair):
    if pair.peer.no_tls:
        pytest.skip(pair.peer.no_tls)
    return pair


@pytest.fixture
def subject(request):
    return f"{request.node.originalname}-{next(NUMBERS)}"


def received(message):
    """The Received header of the server behind, which is the first, on one line."""
    text = message.decode("latin-1").replace("\r\n", "\n")
    return re.sub(r"\n[ \t]+", " ", re.search(r"^Received: .*(?:\n[ \t].*)*", text, re.M).group())


def addresses(text):
    """Those in brackets, as they are usually written."""
    found = re.findall(r"\[(?:IPv6:)?([0-9a-fA-F.:]+)\]", text)
    return {str(ipaddress.ip_address(a)) for a in found if "." in a or ":" in a}


def assert_from(pair, message, address):
    """The server behind knows the client, and takes nobody for the door."""
    text = received(message)
    assert addresses(text.partition(" by ")[0]) == {address}, text
    assert address in pair.peer.log() or address in addresses(pair.peer.log())
    assert pair.front.wait_verdict("patient", client=address)


# ---- the pages ---------------------------------------------------------------------------------------------------------------------------

def test_the_page_says_it_of_all():
    assert page.ways() == ["postfix/proxy-v2", "postfix/xclient", "exim/proxy-v2", "exim/exec", "opensmtpd/proxy-v2", "haraka/proxy-v1", "sendmail/exec", "mailfront/exec"]
    fences = page.PAGE.read_text().count("\n```\n")
    assert fences == 2 * (len(page.blocks()) + 1), "a block without a marker, other than qmail's"


def test_readme_in_front_of_postfix(binary, scratch):
    """The README's blocks for Postfix, put where it says."""
    part = (ROOT / "README.md").read_text().partition("## In front of your own mail server")[2]
    conf, entry = re.findall(r"^```\n(.*?)^```$", part, re.M | re.S)[1:3]
    one = Pair("postfix/proxy-v2", scratch / "readme", binary)
    one.blocks = [page.Block("readme", "/etc/tarry/tarry.conf", None, None, conf), page.Block("readme", "/etc/postfix/master.cf", None, "smtp inet", entry)]
    try:
        one.start()
        swaks(one.machine, "readme")
        assert_from(one, one.wait_mail("readme"), CLIENT4)
    finally:
        one.stop()


def test_what_exim_offers_for_next_time_is_struck(binary, scratch):
    """An Exim that would have clients talk before their next greeting (PIPECONNECT): no client of the door hears of it, in clear."""
    ask = r"exec 3<>/dev/tcp/127.0.0.1/10025; printf 'PROXY TCP4 192.0.2.1 192.0.2.2 1025 25\r\n' >&3; read -r x <&3; printf 'EHLO c.example\r\nQUIT\r\n' >&3; cat <&3"
    one = Pair("exim/proxy-v2", scratch / "pipeconnect", binary)
    for block in one.blocks:
        block.text = block.text.replace("pipelining_connect_advertise_hosts = :", "pipelining_connect_advertise_hosts = *")
    try:
        one.start()
        assert re.search(r"^250.PIPE_?CONNECT\r?$", one.machine.run("bash", "-c", ask).stdout, re.M)
        with Client(one.machine) as client:
            assert client.offers("PIPELINING") and not [e for e in client.extensions if "CONNECT" in e]
    finally:
        one.stop()


# ---- whose address -----------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("source, server", [(CLIENT4, SERVER4), (CLIENT6, SERVER6)], ids=["IPv4", "IPv6"])
def test_swaks(pair, subject, source, server):
    swaks(pair.machine, subject, source=source, server=server)
    assert_from(pair, pair.wait_mail(subject), source)


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "STARTTLS"])
def test_another_mail_server_sends(pair, subject, tls):
    if tls and pair.peer.no_tls:
        pytest.skip(pair.peer.no_tls)
    SEND[pair.peer.client](pair.machine, f"From: {SENDER}\nTo: {RECIPIENT}\nSubject: {subject}\n\n.first\n..second\n.\nlast\n", tls)
    message = pair.wait_mail(subject)
    assert_from(pair, message, CLIENT4)
    assert message.replace(b"\r\n", b"\n").split(b"\n\n", 1)[1].rstrip(b"\n") == b".first\n..second\n.\nlast"
    assert not tls or re.search(r"with e?smtps|TLS", received(message), re.I), received(message)


def test_early_talker_never_reaches_it(pair, subject):
    with Client(pair.machine, source=OTHER4, hello=False) as early:
        early.send(ARTICLE_SESSION.replace("testing", subject))
        assert early.rest()[0].startswith("554 ")
    assert pair.front.wait_verdict("early", client=OTHER4)
    swaks(pair.machine, subject + "-after")
    pair.wait_mail(subject + "-after")
    assert OTHER4 not in pair.peer.log()
    assert subject not in pair.subjects()


# ---- TLS from end to end -------------------------------------------------------------------------------------------------------------------

def test_starttls_by_openssl(tls_pair, subject):
    """The certificate is the server's; the client's address comes with TLS, too."""
    client = OpenSSL(tls_pair.machine, CERTIFICATE)
    client.say("EHLO client.example.net", "250")
    client.say(f"MAIL FROM:<{SENDER}>", "250")
    client.say(f"RCPT TO:<{RECIPIENT}>", "250")
    client.say("DATA", "354")
    client.say(f"Subject: {subject}\n\nhi\n.", "250")
    client.say("QUIT", "221")
    client.end()
    assert_from(tls_pair, tls_pair.wait_mail(subject), CLIENT4)


def test_starttls_by_swaks(tls_pair, subject):
    knows = subprocess.run(["swaks", "--help"], capture_output=True, text=True, timeout=60, check=False).stdout
    verify = "--tls-verify-ca" if "--tls-verify-ca" in knows else "--tls-verify"  # which newer ones let look at the host's name, too
    done = swaks(tls_pair.machine, subject, "--tls", verify, "--tls-ca-path", CERTIFICATE)
    assert "TLS started with cipher" in done.stdout
    assert_from(tls_pair, tls_pair.wait_mail(subject), CLIENT4)


def test_nothing_is_injected_before_tls(pair):
    """A command in the packet of STARTTLS is neither taken before nor after the handshake: there is none."""
    if pair.peer.by_exec:
        pytest.skip("the door has no part in it")
    with Client(pair.machine) as client:
        client.send("STARTTLS\r\nMAIL FROM:<injected@example.net>\r\nQUIT\r\n")
        assert not any(line.startswith(("220", "250")) for line in client.rest())
    assert "injected@example.net" not in pair.peer.log()


# ---- clients that are quick ----------------------------------------------------------------------------------------------------------------

def test_pipelining(pair, subject):
    with Client(pair.machine) as client:
        if not client.offers("PIPELINING"):
            pytest.skip("it does not offer PIPELINING")
        client.send(f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<nobody@elsewhere.example>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n")
        assert re.fullmatch("2[45]23", "".join(client.reply()[-1][:1] for _ in range(4)))
        client.send(f"Subject: {subject}\r\n\r\nhi\r\n.\r\n")
        if not pair.peer.pipelining_after_text:
            client.reply()
        client.send(f"MAIL FROM:<{SENDER}>\r\nRSET\r\nQUIT\r\n")
        assert [client.reply()[-1][:3] for _ in range(3 + pair.peer.pipelining_after_text)][-3:] == ["250", "250", "221"]
        assert client.rest() == []
    assert_from(pair, pair.wait_mail(subject), CLIENT4)


def test_swaks_pipelining(pair, subject):
    swaks(pair.machine, subject, "--pipeline")
    assert_from(pair, pair.wait_mail(subject), CLIENT4)


def test_chunking(pair, subject):
    """What looks like the end of a message, and commands, in the middle of chunks."""
    text = f"Subject: {subject}\r\n\r\nfirst\r\n.\r\nQUIT\r\nMAIL FROM:<chunked@example.net>\r\n..\r\n".encode() + b"x" * 500 + b"\r\n" + b"y" * 500 + b"\r\nlast\r\n"
    with Client(pair.machine) as client:
        assert client.offers("CHUNKING") == pair.peer.chunking
        if not pair.peer.chunking:
            pytest.skip("it does not offer CHUNKING")
        client.envelope()
        parts = text[:40], text[40:41], text[41:700], text[700:]
        client.send(b"".join(b"BDAT %d\r\n%s" % (len(p), p) for p in parts) + b"BDAT 0 LAST\r\n")
        assert [client.reply()[-1][:3] for _ in range(5)] == ["250"] * 5
        client.say("QUIT", "221")
    got = pair.wait_mail(subject).replace(b"\r\n", b"\n")
    assert got.split(b"\n\n", 1)[1].strip(b"\n") == text.replace(b"\r\n", b"\n").split(b"\n\n", 1)[1].strip(b"\n")
    assert "chunked@example.net" not in pair.peer.log()


# ---- smuggling -----------------------------------------------------------------------------------------------------------------------------

BEFORE = ("\r\n", "\n", "\r", "\n\r", "\n\n", "\r\0\n", "")
AFTER = (*BEFORE, "\r\r\n", "\0\r\n", " \r\n")
ENDS = [end for end in (f"{b}.{a}" for b in BEFORE for a in AFTER) if "\r\n.\r\n" not in end] + ["\r\n..\r\n", "\x85.\x85", "\r\n\t.\r\n", "\r\n.\r.\r\n"]


def smuggle(pair, subject, number, end):
    """What the server answers to a message that has another within it."""
    with Client(pair.machine, source=CROWD[number % len(CROWD)]) as client:
        client.envelope()
        client.say("DATA", "354")
        client.send(f"Subject: {subject}-{number}\r\n\r\nhi{end}MAIL FROM:<smuggler@example.net>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\nSubject: smuggled-{number}\r\n\r\n"
                    "inner\r\n.\r\nQUIT\r\n")
        return [line for line in client.rest(None if pair.peer.pipelining_after_text else 1) if line[3:4] == " "]


def test_smuggling(pair, subject):
    """Whatever end of line stands around a dot: the server takes one message or none, and never the one that stands within it."""
    if pair.peer.smuggles:
        pytest.skip(pair.peer.smuggles)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda n: smuggle(pair, subject, n, ENDS[n]), range(len(ENDS))))
    for end, lines in zip(ENDS, answers):
        assert not [line for line in lines if line[0] == "3"], f"{end!r}: {lines}"
        assert sum(line[0] == "2" for line in lines) <= 2, f"{end!r}: {lines}"  # the message, and QUIT
    taken = sum(lines[0].startswith("250") for lines in answers if lines)
    swaks(pair.machine, subject + "-after")
    pair.wait_mail(subject + "-after")
    wait_until(lambda: sum(len(m) for s, m in pair.subjects().items() if re.fullmatch(rf"{subject}-\d+", s)) == taken, "all that was acknowledged has come")
    assert all(len(m) == 1 for m in pair.subjects().values())
    assert not [s for s in pair.subjects() if s.startswith("smuggled-")]
    assert "smuggler@example.net" not in pair.peer.log()
