/*
 * crash_test.c - what a panic leaves, and what is made of it at the next boot
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/plat/console.h"
#include "vmm/plat/crash.h"

static const char words[] = "[    1.0] E panic: \"why\" a\\b\n"
			    "[    1.1] E panic: #0 ffffffff80001000 f+0x10\n";

static const char *ring = words;

u32 console_read(u64 *pos, char *out, u32 room)
{
	u32 n = (u32)MIN(strlen(ring) - *pos, (size_t)room);

	memcpy(out, ring + *pos, n);
	*pos += n;
	return n;
}

/* Panic, reset, report, and the second report, by which the first one has arrived. */
static void test_life(void **state)
{
	static const char want[] = ",\"crash\":\"[    1.0] E panic: \\\"why\\\" a\\\\b\\n"
				   "[    1.1] E panic: #0 ffffffff80001000 f+0x10\\n\"";
	struct crash_record none = { 0 }, old, place;
	char out[4096];
	u32 n;

	(void)state;
	memset(&place, 0xa5, sizeof(place));
	crash_init(&place, &none);
	assert_false(crash_valid(&place));
	assert_int_equal(crash_report(out, sizeof(out)), 0);
	crash_keep(0);
	assert_true(crash_valid(&place));
	old = place;
	memset(&place, 0xa5, sizeof(place));
	crash_init(&place, &old);
	assert_true(crash_valid(&place)); /* another reset before anybody was told */
	n = crash_report(out, sizeof(out));
	assert_int_equal(n, strlen(want));
	assert_memory_equal(out, want, n);
	assert_true(crash_valid(&place));
	assert_int_equal(crash_report(out, sizeof(out)), 0);
	assert_false(crash_valid(&place));
	assert_int_equal(crash_report(out, sizeof(out)), 0);
}

/* A long log: the first lines of it, all whole, within the room that a report has. */
static void test_long(void **state)
{
	struct crash_record none = { 0 }, old, place;
	static char text[9000];
	char out[1600];
	u32 n;

	(void)state;
	for (u32 i = 0; i < sizeof(text) - 1; i++)
		text[i] = i % 97 == 96 ? '\n' : i % 7 ? 'x' : '"';
	ring = text;
	crash_init(&place, &none);
	crash_keep(0);
	assert_int_equal(place.bytes, CRASH_TEXT_MAX);
	old = place;
	crash_init(&place, &old);
	assert_int_equal(crash_report(out, 1000), 0); /* no room: not told, not forgotten */
	memset(out, 'Z', sizeof(out));
	n = crash_report(out, sizeof(out));
	assert_in_range(n, 900, 1400);
	assert_memory_equal(out + n - 3, "\\n\"", 3);
	assert_int_equal(out[n], 'Z');
	ring = words;
}

/* Whatever stands there: damaged is not valid, valid is no more than text. */
static void test_hearsay(void **state)
{
	struct crash_record r;
	char line[8];
	u32 at = 0;

	(void)state;
	memset(&r, 0, sizeof(r));
	memcpy(r.text, "a\x1b[2J\r\nlonger than the line\nend", 31);
	crash_seal(&r, 31);
	assert_true(crash_valid(&r));
	assert_true(crash_line(&r, &at, line, sizeof(line)));
	assert_string_equal(line, "a?[2J");
	assert_true(crash_line(&r, &at, line, sizeof(line)));
	assert_string_equal(line, "longer ");
	assert_true(crash_line(&r, &at, line, sizeof(line)));
	assert_string_equal(line, "end");
	assert_false(crash_line(&r, &at, line, sizeof(line)));
	r.text[3] ^= 1;
	assert_false(crash_valid(&r));
	r.text[3] ^= 1;
	r.bytes++;
	assert_false(crash_valid(&r));
	r.bytes = CRASH_TEXT_MAX + 1;
	assert_false(crash_valid(&r));
	crash_seal(&r, 0);
	assert_false(crash_valid(&r));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_hearsay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
