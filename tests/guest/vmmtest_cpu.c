/*
 * vmmtest_cpu.c - hypercalls, CPUID, MSRs, injected exceptions, I/O ports
 */
#include "base/err.h"
#include "base/fmt.h"
#include "tests/guest/vmmtest.h"

#define MSR_APIC_BASE 0x1bu
#define MSR_FEATURE_CONTROL 0x3au
#define MSR_VMX_BASIC 0x480u
#define MSR_MTRRCAP 0xfeu
#define MSR_MTRR_BASE0 0x200u
#define MSR_PAT 0x277u
#define MSR_EFER 0xc0000080u
#define MSR_FS_BASE 0xc0000100u
#define MSR_VM_CR 0xc0010114u
#define MSR_VM_HSAVE_PA 0xc0010117u
#define EFER_SVME BIT64(12)

#define TF BIT64(8)
#define IF BIT64(9)
#define DF BIT64(10)

/* ---------------------------------------------------------------- one instruction */

static void run(struct exec *x, const u8 *code, u32 bytes)
{
	exec_code(x, code, bytes, 64);
}

#define RUN(x, ...) run((x), (const u8[]){ __VA_ARGS__ }, sizeof((const u8[]){ __VA_ARGS__ }))

static bool msr_read(u32 msr, u64 *v)
{
	struct exec x;

	exec_init(&x);
	x.gpr[RCX] = msr;
	RUN(&x, 0x0f, 0x32);
	*v = x.gpr[RDX] << 32 | (u32)x.gpr[RAX];
	return x.vector == NO_VECTOR;
}

/* The vector that a WRMSR ends with. */
static u64 msr_write(u32 msr, u64 v)
{
	struct exec x;

	exec_init(&x);
	x.gpr[RCX] = msr;
	x.gpr[RAX] = (u32)v;
	x.gpr[RDX] = v >> 32;
	RUN(&x, 0x0f, 0x30);
	return x.vector;
}

/* ---------------------------------------------------------------- facts */

static void fact_cpuid(u32 leaf, u32 sub)
{
	u32 r[4];

	cpuid(leaf, sub, r);
	say("fact cpuid %08x.%x %08x %08x %08x %08x\n", leaf, sub, r[0], r[1], r[2], r[3]);
}

/** facts() - what a bare run must show as well; tests/e2e/test_vmm.py compares */
void facts(void)
{
	static const u32 msrs[] = {
		MSR_APIC_BASE, MSR_FEATURE_CONTROL, 0x8b, 0xfe, 0x174, 0x175, 0x176, 0x179, 0x17a,
		0x1a0, 0x1d9, 0x200, 0x201, 0x202, 0x203, 0x250, 0x258, 0x268, MSR_PAT, 0x2ff,
		MSR_VMX_BASIC, 0x481, 0x48b, 0x48c, 0x491, MSR_EFER, 0xc0000081, 0xc0000082,
		0xc0000083, 0xc0000084, 0xc0000103, 0xc0010015, 0xc001001f, MSR_VM_CR, 0xc0010115,
		MSR_VM_HSAVE_PA, 0xc0010118, 0x4b4d564d,
	};
	u32 r[4], max;
	u64 v;

	cpuid(0, 0, r);
	max = r[0];
	for (u32 leaf = 0; leaf <= max; leaf++) {
		u32 subs = leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd ? 4 : 1;

		for (u32 sub = 0; sub < subs; sub++)
			fact_cpuid(leaf, sub);
	}
	for (u32 leaf = 0x40000000; leaf < 0x40000003; leaf++)
		fact_cpuid(leaf, 0);
	cpuid(0x80000000, 0, r);
	max = r[0];
	for (u32 leaf = 0x80000000; leaf <= max && leaf < 0x80000040; leaf++)
		fact_cpuid(leaf, 0);
	fact_cpuid(max + 1, 0);
	for (u32 i = 0; i < ARRAY_SIZE(msrs); i++) {
		if (msr_read(msrs[i], &v))
			say("fact msr %08x %016lx\n", msrs[i], v);
		else
			say("fact msr %08x #GP\n", msrs[i]);
	}
	__asm__ volatile("mov %%cr0, %0" : "=r"(v));
	say("fact cr0 %lx\n", v);
	__asm__ volatile("mov %%cr4, %0" : "=r"(v));
	say("fact cr4 %lx\n", v);
}

/* ---------------------------------------------------------------- hypercalls */

static void call_at(struct exec *x, u64 rax, u64 rbx, bool user)
{
	exec_init(x);
	x->gpr[RAX] = rax;
	x->gpr[RBX] = rbx;
	if (user) {
		x->cs = SEL_USER64;
		x->ds = x->es = x->ss = SEL_USER_FLAT;
	}
	if (g.intel)
		RUN(x, 0x0f, 0x01, 0xc1);
	else
		RUN(x, 0x0f, 0x01, 0xd9);
}

static bool is_ud(const struct exec *x)
{
	return x->vector == VEC_UD && x->at_rip == x->rip;
}

static void call_refused(const char *name, u64 rax, u64 rbx, s64 want)
{
	struct exec x;

	call_at(&x, rax, rbx, false);
	check(x.vector == NO_VECTOR && (s64)x.gpr[RAX] == want && x.at_rip == x.rip + 5, name,
	      "vec=%lx rax=%lx", x.vector, x.gpr[RAX]);
}

