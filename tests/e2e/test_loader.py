"""The loader alone: a stand-in plays the VMM (tests/fakes/fake_launch.c), the "virtual disk" is the real one."""

import functools
import http.server
import os
import shutil
import struct
import subprocess
import threading

import pytest

import lab

TEST = os.path.join(lab.BUILD, "test")


def with_key(efi, out):
    """What `freshet boot build` does to .sitekey, with a key that nothing is signed by."""
    with open(efi, "rb") as f:
        data = bytearray(f.read())
    pe = struct.unpack_from("<I", data, 60)[0]
    sections, optional = struct.unpack_from("<H12xH", data, pe + 6)
    for at in range(pe + 24 + optional, pe + 24 + optional + 40 * sections, 40):
        if data[at:at + 8] == b".sitekey":
            size, start = struct.unpack_from("<II", data, at + 16)
            assert size >= 4096 and data[start:start + 16] == b"FRSHKEY1" + bytes(8)
            struct.pack_into("<I64s", data, start + 8, 1, b"")
            data[start + 16:start + 80] = bytes(range(64))
            break
    else:
        raise AssertionError("no section .sitekey")
    with open(out, "wb") as f:
        f.write(data)
    return out


def fat(path, files):
    """A file system straight on a disk, which OVMF takes like an ESP."""
    with open(path, "wb") as f:
        f.truncate(40 << 20)
    subprocess.run(["mformat", "-i", path, "-F", "::"], check=True)
    for d in ("EFI", "EFI/BOOT", "EFI/freshet"):
        subprocess.run(["mmd", "-i", path, "::/" + d], check=True)
    for name, source in files.items():
        subprocess.run(["mcopy", "-i", path, source, "::/" + name], check=True)


@pytest.fixture
def boot(folder):
    """boot(options, os=..., conf=..., key=...): the loader from a USB disk, the OS on NVMe."""
    pcs = []

    def begin(options, os_efi="efi_os.efi", conf="EFI/BOOT/freshet.conf", key=True, os_name="EFI/BOOT/BOOTX64.EFI",
              own_disk=False, **kw):
        efi, text = os.path.join(TEST, "loader.efi"), os.path.join(folder, "freshet.conf")
        if key:
            efi = with_key(efi, os.path.join(folder, "loader.efi"))
        with open(text, "w", encoding="ascii", newline="") as f:
            f.write(options)
        esp, disk = os.path.join(folder, "esp.img"), lab.Disk(os.path.join(folder, "pc.raw"), 40)
        files = {"EFI/BOOT/BOOTX64.EFI": efi, conf: text}
        system = {os_name: os.path.join(TEST, os_efi)} if os_efi else {}
        if own_disk:
            fat(disk.path, dict(files, **system))
            extra = ()
        else:
            fat(disk.path, system)
            fat(esp, files)
            extra = ["-drive", "if=none,id=esp,format=raw,snapshot=on,file=" + esp, "-device", "qemu-xhci",
                     "-device", "usb-storage,drive=esp,bootindex=0"]
        pc = lab.Pc(folder, "pc", disk=None if kw.pop("no_disk", False) else disk, cpus=1,
                    boot="disk" if own_disk else "esp", extra=extra, **kw)
        pcs.append(pc)
        return pc

    yield begin
    for pc in pcs:
        pc.kill()


SERVER = "server 10.0.2.2:%d\nwait 600\n"


def os_runs(pc):
    pc.com1.wait(r"starting \\\S+\s+efi_os: started\s+fake: done\s+efi_os: alone", 60, "the OS")


def test_boots_the_os(boot):
    pc = boot(SERVER % 1)
    pc.com1.wait(r"NIC  0000:\S+ \[8086:10d3\]\s+disk 0000:\S+ \[1b36:0010\]", 60, "the devices")
    m = pc.com1.wait(r"fake: flags=0 pci=2 keys=1 ecam=(\S+) tsc=(\d+)", 30, "the hand-off")
    assert int(m.group(1), 16) and int(m.group(2)) > 10**8
    pc.com1.wait(r"network: \d+ % \d+ KiB, \d+ KiB/s fake: link up", 30, "progress")
    os_runs(pc)


def test_boots_from_its_own_disk(boot):
    """The disk that the loader came from is taken, given back, and searched for the OS."""
    pc = boot("# x\r\n" + SERVER % 1 + "loader \\os.efi\n", own_disk=True, os_name="os.efi",
              conf="EFI/freshet/freshet.conf")
    os_runs(pc)


def test_null_mode_takes_nothing(boot):
    pc = boot("mode null\n", key=False, conf="freshet.conf")
    pc.com1.wait(r"fake: flags=1 pci=0 keys=0", 60, "the hand-off")
    os_runs(pc)


