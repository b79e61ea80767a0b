/*
 * The virtual disk, one promise at a time. The random tests are in
 * store_crash_test.c; here are the cases that chance finds too seldom.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/plat_host.h"
#include "storage/core/disk_priv.h"
#include "storage/format/manifest.h"
#include "tests/fakes/rig.h"

#define CHUNK 65536u
#define PER (CHUNK / 512)

static u64 seed_v1(const struct image_fake *im, u64 chunk)
{
	(void)im;
	return chunk % 7 == 3 ? 0 : chunk + 1;
}

/* every third chunk differs from version 1 */
static u64 seed_v2(const struct image_fake *im, u64 chunk)
{
	return chunk % 3 == 1 ? 5000 + chunk : seed_v1(im, chunk);
}

static const struct image_fake v1 = {
	.version = 1, .image_bytes = 60 * CHUNK, .chunk_bytes = CHUNK, .sector_bytes = 512,
	.seed = seed_v1,
};

static const struct image_fake v2 = {
	.version = 2, .image_bytes = 64 * CHUNK, .chunk_bytes = CHUNK, .sector_bytes = 512,
	.seed = seed_v2,
};

static struct disk_stats stats(struct rig *g)
{
	struct disk_stats st;

	disk_stats(g->disk, &st);
	return st;
}

static struct rig *opened(const struct image_fake *im, u64 dev_bytes, bool fill)
{
	struct rig *g = rig_create(1, im, dev_bytes, 512);

	g->fill.on = fill;
	g->fill.idle_ms = 1;
	rig_format(g);
	assert_int_equal(rig_open(g), 0);
	return g;
}

static struct rig *filled(void)
{
	struct rig *g = opened(&v1, 24 * MIB, true);

	assert_true(rig_until_complete(g));
	assert_int_equal(rig_quiesce(g), 0);
	return g;
}

static void reopen(struct rig *g)
{
	rig_crash(g);
	assert_int_equal(rig_open(g), 0);
}

/* Where block @b of chunk @c lies on the device, in bytes. */
static u64 where(struct rig *g, u32 c, u32 b)
{
	u32 slot = g->store->map->base[c];

	assert_true(slot < SLOT_LIMIT);
	return g->store_lba * 512 + g->store->sb.slots_off + (u64)slot * CHUNK + b * 4096;
}

/* ---------------------------------------------------------------- fill, offline */

static void fills_then_boots_offline(void **state)
{
	struct rig *g = filled();
	u64 fetched = g->source->fetched;

	(void)state;
	assert_int_equal(stats(g).fill_permille, 1000);
	/* each chunk once, no zero chunk, one table page */
	assert_int_equal(fetched, 60 - 9 + 1);
	g->no_source = g->no_manifest = true;
	reopen(g);
	assert_true(store_meta(g->store)->complete);
	assert_string_equal(store_meta(g->store)->image, "fake");
	disk_set_offline(g->disk, true);
	rig_check_all(g, false);
	assert_int_equal(g->source->fetched, fetched);
	assert_int_equal(stats(g).corrupt_chunks, 0);
	rig_destroy(g);
}

static void fill_obeys_limit_and_idle(void **state)
{
	struct rig *g = rig_create(1, &v1, 24 * MIB, 512);

	(void)state;
	g->fill = (struct disk_fill){ .on = true, .limit_kib_s = 640, .idle_ms = 500 };
	rig_format(g);
	assert_int_equal(rig_open(g), 0);
	g->source->prompt = g->dev->prompt = true;
	u64 t0 = plat_host_now_ns;

	while (plat_host_now_ns - t0 < 400 * NS_PER_MS)
		rig_tick(g);
	assert_int_equal(g->source->fetched, 0); /* still waiting for the guest to be quiet */
	while (plat_host_now_ns - t0 < 3 * NS_PER_SEC)
		rig_tick(g);
	/* 2.5 s at 10 chunks a second, and a second's worth of credit at most */
	assert_in_range(stats(g).fill_chunks, 20, 36);
	rig_destroy(g);
}

static void demand_stops_fill(void **state)
{
	struct rig *g = opened(&v1, 24 * MIB, false);
	struct disk_fill fill = { .on = true, .idle_ms = 5 };

	(void)state;
	assert_int_equal(rig_io(g, BLK_READ, 0, 8, false), 0); /* the table page is here */
	g->source->gone = true;
	disk_set_fill(g->disk, &fill);
	rig_start(g, BLK_READ, 40 * PER, 8, false);
	u32 before = g->source->norder;

	for (u32 i = 0; i < 5000; i++)
		rig_tick(g);
	assert_int_equal(g->source->norder, before + 1); /* the guest's, nothing else */
	assert_int_equal(stats(g).waiting, 1);
	assert_true(stats(g).longest_wait_ns > 0);
	g->source->gone = false;
	assert_true(rig_until_idle(g));
	assert_int_equal(stats(g).waiting, 0);
	rig_destroy(g);
}

