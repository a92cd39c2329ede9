#!/usr/bin/python3
"""A name server for tests, on a loopback port of its own: knows the names that the transcripts' clients had.

    dns.py NAMES.json        prints its port, and serves until its standard input ends

NAMES.json: {address: name, or null for none, or "SERVFAIL", or "SILENT", or [name, address that the name leads to instead]}.
"""
import ipaddress
import json
import socket
import sys
import threading
import time

from dnslib import A, AAAA, DNSRecord, PTR, QTYPE, RCODE, RR


def tables(names):
    """(reverse, forward): what is answered to each PTR question, and the addresses of each name."""
    reverse, forward = {}, {}
    for address, name in names.items():
        leads_to = address
        if isinstance(name, list):
            name, leads_to = name
        reverse[ipaddress.ip_address(address).reverse_pointer] = name
        if name and name not in ("SERVFAIL", "SILENT"):
            forward.setdefault(name.lower(), []).append(leads_to)
    return reverse, forward


def answer(question, reverse, forward):
    """The reply's bytes, or None for silence."""
    asked = str(question.q.qname).rstrip(".").lower()
    kind = QTYPE[question.q.qtype]
    reply = question.reply()
    if kind == "PTR":
        name = reverse.get(asked)
        if name == "SILENT":
            return None
        if name == "SERVFAIL":
            reply.header.rcode = RCODE.SERVFAIL
        elif name:
            reply.add_answer(RR(question.q.qname, QTYPE.PTR, rdata=PTR(name), ttl=0))
        else:
            reply.header.rcode = RCODE.NXDOMAIN
        return reply.pack()
    found = [a for a in forward.get(asked, []) if (":" in a) == (kind == "AAAA")]
    for a in found:
        reply.add_answer(RR(question.q.qname, QTYPE.A if kind == "A" else QTYPE.AAAA, rdata=A(a) if kind == "A" else AAAA(a), ttl=0))
    if asked not in forward:
        reply.header.rcode = RCODE.NXDOMAIN
    return reply.pack()


class Server:
    """In a thread: start with names, stop() ends it. hush(True): it answers nobody, as one that hangs."""

    def __init__(self, names, at=("127.0.0.1", 0)):
        self.reverse, self.forward = tables(names)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind(at)
        self.socket.settimeout(0.2)
        self.port = self.socket.getsockname()[1]
        self.asked, self.silent, self.ending = 0, False, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.ending:
            try:
                data, sender = self.socket.recvfrom(4096)
                self.asked += 1
                reply = None if self.silent else answer(DNSRecord.parse(data), self.reverse, self.forward)
                if reply:
                    self.socket.sendto(reply, sender)
            except TimeoutError:
                pass
            except Exception as e:  # what is no DNS question is not answered
                print(f"dns: {e}", file=sys.stderr)

    def hush(self, silent):
        self.silent = silent

    def stop(self):
        self.ending = True
        self.thread.join()
        self.socket.close()


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        server = Server(json.load(f))
    print(server.port, flush=True)
    while sys.stdin.read(1):
        time.sleep(0)
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
