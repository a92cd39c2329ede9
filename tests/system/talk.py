"""A client's end of a conversation, and a backend that does what a test tells it to."""
import re
import socket
import struct
import threading

from door import PATIENCE

ARTICLE_SESSION = """helo localhost.localdomain
mail from: <sender@example.net>
rcpt to: <victim@example.org>
data
From: sender@example.net
To: victim@example.org
Subject: testing

1 2 3
.
quit
"""
REFUSED_SESSION = """554 mail.example.org ESMTP not accepting messages
250 mail.example.org Hello [127.0.0.1], pleased to meet you
550 5.0.0 Command rejected
550 5.0.0 Command rejected
550 5.0.0 Command rejected
500 5.5.1 Command unrecognized: "From: sender@example.net"
500 5.5.1 Command unrecognized: "To: victim@example.org"
500 5.5.1 Command unrecognized: "Subject: testing"
500 5.5.1 Command unrecognized: ""
500 5.5.1 Command unrecognized: "1 2 3"
500 5.5.1 Command unrecognized: "."
221 2.0.0 mail.example.org closing connection
"""
ACCEPTED_SESSION = [
    r"220 mail\.example\.org ESMTP Tarry \S+; .*",
    r"250 mail\.example\.org Hello \[127\.0\.0\.1\], pleased to meet you",
    r"250 2\.1\.0 <sender@example\.net>\.\.\. Sender ok",
    r"250 2\.1\.5 <victim@example\.org>\.\.\. Recipient ok",
    r'354 Enter mail, end with "\." on a line by itself',
    r"250 2\.0\.0 \S+ Message accepted for delivery",
    r"221 2\.0\.0 mail\.example\.org closing connection",
]
REFUSAL = b"554 mail.example.org ESMTP not accepting messages\r\n"


def read_line(s):
    """One line, byte by byte so that nothing behind it is taken; b"" at the end."""
    line = b""
    while not line.endswith(b"\n"):
        c = s.recv(1)
        if not c:
            break
        line += c
    return line


def read_reply(s):
    """The last line of a reply."""
    while True:
        line = read_line(s)
        if line[3:4] != b"-":
            return line


def read_all(s):
    """Everything until the other end closes. A reset is an error."""
    out = []
    while data := s.recv(1 << 16):
        out.append(data)
    return b"".join(out)


def command(s, text):
    s.sendall(text.encode("latin-1") + b"\r\n")
    return read_reply(s)


def reset(s):
    """Close with RST."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def owner_of(door, client):
    """Which process of the door has that client; None: it has not been accepted yet. The door logs its states (log_level=debug)."""
    port = str(client.getsockname()[1])
    for line in reversed(door.log()):
        if line.get("port") == port and line.get("event") == "state":
            return int(line["_pid"])
    return None


def well_formed(data):
    """Whole reply lines, and nothing in them that a terminal would act on."""
    return re.fullmatch(rb"(?:[2345][0-9][0-9][ -][\x20-\x7e\t]*\r\n)*", data) is not None


class Backend:
    """Listens; accept() gives the test the next connection from the door."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(PATIENCE)
        self.taken = []

    @property
    def at(self):
        return "smtp:127.0.0.1:%d" % self.socket.getsockname()[1]

    def accept(self, greeting=None):
        s, _ = self.socket.accept()
        s.settimeout(PATIENCE)
        self.taken.append(s)
        if greeting:
            s.sendall(greeting)
        return s

    def close(self):
        for s in (self.socket, *self.taken):
            s.close()


class Background(threading.Thread):
    """Runs one function beside the test; result() waits and passes an exception on."""

    def __init__(self, function, *arguments):
        super().__init__(daemon=True)
        self.function, self.arguments, self.value, self.error = function, arguments, None, None
        self.start()

    def run(self):
        try:
            self.value = self.function(*self.arguments)
        except BaseException as e:  # handed to whoever asks for the result
            self.error = e

    def result(self):
        self.join(PATIENCE * 3)
        assert not self.is_alive(), "it hangs"
        if self.error:
            raise self.error
        return self.value
