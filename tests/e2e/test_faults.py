"""Faults in the middle of it: the guest must notice nothing but time."""

import os
import random
import re
import threading
import time

import pytest

import lab

ESP_MIB = 65  # where the data partition of the small guest begins
CHUNKS_PER_MIB = 16


def off(pc):
    pc.com1.send("poweroff -f\n")
    pc.wait_end()


def no_io_errors(pc):
    out = pc.sh("dmesg | grep -E 'I/O error|critical .* error|I/O [0-9]+ .*(timeout|polled)|Abort status|controller is down' || true")
    assert not out.strip(), out


class Later:
    """A command in the guest, while the test does something else."""

    def __init__(self, pc, command, limit=300):
        self.out, self.err = None, None

        def work():
            try:
                self.out = pc.sh(command, limit)
            except lab.LabError as e:
                self.err = e

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()

    def result(self):
        self.thread.join()
        if self.err:
            raise self.err
        return self.out


def wait_chunks(server, n, limit=60):
    """Until the server (log level debug) has been asked for @n chunks since its log began."""
    end = time.monotonic() + limit * lab.PATIENCE
    while True:
        with open(server.log, encoding="utf-8", errors="replace") as f:
            if f.read().count(" GET /v1/chunk/") >= n:
                return
        if time.monotonic() > end:
            raise lab.LabError("fewer than %d chunks were asked for; see %s" % (n, server.log))
        time.sleep(0.02)


@pytest.fixture
def loud(site, folder, port):
    """A server that logs each request."""
    with lab.Server(site, os.path.join(folder, "freshetd.log"), port, ["--log-level", "debug"]).start() as s:
        yield s


# ---------------------------------------------------------------- the server


def test_server_restarts_in_the_middle(loud, disk, start):
    """Killed twice: while the OS's loader reads its kernel, and while all data is read."""
    pc = start("pc", disk)
    wait_chunks(loud, 20)
    loud.kill()
    pc.com2.wait(r"client: (server=\S+ err|connection lost)", 60, "the VMM noticing")
    loud.start()
    pc.tiny()
    verify = Later(pc, "verify")
    with open(loud.log, encoding="utf-8") as f:
        wait_chunks(loud, f.read().count(" GET /v1/chunk/") + 100)
    loud.kill()
    pc.com2.wait(r"client: server=\S+ err=\S+ fails=2", 60, "the VMM noticing")
    assert verify.thread.is_alive(), "the server died too late"
    loud.start()
    assert "128 MiB, 0 bad" in verify.result()
    no_io_errors(pc)
    off(pc)


@pytest.mark.parametrize("fault,figure", [
    ("404:/v1/chunk:p=10", "retries"), ("500:/v1/chunk:p=10", "retries"), ("cut:/v1/chunk:p=10", "retries"),
    ("close:/v1/chunk:p=10", "retries"), ("noise:/v1/chunk:p=10", "retries"), ("stall:/v1/chunk:after=100:count=2", "retries"),
    ("garbage:/v1/chunk:p=10", "corrupt"), ("wrong-chunk:/v1/chunk:p=10", "corrupt")],
    ids="404 500 cut close noise stall garbage wrong-chunk".split())
def test_server_misbehaves(site, folder, port, disk, start, fault, figure):
    """One answer in ten is wrong; every byte in the guest is right, and no I/O fails."""
    with lab.Server(site, os.path.join(folder, "freshetd.log"), port).start("--fault", fault):
        pc = start("pc", disk)
        pc.tiny()
        pc.sh("verify 0 32", 300)
        no_io_errors(pc)
        assert lab.vmm_stats(pc)[figure] > 0, "the fault never struck"
        off(pc)


# ---------------------------------------------------------------- the local disk


def find_on_disk(disk, images, mib):
    """Where MiB @mib of the guest's data partition begins on the PC's own disk: searched by content."""
    with open(os.path.join(images, "tiny-one.raw"), "rb") as f:
        f.seek((ESP_MIB + mib) << 20)
        want = f.read(4096)
    with open(disk.path, "rb") as f:
        pos = 0
        while True:
            block = f.read(1 << 20)
            if not block:
                raise AssertionError("MiB %d is not on the disk" % mib)
            at = block.find(want)
            if at >= 0 and (pos + at) % 4096 == 0:
                return pos + at
            pos += len(block)


def corrupt(disk, images, mib):
    at = find_on_disk(disk, images, mib)
    with open(disk.path, "r+b") as f:
        f.seek(at + 100)
        f.write(b"rotten")


