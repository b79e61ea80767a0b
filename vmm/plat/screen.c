/*
 * screen.c - the last words of a VMM on the PC's display
 *
 * The VMM has no display: it belongs to the firmware, then to the guest. Only
 * a panic writes to it, when nothing else of the machine runs any more, with
 * the mode, the frame buffer and the glyphs that the loader found. A guest may
 * have moved the frame buffer meanwhile, and somebody else's registers may
 * stand in its place: so the display's BAR is looked at first, and if it is
 * not where it was, nothing is written. An OS that has set another mode leaves
 * text that cannot be read; the serial port and the log ring have it too.
 *
 * White on black and its inverse look the same in every 32-bit pixel format.
 *
 * Spec: [UEFI 2.10 §12.9 graphics output, §34.3 HII font]; [PCI 3.0 §3.2.2.3.2]
 */
#include "vmm/plat/screen.h"

#include "base/field.h"
#include "base/plat.h"
#include "vmm/cpu/pio.h"
#include "vmm/main/core.h"
#include "vmm/plat/console.h"

#define WHITE 0xffffffu
#define SCREEN_COLUMNS_MAX 240

/** screen_columns() - characters in a row */
u32 screen_columns(const struct handoff_screen *s)
{
	return MIN(s->width / s->glyph_width, (u32)SCREEN_COLUMNS_MAX);
}

/** screen_rows() - rows of characters */
u32 screen_rows(const struct handoff_screen *s)
{
	return s->height / s->glyph_height;
}

/**
 * screen_row() - one row of text, and nothing else in the row
 * @s:       a screen that is sane, see screen_usable()
 * @fb:      its frame buffer, @s->stride pixels of 32 bits a line
 * @row:     ignored when it is beyond the last one
 * @text:    @n bytes; what is not printable is shown as '?'; what is too long is cut
 * @inverse: black on white
 */
void screen_row(const struct handoff_screen *s, u32 *fb, u32 row, const char *text, u32 n,
		bool inverse)
{
	u32 columns = screen_columns(s), paper = inverse ? WHITE : 0;

	if (row >= screen_rows(s))
		return;
	for (u32 y = 0; y < s->glyph_height; y++) {
		volatile u32 *line = fb + (size_t)(row * s->glyph_height + y) * s->stride;

		for (u32 x = 0; x < s->width; x++) {
			u32 column = x / s->glyph_width, bits = 0;

			if (column < columns && column < n) {
				u8 c = (u8)text[column];

				c = c < HANDOFF_GLYPH_FIRST || c > HANDOFF_GLYPH_LAST ? '?' : c;
				bits = s->glyph[c - HANDOFF_GLYPH_FIRST][y];
			}
			line[x] = bits & 0x80u >> x % s->glyph_width ? paper ^ WHITE : paper;
		}
	}
}

static u32 config_read(u16 bdf, u32 reg)
{
	struct pio_access a = {
		.port = 0xcf8, .bytes = 4, .write = true,
		.value = 0x80000000u | (u32)bdf << 8 | reg,
	};

	/* Without the lock of these ports: a CPU that has been stopped may hold it. */
	pio_native(&a);
	a.port = 0xcfc;
	a.write = false;
	pio_native(&a);
	return a.value;
}

/**
 * screen_usable() - there is one, described without contradiction
 *
 * Nothing of it comes from the guest, but a firmware may say anything.
 */
bool screen_usable(const struct handoff_screen *s)
{
	return s->base && s->glyph_width >= 4 && s->glyph_width <= 8 && s->glyph_height >= 4 &&
	       s->glyph_height <= HANDOFF_GLYPH_ROWS && s->width >= 320 && s->width <= 16384 &&
	       s->height >= 200 && s->height <= 16384 && s->stride >= s->width &&
	       s->stride <= 32768;
}

static bool still_there(const struct handoff_screen *s)
{
	u32 command = config_read(s->bdf, 4), low = config_read(s->bdf, s->bar_reg);
	u64 base = low & ~15u;

	if (!(command & BIT(1)) || (low & 1))
		return false;
	if ((low & 6) == 4)
		base |= (u64)config_read(s->bdf, s->bar_reg + 4u) << 32;
	return base == s->bar_base;
}

static u32 line_take(char *line, const char *text, u32 *at, u32 n)
{
	u32 len = 0;

	while (*at < n && text[*at] != '\n') {
		if (text[*at] != '\r' && len < SCREEN_COLUMNS_MAX)
			line[len++] = text[*at];
		(*at)++;
	}
	(*at)++;
	return len;
}

/**
 * screen_panic() - show what the log says from position @from on
 *
 * Context: a panic; every other CPU stands still. As many lines as fit.
 */
void screen_panic(u64 from)
{
	static const char head[] = " Freshet has stopped. Nothing more was written to any disk.";
	static const char foot[] =
		" Please tell your administrator, then switch the PC off and on.";
	static char text[16 * KIB], line[SCREEN_COLUMNS_MAX];
	const struct handoff_screen *s;
	u32 n, at = 0, row = 1, *fb;

	if (!core_handoff)
		return;
	s = &core_handoff->screen;
	if (!screen_usable(s) || !still_there(s) ||
	    s->base + (u64)s->stride * s->height * 4 > core_handoff->phys_limit)
		return;
	fb = plat_phys_to_virt(HPA(s->base));
	n = console_read(&from, text, sizeof(text));
	screen_row(s, fb, 0, head, sizeof(head) - 1, true);
	while (at < n && row + 1 < screen_rows(s))
		screen_row(s, fb, row++, line, line_take(line, text, &at, n), false);
	while (row + 1 < screen_rows(s))
		screen_row(s, fb, row++, "", 0, false);
	screen_row(s, fb, row, foot, sizeof(foot) - 1, true);
}
