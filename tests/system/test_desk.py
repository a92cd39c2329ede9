"""tarry-desk, the real program, beside a real door: what it says, to whom, and that nobody can hold it up or make it do anything else. The page is in test_page.py."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

import mta
from desk import Events, Stage, free_port, get
from door import ACCOUNT, AS_ROOT, PATIENCE, ROOT, memory_kb
from door import status as proc_status
from network import in_network, networks  # noqa: F401 (a fixture)
from talk import read_line

TOKEN = "0123456789abcdef-TOKEN"
LISTENERS, CONNECTIONS = 64, 128
ACCEPT = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}


@pytest.fixture
def build(binary):
    return binary.parent.parent


def with_desk(make_door, **options):
    port = free_port()
    door = make_door(**{"desk": f"127.0.0.1:{port}", **options})
    door.wait_for(lambda d: d.get("event") == "desk_listening")
    return door, port


def desk_pids(door):
    """Of those whose processes have not ended meanwhile."""
    found = []
    for p in door.children():
        try:
            name = os.readlink(f"/proc/{p}/exe").rpartition("/")[2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if name == "tarry-desk":
            found.append(p)
    return found


def desk_pid(door):
    return next(iter(desk_pids(door)), None)


def promtool():
    unpacked = ROOT / "build-mta/prometheus/usr/bin/promtool"
    return str(unpacked) if unpacked.exists() else shutil.which("promtool")


def samples(text):
    """Name and labels to value."""
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in openmetrics.text_string_to_metric_families(text) for s in f.samples}


def metrics(port, **headers):
    return samples(get(port, "/metrics", headers={**ACCEPT, **headers})[2].decode())


def test_metrics_of_a_door(make_door, connect):
    door, port = with_desk(make_door, greet_pause="300ms")
    s = connect(door)
    s.sendall(b"EHLO slammer\r\n")
    assert read_line(s).startswith(b"554 ")
    patient = connect(door)
    assert read_line(patient).startswith(b"220 ")
    mta.wait_until(lambda: metrics(port)["tarry_verdicts_total", (("verdict", "patient"),)] == 1, "both are counted")
    s.close()
    patient.close()
    mta.wait_until(lambda: metrics(port)["tarry_open", ()] == 0, "both are gone")
    code, headers, body = get(port, "/metrics", headers=ACCEPT)
    assert code == 200 and headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8" and body.endswith(b"# EOF\n")
    have = samples(body.decode())
    assert have["tarry_verdicts_total", (("verdict", "early"),)] == have["tarry_early_total", (("kind", "smtp"),)] == 1
    assert have["tarry_talk_after_seconds_count", ()] == 1 and 0 < have["tarry_talk_after_seconds_sum", ()] < 0.3
    assert have["tarry_greeting_late_seconds_count", ()] == 1
    assert have["tarry_greet_pause_seconds", ()] == 0.3
    assert have["tarry_fronts", ()] == have["tarry_serving", ()] == 2
    # The older form says the same.
    code, headers, body = get(port, "/metrics")
    assert code == 200 and headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    old = {(s.name, tuple(sorted(s.labels.items()))): s.value for f in text_string_to_metric_families(body.decode()) for s in f.samples}
    moving = ("tarry_desk_requests_total",)
    assert {k: v for k, v in old.items() if k[0] not in moving} == {k: v for k, v in have.items() if k[0] not in moving}
    # Every counter of the door is there once, by itself or in its family.
    counters = door.counters()
    assert len([k for k in have if k[0].startswith("tarry_") and "seconds" not in k[0]]) >= len(counters)


def test_promtool_finds_nothing(build):
    tool = promtool()
    if not tool:
        pytest.skip("no promtool (package prometheus)")
    with Stage(build, seconds=600) as stage:
        body = get(stage.port, "/metrics")[2]  # it reads the older form
        done = subprocess.run([tool, "check", "metrics"], input=body, capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        done = subprocess.run([tool, "check", "metrics"], input=body.replace(b"_total", b""), capture_output=True, check=False)
        assert done.returncode != 0  # it would have said so


def test_status_is_that_of_tarry_status(make_door):
    door, port = with_desk(make_door)
    mta.wait_until(lambda: json.loads(get(port, "/status.json")[2])["fronts_at_work"] == 2, "the fronts are at work")
    code, headers, body = get(port, "/status.json")
    assert code == 200 and headers["content-type"] == "application/json"
    said = subprocess.run([door.binary, "status", "-c", str(door.config), "--json"], capture_output=True, text=True, timeout=PATIENCE, check=False).stdout
    more = json.loads(body)
    assert [more.pop(k) for k in ("networks", "turned", "often", "missed")] == [[], [], [], 0]
    assert more == json.loads(said)
    assert more["pid"] == door.process.pid


def test_events_tell_what_happens(make_door, connect):
    door, port = with_desk(make_door, greet_pause="10s")
    events = Events(port)
    name, first = events.next()
    assert name == "all" and first["turned"] == [] and first["pause"] == 10000 and first["door"]["pid"] == door.process.pid
    _, advised = ("all", first) if first["advice"] else events.until(lambda n, d: d.get("advice"))
    assert advised["advice"]["pause"] == 0 and "Too few early talkers seen yet: 0" in advised["advice"]["reason"]
    s = connect(door, source="127.0.0.9")
    _, held = events.until(lambda n, d: d["count"]["held"] == 1)
    s.sendall(b"\x16\x03\x01\x00\xff</script>\r\n")
    _, said = events.until(lambda n, d: d["turned"])
    assert said["count"]["early"] == 1 and held["now"] <= said["now"]
    turned = said["turned"][0]
    assert (turned["client"], turned["verdict"], turned["kind"], turned["pause"], turned["observed"]) == ("127.0.0.9", "early", "tls", 10000, False)
    assert turned["bytes"].encode("latin-1") == b"\x16\x03\x01\x00\xff</script>\r\n"
    assert turned["id"] == door.wait_verdict("early")[0]["id"] and abs(turned["at"] / 1000 - time.time()) < PATIENCE
    events.close()


def test_only_reading_is_possible(make_door):
    _, port = with_desk(make_door)
    for path in ("/", "/metrics", "/status.json", "/events"):
        code, headers, body = get(port, path, "HEAD")
        assert code == 200 and body == b"" and headers["cache-control"] == "no-store" and headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["content-security-policy"].startswith("default-src 'none'") and "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "X"):
        code, headers, _ = get(port, "/", method, body=b"x" * 100000 if method == "POST" else None)
        assert code == 405 and headers["allow"] == "GET, HEAD", method
    for path in ("/x", "/metrics/", "//", "/../etc/passwd", "/%2e%2e/", "/index.html"):
        assert get(port, path)[0] == 404, path


def test_by_which_name(make_door):
    door, port = with_desk(make_door, desk_hosts=["door.example.org"])
    for host in ("localhost", f"localhost:{port}", "127.0.0.1", f"[::1]:{port}", "door.example.org"):
        assert get(port, "/metrics", headers={"Host": host})[0] == 200, host
    for host in ("evil.example", f"127.0.0.1.evil.example:{port}", "door.example.org.evil.example", ""):
        code, _, body = get(port, "/metrics", headers={"Host": host})
        assert code in (403, 400) and b"tarry_" not in body, host
    denied = door.wait_for(lambda d: d.get("event") == "desk_denied")[0]
    assert denied["client"] == "127.0.0.1" and "desk_hosts" in denied["msg"]
    assert metrics(port)["tarry_desk_denied_total", ()] >= 3
    assert len(door.events("desk_denied")) == 1  # one line in ten seconds


def token_file(door, text=TOKEN + "\n", mode=0o600):
    path = door.folder / "token"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_token(make_door):
    door = make_door(start=False)
    port = free_port()
    door.options.update(desk=f"127.0.0.1:{port}", desk_token_file=token_file(door))
    door.start()
    door.wait_for(lambda d: d.get("event") == "desk_listening")
    for path in ("/", "/metrics", "/status.json", "/events", "/x"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "tarry_desk=wrong"}, {"Authorization": f"Basic {TOKEN}"}):
            code, back, body = get(port, path, headers=headers)
            assert code == 401 and back["www-authenticate"].startswith("Bearer") and TOKEN.encode() not in body and b"tarry_" not in body
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert get(port, "/metrics", headers={**bearer, "Host": "whatever.example"})[0] == 200
    code, headers, body = get(port, f"/?token={TOKEN}")
    assert code == 303 and headers["location"] == "/" and body == b""
    cookie, *flags = headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(flags)
    assert get(port, "/", headers={"Cookie": f"other=1; {cookie}"})[0] == 200
    assert get(port, f"/?token={TOKEN}x")[0] == 401
    events = Events(port, headers=bearer)
    assert events.next()[0] == "all"
    events.close()
    # Nobody learns it from the process table.
    everybody = b"".join(Path(f"/proc/{p}/{what}").read_bytes() for p in [door.process.pid, *door.children()] for what in ("cmdline", "environ"))
    assert TOKEN.encode() not in everybody and TOKEN not in door.text()


ASKER = """
    import http.client, sys
    c = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=20)
    c.request("GET", "/metrics", headers=dict([sys.argv[3:]] if sys.argv[3:] else []))
    print(c.getresponse().status)
