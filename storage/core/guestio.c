/*
 * The guest's requests, cut into parts
 *
 * A request is walked block by block; what lies together and is served the
 * same way becomes a part. guestio_read.c and guestio_write.c decide what comes
 * next and what becomes of it; here is what both stand on: the pools, the
 * cursor in the guest's segments, a part's life and its way to the device, and
 * a request's beginning and end.
 *
 * A request holds a reference while it is being dispatched, and each part one.
 * It ends when the last is gone: a part is done when its data is where it
 * belongs, and with FUA the request then waits for the mappings to be durable.
 *
 * When parts, bounce buffers or chunk buffers run out, the request stalls
 * where it is and goes on when some are free; so does a part that needs a chunk
 * buffer to go on checking. guestio_poll() looks at both.
 */
#include <string.h>

#include "base/err.h"
#include "base/plat.h"
#include "storage/core/guestio_priv.h"

/* ---------------------------------------------------------------- pools */

/**
 * guestio_init() - the pools
 *
 * Return: 0; -ENOMEM, and guestio_fini() frees what there is.
 */
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

/** guestio_fini() - when no request is in flight */
void guestio_fini(struct disk *d)
{
	plat_free(d->gops);
	plat_free(d->parts);
	plat_free(d->bounce_mem);
}

/* ---------------------------------------------------------------- segments */

/**
 * gop_slice() - the guest's next bytes as segments
 * @bytes: at most so many
 * @out:   room for @max segments
 * @n:     out, segments used
 *
 * Return: how many bytes fit.
 */
u32 gop_slice(const struct gop *g, u32 bytes, struct blk_seg *out, u32 max, u32 *n)
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

/** guestio_segs_trim() - take from the end of @segs, which are @have bytes, until they are @want */
void guestio_segs_trim(struct blk_seg *segs, u32 *n, u32 have, u32 want)
{
	while (have > want) {
		u32 cut = MIN(segs[*n - 1].bytes, have - want);

		segs[*n - 1].bytes -= cut;
		have -= cut;
		if (!segs[*n - 1].bytes)
			(*n)--;
	}
}

/** gop_advance() - @bytes more have been dispatched */
void gop_advance(struct gop *g, u32 bytes)
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

/** guestio_segs_copy() - @data to (or from) @segs at @off; NULL: zeroes */
void guestio_segs_copy(const struct blk_seg *segs, u32 n, u32 off, void *data, u32 bytes,
		       bool to_segs)
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

/** gop_fail() - what @g ends with, unless it has failed before */
void gop_fail(struct gop *g, int err)
{
	if (!g->err)
		g->err = err;
}

/* ---------------------------------------------------------------- parts */

/** part_get() - a part of @g, of whatever kind; guestio_pools_ok() says if there is one */
struct part *part_get(struct gop *g)
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

/** part_bounce() - give @p a bounce buffer; guestio_pools_ok() says if there is one */
void part_bounce(struct part *p)
{
	struct disk *d = p->g->d;

	p->bounce = d->bounce[--d->nbounce];
	p->bseg = (struct blk_seg){ plat_virt_to_phys(p->bounce), BLOCK_BYTES };
}

/** part_done() - @p is over; its request may be gone then too */
void part_done(struct part *p, int err)
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

/** part_undo() - not started after all: nothing is better than before */
void part_undo(struct part *p)
{
	struct disk *d = p->g->d;
	bool again = d->again;

	part_done(p, 0);
	d->again = again;
}

static void part_answered(struct blk_req *r, int err)
{
	struct part *p = container_of(r, struct part, req);

	p->g->d->owed--;
	p->then(r, err);
}

/**
 * part_io() - to the device, with the bounce buffer if there is one
 * @dev:  block of the slot area
 * @sub:  bytes into it, whole sectors
 * @done: called with the part's request
 */
void part_io(struct part *p, enum blk_op op, u64 dev, u32 sub, void (*done)(struct blk_req *, int))
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

/* ---------------------------------------------------------------- driving */

/* True: all parts are on their way, @g may be gone. */
static bool gop_run(struct gop *g)
{
	while (g->pos < g->end && !(g->err && g->r->op != BLK_READ)) {
		enum gop_step s;

		if (g->r->op == BLK_READ)
			s = gop_read_step(g);
		else if (g->r->op == BLK_WRITE)
			s = gop_write_step(g);
		else
			s = gop_zero_step(g);
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

/** guestio_poll() - go on with what waited, then begin what has come in */
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
