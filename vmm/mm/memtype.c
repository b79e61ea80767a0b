/*
 * memtype.c - MTRRs to memory types
 *
 * An EPT leaf carries the type that the MTRRs would give its page on bare
 * hardware; the guest's PAT is combined with it by the processor as it is
 * with an MTRR's. Ranges are asked about in aligned blocks, and a block is
 * called uniform only when that is certain: an uncertain one is split, and a
 * page is always certain, as no MTRR is finer.
 *
 * Spec: [SDM 3 §12.11]
 */
#include "vmm/mm/memtype.h"

#include "base/field.h"

#define DEF_TYPE GENMASK(7, 0)
#define DEF_FIXED BIT64(10)
#define DEF_ENABLE BIT64(11)
#define BASE_TYPE GENMASK(7, 0)
#define MASK_VALID BIT64(11)
#define RANGE_ADDR GENMASK(51, 12)

#define FIXED_END MIB

/* Reserved encodings count as uncached, which is always correct. */
static enum memtype type_checked(u64 type)
{
	switch (type) {
	case MEMTYPE_WC:
	case MEMTYPE_WT:
	case MEMTYPE_WP:
	case MEMTYPE_WB:
		return (enum memtype)type;
	}
	return MEMTYPE_UC;
}

/* Two ranges on one page [SDM 3 §12.11.4.1]; undefined mixtures become uncached. */
static enum memtype type_overlap(enum memtype a, enum memtype b)
{
	if (a == b)
		return a;
	if ((a == MEMTYPE_WB && b == MEMTYPE_WT) || (a == MEMTYPE_WT && b == MEMTYPE_WB))
		return MEMTYPE_WT;
	return MEMTYPE_UC;
}

/* The 8-bit field that covers @pa < 1 MiB [SDM 3 table 12-9]. */
static enum memtype fixed_type(const struct memtypes *m, u64 pa)
{
	u64 field;

	if (pa < 0x80000)
		field = pa / 0x10000;
	else if (pa < 0xc0000)
		field = 8 + (pa - 0x80000) / 0x4000;
	else
		field = 24 + (pa - 0xc0000) / 0x1000;
	return type_checked(m->fixed[field / 8] >> 8 * (field % 8) & 0xff);
}

static bool fixed_uniform(const struct memtypes *m, u64 pa, u64 bytes, enum memtype *type)
{
	u64 at;

	if (pa + bytes > FIXED_END)
		return false;
	*type = fixed_type(m, pa);
	for (at = pa; at < pa + bytes; at += PAGE_BYTES)
		if (fixed_type(m, at) != *type)
			return false;
	return true;
}

/**
 * memtype_uniform() - does an aligned block have one type, and which?
 * @pa:    aligned to @bytes
 * @bytes: a power of two, at least a page
 * @type:  out
 *
 * Return: false when parts of it may differ; never for a single page.
 */
bool memtype_uniform(const struct memtypes *m, u64 pa, u64 bytes, enum memtype *type)
{
	bool some = false, partly = false;
	u32 i;

	*type = MEMTYPE_UC;
	if (!(m->def & DEF_ENABLE))
		return true;
	if (pa < FIXED_END && m->have_fixed && (m->def & DEF_FIXED))
		return fixed_uniform(m, pa, bytes, type);
	for (i = 0; i < m->count; i++) {
		u64 mask = m->mask[i] & RANGE_ADDR & ~(bytes - 1);
		enum memtype t = type_checked(m->base[i] & BASE_TYPE);

		if (!(m->mask[i] & MASK_VALID) || (pa & mask) != (m->base[i] & mask))
			continue;
		if (m->mask[i] & RANGE_ADDR & (bytes - 1)) {
			partly = true;
			continue;
		}
		*type = some ? type_overlap(*type, t) : t;
		some = true;
	}
	if (some && *type == MEMTYPE_UC)
		return true; /* whatever else covers a part of it */
	if (!some)
		*type = type_checked(m->def & DEF_TYPE);
	return !partly;
}

/** memtype_of() - the type of the page at @pa */
enum memtype memtype_of(const struct memtypes *m, u64 pa)
{
	enum memtype type;

	memtype_uniform(m, ALIGN_DOWN(pa, (u64)PAGE_BYTES), PAGE_BYTES, &type);
	return type;
}
