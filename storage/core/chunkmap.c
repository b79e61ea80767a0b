/*
 * The maps behind the virtual disk; see chunkmap.h. Pure bookkeeping: no I/O,
 * no policy.
 */
#include "storage/core/chunkmap.h"

#include <string.h>

#include "base/assert.h"
#include "base/bitmap.h"
#include "base/err.h"
#include "base/plat.h"

static void *get(struct chunkmap *m, u64 bytes)
{
	m->bytes += bytes;
	return plat_alloc(bytes);
}

static bool create_overlay(struct chunkmap *m)
{
	u32 slab;

	m->groups = (u32)DIV_ROUND_UP((u64)m->chunks * m->bpc, GROUP_BLOCKS);
	m->leaf_bytes = (u32)ALIGN_UP(sizeof(struct ovl_leaf) + 4 * (GROUP_BLOCKS / m->bpc), 8ul);
	m->leaf_free = GROUP_NONE;
	slab = SLAB_LEAVES * m->leaf_bytes;
	/* one more than all groups need: a spare one shall not look like being full */
	m->max_slabs = MIN((m->groups + SLAB_LEAVES - 1) / SLAB_LEAVES + 1, OVL_BYTES_MAX / slab);
	m->group = get(m, (u64)m->groups * 4);
	m->slabs = get(m, m->max_slabs * sizeof(*m->slabs));
	m->dirty = get(m, BITMAP_WORDS(m->chunks) * 8);
	if (!m->group || !m->slabs || !m->dirty)
		return false;
	memset(m->group, 0xff, (size_t)m->groups * 4);
	return true;
}

static struct chunkmap *create(u64 image_bytes, u32 chunk_bytes, bool writes)
{
	u64 chunks = DIV_ROUND_UP(image_bytes, chunk_bytes);
	u64 pages = DIV_ROUND_UP(chunks, chunk_bytes / 32);
	struct chunkmap *m;

	if (!image_bytes || chunks + pages >= SLOT_LIMIT)
		return NULL;
	m = plat_alloc(sizeof(*m));
	if (!m)
		return NULL;
	m->chunks = (u32)chunks;
	m->pages = (u32)pages;
	m->n = (u32)(chunks + pages);
	m->bpc = chunk_bytes / BLOCK_BYTES;
	m->bpc_shift = (u32)__builtin_ctz(m->bpc);
	m->blocks = DIV_ROUND_UP(image_bytes, BLOCK_BYTES);
	m->bytes = sizeof(*m);
	m->base = get(m, (u64)m->n * 4);
	if (m->base)
		memset(m->base, 0xff, (size_t)m->n * 4);
	if (!m->base || (writes && !create_overlay(m))) {
		chunkmap_destroy(m);
		return NULL;
	}
	return m;
}

struct chunkmap *chunkmap_create(u64 image_bytes, u32 chunk_bytes)
{
	return create(image_bytes, chunk_bytes, true);
}

struct chunkmap *chunkmap_create_base(u64 image_bytes, u32 chunk_bytes)
{
	return create(image_bytes, chunk_bytes, false);
}

u32 chunkmap_same(const struct chunkmap *m, const struct chunkmap *other, u32 i)
{
	if (i < other->chunks)
		return i < m->chunks ? m->base[i] : SLOT_NONE;
	i -= other->chunks;
	return i < m->pages ? m->base[m->chunks + i] : SLOT_NONE;
}

void chunkmap_destroy(struct chunkmap *m)
{
	if (!m)
		return;
	for (u32 i = 0; i < m->nslabs; i++)
		plat_free(m->slabs[i]);
	plat_free(m->slabs);
	plat_free(m->group);
	plat_free(m->base);
	plat_free(m->dirty);
	plat_free(m);
}

void chunkmap_base_set(struct chunkmap *m, u32 i, u32 slot)
{
	u32 old = m->base[i];
	int here = (slot != SLOT_NONE) - (old != SLOT_NONE);

	m->present += (u32)here;
	if (i < m->chunks)
		m->present_chunks += (u32)here;
	m->slots_base += (u32)((slot < SLOT_LIMIT) - (old < SLOT_LIMIT));
	m->base[i] = slot;
}

/* ---------------------------------------------------------------- leaves */

static struct ovl_leaf *leaf_at(const struct chunkmap *m, u32 i)
{
	return (struct ovl_leaf *)(void *)(m->slabs[i / SLAB_LEAVES] +
					   (size_t)(i % SLAB_LEAVES) * m->leaf_bytes);
}

static void leaf_put(struct chunkmap *m, u32 i)
{
	leaf_at(m, i)->slot[0] = m->leaf_free;
	m->leaf_free = i;
	m->nfree++;
}

static void slab_put(struct chunkmap *m, u32 slab)
{
	for (u32 i = SLAB_LEAVES; i; i--)
		leaf_put(m, slab * SLAB_LEAVES + i - 1);
}

