/*
 * cpu.c - host CPUs: areas, descriptor tables, traps
 *
 * In the host interrupts are off, and on AMD GIF is 0, but in the vendor's
 * windows; what else arrives are exceptions of our own making (a bug: panic)
 * and machine checks. NMIs come in a window on AMD and at any time on Intel;
 * they are counted here and looked at by the exit path. In a window comes at
 * most one external interrupt, whose vector is kept to be injected.
 *
 * The handler runs on an IST stack for NMI, #DF and #MC. It takes no lock.
 */
#include "vmm/cpu/cpu.h"

#include <string.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/plat.h"
#include "vmm/cpu/env.h"
#include "vmm/cpu/lapic.h"

#define VEC_DF 8
#define VEC_MC 18
#define VEC_SX 30

#define IST_NMI 1
#define IST_DF 2
#define IST_MC 3

#define MSR_GS_BASE 0xc0000101u

struct idt_gate {
	u16 offset0;
	u16 selector;
	u8 ist;
	u8 type;
	u16 offset1;
	u32 offset2;
	u32 reserved;
};

static_assert(sizeof(struct idt_gate) == 16, "idt gate");

struct table_reg {
	u16 limit;
	u64 base;
} __packed;

const struct cpu_env *cpu_env;
struct cpu *cpu_table[HANDOFF_CPUS_MAX];
u32 cpu_count;

static struct idt_gate idt[256] __aligned(16);

extern const u8 trap_stubs[];
extern const char rdmsr_safe_insn[], wrmsr_safe_insn[], xsetbv_safe_insn[], msr_safe_failed[];

void trap_handle(struct trap_frame *f);

static u32 stub_offset(u32 vec)
{
	return vec * 16;
}

/** cpu_idt_init() - fill the one table that all CPUs load */
void cpu_idt_init(void)
{
	u32 i;

	for (i = 0; i < 256; i++) {
		u64 a = (u64)(uintptr_t)trap_stubs + stub_offset(i);

		idt[i] = (struct idt_gate){
			.offset0 = (u16)a,
			.selector = SEL_CODE,
			.type = 0x8e, /* present, interrupt gate */
			.offset1 = (u16)(a >> 16),
			.offset2 = (u32)(a >> 32),
		};
	}
	idt[VEC_NMI].ist = IST_NMI;
	idt[VEC_DF].ist = IST_DF;
	idt[VEC_MC].ist = IST_MC;
}

/**
 * cpu_create() - the area of one CPU
 * Return: NULL when there is no memory.
 */
struct cpu *cpu_create(u32 index, u32 apic_id, void *stack_top)
{
	struct cpu *c = plat_alloc(sizeof(*c));
	u32 i;

	if (!c)
		return NULL;
	c->self = c;
	c->stack_top = (u64)(uintptr_t)stack_top;
	c->index = index;
	c->apic_id = apic_id;
	c->intr_vector = -1;
	c->vcpu.index = index;
	c->vcpu.dfr = 0xffffffff;
	for (i = 0; i < ARRAY_SIZE(c->ist); i++)
		c->tss.ist[i] = (u64)(uintptr_t)(c->ist[i] + CPU_IST_BYTES);
	c->tss.rsp[0] = c->stack_top;
	c->tss.iopb = sizeof(c->tss);
	cpu_table[index] = c;
	return c;
}

/** cpu_segment_from_table() - base, limit and attributes, for the guest's first state */
void cpu_segment_from_table(const struct entry_state *e, u16 selector, struct vcpu_segment *out)
{
	u64 d;

	*out = (struct vcpu_segment){ .selector = selector };
	if (!(selector & ~3u) || (selector & 4) || (selector | 7u) > e->gdt_limit)
		return;
	d = *(const u64 *)plat_phys_to_virt(HPA(e->gdt_base + (selector & ~7u)));
	out->attr = (u16)((d >> 40 & 0xff) | (d >> 44 & 0xf00));
	out->limit = (u32)((d & 0xffff) | (d >> 32 & 0xf0000));
	if (out->attr & BIT(11)) /* granularity */
		out->limit = out->limit << 12 | 0xfff;
	out->base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000);
}