/** test_hypercalls() - in the boot phase: who may, and what is refused */
void test_hypercalls(void)
{
	struct handoff_status *st = (void *)low_at(LOW_OTHER);
	struct exec x;

	call_refused("call: status", HC_MAGIC | HC_STATUS, (u64)st, 0);
	check(st->vmm_bytes == g.region_bytes, "call: status has the VMM's size", "%lx",
	      st->vmm_bytes);
	call_refused("call: unknown number", HC_MAGIC | 0xfff, 0, -ENOSYS);
	call_refused("call: start in null mode", HC_MAGIC | HC_START, 0, -EOPNOTSUPP);
	call_refused("call: status into the VMM", HC_MAGIC | HC_STATUS, g.region_pa + 4096,
		     -EFAULT);
	call_refused("call: log into the VMM", HC_MAGIC | HC_LOG, g.region_pa + 4096, -EFAULT);
	call_refused("call: status over the VMM's edge", HC_MAGIC | HC_STATUS, g.region_pa - 8,
		     -EFAULT);
	call_refused("call: status beyond memory", HC_MAGIC | HC_STATUS, ~0ull - 100, -EFAULT);
	call_at(&x, HC_STATUS, (u64)st, false);
	check(is_ud(&x), "call: without the magic is #UD", "vec=%lx", x.vector);
	call_at(&x, HC_MAGIC | HC_STATUS | BIT64(63), (u64)st, false);
	check(is_ud(&x), "call: upper half of the number counts", "vec=%lx", x.vector);
	call_at(&x, HC_MAGIC | HC_STATUS, (u64)st, true);
	check(is_ud(&x), "call: from CPL 3 is #UD", "vec=%lx", x.vector);
	test_forbidden(true);
}

/** test_forbidden() - instructions of a virtualization that is not there */
void test_forbidden(bool boot)
{
	static const struct {
		const char *name;
		u8 bytes, code[5];
	} insn[] = {
		{ "vmrun", 3, { 0x0f, 0x01, 0xd8 } }, { "vmload", 3, { 0x0f, 0x01, 0xda } },
		{ "vmsave", 3, { 0x0f, 0x01, 0xdb } }, { "stgi", 3, { 0x0f, 0x01, 0xdc } },
		{ "clgi", 3, { 0x0f, 0x01, 0xdd } }, { "skinit", 3, { 0x0f, 0x01, 0xde } },
		{ "invlpga", 3, { 0x0f, 0x01, 0xdf } }, { "vmlaunch", 3, { 0x0f, 0x01, 0xc2 } },
		{ "vmresume", 3, { 0x0f, 0x01, 0xc3 } }, { "vmxoff", 3, { 0x0f, 0x01, 0xc4 } },
		{ "vmfunc", 3, { 0x0f, 0x01, 0xd4 } }, { "vmxon", 4, { 0xf3, 0x0f, 0xc7, 0x37 } },
		{ "vmclear", 4, { 0x66, 0x0f, 0xc7, 0x37 } },
		{ "vmptrld", 3, { 0x0f, 0xc7, 0x37 } },
		{ "vmptrst", 3, { 0x0f, 0xc7, 0x3f } }, { "vmread", 3, { 0x0f, 0x78, 0xc8 } },
		{ "vmwrite", 3, { 0x0f, 0x79, 0xc8 } },
		{ "invept", 5, { 0x66, 0x0f, 0x38, 0x80, 0x07 } },
		{ "invvpid", 5, { 0x66, 0x0f, 0x38, 0x81, 0x07 } },
		{ "getsec", 2, { 0x0f, 0x37 } },
	};
	struct exec x;
	char name[48];
	bool ok = true;

	for (u32 i = 0; i < ARRAY_SIZE(insn); i++) {
		exec_init(&x);
		x.gpr[RDI] = x.gpr[RAX] = low_at(LOW_OTHER);
		run(&x, insn[i].code, insn[i].bytes);
		ok = is_ud(&x);
		if (boot && ok)
			continue;
		fmt_snprintf(name, sizeof(name), "ud: %s%s", insn[i].name,
			     boot ? " in boot phase" : "");
		check(ok, name, "vec=%lx code=%lx", x.vector, x.code);
	}
	if (boot) {
		check(ok, "ud: virtualization in the boot phase", "see above");
		return;
	}
	call_at(&x, HC_MAGIC | HC_STATUS, low_at(LOW_OTHER), false);
	check(is_ud(&x), "call: after the boot phase is #UD", "vec=%lx", x.vector);
	call_at(&x, HC_MAGIC | HC_STATUS, low_at(LOW_OTHER), true);
	check(is_ud(&x), "call: after the boot phase from CPL 3 is #UD", "vec=%lx", x.vector);
}

/* ---------------------------------------------------------------- CPUID */

static void hidden_leaves(void)
{
	u32 r[4];

	cpuid(1, 0, r);
	check(!(r[2] & BIT(5)), "cpuid: no VMX", "ecx=%x", r[2]);
	cpuid(0x80000001, 0, r);
	check(!(r[2] & BIT(2)), "cpuid: no SVM", "ecx=%x", r[2]);
	cpuid(0x80000000, 0, r);
	if (r[0] >= 0x8000000a)
		cpuid(0x8000000a, 0, r);
	else
		r[0] = r[1] = r[2] = r[3] = 0;
	check(!(r[0] | r[1] | r[2] | r[3]), "cpuid: SVM's leaf is empty", "%x %x %x %x", r[0], r[1],
	      r[2], r[3]);
}

