/* See fake_bar.h. */
#include "tests/fakes/fake_bar.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/plat.h"
#include "base/plat_host.h"
#include "storage/spec/ahci.h"
#include "storage/spec/ata.h"
#include "storage/spec/nvme.h"

/* ---------------------------------------------------------------- disk */

static void disk_copy(struct fake_disk *d, struct blk_req *r)
{
	u8 *at = d->data + r->lba * d->blk.sector_bytes;
	u32 i;

	for (i = 0; i < r->nsegs; i++) {
		void *p = plat_phys_to_virt(r->segs[i].pa);

		if (r->op == BLK_READ)
			memcpy(p, at, r->segs[i].bytes);
		else
			memcpy(at, p, r->segs[i].bytes);
		at += r->segs[i].bytes;
	}
}

static int disk_do(struct fake_disk *d, struct blk_req *r)
{
	u64 bytes = 0;
	u32 i;

	if (r->op == BLK_FLUSH) {
		d->flushes++;
		return 0;
	}
	if (!r->sectors || r->lba >= d->blk.sectors || r->sectors > d->blk.sectors - r->lba)
		return -EINVAL;
	d->fuas += r->fua;
	switch (r->op) {
	case BLK_TRIM:
		d->trims++;
		break;
	case BLK_WRITE_ZEROES:
		d->zeroes++;
		memset(d->data + r->lba * d->blk.sector_bytes, 0,
		       (size_t)r->sectors * d->blk.sector_bytes);
		break;
	default:
		for (i = 0; i < r->nsegs; i++)
			bytes += r->segs[i].bytes;
		if (bytes != (u64)r->sectors * d->blk.sector_bytes || r->nsegs > d->blk.max_segs ||
		    r->sectors > d->blk.max_sectors)
			plat_panic("fake_disk: bad request");
		d->sectors_longest = MAX(d->sectors_longest, r->sectors);
		disk_copy(d, r);
	}
	return 0;
}

static void disk_submit(struct blk_dev *b, struct blk_req *r)
{
	struct fake_disk *d = container_of(b, struct fake_disk, blk);

	list_add_tail(&d->queue, &r->link);
	d->queued++;
	d->requests++;
}

static struct blk_req *disk_pick(struct fake_disk *d)
{
	struct list *l = d->queue.next;
	u64 n;

	if (d->shuffle) {
		d->shuffle = d->shuffle * 6364136223846793005ull + 1442695040888963407ull;
		for (n = (d->shuffle >> 33) % d->queued; n; n--)
			l = l->next;
	}
	return list_entry(l, struct blk_req, link);
}

static void disk_poll(struct blk_dev *b)
{
	struct fake_disk *d = container_of(b, struct fake_disk, blk);
	u32 n = d->hold ? 0 : d->queued;

	while (n--) {
		struct blk_req *r = disk_pick(d);
		int err;

		list_del(&r->link);
		d->queued--;
		if (d->fail_count && d->fail_count--)
			err = d->fail_err;
		else
			err = disk_do(d, r);
		r->done(r, err);
	}
}

static bool disk_soon(const struct blk_dev *b)
{
	const struct fake_disk *d = container_of(b, struct fake_disk, blk);

	return d->fast && d->queued;
}

static const struct blk_ops disk_ops = {
	.submit = disk_submit, .poll = disk_poll, .soon = disk_soon,
};

void fake_disk_init(struct fake_disk *d, u64 sectors, u32 sector_bytes)
{
	memset(d, 0, sizeof(*d));
	d->blk.ops = &disk_ops;
	d->blk.sectors = sectors;
	d->blk.sector_bytes = sector_bytes;
	d->blk.max_sectors = (u32)MIB / sector_bytes;
	d->blk.max_segs = 257;
	d->blk.write_cache = true;
	strcpy(d->blk.serial, "FAKE0001");
	strcpy(d->blk.model, "Fake disk");
	d->data = calloc(sectors, sector_bytes);
	list_init(&d->queue);
}

void fake_disk_fini(struct fake_disk *d)
{
	free(d->data);
}

/* ---------------------------------------------------------------- optical drive */

