/* TRIM: what reads as zeroes, what comes free, and when. */
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
#include "tests/fakes/rig.h"

#define CHUNK 65536u
#define PER (CHUNK / 512)

static u64 seed(const struct image_fake *im, u64 chunk)
{
	(void)im;
	return chunk % 7 == 3 ? 0 : chunk + 1;
}

static const struct image_fake image = {
	.version = 1, .image_bytes = 600 * CHUNK, .chunk_bytes = CHUNK, .sector_bytes = 512,
	.seed = seed,
};

static struct rig *opened(enum store_policy policy)
{
	struct rig *g = rig_create(1, &image, 96 * MIB, 512);

	g->policy = policy;
	rig_format(g);
	assert_int_equal(rig_open(g), 0);
	return g;
}

static void done(struct blk_req *r, int err)
{
	*(int *)r->owner = err;
}

static void trim_now(struct rig *g, u64 lba, u32 sectors)
{
	int err = 1;
	struct blk_req r = { .op = BLK_TRIM, .lba = lba, .sectors = sectors, .done = done,
			     .owner = &err };

	blk_submit(disk_blk(g->disk), &r);
	for (u32 i = 0; i < 100000 && err == 1; i++)
		rig_tick(g);
	assert_int_equal(err, 0);
}

static void settle(struct rig *g)
{
	for (u32 i = 0; i < 20000 && reclaim_busy(g->disk); i++)
		rig_tick(g);
	assert_false(reclaim_busy(g->disk));
}

static bool zeroes(struct rig *g, u64 lba, u32 sectors)
{
	static u8 buf[2 << 20];

	assert_int_equal(rig_read(g, lba, sectors, buf), 0);
	for (u32 i = 0; i < sectors * 512; i++)
		if (buf[i])
			return false;
	return true;
}

static void whole_blocks_read_as_zeroes(void **state)
{
	struct rig *g = opened(STORE_POLICY_PUSH);

	(void)state;
	assert_int_equal(rig_io(g, BLK_WRITE, 10 * PER, PER, false), 0);
	trim_now(g, 10 * PER + 1, 30); /* blocks 1 and 2 whole, parts of 0 and 3 */
	assert_true(zeroes(g, 10 * PER + 8, 16));
	for (u32 s = 0; s < 8; s++) {
		assert_false(zeroes(g, 10 * PER + s, 1));
		assert_false(zeroes(g, 10 * PER + 24 + s, 1));
	}
	trim_now(g, 20 * PER + 3, 4); /* no whole block */
	assert_false(zeroes(g, 20 * PER + 3, 1));
	trim_now(g, 21 * PER, PER); /* the image's, never written */
	assert_true(zeroes(g, 21 * PER, PER));
	rig_destroy(g);
}

static void space_comes_back(void **state)
{
	(void)state;
	for (u32 k = 0; k < 2; k++) {
		struct rig *g = opened(k ? STORE_POLICY_BOOT : STORE_POLICY_PUSH);
		u32 before = g->store->slots.free;

		for (u32 c = 100; c < 200; c++)
			assert_int_equal(rig_io(g, BLK_WRITE, c * PER, 16, false), 0);
		assert_int_equal(g->store->slots.free, before - 100);
		trim_now(g, 100 * PER, 50 * PER);
		settle(g);
		assert_int_equal(g->store->slots.free, before - 50);
		/* what is left of the others keeps their slots */
		trim_now(g, 150 * PER, 8);
		settle(g);
		assert_int_equal(g->store->slots.free, before - 50);
		assert_int_equal(rig_io(g, BLK_WRITE, 100 * PER, 8, false), 0);
		assert_false(zeroes(g, 100 * PER, 8));
		assert_true(zeroes(g, 100 * PER + 8, 8));
		rig_destroy(g);
	}
}

/* More chunks than a batch holds. */
static void a_whole_disk(void **state)
{
	struct rig *g = opened(STORE_POLICY_PUSH);
	u32 before = g->store->slots.free;

	(void)state;
	for (u32 c = 0; c < 600; c++)
		assert_int_equal(rig_io(g, BLK_WRITE, c * PER + 8, 8, false), 0);
	assert_int_equal(g->store->slots.free, before - 600);
	trim_now(g, 0, 600 * PER);
	settle(g);
	assert_int_equal(g->store->slots.free, before);
	for (u32 c = 0; c < 600; c += 13)
		assert_true(zeroes(g, c * PER, PER));
	rig_destroy(g);
}

