"""docs/howto/first-lab.md as it stands: a clean Debian, the package, three PCs with blank disks, a browser.

The page is the script. Its shell blocks are run by root's shell in a chroot of a clean Debian (tests/clean_debian.py)
with a network namespace of its own; the blocks "sh qemu", which make the PCs, in that namespace outside of the chroot,
since their machine may be another. In its lines, what is
bold after "Dashboard:" is pressed, chosen or waited for in Chromium, and after "PCs:" done with or seen at the PCs.
Bold words elsewhere are for the reader. What the page does not say, and a site has: the package, two disk images
(the small guest, and the same with one MiB changed, as qcow2), and the network outside, which only apt is given.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time

import pytest

import lab

sys.path.insert(0, os.path.join(lab.ROOT, "tests"))
from browser import Browser  # noqa: E402
from clean_debian import CleanDebian, package  # noqa: E402

FRESHET = os.path.join(lab.BUILD, "freshet")
PAGE = os.path.join(lab.ROOT, "docs/howto/first-lab.md")
UUID = "00000000-0000-4000-8000-%012d"
DATA = {"first": "one", "second": "two"}  # the page's labels, and what the text at CHANGED calls itself
PARTITION, CHANGED = 65, 3  # MiB: where the small guest's data begins, and which of it is text of a version's own


def steps(text):
    """The page as a list of (kind, what): ("sh" or "sh qemu", a block), ("Dashboard", words), ("PCs", words)."""
    found = []
    rx = re.compile(r"^( *)```(sh|sh qemu)\n(.*?)^ *```$|(Dashboard|PCs): (\*\*.*?\*\*(?:, \*\*.*?\*\*)*)$", re.M | re.S)
    for m in rx.finditer(text):
        if m.group(4):
            found.append((m.group(4), re.findall(r"\*\*(.*?)\*\*", m.group(5))))
        else:
            found.append((m.group(2), re.sub("^" + m.group(1), "", m.group(3), flags=re.M)))
    return found


class PagePc(lab.Pc):
    """A PC that the page's commands started in @place; what its sockets say is kept in @logs."""

    def __init__(self, place, logs, n):
        self.name, self.cpus, self.started = "pc%d" % n, 1, time.monotonic()
        base = os.path.join(place, self.name)
        self.com1 = lab.Serial(base + ".console", os.path.join(logs, self.name + ".console.log"))
        self.com2 = lab.Serial(base + ".freshet", os.path.join(logs, self.name + ".vmm.log"))
        self.com1.connect()
        self.com2.connect()
        self.qmp = lab.Qmp(base + ".qmp")


