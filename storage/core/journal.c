/*
 * The commit engine: what becomes durable, in which order
 *
 * A cycle takes everything that is waiting and makes it durable together:
 *
 *	capture   sums of committed chunks into checksum lines; records of chunks,
 *		  of dirty overlay state and of changed scalars into the buffer.
 *		  All of it describes data that the device has acknowledged.
 *	LINES     write the changed checksum lines
 *	FLUSH     device flush: data and lines are durable
 *	APPEND    records, with FUA, as whole journal blocks after the last ones
 *	finish    chunks enter the map, flush requests complete
 *
 * Records are built before the flush, not after it: overlay bits that appear
 * while the flush runs describe data that may not be covered by it.
 *
 * A checkpoint writes the whole state as records into the journal's other
 * half, flushes, and switches both superblock copies to it, the older one
 * first. It reads the maps while the guest goes on writing; that is sound,
 * because the maps name only acknowledged data, the flush comes after the last
 * look at them, and whatever changes after the first look is dirty again and
 * gets a record behind the checkpoint. Binding another version is a checkpoint
 * too, which makes it atomic.
 *
 * Errors: each step is tried three times; then the store has failed: it goes on
 * serving what it has, and nothing new becomes durable.
 */
#include <string.h>

#include "base/bitmap.h"
#include "base/endian.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "storage/core/store_priv.h"

#define TRIES 3
#define BATCH 8 /* commits that start a cycle although more are coming */
#define SCAN_MAX 65536u /* map entries looked at in one go of a checkpoint */

static void step_done(struct blk_req *r, int err);

/* ---------------------------------------------------------------- the buffer */

static void jbuf_reset(struct store *s)
{
	s->jblocks = 0;
	s->jused = 0;
}

/* False: the buffer is full. */
static bool jbuf_put(struct store *s, const struct record *r)
{
	for (;;) {
		u8 *block = s->jbuf + (size_t)s->jblocks * JOURNAL_BLOCK;
		u32 n;

		if (s->jblocks == s->jmax)
			return false;
		n = record_put(block + JOURNAL_HEAD + s->jused, JOURNAL_ROOM - s->jused, r);
		if (n) {
			s->jused += n;
			return true;
		}
		/* the block is full: seal() wants its length */
		put_le16(block + offsetof(struct journal_head_wire, bytes), (u16)s->jused);
		s->jblocks++;
		s->jused = 0;
	}
}

/* Close the buffer for writing at @pos, which moves on. */
static void jbuf_seal(struct store *s, struct journal_pos *pos)
{
	struct journal_head h = {
		.nonce = pos->nonce,
		.generation = pos->generation,
		.append_seq = pos->seq,
	};

	if (s->jused) {
		put_le16(s->jbuf + (size_t)s->jblocks * JOURNAL_BLOCK +
				 offsetof(struct journal_head_wire, bytes),
			 (u16)s->jused);
		s->jblocks++;
	}
	for (u32 i = 0; i < s->jblocks; i++) {
		u8 *block = s->jbuf + (size_t)i * JOURNAL_BLOCK;

		h.seq = pos->seq++;
		h.prev_crc = pos->prev_crc;
		h.bytes = get_le16(block + offsetof(struct journal_head_wire, bytes));
		pos->prev_crc = journal_seal(block, &h);
	}
}

/* ---------------------------------------------------------------- device steps */

static void step_io(struct store *s, enum blk_op op, u64 off, u32 bytes)
{
	s->seg = (struct blk_seg){ plat_virt_to_phys(s->jbuf), bytes };
	s->req = (struct blk_req){
		.op = op,
		.fua = op == BLK_WRITE && s->state != ENGINE_SNAP,
		.lba = op == BLK_FLUSH ? 0 : store_sector(s, off),
		.sectors = bytes / s->blk->sector_bytes,
		.segs = &s->seg,
		.nsegs = op == BLK_FLUSH ? 0 : 1,
		.done = step_done,
		.owner = s,
	};
	blk_submit(s->blk, &s->req);
}

static void step_start(struct store *s, enum engine_state state, enum blk_op op, u64 off, u32 bytes)
{
	s->state = state;
	s->tries = 0;
	step_io(s, op, off, bytes);
}

static void step_flush(struct store *s, enum engine_state state)
{
	s->flushes++;
	step_start(s, state, BLK_FLUSH, 0, 0);
}

