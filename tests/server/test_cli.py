"""freshet against a server: push, pull, machines, roll-outs; and what it does with versions: diff, mount, export, gc."""

import http.server
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import CHUNK, FRESHET, ROOT, Server, Site, freshet, make_disk, make_efi
from test_api import boot, machine, new_version, objects_of, until, uuid


@pytest.fixture
def cli(own_site, serve):
    """cli(*args): freshet as the admin of a running server."""
    srv = serve(own_site)
    env = {"FRESHET_SERVER": "http://127.0.0.1:%d" % srv.port, "FRESHET_TOKEN_FILE": own_site.path("admin.token"), "HOME": "/nonexistent"}

    def run(*args, ok=0):
        return freshet(*args, ok=ok, env=env).stdout

    run.srv, run.env, run.site = srv, env, own_site
    return run


def other_folder(site, tmp_path, mib=24, seed=9, name="other"):
    """A version in an admin's own folder, signed with the site's key."""
    data = tmp_path / "mine"
    disk = make_disk(tmp_path / "mine.raw", mib=mib, seed=seed)
    out = freshet("image", "build", "--data", data, "--key", site.path("site.key"), "--name", name, "--channel", "mine", "--json", "-",
                  disk).stdout
    shutil.copy(site.path("site.pub"), data / "site.pub")
    return data, disk, json.loads(out)


# ---------------------------------------------------------------- push, pull

def sent(out):
    return int(re.search(r"(\d+) bytes sent", out).group(1))


def test_push_and_pull(cli, tmp_path):
    data, disk, info = other_folder(cli.site, tmp_path)
    out = cli("push", "--data", data, "--channel", "lab/new", "mine")
    assert info["version"] in out and "channel  lab/new, serial 1" in out
    freshet("image", "verify", "--data", cli.site.data, info["version"])
    assert re.search(info["version"] + r" .* other .*\[lab/new\]", cli("image", "ls"))
    assert sent(cli("push", "--data", data, info["version"])) == len((data / "manifests" / info["version"]).read_bytes())
    assert not os.listdir(cli.site.path("incoming"))
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    shutil.copy(cli.site.path("site.pub"), fresh)
    cli("pull", "--data", fresh, "lab/new")
    freshet("image", "verify", "--data", fresh, info["version"])
    assert objects_of(fresh) == objects_of(data)
    cli("pull", "--data", fresh, info["version"][:8])
    assert "no version" in freshet("pull", "--data", fresh, "abcdef0123", ok=1, env=cli.env).stderr
    kinds = [e["text"] for e in cli.srv.api("GET", "/log")[1] if e["kind"] == "version"]
    assert any("published other" in t for t in kinds)


