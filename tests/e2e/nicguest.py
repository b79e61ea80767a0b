"""The small guest's network: drivers out of the Debian image, programs of this machine, a lease."""

import os
import re
import shutil
import subprocess
import tarfile

import lab

# Of the kernel's modules, what each kind of card needs, in order.
DRIVERS = {"virtio": ("failover", "net_failover", "virtio_net"), "e1000e": ("e1000e",)}
LEASE = """#!/bin/sh
[ $1 = bound ] || [ $1 = renew ] || exit 0
ip addr flush dev $interface
ip addr add $ip/24 dev $interface
[ -z "$router" ] || ip route replace default via $router
echo "$ip" > /run/ip
"""
# Programs come with their libraries; the guest has none.
PROGRAM = """#!/bin/sh
exec /run/m/ld.so --library-path /run/m /run/m/%s.bin "$@"
"""


def modules(images, folder):
    """The kernel's drivers of the cards into @folder, out of the Debian image."""
    raw = os.path.join(images, "debian.raw")
    start = re.search(r"raw2 : start= *(\d+)", subprocess.check_output(["sfdisk", "-d", raw], text=True)).group(1)
    fs = "%s?offset=%d" % (raw, int(start) * 512)
    with open(os.path.join(images, "debian.info"), encoding="utf-8") as f:
        kernel = re.search(r"^kernel (\S+)", f.read(), re.M).group(1)
    where = subprocess.check_output(["debugfs", "-R", "cat /lib/modules/%s/modules.dep" % kernel, fs], text=True,
                                    stderr=subprocess.DEVNULL)
    for m in (m for d in DRIVERS.values() for m in d):
        path = re.search(r"^(\S*/%s\.ko):" % m, where, re.M).group(1)
        lab.run("debugfs", "-R", "dump /lib/modules/%s/%s %s/%s.ko" % (kernel, path, folder, m), fs)


def script(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(path, 0o755)


def program(folder, name):
    """A program of this machine, to be started in the guest as /run/m/@name."""
    path = shutil.which(name)
    if not path:
        raise lab.LabError("%s is not installed: see tools/install-deps.sh" % name)
    shutil.copy(path, os.path.join(folder, name + ".bin"))
    for lib in re.findall(r"(/\S+)", subprocess.check_output(["ldd", path], text=True)):
        base = os.path.basename(lib)
        shutil.copy(lib, os.path.join(folder, "ld.so" if base.startswith("ld-linux") else base))
    script(folder, name, PROGRAM % name)


def kit(images, folder, programs=()):
    """A tar with all of that, which the guest gets as a disk (lab.data_disk()); its path."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    modules(images, folder)
    script(folder, "lease", LEASE)
    for p in programs:
        program(folder, p)
    out = folder + ".tar"
    with tarfile.open(out, "w") as t:
        for name in sorted(os.listdir(folder)):
            t.add(os.path.join(folder, name), name)
    with open(out, "r+b") as f:
        f.truncate((os.path.getsize(out) + 65535) & ~65535)
    return out


def driver(pc, nic="virtio"):
    """Load the guest's driver; its interface is eth0."""
    pc.sh("mkdir -p /run/m /tmp && tar -C /run/m -xf /dev/$(grep -lx list /sys/block/vd*/serial | cut -d/ -f4) && ip link set lo up")
    pc.sh("; ".join("grep -q '^%s ' /proc/modules || insmod /run/m/%s.ko" % (m, m) for m in DRIVERS[nic]))


def lease(pc):
    """An address by DHCP; the address."""
    pc.sh("ip link set eth0 up; udhcpc -i eth0 -n -q -t 20 -T 1 -s /run/m/lease > /run/udhcpc 2>&1", 200)
    return pc.sh("cat /run/ip").strip()
