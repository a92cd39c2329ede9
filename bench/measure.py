"""The measurements of bench/run. Each starts its servers side by side, takes them in turn for several rounds, and returns a Table: medians, and
ratios that were taken within a round, since a round's servers saw the same machine. CPU is in microseconds of the server's processes for one client.
"""
import glob
import os
import re
import statistics
import subprocess
import sys
import time

from servers import Floor, Nginx, NginxAuth, Postfix, Sink, Tarry, Unavailable, read, tarry_binary

TICK = os.sysconf("SC_CLK_TCK")
SETTLE = 3.0  # seconds that a server may take to close what the load has left


class Table:
    def __init__(self, title, how, columns):
        self.title, self.how, self.columns, self.rows, self.verdicts = title, how, columns, [], []

    def judge(self, what, value, limit, unit="", least=False):
        """One line of the numbers to keep: reached or not, and by what."""
        good = value >= limit if least else value <= limit
        self.verdicts.append((good, f"{what}: {value:.3g}{unit}, {'at least' if least else 'at most'} {limit:.3g}{unit} wanted"))

    def markdown(self):
        out = [f"### {self.title}", "", self.how, "", "| " + " | ".join(self.columns) + " |", "|" + "---|" * len(self.columns)]
        out += ["| " + " | ".join(row) + " |" for row in self.rows]
        out += [""] + [f"- {'reached' if good else '**not reached**'}: {text}" for good, text in self.verdicts]
        return "\n".join(out).rstrip() + "\n"


def median(values):
    return statistics.median(values) if values else float("nan")


def say(text):
    print(text, file=sys.stderr, flush=True)


def busy():
    """Seconds that all processors have worked so far."""
    fields = [int(x) for x in read("/proc/stat").splitlines()[0].split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:8])) / TICK


class Bench:
    def __init__(self, build, peers, work, rounds, quick):
        self.build, self.peers, self.work, self.rounds, self.quick = build, peers, work, rounds, quick
        self.port, self.running, self.clients = 21000, [], 0
        self.used = []  # the share of the machine that others used during each measurement of CPU
        self.fronts = os.cpu_count()

    # Servers

    def folder(self, name):
        self.port += 2
        return os.path.join(self.work, f"{name}-{self.port}"), self.port

    def start(self, name, kind, *args, **more):
        """A running server, or None and a line that says why not."""
        try:
            server = kind(*self.folder(name), *args, **more).start()
        except Unavailable as e:
            if kind is Tarry or kind is Floor:
                raise SystemExit(f"bench: {e}") from e
            say(f"  left out: {e}")
            return None
        self.running.append(server)
        return server

    def tarry(self, pause, **more):
        return self.start("tarry", Tarry, self.build, pause, **more)

    def floor(self, pause, **more):
        return self.start("floor", Floor, self.build, pause, **{"processes": self.fronts, **more})

    def backend(self):
        """The cheapest backend there is: greets, knows QUIT. On a Unix socket that Tarry's unprivileged roles may use."""
        path = os.path.join(self.work, f"backend-{self.port}.sock")
        self.floor(0, processes=1, listen=f"unix:{path}")
        os.chmod(path, 0o666)
        return f"unix:{path}"

    def stop_all(self):
        while self.running:
            self.running.pop().stop()

    # Load

    def load(self, mode, server, count, lenient=False, **options):
        """The load program's answer as a dict. Clients' addresses are never used twice in a run: a server may remember them."""
        at = getattr(server, "at", server)
        command = [os.path.join(self.build, "bench", "load"), mode, "--to", at, "--count", str(count), "--from", str(self.clients)]
        self.clients += count
        for name, value in {"seconds": 120, **options}.items():
            command += ["--" + name, str(value)]
        if lenient:
            command += ["--lenient", "1"]
        got = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        answer = dict(line.split("=", 1) for line in got.stdout.splitlines() if "=" in line)
        answer = {key: float(value) if key != "first_bad" else value for key, value in answer.items()}
        if got.returncode not in (0, 1) or (got.returncode == 1 and not lenient):
            raise SystemExit(f"bench: {' '.join(command)}: {got.stdout}")
        return answer

    def cost(self, server, mode, count, watched=(), **options):
        """(µs of CPU by role for one client, the load's answer); 'all' is the server's total. `watched`: servers whose CPU is told apart."""
        idle, begin, load = server.sockets(), time.monotonic(), busy()
        before, others = server.cpu(), [(other, sum(other.cpu().values())) for other in watched if other]
        answer = self.load(mode, server, count, **options)
        deadline = time.monotonic() + SETTLE
        while server.sockets() > idle and time.monotonic() < deadline:
            time.sleep(0.05)
        after = server.cpu()
        used = {role: (after.get(role, 0) - before.get(role, 0)) / count / 1000 for role in {*before, *after}}
        used["all"] = sum(used.values())
        for other, was in others:
            used[other.label] = (sum(other.cpu().values()) - was) / count / 1000
        ours = (sum(after.values()) - sum(before.values())) / 1e9 + answer.get("own_cpu_us", 0) / 1e6
        seconds = time.monotonic() - begin
        answer["strangers"] = max(0.0, (busy() - load - ours) / seconds / os.cpu_count())
        self.used.append(answer["strangers"])
        return used, answer

    def in_turn(self, contestants, measure):
        """{name: [one result for each round]}; contestants that are None are left out."""
        results = {name: [] for name, server in contestants.items() if server}
        for i in range(self.rounds):
            say(f" round {i + 1} of {self.rounds}")
            for name in results:
                used, answer = measure(name, contestants[name])
                results[name].append((used, answer))
                say(f"  {name:<18}{used['all']:8.2f} µs   strangers {100 * answer['strangers']:.0f} %")
        return results