/** cpu_tables_load() - GDT, TSS, IDT and GS base of this CPU */
void cpu_tables_load(struct cpu *c)
{
	u64 tss = (u64)(uintptr_t)&c->tss;
	struct table_reg gdtr = { sizeof(c->gdt) - 1, (u64)(uintptr_t)c->gdt };
	struct table_reg idtr = { sizeof(idt) - 1, (u64)(uintptr_t)idt };

	c->gdt[SEL_CODE / 8] = 0x00209b0000000000ull;
	c->gdt[SEL_DATA / 8] = 0x00cf93000000ffffull;
	c->gdt[SEL_TSS / 8] = (sizeof(c->tss) - 1) | (tss & 0xffffff) << 16 | 0x89ull << 40 |
			      (tss >> 24 & 0xff) << 56;
	c->gdt[SEL_TSS / 8 + 1] = tss >> 32;

	asm volatile("lgdt %0" :: "m"(gdtr));
	asm volatile("pushq %0\n\t"
		     "leaq 1f(%%rip), %%rax\n\t"
		     "pushq %%rax\n\t"
		     "lretq\n"
		     "1:\tmov %1, %%ds\n\t"
		     "mov %1, %%es\n\t"
		     "mov %1, %%ss\n\t"
		     "mov %2, %%fs\n\t"
		     "mov %2, %%gs"
		     :: "i"(SEL_CODE), "r"(SEL_DATA), "r"(0) : "rax", "memory");
	asm volatile("ltr %w0" :: "r"(SEL_TSS));
	asm volatile("lidt %0" :: "m"(idtr));
	wrmsr(MSR_GS_BASE, (u64)(uintptr_t)c);
}

/**
 * cpu_host_cr4() - what the firmware may have switched on and the host does not want
 *
 * Shadow stacks and PCIDs would be in the way; the guest has its own CR4.
 */
void cpu_host_cr4(void)
{
	WRITE_CR(4, READ_CR(4) & ~(CR4_PCIDE | CR4_CET));
}

/** cpu_stack_check() - the lowest word of a stack is never reached; it was zero at first */
void cpu_stack_check(const struct cpu *c)
{
	const u64 *lowest = (const u64 *)(uintptr_t)(c->stack_top - CPU_STACK_BYTES);

	assert(!*lowest);
}

static void trap_nmi(struct cpu *c, struct trap_frame *f)
{
	const struct vcpu_nmi_range *r;

	cpu_env->nmi_stop();
	c->nmi_count++;
	for (r = vcpu_ops->nmi_range; r->first; r++)
		if (f->rip >= (u64)(uintptr_t)r->first && f->rip < (u64)(uintptr_t)r->end)
			f->rip = (u64)(uintptr_t)r->resume;
}

/**
 * trap_handle() - everything that arrives in the host
 * @f: registers, changed in place for the way back
 *
 * Context: any; a window, an NMI, or a bug.
 */
void trap_handle(struct trap_frame *f)
{
	struct cpu *c = cpu_this();

	if (f->vector == VEC_NMI) {
		trap_nmi(c, f);
		return;
	}
	if (f->vector >= 32) {
		c->intr_vector = (s32)f->vector;
		f->rflags &= ~RFLAGS_IF;
		return;
	}
	if (f->vector == VEC_SX) {
		c->sx_init = true;
		return;
	}
	if (f->vector == VEC_GP && (f->rip == (u64)(uintptr_t)rdmsr_safe_insn ||
				    f->rip == (u64)(uintptr_t)wrmsr_safe_insn ||
				    f->rip == (u64)(uintptr_t)xsetbv_safe_insn)) {
		f->rip = (u64)(uintptr_t)msr_safe_failed;
		return;
	}
	cpu_env->trap(f);
}

/**
 * cpu_kick() - make a CPU leave its guest and look at its requests
 *
 * A second kick while one is under way is not sent: the first has not been
 * looked at yet, and what was requested before this call will be seen then.
 */
void cpu_kick(u32 index)
{
	if (!__atomic_exchange_n(&cpu_table[index]->kick, 1, __ATOMIC_ACQ_REL))
		lapic_nmi(index);
}
