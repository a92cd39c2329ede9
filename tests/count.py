#!/usr/bin/python3
"""Adds up JUnit files: the last line is "N passed, N failed, N skipped", and the exit code 1 if anything failed or nothing ran.

    count.py [--broken NAME]... FILE.xml...

--broken names a step that failed without saying so in a file: it counts as one failure. A file that is missing or broken does too.
"""
import sys
import xml.etree.ElementTree as ET


def count(path):
    """(name, outcome) of every test case; the outcome is passed, failed or skipped."""
    for suite in ET.parse(path).iter("testsuite"):
        for case in suite.findall("testcase"):
            kinds = {child.tag for child in case}
            outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
            reason = next((child.get("message") or "" for child in case if child.tag == "skipped"), "")
            yield f"{case.get('classname') or suite.get('name')}: {case.get('name')}", outcome, reason


def main(arguments):
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
        here = dict.fromkeys(totals, 0)
        try:
            for name, outcome, reason in count(path):
                here[outcome] += 1
                if outcome == "failed":
                    print(f"FAILED  {name}")
                elif outcome == "skipped":
                    reasons[reason] = reasons.get(reason, 0) + 1
        except (OSError, ET.ParseError) as e:
            print(f"FAILED  {path}: {e}")
            here["failed"] += 1
        print(f"{path}: {here}")
        for outcome, n in here.items():
            totals[outcome] += n
    for reason, n in sorted(reasons.items(), key=lambda item: -item[1]):
        print(f"skipped {n}: {reason or 'no reason given'}")
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**totals))
    return 1 if totals["failed"] or not totals["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
