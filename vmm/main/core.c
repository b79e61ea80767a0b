/*
 * core.c - from entry.S to the guest
 *
 * The boot CPU comes first and sets up what all share; then each AP, through
 * the firmware's MP services, while the boot CPU already waits for it as a
 * guest. A CPU that cannot be virtualized returns to the loader with an
 * error; what it changed by then is its page tables alone, and those entry.S
 * puts back.
 */
#include "vmm/main/core.h"

#include <string.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "vmm/cpu/apic.h"
#include "vmm/cpu/counters.h"
#include "vmm/cpu/cpu.h"
#include "vmm/cpu/env.h"
#include "vmm/cpu/guest.h"
#include "vmm/cpu/lapic.h"
#include "vmm/cpu/nested.h"
#include "vmm/plat/console.h"
#include "vmm/plat/crash.h"
#include "vmm/plat/memory.h"
#include "vmm/plat/panic.h"
#include "vmm/plat/time.h"
#include "vmm/svm/svm.h"
#include "vmm/vmx/vmx.h"

#define RESET_PORT 0xcf9
/* As long as the loader is the guest, and before a reset, the log may have this much time. */
#define LOG_WAIT_NS (300 * NS_PER_MS)

/* entry.S knows these. */
struct entry_state core_entry_states[HANDOFF_CPUS_MAX];
u64 core_region_pa;
static u8 boot_stack[CPU_STACK_BYTES] __aligned(16) __attribute__((used));
asm(".globl core_boot_stack_top\n"
    ".set core_boot_stack_top, boot_stack + 65536");

static_assert(sizeof(struct entry_state) == 144, "entry.S");
static_assert(offsetof(struct entry_state, cr4) == 88, "entry.S");
static_assert(offsetof(struct entry_state, es) == 96, "entry.S");
static_assert(offsetof(struct entry_state, tr) == 110, "entry.S");
static_assert(offsetof(struct entry_state, gdt_limit) == 118, "entry.S");
static_assert(offsetof(struct entry_state, idt_limit) == 134, "entry.S");
static_assert(offsetof(struct handoff, cr3) == 40, "entry.S");
static_assert(offsetof(struct cpu, stack_top) == 8, "entry.S");
static_assert(CPU_STACK_BYTES == 65536 && HANDOFF_CPUS_MAX == 64, "entry.S");

const struct handoff *core_handoff;
static bool boot_phase = true; /* (a) */
static u32 cpus_in; /* (a) */

int core_enter(const struct handoff *h_pa, u32 index);

__attribute__((weak)) void vmm_main_init(const struct handoff *h)
{
	(void)h;
}

__attribute__((weak)) s64 vmm_main_hypercall(u32 nr, u64 arg)
{
	(void)arg;
	return nr == HC_DONE ? 0 : -ENOSYS;
}

__attribute__((weak)) bool vmm_main_nmi(void)
{
	return false;
}

__attribute__((weak)) void vmm_main_tick(bool idle)
{
	(void)idle;
}

bool core_boot_phase(void)
{
	return __atomic_load_n(&boot_phase, __ATOMIC_ACQUIRE);
}

/* A real serial port takes milliseconds for a line; nothing but exits would send the rest. */
static void log_send(void)
{
	u64 from = rdtsc(), until = plat_time_ns() + LOG_WAIT_NS;

	while (console_drain() && plat_time_ns() < until)
		cpu_pause();
	counters_idle(cpu_this(), rdtsc() - from);
}

static s64 hypercall_log(u64 gpa)
{
	struct handoff_log *l;
	u64 pos;
	hpa_t pa;

	if (guest_map(GPA(gpa), sizeof(*l), &pa))
		return -EFAULT;
	l = plat_phys_to_virt(pa);
	pos = l->pos;
	l->bytes = console_read(&pos, l->text, sizeof(l->text));
	l->pos = pos;
	return 0;
}

/* The loader's calls. */
static s64 core_hypercall(u32 nr, u64 arg)
{
	s64 ret = nr == HC_LOG ? hypercall_log(arg) : vmm_main_hypercall(nr, arg);

	if (nr == HC_DONE) {
		log_info("core: the firmware is gone, reserved=%llu KiB used=%llu KiB",
			 (unsigned long long)(core_handoff->region_bytes / KIB),
			 (unsigned long long)(memory_used() / KIB));
		counters_log();
		log_send();
		__atomic_store_n(&boot_phase, false, __ATOMIC_RELEASE);
		apic_boot_done();
	}
	return ret;
}

/** core_machine_reset() - by the chipset's reset register, else by a triple fault */
void core_machine_reset(void)
{
	struct {
		u16 limit;
		u64 base;
	} __packed none = { 0, 0 };
	u32 i;

	log_send(); /* why */
	outb(RESET_PORT, 0x02);
	outb(RESET_PORT, 0x06);
	for (i = 0; i < 1000000; i++)
		cpu_pause();
	outb(0x64, 0xfe);
	for (i = 0; i < 1000000; i++)
		cpu_pause();
	asm volatile("lidt %0; int3" :: "m"(none));
	for (;;)
		asm volatile("hlt");
}

