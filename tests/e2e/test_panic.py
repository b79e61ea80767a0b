"""The VMM's own end: what stands on the display is what the log says.

What it leaves in memory is found after a warm reset, and told to the server.

The display is read back without knowing the firmware's font: the log on the
serial port says which character must stand in each cell; each character must
always look the same, and no two alike.
"""

import os
import re
import time

import lab

GLYPH_W, GLYPH_H = 8, 19


def read_ppm(path):
    with open(path, "rb") as f:
        data = f.read()
    m = re.match(rb"P6\s+(\d+)\s+(\d+)\s+(\d+)\s", data)
    width, height = int(m.group(1)), int(m.group(2))
    return width, height, data[m.end():]


def cell(width, pixels, row, column):
    """One character cell: True for each white pixel."""
    out = []
    for y in range(GLYPH_H):
        at = ((row * GLYPH_H + y) * width + column * GLYPH_W) * 3
        out += [pixels[at + 3 * x] > 127 for x in range(GLYPH_W)]
    return tuple(out)


def panic_esp(folder, data):
    """The site's freshet.efi in mode test, and behind it an OS that asks for a panic."""
    extra = lab.boot_esp(folder, data, ["mode test"])
    os_img = os.path.join(folder, "os.img")
    with open(os_img, "wb") as f:
        f.truncate(64 << 20)
    lab.run("mformat", "-i", os_img, "-F", "::")
    lab.run("mmd", "-i", os_img, "::/EFI", "::/EFI/BOOT")
    lab.run("mcopy", "-i", os_img, os.path.join(lab.BUILD, "test", "vmm_panic.efi"), "::/EFI/BOOT/BOOTX64.EFI")
    return extra, os_img


def test_panic_is_on_the_display(site, folder):
    extra, os_img = panic_esp(folder, site)
    with lab.Pc(folder, "pc", disk=lab.Disk(os_img, 64), boot="esp", nic=False, extra=extra, cpus=2) as pc:
        pc.com2.wait(r"panic: the test guest asked for it", 60, "the panic")
        pc.com2.wait(r"panic: stopped.*\n", 60, "the panic's end")
        log = pc.vmm_log()
        log = log[log.index("panic: the test guest"):]
        assert re.search(r"panic: rbx=[0-9a-f]{16} ", log) and re.search(r"svm: rip=[0-9a-f]+ ", log), "no registers"
        assert re.search(r"panic: #\d+ [0-9a-f]+ testdev_call\+0x", log), "no backtrace by name"
        lines = [line.rstrip("\r") for line in pc.vmm_log().split("\n") if line.strip()]
        first = next(i for i, line in enumerate(lines) if "panic: the test guest" in line)
        lines = lines[first:]
        shot = os.path.join(folder, "screen.ppm")
        for _ in range(100):  # drawn right after the last line was sent
            pc.qmp.cmd("screendump", filename=shot)
            width, height, pixels = read_ppm(shot)
            last = height // GLYPH_H - 1
            if sum(cell(width, pixels, last, 1)):
                break
        for cpu in range(2):
            assert "HLT=1" in pc.qmp.hmp("info registers -a").split("CPU#")[cpu + 1], "CPU %d runs on" % cpu
    look = {}
    for row, line in enumerate(lines[:last - 1], 1):
        for column, char in enumerate(line[:width // GLYPH_W]):
            seen = cell(width, pixels, row, column)
            assert look.setdefault(char, seen) == seen, "row %d, column %d is not %r" % (row, column, char)
    assert len(set(look.values())) == len(look) > 30
    assert not any(look[" "])
    head = "Freshet has stopped."
    for column, char in enumerate(head, 1):
        if char in look:
            assert cell(width, pixels, 0, column) == tuple(not p for p in look[char]), "the head line"


def crashes(folder):
    """What the server has written down; a report itself lives until the next one."""
    with open(os.path.join(folder, "freshetd.log"), encoding="utf-8") as f:
        return re.findall(r"event: crash: (.*)", f.read())


def test_panic_is_told_after_a_reset(site, folder, port):
    """The boot after the panic is one with a network and a blank disk: other boot files, the same memory."""
    extra, os_img = panic_esp(folder, site)
    os.truncate(os_img, 1 << 30)
    again = os.path.join(folder, "again")
    os.makedirs(again)
    lab.boot_esp(again, site)
    with lab.Server(site, os.path.join(folder, "freshetd.log"), port), \
            lab.Pc(folder, "pc", disk=lab.Disk(os_img, 1024), boot="esp", extra=extra, cpus=2) as pc:
        pc.com2.wait(r"panic: stopped.*\n", 60, "the panic")
        with open(os.path.join(again, "boot-esp.img"), "rb") as new, open(os.path.join(folder, "boot-esp.img"), "r+b") as old:
            old.write(new.read())
        with open(os_img, "r+b") as disk:
            disk.write(bytes(64 << 20))
        pc.qmp.cmd("system_reset")
        pc.com1.wait(r"The last run of Freshet ended in a panic:\s+\[.*panic: the test guest asked for it", 60)
        pc.com2.wait(r"crash: > .*panic: the test guest asked for it", 60)
        pc.com2.wait(r"crash: > .*svm: rip=[0-9a-f]+ ", 60, "the guest's registers")
        end = time.monotonic() + 60 * lab.PATIENCE
        while not any("panic: the test guest asked for it" in c for c in crashes(folder)):
            assert time.monotonic() < end and pc.proc.poll() is None, crashes(folder)
            time.sleep(0.2)
