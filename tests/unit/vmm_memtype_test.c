/*
 * vmm_memtype_test.c - MTRR settings of real firmware, and odd ones, as memory types
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/mm/memtype.h"
#include "vmm/mm/npt.h"

#define ENABLE 0x800ull
#define FIXED 0x400ull
#define VALID 0x800ull

/* A mask for @bytes, a power of two, with 39 address bits. */
#define MASK(bytes) ((0x7fffffffffull & ~((u64)(bytes) - 1)) | VALID)

#define FIXED_WB 0x0606060606060606ull
/* As OVMF leaves them: RAM to 0xa0000, nothing cached from there to 1 MiB */
#define FIXED_OVMF { FIXED_WB, FIXED_WB, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

struct want {
	u64 pa;
	enum memtype type;
};

static const struct setting {
	const char *name;
	struct memtypes m;
	struct want want[12];
} settings[] = {
	{ "switched off", { .def = MEMTYPE_WB },
	  { { 0, MEMTYPE_UC }, { 4 * GIB, MEMTYPE_UC } } },
	{ "default WB, PCI hole UC (OVMF)",
	  { .def = ENABLE | FIXED | MEMTYPE_WB, .fixed = FIXED_OVMF, .have_fixed = true, .count = 2,
	    .base = { 0x80000000, 32 * GIB }, .mask = { MASK(2 * GIB), MASK(32 * GIB) } },
	  { { 0, MEMTYPE_WB }, { 0x9f000, MEMTYPE_WB }, { 0xa0000, MEMTYPE_UC },
	    { 0xff000, MEMTYPE_UC }, { 0x100000, MEMTYPE_WB }, { 0x7ffff000, MEMTYPE_WB },
	    { 0x80000000, MEMTYPE_UC }, { 0xfee00000, MEMTYPE_UC }, { 4 * GIB, MEMTYPE_WB },
	    { 32 * GIB, MEMTYPE_UC }, { 64 * GIB, MEMTYPE_WB } } },
	{ "default UC, RAM WB with the graphics' memory cut out (a 2012 desktop)",
	  { .def = ENABLE | FIXED | MEMTYPE_UC,
	    .fixed = { FIXED_WB, FIXED_WB, 0, 0x0505050505050505, 0x0505050505050505,
		       0x0505050505050505, 0x0505050505050505, 0x0505050505050505,
		       0x0505050505050505, 0x0505050505050505, 0x0505050505050505 },
	    .have_fixed = true, .count = 10,
	    .base = { 0 | MEMTYPE_WB, 4 * GIB | MEMTYPE_WB, 0xe0000000, 0xdc000000, 0xdb800000,
		      0x23f800000, 0x23f600000 },
	    .mask = { MASK(4 * GIB), MASK(4 * GIB), MASK(512 * MIB), MASK(64 * MIB), MASK(8 * MIB),
		      MASK(8 * MIB), MASK(2 * MIB) } },
	  { { 0xa0000, MEMTYPE_UC }, { 0xc0000, MEMTYPE_WP }, { 0xdb7ff000, MEMTYPE_WB },
	    { 0xdb800000, MEMTYPE_UC }, { 0xdfffffff, MEMTYPE_UC }, { 0xfee00000, MEMTYPE_UC },
	    { 4 * GIB, MEMTYPE_WB }, { 8 * GIB, MEMTYPE_UC }, { 0x23f600000, MEMTYPE_UC } } },
	{ "WB and WT overlap: WT; WB and WC: undefined, so UC",
	  { .def = ENABLE | MEMTYPE_UC, .count = 3,
	    .base = { 0 | MEMTYPE_WB, 0x10000000 | MEMTYPE_WT, 0x20000000 | MEMTYPE_WC },
	    .mask = { MASK(GIB), MASK(MIB), MASK(MIB) } },
	  { { 0x10000000, MEMTYPE_WT }, { 0x10100000, MEMTYPE_WB }, { 0x20000000, MEMTYPE_UC } } },
	{ "UC wins over everything",
	  { .def = ENABLE | MEMTYPE_WB, .count = 3,
	    .base = { 0x10000000 | MEMTYPE_WT, 0x10000000 | MEMTYPE_WB, 0x10000000 },
	    .mask = { MASK(MIB), MASK(GIB), MASK(4096) } },
	  { { 0x10000000, MEMTYPE_UC }, { 0x10001000, MEMTYPE_WT }, { 0x10100000, MEMTYPE_WB } } },
	{ "a reserved encoding is uncached", { .def = ENABLE | 2 }, { { 0x1000, MEMTYPE_UC } } },
	{ "fixed ranges off: variable ones below 1 MiB too",
	  { .def = ENABLE | MEMTYPE_UC, .fixed = { 0 }, .have_fixed = true, .count = 1,
	    .base = { MEMTYPE_WB }, .mask = { MASK(GIB) } },
	  { { 0xa0000, MEMTYPE_WB }, { 0xc0000, MEMTYPE_WB } } },
	{ "an invalid range counts for nothing",
	  { .def = ENABLE | MEMTYPE_WB, .count = 1, .base = { 0 }, .mask = { MASK(GIB) & ~VALID } },
	  { { 0x1000, MEMTYPE_WB } } },
	{ "a mask with a hole repeats the range",
	  { .def = ENABLE | MEMTYPE_WB, .count = 1, .base = { 0x1000000 },
	    .mask = { 0x7ffd000000ull | VALID } },
	  { { 0x1000000, MEMTYPE_UC }, { 0x3000000, MEMTYPE_UC }, { 0x2000000, MEMTYPE_WB },
	    { 0x5000000, MEMTYPE_WB } } },
};

