"""Where Tarry does otherwise than the recorded Sendmail: one entry for each row of doc/deviations.md.

change(group, scenario, expected) turns what the transcript expects into what Tarry does; it is offered every scenario and
changes those it has to do with. The replay fails a scenario if a change turns out not to be needed.
change None: the row has no transcript; `proof` names the test that shows it instead.
"""
import ipaddress
import re
from types import SimpleNamespace

ECHO = '500 5.5.1 Command unrecognized: "'


def banner(_group, _scenario, expected):
    for line in expected.lines:
        line.text = line.text.replace("220 {HOST} ESMTP Sendmail {VERSION}", "220 {HOST} ESMTP Tarry {VERSION}")


def served(expected):
    """The client was greeted, and talks to the mail server inside."""
    return bool(expected.lines) and expected.lines[0].text.startswith("220")


def ehlo_list(_group, _scenario, expected):
    """The keywords between "250-HOST Hello" and the last line of that reply."""
    if not served(expected):
        return
    ours = ["ENHANCEDSTATUSCODES", "PIPELINING", "8BITMIME", "SIZE 52428800", "SMTPUTF8", "HELP"]
    for start, line in enumerate(expected.lines):
        if line.text.startswith("250-{HOST} Hello"):
            end = next(i for i in range(start, len(expected.lines)) if expected.lines[i].text[3] == " ")
            new = [SimpleNamespace(**vars(line)) for _ in ours]
            for i, keyword in enumerate(ours):
                new[i].text = f"250{'-' if i + 1 < len(ours) else ' '}{keyword}\r\n"
            expected.lines[start + 1:end + 1] = new
            return


def sent_bytes(scenario):
    out = b""
    for step in scenario["client"]["steps"]:
        out += bytes.fromhex(step["send_hex"]) if "send_hex" in step else (step.get("send", "") * step.get("repeat", 1) + step.get("tail", "")).encode("latin-1")
    return out


def echo_whole_line(_group, scenario, expected):
    """A NUL is a byte like any other in what the 500 line repeats: before the seven-bit strip and after it."""
    sent = [bytes(b & 0x7f for b in line.removesuffix(b"\r")) for line in sent_bytes(scenario).split(b"\n")]
    with_nul = [line.decode("latin-1") for line in sent if b"\0" in line]
    for line in expected.lines:
        if not line.text.startswith(ECHO) or not with_nul:
            continue
        shown = line.text[len(ECHO):].rstrip("\r\n").removesuffix('"')
        if with_nul[0].split("\0")[0] == shown:
            whole = with_nul.pop(0)
            line.text = ECHO + (whole if len(whole) <= 203 else whole[:100] + "..." + whole[-100:]) + '"\r\n'


def echo_printable(_group, _scenario, expected):
    for line in expected.lines:
        if line.text.startswith(ECHO):
            line.text = re.sub(r"[\x00-\x08\x0a-\x1f\x7f]", "?", line.text[:-2]) + line.text[-2:]


def safe_delivery(_group, scenario, expected):
    """All 25 answers and the 421 arrive, where Sendmail's own reset destroyed a part of them; no reset ever."""
    limited = [line.text for line in expected.lines].count(ECHO + "A" * 100 + "..." + "A" * 100 + '"\r\n') > 10
    if "server-reset" in expected.ends and limited:
        whole = next(line for line in expected.lines if line.text.startswith(ECHO) and line.text.endswith("\r\n"))
        head = [line for line in expected.lines if not line.text.startswith("500")][:2]
        last = SimpleNamespace(**vars(whole))
        last.text = "421 4.7.0 {HOST} Too many bad commands; closing connection\r\n"
        expected.lines = head + [SimpleNamespace(**vars(whole)) for _ in range(25)] + [last]
        expected.ends = {"server-eof"}


