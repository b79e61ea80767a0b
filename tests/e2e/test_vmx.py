"""VMX in Bochs beside what test_bochs.py does: the processor alone, and what an idle guest costs."""

import os
import re

import pytest

import bochs
import lab

IDLE_SECONDS = 20

# Each question is a start of dd, and busybox asks CPUID when it starts.
IDLE = """\
exec > /dev/ttyS0 2>&1
ask() { printf F | dd of=/dev/port bs=1 seek=$((0x2ff)) conv=notrunc 2>/dev/null; sleep 1; }
sleep 3
ask
sleep %d
ask
grep -E 'LOC|NMI' /proc/interrupts
echo "idle: done"
poweroff -f
""" % IDLE_SECONDS


@pytest.mark.parametrize("model", ["corei7_haswell_4770", "corei7_skylake_x", "corei7_sandy_bridge_2600k"])
def test_processor(folder, model, monkeypatch):
    """tests/guest/vmxsuite.c: the processor as vmm/vmx relies on it, without the VMM."""
    # Entries that must be refused are part of it, and the log says so.
    monkeypatch.setattr(bochs, "BAD_LOG", re.compile(r"3rd \(\d+\) exception|PANIC"))
    esp = bochs.make_esp(folder, 1, "/test/vmxsuite.efi",
                         {"test/vmxsuite.efi": os.path.join(lab.BUILD, "test", "vmxsuite.efi")})
    with bochs.Bochs(folder, "pc", esp, model) as pc:
        done = pc.com1.wait(r"vmxsuite: (\d+) ok, (\d+) bad\s", 120)
        assert re.findall(r"BAD .*", pc.com1.text) == []
        assert int(done.group(1)) >= 50
        pc.com1.refresh()
    with open(pc.folder + "/bochs.log", encoding="utf-8", errors="replace") as f:
        log = f.read()
    # These four and no other.
    assert len(re.findall(r"VMFAIL|VMENTER FAIL", log)) == 4


def null_esp(folder, cpus, loader, files):
    """The ESP of a PC that starts freshet.efi, which takes no device and starts @loader."""
    conf = os.path.join(folder, "freshet.conf")
    with open(conf, "w", encoding="ascii") as f:
        f.write("mode null\nloader %s\n" % loader)
    return bochs.make_esp(folder, cpus, "/EFI/freshet/freshet.efi", dict(
        files, **{"EFI/freshet/freshet.efi": os.path.join(lab.BUILD, "freshet.efi"), "EFI/freshet/freshet.conf": conf}))


def test_triple_fault_is_explained(folder):
    """Where, in what state; then the machine restarts. Bochs' SVM knows no such exit, it just ends."""
    esp = null_esp(folder, 1, "\\test\\triple.efi", {"test/triple.efi": os.path.join(lab.BUILD, "test", "triple.efi")})
    with bochs.Bochs(folder, "pc", esp) as pc:
        pc.com1.wait("triple: no IDT", 120)
        pc.com2.wait(r"the guest has shut down rip=[0-9a-f]+; resetting the machine", 60)
        pc.com2.wait(r"vmx: cpu 0 exit=2 \(triple fault\)", 60)
        pc.com2.wait(r"vmx: rip=[0-9a-f]+ rsp=[0-9a-f]+ .*rax=7472697031", 60)
        # OVMF does not survive a warm reset in Bochs, so its log must tell.
        bochs.File(pc, pc.folder + "/bochs.log").wait(r"(?s)reset of 'serial'.*reset of 'serial'", 30, "a reset")


def figures(log):
    """Exits by reason, each time the VMM was asked."""
    return [{m.group(1): int(m.group(2)) for m in re.finditer(r"exits: (\w+) count=(\d+)", block)}
            for block in re.findall(r"counters: begin(.*?)counters: end", log, re.S)]


@pytest.mark.parametrize("cpus", [1, 2])
def test_idle_guest_does_not_exit(folder, cpus, capsys):
    """Linux under the VMM and nothing to do: no exit by HLT, interrupts, timers or the APIC."""
    files = bochs.linux_files(os.path.join(folder, "os"), os.path.join(lab.BUILD, "images", "vmlinuz"),
                              bochs.small_initrd(os.path.join(folder, "os"), IDLE))
    esp = null_esp(folder, cpus, "\\os\\grub.efi", files)
    with bochs.Bochs(folder, "pc", esp, cpus=cpus) as pc:
        pc.com1.wait("VMM runs on %d CPU" % cpus, 120)
        pc.com1.wait("idle: done", 600, bad="Kernel panic|FR-")
        pc.wait_end(60)
        log = pc.vmm_log()
    assert "is a guest on vmx" in log
    assert cpus == 1 or "the watch is off" in log
    before, after = figures(log)
    more = {k: after[k] - before.get(k, 0) for k in after if after[k] != before.get(k, 0)}
    with capsys.disabled():
        print("\nvmx: idle for %d s, cpus=%d: %s; since power-on: %s"
              % (IDLE_SECONDS, cpus, ", ".join("%s %d" % i for i in more.items()),
                 ", ".join("%s %d" % i for i in after.items())), flush=True)
    more.pop("io", None)  # the question
    assert more.pop("cpuid", 0) <= 200
    assert more == {}
