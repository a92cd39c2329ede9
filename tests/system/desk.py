"""tarry-desk for tests: asked by HTTP, and staged without a door (desk_stage.c)."""
import http.client
import json
import socket
import subprocess
from urllib.parse import quote

from door import PATIENCE


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def get(port, path, method="GET", headers=None, body=None, host="127.0.0.1"):
    """Status, headers (names in lower case), bytes."""
    c = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    try:
        c.request(method, path, headers=headers or {}, body=body)
        r = c.getresponse()
        return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()
    finally:
        c.close()


class Events:
    """An open page: events as (name, data)."""

    def __init__(self, port, path="/events", headers=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.connection.request("GET", path, headers=headers or {})
        self.response = self.connection.getresponse()
        self.status = self.response.status

    def next(self):
        name, data = "", ""
        while True:
            line = self.response.readline().decode("ascii").rstrip("\n")
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                data = line[6:]
            elif line == "" and data:
                return name, json.loads(data)
            assert line or not self.response.isclosed(), "the events have ended"

    def until(self, wanted):
        """The first event for which it holds."""
        while True:
            name, data = self.next()
            if wanted(name, data):
                return name, data

    def close(self):
        self.response.close()
        self.connection.close()


class Stage:
    """A desk whose door is staged: after so many seconds of made-up clients."""

    def __init__(self, build, seconds=0, lines=(), log=subprocess.DEVNULL, port=0):
        self.process = subprocess.Popen([build / "tests/system/desk_stage", build / "src/tarry-desk", str(port), str(seconds), *lines], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                        text=True)
        self.port = int(self.process.stdout.readline().split()[1])
        self.url = f"http://127.0.0.1:{self.port}/"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        assert self.stop() == 0

    def say(self, *words):
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "ready\n"

    def turn_away(self, address="192.0.2.1", verdict="early", kind="smtp", after=100, name="", data=b""):
        self.say("turned", address, verdict, quote(kind, safe="", encoding="latin-1") or "-", str(after), quote(name, safe="", encoding="latin-1") or "-", quote(data, safe="") or "-")

    def ban_away(self, address, times=1, seconds=3600):
        self.say("banned", address, str(times), str(seconds))

    def stop(self):
        if not self.process.stdin.closed:
            self.process.stdin.close()
        code = self.process.wait(PATIENCE)
        self.process.stdout.close()
        return code
