/*
 * Chunk buffers: what is fetched, when, and where it goes
 *
 * All data from the source passes through a fixed pool of chunk buffers. Demand
 * comes before read-ahead, read-ahead before fill; lower classes may not use
 * the last buffers, and two are kept for table pages, without which no digest
 * is known. A base chunk never changes, and guest writes live in slots of
 * their own, so the chunk rule comes down to this: a chunk enters the map in
 * one step, when data, sums and record are durable; until then its readers are
 * served from the buffer.
 *
 * Fill takes the neighbours of what the guest has read first (profile.c), then
 * walks all chunks and then the table pages. It stays away while the
 * guest waits for the source and for a while afterwards (a boot reads in
 * bursts; what fill fetches meanwhile is bandwidth the guest wants), obeys the
 * limit from the ticket, and slows down while the guest uses the disk at all.
 *
 * Read-ahead follows a few sequential streams. It starts once a stream has
 * read two chunks' worth, and doubles its window whenever a chunk it fetched
 * is used, to eight chunks at most.
 */
#include <string.h>

#include "base/bitmap.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "storage/core/disk_priv.h"

#define FILL_BUSY 2u /* fill fetches in flight while the guest uses the disk */
#define FILL_QUIET 12u
#define AHEAD_MAX 8u
#define GUEST_RECENT_NS (20 * NS_PER_MS)
#define FILL_SCAN 65536u
#define KEEP_FAILS 16u /* chunks that could not be written, after which fill gives up */

static void cbuf_advance(struct cbuf *c);
static void give_up(struct cbuf *c);
static void write_next(struct cbuf *c);

/* ---------------------------------------------------------------- the pool */

int sched_init(struct disk *d, u32 pool_bytes)
{
	u32 chunk = d->s->sb.chunk_bytes, n = pool_bytes / chunk;

	n = MAX(n, 8u);
	n = MIN(n, POOL_MAX);
	d->pool = plat_alloc(n * sizeof(*d->pool));
	d->pool_idx = plat_alloc(n * sizeof(*d->pool_idx));
	d->pool_mem = plat_alloc((size_t)n * chunk);
	d->bytes += n * (sizeof(*d->pool) + sizeof(*d->pool_idx) + chunk);
	if (!d->pool || !d->pool_idx || !d->pool_mem)
		return -ENOMEM;
	d->npool = n;
	for (u32 i = 0; i < n; i++) {
		struct cbuf *c = &d->pool[i];

		c->d = d;
		c->data = d->pool_mem + (size_t)i * chunk;
		c->idx = d->pool_idx[i] = ~0u;
		list_init(&c->waiters);
	}
	return 0;
}

void sched_fini(struct disk *d)
{
	plat_free(d->pool);
	plat_free(d->pool_idx);
	plat_free(d->pool_mem);
}

static bool is_page(const struct disk *d, u32 idx)
{
	return idx >= d->m->chunks;
}

static u32 plain_bytes(const struct disk *d, u32 idx)
{
	if (is_page(d, idx))
		return manifest_page_plain_bytes(&d->im.mf, idx - d->m->chunks);
	return manifest_chunk_plain_bytes(&d->im.mf, idx);
}

struct cbuf *cbuf_find(struct disk *d, u32 idx)
{
	for (u32 i = 0; i < d->npool; i++)
		if (d->pool_idx[i] == idx)
			return &d->pool[i];
	return NULL;
}

static void cbuf_name(struct cbuf *c, u32 idx)
{
	c->idx = idx;
	c->d->pool_idx[c - c->d->pool] = idx;
}

void cbuf_free(struct cbuf *c)
{
	if (c->repair)
		c->d->repairs--;
	c->repair = c->suspect = c->bad_known = c->ahead = c->listed = c->singles = false;
	cbuf_set(c, CBUF_FREE);
	cbuf_name(c, ~0u);
	c->d->again = true;
}

static bool reusable(const struct cbuf *c)
{
	return c->state == CBUF_FREE || (c->state == CBUF_READY && list_empty(&c->waiters));
}

/* A buffer for @prio, empty; NULL when those left are for more urgent things. */
static struct cbuf *cbuf_take(struct disk *d, u32 idx, enum source_prio prio)
{
	struct cbuf *best = NULL;
	u32 avail = 0, keep = 2;

