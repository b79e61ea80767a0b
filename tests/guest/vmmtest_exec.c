/*
 * vmmtest_exec.c - descriptor and page tables of our own, traps, code under test
 *
 * One CPU, interrupts off but inside code under test. While exec_cur is set
 * any trap but an NMI or the timer ends that code and is recorded in it.
 */
#include "tests/guest/vmmtest.h"

struct table_reg {
	u16 limit;
	u64 base;
} __packed;

struct gate {
	u16 offset0, selector;
	u8 ist, type;
	u16 offset1;
	u32 offset2, reserved;
};

static u64 gdt[12];
static struct gate idt[256];
static struct {
	u32 reserved0;
	u64 rsp[3], reserved1, ist[7], reserved2;
	u16 reserved3, iopb;
} __packed tss;
static u8 trap_stack[32768] __aligned(16); /* from CPL 3, and #DF */
static u64 tables[7][512] __aligned(4096);
static u64 window_pd[512] __aligned(4096);

static struct table_reg firmware_gdt, firmware_idt;
static u16 firmware_cs, firmware_ds;
static struct exec *volatile exec_cur;

extern const u8 trap_stubs[];
void load_tables(const void *gdtr, const void *idtr, u32 code, u32 data, u32 selector_tss);
struct exec *trap(struct trap_frame *f);

static void apic_eoi(void)
{
	u64 base = rdmsr(0x1b);

	if (base & BIT64(10))
		wrmsr(0x80b, 0);
	else
		write32((base & GENMASK(51, 12)) + 0xb0, 0);
}

/** trap() - everything that comes through the IDT; the result is for exec_leave */
struct exec *trap(struct trap_frame *f)
{
	struct exec *x = exec_cur;
	u64 cr2;

	if (f->vector == VEC_NMI) {
		g.nmis++;
		g.interrupted_rip = f->rip;
		if (g.on_nmi)
			g.on_nmi();
		return NULL;
	}
	if (f->vector == VEC_TIMER) {
		g.timers++;
		g.interrupted_rip = f->rip;
		apic_eoi();
		return NULL;
	}
	if (f->vector >= 32 && f->vector != VEC_DONE) {
		apic_eoi();
		return NULL;
	}
	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	if (!x) {
		say("vmmtest: trap %lu code=%lx rip=%lx cr2=%lx\n", f->vector, f->code, f->rip,
		    cr2);
		outb(0xcf9, 6);
		for (;;)
			__asm__ volatile("hlt");
	}
	exec_cur = NULL;
	*x = (struct exec){
		.gpr = { f->rax, f->rcx, f->rdx, f->rbx, f->rsp, f->rbp, f->rsi, f->rdi, f->r8,
			 f->r9, f->r10, f->r11, f->r12, f->r13, f->r14, f->r15 },
		.rflags = f->rflags,
		.host_rsp = x->host_rsp,
		.rip = x->rip,
		.vector = f->vector,
		.code = f->code,
		.cr2 = cr2,
		.at_rip = f->rip,
		.at_cs = f->cs,
		.at_rsp = f->rsp,
	};
	return x;
}

/** exec_init() - all registers zero, flat segments, a stack of its own */
void exec_init(struct exec *x)
{
	*x = (struct exec){ .rflags = 2, .cs = SEL_CODE64, .ds = SEL_FLAT, .es = SEL_FLAT,
			    .ss = SEL_FLAT };
	x->gpr[RSP] = low_at(LOW_STACK) + PAGE_BYTES - 64;
}

/** exec_code() - copy code of 64, 32 or 16 bits to where it can run, and run it */
void exec_code(struct exec *x, const void *code, u32 bytes, u32 mode)
{
	u8 *to = (u8 *)low_at(LOW_CODE);

	__builtin_memcpy(to, code, bytes);
	to[bytes] = 0xcd; /* INT */
	to[bytes + 1] = VEC_DONE;
	x->rip = (u64)to;
	if (mode == 32 && x->cs == SEL_CODE64)
		x->cs = SEL_CODE32;
	if (mode == 16) {
		x->cs = SEL_CODE16;
		x->ds = x->es = SEL_DATA16;
		x->rip -= g.low;
	}
	exec_cur = x;
	exec_run(x);
}

