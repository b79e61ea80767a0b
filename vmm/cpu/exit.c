/*
 * exit.c - exits in neutral terms: what each one means for the guest
 *
 * Called by the vendor's exit switch on the CPU that exited, with the
 * registers in struct vcpu. Nothing here waits, but for short locks; two
 * exceptions are places where the guest itself would wait: wait-for-SIPI
 * (apic.c) and HLT while the tick is on.
 */
#include "vmm/cpu/exit.h"

#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "vmm/cpu/apic.h"
#include "vmm/cpu/counters.h"
#include "vmm/cpu/cpu.h"
#include "vmm/cpu/decode.h"
#include "vmm/cpu/env.h"
#include "vmm/cpu/guest.h"
#include "vmm/cpu/lapic_regs.h"
#include "vmm/cpu/mmio.h"
#include "vmm/cpu/nested.h"

#define MSR_EFER 0xc0000080u
#define MSR_VM_CR 0xc0010114u
#define MSR_VM_HSAVE_PA 0xc0010117u
#define MSR_FEATURE_CONTROL 0x3au
#define  FEATURE_CONTROL_LOCK BIT64(0)
#define MSR_PERF_GLOBAL_STATUS 0x38eu
#define MSR_AMD_PERF_GLOBAL_STATUS 0xc0000300u
#define MSR_VMX_FIRST 0x480u
#define MSR_VMX_LAST 0x491u

#define MAGIC_MASK 0xffffffffffff0000ull
#define STRING_MAX 64 /* elements of a REP INS/OUTS per exit */

const struct vcpu_ops *vcpu_ops;

static bool tick_wanted; /* (a) */

/* ---------------------------------------------------------------- CPUID, MSR */

/** vcpu_handle_cpuid() - the hardware's answer, without the virtualization we use */
void vcpu_handle_cpuid(struct vcpu *v)
{
	u32 leaf = (u32)v->gpr[GPR_RAX], r[4];
	u64 cr4 = vcpu_ops->get(v, VCPU_CR4);

	cpuid(leaf, (u32)v->gpr[GPR_RCX], r);
	switch (leaf) {
	case 1: /* OSXSAVE mirrors the guest's CR4 */
		r[2] &= ~(BIT(5) | BIT(6)); /* VMX, SMX */
		r[2] = (r[2] & ~BIT(27)) | (cr4 & CR4_OSXSAVE ? BIT(27) : 0);
		break;
	case 7: /* OSPKE */
		if (!v->gpr[GPR_RCX])
			r[2] = (r[2] & ~BIT(4)) | (cr4 & CR4_PKE ? BIT(4) : 0);
		break;
	case 0x80000001:
		r[2] &= ~BIT(2); /* SVM */
		break;
	case 0x8000000a:
		memset(r, 0, sizeof(r));
		break;
	}
	v->gpr[GPR_RAX] = r[0];
	v->gpr[GPR_RBX] = r[1];
	v->gpr[GPR_RCX] = r[2];
	v->gpr[GPR_RDX] = r[3];
	vcpu_ops->skip(v, v->rip + v->insn_bytes);
}

/* The bits of EFER that this machine has [APM 2 §3.1.7]. */
static u64 efer_allowed(void)
{
	u64 ok = EFER_SCE | EFER_LME | EFER_LMA;
	u32 r[4], max;

	cpuid(0x80000000, 0, r);
	max = r[0];
	cpuid(0x80000001, 0, r);
	ok |= r[3] & BIT(20) ? EFER_NXE : 0;
	ok |= r[3] & BIT(25) ? BIT64(14) : 0; /* FFXSR */
	ok |= r[2] & BIT(17) ? BIT64(15) : 0; /* TCE */
	if (max >= 0x80000008) {
		cpuid(0x80000008, 0, r);
		ok |= r[1] & BIT(20) ? 0 : BIT64(13); /* LMSLE */
		ok |= r[1] & BIT(8) ? BIT64(17) : 0; /* MCOMMIT */
		ok |= r[1] & BIT(13) ? BIT64(18) : 0; /* INTWB */
	}
	if (max >= 0x80000021) {
		cpuid(0x80000021, 0, r);
		ok |= r[0] & BIT(7) ? BIT64(20) : 0; /* UAIE */
		ok |= r[0] & BIT(8) ? BIT64(21) : 0; /* automatic IBRS */
	}
	return ok;
}

