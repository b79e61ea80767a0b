/*
 * lapic.h - the local APIC as the VMM uses it beside the guest
 */
#ifndef VMM_CPU_LAPIC_H
#define VMM_CPU_LAPIC_H

#include "base/types.h"

/* This CPU's APIC ID, from the hardware. */
u32 lapic_id(void);

/* Send an NMI to one CPU by VMM index. */
void lapic_nmi(u32 cpu);

/* To every other CPU: stop, in a panic. */
void lapic_nmi_others(void);

/*
 * lapic_msi() - deliver an MSI message as hardware would, by the equivalent
 * ICR write from this CPU. Fixed, lowest priority and NMI; both destination
 * modes; xAPIC and x2APIC. Other delivery modes are ignored with a log line.
 */
void lapic_msi(u64 address, u32 data);

/* The message that makes a device ring the doorbell (NMI) of @cpu. */
void lapic_doorbell_msi(u32 cpu, u64 *address, u32 *data);

#endif
