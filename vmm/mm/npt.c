/*
 * npt.c - nested page tables: identity, large leaves, split around hooks
 *
 * Guest-physical equals host-physical, so a table holds nothing but
 * permissions and, in Intel's format, the memory types of the MTRRs. All of
 * 0..limit is mapped at boot with the largest leaves the machine has, smaller
 * ones where types differ within; npt_set() changes the permission of a range,
 * splits the leaves at its ends and merges tables that have become uniform
 * again. Nothing is ever mapped lazily: a nested fault always means a hook,
 * the VMM's own region or an address beyond the limit.
 *
 * All tables come from one pool whose size is computed beforehand
 * (npt_pool_pages), so a change fails only when more ranges are hooked than
 * were asked for. A table that a merge takes out of use may still be walked
 * by another CPU: it waits in @retired until the caller has flushed every
 * CPU's TLB and calls npt_reclaim().
 *
 * Context: npt_init() and npt_set() under the caller's lock; the hardware
 * walks the tables meanwhile, so each entry is replaced by one 8-byte store.
 * Spec: [APM 2 §15.25]; user bit set everywhere, as nested walks are user
 * accesses [APM 2 §15.25.5]. EPT [SDM 3 §29.3]; the guest's PAT is honoured.
 */
#include "vmm/mm/npt.h"

#include <string.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/field.h"
#include "base/plat.h"

#define PTE_P BIT64(0)
#define PTE_W BIT64(1)
#define PTE_U BIT64(2)
#define PTE_AD (BIT64(5) | BIT64(6))
#define PTE_PS BIT64(7)
#define PTE_ADDR GENMASK(51, 12)
/* Read, write and large page stand where P, W and PS do. */
#define EPT_X BIT64(2)
#define EPT_TYPE GENMASK(5, 3)

#define LEVELS 4
#define ENTRIES 512u

static u64 level_bytes(u32 level)
{
	return 1ull << (12 + 9 * (level - 1));
}

static u64 *table_of(u64 pte)
{
	return plat_phys_to_virt(HPA(pte & PTE_ADDR));
}

static u64 *table_take(struct npt *n)
{
	u64 *t;

	if (n->free) {
		t = n->free;
		n->free = (u64 *)(uintptr_t)t[0];
		n->free_count--;
	} else if (n->pool_used < n->pool_pages) {
		t = (u64 *)(n->pool + (size_t)n->pool_used++ * PAGE_BYTES);
	} else {
		return NULL;
	}
	memset(t, 0, PAGE_BYTES);
	return t;
}

static u32 tables_left(const struct npt *n)
{
	return n->pool_pages - n->pool_used + n->free_count;
}

/* Can the block be one leaf, as far as its types go? */
static bool one_type(const struct npt_shape *s, u64 gpa, u32 level)
{
	enum memtype type;

	return !s->types || memtype_uniform(s->types, gpa, level_bytes(level), &type);
}

/* Where its parts differ in type a leaf is uncached, which is correct for all of them. */
static u64 leaf_make(const struct npt *n, u64 gpa, u32 level, enum npt_access access)
{
	u64 pte = gpa | PTE_P | (level > 1 ? PTE_PS : 0) | (access == NPT_RW ? PTE_W : 0);
	enum memtype type = MEMTYPE_WB;

	if (access == NPT_NONE)
		return 0;
	if (n->shape.format == NPT_AMD)
		return pte | PTE_U | PTE_AD;
	if (n->shape.types &&
	    !memtype_uniform(n->shape.types, gpa, level_bytes(level), &type))
		type = MEMTYPE_UC;
	return pte | EPT_X | FIELD_PREP(EPT_TYPE, (u64)type);
}

static u64 table_entry(const struct npt *n, const u64 *t)
{
	u64 pte = plat_virt_to_phys(t).v | PTE_P | PTE_W;

	return pte | (n->shape.format == NPT_AMD ? PTE_U | PTE_AD : EPT_X);
}

static enum npt_access leaf_access(u64 pte)
{
	if (!(pte & PTE_P))
		return NPT_NONE;
	return pte & PTE_W ? NPT_RW : NPT_RO;
}

static bool is_leaf(u64 pte, u32 level)
{
	return level == 1 || !(pte & PTE_P) || (pte & PTE_PS);
}

static bool size_allowed(const struct npt_shape *s, u32 level)
{
	return level <= 2 || (level == 3 && s->gib);
}

/* An absent leaf has no type. */
static bool leaf_allowed(const struct npt *n, u64 gpa, u32 level, enum npt_access access)
{
	return size_allowed(&n->shape, level) &&
	       (access == NPT_NONE || one_type(&n->shape, gpa, level));
}

