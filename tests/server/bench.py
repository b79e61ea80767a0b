#!/usr/bin/python3
"""Figures of the server and the tools, as ratios against a peer on the same files in the same run.

    /usr/bin/python3 tests/server/bench.py

Wants nginx, wrk and pigz beside what tests/server wants; what is not there is left out.
"""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time

import conftest
from conftest import FRESHET, Server, freshet, make_disk

SECONDS = 4
LUA = """local paths = {}
for line in io.lines("%s") do paths[#paths + 1] = line end
local i = math.random(#paths)
request = function() i = i %% #paths + 1; return wrk.format("GET", paths[i]) end
"""
NGINX = """worker_processes 1; daemon off; pid %(d)s/pid; error_log %(d)s/err;
events { worker_connections 4096; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; client_body_temp_path %(d)s/b; proxy_temp_path %(d)s/p;
 fastcgi_temp_path %(d)s/f; uwsgi_temp_path %(d)s/u; scgi_temp_path %(d)s/s; open_file_cache max=100000;
 server { listen 127.0.0.1:%(plain)d; listen 127.0.0.1:%(tls)d ssl; ssl_certificate %(data)s/tls/server.crt; ssl_certificate_key %(data)s/tls/server.key;
  root %(data)s; location /v1/chunk/ { rewrite ^/v1/chunk/((..).*)$ /objects/$2/$1 break; } } }
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wrk(url, lua, connections=64):
    out = subprocess.run(["wrk", "-t1", "-c%d" % connections, "-d%ds" % SECONDS, "-s", lua, url], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "Non-2xx" not in out and "Socket errors" not in out, out
    return float(re.search(r"Requests/sec: +([0-9.]+)", out).group(1))


def serving(site, tmp):
    srv = Server(site, "--listen-tls", "127.0.0.1:0", "--max-connections", "6000", "--log-level", "info")
    lua, paths = tmp / "paths.lua", tmp / "paths"
    paths.write_text("".join("/v1/chunk/%s\n" % d for d in site.stored()))
    lua.write_text(LUA % paths)
    for d in site.stored():  # each is looked at once
        srv.get("/v1/chunk/" + d)
    plain, tls = free_port(), free_port()
    (tmp / "nginx.conf").write_text(NGINX % {"d": tmp, "data": site.data, "plain": plain, "tls": tls})
    subprocess.run(["chmod", "-R", "a+rX", str(tmp)], check=True)
    nginx = subprocess.Popen(["nginx", "-c", str(tmp / "nginx.conf")], stderr=subprocess.DEVNULL)
    time.sleep(1)
    try:
        for name, ours, theirs in (("plain", "http://127.0.0.1:%d" % srv.port, "http://127.0.0.1:%d" % plain),
                                   ("TLS", "https://127.0.0.1:%d" % srv.tls_port, "https://127.0.0.1:%d" % tls)):
            a = b = 0.0
            for _ in range(2):
                a, b = max(a, wrk(ours, str(lua))), max(b, wrk(theirs, str(lua)))
            print("objects per second, %s, 64 connections: freshetd %.0f, nginx %.0f, ratio %.2f" % (name, a, b, a / b), flush=True)
    finally:
        nginx.terminate()
        nginx.wait()
    idle = []
    for i in range(5000):
        idle.append(socket.create_connection(("127.0.0.1", srv.port)))
        if i % 50 == 0:
            idle[-1].sendall(b"GET /v1/manifest/%s HTTP/1.1\r\nHost: x\r\n\r\n" % site.version.encode())
            idle[-1].recv(65536)
    time.sleep(1)
    rss = int(re.search(r"VmRSS:\s+(\d+)", open("/proc/%d/status" % srv.p.pid, encoding="ascii").read()).group(1))
    print("memory with 5000 idle connections: %.1f MiB" % (rss / 1024), flush=True)
    for s in idle:
        s.close()
    srv.stop()


def building(tmp):
    disk = tmp / "real.raw"
    with open(disk, "wb") as out:
        total = 0
        for d, _, files in os.walk("/usr/lib"):
            for name in sorted(files):
                p = os.path.join(d, name)
                if total < 200 << 20 and os.path.isfile(p) and not os.path.islink(p):
                    with open(p, "rb") as f:
                        total += out.write(f.read())
        out.truncate(total // 512 * 512)
    freshet("key", "new", tmp / "built")
    rates = {}
    for name, cmd in (("freshet", [FRESHET, "image", "build", "--quiet", "--data", tmp / "built", "--name", "x", disk]),
                      ("pigz", ["sh", "-c", "pigz -6 -c %s > %s" % (disk, tmp / "gz")])):
        subprocess.run(["cat", disk], stdout=subprocess.DEVNULL, check=True)
        t = time.monotonic()
        subprocess.run(cmd, stdout=subprocess.DEVNULL, check=True)
        rates[name] = total / (time.monotonic() - t) / 1e6
    print("image build of %d MiB: freshet %.0f MB/s, pigz -6 %.0f MB/s, ratio %.2f" % (total >> 20, rates["freshet"], rates["pigz"],
                                                                                      rates["freshet"] / rates["pigz"]), flush=True)


def main():
    with tempfile.TemporaryDirectory(prefix="freshet-bench-") as d:
        tmp = pathlib.Path(d)
        conftest.make_disk = lambda path, **kw: make_disk(path, mib=24)
        site = conftest.make_site(tmp)
        if shutil.which("nginx") and shutil.which("wrk"):
            serving(site, tmp)
        if shutil.which("pigz"):
            building(tmp)


if __name__ == "__main__":
    main()
