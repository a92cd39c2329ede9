"""Real mail servers behind a door, each on a machine of its own and set up as its package has it: what a site would have before it reads doc/backends.md,
which then is put over it. All of them take mail for victim@example.org, and know TLS.
"""
import shutil
import signal

import pytest

import page
from door import PATIENCE, pairs
from machine import Machine
from mta import UNPACKED, wait_until

HOME = "/home/victim"
MAILDIR = f"{HOME}/Maildir"
LIMIT = 104857600
CERTIFICATE, KEY = "/etc/ssl/mail.pem", "/etc/ssl/mail.key"


class Peer:
    """prepare() and put() make the configuration, start() begins, kill() is kill -9."""
    packages = ()
    client = "exim4"  # the other mail server, which sends
    chunking = pipelining_after_text = True
    no_tls = None  # why it cannot
    smuggles = None  # why it can be told more than one message
    by_exec = False  # started by the door, for each client
    process = None

    def __init__(self, machine):
        self.machine = machine

    def prepare(self):
        raise NotImplementedError

    def command(self):
        raise NotImplementedError

    def before(self):
        """Each time before it starts."""

    def start(self):
        self.before()
        if self.by_exec:
            return self
        self.process = self.machine.popen(*self.command(), output="/var/log/server")
        self.machine.wait_listens(10025, self.process, self.log)
        return self

    def stop(self, others=frozenset(), number=signal.SIGTERM):
        if self.process:
            self.machine.end(self.process, others, number)
        self.process = None

    def log(self):
        return self.machine.read("/var/log/server") + self.machine.read("/var/log/mail.log")

    def mail(self):
        """Every message in the mailbox, as bytes."""
        return [p.read_bytes() for p in self.mail_paths()]

    def mail_paths(self):
        return list(self.machine.path(MAILDIR).glob("new/*"))

    def forget(self):
        for path in self.mail_paths():
            path.unlink()


class Postfix(Peer):
    packages = ("postfix", "exim4")

    def prepare(self):
        lay_out_postfix(self.machine)
        self.machine.write("/etc/postfix/main.cf", f"""compatibility_level = 3.6
myhostname = mail.example.org
mydestination = example.org, localhost
alias_maps =
home_mailbox = Maildir/
mailbox_size_limit = 0
message_size_limit = {LIMIT}
maillog_file = /var/log/mail.log
smtpd_tls_cert_file = {CERTIFICATE}
smtpd_tls_key_file = {KEY}
smtpd_tls_security_level = may
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
""")
        shutil.copy(self.machine.path("/usr/share/postfix/master.cf.dist"), self.machine.path("/etc/postfix/master.cf"))
        self.machine.write("/etc/postfix/master.cf", self.machine.read("/etc/postfix/master.cf") + POSTLOG)

    def before(self):
        self.machine.path("/var/spool/postfix/pid/master.pid").unlink(missing_ok=True)

    def command(self):
        return ["/usr/lib/postfix/sbin/master", "-c", "/etc/postfix", "-d"]


    def hold(self):
        """What it takes stays in its queue, until release()."""
        self.machine.run("postconf", "defer_transports=local")
        self.machine.run("postfix", "reload")

    def release(self):
        self.machine.run("postconf", "defer_transports=")
        self.machine.run("postfix", "reload")
        self.machine.run("postqueue", "-f")

    def is_idle(self):
        return "Mail queue is empty" in self.machine.run("postqueue", "-p", expect=None).stdout


POSTLOG = "\npostlog unix-dgram n - n - 1 postlogd\n"


def lay_out_postfix(machine):
    """What the package's installation does beside unpacking."""
    machine.account("postfix", home="/var/spool/postfix")
    machine.group("postdrop")
    if not machine.path("/etc/postfix/dynamicmaps.cf").exists():
        shutil.copy(machine.path("/usr/share/postfix/dynamicmaps.cf"), machine.path("/etc/postfix/dynamicmaps.cf"))
    lay_out_queue(machine, "/var/spool/postfix")
    machine.run("install", "-d", "-o", "postfix", "-g", "postfix", "-m", "700", "/var/lib/postfix")


def lay_out_queue(machine, queue):
    own = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace")
    machine.run("install", "-d", queue, f"{queue}/pid")
    machine.run("install", "-d", "-o", "postfix", "-m", "700", *(f"{queue}/{name}" for name in own))
    machine.run("install", "-d", "-o", "postfix", "-g", "postdrop", "-m", "730", f"{queue}/maildrop")
    machine.run("install", "-d", "-o", "postfix", "-g", "postdrop", "-m", "710", f"{queue}/public")


