"""What Freshet refuses: a clear message with its code, and not one byte written.

test_loader.py shows the loader's other codes (FR-11 and FR-19 need firmware that QEMU
does not have); FR-17 and FR-61 are errors of Freshet's own, which a stand-in plays there.
"""

import hashlib
import os
import shutil
import struct
import subprocess

import pytest

import lab


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
            else hashlib.sha256(f.read()).hexdigest()


def off(pc):
    pc.com1.send("poweroff -f\n")
    pc.wait_end()


def refused(pc, want, limit=60):
    """The code and its particulars are on the screen, then the ways out, and no OS."""
    pc.com1.wait(want, limit, "the message " + want, bad=r"starting \\|tiny login")
    pc.com1.wait("Enter: restart", 10, "the ways out")
    pc.kill()


@pytest.fixture
def small(folder):
    """A disk large enough for the image, soon read."""
    return lab.Disk(os.path.join(folder, "pc.raw"), 640)


# ---------------------------------------------------------------- the PC


@pytest.mark.parametrize("cpu,want", [("qemu64,-svm", r"FR-10 "), ("qemu64,+svm,-npt", r"FR-10 [\s\S]*nested paging")],
                         ids=["svm", "npt"])
def test_no_svm(site, server, small, start, cpu, want):
    refused(start("pc", small, cpu=cpu), want)
    assert os.stat(small.path).st_blocks == 0


def test_low_memory(site, server, small, start):
    refused(start("pc", small, mem="512M"), r"FR-12 ")
    assert os.stat(small.path).st_blocks == 0


def test_no_disk(site, server, start):
    refused(start("pc", None, options=["server 10.0.2.2:%d" % server.port, "disk nvme"]), r"FR-14 ")


def test_bad_config(site, server, small, start):
    refused(start("pc", small, options=["server 10.0.2.2:80", "colour blue"]), r"FR-15 [\s\S]*line 2: colour")


def test_no_key_of_a_site(site, server, small, start):
    """freshet.efi as it was built, before `freshet boot build`."""
    name = os.path.join(site, "netboot/freshet.efi")
    os.unlink(name)
    shutil.copy(os.path.join(lab.BUILD, "freshet.efi"), name)
    refused(start("pc", small), r"FR-16 ")
    assert os.stat(small.path).st_blocks == 0


def test_no_boot_loader(site, server, small, start):
    pc = start("pc", small, options=["server 10.0.2.2:%d" % server.port, "loader \\no.efi"])
    pc.com1.wait(r"FR-18 ", 60, "the message")


def test_no_nic(site, server, small, start):
    """A line about the NIC; then the blank disk makes it a stop."""
    pc = start("pc", small, nic=False)
    pc.com1.wait(r"FR-13 ", 60, "a word about the NIC")
    refused(pc, r"FR-53 [\s\S]*no network card")
    assert os.stat(small.path).st_blocks == 0


# ---------------------------------------------------------------- the disk


def test_foreign_partition_table(site, server, folder, start):
    path = os.path.join(folder, "foreign.raw")
    disk = lab.Disk(path, 640)
    subprocess.run(["sfdisk", "-q", path], input="label: gpt\nsize=100MiB\nsize=200MiB\n", text=True, check=True)
    before = digest(path)
    refused(start("pc", disk), r"FR-50 [\s\S]*LAB0001 holds something else")
    assert digest(path) == before


def test_foreign_without_a_table(site, server, folder, start):
    """A file system straight on the disk is somebody's data too."""
    path = os.path.join(folder, "foreign.raw")
    disk = lab.Disk(path, 640)
    subprocess.run(["mke2fs", "-q", "-F", path], check=True)
    before = digest(path)
    refused(start("pc", disk), r"FR-50 ")
    assert digest(path) == before


def test_foreign_data_at_the_end(site, server, folder, start):
    """Blank but for the last sectors: a table's copy, or a RAID's label."""
    disk = lab.Disk(os.path.join(folder, "foreign.raw"), 640)
    with open(disk.path, "r+b") as f:
        f.seek(-1536, os.SEEK_END)
        f.write(b"mine")
    before = digest(disk.path)
    refused(start("pc", disk), r"FR-50 ")
    assert digest(disk.path) == before


def test_blank_but_not_claimed(site, server, small, start):
    lab.site_set(site, "claim", "none")
    refused(start("pc", small), r"FR-50 [\s\S]*not claimed")
    assert os.stat(small.path).st_blocks == 0


def test_claim_by_serial(site, server, folder, start):
    """Another disk's serial number claims nothing; its own claims it, whatever is on it."""
    path = os.path.join(folder, "foreign.raw")
    disk = lab.Disk(path, 640, serial="MINE42")
    subprocess.run(["sfdisk", "-q", path], input="label: gpt\nsize=100MiB\n", text=True, check=True)
    before = digest(path)
    lab.site_set(site, "claim", "serial:MINE4")
    refused(start("other", disk), r"FR-50 ")
    assert digest(path) == before
    lab.site_set(site, "claim", "serial:MINE42")
    pc = start("pc", disk)
    pc.tiny()
    off(pc)


def test_disk_smaller_than_image(site, server, folder, start):
    disk = lab.Disk(os.path.join(folder, "small.raw"), 256)
    refused(start("pc", disk), r"FR-51 [\s\S]*too small")
    assert os.stat(disk.path).st_blocks == 0


