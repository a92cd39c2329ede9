"""tarry mc: sendmail.mc files as one finds them, each message of Sendmail's own macros, and files that mean harm."""
import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VECTORS = json.loads((ROOT / "tests/vectors/m4warnings.json").read_text())
CASES = [(version, name) for version in VECTORS for name in VECTORS[version]]
LINE = re.compile(r"""#[^\n]*|listen "[0-9a-f.:\[\]]+" \{ \}|[a-z_]+ = (?:[A-Za-z0-9_]+|STRING|\{ STRING(?:, STRING)* \})|"""
                  .replace("STRING", r"""(?:"(?:[^"\\\x00-\x08\x0a-\x1f]|\\["\\])*"|'(?:[^'\\\x00-\x08\x0a-\x1f]|\\['\\])*')"""))


class Result:
    def __init__(self, run):
        self.code, self.text, self.err = run.returncode, run.stdout.decode("latin-1"), run.stderr.decode("latin-1")

    def options(self):
        """name -> the value as written."""
        found = {}
        for line in self.text.splitlines():
            name, equals, value = line.partition(" = ")
            if equals and not line.startswith("#"):
                assert name not in found, f"{name} twice"
                found[name] = value
        return found

    def listens(self):
        return re.findall(r'^listen "([^"]*)" \{ \}$', self.text, re.M)

    def comments(self):
        return [line for line in self.text.splitlines() if line.startswith("#")]

    def skipped(self):
        return [line[4:] for line in self.text.splitlines() if line.startswith("#   ")]


@pytest.fixture
def mc(binary, tmp_path):
    """mc(text): what comes of a site.mc with that text."""
    def run(text, name="site.mc", **options):
        if text is not None:
            (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode("latin-1"))
        result = Result(subprocess.run([binary, "mc", name], cwd=tmp_path, capture_output=True, timeout=60, **options))
        assert "Sanitizer" not in result.err and "runtime error" not in result.err, result.err
        if result.code == 0:
            for line in result.text[:-1].split("\n"):
                assert LINE.fullmatch(line), line
        else:
            assert result.text == ""
        return result

    return run


def lines(*all_of_them):
    return "\n".join(all_of_them) + "\n"


# ---- what Sendmail's own macros say --------------------------------------------------------------------------------------------------------

def test_both_versions_say_the_same():
    assert set(VECTORS) == {"8.13.4", "8.17.1"}
    for name, case in VECTORS["8.13.4"].items():
        assert VECTORS["8.17.1"][name]["stderr"] == case["stderr"] and VECTORS["8.17.1"][name]["mc"] == case["mc"], name


@pytest.mark.parametrize("version,name", CASES)
def test_messages(mc, version, name):
    """Byte for byte, and the map and the pause are those of the rules that Sendmail's macros made."""
    case = VECTORS[version][name]
    result = mc(lines("divert(0)dnl", "include(`/usr/share/sendmail/cf/m4/cf.m4')dnl", *case["mc"], "MAILER(`smtp')dnl"))
    assert (result.code, result.err) == (0, case["stderr"])
    options = result.options()
    if case["Kaccess"]:
        assert options["access_db"] == '{ "hash:/etc/mail/access.db" }'
        assert options["access_missing"] == ("ignore" if " -o " in case["Kaccess"][0] else "tempfail")
    else:
        assert "access_db" not in options
    rules = case["Sgreet_pause"]
    pauses = [m.group(1) for rule in rules if (m := re.search(r"\$# ([0-9]*)$", rule))]
    assert options["greet_pause"] == (pauses[0] if pauses and pauses[0] else "0")
    keys = any("GreetPause" in rule for rule in rules)
    assert options.get("greet_pause_keys") == (None if keys or not case["Kaccess"] else "no")


