#!/usr/bin/python3
"""Every event that the log can name stands in doc/operating.md, for who looks it up at night; and no row there is of an event that is gone.

    lint_events.py SRC doc/operating.md

An event is found where it is named in log_event(LEVEL, "NAME") or behind the key "event"; what a function is given to put there has to be remembered by hand.
"""
import re
import sys
from pathlib import Path

NAME = r'"([a-z]+(?:_[a-z]+)*)"'
DIRECT = re.compile(r"log_event\([^,;]*?,\s*" + NAME)
KEYED = re.compile(r'"event",([^;]*);')


def events(text):
    found = set(DIRECT.findall(text))
    for rest in KEYED.findall(text):
        found |= set(re.findall(NAME, rest))
    return found


def main():
    src, page = Path(sys.argv[1]), Path(sys.argv[2])
    sure, everything = set(), set()
    for path in src.rglob("*.c"):
        text = path.read_text()
        sure |= events(text)
        everything |= set(re.findall(NAME, text))
    rows = page.read_text().split("## The events", 1)[1].splitlines()
    told = {name for row in rows if row.startswith("| `") for name in re.findall(r"`([a-z_]+)`", row.split("|")[1])}
    missing, gone = sorted(sure - told), sorted(told - everything)
    for name in missing:
        print(f"{page.name}: event={name} is not explained")
    for name in gone:
        print(f"{page.name}: no file names event={name} any more")
    print(f"{len(sure)} events found, {len(told)} explained")
    return 1 if missing or gone or len(sure) < 20 else 0


if __name__ == "__main__":
    sys.exit(main())