def column(results, name, key):
    return [used.get(key, 0.0) for used, _ in results[name]]


def ratio(results, one, other, key="all", base="all"):
    return median([a / b for a, b in zip(column(results, one, key), column(results, other, base)) if b > 0])


def parts(results, name, least=0.5):
    """'front 12.3 + mail 4.5': the roles that cost something."""
    roles = sorted({role for used, _ in results[name] for role in used} - {"all"})
    costs = [(role, median(column(results, name, role))) for role in roles]
    return " + ".join(f"{role} {cost:.1f}" for role, cost in costs if abs(cost) >= least)


def total(results, name, key):
    return sum(answer.get(key, 0) for _, answer in results[name])


def refuse(bench):
    count, rate = 4000 if bench.quick else 10000, 2000
    servers = {
        "floor": bench.floor(1000), "Tarry": bench.tarry(1000), "Tarry, no log": bench.tarry(1000, level="warning"),
        "floor, 1 process": bench.floor(1000, processes=1), "Tarry, 1 front": bench.tarry(1000, fronts=1),
        "nginx": bench.start("nginx", Nginx, bench.peers, 1000), "postscreen": bench.start("postfix", Postfix, bench.peers, 1000),
    }
    table = Table("CPU to refuse one early talker", "The article's whole session at once, every line answered and compared, closed without a reset. nginx says one line and "
                  "closes; postscreen enforces (it answers up to the DATA, then hangs up) with Debian's defaults, its log daemon counted, as Tarry's own log is. "
                  f"Once at {rate} clients a second, once with 64 at a time as fast as they are served.",
                  ["server", f"µs at {rate}/s", "× floor", "µs at full speed", "× floor", "of which, at full speed", "refused", "resets"])
    paced, full = (bench.in_turn(servers, lambda name, s, more=more: bench.cost(s, "refuse", count, lenient=name in ("nginx", "postscreen"), **more))
                   for more in ({"rate": rate}, {}))
    for name in paced:
        base = "floor, 1 process" if "1 " in name else "floor"
        refused, opened = (sum(total(r, name, key) for r in (paced, full)) for key in ("refused", "opened"))
        table.rows.append([name, f"{median(column(paced, name, 'all')):.1f}", f"{ratio(paced, name, base):.2f}", f"{median(column(full, name, 'all')):.1f}",
                           f"{ratio(full, name, base):.2f}", parts(full, name), f"{refused:.0f} of {opened:.0f}",
                           f"{sum(total(r, name, 'resets') for r in (paced, full)):.0f}"])
    table.judge(f"Tarry ÷ floor at {rate}/s", ratio(paced, "Tarry", "floor"), 1.1)
    table.judge("Tarry ÷ floor at full speed", ratio(full, "Tarry", "floor"), 1.1)
    if "postscreen" in paced:
        table.judge(f"postscreen ÷ Tarry at {rate}/s", ratio(paced, "postscreen", "Tarry"), 8, least=True)
        table.judge("postscreen ÷ Tarry at full speed", ratio(full, "postscreen", "Tarry"), 8, least=True)
    table.judge("early talkers accepted or followed by a reset", total(paced, "Tarry", "resets") + total(full, "Tarry", "resets") +
                sum(total(r, "Tarry", "opened") - total(r, "Tarry", "refused") for r in (paced, full)), 0)
    return table