def test_article(mc):
    delay, access, pause = ("FEATURE(`delay_checks', `friend')", "FEATURE(`access_db', `hash -o -T<TMPF> /etc/mail/access')", "FEATURE(`greet_pause', `1000')")
    right = mc(lines(delay, access, pause))
    assert right.err == ""
    expected = {"greet_pause": "1000", "access_db": '{ "hash:/etc/mail/access.db" }', "access_missing": "ignore", "access_failure": "tempfail",
                "delay_checks": "friend", "ratecontrol": "off", "conncontrol": "off"}
    assert right.options() == expected
    wrong = mc(lines(delay, pause, access))
    assert wrong.err == "*** WARNING: FEATURE(`greet_pause') before FEATURE(`access_db')\n\tgreet_pause will not use access_db!"
    assert wrong.options() == {**expected, "greet_pause_keys": "no"}


# ---- files as one finds them ---------------------------------------------------------------------------------------------------------------

DEBIAN = lines(
    "divert(-1)dnl", "#-----", "# what's written here isn't read: include define FEATURE", "#-----", "divert(0)dnl", "define(`_USE_ETC_MAIL_')dnl",
    "include(`/usr/share/sendmail/cf/m4/cf.m4')dnl", "VERSIONID(`$Id: sendmail.mc, v 1 $')", "OSTYPE(`debian')dnl", "DOMAIN(`debian-mta')dnl",
    "dnl # a comment with define(`confTO_COMMAND', `1m')", "undefine(`confHOST_STATUS_DIRECTORY')dnl        #DAEMON_HOSTSTATS=", "FEATURE(`no_default_msa')dnl",
    "dnl DAEMON_OPTIONS(`Family=inet6, Name=MTA-v6, Port=smtp, Addr=::1')dnl",
    "DAEMON_OPTIONS(`Family=inet,  Name=MTA-v4, Port=smtp, Addr=127.0.0.1')dnl", "DAEMON_OPTIONS(`Family=inet,  Name=MSP-v4, Port=submission, M=Ea, Addr=127.0.0.1')dnl",
    "define(`confPRIVACY_FLAGS',dnl", "`needmailhelo,noetrn')dnl", "define(`confCONNECTION_RATE_THROTTLE', `15')dnl", "define(`confCONNECTION_RATE_WINDOW_SIZE',`10m')dnl",
    "define(`confBAD_RCPT_THROTTLE', `3')dnl", "FEATURE(`use_cw_file')dnl", "FEATURE(`access_db', , `skip')dnl", "FEATURE(`always_add_domain')dnl", "MASQUERADE_AS()dnl", "FEATURE(`masquerade_envelope')dnl",
    "FEATURE(`greet_pause', `1000')dnl 1 second", "FEATURE(`delay_checks', `friend', `n')dnl", "FEATURE(`conncontrol', `nodelay', `terminate')dnl",
    "FEATURE(`ratecontrol', `nodelay', `terminate')dnl", "include(`tls/starttls.m4')dnl", "sinclude(`provider.m4')dnl", "LOCAL_CONFIG", "MAILER_DEFINITIONS",
    "MAILER(`local')dnl", "MAILER(`smtp')dnl", "")


def test_debian(mc):
    result = mc(DEBIAN)
    assert result.code == 0
    assert result.err == "tarry: site.mc:31: include: tls/starttls.m4: No such file or directory; skipped\n"
    assert result.options() == {
        "greet_pause": "1000", "access_db": '{ "hash:/etc/mail/access.db" }', "access_missing": "tempfail", "access_failure": "tempfail", "access_skip": "yes",
        "delay_checks": "friend", "ratecontrol": "nodelay_terminate", "conncontrol": "nodelay_terminate", "connection_rate_window": "600s",
        "bad_rcpt_throttle": "3"}
    assert result.listens() == ["127.0.0.1:25", "127.0.0.1:587"]
    assert result.skipped() == [
        "OSTYPE(`debian')", "DOMAIN(`debian-mta')", "FEATURE(`use_cw_file')", "FEATURE(`always_add_domain')", "MASQUERADE_AS", "FEATURE(`masquerade_envelope')",
        "include(`tls/starttls.m4')", "MAILER(`local')", "MAILER(`smtp')", "define(`confPRIVACY_FLAGS')", "define(`confCONNECTION_RATE_THROTTLE')"]


