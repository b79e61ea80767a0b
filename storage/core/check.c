/*
 * The offline check of a store; see check.h
 */
#include "storage/core/check.h"

#include <string.h>

#include "base/bitmap.h"
#include "base/crypto.h"
#include "base/err.h"
#include "base/fmt.h"
#include "base/plat.h"
#include "storage/core/store_priv.h"
#include "storage/format/manifest.h"

#define CHECK_CRC_BYTES (4u << 20)

static void say(struct store_check *k, enum check_level level, const char *fmt, ...)
	__printf_like(3, 4);

static void say(struct store_check *k, enum check_level level, const char *fmt, ...)
{
	char text[240];
	va_list ap;

	va_start(ap, fmt);
	fmt_vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (level != CHECK_NOTE)
		k->problems++;
	k->say(k, level, text);
}

/* ---------------------------------------------------------------- waiting for the device */

struct wait {
	struct blk_req req;
	struct blk_seg seg;
	int err;
};

static void io_done(struct blk_req *r, int err)
{
	container_of(r, struct wait, req)->err = err;
}

static int region_io(struct store_check *k, enum blk_op op, u64 off, void *buf, u32 bytes)
{
	u32 ss = k->blk->sector_bytes, max = k->blk->max_sectors * ss;
	struct wait w;

	for (u32 at = 0; at < bytes || !bytes; at += MIN(bytes - at, max)) {
		u32 n = MIN(bytes - at, max);

		w.err = 1;
		w.seg = (struct blk_seg){ plat_virt_to_phys((u8 *)buf + at), n };
		w.req = (struct blk_req){ .op = op, .fua = op == BLK_WRITE, .segs = &w.seg,
					  .lba = n ? k->lba + (off + at) / ss : 0,
					  .sectors = n / ss, .nsegs = n ? 1 : 0, .done = io_done };
		blk_submit(k->blk, &w.req);
		while (w.err == 1)
			blk_poll(k->blk);
		if (w.err || !bytes)
			return w.err;
	}
	return 0;
}

/* ---------------------------------------------------------------- superblocks */

static void check_supers(struct store_check *k, u8 *block)
{
	struct super *s = k->super;
	u32 marks = 0;

	for (u32 i = 0; i < 2; i++) {
		int err = region_io(k, BLK_READ, i * JOURNAL_BLOCK, block, JOURNAL_BLOCK);
		bool marker = !err && super_is_marker(block);

		k->super_err[i] = err ? -EIO : super_parse(block, &s[i]);
		marks += marker;
		if (marker)
			say(k, CHECK_NOTE, "superblock %u: a store is being made here", i);
		else if (k->super_err[i])
			say(k, CHECK_BAD, "superblock %u: %s", i,
			    k->super_err[i] == -EIO	? "cannot be read" :
			    k->super_err[i] == -EPROTO	? "of a format that is not known" :
			    k->super_err[i] == -EBADMSG ? "its numbers contradict each other" :
							  "damaged");
	}
	if (!k->super_err[0] && !k->super_err[1]) {
		if (s[0].generation != s[1].generation)
			say(k, CHECK_NOTE, "superblocks of generations %llu and %llu",
			    (unsigned long long)s[0].generation,
			    (unsigned long long)s[1].generation);
		if (s[0].chunk_bytes != s[1].chunk_bytes || s[0].slots != s[1].slots ||
		    s[0].slots_off != s[1].slots_off || s[0].half_bytes != s[1].half_bytes ||
		    s[0].crc_off != s[1].crc_off || s[0].region_bytes != s[1].region_bytes)
			say(k, CHECK_BAD, "the superblocks describe different stores");
	} else if (k->super_err[0] && k->super_err[1] && !marks) {
		say(k, CHECK_LOST, "no superblock is left");
	}
}

static void repair_super(struct store_check *k, u8 *block)
{
	for (u32 i = 0; i < 2; i++) {
		if (!k->super_err[i] || k->super_err[1 - i])
			continue;
		super_build(&k->super[1 - i], block);
		if (region_io(k, BLK_WRITE, i * JOURNAL_BLOCK, block, JOURNAL_BLOCK)) {
			say(k, CHECK_BAD, "superblock %u cannot be written", i);
			continue;
		}
		say(k, CHECK_NOTE, "superblock %u written anew from the other one", i);
		k->repaired++;
	}
}

