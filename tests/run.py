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
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("FRESHET_BUILD", os.path.join(ROOT, "build"))
PYTHON = "/usr/bin/python3"  # Debian's, which has Debian's pytest


class Tally:
    """Counts and prints; shared by all that run side by side."""

    def __init__(self):
        self.passed = self.failed = 0
        self.lock = threading.Lock()

    def add(self, name, ok, output="", count=1):
        with self.lock:
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


def executables(pattern):
    return sorted(b for b in glob.glob(os.path.join(BUILD, pattern)) if os.access(b, os.X_OK) and not b.endswith(".log"))


def lint(_args):
    def one(t, script):
        rc, out = command([script], 300)
        t.add("lint/" + os.path.basename(script), rc == 0, out)

    scripts = sorted(glob.glob(os.path.join(ROOT, "tests/lint/*.sh")) + glob.glob(os.path.join(ROOT, "tests/lint/*.py")))
    return [("lint " + os.path.basename(s), one, s) for s in scripts if os.path.basename(s) != "run.sh"]


def unit(_args):
    def one(t, b):
        rc, out = command([b], 900)
        n = len(re.findall(r"^\[\s+OK \]", out, re.M))
        t.add("%s (%d cases)" % (os.path.relpath(b, BUILD), n), rc == 0 and n > 0, out, n)

    return [("unit " + os.path.basename(b), one, b) for b in executables("unit/*") + executables("unit-asan/*")]


def fuzz(args):
    def one(t, b):
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
        n = int(runs.group(1)) if runs else 0
        t.add("fuzz/%s (%d runs)" % (name, n), rc == 0 and n > 0, out)

    bins = executables("fuzz/bin/*")
    if not bins:
        return [("fuzz", lambda t, _: t.add("fuzz", False, "no fuzz target was built"), None)]
    return [("fuzz " + os.path.basename(b), one, b) for b in bins]


def sim(_args):
    """Simulated boots from fixed seeds, then planted bugs that the simulator must find."""
    def boots(t, cmd):
        rc, out = command([os.path.join(BUILD, cmd[0]), *cmd[1:]], 1800)
        t.add("sim/%s %s boots" % (cmd[0], cmd[-1]), rc == 0, out)
        print(out.strip(), flush=True)

    def bugs(t, _):
        rc, out = command(["make", "--no-print-directory", "sim-mutations", "BUILD=" + BUILD], 1800)
        found = len(re.findall(r"^PASS sim/", out, re.M))
        t.add("sim/planted bugs (%d found)" % found, rc == 0 and found >= 15, out, found)

    return [("sim boots", boots, ["sim", "--seed", "1", "--boots", "24000"]),
            ("sim sanitized", boots, ["sim-asan", "--seed", "5001", "--boots", "2000"]),
            ("sim planted", bugs, None)]


def planted(_args):
    """Fault handling taken away, piece by piece: a unit test must notice."""
    def one(t, _):
        rc, out = command(["tests/unit/mutations.py", "--out", os.path.join(BUILD, "unit-mutations")], 2400)
        found = len(re.findall(r"^caught ", out, re.M))
        t.add("unit/fault handling taken away (%d found)" % found, rc == 0 and found >= 12, out, found)

    return [("planted", one, None)]


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


def pytest_jobs(parts, limit):
    def one(t, part):
        name, passed, failed, out, took = pytest_run(*part, limit)
        with t.lock:
            t.passed += passed
            t.failed += failed
            if failed:
                print(out[-30000:], flush=True)
            print("%s: %d passed, %d failed in %.0f s" % (name, passed, failed, took), flush=True)

    return [(name, one, (name, files)) for name, files in parts]


# Files of tests/e2e that are more than one part, or that Bochs runs. Each other file is a part of its own.
BOCHS = {
    "bochs haswell": ["tests/e2e/test_bochs.py", "-k", "haswell"],
    "bochs others": ["tests/e2e/test_bochs.py", "-k", "not haswell"],
    "bochs processor": ["tests/e2e/test_vmx.py", "tests/e2e/test_vmm.py", "-k", "test_vmx or haswell or other_processors"],
}
QEMU = {
    "e2e vmm": ["tests/e2e/test_vmm.py", "-k", "not (haswell or other_processors)"],
}
# The longest first, so that none is left alone at the end; then everything else, in the groups' order.
LONGEST = ("e2e faults", "bochs others", "bochs haswell", "e2e refusals", "bochs processor", "e2e loader", "e2e life",
           "e2e first_lab", "planted", "server", "sim planted")


def pc_parts(qemu=True, bochs=True):
    """Every test that boots PCs, as (name, pytest's arguments)."""
    split = {a for args in (*BOCHS.values(), *QEMU.values()) for a in args}
    parts = dict(QEMU) if qemu else {}
    for f in sorted(glob.glob("tests/e2e/test_*.py", root_dir=ROOT)):
        if qemu and f not in split:
            parts["e2e " + os.path.basename(f)[5:-3]] = [f]
    if bochs:
        parts.update(BOCHS)
    return list(parts.items())


# Each gives its jobs: (name, function, argument); the function is called with the tally and the argument.
GROUPS = {
    "lint": lint,
    "unit": unit,
    "pcs": lambda a: pytest_jobs(pc_parts(), 4200),
    "e2e": lambda a: pytest_jobs(pc_parts(bochs=False), 4200),
    "bochs": lambda a: pytest_jobs(pc_parts(qemu=False), 3600),
    "planted": planted,
    "server": lambda a: pytest_jobs([("server", ["tests/server"])], 2400),
    "sim": sim,
    "fuzz": fuzz,
}
FIRST = ("lint", "unit")  # quick, and they say most


def jobs(groups, args):
    order = {name: i for i, name in enumerate(LONGEST)}
    first = [j for g in groups if g in FIRST for j in GROUPS[g](args)]
    rest = [j for g in groups if g not in FIRST for j in GROUPS[g](args)]
    return first + sorted(rest, key=lambda j: order.get(j[0], len(order)))


def work(t, job):
    name, fn, arg = job
    start = time.monotonic()
    try:
        fn(t, arg)
    except Exception:  # a job that breaks is a failed one, and the others go on
        t.add(name, False, traceback.format_exc())
    return name, time.monotonic() - start


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    everything = [g for g in GROUPS if g not in ("e2e", "bochs")]
    ap.add_argument("--only", default=",".join(everything),
                    help="groups, comma separated: %s (default: all), or e2e and bochs, the halves of pcs" % ", ".join(everything))
    ap.add_argument("--fuzz-seconds", type=int, default=int(os.environ.get("FUZZ_SECONDS", "30")))
    args = ap.parse_args()
    groups = args.only.split(",")
    unknown = [g for g in groups if g not in GROUPS]
    if unknown:
        ap.error("no group %s; there are: %s" % (unknown[0], ", ".join(GROUPS)))
    t, start = Tally(), time.monotonic()
    # Side by side, as many as CPUs: most jobs use one, and those that boot PCs wait a good deal.
    with concurrent.futures.ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
        took = list(pool.map(lambda j: work(t, j), jobs(groups, args)))
    print("the longest: %s" % ", ".join("%s %.0f s" % x for x in sorted(took, key=lambda x: -x[1])[:12]))
    print("in all: %.0f s" % (time.monotonic() - start))
    print("%d passed, %d failed" % (t.passed, t.failed))
    return 1 if t.failed or not t.passed else 0


if __name__ == "__main__":
    sys.exit(main())
