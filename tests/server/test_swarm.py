"""freshet swarm: many PCs with the VMM's own client and store against a real server."""

import json
import re

from conftest import freshet

PCS = 40
MODEL = ("--boot", "256K", "--disk", "1G")


def swarm(srv, site, *args, ok=0, pcs=PCS):
    p = freshet("swarm", "--server", "127.0.0.1:%d" % srv.port, "--data", site.data, "--pcs", pcs, "--limit", 90,
                "--json", "-", *MODEL, *args, ok=ok)
    return json.loads(p.stdout)


def pages(site):
    return len(site.digests()) * 32 // (64 * 1024) + 1


def test_all_boot_at_once_and_get_all(own_site, serve):
    srv = serve(own_site, "--max-connections", "1000")
    r = swarm(srv, own_site)
    assert r["with_error"] == 0 and r["troubles"] == 0 and r["retries"] == 0
    assert r["ready"] == r["up"] == r["complete"] == PCS
    # every chunk came to every PC, none twice for one place, and the table's pages
    places = sum(any(d) for d in own_site.digests())
    assert PCS * (len(own_site.stored()) + pages(own_site)) <= r["chunks"] <= PCS * (places + pages(own_site))
    assert r["latency_ms"]["doc"]["count"] >= 2 * PCS
    assert 0 < r["latency_ms"]["demand"]["p50"] <= r["latency_ms"]["demand"]["p99"] <= r["latency_ms"]["demand"]["max"]
    mine = [m for m in srv.api("GET", "/machines")[1] if m["uuid"].startswith("73776172-6d00-")]
    assert len(mine) == PCS
    for m in mine:
        last = srv.api("GET", "/machines/%d" % m["id"])[1]["report"]
        assert last["complete"] == 1 and last["build"] == "swarm"


def test_until_boot(own_site, serve):
    r = swarm(serve(own_site), own_site, "--until", "boot", "--spread", "1")
    assert r["with_error"] == 0 and r["up"] == PCS and r["complete"] == 0
    assert r["latency_ms"]["fill"]["count"] == 0


def test_what_a_pc_copes_with_is_counted(own_site, serve):
    srv = serve(own_site, "--fault", "wrong-chunk:/v1/chunk:after=30:count=3")
    r = swarm(srv, own_site, ok=1)
    assert r["complete"] == PCS and r["corrupt"] == r["retries"] == 3 and 1 <= r["with_error"] <= 3


def test_who_waits_for_approval(own_site, serve):
    srv = serve(own_site, "--set", "enrol=approve")
    p = freshet("swarm", "--server", "127.0.0.1:%d" % srv.port, "--data", own_site.data, "--pcs", 3, "--limit", 2,
                *MODEL, ok=1)
    assert re.search(r"troubles=[3-9].*no boot ticket for this machine .HTTP 403", p.stdout) and "not done after 2 s" in p.stderr


def test_words(own_site, tmp_path):
    for args in (["--pcs", "0"], ["--until", "never"], ["--pcs", "1"], ["--server", "a.b", "--data", own_site.data],
                 ["--data", own_site.data, "x"]):
        freshet("swarm", *args, ok=2)
    freshet("swarm", "--data", tmp_path, ok=1)
    p = freshet("swarm", "--data", own_site.data, "--pcs", 2, "--server", "127.0.0.1:1", "--limit", 3, ok=1)
    assert "connection refused by 127.0.0.1:1" in p.stdout