/* ---------------------------------------------------------------- opening */

static void opened(struct store *s, int err, void *arg)
{
	(void)s;
	*(int *)arg = err;
}

static int open_store(struct store_check *k)
{
	int err = store_create(&k->store, k->blk, k->lba, k->sectors), done = 1;

	if (err)
		return err;
	k->store->salvage = k->repair && k->salvage;
	store_open(k->store, opened, &done);
	while (done == 1)
		blk_poll(k->blk);
	if (!done && !k->quick)
		done = store_crc_init(k->store, CHECK_CRC_BYTES);
	if (done) {
		store_destroy(k->store);
		k->store = NULL;
	}
	return done;
}

static const char *open_why(int err)
{
	switch (err) {
	case -ENODATA:
		return "no store: one was being made, and is not finished";
	case -EBADMSG:
		return "refused: superblocks or journal are damaged";
	case -EPROTO:
		return "refused: of a format that is not known";
	case -EIO:
		return "superblocks or journal cannot be read";
	default:
		return "cannot be opened";
	}
}

/* ---------------------------------------------------------------- data */

struct data {
	struct store_check *k;
	struct chunkmap *m; /* whose entries are looked at */
	bool second; /* ... the second version's */
	struct manifest mf;
	u8 *chunk, *page;
	u32 page_at; /* which one is in @page; ~0u: none */
	bool changed; /* the map, or sums */
};

static void line_ready(struct crctab_wait *w)
{
	(void)w; /* asked for again */
}

static bool sum_ok(struct store *s, u64 block, const u8 *data)
{
	struct crctab_wait w = { .done = line_ready };

	while (!crctab_want(&s->crc, block, &w))
		blk_poll(s->blk);
	return crctab_ok(&s->crc, block, crctab_sum(block, data));
}

enum slot_state {
	SLOT_SOUND,
	SLOT_SUMS, /* the data is right, its sums are not */
	SLOT_BAD,
	SLOT_UNKNOWN, /* sums are right, no digest to compare with */
};

static enum slot_state check_slot(struct data *d, u32 slot, u8 *buf, u32 plain, const u8 *digest)
{
	struct store *s = d->k->store;
	u64 first = store_slot_block(s, slot);
	u32 blocks = DIV_ROUND_UP(plain, BLOCK_BYTES);
	bool sums = true;
	u8 got[SHA256_BYTES];

	if (region_io(d->k, BLK_READ, s->sb.slots_off + first * BLOCK_BYTES, buf,
		      blocks * BLOCK_BYTES))
		return SLOT_BAD;
	for (u32 b = 0; b < blocks; b++)
		sums &= sum_ok(s, first + b, buf + (size_t)b * BLOCK_BYTES);
	if (!digest)
		return sums ? SLOT_UNKNOWN : SLOT_BAD;
	crypto_sha256(got, buf, plain);
	if (memcmp(got, digest, SHA256_BYTES))
		return SLOT_BAD;
	return sums ? SLOT_SOUND : SLOT_SUMS;
}

/* Data in @buf is right: write its sums. */
static void repair_sums(struct data *d, u32 slot, const u8 *buf, u32 plain)
{
	struct store *s = d->k->store;
	u64 first = store_slot_block(s, slot);

	for (u32 b = 0; b < DIV_ROUND_UP(plain, BLOCK_BYTES); b++) {
		u8 line[BLOCK_BYTES], sum[4];
		u64 at = s->sb.crc_off + (first + b) / CRCTAB_SUMS * BLOCK_BYTES;
		u32 crc = crctab_sum(first + b, buf + (size_t)b * BLOCK_BYTES);

		for (u32 i = 0; i < 4; i++)
			sum[i] = (u8)(crc >> 8 * i);
		if (region_io(d->k, BLK_READ, at, line, BLOCK_BYTES))
			memset(line, 0xff, sizeof(line));
		memcpy(line + (first + b) % CRCTAB_SUMS * 4, sum, 4);
		if (region_io(d->k, BLK_WRITE, at, line, BLOCK_BYTES))
			return;
	}
	d->k->repaired++;
}