def park(bench, server, count, greeted=False, mode="park"):
    """Opens clients, silent ones unless mode says otherwise, and returns the process that keeps them, once the server has them all; greeted: each has a connection to the backend, too."""
    time.sleep(0.3)  # whoever tried whether the server answers is gone by then
    before = server.sockets()
    command = [os.path.join(bench.build, "bench", "load"), mode, "--to", server.at, "--count", str(count), "--rate", "5000", "--seconds", "200",
               "--from", str(bench.clients)]
    bench.clients += count
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    deadline = time.monotonic() + 60
    wanted = count * (2 if greeted else 1)
    while server.sockets() - before < wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    if line.strip() != f"parked={count}" or server.sockets() - before < wanted:
        process.kill()
        raise SystemExit(f"bench: {server.label} holds {server.sockets() - before} of {count} clients")
    time.sleep(0.5)
    return process


def memory(bench):
    few, many = 1000, 15000
    kinds = {
        "Tarry": lambda: bench.tarry(300000), "floor": lambda: bench.floor(300000),
        "nginx": lambda: bench.start("nginx", Nginx, bench.peers, 300000), "postscreen": lambda: bench.start("postfix", Postfix, bench.peers, 300000),
    }
    grown, whole = {}, {}
    for i in range(bench.rounds):
        say(f" round {i + 1} of {bench.rounds}")
        for name, make in kinds.items():
            server = make()
            if not server:
                continue
            keepers = [park(bench, server, few)]
            before = server.pss()
            keepers.append(park(bench, server, many - few))
            after = server.pss()
            for keeper in keepers:
                keeper.stdin.close()
                keeper.wait()
            bench.stop_all()
            grown.setdefault(name, []).append((after - before) / (many - few))
            whole.setdefault(name, []).append(after / 1e6)
            say(f"  {name:<12} {grown[name][-1]:8.1f} bytes")
    table = Table("Memory per held client", f"Growth of the PSS of all of the server's processes from {few:,} to {many:,} silent clients, per client. What the kernel keeps for a socket is "
                  "not in it, and is the same for all.", ["server", "bytes per held client", f"MB in all, {many:,} held"])
    for name in grown:
        table.rows.append([name, f"{median(grown[name]):.0f}", f"{median(whole[name]):.1f}"])
    table.judge("Tarry's bytes per held client", median(grown["Tarry"]), 100)
    return table


