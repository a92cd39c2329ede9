"""All kinds of clients at once, for a while: those who slam, wait, stall, say garbage, close one half, hang up, while the door is told to read its files again. Some seconds in the suite; with TARRY_LONG=1
ten minutes, or as many seconds as TARRY_MIXED says.

Afterwards every message that was acknowledged has been delivered, once and whole, and nobody's who talked early; no process has died; there are as many descriptors open as before; and memory is what it was
after the first minute."""
import asyncio
import os
import random
import re
import signal
import threading
import time

import pytest

from door import memory_kb, status
from faults import LONG, deaths
from mta import wait_until

SECONDS = int(os.environ.get("TARRY_MIXED") or (600 if LONG else 6))
SETTLED = 60 if SECONDS >= 120 else SECONDS / 3  # after which memory is not to grow any more
SAMPLE = 10 if SECONDS >= 120 else 1
GROWTH = 1.05                                    # of a role's memory from then on,
GROWTH_KB = 64                                   # and this much is nothing
AT_ONCE = 40
BODY = ["line %d of a message, " % n + "x" * (n % 70) for n in range(60)]
KINDS = ["patient"] * 6 + ["exempt"] * 3 + ["slammer"] * 6 + ["staller"] * 2 + ["garbage"] * 3 + ["half_closer"] * 2 + ["hang_up"] * 2
PATIENT_NET, EXEMPT_NET, EARLY_NET = "127.1", "127.2", "127.3"
ACCESS = [f"GreetPause:{EXEMPT_NET} 0", f"GreetPause:{EARLY_NET} 60000"]  # whoever is to be caught is, however late its first byte is sent


class Crowd:
    def __init__(self, address, seed):
        self.address, self.random = address, random.Random(seed)
        self.number, self.acknowledged, self.wrong = 0, set(), []
        self.counts = dict.fromkeys(KINDS, 0)
        self.done = self.refused = 0

    def source(self, net):
        return f"{net}.{self.random.randrange(4)}.{self.random.randrange(1, 250)}"

    async def meet(self, net):
        reader, writer = await asyncio.open_connection(*self.address, local_addr=(self.source(net), 0), limit=1 << 20)
        return reader, writer

    async def reply(self, reader, wanted):
        while True:
            line = await asyncio.wait_for(reader.readline(), 60)
            if line[3:4] != b"-":
                break
        if not line.startswith(wanted):
            raise ConnectionAbortedError(line)

    def message(self, name):
        return "\r\n".join([f"Subject: {name}", "", *BODY, "."]).encode() + b"\r\n"

    async def deliver(self, net, name):
        reader, writer = await self.meet(net)
        try:
            await self.reply(reader, b"220")
            for said, wanted in ((b"EHLO client.example.net", b"250"), (b"MAIL FROM:<sender@example.net>", b"250"), (b"RCPT TO:<victim@example.org>", b"250"), (b"DATA", b"354")):
                writer.write(said + b"\r\n")
                await self.reply(reader, wanted)
            writer.write(self.message(name))
            await self.reply(reader, b"250")
            self.acknowledged.add(name)
            writer.write(b"QUIT\r\n")
            await self.reply(reader, b"221")
        finally:
            writer.close()

    async def patient(self, name):
        await self.deliver(PATIENT_NET, name)

    async def exempt(self, name):
        await self.deliver(EXEMPT_NET, name)

    async def slammer(self, name):
        reader, writer = await self.meet(EARLY_NET)
        try:
            writer.write(b"EHLO x\r\nMAIL FROM:<spam@example.net>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n" + self.message(name) + b"QUIT\r\n")
            heard = await asyncio.wait_for(reader.read(-1), 60)
            if not re.match(rb"554|421", heard) or b"accepted for delivery" in heard:
                self.wrong.append(f"a slammer heard {heard[:200]}")
            self.refused += 1
        finally:
            writer.close()

    async def staller(self, name):
        """Says half of something, and nothing more."""
        reader, writer = await self.meet(self.random.choice([PATIENT_NET, EXEMPT_NET]))
        try:
            await self.reply(reader, b"220")
            said = b"EHLO x\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n" + self.message(name)
            writer.write(said[:self.random.randrange(len(said) - 5)])
            await asyncio.sleep(self.random.random() * 5)
            if self.random.random() < 0.5:
                writer.transport.abort()
        finally:
            writer.close()

    async def garbage(self, name):
        del name
        reader, writer = await self.meet(self.random.choice([PATIENT_NET, EXEMPT_NET, EARLY_NET]))
        try:
            for _ in range(self.random.randrange(1, 5)):
                writer.write(self.random.randbytes(self.random.randrange(1, 3000)))
                await asyncio.sleep(self.random.random() * 0.3)
            writer.write_eof()
            await asyncio.wait_for(reader.read(-1), 60)
        finally:
            writer.close()

    async def half_closer(self, name):
        del name
        reader, writer = await self.meet(PATIENT_NET)
        try:
            if self.random.random() < 0.5:
                await self.reply(reader, b"220")
                writer.write(b"EHLO x\r\n")
            writer.write_eof()
            await asyncio.wait_for(reader.read(-1), 60)
        finally:
            writer.close()

    async def hang_up(self, name):
        del name
        _, writer = await self.meet(EARLY_NET)
        await asyncio.sleep(self.random.random() * 0.5)
        writer.transport.abort()

    async def visitor(self, end):
        while time.monotonic() < end:
            kind = self.random.choice(KINDS)
            self.number += 1
            try:
                await getattr(self, kind)(f"{kind}-{self.number}")
            except asyncio.TimeoutError:
                self.wrong.append(f"{kind}-{self.number} was left waiting")
            except OSError:
                pass  # refused, or gone: a message that was not acknowledged is no loss
            self.counts[kind] += 1
            await asyncio.sleep(0.05 + self.random.random() * 0.1)

    async def come(self, seconds):
        end = time.monotonic() + seconds
        await asyncio.gather(*(self.visitor(end) for _ in range(AT_ONCE)))


