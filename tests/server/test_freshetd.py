"""freshetd: what it serves, how it behaves when the peer does not, and its faults on purpose."""

import concurrent.futures
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time

from conftest import FRESHETD, UUID, digest, freshet, make_efi, plain, read_all, split_replies
from test_images import openssl_verify

BOOT = "/v1/boot?uuid=%s&mac=52:54:00:12:34:56&disk=SN1" % UUID


def request(path, extra="", method="GET", host="Host: x\r\n"):
    return ("%s %s HTTP/1.1\r\n%s%s\r\n" % (method, path, host, extra)).encode()


def ticket_of(data):
    text, _, sig = data.partition(b"sig ")
    lines = text.decode().split("\n")
    return text, bytes.fromhex(sig.strip().decode()), dict(x.split(" ", 1) for x in lines[1:-1]), lines[0]


# ---------------------------------------------------------------- what it serves

def test_objects(site, server):
    r, m = server.get("/v1/manifest/" + site.version)
    assert r.status == 200 and digest(m) == site.version
    assert "immutable" in r.getheader("Cache-Control")
    for d in site.stored():
        r, obj = server.get("/v1/chunk/" + d)
        assert r.status == 200 and digest(plain(obj)) == d
        assert "immutable" in r.getheader("Cache-Control")
    r, body = server.get("/v1/chunk/" + site.stored()[0], method="HEAD")
    assert r.status == 200 and body == b""
    assert int(r.getheader("Content-Length")) == os.path.getsize(site.object(site.stored()[0]))


def test_not_there(site, server):
    for path in ("/v1", "/v1/chunk/", "/v1/chunk/" + "0" * 64, "/v1/manifest/" + "f" * 64,
                 "/v1/profile/" + site.version, "/v1/chunk/" + site.stored()[0].upper(),
                 "/v1/chunk/" + site.stored()[0] + "0", "/v1/chunk/" + site.stored()[0] + "/", "/site.key",
                 "/netboot/freshet.efi", "/freshet.efi", "/v1/chunk/..%2f..%2fsite.key", "/../site.key",
                 "/v1/chunk/" + "/.." * 20 + "/etc/passwd", "//etc/passwd", "/v1/manifest/../site.key"):
        r, body = server.get(path)
        assert r.status == 404, path
        assert b"PRIVATE" not in body
    for method, path in (("POST", "/v1/boot"), ("GET", "/v1/report"), ("POST", "/v1/chunk/" + site.stored()[0])):
        r, _ = server.get(path, method=method)
        assert r.status == 405 and r.getheader("Allow")
    assert server.get("/v1/boot", method="DELETE")[0].status == 405
    assert server.get("/v1/boot", method="BREW")[0].status == 501


# ---------------------------------------------------------------- boot profiles

def profile(version, runs, chunk=65536, boots=1):
    return (b"FRSHPRO1" + struct.pack("<IIIIQ", 1, chunk, len(runs), boots, 0) + bytes.fromhex(version)
            + b"".join(struct.pack("<II", *r) for r in runs) + bytes(64))


def runs_of(data):
    n, boots = struct.unpack_from("<II", data, 16)
    assert len(data) == 128 + 8 * n
    return [struct.unpack_from("<II", data, 64 + 8 * i) for i in range(n)], boots


def tell(server, n, body):
    return server.get("/v1/profile?uuid=01234567-89ab-cdef-0123-%012x" % n, "POST", body)[0].status