/* ---------------------------------------------------------------- a cycle */

static void commit_line_ready(struct crctab_wait *w)
{
	struct store_commit *c = container_of(w, struct store_commit, wait);

	store_commit(c->store, c);
}

static void capture_commits(struct store *s)
{
	struct store_commit *c, *tmp;
	u32 lines = 0;
	u64 last = ~0ull;

	list_for_each_safe(c, tmp, &s->ready, link) {
		u64 block = store_slot_block(s, c->slot);
		struct record r = { .type = REC_MAP };

		/* Dirty lines cannot be evicted: leave the readers half of the cache. */
		if (block / CRCTAB_SUMS != last && lines >= s->crc.n / 2)
			break;
		list_del(&c->link);
		s->nready--;
		if (!crctab_want(&s->crc, block, &c->wait))
			continue; /* comes back by itself */
		if (block / CRCTAB_SUMS != last)
			lines++;
		last = block / CRCTAB_SUMS;
		for (u32 b = 0; b < c->blocks; b++)
			crctab_set(&s->crc, block + b,
				   crctab_sum(block + b, c->data + (size_t)b * BLOCK_BYTES));
		r.type = c->other ? REC_OMAP : REC_MAP;
		r.map.first = c->idx;
		r.map.slot = c->slot;
		r.map.count = 1;
		jbuf_put(s, &r); /* the pool is far smaller than the buffer */
		list_add_tail(&s->cycle_commits, &c->link);
	}
}

/* True: nothing dirty is left behind. */
static bool capture_overlay(struct store *s)
{
	struct chunkmap *m = s->map;
	struct record r;

	if (!s->keep_overlay)
		return true;
	for (size_t c = 0; m->ndirty; c++) {
		c = bitmap_next_set(m->dirty, m->chunks, c);
		if (c == m->chunks)
			break;
		chunkmap_ovl_get(m, (u32)c, &r);
		if (!jbuf_put(s, &r))
			return false;
		bitmap_clear(m->dirty, c);
		m->ndirty--;
	}
	return true;
}

static void fail(struct store *s, const char *what, int err)
{
	if (!s->failed)
		log_err("store: cannot write, nothing more is kept what=%s err=%s", what,
			err_name(err));
	s->failed = true;
}

static void finish_syncs(struct list *l, int err)
{
	struct list todo;

	list_init(&todo);
	list_splice_tail(&todo, l);
	while (!list_empty(&todo)) {
		struct store_sync *w = list_first(&todo, struct store_sync, link);

		list_del(&w->link);
		w->done(w, err);
	}
}

static void check_complete(struct store *s)
{
	if (!s->map || s->meta.complete || s->map->present != s->map->n || s->failed)
		return;
	s->meta.complete = true;
	s->meta_dirty = true;
	s->ckpt_want = true; /* zero chunks get into the journal here */
	log_info("store: complete chunks=%u", s->map->chunks);
}

static void finish(struct store *s, int err)
{
	struct list commits;

	list_init(&commits);
	list_splice_tail(&commits, &s->cycle_commits);
	s->state = ENGINE_IDLE;
	jbuf_reset(s);
	while (!list_empty(&commits)) {
		struct store_commit *c = list_first(&commits, struct store_commit, link);

		list_del(&c->link);
		if (!err)
			chunkmap_base_set(c->other ? s->other.map : s->map, c->idx, c->slot);
		c->done(c, err);
	}
	finish_syncs(&s->cycle_syncs, err);
	store_kick(s);
}

static void append(struct store *s)
{
	u32 first = s->pos.seq;

	if (!s->jblocks && !s->jused) {
		finish(s, 0);
		return;
	}
	jbuf_seal(s, &s->pos);
	s->appends++;
	step_start(s, ENGINE_APPEND, BLK_WRITE, s->pos.off + (u64)first * JOURNAL_BLOCK,
		   s->jblocks * JOURNAL_BLOCK);
}

static void lines_done(struct store *s)
{
	if (s->cycle_err) {
		fail(s, "checksums", s->cycle_err);
		finish(s, s->cycle_err);
		return;
	}
	if (s->blk->write_cache)
		step_flush(s, ENGINE_FLUSH);
	else
		append(s);
}

