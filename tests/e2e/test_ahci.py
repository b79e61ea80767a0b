"""A PC whose own disk is behind AHCI."""

import hashlib
import json
import os
import random
import re
import tarfile

import pytest

import lab
import test_faults


@pytest.fixture
def sata(folder):
    return lab.Disk(os.path.join(folder, "sata.raw"), 1024, serial="SATA0001", bus="ahci")


def off(pc):
    pc.com1.send("poweroff -f\n")
    pc.wait_end()


def from_debian(images, line):
    """What debugfs says to @line about Debian's root in its image."""
    raw = os.path.join(images, "debian.raw")
    at = json.loads(lab.run("sfdisk", "-J", raw))["partitiontable"]["partitions"][1]["start"] * 512
    return lab.run("debugfs", "-R", line, "%s?offset=%d" % (raw, at))


def optical(folder, images):
    """QEMU's options for a drive with a disc beside the disk, and for a disk with what Linux needs for it; the disc's SHA-256."""
    disc, mods = os.path.join(folder, "disc.iso"), os.path.join(folder, "modules.tar")
    data = random.Random(6).randbytes(3 << 20)
    with open(disc, "wb") as f:
        f.write(data)
    with open(os.path.join(images, "debian.info"), encoding="utf-8") as info:
        kernel = dict(line.split(None, 1) for line in info)["kernel"].strip()
    with tarfile.open(mods, "w") as tar:
        for m in "cdrom/cdrom.ko", "scsi/sr_mod.ko":
            path = os.path.join(folder, os.path.basename(m))
            from_debian(images, "dump /usr/lib/modules/%s/kernel/drivers/%s %s" % (kernel, m, path))
            tar.add(path, os.path.basename(m))
    return ["-drive", "if=none,id=cd,format=raw,media=cdrom,readonly=on,file=" + disc,
            "-device", "ide-cd,bus=ide.1,drive=cd,id=cd0"] + lab.data_disk(mods), hashlib.sha256(data).hexdigest()


def check_optical(pc, digest):
    """The drive on the second port is the real one: read all of the disc, take it out, put up with that."""
    pc.sh("d=$(basename $(dirname $(grep -l '^list' /sys/block/vd*/serial))); tar -xf /dev/$d -C /run; "
          "insmod /run/cdrom.ko; insmod /run/sr_mod.ko; n=0; until [ -b /dev/sr0 ] || [ $n -ge 300 ]; do usleep 100000; n=$((n + 1)); done")
    assert "0000:00:1f.2/ata2/" in pc.sh("readlink -f /sys/block/sr0")
    assert digest in pc.sh("sha256sum /dev/sr0")
    pc.qmp.cmd("eject", id="cd0", force=True)
    pc.sh("! dd if=/dev/sr0 of=/run/none bs=2048 count=1 2>/dev/null")
    pc.sh("verify 0 2")
    log = pc.vmm_log()
    assert re.search(r"ahci: ready bdf=\w+ port=1 .* packets", log)
    assert not re.search(r"[EW] ahci", log)
    assert not pc.sh("dmesg | grep -E 'ata2.*(exception|frozen|reset)' || true").strip()


def test_life(server, sata, start, folder, images):
    """A blank disk is claimed, streamed to and filled; then the PC boots from its own ESP, without a network.

    A CD-ROM is behind the same controller, and the guest reads it.
    """
    extra, digest = optical(folder, images)
    pc = start("cold", sata, extra=extra)
    pc.tiny()
    check_optical(pc, digest)
    assert re.search(r"ahci: ready .* serial=SATA0001 .* ncq=1 .* irq=1", pc.vmm_log())
    pc.check_no_escape()
    # front-end "same": a virtual controller of the same kind in the real one's place, and no other
    assert pc.sh("grep -l -E '0x010[68]' /sys/bus/pci/devices/*/class").split() == ["/sys/bus/pci/devices/0000:00:1f.2/class"]
    assert "SATA0001" not in pc.sh("cat /sys/block/sd*/device/vpd_pg80 2>/dev/null || true")
    pc.sh("verify", 300)
    pc.sh("scribble kept 4")
    lab.wait_fill(pc)
    assert not re.search(r"[EW] ahci", pc.vmm_log())
    off(pc)
    server.stop()
    pc = start("offline", sata, boot="disk", link=False)
    pc.tiny()
    pc.sh("scribbled kept 4")
    pc.sh("verify", 300)
    pc.check_no_escape()
    off(pc)


