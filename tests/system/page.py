"""doc/backends.md as the tests read it: which way has which lines for which file.

A block is announced by the comment before it:  <!-- way: /path -->  the whole file;  <!-- way: /path, added -->  at its end;
<!-- way: /path, in place of "words" -->  instead of the one line (or entry: with the indented lines after it) that begins with these words, however they are spaced.
"""
import re

from door import ROOT

PAGE = ROOT / "doc" / "backends.md"
BLOCK = re.compile(r'<!-- ([\w/-]+): (/[^\s,]+)(?:, (added|in place of "([^"]+)"))? -->\n```\w*\n(.*?)^```$', re.M | re.S)
# What the tests have otherwise than the page. Nothing: each server has a machine of its own.
SUBSTITUTED = {}


class Block:
    def __init__(self, way, path, how, words, text):
        self.way, self.path, self.how, self.words, self.text = way, path, how or "whole", words, text

    def put(self, machine):
        """Into that machine, as somebody who reads the page would."""
        text = self.text
        for ours, theirs in SUBSTITUTED.items():
            text = text.replace(ours, theirs)
        if self.how == "added":
            text = machine.read(self.path).rstrip("\n") + "\n\n" + text
        elif self.words:
            text = self.replaced(machine.read(self.path), text)
        machine.write(self.path, text)

    def replaced(self, old, text):
        begins = r"\s+".join(re.escape(w) for w in self.words.split())
        new, count = re.subn(rf"^{begins}.*\n(?:[ \t].*\n)*", lambda _: text, old, flags=re.M)
        assert count == 1, f"{self.path} has {count} entries that begin with {self.words!r}:\n{old}"
        return new


def blocks():
    return [Block(*m.groups()) for m in BLOCK.finditer(PAGE.read_text())]


def ways():
    """All that the page has, in its order: postfix/proxy-v2 and so on."""
    return list(dict.fromkeys(b.way for b in blocks() if "/" in b.way))


def of_way(way):
    return [b for b in blocks() if b.way in ("all", way)]
