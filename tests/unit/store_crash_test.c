/*
 * Random guests against the model, with power cuts: what was flushed survives,
 * what was never written is never wrong. Seeds are fixed; FRESHET_SEEDS=n runs
 * more of them, FRESHET_SEED=n just one.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "tests/fakes/rig.h"

static u64 seed_of(const struct image_fake *im, u64 chunk)
{
	(void)im;
	return chunk % 5 == 3 ? 0 : chunk + 1;
}

/* 40 chunks, the last one short and not even whole blocks */
static const struct image_fake small = {
	.version = 1,
	.image_bytes = 40 * 65536 - 3 * 512,
	.chunk_bytes = 65536,
	.sector_bytes = 512,
	.seed = seed_of,
};

static const struct image_fake small4k = {
	.version = 1,
	.image_bytes = 40 * 65536 - 5 * 4096,
	.chunk_bytes = 65536,
	.sector_bytes = 4096,
	.seed = seed_of,
};

static bool few_segs;

static void some_ops(struct rig *g, u32 ops)
{
	for (u32 i = 0; i < ops && !g->dev->dead; i++) {
		for (u32 n = fake_rng(&g->rng) % 4; n; n--)
			rig_random_op(g);
		if (fake_rng(&g->rng) % 200 == 0)
			g->source->gone = !g->source->gone;
		rig_tick(g);
	}
	g->source->gone = false;
}

/* Nothing rots here: what is in the map must match its sums, whenever the power went. */
static void sound(struct rig *g)
{
	struct disk_stats st;

	disk_stats(g->disk, &st);
	if (st.corrupt_chunks)
		fail_msg("corrupt chunks without rot seed=%llu", (unsigned long long)g->seed);
}

static void one(u64 seed, enum store_policy policy, u32 dev_sector, const struct image_fake *im,
		u32 crashes)
{
	struct rig *g = rig_create(seed, im, im->chunk_bytes > 65536 ? 40 * MIB : 24 * MIB,
				   dev_sector);

	g->policy = policy;
	g->fill.on = seed % 2;
	g->fill.idle_ms = 1;
	g->dev->blk.write_cache = seed % 5 != 4;
	if (few_segs) {
		g->dev->blk.max_sectors = 56;
		g->dev->blk.max_segs = 3;
	}
	rig_format(g);
	for (u32 i = 0; i <= crashes; i++) {
		int err;

		if (i < crashes)
			g->dev->dead_after = 1 + fake_rng(&g->rng) % 300;
		err = rig_open(g);
		if (!g->dev->dead) {
			assert_int_equal(err, 0);
			if (policy == STORE_POLICY_BOOT)
				rig_forget(g);
			u64 save = g->dev->dead_after;

			g->dev->dead_after = 0;
			if (i) /* at first, let the guest miss things */
				rig_check_all(g, true);
			g->dev->dead_after = save;
			some_ops(g, 600);
			sound(g);
		}
		if (i == crashes)
			break;
		rig_crash(g);
	}
	assert_true(rig_until_idle(g));
	rig_check_all(g, false);
	assert_int_equal(rig_io(g, BLK_FLUSH, 0, 0, false), 0);
	rig_crash(g);
	assert_int_equal(rig_open(g), 0);
	if (policy == STORE_POLICY_BOOT)
		rig_forget(g);
	rig_check_all(g, false);
	rig_destroy(g);
}

static void many(enum store_policy policy, u32 dev_sector, const struct image_fake *im, u32 seeds)
{
	const char *n = getenv("FRESHET_SEEDS"), *just = getenv("FRESHET_SEED");

	if (just) {
		one((u64)atoll(just), policy, dev_sector, im, 12);
		return;
	}
	if (n)
		seeds = (u32)atoi(n);
	for (u64 s = 1; s <= seeds; s++)
		one(s, policy, dev_sector, im, 12);
}

