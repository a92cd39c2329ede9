"""doc/peers.md: its tables are made from what peers_run.py has kept, the rest is written by hand and stays.

    script/peers [SERVER]...    runs these (all of them unless named), and makes the tables
    script/peers --tables       makes the tables of what is there
"""
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from door import ROOT, find_binary
import peers_run

PAGE = ROOT / "doc" / "peers.md"
KEPT = ROOT / "build-peers"
AT_ONCE = 2  # servers at the same time
LATE = 500   # milliseconds: the first answer to early talk came when the pause was over, and not at once
TABLES = {
    "clear": "In clear",
    "starttls": "Inside STARTTLS",
    "proxy": "Behind a PROXY header",
}
MARKS = {"served": "**{}**", "punished": "**{}**"}


def seconds(ms):
    return f"{ms:.0f} ms" if ms < 999.5 else f"{ms / 1000:.1f} s"


def cell(act):
    """One word, with the code that decided; the client that waits: how long for its greeting."""
    if act["word"] == "left-out":
        return "not offered" if "not offered" in act["why"] else "no teaser" if "teaser" in act["why"] else "–"
    text = act["word"].replace("accepted-message", "accepted")
    if act["act"] == "patient" and act["way"] != "starttls" and act.get("after_ms") is not None:
        text += f", {seconds(act['after_ms'])}"
    elif act["word"] in ("refused", "tempfail"):
        text += f" {act['decisive']['code']}"
        if act["decisive"]["to"] in ("RCPT", "MAIL"):
            text += f" to {act['decisive']['to']}"
    if act["act"].startswith("early") and act["mark"] == "caught" and (act.get("after_ms") or 0) >= LATE:
        text += f", {seconds(act['after_ms'])}"
    if act.get("end") == "reset":
        text += ", RST"
    return MARKS.get(act["mark"], "{}").format(text)


def table(results, way):
    columns = [r for r in results if way in r["ways"]]
    rows = {}
    for number, one in enumerate(columns):
        for act in one["ways"][way]["acts"]:
            rows.setdefault((act["legal"], act["title"]), {})[number] = cell(act)
    lines = ["| " + " | ".join([""] + [c["name"] for c in columns]) + " |", "|" + "---|" * (len(columns) + 1)]
    for (legal, title), cells in sorted(rows.items(), key=lambda row: row[0][0]):
        lines.append(f"| {title}{' ✓' if legal else ''} | " + " | ".join(cells.get(n, "–") for n in range(len(columns))) + " |")
    return "\n".join(lines)


def servers(results):
    lines = ["| | version | beyond what its package has |", "|---|---|---|"]
    for r in results:
        lines.append(f"| {r['name']} | {r['version']} | {r['configured']} |")
    return "\n".join(lines)


def put(text, name, made):
    begin, end = f"<!-- made: {name} -->\n", "<!-- end -->"
    new, count = re.subn(re.escape(begin) + r".*?" + re.escape(end), lambda _: begin + made + "\n" + end, text, flags=re.S)
    if count != 1:
        raise SystemExit(f"{PAGE}: it has {count} places for {name}")
    return new


def make(results):
    text = put(PAGE.read_text(), "servers", servers(results))
    for way in TABLES:
        text = put(text, way, table(results, way))
    PAGE.write_text(text)


def run_one(key, binary):
    try:
        result = peers_run.run(key, binary)
    except pytest.skip.Exception as why:
        return f"{key}: left as it was: {why}"
    except Exception as why:
        return f"{key}: failed: {why}"
    KEPT.mkdir(exist_ok=True)
    (KEPT / f"{key}.json").write_text(json.dumps(result, indent=1))
    return None


def main(arguments):
    unknown = [a for a in arguments if a not in peers_run.SERVERS and a != "--tables"]
    if unknown:
        raise SystemExit(f"script/peers: {unknown[0]}: expected --tables, or some of {', '.join(peers_run.SERVERS)}")
    keys = [] if "--tables" in arguments else arguments or list(peers_run.SERVERS)
    binary = Path(find_binary() or sys.exit("script/peers: no tarry binary: build it, or name it in $TARRY"))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        failures = [f for f in pool.map(lambda key: run_one(key, binary), keys) if f]
    print("\n".join(failures), file=sys.stderr, end="\n" if failures else "")
    kept = [KEPT / f"{key}.json" for key in peers_run.SERVERS]
    make([json.loads(path.read_text()) for path in kept if path.exists()])
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