	for (u32 i = 0; i < d->npool; i++) {
		struct cbuf *c = &d->pool[i];

		if (!reusable(c))
			continue;
		avail++;
		if (!best || (best->state != CBUF_FREE &&
			      (c->state == CBUF_FREE || c->stamp < best->stamp)))
			best = c;
	}
	if (idx != ~0u && is_page(d, idx))
		keep = 0;
	else if (prio == SOURCE_AHEAD)
		keep = 2 + d->npool / 4;
	else if (prio == SOURCE_FILL)
		keep = 2 + d->npool / 2;
	if (avail <= keep)
		return NULL;
	if (best->state != CBUF_FREE)
		cbuf_free(best);
	cbuf_name(best, idx);
	best->stamp = ++d->clock;
	best->prio = prio;
	best->slot = SLOT_NONE;
	return best;
}

static void serve(struct cbuf *c, int err)
{
	struct list todo;

	list_init(&todo);
	list_splice_tail(&todo, &c->waiters);
	while (!list_empty(&todo)) {
		struct part *p = list_first(&todo, struct part, link);

		list_del(&p->link);
		part_serve(p, c, err);
	}
}

/* ---------------------------------------------------------------- offline */

static void log_lost(struct disk *d, u32 idx, const char *why)
{
	u32 per = d->m->bpc * (BLOCK_BYTES / d->im.mf.sector_bytes);

	if (is_page(d, idx))
		log_limited(LOG_ERR, "disk: table page %s and no source page=%u", why,
			    idx - d->m->chunks);
	else
		log_limited(LOG_ERR, "disk: chunk %s and no source chunk=%u lba=%llu..%llu", why,
			    idx, (unsigned long long)idx * per,
			    (unsigned long long)idx * per + per - 1);
}

/* Of a corrupt chunk good blocks are served, bad ones fail, nothing is remembered. */
static void serve_suspect(struct cbuf *c)
{
	struct disk *d = c->d;
	bool page = is_page(d, c->idx);

	log_lost(d, c->idx, "corrupt");
	c->bad_known = true;
	cbuf_set(c, CBUF_READY);
	serve(c, 0);
	cbuf_free(c);
	for (u32 i = 0; page && i < d->npool; i++)
		if (d->pool[i].state == CBUF_WANT && !is_page(d, d->pool[i].idx))
			give_up(&d->pool[i]);
}

static void give_up(struct cbuf *c)
{
	if (c->suspect) {
		serve_suspect(c);
		return;
	}
	if (!list_empty(&c->waiters)) {
		log_lost(c->d, c->idx, c->repair ? "corrupt" : "missing");
		serve(c, -EIO);
	}
	if (c->state == CBUF_WANT)
		cbuf_free(c);
}

/* ---------------------------------------------------------------- from the source to the map */

static void commit_done(struct store_commit *k, int err)
{
	struct cbuf *c = container_of(k, struct cbuf, commit);
	struct disk *d = c->d;

	if (c->repair) {
		c->repair = false;
		d->repairs--;
		if (!err) {
			d->st.repaired_chunks++;
			log_info("disk: chunk repaired chunk=%u", c->idx);
		}
	}
	cbuf_set(c, CBUF_READY);
	d->again = true;
}

static void write_done(struct blk_req *r, int err)
{
	struct cbuf *c = container_of(r, struct cbuf, io);
	struct disk *d = c->d;

	if (err) {
		/* The slot stays taken until the next open: something is wrong with it. */
		log_limited(LOG_ERR, "disk: cannot keep chunk=%u slot=%u err=%s", c->idx, c->slot,
			    err_name(err));
		if (c->repair) {
			c->repair = false;
			d->repairs--;
		}
		cbuf_set(c, CBUF_READY);
		d->again = true;
		/* Fill leaves alone what is in a buffer: let it be found again. */
		if (++d->keep_failed < KEEP_FAILS && list_empty(&c->waiters))
			cbuf_free(c);
		return;
	}
	c->at += c->step;
	if (c->at < c->blocks) {
		write_next(c);
		return;
	}
	cbuf_set(c, CBUF_COMMIT);
	c->commit.idx = c->idx;
	c->commit.slot = c->slot;
	c->commit.data = c->data;
	c->commit.blocks = c->blocks;
	c->commit.done = commit_done;
	store_commit(d->s, &c->commit);
	d->again = true;
}

static u32 io_blocks(const struct cbuf *c)
{
	const struct blk_dev *b = c->d->s->blk;
	u32 max = b->max_sectors / (BLOCK_BYTES / b->sector_bytes);

	if (c->singles || !max)
		max = 1;
	return MIN(c->blocks - c->at, max);
}

