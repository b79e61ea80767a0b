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

static void one(u64 seed, enum store_policy policy, u32 dev_sector, const struct image_fake *im,
		u32 crashes)
{
	struct rig *g = rig_create(seed, im, 24 * MIB, dev_sector);

	g->policy = policy;
	g->fill.on = seed % 2;
	g->fill.idle_ms = 1;
	g->dev->blk.write_cache = seed % 5 != 4;
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
			rig_check_all(g, true);
			g->dev->dead_after = save;
			some_ops(g, 600);
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
		cmocka_unit_test(boot_forgets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
