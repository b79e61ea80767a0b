/*
 * panic.h - the end: all CPUs stop, the reason is told
 */
#ifndef VMM_PLAT_PANIC_H
#define VMM_PLAT_PANIC_H

#include "base/types.h"

struct trap_frame;

/* For struct cpu_env. */
void panic_nmi_stop(void);
__attribute__((noreturn)) void panic_trap(struct trap_frame *f);

/* "name+offset" of a VMM address, or "?" */
const char *panic_symbol(u64 address, u64 *offset);

#endif
