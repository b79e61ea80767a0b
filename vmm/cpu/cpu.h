/*
 * cpu.h - a host CPU: its area, tables, stacks and the instructions C lacks
 *
 * Each CPU's GS base points at its struct cpu. The area is allocated by the
 * boot CPU and never freed.
 */
#ifndef VMM_CPU_CPU_H
#define VMM_CPU_CPU_H

#include "base/types.h"
#include "boot/handoff.h"
#include "vmm/cpu/nmi.h"
#include "vmm/cpu/vcpu.h"

#define CPU_STACK_BYTES (64u * 1024)
#define CPU_IST_BYTES 8192u

#define SEL_CODE 0x08
#define SEL_DATA 0x10
#define SEL_TSS 0x18

struct cpu_tss {
	u32 reserved0;
	u64 rsp[3];
	u64 reserved1;
	u64 ist[7];
	u64 reserved2;
	u16 reserved3;
	u16 iopb;
} __packed;

static_assert(sizeof(struct cpu_tss) == 104, "tss");

struct exit_counter {
	u64 count;
	u64 tsc; /* time spent in the host */
};

struct cpu {
	struct cpu *self; /* at GS:0 */
	u64 stack_top; /* entry.S: offset 8 */
	u32 index; /* (c) */
	u32 apic_id; /* (c) */
	u64 nmi_count; /* (o) taken in the host; written by the handler */
	u64 nmi_done; /* (o) of those, looked at */
	u32 kick; /* (a) a kick is under way to this CPU */
	bool sx_init; /* (o) #SX: an INIT was redirected */
	s32 intr_vector; /* (o) interrupt taken in a window, -1: none */
	struct nmi_echo nmi_echo; /* (o) */
	struct exit_counter exits[EXIT_REASONS]; /* (o) */
	u64 idle_tsc; /* (o) of the present exit: waited for the guest's sake */
	u64 longest_tsc; /* (o) longest stay in the host */
	u32 longest_reason;
	u64 gdt[5];
	struct cpu_tss tss;
	struct vcpu vcpu;
	void *vendor; /* (c) the vendor's control block and friends */
	u8 ist[3][CPU_IST_BYTES] __aligned(16); /* NMI, #DF, #MC */
} __aligned(64);

extern struct cpu *cpu_table[HANDOFF_CPUS_MAX]; /* (c) after boot */
extern u32 cpu_count; /* (c) */

/* A segment as the descriptor table that a CPU came with has it; attr 0: none. */
void cpu_segment_from_table(const struct entry_state *e, u16 selector, struct vcpu_segment *out);

struct cpu *cpu_create(u32 index, u32 apic_id, void *stack_top);
void cpu_tables_load(struct cpu *c);
void cpu_idt_init(void);
void cpu_host_cr4(void);
void cpu_stack_check(const struct cpu *c);

/* Kick @index out of the guest; it looks at its requests. */
void cpu_kick(u32 index);

static inline struct cpu *cpu_this(void)
{
	struct cpu *c;

	asm volatile("mov %%gs:0, %0" : "=r"(c));
	return c;
}

static inline struct cpu *vcpu_cpu(struct vcpu *v)
{
	return container_of(v, struct cpu, vcpu);
}

static inline u64 rdtsc(void)
{
	u32 lo, hi;

	asm volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}

static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;

	asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (u64)hi << 32 | lo;
}

static inline void wrmsr(u32 msr, u64 v)
{
	asm volatile("wrmsr" :: "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

/* The same when the MSR may not exist: 0 or -EFAULT. */
int rdmsr_safe(u32 msr, u64 *v);
int wrmsr_safe(u32 msr, u64 v);
int xsetbv_safe(u32 reg, u64 v);

static inline void cpuid(u32 leaf, u32 sub, u32 out[4])
{
	asm volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
		     : "a"(leaf), "c"(sub));
}

static inline void cpu_pause(void)
{
	asm volatile("pause" ::: "memory");
}

static inline void outb(u16 port, u8 v)
{
	asm volatile("outb %0, %1" :: "a"(v), "Nd"(port));
}

static inline u8 inb(u16 port)
{
	u8 v;

	asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

#define READ_CR(n)                                                             \
	({                                                                     \
		u64 _v;                                                        \
		asm volatile("mov %%cr" #n ", %0" : "=r"(_v));                 \
		_v;                                                            \
	})
#define WRITE_CR(n, v) asm volatile("mov %0, %%cr" #n :: "r"((u64)(v)) : "memory")

/*
 * A short lock. Interrupts and GIF are off in the host, so it is taken with
 * nothing but other CPUs to fear; never from the NMI handler.
 */
struct spinlock {
	u32 taken; /* (a) */
};

static inline bool spin_trylock(struct spinlock *l)
{
	return !__atomic_exchange_n(&l->taken, 1, __ATOMIC_ACQUIRE);
}

static inline void spin_lock(struct spinlock *l)
{
	while (!spin_trylock(l))
		while (__atomic_load_n(&l->taken, __ATOMIC_RELAXED))
			cpu_pause();
}

static inline void spin_unlock(struct spinlock *l)
{
	__atomic_store_n(&l->taken, 0, __ATOMIC_RELEASE);
}

#endif