/** test_cpuid() - what must not be seen; facts() has the rest */
void test_cpuid(void)
{
	struct exec x;
	u32 r[4];
	u64 cr4;

	if (g.vmm)
		hidden_leaves();
	cpuid(1, 0, r);
	if (r[2] & BIT(26)) {
		__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
		__asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | BIT64(18)));
		cpuid(1, 0, r);
		check(r[2] & BIT(27), "cpuid: OSXSAVE follows CR4", "set: ecx=%x", r[2]);
		__asm__ volatile("mov %0, %%cr4" : : "r"(cr4 & ~BIT64(18)));
		cpuid(1, 0, r);
		check(!(r[2] & BIT(27)), "cpuid: OSXSAVE follows CR4 back", "clear: ecx=%x", r[2]);
		__asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
	} else {
		check(!(r[2] & BIT(27)), "cpuid: OSXSAVE follows CR4", "ecx=%x", r[2]);
		check(true, "cpuid: OSXSAVE follows CR4 back", "%s", "");
	}
	exec_init(&x);
	for (u32 i = 0; i < 16; i++)
		if (i != RSP)
			x.gpr[i] = ~0ull;
	x.gpr[RAX] = 0xffffffff00000000ull;
	RUN(&x, 0x0f, 0xa2);
	check(x.vector == NO_VECTOR && !(x.gpr[RAX] >> 32) && !(x.gpr[RBX] >> 32) &&
	      !(x.gpr[RCX] >> 32) && !(x.gpr[RDX] >> 32) && x.gpr[RSI] == ~0ull,
	      "cpuid: clears upper halves", "rax=%lx", x.gpr[RAX]);
	exec_init(&x);
	x.cs = SEL_USER64;
	x.ds = x.es = x.ss = SEL_USER_FLAT;
	RUN(&x, 0x0f, 0xa2);
	cpuid(0, 0, r);
	check(x.vector == NO_VECTOR && x.gpr[RBX] == r[1], "cpuid: at CPL 3", "vec=%lx", x.vector);
	exec_init(&x);
	x.rflags |= TF;
	RUN(&x, 0x0f, 0xa2, 0x90);
	check(x.vector == VEC_DB && x.at_rip == x.rip + 2, "cpuid: single step", "vec=%lx rip=+%lx",
	      x.vector, x.at_rip - x.rip);
	exec_init(&x);
	RUN(&x, 0x66, 0xf2, 0x48, 0x0f, 0xa2);
	check(x.vector == NO_VECTOR && x.at_rip == x.rip + 7 && x.gpr[RBX] == r[1],
	      "cpuid: with prefixes", "vec=%lx rip=+%lx", x.vector, x.at_rip - x.rip);
}

/* ---------------------------------------------------------------- MSRs */

static void msr_through(const char *name, u32 msr, u64 value)
{
	u64 old, v = 0;
	bool ok = msr_read(msr, &old) && msr_write(msr, value) == NO_VECTOR && msr_read(msr, &v) &&
		  v == value;

	if (ok)
		ok = msr_write(msr, old) == NO_VECTOR && msr_read(msr, &v) && v == old;
	check(ok, name, "%lx", v);
}

static void msr_hidden(const char *name, u32 msr, u64 value)
{
	struct exec x;
	u64 write = msr_write(msr, value);

	exec_init(&x);
	x.gpr[RCX] = msr;
	x.gpr[RAX] = x.gpr[RDX] = 0x1234;
	RUN(&x, 0x0f, 0x32);
	check(x.vector == VEC_GP && !x.code && x.at_rip == x.rip && x.gpr[RAX] == 0x1234 &&
	      x.gpr[RDX] == 0x1234 && write == VEC_GP, name, "read vec=%lx rax=%lx, write vec=%lx",
	      x.vector, x.gpr[RAX], write);
}

/* Emulated processors are lax about some of these, so the bare machine is not asked. */
static void refused_msrs(u64 efer)
{
	u64 v = 0;
	bool ok;

	v = msr_write(MSR_EFER, efer | EFER_SVME);
	check(v == VEC_GP, "msr: EFER.SVME is refused", "vec=%lx", v);
	v = msr_write(MSR_EFER, efer | BIT64(40));
	check(v == VEC_GP, "msr: reserved bit of EFER is refused", "vec=%lx", v);
	v = msr_write(MSR_EFER, efer & ~BIT64(8));
	check(v == VEC_GP, "msr: EFER.LME while paging is refused", "vec=%lx", v);
	if (g.intel) {
		/* As firmware that has locked it away leaves it, whatever else is written. */
		ok = msr_read(MSR_FEATURE_CONTROL, &v) && v == 1 &&
		     msr_write(MSR_FEATURE_CONTROL, 5) == VEC_GP &&
		     msr_write(MSR_FEATURE_CONTROL, 1) == VEC_GP &&
		     msr_write(MSR_FEATURE_CONTROL, efer) == VEC_GP;
		check(ok, "msr: switch of virtualization", "%lx", v);
		msr_hidden("msr: state of virtualization", MSR_VMX_BASIC, 0);
	} else {
		msr_hidden("msr: switch of virtualization", MSR_VM_CR, 0);
		msr_hidden("msr: state of virtualization", MSR_VM_HSAVE_PA, 0x1000);
	}
}

/*
 * The last variable MTRR, which no firmware uses, makes one page in the middle of
 * a large one uncached. Caches stay on: emulators have none, and hardware goes by
 * the stricter type.
 */
