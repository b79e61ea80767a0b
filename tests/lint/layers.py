#!/usr/bin/python3
"""Who may include whom. The table is the architecture; the lint keeps it."""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# folder -> folders (or single headers) it may include besides itself and base/
MAY = {
    "base": [],
    "storage/spec": [],
    "storage/format": ["storage/format"],
    "storage/core": ["storage/format"],
    "storage/drivers": ["storage/spec", "storage/core/blk.h", "storage/core/packet.h"],
    "storage/emul": ["storage/spec", "storage/core/blk.h", "storage/core/packet.h"],
    "net/spec": [],
    "net/stack": ["net/spec"],
    "net/drivers": ["net/spec", "net/stack"],
    "net/emul": ["net/spec", "net/stack", "storage/emul/host.h"],  # one host.h for all emulated devices
    "net/http": [],
    "net/client": ["storage/format", "storage/core/source.h", "net/stack", "net/http", "net/spec"],
    "net/sockets": ["net/stack"],
    "boot": [],
    "boot/loader": ["boot", "storage/format", "net/spec/nic_ids.h"],
    "vmm/mm": ["boot/handoff.h", "vmm/cpu"],
    "vmm/cpu": ["boot/handoff.h", "vmm/mm"],
    "vmm/svm": ["vmm/mm", "vmm/cpu", "vmm/plat", "vmm/main/core.h", "boot/handoff.h"],
    "vmm/vmx": ["vmm/mm", "vmm/cpu", "boot/handoff.h", "boot/vmx_need.h"],
    "vmm/pci": ["vmm/mm", "vmm/cpu", "boot/handoff.h"],
    "vmm/plat": ["vmm/mm", "vmm/cpu", "vmm/pci", "vmm/main/core.h", "boot/handoff.h"],
    "vmm/main": ["vmm", "storage", "net", "boot"],
    "server": ["storage/format", "net/http"],
    # one description of the data folder; the client for simulated PCs
    "images": ["storage/format", "storage/core", "server/data", "net/client", "net/sockets",
               "net/stack/stack.h"],
}
# Libraries whose headers are named in quotes are nobody's room.
LIBRARIES = ("lwip/", "netif/", "mbedtls/", "efi")
HOSTED_ONLY = ("base/plat_host.h", "base/crypto_sign.h")


def folder_of(path):
    parts = os.path.dirname(path)
    while parts and parts not in MAY:
        parts = os.path.dirname(parts)
    return parts


def main():
    files = subprocess.check_output(["git", "ls-files", "*.c", "*.h", "*.S"], cwd=ROOT, text=True).split()
    bad = 0
    for f in files:
        if f.startswith(("tests/", "tools/")):
            continue
        room = folder_of(f)
        if not room:
            print("%s: a folder that the table in tests/lint/layers.py does not know" % f)
            bad += 1
            continue
        for n, line in enumerate(open(os.path.join(ROOT, f), encoding="utf-8"), 1):
            m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not m:
                continue
            inc = m.group(1)
            if inc.startswith(LIBRARIES):
                continue
            if "/" not in inc:
                print("%s:%d: include %s by its path from the root" % (f, n, inc))
                bad += 1
                continue
            target = os.path.dirname(inc)
            ok = (target + "/").startswith(room + "/") or inc.startswith("base/") or any(
                inc == a or (not a.endswith(".h") and (target == a or target.startswith(a + "/"))) for a in MAY[room])
            if inc in HOSTED_ONLY and room.startswith(("vmm", "storage/core", "storage/drivers", "storage/emul", "net")):
                ok = False
            if not ok:
                print("%s:%d: %s may not include %s" % (f, n, room, inc))
                bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