static void cbuf_io(struct cbuf *c, enum blk_op op, void (*done)(struct blk_req *, int))
{
	struct store *s = c->d->s;

	c->step = io_blocks(c);
	c->seg = (struct blk_seg){
		plat_virt_to_phys(c->data + (size_t)c->at * BLOCK_BYTES),
		c->step * BLOCK_BYTES,
	};
	c->io = (struct blk_req){
		.op = op,
		.lba = store_block_lba(s, store_slot_block(s, c->slot) + c->at),
		.sectors = c->step * (BLOCK_BYTES / s->blk->sector_bytes),
		.segs = &c->seg,
		.nsegs = 1,
		.done = done,
	};
	blk_submit(s->blk, &c->io);
}

static void write_next(struct cbuf *c)
{
	cbuf_io(c, BLK_WRITE, write_done);
}

/* The data is right and in memory: serve who waits, then keep it. */
static void keep(struct cbuf *c)
{
	struct disk *d = c->d;

	cbuf_set(c, CBUF_READY);
	if (c->repair) {
		c->slot = d->m->base[c->idx];
	} else if (!d->s->failed && d->s->slots.free > d->reserve) {
		c->slot = slotmap_take(&d->s->slots, false);
	} else {
		stage_pressure(d); /* this chunk is found again when there is room */
	}
	if (c->slot < SLOT_LIMIT) {
		cbuf_set(c, CBUF_WRITE);
		c->at = 0;
		c->singles = false;
		write_next(c);
	} else if (!d->st.store_full) {
		d->st.store_full = true;
		log_warn("disk: store full, chunks are no longer kept present=%u of=%u",
			 d->m->present, d->m->n);
	}
	serve(c, 0);
	d->again = true;
}

static void count_fetch(struct cbuf *c)
{
	struct disk *d = c->d;

	if (is_page(d, c->idx)) {
		d->st.page_chunks++;
		return;
	}
	d->st.fetched_bytes += c->src.plain_bytes;
	if (c->prio == SOURCE_DEMAND)
		d->st.demand_chunks++;
	else if (c->listed)
		d->st.listed_chunks++;
	else if (c->prio == SOURCE_AHEAD)
		d->st.ahead_chunks++;
	else
		d->st.fill_chunks++;
	c->ahead = c->prio == SOURCE_AHEAD && !c->listed;
}

static void fetch_done(struct source_req *r, int err)
{
	struct cbuf *c = r->owner;
	struct disk *d = c->d;

	d->again = true;
	if (err) {
		cbuf_set(c, CBUF_WANT);
		if (list_empty(&c->waiters) && !c->repair)
			cbuf_free(c);
		return;
	}
	memset(c->data + r->plain_bytes, 0, (size_t)c->blocks * BLOCK_BYTES - r->plain_bytes);
	memset(c->bad, 0, sizeof(c->bad));
	c->bad_known = false;
	count_fetch(c);
	if (is_page(d, c->idx))
		sched_page(d, c->idx - d->m->chunks, c->data);
	keep(c);
}

void sched_page(struct disk *d, u32 page, const u8 *data)
{
	u32 dpp = d->im.mf.digests_per_page, first = page * dpp;
	u32 n = manifest_page_plain_bytes(&d->im.mf, page) / SHA256_BYTES;

	imagemap_page_put(&d->im, page, data);
	for (u32 i = 0; i < n; i++)
		if (d->m->base[first + i] == SLOT_NONE &&
		    manifest_digest_is_zero(data + i * SHA256_BYTES))
			chunkmap_base_set(d->m, first + i, SLOT_ZERO);
	d->again = true;
}

static void cbuf_fetch(struct cbuf *c, const u8 *digest)
{
	struct disk *d = c->d;

	cbuf_set(c, CBUF_FETCH);
	c->suspect = false;
	c->from = d->src;
	memcpy(c->src.digest, digest, SHA256_BYTES);
	c->src.plain_bytes = plain_bytes(d, c->idx);
	c->src.buf = c->data;
	c->src.prio = c->prio;
	c->src.done = fetch_done;
	c->src.owner = c;
	c->blocks = DIV_ROUND_UP(c->src.plain_bytes, BLOCK_BYTES);
	d->src->ops->fetch(d->src, &c->src);
}

/*
 * The sums and the data of a slot do not agree. When every block could be read
 * and the digest is right, it is the sums that are wrong: a checksum line that
 * cannot be read would take 4 MiB of chunks with it otherwise.
 */
