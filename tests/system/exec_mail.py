#!/usr/bin/python3 -IS
"""A mail server started as inetd would, which keeps what it takes: the program of `exec` in test_faults_roles.py. Its argument is the folder of the mail. A message is there, whole, before it is acknowledged."""
import os
import sys

folder = os.path.join(sys.argv[1], "example.org", "victim")


def out(text):
    os.write(1, text.encode() + b"\r\n")


def take_message():
    text = b""
    for line in sys.stdin.buffer:
        if line == b".\r\n":
            break
        text += line.removeprefix(b".").replace(b"\r\n", b"\n")
    else:
        sys.exit(1)
    name = f"{os.getpid()}.{os.urandom(4).hex()}"
    for sub in ("tmp", "new"):
        os.makedirs(f"{folder}/{sub}", exist_ok=True)
    with open(f"{folder}/tmp/{name}", "wb") as f:
        f.write(text)
    os.rename(f"{folder}/tmp/{name}", f"{folder}/new/{name}")


os.write(2, b"a program has been started\n")
out("220 program ESMTP")
for line in sys.stdin.buffer:
    word = line[:4].upper()
    if word == b"DATA":
        out("354 go on")
        take_message()
        out("250 2.0.0 kept")
    elif word == b"QUIT":
        out("221 bye")
        break
    else:
        out("250 ok")
