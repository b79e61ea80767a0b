/*
 * svm.c - the guest CPU on AMD: control block, entry, exit switch
 *
 * One VMCB per CPU; permission maps and nested tables are shared. The guest
 * is entered with as little intercepted as can be: NMI, SMI, INIT, SHUTDOWN,
 * CPUID (to hide SVM), the SVM instructions, hooked ports and MSRs; INTR and
 * HLT only on the tick CPU while the tick is on; IRET only while the guest's
 * NMI handler runs after an injection.
 *
 * Nothing depends on next-RIP saving, decode assists, flush-by-ASID, clean
 * bits or virtual GIF: older machines and emulators lack them. Lengths of
 * exiting instructions are known but for their prefixes, which are fetched.
 *
 * Events. What an exit interrupted comes back in EXITINTINFO and is injected
 * again before anything else, with its type corrected: some emulators report
 * external interrupts and NMIs as exceptions. Software interrupts are not
 * injected again, their instruction is repeated. An NMI for the guest waits
 * for the IRET of the one before, as it would on hardware, and comes right
 * after it, by a single step over that IRET. An external interrupt that is
 * injected has an NMI of our own right behind it (injection_seal()).
 *
 * Spec: [APM 2 §15]
 */
#include "vmm/svm/svm.h"

#include <string.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "vmm/cpu/apic.h"
#include "vmm/cpu/counters.h"
#include "vmm/cpu/cpu.h"
#include "vmm/cpu/guest.h"
#include "vmm/cpu/lapic.h"
#include "vmm/cpu/nested.h"
#include "vmm/svm/vmcb.h"

#define MSR_EFER 0xc0000080u
#define MSR_VM_CR 0xc0010114u
#define  VM_CR_R_INIT BIT64(1)
#define  VM_CR_SVMDIS BIT64(4)
#define MSR_VM_HSAVE_PA 0xc0010117u
#define MSR_PAT 0x277u
#define MSR_DEBUGCTL 0x1d9u
#define MSR_APIC_BASE 0x1bu

#define IOPM_BYTES (3 * PAGE_BYTES)
#define MSRPM_BYTES (2 * PAGE_BYTES)

#define GUEST_ASID 1
#define NMI_HOLD_NONE ~0ull

#define DR6_BREAKPOINTS GENMASK(3, 0)
#define DR6_BS BIT64(14)

struct svm_cpu {
	struct vmcb vmcb;
	u8 host[PAGE_BYTES]; /* host's FS, GS, TR, ... for VMLOAD */
	u8 hsave[PAGE_BYTES]; /* the processor's */
	u64 vmcb_pa, host_pa;
	u64 nmi_hold_rip; /* the guest stands at the IRET that ends NMI blocking */
	bool nmi_step; /* it steps over that IRET, as an NMI waits */
	bool guest_tf; /* and would have been single-stepped anyway */
} __aligned(4096);

static u8 *iopm, *msrpm; /* (c) shared; bits change, each CPU sees them at its next entry */

void svm_enter(u64 vmcb_pa, u64 *gpr, u64 host_pa);
void svm_window(void);
void svm_window_intr(void);
void svm_wait_nmi(void);
extern const char svm_wait_first[], svm_wait_end[];

static const struct vcpu_nmi_range nmi_range[] = {
	{ svm_wait_first, svm_wait_end, svm_wait_end },
	{ NULL, NULL, NULL },
};

static struct svm_cpu *svm_of(struct vcpu *v)
{
	return vcpu_cpu(v)->vendor;
}

static struct vmcb *vmcb_of(struct vcpu *v)
{
	return &svm_of(v)->vmcb;
}

/** svm_present() - SVM with nested paging, not locked away by the firmware */
bool svm_present(void)
{
	u32 r[4];

	cpuid(0x80000000, 0, r);
	if (r[0] < 0x8000000a)
		return false;
	cpuid(0x80000001, 0, r);
	if (!(r[2] & BIT(2)) || (rdmsr(MSR_VM_CR) & VM_CR_SVMDIS))
		return false;
	cpuid(0x8000000a, 0, r);
	return r[3] & BIT(0);
}

