/*
 * vmx.c - the guest CPU on Intel: VMCS, entry, state
 *
 * One VMCS per CPU, current on it for ever; bitmaps and nested tables are
 * shared. The guest is entered with as little intercepted as can be: NMI,
 * hooked ports and MSRs, and what VMX always intercepts; the timer only on the
 * tick CPU while the tick is on (tick.c); the NMI window only while an NMI
 * waits for the guest's IRET.
 *
 * Control fields are what the capability MSRs allow of what is wanted: those
 * that Freshet cannot do without are in boot/vmx_need.h, by name. Instructions
 * that exist for the guest only when a control enables them (RDTSCP, INVPCID,
 * XSAVES, UMWAIT) are enabled wherever they can be.
 *
 * Modes. Unrestricted guest: the guest changes CR0.PE, PG and EFER without an
 * exit, and the processor keeps EFER.LMA and the entry control for IA-32e mode
 * in step [SDM 3 §28.3.1]; only where the VMM writes CR0 or EFER it does that
 * itself. CR0.NE is fixed and CR4.VMXE hidden by masks and shadows.
 *
 * Events. There is no GIF: NMIs arrive in the host at any time, see run.S. What
 * an exit interrupted comes back as vectoring information and is delivered
 * again before anything else, software interrupts with their length. An NMI
 * for the guest waits for the window when one is being served (virtual NMIs).
 *
 * Two habits suit an emulator as well as the manual: a real-mode CS after INIT
 * is a data segment's (AR 0x93), and CS.RPL is 0 whenever the VMM switches
 * protection on, for some take CPL from there.
 *
 * Spec: [SDM 3 §24 to §29]
 */
#include "vmm/vmx/vmx.h"

#include <string.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "boot/vmx_need.h"
#include "vmm/cpu/counters.h"
#include "vmm/vmx/vmcs.h"
#include "vmm/vmx/vmx_priv.h"

#define MSR_APIC_BASE 0x1bu
#define MSR_SYSENTER_CS 0x174u
#define MSR_SYSENTER_ESP 0x175u
#define MSR_SYSENTER_EIP 0x176u
#define MSR_DEBUGCTL 0x1d9u
#define MSR_PAT 0x277u
#define MSR_EFER 0xc0000080u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u

#define CPUID_1_ECX_VMX BIT(5)
#define CPUID_1_ECX_XSAVE BIT(26)

#define CR0_ET BIT64(4)
#define CR0_NE BIT64(5)
#define CR0_CD_NW (BIT64(30) | BIT64(29))
#define CR4_HIDDEN (CR4_VMXE | CR4_SMXE)

#define IO_BITMAP_BYTES (2 * PAGE_BYTES)
#define DR7_RESET 0x400

enum entry_result {
	LEFT,
	NMI_FIRST,
	REFUSED,
};

static u8 *io_bitmap, *msr_bitmap; /* (c) shared; bits change, each CPU sees them at once */

u32 vmx_enter(u64 *gpr, const u64 *nmi_count, u64 nmi_done, u32 resume);
void vmx_sleep(const u64 *nmi_count, u64 nmi_done);
extern const char vmx_enter_look[], vmx_enter_end[], vmx_enter_abort[], vmx_left[];
extern const char vmx_sleep_look[], vmx_sleep_end[];

static const struct vcpu_nmi_range nmi_range[] = {
	{ vmx_enter_look, vmx_enter_end, vmx_enter_abort },
	{ vmx_sleep_look, vmx_sleep_end, vmx_sleep_end },
	{ NULL, NULL, NULL },
};

/** vmx_present() - does the processor have VMX? What it has of it init() says. */
bool vmx_present(void)
{
	u32 r[4];

	cpuid(1, 0, r);
	return r[2] & CPUID_1_ECX_VMX;
}

static void vmx_intercept_io(u16 first, u32 count, bool on)
{
	u32 p;

	for (p = first; p < first + count; p++) {
		if (on)
			io_bitmap[p / 8] |= (u8)(1u << p % 8);
		else
			io_bitmap[p / 8] &= (u8)~(1u << p % 8);
	}
}