static int efer_write(struct vcpu *v, u64 value)
{
	u64 old = vcpu_ops->get(v, VCPU_EFER);

	if (value & ~efer_allowed())
		return -EFAULT;
	if (((value ^ old) & EFER_LME) && (vcpu_ops->get(v, VCPU_CR0) & CR0_PG))
		return -EFAULT;
	vcpu_ops->set(v, VCPU_EFER, (value & ~EFER_LMA) | (old & EFER_LMA));
	return 0;
}

static int msr_read(struct vcpu *v, u32 msr, u64 *value)
{
	if (msr >= MSR_VMX_FIRST && msr <= MSR_VMX_LAST)
		return -EFAULT;
	switch (msr) {
	case MSR_FEATURE_CONTROL: /* as firmware that locks VMX away leaves it */
		*value = FEATURE_CONTROL_LOCK;
		return 0;
	case MSR_EFER:
		*value = vcpu_ops->get(v, VCPU_EFER);
		return 0;
	case MSR_VM_CR:
	case MSR_VM_HSAVE_PA:
		return -EFAULT;
	}
	return rdmsr_safe(msr, value);
}

static int msr_write(struct vcpu *v, u32 msr, u64 value)
{
	if (msr >= MSR_VMX_FIRST && msr <= MSR_VMX_LAST)
		return -EFAULT;
	switch (msr) {
	case MSR_EFER:
		return efer_write(v, value);
	case MSR_FEATURE_CONTROL: /* locked */
	case MSR_VM_CR:
	case MSR_VM_HSAVE_PA:
		return -EFAULT;
	case MSR_APIC_BASE:
		return apic_base_write(v, value);
	}
	if (apic_msr_write(v, msr, value))
		return 0;
	return wrmsr_safe(msr, value);
}

/** vcpu_handle_msr() - RDMSR and WRMSR of what the bitmap names, or of what it cannot name */
void vcpu_handle_msr(struct vcpu *v, bool write)
{
	u32 msr = (u32)v->gpr[GPR_RCX];
	u64 value = 0;
	int err;

	if (write)
		err = msr_write(v, msr, v->gpr[GPR_RDX] << 32 | (u32)v->gpr[GPR_RAX]);
	else
		err = msr_read(v, msr, &value);
	if (err) {
		vcpu_ops->inject_exception(v, VEC_GP, true, 0);
		return;
	}
	if (!write) {
		v->gpr[GPR_RAX] = (u32)value;
		v->gpr[GPR_RDX] = value >> 32;
	}
	vcpu_ops->skip(v, v->rip + v->insn_bytes);
}

/* ---------------------------------------------------------------- I/O ports */

static u64 mask_of(u32 bytes)
{
	return bytes == 8 ? ~0ull : (1ull << 8 * bytes) - 1;
}

static void merge(u64 *reg, u64 value, u32 bytes)
{
	u64 mask = mask_of(bytes);

	*reg = bytes == 4 ? (u32)value : (*reg & ~mask) | (value & mask);
}

/* One element of INS or OUTS; -EFAULT when a #PF was queued. */
static int io_element(struct vcpu *v, const struct vcpu_io *io)
{
	u32 pointer = io->in ? GPR_RDI : GPR_RSI;
	u64 base = guest_segment_base(v, io->in ? SEG_ES : (enum vcpu_seg)io->seg);
	u64 at = base + (v->gpr[pointer] & mask_of(io->addr_bytes)), value = 0;
	struct pio_access a = { .port = io->port, .bytes = io->bytes, .write = !io->in };
	u64 step = v->rflags & BIT64(10) ? -(u64)io->bytes : io->bytes; /* DF */

	if (!io->in) {
		if (guest_operand_read(v, at, io->bytes, &value))
			return -EFAULT;
		a.value = (u32)value;
	}
	pio_dispatch(&a);
	if (io->in && guest_operand_write(v, at, io->bytes, a.value))
		return -EFAULT;
	merge(&v->gpr[pointer], v->gpr[pointer] + step, io->addr_bytes);
	return 0;
}