def cached_pc(disk, start):
    pc = start("fill", disk)
    pc.tiny()
    pc.sh("verify", 300)  # faster than the fill, which waits for a quiet guest
    pc.com2.wait(r"store: complete", 240, "the fill's end")
    off(pc)


def test_rot_on_the_disk(site, server, images, disk, start):
    """Offline only the rotten block fails, and the log names it; online it is fetched again and repaired."""
    cached_pc(disk, start)
    server.stop()
    corrupt(disk, images, 40)
    pc = start("offline", disk, boot="disk", link=False)
    pc.tiny()
    pc.sh("verify 0 40", 300)
    pc.sh("verify 41 87", 300)
    block = 40 * 256
    pc.sh("! dd if=/dev/nvme0n1p2 of=/dev/null bs=4k skip=%d count=1 iflag=direct" % block)
    pc.sh("dd if=/dev/nvme0n1p2 of=/dev/null bs=4k skip=%d count=255 iflag=direct" % (block + 1))
    assert re.search(r"E disk: chunk corrupt and no source chunk=%d " % ((ESP_MIB + 40) * CHUNKS_PER_MIB), pc.vmm_log())
    stats = lab.vmm_stats(pc)
    assert stats["failed_reads"] > 0 and stats["repaired_chunks"] == 0
    off(pc)

    server.start()
    pc = start("online", disk, boot="disk")
    pc.tiny()
    pc.sh("verify", 300)
    no_io_errors(pc)
    stats = lab.vmm_stats(pc)
    assert (stats["corrupt_chunks"], stats["repaired_chunks"], stats["failed_reads"]) == (1, 1, 0)
    off(pc)
    server.stop()
    pc = start("again", disk, boot="disk", link=False)
    pc.tiny()
    pc.sh("verify 40 1")
    off(pc)


# ---------------------------------------------------------------- the power


def cut_claim(pc, loud, rng):
    """While the disk is claimed: marks, ESP, store, tables are written within half a second."""
    pc.com2.wait(r"state=claim", 60, "the claim")
    time.sleep(rng.random() * 0.6)


def cut_boot(pc, loud, rng):
    """While the OS's loader and kernel are read and kept."""
    wait_chunks(loud, rng.randrange(1, 80))


def cut_verify(pc, loud, rng):
    """While all is read, kept, and something is written and flushed."""
    pc.tiny()
    pc.sh("scribble before 2")
    Later(pc, "(yes behind | head -c 8388608 | dd of=/dev/nvme0n1p3 bs=64k seek=512 conv=fsync 2>/dev/null &); verify")
    with open(loud.log, encoding="utf-8") as f:
        wait_chunks(loud, f.read().count(" GET /v1/chunk/") + rng.randrange(1, 900))
    return "before"


def cut_writes(pc, loud, rng):
    """Between and in writes, some of which were flushed."""
    pc.tiny()
    last = None
    for n in range(rng.randrange(1, 4)):
        last = "w%d" % n
        pc.sh("scribble %s %d" % (last, 2))
    pc.com1.send("verify %d 8\n" % rng.randrange(100))
    time.sleep(rng.random())
    return last


def cut_fill(pc, loud, rng):
    """In the fill of a quiet guest."""
    pc.tiny()
    pc.sh("scribble quiet 2")
    with open(loud.log, encoding="utf-8") as f:
        wait_chunks(loud, f.read().count(" GET /v1/chunk/") + rng.randrange(2, 60))
    return "quiet"


CUTS = [cut_claim] * 5 + [cut_boot] * 5 + [cut_verify] * 4 + [cut_writes] * 3 + [cut_fill] * 3


@pytest.mark.parametrize("seed", range(20), ids=["%d-%s" % (i, c.__name__[4:]) for i, c in enumerate(CUTS)])
def test_power_cut(loud, disk, start, seed):
    """Cut at a random moment of a cold boot with fill; the next boot has every byte, and what was flushed."""
    pc = start("cut", disk)
    flushed = CUTS[seed](pc, loud, random.Random(seed))
    pc.kill()
    pc = start("after", disk)
    pc.tiny()
    pc.check_no_escape()
    if flushed:
        pc.sh("scribbled %s 2" % flushed)
    # Early cuts leave little behind that could be wrong; what boots has been read.
    pc.sh("verify" if flushed else "verify 0 32", 300)
    no_io_errors(pc)
    off(pc)
