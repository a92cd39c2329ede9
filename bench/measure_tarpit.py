"""The tarpit under bench/run: what refused clients that sit there cost, and whether those who behave notice."""
from measure import Table, median, park, say

DELAY = 5  # seconds that each reply is delayed: twelve of them keep a client for a minute


def tarpit(bench):
    many, rate, pause = 15000, 300, 1000
    patient = 1500 if bench.quick else 4500
    rows = {}
    for i in range(bench.rounds):
        say(f" round {i + 1} of {bench.rounds}")
        server = bench.tarry(pause, fronts=1, backend=f"smtp:{bench.backend()}", options=(f"refuse_tarpit = {DELAY}s", "refuse_tarpit_max = 20000"))
        alone = bench.load("hold", server, patient, rate=rate, pause=pause)
        before, idle = server.pss(), server.cpu()
        keeper = park(bench, server, many, mode="tarpit")
        after = server.pss()
        beside = bench.load("hold", server, patient, rate=rate, pause=pause)
        most = max(after, server.pss())
        said, _ = keeper.communicate()
        answer = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
        busy = sum(server.cpu().values()) - sum(idle.values())
        bench.stop_all()
        if keeper.returncode != 0:
            raise SystemExit(f"bench: in the tarpit: {answer.get('first_bad', said)}")
        for key, value in {"bytes": (most - before) / many, "mb": (most - before) / 1e6, "replies": float(answer["replies"]), "cpu": busy / 1e9, "alone": alone, "beside": beside}.items():
            rows.setdefault(key, []).append(value)
        say(f"  {rows['bytes'][-1]:.0f} bytes each, late by {beside['wait_ms_p99']:.2f} ms at p99, alone {alone['wait_ms_p99']:.2f}")
    table = Table("The tarpit", f"{many:,} clients that say the article's whole session at once sit in the tarpit of one front, refuse_tarpit = {DELAY} s, while {rate} patient clients a second come, pause {pause} ms. "
                  "Memory is the growth of the PSS of all of Tarry's processes; what the kernel keeps for a socket is not in it. Late is counted as in `late`; alone is the same door with nobody in its tarpit.",
                  ["in the tarpit", "bytes each", "MB in all", "replies meanwhile", "patient, p50", "p99", "latest", "alone, p99"])
    p = {key: median([a[f"wait_ms_{key}"] for a in rows["beside"]]) for key in ("p50", "p99", "max")}
    table.rows.append([f"{many:,}", f"{median(rows['bytes']):.0f}", f"{median(rows['mb']):.1f}", f"{median(rows['replies']):.0f}", f"{p['p50']:.2f} ms", f"{p['p99']:.2f} ms", f"{p['max']:.2f} ms",
                       f"{median([a['wait_ms_p99'] for a in rows['alone']]):.2f} ms"])
    table.judge(f"memory of {many:,} in the tarpit", median(rows["mb"]), 10, " MB")
    table.judge("patient clients beside it, late at p99", p["p99"], 5, " ms")
    table.judge("greeted early", sum(a["early"] for a in rows["beside"]), 0)
    return table


TARPIT_MEASUREMENTS = {"tarpit": tarpit}
