/*
 * mmio.c - the hooked ranges of guest-physical space
 *
 * The list is short and changes rarely; a lock guards it, and handlers run
 * without it. Removing a region does not wait for a handler that already runs
 * on another CPU: owners keep their region's memory for ever, and their
 * handlers must expect one late call.
 */
#include "vmm/cpu/mmio.h"

#include <string.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "vmm/cpu/cpu.h"
#include "vmm/cpu/nested.h"

static struct spinlock lock;
static struct list regions = LIST_INIT(regions); /* [lock] */

static enum npt_access mode_access(enum mmio_mode mode)
{
	return mode == MMIO_TRAP_WRITES ? NPT_RO : NPT_NONE;
}

static bool overlaps_locked(const struct mmio_region *r, u64 base)
{
	const struct mmio_region *o;

	list_for_each(o, &regions, link)
		if (o != r && base < o->base.v + o->bytes && o->base.v < base + r->bytes)
			return true;
	return false;
}

/**
 * mmio_region_add() - hook @r; in force on every CPU on return
 * Return: 0; -EEXIST when it overlaps another; -EINVAL, -ENOMEM.
 */
int mmio_region_add(struct mmio_region *r)
{
	bool taken;
	int err;

	spin_lock(&lock);
	taken = overlaps_locked(r, r->base.v);
	if (!taken)
		list_add_tail(&regions, &r->link);
	spin_unlock(&lock);
	if (taken)
		return -EEXIST;
	err = nested_set(r->base.v, r->bytes, mode_access(r->mode));
	if (err) {
		spin_lock(&lock);
		list_del(&r->link);
		spin_unlock(&lock);
		return err;
	}
	log_info("mmio: hooked %s base=%llx bytes=%llx", r->name, (unsigned long long)r->base.v,
		 (unsigned long long)r->bytes);
	return 0;
}

/** mmio_region_remove() - the guest reaches what is behind again */
void mmio_region_remove(struct mmio_region *r)
{
	/* The map first: an access in between finds the region and is emulated. */
	if (nested_set(r->base.v, r->bytes, NPT_RW))
		log_err("mmio: cannot unhook %s", r->name);
	spin_lock(&lock);
	list_del(&r->link);
	spin_unlock(&lock);
	log_info("mmio: unhooked %s base=%llx", r->name, (unsigned long long)r->base.v);
}

/**
 * mmio_region_move() - the region follows a BAR
 *
 * Return: 0; -EEXIST, -EINVAL or -ENOMEM, and the region stays where it was.
 */
int mmio_region_move(struct mmio_region *r, gpa_t base)
{
	u64 old = r->base.v;
	int err;

	if (base.v == old)
		return 0;
	spin_lock(&lock);
	err = overlaps_locked(r, base.v) ? -EEXIST : 0;
	spin_unlock(&lock);
	if (err)
		return err;
	err = nested_set(base.v, r->bytes, mode_access(r->mode));
	if (err)
		return err;
	spin_lock(&lock);
	r->base = base;
	spin_unlock(&lock);
	/* Overlapping old and new range: what is still hooked must stay so. */
	if (nested_set(old, r->bytes, NPT_RW) ||
	    nested_set(base.v, r->bytes, mode_access(r->mode)))
		log_err("mmio: cannot unhook %s at %llx", r->name, (unsigned long long)old);
	return 0;
}

static void native(u64 gpa, struct mmio_access *a)
{
	volatile void *p = plat_phys_to_virt(HPA(gpa));

	switch (a->bytes) {
	case 1:
		if (a->write)
			*(volatile u8 *)p = (u8)a->value;
		else
			a->value = *(volatile u8 *)p;
		break;
	case 2:
		if (a->write)
			*(volatile u16 *)p = (u16)a->value;
		else
			a->value = *(volatile u16 *)p;
		break;
	case 4:
		if (a->write)
			*(volatile u32 *)p = (u32)a->value;
		else
			a->value = *(volatile u32 *)p;
		break;
	default:
		if (a->write)
			*(volatile u64 *)p = a->value;
		else
			a->value = *(volatile u64 *)p;
	}
}

/**
 * mmio_dispatch() - carry out an access if a region covers it
 * @gpa: its address
 * @a:   off is filled in here; value is the result of a read
 *
 * An access that reaches over the region's end has its bytes beyond as if
 * absent. Return: false when no region covers @gpa; *a is then untouched.
 */
bool mmio_dispatch(u64 gpa, struct mmio_access *a)
{
	struct mmio_region *r;
	bool found = false;

	spin_lock(&lock);
	list_for_each(r, &regions, link)
		if (gpa - r->base.v < r->bytes) {
			a->off = gpa - r->base.v;
			found = true;
			break;
		}
	spin_unlock(&lock);
	if (!found)
		return false;
	if (r->mode == MMIO_TRAP_WRITES && !a->write)
		native(gpa, a);
	else if (r->mode != MMIO_ABSENT && a->off + a->bytes <= r->bytes)
		r->access(r->ctx, a);
	else if (!a->write)
		a->value = ~0ull;
	return true;
}
