#!/usr/bin/python3
"""Plays the transcripts of tests/vectors against the real binary, all side by side, and compares byte for byte.

    replay.py --binary build/src/tarry [--groups keys,values] [--only TEXT] [--json FILE] [--long]

One door for each distinct configuration. A line is expected after what caused it: the greeting after the pause, a reply after the step that asked
for it, a slowed-down reply or a time-out that much later; LATE_MS is the grace. So a client that this program started late does not
count against the door. A scenario of which only the times are off is played once more, and the output says so.
"""
import argparse
import asyncio
import errno
import gc
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import deviations
import dns
import maps
from door import Door, ROOT, find_binary

VECTORS = ROOT / "tests" / "vectors"
GROUPS = ("article", "timing", "after554", "payloads", "idle", "urgent", "abuse554", "keys", "keys6", "values", "huge", "cap",
          "connect", "connect_pause", "friend", "hater", "ratecontrol", "conncontrol", "maperr", "reload", "mapped", "loglevel", "ident")
LONG_GROUPS = ("cap",)
HOST = "mail.example.org"

LATE_MS = 20        # the grace for everything
EARLY_MS = 8        # a recorded greeting may be earlier than its pause by this: the recording client was late to note when it had connected
SLOW_MS = 60        # a recorded reply later than this was late on purpose; less is Sendmail's own slowness
ROUND_MS = 100      # what was late on purpose was so by a multiple of this
IDLE_MS = 4000      # how long the recording client waited for more, when the scenario does not say
MAX_MS = 60000
RETRIES = 12        # scenarios that were late and are played again; more than that is not a busy machine
STAGGER_S = 0.03    # between two starts, so that hundreds of greetings do not fall due in the same millisecond
STAGGER_AGAIN_S = 0.2
REMOVED_S = 0.5     # for the door to see that a file is gone
PRIORITY = -10      # for this program and the doors, where that is allowed: a busy machine must not look like a slow door

PATTERNS = {
    "{VERSION}": r"[0-9][0-9A-Za-z.+~-]*",
    "{DATE}": r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{1,2} (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} [0-9:]{8} (GMT|[+-][0-9]{4})",
    "{QID}": r"[A-Za-z0-9]+",
}


# ---- what a scenario expects -------------------------------------------------------------------------------------------------------

class Line:
    """text: as in the transcript. Due offset ms after cause, which is ("connect",) or ("step", index)."""

    def __init__(self, text, cause, offset):
        self.text, self.cause, self.offset = text, cause, offset


class Expected:
    """What the recorded server did, in a form that deviations.py can change."""

    def __init__(self, scenario):
        self.scenario = scenario
        self.client = scenario["client"].get("display")
        self.refuses_to_start = None  # a regular expression: the door does not take this configuration and says so
        end = scenario["end"]
        self.ends = {end["how"], *end.get("also", [])}
        if "server-eof" in self.ends:
            self.ends.discard("server-reset")  # where Sendmail may do either, a reset is the worse answer
        sent = recorded_sends(scenario)
        self.lines = []
        for i, recorded in enumerate(scenario["transcript"]):
            if i == 0 and recorded["line"].startswith("421"):
                self.lines.append(Line(recorded["line"], ("connect",), 0))
            elif i == 0 and recorded["line"].startswith("220"):
                self.lines.append(Line(recorded["line"], ("connect",), recorded_pause(scenario, recorded["at_ms"])))
            else:
                cause, since = cause_of(scenario, sent, i, recorded["at_ms"])
                self.lines.append(Line(recorded["line"], cause, on_purpose(since) if scenario["server"].startswith("8.13") else 0))
        if self.lines and end["at_ms"] - scenario["transcript"][-1]["at_ms"] < SLOW_MS:
            self.end_cause, self.end_offset = self.lines[-1].cause, self.lines[-1].offset
        else:
            self.end_cause, since = cause_of(scenario, sent, len(self.lines), end["at_ms"])
            self.end_offset = on_purpose(since)

    def pause(self, ms):
        """The client is greeted after that pause instead."""
        self.lines[0].offset = ms


def number(value):
    """As Sendmail reads a value: the digits it begins with, or 0; 300 seconds at most."""
    digits = re.match(r"[ \t]*([0-9]+)(?!<TMPF>)", str(value or ""))
    return min(int(digits.group(1)), 300000) if digits else 0


