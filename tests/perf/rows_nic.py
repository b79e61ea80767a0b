"""One card, two users: what each gets, against the same guest on the bare card in the same QEMU.

The card is an emulated 82574. The small guest drives it itself ("bare"), or
has virtio-net over it while the VMM streams a disk that is large enough for
the fill to go on while it is measured. Then, with the store complete, the guest
alone. iperf3, curl and ping are this machine's, brought in by a disk.
"""

import json
import os
import random
import re
import shutil
import statistics
import subprocess
import time

import lab
import nicguest
from lab import BUILD, Disk, LabError, Pc
from second import Second

FILL_MIB = 512  # more than is filled while it is measured
SECONDS = 8
EXIT_MIB = 32
PINGS = 400
CPUS = 2
MIB = 1 << 20


def disk_image(folder):
    """The small guest's disk, with a partition without a repetition behind the others."""
    images = os.path.join(BUILD, "images")
    lab.run(os.path.join(lab.ROOT, "tests/guest/tiny.sh"), images, "one")
    path = os.path.join(folder, "wide.raw")
    shutil.copy(os.path.join(images, "tiny-one.raw"), path)
    first = os.path.getsize(path)
    rnd = random.Random(1)
    with open(path, "r+b") as f:
        f.seek(first)
        for _ in range(FILL_MIB):
            f.write(rnd.randbytes(MIB))
        f.truncate(first + (FILL_MIB + 1) * MIB)
    lab.run("sfdisk", "-q", "--relocate", "gpt-bak-std", path)
    lab.run("sfdisk", "-q", "--append", path, input="start=%d, size=%d\n" % (first // 512, FILL_MIB * MIB // 512))
    return path, nicguest.kit(images, os.path.join(folder, "kit"), ("iperf3", "curl"))


def iperf(pc, how, amount):
    """Bytes per second of one connection, as this side's iperf3 counts them. @how: send or receive, as the guest does."""
    port = lab.free_port()
    server = subprocess.Popen(["iperf3", "-s", "-1", "-J", "-B", "127.0.0.1", "-p", str(port)], stdout=subprocess.PIPE, text=True)
    try:
        pc.sh("n=0; until /run/m/iperf3 -c 10.0.2.2 -p %d %s %s > /run/iperf 2>&1; do n=$((n + 1)); [ $n -lt 10 ] || break; sleep 1; done; [ $n -lt 10 ]"
              % (port, amount, "-R" if how == "receive" else ""), 300)
        end = json.loads(server.communicate(timeout=30)[0])["end"]
    finally:
        server.kill()
        server.wait()
    return end["sum_sent" if how == "receive" else "sum_received"]["bits_per_second"] / 8


def alone(pc, rounds):
    """What the guest has from a card that nobody else uses: medians of rates, and of a ping's way and back."""
    f = {}
    for how in ("send", "receive"):
        f[how] = statistics.median(iperf(pc, how, "-t %d" % SECONDS) for _ in range(rounds))
    pc.sh("ping -c %d -i 0.02 10.0.2.2 > /run/ping" % PINGS, 300)
    ms = sorted(float(v) for v in re.findall(r"time=([0-9.]+)", pc.sh("grep -o 'time=[0-9.]*' /run/ping")))
    if len(ms) < PINGS * 0.99:
        raise LabError("%d of %d pings were answered" % (len(ms), PINGS))
    f["p50"], f["p99"] = ms[len(ms) // 2], ms[int(len(ms) * 0.99)]
    return f


def bare(run, raw, kit, url):
    with Pc(run.folder, "bare", disk=Disk(raw, 0), snapshot=True, boot="disk", cpus=CPUS, extra=lab.data_disk(kit)) as pc:
        pc.tiny()
        nicguest.driver(pc, "e1000e")
        nicguest.lease(pc)
        f = alone(pc, run.rounds)
        speeds = [float(pc.sh("/run/m/curl -s -o /dev/null -w '%%{speed_download}' %s" % url, 300)) for _ in range(run.rounds)]
        f["curl"] = statistics.median(speeds)
    return f


def wire(pc):
    return time.monotonic(), lab.vmm_stats(pc)["wire_bytes"]


def fill_rate(pc, during):
    """Bytes per second that the VMM fetches during @during(), and what that returns."""
    t0, a = wire(pc)
    r = during()
    t1, b = wire(pc)
    if "store: complete" in pc.vmm_log():
        raise LabError("the fill was over before it was measured: FILL_MIB is too small")
    return (b - a) / (t1 - t0), r


def exits(pc, how):
    """Exits by reason for a MiB of payload."""
    a = lab.vmm_counters(pc)
    iperf(pc, how, "-n %dM" % EXIT_MIB)
    b = lab.vmm_counters(pc)
    return {k: (v - a.get(k, 0)) / EXIT_MIB for k, v in b.items() if v != a.get(k, 0)}


def shared(run, raw, kit):
    data, port = os.path.join(run.folder, "data"), lab.free_port()
    os.makedirs(data)
    lab.make_site(data, port, raw, name="wide", settings={"nic": "virtio"})
    disk = Disk(os.path.join(run.folder, "pc.raw"), 4096)
    f = {}
    with lab.Server(data, os.path.join(run.folder, "freshetd.log"), port), \
            Pc(run.folder, "shared", disk=disk, cpus=CPUS, boot="esp", extra=lab.data_disk(kit) + lab.boot_esp(run.folder, data)) as pc:
        pc.tiny()
        nicguest.driver(pc)
        nicguest.lease(pc)
        f["idle"], _ = fill_rate(pc, lambda: pc.sh("sleep %d" % SECONDS))
        pc.sh("for i in $(seq %d); do (while :; do :; done) & echo $! >> /run/spin; done" % CPUS)
        f["spins"], _ = fill_rate(pc, lambda: pc.sh("sleep %d" % SECONDS))
        pc.sh("kill $(cat /run/spin); wait 2> /dev/null; true")
        f["fill"], f["beside"] = fill_rate(pc, lambda: iperf(pc, "receive", "-t %d" % SECONDS))
        lab.wait_fill(pc, 900)
        f.update(alone(pc, run.rounds))
        for how in ("receive", "send"):
            f["exits_" + how] = exits(pc, how)
    return f


def rows(run):
    raw, kit = disk_image(run.folder)
    with Second() as second:
        b = bare(run, raw, kit, second.url(64 * MIB))
    s = shared(run, raw, kit)
    run.details.update(bare=b, shared=s)
    for name, f in (("bare", b), ("shared", s)):
        print("%s: %s" % (name, ", ".join("%s %.2f" % (k, v / MIB if v > 10000 else v)
                                          for k, v in f.items() if not isinstance(v, dict))), flush=True)
    out = [(name, "%.2f" % v, bar, v >= bar) for name, v, bar in (
        ("guest TCP send, shared virtio / bare 82574", s["send"] / b["send"], 0.8),
        ("guest TCP receive, shared virtio / bare 82574", s["receive"] / b["receive"], 0.8),
        ("VMM's HTTP, guest spins on every CPU / guest idle", s["spins"] / s["idle"], 0.7),
        ("VMM's HTTP, guest idle / guest's curl, bare 82574", s["idle"] / b["curl"], 0.7),
        ("guest TCP receive, beside the fill / alone", s["beside"] / s["receive"], 0.4),
        ("fill, beside a receiving guest / guest idle", s["fill"] / s["idle"], 0.4),
    )]
    out += [(name, "%.2f" % v, bar, v <= bar) for name, v, bar in (
        ("guest's ping p50, shared / bare", s["p50"] / b["p50"], 1.5),
        ("guest's ping p99, shared / bare", s["p99"] / b["p99"], 1.5),
    )]
    for how in ("receive", "send"):
        e = s["exits_" + how]
        print("exits per MiB, guest %ss: %s" % (how, ", ".join("%s %.1f" % i for i in sorted(e.items()))), flush=True)
        out.append(("exits per MiB, guest %ss" % how, "%.1f" % sum(e.values()), "", None))
    return out
