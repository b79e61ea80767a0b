#!/usr/bin/python3
"""make bench: every figure that Freshet is held to, as ratios or counts from one run.

The rows come from the modules rows_*.py beside this file. Each has

    rows(run) -> list of (figure, value, bar, ok)

with figure, value and bar as they are printed, and ok False when a bar is
missed (None: no bar). What else is worth keeping goes into run.details. A
module that raises LabError has failed; the others run all the same. A missed
bar or a failed module makes the exit code 1.

    tests/perf/bench.py                     all modules
    tests/perf/bench.py --only boot,vendors those of rows_boot.py and rows_vendors.py
"""

import argparse
import glob
import importlib
import json
import os
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "e2e")]
import lab  # noqa: E402

MODULES = sorted(os.path.basename(p)[len("rows_"):-len(".py")] for p in glob.glob(os.path.join(HERE, "rows_*.py")))


class Run:
    """What a module is given: @folder, empty and its own; @rounds of what is noisy; @details, kept in the report."""

    def __init__(self, folder, rounds):
        self.folder, self.rounds, self.details = folder, rounds, {}
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)


def show(rows):
    for figure, value, bar, ok in rows:
        print("%-56s %16s %8s %s" % (figure, value, bar, "MISSED" if ok is False else ""), flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    ap.add_argument("--rounds", type=int, default=3, help="of boots whose medians are compared")
    ap.add_argument("--only", default=",".join(MODULES), help="modules, comma separated (default: %(default)s)")
    ap.add_argument("--folder", default=os.path.join(lab.BUILD, "bench"))
    a = ap.parse_args()
    report, failed = {}, []
    for name in a.only.split(","):
        if name not in MODULES:
            ap.error("no rows_%s.py; there are: %s" % (name, ", ".join(MODULES)))
        print("== %s" % name, flush=True)
        run = Run(os.path.join(a.folder, name), a.rounds)
        rows = []
        try:
            rows = importlib.import_module("rows_" + name).rows(run)
        except lab.LabError as e:
            print("bench: %s FAILED: %s" % (name, e), file=sys.stderr)
            failed.append(name)
        report[name] = {"rows": rows, "details": run.details}
    print("\n%-56s %16s %8s" % ("figure", "measured", "bar"))
    for name in report:
        show(report[name]["rows"])
    for name in failed:
        print("%-56s %16s" % (name, "FAILED"))
    out = os.path.join(lab.BUILD, "report")
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, "bench.json"), "w", encoding="utf-8") as o:
        json.dump(report, o, indent=1)
    missed = any(ok is False for r in report.values() for _, _, _, ok in r["rows"])
    return 1 if failed or missed else 0


if __name__ == "__main__":
    sys.exit(main())
