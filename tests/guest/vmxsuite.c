/*
 * vmxsuite.c - the processor as vmm/vmx relies on it, without the VMM
 *
 * An EFI application that switches VMX on itself and runs snippets of a few
 * bytes as guests, through the VMM's own entry code (vmm/vmx/run.S), tables
 * (vmm/mm/npt.c) and list of needs. Each check prints "ok NAME" or "BAD NAME:
 * why"; the last line is "vmxsuite: N ok, M bad". What it finds in an emulator
 * and on hardware is what exit.c and vmx.c may take for granted.
 *
 * Guests are 64-bit code in our own address space unless a test says
 * otherwise. Every exception of theirs ends in VMCALL with RDI = 100 + vector.
 * Interrupts are off from the start; only NMIs come, which our IDT counts.
 *
 * Spec: [SDM 3 §24 to §30]
 */
#include <efi.h>
#include <stdarg.h>

#include "base/fmt.h"
#include "base/plat.h"
#include "boot/vmx_need.h"
#include "vmm/mm/npt.h"
#include "vmm/vmx/vmcs.h"

#define COM1 0x3f8
#define BOCHS_SHUTDOWN 0x8900

#define MSR_APIC_BASE 0x1b
#define MSR_PAT 0x277
#define MSR_EFER 0xc0000080
#define MSR_FS_BASE 0xc0000100
#define MSR_GS_BASE 0xc0000101
#define MSR_X2APIC_ICR 0x830
#define APIC 0xfee00000ull
#define ICR_NMI 0x4400

#define LIMIT (64 * GIB)
#define POOL_PAGES 160
#define CR0_NE BIT64(5)
#define CR0_PG BIT64(31)
#define CR4_VMXE BIT64(13)
#define EFER_LMA BIT64(10)

/* ENTRYC_, EXITC_ and the rest: what vmx.c asks for. */
#define WANT_PIN (PIN_NMI | PIN_VIRTUAL_NMI)
#define WANT_PRIMARY (PRIMARY_IO_BITMAPS | PRIMARY_MSR_BITMAPS | PRIMARY_SECONDARY)
#define WANT_SECONDARY (SECONDARY_EPT | SECONDARY_VPID | SECONDARY_UNRESTRICTED)

enum gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table);
u32 vmx_enter(u64 *gpr, const u64 *nmi_count, u64 nmi_done, u32 resume);
void vmx_take_nmi(void);
extern const char vmx_left[];

struct table_reg {
	u16 limit;
	u64 base;
} __packed;

struct gate {
	u16 low, selector, flags, middle;
	u32 high, zero;
};

static struct {
	u8 vmxon[4096], vmcs[4096], io[8192], msr[4096], vapic[4096], code[4096], data[4096];
	u8 stack[8192];
	struct gate guest_idt[256]; /* a page of its own: hooked by a test */
	u8 pool[POOL_PAGES * 4096];
} __aligned(4096) p;

static struct gate host_idt[256] __aligned(16);
static u8 tss[104] __aligned(16);
static u64 host_gdt[64] __aligned(16);
static struct npt npt;
static u64 gpr[16], nmi_count;
static u32 ok_count, bad_count;
static bool launched;

/* ---------------------------------------------------------------- instructions */

static void outb(u16 port, u8 v)
{
	__asm__ volatile("outb %0, %1" :: "a"(v), "Nd"(port));
}

