"""The processor as vmm/vmx relies on it: tests/guest/vmxsuite.c in Bochs, without the VMM."""

import os
import re

import pytest

import bochs
import lab


@pytest.mark.parametrize("model", ["corei7_haswell_4770", "corei7_skylake_x", "corei7_sandy_bridge_2600k"])
def test_vmxsuite(folder, model, monkeypatch):
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