/* Four answers owed by the device: the next is near. Fewer, or none of them its own: who knows. */
static void says_when_an_answer_is_near(void **state)
{
	struct rig *g = filled();
	struct blk_dev *b = disk_blk(g->disk);

	(void)state;
	for (u32 i = 0; i < 4; i++) {
		assert_false(blk_soon(b));
		rig_start(g, BLK_READ, (u64)i * 8, 8, false);
		blk_poll(b);
	}
	assert_true(blk_soon(b));
	assert_true(rig_until_idle(g));
	assert_false(blk_soon(b));
	for (u32 i = 0; i < 8; i++) {
		rig_start(g, BLK_FLUSH, 0, 0, false);
		blk_poll(b);
		assert_false(blk_soon(b));
	}
	assert_true(rig_until_idle(g));
	rig_destroy(g);
}

static void waits_for_ever_or_fails_offline(void **state)
{
	struct rig *g = rig_create(1, &v1, 24 * MIB, 512);

	(void)state;
	rig_format(g);
	g->no_source = true;
	assert_int_equal(rig_open(g), 0);
	rig_start(g, BLK_READ, 0, 8, false);
	for (u32 i = 0; i < 20000; i++)
		rig_tick(g);
	assert_int_equal(g->completed, 0);
	g->expect_errors = true;
	disk_set_offline(g->disk, true);
	assert_true(rig_until_idle(g));
	assert_int_equal(g->errors, 1);
	/* a new one fails too; whole blocks can be written */
	assert_int_equal(rig_io(g, BLK_READ, 64, 8, false), -EIO);
	assert_int_equal(rig_io(g, BLK_WRITE, 64, 8, false), 0);
	assert_int_equal(rig_io(g, BLK_READ, 64, 8, false), 0);
	/* and once there is a source, it works */
	disk_set_offline(g->disk, false);
	rig_start(g, BLK_READ, 0, 8, false);
	for (u32 i = 0; i < 1000; i++)
		rig_tick(g);
	disk_set_source(g->disk, &g->source->src);
	assert_true(rig_until_idle(g));
	assert_int_equal(g->errors, 2);
	rig_destroy(g);
}

static void source_taken_away_and_back(void **state)
{
	struct rig *g = opened(&v1, 24 * MIB, true);

	(void)state;
	g->source->gone = true;
	rig_start(g, BLK_READ, 8, 200, false);
	for (u32 i = 0; i < 100; i++)
		rig_tick(g);
	disk_set_source(g->disk, NULL);
	for (u32 i = 0; i < 100; i++)
		rig_tick(g);
	assert_int_equal(g->source->waiting, 0);
	g->source->gone = false;
	disk_set_source(g->disk, &g->source->src);
	assert_true(rig_until_idle(g));
	assert_true(rig_until_complete(g));
	rig_check_all(g, false);
	rig_destroy(g);
}

/* ---------------------------------------------------------------- rot */

static void basic_done(struct blk_req *r, int err)
{
	*(int *)r->owner = err;
}

/* Read one block with both halves going to the same place: its sum cannot be right there. */
static int doubled_read(struct rig *g, u64 sector)
{
	u8 buf[2048];
	struct blk_seg two[2] = { { HPA((uintptr_t)buf), 2048 }, { HPA((uintptr_t)buf), 2048 } };
	int err = 1;
	struct blk_req r = { .op = BLK_READ, .lba = sector, .sectors = 8, .segs = two, .nsegs = 2,
			     .done = basic_done, .owner = &err };

	blk_submit(disk_blk(g->disk), &r);
	for (u32 i = 0; i < 10000 && err == 1; i++)
		rig_tick(g);
	return err;
}

