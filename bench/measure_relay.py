"""What the door costs a site that puts it before its own mail server: messages per second, CPU of bulk, latency, memory."""
import time

from measure import Table, Unavailable, median, say, park
from servers import PostfixQueue, Sink, Splice


EXEMPT = ['local_greet_pause = { "* 0" }']  # nothing more is looked at once MAIL has passed


def mta(bench):
    parallel = 100
    postfix = bench.start("postfix", PostfixQueue, bench.peers)
    if not postfix:
        raise Unavailable("the mail server of this measurement is Postfix, whose master wants root")
    exempt, stranger = (bench.tarry(0, backend=f"smtp:127.0.0.1:{postfix.port + 1}", proxy="v2", options=options) for options in (EXEMPT, []))
    ways = {"Postfix alone": postfix, "behind Tarry": exempt, "behind Tarry, a stranger": stranger, "behind the floor": bench.floor(0, relay=postfix.at)}
    table = Table("Messages a second into a real Postfix's queue", f"{parallel} connections at a time, lock-step, messages of 2 KB; Postfix takes them into its queue (on hold, so that nothing else of it works) and answers when they are there. "
                  "Alone, and behind a door that tells it the client by PROXY v2: of a client that is exempt, and of a stranger, who has pause 0 and is watched to the end; in turn, Postfix, door and load on the same processors. Every message that was acknowledged is in the queue. "
                  "The floor that relays, with plain recv and send, reads nothing and tells Postfix nothing: what it costs is the second pair of sockets.",
                  ["messages a connection", *(f"{way}, messages/s" for way in ways), "Tarry ÷ alone, median", "a stranger ÷ alone", "floor ÷ alone", "lost", "doubled"])
    for per, connections in ((20, 50 if bench.quick else 400), (1, 300 if bench.quick else 5000)):
        rates, wrong = {way: [] for way in ways}, [0, 0]
        for i in range(bench.rounds):
            say(f" round {i + 1} of {bench.rounds}, {per} a connection")
            for way in list(ways)[i % len(ways):] + list(ways)[:i % len(ways)]:
                answer = bench.load("mail", ways[way], connections, parallel=parallel, per=per)
                time.sleep(0.3)
                there = postfix.forget()
                wrong[0] += max(0, answer["acked"] - there)
                wrong[1] += max(0, there - answer["acked"])
                rates[way].append(answer["ack_rate"])
                say(f"  {way:<24} {answer['ack_rate']:8.1f} messages/s")
        ratios = [median([b / a for a, b in zip(rates["Postfix alone"], rates[way])]) for way in list(ways)[1:]]
        table.rows.append([str(per), *(f"{median(r):.0f}" for r in rates.values()), *(f"{ratio:.3f}" for ratio in ratios), f"{wrong[0]:.0f}", f"{wrong[1]:.0f}"])
        table.judge(f"behind Tarry ÷ alone, {per} a connection", ratios[0], 0.97 if per > 1 else 0.95, least=True)
        table.judge(f"messages lost or doubled, {per} a connection", sum(wrong), 0)
    return table


def sink_of(bench):
    sink = bench.start("sink", Sink, bench.peers)
    if not sink:
        raise Unavailable("the backend of this measurement is Postfix's smtp-sink")
    return sink