def test_red_hat(mc):
    result = mc(lines(
        "divert(-1)dnl", "dnl #", "dnl # This is the configuration file that isn't one", "dnl #", "include(`/usr/share/sendmail-cf/m4/cf.m4')dnl", "VERSIONID(`setup for linux')dnl",
        "OSTYPE(`linux')dnl", "dnl define(`SMART_HOST', `smtp.your.provider')dnl", "define(`confDEF_USER_ID', ``8:12'')dnl", "define(`confTO_CONNECT', `1m')dnl",
        "define(`PROCMAIL_MAILER_PATH', `/usr/bin/procmail')dnl", "define(`confAUTH_OPTIONS', `A')dnl", "TRUST_AUTH_MECH(`EXTERNAL DIGEST-MD5')dnl",
        "FEATURE(`no_default_msa', `dnl')dnl", "FEATURE(`smrsh', `/usr/sbin/smrsh')dnl", "FEATURE(`mailertable', `hash -o /etc/mail/mailertable.db')dnl",
        "FEATURE(local_procmail, `', `procmail -t -Y -a $h -d $u')dnl", "FEATURE(`access_db', `hash -T<TMPF> -o /etc/mail/access.db')dnl", "FEATURE(`greet_pause', `2500')",
        "EXPOSED_USER(`root')dnl", "DAEMON_OPTIONS(`Port=smtp,Addr=127.0.0.1, Name=MTA')dnl", "DAEMON_OPTIONS(`Port=smtps, Name=TLSMTA, M=s')dnl",
        "DAEMON_OPTIONS(`port=smtp,Addr=::1, Name=MTA-v6, Family=inet6')dnl", "CLIENT_OPTIONS(`Family=inet, Address=0.0.0.0')dnl", "FEATURE(`accept_unresolvable_domains')dnl",
        "LOCAL_DOMAIN(`localhost.localdomain')dnl", "INPUT_MAIL_FILTER(`clmilter',`S=local:/x, F=, T=S:4m;R:4m')dnl", "MAILER(smtp)dnl", "MAILER(procmail)dnl",
        "define(`confMAX_DAEMON_CHILDREN', `40')dnl", "define(`confTO_COMMAND', `30m')dnl", "define(`confREJECT_MSG', `550 5.7.1 Access denied, see www.example.org')dnl",
        "define(`confSMTP_LOGIN_MSG', `$j ESMTP; $b')dnl", "define(`confDOMAIN_NAME', `mail.example.org')dnl"))
    assert (result.code, result.err) == (0, "")
    assert result.options() == {
        "hostname": '"mail.example.org"', "accept_domains": '{ "localhost", "mail.example.org", "localhost.localdomain" }', "greet_pause": "2500", "access_db": '{ "hash:/etc/mail/access.db" }', "access_missing": "ignore", "access_failure": "tempfail",
        "delay_checks": "off", "reject_msg": '"550 5.7.1 Access denied,see www.example.org"', "ratecontrol": "off", "conncontrol": "off", "max_connections": "40",
        "refuse_timeout": "1800s", "command_timeout": "1800s", "smtp_login_msg": '"$j ESMTP; $b"'}
    assert result.listens() == ["127.0.0.1:25", "[::1]:25"]
    assert any("Name=TLSMTA" in line and "smtps" in line for line in result.comments())
    skipped = result.skipped()
    assert len(skipped) == len(set(skipped))
    for name in ("FEATURE(`smrsh')", "EXPOSED_USER", "CLIENT_OPTIONS", "INPUT_MAIL_FILTER(`clmilter')", "TRUST_AUTH_MECH", "MAILER(`procmail')", "define(`PROCMAIL_MAILER_PATH')"):
        assert name in skipped