class Site:
    """The server's machine, its network, the PCs, the browser; each is ended by @ends, the last one first."""

    def __init__(self, page, folder, images, ends):
        self.page, self.folder, self.images, self.ends = page, folder, images, ends
        self.ns, self.pcs, self.up, self.browser, self.server = "lab%d" % os.getpid(), {}, set(), None, None
        lab.run("ip", "netns", "add", self.ns)
        ends.callback(lab.run, "ip", "netns", "del", self.ns)
        lab.run("ip", "-n", self.ns, "link", "set", "lo", "up")
        self.place = ends.enter_context(tempfile.TemporaryDirectory(prefix="lab."))  # paths of sockets have to be short; make looks for *.d in build/
        ends.callback(self.end_pcs)
        self.enter = ["ip", "netns", "exec", self.ns]

    def begin(self):
        self.server = CleanDebian(lab.BUILD, os.path.join(self.place, "server"))
        self.ends.callback(self.server.close)
        self.ends.callback(self.keep_logs)
        home = self.server.path("root")
        package(lab.BUILD, os.path.join(home, "freshet_amd64.deb"))
        first, second = os.path.join(self.images, "tiny-one.raw"), os.path.join(self.folder, "second.raw")
        lab.run("cp", "--sparse=always", first, second)
        with open(second, "r+b") as f:
            f.seek((PARTITION + CHANGED) << 20)
            f.write((b"MiB %d of the image two\n" % CHANGED * 65536)[:1 << 20])
        for name, raw in (("debian", first), ("debian-2", second)):
            lab.run("qemu-img", "convert", "-O", "qcow2", raw, "%s/%s.qcow2" % (home, name))
        os.unlink(second)

    def end_pcs(self):
        for n in (1, 2, 3):
            path = os.path.join(self.place, "pc%d.pid" % n)
            if os.path.exists(path):
                with open(path, encoding="ascii") as f:
                    os.kill(int(f.read()), signal.SIGKILL)

    def keep_logs(self):
        for name in ("freshetd", "dnsmasq"):
            path = self.server.path("var/log/%s.log" % name)
            if os.path.exists(path):
                shutil.copy(path, self.folder)

    def sh(self, block):
        outside = "apt-get" in block
        out = self.server.sh(block, enter=() if outside else self.enter)
        if outside:  # what systemd would have done on behalf of the packages
            self.server.sh("systemctl start freshetd dnsmasq", enter=self.enter)
        if "systemctl" in block or outside:
            self.server.sh("for i in $(seq 300); do grep -q tls=1 /var/log/freshetd.log && exit 0; sleep 0.1; done; cat /var/log/freshetd.log; exit 1")
        return out

    # ------------------------------------------------ the dashboard

    def open(self):
        """As the page says it: which certificate to trust, where to go, and whose token."""
        ca, url, token = re.search(r"browser trust `/(\S+)`, open `(\S+)`, and log in with the token in\s+`/(\S+)`", self.page).groups()
        self.browser = self.ends.enter_context(Browser(run=self.enter, ca=self.server.path(ca)))
        self.browser.view(1200, 760)
        with open(self.server.path(token), encoding="ascii") as f:
            self.browser.log_in(url, f.read().strip())

    def word(self, word, limit):
        """A button of the dialog or the page, an option of a list, or words to be seen; whichever it is."""
        b = self.browser or self.open() or self.browser
        where = "#ask " if b.js("document.getElementById('ask').open") else ""
        kinds = (b.find(where + "button", word),
                 "[...document.querySelectorAll(%r)].find(o => o.text.startsWith(%r))" % (where + "select option", word),
                 "document.body.innerText.includes(%r)" % word)
        kind = b.wait("[%s].findIndex(x => x) + 1" % ",".join(kinds), limit)
        if kind == 1:
            b.click(where + "button", word)
        elif kind == 2:
            n = b.js("[...document.querySelectorAll('#ask select')].findIndex(s => [...s.options].some(o => o.text.startsWith(%r)))" % word)
            b.choose("#ask label:nth-of-type(%d) select" % (n + 1), word)

    def dashboard(self, words):
        for n, word in enumerate(words):
            self.word(word, 60 if n else 240)
            if word == "canary first":
                self.browser.wait("document.getElementById('ask').innerText.includes('over the line')")
                self.picture("roll-out")
        if words[-1].endswith("complete"):
            self.picture("complete")
        elif self.browser.js("!document.getElementById('ask').open"):
            # What was asked for is done when the page says so; the buttons of a change under way are gone by then.
            self.browser.wait("document.getElementById('trouble').hidden")

    def picture(self, name):
        self.browser.picture("first-lab-" + name)

    # ------------------------------------------------ the PCs

    def qemu(self, block):
        lab.run(*self.enter, "sh", "-exc", block, cwd=self.place)

    def are_on(self):
        """All of them wait to be let in; known by the number that the server gave, from then on."""
        pcs = {UUID % n: PagePc(self.place, self.folder, n) for n in (1, 2, 3)}
        for pc in pcs.values():
            pc.com1.wait(r"FR-56 ", 240, "the PC's asking to be let in", bad="tiny login")
        out = self.server.sh("freshet machine ls --json pending", enter=self.enter)
        self.pcs = {m["id"]: pcs[m["uuid"]] for m in json.loads(out[out.index("["):])}

    def pc_runs(self, n, label):
        pc = self.pcs[n]
        if pc not in self.up:
            pc.tiny(240)
            pc.check_no_escape()
            self.up.add(pc)
        text = pc.sh("dd if=/dev/tiny2 bs=1M skip=%d count=1 2>/dev/null | head -n 1" % CHANGED)
        assert "MiB %d of the image %s" % (CHANGED, DATA[label]) in text, text
        pc.sh("verify 0 %d" % CHANGED)

    def pc_restart_twice(self, n):
        """By its own command, and by the reset button when it has heard of the other version."""
        pc = self.pcs[n]
        self.up.remove(pc)
        pc.com1.send("reboot -f\n")
        pc.com2.wait(r"deploy: noted for the next boot .* version=new", 120, "the news of another version")
        pc.qmp.cmd("system_reset")

    def at_pcs(self, words):
        if words == ["three are on"]:
            self.are_on()
            return
        assert len(words) == 1
        m = re.fullmatch(r"restart (\d) twice|(\d(?:, \d)*) runs? (\w+)", words[0])
        assert m, words
        if m.group(1):
            self.pc_restart_twice(int(m.group(1)))
            return
        for n in m.group(2).split(", "):
            self.pc_runs(int(n), m.group(3))


@pytest.fixture
def page():
    with open(PAGE, encoding="utf-8") as f:
        return f.read()


@pytest.fixture
def site(page, folder, images):
    assert os.geteuid() == 0, "a clean Debian and its network need root"
    with contextlib.ExitStack() as ends:
        yield Site(page, folder, images, ends)


def test_page(page, site):
    todo = steps(page)
    kinds = [kind for kind, _ in todo]
    for kind, mark in (("sh", "```sh\n"), ("sh qemu", "```sh qemu\n"), ("Dashboard", "Dashboard: "), ("PCs", "PCs: ")):
        assert kinds.count(kind) == page.count(mark) > 0, "the page is not understood at " + mark
    site.begin()
    begun = time.monotonic()
    for kind, what in todo:
        print("%4.0f s  %s: %s" % (time.monotonic() - begun, kind, what), flush=True)
        {"sh": site.sh, "sh qemu": site.qemu, "Dashboard": site.dashboard, "PCs": site.at_pcs}[kind](what)
    print("%4.0f s" % (time.monotonic() - begun))
    assert not site.browser.complaints


def test_other_commands(page):
    """What the page only mentions is not run here; but each command is one of ours, and has the options that are named."""
    known = {}
    for line in lab.run(FRESHET, "--help").splitlines():
        m = re.match(r"  ([a-z]+) +", line)
        if m:
            known.setdefault(m.group(1), set()).update(line[11:20].split())
    spans = re.findall(r"`freshet ([^`]+)`", page)
    assert len(spans) > 10
    for span in spans:
        words = span.split()
        assert words[0] in known, span
        command = words[:2] if known[words[0]] else words[:1]
        assert not known[words[0]] or words[1] in known[words[0]], span
        text = lab.run(FRESHET, *command, "--help")
        for option in [w for w in words if w.startswith("--")]:
            assert re.search(option + r"(?![a-z-])", text), span
