"""freshet swarm: many PCs with the VMM's own client and store against a real server."""

import json
import os
import re
import socket
import subprocess
import time

import pytest

from conftest import Site, freshet

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
    r = swarm(serve(own_site), own_site, "--until", "boot", "--spread", "1", "--seed", "3")
    assert r["with_error"] == 0 and r["up"] == PCS and r["complete"] == 0
    assert r["latency_ms"]["fill"]["count"] == 0


def test_what_a_pc_copes_with_is_counted(own_site, serve):
    srv = serve(own_site, "--fault", "wrong-chunk:/v1/chunk:after=30:count=3")
    r = swarm(srv, own_site, ok=1)
    assert r["complete"] == PCS and r["corrupt"] == r["retries"] == 3 and 1 <= r["with_error"] <= 3


def test_what_pcs_log_is_shown(own_site, serve):
    srv = serve(own_site)
    args = ("swarm", "--server", "127.0.0.1:%d" % srv.port, "--data", own_site.data, "--pcs", 1, *MODEL)
    quiet, loud = freshet(*args).stderr, freshet(*args, "--verbose").stderr
    assert "client: connected" in loud and "client:" not in quiet


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


# ---------------------------------------------------------------- other sources of chunks

NGINX = """worker_processes 1; daemon off; user root; pid %(d)s/pid; error_log %(d)s/err;
events { worker_connections 1024; }
http { access_log %(d)s/access; client_body_temp_path %(d)s/b; proxy_temp_path %(d)s/p; fastcgi_temp_path %(d)s/f;
 uwsgi_temp_path %(d)s/u; scgi_temp_path %(d)s/s;
 server { listen 127.0.0.1:%(port)d; root %(data)s; location /objects/ { sendfile on; } } }
"""


class Nginx:
    """nginx over the objects of a data folder."""

    def __init__(self, folder, data):
        folder.mkdir()
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.folder, self.conf = folder, folder / "conf"
        self.conf.write_text(NGINX % {"d": folder, "port": self.port, "data": data})
        self.p = None
        self.start()

    def start(self):
        self.p = subprocess.Popen(["/usr/sbin/nginx", "-c", str(self.conf)], stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert time.monotonic() < end and self.p.poll() is None, (self.folder / "err").read_text()
                time.sleep(0.02)

    def stop(self):
        self.p.terminate()
        self.p.wait(20)

    def served(self):
        """Chunks, by what the log says; and those that were not there."""
        log = (self.folder / "access").read_text()
        assert not re.search(r'"(?!GET /objects/[0-9a-f]{2}/[0-9a-f]{64} HTTP/1.1")[^"]*" \d', log), "only objects are asked for"
        return len(re.findall(r'" 200 ', log)), len(re.findall(r'" 404 ', log))

    @property
    def url(self):
        return "http://127.0.0.1:%d/objects" % self.port


@pytest.fixture
def nginx(tmp_path):
    started = []

    def start(data):
        started.append(Nginx(tmp_path / ("nginx%d" % len(started)), data))
        return started[-1]
    yield start
    for n in started:
        n.stop()


def chunks_from(srv):
    return int(re.search(r"^freshet_objects_total (\d+)", srv.get("/metrics")[1].decode(), re.M).group(1))


def test_chunks_come_from_nginx(own_site, serve, nginx):
    web = nginx(own_site.data)
    freshet("site", "set", "--data", own_site.data, "sources", web.url)
    srv = serve(own_site)
    r = swarm(srv, own_site)
    assert r["complete"] == PCS and r["with_error"] == 0
    good, missing = web.served()
    # before a PC has its first chunk from there it asks the server too
    assert missing == 0 and good + chunks_from(srv) == r["chunks"] and good > r["chunks"] / 2


def copy_of(site, folder):
    folder.mkdir()
    subprocess.run(["cp", "-r", site.path(), str(folder / "site")], check=True)
    return Site(folder / "site", site.disk, site.info)


def test_second_freshetd_and_a_source_that_is_gone(own_site, serve, tmp_path):
    second = serve(copy_of(own_site, tmp_path / "second"))
    freshet("site", "set", "--data", own_site.data, "sources", "http://127.0.0.1:1/gone",
            "http://127.0.0.1:%d/objects" % second.port)
    srv = serve(own_site)
    r = swarm(srv, own_site, ok=1)  # to find one gone is an error that the PCs cope with
    assert r["complete"] == PCS and r["corrupt"] == 0 and r["failed_reads"] == 0
    assert chunks_from(second) > r["chunks"] / 2


def test_a_source_that_lacks_and_spoils_objects(own_site, serve, nginx, tmp_path):
    copy = copy_of(own_site, tmp_path / "copy")
    lost, spoilt = own_site.stored()[3], own_site.stored()[4]
    os.unlink(copy.object(lost))
    with open(copy.object(spoilt), "r+b") as f:
        f.seek(100)
        f.write(b"spoilt")
    web = nginx(copy.data)
    freshet("site", "set", "--data", own_site.data, "sources", web.url)
    srv = serve(own_site)
    r = swarm(srv, own_site, ok=1)
    good, missing = web.served()
    assert r["complete"] == PCS and r["failed_reads"] == 0
    assert 0 < missing <= 2 * PCS and 0 < r["corrupt"] <= 2 * PCS and good > r["chunks"] / 2


def test_words_of_sources(own_site):
    for bad in ("https://10.0.0.1/objects", "http://cdn/objects", "ftp://10.0.0.1", "http://10.0.0.1/../x", ""):
        freshet("site", "set", "--data", own_site.data, "sources", bad, ok=1)
    freshet("site", "set", "--data", own_site.data, "sources", "http://10.0.0.1/a/", "http://10.0.0.2:81", ok=0)
    assert "sources http://10.0.0.1/a/ http://10.0.0.2:81" in freshet("site", "show", "--data", own_site.data).stdout
    freshet("site", "set", "--data", own_site.data, "sources", "none")
