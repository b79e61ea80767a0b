/*
 * The guest's requests, cut into parts
 *
 * A request is walked block by block; what lies together and is served the
 * same way becomes a part: zeroes and chunk buffers are copied at once,
 * overlay slots and base slots become device requests on the guest's own
 * segments, a missing chunk makes the part wait at its buffer. Neighbouring
 * slots merge into one device request.
 *
 * Base data is checked against its sums when the device has delivered it. A
 * block that fails, or that the device could not read, makes the part wait for
 * that chunk to be loaded into a buffer, where it is checked again (the guest
 * may have scribbled on its own memory), and refetched if need be; then the
 * part goes on behind that chunk.
 *
 * Writes go to the overlay. The mapping of a block changes when the device has
 * acknowledged its data. A write of less than a block to a block that the
 * overlay does not have reads it into a bounce buffer first; meanwhile nothing
 * else may write this block, and no such read may start while a write to the
 * block is in flight. WRITE ZEROES changes mappings only, and waits for
 * writes in flight too. TRIM is WRITE ZEROES of the whole blocks in its range; a
 * chunk that then has no block in its overlay slot gives it back (reclaim.c).
 *
 * When parts, bounce buffers or chunk buffers run out, the request stalls
 * where it is and goes on when some are free.
 */
#include <string.h>

#include "base/bitmap.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "storage/core/disk_priv.h"

enum kind {
	KIND_ZERO,
	KIND_OVL,
	KIND_BASE,
	KIND_COPY, /* in a chunk buffer */
	KIND_MISS,
};

/* What one step of dispatching came to. */
enum step {
	STEP_ON,
	STEP_STALL,
};

#define ZERO_STEPS 4096u /* chunks zeroed before others get their turn */

static void part_verify(struct part *p);
static void rmw_write(struct part *p);

/* ---------------------------------------------------------------- pools */

int guestio_init(struct disk *d)
{
	list_init(&d->incoming);
	list_init(&d->stalled);
	list_init(&d->gop_free);
	list_init(&d->part_free);
	list_init(&d->writes);
	list_init(&d->blocked);
	d->gops = plat_alloc(GOPS * sizeof(*d->gops));
	d->parts = plat_alloc(PARTS * sizeof(*d->parts));
	d->bounce_mem = plat_alloc(BOUNCES * BLOCK_BYTES);
	d->bytes += GOPS * sizeof(*d->gops) + PARTS * sizeof(*d->parts) + BOUNCES * BLOCK_BYTES;
	if (!d->gops || !d->parts || !d->bounce_mem)
		return -ENOMEM;
	for (u32 i = 0; i < GOPS; i++)
		list_add_tail(&d->gop_free, &d->gops[i].link);
	for (u32 i = 0; i < PARTS; i++)
		list_add_tail(&d->part_free, &d->parts[i].link);
	for (d->nbounce = 0; d->nbounce < BOUNCES; d->nbounce++)
		d->bounce[d->nbounce] = d->bounce_mem + d->nbounce * BLOCK_BYTES;
	return 0;
}

void guestio_fini(struct disk *d)
{
	plat_free(d->gops);
	plat_free(d->parts);
	plat_free(d->bounce_mem);
}

static bool pools_ok(const struct disk *d)
{
	return !list_empty(&d->part_free) && d->nbounce;
}

/* ---------------------------------------------------------------- segments */

/* The guest's next bytes as segments; returns how many bytes fit into @max segments. */
static u32 slice(const struct gop *g, u32 bytes, struct blk_seg *out, u32 max, u32 *n)
{
	const struct blk_seg *in = g->r->segs;
	u32 off = g->seg_off, got = 0;

	*n = 0;
	for (u32 i = g->seg; got < bytes && *n < max && i < g->r->nsegs; i++, off = 0) {
		u32 take = MIN(in[i].bytes - off, bytes - got);

		if (!take)
			continue;
		out[(*n)++] = (struct blk_seg){ HPA(in[i].pa.v + off), take };
		got += take;
	}
	return got;
}

static void trim(struct blk_seg *segs, u32 *n, u32 have, u32 want)
{
	while (have > want) {
		u32 cut = MIN(segs[*n - 1].bytes, have - want);

		segs[*n - 1].bytes -= cut;
		have -= cut;
		if (!segs[*n - 1].bytes)
			(*n)--;
	}
}

