"""The power goes while fio writes: a disk keeps what was flushed, and of the rest what chance wants."""

import lab
import powerloss


def test_fio_and_power_cuts(server, folder, start):
    """Two cuts on a cold, filling store; then it verifies, and once more after an orderly end. `make bench` has ten."""
    disk = powerloss.CutDisk(folder + "/pc.raw", 1024, seed=1)
    lives = powerloss.Lives(lambda name, d: start(name, d, extra=powerloss.fio(folder)), disk, seconds=4)
    for _ in range(2):
        lives.cut()
    pc = lives.begin()
    pc.sh("verify 0 32", 600)
    assert lab.vmm_stats(pc)["failed_reads"] == 0
    pc.com1.send("poweroff -f\n")
    pc.wait_end()
    print("power cuts: %d pieces of 4 KiB lost, %d kept that no flush covered" % (disk.lost, disk.kept))
