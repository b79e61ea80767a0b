/*
 * vmmtest_irq.c - NMI, timer, other processors, processor modes
 */
#include "base/fmt.h"
#include "tests/guest/vmmtest.h"

#define APIC_SVR 0xf0u
#define APIC_ICR_LOW 0x300u
#define APIC_ICR_HIGH 0x310u
#define APIC_LVT_TIMER 0x320u
#define APIC_TIMER_INITIAL 0x380u
#define APIC_TIMER_CURRENT 0x390u
#define APIC_TIMER_DIVIDE 0x3e0u
#define ICR_NMI 0x400u
#define ICR_INIT 0x500u
#define ICR_SIPI 0x600u
#define ICR_ASSERT 0x4000u
#define ICR_LEVEL 0x8000u
#define TIMER_PERIODIC BIT(17)
#define TIMER_MASKED BIT(16)

#define A_WHILE 4000000u /* turns of spin(): milliseconds in every emulator */

static u64 apic_base(void)
{
	return rdmsr(0x1b) & GENMASK(51, 12);
}

static bool x2apic(void)
{
	return rdmsr(0x1b) & BIT64(10);
}

static void apic_write(u32 reg, u32 v)
{
	if (x2apic())
		wrmsr(0x800 + reg / 16, v);
	else
		write32(apic_base() + reg, v);
}


static void icr(u32 dest, u32 low)
{
	if (x2apic()) {
		wrmsr(0x830, (u64)dest << 32 | low);
		return;
	}
	write32(apic_base() + APIC_ICR_HIGH, dest << 24);
	write32(apic_base() + APIC_ICR_LOW, low);
}

/* Until *@what is @want, or patience ends. */
static bool wait_for(volatile u32 *what, u32 want)
{
	for (u32 i = 0; i < 200 && *what < want; i++)
		spin(A_WHILE / 10);
	return *what >= want;
}

/* ---------------------------------------------------------------- NMI */

static u32 in_handler;

static void send_in_handler(void)
{
	u32 r[4], before = g.nmis;

	g.on_nmi = NULL;
	icr(g.apic_id, ICR_NMI | ICR_ASSERT);
	icr(g.apic_id, ICR_NMI | ICR_ASSERT);
	cpuid(0, 0, r); /* an exit between */
	write32(low_at(LOW_HOOK), 1);
	spin(A_WHILE);
	cpuid(0, 0, r);
	in_handler = g.nmis - before;
}

/** test_nmi() - from this CPU to itself */
void test_nmi(void)
{
	spin(A_WHILE * 4); /* after NMIs of the VMM's own */
	g.nmis = 0;
	icr(g.apic_id, ICR_NMI | ICR_ASSERT);
	check(wait_for(&g.nmis, 1), "nmi: to itself, interrupts off", "never came");
	spin(A_WHILE);
	check(g.nmis == 1, "nmi: once", "%u", g.nmis);
	g.nmis = 0;
	in_handler = 99;
	g.on_nmi = send_in_handler;
	icr(g.apic_id, ICR_NMI | ICR_ASSERT);
	wait_for(&g.nmis, 2);
	spin(A_WHILE);
	check(!in_handler, "nmi: blocked until IRET", "%u came in the handler", in_handler);
	check(g.nmis == 2, "nmi: two while blocked are one after it", "%u in all", g.nmis);
	g.nmis = 0;
	for (u32 i = 0; i < 20; i++) {
		icr(g.apic_id, ICR_NMI | ICR_ASSERT);
		wait_for(&g.nmis, i + 1);
	}
	check(g.nmis == 20, "nmi: twenty in a row", "%u", g.nmis);
}

/* ---------------------------------------------------------------- timer */

/* Stopped first: the last one-shot's microsecond, made periodic, keeps QEMU's main loop busy. */
static void timer(u32 count, u32 mode)
{
	apic_write(APIC_TIMER_INITIAL, 0);
	apic_write(APIC_TIMER_DIVIDE, 0xb); /* by 1 */
	apic_write(APIC_LVT_TIMER, VEC_TIMER | mode);
	apic_write(APIC_TIMER_INITIAL, count);
}

static void wait_timer(u32 n)
{
	for (u32 i = 0; i < 100000000 && g.timers < n; i++)
		__asm__ volatile("sti; nop; cli" : : : "memory");
}