static void advance(struct gop *g, u32 bytes)
{
	const struct blk_seg *in = g->r->segs;

	g->pos += bytes;
	if (g->r->op != BLK_READ && g->r->op != BLK_WRITE)
		return;
	while (bytes) {
		u32 take = MIN(in[g->seg].bytes - g->seg_off, bytes);

		g->seg_off += take;
		bytes -= take;
		if (g->seg_off == in[g->seg].bytes) {
			g->seg++;
			g->seg_off = 0;
		}
	}
}

/* @data to (or from) @segs at @off; NULL: zeroes. */
static void copy(const struct blk_seg *segs, u32 n, u32 off, void *data, u32 bytes, bool to_segs)
{
	u8 *d = data;

	for (u32 i = 0; i < n && bytes; i++) {
		u32 take;
		u8 *p;

		if (off >= segs[i].bytes) {
			off -= segs[i].bytes;
			continue;
		}
		take = MIN(segs[i].bytes - off, bytes);
		p = (u8 *)plat_phys_to_virt(segs[i].pa) + off;
		if (!to_segs)
			memcpy(d, p, take);
		else if (d)
			memcpy(p, d, take);
		else
			memset(p, 0, take);
		d = d ? d + take : NULL;
		bytes -= take;
		off = 0;
	}
}

/* To the guest at the cursor, any number of segments. */
static void copy_out(struct gop *g, const void *data, u32 bytes)
{
	copy(g->r->segs + g->seg, g->r->nsegs - g->seg, g->seg_off, (void *)data, bytes, true);
}

/* Checksum of block @b of a part's data, wherever it lies. */
static u32 part_sum(const struct part *p, u32 b)
{
	const struct blk_seg *segs = p->bounce ? &p->bseg : p->segs;
	u32 n = p->bounce ? 1 : p->nsegs, off = b * BLOCK_BYTES, left = BLOCK_BYTES;
	u32 crc = crctab_seed(p->dev + b);

	for (u32 i = 0; i < n && left; i++) {
		u32 take;

		if (off >= segs[i].bytes) {
			off -= segs[i].bytes;
			continue;
		}
		take = MIN(segs[i].bytes - off, left);
		crc = crc32c(crc, (u8 *)plat_phys_to_virt(segs[i].pa) + off, take);
		left -= take;
		off = 0;
	}
	return crc;
}

/* ---------------------------------------------------------------- the end of a request */

static void gop_finish(struct gop *g)
{
	struct disk *d = g->d;
	struct blk_req *r = g->r;
	u64 took = plat_time_ns() - g->start_ns;
	int err = g->err;

	if (g->waited) {
		d->st.longest_wait_ns = MAX(d->st.longest_wait_ns, took);
		d->st.waiting--;
	}
	if (r->op == BLK_READ) {
		d->st.longest_read_ns = MAX(d->st.longest_read_ns, took);
		d->st.failed_reads += err ? 1 : 0;
	} else if (r->op != BLK_FLUSH) {
		d->st.failed_writes += err ? 1 : 0;
	}
	g->r = NULL;
	list_add_tail(&d->gop_free, &g->link);
	d->gops_busy--;
	d->again = true;
	r->done(r, err);
}

static void gop_synced(struct store_sync *w, int err)
{
	struct gop *g = container_of(w, struct gop, sync);

	if (err && !g->err)
		g->err = -EIO;
	gop_finish(g);
}

static void gop_put(struct gop *g)
{
	struct disk *d = g->d;

	if (--g->refs)
		return;
	/*
	 * FUA went to the device with the data. It needs more where a mapping has
	 * changed: by this request, or by one before it that no record covers yet.
	 */
	if (g->r->fua && g->r->op != BLK_READ && !g->err && d->s->keep_overlay &&
	    (g->remapped || d->m->ndirty || !store_idle(d->s))) {
		g->sync.done = gop_synced;
		store_sync(d->s, &g->sync);
		return;
	}
	gop_finish(g);
}

static void gop_fail(struct gop *g, int err)
{
	if (!g->err)
		g->err = err;
}

/* ---------------------------------------------------------------- parts */

static struct part *part_get(struct gop *g)
{
	struct disk *d = g->d;
	struct part *p = list_first(&d->part_free, struct part, link);

	list_del(&p->link);
	list_init(&p->active);
	p->g = g;
	p->rmw = p->check = p->unread = false;
	p->bounce = NULL;
	p->nsegs = 0;
	p->vblk = 0;
	p->off = 0;
	g->refs++;
	return p;
}