static void test_settings(void **state)
{
	size_t i, k;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(settings); i++)
		for (k = 0; k < ARRAY_SIZE(settings[i].want); k++) {
			const struct want *w = &settings[i].want[k];

			if (k && !w->pa)
				break;
			if (memtype_of(&settings[i].m, w->pa) != w->type)
				fail_msg("%s: %llx is %d, not %d", settings[i].name,
					 (unsigned long long)w->pa,
					 memtype_of(&settings[i].m, w->pa), w->type);
		}
}

/* A block that is called uniform has that type on each of its pages. */
static void test_uniform_blocks_are(void **state)
{
	static const u64 sizes[] = { 64 * KIB, 2 * MIB, GIB };
	size_t i, k;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(settings); i++)
		for (k = 0; k < ARRAY_SIZE(sizes); k++) {
			const struct memtypes *m = &settings[i].m;
			u64 pa, at, step = MAX(sizes[k] / 4096, (u64)PAGE_BYTES);
			u32 blocks = 0;

			for (pa = 0; pa < 10 * GIB && blocks < 4000; pa += sizes[k], blocks++) {
				enum memtype type;

				if (!memtype_uniform(m, pa, sizes[k], &type))
					continue;
				for (at = pa; at < pa + sizes[k]; at += step)
					assert_int_equal(memtype_of(m, at), type);
			}
		}
}

static u64 leaf_at(const struct npt *n, u64 gpa, u64 *bytes)
{
	u64 *t = n->root;
	u32 shift;

	for (shift = 39;; shift -= 9) {
		u64 e = t[gpa >> shift & 511];

		*bytes = 1ull << shift;
		if (shift == 12 || !(e & 7) || (e & 0x80))
			return e;
		t = (u64 *)(uintptr_t)(e & 0xffffffffff000ull);
	}
}

/* Tables of the pool that the map itself does not take. */
static u32 spare(const struct memtypes *m, u32 hooks)
{
	return 4 * (hooks + m->count + 1) + NPT_RETIRED_MAX;
}