bool chunkmap_spare(struct chunkmap *m)
{
	u64 bytes = (u64)SLAB_LEAVES * m->leaf_bytes;
	u8 *slab;

	if (m->nfree >= SLAB_LEAVES)
		return true;
	if (m->nslabs == m->max_slabs)
		return m->nfree;
	slab = plat_alloc(bytes);
	if (!slab)
		return m->nfree;
	m->bytes += bytes;
	m->slabs[m->nslabs++] = slab;
	slab_put(m, m->nslabs - 1);
	return true;
}

bool chunkmap_ovl_room(struct chunkmap *m, u32 c)
{
	u32 *g = &m->group[((u64)c << m->bpc_shift) / GROUP_BLOCKS], i = m->leaf_free;
	struct ovl_leaf *l;

	if (*g < GROUP_ZERO)
		return true;
	if (i == GROUP_NONE)
		return false;
	l = leaf_at(m, i);
	m->leaf_free = l->slot[0];
	m->nfree--;
	memset(l->valid, 0, sizeof(l->valid));
	memset(l->zero, *g == GROUP_ZERO ? 0xff : 0, sizeof(l->zero));
	memset(l->slot, 0xff, 4 * (GROUP_BLOCKS / m->bpc));
	*g = i;
	return true;
}

/* A leaf that says "all zero" and nothing else is not needed. */
static void collapse(struct chunkmap *m, u64 block)
{
	u32 *g = &m->group[block / GROUP_BLOCKS];
	const struct ovl_leaf *l = chunkmap_leaf(m, block);

	if (!l)
		return;
	for (u32 i = 0; i < GROUP_BLOCKS / 64; i++)
		if (l->zero[i] != ~0ull)
			return;
	for (u32 i = 0; i < GROUP_BLOCKS / m->bpc; i++)
		if (l->slot[i] != SLOT_NONE)
			return;
	leaf_put(m, *g);
	*g = GROUP_ZERO;
}

/* ---------------------------------------------------------------- guest writes */

void chunkmap_ovl_drop(struct chunkmap *m)
{
	memset(m->group, 0xff, (size_t)m->groups * 4);
	m->leaf_free = GROUP_NONE;
	m->nfree = 0;
	for (u32 i = m->nslabs; i; i--)
		slab_put(m, i - 1);
	memset(m->dirty, 0, BITMAP_WORDS(m->chunks) * 8);
	m->slots_ovl = 0;
	m->ndirty = 0;
}

void chunkmap_ovl_slot_set(struct chunkmap *m, u32 c, u32 slot)
{
	struct ovl_leaf *l = chunkmap_leaf(m, (u64)c << m->bpc_shift);
	u32 *was = &l->slot[c & (GROUP_BLOCKS / m->bpc - 1)];

	m->slots_ovl += (u32)((slot < SLOT_LIMIT) - (*was < SLOT_LIMIT));
	*was = slot;
	if (slot == SLOT_NONE)
		collapse(m, (u64)c << m->bpc_shift);
}

/* Bits of chunk @c in a leaf: a word and a mask when a chunk is less than a word, else words. */
static bool any_bit(const struct chunkmap *m, const u64 *bits, u32 c)
{
	u32 first = (u32)((u64)c << m->bpc_shift) % GROUP_BLOCKS;

	if (m->bpc < 64)
		return bits[first / 64] >> (first % 64) & ((1ull << m->bpc) - 1);
	for (u32 w = first / 64; w < (first + m->bpc) / 64; w++)
		if (bits[w])
			return true;
	return false;
}

bool chunkmap_ovl_any(const struct chunkmap *m, u32 c)
{
	u64 first = (u64)c << m->bpc_shift;
	const struct ovl_leaf *l = chunkmap_leaf(m, first);

	if (!l)
		return m->group[first / GROUP_BLOCKS] == GROUP_ZERO;
	return any_bit(m, l->valid, c) || any_bit(m, l->zero, c);
}

bool chunkmap_ovl_valid(const struct chunkmap *m, u32 c)
{
	const struct ovl_leaf *l = chunkmap_leaf(m, (u64)c << m->bpc_shift);

	return l && any_bit(m, l->valid, c);
}

void chunkmap_ovl_get(const struct chunkmap *m, u32 c, struct record *r)
{
	u64 first = (u64)c << m->bpc_shift;
	const struct ovl_leaf *l = chunkmap_leaf(m, first);
	u32 at = (u32)(first % GROUP_BLOCKS) / 8;

	r->type = REC_OVL;
	r->ovl.chunk = c;
	r->ovl.slot = chunkmap_ovl_slot(m, c);
	r->ovl.bits_bytes = m->bpc / 8;
	if (l) {
		memcpy(r->ovl.valid, (const u8 *)l->valid + at, m->bpc / 8);
		memcpy(r->ovl.zero, (const u8 *)l->zero + at, m->bpc / 8);
		return;
	}
	memset(r->ovl.valid, 0, m->bpc / 8);
	memset(r->ovl.zero, m->group[first / GROUP_BLOCKS] == GROUP_ZERO ? 0xff : 0, m->bpc / 8);
}