def test_profile(own_site, serve, tmp_path):
    """What machines read is merged and signed; what does not fit is refused, and one liar changes little."""
    s, v = serve(own_site), own_site.version
    last = len(own_site.digests()) - 1
    assert s.get("/v1/profile/" + v)[0].status == 404
    for bad, why in ((b"", 400), (b"x" * 200, 400), (profile(v, [(0, 1)])[:-1], 400), (profile(v, [(0, 1)], 131072), 400),
                     (profile(v, [(last, 2)]), 400), (profile(v, [(0xfffffff0, 4)]), 400), (profile("ab" * 32, [(0, 1)]), 404)):
        assert tell(s, 1, bad) == why, bad[:80]
    assert s.get("/v1/profile?uuid=zz", "POST", profile(v, [(0, 1)]))[0].status == 400
    assert s.get("/v1/profile", "POST", profile(v, [(0, 1)]))[0].status == 400
    assert s.get("/v1/profile/" + v)[0].status == 404

    assert tell(s, 1, profile(v, [(5, 2), (0, 1), (9, 1)])) == 204
    r, body = s.get("/v1/profile/" + v)
    assert r.status == 200 and runs_of(body) == ([(5, 2), (0, 1), (9, 1)], 1)
    assert openssl_verify(tmp_path, open(own_site.path("site.pub"), encoding="ascii").read().strip(), body[:-64], body[-64:])
    assert tell(s, 1, profile(v, [(1, 1)])) == 204  # this machine has been heard
    assert runs_of(s.get("/v1/profile/" + v)[1])[1] == 1

    for n in (2, 3):  # the others agree on 5, 6 and 2; nobody but the first wants 9
        assert tell(s, n, profile(v, [(5, 2), (2, 1), (0, 1)])) == 204
    assert tell(s, 4, profile(v, [(10, 5)])) == 204
    assert runs_of(s.get("/v1/profile/" + v)[1]) == ([(5, 2), (2, 1), (0, 1)], 4)
    for n in range(5, 30):
        assert tell(s, n, profile(v, [(5, 2), (2, 1)])) == 204
    assert runs_of(s.get("/v1/profile/" + v)[1]) == ([(5, 2), (2, 1)], 8)
    assert len(os.listdir(own_site.path("profiles", v))) == 9
    s.stop()
    os.truncate(own_site.path("profiles", v, "01234567-89ab-cdef-0123-000000000001"), 70)
    s = serve(own_site)
    assert s.get("/v1/profile/" + v)[0].status == 200
    s.stop()


def test_ticket(site, server, tmp_path):
    t = int(time.time())
    r, data = server.get(BOOT)
    assert r.status == 200 and r.getheader("Cache-Control") == "no-store"
    signed, sig, keys, first = ticket_of(data)
    assert first == "freshet-ticket 1"
    assert keys["uuid"] == UUID and keys["channel"] == "lab/stable" and keys["serial"] == "1"
    assert keys["version"] == site.version and keys["policy"] == "boot" and keys["claim"] == "blank"
    assert keys["fill"] == "on" and t <= int(keys["time"]) <= time.time()
    pub = open(site.path("site.pub"), encoding="ascii").read().strip()
    assert openssl_verify(tmp_path, pub, signed, sig)
    assert not openssl_verify(tmp_path, pub, signed.replace(b"boot", b"push"), sig)


def test_ticket_parameters(server):
    for query in ("", "?uuid=", "?uuid=12", "?uuid=" + UUID[:-1] + "g", "?uuid=" + UUID + "0",
                  "?uuid=%s&uuid=%s" % (UUID, UUID), "?uuid=%s&mac=52:54" % UUID, "?uuid=%s&mac=52:54:00:12:34:5g" % UUID,
                  "?uuid=%s&disk=%s" % (UUID, "x" * 41), "?uuid=%s&disk=a%%0ab" % UUID, "?uuid=%s&disk=a%%0" % UUID,
                  "?uuid=%s&disk=a%%zz" % UUID, "?uuid=%s&disk=a%%00b" % UUID, "?mac=52:54:00:12:34:56"):
        r, _ = server.get("/v1/boot" + query)
        assert r.status == 400, query
    for query in ("?uuid=" + UUID.upper(), "?uuid=%s&mac=52-54-00-12-34-AB" % UUID, "?uuid=%s&disk=a%%20b+c" % UUID,
                  "?x=1&uuid=%s&disk=" % UUID, "?uuid=%s&disk=%s" % (UUID, "x" * 40)):
        r, data = server.get("/v1/boot" + query)
        assert r.status == 200 and ticket_of(data)[2]["uuid"] == UUID, query