static void line_written(struct blk_req *r, int err)
{
	struct crctab_ent *e = container_of(r, struct crctab_ent, req);
	struct store *s = r->owner;

	e->dirty = false;
	if (err)
		s->cycle_err = err;
	if (--s->lines_left == 0)
		lines_done(s);
}

static void write_lines(struct store *s)
{
	struct crctab *t = &s->crc;

	s->state = ENGINE_LINES;
	s->cycle_err = 0;
	s->lines_left = 1; /* ours, so that the last write cannot finish early */
	for (u32 i = 0; i < t->n && !list_empty(&s->cycle_commits); i++) {
		struct crctab_ent *e = &t->ents[i];

		if (!e->dirty)
			continue;
		e->seg = (struct blk_seg){ plat_virt_to_phys(e->data), BLOCK_BYTES };
		e->req = (struct blk_req){
			.op = BLK_WRITE,
			.lba = t->lba + (u64)e->line * (BLOCK_BYTES / s->blk->sector_bytes),
			.sectors = BLOCK_BYTES / s->blk->sector_bytes,
			.segs = &e->seg,
			.nsegs = 1,
			.done = line_written,
			.owner = s,
		};
		s->lines_left++;
		blk_submit(s->blk, &e->req);
	}
	if (--s->lines_left == 0)
		lines_done(s);
}

static void cycle_start(struct store *s)
{
	struct record r;

	jbuf_reset(s);
	if (s->meta_dirty) {
		store_meta_record(s, &r);
		jbuf_put(s, &r);
		s->meta_dirty = false;
	}
	capture_commits(s);
	/* Not everything fitted: those who wait for all of it wait for the next cycle too. */
	if (capture_overlay(s))
		list_splice_tail(&s->cycle_syncs, &s->syncs);
	write_lines(s);
}

/* ---------------------------------------------------------------- checkpoint */

/* Next records into the buffer; false when it is full or the scan has been long enough. */
static bool snap_root(struct store *s, enum record_type type, const u8 *root, u32 bytes)
{
	struct record r = { .type = type };

	while (s->snap_at < bytes) {
		r.root.offset = s->snap_at;
		r.root.bytes = MIN(bytes - s->snap_at, REC_ROOT_DATA_MAX);
		r.root.data = root + s->snap_at;
		if (!jbuf_put(s, &r))
			return false;
		s->snap_at += r.root.bytes;
	}
	return true;
}

static bool snap_map(struct store *s, enum record_type type, const struct chunkmap *m)
{
	struct record r = { .type = type };

	for (u32 looked = 0; s->snap_at < m->n;) {
		u32 i = s->snap_at, slot = m->base[i], run = 1;

		if (looked++ > SCAN_MAX)
			return false;
		if (slot == SLOT_NONE) {
			s->snap_at++;
			continue;
		}
		while (i + run < m->n &&
		       m->base[i + run] == (slot == SLOT_ZERO ? SLOT_ZERO : slot + run))
			run++;
		r.map.first = i;
		r.map.slot = slot;
		r.map.count = run;
		if (!jbuf_put(s, &r))
			return false;
		s->snap_at += run;
		looked += run;
	}
	return true;
}

static bool snap_ovl(struct store *s)
{
	struct chunkmap *m = s->map;
	struct record r;

	if (!s->keep_overlay)
		return true;
	for (u32 looked = 0; s->snap_at < m->chunks; s->snap_at++) {
		if (looked++ > SCAN_MAX)
			return false;
		if (!chunkmap_ovl_any(m, s->snap_at))
			continue;
		chunkmap_ovl_get(m, s->snap_at, &r);
		if (!jbuf_put(s, &r))
			return false;
	}
	return true;
}

static bool snap_other(struct store *s)
{
	struct record r = { .type = REC_OTHER };

	r.other.role = s->other.role;
	r.other.flags = s->other.complete ? REC_OTHER_COMPLETE : 0;
	r.other.root_bytes = s->other.root_bytes;
	/* the map knows how many chunks there are; the manifest, how long the last one is */
	r.other.image_bytes = (u64)s->other.map->chunks * s->sb.chunk_bytes;
	memcpy(r.other.version, s->other.version, 32);
	return jbuf_put(s, &r);
}

