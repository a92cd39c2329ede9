#!/usr/bin/python3
"""Puts the page together: page.html, with page.css in place of @STYLE@ and page.js in place of @SCRIPT@, as C, with the policy that allows exactly these.

    embed.py page.html page.css page.js > page.c
"""
import base64
import hashlib
import sys
from pathlib import Path


def source(text):
    """As CSP names it; the browser takes what stands between the tags."""
    return "'sha256-%s'" % base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def main():
    html, css, js = (Path(p).read_text(encoding="utf-8") for p in sys.argv[1:4])
    assert "</script" not in js.lower() and "</style" not in css.lower() and "<!--" not in js, "the script or the style would end too early"
    page = html.replace("@STYLE@", css).replace("@SCRIPT@", js).encode()
    policy = ("default-src 'none'; script-src %s; style-src %s; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
              % (source(js), source(css)))
    print('/* Made by embed.py. */\n#include "desk/page.h"\n\nconst unsigned char page_bytes[] = {')
    for i in range(0, len(page), 24):
        print("\t" + " ".join("%d," % b for b in page[i:i + 24]))
    print("};\nconst size_t page_len = sizeof(page_bytes);\nconst char page_policy[] = \"%s\";" % policy)


if __name__ == "__main__":
    main()
