#!/usr/bin/python3
"""Take the handling of a fault away: does a unit test notice?

    tests/unit/mutations.py [--out DIR] [NAME...]

Each mutation is one exact piece of the source, what it is replaced by, and the
unit tests that look at it. The tree is copied to DIR, the piece replaced there,
the tests are built and run: at least one must fail. A piece that is no longer
in the source is a failure, so the list stays true.
"""

import argparse
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# name, file, piece, replacement, tests
MUTATIONS = [
    ("server-restart: no new connection", "net/client/client.c",
     "if ((now >= c->retry_ns || mirror_of(c, i)) && wanted(c, i))", "if (now >= c->retry_ns && !c->n.lost && wanted(c, i))",
     ["client"]),
    ("server-restart: what was asked is not asked again", "net/client/client.c",
     "\treq_set(r, REQ_QUEUED);\n\tlist_del(&r->link);\n\tlist_add(queue_of(c, r), &r->link);\n\tc->st.retries++;",
     "\tlist_del(&r->link);\n\tlist_add_tail(&c->delayed, &r->link);\n\tr->scratch[1] = ~0ull;", ["client"]),
    ("404 and 500 taken for an answer", "net/client/conn.c",
     "err = status == 404 ? -ENOENT : -EIO;", "err = 0;", ["client"]),
    ("wrong chunk", "net/client/conn.c",
     "return memcmp(digest, r->digest, SHA256_BYTES) ? -EBADMSG : 0;", "return 0;", ["client"]),
    ("corrupt chunk not fetched again", "net/client/client.c",
     "\tc->st.last_err = err;\n\treq_delay(c, r);", "\tc->st.last_err = err;\n\treq_done(c, r, err);", ["client"]),
    ("garbage instead of HTTP", "net/client/conn.c",
     "\t\tdefault:\n\t\t\treturn -EPROTO;", "\t\tdefault:\n\t\t\t*used = n;\n\t\t\treturn 0;", ["client"]),
    ("connection lost in the middle of an answer", "net/client/conn.c",
     "conn_drop(k, k->count ? -ECONNRESET : 0);", "if (!k->count)\n\t\tconn_drop(k, 0);", ["client"]),
    ("rotten block of the local disk passed on", "storage/core/guestio_read.c",
     "if (!p->unread && crctab_ok(&d->s->crc, block, part_sum(p, p->vblk)))", "part_sum(p, p->vblk);\n\t\tif (!p->unread)",
     ["disk_basic"]),
    ("rotten block, offline: waits for a server that is not there", "storage/core/sched.c",
     "\tif (d->offline)\n\t\tgive_up(c);\n\telse if", "\tif", ["disk_basic"]),
    ("ticket: wrong signature", "storage/core/deploy_ticket.c",
     "if (sigtext_verify(d->doc_buf, n, d->cfg.keys, d->cfg.nkeys)) {", "if (0) {", ["deploy"]),
    ("ticket: for another machine", "storage/core/deploy_ticket.c",
     "if (memcmp(t->uuid, d->cfg.uuid, GUID_BYTES)) {", "if (0) {", ["deploy"]),
    ("ticket: stale serial", "storage/core/deploy_ticket.c", "if (t->serial < stored_serial(d)) {", "if (0) {", ["deploy"]),
    ("manifest: not the one asked for", "storage/core/deploy_ticket.c",
     "if (memcmp(digest, d->ticket.version, SHA256_BYTES))", "if (0)", ["deploy"]),
    ("manifest: wrong signature", "storage/core/deploy_ticket.c",
     "\tif (manifest_verify(d->manifest, n, d->cfg.keys, d->cfg.nkeys))\n\t\treturn manifest_bad", "\tif (0)\n\t\treturn manifest_bad",
     ["deploy"]),
    ("foreign disk claimed", "storage/core/deploy_claim.c", "if (!claim_allowed(d))", "if (!claim_allowed(d) && 0)", ["deploy"]),
    ("disk smaller than the image", "storage/core/deploy_claim.c",
     "\tif (store_room(d) < store_need(d))\n\t\treturn too_small(d);\n\tlog_info", "\tlog_info", ["deploy"]),
    ("two blank disks: the first is taken", "storage/core/deploy_pick.c",
     "i < d->disk_count && n == 1; i++", "i < d->disk_count && n; i++", ["deploy"]),
    ("blank disk taken beside one that cannot be read", "storage/core/deploy_pick.c", "k->unread = err;", "k->unread = false;", ["deploy"]),
    ("two disks of the claimed serial number", "storage/core/deploy_pick.c", "if (found == 1) {", "if (found) {", ["deploy"]),
    ("AHCI: errors of the wire not looked at", "storage/drivers/ahci_port.c",
     "\tif (is & (ERRORS | LINK_LOST))\n\t\tport_error", "\tif (is & AHCI_PX_IS_TFES)\n\t\tport_error", ["ahci"]),
    ("AHCI: a failed command that left the list has ended well", "storage/drivers/ahci_port.c",
     "busy |= BIT(slot); /* it has ended, but not well */", "(void)slot;", ["ahci"]),
    ("AHCI: a list is started before a busy disk", "storage/drivers/ahci_port.c",
     "if (p->plan == PLAN_RESET || port_read(p, AHCI_PX_TFD) & (ATA_STS_BSY | ATA_STS_DRQ)) {", "if (p->plan == PLAN_RESET) {",
     ["ahci"]),
    ("AHCI: what a drive refuses is no answer", "storage/drivers/ahci_packet.c",
     "if (p->sent && p->culprit != AHCI_DRV_NO_SLOT) {", "if (0) {", ["ahci_packet"]),
    ("AHCI: a guest's reset leaves the drive at its packet", "storage/emul/ahci_port.c",
     "\t\t\tif (p->packet)\n\t\t\t\tpacket_reset(p->packet);", "", ["ahci_packet"]),
    ("AHCI: no time-outs", "storage/drivers/ahci_port.c", "if (p->state == PORT_LIVE && due)", "if (0)", ["ahci"]),
    ("AHCI: the log's word is not taken", "storage/drivers/ahci_port.c", "p->culprit = (u8)tag;", "p->culprit = 0;", ["ahci"]),
    ("AHCI: any tag of the log is believed", "storage/drivers/ahci_port.c", " || !(p->sent & BIT(tag))", "", ["ahci"]),
    ("AHCI: without a log the innocent fail too", "storage/drivers/ahci_io.c", "\t\t\ts->plain = true;", "\t\t\ts->plain = false;", ["ahci"]),
    ("AHCI: another disk after a reset", "storage/drivers/ahci_port.c", "strcmp(id.serial, p->id.serial) || id.sectors", "id.sectors", ["ahci"]),
    ("AHCI: a list that does not stop is waited for", "storage/drivers/ahci_port.c",
     "\t\tahci_hba_reset(p->d, \"a command list does not stop\");", "\t\treturn;", ["ahci"]),
    ("AHCI: queued and other commands together", "storage/drivers/ahci_io.c",
     "return !p->sent || p->out_kind == kind;", "return p || kind;", ["ahci"]),
    ("AHCI: FUA forgotten where the disk has none", "storage/drivers/ahci_io.c", "\t\tt->flushing = true;\n\t\tt->whole = false;\n\t\tlist_add(&p->waiting, &r->link);\n\t\treturn;\n", "", ["ahci"]),
    ("AHCI: odd addresses given to the controller", "storage/drivers/ahci_io.c", "return !(pa & 1) && !(bytes & 1) &&", "return", ["ahci"]),
    ("AHCI: only interrupts with a frame are explained", "storage/drivers/ahci.c", "\t__atomic_store_n(&d->look, 1, __ATOMIC_RELEASE);\n\treturn true;", "\treturn news;", ["ahci"]),
]


