#!/usr/bin/python3
"""Plant each bug of tests/sim/mutations/*.patch in a copy and show that the simulator finds it.

    tests/sim/mutations.py --out DIR --cc 'gcc ...' --link '-lcrypto ...' OBJECT... [--only NAME]

OBJECTs are those of an unharmed simulator; a mutant differs in the files that its patch touches. A
patch that does not apply, a mutant that does not build, and one that survives BOOTS boots are failures.
"""

import argparse
import glob
import os
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BOOTS = 8000


def run(cmd, **kw):
    return subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False, **kw)


def build(patch, out, args):
    """The mutant's path, or what went wrong."""
    objects = list(args.objects)
    for path in re.findall(r"^\+\+\+ b/(\S+)", open(patch, encoding="utf-8").read(), re.M):
        copy = os.path.join(out, path)
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        with open(os.path.join(ROOT, path), encoding="utf-8") as f, open(copy, "w", encoding="utf-8") as g:
            g.write(f.read())
    p = run(["patch", "-p1", "--fuzz=0", "-s", "-i", patch], cwd=out)
    if p.returncode:
        return None, "does not apply: " + p.stdout
    for path in re.findall(r"^\+\+\+ b/(\S+)", open(patch, encoding="utf-8").read(), re.M):
        obj = os.path.join(out, path[:-2] + ".o")
        p = run(args.cc.split() + ["-w", "-c", os.path.join(out, path), "-o", obj], cwd=ROOT)
        if p.returncode:
            return None, "does not build: " + p.stdout
        same = [o for o in objects if o.endswith("/host/" + path[:-2] + ".o")]
        if len(same) != 1:
            return None, "touches a file that the simulator does not have: " + path
        objects[objects.index(same[0])] = obj
    exe = os.path.join(out, "sim")
    p = run(args.cc.split() + ["-o", exe, *objects, *args.link.split()], cwd=ROOT)
    return (exe, "") if not p.returncode else (None, "does not link: " + p.stdout)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    ap.add_argument("--out", required=True)
    ap.add_argument("--cc", required=True)
    ap.add_argument("--link", required=True)
    ap.add_argument("--only", default="")
    ap.add_argument("objects", nargs="+")
    args = ap.parse_args()
    args.objects = [os.path.abspath(o) for o in args.objects]
    patches = sorted(glob.glob(os.path.join(ROOT, "tests/sim/mutations", args.only + "*.patch")))
    passed = failed = 0
    for patch in patches:
        name = os.path.basename(patch)[:-6]
        start = time.monotonic()
        exe, why = build(patch, os.path.abspath(os.path.join(args.out, name)), args)
        if exe:
            p = run([exe, "--seed", "1", "--boots", str(BOOTS)], timeout=300)
            found = re.search(r"^FAIL seed (\d+) boot (\d+) t=\S+ s: (.*)", p.stdout, re.M)
            why = "survives %d boots" % BOOTS
            if p.returncode == 1 and found:
                boots = (int(found[1]) - 1) * 40 + int(found[2]) + 1
                print("PASS sim/%s: found in boot %d, %.1f s: %s" % (name, boots, time.monotonic() - start, found[3][:90]), flush=True)
                passed += 1
                continue
            if p.returncode:
                why = "ends with status %d: %s" % (p.returncode, p.stdout[-200:])
        print("FAIL sim/%s: %s" % (name, why), flush=True)
        failed += 1
    print("%d mutants found, %d not" % (passed, failed))
    return 1 if failed or passed < (1 if args.only else 15) else 0


if __name__ == "__main__":
    sys.exit(main())