static void rot_is_found_and_repaired(void **state)
{
	struct rig *g = filled();

	(void)state;
	reopen(g);
	disk_fake_rot(g->dev, where(g, 5, 2) + 77, 1);
	disk_fake_rot(g->dev, where(g, 20, 0), 4096);
	assert_int_equal(rig_io(g, BLK_READ, 4 * PER, 3 * PER, false), 0); /* several chunks */
	assert_int_equal(stats(g).corrupt_chunks, 1);
	assert_int_equal(rig_io(g, BLK_WRITE, 20 * PER + 1, 1, false), 0); /* by a partial write */
	assert_int_equal(stats(g).corrupt_chunks, 2);
	rig_check_all(g, false);
	assert_int_equal(rig_quiesce(g), 0);
	assert_int_equal(stats(g).repaired_chunks, 2);
	assert_int_equal(rig_io(g, BLK_FLUSH, 0, 0, false), 0);
	/* it is right on the disk again */
	g->no_source = true;
	reopen(g);
	disk_set_offline(g->disk, true);
	rig_check_all(g, false);
	assert_int_equal(stats(g).corrupt_chunks, 0);
	rig_destroy(g);
}

static void wait_for(struct rig *g, u64 ns)
{
	u64 end = plat_host_now_ns + ns;

	while (plat_host_now_ns < end)
		rig_tick(g);
}

/* Rot that nobody reads: found, fetched again, rewritten; once around, at its pace. */
static void scrub_repairs_what_nobody_reads(void **state)
{
	struct rig *g = filled();
	u64 at[3] = { where(g, 2, 5), where(g, 30, 0), where(g, 58, 15) };

	(void)state;
	reopen(g);
	disk_set_offline(g->disk, false);
	for (u32 i = 0; i < 3; i++)
		disk_fake_rot(g->dev, at[i] + 7, 1);
	disk_scrub(g->disk, 640); /* ten chunks a second */
	wait_for(g, 4 * NS_PER_SEC);
	assert_in_range(stats(g).scrubbed_chunks, 10, 45);
	wait_for(g, 10 * NS_PER_SEC);
	/* 51 chunks, a table page; that may be in a buffer, checked, for the repairs */
	assert_in_range(stats(g).scrubbed_chunks, 51, 52);
	assert_int_equal(stats(g).corrupt_chunks, 3);
	assert_int_equal(stats(g).repaired_chunks, 3);
	assert_int_equal(g->disk->scrub.kib_s, 0);
	assert_true(disk_poll(g->disk) == ~0ull); /* nothing ticks */
	rig_check_all(g, false);
	assert_int_equal(stats(g).corrupt_chunks, 3);
	rig_destroy(g);
}

static void scrub_stays_away_from_a_busy_guest(void **state)
{
	struct rig *g = filled();

	(void)state;
	reopen(g);
	disk_scrub(g->disk, 64000);
	for (u32 i = 0; i < 100; i++) {
		assert_int_equal(rig_io(g, BLK_READ, 8 * i, 8, false), 0);
		wait_for(g, NS_PER_SEC);
	}
	assert_in_range(stats(g).scrubbed_chunks, 0, 2);
	disk_scrub(g->disk, 0);
	wait_for(g, 100 * NS_PER_SEC);
	assert_in_range(stats(g).scrubbed_chunks, 0, 2);
	rig_destroy(g);
}

static void rot_offline_fails_that_block_alone(void **state)
{
	struct rig *g = filled();
	u8 buf[PER * 512];

	(void)state;
	g->no_source = g->offline = true;
	reopen(g);
	disk_fake_rot(g->dev, where(g, 5, 2), 1);
	g->dev->bad_from = where(g, 8, 4) / 512 + 3;
	g->dev->bad_to = g->dev->bad_from + 1; /* and one the disk cannot read */
	assert_int_equal(rig_read(g, 5 * PER + 16, 8, buf), -EIO);
	assert_int_equal(rig_read(g, 5 * PER + 18, 1, buf), -EIO);
	assert_int_equal(rig_read(g, 5 * PER, 16, buf), 0);
	assert_int_equal(rig_read(g, 5 * PER + 24, PER - 24, buf), 0);
	assert_int_equal(rig_read(g, 8 * PER + 32, 8, buf), -EIO);
	assert_int_equal(rig_read(g, 8 * PER, 32, buf), 0);
	assert_int_equal(rig_read(g, 8 * PER + 40, PER - 40, buf), 0);
	assert_int_equal(stats(g).failed_reads, 3);
	/* a good block of the bad chunk, read so that it has to be looked at twice */
	assert_int_equal(doubled_read(g, 5 * PER + 40), 0);
	g->expect_errors = true;
	assert_int_equal(rig_io(g, BLK_READ, 8 * PER + 40, 8, false), 0);
	/* the source comes back: no error any more */
	g->dev->bad_from = g->dev->bad_to = 0;
	disk_set_offline(g->disk, false);
	disk_set_source(g->disk, &g->source->src);
	rig_check_all(g, false);
	assert_true(stats(g).corrupt_chunks >= 1);
	rig_destroy(g);
}

