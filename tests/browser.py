"""A headless Chromium as an admin's browser, driven by its DevTools protocol over a pipe.

One Browser is one page with a profile of its own. Clicks and keys are the browser's own input events at
where an element is drawn, not calls of scripts: what is hidden, covered or out of reach cannot be used
here either. Everything the page complains about (script errors, refused loads) is kept in `complaints`.

Waiting is for a condition, with a limit that FRESHET_PATIENCE multiplies.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

PATIENCE = float(os.environ.get("FRESHET_PATIENCE", "1"))
CHROMIUM = "/usr/bin/chromium"
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowUp": 38, "ArrowDown": 40, " ": 32}


class BrowserError(Exception):
    pass


class Browser:
    """@run comes before the command (a network namespace), @ca is a certificate to be trusted."""

    def __init__(self, run=(), ca=None):
        self.home = tempfile.mkdtemp(prefix="browser.")
        self.complaints, self.number, self.session, self.data = [], 0, None, b""
        if ca:
            self._trust(ca)
        to_read, self.out = os.pipe()
        self.into, to_write = os.pipe()

        def pipes():  # Chromium reads commands at 3 and writes answers at 4
            a, b = os.dup(to_read), os.dup(to_write)
            os.dup2(a, 3)
            os.dup2(b, 4)

        self.log = open(os.path.join(self.home, "log"), "wb")
        self.proc = subprocess.Popen(
            [*run, CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
             "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--disable-lcd-text", "--force-device-scale-factor=1", "--lang=en-GB",
             "--user-data-dir=" + os.path.join(self.home, "profile"), "--remote-debugging-pipe", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, preexec_fn=pipes, close_fds=False,
            env=dict(os.environ, HOME=self.home, TZ="UTC", LC_ALL="C.UTF-8"))
        os.close(to_read)
        os.close(to_write)
        try:
            pages = self.until(lambda: [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"], "a page")
            self.session = self.call("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                self.call(domain + ".enable")
        except BaseException:
            self.close()
            raise

    def _trust(self, ca):
        """As an admin does in the browser's settings: a certificate of this site's own authority."""
        store = os.path.join(self.home, ".pki", "nssdb")
        os.makedirs(store)
        for args in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "site", "-i", ca]):
            subprocess.run(["certutil", "-d", "sql:" + store, *args], check=True)

    def _message(self, end):
        while b"\0" not in self.data:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.into], [], [], left)[0]:
                raise BrowserError("Chromium does not answer")
            got = os.read(self.into, 1 << 20)
            if not got:
                with open(self.log.name, encoding="utf-8", errors="replace") as f:
                    raise BrowserError("Chromium ended:\n" + f.read()[-2000:])
            self.data += got
        one, _, self.data = self.data.partition(b"\0")
        return json.loads(one)

    def call(self, method, **params):
        self.number += 1
        m = {"id": self.number, "method": method, "params": params}
        if self.session:
            m["sessionId"] = self.session
        os.write(self.out, json.dumps(m).encode() + b"\0")
        end = time.monotonic() + 60 * PATIENCE
        while True:
            r = self._message(end)
            if r.get("id") == self.number:
                if "error" in r:
                    raise BrowserError("%s: %s" % (method, r["error"]["message"]))
                return r["result"]
            self._event(r.get("method"), r.get("params", {}))

    def _event(self, method, p):
        if method == "Runtime.exceptionThrown":
            d = p["exceptionDetails"]
            self.complaints.append(d.get("exception", {}).get("description") or d["text"])
        elif method == "Log.entryAdded" and p["entry"]["level"] == "error":
            self.complaints.append("%s (%s)" % (p["entry"]["text"], p["entry"].get("url", "")))

    def until(self, what, name, limit=30):
        """Wait until @what() is true; its value."""
        end = time.monotonic() + limit * PATIENCE
        while True:
            value = what()
            if value:
                return value
            if time.monotonic() > end:
                raise BrowserError("%.0f s passed without %s" % (limit * PATIENCE, name))
            time.sleep(0.05)

    def js(self, expression):
        r = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in r:
            raise BrowserError("%s: %s" % (expression, r["exceptionDetails"]["exception"].get("description", "")))
        return r["result"].get("value")

    def wait(self, expression, limit=30):
        """Wait for a condition of the page; one that is just being left or built cannot be asked yet."""
        last = [""]

        def ask():
            try:
                return self.js(expression)
            except BrowserError as e:
                last[0] = str(e)
                return None
        try:
            return self.until(ask, expression, limit)
        except BrowserError as e:
            raise BrowserError("%s\n%s\nthe page: %s" % (e, last[0], self.text())) from None

    def text(self):
        return self.js("document.body.innerText")

    def go(self, url):
        r = self.call("Page.navigate", url=url)
        if r.get("errorText"):
            raise BrowserError("%s: %s" % (url, r["errorText"]))
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def find(self, selector, text=None):
        """An expression for the one visible element of @selector whose text is @text."""
        return "[...document.querySelectorAll(%s)].find(e => e.offsetParent !== null && (%s === null || e.textContent.trim() === %s))" % (
            json.dumps(selector), json.dumps(text), json.dumps(text))

    def click(self, selector, text=None):
        """Press the mouse's button in the middle of an element, which has to be what is seen there."""
        e = self.find(selector, text)
        self.wait("!!(%s)" % e)
        # What is below the pointer is what was meant, or the click would go elsewhere.
        at = self.wait("""(() => { const e = %s; if (!e) return null; e.scrollIntoView({ block: 'center', behavior: 'instant' });
            const r = e.getBoundingClientRect(), x = r.x + r.width / 2, y = r.y + r.height / 2, o = document.elementFromPoint(x, y);
            return o && e.contains(o) ? [x, y] : null })()""" % e)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", clickCount=1)

    def key(self, *names, shift=False):
        for name in names:
            k = {"key": name, "code": "Space" if name == " " else name, "windowsVirtualKeyCode": KEYS[name], "modifiers": 8 if shift else 0}
            text = {"Enter": "\r", " ": " "}.get(name)
            self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **k, **({"text": text} if text else {}))
            self.call("Input.dispatchKeyEvent", type="keyUp", **k)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def choose(self, selector, value):
        """An option of a <select>, by its beginning; the list itself is the operating system's."""
        self.js("""(() => { const s = %s, o = [...s.options].find(o => o.text.startsWith(%s));
            if (!o) throw new Error('no such option among ' + [...s.options].map(o => o.text).join('; '));
            s.value = o.value; s.dispatchEvent(new Event('change', { bubbles: true })) })()""" % (self.find(selector), json.dumps(value)))

    def view(self, width=1200, height=900, dark=False, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def picture(self, name):
        """Keep what is seen as NAME.png in the folder FRESHET_PICTURES, when somebody asks for pictures."""
        folder = os.environ.get("FRESHET_PICTURES")
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        if folder:
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, name + ".png"), "wb") as f:
                f.write(data)
        return data

    def log_in(self, url, token):
        self.go(url)
        self.wait("!!document.getElementById('token')")
        self.click("#token")
        self.type(token)
        self.key("Enter")
        self.wait("document.body.dataset.ready === '1'")

    def close(self):
        if self.proc.poll() is None:
            self.proc.terminate()
            try:
                self.proc.wait(10)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        os.close(self.out)
        os.close(self.into)
        self.log.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
