"""The measurements of those who are known: look-ups, the file of a million, the greeting, and the question to other doors. See bench/README.md."""
import os
import re
import shutil
import signal
import socket
import subprocess
import time

from measure import Table, median, say
from servers import Tarry, Unavailable, read, unpack

HOST = "127.0.0.1"
PATIENCE = 60


def wait_for(what, done):
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: known: {what}: not within {PATIENCE} s")
        time.sleep(0.002)


def log_of(server):
    return read(os.path.join(server.folder, "log"))


def open_folder(bench, name):
    """Where the unprivileged keeper may make files."""
    folder = os.path.join(bench.work, name)
    os.makedirs(folder)
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    return folder


def tool(server, *words, **more):
    done = subprocess.run([server.binary, "known", words[0], "-c", server.config, *words[1:]], stdout=subprocess.PIPE, text=True, check=True, **more)
    return done.stdout


def keeper_kb(server):
    """Memory that the keeper has, the table included."""
    for pid in server.pids():
        if read(f"/proc/{pid}/comm").strip() == "tarry-known":
            return int(re.search(r"^Rss:\s+(\d+)", read(f"/proc/{pid}/smaps_rollup"), re.MULTILINE).group(1))
    return 0


def greeting_ms(server, source):
    """From connect() to the greeting."""
    with socket.socket() as s:
        s.settimeout(PATIENCE)
        s.bind((source, 0))
        at = server.at.rpartition(":")
        begin = time.perf_counter()
        s.connect((at[0], int(at[2])))
        line = s.recv(600)
        took = (time.perf_counter() - begin) * 1e3
        if not line.startswith(b"220"):
            raise SystemExit(f"bench: known: greeted with {line!r}")
        s.sendall(b"QUIT\r\n")
        s.recv(600)
        return took


def stamp(line):
    return time.mktime(time.strptime(line[:19], "%Y-%m-%dT%H:%M:%S")) + float(line[19:23])


def start_ms(server, text):
    """From exec to the line of the log."""
    begin = time.time()
    server.start()
    wait_for(text, lambda: text in log_of(server).rpartition("\n")[0])
    line = next(line for line in log_of(server).splitlines() if text in line)
    return (stamp(line) - time.mktime(time.gmtime(begin)) - begin % 1) * 1e3


def million(bench, table, rows):
    """A file of that many: how large, how soon a door with it listens, and how soon all are known."""
    folder = open_folder(bench, "million")
    options = [f'known_db = "{folder}/db"', f"known_max = {max(rows, 1000)}"]
    server = bench.tarry(60000, options=options)
    wait_for("the keeper", lambda: "event=known_loaded" in log_of(server))
    with open(os.path.join(folder, "lines"), "wb") as f:
        subprocess.run([os.path.join(bench.build, "bench", "known_bench"), "lines", str(rows)], stdout=f, check=True)
    begin = time.monotonic()
    taken = tool(server, "import", os.path.join(folder, "lines"))
    imported = time.monotonic() - begin
    if taken != f"{rows} taken\n":
        raise SystemExit(f"bench: known: {taken}")
    begin = time.monotonic()
    listed = tool(server, "export").count("\n")
    exported = time.monotonic() - begin
    time.sleep(2)
    first = os.path.getsize(f"{folder}/db")
    memory = keeper_kb(server) / 1024
    bench.stop_all()
    listens, knows = [], []
    for _ in range(bench.rounds):
        again = Tarry(*bench.folder("tarry"), bench.build, 60000, options=options)
        listens.append(start_ms(again, "event=listening"))
        wait_for("all are known", lambda a=again: "event=known_loaded" in log_of(a).rpartition("\n")[0])
        text = log_of(again).splitlines()
        line, first_line = next(x for x in text if "event=known_loaded" in x), next(x for x in text if "event=listening" in x)
        if f"clients={rows}" not in line:
            raise SystemExit(f"bench: known: {line}")
        knows.append(listens[-1] + (stamp(line) - stamp(first_line)) * 1e3)
        wait_for("the new file", lambda: not os.path.exists(f"{folder}/db.new"))
        again.stop()
    size = max(first, os.path.getsize(f"{folder}/db"))
    table.rows += [[f"{rows:,} in the file", f"{size / 1e6:.0f} MB on disk, {memory:.0f} MB in the keeper, the table with it"],
                   ["a door that starts with it", f"listens after {median(listens):.0f} ms, knows all after {median(knows):.0f} ms"],
                   ["tarry known import, export", f"{imported:.2f} s, {exported:.2f} s ({listed:,} lines)"]]
    scale = rows / 1000000
    table.judge(f"{rows:,} known, on disk", size / 1e6, 120 * scale if scale >= 1 else 120, " MB")
    table.judge("start to listening", median(listens), 100, " ms")


