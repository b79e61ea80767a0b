/*
 * chunkmap.h - what is where: base chunks, overlay blocks, free slots
 *
 * One entry per image chunk, then one per table page of the manifest: table
 * pages are kept in the store like chunks, under the indices chunks..n-1.
 *
 * base[i]	SLOT_NONE (not here, or not known to be zero), SLOT_ZERO, or the
 *		slot. Changes only when the record is durable, so whatever is read
 *		from here may be written into a checkpoint.
 * ovl[c]	slot of the guest's blocks of chunk c, or SLOT_NONE. Without bits in
 *		valid it means nothing yet.
 * valid, zero	one bit per 4 KiB block of the image, never both: the block is in
 *		the overlay slot / reads as zeroes. Set when the guest's write has
 *		completed, not before: what the device has not acknowledged must
 *		not get into a checkpoint.
 * dirty	one bit per chunk: its overlay state has changed since its last
 *		record was captured (policy "push" only).
 */
#ifndef STORAGE_CORE_CHUNKMAP_H
#define STORAGE_CORE_CHUNKMAP_H

#include "base/types.h"
#include "storage/format/journal.h"

#define BLOCK_BYTES 4096u
#define BLOCK_SHIFT 12

struct chunkmap {
	u32 chunks; /* (c) of the image */
	u32 pages; /* (c) */
	u32 n; /* (c) chunks + pages */
	u32 bpc; /* (c) blocks per chunk, a power of two, 16..256 */
	u32 bpc_shift; /* (c) */
	u64 blocks; /* (c) of the image, the last may be short */
	u32 *base;
	u32 *ovl;
	u64 *valid, *zero;
	u64 *dirty;
	u32 present; /* base entries that are not SLOT_NONE */
	u32 present_chunks; /* ... of the image's chunks */
	u32 slots_base, slots_ovl;
	u32 ndirty;
	u64 bytes; /* of memory */
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

/** chunkmap_ovl_any() - has chunk @c any overlay block? */
bool chunkmap_ovl_any(const struct chunkmap *m, u32 c);

/** chunkmap_ovl_get() - chunk @c's overlay state as a record */
void chunkmap_ovl_get(const struct chunkmap *m, u32 c, struct record *r);

/** chunkmap_ovl_put() - the reverse, for replay; -EBADMSG when it does not fit the image */
int chunkmap_ovl_put(struct chunkmap *m, const struct record *r);

/* [@block, @block + @n): now in the overlay slot (@zero false), or zero (true). True: changed. */
bool chunkmap_ovl_mark(struct chunkmap *m, u64 block, u64 n, bool zero);

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
