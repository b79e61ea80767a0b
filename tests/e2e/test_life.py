"""The life of a lab PC with the small guest: netboot, stream, fill, offline, policies, sizes."""

import os
import re

import pytest

import lab


def fill(pc, limit=240):
    pc.com2.wait(r"complete=1|fill: complete|store: complete", limit, "the fill's end")


def off(pc):
    pc.com1.send("poweroff -f\n")
    pc.wait_end()


def test_netboot_stream_fill_offline(folder, site, server, disk):
    """Firmware PXE -> iPXE -> freshet.efi on a blank disk; later from the disk's own ESP without a network."""
    tftp = lab.make_tftp(os.path.join(folder, "tftp"), server.port)
    with lab.Pc(folder, "cold", disk=disk, tftp=tftp) as pc:
        pc.tiny()
        pc.check_no_escape()
        pc.sh("verify", 300)
        fill(pc)
        pc.sh("scribble kept 8")
        off(pc)
    server.stop()
    with lab.Pc(folder, "offline", disk=disk, boot="disk", link=False) as pc:
        pc.tiny()
        pc.check_no_escape()
        pc.sh("verify", 300)
        pc.sh("scribbled kept 8")
        off(pc)


def test_policy_boot_forgets(site, server, disk, start):
    lab.site_set(site, "policy", "boot")
    pc = start("first", disk)
    pc.tiny()
    pc.sh("scribble gone 4")
    pc.sh("scribbled gone 4")
    fill(pc)
    off(pc)
    pc = start("second", disk, boot="disk")
    pc.tiny()
    pc.sh("! scribbled gone 4")
    pc.sh("verify", 300)
    off(pc)


def test_guest_reboot(site, server, disk, start):
    """A reboot inside the guest comes back through firmware and loader, with what was written."""
    pc = start("pc", disk)
    pc.tiny()
    pc.sh("scribble again 2")
    pc.com1.send("reboot -f\n")
    pc.tiny()
    pc.check_no_escape()
    pc.sh("scribbled again 2")
    off(pc)


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_cpus(site, server, disk, start, cpus):
    pc = start("pc", disk, cpus=cpus)
    pc.tiny()
    pc.check_no_escape()
    assert int(pc.sh("grep -c ^processor /proc/cpuinfo").split()[-1]) == cpus
    pc.sh("verify 0 32", 300)
    off(pc)


@pytest.mark.parametrize("mem", ["1G", "6G"])
def test_memory(site, server, disk, start, mem):
    pc = start("pc", disk, mem=mem)
    pc.tiny()
    pc.check_no_escape()
    pc.sh("verify 0 32", 300)
    off(pc)


def test_cpuid_hides_svm_and_nothing_else(site, server, disk, start):
    pc = start("pc", disk)
    pc.tiny()
    pc.sh("! grep -qw svm /proc/cpuinfo")
    pc.sh("grep -qw nx /proc/cpuinfo")
    off(pc)


def test_idle_guest_causes_no_exits(site, server, disk, start):
    """Store complete, guest idle: neither HLT nor interrupts exit, and at most 20 others a second and CPU.

    A frame from the network (the server closing a connection) costs its NMI, and no tick. What still happens
    after the fill (the last report, TCP's timers, the kernel's own settling) ends; rest is what comes then.
    """
    pc = start("pc", disk, cpus=2)
    pc.tiny()
    fill(pc)
    windows = []
    before = lab.vmm_counters(pc)
    while len(windows) < 8:
        pc.sh("sleep 20")
        after = lab.vmm_counters(pc)
        windows.append({k: after[k] - before.get(k, 0) for k in after if after[k] != before.get(k, 0)})
        before = after
        if not windows[-1].get("hlt", 0) + windows[-1].get("intr", 0):
            break
    ticks = {k: v for k, v in lab.vmm_stats(pc).items() if k.startswith("tick_")}
    off(pc)
    print("20 s each: %s; ticks: %s" % (windows, ticks))
    assert windows[-1].get("hlt", 0) + windows[-1].get("intr", 0) == 0, (windows, ticks)
    assert sum(windows[-1].values()) <= 20 * 20 * 2, (windows, ticks)


def test_log_is_readable(site, server, disk, start):
    """The VMM's own serial port says who it is and what it does, a line a fact."""
    pc = start("pc", disk)
    pc.tiny()
    off(pc)
    text = pc.vmm_log()
    text = text[text.index("[    0."):]  # before: the firmware, which uses the port until the VMM has it
    lines = [line for line in text.splitlines() if line.strip()]
    odd = [line for line in lines if not re.match(r"\[ *\d+\.\d{6}\] [EWID] [\w-]+: ", line)]
    assert lines and not odd, odd[:5]
    assert not [line for line in lines if "] E " in line]