static void msr_bit(u32 at, u32 msr, bool on)
{
	u32 bit = msr & 0x1fff;

	if (on)
		msr_bitmap[at + bit / 8] |= (u8)(1u << bit % 8);
	else
		msr_bitmap[at + bit / 8] &= (u8)~(1u << bit % 8);
}

/* [SDM 3 §25.6.9]: reads low, reads high, writes low, writes high, 1 KiB each */
static void vmx_intercept_msr(u32 msr, bool read, bool write)
{
	u32 high = msr >= 0xc0000000 ? 1024 : 0;

	if (msr - (high ? 0xc0000000 : 0) >= 0x2000)
		return; /* exits always */
	msr_bit(high, msr, read);
	msr_bit(2048 + high, msr, write);
}

static int vmx_init(void)
{
	const char *missing = vmx_missing(rdmsr);
	u32 msr;

	if (missing) {
		log_err("vmx: this processor lacks: %s", missing);
		return -ENODEV;
	}
	io_bitmap = plat_alloc(IO_BITMAP_BYTES);
	msr_bitmap = plat_alloc(PAGE_BYTES);
	if (!io_bitmap || !msr_bitmap)
		return -ENOMEM;
	vmx_intercept_msr(MSR_FEATURE_CONTROL, true, true);
	for (msr = MSR_VMX_BASIC; msr <= MSR_VMX_LAST; msr++)
		vmx_intercept_msr(msr, true, true);
	vmx_intercept_msr(MSR_APIC_BASE, false, true);
	ept_init();
	tick_init();
	return 0;
}

/* ---------------------------------------------------------------- taking over a CPU */

/* Locked by the firmware one way or the other, or left to us. */
static int feature_control(u32 index)
{
	u64 v = rdmsr(MSR_FEATURE_CONTROL);

	if (!(v & FEATURE_CONTROL_LOCK)) {
		wrmsr(MSR_FEATURE_CONTROL, v | FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMXON);
		return 0;
	}
	if (v & FEATURE_CONTROL_VMXON)
		return 0;
	log_err("vmx: cpu %u: the firmware has locked VMX off (IA32_FEATURE_CONTROL=%llx)", index,
		(unsigned long long)v);
	return -EACCES;
}

static bool vmx_on(u64 pa)
{
	bool bad;

	asm volatile("vmxon %1" : "=@ccbe"(bad) : "m"(pa) : "memory");
	return !bad;
}

static bool vmcs_load(u64 pa)
{
	bool bad;

	asm volatile("vmclear %1" : "=@ccbe"(bad) : "m"(pa) : "memory");
	if (bad)
		return false;
	asm volatile("vmptrld %1" : "=@ccbe"(bad) : "m"(pa) : "memory");
	return !bad;
}

/* What is wanted, as far as it may be 1, and what must be 1. */
static u32 control(u32 msr, u32 want)
{
	u64 cap = rdmsr(msr);

	return (want | (u32)cap) & (u32)(cap >> 32);
}

