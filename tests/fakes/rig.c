#include "tests/fakes/rig.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/plat.h"
#include "base/plat_host.h"
#include "storage/core/store_priv.h"

#define IDS_MAX (1u << 20)
#define TICKS_MAX 400000u

static void die(struct rig *g, const char *what, u64 sector)
{
	fprintf(stderr, "rig: %s sector=%llu seed=%llu\n", what, (unsigned long long)sector,
		(unsigned long long)g->seed);
	fail_msg("%s sector=%llu seed=%llu", what, (unsigned long long)sector,
		 (unsigned long long)g->seed);
}

/* ---------------------------------------------------------------- contents */

static void pattern(u64 sector, u32 id, u8 out[512])
{
	u64 x = sector * 0x9e3779b97f4a7c15ull ^ id;

	put_le32(out, 0x54535547);
	put_le32(out + 4, id);
	put_le64(out + 8, sector);
	for (u32 i = 16; i < 512; i += 8) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		put_le64(out + i, x);
	}
}

static void expected(struct rig *g, u64 sector, u32 id, u8 out[512])
{
	if (!id)
		image_fake_sector(g->image, sector, out);
	else if (g->zero_id[id])
		memset(out, 0, 512);
	else
		pattern(sector, id, out);
}

static bool all_zero(const u8 *p)
{
	for (u32 i = 0; i < 512; i++)
		if (p[i])
			return false;
	return true;
}

/* Which write (or base, or zeroes) is this? After a power cut several may be right. */
static void accept(struct rig *g, u64 s, const u8 *data)
{
	u8 want[512];
	u32 id;

	expected(g, s, g->durable[s], want);
	if (!memcmp(want, data, 512)) {
		g->last[s] = g->durable[s];
		return;
	}
	if (all_zero(data) && g->last_zero[s] > g->durable[s]) {
		g->last[s] = g->durable[s] = g->last_zero[s];
		return;
	}
	id = get_le32(data + 4);
	pattern(s, id, want);
	if (memcmp(want, data, 512))
		die(g, "after power cut: neither old nor new", s);
	if (id <= g->durable[s])
		die(g, "after power cut: a durable write is lost", s);
	g->last[s] = g->durable[s] = id;
}

/* ---------------------------------------------------------------- the guest */

static void op_done(struct blk_req *r, int err)
{
	struct rig_op *op = r->owner;
	struct rig *g = op->rig;
	u8 want[512];

	op->busy = false;
	op->err = err;
	g->completed++;
	if (err) {
		g->errors++;
		if (!g->expect_errors)
			die(g, "unexpected error", op->first);
	}
	switch (r->op) {
	case BLK_READ:
		g->done_read_bytes += op->n * 512;
		for (u64 i = 0; i < op->n && !err; i++) {
			expected(g, op->first + i, g->last[op->first + i], want);
			if (memcmp(want, op->buf + i * 512, 512))
				die(g, "wrong data", op->first + i);
		}
		break;
	case BLK_WRITE:
	case BLK_WRITE_ZEROES:
		for (u64 s = op->first; s < op->first + op->n; s++) {
			g->busy[s] = 0;
			if (err)
				continue;
			g->last[s] = op->id;
			if (r->op == BLK_WRITE_ZEROES)
				g->last_zero[s] = op->id;
			if (r->fua && g->policy == STORE_POLICY_PUSH)
				g->durable[s] = op->id;
		}
		break;
	case BLK_FLUSH:
		for (u64 s = 0; s < g->sectors && !err; s++)
			if (g->policy == STORE_POLICY_PUSH && op->snap[s] > g->durable[s])
				g->durable[s] = op->snap[s];
		free(op->snap);
		op->snap = NULL;
		break;
	case BLK_TRIM:
		break;
	}
	free(op->buf);
	op->buf = NULL;
}

static bool conflicts(struct rig *g, enum blk_op op, u64 first, u64 n)
{
	for (u64 s = first; s < first + n; s++)
		if (g->busy[s])
			return true;
	if (op == BLK_READ)
		return false;
	for (u32 i = 0; i < RIG_OPS; i++)
		if (g->ops[i].busy && g->ops[i].r.op == BLK_READ && g->ops[i].first < first + n &&
		    first < g->ops[i].first + g->ops[i].n)
			return true;
	return false;
}

