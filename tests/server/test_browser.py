"""The dashboard in a real browser: what an admin sees, and does with mouse, keyboard and phone.

A real server with a lab of twelve machines, whose boots and reports come over HTTP as a PC sends them.
`make pictures` keeps what the browser showed under docs/pictures/.
"""

import json
import os
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from browser import Browser  # noqa: E402
from conftest import UUID, make_site  # noqa: E402
from test_api import boot, new_version  # noqa: E402

# What each machine of the lab last said; "pending" ones have asked for a ticket and wait.
STATES = [("fill", 12), ("fill", 48), ("fill", 93), ("ready", 100), ("ready", 100), ("ready", 100), ("ready", 100), ("boot", None),
          ("trouble", None), ("ready", 100), (None, None), (None, None)]
TIMES = {"disk": 120, "address": 1450, "ticket": 1610, "version": 2230, "ready": 2400, "attached": 2900, "now": 41000}

# Every piece of text that is drawn, against what is behind it [WCAG 2.1 1.4.3].
CONTRAST = """(() => {
    const rgb = c => c.match(/[\\d.]+/g).map(Number);
    const light = c => { const [r, g, b] = rgb(c).map(v => (v /= 255, v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)); return 0.2126 * r + 0.7152 * g + 0.0722 * b };
    const bad = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const e = walk.currentNode.parentElement;
        if (!walk.currentNode.data.trim() || !e.checkVisibility() || e.closest('noscript, option')) continue;
        let b = e;
        while (b.parentElement && rgb(getComputedStyle(b).backgroundColor)[3] === 0) b = b.parentElement;
        const s = getComputedStyle(e), x = light(e.closest('svg') ? s.fill : s.color), y = light(getComputedStyle(b).backgroundColor);
        const ratio = (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
        if (ratio < 4.5) bad.push(walk.currentNode.data.trim().slice(0, 30) + ' ' + ratio.toFixed(2));
    }
    return bad })()"""


def machine_uuid(n):
    return UUID[:-4] + "%04x" % n


def report(srv, n, state, percent, version):
    body = {"uuid": machine_uuid(n), "disk": "SN%d" % n, "state": state, "version": version, "timeline_ms": TIMES,
            "counters": {"guest_read_bytes": 310 << 20, "asked_bytes": 95 << 20}, "network": {"wire_bytes": 140 << 20}}
    if percent is not None:
        body.update(percent=percent, complete=int(percent == 100))
    if state == "trouble":
        body.update(code=50, text="disk SN%d holds something" % n)
    assert srv.get("/v1/report", "POST", json.dumps(body))[0].status == 204


class Lab:
    """A site with two versions, the lab, and a server."""

    def __init__(self, tmp, serve):
        self.site = make_site(tmp)
        self.first = self.site.version
        self.second = new_version(self.site, 2, "--label", "second")
        self.srv = serve(self.site, "--set", "enrol=approve")
        self.url = "http://127.0.0.1:%d" % self.srv.port
        api = self.srv.api
        api("PUT", "/groups/lab3", {"note": "third floor"})
        api("PUT", "/groups/canary", {})
        for n, (state, percent) in enumerate(STATES, 1):
            boot(self.srv, n)
            name = {"name": "pc%02d" % n, "group": "canary" if n == 4 else "lab3"}
            m = [m for m in api("GET", "/machines")[1] if m["uuid"] == machine_uuid(n)][0]
            assert api("PATCH", "/machines/%d" % m["id"], name)[0] == 200
            if state:
                api("POST", "/machines/%d/approve" % m["id"], {})
                report(self.srv, n, state, percent, self.first)

    def channel(self):
        return [c for c in self.srv.api("GET", "/channels")[1] if c["name"] == "lab/stable"][0]


@pytest.fixture(scope="module")
def chromium():
    with Browser() as b:
        yield b


@pytest.fixture
def lab(tmp_path, serve):
    return Lab(tmp_path, serve)


@pytest.fixture
def page(chromium, lab):
    """The dashboard of @lab, the admin logged in; nothing on it may have failed."""
    chromium.complaints.clear()
    chromium.view()
    chromium.log_in(lab.url, lab.srv.token())
    yield chromium
    chromium.go("about:blank#")  # leaves the event stream, so that the server can end
    assert not chromium.complaints


def seat(page, n):
    return page.js("(document.getElementById('seat-%d') || {}).innerText || ''" % n)


def answer(page, title, button):
    """The dialog that asks; its text."""
    page.wait("document.getElementById('ask').open && document.getElementById('ask-title').textContent === %s" % json.dumps(title))
    text = page.js("document.getElementById('ask').innerText")
    page.click("#ask button", button)
    page.wait("!document.getElementById('ask').open")
    return text


def channel_text(page):
    return page.js("document.getElementById('channel-lab/stable').innerText")


