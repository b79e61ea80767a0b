"""The PC fetches over TLS, from its own site's server and from no other."""

import contextlib
import os
import re
import sqlite3
import time

import lab

FRESHET = os.path.join(lab.BUILD, "freshet")


def serve_tls(server, *args):
    """freshetd again, with a TLS port; plain objects refused, so that nothing goes another way. Returns that port."""
    server.stop()
    port = lab.free_port()
    server.start("--listen-tls", "127.0.0.1:%d" % port, "--set", "plain_objects=off", *args)
    return port


def off(pc):
    pc.com1.send("poweroff -f\n")
    pc.wait_end()


def proven(site):
    """Wait until the server has seen the machine's credential."""
    end = time.monotonic() + 120 * lab.PATIENCE
    with contextlib.closing(sqlite3.connect("file:%s/fleet.db?mode=ro" % site, uri=True)) as db:
        while db.execute("SELECT count(*) FROM machines WHERE credential IS NOT NULL").fetchone()[0] != 1:
            assert time.monotonic() < end, "the credential was not used"
            time.sleep(0.2)


def test_streams_over_tls(site, server, disk, start, folder):
    port = serve_tls(server, "--set", "tls_names=10.0.2.2")
    pc = start("pc", disk, options=["server https://10.0.2.2:%d" % port])
    pc.tiny()
    pc.check_no_escape()
    pc.sh("verify", 400)
    proven(site)
    log = pc.vmm_log()
    assert "client: connected server=10.0.2.2:%d" % port in log
    assert "tls: server refused" not in log and "tls: handshake failed" not in log
    off(pc)
    # It is known by its credential now. Another disk of the same serial number has none.
    other = lab.Disk(os.path.join(folder, "other.raw"), 1024)
    pc = start("other", other, options=["server https://10.0.2.2:%d" % port])
    pc.com1.wait(r"FR-64 [\s\S]*UUID[\s\S]*Enter: restart", 90, "the message FR-64", bad=r"tiny login")
    pc.kill()
    assert os.stat(other.path).st_blocks == 0


def test_refuses_another_sites_server(site, server, disk, start, folder):
    """A server with a certificate for the right address, signed by another site's key."""
    other = os.path.join(folder, "other")
    lab.run(FRESHET, "key", "new", other)
    with lab.Server(other, os.path.join(folder, "other.log"),
                    args=["--listen-tls", "127.0.0.1:%d" % lab.free_port(), "--set", "tls_names=10.0.2.2"]):
        pass
    port = serve_tls(server, "--set", "tls_cert=%s/tls/server.crt" % other,
                     "--set", "tls_key=%s/tls/server.key" % other)
    pc = start("pc", disk, options=["server https://10.0.2.2:%d" % port])
    pc.com1.wait(r"FR-62 [\s\S]*10\.0\.2\.2:%d is not this site's server[\s\S]*Enter: restart" % port, 90,
                 "the message FR-62", bad=r"starting \\|tiny login")
    assert re.search(r"tls: server refused why=not-signed-by-site-key", pc.vmm_log())
    pc.kill()
    assert os.stat(disk.path).st_blocks == 0
