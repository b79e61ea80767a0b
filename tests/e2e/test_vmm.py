"""The bare-metal guest tests/guest/vmmtest.c: on the bare machine, and under the VMM on SVM and on VMX.

A check that is good must be good everywhere, so all vendors' lists of checks
are compared line by line. "fact" lines (CPUID, MSRs, control registers) are
compared between the bare machine and the guest on the same machine: what
differs is listed here, with its reason.
"""

import os
import re
import subprocess

import pytest

import bochs
import lab

TEST = os.path.join(lab.BUILD, "test", "vmmtest.efi")
EFI = os.path.join(lab.BUILD, "freshet.efi")
END = r"vmmtest: (\d+) ok, (\d+) bad"
HASWELL = "corei7_haswell_4770"
LARGE_MIB = 6144  # of which the firmware leaves more than 4 GiB to the guest

results = {}  # (machine, cpus, bare) -> Result


class Result:
    def __init__(self, text, seconds):
        lines = text.replace("\r", "").split("\n")
        self.ok = [x[3:] for x in lines if x.startswith("ok ")]
        self.bad = [x for x in lines if x.startswith("BAD ")]
        self.end = next((x for x in lines if re.match(END, x)), None)
        self.bare = "vmmtest: on the bare machine" in text
        touched = re.search(r"vmmtest: touched (\d+) MiB", text)
        self.touched = int(touched.group(1)) if touched else 0
        facts = [x.split(" ") for x in lines if x.startswith("fact ")]
        self.facts = {" ".join(f[1:3 if f[1] in ("cpuid", "msr") else 2]):
                      f[3:] if f[1] in ("cpuid", "msr") else f[2:] for f in facts}
        self.seconds = seconds
        self.vmm_log = ""


def esp(folder, bare):
    """A FAT disk that boots the guest at once, or freshet.efi in mode test with the guest as its OS."""
    img, conf = os.path.join(folder, "esp.img"), os.path.join(folder, "freshet.conf")
    with open(conf, "w", encoding="ascii") as f:
        f.write("mode test\nloader \\test\\vmmtest.efi\n")
    with open(img, "wb") as f:
        f.truncate(64 << 20)
    subprocess.run(["mformat", "-i", img, "-F", "::"], check=True)
    subprocess.run(["mmd", "-i", img, "::/EFI", "::/EFI/BOOT", "::/test"], check=True)
    files = [(TEST, "EFI/BOOT/BOOTX64.EFI")] if bare else [
        (EFI, "EFI/BOOT/BOOTX64.EFI"), (conf, "EFI/BOOT/freshet.conf"), (TEST, "test/vmmtest.efi")]
    for source, name in files:
        subprocess.run(["mcopy", "-i", img, source, "::/" + name], check=True)
    return ["-drive", "if=none,id=esp,format=raw,snapshot=on,file=" + img,
            "-device", "virtio-blk-pci,drive=esp,bootindex=0,romfile="]


def in_qemu(folder, cpus, bare, mem="2G"):
    with lab.Pc(folder, "pc", cpus=cpus, mem=mem, nic=False, boot="esp", extra=esp(folder, bare)) as pc:
        pc.com1.wait(END + r"\s", 120, "the guest's last line")
        seconds = pc.seconds()
        pc.wait_end(30)
        return Result(pc.com1.text, seconds)


def in_bochs(folder, model, cpus, bare, mem=1024):
    conf = os.path.join(folder, "freshet.conf")
    with open(conf, "w", encoding="ascii") as f:
        f.write("mode test\nloader \\test\\vmmtest.efi\n")
    if bare:
        disk = bochs.make_esp(folder, cpus, "/test.efi", {"test.efi": TEST})
    else:
        disk = bochs.make_esp(folder, cpus, "/EFI/freshet/freshet.efi",
                              {"EFI/freshet/freshet.efi": EFI, "EFI/freshet/freshet.conf": conf,
                               "test/vmmtest.efi": TEST})
    with bochs.Bochs(folder, "pc", disk, model, cpus, mem=mem) as pc:
        pc.com1.wait(END, 400, "the guest's last line")
        seconds = pc.seconds()
        pc.wait_end(60)
        r = Result(pc.com1.text, seconds)
        r.vmm_log = pc.vmm_log()
        return r