/* Table pages rot like chunks: with a source that is repaired, without one it is an error. */
static void rotten_table_page(void **state)
{
	struct rig *g = opened(&v1, 24 * MIB, false);

	(void)state;
	assert_int_equal(rig_io(g, BLK_READ, 0, 8, false), 0);
	assert_int_equal(rig_quiesce(g), 0);
	reopen(g);
	disk_fake_rot(g->dev, where(g, 60, 0) + 5, 1);
	assert_int_equal(rig_io(g, BLK_READ, 30 * PER, 8, false), 0);
	assert_int_equal(stats(g).corrupt_chunks, 1);
	assert_int_equal(rig_quiesce(g), 0);
	assert_int_equal(stats(g).repaired_chunks, 1);
	reopen(g);
	assert_int_equal(rig_io(g, BLK_READ, 31 * PER, 8, false), 0); /* 31 is all zero */
	assert_int_equal(stats(g).corrupt_chunks, 0);
	assert_int_equal(rig_quiesce(g), 0);
	g->no_source = g->offline = g->expect_errors = true;
	reopen(g);
	assert_int_equal(rig_io(g, BLK_READ, 38 * PER, 8, false), 0); /* so is 38 */
	reopen(g);
	disk_fake_rot(g->dev, where(g, 60, 0) + 5, 1);
	assert_int_equal(rig_io(g, BLK_READ, 40 * PER, 8, false), -EIO);
	assert_int_equal(rig_io(g, BLK_READ, 0, 8, false), 0);
	rig_destroy(g);
}

static void unreadable_sums_are_survived(void **state)
{
	struct rig *g = filled();

	(void)state;
	reopen(g);
	g->dev->bad_from = g->store_lba + g->store->sb.crc_off / 512;
	g->dev->bad_to = g->dev->bad_from + 8;
	rig_check_all(g, false);
	assert_true(stats(g).corrupt_chunks > 0);
	rig_destroy(g);
}

static void guest_scribbles_on_its_buffer(void **state)
{
	struct rig *g = filled();

	(void)state;
	/*
	 * A check that fails although the disk is right must not count as rot: the
	 * slot is read again into memory of our own.
	 */
	reopen(g);
	assert_int_equal(doubled_read(g, 5 * PER), 0);
	assert_int_equal(stats(g).corrupt_chunks, 0);
	rig_destroy(g);
}

/* Data and sums of one slot lie at another's place: right in themselves, and wrong there. */
static void misplaced_write_is_found(void **state)
{
	struct rig *g = filled();
	u64 sums = g->store_lba * 512 + g->store->sb.crc_off;
	u32 a = g->store->map->base[5], b = g->store->map->base[6];

	(void)state;
	memcpy(g->dev->media + where(g, 6, 0), g->dev->media + where(g, 5, 0), CHUNK);
	memcpy(g->dev->media + sums + b * 64, g->dev->media + sums + a * 64, 64);
	reopen(g);
	rig_check_all(g, false);
	assert_int_equal(stats(g).corrupt_chunks, 1);
	rig_destroy(g);
}

/* ---------------------------------------------------------------- who wins */

/* A partial write waits for its chunk; meanwhile the whole block is written. */
static void full_write_during_partial(void **state)
{
	struct rig *g = opened(&v1, 24 * MIB, false);
	u8 one[4096], all[4096], got[4096];
	int e1 = 1, e2 = 1;
	struct blk_seg s1 = { HPA((uintptr_t)one), 512 }, s2 = { HPA((uintptr_t)all), 4096 };
	struct blk_req a = { .op = BLK_WRITE, .lba = 3, .sectors = 1, .segs = &s1, .nsegs = 1,
			     .done = basic_done, .owner = &e1 };
	struct blk_req b = { .op = BLK_WRITE, .lba = 0, .sectors = 8, .segs = &s2, .nsegs = 1,
			     .done = basic_done, .owner = &e2 };

	(void)state;
	memset(one, 1, sizeof(one));
	memset(all, 2, sizeof(all));
	g->source->gone = true;
	blk_submit(disk_blk(g->disk), &a);
	for (u32 i = 0; i < 50; i++)
		rig_tick(g);
	blk_submit(disk_blk(g->disk), &b);
	for (u32 i = 0; i < 50; i++)
		rig_tick(g);
	g->source->gone = false;
	for (u32 i = 0; i < 10000 && (e1 == 1 || e2 == 1); i++)
		rig_tick(g);
	assert_int_equal(e1, 0);
	assert_int_equal(e2, 0);
	assert_int_equal(rig_read(g, 0, 8, got), 0);
	/* sector 3 may be either, the others are the whole block's */
	for (u32 i = 0; i < 8; i++)
		if (i != 3)
			assert_memory_equal(got + i * 512, all + i * 512, 512);
	rig_destroy(g);
}

