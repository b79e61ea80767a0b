/* The boot profile on a disk: what is noted, what is fetched and when, what garbage does. */
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
#define CHUNKS 400u

static u64 seed(const struct image_fake *im, u64 chunk)
{
	(void)im;
	return chunk % 50 == 49 ? 0 : chunk + 1;
}

static const struct image_fake image = {
	.version = 1, .image_bytes = CHUNKS * CHUNK, .chunk_bytes = CHUNK, .sector_bytes = 512,
	.seed = seed,
};

static struct rig *opened(void)
{
	struct rig *g = rig_create(1, &image, 64 * MIB, 512);

	rig_format(g);
	assert_int_equal(rig_open(g), 0);
	g->source->prompt = g->dev->prompt = true;
	return g;
}

static struct disk_stats stats(struct rig *g)
{
	struct disk_stats st;

	disk_stats(g->disk, &st);
	return st;
}

static void read_chunk(struct rig *g, u32 c)
{
	assert_int_equal(rig_io(g, BLK_READ, (u64)c * PER + 16, 8, false), 0);
}

static u32 recorded(struct rig *g, u8 *out, struct profile *p)
{
	u32 n = disk_profile_build(g->disk, out, PROFILE_BYTES_MAX);

	if (n)
		assert_int_equal(profile_parse(out, n, p), 0);
	return n;
}

static void assert_run(const struct profile *p, u32 i, u32 first, u32 count)
{
	struct profile_run r = profile_run_get(p, i);

	assert_int_equal(r.first, first);
	assert_int_equal(r.count, count);
}

static void order_of_first_reads(void **state)
{
	static const u32 order[] = { 100, 101, 7, 102, 300, 302, 301, 7, 103, 49, 100 };
	struct rig *g = opened();
	u8 b[PROFILE_BYTES_MAX];
	struct profile p;

	(void)state;
	assert_int_equal(recorded(g, b, &p), 0);
	for (u32 i = 0; i < ARRAY_SIZE(order); i++)
		read_chunk(g, order[i]);
	assert_true(recorded(g, b, &p) > 0);
	assert_memory_equal(p.version, store_meta(g->store)->version, 32);
	assert_int_equal(p.chunk_bytes, CHUNK);
	assert_int_equal(p.nruns, 3);
	assert_run(&p, 0, 100, 4);
	assert_run(&p, 1, 7, 1);
	assert_run(&p, 2, 300, 3); /* the gap joined, and was read later */
	disk_profile_stop(g->disk);
	assert_int_equal(stats(g).boot_demand_chunks, stats(g).demand_chunks);
	read_chunk(g, 200);
	assert_true(recorded(g, b, &p) > 0);
	assert_int_equal(p.nruns, 3);
	rig_destroy(g);
}

static void own_writes_are_not_noted(void **state)
{
	struct rig *g = opened();
	u8 b[PROFILE_BYTES_MAX];
	struct profile p;

	(void)state;
	assert_int_equal(rig_io(g, BLK_WRITE, 20 * PER, 64, false), 0);
	assert_int_equal(rig_io(g, BLK_READ, 20 * PER, 64, false), 0);
	assert_int_equal(recorded(g, b, &p), 0);
	/* part of a block: the rest of it is read */
	assert_int_equal(rig_io(g, BLK_WRITE, 30 * PER + 1, 1, false), 0);
	assert_true(recorded(g, b, &p) > 0);
	assert_run(&p, 0, 30, 1);
	rig_destroy(g);
}

static void full_recorder_stops(void **state)
{
	struct rig *g = opened();
	struct disk_profile st;

	(void)state;
	g->disk->rec.n = PROFILE_RUNS_MAX - 1;
	for (u32 i = 0; i < g->disk->rec.n; i++)
		g->disk->rec.runs[i] = (struct profile_run){ 1000000, 1 };
	read_chunk(g, 10);
	disk_profile_state(g->disk, &st);
	assert_false(st.full);
	read_chunk(g, 30);
	disk_profile_state(g->disk, &st);
	assert_true(st.full);
	assert_int_equal(st.runs, PROFILE_RUNS_MAX);
	rig_destroy(g);
}

static u32 make(struct rig *g, const struct profile_run *runs, u32 n, u8 *out)
{
	struct profile p = { .chunk_bytes = CHUNK, .boots = 1, .nruns = n };

	memcpy(p.version, store_meta(g->store)->version, 32);
	assert_int_equal(profile_build(&p, runs, out, PROFILE_BYTES_MAX, NULL), 0);
	return (u32)profile_size(n);
}

