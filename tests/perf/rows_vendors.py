"""What the VMM costs in exits, on both vendors: SVM in QEMU, VMX in Bochs.

The same disk in both, streamed from a server: Debian's kernel with an
initramfs that runs tests/guest/readcost.c. Counts, not times, so that the
machine may be as busy as it likes. What differs is the PC: QEMU's has an NVMe
disk and a card with messages; Bochs' has neither, so that the VMM polls the card
with the tick while an answer is awaited, and sees completions at once.
"""

import os
import random
import re

import bochs
import lab
from lab import BUILD, LabError

READS = 32  # a power of two, see readcost.c
STRIDE = 256 * 1024  # more than a chunk
IDLE = 20
MIB = 1 << 20

SCRIPT = """\
exec > /dev/ttyS0 2>&1
while read -r m; do insmod /lib/modules/*/$m 2>/dev/null; done < /modules.list
n=0
until [ -b /dev/nvme0n1p2 ] || [ $n -ge 300 ]; do usleep 100000; n=$((n + 1)); done
readcost /dev/nvme0n1 %d %d %d %d
poweroff -f
"""


def disk_image(folder):
    """ESP with GRUB, kernel and initramfs; behind it a partition without a repetition."""
    path = os.path.join(folder, "cost.raw")
    size = READS * STRIDE
    first = 96 * MIB
    prog = os.path.join(folder, "readcost")
    lab.run("gcc", "-O2", "-Wall", "-Wextra", "-static", "-s", "-o", prog, os.path.join(lab.ROOT, "tests/guest/readcost.c"))
    images = os.path.join(BUILD, "images")
    initrd = bochs.small_initrd(folder, SCRIPT % (first, STRIDE, READS, IDLE), programs=[prog],
                                modules=(os.path.join(images, "modules.tar"), os.path.join(images, "modules.list")))
    files = bochs.linux_files(folder, os.path.join(images, "vmlinuz"), initrd, "quiet cryptomgr.notests")
    files["EFI/BOOT/BOOTX64.EFI"] = files["os/grub.efi"]
    bochs.gpt_fat(path, files)
    if os.path.getsize(path) > first:
        raise LabError("the ESP is larger than %d MiB" % (first // MIB))
    with open(path, "r+b") as f:
        f.truncate(first + size + MIB)
        f.seek(first)
        f.write(random.Random(1).randbytes(size))
    lab.run("sfdisk", "-q", "--relocate", "gpt-bak-std", path)
    lab.run("sfdisk", "-q", "--append", path, input="start=%d, size=%d\n" % (first // 512, size // 512))
    return path


def site(folder, raw):
    data, port = os.path.join(folder, "data"), lab.free_port()
    os.makedirs(data)
    lab.make_site(data, port, raw, name="cost")
    return data, lab.Server(data, os.path.join(folder, "freshetd.log"), port)


def svm(folder, raw):
    """The VMM's log of one boot in QEMU."""
    data, server = site(folder, raw)
    with server, lab.Pc(folder, "svm", cpus=1, boot="esp", disk=lab.Disk(os.path.join(folder, "pc.raw"), 512),
                        extra=lab.boot_esp(folder, data)) as pc:
        pc.com1.wait("readcost: done", 300, bad=r"readcost: .*cannot|FR-\d+|Kernel panic")
        pc.wait_end()
        return pc.vmm_log()


def vmx(folder, raw):
    """The VMM's log of one boot in Bochs."""
    data, server = site(folder, raw)
    conf = os.path.join(folder, "freshet.conf")
    with open(conf, "w", encoding="ascii") as f:
        f.write("server 10.0.2.2:%d\n" % server.port)
    esp = bochs.make_esp(folder, 1, "/EFI/freshet/freshet.efi", {
        "EFI/freshet/freshet.efi": os.path.join(data, "netboot", "freshet.efi"), "EFI/freshet/freshet.conf": conf})
    with server, bochs.Bochs(folder, "vmx", esp, nic=True) as pc:
        pc.com1.wait("readcost: done", 900, bad=r"readcost: .*cannot|FR-\d+|Kernel panic")
        pc.wait_end()
        return pc.vmm_log()


def costs(log):
    """Exits by reason for all the reads together, and for the idle time."""
    blocks = re.findall(r"counters: begin(.*?)counters: end", log, re.S)
    if len(blocks) != 5:
        raise LabError("the VMM has told its figures %d times, not 5" % len(blocks))
    if "store: complete" not in log:
        raise LabError("the store is not complete")
    a, b, c, d, e = ({m.group(1): int(m.group(2)) for m in re.finditer(r"exits: (\w+) count=(\d+)", x)} for x in blocks)

    def more(x, y):
        return {k: y[k] - x.get(k, 0) for k in y}
    asked, read, idle = more(a, b), more(b, c), more(d, e)
    idle["io"] -= 1  # the question
    return ({k: v - asked.get(k, 0) for k, v in read.items() if v != asked.get(k, 0)},
            {k: v for k, v in idle.items() if v})


def rows(run):
    raw = disk_image(run.folder)
    out = []
    for name, boot in (("SVM, QEMU", svm), ("VMX, Bochs", vmx)):
        folder = os.path.join(run.folder, boot.__name__)
        os.makedirs(folder)
        read, idle = costs(boot(folder, raw))
        run.details[boot.__name__] = {"reads": READS, "read_exits": read, "idle_seconds": IDLE, "idle_exits": idle}
        for what, n in (("%d reads of 4 KiB, streamed" % READS, read), ("%d s idle" % IDLE, idle)):
            print("%s: exits of %s: %s" % (name, what, ", ".join("%s %d" % i for i in sorted(n.items()))), flush=True)
        out.append(("exits for one streamed 4 KiB read, " + name, "%.1f" % (sum(read.values()) / READS), "", None))
        per_s = sum(idle.values()) / IDLE
        out.append(("exits per second of an idle guest, " + name, "%.2f" % per_s, 20, per_s <= 20))
    return out
