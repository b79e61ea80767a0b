/*
 * screen.h - the last words of a VMM on the PC's display
 */
#ifndef VMM_PLAT_SCREEN_H
#define VMM_PLAT_SCREEN_H

#include "base/types.h"
#include "boot/handoff.h"

u32 screen_columns(const struct handoff_screen *s);
u32 screen_rows(const struct handoff_screen *s);
void screen_row(const struct handoff_screen *s, u32 *fb, u32 row, const char *text, u32 n,
		bool inverse);
bool screen_usable(const struct handoff_screen *s);
void screen_panic(u64 from);

#endif
