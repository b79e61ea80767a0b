"""Boots of the full Debian in QEMU, and what its idle guest costs.

Every boot is of the same image in the same QEMU; bare, null (the VMM with
nothing mediated), cold and warm boots alternate, and medians are compared.
"""

import os
import re
import shutil
import statistics

import lab
from lab import BUILD, Disk, LabError, Pc, Server


def login(pc, poweroff=True, after=None):
    t = pc.login()
    if after:
        after(pc)
    if poweroff:
        pc.power_off()
    return t


def idle(pc, figures):
    """Exits of an idle guest at its shell, store complete, per CPU and second."""
    pc.sh("sleep 20")
    a = lab.vmm_counters(pc)
    pc.sh("sleep 30")
    b = lab.vmm_counters(pc)
    delta = {k: b.get(k, 0) - a.get(k, 0) for k in b}
    figures["idle_exits"] = {k: v for k, v in delta.items() if v}
    figures["idle_per_cpu_s"] = sum(delta.values()) / 30 / pc.cpus
    figures["idle_forbidden"] = delta.get("hlt", 0) + delta.get("intr", 0)


def work(pc):
    """What a person does after login, in short: programs are started, files read and written."""
    pc.sh("find /usr/bin /usr/lib -type f -size -300k | head -3000 | xargs cat | sha256sum", 600)
    pc.sh("dd if=/dev/zero of=/var/tmp/bench bs=64k count=500 conv=fsync 2>&1; rm /var/tmp/bench; sync", 600)


def longest(pc):
    """Longest stay in the VMM since the figures were last asked for, and what took the time."""
    said = lab.vmm_say(pc)
    us, why = re.search(r"longest us=(\d+) reason=(\S+)", said).groups()
    phase_us, phase = re.search(r"longest_phase_us=(\d+) phase=(\S+)", said).groups()
    return int(us), "exit %s; longest phase of the pump %s, %.1f ms" % (why, phase, int(phase_us) / 1000)


def boots(folder, rounds):
    """Seconds to the login prompt of each kind of boot, and the figures of the last round."""
    raw = os.path.join(BUILD, "images", "debian.raw")
    data = os.path.join(folder, "data")
    os.makedirs(data)
    port = lab.free_port()
    lab.make_site(data, port, raw, settings={"policy": "boot"})
    tftp = lab.make_tftp(os.path.join(folder, "tftp"), port)
    t = {"bare": [], "null": [], "cold": [], "warm": []}
    f = {}
    with Server(data, os.path.join(folder, "freshetd.log"), port):
        n = tries = 0
        while n < rounds:
            print("round %d of %d" % (n + 1, rounds), flush=True)
            try:
                one_round(folder, data, raw, tftp, t, f, last=n == rounds - 1)
            except LabError:
                tries += 1
                if not lab.emulator_crashes or tries > rounds:
                    raise
                print("  QEMU itself has crashed (SIGSEGV): the round again", flush=True)
                lab.emulator_crashes.clear()
                for v in t.values():
                    del v[n:]
                continue
            print("  " + "  ".join("%s %.1f s" % (k, v[-1]) for k, v in t.items()), flush=True)
            n += 1
    return t, f


def one_round(folder, data, raw, tftp, t, f, last):
    with Pc(folder, "bare", disk=Disk(raw, 4096), snapshot=True, boot="disk", nic=False) as pc:
        t["bare"].append(login(pc))
    with Pc(folder, "null", disk=Disk(raw, 4096), snapshot=True, boot="esp", nic=False,
            extra=lab.null_esp(folder, data)) as pc:
        t["null"].append(login(pc))
    # The first PC's boot, each time: what a profile of earlier boots changes is another module's.
    shutil.rmtree(os.path.join(data, "profiles"), ignore_errors=True)
    path = os.path.join(folder, "pc.raw")
    if os.path.exists(path):
        os.unlink(path)
    disk = Disk(path, 8192)
    with Pc(folder, "cold", disk=disk, tftp=tftp) as pc:
        t["cold"].append(pc.login())
        s = lab.vmm_stats(pc)
        f["wire"], f["plain"], f["asked"] = s["wire_bytes"], s["fetched_bytes"], s["asked_bytes"]
        f["reserved"] = s["reserved_bytes"]
        f["used_memory"] = s["used_bytes"]
        if last:
            work(pc)
        lab.wait_fill(pc, 900)
        f["longest_cold"] = longest(pc)
        pc.power_off()
    with Pc(folder, "warm", disk=disk, boot="disk") as pc:
        t["warm"].append(pc.login())
        if last:
            lab.vmm_say(pc)
            work(pc)
            f["longest_warm"] = longest(pc)
            idle(pc, f)
        pc.power_off()


def rows(run):
    t, f = boots(run.folder, run.rounds)
    med = {k: statistics.median(v) for k, v in t.items()}
    with open(os.path.join(BUILD, "images", "debian.info"), encoding="utf-8") as info:
        used = int(dict(line.split(None, 1) for line in info)["used_bytes"])
    efi = os.path.getsize(os.path.join(BUILD, "freshet.efi"))
    run.details.update(seconds=t, median=med, figures=f, used_bytes=used, efi_bytes=efi)
    print("medians of %d: %s" % (run.rounds, "  ".join("%s %.1f s" % i for i in med.items())), flush=True)
    out = [(name, fmt % v, bar, v <= bar) for name, v, bar, fmt in (
        ("warm boot / null boot", med["warm"] / med["null"], 1.10, "%.2f"),
        ("null boot / bare boot", med["null"] / med["bare"], 1.30, "%.2f"),
        ("cold boot / bare boot", med["cold"] / med["bare"], 2.0, "%.2f"),
        ("plain bytes fetched before login / asked for", f["plain"] / f["asked"], 1.3, "%.2f"),
        ("bytes over the wire before login / asked for", f["wire"] / f["asked"], 1.3, "%.2f"),
        ("plain bytes fetched before login / used bytes", f["plain"] / used, 0.35, "%.3f"),
        ("exits per second and CPU, idle", f["idle_per_cpu_s"], 20, "%.1f"),
        ("of those HLT or external interrupt", f["idle_forbidden"], 0, "%d"),
        ("VMM memory, MiB", f["reserved"] / 2**20, 64, "%.1f"),
        ("freshet.efi, MiB", efi / 2**20, 2, "%.2f"),
    )]
    for key, when in ("longest_cold", "while it fills"), ("longest_warm", "store complete"):
        us, why = f[key]
        print("longest stay in the VMM after login, %s: %s" % (when, why), flush=True)
        out.append(("longest stay in the VMM after login, " + when, "%.1f ms" % (us / 1000), "", None))
    return out