int chunkmap_ovl_put(struct chunkmap *m, const struct record *r)
{
	u32 c = r->ovl.chunk, n = r->ovl.bits_bytes, at;
	u64 first = (u64)c << m->bpc_shift;
	struct ovl_leaf *l;
	u8 any = 0;

	if (c >= m->chunks || n != m->bpc / 8)
		return -EBADMSG;
	for (u32 i = 0; i < n; i++) {
		any |= r->ovl.valid[i];
		if (r->ovl.valid[i] & r->ovl.zero[i])
			return -EBADMSG;
	}
	if (any && r->ovl.slot >= SLOT_LIMIT)
		return -EBADMSG;
	chunkmap_spare(m);
	if (!chunkmap_ovl_room(m, c))
		return -ENOMEM;
	l = chunkmap_leaf(m, first);
	at = (u32)(first % GROUP_BLOCKS) / 8;
	memcpy((u8 *)l->valid + at, r->ovl.valid, n);
	memcpy((u8 *)l->zero + at, r->ovl.zero, n);
	chunkmap_ovl_slot_set(m, c, r->ovl.slot < SLOT_LIMIT ? r->ovl.slot : SLOT_NONE);
	return 0;
}

bool chunkmap_ovl_mark(struct chunkmap *m, u64 block, u64 n, bool zero)
{
	bool changed = false;

	while (n) {
		u64 bit = block % 64, take = MIN(n, 64 - bit);
		u64 mask = (take == 64 ? ~0ull : (1ull << take) - 1) << bit;
		struct ovl_leaf *l = chunkmap_leaf(m, block);
		u32 w = (u32)(block % GROUP_BLOCKS) / 64;

		assert(l || (zero && m->group[block / GROUP_BLOCKS] == GROUP_ZERO));
		if (l) {
			u64 *on = zero ? &l->zero[w] : &l->valid[w];
			u64 *off = zero ? &l->valid[w] : &l->zero[w];

			changed |= (~*on | *off) & mask ? true : false;
			*on |= mask;
			*off &= ~mask;
		}
		if (l && zero)
			collapse(m, block);
		block += take;
		n -= take;
	}
	return changed;
}

void chunkmap_dirty(struct chunkmap *m, u32 c)
{
	if (bitmap_test(m->dirty, c))
		return;
	bitmap_set(m->dirty, c);
	m->ndirty++;
}

int slotmap_init(struct slotmap *s, u32 slots)
{
	s->used = plat_alloc(BITMAP_WORDS(slots) * 8);
	s->n = s->free = slots;
	s->hint_base = 0;
	s->hint_ovl = slots - slots / 4;
	return s->used ? 0 : -ENOMEM;
}

void slotmap_fini(struct slotmap *s)
{
	plat_free(s->used);
	s->used = NULL;
}

u32 slotmap_take(struct slotmap *s, bool overlay)
{
	u32 *hint = overlay ? &s->hint_ovl : &s->hint_base;
	size_t i;

	if (!s->free)
		return SLOT_NONE;
	i = bitmap_next_clear(s->used, s->n, *hint);
	if (i >= s->n)
		i = bitmap_next_clear(s->used, s->n, 0);
	if (i >= s->n)
		return SLOT_NONE;
	bitmap_set(s->used, i);
	s->free--;
	*hint = (u32)i + 1;
	return (u32)i;
}

void slotmap_put(struct slotmap *s, u32 slot)
{
	if (!bitmap_test(s->used, slot))
		return;
	bitmap_clear(s->used, slot);
	s->free++;
}

static int claim(struct slotmap *s, u32 slot)
{
	if (slot >= s->n || bitmap_test(s->used, slot))
		return -EBADMSG;
	bitmap_set(s->used, slot);
	s->free--;
	return 0;
}

int slotmap_rebuild(struct slotmap *s, const struct chunkmap *m, const struct chunkmap *other)
{
	memset(s->used, 0, BITMAP_WORDS(s->n) * 8);
	s->free = s->n;
	if (!m)
		return 0;
	for (u32 i = 0; i < m->n; i++)
		if (m->base[i] < SLOT_LIMIT && claim(s, m->base[i]))
			return -EBADMSG;
	for (u32 i = 0; i < m->chunks; i++) {
		u32 slot = chunkmap_ovl_slot(m, i);

		if (slot < SLOT_LIMIT && claim(s, slot))
			return -EBADMSG;
	}
	for (u32 i = 0; other && i < other->n; i++)
		if (other->base[i] < SLOT_LIMIT && other->base[i] != chunkmap_same(m, other, i) &&
		    claim(s, other->base[i]))
			return -EBADMSG;
	return 0;
}