static void drive_submit(struct packet_dev *d, struct packet_req *r)
{
	struct fake_drive *k = container_of(d, struct fake_drive, dev);

	if (k->req)
		plat_panic("fake_drive: two commands at once");
	k->req = r;
	k->last = *r;
	k->packets++;
}

static void drive_reset(struct packet_dev *d)
{
	struct fake_drive *k = container_of(d, struct fake_drive, dev);

	k->resets++;
	if (k->req)
		k->req->err = -EIO;
}

static const struct packet_ops drive_ops = { .submit = drive_submit, .reset = drive_reset };

void fake_drive_init(struct fake_drive *k, u32 blocks)
{
	static const char model[40] = "aFekd irev                              ";

	memset(k, 0, sizeof(*k));
	k->dev.ops = &drive_ops;
	k->dev.max_segs = 200;
	k->dev.id[ATA_ID_CONFIG] = 0x8580;
	memcpy(&k->dev.id[ATA_ID_MODEL], model, sizeof(model));
	k->dev.id[ATA_ID_SATA_FEATURES] = ATAPI_ID_SATA_NOTIFIES | BIT(3);
	k->blocks = blocks;
	k->data = calloc(blocks, 2048);
	for (u32 i = 0; i < blocks * 2048; i++)
		k->data[i] = (u8)(i * 13 + i / 2048);
}

void fake_drive_fini(struct fake_drive *k)
{
	free(k->data);
}

/* Return: the sense key, 0 when it went well. */
static u8 drive_do(struct fake_drive *k, struct packet_req *r)
{
	const u8 *c = r->cdb;
	u64 lba = (u32)c[2] << 24 | (u32)c[3] << 16 | (u32)c[4] << 8 | c[5];
	u32 n = (u32)c[7] << 8 | c[8], left = n * 2048;
	u8 *at = k->data + lba * 2048;

	if (k->empty)
		return 2;
	if (!c[0])
		return 0;
	if ((c[0] != 0x28 && c[0] != 0x2a) || lba > k->blocks || n > k->blocks - lba ||
	    r->to_device != (c[0] == 0x2a))
		return 5;
	for (u32 i = 0; i < r->nsegs && left; i++) {
		u32 bytes = MIN(r->segs[i].bytes, left);
		void *p = plat_phys_to_virt(r->segs[i].pa);

		memcpy(r->to_device ? at : p, r->to_device ? p : at, bytes);
		at += bytes;
		left -= bytes;
		r->moved += bytes;
	}
	return 0;
}

void fake_drive_poll(struct fake_drive *k)
{
	struct packet_req *r = k->req;
	u8 key;

	if (!r || (k->hold && !r->err))
		return;
	k->req = NULL;
	if (!r->err) {
		key = drive_do(k, r);
		r->error = (u8)(key ? key << 4 | ATA_ERR_ABRT : 0);
	}
	r->done(r, r->err);
}

/* ---------------------------------------------------------------- guest memory */

static u8 *window(struct fake_bar *f, u64 gpa, size_t bytes)
{
	u32 i;

	for (i = 0; i < f->nwindows; i++) {
		u64 off = gpa - f->windows[i].gpa;

		if (gpa >= f->windows[i].gpa && off < f->windows[i].bytes &&
		    bytes <= f->windows[i].bytes - off)
			return f->windows[i].p + off;
	}
	for (i = 0; i < f->nallocs; i++) {
		u64 off = gpa - (uintptr_t)f->allocs[i].p;

		if (gpa >= (uintptr_t)f->allocs[i].p && off < f->allocs[i].bytes &&
		    bytes <= f->allocs[i].bytes - off)
			return (u8 *)f->allocs[i].p + off;
	}
	f->refused++;
	return NULL;
}

static int host_read(struct emul_host *h, gpa_t src, void *dst, size_t bytes)
{
	u8 *p = window(container_of(h, struct fake_bar, host), src.v, bytes);

	if (!p)
		return -EFAULT;
	memcpy(dst, p, bytes);
	return 0;
}

