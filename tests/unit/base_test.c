/* base/: formatting, checksums, lists and bitmaps against the C library or known answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/fmt.h"
#include "base/list.h"

#define SAME(...)                                                              \
	do {                                                                   \
		char want[200], got[200];                                      \
		int n = snprintf(want, sizeof(want), __VA_ARGS__);             \
		int m = fmt_snprintf(got, sizeof(got), __VA_ARGS__);           \
		assert_string_equal(want, got);                                \
		assert_int_equal(n, m);                                        \
	} while (0)

static void fmt_agrees_with_libc(void **state)
{
	(void)state;
	SAME("%d %i %u", -5, 7, 4000000000u);
	SAME("%5d|%-5d|%05d", 42, 42, -42);
	SAME("%x %X %#x %08x", 255, 255, 255, 0xabc);
	SAME("%lu %llu %zu", 1ul << 40, ~0ull, (size_t)9);
	SAME("%lld", -(1ll << 62));
	SAME("%s|%10s|%-10s|%.2s", "abc", "abc", "abc", "abc");
	SAME("%c%%%c", 'a', 'b');
	SAME("%.3d %*d", 5, 6, 7);
	SAME("%hhu %hu", 0x1ff, 0x1ffff);
}

static void fmt_cuts_and_terminates(void **state)
{
	char b[4];

	(void)state;
	assert_int_equal(fmt_snprintf(b, sizeof(b), "abcdef"), 6);
	assert_string_equal(b, "abc");
	assert_int_equal(fmt_snprintf(NULL, 0, "%d", 12), 2);
}

static void hex_round_trip(void **state)
{
	u8 in[3] = { 0, 0x9a, 0xff }, out[3];
	char text[7];

	(void)state;
	assert_string_equal(fmt_hex(text, in, 3), "009aff");
	assert_int_equal(fmt_unhex(out, 3, text, 6), 0);
	assert_memory_equal(in, out, 3);
	assert_int_equal(fmt_unhex(out, 3, "00zz00", 6), -EINVAL);
	assert_int_equal(fmt_unhex(out, 3, "00", 2), -EINVAL);
}

static void crc32c_ways_agree(void **state)
{
	u8 data[600];
	u32 seed = 1;

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (u8)((seed = seed * 1103515245 + 12345) >> 16);
	assert_int_equal(crc32c_tables(0, "123456789", 9), 0xe3069283);
	for (size_t at = 0; at < 9; at++)
		for (size_t n = 0; n + at <= sizeof(data); n++)
			assert_int_equal(crc32c(0x1234 * (u32)at, data + at, n),
					 crc32c_tables(0x1234 * (u32)at, data + at, n));
}

static void crc32c_known_answers(void **state)
{
	u8 zero[32] = { 0 };
	char split[] = "123456789";

	(void)state;
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(0, zero, 32), 0x8a9136aa); /* [RFC 3720 §B.4] */
	assert_int_equal(crc32c(crc32c(0, split, 4), split + 4, 5), 0xe3069283);
}

static void bitmap_finds(void **state)
{
	u64 m[BITMAP_WORDS(130)] = { ~0ull, ~0ull, 0 };

	(void)state;
	assert_int_equal(bitmap_next_clear(m, 130, 0), 128);
	bitmap_set(m, 128);
	bitmap_set(m, 129);
	assert_int_equal(bitmap_next_clear(m, 130, 0), 130);
	bitmap_clear(m, 64);
	assert_int_equal(bitmap_next_clear(m, 130, 3), 64);
	assert_int_equal(bitmap_next_set(m, 130, 64), 65);
}

struct item {
	int v;
	struct list link;
};

static void list_keeps_order(void **state)
{
	struct list a = LIST_INIT(a), b = LIST_INIT(b);
	struct item x = { .v = 1 }, y = { .v = 2 }, z = { .v = 3 }, *i;
	int want = 1;

	(void)state;
	list_add_tail(&a, &x.link);
	list_add_tail(&b, &y.link);
	list_add_tail(&b, &z.link);
	list_splice_tail(&a, &b);
	assert_true(list_empty(&b));
	list_for_each(i, &a, link)
		assert_int_equal(i->v, want++);
	list_del(&y.link);
	list_del(&y.link);
	assert_int_equal(list_first(&a, struct item, link)->v, 1);
	assert_ptr_equal(x.link.next, &z.link);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fmt_agrees_with_libc),
		cmocka_unit_test(fmt_cuts_and_terminates),
		cmocka_unit_test(hex_round_trip),
		cmocka_unit_test(crc32c_known_answers),
		cmocka_unit_test(crc32c_ways_agree),
		cmocka_unit_test(bitmap_finds),
		cmocka_unit_test(list_keeps_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