def greetings(bench, table):
    """A known client and an exempt one of the same door, one after the other."""
    count = 200 if bench.quick else 1000
    access = os.path.join(bench.work, "known-access")
    with open(access, "w", encoding="ascii") as f:
        f.write("GreetPause:127.1 0\n")
    server = bench.tarry(60000, backend=f"smtp:{bench.backend()}", options=['known_db = ""', f'access_db = {{ "text:{access}" }}', "known_prefix = 16"])
    wait_for("the door", lambda: "event=listening" in log_of(server))
    tool(server, "add", "127.2.0.0/16")
    ratios, times = [], {"exempt": [], "known": []}
    for i in range(bench.rounds):
        of = {"exempt": [], "known": []}
        for n in range(count):
            for name, net in (("exempt", 1), ("known", 2)) if n % 2 else (("known", 2), ("exempt", 1)):
                of[name].append(greeting_ms(server, f"127.{net}.{i}.{n % 250 + 1}"))
        for name, values in of.items():
            times[name] += values
        ratios.append(median(of["known"]) / median(of["exempt"]))
    for name in ("exempt", "known"):
        table.rows.append([f"greeting of an {name} client" if name == "exempt" else "greeting of a known one", f"{median(times[name]):.3f} ms after connect()"])
    table.judge("greeting, known ÷ exempt", median(ratios), 1.05)


def pauses(bench, table):
    """Strangers of a door that asks a server, beside one that asks nobody: their pause."""
    pause, count = 100, 40 if bench.quick else 150
    program = unpack(bench.peers, "redis-tools", "usr/bin/redis-check-rdb") + "/usr/bin/redis-check-rdb"  # the same program by another name
    _, port = bench.folder("redis")
    redis = subprocess.Popen(["redis-server", "--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no", "--dir", bench.work], executable=program, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    try:
        backend = bench.backend()
        alone = bench.tarry(pause, backend=f"smtp:{backend}", options=['known_db = ""'])
        asking = bench.tarry(pause, backend=f"smtp:{backend}", options=['known_db = ""', f'known_share = "redis://{HOST}:{port}/"'])
        wait_for("the doors", lambda: all("event=listening" in log_of(s) for s in (alone, asking)))
        for kind, number in (("answers", signal.SIGCONT), ("hangs", signal.SIGSTOP)):
            redis.send_signal(number)
            times = {"alone": [], "asking": []}
            for n in range(count):
                for name, server in (("alone", alone), ("asking", asking)) if n % 2 else (("asking", asking), ("alone", alone)):
                    times[name].append(greeting_ms(server, f"127.{3 + (kind == 'hangs')}.{n // 200}.{n % 200 + 1}"))
            added = median(times["asking"]) - median(times["alone"])
            table.rows.append([f"pause of {pause} ms, the server {kind}", f"{median(times['alone']):.2f} ms where nobody is asked, {median(times['asking']):.2f} ms where it is"])
            table.judge(f"added to a pause of {pause} ms by a server that {kind}", added, 1, " ms")
    finally:
        redis.kill()
        redis.wait()


def known(bench):
    rows = 100000 if bench.quick else 1000000
    table = Table("Who is known", "A look-up is all that a front does for it when a client comes, its key included, in random order, processor time. The file is written by `tarry known import` into a running door; a start is from exec to the "
                  "line in the log. Greetings are taken one after the other, known and exempt clients in turn, of one door with the cheapest backend. The question to other doors goes to a Redis, of whom all clients are strangers: one that "
                  "answers, and one that hangs (SIGSTOP).", ["what", ""])
    got = []
    for _ in range(bench.rounds):
        out = subprocess.run([os.path.join(bench.build, "bench", "known_bench"), "lookups", str(rows)], stdout=subprocess.PIPE, text=True, check=True).stdout
        got.append({key: float(value) for key, value in re.findall(r"(\w+)=([\d.]+)", out)})
    hit, miss = (median([g[key] for g in got]) for key in ("known_ns", "others_ns"))
    table.rows.append([f"look-up among {rows:,}", f"{hit:.0f} ns of who is known, {miss:.0f} ns of others"])
    table.judge("look-up", max(hit, miss) / 1e3, 3, " µs")
    million(bench, table, rows)
    greetings(bench, table)
    bench.stop_all()
    try:
        pauses(bench, table)
    except Unavailable as e:
        say(f"  left out: {e}")
    return table


KNOWN_MEASUREMENTS = {"known": known}
