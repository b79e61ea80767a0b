"""A site made by the real tools and a real freshetd on loopback, for the tests beside this file."""

import hashlib
import http.client
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import time
import zlib

import pytest

import openapi

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("FRESHET_BUILD", os.path.join(ROOT, "build"))
FRESHET = os.path.join(BUILD, "freshet")
FRESHETD = os.path.join(BUILD, "freshetd")
UUID = "01234567-89ab-cdef-0123-456789abcdef"
CHUNK = 64 * 1024


def freshet(*args, ok=0, env=None):
    """Run the command line; its exit status must be `ok`."""
    p = subprocess.run([FRESHET] + [str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       timeout=120, check=False, cwd=ROOT, env=dict(os.environ, **(env or {})))
    assert p.returncode == ok, "freshet %s: %d\n%s%s" % (args, p.returncode, p.stdout, p.stderr)
    return p


def make_disk(path, mib=24, seed=1):
    """A sparse raw disk: zeros, holes, repeats, text that compresses, noise that does not; odd end."""
    rnd = random.Random(seed)
    noise = rnd.randbytes(5 * CHUNK)
    text = (b"The quick brown fox jumps over the lazy dog. %d\n" % seed) * 20000
    with open(path, "wb") as f:
        f.write(noise)
        f.write(b"\0" * (3 * CHUNK))
        f.write(text[:4 * CHUNK])
        f.seek(10 * 1024 * 1024 + 4096)
        f.write(noise[:CHUNK * 2 + 777])
        f.seek(16 * 1024 * 1024)
        f.write(noise)
        f.truncate(mib * 1024 * 1024 + 512 * 3)
    return str(path)


class Site:
    def __init__(self, data, disk, info):
        self.data, self.disk, self.info = str(data), disk, info
        self.version = info["version"]

    def path(self, *parts):
        return os.path.join(self.data, *parts)

    def object(self, digest):
        return self.path("objects", digest[:2], digest)

    def manifest(self, version=None):
        with open(self.path("manifests", version or self.version), "rb") as f:
            return f.read()

    def digests(self, version=None):
        """The table of a version, read by this file's own understanding of the format."""
        m = self.manifest(version)
        pages, label = struct.unpack_from("<I", m, 36)[0], struct.unpack_from("<I", m, 44)[0]
        at = 160 + (label + 31) // 32 * 32
        table = b""
        for i in range(pages):
            table += plain(open(self.object(m[at + 32 * i:at + 32 * i + 32].hex()), "rb").read())
        return [table[i:i + 32] for i in range(0, len(table), 32)]

    def stored(self):
        """Digests of the different chunks that are not zero, in image order."""
        return list(dict.fromkeys(d.hex() for d in self.digests() if any(d)))


def plain(obj):
    method, n = struct.unpack_from("<II", obj)
    out = obj[8:] if method == 0 else zlib.decompress(obj[8:])
    assert method in (0, 1) and len(out) == n
    return out


def make_site(tmp, **kw):
    data = tmp / "site"
    freshet("key", "new", data)
    disk = make_disk(tmp / "disk.raw", **kw)
    report = tmp / "build.json"
    freshet("image", "build", "--data", data, "--name", "test", "--channel", "lab/stable", "--label", "first",
            "--json", report, disk)
    return Site(data, disk, json.loads(report.read_text()))


def make_efi(path):
    """The least that is a PE file with a .sitekey section."""
    head = bytearray(0x80)
    head[0:2] = b"MZ"
    struct.pack_into("<I", head, 0x3C, 0x80)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 2, 0, 0, 0, 0, 0)
    text = b".text\0\0\0" + struct.pack("<IIIIIIHHI", 512, 0x1000, 512, 0x200, 0, 0, 0, 0, 0x60000020)
    key = b".sitekey" + struct.pack("<IIIIIIHHI", 4096, 0x2000, 4096, 0x400, 0, 0, 0, 0, 0x40000040)
    with open(path, "wb") as f:
        f.write((bytes(head) + coff + text + key).ljust(0x200, b"\0") + b"\xf4" * 512 + b"\xee" * 4096)
        f.write(random.Random(3).randbytes(200000))
    return str(path)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """One site for the tests of a file; they do not change it."""
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def own_site(tmp_path):
    """A site that the test may spoil."""
    return make_site(tmp_path)