static bool recovered(struct cbuf *c, const u8 *digest)
{
	u8 got[SHA256_BYTES];

	if (!c->unread) {
		crypto_sha256(got, c->data, plain_bytes(c->d, c->idx));
		if (!memcmp(got, digest, SHA256_BYTES)) {
			log_limited(LOG_WARN, "disk: data good, sums wrong chunk=%u slot=%u",
				    c->idx, c->slot);
			c->suspect = false;
			memset(c->bad, 0, sizeof(c->bad));
			if (is_page(c->d, c->idx))
				sched_page(c->d, c->idx - c->d->m->chunks, c->data);
			return true;
		}
	}
	c->unread = true; /* once is enough */
	return false;
}

/* In WANT: go on as far as what is known allows. */
static void cbuf_advance(struct cbuf *c)
{
	struct disk *d = c->d;
	const u8 *digest;

	if (is_page(d, c->idx)) {
		digest = manifest_page_digest(&d->im.mf, c->idx - d->m->chunks);
	} else {
		u32 page = c->idx / d->im.mf.digests_per_page + d->m->chunks;

		digest = imagemap_digest(&d->im, c->idx);
		if (!digest) {
			if (d->offline && d->m->base[page] == SLOT_NONE)
				give_up(c);
			else
				cbuf_get(d, page, c->prio);
			return;
		}
		if (manifest_digest_is_zero(digest)) {
			chunkmap_base_set(d->m, c->idx, SLOT_ZERO);
			memset(c->data, 0, d->s->sb.chunk_bytes);
			cbuf_set(c, CBUF_READY);
			serve(c, 0);
			d->again = true;
			return;
		}
	}
	if (c->suspect && recovered(c, digest)) {
		keep(c);
		return;
	}
	if (d->offline)
		give_up(c);
	else if (d->src && !(d->quiescing && list_empty(&c->waiters)))
		cbuf_fetch(c, digest);
}

/* ---------------------------------------------------------------- back from the slot */

static void load_bad(struct cbuf *c)
{
	struct disk *d = c->d;

	d->st.corrupt_chunks++;
	log_limited(LOG_WARN, "disk: corrupt on the local disk chunk=%u slot=%u", c->idx, c->slot);
	c->repair = c->suspect = true;
	d->repairs++;
	cbuf_set(c, CBUF_WANT);
	cbuf_advance(c);
}

static void load_check(struct cbuf *c)
{
	struct disk *d = c->d;
	u64 first = store_slot_block(d->s, c->slot);
	bool bad = false;

	if (!crctab_want(&d->s->crc, first, &c->crcw))
		return; /* a slot's sums are all in one line */
	c->unread = bitmap_next_set(c->bad, c->blocks, 0) < c->blocks;
	for (u32 b = 0; b < c->blocks; b++) {
		if (!bitmap_test(c->bad, b) &&
		    !crctab_ok(&d->s->crc, first + b,
			       crctab_sum(first + b, c->data + (size_t)b * BLOCK_BYTES)))
			bitmap_set(c->bad, b);
		bad |= bitmap_test(c->bad, b);
	}
	if (d->phase == DISK_BINDING) {
		const u8 *digest = manifest_page_digest(&d->im.mf, c->idx - d->m->chunks);

		bind_old_page(d, c, !bad || recovered(c, digest));
		return;
	}
	if (bad) {
		load_bad(c);
		return;
	}
	cbuf_set(c, CBUF_READY);
	if (is_page(d, c->idx))
		sched_page(d, c->idx - d->m->chunks, c->data);
	serve(c, 0);
	d->again = true;
}

static void load_line(struct crctab_wait *w)
{
	load_check(container_of(w, struct cbuf, crcw));
}

static void load_done(struct blk_req *r, int err)
{
	struct cbuf *c = container_of(r, struct cbuf, io);

	if (err && c->step > 1) {
		c->singles = true; /* find out which blocks it is */
	} else {
		if (err)
			bitmap_set(c->bad, c->at);
		c->at += c->step;
	}
	if (c->at < c->blocks)
		cbuf_io(c, BLK_READ, load_done);
	else
		load_check(c);
}

void cbuf_load(struct cbuf *c, u32 idx, u32 slot)
{
	cbuf_name(c, idx);
	cbuf_set(c, CBUF_LOAD);
	c->slot = slot;
	c->blocks = DIV_ROUND_UP(plain_bytes(c->d, idx), BLOCK_BYTES);
	c->at = 0;
	c->singles = c->bad_known = false;
	c->crcw.done = load_line;
	memset(c->bad, 0, sizeof(c->bad));
	cbuf_io(c, BLK_READ, load_done);
}

