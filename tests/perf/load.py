"""tests/guest/blkload.c in the small guest, brought in by a disk, and the exits that it takes."""

import os
import re

import lab
from lab import LabError


def program(folder):
    """QEMU's options for a disk whose bytes are the program."""
    path = os.path.join(folder, "blkload")
    lab.run("gcc", "-O2", "-Wall", "-Wextra", "-static", "-s", "-o", path, os.path.join(lab.ROOT, "tests/guest/blkload.c"))
    with open(path, "r+b") as f:
        f.truncate((os.path.getsize(path) + 511) // 512 * 512)
    return lab.data_disk(path)


def ready(pc):
    """Wait for the guest's shell and fetch the program."""
    pc.tiny()
    pc.sh("cat /dev/$(grep -lx list /sys/block/vd*/serial | cut -d/ -f4) > /run/blkload; chmod +x /run/blkload")


def load(pc, device, mode, block, depth, count):
    """What blkload says: ops, us, and of one request's us p50, p99, max."""
    said = pc.sh("/run/blkload %s %s %d %d %d" % (device, mode, block, depth, count), 900)
    m = re.search(r"ops=(\d+) us=(\d+) p50=(\d+) p99=(\d+) max=(\d+)", said)
    if not m:
        raise LabError("blkload said: " + said)
    return dict(zip(("ops", "us", "p50", "p99", "max"), map(int, m.groups())))


def counted(pc, *what):
    """The same with "exits" by reason, less what asking for them costs."""
    a = lab.vmm_counters(pc)
    b = lab.vmm_counters(pc)
    r = load(pc, *what)
    c = lab.vmm_counters(pc)
    r["exits"] = {k: v for k, v in ((k, c[k] - 2 * b.get(k, 0) + a.get(k, 0)) for k in c) if v}
    return r
