/*
 * memdisk.c - a range of memory as a block device
 *
 * What stands behind the store on a PC without a disk, or with one that is not
 * to be touched. Durable until the power goes, so there is nothing to flush.
 *
 * A sector that was never written reads as zeroes, and is not looked at: the
 * range holds whatever was in that memory before, perhaps the store of the boot
 * before a warm reset. One bit a sector says which were written; the bits lie
 * at the range's end and are all that is cleared at the start.
 *
 * submit() queues, poll() copies what was queued when it began; what its
 * callbacks submit is the next poll's, so that each poll ends.
 * Context: pump.
 */
#include "storage/drivers/memdisk.h"

#include <string.h>

#include "base/bitmap.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"

#define MAX_SECTORS 256u
#define MAX_SEGS 2048u

struct memdisk {
	struct blk_dev blk;
	u8 *mem; /* (c) */
	u64 *written; /* (c) a bit per sector, in the range itself */
	struct list queue;
	struct memdisk_stats n;
};

static struct memdisk *to_memdisk(struct blk_dev *d)
{
	return container_of(d, struct memdisk, blk);
}

static void copy_sector(struct memdisk *m, u64 lba, u32 from, u8 *buf, u32 bytes, bool write)
{
	u8 *at = m->mem + lba * MEMDISK_SECTOR_BYTES + from;

	if (write)
		memcpy(at, buf, bytes);
	else if (bitmap_test(m->written, lba))
		memcpy(buf, at, bytes);
	else
		memset(buf, 0, bytes);
}

static void mark(struct memdisk *m, u64 lba, bool written)
{
	if (bitmap_test(m->written, lba) == written)
		return;
	if (written) {
		bitmap_set(m->written, lba);
		m->n.sectors_used++;
	} else {
		bitmap_clear(m->written, lba);
		m->n.sectors_used--;
	}
}

/* Segments may begin and end anywhere; a write covers its sectors whole. */
static void transfer(struct memdisk *m, const struct blk_req *r)
{
	bool write = r->op == BLK_WRITE;
	u64 at = 0;

	for (u32 i = 0; i < r->nsegs; i++) {
		u8 *buf = plat_phys_to_virt(r->segs[i].pa);

		for (u32 done = 0, n; done < r->segs[i].bytes; done += n, at += n) {
			u64 lba = r->lba + at / MEMDISK_SECTOR_BYTES;
			u32 in = at % MEMDISK_SECTOR_BYTES;

			n = MIN(r->segs[i].bytes - done, MEMDISK_SECTOR_BYTES - in);
			copy_sector(m, lba, in, buf + done, n, write);
		}
	}
	for (u32 i = 0; write && i < r->sectors; i++)
		mark(m, r->lba + i, true);
	*(write ? &m->n.writes : &m->n.reads) += 1;
	*(write ? &m->n.bytes_written : &m->n.bytes_read) += at;
}

static bool request_ok(const struct memdisk *m, const struct blk_req *r)
{
	u64 bytes = 0;

	if (r->op == BLK_FLUSH)
		return true;
	if (!r->sectors || r->lba >= m->blk.sectors || r->sectors > m->blk.sectors - r->lba)
		return false;
	if (r->op == BLK_TRIM || r->op == BLK_WRITE_ZEROES)
		return true;
	for (u32 i = 0; i < r->nsegs; i++)
		bytes += r->segs[i].bytes;
	return r->sectors <= MAX_SECTORS && bytes == (u64)r->sectors * MEMDISK_SECTOR_BYTES;
}

static int execute(struct memdisk *m, const struct blk_req *r)
{
	if (!request_ok(m, r))
		return -EINVAL;
	switch (r->op) {
	case BLK_READ:
	case BLK_WRITE:
		transfer(m, r);
		return 0;
	case BLK_TRIM:
	case BLK_WRITE_ZEROES:
		for (u32 i = 0; i < r->sectors; i++)
			mark(m, r->lba + i, false);
		return 0;
	case BLK_FLUSH:
		return 0;
	}
	return -EINVAL;
}

static void memdisk_submit(struct blk_dev *d, struct blk_req *r)
{
	list_add_tail(&to_memdisk(d)->queue, &r->link);
}

static void memdisk_poll(struct blk_dev *d)
{
	struct memdisk *m = to_memdisk(d);
	struct list now = LIST_INIT(now);
	struct blk_req *r;

	list_splice_tail(&now, &m->queue);
	while (!list_empty(&now)) {
		r = list_first(&now, struct blk_req, link);
		list_del(&r->link);
		r->done(r, execute(m, r));
	}
}

static const struct blk_ops memdisk_ops = {
	.submit = memdisk_submit,
	.poll = memdisk_poll,
};

int memdisk_create(struct blk_dev **out, hpa_t pa, u64 bytes)
{
	u64 sectors = bytes / MEMDISK_SECTOR_BYTES, map;
	struct memdisk *m;

	map = ALIGN_UP((u64)BITMAP_WORDS(sectors) * 8, (u64)MEMDISK_SECTOR_BYTES);
	if (!IS_ALIGNED(pa.v, MEMDISK_SECTOR_BYTES) || !IS_ALIGNED(bytes, MEMDISK_SECTOR_BYTES) ||
	    bytes <= map)
		return err_trace(-EINVAL);
	m = plat_alloc(sizeof(*m));
	if (!m)
		return -ENOMEM;
	sectors -= map / MEMDISK_SECTOR_BYTES;
	m->mem = plat_phys_to_virt(pa);
	m->written = (u64 *)(m->mem + sectors * MEMDISK_SECTOR_BYTES);
	memset(m->written, 0, map);
	list_init(&m->queue);
	m->blk = (struct blk_dev){
		.ops = &memdisk_ops,
		.sector_bytes = MEMDISK_SECTOR_BYTES,
		.sectors = sectors,
		.max_sectors = MAX_SECTORS,
		.max_segs = MAX_SEGS,
		.serial = MEMDISK_SERIAL,
		.model = "memory of this PC",
	};
	*out = &m->blk;
	log_info("memdisk: ready mib=%llu", (unsigned long long)(bytes / MIB));
	return 0;
}

bool memdisk_pending(struct blk_dev *d)
{
	return !list_empty(&to_memdisk(d)->queue);
}

const struct memdisk_stats *memdisk_stats(struct blk_dev *d)
{
	return &to_memdisk(d)->n;
}
