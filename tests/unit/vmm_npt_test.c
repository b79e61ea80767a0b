/*
 * vmm_npt_test.c - nested tables: every page of a model must agree
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/types.h"
#include "vmm/mm/npt.h"

#define HOOKS 8

struct fixture {
	struct npt npt;
	void *pool;
	u32 pages;
};

static void setup(struct fixture *f, u64 limit, bool gib)
{
	const struct npt_shape shape = { .format = NPT_AMD, .limit = limit, .gib = gib };

	f->pages = npt_pool_pages(&shape, HOOKS);
	f->pool = aligned_alloc(PAGE_BYTES, (size_t)f->pages * PAGE_BYTES);
	assert_non_null(f->pool);
	assert_int_equal(npt_init(&f->npt, &shape, f->pool, f->pages), 0);
}

static void expect(struct fixture *f, u64 gpa, enum npt_access access, u64 leaf)
{
	u64 bytes;

	assert_int_equal(npt_lookup(&f->npt, gpa, &bytes), access);
	assert_int_equal(bytes, leaf);
}

static void test_identity_uses_largest_leaves(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 1024 * GIB, true);
	expect(&f, 0, NPT_RW, GIB);
	expect(&f, 1024 * GIB - 1, NPT_RW, GIB);
	assert_int_equal(f.npt.pool_used, 3);
	free(f.pool);

	setup(&f, 4 * GIB, false);
	expect(&f, 0xfee00000, NPT_RW, 2 * MIB);
	free(f.pool);
}

static void test_beyond_the_limit_is_absent(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 4 * GIB, true);
	assert_int_equal(npt_lookup(&f.npt, 4 * GIB, NULL), NPT_NONE);
	assert_int_equal(npt_set(&f.npt, 4 * GIB, PAGE_BYTES, NPT_RO), -EINVAL);
	assert_int_equal(npt_set(&f.npt, 4 * GIB - PAGE_BYTES, 2 * PAGE_BYTES, NPT_RO), -EINVAL);
	assert_int_equal(npt_set(&f.npt, 1, PAGE_BYTES, NPT_RO), -EINVAL);
	assert_int_equal(npt_set(&f.npt, 0, 0, NPT_RO), -EINVAL);
	free(f.pool);
}

static void test_hook_splits_only_around_itself(void **state)
{
	struct fixture f;
	u64 lapic = 0xfee00000;

	(void)state;
	setup(&f, 1024 * GIB, true);
	assert_int_equal(npt_set(&f.npt, lapic, PAGE_BYTES, NPT_RO), 0);
	expect(&f, lapic, NPT_RO, PAGE_BYTES);
	expect(&f, lapic + PAGE_BYTES, NPT_RW, PAGE_BYTES);
	expect(&f, lapic - 1, NPT_RW, 2 * MIB);
	expect(&f, lapic + 2 * MIB, NPT_RW, 2 * MIB);
	expect(&f, 2 * GIB, NPT_RW, GIB);
	expect(&f, 4 * GIB, NPT_RW, GIB);
	free(f.pool);
}

static void test_unhook_merges_and_returns_tables(void **state)
{
	struct fixture f;
	u32 i, used;

	(void)state;
	setup(&f, 1024 * GIB, true);
	used = f.npt.pool_used;
	for (i = 0; i < 1000; i++) {
		assert_int_equal(npt_set(&f.npt, 0xfee00000, PAGE_BYTES, NPT_RO), 0);
		npt_reclaim(&f.npt);
		assert_int_equal(npt_set(&f.npt, 0xfee00000, PAGE_BYTES, NPT_RW), 0);
		expect(&f, 0xfee00000, NPT_RW, GIB);
		assert_int_equal(f.npt.retired_count, 2);
		npt_reclaim(&f.npt);
	}
	assert_int_equal(f.npt.pool_used - f.npt.free_count, used);
	free(f.pool);
}

static void test_retired_tables_wait_for_reclaim(void **state)
{
	struct fixture f;
	u32 before;

	(void)state;
	setup(&f, 4 * GIB, true);
	assert_int_equal(npt_set(&f.npt, 0x1000, PAGE_BYTES, NPT_NONE), 0);
	before = f.npt.free_count;
	assert_int_equal(npt_set(&f.npt, 0x1000, PAGE_BYTES, NPT_RW), 0);
	/* Another CPU may still walk them: not free yet. */
	assert_int_equal(f.npt.free_count, before);
	npt_reclaim(&f.npt);
	assert_int_equal(f.npt.free_count, before + 2);
	free(f.pool);
}

