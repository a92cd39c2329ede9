"""Real mail servers that a door starts on a client's socket: Exim, Sendmail and mailfront from Debian's packages, unpacked into build-mta by script/setup.

Each says how it is started (section()), and what reached its mailbox (messages()). They find their accounts, names and mailboxes where Debian has them: under() gives a
door a mount namespace in which those are ours.
"""
import os
import platform
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from mta import OWNER, needs_root, unpacked


def write(path, text, mode=0o644):
    path.write_text(text)
    path.chmod(mode)
    return path


class Inetd:
    """A folder for it; mounts: what it finds in the place of what the machine has there."""
    user = ""
    recipient = "victim@example.org"

    def __init__(self, folder):
        needs_root()
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o755)
        self.mounts = {}
        self.prepare()

    def section(self, more=""):
        arguments = ", ".join('"%s"' % a for a in self.arguments())
        return 'backend "%s" { exec = { %s }  %s  %s }' % (type(self).__name__.lower(), arguments, f'user = "{self.user}"' if self.user else "", more)

    def under(self, binary):
        """The door's binary, started where the mounts are."""
        if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
            pytest.skip("no mount namespace of one's own is allowed here")
        binds = "".join(f"mount --bind {ours} {theirs} && " for theirs, ours in self.mounts.items())
        inside = write(self.folder / "inside", f'#!/bin/sh\n{binds}exec "$@"\n', 0o755)
        return write(self.folder / "door", f'#!/bin/sh\nexec unshare -m {inside} {binary} "$@"\n', 0o755)


class Exim(Inetd):
    """exim4 -bs, begun as root; it delivers as its own account, into a Maildir. Its package compiled an account in."""
    user = "root"

    def prepare(self):
        self.binary = unpacked("exim4/usr/sbin/exim4")
        for name in ("spool", "log", "mail"):
            (self.folder / name).mkdir()
            shutil.chown(self.folder / name, OWNER, OWNER)
        for name, row in (("passwd", "Debian-exim:x:64042:64042::/nonexistent:/usr/sbin/nologin\n"), ("group", "Debian-exim:x:64042:\n")):
            text = Path("/etc", name).read_text()
            self.mounts[f"/etc/{name}"] = write(self.folder / name, text if "Debian-exim" in text else text + row)
        self.config = write(self.folder / "exim.conf", f"""
exim_path = {self.binary}
exim_user = {OWNER}
exim_group = {OWNER}
spool_directory = {self.folder}/spool
log_file_path = {self.folder}/log/%s
primary_hostname = exim.example.org
keep_environment =
tls_advertise_hosts =
acl_smtp_rcpt = check_rcpt
begin acl
check_rcpt:
  accept domains = example.org
  deny
begin routers
local:
  driver = accept
  transport = mailbox
begin transports
mailbox:
  driver = appendfile
  directory = {self.folder}/mail/victim
  maildir_format
  user = {OWNER}
""")

    def arguments(self):
        return [self.binary, "-bs", "-C", self.config, "-odi"]

    def messages(self):
        return [p.read_text() for p in (self.folder / "mail/victim/new").glob("*")]

    def log(self):
        return "".join(p.read_text() for p in (self.folder / "log").glob("*"))


class Sendmail(Inetd):
    """sendmail -bs, begun as root, which delivers through mail.local."""
    user = "root"
    recipient = "nobody@example.org"

    def prepare(self):
        self.programs = unpacked("sendmail-bin/usr/libexec/sendmail")
        m4 = unpacked("sendmail-cf/usr/share/sendmail/cf")
        (self.folder / "queue").mkdir(mode=0o700)
        (self.folder / "mail").mkdir()
        (self.folder / "mail").chmod(0o1777)
        self.mounts["/var/mail"] = self.folder / "mail"
        self.mounts["/etc/hosts"] = write(self.folder / "hosts", f"127.0.0.1 localhost\n127.0.1.1 sendmail.example.org {platform.node()}\n")
        write(self.folder / "switch", "hosts files\naliases files\n")
        mc = write(self.folder / "sendmail.mc", f"""divert(0)dnl
include(`{m4}/m4/cf.m4')dnl
OSTYPE(`linux')dnl
define(`confDEF_USER_ID', ``daemon:daemon'')dnl
define(`QUEUE_DIR', `{self.folder}/queue')dnl
define(`STATUS_FILE', `{self.folder}/statistics')dnl
define(`confPID_FILE', `{self.folder}/pid')dnl
define(`ALIAS_FILE', `')dnl
define(`confDOMAIN_NAME', `sendmail.example.org')dnl
define(`confDELIVERY_MODE', `interactive')dnl
define(`confQUEUE_LA', `1000')dnl
define(`confREFUSE_LA', `1000')dnl
define(`confSERVICE_SWITCH_FILE', `{self.folder}/switch')dnl
define(`confTO_IDENT', `0')dnl
FEATURE(`local_lmtp', `{self.programs}/mail.local')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
MODIFY_MAILER_FLAGS(`LOCAL', `-A')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
LOCAL_CONFIG
Cwexample.org
""")
        cf = subprocess.run(["m4", f"-D_CF_DIR_={m4}/", mc], capture_output=True, text=True, check=True).stdout
        self.config = write(self.folder / "sendmail.cf", cf)

    def arguments(self):
        return [self.programs / "sendmail", "-bs", f"-C{self.config}"]

    def messages(self):
        box = self.folder / "mail" / "nobody"
        return ("\n" + box.read_text()).split("\nFrom ")[1:] if box.exists() else []


class Mailfront(Inetd):
    """mailfront's SMTP with its queuedir, a server of the UCSPI kind as qmail-smtpd is: it never asks the socket, but reads the variables. Runs as the door does."""

    def prepare(self):
        self.root = unpacked("mailfront/usr")
        libraries = [str(unpacked(name).parent) for name in ("libbg2/usr/lib/libbg.so.2", "libcvm1/usr/lib/libcvm-v2client.so.1")]
        nobody = pwd.getpwnam("nobody")
        for name in ("queue", "queue/new", "queue/tmp"):
            (self.folder / name).mkdir()
            os.chown(self.folder / name, nobody.pw_uid, nobody.pw_gid)
        write(self.folder / "rules", ":sender\nk*:*\n:recipient\nk*:*\n")
        self.variables = {"LD_LIBRARY_PATH": ":".join(libraries), "MODULE_PATH": f"{self.root}/lib/mailfront", "QUEUEDIR": f"{self.folder}/queue", "MAILRULES": f"{self.folder}/rules"}

    def arguments(self):
        return ["/usr/bin/env", *(f"{k}={v}" for k, v in self.variables.items()), f"{self.root}/sbin/mailfront", "smtp", "queuedir", "mailrules", "add-received"]

    def messages(self):
        return [p.read_bytes().partition(b"\0\0")[2].decode() for p in (self.folder / "queue/new").iterdir()]
