"""The measurements of the access database in a whole door and beside Postfix's maps; what `access` of measure.py leaves out. See bench/README.md."""
import os
import re
import resource
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from measure import Table, busy, median, say
from servers import Postmap, read

HERE = "127.0.0.1"


def entries(bench):
    return 100000 if bench.quick else 1000000


# maps

def postmap_ns(postmap, kind, folder, name, count):
    """Processor time for one key, that of a run without keys taken off."""
    used = []
    for path in (os.path.join(folder, name), os.devnull):
        with open(path, "rb") as keys:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            postmap.ask(kind, os.path.join(folder, "access"), keys)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return (used[0] - used[1]) / count * 1e9


def maps(bench):
    count, rounds = entries(bench), []
    postmap = Postmap(os.path.join(bench.work, "postmap"), bench.peers)
    folder = os.path.join(bench.work, "maps")
    os.makedirs(folder)
    for i in range(bench.rounds):
        say(f" round {i + 1} of {bench.rounds}")
        lines = subprocess.run([os.path.join(bench.build, "bench", "access_bench"), "maps", folder, str(count)], stdout=subprocess.PIPE, text=True, check=True).stdout
        got = {line.split()[0]: {key: float(value) for key, value in re.findall(r"(\w+)=([\d.]+)", line)} for line in lines.splitlines()}
        for kind in ("lmdb", "cdb"):
            if i == 0:
                postmap.make(kind, os.path.join(folder, "access"))
            got[f"Postfix {kind}"] = {f"{name}_ns": postmap_ns(postmap, kind, folder, name, count) for name in ("listed", "others")}
        rounds.append(got)
        say("  " + ", ".join(f"{name} {of['listed_ns']:.0f} ns" for name, of in got.items()))
    table = Table("Kinds of maps", f"The same {count:,} IPv4 addresses (`GreetPause:192.0.2.1 320`) as text:, lmdb: and cdb:, processor time of one look-up, for clients that are listed and for others. Tarry: all keys "
                  "of a client, from the address to the pause, in one thread. Postfix: `postmap -q -` on the maps that its postmap makes of the same file, the whole key of each client on standard input; user and system "
                  "time of the process, less those of a run without keys. So Postfix also reads a line and writes one when it has found something, and Tarry does neither: "
                  "the ratio is what a client costs by the one way and by the other, not the speed of two libraries. The keys have one length, so Tarry has one to try; of more lengths see `access`.",
                  ["map", "made of the text, ms", "taken by the door, ms", "listed, ns", "others, ns", "Postfix ÷ Tarry, listed", "others"])
    for kind in ("text", "lmdb", "cdb"):
        of = {key: median([r[kind][key] for r in rounds]) for key in rounds[0][kind]}
        against = [median([r[f"Postfix {kind}"][key] / r[kind][key] for r in rounds]) if kind != "text" else None for key in ("listed_ns", "others_ns")]
        table.rows.append([f"Tarry, {kind}:", f"{of['made_ms']:.0f}" if kind != "text" else "", f"{of['built_ms']:.0f}", f"{of['listed_ns']:.0f}", f"{of['others_ns']:.0f}",
                           *(f"{a:.1f}" if a else "" for a in against)])
        if kind != "cdb":
            table.judge(f"{kind}: a look-up", max(of["listed_ns"], of["others_ns"]), 2000, " ns")
    for kind in ("lmdb", "cdb"):
        of = [median([r[f"Postfix {kind}"][key] for r in rounds]) for key in ("listed_ns", "others_ns")]
        table.rows.append([f"Postfix, {kind}:", f"{postmap.made[kind] * 1e3:.0f}", "", *(f"{v:.0f}" for v in of), "", ""])
    return table


# Doors

def write_table(bench, name, count, clients, pause):
    """A text file that lists the load's next clients. Half of it is for them, so that there is room for count // 2."""
    path = os.path.join(bench.work, name)
    with open(path, "wb") as f:
        subprocess.run([os.path.join(bench.build, "bench", "access_bench"), "table", str(count), str(clients), str(pause)], stdout=f, check=True)
    return path


