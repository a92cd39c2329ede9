"""Whatever fails in the processes that do one thing and are gone, in those that start them, and in roles that begin: what makes a role's filter, asks the name service, reads the configuration, checks a table, verifies Sendmail's. Each call of
theirs fails, and in the long form it is also the last one of its process. Beside what test_faults.py asks of a door: a table is taken whole or not at all and somebody says so, and who is not shut in as its role is to be says
so, or does not run; nobody runs as root."""
import ctypes
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from door import AS_ROOT, PATIENCE, name_of, status
from faults import CLASSES, LONG
from test_faults import Setting

SEIZE, INTERRUPT, DETACH, GET_FILTER = 0x4206, 0x4207, 17, 0x420c
WAIT_ALL = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def filter_length(pid):
    """Instructions of a process's filter; 0: it has none. None: that cannot be had here."""
    if libc.ptrace(SEIZE, pid, None, None) < 0:
        return None
    libc.ptrace(INTERRUPT, pid, None, None)
    try:
        os.waitpid(pid, WAIT_ALL)
    except ChildProcessError:
        return None
    found = libc.ptrace(GET_FILTER, pid, None, None)
    error = ctypes.get_errno()
    libc.ptrace(DETACH, pid, None, None)
    return found if found >= 0 else 0 if error in (2, 22) else None


class ChildSetting(Setting):
    """Who is confined how is looked at after each round."""

    def __init__(self, *arguments, **options):
        self.whole = {}  # instructions of each role's filter
        super().__init__(*arguments, **options)

    def roles(self):
        return {pid: name for pid in self.door.children() if (name := name_of(pid)).startswith("tarry-") and name != "tarry-filter"}

    def confined(self, pid, name):
        """None, or what is wrong; a role may still be about to shut itself in, or just have ended."""
        try:
            if AS_ROOT and "0" in status(pid, "Uid") + status(pid, "Gid"):
                return "it is root"
            if int(status(pid, "CapPrm")[0], 16) | int(status(pid, "CapEff")[0], 16):
                return "it has capabilities"
            seccomp = status(pid, "Seccomp")
        except (OSError, IndexError):
            return None
        if f"tarry[{pid}] {name[6:]}/0 warning event=sandbox_partial" in self.door.text():
            return None
        if seccomp != ["2"]:
            return "it has no filter"
        have = filter_length(pid)
        return None if have is None or have == self.whole.setdefault(name, have) else f"its filter has {have} instructions of {self.whole[name]}"

    def look(self, role):
        deadline = time.monotonic() + PATIENCE  # what never comes to an end when it has no memory is ended after ten seconds
        while True:
            wrong = [f"{name}[{pid}]: {w}" for pid, name in self.roles().items() if (w := self.confined(pid, name)) and name_of(pid) == name]
            if not wrong or time.monotonic() > deadline:
                return wrong
            time.sleep(0.05)


# What is walked, and in the short form: which kinds of calls.
WALKS = {("changes", "child"): ("identity", "write"), ("changes", "filter"): ("write",), ("changes", "front"): (), ("changes", "mail"): (), ("lmdb", "child"): ("map",), ("lmdb", "parent"): ("wait",), ("cdb", "child"): (), ("cdb", "parent"): (),
         ("hash", "child"): (), ("rehash", "lookup-child"): (), ("rehash", "lookup"): (), ("rehash", "parent"): ()}


def walk(binary, scratch, kind, role, kinds=tuple(CLASSES), few=False):
    one = ChildSetting(binary, scratch, kind=kind)
    one.killed = not few and role != "parent"  # whose end is the door's
    try:
        return one.walk(role, kinds, few)
    finally:
        one.end(after=False)


def test_children(binary, scratch):
    """The first call of some kinds, of all settings at the same time."""
    jobs = {of: kinds for of, kinds in WALKS.items() if kinds}
    with ThreadPoolExecutor(len(jobs)) as pool:
        done = {of: pool.submit(walk, binary, scratch, *of, kinds=kinds, few=True) for of, kinds in jobs.items()}
        wrong = [w for job in done.values() for w in job.result()]
    assert wrong == [], "\n".join(wrong)


@pytest.mark.skipif(not LONG, reason="hundreds of rounds: TARRY_LONG=1")
@pytest.mark.parametrize("kind,role", WALKS)
def test_all_of_a_child(binary, scratch, kind, role):
    wrong = walk(binary, scratch, kind, role)
    assert wrong == [], "\n".join(wrong)
