"""The boot profile: what the first PC read is on its way to the second before its guest asks."""

import os
import re

import lab


def boot(start, name, disk):
    """A cold boot up to "the boot is over"; its figures."""
    pc = start(name, disk)
    pc.tiny()
    pc.sh("verify 40 8; verify 8 8; verify 90 4", 300)
    text = pc.com2.wait(r"deploy: the boot is over (.* ahead=\d+)\r?\n", 300, "the end of the boot").group(1)
    figures = {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", text)}
    pc.com1.send("poweroff -f\n")
    pc.wait_end()
    return figures, pc.vmm_log()


def test_second_pc_boots_ahead_of_itself(folder, site, server, disk, start):
    lab.site_set(site, "fill", "off")
    first, log = boot(start, "first", disk)
    assert "no boot profile" in log
    version = os.listdir(os.path.join(site, "profiles"))
    assert len(version) == 1 and "merged" in os.listdir(os.path.join(site, "profiles", version[0]))
    second, log = boot(start, "second", lab.Disk(os.path.join(folder, "pc2.raw"), 1024, serial="LAB0002"))
    assert "boot profile runs=" in log
    print("profile: first boot %s, second boot %s" % (first, second))
    assert first["listed"] == 0 and second["listed"] > 100
    assert second["demand"] * 10 <= first["demand"], (first, second)