def greet_pause_keys(scenario):
    """(key, value) of the GreetPause lines; the key in lower case, "" for the bare tag."""
    out = []
    for line in scenario["config"]["access"] or []:
        key, _, value = line.replace("\t", " ").partition(" ")
        tag, colon, rest = key.partition(":")
        if colon and tag.lower() == "greetpause":
            out.append((rest.lower(), value.strip()))
    return out


def number(value):
    digits = re.match(r"[0-9]+", value)
    return min(int(digits.group()), 300000) if digits else 0


def bad_table(_group, scenario, expected):
    """A table that makemap complains about is not taken at all; a door that starts with it says so and does not start."""
    seen = set()
    for n, line in enumerate(scenario["config"]["access"] or [], 1):
        key, _, value = line.replace("\t", " ").partition(" ")
        if not value.strip():
            expected.refuses_to_start = rf"access:{n}: .*no RHS for LHS"
        elif key.lower() in seen:
            expected.refuses_to_start = rf"access:{n}: .*duplicate key"
        seen.add(key.lower())


def cidr(_group, scenario, expected):
    address = ipaddress.ip_address(scenario["client"]["address"])
    for key, value in greet_pause_keys(scenario):
        if "/" in key:
            network = ipaddress.ip_network(key.removeprefix("ipv6:"), strict=False)
            if network.version == address.version and address in network:
                expected.pause(number(value))


def groups_of(text):
    """The colon groups of an IPv6 prefix or address as numbers; None if it is neither."""
    if "::" in text:
        try:
            text = ipaddress.IPv6Address(text).exploded
        except ValueError:
            return None
    if not re.fullmatch(r"[0-9a-f]{1,4}(:[0-9a-f]{1,4}){0,7}", text):
        return None
    return [int(g, 16) for g in text.split(":")]


def ipv6_spelling(_group, scenario, expected):
    """Any way to write the address or its leading groups matches, and IPv6 alone is all of them; a whole address also without IPv6: before it."""
    if ":" not in scenario["client"]["address"]:
        return
    whole = groups_of(ipaddress.IPv6Address(scenario["client"]["address"]).exploded)
    for key, value in greet_pause_keys(scenario):
        groups = [] if key == "ipv6" else groups_of(key.removeprefix("ipv6:")) if ":" in key else None
        if groups is not None and (key.startswith("ipv6") or len(groups) == 8) and whole[:len(groups)] == groups:
            expected.pause(number(value))


def bare_tag(_group, scenario, expected):
    """`GreetPause: 600` is the default, in place of the feature's argument."""
    keys = dict(greet_pause_keys(scenario))
    if re.fullmatch(r"[0-9]+", keys.get("", "")) and expected.lines and expected.lines[0].offset == number(str(scenario["config"]["pause_ms"])):
        expected.pause(number(keys[""]))


def timeout_text(_group, _scenario, expected):
    """The mail server inside says why it hangs up."""
    if served(expected) and expected.end_offset > 0:
        line = SimpleNamespace(text="421 4.4.2 {HOST} Timeout, closing connection\r\n", cause=expected.end_cause, offset=expected.end_offset)
        expected.lines.append(line)


def row(id, change=None, proof=None):
    return SimpleNamespace(id=id, change=change, proof=proof)


ALL = [
    row("bad-table", bad_table),
    row("banner", banner),
    row("ehlo-list", ehlo_list),
    row("echo-nul", echo_whole_line),
    row("echo-control", echo_printable),
    row("safe-delivery", safe_delivery),
    row("cidr-keys", cidr),
    row("ipv6-spelling", ipv6_spelling),
    row("bare-tag", bare_tag),
    row("timeout-421", timeout_text),
    row("hang-up", proof="test_door.py::test_hang_up_in_the_pause"),
    row("idle-minute", proof="test_door.py::test_a_refused_client_may_be_silent_for_a_minute"),
    row("mail-inside", proof="test_door.py::test_what_the_mail_server_inside_will_not_do"),
]
