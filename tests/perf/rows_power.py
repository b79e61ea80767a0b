"""Ten power cuts under fio --verify with random writes and flushes, three minutes of the guest's time in all."""

import os

import lab
import powerloss

CUTS, SECONDS = 10, 18


def rows(run):
    images = os.path.join(lab.BUILD, "images")
    lab.run(os.path.join(lab.ROOT, "tests/guest/tiny.sh"), images, "one")
    data, port = os.path.join(run.folder, "data"), lab.free_port()
    os.makedirs(data)
    lab.make_site(data, port, os.path.join(images, "tiny-one.raw"), name="tiny", settings={"policy": "push", "claim": "blank"})
    extra = powerloss.fio(run.folder) + lab.boot_esp(run.folder, data)
    disk = powerloss.CutDisk(os.path.join(run.folder, "pc.raw"), 1024, seed=7)
    pcs = []

    def start(name, d):
        pcs.append(lab.Pc(run.folder, name, disk=d, cpus=1, boot="esp", extra=extra))
        return pcs[-1]

    try:
        with lab.Server(data, os.path.join(run.folder, "freshetd.log"), port):
            lives = powerloss.Lives(start, disk, SECONDS)
            for _ in range(CUTS):
                lives.cut()
                print("cut %d: verified; %d pieces lost, %d kept" % (lives.n, disk.lost, disk.kept), flush=True)
            pc = lives.begin()
            pc.com1.send("poweroff -f\n")
            pc.wait_end()
    finally:
        for pc in pcs:
            pc.kill()
    run.details.update(lost=disk.lost, kept=disk.kept)
    return [("power cuts under fio --verify, all clean", str(lives.n), CUTS, lives.n == CUTS),
            ("  4 KiB pieces lost / kept that no flush covered", "%d / %d" % (disk.lost, disk.kept), "", None)]
