/*
 * apic.c - AP capture
 *
 * An INIT that reaches a CPU in its guest takes it out of the hypervisor in
 * some emulators, whatever is intercepted, and nobody would notice. So while
 * the watch is on, the guest's writes to the local APIC page exit (reads do
 * not), and so do WRMSRs of the x2APIC's ICR:
 *
 *   INIT     the target is told (ap_init), kicked, puts itself into the state
 *            after INIT and sleeps in the host until a SIPI comes
 *   SIPI     the vector is handed over (ap_sipi) if an INIT came before;
 *            a second SIPI finds the CPU running and is dropped, as on hardware
 *   deassert swallowed
 *   NMI      noted as the guest's (ap_nmi), and forwarded
 *   other    forwarded
 *
 * A target that is not virtualized yet, while the loader starts the CPUs one
 * after the other through the firmware, gets the real IPI. A target that the
 * firmware did not report gets none: it would run outside.
 *
 * The watch ends, and with it all its exits, when the firmware is gone and
 * every AP has written its APIC from an OS kernel since its last SIPI. The
 * firmware parks its APs with INIT and SIPI of its own when it leaves, and
 * those run its code in the lower half of the address space in long mode; an
 * OS's kernel is told by its RIP in the upper half. An INIT exit (real
 * hardware, where the intercept works) starts the watch again before the SIPI.
 *
 * Locking: ap_lock orders INIT and SIPI of different senders; ap_init, ap_sipi
 * and ap_nmi are taken by their CPU with exchanges.
 * Spec: [APM 2 §16.5, §14.1.3]
 */
#include "vmm/cpu/apic.h"

#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "vmm/cpu/counters.h"
#include "vmm/cpu/cpu.h"
#include "vmm/cpu/env.h"
#include "vmm/cpu/lapic.h"
#include "vmm/cpu/lapic_regs.h"
#include "vmm/cpu/mmio.h"

#define SIPI_VALID 0x100u
#define KERNEL_HALF 0xffff800000000000ull

static struct spinlock ap_lock;
static bool watching; /* [ap_lock] */

static void page_write(void *ctx, struct mmio_access *a);

static struct mmio_region page = {
	.base = { 0xfee00000 },
	.bytes = PAGE_BYTES,
	.mode = MMIO_TRAP_WRITES,
	.access = page_write,
	.name = "lapic",
};

/** apic_watch_start() - trap the APIC page and the x2APIC's ICR on all CPUs */
int apic_watch_start(void)
{
	bool was;
	int err;

	spin_lock(&ap_lock);
	was = watching;
	watching = true;
	spin_unlock(&ap_lock);
	if (was || cpu_count == 1)
		return 0;
	page.base = GPA(rdmsr(MSR_APIC_BASE) & APIC_BASE_ADDR);
	vcpu_ops->intercept_msr(MSR_X2APIC + APIC_ICR_LOW / 16, false, true);
	err = mmio_region_add(&page);
	if (!err)
		log_info("apic: watching INIT and SIPI for %u CPUs", cpu_count);
	return err;
}

static void watch_stop(void)
{
	bool was;

	spin_lock(&ap_lock);
	was = watching;
	watching = false;
	spin_unlock(&ap_lock);
	if (!was || cpu_count == 1)
		return;
	vcpu_ops->intercept_msr(MSR_X2APIC + APIC_ICR_LOW / 16, false, false);
	mmio_region_remove(&page);
	log_info("apic: all %u CPUs run the OS's kernel, the watch is off", cpu_count);
}

static void watch_consider(void)
{
	u32 i;

	if (cpu_env->boot_phase() || !watching)
		return;
	for (i = 1; i < cpu_count; i++)
		if (!__atomic_load_n(&cpu_table[i]->vcpu.ap_seen, __ATOMIC_ACQUIRE))
			return;
	watch_stop();
}

/** apic_boot_done() - the firmware is gone */
void apic_boot_done(void)
{
	u32 i;

	for (i = 1; i < cpu_count; i++)
		__atomic_store_n(&cpu_table[i]->vcpu.ap_seen, false, __ATOMIC_RELEASE);
	watch_consider();
}

/** apic_guest_ready() - remember the logical destination that the firmware has set */
void apic_guest_ready(struct vcpu *v)
{
	v->ldr = lapic_read(APIC_LDR);
	v->dfr = rdmsr(MSR_APIC_BASE) & APIC_BASE_X2 ? 0xffffffff : lapic_read(APIC_DFR);
}