def test_pages(chromium, lab):
    """Log in with a wrong token and with the right one, every page, log out."""
    chromium.complaints.clear()
    chromium.view()
    chromium.go(lab.url)
    chromium.wait("location.pathname === '/login' && document.activeElement.id === 'token'")
    assert "not known" not in chromium.text()
    chromium.picture("login")
    chromium.type("frt_" + "0" * 56)
    chromium.click("button", "Log in")
    chromium.wait("document.body.innerText.includes('That token is not known')")
    chromium.log_in(lab.url, lab.srv.token())
    chromium.wait("document.getElementById('who').textContent.includes('(admin)')")
    chromium.picture("dashboard")
    chromium.go(lab.url + "/plain")
    assert chromium.js("document.querySelectorAll('tr').length") == 1 + len(STATES) and "pc" not in chromium.js("document.title")
    chromium.go(lab.url)
    chromium.wait("document.querySelectorAll('#event-list li').length > 0")
    chromium.click("button", "Log out")
    chromium.wait("location.pathname === '/login'")
    chromium.go(lab.url)
    chromium.wait("location.pathname === '/login'")
    assert not chromium.complaints


def test_live(page, lab):
    """What the PCs report is drawn without a reload; a server that is gone is said, and comes back."""
    for n, want in ((2, "48 %"), (4, "complete"), (8, "boot"), (9, "FR-50"), (11, "waits for approval")):
        assert want in seat(page, n), seat(page, n)
    assert page.js("document.getElementById('summary').textContent") == (
        "12 machines, 5 complete, 3 filling, 1 booting, 1 in trouble, 2 waiting for approval")
    report(lab.srv, 2, "fill", 77, lab.first)
    page.wait("document.getElementById('seat-2').innerText.includes('77 %')")
    assert page.js("document.getElementById('count-lab3').textContent") == "4 of 11 complete, third floor"
    report(lab.srv, 2, "ready", 100, lab.first)
    page.wait("document.getElementById('count-lab3').textContent === '5 of 11 complete, third floor'")
    boot(lab.srv, 13)  # one that nobody has seen before
    page.wait("document.getElementById('seat-13') && document.getElementById('seat-13').innerText.includes('waits')")


def test_machine(page, lab):
    """One machine: facts, when what happened, where its bytes came from; reset, claim, change."""
    page.click("#seat-2 button")
    page.wait("document.activeElement.id === 'machine-title' && document.querySelectorAll('#machine svg').length === 2")
    text = page.js("document.getElementById('machine').textContent")
    assert "Machine pc02" in text and machine_uuid(2) in text and "310.0 MiB" in text and "95.0 MiB" in text
    page.js("document.getElementById('machine').scrollIntoView({ behavior: 'instant' })")
    page.picture("machine")
    page.click("#machine button", "Reset")
    answer(page, "Reset pc02?", "Reset")
    page.until(lambda: lab.srv.api("GET", "/machines/2")[1].get("reset_once"), "the reset")
    page.click("#seat-9 button")
    page.click("#machine button", "Take this disk")
    assert "EVERYTHING" in answer(page, "Take the disk SN9?", "Erase and take it")
    page.until(lambda: boot(lab.srv, 9)["claim"] == "serial:SN9", "the claim")
    page.click("#machine button", "Change…")
    page.click("#ask input")
    page.call("Input.dispatchKeyEvent", type="keyDown", commands=["selectAll"], key="a")
    page.type("window-seat")
    answer(page, "Change pc09", "Save")
    page.wait("document.getElementById('seat-9').innerText.includes('window-seat')")


def test_canary_rollout_rollback(page, lab):
    """A new version to the canaries, to all, and back; each asked before it is done."""
    page.click("#channels button", "Roll out…")
    page.wait("document.getElementById('ask').open && document.getElementById('ask').innerText.includes('over the line')")
    page.choose("#ask select[name=version]", "test second")
    page.choose("#ask label:nth-of-type(2) select", "canary first")
    page.picture("roll-out")
    page.click("#ask button", "Cancel")
    assert lab.srv.api("GET", "/rollouts")[1] == []
    page.click("#channels button", "Roll out…")
    page.choose("#ask select[name=version]", "test second")
    page.choose("#ask label:nth-of-type(2) select", "canary first")
    answer(page, "Roll out to lab/stable", "Roll out")
    page.wait("document.getElementById('channels').innerText.includes('canary has it: 0 of 1 ready')")
    assert boot(lab.srv, 4)["version"] == lab.second and boot(lab.srv, 5)["version"] == lab.first
    report(lab.srv, 4, "ready", 100, lab.second)
    page.wait("document.getElementById('channels').innerText.includes('canary has it: 1 of 1 ready')")
    page.js("document.getElementById('channels').scrollIntoView({ behavior: 'instant' })")
    page.picture("canary")
    # Whoever is on a button with the keyboard stays there while the page follows the PCs.
    page.js("[...document.querySelectorAll('#channels button')].find(e => e.textContent === 'To all').focus()")
    report(lab.srv, 4, "trouble", None, lab.second)
    page.wait("document.getElementById('channels').innerText.includes('0 of 1 ready, 1 in trouble')")
    assert page.js("document.activeElement.textContent") == "To all"
    report(lab.srv, 4, "ready", 100, lab.second)
    page.wait("document.getElementById('channels').innerText.includes('1 of 1 ready, 0 in trouble')")
    page.click("#channels button", "To all")
    answer(page, "Bring roll-out 1 to all of lab/stable?", "To all")
    page.until(lambda: lab.channel()["version"] == lab.second, "the promotion")
    page.wait("document.getElementById('channel-lab/stable').innerText.includes('test second')")
    assert boot(lab.srv, 5)["version"] == lab.second
    page.click("#channels button", "Roll back")
    answer(page, "Roll back lab/stable?", "Roll back")
    page.until(lambda: boot(lab.srv, 5)["version"] == lab.first, "the rollback")
    page.wait("document.getElementById('channel-lab/stable').innerText.includes('serial 3')")
    page.click("#channels button", "Roll back")  # there is nothing before the first
    answer(page, "Roll back lab/stable?", "Roll back")
    page.wait("!document.getElementById('trouble').hidden && document.getElementById('trouble').innerText.startsWith('Roll back lab/stable?')")
    assert page.complaints and all("409" in c for c in page.complaints)
    page.complaints.clear()


