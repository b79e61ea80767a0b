/*
 * guestio_priv.h - what the guestio*.c files share
 *
 * guestio.c		pools, segments, parts, a request's beginning and end
 * guestio_read.c	where a block is; reading and checking
 * guestio_write.c	writes, zeroes, TRIM
 *
 * Requests (struct gop) and parts are in disk_priv.h. What is called gop_ works on
 * a request's cursor, part_ on a part. All of it runs in the disk's owner.
 */
#ifndef STORAGE_CORE_GUESTIO_PRIV_H
#define STORAGE_CORE_GUESTIO_PRIV_H

#include "storage/core/disk_priv.h"

/* How a block is served. */
enum guestio_kind {
	KIND_ZERO,
	KIND_OVL,
	KIND_BASE,
	KIND_COPY, /* in a chunk buffer */
	KIND_MISS,
};

/* What one step of dispatching came to. */
enum gop_step {
	STEP_ON,
	STEP_STALL,
};

static inline bool guestio_pools_ok(const struct disk *d)
{
	return !list_empty(&d->part_free) && d->nbounce;
}

/* Longest device request, in blocks. */
static inline u32 guestio_dev_blocks(const struct disk *d)
{
	const struct blk_dev *b = d->s->blk;
	u32 n = b->max_sectors / (BLOCK_BYTES / b->sector_bytes);

	return n ? n : 1;
}

static inline u32 guestio_dev_segs(const struct disk *d)
{
	return MIN(d->s->blk->max_segs, PART_SEGS);
}

/* guestio.c */
u32 gop_slice(const struct gop *g, u32 bytes, struct blk_seg *out, u32 max, u32 *n);
void gop_advance(struct gop *g, u32 bytes);
void gop_fail(struct gop *g, int err);
void guestio_segs_trim(struct blk_seg *segs, u32 *n, u32 have, u32 want);
void guestio_segs_copy(const struct blk_seg *segs, u32 n, u32 off, void *data, u32 bytes,
		       bool to_segs);
struct part *part_get(struct gop *g);
void part_bounce(struct part *p);
void part_done(struct part *p, int err);
void part_undo(struct part *p);
void part_io(struct part *p, enum blk_op op, u64 dev, u32 sub, void (*done)(struct blk_req *, int));

/* guestio_read.c */
enum guestio_kind guestio_classify(struct disk *d, u64 block, u64 *dev);
bool part_wait(struct part *p, u32 c);
void part_verify(struct part *p);
void part_data(struct part *p);
void part_read_base(struct part *p, u64 dev);
void part_read_ovl(struct part *p, u64 dev, u32 sub);
enum gop_step gop_read_step(struct gop *g);

/* guestio_write.c */
void part_rmw_write(struct part *p);
enum gop_step gop_write_step(struct gop *g);
enum gop_step gop_zero_step(struct gop *g);

#endif
