"""HTTPS: versions, the certificate and who signed it, the same service as plain; and the first start."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time

import pytest

from conftest import BUILD, FRESHET, FRESHETD, ROOT, UUID, digest, plain, read_all, split_replies
from test_freshetd import BOOT, request, ticket_of


def context(site, low=None, high=None):
    c = ssl.create_default_context(cafile=site.path("tls/ca.crt"))
    if low:
        c.minimum_version = low
    if high:
        c.maximum_version = high
    return c


def connect(site, srv, ctx=None, name="localhost", timeout=20):
    s = socket.create_connection(("127.0.0.1", srv.tls_port), timeout)
    return (ctx or context(site)).wrap_socket(s, server_hostname=name)


def get(site, srv, path, method="GET", body=None, headers=None):
    c = http.client.HTTPSConnection("127.0.0.1", srv.tls_port, timeout=20, context=context(site))
    c.request(method, path, body, headers or {})
    r = c.getresponse()
    data = r.read()
    c.close()
    return r, data


def test_same_service(own_site, serve):
    srv = serve(own_site, "--listen-tls", "127.0.0.1:0", "--set", "plain_objects=off", "--set", "plain_api=off")
    for d in own_site.stored()[:4]:
        r, obj = get(own_site, srv, "/v1/chunk/" + d)
        assert r.status == 200 and digest(plain(obj)) == d
    assert srv.get("/v1/chunk/" + own_site.stored()[0])[0].status == 403
    assert ticket_of(get(own_site, srv, BOOT)[1])[2]["version"] == own_site.version
    auth = {"Authorization": "Bearer " + srv.token()}
    assert get(own_site, srv, "/api/v1/status", headers=auth)[0].status == 200
    assert srv.api("GET", "/status")[0] == 403
    assert get(own_site, srv, "/metrics", headers=auth)[0].status == 200
    # Pipelined, more than the server queues at once, whole and in order.
    want = own_site.stored() * 20
    with connect(own_site, srv) as s:
        s.sendall(b"".join(request("/v1/chunk/" + d) for d in want[:-1]) + request("/v1/chunk/" + want[-1],
                                                                                  "Connection: close\r\n"))
        assert [digest(plain(b)) for _, _, b in split_replies(read_all(s))] == want


def test_versions(own_site, serve):
    srv = serve(own_site, "--listen-tls", "127.0.0.1:0")
    for v, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        with connect(own_site, srv, context(own_site, v, v)) as s:
            assert s.version() == name and s.cipher()[0].split("_")[-1] != "SHA"
    old = context(own_site, ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(own_site, srv, old)
    weak = context(own_site, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
    weak.set_ciphers("AES128-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(own_site, srv, weak)


def test_certificate_is_the_sites(own_site, serve):
    """Signed by the site's key, which every PC knows; for this host's names only; mended when it is not good any more."""
    srv = serve(own_site, "--listen-tls", "127.0.0.1:0", "--set", "tls_names=freshet.test 10.9.8.7")
    for name in ("localhost", "127.0.0.1", "freshet.test", "10.9.8.7"):
        connect(own_site, srv, name=name).close()
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(own_site, srv, name="other.test")
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(own_site, srv, ssl.create_default_context())
    text = subprocess.run(["openssl", "x509", "-in", own_site.path("tls/ca.crt"), "-noout", "-pubkey"], check=True,
                          stdout=subprocess.PIPE).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=text, check=True,
                         stdout=subprocess.PIPE).stdout
    assert der[-64:].hex() == open(own_site.path("site.pub"), encoding="ascii").read().strip()
    assert os.stat(own_site.path("tls/server.key")).st_mode & 0o777 == 0o600

    def files():
        return [open(own_site.path("tls", n), "rb").read() for n in ("ca.crt", "server.crt", "server.key")]

    before = files()
    srv.stop()
    srv = serve(own_site, "--listen-tls", "127.0.0.1:0", "--set", "tls_names=freshet.test 10.9.8.7")
    assert files() == before  # nothing to mend
    srv.stop()
    srv = serve(own_site, "--listen-tls", "127.0.0.1:0", "--set", "tls_names=new.test")
    connect(own_site, srv, name="new.test").close()
    after = files()
    assert after[1] != before[1] and (after[0], after[2]) == (before[0], before[2])
    os.unlink(own_site.path("tls/server.crt"))  # while it runs: made again on SIGHUP, taken without a restart
    srv.signal(signal.SIGHUP)
    end = time.time() + 10
    while not os.path.exists(own_site.path("tls/server.crt")) and time.time() < end:
        time.sleep(0.05)
    time.sleep(0.3)
    with connect(own_site, srv, name="new.test") as s:
        serial = s.getpeercert()["serialNumber"]
    out = subprocess.run(["openssl", "x509", "-in", own_site.path("tls/server.crt"), "-noout", "-serial"], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    assert out.strip() == "serial=" + serial


def test_hostile_handshakes(own_site, serve):
    srv = serve(own_site, "--listen-tls", "127.0.0.1:0")
    for junk in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01" + b"\xff" * 300, b"", b"\x80" * 70000):
        with socket.create_connection(("127.0.0.1", srv.tls_port), 20) as s:
            try:
                s.sendall(junk)
                s.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            assert not read_all(s).startswith(b"HTTP")
    s = connect(own_site, srv)  # cut in the middle of a request
    s.sendall(b"GET /v1/chunk/")
    s.shutdown(socket.SHUT_RDWR)
    s.close()
    t = time.time()
    with socket.create_connection(("127.0.0.1", srv.tls_port), 60) as s:  # never says a word
        assert read_all(s) == b"" and 15 < time.time() - t < 40
    connect(own_site, srv).close()


# ---------------------------------------------------------------- the first start

def start_and_stop(*args):
    p = subprocess.Popen([FRESHETD] + list(args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    out = ""
    for line in p.stdout:
        out += line
        if "tls=1" in line:
            time.sleep(0.3)
            p.send_signal(signal.SIGTERM)
    return p.wait(20), out


def test_first_start(tmp_path):
    conf, data = tmp_path / "freshetd.conf", tmp_path / "data"
    with open(os.path.join(ROOT, "server/freshetd.conf"), encoding="utf-8") as f:
        text = re.sub(r"(?m)^(data|listen|listen_tls) .*", lambda m: {
            "data": "data %s" % data, "listen": "listen 127.0.0.1:0", "listen_tls": "listen_tls 127.0.0.1:0"}[m.group(1)], f.read())
    conf.write_text(text)
    code, out = start_and_stop("--config", str(conf))
    assert code == 0, out
    assert "made a new site" in out and "keep a copy of the key" in out and "admin.token" in out and "what next" in out
    key = (data / "site.key").read_bytes()
    token = (data / "admin.token").read_bytes()
    for name in ("site.key", "admin.token", "tls/server.key"):
        assert os.stat(data / name).st_mode & 0o777 == 0o600, name
    code, out = start_and_stop("--config", str(conf))  # the second changes nothing
    assert code == 0 and "made" not in out
    assert (data / "site.key").read_bytes() == key and (data / "admin.token").read_bytes() == token
    # A folder with images whose key has gone is not begun anew.
    (data / "manifests" / ("0" * 64)).write_bytes(b"x")
    (data / "site.key").unlink()
    code, out = start_and_stop("--config", str(conf))
    assert code == 1 and "put it back" in out and not (data / "site.key").exists()


def test_check_config(own_site, tmp_path):
    def check(*lines):
        (tmp_path / "c").write_text("data %s\n" % own_site.data + "\n".join(lines) + "\n")
        p = subprocess.run([FRESHETD, "--config", str(tmp_path / "c"), "--check-config"], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, check=False, timeout=20)
        return p.returncode, p.stdout

    assert check()[0] == 0
    assert check("listen_tls 127.0.0.1:0")[0] == 0
    before = sorted(os.listdir(own_site.data))
    code, out = check("frob 1")
    assert code == 1 and "line 2: frob: no such setting" in out
    assert check("max_connections 0")[0] == 1
    code, out = check("listen_tls 127.0.0.1:0", "tls_cert /nonexistent.crt")
    assert code == 1 and "/nonexistent.crt" in out
    shutil.copy(own_site.path("site.pub"), tmp_path / "bad.crt")
    assert check("listen_tls 127.0.0.1:0", "tls_cert %s" % (tmp_path / "bad.crt"))[0] == 1
    assert sorted(os.listdir(own_site.data)) == before


def test_boot_files_for_tls(own_site, serve, tmp_path):
    """An https server for the PCs: plain HTTP for iPXE, and a certificate that names the address."""
    def build(*args):
        return subprocess.run([FRESHET, "boot", "build", "--data", own_site.path(""), "--efi",
                               os.path.join(BUILD, "freshet.efi"), "--no-esp", *args],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)

    p = build("--server", "https://10.7.8.9:8443")
    assert p.returncode and "--netboot" in p.stdout
    p = build("--server", "https://10.7.8.9:8443/", "--netboot", "http://10.7.8.9:8080")
    assert p.returncode == 0, p.stdout
    assert open(own_site.path("netboot/freshet.conf"), encoding="utf-8").read().startswith(
        "server https://10.7.8.9:8443\n")
    script = open(own_site.path("netboot/boot.ipxe"), encoding="utf-8").read()
    assert "http://10.7.8.9:8080/freshet.efi" in script and "server=https://10.7.8.9:8443" in script
    srv = serve(own_site, "--listen-tls", "127.0.0.1:0")
    with connect(own_site, srv) as s:
        assert ("IP Address", "10.7.8.9") in s.getpeercert()["subjectAltName"]


def bearer(text):
    return {"Authorization": "Bearer " + text}


def test_credentials_of_machines(own_site, serve):
    """Issued over TLS alone; proven once used; then nothing else will do until the machine is forgotten."""
    srv = serve(own_site, "--listen-tls", "127.0.0.1:0")
    assert "credential" not in ticket_of(srv.get(BOOT)[1])[2]
    assert "credential" not in ticket_of(srv.get(BOOT, headers=bearer("frm_new"))[1])[2]
    assert "credential" not in ticket_of(get(own_site, srv, BOOT)[1])[2]
    mine = "frm_" + ticket_of(get(own_site, srv, BOOT, headers=bearer("frm_new"))[1])[2]["credential"]
    assert "credential" not in ticket_of(get(own_site, srv, BOOT, headers=bearer(mine))[1])[2]
    for other in ({}, bearer("frm_new"), bearer("frm_" + 64 * "0"), bearer(mine[:-1])):
        r, text = get(own_site, srv, BOOT, headers=other)
        assert r.status == 401 and b"another credential" in text
    assert srv.get(BOOT)[0].status == 401
    report = json.dumps({"uuid": UUID, "disk": "SN1", "state": "ready"}).encode()
    assert get(own_site, srv, "/v1/report", "POST", report)[0].status == 401
    assert get(own_site, srv, "/v1/report", "POST", report, bearer(mine))[0].status == 204
    assert mine[4:] not in srv.text()
    assert srv.api("DELETE", "/machines/1")[0] in (200, 204)
    again = ticket_of(get(own_site, srv, BOOT, headers=bearer(mine))[1])[2]["credential"]
    assert "frm_" + again != mine