/* The buffer in pieces, like a PRP list: a first piece of any length, then pages. */
static u32 cut(struct rig *g, struct rig_op *op, u64 bytes)
{
	u64 first = fake_rng(&g->rng) % 3 ? 4096 : 512 * (1 + fake_rng(&g->rng) % 7), off = 0;
	u32 n = 0;

	while (off < bytes) {
		u64 take = MIN(n ? 4096 : first, bytes - off);

		if (n == ARRAY_SIZE(op->segs) - 1)
			take = bytes - off;
		op->segs[n++] = (struct blk_seg){ HPA((uintptr_t)op->buf + off), (u32)take };
		off += take;
	}
	return n;
}

bool rig_start(struct rig *g, enum blk_op kind, u64 first, u32 n, bool fua)
{
	struct rig_op *op = NULL;
	u32 per = g->image->sector_bytes / 512;

	for (u32 i = 0; i < RIG_OPS && !op; i++)
		if (!g->ops[i].busy)
			op = &g->ops[i];
	if (!op || (kind != BLK_FLUSH && conflicts(g, kind, first, n)))
		return false;
	op->rig = g;
	op->busy = true;
	op->first = first;
	op->n = n;
	op->r = (struct blk_req){
		.op = kind,
		.fua = fua,
		.lba = first / per,
		.sectors = n / per,
		.segs = op->segs,
		.done = op_done,
		.owner = op,
	};
	switch (kind) {
	case BLK_WRITE:
	case BLK_WRITE_ZEROES:
		op->id = ++g->ids;
		assert_true(g->ids < IDS_MAX);
		g->zero_id[op->id] = kind == BLK_WRITE_ZEROES;
		for (u64 s = first; s < first + n; s++) {
			g->busy[s] = 1;
			/* it may become durable any time from now on */
			if (kind == BLK_WRITE_ZEROES)
				g->last_zero[s] = op->id;
		}
		if (kind == BLK_WRITE_ZEROES)
			break;
		op->buf = malloc(n * 512);
		for (u32 i = 0; i < n; i++)
			pattern(first + i, op->id, op->buf + i * 512);
		op->r.nsegs = cut(g, op, n * 512);
		break;
	case BLK_READ:
		op->buf = malloc(n * 512);
		memset(op->buf, 0xdd, n * 512);
		op->r.nsegs = cut(g, op, n * 512);
		break;
	case BLK_FLUSH:
		op->r.lba = op->r.sectors = 0;
		op->snap = malloc(g->sectors * 4);
		memcpy(op->snap, g->last, g->sectors * 4);
		break;
	case BLK_TRIM:
		break;
	}
	blk_submit(disk_blk(g->disk), &op->r);
	return true;
}

void rig_random_op(struct rig *g)
{
	u32 per = g->image->sector_bytes / 512;
	u64 what = fake_rng(&g->rng) % 100, first, n;
	/* a small hot area, so that things meet */
	u64 span = fake_rng(&g->rng) % 3 ? MIN(g->sectors, 1024ull) : g->sectors;

	if (fake_rng(&g->rng) % 2)
		n = 1 + fake_rng(&g->rng) % 8;
	else if (fake_rng(&g->rng) % 4)
		n = 8 * (1 + fake_rng(&g->rng) % 8);
	else
		n = 1 + fake_rng(&g->rng) % 600;
	n = MIN(n, span);
	first = fake_rng(&g->rng) % (span - n + 1);
	if (fake_rng(&g->rng) % 2)
		first = first / 8 * 8;
	first = first / per * per;
	n = DIV_ROUND_UP(n, per) * per;
	if (first + n > g->sectors)
		return;
	if (what < 45)
		rig_start(g, BLK_READ, first, (u32)n, false);
	else if (what < 85)
		rig_start(g, BLK_WRITE, first, (u32)n, what % 5 == 0);
	else if (what < 90)
		rig_start(g, BLK_WRITE_ZEROES, first, (u32)n, what == 89);
	else
		rig_start(g, BLK_FLUSH, 0, 0, false);
}

/* ---------------------------------------------------------------- turning */

void rig_tick(struct rig *g)
{
	plat_host_now_ns += 200 * NS_PER_US;
	if (g->dev->dead)
		return;
	blk_poll(&g->dev->blk);
	if (g->source)
		g->source->src.ops->poll(&g->source->src);
	if (g->disk)
		disk_poll(g->disk);
}