def hold(bench):
    rate = 3000
    sizes = {1000: (6000 if bench.quick else 15000), 15000: (18000 if bench.quick else 24000)}
    table = Table("CPU to hold and greet one patient client", f"{rate} clients a second wait for the greeting and QUIT; the pause is what makes 1,000 or 15,000 of them wait at the same time. "
                  "The floor greets by itself; Tarry has a backend greet, so it also connects to one and relays: the floor that does the same with the same backend (a floor without pause on a "
                  "Unix socket, its own CPU not counted) stands beside it. `+ mail` is Tarry with the mail server inside, all its processes counted. The ratio is to the line of the floor that does the same.",
                  ["server", "µs, 1,000 held", "× floor", "µs, 15,000 held", "× floor", "15,000 ÷ 1,000", "of which, 15,000 held", "greeted early"])
    results = {}
    for held, count in sizes.items():
        pause = held * 1000 // rate
        backend = bench.backend()
        servers = {
            "floor, greets": bench.floor(pause), "floor, relays": bench.floor(pause, relay=backend),
            "Tarry": bench.tarry(pause, backend=f"smtp:{backend}"), "Tarry, no log": bench.tarry(pause, backend=f"smtp:{backend}", level="warning"),
            "Tarry + mail": bench.tarry(pause), "nginx": bench.start("nginx", Nginx, bench.peers, pause),
        }
        results[held] = bench.in_turn(servers, lambda name, s, count=count, pause=pause: bench.cost(s, "hold", count, lenient=name == "nginx", rate=rate, pause=pause))
        bench.stop_all()
    few, many = results[1000], results[15000]
    for name in few:
        base = "floor, relays" if "Tarry" in name or "relays" in name else "floor, greets"
        table.rows.append([name, f"{median(column(few, name, 'all')):.1f}", f"{ratio(few, name, base):.2f}", f"{median(column(many, name, 'all')):.1f}",
                           f"{ratio(many, name, base):.2f}", f"{flat(few, many, name):.2f}", parts(many, name),
                           f"{total(few, name, 'early') + total(many, name, 'early'):.0f} of {total(few, name, 'greeted') + total(many, name, 'greeted'):.0f}"])
    for held, of in results.items():
        table.judge(f"Tarry ÷ the floor that relays too, {held:,} held", ratio(of, "Tarry", "floor, relays"), 1.1)
        table.judge(f"Tarry ÷ the floor that greets by itself, {held:,} held", ratio(of, "Tarry", "floor, greets"), 1.1)
    table.judge("Tarry, 15,000 held ÷ 1,000 held", flat(few, many, "Tarry"), 1.1)
    table.judge("greeted early by Tarry", total(few, "Tarry", "early") + total(many, "Tarry", "early"), 0)
    return table


def flat(few, many, name):
    return median(column(many, name, "all")) / median(column(few, name, "all"))


def late(bench):
    held, rate = 10000, 5000
    pause, count = held * 1000 // rate, 15000 if bench.quick else 30000
    backend = bench.backend()
    servers = {
        "floor, greets": bench.floor(pause), "floor, relays": bench.floor(pause, relay=backend), "Tarry": bench.tarry(pause, backend=f"smtp:{backend}"),
        "Tarry + mail": bench.tarry(pause), "nginx": bench.start("nginx", Nginx, bench.peers, pause),
    }
    results = bench.in_turn(servers, lambda name, s: bench.cost(s, "hold", count, lenient=name == "nginx", rate=rate, pause=pause))
    table = Table("How late the greeting is", f"{held:,} clients held, {rate:,} new ones a second, pause {pause} ms. From just before connect() to when the kernel received the "
                  "greeting's first bytes, less the pause; milliseconds, the median of the rounds. Early is a greeting before the pause was over, counted the same way.",
                  ["server", "p50", "p99", "latest", "greeted early"])
    for name in results:
        table.rows.append([name, *(f"{median([a['wait_ms_' + key] for _, a in results[name]]):.2f}" for key in ("p50", "p99", "max")),
                           f"{total(results, name, 'early'):.0f} of {total(results, name, 'greeted'):.0f}"])
    for name in ("Tarry", "Tarry + mail"):
        table.judge(f"{name}, p99", median([a["wait_ms_p99"] for _, a in results[name]]), 5, " ms")
        table.judge(f"greeted early by {name}", total(results, name, "early"), 0)
    return table


