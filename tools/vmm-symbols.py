#!/usr/bin/env python3
"""Fill .vmmsyms of a linked VMM with its function names, for panics' backtraces.

usage: vmm-symbols.py IN.elf OUT.elf

The section has a fixed size and is loaded, so nothing moves. Its layout is
struct symbol_table of vmm/plat/panic.c: magic, count, {offset, name}..., names.
"""
import os
import re
import struct
import subprocess
import sys
import tempfile

BASE = 0xFFFFFFFF80000000
MAGIC = 0x4D595346


def run(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def room(elf):
    for line in run("readelf", "-SW", elf).splitlines():
        m = re.search(r"\.vmmsyms\s+\S+\s+\S+\s+\S+\s+([0-9a-f]+)", line)
        if m:
            return int(m.group(1), 16)
    sys.exit("vmm-symbols: no .vmmsyms in " + elf)


def table(functions, limit):
    names, entries = bytearray(), []
    start = 8 + 8 * len(functions)
    for address, name in functions:
        entries.append(struct.pack("<II", address - BASE, start + len(names)))
        names += name.encode()[:47] + b"\0"
    blob = struct.pack("<II", MAGIC, len(functions)) + b"".join(entries) + names
    if len(blob) > limit:
        sys.exit(f"vmm-symbols: {len(blob)} bytes do not fit into {limit}: "
                 "raise SYMBOLS_BYTES in vmm/plat/panic.c")
    return blob.ljust(limit, b"\0")


def main():
    src, dst = sys.argv[1:3]
    functions = {}
    for line in run("nm", "-n", src).splitlines():
        f = line.split()
        if len(f) == 3 and f[1] in "tT" and not f[2].startswith("."):
            functions.setdefault(int(f[0], 16), f[2])
    with tempfile.NamedTemporaryFile(delete=False) as t:
        t.write(table(sorted(functions.items()), room(src)))
    try:
        run("objcopy", "--update-section", ".vmmsyms=" + t.name, src, dst)
    finally:
        os.unlink(t.name)


main()
