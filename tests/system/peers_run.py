"""Each mail server as doc/peers.md has it, on a machine of its own, and what `tarry probe --all` says of it. script/peers runs this; no test does.

The servers are those of peers.py, here on port 25 without a door, with the feature that each has against clients that talk early, and, where they know the PROXY
protocol, believing a header from one address.
"""
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import page
from door import ROOT
from machine import OTHER4, SERVER4, Machine
from mta import UNPACKED, wait_until
from peers import HOME, Exim, Front, Haraka, OpenSMTPD, Postfix, Sendmail, certificate

# Each act comes from an address of its own, so that none is known from another: of those for benchmarks (RFC 2544), since Haraka exempts those for documentation.
CLIENTS, CLIENTS_INSIDE, CLIENTS_BEHIND = "198.18.0.0/26", "198.18.0.64/26", "198.18.0.128/26"
FETCHED = ROOT / "build-peers"
PAUSE = 1                   # seconds, where a number is to be chosen
EARLY_TALKER = "1.0.2"


def deb_version(package):
    """As in the name of the file that it was unpacked from."""
    found = sorted((UNPACKED / "deb").glob(f"{package}_*.deb"))
    return found[-1].name.split("_")[1].replace("%3a", ":") if found else "?"


class Way:
    """How one server is reached, and what for."""

    def __init__(self, *options, host=SERVER4, port=25):
        self.options, self.at = options, f"{host}:{port}"


CLEAR = Way("--clear", "--source", CLIENTS)
INSIDE = Way("--starttls", "--source", CLIENTS_INSIDE)


class Server:
    """name: its column. prepare() and start() as of the classes in peers.py; ways: what is tried, by name of the table."""
    name = ""
    configured = ""  # for the page: beyond what the package has
    ways = {"clear": CLEAR, "starttls": INSIDE}
    no_tls = None

    def __init__(self, folder, binary):
        self.machine, self.binary = Machine(folder), binary

    def start(self):
        m = self.machine
        m.start(*self.packages())
        m.run("ip", "route", "add", "local", "198.18.0.0/24", "dev", "lo")
        m.account("victim", home=HOME, make=True)
        certificate(m)
        for program in ("tarry", "tarry-tls"):
            shutil.copy(self.binary.parent / program, m.path(f"/usr/local/bin/{program}"))
        self.begin()
        return self

    def packages(self):
        raise NotImplementedError

    def version(self):
        raise NotImplementedError

    def begin(self):
        raise NotImplementedError

    def stop(self):
        self.machine.stop()

    def probe(self, way):
        done = self.machine.run("/usr/local/bin/tarry", "probe", "--all", "--json", "--to", "victim@example.org", "--helo", "client.example.net", "--timeout", "20s", *way.options, way.at,
                                expect=None, patience=900)
        if not done.stdout:
            raise RuntimeError(f"{self.name}: {done.stderr}")
        return json.loads(done.stdout)

    def results(self):
        return {"name": self.name, "version": self.version(), "configured": self.configured, "no_tls": self.no_tls,
                "ways": {name: self.probe(way) for name, way in self.ways.items()}}


class OnPort25(Server):
    """One of peers.py, in front."""
    peer_class = None
    listens = (25,)

    def packages(self):
        return self.peer_class.packages

    def begin(self):
        self.peer = self.peer_class(self.machine)
        self.peer.prepare()
        self.configure()
        self.peer.before()
        self.process = self.machine.popen(*self.command(), output="/var/log/server")
        for port in self.listens:
            self.machine.wait_listens(port, self.process, self.peer.log)

    def configure(self):
        raise NotImplementedError

    def command(self):
        return self.peer.command()

    def append(self, path, text):
        self.machine.write(path, self.machine.read(path) + text)


def proxy_way(version, port=25):
    """Through a header, from the address that is believed; who the client is, is in it."""
    return Way("--clear", "--source", OTHER4, "--proxy", version, "--proxy-source", CLIENTS_BEHIND, port=port)


class SendmailAlone(OnPort25):
    name, peer_class = "Sendmail", Sendmail
    configured = f"`FEATURE(`greet_pause', `{PAUSE}000')`"

    def version(self):
        return deb_version("sendmail-bin")

    def configure(self):
        mc = self.machine.read("/etc/mail/sendmail.mc").replace("MAILER(`local')", f"FEATURE(`greet_pause', `{PAUSE}000')dnl\nMAILER(`local')", 1)
        self.machine.write("/etc/mail/sendmail.mc", mc)

    def command(self):
        return ["/usr/libexec/sendmail/sendmail", "-bD", "-q1m"]