static void io_string(struct vcpu *v, const struct vcpu_io *io)
{
	u32 i;

	for (i = 0; i < STRING_MAX; i++) {
		if (io->rep && !(v->gpr[GPR_RCX] & mask_of(io->addr_bytes)))
			break;
		if (io_element(v, io))
			return;
		if (!io->rep)
			break;
		merge(&v->gpr[GPR_RCX], v->gpr[GPR_RCX] - 1, io->addr_bytes);
	}
	/* What is left of a long REP exits again. */
	if (!io->rep || !(v->gpr[GPR_RCX] & mask_of(io->addr_bytes)))
		vcpu_ops->skip(v, io->next_rip);
}

/** vcpu_handle_io() - IN, OUT, INS, OUTS of a hooked port */
void vcpu_handle_io(struct vcpu *v, const struct vcpu_io *io)
{
	struct pio_access a = { .port = io->port, .bytes = io->bytes, .write = !io->in };

	if (io->string) {
		io_string(v, io);
		return;
	}
	a.value = (u32)(v->gpr[GPR_RAX] & mask_of(io->bytes));
	pio_dispatch(&a);
	if (io->in)
		merge(&v->gpr[GPR_RAX], a.value, io->bytes);
	vcpu_ops->skip(v, io->next_rip);
}

/* ---------------------------------------------------------------- nested faults */

static int fault_read(void *ctx, u64 gpa, u32 bytes, u64 *value)
{
	struct mmio_access a = { .bytes = bytes };

	(void)ctx;
	*value = mmio_dispatch(gpa, &a) ? a.value : ~0ull;
	return 0;
}

static int fault_write(void *ctx, u64 gpa, u32 bytes, u64 value)
{
	struct mmio_access a = { .bytes = bytes, .write = true, .value = value };

	(void)ctx;
	mmio_dispatch(gpa, &a);
	return 0;
}

static int other_read(void *ctx, enum decode_seg seg, u64 off, u32 bytes, u64 *value)
{
	return guest_operand_read(ctx, guest_segment_base(ctx, (enum vcpu_seg)seg) + off, bytes,
				  value);
}

static int other_write(void *ctx, enum decode_seg seg, u64 off, u32 bytes, u64 value)
{
	return guest_operand_write(ctx, guest_segment_base(ctx, (enum vcpu_seg)seg) + off, bytes,
				   value);
}

static const struct decode_ops fault_ops = {
	.mmio_read = fault_read,
	.mmio_write = fault_write,
	.mem_read = other_read,
	.mem_write = other_write,
};

static enum decode_mode mode_of(struct vcpu *v)
{
	switch (guest_code_bits(v)) {
	case 64:
		return DECODE_64;
	case 32:
		return DECODE_32;
	}
	return DECODE_16;
}

static void undecodable(struct vcpu *v, u64 gpa, const u8 *b, u32 n)
{
	log_limited(LOG_ERR, "exit: cannot emulate rip=%llx gpa=%llx bytes=%u: "
		    "%02x %02x %02x %02x %02x %02x %02x %02x",
		    (unsigned long long)v->rip, (unsigned long long)gpa, n, b[0], b[1], b[2], b[3],
		    b[4], b[5], b[6], b[7]);
	vcpu_ops->inject_exception(v, VEC_UD, false, 0);
}

/* An operand that begins on the page before faults at the start of the second one. */
static bool begins_at(struct vcpu *v, const struct decode_insn *insn, const struct decode_cpu *d)
{
	enum decode_seg seg;
	u64 off = decode_offset(insn, d, &seg);
	u64 linear = guest_segment_base(v, (enum vcpu_seg)seg) + off;

	return !((linear ^ d->gpa) & (PAGE_BYTES - 1));
}

/**
 * vcpu_handle_nested_fault() - an access that the nested map does not allow
 * @gpa:   to the byte
 * @write: as the hardware reports it
 * @fetch: by an instruction fetch: there is no code behind a hook
 * @walk:  while walking the guest's page tables: nor tables
 */