def door(bench, pause, **more):
    """A door whose tables are built: it can be connected to before."""
    server = bench.tarry(pause, **more)
    deadline = time.monotonic() + 20
    while "event=listening" not in read(os.path.join(server.folder, "log")):
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"bench: {server.label} does not listen: {read(os.path.join(server.folder, 'log'))[-1000:]}")
        time.sleep(0.05)
    return server


def together(bench, servers, mode, count, **options):
    """What a client costs each of them, µs, all under load at the same time, so that whatever else the machine does meets them alike; and the loads' answers."""
    begin, others, answers = time.monotonic(), busy(), {}
    idle, before = sum(s.sockets() for s in servers.values()), {name: sum(s.cpu().values()) for name, s in servers.items()}
    with ThreadPoolExecutor(len(servers)) as pool:
        for name, s in servers.items():
            answers[name] = pool.submit(bench.load, mode, s, count, **options)
            time.sleep(0.05)  # clients are numbered at the beginning of a load
    answers = {name: answer.result() for name, answer in answers.items()}
    while sum(s.sockets() for s in servers.values()) > idle and time.monotonic() < begin + options["seconds"]:
        time.sleep(0.05)
    used = {name: (sum(s.cpu().values()) - before[name]) / 1e9 for name, s in servers.items()}
    ours = sum(used.values()) + sum(a["own_cpu_us"] for a in answers.values()) / 1e6
    bench.used.append(max(0.0, (busy() - others - ours) / (time.monotonic() - begin) / os.cpu_count()))
    return {name: seconds / count * 1e6 for name, seconds in used.items()}, answers


def accept(bench):
    count, rate, pause = 2000 if bench.quick else 10000, 700, 1000
    path = write_table(bench, "accept", entries(bench), bench.clients, pause)
    more = {"backend": f"smtp:{bench.backend()}"}
    servers = {"Tarry": door(bench, pause, **more), "Tarry, again": door(bench, pause, **more),
               "Tarry, access_db": door(bench, pause, **more, options=[f'access_db = {{ "text:{path}" }}'])}
    kinds = {f"refused, {rate}/s": ("refuse", {"rate": rate}), "refused, 64 at a time": ("refuse", {}), f"patient, {rate}/s": ("hold", {"rate": rate, "pause": pause})}
    rounds = {kind: [] for kind in kinds}
    for i in range(bench.rounds):
        say(f" round {i + 1} of {bench.rounds}")
        for key, (mode, options) in kinds.items():
            order = list(servers)[i % 3:] + list(servers)[:i % 3]
            rounds[key].append(together(bench, {name: servers[name] for name in order}, mode, count, seconds=120, **options))
            say(f"  {key:<22}" + ", ".join(f"{name} {rounds[key][-1][0][name]:.2f} µs" for name in servers) + f"; strangers {100 * bench.used[-1]:.0f} %")
    table = Table("CPU of a client, with an access database", f"Early talkers, with the session of `refuse` ({rate} clients a second for each door, then 64 at a time), and patient ones, with that of `hold`, handed to a floor as backend; on all three doors at the same time, "
                  f"so that the rest of the machine's work meets them alike. The text map has {entries(bench):,} entries: each client is listed (`GreetPause:`), so that its pause comes from there; a quarter are `Connect:` of others. The door without access_db stands "
                  "there twice: how far its second line is from 1.00 is what this machine does to a ratio, and less than that cannot be seen. µs of the door's processes, median; ratios: the median of the rounds, and that of all rounds' CPU together. A table of 1,000 entries costs nothing "
                  "that can be seen, one of 1,000,000 some µs: look-ups in memory that has left the caches and the TLB between two clients, which a fast loop does not show. An early talker is the cheapest client there is.",
                  ["server", *(column for key in rounds for column in (f"{key}: µs", "× without", "all rounds together")), "as it should be"])
    ratios = {}
    for name in servers:
        row = [name]
        for key, got in rounds.items():
            ratios[name, key] = median([used[name] / used["Tarry"] for used, _ in got]), sum(used[name] for used, _ in got) / sum(used["Tarry"] for used, _ in got)
            row += [f"{median([used[name] for used, _ in got]):.1f}", *(f"{r:.3f}" for r in ratios[name, key])]
        good, opened = (sum(sum(answers[name].get(k, 0) for k in keys) for got in rounds.values() for _, answers in got) for keys in (("refused", "greeted"), ("opened",)))
        table.rows.append([*row, f"{good:.0f} of {opened:.0f}"])
    for key in rounds:
        table.judge(f"with access_db ÷ without, {key}", ratios["Tarry, access_db", key][0], 1.03)
        table.judge(f"with access_db ÷ without, {key}, all rounds together", ratios["Tarry, access_db", key][1], 1.03)
    return table