/* Zeroes are written while a partial write to the block is on its way to the disk. */
static void zeroes_during_partial(void **state)
{
	(void)state;
	for (u32 valid = 0; valid < 2; valid++) {
		struct rig *g = opened(&v1, 24 * MIB, false);
		u8 one[512], got[4096], zero[512] = { 0 };
		int e1 = 1, e2 = 1;
		struct blk_seg s1 = { HPA((uintptr_t)one), 512 };
		struct blk_req a = { .op = BLK_WRITE, .lba = 3, .sectors = 1, .segs = &s1,
				     .nsegs = 1, .done = basic_done, .owner = &e1 };
		struct blk_req b = { .op = BLK_WRITE_ZEROES, .lba = 0, .sectors = 8,
				     .done = basic_done, .owner = &e2 };

		if (valid)
			assert_int_equal(rig_io(g, BLK_WRITE, 0, 8, false), 0);
		else
			assert_int_equal(rig_io(g, BLK_READ, 0, 8, false), 0);
		memset(one, 1, sizeof(one));
		blk_submit(disk_blk(g->disk), &a);
		disk_poll(g->disk);
		blk_submit(disk_blk(g->disk), &b);
		disk_poll(g->disk);
		for (u32 i = 0; i < 10000 && (e1 == 1 || e2 == 1); i++)
			rig_tick(g);
		assert_int_equal(rig_read(g, 0, 8, got), 0);
		for (u32 i = 0; i < 8; i++)
			if (i != 3)
				assert_memory_equal(got + i * 512, zero, 512);
		rig_destroy(g);
	}
}

/* ---------------------------------------------------------------- policies, versions */

static void push_to_boot_forgets_for_good(void **state)
{
	struct rig *g = opened(&v1, 24 * MIB, false);

	(void)state;
	for (u32 c = 0; c < 30; c++)
		assert_int_equal(rig_io(g, BLK_WRITE, c * PER, 8, false), 0);
	assert_int_equal(rig_io(g, BLK_WRITE_ZEROES, 31 * PER, 16, false), 0);
	assert_int_equal(rig_io(g, BLK_FLUSH, 0, 0, false), 0);
	reopen(g);
	rig_check_all(g, false);
	/* from the next boot on */
	struct disk_state st = { .policy = STORE_POLICY_BOOT, .serial = 7 };

	assert_int_equal(disk_set_state(g->disk, &st, NULL, NULL), 0);
	for (u32 i = 0; i < 200; i++)
		rig_tick(g);
	rig_check_all(g, false);
	g->policy = 0; /* what the store says */
	g->fill.on = true;
	reopen(g);
	rig_forget(g);
	assert_int_equal(store_meta(g->store)->serial, 7);
	rig_check_all(g, false);
	/* base chunks may now lie where the overlay lay */
	assert_true(rig_until_complete(g));
	assert_int_equal(rig_io(g, BLK_WRITE, 0, 8, true), 0);
	g->policy = STORE_POLICY_PUSH; /* and back: nothing old comes up again */
	rig_forget(g);
	reopen(g);
	rig_check_all(g, false);
	assert_int_equal(stats(g).corrupt_chunks, 0);
	rig_destroy(g);
}

/* Overlay slots that "boot" has freed are taken by base chunks: no crash may bring both back. */
static void freed_slots_are_not_named_twice(void **state)
{
	struct rig *g = opened(&v1, 8 * MIB, false);
	struct disk_state st = { .policy = STORE_POLICY_BOOT };

	(void)state;
	for (u32 c = 0; c < 30; c++)
		assert_int_equal(rig_io(g, BLK_WRITE, c * PER, 8, false), 0);
	assert_int_equal(rig_io(g, BLK_FLUSH, 0, 0, false), 0);
	assert_int_equal(disk_set_state(g->disk, &st, NULL, NULL), 0);
	for (u32 i = 0; i < 500; i++)
		rig_tick(g);
	g->policy = 0;
	g->fill.on = true;
	reopen(g);
	rig_forget(g);
	while (stats(g).chunks_present < 55)
		rig_tick(g);
	assert_false(store_meta(g->store)->complete);
	/* back to "push" by a mere record: what was forgotten stays forgotten */
	st.policy = STORE_POLICY_PUSH;
	assert_int_equal(disk_set_state(g->disk, &st, NULL, NULL), 0);
	while (g->disk->state_busy)
		rig_tick(g);
	assert_false(store_meta(g->store)->complete);
	g->fill.on = false;
	reopen(g);
	assert_int_equal(store_meta(g->store)->policy, STORE_POLICY_PUSH);
	rig_check_all(g, false);
	assert_int_equal(stats(g).corrupt_chunks, 0);
	rig_destroy(g);
}