/* Would this CPU take an interrupt for the logical destination @dest? */
static bool logical_match(const struct vcpu *v, u32 apic_id, u32 dest, bool x2)
{
	u32 mine = v->ldr >> 24;

	if (x2)
		return dest >> 16 == apic_id >> 4 && (dest & 1u << (apic_id & 15));
	if (v->dfr >> 28 == 0xf) /* flat */
		return mine & dest & 0xff;
	return (mine >> 4 == dest >> 4 || dest >> 4 == 0xf) && (mine & dest & 0xf);
}

static bool is_target(const struct vcpu *self, const struct cpu *c, u32 low, u32 dest, bool x2)
{
	u32 all = x2 ? 0xffffffff : 0xff;

	switch (FIELD_GET(ICR_SHORT, low)) {
	case ICR_SHORT_SELF:
		return c->index == self->index;
	case ICR_SHORT_ALL:
		return true;
	case ICR_SHORT_OTHERS:
		return c->index != self->index;
	}
	if (dest == all)
		return true;
	if (low & ICR_LOGICAL)
		return logical_match(&c->vcpu, c->apic_id, dest, x2);
	return c->apic_id == dest;
}

static void send_init(struct vcpu *v)
{
	spin_lock(&ap_lock);
	v->ap_parked = true;
	__atomic_store_n(&v->ap_seen, false, __ATOMIC_RELEASE);
	__atomic_store_n(&v->ap_sipi, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&v->ap_init, 1, __ATOMIC_RELEASE);
	spin_unlock(&ap_lock);
	cpu_kick(v->index);
}

static void send_sipi(struct vcpu *v, u32 vector)
{
	bool taken;

	spin_lock(&ap_lock);
	taken = v->ap_parked;
	v->ap_parked = false;
	if (taken)
		__atomic_store_n(&v->ap_sipi, SIPI_VALID | vector, __ATOMIC_RELEASE);
	spin_unlock(&ap_lock);
	if (taken)
		cpu_kick(v->index);
}

/* An NMI that the targets shall not take for an echo of ours: noted before it is sent. */
static void note_nmi(struct vcpu *self, u32 low, u32 dest, bool x2)
{
	u32 i;

	for (i = 0; i < cpu_count; i++)
		if (cpu_table[i] && is_target(self, cpu_table[i], low, dest, x2))
			__atomic_store_n(&cpu_table[i]->vcpu.ap_nmi, 1, __ATOMIC_RELEASE);
}

/*
 * The guest sends something: true when it was INIT or SIPI and has been dealt
 * with.
 */
static bool icr_write(struct vcpu *self, u32 low, u32 dest, bool x2)
{
	u32 mode = (u32)FIELD_GET(ICR_MODE, low), i;
	bool known = false;

	if (mode == ICR_MODE_NMI)
		note_nmi(self, low, dest, x2);
	if (mode != ICR_MODE_INIT && mode != ICR_MODE_STARTUP)
		return false;
	if (mode == ICR_MODE_INIT && (low & ICR_LEVEL) && !(low & ICR_ASSERT))
		return true;
	for (i = 0; i < cpu_count; i++) {
		struct cpu *c = cpu_table[i];

		if (!c || !is_target(self, c, low, dest, x2))
			continue;
		known = true;
		if (!__atomic_load_n(&c->vcpu.launched, __ATOMIC_ACQUIRE))
			lapic_icr(c->apic_id, low & ~(u32)(ICR_SHORT | ICR_LOGICAL));
		else if (mode == ICR_MODE_INIT)
			send_init(&c->vcpu);
		else
			send_sipi(&c->vcpu, low & ICR_VECTOR);
	}
	if (!known)
		log_limited(LOG_WARN, "apic: %s for unknown CPU, dest=%x: not sent",
			    mode == ICR_MODE_INIT ? "INIT" : "SIPI", dest);
	return true;
}

/* This CPU writes its APIC: from an OS's kernel, after its SIPI? */
static void look_at_writer(struct vcpu *v)
{
	if (cpu_env->boot_phase())
		return;
	if (v->index && !v->ap_seen && v->rip >= KERNEL_HALF &&
	    (vcpu_ops->get(v, VCPU_EFER) & EFER_LMA)) {
		__atomic_store_n(&v->ap_seen, true, __ATOMIC_RELEASE);
		log_info("apic: cpu %u runs the OS's kernel", v->index);
	}
	watch_consider();
}