static void test_mtrr(void)
{
	volatile u64 *page = (u64 *)(g.big + BYTES_2M + 5 * PAGE_BYTES);
	u64 cap = 0, base = 0, mask = 0, b = 0, m = 0, want;
	u32 r[4], last, n;
	bool ok;

	cpuid(0x80000008, 0, r);
	want = (GENMASK((r[0] & 0xff) - 1, 12)) | BIT64(11);
	ok = msr_read(MSR_MTRRCAP, &cap) && (cap & 0xff);
	last = MSR_MTRR_BASE0 + 2 * ((u32)(cap & 0xff) - 1);
	ok = ok && msr_read(last, &base) && msr_read(last + 1, &mask) && !(mask & BIT64(11)) &&
	     msr_write(last, (u64)page) == NO_VECTOR && msr_write(last + 1, want) == NO_VECTOR &&
	     msr_read(last, &b) && b == (u64)page && msr_read(last + 1, &m) && m == want;
	for (n = 0; ok && n < PAGE_BYTES / 8; n++)
		page[n] = n * 0x0101010101ull;
	for (n = 0; ok && n < PAGE_BYTES / 8; n++)
		ok = page[n] == n * 0x0101010101ull;
	ok = ok && msr_write(last + 1, mask) == NO_VECTOR && msr_write(last, base) == NO_VECTOR &&
	     page[7] == 7 * 0x0101010101ull;
	check(ok, "msr: a page changes its memory type", "cap=%lx base=%lx mask=%lx", cap, b, m);
}

/** test_msr() - passed through, hidden, refused */
void test_msr(void)
{
	struct exec x;
	u64 efer = 0, v = 0;
	bool ok;

	msr_through("msr: STAR", 0xc0000081, 0x0023001000000000);
	msr_through("msr: LSTAR", 0xc0000082, 0xffffffff81000000);
	msr_through("msr: SFMASK", 0xc0000084, 0x47700);
	msr_through("msr: KERNEL_GS_BASE", 0xc0000102, 0xffff888000001000);
	msr_through("msr: FS_BASE", MSR_FS_BASE, 0x123456789000);
	msr_through("msr: GS_BASE", 0xc0000101, 0xffff888000002000);
	msr_through("msr: SYSENTER_CS", 0x174, 0x10);
	msr_through("msr: SYSENTER_ESP", 0x175, 0x12345000);
	msr_through("msr: SYSENTER_EIP", 0x176, 0x12346000);
	msr_through("msr: PAT", MSR_PAT, 0x0007010600070106);
	ok = msr_read(MSR_EFER, &efer) && !(efer & EFER_SVME) && (efer & BIT64(10));
	check(ok, "msr: EFER without SVME", "%lx", efer);
	if (g.vmm)
		refused_msrs(efer);
	ok = msr_write(MSR_EFER, efer ^ BIT64(0)) == NO_VECTOR && msr_read(MSR_EFER, &v) &&
	     v == (efer ^ BIT64(0));
	check(ok, "msr: EFER.SCE", "%lx", v);
	msr_write(MSR_EFER, efer);
	ok = msr_write(MSR_EFER, efer & ~BIT64(10)) == NO_VECTOR && msr_read(MSR_EFER, &v) &&
	     v == efer;
	check(ok, "msr: EFER.LMA stays", "%lx", v);
	msr_write(MSR_EFER, efer);
	exec_init(&x);
	x.gpr[RCX] = MSR_EFER;
	x.cs = SEL_USER64;
	x.ds = x.es = x.ss = SEL_USER_FLAT;
	RUN(&x, 0x0f, 0x32);
	check(x.vector == VEC_GP && !x.code, "msr: RDMSR at CPL 3", "vec=%lx", x.vector);
	ok = msr_read(MSR_APIC_BASE, &v) && msr_write(MSR_APIC_BASE, v) == NO_VECTOR;
	check(ok, "msr: APIC_BASE", "%lx", v);
	test_mtrr();
}

/* ---------------------------------------------------------------- the rest of the processor */

/* What CPUID offers must work: some of it exists under a VMM only when that allows it. */
static void offered(const char *name, bool there, const u8 *code, u32 bytes, u64 rcx)
{
	struct exec x;

	exec_init(&x);
	x.gpr[RCX] = rcx;
	x.gpr[RDI] = low_at(LOW_OTHER);
	x.gpr[RAX] = 2; /* INVPCID: all contexts */
	__builtin_memset((void *)low_at(LOW_OTHER), 0, PAGE_BYTES);
	if (there)
		run(&x, code, bytes);
	check(!there || x.vector == NO_VECTOR, name, "vec=%lx code=%lx", x.vector, x.code);
}

#define OFFERED(name, there, rcx, ...)                                         \
	offered(name, there, (const u8[]){ __VA_ARGS__ }, sizeof((const u8[]){ __VA_ARGS__ }), rcx)

static u32 feature(u32 leaf, u32 sub, u32 which, u32 bit)
{
	u32 r[4];

	cpuid(leaf & 0x80000000, 0, r);
	if (leaf > r[0])
		return 0;
	cpuid(leaf, sub, r);
	return r[which] & BIT(bit);
}

static u64 mov_cr(u32 cr, u64 value)
{
	struct exec x;

	exec_init(&x);
	x.gpr[RAX] = value;
	RUN(&x, cr & 8 ? 0x44 : 0x40, 0x0f, 0x22, (u8)(0xc0 | (cr & 7) << 3));
	return x.vector;
}

static u64 read_cr0(void)
{
	u64 v;

	__asm__ volatile("mov %%cr0, %0" : "=r"(v));
	return v;
}

static u64 read_cr4(void)
{
	u64 v;

	__asm__ volatile("mov %%cr4, %0" : "=r"(v));
	return v;
}

