"""Freshet on Bochs' Intel and AMD models: from the ESP to a guest that has checked every file of a streamed disk."""

import os
import re
import subprocess

import pytest

import bochs
import lab

HASWELL = "corei7_haswell_4770"


@pytest.fixture(scope="module")
def small():
    folder = os.path.join(lab.BUILD, "images")
    subprocess.run(["flock", os.path.join(folder, "small.lock"), os.path.join(lab.ROOT, "tests/guest/small.sh"), folder], check=True)
    return os.path.join(folder, "small.raw")


@pytest.fixture
def boot(folder):
    """boot(model, cpus, options, efi=, before=, nic=): a PC that starts freshet.efi from its ESP."""
    pcs = []

    def begin(model, cpus, options, efi=os.path.join(lab.BUILD, "freshet.efi"), before=(), **kw):
        conf = os.path.join(folder, "freshet.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write("\n".join(options) + "\n")
        esp = bochs.make_esp(folder, cpus, "/EFI/freshet/freshet.efi",
                             {"EFI/freshet/freshet.efi": efi, "EFI/freshet/freshet.conf": conf}, before)
        pc = bochs.Bochs(folder, "pc", esp, model, cpus, **kw)
        pcs.append(pc)
        return pc

    yield begin
    for pc in pcs:
        pc.kill()


def exits(text):
    """Exits by reason in the VMM's last figures."""
    return {m.group(1): int(m.group(2)) for m in re.finditer(r"exits: (\w+) count=(\d+)", text[text.rindex("counters: begin"):])}


@pytest.mark.parametrize("model,cpus", [
    (HASWELL, 1), (HASWELL, 2), ("corei7_skylake_x", 1), ("corei7_sandy_bridge_2600k", 1), ("trinity_apu", 1),
])
def test_streamed_disk(folder, small, boot, capsys, model, cpus):
    """No disk but memory, no NIC with messages: stream, verify, write, power off."""
    data, port = os.path.join(folder, "data"), lab.free_port()
    os.makedirs(data)
    lab.make_site(data, port, small, name="small")
    with lab.Server(data, os.path.join(folder, "freshetd.log"), port):
        pc = boot(model, cpus, ["server 10.0.2.2:%d" % port], efi=data + "/netboot/freshet.efi", nic=True)
        bad = r"FR-\d+|small: FAILED|Kernel panic|grub rescue>"
        marks = []
        for what, limit in (("VMM runs on %d CPU" % cpus, 120), ("small: grub", 240), (r"small: up at \S+ with (\d+) CPU", 900),
                            ("small: mounted", 300), (r"small: (\d+) files match", 1200),
                            ("small: what was written is there", 300), ("small: done", 300)):
            m = pc.com1.wait(what, limit, bad=bad)
            marks.append("%s %.0f" % (m.group(0), pc.seconds()))
            if m.lastindex and "CPU" in what:
                assert int(m.group(1)) == cpus
        pc.wait_end(60)
    assert "small: sees virtualization" not in pc.com1.text
    log = pc.vmm_log()
    assert "is a guest on %s" % ("svm" if model == "trinity_apu" else "vmx") in log
    assert not re.findall(r"\] E .*", log)
    counts = exits(log)
    with capsys.disabled():
        print("\nbochs: %s cpus=%d: %s\nbochs: exits: %s" % (model, cpus, "; ".join(marks), ", ".join(
            "%s %d" % (k, v) for k, v in sorted(counts.items()))), flush=True)
    assert counts["cpuid"] and counts["mmio"]


def test_null_mode_comes_back(boot):
    """mode null: no device is taken; the OS's loader is the next file on the ESP."""
    pc = boot(HASWELL, 2, ["mode null", "loader \\EFI\\BOOT\\BOOTX64.EFI"])
    pc.com1.wait(r"VMM runs on 2 CPU\(s\)[\s\S]*starting \S+[\s\S]*grub: tables", 180, "GRUB again, as a guest")


def test_processor_without_unrestricted_guest(boot):
    pc = boot("corei5_lynnfield_750", 1, ["mode null"])
    pc.com1.wait(r"FR-20 [\s\S]*VMX without: unrestricted guest[\s\S]*Enter: restart", 120, "the refusal", bad="VMM runs")


def test_vmx_locked_off(boot):
    pc = boot(HASWELL, 1, ["mode null"], before=[os.path.join(lab.BUILD, "test", "vmx_lock.efi")])
    pc.com1.wait(r"locked off[\s\S]*FR-21 [\s\S]*IA32_FEATURE_CONTROL is 1[\s\S]*Enter: restart", 120, "the refusal",
                 bad="VMM runs")
