"""A real Debian over the shared card, cold, on both cards that a guest can be given.

Its own systemd-networkd gets the address. 500 MB come from a second server
while the store fills, and must have their SHA-256; then links, drivers, the
server and the PC go down and come up again, and each time the guest must have
its network back. Counts of what was survived, no times.
"""

import os

import lab
from lab import BUILD, Disk, Pc
from second import Second

DOWNLOAD = 500 * 10**6
CYCLES = 20
DRIVERS = {"virtio": "virtio_net", "e1000e": "e1000e"}

NETWORK = "mkdir -p /etc/systemd/network; printf '[Match]\\nType=ether\\n[Network]\\nDHCP=ipv4\\n' > /etc/systemd/network/lan.network"
FETCH = """cat > /var/tmp/fetch.py << 'END'
import hashlib, sys, urllib.request
h, n = hashlib.sha256(), 0
with urllib.request.urlopen(sys.argv[1], timeout=60) as r:
    while (b := r.read(1 << 18)):
        h.update(b)
        n += len(b)
print("fetched", n, h.hexdigest())
END
true"""


def has_network(pc):
    """Until the guest has an address of the lab's network."""
    pc.sh("n=0; until ip -4 -br addr show up scope global | grep -q 10.0.2 || [ $n -ge 600 ]; do sleep 0.2; n=$((n + 1)); done; [ $n -lt 600 ]", 300)


def fetch(pc, second, n, limit=300):
    out = pc.sh("python3 /var/tmp/fetch.py " + second.url(n), limit)
    want = "fetched %d %s" % (n, second.digest(n))
    if want not in out:
        raise lab.LabError("wanted %r, the guest has %r" % (want, out[-300:]))


def card(pc):
    return pc.sh("ls /sys/class/net | grep -v lo").strip()


def one(folder, nic, second):
    """Counts of what a guest with card @nic has survived."""
    data, port = os.path.join(folder, "data"), lab.free_port()
    os.makedirs(data)
    lab.make_site(data, port, os.path.join(BUILD, "images", "debian.raw"), settings={"policy": "push", "nic": nic})
    server = lab.Server(data, os.path.join(folder, "freshetd.log"), port)
    done = {}
    with server, Pc(folder, "pc", disk=Disk(os.path.join(folder, "pc.raw"), 8192), boot="esp", extra=lab.boot_esp(folder, data)) as pc:
        pc.login()
        pc.sh("%s; systemctl enable --now systemd-networkd" % NETWORK)
        pc.sh(FETCH)
        has_network(pc)
        pc.sh("grep -q DRIVER=%s /sys/class/net/%s/device/uevent" % (DRIVERS[nic], card(pc)))
        fetch(pc, second, DOWNLOAD, 1800)
        done["bytes with their SHA-256"] = DOWNLOAD
        lab.wait_fill(pc, 1800)
        for _ in range(CYCLES):
            pc.sh("ip link set %s down; ip link set %s up" % (card(pc), card(pc)))
        has_network(pc)
        fetch(pc, second, 10**6)
        done["link cycles"] = CYCLES
        pc.sh("modprobe -r %s; modprobe %s" % (DRIVERS[nic], DRIVERS[nic]))
        has_network(pc)
        fetch(pc, second, 10**6)
        done["reloads of its driver"] = 1
        server.stop()
        fetch(pc, second, 10**6)
        server.start()
        fetch(pc, second, 10**6)
        done["restarts of the server"] = 1
        pc.com1.send("reboot\n")
        pc.login()
        has_network(pc)
        fetch(pc, second, 10**6)
        done["reboots"] = 1
        bad = pc.sh("dmesg | grep -iE 'netdev watchdog|transmit queue|hardware (error|unit hang)' || true").strip()
        if bad:
            raise lab.LabError("the guest's kernel complains:\n" + bad)
        pc.power_off()
    return done


def rows(run):
    out = []
    with Second() as second:
        for nic in DRIVERS:
            folder = os.path.join(run.folder, nic)
            os.makedirs(folder)
            done = one(folder, nic, second)
            run.details[nic] = done
            out += [("Debian with %s: %s" % (nic, k), "%d" % v, "", None) for k, v in done.items()]
    return out
