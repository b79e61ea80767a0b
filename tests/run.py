#!/usr/bin/python3
"""Run every test there is, show progress, and close with 'N passed, N failed'.

    tests/run.py [--only GROUPS] [--fuzz-seconds N]

A group that cannot run counts as failed: nothing is skipped in silence.
"""

import argparse
import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("FRESHET_BUILD", os.path.join(ROOT, "build"))
PYTHON = "/usr/bin/python3"  # Debian's, which has Debian's pytest


class Tally:
    def __init__(self):
        self.passed = self.failed = 0

    def add(self, name, ok, output="", count=1):
        if ok:
            self.passed += count
            print("PASS %s" % name, flush=True)
        else:
            self.failed += 1
            print("FAIL %s\n%s" % (name, output[-6000:]), flush=True)


def command(cmd, limit, env=None):
    e = dict(os.environ, **(env or {}))
    try:
        p = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                           timeout=limit, check=False, cwd=ROOT, env=e)
        return p.returncode, p.stdout
    except subprocess.TimeoutExpired as x:
        out = x.stdout or b""
        return -1, (out.decode(errors="replace") if isinstance(out, bytes) else out) + "\ntimed out after %d s" % limit


def lint(t, _args):
    for s in sorted(glob.glob(os.path.join(ROOT, "tests/lint/*.sh")) + glob.glob(os.path.join(ROOT, "tests/lint/*.py"))):
        if os.path.basename(s) == "run.sh":
            continue
        rc, out = command([s], 300)
        t.add("lint/" + os.path.basename(s), rc == 0, out)


def unit(t, _args):
    for kind in ("unit", "unit-asan"):
        for b in sorted(glob.glob(os.path.join(BUILD, kind, "*"))):
            if not os.access(b, os.X_OK) or b.endswith(".log"):
                continue
            rc, out = command([b], 900)
            n = len(re.findall(r"^\[\s+OK \]", out, re.M))
            t.add("%s/%s (%d cases)" % (kind, os.path.basename(b), n), rc == 0 and n > 0, out, n)


def fuzz(t, args):
    def one(b):
        name = os.path.basename(b)
        corpus = os.path.join(BUILD, "fuzz", "corpus", name)
        os.makedirs(corpus, exist_ok=True)
        seeds = os.path.join(ROOT, "tests", "fuzz", "corpus", name)
        cmd = [b, "-seed=1", "-max_total_time=%d" % args.fuzz_seconds, "-timeout=10", "-rss_limit_mb=4096", "-print_final_stats=1",
               "-artifact_prefix=%s/" % os.path.join(BUILD, "fuzz"), corpus]
        if os.path.isdir(seeds):
            cmd.append(seeds)
        rc, out = command(cmd, args.fuzz_seconds + 300)
        runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", out)
        return name, rc == 0 and runs and int(runs.group(1)) > 0, out, runs.group(1) if runs else "0"

    bins = sorted(b for b in glob.glob(os.path.join(BUILD, "fuzz/bin/*")) if os.access(b, os.X_OK))
    if not bins:
        t.add("fuzz", False, "no fuzz target was built")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for name, ok, out, runs in pool.map(one, bins):
            t.add("fuzz/%s (%s runs)" % (name, runs), ok, out)


def sim(t, _args):
    """Simulated boots from fixed seeds, then planted bugs that the simulator must find."""
    exe = os.path.join(BUILD, "sim")
    for name, cmd in (("24000 boots", [exe, "--seed", "1", "--boots", "24000"]),
                      ("sanitized, 2000 boots", [exe + "-asan", "--seed", "5001", "--boots", "2000"])):
        rc, out = command(cmd, 900)
        t.add("sim/%s" % name, rc == 0, out)
        print(out.strip(), flush=True)
    rc, out = command(["make", "--no-print-directory", "sim-mutations", "BUILD=" + BUILD], 1200)
    found = len(re.findall(r"^PASS sim/", out, re.M))
    t.add("sim/planted bugs (%d found)" % found, rc == 0 and found >= 15, out, found)


def planted(t, _args):
    """Fault handling taken away, piece by piece: a unit test must notice."""
    rc, out = command(["tests/unit/mutations.py", "--out", os.path.join(BUILD, "unit-mutations")], 1200)
    found = len(re.findall(r"^caught ", out, re.M))
    t.add("unit/fault handling taken away (%d found)" % found, rc == 0 and found >= 12, out, found)