static void part_bounce(struct part *p)
{
	struct disk *d = p->g->d;

	p->bounce = d->bounce[--d->nbounce];
	p->bseg = (struct blk_seg){ plat_virt_to_phys(p->bounce), BLOCK_BYTES };
}

static void part_done(struct part *p, int err)
{
	struct gop *g = p->g;
	struct disk *d = g->d;

	if (err)
		gop_fail(g, err);
	if (p->bounce)
		d->bounce[d->nbounce++] = p->bounce;
	list_del(&p->active);
	list_add(&d->part_free, &p->link);
	d->again = true;
	gop_put(g);
}

/* Not started after all: nothing is better than before. */
static void part_undo(struct part *p)
{
	struct disk *d = p->g->d;
	bool again = d->again;

	part_done(p, 0);
	d->again = again;
}

/* The block or blocks of a read part are there: hand them over, or go on writing. */
static void part_data(struct part *p)
{
	if (p->rmw) {
		rmw_write(p);
		return;
	}
	if (p->bounce)
		copy(p->segs, p->nsegs, 0, p->bounce + p->off, p->bytes, true);
	part_done(p, 0);
}

static void part_answered(struct blk_req *r, int err)
{
	struct part *p = container_of(r, struct part, req);

	p->g->d->owed--;
	p->then(r, err);
}

static void part_io(struct part *p, enum blk_op op, u64 dev, u32 sub,
		    void (*done)(struct blk_req *, int))
{
	struct disk *d = p->g->d;
	struct blk_dev *b = d->s->blk;
	u32 bytes = p->bounce ? BLOCK_BYTES : p->bytes;

	p->req = (struct blk_req){
		.op = op,
		.fua = op == BLK_WRITE && p->g->r->fua && d->s->keep_overlay,
		.lba = store_block_lba(d->s, dev) + sub / b->sector_bytes,
		.sectors = bytes / b->sector_bytes,
		.segs = p->bounce ? &p->bseg : p->segs,
		.nsegs = p->bounce ? 1 : p->nsegs,
		.done = part_answered,
	};
	p->then = done;
	d->owed++;
	blk_submit(b, &p->req);
}

/* Wait for chunk @c; false: no buffer free. */
static bool part_wait(struct part *p, u32 c)
{
	struct disk *d = p->g->d;
	struct cbuf *b = cbuf_get(d, c, SOURCE_DEMAND);

	if (!b)
		return false;
	if (cbuf_valid(b)) {
		part_serve(p, b, 0);
		return true;
	}
	list_add_tail(&b->waiters, &p->link);
	if (b->state == CBUF_WANT || b->state == CBUF_FETCH) {
		d->miss_time = plat_time_ns();
		if (!p->g->waited) {
			p->g->waited = true;
			d->st.waiting++;
		}
	}
	return true;
}

static bool bad_in(const struct cbuf *c, u32 first, u32 n)
{
	return c->bad_known && bitmap_next_set(c->bad, first + n, first) < first + n;
}

void part_serve(struct part *p, struct cbuf *c, int err)
{
	struct disk *d = p->g->d;
	u64 chunk0 = (u64)c->idx << d->m->bpc_shift;
	u64 from = MAX(p->block, chunk0);
	u64 to = MIN(p->block + p->nblocks, chunk0 + d->m->bpc);
	u32 in_chunk = (u32)(from - chunk0), n = (u32)(to - from);
	u8 *data = c->data + (size_t)in_chunk * BLOCK_BYTES;

	if (!err && bad_in(c, in_chunk, n))
		err = -EIO;
	if (err) {
		part_done(p, err);
		return;
	}
	if (p->bounce) {
		memcpy(p->bounce, data, BLOCK_BYTES);
		part_data(p);
		return;
	}
	if (p->check) {
		/* one chunk of several failed its check: replace it, go on behind it */
		copy(p->segs, p->nsegs, (u32)(from - p->block) * BLOCK_BYTES, data,
		     n * BLOCK_BYTES, true);
		p->vblk = (u32)(to - p->block);
		part_verify(p);
		return;
	}
	d->st.copied_bytes += p->bytes;
	copy(p->segs, p->nsegs, 0, data + p->off, p->bytes, true);
	part_done(p, 0);
}

static void part_line(struct crctab_wait *w)
{
	part_verify(container_of(w, struct part, crcw));
}