# Once the disk has been claimed (its first flush), a write, a read and a flush fail once each.
TRANSIENT = """
[set-state]
state = "1"
event = "flush_to_disk"
new_state = "2"

[inject-error]
state = "2"
event = "write_aio"
iotype = "write"
errno = "5"
once = "on"

[inject-error]
state = "2"
event = "read_aio"
iotype = "read"
errno = "5"
once = "on"

[inject-error]
state = "2"
event = "flush_to_disk"
iotype = "flush"
errno = "5"
once = "on"
"""


def test_errors_are_retried(server, sata, folder, start):
    """QEMU's disk has no NCQ error log: each error costs a reset or a restart, and nobody else notices."""
    sata.faults = os.path.join(folder, "blkdebug")
    with open(sata.faults, "w", encoding="ascii") as f:
        f.write(TRANSIENT)
    pc = start("pc", sata)
    pc.tiny()
    pc.sh("scribble here 4 && scribbled here 4")
    pc.sh("verify 0 32", 300)
    assert not pc.sh("dmesg | grep -E 'I/O error|critical .* error' || true").strip()
    log = pc.vmm_log()
    assert len(re.findall(r"W ahci: recovery port=0", log)) >= 3, "the faults never struck"
    assert "ahci: dead" not in log
    pc.check_no_escape()
    off(pc)


def test_bad_block(server, site, sata, folder, images, start):
    """A block that cannot be read any more: offline that is the guest's read error, and nothing else is.

    The guest sees NVMe before AHCI here.
    """
    lab.site_set(site, "frontend", "nvme")
    pc = start("fill", sata)
    pc.tiny()
    pc.sh("verify", 300)
    lab.wait_fill(pc)
    off(pc)
    server.stop()
    at = test_faults.find_on_disk(sata, images, 40) // 512
    sata.faults = os.path.join(folder, "blkdebug")
    with open(sata.faults, "w", encoding="ascii") as f:
        f.write('[inject-error]\nevent = "none"\niotype = "read"\nerrno = "5"\nsector = "%d"\n' % at)
    pc = start("offline", sata, boot="disk", link=False)
    pc.tiny()
    pc.sh("! dd if=/dev/nvme0n1p2 of=/dev/null bs=4k skip=%d count=1 iflag=direct" % (40 * 256))
    assert "error" in pc.sh("dmesg | grep nvme0n1 | grep error || true")
    pc.sh("verify 41 20", 300)
    pc.sh("scribble after 2 && scribbled after 2")
    assert re.search(r"W ahci: command failed port=0 ", pc.vmm_log())
    assert "ahci: dead" not in pc.vmm_log()
    pc.check_no_escape()
    off(pc)


def test_serial_number_decides(site, server, folder, disk, sata, start):
    """Three blank disks: none is taken before one is claimed; the rest stay what and whose they are."""
    third = lab.Disk(os.path.join(folder, "third.raw"), 1024, serial="SATA0003", bus="ahci")
    pc = start("pc", [disk, sata, third])
    pc.com1.wait(r"FR-50 [\s\S]*3 blank disks", 120, "the refusal")
    pc.kill()
    lab.site_set(site, "claim", "serial:LAB0001")
    pc = start("claimed", [disk, sata, third])
    pc.tiny()
    assert re.search(r"deploy: disk claimed serial=LAB0001", pc.vmm_log())
    # the AHCI controller is back
    assert pc.sh("cat /sys/bus/pci/devices/0000:00:1f.2/class").strip() == "0x010601"
    pc.sh("verify 0 8", 300)
    pc.check_no_escape()
    off(pc)
    for d in (sata, third):
        assert os.stat(d.path).st_blocks == 0
