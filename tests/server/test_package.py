"""make install into a folder, the Debian package in a clean chroot, units, completion, man pages."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from conftest import BUILD, FRESHET, FRESHETD, ROOT

sys.path.insert(0, os.path.join(ROOT, "tests"))
from clean_debian import CleanDebian, package  # noqa: E402


def make(*args):
    """Other tests run what is built here meanwhile, so nothing may be built anew: names as `make all` gives them."""
    p = subprocess.run(["make", "--no-print-directory", "BUILD=" + os.path.relpath(BUILD, ROOT), *args], cwd=ROOT, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, check=False, timeout=900,
                       env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")})
    assert p.returncode == 0, p.stdout[-3000:]


def test_install(tmp_path):
    root = tmp_path / "root"
    built = [os.stat(f).st_mtime_ns for f in (FRESHET, FRESHETD)]
    make("install", "DESTDIR=%s" % root)
    assert [os.stat(f).st_mtime_ns for f in (FRESHET, FRESHETD)] == built
    have = {os.path.relpath(os.path.join(d, f), root) for d, _, fs in os.walk(root) for f in fs}
    for want in ("usr/bin/freshet", "usr/sbin/freshetd", "usr/lib/freshet/freshet.efi", "etc/freshet/freshetd.conf",
                 "lib/systemd/system/freshetd.service", "lib/systemd/system/freshet-gc.timer", "usr/share/man/man1/freshet.1.gz",
                 "usr/share/man/man8/freshetd.8.gz", "usr/share/bash-completion/completions/freshet", "usr/share/freshet/boot.ipxe.in",
                 "usr/share/doc/freshet/howto/first-lab.md", "usr/share/doc/freshet/openapi.json"):
        assert want in have, want
    (root / "etc/freshet/freshetd.conf").write_text("# mine\n")
    make("install", "DESTDIR=%s" % root)
    assert (root / "etc/freshet/freshetd.conf").read_text() == "# mine\n"  # settings are not overwritten


def test_units(tmp_path):
    """systemd takes every line, and thinks well of the hardening."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd here")
    for name in ("freshetd.service", "freshet-gc.service", "freshet-gc.timer"):
        with open(os.path.join(ROOT, "server", name), encoding="utf-8") as f:
            text = f.read().replace("/usr/sbin/freshetd", "/bin/true").replace("/usr/bin/freshet", "/bin/true")
        (tmp_path / name).write_text(text)
    p = subprocess.run(["systemd-analyze", "verify", "--man=no", *[str(tmp_path / n) for n in os.listdir(tmp_path)]], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, check=False)
    mine = [line for line in p.stdout.splitlines() if "freshet" in line]
    assert not [line for line in mine if "Unknown" in line or "Failed to parse" in line or "ignoring" in line.lower()], p.stdout
    p = subprocess.run(["systemd-analyze", "security", "--offline=yes", str(tmp_path / "freshetd.service")], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, check=False)
    m = re.search(r"exposure level for freshetd\.service: ([0-9.]+)", p.stdout)
    assert m and float(m.group(1)) < 3.0, p.stdout[-500:]


