/* apic.h - AP capture: INIT and SIPI never reach a CPU in its guest */
#ifndef VMM_CPU_APIC_H
#define VMM_CPU_APIC_H

#include "vmm/cpu/vcpu.h"

int apic_watch_start(void);
void apic_guest_ready(struct vcpu *v); /* on its own CPU, before its first entry */
void apic_serve(struct vcpu *v); /* requests from other CPUs; may wait for a SIPI */
bool apic_msr_write(struct vcpu *v, u32 msr, u64 value); /* x2APIC; true: taken care of */
int apic_base_write(struct vcpu *v, u64 value); /* 0, or -EFAULT for #GP */
void apic_init_exit(struct vcpu *v); /* hardware redirected an INIT to us */
void apic_boot_done(void); /* HC_DONE */

#endif