static void forget(struct data *d, u32 idx)
{
	struct store *s = d->k->store;

	chunkmap_base_set(d->m, idx, SLOT_NONE);
	if (d->second)
		s->other.complete = false;
	else
		s->meta.complete = false;
	d->changed = true;
}

static void found(struct data *d, u32 idx, u32 slot, enum slot_state st, const u8 *buf, u32 plain)
{
	struct store_check *k = d->k;
	struct chunkmap *m = d->m;
	bool page = idx >= m->chunks;
	const char *what = d->second ? page ? "table page of the second version" :
					      "chunk of the second version" :
			   page	     ? "table page" :
				       "chunk";
	u32 n = page ? idx - m->chunks : idx;

	k->checked++;
	if (st == SLOT_SOUND)
		return;
	if (st == SLOT_UNKNOWN) {
		k->unknown++;
		return;
	}
	if (st == SLOT_SUMS) {
		k->bad_sums++;
		say(k, CHECK_BAD, "%s %u in slot %u: right, and its sums are wrong", what, n, slot);
		if (k->repair)
			repair_sums(d, slot, buf, plain);
		return;
	}
	*(page ? &k->bad_pages : &k->bad_chunks) += 1;
	say(k, CHECK_BAD, "%s %u in slot %u: damaged, has to be fetched again", what, n, slot);
	if (k->repair) {
		forget(d, idx);
		k->repaired++;
	}
}

static const u8 *chunk_digest(const struct data *d, u32 chunk)
{
	u32 dpp = d->mf.digests_per_page;

	return d->page_at == chunk / dpp ? d->page + chunk % dpp * SHA256_BYTES : NULL;
}

static void check_page(struct data *d, u32 page)
{
	struct chunkmap *m = d->m;
	u32 slot = m->base[m->chunks + page], plain = manifest_page_plain_bytes(&d->mf, page);
	enum slot_state st;

	d->page_at = ~0u;
	if (slot >= SLOT_LIMIT)
		return;
	st = check_slot(d, slot, d->page, plain, manifest_page_digest(&d->mf, page));
	if (st != SLOT_BAD)
		d->page_at = page;
	found(d, m->chunks + page, slot, st, d->page, plain);
}

static void check_chunk(struct data *d, u32 c)
{
	struct store_check *k = d->k;
	struct chunkmap *m = d->m;
	u32 slot = m->base[c], plain = manifest_chunk_plain_bytes(&d->mf, c);
	const u8 *digest = chunk_digest(d, c);
	bool zero = digest && manifest_digest_is_zero(digest);

	if (digest && slot != SLOT_NONE && zero != (slot == SLOT_ZERO)) {
		say(k, CHECK_LOST, zero ? "chunk %u should be zero and is in a slot" :
					  "chunk %u is taken for zero, wrongly", c);
		if (k->repair)
			forget(d, c);
		return;
	}
	/* what both versions have has been looked at */
	if (slot < SLOT_LIMIT && !(d->second && slot == chunkmap_same(k->store->map, m, c)))
		found(d, c, slot, check_slot(d, slot, d->chunk, plain, digest), d->chunk, plain);
}

static void check_overlay(struct store_check *k)
{
	struct chunkmap *m = k->store->map;

	for (u32 c = 0; c < m->chunks; c++) {
		u64 first = (u64)c << m->bpc_shift;

		for (u64 b = first; b < first + m->bpc; b++) {
			u32 slot = SLOT_NONE;
			enum ovl_state own = chunkmap_ovl_at(m, b, &slot);

			if (b >= m->blocks && own != OVL_NOT) {
				say(k, CHECK_BAD, "chunk %u: guest writes behind the end", c);
				break;
			}
			if (own == OVL_VALID && slot >= SLOT_LIMIT) {
				say(k, CHECK_LOST, "chunk %u: guest writes without a slot", c);
				break;
			}
		}
	}
}

/* The second version: its manifest; what is to be looked at is then its map. */
static bool check_second(struct store_check *k, struct data *d)
{
	struct store_other *o = &k->store->other;
	u8 digest[SHA256_BYTES];

	if (!o->map)
		return false;
	d->m = o->map;
	d->second = true;
	manifest_digest(digest, o->root, o->root_bytes);
	if (memcmp(digest, o->version, SHA256_BYTES) ||
	    manifest_parse(o->root, o->root_bytes, &d->mf) || d->mf.chunk_count != o->map->chunks ||
	    d->mf.chunk_bytes != k->store->sb.chunk_bytes) {
		say(k, CHECK_BAD, "the second version's manifest is not its own");
		return false;
	}
	if (o->complete && o->map->present != o->map->n)
		say(k, CHECK_BAD, "second version: marked complete, and %u chunks are missing",
		    o->map->n - o->map->present);
	return true;
}