def run(folder, machine, cpus, bare=False):
    """One run per session and kind."""
    key = (machine, cpus, bare)
    if key not in results:
        sub = os.path.join(folder, "%s-%d%s" % (machine, cpus, "-bare" if bare else ""))
        os.makedirs(sub)
        if machine == "qemu":
            results[key] = in_qemu(sub, cpus, bare)
        else:
            results[key] = in_bochs(sub, machine, cpus, bare, LARGE_MIB if (machine, cpus) == (HASWELL, 1) else 1024)
    r = results[key]
    print("%s, %d CPU(s)%s: %s in %.1f s" % (machine, cpus, ", bare" if bare else "", r.end, r.seconds))
    return r


def good(r, bare=False):
    assert not r.bad, "\n".join(r.bad)
    assert r.end and r.end == "vmmtest: %d ok, 0 bad" % len(r.ok)
    assert r.bare == bare
    assert len(set(r.ok)) == len(r.ok)


@pytest.mark.parametrize("cpus", [1, 2])
def test_svm(folder, cpus):
    r = run(folder, "qemu", cpus)
    good(r)
    assert len(r.ok) > 500
    assert ("ap: starts again" in r.ok) == (cpus == 2)


def test_svm_touches_four_gib(folder):
    """All of 5 GiB is read, a byte of each page: the guest counts the VMM's nested faults meanwhile."""
    r = in_qemu(folder, 1, False, mem="5G")
    good(r)
    assert r.touched > 4096 and "touch: memory is mapped without an exit" in r.ok


@pytest.mark.parametrize("cpus", [1, 2])
def test_haswell_prints_the_same(folder, cpus):
    r, svm = run(folder, HASWELL, cpus), run(folder, "qemu", cpus)
    good(r)
    assert r.ok == svm.ok
    if cpus == 1:  # by EPT as by nested paging: see test_svm_touches_four_gib
        assert r.touched > 4096 and "touch: memory is mapped without an exit" in r.ok
    # A page's type, and back.
    assert len(re.findall("ept: the guest has changed memory types", r.vmm_log)) >= 2


@pytest.mark.parametrize("model", ["corei7_skylake_x", "corei7_sandy_bridge_2600k", "trinity_apu"])
def test_other_processors(folder, model):
    """Another set of VMX features, and SVM as another emulator sees it."""
    r = run(folder, model, 1)
    good(r)
    assert r.ok == run(folder, "qemu", 1).ok


def test_bare_machine_agrees(folder):
    """The checks themselves, where there is nothing but the machine: what they want is what hardware does."""
    r = run(folder, "qemu", 2, bare=True)
    good(r, bare=True)
    assert set(r.ok) <= set(run(folder, "qemu", 2).ok)


def hidden_cpuid(name, was):
    """What the guest must see where the bare machine has @was."""
    was = [int(x, 16) for x in was]
    if name == "00000001.0":
        was[2] &= ~(1 << 5 | 1 << 6)  # VMX, SMX
    if name == "80000001.0":
        was[2] &= ~(1 << 2)  # SVM
    if name == "8000000a.0":
        was = [0, 0, 0, 0]
    return ["%08x" % x for x in was]


def facts_agree(bare, guest, hidden_msrs):
    assert bare.facts and bare.facts.keys() == guest.facts.keys()
    differ = []
    for name, was in bare.facts.items():
        want = was
        kind, _, what = name.partition(" ")
        if kind == "cpuid":
            want = hidden_cpuid(what, was)
        if kind == "msr" and what in hidden_msrs:
            want = [hidden_msrs[what]]
        if guest.facts[name] != want:
            differ.append("%s: bare %s, guest %s" % (name, " ".join(was), " ".join(guest.facts[name])))
    assert not differ, "\n".join(differ)


def test_facts_svm(folder):
    """CPUID, MSRs and control registers are the bare machine's, without SVM."""
    facts_agree(run(folder, "qemu", 1, bare=True), run(folder, "qemu", 1),
                {"c0010114": "#GP", "c0010117": "#GP"})  # VM_CR, VM_HSAVE_PA


def test_facts_haswell(folder):
    """The same without VMX: firmware seems to have locked it away."""
    facts_agree(run(folder, HASWELL, 1, bare=True), run(folder, HASWELL, 1),
                {"0000003a": "0000000000000001", "00000480": "#GP", "00000481": "#GP", "0000048b": "#GP",
                 "0000048c": "#GP", "00000491": "#GP",
                 # AMD's do not exist there; Bochs reads zeros for all that do not exist
                 "c0010114": "#GP", "c0010117": "#GP"})