class Exim(Peer):
    """Debian's own configuration, made by its update-exim4.conf. Of its two builds only the large one knows PROXY."""
    packages = ("exim4", "exim4-daemon-heavy", "exim4-config", "postfix")
    client = "postfix"

    def prepare(self):
        m = self.machine
        m.account("Debian-exim", home="/var/spool/exim4")
        m.run("install", "-d", "-o", "Debian-exim", "-g", "Debian-exim", "-m", "750", "/var/spool/exim4", "/var/log/exim4", "/var/lib/exim4")
        m.write("/etc/exim4/update-exim4.conf.conf", """dc_eximconfig_configtype='internet'
dc_other_hostnames='example.org'
dc_local_interfaces=''
dc_readhost=''
dc_relay_domains=''
dc_minimaldns='false'
dc_relay_nets=''
dc_smarthost=''
CFILEMODE='644'
dc_use_split_config='true'
dc_hide_mailname=''
dc_mailname_in_oh='true'
dc_localdelivery='maildir_home'
""")
        m.write("/etc/exim4/conf.d/main/000_localmacros", f"""MAIN_TLS_ENABLE = yes
MAIN_TLS_CERTIFICATE = {CERTIFICATE}
MAIN_TLS_PRIVATEKEY = {KEY}
MESSAGE_SIZE_LIMIT = {LIMIT}
""")
        m.write("/etc/aliases", "")
        m.run("chgrp", "Debian-exim", KEY)

    def before(self):
        self.machine.run("update-exim4.conf")

    def command(self):
        return ["/usr/sbin/exim4", "-bdf", "-q1m"]

    def log(self):
        return super().log() + self.machine.read("/var/log/exim4/mainlog") + self.machine.read("/var/log/exim4/paniclog")


class EximByExec(Exim):
    """The small build, which Debian installs by default."""
    packages = ("exim4", "exim4-config", "postfix")
    by_exec = True


class Sendmail(Peer):
    packages = ("sendmail-bin", "sendmail-cf", "exim4")
    chunking = False
    by_exec = True

    def prepare(self):
        m = self.machine
        m.account("smmta")
        m.account("smmsp")
        m.path("/usr/sbin/sendmail").unlink(missing_ok=True)
        m.path("/usr/sbin/sendmail").symlink_to("/usr/libexec/sendmail/sendmail")
        m.run("install", "-d", "-m", "700", "/var/spool/mqueue")
        m.run("install", "-d", "/etc/mail")
        m.run("install", "-d", "-m", "1777", "/var/mail")
        m.write("/etc/mail/local-host-names", "example.org\n")
        m.write("/etc/mail/service.switch", "hosts files\naliases files\n")
        m.write("/etc/mail/sendmail.mc", f"""divert(0)dnl
include(`/usr/share/sendmail/cf/m4/cf.m4')dnl
OSTYPE(`linux')dnl
define(`confDEF_USER_ID', `mail:mail')dnl
define(`ALIAS_FILE', `')dnl
define(`STATUS_FILE', `/var/lib/sendmail.st')dnl
define(`confCW_FILE', `/etc/mail/local-host-names')dnl
define(`confSERVICE_SWITCH_FILE', `/etc/mail/service.switch')dnl
define(`confTO_IDENT', `0')dnl
define(`confDONT_PROBE_INTERFACES', `True')dnl
define(`confQUEUE_LA', `1000')dnl
define(`confREFUSE_LA', `1000')dnl
define(`confSERVER_CERT', `{CERTIFICATE}')dnl
define(`confSERVER_KEY', `{KEY}')dnl
define(`confCACERT', `{CERTIFICATE}')dnl
define(`confCACERT_PATH', `/etc/ssl/certs')dnl
FEATURE(`use_cw_file')dnl
FEATURE(`local_lmtp', `/usr/libexec/sendmail/mail.local')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
MODIFY_MAILER_FLAGS(`LOCAL', `-A')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
""")

    def before(self):
        m = self.machine
        m.write("/etc/mail/sendmail.cf", m.run("m4", "-D_CF_DIR_=/usr/share/sendmail/cf/", "/etc/mail/sendmail.mc").stdout)
        m.path(KEY).chmod(0o600)

    def log(self):
        return self.machine.read("/var/log/syslog")

    def mail(self):
        box = self.machine.path("/var/mail/victim")
        return [m.lstrip(b"\n").partition(b"\n")[2] for m in (b"\n" + box.read_bytes()).split(b"\nFrom ")[1:]] if box.exists() else []


