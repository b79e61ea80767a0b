"""PCs without a disk, and with an old network card: memory behind the store, a card without messages."""

import hashlib
import os
import re

import pytest

import lab


# One CPU here: while QEMU 7.2 runs a thread per CPU, sizing BARs on one may misdirect an APIC write of the
# other (lab.emulator_crashes), and these machines size more of them. Two CPUs stream without a disk in Bochs.


def off(pc):
    pc.com1.send("poweroff -f\n")
    pc.wait_end()


@pytest.mark.parametrize("cpus,card", [(1, "e1000"), (1, "e1000e")])
def test_streams_without_a_disk(site, server, start, cpus, card):
    """The virtual NVMe stands where nothing was; the firmware boots from the loader's Block I/O."""
    lab.site_set(site, "claim", "none")
    pc = start("pc", None, cpus=cpus, card=card)
    pc.com1.wait(r"disk: \d+ MiB of memory", 60, "the memory that stands in for a disk")
    pc.tiny()
    pc.check_no_escape()
    assert int(pc.sh("grep -c ^processor /proc/cpuinfo").split()[-1]) == cpus
    pc.sh("verify", 300)
    pc.sh("scribble here 8")
    pc.sh("scribbled here 8")
    assert "0x010802" in pc.sh("cat /sys/class/nvme/nvme0/device/class")
    pc.sh("grep -q nvme0q1 /proc/interrupts")  # MSI-X as ever
    # written before a reboot, gone after it, and the PC comes back
    pc.com1.send("reboot -f\n")
    pc.tiny()
    pc.sh("! scribbled here 8")
    pc.sh("verify 0 16", 300)
    off(pc)


@pytest.mark.parametrize("card", ["e1000", "e1000e", "virtio-net-pci"])
def test_netboot_without_a_disk(folder, site, server, card):
    """The whole way: firmware PXE, iPXE on the same card, freshet.efi, the OS; no disk anywhere."""
    tftp = lab.make_tftp(os.path.join(folder, "tftp"), server.port)
    with lab.Pc(folder, "pc", tftp=tftp, cpus=1, card=card) as pc:
        pc.tiny()
        pc.check_no_escape()
        pc.sh("verify 0 32", 300)
        off(pc)


def test_memory_above_4_gib(site, server, start):
    """More than there is in one piece below 4 GiB; the guest cannot reach it."""
    pc = start("pc", None, mem="6G", options=["server 10.0.2.2:%d" % server.port, "memory 3000"])
    pc.tiny()
    pc.sh("verify", 300)
    lab.wait_fill(pc)  # the whole image fits easily
    m = re.search(r"hooked memory-disk base=([0-9a-f]+) bytes=([0-9a-f]+)", pc.vmm_log())
    base, size = int(m.group(1), 16), int(m.group(2), 16)
    assert base >= 1 << 32 and size == 3000 << 20
    ram = [(int(a, 16), int(b, 16)) for a, b in re.findall(r"([0-9a-f]+)-([0-9a-f]+) : System RAM", pc.sh("cat /proc/iomem"))]
    assert ram and not [r for r in ram if r[0] < base + size and r[1] >= base]
    off(pc)


def test_disk_left_alone(site, server, disk, start):
    """Option `disk none`: the PC's own disk is neither read nor written."""
    with open(disk.path, "r+b") as f:
        f.write(b"somebody's" * 1000)
    before = hashlib.sha256(open(disk.path, "rb").read()).digest()
    pc = start("pc", disk, card="e1000", options=["server 10.0.2.2:%d" % server.port, "disk none", "memory 256"])
    pc.com1.wait(r"disk: 256 MiB of memory", 60, "the memory that stands in for a disk")
    pc.tiny()
    pc.sh("test -b /dev/nvme1n1")  # the OS has it beside the virtual one
    off(pc)
    assert hashlib.sha256(open(disk.path, "rb").read()).digest() == before


def test_memory_smaller_than_what_is_read(site, server, start):
    """Chunks that do not fit are read again from the server; writes go on until the store is full."""
    pc = start("pc", None, options=["server 10.0.2.2:%d" % server.port, "memory 96"])
    pc.tiny()
    pc.sh("verify", 300)
    pc.sh("verify", 300)
    pc.sh("scribble small 2")
    pc.sh("scribbled small 2")
    pc.sh("! scribble large 60")
    pc.sh("dmesg | grep -q 'I/O error\\|critical space'")
    pc.sh("verify 0 16", 300)
    off(pc)
    assert "store full" in pc.vmm_log()


def test_old_card_and_a_disk(site, server, disk, start):
    """82540EM beside NVMe: claim, stream, fill; then from the disk with the cable out."""
    pc = start("first", disk, cpus=1, card="e1000")
    pc.tiny()
    pc.sh("verify", 300)
    lab.wait_fill(pc)
    pc.sh("scribble kept 4")
    off(pc)
    pc = start("second", disk, cpus=1, card="e1000", link=False)
    pc.tiny()
    pc.check_no_escape()
    pc.sh("verify", 300)
    pc.sh("scribbled kept 4")
    off(pc)


def test_no_card_no_disk(site, server, start):
    pc = start("pc", None, nic=False)
    pc.com1.wait(r"FR-13 [\s\S]*no disk[\s\S]*Enter: restart", 60, "the trouble screen", bad="tiny login")


def test_too_much_memory_asked_for(site, server, start):
    pc = start("pc", None, options=["server 10.0.2.2:%d" % server.port, "memory 4096"])
    pc.com1.wait(r"FR-12 [\s\S]*no 4096 MiB in one piece[\s\S]*Enter: restart", 60, "the trouble screen", bad="tiny login")


def test_quiet_guest_and_no_tick(site, server, start):
    """A card without messages ticks only while an answer is awaited."""
    pc = start("pc", None, card="e1000")
    pc.tiny()
    pc.sh("sleep 20")
    before = lab.vmm_counters(pc)
    pc.sh("sleep 10")
    after = lab.vmm_counters(pc)
    delta = {k: after.get(k, 0) - before.get(k, 0) for k in after}
    off(pc)
    assert delta.get("hlt", 0) + delta.get("intr", 0) <= 200, delta
    assert os.path.exists(pc.folder)