static struct cpu_env env = {
	.boot_phase = core_boot_phase,
	.hypercall = core_hypercall,
	.nmi = vmm_main_nmi,
	.tick = vmm_main_tick,
	.in_region = memory_in_region,
	.tsc_to_ns = time_tsc_to_ns,
	.machine_reset = core_machine_reset,
	.nmi_stop = panic_nmi_stop,
	.trap = panic_trap,
};

static int cpus_create(const struct handoff *h)
{
	u32 i;

	cpu_count = h->cpu_count;
	for (i = 0; i < cpu_count; i++) {
		u8 *stack = i ? plat_alloc(CPU_STACK_BYTES) : boot_stack;

		if (!stack || !cpu_create(i, h->apic_id[i], stack + CPU_STACK_BYTES))
			return -ENOMEM;
	}
	return 0;
}

static bool handoff_sane(const struct handoff *h)
{
	return h->magic == HANDOFF_MAGIC && h->version == HANDOFF_VERSION &&
	       h->bytes == sizeof(*h) && h->cpu_count >= 1 && h->cpu_count <= HANDOFF_CPUS_MAX &&
	       h->ram_count <= HANDOFF_RAM_MAX && h->pci_count <= HANDOFF_PCI_MAX &&
	       h->key_count <= HANDOFF_KEYS_MAX && h->options_bytes <= sizeof(h->options) &&
	       h->region_bytes > CRASH_BYTES;
}

static int boot_cpu_init(const struct handoff *h)
{
	int err;

	core_handoff = env.handoff = h;
	cpu_env = &env;
	core_region_pa = h->region_pa;
	memory_init(h->region_pa, h->region_bytes, h->free_pa);
	time_init(h->tsc_hz);
	console_init();
	log_info("core: Freshet %s cpus=%u region=%llx+%llx tsc=%llu kHz", h->version_text,
		 h->cpu_count, (unsigned long long)h->region_pa,
		 (unsigned long long)h->region_bytes, (unsigned long long)(h->tsc_hz / 1000));
	crash_init((void *)(uintptr_t)(VMM_VBASE + h->region_bytes - CRASH_BYTES), &h->crash);
	cpu_idt_init();
	vcpu_ops = svm_present() ? &svm_ops : vmx_present() ? &vmx_ops : NULL;
	if (!vcpu_ops)
		return -ENODEV;
	err = cpus_create(h);
	if (!err)
		err = vcpu_ops->init();
	if (!err)
		err = nested_init(h->phys_limit, h->region_pa, h->region_bytes);
	if (!err)
		err = console_hide();
	if (!err)
		err = apic_watch_start();
	return err;
}

/*
 * All CPUs have left the identity half of the launch tables behind: drop it,
 * so that a stray pointer of ours faults. What other CPUs still have cached of
 * it does no harm and goes with their next exit.
 */
static void identity_drop(void)
{
	u64 *root = plat_phys_to_virt(HPA(core_handoff->cr3));

	memset(root, 0, PAGE_BYTES / 2);
	WRITE_CR(3, core_handoff->cr3);
}

/**
 * core_enter() - called by entry.S on each CPU, at the VMM's own addresses
 * @h_pa:  physical address of the handoff
 * @index: CPU; 0 is the boot CPU and comes first, alone
 *
 * Return: only on failure.
 */
int core_enter(const struct handoff *h_pa, u32 index)
{
	const struct handoff *h = h_pa;
	struct cpu *c;
	int err;

	if (!index) {
		if (!handoff_sane(h))
			return -EINVAL;
		h = (const void *)(uintptr_t)(VMM_VBASE + ((u64)(uintptr_t)h_pa - h->region_pa));
		err = boot_cpu_init(h);
		if (err) {
			log_err("core: cannot start: %s", err_name(err));
			return err;
		}
	}
	c = cpu_table[index];
	if (!c)
		return -EINVAL;
	err = vcpu_ops->cpu_init(&c->vcpu, &core_entry_states[index]);
	if (err) {
		log_err("core: cpu %u cannot be virtualized: %s", index, err_name(err));
		return err;
	}
	cpu_tables_load(c);
	apic_guest_ready(&c->vcpu);
	if (!index)
		vmm_main_init(core_handoff);
	log_info("core: cpu %u apic=%u is a guest on %s", index, c->apic_id, vcpu_ops->name);
	if (__atomic_add_fetch(&cpus_in, 1, __ATOMIC_ACQ_REL) == cpu_count)
		identity_drop();
	log_send();
	vcpu_ops->run(&c->vcpu);
}
