"""The page of tarry-desk in a real browser: what it shows, that it lives, that strings of strangers are harmless there, and that nothing leaves the machine."""
import re
import struct

import pytest

import browser
from browser import Browser
from desk import Stage, free_port

pytestmark = pytest.mark.skipif(browser.find() is None, reason="no Chromium (package chromium-headless-shell)")

LIVE = "document.getElementById('live').className === 'yes'"
ROWS = "document.querySelectorAll('#turned tr').length"
HOSTILE = ["<script>window.hurt=1</script>", "\"'><img src=x onerror=window.hurt=1>", "</td></table></script><svg onload=window.hurt=1>", "&lt;b&gt;&#x202e;", "javascript:window.hurt=1", "${window.hurt=1}{{7*7}}",
           "\0\x01\x1b[31m\x07\r\n\t", "\xe2\x80\xae\xe2\x81\xa6evil\xe2\x80\x8f", "\u00ad\u00a0\u0085\u00ff\u0080", "]]>--><!--", "\\x3cscript\\u003e\\\\\"", "__proto__", "constructor", "%00%0a"]


@pytest.fixture(scope="module")
def build(binary):
    return binary.parent.parent


@pytest.fixture(scope="module")
def chromium():
    with Browser() as b:
        yield b


def plain(text):
    """As the page shows bytes."""
    named = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"}
    return "".join(named.get(c) or (c if " " <= c <= "~" else "\\x%02x" % ord(c)) for c in text)


def shown_name(text):
    """Names are shown alike, but their backslashes stay single."""
    return "".join(c if c == "\\" else plain(c) for c in text)


def check_quiet(page, port):
    """Nothing was asked of anybody else, nothing ran that is not the page's, and the browser has nothing to complain of."""
    assert page.evaluate("window.hurt") is None
    assert {u for u in page.requests() if not u.startswith("data:")} <= {f"http://127.0.0.1:{port}{p}" for p in ("/", "/events", "/status.json")}
    return [c for c in page.console() if "ERR_" not in c]  # of connections that the test has ended


