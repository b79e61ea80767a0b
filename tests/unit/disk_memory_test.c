/*
 * What a virtual disk of 1 TiB takes of the VMM's memory: at most 96 MiB
 *
 * A real store and disk over a sparse device, fetched from a little; then the map of
 * guest writes is made to grow as far as it goes, and the map of a second version is
 * added. Allocations are counted where they are made, so nothing can be forgotten.
 */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "storage/core/disk_priv.h"
#include "tests/fakes/big_disk.h"

#define BAR (96 * MIB)

static u64 seed_sparse(const struct image_fake *im, u64 chunk)
{
	(void)im;
	return chunk % 4096 ? 0 : chunk + 1;
}

/* Guest writes as scattered as they can be: a leaf for every MiB, until there is none. */
static u32 grow_map(void)
{
	struct chunkmap *m = big.disk->m;
	u32 n = 0, per = GROUP_BLOCKS / m->bpc;

	for (u32 c = 0; c < m->chunks; c += per, n++) {
		chunkmap_spare(m);
		if (!chunkmap_ovl_room(m, c))
			break;
	}
	return n;
}

static void a_tebibyte(void **state)
{
	struct image_fake im = {
		.version = 1, .image_bytes = 1024 * GIB, .sector_bytes = 512, .seed = seed_sparse,
	};
	static u8 buf[4096], want[512];
	struct chunkmap *second;
	u64 idle, most, heap;

	(void)state;
	heap = mallinfo2().uordblks + mallinfo2().hblkhd;
	im.chunk_bytes = manifest_chunk_default(im.image_bytes);
	big_setup(&im, 1280 * GIB);
	for (u64 s = 5; s < im.image_bytes / 512; s += im.image_bytes / 512 / 13) {
		assert_int_equal(big_io(BLK_READ, s, 1, buf), 0);
		image_fake_sector(&im, s, want);
		assert_memory_equal(buf, want, 512);
	}
	memset(buf, 0x5a, sizeof(buf));
	for (u64 s = 0; s < im.image_bytes / 512; s += im.image_bytes / 512 / 64)
		assert_int_equal(big_io(BLK_WRITE, s, 8, buf), 0);
	assert_int_equal(big_io(BLK_FLUSH, 0, 0, buf), 0);
	idle = big_memory();
	assert_true(grow_map() > 200000);
	second = chunkmap_create_base(im.image_bytes, im.chunk_bytes);
	assert_non_null(second);
	most = big_memory() + second->bytes;
	print_message("1 TiB: %llu KiB, at most %llu KiB\n", (unsigned long long)idle / 1024,
		      (unsigned long long)most / 1024);
	assert_true(idle <= BAR / 2);
	assert_true(most <= BAR);
	/* and all of it is counted: the allocator's own figure, less the device's pieces */
	heap = mallinfo2().uordblks + mallinfo2().hblkhd - heap;
	for (u32 i = 0; i < big.pieces; i++)
		heap -= big.piece[i] ? BIG_PIECE : 0;
	heap -= big.pieces * sizeof(*big.piece);
	print_message("allocated: %llu KiB\n", (unsigned long long)heap / 1024);
#ifndef __SANITIZE_ADDRESS__ /* which has an allocator of its own */
	assert_true(heap <= BAR);
#endif
	chunkmap_destroy(second);
	big_teardown();
}

/* Up to 256 GiB no pattern of writes can fill the map before the disk is full. */
static void all_of_256_gib(void **state)
{
	struct chunkmap *m = chunkmap_create(256 * GIB, manifest_chunk_default(256 * GIB));

	(void)state;
	assert_non_null(m);
	for (u32 c = 0; c < m->chunks; c++) {
		chunkmap_spare(m);
		assert_true(chunkmap_ovl_room(m, c));
	}
	assert_true(m->bytes <= 64 * MIB);
	chunkmap_destroy(m);
}

/* No leaf is left: the write ends as on a full disk, and what was written before is there. */
static void full_map_is_a_full_disk(void **state)
{
	struct image_fake im = { .version = 1, .image_bytes = 64 * GIB, .chunk_bytes = 64 * KIB,
				 .sector_bytes = 512, .seed = seed_sparse };
	static u8 buf[4096], got[4096];

	(void)state;
	big_setup(&im, 80 * GIB);
	big.disk->m->max_slabs = 1;
	memset(buf, 0x5a, sizeof(buf));
	assert_int_equal(big_io(BLK_WRITE, 0, 8, buf), 0);
	while (chunkmap_ovl_room(big.disk->m, big.disk->m->chunks - 1 - 16 * big.disk->m->nfree))
		;
	assert_int_equal(big_io(BLK_WRITE, 8192, 8, buf), -ENOSPC);
	assert_int_equal(big_io(BLK_READ, 0, 8, got), 0);
	assert_memory_equal(got, buf, sizeof(buf));
	assert_int_equal(big_io(BLK_WRITE, 64, 8, buf), 0); /* where there is a leaf already */
	big.disk->m->max_slabs = 4; /* memory has come: it goes on */
	assert_int_equal(big_io(BLK_WRITE, 8192, 8, buf), 0);
	big_teardown();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tebibyte),
		cmocka_unit_test(all_of_256_gib),
		cmocka_unit_test(full_map_is_a_full_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