static bool any_busy(const struct rig *g)
{
	for (u32 i = 0; i < RIG_OPS; i++)
		if (g->ops[i].busy)
			return true;
	return false;
}

bool rig_until_idle(struct rig *g)
{
	for (u32 i = 0; i < TICKS_MAX; i++) {
		if (!any_busy(g))
			return true;
		if (g->dev->dead)
			return false;
		rig_tick(g);
	}
	return false;
}

bool rig_until_complete(struct rig *g)
{
	for (u32 i = 0; i < TICKS_MAX; i++) {
		if (store_meta(g->store)->complete && g->store->map->present != g->store->map->n)
			die(g, "complete, and something is missing", 0);
		if (store_meta(g->store)->complete && !g->dev->inflight)
			return true;
		rig_tick(g);
	}
	return false;
}

int rig_io(struct rig *g, enum blk_op kind, u64 first, u32 n, bool fua)
{
	struct rig_op *op;

	assert_true(rig_until_idle(g));
	assert_true(rig_start(g, kind, first, n, fua));
	op = &g->ops[0];
	if (!rig_until_idle(g))
		return -EINPROGRESS;
	return op->err;
}

/* ---------------------------------------------------------------- life */

struct rig *rig_create(u64 seed, const struct image_fake *im, u64 dev_bytes, u32 dev_sector)
{
	struct rig *g = calloc(1, sizeof(*g));

	plat_host_quiet = !getenv("FRESHET_TEST_LOG");
	plat_host_now_ns = NS_PER_SEC;
	g->seed = seed;
	g->rng = seed * 7919 + 123456789123457ull;
	for (u32 i = 0; i < 8; i++)
		fake_rng(&g->rng);
	g->dev = disk_fake_create(dev_bytes / dev_sector, dev_sector, seed);
	g->source = source_fake_create(seed);
	g->store_lba = 1 * MIB / dev_sector;
	g->store_sectors = g->dev->blk.sectors - 2 * g->store_lba;
	g->policy = STORE_POLICY_PUSH;
	g->zero_id = calloc(IDS_MAX, 1);
	g->pool_bytes = 16 * im->chunk_bytes;
	g->crc_bytes = 8 * 4096;
	source_fake_add(g->source, im);
	rig_set_image(g, im);
	return g;
}

void rig_set_image(struct rig *g, const struct image_fake *im)
{
	free(g->last);
	free(g->durable);
	free(g->last_zero);
	free(g->busy);
	g->image = im;
	g->sectors = im->image_bytes / 512;
	g->last = calloc(g->sectors, 4);
	g->durable = calloc(g->sectors, 4);
	g->last_zero = calloc(g->sectors, 4);
	g->busy = calloc(g->sectors, 1);
}

void rig_forget(struct rig *g)
{
	memset(g->last, 0, g->sectors * 4);
	memset(g->durable, 0, g->sectors * 4);
	memset(g->last_zero, 0, g->sectors * 4);
}

void rig_close(struct rig *g)
{
	if (g->disk)
		disk_destroy(g->disk);
	else
		store_destroy(g->store);
	g->disk = NULL;
	g->store = NULL;
	g->ready = false;
	list_init(&g->source->queue);
	g->source->waiting = 0;
	for (u32 i = 0; i < RIG_OPS; i++) {
		if (!g->ops[i].busy)
			continue;
		free(g->ops[i].buf);
		free(g->ops[i].snap);
		g->ops[i].buf = NULL;
		g->ops[i].snap = NULL;
		g->ops[i].busy = false;
	}
	memset(g->busy, 0, g->sectors);
}

void rig_destroy(struct rig *g)
{
	rig_close(g);
	disk_fake_destroy(g->dev);
	source_fake_destroy(g->source);
	free(g->last);
	free(g->durable);
	free(g->last_zero);
	free(g->busy);
	free(g->zero_id);
	free(g);
}

static void format_done(struct store_format *f, int err)
{
	*(int *)f->owner = err;
}

static struct store_format format; /* may be in flight when the power goes */

int rig_try_format(struct rig *g)
{
	static int err;
	int now;

	err = 1;
	format = (struct store_format){
		.blk = &g->dev->blk,
		.lba = g->store_lba,
		.sectors = g->store_sectors,
		.chunk_bytes = g->image->chunk_bytes,
		.done = format_done,
		.owner = &err,
	};
	now = store_format(&format);
	if (now)
		return now;
	while (err == 1 && !g->dev->dead)
		blk_poll(&g->dev->blk);
	return err;
}

