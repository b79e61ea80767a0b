/*
 * exit.c - the exit switch on Intel
 *
 * Translates each exit into a neutral call of vmm/cpu. What exits although
 * nobody asked (INVD, GETSEC, VMX instructions, task switches, XSETBV) is here
 * too.
 *
 * Spec: [SDM 3 §26.1, §28.2]
 */
#include "base/log.h"
#include "base/plat.h"
#include "vmm/cpu/apic.h"
#include "vmm/cpu/guest.h"
#include "vmm/cpu/nested.h"
#include "vmm/vmx/vmcs.h"
#include "vmm/vmx/vmx_priv.h"

#define CR0_NW BIT64(29)
#define CR0_CD BIT64(30)
/* The bits that exist; others below 32 are ignored when written. */
#define CR0_KNOWN 0xe005003full

void vmx_take_nmi(void);

static u64 next_rip(struct vcpu *v)
{
	return v->rip + v->insn_bytes;
}

static void fault_gp(struct vcpu *v)
{
	vmx_inject_exception(v, VEC_GP, true, 0);
}

static void io_exit(struct vcpu *v)
{
	u64 q = vmx_of(v)->qualification, info = vmcs_read(VMCS_EXIT_INSN);
	struct vcpu_io io = {
		.port = (u16)FIELD_GET(IOQ_PORT, q),
		.bytes = (u8)(FIELD_GET(IOQ_BYTES, q) + 1),
		.in = q & IOQ_IN,
		.string = q & IOQ_STRING,
		.rep = q & IOQ_REP,
		.seg = SEG_DS,
		.addr_bytes = (u8)(guest_code_bits(v) / 8),
		.next_rip = next_rip(v),
	};

	if (io.string && (rdmsr(MSR_VMX_BASIC) & VMX_BASIC_INS_OUTS)) {
		io.addr_bytes = (u8)(2u << FIELD_GET(IOI_ADDR, info));
		if (!io.in)
			io.seg = (u8)FIELD_GET(IOI_SEG, info);
	}
	vcpu_handle_io(v, &io);
}

static void ept_exit(struct vcpu *v)
{
	struct vmx_cpu *x = vmx_of(v);
	u64 q = x->qualification, gpa = vmcs_read(VMCS_GUEST_PHYSICAL);

	if (x->event & EVENT_VALID) {
		/* An unhooked page meanwhile: what was being delivered is delivered again. */
		if (nested_allows(gpa, q & EPTQ_WRITE))
			return;
		log_err("vmx: event %x delivered through a hook gpa=%llx", x->event,
			(unsigned long long)gpa);
		vcpu_handle_shutdown(v);
	}
	/* The IRET that faulted had already opened NMIs. */
	if (q & EPTQ_NMI_UNBLOCKED)
		vmcs_write(VMCS_GUEST_BLOCKING, vmcs_read(VMCS_GUEST_BLOCKING) | BLOCKING_NMI);
	if (vcpu_handle_nested_fault(v, gpa, q & EPTQ_WRITE, q & EPTQ_FETCH,
				     (q & EPTQ_LINEAR) && !(q & EPTQ_FINAL)) == VCPU_SHUTDOWN)
		vcpu_handle_shutdown(v);
}

/* MOV to CR0 as the processor would check it [SDM 2 MOV—Move to/from Control Registers]. */
static bool cr0_valid(struct vcpu *v, u64 value)
{
	u64 old = vmx_get(v, VCPU_CR0), cr4 = vmx_get(v, VCPU_CR4);
	u64 efer = vmx_get(v, VCPU_EFER);
	struct vcpu_segment cs;

	if (value >> 32 || ((value & CR0_PG) && !(value & CR0_PE)) ||
	    ((value & CR0_NW) && !(value & CR0_CD)))
		return false;
	if (!((value ^ old) & CR0_PG))
		return true;
	vcpu_ops->segment(v, SEG_CS, &cs);
	if (value & CR0_PG)
		return !(efer & EFER_LME) || ((cr4 & CR4_PAE) && !(cs.attr & SEG_ATTR_L));
	return !(cr4 & CR4_PCIDE) && !((efer & EFER_LMA) && (cs.attr & SEG_ATTR_L));
}

/*
 * Only writes that change a bit of the masks exit: CR0.NE, which stays set,
 * and CR4.VMXE and SMXE, which the guest does not have. CR0's other changes
 * come along in the same write.
 */