def test_content(build, chromium):
    with Stage(build, seconds=25000) as stage:
        page = chromium.open(stage.url)
        page.wait(LIVE)
        assert page.evaluate("document.title") == "Tarry" and page.text("#lost") == ""
        legend = page.text("#legend")
        for words in ("waited", "known", "talked early", "refused", "banned", "hung up"):
            assert words in legend
        totals = {k: int(v.replace(",", "")) for k, v in re.findall(r"([a-z :]+?) ([0-9,]+)(?=[a-z]|$)", legend)}
        shown = page.evaluate("fetch('/status.json').then(r => r.json())")["counters"]
        assert 0 < totals["talked early"] <= shown["early"]
        assert page.text("#held").isdigit() and page.text("#pause") == "5.0 s"
        assert "pause 5.0 s" in page.text("#talk")
        assert re.match(r"[0-9,]+ have talked early since the door was started: half of them within [0-9.]+ m?s, ", page.text("#talk-says"))
        assert f"{shown['early']:,} have talked early" in page.text("#talk-says")
        assert page.evaluate("document.querySelectorAll('#networks tr').length") == 20 and re.fullmatch(r"198\.1[89]\.[0-9]+\.0/24[0-9,]+|2001:db8.*", page.text("#networks tr"))
        servers = page.text("#servers")
        assert "postfixbackend, smtp:192.0.2.10:10025up" in servers and "downConnection refused" in servers and "redis:unix:/run/redis/redis.sockmapup" in servers and "/etc/mail/access" not in servers
        assert "Backend second is down: Connection refused." in page.text("#warnings")
        assert page.evaluate(ROWS) == 50 + 5 + 2  # and those who are banned, and those over a limit, each once
        assert page.evaluate("document.querySelector('#turned').textContent.split('198.18.3.44').length") == 2
        assert page.text("#banned") == "5" and not page.evaluate("document.getElementById('bans').hidden") and 0 < totals["banned"] <= shown["ban_hits"]
        assert "version 0.1.0" in page.text("#door") and "192.0.2.1:25" in page.text("#door")
        # The recommended pause stands beside the one in force, and neither text on the other.
        page.wait("document.getElementById('advice').textContent.endsWith(' s')")
        assert "Of those who would talk within 10 s" in page.text("#reason")
        # What each pause catches, those who hang up, and what good mail pays: as tarry advise has it.
        assert re.fullmatch(r"[0-9,]+ have hung up before they were greeted: half of them within [0-9.]+ m?s, nine in ten within [0-9.]+ m?s\.", page.text("#gone-says"))
        studied = re.fullmatch(r"([0-9,]+) clients had to wait, known and exempt ones not among them: ([0-9,]+) talked early, ([0-9,]+) hung up, ([0-9,]+) waited\.( [0-9,]+ a day wait to be greeted\.)", page.text("#studied"))
        counts = [int(n.replace(",", "")) for n in studied.groups()[:4]]
        assert counts[0] == sum(counts[1:]) and 0 < counts[1] <= shown["early"] and 0 < counts[2] <= shown["gone"] and 0 < counts[3] <= shown["patient"]
        rungs = page.evaluate("[...document.querySelectorAll('#ladder tr')].map(r => [...r.cells].map(c => c.innerText))")
        assert len(rungs) > 8 and rungs[-1][:2] == ["10 s", "100.0 %"], rungs
        caught = [float(r[1].rstrip(" %")) for r in rungs]
        assert caught == sorted(caught) and all(low <= c <= high for c, (low, high) in zip(caught, [map(float, r[2].rstrip(" %").split(" to ")) for r in rungs])), rungs
        (force,) = [r for r in rungs if "in force" in r[0]]
        assert force[0].startswith("5 s") and re.fullmatch(r"[0-9.]+ (s|min|h)", force[3]), force
        for width, phone in ((360, True), (1200, False)):
            page.look(width, 900, phone=phone)
            page.wait(f"document.getElementById('talk').viewBox.baseVal.width < {width}")
            texts = page.evaluate("[...document.querySelectorAll('#talk .marked')].map(t => { const r = t.getBBox(); return [t.textContent, r.x, r.y, r.x + r.width, r.y + r.height]; })")
            (one, *a), (two, *b) = texts
            assert one == "pause 5.0 s" and re.fullmatch("recommended [0-9.]+ s", two)
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] + 2 or b[3] <= a[1] + 2, texts
            assert all(0 <= t[1] and t[3] <= width and t[2] >= -2 for t in texts), texts
        # The day has more than the hour.
        page.evaluate("document.getElementById('b-day').click()")
        day = {k: int(v.replace(",", "")) for k, v in re.findall(r"([a-z :]+?) ([0-9,]+)(?=[a-z]|$)", page.text("#legend"))}
        assert day["talked early"] > totals["talked early"] and page.evaluate("document.getElementById('b-day').getAttribute('aria-pressed')") == "true"
        bars = page.evaluate("(document.querySelector('#verdicts .f-early').getAttribute('d').match(/M/g) || []).length")
        assert bars > 10
        assert check_quiet(page, stage.port) == []


def test_keyboard_and_labels(build, chromium):
    with Stage(build, seconds=1200) as stage:
        page = chromium.open(stage.url)
        page.wait(LIVE)
        order = []
        for _ in range(9):
            page.key("Tab")
            order.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        assert order[:6] == ["To those turned away lately", "b-hour", "b-day", "verdicts", "helds", "talk"], order
        page.evaluate("document.getElementById('verdicts').focus()")
        page.key("End")
        last = page.text("#verdicts-at")
        page.key("ArrowLeft")
        before = page.text("#verdicts-at")
        assert re.match(r"[0-9 :-]+: ", last) and before != last
        page.key("Escape")
        assert page.text("#verdicts-at") == ""
        for chart in ("verdicts", "helds", "talk"):
            assert len(page.evaluate(f"document.getElementById('{chart}').getAttribute('aria-label')")) > 40
        # Every heading stands in a section that it names, every table has heads for its columns.
        assert page.evaluate("[...document.querySelectorAll('section')].every(s => s.getAttribute('aria-label') || document.getElementById(s.getAttribute('aria-labelledby')))")
        assert page.evaluate("[...document.querySelectorAll('table')].every(t => t.querySelectorAll('th[scope=col]').length > 1)")
        assert page.evaluate("document.documentElement.lang") == "en"


