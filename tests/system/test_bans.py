"""Clients that offend too often are turned away for a while: at every front, over restarts and crashes, at other doors; nobody who is trusted is.

Clients come by a load balancer here, the test itself, so that they have addresses that are not this machine's own, which are never banned. tests/system/test_bans_kernel.py has real ones.
"""
import json
import os
import signal
import socket
import subprocess
import time
from datetime import datetime

import pytest

from desk import Events, free_port, get
from mta import wait_until
from screen import Terminal
from talk import REFUSAL, read_line
from test_known import processes, redis  # noqa: F401 (a fixture)
from test_life import reload
from test_proxy import v1

LONG = 60_000
PROXY = 'proxy = yes  trust = { "127.0.0.1" }'
BANNED = "421 4.7.0 mail.example.org Too many offences by [%s], try again later"
TRUSTED = "127.0.0.1"


def banning(make_door, start=True, **options):
    door = make_door(start=False, **{"listens": (("127.0.0.1:0", PROXY),), "greet_pause": LONG, "ban_after": 2, "ban_time": "1h", "linger": 100, "fronts": 2, "mail_processes": 1, **options})
    if "ban_db" not in options:
        folder = door.folder / "bans"
        folder.mkdir()
        folder.chmod(0o777)
        door.options["ban_db"] = str(folder / "db")
    return begin(door) if start else door


def begin(door):
    door.start()
    if door.options["ban_db"]:
        door.wait_for(lambda d: d.get("event") in ("bans_loaded", "bans_rebuilt", "bans_unsaved"))
    return door