static void controls_init(struct vmx_cpu *x, u32 index)
{
	x->pin = control(MSR_VMX_TRUE_PIN, PIN_NMI | PIN_VIRTUAL_NMI);
	x->primary = control(MSR_VMX_TRUE_PRIMARY,
			     PRIMARY_IO_BITMAPS | PRIMARY_MSR_BITMAPS | PRIMARY_SECONDARY);
	vmcs_write(VMCS_PIN, x->pin);
	vmcs_write(VMCS_PRIMARY, x->primary);
	vmcs_write(VMCS_SECONDARY, control(MSR_VMX_SECONDARY,
		   SECONDARY_EPT | SECONDARY_VPID | SECONDARY_UNRESTRICTED | SECONDARY_RDTSCP |
		   SECONDARY_INVPCID | SECONDARY_XSAVES | SECONDARY_USER_WAIT));
	vmcs_write(VMCS_EXIT_CONTROLS, control(MSR_VMX_TRUE_EXIT,
		   EXITC_SAVE_DEBUG | EXITC_HOST_64 | EXITC_SAVE_PAT | EXITC_LOAD_PAT |
		   EXITC_SAVE_EFER | EXITC_LOAD_EFER));
	vmcs_write(VMCS_ENTRY_CONTROLS, control(MSR_VMX_TRUE_ENTRY,
		   ENTRYC_LOAD_DEBUG | ENTRYC_IA32E | ENTRYC_LOAD_PAT | ENTRYC_LOAD_EFER));
	vmcs_write(VMCS_EXCEPTIONS, 0);
	vmcs_write(VMCS_PF_MASK, 0);
	vmcs_write(VMCS_PF_MATCH, 0);
	vmcs_write(VMCS_CR3_TARGETS, 0);
	vmcs_write(VMCS_EXIT_MSR_STORE, 0);
	vmcs_write(VMCS_EXIT_MSR_LOAD, 0);
	vmcs_write(VMCS_ENTRY_MSR_LOAD, 0);
	vmcs_write(VMCS_ENTRY_EVENT, 0);
	vmcs_write(VMCS_IO_BITMAP_A, plat_virt_to_phys(io_bitmap).v);
	vmcs_write(VMCS_IO_BITMAP_B, plat_virt_to_phys(io_bitmap).v + PAGE_BYTES);
	vmcs_write(VMCS_MSR_BITMAP, plat_virt_to_phys(msr_bitmap).v);
	if (vmcs_read(VMCS_SECONDARY) & SECONDARY_XSAVES)
		vmcs_write(VMCS_XSS_BITMAP, 0);
	vmcs_write(VMCS_VPID, index + 1);
	vmcs_write(VMCS_EPTP, ept_pointer());
	vmcs_write(VMCS_LINK, ~0ull);
	vmcs_write(VMCS_CR0_MASK, CR0_NE);
	vmcs_write(VMCS_CR4_MASK, CR4_HIDDEN);
}

static void segment_write(enum vcpu_seg seg, const struct vcpu_segment *s)
{
	u32 ar = (u32)((s->attr & AR_LOW) | (((u32)s->attr & 0xf00) << 4));

	vmcs_write(vmcs_seg(VMCS_GUEST_ES, seg), s->selector);
	vmcs_write(vmcs_seg(VMCS_GUEST_ES_BASE, seg), s->base);
	vmcs_write(vmcs_seg(VMCS_GUEST_ES_LIMIT, seg), s->limit);
	vmcs_write(vmcs_seg(VMCS_GUEST_ES_AR, seg), s->attr ? ar : AR_UNUSABLE);
}

static void segments_take_over(const struct entry_state *e)
{
	const u16 selectors[SEG_COUNT] = { e->es, e->cs, e->ss, e->ds,
					   e->fs, e->gs, e->ldtr, e->tr };
	struct vcpu_segment s;
	u32 i;

	for (i = 0; i < SEG_COUNT; i++) {
		cpu_segment_from_table(e, selectors[i], &s);
		if (i == SEG_FS)
			s.base = rdmsr(MSR_FS_BASE);
		if (i == SEG_GS)
			s.base = rdmsr(MSR_GS_BASE);
		if (i < SEG_LDTR && s.attr)
			s.attr |= BIT(0); /* accessed, as it is loaded */
		if (i >= SEG_LDTR && s.attr) {
			/* A system descriptor has the upper half of its base in the next. */
			const u64 *d = plat_phys_to_virt(HPA(e->gdt_base + (selectors[i] & ~7u)));

			s.base |= d[1] << 32;
		}
		if (i == SEG_TR) /* there is always one, and busy */
			s.attr = s.attr ? s.attr | BIT(1) : 0x8b;
		segment_write((enum vcpu_seg)i, &s);
	}
	vmcs_write(VMCS_GUEST_GDTR_BASE, e->gdt_base);
	vmcs_write(VMCS_GUEST_GDTR_LIMIT, e->gdt_limit);
	vmcs_write(VMCS_GUEST_IDTR_BASE, e->idt_base);
	vmcs_write(VMCS_GUEST_IDTR_LIMIT, e->idt_limit);
}