def lateness(answers):
    return [f"{median([a['wait_ms_' + key] for a in answers]):.2f}" for key in ("p50", "p99", "max")] + [f"{max(a['wait_ms_max'] for a in answers):.2f}"]


class Swapper(threading.Thread):
    """Puts two files in place of a table in turn, until it is told to stop."""

    def __init__(self, path, files, every):
        super().__init__(daemon=True)
        self.path, self.files, self.every, self.over = path, files, every, threading.Event()

    def run(self):
        wait = 0.2
        while not self.over.wait(wait):
            there = os.path.samefile(self.path, self.files[0])  # renaming a file to itself does nothing
            os.link(self.files[1 if there else 0], self.path + ".new")
            os.utime(self.path + ".new")
            os.rename(self.path + ".new", self.path)
            wait = self.every


def swap(bench):
    seconds, rate, pause, every = 6 if bench.quick else 20, 200, 200, 3
    files = [write_table(bench, f"swap.{n}", entries(bench) - n, bench.clients, pause) for n in (0, 1)]
    path = os.path.join(bench.work, "swap")
    os.link(files[0], path)
    server = door(bench, 1000, backend=f"smtp:{bench.backend()}", options=[f'access_db = {{ "text:{path}" }}'])
    log, taken, answers = os.path.join(server.folder, "log"), [], {"no swaps": [], "swaps": []}
    for i in range(bench.rounds):
        say(f" round {i + 1} of {bench.rounds}")
        for name, got in answers.items():
            swapper, before = Swapper(path, files, every), read(log).count("access_loaded")
            if name == "swaps":
                swapper.start()
            got.append(bench.cost(server, "hold", rate * seconds, rate=rate, pause=pause)[1])
            if name == "swaps":
                swapper.over.set()
                swapper.join()
                time.sleep(3)  # what was put in place last is taken meanwhile, and does not meet the next load
                taken.append(read(log).count("access_loaded") - before)
            say(f"  {name:<10}" + " ".join(f"{key} {got[-1]['wait_ms_' + key]:.2f}" for key in ("p50", "p99", "max")) + (f" {taken[-1]} taken" if name == "swaps" else ""))
    table = Table("How late the greeting is while the access database is replaced", f"One door, a text map of {entries(bench):,} entries that lists each client with a pause of {pause} ms; {rate} clients a second for {seconds} s, once as it is and once "
                  f"while a new file is renamed into its place every {every} s ({sum(taken)} tables taken in {len(taken)} round{'s' if len(taken) > 1 else ''}, the ones after the last client included). Milliseconds beyond the pause, as in `late`; medians of the rounds, and the latest of all. "
                  "The parent builds, the fronts only map; no page of a table is touched before a look-up comes to it, and the one before is unmapped; parent and fronts want the same processors. Few clients are due in such a moment at this rate, and larger tables take longer: the worst of a busier door is not shown.",
                  ["", "p50", "p99", "latest, median of the rounds", "latest of all", "greeted", "early"])
    for name, got in answers.items():
        table.rows.append([name, *lateness(got), f"{sum(a['greeted'] for a in got):.0f} of {sum(a['opened'] for a in got):.0f}", f"{sum(a['early'] for a in got):.0f}"])
    table.judge("latest with swaps less latest without, median of the rounds",
                median([a["wait_ms_max"] - b["wait_ms_max"] for a, b in zip(answers["swaps"], answers["no swaps"])]), 5, " ms")
    table.judge("latest of all with swaps less that without", max(a["wait_ms_max"] for a in answers["swaps"]) - max(a["wait_ms_max"] for a in answers["no swaps"]), 5, " ms")
    table.judge("tables taken in a round, the fewest", min(taken), 2, least=True)
    return table


