#!/usr/bin/python3
"""What 50, 1,000 and 10,000 PCs need, computed from the figures of `make bench`.

    tests/perf/scale.py                  the tables, from build/report/bench.json
    tests/perf/scale.py --write          into docs/howto/scale.md, between its two marks

Nothing is typed here but the sizes of sites and lines, the time that people are ready
to wait, and what Ethernet and TCP take of a line (1448 of 1538 bytes).
"""

import argparse
import json
import math
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
REPORT = os.path.join(os.environ.get("FRESHET_BUILD", os.path.join(ROOT, "build")), "report", "bench.json")
PAGE = os.path.join(ROOT, "docs", "howto", "scale.md")
MARKS = "<!-- tests/perf/scale.py -->\n", "<!-- end -->\n"
PCS = 50, 1000, 10000
LINES = 1, 10, 25, 100  # Gbit/s
WAIT_S = 300  # all at once, and everybody is logged in
WIRE = 1448 / 1538


class Figures:
    """What was measured, by name; KeyError names what the report lacks."""

    def __init__(self, report):
        boot, server = report["boot"]["details"], report["server"]["details"]
        f, swarm = boot["figures"], server["swarm"]
        self.boot_bytes = f["wire"]
        self.image_bytes = boot["used_bytes"] * f["wire"] / f["plain"]
        self.object_bytes = swarm["wire_bytes"] / swarm["chunks"]
        self.objects_per_s = server["objects_per_s_plain"]["freshetd"]
        self.tls_per_s = server["objects_per_s_TLS"]["freshetd"]
        self.nginx_per_s = server["objects_per_s_plain"]["nginx"]
        self.swarm_pcs, self.swarm_errors = swarm["pcs"], swarm["with_error"]
        self.doc_p99 = swarm["latency_ms"]["doc"]["p99"]


def size(n):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024:
            return "%.3g %s" % (n, unit)
        n /= 1024
    return "%.3g TiB" % n


def span(s):
    if s < 120:
        return "%.0f s" % max(s, 1)
    return "%.0f min" % (s / 60) if s < 7200 else "%.1f h" % (s / 3600)


def line_s(nbytes, gbit):
    return nbytes * 8 / (gbit * 1e9 * WIRE)


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
                     + ["| " + " | ".join(r) + " |" for r in rows]) + "\n"


def site(f, n):
    """One row of the second table: what N PCs that boot at once need, to be logged in after WAIT_S."""
    total = n * f.boot_bytes
    gbit = total * 8 / WIRE / WAIT_S / 1e9
    process = f.objects_per_s * WAIT_S  # objects that one freshetd serves in that time
    return total, gbit, max(1, math.ceil(total / f.object_bytes / process)), max(1, math.ceil(gbit / 10))


def measured(f):
    return table(("measured", "value"), [
        ("over the wire until a PC is logged in, cold", size(f.boot_bytes)),
        ("over the wire until it has the whole image", size(f.image_bytes)),
        ("a chunk object, on average", size(f.object_bytes)),
        ("objects per second of one freshetd, one CPU: plain, TLS", "%.0f, %.0f" % (f.objects_per_s, f.tls_per_s)),
        ("of one nginx process on the same machine, plain", "%.0f" % f.nginx_per_s),
        ("ticket or manifest while %d PCs boot at once, 99 %% within" % f.swarm_pcs, "%.0f ms" % f.doc_p99),
        ("PCs of these that saw an error", str(f.swarm_errors)),
    ])


def tables(f):
    boots = [("%d PCs" % n, size(n * f.boot_bytes)) + tuple(span(line_s(n * f.boot_bytes, g)) for g in LINES) for n in PCS]
    fills = [("%d PCs" % n, size(n * f.image_bytes)) + tuple(span(line_s(n * f.image_bytes, g)) for g in LINES) for n in PCS]
    needs = []
    for n in PCS:
        _, gbit, processes, lines = site(f, n)
        needs.append(("%d PCs" % n, "%.2g Gbit/s" % gbit, str(processes), str(lines)))
    head = ("all at once", "bytes") + tuple("%d Gbit/s" % g for g in LINES)
    return "\n".join((
        measured(f),
        "First boot from blank disks, until everybody is logged in, if the line is what limits:\n", table(head, boots),
        "Until everybody has the whole image:\n", table(head, fills),
        "For a first boot of all within %s:\n" % span(WAIT_S),
        table(("", "line in all", "freshetd processes, by CPU", "sources with 10 Gbit/s"), needs)))


def write(text):
    with open(PAGE, encoding="utf-8") as p:
        page = p.read()
    start, end = page.index(MARKS[0]) + len(MARKS[0]), page.index(MARKS[1])
    with open(PAGE, "w", encoding="utf-8") as p:
        p.write(page[:start] + "\n" + text + "\n" + page[end:])


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    ap.add_argument("report", nargs="?", default=REPORT, help="of make bench (default: %(default)s)")
    ap.add_argument("--write", action="store_true", help="into docs/howto/scale.md")
    a = ap.parse_args()
    try:
        with open(a.report, encoding="utf-8") as r:
            text = tables(Figures(json.load(r)))
    except OSError as e:
        sys.exit("scale: no report, run `make bench` first: %s" % e)
    except (KeyError, ValueError, TypeError, ZeroDivisionError) as e:
        sys.exit("scale: %s lacks a figure (%r); run all of `make bench`" % (a.report, e))
    if a.write:
        write(text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
