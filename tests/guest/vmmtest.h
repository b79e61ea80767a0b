/*
 * vmmtest.h - the bare-metal test guest's own parts
 */
#ifndef TESTS_GUEST_VMMTEST_H
#define TESTS_GUEST_VMMTEST_H

#include "base/assert.h"
#include "base/types.h"
#include "boot/handoff.h"

/* Selectors of our own descriptor table. */
#define SEL_CODE64 0x08
#define SEL_FLAT 0x10
#define SEL_CODE32 0x18
#define SEL_CODE16 0x20 /* its base and that of SEL_DATA16 is low.base */
#define SEL_DATA16 0x28
#define SEL_USER_FLAT 0x33
#define SEL_USER64 0x3b
#define SEL_USER32 0x43
#define SEL_TSS 0x50

#define VEC_DONE 0x80 /* ends code under test */
#define VEC_TIMER 0x40
#define NO_VECTOR VEC_DONE

#define VEC_DB 1
#define VEC_NMI 2
#define VEC_UD 6
#define VEC_GP 13
#define VEC_PF 14

/* Registers in the processor's numbering; vmmtest_trap.S knows the offsets. */
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };

struct exec {
	u64 gpr[16];
	u64 rflags; /* 128 */
	u64 rip, cs; /* where to start */
	u64 ds, es, ss; /* 152 */
	u64 host_rsp; /* 176, exec_run's */
	/* out: what ended it */
	u64 vector, code, cr2, at_rip, at_cs, at_rsp;
};

static_assert(offsetof(struct exec, rip) == 136 && offsetof(struct exec, host_rsp) == 176,
	      "vmmtest_trap.S");

struct trap_frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	u64 vector, code, rip, cs, rflags, rsp, ss;
};

/* Pages below 1 MiB: reachable in every mode. */
enum low_page {
	LOW_TRIP, /* mode switches */
	LOW_AP, /* where APs start */
	LOW_BEFORE, /* plain neighbours of the hooked page */
	LOW_HOOK,
	LOW_AFTER,
	LOW_LOG, /* of LOW_HOOK */
	LOW_PORT_LOG,
	LOW_PLAIN, /* twin of LOW_HOOK */
	LOW_SPARE,
	LOW_OTHER, /* the other operand of string instructions */
	LOW_CODE,
	LOW_STACK,
	LOW_PAGES,
};

#define PORT_BASE 0x5f00

#define BYTES_2M (2 * MIB)

struct guest {
	bool vmm; /* hypercalls answered, hooks are there */
	bool intel;
	u64 low;
	u64 big; /* 3 * 2 MiB of RAM, aligned, hooked at the edges of the middle one */
	u64 cr3, firmware_cr3;
	u64 region_pa, region_bytes, nested_faults; /* the VMM's */
	u32 cpus, apic_id, ap_id;
	u64 *pt; /* of 2 MiB at WINDOW */
	/* counted by trap() */
	volatile u32 nmis, timers;
	void (*volatile on_nmi)(void);
	volatile u64 interrupted_rip;
};

extern struct guest g;

/* 512 pages of linear addresses whose table entries a test may set. */
#define WINDOW 0x8000000000ull
#define PTE_P BIT64(0)
#define PTE_W BIT64(1)
#define PTE_U BIT64(2)

static inline u64 low_at(enum low_page p)
{
	return g.low + (u64)p * PAGE_BYTES;
}

static inline struct handoff_test_log *hook_log(void)
{
	return (void *)low_at(LOW_LOG);
}

static inline struct handoff_test_log *port_log(void)
{
	return (void *)low_at(LOW_PORT_LOG);
}

/* vmmtest.c */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void check(bool ok, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
u64 test_call(u32 op, u64 base, u64 log);
s64 hypercall(u32 nr, u64 arg);
void spin(u32 loops);

/* vmmtest_exec.c */
void exec_init(struct exec *x);
void exec_code(struct exec *x, const void *code, u32 bytes, u32 mode);
void exec_run(struct exec *x);
void tables_own(void);
void tables_firmware(void);
void cpu_tables_init(void);
void map_window(u32 page, u64 pa, u64 flags);
static inline u64 window(u32 page)
{
	return WINDOW + (u64)page * PAGE_BYTES;
}

/* vmmtest_mmio.c */
void test_insns(void);
void test_edges(void);
void test_region(void);
void test_pages(void);
/* vmmtest_cpu.c */
void facts(void);
void test_hypercalls(void);
void test_cpuid(void);
void test_msr(void);
void test_processor(void);
void test_faults(void);
void test_forbidden(bool boot);
void test_ports(void);
/* vmmtest_irq.c */
void test_nmi(void);
void test_timer(void);
void test_aps(void);
void test_modes(void);

#define EXEC_BYTES(x, ...)                                                     \
	exec_code((x), (const u8[]){ __VA_ARGS__ }, sizeof((const u8[]){ __VA_ARGS__ }), 64)

static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (u64)hi << 32 | lo;
}

static inline void wrmsr(u32 msr, u64 v)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

static inline void cpuid(u32 leaf, u32 sub, u32 r[4])
{
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(leaf), "c"(sub));
}

static inline void outb(u16 port, u8 v)
{
	__asm__ volatile("outb %0, %w1" : : "a"(v), "Nd"(port));
}

static inline u8 inb(u16 port)
{
	u8 v;

	__asm__ volatile("inb %w1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

/* One access of exactly this size. */
static inline u32 read32(u64 a)
{
	u32 v;

	__asm__ volatile("movl (%1), %0" : "=r"(v) : "r"(a) : "memory");
	return v;
}

static inline void write32(u64 a, u32 v)
{
	__asm__ volatile("movl %0, (%1)" : : "r"(v), "r"(a) : "memory");
}

static inline u64 read64(u64 a)
{
	u64 v;

	__asm__ volatile("movq (%1), %0" : "=r"(v) : "r"(a) : "memory");
	return v;
}

static inline void write64(u64 a, u64 v)
{
	__asm__ volatile("movq %0, (%1)" : : "r"(v), "r"(a) : "memory");
}

#endif
