#!/usr/bin/python3
"""The other lab: PCs in Bochs, for Intel's VMX and for a second opinion on SVM.

A Bochs is started like a lab.Pc and watched the same way, but everything about
its machine differs, so that a class of its own is clearer than options:

  firmware   OVMF.fd (the 2 MiB build; Bochs takes no larger ROM) on an i440fx,
             without fw_cfg: no ACPI and no SMBIOS tables come from it
  GRUB       \\EFI\\BOOT\\BOOTX64.EFI on the ESP. It installs our ACPI tables
             (tests/bochs/dsdt.asl and tables() below), then chains to whatever
             the test is about: freshet.efi, a bare EFI test guest, Linux
  disk       an IDE disk with the ESP, which never changes (mode=volatile).
             There is no NVMe or AHCI
  NIC        e1000 (82540EM, INTx only) on in-process slirp; the host's loopback
             is 10.0.2.2. Only where a test asks for it
  serial     com1 the guest's console, com2 the VMM's log: files, polled. Input
             is not possible
  time       1 instruction is 1/ips s. Idle time is skipped (one CPU, sync none)

Bochs' exit code says nothing, so the end of a run is read from its output: see
Bochs.end. What must never happen (a failed VM entry, a triple fault, a panic)
is looked for in the logs after each run and while waiting.

For a person with a problem:

    tests/e2e/bochs.py                                    Debian's kernel, no Freshet
    tests/e2e/bochs.py --mode null --model trinity_apu    freshet.efi takes no device, then Linux
    tests/e2e/bochs.py --mode null --cpus 2 --efi build/freshet.efi
    tests/e2e/bochs.py --mode stream --image build/images/small.raw
                                                          a server with that image, and freshet.efi
    tests/e2e/bochs.py --mode efi --efi my-test.efi --until 'tests: done'
    tests/e2e/bochs.py --mode efi --before other.efi ...   run other.efi first

Logs lie in build/bochs/<name>/: console.log (com1), vmm.log (com2), bochs.log
(with a line for each EPT violation and the reason of each failed VM entry, as
`error: cpuN=report` is on), out.txt, bochsrc; `run` there starts it again.
"""

import argparse
import glob
import os
import re
import shutil
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402

OVMF = "/usr/share/ovmf/OVMF.fd"
PARTS = os.path.join(lab.ROOT, "tests", "bochs")
IPS = 30000000
HOST_MIB = 2048  # the most that Bochs holds in memory; what a guest has beyond is in a file
CYLINDER = 16 * 63 * 512  # an IDE disk is a whole number of these

# What the machine must never say, wherever it says it.
BAD_LOG = re.compile(r"VMENTER FAIL|VMFAIL|3rd \(\d+\) exception|PANIC")
GOOD_PANIC = re.compile(r"ACPI control: soft power off|Shutdown port: shutdown requested")

BOCHSRC = """\
config_interface: textconfig
display_library: rfb, options="timeout=0"
romimage: file=%(ovmf)s, address=0xffe00000, options=none
vgaromimage: file=/usr/share/vgabios/vgabios.bin
cpu: model=%(model)s, count=%(cpus)d, ips=%(ips)d, reset_on_triple_fault=0
memory: guest=%(mem)d, host=%(host)d
clock: sync=%(sync)s, time0=utc
boot: disk
ata0-master: type=disk, path="%(disk)s", mode=volatile, journal=%(folder)s/
com1: enabled=1, mode=file, dev=%(folder)s/console.log
com2: enabled=1, mode=file, dev=%(folder)s/vmm.log
log: %(folder)s/bochs.log
panic: action=fatal
error: action=report, %(report)s
info: action=report, %(ignore)s
debug: action=ignore
sound: driver=dummy
speaker: enabled=0
mouse: enabled=0
port_e9_hack: enabled=1
pci: enabled=1, chipset=i440fx%(slots)s
"""

SLIRP = """\
# slirp config
restricted = 0
"""


# ---------------------------------------------------------------- ACPI tables

def table(signature, revision, body):
    """A table with header and checksum [ACPI 6.4 §5.2.6]."""
    t = struct.pack("<4sIBB6s8sI4sI", signature, 36 + len(body), revision, 0, b"FRSHET", b"BOCHS\0\0\0", 1,
                    b"FRSH", 1) + body
    return t[:9] + bytes([-sum(t) & 0xff]) + t[10:]


def gas(space, bits, address):
    """A generic address: memory 0, ports 1 [ACPI 6.4 §5.2.3.2]."""
    return struct.pack("<BBBBQ", space, bits, 0, 0, address)


