/*
 * The guest's requests: writes, zeroes, TRIM
 *
 * Writes go to the overlay. The mapping of a block changes when the device has
 * acknowledged its data. A write of less than a block to a block that the
 * overlay does not have reads it into a bounce buffer first (guestio_read.c);
 * meanwhile nothing else may write this block, and no such read may start while
 * a write to the block is in flight.
 *
 * WRITE ZEROES changes mappings only, and waits for writes in flight too. TRIM
 * is WRITE ZEROES of the whole blocks in its range; a chunk that then has no
 * block in its overlay slot gives it back (reclaim.c).
 */
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "storage/core/guestio_priv.h"

#define ZERO_STEPS 4096u /* chunks zeroed before others get their turn */

/* Slot of chunk @c's overlay, taken if need be; SLOT_NONE: the store is full, or its map. */
static u32 ovl_slot(struct disk *d, u32 c)
{
	u32 slot = chunkmap_ovl_slot(d->m, c);

	if (slot != SLOT_NONE || !chunkmap_ovl_room(d->m, c))
		return slot;
	slot = slotmap_take(&d->s->slots, true);
	if (slot != SLOT_NONE)
		chunkmap_ovl_slot_set(d->m, c, slot);
	return slot;
}

/* There was no slot, or no room in the map, for chunk @c: may there be soon? */
static bool room_comes(struct disk *d, u32 c)
{
	if (!chunkmap_ovl_room(d->m, c) && !d->map_full) {
		d->again = true; /* the next round begins with getting more */
		return true;
	}
	return stage_pressure(d);
}

/* Is a write to any of these blocks in flight? With @rmw_only, one that reads first? */
static bool write_active(struct disk *d, u64 block, u64 n, bool rmw_only)
{
	struct part *p;

	list_for_each(p, &d->writes, active)
		if ((p->rmw || !rmw_only) && p->block < block + n && block < p->block + p->nblocks)
			return true;
	return false;
}

static void remap(struct gop *g, u64 block, u64 n, bool zero)
{
	struct disk *d = g->d;

	if (!chunkmap_ovl_mark(d->m, block, n, zero) || !d->s->keep_overlay)
		return;
	for (u64 c = block >> d->m->bpc_shift; c <= (block + n - 1) >> d->m->bpc_shift; c++)
		chunkmap_dirty(d->m, (u32)c);
	g->remapped = true;
}

static void write_done(struct blk_req *r, int err)
{
	struct part *p = container_of(r, struct part, req);

	if (!err)
		remap(p->g, p->block, p->nblocks, false);
	part_done(p, err ? -EIO : 0);
}

static void part_write(struct part *p, u64 dev, u32 sub)
{
	if (list_empty(&p->active))
		list_add_tail(&p->g->d->writes, &p->active);
	part_io(p, BLK_WRITE, dev, sub, write_done);
}

/** part_rmw_write() - the block is in the bounce buffer: put the guest's bytes in, write it */
void part_rmw_write(struct part *p)
{
	struct disk *d = p->g->d;
	u32 c = (u32)(p->block >> d->m->bpc_shift);
	u32 slot = ovl_slot(d, c);

	if (slot == SLOT_NONE) {
		part_done(p, -ENOSPC);
		return;
	}
	if (p->g->r->op == BLK_WRITE_ZEROES)
		memset(p->bounce + p->off, 0, p->bytes);
	else
		guestio_segs_copy(p->segs, p->nsegs, 0, p->bounce + p->off, p->bytes, false);
	part_write(p, store_slot_block(d->s, slot) + (p->block & (d->m->bpc - 1)), 0);
}

/* Nowhere to write chunk @c to: wait when that may change, else refuse the rest. */
static enum gop_step no_room(struct gop *g, u32 c)
{
	if (room_comes(g->d, c))
		return STEP_STALL;
	log_limited(LOG_ERR, "disk: %s full, guest write refused",
		    g->d->s->slots.free ? "the map of guest writes is" : "store");
	gop_fail(g, -ENOSPC);
	g->pos = g->end;
	return STEP_ON;
}

