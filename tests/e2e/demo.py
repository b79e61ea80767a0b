#!/usr/bin/python3
"""make demo: the whole life of a lab PC, on real input, with a table at the end.

Blank disk -> firmware PXE -> iPXE -> freshet.efi -> Debian while its blocks
stream -> fill to 100 % -> offline boots from the PC's own disk under both
reset policies -> the same image bare, and under the VMM with nothing mediated.
"""

import argparse
import json
import os
import re
import shutil
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
from lab import BUILD, Disk, LabError, Pc, Server  # noqa: E402

KEYS = ("cold_boot_s", "cold_bytes_before_login", "image_bytes", "image_used_bytes", "fill_s", "warm_boot_s",
        "offline_boot_s", "bare_boot_s", "null_boot_s", "files_checked", "files_bad", "vmm_reserved_bytes",
        "efi_bytes", "exits_by_reason")


class Demo:
    def __init__(self, folder, images):
        self.folder, self.images = folder, images
        self.raw = os.path.join(images, "debian.raw")
        self.list = os.path.join(images, "debian.sha256")
        self.data = os.path.join(folder, "data")
        self.report = {"exits_by_reason": {}, "files_checked": {}, "files_bad": {}}
        self.t0 = time.monotonic()
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(self.data)

    def say(self, text):
        print("[%5.0f s] %s" % (time.monotonic() - self.t0, text), flush=True)

    def list_disk(self):
        return lab.data_disk(self.list)

    def boot(self, name, **kw):
        return Pc(self.folder, name, extra=self.list_disk() + kw.pop("extra", []), **kw)

    def check_files(self, pc, boot):
        self.say("checking %d files in the guest against the list kept outside" % self.files)
        bad = lab.guest_check_files(pc)
        self.report["files_checked"][boot] = self.files
        self.report["files_bad"][boot] = len(bad)
        if bad:
            raise LabError("%d files differ in boot %s: %s" % (len(bad), boot, bad[:5]))

    def counters(self, pc, boot):
        self.report["exits_by_reason"][boot] = lab.vmm_counters(pc)

    def run(self):
        r = self.report
        info = dict(line.split(None, 1) for line in open(os.path.join(self.images, "debian.info"), encoding="utf-8"))
        self.files = int(info["files"])
        r["image_bytes"], r["image_used_bytes"] = int(info["image_bytes"]), int(info["used_bytes"])
        r["efi_bytes"] = os.path.getsize(os.path.join(BUILD, "freshet.efi"))

        port = lab.free_port()
        self.say("server: keys, image to chunks and signed manifest, netboot files")
        lab.make_site(self.data, port, self.raw, settings={"policy": "push"})
        tftp = lab.make_tftp(os.path.join(self.folder, "tftp"), port)
        server = Server(self.data, os.path.join(self.folder, "freshetd.log"), port)

        self.say("bare: the same image on a plain disk, no VMM")
        with self.boot("bare", disk=Disk(self.raw, 4096), snapshot=True, boot="disk", nic=False) as pc:
            r["bare_boot_s"] = pc.login()
            pc.power_off()
        self.say("bare: login after %.1f s" % r["bare_boot_s"])

        self.say("null: the same, under the VMM with nothing mediated")
        with self.boot("null", disk=Disk(self.raw, 4096), snapshot=True, boot="esp", nic=False,
                       extra=lab.null_esp(self.folder, self.data)) as pc:
            r["null_boot_s"] = pc.login()
            pc.check_no_escape()
            self.counters(pc, "null")
            pc.power_off()
        self.say("null: login after %.1f s" % r["null_boot_s"])

        disk = Disk(os.path.join(self.folder, "pc.raw"), 8192)
        with server.start():
            self.say("cold: blank disk, firmware PXE -> iPXE -> freshet.efi -> Debian")
            with self.boot("cold", disk=disk, tftp=tftp) as pc:
                self.follow(pc)
                r["cold_boot_s"] = pc.login()
                pc.check_no_escape()
                at = lab.vmm_stats(pc)
                r["cold_bytes_before_login"] = at["wire_bytes"]
                r["cold_plain_bytes_before_login"] = at["fetched_bytes"]
                r["cold_asked_bytes_before_login"] = at["asked_bytes"]
                self.say("cold: login after %.1f s, %.1f MiB came over the wire" % (r["cold_boot_s"], at["wire_bytes"] / 2**20))
                self.counters(pc, "cold")
                self.check_files(pc, "cold")
                self.say("fill: waiting for 100 %")
                lab.wait_fill(pc, 900)
                r["fill_s"] = pc.seconds() - r["cold_boot_s"]
                self.say("fill: complete %.1f s after login" % r["fill_s"])
                pc.sh("echo kept > /root/written; sha256sum /root/written > /root/written.sum; sync")
                r["vmm_reserved_bytes"] = lab.vmm_reserved(pc)
                pc.power_off()

            self.say("warm: from the PC's own ESP, server up")
            with self.boot("warm", disk=disk, boot="disk") as pc:
                r["warm_boot_s"] = pc.login()
                pc.check_no_escape()
                self.counters(pc, "warm")
                pc.sh("sha256sum -c --quiet /root/written.sum")
                pc.power_off()
            self.say("warm: login after %.1f s" % r["warm_boot_s"])

        self.say("offline: server stopped, cable unplugged, policy push")
        with self.boot("offline", disk=disk, boot="disk", link=False) as pc:
            r["offline_boot_s"] = pc.login()
            pc.check_no_escape()
            self.counters(pc, "offline")
            self.check_files(pc, "offline")
            pc.sh("sha256sum -c --quiet /root/written.sum")
            pc.power_off()
        self.say("offline: login after %.1f s; what was written is there" % r["offline_boot_s"])

        self.say("policy boot: the server says so, the PC learns it")
        lab.site_set(self.data, "policy", "boot")
        with server.start():
            with self.boot("policy", disk=disk, boot="disk") as pc:
                pc.login()
                pc.com2.wait(r"noted for the next boot policy=boot", 120, "the new policy")
                pc.sh("echo gone > /root/not-kept; sync")
                pc.power_off()
        with self.boot("offline-boot", disk=disk, boot="disk", link=False) as pc:
            r["offline_policy_boot_s"] = pc.login()
            pc.check_no_escape()
            pc.sh("test ! -e /root/not-kept && test ! -e /root/written")
            self.check_files(pc, "offline_policy_boot")
            pc.power_off()
        self.say("policy boot: what was written is gone, files are right")

    def follow(self, pc):
        pc.com2.wait(r"deploy: .*state=READY|deploy: .*ready", 300, "the virtual disk")
        self.say("cold: virtual disk ready %.1f s after power-on" % pc.seconds())

    def table(self):
        r = self.report
        out = os.path.join(BUILD, "report")
        os.makedirs(out, exist_ok=True)
        with open(os.path.join(out, "demo.json"), "w", encoding="utf-8") as f:
            json.dump(r, f, indent=1, sort_keys=True)
        print()
        for k in KEYS:
            v = r.get(k)
            if isinstance(v, float):
                v = "%.1f" % v
            elif isinstance(v, int) and "bytes" in k:
                v = "%d (%.1f MiB)" % (v, v / 2**20)
            if k == "exits_by_reason":
                for boot, c in v.items():
                    print("%-26s %s: %s" % (k, boot, " ".join("%s=%d" % i for i in sorted(c.items(), key=lambda i: -i[1])[:12])))
            else:
                print("%-26s %s" % (k, v))
        print("\nalso in %s" % os.path.relpath(os.path.join(out, "demo.json"), lab.ROOT))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    ap.add_argument("--folder", default=os.path.join(BUILD, "demo"), help="where the run and its logs go")
    ap.add_argument("--images", default=os.path.join(BUILD, "images"))
    a = ap.parse_args()
    error = "QEMU crashed again and again"
    for _ in range(3):
        demo = Demo(a.folder, a.images)
        lab.emulator_crashes.clear()
        try:
            demo.run()
            error = None
        except LabError as e:
            if lab.emulator_crashes:
                demo.say("QEMU itself has crashed (SIGSEGV), which says nothing about Freshet: from the beginning")
                continue
            error = e
        break
    if error:
        print("\ndemo: FAILED: %s\nLook at: %s/*/console.log (the guest), vmm.log (Freshet), qemu.log, and freshetd.log"
              % (error, a.folder), file=sys.stderr)
        return 1
    demo.table()
    return 0


if __name__ == "__main__":
    sys.exit(main())
