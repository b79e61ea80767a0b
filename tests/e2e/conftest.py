"""Fixtures: images made once, a site (keys, image, netboot files) a test can copy."""

import os
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402

RUNS = os.environ.get("FRESHET_RUNS", os.path.join(lab.BUILD, "e2e"))


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
