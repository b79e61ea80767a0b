"""The controller that the guest sees is another than the PC's own."""

import re

import lab


def off(pc):
    pc.com1.send("poweroff -f\n")
    pc.wait_end()


def check_ahci(pc):
    """Linux's ahci drives it, with NCQ and by messages, and found nothing to complain of."""
    assert "attached bdf=" in pc.vmm_log() and "by=ahci" in pc.vmm_log()
    assert "0x010601" in pc.sh("cat $(readlink -f /sys/block/sda/device/../../../..)/class")
    assert not pc.sh("grep -l 0x010802 /sys/bus/pci/devices/*/class || true").strip()
    pc.sh("grep -q 'MSI.*ahci' /proc/interrupts")
    assert int(pc.sh("cat /sys/block/sda/device/queue_depth").split()[-1]) == 32
    log = pc.sh("dmesg | grep -E 'ata1|ahci|sda'")
    assert "NCQ (depth 32)" in log and "UDMA/133" in log and "Write cache: enabled" in log
    assert not re.search(r"exception|failed|error|timeout|slow", log), log


def rebind(pc, how):
    pc.sh("p=$(basename $(readlink -f /sys/block/sda/device/../../../..)); cd /sys/bus/pci; " + how +
          "; n=0; until [ -b /dev/sda3 ] || [ $n -ge 600 ]; do usleep 100000; n=$((n + 1)); done; [ -b /dev/sda3 ]", 120)


def test_ahci_before_nvme(site, server, disk, start):
    lab.site_set(site, "frontend", "ahci")
    pc = start("cold", disk)
    pc.tiny()
    pc.check_no_escape()
    check_ahci(pc)
    pc.sh("verify", 300)
    pc.sh("scribble kept 4")
    # the port is reset with reads under way, the driver goes and comes again
    pc.sh("(verify 0 32 > /run/v; echo $? > /run/rc) & echo '- - -' > /sys/class/scsi_host/host0/scan; wait; [ $(cat /run/rc) = 0 ]", 300)
    rebind(pc, "echo $p > drivers/ahci/unbind; echo $p > drivers/ahci/bind")
    rebind(pc, "echo 1 > devices/$p/remove; echo 1 > rescan")
    pc.sh("verify 0 32; scribbled kept 4", 300)
    pc.sh("dd if=/dev/zero of=/dev/tiny3 bs=1M count=2 seek=16 conv=fsync 2>/dev/null && sync")
    lab.wait_fill(pc)
    assert int(re.search(r"ahci_errors=(\d+)", lab.vmm_say(pc)).group(1)) == 0
    off(pc)
    server.stop()  # offline the store itself says what the guest sees
    pc = start("offline", disk, boot="disk", link=False)
    pc.tiny()
    check_ahci(pc)
    pc.sh("scribbled kept 4; verify", 300)
    off(pc)


def nvme_again(pc, how):
    pc.sh("p=$(basename $(readlink -f /sys/class/nvme/nvme0/device)); cd /sys/bus/pci; " + how +
          "; n=0; until [ -b /dev/nvme0n1p3 ] || [ $n -ge 600 ]; do usleep 100000; n=$((n + 1)); done; [ -b /dev/nvme0n1p3 ]", 120)


def test_nvme_comes_again(server, disk, start):
    """Reset with reads under way, unbound and bound, removed and found: each time doorbells in memory are agreed upon anew."""
    pc = start("pc", disk)
    pc.tiny()
    pc.sh("scribble kept 4")
    pc.sh("(verify 0 24 > /run/v; echo $? > /run/rc) & late=0; for i in 1 2; do usleep 300000; [ -e /run/rc ] && late=1; "
          "echo 1 > /sys/class/nvme/nvme0/reset_controller; done; wait; [ $late$(cat /run/rc) = 00 ]", 300)
    nvme_again(pc, "echo $p > drivers/nvme/unbind; echo $p > drivers/nvme/bind")
    nvme_again(pc, "echo 1 > devices/$p/remove; echo 1 > rescan")
    pc.sh("verify 0 24; scribbled kept 4", 300)
    before = lab.vmm_counters(pc)["mmio"]
    pc.sh("dd if=/dev/tiny2 of=/dev/null bs=4k count=1000 iflag=direct 2>/dev/null", 300)
    each = (lab.vmm_counters(pc)["mmio"] - before) / 1000
    assert each < 1.3, "%.2f doorbells by register for a read: no doorbell buffers" % each
    said = pc.sh("dmesg | grep -E 'nvme' || true")
    assert not re.search(r"I/O \d+ .*timeout|I/O Error|Abort|controller is down", said), said
    off(pc)
