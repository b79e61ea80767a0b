/*
 * chunkmap.h - what is where: base chunks, overlay blocks, free slots
 *
 * One entry per image chunk, then one per table page of the manifest: table
 * pages are kept in the store like chunks, under the indices chunks..n-1.
 *
 * base[i]	SLOT_NONE (not here, or not known to be zero), SLOT_ZERO, or the
 *		slot. Changes only when the record is durable, so whatever is read
 *		from here may be written into a checkpoint.
 * overlay	the guest's blocks, in groups of 1 MiB of the image: GROUP_NONE, GROUP_ZERO
 *		(all of it reads as zeroes, no chunk has a slot), or a leaf, which has two
 *		bits for each block (in the overlay slot / reads as zeroes, never both) and
 *		a slot for each chunk. A slot without valid bits means nothing yet. A bit is
 *		set when the guest's write has completed, not before: what the device has
 *		not acknowledged must not get into a checkpoint.
 * dirty	one bit per chunk: its overlay state has changed since its last
 *		record was captured (policy "push" only).
 *
 * Memory: 4 bytes per chunk, 4 bytes per MiB, and leaves where the guest has written,
 * up to OVL_BYTES_MAX: that is enough for every block of an image of 256 GiB in
 * chunks of 64 KiB. Leaves come from slabs; chunkmap_spare() gets new ones, on no
 * request's path, and chunkmap_ovl_room() takes from what is there.
 */
#ifndef STORAGE_CORE_CHUNKMAP_H
#define STORAGE_CORE_CHUNKMAP_H

#include "base/bitmap.h"
#include "base/types.h"
#include "storage/format/journal.h"

#define BLOCK_BYTES 4096u
#define BLOCK_SHIFT 12

#define GROUP_BLOCKS 256u /* the blocks of the largest chunk */
#define GROUP_NONE 0xffffffffu
#define GROUP_ZERO 0xfffffffeu
#define SLAB_LEAVES 512u
#define OVL_BYTES_MAX (32u << 20)

/* Where the guest's own block is. */
enum ovl_state {
	OVL_NOT, /* it has not written it */
	OVL_VALID, /* in the chunk's overlay slot */
	OVL_ZERO,
};

struct ovl_leaf {
	u64 valid[GROUP_BLOCKS / 64];
	u64 zero[GROUP_BLOCKS / 64];
	u32 slot[]; /* GROUP_BLOCKS / bpc of them */
};

struct chunkmap {
	u32 chunks; /* (c) of the image */
	u32 pages; /* (c) */
	u32 n; /* (c) chunks + pages */
	u32 bpc; /* (c) blocks per chunk, a power of two, 16..256 */
	u32 bpc_shift; /* (c) */
	u64 blocks; /* (c) of the image, the last may be short */
	u32 *base;
	u64 *dirty;
	u32 present; /* base entries that are not SLOT_NONE */
	u32 present_chunks; /* ... of the image's chunks */
	u32 slots_base, slots_ovl;
	u32 ndirty;
	u64 bytes; /* of memory */

	/* overlay */
	u32 groups; /* (c) */
	u32 *group; /* NULL: a map without guest writes */
	u32 leaf_bytes; /* (c) */
	u8 **slabs;
	u32 nslabs, max_slabs;
	u32 leaf_free, nfree; /* the first free one, its slot[0] names the next */
};

/** chunkmap_create() - everything SLOT_NONE; NULL when memory is short or numbers are absurd */
struct chunkmap *chunkmap_create(u64 image_bytes, u32 chunk_bytes);
/** chunkmap_create_base() - base[] only: no guest writes */
struct chunkmap *chunkmap_create_base(u64 image_bytes, u32 chunk_bytes);
void chunkmap_destroy(struct chunkmap *m);

/** chunkmap_same() - what @m has where @other has entry @i: the same chunk or page, or SLOT_NONE */
u32 chunkmap_same(const struct chunkmap *m, const struct chunkmap *other, u32 i);

/** chunkmap_base_set() - change one base entry and the counts */
void chunkmap_base_set(struct chunkmap *m, u32 i, u32 slot);