static void page_write(void *ctx, struct mmio_access *a)
{
	struct vcpu *v = &cpu_this()->vcpu;
	volatile u32 *p = plat_phys_to_virt(HPA(page.base.v + (a->off & ~3ull)));
	u32 value = (u32)a->value;

	(void)ctx;
	if (a->off == APIC_ICR_LOW) {
		const volatile u32 *high = plat_phys_to_virt(HPA(page.base.v + APIC_ICR_HIGH));

		if (icr_write(v, value, *high >> 24, false))
			return;
	}
	if (a->off == APIC_LDR)
		v->ldr = value;
	if (a->off == APIC_DFR)
		v->dfr = value;
	/* Other sizes than 4 are undefined on the APIC; forward what makes sense. */
	*p = value;
	look_at_writer(v);
}

/** apic_msr_write() - a guest WRMSR of the x2APIC that exits */
bool apic_msr_write(struct vcpu *v, u32 msr, u64 value)
{
	if (msr != MSR_X2APIC + APIC_ICR_LOW / 16)
		return false;
	if (!icr_write(v, (u32)value, (u32)(value >> 32), true) && wrmsr_safe(msr, value))
		return false;
	look_at_writer(v);
	return true;
}

/** apic_base_write() - the guest moves, disables or switches the mode of its APIC */
int apic_base_write(struct vcpu *v, u64 value)
{
	u64 base = value & APIC_BASE_ADDR, old = rdmsr(MSR_APIC_BASE);
	int err = wrmsr_safe(MSR_APIC_BASE, value);

	if (err)
		return err;
	if ((old ^ value) & ~(u64)APIC_BASE_BSP)
		log_info("apic: cpu %u base=%llx -> %llx", v->index, (unsigned long long)old,
			 (unsigned long long)value);
	/* One page is watched for all CPUs; an OS that moves it moves all. */
	if (watching && cpu_count > 1 && base != page.base.v && mmio_region_move(&page, GPA(base)))
		log_err("apic: cannot follow the APIC to %llx", (unsigned long long)base);
	return 0;
}

/* What INIT does to the APIC [APM 2 §16.3.2], ID and base excepted. */
static void apic_reset(void)
{
	u32 i, n;

	for (i = APIC_LVT_TIMER; i <= APIC_LVT_LAST; i += 16)
		lapic_write(i, lapic_read(i) | LVT_MASKED);
	lapic_write(APIC_TIMER_INITIAL, 0);
	lapic_write(APIC_TPR, 0);
	for (n = 0; n < 256; n++) {
		u32 isr = 0;

		for (i = 0; i < 8; i++)
			isr |= lapic_read(APIC_ISR + 16 * i);
		if (!isr)
			break;
		lapic_write(APIC_EOI, 0);
	}
	lapic_write(APIC_SVR, 0xff);
}

/** apic_init_exit() - an INIT came by hardware and was redirected: act on it, watch again */
void apic_init_exit(struct vcpu *v)
{
	log_info("apic: cpu %u got INIT, watching again", v->index);
	apic_watch_start();
	send_init(v);
}

/**
 * apic_serve() - INIT for this CPU? Then wait for the SIPI here.
 *
 * Context: the exit path, GIF 0. The sleep ends with any NMI.
 */
void apic_serve(struct vcpu *v)
{
	u64 start;
	u32 sipi;

	if (!__atomic_exchange_n(&v->ap_init, 0, __ATOMIC_ACQ_REL))
		return;
	v->nmi_pending = v->nmi_blocked = false;
	if (!v->index) {
		/* The boot CPU waits for nobody: it starts where the machine starts. */
		log_warn("apic: INIT for the boot CPU");
		vcpu_ops->reset(v, 0xf000, 0xffff0000, 0xfff0);
		return;
	}
	start = rdtsc();
	apic_reset();
	while (!(sipi = __atomic_exchange_n(&v->ap_sipi, 0, __ATOMIC_ACQ_REL))) {
		if (__atomic_exchange_n(&v->ap_init, 0, __ATOMIC_ACQ_REL))
			continue;
		vcpu_ops->wait_nmi();
		vcpu_handle_nmi(v);
	}
	counters_idle(vcpu_cpu(v), rdtsc() - start);
	v->nmi_pending = false;
	sipi &= 0xff;
	vcpu_ops->reset(v, (u16)(sipi << 8), (u64)sipi << 12, 0);
	log_dbg("apic: cpu %u starts at %x", v->index, sipi << 12);
}