"""


def test_from_another_machine(networks, make_door, tmp_path, binary):
    """At every address, IPv4 and IPv6, the token opens, and nothing else does."""
    here, there = networks
    door = make_door(start=False, desk="[::]:8025")
    door.options["desk_token_file"] = token_file(door)
    door.binary = str(in_network(tmp_path, here, binary))
    door.start()
    door.wait_for(lambda d: d.get("event") == "desk_listening")
    for address in ("198.51.100.1", "2001:db8:1::1"):
        assert there.python(ASKER, address, "8025") == "401"
        assert there.python(ASKER, address, "8025", "Authorization", f"Bearer {TOKEN}") == "200"


@pytest.mark.parametrize("options, mode, text, code, says", [
    ({"desk": "0.0.0.0:8025"}, None, None, 78, "anybody who can reach that address could look"),
    ({"desk": "nowhere"}, None, None, 78, "expected ADDRESS:PORT"),
    ({}, 0o644, TOKEN, 77, "chmod 600"),
    ({}, 0o600, "short", 78, "is no token"),
    ({}, None, None, 66, "No such file"),
])
def test_the_wrong_people_could_look(make_door, options, mode, text, code, says):
    """Then the door does not start, and tarry check says so."""
    door = make_door(start=False)
    door.options.update(desk=f"127.0.0.1:{free_port()}")
    if not options:
        door.options["desk_token_file"] = token_file(door, text, mode) if mode else str(door.folder / "none")
    door.options.update(options)
    door.spawn()
    assert door.process.wait(PATIENCE) == code and says in door.text()
    done = subprocess.run([door.binary, "check", "-c", str(door.config)], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == code and says in done.stderr
    door.process = None


def test_taken_address_is_tried_again(make_door, connect):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        door = make_door(desk=f"127.0.0.1:{port}", greet_pause=0)
        said = door.wait_for(lambda d: d.get("event") == "no_desk")
        assert "Address already in use" in said[0]["msg"]
        assert read_line(connect(door)).startswith(b"220 ")
    door.wait_for(lambda d: d.get("event") == "desk_listening")
    assert metrics(port)["tarry_connections_total", ()] == 1
    assert len(door.events("no_desk")) == 1


def test_program_that_is_not_installed(make_door, connect, scratch):
    folder = scratch / "alone"
    folder.mkdir()
    door = make_door(start=False, greet_pause=0, desk="127.0.0.1:8025")
    for program in ("tarry", "tarry-known"):
        shutil.copy(Path(door.binary).parent / program, folder / program)
    door.binary = str(folder / "tarry")
    door.start()
    assert read_line(connect(door)).startswith(b"220 ")
    said = door.events("no_desk")
    assert len(said) == 1 and "No such file" in said[0]["msg"] and not door.events("role_died")


def test_killed_desk_remembers(make_door, connect):
    door, port = with_desk(make_door, greet_pause="10s")
    s = connect(door)
    s.sendall(b"HELO x\r\n")
    assert read_line(s).startswith(b"554 ")
    events = Events(port)
    events.until(lambda n, d: d["turned"])
    events.close()
    os.kill(desk_pid(door), signal.SIGKILL)
    door.wait_for(lambda d: d.get("event") == "desk_listening", 2)
    events = Events(port)
    _, data = events.next()
    assert [t["client"] for t in data["turned"]] == ["127.0.0.1"] and data["networks"] == [{"network": "127.0.0.0/24", "count": 1, "over": 0}]
    events.close()
    assert metrics(port)["tarry_verdicts_total", (("verdict", "early"),)] == 1


def test_reload_and_upgrade(make_door, connect):
    """The desk of the new configuration goes on where the one before was: the same socket, without a refused connection, and what that remembered."""
    door, port = with_desk(make_door, greet_pause="10s")
    s = connect(door)
    s.sendall(b"HELO x\r\n")
    assert read_line(s).startswith(b"554 ")
    s.close()
    events = Events(port)
    events.until(lambda n, d: d["turned"])
    first = desk_pid(door)
    for n, command in enumerate(("reload", "upgrade", "reload"), 2):
        door.options["greet_pause"] = f"{10 + n}s"
        door.write_config()
        done = subprocess.run([door.binary, command, "-c", str(door.config)], capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stderr
        mta.wait_until(lambda n=n: metrics(port)["tarry_greet_pause_seconds", ()] == 10 + n, "the new desk answers")
        assert json.loads(get(port, "/status.json")[2])["generation"] == n
        door.wait_for(lambda d: d.get("event") == "desk_listening", n)
    with pytest.raises(AssertionError):  # the pages of before are ended, and come again
        while True:
            events.next()
    mta.wait_until(lambda: len(desk_pids(door)) == 1, "the others have ended")
    assert desk_pid(door) != first
    again = Events(port)
    _, data = again.next()
    again.close()
    assert [t["client"] for t in data["turned"]] == ["127.0.0.1"] and data["networks"][0]["count"] == 1
    assert metrics(port)["tarry_verdicts_total", (("verdict", "early"),)] == 1
    # Another address, and none.
    other = free_port()
    for desk in (f"127.0.0.1:{other}", ""):
        door.options["desk"] = desk
        door.write_config()
        assert subprocess.run([door.binary, "reload", "-c", str(door.config)], capture_output=True, timeout=PATIENCE, check=False).returncode == 0
        if desk:
            mta.wait_until(lambda: answers(other), "it is there")
        mta.wait_until(lambda: not answers(port if desk else other), "and no more where it was")
    mta.wait_until(lambda: desk_pid(door) is None, "it has ended")


def answers(port):
    try:
        return get(port, "/metrics")[0] == 200
    except OSError:
        return False


def test_it_has_descriptors_only(make_door):
    door, port = with_desk(make_door)
    events = Events(port)
    events.next()
    get(port, "/metrics")
    pid = desk_pid(door)
    fds = [os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")]
    events.close()
    kinds = {re.sub(r"[0-9]+|:.*", "", f) for f in fds if f not in ("/dev/null", str(door.log_path))}
    assert kinds <= {"socket", "anon_inode", "pipe"}, fds  # memory is mapped, not open
    # Of the door's memory only what is its own can be written.
    maps = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "memfd:" in line]
    assert {m[5].partition(":")[2]: m[1] for m in maps} == {"tarry-metrics": "r--s", "tarry-recent": "r--s", "tarry-health": "r--s", "tarry-desk": "rw-s", "tarry-reach": "r--s"}
    if AS_ROOT:
        import pwd
        assert proc_status(pid, "Uid") == [str(pwd.getpwnam(ACCOUNT).pw_uid)] * 4 and proc_status(pid, "CapEff") == ["0" * 16]
    assert proc_status(pid, "NoNewPrivs") == ["1"]
    # Nobody else has its listening socket for longer than it takes to start.
    linked = subprocess.run(["ldd", Path(door.binary).parent / "tarry"], capture_output=True, text=True, check=True).stdout
    assert "microhttpd" not in linked and "gnutls" not in linked


def test_nobody_can_fill_it_up(build):
    """Three hundred at once: 64 listen, some are told to come later, the others are closed; then there is room again."""
    with Stage(build, seconds=60) as stage:
        pid = int(subprocess.run(["pgrep", "-P", str(stage.process.pid)], capture_output=True, text=True, check=True).stdout)
        before = memory_kb(pid)
        sockets = []
        for _ in range(300):
            s = socket.create_connection(("127.0.0.1", stage.port), timeout=PATIENCE)
            s.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            sockets.append(s)
        answers = {"200": 0, "503": 0, "": 0}
        for s in sockets:
            try:
                answers[s.recv(12)[9:12].decode()] += 1
            except ConnectionResetError:
                answers[""] += 1
        assert answers["200"] == LISTENERS and answers["503"] + answers[""] == 300 - LISTENERS, answers
        assert memory_kb(pid) - before < 24 * 1024
        mta.wait_until(lambda: metrics(stage.port)["tarry_desk_listeners", ()] == LISTENERS, "the page is served beside them")
        for s in sockets:
            s.close()
        mta.wait_until(lambda: metrics(stage.port)["tarry_desk_listeners", ()] == 0, "they are gone")


def test_garbage(build):
    with Stage(build) as stage:
        with socket.create_connection(("127.0.0.1", stage.port), timeout=PATIENCE) as s:
            s.sendall(b"\0" * 100)
            assert get(stage.port, "/status.json")[0] == 200
        for text in (b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"EHLO x\r\n" * 50, b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100000 + b"\r\n\r\n",
                     b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
                     b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"GET /?token=%00%ff%zz&token HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                     b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: " + b",;q=," * 500 + b"\r\nCookie: " + b"=;" * 500 + b"\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", stage.port), timeout=PATIENCE) as s:
                try:
                    s.sendall(text)
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(65536):
                        pass
                except OSError:  # it was closed before we had said all
                    pass
            assert get(stage.port, "/status.json")[0] == 200, text[:40]


def test_flood_of_clients_is_counted_as_missed(build):
    with Stage(build) as stage:
        stage.say("flood", "5000")
        events = Events(stage.port)
        _, data = events.until(lambda n, d: d["missed"])
        assert data["missed"] >= 5000 - 2 * 1024
        events.close()


def test_history_of_a_day(build):
    """What was staged is what is told, to the client."""
    with Stage(build, seconds=90000) as stage:
        events = Events(stage.port)
        _, data = events.next()
        events.close()
        names = ["at", *data["series"]]
        day = [dict(zip(names, p)) for p in data["day"]]
        assert 1435 <= len(day) <= 1439 and all(b["at"] - a["at"] == 60 for a, b in zip(day, day[1:]))
        hour = [dict(zip(names, p)) for p in data["hour"]]
        assert 355 <= len(hour) <= 359
        counters = data["door"]["counters"]
        assert 0.9 < sum(p["early"] for p in day) / (counters["early"] * 86400 / 90000) < 1.1
        assert sum(n for _, n in data["talk"]) == counters["early"]
        # The hour's points and the day's are of the same clients.
        begin, end = hour[0]["at"] // 60 * 60 + 60, day[-1]["at"] + 60
        for what in ("early", "patient", "known", "gone", "refused", "limited"):
            assert sum(p[what] for p in hour if begin <= p["at"] < end) == sum(p[what] for p in day if p["at"] >= begin)
        assert len(data["networks"]) == 20 and data["networks"][0]["count"] > data["networks"][19]["count"] > 0
        assert len(data["turned"]) == 100


def test_events_go_on_over_a_restart(build):
    with Stage(build, seconds=600) as stage:
        first = Events(stage.port)
        _, before = first.next()
        stage.say("kill")
        first.close()
        second = Events(stage.port)
        _, after = second.next()
        second.close()
        assert after["turned"] == before["turned"] and after["hour"][:len(before["hour"]) - 1] == before["hour"][:-1]


def test_grafana_dashboard_names_what_there_is(build):
    """Each expression of the sample asks for metrics, and labels, that /metrics has."""
    dashboard = json.loads((ROOT / "dist/grafana/tarry.json").read_text())
    panels = [p for panel in dashboard["panels"] for p in (panel, *panel.get("panels", []))]
    expressions = [t["expr"] for p in panels for t in p.get("targets", [])]
    queries = [v["query"]["query"] if isinstance(v.get("query"), dict) else v.get("query") for v in dashboard["templating"]["list"] if v["type"] == "query"]
    with Stage(build, seconds=600) as stage:
        have = metrics(stage.port)
    names = {name for name, _ in have}
    labels = {}
    for name, pairs in have:
        labels.setdefault(name, set()).update(p[0] for p in pairs)
    assert len(expressions) >= 12
    for text in [*expressions, *filter(None, queries)]:
        used = re.findall(r"\btarry_\w+", text)
        assert used, text
        for name in used:
            assert name in names, f"{text}: there is no {name}"
        for name, inside in re.findall(r"\b(tarry_\w+)\{([^}]*)\}", text):
            for label in re.findall(r"(\w+)\s*(?:=|!=|=~|!~)", inside):
                assert label in labels[name] | {"job", "instance"}, f"{text}: {name} has no label {label}"
        for inside in re.findall(r"\bby\s*\(([^)]*)\)", text):
            for label in filter(None, re.split(r"[\s,]+", inside)):
                assert any(label in labels[name] for name in used) or label in ("job", "instance"), f"{text}: no label {label}"
    tool = promtool()
    if tool:  # the expressions are PromQL
        rules = {"groups": [{"name": "dashboard", "rules": [{"record": f"x:{i}", "expr": re.sub(r"\$__rate_interval|\$__range|\$__interval", "5m", e).replace("$instance", ".*").replace("$job", ".*")}
                                                          for i, e in enumerate(expressions)]}]}
        path = Path(os.environ.get("TMPDIR", "/tmp")) / f"tarry-rules-{os.getpid()}.yml"
        path.write_text(json.dumps(rules))  # JSON is YAML
        try:
            done = subprocess.run([tool, "check", "rules", str(path)], capture_output=True, text=True, check=False)
        finally:
            path.unlink()
        assert done.returncode == 0, done.stdout + done.stderr