static void state_take_over(struct vcpu *v, const struct entry_state *e)
{
	u64 dr7;

	segments_take_over(e);
	vmcs_write(VMCS_GUEST_CR0, e->cr0 | CR0_NE);
	vmcs_write(VMCS_CR0_SHADOW, e->cr0);
	vmcs_write(VMCS_GUEST_CR3, e->cr3);
	vmcs_write(VMCS_GUEST_CR4, (e->cr4 & ~CR4_SMXE) | CR4_VMXE);
	vmcs_write(VMCS_CR4_SHADOW, e->cr4 & ~CR4_HIDDEN);
	vmcs_write(VMCS_GUEST_EFER, rdmsr(MSR_EFER));
	vmcs_write(VMCS_GUEST_PAT, rdmsr(MSR_PAT));
	vmcs_write(VMCS_GUEST_DEBUGCTL, rdmsr(MSR_DEBUGCTL));
	vmcs_write(VMCS_GUEST_SYSENTER_CS, rdmsr(MSR_SYSENTER_CS));
	vmcs_write(VMCS_GUEST_SYSENTER_ESP, rdmsr(MSR_SYSENTER_ESP));
	vmcs_write(VMCS_GUEST_SYSENTER_EIP, rdmsr(MSR_SYSENTER_EIP));
	asm volatile("mov %%dr7, %0" : "=r"(dr7));
	vmcs_write(VMCS_GUEST_DR7, dr7);
	vmcs_write(VMCS_GUEST_BLOCKING, 0);
	vmcs_write(VMCS_GUEST_ACTIVITY, ACTIVITY_ACTIVE);
	vmcs_write(VMCS_GUEST_PENDING_DEBUG, 0);
	v->rip = e->rip;
	v->rflags = e->rflags;
	v->gpr[GPR_RAX] = 0; /* the entry call's result */
	v->gpr[GPR_RSP] = e->rsp;
	v->gpr[GPR_RBX] = e->rbx;
	v->gpr[GPR_RBP] = e->rbp;
	v->gpr[12] = e->r12;
	v->gpr[13] = e->r13;
	v->gpr[14] = e->r14;
	v->gpr[15] = e->r15;
}

static int vmx_cpu_init(struct vcpu *v, const struct entry_state *e)
{
	u32 revision = (u32)(rdmsr(MSR_VMX_BASIC) & VMX_BASIC_REVISION);
	const char *missing = vmx_missing(rdmsr);
	struct vmx_cpu *x;
	int err;

	if (missing) {
		log_err("vmx: cpu %u lacks: %s", v->index, missing);
		return -ENODEV;
	}
	err = feature_control(v->index);
	if (err)
		return err;
	x = plat_alloc(sizeof(*x));
	if (!x)
		return -ENOMEM;
	memcpy(x->vmcs, &revision, sizeof(revision));
	memcpy(x->vmxon, &revision, sizeof(revision));
	WRITE_CR(0, READ_CR(0) | rdmsr(MSR_VMX_CR0_FIXED0));
	WRITE_CR(4, READ_CR(4) | rdmsr(MSR_VMX_CR4_FIXED0));
	if (!vmx_on(plat_virt_to_phys(x->vmxon).v)) {
		err = -EIO;
		goto undo;
	}
	if (!vmcs_load(plat_virt_to_phys(x->vmcs).v)) {
		asm volatile("vmxoff");
		err = -EIO;
		goto undo;
	}
	vcpu_cpu(v)->vendor = x;
	controls_init(x, v->index);
	state_take_over(v, e);
	return 0;

undo:
	log_err("vmx: cpu %u: VMXON failed", v->index);
	WRITE_CR(4, e->cr4);
	WRITE_CR(0, e->cr0);
	plat_free(x);
	return err;
}