static void gate_set(u32 n)
{
	u64 a = (u64)trap_stubs + n * 16;

	idt[n] = (struct gate){ .offset0 = (u16)a, .selector = SEL_CODE64, .type = 0x8e,
				.offset1 = (u16)(a >> 16), .offset2 = (u32)(a >> 32) };
}

static u64 with_base(u64 descriptor, u64 base)
{
	return descriptor | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
}

/** cpu_tables_init() - fill them in; nothing is loaded */
void cpu_tables_init(void)
{
	u64 t = (u64)&tss, flags = PTE_P | PTE_W | PTE_U;

	gdt[SEL_CODE64 / 8] = 0x00209b0000000000ull;
	gdt[SEL_FLAT / 8] = 0x00cf93000000ffffull;
	gdt[SEL_CODE32 / 8] = 0x00cf9b000000ffffull;
	gdt[SEL_CODE16 / 8] = with_base(0x00009b000000ffffull, g.low);
	gdt[SEL_DATA16 / 8] = with_base(0x000093000000ffffull, g.low);
	gdt[SEL_USER_FLAT / 8] = 0x00cff3000000ffffull;
	gdt[SEL_USER64 / 8] = 0x0020fb0000000000ull;
	gdt[SEL_USER32 / 8] = 0x00cffb000000ffffull;
	gdt[SEL_TSS / 8] = with_base(0x0000890000000000ull | (sizeof(tss) - 1), t & 0xffffffff);
	gdt[SEL_TSS / 8 + 1] = t >> 32;
	tss.rsp[0] = (u64)trap_stack + sizeof(trap_stack);
	tss.ist[0] = (u64)trap_stack + 8192;
	tss.iopb = sizeof(tss);
	for (u32 i = 0; i < 256; i++)
		gate_set(i);
	idt[8].ist = 1;
	idt[VEC_DONE].type = 0xee; /* from CPL 3 too */

	/* 4 GiB identity in 2 MiB leaves, and the window. */
	tables[0][0] = (u64)tables[1] | flags;
	for (u32 i = 0; i < 4; i++) {
		u64 *pd = tables[2 + i];

		tables[1][i] = (u64)pd | flags;
		for (u64 j = 0; j < 512; j++)
			pd[j] = (i * GIB + j * BYTES_2M) | flags | BIT64(7);
	}
	g.pt = (u64 *)low_at(LOW_SPARE);
	__builtin_memset(g.pt, 0, PAGE_BYTES);
	tables[0][WINDOW >> 39] = (u64)tables[6] | flags;
	tables[6][0] = (u64)window_pd | flags;
	window_pd[0] = (u64)g.pt | flags;
	g.cr3 = (u64)tables[0];
}

/** map_window() - one page of the window; 0 flags: not present */
void map_window(u32 page, u64 pa, u64 flags)
{
	g.pt[page] = flags ? pa | flags : 0;
	__asm__ volatile("invlpg (%0)" : : "r"(window(page)) : "memory");
}

/** tables_own() - leave the firmware's descriptor and page tables for ours */
void tables_own(void)
{
	struct table_reg gdtr = { sizeof(gdt) - 1, (u64)gdt }, idtr = { sizeof(idt) - 1, (u64)idt };

	__asm__ volatile("cli; sgdt %0; sidt %1; mov %%cs, %w2; mov %%ds, %w3; mov %%cr3, %4"
			 : "=m"(firmware_gdt), "=m"(firmware_idt), "=r"(firmware_cs),
			   "=r"(firmware_ds), "=r"(g.firmware_cr3) : : "memory");
	gdt[SEL_TSS / 8] &= ~BIT64(41); /* not busy */
	load_tables(&gdtr, &idtr, SEL_CODE64, SEL_FLAT, SEL_TSS);
	__asm__ volatile("mov %0, %%cr3" : : "r"(g.cr3) : "memory");
}

/** tables_firmware() - back, with interrupts still off */
void tables_firmware(void)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(g.firmware_cr3) : "memory");
	load_tables(&firmware_gdt, &firmware_idt, firmware_cs, firmware_ds, 0);
}