/* ---------------------------------------------------------------- asking */

struct cbuf *cbuf_get(struct disk *d, u32 idx, enum source_prio prio)
{
	struct cbuf *c = cbuf_find(d, idx);

	if (c) {
		c->stamp = ++d->clock;
		if (prio < c->prio && !cbuf_valid(c)) {
			c->prio = prio;
			if (c->state == CBUF_FETCH)
				c->from->ops->reprioritise(c->from, &c->src, prio);
		}
		return c;
	}
	c = cbuf_take(d, idx, prio);
	if (!c)
		return NULL;
	if (d->m->base[idx] < SLOT_LIMIT) {
		cbuf_load(c, idx, d->m->base[idx]);
	} else {
		cbuf_set(c, CBUF_WANT);
		/* Offline, giving up must not come before somebody waits. */
		d->again = true;
		if (!d->offline)
			cbuf_advance(c);
	}
	return c;
}

/* ---------------------------------------------------------------- read-ahead */

static struct stream *stream_of(struct disk *d, u64 pos, u64 end)
{
	struct stream *old = &d->streams[0];

	for (u32 i = 0; i < STREAMS; i++) {
		struct stream *t = &d->streams[i];

		if (t->run && pos >= t->next && pos - t->next <= 64 * KIB) {
			t->run += end - pos;
			t->next = end;
			t->stamp = ++d->clock;
			return t;
		}
		if (t->stamp < old->stamp)
			old = t;
	}
	*old = (struct stream){ .next = end, .run = end - pos, .window = 1, .stamp = ++d->clock };
	return old;
}

void sched_read(struct disk *d, u64 pos, u64 end)
{
	u32 chunk = d->s->sb.chunk_bytes, c = (u32)(pos / chunk), last;
	struct stream *t;
	struct cbuf *b;

	if (!d->src || d->offline || d->quiescing || d->fill.metered ||
	    d->m->present == d->m->n)
		return;
	t = stream_of(d, pos, end);
	b = cbuf_find(d, c);
	if (b && b->ahead) {
		b->ahead = false;
		d->st.ahead_used++;
		t->window = MIN(2 * t->window, AHEAD_MAX);
	}
	if (t->run < 2ull * chunk)
		return;
	last = (u32)((end - 1) / chunk);
	for (u32 i = 1; i <= t->window && last + i < d->m->chunks; i++)
		if (d->m->base[last + i] == SLOT_NONE && !cbuf_get(d, last + i, SOURCE_AHEAD))
			break;
}

/* ---------------------------------------------------------------- fill */

static u32 in_flight(const struct disk *d, bool *demand)
{
	u32 n = 0;

	*demand = false;
	for (u32 i = 0; d->nactive && i < d->npool; i++) {
		const struct cbuf *c = &d->pool[i];

		if (c->state == CBUF_FREE || c->state == CBUF_READY)
			continue;
		if (c->prio == SOURCE_FILL)
			n++;
		else if (c->state == CBUF_WANT || c->state == CBUF_FETCH)
			*demand = true;
	}
	return n;
}

static u32 fill_next(struct disk *d)
{
	u32 near = profile_neighbour(d);

	if (near != ~0u)
		return near;
	for (u32 n = 0; n < FILL_SCAN; n++) {
		u32 i = d->fill_pos;

		if (i >= d->m->n)
			return ~0u;
		if (d->m->base[i] == SLOT_NONE && !cbuf_find(d, i))
			return i;
		d->fill_pos++;
	}
	d->again = true;
	return ~0u;
}

static void fill_pay(struct disk *d, u64 now)
{
	u64 rate = (u64)d->fill.limit_kib_s * 1024;
	u64 most = MAX(rate, (u64)d->s->sb.chunk_bytes);
	u64 ns = MIN(now - d->fill_time, NS_PER_SEC);

	if (!rate)
		return;
	/* at most a second's worth is saved up */
	d->fill_tokens += (s64)(rate * ns / NS_PER_SEC);
	d->fill_tokens = MIN(d->fill_tokens, (s64)most);
	d->fill_time = now;
}

/**
 * sched_fill() - start what fill may start now
 *
 * Return: ns until it is worth asking again, ~0 when only other events help.
 */