static void host_state(struct cpu *c)
{
	struct {
		u16 limit;
		u64 base;
	} __packed idtr;
	u32 r[4];

	cpu_host_cr4();
	cpuid(1, 0, r);
	if (r[2] & CPUID_1_ECX_XSAVE)
		WRITE_CR(4, READ_CR(4) | CR4_OSXSAVE); /* for XSETBV on the guest's behalf */
	asm volatile("sidt %0" : "=m"(idtr));
	vmcs_write(VMCS_HOST_CR0, READ_CR(0));
	vmcs_write(VMCS_HOST_CR3, READ_CR(3));
	vmcs_write(VMCS_HOST_CR4, READ_CR(4));
	vmcs_write(VMCS_HOST_ES, SEL_DATA);
	vmcs_write(VMCS_HOST_CS, SEL_CODE);
	vmcs_write(VMCS_HOST_SS, SEL_DATA);
	vmcs_write(VMCS_HOST_DS, SEL_DATA);
	vmcs_write(VMCS_HOST_FS, 0);
	vmcs_write(VMCS_HOST_GS, 0);
	vmcs_write(VMCS_HOST_TR, SEL_TSS);
	vmcs_write(VMCS_HOST_FS_BASE, 0);
	vmcs_write(VMCS_HOST_GS_BASE, (u64)(uintptr_t)c);
	vmcs_write(VMCS_HOST_TR_BASE, (u64)(uintptr_t)&c->tss);
	vmcs_write(VMCS_HOST_GDTR_BASE, (u64)(uintptr_t)c->gdt);
	vmcs_write(VMCS_HOST_IDTR_BASE, idtr.base);
	vmcs_write(VMCS_HOST_SYSENTER_CS, 0);
	vmcs_write(VMCS_HOST_SYSENTER_ESP, 0);
	vmcs_write(VMCS_HOST_SYSENTER_EIP, 0);
	vmcs_write(VMCS_HOST_EFER, rdmsr(MSR_EFER));
	vmcs_write(VMCS_HOST_PAT, rdmsr(MSR_PAT));
	vmcs_write(VMCS_HOST_RIP, (u64)(uintptr_t)vmx_left);
}

/* ---------------------------------------------------------------- state */

/** vmx_get() - as the guest sees it */
u64 vmx_get(struct vcpu *v, enum vcpu_control what)
{
	(void)v;
	switch (what) {
	case VCPU_CR0:
		return (vmcs_read(VMCS_GUEST_CR0) & ~CR0_NE) |
		       (vmcs_read(VMCS_CR0_SHADOW) & CR0_NE);
	case VCPU_CR2:
		return READ_CR(2); /* the host takes no page faults */
	case VCPU_CR3:
		return vmcs_read(VMCS_GUEST_CR3);
	case VCPU_CR4:
		return (vmcs_read(VMCS_GUEST_CR4) & ~CR4_HIDDEN) |
		       (vmcs_read(VMCS_CR4_SHADOW) & CR4_HIDDEN);
	case VCPU_EFER:
		return vmcs_read(VMCS_GUEST_EFER);
	}
	return 0;
}

static void efer_write(u64 efer)
{
	u64 entry = vmcs_read(VMCS_ENTRY_CONTROLS);

	vmcs_write(VMCS_GUEST_EFER, efer);
	vmcs_write(VMCS_ENTRY_CONTROLS,
		   efer & EFER_LMA ? entry | ENTRYC_IA32E : entry & ~(u64)ENTRYC_IA32E);
}

/* With PAE paging the processor keeps four entries, which MOV to CR0 loads [SDM 3 §4.4.1]. */
static void pdptes_load(void)
{
	u64 pa = vmcs_read(VMCS_GUEST_CR3) & GENMASK(31, 5);
	const u64 *table = plat_phys_to_virt(HPA(pa));
	u32 i;

	for (i = 0; i < 4; i++)
		vmcs_write(VMCS_GUEST_PDPTE0 + 2 * i, table[i]);
}