def test_disk_fails(site, server, folder, small, start):
    """Every read of its first sector fails."""
    conf = os.path.join(folder, "blkdebug")
    with open(conf, "w", encoding="ascii") as f:
        f.write('[inject-error]\nevent = "none"\niotype = "read"\nerrno = "5"\nsector = "0"\n')
    extra = ["-drive", "if=none,id=d0,format=raw,file=blkdebug:%s:%s" % (conf, small.path),
             "-device", "nvme,drive=d0,serial=BAD"]
    refused(start("pc", None, extra=extra), r"FR-52 [\s\S]*BAD[\s\S]*cannot read")
    assert os.stat(small.path).st_blocks == 0


def test_damaged_store(site, server, folder, small, start):
    """Neither half of the journal can be read: made anew only when claimed by serial number."""
    pc = start("first", small)
    pc.tiny()
    off(pc)
    table = subprocess.run(["sfdisk", "-d", small.path], stdout=subprocess.PIPE, text=True, check=True).stdout
    store = [line for line in table.splitlines() if "Freshet store" in line]
    at = int(store[0].split("start=")[1].split(",")[0]) * 512
    with open(small.path, "r+b") as f:
        f.seek(at)
        super_block = f.read(4096)  # docs/formats/store.md
        for half in struct.unpack_from("<2Q", super_block, 48):
            f.seek(at + half)
            f.write(b"\xa5" * 65536)
    before = digest(small.path)
    refused(start("damaged", small), r"FR-60 ")
    assert digest(small.path) == before
    lab.site_set(site, "claim", "serial:LAB0001")
    pc = start("anew", small)
    pc.tiny()
    pc.sh("verify 0 8")
    off(pc)


# ---------------------------------------------------------------- the network


def test_no_server(site, port, folder, small, start):
    """Nothing listens: the screen says so, and goes on when a server appears."""
    pc = start("pc", small)
    pc.com1.wait(r"FR-55 ", 120, "a word about the server")
    assert os.stat(small.path).st_blocks == 0
    with lab.Server(site, os.path.join(folder, "freshetd.log"), port).start():
        pc.tiny()
        off(pc)


def test_unplugged(site, server, small, start):
    pc = start("pc", small, link=False)
    pc.com1.wait(r"FR-53 [\s\S]*cable", 120, "a word about the cable")
    pc.link(True)
    pc.tiny()
    off(pc)


def test_no_dhcp(site, server, small, start):
    """A wire with nobody on it."""
    extra = ["-netdev", "hubport,id=n0,hubid=0", "-device", "e1000e,id=nic0,netdev=n0,romfile="]
    refused(start("pc", small, nic=False, extra=extra), r"FR-54 ", 120)


# ---------------------------------------------------------------- the server


def test_ticket_of_another_site(site, server, folder, small, start):
    """The key in freshet.efi is not the one that signs: nothing is believed, nothing written."""
    other = os.path.join(folder, "other")
    os.makedirs(other)
    lab.make_site(other, server.port, None)
    os.unlink(os.path.join(site, "netboot/freshet.efi"))
    shutil.copy(os.path.join(other, "netboot/freshet.efi"), os.path.join(site, "netboot/freshet.efi"))
    refused(start("pc", small), r"FR-57 [\s\S]*not signed by this site")
    assert os.stat(small.path).st_blocks == 0


@pytest.mark.parametrize("fault,want", [
    ("403:/v1/boot", r"FR-56 [\s\S]*HTTP 403"),
    ("500:/v1/boot", r"FR-55 "),
    ("noise:/v1/boot", r"FR-5[57] "),
    ("bad-signature:/v1/boot", r"FR-57 [\s\S]*not signed by this site"),
    ("garbage:/v1/boot", r"FR-57 "),
    ("404:/v1/manifest", r"FR-59 [\s\S]*is not on the server"),
    ("garbage:/v1/manifest", r"FR-59 [\s\S]*not the one that was asked for"),
    ("bad-signature:/v1/manifest", r"FR-59 [\s\S]*not the one that was asked for"),
], ids="refused error noise ticket-signature ticket-garbage no-manifest manifest-garbage manifest-signature".split())
def test_server_lies(site, folder, port, small, start, fault, want):
    with lab.Server(site, os.path.join(folder, "freshetd.log"), port).start("--fault", fault):
        refused(start("pc", small), want, 120)
        assert os.stat(small.path).st_blocks == 0


def test_stale_serial(site, folder, port, disk, start):
    """An older ticket than the disk has seen: a stop while the store needs the server, a line in the log after."""
    log = os.path.join(folder, "freshetd.log")
    lab.site_set(site, "fill", "off")
    with lab.Server(site, log, port).start():
        pc = start("first", disk)
        pc.tiny()
        off(pc)
    with lab.Server(site, log, port).start("--fault", "stale-serial"):
        before = digest(disk.path)
        refused(start("stale", disk), r"FR-58 [\s\S]*older than the last one")
        assert digest(disk.path) == before
    lab.site_set(site, "fill", "on")
    with lab.Server(site, log, port).start():
        pc = start("fill", disk)
        pc.tiny()
        pc.sh("verify", 300)
        pc.com2.wait(r"store: complete", 120, "the fill's end")
        off(pc)
    with lab.Server(site, log, port).start("--fault", "stale-serial"):
        pc = start("cached", disk)
        pc.tiny()
        pc.com2.wait(r"deploy: ticket ignored code=FR-58", 60, "a line about the ticket")
        pc.sh("verify 0 8")
        off(pc)
