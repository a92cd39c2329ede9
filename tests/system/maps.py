"""Real servers of maps for the tests: Sendmail's makemap, Redis and slapd from Debian's packages, unpacked into build-mta by script/setup and run from there,
each on a loopback port or a socket in a folder of its own. And `Fronts`, which stands for a door: it starts tarry-lookup and asks it (fronts.c)."""
import os
import queue
import re
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.parse
from pathlib import Path

from door import COMPLAINTS, PATIENCE, pairs
from mta import answers, end_session, free_port, unpacked, wait_until

SUFFIX = "dc=example,dc=org"


def makemap(folder, text, kind="hash", options=(), name="access"):
    """access.db in the folder, made by Sendmail's own makemap; the map's name."""
    folder = Path(folder)
    (folder / "empty.cf").touch()
    done = subprocess.run([str(unpacked("sendmail-bin/usr/libexec/sendmail/makemap")), "-C", str(folder / "empty.cf"), *options, kind, str(folder / name)],
                          input=text, text=True, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / f"{name}.db").chmod(0o644)
    return f"hash:{folder / name}"


def freeze(pid):
    """Stops it, and returns when the last of its threads has stopped."""
    def stopped():
        return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in Path(f"/proc/{pid}/task").glob("*/stat"))
    os.kill(pid, signal.SIGSTOP)
    wait_until(stopped, f"process {pid} has stopped")


class Server:
    """A process that can be stopped, gone on with, killed and started again."""

    def start(self):
        with open(self.folder / "output", "ab") as out:
            self.process = subprocess.Popen(self.command, env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            start_new_session=True, cwd=self.folder, executable=self.executable)
        wait_until(lambda: self.up() or self.process.poll() is not None, f"{self.command[0]} is up")
        assert self.process.poll() is None, (self.folder / "output").read_text()
        return self

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE)

    def hang(self):
        freeze(self.process.pid)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        self.go_on()
        end_session(self.process)


class Redis(Server):
    environment = {}

    def __init__(self, folder, password=None):
        self.folder, self.password, self.port = Path(folder), password, free_port()
        self.socket = self.folder / "redis.sock"
        self.executable = str(unpacked("redis/usr/bin/redis-server"))
        self.command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.socket), "--unixsocketperm", "777", "--save", "",
                        "--appendonly", "no", "--dir", str(self.folder)] + (["--requirepass", password] if password else [])

    def up(self):
        return answers(self.port)

    def do(self, *words, db=0):
        cli = unpacked("redis/usr/bin/redis-cli")
        auth = ["-a", self.password, "--no-auth-warning"] if self.password else []
        done = subprocess.run([str(cli), "-p", str(self.port), "-n", str(db), *auth, *words], capture_output=True, text=True, timeout=PATIENCE, check=True)
        return done.stdout.strip()

    def url(self, options="", db=""):
        return f"redis://127.0.0.1:{self.port}/{db}{'?' + options if options else ''}"


