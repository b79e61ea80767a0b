"""Fixtures: images made once, a site (keys, image, netboot files) a test can copy."""

import os
import shutil
import subprocess
import sys

import pytest
from _pytest.runner import runtestprotocol

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402

RUNS = os.environ.get("FRESHET_RUNS", os.path.join(lab.BUILD, "e2e"))


EMULATOR_TRIES = 3


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    """A test during which QEMU itself crashed (lab.emulator_crashes) says nothing about us: once more."""
    for n in range(EMULATOR_TRIES):
        lab.emulator_crashes.clear()
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if not lab.emulator_crashes or not any(r.failed for r in reports) or n == EMULATOR_TRIES - 1:
            break
        print("\n%s: QEMU crashed (SIGSEGV); the test is repeated" % item.nodeid)
        item._initrequest()
    for r in reports:
        item.ihook.pytest_runtest_logreport(report=r)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.fixture(scope="session")
def images():
    folder = os.path.join(lab.BUILD, "images")
    for label in ("one", "two"):
        subprocess.run([os.path.join(lab.ROOT, "tests/guest/tiny.sh"), folder, label], check=True)
    return folder


@pytest.fixture(scope="session")
def port():
    return lab.free_port()


@pytest.fixture(scope="session")
def site_master(images, port):
    """Data folder with the small guest's first version on lab/stable; never written by a test."""
    data = os.path.join(RUNS, "site")
    shutil.rmtree(data, ignore_errors=True)
    os.makedirs(data)
    lab.make_site(data, port, os.path.join(images, "tiny-one.raw"), name="tiny",
                  settings={"policy": "push", "claim": "blank"})
    return data


@pytest.fixture
def folder(request):
    path = os.path.join(RUNS, request.node.name.replace("/", "_").replace("[", "-").rstrip("]"))
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


@pytest.fixture
def site(site_master, folder):
    """A test's own copy of the site; objects are shared by hard links."""
    data = os.path.join(folder, "data")
    shutil.copytree(site_master, data, copy_function=os.link)
    for name in os.listdir(data):  # what a server or the command line changes is a real copy
        path = os.path.join(data, name)
        if os.path.isfile(path):
            shutil.copy(path, path + ".own")
            os.replace(path + ".own", path)
    return data


@pytest.fixture
def server(site, folder, port):
    s = lab.Server(site, os.path.join(folder, "freshetd.log"), port)
    s.start()
    yield s
    s.stop()


@pytest.fixture
def disk(folder):
    return lab.Disk(os.path.join(folder, "pc.raw"), 1024)


@pytest.fixture
def start(folder, site):
    """Start a PC whose firmware finds freshet.efi on a small ESP: like netboot, without PXE's ten seconds."""
    pcs = []

    def begin(name, disk, **kw):
        kw.setdefault("cpus", 1)
        kw.setdefault("boot", "esp")
        extra = list(kw.pop("extra", []))
        if kw["boot"] == "esp":
            extra += lab.boot_esp(folder, site, kw.pop("options", ()))
        pc = lab.Pc(folder, name, disk=disk, extra=extra, **kw)
        pcs.append(pc)
        return pc

    yield begin
    for pc in pcs:
        pc.__exit__(*sys.exc_info())
