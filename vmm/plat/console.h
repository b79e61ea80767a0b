/*
 * console.h - the log ring and its serial port
 */
#ifndef VMM_PLAT_CONSOLE_H
#define VMM_PLAT_CONSOLE_H

#include "base/types.h"

extern void (*console_asked)(void); /* (c) somebody wants the figures in the log; may be NULL */

void console_init(void); /* serial port, if there is one */
int console_hide(void); /* from the guest; after pio is ready */
void console_break_lock(void); /* panic: the owner may be stopped; from now on wait for the port */
bool console_drain(void); /* send more to the port; true: some is left */
/* Copy ring bytes from *pos on; returns how many, moves *pos (past what was lost). */
u32 console_read(u64 *pos, char *out, u32 room);

#endif
