"""Network boot as on a real network: OVMF's own PXE client, dnsmasq as `freshet boot dnsmasq` sets it up.

A network namespace is the server's machine, with a bridge as the lab's switch. The PCs have no SVM: that
freshet.efi came over the network and runs shows in its saying so (FR-10), which is quick.
"""

import os
import shutil
import subprocess
import time

import pytest

from lab import BUILD, PATIENCE, ROOT

FRESHET = os.path.join(BUILD, "freshet")
IPXE = "/usr/lib/ipxe/ipxe.efi"
STARTED = "FR-10"


def run(*cmd, **kw):
    return subprocess.run([str(c) for c in cmd], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True, **kw).stdout


class NetLab:
    def __init__(self, tmp):
        self.tmp, self.ns, self.procs = tmp, ["fsh%d" % os.getpid()], []
        self.data, self.tftp = tmp / "data", tmp / "tftp"
        self.tftp.mkdir()
        os.chmod(tmp, 0o755)
        for n in self.ns:
            run("ip", "netns", "add", n)
        srv = self.ns[0]
        for cmd in ("link set lo up", "link add br0 type bridge", "addr add 10.0.0.1/24 dev br0", "link set br0 up",
                    "tuntap add tap0 mode tap", "link set tap0 master br0", "link set tap0 up"):
            run("ip", "-n", srv, *cmd.split())

    def start(self, ns, *cmd, log):
        out = open(self.tmp / log, "w", encoding="utf-8")
        self.procs.append(subprocess.Popen(["ip", "netns", "exec", ns] + [str(c) for c in cmd], stdin=subprocess.DEVNULL,
                                           stdout=out, stderr=subprocess.STDOUT))
        return self.procs[-1]

    def site(self, *args):
        disk = self.tmp / "disk.raw"
        disk.write_bytes(b"no operating system in 32 bytes!" * 2048)
        run(FRESHET, "key", "new", self.data)
        run(FRESHET, "image", "build", "--quiet", "--data", self.data, "--name", "x", "--channel", "lab/stable", disk)
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

    def pc(self, *args, until=STARTED, limit=240, code="OVMF_CODE_4M.fd", variables="OVMF_VARS_4M.fd", machine="q35,smm=off"):
        """Boot a PC without a disk; its console until @until is there."""
        shutil.copy("/usr/share/OVMF/" + variables, self.tmp / "vars")
        console = self.tmp / "console"
        console.write_bytes(b"")
        q = self.start(self.ns[0], "qemu-system-x86_64", "-nodefaults", "-display", "none", "-no-user-config", "-M", machine, "-accel", "tcg",
                       "-cpu", "qemu64", "-m", "512M", "-no-reboot", "-serial", "file:%s" % console,
                       "-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/" + code,
                       "-drive", "if=pflash,format=raw,file=%s" % (self.tmp / "vars"),
                       "-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no",
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
            q.kill()
            q.wait()

    def logs(self):
        return "".join("\n-- %s\n%s" % (n, (self.tmp / n).read_text(errors="replace")[-3000:])
                       for n in ("qemu.log", "dnsmasq.log", "freshetd.log") if (self.tmp / n).exists())

    def log(self, name):
        return (self.tmp / name).read_text(encoding="utf-8", errors="replace")

    def close(self):
        for p in reversed(self.procs):
            if p.poll() is None:
                p.kill()
                p.wait()
        for n in self.ns:
            subprocess.run(["ip", "netns", "del", n], check=False)


@pytest.fixture
def net(tmp_path):
    assert os.geteuid() == 0, "network namespaces need root"
    n = NetLab(tmp_path)
    yield n
    n.close()


def test_pxe_standalone(net):
    net.site()
    net.dnsmasq("--range", "10.0.0.100,10.0.0.200")
    net.pc()
    assert "sent %s/ipxe.efi" % net.tftp in net.log("dnsmasq.log")
    assert "GET /boot.ipxe" in net.log("freshetd.log") and "GET /freshet.efi" in net.log("freshetd.log")
