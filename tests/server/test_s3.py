"""Objects in S3-compatible storage: a real server (OpenStack Swift's S3 API), a real freshetd, the real command line."""

import contextlib
import datetime
import hashlib
import hmac
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.parse

import pytest

from conftest import CHUNK, FRESHET, FRESHETD, Server, Site, digest, freshet, plain
from gate_s3 import Gate, Script, cut

USER, SECRET, REGION = "lab:fresh", "not-so-secret", "us-east-1"
PATIENCE = float(os.environ.get("FRESHET_PATIENCE", "1"))
PAGE = 3  # keys that swift_s3.py lists at once
OBJECT = re.compile("objects/([0-9a-f]{2})/([0-9a-f]{64})$")


class Bucket:
    """The test's own client: signs by itself, so that it says nothing of libcurl what libcurl says [AWS SigV4]."""

    def __init__(self, port, name):
        self.port, self.name = port, name
        assert self.call("PUT")[0] == 200

    def call(self, method, key="", query="", body=b""):
        now = datetime.datetime.now(datetime.timezone.utc)
        day, stamp = now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ")
        path = "/" + self.name + ("/" + key if key else "")
        fields = {"host": "127.0.0.1:%d" % self.port, "x-amz-content-sha256": digest(body), "x-amz-date": stamp}
        names = ";".join(sorted(fields))
        request = "\n".join([method, path, query] + ["%s:%s" % (k, fields[k]) for k in sorted(fields)]
                            + ["", names, fields["x-amz-content-sha256"]])
        scope = "%s/%s/s3/aws4_request" % (day, REGION)
        text = "AWS4-HMAC-SHA256\n%s\n%s\n%s" % (stamp, scope, digest(request.encode()))
        k = ("AWS4" + SECRET).encode()
        for part in scope.split("/"):
            k = hmac.new(k, part.encode(), hashlib.sha256).digest()
        fields["authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
            USER, scope, names, hmac.new(k, text.encode(), hashlib.sha256).hexdigest())
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        c.request(method, path + ("?" + query if query else ""), body or None, fields)
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, data

    def keys(self):
        out, token = [], ""
        while True:
            status, xml = self.call("GET", query=(token and "continuation-token=" + token + "&") + "list-type=2&max-keys=1000")
            assert status == 200, xml
            out += re.findall("<Key>([^<]*)</Key>", xml.decode())
            more = re.search("<NextContinuationToken>([^<]*)<", xml.decode())
            if not more:
                return out
            token = urllib.parse.quote(more.group(1), safe="")


class Swift:
    def __init__(self, folder):
        self.folder, self.port, self.tls_port, self.p = folder, 0, 0, None
        self.ca = os.path.join(folder, "ca.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                        os.path.join(folder, "key.pem"), "-out", self.ca, "-days", "2", "-subj", "/CN=s3", "-addext",
                        "subjectAltName=IP:127.0.0.1"], check=True, stderr=subprocess.DEVNULL)
        with open(os.path.join(folder, "tls.pem"), "wb") as f:
            for name in ("key.pem", "ca.pem"):
                with open(os.path.join(folder, name), "rb") as part:
                    f.write(part.read())
        self.start()

    def start(self):
        err = open(os.path.join(self.folder, "swift.log"), "a", encoding="utf-8")
        self.p = subprocess.Popen([sys.executable, os.path.join(os.path.dirname(__file__), "swift_s3.py"), self.folder,
                                   USER, SECRET, str(self.port)], stdout=subprocess.PIPE, stderr=err, text=True)
        line = self.p.stdout.readline()
        assert line.startswith("ready "), open(err.name, encoding="utf-8").read()
        self.port, self.tls_port = (int(x) for x in line.split()[1:])

    def stop(self):
        self.p.send_signal(signal.SIGCONT)
        self.p.terminate()
        self.p.wait(20)