class Mailfront(Peer):
    """A server of qmail's kind: it reads tcpserver's variables and hands its mail to qmail-queue. Debian has no qmail."""
    packages = ("mailfront", "libbg2", "libcvm1", "exim4")
    chunking = False
    by_exec = True
    no_tls = "smtpfront-qmail knows STARTTLS from its super-server only"
    smuggles = "mailfront takes a bare LF for the end of a line, and no door is between"

    def prepare(self):
        m = self.machine
        m.account("qmaild")
        m.group("nofiles")
        write_qmail_queue(m)
        m.path("/var/lib/qmail").symlink_to("/var/qmail")
        m.run("install", "-d", "/var/qmail/control", "/var/qmail/queue")
        m.write("/var/qmail/control/rcpthosts", "example.org\n")
        m.write("/var/qmail/control/me", "mail.example.org\n")

    def log(self):
        """What it says is in the door's log; whom it sees, in its mail."""
        said = [line for line in self.machine.read("/var/log/tarry").splitlines() if "event=exec_said" in line]
        return "\n".join(said) + b"\n".join(self.mail()).decode("latin-1")


class OpenSMTPD(Peer):
    packages = ("opensmtpd", "exim4")
    chunking = False
    no_tls = "Debian's OpenSMTPD 6.8.0p2 offers STARTTLS and then fails, with and without a door: https://github.com/OpenSMTPD/OpenSMTPD/issues/1171"

    def prepare(self):
        m = self.machine
        for name in ("opensmtpd", "opensmtpq"):
            m.account(name)
        m.run("install", "-d", "/var/lib/opensmtpd/empty")
        m.run("chgrp", "opensmtpq", "/usr/sbin/smtpctl")
        m.run("chmod", "2755", "/usr/sbin/smtpctl")
        m.write("/etc/smtpd.conf", f"""pki mail.example.org cert "{CERTIFICATE}"
pki mail.example.org key "{KEY}"
smtp max-message-size "100M"
listen on 0.0.0.0
action "local" maildir
match from any for domain "example.org" action "local"
""")
        m.path("/etc/smtpd.conf").chmod(0o600)

    def command(self):
        return ["/usr/sbin/smtpd", "-d", "-f", "/etc/smtpd.conf"]

    def hold(self):
        self.machine.run("smtpctl", "pause", "mda")

    def release(self):
        """It has forgotten the pause with its end."""

    def is_idle(self):
        return self.machine.run("smtpctl", "show", "queue").stdout == ""


class Haraka(Peer):
    """From the npm registry; it hands its mail to a qmail-queue."""
    packages = ("postfix",)
    client = "postfix"  # Haraka closes when a client does its half, as Exim does with its QUIT, and says nothing of the message any more
    chunking = pipelining_after_text = False
    where = "/usr/local/lib/haraka"

    def prepare(self):
        m = self.machine
        source = UNPACKED / "haraka"
        if not (source / "node_modules" / "Haraka").exists():
            why = UNPACKED / "haraka.failed"
            pytest.skip("Haraka is not there: " + (why.read_text().strip()[-400:] if why.exists() else "script/setup test fetches it"))
        m.run("mkdir", "-p", self.where)
        m.bind(source, self.where)
        m.run(*self.haraka(), "-i", "/etc/haraka")
        m.write("/etc/haraka/config/plugins", "tls\nrcpt_to.in_host_list\nqueue/qmail-queue\n")
        m.write("/etc/haraka/config/host_list", "example.org\n")
        m.write("/etc/haraka/config/me", "mail.example.org\n")
        shutil.copy(m.path(CERTIFICATE), m.path("/etc/haraka/config/tls_cert.pem"))
        shutil.copy(m.path(KEY), m.path("/etc/haraka/config/tls_key.pem"))
        old = m.read("/etc/haraka/config/connection.ini")
        m.write("/etc/haraka/config/connection.ini", old.replace("bytes=26214400", f"bytes={LIMIT}"))
        write_qmail_queue(m)

    def haraka(self):
        node = f"{self.where}/node_modules/.bin/node"
        return [node if self.machine.path(node).exists() else "node", f"{self.where}/node_modules/Haraka/bin/haraka"]

    def command(self):
        return [*self.haraka(), "-c", "/etc/haraka"]


