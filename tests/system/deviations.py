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
        if line.text.startswith("250-{HOST} Hello") and expected.lines[start + 1].text != "250 ENHANCEDSTATUSCODES\r\n":
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


FOREIGN = {"TLS ClientHello at 100 ms": "521 5.5.1 {HOST} This port speaks SMTP in clear: TLS begins with STARTTLS\r\n",
           "CONNECT at 100 ms": "521 5.5.1 {HOST} This port speaks SMTP, not HTTP\r\n",
           "GET / HTTP/1.0 after the greeting (no early talk)": "421 4.7.0 {HOST} Rejecting open proxy {CLIENT}\r\n",
           "POST after HELO (no early talk)": "421 4.7.0 {HOST} Rejecting open proxy {CLIENT}\r\n"}


def last_word(expected, at, text):
    """Line number `at` is the last one, and this."""
    line = SimpleNamespace(**vars(expected.lines[at]))
    line.text = text
    expected.lines[at:] = [line]
    expected.ends = {"server-eof"}
    expected.end_cause, expected.end_offset = line.cause, line.offset


def early_kinds(_group, scenario, expected):
    """What speaks another protocol before its greeting has one reply, and the end."""
    text = FOREIGN.get(scenario["name"])
    if text and text.startswith("521"):
        last_word(expected, 0, text)


def forbidden(_group, scenario, expected):
    """The same after the greeting: as 8.17."""
    text = FOREIGN.get(scenario["name"])
    if text and text.startswith("421"):
        last_word(expected, next(i for i, line in enumerate(expected.lines) if line.text.startswith("500")), text)


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


def changed(expected, before, after):
    for line in expected.lines:
        line.text = line.text.replace(before, after)


def old_friend(_group, scenario, expected):
    """To: ... SPAMFRIEND is a FRIEND."""
    lines = " ".join(scenario["config"]["access"] or [])
    keys = re.findall(r"To:(\S+) SPAMFRIEND", lines)
    for line in expected.lines:
        for key in keys:
            if re.match(rf"550 5.7.1 <{re.escape(key)}\S*>... Access denied", line.text):
                line.text = re.sub(r"^550 5.7.1 (<.*>)... Access denied", r"250 2.1.5 \1... Recipient ok", line.text)


def behind(_group, scenario, expected):
    """What the mail server behind refuses, relaying for one, comes after what the door refuses."""
    if blocked(scenario):
        changed(expected, "... Relaying denied", "... Access denied")


def blocked(scenario):
    return any(re.match(r"Connect:127.0.0.3 +REJECT", line) for line in scenario["config"]["access"] or [])


def any_user(_group, scenario, expected):
    """The mail server inside takes mail for any user, and from any sender."""
    for line in expected.lines:
        line.text = re.sub(r"^550 5.1.1 (<.*>)... User unknown", r"250 2.1.5 \1... Recipient ok", line.text)
        line.text = re.sub(r"^553 5.5.4 (<.*>)... Domain name required for sender address .*?\r", r"250 2.1.5 \1... Recipient ok\r", line.text)


def no_vrfy(_group, scenario, expected):
    """VRFY, EXPN and ETRN of the mail server inside tell nothing."""
    if "VRFY EXPN ETRN" not in scenario["name"]:
        return
    changed(expected, "250 2.0.0 Queuing for node example.org started", "502 5.7.0 Sorry, we do not allow this operation")
    seen = [line for line in expected.lines if line.text.startswith("250 2.1.5 <victim@{HOST}>")]
    for line, text in zip(seen, ("252 2.5.2 Cannot VRFY user; try RCPT to attempt delivery (or try finger)", "502 5.7.0 Sorry, we do not allow this operation")):
        line.text = text + "\r\n"


def no_ident(_group, scenario, expected):
    """No ident query: the pause begins at once, and so does everything."""
    if not any("confTO_IDENT" in line for line in scenario["config"]["features"]):
        return
    for line in expected.lines:
        line.offset = line.offset if line.cause == ("connect",) else 0
    expected.end_offset = 0
    if "half_close" in str(scenario["client"]["steps"]):
        expected.lines = []
    elif scenario["name"].startswith("QUIT at 2500 ms, pause 1000"):
        expected.lines[0] = SimpleNamespace(text="220 {HOST} ESMTP Sendmail {VERSION}; {DATE}\r\n", cause=("connect",), offset=1000)
    elif expected.lines[0].text.startswith("220"):
        expected.lines[0].cause, expected.lines[0].offset = ("connect",), 1000 if "pause 1000" in scenario["name"] else 0


def mapped_name(_group, scenario, expected):
    """An IPv4 client has its name also on a listener of ::."""
    if scenario["config"].get("listener"):
        changed(expected, "Hello [127.0.0.2]", "Hello {CLIENT}")


