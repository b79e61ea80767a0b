"""A disk that loses what it has not been told to keep: QEMU's blklogwrites, and a coin for the rest.

While the PC runs, writes go to an overlay and, in the order in which they end, to a log with the flushes
between them. power_cut() makes of base and log what may be on a disk after its power went at a write shortly
before the end of the log: all that a flush covers, and of each later write every 4 KiB, which disks write whole,
by a coin of its own. A PC that is merely killed would lose nothing: the host's page cache has it all.

The log says when a flush ended, not when it began: a write that ended while it was under way counts as covered.
"""

import os
import random
import struct
import subprocess

import lab

SECTOR = 512
PIECE = 4096
LAST = 200  # the power goes at one of so many entries
ENTRY = struct.Struct("<QQQQ")  # sector, sectors, flags, length of other data
FLUSH, FUA, DISCARD = 1, 2, 4


def entries(log):
    """(sector, sectors, flags, offset of the data) of all that reached the log, in order."""
    size, at = os.path.getsize(log), SECTOR  # sector 0: a superblock
    with open(log, "rb") as f:
        while at + SECTOR <= size:
            f.seek(at)
            head = f.read(SECTOR)
            at += SECTOR
            if not any(head):
                continue  # room of an entry that was on its way when QEMU ended
            sector, count, flags, other = ENTRY.unpack(head[:ENTRY.size])
            if any(head[ENTRY.size:]) or flags & ~(FLUSH | FUA | DISCARD) or other:
                raise lab.LabError("%s: no entry at byte %d" % (log, at - SECTOR))
            yield sector, count, flags, at
            if not flags & DISCARD:
                at += count * SECTOR


class CutDisk(lab.Disk):
    """A PC's disk whose power can be cut."""

    def __init__(self, path, mib, seed, **kw):
        super().__init__(path, mib, **kw)
        self.rng = random.Random(seed)
        self.overlay, self.log = path + ".overlay", path + ".log"
        self.kept = self.lost = 0  # pieces that no flush covered

    def args(self, n, snapshot, bootindex):
        for path in self.overlay, self.log:
            if os.path.exists(path):
                os.unlink(path)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", os.path.abspath(self.path), "-F", "raw", self.overlay], check=True)
        with open(self.log, "wb"):
            pass
        out = super().args(n, snapshot, bootindex)
        out[1] = ("if=none,id=d%d,driver=blklogwrites,discard=ignore,file.driver=qcow2,file.cache.no-flush=on,file.file.driver=file,"
                  "file.file.filename=%s,log.driver=file,log.cache.no-flush=on,log.filename=%s" % (n, self.overlay, self.log))
        return out

    def power_cut(self):
        """After QEMU was killed: what is on the disk if the power went at one of its last writes."""
        log = list(entries(self.log))
        written = [bool(count) and not flags & (DISCARD | FLUSH) for _, count, flags, _ in log]
        moments = [i for i in range(max(1, len(log) - LAST), len(log)) if written[i] and written[i - 1]]
        if not moments:
            raise lab.LabError("%s: no write is without a flush behind it: nothing is at stake" % self.log)
        moment = self.rng.choice(moments)
        covered = max((i for i, e in enumerate(log[:moment]) if e[2] & FLUSH), default=-1)
        with open(self.path, "r+b") as disk, open(self.log, "rb") as f:
            for i, (sector, count, flags, data) in enumerate(log[:moment + 1]):
                if flags & DISCARD:
                    continue
                for off in range(0, count * SECTOR, PIECE):
                    if i > covered and not flags & FUA and not self.survives():
                        continue
                    f.seek(data + off)
                    disk.seek(sector * SECTOR + off)
                    disk.write(f.read(min(PIECE, count * SECTOR - off)))
        os.unlink(self.overlay)
        os.unlink(self.log)

    def survives(self):
        keep = self.rng.random() < 0.5
        self.kept, self.lost = self.kept + keep, self.lost + (not keep)
        return keep


# ------------------------------------------------- fio in the small guest

FIO = ("fio --name=cut --filename=/dev/tiny3 --size=32m --bs=4k --direct=1 --ioengine=libaio --iodepth=16 --verify=crc32c "
       "--minimal --randrepeat=0 --allrandrepeat=0 --verify_fatal=1 ")
WRITE = FIO + "--rw=randwrite --do_verify=0 --fsync=32 --time_based --runtime=%d"
LAYOUT = FIO + "--rw=write --do_verify=0 --end_fsync=1"
VERIFY = FIO + "--rw=read"


def fio(folder):
    """QEMU's options for a disk whose bytes are an archive of Debian's fio and what it is linked with."""
    path = os.path.join(folder, "fio.tar")
    exe = subprocess.check_output(["sh", "-c", "command -v fio"], text=True).strip()
    said = subprocess.check_output(["ldd", exe], text=True)
    need = [exe] + [w for line in said.splitlines() for w in line.split() if w.startswith("/")]
    subprocess.run(["tar", "-chf", path, "-C", "/", *[n.lstrip("/") for n in need]], check=True)
    return lab.data_disk(path)


def ready(pc):
    """Wait for the guest's shell and fetch fio."""
    pc.tiny()
    pc.sh("tar -xf /dev/$(grep -lx list /sys/block/vd*/serial | cut -d/ -f4) -C /; ln -sf /usr/bin/fio /bin/fio; fio --version")


class Lives:
    """A PC that runs fio until its power goes, again and again. start(name, disk) gives a PC."""

    def __init__(self, start, disk, seconds):
        self.start, self.disk, self.seconds, self.n = start, disk, seconds, 0

    def begin(self):
        """A PC that has found all as it must be: fio's blocks whole, and what was flushed last."""
        pc = self.start("life-%d" % self.n, self.disk)
        ready(pc)
        if self.n:
            pc.sh(VERIFY, 600)
            pc.sh("test $(dd if=/dev/tiny3 bs=1M skip=48 count=1 2>/dev/null | tr -d '\\n' | fold -w 8 | sort -u) = life%04d" % self.n)
        else:
            pc.sh(LAYOUT, 600)
        return pc

    def cut(self):
        """One life: check, a mark that is flushed, fio for so many of the guest's seconds, and no power in the middle of it."""
        pc = self.begin()
        self.n += 1
        pc.sh("yes life%04d | tr -d '\\n' | head -c 1048576 | dd of=/dev/tiny3 bs=64k seek=768 conv=fsync 2>/dev/null" % self.n)
        pc.sh("{ (%s > /run/fio.out 2>&1; echo ended >> /run/fio.out) & }" % (WRITE % (10 * self.seconds)))
        pc.sh("sleep %d" % self.seconds, 600 + 10 * self.seconds)
        said = pc.sh("cat /run/fio.out").strip()
        if said:
            raise lab.LabError("fio ended too early: " + said)
        pc.kill()
        self.disk.power_cut()
