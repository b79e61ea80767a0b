/*
 * The guest's requests: where a block is, and the way from there
 *
 * Zeroes and chunk buffers are copied at once, overlay slots and base slots
 * become device requests on the guest's own segments, a missing chunk makes the
 * part wait at its buffer. Neighbouring slots merge into one device request.
 *
 * Base data is checked against its sums when the device has delivered it. A
 * block that fails, or that the device could not read, makes the part wait for
 * that chunk to be loaded into a buffer, where it is checked again (the guest
 * may have scribbled on its own memory), and refetched if need be; then the
 * part goes on behind that chunk.
 *
 * A write of less than a block reads that block the same way; what has been
 * read then goes to guestio_write.c instead of the guest.
 */
#include <string.h>

#include "base/bitmap.h"
#include "base/err.h"
#include "base/plat.h"
#include "storage/core/guestio_priv.h"

/* ---------------------------------------------------------------- parts that read */

/* To the guest at the cursor, any number of segments. */
static void copy_out(struct gop *g, const void *data, u32 bytes)
{
	guestio_segs_copy(g->r->segs + g->seg, g->r->nsegs - g->seg, g->seg_off, (void *)data,
			  bytes, true);
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

/** part_data() - the block or blocks of a read part are there: hand them over, or go on writing */
void part_data(struct part *p)
{
	if (p->rmw) {
		part_rmw_write(p);
		return;
	}
	if (p->bounce)
		guestio_segs_copy(p->segs, p->nsegs, 0, p->bounce + p->off, p->bytes, true);
	part_done(p, 0);
}

/** part_wait() - wait for chunk @c; false: no buffer free */
bool part_wait(struct part *p, u32 c)
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

/** part_serve() - chunk buffer @c has what @p waits for (or @err) */
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
		guestio_segs_copy(p->segs, p->nsegs, (u32)(from - p->block) * BLOCK_BYTES, data,
				  n * BLOCK_BYTES, true);
		p->vblk = (u32)(to - p->block);
		part_verify(p);
		return;
	}
	d->st.copied_bytes += p->bytes;
	guestio_segs_copy(p->segs, p->nsegs, 0, data + p->off, p->bytes, true);
	part_done(p, 0);
}

static void part_line(struct crctab_wait *w)
{
	part_verify(container_of(w, struct part, crcw));
}

/** part_verify() - check from block vblk on, as far as the sums are in memory */
void part_verify(struct part *p)
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

/** part_read_base() - block @dev of a base slot, and what follows, to be checked */
void part_read_base(struct part *p, u64 dev)
{
	part_io(p, BLK_READ, dev, 0, base_read);
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

/** part_read_ovl() - block @dev of an overlay slot, and what follows, from byte @sub on */
void part_read_ovl(struct part *p, u64 dev, u32 sub)
{
	struct reclaim *r = &p->g->d->reclaim;

	p->parity = r->parity;
	r->reads[p->parity]++;
	part_io(p, BLK_READ, dev, sub, ovl_read);
}

/* ---------------------------------------------------------------- where a block is */

/** guestio_classify() - how @block is served now; @dev: out, where it is, of OVL and BASE */
enum guestio_kind guestio_classify(struct disk *d, u64 block, u64 *dev)
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
static u32 run_length(struct disk *d, u64 block, u32 max, enum guestio_kind kind, u64 dev)
{
	u32 n = 1;

	for (; n < max; n++) {
		u64 at = 0;

		if ((kind == KIND_COPY || kind == KIND_MISS) && !((block + n) & (d->m->bpc - 1)))
			break;
		if (guestio_classify(d, block + n, &at) != kind)
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

/* ---------------------------------------------------------------- reading */

static enum gop_step read_miss(struct gop *g, u64 block, u32 boff, u32 bytes)
{
	struct part *p = part_get(g);
	u32 got = gop_slice(g, bytes, p->segs, PART_SEGS, &p->nsegs);

	p->block = block;
	p->nblocks = DIV_ROUND_UP(boff + got, BLOCK_BYTES);
	p->off = boff;
	p->bytes = got;
	if (!part_wait(p, (u32)(block >> g->d->m->bpc_shift))) {
		part_undo(p);
		return STEP_STALL;
	}
	gop_advance(g, got);
	return STEP_ON;
}

static enum gop_step read_dev(struct gop *g, enum guestio_kind kind, u64 block, u64 dev, u32 boff,
			      u32 bytes)
{
	struct disk *d = g->d;
	u32 unit = d->s->blk->sector_bytes;
	struct part *p = part_get(g);
	u32 sub = 0, got;

	p->block = block;
	p->dev = dev;
	p->check = kind == KIND_BASE;
	got = gop_slice(g, bytes, p->segs, guestio_dev_segs(d), &p->nsegs);
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
		guestio_segs_trim(p->segs, &p->nsegs, got, bytes);
	}
	if (p->bounce)
		got = gop_slice(g, bytes, p->segs, PART_SEGS, &p->nsegs), bytes = got;
	p->off = p->bounce ? boff : 0;
	p->bytes = bytes;
	p->nblocks = p->bounce || sub ? 1 : DIV_ROUND_UP(bytes, BLOCK_BYTES);
	if (kind == KIND_BASE)
		d->st.local_bytes += bytes;
	else
		d->st.overlay_bytes += bytes;
	gop_advance(g, bytes);
	if (kind == KIND_BASE)
		part_read_base(p, dev);
	else
		part_read_ovl(p, dev, sub);
	return STEP_ON;
}

/** gop_read_step() - dispatch the next piece of a read */
enum gop_step gop_read_step(struct gop *g)
{
	struct disk *d = g->d;
	u64 block = g->pos >> BLOCK_SHIFT, left = g->end - g->pos, dev = 0;
	u32 boff = (u32)g->pos & (BLOCK_BYTES - 1), n, bytes;
	enum guestio_kind kind = guestio_classify(d, block, &dev);
	u64 most = DIV_ROUND_UP(boff + left, BLOCK_BYTES);

	if (kind == KIND_OVL || kind == KIND_BASE) {
		if (!guestio_pools_ok(d))
			return STEP_STALL;
		if (boff || left < BLOCK_BYTES)
			most = 1;
		else
			most = left >> BLOCK_SHIFT;
	} else if (kind == KIND_MISS && !guestio_pools_ok(d)) {
		return STEP_STALL;
	}
	n = run_length(d, block, (u32)MIN(most, (u64)guestio_dev_blocks(d)), kind, dev);
	bytes = (u32)MIN((u64)n * BLOCK_BYTES - boff, left);
	switch (kind) {
	case KIND_ZERO:
		copy_out(g, NULL, bytes);
		d->st.zero_bytes += bytes;
		gop_advance(g, bytes);
		return STEP_ON;
	case KIND_COPY: {
		struct cbuf *b = cbuf_find(d, (u32)(block >> d->m->bpc_shift));

		ask(d, block, n);
		b->stamp = ++d->clock;
		copy_out(g, b->data + (g->pos & (d->s->sb.chunk_bytes - 1)), bytes);
		d->st.copied_bytes += bytes;
		gop_advance(g, bytes);
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
