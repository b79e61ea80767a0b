"""What the guest gets of interrupts, judged by QEMU's own log of them."""

import os
import re

import lab

VMM_HALF = 0xffffffff80000000  # of the address space: the VMM's IDT lies there, no guest's does


def deliveries(log):
    """From a log of "-d int": external interrupts that were taken from the APIC, and those that guest and VMM got.

    Returns (taken, by_vmm, by_guest, forbidden): forbidden are those that the guest got with IF=0.
    """
    taken = by_vmm = by_guest = forbidden = 0
    vector = flags = None
    with open(log, encoding="utf-8", errors="replace") as f:
        for line in f:
            if line.startswith("Servicing hardware INT"):
                taken += 1
                continue
            m = re.search(r"v=([0-9a-f]{2}) e=[0-9a-f]+ i=0", line)
            if m:
                vector, flags = int(m.group(1), 16), None
                continue
            if vector is None or vector < 32:
                continue
            m = re.search(r"RFL=([0-9a-f]+)", line)
            if m:
                flags = int(m.group(1), 16)
            m = re.match(r"IDT= +([0-9a-f]+)", line)
            if not m:
                continue
            if int(m.group(1), 16) >= VMM_HALF:
                by_vmm += 1
            else:
                by_guest += 1
                forbidden += not flags & 0x200
            vector = None
    return taken, by_vmm, by_guest, forbidden


def test_interrupts_come_once_and_where_allowed(server, disk, start, folder):
    """While the tick is on the VMM takes the guest's interrupts and injects them: each once, and with IF=1.

    Questions to QEMU's monitor make its threads want something of the CPU at any moment, as other load does.
    """
    log = os.path.join(folder, "int.log")
    pc = start("pc", disk, extra=["-d", "int", "-D", log])
    while "tiny login: ready" not in pc.com1.text:
        pc.qmp.hmp("info registers")
        assert pc.proc.poll() is None and pc.seconds() < 300 * lab.PATIENCE, "no login; see " + pc.folder
    pc.kill()
    taken, by_vmm, by_guest, forbidden = deliveries(log)
    assert by_vmm > 100, "the VMM injected next to nothing, so nothing was tried"
    # What the VMM took it handed on; the last one may have been on its way when the power went.
    assert (by_guest, forbidden) in ((taken, 0), (taken - 1, 0))