static void new_version_keeps_what_is_equal(void **state)
{
	struct rig *g = filled();
	u64 before;

	(void)state;
	assert_int_equal(rig_io(g, BLK_WRITE, 0, 64, false), 0);
	assert_int_equal(rig_io(g, BLK_FLUSH, 0, 0, false), 0);
	source_fake_add(g->source, &v2);
	rig_set_image(g, &v2);
	before = g->source->fetched;
	reopen(g);
	assert_false(store_meta(g->store)->complete);
	rig_check_all(g, false); /* the overlay is gone, the content is version 2's */
	assert_true(rig_until_complete(g));
	/* 20 changed, four chunks more (one of them zero), the page twice */
	assert_in_range(g->source->fetched - before, 20, 27);
	g->no_source = g->no_manifest = true;
	reopen(g);
	disk_set_offline(g->disk, true);
	rig_check_all(g, false);
	assert_int_equal(stats(g).corrupt_chunks, 0);
	rig_destroy(g);
}

/* Nothing to compare with: everything is fetched anew, and right. */
static void new_version_without_the_old_table(void **state)
{
	struct rig *g = filled();

	(void)state;
	source_fake_add(g->source, &v2);
	rig_set_image(g, &v2);
	disk_fake_rot(g->dev, where(g, 60, 0) + 5, 1);
	reopen(g);
	rig_check_all(g, false);
	assert_true(rig_until_complete(g));
	rig_check_all(g, false);
	rig_destroy(g);
}

/* The power goes at every point of a binding: it is one version or the other. */
static void binding_is_atomic(void **state)
{
	(void)state;
	for (u32 k = 1; k < 40; k++) {
		struct rig *g = filled();
		u32 bytes;
		u8 *root = image_fake_manifest(&v2, &bytes), digest[32];

		manifest_digest(digest, root, bytes);
		free(root);
		assert_int_equal(rig_io(g, BLK_WRITE, 0, 64, false), 0);
		assert_int_equal(rig_io(g, BLK_FLUSH, 0, 0, false), 0);
		source_fake_add(g->source, &v2);
		rig_crash(g);
		rig_set_image(g, &v2);
		g->dev->dead_after = k;
		rig_open(g);
		for (u32 i = 0; i < 3000 && !g->dev->dead && g->disk; i++)
			rig_tick(g);
		rig_crash(g);
		g->no_manifest = true;
		assert_int_equal(rig_open(g), 0);
		if (memcmp(store_meta(g->store)->version, digest, 32)) {
			/* still the first version; its overlay is not in this model any more */
			u8 got[512], want[512];

			assert_int_equal(rig_read(g, 59 * PER, 1, got), 0);
			image_fake_sector(&v1, 59 * PER, want);
			assert_memory_equal(got, want, 512);
			assert_true(store_meta(g->store)->complete);
		} else {
			rig_check_all(g, false);
		}
		assert_int_equal(stats(g).corrupt_chunks, 0);
		rig_destroy(g);
	}
}

/* ---------------------------------------------------------------- little room */

static void store_smaller_than_the_image(void **state)
{
	/* room for some 30 of the image's chunks */
	struct rig *g = opened(&v1, 2 * MIB + 65536 + 3 * MIB + 512 * 1024, true);
	struct store_space sp;

	(void)state;
	store_space(g->store, &sp);
	assert_true(sp.slots < 50);
	for (u32 i = 0; i < 20000; i++)
		rig_tick(g);
	assert_true(stats(g).store_full);
	assert_false(stats(g).complete);
	rig_check_all(g, false);
	/* guest writes still fit: fill left them some room */
	assert_int_equal(rig_io(g, BLK_WRITE, 0, 2 * PER, false), 0);
	assert_int_equal(rig_io(g, BLK_FLUSH, 0, 0, false), 0);
	/* until the store is really full: an error for that command, and nothing else */
	g->expect_errors = true;
	int err = 0;

	for (u32 c = 0; c < 60 && !err; c++)
		err = rig_io(g, BLK_WRITE, c * PER, PER, false);
	assert_int_equal(err, -ENOSPC);
	assert_int_equal(rig_io(g, BLK_FLUSH, 0, 0, false), 0);
	rig_check_all(g, false);
	g->policy = 0;
	reopen(g);
	rig_check_all(g, false);
	assert_int_equal(stats(g).corrupt_chunks, 0);
	rig_destroy(g);
}

