/*
 * counters.c - exits by reason and CPU
 *
 * Each CPU writes its own; a reader may see one exit counted and its time not
 * yet, which is good enough for a report.
 */
#include "vmm/cpu/counters.h"

#include <string.h>

#include "base/log.h"
#include "vmm/cpu/env.h"

static const char *const names[EXIT_REASONS] = {
	[EXIT_NMI] = "nmi",
	[EXIT_INTR] = "intr",
	[EXIT_SMI] = "smi",
	[EXIT_INIT] = "init",
	[EXIT_CPUID] = "cpuid",
	[EXIT_HLT] = "hlt",
	[EXIT_IO] = "io",
	[EXIT_MSR] = "msr",
	[EXIT_NESTED_FAULT] = "mmio",
	[EXIT_HYPERCALL] = "hypercall",
	[EXIT_IRET] = "iret",
	[EXIT_CONTROL] = "control",
	[EXIT_TICK] = "tick",
	[EXIT_FORBIDDEN] = "forbidden",
	[EXIT_SHUTDOWN] = "shutdown",
	[EXIT_OTHER] = "other",
};

const char *counters_name(enum exit_reason r)
{
	return r < EXIT_REASONS ? names[r] : "?";
}

/** counters_exit() - one exit is over; Context: its CPU */
void counters_exit(struct cpu *c, enum exit_reason r, u64 from)
{
	u64 took = rdtsc() - from;

	took -= c->idle_tsc < took ? c->idle_tsc : took;
	c->idle_tsc = 0;
	c->exits[r].count++;
	c->exits[r].tsc += took;
	if (took > c->longest_tsc) {
		c->longest_tsc = took;
		c->longest_reason = r;
	}
}

void counters_idle(struct cpu *c, u64 tsc)
{
	c->idle_tsc += tsc;
}

/** counters_get() - sums over all CPUs */
void counters_get(struct counters_report *out)
{
	u32 i, r;

	memset(out, 0, sizeof(*out));
	out->cpus = cpu_count;
	out->longest_reason = "none";
	for (i = 0; i < cpu_count; i++) {
		const struct cpu *c = cpu_table[i];
		u64 longest;

		if (!c)
			continue;
		for (r = 0; r < EXIT_REASONS; r++) {
			out->count[r] += c->exits[r].count;
			out->ns[r] += cpu_env->tsc_to_ns(c->exits[r].tsc);
		}
		longest = cpu_env->tsc_to_ns(c->longest_tsc);
		if (longest > out->longest_ns) {
			out->longest_ns = longest;
			out->longest_reason = counters_name(c->longest_reason);
			out->longest_cpu = i;
		}
	}
}

void counters_reset_longest(void)
{
	u32 i;

	for (i = 0; i < cpu_count; i++)
		if (cpu_table[i])
			cpu_table[i]->longest_tsc = 0;
}

/** counters_log() - "exits: reason count=.. us=.. cpu=a/b/.." */
void counters_log(void)
{
	struct counters_report rep;
	u32 r;

	counters_get(&rep);
	for (r = 0; r < EXIT_REASONS; r++)
		if (rep.count[r])
			log_info("exits: %s count=%llu us=%llu cpu0=%llu cpu1=%llu",
				 counters_name(r), (unsigned long long)rep.count[r],
				 (unsigned long long)(rep.ns[r] / NS_PER_US),
				 (unsigned long long)cpu_table[0]->exits[r].count,
				 (unsigned long long)(cpu_count > 1 && cpu_table[1] ?
						      cpu_table[1]->exits[r].count : 0));
	log_info("exits: longest us=%llu reason=%s cpu=%u",
		 (unsigned long long)(rep.longest_ns / NS_PER_US), rep.longest_reason,
		 rep.longest_cpu);
}
