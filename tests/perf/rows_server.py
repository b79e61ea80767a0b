"""The server and the tools, against a peer on the same files in the same run: nginx, pigz; and simulated PCs."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "server"))
import conftest  # noqa: E402
from conftest import FRESHET, CHUNK, Server, freshet  # noqa: E402
from lab import LabError, free_port  # noqa: E402

SECONDS = 4
IDLE = 5000
PCS = 1000
LUA = """local paths = {}
for line in io.lines("%s") do paths[#paths + 1] = line end
local i = math.random(#paths)
request = function() i = i %% #paths + 1; return wrk.format("GET", paths[i]) end
"""
NGINX = """worker_processes 1; daemon off; pid %(d)s/pid; error_log %(d)s/err;
events { worker_connections 4096; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; client_body_temp_path %(d)s/b;
 proxy_temp_path %(d)s/p; fastcgi_temp_path %(d)s/f; uwsgi_temp_path %(d)s/u; scgi_temp_path %(d)s/s; open_file_cache max=100000;
 server { listen 127.0.0.1:%(plain)d; listen 127.0.0.1:%(tls)d ssl;
  ssl_certificate %(data)s/tls/server.crt; ssl_certificate_key %(data)s/tls/server.key;
  root %(data)s; location /v1/chunk/ { rewrite ^/v1/chunk/((..).*)$ /objects/$2/$1 break; } } }
"""


def wrk(url, lua, connections=64):
    out = subprocess.run(["wrk", "-t1", "-c%d" % connections, "-d%ds" % SECONDS, "-s", lua, url], stdout=subprocess.PIPE,
                         text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise LabError("wrk: " + out)
    return float(re.search(r"Requests/sec: +([0-9.]+)", out).group(1))


def wait_port(port):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    raise LabError("nothing listens at port %d" % port)


def serving(run, tmp, site, srv):
    """Objects per second with 64 keep-alive connections, freshetd and nginx in turns; the best of each counts."""
    lua, paths = tmp / "paths.lua", tmp / "paths"
    paths.write_text("".join("/v1/chunk/%s\n" % d for d in site.stored()))
    lua.write_text(LUA % paths)
    for d in site.stored():  # each is looked at once
        srv.get("/v1/chunk/" + d)
    plain, tls = free_port(), free_port()
    (tmp / "nginx.conf").write_text(NGINX % {"d": tmp, "data": site.data, "plain": plain, "tls": tls})
    # nginx's worker is nobody
    subprocess.run(["chmod", "-R", "a+rX", str(tmp)], check=True)
    nginx = subprocess.Popen(["/usr/sbin/nginx", "-c", str(tmp / "nginx.conf")], stderr=subprocess.DEVNULL)
    rows = []
    try:
        wait_port(plain)
        for name, ours, theirs, bar in (
                ("plain", "http://127.0.0.1:%d" % srv.port, "http://127.0.0.1:%d" % plain, 0.8),
                ("TLS", "https://127.0.0.1:%d" % srv.tls_port, "https://127.0.0.1:%d" % tls, 0.7)):
            a = b = 0.0
            for _ in range(run.rounds):
                a, b = max(a, wrk(ours, str(lua))), max(b, wrk(theirs, str(lua)))
            run.details["objects_per_s_" + name] = {"freshetd": a, "nginx": b}
            rows.append(("chunk objects/s, %s, 64 connections, / nginx" % name, "%.2f" % (a / b), ">= %.1f" % bar, a / b >= bar))
    finally:
        nginx.terminate()
        nginx.wait()
    return rows


def rss_mib(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) / 1024


def idling(site, srv):
    idle = []
    for i in range(IDLE):
        idle.append(socket.create_connection(("127.0.0.1", srv.port)))
        if i % 50 == 0:  # the server has taken all up to here when it answers
            idle[-1].sendall(b"GET /v1/manifest/%s HTTP/1.1\r\nHost: x\r\n\r\n" % site.version.encode())
            idle[-1].recv(65536)
    srv.get("/v1/manifest/" + site.version)
    mib = rss_mib(srv.p.pid)
    for s in idle:
        s.close()
    return [("freshetd with %d idle connections, MiB" % IDLE, "%.1f" % mib, "<= 100", mib <= 100)]


def swarming(run, site, srv):
    p = subprocess.run([FRESHET, "swarm", "--server", "127.0.0.1:%d" % srv.port, "--data", site.data, "--pcs", str(PCS),
                        "--boot", "1M", "--disk", "1G", "--json", "-"], stdout=subprocess.PIPE, text=True, check=False)
    if not p.stdout:
        raise LabError("freshet swarm returned %d" % p.returncode)
    r = run.details["swarm"] = json.loads(p.stdout)
    lat = r["latency_ms"]
    rows = [("errors of %d PCs that boot at once" % PCS, str(r["with_error"] + PCS - r["complete"]), "0",
             r["with_error"] == 0 and r["complete"] == PCS)]
    for name, what in (("doc", "ticket or manifest"), ("demand", "chunk that a guest waits for")):
        rows.append(("%s, p50 / p99, ms" % what, "%.1f / %.1f" % (lat[name]["p50"], lat[name]["p99"]), "", None))
    rows.append(("chunks per second to them", "%.0f" % (r["chunks"] / r["seconds"]), "", None))
    return rows


def pushing(tmp, site, srv):
    """A second version of noise with 3 % of its chunks changed."""
    disk, data = tmp / "push.raw", tmp / "push"
    disk.write_bytes(os.urandom(400 * CHUNK))
    (data).mkdir()
    (data / "site.pub").write_bytes(pathlib.Path(site.path("site.pub")).read_bytes())
    env = {"FRESHET_SERVER": "http://127.0.0.1:%d" % srv.port, "FRESHET_TOKEN_FILE": site.path("admin.token")}
    sent = []
    for _ in range(2):
        freshet("image", "build", "--quiet", "--data", data, "--key", site.path("site.key"), "--name", "p", "--channel", "mine", disk)
        out = freshet("push", "--data", data, "mine", env=env).stdout
        sent.append(int(re.search(r"(\d+) bytes sent", out).group(1)))
        with open(disk, "r+b") as f:
            for i in range(0, 400, 33)[:12]:
                f.seek(i * CHUNK)
                f.write(os.urandom(CHUNK))
    share = sent[1] / sent[0]
    return [("bytes pushed for 3 % changed chunks / first push, %", "%.2f" % (100 * share), "<= 4", share <= 0.04)]


def building(run, tmp):
    """`image build` against pigz -6, both with all CPUs, over the same bytes of real programs; the best of each counts."""
    disk, total, rates = tmp / "real.raw", 0, {"freshet": 0.0, "pigz": 0.0}
    with open(disk, "wb") as out:
        for d, dirs, files in os.walk("/usr/lib"):
            dirs.sort()
            for name in sorted(files):
                p = os.path.join(d, name)
                if total < 200 << 20 and os.path.isfile(p) and not os.path.islink(p):
                    total += out.write(pathlib.Path(p).read_bytes())
        out.truncate(total // 512 * 512)
    for i in range(run.rounds):
        data = tmp / ("built%d" % i)
        freshet("key", "new", data)
        for name, cmd in (("freshet", [FRESHET, "image", "build", "--quiet", "--data", data, "--name", "x", disk]),
                          ("pigz", ["sh", "-c", "pigz -6 -c %s > %s && sync %s" % (disk, tmp / "gz", tmp / "gz")])):
            subprocess.run(["cat", disk], stdout=subprocess.DEVNULL, check=True)
            t = time.monotonic()
            subprocess.run(cmd, stdout=subprocess.DEVNULL, check=True)
            rates[name] = max(rates[name], total / (time.monotonic() - t) / 1e6)
    run.details["build_mb_per_s"] = rates
    ratio = rates["freshet"] / rates["pigz"]
    return [("image build / pigz -6, same bytes and CPUs", "%.2f" % ratio, ">= 0.8", ratio >= 0.8)]


def rows(run):
    tmp = pathlib.Path(run.folder)
    site = conftest.make_site(tmp)
    srv = Server(site, "--listen-tls", "127.0.0.1:0", "--max-connections", "6000", "--log-level", "info")
    try:
        out = serving(run, tmp, site, srv) + idling(site, srv) + swarming(run, site, srv) + pushing(tmp, site, srv)
    finally:
        srv.stop()
    return out + building(run, tmp)