/* Bits that a VMM may need for itself read as the guest has written them. */
static void control_registers(void)
{
	static const struct {
		const char *name;
		u32 bit;
	} cr0_bits[] = { { "cr: CR0.MP", 1 }, { "cr: CR0.TS", 3 }, { "cr: CR0.NE", 5 },
			 { "cr: CR0.WP", 16 }, { "cr: CR0.AM", 18 } };
	u64 cr0 = read_cr0(), cr4 = read_cr4(), set, clear;
	bool ok;

	for (u32 i = 0; i < ARRAY_SIZE(cr0_bits); i++) {
		u64 bit = BIT64(cr0_bits[i].bit);

		ok = mov_cr(0, cr0 | bit) == NO_VECTOR;
		set = read_cr0();
		ok = ok && mov_cr(0, cr0 & ~bit) == NO_VECTOR;
		clear = read_cr0();
		mov_cr(0, cr0);
		check(ok && set == (cr0 | bit) && clear == (cr0 & ~bit), cr0_bits[i].name,
		      "%lx %lx", set, clear);
	}
	ok = mov_cr(0, cr0 | BIT64(30)) == NO_VECTOR;
	set = read_cr0();
	mov_cr(0, cr0);
	check(ok && set == (cr0 | BIT64(30)), "cr: CR0.CD", "%lx", set);
	/* PGE, PSE, DE, TSD: harmless here. */
	set = cr4 ^ (BIT64(7) | BIT64(4) | BIT64(3) | BIT64(2));
	ok = mov_cr(4, set) == NO_VECTOR && read_cr4() == set;
	mov_cr(4, cr4);
	check(ok && read_cr4() == cr4, "cr: CR4", "%lx", read_cr4());
	check(!(cr4 & BIT64(13)), "cr: CR4.VMXE is not seen", "%lx", cr4);
	if (g.intel && g.vmm) {
		set = mov_cr(4, cr4 | BIT64(13));
		check(set == VEC_GP && read_cr4() == cr4, "cr: CR4.VMXE is refused",
		      "vec=%lx %lx", set, read_cr4());
	} else if (g.vmm) {
		check(true, "cr: CR4.VMXE is refused", "%s", ""); /* a reserved bit there */
	}
	ok = mov_cr(8, 5) == NO_VECTOR;
	__asm__ volatile("mov %%cr8, %0" : "=r"(set));
	mov_cr(8, 0);
	check(ok && set == 5, "cr: CR8", "%lx", set);
	ok = mov_cr(3, g.cr3) == NO_VECTOR;
	check(ok, "cr: CR3", "%s", "");
}

static void debug_registers(void)
{
	u32 r[4];
	u64 d0, d3, d7;

	__asm__ volatile("mov %0, %%dr0; mov %1, %%dr3; mov %2, %%dr7" : : "r"(0x1234000ull),
			 "r"(0x5678000ull), "r"(0x400ull));
	cpuid(0, 0, r);
	if (g.vmm)
		read32(low_at(LOW_HOOK));
	__asm__ volatile("mov %%dr0, %0; mov %%dr3, %1; mov %%dr7, %2"
			 : "=r"(d0), "=r"(d3), "=r"(d7));
	check(d0 == 0x1234000 && d3 == 0x5678000 && d7 == 0x400, "dr: kept over exits",
	      "%lx %lx %lx", d0, d3, d7);
	__asm__ volatile("mov %0, %%dr0; mov %0, %%dr3" : : "r"(0ull));
}

static void extended_state(void)
{
	bool there = feature(1, 0, 2, 26);
	struct exec x;
	u64 cr4 = read_cr4(), xcr0 = 1;

	x.vector = VEC_GP;
	if (there) {
		mov_cr(4, cr4 | BIT64(18));
		exec_init(&x);
		RUN(&x, 0x0f, 0x01, 0xd0); /* XGETBV */
		xcr0 = x.gpr[RDX] << 32 | (u32)x.gpr[RAX];
		exec_init(&x);
		x.gpr[RAX] = 3;
		RUN(&x, 0x0f, 0x01, 0xd1); /* XSETBV */
		there = x.vector == NO_VECTOR;
		exec_init(&x);
		RUN(&x, 0x0f, 0x01, 0xd0);
		there = there && (u32)x.gpr[RAX] == 3;
		exec_init(&x);
		x.gpr[RAX] = (u32)xcr0;
		x.gpr[RDX] = xcr0 >> 32;
		RUN(&x, 0x0f, 0x01, 0xd1);
		check(there && x.vector == NO_VECTOR, "xcr0: XSETBV", "vec=%lx", x.vector);
		exec_init(&x);
		RUN(&x, 0x0f, 0x01, 0xd1); /* without x87: refused */
	} else {
		check(true, "xcr0: XSETBV", "%s", "");
	}
	check(x.vector == VEC_GP && !x.code, "xcr0: zero is refused", "vec=%lx", x.vector);
	if (feature(1, 0, 2, 26)) {
		exec_init(&x);
		x.gpr[RAX] = (u32)xcr0;
		x.cs = SEL_USER64;
		x.ds = x.es = x.ss = SEL_USER_FLAT;
		RUN(&x, 0x0f, 0x01, 0xd1);
		mov_cr(4, cr4);
	}
	check(x.vector == VEC_GP, "xcr0: XSETBV at CPL 3", "vec=%lx", x.vector);
}