def facp():
    """Fixed table [ACPI 6.4 §5.2.9]: the PIIX4's power management at 0xb000, always in ACPI mode, SCI on 9."""
    body = struct.pack("<IIBBHI4B", 0, 0, 0, 1, 9, 0, 0, 0, 0, 0)
    body += struct.pack("<8I", 0xb000, 0, 0xb004, 0, 0, 0xb008, 0, 0)  # PM1a, PM1b events, controls, PM2, timer, GPEs
    body += bytes([4, 2, 0, 4, 0, 0, 0, 0])  # their lengths
    body += struct.pack("<HHHH5BHBI", 0xfff, 0xfff, 0, 0, 0, 0, 0, 0, 0x32, 3, 0, 0x425)
    body += gas(1, 8, 0xcf9) + bytes([6, 0, 0, 0])  # reset
    body += bytes(16)  # FACS, DSDT: GRUB
    for bits, address in ((32, 0xb000), (0, 0), (16, 0xb004), (0, 0), (0, 0), (32, 0xb008), (0, 0), (0, 0)):
        body += gas(1, bits, address)
    assert len(body) == 244 - 36
    return table(b"FACP", 3, body)


def madt(cpus):
    """Interrupt controllers [ACPI 6.4 §5.2.12]: the PIT stands at input 2; SCI is level, active high."""
    body = struct.pack("<II", 0xfee00000, 1)
    for i in range(cpus):
        body += struct.pack("<BBBBI", 0, 8, i, i, 1)
    body += struct.pack("<BBBBII", 1, 12, cpus, 0, 0xfec00000, 0)
    body += struct.pack("<BBBBIH", 2, 10, 0, 0, 2, 0)
    body += struct.pack("<BBBBIH", 2, 10, 0, 9, 9, 0xd)
    body += struct.pack("<BBBHB", 4, 6, 0xff, 0, 1)
    return table(b"APIC", 3, body)


def hpet():
    return table(b"HPET", 1, struct.pack("<I", 0x8086a201) + gas(0, 0, 0xfed00000) + bytes(4))


def tables(folder, cpus):
    """The four files that GRUB installs."""
    os.makedirs(folder, exist_ok=True)
    lab.run("iasl", "-p", os.path.join(folder, "dsdt"), os.path.join(PARTS, "dsdt.asl"))
    for name, data in (("facp", facp()), ("apic", madt(cpus)), ("hpet", hpet())):
        with open(os.path.join(folder, name + ".aml"), "wb") as f:
            f.write(data)
    return {"acpi/%s.aml" % n: os.path.join(folder, n + ".aml") for n in ("dsdt", "facp", "apic", "hpet")}


# ---------------------------------------------------------------- the ESP

def grub(out, template, **values):
    """A GRUB whose whole configuration is inside it, from a template of tests/bochs."""
    with open(os.path.join(PARTS, template), encoding="ascii") as f:
        text = re.sub(r"(?m)^#.*\n", "", f.read())  # GRUB's small parser knows no comments
    for k, v in values.items():
        text = text.replace("@%s@" % k, v)
    with open(out + ".cfg", "w", encoding="ascii") as f:
        f.write(text)
    lab.run("grub-mkimage", "-O", "x86_64-efi", "-c", out + ".cfg", "-p", "/", "-o", out, "part_gpt", "part_msdos", "fat",
            "search", "search_fs_file", "acpi", "chain", "linux", "boot", "echo", "serial", "terminal", "sleep", "reboot", "halt",
            "test")
    return out