@pytest.mark.parametrize("greedy", ("/api/v1/missing", "/api/v1/manifests/"))
def test_push_to_a_server_that_never_has_enough(cli, tmp_path, greedy):
    """It names the same objects again and again, in the answer to the question or to the manifest: an error, and no memory overrun."""
    data, _, _ = other_folder(cli.site, tmp_path)
    again = next(iter(objects_of(data)))

    class Greedy(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            mine = self.path.startswith(greedy)
            names = [0] * 100000 if self.command == "POST" else [again] * 100000
            body = json.dumps({"missing": names if mine else []}).encode()
            self.send_response(409 if mine and self.command == "PUT" else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Greedy) as peer:
        threading.Thread(target=peer.serve_forever, daemon=True).start()
        env = dict(cli.env, FRESHET_SERVER="http://127.0.0.1:%d" % peer.server_port)
        assert "more objects than there are" in freshet("push", "--data", data, "mine", ok=1, env=env).stderr
        peer.shutdown()


def test_push_sends_what_changed(cli, tmp_path):
    """3 % of the chunks changed: at most 4 % of the bytes go over the wire."""
    rnd = random.Random(2)
    disk = tmp_path / "d.raw"
    disk.write_bytes(rnd.randbytes(400 * CHUNK))
    args = ["--data", tmp_path / "d", "--key", cli.site.path("site.key"), "--name", "d", "--channel", "mine"]
    freshet("image", "build", *args, disk)
    shutil.copy(cli.site.path("site.pub"), tmp_path / "d")
    first = sent(cli("push", "--data", tmp_path / "d", "mine"))
    with open(disk, "r+b") as f:
        for i in rnd.sample(range(400), 12):
            f.seek(i * CHUNK + 1000)
            f.write(b"changed")
    freshet("image", "build", *args, disk)
    second = sent(cli("push", "--data", tmp_path / "d", "mine"))
    print("first push %d bytes, second %d: %.2f %%" % (first, second, second * 100 / first))
    assert second <= first * 0.04


def test_push_is_taken_up_again(cli, tmp_path):
    """SIGKILL of the push, then of the server, in the middle; nothing is visible before the end, little is sent twice."""
    data = tmp_path / "mine"
    disk = tmp_path / "big.raw"
    disk.write_bytes(random.Random(4).randbytes(600 * CHUNK))
    info = json.loads(freshet("image", "build", "--data", data, "--key", cli.site.path("site.key"), "--name", "big", "--json", "-",
                              "--channel", "mine", disk).stdout)
    shutil.copy(cli.site.path("site.pub"), data / "site.pub")
    incoming = cli.site.path("incoming")

    def begin(least):
        p = subprocess.Popen([FRESHET, "push", "--data", data, "--threads", "2", "mine"], env=dict(os.environ, **cli.env),
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        until(lambda: len(os.listdir(incoming)) >= least or p.poll() is not None)
        return p

    p = begin(40)
    p.kill()
    p.wait()
    assert not os.path.exists(cli.site.path("manifests", info["version"]))
    had = len(os.listdir(incoming))
    p = begin(had + 40)
    cli.srv.signal(signal.SIGKILL)
    assert p.wait(60) == 1 and b"run it again" in p.stderr.read()
    assert not os.path.exists(cli.site.path("manifests", info["version"]))
    cli.srv.p.wait()
    srv = Server(cli.site)
    try:
        # What a power cut damaged on the way is found before it gets a name.
        names = [n for n in os.listdir(incoming) if len(n) == 64]
        env = dict(cli.env, FRESHET_SERVER="http://127.0.0.1:%d" % srv.port)
        out = freshet("push", "--data", data, "mine", env=env).stdout
        assert sent(out) <= (602 - len(names)) * (CHUNK + 8) + 100000
        freshet("image", "verify", "--data", cli.site.data, info["version"])
    finally:
        srv.stop()


def test_two_pushes_at_once(cli, tmp_path):
    data, _, info = other_folder(cli.site, tmp_path, mib=60)
    ps = [subprocess.Popen([FRESHET, "push", "--data", data, "mine"], env=dict(os.environ, **cli.env), stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [p.wait(60) for p in ps] == [0, 0, 0]
    freshet("image", "verify", "--data", cli.site.data, info["version"])
    assert not os.listdir(cli.site.path("incoming"))


def test_push_beside_gc(cli, tmp_path):
    """Objects that the server had when the push asked are collected before it publishes: they are sent."""
    freshet("channel", "set", "--data", cli.site.data, "lab/stable", new_version(cli.site, 5))
    os.unlink(cli.site.path("manifests", cli.site.version))  # its objects belong to nobody now
    data, _, info = other_folder(cli.site, tmp_path, seed=1)
    stop = threading.Event()

    def collect():
        while not stop.is_set():
            cli.srv.api("POST", "/gc", {"grace_s": 0})

    t = threading.Thread(target=collect)
    t.start()
    try:
        for _ in range(3):
            cli("push", "--data", data, "mine")
            freshet("image", "verify", "--data", cli.site.data, info["version"])
    finally:
        stop.set()
        t.join()
    freshet("image", "verify", "--data", cli.site.data, "lab/stable")


def test_push_to_a_full_disk(own_site, tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", mount], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("needs root to make a small file system")
    try:
        data = mount / "site"
        shutil.copytree(own_site.data, data)
        srv = Server(Site(data, own_site.disk, own_site.info))
        mine, _, info = other_folder(own_site, tmp_path, mib=40)
        with open(tmp_path / "mine.raw", "r+b") as f:
            f.write(os.urandom(20 << 20))
        freshet("image", "build", "--data", mine, "--key", own_site.path("site.key"), "--name", "o", "--channel", "mine", tmp_path / "mine.raw")
        env = {"FRESHET_SERVER": "http://127.0.0.1:%d" % srv.port, "FRESHET_TOKEN_FILE": str(data / "admin.token")}
        p = freshet("push", "--data", mine, "mine", ok=1, env=env)
        assert "room" in p.stderr or "space" in p.stderr, p.stderr
        assert srv.get("/v1/chunk/" + own_site.stored()[0])[0].status == 200
        freshet("image", "verify", "--data", data, "lab/stable")
        srv.stop()
    finally:
        subprocess.run(["umount", "-l", mount], check=False)


def test_push_over_tls(own_site, serve, tmp_path):
    srv = serve(own_site, "--listen-tls", "127.0.0.1:0", "--set", "plain_api=off")
    data, _, info = other_folder(own_site, tmp_path)
    env = {"FRESHET_SERVER": "https://localhost:%d" % srv.tls_port, "FRESHET_TOKEN_FILE": own_site.path("admin.token"), "HOME": str(tmp_path)}
    assert "cannot" in freshet("push", "--data", data, "mine", ok=1, env=env).stderr  # nobody we trust signed it
    freshet("push", "--data", data, "--ca", own_site.path("tls/ca.crt"), "mine", env=env)
    freshet("image", "verify", "--data", own_site.data, info["version"])
    # The same from ~/.config/freshet/client.conf.
    (tmp_path / ".config/freshet").mkdir(parents=True)
    (tmp_path / ".config/freshet/client.conf").write_text("# mine\nserver %s/\ntoken %s\nca %s\n" % (
        env["FRESHET_SERVER"], env["FRESHET_TOKEN_FILE"], own_site.path("tls/ca.crt")))
    assert "admin" in freshet("status", env={"HOME": str(tmp_path)}).stdout
    (tmp_path / "wrong").write_text("frt_" + "0" * 56 + "\n")
    assert "token" in freshet("status", "--token", tmp_path / "wrong", env={"HOME": str(tmp_path)}, ok=1).stderr


# ---------------------------------------------------------------- a lab's day

def test_machines(cli):
    for n in (1, 2, 3):
        boot(cli.srv, n)
    assert cli("machine", "ls").count("\n") == 4
    cli("group", "set", "lab3", "policy", "push")
    cli("machine", "set", uuid(1), uuid(2), "group", "lab3")
    cli("machine", "set", uuid(1), "name", "door")
    cli("machine", "set", "lab3", "note", "third floor")  # all of the group
    assert machine(cli.srv, 2)["note"] == "third floor" and boot(cli.srv, 2)["policy"] == "push"
    assert "door" in cli("machine", "ls", "lab3") and "door" in cli("machine", "show", "door")
    cli("machine", "set", "door", "claim", "serial:SN1")
    assert boot(cli.srv, 1)["claim"] == "serial:SN1"
    cli("machine", "set", "door", "claim", "-")
    assert boot(cli.srv, 1)["claim"] == "blank"
    cli("machine", "reset", "door")
    assert boot(cli.srv, 1)["policy"] == "boot"
    cli("machine", "set", "door", "pinned", "lab/stable")
    assert machine(cli.srv, 1)["pinned"] == cli.site.version
    cli("machine", "update", "door")
    assert machine(cli.srv, 1)["pinned"] is None
    cli("machine", "forget", uuid(3))
    assert len(cli.srv.api("GET", "/machines")[1]) == 2
    assert json.loads(cli("machine", "show", "--json", "door"))["name"] == "door"
    assert "no such machine" in freshet("machine", "show", "nobody", ok=1, env=cli.env).stderr
    assert "are called so" in freshet("machine", "show", "lab3", ok=1, env=cli.env).stderr
    assert "group" in freshet("machine", "set", "door", "group", "none", ok=1, env=cli.env).stderr
    cli("rule", "add", "address", "127.*", "lab3")
    boot(cli.srv, 9)
    assert machine(cli.srv, 9)["group"] == "lab3"
    assert "127.*" in cli("rule", "ls")
    cli("rule", "rm", "1")
    assert cli("rule", "ls") == ""
    cli("group", "rm", "lab3")
    assert "default" in cli("group", "ls")
    assert "new machine" in cli("log") and "machine.forget" in cli("audit")
    assert len(cli("log", "--count", "2").splitlines()) == 2
    freshet("log", "--count", "two", ok=2, env=cli.env)


def test_approve_and_wake(own_site, serve):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as magic:
        magic.bind(("127.0.0.1", 0))
        magic.settimeout(20)
        srv = serve(own_site, "--set", "enrol=approve", "--set", "wake_address=127.0.0.1:%d" % magic.getsockname()[1])
        env = {"FRESHET_SERVER": "http://127.0.0.1:%d" % srv.port, "FRESHET_TOKEN_FILE": own_site.path("admin.token"), "HOME": "/nonexistent"}
        path = "/v1/boot?uuid=%s&mac=52:54:00:00:00:01&disk=SN1" % uuid(1)
        assert srv.get(path)[0].status == 403
        assert uuid(1) in freshet("machine", "ls", "pending", env=env).stdout
        freshet("machine", "approve", uuid(1), env=env)
        assert srv.get(path)[0].status == 200
        freshet("machine", "wake", uuid(1), env=env)
        assert magic.recv(1000) == b"\xff" * 6 + bytes.fromhex("525400000001") * 16


def test_log_goes_on(cli):
    """--follow: what happens is printed as it happens."""
    p = subprocess.Popen([FRESHET, "log", "--follow"], stdout=subprocess.PIPE, text=True, env=dict(os.environ, **cli.env))
    try:
        for n in range(1, 100):  # the stream begins some time after the start
            boot(cli.srv, n)
            if select.select([p.stdout], [], [], 0.5)[0]:
                break
        assert "new machine" in p.stdout.readline()
    finally:
        p.terminate()
        p.wait(20)


def test_rollout(cli):
    v2 = new_version(cli.site, 2)
    cli("group", "set", "canary")
    for n in (1, 2):
        boot(cli.srv, n)
    cli("machine", "set", uuid(1), "group", "canary")
    assert "canary" in cli("rollout", "start", "--canary", "canary", "lab/stable", v2[:10])
    assert boot(cli.srv, 1)["version"] == v2 and boot(cli.srv, 2)["version"] == cli.site.version
    assert re.search(r"lab/stable +serial 2 +" + v2, cli("rollout", "promote", "1"))
    assert boot(cli.srv, 2)["version"] == v2
    assert cli.site.version in cli("rollback", "lab/stable")
    assert boot(cli.srv, 2)["version"] == cli.site.version
    assert "done" in cli("rollout", "ls") and re.search(r"lab/stable +serial 3", cli("channel", "ls"))
    cli("rollout", "start", "--at", "+1h", "lab/stable", v2)
    assert "scheduled" in cli("rollout", "ls")
    assert "cancelled" in cli("rollout", "cancel", "2")
    cli("rollout", "start", "--at", "+1h", "--promote-after", "2h", "--canary", "canary", "--note", "after the exams", "lab/stable", v2)
    last = cli.srv.api("GET", "/rollouts")[1][0]
    assert last["note"] == "after the exams" and last["promote_after"] == 7200
    cli("rollout", "cancel", "3")
    freshet("rollout", "start", "--promote-after", "soon", "lab/stable", v2, ok=2, env=cli.env)
    freshet("rollout", "start", "--at", "yesterday", "lab/stable", v2, ok=2, env=cli.env)
    assert "another" in freshet("rollback", "lab/none", ok=1, env=cli.env).stderr or True
    cli.srv.get("/v1/report", "POST", json.dumps({"uuid": uuid(1), "disk": "SN1", "state": "ready", "version": cli.site.version}))
    out = cli("cost", "--group", "canary", v2)
    assert re.search(r"from " + cli.site.version[:12] + r" +1 machines", out) and "over the line" in out


def test_tokens(cli):
    token = cli("token", "add", "eve", "reader").strip()
    assert cli.srv.api("GET", "/status", token=token)[1]["who"] == "eve"
    assert "eve" in cli("token", "ls")
    cli("token", "rm", "eve")
    assert cli.srv.api("GET", "/status", token=token)[0] == 401
    cli("token", "add", "guest", "reader", "--days", "2")
    ends = [t["expires"] for t in cli.srv.api("GET", "/tokens")[1] if t["name"] == "guest"][0]
    assert abs(ends - time.time() - 2 * 86400) < 600
    assert "role" in freshet("token", "add", "x", "king", ok=1, env=cli.env).stderr


# ---------------------------------------------------------------- versions

def partitioned(path, seed):
    """A small disk with a GPT: FAT32 and ext4."""
    with open(path, "wb") as f:
        f.truncate(96 << 20)
    subprocess.run(["sfdisk", "-q", path], input="label: gpt\nstart=2048, size=81920, type=U, name=esp\nstart=83968, size=102400, name=root\n",
                   text=True, check=True)
    fs = str(path) + ".fs"
    rnd = random.Random(seed)
    for command, start, size in ((["mkfs.fat", "-F", "32", "-i", "1234abcd"], 2048, 81920),
                                 (["mkfs.ext4", "-q", "-U", "clear", "-E", "hash_seed=" + uuid(1)], 83968, 102400)):
        with open(fs, "wb") as f:
            f.truncate(size * 512)
        subprocess.run(command + [fs], check=True, stdout=subprocess.DEVNULL)
        with open(path, "r+b") as f, open(fs, "rb") as g:
            f.seek(start * 512)
            f.write(g.read())
    with open(path, "r+b") as f:
        f.seek(70 << 20)
        f.write(rnd.randbytes(3 * CHUNK))
    os.unlink(fs)
    return str(path)


def test_show_and_diff(own_site, tmp_path):
    disk = partitioned(tmp_path / "a.raw", 1)
    build = ["image", "build", "--data", own_site.data, "--name", "p", "--channel"]
    freshet(*build, "p/a", disk)
    with open(disk, "r+b") as f:
        f.seek(70 << 20)
        f.write(os.urandom(2 * CHUNK))
    freshet(*build, "p/b", disk)
    out = freshet("image", "show", "--data", own_site.data, "p/a").stdout
    assert re.search(r"part 1 +esp +fat32 +40 MiB", out) and re.search(r"part 2 +root +ext4 +50 MiB", out)
    out = freshet("image", "diff", "--data", own_site.data, "p/a", "p/b").stdout
    assert re.search(r"part 1 .* 0 of +\d+ chunks changed", out) and re.search(r"part 2 .* 2 of +\d+ chunks changed", out)
    assert "fetches 3 objects" in out
    assert "no partition table" in freshet("image", "show", "--data", own_site.data, "lab/stable").stdout


def test_mount_and_export(own_site, tmp_path):
    """The version as a disk over NBD, read by qemu-img and by libnbd; and written as qcow2."""
    sock = str(tmp_path / "nbd")
    p = subprocess.Popen([FRESHET, "image", "mount", "--data", own_site.data, "--socket", sock, "lab/stable"], stdout=subprocess.PIPE, text=True)
    url = p.stdout.readline().strip()
    assert url == "nbd+unix:///test?socket=" + sock and os.stat(sock).st_mode & 0o777 == 0o600
    info = json.loads(subprocess.run(["qemu-img", "info", "--output=json", url], stdout=subprocess.PIPE, check=True).stdout)
    assert info["virtual-size"] == own_site.info["image_bytes"]
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", url, tmp_path / "out.raw"], check=True)
    assert open(tmp_path / "out.raw", "rb").read() == open(own_site.disk, "rb").read()
    w = subprocess.run(["qemu-io", "-f", "raw", "-c", "write 0 4k", url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert "read-only" in w.stdout.lower() or "permission" in w.stdout.lower(), w.stdout
    # A client that speaks nonsense ends itself only.
    for junk in (b"", b"\0" * 4, b"\0\0\0\1" + b"x" * 16, b"\0\0\0\1IHAVEOPT" + b"\0\0\0\7\xff\xff\xff\xff"):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(sock)
            s.sendall(junk)
            s.shutdown(socket.SHUT_WR)
            while s.recv(4096):
                pass
    assert subprocess.run(["qemu-img", "info", url], stdout=subprocess.DEVNULL, check=False).returncode == 0
    # A damaged object is an I/O error, not other data.
    victim = own_site.object(own_site.stored()[0])
    with open(victim, "r+b") as f:
        f.seek(100)
        f.write(b"damage")
    bad = subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", url, tmp_path / "bad.raw"], stderr=subprocess.PIPE, check=False)
    assert bad.returncode and b"Input/output error" in bad.stderr
    p.send_signal(signal.SIGTERM)
    assert p.wait(10) == 0 and not os.path.exists(sock)
    os.unlink(victim)
    freshet("image", "build", "--data", own_site.data, "--name", "test", own_site.disk)
    for fmt in ("qcow2", "vmdk"):
        freshet("image", "export", "--quiet", "--data", own_site.data, "--format", fmt, "lab/stable", tmp_path / ("out." + fmt))
        assert subprocess.run(["qemu-img", "compare", own_site.disk, tmp_path / ("out." + fmt)], stdout=subprocess.DEVNULL,
                              check=False).returncode == 0
    os.unlink(own_site.object(own_site.stored()[1]))
    freshet("image", "export", "--quiet", "--data", own_site.data, "--format", "qcow2", "lab/stable", tmp_path / "x.qcow2", ok=1)


def test_mount_at_a_port(own_site):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    p = subprocess.Popen([FRESHET, "image", "mount", "--data", own_site.data, "--port", str(port), "lab/stable"], stdout=subprocess.PIPE, text=True)
    url = p.stdout.readline().strip()
    assert url.startswith("nbd://") and ":%d" % port in url
    assert subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", own_site.disk, url], stdout=subprocess.DEVNULL, check=False).returncode == 0
    p.send_signal(signal.SIGINT)
    assert p.wait(10) == 0


def test_rm_on_a_server(cli):
    v2 = new_version(cli.site, 2)
    cli.srv.get("/v1/report", "POST", json.dumps({"uuid": uuid(1), "disk": "SN1", "state": "ready", "version": v2}))
    boot(cli.srv, 1)
    cli.srv.get("/v1/report", "POST", json.dumps({"uuid": uuid(1), "disk": "SN1", "state": "ready", "version": v2}))
    until(lambda: freshet("image", "rm", v2, ok=1, env=cli.env))
    assert os.path.exists(cli.site.path("manifests", v2))
    cli("image", "rm", "--force", v2)
    assert not os.path.exists(cli.site.path("manifests", v2))


def test_rm_and_gc(own_site):
    s = own_site
    v2 = new_version(s, 2)
    assert "points at it" in freshet("image", "rm", "--data", s.data, s.version, ok=1).stderr
    freshet("image", "rm", "--data", s.data, v2)
    assert re.search(r"would remove [1-9]", freshet("gc", "--data", s.data, "--dry-run", "--grace", "0").stdout)
    assert "removed 0 objects" in freshet("gc", "--data", s.data).stdout
    freshet("gc", "--data", s.data, "--grace", "0")
    freshet("image", "verify", "--data", s.data, "lab/stable")
    left = objects_of(s.data)
    freshet("gc", "--data", s.data, "--grace", "0")
    assert objects_of(s.data) == left
    # A manifest that cannot be read: nothing goes.
    v3 = new_version(s, 3)
    freshet("image", "rm", "--data", s.data, v3)
    with open(s.path("manifests", "0" * 64), "wb") as f:
        f.write(b"?")
    before = objects_of(s.data)
    assert "nothing was removed" in freshet("gc", "--data", s.data, "--grace", "0", ok=1).stderr
    assert objects_of(s.data) == before


def test_gc_killed(own_site):
    """SIGKILL all over a gc: what is published stays whole, the rest goes the next time."""
    s = own_site
    for i in range(6):
        freshet("image", "rm", "--data", s.data, new_version(s, 20 + i))
        p = subprocess.Popen([FRESHET, "gc", "--data", s.data, "--grace", "0"], stdout=subprocess.DEVNULL)
        time.sleep(0.002 * i)
        p.kill()
        p.wait()
        freshet("image", "verify", "--data", s.data, "lab/stable")
    freshet("gc", "--data", s.data, "--grace", "0")
    keep = {d.hex() for d in s.digests() if any(d)}
    assert set(objects_of(s.data)) - keep == {n for n in objects_of(s.data) if n not in keep} and len(objects_of(s.data)) == len(keep) + 1


# ---------------------------------------------------------------- doctor

def test_doctor(cli, tmp_path):
    s = cli.site
    p = freshet("doctor", "--data", s.data, ok=1, env=cli.env)
    assert "no freshet.efi" in p.stdout and "status 404" in p.stdout
    freshet("boot", "build", "--data", s.data, "--efi", make_efi(tmp_path / "e.efi"), "--server", "127.0.0.1:%d" % cli.srv.port)
    out = cli("doctor", "--data", s.data)
    assert "nothing is wrong" in out and "with this site's key" in out and re.search(r"clock +the server's differs by -?[01] s", out)
    os.chmod(s.path("site.key"), 0o644)
    assert "chmod 600" in freshet("doctor", "--data", s.data, ok=1, env=cli.env).stdout
    os.chmod(s.path("site.key"), 0o600)
    other = make_efi(tmp_path / "o.efi")
    freshet("key", "new", tmp_path / "o")
    freshet("boot", "build", "--data", tmp_path / "o", "--efi", other, "--server", "x:1", "--no-esp")
    shutil.copy(tmp_path / "o/netboot/freshet.efi", s.path("netboot/freshet.efi"))
    assert "another site's key" in freshet("doctor", "--data", s.data, ok=1, env=cli.env).stdout
    os.unlink(s.object(s.stored()[0]))
    assert "1 objects are missing" in freshet("doctor", "--data", s.data, ok=1, env=cli.env).stdout
    cli.srv.stop()
    assert "cannot be reached" in freshet("doctor", "--data", s.data, ok=1, env=cli.env).stdout


def test_doctor_asks_dnsmasq(tmp_path):
    """DHCP and TFTP of a real dnsmasq, in a network namespace of its own."""
    if subprocess.run(["unshare", "-n", "true"], check=False, stderr=subprocess.DEVNULL).returncode or not shutil.which("dnsmasq"):
        pytest.skip("needs root for a network namespace, and dnsmasq")
    tftp = tmp_path / "tftp"
    tftp.mkdir()
    (tftp / "ipxe.efi").write_bytes(b"x" * 3000)
    os.chmod(tmp_path, 0o755)
    conf = open(os.path.join(ROOT, "boot/dnsmasq/freshet.conf"), encoding="utf-8").read()
    conf = conf.replace("interface=eth0", "interface=lab0").replace("/srv/tftp", str(tftp))
    (tmp_path / "conf").write_text(re.sub(r"(?m)^dhcp-range=.*", "dhcp-range=10.0.0.100,10.0.0.250,12h", conf))
    script = """set -e
ip link set lo up
ip link add lab0 type veth peer name pc0
ip addr add 10.0.0.1/24 dev lab0; ip link set lab0 up
unshare -n sleep 50 &
sleep 0.5
pc=$!
ip link set pc0 netns $pc
nsenter -t $pc -n ip link set pc0 up
dnsmasq -k -C %s --leasefile-ro --user=root --pid-file= &
sleep 3
nsenter -t $pc -n %s doctor --dhcp pc0 || true
%s doctor --tftp 10.0.0.1 || true
%s doctor --tftp 10.0.0.1 --tftp-file none.efi || true
kill $pc $!
""" % (tmp_path / "conf", FRESHET, FRESHET, FRESHET)
    out = subprocess.run(["unshare", "-n", "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
                         env=dict(os.environ, FRESHET_TOKEN_FILE="/nonexistent")).stdout
    assert re.search(r"ok +dhcp +10\.0\.0\.1 offers ipxe\.efi from 10\.0\.0\.1", out), out
    assert re.search(r"ok +tftp +10\.0\.0\.1 has ipxe\.efi", out) and re.search(r"BAD +tftp +10\.0\.0\.1: no none\.efi", out), out