def relay(bench):
    pause, rate, count = 100, 1000, 2000 if bench.quick else 10000
    sink = bench.start("sink", Sink, bench.peers)
    if not sink:
        raise Unavailable("the backend of this measurement is Postfix's smtp-sink")
    auth = bench.start("auth", NginxAuth, bench.peers, sink.port)
    servers = {
        "floor, relays": bench.floor(pause, relay=sink.at), "Tarry": bench.tarry(pause, backend=f"smtp:{sink.at}"),
        "nginx": auth and bench.start("nginx", Nginx, bench.peers, pause, auth.port),
    }
    results = bench.in_turn(servers, lambda name, s: bench.cost(s, "mail", count, watched=[auth] if name == "nginx" else [], rate=rate))
    table = Table("CPU to relay a patient client with one message", f"{rate} clients a second, pause {pause} ms, one message of 2 KB each, step by step, to Postfix's smtp-sink. "
                  "nginx asks its auth_http about each message; the server that answers that is listed, and not counted.",
                  ["server", "µs", "× floor", "of which", "Tarry ÷ this"])
    for name in results:
        table.rows.append([name, f"{median(column(results, name, 'all')):.1f}", f"{ratio(results, name, 'floor, relays'):.2f}", parts(results, name),
                           f"{ratio(results, 'Tarry', name):.2f}"])
    table.judge("Tarry ÷ the floor that relays too", ratio(results, "Tarry", "floor, relays"), 1.1)
    if "nginx" in results:
        table.judge("Tarry ÷ nginx", ratio(results, "Tarry", "nginx"), 0.5)
    return table


def access(bench):
    """The table of `access_bench`: what a text map of a million entries costs to build and to ask, by kind of key."""
    table = Table("The access database", f"{1000000 if not bench.quick else 100000:,} entries of one kind in a text file. Build: from the file to the sealed memory that all fronts share. A look-up is all keys of "
                  "one client, for clients that are listed and for others; the floor is one look-up of one key in a plain hash table of the same size.",
                  ["keys", "build, ms", "listed, ns", "others, ns", "floor, ns", "listed ÷ floor"])
    rounds = []
    for i in range(bench.rounds):
        say(f" round {i + 1} of {bench.rounds}")
        command = [os.path.join(bench.build, "bench", "access_bench"), *(["100000"] if bench.quick else [])]
        rounds.append([re.match(r"(.+?)\s+(\d+) ms\s+[\d.]+ MB\s+[\d.]+ ms\s+(\d+) ns\s+\d+%\s+(\d+) ns\s+\d+%\s+(\d+) ns\s+x([\d.]+)", line)
                       for line in subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()])
    kinds = [match.group(1) for match in rounds[0] if match]
    for n, kind in enumerate(kinds):
        rows = [[match for match in r if match][n] for r in rounds]
        values = [median([float(row.group(g)) for row in rows]) for g in (2, 3, 4, 5, 6)]
        table.rows.append([kind, *(f"{v:.0f}" for v in values[:4]), f"{values[4]:.1f}"])
        table.judge(f"{kind}: built", values[0] / 1000, 2, " s")
        table.judge(f"{kind}: a look-up", max(values[1:3]), 1000, " ns")
    return table


def arrived(server):
    return sum(1 for path in glob.glob(os.path.join(server.maildirs, "**", "new"), recursive=True) for _ in os.scandir(path))