def bulk(bench):
    count, size = 10 if bench.quick else 40, 10 * 1000 * 1000
    sink = sink_of(bench)
    servers = {"splice loop": bench.start("splice", Splice, bench.build, sink.at), "Tarry": bench.tarry(0, backend=f"smtp:{sink.at}", options=EXEMPT),
               "Tarry, of a stranger": bench.tarry(0, backend=f"smtp:{sink.at}")}
    results = bench.in_turn(servers, lambda name, s: bench.cost(s, "mail", count, parallel=4, size=size))
    table = Table("CPU of bulk", f"Messages of {size // 1000000} MB, 4 at a time, to Postfix's smtp-sink; µs of the server's processes for a megabyte. The splice loop is the least that can be done between two sockets: "
                  "it accepts, connects and splices. Tarry for a client that is exempt, and for one that is watched to the end, as all others are.", ["server", "µs for a MB", "÷ splice loop"])
    cost = {name: [used["all"] * 1e6 / size for used, _ in got] for name, got in results.items()}
    ratio = median([a / b for a, b in zip(cost["Tarry"], cost["splice loop"])])
    for name, got in cost.items():
        table.rows.append([name, f"{median(got):.1f}", f"{median([a / b for a, b in zip(got, cost['splice loop'])]):.2f}"])
    table.judge("Tarry ÷ the splice loop", ratio, 1.2)
    return table


def latency(bench):
    pause, count = 100, 300 if bench.quick else 1000
    sink = sink_of(bench)
    door, pausing = (bench.tarry(p, backend=f"smtp:{sink.at}") for p in (0, pause))
    floor, floor_pausing = (bench.floor(p, relay=sink.at) for p in (0, pause))
    # Sessions with a pause between find processes asleep and caches cold, with a door and without: they are compared with such.
    alone, asleep = "smtp-sink alone", "smtp-sink alone, 9 a second"
    ways = {alone: (sink, {"parallel": 1}, None), "behind Tarry, pause 0": (door, {"parallel": 1}, alone), "behind the floor, pause 0": (floor, {"parallel": 1}, alone),
            asleep: (sink, {"rate": 9}, None), f"behind Tarry, pause {pause} ms, 9 a second": (pausing, {"rate": 9}, asleep),
            f"behind the floor, pause {pause} ms, 9 a second": (floor_pausing, {"rate": 9}, asleep)}
    got = {name: [] for name in ways}
    for i in range(bench.rounds):
        say(f" round {i + 1} of {bench.rounds}")
        for name, (server, options, _) in ways.items():
            answer = bench.load("mail", server, count // 10 if "rate" in options else count, **options)
            got[name].append(answer["wait_ms_p50"] - (pause if server in (pausing, floor_pausing) else 0))
            say(f"  {name:<40} {got[name][-1]:.3f} ms")
    table = Table("Added latency of a session", "One client with one message of 2 KB, lock-step, from connect() to the end, the pause taken off; median of the sessions. One after the other without a break; and nine a second, "
                  "where each finds all processes asleep. The floor that relays, with plain recv and send, is the least that a second pair of sockets costs.", ["way", "ms", "more than alone, ms"])
    for name, (_, _, base) in ways.items():
        more = median([a - b for a, b in zip(got[name], got[base])]) if base else 0
        table.rows.append([name, f"{median(got[name]):.3f}", f"{more:.3f}" if base else ""])
        if "Tarry" in name:
            table.judge(f"added, {name}", more, 0.3, " ms")
    return table


def relayed(bench):
    few, many = 500, 5000
    grown = []
    for i in range(bench.rounds):
        say(f" round {i + 1} of {bench.rounds}")
        door = bench.tarry(0, backend=f"smtp:{bench.backend()}")
        keepers = [park(bench, door, few, greeted=True)]
        before = door.pss()
        keepers.append(park(bench, door, many - few, greeted=True))
        grown.append((door.pss() - before) / (many - few))
        for keeper in keepers:
            keeper.stdin.close()
            keeper.wait()
        bench.stop_all()
        say(f"  {grown[-1]:.0f} bytes")
    table = Table("Memory of a relayed connection at rest", f"Growth of the PSS of all of the door's processes from {few:,} to {many:,} clients that have their greeting and say nothing, for each of them.", ["server", "bytes"])
    table.rows.append(["Tarry", f"{median(grown):.0f}"])
    table.judge("bytes", median(grown), 4096)
    return table


RELAY_MEASUREMENTS = {"mta": mta, "bulk": bulk, "latency": latency, "relayed": relayed}
