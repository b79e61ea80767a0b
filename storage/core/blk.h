/*
 * blk.h - an asynchronous block device
 *
 * Real controllers (storage/drivers), the virtual disk (storage/core/disk.c)
 * and the fakes of the tests implement it; front-ends and the storage core
 * use it. One owner calls everything: in the VMM that is the pump.
 *
 * Data is named by host-physical segments. A driver gives them to the device;
 * code that must look at the bytes uses plat_phys_to_virt().
 */
#ifndef STORAGE_CORE_BLK_H
#define STORAGE_CORE_BLK_H

#include "base/list.h"
#include "base/types.h"

enum blk_op {
	BLK_READ,
	BLK_WRITE,
	BLK_FLUSH,
	BLK_TRIM, /* contents become undefined; of the virtual disk, whole 4 KiB: zeroes */
	BLK_WRITE_ZEROES,
};

struct blk_seg {
	hpa_t pa;
	u32 bytes;
};

/*
 * A request belongs to the device from submit() until done(). The segment
 * array is the submitter's and must live as long. The sum of segment lengths
 * is sectors * sector_bytes for reads and writes, 0 segments otherwise.
 */
struct blk_req {
	enum blk_op op;
	bool fua; /* durable before done() */
	u64 lba; /* in the device's sectors */
	u32 sectors;
	const struct blk_seg *segs;
	u32 nsegs;
	/*
	 * 0, -EIO (media or device), -EINVAL (range, alignment), -ENOSPC,
	 * -ECANCELED. Never called from inside submit(). The callback may
	 * submit again and may reuse @r.
	 */
	void (*done)(struct blk_req *r, int err);
	void *owner; /* the submitter's */
	struct list link; /* the device's while submitted */
	u64 scratch[2]; /* the device's while submitted */
};

struct blk_dev;

struct blk_ops {
	/* Always takes @r; a full device queues it by r->link. */
	void (*submit)(struct blk_dev *d, struct blk_req *r);
	/* Advance: reap completions, start what waits, run time-outs. */
	void (*poll)(struct blk_dev *d);
	/*
	 * Does hardware owe it an answer? Then it is polled within the time that a disk
	 * takes, and who is polled with it need not be called for less. NULL: never.
	 */
	bool (*soon)(const struct blk_dev *d);
};

struct blk_dev {
	const struct blk_ops *ops;
	u32 sector_bytes; /* (c) 512 or 4096 */
	u64 sectors; /* (c) */
	u32 max_sectors; /* (c) longest read or write in one request */
	u32 max_segs; /* (c) */
	bool write_cache; /* (c) BLK_FLUSH is needed for durability */
	char serial[24]; /* (c) terminated, spaces trimmed */
	char model[44]; /* (c) */
};

static inline void blk_submit(struct blk_dev *d, struct blk_req *r)
{
	d->ops->submit(d, r);
}

static inline void blk_poll(struct blk_dev *d)
{
	d->ops->poll(d);
}

static inline bool blk_soon(const struct blk_dev *d)
{
	return d->ops->soon && d->ops->soon(d);
}

#endif