static void svm_intercept_io(u16 first, u32 count, bool on)
{
	u32 p;

	for (p = first; p < first + count; p++) {
		if (on)
			iopm[p / 8] |= (u8)(1u << p % 8);
		else
			iopm[p / 8] &= (u8)~(1u << p % 8);
	}
}

static void svm_intercept_msr(u32 msr, bool read, bool write)
{
	static const u32 base[] = { 0, 0xc0000000, 0xc0010000 };
	u32 i;

	for (i = 0; i < ARRAY_SIZE(base); i++)
		if (msr - base[i] < 0x2000) {
			u32 bit = (i * 0x800 * 8) + 2 * (msr - base[i]);
			u8 m = (u8)((read ? 1 : 0) | (write ? 2 : 0));

			msrpm[bit / 8] = (u8)((msrpm[bit / 8] & ~(3u << bit % 8)) | m << bit % 8);
		}
}

static int svm_init(void)
{
	iopm = plat_alloc(IOPM_BYTES);
	msrpm = plat_alloc(MSRPM_BYTES);
	if (!iopm || !msrpm)
		return -ENOMEM;
	svm_intercept_msr(MSR_EFER, true, true);
	svm_intercept_msr(MSR_VM_CR, true, true);
	svm_intercept_msr(MSR_VM_HSAVE_PA, true, true);
	svm_intercept_msr(MSR_APIC_BASE, false, true);
	return 0;
}

static struct vmcb_seg seg_from_table(const struct entry_state *e, u16 selector)
{
	struct vcpu_segment s;

	cpu_segment_from_table(e, selector, &s);
	return (struct vmcb_seg){ .selector = selector, .attr = s.attr, .limit = s.limit,
				  .base = s.base };
}

static void svm_nested_shape(struct npt_shape *s)
{
	u32 r[4];

	s->format = NPT_AMD;
	cpuid(0x80000001, 0, r);
	s->gib = r[3] & BIT(26);
}