enum vcpu_verdict vcpu_handle_nested_fault(struct vcpu *v, u64 gpa, bool write, bool fetch,
					   bool walk)
{
	struct decode_cpu d = { .gpa = gpa, .write = write, .ctx = v };
	struct decode_insn insn;
	u8 bytes[DECODE_BYTES_MAX] = { 0 };
	u32 n;
	int err;

	/*
	 * Another CPU may have unhooked the page since the fault. To carry the
	 * access out all the same would find no region, and lose it: an EOI, say.
	 */
	if (nested_allows(gpa, write))
		return VCPU_AGAIN;
	if (fetch || walk) {
		log_limited(LOG_ERR, "exit: guest %s at gpa=%llx rip=%llx",
			    fetch ? "runs" : "has page tables", (unsigned long long)gpa,
			    (unsigned long long)v->rip);
		return VCPU_SHUTDOWN;
	}
	n = guest_fetch(v, bytes);
	if (decode_insn(&insn, bytes, n, mode_of(v))) {
		undecodable(v, gpa, bytes, n);
		return VCPU_AGAIN;
	}
	memcpy(d.gpr, v->gpr, sizeof(d.gpr));
	d.rip = v->rip;
	d.rflags = v->rflags;
	err = begins_at(v, &insn, &d) ? decode_execute(&insn, &d, &fault_ops) : -EOPNOTSUPP;
	if (err == -EOPNOTSUPP) {
		undecodable(v, gpa, bytes, n);
		return VCPU_AGAIN;
	}
	memcpy(v->gpr, d.gpr, sizeof(d.gpr));
	v->rflags = d.rflags;
	if (err)
		return VCPU_AGAIN; /* the callback has queued the fault */
	vcpu_ops->skip(v, d.rip);
	return VCPU_NEXT;
}

/* ---------------------------------------------------------------- hypercalls */

/** vcpu_handle_hypercall() - the loader speaks; after it has left nobody may */
void vcpu_handle_hypercall(struct vcpu *v)
{
	u64 call = v->gpr[GPR_RAX];
	u32 nr = (u32)(call & ~MAGIC_MASK);

	if (!cpu_env->boot_phase() || vcpu_ops->cpl(v) || (call & MAGIC_MASK) != HC_MAGIC) {
		vcpu_ops->inject_exception(v, VEC_UD, false, 0);
		return;
	}
	v->gpr[GPR_RAX] = (u64)cpu_env->hypercall(nr, v->gpr[GPR_RBX]);
	vcpu_ops->skip(v, v->rip + v->insn_bytes);
}

/* ---------------------------------------------------------------- NMI, INTR, HLT */

/*
 * A counter of the guest's that overflows may ring with an NMI, and that must
 * not be taken for an echo: Intel's local APIC masks the entry until the
 * handler has run. [SDM 3 §20.2.4, §11.5.1; APM 2 §13.2.2]
 */
static bool counter_overflow(void)
{
	u32 r[4], msr = 0;
	u64 status;

	cpuid(0, 0, r);
	if (r[0] >= 0xa) {
		cpuid(0xa, 0, r);
		msr = (r[0] & 0xff) >= 2 ? MSR_PERF_GLOBAL_STATUS : 0;
	}
	cpuid(0x80000000, 0, r);
	if (!msr && r[0] >= 0x80000022) {
		cpuid(0x80000022, 0, r);
		msr = r[0] & BIT(0) ? MSR_AMD_PERF_GLOBAL_STATUS : 0;
	}
	return msr && !rdmsr_safe(msr, &status) && status;
}

/** vcpu_handle_nmi() - take the pending NMI in the host, find out whose it was */
void vcpu_handle_nmi(struct vcpu *v)
{
	struct cpu *c = vcpu_cpu(v);
	bool kicked, ours, sent;

	vcpu_ops->window();
	if (c->nmi_count == c->nmi_done)
		return;
	c->nmi_done = c->nmi_count;
	kicked = __atomic_exchange_n(&c->kick, 0, __ATOMIC_ACQ_REL);
	sent = __atomic_exchange_n(&v->ap_nmi, 0, __ATOMIC_ACQ_REL);
	ours = cpu_env->nmi();
	/* One that was noted may still be on its way: then what comes is an echo as well. */
	if (nmi_is_the_guests(&c->nmi_echo, kicked || ours || sent, plat_time_ns()) || sent ||
	    counter_overflow())
		v->nmi_pending = true;
}

