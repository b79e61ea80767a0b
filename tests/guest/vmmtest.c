/*
 * vmmtest.c - a guest that tries the VMM and nothing else
 *
 * Started in the OS's place by freshet.efi in mode test, on SVM and on VMX, it
 * must print the same lines: "ok NAME" or "BAD NAME: why" for each check, at
 * the end "vmmtest: N ok, M bad"; then it powers off. "fact" lines are for
 * comparison with a run on the bare machine, where it can be booted as well:
 * it then leaves out what needs a VMM, and every other check must hold.
 *
 * In the boot phase it has the VMM hook one page below 1 MiB, some ports, and
 * pages around the edges of a large one (HC_TEST). Then it leaves boot
 * services; from there no hypercall exists, and it has the machine to itself.
 */
#include <efi.h>
#include <stdarg.h>

#include "base/err.h"
#include "base/fmt.h"
#include "tests/guest/vmmtest.h"

#define COM1 0x3f8

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table);

struct guest g;

static u32 passed, failed;
static EFI_BOOT_SERVICES *bs;
static char memory_map[65536] __aligned(8);

static void say_text(const char *t)
{
	for (; *t; t++) {
		for (u32 i = 0; i < 100000 && !(inb(COM1 + 5) & 0x20); i++)
			;
		if (*t == '\n')
			outb(COM1, '\r');
		outb(COM1, (u8)*t);
	}
}

void say(const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	fmt_vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	say_text(line);
}

/** check() - one result; the text after @name is for failures only */
void check(bool ok, const char *name, const char *fmt, ...)
{
	char why[256];
	va_list ap;

	if (ok) {
		passed++;
		say("ok %s\n", name);
		return;
	}
	failed++;
	va_start(ap, fmt);
	fmt_vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	say("BAD %s: ", name);
	say("%s\n", why);
}

/** spin() - a while that does not depend on any clock */
void spin(u32 loops)
{
	__asm__ volatile("1: dec %0; jnz 1b" : "+r"(loops));
}

s64 hypercall(u32 nr, u64 arg)
{
	struct exec x;

	exec_init(&x);
	x.gpr[RAX] = HC_MAGIC | nr;
	x.gpr[RBX] = arg;
	if (g.intel)
		EXEC_BYTES(&x, 0x0f, 0x01, 0xc1);
	else
		EXEC_BYTES(&x, 0x0f, 0x01, 0xd9);
	return x.vector == NO_VECTOR ? (s64)x.gpr[RAX] : -ENOSYS;
}

/** test_call() - HC_TEST, which must work */
u64 test_call(u32 op, u64 base, u64 log)
{
	static struct handoff_test t;
	s64 err;

	t = (struct handoff_test){ .op = op, .base = base, .log = log };
	err = hypercall(HC_TEST, (u64)&t);
	if (err)
		check(false, "vmm: test hook", "op %u at %lx: %s", op, base, err_name((int)-err));
	g.region_pa = op == HT_INFO ? t.region_pa : g.region_pa;
	g.region_bytes = op == HT_INFO ? t.region_bytes : g.region_bytes;
	g.nested_faults = op == HT_INFO ? t.nested_faults : g.nested_faults;
	return (u64)err;
}

static bool allocate(UINTN pages, u64 below, UINTN type, u64 *out)
{
	EFI_PHYSICAL_ADDRESS at = below;

	if (EFI_ERROR(bs->AllocatePages(AllocateMaxAddress, (EFI_MEMORY_TYPE)type, pages, &at)))
		return false;
	__builtin_memset((void *)at, 0, pages * PAGE_BYTES);
	*out = at;
	return true;
}

/* [PI 1.7 vol. 2 §13.4] */
static EFI_GUID mp_guid = { 0x3fdda605, 0xa76e, 0x4f46,
			    { 0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08 } };

struct mp_info {
	UINT64 apic_id;
	UINT32 flags, location[3], extended[6];
};

struct mp_services {
	EFI_STATUS (EFIAPI *count)(struct mp_services *mp, UINTN *all, UINTN *enabled);
	EFI_STATUS (EFIAPI *info)(struct mp_services *mp, UINTN number, struct mp_info *out);
};