u64 sched_fill(struct disk *d)
{
	u64 now = plat_time_ns(), idle = (u64)d->fill.idle_ms * NS_PER_MS;
	u32 chunk = d->s->sb.chunk_bytes, max, n;
	struct cbuf *c;
	bool demand;

	if (!d->fill.on || !d->src || d->offline || d->quiescing || d->s->failed ||
	    d->m->present == d->m->n || d->st.store_full || d->keep_failed >= KEEP_FAILS)
		return ~0ull;
	n = in_flight(d, &demand);
	if (demand)
		return ~0ull;
	if (now - d->miss_time < idle)
		return idle - (now - d->miss_time);
	fill_pay(d, now);
	max = now - d->guest_time < GUEST_RECENT_NS ? FILL_BUSY : FILL_QUIET;
	while (n < max) {
		u32 i;

		if (d->fill.limit_kib_s && d->fill_tokens < (s64)chunk)
			return (u64)((s64)chunk - d->fill_tokens) * NS_PER_SEC /
				       ((u64)d->fill.limit_kib_s * 1024) + NS_PER_MS;
		i = fill_next(d);
		if (i == ~0u) {
			/* Once around; what failed meanwhile is found the next time. */
			if (!n && d->fill_pos >= d->m->n)
				d->fill_pos = 0;
			return n ? ~0ull : 100 * NS_PER_MS;
		}
		c = cbuf_get(d, i, SOURCE_FILL);
		if (!c)
			return n ? ~0ull : 10 * NS_PER_MS;
		if (c->state == CBUF_READY)
			continue; /* it was all zero */
		if (d->fill.limit_kib_s)
			d->fill_tokens -= chunk;
		n++;
	}
	return max == FILL_BUSY ? GUEST_RECENT_NS : ~0ull;
}

/* Chunks that are in buffers because there was no slot: fill shall find them again. */
void sched_room(struct disk *d)
{
	for (u32 i = 0; d->m && i < d->npool; i++) {
		struct cbuf *c = &d->pool[i];

		if (c->state == CBUF_READY && list_empty(&c->waiters) && c->idx < d->m->n &&
		    d->m->base[c->idx] == SLOT_NONE)
			cbuf_free(c);
	}
	d->fill_pos = d->near = 0;
}

u64 sched_fill_wait(struct disk *d)
{
	u64 now = plat_time_ns(), idle = (u64)d->fill.idle_ms * NS_PER_MS;
	bool demand;

	if (!d->fill.on || !d->src || d->offline || d->quiescing || d->s->failed)
		return ~0ull;
	in_flight(d, &demand);
	if (demand)
		return ~0ull;
	if (now - d->miss_time < idle)
		return idle - (now - d->miss_time);
	fill_pay(d, now);
	if (d->fill.limit_kib_s && d->fill_tokens < (s64)d->s->sb.chunk_bytes)
		return (u64)((s64)d->s->sb.chunk_bytes - d->fill_tokens) * NS_PER_SEC /
			       ((u64)d->fill.limit_kib_s * 1024) + NS_PER_MS;
	if (now - d->guest_time < GUEST_RECENT_NS && now - d->stage_time < GUEST_RECENT_NS)
		return GUEST_RECENT_NS;
	d->stage_time = now;
	return 0;
}

/* ---------------------------------------------------------------- the rest */

void sched_poll(struct disk *d)
{
	for (u32 i = 0; d->nactive && i < d->npool; i++) {
		struct cbuf *c = &d->pool[i];

		if (c->state == CBUF_WANT)
			cbuf_advance(c);
		else if (c->state == CBUF_FETCH && d->offline)
			give_up(c);
	}
}

bool sched_busy(const struct disk *d)
{
	if (stage_busy(d))
		return true;
	for (u32 i = 0; d->nactive && i < d->npool; i++) {
		const struct cbuf *c = &d->pool[i];

		if (c->state == CBUF_WRITE || c->state == CBUF_COMMIT || c->state == CBUF_LOAD ||
		    (c->state == CBUF_FETCH && list_empty(&c->waiters)))
			return true;
	}
	return false;
}

void sched_cancel(struct disk *d, bool all)
{
	stage_cancel(d);
	for (u32 i = 0; i < d->npool; i++) {
		struct cbuf *c = &d->pool[i];

		if (!all && !list_empty(&c->waiters))
			continue;
		if (c->state == CBUF_FETCH)
			c->from->ops->cancel(c->from, &c->src);
		else if (c->state == CBUF_WANT && list_empty(&c->waiters) && !c->repair)
			cbuf_free(c);
	}
}
