"""Reads through the AHCI front-end: what they cost in exits, and how fast they are.

Two PCs run side by side and take turns: the small guest's own disk behind
QEMU's AHCI, and the same image from a complete store behind the same AHCI,
with Freshet's AHCI before it. One CPU each; tests/guest/blkload.c reads. Then
exits again with NVMe before NVMe.

Exits are counts, and the questions for them are taken out; throughput is a
ratio of medians of turns that alternate. Linux's driver writes two registers
for each command and reads three and writes two for each interrupt, and each
of them is an exit; rows_storage.py tells what else bounds an emulated PC.
"""

import os
import re
import shutil
import statistics

import lab
from lab import BUILD, Disk, LabError, Pc, Server
from load import counted, load, program, ready

DATA = "/dev/tiny2"  # has no repetition
KIB4 = 4096
COST = {1: 1000, 32: 4000}  # reads by depth
# what, mode, block, depth, reads in a turn, bar
LOADS = (("sequential, 128 KiB, depth 4", "seq", 131072, 4, 2048, 0.85),
         ("random, 4 KiB, depth 32", "rand", KIB4, 32, 6000, 0.6))


def freshet_pc(folder, name, data, bus, extra):
    return Pc(folder, name, disk=Disk(os.path.join(folder, name + ".raw"), 1024, bus=bus), cpus=1, boot="esp",
              extra=extra + lab.boot_esp(folder, data))


def costs(run, pc, what, depths):
    rows = []
    for depth in depths:
        by = counted(pc, DATA, "rand", KIB4, depth, COST[depth])["exits"]
        per = sum(by.values()) / COST[depth]
        run.details["exits_%s_%d" % (what, depth)] = {"reads": COST[depth], "exits": by}
        print("%s, depth %d: exits of %d reads: %s" % (what, depth, COST[depth], ", ".join("%s %d" % i for i in sorted(by.items()))), flush=True)
        rows.append(("exits per random 4 KiB read, %s, depth %d" % (what, depth), "%.2f" % per, "", None))
    return rows


def races(run, bare, ours):
    rows = []
    for what, mode, block, depth, count, bar in LOADS:
        t = {bare: [], ours: []}
        for _ in range(run.rounds):
            for pc in (bare, ours):
                t[pc].append(load(pc, DATA, mode, block, depth, count)["us"] / 1e6)
        ratio = statistics.median(t[bare]) / statistics.median(t[ours])
        run.details["seconds " + what] = {"bare": t[bare], "freshet": t[ours]}
        mib = block * count / 2**20
        print("%s: bare %.0f MiB/s, freshet %.0f MiB/s" % (what, mib / statistics.median(t[bare]), mib / statistics.median(t[ours])), flush=True)
        rows.append(("AHCI / bare AHCI, %s" % what, "%.2f" % ratio, ">= %.2f" % bar, ratio >= bar))
    return rows


def rows(run):
    images = os.path.join(BUILD, "images")
    lab.run(os.path.join(lab.ROOT, "tests/guest/tiny.sh"), images, "one")
    raw = os.path.join(images, "tiny-one.raw")
    data, port = os.path.join(run.folder, "data"), lab.free_port()
    os.makedirs(data)
    lab.make_site(data, port, raw, name="tiny", settings={"policy": "push", "claim": "blank"})
    own = os.path.join(run.folder, "bare.raw")
    shutil.copyfile(raw, own)
    extra = program(run.folder)
    out = []
    with Server(data, os.path.join(run.folder, "freshetd.log"), port):
        with Pc(run.folder, "bare", disk=Disk(own, 320, bus="ahci"), cpus=1, boot="disk", nic=False, extra=extra) as bare, \
             freshet_pc(run.folder, "ahci", data, "ahci", extra) as ours:
            ready(bare)
            ready(ours)
            lab.wait_fill(ours)
            out += costs(run, ours, "AHCI", (1, 32))
            out += races(run, bare, ours)
            if re.search(r"[EW] ahci", ours.vmm_log()):
                raise LabError("the VMM's AHCI driver complains: see %s/vmm.log" % ours.folder)
        with freshet_pc(run.folder, "nvme", data, "nvme", extra) as ours:
            ready(ours)
            lab.wait_fill(ours)
            out += costs(run, ours, "NVMe", (32,))
    return out
