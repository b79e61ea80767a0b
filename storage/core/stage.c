/*
 * Staging: the next version is fetched while this one runs
 *
 *	IDLE -> DROP -> BEGIN -> PAGE -> CHUNKS -> PAGE ... -> SEAL -> IDLE
 *
 * The store gets a second map. Table page by table page: where the bound version
 * has the same chunk at the same place, its slot is shared; what is all zero
 * needs none; what is missing is fetched, one chunk at a time, when fill would
 * be allowed to, and is committed like any chunk, to the second map. When the
 * map is full a checkpoint says that it is complete, and the next boot may
 * change over without a network (bind.c).
 *
 * What was shared and what is zero gets into the journal with that checkpoint
 * only; after a crash before it both are simply found again.
 *
 * A version that does not fit beside the bound one is given up, with a word in
 * the log and in the reports; so is one that stands in the way when the guest
 * needs the room (stage_pressure()).
 */
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "storage/core/disk_priv.h"

#define STAGE_FAILS 8u /* chunks that could not be written, after which it gives up */

static void free_buffers(struct stage *g)
{
	plat_free(g->page_data);
	plat_free(g->data);
	plat_free(g->root);
	g->page_data = g->data = g->root = NULL;
}

void stage_fini(struct disk *d)
{
	free_buffers(&d->stage);
}

static void stop(struct disk *d, const char *why)
{
	struct stage *g = &d->stage;

	if (why)
		log_warn("disk: staging given up why=\"%s\" chunks=%u", why,
			 d->s->other.map ? d->s->other.map->present : 0);
	free_buffers(g);
	g->step = STAGE_IDLE;
	d->again = true;
}

bool stage_active(const struct disk *d)
{
	return d->stage.step != STAGE_IDLE;
}

/** stage_busy() - is anything of it on the wire or on the way to the disk? */
bool stage_busy(const struct disk *d)
{
	return d->stage.busy;
}

/* ---------------------------------------------------------------- giving room back */

static void give_up(struct disk *d, const char *why)
{
	struct stage *g = &d->stage;

	g->refused = true;
	stop(d, why);
	store_drop_other(d->s);
}

/**
 * stage_pressure() - the store is full: make room by giving up the second version
 *
 * Return: true when there will be room soon, or there may be.
 */
bool stage_pressure(struct disk *d)
{
	if (d->s->dropped)
		return !d->s->failed;
	if (!d->s->other.map || d->s->failed)
		return false;
	if (d->stage.busy) {
		d->stage.abort = true;
		return true;
	}
	log_warn("disk: the store is full, another version is dropped role=%u", d->s->other.role);
	d->stage.abort = true;
	d->again = true;
	return true;
}

void stage_dropped(struct store *s)
{
	struct disk *d = s->owner;

	d->st.store_full = false;
	sched_room(d);
	d->again = true;
}

/* ---------------------------------------------------------------- source to second map */

static void committed(struct store_commit *k, int err)
{
	struct disk *d = k->store->owner;
	struct stage *g = &d->stage;

	g->busy = false;
	g->fails += err ? 1 : 0;
	g->own += err ? 0 : 1;
	d->again = true;
}

static void write_next(struct disk *d);

static void written(struct blk_req *r, int err)
{
	struct disk *d = r->owner;
	struct stage *g = &d->stage;

	d->again = true;
	if (err) {
		g->busy = false; /* the slot stays taken until the next open */
		g->fails++;
		return;
	}
	g->at += g->len;
	if (g->at < g->blocks) {
		write_next(d);
		return;
	}
	g->commit = (struct store_commit){ .idx = g->idx, .other = true, .slot = g->slot,
					   .data = g->into, .blocks = g->blocks,
					   .done = committed };
	store_commit(d->s, &g->commit);
}

static void write_next(struct disk *d)
{
	struct stage *g = &d->stage;
	struct store *s = d->s;
	u32 max = s->blk->max_sectors / (BLOCK_BYTES / s->blk->sector_bytes);

	max = MAX(max, 1u);
	g->len = MIN(g->blocks - g->at, max);
	g->seg = (struct blk_seg){ plat_virt_to_phys(g->into + (size_t)g->at * BLOCK_BYTES),
				   g->len * BLOCK_BYTES };
	g->io = (struct blk_req){
		.op = BLK_WRITE,
		.lba = store_block_lba(s, store_slot_block(s, g->slot) + g->at),
		.sectors = g->len * (BLOCK_BYTES / s->blk->sector_bytes),
		.segs = &g->seg,
		.nsegs = 1,
		.done = written,
		.owner = d,
	};
	blk_submit(s->blk, &g->io);
}