static void cr0_write(struct vcpu *v, u64 value)
{
	u64 old = vmcs_read(VMCS_GUEST_CR0), efer = vmcs_read(VMCS_GUEST_EFER);
	u32 cs = vmcs_seg(VMCS_GUEST_ES, SEG_CS);

	efer &= ~EFER_LMA;
	if ((value & CR0_PG) && (efer & EFER_LME))
		efer |= EFER_LMA;
	efer_write(efer);
	if ((value & CR0_PE) && !(old & CR0_PE))
		vmcs_write(cs, vmcs_read(cs) & ~3ull);
	vmcs_write(VMCS_GUEST_CR0, value | CR0_NE);
	vmcs_write(VMCS_CR0_SHADOW, value);
	if ((value & CR0_PG) && !(efer & EFER_LMA) && (vmcs_read(VMCS_GUEST_CR4) & CR4_PAE))
		pdptes_load();
	vpid_flush((u16)(v->index + 1));
}

/** vmx_set() - the counterpart; translations that it would end are flushed */
void vmx_set(struct vcpu *v, enum vcpu_control what, u64 value)
{
	switch (what) {
	case VCPU_CR0:
		cr0_write(v, value);
		break;
	case VCPU_CR2:
		WRITE_CR(2, value);
		break;
	case VCPU_CR3:
		vmcs_write(VMCS_GUEST_CR3, value);
		vpid_flush((u16)(v->index + 1));
		break;
	case VCPU_CR4:
		vmcs_write(VMCS_GUEST_CR4, (value & ~CR4_SMXE) | CR4_VMXE);
		vmcs_write(VMCS_CR4_SHADOW, value);
		vpid_flush((u16)(v->index + 1));
		break;
	case VCPU_EFER:
		efer_write(value);
		break;
	}
}

static void vmx_segment(struct vcpu *v, enum vcpu_seg which, struct vcpu_segment *out)
{
	u32 ar = (u32)vmcs_read(vmcs_seg(VMCS_GUEST_ES_AR, which));

	(void)v;
	out->selector = (u16)vmcs_read(vmcs_seg(VMCS_GUEST_ES, which));
	out->attr = ar & AR_UNUSABLE ? 0 : (u16)((ar & AR_LOW) | FIELD_GET(AR_HIGH, ar) << 8);
	out->limit = (u32)vmcs_read(vmcs_seg(VMCS_GUEST_ES_LIMIT, which));
	out->base = vmcs_read(vmcs_seg(VMCS_GUEST_ES_BASE, which));
}

/* CPL is SS.DPL [SDM 3 §25.4.1]. */
static u32 vmx_cpl(struct vcpu *v)
{
	(void)v;
	return (u32)vmcs_read(vmcs_seg(VMCS_GUEST_ES_AR, SEG_SS)) >> 5 & 3;
}

/** vmx_inject_exception() - at the next entry; real mode knows no error codes */
void vmx_inject_exception(struct vcpu *v, u8 vector, bool has_code, u32 code)
{
	struct vmx_cpu *x = vmx_of(v);

	x->event = EVENT_VALID | (u32)FIELD_PREP(EVENT_TYPE, EVENT_EXCEPTION) | vector;
	if (has_code && (vmcs_read(VMCS_GUEST_CR0) & CR0_PE)) {
		x->event |= EVENT_CODE;
		x->event_code = code;
	}
}

/** vmx_skip() - the instruction is done */
void vmx_skip(struct vcpu *v, u64 next_rip)
{
	struct vcpu_segment cs;

	vmx_segment(v, SEG_CS, &cs);
	v->rip = (vmcs_read(VMCS_GUEST_EFER) & EFER_LMA) && (cs.attr & SEG_ATTR_L) ?
		 next_rip : (u32)next_rip;
	vmcs_write(VMCS_GUEST_BLOCKING,
		   vmcs_read(VMCS_GUEST_BLOCKING) & ~(u64)(BLOCKING_STI | BLOCKING_MOV_SS));
	if (v->rflags & RFLAGS_TF)
		vmcs_write(VMCS_GUEST_PENDING_DEBUG,
			   vmcs_read(VMCS_GUEST_PENDING_DEBUG) | PENDING_DEBUG_BS);
}