class Slapd(Server):
    def __init__(self, folder, tls=False):
        self.folder, self.port = Path(folder), free_port()
        root = unpacked("slapd/usr/sbin/slapd").parents[2]
        library = next(root.glob("usr/lib/*/libslapi[.-]*")).parent
        self.environment = {"LD_LIBRARY_PATH": str(library)}
        self.executable = str(root / "usr/sbin/slapd")
        self.command = ["slapd", "-h", f"ldap://127.0.0.1:{self.port}/", "-f", str(self.folder / "slapd.conf"), "-d", "0"]
        (self.folder / "data").mkdir()
        if tls:
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                            "subjectAltName=IP:127.0.0.1", "-keyout", str(self.folder / "key.pem"), "-out", str(self.folder / "cert.pem")],
                           check=True, capture_output=True, timeout=PATIENCE)
            (self.folder / "cert.pem").chmod(0o644)
        text = "EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15"
        names = ("sendmailMTACluster", "sendmailMTAHost", "sendmailMTAMapName", "sendmailMTAKey", "sendmailMTAMapValue")
        schema = "".join(f"attributetype ( 2.25.77.1.{n} NAME '{name}' {text} )\n" for n, name in enumerate(names))
        (self.folder / "slapd.conf").write_text(f"""include {root}/etc/ldap/schema/core.schema
{schema}objectclass ( 2.25.77.2.1 NAME 'sendmailMTAMapObject' SUP top STRUCTURAL MUST sendmailMTAMapName MAY ( cn $ {" $ ".join(names)} ) )
pidfile {self.folder}/pid
modulepath {root}/usr/lib/ldap
moduleload back_mdb
{f'''TLSCertificateFile {self.folder}/cert.pem
TLSCertificateKeyFile {self.folder}/key.pem''' if tls else ''}
database mdb
suffix "{SUFFIX}"
rootdn "cn=admin,{SUFFIX}"
rootpw secret
directory {self.folder}/data
maxsize 10485760
access to dn.subtree="ou=closed,{SUFFIX}" by users read by * auth
access to * by * read
""")

    def up(self):
        return answers(self.port)

    def load(self, *entries):
        """(rdn, {attribute: value or values}); before it is started."""
        text = f"dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\no: x\ndc: example\n\n"
        for rdn, attributes in entries:
            text += f"dn: {rdn},{SUFFIX}\n"
            for name, values in attributes.items():
                for value in [values] if isinstance(values, str) else values:
                    text += f"{name}: {value}\n"
            text += "\n"
        done = subprocess.run([self.executable, "-T", "add", "-f", str(self.folder / "slapd.conf")], input=text, text=True, env={**os.environ, **self.environment},
                              capture_output=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stderr
        return self

    def url(self, rest="", base=SUFFIX):
        return f"ldap://127.0.0.1:{self.port}/{urllib.parse.quote(base, safe='=')}{rest}"


def entry(key, value, **more):
    """One of Sendmail's entries; sendmailMTAKey may have several values."""
    name = re.sub(r"[^a-z0-9]", "-", (key if isinstance(key, str) else key[0]).lower())
    return f"cn={name}", {"objectClass": "sendmailMTAMapObject", "sendmailMTAMapName": "access", "sendmailMTAKey": key, "sendmailMTAMapValue": value, **more}


class Farewells:
    """An LDAP server that has no entry, and on each connection answers the first question, after a notification that nobody knows, and instead of the second says that it is going away (RFC 4511 4.4.1).
    idle: it does so as soon as the first is answered, as one that ends connections which nobody uses. Messages are long, by a control that nobody knows either."""

    SEARCH, LONG = 0x63, 1 << 20

    def __init__(self, idle=False):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.idle, self.said, self.unheard = self.listener.getsockname()[1], idle, 0, 0
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client, client.makefile("rb") as f:
                try:
                    self.converse(client, f)
                except OSError:
                    pass

    def converse(self, client, f):
        number, _ = self.request(f)
        if not number:
            return
        client.sendall(self.notification(b"1.2.3.4", 0, b"", self.LONG) + self.element(0x30, number + self.element(0x65, self.result(0, b""))))
        if not self.idle:
            _, what = self.request(f)
        if self.idle or what == self.SEARCH:
            client.sendall(self.notification(b"1.3.6.1.4.1.1466.20036", 52, b"nobody uses it" if self.idle else b"", 0 if self.idle else self.LONG))
            self.said += 1
        while self.idle and (what := self.request(f)[1]):
            self.unheard += what == self.SEARCH

    @staticmethod
    def element(tag, content):
        return struct.pack("!BBI", tag, 0x84, len(content)) + content

    def result(self, code, text):
        return self.element(0x0a, bytes([code])) + self.element(0x04, b"") + self.element(0x04, text)

    def notification(self, name, code, text, size):
        control = self.element(0xa0, self.element(0x30, self.element(0x04, b"1.2.3.5") + self.element(0x04, b"x" * size)))
        return self.element(0x30, self.element(0x02, b"\0") + self.element(0x78, self.result(code, text) + self.element(0x8a, name)) + control)

    @staticmethod
    def request(f):
        """The element with its number, and its kind; b"" and 0 at the end."""
        head = f.read(2)
        if len(head) < 2:
            return b"", 0
        n = int.from_bytes(f.read(head[1] & 0x7f), "big") if head[1] & 0x80 else head[1]
        content = f.read(n)
        return (content[:2 + content[1]], content[2 + content[1]]) if len(content) == n else (b"", 0)

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Fronts:
    """Two fronts and some lookup processes. ask() returns (result, …) for each search: ("found", index, value), ("none",), ("failed", reason)."""

    def __init__(self, program, lookup, folder, maps, workers=2, timeout=5000, ttl=0):
        self.log_path = Path(folder) / "fronts.log"
        self.answers, self.pids, self.serial = {}, {}, 0
        self.news = queue.Queue()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([str(program), str(lookup), str(workers), str(timeout), str(ttl), *maps], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=log)
        threading.Thread(target=self.listen, daemon=True).start()
        wait_until(lambda: len(self.pids) == workers, "the lookup processes have been started")

    def listen(self):
        for line in self.process.stdout:
            word = line.decode().split()
            if word[0] == "worker":
                self.pids[int(word[1])] = int(word[2])
            else:
                self.answers[word[1]] = int(word[2]), [self.parse(w) for w in word[3:]]

    @staticmethod
    def parse(word):
        kind, *rest = word.split(":")
        if kind == "found":
            return ("found", int(rest[0]), urllib.parse.unquote(rest[2], "latin-1")) + (("cut",) if rest[1] == "1" else ())
        return (kind, *(urllib.parse.unquote(r, "latin-1") for r in rest))

    def send(self, *searches, front=0, at=0):
        """Each search is a list of keys; the tag to wait for."""
        self.serial += 1
        tag = f"t{self.serial}"
        words = " | ".join(" ".join(urllib.parse.quote(k, safe=":=.", encoding="latin-1") for k in keys) for keys in searches)
        self.process.stdin.write(f"ask {front} {tag} {at} {words}\n".encode())
        self.process.stdin.flush()
        return tag

    def wait(self, tag, patience=PATIENCE):
        wait_until(lambda: tag in self.answers or self.process.poll() is not None, f"an answer to {tag}:\n{self.text()[-3000:]}", patience)
        return self.answers[tag][1]

    def ask(self, *searches, front=0, at=0):
        return self.wait(self.send(*searches, front=front, at=at))

    def one(self, key, front=0, at=0):
        return self.ask([key], front=front, at=at)[0]

    def milliseconds(self, tag):
        return self.answers[tag][0]

    def until(self, key, wanted, at=0, patience=40):
        """Asks until the answer is that; for what comes back by itself."""
        deadline = time.monotonic() + patience
        while (got := self.one(key, at=at)) != wanted:
            assert time.monotonic() < deadline, f"still {got}\n{self.text()[-3000:]}"
            time.sleep(0.05)

    def text(self):
        return self.log_path.read_text(errors="replace")

    def events(self, name, **wanted):
        found = [d for d in map(pairs, self.text().splitlines()) if d.get("event") == name]
        return [d for d in found if all(v in d.get(k, "") for k, v in wanted.items())]

    def stop(self):
        for pid in self.pids.values():
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
        self.process.stdin.close()
        code = self.process.wait(PATIENCE)
        text = self.text()
        assert not [c for c in COMPLAINTS if c in text], text[-8000:]
        assert code == 0, text[-4000:]
        assert not [p for p in self.pids.values() if Path(f"/proc/{p}").exists()], "lookup processes are left"