static enum gop_step rmw_step(struct gop *g, u64 block, u32 boff, u32 bytes)
{
	struct disk *d = g->d;
	u32 c = (u32)(block >> d->m->bpc_shift);
	u64 dev = 0;
	enum guestio_kind kind;
	struct part *p;

	if (!guestio_pools_ok(d) || write_active(d, block, 1, false))
		return STEP_STALL;
	/* the slot now: later there is no way back */
	if (ovl_slot(d, c) == SLOT_NONE && room_comes(d, c))
		return STEP_STALL;
	p = part_get(g);
	part_bounce(p);
	p->rmw = true;
	p->block = block;
	p->nblocks = 1;
	p->off = boff;
	if (g->r->op == BLK_WRITE)
		bytes = gop_slice(g, bytes, p->segs, PART_SEGS, &p->nsegs);
	p->bytes = bytes;
	list_add_tail(&d->writes, &p->active);
	kind = guestio_classify(d, block, &dev);
	p->dev = dev;
	if (d->rec.on && kind != KIND_ZERO && kind != KIND_OVL)
		profile_note(d, block, 1);
	switch (kind) {
	case KIND_ZERO:
		memset(p->bounce, 0, BLOCK_BYTES);
		gop_advance(g, bytes);
		part_data(p);
		return STEP_ON;
	case KIND_OVL:
		gop_advance(g, bytes);
		part_read_ovl(p, dev, 0);
		return STEP_ON;
	case KIND_BASE:
		p->check = true;
		gop_advance(g, bytes);
		part_read_base(p, dev);
		return STEP_ON;
	case KIND_COPY:
	case KIND_MISS:
		break;
	}
	if (!part_wait(p, c)) {
		part_undo(p);
		return STEP_STALL;
	}
	gop_advance(g, bytes);
	return STEP_ON;
}

static enum gop_step write_partial(struct gop *g, u64 block, u32 boff, u32 bytes)
{
	struct disk *d = g->d;
	u32 unit = d->s->blk->sector_bytes, got, n, slot;
	struct part *p;

	if (g->r->op == BLK_WRITE_ZEROES || chunkmap_ovl_at(d->m, block, &slot) != OVL_VALID ||
	    boff % unit || bytes % unit)
		return rmw_step(g, block, boff, bytes);
	if (!guestio_pools_ok(d) || write_active(d, block, 1, true))
		return STEP_STALL;
	p = part_get(g);
	got = gop_slice(g, bytes, p->segs, guestio_dev_segs(d), &n);
	if (got < bytes) {
		part_done(p, 0);
		return rmw_step(g, block, boff, bytes);
	}
	p->nsegs = n;
	p->block = block;
	p->nblocks = 1;
	p->bytes = bytes;
	gop_advance(g, bytes);
	part_write(p, store_slot_block(d->s, slot) + (block & (d->m->bpc - 1)), boff);
	return STEP_ON;
}

/* Blocks from @block on, at most @max, whose overlay slots lie in a row. */
static u32 ovl_run(struct disk *d, u64 block, u32 max, u64 *dev)
{
	u32 bpc = d->m->bpc, c = (u32)(block >> d->m->bpc_shift), slot = ovl_slot(d, c), n;

	if (slot == SLOT_NONE)
		return 0;
	*dev = store_slot_block(d->s, slot) + (block & (bpc - 1));
	n = bpc - (u32)(block & (bpc - 1));
	while (n < max && ovl_slot(d, ++c) == ++slot)
		n += bpc;
	return MIN(n, max);
}

/** gop_write_step() - dispatch the next piece of a write */
enum gop_step gop_write_step(struct gop *g)
{
	struct disk *d = g->d;
	u64 block = g->pos >> BLOCK_SHIFT, left = g->end - g->pos, dev;
	u32 boff = (u32)g->pos & (BLOCK_BYTES - 1), n, got;
	struct part *p;

