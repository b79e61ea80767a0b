/*
 * counters.h - every exit is counted, with the time it took
 */
#ifndef VMM_CPU_COUNTERS_H
#define VMM_CPU_COUNTERS_H

#include "base/types.h"
#include "vmm/cpu/cpu.h"

struct counters_report {
	u32 cpus;
	u64 count[EXIT_REASONS]; /* summed over CPUs */
	u64 ns[EXIT_REASONS];
	u64 longest_ns; /* longest single stay in the host, idle waits excluded */
	const char *longest_reason;
	u32 longest_cpu;
};

const char *counters_name(enum exit_reason r);
/* The exit took from TSC @from until now. */
void counters_exit(struct cpu *c, enum exit_reason r, u64 from);
/* Of the present exit, @tsc were spent waiting for the guest's sake. */
void counters_idle(struct cpu *c, u64 tsc);
void counters_get(struct counters_report *out);
void counters_reset_longest(void); /* "after login" starts here */
void counters_log(void); /* one line per reason */

#endif