/** test_processor() - what passes through, and what exits without being asked to */
void test_processor(void)
{
	OFFERED("offered: RDTSCP", feature(0x80000001, 0, 3, 27), 0, 0x0f, 0x01, 0xf9);
	OFFERED("offered: INVPCID", feature(7, 0, 1, 10), 0, 0x66, 0x0f, 0x38, 0x82, 0x07);
	OFFERED("offered: RDRAND", feature(1, 0, 2, 30), 0, 0x0f, 0xc7, 0xf0);
	OFFERED("offered: RDSEED", feature(7, 0, 1, 18), 0, 0x0f, 0xc7, 0xf8);
	OFFERED("offered: MONITOR", feature(1, 0, 2, 3), 0, 0x48, 0x89, 0xf8, 0x31, 0xd2, 0x0f,
		0x01, 0xc8);
	OFFERED("offered: RDTSC", true, 0, 0x0f, 0x31);
	OFFERED("offered: WBINVD", true, 0, 0x0f, 0x09);
	OFFERED("offered: INVD", true, 0, 0x0f, 0x08);
	OFFERED("offered: INVLPG", true, 0, 0x0f, 0x01, 0x3f);
	OFFERED("offered: PAUSE", true, 0, 0xf3, 0x90);
	OFFERED("offered: SGDT, SIDT", true, 0, 0x0f, 0x01, 0x07, 0x0f, 0x01, 0x0f);
	OFFERED("offered: SMSW", true, 0, 0x0f, 0x01, 0xe0);
	OFFERED("offered: CLTS", true, 0, 0x0f, 0x06);
	control_registers();
	debug_registers();
	extended_state();
}

/* ---------------------------------------------------------------- injected exceptions */

/* MOVSB from the hooked page to page 0 of the window, which has @flags. */
static void fault_to(const char *name, u64 flags, bool user, u64 want_code)
{
	struct exec x;

	map_window(0, low_at(LOW_PLAIN), flags);
	exec_init(&x);
	if (user) {
		x.cs = SEL_USER64;
		x.ds = x.es = x.ss = SEL_USER_FLAT;
	}
	x.gpr[RSI] = low_at(LOW_HOOK) + 0x10;
	x.gpr[RDI] = window(0) + 0x123;
	x.gpr[RCX] = 3;
	RUN(&x, 0xf3, 0xa4);
	check(x.vector == VEC_PF && x.code == want_code && x.cr2 == window(0) + 0x123 &&
	      x.at_rip == x.rip && x.gpr[RCX] == 3 && x.gpr[RSI] == low_at(LOW_HOOK) + 0x10, name,
	      "vec=%lx code=%lx cr2=%lx rip=+%lx rcx=%lx", x.vector, x.code, x.cr2,
	      x.at_rip - x.rip, x.gpr[RCX]);
	map_window(0, 0, 0);
}

static void fault_from(const char *name, bool user, u64 want_code)
{
	struct exec x;

	exec_init(&x);
	if (user) {
		x.cs = SEL_USER64;
		x.ds = x.es = x.ss = SEL_USER_FLAT;
	}
	x.gpr[RSI] = window(1) + 8;
	x.gpr[RDI] = low_at(LOW_HOOK);
	RUN(&x, 0x48, 0xa5);
	check(x.vector == VEC_PF && x.code == want_code && x.cr2 == window(1) + 8 &&
	      x.at_rip == x.rip && x.gpr[RDI] == low_at(LOW_HOOK), name,
	      "vec=%lx code=%lx cr2=%lx", x.vector, x.code, x.cr2);
}

/* The guest's own tables come first: the hooked page behind a read-only mapping. */
static void hook_behind(const char *name, u64 flags, bool write, bool user, u64 want_vector,
			u64 want_code)
{
	struct exec x;

	map_window(2, low_at(LOW_HOOK), flags);
	hook_log()->count = 0;
	exec_init(&x);
	if (user) {
		x.cs = SEL_USER64;
		x.ds = x.es = x.ss = SEL_USER_FLAT;
	}
	x.gpr[RDI] = window(2) + 0x20;
	if (write)
		RUN(&x, 0x89, 0x07);
	else
		RUN(&x, 0x8b, 0x07);
	check(x.vector == want_vector && (want_vector == NO_VECTOR || (x.code == want_code &&
	      x.cr2 == window(2) + 0x20)) && hook_log()->count == (want_vector == NO_VECTOR), name,
	      "vec=%lx code=%lx cr2=%lx accesses=%u", x.vector, x.code, x.cr2, hook_log()->count);
	map_window(2, 0, 0);
}

/* Part of a REP is done before the fault. */
static void fault_halfway(void)
{
	struct exec x;

	map_window(3, low_at(LOW_PLAIN), PTE_P | PTE_W);
	map_window(4, 0, 0);
	exec_init(&x);
	x.gpr[RSI] = low_at(LOW_HOOK);
	x.gpr[RDI] = window(4) - 5;
	x.gpr[RCX] = 9;
	RUN(&x, 0xf3, 0xa4);
	check(x.vector == VEC_PF && x.code == 2 && x.cr2 == window(4) && x.gpr[RCX] == 4 &&
	      x.gpr[RDI] == window(4) && x.gpr[RSI] == low_at(LOW_HOOK) + 5 && x.at_rip == x.rip,
	      "fault: in the middle of rep movsb", "vec=%lx cr2=%lx rcx=%lx", x.vector, x.cr2,
	      x.gpr[RCX]);
	map_window(3, 0, 0);
}

static void dirty_bits(void)
{
	struct exec x;

	map_window(5, low_at(LOW_PLAIN), PTE_P | PTE_W);
	exec_init(&x);
	x.gpr[RSI] = low_at(LOW_HOOK);
	x.gpr[RDI] = window(5);
	RUN(&x, 0xa4);
	check(x.vector == NO_VECTOR && (g.pt[5] & 0x60) == 0x60, "fault: none, and dirty is set",
	      "vec=%lx pte=%lx", x.vector, g.pt[5]);
	map_window(5, 0, 0);
}

