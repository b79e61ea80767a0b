/*
 * nested.c - the nested map shared by all CPUs, and its shootdown
 *
 * A change raises the generation, then kicks every CPU that is in its guest
 * with an older one and waits until it has left. A CPU that is in the host
 * compares generations before it enters and flushes; it is never waited for,
 * so this may be called whatever locks those CPUs spin on. The wait is as
 * long as an NMI takes.
 *
 * Pairs with vcpu_before_entry(): there in_guest is set before the generation
 * is read, here the generation is raised before in_guest is read.
 */
#include "vmm/cpu/nested.h"

#include "base/assert.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "vmm/cpu/cpu.h"

/* Ranges hooked at the same time: VMM region, LAPIC, per device BARs and ECAM pages. */
#define HOOKS_MAX 64

static struct {
	struct spinlock lock;
	struct npt npt; /* [lock] */
	u64 generation; /* (a) */
} nested;

/**
 * nested_init() - map everything below @limit but the VMM's region
 *
 * The vendor says what its tables look like, and may lower the limit.
 * Return: 0; -ENOMEM; -EINVAL.
 */
int nested_init(u64 limit, u64 region_pa, u64 region_bytes)
{
	struct npt_shape shape = { .limit = limit };
	u32 pages;
	void *pool;
	int err;

	vcpu_ops->nested_shape(&shape);
	pages = npt_pool_pages(&shape, HOOKS_MAX);
	pool = plat_alloc((size_t)pages * PAGE_BYTES);
	if (!pool)
		return -ENOMEM;
	err = npt_init(&nested.npt, &shape, pool, pages);
	if (!err)
		err = npt_set(&nested.npt, region_pa, region_bytes, NPT_NONE);
	npt_reclaim(&nested.npt);
	if (!err)
		log_info("nested: map limit=%llu GiB leaves=%s tables=%u of %u",
			 (unsigned long long)(shape.limit / GIB), shape.gib ? "1G" : "2M",
			 nested.npt.pool_used, pages);
	return err;
}

static bool stale(const struct cpu *c, u64 gen)
{
	return c && __atomic_load_n(&c->vcpu.in_guest, __ATOMIC_SEQ_CST) &&
	       __atomic_load_n(&c->vcpu.npt_gen, __ATOMIC_SEQ_CST) < gen;
}

static void shootdown(void)
{
	u64 gen = __atomic_add_fetch(&nested.generation, 1, __ATOMIC_SEQ_CST);
	u32 i;

	for (i = 0; i < cpu_count; i++)
		if (stale(cpu_table[i], gen))
			cpu_kick(i);
	for (i = 0; i < cpu_count; i++)
		while (stale(cpu_table[i], gen))
			cpu_pause();
}

/**
 * nested_set() - change a range's permission; in force on all CPUs on return
 * Context: host, any CPU; takes the map's lock.
 * Return: as npt_set().
 */
int nested_set(u64 gpa, u64 bytes, enum npt_access access)
{
	int err;

	spin_lock(&nested.lock);
	err = npt_set(&nested.npt, gpa, bytes, access);
	if (!err) {
		shootdown();
		npt_reclaim(&nested.npt);
	}
	spin_unlock(&nested.lock);
	return err;
}

/**
 * nested_retype() - the memory types have changed, see npt_retype(); in force on return
 * Context: host, any CPU; takes the map's lock.
 */
void nested_retype(const struct memtypes *now)
{
	bool exact;

	spin_lock(&nested.lock);
	exact = npt_retype(&nested.npt, now);
	shootdown();
	npt_reclaim(&nested.npt);
	spin_unlock(&nested.lock);
	if (!exact)
		log_limited(LOG_WARN, "nested: too many memory types, some memory is uncached");
}

/** nested_allows() - would this access fault if it were repeated now? */
bool nested_allows(u64 gpa, bool write)
{
	enum npt_access access;

	if (gpa >= nested.npt.shape.limit)
		return false;
	spin_lock(&nested.lock);
	access = npt_lookup(&nested.npt, gpa, NULL);
	spin_unlock(&nested.lock);
	return access == NPT_RW || (access == NPT_RO && !write);
}

u64 nested_root(void)
{
	return npt_root_pa(&nested.npt);
}

u64 nested_limit(void)
{
	return nested.npt.shape.limit;
}

u64 nested_generation(void)
{
	return __atomic_load_n(&nested.generation, __ATOMIC_SEQ_CST);
}