	if (boff || left < BLOCK_BYTES)
		return write_partial(g, block, boff, (u32)MIN((u64)BLOCK_BYTES - boff, left));
	if (!guestio_pools_ok(d))
		return STEP_STALL;
	n = ovl_run(d, block, (u32)MIN(left >> BLOCK_SHIFT, (u64)guestio_dev_blocks(d)), &dev);
	if (!n)
		return no_room(g, (u32)(block >> d->m->bpc_shift));
	if (write_active(d, block, n, true))
		return STEP_STALL;
	p = part_get(g);
	p->block = block;
	got = gop_slice(g, n * BLOCK_BYTES, p->segs, guestio_dev_segs(d), &p->nsegs);
	if (got < BLOCK_BYTES) {
		/* in crumbs: gather them */
		part_bounce(p);
		got = gop_slice(g, BLOCK_BYTES, p->segs, PART_SEGS, &p->nsegs);
		if (got < BLOCK_BYTES) {
			part_done(p, -EINVAL);
			g->pos = g->end;
			return STEP_ON;
		}
		guestio_segs_copy(p->segs, p->nsegs, 0, p->bounce, BLOCK_BYTES, false);
	}
	p->bytes = ALIGN_DOWN(got, BLOCK_BYTES);
	guestio_segs_trim(p->segs, &p->nsegs, got, p->bytes);
	p->nblocks = p->bytes / BLOCK_BYTES;
	gop_advance(g, p->bytes);
	part_write(p, dev, 0);
	return STEP_ON;
}

/*
 * Chunk @c may have lost its last block in its slot: give that back. Not while a
 * write to it is in flight, which would put a block there. False: later.
 */
static bool ovl_release(struct gop *g, u32 c)
{
	struct disk *d = g->d;
	struct chunkmap *m = d->m;
	u64 first = (u64)c << m->bpc_shift;

	if (chunkmap_ovl_slot(m, c) == SLOT_NONE || d->s->failed ||
	    write_active(d, first, m->bpc, false) || chunkmap_ovl_valid(m, c))
		return true;
	if (!reclaim_put(d, chunkmap_ovl_slot(m, c)))
		return false;
	chunkmap_ovl_slot_set(m, c, SLOT_NONE);
	if (d->s->keep_overlay) {
		chunkmap_dirty(m, c);
		g->remapped = true;
	}
	return true;
}

/** gop_zero_step() - do the next piece of WRITE ZEROES or TRIM */
enum gop_step gop_zero_step(struct gop *g)
{
	struct disk *d = g->d;
	u64 block = g->pos >> BLOCK_SHIFT, left = g->end - g->pos, n;
	u32 boff = (u32)g->pos & (BLOCK_BYTES - 1), c = (u32)(block >> d->m->bpc_shift);

	if (++g->steps > ZERO_STEPS) {
		g->steps = 0;
		d->again = true; /* others first */
		return STEP_STALL;
	}

	if (boff || left < BLOCK_BYTES)
		return write_partial(g, block, boff, (u32)MIN((u64)BLOCK_BYTES - boff, left));
	/* a chunk at a time, so that one that is zero anyway needs no mapping */
	n = MIN(left >> BLOCK_SHIFT, d->m->bpc - (block & (d->m->bpc - 1)));
	if (write_active(d, block, n, false))
		return STEP_STALL;
	if (d->m->base[c] != SLOT_ZERO || chunkmap_ovl_any(d->m, c)) {
		if (d->m->group[block / GROUP_BLOCKS] != GROUP_ZERO && !chunkmap_ovl_room(d->m, c))
			return no_room(g, c);
		remap(g, block, n, true);
	}
	if (!ovl_release(g, c))
		return STEP_STALL;
	g->pos += n << BLOCK_SHIFT;
	return STEP_ON;
}
