/*
 * backends.c - the real disk controllers: taken, driven, given back
 *
 * The loader names every controller that may have this PC's disk. All are taken
 * and their drivers started, for only the deployment, which reads labels and
 * holds the ticket, can say which disk it is. Until then nothing is written to
 * any. backends_keep() then gives the controllers without that disk back to the
 * guest. A controller without a disk, or with one that does not start, goes back
 * at once.
 *
 * A disk behind the kept controller that was not chosen stays unseen; optical
 * drives behind it are there for the front-end to pass through.
 */
#include "vmm/main/backends.h"

#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "storage/drivers/ahci.h"
#include "storage/drivers/nvme.h"
#include "vmm/pci/pci.h"

#define NVME_DEPTH 127

struct backend {
	struct bus_dev *bus; /* NULL: not ours (any more) */
	struct nvme_drv *nvme; /* one of these */
	struct ahci_drv *ahci;
};

static struct backend backends[HANDOFF_PCI_MAX];
static u32 count; /* (a) backends that backends_work() may look at */

static u32 disks_of(const struct backend *b)
{
	return !b->bus ? 0 : b->nvme ? 1 : ahci_drv_disks(b->ahci);
}

static struct blk_dev *disk_of(const struct backend *b, u32 i)
{
	return b->nvme ? nvme_drv_blk(b->nvme) : ahci_drv_blk(b->ahci, i);
}

static int start_one(const struct handoff_pci *p)
{
	struct nvme_drv_opts nvme = { .depth = NVME_DEPTH };
	struct backend b = { 0 };
	int err = pci_take(p->bdf, &b.bus);

	if (err)
		return err;
	if (p->kind == HANDOFF_PCI_NVME)
		err = nvme_drv_create(b.bus, &nvme, &b.nvme);
	else
		err = ahci_drv_create(b.bus, NULL, &b.ahci);
	if (err) {
		pci_release(p->bdf);
		return err;
	}
	backends[count] = b;
	__atomic_store_n(&count, count + 1, __ATOMIC_RELEASE);
	return 0;
}

/** backends_start() - see backends.h. Context: start-up; waits for the disks. */
int backends_start(const struct handoff *h)
{
	int err = -ENODEV;

	for (u32 i = 0; i < h->pci_count && i < HANDOFF_PCI_MAX; i++) {
		const struct handoff_pci *p = &h->pci[i];
		int e;

		if (p->kind != HANDOFF_PCI_NVME && p->kind != HANDOFF_PCI_AHCI)
			continue;
		e = start_one(p);
		if (e)
			log_warn("backends: no disk of it bdf=%x err=%s", p->bdf, err_name(e));
		if (e)
			err = e;
	}
	return count ? 0 : err;
}

/** backends_disks() - see backends.h */
u32 backends_disks(struct blk_dev **out, u32 room)
{
	u32 n = 0;

	for (u32 i = 0; i < count; i++)
		for (u32 k = 0; k < disks_of(&backends[i]) && n < room; k++)
			out[n++] = disk_of(&backends[i], k);
	return n;
}

static bool has_disk(const struct backend *b, const struct blk_dev *disk)
{
	for (u32 k = 0; k < disks_of(b); k++)
		if (disk_of(b, k) == disk)
			return true;
	return false;
}

static void give_back(struct backend *b)
{
	struct bus_dev *bus = b->bus;

	if (b->nvme)
		nvme_drv_shutdown(b->nvme);
	else
		ahci_drv_shutdown(b->ahci);
	b->bus = NULL;
	pci_release(bus->bdf);
}

/** backends_keep() - see backends.h. Busy-waits while controllers are let go. */
void backends_keep(const struct blk_dev *disk, u16 *bdf, bool *ahci)
{
	for (u32 i = 0; i < count; i++) {
		struct backend *b = &backends[i];

		if (has_disk(b, disk)) {
			*bdf = b->bus->bdf;
			*ahci = b->ahci;
		} else if (b->bus) {
			give_back(b);
		}
	}
}

/** backends_drives() - see backends.h */
u32 backends_drives(struct packet_dev **out, u32 room)
{
	u32 n = 0;

	for (u32 i = 0; i < count; i++) {
		struct ahci_drv *d = backends[i].bus ? backends[i].ahci : NULL;

		for (u32 k = 0; d && k < ahci_drv_packets(d) && n < room; k++)
			out[n++] = ahci_drv_packet(d, k);
	}
	return n;
}

/** backends_poll() - see backends.h */
void backends_poll(void)
{
	for (u32 i = 0; i < count; i++)
		if (backends[i].bus)
			blk_poll(disk_of(&backends[i], 0));
}

/** backends_deadline_ns() - see backends.h */
u64 backends_deadline_ns(void)
{
	u64 when = 0;

	for (u32 i = 0; i < count; i++) {
		const struct backend *b = &backends[i];
		u64 t = !b->bus ? 0 : b->nvme ? nvme_drv_deadline_ns(b->nvme) :
						ahci_drv_deadline_ns(b->ahci);

		if (t)
			when = when ? MIN(when, t) : t;
	}
	return when;
}

/** backends_work() - see backends.h */
bool backends_work(void)
{
	u32 n = __atomic_load_n(&count, __ATOMIC_ACQUIRE);
	bool work = false;

	for (u32 i = 0; i < n; i++) {
		struct backend *b = &backends[i];

		if (b->bus)
			work |= b->nvme ? nvme_drv_work(b->nvme) : ahci_drv_work(b->ahci);
	}
	return work;
}