static bool staged(struct rig *g)
{
	struct store_second o;

	for (u32 i = 0; i < 200000; i++) {
		store_second(g->store, &o);
		if (o.role == STORE_OTHER_NEXT && o.complete)
			return true;
		if (o.role == STORE_OTHER_NONE && i > 100 && stats(g).stage_refused)
			return false;
		rig_tick(g);
	}
	return false;
}

/* What cannot fit is refused before what is there is dropped for it. */
static void stage_refuses_what_is_too_large(void **state)
{
	static const struct image_fake huge = {
		.version = 9, .image_bytes = 1000 * CHUNK, .chunk_bytes = CHUNK,
		.sector_bytes = 512, .seed = seed_v2,
	};
	struct rig *g = opened(&v1, 24 * MIB, true);
	struct store_space sp;
	u8 *root;
	u32 n;

	(void)state;
	source_fake_add(g->source, &v2);
	assert_true(rig_until_complete(g));
	root = image_fake_manifest(&v2, &n);
	assert_int_equal(disk_stage(g->disk, root, n), 0);
	assert_int_equal(disk_stage(g->disk, root, n), -EALREADY);
	assert_true(staged(g));
	rig_check_all(g, false);
	free(root);
	store_space(g->store, &sp);
	assert_true(sp.slots_other > 0);
	root = image_fake_manifest(&huge, &n);
	assert_int_equal(disk_stage(g->disk, root, n), -ENOSPC);
	free(root);
	assert_true(staged(g)); /* still */
	rig_destroy(g);
}

/* A guest's write is worth more than the next version. */
static void writes_push_the_next_version_out(void **state)
{
	struct rig *g = opened(&v1, 12 * MIB, true);
	struct store_second o;
	u8 *root;
	u32 n;
	int err = 0;

	(void)state;
	source_fake_add(g->source, &v2);
	assert_true(rig_until_complete(g));
	root = image_fake_manifest(&v2, &n);
	assert_int_equal(disk_stage(g->disk, root, n), 0);
	free(root);
	staged(g);
	store_second(g->store, &o);
	for (u32 c = 0; c < 60 && !err; c++)
		err = rig_io(g, BLK_WRITE, c * PER, 8, false);
	assert_int_equal(err, 0);
	store_second(g->store, &o);
	assert_int_equal(o.role, STORE_OTHER_NONE);
	assert_int_equal(rig_io(g, BLK_FLUSH, 0, 0, false), 0);
	rig_check_all(g, false);
	reopen(g);
	rig_check_all(g, false);
	rig_destroy(g);
}

static void too_small_or_odd(void **state)
{
	struct rig *g = rig_create(1, &v1, 3 * MIB, 512);

	(void)state;
	assert_int_equal(rig_try_format(g), -ENOSPC);
	assert_int_equal(rig_open_store(g), -EBADMSG);
	g->store_lba += 1; /* not on a 4 KiB boundary */
	assert_int_equal(rig_try_format(g), -EINVAL);
	rig_destroy(g);
	assert_true(store_min_bytes(CHUNK) <= 4 * MIB);
	assert_true(store_min_bytes(1 << 20) <= 64 * MIB);
}

static void disk_write_errors(void **state)
{
	struct rig *g = opened(&v1, 24 * MIB, false);

	(void)state;
	/* the whole slot area refuses writes: chunks are served and not kept, writes fail */
	g->dev->badw_from = g->store_lba + g->store->sb.slots_off / 512;
	g->dev->badw_to = g->dev->blk.sectors;
	g->expect_errors = true;
	rig_check_all(g, false);
	assert_int_equal(rig_io(g, BLK_WRITE, 0, 8, false), -EIO);
	rig_check_all(g, false);
	/* flushes that fail are told, and nothing is claimed durable */
	g->dev->badw_to = 0;
	assert_int_equal(rig_io(g, BLK_WRITE, 0, 8, false), 0);
	g->dev->flush_fails = true;
	assert_int_equal(rig_io(g, BLK_FLUSH, 0, 0, false), -EIO);
	rig_check_all(g, false);
	rig_destroy(g);
}