/* Check from block vblk on, as far as the sums are in memory. */
static void part_verify(struct part *p)
{
	struct disk *d = p->g->d;

	for (; p->vblk < p->nblocks; p->vblk++) {
		u64 block = p->dev + p->vblk;
		u32 c = (u32)((p->block + p->vblk) >> d->m->bpc_shift);

		p->crcw.done = part_line;
		if (!crctab_want(&d->s->crc, block, &p->crcw))
			return;
		if (!p->unread && crctab_ok(&d->s->crc, block, part_sum(p, p->vblk)))
			continue;
		/* Something is wrong: have it loaded, checked again, perhaps fetched. */
		struct cbuf *b = cbuf_find(d, c);

		if (b && d->offline && !cbuf_valid(b) && b->state != CBUF_LOAD && !b->suspect)
			part_done(p, -EIO);
		else if (!part_wait(p, c))
			list_add_tail(&d->blocked, &p->link);
		return;
	}
	part_data(p);
}

static void base_read(struct blk_req *r, int err)
{
	struct part *p = container_of(r, struct part, req);

	p->unread = err != 0;
	part_verify(p);
}

static void ovl_read(struct blk_req *r, int err)
{
	struct part *p = container_of(r, struct part, req);

	p->g->d->reclaim.reads[p->parity]--;
	if (err)
		part_done(p, -EIO);
	else
		part_data(p);
}

static void part_read_ovl(struct part *p, u64 dev, u32 sub)
{
	struct reclaim *r = &p->g->d->reclaim;

	p->parity = r->parity;
	r->reads[p->parity]++;
	part_io(p, BLK_READ, dev, sub, ovl_read);
}

/* ---------------------------------------------------------------- where a block is */

static enum kind classify(struct disk *d, u64 block, u64 *dev)
{
	struct chunkmap *m = d->m;
	u32 c = (u32)(block >> m->bpc_shift), in = (u32)block & (m->bpc - 1);
	enum ovl_state own;
	struct cbuf *b;
	u32 slot;

	own = chunkmap_ovl_at(m, block, &slot);
	if (own == OVL_ZERO)
		return KIND_ZERO;
	if (own == OVL_VALID) {
		*dev = store_slot_block(d->s, slot) + in;
		return KIND_OVL;
	}
	slot = m->base[c];
	if (slot == SLOT_ZERO)
		return KIND_ZERO;
	if (slot != SLOT_NONE && !(d->repairs && !d->offline)) {
		*dev = store_slot_block(d->s, slot) + in;
		return KIND_BASE;
	}
	b = cbuf_find(d, c);
	if (slot != SLOT_NONE && !(b && b->repair)) {
		*dev = store_slot_block(d->s, slot) + in;
		return KIND_BASE;
	}
	return b && cbuf_valid(b) ? KIND_COPY : KIND_MISS;
}

/* How many blocks from @block on, at most @max, are served like the first one? */
static u32 run_length(struct disk *d, u64 block, u32 max, enum kind kind, u64 dev)
{
	u32 n = 1;

	for (; n < max; n++) {
		u64 at = 0;

		if ((kind == KIND_COPY || kind == KIND_MISS) && !((block + n) & (d->m->bpc - 1)))
			break;
		if (classify(d, block + n, &at) != kind)
			break;
		if ((kind == KIND_OVL || kind == KIND_BASE) && at != dev + n)
			break;
	}
	return n;
}

static void ask(struct disk *d, u64 block, u32 n)
{
	if (d->rec.on)
		profile_note(d, block, n);
	for (u64 i = block >> d->asked_shift; i <= (block + n - 1) >> d->asked_shift; i++) {
		if (bitmap_test(d->asked, i))
			continue;
		bitmap_set(d->asked, i);
		d->st.asked_bytes += BLOCK_BYTES << d->asked_shift;
	}
}

/* Longest device request, in blocks. */
static u32 dev_blocks(const struct disk *d)
{
	const struct blk_dev *b = d->s->blk;
	u32 n = b->max_sectors / (BLOCK_BYTES / b->sector_bytes);

	return n ? n : 1;
}

static u32 dev_segs(const struct disk *d)
{
	return MIN(d->s->blk->max_segs, PART_SEGS);
}

/* ---------------------------------------------------------------- reading */

