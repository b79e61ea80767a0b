/*
 * disk_fake.h - a disk with a volatile cache that loses power at bad moments
 *
 * Requests complete in random order, some polls later. A completed write is in
 * the cache only, until it is destaged (at random), flushed, or was FUA.
 * A flush covers what had completed when it was submitted. disk_fake_power_cut()
 * lets every sector that is not durable, and every sector of a write in flight,
 * survive or not by a coin of its own.
 */
#ifndef TESTS_FAKES_DISK_FAKE_H
#define TESTS_FAKES_DISK_FAKE_H

#include "storage/core/blk.h"

struct disk_fake {
	struct blk_dev blk;
	u8 *media; /* durable */
	u8 *view; /* with the cache */
	u32 *since; /* per sector: when it became dirty, 0: clean */
	u32 clock;
	struct list queue;
	u64 rng;
	u32 inflight;

	/* knobs */
	bool prompt; /* complete everything at the next poll, in order */
	u64 dead_after; /* writes until the power goes; 0: never */
	bool dead;
	u64 bad_from, bad_to; /* reads of these sectors fail */
	u64 badw_from, badw_to; /* writes fail */
	bool flush_fails;

	u64 reads, writes, flushes, read_bytes, write_bytes;
};

u64 fake_rng(u64 *state);
struct disk_fake *disk_fake_create(u64 sectors, u32 sector_bytes, u64 seed);
void disk_fake_destroy(struct disk_fake *f);
void disk_fake_power_cut(struct disk_fake *f);
/** disk_fake_rot() - flip bits of @bytes at @off, on the media */
void disk_fake_rot(struct disk_fake *f, u64 off, u32 bytes);

#endif