def test_local_rulesets(mc):
    result = mc(lines(
        "FEATURE(`access_db')", "FEATURE(`greet_pause', `5000')", "LOCAL_CONFIG", "Kdnsbl dns -R A", "LOCAL_RULESETS", "SLocal_check_mail", "R$*\t$: $1", "SLocal_greet_pause",
        "R$* $| 127.0.0.2\t$# 300", "Rhost.example.com $| $*\t\t$# 0\tour own", "R$* $| IPv6:2001:db8:0:0:0:0:0:1\t$# 0", "R$* $| 10.$+\t$# 0", "R$* $| $*  $# 4000",
        "LOCAL_RULE_0", "Rlist < @ $=w . >\t$#local $: list", "MAILER(`smtp')"))
    assert result.code == 0
    assert result.options()["local_greet_pause"] == '{ "127.0.0.2 300", "host.example.com 0", "2001:db8::1 0", "* 4000" }'
    assert "# SLocal_greet_pause: not a form that is known here; skipped: R$* $| 10.$+\\t$# 0" in result.comments()
    assert "SLocal_check_mail" in result.skipped()
    assert "# Skipped: 2 lines of text for sendmail.cf, from Rlist < @ $=w . >\\t$#local $: list" in result.comments()


def test_includes(mc, tmp_path):
    """Files of the site are read, also within one another and in a condition; a value may come from one."""
    (tmp_path / "site.m4").write_text("define(`PAUSE', `3000')\nsinclude(`more.m4')dnl\n")
    (tmp_path / "more.m4").write_text("define(`MAIL_SETTINGS_DIR', `/srv/mail/')\ndefine(`DATABASE_MAP_TYPE', `cdb')\n")
    result = mc(lines("include(`site.m4')", "ifdef(`PAUSE', `FEATURE(`access_db')", "FEATURE(`greet_pause', PAUSE)')"))
    assert (result.code, result.err) == (0, "")
    assert (result.options()["greet_pause"], result.options()["access_db"]) == ("3000", '{ "cdb:/srv/mail/access.cdb" }')


def test_readable_by_tarry(mc, binary, tmp_path):
    """`tarry check` takes the text. Options that this program does not have are left out first."""
    (tmp_path / "access").write_text("GreetPause:127.0.0.1\t0\n")
    result = mc(DEBIAN.replace("`access_db', ,", "`access_db', `text -T<TMPF> %s/access'," % tmp_path) + "define(`confSMTP_LOGIN_MSG', `$j \"${x}\" it''s')\n")
    options = set(re.findall(r"^OPTION\((\w+),", (ROOT / "src/options.def").read_text(), re.M))
    kept = [line for line in result.text.splitlines() if " = " not in line or line.startswith("#") or line.split(" = ")[0] in options]
    (tmp_path / "tarry.conf").write_text("\n".join(kept) + "\n")
    check = subprocess.run([binary, "check", "-c", "tarry.conf", "-o", "user=nobody", "-o", "hostname=mail.example.org"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert check.returncode == 0, check.stderr
    assert "greet_pause  1s" in check.stdout and "127.0.0.1:587" in check.stdout


# ---- harm ----------------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("text,says", [
    ("define(`x', `x')x\n", "does it loop"),
    ("define(`x', `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa`'x')x\n", "printed more than 4 MB"),
    ("define(`x', `errprint(`aaaaaaaaaaaaaaaaaaaaaaaaaaaa')x')x\n", "printed more than 4 MB"),
    ("define(`x', `x(x)')x\n", "site.mc:1: recursion limit"),
    ("define(`x', `aaaaaaaa')define(`y', `define(`x', x`'x)y')y\n", "memory exhausted"),
    ("\n\nFEATURE(`greet_pause', `1000)\n", "site.mc:3: ERROR: end of file in string"),
    ("\nFEATURE(`greet_pause', `1000'\n", "site.mc:2: ERROR: end of file in argument list"),
    ("include(`site.mc')\n", "site.mc:1: "),
    ("a\0b\n", "site.mc: has a NUL byte"),
    ("dnl\n" * 300000, "larger than 1 MB"),
    ("m4exit(`0')\n", "stopped before the end"),
    ("undefine(`tarry_finish')\n", "stopped before the end"),
], ids=["loop", "prints", "complains", "recurses", "grows", "quote", "parenthesis", "itself", "nul", "large", "exit", "undone"])
def test_bad_file(mc, text, says):
    started = time.monotonic()
    result = mc(text)
    assert result.code == os.EX_DATAERR
    assert says in result.err and result.err.startswith("tarry: site.mc:")
    assert len(result.err.splitlines()) == 1
    assert time.monotonic() - started < 45