def delivery(bench, server, at, count, **options):
    """Messages a second: acknowledged, and in the Maildirs; both from the first connection. What lies there from before is left: for minutes after thousands
    of files have been deleted, ext4 is slow to make new ones (it passes over inodes that were freed lately), whoever makes them."""
    old = arrived(server)
    os.sync()
    begin = time.monotonic()
    before = sum(server.cpu().values())
    answer = bench.load("mail", at, count // options.get("per", 1), parallel=100, **options)
    deadline = time.monotonic() + 180
    while (there := arrived(server) - old) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    seconds = time.monotonic() - begin
    if there != count or answer["acked"] != count:
        raise SystemExit(f"bench: {server.label}: {answer['acked']:.0f} messages acknowledged, {there} in the Maildirs, {count} sent")
    cpu = (sum(server.cpu().values()) - before) / count / 1000
    say(f"  {server.label:<12} {answer['ack_rate']:.0f} acknowledged a second, {count / seconds:.0f} arrived")
    return {"acked": answer["ack_rate"], "arrived": max(count / seconds, answer["ack_rate"] if isinstance(server, Tarry) else 0), "cpu": cpu,
            "p50": answer["extra_ms_p50"], "p99": answer["extra_ms_p99"]}


def deliver(bench):
    count = 2000 if bench.quick else 6000
    tarry, postfix = bench.tarry(0), bench.start("postfix", Postfix, bench.peers, 1000)
    table = Table("Messages into Maildirs", f"100 connections, {count} messages of 2 KB to 100 users, each safe on disk (fsync) before its 250: Tarry with the mail server inside and "
                  "greet_pause = 0, beside Postfix's smtpd, cleanup, qmgr and virtual on the same file system (200 processes of a kind at most, no in-flow delay, no name look-ups). "
                  "Postfix acknowledges what lies in its queue; when it has arrived in the Maildirs stands beside it. Tarry acknowledges what has arrived.",
                  ["server", "messages in a connection", "acknowledged/s", "arrived/s", "final dot to 250, p50 ms", "p99 ms", "CPU µs a message"])
    rates = {}
    for per in (1, 10):
        for i in range(bench.rounds):
            say(f" {per} in a connection, round {i + 1} of {bench.rounds}")
            for name, server, at in (("Tarry", tarry, None), ("Postfix", postfix, None)):
                if server:
                    at = server.at if name == "Tarry" else f"127.0.0.1:{server.port + 1}"
                    rates.setdefault((name, per), []).append(delivery(bench, server, at, count, per=per))
        for name in ("Tarry", "Postfix"):
            if (name, per) in rates:
                of = {key: median([r[key] for r in rates[name, per]]) for key in rates[name, per][0]}
                table.rows.append([name, str(per), f"{of['acked']:.0f}", f"{of['arrived']:.0f}", f"{of['p50']:.1f}", f"{of['p99']:.1f}", f"{of['cpu']:.0f}"])
        if postfix:
            for key, text in (("acked", "acknowledged"), ("arrived", "arrived")):
                pairs = zip(rates["Tarry", per], rates["Postfix", per])
                table.judge(f"Tarry ÷ Postfix, {text}, {per} in a connection", median([t[key] / p[key] for t, p in pairs]), 3, "×", least=True)
    return table


def large_lmdb(bench):
    """An access database of the size that large sites have, as `tarry access build` makes it."""
    text, path, entries = os.path.join(bench.work, "start.access"), os.path.join(bench.work, "start.lmdb"), 100000 if bench.quick else 1000000
    with open(text, "wb") as f:
        subprocess.run([os.path.join(bench.build, "bench", "access_bench"), "table", str(entries), "0", "320"], stdout=f, check=True)
    subprocess.run([tarry_binary(bench.build), "access", "build", f"text:{text}", f"lmdb:{path}"], stdout=subprocess.DEVNULL, check=True)
    return f'access_db = {{ "lmdb:{path}" }}', f"Tarry, lmdb: of {entries:,}"


def start(bench):
    count = 5 if bench.quick else 25
    table_option, large = large_lmdb(bench)
    table = Table("Start to first greeting", f"From exec to the first 220 read, pause 0, {count} starts; milliseconds. Tarry with the mail server inside and all its processes.",
                  ["server", "p50", "p99", "slowest"])
    kinds = {"floor": lambda: Floor(*bench.folder("floor"), bench.build, 0), "Tarry": lambda: Tarry(*bench.folder("tarry"), bench.build, 0),
             large: lambda: Tarry(*bench.folder("tarry"), bench.build, 0, options=(table_option,))}
    answers = {}
    for name, make in kinds.items():
        server = make()
        command = [os.path.join(bench.build, "bench", "load"), "start", "--to", server.at, "--count", str(count), "--", *server.command()]
        got = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        answers[name] = dict(line.split("=", 1) for line in got.stdout.splitlines())
        if got.returncode != 0:
            raise SystemExit(f"bench: {name} gave no greeting: {got.stdout}")
        table.rows.append([name, *(f"{float(answers[name]['wait_ms_' + key]):.1f}" for key in ("p50", "p99", "max"))])
    for name in ("Tarry", large):
        table.judge(f"{name}, p50", float(answers[name]["wait_ms_p50"]), 50, " ms")
    return table


MEASUREMENTS = {"refuse": refuse, "memory": memory, "hold": hold, "late": late, "relay": relay, "deliver": deliver, "start": start, "access": access}
