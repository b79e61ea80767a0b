"""Faults in the middle of it: the guest must notice nothing but time."""

import os
import random
import re
import threading

import pytest

import lab


def off(pc):
    pc.com1.send("poweroff -f\n")
    pc.wait_end()


def no_io_errors(pc):
    out = pc.sh("dmesg | grep -iE 'I/O error|critical|timeout' || true")
    assert "error" not in out.lower() and "timeout" not in out.lower(), out


def fill(pc, limit=300):
    pc.com2.wait(r"complete=1|fill: complete|store: complete", limit, "the fill's end")


def test_server_restarts_in_the_middle(site, server, disk, start):
    pc = start("pc", disk)
    pc.com1.wait(r"(?i)boot|Debian|Linux|100 ?%|ready", 120, "the loader's hand-over")
    pc.tiny()
    server.kill()
    verify = []
    t = threading.Thread(target=lambda: verify.append(pc.sh("verify", 600)))
    t.start()
    pc.com2.wait(r"(?i)client: .*(lost|retry|refused|no answer)", 60, "the VMM noticing")
    server.start()
    t.join()
    assert verify and "0 bad" in verify[0]
    no_io_errors(pc)
    off(pc)


@pytest.mark.parametrize("fault", ["404:/v1/chunk:10", "500:/v1/chunk:10", "cut:/v1/chunk:10",
                                   "garbage:/v1/chunk:10", "wrong-chunk:/v1/chunk:10"])
def test_server_misbehaves(site, folder, port, disk, start, fault):
    """One answer in ten is wrong; every byte in the guest is right, and no I/O fails."""
    with lab.Server(site, os.path.join(folder, "freshetd.log"), port).start("--fault", fault):
        pc = start("pc", disk)
        pc.tiny()
        pc.sh("verify", 600)
        no_io_errors(pc)
        stats = lab.vmm_stats(pc)
        assert stats["retries"] + stats["corrupt"] > 0, "the fault never struck"
        off(pc)


def find_data_chunk(disk, images, mib):
    """Where MiB @mib of the guest's data partition lies on the PC's own disk: searched by content."""
    with open(os.path.join(images, "tiny-one.raw"), "rb") as f:
        f.seek((65 + mib) << 20)
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
    at = find_data_chunk(disk, images, mib)
    with open(disk.path, "r+b") as f:
        f.seek(at + 100)
        f.write(b"rotten")


def cached_pc(disk, start):
    pc = start("fill", disk)
    pc.tiny()
    fill(pc)
    off(pc)


def test_rot_on_the_disk_online(site, server, images, disk, start):
    cached_pc(disk, start)
    corrupt(disk, images, 40)
    pc = start("online", disk)
    pc.tiny()
    pc.sh("verify", 300)
    no_io_errors(pc)
    assert lab.vmm_stats(pc)["corrupt_chunks"] == 1
    off(pc)
    pc = start("again", disk, boot="disk", link=False)
    pc.tiny()
    pc.sh("verify 40 1")
    off(pc)


def test_rot_on_the_disk_offline(site, server, images, disk, start):
    """Only the rotten block fails; its neighbours are served, and the log names it."""
    cached_pc(disk, start)
    server.stop()
    corrupt(disk, images, 40)
    pc = start("offline", disk, boot="disk", link=False)
    pc.tiny()
    pc.sh("verify 0 40", 300)
    pc.sh("verify 41 87", 300)
    pc.sh("! dd if=/dev/nvme0n1p2 of=/dev/null bs=4k skip=%d count=1 iflag=direct" % (40 * 256))
    pc.sh("dd if=/dev/nvme0n1p2 of=/dev/null bs=4k skip=%d count=255 iflag=direct" % (40 * 256 + 1))
    assert re.search(r"\] E \w+: .*chunk=\d+", pc.vmm_log())
    off(pc)


@pytest.mark.parametrize("seed", range(20))
def test_power_cut(site, server, disk, start, seed):
    """Cut at a random moment of a cold boot with fill; the next boot has every byte, and what was flushed."""
    rng = random.Random(seed)
    pc = start("cut", disk)
    flushed = None
    if seed % 2:
        pc.tiny()
        pc.sh("verify %d 4" % rng.randrange(100))
        for n in range(rng.randrange(1, 4)):
            pc.sh("scribble %d-%d 2" % (seed, n))
            flushed = "%d-%d" % (seed, n)
        pc.com1.send("scribble last 8\n" if rng.random() < 0 else "verify\n")
        pc.com2.wait(r"\n", 1 + 60, "a line of the log") if rng.random() < 0.5 else None
    else:
        # Before the shell: the n-th thing the VMM says from the claim on.
        pc.com2.wait(r"(?i)claim|virtual disk", 120, "the claim")
        for _ in range(rng.randrange(0, 6)):
            try:
                pc.com2.wait(r"\n", rng.random() * 4, "the next line")
            except lab.LabError:
                break
    pc.kill()
    pc = start("after", disk)
    pc.tiny()
    pc.check_no_escape()
    pc.sh("verify", 600)
    if flushed:
        pc.sh("scribbled %s 2" % flushed)
    no_io_errors(pc)
    off(pc)