static void entry_store(u64 *e, u64 v)
{
	__atomic_store_n(e, v, __ATOMIC_RELEASE);
}

/* Replace a leaf by a table of leaves with the same permission. */
static int leaf_split(struct npt *n, u64 *e, u64 gpa, u32 level)
{
	enum npt_access access = leaf_access(*e);
	u64 *t = table_take(n);
	u32 i;

	if (!t)
		return -ENOMEM;
	for (i = 0; i < ENTRIES; i++)
		t[i] = leaf_make(n, gpa + i * level_bytes(level - 1), level - 1, access);
	entry_store(e, table_entry(n, t));
	return 0;
}

/* All entries leaves of one permission? Then the table can be one leaf. */
static bool table_uniform(const u64 *t, u32 level, enum npt_access *access)
{
	u32 i;

	*access = leaf_access(t[0]);
	for (i = 0; i < ENTRIES; i++)
		if (!is_leaf(t[i], level) || leaf_access(t[i]) != *access)
			return false;
	return true;
}

static void entry_merge(struct npt *n, u64 *e, u64 gpa, u32 level)
{
	enum npt_access access;
	u64 *t = table_of(*e);

	if (n->retired_count == NPT_RETIRED_MAX || !table_uniform(t, level - 1, &access) ||
	    !leaf_allowed(n, gpa, level, access))
		return;
	/* An absent leaf stands for NPT_NONE at any level. */
	entry_store(e, leaf_make(n, gpa, level, access));
	n->retired[n->retired_count++] = t;
}

static int range_set(struct npt *n, u64 *t, u32 level, u64 base, u64 first, u64 end,
		     enum npt_access access)
{
	u64 step = level_bytes(level);
	u32 i = first > base ? (u32)((first - base) / step) : 0;
	int err;

	for (; i < ENTRIES; i++) {
		u64 gpa = base + i * step;

		if (gpa >= end)
			break;
		if (first <= gpa && gpa + step <= end && is_leaf(t[i], level) &&
		    leaf_allowed(n, gpa, level, access)) {
			entry_store(&t[i], leaf_make(n, gpa, level, access));
			continue;
		}
		if (is_leaf(t[i], level)) {
			if (leaf_access(t[i]) == access)
				continue;
			err = leaf_split(n, &t[i], gpa, level);
			if (err)
				return err;
		}
		err = range_set(n, table_of(t[i]), level - 1, gpa, MAX(first, gpa),
				MIN(end, gpa + step), access);
		if (err)
			return err;
		entry_merge(n, &t[i], gpa, level);
	}
	return 0;
}

/* Tables below the second level that types or leaf sizes ask for in a range. */
static u64 tables_for(const struct npt_shape *s, u64 first, u64 end)
{
	u64 at, inner, tables = 0;

	for (at = ALIGN_DOWN(first, GIB); at < end; at += GIB) {
		bool whole = one_type(s, at, 3);

		if (whole && s->gib)
			continue;
		tables++;
		for (inner = at; !whole && inner < at + GIB; inner += 2 * MIB)
			if (inner + 2 * MIB > first && inner < end && !one_type(s, inner, 2))
				tables++;
	}
	return tables;
}

/**
 * npt_pool_pages() - tables needed for the map and @hooks hooked ranges
 * @hooks: ranges below 2 MiB each that will be hooked at the same time
 *
 * A hooked range needs at most two tables at each of two levels when it
 * crosses a boundary, and so does a variable MTRR, should the guest move it;
 * the fixed ones need two in all. Retired tables are counted once more.
 */
u32 npt_pool_pages(const struct npt_shape *s, u32 hooks)
{
	u64 pages = 1 + DIV_ROUND_UP(s->limit, 512 * GIB) + tables_for(s, 0, s->limit);

	if (s->types)
		hooks += s->types->count + 1;
	return (u32)(pages + 4ull * hooks + NPT_RETIRED_MAX);
}

/**
 * npt_init() - map 0..limit read-write
 * @n:          caller's memory
 * @s:          copied
 * @pool:       page-aligned, never freed
 * @pool_pages: from npt_pool_pages()
 *
 * Return: 0; -EINVAL; -ENOMEM when the pool is too small.
 */