static u8 inb(u16 port)
{
	u8 v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static u64 rdmsr(u32 msr)
{
	u32 lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (u64)hi << 32 | lo;
}

static void wrmsr(u32 msr, u64 v)
{
	__asm__ volatile("wrmsr" :: "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

#define READ(what)                                                             \
	({                                                                     \
		u64 _v;                                                        \
		__asm__ volatile("mov %%" what ", %0" : "=r"(_v));             \
		_v;                                                            \
	})

static void invept(void)
{
	struct {
		u64 eptp, zero;
	} d = { vmcs_read(VMCS_EPTP), 0 };

	__asm__ volatile("invept %0, %1" :: "m"(d), "r"(2ull) : "cc", "memory");
}

/* ---------------------------------------------------------------- results */

static void say(const char *fmt, ...)
{
	char line[200];
	va_list ap;

	va_start(ap, fmt);
	fmt_vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	for (const char *t = line; *t; t++) {
		for (u32 i = 0; i < 100000 && !(inb(COM1 + 5) & 0x20); i++)
			;
		if (*t == '\n')
			outb(COM1, '\r');
		outb(COM1, (u8)*t);
	}
}

static void check(bool ok, const char *name)
{
	if (ok) {
		ok_count++;
		say("ok %s\n", name);
		return;
	}
	bad_count++;
	say("BAD %s: reason=%x qual=%llx gpa=%llx rip=+%llx rdi=%llx error=%u\n", name,
	    (u32)vmcs_read(VMCS_EXIT_REASON), (unsigned long long)vmcs_read(VMCS_QUALIFICATION),
	    (unsigned long long)vmcs_read(VMCS_GUEST_PHYSICAL),
	    (unsigned long long)(vmcs_read(VMCS_GUEST_RIP) - (u64)p.code),
	    (unsigned long long)gpr[RDI], (u32)vmcs_read(VMCS_ERROR));
}

/* For npt.c. */
void *plat_phys_to_virt(hpa_t pa)
{
	return (void *)(uintptr_t)pa.v;
}

hpa_t plat_virt_to_phys(const void *va)
{
	return HPA((uintptr_t)va);
}

void plat_panic(const char *fmt, ...)
{
	say("BAD panic: %s\n", fmt);
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* ---------------------------------------------------------------- the machine */

__asm__(".text\n"
	"guest_stubs:\n"
	".set v, 0\n"
	".rept 32\n"
	".balign 16\n"
	"mov $100 + v, %edi\n"
	"vmcall\n"
	".set v, v + 1\n"
	".endr\n"
	/* Vector 2 of the guest when it must come back: counts in RBX. */
	"guest_nmi: inc %rbx\n"
	"iretq\n"
	"host_nmi: incq nmi_count(%rip)\n"
	"iretq\n");

extern const char guest_stubs[], guest_nmi[], host_nmi[];

static void gate_set(struct gate *g, const void *to)
{
	u64 a = (u64)(uintptr_t)to;
	u16 cs;

	__asm__ volatile("mov %%cs, %0" : "=r"(cs));
	*g = (struct gate){ (u16)a, cs, 0x8e00, (u16)(a >> 16), (u32)(a >> 32), 0 };
}

/* Our own GDT with a TSS, as firmware may have none, and an IDT that counts NMIs. */
static void host_tables(void)
{
	struct table_reg gdtr, idtr;
	u64 base = (u64)(uintptr_t)tss;

	__asm__ volatile("sgdt %0" : "=m"(gdtr));
	__asm__ volatile("sidt %0" : "=m"(idtr));
	__builtin_memcpy(host_gdt, (void *)gdtr.base, MIN((u64)gdtr.limit + 1, 480ull));
	host_gdt[60] = 103 | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
	host_gdt[61] = base >> 32;
	gdtr.base = (u64)(uintptr_t)host_gdt;
	gdtr.limit = sizeof(host_gdt) - 1;
	__asm__ volatile("lgdt %0" :: "m"(gdtr));
	__asm__ volatile("ltr %w0" :: "r"(60 * 8));
	__builtin_memcpy(host_idt, (void *)idtr.base, MIN((u64)idtr.limit + 1, sizeof(host_idt)));
	gate_set(&host_idt[2], host_nmi);
	idtr.base = (u64)(uintptr_t)host_idt;
	idtr.limit = sizeof(host_idt) - 1;
	__asm__ volatile("lidt %0" :: "m"(idtr));
	for (u32 i = 0; i < 32; i++)
		gate_set(&p.guest_idt[i], guest_stubs + 16 * i);
}

static u32 control(u32 msr, u32 want)
{
	u64 cap = rdmsr(msr);

	return (want | (u32)cap) & (u32)(cap >> 32);
}

static void controls(void)
{
	vmcs_write(VMCS_PIN, control(MSR_VMX_TRUE_PIN, WANT_PIN));
	vmcs_write(VMCS_PRIMARY, control(MSR_VMX_TRUE_PRIMARY, WANT_PRIMARY));
	vmcs_write(VMCS_SECONDARY, control(MSR_VMX_SECONDARY, WANT_SECONDARY));
	vmcs_write(VMCS_EXIT_CONTROLS, control(MSR_VMX_TRUE_EXIT,
		   EXITC_SAVE_DEBUG | EXITC_HOST_64 | EXITC_SAVE_PAT | EXITC_LOAD_PAT |
		   EXITC_SAVE_EFER | EXITC_LOAD_EFER));
	vmcs_write(VMCS_ENTRY_CONTROLS, control(MSR_VMX_TRUE_ENTRY,
		   ENTRYC_LOAD_DEBUG | ENTRYC_IA32E | ENTRYC_LOAD_PAT | ENTRYC_LOAD_EFER));
	for (u32 f = VMCS_EXCEPTIONS; f <= VMCS_CR3_TARGETS; f += 2)
		vmcs_write(f, 0);
	vmcs_write(VMCS_EXIT_MSR_STORE, 0);
	vmcs_write(VMCS_EXIT_MSR_LOAD, 0);
	vmcs_write(VMCS_ENTRY_MSR_LOAD, 0);
	vmcs_write(VMCS_ENTRY_EVENT, 0);
	vmcs_write(VMCS_IO_BITMAP_A, (u64)p.io);
	vmcs_write(VMCS_IO_BITMAP_B, (u64)p.io + 4096);
	vmcs_write(VMCS_MSR_BITMAP, (u64)p.msr);
	vmcs_write(VMCS_VPID, 1);
	vmcs_write(VMCS_EPTP, npt_root_pa(&npt) | EPTP_LEVELS_4 | EPTP_WB);
	vmcs_write(VMCS_LINK, ~0ull);
	vmcs_write(VMCS_CR0_MASK, CR0_NE);
	vmcs_write(VMCS_CR4_MASK, CR4_VMXE);
}

static void host_state(void)
{
	struct table_reg gdtr, idtr;

	__asm__ volatile("sgdt %0" : "=m"(gdtr));
	__asm__ volatile("sidt %0" : "=m"(idtr));
	vmcs_write(VMCS_HOST_CR0, READ("cr0"));
	vmcs_write(VMCS_HOST_CR3, READ("cr3"));
	vmcs_write(VMCS_HOST_CR4, READ("cr4"));
	vmcs_write(VMCS_HOST_CS, READ("cs"));
	vmcs_write(VMCS_HOST_SS, READ("ss"));
	vmcs_write(VMCS_HOST_ES, READ("es"));
	vmcs_write(VMCS_HOST_DS, READ("ds"));
	vmcs_write(VMCS_HOST_FS, 0);
	vmcs_write(VMCS_HOST_GS, 0);
	vmcs_write(VMCS_HOST_TR, 60 * 8);
	vmcs_write(VMCS_HOST_FS_BASE, rdmsr(MSR_FS_BASE));
	vmcs_write(VMCS_HOST_GS_BASE, rdmsr(MSR_GS_BASE));
	vmcs_write(VMCS_HOST_TR_BASE, (u64)tss);
	vmcs_write(VMCS_HOST_GDTR_BASE, gdtr.base);
	vmcs_write(VMCS_HOST_IDTR_BASE, idtr.base);
	vmcs_write(VMCS_HOST_EFER, rdmsr(MSR_EFER));
	vmcs_write(VMCS_HOST_PAT, rdmsr(MSR_PAT));
	vmcs_write(VMCS_HOST_RIP, (u64)vmx_left);
}

static void segment(u32 seg, u16 selector, u64 base, u32 limit, u32 ar)
{
	vmcs_write(vmcs_seg(VMCS_GUEST_ES, seg), selector);
	vmcs_write(vmcs_seg(VMCS_GUEST_ES_BASE, seg), base);
	vmcs_write(vmcs_seg(VMCS_GUEST_ES_LIMIT, seg), limit);
	vmcs_write(vmcs_seg(VMCS_GUEST_ES_AR, seg), ar);
}

static void guest_state(void)
{
	for (u32 s = 0; s < 6; s++)
		segment(s, (u16)READ("ss"), 0, ~0u, 0xc093);
	segment(1, (u16)READ("cs"), 0, ~0u, 0xa09b);
	segment(6, 0, 0, 0, AR_UNUSABLE);
	segment(7, 60 * 8, (u64)tss, 103, 0x8b);
	vmcs_write(VMCS_GUEST_GDTR_BASE, (u64)host_gdt);
	vmcs_write(VMCS_GUEST_GDTR_LIMIT, sizeof(host_gdt) - 1);
	vmcs_write(VMCS_GUEST_IDTR_BASE, (u64)p.guest_idt);
	vmcs_write(VMCS_GUEST_IDTR_LIMIT, sizeof(p.guest_idt) - 1);
	vmcs_write(VMCS_GUEST_CR0, READ("cr0") | CR0_NE);
	vmcs_write(VMCS_CR0_SHADOW, READ("cr0"));
	vmcs_write(VMCS_GUEST_CR3, READ("cr3"));
	vmcs_write(VMCS_GUEST_CR4, READ("cr4"));
	vmcs_write(VMCS_CR4_SHADOW, READ("cr4") & ~CR4_VMXE);
	vmcs_write(VMCS_GUEST_EFER, rdmsr(MSR_EFER));
	vmcs_write(VMCS_GUEST_PAT, rdmsr(MSR_PAT));
	vmcs_write(VMCS_GUEST_DEBUGCTL, 0);
	vmcs_write(VMCS_GUEST_SYSENTER_CS, 0);
	vmcs_write(VMCS_GUEST_DR7, 0x400);
	vmcs_write(VMCS_GUEST_BLOCKING, 0);
	vmcs_write(VMCS_GUEST_ACTIVITY, ACTIVITY_ACTIVE);
	vmcs_write(VMCS_GUEST_PENDING_DEBUG, 0);
	vmcs_write(VMCS_GUEST_RSP, (u64)p.stack + sizeof(p.stack) - 64);
	vmcs_write(VMCS_GUEST_RIP, (u64)p.code);
	vmcs_write(VMCS_GUEST_RFLAGS, 2);
}

/* A new VMCS, guest at @code; registers are zero. */
static void fresh(const void *code, size_t bytes)
{
	u64 pa = (u64)p.vmcs;

	__builtin_memcpy(p.code, code, bytes);
	__builtin_memset(gpr, 0, sizeof(gpr));
	__builtin_memset(p.io, 0, sizeof(p.io));
	__builtin_memset(p.msr, 0, sizeof(p.msr));
	gate_set(&p.guest_idt[2], guest_stubs + 32);
	__asm__ volatile("vmclear %0\n\tvmptrld %0" :: "m"(pa) : "cc", "memory");
	controls();
	host_state();
	guest_state();
	launched = false;
}

#define FRESH(...)                                                             \
	do {                                                                   \
		static const u8 _code[] = { __VA_ARGS__ };                     \
		fresh(_code, sizeof(_code));                                   \
	} while (0)

#define VMCALL 0x0f, 0x01, 0xc1

/* Run until the next exit; the basic reason, or ~0 when it was refused. */
static u32 run(void)
{
	u32 r = vmx_enter(gpr, &nmi_count, nmi_count, launched);

	if (r)
		return ~0u;
	launched = true;
	return (u32)vmcs_read(VMCS_EXIT_REASON);
}

/* The same, over the instruction that exited. */
static u32 run_on(void)
{
	vmcs_write(VMCS_GUEST_RIP, vmcs_read(VMCS_GUEST_RIP) + vmcs_read(VMCS_EXIT_BYTES));
	return run();
}

static u64 rip(void)
{
	return vmcs_read(VMCS_GUEST_RIP) - (u64)p.code;
}

static void secondary(u32 bits, bool on)
{
	u64 now = vmcs_read(VMCS_SECONDARY);

	vmcs_write(VMCS_SECONDARY, on ? now | bits : now & ~(u64)bits);
}

static void primary(u32 bits)
{
	vmcs_write(VMCS_PRIMARY, vmcs_read(VMCS_PRIMARY) | bits);
}

/* ---------------------------------------------------------------- entries */

static void test_entry(void)
{
	FRESH(VMCALL, 0xff, 0xc0, VMCALL); /* inc %eax */
	gpr[RAX] = 41;
	gpr[15] = 0x1515;
	check(run() == VMX_VMCALL && !rip() && vmcs_read(VMCS_EXIT_BYTES) == 3, "entry: VMCALL");
	check(run_on() == VMX_VMCALL && gpr[RAX] == 42 && gpr[15] == 0x1515 && rip() == 5,
	      "entry: again, registers");
	FRESH(VMCALL);
	check(vmx_enter(gpr, &nmi_count, nmi_count + 1, 0) == 1 && run() == VMX_VMCALL,
	      "entry: not while an NMI is unseen");
	FRESH(0x0f, 0x0b); /* ud2 */
	check(run() == VMX_VMCALL && gpr[RDI] == 106, "entry: the guest has its own IDT");
	FRESH(0x0f, 0x20, 0xe0, VMCALL, 0x0f, 0xba, 0xe8, 0x0d, 0x0f, 0x22, 0xe0, VMCALL);
	check(run() == VMX_VMCALL && !(gpr[RAX] & CR4_VMXE), "entry: CR4.VMXE is hidden");
	check(run_on() == VMX_CR && FIELD_GET(CRQ_NUMBER, vmcs_read(VMCS_QUALIFICATION)) == 4,
	      "entry: writing it exits");
	FRESH(0x0f, 0x20, 0xc0, 0x48, 0x83, 0xe0, 0xdf, 0x0f, 0x22, 0xc0, VMCALL); /* NE off */
	vmcs_write(VMCS_CR0_SHADOW, vmcs_read(VMCS_GUEST_CR0));
	check(run() == VMX_CR && rip() == 7 &&
	      !FIELD_GET(CRQ_NUMBER, vmcs_read(VMCS_QUALIFICATION)),
	      "entry: clearing CR0.NE exits");
	FRESH(0x0f, 0x01, 0xd1); /* xsetbv */
	vmcs_write(VMCS_GUEST_CR4, vmcs_read(VMCS_GUEST_CR4) | BIT64(18));
	check(run() == VMX_XSETBV, "entry: XSETBV exits");
}

/* What must be refused, with the error that dump.c has words for. */
static void test_refused(void)
{
	FRESH(VMCALL);
	launched = true;
	check(run() == ~0u && vmcs_read(VMCS_ERROR) == 5, "refused: VMRESUME before VMLAUNCH");
	FRESH(VMCALL);
	vmcs_write(VMCS_CR3_TARGETS, 500);
	check(run() == ~0u && vmcs_read(VMCS_ERROR) == 7, "refused: controls");
	FRESH(VMCALL);
	vmcs_write(VMCS_HOST_CS, 0);
	check(run() == ~0u && vmcs_read(VMCS_ERROR) == 8, "refused: host state");
	FRESH(VMCALL);
	vmcs_write(VMCS_GUEST_RFLAGS, 0);
	check(run() == (VMX_ENTRY_FAILED | 33), "refused: guest state");
}

/* ---------------------------------------------------------------- bitmaps */

static void test_bitmaps(void)
{
	u64 q;

	FRESH(0xe6, 0x80, 0xe4, 0x61, VMCALL); /* out %al,$0x80; in $0x61,%al */
	p.io[0x61 / 8] |= 1u << 0x61 % 8;
	check(run() == VMX_IO, "bitmap: a port exits");
	q = vmcs_read(VMCS_QUALIFICATION);
	check(FIELD_GET(IOQ_PORT, q) == 0x61 && (q & IOQ_IN) && !FIELD_GET(IOQ_BYTES, q) &&
	      rip() == 2 && vmcs_read(VMCS_EXIT_BYTES) == 2, "bitmap: which, how long");
	FRESH(0xf3, 0x66, 0x64, 0x6f, VMCALL); /* rep outsw %fs:(%rsi),%dx */
	p.io[0x8400 / 8] |= 1;
	gpr[RDX] = 0x8400;
	gpr[RCX] = 2;
	gpr[RSI] = (u64)p.data;
	check(run() == VMX_IO, "bitmap: OUTS exits");
	q = vmcs_read(VMCS_QUALIFICATION);
	check((q & IOQ_STRING) && (q & IOQ_REP) && FIELD_GET(IOQ_BYTES, q) == 1 &&
	      FIELD_GET(IOI_SEG, vmcs_read(VMCS_EXIT_INSN)) == 4 &&
	      FIELD_GET(IOI_ADDR, vmcs_read(VMCS_EXIT_INSN)) == 2, "bitmap: its operand");
	FRESH(0x0f, 0x32, VMCALL, 0x0f, 0x30, VMCALL); /* rdmsr; wrmsr */
	gpr[RCX] = MSR_PAT;
	p.msr[2048 + MSR_PAT / 8] |= 1u << MSR_PAT % 8;
	check(run() == VMX_VMCALL && (u32)gpr[RAX] == (u32)rdmsr(MSR_PAT), "bitmap: an MSR passes");
	check(run_on() == VMX_WRMSR, "bitmap: writing it exits");
	FRESH(0x0f, 0x32, VMCALL);
	gpr[RCX] = 0xc0000082;
	p.msr[1024 + 0x82 / 8] |= 1u << 0x82 % 8;
	check(run() == VMX_RDMSR, "bitmap: an MSR of the upper range exits");
	FRESH(0x0f, 0x32, VMCALL);
	gpr[RCX] = 0x40000000;
	check(run() == VMX_RDMSR, "bitmap: an MSR of no range exits");
}

/* ---------------------------------------------------------------- EPT */

static void hook(const void *at, enum npt_access access)
{
	if (npt_set(&npt, ALIGN_DOWN((u64)at, 4096ull), 4096, access))
		check(false, "ept: the table cannot be changed");
	invept();
	npt_reclaim(&npt);
}

static void test_ept(void)
{
	u64 q;

	FRESH(0x8a, 0x06, VMCALL, 0x88, 0x06, VMCALL); /* mov (%rsi),%al; mov %al,(%rsi) */
	gpr[RSI] = (u64)p.data + 0x123;
	hook(p.data, NPT_NONE);
	check(run() == VMX_EPT_VIOLATION, "ept: an absent page exits");
	q = vmcs_read(VMCS_QUALIFICATION);
	check(vmcs_read(VMCS_GUEST_PHYSICAL) == gpr[RSI] && !(q & (EPTQ_WRITE | EPTQ_FETCH)) &&
	      (q & EPTQ_LINEAR) && (q & EPTQ_FINAL), "ept: where and how");
	hook(p.data, NPT_RO);
	check(run() == VMX_VMCALL, "ept: a read of a read-only page does not");
	check(run_on() == VMX_EPT_VIOLATION && (vmcs_read(VMCS_QUALIFICATION) & EPTQ_WRITE),
	      "ept: a write does");
	hook(p.data, NPT_RW);
	check(run() == VMX_VMCALL, "ept: nor when it is back");
	FRESH(0xff, 0xe6); /* jmp *%rsi */
	gpr[RSI] = (u64)p.data;
	hook(p.data, NPT_NONE);
	check(run() == VMX_EPT_VIOLATION && (vmcs_read(VMCS_QUALIFICATION) & EPTQ_FETCH),
	      "ept: a fetch is told");
	hook(p.data, NPT_RW);
	FRESH(0xff, 0x06, VMCALL); /* incl (%rsi) */
	gpr[RSI] = (u64)p.data + 4096 - 2; /* into the next page, the stack's */
	hook(p.stack, NPT_NONE);
	check(run() == VMX_EPT_VIOLATION &&
	      (vmcs_read(VMCS_GUEST_PHYSICAL) & ~4095ull) == (u64)p.stack, "ept: across pages");
	hook(p.stack, NPT_RW);
}

/* An event that cannot be delivered, and is when it can. */
static void test_vectoring(void)
{
	u32 e;

	FRESH(0xcd, 0x10, VMCALL); /* int $16 */
	hook(p.guest_idt, NPT_NONE);
	check(run() == VMX_EPT_VIOLATION, "vectoring: the IDT is hooked");
	e = (u32)vmcs_read(VMCS_VECTORING);
	check((e & EVENT_VALID) && (e & 0xff) == 0x10 &&
	      FIELD_GET(EVENT_TYPE, e) == EVENT_SOFT_INTR && vmcs_read(VMCS_EXIT_BYTES) == 2,
	      "vectoring: what was interrupted");
	hook(p.guest_idt, NPT_RW);
	vmcs_write(VMCS_ENTRY_EVENT, e & ~BIT(12));
	vmcs_write(VMCS_ENTRY_BYTES, vmcs_read(VMCS_EXIT_BYTES));
	check(run() == VMX_VMCALL && gpr[RDI] == 116, "vectoring: delivered again");
	check(*(u64 *)vmcs_read(VMCS_GUEST_RSP) == (u64)p.code + 2, "vectoring: returns behind it");
	FRESH(VMCALL);
	vmcs_write(VMCS_ENTRY_EVENT, EVENT_VALID | EVENT_CODE | EVENT_EXCEPTION << 8 | 13);
	vmcs_write(VMCS_ENTRY_CODE, 0x18);
	check(run() == VMX_VMCALL && gpr[RDI] == 113 &&
	      *(u64 *)vmcs_read(VMCS_GUEST_RSP) == 0x18, "event: exception with its code");
	check(!(vmcs_read(VMCS_ENTRY_EVENT) & EVENT_VALID), "event: gone after the exit");
}

/* ---------------------------------------------------------------- NMI */

static void nmi_self(void)
{
	*(volatile u32 *)(APIC + 0x310) = *(volatile u32 *)(APIC + 0x20);
	*(volatile u32 *)(APIC + 0x300) = ICR_NMI;
}

static void test_nmi(void)
{
	u64 before = nmi_count;

	FRESH(0xc7, 0x06, 0x00, 0x44, 0, 0, 0xeb, 0xfe); /* movl $0x4400,(%rsi); jmp . */
	*(volatile u32 *)(APIC + 0x310) = *(volatile u32 *)(APIC + 0x20);
	gpr[RSI] = APIC + 0x300;
	check(run() == VMX_EXCEPTION_NMI && nmi_count == before, "nmi: exits");
	vmx_take_nmi();
	check(nmi_count == before + 1, "nmi: taken in the host");
	nmi_self();
	for (u32 i = 0; i < 1000 && nmi_count == before + 1; i++)
		__asm__ volatile("pause");
	check(nmi_count == before + 2, "nmi: the next is not blocked");
	check(vmx_enter(gpr, &nmi_count, before + 1, 1) == 1,
	      "nmi: one in the host stops the entry");

	/* Into the guest; the second waits for the window that its IRET opens. */
	FRESH(0xff, 0xc1, 0xeb, 0xfc); /* inc %ecx; jmp . - 2 */
	gate_set(&p.guest_idt[2], guest_nmi);
	vmcs_write(VMCS_ENTRY_EVENT, EVENT_VALID | EVENT_NMI << 8 | 2);
	primary(PRIMARY_NMI_WINDOW);
	check(run() == VMX_NMI_WINDOW && gpr[RBX] == 1 &&
	      !(vmcs_read(VMCS_GUEST_BLOCKING) & BLOCKING_NMI),
	      "nmi: window after the guest's IRET");
	FRESH(VMCALL);
	vmcs_write(VMCS_ENTRY_EVENT, EVENT_VALID | EVENT_NMI << 8 | 2);
	check(run() == VMX_VMCALL && gpr[RDI] == 102 &&
	      (vmcs_read(VMCS_GUEST_BLOCKING) & BLOCKING_NMI), "nmi: blocked until then");
	vmcs_write(VMCS_GUEST_BLOCKING, 0);
}

/* ---------------------------------------------------------------- the timer */

static void test_timer(void)
{
	FRESH(0xeb, 0xfe);
	vmcs_write(VMCS_PIN, vmcs_read(VMCS_PIN) | PIN_TIMER);
	vmcs_write(VMCS_TIMER, 10000);
	check(run() == VMX_TIMER && !rip(), "timer: ends a loop");
	vmcs_write(VMCS_TIMER, 0);
	check(run() == VMX_TIMER, "timer: at once");
	FRESH(0xf4, VMCALL); /* hlt */
	vmcs_write(VMCS_PIN, vmcs_read(VMCS_PIN) | PIN_TIMER);
	vmcs_write(VMCS_TIMER, 10000);
	check(run() == VMX_TIMER && rip() == 1 &&
	      vmcs_read(VMCS_GUEST_ACTIVITY) == ACTIVITY_HLT, "timer: counts in HLT");
	vmcs_write(VMCS_TIMER, 10000);
	check(run() == VMX_TIMER && vmcs_read(VMCS_GUEST_ACTIVITY) == ACTIVITY_HLT,
	      "timer: and the guest stays there");
	vmcs_write(VMCS_GUEST_ACTIVITY, ACTIVITY_ACTIVE);
	vmcs_write(VMCS_TIMER, 100000);
	check(run() == VMX_VMCALL, "timer: until it is woken");
	FRESH(0x0f, 0x01, 0xc9, VMCALL); /* mwait */
	primary(PRIMARY_MWAIT);
	check(run() == VMX_MWAIT, "timer: MWAIT exits where asked");
}

/* ---------------------------------------------------------------- modes */

static void test_modes(void)
{
	/* 32-bit code with EFER.LME: mov %cr0,%eax; or $PG,%eax; mov %eax,%cr0 */
	FRESH(0x0f, 0x20, 0xc0, 0x0d, 0, 0, 0, 0x80, 0x0f, 0x22, 0xc0, VMCALL,
	      0x0f, 0x20, 0xc0, 0x25, 0xff, 0xff, 0xff, 0x7f, 0x0f, 0x22, 0xc0, VMCALL);
	segment(1, 8, 0, ~0u, 0xc09b);
	vmcs_write(VMCS_GUEST_CR0, vmcs_read(VMCS_GUEST_CR0) & ~CR0_PG);
	vmcs_write(VMCS_GUEST_EFER, rdmsr(MSR_EFER) & ~EFER_LMA);
	vmcs_write(VMCS_ENTRY_CONTROLS, vmcs_read(VMCS_ENTRY_CONTROLS) & ~(u64)ENTRYC_IA32E);
	check(run() == VMX_VMCALL && (vmcs_read(VMCS_GUEST_CR0) & CR0_PG),
	      "mode: PG without an exit");
	check((vmcs_read(VMCS_GUEST_EFER) & EFER_LMA) &&
	      (vmcs_read(VMCS_ENTRY_CONTROLS) & ENTRYC_IA32E), "mode: LMA and the control follow");
	check(run_on() == VMX_VMCALL && !(vmcs_read(VMCS_GUEST_EFER) & EFER_LMA) &&
	      !(vmcs_read(VMCS_ENTRY_CONTROLS) & ENTRYC_IA32E), "mode: and back");

	/* Real mode as after INIT and SIPI, but for where it stands. */
	FRESH(0x8c, 0xc8, VMCALL, 0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, VMCALL);
	for (u32 s = 0; s < 6; s++)
		segment(s, 0, 0, 0xffff, 0x93);
	segment(1, 0x9000, (u64)p.code, 0xffff, 0x93);
	segment(6, 0, 0, 0xffff, 0x82);
	vmcs_write(VMCS_GUEST_CR0, 0x30);
	vmcs_write(VMCS_CR0_SHADOW, 0x10);
	vmcs_write(VMCS_GUEST_CR3, 0);
	vmcs_write(VMCS_GUEST_CR4, CR4_VMXE);
	vmcs_write(VMCS_CR4_SHADOW, 0);
	vmcs_write(VMCS_GUEST_EFER, 0);
	vmcs_write(VMCS_GUEST_RIP, 0);
	vmcs_write(VMCS_ENTRY_CONTROLS, vmcs_read(VMCS_ENTRY_CONTROLS) & ~(u64)ENTRYC_IA32E);
	check(run() == VMX_VMCALL && (u16)gpr[RAX] == 0x9000, "mode: real, CS a data segment's");
	check(run_on() == VMX_VMCALL && (vmcs_read(VMCS_GUEST_CR0) & 1),
	      "mode: PE without an exit");
}

/* ---------------------------------------------------------------- the local APIC */

/*
 * What each way of watching the APIC makes of a read and a write of a register
 * that changes by itself or has an effect.
 */
static void test_apic(void)
{
	bool registers = rdmsr(MSR_VMX_SECONDARY) >> 32 & SECONDARY_APIC_REGISTERS;

	/* mov 0x20(%rsi),%eax; mov %eax,0x80(%rsi); vmcall */
#define APIC_CODE 0x8b, 0x46, 0x20, 0x89, 0x86, 0x80, 0, 0, 0, VMCALL
	FRESH(APIC_CODE);
	gpr[RSI] = APIC;
	hook((void *)APIC, NPT_RO);
	check(run() == VMX_EPT_VIOLATION && rip() == 3 &&
	      gpr[RAX] == *(volatile u32 *)(APIC + 0x20), "apic: read-only page, the write exits");
	hook((void *)APIC, NPT_RW);
	FRESH(APIC_CODE);
	gpr[RSI] = APIC;
	vmcs_write(VMCS_APIC_ACCESS, APIC);
	secondary(SECONDARY_APIC_ACCESS, true);
	check(run() == VMX_APIC_ACCESS && !rip() && (vmcs_read(VMCS_QUALIFICATION) & 0xfff) == 0x20,
	      "apic: virtualized accesses, the read exits");
	vmcs_write(VMCS_GUEST_RIP, (u64)p.code + 3);
	check(run() == VMX_APIC_ACCESS && (vmcs_read(VMCS_QUALIFICATION) & 0xffff) == 0x1080,
	      "apic: and the write");
	if (registers) {
		FRESH(APIC_CODE);
		gpr[RSI] = APIC;
		*(u32 *)(p.vapic + 0x20) = 0x5a000050;
		vmcs_write(VMCS_APIC_ACCESS, APIC);
		vmcs_write(VMCS_VIRTUAL_APIC, (u64)p.vapic);
		vmcs_write(VMCS_TPR_THRESHOLD, 0);
		primary(PRIMARY_TPR_SHADOW);
		secondary(SECONDARY_APIC_ACCESS | SECONDARY_APIC_REGISTERS, true);
		check(run() == VMX_VMCALL && (u32)gpr[RAX] == 0x5a000050 && p.vapic[0x80] == 0x50 &&
		      !*(volatile u32 *)(APIC + 0x80),
		      "apic: virtualized registers, reads see a copy and the TPR stays in it");
		FRESH(0xc7, 0x86, 0x00, 0x03, 0, 0, 0xfe, 0, 0x04, 0, VMCALL); /* ICR: self, 0xfe */
		gpr[RSI] = APIC;
		vmcs_write(VMCS_APIC_ACCESS, APIC);
		vmcs_write(VMCS_VIRTUAL_APIC, (u64)p.vapic);
		vmcs_write(VMCS_TPR_THRESHOLD, 0);
		primary(PRIMARY_TPR_SHADOW);
		secondary(SECONDARY_APIC_ACCESS | SECONDARY_APIC_REGISTERS, true);
		check(run() == VMX_APIC_WRITE && vmcs_read(VMCS_QUALIFICATION) == 0x300 &&
		      rip() == 10, "apic: a write of the ICR exits behind it");
	}
	FRESH(0x0f, 0x30, VMCALL);
	gpr[RCX] = MSR_X2APIC_ICR;
	p.msr[2048 + MSR_X2APIC_ICR / 8] |= 1u << MSR_X2APIC_ICR % 8;
	check(run() == VMX_WRMSR, "apic: x2APIC's ICR exits by the bitmap");
}

/* ---------------------------------------------------------------- */

static bool vmx_on(void)
{
	u64 pa = (u64)p.vmxon, control = rdmsr(MSR_FEATURE_CONTROL);
	u32 revision = (u32)(rdmsr(MSR_VMX_BASIC) & VMX_BASIC_REVISION);
	bool bad;

	if (!(control & FEATURE_CONTROL_LOCK))
		wrmsr(MSR_FEATURE_CONTROL, FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMXON);
	__builtin_memcpy(p.vmxon, &revision, 4);
	__builtin_memcpy(p.vmcs, &revision, 4);
	__asm__ volatile("mov %0, %%cr0" :: "r"(READ("cr0") | CR0_NE));
	__asm__ volatile("mov %0, %%cr4" :: "r"(READ("cr4") | CR4_VMXE));
	__asm__ volatile("vmxon %1" : "=@ccbe"(bad) : "m"(pa) : "memory");
	return !bad;
}

static void finish(void)
{
	say("vmxsuite: %u ok, %u bad\n", ok_count, bad_count);
	for (u32 i = 0; i < 200000; i++)
		inb(COM1 + 5);
	for (const char *t = "Shutdown"; *t; t++)
		outb(BOCHS_SHUTDOWN, (u8)*t);
	for (;;)
		__asm__ volatile("hlt");
}

EFI_STATUS efi_main(EFI_HANDLE image __unused, EFI_SYSTEM_TABLE *table __unused)
{
	static const struct memtypes types = { .def = 0x806 };
	const struct npt_shape shape = { .format = NPT_EPT, .limit = LIMIT, .types = &types };
	const char *missing = vmx_missing(rdmsr);

	__asm__ volatile("cli");
	say("\nvmxsuite: begin\n");
	if (missing) {
		say("BAD needs: lacks %s\nvmxsuite: 0 ok, 1 bad\n", missing);
		finish();
	}
	host_tables();
	if (npt_pool_pages(&shape, 4) > POOL_PAGES || npt_init(&npt, &shape, p.pool, POOL_PAGES) ||
	    !vmx_on()) {
		say("BAD vmxon: failed\n");
		bad_count++;
		finish();
	}
	test_entry();
	test_refused();
	test_bitmaps();
	test_ept();
	test_vectoring();
	test_nmi();
	test_timer();
	test_modes();
	test_apic();
	finish();
	return EFI_SUCCESS;
}
