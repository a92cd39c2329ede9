"""What the fronts pay for being looked at: a door that has a desk, whose /metrics somebody reads each second while a page is open, beside one that has none."""
import contextlib
import http.client
import os
import signal
import socket
import statistics
import threading
import time

from measure import Table, Unavailable, median, say
from servers import Tarry

NONE, AGAIN, STOPPED, LOOKED_AT, OFTEN = "no desk", "no desk, once more", "desk, stopped", "desk, scraped each second", "desk, scraped often"
ARMS = [NONE, AGAIN, STOPPED, LOOKED_AT, OFTEN]
SCRAPES = {LOOKED_AT: 1, OFTEN: 50}  # a second
RATE = 2000
PAUSE = 500
SECONDS = 2
ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


class TarryWithDesk(Tarry):
    def __init__(self, folder, port, build, pause, **more):
        self.desk_port = port + 1
        super().__init__(folder, port, build, pause, options=(f'desk = "127.0.0.1:{self.desk_port}"',), **more)

    def desk(self):
        """Its process, once the desk answers."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = [pid for pid in self.pids() if "tarry-desk" in os.path.basename(os.path.realpath(f"/proc/{pid}/exe"))]
            with contextlib.suppress(OSError):
                Looker(self.desk_port).scrape()
                if len(found) == 1:
                    return found[0]
            time.sleep(0.05)
        raise Unavailable(f"no desk at port {self.desk_port}: is tarry-desk built?")


class Looker:
    """Within `with`: reads /metrics at once and then so many times a second, and has the page's events open. What it got has to be whole, or the run ends with an error."""

    def __init__(self, port, often=1):
        self.port, self.often, self.scrapes, self.events, self.failure = port, often, 0, 0, None
        self.rate = 0.0
        self.over, self.threads, self.page = threading.Event(), [], None
        self.to = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def scrape(self):
        self.to.request("GET", "/metrics", headers={"Accept": ACCEPT})
        answer = self.to.getresponse()
        text = answer.read()
        if answer.status != 200 or b"\ntarry_verdicts_total{" not in text or not text.endswith(b"# EOF\n"):
            raise OSError(f"/metrics: {answer.status}, {len(text)} bytes")
        self.scrapes += 1

    def scrape_on(self):
        """The first time before the load comes; and then in the middle of each second, so that as many fall into the load's time as there are seconds."""
        self.scrape()
        due = time.monotonic() + 0.5 / self.often
        while not self.over.wait(max(0, due - time.monotonic())):
            self.scrape()
            due += 1 / self.often

    def listen(self):
        with socket.create_connection(("127.0.0.1", self.port), 10) as self.page, self.page.makefile("rb") as lines:
            self.page.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            status = lines.readline()
            if not status.startswith(b"HTTP/1.1 200 "):
                raise OSError(f"/events: {status!r}")
            for line in lines:
                self.events += line.startswith(b"event:")
        if not self.over.is_set():
            raise OSError("/events: it ended")

    def guarded(self, what):
        try:
            what()
        except (OSError, http.client.HTTPException) as e:
            self.failure = e

    def __enter__(self):
        self.threads = [threading.Thread(target=self.guarded, args=(what,), daemon=True) for what in (self.scrape_on, self.listen)]
        for thread in self.threads:
            thread.start()
        deadline = time.monotonic() + 10
        while (self.scrapes < 1 or self.events < 1) and not self.failure and time.monotonic() < deadline:
            time.sleep(0.02)
        self.began = time.monotonic(), self.scrapes, self.events
        return self

    def __exit__(self, *_):
        seconds, scrapes, events = (now - then for now, then in zip((time.monotonic(), self.scrapes, self.events), self.began))
        self.rate = scrapes / seconds
        self.over.set()
        if self.page:
            with contextlib.suppress(OSError):
                self.page.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(12)
        self.to.close()
        if self.failure or scrapes < self.often * (seconds - 2) or events < seconds - 2:
            raise SystemExit(f"bench: in {seconds:.1f} s {scrapes} answers of /metrics and {events} events: {self.failure or f'{self.often} and one a second wanted'}")


def measure_arm(bench, doors, arm, load):
    """µs of the fronts for one client, and of each second: ms of the desk, scrapes, the share of the machine that others used"""
    server = doors[arm not in (NONE, AGAIN)]
    looker = Looker(server.desk_port, SCRAPES[arm]) if arm in SCRAPES else contextlib.nullcontext()
    begin, before = time.monotonic(), server.cpu().get("desk", 0)
    with looker:
        used, answer = bench.cost(server, **load)
        took = time.monotonic() - begin
    return {"front": used["front"], "desk": (server.cpu().get("desk", 0) - before) / 1e6 / took, "scrapes": getattr(looker, "rate", 0), "strangers": answer["strangers"]}