/* STI's shadow covers an instruction that exits: the interrupt comes after it. */
static void shadow(void)
{
	struct exec x;

	g.timers = 0;
	timer(1000, 0);
	spin(A_WHILE);
	exec_init(&x);
	exec_code(&x, (const u8[]){ 0xfb, 0x0f, 0xa2, 0x90, 0x90 }, 5, 64);
	check(x.vector == NO_VECTOR && g.timers == 1 && g.interrupted_rip == x.rip + 3,
	      "timer: sti; cpuid: the interrupt comes after", "%u at +%lx", g.timers,
	      g.interrupted_rip - x.rip);
}

/** test_timer() - HLT wakes, interrupts come through exits */
void test_timer(void)
{
	bool ok = true;
	u32 r[4], n;

	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	apic_write(APIC_SVR, 0x1ff);
	g.timers = 0;
	timer(100000, 0);
	wait_timer(1);
	check(g.timers == 1, "timer: comes", "%u", g.timers);
	g.timers = 0;
	for (n = 0; n < 5; n++) {
		timer(200000, 0);
		__asm__ volatile("sti; hlt; cli" : : : "memory");
		ok = ok && g.timers == n + 1;
	}
	check(ok, "timer: wakes HLT", "%u of %u", g.timers, n);
	shadow();
	g.timers = 0;
	hook_log()->count = 0;
	timer(1000000, TIMER_PERIODIC);
	__asm__ volatile("sti" : : : "memory");
	for (n = 0, ok = true; n < 10000000 && (n < 4000 || g.timers < 3) && ok; n++) {
		cpuid(0, 0, r);
		if (g.vmm) {
			write32(low_at(LOW_HOOK) + 0x40, n);
			ok = read32(low_at(LOW_HOOK) + 0x40) == n;
		}
	}
	__asm__ volatile("cli" : : : "memory");
	timer(0, TIMER_MASKED);
	check(ok && g.timers > 2, "timer: comes between exits", "%u, round %u", g.timers, n);
	__asm__ volatile("sti; nop; cli" : : : "memory");
}

/* ---------------------------------------------------------------- other CPUs */

extern const u8 ap_start[], ap_end[];

/* At LOW_AP + 0x800, written by vmmtest_modes.S. */
struct ap_page {
	volatile u32 starts, eax, ebx, edx, eflags, cr0, cs, ip, ecx_feature, hook, nmis, esp;
};

static struct ap_page *ap_page(void)
{
	return (void *)(low_at(LOW_AP) + 0x800);
}

static void init_ap(void)
{
	icr(g.ap_id, ICR_INIT | ICR_ASSERT | ICR_LEVEL);
	spin(A_WHILE * 2);
	icr(g.ap_id, ICR_INIT | ICR_LEVEL); /* deassert, as older systems do */
	spin(A_WHILE / 10);
}

static void sipi_ap(void)
{
	icr(g.ap_id, ICR_SIPI | ICR_ASSERT | (u32)(low_at(LOW_AP) >> 12));
}

static void check_ap(const char *when)
{
	struct ap_page *a = ap_page();
	char name[64];
	u32 r[4];

	cpuid(1, 0, r);
#define AP(what, ok, fmt, ...)                                                 \
	do {                                                                   \
		fmt_snprintf(name, sizeof(name), "ap: " what ", %s", when);    \
		check(ok, name, fmt, __VA_ARGS__);                             \
	} while (0)
	AP("starts at the vector", a->cs == low_at(LOW_AP) >> 4 && !a->ip, "%x:%x", a->cs, a->ip);
	AP("EFLAGS", a->eflags == 2, "%x", a->eflags);
	AP("CR0", (a->cr0 & ~0x60000000u) == 0x10, "%x", a->cr0);
	AP("registers", !a->eax && !a->ebx && !a->esp && a->edx == r[0],
	   "eax=%x ebx=%x esp=%x edx=%x", a->eax, a->ebx, a->esp, a->edx);
	AP("no virtualization in CPUID", !g.vmm || !(a->ecx_feature & BIT(5)), "%x",
	   a->ecx_feature);
	AP("hooked page", !g.vmm || a->hook == 0x600d0000 + a->starts, "%x", a->hook);
#undef AP
}

