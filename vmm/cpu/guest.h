/*
 * guest.h - the guest's memory, as the VMM reads and writes it
 */
#ifndef VMM_CPU_GUEST_H
#define VMM_CPU_GUEST_H

#include "base/types.h"
#include "vmm/cpu/vcpu.h"

/* RAM by the firmware's map, the VMM's region excluded; else -EFAULT. */
int guest_map(gpa_t gpa, u64 bytes, hpa_t *out);
int guest_read(gpa_t gpa, void *to, u64 bytes);
int guest_write(gpa_t gpa, const void *from, u64 bytes);

/* What an access through the guest's page tables wants; bits of a #PF's error code. */
#define GUEST_WRITE BIT(1)
#define GUEST_USER BIT(2)
#define GUEST_FETCH BIT(4)

/*
 * guest_walk() - a linear address through the tables the guest has now
 * @fault: out, error code for #PF when -EFAULT is returned
 */
int guest_walk(struct vcpu *v, u64 linear, u32 want, gpa_t *out, u32 *fault);

/* Up to 15 bytes at CS:RIP; returns how many, 0 when even the first is not there. */
u32 guest_fetch(struct vcpu *v, u8 bytes[15]);

/* Base of a segment as the mode has it. */
u64 guest_segment_base(struct vcpu *v, enum vcpu_seg seg);

/* An operand in guest memory, MMIO included. On -EFAULT a #PF has been queued. */
int guest_operand_read(struct vcpu *v, u64 linear, u32 bytes, u64 *value);
int guest_operand_write(struct vcpu *v, u64 linear, u32 bytes, u64 value);

/* 16, 32 or 64: what the code segment says. */
u32 guest_code_bits(struct vcpu *v);

#endif
