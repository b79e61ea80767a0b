"""freshet boot dnsmasq, asked as a PC would by freshet doctor; boot files that are signed."""

import os
import re
import subprocess

from conftest import FRESHET, freshet

LAB = ("boot", "dnsmasq", "--server", "http://10.0.0.1:8080/", "--network", "10.0.0.0/24", "--interface", "lab0")
RANGE = ("--range", "10.0.0.100,10.0.0.200")


def ask(tmp_path, conf):
    """What doctor hears at a PC's end of a cable, at whose other end dnsmasq with @conf listens."""
    (tmp_path / "conf").write_text(conf)
    script = """set -e
ip link add lab0 type veth peer name pc0
ip addr add 10.0.0.1/24 dev lab0; ip link set lab0 up
unshare -n sleep 50 &
pc=$!
until ip link set pc0 netns $pc && ! ip link show pc0 > /dev/null 2>&1; do sleep 0.1; done
nsenter -t $pc -n ip link set pc0 up
dnsmasq -k -C %s --leasefile-ro --user=root --pid-file= &
nsenter -t $pc -n %s doctor --dhcp pc0 || true
kill $pc $!
""" % (tmp_path / "conf", FRESHET)
    return subprocess.run(["unshare", "-n", "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          timeout=60, env=dict(os.environ, FRESHET_TOKEN_FILE="/nonexistent")).stdout


def config(tmp_path, *args):
    tftp = tmp_path / "tftp"
    tftp.mkdir()
    os.chmod(tmp_path, 0o755)
    return freshet(*LAB, "--tftp", tftp, *args).stdout


def test_standalone(tmp_path):
    out = ask(tmp_path, config(tmp_path, *RANGE, "--router", "10.0.0.254"))
    assert re.search(r"ok +dhcp +10\.0\.0\.1 offers ipxe\.efi from 10\.0\.0\.1\n", out), out


def test_words(tmp_path):
    for args in ((), ("--proxy", *RANGE), ("--range", "10.0.0.9,10.0.0.8"), ("--range", "10.0.0.1,10.0.1.8"), (*RANGE, "--router", "10.1.0.1"),
                 (*RANGE, "--tftp", "x"), (*RANGE, "--tftp", "/a b"), (*RANGE, "--interface", "a\nb"), (*RANGE, "--network", "10.0.0.1/24"),
                 (*RANGE, "--server", "https://10.0.0.1"), (*RANGE, "--server", "http://lab:80"), (*RANGE, "--server", "http://10.0.0.1:x"),
                 (*RANGE, "y")):
        freshet(*LAB, *args, ok=2)
    freshet(*LAB, *RANGE, "--output", tmp_path / "none" / "x", ok=1)
    for args in (RANGE, ("--proxy",)):
        freshet(*LAB, *args, "--output", tmp_path / "conf")
        subprocess.run(["dnsmasq", "--test", "-C", tmp_path / "conf"], check=True)
    assert re.search(r"(?m)^dhcp-range=10\.0\.0\.0,proxy,255\.255\.255\.0$", (tmp_path / "conf").read_text())


def test_signed(own_site, serve, tmp_path):
    key, cert, other = (tmp_path / n for n in ("db.key", "db.crt", "other.crt"))
    for c in (other, cert):
        subprocess.run(["openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lab db", "-days", "9", "-keyout", key, "-out", c],
                       check=True, stderr=subprocess.DEVNULL)
    build = ("boot", "build", "--data", own_site.data, "--efi", "build/freshet.efi", "--server", "http://10.0.0.1:8080", "--no-esp")
    freshet(*build, "--sign-key", key, ok=2)
    freshet(*build, "--sign-key", tmp_path / "none", "--sign-cert", cert, ok=1)
    freshet(*build, "--ipxe-efi", tmp_path / "none", ok=1)
    freshet(*build, "--sign-key", key, "--sign-cert", cert, "--ipxe-efi", "/usr/lib/ipxe/ipxe.efi")
    for name in ("freshet.efi", "ipxe.efi"):
        path = own_site.path("netboot", name)
        assert not subprocess.run(["sbverify", "--cert", cert, path], check=False).returncode
        assert subprocess.run(["sbverify", "--cert", other, path], check=False).returncode
        with open(path, "rb") as f:
            assert serve(own_site).get("/" + name)[1] == f.read()