class Mailbox:
    """Takes out what has come, and looks at it."""

    def __init__(self, folder):
        self.folder, self.seen, self.wrong = folder, {}, []

    def take(self):
        for path in self.folder.glob("*"):
            text = path.read_text()
            path.unlink()
            subject = re.search(r"^Subject: (\S+)$", text, re.M)
            name = subject.group(1) if subject else path.name
            self.seen[name] = self.seen.get(name, 0) + 1
            if not text.endswith("\n".join(["", *BODY, ""])):
                self.wrong.append(f"{name} is not whole")


class Watcher(threading.Thread):
    """Beside the crowd: takes the mail, has files read again, measures."""

    def __init__(self, door, mailbox, change):
        super().__init__(daemon=True)
        self.door, self.mailbox, self.change = door, mailbox, change
        self.over, self.error = threading.Event(), None
        self.samples, self.reloads = [], 0

    def run(self):
        begun, sampled = time.monotonic(), 0.0
        try:
            while not self.over.wait(1):
                self.mailbox.take()
                self.reloads += 1
                self.change(self.reloads)
                self.door.kill(signal.SIGHUP)
                at = time.monotonic() - begun
                if at - sampled >= SAMPLE:
                    sampled = at
                    self.samples.append((at, memory_by_role(self.door)))
        except Exception as e:  # told at the end
            self.error = e


def role_of(pid):
    return "parent" if status(pid, "PPid") == [str(os.getpid())] else status(pid, "Name")[0]


def memory_by_role(door):
    """KB that the role's processes have for themselves, together. What they share has its size from the beginning, though it is touched little by little: the ring of those turned away, for one, 256 KB for each front."""
    found = {}
    for pid in door.members():
        try:
            role = role_of(pid)
            found[role] = found.get(role, 0) + memory_kb(pid, "Pss_Anon")
        except (OSError, IndexError):
            continue
    return found


def descriptors(door):
    found = {}
    for pid in door.members():
        role = role_of(pid)
        found[role] = found.get(role, 0) + len(os.listdir(f"/proc/{pid}/fd"))
    return found


def at_rest(door):
    def is_quiet():
        counters = door.counters()
        return counters["open"] == 0 and counters["held"] == 0
    wait_until(is_quiet, "nobody is there any more", patience=60)


def fold(samples, role, chosen):
    values = sorted(s[role] for at, s in samples if role in s and chosen(at))
    return values[len(values) // 2] if values else 0


@pytest.mark.parametrize("changes", ["tables", "configuration"] if LONG or SECONDS > 6 else ["configuration"])
def test_mixed(make_door, changes):
    """tables: the access file changes all the time; configuration: that too, and every fourth time an option, so that there are new fronts."""
    door = make_door(start=False, access=ACCESS, greet_pause=300, max_per_client=0, command_timeout="30s", linger="1s", refuse_timeout="5s")
    door.start()

    def change(n):
        door.write_access([*ACCESS, f"GreetPause:10.{n >> 8 & 255}.{n & 255} 7"])
        if changes == "configuration" and n % 4 == 0:
            door.options["greet_pause"] = 300 + n % 7
            door.write_config()

    crowd = Crowd(door.address, 1)
    mailbox = Mailbox(door.mail / "example.org" / "victim" / "new")
    asyncio.run(crowd.come(2))  # what is opened once and then kept is open
    at_rest(door)
    before = descriptors(door)
    watcher = Watcher(door, mailbox, change)
    watcher.start()
    asyncio.run(crowd.come(SECONDS))
    watcher.over.set()
    watcher.join()
    assert watcher.error is None, watcher.error
    at_rest(door)
    mailbox.take()
    wait_until(lambda: changes == "configuration" or descriptors(door) == before, lambda: f"descriptors {before}, afterwards {descriptors(door)}", patience=30)
    early = [name for name in mailbox.seen if name.startswith(("slammer", "garbage", "staller"))]
    lost = sorted(crowd.acknowledged - set(mailbox.seen))
    roles = sorted({role for _, sample in watcher.samples for role in sample})
    growth = {role: (fold(watcher.samples, role, lambda at: SETTLED <= at < 2 * SETTLED), fold(watcher.samples, role, lambda at: at >= SECONDS - SETTLED)) for role in roles}
    print(f"{changes}: {SECONDS} s, {sum(crowd.counts.values())} clients {crowd.counts}, {len(crowd.acknowledged)} messages, {crowd.refused} slammers refused, {watcher.reloads} reloads, KB {growth}, descriptors {before}")
    assert crowd.wrong + mailbox.wrong == []
    assert lost == [] and early == []
    assert all(n == 1 for n in mailbox.seen.values())
    assert deaths(door.text()) == []
    assert crowd.refused > 0 and len(crowd.acknowledged) > SECONDS
    if changes == "tables" and "sanitize" not in str(door.binary) and "asan" not in str(door.binary):
        grown = {role: kb for role, kb in growth.items() if kb[1] > kb[0] * GROWTH + GROWTH_KB}
        assert not grown, f"memory has grown: {grown}, of {watcher.samples}"