static void fetched(struct source_req *r, int err)
{
	struct disk *d = r->owner;
	struct stage *g = &d->stage;
	u32 bytes = r->plain_bytes;

	d->again = true;
	g->from = NULL;
	if (err || g->abort) {
		g->busy = false;
		return;
	}
	d->st.staged_bytes += bytes;
	memset(g->into + bytes, 0, ALIGN_UP(bytes, BLOCK_BYTES) - bytes);
	g->blocks = DIV_ROUND_UP(bytes, BLOCK_BYTES);
	g->at = 0;
	if (g->idx >= d->s->other.map->chunks)
		g->page_here = true;
	if (d->s->other.map->base[g->idx] != SLOT_NONE) {
		g->busy = false;
		return;
	}
	g->slot = d->s->slots.free > d->reserve ? slotmap_take(&d->s->slots, false) : SLOT_NONE;
	if (g->slot == SLOT_NONE) {
		g->busy = false;
		g->full = true;
		return;
	}
	write_next(d);
}

static void fetch(struct disk *d, u32 idx, const u8 *digest, u32 bytes, u8 *into)
{
	struct stage *g = &d->stage;

	g->busy = true;
	g->idx = idx;
	g->into = into;
	g->from = d->src;
	memcpy(g->src.digest, digest, SHA256_BYTES);
	g->src.plain_bytes = bytes;
	g->src.buf = into;
	g->src.prio = SOURCE_FILL;
	g->src.done = fetched;
	g->src.owner = d;
	d->src->ops->fetch(d->src, &g->src);
}

void stage_cancel(struct disk *d)
{
	if (d->stage.from)
		d->stage.from->ops->cancel(d->stage.from, &d->stage.src);
}

/* ---------------------------------------------------------------- a page at a time */

/* Page and all its chunks are the bound version's. */
static void share_page(struct disk *d, u32 page)
{
	struct chunkmap *o = d->s->other.map, *m = d->m;
	u32 first = page * d->stage.mf.digests_per_page;
	u32 n = manifest_page_plain_bytes(&d->stage.mf, page) / SHA256_BYTES;

	for (u32 i = first; i < first + n; i++)
		if (o->base[i] == SLOT_NONE)
			chunkmap_base_set(o, i, m->base[i]);
	if (o->base[o->chunks + page] == SLOT_NONE)
		chunkmap_base_set(o, o->chunks + page, m->base[m->chunks + page]);
}

static bool page_shared(const struct disk *d, u32 page)
{
	u32 first = page * d->stage.mf.digests_per_page;
	u32 n = manifest_page_plain_bytes(&d->stage.mf, page) / SHA256_BYTES;

	if (page >= d->im.mf.page_count || d->m->base[d->m->chunks + page] >= SLOT_LIMIT ||
	    memcmp(manifest_page_digest(&d->stage.mf, page), manifest_page_digest(&d->im.mf, page),
		   SHA256_BYTES))
		return false;
	for (u32 i = first; i < first + n; i++)
		if (d->m->base[i] == SLOT_NONE)
			return false;
	return true;
}

/* Digest of the bound version's chunk @i; NULL and *wait: its page is being loaded. */
static const u8 *bound_digest(struct disk *d, u32 i, bool *wait)
{
	const u8 *digest;
	struct cbuf *c;

	*wait = false;
	if (i >= d->m->chunks || d->m->base[i] >= SLOT_LIMIT)
		return NULL;
	/* a last chunk may be longer in one of them: then the digests differ as well */
	digest = imagemap_digest(&d->im, i);
	if (digest)
		return digest;
	c = cbuf_get(d, d->m->chunks + i / d->im.mf.digests_per_page, SOURCE_FILL);
	/* It was in a buffer while the cache of pages has forgotten it. */
	if (c && cbuf_valid(c)) {
		sched_page(d, i / d->im.mf.digests_per_page, c->data);
		return imagemap_digest(&d->im, i);
	}
	*wait = true;
	return NULL;
}

