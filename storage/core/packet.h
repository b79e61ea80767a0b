/*
 * packet.h - an asynchronous device of SCSI commands in ATA packets: an optical drive
 *
 * What blk.h is to disks. The driver of a real controller implements it, and the
 * controller that the guest sees passes the guest's packets on: nothing here
 * knows what a packet means. One command at a time; one owner calls everything.
 */
#ifndef STORAGE_CORE_PACKET_H
#define STORAGE_CORE_PACKET_H

#include "base/list.h"
#include "base/types.h"
#include "storage/core/blk.h"

#define PACKET_CDB_BYTES 16u
#define PACKET_ID_WORDS 256u

/* Belongs to the device from submit() until done(), with its segments. */
struct packet_req {
	u8 cdb[PACKET_CDB_BYTES];
	u8 features; /* of the PACKET command: whether by DMA */
	u16 limit; /* bytes of a block, when not by DMA */
	bool to_device; /* where the data go, if there are any */
	const struct blk_seg *segs; /* room for them, which may be longer than they are */
	u32 nsegs;
	u32 moved; /* out: bytes */
	u8 error; /* out: the error register; 0: it has ended well */
	/*
	 * 0: the device has answered, see .error. -EIO: it did not; -EINVAL: its
	 * controller cannot reach the segments. Never called from inside submit()
	 * or reset(). The callback may submit again and may reuse @r.
	 */
	void (*done)(struct packet_req *r, int err);
	void *owner; /* the submitter's */
	struct list link; /* the device's while submitted */
	int err; /* the device's while submitted */
};

struct packet_dev;

struct packet_ops {
	/* Always takes @r. */
	void (*submit)(struct packet_dev *d, struct packet_req *r);
	/* What was submitted is not wanted any more: it ends soon, with -EIO. */
	void (*reset)(struct packet_dev *d);
};

struct packet_dev {
	const struct packet_ops *ops;
	u32 max_segs; /* (c) */
	u16 id[PACKET_ID_WORDS]; /* (c) IDENTIFY PACKET DEVICE */
};

static inline void packet_submit(struct packet_dev *d, struct packet_req *r)
{
	d->ops->submit(d, r);
}

static inline void packet_reset(struct packet_dev *d)
{
	d->ops->reset(d);
}

#endif