static void cr_exit(struct vcpu *v)
{
	u64 q = vmx_of(v)->qualification, value = v->gpr[FIELD_GET(CRQ_GPR, q)];

	if (FIELD_GET(CRQ_TYPE, q) != CRQ_TO || FIELD_GET(CRQ_NUMBER, q) ||
	    !cr0_valid(v, value)) {
		fault_gp(v);
		return;
	}
	/* Entries and exits leave CD and NW alone: what is set here is the guest's. */
	WRITE_CR(0, (READ_CR(0) & ~(CR0_CD | CR0_NW)) | (value & (CR0_CD | CR0_NW)));
	vmx_set(v, VCPU_CR0, value & CR0_KNOWN);
	vmx_skip(v, next_rip(v));
}

/* The processor itself says whether the value is right. */
static void xsetbv_exit(struct vcpu *v)
{
	u64 value = v->gpr[GPR_RDX] << 32 | (u32)v->gpr[GPR_RAX];

	if (vcpu_ops->cpl(v) || xsetbv_safe((u32)v->gpr[GPR_RCX], value)) {
		fault_gp(v);
		return;
	}
	vmx_skip(v, next_rip(v));
}

static __attribute__((noreturn)) void task_switch_exit(struct vcpu *v)
{
	static const char *const by[] = { "CALL", "IRET", "JMP", "a gate of the IDT" };
	u64 q = vmx_of(v)->qualification;

	log_err("vmx: the guest switches tasks by %s to selector %llx: not supported",
		by[FIELD_GET(TSQ_SOURCE, q)],
		(unsigned long long)FIELD_GET(TSQ_SELECTOR, q));
	vcpu_handle_shutdown(v);
}

static enum exit_reason insn_exit(struct vcpu *v, u32 reason)
{
	switch (reason) {
	case VMX_INVD: /* the guest's own dirty lines may go, ours may not */
		asm volatile("wbinvd" ::: "memory");
		vmx_skip(v, next_rip(v));
		return EXIT_OTHER;
	case VMX_MWAIT:
		vcpu_handle_tick(true);
		tick_again(v, true);
		vmx_skip(v, next_rip(v));
		return EXIT_HLT;
	case VMX_XSETBV:
		xsetbv_exit(v);
		return EXIT_CONTROL;
	case VMX_VMCALL:
		vcpu_handle_hypercall(v);
		return EXIT_HYPERCALL;
	case VMX_GETSEC:
	case VMX_INVEPT:
	case VMX_INVVPID:
	case VMX_VMFUNC:
		break;
	default:
		if (reason < VMX_VMCALL || reason > VMX_VMXON)
			plat_panic("vmx: exit %u (%s) was not asked for", reason,
				   vmx_reason_name(reason));
	}
	vmx_inject_exception(v, VEC_UD, false, 0);
	return EXIT_FORBIDDEN;
}

/** vmx_exit() - handle the present exit; Context: its CPU, NMIs may arrive */
enum exit_reason vmx_exit(struct vcpu *v)
{
	struct vmx_cpu *x = vmx_of(v);

	switch (x->reason) {
	case VMX_EXCEPTION_NMI:
		vmx_take_nmi();
		vcpu_handle_nmi(v);
		return EXIT_NMI;
	case VMX_NMI_WINDOW:
		vmx_primary_set(x, PRIMARY_NMI_WINDOW, false);
		return EXIT_IRET;
	case VMX_TIMER: {
		bool idle = vmcs_read(VMCS_GUEST_ACTIVITY) == ACTIVITY_HLT;

		vcpu_handle_tick(idle);
		tick_again(v, idle);
		return EXIT_TICK;
	}
	case VMX_CPUID:
		vcpu_handle_cpuid(v);
		return EXIT_CPUID;
	case VMX_IO:
		io_exit(v);
		return EXIT_IO;
	case VMX_RDMSR:
		vcpu_handle_msr(v, false);
		return EXIT_MSR;
	case VMX_WRMSR:
		vcpu_handle_msr(v, true);
		ept_msr_written((u32)v->gpr[GPR_RCX]);
		return EXIT_MSR;
	case VMX_EPT_VIOLATION:
		ept_exit(v);
		return EXIT_NESTED_FAULT;
	case VMX_CR:
		cr_exit(v);
		return EXIT_CONTROL;
	case VMX_INIT:
		apic_init_exit(v);
		return EXIT_INIT;
	case VMX_TRIPLE_FAULT:
		log_err("vmx: triple fault");
		vcpu_handle_shutdown(v);
	case VMX_TASK_SWITCH:
		task_switch_exit(v);
	}
	if (x->reason & VMX_ENTRY_FAILED || x->reason == VMX_EPT_MISCONFIG) {
		vmx_dump(v);
		plat_panic("vmx: cpu %u: %s", v->index, vmx_reason_name(x->reason));
	}
	return insn_exit(v, x->reason);
}