static void state_take_over(struct vmcb *b, struct vcpu *v, const struct entry_state *e)
{
	b->es = seg_from_table(e, e->es);
	b->cs = seg_from_table(e, e->cs);
	b->ss = seg_from_table(e, e->ss);
	b->ds = seg_from_table(e, e->ds);
	b->gdtr = (struct vmcb_seg){ .limit = e->gdt_limit, .base = e->gdt_base };
	b->idtr = (struct vmcb_seg){ .limit = e->idt_limit, .base = e->idt_base };
	b->cpl = 0;
	b->cr0 = e->cr0;
	b->cr2 = READ_CR(2);
	b->cr3 = e->cr3;
	b->cr4 = e->cr4;
	asm volatile("mov %%dr6, %0" : "=r"(b->dr6));
	asm volatile("mov %%dr7, %0" : "=r"(b->dr7));
	b->g_pat = rdmsr(MSR_PAT);
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

static void control_init(struct vmcb *b)
{
	b->intercept1 = I1_NMI | I1_SMI | I1_INIT | I1_CPUID | I1_INVLPGA | I1_IOIO | I1_MSR |
			I1_SHUTDOWN;
	b->intercept2 = I2_VMRUN | I2_VMMCALL | I2_VMLOAD | I2_VMSAVE | I2_STGI | I2_CLGI |
			I2_SKINIT;
	b->iopm_pa = plat_virt_to_phys(iopm).v;
	b->msrpm_pa = plat_virt_to_phys(msrpm).v;
	b->asid = GUEST_ASID;
	b->tlb_control = TLB_FLUSH_ALL;
	b->np_enable = 1;
	b->n_cr3 = nested_root();
}

static int svm_cpu_init(struct vcpu *v, const struct entry_state *e)
{
	struct svm_cpu *s;
	u64 efer = rdmsr(MSR_EFER), vm_cr;

	if (!svm_present())
		return -ENODEV;
	s = plat_alloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	vcpu_cpu(v)->vendor = s;
	s->vmcb_pa = plat_virt_to_phys(&s->vmcb).v;
	s->host_pa = plat_virt_to_phys(s->host).v;
	s->nmi_hold_rip = NMI_HOLD_NONE;
	wrmsr(MSR_EFER, efer | EFER_SVME);
	wrmsr(MSR_VM_HSAVE_PA, plat_virt_to_phys(s->hsave).v);
	/* An INIT while GIF is open becomes #SX, if the machine has that. */
	if (!rdmsr_safe(MSR_VM_CR, &vm_cr))
		wrmsr_safe(MSR_VM_CR, vm_cr | VM_CR_R_INIT);
	control_init(&s->vmcb);
	state_take_over(&s->vmcb, v, e);
	s->vmcb.efer = efer | EFER_SVME;
	/* FS, GS, TR, LDTR and the system call MSRs, with what is hidden of them. */
	asm volatile("vmsave %0" :: "a"(s->vmcb_pa) : "memory");
	return 0;
}

static u64 svm_get(struct vcpu *v, enum vcpu_control what)
{
	const struct vmcb *b = vmcb_of(v);

	switch (what) {
	case VCPU_CR0:
		return b->cr0;
	case VCPU_CR2:
		return b->cr2;
	case VCPU_CR3:
		return b->cr3;
	case VCPU_CR4:
		return b->cr4;
	case VCPU_EFER:
		return b->efer & ~EFER_SVME;
	}
	return 0;
}

static void svm_set(struct vcpu *v, enum vcpu_control what, u64 value)
{
	struct vmcb *b = vmcb_of(v);

	switch (what) {
	case VCPU_CR0:
		b->cr0 = value;
		break;
	case VCPU_CR2:
		b->cr2 = value;
		WRITE_CR(2, value); /* Bochs' VMRUN leaves CR2 alone */
		break;
	case VCPU_CR3:
		b->cr3 = value;
		break;
	case VCPU_CR4:
		b->cr4 = value;
		break;
	case VCPU_EFER:
		b->efer = value | EFER_SVME;
		break;
	}
}

static void svm_segment(struct vcpu *v, enum vcpu_seg which, struct vcpu_segment *out)
{
	const struct vmcb *b = vmcb_of(v);
	const struct vmcb_seg *const seg[SEG_COUNT] = {
		[SEG_ES] = &b->es, [SEG_CS] = &b->cs, [SEG_SS] = &b->ss, [SEG_DS] = &b->ds,
		[SEG_FS] = &b->fs, [SEG_GS] = &b->gs, [SEG_LDTR] = &b->ldtr, [SEG_TR] = &b->tr,
	};

	out->selector = seg[which]->selector;
	out->attr = seg[which]->attr;
	out->limit = seg[which]->limit;
	out->base = seg[which]->base;
}

static u32 svm_cpl(struct vcpu *v)
{
	return vmcb_of(v)->cpl;
}

static u64 event(u32 type, u8 vector)
{
	return EVENT_VALID | FIELD_PREP(EVENT_TYPE, (u64)type) | vector;
}

static void svm_inject_exception(struct vcpu *v, u8 vector, bool has_code, u32 code)
{
	struct vmcb *b = vmcb_of(v);

	b->event_inj = event(EVENT_EXCEPTION, vector);
	if (has_code && (b->cr0 & CR0_PE)) /* real mode knows no error codes */
		b->event_inj |= EVENT_CODE_VALID | FIELD_PREP(EVENT_CODE, (u64)code);
}

static void svm_skip(struct vcpu *v, u64 next_rip)
{
	struct vmcb *b = vmcb_of(v);
	bool wide = (b->efer & EFER_LMA) && (b->cs.attr & SEG_ATTR_L);

	v->rip = wide ? next_rip : (u32)next_rip;
	b->int_state &= ~INT_STATE_SHADOW;
	if (v->rflags & RFLAGS_TF) {
		b->dr6 |= DR6_BS;
		svm_inject_exception(v, VEC_DB, false, 0);
	}
}

/* State after INIT [APM 2 §14.1.3, table 14-1]; PAT, MTRRs, TSC, x87 and SSE stay. */
static void svm_reset(struct vcpu *v, u16 cs_selector, u64 cs_base, u64 rip)
{
	const struct vmcb_seg data = { .attr = 0x93, .limit = 0xffff };
	struct vmcb *b = vmcb_of(v);
	u32 r[4];

	cpuid(1, 0, r);
	memset(v->gpr, 0, sizeof(v->gpr));
	v->gpr[GPR_RDX] = r[0];
	v->rip = rip;
	v->rflags = 2;
	b->es = b->ss = b->ds = b->fs = b->gs = data;
	b->cs = (struct vmcb_seg){ .selector = cs_selector, .attr = 0x9b, .limit = 0xffff,
				   .base = cs_base };
	b->gdtr = b->idtr = (struct vmcb_seg){ .limit = 0xffff };
	b->ldtr = (struct vmcb_seg){ .attr = 0x82, .limit = 0xffff };
	b->tr = (struct vmcb_seg){ .attr = 0x8b, .limit = 0xffff };
	b->cpl = 0;
	b->cr0 = (b->cr0 & (BIT64(30) | BIT64(29))) | BIT64(4); /* CD and NW stay, ET */
	b->cr2 = b->cr3 = b->cr4 = 0;
	b->efer = EFER_SVME;
	b->dr6 = 0xffff0ff0;
	b->dr7 = 0x400;
	b->int_state = 0;
	b->event_inj = 0;
	b->exit_int_info = 0;
	b->vintr = 0;
	b->intercept1 &= ~I1_IRET;
	b->tlb_control = TLB_FLUSH_ALL;
	b->intercept_exceptions = 0;
	svm_of(v)->nmi_hold_rip = NMI_HOLD_NONE;
	svm_of(v)->nmi_step = false;
}

static void svm_dump(struct vcpu *v)
{
	const struct vmcb *b = vmcb_of(v);

	log_err("svm: exit=%llx info1=%llx info2=%llx intinfo=%llx inject=%llx",
		(unsigned long long)b->exit_code, (unsigned long long)b->exit_info1,
		(unsigned long long)b->exit_info2, (unsigned long long)b->exit_int_info,
		(unsigned long long)b->event_inj);
	log_err("svm: rip=%llx rsp=%llx rflags=%llx rax=%llx cpl=%u", (unsigned long long)b->rip,
		(unsigned long long)b->rsp, (unsigned long long)b->rflags,
		(unsigned long long)b->rax, b->cpl);
	log_err("svm: cr0=%llx cr2=%llx cr3=%llx cr4=%llx efer=%llx", (unsigned long long)b->cr0,
		(unsigned long long)b->cr2, (unsigned long long)b->cr3,
		(unsigned long long)b->cr4, (unsigned long long)b->efer);
	log_err("svm: cs=%x/%x base=%llx ss=%x/%x tr=%x/%x gdt=%llx/%x idt=%llx/%x", b->cs.selector,
		b->cs.attr, (unsigned long long)b->cs.base, b->ss.selector, b->ss.attr,
		b->tr.selector, b->tr.attr, (unsigned long long)b->gdtr.base, b->gdtr.limit,
		(unsigned long long)b->idtr.base, b->idtr.limit);
	log_err("svm: intercepts=%x,%x asid=%u n_cr3=%llx int_state=%llx", b->intercept1,
		b->intercept2, b->asid, (unsigned long long)b->n_cr3,
		(unsigned long long)b->int_state);
}

/* What the exit interrupted is delivered first. */
static void event_restore(struct vmcb *b)
{
	u64 e = b->exit_int_info;
	u32 type = (u32)FIELD_GET(EVENT_TYPE, e), vector = (u32)(e & EVENT_VECTOR);

	b->event_inj = 0;
	if (!(e & EVENT_VALID))
		return;
	if (type == EVENT_SOFT)
		return;
	if (type == EVENT_EXCEPTION && (vector == 3 || vector == 4))
		return; /* INT3, INTO: as software interrupts */
	if (type == EVENT_EXCEPTION && vector >= 32)
		e = event(EVENT_INTR, (u8)vector);
	else if (type == EVENT_EXCEPTION && vector == 2)
		e = event(EVENT_NMI, 2);
	b->event_inj = e;
}

/*
 * An NMI waits for the IRET at which the guest stands, and nothing else may
 * exit for long after that: have the IRET trap when it is done. Should it
 * fault or be interrupted, the trap comes when it is repeated.
 */
static void nmi_step_start(struct vcpu *v)
{
	struct svm_cpu *s = svm_of(v);

	if (s->nmi_step)
		return;
	s->nmi_step = true;
	s->guest_tf = v->rflags & RFLAGS_TF;
	v->rflags |= RFLAGS_TF;
	s->vmcb.intercept_exceptions |= BIT(VEC_DB);
}

static void debug_exit(struct vcpu *v)
{
	struct svm_cpu *s = svm_of(v);
	struct vmcb *b = &s->vmcb;

	b->intercept_exceptions &= ~(u32)BIT(VEC_DB);
	s->nmi_step = false;
	if (s->guest_tf || (b->dr6 & DR6_BREAKPOINTS))
		svm_inject_exception(v, VEC_DB, false, 0);
	else
		b->dr6 &= ~DR6_BS;
}

static void nmi_deliver(struct vcpu *v)
{
	struct svm_cpu *s = svm_of(v);
	struct vmcb *b = &s->vmcb;

	if (s->nmi_hold_rip != v->rip)
		s->nmi_hold_rip = NMI_HOLD_NONE;
	if (!v->nmi_pending || v->nmi_blocked)
		return;
	if (s->nmi_hold_rip != NMI_HOLD_NONE) {
		nmi_step_start(v);
		return;
	}
	if ((b->event_inj & EVENT_VALID) || (b->int_state & INT_STATE_SHADOW)) {
		/* Something else goes first: come back right after it. */
		cpu_kick(v->index);
		return;
	}
	b->event_inj = event(EVENT_NMI, 2);
	b->intercept1 |= I1_IRET;
	v->nmi_pending = false;
	v->nmi_blocked = true;
}

static void iret_exit(struct vcpu *v)
{
	struct svm_cpu *s = svm_of(v);

	s->vmcb.intercept1 &= ~I1_IRET;
	v->nmi_blocked = false;
	/* The next NMI waits until this IRET is done, else frames would pile up. */
	s->nmi_hold_rip = v->rip;
}

static void tick_apply(struct vcpu *v)
{
	bool want = v->index == 0 && vcpu_tick_wanted();
	struct vmcb *b = vmcb_of(v);

	if (want == v->tick)
		return;
	v->tick = want;
	if (want)
		b->intercept1 |= I1_INTR | I1_HLT;
	else
		b->intercept1 &= ~(I1_INTR | I1_HLT);
}

static void inject_interrupt(struct vcpu *v, s32 vector)
{
	struct vmcb *b = vmcb_of(v);

	if (vector < 0)
		return;
	/*
	 * INTR and HLT do not exit in the middle of a delivery; what may stand
	 * here is the #DB of a single-stepped HLT, and the APIC cannot take
	 * back the interrupt.
	 */
	b->event_inj = event(EVENT_INTR, (u8)vector);
}

struct prefixes {
	u32 bytes;
	u8 seg; /* SEG_DS without an override */
	u8 addr_bytes;
};

/* What stands in front of the opcode at RIP. */
static void read_prefixes(struct vcpu *v, struct prefixes *p)
{
	u32 bits = guest_code_bits(v), n, i;
	u8 bytes[15];

	*p = (struct prefixes){ .seg = SEG_DS, .addr_bytes = (u8)(bits / 8) };
	n = guest_fetch(v, bytes);
	for (i = 0; i < n; i++) {
		u8 b = bytes[i];

		if (b == 0x64 || b == 0x65)
			p->seg = (u8)(SEG_FS + (b - 0x64));
		else if ((b & 0xe7) == 0x26)
			p->seg = bits == 64 ? p->seg : b >> 3 & 3;
		else if (b == 0x67)
			p->addr_bytes = bits == 32 ? 2 : 4;
		else if (b != 0x66 && b != 0xf0 && b != 0xf2 && b != 0xf3 &&
			 (bits != 64 || (b & 0xf0) != 0x40))
			break;
	}
	p->bytes = i < n ? i : 0;
}

/* Of the instructions that exit and are skipped; IOIO brings its own next RIP. */
static u32 insn_bytes(struct vcpu *v)
{
	const struct vmcb *b = vmcb_of(v);
	struct prefixes p;
	u32 opcode;

	switch (b->exit_code) {
	case VMEXIT_HLT:
		opcode = 1;
		break;
	case VMEXIT_CPUID:
	case VMEXIT_MSR:
		opcode = 2;
		break;
	case VMEXIT_VMMCALL:
		opcode = 3;
		break;
	default:
		return 0;
	}
	read_prefixes(v, &p);
	return p.bytes + opcode;
}

static void io_exit(struct vcpu *v)
{
	const struct vmcb *b = vmcb_of(v);
	struct vcpu_io io = {
		.port = (u16)FIELD_GET(IOIO_PORT, b->exit_info1),
		.bytes = (u8)FIELD_GET(IOIO_BYTES, b->exit_info1),
		.in = b->exit_info1 & IOIO_IN,
		.string = b->exit_info1 & IOIO_STRING,
		.rep = b->exit_info1 & IOIO_REP,
		.seg = (u8)FIELD_GET(IOIO_SEG, b->exit_info1),
		.addr_bytes = (u8)(FIELD_GET(IOIO_ADDR, b->exit_info1) * 2),
		.next_rip = b->exit_info2,
	};
	struct prefixes p;

	/* Without decode assists the segment is not reported, nor everywhere the address size. */
	if (io.string && (!io.addr_bytes || io.seg > SEG_GS || (!io.in && !io.seg))) {
		read_prefixes(v, &p);
		io.seg = p.seg;
		io.addr_bytes = io.addr_bytes ? io.addr_bytes : p.addr_bytes;
	}
	vcpu_handle_io(v, &io);
}

static void nested_fault_exit(struct vcpu *v)
{
	const struct vmcb *b = vmcb_of(v);
	u64 info = b->exit_info1;

	if (b->event_inj & EVENT_VALID) {
		log_err("svm: event %llx delivered through a hook",
			(unsigned long long)b->event_inj);
		vcpu_handle_shutdown(v);
	}
	if (vcpu_handle_nested_fault(v, b->exit_info2, info & NPF_WRITE, info & NPF_FETCH,
				     info & NPF_WALK) == VCPU_SHUTDOWN)
		vcpu_handle_shutdown(v);
}

static void init_exit(struct vcpu *v)
{
	struct cpu *c = vcpu_cpu(v);

	c->sx_init = false;
	svm_window();
	if (c->sx_init)
		apic_init_exit(v);
}

static enum exit_reason exit_handle(struct vcpu *v)
{
	struct vmcb *b = vmcb_of(v);

	v->insn_bytes = insn_bytes(v);
	switch (b->exit_code) {
	case VMEXIT_NMI:
		vcpu_handle_nmi(v);
		return EXIT_NMI;
	case VMEXIT_INTR:
		inject_interrupt(v, vcpu_handle_intr(v));
		return EXIT_INTR;
	case VMEXIT_HLT:
		inject_interrupt(v, vcpu_handle_hlt(v));
		return EXIT_HLT;
	case VMEXIT_SMI:
		svm_window(); /* the firmware's handler runs here */
		return EXIT_SMI;
	case VMEXIT_INIT:
		init_exit(v);
		return EXIT_INIT;
	case VMEXIT_CPUID:
		vcpu_handle_cpuid(v);
		return EXIT_CPUID;
	case VMEXIT_IRET:
		iret_exit(v);
		return EXIT_IRET;
	case VMEXIT_DB:
		debug_exit(v);
		return EXIT_IRET;
	case VMEXIT_IOIO:
		io_exit(v);
		return EXIT_IO;
	case VMEXIT_MSR:
		vcpu_handle_msr(v, b->exit_info1 & 1);
		return EXIT_MSR;
	case VMEXIT_NPF:
		nested_fault_exit(v);
		return EXIT_NESTED_FAULT;
	case VMEXIT_VMMCALL:
		vcpu_handle_hypercall(v);
		return EXIT_HYPERCALL;
	case VMEXIT_INVLPGA:
	case VMEXIT_VMRUN:
	case VMEXIT_VMLOAD:
	case VMEXIT_VMSAVE:
	case VMEXIT_STGI:
	case VMEXIT_CLGI:
	case VMEXIT_SKINIT:
		svm_inject_exception(v, VEC_UD, false, 0);
		return EXIT_FORBIDDEN;
	case VMEXIT_SHUTDOWN:
		vcpu_handle_shutdown(v);
	}
	svm_dump(v);
	if ((u32)b->exit_code == VMEXIT_INVALID)
		plat_panic("svm: the processor refused the guest's state on cpu %u", v->index);
	plat_panic("svm: exit %llx was not asked for", (unsigned long long)b->exit_code);
}

/*
 * QEMU's VMRUN delivers an injected external interrupt and keeps its vector in
 * hand: should another of its threads want something of this CPU before the
 * next exit or interrupt, the guest gets the same interrupt once more, whatever
 * RFLAGS.IF says, and deadlocks on what it holds. An NMI that is pending at
 * VMRUN exits between the delivery and the handler's first instruction, and
 * the vector is gone. On a processor that is one exit for each such interrupt,
 * and there are none while the tick is off.
 */
static void injection_seal(struct vcpu *v)
{
	u64 e = vmcb_of(v)->event_inj;

	if (!(e & EVENT_VALID) || FIELD_GET(EVENT_TYPE, e) != EVENT_INTR)
		return;
	/* Not cpu_kick(): the NMI of a kick that another CPU has begun may come later. */
	__atomic_store_n(&vcpu_cpu(v)->kick, 1, __ATOMIC_RELEASE);
	lapic_nmi(v->index);
}

static __attribute__((noreturn)) void svm_run(struct vcpu *v)
{
	struct svm_cpu *s = svm_of(v);
	struct cpu *c = vcpu_cpu(v);
	struct vmcb *b = &s->vmcb;

	cpu_host_cr4();
	asm volatile("clgi");
	asm volatile("vmsave %0" :: "a"(s->host_pa) : "memory");
	__atomic_store_n(&v->launched, true, __ATOMIC_RELEASE);
	for (;;) {
		enum exit_reason why;
		u64 left;

		tick_apply(v);
		nmi_deliver(v);
		injection_seal(v);
		if (vcpu_before_entry(v))
			b->tlb_control = TLB_FLUSH_ALL;
		b->rip = v->rip;
		b->rflags = v->rflags;
		b->rax = v->gpr[GPR_RAX];
		b->rsp = v->gpr[GPR_RSP];
		b->clean = 0;
		svm_enter(s->vmcb_pa, v->gpr, s->host_pa);
		left = rdtsc();
		__atomic_store_n(&v->in_guest, false, __ATOMIC_RELEASE);
		v->rip = b->rip;
		v->rflags = b->rflags;
		v->gpr[GPR_RAX] = b->rax;
		v->gpr[GPR_RSP] = b->rsp;
		b->tlb_control = 0;
		event_restore(b);
		why = exit_handle(v);
		vcpu_after_exit(v);
		cpu_stack_check(c);
		counters_exit(c, why, left);
	}
}

const struct vcpu_ops svm_ops = {
	.name = "svm",
	.nested_shape = svm_nested_shape,
	.window = svm_window,
	.window_intr = svm_window_intr,
	.wait_nmi = svm_wait_nmi,
	.nmi_range = nmi_range,
	.init = svm_init,
	.cpu_init = svm_cpu_init,
	.run = svm_run,
	.get = svm_get,
	.set = svm_set,
	.segment = svm_segment,
	.cpl = svm_cpl,
	.inject_exception = svm_inject_exception,
	.reset = svm_reset,
	.skip = svm_skip,
	.intercept_io = svm_intercept_io,
	.intercept_msr = svm_intercept_msr,
	.dump = svm_dump,
};