/** test_aps() - INIT and SIPI, twice; NMI to an AP */
void test_aps(void)
{
	struct ap_page *a = ap_page();
	volatile u32 *vectors = NULL;
	u32 page = (u32)low_at(LOW_AP), n;

	if (g.cpus < 2)
		return;
	__builtin_memcpy((void *)low_at(LOW_AP), ap_start, (size_t)(ap_end - ap_start));
	__builtin_memset(a, 0, sizeof(*a));
	*(volatile u32 *)(low_at(LOW_AP) + 0x7f8) = (u32)(low_at(LOW_HOOK) >> 4);
	__asm__ volatile("" : "+r"(vectors)); /* address 0 is meant */
	vectors[VEC_NMI] = (page >> 4) << 16 | 0x700;

	init_ap();
	check(!a->starts, "ap: INIT alone starts nothing", "%u", a->starts);
	sipi_ap();
	check(wait_for(&a->starts, 1), "ap: starts", "never");
	check_ap("first");
	sipi_ap();
	spin(A_WHILE * 2);
	check(a->starts == 1, "ap: a second SIPI is dropped", "%u", a->starts);
	spin(A_WHILE * 4);
	icr(g.ap_id, ICR_NMI | ICR_ASSERT);
	check(wait_for(&a->nmis, 1), "ap: NMI wakes it in real mode", "never");
	spin(A_WHILE * 4);
	check(a->nmis == 1, "ap: one NMI", "%u", a->nmis);

	n = a->nmis;
	init_ap();
	spin(A_WHILE);
	icr(g.ap_id, ICR_NMI | ICR_ASSERT);
	spin(A_WHILE);
	check(a->nmis == n && a->starts == 1, "ap: waits for SIPI, NMI is no start",
	      "nmis=%u starts=%u", a->nmis, a->starts);
	sipi_ap();
	check(wait_for(&a->starts, 2), "ap: starts again", "never");
	check_ap("second");
	for (n = 3; n < 8; n++) {
		init_ap();
		sipi_ap();
		sipi_ap();
		if (!wait_for(&a->starts, n))
			break;
	}
	spin(A_WHILE);
	check(n == 8 && a->starts == 7, "ap: five times more", "%u", a->starts);
	init_ap();
}

/* ---------------------------------------------------------------- modes */

extern const u8 trip_start[], trip_end[];

/* At LOW_TRIP + 0xc00: in and out of vmmtest_modes.S. */
struct trip_page {
	u32 base, hook, cr3_pae, cr3_32, cr3_64, hidden_msr;
	u32 pad0[2];
	volatile struct {
		u32 cpuid_ecx, cpuid_ebx, hook, port, string, spare[3];
	} mode[8];
	u64 pad1[4];
	u64 idt32[14]; /* 0x140 */
	u64 pad2[2];
	struct {
		u16 limit;
		u32 base;
		u16 pad;
	} __packed idtr32, idtr16; /* 0x1c0 */
	u64 idtr64[2];
	volatile struct {
		u32 code, ip, want, count;
	} fault[4]; /* 0x1e0 */
	u64 pad3[4];
	char string[16]; /* 0x240 */
};

static_assert(offsetof(struct trip_page, idt32) == 0x140 &&
	      offsetof(struct trip_page, idtr32) == 0x1c0 &&
	      offsetof(struct trip_page, fault) == 0x1e0 &&
	      offsetof(struct trip_page, string) == 0x240, "vmmtest_modes.S");

extern const u8 trip_gp32[], trip_ud32[], trip_gp16[], trip_ud16[];

static u64 pae_root[4] __aligned(32);
static u32 root32[1024] __aligned(4096);

static void check_mode(u32 m, const char *mode, const struct handoff_test_log *log, u32 *at)
{
	static const struct {
		u32 bytes, write;
	} want[] = { { 4, 1 }, { 4, 0 }, { 4, 1 }, { 4, 0 },
		     { 1, 1 }, { 1, 1 }, { 1, 1 }, { 2, 0 } };
	struct trip_page *t = (void *)(low_at(LOW_TRIP) + 0xc00);
	char name[64];
	u32 r[4], i;

	cpuid(1, 0, r);
	fmt_snprintf(name, sizeof(name), "mode: %s: CPUID", mode);
	check(t->mode[m].cpuid_ecx == r[2] && t->mode[m].cpuid_ebx == r[1], name, "%x %x",
	      t->mode[m].cpuid_ecx, t->mode[m].cpuid_ebx);
	if (!g.vmm)
		return;
	fmt_snprintf(name, sizeof(name), "mode: %s: hooked page", mode);
	for (i = 0; i < ARRAY_SIZE(want); i++, (*at)++)
		if (log->count <= *at || log->entry[*at].bytes != want[i].bytes ||
		    log->entry[*at].write != want[i].write)
			break;
	check(i == ARRAY_SIZE(want) && t->mode[m].hook == 0x11223345 + m, name,
	      "access %u of %u, %x", i, (u32)ARRAY_SIZE(want), t->mode[m].hook);
	fmt_snprintf(name, sizeof(name), "mode: %s: hooked port", mode);
	check(t->mode[m].port == 0xa5000000 + m, name, "%x", t->mode[m].port);
	fmt_snprintf(name, sizeof(name), "mode: %s: outsb, insb", mode);
	check(t->mode[m].string == 0x636363, name, "%x", t->mode[m].string);
}

