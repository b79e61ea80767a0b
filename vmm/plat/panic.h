/*
 * panic.h - the end: all CPUs stop, the reason is told
 */
#ifndef VMM_PLAT_PANIC_H
#define VMM_PLAT_PANIC_H

#include "base/types.h"

/* What stubs.S pushes. */
struct trap_frame {
	u64 gpr[16]; /* in the order of enum vcpu_gpr; gpr[4] is meaningless */
	u64 vector, code;
	u64 rip, cs, rflags, rsp, ss;
};

/* A panic is under way: the NMI means stop. */
bool panic_stops_cpu(void);
__attribute__((noreturn)) void panic_stop_here(struct trap_frame *f);
__attribute__((noreturn)) void panic_trap(struct trap_frame *f);

/* "name+offset" of a VMM address, or "?" */
const char *panic_symbol(u64 address, u64 *offset);

#endif