def not_paused(_group, scenario, expected):
    """Who is refused at connect does not wait for that."""
    delayed = any("delay_checks" in line for line in scenario["config"]["features"])
    if not delayed and any(re.match(r"(Connect:)?127.0.0.2 300$", line) for line in scenario["config"]["access"] or []):
        expected.pause(0)


def text_map(_group, scenario, expected):
    """The table is the text: editing it is enough."""
    changed_to = scenario["config"].get("text_file_changed_to")
    if changed_to:
        expected.pause(number(changed_to[0].split()[1]))


def kept_table(_group, scenario, expected):
    """A table whose file is gone stays."""
    if "removed while running" in scenario["name"]:
        expected.lines = [line for line in expected.lines if not line.text.startswith("451 4.0.0")]
        changed(expected, "451 4.3.0 Temporary system failure. Please try again later.", "250 2.1.5 <victim@example.org>... Recipient ok")
        expected.lines[0].cause = ("connect",)
        expected.pause(400)


def failed_map(_group, scenario, expected):
    """A map that cannot be asked: the pause stays as it is, 451 4.3.0 where it could have refused, and never a line before the greeting."""
    if not scenario["name"].startswith("map ") or not any(line.text.startswith("451 4") for line in expected.lines):
        return
    delayed = "no delay_checks" not in scenario["name"]
    if not delayed and "data pages" not in scenario["name"]:
        return
    failure = "451 4.3.0 Temporary system failure. Please try again later.\r\n"
    lines = [line for line in expected.lines if not line.text.startswith("451 4.0.0")]
    if "early talk" in scenario["name"]:
        hello = [line.text for line in lines if line.text.startswith("250 {HOST} Hello")]
        quits = [line.text for line in lines if line.text.startswith("221")]
        texts = ["554 {HOST} ESMTP not accepting messages\r\n", *hello, "550 5.0.0 Command rejected\r\n", "550 5.0.0 Command rejected\r\n", *quits] if delayed else \
            ["220 {HOST} ESMTP Sendmail {VERSION}; {DATE}\r\n", *hello, failure, failure, *quits]
    else:
        texts = [line.text for line in lines]
        if not any(text == failure for text in texts):
            at = next(i for i, text in enumerate(texts) if text.startswith("503"))
            texts[at:] = ([failure] if delayed else [failure] * 3) + [text for text in texts[at:] if delayed or not text.startswith("503")]
    causes = recorded_causes(scenario, texts)
    expected.lines = [SimpleNamespace(text=text, cause=cause, offset=0) for text, cause in zip(texts, causes)]
    if expected.lines[0].text.startswith("220"):
        expected.lines[0].cause = ("connect",)
        expected.pause(700 if delayed else 0)
    expected.end_cause, expected.end_offset = expected.lines[-1].cause, 0


def recorded_causes(scenario, texts):
    """What each line answers: the greeting, then each step's reply or replies."""
    steps = scenario["client"]["steps"]
    first = 0 if "at_ms" in steps[0] else None
    causes = [("step", 0) if first == 0 else ("connect",)]
    for i, step in enumerate(steps):
        causes += [("step", i)] * max(1, step.get("send", "").count("\n"))
    return causes[:len(texts)] + [causes[-1]] * (len(texts) - len(causes))


def timeout_text(_group, _scenario, expected):
    """The mail server inside says why it hangs up."""
    if served(expected) and expected.end_offset > 0:
        line = SimpleNamespace(text="421 4.4.2 {HOST} Timeout, closing connection\r\n", cause=expected.end_cause, offset=expected.end_offset)
        expected.lines.append(line)


def row(id, change=None, proof=None):
    return SimpleNamespace(id=id, change=change, proof=proof)


ALL = [
    row("bad-table", bad_table),
    row("early-kinds", early_kinds),
    row("other-protocols", forbidden),
    row("no-ident", no_ident),
    row("failed-map", failed_map),
    row("banner", banner),
    row("ehlo-list", ehlo_list),
    row("echo-nul", echo_whole_line),
    row("echo-control", echo_printable),
    row("safe-delivery", safe_delivery),
    row("cidr-keys", cidr),
    row("ipv6-spelling", ipv6_spelling),
    row("bare-tag", bare_tag),
    row("timeout-421", timeout_text),
    row("old-friend", old_friend),
    row("server-behind", behind),
    row("any-user", any_user),
    row("vrfy", no_vrfy),
    row("refused-at-once", not_paused),
    row("text-map", text_map),
    row("mapped-name", mapped_name),
    row("kept-table", kept_table),
    row("observe-word", proof="test_observe.py::test_a_slammer_before_postfix"),
    row("hang-up", proof="test_door.py::test_hang_up_in_the_pause"),
    row("idle-minute", proof="test_door.py::test_a_refused_client_may_be_silent_for_a_minute"),
    row("mail-inside", proof="test_door.py::test_what_the_mail_server_inside_will_not_do"),
]