def access_value(line):
    """The value of an access line: what follows the first blank."""
    return (line.split(None, 1) + [""])[1]


def recorded_pause(scenario, at_ms):
    """The pause of the configuration that best explains when the greeting came."""
    config = scenario["config"]
    tables = (config["access"] or []) + config.get("map_rebuilt_to", []) + table_of(scenario)
    candidates = {0, pause_of(config)} | {number(access_value(line)) for line in tables if line.lower().startswith("greetpause:")}
    candidates |= {int(n) for line in (config.get("options") or {}).get("tail", []) for n in re.findall(r" (\d+)$", line)}
    return max(c for c in candidates if c <= at_ms + EARLY_MS)


def reply_ends(texts):
    """Which lines end a reply: the last ones of multi-line replies."""
    return [i for i, text in enumerate(texts) if text[3:4] != "-"]


def recorded_sends(scenario):
    """When each step was done, as (ms, first line it can have caused), or None if its condition never came."""
    lines = scenario["transcript"]
    ends = reply_ends([line["line"] for line in lines])
    sent = []
    for step in scenario["client"]["steps"]:
        if "at_ms" in step:
            sent.append((step["at_ms"], 0))
        elif "after_reply" in step:
            n = step["after_reply"]
            if n > len(ends):
                sent.append(None)
            else:
                sent.append((lines[ends[n - 1]]["at_ms"] + step.get("delay_ms", 0), ends[n - 1] + 1))
        else:
            sent.append(sent[-1])
    for i in range(scenario["end"].get("unsent_steps", 0)):
        sent[-1 - i] = None  # the reply had come, but so had the end
    return sent


def cause_of(scenario, sent, line, at_ms):
    """The last step that can have caused this line, and how long before it that was."""
    best = None
    for i, when in enumerate(sent):
        if when and when[0] <= at_ms + 2 and when[1] <= line and (best is None or when[0] > sent[best][0]):
            best = i
    if best is None:
        return ("connect",), at_ms
    return ("step", best), at_ms - sent[best][0]


def on_purpose(since):
    return 0 if since < SLOW_MS else ROUND_MS * round(since / ROUND_MS)


# ---- what is left out --------------------------------------------------------------------------------------------------------------

def out_of_scope(scenario):
    """Why this scenario is not played, or None."""
    if scenario["config"].get("options", {}).get("loglevel") is not None and scenario["config"]["options"]["loglevel"] < 0:
        return "a log level that is none"
    return None


# ---- doors -------------------------------------------------------------------------------------------------------------------------

# The table of a scenario of which the transcript does not say it.
TABLES = {"10: no -o: rebuilt": ["GreetPause:127.0.0.2 300"]}
TABLES.update({name: ["GreetPause:127.0.0.2 600"] for name in ("6: access.db back", "7: access.db world-writable (unsafe)")})


def table_of(scenario):
    return TABLES.get(scenario["name"], [])


# What `tarry mc` says of these is about the machine it is for, not about the dialogue.
NOT_FROM_MC = ("access_db", "listen", "greet_pause", "hostname", "fronts", "mail_processes", "accept_domains")


def command_timeout(scenario):
    for feature in scenario["config"]["features"]:
        found = re.search(r"confTO_COMMAND', `(\d+s)'", feature)
        if found:
            return found.group(1)
    return None


def pause_of(config):
    said = re.search(r"greet_pause', `([0-9]+)", " ".join(config["features"]))
    return number(config["pause_ms"] if config["pause_ms"] is not None or not said else said.group(1))


def door_key(scenario):
    """Scenarios with the same key share a door. Those that count connections, or change the table, have one for themselves, or for their series."""
    config = scenario["config"]
    access = None if config["access"] is None else tuple(config["access"])
    alone = config.get("series") or (scenario["name"] if "held_open" in config else None)
    if config.get("map_rebuilt_to") or config.get("text_file_changed_to") or re.match(r"[0-9]+: ", scenario["name"]):
        alone = "reload"
    listen = "[::]:0" if config.get("listener") else "[::1]:0" if ":" in scenario["client"]["address"] else "127.0.0.1:0"
    tail = tuple((config.get("options") or {}).get("tail", []))
    broken = next((what for what in BROKEN if what in scenario["name"]), None)
    return pause_of(config), access, command_timeout(scenario), listen, tuple(config["features"]), tail, broken, alone