void rig_format(struct rig *g)
{
	assert_int_equal(rig_try_format(g), 0);
}

static void opened(struct store *s, int err, void *arg)
{
	(void)s;
	((struct rig *)arg)->result = err;
}

static void is_ready(struct disk *d, int err, void *arg)
{
	struct rig *g = arg;

	(void)d;
	g->result = err;
	g->ready = !err;
}

int rig_open_store(struct rig *g)
{
	assert_int_equal(store_create(&g->store, &g->dev->blk, g->store_lba, g->store_sectors), 0);
	g->result = 1;
	store_open(g->store, opened, g);
	for (u32 i = 0; i < TICKS_MAX && g->result == 1 && !g->dev->dead; i++)
		blk_poll(&g->dev->blk);
	return g->result;
}

int rig_open(struct rig *g)
{
	u32 bytes = 0;
	u8 *root = image_fake_manifest(g->image, &bytes);
	struct disk_cfg cfg = {
		.manifest = g->no_manifest ? NULL : root,
		.manifest_bytes = bytes,
		.source = g->no_source ? NULL : &g->source->src,
		.offline = g->offline,
		.policy = g->policy,
		.serial = g->serial,
		.fill = g->fill,
		.pool_bytes = g->pool_bytes,
		.crc_cache_bytes = g->crc_bytes,
		.ready = is_ready,
		.arg = g,
	};
	int err = rig_open_store(g);

	if (!err) {
		cfg.store = g->store;
		g->result = 1;
		err = disk_create(&g->disk, &cfg);
	}
	free(root);
	for (u32 i = 0; i < TICKS_MAX && !err && g->result == 1 && !g->dev->dead; i++)
		rig_tick(g);
	return err ? err : g->result;
}

static void plain_done(struct blk_req *r, int err)
{
	*(int *)r->owner = err;
}

int rig_read(struct rig *g, u64 first, u32 n, u8 *buf)
{
	struct blk_seg seg = { HPA((uintptr_t)buf), n * 512 };
	u32 per = g->image->sector_bytes / 512;
	int err = 1;
	struct blk_req r = {
		.op = BLK_READ,
		.lba = first / per,
		.sectors = n / per,
		.segs = &seg,
		.nsegs = 1,
		.done = plain_done,
		.owner = &err,
	};

	blk_submit(disk_blk(g->disk), &r);
	for (u32 i = 0; i < TICKS_MAX && err == 1; i++)
		rig_tick(g);
	return err;
}

static void slow_read(struct rig *g, u64 first, u64 n, u8 *buf)
{
	if (rig_read(g, first, (u32)n, buf))
		die(g, "reading it all", first);
}

void rig_accept(struct rig *g, u64 first, u32 n)
{
	u8 buf[64 * 512];

	slow_read(g, first, n, buf);
	for (u32 i = 0; i < n; i++)
		accept(g, first + i, buf + i * 512);
}

void rig_check_all(struct rig *g, bool after_crash)
{
	u64 step = 1024;
	u8 *buf = malloc(step * 512), want[512];

	for (u64 s = 0; s < g->sectors; s += step) {
		u64 n = MIN(step, g->sectors - s);

		slow_read(g, s, n, buf);
		for (u64 i = 0; i < n; i++) {
			if (after_crash) {
				accept(g, s + i, buf + i * 512);
				continue;
			}
			expected(g, s + i, g->last[s + i], want);
			if (memcmp(want, buf + i * 512, 512))
				die(g, "wrong data at the end", s + i);
		}
	}
	free(buf);
}

void rig_crash(struct rig *g)
{
	disk_fake_power_cut(g->dev);
	plat_free(format.buf);
	format.buf = NULL;
	rig_close(g);
}

static void quiet(struct disk *d, int err, void *arg)
{
	(void)d;
	((struct rig *)arg)->result = err;
}

int rig_quiesce(struct rig *g)
{
	g->result = 1;
	disk_quiesce(g->disk, quiet, g);
	for (u32 i = 0; i < TICKS_MAX && g->result == 1 && !g->dev->dead; i++)
		rig_tick(g);
	return g->result;
}
