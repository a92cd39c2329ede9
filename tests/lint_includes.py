#!/usr/bin/python3
"""Who may include whom: main -> gate, mail, show, spawn, tool -> access -> map, smtp -> core; gate -> known -> core; lookup -> map -> core; tls -> core; desk, top -> show, advise -> core; tool -> advise -> core; keeper -> lookup, known, map ->
core; ban -> known -> core; never upwards, and never sideways. lookup/, tls/, desk/, top/, keeper/ and ban/ are programs of their own, which no other part may know.

    lint_includes.py SRC

Also: every #include "..." names an existing file by its path from src/, and a module's own header comes first in its .c file,
so that a header that needs another one does not go unnoticed.
"""
import re
import sys
from pathlib import Path

MAY_USE = {
    "core": set(),
    "smtp": {"core"},
    "map": {"core"},
    "known": {"core"},
    "advise": {"core"},
    "access": {"core", "map"},
    "gate": {"core", "smtp", "map", "access", "known"},
    "mail": {"core", "smtp", "map"},
    "show": {"core"},
    "desk": {"core", "show", "advise"},
    "top": {"core", "show", "advise"},
    "spawn": {"core"},
    "tool": {"core", "smtp", "map", "access", "advise"},
    "lookup": {"core", "map"},
    "tls": {"core"},
    "keeper": {"core", "map", "known", "lookup"},
    "ban": {"core", "known"},
    "": {"core", "known", "smtp", "map", "access", "gate", "mail", "show", "spawn", "tool", "advise", "top"},  # main.c and what stands beside it
}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"')


def folder(path):
    return path.split("/")[0] if "/" in path else ""


def faults(src, path):
    name = path.relative_to(src).as_posix()
    own = name[:-2] + ".h"
    found = [(n, m.group(1)) for n, line in enumerate(path.read_text().splitlines(), 1) if (m := INCLUDE.match(line))]
    for n, included in found:
        if not (src / included).exists():
            yield f"{name}:{n}: {included} is not a file in src/; an #include names the path from there"
        elif folder(name) not in MAY_USE:
            yield f"{name}:{n}: {folder(name)}/ is not a folder of DESIGN, section 3"
        elif folder(included) not in MAY_USE[folder(name)] | {folder(name)} and not included.endswith(".def"):
            yield f"{name}:{n}: {folder(name) or 'main'} may not use {folder(included)} ({included})"
    if name.endswith(".c") and (src / own).exists() and found and found[0][1] != own:
        yield f'{name}:{found[0][0]}: "{own}" comes first'


def main():
    src = Path(sys.argv[1])
    files = sorted(src.rglob("*.[ch]"))
    wrong = [text for path in files for text in faults(src, path)]
    print("\n".join(wrong) or f"{len(files)} files, all includes point downwards")
    return 1 if wrong or not files else 0


if __name__ == "__main__":
    sys.exit(main())