# What is wrong with the access.db of a scenario.
BROKEN = ("map missing", "map is empty file", "map is garbage text", "map header fine, data pages overwritten")


def break_map(folder, what):
    """A hash: map of which that is true."""
    path = folder / "access.db"
    if what == "map is empty file":
        path.touch()
    elif what == "map is garbage text":
        path.write_text("this is no database\n" * 100)
    elif what != "map missing":
        maps.makemap(folder, "".join(f"key{i} value\n" for i in range(2000)))
        data = bytearray(path.read_bytes())
        data[4096:] = b"\xa5" * (len(data) - 4096)
        path.write_bytes(data)
    if path.exists():
        path.chmod(0o644)
    return f"hash:{path}"


MC = {}


def options_from_mc(binary, folder, features, tail):
    """What `tarry mc` makes of the lines of a sendmail.mc, as options of a door."""
    if (features, tail) not in MC:
        path = folder / "site.mc"
        path.write_text("\n".join([*features, *tail]) + "\n")
        out = subprocess.run([str(binary), "mc", str(path)], capture_output=True, text=True, check=True).stdout
        MC[features, tail] = {m[1]: m[2] for m in re.finditer(r"^([a-z_]+) = (.*)$", out, re.M) if m[1] not in NOT_FROM_MC}
    return MC[features, tail]


def make_door(binary, folder, key, resolver):
    pause, access, timeout, listen, features, tail, broken, _ = key
    folder.mkdir()
    # Sendmail looks at nothing that comes behind the greeting.
    options = {**{f"early_{stage}": "observe" for stage in ("helo", "mail", "rcpt", "data", "eom", "command")}, "greet_pause": pause, "fronts": 1, "mail_processes": 1, "accept_domains": ["example.org", "mail.example.org"], "log_level": "info",
               "resolver": resolver, "resolve": "always"}
    if broken:
        access, options["access_db"] = None, [break_map(folder, broken)]
    if timeout:
        options.update(refuse_timeout=timeout, command_timeout=timeout)
    door = Door(binary, folder, access=access, listens=(listen,), **options)
    door.verbatim = [f"{name} = {value}" for name, value in options_from_mc(binary, folder, features, tail).items()]
    return door


NAMES = {"PTR forged.example.com, whose A is 127.0.0.99 (forged)": ["forged.example.com", "127.0.0.99"], "PTR query answers SERVFAIL": "SERVFAIL"}


def name_server(items):
    """As the recorded server's: the clients' names."""
    names = {}
    for group, _ in items:
        names.update({address: NAMES.get(name, name) for address, name in group["names"].items()})
    return dns.Server(names)


# ---- one scenario ------------------------------------------------------------------------------------------------------------------

class Played:
    def __init__(self):
        self.lines = []       # (ms since connect() returned, bytes)
        self.sent = {}        # step → ms
        self.rest = b""       # bytes without a line end
        self.replies = 0
        self.how = None
        self.end_ms = None
        self.connect_ms = 0.0  # how long connect() took


