"""The transcripts of a real Sendmail, played against the real binary: one item each, all of them played in one run, side by side.

TARRY_LONG=1 adds the scenarios that take minutes.
"""
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

import deviations
import replay
from door import AS_ROOT, HERE, ROOT

GROUPS = [g for g in replay.GROUPS if os.environ.get("TARRY_LONG") or g not in replay.LONG_GROUPS]
ITEMS = replay.load(GROUPS)

# Addresses of the recorded clients, on the loopback of a network namespace that ends with the run.
OWN_NETWORK = "ip link set lo up; for a in 10.1.2.3/32 10.1.9.3/32; do ip addr add $a dev lo; done; " \
    "for a in 2001:db8:1:2:3:4:5:6/128 2001:db8:1:2::9/128; do ip -6 addr add $a dev lo nodad; done; "


def own_network():
    """What to put before a command so that it has a network of its own; [] where that is not allowed. Who is not root stays who he is."""
    if not shutil.which("unshare") or not shutil.which("ip"):
        return []
    if AS_ROOT:
        prefix = ["unshare", "-n", "sh", "-c", OWN_NETWORK + 'exec "$@"', "sh"]
    else:
        back = f"exec unshare -U --map-user={os.getuid()} --map-group={os.getgid()} "
        prefix = ["unshare", "-rn", "sh", "-c", OWN_NETWORK + back + '"$@"', "sh"]
    tried = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    return prefix if tried.returncode == 0 and not tried.stderr else []


@pytest.fixture(scope="session")
def outcome(binary, tmp_path_factory):
    result = tmp_path_factory.mktemp("replay") / "result.json"
    command = [*own_network(), sys.executable, str(HERE / "replay.py"), "--binary", str(binary), "--groups", ",".join(GROUPS), "--json", str(result)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout
    return json.loads(result.read_text())


@pytest.mark.parametrize("name", [replay.item_id(*item) for item in ITEMS])
def test_scenario(outcome, name):
    result = outcome["results"][name]
    if result["status"] == "skipped":
        pytest.skip(result["reason"])
    if result["retried"]:
        print("played twice: the first time only its times were off")
    assert result["status"] == "passed", "\n".join(result["wrong"] + result["late"] + [str(line) for line in result["got"]])


def test_doors_ended_well(outcome):
    assert outcome["doors"] == []


def test_every_deviation_is_used(outcome):
    used = {d for r in outcome["results"].values() for d in r.get("deviations", [])}
    assert used == {d.id for d in deviations.ALL if d.change}


def test_deviations_have_their_rows():
    """doc/deviations.md and deviations.py name the same deviations."""
    text = (ROOT / "doc" / "deviations.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.M)
    assert len(rows) == len(set(rows)), "an id stands twice"
    assert set(rows) == {d.id for d in deviations.ALL}


def test_rows_without_transcript_name_their_test():
    for deviation in deviations.ALL:
        if deviation.change is None:
            file, _, function = deviation.proof.partition("::")
            assert f"def {function}(" in (HERE / file).read_text(), deviation.id
            assert deviation.proof in (ROOT / "doc" / "deviations.md").read_text(), deviation.id
