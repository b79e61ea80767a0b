/*
 * panic.c - our own invariant is broken: stop every CPU, say why, stay
 *
 * The first CPU to panic wins; it stops the others by NMI, which their host
 * handler or their next exit turns into a halt. Then it writes reason,
 * registers and a backtrace by frame pointers to the log, and shows them on the
 * display (screen.c). Nothing is written to a disk: no other device is touched
 * but the log's serial port. What was logged stays in memory for the next boot
 * (crash.c), twice, in case the rest of what is to be told goes wrong as well.
 *
 * A backtrace names functions when the build has put a symbol table into
 * .vmmsyms (see tools/symbols.sh); otherwise addresses are for
 * tools/symbolize.sh.
 */
#include "vmm/plat/panic.h"

#include <stdarg.h>
#include <string.h>

#include "base/fmt.h"
#include "base/log.h"
#include "base/plat.h"
#include "vmm/cpu/counters.h"
#include "vmm/cpu/cpu.h"
#include "vmm/cpu/env.h"
#include "vmm/cpu/lapic.h"
#include "vmm/plat/console.h"
#include "vmm/plat/crash.h"
#include "vmm/plat/screen.h"

#define BACKTRACE_MAX 24

extern const char vmm_start[], vmm_text_end[], vmm_end[];

/* In .vmmsyms: a count, then these by address, then names. Filled in after the link. */
struct symbol {
	u32 offset; /* from vmm_start */
	u32 name; /* from the table's start */
};

struct symbol_table {
	u32 magic;
	u32 count;
	struct symbol sym[];
};

#define SYMBOLS_MAGIC 0x4d595346u /* "FSYM" */
#define SYMBOLS_BYTES (96u * 1024)

static const union {
	struct symbol_table table;
	u8 room[SYMBOLS_BYTES];
} symbols __attribute__((section(".vmmsyms"), used)) = { .room = { 0 } };

static u64 log_from; /* where our words begin in the log */
static u32 panicking; /* (a) 1 + index of the CPU that owns the panic */

static __attribute__((noreturn)) void halt_forever(void)
{
	for (;;)
		asm volatile("cli; hlt");
}

/** panic_nmi_stop() - has another CPU panicked? Context: NMI */
void panic_nmi_stop(void)
{
	if (__atomic_load_n(&panicking, __ATOMIC_ACQUIRE))
		halt_forever();
}

/**
 * panic_symbol() - the function that holds @address
 * @offset: out, bytes from its start
 */
const char *panic_symbol(u64 address, u64 *offset)
{
	/* Filled in behind the compiler's back. */
	const volatile struct symbol_table *t = &symbols.table;
	u64 off = address - (u64)(uintptr_t)vmm_start;
	u32 lo = 0, hi;

	*offset = 0;
	if (t->magic != SYMBOLS_MAGIC || address < (u64)(uintptr_t)vmm_start ||
	    address >= (u64)(uintptr_t)vmm_text_end || !t->count || off < t->sym[0].offset)
		return "?";
	for (hi = t->count; hi - lo > 1;) {
		u32 mid = (lo + hi) / 2;

		if (t->sym[mid].offset <= off)
			lo = mid;
		else
			hi = mid;
	}
	*offset = off - t->sym[lo].offset;
	return (const char *)symbols.room + t->sym[lo].name;
}

static bool frame_ok(u64 bp)
{
	return IS_ALIGNED(bp, 8ull) && bp >= VMM_VBASE && bp < 0xfffffffffffff000ull;
}

static void backtrace(u64 ip, u64 bp)
{
	u32 i;

	for (i = 0; i < BACKTRACE_MAX && ip; i++) {
		u64 off;
		const char *name = panic_symbol(ip, &off);

		log_err("panic: #%u %016llx %s+0x%llx", i, (unsigned long long)ip, name,
			(unsigned long long)off);
		if (!frame_ok(bp))
			break;
		ip = ((const u64 *)(uintptr_t)bp)[1];
		bp = ((const u64 *)(uintptr_t)bp)[0];
	}
}

