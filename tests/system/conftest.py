import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

import door as door_module
from door import Door, find_binary


@pytest.fixture(scope="session")
def binary():
    path = find_binary()
    assert path is not None and path.exists(), "no tarry binary: build it, or name it in $TARRY"
    return path


@pytest.fixture(scope="session")
def scratch():
    """A folder in memory if there is one, so that a slow disk does not look like a slow door. Others may enter: the roles run as another user."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="tarry-test-", dir=base))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def make_door(binary, scratch):
    """Doors that end with the test; ending badly fails it."""
    doors = []

    def make(**options):
        start = options.pop("start", True)
        folder = tempfile.mkdtemp(dir=scratch)
        one = Door(binary, folder, **options)
        doors.append(one)
        if start:
            one.start()
        return one

    yield make
    failures = []
    for one in doors:
        try:
            one.stop()
        except AssertionError as e:
            failures.append(str(e))
    assert not failures, "\n".join(failures)


@pytest.fixture
def connect():
    """Sockets that are closed with the test: connect(door, source="127.0.0.2")."""
    sockets = []

    def make(to, source=None):
        address = to.address if isinstance(to, Door) else to
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        s = socket.socket(family, socket.SOCK_STREAM)
        sockets.append(s)
        s.settimeout(door_module.PATIENCE)
        if source:
            s.bind((source, 0))
        s.connect(address)
        return s

    yield make
    for s in sockets:
        s.close()
