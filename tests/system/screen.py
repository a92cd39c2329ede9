"""A program on a terminal that is none: a pty, and what a person would see on it (pyte)."""
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

import pyte

from door import PATIENCE


class Terminal:
    """What runs on it has it as its standard input and output; `raw` is all that it has written."""

    def __init__(self, argv, rows=30, cols=100, term="screen-256color", **environment):
        self.master, self.slave = pty.openpty()
        self.raw, self.screen = b"", pyte.Screen(cols, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.before = termios.tcgetattr(self.slave)
        self.size(rows, cols)
        env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "LINES", "COLUMNS", "LC_ALL", "LANG", "LC_CTYPE")}
        self.process = subprocess.Popen(argv, stdin=self.slave, stdout=self.slave, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
                                        env=env | {"TERM": term, "LC_ALL": "C.UTF-8", "TZ": "UTC"} | environment)

    def size(self, rows, cols):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
        self.screen.resize(rows, cols)

    def read(self, seconds):
        """What comes within that time, shown."""
        while select.select([self.master], [], [], seconds)[0]:
            data = os.read(self.master, 65536)
            self.raw += data
            self.stream.feed(data)
            seconds = 0

    def text(self):
        return "\n".join(line.rstrip() for line in self.screen.display)

    def keys(self, text):
        os.write(self.master, text.encode() if isinstance(text, str) else text)

    def until(self, wanted, what="the screen shows it", patience=PATIENCE):
        """The text, once it holds for it."""
        deadline = time.monotonic() + patience
        while not wanted(self.text()):
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.process.stderr.read()}"
            assert time.monotonic() < deadline, f"not within {patience} s: {what}\n{self.text()}"
            self.read(0.1)
        return self.text()

    def shows(self, *words):
        return self.until(lambda text: all(w in text for w in words), f"{words} can be seen")

    def ended(self):
        """Its exit code; what it wrote last is shown."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end\n{self.text()}"
            self.read(0.05)
        self.read(0)
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()
        os.close(self.master)
        os.close(self.slave)