class Server:
    def __init__(self, site, *args):
        self.log = open(site.path("..", "freshetd.log"), "w+")
        self.data = site.data
        self.p = subprocess.Popen([FRESHETD, "--data", site.data, "--listen", "127.0.0.1:0", "--log-level", "debug"]
                                  + list(args), stderr=self.log, stdout=subprocess.DEVNULL)
        self.port = 0
        end = time.time() + 20
        while not self.port and time.time() < end and self.p.poll() is None:
            m = re.search(r"listening address=\S+ port=(\d+)\n", self.text())
            self.port = int(m.group(1)) if m else time.sleep(0.02) or 0
        assert self.port, self.text()
        m = re.search(r"listening address=\S+ port=(\d+) tls=1", self.text())
        end = time.time() + 20
        while "--listen-tls" in args and not m and time.time() < end:
            time.sleep(0.02)
            m = re.search(r"listening address=\S+ port=(\d+) tls=1", self.text())
        self.tls_port = int(m.group(1)) if m else 0

    def text(self):
        with open(self.log.name, encoding="utf-8") as f:
            return f.read()

    def get(self, path, method="GET", body=None, headers=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        c.request(method, path, body, headers or {})
        r = c.getresponse()
        data = r.read()
        c.close()
        return r, data

    def token(self):
        """The admin's, made at the start."""
        with open(os.path.join(self.data, "admin.token"), encoding="ascii") as f:
            return f.read().strip()

    def api(self, method, path, body=None, token=None, raw=None, headers=None):
        """(status, JSON) of a call of the API; each answer is held against the description."""
        h = {} if token == "" else {"Authorization": "Bearer " + (token or self.token())}
        h.update(headers or {})
        data = raw if raw is not None else None if body is None else json.dumps(body)
        r, out = self.get("/api/v1" + path, method, data, h)
        value = json.loads(out) if out and r.getheader("Content-Type") == "application/json" else None
        openapi.check(method, "/api/v1" + path.partition("?")[0], r.status, value)
        return r.status, value

    def connect(self, timeout=20):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def raw(self, data, timeout=20):
        """Send bytes, read until the server closes."""
        with self.connect(timeout) as s:
            s.sendall(data)
            return read_all(s)

    def signal(self, sig):
        self.p.send_signal(sig)

    def stop(self):
        if self.p.poll() is None:
            self.p.send_signal(signal.SIGTERM)
        code = self.p.wait(20)
        self.log.close()
        return code


def read_all(s):
    out = b""
    while True:
        try:
            b = s.recv(65536)
        except ConnectionResetError:
            return out
        if not b:
            return out
        out += b


def split_replies(data):
    """Bytes of a connection into (status, headers, body)."""
    out = []
    while data:
        head, sep, data = data.partition(b"\r\n\r\n")
        assert sep, data[:100]
        lines = head.decode().split("\r\n")
        fields = dict((k.lower(), v.strip()) for k, v in (x.split(":", 1) for x in lines[1:]))
        n = int(fields.get("content-length", 0))
        assert len(data) >= n, "cut short"
        out.append((int(lines[0].split()[1]), fields, data[:n]))
        data = data[n:]
    return out


@pytest.fixture
def serve():
    """serve(site, *options): a running server, checked to stop cleanly."""
    running = []

    def start(s, *args):
        running.append(Server(s, *args))
        return running[-1]

    yield start
    for srv in running:
        text = srv.text()
        if srv.p.returncode is None:
            assert srv.stop() == 0, text


@pytest.fixture(scope="module")
def server(site):
    srv = Server(site)
    yield srv
    assert srv.stop() == 0


def digest(data):
    return hashlib.sha256(data).hexdigest()