static enum step read_miss(struct gop *g, u64 block, u32 boff, u32 bytes)
{
	struct part *p = part_get(g);
	u32 got = slice(g, bytes, p->segs, PART_SEGS, &p->nsegs);

	p->block = block;
	p->nblocks = DIV_ROUND_UP(boff + got, BLOCK_BYTES);
	p->off = boff;
	p->bytes = got;
	if (!part_wait(p, (u32)(block >> g->d->m->bpc_shift))) {
		part_undo(p);
		return STEP_STALL;
	}
	advance(g, got);
	return STEP_ON;
}

static enum step read_dev(struct gop *g, enum kind kind, u64 block, u64 dev, u32 boff, u32 bytes)
{
	struct disk *d = g->d;
	u32 unit = d->s->blk->sector_bytes;
	struct part *p = part_get(g);
	u32 sub = 0, got;

	p->block = block;
	p->dev = dev;
	p->check = kind == KIND_BASE;
	got = slice(g, bytes, p->segs, dev_segs(d), &p->nsegs);
	if (boff || bytes < BLOCK_BYTES) {
		/* part of one block; an overlay block may be read by sectors */
		if (kind == KIND_OVL && got == bytes && boff % unit == 0 && bytes % unit == 0)
			sub = boff;
		else
			part_bounce(p);
	} else if (got < BLOCK_BYTES) {
		bytes = BLOCK_BYTES;
		part_bounce(p);
	} else {
		bytes = ALIGN_DOWN(got, BLOCK_BYTES);
		trim(p->segs, &p->nsegs, got, bytes);
	}
	if (p->bounce)
		got = slice(g, bytes, p->segs, PART_SEGS, &p->nsegs), bytes = got;
	p->off = p->bounce ? boff : 0;
	p->bytes = bytes;
	p->nblocks = p->bounce || sub ? 1 : DIV_ROUND_UP(bytes, BLOCK_BYTES);
	if (kind == KIND_BASE)
		d->st.local_bytes += bytes;
	else
		d->st.overlay_bytes += bytes;
	advance(g, bytes);
	if (kind == KIND_BASE)
		part_io(p, BLK_READ, dev, sub, base_read);
	else
		part_read_ovl(p, dev, sub);
	return STEP_ON;
}

static enum step read_step(struct gop *g)
{
	struct disk *d = g->d;
	u64 block = g->pos >> BLOCK_SHIFT, left = g->end - g->pos, dev = 0;
	u32 boff = (u32)g->pos & (BLOCK_BYTES - 1), n, bytes;
	enum kind kind = classify(d, block, &dev);
	u64 most = DIV_ROUND_UP(boff + left, BLOCK_BYTES);

	if (kind == KIND_OVL || kind == KIND_BASE) {
		if (!pools_ok(d))
			return STEP_STALL;
		if (boff || left < BLOCK_BYTES)
			most = 1;
		else
			most = left >> BLOCK_SHIFT;
	} else if (kind == KIND_MISS && !pools_ok(d)) {
		return STEP_STALL;
	}
	n = run_length(d, block, (u32)MIN(most, (u64)dev_blocks(d)), kind, dev);
	bytes = (u32)MIN((u64)n * BLOCK_BYTES - boff, left);
	switch (kind) {
	case KIND_ZERO:
		copy_out(g, NULL, bytes);
		d->st.zero_bytes += bytes;
		advance(g, bytes);
		return STEP_ON;
	case KIND_COPY: {
		struct cbuf *b = cbuf_find(d, (u32)(block >> d->m->bpc_shift));

		ask(d, block, n);
		b->stamp = ++d->clock;
		copy_out(g, b->data + (g->pos & (d->s->sb.chunk_bytes - 1)), bytes);
		d->st.copied_bytes += bytes;
		advance(g, bytes);
		return STEP_ON;
	}
	case KIND_MISS:
		ask(d, block, n);
		return read_miss(g, block, boff, bytes);
	case KIND_BASE:
		ask(d, block, n);
		return read_dev(g, kind, block, dev, boff, bytes);
	case KIND_OVL:
		break;
	}
	return read_dev(g, kind, block, dev, boff, bytes);
}

/* ---------------------------------------------------------------- writing */

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

/* The block is in the bounce buffer: put the guest's bytes in, write it to the overlay. */
static void rmw_write(struct part *p)
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
		copy(p->segs, p->nsegs, 0, p->bounce + p->off, p->bytes, false);
	part_write(p, store_slot_block(d->s, slot) + (p->block & (d->m->bpc - 1)), 0);
}

