"""Whatever fails in the mail server inside, with several recipients, Maildirs that are not there yet, folders on file systems of their own, sessions that go on after a failure, and clients that never get so far: what was
acknowledged is in each recipient's Maildir, once and whole; what was not is there whole or not at all, and where it was never to be delivered it is not."""
import pytest

from faults import CLASSES, EXEMPT, LINES, LONG, Mailbox, Trial, Visit
from test_faults import Setting

MOST = 40000  # bytes of a message


class Part:
    """A message of a visit that has several."""

    hangs = False

    def __init__(self, subject, should=True):
        self.subject, self.should, self.acknowledged, self.recipients, self.heard = subject, should, False, ["victim"], []

    def __str__(self):
        return f"{self.subject}: {'acknowledged' if self.acknowledged else 'not taken'}, heard {self.heard[-1:]}"


class MailVisit(Visit):
    def __init__(self, address, subject, script, fresh):
        self.parts = []
        self.fresh = fresh
        super().__init__(address, EXEMPT, subject, script)
        self.should = script in ("several", "goes_on")
        self.recipients = ["victim", "second", fresh] if script == "several" else ["victim"]

    def begin(self, s):
        self.reply(s, b"220")
        self.ask(s, "EHLO client.example.net", b"250")
        self.ask(s, "MAIL FROM:<sender@example.net>", b"250")

    def several(self, s):
        self.begin(s)
        for user in ("victim", "second", self.fresh, "Victim"):
            self.ask(s, f"RCPT TO:<{user}@example.org>", b"250")
        self.ask(s, "DATA", b"354")
        self.ask(s, self.message(), b"250")
        self.acknowledged = True
        self.ask(s, "QUIT", b"221")

    def goes_on(self, s):
        """Three messages; after each failure the session goes on where it can. The first is the visit's own."""
        self.reply(s, b"220")
        self.ask(s, "EHLO client.example.net", b"250")
        self.parts += [Part(f"{self.subject}-{n}") for n in (2, 3)]
        for part in (self, *self.parts):
            part.acknowledged = self.takes(s, part.subject)
            part.heard = self.heard

    def takes(self, s, subject):
        for text, wanted in (("RSET", b"250"), ("MAIL FROM:<sender@example.net>", b"250"), ("RCPT TO:<victim@example.org>", b"250"), ("DATA", b"354"), (self.message(subject), b"250")):
            if not self.ask(s, text, (wanted, b"45", b"44")).startswith(wanted):
                return False
        return True

    def breaks_off(self, s):
        self.begin(s)
        self.ask(s, "RCPT TO:<victim@example.org>", b"250")
        self.ask(s, "DATA", b"354")
        s.sendall(self.message()[:-20].encode())

    def too_large(self, s):
        self.begin(s)
        self.ask(s, "RCPT TO:<victim@example.org>", b"250")
        self.ask(s, "DATA", b"354")
        self.ask(s, self.message()[:-1] + "x" * 70 + ("\r\n" + "x" * 70) * (MOST // 72) + "\r\n.", b"250")
        self.acknowledged = True

    def chunks(self, s):
        """They are not offered."""
        self.begin(s)
        self.ask(s, "RCPT TO:<victim@example.org>", b"250")
        text = f"Subject: {self.subject}\r\n\r\n" + "\r\n".join(LINES[:5]) + "\r\n"
        self.ask(s, f"BDAT {len(text)} LAST\r\n{text}", b"250")
        self.acknowledged = True


class MailTrial(Trial):
    """Each recipient's Maildir is looked at."""

    def visits(self):
        visits = super().visits()
        self.fresh = f"fresh{self.number}"
        return visits + [MailVisit(self.door.address, f"{self.number}-{script}", script, self.fresh) for script in ("several", "goes_on", "breaks_off", "too_large", "chunks")]

    def judge(self, visits, mailbox=None):
        visits = visits + [part for visit in visits for part in getattr(visit, "parts", [])]
        wrong = []
        boxes = {"victim": self.mailbox, "second": self.second, **({self.fresh: Mailbox(self.door.mail, self.fresh)} if visits[1:] else {})}
        for user, box in boxes.items():
            wrong += [f"{user}: {w}" for w in super(MailTrial, self).judge([v for v in visits if user in v.recipients], box)]
        return wrong


class MailSetting(Setting):
    """kind: inside, or apart: each folder on a file system of its own, so that a recipient's copy is one. What is left in tmp/ is so only if it could not be removed."""
    places_on = 1000 if LONG else 4

    def make_door(self, folder):
        if self.kind == "apart":
            self.faults.environment["TARRY_FAULTS_APART"] = "1"
        door = super().make_door(folder)
        door.options["max_message_size"] = MOST
        return door

    def make_trial(self):
        trial = MailTrial(self.door, Mailbox(self.door.mail))
        trial.second = Mailbox(self.door.mail, "second")
        return trial

    def fail(self, role, kind, n, error, on):
        before = len(self.door.stray_files())
        door = self.door
        hits, wrong = super().fail(role, kind, n, error, on)
        if door is self.door and len(door.stray_files()) > before and not (kind == "names" and hits):
            wrong = wrong + [f"{role} {kind} {n} {error}: left in tmp/: {door.stray_files()[-3:]}"]
            print(wrong[-1], flush=True)
        return hits, wrong


@pytest.mark.parametrize("kind", ["inside", pytest.param("apart", marks=pytest.mark.skipif(not LONG, reason="the same once more: TARRY_LONG=1"))])
def test_mail(binary, scratch, kind):
    one = MailSetting(binary, scratch, kind=kind)
    one.killed = LONG
    kinds = CLASSES if LONG else ["sync"]
    try:
        wrong = one.walk("mail", kinds)
    finally:
        one.end(after=False)
    assert wrong == [], "\n".join(wrong)