class Client:
    def __init__(self, scenario, address):
        self.scenario, self.address = scenario, address
        self.played = Played()
        self.loop = asyncio.get_running_loop()
        self.changed = asyncio.Event()
        self.ended = asyncio.Event()
        self.activity = 0.0

    def now(self):
        return (time.monotonic() - self.start) * 1000

    async def run(self):
        client = self.scenario["client"]
        is6 = ":" in client["address"]
        self.sock = socket.socket(socket.AF_INET6 if is6 else socket.AF_INET, socket.SOCK_STREAM)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.bind((client["address"], 0))
        before = time.monotonic()
        connect(self.sock, self.address)
        self.start = time.monotonic()
        self.played.connect_ms = (self.start - before) * 1000
        self.sock.setblocking(False)
        tasks = [asyncio.create_task(self.read()), asyncio.create_task(self.do_steps())]
        try:
            await self.until_over(client.get("idle_ms", IDLE_MS), client.get("max_ms", MAX_MS))
        finally:
            for task in tasks:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            self.sock.close()
        for error in done:
            if isinstance(error, Exception):
                raise error
        return self.played

    async def until_over(self, idle_ms, max_ms):
        while self.played.how is None:
            left = min(self.activity + idle_ms, max_ms) - self.now()
            if left <= 0:
                return self.over("still-open")
            try:
                await asyncio.wait_for(self.ended.wait(), left / 1000)
            except asyncio.TimeoutError:
                pass

    def over(self, how):
        if self.played.how is None:
            self.played.how, self.played.end_ms = how, self.now()
        self.changed.set()
        self.ended.set()

    async def read(self):
        while True:
            try:
                data = await self.loop.sock_recv(self.sock, 65536)
            except OSError as e:
                if e.errno not in (errno.ECONNRESET, errno.EPIPE):
                    raise
                return self.over("server-reset")
            at = self.activity = self.now()
            if not data:
                return self.over("server-eof")
            *lines, self.played.rest = (self.played.rest + data).split(b"\n")
            for line in lines:
                self.played.lines.append((at, line + b"\n"))
                self.played.replies += line[3:4] != b"-"
            self.changed.set()

    async def reply(self, n):
        while self.played.replies < n and self.played.how is None:
            self.changed.clear()
            await self.changed.wait()

    async def do_steps(self):
        for i, step in enumerate(self.scenario["client"]["steps"]):
            if "at_ms" in step:
                await asyncio.sleep(max(0, step["at_ms"] - self.now()) / 1000)
            elif "after_reply" in step:
                await self.reply(step["after_reply"])
                await asyncio.sleep(step.get("delay_ms", 0) / 1000)
            if self.played.how is not None:
                return
            self.played.sent[i] = self.now()
            try:
                if await self.do(step):
                    return
            except OSError as e:
                if e.errno not in (errno.ECONNRESET, errno.EPIPE):
                    raise
                return  # the reader sees how it ended
            self.activity = self.now()

    async def do(self, step):
        """True: the client is gone with that."""
        if "send_oob" in step:
            self.sock.send(step["send_oob"].encode("latin-1"), socket.MSG_OOB)
        elif "send_hex" in step:
            await self.loop.sock_sendall(self.sock, bytes.fromhex(step["send_hex"]))
        elif "send" in step:
            text = step["send"] * step.get("repeat", 1) + step.get("tail", "")
            await self.loop.sock_sendall(self.sock, text.encode("latin-1"))
        elif step.get("half_close"):
            self.sock.shutdown(socket.SHUT_WR)
        elif step.get("close") or step.get("rst"):
            if step.get("rst"):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.loop.remove_reader(self.sock.fileno())
            self.sock.close()
            self.over("client-reset" if step.get("rst") else "client-close")
            return True
        else:
            raise ValueError(f"a step that does nothing known: {step}")
        return False


# ---- comparing ---------------------------------------------------------------------------------------------------------------------

def pattern(text, client):
    text = text.replace("{HOST}", HOST).replace("{CLIENT}", client or "?")
    parts = re.split("(" + "|".join(map(re.escape, PATTERNS)) + ")", text)
    return "".join(PATTERNS.get(part) or re.escape(part) for part in parts).encode("latin-1")


def compare(expected, played, refused=None):
    """What is wrong with the bytes and the end, and what with the times; two lists of sentences."""
    if expected.refuses_to_start:
        if refused is None:
            return ["the door took a configuration that it should have refused"], []
        return ([] if re.search(expected.refuses_to_start, refused) else [f"refused, but said: {refused!r}"]), []
    if refused is not None:
        return [f"the door did not start: {refused!r}"], []
    wrong, late = [], []
    for i in range(max(len(expected.lines), len(played.lines))):
        if i >= len(played.lines):
            wrong.append(f"line {i} is missing: {expected.lines[i].text!r}")
        elif i >= len(expected.lines):
            wrong.append(f"line {i} is too much: {played.lines[i][1]!r}")
        elif not re.fullmatch(pattern(expected.lines[i].text, expected.client), played.lines[i][1], re.S):
            wrong.append(f"line {i} is {played.lines[i][1]!r}, expected {expected.lines[i].text!r}")
        else:
            judge_time(f"line {i}", played, played.lines[i][0], (expected.lines[i].cause, expected.lines[i].offset), (wrong, late))
    if played.rest:
        wrong.append(f"bytes without a line end: {played.rest!r}")
    if played.how not in expected.ends:
        wrong.append(f"ended with {played.how} at {played.end_ms:.0f} ms, expected {' or '.join(sorted(expected.ends))}")
    elif played.how.startswith("server"):
        judge_time("the end", played, played.end_ms, (expected.end_cause, expected.end_offset), (wrong, late))
    return wrong, late