/* Nowhere to write chunk @c to: wait when that may change, else refuse the rest. */
static enum step no_room(struct gop *g, u32 c)
{
	if (room_comes(g->d, c))
		return STEP_STALL;
	log_limited(LOG_ERR, "disk: %s full, guest write refused",
		    g->d->s->slots.free ? "the map of guest writes is" : "store");
	gop_fail(g, -ENOSPC);
	g->pos = g->end;
	return STEP_ON;
}

static enum step rmw_step(struct gop *g, u64 block, u32 boff, u32 bytes)
{
	struct disk *d = g->d;
	u32 c = (u32)(block >> d->m->bpc_shift);
	u64 dev = 0;
	enum kind kind;
	struct part *p;

	if (!pools_ok(d) || write_active(d, block, 1, false))
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
		bytes = slice(g, bytes, p->segs, PART_SEGS, &p->nsegs);
	p->bytes = bytes;
	list_add_tail(&d->writes, &p->active);
	kind = classify(d, block, &dev);
	p->dev = dev;
	if (d->rec.on && kind != KIND_ZERO && kind != KIND_OVL)
		profile_note(d, block, 1);
	switch (kind) {
	case KIND_ZERO:
		memset(p->bounce, 0, BLOCK_BYTES);
		advance(g, bytes);
		part_data(p);
		return STEP_ON;
	case KIND_OVL:
		advance(g, bytes);
		part_read_ovl(p, dev, 0);
		return STEP_ON;
	case KIND_BASE:
		p->check = true;
		advance(g, bytes);
		part_io(p, BLK_READ, dev, 0, base_read);
		return STEP_ON;
	case KIND_COPY:
	case KIND_MISS:
		break;
	}
	if (!part_wait(p, c)) {
		part_undo(p);
		return STEP_STALL;
	}
	advance(g, bytes);
	return STEP_ON;
}

static enum step write_partial(struct gop *g, u64 block, u32 boff, u32 bytes)
{
	struct disk *d = g->d;
	u32 unit = d->s->blk->sector_bytes, got, n, slot;
	struct part *p;

	if (g->r->op == BLK_WRITE_ZEROES || chunkmap_ovl_at(d->m, block, &slot) != OVL_VALID ||
	    boff % unit || bytes % unit)
		return rmw_step(g, block, boff, bytes);
	if (!pools_ok(d) || write_active(d, block, 1, true))
		return STEP_STALL;
	p = part_get(g);
	got = slice(g, bytes, p->segs, dev_segs(d), &n);
	if (got < bytes) {
		part_done(p, 0);
		return rmw_step(g, block, boff, bytes);
	}
	p->nsegs = n;
	p->block = block;
	p->nblocks = 1;
	p->bytes = bytes;
	advance(g, bytes);
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

static enum step write_step(struct gop *g)
{
	struct disk *d = g->d;
	u64 block = g->pos >> BLOCK_SHIFT, left = g->end - g->pos, dev;
	u32 boff = (u32)g->pos & (BLOCK_BYTES - 1), n, got;
	struct part *p;

