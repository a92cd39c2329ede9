"""A real browser, Chromium without a window, spoken to by its DevTools protocol over a pair of pipes: no port, no further package."""
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

PATIENCE = 30
PROGRAMS = ("chromium-headless-shell", "chromium")


def find():
    """None: there is none."""
    return next((path for path in map(shutil.which, PROGRAMS) if path), None)


class Browser:
    """with Browser() as b: page = b.open(url)"""

    def __init__(self, program=None):
        self.profile = tempfile.mkdtemp(prefix="tarry-browser-")
        to_browser, ours = os.pipe()
        mine, from_browser = os.pipe()
        command = [program or find(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run", "--disable-background-networking",
                   "--disable-component-update", "--disable-default-apps", "--disable-extensions", "--disable-sync", f"--user-data-dir={self.profile}", "--remote-debugging-pipe"]

        def pipes():
            """The browser reads commands from descriptor 3 and writes to 4."""
            a, b = os.dup(to_browser), os.dup(from_browser)
            high = [os.dup2(fd, 60 + i) for i, fd in enumerate((a, b))]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.log = tempfile.TemporaryFile()  # pylint: disable=consider-using-with
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, preexec_fn=pipes, close_fds=False, start_new_session=True,  # pylint: disable=subprocess-popen-preexec-fn
                                        env={**os.environ, "HOME": self.profile})
        os.close(to_browser)
        os.close(from_browser)
        self.to, self.source, self.pending, self.number = ours, mine, b"", 0
        self.answers, self.events = {}, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        os.close(self.to)
        os.close(self.source)
        try:
            self.process.wait(5)  # it ends with its pipes
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)

    def pump(self, wait):
        """Takes what has come, within so many seconds."""
        if not select.select([self.source], [], [], wait)[0]:
            return
        got = os.read(self.source, 1 << 20)
        if not got:
            self.log.seek(0)
            raise AssertionError(f"the browser has ended:\n{self.log.read().decode(errors='replace')[-3000:]}")
        self.pending += got
        *whole, self.pending = self.pending.split(b"\0")
        for text in whole:
            message = json.loads(text)
            if "id" in message:
                self.answers[message["id"]] = message
            else:
                self.events.append(message)

    def call(self, method, session=None, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.to, data):]
        deadline = time.monotonic() + PATIENCE
        while self.number not in self.answers:
            assert time.monotonic() < deadline, f"{method}: no answer"
            self.pump(0.5)
        answer = self.answers.pop(self.number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def open(self, url, **look):
        return Page(self, url, **look)


class Page:
    """A tab. What it asked for is in requests, what its console said in console."""

    def __init__(self, browser, url, width=1200, height=900, dark=False, phone=False, headers=None):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.target = target
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.look(width, height, dark, phone)
        if headers:
            self.call("Network.setExtraHTTPHeaders", headers=headers)
        self.call("Page.navigate", url=url)
        self.wait("location.href !== 'about:blank' && document.readyState === 'complete'")

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def look(self, width, height, dark=False, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, f"{expression}: {result['exceptionDetails']}"
        return result["result"].get("value")

    def text(self, selector):
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''")

    def wait(self, expression, what=None, patience=PATIENCE):
        """Until it is true; its value."""
        deadline = time.monotonic() + patience
        while True:
            value = self.evaluate(expression)
            if value:
                return value
            assert time.monotonic() < deadline, f"{what or expression}: not within {patience} s; console: {self.console()}; page: {self.text('body')[:1500]}"
            self.browser.pump(0.05)

    def key(self, key):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode={"Tab": 9, "ArrowLeft": 37, "ArrowRight": 39, "Enter": 13, "Escape": 27, "Home": 36, "End": 35}.get(key, 0),
                      **({"text": "\r"} if key == "Enter" and kind == "keyDown" else {}))

    def mine(self, method):
        return [e["params"] for e in self.browser.events if e.get("sessionId") == self.session and e["method"] == method]

    def requests(self):
        return [e["request"]["url"] for e in self.mine("Network.requestWillBeSent")]

    def console(self):
        """What was said, exceptions and what the browser had to complain of."""
        said = [" ".join(str(a.get("value", a.get("description"))) for a in e["args"]) for e in self.mine("Runtime.consoleAPICalled")]
        said += [e["exceptionDetails"].get("exception", {}).get("description", e["exceptionDetails"]["text"]) for e in self.mine("Runtime.exceptionThrown")]
        return said + [e["entry"]["text"] for e in self.mine("Log.entryAdded")]

    def screenshot(self, path=None, full=False):
        """PNG bytes, of what is seen or of the whole page."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)["data"])
        if path:
            with open(path, "wb") as f:
                f.write(data)
        return data
