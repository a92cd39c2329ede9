#!/usr/bin/python3
"""A mail server of a few words, started as inetd would: the program of `exec` in the tests. Its argument is a folder, in which it leaves a file for each start.

ENV, ID: what it was given. EXIT n, DIE: how it ends. SAY x: a line on its standard error. HOLD: silence until the client goes.
"""
import os
import pathlib
import resource
import signal
import socket
import sys

started = pathlib.Path(sys.argv[1]) / str(os.getpid())
peer = socket.socket(fileno=os.dup(0))
started.write_text(repr(peer.getpeername()))


def out(text):
    os.write(1, text.encode() + b"\r\n")


def identity():
    descriptors = sorted(int(n) for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}") and int(n) != peer.fileno())
    ignored = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("SigIgn"))
    blocked = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("SigBlk"))
    return {"uid": os.getresuid(), "gid": os.getresgid(), "groups": sorted(os.getgroups()), "leader": os.getsid(0) == os.getpid(), "descriptors": descriptors,
            "blocking": os.get_blocking(0), "peer": peer.getpeername(), "files": resource.getrlimit(resource.RLIMIT_NOFILE), "ignored": int(ignored, 16),
            "blocked": int(blocked, 16), "folder": os.getcwd(), "same": os.fstat(0).st_ino == os.fstat(1).st_ino, "pid": os.getpid()}


out("220 program ESMTP")
for line in sys.stdin.buffer:
    word, _, rest = line.decode("latin-1").strip().partition(" ")
    if word == "ENV":
        out("250 " + repr({k: v for k, v in os.environ.items() if k != "LC_CTYPE"}))
    elif word == "ID":
        out("250 " + repr(identity()))
    elif word == "SAY":
        try:
            os.write(2, rest.encode() + b"\n")
        except BlockingIOError:  # nobody reads it any more
            pass
        out("250 said")
    elif word == "EXIT":
        sys.exit(int(rest))
    elif word == "DIE":
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "QUIT":
        out("221 bye")
        break
    else:
        out("250 " + word)
started.unlink()