# The contrast of text and its background, as WCAG 2 has it.
CONTRAST = """(() => {
  const number = c => c.match(/[0-9.]+/g).map(Number), light = c => { const [r, g, b] = number(c).map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor, n = number(c); if (n.length < 4 || n[3] > 0) return c; } return 'rgb(255, 255, 255)'; };
  const bad = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !e.getClientRects().length || e.closest('script, style, noscript')) continue;
    const style = getComputedStyle(e), a = light(e.namespaceURI.endsWith('svg') ? style.fill : style.color), b = light(behind(e)), ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.push([e.tagName, e.id, e.className.baseVal ?? e.className, e.textContent.slice(0, 20), ratio.toFixed(2)].join(' '));
  }
  return bad; })()"""


def test_light_dark_and_phone(build, chromium):
    with Stage(build, seconds=1200) as stage:
        page = chromium.open(stage.url)
        page.wait(LIVE)
        stage.turn_away(data=b"\x16\x03\x01 EHLO", name="long." * 12)
        page.wait("document.getElementById('turned').textContent.includes('x16')")
        back = {}
        for dark in (False, True):
            for width, phone in ((1200, False), (360, True)):
                page.look(width, 800, dark=dark, phone=phone)
                assert page.evaluate(CONTRAST) == []
                assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out to the right"
                assert page.evaluate("Math.min(...[...document.querySelectorAll('button')].map(b => b.getBoundingClientRect().height))") >= 32
            back[dark] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert back[False] != back[True]
        page.call("Emulation.setEmulatedMedia", media="print")
        assert page.evaluate("getComputedStyle(document.querySelector('.choice')).display") == "none"


def test_it_lives(build, chromium):
    with Stage(build) as stage:
        page = chromium.open(stage.url)
        page.wait(LIVE)
        assert page.text("#turned-none") and page.evaluate(ROWS) == 0 and "Nobody has talked early" in page.text("#talk-says")
        stage.say("add", "held", "1234")
        page.wait("document.getElementById('held').textContent === '1,234'")
        stage.turn_away(address="2001:db8::7", name="client.example.net", kind="session", after=412, data=b"EHLO x\r\nMAIL")
        page.wait(f"{ROWS} === 1")
        row = page.text("#turned tr")
        assert re.fullmatch(r"\d\d:\d\d:\d\d2001:db8::7client\.example\.nettalked earlysession412 ms of 5\.0 sEHLO x\\r\\nMAIL", row), row
        stage.say("backend", "down", "no%20route")
        page.wait("document.getElementById('warnings').textContent.includes('postfix is down: no route')", patience=40)
        stage.say("backend", "up", "-")
        page.wait("document.getElementById('warnings').textContent === ''", patience=40)
        assert check_quiet(page, stage.port) == []


def test_who_is_banned(build, chromium):
    """Once in the list, with how often it has come, and whatever it does the others stay there; its network counts all of it."""
    with Stage(build) as stage:
        page = chromium.open(stage.url)
        page.wait(LIVE)
        assert page.evaluate("document.getElementById('bans').hidden")
        stage.turn_away(address="192.0.2.1", data=b"EHLO x")
        stage.say("add", "banned_clients", "2")
        stage.say("add", "ban_hits", "1")
        stage.ban_away("2001:db8::7")
        page.wait(f"{ROWS} === 2")
        row = page.evaluate("[...document.querySelectorAll('#turned tr')].map(r => r.textContent).find(t => t.includes('2001:db8::7'))")
        assert re.fullmatch(r"\d\d:\d\d:\d\d2001:db8::7bannedtalked early: session2 bans so faruntil ([0-9-]+ )?\d\d:\d\d", row), row
        assert page.text("#banned") == "2" and not page.evaluate("document.getElementById('bans').hidden")
        for i in range(60):
            stage.ban_away("203.0.113.9", times=200)
            stage.ban_away(f"198.51.100.{i % 30}")
        page.wait("document.getElementById('turned').textContent.includes('12,000 times since')")
        page.wait(f"{ROWS} === 21")  # twenty of them, and the other one
        clients = page.evaluate("[...document.querySelectorAll('#turned tr')].map(r => r.cells[1].firstChild.textContent)")
        assert clients.count("203.0.113.9") == 1 and "192.0.2.1" in clients and "2001:db8::7" not in clients and len(set(clients)) == 21
        stage.say("backend", "up", "-")  # it is told at once, and networks with it
        page.wait("document.querySelector('#networks tr')?.textContent === '203.0.113.0/2412,000'", patience=40)
        # Who opens the page now is shown the same.
        again = chromium.open(stage.url)
        again.wait(f"{ROWS} === 21")
        assert again.evaluate("[...document.querySelectorAll('#turned tr')].map(r => r.textContent)") == page.evaluate("[...document.querySelectorAll('#turned tr')].map(r => r.textContent)")
        for width, phone in ((1200, False), (360, True)):
            page.look(width, 800, phone=phone)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert check_quiet(page, stage.port) == []