/* The PC before this one has read 120 chunks: of those, none is a demand now. */
static void a_second_boot_misses_nothing(void **state)
{
	struct rig *g = opened();
	u8 b[PROFILE_BYTES_MAX];
	struct profile p;
	u64 first;
	u32 n;

	(void)state;
	for (u32 i = 0; i < 120; i++)
		read_chunk(g, i * 7 % 120 * 3);
	first = stats(g).demand_chunks;
	n = recorded(g, b, &p);
	assert_true(n > 0 && first > 100);
	rig_destroy(g);

	g = opened();
	assert_int_equal(disk_profile_play(g->disk, b, n), 0);
	for (u32 i = 0; i < 4000 && stats(g).listed_chunks < 120; i++)
		rig_tick(g);
	for (u32 i = 0; i < 120; i++)
		read_chunk(g, i * 7 % 120 * 3);
	assert_true(stats(g).demand_chunks * 10 <= first);
	assert_true(stats(g).listed_chunks >= 110);
	rig_destroy(g);
}

static void demand_comes_first(void **state)
{
	static const struct profile_run all = { 0, 380 };
	struct rig *g = opened();
	u8 b[PROFILE_BYTES_MAX];

	(void)state;
	read_chunk(g, 390); /* the table page is here */
	g->source->gone = true;
	assert_int_equal(disk_profile_play(g->disk, b, make(g, &all, 1, b)), 0);
	for (u32 i = 0; i < 50; i++)
		rig_tick(g);
	assert_in_range(g->source->waiting, 1, 32); /* bounded */
	g->source->norder = 0;
	rig_start(g, BLK_READ, 395 * PER, 8, false);
	rig_tick(g);
	assert_int_equal(g->source->norder, 1);
	assert_int_equal(g->source->order[0], SOURCE_DEMAND);
	g->source->gone = false;
	assert_true(rig_until_idle(g));
	rig_destroy(g);
}

static void garbage_does_no_harm(void **state)
{
	static const struct profile_run odd[] = {
		{ 398, 40 }, { 0xfffffff0, 12 }, { CHUNKS, 1 }, { CHUNKS + 1, 1 }, { 3, 2 },
		{ 3, 2 }, { 49, 1 },
	};
	struct rig *g = opened();
	u8 b[PROFILE_BYTES_MAX];
	u32 n = make(g, odd, ARRAY_SIZE(odd), b);

	(void)state;
	b[40] ^= 1; /* another version's */
	assert_int_equal(disk_profile_play(g->disk, b, n), -EINVAL);
	b[40] ^= 1;
	assert_int_equal(disk_profile_play(g->disk, b, n - 1), -EINVAL);
	b[12] = 0;
	b[14] = 2; /* another chunk size */
	assert_int_equal(disk_profile_play(g->disk, b, n), -EINVAL);
	n = make(g, odd, ARRAY_SIZE(odd), b);
	assert_int_equal(disk_profile_play(g->disk, b, n), 0);
	assert_int_equal(disk_profile_play(g->disk, b, n), -EBUSY);
	for (u32 i = 0; i < 2000; i++)
		rig_tick(g);
	assert_int_equal(stats(g).listed_chunks, 3); /* 398, 3, 4; 399 and 49 are zero */
	rig_check_all(g, false);
	rig_destroy(g);
}

/* Fill: behind what was read, then in front of it, then the rest. */
static void fill_begins_with_the_neighbours(void **state)
{
	struct disk_fill fill = { .on = true, .idle_ms = 1, .limit_kib_s = 6400 };
	struct rig *g = opened();
	const u32 *base = g->disk->m->base;

	(void)state;
	read_chunk(g, 200);
	read_chunk(g, 310);
	disk_set_fill(g->disk, &fill);
	for (u32 i = 0; i < 100000 && g->disk->m->present_chunks < 30; i++)
		rig_tick(g);
	for (u32 i = 198; i <= 206; i++)
		assert_true(i == 199 || base[i] < SLOT_LIMIT); /* 199 is zero */
	for (u32 i = 308; i <= 316; i++)
		assert_true(base[i] < SLOT_LIMIT);
	assert_true(base[100] == SLOT_NONE && base[220] == SLOT_NONE && base[390] == SLOT_NONE);
	fill.limit_kib_s = 0;
	disk_set_fill(g->disk, &fill);
	assert_true(rig_until_complete(g));
	rig_destroy(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order_of_first_reads),
		cmocka_unit_test(own_writes_are_not_noted),
		cmocka_unit_test(full_recorder_stops),
		cmocka_unit_test(a_second_boot_misses_nothing),
		cmocka_unit_test(demand_comes_first),
		cmocka_unit_test(garbage_does_no_harm),
		cmocka_unit_test(fill_begins_with_the_neighbours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
