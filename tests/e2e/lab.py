"""A lab in one process: PCs (QEMU), a server (freshetd), and eyes on both.

Everything waits for events - a pattern on a serial line, a QMP event, the end
of a process - with a generous limit, never for a number of seconds. A run
keeps its logs under its own folder and names them when something fails.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("FRESHET_BUILD", os.path.join(ROOT, "build"))
OVMF_CODE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
OVMF_VARS = "/usr/share/OVMF/OVMF_VARS_4M.fd"

# Slow machines: one factor for every limit.
PATIENCE = float(os.environ.get("FRESHET_PATIENCE", "1"))


class LabError(Exception):
    pass


# PCs whose emulator itself crashed. QEMU 7.2 with a thread per CPU has a race of its own: while one CPU
# sizes a BAR, an access of another CPU to device memory looks its region up in the new map by an index of
# the old one (iotlb_to_section), and memory_region_dispatch_write() gets none. Whatever runs in it dies.
emulator_crashes = []


def run(*cmd, **kw):
    """Run a program of ours; its output is in the error when it fails."""
    p = subprocess.run([str(c) for c in cmd], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, check=False, **kw)
    if p.returncode:
        raise LabError("%s\nexited with %d:\n%s" % (" ".join(map(str, cmd)), p.returncode, p.stdout))
    return p.stdout


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Serial:
    """One serial port of a PC: a growing text that can be waited on and written to."""

    def __init__(self, path, log):
        self.path, self.log = path, open(log, "wb")
        self.text, self.cond, self.closed = "", threading.Condition(), False
        self.pos = 0
        self.sock = None

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            try:
                data = self.sock.recv(65536)
            except OSError:
                data = b""
            with self.cond:
                if not data:
                    self.closed = True
                    self.cond.notify_all()
                    self.log.close()
                    return
                self.log.write(data)
                self.log.flush()
                self.text += data.decode("utf-8", "replace")
                self.cond.notify_all()

    def send(self, text):
        self.sock.sendall(text.encode())

    def wait(self, pattern, limit, what=None, bad=None, alive=None):
        """Wait for a regular expression after the last one matched."""
        rx, bad_rx = re.compile(pattern), re.compile(bad) if bad else None
        end = time.monotonic() + limit * PATIENCE
        with self.cond:
            while True:
                tail = self.text[self.pos:]
                m = rx.search(tail)
                if m:
                    self.pos += m.end()
                    return m
                if bad_rx:
                    b = bad_rx.search(tail)
                    if b:
                        raise LabError("saw %r while waiting for %s" % (b.group(0), what or pattern))
                left = end - time.monotonic()
                if self.closed:
                    raise LabError("the PC ended while waiting for %s" % (what or pattern))
                if left <= 0:
                    raise LabError("%.0f s passed without %s; last output:\n%s"
                                   % (limit * PATIENCE, what or pattern, tail[-1500:]))
                self.cond.wait(min(left, 0.5))
                if alive:
                    alive()


class Qmp:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.file = self.sock.makefile("r")
        self.events = []
        json.loads(self.file.readline())
        self.cmd("qmp_capabilities")

    def cmd(self, command, **args):
        self.sock.sendall((json.dumps({"execute": command, "arguments": args}) + "\n").encode())
        while True:
            line = self.file.readline()
            if not line:
                raise LabError("QEMU closed its monitor during %s" % command)
            r = json.loads(line)
            if "event" in r:
                self.events.append(r)
            elif "error" in r:
                raise LabError("QMP %s: %s" % (command, r["error"]["desc"]))
            else:
                return r.get("return")

    def hmp(self, line):
        return self.cmd("human-monitor-command", **{"command-line": line})


class Disk:
    """A PC's disk: a sparse raw file. @bus is nvme or ahci; @faults a file of QEMU's blkdebug, or None."""

    def __init__(self, path, mib, serial="LAB0001", bus="nvme", faults=None):
        self.path, self.mib, self.serial, self.bus, self.faults = path, mib, serial, bus, faults
        if not os.path.exists(path):
            with open(path, "wb") as f:
                f.truncate(mib * 1048576)

    def args(self, n, snapshot, bootindex):
        """QEMU's options for it as disk number @n. A disk on AHCI is behind port @n of q35's own controller."""
        path = "blkdebug:%s:%s" % (self.faults, self.path) if self.faults else self.path
        device = {"nvme": "nvme,id=disk%d" % n, "ahci": "ide-hd,bus=ide.%d" % n}[self.bus]
        return ["-drive", "if=none,id=d%d,format=raw,cache=writeback,discard=unmap,file=%s,snapshot=%s"
                % (n, path, "on" if snapshot else "off"),
                "-device", "%s,drive=d%d,serial=%s%s" % (device, n, self.serial,
                                                         ",bootindex=%d" % bootindex if bootindex else "")]


class Pc:
    """A lab PC. `disk` is a Disk, a list of them or None; `tftp` a folder for firmware PXE, or None; `card` QEMU's name of the NIC.

    Its cable goes into QEMU's own network, or where `net` (a netdev of QEMU) says; `run` comes before the command.
    """

    def __init__(self, folder, name, disk=None, tftp=None, bootfile="boot.ipxe", cpus=2, mem="2G",
                 nic=True, link=True, boot="net", extra=(), snapshot=False, cpu="qemu64,+svm,+npt",
                 accel="tcg", card="e1000e", net=None, mac="52:54:00:f0:00:01", run=()):
        self.folder = os.path.join(folder, name)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        self.name, self.cpus = name, cpus
        # Unix socket paths are short; the run's folder may not be.
        self.tmp = subprocess.check_output(["mktemp", "-d", "/tmp/lab.XXXXXX"], text=True).strip()
        vars_fd = os.path.join(self.folder, "vars.fd")
        shutil.copy(OVMF_VARS, vars_fd)
        cmd = [*run, "qemu-system-x86_64", "-nodefaults", "-display", "none", "-no-user-config",
               "-M", "q35,smm=off", "-accel", accel, "-cpu", cpu, "-smp", str(cpus), "-m", mem,
               "-drive", "if=pflash,format=raw,readonly=on,file=" + OVMF_CODE,
               "-drive", "if=pflash,format=raw,file=" + vars_fd,
               "-qmp", "unix:%s/qmp,server=on,wait=off" % self.tmp,
               "-chardev", "socket,id=c1,path=%s/com1,server=on,wait=off" % self.tmp,
               "-chardev", "socket,id=c2,path=%s/com2,server=on,wait=off" % self.tmp,
               "-serial", "chardev:c1", "-serial", "chardev:c2", "-S",
               "-device", "VGA,romfile="]
        disks = disk if isinstance(disk, (list, tuple)) else [disk] if disk else []
        for n, d in enumerate(disks):
            cmd += d.args(n, snapshot, n + 1 if boot == "disk" else None)
        if nic:
            net = (net or "user") + ",id=n0"
            if tftp:
                net += ",tftp=%s,bootfile=%s" % (tftp, bootfile)
            cmd += ["-netdev", net, "-device", card +
                    ",id=nic0,netdev=n0,mac=" + mac + (",bootindex=0" if boot == "net" else ",romfile=")]
        cmd += list(extra)
        with open(os.path.join(self.folder, "cmd"), "w", encoding="utf-8") as f:
            f.write(" ".join(cmd) + "\n")
        self.err = open(os.path.join(self.folder, "qemu.log"), "w", encoding="utf-8")
        self.proc = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=self.err, stderr=self.err)
        self.com1 = Serial(self.tmp + "/com1", os.path.join(self.folder, "console.log"))
        self.com2 = Serial(self.tmp + "/com2", os.path.join(self.folder, "vmm.log"))
        end = time.monotonic() + 20 * PATIENCE
        while True:
            try:
                self.qmp = Qmp(self.tmp + "/qmp")
                self.com1.connect()
                self.com2.connect()
                break
            except OSError:
                if self.proc.poll() is not None or time.monotonic() > end:
                    self.kill()
                    raise LabError("QEMU did not start: see %s/qemu.log" % self.folder) from None
                time.sleep(0.05)
        if nic and not link:
            self.qmp.cmd("set_link", name="nic0", up=False)
        self.started = time.monotonic()
        self.qmp.cmd("cont")

    def seconds(self):
        return time.monotonic() - self.started

    def link(self, up):
        self.qmp.cmd("set_link", name="nic0", up=up)

    def efer(self):
        """EFER of every CPU, as the machine (not the guest) sees it."""
        regs = self.qmp.hmp("info registers -a")
        return [int(v, 16) for v in re.findall(r"EFER=([0-9a-f]+)", regs)]

    def check_no_escape(self):
        """Every CPU must be under the VMM: SVME set in its real EFER."""
        efer = self.efer()
        if len(efer) != self.cpus or not all(e & 0x1000 for e in efer):
            raise LabError("a CPU runs outside the VMM: EFER " + " ".join("%x" % e for e in efer))

    def login(self, limit=400, user="root", password="freshet", prompt=r"lab login: "):
        self.com1.wait(prompt, limit, "the login prompt", bad=r"Kernel panic|emergency mode|grub rescue>")
        at = self.seconds()
        self.login_at = at
        self.com1.send(user + "\n")
        self.com1.wait(r"Password: ", 60, "the password prompt")
        self.com1.send(password + "\n")
        self.com1.wait(r"[#$] ", 120, "a shell prompt")
        self.n = 0
        self.sh("stty -echo; export TERM=dumb PS1=; dmesg -n 1")
        return at

    def tiny(self, limit=300):
        """Wait for the small guest's shell; seconds since power-on."""
        self.com1.wait(r"tiny login: ready", limit, "the small guest", bad=r"Kernel panic|grub rescue>")
        at = self.seconds()
        self.com1.wait(r"# ", 60, "its shell")
        self.n = 0
        self.sh("stty -echo; PS1=")
        return at

    def sh(self, command, limit=120):
        """Run a command in the guest's shell; its output, or an error when it fails."""
        self.n += 1
        mark = "@%d@" % self.n
        self.com1.send("%s; echo %s''$?%s''end\n" % (command, mark, mark))
        m = self.com1.wait(r"(?s)^(.*?)%s(\d+)%send" % (mark, mark), limit, "the end of: " + command)
        out = m.group(1).replace("\r", "")
        if int(m.group(2)):
            raise LabError("in the guest, %r failed with %s:\n%s" % (command, m.group(2), out[-2000:]))
        return out

    def power_off(self, limit=120):
        """Power off from the guest's shell and wait for QEMU to end."""
        self.com1.send("poweroff\n")
        self.wait_end(limit)

    def wait_end(self, limit=120):
        try:
            self.proc.wait(limit * PATIENCE)
        except subprocess.TimeoutExpired:
            raise LabError("the PC did not power off; see " + self.folder) from None
        self.close()

    def kill(self):
        """Power cut."""
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        self.close()

    def close(self):
        if self.proc.returncode == -signal.SIGSEGV and self not in emulator_crashes:
            emulator_crashes.append(self)
        self.err.close()
        shutil.rmtree(self.tmp, ignore_errors=True)

    def vmm_log(self):
        with self.com2.cond:
            return self.com2.text

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc, tb):
        if exc_type:
            sys.stderr.write("PC %s: logs in %s\n" % (self.name, self.folder))
            if self.proc.poll() is None:
                try:
                    with open(os.path.join(self.folder, "registers"), "w", encoding="utf-8") as f:
                        f.write(self.qmp.hmp("info registers -a"))
                except (LabError, OSError):
                    pass
        self.kill()


