/*
 * The maps behind the virtual disk; see chunkmap.h. Pure bookkeeping: no I/O,
 * no policy.
 */
#include "storage/core/chunkmap.h"

#include <string.h>

#include "base/bitmap.h"
#include "base/err.h"
#include "base/plat.h"

static void *get(struct chunkmap *m, u64 bytes)
{
	m->bytes += bytes;
	return plat_alloc(bytes);
}

static struct chunkmap *create(u64 image_bytes, u32 chunk_bytes, bool writes)
{
	u64 chunks = DIV_ROUND_UP(image_bytes, chunk_bytes);
	u64 pages = DIV_ROUND_UP(chunks, chunk_bytes / 32);
	struct chunkmap *m;
	u64 words;

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
	words = BITMAP_WORDS(chunks * m->bpc);
	m->base = get(m, (u64)m->n * 4);
	if (m->base)
		memset(m->base, 0xff, (size_t)m->n * 4);
	if (m->base && !writes)
		return m;
	m->ovl = get(m, chunks * 4);
	m->valid = get(m, words * 8);
	m->zero = get(m, words * 8);
	m->dirty = get(m, BITMAP_WORDS(chunks) * 8);
	if (!m->base || !m->ovl || !m->valid || !m->zero || !m->dirty) {
		chunkmap_destroy(m);
		return NULL;
	}
	memset(m->ovl, 0xff, chunks * 4);
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
	plat_free(m->base);
	plat_free(m->ovl);
	plat_free(m->valid);
	plat_free(m->zero);
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

void chunkmap_ovl_drop(struct chunkmap *m)
{
	u64 words = BITMAP_WORDS((u64)m->chunks * m->bpc);

	memset(m->ovl, 0xff, (size_t)m->chunks * 4);
	memset(m->valid, 0, words * 8);
	memset(m->zero, 0, words * 8);
	memset(m->dirty, 0, BITMAP_WORDS(m->chunks) * 8);
	m->slots_ovl = 0;
	m->ndirty = 0;
}

bool chunkmap_ovl_any(const struct chunkmap *m, u32 c)
{
	u64 first = (u64)c << m->bpc_shift;

	if (m->bpc >= 64) {
		for (u64 w = first / 64; w < (first + m->bpc) / 64; w++)
			if (m->valid[w] | m->zero[w])
				return true;
		return false;
	}
	return (m->valid[first / 64] | m->zero[first / 64]) >> (first % 64) &
	       ((1ull << m->bpc) - 1);
}

void chunkmap_ovl_get(const struct chunkmap *m, u32 c, struct record *r)
{
	u64 first = (u64)c << m->bpc_shift;

	r->type = REC_OVL;
	r->ovl.chunk = c;
	r->ovl.slot = m->ovl[c];
	r->ovl.bits_bytes = m->bpc / 8;
	memcpy(r->ovl.valid, (u8 *)m->valid + first / 8, m->bpc / 8);
	memcpy(r->ovl.zero, (u8 *)m->zero + first / 8, m->bpc / 8);
}

int chunkmap_ovl_put(struct chunkmap *m, const struct record *r)
{
	u32 c = r->ovl.chunk, n = r->ovl.bits_bytes;
	u64 first = (u64)c << m->bpc_shift;
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
	m->slots_ovl += (u32)((r->ovl.slot < SLOT_LIMIT) - (m->ovl[c] < SLOT_LIMIT));
	m->ovl[c] = r->ovl.slot < SLOT_LIMIT ? r->ovl.slot : SLOT_NONE;
	memcpy((u8 *)m->valid + first / 8, r->ovl.valid, n);
	memcpy((u8 *)m->zero + first / 8, r->ovl.zero, n);
	return 0;
}

bool chunkmap_ovl_mark(struct chunkmap *m, u64 block, u64 n, bool zero)
{
	u64 *on = zero ? m->zero : m->valid, *off = zero ? m->valid : m->zero;
	bool changed = false;

	while (n) {
		u64 bit = block % 64, take = MIN(n, 64 - bit);
		u64 mask = (take == 64 ? ~0ull : (1ull << take) - 1) << bit;

		changed |= (~on[block / 64] | off[block / 64]) & mask ? true : false;
		on[block / 64] |= mask;
		off[block / 64] &= ~mask;
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
	for (u32 i = 0; i < m->chunks; i++)
		if (m->ovl[i] < SLOT_LIMIT && claim(s, m->ovl[i]))
			return -EBADMSG;
	for (u32 i = 0; other && i < other->n; i++)
		if (other->base[i] < SLOT_LIMIT && other->base[i] != chunkmap_same(m, other, i) &&
		    claim(s, other->base[i]))
			return -EBADMSG;
	return 0;
}