def test_what_waits(mc, tmp_path):
    """Named pipes and devices are no includes; if m4 is brought to wait for one all the same, it does not wait for long."""
    os.mkfifo(tmp_path / "fifo")
    result = mc("include(`fifo')include(`/dev/zero')undivert(`fifo')FEATURE(`greet_pause', `7')\n")
    assert result.code == 0 and result.options()["greet_pause"] == "7"
    assert result.err.count("expected one; skipped\n") == 2
    assert mc(None, "fifo").code == os.EX_DATAERR
    waiting = mc("tarry_include(`fifo')\n")
    assert waiting.code == os.EX_DATAERR and "after 20 seconds" in waiting.err


def test_runs_nothing(mc, tmp_path):
    result = mc("syscmd(`touch made')esyscmd(`touch made')builtin(`esyscmd', `touch made')debugfile(`made')mkstemp(`madeXXXXXX')\n")
    assert result.code == 0
    assert not list(tmp_path.glob("made*"))
    assert "site.mc:1: esyscmd is not run; it counts as empty\n" in result.err


def test_cannot(mc, binary, tmp_path):
    assert mc(None, "nowhere.mc").code == os.EX_NOINPUT
    no_m4 = mc("\n", env={"PATH": str(tmp_path)})
    assert no_m4.code == os.EX_UNAVAILABLE and "install GNU m4" in no_m4.err
    for arguments in ([], ["a", "b"], ["-x"]):
        assert subprocess.run([binary, "mc", *arguments], capture_output=True).returncode == os.EX_USAGE
    assert subprocess.run([binary, "mc", "--help"], capture_output=True).returncode == 0
    with open("/dev/full", "wb") as full:
        assert subprocess.run([binary, "mc", tmp_path / "site.mc"], stdout=full, stderr=subprocess.DEVNULL).returncode == os.EX_IOERR


VALUE = st.text(st.sampled_from("ab.09-:$#{}\"'\\`=,;/* \t\n\x01\x02\x03\xff%@[]()<>"), max_size=40)
SHAPES = ["define(`confDOMAIN_NAME', `%s')", "define(`confSMTP_LOGIN_MSG', `%s')", "define(`confREJECT_MSG', `550 %s')", "define(`confTO_COMMAND', `5%s')", "DAEMON_OPTIONS(`Port=2525,Addr=%s')",
          "FEATURE(`access_db', `text %s')", "FEATURE(`access_db', `ldap -h h -b %s -k (a=%%0) -v v')", "FEATURE(`%s')", "OSTYPE(`%s')", "FEATURE(`greet_pause', `5%s')", "%s",
          "LOCAL_RULESETS\nSLocal_greet_pause\nRa.example $| %s\t$# 1\n", "include(`%s')"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(SHAPES), VALUE), min_size=1, max_size=4))
def test_no_injection(mc, parts):
    """Whatever a value holds, each line of the result is one of ours (mc() looks), or there is an error and no result."""
    result = mc(lines(*(shape.replace("%s", value).replace("%%", "%") for shape, value in parts)))
    assert result.code in (0, os.EX_DATAERR)
    assert result.code == 0 or result.err.startswith("tarry: ") or "\ntarry: " in result.err
