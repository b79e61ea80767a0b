/* vmx_priv.h - between the files of vmm/vmx */
#ifndef VMM_VMX_VMX_PRIV_H
#define VMM_VMX_VMX_PRIV_H

#include "vmm/cpu/cpu.h"
#include "vmm/mm/npt.h"

/* A CPU's own; the VMCS is current on it from cpu_init on. */
struct vmx_cpu {
	u8 vmcs[PAGE_BYTES]; /* the processor's */
	u8 vmxon[PAGE_BYTES]; /* the processor's */
	bool entered; /* VMLAUNCH was done: VMRESUME from now on */
	/* What the next entry delivers; EVENT_VALID says whether. */
	u32 event, event_code, event_bytes;
	u32 pin, primary; /* as in the VMCS */
	u64 tick_due; /* TSC */
	u32 reason; /* of the present exit */
	u64 qualification;
} __aligned(4096);

static inline struct vmx_cpu *vmx_of(struct vcpu *v)
{
	return vcpu_cpu(v)->vendor;
}

/* vmx.c */
u64 vmx_get(struct vcpu *v, enum vcpu_control what);
void vmx_set(struct vcpu *v, enum vcpu_control what, u64 value);
void vmx_skip(struct vcpu *v, u64 next_rip);
void vmx_inject_exception(struct vcpu *v, u8 vector, bool has_code, u32 code);
void vmx_primary_set(struct vmx_cpu *x, u32 bits, bool on);
void vmx_pin_set(struct vmx_cpu *x, u32 bits, bool on);

/* exit.c */
enum exit_reason vmx_exit(struct vcpu *v);

/* ept.c */
void ept_init(void);
void ept_msr_written(u32 msr);
void ept_shape(struct npt_shape *s);
u64 ept_pointer(void);
void ept_flush(void);
void vpid_flush(u16 vpid);

/* tick.c */
void tick_init(void);
void tick_apply(struct vcpu *v);
void tick_again(struct vcpu *v, bool idle);

/* dump.c */
const char *vmx_reason_name(u32 reason);
const char *vmx_error_name(u32 error);
void vmx_dump(struct vcpu *v);

#endif