def test_ticket_follows_settings(own_site, serve, tmp_path):
    s = own_site
    other = UUID[:-1] + "0"
    freshet("boot", "build", "--data", s.data, "--efi", make_efi(tmp_path / "e.efi"), "--server", "192.0.2.1:80")
    freshet("channel", "set", "--data", s.data, "lab/beta", s.version)
    srv = serve(s)
    freshet("site", "set", "--data", s.data, "policy", "push")
    freshet("site", "set", "--data", s.data, "claim", "none")
    freshet("site", "set", "--data", s.data, "--uuid", other, "claim", "serial:S3")
    freshet("site", "set", "--data", s.data, "--uuid", other, "channel", "lab/beta")
    freshet("site", "set", "--data", s.data, "--uuid", other, "fill_limit", "77")
    keys = ticket_of(srv.get(BOOT)[1])[2]
    assert (keys["policy"], keys["claim"], keys["channel"], keys["fill_limit"]) == ("push", "none", "lab/stable", "0")
    assert keys["esp"] == open(s.path("netboot/esp"), encoding="ascii").read().strip()
    keys = ticket_of(srv.get("/v1/boot?uuid=" + other)[1])[2]
    assert (keys["policy"], keys["claim"], keys["channel"], keys["fill_limit"]) == ("push", "serial:S3", "lab/beta", "77")
    freshet("channel", "set", "--data", s.data, "lab/stable", s.version)
    assert ticket_of(srv.get(BOOT)[1])[2]["serial"] == "2"
    # What was tampered with is never signed.
    path = s.path("channels/lab/stable")
    text = open(path, encoding="ascii").read()
    open(path, "w", encoding="ascii").write(text.replace("serial 2", "serial 3"))
    assert srv.get(BOOT)[0].status == 500
    shutil.copy(s.path("channels/lab/beta"), path)
    assert srv.get(BOOT)[0].status == 500
    os.unlink(path)
    assert srv.get(BOOT)[0].status == 404
    open(s.path("site.conf"), "w", encoding="ascii").write("policy sometimes\n")
    assert srv.get("/v1/boot?uuid=" + other)[0].status == 500


def test_boot_files(own_site, serve, tmp_path):
    s = own_site
    freshet("boot", "build", "--data", s.data, "--efi", make_efi(tmp_path / "e.efi"), "--server", "192.0.2.1:80")
    srv = serve(s)
    for name in ("freshet.efi", "freshet.conf", "boot.ipxe"):
        r, data = srv.get("/" + name)
        assert r.status == 200 and data == open(s.path("netboot", name), "rb").read()
        assert "immutable" not in r.getheader("Cache-Control")


def test_reports(site, serve):
    srv = serve(site)
    uuid = UUID[:-1] + "1"
    report = {"uuid": uuid.upper(), "state": "fill", "version": site.version, "percent": 12.5, "exits": {"npf": 7}}
    assert srv.get(BOOT.replace(UUID, uuid))[0].status == 200
    r, _ = srv.get("/v1/report", "POST", json.dumps(report))
    assert r.status == 204
    r, data = srv.get("/v1/machines")
    m = [x for x in json.loads(data) if x["uuid"] == uuid]
    assert len(m) == 1 and r.getheader("Content-Type") == "application/json"
    assert m[0]["state"] == "fill" and m[0]["percent"] == 12.5 and m[0]["mac"] == "52:54:00:12:34:56"
    assert m[0]["disk"] == "SN1" and m[0]["report"] == report and abs(m[0]["last_seen"] - time.time()) < 60
    for bad in ("", "x", "[]", "{}", '{"uuid":1}', '{"uuid":"x"}', json.dumps(dict(report, percent=101)),
                json.dumps(dict(report, percent="x")), json.dumps(dict(report, state="x" * 33)),
                json.dumps(dict(report, version="0" * 65)), json.dumps(report)[:-1], json.dumps(report) + "}", "\0" * 10,
                "[" * 60000, json.dumps(dict(report, uuid="x' OR 1=1"))):
        assert srv.get("/v1/report", "POST", bad)[0].status == 400, bad[:100]
    assert srv.get("/v1/report", "POST", json.dumps(dict(report, fat="x" * 65000)))[0].status == 204
    assert srv.get("/v1/report", "POST", json.dumps(dict(report, fat="x" * 66000)))[0].status == 413
    time.sleep(0.6)  # reports are committed together, four times a second
    srv.signal(signal.SIGKILL)
    srv.p.wait()
    srv = serve(site)  # the list is on the disk
    assert uuid in srv.get("/v1/machines")[1].decode()
    srv.get(BOOT)


# ---------------------------------------------------------------- connections

