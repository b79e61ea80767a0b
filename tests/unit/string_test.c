/*
 * The VMM's own memory functions against a byte at a time: every small length, lengths
 * on both sides of where the string instructions take over, every alignment, every
 * overlap near that.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/types.h"

/* Under names of their own, or they would be the test's C library. */
#define memcpy vmm_memcpy
#define memmove vmm_memmove
#define memset vmm_memset
#define memcmp vmm_memcmp
#define memchr vmm_memchr
#define strlen vmm_strlen
#define strcmp vmm_strcmp
#define strncmp vmm_strncmp
#define strchr vmm_strchr
#define strstr vmm_strstr
void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
void *memchr(const void *s, int c, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
char *strstr(const char *s, const char *what);
#include "vmm/plat/string.c"

#define ROOM 1400u
#define GUARD 16u

static u8 was[ROOM], is[ROOM], want[ROOM];
static const size_t lengths[] = { 0, 1, 7, 8, 9, 63, 64, 65, 511, 512, 513, 519, 520, 521, 1023 };

static void fill_up(void)
{
	for (u32 i = 0; i < ROOM; i++)
		was[i] = is[i] = want[i] = (u8)(i * 7 + i / 256);
}

static void same(void)
{
	for (u32 i = 0; i < ROOM; i++)
		assert_int_equal(is[i], want[i]);
}

static void moves(void **state)
{
	(void)state;
	for (u32 l = 0; l < ARRAY_SIZE(lengths); l++)
		for (s32 by = -17; by <= 17; by++)
			for (u32 at = 64; at < 72; at++) {
				size_t n = lengths[l];

				fill_up();
				for (size_t i = 0; i < n; i++)
					want[(s32)(at + i) + by] = was[at + i];
				assert_ptr_equal(memmove(is + at + by, is + at, n), is + at + by);
				same();
			}
}

static void copies(void **state)
{
	(void)state;
	for (u32 l = 0; l < ARRAY_SIZE(lengths); l++)
		for (u32 from = 0; from < 8; from++)
			for (u32 to = GUARD; to < GUARD + 8; to++) {
				fill_up();
				for (size_t i = 0; i < lengths[l]; i++)
					want[to + i] = (u8)~was[from + i];
				for (u32 i = 0; i < ROOM; i++)
					was[i] = (u8)~was[i];
				assert_ptr_equal(memcpy(is + to, was + from, lengths[l]), is + to);
				same();
			}
}

static void sets(void **state)
{
	(void)state;
	for (u32 l = 0; l < ARRAY_SIZE(lengths); l++)
		for (u32 at = GUARD; at < GUARD + 8; at++) {
			fill_up();
			for (size_t i = 0; i < lengths[l]; i++)
				want[at + i] = 0xa5;
			assert_ptr_equal(memset(is + at, 0x1a5, lengths[l]), is + at);
			same();
		}
}

static void compares(void **state)
{
	(void)state;
	fill_up();
	for (size_t n = 0; n < 40; n++) {
		assert_int_equal(memcmp(is, want, n), 0);
		for (size_t i = 0; i < n; i++) {
			is[i]++;
			assert_true(memcmp(is, want, n) == is[i] - want[i]);
			is[i]--;
		}
	}
	assert_ptr_equal(memchr(is, is[2], 3), is + 2);
	assert_null(memchr(is, is[2], 2));
}

static void strings(void **state)
{
	const char *s = "store: complete";

	(void)state;
	assert_int_equal(strlen(s), 15);
	assert_int_equal(strlen(""), 0);
	assert_true(strcmp("a", "b") < 0 && strcmp("b", "a") > 0 && !strcmp(s, s));
	assert_true(strcmp("a", "ab") < 0 && strcmp("\xff", "a") > 0);
	assert_int_equal(strncmp("abc", "abd", 2), 0);
	assert_true(strncmp("abc", "abd", 3) < 0);
	assert_ptr_equal(strchr(s, ':'), s + 5);
	assert_ptr_equal(strchr(s, 0), s + 15);
	assert_null(strchr(s, 'x'));
	assert_ptr_equal(strstr(s, "comp"), s + 7);
	assert_ptr_equal(strstr(s, ""), s);
	assert_null(strstr(s, "completely"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moves),
		cmocka_unit_test(copies),
		cmocka_unit_test(sets),
		cmocka_unit_test(compares),
		cmocka_unit_test(strings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