def judge_time(what, played, at, due, faults):
    """Too late may be this machine's fault, too early is the door's in any case: no second chance for that."""
    (cause, offset), (wrong, late) = due, faults
    if cause[0] == "step":
        if cause[1] not in played.sent:
            wrong.append(f"{what} came although step {cause[1]} was not sent")
            return
        at -= played.sent[cause[1]]
        early = at < offset - 1
    else:
        # Nothing may come before the pause is over, counted from the earliest moment at which the door can have begun it.
        early = at + played.connect_ms < offset
    if early or at > offset + LATE_MS:
        (wrong if early else late).append(f"{what} came {at:.1f} ms after {cause[0]}, expected {offset}")


def expectation(group, scenario, without=None):
    """What Tarry should do: the transcript, changed by the deviations that have to do with it. Also which those are."""
    expected = Expected(scenario)
    used = []
    for deviation in deviations.ALL:
        if deviation.change is None or deviation is without:
            continue
        before = snapshot(expected)
        deviation.change(group, scenario, expected)
        if snapshot(expected) != before:
            used.append(deviation)
    return expected, used


def snapshot(e):
    if e.refuses_to_start:
        return e.refuses_to_start
    return e.client if any("{CLIENT}" in line.text for line in e.lines) else None, frozenset(e.ends), e.end_cause, e.end_offset, tuple(
        (line.text, line.cause, line.offset) for line in e.lines)


def judge(group, scenario, played, refused):
    """(wrong, late, ids of the deviations). A deviation without which the same would be right is wrong itself."""
    expected, used = expectation(group, scenario)
    wrong, late = compare(expected, played, refused)
    if not wrong and not late:
        for deviation in used:
            other, _ = expectation(group, scenario, without=deviation)
            if compare(other, played, refused) == ([], []):
                wrong.append(f"deviation {deviation.id} is not needed: the recorded server does the same")
    return wrong, late, [d.id for d in used]


# ---- all of them -------------------------------------------------------------------------------------------------------------------

def load(groups):
    """(group, scenario) pairs."""
    out = []
    for name in groups:
        group = json.loads((VECTORS / f"{name}.json").read_text())
        out += [(group, s) for s in group["scenarios"]]
    return out


def item_id(group, scenario):
    return f"{group['group']}: {scenario['name']}"


def has_address(address):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as s:
        try:
            s.bind((address, 0))
            return True
        except OSError:
            return False


def length_ms(scenario):
    return scenario["end"]["at_ms"]


async def play(items, doors, refusals, results, again=False):
    async def one(group, scenario, delay):
        await asyncio.sleep(delay)
        key = door_key(scenario)
        played = Played()
        try:
            if key not in refusals:
                played = await Client(scenario, doors[key].address).run()
            wrong, late, used = judge(group, scenario, played, refusals.get(key))
        except (OSError, ValueError) as e:
            wrong, late, used = [f"the client failed: {e}"], [], []
        results[item_id(group, scenario)] = {
            "status": "failed" if wrong or late else "passed", "wrong": wrong, "late": late, "deviations": used, "retried": again,
            "got": [[round(at, 1), line.decode("latin-1")] for at, line in played.lines], "end": played.how}

    async def series(scenarios, delay):
        """One after the other, as they were recorded; a connection that was left out of the transcripts is made all the same."""
        await asyncio.sleep(delay)
        made = 0
        for group, scenario in sorted(scenarios, key=lambda item: item[1]["config"].get("connection_no", 0)):
            address, config = doors[door_key(scenario)].address, scenario["config"]
            while made + 1 < config.get("connection_no", 0):
                with hold(scenario["client"]["address"], address):
                    await asyncio.sleep(0.02)
                made += 1
            held = [hold("127.0.0.2", address) for _ in range(config.get("held_open", 0))]
            table = config.get("map_rebuilt_to") or config.get("text_file_changed_to") or table_of(scenario)
            if table:
                await rewrite(doors[door_key(scenario)], table)
            if "removed while running" in scenario["name"]:
                doors[door_key(scenario)].access_path.unlink()
                await asyncio.sleep(REMOVED_S)
            await one(group, scenario, 0.05)
            made += 1
            for sock in held:
                sock.close()

    gc.disable()
    alone, chains = [], {}
    for item in items:
        key = door_key(item[1])
        if key[-1] and key not in refusals:
            chains.setdefault(key, []).append(item)
        else:
            alone.append(item)
    alone.sort(key=lambda item: -length_ms(item[1]))
    stagger = STAGGER_AGAIN_S if again else STAGGER_S
    waiting = [one(g, s, i * stagger) for i, (g, s) in enumerate(alone)]
    waiting += [series(c, i * stagger) for i, c in enumerate(chains.values())]
    await asyncio.gather(*waiting)
    gc.enable()