/* The tables say of each page what the MTRRs say, and are as large as was computed. */
static void test_tables_carry_types(void **state)
{
	size_t i;
	u32 gib;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(settings); i++)
		for (gib = 0; gib < 2; gib++) {
			const struct memtypes *m = &settings[i].m;
			struct npt_shape s = { .format = NPT_EPT, .limit = 128 * GIB, .gib = gib,
					       .types = m };
			u32 pages = npt_pool_pages(&s, 4);
			void *pool = aligned_alloc(PAGE_BYTES, (size_t)pages * PAGE_BYTES);
			struct npt n;
			u64 at, bytes;

			assert_non_null(pool);
			assert_int_equal(npt_init(&n, &s, pool, pages), 0);
			/* Exactly: what hooks, moving ranges and retirement take is to spare. */
			assert_int_equal(n.pool_used, pages - spare(m, 4));
			for (at = 0; at < 10 * GIB; at += at < MIB ? 1 << 12 : 509 << 12) {
				u64 e = leaf_at(&n, at, &bytes);

				assert_int_equal(e & 7, 7);
				assert_int_equal(e >> 3 & 7, memtype_of(m, at));
				assert_int_equal(e >> 6 & 1, 0); /* the PAT counts */
				assert_int_equal(e & 0xffffffffff000ull & ~(bytes - 1),
						 at & ~(bytes - 1));
			}
			/* A hook and back: the same types, and no table lost. */
			assert_int_equal(npt_set(&n, 0xdb7ff000, 3 * PAGE_BYTES, NPT_NONE), 0);
			assert_int_equal(leaf_at(&n, 0xdb800000, &bytes), 0);
			npt_reclaim(&n);
			assert_int_equal(npt_set(&n, 0xdb7ff000, 3 * PAGE_BYTES, NPT_RW), 0);
			npt_reclaim(&n);
			assert_int_equal(leaf_at(&n, 0xdb800000, &bytes) >> 3 & 7,
					 memtype_of(m, 0xdb800000));
			assert_int_equal(n.pool_used - n.free_count, pages - spare(m, 4));
			free(pool);
		}
}

/* All of a mixed GiB absent and back: its tables are found again. */
static void test_large_range_gets_its_types_back(void **state)
{
	const struct memtypes *m = &settings[2].m;
	struct npt_shape s = { .format = NPT_EPT, .limit = 128 * GIB, .gib = true, .types = m };
	u32 pages = npt_pool_pages(&s, 4), i;
	void *pool = aligned_alloc(PAGE_BYTES, (size_t)pages * PAGE_BYTES);
	struct npt n;
	u64 bytes;

	(void)state;
	assert_non_null(pool);
	assert_int_equal(npt_init(&n, &s, pool, pages), 0);
	for (i = 0; i < 50; i++) {
		assert_int_equal(npt_set(&n, 3 * GIB, GIB, NPT_NONE), 0);
		npt_reclaim(&n);
		assert_int_equal(leaf_at(&n, 0xdb800000, &bytes), 0);
		assert_int_equal(npt_set(&n, 3 * GIB, GIB, NPT_RW), 0);
		npt_reclaim(&n);
		assert_int_equal(leaf_at(&n, 0xdb7ff000, &bytes) >> 3 & 7, MEMTYPE_WB);
		assert_int_equal(leaf_at(&n, 0xdb800000, &bytes) >> 3 & 7, MEMTYPE_UC);
	}
	free(pool);
}

/* Each page as the MTRRs have it but the two hooked ones, which are as they were. */
static void check_types(const struct npt *n, const struct memtypes *m)
{
	u64 at, bytes;

	for (at = 0; at < 40 * GIB; at += at < MIB ? 1 << 12 : 509 << 12) {
		u64 e = leaf_at(n, at, &bytes);

		assert_int_equal(e & 7, 7);
		assert_int_equal(e >> 3 & 7, memtype_of(m, at));
	}
	assert_int_equal(leaf_at(n, 0xdb7ff000, &bytes), 0);
	assert_int_equal(leaf_at(n, 0xfee00000, &bytes) & 3, 1);
	assert_int_equal(leaf_at(n, 0xfee00000, &bytes) >> 3 & 7, memtype_of(m, 0xfee00000));
}