static u64 gate32(const u8 *handler)
{
	u64 a = low_at(LOW_TRIP) + (u64)(handler - trip_start);

	return (a & 0xffff) | (u64)SEL_CODE32 << 16 | 0x8e00ull << 32 | (a >> 16) << 48;
}

/* Interrupt tables of the trip for the faults that the VMM makes. */
static void fault_tables(struct trip_page *t)
{
	volatile u32 *vectors = NULL;
	u32 seg = (u32)low_at(LOW_TRIP) >> 4;

	__asm__ volatile("" : "+r"(vectors)); /* address 0 is meant */
	t->idt32[VEC_GP] = gate32(trip_gp32);
	t->idt32[VEC_UD] = gate32(trip_ud32);
	t->idtr32.limit = sizeof(t->idt32) - 1;
	t->idtr32.base = (u32)(u64)t->idt32;
	t->idtr16.limit = 0x3ff;
	vectors[VEC_GP] = seg << 16 | (u32)(trip_gp16 - trip_start);
	vectors[VEC_UD] = seg << 16 | (u32)(trip_ud16 - trip_start);
	t->hidden_msr = g.intel ? 0x480 : 0xc0010114;
}

static void check_fault(u32 n, u32 times, const char *name)
{
	struct trip_page *t = (void *)(low_at(LOW_TRIP) + 0xc00);

	check(!t->fault[n].code && t->fault[n].ip == t->fault[n].want && t->fault[n].count == times,
	      name, "%u times, code=%x ip=%x not %x", t->fault[n].count, t->fault[n].code,
	      t->fault[n].ip, t->fault[n].want);
}

/** test_modes() - one trip through the modes and back, exits in each */
void test_modes(void)
{
	static const char *const modes[] = {
		"32-bit compatibility", "protected, no paging", "32-bit paging", "PAE paging",
		"16-bit protected", "real", "protected again",
	};
	struct trip_page *t = (void *)(low_at(LOW_TRIP) + 0xc00);
	const u64 *top = (const u64 *)g.cr3, *l3 = (const u64 *)(top[0] & ~0xfffull);
	const struct handoff_test_log *log = hook_log();
	void (*trip)(u64 base) = (void *)low_at(LOW_TRIP);
	u32 at = 0;

	__builtin_memcpy((void *)low_at(LOW_TRIP), trip_start, (size_t)(trip_end - trip_start));
	for (u32 i = 0; i < 4; i++)
		pae_root[i] = (l3[i] & ~0xfffull) | PTE_P;
	for (u32 i = 0; i < 1024; i++)
		root32[i] = i << 22 | 0x83;
	*t = (struct trip_page){
		.base = (u32)g.low,
		.hook = (u32)(g.vmm ? low_at(LOW_HOOK) : low_at(LOW_PLAIN)),
		.cr3_pae = (u32)(u64)pae_root,
		.cr3_32 = (u32)(u64)root32,
		.cr3_64 = (u32)g.cr3,
		.string = "abc",
	};
	if (g.vmm)
		fault_tables(t);
	hook_log()->count = 0;
	port_log()->count = 0;
	trip(g.low);
	for (u32 m = 0; m < ARRAY_SIZE(modes); m++)
		check_mode(m, modes[m], log, &at);
	check(true, "mode: back in long mode", "%s", "");
	if (!g.vmm)
		return;
	check(port_log()->count == ARRAY_SIZE(modes) * 8, "mode: each port access once", "%u",
	      port_log()->count);
	check_fault(0, 1, "mode: #GP in protected mode");
	check_fault(1, 2, "mode: #UD in protected mode");
	check_fault(2, 1, "mode: #GP in real mode has no error code");
	check_fault(3, 2, "mode: #UD in real mode");
}