def gpt_fat(path, files):
    """A disk with one partition, an ESP, as large as its @files need."""
    room = sum(os.path.getsize(p) for p in files.values()) + (38 << 20)
    room = (room + CYLINDER - 1) // CYLINDER * CYLINDER
    if os.path.exists(path):
        os.remove(path)
    with open(path, "wb") as f:
        f.truncate(room)
    lab.run("sfdisk", "-q", path, input="label: gpt\nstart=1MiB, size=%d, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n"
            % (room // 512 - 4096))
    at = path + "@@1M"
    lab.run("mformat", "-i", at, "-F", "-T", str(room // 512 - 4096), "-h", "16", "-s", "63", "::")
    made = set()
    for name, source in files.items():
        parts = name.split("/")[:-1]
        for i in range(len(parts)):
            d = "/".join(parts[:i + 1])
            if d not in made:
                lab.run("mmd", "-i", at, "::/" + d)
                made.add(d)
        lab.run("mcopy", "-i", at, source, "::/" + name)
    return path


def make_esp(folder, cpus, start, files=(), before=()):
    """The boot disk: GRUB, tables, @files ({name on the ESP: source}); GRUB ends in @start.

    @before: EFI applications that GRUB runs first; they come back.
    """
    boot = os.path.join(folder, "esp")
    files = dict(files, **tables(boot, cpus))
    lines = ""
    for i, app in enumerate(before):
        files["before%d.efi" % i] = app
        lines += 'echo "grub: run %s"\nchainloader /before%d.efi\nboot\n' % (os.path.basename(app), i)
    files["EFI/BOOT/BOOTX64.EFI"] = grub(os.path.join(boot, "first.efi"), "acpi.cfg.in", BEFORE=lines, NEXT=start)
    return gpt_fat(os.path.join(folder, "esp.img"), files)


def linux_files(folder, kernel, initrd, args=""):
    """An OS on the ESP: \\os\\grub.efi starts Linux."""
    os.makedirs(folder, exist_ok=True)
    return {"os/grub.efi": grub(os.path.join(folder, "linux.efi"), "linux.cfg.in", ARGS=args),
            "os/vmlinuz": kernel, "os/initrd.gz": initrd}


def small_initrd(folder, script, programs=(), modules=None):
    """An initramfs of busybox whose init is @script, run after /dev, /proc, /sys.

    @programs: more of them, for /bin; @modules: a tar of modules, and the list that becomes /modules.list.
    """
    os.makedirs(folder, exist_ok=True)
    rd, out = os.path.join(folder, "rd"), os.path.join(folder, "initrd.gz")
    shutil.rmtree(rd, ignore_errors=True)
    for d in ("bin", "dev", "proc", "sys", "run"):
        os.makedirs(os.path.join(rd, d))
    for program in ("/bin/busybox", *programs):
        shutil.copy(program, os.path.join(rd, "bin"))
    if modules:
        lab.run("tar", "-C", rd, "-xf", modules[0])
        shutil.copy(modules[1], os.path.join(rd, "modules.list"))
    with open(os.path.join(rd, "init"), "w", encoding="ascii") as f:
        f.write("#!/bin/busybox sh\n/bin/busybox --install -s /bin\nmount -t devtmpfs dev /dev\n"
                "mount -t proc proc /proc\nmount -t sysfs sys /sys\n" + script)
    os.chmod(os.path.join(rd, "init"), 0o755)
    subprocess.run("find . | LC_ALL=C sort | cpio -o -H newc --quiet | gzip -1 > " + out, shell=True, cwd=rd, check=True)
    return out


LOOK = """\
exec > /dev/ttyS0 2>&1
echo "guest: up after $(cut -d' ' -f1 /proc/uptime) s"
echo "guest: cpus=$(grep -c ^processor /proc/cpuinfo)"
echo "guest: $(grep -m1 'model name' /proc/cpuinfo)"
grep -qwE 'vmx|svm' /proc/cpuinfo && echo "guest: sees virtualization" || echo "guest: sees no virtualization"
dmesg | grep -E 'ACPI: (PCI: Interrupt|Interpreter|[A-Z]{4} )|smpboot|BUG|Oops|WARNING|rror'
sync
echo "guest: done"
poweroff -f
"""


# ---------------------------------------------------------------- the machine

class File:
    """A serial port that Bochs writes to a file; a growing text that can be waited on."""

    def __init__(self, pc, path):
        self.pc, self.path, self.pos = pc, path, 0
        self.text, self.read = "", 0

    def refresh(self):
        try:
            with open(self.path, "rb") as f:
                f.seek(self.read)
                data = f.read()
        except FileNotFoundError:
            return
        self.read += len(data)
        self.text += data.decode("utf-8", "replace")

    def wait(self, pattern, limit, what=None, bad=None):
        """Wait for a regular expression after the last one matched."""
        rx, bad_rx = re.compile(pattern), re.compile(bad) if bad else None
        end = time.monotonic() + limit * lab.PATIENCE
        while True:
            ended = self.pc.proc.poll() is not None
            self.refresh()
            tail = self.text[self.pos:]
            m = rx.search(tail)
            if m:
                self.pos += m.end()
                return m
            b = bad_rx and bad_rx.search(tail)
            if b:
                raise lab.LabError("saw %r while waiting for %s" % (b.group(0), what or pattern))
            if ended:
                raise lab.LabError("Bochs ended (%s) while waiting for %s; last output:\n%s"
                                   % (self.pc.end(), what or pattern, tail[-1500:]))
            self.pc.check()
            if time.monotonic() > end:
                raise lab.LabError("%.0f s passed without %s; last output:\n%s"
                                   % (limit * lab.PATIENCE, what or pattern, tail[-1500:]))
            time.sleep(0.2)


class Bochs:
    """A PC in Bochs that boots @esp; @nic gives it a network."""

    def __init__(self, folder, name, esp, model="corei7_haswell_4770", cpus=1, mem=1024, ips=IPS, nic=False,
                 sync="none", report=True):
        self.folder = os.path.abspath(os.path.join(folder, name))
        self.name, self.cpus = name, cpus
        os.makedirs(self.folder, exist_ok=True)
        for old in glob.glob(self.folder + "/*.log") + glob.glob(self.folder + "/out.txt"):
            os.remove(old)
        slots = ""
        if nic:
            self.write("slirp.conf", SLIRP)
            slots = (", slot1=e1000\ne1000: enabled=1, mac=52:54:00:f0:00:01, ethmod=slirp, ethdev=%s, script=%s/slirp.conf"
                     % (self.folder, self.folder))
        all_cpus = ["cpu%d" % i for i in range(cpus)]
        self.write("bochsrc", BOCHSRC % {
            "ovmf": OVMF, "model": model, "cpus": cpus, "ips": ips, "mem": mem, "host": min(mem, HOST_MIB), "sync": sync,
            "disk": os.path.abspath(esp),
            "folder": self.folder, "slots": slots,
            "report": ", ".join(c + ("=report" if report else "=ignore") for c in all_cpus),
            "ignore": ", ".join(c + "=ignore" for c in all_cpus)})
        self.write("rc", "c\n")  # Debian's build stops in its debugger first
        cmd = ["bochs-bin", "-q", "-f", self.folder + "/bochsrc", "-rc", self.folder + "/rc"]
        self.write("run", "#!/bin/sh\nexec " + " ".join(cmd) + " < /dev/null\n")
        os.chmod(self.folder + "/run", 0o755)
        self.log_read, self.log_tail, self.used = 0, "", 0.0
        self.out = open(os.path.join(self.folder, "out.txt"), "w", encoding="utf-8")
        self.started = time.monotonic()
        self.proc = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.out, cwd=self.folder)
        self.com1 = File(self, self.folder + "/console.log")
        self.com2 = File(self, self.folder + "/vmm.log")

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="ascii") as f:
            f.write(text)

    def seconds(self):
        return time.monotonic() - self.started

    def cpu_seconds(self):
        """What the emulator has used so far: what emulation costs, however busy the machine is."""
        try:
            with open("/proc/%d/stat" % self.proc.pid, encoding="ascii") as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            return self.used
        self.used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return self.used

    def end(self):
        """Why Bochs ended, in its own words; None while it runs."""
        if self.proc.poll() is None:
            return None
        with open(os.path.join(self.folder, "out.txt"), encoding="utf-8", errors="replace") as f:
            text = f.read()
        m = re.search(r"exiting with the following message:\s*\n(.*)", text)
        if m:
            return m.group(1).strip()
        if "fgets() returned ERROR" in text:
            return "reset"
        return "no message, status %s; last output:\n%s" % (self.proc.returncode, text[-600:])

    def check(self):
        """Has the log something that must never be there?"""
        try:
            with open(self.folder + "/bochs.log", "rb") as f:
                f.seek(self.log_read)
                data = f.read()
        except FileNotFoundError:
            return
        self.log_read += len(data)
        *lines, self.log_tail = (self.log_tail + data.decode("utf-8", "replace")).split("\n")
        for line in lines:
            if BAD_LOG.search(line) and not GOOD_PANIC.search(line):
                raise lab.LabError("Bochs: %s; see %s/bochs.log" % (line, self.folder))

    def wait_end(self, limit=120):
        """Until the guest has powered off."""
        end = time.monotonic() + limit * lab.PATIENCE
        while self.proc.poll() is None:
            self.check()
            if time.monotonic() > end:
                self.kill()
                raise lab.LabError("%s did not power off; see %s" % (self.name, self.folder))
            time.sleep(0.2)
        self.close()
        self.check()
        if not GOOD_PANIC.search(self.end()):
            raise lab.LabError("Bochs ended with: " + self.end())

    def vmm_log(self):
        self.com2.refresh()
        return self.com2.text

    def kill(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        self.close()

    def close(self):
        self.out.close()
        self.com1.refresh()
        self.com2.refresh()

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc, tb):
        if exc_type:
            sys.stderr.write("Bochs %s: logs in %s\n" % (self.name, self.folder))
        self.kill()


# ---------------------------------------------------------------- by hand

def prepare(folder, args):
    """The ESP for the command line's wish."""
    work = os.path.join(folder, "esp")
    os.makedirs(work, exist_ok=True)
    if args.mode == "efi":
        return make_esp(folder, args.cpus, "/test.efi", {"test.efi": args.efi}, args.before)
    kernel = os.path.join(lab.BUILD, "images", "vmlinuz")
    files = linux_files(work, args.kernel or kernel, small_initrd(work, LOOK), args.append)
    if args.mode == "bare":
        return make_esp(folder, args.cpus, "/os/grub.efi", files, args.before)
    conf = os.path.join(work, "freshet.conf")
    options, efi = ["mode null", "loader \\os\\grub.efi"], args.efi
    if args.mode == "stream":
        options, efi = ["server 10.0.2.2:%d" % args.server.port], os.path.join(args.server.data, "netboot", "freshet.efi")
    with open(conf, "w", encoding="ascii") as f:
        f.write("\n".join(options + args.option) + "\n")
    files.update({"EFI/freshet/freshet.efi": efi, "EFI/freshet/freshet.conf": conf})
    return make_esp(folder, args.cpus, "/EFI/freshet/freshet.efi", files, args.before)


def watch(pc, until, limit):
    """Show both serial ports until something ends the run."""
    shown = {pc.com1: 0, pc.com2: 0}
    while True:
        ended = pc.proc.poll() is not None
        for port, prefix in ((pc.com1, ""), (pc.com2, "vmm| ")):
            port.refresh()
            for line in port.text[shown[port]:].split("\n")[:-1]:
                print("%6.1f %6.1f %s%s" % (pc.seconds(), pc.cpu_seconds(), prefix, re.sub(r"\x1b\[[0-9;?=]*[A-Za-z]|\r", "", line)), flush=True)
                shown[port] += len(line) + 1
        if until and re.search(until, pc.com1.text):
            print("%6.1f seen: %s" % (pc.seconds(), until))
            return 0
        m = re.search(r"GNU GRUB +version|grub rescue>|^restarting", pc.com1.text, re.M)
        if m:
            print("%6.1f stopped: %s" % (pc.seconds(), m.group(0)))
            return 1
        pc.check()
        if ended:
            print("%6.1f ended: %s" % (pc.seconds(), pc.end()))
            return 0 if GOOD_PANIC.search(pc.end()) else 1
        if pc.seconds() > limit:
            print("%6.1f the limit; logs in %s" % (pc.seconds(), pc.folder))
            return 1
        time.sleep(0.2)


def main():
    ap = argparse.ArgumentParser(description="One PC in Bochs, logs in build/bochs/<name>.",
                                 formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    ap.add_argument("--mode", choices=("bare", "null", "stream", "efi"), default="bare",
                    help="bare: Linux alone; null: freshet.efi and Linux; stream: freshet.efi and a server with --image; "
                    "efi: any application")
    ap.add_argument("--name", default="hand")
    ap.add_argument("--model", default="corei7_haswell_4770")
    ap.add_argument("--cpus", type=int, default=1)
    ap.add_argument("--mem", type=int, default=1024, help="MiB")
    ap.add_argument("--ips", type=int, default=IPS)
    ap.add_argument("--sync", default="none")
    ap.add_argument("--efi", default=os.path.join(lab.BUILD, "freshet.efi"))
    ap.add_argument("--before", action="append", default=[], help="EFI applications to run first")
    ap.add_argument("--kernel", help="instead of the image's own")
    ap.add_argument("--append", default="", help="for the kernel's command line")
    ap.add_argument("--image", default=os.path.join(lab.BUILD, "images", "small.raw"), help="a raw disk")
    ap.add_argument("--option", action="append", default=[], help="lines for freshet.conf")
    ap.add_argument("--nic", action="store_true")
    ap.add_argument("--until", help="end when the console shows this")
    ap.add_argument("--limit", type=float, default=300, help="seconds")
    args = ap.parse_args()
    folder = os.path.join(lab.BUILD, "bochs")
    own = os.path.join(folder, args.name)
    os.makedirs(own, exist_ok=True)
    if args.mode == "stream":
        args.nic = True
        data, port = os.path.join(own, "data"), lab.free_port()
        shutil.rmtree(data, ignore_errors=True)
        os.makedirs(data)
        lab.make_site(data, port, args.image, name="hand", efi=args.efi)
        args.server = lab.Server(data, os.path.join(own, "freshetd.log"), port).start()
    try:
        esp = prepare(own, args)
        with Bochs(folder, args.name, esp, args.model, args.cpus, args.mem, args.ips, args.nic, args.sync) as pc:
            return watch(pc, args.until, args.limit)
    except lab.LabError as e:
        print("FAIL %s" % e)
        return 1
    finally:
        if args.mode == "stream":
            args.server.stop()


if __name__ == "__main__":
    sys.exit(main())