/* Chunk @i of the page in memory. False: wait. */
static bool do_chunk(struct disk *d, u32 i)
{
	struct stage *g = &d->stage;
	struct chunkmap *o = d->s->other.map;
	const u8 *want = g->page_data + i % g->mf.digests_per_page * SHA256_BYTES, *has;
	bool wait;

	if (o->base[i] != SLOT_NONE)
		return true;
	if (manifest_digest_is_zero(want)) {
		chunkmap_base_set(o, i, SLOT_ZERO);
		return true;
	}
	has = bound_digest(d, i, &wait);
	if (wait)
		return false;
	if (has && !memcmp(has, want, SHA256_BYTES)) {
		chunkmap_base_set(o, i, d->m->base[i]);
		return true;
	}
	if (d->fill.limit_kib_s) {
		if (d->fill_tokens < (s64)d->s->sb.chunk_bytes)
			return false;
		d->fill_tokens -= d->s->sb.chunk_bytes;
	}
	fetch(d, i, want, manifest_chunk_plain_bytes(&g->mf, i), g->data);
	return false;
}

static void next_page(struct disk *d)
{
	d->stage.page++;
	d->stage.page_here = false;
	d->stage.chunk = d->stage.page * d->stage.mf.digests_per_page;
}

/* True: something was done, look again. */
static bool do_page(struct disk *d)
{
	struct stage *g = &d->stage;
	struct chunkmap *o = d->s->other.map;
	u32 end;

	if (g->page == g->mf.page_count) {
		g->step = STAGE_SEAL;
		return true;
	}
	if (page_shared(d, g->page)) {
		share_page(d, g->page);
		next_page(d);
		return true;
	}
	if (!g->page_here) {
		/* one that is in its slot already is only looked at */
		fetch(d, o->chunks + g->page, manifest_page_digest(&g->mf, g->page),
		      manifest_page_plain_bytes(&g->mf, g->page), g->page_data);
		return false;
	}
	end = MIN((g->page + 1) * g->mf.digests_per_page, o->chunks);
	for (u32 n = 0; g->chunk < end; g->chunk++)
		if (g->busy || ++n > 4096 || !do_chunk(d, g->chunk))
			return false;
	next_page(d);
	return true;
}

/* ---------------------------------------------------------------- life */

static void begun(struct store_sync *w, int err)
{
	struct disk *d = container_of(w, struct disk, stage.sync);

	d->stage.busy = false;
	d->again = true;
	if (err)
		d->stage.fails = STAGE_FAILS;
	else
		d->stage.step = STAGE_PAGE;
}

static void sealed(struct store_sync *w, int err)
{
	struct disk *d = container_of(w, struct disk, stage.sync);

	d->stage.busy = false;
	if (err) {
		d->s->other.complete = false;
		d->stage.fails = STAGE_FAILS;
		return;
	}
	log_info("disk: staged, the next boot may take it chunks=%u own=%u",
		 d->s->other.map->chunks, d->stage.own);
	stop(d, NULL);
}

static void checkpoint(struct disk *d, void (*done)(struct store_sync *, int))
{
	d->stage.busy = true;
	d->stage.sync.done = done;
	store_checkpoint(d->s, &d->stage.sync);
}

static bool begin(struct disk *d)
{
	struct stage *g = &d->stage;
	struct store_other *o = &d->s->other;

	if (d->s->dropped)
		return false;
	if (o->map && !memcmp(o->version, g->version, SHA256_BYTES)) {
		g->step = STAGE_PAGE; /* an earlier boot began with it */
		return true;
	}
	if (o->map) {
		store_drop_other(d->s);
		return true;
	}
	o->map = chunkmap_create_base(g->mf.image_bytes, g->mf.chunk_bytes);
	o->root = plat_alloc(g->root_bytes);
	if (!o->map || !o->root) {
		store_other_free(o);
		stop(d, "no memory");
		return true;
	}
	memcpy(o->root, g->root, g->root_bytes);
	memcpy(o->version, g->version, SHA256_BYTES);
	o->root_bytes = g->root_bytes;
	o->role = STORE_OTHER_NEXT;
	o->complete = false;
	checkpoint(d, begun);
	return true;
}

