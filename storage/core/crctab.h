/*
 * crctab.h - the on-disk table of block checksums, and a bounded cache of it
 *
 * One CRC32C per 4 KiB of every slot, so that rotten data is noticed before
 * the guest sees it. The table is read lazily in lines of 4 KiB (1024 sums,
 * 4 MiB of slots) and written by the commit engine alone, before the journal
 * names a slot. A line that cannot be read becomes all ones: its blocks then
 * fail their check and are fetched again.
 *
 * The sum of block b of the slot area starts from b * 0x9e3779b1, so that a
 * block read from or written to the wrong place does not pass.
 */
#ifndef STORAGE_CORE_CRCTAB_H
#define STORAGE_CORE_CRCTAB_H

#include "base/crc32c.h"
#include "base/list.h"
#include "base/types.h"
#include "storage/core/blk.h"
#include "storage/core/chunkmap.h"

#define CRCTAB_SUMS 1024u /* in a line */

struct crctab_ent {
	struct blk_req req;
	struct blk_seg seg;
	struct crctab *tab;
	u32 line; /* ~0u: empty */
	bool valid; /* else being read */
	bool dirty; /* not evictable */
	bool recent;
	u8 *data;
	struct list waiters;
};

struct crctab_wait {
	struct list link;
	void (*done)(struct crctab_wait *w); /* look again */
};

struct crctab {
	struct blk_dev *blk;
	u64 lba; /* of the table, in the device's sectors */
	u32 lines;
	u32 n;
	struct crctab_ent *ents;
	u8 *mem;
	u16 *where; /* line -> entry + 1, 0: not cached */
	u32 hand;
	struct list starved; /* waiters for whom no entry was free */
	u64 bytes; /* of memory */
	u64 read_errors;
};

int crctab_init(struct crctab *t, struct blk_dev *blk, u64 lba, u32 lines, u32 cache_bytes);
void crctab_fini(struct crctab *t);

/**
 * crctab_want() - have the line with block @block's sum in memory
 *
 * Return: true when it is there now; false: it is being read and w->done()
 * will be called, from the back-end's poll.
 */
bool crctab_want(struct crctab *t, u64 block, struct crctab_wait *w);

/* Only right after crctab_want() said true, without a return to the poll loop in between. */
bool crctab_ok(struct crctab *t, u64 block, u32 sum);
void crctab_set(struct crctab *t, u64 block, u32 sum);

static inline u32 crctab_seed(u64 block)
{
	return (u32)block * 0x9e3779b1u;
}

/** crctab_sum() - of a whole block in one piece */
static inline u32 crctab_sum(u64 block, const void *data)
{
	return crc32c(crctab_seed(block), data, BLOCK_BYTES);
}

#endif
