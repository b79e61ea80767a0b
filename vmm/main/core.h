/*
 * core.h - what the VMM's core asks of vmm/main, and offers it
 *
 * core.c has weak versions of the vmm_main_*() functions, so that the core
 * links and runs with nothing mediated.
 */
#ifndef VMM_MAIN_CORE_H
#define VMM_MAIN_CORE_H

#include "base/types.h"
#include "boot/handoff.h"

extern const struct handoff *core_handoff; /* (c) in the region, at its VMM address */

/* Once on the boot CPU, after the core is ready and before the guest runs on. */
void vmm_main_init(const struct handoff *h);
/* Every hypercall but HC_LOG; HC_DONE is told too. */
s64 vmm_main_hypercall(u32 nr, u64 arg);
/* An NMI arrived and was taken: did a Freshet device mean it? */
bool vmm_main_nmi(void);
/* The tick CPU passed by, see vcpu_tick_set(). */
void vmm_main_tick(bool idle);
/* True until HC_DONE: the loader and the firmware are the guest. */
bool core_boot_phase(void);

/* Reset the machine as its reset line would. */
__attribute__((noreturn)) void core_machine_reset(void);

#endif