def one_round(bench, load, pause, order):
    """Doors of its own: where in memory a process lies makes more of a difference than what is measured."""
    backend = f"smtp:{bench.backend()}"
    doors = [bench.tarry(pause, backend=backend), bench.start("tarry", TarryWithDesk, bench.build, pause, backend=backend)]
    desk, got = doors[1].desk(), {}
    try:
        for door in doors:
            bench.cost(door, **{**load, "count": 1000})
        for arm in order + order[::-1]:  # what changes steadily meanwhile changes all of them alike
            os.kill(desk, signal.SIGSTOP if arm == STOPPED else signal.SIGCONT)
            got.setdefault(arm, []).append(measure_arm(bench, doors, arm, load))
    finally:
        os.kill(desk, signal.SIGCONT)  # it has to hear that it is to end
    bench.stop_all()
    return {arm: {key: sum(run[key] for run in runs) / len(runs) for key in runs[0]} for arm, runs in got.items()}


def ratios(results, one, other):
    return [a["front"] / b["front"] for a, b in zip(results[one], results[other])]


def spread(results, one, other):
    """'1.002 (0.998 to 1.006)': the median of the rounds' ratios, and between what half of them lie."""
    each = ratios(results, one, other)
    if len(each) < 2:
        return f"{each[0]:.4f}"
    low, middle, high = statistics.quantiles(each, n=4, method="inclusive")
    return f"{middle:.4f} ({low:.4f} to {high:.4f})"


def desk(bench):
    count = RATE * SECONDS
    loads = {f"refused, {RATE} a second": ({"mode": "refuse", "count": count, "rate": RATE}, 1000), "refused, as fast as they are served": ({"mode": "refuse", "count": 8 * count}, 1000),
             f"greeted and relayed, {RATE} a second": ({"mode": "hold", "count": count, "rate": RATE, "pause": PAUSE}, PAUSE)}
    results = {name: {arm: [] for arm in ARMS} for name in loads}
    for i in range(bench.rounds):
        say(f" round {i + 1} of {bench.rounds}")
        first = i % len(ARMS)
        order = ARMS[first:] + ARMS[:first]
        for name, (load, pause) in loads.items():
            got = one_round(bench, load, pause, order)
            for arm in ARMS:
                results[name][arm].append(got[arm])
            say(f"  {name:<38}" + "".join(f"{got[arm]['front']:8.2f}" for arm in ARMS) + f" µs   strangers {100 * got[NONE]['strangers']:.0f} %")
    table = Table("What the desk costs the fronts", "µs of the fronts alone for one client, at a door without a desk (`desk = \"\"`), and at one with it, while its /metrics are read each second and a page is open; in turn, there and back, with new "
                  "doors in each round. The door without is measured twice: the second time ÷ the first shows what chance alone makes of it; the one with a desk once more while the desk is stopped (SIGSTOP): the same "
                  f"processes, whom nobody looks at; and while it is scraped {SCRAPES[OFTEN]} times a second, of which the last column but one takes what one of them adds: what one scrape a second adds is too little to be seen directly "
                  "on a machine that is not idle. Behind a ratio stands between what half of the rounds lie.",
                  ["clients", "µs, no desk", "µs, scraped", "scraped ÷ no desk", "÷ the same, desk stopped", "no desk ÷ no desk", f"{SCRAPES[OFTEN]} times a second ÷ desk stopped", "so a scrape a second adds", "the desk itself, ms a second"])
    for name, of in results.items():
        share = 100 * (median(ratios(of, OFTEN, STOPPED)) - 1) / median([a["scrapes"] for a in of[OFTEN]])
        table.rows.append([name, *(f"{median([a['front'] for a in of[arm]]):.2f}" for arm in (NONE, LOOKED_AT)), *(spread(of, *pair) for pair in ((LOOKED_AT, NONE), (LOOKED_AT, STOPPED), (AGAIN, NONE), (OFTEN, STOPPED))),
                           f"{share:.3f} %", f"{median([a['desk'] for a in of[LOOKED_AT]]):.2f}"])
        table.judge(f"scraped ÷ no desk, {name}", 100 * (median(ratios(of, LOOKED_AT, NONE)) - 1), 0.5, " % more")
        table.judge(f"what a scrape a second adds, by {SCRAPES[OFTEN]} of them, {name}", share, 0.5, " % more")
    return table


DESK_MEASUREMENTS = {"desk": desk}