static void test_absent_region_of_large_leaves(void **state)
{
	struct fixture f;
	u64 base = 0x3c600000, bytes = 56 * MIB;

	(void)state;
	setup(&f, 1024 * GIB, false);
	assert_int_equal(npt_set(&f.npt, base, bytes, NPT_NONE), 0);
	expect(&f, base, NPT_NONE, 2 * MIB);
	expect(&f, base + bytes - 1, NPT_NONE, 2 * MIB);
	expect(&f, base - 1, NPT_RW, 2 * MIB);
	expect(&f, base + bytes, NPT_RW, 2 * MIB);
	free(f.pool);
}

static void test_pool_exhaustion_is_an_error(void **state)
{
	struct fixture f;
	u64 gpa = 0;
	int err = 0;

	(void)state;
	setup(&f, 1024 * GIB, true);
	for (; !err && gpa < 1000 * GIB; gpa += 3 * GIB)
		err = npt_set(&f.npt, gpa, PAGE_BYTES, NPT_NONE);
	assert_int_equal(err, -ENOMEM);
	expect(&f, gpa - 3 * GIB, NPT_RW, GIB);
	free(f.pool);
}

/* 8 GiB in steps of a page against an array of bytes. */
static void test_random_against_model(void **state)
{
	enum { PAGES = 6 * 512 };
	const u64 origin = 1022 * MIB; /* crosses a 1 GiB boundary */
	static u8 model[PAGES];
	struct fixture f;
	u32 round, seed = 20260507;

	(void)state;
	setup(&f, 4 * GIB, true);
	memset(model, NPT_RW, sizeof(model));
	for (round = 0; round < 3000; round++) {
		u32 first, n, i, access;

		seed = seed * 1664525 + 1013904223;
		first = (seed >> 8) % PAGES;
		seed = seed * 1664525 + 1013904223;
		n = seed & 0x10000 ? 512 : 1 + (seed >> 20) % 40;
		n = MIN(n, PAGES - first);
		access = (seed >> 17) % 3;
		assert_int_equal(npt_set(&f.npt, origin + (u64)first * PAGE_BYTES,
					 (u64)n * PAGE_BYTES, (enum npt_access)access), 0);
		npt_reclaim(&f.npt);
		memset(model + first, (int)access, n);
		for (i = 0; i < PAGES; i += 1 + (round % 7))
			assert_int_equal(npt_lookup(&f.npt, origin + (u64)i * PAGE_BYTES, NULL),
					 model[i]);
	}
	free(f.pool);
}

/*
 * 10,000 times hook or unhook a random page of 64 TiB, some tens at a time,
 * against a list: none is refused, no hook is lost, no other page absent.
 */
static void hook_random_pages(enum npt_format format, bool gib, u64 limit)
{
	enum { ROUNDS = 10000, AT_ONCE = 64 };
	const struct npt_shape shape = { .format = format, .limit = limit, .gib = gib };
	u64 hooked[AT_ONCE], seed = 20261122;
	struct fixture f;
	u32 i, k, n = 0;

	f.pages = npt_pool_pages(&shape, AT_ONCE);
	f.pool = aligned_alloc(PAGE_BYTES, (size_t)f.pages * PAGE_BYTES);
	assert_non_null(f.pool);
	assert_int_equal(npt_init(&f.npt, &shape, f.pool, f.pages), 0);
	for (i = 0; i < ROUNDS; i++) {
		u64 gpa;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		gpa = (seed >> 16) % (limit / PAGE_BYTES) * PAGE_BYTES;
		if (n == AT_ONCE || (n && (seed >> 60) < 7)) {
			k = (u32)(seed >> 33) % n;
			assert_int_equal(npt_set(&f.npt, hooked[k], PAGE_BYTES, NPT_RW), 0);
			npt_reclaim(&f.npt);
			assert_int_equal(npt_lookup(&f.npt, hooked[k], NULL), NPT_RW);
			hooked[k] = hooked[--n];
			continue;
		}
		assert_int_equal(npt_set(&f.npt, gpa, PAGE_BYTES, NPT_NONE), 0);
		npt_reclaim(&f.npt);
		hooked[n++] = gpa;
		for (k = 0; k < n; k++)
			assert_int_equal(npt_lookup(&f.npt, hooked[k], NULL), NPT_NONE);
		assert_int_equal(npt_lookup(&f.npt, (gpa + PAGE_BYTES) % limit, NULL), NPT_RW);
		assert_int_equal(npt_lookup(&f.npt, gpa ^ GIB, NULL), NPT_RW);
	}
	free(f.pool);
}

