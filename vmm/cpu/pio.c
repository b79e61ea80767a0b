/*
 * pio.c - hooked I/O ports
 *
 * As mmio.c, for ports: a short list under a lock, handlers without it. An
 * access that only partly touches a region is handed to it whole.
 */
#include "vmm/cpu/pio.h"

#include "base/err.h"
#include "vmm/cpu/cpu.h"
#include "vmm/cpu/exit.h"

static struct spinlock lock;
static struct list regions = LIST_INIT(regions); /* [lock] */

/**
 * pio_region_add() - hook @r on all CPUs, each at its next entry
 * Return: 0; -EEXIST when it overlaps another; -EINVAL.
 */
int pio_region_add(struct pio_region *r)
{
	const struct pio_region *o;
	int err = 0;

	if (!r->count || r->first + r->count > 0x10000)
		return -EINVAL;
	spin_lock(&lock);
	list_for_each(o, &regions, link)
		if (r->first < o->first + o->count && o->first < r->first + r->count)
			err = -EEXIST;
	if (!err) {
		list_add_tail(&regions, &r->link);
		vcpu_ops->intercept_io(r->first, r->count, true);
	}
	spin_unlock(&lock);
	return err;
}

/** pio_region_remove() - let go of @r's ports */
void pio_region_remove(struct pio_region *r)
{
	spin_lock(&lock);
	vcpu_ops->intercept_io(r->first, r->count, false);
	list_del(&r->link);
	spin_unlock(&lock);
}

/** pio_native() - the access itself, on the hardware */
void pio_native(struct pio_access *a)
{
	if (a->write) {
		if (a->bytes == 1)
			outb(a->port, (u8)a->value);
		else if (a->bytes == 2)
			asm volatile("outw %w0, %1" :: "a"(a->value), "Nd"(a->port));
		else
			asm volatile("outl %0, %1" :: "a"(a->value), "Nd"(a->port));
		return;
	}
	a->value = 0;
	if (a->bytes == 1)
		a->value = inb(a->port);
	else if (a->bytes == 2)
		asm volatile("inw %1, %w0" : "+a"(a->value) : "Nd"(a->port));
	else
		asm volatile("inl %1, %0" : "=a"(a->value) : "Nd"(a->port));
}

/** pio_dispatch() - by the region that covers it, or on the hardware */
void pio_dispatch(struct pio_access *a)
{
	struct pio_region *r, *hit = NULL;

	spin_lock(&lock);
	list_for_each(r, &regions, link)
		if (a->port < r->first + r->count && a->port + a->bytes > r->first)
			hit = r;
	spin_unlock(&lock);
	if (!hit || !hit->access(hit->ctx, a))
		pio_native(a);
}
