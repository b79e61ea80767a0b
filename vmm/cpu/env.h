/*
 * env.h - what vmm/cpu is handed by the folders above it
 *
 * vmm/main binds it once on the boot CPU, before anything here runs.
 */
#ifndef VMM_CPU_ENV_H
#define VMM_CPU_ENV_H

#include "base/types.h"
#include "boot/handoff.h"

/* What stubs.S pushes. */
struct trap_frame {
	u64 gpr[16]; /* in the order of enum vcpu_gpr; gpr[4] is meaningless */
	u64 vector, code;
	u64 rip, cs, rflags, rsp, ss;
};

struct cpu_env {
	const struct handoff *handoff;
	/* Loader and firmware are the guest; hypercalls exist. */
	bool (*boot_phase)(void);
	/* Exit path, in the boot phase, from CPL 0. Result for RAX. */
	s64 (*hypercall)(u32 nr, u64 arg);
	/* Exit path: an NMI was taken; did a Freshet device mean it? */
	bool (*nmi)(void);
	/* Exit path of the tick CPU; @idle: its guest halts, time costs nobody. */
	void (*tick)(bool idle);
	/* Does the range touch the VMM's memory? */
	bool (*in_region)(u64 pa, u64 bytes);
	u64 (*tsc_to_ns)(u64 ticks);
	__attribute__((noreturn)) void (*machine_reset)(void);
	/* NMI context: stops this CPU for ever when a panic is under way, else returns. */
	void (*nmi_stop)(void);
	/* An exception of our own. */
	__attribute__((noreturn)) void (*trap)(struct trap_frame *f);
};

extern const struct cpu_env *cpu_env; /* (c) */

#endif