/** chunkmap_ovl_drop() - forget all guest writes */
void chunkmap_ovl_drop(struct chunkmap *m);

/** chunkmap_spare() - have free leaves in hand; false: there is no memory for more */
bool chunkmap_spare(struct chunkmap *m);

/** chunkmap_ovl_room() - a leaf for chunk @c, which the next two want; false: none is free */
bool chunkmap_ovl_room(struct chunkmap *m, u32 c);

/** chunkmap_ovl_slot_set() - chunk @c's slot, or SLOT_NONE when no block is in it */
void chunkmap_ovl_slot_set(struct chunkmap *m, u32 c, u32 slot);

/*
 * [@block, @block + @n): now in the overlay slot (@zero false), or zero (true). True:
 * changed. Its chunks have a leaf, or are all zero already.
 */
bool chunkmap_ovl_mark(struct chunkmap *m, u64 block, u64 n, bool zero);

/** chunkmap_ovl_any() - has chunk @c any overlay block? */
bool chunkmap_ovl_any(const struct chunkmap *m, u32 c);

/** chunkmap_ovl_valid() - has it one in its slot? */
bool chunkmap_ovl_valid(const struct chunkmap *m, u32 c);

/** chunkmap_ovl_get() - chunk @c's overlay state as a record */
void chunkmap_ovl_get(const struct chunkmap *m, u32 c, struct record *r);

/** chunkmap_ovl_put() - the reverse, for replay; -EBADMSG: it does not fit the image; -ENOMEM */
int chunkmap_ovl_put(struct chunkmap *m, const struct record *r);

static inline struct ovl_leaf *chunkmap_leaf(const struct chunkmap *m, u64 block)
{
	u32 at = m->group[block / GROUP_BLOCKS];

	if (at >= GROUP_ZERO)
		return NULL;
	return (struct ovl_leaf *)(void *)(m->slabs[at / SLAB_LEAVES] +
					   (size_t)(at % SLAB_LEAVES) * m->leaf_bytes);
}

/** chunkmap_ovl_slot() - chunk @c's slot for guest writes, or SLOT_NONE */
static inline u32 chunkmap_ovl_slot(const struct chunkmap *m, u32 c)
{
	const struct ovl_leaf *l = chunkmap_leaf(m, (u64)c << m->bpc_shift);

	return l ? l->slot[c & (GROUP_BLOCKS / m->bpc - 1)] : SLOT_NONE;
}

/** chunkmap_ovl_at() - where the guest's block @block is; @slot when it is OVL_VALID */
static inline enum ovl_state chunkmap_ovl_at(const struct chunkmap *m, u64 block, u32 *slot)
{
	const struct ovl_leaf *l = chunkmap_leaf(m, block);
	u32 in = (u32)block % GROUP_BLOCKS;

	if (!l)
		return m->group[block / GROUP_BLOCKS] == GROUP_ZERO ? OVL_ZERO : OVL_NOT;
	if (bitmap_test(l->zero, in))
		return OVL_ZERO;
	if (!bitmap_test(l->valid, in))
		return OVL_NOT;
	*slot = l->slot[in >> m->bpc_shift];
	return OVL_VALID;
}

void chunkmap_dirty(struct chunkmap *m, u32 c);

/*
 * Slots: one bit each. Base chunks are taken from the bottom, overlay slots
 * from three quarters up, each going on where it left off, so that what is
 * written in sequence lies in sequence.
 */
struct slotmap {
	u64 *used;
	u32 n; /* (c) */
	u32 free;
	u32 hint_base, hint_ovl;
};

int slotmap_init(struct slotmap *s, u32 slots);
void slotmap_fini(struct slotmap *s);
/* SLOT_NONE when there is none */
u32 slotmap_take(struct slotmap *s, bool overlay);
void slotmap_put(struct slotmap *s, u32 slot);

/**
 * slotmap_rebuild() - used = what @m and @other name, everything else free
 * @other: a second version, or NULL; may share slots with @m, entry by entry
 *
 * Return: 0; -EBADMSG when a slot is named twice or does not exist.
 */
int slotmap_rebuild(struct slotmap *s, const struct chunkmap *m, const struct chunkmap *other);

#endif