/* ---------------------------------------------------------------- figures */

static void read_ahead_is_used(void **state)
{
	struct rig *g = opened(&v1, 24 * MIB, false);

	(void)state;
	g->source->prompt = g->dev->prompt = true;
	for (u64 s = 0; s < 50 * PER; s += 64)
		assert_int_equal(rig_io(g, BLK_READ, s, 64, false), 0);
	assert_true(stats(g).ahead_chunks > 20);
	assert_true(stats(g).ahead_used * 10 >= stats(g).ahead_chunks * 8);
	assert_true(stats(g).asked_bytes <= 50 * CHUNK);
	assert_true(stats(g).fetched_bytes <= 60 * CHUNK);
	/* reading here and there fetches nothing else */
	rig_destroy(g);
	g = opened(&v1, 24 * MIB, false);
	for (u32 i = 0; i < 10; i++)
		assert_int_equal(rig_io(g, BLK_READ, (i * 6 + 1) * PER + 8, 8, false), 0);
	assert_int_equal(stats(g).ahead_chunks, 0);
	/* the table page has told which chunks are zero: no need to ask for those */
	assert_true(stats(g).chunks_present >= 9);
	rig_destroy(g);
}

static u64 seed_sparse(const struct image_fake *im, u64 chunk)
{
	(void)im;
	return chunk % 64 ? 0 : chunk + 1;
}

static void memory_for_64_gib(void **state)
{
	static const struct image_fake big = {
		.version = 1, .image_bytes = 64 * GIB, .chunk_bytes = 64 * 1024,
		.sector_bytes = 512, .seed = seed_sparse,
	};
	struct rig *g = rig_create(1, &v1, 64 * MIB, 512);
	u8 buf[512], want[512];

	(void)state;
	/* the model knows nothing of so large an image: only a few reads */
	g->image = &big;
	source_fake_add(g->source, &big);
	g->pool_bytes = g->crc_bytes = 0;
	rig_format(g);
	assert_int_equal(rig_open(g), 0);
	/* the fake disk is small: a real one's checksum cache and allocator take more */
	u64 bytes = stats(g).memory_bytes + 2 * MIB + 512 * KIB - g->store->crc.bytes;

	print_message("memory: %llu KiB\n", (unsigned long long)bytes / 1024);
	assert_true(bytes <= 28 * MIB);
	for (u64 s = 5; s < 64 * GIB / 512; s += 64 * GIB / 512 / 13) {
		assert_int_equal(rig_read(g, s, 1, buf), 0);
		image_fake_sector(&big, s, want);
		assert_memory_equal(buf, want, 512);
	}
	g->image = &v1;
	rig_destroy(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fills_then_boots_offline),
		cmocka_unit_test(fill_obeys_limit_and_idle),
		cmocka_unit_test(demand_stops_fill),
		cmocka_unit_test(says_when_an_answer_is_near),
		cmocka_unit_test(waits_for_ever_or_fails_offline),
		cmocka_unit_test(source_taken_away_and_back),
		cmocka_unit_test(rot_is_found_and_repaired),
		cmocka_unit_test(scrub_repairs_what_nobody_reads),
		cmocka_unit_test(scrub_stays_away_from_a_busy_guest),
		cmocka_unit_test(rot_offline_fails_that_block_alone),
		cmocka_unit_test(rotten_table_page),
		cmocka_unit_test(unreadable_sums_are_survived),
		cmocka_unit_test(guest_scribbles_on_its_buffer),
		cmocka_unit_test(misplaced_write_is_found),
		cmocka_unit_test(full_write_during_partial),
		cmocka_unit_test(zeroes_during_partial),
		cmocka_unit_test(push_to_boot_forgets_for_good),
		cmocka_unit_test(freed_slots_are_not_named_twice),
		cmocka_unit_test(new_version_keeps_what_is_equal),
		cmocka_unit_test(new_version_without_the_old_table),
		cmocka_unit_test(binding_is_atomic),
		cmocka_unit_test(store_smaller_than_the_image),
		cmocka_unit_test(stage_refuses_what_is_too_large),
		cmocka_unit_test(writes_push_the_next_version_out),
		cmocka_unit_test(too_small_or_odd),
		cmocka_unit_test(disk_write_errors),
		cmocka_unit_test(read_ahead_is_used),
		cmocka_unit_test(memory_for_64_gib),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