class Server:
    """freshetd on loopback over a data folder."""

    def __init__(self, data, log, port=None, args=()):
        self.data, self.log, self.args = data, log, list(args)
        self.port = port or free_port()
        self.proc = None

    @property
    def url(self):
        return "http://10.0.2.2:%d" % self.port

    def start(self, *args):
        out = open(self.log, "a", encoding="utf-8")
        self.proc = subprocess.Popen([os.path.join(BUILD, "freshetd"), "--data", self.data, "--listen",
                                      "127.0.0.1:%d" % self.port, *self.args, *args],
                                     stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        end = time.monotonic() + 20 * PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if self.proc.poll() is not None or time.monotonic() > end:
                    raise LabError("freshetd did not start: see " + self.log) from None
                time.sleep(0.05)

    def stop(self):
        if self.proc and self.proc.poll() is None:
            self.proc.terminate()
            self.proc.wait(20)

    def kill(self):
        if self.proc and self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()

    def __enter__(self):
        return self.start() if not self.proc else self

    def __exit__(self, *exc):
        self.stop()


def make_site(data, port, raw, channel="lab/stable", name="debian", efi=None, options=(), settings=None, label="first"):
    """Keys, image, channel, netboot files: everything an admin does once. Returns image figures."""
    freshet = os.path.join(BUILD, "freshet")
    if not os.path.exists(os.path.join(data, "site.key")):
        run(freshet, "key", "new", data)
    figures = os.path.join(data, "image-%s.json" % name)
    if raw and not os.path.exists(figures):
        run(freshet, "image", "build", "--data", data, "--key", data + "/site.key", "--name", name,
            "--channel", channel, "--label", label, "--json", figures, raw)
    opts = []
    for o in options:
        opts += ["--option", o]
    run(freshet, "boot", "build", "--data", data, "--key", data + "/site.key", "--efi",
        efi or os.path.join(BUILD, "freshet.efi"), "--server", "http://10.0.2.2:%d" % port, *opts)
    for k, v in (settings or {}).items():
        run(freshet, "site", "set", "--data", data, k, v)
    if not raw:
        return {}
    with open(figures, encoding="utf-8") as f:
        return json.load(f)


def make_tftp(folder, port):
    """What firmware PXE fetches first: a script that goes on over HTTP."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "boot.ipxe"), "w", encoding="utf-8") as f:
        f.write("#!ipxe\nchain http://10.0.2.2:%d/boot.ipxe || reboot\n" % port)
    return folder


def site_set(data, key, value):
    run(os.path.join(BUILD, "freshet"), "site", "set", "--data", data, key, value)


def data_disk(path):
    """QEMU options for a read-only disk whose bytes are a file's (the list of checksums)."""
    return ["-drive", "if=none,id=list,format=raw,readonly=on,file.locking=off,file=" + path, "-device", "virtio-blk-pci,drive=list,serial=list,romfile="]


def boot_esp(folder, data, options=()):
    """QEMU options for a small bootable disk with the site's freshet.efi; @options replace its freshet.conf."""
    img = os.path.join(folder, "boot-esp.img")
    conf = os.path.join(data, "netboot", "freshet.conf")
    if options:
        conf = os.path.join(folder, "boot-esp.conf")
        with open(conf, "w", encoding="utf-8") as f:
            f.write("\n".join(options) + "\n")
    with open(img, "wb") as f:
        f.truncate(64 << 20)
    run("mformat", "-i", img, "-F", "::")
    run("mmd", "-i", img, "::/EFI", "::/EFI/BOOT")
    run("mcopy", "-i", img, os.path.join(data, "netboot", "freshet.efi"), "::/EFI/BOOT/BOOTX64.EFI")
    run("mcopy", "-i", img, conf, "::/EFI/BOOT/freshet.conf")
    return ["-drive", "if=none,id=esp,format=raw,file=" + img,
            "-device", "virtio-blk-pci,drive=esp,serial=esp,bootindex=0,romfile="]


def null_esp(folder, data):
    """The same, with the VMM taking no device."""
    return boot_esp(folder, data, ["mode null"])


def guest_check_files(pc):
    """sha256sum -c in the guest over the list on the data disk; the names that differ."""
    n = os.path.getsize(os.path.join(BUILD, "images", "debian.sha256"))
    pc.sh("modprobe virtio_blk; head -c %d /dev/disk/by-id/virtio-list > /run/list" % n)
    out = pc.sh("cd / && { sha256sum -c --quiet /run/list 2>&1 | grep -v '^sha256sum: WARNING' | tee /run/bad | head -20; wc -l < /run/bad; }", 1200)
    lines = out.strip().split("\n")
    return lines[:-1] if int(lines[-1]) else []


def vmm_say(pc):
    """Ask the VMM for its figures on COM2: a write to the scratch register of the port it owns."""
    for _ in range(20):  # it answers once a second at most
        pc.sh("printf F | dd of=/dev/port bs=1 seek=$((0x2ff)) conv=notrunc 2>/dev/null")
        try:
            return pc.com2.wait(r"(?s)counters: begin(.*?)counters: end", 1, "the VMM's figures").group(1)
        except LabError:
            if pc.proc.poll() is not None:
                raise
    raise LabError("the VMM does not answer when asked for its figures")


def wait_fill(pc, limit=300):
    """Until the store is complete."""
    end = time.monotonic() + limit * PATIENCE
    while "store: complete" not in pc.vmm_log():
        if time.monotonic() > end or pc.proc.poll() is not None:
            raise LabError("the store is not complete; see %s/vmm.log" % pc.folder)
        time.sleep(0.2)


def vmm_counters(pc):
    """Exits by reason, all CPUs together, since launch."""
    counts = {}
    for m in re.finditer(r"exits: (\w+) count=(\d+)", vmm_say(pc)):
        counts[m.group(1)] = counts.get(m.group(1), 0) + int(m.group(2))
    return counts


def vmm_stats(pc):
    """key=value figures of disk, network and memory."""
    return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", vmm_say(pc))}


def vmm_reserved(pc):
    return vmm_stats(pc)["reserved_bytes"]