QMAIL_QUEUE = f"""#!/usr/bin/python3
import mailbox, os, pwd
message = os.fdopen(0, "rb").read()
envelope = os.fdopen(1, "rb").read()
assert envelope.startswith(b"F") and envelope.endswith(b"\\0\\0"), envelope
for name in {{r[1:] for r in envelope.split(b"\\0")[1:] if r}}:
    assert name == b"victim@example.org", name
    mailbox.Maildir("{MAILDIR}").add(message)
"""


def write_qmail_queue(machine):
    """qmail's, as far as who calls it can tell: the message on descriptor 0, the envelope on 1 (qmail-queue(8))."""
    machine.write("/var/qmail/bin/qmail-queue", QMAIL_QUEUE, 0o755)
    for name in ("", "/new", "/tmp", "/cur"):
        machine.run("install", "-d", "-m", "777", MAILDIR + name)


PEERS = {"postfix": Postfix, "exim": Exim, "exim/exec": EximByExec, "opensmtpd": OpenSMTPD, "haraka": Haraka, "sendmail": Sendmail, "mailfront": Mailfront}


class Front:
    """The door on that machine, as the page has it."""

    def __init__(self, machine, binary):
        self.machine, self.binary, self.process = machine, binary, None

    def prepare(self):
        m = self.machine
        m.account("tarry")
        m.write("/etc/tarry/access", "")
        shutil.copy(self.binary, m.path("/usr/local/bin/tarry"))

    def start(self, *options):
        """Options as tarry serve has them on its command line; the pause is shorter than the page's, for the tests' sake."""
        self.machine.write("/var/log/tarry", "")
        self.process = self.machine.popen("/usr/local/bin/tarry", "serve", "-o", "greet_pause=200ms", "-o", "explore=0", *options, output="/var/log/tarry")
        wait_until(lambda: self.events("listening") or self.process.poll() is not None, "the door listens")
        assert self.process.poll() is None, self.text()
        return self

    def text(self):
        return self.machine.read("/var/log/tarry")

    def log(self):
        return [pairs(line) for line in self.text().splitlines()]

    def events(self, name):
        return [d for d in self.log() if d.get("event") == name]

    def verdicts(self, name, **wanted):
        return [d for d in self.log() if d.get("verdict") == name and all(d.get(k) == v for k, v in wanted.items())]

    def wait_verdict(self, name, count=1, **wanted):
        wait_until(lambda: len(self.verdicts(name, **wanted)) >= count, f"{count} × {name} {wanted}")
        return self.verdicts(name, **wanted)[-1]

    def members(self):
        return self.machine.tree(self.process.pid)

    def stop(self):
        if self.process is None:
            return
        self.machine.end(self.process, self.machine.members() - self.members())
        code = self.process.returncode
        assert code == 0, f"the door ended with {code}:\n{self.text()[-4000:]}"


class Pair:
    """A door and a server behind it, in one of the page's ways."""

    def __init__(self, way, folder, binary):
        self.blocks = page.of_way(way)
        self.machine = Machine(folder)
        self.peer = (PEERS.get(way) or PEERS[way.partition("/")[0]])(self.machine)
        self.front = Front(self.machine, binary)

    def start(self):
        m = self.machine
        m.start(*self.peer.packages)
        m.account("victim", home=HOME, make=True)
        certificate(m)
        self.front.prepare()
        self.peer.prepare()
        for block in self.blocks:
            block.put(m)
        check = m.run("/usr/local/bin/tarry", "check", expect=None)
        assert check.returncode == 0, check.stdout + check.stderr
        self.peer.start()
        self.front.start()
        return self

    def stop(self):
        try:
            self.front.stop()
        finally:
            self.machine.stop()

    def subjects(self):
        """What is in the mailbox, by subject, each as often as it is there."""
        found = {}
        for raw in self.peer.mail():
            found.setdefault(subject_of(raw), []).append(raw)
        return found

    def wait_mail(self, subject, patience=PATIENCE):
        """The one message of that subject."""
        wait_until(lambda: subject in self.subjects(), lambda: f"{subject} in the mailbox:\n{self.peer.log()[-3000:]}\n{self.front.text()[-2000:]}", patience)
        got = self.subjects()[subject]
        assert len(got) == 1
        return got[0]


def subject_of(raw):
    for line in raw.split(b"\n\n")[0].replace(b"\r", b"").split(b"\n"):
        if line.lower().startswith(b"subject:"):
            return line[8:].strip().decode("latin-1")
    return ""


def certificate(machine):
    machine.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=mail.example.org",
                "-addext", "subjectAltName=DNS:mail.example.org", "-keyout", KEY, "-out", CERTIFICATE)
    machine.path(KEY).chmod(0o640)
