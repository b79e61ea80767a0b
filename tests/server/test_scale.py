"""tests/perf/scale.py: what it computes, from a report whose numbers can be checked by hand."""

import json
import os
import subprocess

from conftest import ROOT

REPORT = {
    "boot": {"details": {"figures": {"wire": 100 << 20, "plain": 200 << 20}, "used_bytes": 2 << 30}},
    "server": {"details": {
        "objects_per_s_plain": {"freshetd": 20000.0, "nginx": 24000.0}, "objects_per_s_TLS": {"freshetd": 9000.0, "nginx": 10000.0},
        "swarm": {"pcs": 1000, "with_error": 0, "chunks": 1000, "wire_bytes": 32768000, "latency_ms": {"doc": {"p99": 41.5}}}}}}


def scale(path):
    return subprocess.run([os.path.join(ROOT, "tests", "perf", "scale.py"), str(path)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)


def test_tables(tmp_path):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(REPORT))
    out = scale(path).stdout
    assert "| over the wire until it has the whole image | 1 GiB |" in out
    assert "| a chunk object, on average | 32 KiB |" in out
    # 50 x 100 MiB at 1 Gbit/s less headers: 44.6 s
    assert "| 50 PCs | 4.88 GiB | 45 s | 4 s | 2 s | 1 s |" in out
    # 10,000 x 100 MiB within 300 s: 29.7 Gbit/s; 32 million objects at 20,000 a second are 5.3 processes
    assert "| 10000 PCs | 30 Gbit/s | 6 | 3 |" in out


def test_what_is_missing_is_named(tmp_path):
    path = tmp_path / "bench.json"
    assert "run `make bench` first" in scale(path).stderr
    path.write_text(json.dumps({"server": REPORT["server"]}))
    p = scale(path)
    assert p.returncode == 1 and "boot" in p.stderr