static void check_meta(struct store_check *k, struct data *d)
{
	struct store *s = k->store;
	const struct store_meta *meta = store_meta(s);
	u8 digest[SHA256_BYTES];

	manifest_digest(digest, s->root, s->root_bytes);
	if (memcmp(digest, meta->version, SHA256_BYTES))
		say(k, CHECK_LOST, "the manifest is not the version's");
	if (manifest_parse(s->root, s->root_bytes, &d->mf)) {
		say(k, CHECK_LOST, "the manifest is malformed");
		d->mf.page_count = 0;
		return;
	}
	if (d->mf.image_bytes != meta->image_bytes || d->mf.chunk_bytes != s->sb.chunk_bytes ||
	    d->mf.sector_bytes != meta->sector_bytes) {
		say(k, CHECK_LOST, "manifest and store do not agree on sizes");
		d->mf.page_count = 0;
	}
	if (meta->complete && s->map->present != s->map->n)
		say(k, CHECK_LOST, "marked complete, and %u chunks are missing",
		    s->map->n - s->map->present);
}

static void check_data(struct store_check *k, struct data *d)
{
	struct chunkmap *m = d->m;
	u32 dpp = d->mf.digests_per_page;

	for (u32 p = 0; p < d->mf.page_count; p++) {
		check_page(d, p);
		for (u32 c = p * dpp; c < m->chunks && c < (p + 1) * dpp; c++) {
			check_chunk(d, c);
			if (k->progress && c % 64 == 0)
				k->progress(k, c, m->chunks);
		}
	}
	if (k->unknown)
		say(k, CHECK_NOTE, "%u chunks were held against their sums only: no table page",
		    k->unknown);
}

/* ---------------------------------------------------------------- writing it down */

static void synced(struct store_sync *w, int err)
{
	*(int *)(w + 1) = err;
}

static void checkpoint(struct store_check *k)
{
	struct {
		struct store_sync sync;
		int err;
	} w = { .sync = { .done = synced }, .err = 1 };

	store_checkpoint(k->store, &w.sync);
	while (w.err == 1)
		blk_poll(k->blk);
	if (w.err)
		say(k, CHECK_LOST, "the repair could not be written");
	else
		say(k, CHECK_NOTE, "a new checkpoint has been written");
}

/**
 * store_check() - everything above, in order
 *
 * Return: 0 sound; 1 not; -ENOMEM.
 */
int store_check(struct store_check *k)
{
	struct data d = { .k = k, .page_at = ~0u };
	u8 *block = plat_alloc(JOURNAL_BLOCK);

	if (!block)
		return -ENOMEM;
	check_supers(k, block);
	if (k->repair)
		repair_super(k, block);
	plat_free(block);
	k->open_err = open_store(k);
	if (k->open_err) {
		say(k, CHECK_LOST, "%s", open_why(k->open_err));
		return 1;
	}
	if (k->store->salvaged)
		say(k, CHECK_LOST, "the journal is damaged: what was flushed later is lost");
	if (store_meta(k->store)->bound) {
		check_meta(k, &d);
		check_overlay(k);
		d.chunk = plat_alloc(k->store->sb.chunk_bytes);
		d.page = plat_alloc(k->store->sb.chunk_bytes);
		d.m = k->store->map;
		if (!k->quick && d.chunk && d.page)
			check_data(k, &d);
		if (check_second(k, &d) && !k->quick && d.chunk && d.page)
			check_data(k, &d);
		plat_free(d.chunk);
		plat_free(d.page);
	}
	if (k->repair && (d.changed || k->store->salvaged)) {
		k->repaired += k->store->salvaged;
		checkpoint(k);
	}
	return k->problems ? 1 : 0;
}

void store_check_end(struct store_check *k)
{
	store_destroy(k->store);
	k->store = NULL;
}