/** test_faults() - #PF, #GP, #UD that the VMM makes */
void test_faults(void)
{
	u64 cr0;

	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("mov %0, %%cr0" : : "r"(cr0 | BIT64(16)));
	fault_to("fault: movs to an absent page", 0, false, 2);
	fault_to("fault: movs to an absent page, CPL 3", 0, true, 6);
	fault_to("fault: movs to a read-only page", PTE_P, false, 3);
	fault_to("fault: movs to a read-only page, CPL 3", PTE_P | PTE_U, true, 7);
	fault_to("fault: movs to a supervisor page, CPL 3", PTE_P | PTE_W, true, 7);
	fault_from("fault: movs from an absent page", false, 0);
	fault_from("fault: movs from an absent page, CPL 3", true, 4);
	fault_halfway();
	dirty_bits();
	hook_behind("fault: hook behind a read-only page, read", PTE_P, false, false, NO_VECTOR, 0);
	hook_behind("fault: hook behind a read-only page, write", PTE_P, true, false, VEC_PF, 3);
	hook_behind("fault: hook behind a supervisor page, CPL 3", PTE_P | PTE_W, false, true,
		    VEC_PF, 5);
	hook_behind("fault: hook behind a user page, CPL 3", PTE_P | PTE_W | PTE_U, true, true,
		    NO_VECTOR, 0);
	hook_behind("fault: hook behind an absent page", 0, true, false, VEC_PF, 2);
	__asm__ volatile("mov %0, %%cr0" : : "r"(cr0 & ~BIT64(16)));
	hook_behind("fault: hook behind a read-only page, WP off", PTE_P, true, false, NO_VECTOR,
		    0);
	__asm__ volatile("mov %0, %%cr0" : : "r"(cr0));
}

/* ---------------------------------------------------------------- ports */

static bool logged(u32 n, u64 at, u32 bytes, bool write, u64 value)
{
	const struct handoff_test_log *l = port_log();

	return l->count > n && l->entry[n].at == at && l->entry[n].bytes == bytes &&
	       l->entry[n].write == write && l->entry[n].value == value;
}

static void port_fill(void)
{
	for (u32 i = 0; i < HANDOFF_TEST_PORTS; i++)
		outb((u16)(PORT_BASE + i), (u8)(0xa0 + i));
	port_log()->count = 0;
}

static void port_start(struct exec *x)
{
	port_fill();
	exec_init(x);
	x->gpr[RDX] = PORT_BASE + 4;
	x->gpr[RAX] = 0x1122334455667788ull;
	x->gpr[RDI] = x->gpr[RSI] = low_at(LOW_OTHER) + 0x100;
	for (u32 i = 0; i < 64; i++)
		*(volatile u8 *)(low_at(LOW_OTHER) + 0xe0 + i) = (u8)(i + 1);
}

static void port_in(const char *name, const u8 *code, u32 bytes, u32 size, u64 rax)
{
	struct exec x;
	u64 v = 0xa7a6a5a4 & (size == 4 ? ~0u : (1u << 8 * size) - 1);

	port_start(&x);
	run(&x, code, bytes);
	check(x.vector == NO_VECTOR && x.gpr[RAX] == rax && x.at_rip == x.rip + bytes + 2 &&
	      port_log()->count == 1 && logged(0, PORT_BASE + 4, size, false, v), name,
	      "vec=%lx rax=%lx accesses=%u", x.vector, x.gpr[RAX], port_log()->count);
}

static void port_out(const char *name, const u8 *code, u32 bytes, u32 size, u64 value)
{
	struct exec x;

	port_start(&x);
	run(&x, code, bytes);
	check(x.vector == NO_VECTOR && x.gpr[RAX] == 0x1122334455667788ull &&
	      x.at_rip == x.rip + bytes + 2 && port_log()->count == 1 &&
	      logged(0, PORT_BASE + 4, size, true, value), name, "vec=%lx rax=%lx accesses=%u",
	      x.vector, x.gpr[RAX], port_log()->count);
}

/* A string form: @n elements of @size; pointers move by @step each. */
static void port_string(const char *name, const u8 *code, u32 bytes, u32 size, u32 n, bool in,
			u64 flags, u64 offset)
{
	struct exec x;
	s64 step = flags & DF ? -(s64)size : (s64)size;
	u64 at = low_at(LOW_OTHER) + 0x100, moved, kept;
	bool ok;

	port_start(&x);
	x.rflags |= flags;
	x.gpr[RCX] = n;
	run(&x, code, bytes);
	moved = in ? x.gpr[RDI] : x.gpr[RSI];
	kept = in ? x.gpr[RSI] : x.gpr[RDI];
	ok = x.vector == NO_VECTOR && moved == at + (u64)(step * (s64)n) && kept == at &&
	     x.at_rip == x.rip + bytes + 2 && port_log()->count == n;
	for (u32 i = 0; i < n && ok; i++) {
		u64 v = 0, w = 0xa7a6a5a4 & (size == 4 ? ~0u : (1u << 8 * size) - 1);

		__builtin_memcpy(&v, (void *)(at + offset + (u64)(step * (s64)i)), size);
		ok = logged(i, PORT_BASE + 4, size, !in, v) && (!in || v == w);
	}
	check(ok, name, "vec=%lx rdi=+%lx rsi=+%lx rcx=%lx accesses=%u first=%lx", x.vector,
	      x.gpr[RDI] - at, x.gpr[RSI] - at, x.gpr[RCX], port_log()->count,
	      port_log()->entry[0].value);
}