def test_man_pages_have_every_command():
    with open(os.path.join(ROOT, "docs/man/freshet.1"), encoding="utf-8") as f:
        man = re.sub(r"\\f.|\|", " ", f.read()).replace("\\-", "-").replace('" "', " ")
    out = subprocess.run([FRESHET, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    for line in out.splitlines():
        m = re.match(r"  ([a-z]+) +", line)
        if m:
            group, verb = m.group(1), line[11:20].strip()
            assert (group + " " + verb).strip() in man or verb and re.search(r"\b%s .*\b%s\b" % (group, verb), man), line + ": not in freshet(1)"
    for page in ("freshet.1", "freshetd.8"):
        p = subprocess.run(["man", "-l", "--warnings", os.path.join(ROOT, "docs/man", page)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                           text=True, check=False)
        assert p.returncode or not p.stderr, p.stderr


def commands():
    """(words, text of --help) of every command."""
    out = subprocess.run([FRESHET, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    for line in out.splitlines():
        m = re.match(r"  ([a-z]+) +", line)
        if m:
            words = [m.group(1)] + line[11:20].split()
            yield words, subprocess.run([FRESHET] + words + ["--help"], stdout=subprocess.PIPE, text=True, check=True).stdout


def options_of(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text)) - {"--ro", "--test", "--help"}  # of other programs


def tests_text():
    out = ""
    for folder in ("server", "e2e", "perf"):
        for name in sorted(os.listdir(os.path.join(ROOT, "tests", folder))):
            if name.endswith(".py"):
                with open(os.path.join(ROOT, "tests", folder, name), encoding="utf-8") as f:
                    out += f.read()
    return out


def man(page):
    with open(os.path.join(ROOT, "docs/man", page), encoding="utf-8") as f:
        return f.read().replace("\\-", "-")


def test_man_pages_have_every_option():
    page = man("freshet.1")
    for words, text in commands():
        for option in options_of(text):
            assert re.search(re.escape(option) + r"(?![a-z-])", page), "%s %s: not in freshet(1)" % (" ".join(words), option)
    page = man("freshetd.8")
    for option in options_of(subprocess.run([FRESHETD, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout):
        assert re.search(re.escape(option) + r"(?![a-z-])", page), option + ": not in freshetd(8)"
    with open(os.path.join(ROOT, "server/freshetd.conf"), encoding="utf-8") as f:
        for key in set(re.findall(r"^#?([a-z_]+) \S", f.read(), re.M)):
            assert re.search(r"\b%s\b" % key, page), key + ": not in freshetd(8)"


def test_every_command_and_option_is_tested():
    """By name at least: what no test of the programs mentions is not tested."""
    text = tests_text()
    lacking = []
    for words, text_of_help in commands():
        if not re.search(", ".join('"%s"' % w for w in words), text):
            lacking.append(" ".join(words))
        lacking += [" ".join(words + [o]) for o in options_of(text_of_help) if not re.search(o + r"(?![a-z-])", text)]
    for option in options_of(subprocess.run([FRESHETD, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout):
        if not re.search(option + r"(?![a-z-])", text):
            lacking.append("freshetd " + option)
    assert not lacking


def complete(*words):
    script = """PATH=%s:$PATH; . %s; COMP_WORDS=(%s); COMP_CWORD=%d; _freshet 2>/dev/null; printf '%%s\\n' "${COMPREPLY[@]}" """ % (
        os.path.dirname(FRESHET), os.path.join(ROOT, "images/freshet.bash"), " ".join('"%s"' % w for w in words), len(words) - 1)
    return subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, text=True, check=True).stdout.split()


def test_completion():
    assert set(complete("freshet", "ro")) == {"rollback", "rollout"}
    assert set(complete("freshet", "rollout", "")) == {"start", "ls", "promote", "cancel"}
    assert "--canary" in complete("freshet", "rollout", "start", "--c") and complete("freshet", "image", "build", "--format", "qc") == ["qcow2"]
    assert "--data" in complete("freshet", "push", "x", "--d")


def test_deb_in_a_clean_chroot(tmp_path):
    """The package and nothing else on a minimal Debian: it installs, starts, serves, and goes."""
    assert os.geteuid() == 0 and shutil.which("mmdebstrap"), "a clean Debian needs root and mmdebstrap"
    debian = CleanDebian(BUILD, tmp_path / "root")
    try:
        package(BUILD, debian.path("tmp/freshet.deb"))
        debian.sh(r"""
apt-get -q update; apt-get -q install -y --no-install-recommends /tmp/freshet.deb
getent passwd freshet
test "$(stat -c %U:%a /var/lib/freshet)" = freshet:750
sed -i 's/0.0.0.0:8080/127.0.0.1:0/; s/0.0.0.0:8443/127.0.0.1:0/' /etc/freshet/freshetd.conf
freshetd --config /etc/freshet/freshetd.conf --check-config | grep 'the first start makes folder=/var/lib/freshet'
systemctl start freshetd
for i in $(seq 50); do test -e /var/lib/freshet/admin.token && grep -q tls=1 /var/log/freshetd.log && break; sleep 0.2; done
plain=http://127.0.0.1:$(sed -n 's/.* listening .* port=\([0-9]*\)$/\1/p' /var/log/freshetd.log)
tls=https://localhost:$(sed -n 's/.* listening .* port=\([0-9]*\) tls=1$/\1/p' /var/log/freshetd.log)
freshetd --config /etc/freshet/freshetd.conf --check-config
freshet status --server "$plain"
freshet status --server "$tls" --ca /var/lib/freshet/tls/ca.crt
head -c 3000000 /dev/urandom > /tmp/noise; truncate -s 6M /tmp/noise
freshet image build --data /var/lib/freshet --name x --channel lab/stable /tmp/noise
test "$(stat -c %U /var/lib/freshet/channels/lab/stable)" = freshet
freshet rollback lab/stable --server "$plain" && exit 1
freshet channel ls --server "$plain" | grep 'serial 1'
echo 'nonsense 1' >> /etc/freshet/freshetd.conf
freshetd --config /etc/freshet/freshetd.conf --check-config 2>&1 | grep nonsense
systemctl stop freshetd
apt-get -q purge -y freshet
test -e /var/lib/freshet/site.key
test ! -e /usr/sbin/freshetd
""")
    finally:
        debian.close()
