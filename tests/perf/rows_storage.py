"""What the disk costs: the virtual NVMe under Freshet against the bare one, and instructions on the host.

The small guest runs tests/guest/blkload.c. Bare and under Freshet it has the same
NVMe of the same QEMU; under Freshet the store is complete, so everything is local. An exit costs ten times and
more in TCG what it costs on a processor, so the printed exits per read bound each ratio. Long reads are bound by
the sum of each 4 KiB, by tables on an emulated CPU: QEMU's qemu64 has no SSE4.2, and with a model that has it TCG
would go bit by bit in a helper, slower still. What updates and guest
writes cost in bytes is a unit test (disk_figures): there it is exact.
"""

import os
import re
import subprocess

import lab
from lab import BUILD, Disk, LabError
from load import counted, load, program, ready

LOADS = {  # device, mode, bytes, depth, count
    "seq": ("/dev/tiny2", "seq", 131072, 8, 1000),
    "rand": ("/dev/tiny2", "rand", 4096, 1, 3000),
    "rand32": ("/dev/tiny2", "rand", 4096, 32, 6000),
    "flush": ("/dev/tiny3", "flush", 4096, 1, 400),
}
BESIDE = ("/dev/tiny3", "rand", 4096, 1, 3000)


def bare(folder, raw, extra):
    with lab.Pc(folder, "bare", disk=Disk(raw, 512), snapshot=True, boot="disk", nic=False, extra=extra) as pc:
        ready(pc)
        pc.sh("dd if=/dev/zero of=/dev/tiny3 bs=1M count=64 conv=fsync 2>/dev/null")
        out = {name: load(pc, *what) for name, what in LOADS.items()}
        pc.com1.send("poweroff -f\n")
        pc.wait_end()
    return out


def filling(pc):
    """Reads of what the guest has written itself, while fill goes on and when it is over."""
    pc.sh("dd if=/dev/urandom of=/dev/tiny3 bs=1M count=32 conv=fsync 2>/dev/null", 300)
    before = lab.vmm_stats(pc)["fill_chunks"]
    for _ in range(60):
        pc.sh("sleep 1")
        if lab.vmm_stats(pc)["fill_chunks"] > before + 8:
            break
    else:
        raise LabError("fill does not begin")
    a = lab.vmm_stats(pc)
    on = load(pc, *BESIDE)
    b = lab.vmm_stats(pc)
    on["filled"] = b["fill_chunks"] - a["fill_chunks"]
    return on


def freshet(folder, raw, extra):
    data, port = os.path.join(folder, "data"), lab.free_port()
    os.makedirs(data)
    lab.make_site(data, port, raw, name="blk", settings={"fill_limit": "2048"})
    tftp = lab.make_tftp(os.path.join(folder, "tftp"), port)
    disk = Disk(os.path.join(folder, "pc.raw"), 1024)
    with lab.Server(data, os.path.join(folder, "freshetd.log"), port):
        with lab.Pc(folder, "fill", disk=disk, tftp=tftp, extra=extra) as pc:
            ready(pc)
            on = filling(pc)
            lab.wait_fill(pc, 600)
            off = load(pc, *BESIDE)
            pc.com1.send("poweroff -f\n")
            pc.wait_end()
        with lab.Pc(folder, "local", disk=disk, boot="disk", extra=extra) as pc:
            ready(pc)
            pc.sh("dd if=/dev/zero of=/dev/tiny3 bs=1M count=64 conv=fsync 2>/dev/null", 300)
            out = {name: counted(pc, *what) for name, what in LOADS.items()}
            pc.com1.send("poweroff -f\n")
            pc.wait_end()
    return out, on, off


def callgrind(folder, n):
    """Instructions of @n local reads by the host build: all, the fake device's, the checksums'."""
    out = os.path.join(folder, "callgrind.%d" % n)
    exe = os.path.join(BUILD, "unit", "disk_figures")
    lab.run("valgrind", "--tool=callgrind", "--callgrind-out-file=" + out, exe, "reads", str(n))
    said = subprocess.check_output(["callgrind_annotate", "--inclusive=yes", "--threshold=100", out], text=True)

    def total(pattern):
        m = re.search(r"^ *([\d,]+) .*" + pattern, said, re.M)
        return int(m.group(1).replace(",", "")) if m else 0
    return total("PROGRAM TOTALS"), total(r":dev_copy\b"), total(r":crc32c\b")


def instructions(run):
    a, b = callgrind(run.folder, 1000), callgrind(run.folder, 5000)
    total, device, sums = ((y - x) / 4000 for x, y in zip(a, b))
    run.details["callgrind"] = {"total": total, "device": device, "sums": sums}
    return total - device, sums


def rows(run):
    each, sums = instructions(run)
    images = os.path.join(BUILD, "images")
    lab.run(os.path.join(lab.ROOT, "tests/guest/tiny.sh"), images, "one")
    raw, extra = os.path.join(images, "tiny-one.raw"), program(run.folder)
    was = bare(run.folder, raw, extra)
    now, on, off = freshet(run.folder, raw, extra)
    run.details.update(bare=was, freshet=now, fill_on=on, fill_off=off)
    out = []
    for name, what, bar in (("seq", "sequential read", 0.85), ("rand", "4 KiB random read", 0.6),
                            ("flush", "4 KiB write + flush", 0.5)):
        ratio = was[name]["us"] / now[name]["us"]
        out.append(("%s, Freshet / bare" % what, "%.2f" % ratio, bar, ratio >= bar))
        exits = sum(now[name]["exits"].values()) / now[name]["ops"]
        print("%s: bare %.0f us, Freshet %.0f us, %.2f exits each" %
              (what, was[name]["us"] / was[name]["ops"], now[name]["us"] / now[name]["ops"], exits), flush=True)
    for name, depth, bar in ("rand", 1, 3), ("rand32", 32, 0.5):
        exits = sum(now[name]["exits"].values()) / now[name]["ops"]
        out.append(("VM exits per 4 KiB random read, depth %d" % depth, "%.2f" % exits, bar, exits <= bar))
    for what, r in ("on", on), ("off", off):
        out.append(("4 KiB random read, us p50 / p99, fill " + what, "%d / %d" % (r["p50"], r["p99"]), "", None))
    out.append(("instructions per 4 KiB local read, host build", "%.0f" % each, "", None))
    out.append(("  of which its checksum", "%.0f" % sums, "", None))
    return out