def test_pipelining(site, server):
    """All requests at once on one connection: every answer, in order, intact."""
    want = site.stored() * 6
    data = b"".join(request("/v1/chunk/" + d) for d in want) + request("/v1/manifest/" + site.version,
                                                                       "Connection: close\r\n")
    with server.connect() as s:
        s.sendall(data)
        replies = split_replies(read_all(s))
    assert len(replies) == len(want) + 1
    for (status, fields, body), d in zip(replies, want):
        assert status == 200 and digest(plain(body)) == d and "connection" not in fields
    assert digest(replies[-1][2]) == site.version and replies[-1][1]["connection"] == "close"


def test_pipelining_mixed(site, server):
    """Errors, HEAD, POST with a body and big files keep their places."""
    d = site.stored()[0]
    report = json.dumps({"uuid": UUID, "state": "x"})
    data = (request("/v1/chunk/" + "0" * 64) + request("/v1/chunk/" + d, method="HEAD") + request("/v1/chunk/" + d)
            + request("/v1/report", "Content-Length: %d\r\n" % len(report), "POST") + report.encode()
            + request("/v1/boot?uuid=bad") + request(BOOT) + request("/v1/chunk/" + d, "Connection: close\r\n"))
    out = server.raw(data)
    codes = [int(x) for x in re.findall(rb"HTTP/1\.1 (\d+) ", out)]
    assert codes == [404, 200, 200, 204, 400, 200, 200]


def test_byte_by_byte(site, server):
    data = request("/v1/chunk/" + site.stored()[1], "Connection: close\r\n")
    with server.connect() as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(data)):
            s.sendall(data[i:i + 1])
        status, _, body = split_replies(read_all(s))[0]
    assert status == 200 and digest(plain(body)) == site.stored()[1]


def test_half_close(site, server):
    """The peer shuts its side after asking: it still gets everything."""
    with server.connect() as s:
        want = site.stored() * 8
        s.sendall(b"".join(request("/v1/chunk/" + d) for d in want))
        s.shutdown(socket.SHUT_WR)
        time.sleep(0.2)
        replies = split_replies(read_all(s))
    assert [digest(plain(b)) for _, _, b in replies] == want


def test_slow_reader(site, server):
    """A peer that asks for much and takes nothing holds bounded memory, and then gets all of it."""
    want = (site.stored() * 400)[:4000]
    data = b"".join(request("/v1/chunk/" + d) for d in want)
    with server.connect(60) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        s.setblocking(False)
        sent = 0
        end = time.time() + 1.5
        while time.time() < end and sent < len(data):
            try:
                sent += s.send(data[sent:sent + 65536])
            except BlockingIOError:
                time.sleep(0.02)
        status = open("/proc/%d/status" % server.p.pid, encoding="ascii").read()
        assert int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) < 64 * 1024
        assert len(os.listdir("/proc/%d/fd" % server.p.pid)) < 120
        s.setblocking(True)
        s.settimeout(60)
        r, _ = server.get("/v1/manifest/" + site.version)  # others are served meanwhile
        assert r.status == 200
        want = want[:60]
        got = b""
        while got.count(b"HTTP/1.1 200") < 62:
            got += s.recv(65536)
        got = got[:got.rindex(b"HTTP/1.1 200")]
    bodies = []
    while len(bodies) < 60:
        head, _, rest = got.partition(b"\r\n\r\n")
        n = int(re.search(rb"Content-Length: (\d+)", head).group(1))
        bodies.append(rest[:n])
        got = rest[n:]
    assert [digest(plain(b)) for b in bodies] == want


def test_hundred_at_once(site, server):
    """100 connections, each open all the time, each fetching the image in its own order."""
    socks = [server.connect(60) for _ in range(100)]

    def fetch(i):
        order = site.stored()[i % 7:] + site.stored()[:i % 7]
        with socks[i] as s:
            for k, d in enumerate(order):
                s.sendall(request("/v1/chunk/" + d, "Connection: close\r\n" if k == len(order) - 1 else ""))
            return [digest(plain(b)) for _, _, b in split_replies(read_all(s))] == order

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert all(pool.map(fetch, range(100)))


def test_too_many(site, serve):
    """When full, the longest idle connection makes room; busy ones stay."""
    srv = serve(site, "--max-connections", "4")
    busy = srv.connect()
    busy.sendall(b"GET /v1/chunk/" + site.stored()[0].encode() + b" HTTP/1.1\r\nHo")
    time.sleep(0.2)
    socks = [srv.connect() for _ in range(3)]
    for s in socks:
        s.sendall(request("/v1/manifest/" + site.version))
        assert s.recv(9) == b"HTTP/1.1 "
    time.sleep(0.2)
    for _ in range(3):
        assert srv.get("/v1/manifest/" + site.version)[0].status == 200
    busy.sendall(b"st: x\r\nConnection: close\r\n\r\n")
    assert digest(plain(split_replies(read_all(busy))[0][2])) == site.stored()[0]
    for s in socks + [busy]:
        s.close()


