"""Maps against the tools of others: what Tarry writes, mdb_dump and cdb read; what mdb_load, cdb and Postfix's postmap write, Tarry reads."""
import os
import shutil
import subprocess

import pytest

from door import ROOT, find_binary
from mta import needs_root, unpacked

ENTRIES = {"greetpause:192.168": "300", "greetpause:127.0.0.2": "0", "connect:10.1": "REJECT", "greetpause:": "5000", "to:abuse@example.org": "FRIEND"}
TEXT = "# a comment\n" + "".join(f"{key}\t{value}\n" for key, value in ENTRIES.items())
LINES = {key: line for line, key in enumerate(ENTRIES, 2)}


def tool():
    binary = find_binary()
    beside = binary.parent.parent / "tests/system/map_tool" if binary else None
    if not beside or not beside.exists():
        pytest.skip("no map_tool beside the tarry binary: it is built with the tests")
    return beside


def map_tool(*words, code=0):
    done = subprocess.run([tool(), *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    return done


def dump(spec):
    """The dialect and a dictionary of key: (value, line)."""
    first, *rest = map_tool("dump", spec).stdout.splitlines()
    dialect, count = first.split()
    entries = {key: (value, int(line)) for key, value, line in (row.split("\t") for row in rest)}
    assert len(entries) == int(count) == len(rest)
    return dialect, entries


def other(*words, **options):
    if not shutil.which(words[0]):
        pytest.skip(f"no {words[0]}: script/setup test installs it")
    return subprocess.run(words, check=True, capture_output=True, timeout=120, **options).stdout


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "access"
    path.write_text(TEXT)
    return path


def canonical(key):
    return ENTRIES[key].encode() + b"\0" + str(LINES[key]).encode()


def test_written_lmdb_is_read_by_mdb_dump(source):
    map_tool("build", source, f"lmdb:{source}")
    text = other("mdb_dump", "-n", f"{source}.lmdb").decode().splitlines()
    data = [bytes.fromhex(line) for line in text[text.index("HEADER=END") + 1:text.index("DATA=END")]]
    found = dict(zip(data[::2], data[1::2]))
    assert len(found.pop(b"\0meta")) == 2048
    assert found == {key.encode(): canonical(key) for key in ENTRIES}


def test_written_cdb_is_read_by_cdb(source):
    map_tool("build", source, f"cdb:{source}")
    assert other("cdb", "-q", f"{source}.cdb", "connect:10.1") == canonical("connect:10.1")
    text = other("cdb", "-d", f"{source}.cdb")
    for key in ENTRIES:
        want = canonical(key)
        assert b"+%d,%d:%s->%s\n" % (len(key), len(want), key.encode(), want) in text
    assert text.count(b"->") == len(ENTRIES) + 1


@pytest.mark.parametrize("scheme", ["lmdb", "cdb"])
def test_there_and_back(source, scheme):
    map_tool("build", source, f"{scheme}:{source}")
    dialect, entries = dump(f"{scheme}:{source}")
    assert dialect == "canonical"
    assert entries == {key: (value, LINES[key]) for key, value in ENTRIES.items()}
    assert dump(f"text:{source}")[1] == entries
    got = map_tool("get", f"{scheme}:{source}", "greetpause:10", "greetpause:192.168").stdout
    assert got == f"1\t300\t{LINES['greetpause:192.168']}\n"


def test_dumped_and_loaded_again(source, tmp_path):
    map_tool("build", source, f"lmdb:{source}")
    text = other("mdb_dump", "-n", f"{source}.lmdb")
    other("mdb_load", "-n", tmp_path / "again.lmdb", input=text)
    assert dump(f"lmdb:{tmp_path}/again") == dump(f"lmdb:{source}")


def test_mdb_load(tmp_path):
    text = "".join(f"{key}\n{value}\n" for key, value in ENTRIES.items())
    other("mdb_load", "-n", "-T", tmp_path / "x.lmdb", input=text.encode())
    assert dump(f"lmdb:{tmp_path}/x.lmdb") == ("plain", {key: (value, 0) for key, value in ENTRIES.items()})
    os.mkdir(tmp_path / "folder")
    other("mdb_load", "-T", tmp_path / "folder", input=text.encode())
    assert "is a directory; expected a file" in map_tool("dump", f"lmdb:{tmp_path}/folder", code=65).stderr
    assert dump(f"lmdb:{tmp_path}/folder/data.mdb")[0] == "plain"


def test_cdb(tmp_path):
    other("cdb", "-c", "-m", tmp_path / "x.cdb", input="".join(f"{key} {value}\n" for key, value in ENTRIES.items()).encode())
    assert dump(f"cdb:{tmp_path}/x") == ("plain", {key: (value, 0) for key, value in ENTRIES.items()})


@pytest.mark.parametrize("scheme", ["lmdb", "cdb"])
def test_postmap(source, tmp_path, scheme):
    """Postfix stores keys and values with a NUL behind them (lmdb) or without (cdb)."""
    needs_root()
    libraries = unpacked("postfix/usr/lib/postfix")
    unpacked(f"postfix/usr/lib/postfix/postfix-{scheme}.so")
    config = tmp_path / "etc"
    config.mkdir()
    (config / "dynamicmaps.cf").write_text("".join(f"{kind}\tpostfix-{kind}.so\tdict_{kind}_open\tmkmap_{kind}_open\n" for kind in ("lmdb", "cdb")))
    (config / "main.cf").write_text(f"compatibility_level = 3.6\nshlib_directory = {libraries}\nmeta_directory = {config}\nmyhostname = postfix.example.net\n"
                                    f"mynetworks = 127.0.0.0/8\ndaemon_directory = {libraries}/sbin\nmail_owner = daemon\nsetgid_group = games\n")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
    other(str(ROOT / "build-mta/postfix/usr/sbin/postmap"), "-c", config, f"{scheme}:{source}", env=environment)
    assert dump(f"{scheme}:{source}") == ("plain", {key: (value, 0) for key, value in ENTRIES.items()})


def test_errors_of_a_text_in_one_run(source, tmp_path):
    map_tool("build", source, f"cdb:{source}")
    before = (tmp_path / "access.cdb").read_bytes()
    source.write_text(TEXT + "alone\n blank\nconnect:10.1 OK\n")
    said = map_tool("build", source, f"cdb:{source}", code=65).stderr.splitlines()
    last = len(TEXT.splitlines())
    assert [line.split(": ")[0] for line in said] == [f"{source}:{last + n}" for n in (1, 2, 3)]
    assert (tmp_path / "access.cdb").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["access", "access.cdb"]


@pytest.mark.parametrize("scheme", ["lmdb", "cdb"])
def test_a_million_entries(tmp_path, scheme):
    source = tmp_path / "many"
    source.write_text("".join(f"GreetPause:{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}.7\t{n % 5000}\n" for n in range(1000000)))
    map_tool("build", source, f"{scheme}:{source}")
    assert map_tool("get", f"{scheme}:{source}", "greetpause:1.2.3.7").stdout == f"0\t{0x10203 % 5000}\t{0x10203 + 1}\n"