static bool step(struct disk *d)
{
	struct stage *g = &d->stage;

	if (g->busy)
		return false;
	if (d->s->failed || g->fails >= STAGE_FAILS) {
		stop(d, "the disk cannot be written");
		return false;
	}
	if (g->full) {
		d->st.stage_refused = true;
		give_up(d, "no room beside the version that runs");
		return false;
	}
	switch (g->step) {
	case STAGE_IDLE:
		break;
	case STAGE_BEGIN:
		return begin(d);
	case STAGE_PAGE:
		return do_page(d);
	case STAGE_SEAL:
		if (d->s->other.map->present != d->s->other.map->n) {
			g->page = g->chunk = 0; /* something failed: once more */
			g->step = STAGE_PAGE;
			return true;
		}
		d->s->other.complete = true;
		checkpoint(d, sealed);
		break;
	}
	return false;
}

/**
 * stage_poll() - what staging may do now
 *
 * Return: ns until it is worth asking again, ~0 when only other events help.
 */
u64 stage_poll(struct disk *d)
{
	struct stage *g = &d->stage;
	u64 wait;

	if (g->abort && !g->busy) {
		g->abort = false;
		if (g->step != STAGE_IDLE)
			give_up(d, "the guest needs the room");
		else
			store_drop_other(d->s);
	}
	if (g->step == STAGE_IDLE || g->busy)
		return ~0ull;
	wait = sched_fill_wait(d);
	if (wait)
		return wait;
	while (step(d))
		;
	return g->busy || g->step == STAGE_IDLE ? ~0ull : 10 * NS_PER_MS;
}

/**
 * disk_stage() - fetch another version beside the one that runs
 * @root: its manifest root, checked by the caller; copied
 *
 * Only when the bound version is complete. What an earlier boot had of it is
 * kept; any other second version is dropped.
 * Return: 0; -EALREADY when it is here, complete, or under way; -EINVAL; -EBUSY
 * while the bound version is not complete; -ENOSPC when it was tried in this boot
 * and does not fit; -ENOMEM.
 */
int disk_stage(struct disk *d, const void *root, u32 bytes)
{
	struct stage *g = &d->stage;
	struct store_other *o = &d->s->other;
	u8 version[SHA256_BYTES];

	manifest_digest(version, root, bytes);
	if (d->phase != DISK_READY || !d->s->meta.complete || d->quiescing)
		return -EBUSY;
	if (!memcmp(version, g->version, SHA256_BYTES) && g->refused)
		return -ENOSPC;
	if (o->map && o->complete && !memcmp(version, o->version, SHA256_BYTES))
		return -EALREADY;
	if (g->step != STAGE_IDLE || g->busy)
		return memcmp(version, g->version, SHA256_BYTES) ? -EBUSY : -EALREADY;
	memset(g, 0, sizeof(*g));
	g->root = plat_alloc(bytes);
	g->data = plat_alloc(d->s->sb.chunk_bytes);
	g->page_data = plat_alloc(d->s->sb.chunk_bytes);
	if (!g->root || !g->data || !g->page_data) {
		free_buffers(g);
		return -ENOMEM;
	}
	memcpy(g->root, root, bytes);
	g->root_bytes = bytes;
	if (manifest_parse(g->root, bytes, &g->mf) || g->mf.chunk_bytes != d->s->sb.chunk_bytes) {
		free_buffers(g);
		return -EINVAL;
	}
	memcpy(g->version, version, SHA256_BYTES);
	/* One that the partition cannot hold: before anything is dropped for it. */
	if (g->mf.image_bytes > d->s->sectors * d->s->blk->sector_bytes) {
		log_warn("disk: staging refused, larger than the store mib=%llu",
			 (unsigned long long)(g->mf.image_bytes / MIB));
		free_buffers(g);
		g->refused = d->st.stage_refused = true;
		return -ENOSPC;
	}
	g->step = STAGE_BEGIN;
	d->again = true;
	log_info("disk: staging image=%s chunks=%llu", g->mf.name,
		 (unsigned long long)g->mf.chunk_count);
	return 0;
}

/** disk_stage_drop() - the second version is not wanted any more */
void disk_stage_drop(struct disk *d)
{
	if (d->s->other.map || d->stage.step != STAGE_IDLE) {
		d->stage.abort = true;
		d->again = true;
		stage_cancel(d);
	}
}
