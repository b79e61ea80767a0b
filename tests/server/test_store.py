"""freshet store: the disk of a PC that booted and copied an image, sound and damaged."""

import mmap
import os
import re
import subprocess

import pytest

from conftest import CHUNK, FRESHET, freshet


@pytest.fixture
def pc_disk(own_site, serve, tmp_path):
    """What a simulated PC has on its disk after a boot; the VMM's own code wrote it."""
    srv = serve(own_site)
    path = tmp_path / "pc.raw"
    freshet("swarm", "--server", "127.0.0.1:%d" % srv.port, "--data", own_site.data, "--pcs", 1, "--boot", "256K", "--disk", "256M",
            "--seed", 7, "--limit", 60, "--keep", path)
    return path


def store(*args, ok=0):
    p = freshet("store", *args, ok=ok)
    return p.stdout + p.stderr


def find(path, data):
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
        return m.find(data)


def spoil(path, at, data=b"spoilt"):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(data)


def test_sound(own_site, pc_disk):
    assert not re.search("bad|LOST", store("check", "--quiet", pc_disk))
    store("check", "--quick", pc_disk)
    dump = store("dump", pc_disk)
    assert own_site.version in dump and "policy        boot, serial 1, complete" in dump
    at = re.search(r"store         at (\d+), (\d+) bytes", dump)
    assert own_site.version in store("dump", "--offset", at.group(1), pc_disk)
    store("check", "--quiet", "--offset", at.group(1), pc_disk)
    store("check", "--quiet", "--offset", int(at.group(1)) + (1 << 20), pc_disk, ok=1)
    before = os.stat(pc_disk).st_mtime_ns
    store("check", pc_disk)
    assert os.stat(pc_disk).st_mtime_ns == before
    store("repair", "--quiet", pc_disk)  # nothing to mend
    store("check", "--quiet", pc_disk)


def test_damaged_chunk(own_site, pc_disk):
    with open(own_site.disk, "rb") as f:
        chunk = f.read(CHUNK)  # noise: no metadata looks like it
    at = find(pc_disk, chunk)
    assert at > 0
    spoil(pc_disk, at + 1000)
    store("check", "--quick", pc_disk)  # does not look at chunks
    assert re.search("bad|LOST", store("check", "--quiet", pc_disk, ok=1))
    assert "1 problems, 1 repaired" in store("repair", "--quiet", pc_disk, ok=1)  # it found something
    store("check", "--quiet", pc_disk)
    assert "not complete" in store("dump", pc_disk)  # the PC fetches it again


def test_damaged_superblock(pc_disk):
    at = int(re.search(r"store         at (\d+)", store("dump", pc_disk)).group(1))
    spoil(pc_disk, at, b"\0" * 512)
    assert re.search("bad|LOST|note", store("check", "--quiet", pc_disk, ok=1))
    assert "1 problems, 1 repaired" in store("repair", "--quiet", "--lose-log", pc_disk, ok=1)
    store("check", "--quiet", pc_disk)


def test_no_store(tmp_path):
    blank = tmp_path / "blank.raw"
    with open(blank, "wb") as f:
        f.truncate(64 << 20)
    for verb in ("check", "dump", "repair"):
        assert store(verb, blank, ok=1).strip()
        freshet("store", verb, tmp_path / "none", ok=1)
        freshet("store", verb, ok=2)
    assert subprocess.run([FRESHET, "store", "check", os.devnull], stderr=subprocess.DEVNULL, check=False).returncode == 1
    freshet("store", "dump", "--quick", blank, ok=2)


def test_every_verb_by_name(pc_disk):
    for words in (["store", "check"], ["store", "dump"], ["store", "repair"]):
        assert subprocess.run([FRESHET, *words, str(pc_disk)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
