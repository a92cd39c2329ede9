#!/usr/bin/python3
"""Adds up JUnit files: the last line is "N passed, N failed, N skipped", and the exit code 1 if anything failed or nothing ran.

    count.py [--broken NAME]... FILE.xml...
    count.py --failed FILE.xml                  the names of what failed

What failed in NAME.xml and passed in NAME-again.xml, where it ran alone, counts as passed; it is named.

--broken names a step that failed without saying so in a file: it counts as one failure. A file that is missing or broken does too, and
so does a test that died before it could say which case failed: meson's testlog.json, as FILE.json beside FILE.xml, knows of those.
"""
import json
import sys
import xml.etree.ElementTree as ET


def count(path):
    """(name, outcome) of every test case; the outcome is passed, failed or skipped."""
    for suite in ET.parse(path).iter("testsuite"):
        for case in suite.findall("testcase"):
            kinds = {child.tag for child in case}
            outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
            reason = next((child.get("message") or "" for child in case if child.tag == "skipped"), "")
            yield f"{suite.get('name')}: {case.get('classname') or ''}: {case.get('name')}", outcome, reason


def passed_alone(path):
    """The names of the cases that passed when they ran again, alone."""
    try:
        return {name for name, outcome, _ in count(path.removesuffix(".xml") + "-again.xml") if outcome == "passed"}
    except (OSError, ET.ParseError):
        return set()


def died(path, failed):
    """The tests that meson calls failed although none of the failed cases is theirs."""
    try:
        with open(path.removesuffix(".xml") + ".json", encoding="utf-8") as log:
            records = [json.loads(line) for line in log]
    except FileNotFoundError:
        return
    for record in records:
        if record["result"] not in ("OK", "SKIP", "EXPECTEDFAIL") and not any(record["name"] in name for name in failed):
            yield record["name"]


def failed_ids(path):
    """The failed cases of a pytest run, as pytest wants them named: FILE::NAME, FILE::CLASS::NAME."""
    for suite in ET.parse(path).iter("testsuite"):
        for case in suite.findall("testcase"):
            if {child.tag for child in case} & {"failure", "error"}:
                module, _, inside = case.get("classname").partition(".Test")
                yield "::".join([module.replace(".", "/") + ".py", *(["Test" + inside] if inside else []), case.get("name")])


def main(arguments):
    if arguments[:1] == ["--failed"]:
        for name in failed_ids(arguments[1]):
            print(name)
        return 0
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    reasons, files = {}, []
    arguments = iter(arguments)
    for argument in arguments:
        if argument == "--broken":
            totals["failed"] += 1
            print(f"FAILED  {next(arguments)}")
        else:
            files.append(argument)
    for path in files:
        here, failed, alone = dict.fromkeys(totals, 0), [], passed_alone(path)
        try:
            for name, outcome, reason in count(path):
                if outcome == "failed" and name in alone:
                    print(f"PASSED ALONE, FAILED BESIDE OTHERS  {name}")
                    outcome = "passed"
                here[outcome] += 1
                if outcome == "failed":
                    failed.append(name)
                elif outcome == "skipped":
                    reasons[reason] = reasons.get(reason, 0) + 1
        except (OSError, ET.ParseError) as e:
            print(f"FAILED  {path}: {e}")
            here["failed"] += 1
        dead = list(died(path, failed))
        here["failed"] += len(dead)
        for name in failed + dead:
            print(f"FAILED  {name}")
        print(f"{path}: {here}")
        for outcome, n in here.items():
            totals[outcome] += n
    for reason, n in sorted(reasons.items(), key=lambda item: -item[1]):
        print(f"skipped {n}: {reason or 'no reason given'}")
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**totals))
    return 1 if totals["failed"] or not totals["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