	if (boff || left < BLOCK_BYTES)
		return write_partial(g, block, boff, (u32)MIN((u64)BLOCK_BYTES - boff, left));
	if (!pools_ok(d))
		return STEP_STALL;
	n = ovl_run(d, block, (u32)MIN(left >> BLOCK_SHIFT, (u64)dev_blocks(d)), &dev);
	if (!n)
		return no_room(g, (u32)(block >> d->m->bpc_shift));
	if (write_active(d, block, n, true))
		return STEP_STALL;
	p = part_get(g);
	p->block = block;
	got = slice(g, n * BLOCK_BYTES, p->segs, dev_segs(d), &p->nsegs);
	if (got < BLOCK_BYTES) {
		/* in crumbs: gather them */
		part_bounce(p);
		got = slice(g, BLOCK_BYTES, p->segs, PART_SEGS, &p->nsegs);
		if (got < BLOCK_BYTES) {
			part_done(p, -EINVAL);
			g->pos = g->end;
			return STEP_ON;
		}
		copy(p->segs, p->nsegs, 0, p->bounce, BLOCK_BYTES, false);
	}
	p->bytes = ALIGN_DOWN(got, BLOCK_BYTES);
	trim(p->segs, &p->nsegs, got, p->bytes);
	p->nblocks = p->bytes / BLOCK_BYTES;
	advance(g, p->bytes);
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

static enum step zero_step(struct gop *g)
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

/* ---------------------------------------------------------------- driving */

/* True: all parts are on their way, @g may be gone. */
static bool gop_run(struct gop *g)
{
	while (g->pos < g->end && !(g->err && g->r->op != BLK_READ)) {
		enum step s;

		if (g->r->op == BLK_READ)
			s = read_step(g);
		else if (g->r->op == BLK_WRITE)
			s = write_step(g);
		else
			s = zero_step(g);
		if (s == STEP_STALL)
			return false;
	}
	gop_put(g);
	return true;
}

static bool request_ok(const struct disk *d, const struct blk_req *r)
{
	u64 sum = 0;

	if (r->op == BLK_FLUSH)
		return true;
	if (r->lba > d->blk.sectors || r->sectors > d->blk.sectors - r->lba)
		return false;
	if (r->op != BLK_READ && r->op != BLK_WRITE)
		return true;
	for (u32 i = 0; i < r->nsegs; i++)
		sum += r->segs[i].bytes;
	return sum == (u64)r->sectors * d->blk.sector_bytes;
}

static void count(struct disk *d, const struct gop *g)
{
	u64 bytes = g->end - g->pos;

	switch (g->r->op) {
	case BLK_READ:
		d->st.guest_reads++;
		d->st.guest_read_bytes += bytes;
		break;
	case BLK_WRITE:
	case BLK_WRITE_ZEROES:
		d->st.guest_writes++;
		d->st.guest_write_bytes += bytes;
		break;
	case BLK_FLUSH:
		d->st.guest_flushes++;
		break;
	case BLK_TRIM:
		d->st.guest_trim_bytes += bytes;
		break;
	}
}

static void gop_start(struct disk *d, struct blk_req *r)
{
	struct gop *g = list_first(&d->gop_free, struct gop, link);

	list_del(&g->link);
	d->gops_busy++;
	*g = (struct gop){
		.d = d,
		.r = r,
		.refs = 1,
		.start_ns = plat_time_ns(),
	};
	list_init(&g->link);
	d->guest_time = g->start_ns;
	if (!request_ok(d, r)) {
		gop_fail(g, -EINVAL);
		gop_finish(g);
		return;
	}
	if (r->op == BLK_READ || r->op == BLK_WRITE || r->op == BLK_WRITE_ZEROES) {
		g->pos = r->lba * d->blk.sector_bytes;
		g->end = g->pos + (u64)r->sectors * d->blk.sector_bytes;
	}
	if (r->op == BLK_TRIM) {
		/* whole blocks; what is left of others stays what it is */
		g->end = ALIGN_DOWN((r->lba + r->sectors) * d->blk.sector_bytes, BLOCK_BYTES);
		g->pos = MIN(ALIGN_UP(r->lba * d->blk.sector_bytes, BLOCK_BYTES), g->end);
	}
	count(d, g);
	if (r->op == BLK_FLUSH) {
		if (d->s->keep_overlay) {
			g->sync.done = gop_synced;
			store_sync(d->s, &g->sync);
		} else {
			gop_finish(g); /* what will be forgotten need not be durable */
		}
		return;
	}
	if (r->op == BLK_READ && g->pos < g->end) {
		u64 pos = g->pos, end = g->end;

		if (!gop_run(g))
			list_add_tail(&d->stalled, &g->link);
		sched_read(d, pos, end);
		return;
	}
	if (!gop_run(g))
		list_add_tail(&d->stalled, &g->link);
}

void guestio_poll(struct disk *d)
{
	struct list todo;

	list_init(&todo);
	list_splice_tail(&todo, &d->blocked);
	while (!list_empty(&todo)) {
		struct part *p = list_first(&todo, struct part, link);

		list_del(&p->link);
		part_verify(p);
	}
	list_splice_tail(&todo, &d->stalled);
	while (!list_empty(&todo)) {
		struct gop *g = list_first(&todo, struct gop, link);

		list_del(&g->link);
		if (!gop_run(g))
			list_add_tail(&d->stalled, &g->link);
	}
	while (!list_empty(&d->incoming) && !list_empty(&d->gop_free)) {
		struct blk_req *r = list_first(&d->incoming, struct blk_req, link);

		list_del(&r->link);
		gop_start(d, r);
	}
}
