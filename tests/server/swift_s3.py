"""A real S3 server for tests: OpenStack Swift with its S3 API, all of its parts in this one process.

    swift_s3.py DIR USER SECRET [PORT]

Account, container, object and proxy server each listen on loopback; the objects lie in DIR as files with extended
attributes. "ready PORT TLSPORT" on standard output says where the proxy is; TLSPORT is 0 without DIR/tls.pem, a
certificate and its key. USER and SECRET are the access key ("account:name") and its secret; region us-east-1.
SIGUSR1 puts its clock forward by an hour, SIGUSR2 right again, SIGTERM ends it. Packages: python3-swift alone, which
installs no service.
"""

import os
import signal
import sys
import time

import eventlet
from eventlet import wsgi
from swift.common import utils

eventlet.monkey_patch()

HASH = """[swift-hash]
swift_hash_path_suffix = tests
[storage-policy:0]
name = one
default = yes
[swift-constraints]
container_listing_limit = 100
"""
STORE = """[DEFAULT]
devices = {dir}/devices
swift_dir = {dir}
mount_check = false
log_level = ERROR
fallocate_reserve = 0
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
PROXY = """[DEFAULT]
swift_dir = {dir}
log_level = ERROR
[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats s3api tempauth copy slo versioned_writes proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:tempauth]
use = egg:swift#tempauth
user_{user} = {secret} .admin
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = us-east-1
max_bucket_listing = 3
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:9
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
"""


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)
    return path


def ring(folder, name, port):
    """One partition power, one copy, one device: the folder DIR/devices/one."""
    from array import array

    from swift.common.ring import RingData
    dev = {"id": 0, "zone": 0, "region": 1, "device": "one", "ip": "127.0.0.1", "port": port,
           "replication_ip": "127.0.0.1", "replication_port": port, "weight": 1.0, "meta": ""}
    RingData([array("H", [0, 0])], [dev], 31).save(os.path.join(folder, name + ".ring.gz"))


def main():
    right = time.time
    folder, user, secret = os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3]
    os.makedirs(os.path.join(folder, "devices", "one"), exist_ok=True)
    write(os.path.join(folder, "swift.conf"), HASH)
    utils.set_swift_dir(folder)
    utils.validate_hash_conf()
    utils.FALLOCATE_RESERVE = 0
    from swift.common.storage_policy import reload_storage_policies
    from swift.common.wsgi import SwiftHttpProtocol, loadapp
    reload_storage_policies()

    socks = {}
    for kind in ("account", "container", "object"):
        socks[kind] = eventlet.listen(("127.0.0.1", 0))
        ring(folder, kind, socks[kind].getsockname()[1])
    socks["proxy"] = eventlet.listen(("127.0.0.1", int(sys.argv[4]) if len(sys.argv) > 4 else 0))
    for kind, sock in socks.items():
        text = (PROXY.format(dir=folder, user=user.replace(":", "_"), secret=secret) if kind == "proxy"
                else STORE.format(dir=folder, kind=kind))
        app = loadapp(write(os.path.join(folder, kind + "-server.conf"), text))
        eventlet.spawn(wsgi.server, sock, app, open(os.devnull, "w", encoding="ascii"), protocol=SwiftHttpProtocol,
                       capitalize_response_headers=False)
    tls_port = 0
    if os.path.exists(os.path.join(folder, "tls.pem")):
        tls = eventlet.listen(("127.0.0.1", 0))
        tls_port = tls.getsockname()[1]
        eventlet.spawn(wsgi.server, eventlet.wrap_ssl(tls, certfile=os.path.join(folder, "tls.pem"), server_side=True), app,
                       open(os.devnull, "w", encoding="ascii"), protocol=SwiftHttpProtocol)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGUSR1, lambda *_: setattr(time, "time", lambda: right() + 3600))
    signal.signal(signal.SIGUSR2, lambda *_: setattr(time, "time", right))
    print("ready %d %d" % (socks["proxy"].getsockname()[1], tls_port), flush=True)
    while True:
        eventlet.sleep(0.1)  # signals are looked at between


if __name__ == "__main__":
    main()
