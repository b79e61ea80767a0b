"""The full Debian with each controller before each: AHCI and NVMe, in front and behind.

Cold from the server, warm with it, offline without server and cable, in QEMU.
A boot has passed when root has logged in, every CPU is under the VMM, the guest
sees the front-end's controller and no other, and its kernel has complained of no
disk. Seconds are for reading, no bar: rows_boot.py compares boots.

FRESHET_PAIRS=ahci-nvme,... chooses front-back pairs; all four without it.
"""

import os
import re

import lab
from lab import BUILD, Disk, LabError, Pc, Server

CLASS = {"ahci": "0x010601", "nvme": "0x010802"}
DEVICE = {"ahci": "sda", "nvme": "nvme0n1"}
PAIRS = ("ahci-ahci", "ahci-nvme", "nvme-ahci", "nvme-nvme")


def check(pc, front):
    """Seconds to the login prompt of a boot that passes."""
    t = pc.login()
    pc.check_no_escape()
    seen = set(pc.sh("cat /sys/bus/pci/devices/*/class").split()) & set(CLASS.values())
    if front == "nvme":
        seen.discard(CLASS["ahci"])  # q35's own stays when the disk is not behind it
    if seen != {CLASS[front]}:
        raise LabError("the guest sees %s, not %s: %s" % (seen, CLASS[front], pc.folder))
    if "/dev/" + DEVICE[front] not in pc.sh("findmnt -no SOURCE /"):
        raise LabError("the root is not behind the front-end: " + pc.folder)
    bad = pc.sh("dmesg | grep -E 'I/O error|critical .* error|exception Emask|nvme.*(timeout|abort)' || true").strip()
    if bad:
        raise LabError("the guest's kernel complains: " + bad[:300])
    pc.sh("find /usr/bin -type f -size -300k | head -300 | xargs cat | sha256sum", 600)
    return t


def pair(folder, data, tftp, front, back, server):
    """Seconds of each kind of boot."""
    lab.site_set(data, "frontend", front)
    disk, t = Disk(os.path.join(folder, "pc-%s-%s.raw" % (front, back)), 8192, bus=back), {}
    name = "%s-%s-" % (front, back)
    server.start()
    with Pc(folder, name + "cold", disk=disk, tftp=tftp) as pc:
        t["cold"] = check(pc, front)
        lab.wait_fill(pc, 900)
        pc.power_off()
    with Pc(folder, name + "warm", disk=disk, boot="disk") as pc:
        t["warm"] = check(pc, front)
        pc.power_off()
    server.stop()
    with Pc(folder, name + "offline", disk=disk, boot="disk", link=False) as pc:
        t["offline"] = check(pc, front)
        pc.power_off()
    os.unlink(disk.path)
    return t


def rows(run):
    raw = os.path.join(BUILD, "images", "debian.raw")
    data, port, out = os.path.join(run.folder, "data"), lab.free_port(), []
    os.makedirs(data)
    lab.make_site(data, port, raw, settings={"policy": "boot"})
    tftp = lab.make_tftp(os.path.join(run.folder, "tftp"), port)
    server = Server(data, os.path.join(run.folder, "freshetd.log"), port)
    try:
        for p in os.environ.get("FRESHET_PAIRS", ",".join(PAIRS)).split(","):
            if p not in PAIRS:
                raise LabError("FRESHET_PAIRS: %r is none of %s" % (p, ", ".join(PAIRS)))
            front, back = p.split("-")
            why, t = "", None
            for _ in range(3):
                lab.emulator_crashes.clear()
                try:
                    t = pair(run.folder, data, tftp, front, back, server)
                    break
                except LabError as e:
                    why = str(e)
                    server.stop()
                    path = os.path.join(run.folder, "pc-%s.raw" % p)
                    if os.path.exists(path):
                        os.unlink(path)
                    if not lab.emulator_crashes:
                        break
                    print("%s: QEMU itself has crashed (SIGSEGV): once more" % p, flush=True)
            run.details[p] = t or why
            print("%s: %s" % (p, "  ".join("%s %.1f s" % i for i in t.items()) if t else why), flush=True)
            out.append(("Debian cold, warm, offline: %s before %s" % (front.upper(), back.upper()),
                        " / ".join("%.0f s" % v for v in t.values()) if t else "FAILED", "passes", bool(t)))
    finally:
        server.stop()
    return out
