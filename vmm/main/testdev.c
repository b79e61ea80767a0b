/*
 * testdev.c - pages and ports hooked at the wish of the bare-metal test guest
 *
 * In mode test the guest (tests/guest/vmmtest.c) asks, before ExitBootServices,
 * for hooks whose behaviour it can predict: a page or a few ports that are
 * plain memory, and a log of every access as the VMM understood it. The log
 * lies in the guest's own RAM, so it can be read in any processor mode and
 * after the hypercalls are gone. A hook stays until the machine restarts,
 * unless it is taken back.
 *
 * The guest may write its log meanwhile: the count in it is read once, and
 * bounded.
 */
#include "vmm/main/testdev.h"

#include <string.h>

#include "base/err.h"
#include "base/plat.h"
#include "boot/handoff.h"
#include "vmm/cpu/counters.h"
#include "vmm/cpu/cpu.h"
#include "vmm/cpu/guest.h"
#include "vmm/cpu/mmio.h"
#include "vmm/cpu/pio.h"
#include "vmm/main/core.h"

#define PAGES_MAX 8

struct hook {
	bool used;
	struct mmio_region region;
	u8 *scratch; /* of the VMM, allocated once */
	u8 *mem; /* what accesses go to: @scratch or the guest's page */
	struct handoff_test_log *log;
};

static struct spinlock lock; /* logs */
static struct hook hooks[PAGES_MAX]; /* changed by the boot CPU's hypercalls alone */
static struct handoff_test_log *port_log;
static u8 port_mem[HANDOFF_TEST_PORTS + 4];

static void note(struct handoff_test_log *log, u64 at, u32 bytes, bool write, u64 value)
{
	u32 n;

	spin_lock(&lock);
	n = *(volatile u32 *)&log->count;
	if (n < ARRAY_SIZE(log->entry)) {
		log->entry[n].at = at;
		log->entry[n].value = value;
		log->entry[n].bytes = bytes;
		log->entry[n].write = write;
	}
	*(volatile u32 *)&log->count = n + 1;
	spin_unlock(&lock);
}

static void page_access(void *ctx, struct mmio_access *a)
{
	struct hook *h = ctx;

	if (a->write) {
		memcpy(h->mem + a->off, &a->value, a->bytes);
	} else {
		a->value = 0;
		memcpy(&a->value, h->mem + a->off, a->bytes);
	}
	note(h->log, a->off, a->bytes, a->write,
	     a->bytes == 8 ? a->value : a->value & ((1ull << 8 * a->bytes) - 1));
}

static bool port_access(void *ctx, struct pio_access *a);

static struct pio_region ports = {
	.count = HANDOFF_TEST_PORTS,
	.access = port_access,
	.name = "test",
};

static bool port_access(void *ctx, struct pio_access *a)
{
	u32 at = a->port - ports.first;

	(void)ctx;
	if (at >= HANDOFF_TEST_PORTS)
		return false;
	if (a->write) {
		memcpy(port_mem + at, &a->value, a->bytes);
	} else {
		a->value = 0;
		memcpy(&a->value, port_mem + at, a->bytes);
	}
	note(port_log, a->port, a->bytes, a->write,
	     a->bytes == 4 ? a->value : a->value & ((1u << 8 * a->bytes) - 1));
	return true;
}

static u64 nested_faults(void)
{
	struct counters_report r;

	counters_get(&r);
	return r.count[EXIT_NESTED_FAULT];
}

static struct handoff_test_log *log_map(u64 gpa)
{
	hpa_t pa;

	if ((gpa & (PAGE_BYTES - 1)) || guest_map(GPA(gpa), PAGE_BYTES, &pa))
		return NULL;
	return plat_phys_to_virt(pa);
}

static struct hook *hook_find(u64 base, bool used)
{
	u32 i;

	for (i = 0; i < PAGES_MAX; i++)
		if (hooks[i].used == used && (!used || hooks[i].region.base.v == base))
			return &hooks[i];
	return NULL;
}

static s64 hook_add(const struct handoff_test *t)
{
	struct hook *h = hook_find(0, false);
	hpa_t pa = { 0 };
	s64 err;

	if (!h)
		return -ENOSPC;
	if (!h->scratch)
		h->scratch = plat_alloc(PAGE_BYTES);
	h->log = log_map(t->log);
	if (!h->scratch)
		return -ENOMEM;
	if (t->op == HT_HOOK_WRITES && guest_map(GPA(t->base), PAGE_BYTES, &pa))
		return -EFAULT;
	if (t->op != HT_HOOK_ABSENT && !h->log)
		return -EFAULT;
	h->mem = t->op == HT_HOOK_WRITES ? plat_phys_to_virt(pa) : h->scratch;
	h->region = (struct mmio_region){
		.base = GPA(t->base),
		.bytes = PAGE_BYTES,
		.mode = t->op == HT_HOOK ? MMIO_TRAP_ALL :
			t->op == HT_HOOK_WRITES ? MMIO_TRAP_WRITES : MMIO_ABSENT,
		.access = page_access,
		.ctx = h,
		.name = "test",
	};
	err = mmio_region_add(&h->region);
	h->used = !err;
	return err;
}

static s64 hook_remove(u64 base)
{
	struct hook *h = hook_find(base, true);

	if (!h)
		return -ENOENT;
	mmio_region_remove(&h->region);
	h->used = false;
	return 0;
}

static s64 ports_add(const struct handoff_test *t)
{
	s64 err;

	if (port_log)
		return -EEXIST;
	if (t->base > 0xffff)
		return -EINVAL;
	port_log = log_map(t->log);
	if (!port_log)
		return -EFAULT;
	ports.first = (u16)t->base;
	err = pio_region_add(&ports);
	if (err)
		port_log = NULL;
	return err;
}

/** testdev_call() - see testdev.h. Context: the boot CPU, boot phase. */
s64 testdev_call(u64 gpa)
{
	struct handoff_test t;

	if (guest_read(GPA(gpa), &t, sizeof(t)))
		return -EFAULT;
	switch (t.op) {
	case HT_INFO:
		t.region_pa = core_handoff->region_pa;
		t.region_bytes = core_handoff->region_bytes;
		t.nested_faults = nested_faults();
		return guest_write(GPA(gpa), &t, sizeof(t));
	case HT_HOOK:
	case HT_HOOK_WRITES:
	case HT_HOOK_ABSENT:
		return hook_add(&t);
	case HT_UNHOOK:
		return hook_remove(t.base);
	case HT_PORTS:
		return ports_add(&t);
	case HT_PANIC:
		plat_panic("the test guest asked for it");
	}
	return -EINVAL;
}