static bool snap_one(struct store *s)
{
	struct record r;

	switch (s->snap_phase) {
	case SNAP_META:
		store_meta_record(s, &r);
		return !s->meta.bound || jbuf_put(s, &r);
	case SNAP_ROOT:
		return snap_root(s, REC_ROOT, s->root, s->root_bytes);
	case SNAP_MAP:
		return !s->map || snap_map(s, REC_MAP, s->map);
	case SNAP_OVL:
		return !s->map || snap_ovl(s);
	case SNAP_OTHER:
		return !s->other.map || snap_other(s);
	case SNAP_OROOT:
		return !s->other.map ||
		       snap_root(s, REC_OROOT, s->other.root, s->other.root_bytes);
	case SNAP_OMAP:
		return !s->other.map || snap_map(s, REC_OMAP, s->other.map);
	case SNAP_END:
		r.type = REC_END;
		return jbuf_put(s, &r);
	case SNAP_DONE:
		break;
	}
	return true;
}

static void redirty(struct store *s)
{
	for (u32 c = 0; s->map && s->keep_overlay && c < s->map->chunks; c++)
		if (chunkmap_ovl_any(s->map, c))
			chunkmap_dirty(s->map, c);
}

static void snap_fail(struct store *s, int err)
{
	fail(s, "checkpoint", err);
	redirty(s);
	s->state = ENGINE_IDLE;
	jbuf_reset(s);
	finish_syncs(&s->cycle_syncs, err);
	store_kick(s);
}

static void snap_write(struct store *s)
{
	u32 first = s->snap.seq, half = (u32)(s->sb.half_bytes / JOURNAL_BLOCK);

	jbuf_reset(s);
	do {
		while (s->snap_phase != SNAP_DONE && snap_one(s)) {
			s->snap_phase++;
			s->snap_at = 0;
		}
		/* a long scan that found nothing has nothing to write yet */
	} while (!s->jblocks && !s->jused);
	jbuf_seal(s, &s->snap);
	if (s->snap.seq + STORE_JBUF_BLOCKS + 4 > half) {
		snap_fail(s, -ENOSPC);
		return;
	}
	step_start(s, ENGINE_SNAP, BLK_WRITE, s->snap.off + (u64)first * JOURNAL_BLOCK,
		   s->jblocks * JOURNAL_BLOCK);
}

static void snap_start(struct store *s)
{
	u32 other = 1 - s->sb.active;

	s->ckpt_want = false;
	s->meta_dirty = false;
	list_splice_tail(&s->cycle_syncs, &s->ckpt_syncs);
	s->snap = (struct journal_pos){
		.generation = s->sb.generation + 1,
		.off = s->sb.half_off[other],
	};
	plat_random(&s->snap.nonce, sizeof(s->snap.nonce));
	s->snap_super = s->sb;
	s->snap_super.active = other;
	s->snap_super.generation = s->snap.generation;
	s->snap_super.nonce = s->snap.nonce;
	s->snap_phase = SNAP_META;
	s->snap_at = 0;
	/* What changes from here on is dirty again and goes behind the checkpoint. */
	if (s->map) {
		memset(s->map->dirty, 0, BITMAP_WORDS(s->map->chunks) * 8);
		s->map->ndirty = 0;
	}
	snap_write(s);
}

static void super_write(struct store *s, enum engine_state state, u32 copy)
{
	super_build(&s->snap_super, s->jbuf);
	s->snap_sb = copy;
	step_start(s, state, BLK_WRITE, (u64)copy * sizeof(struct super_wire),
		   sizeof(struct super_wire));
}

static void snap_finish(struct store *s)
{
	s->sb = s->snap_super;
	s->sb_best = s->snap_sb;
	s->pos = s->snap;
	s->log_start = s->pos.seq;
	s->checkpoints++;
	s->state = ENGINE_IDLE;
	jbuf_reset(s);
	finish_syncs(&s->cycle_syncs, 0);
	store_kick(s);
}

/* ---------------------------------------------------------------- turning the crank */