def build_and_run(tree, out, tests):
    """True when a test fails (or, after the change, no longer compiles: that proves nothing)."""
    targets = [os.path.join(out, "unit", t) for t in tests]
    p = subprocess.run(["make", "-s", "BUILD=" + out, "TP=" + os.path.join(ROOT, "build/third_party"), *targets], cwd=tree,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if p.returncode:
        raise SystemExit("mutations: does not build:\n" + p.stdout[-3000:])
    for t in targets:
        try:
            p = subprocess.run([t], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            return os.path.basename(t) + " (time-out)"
        if p.returncode:
            return os.path.basename(t)
    return None


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    ap.add_argument("--out", default=os.path.join(ROOT, "build", "unit-mutations"))
    ap.add_argument("names", nargs="*", help="only mutations whose name contains one of these")
    a = ap.parse_args()
    tree, out = os.path.join(a.out, "tree"), os.path.join(a.out, "build")
    shutil.rmtree(a.out, ignore_errors=True)
    os.makedirs(out)
    files = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split("\n")
    for f in filter(None, files):
        os.makedirs(os.path.dirname(os.path.join(tree, f)), exist_ok=True)
        shutil.copy2(os.path.join(ROOT, f), os.path.join(tree, f))
    survived = 0
    chosen = [m for m in MUTATIONS if not a.names or any(n in m[0] for n in a.names)]
    if not chosen:
        raise SystemExit("mutations: no such name")
    bad = build_and_run(tree, out, sorted({t for m in chosen for t in m[4]}))
    if bad:
        raise SystemExit("mutations: %s fails without any change" % bad)
    for name, path, piece, other, tests in chosen:
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            text = f.read()
        if text.count(piece) != 1:
            print("LOST    %s: its piece of %s is there %d times" % (name, path, text.count(piece)))
            survived += 1
            continue
        with open(os.path.join(tree, path), "w", encoding="utf-8") as f:
            f.write(text.replace(piece, other))
        by = build_and_run(tree, out, tests)
        print("%s %s%s" % ("caught " if by else "MISSED ", name, ": by " + by if by else ""), flush=True)
        survived += not by
        with open(os.path.join(tree, path), "w", encoding="utf-8") as f:
            f.write(text)
    print("%d of %d mutations caught" % (len(chosen) - survived, len(chosen)))
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