int npt_init(struct npt *n, const struct npt_shape *s, void *pool, u32 pool_pages)
{
	if (!s->limit || !IS_ALIGNED(s->limit, GIB) || s->limit > 1ull << 48 ||
	    !IS_ALIGNED((uintptr_t)pool, PAGE_BYTES))
		return -EINVAL;
	memset(n, 0, sizeof(*n));
	n->shape = *s;
	n->pool = pool;
	n->pool_pages = pool_pages;
	n->root = table_take(n);
	if (!n->root)
		return -ENOMEM;
	return range_set(n, n->root, LEVELS, 0, 0, s->limit, NPT_RW);
}

/**
 * npt_set() - change what the guest may do with a range
 * @gpa, @bytes: whole pages below the limit
 * @access:      new permission
 *
 * The caller makes every CPU flush before it relies on the change, and then
 * calls npt_reclaim(). The number of tables is checked first, so a range is
 * changed entirely or not at all.
 * Return: 0; -EINVAL; -ENOMEM.
 */
int npt_set(struct npt *n, u64 gpa, u64 bytes, enum npt_access access)
{
	u64 need = 4; /* two ends, two levels to split at each */

	if (!IS_ALIGNED(gpa | bytes, (u64)PAGE_BYTES) || !bytes || gpa >= n->shape.limit ||
	    bytes > n->shape.limit - gpa)
		return -EINVAL;
	/* Inner leaves are split where a large absent one gets its types back. */
	if (access != NPT_NONE && n->shape.types)
		need += tables_for(&n->shape, gpa, gpa + bytes);
	if (tables_left(n) < need)
		return -ENOMEM;
	return range_set(n, n->root, LEVELS, 0, gpa, gpa + bytes, access);
}

/* Does the change of types from @was leave a block as it is? */
static bool same_type(const struct npt *n, const struct memtypes *was, u64 gpa, u32 level)
{
	enum memtype old, now;

	return memtype_uniform(was, gpa, level_bytes(level), &old) &&
	       memtype_uniform(n->shape.types, gpa, level_bytes(level), &now) && old == now;
}

/* Return: false when a leaf should have been split and could not be. */
static bool table_retype(struct npt *n, u64 *t, u32 level, u64 base, const struct memtypes *was)
{
	bool exact = true;
	u32 i;

	for (i = 0; i < ENTRIES; i++) {
		u64 gpa = base + i * level_bytes(level);

		if (!(t[i] & PTE_P) || same_type(n, was, gpa, level))
			continue;
		if (is_leaf(t[i], level)) {
			enum npt_access access = leaf_access(t[i]);
			bool whole = one_type(&n->shape, gpa, level);

			if (whole || leaf_split(n, &t[i], gpa, level)) {
				exact &= whole;
				entry_store(&t[i], leaf_make(n, gpa, level, access));
				continue;
			}
		}
		exact &= table_retype(n, table_of(t[i]), level - 1, gpa, was);
		entry_merge(n, &t[i], gpa, level);
	}
	return exact;
}

/**
 * npt_retype() - the machine's memory types are others now: bring the leaves in line
 * @now: takes the place of shape.types, and lives as long; the old ones may go
 *
 * Blocks whose type is the same before and after are skipped, whatever their
 * size. Where the pool has no table left to split a leaf whose parts now
 * differ, all of it becomes uncached. The caller makes every CPU flush, then
 * calls npt_reclaim().
 * Return: false when that had to be done.
 */
bool npt_retype(struct npt *n, const struct memtypes *now)
{
	const struct memtypes *was = n->shape.types;

	n->shape.types = now;
	return table_retype(n, n->root, LEVELS, 0, was);
}

/** npt_reclaim() - every CPU has flushed: retired tables may be used again */
void npt_reclaim(struct npt *n)
{
	while (n->retired_count) {
		u64 *t = n->retired[--n->retired_count];

		t[0] = (u64)(uintptr_t)n->free;
		n->free = t;
		n->free_count++;
	}
}

/**
 * npt_lookup() - permission of the page at @gpa
 * @leaf_bytes: out, size of the leaf that maps it, or NULL
 */
enum npt_access npt_lookup(const struct npt *n, u64 gpa, u64 *leaf_bytes)
{
	u64 *t = n->root;
	u32 level;

	for (level = LEVELS; t; level--) {
		u64 pte = t[gpa >> (12 + 9 * (level - 1)) & (ENTRIES - 1)];

		if (is_leaf(pte, level)) {
			if (leaf_bytes)
				*leaf_bytes = level_bytes(level);
			return leaf_access(pte);
		}
		t = table_of(pte);
	}
	return NPT_NONE;
}

u64 npt_root_pa(const struct npt *n)
{
	return plat_virt_to_phys(n->root).v;
}