#define CODE(...) (const u8[]){ __VA_ARGS__ }, sizeof((const u8[]){ __VA_ARGS__ })

static void port_faults(void)
{
	struct exec x;
	u32 n;

	port_start(&x);
	x.gpr[RDI] = window(0) + 0x10;
	RUN(&x, 0x6c);
	check(x.vector == VEC_PF && x.code == 2 && x.cr2 == window(0) + 0x10 && x.at_rip == x.rip,
	      "port: insb to an absent page", "vec=%lx code=%lx cr2=%lx", x.vector, x.code, x.cr2);
	port_start(&x);
	x.gpr[RSI] = window(0) + 0x10;
	x.gpr[RCX] = 2;
	RUN(&x, 0xf3, 0x6f);
	check(x.vector == VEC_PF && x.code == 0 && x.cr2 == window(0) + 0x10 && x.at_rip == x.rip &&
	      x.gpr[RCX] == 2 && !port_log()->count, "port: rep outsl from an absent page",
	      "vec=%lx code=%lx cr2=%lx accesses=%u", x.vector, x.code, x.cr2, port_log()->count);
	port_start(&x);
	x.gpr[RDI] = low_at(LOW_HOOK) + 8;
	write32(low_at(LOW_HOOK) + 8, 0);
	hook_log()->count = 0;
	RUN(&x, 0x6d);
	n = hook_log()->count;
	check(x.vector == NO_VECTOR && n == 1 && read32(low_at(LOW_HOOK) + 8) == 0xa7a6a5a4,
	      "port: insl to a hooked page", "vec=%lx accesses=%u", x.vector, n);
	port_start(&x);
	x.cs = SEL_USER64;
	x.ds = x.es = x.ss = SEL_USER_FLAT;
	RUN(&x, 0xec);
	check(x.vector == VEC_GP && !port_log()->count, "port: in at CPL 3 is #GP", "vec=%lx",
	      x.vector);
	port_start(&x);
	x.rflags |= TF;
	RUN(&x, 0xec, 0x90);
	check(x.vector == VEC_DB && x.at_rip == x.rip + 1, "port: single step", "vec=%lx rip=+%lx",
	      x.vector, x.at_rip - x.rip);
}

static void hidden_port(void)
{
	bool ok = true;

	for (u32 i = 0; i < 8; i++)
		if (i != 5)
			ok = ok && inb((u16)(0x2f8 + i)) == 0xff;
	outb(0x2ff, 0x5a);
	check(ok && inb(0x2ff) == 0xff, "port: COM2 is absent", "scratch=%x", inb(0x2ff));
	check(inb(0x2fd) == 0x60, "port: COM2 never receives, is always ready", "%x", inb(0x2fd));
}

/** test_ports() - the hooked ports, and those of the VMM's own serial line */
void test_ports(void)
{
	u64 fs = rdmsr(MSR_FS_BASE);

	port_in("port: in al,dx", CODE(0xec), 1, 0x11223344556677a4);
	port_in("port: in ax,dx", CODE(0x66, 0xed), 2, 0x112233445566a5a4);
	port_in("port: in eax,dx", CODE(0xed), 4, 0xa7a6a5a4);
	port_in("port: rex.w in eax,dx", CODE(0x48, 0xed), 4, 0xa7a6a5a4);
	port_out("port: out dx,al", CODE(0xee), 1, 0x88);
	port_out("port: out dx,ax", CODE(0x66, 0xef), 2, 0x7788);
	port_out("port: out dx,eax", CODE(0xef), 4, 0x55667788);
	port_string("port: insb", CODE(0x6c), 1, 1, true, 0, 0);
	port_string("port: insw", CODE(0x66, 0x6d), 2, 1, true, 0, 0);
	port_string("port: insl", CODE(0x6d), 4, 1, true, 0, 0);
	port_string("port: outsb", CODE(0x6e), 1, 1, false, 0, 0);
	port_string("port: outsw", CODE(0x66, 0x6f), 2, 1, false, 0, 0);
	port_string("port: outsl", CODE(0x6f), 4, 1, false, 0, 0);
	port_string("port: rep insb", CODE(0xf3, 0x6c), 1, 7, true, 0, 0);
	port_string("port: rep insw down", CODE(0xf3, 0x66, 0x6d), 2, 5, true, DF, 0);
	port_string("port: rep outsb", CODE(0xf3, 0x6e), 1, 7, false, 0, 0);
	port_string("port: rep outsl down", CODE(0xf3, 0x6f), 4, 3, false, DF, 0);
	port_string("port: rep outsb, 100 bytes", CODE(0xf3, 0x6e), 1, 100, false, 0, 0);
	port_string("port: rep insb a32", CODE(0x67, 0xf3, 0x6c), 1, 7, true, 0, 0);
	port_string("port: rep outsw a32", CODE(0x67, 0xf3, 0x66, 0x6f), 2, 3, false, 0, 0);
	port_string("port: rep insb, none", CODE(0xf3, 0x6c), 1, 0, true, 0, 0);
	wrmsr(MSR_FS_BASE, 0x10);
	port_string("port: outsb fs:", CODE(0x64, 0x6e), 1, 1, false, 0, 0x10);
	port_string("port: rep outsb fs:", CODE(0x64, 0xf3, 0x6e), 1, 4, false, 0, 0x10);
	wrmsr(MSR_FS_BASE, fs);
	port_faults();
	hidden_port();
}
