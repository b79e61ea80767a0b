"""What Freshet refuses: a clear message with its code, and not one byte written."""

import hashlib
import os
import shutil
import subprocess

import pytest

import lab

CODE = {"no_svm": "FR-10", "low_memory": "FR-12", "no_disk": "FR-14", "bad_config": "FR-15", "foreign": "FR-50",
        "small": "FR-51", "no_link": "FR-53", "no_server": "FR-55", "bad_ticket": "FR-57", "stale": "FR-58",
        "bad_manifest": "FR-59"}


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
            else hashlib.sha256(f.read()).hexdigest()


def refused(pc, code, limit=120):
    pc.com1.wait(CODE[code], limit, "the message " + CODE[code])
    pc.kill()


def test_no_svm(site, server, disk, start):
    refused(start("pc", disk, cpu="qemu64"), "no_svm")


def test_no_disk(site, server, start):
    refused(start("pc", None), "no_disk")


def test_bad_config(site, server, disk, start):
    refused(start("pc", disk, options=["server 10.0.2.2:80", "colour blue"]), "bad_config")


def test_no_server(site, disk, start):
    """Nothing listens: the screen says so, and goes on when a server appears."""
    pc = start("pc", disk)
    pc.com1.wait(r"(?i)no answer|refused|FR-55", 120, "a word about the server")
    pc.kill()


def test_unplugged(site, server, disk, start):
    pc = start("pc", disk, link=False)
    pc.com1.wait(r"(?i)cable|no link|FR-53", 120, "a word about the cable")
    pc.link(True)
    pc.tiny()
    pc.com1.send("poweroff -f\n")
    pc.wait_end()


def test_foreign_partition_table(site, server, folder, start):
    path = os.path.join(folder, "foreign.raw")
    disk = lab.Disk(path, 1024)
    subprocess.run(["sfdisk", "-q", path], input="label: gpt\nsize=100MiB\nsize=200MiB\n", text=True, check=True)
    before = digest(path)
    refused(start("pc", disk), "foreign")
    assert digest(path) == before


def test_foreign_without_a_table(site, server, folder, start):
    """A file system straight on the disk is somebody's data too."""
    path = os.path.join(folder, "foreign.raw")
    disk = lab.Disk(path, 1024)
    subprocess.run(["mke2fs", "-q", "-F", path], check=True)
    before = digest(path)
    refused(start("pc", disk), "foreign")
    assert digest(path) == before


def test_claim_by_serial(site, server, folder, start):
    path = os.path.join(folder, "foreign.raw")
    disk = lab.Disk(path, 1024, serial="MINE42")
    subprocess.run(["sfdisk", "-q", path], input="label: gpt\nsize=100MiB\n", text=True, check=True)
    lab.site_set(site, "claim", "serial:MINE42")
    pc = start("pc", disk)
    pc.tiny()
    pc.com1.send("poweroff -f\n")
    pc.wait_end()


def test_disk_smaller_than_image(site, server, folder, start):
    disk = lab.Disk(os.path.join(folder, "small.raw"), 256)
    before = digest(disk.path)
    refused(start("pc", disk), "small")
    assert digest(disk.path) == before


def test_ticket_of_another_site(site, server, folder, disk, start):
    """The key in freshet.efi is not the one that signs: nothing is believed, nothing written."""
    other = os.path.join(folder, "other")
    os.makedirs(other)
    lab.make_site(other, server.port, None)
    shutil.copy(os.path.join(other, "netboot/freshet.efi"), os.path.join(folder, "other.efi"))
    os.unlink(os.path.join(site, "netboot/freshet.efi"))
    shutil.copy(os.path.join(folder, "other.efi"), os.path.join(site, "netboot/freshet.efi"))
    before = digest(disk.path)
    refused(start("pc", disk), "bad_ticket")
    assert digest(disk.path) == before


@pytest.mark.parametrize("fault,code", [("bad-signature", "bad_ticket"), ("garbage:/v1/manifest", "bad_manifest")])
def test_server_lies(site, folder, port, disk, start, fault, code):
    with lab.Server(site, os.path.join(folder, "freshetd.log"), port).start("--fault", fault):
        before = digest(disk.path)
        refused(start("pc", disk), code)
        assert digest(disk.path) == before