def test_boot_from_cache(boot):
    pc = boot(SERVER % 2)
    pc.com1.wait(r"FR-55 [\s\S]*fake: nobody answers[\s\S]*B: boot cached", 60, "the trouble screen")
    pc.com1.send("b")
    pc.com1.wait("fake: action=2", 20, "the key's effect")
    os_runs(pc)


def test_retry(boot):
    pc = boot(SERVER % 2)
    pc.com1.wait(r"FR-55 [\s\S]*R: retry", 60, "the trouble screen")
    pc.com1.send("R")
    pc.com1.wait("fake: action=1", 20, "the key's effect")
    os_runs(pc)


def test_trouble_that_goes_away(boot):
    pc = boot(SERVER % 3)
    pc.com1.wait("FR-55 ", 60, "the trouble screen")
    os_runs(pc)


@pytest.mark.parametrize("options,kw,want", [
    (SERVER % 1 + "sever 1\n", {}, r"FR-15 [\s\S]*freshet.conf line 3: sever: no such option"),
    ("wait 600\n", {}, r"FR-15 [\s\S]*server: missing"),
    (SERVER % 1, {"cpu": "qemu64,-svm"}, r"FR-10 "),
    (SERVER % 1, {"cpu": "qemu64,+svm,-npt"}, r"FR-10 [\s\S]*without nested paging"),
    (SERVER % 1, {"mem": "512M"}, r"FR-12 [\s\S]*MiB are free"),
    (SERVER % 1 + "disk nvme\n", {"no_disk": True}, r"FR-14 "),
    (SERVER % 1, {"no_disk": True, "nic": False}, r"FR-13 [\s\S]*no disk"),
    (SERVER % 1, {"key": False}, r"FR-16 [\s\S]*is empty"),
    (SERVER % 4, {}, r"FR-17 [\s\S]*launch: EIO"),
    (SERVER % 5, {}, r"FR-61 [\s\S]*HC_START: EINVAL"),
    (SERVER % 1, {"os_efi": "efi_os_back.efi"}, r"FR-18 [\s\S]*came back: load error"),
    (SERVER % 1, {"os_efi": None}, r"FR-18 [\s\S]*1 FAT file system\(s\), no boot loader"),
], ids="key server svm npt memory disk neither sitekey launch start comes-back no-loader".split())
def test_trouble(boot, options, kw, want):
    pc = boot(options, **kw)
    pc.com1.wait(want + r"[\s\S]*Enter: restart", 60, "the message")
    pc.com1.send("\r")
    pc.com1.wait("restarting", 20, "the restart")


def test_restarts_by_itself(boot):
    pc = boot("server 10.0.2.2:1\nwait 2\ndisk nvme\n", no_disk=True, nic=False)
    pc.com1.wait("FR-13 ", 60, "a word about the NIC")
    pc.com1.wait(r"FR-14 [\s\S]*in 1 s[\s\S]*restarting", 60, "the restart")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_netboot(folder):
    """The script that a site serves, through the iPXE of the NIC's option ROM; first without freshet.efi."""
    web, tftp = os.path.join(folder, "web"), os.path.join(folder, "tftp")
    os.makedirs(web)
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=web))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    lab.make_tftp(tftp, httpd.server_port)
    with open(os.path.join(lab.ROOT, "boot/ipxe/boot.ipxe.in"), encoding="ascii") as f:
        script = f.read()
    with open(os.path.join(web, "boot.ipxe"), "w", encoding="ascii") as f:
        f.write(script.replace("@SERVER@", "http://10.0.2.2:%d" % httpd.server_port)
                .replace("@OPTIONS@", "server=10.0.2.2:1 mode=normal"))
    with open(os.path.join(web, "freshet.conf"), "w", encoding="ascii") as f:
        f.write("server 10.0.2.2:2\nmode null\nwait 600\n")
    disk = lab.Disk(os.path.join(folder, "pc.raw"), 40)
    fat(disk.path, {"EFI/BOOT/BOOTX64.EFI": os.path.join(TEST, "efi_os.efi")})
    pc = lab.Pc(folder, "pc", disk=disk, tftp=tftp, cpus=1)
    try:
        pc.com1.wait(r"Next try in 10 seconds", 120, "iPXE's message")
        shutil.copy(with_key(os.path.join(TEST, "loader.efi"), os.path.join(folder, "key.efi")),
                    os.path.join(web, "freshet.efi"))
        pc.com1.wait(r"fake: flags=0 pci=2 keys=1", 120, "the loader")
        os_runs(pc)
    finally:
        pc.kill()
        httpd.shutdown()
