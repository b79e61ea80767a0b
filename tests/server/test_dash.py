"""The dashboard over HTTP: pages, log in and out, sessions, what other sites cannot do."""

import json
import re
import urllib.parse

from test_api import boot, uuid


def log_in(srv, token, **headers):
    r, _ = srv.get("/login", "POST", urllib.parse.urlencode({"token": token}), headers)
    return r, (r.getheader("Set-Cookie") or "").partition(";")[0]


def test_pages(own_site, serve):
    srv = serve(own_site)
    r, _ = srv.get("/")
    assert r.status == 303 and r.getheader("Location") == "/login"
    for path, kind in (("/login", "text/html"), ("/dash/app.js", "text/javascript"), ("/dash/style.css", "text/css")):
        r, data = srv.get(path)
        assert r.status == 200 and r.getheader("Content-Type").startswith(kind)
        assert "default-src 'none'" in r.getheader("Content-Security-Policy")
        assert not re.search(rb"https?://(?!www\.w3\.org)", data), "something from elsewhere in " + path
    assert srv.get("/dash/../site.key")[0].status == 404
    assert srv.get("/login", "PUT", "")[0].status == 405
    assert serve(own_site, "--set", "dashboard=off").get("/login")[0].status == 404


def test_session(own_site, serve):
    srv = serve(own_site)
    reader = srv.api("POST", "/tokens", {"name": "eve", "role": "reader"})[1]["token"]
    r, cookie = log_in(srv, "frt_" + "0" * 56)
    assert r.status == 303 and r.getheader("Location") == "/login?wrong#wrong" and not cookie
    r, cookie = log_in(srv, reader)
    text = r.getheader("Set-Cookie")
    assert r.status == 303 and r.getheader("Location") == "/" and "HttpOnly" in text and "SameSite=Strict" in text
    assert reader not in text  # the session is a token of its own
    r, data = srv.get("/", headers={"Cookie": cookie})
    assert r.status == 200 and b'id="labs"' in data
    r, data = srv.get("/api/v1/status", headers={"Cookie": "x=y; " + cookie})
    assert r.status == 200 and json.loads(data)["role"] == "reader"
    boot(srv, 1)
    page = srv.get("/plain", headers={"Cookie": cookie})[1].decode()
    assert "<table>" in page and "lab/stable" not in page
    r, _ = srv.get("/logout", "POST", "", {"Cookie": cookie})
    assert r.status == 303 and "Max-Age=0" in r.getheader("Set-Cookie")
    assert srv.get("/api/v1/status", headers={"Cookie": cookie})[0].status == 401
    assert srv.api("GET", "/status", token=reader)[0] == 200  # the token itself stays
    codes = [log_in(srv, "frt_" + "1" * 56)[0].status for _ in range(12)]
    assert codes.count(429) >= 2


def test_other_sites_cannot(own_site, serve):
    """A form of another site sends the cookie at most; that changes nothing."""
    srv = serve(own_site)
    _, cookie = log_in(srv, srv.token())
    body = json.dumps({"channel": "lab/stable"})
    r, data = srv.get("/api/v1/rollback", "POST", body, {"Cookie": cookie})
    assert r.status == 403 and b"X-Freshet" in data
    r, _ = srv.get("/api/v1/rollback", "POST", body, {"Cookie": cookie, "X-Freshet": "1"})
    assert r.status == 409  # asked, and there is nothing to go back to
    assert srv.get("/api/v1/status", "OPTIONS", "", {"Origin": "https://evil.test"})[0].status == 501
    assert srv.get("/api/v1/status")[0].getheader("Access-Control-Allow-Origin") is None


def test_hostile_names_stay_text(own_site, serve):
    srv = serve(own_site)
    srv.get("/v1/report", "POST", json.dumps({"uuid": uuid(1), "state": "<script>1", "text": '"><img src=x onerror=y>', "mac": "<b>"}))
    _, cookie = log_in(srv, srv.token())
    page = srv.get("/plain", headers={"Cookie": cookie})[1].decode()
    assert "<script>1" not in page and "&lt;script>1" in page and "<img" not in page
    js = srv.get("/dash/app.js")[1].decode()
    assert "innerHTML" not in js and "insertAdjacentHTML" not in js and "eval(" not in js