def hold(client, address):
    """A connection that says nothing."""
    sock = socket.socket(socket.AF_INET6 if ":" in client else socket.AF_INET, socket.SOCK_STREAM)
    sock.bind((client, 0))
    connect(sock, address)
    return sock


def connect(sock, address):
    """Also from an IPv4 address to a door that listens on ::."""
    sock.connect(("127.0.0.1", address[1]) if sock.family == socket.AF_INET and ":" in address[0] else address)


async def rewrite(door, lines):
    """Another access file, and until the door has taken it."""
    before = len(door.events("access_loaded"))
    door.write_access(lines)
    for _ in range(500):
        if len(door.events("access_loaded")) > before:
            return
        await asyncio.sleep(0.02)


def start_doors(binary, folder, keys, resolver):
    """The doors that run, and what those said that refused their configuration."""
    doors, refusals = {}, {}
    for n, key in enumerate(keys):
        doors[key] = make_door(binary, folder / str(n), key, resolver).spawn()
    for key, door in doors.items():
        try:
            door.await_listening()
        except AssertionError:
            if door.process.poll() is None:
                raise
            refusals[key] = door.text()
    return doors, refusals


def replay(binary, items, say):
    results, playable = {}, []
    try:
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    except PermissionError:
        pass
    for group, scenario in items:
        reason = out_of_scope(scenario)
        if reason is None and not has_address(scenario["client"]["address"]):
            reason = f"{scenario['client']['address']} is not an address of this machine (root or user namespaces would give it one)"
        if reason:
            results[item_id(group, scenario)] = {"status": "skipped", "reason": reason}
        else:
            playable.append((group, scenario))
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="tarry-replay-", dir=base))
    folder.chmod(0o755)
    started = time.monotonic()
    doors, server = {}, name_server(items)
    try:
        doors, refusals = start_doors(binary, folder, list(dict.fromkeys(door_key(s) for _, s in playable)), f"127.0.0.1:{server.port}")
        say(f"{len(doors)} doors up after {time.monotonic() - started:.1f} s, {len(refusals)} of them refused their configuration")
        asyncio.run(play(playable, doors, refusals, results))
        again = [(g, s) for g, s in playable if results[item_id(g, s)]["status"] == "failed" and not results[item_id(g, s)]["wrong"]]
        again = [item for item in again if length_ms(item[1]) < MAX_MS and not door_key(item[1])[-1]]
        again = again if len(again) <= RETRIES else []
        for group, scenario in again:
            say(f"once more, only its times were off: {item_id(group, scenario)}: {results[item_id(group, scenario)]['late'][0]}")
        asyncio.run(play(again, doors, refusals, results, again=True))
    finally:
        problems = []
        for key, door in doors.items():
            if door.process.poll() is None:
                try:
                    door.stop()
                except AssertionError as e:
                    problems.append(f"{key}: {e}")
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    say(f"{len(playable)} scenarios in {time.monotonic() - started:.1f} s")
    return {"results": results, "doors": problems}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=find_binary())
    parser.add_argument("--groups", default="")
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--long", action="store_true", help="also what takes minutes")
    args = parser.parse_args()
    groups = args.groups.split(",") if args.groups else [g for g in GROUPS if args.long or g not in LONG_GROUPS]
    items = [item for item in load(groups) if args.only in item_id(*item)]
    outcome = replay(args.binary, items, lambda text: print("replay:", text, file=sys.stderr, flush=True))
    if args.json:
        args.json.write_text(json.dumps(outcome))
        return 0
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for name, r in outcome["results"].items():
        counts[r["status"]] += 1
        if r["status"] == "failed":
            print(f"FAILED {name}\n   " + "\n   ".join(r["wrong"] + r["late"]))
    for problem in outcome["doors"]:
        print("DOOR", problem)
    print(counts)
    return 1 if counts["failed"] or outcome["doors"] else 0


if __name__ == "__main__":
    sys.exit(main())