def pytest_run(name, files, limit):
    """One pytest over @files; its logs under a folder of its own. Returns (name, passed, failed, output, seconds)."""
    cmd = [PYTHON, "-m", "pytest", "-q", "--durations=10", "-p", "no:cacheprovider", "--color=no", "-rA", *files]
    start = time.monotonic()
    p = subprocess.Popen(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", cwd=ROOT,
                         env=dict(os.environ, FRESHET_RUNS=os.path.join(BUILD, name.replace(" ", "-"))))
    timer = threading.Timer(limit, p.kill)
    timer.start()
    out = ""
    for line in p.stdout:
        out += line
        if line.startswith(("tests/", "bochs: ")) or re.match(r"[.FEsx]+ +\[", line):
            print("%s: %s" % (name, line.rstrip()), flush=True)
    p.wait()
    timer.cancel()
    passed = len(re.findall(r"^PASSED ", out, re.M))
    failed = len(re.findall(r"^(?:FAILED|ERROR) ", out, re.M))
    if (p.returncode or not passed) and not failed:
        failed = 1
    return name, passed, failed, out, time.monotonic() - start


def pytest_group(t, parts, limit):
    """Parts run side by side, as many as CPUs: most tests use one, and wait a good deal."""
    with concurrent.futures.ThreadPoolExecutor(min(len(parts), max(2, os.cpu_count() or 2))) as pool:
        for name, passed, failed, out, took in pool.map(lambda p: pytest_run(p[0], p[1], limit), parts):
            t.passed += passed
            t.failed += failed
            if failed:
                print(out[-30000:], flush=True)
            print("%s: %d passed, %d failed in %.0f s" % (name, passed, failed, took), flush=True)


# Files of tests/e2e that are more than one part, or that Bochs runs. Each other file is a part of its own.
BOCHS = {
    "bochs haswell": ["tests/e2e/test_bochs.py", "-k", "haswell"],
    "bochs others": ["tests/e2e/test_bochs.py", "-k", "not haswell"],
    "bochs processor": ["tests/e2e/test_vmx.py", "tests/e2e/test_vmm.py", "-k", "test_vmx or haswell or other_processors"],
}
QEMU = {
    "e2e vmm": ["tests/e2e/test_vmm.py", "-k", "not (haswell or other_processors)"],
}
# The longest first, so that none is left alone at the end.
LONGEST = ("e2e faults", "bochs others", "bochs haswell", "e2e refusals", "bochs processor", "e2e loader", "e2e life")


def pc_parts(qemu=True, bochs=True):
    """Every test that boots PCs, as (name, pytest's arguments), in the order of starting."""
    split = {a for args in (*BOCHS.values(), *QEMU.values()) for a in args}
    parts = dict(QEMU) if qemu else {}
    for f in sorted(glob.glob("tests/e2e/test_*.py", root_dir=ROOT)):
        if qemu and f not in split:
            parts["e2e " + os.path.basename(f)[5:-3]] = [f]
    if bochs:
        parts.update(BOCHS)
    order = {name: i for i, name in enumerate(LONGEST)}
    return sorted(parts.items(), key=lambda p: order.get(p[0], len(order)))


GROUPS = {
    "lint": lint,
    "unit": unit,
    "planted": planted,
    "sim": sim,
    "fuzz": fuzz,
    "server": lambda t, a: pytest_group(t, [("server", ["tests/server"])], 1200),
    "pcs": lambda t, a: pytest_group(t, pc_parts(), 4200),
    "e2e": lambda t, a: pytest_group(t, pc_parts(bochs=False), 4200),
    "bochs": lambda t, a: pytest_group(t, pc_parts(qemu=False), 3600),
}


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    everything = [g for g in GROUPS if g not in ("e2e", "bochs")]
    ap.add_argument("--only", default=",".join(everything),
                    help="groups, comma separated: %s (default: all), or e2e and bochs, the halves of pcs" % ", ".join(everything))
    ap.add_argument("--fuzz-seconds", type=int, default=int(os.environ.get("FUZZ_SECONDS", "30")))
    args = ap.parse_args()
    t = Tally()
    for g in args.only.split(","):
        print("== %s" % g, flush=True)
        GROUPS[g](t, args)
    print("%d passed, %d failed" % (t.passed, t.failed))
    return 1 if t.failed or not t.passed else 0


if __name__ == "__main__":
    sys.exit(main())