static void flushed_trim_survives(void **state)
{
	struct rig *g = opened(STORE_POLICY_PUSH);

	(void)state;
	for (u32 c = 0; c < 40; c++)
		assert_int_equal(rig_io(g, BLK_WRITE, c * PER, PER, false), 0);
	assert_int_equal(rig_io(g, BLK_FLUSH, 0, 0, false), 0);
	trim_now(g, 0, 20 * PER);
	assert_int_equal(rig_io(g, BLK_FLUSH, 0, 0, false), 0);
	rig_crash(g);
	assert_int_equal(rig_open(g), 0);
	assert_true(zeroes(g, 0, 20 * PER));
	assert_false(zeroes(g, 20 * PER, 1));
	assert_int_equal(g->disk->m->slots_ovl, 20);
	rig_destroy(g);
}

/* A read that is on its way to a slot keeps it from being taken by others. */
static void reads_are_waited_for(void **state)
{
	struct rig *g = opened(STORE_POLICY_PUSH);
	static u8 buf[4096];
	struct blk_seg seg = { HPA((uintptr_t)buf), sizeof(buf) };
	int e1 = 1, e2 = 1;
	struct blk_req a = { .op = BLK_READ, .lba = 0, .sectors = 8, .segs = &seg, .nsegs = 1,
			     .done = done, .owner = &e1 };
	struct blk_req b = { .op = BLK_TRIM, .lba = 0, .sectors = PER, .done = done,
			     .owner = &e2 };
	u32 slot;

	(void)state;
	assert_int_equal(rig_io(g, BLK_WRITE, 0, 8, false), 0);
	assert_int_equal(rig_io(g, BLK_FLUSH, 0, 0, false), 0);
	slot = chunkmap_ovl_slot(g->disk->m, 0);
	blk_submit(disk_blk(g->disk), &a);
	disk_poll(g->disk); /* it is with the device now */
	blk_submit(disk_blk(g->disk), &b);
	disk_poll(g->disk);
	assert_int_equal(chunkmap_ovl_slot(g->disk->m, 0), SLOT_NONE);
	for (u32 i = 0; i < 10000 && e1 == 1; i++) {
		assert_true(g->store->slots.used[slot / 64] >> slot % 64 & 1);
		rig_tick(g);
	}
	settle(g);
	assert_false(g->store->slots.used[slot / 64] >> slot % 64 & 1);
	rig_destroy(g);
}

static void a_write_on_its_way_keeps_its_slot(void **state)
{
	struct rig *g = opened(STORE_POLICY_PUSH);
	static u8 buf[4096];
	struct blk_seg seg = { HPA((uintptr_t)buf), sizeof(buf) };
	int e1 = 1, e2 = 1;
	struct blk_req a = { .op = BLK_WRITE, .lba = 8, .sectors = 8, .segs = &seg, .nsegs = 1,
			     .done = done, .owner = &e1 };
	struct blk_req b = { .op = BLK_TRIM, .lba = 0, .sectors = 8, .done = done, .owner = &e2 };

	(void)state;
	memset(buf, 7, sizeof(buf));
	assert_int_equal(rig_io(g, BLK_WRITE, 0, 8, false), 0);
	blk_submit(disk_blk(g->disk), &a);
	disk_poll(g->disk);
	blk_submit(disk_blk(g->disk), &b);
	for (u32 i = 0; i < 10000 && (e1 == 1 || e2 == 1); i++)
		rig_tick(g);
	settle(g);
	assert_true(zeroes(g, 0, 8));
	assert_false(zeroes(g, 8, 8));
	rig_destroy(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_blocks_read_as_zeroes),
		cmocka_unit_test(space_comes_back),
		cmocka_unit_test(a_whole_disk),
		cmocka_unit_test(flushed_trim_survives),
		cmocka_unit_test(reads_are_waited_for),
		cmocka_unit_test(a_write_on_its_way_keeps_its_slot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