class PostfixAlone(OnPort25):
    name, peer_class = "Postfix", Postfix
    configured = "nothing: it has no pause without postscreen"
    listens = (25, 2525)
    ways = {"clear": CLEAR, "starttls": INSIDE, "proxy": proxy_way("v2", 2525)}

    def version(self):
        return deb_version("postfix")

    def configure(self):
        self.append("/etc/postfix/master.cf", "2525 inet n - y - - smtpd -o smtpd_upstream_proxy_protocol=haproxy\n")


class Postscreen(PostfixAlone):
    name = "postscreen"
    configured = "`postscreen_greet_action = enforce`; its pause of 6 s and its teaser are as they come"
    settings = "postscreen_greet_action = enforce\n"

    def configure(self):
        m = self.machine
        m.write("/etc/postfix/main.cf", m.read("/etc/postfix/main.cf") + self.settings)
        master = re.sub(r"^smtp +inet .*\n", "", m.read("/etc/postfix/master.cf"), flags=re.M)
        m.write("/etc/postfix/master.cf", master + """smtp inet n - y - 1 postscreen
2525 inet n - y - 1 postscreen
  -o postscreen_upstream_proxy_protocol=haproxy -o postscreen_cache_map=btree:$data_directory/postscreen_proxy_cache
smtpd pass - - y - - smtpd
tlsproxy unix - - y - 0 tlsproxy
dnsblog unix - - y - 0 dnsblog
""")


class PostscreenDeep(Postscreen):
    name = "postscreen, all tests"
    configured = "as before, and its tests after the greeting: `postscreen_pipelining_enable`, `postscreen_non_smtp_command_enable`, `postscreen_bare_newline_enable = yes`"
    settings = Postscreen.settings + "postscreen_pipelining_enable = yes\npostscreen_non_smtp_command_enable = yes\npostscreen_bare_newline_enable = yes\n"


class EximAlone(OnPort25):
    name, peer_class = "Exim", Exim
    configured = f"`acl_smtp_connect` with `delay = {PAUSE}s`"

    def version(self):
        return deb_version("exim4-daemon-heavy")

    ways = {"clear": CLEAR, "starttls": INSIDE, "proxy": proxy_way("v2")}

    def configure(self):
        m = self.machine
        m.write("/etc/exim4/conf.d/main/00_peers", f"acl_smtp_connect = acl_pause\nhosts_proxy = {OTHER4}\n")
        m.write("/etc/exim4/conf.d/acl/00_peers", f"acl_pause:\n  accept\n    delay = {PAUSE}s\n")


class EximStrict(EximAlone):
    name = "Exim, no PIPECONNECT"
    configured = "as before, and `pipelining_connect_advertise_hosts = :`"

    def configure(self):
        super().configure()
        self.append("/etc/exim4/conf.d/main/00_peers", "pipelining_connect_advertise_hosts = :\n")


class OpenSMTPDAlone(OnPort25):
    name, peer_class = "OpenSMTPD", OpenSMTPD
    configured = "nothing: it has no pause"
    no_tls = OpenSMTPD.no_tls
    listens = (25, 2525)
    ways = {"clear": CLEAR, "proxy": proxy_way("v2", 2525)}

    def version(self):
        return deb_version("opensmtpd")

    def configure(self):
        m = self.machine
        m.write("/etc/smtpd.conf", m.read("/etc/smtpd.conf").replace("listen on 0.0.0.0\n", "listen on 0.0.0.0\nlisten on 0.0.0.0 port 2525 proxy-v2\n"), 0o600)


class HarakaAlone(OnPort25):
    name, peer_class = "Haraka", Haraka
    configured = f"the plugin `early_talker` {EARLY_TALKER}, `pause={PAUSE}`"
    ways = {"clear": CLEAR, "starttls": INSIDE, "proxy": proxy_way("v1")}

    def version(self):
        return json.loads((UNPACKED / "haraka/node_modules/Haraka/package.json").read_text())["version"]

    def configure(self):
        m = self.machine
        plugin = FETCHED / "early_talker"
        if not (plugin / "node_modules").exists():
            plugin.mkdir(parents=True, exist_ok=True)
            subprocess.run(["npm", "install", "--prefix", str(plugin), "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error",
                            f"haraka-plugin-early_talker@{EARLY_TALKER}"], check=True, timeout=300)
        shutil.copytree(plugin / "node_modules", m.path("/etc/haraka/node_modules"), dirs_exist_ok=True)
        m.write("/etc/haraka/config/plugins", "early_talker\n" + m.read("/etc/haraka/config/plugins"))
        m.write("/etc/haraka/config/early_talker.ini", f"[main]\npause={PAUSE}\nreject=true\n[ip_whitelist]\n")
        connection = m.read("/etc/haraka/config/connection.ini")
        m.write("/etc/haraka/config/connection.ini", re.sub(r"^;?hosts\[\] *=.*$", f"hosts[] = {OTHER4}", connection, count=1, flags=re.M))
        m.write("/etc/haraka/config/smtp.ini", re.sub(r"^;?listen=.*$", "listen=0.0.0.0:25", m.read("/etc/haraka/config/smtp.ini"), count=1, flags=re.M))


