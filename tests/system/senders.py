"""Who sends mail to the door of a machine: another real mail server, openssl, swaks, and a client that says what a test tells it to."""
import re
import subprocess

from machine import CLIENT4, SERVER4
from mta import wait_until
from peers import lay_out_postfix, lay_out_queue
from talk import read_line

SENDER, RECIPIENT = "sender@example.net", "victim@example.org"


# ---- other mail servers ----------------------------------------------------------------------------------------------------------------

EXIM = f"""exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = /var/spool/exim-client
log_file_path = /var/log/exim-client/%%s
primary_hostname = client.example.net
keep_environment =
trusted_users = root
tls_advertise_hosts =
qualify_domain = example.net
begin routers
door:
  driver = manualroute
  domains = *
  transport = door
  route_list = * {SERVER4} byname
  self = send
begin transports
door:
  driver = smtp
  interface = {CLIENT4}
  %s
begin retry
* * F,1h,1m
"""


def send_by_exim(machine, message, tls):
    """At once, or it fails. With CHUNKING and STARTTLS where they are offered, as is its habit."""
    machine.account("Debian-exim", home="/var/spool/exim4")
    machine.run("install", "-d", "-o", "Debian-exim", "-g", "Debian-exim", "/var/spool/exim-client", "/var/log/exim-client")
    machine.write("/etc/exim-client.conf", EXIM % ("hosts_require_tls = *" if tls else "hosts_avoid_tls = *"))
    machine.run("/usr/sbin/exim4", "-C", "/etc/exim-client.conf", "-odf", "-oi", "-f", SENDER, RECIPIENT, input=message)
    log = machine.read("/var/log/exim-client/main")
    assert f"=> {RECIPIENT}" in log and ("X=TLS" in log if tls else True), log
    return log


def start_postfix(machine):
    """A second Postfix, or the only one, which relays everything to the door."""
    lay_out_postfix(machine)
    lay_out_queue(machine, "/var/spool/postfix-client")
    machine.run("install", "-d", "-o", "postfix", "-g", "postfix", "-m", "700", "/var/lib/postfix-client")
    machine.write("/etc/postfix-client/main.cf", f"""compatibility_level = 3.6
queue_directory = /var/spool/postfix-client
data_directory = /var/lib/postfix-client
myhostname = client.example.net
mydestination =
alias_maps =
inet_interfaces = 127.0.0.1
smtp_bind_address = {CLIENT4}
relayhost = [{SERVER4}]
maillog_file = /var/log/postfix-client.log
smtp_tls_security_level = none
smtp_tls_loglevel = 1
smtp_host_lookup = native
max_use = 1
disable_dns_lookups = yes
""")
    machine.write("/etc/postfix-client/master.cf", """pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
tlsmgr unix - - n 1000? 1 tlsmgr
error unix - - n - - error
retry unix - - n - - error
postlog unix-dgram n - n - 1 postlogd
""")
    process = machine.popen("/usr/lib/postfix/sbin/master", "-c", "/etc/postfix-client", "-d", output="/var/log/postfix-client.output")
    wait_until(lambda: machine.path("/var/spool/postfix-client/public/pickup").exists() or process.poll() is not None, "Postfix is up")
    assert process.poll() is None, machine.read("/var/log/postfix-client.output")
    return process


def send_by_postfix(machine, message, tls):
    if not machine.path("/var/spool/postfix-client/public/pickup").exists():
        start_postfix(machine)
    machine.run("/usr/sbin/postconf", "-c", "/etc/postfix-client", "smtp_tls_security_level=" + ("encrypt" if tls else "none"))
    sent = machine.read("/var/log/postfix-client.log").count("status=sent")
    machine.run("/usr/sbin/sendmail", "-C", "/etc/postfix-client", "-i", "-f", SENDER, RECIPIENT, input=message)
    wait_until(lambda: machine.read("/var/log/postfix-client.log").count("status=sent") > sent, lambda: machine.read("/var/log/postfix-client.log"))
    return machine.read("/var/log/postfix-client.log")


SEND = {"exim4": send_by_exim, "postfix": send_by_postfix}


# ---- tools -----------------------------------------------------------------------------------------------------------------------------

def swaks(machine, subject, *arguments, source=CLIENT4, server=SERVER4, expect=0):
    return machine.run("swaks", "--server", server, "-6" if ":" in server else "-4", "--local-interface", source, "--helo", "client.example.net", "--from", SENDER,
                       "--to", RECIPIENT, "--header", f"Subject: {subject}", "--body", "hi", *arguments, expect=expect)


class OpenSSL:
    """openssl s_client, which says EHLO and STARTTLS itself; then what it is told."""

    def __init__(self, machine, certificate):
        self.process = subprocess.Popen(
            machine.inside("timeout", "20", "openssl", "s_client", "-starttls", "smtp", "-name", "client.example.net", "-connect", f"{SERVER4}:25", "-bind", f"{CLIENT4}:0",
                           "-CAfile", certificate, "-verify_return_error", "-verify_hostname", "mail.example.org", "-crlf", "-quiet"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def say(self, text, expect):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        while True:
            line = self.process.stdout.readline()
            assert line, self.process.stderr.read()
            if line[3:4] != "-":
                assert line.startswith(expect), f"{text}: {line}"
                return line

    def end(self):
        try:
            _, errors = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return errors


# ---- a client of our own ---------------------------------------------------------------------------------------------------------------

class Client:
    """One connection. Replies are lists of lines without their ends."""

    def __init__(self, machine, source=CLIENT4, hello=True):
        self.socket = machine.connect(source=source)
        self.extensions = []
        if hello:
            greeting = self.reply()
            assert greeting[0].startswith("220"), greeting
            self.extensions = [line[4:] for line in self.say("EHLO client.example.net")]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def offers(self, word):
        return any(e.split()[0] == word for e in self.extensions)

    def reply(self):
        lines = []
        while not lines or lines[-1][3:4] == "-":
            line = read_line(self.socket).decode("latin-1")
            if not line:
                raise ConnectionError(f"closed after {lines}")
            assert re.fullmatch(r"[2-5]\d\d(?:[ -][^\r\n]*)?\r\n", line), line
            lines.append(line.rstrip("\r\n"))
        return lines

    def send(self, data):
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def say(self, text, expect="250"):
        self.send(text + "\r\n")
        lines = self.reply()
        assert lines[-1].startswith(expect), f"{text}: {lines}"
        return lines

    def envelope(self):
        self.say(f"MAIL FROM:<{SENDER}>")
        self.say(f"RCPT TO:<{RECIPIENT}>")

    def message(self, text):
        """Through DATA; the text has its dots doubled already."""
        self.envelope()
        self.say("DATA", "354")
        self.send(text)
        return self.say(".")

    def rest(self, silence=None):
        """Every line until the other side closes, or resets: that is an end, too; and so is silence behind the first answer, if it may be one."""
        data = b""
        try:
            while more := self.socket.recv(1 << 16):
                data += more
                self.socket.settimeout(silence or self.socket.gettimeout())
        except ConnectionError:
            pass
        except TimeoutError:
            assert silence and data, f"not closed after {data}"
        return data.decode("latin-1").split("\r\n")[:-1]


