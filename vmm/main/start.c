/*
 * start.c - what the core calls when the loader, an NMI or the tick wants something
 */
#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "base/types.h"
#include "vmm/cpu/counters.h"
#include "vmm/cpu/cpu.h"
#include "vmm/cpu/guest.h"
#include "vmm/main/core.h"
#include "vmm/main/loaderio.h"
#include "vmm/main/machine.h"
#include "vmm/main/nic.h"
#include "vmm/main/pump.h"
#include "vmm/main/testdev.h"
#include "vmm/plat/console.h"

#define FIGURES_MAX_NS (300 * NS_PER_MS)

/*
 * Root in the guest asks for the figures. Giving them must not show in them:
 * the time is not counted as a stay, and the port gets time to take the lines and
 * the pump to come to rest, so that no tick is needed afterwards.
 */
static void figures_asked(void)
{
	u64 from = rdtsc(), until = plat_time_ns() + FIGURES_MAX_NS;

	machine_say();
	do {
		cpu_pause();
		pump_kick();
	} while ((console_drain() || vcpu_tick_wanted()) && plat_time_ns() < until);
	counters_idle(cpu_this(), rdtsc() - from);
}

void vmm_main_init(const struct handoff *h)
{
	console_asked = figures_asked;
	log_info("freshet: version=%s flags=%x cpus=%u pci=%u", h->version_text, h->flags,
		 h->cpu_count, h->pci_count);
}

static s64 hc_status(u64 gpa)
{
	struct handoff_status st;

	pump_kick();
	machine_status(&st);
	return guest_write(GPA(gpa), &st, sizeof(st));
}

/** vmm_main_hypercall() - see core.h; @arg is the guest's RBX, not trusted */
s64 vmm_main_hypercall(u32 nr, u64 arg)
{
	switch (nr) {
	case HC_STATUS:
		return hc_status(arg);
	case HC_START:
		if (core_handoff->flags & HANDOFF_FLAG_NULL)
			return -EOPNOTSUPP;
		return machine_start(core_handoff);
	case HC_ATTACH:
		return machine_attach();
	case HC_ACTION:
		if (arg != HA_RETRY && arg != HA_BOOT_CACHE)
			return -EINVAL;
		return machine_action((u32)arg);
	case HC_DONE:
		log_info("freshet: the operating system takes over");
		nic_present();
		return 0;
	case HC_TEST:
		if (!(core_handoff->flags & HANDOFF_FLAG_TEST))
			return -ENOSYS;
		return testdev_call(arg);
	case HC_READ:
	case HC_WRITE:
	case HC_FLUSH:
		return loaderio_begin(nr, arg);
	case HC_IO_STATUS:
		return loaderio_status();
	default:
		return -ENOSYS;
	}
}

bool vmm_main_nmi(void)
{
	bool ours = machine_explains_nmi();

	pump_kick();
	return ours;
}

void vmm_main_tick(bool idle)
{
	if (idle)
		machine_idle(true);
	pump_kick();
	if (idle)
		machine_idle(false);
}