static void step_next(struct store *s)
{
	switch (s->state) {
	case ENGINE_FLUSH:
		append(s);
		break;
	case ENGINE_APPEND:
		finish(s, 0);
		break;
	case ENGINE_SNAP:
		if (s->snap_phase != SNAP_DONE)
			snap_write(s);
		else
			step_flush(s, ENGINE_SNAP_FLUSH);
		break;
	case ENGINE_SNAP_FLUSH:
		super_write(s, ENGINE_SUPER, 1 - s->sb_best);
		break;
	case ENGINE_SUPER:
		super_write(s, ENGINE_SUPER2, s->sb_best);
		break;
	case ENGINE_SUPER2:
		snap_finish(s);
		break;
	case ENGINE_IDLE:
	case ENGINE_LINES:
		break;
	}
}

static void step_done(struct blk_req *r, int err)
{
	struct store *s = r->owner;

	if (!err) {
		step_next(s);
		return;
	}
	if (++s->tries < TRIES) {
		blk_submit(s->blk, &s->req);
		return;
	}
	if (s->state == ENGINE_FLUSH || s->state == ENGINE_APPEND) {
		fail(s, "journal", err);
		finish(s, err);
	} else {
		snap_fail(s, err);
	}
}

static void fail_waiters(struct store *s)
{
	finish_syncs(&s->syncs, -EIO);
	finish_syncs(&s->ckpt_syncs, -EIO);
	s->meta_dirty = s->ckpt_want = false;
	while (!list_empty(&s->ready)) {
		struct store_commit *c = list_first(&s->ready, struct store_commit, link);

		list_del(&c->link);
		s->nready--;
		c->done(c, -EIO);
	}
}

static void engine_start(struct store *s)
{
	u32 half = (u32)(s->sb.half_bytes / JOURNAL_BLOCK);

	if (s->failed) {
		fail_waiters(s);
		return;
	}
	check_complete(s);
	if (s->ckpt_want || !list_empty(&s->ckpt_syncs)) {
		snap_start(s);
		return;
	}
	if (list_empty(&s->syncs) && !s->meta_dirty && !s->nready)
		return;
	if (list_empty(&s->syncs) && !s->meta_dirty && s->more && s->nready < BATCH)
		return;
	if (s->pos.seq - s->log_start > STORE_TAIL_BLOCKS ||
	    s->pos.seq + STORE_JBUF_BLOCKS > half)
		snap_start(s);
	else
		cycle_start(s);
}

void store_kick(struct store *s)
{
	if (!s->open || s->state != ENGINE_IDLE)
		return;
	if (s->running) {
		s->again = true;
		return;
	}
	/* engine_start() may finish at once, and callbacks may bring more. */
	s->running = true;
	do {
		s->again = false;
		engine_start(s);
	} while (s->again && s->state == ENGINE_IDLE);
	s->running = false;
}

void store_commit(struct store *s, struct store_commit *c)
{
	c->store = s;
	c->wait.done = commit_line_ready;
	list_add_tail(&s->ready, &c->link);
	s->nready++;
	store_kick(s);
}

static void dropped(struct store_sync *w, int err)
{
	struct store *s = container_of(w, struct store, drop_sync);
	struct chunkmap *m = s->dropped;

	/* Not durable: then what the disk says may come back, and the slots with it. */
	for (u32 i = 0; !err && i < m->n; i++)
		if (m->base[i] < SLOT_LIMIT && m->base[i] != chunkmap_same(s->map, m, i))
			slotmap_put(&s->slots, m->base[i]);
	chunkmap_destroy(m);
	s->dropped = NULL;
	log_info("store: another version was dropped free=%u", s->slots.free);
	if (s->drop_done)
		s->drop_done(s);
}

/*
 * No commit to it may be under way. The maps of the two versions may share a
 * slot only at the same place, so the map that remains says what becomes free.
 */
void store_drop_other(struct store *s)
{
	if (!s->other.map || s->dropped)
		return;
	s->dropped = s->other.map;
	s->other.map = NULL;
	store_other_free(&s->other);
	s->drop_sync.done = dropped;
	store_checkpoint(s, &s->drop_sync);
}

void store_sync(struct store *s, struct store_sync *w)
{
	list_add_tail(&s->syncs, &w->link);
	store_kick(s);
}

void store_checkpoint(struct store *s, struct store_sync *w)
{
	list_add_tail(&s->ckpt_syncs, &w->link);
	store_kick(s);
}

bool store_idle(const struct store *s)
{
	return s->state == ENGINE_IDLE && !s->nready && list_empty(&s->syncs) && !s->meta_dirty &&
	       !s->ckpt_want && list_empty(&s->ckpt_syncs);
}