static void registers(const struct trap_frame *f)
{
	static const char names[16][4] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					   "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };
	u32 i;

	log_err("panic: vector=%llu code=%llx rip=%016llx rsp=%016llx rflags=%llx cr2=%016llx",
		(unsigned long long)f->vector, (unsigned long long)f->code,
		(unsigned long long)f->rip, (unsigned long long)f->rsp,
		(unsigned long long)f->rflags, (unsigned long long)READ_CR(2));
	for (i = 0; i < 16; i += 4)
		log_err("panic: %s=%016llx %s=%016llx %s=%016llx %s=%016llx", names[i],
			(unsigned long long)f->gpr[i], names[i + 1],
			(unsigned long long)f->gpr[i + 1], names[i + 2],
			(unsigned long long)f->gpr[i + 2], names[i + 3],
			(unsigned long long)f->gpr[i + 3]);
}

/* Those that a call keeps; what the others held is gone by now. */
static void registers_kept(void)
{
	u64 r[7];

	asm volatile("mov %%rbx, 0(%0); mov %%rbp, 8(%0); mov %%rsp, 16(%0); mov %%r12, 24(%0);"
		     "mov %%r13, 32(%0); mov %%r14, 40(%0); mov %%r15, 48(%0)"
		     :: "D"(r) : "memory");
	log_err("panic: rbx=%016llx rbp=%016llx rsp=%016llx cr3=%016llx", (unsigned long long)r[0],
		(unsigned long long)r[1], (unsigned long long)r[2],
		(unsigned long long)READ_CR(3));
	log_err("panic: r12=%016llx r13=%016llx r14=%016llx r15=%016llx", (unsigned long long)r[3],
		(unsigned long long)r[4], (unsigned long long)r[5], (unsigned long long)r[6]);
}

/* What the guest of this CPU was at, if it has one. */
static void guest_state(void)
{
	struct vcpu *v;

	if (!cpu_table[0] || !cpu_env || !vcpu_ops)
		return;
	v = &cpu_this()->vcpu;
	if (!__atomic_load_n(&v->launched, __ATOMIC_ACQUIRE))
		return;
	log_err("panic: cpu %u, its guest:", v->index);
	vcpu_ops->dump(v);
}

/* Become the one that panics, or stop. */
static void claim(void)
{
	u32 none = 0;

	asm volatile("cli");
	if (!__atomic_compare_exchange_n(&panicking, &none, 1, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		halt_forever();
	console_break_lock();
	log_from = ~0ull;
	console_read(&log_from, NULL, 0);
	if (cpu_count > 1)
		lapic_nmi_others();
}

/* A reset may drop what only caches hold. */
static void keep(void)
{
	crash_keep(log_from);
	asm volatile("wbinvd" ::: "memory");
}

static __attribute__((noreturn)) void finish(void)
{
	keep();
	guest_state();
	if (cpu_table[0] && cpu_env)
		counters_log();
	log_err("panic: stopped; nothing more is written to any disk");
	keep();
	screen_panic(log_from);
	halt_forever();
}

/** panic_trap() - an exception in the host */
void panic_trap(struct trap_frame *f)
{
	claim();
	log_err("panic: exception %llu in the VMM", (unsigned long long)f->vector);
	registers(f);
	backtrace(f->rip, f->gpr[GPR_RBP]);
	finish();
}

/** plat_panic() - see base/plat.h */
void plat_panic(const char *fmt, ...)
{
	char text[192];
	va_list ap;

	claim();
	va_start(ap, fmt);
	fmt_vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_err("panic: %s", text);
	registers_kept();
	backtrace((u64)(uintptr_t)__builtin_return_address(0),
		  *(const u64 *)__builtin_frame_address(0));
	finish();
}
