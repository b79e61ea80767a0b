"""freshet: keys, images, channels, settings, boot files."""

import fcntl
import json
import os
import re
import shutil
import signal
import stat
import struct
import subprocess
import tempfile
import time

import pytest

from conftest import BUILD, CHUNK, FRESHET, digest, freshet, make_disk, make_efi, make_site, plain

KEY_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")  # SubjectPublicKeyInfo of P-256


def openssl_verify(tmp, pub_hex, signed, sig):
    """Is it a signature? Asked of OpenSSL's own command, with keys and DER made here."""
    def integer(b):
        b = b.lstrip(b"\0") or b"\0"
        b = (b"\0" if b[0] & 0x80 else b"") + b
        return b"\x02" + bytes([len(b)]) + b

    body = integer(sig[:32]) + integer(sig[32:])
    (tmp / "pub.der").write_bytes(KEY_PREFIX + bytes.fromhex(pub_hex))
    (tmp / "sig.der").write_bytes(b"\x30" + bytes([len(body)]) + body)
    (tmp / "signed").write_bytes(signed)
    subprocess.run(["openssl", "pkey", "-pubin", "-inform", "DER", "-in", tmp / "pub.der", "-out", tmp / "pub.pem"],
                   check=True)
    p = subprocess.run(["openssl", "dgst", "-sha256", "-verify", tmp / "pub.pem", "-signature", tmp / "sig.der",
                        tmp / "signed"], stdout=subprocess.DEVNULL, check=False)
    return p.returncode == 0


def test_key(tmp_path):
    pub = freshet("key", "new", tmp_path / "k").stdout.strip()
    assert re.fullmatch("[0-9a-f]{128}", pub)
    assert stat.S_IMODE(os.stat(tmp_path / "k/site.key").st_mode) == 0o600
    assert (tmp_path / "k/site.pub").read_text() == pub + "\n"
    for what in ("k", "k/site.key", "k/site.pub"):
        assert freshet("key", "show", tmp_path / what).stdout.strip() == pub
    before = (tmp_path / "k/site.key").read_bytes()
    assert "is there already" in freshet("key", "new", tmp_path / "k", ok=1).stderr
    assert (tmp_path / "k/site.key").read_bytes() == before
    der = subprocess.run(["openssl", "pkey", "-in", tmp_path / "k/site.key", "-pubout", "-outform", "DER"], check=True,
                         stdout=subprocess.PIPE).stdout
    assert der[-64:].hex() == pub


def test_build_is_what_it_says(site):
    disk = open(site.disk, "rb").read()
    table = site.digests()
    chunks = [disk[i:i + CHUNK] for i in range(0, len(disk), CHUNK)]
    assert len(table) == len(chunks) == site.info["chunks"]
    for d, c in zip(table, chunks):
        if any(c):
            assert d.hex() == digest(c)
            assert plain(open(site.object(d.hex()), "rb").read()) == c
        else:
            assert not any(d)
    blocks = [disk[i:i + 4096] for i in range(0, len(disk), 4096)]
    assert site.info["image_bytes"] == len(disk)
    assert site.info["used_bytes"] == sum(len(b) for b in blocks if any(b))
    assert site.info["zero_chunks"] == sum(not any(c) for c in chunks)
    assert site.info["unique_chunks"] == len({c for c in chunks if any(c)})
    objects = [os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(site.path("objects")) for f in fs]
    assert site.info["stored_bytes"] == sum(objects) + len(site.manifest())
    assert not os.listdir(site.path("tmp"))


