"""What it costs that each process is shut in: a filter that the kernel asks at each system call, and the time to make it."""
import os
import subprocess

from measure import Table, column, median, ratio, say
from measure_relay import sink_of
from servers import Tarry

WALLS = {"Tarry": (), "Tarry, sandbox = off": ("sandbox = off",)}
OFF = "Tarry, sandbox = off"


def start_ms(bench, options, count):
    server = Tarry(*bench.folder("tarry"), bench.build, 0, options=options)
    command = [os.path.join(bench.build, "bench", "load"), "start", "--to", server.at, "--count", str(count), "--", *server.command()]
    got = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if got.returncode != 0:
        raise SystemExit(f"bench: no greeting: {got.stdout}")
    return float(dict(line.split("=", 1) for line in got.stdout.splitlines())["wait_ms_p50"])


def sandbox(bench):
    count, starts = (2000, 5) if bench.quick else (10000, 15)
    sink = sink_of(bench)
    refusing = {name: bench.tarry(1000, options=options) for name, options in WALLS.items()}
    refused = bench.in_turn(refusing, lambda name, s: bench.cost(s, "refuse", count))
    relaying = {name: bench.tarry(100, options=options, backend=f"smtp:{sink.at}") for name, options in WALLS.items()}
    relayed = bench.in_turn(relaying, lambda name, s: bench.cost(s, "mail", count))
    bench.stop_all()
    ms = {name: [] for name in WALLS}
    for _ in range(bench.rounds):
        for name, options in WALLS.items():
            ms[name].append(start_ms(bench, options, starts))
    say(f"  starts: {ms}")
    table = Table("What the sandbox costs", "The same door with `sandbox = enforce`, as it is by default, and with `sandbox = off`, one after the other: an early talker refused, all its lines answered, 64 at a time; a patient "
                  "client with one message relayed to smtp-sink, pause 100 ms, 64 at a time, too; and from exec to the first greeting, all processes shut in by then that the client needs. The kernel remembers which calls pass "
                  "whatever their arguments, and asks the filter about the others alone.",
                  ["server", "µs to refuse", "× off", "µs to relay", "× off", "ms to start"])
    for name in WALLS:
        table.rows.append([name, f"{median(column(refused, name, 'all')):.1f}", f"{ratio(refused, name, OFF):.3f}", f"{median(column(relayed, name, 'all')):.1f}", f"{ratio(relayed, name, OFF):.3f}",
                           f"{median(ms[name]):.1f}"])
    table.judge("shut in ÷ off, refused", ratio(refused, "Tarry", OFF), 1.03)
    table.judge("shut in ÷ off, relayed", ratio(relayed, "Tarry", OFF), 1.03)
    return table


SANDBOX_MEASUREMENTS = {"sandbox": sandbox}