def test_http_1_0_and_keep_alive(site, server):
    path = "/v1/manifest/" + site.version
    out = server.raw(("GET %s HTTP/1.0\r\n\r\n" % path).encode())
    assert split_replies(out)[0][0] == 200
    out = server.raw(("GET %s HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET %s HTTP/1.0\r\n\r\n" % (path, path)).encode())
    assert len(split_replies(out)) == 2
    out = server.raw(("GET http://x%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path).encode())
    assert split_replies(out)[0][0] == 200


def test_expect_continue(server):
    body = json.dumps({"uuid": UUID}).encode()
    with server.connect() as s:
        s.sendall(request("/v1/report", "Content-Length: %d\r\nExpect: 100-continue\r\n" % len(body), "POST"))
        assert s.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(body)
        assert s.recv(1000).startswith(b"HTTP/1.1 204 ")


HOSTILE = [
    (b"\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
    (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    (b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400),
    (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET /\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"G@T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: \x01\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nnocolon\r\n\r\n", 400),
    (b"POST /v1/report HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
    (b"POST /v1/report HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
    (b"POST /v1/report HTTP/1.1\r\nHost: x\r\nContent-Length: 0x10\r\n\r\n", 400),
    (b"POST /v1/report HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
    (b"POST /v1/report HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n", 413),
    (b"POST /v1/report HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
    (b"POST /v1/report HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 501),
    (b"GET /" + b"a" * 300 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    (b"GET /?" + b"a" * 600 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 2000, 431),
    (b"A" * 20000, 431),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
]


def test_hostile_heads(server):
    for data, status in HOSTILE:
        out = server.raw(data + request("/v1/machines"))
        replies = split_replies(out)
        assert len(replies) == 1 and replies[0][0] == status, (data[:80], out[:80])
        assert replies[0][1]["connection"] == "close"


def test_refusal_is_readable(server):
    """A refusal arrives even if the peer goes on sending: no reset overtakes it."""
    with server.connect() as s:
        s.sendall(request("/v1/report", "Content-Length: 70000\r\n", "POST"))
        time.sleep(0.2)
        for _ in range(20):
            s.sendall(b"x" * 3500)
            time.sleep(0.01)
        assert split_replies(read_all(s))[0][0] == 413


def test_slow_request_is_ended(site, serve):
    """A head that never ends gets 408 after 20 s, however steadily its bytes come."""
    srv = serve(site)
    t = time.time()
    with srv.connect(60) as s:
        s.sendall(b"GET / HTTP/1.1\r\n")
        s.settimeout(0.5)
        out = b""
        while not out and time.time() < t + 40:
            s.sendall(b"A: b\r\n")
            try:
                out = s.recv(4096)
            except socket.timeout:
                pass
    assert split_replies(out)[0][0] == 408 and 15 < time.time() - t < 30


def test_random_bytes(site, server):
    import random
    rnd = random.Random(5)
    good = request("/v1/manifest/" + site.version, "Connection: close\r\n")
    for _ in range(150):
        data = bytearray(good)
        for _ in range(rnd.randrange(1, 5)):
            data[rnd.randrange(len(data))] = rnd.randrange(256)
        with server.connect() as s:
            s.sendall(bytes(data))
            s.shutdown(socket.SHUT_WR)
            for status, _, body in split_replies(read_all(s)):
                assert status in (200, 400, 404, 405, 414, 431, 501, 505)
                assert status != 200 or digest(body) == site.version
    assert server.get("/v1/manifest/" + site.version)[0].status == 200


# ---------------------------------------------------------------- life

def test_stop_finishes_what_it_sends(site, serve):
    srv = serve(site)
    want = site.stored() * 3
    idle = srv.connect()
    with srv.connect() as s:
        s.sendall(b"".join(request("/v1/chunk/" + d) for d in want))
        time.sleep(0.3)
        srv.signal(signal.SIGTERM)
        replies = split_replies(read_all(s))  # whole replies only
        assert replies and [digest(plain(b)) for _, _, b in replies] == want[:len(replies)]
    assert srv.p.wait(10) == 0
    assert idle.recv(10) == b""
    idle.close()


def test_start_refused(site, server, tmp_path):
    def run(*args):
        p = subprocess.run([FRESHETD] + list(args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           timeout=20, check=False)
        return p.returncode, p.stdout

    assert run()[0] == 2
    assert run("--data", str(tmp_path), "--frob")[0] == 2
    assert run("--data", str(tmp_path), "--fault", "frob")[0] == 2
    assert run("--data", str(tmp_path / "none"))[0] == 1
    assert run("--data", str(tmp_path))[0] == 1  # no key
    assert run("--data", site.data, "--listen", "nonsense")[0] == 1
    code, out = run("--data", site.data, "--listen", "127.0.0.1:%d" % server.port)
    assert code == 1 and "in use" in out
    assert run("--help")[0] == 0
    assert run("--data", site.data, "--check-config")[0] == 0


def test_init_makes_the_folder(tmp_path):
    data = tmp_path / "made"
    p = subprocess.Popen([FRESHETD, "--data", str(data), "--init", "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
    try:
        assert any("listening" in line for line in p.stderr)
        for name in ("site.key", "site.pub", "fleet.db", "admin.token"):
            assert (data / name).exists(), name
        assert (data / "site.key").stat().st_mode & 0o777 == 0o600
    finally:
        p.terminate()
        p.wait(20)
        p.stderr.close()


def test_check_config(own_site):
    def check():
        return subprocess.run([FRESHETD, "--data", own_site.data, "--check-config"], stderr=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, timeout=20, check=False).returncode

    assert check() == 0
    with open(own_site.path("site.conf"), "w", encoding="ascii") as f:
        f.write("policy frob\n")
    assert check() == 1
    os.unlink(own_site.path("site.conf"))
    os.unlink(own_site.path("manifests", own_site.version))
    assert check() == 1
    os.unlink(own_site.path("channels", "lab", "stable"))
    assert check() == 0  # a new site: nothing is wrong with its settings
    with open(own_site.path("site.conf"), "w", encoding="ascii") as f:
        f.write("channel lab/none\n")
    assert check() == 1


def test_check_config_before_the_first_start(own_site, tmp_path):
    """What the first start makes is not missing; what it could not make good is."""
    data, conf = tmp_path / "new", tmp_path / "freshetd.conf"

    def check(text=""):
        conf.write_text("data %s\n%s" % (data, text))
        p = subprocess.run([FRESHETD, "--config", str(conf), "--check-config"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           timeout=20, check=False)
        return p.returncode, p.stdout

    want = (0, "in order; the first start makes folder=%s key=%s/site.key\n" % (data, data))
    assert check() == want and not data.exists()
    data.mkdir()  # as the package leaves it
    assert check() == want and not os.listdir(data)
    assert check("nonsense 1\n")[0] == 1
    code, out = check("tls_cert %s\nlisten_tls 127.0.0.1:0\n" % (tmp_path / "none.crt"))
    assert code == 1 and "not in order" in out
    keys, place = tmp_path / "s3.key", "objects s3://bucket@http://127.0.0.1:1\n"
    keys.write_text("access_key a\nsecret_key b\n")
    keys.chmod(0o600)
    for text, said in (("objects elsewhere\n", "neither"), (place, "s3_credentials is needed"),
                       (place + "s3_credentials %s\n" % keys, "cannot be reached")):
        code, out = check(text)
        assert code == 1 and said in out and out.endswith("not in order\n") and not os.listdir(data), out
    assert check("objects folder\n") == want
    data.rmdir()
    os.rename(own_site.data, data)
    code, out = check()
    assert code == 0 and out.endswith("\nin order\n")  # before it: a warning that there are no boot files
    os.rename(data / "objects", data / "o")  # nothing was built or pushed yet
    code, out = check()
    assert code == 0 and "objects cannot be used" not in out
    os.rename(data / "o", data / "objects")
    os.unlink(data / "site.key")  # a folder that was in use: nothing is begun anew there
    code, out = check()
    assert code == 1 and "put it back" in out and not (data / "site.key").exists()


# ---------------------------------------------------------------- faults on purpose

def test_faults_status_and_counts(site, serve):
    srv = serve(site, "--fault", "404:/v1/chunk:after=2:count=3", "--fault", "500:/v1/manifest:1")
    d = site.stored()[0]
    assert [srv.get("/v1/chunk/" + d)[0].status for _ in range(7)] == [200, 200, 404, 404, 404, 200, 200]
    assert [srv.get("/v1/manifest/" + site.version)[0].status for _ in range(2)] == [500, 200]


def test_faults_of_bodies(site, serve):
    d = site.stored()[0]
    whole = open(site.object(d), "rb").read()
    srv = serve(site, "--fault", "cut:/v1/chunk:1", "--fault", "garbage:/v1/chunk:1", "--fault",
                "wrong-chunk:/v1/chunk:1", "--fault", "close:/v1/chunk:1", "--fault", "noise:/v1/chunk:1")
    ask = request("/v1/chunk/" + d, "Connection: close\r\n")
    cut = srv.raw(ask)
    assert b"Content-Length: %d\r\n" % len(whole) in cut and cut.endswith(whole[:len(whole) // 2])
    garbage = split_replies(srv.raw(ask))[0]
    assert garbage[0] == 200 and len(garbage[2]) == len(whole) and garbage[2] != whole
    wrong = split_replies(srv.raw(ask))[0][2]
    assert digest(plain(wrong)) != d and os.path.exists(site.object(digest(plain(wrong))))
    assert srv.raw(ask) == b""
    assert not srv.raw(ask).startswith(b"HTTP")
    assert digest(plain(split_replies(srv.raw(ask))[0][2])) == d


def test_faults_of_signatures(site, serve, tmp_path):
    srv = serve(site, "--fault", "bad-signature:1", "--fault", "stale-serial:/v1/boot:1",
                "--fault", "bad-signature:/v1/manifest:1")
    pub = open(site.path("site.pub"), encoding="ascii").read().strip()
    signed, sig, _, _ = ticket_of(srv.get(BOOT)[1])
    assert not openssl_verify(tmp_path, pub, signed, sig)
    signed, sig, keys, _ = ticket_of(srv.get(BOOT)[1])
    assert openssl_verify(tmp_path, pub, signed, sig) and keys["serial"] == "0"
    m = srv.get("/v1/manifest/" + site.version)[1]
    assert m != site.manifest() and m[:-64] == site.manifest()[:-64]
    assert ticket_of(srv.get(BOOT)[1])[2]["serial"] == "1"


def test_fault_delay_and_stall(site, serve):
    srv = serve(site, "--fault", "delay:/v1/manifest:400", "--fault", "stall:/v1/chunk:1")
    t = time.time()
    out = srv.raw(request("/v1/manifest/" + site.version) + request("/v1/manifest/" + site.version,
                                                                    "Connection: close\r\n"))
    assert len(split_replies(out)) == 2 and 0.78 <= time.time() - t < 5  # timers run on a coarse clock
    with srv.connect(1) as s:
        s.sendall(request("/v1/chunk/" + site.stored()[0]))
        got = b""
        try:
            while True:
                got += s.recv(65536)
        except socket.timeout:
            pass
    size = os.path.getsize(site.object(site.stored()[0]))
    assert len(got.partition(b"\r\n\r\n")[2]) == size // 2


def test_fault_file_is_read_again(site, serve, tmp_path):
    faults = tmp_path / "faults"
    faults.write_text("# none yet\n")
    srv = serve(site, "--fault-file", str(faults))
    path = "/v1/manifest/" + site.version
    assert srv.get(path)[0].status == 200
    faults.write_text("503:/v1/manifest\n")
    srv.signal(signal.SIGHUP)
    end = time.time() + 10
    while srv.get(path)[0].status != 503 and time.time() < end:
        time.sleep(0.02)
    assert srv.get(path)[0].status == 503
    faults.write_text("")
    srv.signal(signal.SIGHUP)
    while srv.get(path)[0].status != 200 and time.time() < end:
        time.sleep(0.02)
    assert srv.get(path)[0].status == 200


def test_fault_probability_repeats(site, serve):
    def run(seed):
        srv = serve(site, "--fault", "500:p=40", "--fault-seed", seed)
        return [srv.get("/v1/manifest/" + site.version)[0].status for _ in range(40)]

    one = run("7")
    assert one == run("7") and one != run("8")
    assert 5 < one.count(500) < 30