def test_manifest(site, tmp_path):
    m = site.manifest()
    assert digest(m) == site.version
    assert m[:8] == b"FRSHMAN1"
    fmt, chunk, image, count, dpp, pages, sector, label = struct.unpack_from("<IIQQIIII", m, 8)
    assert (fmt, chunk, dpp, pages, sector, label) == (1, CHUNK, CHUNK // 32, 1, 512, 5)
    assert image == os.path.getsize(site.disk) and count == site.info["chunks"]
    assert m[96:160].rstrip(b"\0") == b"test" and m[160:192].rstrip(b"\0") == b"first"
    pub = open(site.path("site.pub"), encoding="ascii").read().strip()
    assert openssl_verify(tmp_path, pub, m[:-64], m[-64:])
    assert not openssl_verify(tmp_path, pub, m[:-65] + b"x", m[-64:])


def test_time_and_sector(own_site, tmp_path):
    disk = tmp_path / "d.raw"
    disk.write_bytes(os.urandom(40960))
    first = ["image", "build", "--data", own_site.data, "--name", "s", "--created", "1700000000", "--sector", "4096", disk]
    freshet(*first, "--json", tmp_path / "a.json")
    v = json.loads((tmp_path / "a.json").read_text())["version"]
    out = freshet("image", "show", "--data", own_site.data, v).stdout
    assert "2023-11-14" in out and "4096" in out
    disk.write_bytes(os.urandom(512))
    assert "4096-byte sectors" in freshet(*first, ok=1).stderr
    freshet("image", "build", "--data", own_site.data, "--name", "s", "--sector", "1000", disk, ok=2)
    freshet("image", "build", "--data", own_site.data, "--name", "s", "--created", "then", disk, ok=2)


def test_verify_export_ls(site, tmp_path):
    assert "good" in freshet("image", "verify", "--data", site.data, site.version).stdout
    assert "good" in freshet("image", "verify", "--data", site.data, "lab/stable").stdout
    freshet("image", "export", "--data", site.data, site.version, tmp_path / "out.raw")
    assert open(tmp_path / "out.raw", "rb").read() == open(site.disk, "rb").read()
    assert os.stat(tmp_path / "out.raw").st_blocks * 512 < site.info["image_bytes"]
    assert site.version in freshet("image", "ls", "--data", site.data).stdout
    assert re.search(r"lab/stable +serial 1 +" + site.version,
                     freshet("channel", "show", "--data", site.data).stdout)


def test_verify_names_what_is_wrong(own_site):
    s = own_site
    flip, cut, gone, swapped = s.stored()[:4]
    with open(s.object(flip), "r+b") as f:
        f.seek(100)
        b = f.read(1)
        f.seek(100)
        f.write(bytes([b[0] ^ 1]))
    os.truncate(s.object(cut), 1000)
    os.unlink(s.object(gone))
    with open(s.object(swapped), "wb") as f:
        f.write(open(s.object(s.stored()[5]), "rb").read())
    err = freshet("image", "verify", "--data", s.data, s.version, ok=1).stderr
    for d in (flip, cut, gone, swapped):
        assert d in err
    assert s.stored()[6] not in err and "4 bad objects" in err
    # What the message advises: remove them, build again.
    for d in (flip, cut, swapped):
        os.unlink(s.object(d))
    freshet("image", "build", "--data", s.data, "--name", "test", s.disk)
    freshet("image", "verify", "--data", s.data, s.version)


def test_verify_refuses_a_manifest(own_site, tmp_path):
    s = own_site
    m = s.manifest()
    bad = m[:-1] + bytes([m[-1] ^ 1])
    other = digest(bad)
    with open(s.path("manifests", other), "wb") as f:
        f.write(bad)
    assert "bad signature" in freshet("image", "verify", "--data", s.data, other, ok=1).stderr
    with open(s.path("manifests", s.version), "wb") as f:
        f.write(bad)
    assert "its digest is not its name" in freshet("image", "verify", "--data", s.data, s.version, ok=1).stderr
    freshet("key", "new", tmp_path / "other")
    assert freshet("image", "verify", "--data", s.data, "--key", tmp_path / "other/site.key", "lab/stable", ok=1).stderr


def test_bad_page(own_site):
    s = own_site
    m = s.manifest()
    page = m[192:224].hex()
    os.truncate(s.object(page), 20)
    err = freshet("image", "verify", "--data", s.data, s.version, ok=1).stderr
    assert page in err and "table page 0" in err


def test_manifest_with_a_wrong_length(own_site, tmp_path):
    """Signed by the site itself, but its page is another object, a sound one: it is the manifest that is wrong."""
    s = own_site
    body = s.manifest()[:192] + bytes.fromhex(s.stored()[0])
    (tmp_path / "body").write_bytes(body)
    der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", s.path("site.key"), tmp_path / "body"], stdout=subprocess.PIPE, check=True).stdout
    r, end = der[4:4 + der[3]], 4 + der[3]
    bad = body + b"".join(n.lstrip(b"\0").rjust(32, b"\0") for n in (r, der[end + 2:]))
    with open(s.path("manifests", digest(bad)), "wb") as f:
        f.write(bad)
    err = freshet("image", "verify", "--data", s.data, digest(bad), ok=1).stderr
    assert re.search(s.stored()[0] + r": sound, but not of the length that the manifest says \(table page 0\)", err), err


def test_second_version_shares_chunks(own_site, tmp_path):
    s = own_site
    with open(s.disk, "r+b") as f:
        f.seek(5 * 1024 * 1024)
        f.write(b"new version" * 1000)
    out = tmp_path / "two.json"
    freshet("image", "build", "--data", s.data, "--name", "test", "--channel", "lab/stable", "--parent", s.version,
            "--json", out, s.disk)
    two = json.loads(out.read_text())
    assert two["new_objects"] == 2 and two["serial"] == 2  # one chunk, one page
    m = s.manifest(two["version"])
    assert m[64:96].hex() == s.version
    freshet("image", "verify", "--data", s.data, s.version)
    freshet("image", "verify", "--data", s.data, two["version"])
    freshet("channel", "set", "--data", s.data, "lab/stable", s.version)  # rollback; the serial grows
    assert re.search(r"serial 3 +" + s.version, freshet("channel", "show", "--data", s.data).stdout)


def test_channel_tampered(own_site):
    s = own_site
    path = s.path("channels/lab/stable")
    text = open(path, encoding="ascii").read()
    with open(path, "w", encoding="ascii") as f:
        f.write(text.replace("serial 1", "serial 9"))
    assert "bad signature" in freshet("channel", "show", "--data", s.data, ok=1).stderr
    freshet("channel", "set", "--data", s.data, "lab/stable", s.version, ok=1)
    assert "serial 9" in open(path, encoding="ascii").read()


def test_chunk_sizes_and_threads_agree(tmp_path):
    s = make_site(tmp_path, mib=20)
    for size, threads in (("64K", 1), ("1M", 3)):
        out = tmp_path / "x.json"
        freshet("image", "build", "--data", s.data, "--name", "test", "--chunk", size, "--threads", threads, "--level",
                1, "--json", out, s.disk)
        v = json.loads(out.read_text())["version"]
        freshet("image", "export", "--data", s.data, v, tmp_path / "out.raw")
        assert open(tmp_path / "out.raw", "rb").read() == open(s.disk, "rb").read()


def test_many_pages(tmp_path):
    """More than one table page, most of it holes: 64 KiB chunks, 2048 digests a page."""
    freshet("key", "new", tmp_path / "site")
    with open(tmp_path / "big.raw", "wb") as f:
        f.truncate(300 << 20)
        f.seek(140 << 20)
        f.write(b"middle" * 50000)
        f.seek((300 << 20) - 512)
        f.write(b"e" * 512)
    out = tmp_path / "b.json"
    freshet("image", "build", "--data", tmp_path / "site", "--name", "big", "--chunk", "64K", "--json", out,
            tmp_path / "big.raw")
    info = json.loads(out.read_text())
    m = open(tmp_path / "site/manifests" / info["version"], "rb").read()
    assert struct.unpack_from("<I", m, 36)[0] == 3
    assert info["chunks"] == 4800 and info["chunks"] - info["zero_chunks"] == 6
    freshet("image", "export", "--data", tmp_path / "site", info["version"], tmp_path / "out.raw")
    assert subprocess.run(["cmp", tmp_path / "big.raw", tmp_path / "out.raw"], check=False).returncode == 0


def test_killed_build_leaves_a_valid_store(own_site, tmp_path):
    """SIGKILL at moments all over a build; what is published stays good, and the build can be done again."""
    s = own_site
    make_disk(tmp_path / "next.raw", mib=30, seed=7)
    args = [FRESHET, "image", "build", "--data", s.data, "--name", "test", "--channel", "lab/stable", "--level", "9",
            "--threads", "1", str(tmp_path / "next.raw")]
    t = time.time()
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    whole = time.time() - t
    before = set(os.listdir(s.path("manifests")))
    for i in range(8):
        make_disk(tmp_path / "next.raw", mib=30, seed=100 + i)
        p = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(whole * i / 7)
        p.send_signal(signal.SIGKILL)
        p.wait()
        versions = os.listdir(s.path("manifests"))
        for v in versions:
            freshet("image", "verify", "--data", s.data, "--quiet", v)
        for d, _, files in os.walk(s.path("objects")):
            for f in files:
                assert digest(plain(open(os.path.join(d, f), "rb").read())) == f
        freshet("image", "verify", "--data", s.data, "--quiet", "lab/stable")
    assert before <= set(os.listdir(s.path("manifests")))
    freshet(*args[1:])
    assert not os.listdir(s.path("tmp"))
    freshet("image", "verify", "--data", s.data, "lab/stable")


def test_killed_in_the_middle_for_sure(own_site, tmp_path):
    """Stopped while objects lie in incoming/: nothing of it has a name, and the next build goes on with them."""
    s = own_site
    noise = os.urandom(1 << 20)
    with open(tmp_path / "slow.raw", "wb") as f:
        for _ in range(96):
            f.write(os.urandom(4096) + noise[4096:])
    before = sorted(os.listdir(s.path("manifests")))
    p = subprocess.Popen([FRESHET, "image", "build", "--data", s.data, "--name", "slow", "--level", "9", "--threads",
                          "1", str(tmp_path / "slow.raw")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.time() + 30
    while len(os.listdir(s.path("incoming"))) < 50 and time.time() < end:
        time.sleep(0.01)
    assert p.poll() is None
    p.kill()
    p.wait()
    left = os.listdir(s.path("incoming"))
    assert len(left) >= 50 and sorted(os.listdir(s.path("manifests"))) == before
    freshet("image", "verify", "--data", s.data, "lab/stable")
    # One that was cut short by a power cut is not believed.
    cut = [n for n in left if len(n) == 64][0]
    os.truncate(s.path("incoming", cut), 5000)
    out = freshet("image", "build", "--data", s.data, "--name", "slow", "--channel", "lab/slow", tmp_path / "slow.raw").stdout
    assert 45 < int(re.search(r"resumed +(\d+)", out).group(1)) < len(left)
    freshet("image", "verify", "--data", s.data, "lab/slow")
    assert [n for n in os.listdir(s.path("incoming")) if len(n) == 64] == []


def test_other_formats(own_site, tmp_path):
    """qcow2, vmdk, vhdx, vdi, vhd: the same chunks as the raw disk, holes known without reading."""
    s = own_site
    raw = make_disk(tmp_path / "d.raw", seed=3)
    os.truncate(raw, 24 << 20)

    def table(disk, *args):
        out = freshet("image", "build", "--data", s.data, "--name", "f", "--json", "-", *args, disk).stdout
        return s.digests(json.loads(out)["version"])

    want = table(raw)
    for fmt, options in (("qcow2", "compat=1.1"), ("vmdk", ""), ("vmdk", "subformat=streamOptimized"), ("vhdx", ""), ("vdi", ""),
                         ("vpc", "force_size=on")):
        disk = tmp_path / ("d." + fmt)
        subprocess.run(["qemu-img", "convert", "-O", fmt] + (["-o", options] if options else []) + [raw, disk], check=True)
        assert table(disk) == want, fmt
    assert table(raw, "--format", "raw") == want
    freshet("image", "build", "--data", s.data, "--name", "f", "--format", "frob", raw, ok=2)
    (tmp_path / "bad.qcow2").write_bytes(b"QFI\xfb" + b"\xff" * 5000)
    p = freshet("image", "build", "--data", s.data, "--name", "f", tmp_path / "bad.qcow2", ok=1)
    assert "cannot read" in p.stderr
    ps = subprocess.run(["ps", "-eo", "args"], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert str(tmp_path) not in ps  # no qemu-nbd stays


def given_away(data, uid=4711):
    """The folder as a user of freshetd's own has it; a function that tells whose what lies in it is."""
    assert os.geteuid() == 0, "another owner needs root"

    def everything():
        return [os.path.join(folder, name) for folder, dirs, files in os.walk(data) for name in dirs + files]

    for path in [data] + everything():
        os.chown(path, uid, uid)
    return lambda: {os.stat(path).st_uid for path in everything()}


def test_build_for_another_owner(own_site, tmp_path):
    """Root builds where freshetd lives as a user of its own: what is written is that user's, the disk need not be."""
    owners = given_away(own_site.data)
    raw, disk = tmp_path / "disk.raw", tmp_path / "disk.qcow2"
    raw.write_bytes(os.urandom(1 << 20))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, disk], check=True)
    for f in (raw, disk):
        os.chmod(f, 0o600)
        freshet("image", "build", "--data", own_site.data, "--name", "other", "--channel", "lab/other", "--json", tmp_path / "out.json", f)
        assert os.stat(tmp_path / "out.json").st_uid == 0
    assert owners() == {4711}


@pytest.fixture
def reachable():
    """A folder that other users come to; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield path


def test_boot_build_for_another_owner(own_site, reachable, tmp_path):
    """The same for boot files: that user may see neither root's folder, nor the key that signs."""
    data, home = os.path.join(reachable, "site"), tmp_path / "home"
    shutil.copytree(own_site.data, data)
    owners = given_away(data)
    home.mkdir(mode=0o700)
    subprocess.run(["openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lab", "-keyout", "db.key", "-out", "db.crt"],
                   check=True, stderr=subprocess.DEVNULL, cwd=home)
    # Just before sbsign runs, that user plants a link where root might write or read.
    planted = os.path.join(data, "tmp/signed.efi")
    (home / "roots").write_text("as it was")
    (home / "sbsign").write_text('#!/bin/sh\nln -sf %s %s\nexec /usr/bin/sbsign "$@"\n' % (home / "roots", planted))
    (home / "sbsign").chmod(0o700)
    env = dict(os.environ, PATH="%s:%s" % (home, os.environ["PATH"]))
    for args in ((), ("--sign-key", "db.key", "--sign-cert", "db.crt", "--ipxe-efi", "/usr/lib/ipxe/ipxe.efi")):
        subprocess.run([FRESHET, "boot", "build", "--data", data, "--efi", os.path.join(BUILD, "freshet.efi"), "--server",
                        "http://192.0.2.1:8080", *args], check=True, cwd=home, env=env)
    assert not subprocess.run(["sbverify", "--cert", "db.crt", os.path.join(data, "netboot/freshet.efi")], check=False, cwd=home).returncode
    assert (home / "roots").read_bytes() == b"as it was" and os.path.islink(planted)
    os.unlink(planted)
    assert owners() == {4711} and not os.listdir(os.path.join(data, "tmp"))


def test_boot_build_planted_esp(own_site, reachable, tmp_path):
    """That user exchanges the ESP under mformat: it is not as root that mformat writes."""
    data, roots = os.path.join(reachable, "site"), tmp_path / "roots"
    shutil.copytree(own_site.data, data)
    given_away(data)
    roots.write_bytes(b"as it was")
    os.truncate(roots, 64 << 20)  # as long as an ESP
    planted, tool = os.path.join(data, "tmp/esp.img"), os.path.join(reachable, "mformat")
    with open(tool, "w", encoding="ascii") as f:
        f.write('#!/bin/sh\nrm -f %s\nln -s %s %s\nexec /usr/bin/mformat "$@"\n' % (planted, roots, planted))
    os.chmod(tool, 0o755)
    p = subprocess.run([FRESHET, "boot", "build", "--data", data, "--efi", os.path.join(BUILD, "freshet.efi"), "--server", "http://192.0.2.1:8080"],
                       check=False, env=dict(os.environ, PATH="%s:%s" % (reachable, os.environ["PATH"])))
    assert p.returncode == 1 and os.path.islink(planted) and not roots.read_bytes().strip(b"as it was\0")


def test_killed_build_of_another_format(own_site, tmp_path):
    """SIGKILL while qemu-nbd reads for us: it goes too."""
    raw = make_disk(tmp_path / "d.raw", mib=200, seed=4)
    with open(raw, "r+b") as f:
        for i in range(100):
            f.write(os.urandom(1 << 20))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, tmp_path / "d.qcow2"], check=True)
    p = subprocess.Popen([FRESHET, "image", "build", "--data", own_site.data, "--name", "f", "--level", "9", tmp_path / "d.qcow2"],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.time() + 30
    while not os.listdir(own_site.path("incoming")) and time.time() < end:
        time.sleep(0.01)
    p.kill()
    p.wait()
    end = time.time() + 10
    while time.time() < end:
        if str(tmp_path) not in subprocess.run(["ps", "-eo", "args"], stdout=subprocess.PIPE, text=True, check=True).stdout:
            return
        time.sleep(0.1)
    assert False, "qemu-nbd still runs"


def test_one_writer_at_a_time(own_site):
    s = own_site
    with open(s.path(".lock"), "w", encoding="ascii") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        p = subprocess.Popen([FRESHET, "site", "set", "--data", s.data, "fill", "off"])
        time.sleep(0.3)
        assert p.poll() is None
        fcntl.flock(f, fcntl.LOCK_UN)
        assert p.wait(20) == 0


def test_wrong_use(site, tmp_path):
    for args in (["image", "build"], ["image", "frob"], ["frob"], [], ["key", "new"], ["image"],
                 ["image", "build", "--data", site.data, "--name", "UPPER", site.disk],
                 ["image", "build", "--data", site.data, "--name", "x", "--chunk", "100K", site.disk],
                 ["image", "build", "--data", site.data, "--name", "x", "--level", "11", site.disk],
                 ["image", "build", "--data", site.data, "--name", "x", "--channel", "../x", site.disk],
                 ["image", "build", "--data", site.data, "--name", "x", "--frob", site.disk],
                 ["channel", "set", "--data", site.data, "a//b", site.version],
                 ["site", "set", "--data", site.data, "--uuid", "12", "fill", "on"],
                 ["boot", "build", "--data", site.data]):
        p = freshet(*args, ok=2)
        assert p.stderr and not p.stdout
    (tmp_path / "odd.raw").write_bytes(b"x" * 1000)
    (tmp_path / "empty.raw").write_bytes(b"")
    for disk, word in (("odd.raw", "raw disk"), ("empty.raw", "raw disk"), ("none.raw", "No such file")):
        p = freshet("image", "build", "--data", site.data, "--name", "x", tmp_path / disk, ok=1)
        assert word in p.stderr
    assert "freshet image ls" in freshet("image", "verify", "--data", site.data, "0" * 64, ok=1).stderr
    assert "freshet key new" in freshet("image", "build", "--data", tmp_path / "nokey", "--name", "x", site.disk,
                                        ok=1).stderr
    for args in (["--help"], ["image", "--help"], ["image", "build", "--help"], ["boot", "build", "--help"]):
        assert freshet(*args).stdout


def test_site_settings(own_site):
    s = own_site
    one = "AAAAAAAA-0000-0000-0000-000000000001"
    with open(s.path("site.conf"), "w", encoding="ascii") as f:
        f.write("# ours\npolicy boot\n\n# the odd one\nmachine %s\nfill off # not a value\n" % one.lower())
    assert "line 6" in freshet("site", "show", "--data", s.data, ok=1).stderr
    with open(s.path("site.conf"), "w", encoding="ascii") as f:
        f.write("# ours\npolicy boot\n\n# the odd one\nmachine %s\nfill off\n" % one.lower())
    freshet("site", "set", "--data", s.data, "policy", "push")
    freshet("site", "set", "--data", s.data, "claim", "serial:ABC123")
    freshet("site", "set", "--data", s.data, "--uuid", one, "fill_limit", "1000")
    freshet("site", "set", "--data", s.data, "--uuid", one[:-1] + "2", "channel", "lab/beta")
    text = freshet("site", "show", "--data", s.data).stdout
    assert text.count("policy") == 1 and "policy push" in text and "# the odd one" in text
    assert re.search(r"machine \S+01\nfill off\nfill_limit 1000\n\nmachine \S+02\nchannel lab/beta\n$", text)
    for key, value in (("policy", "sometimes"), ("frob", "1"), ("fill", "maybe"), ("fill_limit", "1x"),
                       ("fill_limit", "5000000000"), ("claim", "serial:"), ("channel", "../x")):
        freshet("site", "set", "--data", s.data, key, value, ok=1)
    assert freshet("site", "show", "--data", s.data).stdout == text


def test_boot_build(own_site, tmp_path):
    s = own_site
    efi = make_efi(tmp_path / "in.efi")
    args = ["boot", "build", "--data", s.data, "--efi", efi, "--server", "http://192.0.2.1:8080/", "--option",
            "verbose=1", "--option", "wait=5"]
    out = freshet(*args).stdout
    esp = re.search("esp +([0-9a-f]{64})", out).group(1)
    got, given = open(s.path("netboot/freshet.efi"), "rb").read(), open(efi, "rb").read()
    pub = bytes.fromhex(open(s.path("site.pub"), encoding="ascii").read().strip())
    assert got[:0x400] == given[:0x400] and got[0x1400:] == given[0x1400:]
    assert got[0x400:0x1400] == (b"FRSHKEY1" + struct.pack("<II", 1, 0) + pub).ljust(4096, b"\0")
    assert open(s.path("netboot/freshet.conf"), encoding="ascii").read() == \
        "server 192.0.2.1:8080\nverbose 1\nwait 5\n"
    script = open(s.path("netboot/boot.ipxe"), encoding="ascii").read()
    assert script.startswith("#!ipxe\n") and "http://192.0.2.1:8080/freshet.efi" in script
    assert "verbose=1 wait=5" in script and "@SERVER@" not in script.split("iseq", 1)[-1]
    img = s.path("netboot/esp.img")
    assert os.path.getsize(img) == 64 << 20
    for inside, name in (("EFI/BOOT/BOOTX64.EFI", "freshet.efi"), ("EFI/BOOT/freshet.conf", "freshet.conf"),
                         ("EFI/freshet/freshet.conf", "freshet.conf")):
        data = subprocess.run(["mtype", "-i", img, "::/" + inside], check=True, stdout=subprocess.PIPE).stdout
        assert data == open(s.path("netboot", name), "rb").read()
    subprocess.run(["/usr/sbin/fsck.vfat", "-n", img], check=True, stdout=subprocess.DEVNULL)
    assert open(img, "rb").read(90)[82:90] == b"FAT32   "
    freshet("image", "verify", "--data", s.data, esp)
    freshet("image", "export", "--data", s.data, esp, tmp_path / "esp.raw")
    assert open(tmp_path / "esp.raw", "rb").read() == open(img, "rb").read()
    # The same call, later, makes the same bytes and keeps the version.
    before = {f: open(s.path("netboot", f), "rb").read() for f in os.listdir(s.path("netboot"))}
    time.sleep(2.1)
    freshet(*args)
    assert before == {f: open(s.path("netboot", f), "rb").read() for f in os.listdir(s.path("netboot"))}
    # Nothing is changed in place: a hard link to the old file keeps the old bytes.
    os.link(img, tmp_path / "kept.img")
    # Another option makes another ESP.
    freshet(*args, "--option", "ip=dhcp")
    assert open(s.path("netboot/esp"), encoding="ascii").read().strip() != esp
    assert open(tmp_path / "kept.img", "rb").read() == before["esp.img"] != open(img, "rb").read()


def test_boot_script_of_ones_own(own_site, tmp_path):
    template = tmp_path / "mine.ipxe"
    template.write_text("#!ipxe\n# ours\nchain @SERVER@/freshet.efi @OPTIONS@\n")
    freshet("boot", "build", "--data", own_site.data, "--efi", make_efi(tmp_path / "in.efi"), "--server", "http://192.0.2.1:8080", "--option",
            "wait=5", "--ipxe", template)
    with open(own_site.path("netboot/boot.ipxe"), encoding="ascii") as f:
        script = f.read()
    assert script.startswith("#!ipxe\n# ours\n") and "chain http://192.0.2.1:8080/freshet.efi" in script and "wait=5" in script


def test_boot_build_refuses(own_site, tmp_path):
    s = own_site
    for name, data in (("text", b"hello"), ("mz", b"MZ" + b"\0" * 58 + b"\xff\xff\xff\xff"),
                       ("nokey", open(make_efi(tmp_path / "x.efi"), "rb").read().replace(b".sitekey", b".nothere")),
                       ("cut", open(tmp_path / "x.efi", "rb").read()[:0x500])):
        (tmp_path / name).write_bytes(data)
        p = freshet("boot", "build", "--data", s.data, "--efi", tmp_path / name, "--server", "192.0.2.1:80", ok=1)
        assert ".sitekey" in p.stderr
    assert not os.path.exists(s.path("netboot/freshet.efi"))
    freshet("boot", "build", "--data", s.data, "--efi", tmp_path / "x.efi", "--server", "http://a b/", ok=2)