def small_disk(path, seed):
    """Noise, text, a repeat, zeros: few objects, as each costs such a server its while."""
    rnd = random.Random(seed)
    noise = rnd.randbytes(8 * CHUNK)
    with open(path, "wb") as f:
        f.write(noise + b"text %d " % seed * (CHUNK // 4) + noise[:CHUNK] + rnd.randbytes(1000))
        f.truncate(2 << 20)
    return path


@pytest.fixture(scope="module")
def swift(tmp_path_factory):
    s = Swift(str(tmp_path_factory.mktemp("swift")))
    yield s
    s.stop()


@pytest.fixture(scope="module")
def admin(tmp_path_factory):
    """The admin's own folder, with a version to push."""
    tmp = tmp_path_factory.mktemp("admin")
    freshet("key", "new", tmp / "own")
    out = freshet("image", "build", "--data", tmp / "own", "--name", "lab", "--channel", "lab/stable", "--json", "-",
                  small_disk(tmp / "disk.raw", 1))
    return Site(tmp / "own", tmp / "disk.raw", json.loads(out.stdout))


class Remote:
    """A server whose objects are in a bucket of its own."""

    def __init__(self, swift, admin, tmp, name):
        self.swift, self.admin, self.tmp = swift, admin, tmp
        self.bucket = Bucket(swift.port, name)
        self.data = tmp / "srv"
        freshet("key", "new", self.data)
        (self.data / "manifests").mkdir()
        for name in ("site.key", "site.pub"):
            shutil.copy(admin.path(name), self.data / name)
        self.place = "s3://%s@http://127.0.0.1:%d/%s" % (self.bucket.name, swift.port, REGION)
        self.credentials = tmp / "s3.key"
        self.write_key(USER, SECRET)
        self.site = Site(self.data, admin.disk, admin.info)
        self.srv = None

    def write_key(self, user, secret, mode=0o600):
        self.credentials.write_text("# the bucket's\naccess_key %s\nsecret_key %s\n" % (user, secret))
        self.credentials.chmod(mode)

    def start(self, *args):
        self.srv = Server(self.site, "--set", "objects=" + self.place, "--set", "s3_credentials=%s" % self.credentials, *args)
        return self.srv

    def cli(self, *args, ok=0):
        return freshet(*args, ok=ok, env={"FRESHET_SERVER": "http://127.0.0.1:%d" % self.srv.port,
                                          "FRESHET_TOKEN_FILE": str(self.data / "admin.token")})

    def push(self, ok=0):
        return self.cli("push", "--data", self.admin.data, "--channel", "lab/stable", "lab/stable", ok=ok)

    def chunk(self, name):
        return self.srv.get("/v1/chunk/" + name)

    def local_objects(self):
        return [f for _, _, files in os.walk(self.data / "objects") for f in files]

    def incoming(self):
        return os.listdir(self.data / "incoming")

    def key(self, name):
        return "objects/%s/%s" % (name[:2], name)


@contextlib.contextmanager
def gated(remote, *args):
    """The server with a gate before its bucket; for as long as it is wanted."""
    straight = remote.place
    with Gate(remote.swift.port) as gate:
        remote.place = gate.place(remote)
        remote.start(*args)
        try:
            yield gate
        finally:
            text = remote.srv.text()
            assert remote.srv.stop() == 0, text
            gate.shutdown()
            remote.place = straight


@pytest.fixture
def remote(swift, admin, tmp_path, request):
    r = Remote(swift, admin, tmp_path, re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-"))
    yield r
    if r.srv and r.srv.p.returncode is None:
        text = r.srv.text()
        assert r.srv.stop() == 0, text


def metric(remote, name):
    return int(re.search("freshet_%s (\\d+)" % name, remote.srv.get("/metrics")[1].decode()).group(1))


def stored_names(admin):
    return {f for _, _, files in os.walk(admin.path("objects")) for f in files}


def test_push_and_serve(remote, admin):
    """Objects go to the bucket and nowhere else, only what is missing; what is served is what its name says."""
    srv = remote.start("--listen-tls", "127.0.0.1:0")
    assert "objects cannot be used" not in srv.text()
    first = remote.push().stdout
    keys = remote.bucket.keys()
    assert all(OBJECT.match(k) for k in keys) and {k[11:] for k in keys} == stored_names(admin)
    assert remote.local_objects() == [] and remote.incoming() == []
    for name in admin.stored():
        r, body = remote.chunk(name)
        assert r.status == 200 and digest(plain(body)) == name
        assert r.getheader("Cache-Control") == "public, max-age=31536000, immutable"
        assert srv.get("/objects/%s/%s" % (name[:2], name))[1] == body
    again = remote.push().stdout
    sent = [int(re.search("(\\d+) bytes sent", out).group(1)) for out in (first, again)]
    assert sent[1] == len(admin.manifest()) < sent[0]
    # Behind the first request for each comes none: they are in the cache.
    assert metric(remote, "fetches_total") == len(admin.stored())
    r, body = srv.get("/v1/chunk/" + admin.stored()[0], "HEAD")
    assert r.status == 200 and not body and int(r.getheader("Content-Length")) > 8
    assert remote.chunk("00" * 32)[0].status == 404
    # Tools that open the folder follow it: every chunk is read from the bucket and compared.
    assert "objects " + remote.place in (remote.data / "objects.conf").read_text()
    freshet("image", "verify", "--data", remote.data, admin.version)
    freshet("image", "export", "--data", remote.data, admin.version, remote.tmp / "out.raw")
    assert (remote.tmp / "out.raw").read_bytes() == open(admin.disk, "rb").read()
    cost = srv.api("GET", "/versions/" + admin.version)[1]
    assert cost["missing_objects"] == 0 and cost["objects"] == len(stored_names(admin))
    doctor = remote.cli("doctor", "--data", remote.data, ok=1).stdout  # there are no boot files
    assert re.search("^ok +objects .* answers$", doctor, re.M)
    assert re.search("^ok +channel .* all %d objects there$" % len(stored_names(admin)), doctor, re.M)


def test_build_into_the_bucket(remote, admin):
    """The command line builds into a folder whose objects are elsewhere."""
    remote.start()
    out = freshet("image", "build", "--data", remote.data, "--name", "here", "--channel", "lab/here", "--json", "-", admin.disk)
    version = json.loads(out.stdout)["version"]
    assert {k[11:] for k in remote.bucket.keys()} >= set(admin.stored())
    assert remote.local_objects() == [] and remote.incoming() == []
    freshet("image", "verify", "--data", remote.data, version)
    assert remote.chunk(admin.stored()[0])[0].status == 200


def test_many_at_once(remote, admin):
    """A lab boots: many ask for the same object; it is fetched once, and nobody is held up by it."""
    remote.start()
    remote.push()
    name = admin.stored()[0]
    os.kill(remote.swift.p.pid, signal.SIGSTOP)
    got = []
    threads = [threading.Thread(target=lambda: got.append(remote.chunk(name))) for _ in range(30)]
    for t in threads:
        t.start()
    end = time.time() + 5 * PATIENCE  # the storage says nothing until this is answered
    while metric(remote, "connections") <= len(threads) and time.time() < end:
        time.sleep(0.02)
    os.kill(remote.swift.p.pid, signal.SIGCONT)
    for t in threads:
        t.join(30)
    assert len(got) == 30 and all(r.status == 200 and digest(plain(body)) == name for r, body in got)
    assert metric(remote, "fetches_total") == 1


def test_damaged(remote, admin):
    """What is wrong in the bucket is never served, is missing for the next push, and mended by it."""
    remote.start()
    remote.push()
    names = admin.stored()
    sound = names[3]
    good = {n: remote.bucket.call("GET", remote.key(n))[1] for n in names[:4]}
    bad = {names[0]: good[sound], names[1]: good[names[1]][:-1], names[2]: b"\0" * 70000}
    for name, data in bad.items():
        assert remote.bucket.call("PUT", remote.key(name), body=data)[0] == 200
        assert remote.chunk(name)[0].status == 404
        assert (remote.data / "damaged" / name).read_bytes() == data
    assert remote.chunk(sound)[0].status == 200
    assert [e["kind"] for e in remote.srv.api("GET", "/log")[1]].count("damaged") == len(bad)
    said = freshet("image", "verify", "--data", remote.data, admin.version, ok=1).stderr
    assert all("object %s: corrupt" % name in said for name in bad)
    assert "objects/" not in said  # there is no such file for anybody to look at
    assert remote.srv.api("POST", "/missing", {"digests": [sound] + list(bad)})[1] == {"missing": [1, 2, 3]}
    remote.push()
    for name in bad:
        assert remote.bucket.call("GET", remote.key(name))[1] == good[name]
        r, body = remote.chunk(name)
        assert r.status == 200 and digest(plain(body)) == name
    assert os.listdir(remote.data / "damaged") == []
    # One that is too long to be an object is not even read to its end.
    assert remote.bucket.call("PUT", remote.key(names[4]), body=b"\0" * (1200 << 10))[0] == 200
    assert remote.chunk(names[4])[0].status == 404
    assert "1 of 1 objects" in remote.push().stderr
    assert remote.chunk(names[4])[0].status == 200
    # A page of the table, which publishing itself reads, is mended by the same push.
    page = next(n for n in stored_names(admin) if n not in names)
    assert remote.bucket.call("PUT", remote.key(page), body=good[sound])[0] == 200
    assert "1 of 1 objects" in remote.push().stderr
    freshet("image", "verify", "--data", remote.data, admin.version)
    assert remote.bucket.call("DELETE", remote.key(page))[0] == 204
    said = freshet("image", "verify", "--data", remote.data, admin.version, ok=1).stderr
    assert "object %s: missing" % page in said and "objects/" not in said


def test_damaged_found_by_root(remote, admin):
    """Damage that root's tool finds is noted as the folder's owner, whose server can take the note away."""
    remote.start()
    remote.push()
    names = admin.stored()[:2]
    good = remote.bucket.call("GET", remote.key(names[0]))[1]
    os.chown(remote.data, 4711, 4711)
    assert remote.bucket.call("PUT", remote.key(names[0]), body=good[:-1])[0] == 200
    assert "corrupt" in freshet("image", "verify", "--data", remote.data, admin.version, ok=1).stderr
    note = remote.data / "damaged" / names[0]
    assert {os.stat(p).st_uid for p in (note, note.parent)} == {4711}
    freshet("image", "export", "--data", remote.data, admin.version, remote.tmp / "out.raw", ok=1)
    assert note.read_bytes() == good[:-1]
    remote.push()
    assert not note.exists()
    # A note that cannot be taken away is said.
    note.mkdir()
    assert remote.bucket.call("PUT", remote.key(names[0]), body=good)[0] == 200
    assert remote.chunk(names[0])[0].status == 200 and "until somebody removes" in remote.srv.text()


def test_gc(remote, admin):
    """What no version names goes; what waits for its version, what is named and what is not ours stays."""
    srv = remote.start()
    remote.push()
    mine = set(remote.bucket.keys())
    disk = small_disk(remote.tmp / "two.raw", 2)
    info = json.loads(freshet("image", "build", "--data", remote.tmp / "two", "--key", admin.path("site.key"), "--name", "two",
                              "--channel", "two", "--json", "-", disk).stdout)
    remote.cli("push", "--data", remote.tmp / "two", "--key", admin.path("site.pub"), info["version"])
    both = set(remote.bucket.keys())
    assert len(both) > len(mine) > 2 * PAGE  # lists come in pages
    waits = "objects/00/" + "00" * 32
    assert remote.bucket.call("PUT", waits, body=b"x" * 100)[0] == 200
    assert remote.bucket.call("PUT", "objects/README", body=b"not ours")[0] == 200
    (remote.data / "incoming" / ("00" * 32)).write_bytes(b"")
    remote.cli("image", "rm", info["version"])
    assert srv.api("POST", "/gc", {})[1]["removed_objects"] == 0  # too young
    dry = srv.api("POST", "/gc", {"grace_s": 0, "dry_run": True})[1]
    assert dry["removed_objects"] == len(both - mine) and set(remote.bucket.keys()) == both | {waits, "objects/README"}
    real = srv.api("POST", "/gc", {"grace_s": 0})[1]
    assert (real["removed_objects"], real["kept_objects"]) == (len(both - mine), len(mine))
    assert real["removed_bytes"] == dry["removed_bytes"] > 0
    assert set(remote.bucket.keys()) == mine | {waits, "objects/README"}
    assert srv.api("POST", "/gc", {"grace_s": 0, "upload_keep_s": 0})[1]["removed_objects"] == 1
    assert set(remote.bucket.keys()) == mine | {"objects/README"} and remote.incoming() == []
    freshet("image", "verify", "--data", remote.data, admin.version)


def test_wrong_key(remote, admin):
    """The server is up, says what is wrong, answers 503; nothing of the secret is anywhere."""
    srv = remote.start()
    remote.push()
    srv.stop()
    remote.write_key(USER, "wrong-secret")
    srv = remote.start()
    assert "the access key or the secret key is wrong" in srv.text()
    begin = time.time()
    r, _ = remote.chunk(admin.stored()[0])
    assert r.status == 503 and r.getheader("Retry-After") and time.time() - begin < 5 * PATIENCE
    assert "the access key or the secret key is wrong" in remote.push(ok=1).stderr
    assert "wrong-secret" not in srv.text() and SECRET not in srv.text()
    status, answer = srv.api("POST", "/gc", {"grace_s": 0})
    assert status == 503 and "secret key is wrong" in answer["error"]
    remote.write_key("nobody:known", SECRET)
    assert "key is wrong" in check(remote, 1)


def test_trouble_that_passes(remote, admin):
    """503, an answer that is cut off: asked again, and what is stored, served and counted is right."""
    names = admin.stored()[:3]
    objects = {}
    for name in names:
        with open(admin.object(name), "rb") as f:
            objects[name] = f.read()
    with gated(remote) as gate:
        for name in names[:2]:
            gate.rule = Script("PUT", name, 503, 503)
            assert remote.srv.api("PUT", "/chunks/" + name, raw=objects[name])[0] == 204
            assert gate.rule.asked == 3 and remote.bucket.call("GET", remote.key(name)) == (200, objects[name])
        gate.rule = Script("GET", names[0], 503, 503)
        assert remote.chunk(names[0])[1] == objects[names[0]] and gate.rule.asked == 3
        # What came of the first answer is not left before the second.
        gate.rule = Script("GET", names[1], cut, cut)
        assert remote.chunk(names[1])[1] == objects[names[1]] and gate.rule.asked == 3
        # Many are asked about at once, and of one of them again.
        gate.rule = Script("HEAD", names[0], 503, 503)
        assert remote.srv.api("POST", "/missing", {"digests": names})[1] == {"missing": [2]}
        assert gate.rule.asked == 3
        assert metric(remote, "fetches_total") == 2 and metric(remote, "fetch_errors_total") == 0
        assert "damaged" not in remote.srv.text()


def test_list_without_end(remote, admin):
    """A storage whose list names the same page, or two by turns, as the next for ever: said in words, nothing is removed."""
    pages = []

    def circle(answer):
        pages.append(answer)
        return pages[(len(pages) - 1) % turns]

    with gated(remote) as gate:
        orphan = remote.key("00" * 32)
        assert remote.bucket.call("PUT", orphan, body=b"x" * 100)[0] == 200
        remote.push()
        before = remote.bucket.keys()
        assert len(before) > 2 * PAGE  # there is a third page
        gate.rule = lambda method, path: (circle if len(pages) < 10 else 403) if "?" in path else None
        for turns, asked in ((1, 2), (2, 4)):
            pages.clear()
            status, answer = remote.srv.api("POST", "/gc", {"grace_s": 0})
            assert status == 503 and "its list cannot be read" in answer["error"] and len(pages) == asked
        assert remote.bucket.keys() == before
        # A list that is cut off is asked for again.
        gate.rule = Script("GET", "prefix=objects%2F", cut)
        assert remote.srv.api("POST", "/gc", {"grace_s": 0})[1]["removed_objects"] == 1
        assert remote.bucket.keys() == [key for key in before if key != orphan]


def test_publish_when_pages_fail(remote, admin):
    """Of two table pages one is missing, of the other nothing can be learnt: no list of what is missing, for it is not whole."""
    disk, rnd = remote.tmp / "sparse.raw", random.Random(3)
    with open(disk, "wb") as f:
        for at in (0, 200 << 20):
            f.seek(at)
            f.write(rnd.randbytes(CHUNK))
        f.truncate(256 << 20)
    info = json.loads(freshet("image", "build", "--data", remote.tmp / "two", "--key", admin.path("site.key"), "--name", "two",
                              "--channel", "two", "--json", "-", disk).stdout)
    two = Site(remote.tmp / "two", disk, info)
    manifest = two.manifest()
    label = struct.unpack_from("<I", manifest, 44)[0]
    pages = [manifest[at:at + 32].hex() for at in range(160 + (label + 31) // 32 * 32, len(manifest) - 64, 32)]
    assert len(pages) == 2

    def publish():
        return remote.srv.api("PUT", "/manifests/" + two.version, raw=manifest)

    with gated(remote) as gate:
        remote.cli("push", "--data", two.data, "--key", admin.path("site.pub"), two.version)
        assert publish()[0] == 201
        assert remote.bucket.call("DELETE", remote.key(pages[0]))[0] == 204
        gate.rule = lambda method, path: 503 if method == "GET" and path.endswith(pages[1]) else None
        status, answer = publish()
        assert status == 503 and "the server fails" in answer["error"] and "missing" not in answer
        gate.rule = lambda *_: None
        end = time.time() + 10 * PATIENCE
        while publish()[0] == 503 and time.time() < end:
            time.sleep(0.2)
        assert publish() == (409, {"error": "objects are missing", "missing": [pages[0]]})
        with open(two.object(pages[0]), "rb") as f:
            assert remote.srv.api("PUT", "/chunks/" + pages[0], raw=f.read())[0] == 204
        assert publish()[0] == 201


def test_without_a_cache(remote, admin):
    """object_cache 0: from memory, to all that wait for it, and forgotten; so it is where no file can be made."""
    name, held = admin.stored()[0], threading.Event()
    got = []
    with gated(remote, "--set", "object_cache=0") as gate:
        remote.push()
        gate.rule = Script("GET", name, held)
        threads = [threading.Thread(target=lambda: got.append(remote.chunk(name))) for _ in range(5)]
        for t in threads:
            t.start()
        end = time.time() + 5 * PATIENCE
        while metric(remote, "connections") <= len(threads) and time.time() < end:
            time.sleep(0.02)
        held.set()
        for t in threads:
            t.join(30)
        assert metric(remote, "fetches_total") == 1
        got.append(remote.chunk(name))
        assert metric(remote, "fetches_total") == 2
        r, body = remote.srv.get("/v1/chunk/" + name, "HEAD")
        assert r.status == 200 and not body
    remote.start()
    (remote.data / "tmp").rmdir()
    (remote.data / "tmp").write_bytes(b"")
    got += [remote.chunk(name), remote.chunk(name)]
    assert metric(remote, "fetches_total") == 2
    assert len(got) == 8 and all(r.status == 200 and digest(plain(body)) == name for r, body in got)
    (remote.data / "tmp").unlink()


def test_uploaded_before_the_move(remote, admin):
    """What waited in the folder when its objects went to a bucket goes there when its version comes."""
    remote.srv = srv = Server(remote.site)
    names = stored_names(admin)
    for name in names:
        with open(admin.object(name), "rb") as f:
            assert srv.api("PUT", "/chunks/" + name, raw=f.read())[0] == 204
    assert set(remote.incoming()) == names and remote.local_objects() == []
    assert srv.stop() == 0
    remote.start()
    assert remote.bucket.keys() == []
    sent = remote.push().stdout
    assert int(re.search("(\\d+) bytes sent", sent).group(1)) == len(admin.manifest())
    assert {k[11:] for k in remote.bucket.keys()} == names
    assert remote.incoming() == [] and remote.local_objects() == []
    freshet("image", "verify", "--data", remote.data, admin.version)


def check(remote, code, *args):
    p = subprocess.run([FRESHETD, "--data", remote.data, "--set", "objects=" + remote.place, "--set",
                        "s3_credentials=%s" % remote.credentials, "--check-config", *args], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    assert code is None or p.returncode == code, p.stdout
    return p.stdout


def test_check_config(remote):
    """What is wrong with the settings is said before the server is started with them."""
    assert "in order" in check(remote, 0)
    assert not (remote.data / "objects.conf").exists()  # only looked
    good = remote.place
    for bad in ("s3://", "s3://b@http://h", "s3://Up@http://h", "s3://bucket", "s3://bucket@ftp://h", "s3://bucket@http://",
                "s3://bucket@http://u:p@h", "s3://bucket@http://h/Region!", "elsewhere", "s3://bucket@http://h/a/b"):
        remote.place = bad
        assert "neither" in check(remote, 1) and "BUCKET" in check(remote, 1)
    remote.place = good.replace("check-config", "no-such-bucket")
    assert "there is no such bucket" in check(remote, 1)
    remote.place = good.replace(REGION, "eu-west-1")
    assert "the region is wrong" in check(remote, 1)
    remote.place = good.replace("http:", "https:")
    assert "cannot be reached" in check(remote, 1)
    remote.place = good
    os.kill(remote.swift.p.pid, signal.SIGUSR1)
    end = time.time() + 10 * PATIENCE
    while "clock" not in check(remote, None) and time.time() < end:
        pass
    assert "clock" in check(remote, 1)
    os.kill(remote.swift.p.pid, signal.SIGUSR2)
    end = time.time() + 10 * PATIENCE
    while "not in order" in check(remote, None) and time.time() < end:
        pass
    assert "in order" in check(remote, 0)
    remote.write_key(USER, SECRET, 0o640)
    assert "can be read by others" in check(remote, 1)
    remote.credentials.write_text("access_key x\n")
    remote.credentials.chmod(0o600)
    assert "secret_key SECRET" in check(remote, 1)
    remote.credentials.unlink()
    assert "cannot read the credentials" in check(remote, 1)
    assert "s3_ca" in (remote.write_key(USER, SECRET) or check(remote, 1, "--set", "s3_ca=/nonexistent"))


def test_https(remote, admin):
    """Over TLS the storage's certificate counts; with the right authority all is as before."""
    remote.place = remote.place.replace("http://127.0.0.1:%d" % remote.swift.port, "https://127.0.0.1:%d" % remote.swift.tls_port)
    assert "the server's certificate is not trusted" in check(remote, 1)
    assert "in order" in check(remote, 0, "--set", "s3_ca=" + remote.swift.ca)
    remote.start("--set", "s3_ca=" + remote.swift.ca)
    remote.push()
    assert {k[11:] for k in remote.bucket.keys()} == stored_names(admin)
    r, body = remote.chunk(admin.stored()[0])
    assert r.status == 200 and digest(plain(body)) == admin.stored()[0]
    freshet("image", "verify", "--data", remote.data, admin.version)


def test_killed(remote, admin):
    """SIGKILL of the server in the middle of a push: nothing half-done is visible, gc takes nothing that waits, the next
    push goes on where it was."""
    sent, held, over = [], threading.Event(), threading.Event()

    def three(method, path):
        if method == "PUT" and OBJECT.search(path):
            sent.append(path)
            if len(sent) > 3:
                held.set()
                return over
        return None

    good = remote.place
    with Gate(remote.swift.port, three) as gate:
        remote.place = gate.place(remote)
        remote.start()
        p = subprocess.Popen([FRESHET, "push", "--data", admin.data, "--threads", "1", "lab/stable"], stderr=subprocess.PIPE,
                             env=dict(os.environ, FRESHET_SERVER="http://127.0.0.1:%d" % remote.srv.port,
                                      FRESHET_TOKEN_FILE=str(remote.data / "admin.token")))
        assert held.wait(20 * PATIENCE)
        remote.srv.p.kill()
        remote.srv.p.wait()
        over.set()
        p.communicate(timeout=60 * PATIENCE)
        gate.shutdown()
    remote.place = good
    assert p.returncode == 1 and not (remote.data / "manifests" / admin.version).exists()
    had = set(remote.bucket.keys())
    assert len(had) == 3 < len(stored_names(admin))
    srv = remote.start()
    assert srv.api("POST", "/gc", {"grace_s": 0})[1]["removed_objects"] == 0
    assert set(remote.bucket.keys()) == had
    sent = remote.push().stdout
    rest = sum(os.path.getsize(admin.object(d)) for d in stored_names(admin) if remote.key(d) not in had)
    assert int(re.search("(\\d+) bytes sent", sent).group(1)) == rest + len(admin.manifest())
    freshet("image", "verify", "--data", remote.data, admin.version)
    assert remote.incoming() == []


def test_pcs_boot(remote):
    """PCs, the VMM's own client and storage code, boot and copy a whole image of which the server has no object."""
    remote.start()
    remote.push()
    freshet("swarm", "--server", "127.0.0.1:%d" % remote.srv.port, "--data", remote.data, "--pcs", 4, "--boot", "256K", "--disk",
            "256M", "--seed", 7, "--limit", 60)
    assert remote.local_objects() == []


def test_storage_goes_and_comes_back(remote, admin):
    """Unreachable storage is 503, soon and in words; what is cached is served; all is well when it is back."""
    srv = remote.start()
    remote.push()
    warm, cold = admin.stored()[:2]
    assert remote.chunk(warm)[0].status == 200
    remote.swift.stop()

    def refused(name):
        begin = time.time()
        assert remote.chunk(name)[0].status == 503
        return time.time() - begin

    first = refused(cold)
    assert first < 10 * PATIENCE and min(refused(admin.stored()[2]) for _ in range(5)) < first / 2  # known by now
    assert "cannot be reached" in srv.text() and str(remote.swift.port) in srv.text()
    assert remote.chunk(warm)[0].status == 200
    assert srv.api("GET", "/status")[0] == 200
    assert "cannot be reached" in remote.push(ok=1).stderr
    assert "cannot be reached" in freshet("image", "verify", "--data", remote.data, admin.version, ok=1).stderr
    assert re.search("^BAD +objects .*cannot be reached", remote.cli("doctor", "--data", remote.data, ok=1).stdout, re.M)
    remote.swift.start()
    end = time.time() + 10 * PATIENCE
    while remote.chunk(cold)[0].status != 200 and time.time() < end:
        time.sleep(0.2)
    r, body = remote.chunk(cold)
    assert r.status == 200 and digest(plain(body)) == cold
    remote.push()


def test_storage_that_says_nothing(remote, admin):
    """A peer that takes connections and never answers: a time-out, not a hang; the server stops at once all the same."""
    srv = remote.start()
    remote.push()
    srv.stop()
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(50)
        remote.place = "s3://bucket@http://127.0.0.1:%d" % s.getsockname()[1]
        srv = remote.start()
        assert "does not answer" in srv.text()
        waiting = threading.Thread(target=lambda: remote.srv.connect().sendall(
            b"GET /v1/chunk/%s HTTP/1.1\r\nHost: x\r\n\r\n" % admin.stored()[0].encode()))
        waiting.start()
        waiting.join()
        assert srv.get("/metrics")[0].status == 200
        begin = time.time()
        assert srv.stop() == 0
        assert time.time() - begin < 10 * PATIENCE
    remote.srv = None


def test_back_to_the_folder(remote, admin):
    """A bucket and a folder are copies of each other; the setting says which is used, and is remembered."""
    srv = remote.start()
    remote.push()
    for key in remote.bucket.keys():
        path = remote.data / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(remote.bucket.call("GET", key)[1])
    srv.stop()
    remote.srv = srv = Server(remote.site)  # settings that say nothing: as the folder remembers
    assert remote.chunk(admin.stored()[0])[0].status == 200
    assert "freshet_fetches_total 1\n" in srv.get("/metrics")[1].decode()
    srv.stop()
    remote.srv = srv = Server(remote.site, "--set", "objects=folder")
    assert not (remote.data / "objects.conf").exists()
    assert remote.chunk(admin.stored()[0])[0].status == 200
    assert "freshet_fetches_total 0\n" in srv.get("/metrics")[1].decode()