class Hanging:
    """A server that accepts and never says a word."""

    def __init__(self, port):
        self.listener, self.clients, self.accepted = socket.create_server((HERE, port), backlog=128), [], 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        try:
            while True:
                self.clients.append(self.listener.accept()[0])
                self.accepted += 1
        except OSError:
            return  # closed

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for client in self.clients:
            client.close()


def hang(bench):
    rate, phases = 200, {"the first 5 s": 5, "the 10 s after": 10}
    answers, asked = {}, []
    for i in range(bench.rounds):
        say(f" round {i + 1} of {bench.rounds}")
        for pause in (200, 6000):
            for second in (False, True):
                path = write_table(bench, f"hang-{i}-{pause}-{second}", 100000, bench.clients, pause)
                hanging = Hanging(bench.folder("ldap")[1])
                specs = [f'"text:{path}"'] + ([f'"ldap://{HERE}:{hanging.listener.getsockname()[1]}/dc=example,dc=org"'] if second else [])
                server = door(bench, 1000, backend=f"smtp:{bench.backend()}", options=[f"access_db = {{ {', '.join(specs)} }}", 'access_failure = { "tempfail", "open" }', "resolve = never"])
                for phase, seconds in phases.items():
                    got = bench.cost(server, "hold", rate * seconds, rate=rate, pause=pause)[1]
                    answers.setdefault((pause, second, phase), []).append(got)
                    say(f"  {pause} ms, {'ldap: hangs' if second else 'text: alone'}, {phase}: " + " ".join(f"{key} {got['wait_ms_' + key]:.2f}" for key in ("p50", "p99", "max")))
                if second:
                    asked.append(hanging.accepted)
                bench.stop_all()
                hanging.close()
    table = Table("How late the greeting is while another map hangs", f"A text map lists each client with its pause, and answers first; behind it an ldap: map whose server accepts and never answers, against the same door without it. {rate} clients a second, a "
                  "door just started; lookup_timeout 5 s and lookup_wait 100 ms as they are by default, access_failure of the ldap: map open (with tempfail the client would get a 451: the text map does not say that it may connect). Milliseconds beyond the pause, as in `late`. "
                  "Every client is asked for at every map, for an earlier step of Sendmail's order may stand in a later one; who has its greeting before all have answered finds its first command waiting instead, which is not measured here. "
                  f"Connections the ldap: server got in a round: {median(asked):.0f}. One map that hangs in one way, with 4 lookup processes; nothing is said of more clients a second.",
                  ["pause, ms", "maps", "clients of", "p50", "p99", "latest, median of the rounds", "latest of all", "early"])
    for (pause, second, phase), got in answers.items():
        table.rows.append([str(pause), "text:, ldap: that hangs" if second else "text:", phase, *lateness(got), f"{sum(a['early'] for a in got):.0f}"])

    def against(pause, phase, key="max"):
        """By how much the door with both maps is later than the other one, of the same round."""
        return median([a["wait_ms_" + key] - b["wait_ms_" + key] for a, b in zip(answers[pause, True, phase], answers[pause, False, phase])])
    first, after = phases
    table.judge("pause longer than lookup_timeout: latest, less that of text: alone", max(against(6000, phase) for phase in phases), 5, " ms")
    table.judge("pause shorter: latest, less that of text: alone", against(200, first), 5, " ms")
    table.judge("pause shorter, the map found out: latest, less that of text: alone", against(200, after), 5, " ms")
    table.judge("pause shorter, the map found out: p99, less that of text: alone", against(200, after, "p99"), 5, " ms")
    return table


ACCESS_MEASUREMENTS = {"maps": maps, "accept": accept, "swap": swap, "hang": hang}