/* State after INIT [SDM 3 table 10-1]; PAT, MTRRs, TSC, x87 and SSE stay. */
static void vmx_reset(struct vcpu *v, u16 cs_selector, u64 cs_base, u64 rip)
{
	const struct vcpu_segment data = { .attr = 0x93, .limit = 0xffff };
	const struct vcpu_segment cs = { .selector = cs_selector, .attr = 0x93, .limit = 0xffff,
					 .base = cs_base };
	const struct vcpu_segment ldtr = { .attr = 0x82, .limit = 0xffff };
	const struct vcpu_segment tr = { .attr = 0x8b, .limit = 0xffff };
	u64 cr0 = (vmcs_read(VMCS_GUEST_CR0) & CR0_CD_NW) | CR0_ET;
	u32 r[4], i;

	cpuid(1, 0, r);
	memset(v->gpr, 0, sizeof(v->gpr));
	v->gpr[GPR_RDX] = r[0];
	v->rip = rip;
	v->rflags = 2;
	for (i = SEG_ES; i <= SEG_GS; i++)
		segment_write((enum vcpu_seg)i, i == SEG_CS ? &cs : &data);
	segment_write(SEG_LDTR, &ldtr);
	segment_write(SEG_TR, &tr);
	vmcs_write(VMCS_GUEST_GDTR_BASE, 0);
	vmcs_write(VMCS_GUEST_GDTR_LIMIT, 0xffff);
	vmcs_write(VMCS_GUEST_IDTR_BASE, 0);
	vmcs_write(VMCS_GUEST_IDTR_LIMIT, 0xffff);
	vmcs_write(VMCS_GUEST_EFER, 0); /* before CR0, which looks at it */
	vmx_set(v, VCPU_CR4, 0);
	vmx_set(v, VCPU_CR3, 0);
	vmx_set(v, VCPU_CR2, 0);
	vmx_set(v, VCPU_CR0, cr0);
	vmcs_write(VMCS_GUEST_DR7, DR7_RESET);
	asm volatile("mov %0, %%dr6" :: "r"(0xffff0ff0ull));
	vmcs_write(VMCS_GUEST_DEBUGCTL, 0);
	vmcs_write(VMCS_GUEST_BLOCKING, 0);
	vmcs_write(VMCS_GUEST_ACTIVITY, ACTIVITY_ACTIVE);
	vmcs_write(VMCS_GUEST_PENDING_DEBUG, 0);
	vmx_primary_set(vmx_of(v), PRIMARY_NMI_WINDOW, false);
	vmx_of(v)->event = 0;
}

void vmx_primary_set(struct vmx_cpu *x, u32 bits, bool on)
{
	u32 now = on ? x->primary | bits : x->primary & ~bits;

	if (now != x->primary)
		vmcs_write(VMCS_PRIMARY, now);
	x->primary = now;
}

void vmx_pin_set(struct vmx_cpu *x, u32 bits, bool on)
{
	u32 now = on ? x->pin | bits : x->pin & ~bits;

	if (now != x->pin)
		vmcs_write(VMCS_PIN, now);
	x->pin = now;
}

/* ---------------------------------------------------------------- running */

/* NMIs and SMIs are never shut out of the host. */
static void vmx_window(void)
{
}

static void vmx_wait_nmi(void)
{
	struct cpu *c = cpu_this();

	vmx_sleep(&c->nmi_count, c->nmi_done);
}

/* What the exit interrupted is delivered first [SDM 3 §27.2.4]. */
static void event_restore(struct vmx_cpu *x)
{
	u32 e = (u32)vmcs_read(VMCS_VECTORING);

	x->event = 0;
	if (!(e & EVENT_VALID))
		return;
	x->event = e & (u32)(EVENT_VALID | EVENT_CODE | EVENT_TYPE | EVENT_VECTOR);
	x->event_code = (u32)vmcs_read(VMCS_VECTORING_CODE);
	x->event_bytes = (u32)vmcs_read(VMCS_EXIT_BYTES);
	if (FIELD_GET(EVENT_TYPE, e) == EVENT_NMI)
		vmcs_write(VMCS_GUEST_BLOCKING,
			   vmcs_read(VMCS_GUEST_BLOCKING) & ~(u64)BLOCKING_NMI);
}

