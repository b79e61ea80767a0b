/*
 * screen_test.c - text on a frame buffer, and when not to touch it
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/plat.h"
#include "vmm/cpu/pio.h"
#include "vmm/main/core.h"
#include "vmm/plat/console.h"
#include "vmm/plat/screen.h"

#define W 330
#define H 205
#define STRIDE 336
#define BDF 0x0010

static struct handoff handoff;
const struct handoff *core_handoff = &handoff;
static u32 *fb;
static u32 config[64], address;
static const char *log_text;

void pio_native(struct pio_access *a)
{
	if (a->port == 0xcf8 && a->write)
		address = a->value;
	else if (a->port == 0xcfc && !a->write)
		a->value = (address >> 8 & 0xffff) == BDF ? config[address >> 2 & 63] : ~0u;
}

u32 console_read(u64 *pos, char *out, u32 room)
{
	u32 n = MIN((u32)strlen(log_text), room);

	memcpy(out, log_text, n);
	*pos += n;
	return n;
}

/* A glyph's row y has bit pattern of its character's code, turned by y. */
static u8 glyph_bits(u8 c, u32 y)
{
	return (u8)(c == ' ' ? 0 : c << (y % 3) | 1u << y % 8);
}

static int setup(void **state)
{
	struct handoff_screen *s = &handoff.screen;

	(void)state;
	fb = malloc((size_t)STRIDE * H * 4); /* to the byte: the sanitizer sees one more */
	assert_non_null(fb);
	memset(fb, 0x55, (size_t)STRIDE * H * 4);
	handoff.phys_limit = ~0ull;
	*s = (struct handoff_screen){
		.base = (u64)(uintptr_t)fb, .bar_base = 0xfd0000000, .bdf = BDF, .bar_reg = 0x18,
		.width = W, .height = H, .stride = STRIDE, .glyph_width = 8, .glyph_height = 19,
	};
	for (u32 c = HANDOFF_GLYPH_FIRST; c <= HANDOFF_GLYPH_LAST; c++)
		for (u32 y = 0; y < HANDOFF_GLYPH_ROWS; y++)
			s->glyph[c - HANDOFF_GLYPH_FIRST][y] = glyph_bits((u8)c, y);
	config[1] = 0x00100007;
	config[6] = 0xd000000c;
	config[7] = 0xf;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(fb);
	return 0;
}

static void expect_char(u32 row, u32 column, char c, bool inverse)
{
	for (u32 y = 0; y < 19; y++)
		for (u32 x = 0; x < 8; x++) {
			bool ink = glyph_bits((u8)c, y) & 0x80 >> x;

			assert_int_equal(fb[(row * 19 + y) * STRIDE + column * 8 + x],
					 ink != inverse ? 0xffffff : 0);
		}
}

static void a_row_of_text(void **state)
{
	const struct handoff_screen *s = &handoff.screen;

	(void)state;
	assert_int_equal(screen_columns(s), 41);
	assert_int_equal(screen_rows(s), 10);
	screen_row(s, fb, 2, "ab\x07 z", 5, false);
	expect_char(2, 0, 'a', false);
	expect_char(2, 1, 'b', false);
	expect_char(2, 2, '?', false);
	expect_char(2, 4, 'z', false);
	for (u32 i = 5; i < 41; i++)
		expect_char(2, i, ' ', false);
	assert_int_equal(fb[2 * 19 * STRIDE + W - 1], 0);
	/* nothing beside the row */
	assert_int_equal(fb[2 * 19 * STRIDE + W], 0x55555555);
	assert_int_equal(fb[(2 * 19 - 1) * STRIDE], 0x55555555);
	assert_int_equal(fb[3 * 19 * STRIDE], 0x55555555);
	screen_row(s, fb, 9, "inverse", 7, true);
	expect_char(9, 6, 'e', true);
	expect_char(9, 7, ' ', true);
	screen_row(s, fb, 10, "below", 5, false); /* the sanitizer's */
}

static void long_lines_are_cut(void **state)
{
	char text[500];

	(void)state;
	memset(text, 'M', sizeof(text));
	screen_row(&handoff.screen, fb, 0, text, sizeof(text), false);
	expect_char(0, 40, 'M', false);
	assert_int_equal(fb[W], 0x55555555);
}

static void a_panic_fills_the_screen(void **state)
{
	(void)state;
	log_text = "first\r\nsecond\r\n\r\nfourth";
	screen_panic(0);
	expect_char(0, 1, 'F', true);
	expect_char(1, 0, 'f', false);
	expect_char(2, 0, 's', false);
	expect_char(3, 0, ' ', false);
	expect_char(4, 5, 'h', false);
	expect_char(5, 0, ' ', false);
	expect_char(9, 1, 'P', true);
}

static void more_lines_than_rows(void **state)
{
	static char text[40 * KIB];

	(void)state;
	for (u32 i = 0; i + 2 < sizeof(text); i += 2)
		memcpy(text + i, "x\n", 2);
	log_text = text;
	screen_panic(0);
	expect_char(8, 0, 'x', false);
	expect_char(9, 1, 'P', true);
}

static void untouched(void)
{
	log_text = "never seen\n";
	screen_panic(0);
	for (u32 i = 0; i < STRIDE * H; i++)
		assert_int_equal(fb[i], 0x55555555);
}

static void moved_display_is_left_alone(void **state)
{
	(void)state;
	config[6] = 0xc000000c;
	untouched();
	config[6] = 0xd000000c;
	config[7] = 0;
	untouched();
	config[7] = 0xf;
	config[1] = 0x00100005; /* memory decoding off */
	untouched();
	config[1] = 0x00100007;
	handoff.screen.bdf = 0x0018;
	untouched();
}

static void odd_screens_are_left_alone(void **state)
{
	struct handoff_screen *s = &handoff.screen, good = *s;

	(void)state;
	s->base = 0;
	untouched();
	*s = good;
	s->stride = W - 1;
	untouched();
	*s = good;
	s->glyph_width = 9;
	untouched();
	*s = good;
	s->glyph_height = HANDOFF_GLYPH_ROWS + 1;
	untouched();
	*s = good;
	s->glyph_width = 0;
	untouched();
	*s = good;
	s->height = 100000;
	untouched();
	*s = good;
	handoff.phys_limit = s->base + 4096;
	untouched();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_row_of_text, setup, teardown),
		cmocka_unit_test_setup_teardown(long_lines_are_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(a_panic_fills_the_screen, setup, teardown),
		cmocka_unit_test_setup_teardown(more_lines_than_rows, setup, teardown),
		cmocka_unit_test_setup_teardown(moved_display_is_left_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(odd_screens_are_left_alone, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