static int host_write(struct emul_host *h, gpa_t dst, const void *src, size_t bytes)
{
	u8 *p = window(container_of(h, struct fake_bar, host), dst.v, bytes);

	if (!p)
		return -EFAULT;
	memcpy(p, src, bytes);
	return 0;
}

static int host_map(struct emul_host *h, gpa_t a, size_t bytes, hpa_t *pa)
{
	u8 *p = window(container_of(h, struct fake_bar, host), a.v, bytes);

	if (!p)
		return -EFAULT;
	*pa = plat_virt_to_phys(p);
	return 0;
}

static void host_irq(struct emul_host *h, u32 vec)
{
	struct fake_bar *f = container_of(h, struct fake_bar, host);

	if (vec >= NVME_EMUL_VECTORS_MAX)
		plat_panic("fake_bar: vector %u", vec);
	f->irqs[vec]++;
}

static void host_intx(struct emul_host *h, bool level)
{
	container_of(h, struct fake_bar, host)->intx = level;
}

static const struct emul_host_ops host_ops = {
	.read = host_read,
	.write = host_write,
	.map = host_map,
	.irq = host_irq,
	.intx = host_intx,
};

/* ---------------------------------------------------------------- bus */

static struct fake_bar *from_bus(struct bus_dev *d)
{
	return container_of(d, struct fake_bar, bus);
}

static u64 bar_read(struct fake_bar *f, u32 off, u32 bytes)
{
	u64 v;

	f->register_reads++;
	if (f->gone)
		return ~0ull;
	if (f->ahci) {
		ahci_emul_poll(f->ahci);
		return ahci_emul_read(f->ahci, off, bytes);
	}
	nvme_emul_poll(f->emul);
	nvme_emul_mmio(f->emul, off, bytes, false, &v);
	if (off == NVME_CSTS && f->fatal)
		v |= NVME_CSTS_CFS;
	if (off == NVME_CSTS && f->stuck)
		v = f->stuck_csts;
	return v;
}

static u32 bar_read32(struct bus_dev *d, u32 off)
{
	return (u32)bar_read(from_bus(d), off, 4);
}

static u64 bar_read64(struct bus_dev *d, u32 off)
{
	return bar_read(from_bus(d), off, 8);
}

static void ahci_write(struct fake_bar *f, u32 off, u32 bytes, u64 v)
{
	if (off >= AHCI_PORT_BASE && off % AHCI_PORT_BYTES == AHCI_PX_CI) {
		f->doorbells++;
		if (f->deaf)
			return;
	}
	ahci_emul_write(f->ahci, off, bytes, v);
}

static void bar_write(struct fake_bar *f, u32 off, u32 bytes, u64 v)
{
	if (f->ahci) {
		ahci_write(f, off, bytes, v);
		return;
	}
	if (off >= NVME_DOORBELLS) {
		f->doorbells++;
		if (f->deaf)
			return;
	}
	if (off == NVME_CC && !(v & NVME_CC_EN))
		f->fatal = false;
	nvme_emul_mmio(f->emul, off, bytes, true, &v);
}

static void bar_write32(struct bus_dev *d, u32 off, u32 v)
{
	bar_write(from_bus(d), off, 4, v);
}

static void bar_write64(struct bus_dev *d, u32 off, u64 v)
{
	bar_write(from_bus(d), off, 8, v);
}

static u32 bar_cfg_read(struct bus_dev *d, u32 off, u32 size)
{
	(void)size;
	return off == 4 ? from_bus(d)->cfg_command : 0;
}

static void bar_cfg_write(struct bus_dev *d, u32 off, u32 size, u32 v)
{
	(void)size;
	if (off == 4)
		from_bus(d)->cfg_command = v;
}

static void *bar_dma_alloc(struct bus_dev *d, size_t bytes, size_t align, u64 *dma)
{
	struct fake_bar *f = from_bus(d);
	void *p;

	if (f->alloc_fail && !--f->alloc_fail)
		return NULL;
	if (f->nallocs == FAKE_BAR_ALLOCS)
		return NULL;
	p = aligned_alloc(align, ALIGN_UP(bytes, align));
	memset(p, 0, ALIGN_UP(bytes, align));
	f->allocs[f->nallocs].p = p;
	f->allocs[f->nallocs++].bytes = bytes;
	*dma = (uintptr_t)p;
	return p;
}