static void test_random_hooks_over_46_bits(void **state)
{
	(void)state;
	hook_random_pages(NPT_AMD, true, 1ull << 46);
	hook_random_pages(NPT_EPT, true, 1ull << 46);
	hook_random_pages(NPT_EPT, false, 1ull << 40);
}

static u64 next_random(u64 *seed)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return *seed >> 16;
}

static int compare_u64(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static bool is_among(const u64 *sorted, u32 n, u64 page)
{
	return bsearch(&page, sorted, n, sizeof(page), compare_u64);
}

/* Every hooked page, and what is beside it at all distances that share a table. */
static void compare_with_model(const struct npt *npt, const u64 *sorted, u32 n, u64 pages)
{
	static const u64 beside[] = { 0, 1, 2, 511, 512, 513, 512 * 512, 512ull * 512 * 512 };

	for (u32 i = 0; i < n; i++)
		for (u32 k = 0; k < ARRAY_SIZE(beside) * 2; k++) {
			u64 d = k & 1 ? 0 - beside[k / 2] : beside[k / 2];
			u64 page = (sorted[i] + d) % pages;

			assert_int_equal(npt_lookup(npt, page * PAGE_BYTES, NULL),
					 is_among(sorted, n, page) ? NPT_NONE : NPT_RW);
		}
}

/*
 * 10,000 pages hooked at the same time, a tenth of them close to another one,
 * then unhooked in another order: the model is their sorted list.
 */
static void hook_all_at_once(enum npt_format format)
{
	enum { HOOKED = 10000, STEP = 1000 };
	const u64 limit = 1ull << 46, pages = limit / PAGE_BYTES;
	const struct npt_shape shape = { .format = format, .limit = limit, .gib = true };
	static u64 hooked[HOOKED], sorted[HOOKED];
	u64 seed = 20261123;
	struct fixture f;
	u32 n, left, before;

	f.pages = npt_pool_pages(&shape, HOOKED);
	f.pool = aligned_alloc(PAGE_BYTES, (size_t)f.pages * PAGE_BYTES);
	assert_non_null(f.pool);
	assert_int_equal(npt_init(&f.npt, &shape, f.pool, f.pages), 0);
	before = f.npt.pool_used - f.npt.free_count;
	for (n = 0; n < HOOKED; n++) {
		u64 page = next_random(&seed) % pages;

		if (n && next_random(&seed) % 10 == 0)
			page = hooked[next_random(&seed) % n] + next_random(&seed) % 600;
		hooked[n] = page % pages;
		if (npt_lookup(&f.npt, hooked[n] * PAGE_BYTES, NULL) == NPT_NONE) {
			n--;
			continue;
		}
		assert_int_equal(npt_set(&f.npt, hooked[n] * PAGE_BYTES, PAGE_BYTES, NPT_NONE), 0);
		npt_reclaim(&f.npt);
		if ((n + 1) % STEP)
			continue;
		memcpy(sorted, hooked, (n + 1) * sizeof(*sorted));
		qsort(sorted, n + 1, sizeof(*sorted), compare_u64);
		compare_with_model(&f.npt, sorted, n + 1, pages);
	}
	for (left = HOOKED; left; left--) {
		u32 k = (u32)(next_random(&seed) % left);

		assert_int_equal(npt_set(&f.npt, hooked[k] * PAGE_BYTES, PAGE_BYTES, NPT_RW), 0);
		npt_reclaim(&f.npt);
		hooked[k] = hooked[left - 1];
		if ((left - 1) % STEP)
			continue;
		memcpy(sorted, hooked, (left - 1) * sizeof(*sorted));
		qsort(sorted, left - 1, sizeof(*sorted), compare_u64);
		compare_with_model(&f.npt, sorted, left - 1, pages);
	}
	assert_int_equal(f.npt.pool_used - f.npt.free_count, before);
	expect(&f, limit / 2, NPT_RW, GIB);
	free(f.pool);
}

static void test_ten_thousand_at_once_over_46_bits(void **state)
{
	(void)state;
	hook_all_at_once(NPT_AMD);
	hook_all_at_once(NPT_EPT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity_uses_largest_leaves),
		cmocka_unit_test(test_beyond_the_limit_is_absent),
		cmocka_unit_test(test_hook_splits_only_around_itself),
		cmocka_unit_test(test_unhook_merges_and_returns_tables),
		cmocka_unit_test(test_retired_tables_wait_for_reclaim),
		cmocka_unit_test(test_absent_region_of_large_leaves),
		cmocka_unit_test(test_pool_exhaustion_is_an_error),
		cmocka_unit_test(test_random_against_model),
		cmocka_unit_test(test_random_hooks_over_46_bits),
		cmocka_unit_test(test_ten_thousand_at_once_over_46_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