/* Every open changes a scalar, so every open checkpoints; the power goes in the midst of it. */
static void checkpoints_survive(void **state)
{
	(void)state;
	for (u64 seed = 1; seed <= 10; seed++) {
		struct rig *g = rig_create(seed, &small, 24 * MIB, 512);
		u64 highest = 0;

		rig_format(g);
		for (u32 i = 0; i < 60; i++) {
			g->serial = i + 1;
			if (i % 4 != 3)
				g->dev->dead_after = 1 + fake_rng(&g->rng) % 8;
			int err = rig_open(g);

			if (!g->dev->dead) {
				assert_int_equal(err, 0);
				g->dev->dead_after = 0;
				assert_true(store_meta(g->store)->serial >= highest);
				highest = store_meta(g->store)->serial;
				rig_check_all(g, true);
				for (u32 n = 0; n < 20; n++) {
					rig_random_op(g);
					rig_tick(g);
				}
			} else if (err && err != 1) {
				fail_msg("open err=%d seed=%llu", err, (unsigned long long)seed);
			}
			rig_crash(g);
		}
		rig_destroy(g);
	}
}

static u64 seed_plain(const struct image_fake *im, u64 chunk)
{
	(void)im;
	return chunk + 1;
}

/* Many chunks: a flush has records for several journal blocks, and tears. */
static void long_appends_survive(void **state)
{
	static const struct image_fake wide = {
		.version = 1,
		.image_bytes = 2000 * 65536,
		.chunk_bytes = 65536,
		.sector_bytes = 512,
		.seed = seed_plain,
	};

	(void)state;
	for (u64 seed = 1; seed <= 3; seed++) {
		struct rig *g = rig_create(seed, &wide, 200 * MIB, 512);

		rig_format(g);
		for (u32 i = 0; i < 8; i++) {
			assert_int_equal(rig_open(g), 0);
			/* what may be: only the blocks that are written are looked at */
			for (u64 c = 0; c < 2000 && i; c++)
				rig_accept(g, c * 128 + 8, 8);
			/* first few chunks, then a lot, so that old tails lie behind new heads */
			for (u32 n = 0; n < (i % 2 ? 700 : 40); n++) {
				u64 c = fake_rng(&g->rng) % 2000;

				while (!rig_start(g, BLK_WRITE, c * 128 + 8, 8, false)) {
					c = fake_rng(&g->rng) % 2000;
					rig_tick(g);
				}
			}
			assert_true(rig_until_idle(g));
			g->dev->dead_after = i % 2 ? 1 : 0;
			rig_start(g, BLK_FLUSH, 0, 0, false);
			if (i % 2 == 0)
				assert_true(rig_until_idle(g));
			for (u32 n = 0; n < 2000 && !g->dev->dead; n++)
				rig_tick(g);
			rig_crash(g);
		}
		rig_destroy(g);
	}
}

static void push_survives(void **state)
{
	(void)state;
	many(STORE_POLICY_PUSH, 512, &small, 12);
}

static void push_survives_4k_disk(void **state)
{
	(void)state;
	many(STORE_POLICY_PUSH, 4096, &small, 6);
}

static void push_survives_4k_guest(void **state)
{
	(void)state;
	many(STORE_POLICY_PUSH, 512, &small4k, 6);
}

/* large chunks, a disk that takes little at a time, odd numbers everywhere */
static void push_survives_odd_sizes(void **state)
{
	static const struct image_fake large = {
		.version = 1,
		.image_bytes = 9 * 1048576 - 12345 * 512,
		.chunk_bytes = 1048576,
		.sector_bytes = 512,
		.seed = seed_of,
	};

	(void)state;
	few_segs = true;
	many(STORE_POLICY_PUSH, 512, &large, 4);
	few_segs = false;
}

static void boot_forgets(void **state)
{
	(void)state;
	many(STORE_POLICY_BOOT, 512, &small, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(push_survives),
		cmocka_unit_test(push_survives_4k_disk),
		cmocka_unit_test(push_survives_4k_guest),
		cmocka_unit_test(push_survives_odd_sizes),
		cmocka_unit_test(boot_forgets),
		cmocka_unit_test(checkpoints_survive),
		cmocka_unit_test(long_appends_survive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
