#!/usr/bin/python3
"""Where a boot's time goes: every CPU's RIP, sampled through QEMU's monitor from power-on to the login prompt.

    tests/perf/where.py [--kind cold|warm|null] [--every MS] [--top N]

Prints the share of samples in the guest, waiting (HLT), and in each function of the VMM. QEMU's monitor stops the
CPUs for a sample, so the boot takes longer than it would; shares of the VMM's functions are what to read, not seconds.
"""

import argparse
import bisect
import collections
import os
import re
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import lab  # noqa: E402

VMM_BASE = 0xFFFFFFFF80000000


def symbols():
    """(addresses, names) of the VMM's functions, in order."""
    out = subprocess.check_output(["nm", "-n", "--defined-only", os.path.join(lab.BUILD, "vmm.elf")], text=True)
    found = [(int(a, 16), n) for a, t, n in (line.split() for line in out.splitlines()) if t in "tT"]
    return [a for a, _ in found], [n for _, n in found]


class Sampler(threading.Thread):
    """Counts what the CPUs are at until told to end."""

    def __init__(self, pc, every):
        super().__init__(daemon=True)
        self.pc, self.every, self.over = pc, every, threading.Event()
        self.addresses, self.names = symbols()
        self.end = self.addresses[-1] + 4096
        self.counts = collections.Counter()

    def name(self, rip, cr3_is_ours, halted):
        if not cr3_is_ours or not VMM_BASE <= rip < self.end:
            return "(halted)" if halted else "(guest)"
        if halted:
            return "(halted in the VMM)"
        return self.names[bisect.bisect_right(self.addresses, rip) - 1]

    def run(self):
        while not self.over.wait(self.every):
            try:
                said = self.pc.qmp.hmp("info registers -a")
            except lab.LabError:
                return
            for cpu in re.split(r"^CPU#\d+", said, flags=re.M)[1:]:
                rip, hlt = re.search(r"RIP=([0-9a-f]+)", cpu), re.search(r"HLT=(\d)", cpu)
                gdt = re.search(r"^GDT= +([0-9a-f]+)", cpu, re.M)
                ours = gdt and int(gdt.group(1), 16) >= VMM_BASE and int(gdt.group(1), 16) < self.end + (64 << 20)
                if rip:
                    self.counts[self.name(int(rip.group(1), 16), ours, hlt and hlt.group(1) == "1")] += 1


def sampled(folder, name, every, **kw):
    with lab.Pc(folder, name, **kw) as pc:
        s = Sampler(pc, every)
        s.start()
        t = pc.login()
        s.over.set()
        s.join()
        pc.power_off()
    return t, s.counts


def boot(kind, folder, every):
    raw, data, port = os.path.join(lab.BUILD, "images", "debian.raw"), os.path.join(folder, "data"), lab.free_port()
    os.makedirs(data)
    lab.make_site(data, port, raw, settings={"policy": "boot"})
    if kind == "null":
        return sampled(folder, kind, every, disk=lab.Disk(raw, 4096), snapshot=True, boot="esp", nic=False, extra=lab.null_esp(folder, data))
    tftp = lab.make_tftp(os.path.join(folder, "tftp"), port)
    disk = lab.Disk(os.path.join(folder, "pc.raw"), 8192)
    with lab.Server(data, os.path.join(folder, "freshetd.log"), port):
        if kind == "cold":
            return sampled(folder, kind, every, disk=disk, tftp=tftp)
        with lab.Pc(folder, "fill", disk=disk, tftp=tftp) as pc:
            pc.login()
            lab.wait_fill(pc, 900)
            pc.power_off()
        return sampled(folder, kind, every, disk=disk, boot="disk")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    ap.add_argument("--kind", choices=("cold", "warm", "null"), default="cold")
    ap.add_argument("--every", type=int, default=20, help="milliseconds between samples")
    ap.add_argument("--top", type=int, default=30, help="lines to print")
    ap.add_argument("--folder", default=os.path.join(lab.BUILD, "where"))
    a = ap.parse_args()
    shutil.rmtree(a.folder, ignore_errors=True)
    os.makedirs(a.folder)
    start = time.monotonic()
    t, counts = boot(a.kind, a.folder, a.every / 1000)
    total = sum(counts.values())
    print("%s: login after %.1f s, %d samples, in all %.0f s" % (a.kind, t, total, time.monotonic() - start))
    for name, n in counts.most_common(a.top):
        print("%5.1f %%  %s" % (100 * n / total, name))


if __name__ == "__main__":
    main()