def test_keyboard(page, lab):
    """Without a mouse: past the head to the labs, approve who waits, look at a machine and come back."""
    page.key("Tab")
    assert page.js("document.activeElement.className") == "skip"
    page.key("Enter")
    assert page.js("location.hash") == "#labs"
    for want, title in (("button.go", "Approve 2 machines of lab3?"), ("#seat-1 button", None)):
        for _ in range(60):
            if page.js("document.activeElement.matches(%s)" % json.dumps(want)):
                break
            page.key("Tab")
        else:
            raise AssertionError("Tab does not come to " + want)
        # Whoever looks sees where the keyboard is.
        assert page.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        if title:
            page.key("Enter")
            page.wait("document.getElementById('ask').open")
            page.key("Escape")
            page.wait("!document.getElementById('ask').open && document.activeElement.matches('button.go')")
            page.key("Enter")
            page.wait("document.getElementById('ask').open")
            page.key("Tab", "Enter")
            page.until(lambda: all(m["approved"] for m in lab.srv.api("GET", "/machines")[1]), "the approval")
    page.key(" ")
    page.wait("document.activeElement.id === 'machine-title'")
    page.key("Tab")
    assert page.js("document.activeElement.id") == "machine-close"
    page.key("Enter")
    page.wait("document.activeElement.matches('#seat-1 button')")
    names = page.js("[...document.querySelectorAll('button, a, input, select, svg, progress')].filter(e => !(e.textContent.trim() || e.ariaLabel || e.labels && e.labels.length)).length")
    assert names == 0  # each of them can be read out


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_contrast(page, lab, dark):
    page.view(dark=dark)
    page.click("#seat-2 button")
    page.wait("document.querySelectorAll('#machine svg').length === 2")
    assert page.js("(c => +c.match(/\\d+/)[0] < 128)(getComputedStyle(document.body).backgroundColor)") is dark
    assert page.js(CONTRAST) == []
    page.js("scrollTo(0, 0)")
    if dark:
        page.picture("dashboard-dark")
    page.go(lab.url + "/login")
    assert page.js(CONTRAST) == []


def test_phone(page, lab):
    """390 pixels wide: nothing beside the screen, nothing too small for a finger, the dialog fits."""
    page.view(390, 844, phone=True)
    page.go(lab.url)
    page.wait("document.body.dataset.ready === '1'")
    small = """[...document.querySelectorAll('button, input, select')].filter(e => e.checkVisibility())
        .map(e => [e.textContent, e.getBoundingClientRect()]).filter(([t, r]) => r.height < 32 || r.width < 24 || r.right > innerWidth + 1 && !t.match(/Compute/)).map(x => x[0])"""
    page.click("#seat-2 button")
    page.wait("document.querySelectorAll('#machine svg').length === 2")
    assert page.js("document.documentElement.scrollWidth") <= 390 and page.js(small) == []
    page.js("scrollTo(0, 0)")
    page.picture("phone")
    page.click("#channels button", "Roll out…")
    page.wait("document.getElementById('ask').open")
    assert page.js("(r => r.left >= 0 && r.right <= innerWidth)(document.getElementById('ask').getBoundingClientRect())") and page.js(small) == []
    page.picture("phone-roll-out")
    page.click("#ask button", "Cancel")


def test_roles(chromium, lab):
    """A reader sees everything and is offered nothing to change."""
    chromium.complaints.clear()
    chromium.view()
    chromium.log_in(lab.url, lab.srv.api("POST", "/tokens", {"name": "eve", "role": "reader"})[1]["token"])
    chromium.click("#seat-9 button")
    chromium.wait("!document.getElementById('machine').hidden")
    words = set(chromium.js("[...document.querySelectorAll('button')].filter(e => e.checkVisibility() && !e.closest('.seats')).map(e => e.textContent)"))
    assert words == {"Log out", "Close", "Compute"}
    assert not chromium.complaints
    chromium.go("about:blank#")
