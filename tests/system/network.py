"""Networks of their own: two machines with a wire between them, one with a door and one with its clients. Wants root; where the kernel does not let us, a test is skipped and says so."""
import os
import subprocess
import sys
import textwrap

import pytest

from door import AS_ROOT
from mta import wait_until


class Network:
    """A network namespace, for as long as the process that holds it."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "-n", "sleep", "1000"], start_new_session=True)
        mine = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != mine or self.holder.poll() is not None, "a network namespace")
        self.run("ip link set lo up")

    @property
    def prefix(self):
        return ["nsenter", "-t", str(self.holder.pid), "-n"]

    def run(self, script):
        subprocess.run([*self.prefix, "sh", "-ec", script], check=True, timeout=20)

    def python(self, script, *arguments):
        done = subprocess.run([*self.prefix, sys.executable, "-c", textwrap.dedent(script), *arguments], check=True, timeout=60, capture_output=True, text=True)
        return done.stdout.strip()

    def close(self):
        self.holder.kill()
        self.holder.wait()


@pytest.fixture
def networks():
    if not AS_ROOT or subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no network namespace of one's own is allowed here")
    here, there = Network(), Network()
    here.run(f"ip link add door type veth peer name client netns {there.holder.pid}; ip link set door up; ip addr add 198.51.100.1/24 dev door; "
             "ip addr add 2001:db8:1::1/64 dev door nodad")
    there.run("ip link set client up; ip addr add 198.51.100.7/24 dev client; ip addr add 2001:db8:1::7/64 dev client nodad")
    yield here, there
    here.close()
    there.close()


def in_network(folder, network, binary):
    """A program that runs the door there."""
    path = folder / "tarry-there"
    path.write_text(f'#!/bin/sh\nexec {" ".join(network.prefix)} {binary} "$@"\n')
    path.chmod(0o755)
    return path
