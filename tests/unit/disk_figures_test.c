/*
 * What the storage engine is held to, as far as bytes tell: what an update fetches, what
 * guest writes cost
 *
 * A device that counts, an image of 256 MiB. Metadata is part of every figure: journal,
 * checkpoints, checksums, table pages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/plat.h"
#include "storage/core/disk_priv.h"
#include "tests/fakes/big_disk.h"

#define IMAGE (256 * MIB)
#define CHUNK (64 * KIB)

static u64 rng;

static u32 below(u32 n)
{
	rng = rng * 6364136223846793005ull + 1442695040888963407ull;
	return (u32)((rng >> 33) % n);
}

/* A third is zero, as in a disk with room; of the rest 3 % differ between versions 1 and 2. */
static u64 seed_of(const struct image_fake *im, u64 chunk)
{
	u64 mix = (chunk + 1) * 0x9e3779b97f4a7c15ull >> 40;

	if (mix % 3 == 0)
		return 0;
	return chunk + 1 + (mix / 3 % 100 < 3 ? im->version << 32 : 0);
}

static const struct image_fake v1 = { .version = 1, .image_bytes = IMAGE, .chunk_bytes = CHUNK,
				      .sector_bytes = 512, .seed = seed_of };
static const struct image_fake v2 = { .version = 2, .image_bytes = IMAGE, .chunk_bytes = CHUNK,
				      .sector_bytes = 512, .seed = seed_of };

static bool complete(void)
{
	return store_meta(big.store)->complete;
}

static bool staged(void)
{
	return big.store->other.complete && !big.disk->stage.busy;
}

static u32 differing(u32 *used)
{
	u32 n = 0;

	*used = 0;
	for (u64 c = 0; c < IMAGE / CHUNK; c++) {
		*used += seed_of(&v1, c) != 0;
		n += seed_of(&v1, c) != seed_of(&v2, c);
	}
	return n;
}

static void check_all(const struct image_fake *im)
{
	static u8 buf[CHUNK], want[512];

	for (u64 s = 0; s < IMAGE / 512; s += CHUNK / 512) {
		assert_int_equal(big_io(BLK_READ, s, CHUNK / 512, buf), 0);
		image_fake_sector(im, s + 77, want);
		assert_memory_equal(buf + 77 * 512, want, 512);
	}
}

/* 3 % changed: at most 4 % of what the image holds is fetched, staged or at the change-over. */
static void three_percent_fetch_less_than_four(void **state)
{
	u32 used, differ = differing(&used), root_bytes;
	struct disk_stats st;
	u64 bytes;
	u8 *root;

	(void)state;
	assert_in_range(differ * 1000 / used, 25, 35);
	for (u32 beside = 0; beside < 2; beside++) {
		big_setup(&v1, 2 * GIB);
		big_until(complete);
		if (beside) {
			source_fake_add(big.source, &v2);
			root = image_fake_manifest(&v2, &root_bytes);
			assert_int_equal(disk_stage(big.disk, root, root_bytes), 0);
			free(root);
			big_until(staged);
			disk_stats(big.disk, &st);
			bytes = st.staged_bytes;
			big_bind(&v2);
			assert_true(complete());
		} else {
			big_bind(&v2);
			big_until(complete);
			disk_stats(big.disk, &st);
			bytes = st.fetched_bytes + st.page_chunks * CHUNK;
		}
		print_message("%s: changed %.2f %%, fetched %.2f %%\n",
			      beside ? "staged" : "at boot", 100.0 * differ / used,
			      100.0 * (double)bytes / ((double)used * CHUNK));
		assert_true(bytes * 100 <= (u64)used * CHUNK * 4);
		assert_true(bytes >= (u64)differ * CHUNK);
		check_all(&v2);
		big_teardown();
	}
}

static double amplified(u32 bytes, u32 n, bool flush)
{
	static u8 buf[CHUNK];
	u64 before = big.write_bytes, wrote = (u64)n * bytes;

	memset(buf, 0x5a, sizeof(buf));
	for (u32 i = 0; i < n; i++) {
		u64 at = (u64)below((u32)(IMAGE / bytes)) * (bytes / 512);

		assert_int_equal(big_io(BLK_WRITE, at, bytes / 512, buf), 0);
		if (flush)
			assert_int_equal(big_io(BLK_FLUSH, 0, 0, buf), 0);
	}
	assert_int_equal(big_io(BLK_FLUSH, 0, 0, buf), 0);
	return (double)(big.write_bytes - before) / (double)wrote;
}

/* Bytes that reach the device for each byte that the guest writes, policy push. */
static void write_amplification(void **state)
{
	double large, small;

	(void)state;
	rng = 1;
	big_setup(&v1, 2 * GIB);
	big_until(complete);
	small = amplified(4 * KIB, 2000, true); /* first: each of them is new to the map */
	large = amplified(64 * KIB, 2000, false);
	print_message("64 KiB random %.3f, 4 KiB random + flush %.3f\n", large, small);
	assert_true(large <= 1.3);
	assert_true(small <= 2.5);
	assert_true(big.store->checkpoints > 1); /* theirs are in it */
	big_teardown();
}

/* A complete store of 512 GiB is open after a few MiB. */
static u64 seed_some(const struct image_fake *im, u64 chunk)
{
	(void)im;
	return chunk % 8192 ? 0 : chunk + 1; /* few, or the test is about memory */
}

static void opening_reads_little(void **state)
{
	struct image_fake im = { .version = 1, .image_bytes = 448 * GIB, .chunk_bytes = 256 * KIB,
				 .sector_bytes = 512, .seed = seed_some };
	u64 before;

	(void)state;
	big_setup(&im, 512 * GIB);
	big_until(complete);
	before = big.read_bytes;
	big_bind(&im);
	print_message("opening 512 GiB reads %llu KiB\n",
		      (unsigned long long)(big.read_bytes - before) / 1024);
	assert_true(big.read_bytes - before <= 4 * MIB);
	big_teardown();
}

/* For callgrind (tests/perf/rows_storage.py): @n reads of 4 KiB from a complete store. */
static int local_reads(u32 n)
{
	static u8 buf[4096];

	rng = 1;
	big_setup(&v1, 2 * GIB);
	big_until(complete);
	while (n) {
		u64 block = below(IMAGE / 4096);

		if (!seed_of(&v1, block / 16))
			continue; /* zeroes cost nothing */
		if (big_io(BLK_READ, block * 8, 8, buf))
			return 1;
		n--;
	}
	big_teardown();
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "reads"))
		return local_reads((u32)atoi(argv[2]));

	const struct CMUnitTest tests[] = {
		cmocka_unit_test(three_percent_fetch_less_than_four),
		cmocka_unit_test(write_amplification),
		cmocka_unit_test(opening_reads_little),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