/**
 * vcpu_after_exit() - what other CPUs and devices wanted while the exit was handled
 *
 * A window opened for an SMI or an interrupt may have taken an NMI as well: a
 * kick that nobody looked at would be the last one this CPU gets.
 */
void vcpu_after_exit(struct vcpu *v)
{
	struct cpu *c = vcpu_cpu(v);

	if (c->nmi_count != c->nmi_done)
		vcpu_handle_nmi(v);
	apic_serve(v);
}

/** vcpu_tick_set() - see vcpu.h */
void vcpu_tick_set(bool on)
{
	bool was = __atomic_exchange_n(&tick_wanted, on, __ATOMIC_ACQ_REL);

	/* The tick CPU looks before it enters; when it is in the guest it must come out. */
	if (on && !was && cpu_this()->index != 0 &&
	    __atomic_load_n(&cpu_table[0]->vcpu.launched, __ATOMIC_ACQUIRE))
		cpu_kick(0);
}

bool vcpu_tick_wanted(void)
{
	return __atomic_load_n(&tick_wanted, __ATOMIC_ACQUIRE);
}

/**
 * vcpu_handle_intr() - an external interrupt, intercepted for the tick
 * Return: the vector to inject, or -1 when it has gone away.
 */
s32 vcpu_handle_intr(struct vcpu *v)
{
	struct cpu *c = vcpu_cpu(v);
	s32 vector;

	c->intr_vector = -1;
	vcpu_ops->window_intr();
	vector = c->intr_vector;
	cpu_env->tick(false);
	return vector;
}

/**
 * vcpu_handle_hlt() - the guest idles while the tick is on: work, and look out for it
 *
 * Ends with an interrupt (returned, to be injected), an NMI or the tick's end;
 * the guest goes on after the HLT in each case. Waking without an interrupt is
 * something every idle loop copes with, and re-executing the HLT is not safe
 * where the shadow of a preceding STI is lost.
 */
s32 vcpu_handle_hlt(struct vcpu *v)
{
	struct cpu *c = vcpu_cpu(v);
	u64 start = rdtsc();

	c->intr_vector = -1;
	while (vcpu_tick_wanted() && c->intr_vector < 0 && c->nmi_count == c->nmi_done) {
		cpu_env->tick(true);
		cpu_pause();
		if (v->rflags & RFLAGS_IF)
			vcpu_ops->window_intr();
		else
			vcpu_ops->window();
	}
	vcpu_handle_nmi(v);
	counters_idle(c, rdtsc() - start);
	vcpu_ops->skip(v, v->rip + v->insn_bytes);
	return c->intr_vector;
}

/** vcpu_handle_tick() - the tick's timer ran out; Context: CPU 0 */
void vcpu_handle_tick(bool idle)
{
	cpu_env->tick(idle);
}

/** vcpu_handle_shutdown() - triple fault: the machine restarts, as it would */
void vcpu_handle_shutdown(struct vcpu *v)
{
	log_err("exit: cpu %u: the guest has shut down rip=%llx; resetting the machine", v->index,
		(unsigned long long)v->rip);
	vcpu_ops->dump(v);
	cpu_env->machine_reset();
}

/**
 * vcpu_before_entry() - last thing before the guest
 *
 * Pairs with shootdown() in nested.c.
 * Return: true when this CPU's nested translations must be flushed.
 */
bool vcpu_before_entry(struct vcpu *v)
{
	u64 gen;

	__atomic_store_n(&v->in_guest, true, __ATOMIC_SEQ_CST);
	gen = nested_generation();
	if (v->npt_gen == gen)
		return false;
	__atomic_store_n(&v->npt_gen, gen, __ATOMIC_SEQ_CST);
	return true;
}