static void find_cpus(void)
{
	struct mp_services *mp;
	struct mp_info info;
	UINTN all = 1, enabled;
	u32 r[4];

	cpuid(0, 0, r);
	g.intel = r[2] == 0x6c65746e; /* "ntel" */
	cpuid(1, 0, r);
	g.apic_id = r[1] >> 24;
	g.cpus = 1;
	if (EFI_ERROR(bs->LocateProtocol(&mp_guid, NULL, (void **)&mp)) ||
	    EFI_ERROR(mp->count(mp, &all, &enabled)))
		return;
	g.cpus = (u32)enabled;
	for (UINTN i = 0; i < all; i++)
		if (!EFI_ERROR(mp->info(mp, i, &info)) && info.apic_id != g.apic_id)
			g.ap_id = (u32)info.apic_id;
}

static u64 faults_so_far(void)
{
	tables_own();
	test_call(HT_INFO, 0, 0);
	tables_firmware();
	return g.nested_faults;
}

/* Read each page of RAM, by the firmware's map and tables: nothing is mapped on demand. */
static void touch_memory(void)
{
	UINTN bytes = sizeof(memory_map), key, step;
	UINT32 version;
	u64 pages = 0, before;

	if (bs->GetMemoryMap(&bytes, (void *)memory_map, &key, &step, &version))
		bytes = 0;
	before = faults_so_far();
	for (UINTN at = 0; at < bytes; at += step) {
		const EFI_MEMORY_DESCRIPTOR *d = (void *)(memory_map + at);

		if (d->Type != EfiConventionalMemory && d->Type != EfiBootServicesData &&
		    d->Type != EfiBootServicesCode && d->Type != EfiLoaderData)
			continue;
		for (u64 p = d->PhysicalStart ? 0 : 1; p < d->NumberOfPages; p++, pages++)
			*(volatile u8 *)(d->PhysicalStart + p * PAGE_BYTES);
	}
	before = faults_so_far() - before;
	say("vmmtest: touched %lu MiB\n", pages / 256);
	check(pages && !before, "touch: memory is mapped without an exit", "%lu exits", before);
}

/* Hooks, and all that needs hypercalls. */
static void boot_phase(void)
{
	tables_own();
	g.vmm = hypercall(HC_STATUS, low_at(LOW_OTHER)) == 0;
	if (g.vmm) {
		test_call(HT_INFO, 0, 0);
		test_hypercalls();
		test_call(HT_HOOK, low_at(LOW_HOOK), low_at(LOW_LOG));
		test_call(HT_PORTS, PORT_BASE, low_at(LOW_PORT_LOG));
		test_edges();
	}
	tables_firmware();
	if (g.vmm)
		touch_memory();
}

static void alone(void)
{
	tables_own();
	facts();
	test_cpuid();
	test_msr();
	test_processor();
	if (g.vmm) {
		test_insns();
		test_pages();
		test_region();
		test_faults();
		test_ports();
	}
	test_forbidden(false);
	test_timer();
	test_nmi();
	test_modes();
	test_aps();
}

/* Q35's and Bochs's power management, then Bochs's own way, then a reset. */
static __attribute__((noreturn)) void power_off(void)
{
	static const char bochs[] = "Shutdown";

	for (u32 i = 0; i < 1000000 && !(inb(COM1 + 5) & 0x40); i++)
		; /* until the last character is out */
	__asm__ volatile("outw %0, %w1" : : "a"((u16)0x2000), "Nd"((u16)0x604));
	for (const char *c = bochs; *c; c++)
		outb(0x8900, (u8)*c);
	outb(0xcf9, 6);
	for (;;)
		__asm__ volatile("cli; hlt");
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table)
{
	UINTN bytes = sizeof(memory_map), key, step;
	UINT32 version;
	u64 big;

	bs = table->BootServices;
	find_cpus();
	if (!allocate(LOW_PAGES, 0x9ffff, EfiLoaderCode, &g.low) ||
	    !allocate(4 * BYTES_2M / PAGE_BYTES, 0xffffffff, EfiLoaderData, &big)) {
		say("vmmtest: no memory\n");
		return EFI_OUT_OF_RESOURCES;
	}
	g.big = ALIGN_UP(big, BYTES_2M);
	cpu_tables_init();
	boot_phase();
	say("vmmtest: %s, %u CPU(s)\n", g.vmm ? "under the VMM" : "on the bare machine", g.cpus);
	if (bs->GetMemoryMap(&bytes, (void *)memory_map, &key, &step, &version) ||
	    bs->ExitBootServices(image, key)) {
		say("vmmtest: cannot leave boot services\n");
		return EFI_ABORTED;
	}
	alone();
	say("vmmtest: %u ok, %u bad\n", passed, failed);
	power_off();
}
