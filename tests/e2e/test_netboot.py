"""Network boot as on a real network: OVMF's own PXE client, dnsmasq as `freshet boot dnsmasq` sets it up.

A network namespace is the server's machine, with a bridge as the lab's switch; another is the DHCP server that a
site has already. Where it is about the way to freshet.efi alone, the PC has no SVM: that freshet.efi came over the
network and runs shows in its saying so (FR-10), which is quick.
"""

import contextlib
import os
import shutil
import subprocess
import time

import pytest

import lab
import uefivars
from lab import BUILD, PATIENCE, ROOT, run

FRESHET = os.path.join(BUILD, "freshet")
IPXE = "/usr/lib/ipxe/ipxe.efi"
STARTED = "FR-10"
TAP = "tap,ifname=tap0,script=no,downscript=no"
REFUSED = ("Access Denied", "Security Violation", "Security Policy Violation")


class NetLab:
    """The networks and what runs in them; each is ended by @ends, the last one first."""

    def __init__(self, tmp, ends):
        self.tmp, self.ends, self.ns = tmp, ends, ["fsh%d" % os.getpid(), "dhcp%d" % os.getpid()]
        self.data, self.tftp = tmp / "data", tmp / "tftp"
        self.tftp.mkdir()
        os.chmod(tmp, 0o755)
        for n in self.ns:
            run("ip", "netns", "add", n)
            ends.callback(run, "ip", "netns", "del", n)
        srv, other = self.ns
        for cmd in ("link set lo up", "link add br0 type bridge", "addr add 10.0.0.1/24 dev br0", "link set br0 up",
                    "tuntap add tap0 mode tap", "link set tap0 master br0", "link set tap0 up",
                    "link add v0 type veth peer name eth0 netns " + other, "link set v0 master br0", "link set v0 up"):
            run("ip", "-n", srv, *cmd.split())
        for cmd in ("addr add 10.0.0.2/24 dev eth0", "link set eth0 up"):
            run("ip", "-n", other, *cmd.split())

    def start(self, ns, *cmd, log):
        with open(self.tmp / log, "w", encoding="utf-8") as out:
            p = subprocess.Popen(["ip", "netns", "exec", ns] + [str(c) for c in cmd], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        self.ends.callback(self.stop, p)
        return p

    @staticmethod
    def stop(p):
        p.kill()
        p.wait()

    def site(self, *args, disk=None):
        if not disk:
            disk = self.tmp / "disk.raw"
            disk.write_bytes(b"no operating system in 32 bytes!" * 2048)
        run(FRESHET, "key", "new", self.data)
        run(FRESHET, "image", "build", "--quiet", "--data", self.data, "--name", "x", "--level", "1", "--channel", "lab/stable", disk)
        run(FRESHET, "boot", "build", "--data", self.data, "--efi", os.path.join(BUILD, "freshet.efi"), "--server", "http://10.0.0.1:8080",
            "--no-esp", "--ipxe-efi", IPXE, *args, cwd=ROOT)
        shutil.copy(self.data / "netboot" / "ipxe.efi", self.tftp)
        self.start(self.ns[0], os.path.join(BUILD, "freshetd"), "--data", self.data, "--listen", "10.0.0.1:8080", "--log-level", "debug",
                   log="freshetd.log")

    def dnsmasq(self, *args):
        run(FRESHET, "boot", "dnsmasq", "--server", "http://10.0.0.1:8080", "--network", "10.0.0.0/24", "--interface", "br0", "--tftp",
            self.tftp, "--output", self.tmp / "dnsmasq.conf", *args)
        self.start(self.ns[0], "dnsmasq", "-k", "-C", self.tmp / "dnsmasq.conf", "--leasefile-ro", "--user=root", "--pid-file=",
                   "--log-facility=-", log="dnsmasq.log")

    def pc(self, *args, until=STARTED, limit=240, code="OVMF_CODE_4M.fd", variables="/usr/share/OVMF/OVMF_VARS_4M.fd",
           machine="q35,smm=off"):
        """Boot a PC without a disk; its console until @until is there."""
        shutil.copy(variables, self.tmp / "vars")
        console = self.tmp / "console"
        console.write_bytes(b"")
        q = self.start(self.ns[0], "qemu-system-x86_64", "-nodefaults", "-display", "none", "-no-user-config", "-M", machine, "-accel", "tcg",
                       "-cpu", "qemu64", "-m", "512M", "-no-reboot", "-serial", "file:%s" % console,
                       "-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/" + code,
                       "-drive", "if=pflash,format=raw,file=%s" % (self.tmp / "vars"),
                       "-netdev", TAP + ",id=n0",
                       "-device", "virtio-net-pci,netdev=n0,romfile=,mac=52:54:00:00:00:07,bootindex=1", *args, log="qemu.log")
        end = time.monotonic() + limit * PATIENCE
        try:
            while True:
                text = console.read_text(encoding="utf-8", errors="replace")
                if any(u in text for u in ([until] if isinstance(until, str) else until)):
                    return text
                assert q.poll() is None and time.monotonic() < end, text[-3000:] + self.logs()
                time.sleep(0.2)
        finally:
            self.stop(q)

    def logs(self):
        return "".join("\n-- %s\n%s" % (n, (self.tmp / n).read_text(errors="replace")[-3000:])
                       for n in ("qemu.log", "dnsmasq.log", "dhcp.log", "freshetd.log") if (self.tmp / n).exists())

    def log(self, name):
        return (self.tmp / name).read_text(encoding="utf-8", errors="replace")


@pytest.fixture
def net(tmp_path):
    assert os.geteuid() == 0, "network namespaces need root"
    with contextlib.ExitStack() as ends:
        yield NetLab(tmp_path, ends)


def test_pxe_standalone(net):
    net.site()
    net.dnsmasq("--range", "10.0.0.100,10.0.0.200")
    net.pc()
    assert "sent %s/ipxe.efi" % net.tftp in net.log("dnsmasq.log")
    assert "GET /boot.ipxe" in net.log("freshetd.log") and "GET /freshet.efi" in net.log("freshetd.log")


def test_pxe_proxy(net):
    """Beside a DHCP server that knows nothing of us and stays as it is."""
    net.site()
    net.start(net.ns[1], "dnsmasq", "-k", "-C", "/dev/null", "--port=0", "--interface=eth0", "--bind-interfaces", "--log-dhcp", "--log-facility=-",
              "--dhcp-range=10.0.0.100,10.0.0.200", "--leasefile-ro", "--user=root", "--pid-file=", log="dhcp.log")
    net.dnsmasq("--proxy")
    net.pc()
    assert "DHCPACK" in net.log("dhcp.log") and "DHCPACK" not in net.log("dnsmasq.log")
    assert "sent %s/ipxe.efi" % net.tftp in net.log("dnsmasq.log")
    assert "GET /boot.ipxe" in net.log("freshetd.log") and "GET /freshet.efi" in net.log("freshetd.log")


def test_http_boot(net, images, tmp_path):
    """The firmware's own HTTP boot, with its PXE switched off; on to a shell of the small guest, on a blank disk."""
    net.site(disk=os.path.join(images, "tiny-one.raw"))
    net.dnsmasq("--range", "10.0.0.100,10.0.0.200")
    no_pxe = [a for v in "46" for a in ("-fw_cfg", "name=opt/org.tianocore/IPv%sPXESupport,string=n" % v)]
    disk = lab.Disk(str(tmp_path / "pc.raw"), 1024)
    with lab.Pc(str(tmp_path), "pc", disk=disk, cpus=1, card="virtio-net-pci,romfile=", net=TAP, run=["ip", "netns", "exec", net.ns[0]],
                extra=no_pxe) as pc:
        try:
            pc.tiny(240)
        except lab.LabError as e:
            raise AssertionError(str(e) + net.logs()) from None
        pc.check_no_escape()
        pc.sh("verify 0 8")
    log = net.log("freshetd.log")
    assert "sent %s" % net.tftp not in net.log("dnsmasq.log")
    assert "GET /ipxe.efi" in log and "GET /boot.ipxe" in log and "GET /freshet.efi" in log


def test_secure_boot(net, tmp_path):
    """A firmware with the site's own keys, Secure Boot on: what the site signed is started, and nothing else."""
    for name in ("db", "stranger"):
        run("openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lab " + name, "-days", "9",
            "-keyout", tmp_path / (name + ".key"), "-out", tmp_path / (name + ".crt"))
    uefivars.enrol(lab.OVMF_VARS, tmp_path / "enrolled", tmp_path / "db.crt")
    firmware = {"code": "OVMF_CODE_4M.secboot.fd", "variables": tmp_path / "enrolled", "machine": "q35,smm=on"}
    secure = ("-global", "driver=cfi.pflash01,property=secure,value=on")
    net.site("--sign-key", tmp_path / "db.key", "--sign-cert", tmp_path / "db.crt")
    net.dnsmasq("--range", "10.0.0.100,10.0.0.200")
    net.pc(*secure, **firmware)
    signed = {n: net.data / "netboot" / n for n in ("ipxe.efi", "freshet.efi")}
    # freshet.efi with another's signature: iPXE comes, and the firmware starts nothing that iPXE brings.
    plain = tmp_path / "plain.efi"
    run("sbattach", "--remove", signed["freshet.efi"])
    shutil.copy(signed["freshet.efi"], plain)
    run("sbsign", "--key", tmp_path / "stranger.key", "--cert", tmp_path / "stranger.crt", "--output", signed["freshet.efi"], plain)
    text = net.pc(*secure, until=("Freshet: that did not work", STARTED), **firmware)
    assert STARTED not in text
    # iPXE unsigned: the firmware does not start it.
    shutil.copy(IPXE, net.tftp / "ipxe.efi")
    text = net.pc(*secure, until=REFUSED + (STARTED, "Freshet: loading"), **firmware)
    assert STARTED not in text and "Freshet: loading" not in text