/* From each setting to each other and back, with hooks in place: exact, and no table lost. */
static void test_guest_changes_types(void **state)
{
	size_t i, k;
	u32 gib;

	(void)state;
	for (gib = 0; gib < 2; gib++)
		for (i = 0; i < ARRAY_SIZE(settings); i++)
			for (k = 0; k < ARRAY_SIZE(settings); k++) {
				struct memtypes a = settings[i].m, b = settings[k].m;
				struct npt_shape s = { .format = NPT_EPT, .limit = 128 * GIB,
						       .gib = gib, .types = &a };
				u32 pages, used, turn;
				void *pool;
				struct npt n;

				/* A machine's count of ranges does not change. */
				a.count = b.count = MAX(a.count, b.count);
				pages = npt_pool_pages(&s, 4);
				pool = aligned_alloc(PAGE_BYTES, (size_t)pages * PAGE_BYTES);
				assert_non_null(pool);
				assert_int_equal(npt_init(&n, &s, pool, pages), 0);
				assert_int_equal(npt_set(&n, 0xdb7ff000, PAGE_BYTES, NPT_NONE), 0);
				assert_int_equal(npt_set(&n, 0xfee00000, PAGE_BYTES, NPT_RO), 0);
				npt_reclaim(&n);
				used = n.pool_used - n.free_count;
				for (turn = 0; turn < 2; turn++) {
					if (!npt_retype(&n, &b))
						fail_msg("%s -> %s: out of tables",
							 settings[i].name, settings[k].name);
					npt_reclaim(&n);
					check_types(&n, &b);
					assert_true(npt_retype(&n, &a));
					npt_reclaim(&n);
					check_types(&n, &a);
				}
				assert_int_equal(n.pool_used - n.free_count, used);
				free(pool);
			}
}

/* A range that repeats through holes of its mask may ask for more tables than there are. */
static void test_too_many_types(void **state)
{
	struct memtypes wb = { .def = ENABLE | MEMTYPE_WB, .count = 1 }, holes = wb;
	struct npt_shape s = { .format = NPT_EPT, .limit = 128 * GIB, .gib = true, .types = &wb };
	u32 pages = npt_pool_pages(&s, 0), mixed = 0;
	void *pool = aligned_alloc(PAGE_BYTES, (size_t)pages * PAGE_BYTES);
	struct npt n;
	u64 at, bytes;

	(void)state;
	holes.base[0] = 0x1000 | MEMTYPE_WT;
	holes.mask[0] = 0x1000 | VALID; /* every other page */
	assert_non_null(pool);
	assert_int_equal(npt_init(&n, &s, pool, pages), 0);
	assert_false(npt_retype(&n, &holes));
	npt_reclaim(&n);
	for (at = 0; at < 128 * GIB; at += 509 << 12) {
		u64 e = leaf_at(&n, at, &bytes);
		u64 type = e >> 3 & 7;

		assert_int_equal(e & 7, 7);
		mixed += bytes > PAGE_BYTES;
		assert_int_equal(type, bytes > PAGE_BYTES ? MEMTYPE_UC : memtype_of(&holes, at));
	}
	assert_true(mixed > 0);
	assert_true(npt_retype(&n, &wb));
	npt_reclaim(&n);
	for (at = 0; at < 128 * GIB; at += 509 << 12)
		assert_int_equal(leaf_at(&n, at, &bytes) >> 3 & 7, MEMTYPE_WB);
	free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_settings),
		cmocka_unit_test(test_uniform_blocks_are),
		cmocka_unit_test(test_tables_carry_types),
		cmocka_unit_test(test_large_range_gets_its_types_back),
		cmocka_unit_test(test_guest_changes_types),
		cmocka_unit_test(test_too_many_types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