static void nmi_deliver(struct vcpu *v)
{
	struct vmx_cpu *x = vmx_of(v);
	u64 blocking;

	if (!v->nmi_pending)
		return;
	blocking = vmcs_read(VMCS_GUEST_BLOCKING);
	if ((x->event & EVENT_VALID) ||
	    (blocking & (BLOCKING_STI | BLOCKING_MOV_SS | BLOCKING_NMI))) {
		vmx_primary_set(x, PRIMARY_NMI_WINDOW, true);
		return;
	}
	x->event = EVENT_VALID | (u32)FIELD_PREP(EVENT_TYPE, EVENT_NMI) | VEC_NMI;
	v->nmi_pending = false;
}

static void event_write(struct vmx_cpu *x)
{
	if (!(x->event & EVENT_VALID))
		return;
	vmcs_write(VMCS_ENTRY_EVENT, x->event);
	vmcs_write(VMCS_ENTRY_CODE, x->event_code);
	vmcs_write(VMCS_ENTRY_BYTES, x->event_bytes);
	vmcs_write(VMCS_GUEST_ACTIVITY, ACTIVITY_ACTIVE);
}

static enum entry_result enter(struct vcpu *v)
{
	struct cpu *c = vcpu_cpu(v);
	struct vmx_cpu *x = vmx_of(v);
	u32 r;

	vmcs_write(VMCS_GUEST_RIP, v->rip);
	vmcs_write(VMCS_GUEST_RSP, v->gpr[GPR_RSP]);
	vmcs_write(VMCS_GUEST_RFLAGS, v->rflags);
	r = vmx_enter(v->gpr, &c->nmi_count, c->nmi_done, x->entered);
	__atomic_store_n(&v->in_guest, false, __ATOMIC_RELEASE);
	return (enum entry_result)r;
}

static void left(struct vcpu *v)
{
	struct vmx_cpu *x = vmx_of(v);

	x->entered = true;
	x->reason = (u32)vmcs_read(VMCS_EXIT_REASON);
	x->qualification = vmcs_read(VMCS_QUALIFICATION);
	v->insn_bytes = (u32)vmcs_read(VMCS_EXIT_BYTES);
	v->rip = vmcs_read(VMCS_GUEST_RIP);
	v->gpr[GPR_RSP] = vmcs_read(VMCS_GUEST_RSP);
	v->rflags = vmcs_read(VMCS_GUEST_RFLAGS);
	event_restore(x);
}

static __attribute__((noreturn)) void vmx_run(struct vcpu *v)
{
	struct vmx_cpu *x = vmx_of(v);
	struct cpu *c = vcpu_cpu(v);

	host_state(c);
	__atomic_store_n(&v->launched, true, __ATOMIC_RELEASE);
	for (;;) {
		enum exit_reason why;
		enum entry_result r;
		u64 from;

		tick_apply(v);
		nmi_deliver(v);
		event_write(x);
		if (vcpu_before_entry(v))
			ept_flush();
		r = enter(v);
		from = rdtsc();
		if (r == REFUSED) {
			vmx_dump(v);
			plat_panic("vmx: cpu %u: entry refused: %s", v->index,
				   vmx_error_name((u32)vmcs_read(VMCS_ERROR)));
		}
		why = EXIT_NMI;
		if (r == LEFT) {
			left(v);
			why = vmx_exit(v);
		}
		vcpu_after_exit(v);
		cpu_stack_check(c);
		counters_exit(c, why, from);
	}
}

const struct vcpu_ops vmx_ops = {
	.name = "vmx",
	.nested_shape = ept_shape,
	.window = vmx_window,
	.wait_nmi = vmx_wait_nmi,
	.nmi_range = nmi_range,
	.init = vmx_init,
	.cpu_init = vmx_cpu_init,
	.run = vmx_run,
	.get = vmx_get,
	.set = vmx_set,
	.segment = vmx_segment,
	.cpl = vmx_cpl,
	.inject_exception = vmx_inject_exception,
	.reset = vmx_reset,
	.skip = vmx_skip,
	.intercept_io = vmx_intercept_io,
	.intercept_msr = vmx_intercept_msr,
	.dump = vmx_dump,
};