TARRY = f"""hostname    = "mail.example.org"
greet_pause = {PAUSE}s
explore     = 0
accept_domains = {{ "example.org" }}
maildir     = "/var/spool/tarry/%d/%u"
max_per_client = 0
listen "0.0.0.0:25" {{ }}
listen "0.0.0.0:2525" {{ proxy = yes  trust = {{ "{OTHER4}" }} }}
"""


class Tarry(Server):
    name = "Tarry alone"
    configured = f"`greet_pause = {PAUSE}s`, a certificate; the mail server inside"
    ways = {"clear": CLEAR, "starttls": INSIDE, "proxy": proxy_way("v2", 2525)}
    more = f'tls_certificate = "/etc/ssl/tarry.pem"\ntls_key = "/etc/ssl/tarry.key"\n'

    def packages(self):
        return ()

    def version(self):
        return subprocess.run([str(self.binary), "version"], capture_output=True, text=True, check=True).stdout.split()[-1]

    def begin(self):
        m = self.machine
        m.account("tarry")
        m.run("install", "-d", "-o", "tarry", "-g", "tarry", "/var/spool/tarry")
        for kind in ("pem", "key"):
            shutil.copy(m.path(f"/etc/ssl/mail.{kind}"), m.path(f"/etc/ssl/tarry.{kind}"))
        m.write("/etc/tarry/tarry.conf", self.more + TARRY)
        self.serve()

    def serve(self):
        """With the teaser, if this Tarry has one."""
        if self.machine.run("/usr/local/bin/tarry", "check", "-o", "greet_teaser=yes", expect=None).returncode == 0:
            self.machine.write("/etc/tarry/tarry.conf", "greet_teaser = yes\n" + self.machine.read("/etc/tarry/tarry.conf"))
            self.configured = "`greet_teaser = yes`, " + self.configured
        front = Front(self.machine, self.binary)
        self.machine.write("/var/log/tarry", "")
        front.process = self.machine.popen("/usr/local/bin/tarry", "serve", output="/var/log/tarry")
        wait_until(lambda: len(front.events("listening")) >= 2 or front.process.poll() is not None, "the door listens")
        if front.process.poll() is not None:
            raise RuntimeError(front.text())


class TarryBeforePostfix(Tarry):
    name = "Tarry before Postfix"
    configured = f"`greet_pause = {PAUSE}s`; Postfix behind it as in [backends.md](backends.md#postfix), by PROXY v2; its TLS is Postfix's"
    more = ""

    def packages(self):
        return Postfix.packages

    def version(self):
        return f"{super().version()}, {deb_version('postfix')}"

    def begin(self):
        m = self.machine
        peer = Postfix(m)
        m.write("/etc/tarry/access", "")
        peer.prepare()
        for block in page.of_way("postfix/proxy-v2"):
            block.put(m)
        m.write("/etc/tarry/tarry.conf", TARRY + 'backend "postfix" { address = "smtp:127.0.0.1:10025"  proxy = v2 }\n')
        m.account("tarry")
        peer.start()
        self.serve()


SERVERS = {"sendmail": SendmailAlone, "postfix": PostfixAlone, "postscreen": Postscreen, "postscreen-deep": PostscreenDeep, "exim": EximAlone, "exim-strict": EximStrict, "opensmtpd": OpenSMTPDAlone,
           "haraka": HarakaAlone, "tarry": Tarry, "tarry-postfix": TarryBeforePostfix}


def run(key, binary):
    """What there is to say of that server, as it is kept."""
    with tempfile.TemporaryDirectory(prefix="tarry-peers-") as folder:
        server = SERVERS[key](Path(folder), binary)
        try:
            return server.start().results()
        finally:
            server.stop()