def ban(door, *words, code=0, given=None):
    """What `tarry ban` says, and that it ends so."""
    done = subprocess.run([door.binary, "ban", words[0], "-c", str(door.config), *words[1:]], input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done
    return done.stdout if code == 0 else done.stderr


def banned(door):
    return {b["client"]: b for b in json.loads(ban(door, "list", "--json"))["banned"]}


def come(connect, door, client):
    """That client, from behind the load balancer."""
    s = connect(door)
    s.sendall(v1(client) if ":" not in client else f"PROXY TCP6 {client} 2001:db8::25 40000 25\r\n".encode())
    return s


def offend(connect, door, client):
    s = come(connect, door, client)
    s.sendall(b"HELO x\r\n")
    assert read_line(s) == REFUSAL
    s.close()


def is_banned(connect, door, client):
    s = come(connect, door, client)
    assert read_line(s).decode() == BANNED % client + "\r\n"
    assert s.recv(1) == b""


def is_held(connect, door, client):
    s = come(connect, door, client)
    s.settimeout(0.3)
    with pytest.raises(socket.timeout):
        s.recv(1)
    s.close()


def test_who_offends_is_turned_away(make_door, connect):
    """At the second offence, for an hour; another one is not; dropped, it may come again, and the log has a line for each of both."""
    door = banning(make_door)
    offend(connect, door, "192.0.2.5")
    is_held(connect, door, "192.0.2.5")
    offend(connect, door, "192.0.2.5")
    line = door.wait_for(lambda d: d.get("event") == "ban")[0]
    assert (line["client"], line["seconds"], line["reason"], line["from"], line["count"], line["times"]) == ("192.0.2.5", "3600", "smtp", "front", "2", "1")
    for _ in range(3):
        is_banned(connect, door, "192.0.2.5")
    is_held(connect, door, "192.0.2.6")
    entry = banned(door)["192.0.2.5"]
    assert (entry["hits"], entry["times"], entry["reason"], entry["kernel"]) == (3, 1, "smtp", False)
    counters = door.counters()
    assert (counters["banned_clients"], counters["bans"], counters["ban_hits"], counters["offences"], counters["bans_unheard"]) == (1, 1, 3, 2, 0)
    assert not [d for d in door.log() if d.get("verdict") == "banned"]
    status = subprocess.run([door.binary, "status", "-c", str(door.config)], capture_output=True, text=True, timeout=60).stdout
    assert "banned       1 now, 0 of them in the kernel; so far 1 bans, 3 clients turned away" in status
    ban(door, "drop", "192.0.2.5")
    assert [d["hits"] for d in door.wait_for(lambda d: d.get("event") == "unban" and d["why"] == "dropped")] == ["3"]
    is_held(connect, door, "192.0.2.5")
    ban(door, "drop", "192.0.2.5", code=1)
    assert door.counters()["banned_clients"] == 0


def test_who_is_turned_away_is_seen(make_door, connect):
    """In /status.json, in the events of the page and in `tarry top`: at once and why, then by the number of times, by the clock; and the network is counted by all of them. Who is over a limit all the time is seen so, too."""
    port = free_port()
    door = banning(make_door, desk=f"127.0.0.1:{port}", max_per_client=2)
    door.wait_for(lambda d: d.get("event") == "desk_listening")
    for _ in range(2):
        offend(connect, door, "192.0.2.5")
    until = datetime.fromisoformat(door.wait_for(lambda d: d.get("event") == "ban")[0]["until"]).timestamp()
    is_banned(connect, door, "192.0.2.5")

    def told():
        return json.loads(get(port, "/status.json")[2])

    wait_until(lambda: told()["often"], "it is told")
    first = told()["often"][0]
    assert (first["client"], first["verdict"], first["count"], first["reason"], first["times"]) == ("192.0.2.5", "banned", 1, "smtp", 1) and abs(first["until"] - until) <= 2
    top = Terminal([door.binary, "top", "-c", str(door.config), "-d", "0.2"], rows=50, cols=120)
    try:
        top.shows("1 banned", "192.0.2.5", "talked early", "ends in 00:59:")
        held = [come(connect, door, "198.51.100.8") for _ in range(2)]
        wait_until(lambda: door.counters()["held"] == 2, "both are held")
        for _ in range(30):
            assert read_line(come(connect, door, "198.51.100.8")).startswith(b"421 4.7.0 ")
        for _ in range(6):
            is_banned(connect, door, "192.0.2.5")
        ban(door, "add", "203.0.113.0/24", "2h")
        is_banned(connect, door, "203.0.113.77")
        wait_until(lambda: sum(b["count"] for b in told()["often"]) == 8 + 30, "all of them are told")
        top.shows("7 times, ends in 00:59:", "203.0.113.77", "by hand", "2 banned", "30 times")
    finally:
        top.close()
    assert held and door.counters()["limited_client"] == 30
    now = told()
    assert {b["client"]: (b["verdict"], b["count"], b["reason"]) for b in now["often"]} == {"192.0.2.5": ("banned", 7, "smtp"), "203.0.113.77": ("banned", 1, "by hand"), "198.51.100.8": ("limited", 30, "")}
    assert {n["network"]: n["count"] for n in now["networks"]} == {"192.0.2.0/24": 9, "203.0.113.0/24": 1, "198.51.100.0/24": 30}
    assert [t["verdict"] for t in now["turned"]] == ["early", "early"] and (now["counters"]["banned_clients"], now["counters"]["ban_hits"]) == (2, 8)
    events = Events(port)
    _, page = events.next()
    events.close()
    assert page["often"] == now["often"] and page["networks"] == now["networks"]


def test_by_hand(make_door, connect):
    """Networks, times, reasons; who is never banned is not; what is no such line says so."""
    door = banning(make_door, ban_never=["198.51.100.0/24"], ban_reply="drop 554 5.7.1 $j Gone")
    ban(door, "add", "203.0.113.0/24", "2h", "too", "much", "of", "it")
    ban(door, "add", "2001:db8:7::1")
    ban(door, "add", "2001:db8:8::/48", "7d")
    for client in ("203.0.113.1", "2001:db8:7::77", "2001:db8:8:5::1"):
        s = come(connect, door, client)
        assert read_line(s) == b"554 5.7.1 mail.example.org Gone\r\n"
    for client in ("203.0.112.1", "2001:db8:7:1::1"):
        is_held(connect, door, client)
    found = banned(door)
    assert {k: (v["reason"], v["kernel"]) for k, v in found.items()} == {"203.0.113.0/24": ("too much of it", True), "2001:db8:7::/64": ("by hand", True), "2001:db8:8::/48": ("by hand", True)}
    assert ban(door, "list", "203.0.113.9").startswith("203.0.113.0/24\t")
    ban(door, "list", "203.0.114.9", code=1)
    for never in ("127.0.0.0/8", "198.51.100.7", "198.51.0.0/16", "::1", TRUSTED):
        assert "it is never banned" in ban(door, "add", never, code=65), never
    for wrong in (("add", "0.0.0.0/0"), ("add", "example.com"), ("add",), ("add", "203.0.113.1", "5x"), ("drop",), ("list", "x"), ("lost",), ("add", "--json", "203.0.113.1")):
        ban(door, *wrong, code=64)
    assert "expected a reason" in ban(door, "add", "203.0.113.1", "1h", "x" * 64, code=65)
    text = ban(door, "export")
    kept = door.folder / "kept"
    assert ban(door, "export", str(kept)) == f"3 written to {kept}\n" and kept.read_text() == text
    assert "No such file" in ban(door, "export", str(door.folder / "no" / "such"), code=73)
    ban(door, "export", "-c", "/nowhere", str(kept), code=66)
    assert kept.read_text() == text, "what was kept before stays, where nobody answers"
    ban(door, "drop", *found)
    assert banned(door) == {} and len(door.events("unban")) == 3
    counters = door.counters()
    assert (counters["bans"], counters["bans_dropped"], counters["bans_over"], counters["banned_clients"]) == (3, 3, 0, 0)
    assert ban(door, "import", given=text) == "3 taken\n"
    again = banned(door)
    assert {k: v["reason"] for k, v in again.items()} == {k: v["reason"] for k, v in found.items()}
    assert "expected two times" in ban(door, "import", given="192.0.2.1 soon\n", code=65)


def test_who_is_trusted(make_door, connect):
    """Known clients, those that the access database lets in, and networks never to be banned: neither do their offences lead to a ban, nor is a ban around them for them."""
    door = banning(make_door, ban_after=1, ban_never=["192.0.2.50"], access=["Connect:192.0.2.60 OK", "GreetPause:192.0.2.70 0", "Connect:192.0.2.80 550 Access denied"], known_ttl="1d",
                   known_db="", ban_offences="early refused")
    for client in ("192.0.2.50", "192.0.2.60"):
        for _ in range(2):
            offend(connect, door, client)
    subprocess.run([door.binary, "known", "add", "-c", str(door.config), "192.0.2.90"], check=True, timeout=60)
    denied = come(connect, door, "192.0.2.80")
    assert read_line(denied).startswith(b"220 ")
    denied.close()
    assert [(d["client"], d["reason"]) for d in door.wait_for(lambda d: d.get("event") == "ban")] == [("192.0.2.80", "refused")]
    assert set(banned(door)) == {"192.0.2.80"}
    assert "it is never banned" in ban(door, "add", "192.0.2.0/24", code=65)
    ban(door, "add", "192.0.2.64/26")
    for client in ("192.0.2.70", "192.0.2.90"):  # exempt, known
        assert read_line(come(connect, door, client)).startswith(b"220 "), client
    is_banned(connect, door, "192.0.2.71")
    counters = door.counters()
    assert counters["ban_spared"] == 2 and counters["ban_hits"] == 1


def test_observe(make_door, connect):
    """Nobody is banned; what had been is said."""
    door = banning(make_door, mode="observe")
    ban(door, "add", "192.0.2.6")
    is_held(connect, door, "192.0.2.6")
    for _ in range(2):
        s = come(connect, door, "192.0.2.5")
        s.sendall(b"HELO x\r\n")
        s.close()
    line = door.wait_for(lambda d: d.get("event") == "ban" and "would" in d)[0]
    assert (line["would"], line["client"], line["count"]) == ("banned", "192.0.2.5", "2")
    is_held(connect, door, "192.0.2.5")
    assert door.counters()["would_banned"] == 1 and set(banned(door)) == {"192.0.2.6"}


def test_over_and_again(make_door, connect):
    """A ban is over when its time is, and the next one is longer (how much so, and until when, is tests/unit/keeper/test_bans.c's)."""
    door = banning(make_door, ban_after=1, ban_time="1s")
    offend(connect, door, "192.0.2.5")
    assert door.wait_for(lambda d: d.get("event") == "unban")[0]["why"] == "over"
    offend(connect, door, "192.0.2.5")
    assert door.wait_for(lambda d: d.get("event") == "ban", 2)[-1]["seconds"] == "2"
    assert door.counters()["bans_over"] >= 1


def test_over_restart_and_crash(make_door, connect):
    """The keeper killed, the whole door killed, a restart: who was banned is, for as long as was said. Without a door the file is read and written."""
    door = banning(make_door, ban_after=1)
    offend(connect, door, "192.0.2.5")
    door.wait_for(lambda d: d.get("event") == "ban")
    until = banned(door)["192.0.2.5"]["until"]
    path = door.options["ban_db"]
    wait_until(lambda: os.path.exists(path) and bytes([192, 0, 2, 5]) in open(path, "rb").read(), "it is on disk")
    keeper = processes(door, "tarry-bans") or processes(door, "tarry-known")
    os.kill(keeper[0], signal.SIGKILL)
    wait_until(lambda: len(door.events("bans_loaded")) == 2, "another keeper")
    is_banned(connect, door, "192.0.2.5")
    door.end()
    ban(door, "add", "192.0.2.7", "1h", "without a door")
    ban(door, "add", "127.0.0.7", code=65)
    assert ban(door, "list").count("\n") == 2
    door.log_path.unlink()
    begin(door)
    is_banned(connect, door, "192.0.2.5")
    is_banned(connect, door, "192.0.2.7")
    late = banned(door)["192.0.2.5"]["until"]
    assert abs(stamp(late) - stamp(until)) <= 2
    door.end()
    with open(path, "r+b") as f:
        f.write(os.urandom(os.path.getsize(path)))
    door.log_path.unlink()
    begin(door)
    assert door.events("bans_rebuilt")
    assert banned(door) == {}
    is_held(connect, door, "192.0.2.5")


def keepers(door):
    return [p for p in processes(door, "tarry-") if b"--ban-time\0" in open(f"/proc/{p}/cmdline", "rb").read()]


def test_over_a_reload(make_door, connect, binary):
    """With another configuration, in new processes, bans are what they were, counts too; where that of bans is the same, their keeper goes on. So do they over an upgrade, and `tarry ban` finds each."""
    door = banning(make_door, ban_after=1)
    offend(connect, door, "192.0.2.5")
    door.wait_for(lambda d: d.get("event") == "ban")
    is_banned(connect, door, "192.0.2.5")
    before = banned(door)["192.0.2.5"]
    first = keepers(door)
    reload(door, max_bad_commands=21)
    assert keepers(door) == first
    after = banned(door)["192.0.2.5"]
    assert abs(stamp(after["until"]) - stamp(before["until"])) <= 1 and {**after, "until": ""} == {**before, "until": ""}
    is_banned(connect, door, "192.0.2.5")
    reload(door, ban_time="2h", ban_never=["192.0.2.7"])
    wait_until(lambda: len(keepers(door)) == 1 and keepers(door) != first, "another keeper, and only that")
    wait_until(lambda: len(door.events("bans_loaded")) == 2, "it has read the file")
    is_banned(connect, door, "192.0.2.5")
    assert abs(stamp(banned(door)["192.0.2.5"]["until"]) - stamp(before["until"])) <= 2
    assert "it is never banned" in ban(door, "add", "192.0.2.7", code=65)
    offend(connect, door, "192.0.2.6")
    assert door.wait_for(lambda d: d.get("event") == "ban" and d["client"] == "192.0.2.6")[0]["seconds"] == "7200"
    assert subprocess.run([door.binary, "upgrade", "-c", str(door.config)], capture_output=True, text=True, timeout=120).returncode == 0
    wait_until(lambda: len(door.events("bans_loaded")) == 3 and len(keepers(door)) == 1, "its keeper has begun")
    is_banned(connect, door, "192.0.2.6")
    counters = door.counters()
    assert (counters["banned_clients"], counters["bans"], counters["ban_hits"]) == (2, 2, 4)
    reload(door, ban_after=0)
    is_held(connect, door, "192.0.2.5")
    assert "ban_after = 0" in ban(door, "list", code=69)


def stamp(text):
    return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


def test_nobody_is_banned(make_door, connect):
    """By default: no process for it, and no bans by hand."""
    door = make_door(greet_pause=LONG)
    assert not processes(door, "tarry-bans")
    assert "ban_after = 0" in ban(door, "add", "192.0.2.5", code=69)


@pytest.mark.parametrize("option, value, said", [("ban_reply", "refuse", "not what a banned client can get"), ("ban_offences", "early rude", "no offence"), ("ban_kernel", "iptables x", "nftables FAMILY TABLE NAME"),
                                                ("ban_never", "example.com", "not an address or network"), ("ban_share", "redis://h/0?hash=x", "hash= is for maps")])
def test_options(binary, option, value, said):
    done = subprocess.run([str(binary), "check", "-c", "/dev/null", "-o", "user=nobody", "-o", "ban_after=1", "-o", f"{option}={value}"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 78 and said in done.stderr and option in done.stderr, done


# ---- other doors ----------------------------------------------------------------------------------------------------------------------------


def shared(make_door, redis, **options):
    return banning(make_door, ban_after=1, ban_share=redis.url("prefix=b:"), **options)


def test_doors_ban_together(make_door, connect, redis):
    """What one door bans and drops, others hear of, and one that comes later; not who is never banned there, nor what nobody would say."""
    one, two = shared(make_door, redis), shared(make_door, redis, ban_never=["192.0.2.6"])
    for client in ("192.0.2.5", "192.0.2.6"):
        offend(connect, one, client)
    two.wait_for(lambda d: d.get("event") == "ban" and d["from"] == "elsewhere")
    is_banned(connect, two, "192.0.2.5")
    ban(two, "add", "192.0.2.7", "2h", "spam trap")
    wait_until(lambda: set(banned(one)) == {"192.0.2.5", "192.0.2.6", "192.0.2.7"}, "one has heard of it")
    assert banned(one)["192.0.2.7"]["reason"] == "spam trap"
    assert set(banned(two)) == {"192.0.2.5", "192.0.2.7"}
    for nonsense in ("x", "0.0.0.0/0 1 4000000000 1 all", "192.0.2.8 1 4000000000 1 ", "192.0.2.8 -1 4000000000 1 x", "127.0.0.1 1 4000000000 1 x", "192.0.2.8 1 4000000000 1 \x01", "192.0.2.8 1 2 1 old"):
        redis.do("ZADD", "b:/bans", str(int(time.time() * 1e6)), nonsense)
    ban(one, "drop", "192.0.2.5")
    wait_until(lambda: set(banned(two)) == {"192.0.2.7"}, "two has heard of it")
    assert [d["why"] for d in two.events("unban")] == ["dropped elsewhere"]
    three = shared(make_door, redis)
    wait_until(lambda: set(banned(three)) == {"192.0.2.6", "192.0.2.7"}, "three has heard of all")
    assert 0 < int(redis.do("TTL", "b:/bans")) <= 86400
    assert one.counters()["ban_share_failed"] == 0


def test_a_server_that_is_gone_for_a_while(make_door, connect, redis):
    one, two = shared(make_door, redis), shared(make_door, redis)
    redis.stop()
    offend(connect, one, "192.0.2.5")
    one.wait_for(lambda d: d.get("event") == "ban_share_failed")
    one.wait_for(lambda d: d.get("event") == "ban")
    is_banned(connect, one, "192.0.2.5")
    redis.start()
    wait_until(lambda: set(banned(two)) == {"192.0.2.5"}, "it is told when the server is back", 60)
    assert one.events("ban_share_back")