static int bar_irq_enable(struct bus_dev *d, u32 vectors)
{
	struct fake_bar *f = from_bus(d);

	(void)vectors;
	if (f->no_irq)
		return -ENODEV;
	f->irq_enabled = true;
	return 0;
}

static void bar_irq_disable(struct bus_dev *d)
{
	from_bus(d)->irq_enabled = false;
}

static void bar_delay_us(struct bus_dev *d, u32 us)
{
	plat_host_now_ns += us * NS_PER_US;
	fake_bar_run(from_bus(d));
}

static const struct bus_ops bar_ops = {
	.read32 = bar_read32,
	.write32 = bar_write32,
	.read64 = bar_read64,
	.write64 = bar_write64,
	.cfg_read = bar_cfg_read,
	.cfg_write = bar_cfg_write,
	.dma_alloc = bar_dma_alloc,
	.irq_enable = bar_irq_enable,
	.irq_disable = bar_irq_disable,
	.delay_us = bar_delay_us,
};

static void bar_init(struct fake_bar *f, struct fake_disk *disk)
{
	memset(f, 0, sizeof(*f));
	f->bus.ops = &bar_ops;
	f->bus.bdf = 0x0020;
	f->host.ops = &host_ops;
	f->cfg_command = 6;
	f->disk = disk;
	if (!plat_host_now_ns)
		plat_host_now_ns = NS_PER_SEC;
}

void fake_bar_init(struct fake_bar *f, struct fake_disk *disk, const struct nvme_emul_cfg *cfg)
{
	bar_init(f, disk);
	f->bus.vendor = 0x1b36;
	f->bus.device = 0x0010;
	f->bus.bar_bytes = 0x4000;
	f->bus.has_msix = true;
	f->emul = nvme_emul_create(&f->host, &disk->blk, cfg);
	if (!f->emul)
		plat_panic("fake_bar: no emulation");
}

void fake_bar_init_ahci(struct fake_bar *f, struct fake_disk *disk,
			const struct ahci_emul_cfg *cfg)
{
	bar_init(f, disk);
	f->bus.vendor = 0x8086;
	f->bus.device = 0x2922;
	f->bus.bar_bytes = ahci_emul_bar_bytes(cfg);
	f->bus.has_msi = true;
	f->ahci = ahci_emul_create(&f->host, &disk->blk, cfg);
	if (!f->ahci)
		plat_panic("fake_bar: no emulation");
}

void fake_bar_fini(struct fake_bar *f)
{
	u32 i;

	if (f->ahci)
		ahci_emul_destroy(f->ahci);
	else
		nvme_emul_destroy(f->emul);
	for (i = 0; i < f->nallocs; i++)
		free(f->allocs[i].p);
}

/* Guest memory: @bytes at @p are seen at @gpa. */
void fake_bar_window(struct fake_bar *f, u64 gpa, void *p, size_t bytes)
{
	if (f->nwindows == FAKE_BAR_WINDOWS)
		plat_panic("fake_bar: windows");
	f->windows[f->nwindows].gpa = gpa;
	f->windows[f->nwindows].p = p;
	f->windows[f->nwindows++].bytes = bytes;
}

/* Memory where addresses are pointers, as for a driver on this bus. */
void fake_bar_identity(struct fake_bar *f, void *p, size_t bytes)
{
	fake_bar_window(f, (uintptr_t)p, p, bytes);
}

/* Let the controller and the disk below do what they can. */
void fake_bar_run(struct fake_bar *f)
{
	u32 i;

	if (f->gone)
		return;
	for (i = 0; i < 8; i++) {
		bool any = f->ahci ? ahci_emul_poll(f->ahci) : nvme_emul_poll(f->emul);

		blk_poll(&f->disk->blk);
		if (f->drive)
			fake_drive_poll(f->drive);
		if (!any && !(f->ahci ? ahci_emul_work(f->ahci) : nvme_emul_work(f->emul)))
			break;
	}
}
