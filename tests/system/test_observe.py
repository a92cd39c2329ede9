"""mode = observe, and Connect: OBSERVE: nobody is refused, no byte is lost, and `tarry report` says from the log what enforcing had done."""
import gzip
import json
import subprocess

import pytest

import mta
from door import PATIENCE
from senders import SENDER
from talk import command, read_all, read_line
from test_exec import exec_door, programs  # noqa: F401 (fixtures)
from test_tls import CLEAR, IMPLICIT, certificates, context, starttls, tls_door  # noqa: F401 (fixtures)

PAUSE_MS = 300
SLAMMER, PATIENT, STRANGER = "127.0.0.7", "127.0.0.8", "127.0.0.9"
BODY = "Subject: slammed\r\n\r\n..a dot\r\n" + "0123456789abcdef" * 4 + "\r\nlast line\r\n"
SESSION = (f"EHLO client.example.net\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n{BODY}.\r\nQUIT\r\n").encode()


def report(binary, *arguments, text=None, expect=0):
    done = subprocess.run([binary, "report", *map(str, arguments)], input=text, capture_output=True, text=isinstance(text, str) or text is None, timeout=PATIENCE, check=False)
    assert done.returncode == expect, done.stderr
    return done


def sums(binary, *arguments, **more):
    return json.loads(report(binary, "--json", *arguments, **more).stdout)


def rest(client):
    """All that comes until the end; then the client goes, so that the door has nothing to linger for."""
    heard = read_all(client)
    client.close()
    return heard


def slam(connect, door, source=SLAMMER, session=SESSION):
    """The whole session in one packet; all that comes back."""
    client = connect(door, source)
    client.sendall(session)
    return rest(client)