def test_hostile_strings(build, chromium):
    with Stage(build) as stage:
        page = chromium.open(stage.url)
        page.wait(LIVE)
        elements = page.evaluate("document.querySelectorAll('*').length")
        for i, text in enumerate(HOSTILE):
            stage.turn_away(address=f"192.0.2.{i}", name=text.replace("\0", "")[:53], kind=text.replace("\0", "")[:10], data=text.encode("latin-1"))
        page.wait(f"{ROWS} === {len(HOSTILE)}")
        rows = dict(page.evaluate("[...document.querySelectorAll('#turned tr')].map(r => [r.cells[1].firstChild.textContent, [r.cells[4].textContent, r.cells[1].querySelector('small')?.textContent ?? '']])"))
        for i, text in enumerate(HOSTILE):
            assert rows[f"192.0.2.{i}"] == [plain(text), shown_name(text.replace("\0", "")[:53])], text
        stage.say("backend", "down", "%3Cimg%20src%3Dx%20onerror%3Dwindow.hurt%3D1%3E")
        page.wait("document.getElementById('warnings').textContent.includes('<img src=x onerror=window.hurt=1>')", patience=40)
        # What came is text: the elements are those of the rows, and none of a kind that anybody asked for.
        assert page.evaluate("[...new Set([...document.querySelectorAll('#turned *, #warnings *, #servers *')].map(e => e.localName))].sort().join(' ')") in ("i p small span td time tr", "i p small span td time tr")
        assert page.evaluate("document.querySelectorAll('script, img, iframe, object, embed, link:not([rel=icon])').length") == 1
        assert page.evaluate("document.querySelectorAll('*').length") > elements
        # Nothing in the text turns its direction.
        assert not re.search("[\u200e\u200f\u202a-\u202e\u2066-\u2069]", page.text("body"))
        assert check_quiet(page, stage.port) == []
        # And if an element had come in all the same, the policy would not let it act.
        page.evaluate("document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.hurt = 1' }))")
        page.evaluate("document.body.append(Object.assign(document.createElement('img'), { src: 'http://192.0.2.1/x.png' }))")
        page.evaluate("document.body.insertAdjacentHTML('beforeend', '<b onclick=\"window.hurt=1\" id=trap>x</b>'), document.getElementById('trap').click()")
        assert page.evaluate("fetch('http://192.0.2.1/').then(() => 'sent', () => 'refused')") == "refused"
        assert page.evaluate("window.hurt") is None
        page.wait("true")
        complaints = [c for c in page.console() if "Content Security Policy" in c]
        assert len(complaints) >= 3, complaints


def test_lost_and_found_again(build, chromium):
    port = free_port()
    with Stage(build, port=port) as stage:
        page = chromium.open(stage.url)
        page.wait(LIVE)
    page.wait("!document.getElementById('lost').hidden")
    assert "The connection to the desk is lost; what stands here is of " in page.text("#lost") and page.text("#live") == "not connected"
    with Stage(build, port=port) as stage:
        stage.say("add", "held", "77")
        page.wait(LIVE, patience=60)
        assert page.evaluate("document.getElementById('lost').hidden")
        page.wait("document.getElementById('held').textContent === '77'")


def test_token_in_a_browser(build, chromium):
    with Stage(build, lines=["token 0123456789abcdef"]) as stage:
        page = chromium.open(stage.url)
        assert "a token is needed" in page.text("body")
        page = chromium.open(stage.url + "?token=0123456789abcdef")
        page.wait(LIVE)
        assert page.evaluate("location.href") == stage.url and page.evaluate("document.cookie") == ""


def png_size(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


def test_screenshots_of_the_manual():
    """They are there, small, and what script/screenshots makes."""
    from door import ROOT
    for name, width in (("desk-light", 1200), ("desk-list", 1200), ("desk-dark", 1200), ("desk-phone", 390)):
        data = (ROOT / f"doc/{name}.png").read_bytes()
        assert len(data) < 150 * 1024 and png_size(data)[0] == width
