"""One NIC, two users: the guest has a network card of its own while the VMM streams over the real one."""

import os

import pytest

import lab
import nicguest
from nicguest import driver, lease
from second import Second

BYTES = 8 << 20


@pytest.fixture(scope="session")
def kit(images):
    return nicguest.kit(images, os.path.join(lab.BUILD, "e2e", "nic-kit"))


@pytest.fixture
def second():
    with Second() as s:
        yield s


def while_carrier(pc, up):
    """Until the guest's link is no longer @up; its pings keep the VMM awake meanwhile."""
    pc.sh("while [ $(cat /sys/class/net/eth0/carrier) = %d ]; do ping -c 1 -W 1 10.0.2.2 > /dev/null 2>&1; done; true" % up, 120)


def download(pc, second):
    assert second.digest(BYTES) in pc.sh("wget -q -O - %s | sha256sum" % second.url(BYTES), 400)


@pytest.fixture
def begin(start, site, disk, kit):
    def go(name, nic="virtio", **kw):
        lab.site_set(site, "nic", nic)
        pc = start(name, disk, extra=lab.data_disk(kit), **kw)
        pc.tiny()
        return pc
    return go


def test_guest_has_a_network(begin, server, second):
    """Lease, download beside a running fill, links, drivers, another server: neither user harms the other."""
    pc = begin("pc", cpus=2)
    driver(pc)
    assert lease(pc).startswith("10.0.2.")
    download(pc, second)
    lab.wait_fill(pc)
    download(pc, second)
    for n in range(20):
        pc.sh("ip link set eth0 down; ip link set eth0 up")
    pc.link(False)
    while_carrier(pc, 1)
    pc.link(True)
    pc.sh("ip route replace 10.0.2.0/24 dev eth0")
    while_carrier(pc, 0)
    lease(pc)
    pc.sh("d=$(basename $(readlink -f /sys/class/net/eth0/device)); p=/sys/bus/virtio/drivers/virtio_net; "
          "echo $d > $p/unbind; [ ! -e /sys/class/net/eth0 ]; echo $d > $p/bind")
    lease(pc)
    server.stop()
    server.start()
    download(pc, second)
    assert lab.vmm_stats(pc)["guest_nic_broken"] == 0
    pc.sh("verify 0 128", 600)


def test_none_by_default(start, disk, server):
    pc = start("pc", disk)
    pc.tiny()
    assert "0x020000" not in pc.sh("cat /sys/bus/pci/devices/*/class")


def test_guest_has_an_82574(begin, server, second):
    """The same by Linux's e1000e, for images without virtio drivers: messages by MSI-X and MSI, link, reload, reset."""
    pc = begin("pc", nic="e1000e", cpus=2)
    driver(pc, "e1000e")
    assert pc.sh("cat /sys/class/net/eth0/address").strip() == "52:54:00:f0:00:01"
    assert lease(pc).startswith("10.0.2.")
    pc.sh("grep -q 'MSI.*eth0-rx-0' /proc/interrupts")
    download(pc, second)
    for _ in range(5):
        pc.sh("ip link set eth0 down; ip link set eth0 up")
    pc.link(False)
    while_carrier(pc, 1)
    pc.link(True)
    while_carrier(pc, 0)
    pc.sh("rmmod e1000e; insmod /run/m/e1000e.ko IntMode=1")
    lease(pc)
    pc.sh("grep -q 'MSI.*eth0$' /proc/interrupts && ! grep -q eth0-rx-0 /proc/interrupts")
    download(pc, second)
    assert not pc.sh("dmesg | grep -iE 'timed out|unit hang|reset adapter' || true").strip()
    lab.wait_fill(pc)
    pc.sh("verify 0 128", 600)