def test_a_slammer_before_postfix(binary, make_door, connect, scratch):
    """Its message arrives as it was, and once; a patient client's too; and who is not observed is refused by the same door."""
    postfix = mta.Postfix(scratch / "postfix-observed", smtpd=True).start()
    try:
        door = make_door(greet_pause=PAUSE_MS, access=[f"Connect:{SLAMMER} OBSERVE"], backends={"postfix": (f"smtp:127.0.0.1:{postfix.port}", "v2")})
        heard = slam(connect, door)
        lines = heard.decode().splitlines()
        assert lines[0].startswith("220 postfix.example.net ") and lines[-1].startswith("221 "), heard
        assert [line[:3] for line in lines if line[3:4] == " "] == ["220", "250", "250", "250", "354", "250", "221"]
        postfix.wait_log("delivered to maildir")
        messages = list((postfix.mail / "victim" / "new").iterdir())
        assert len(messages) == 1 and messages[0].read_text().endswith(BODY.partition("\r\n\r\n")[2].replace("\r\n", "\n").replace("..a", ".a"))
        line = door.wait_verdict("patient")[0]
        assert (line["would"], line["would_stage"], line["kind"], line["messages"]) == ("early", "greet", "session", "1")
        assert int(line["bytes"]) == len(SESSION) and float(line["would_after_ms"]) < float(line["after_ms"]) >= PAUSE_MS
        swaks = subprocess.run(["swaks", "--server", "127.0.0.1", "--port", str(door.port), "--local-interface", SLAMMER, "--helo", "client.example.net", "--from", SENDER,
                                "--to", "victim@example.org", "--body", "hi"], capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert swaks.returncode == 0, swaks.stdout
        door.wait_verdict("patient", 2)
        refused = slam(connect, door, STRANGER)
        assert refused.startswith(b"554 ")
        door.wait_verdict("early")
        counters = door.counters()
        assert (counters["would_early"], counters["early"], counters["patient"]) == (1, 1, 2)
        status = subprocess.run([binary, "status", "-c", door.config], capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
        assert "\nobserved     had been 1 early, 0 refused, 0 limited, 0 put off\n" in status
    finally:
        postfix.stop()
    found = sums(binary, door.log_path)
    assert (found["connections"], found["would"], found["did"], found["messages"]) == (3, 1, 1, 2)
    wronged = found["with_mail"]
    assert [w["client"] for w in wronged] == [SLAMMER] and wronged[0]["messages"] == 2 and wronged[0]["messages_waited"] == 1
    assert wronged[0]["access"] == f"GreetPause:{SLAMMER}\t0" and "would=early" in wronged[0]["example"]
    assert {k["kind"]: (k["would"], k["did"], k["clients"], k["clients_with_mail"]) for k in found["kinds"]} == {"early, session": (1, 1, 2, 1)}
    assert [n["network"] for n in found["networks"]] == ["127.0.0.0/24"]
    text = report(binary, door.log_path).stdout
    assert f"  {SLAMMER}\n" in text and f"GreetPause:{SLAMMER}\t0" in text


def test_a_large_message_waits_in_the_socket(make_door, connect):
    """More than any buffer of the door's holds, sent before the greeting, while nothing is read."""
    door = make_door(greet_pause=PAUSE_MS, mode="observe")
    body = "Subject: large\r\n\r\n" + "".join(f"{n:060d}\r\n" for n in range(20000))
    client = connect(door, SLAMMER)
    client.sendall(SESSION.replace(BODY.encode(), body.encode()))
    assert rest(client).splitlines()[-2].startswith(b"250 ")
    stored = door.messages()
    assert len(stored) == 1 and stored[0].read_text().endswith(body.partition("\r\n\r\n")[2].replace("\r\n", "\n"))
    line = door.wait_verdict("patient")[0]
    assert (line["would"], line["kind"], line["messages"]) == ("early", "session", "1")


@pytest.mark.parametrize("which", [CLEAR, IMPLICIT])
def test_early_inside_tls(tls_door, connect, which):
    """On the port where TLS comes first the pause is inside it, and so is the talk; on the other one it comes before STARTTLS."""
    door = tls_door(mode="observe")
    client = connect(door.addresses[which])
    if which == IMPLICIT:
        client = context().wrap_socket(client)
        client.sendall(SESSION)
    else:
        client.sendall(b"EHLO client.example.net\r\n")
        assert read_line(client).startswith(b"220 ")
        while read_line(client)[3:4] == b"-":
            pass
        client = starttls(client)
        client.sendall(SESSION)
    heard = rest(client)
    assert heard.splitlines()[-1].startswith(b"221 "), heard
    assert len(door.messages()) == 1
    line = door.wait_verdict("patient")[0]
    assert (line["would"], line["messages"]) == ("early", "1") and line["tls"].startswith("TLS")


def test_a_program_gets_every_byte(exec_door, connect):
    door = exec_door(greet_pause=PAUSE_MS, mode="observe")
    heard = slam(connect, door, session=b"ONE\r\nTWO\r\nQUIT\r\n")
    assert heard == b"220 program ESMTP\r\n250 ONE\r\n250 TWO\r\n221 bye\r\n"
    line = door.wait_verdict("patient")[0]
    assert line["would"] == "early" and line["data"] == r"ONE\r\nTWO\r\nQUIT\r\n" and "handed" in line and "messages" not in line


def test_behind_a_load_balancer(make_door, connect):
    """Header and talk in one packet; a prober is nobody's client, and hears what it always does."""
    door = make_door(greet_pause=PAUSE_MS, mode="observe", listens=[("127.0.0.1:0", 'proxy = yes  trust = { "127.0.0.1" }  health = { "127.0.0.4" }')])
    client = connect(door)
    client.sendall(b"PROXY TCP4 192.0.2.77 192.0.2.25 40000 25\r\n" + SESSION)
    assert rest(client).splitlines()[-1].startswith(b"221 ")
    line = door.wait_verdict("patient")[0]
    assert (line["client"], line["via"], line["would"], line["messages"]) == ("192.0.2.77", "127.0.0.1", "early", "1")
    prober = connect(door, "127.0.0.4")
    assert read_line(prober).startswith(b"220 ")
    assert command(prober, "MAIL FROM:<a@example.net>").startswith(b"550 ")


def test_hard_limits_hold(make_door, connect):
    """What protects the door itself is no matter of observing."""
    door = make_door(greet_pause=PAUSE_MS, mode="observe", max_per_client=1)
    first = connect(door, PATIENT)
    assert read_line(first).startswith(b"220 ")
    assert read_all(connect(door, PATIENT)).startswith(b"421 4.7.0 ")
    assert door.wait_verdict("limited")[0]["reason"] == "max_per_client"


def test_what_it_is_says_so(binary, make_door):
    """In the log when it starts, by `tarry check`, and by `tarry access why`."""
    door = make_door(mode="observe", access=[f"Connect:{SLAMMER} OBSERVE", "From:a@example.net OBSERVE"])
    door.wait_for(lambda d: d.get("event") == "observing")
    checked = subprocess.run([binary, "check", "-c", door.config], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert "mode: observe: no client is refused" in checked.stderr
    assert "From:a@example.net OBSERVE: clients are observed, not senders or recipients" in checked.stderr
    why = subprocess.run([binary, "access", "why", "-c", door.config, SLAMMER], capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    assert "connect  observed: nothing is refused to it, the log says would= where it had been because " in why


# ---- tarry report -----------------------------------------------------------------------------------------------------------------------

def line(at, rest, carrier="{at}Z tarry[1] front/0 info "):
    return carrier.format(at=at) + rest + "\n"


EARLY = "verdict=early client=192.0.2.1 port=1 id=x pause_ms=1000 after_ms=0.4 kind=smtp bytes=3 data=\"x\\r\\n\""
MAIL = "verdict=patient client=192.0.2.1 port=1 id=x pause_ms=1000 after_ms=1000.4 backend=m in=1 out=2 end=client messages=1 duration_ms=1.0"
LOG = line("2026-11-29T10:00:00.000", EARLY) + line("2026-11-30T10:00:00.000", MAIL)


def test_report_reads_what_there_is(binary, tmp_path):
    """Standard input, files, rotated and compressed ones, together."""
    plain, packed = tmp_path / "log", tmp_path / "log.1.gz"
    plain.write_text(LOG)
    packed.write_bytes(gzip.compress(LOG.encode()))
    assert sums(binary, text=LOG)["connections"] == 2
    assert sums(binary, "-", text=LOG.rstrip("\n"))["connections"] == 2  # without a last line end
    found = sums(binary, plain, packed)
    assert found["connections"] == 4 and found["with_mail"][0]["messages"] == 2
    with open(packed, "rb") as standard:
        assert json.loads(subprocess.run([binary, "report", "--json"], stdin=standard, capture_output=True, timeout=PATIENCE, check=True).stdout)["connections"] == 2
    packed.write_bytes(gzip.compress(LOG.encode())[:-20])
    assert "log.1.gz: gzip -dc could not read it to its end" in report(binary, plain, packed, expect=65).stderr
    assert "No such file" in report(binary, tmp_path / "none", plain, expect=66).stderr


def test_report_of_a_time(binary, tmp_path):
    log = tmp_path / "log"
    log.write_text(LOG)
    for arguments, connections in ((["--since", "2026-11-30 00:00 UTC"], 1), (["--since", "2026-11-29T10:00:00Z"], 2), (["--until", "2026-11-29T10:00:00Z"], 0),
                                   (["--since", "2026-11-29 00:00Z", "--until", "2026-11-30 00:00Z"], 1), (["--until", "@1796040000"], 2)):
        assert sums(binary, *arguments, log)["connections"] == connections, arguments
    left_out = report(binary, "--since", "2026-11-01", text=line("", MAIL, "front/0 info "))
    assert "1 lines without a time were left out" in left_out.stderr
    for arguments in (["--since", "soon"], ["--top", "0"], ["--top", "x"], ["--nonsense"], ["--since"], ["--since", "2026-11-30", "--until", "2026-11-29"]):
        assert report(binary, *arguments, log, expect=64).stderr.startswith("tarry: report: ")
    assert report(binary, "--help").stdout.startswith("usage: tarry report ")


def test_report_of_something_else(binary, tmp_path):
    """No log of a door's; and one with a line that never ends, which costs no memory and hides no other."""
    assert "no connection of a door in 1 lines" in report(binary, text="hello\n").stderr
    log = tmp_path / "log"
    log.write_bytes(b"\x00\xff" * (1 << 20) + b"\n" + LOG.encode() + b"x" * 300000 + b"front/0 info " + EARLY.encode())
    assert sums(binary, log)["connections"] == 2
