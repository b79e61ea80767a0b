/*
 * big_disk.h - a virtual disk on a device of any size, of which only what is written takes memory
 *
 * No faults, no model: for tests that count (memory, bytes written, bytes fetched).
 * There is one at a time.
 */
#ifndef TESTS_FAKES_BIG_DISK_H
#define TESTS_FAKES_BIG_DISK_H

#include "storage/core/disk.h"
#include "tests/fakes/source_fake.h"

#define BIG_PIECE MIB /* memory comes in such pieces */

struct big_disk {
	struct blk_dev blk;
	struct list queue;
	u8 **piece;
	u32 pieces;
	u64 writes, write_bytes, reads, read_bytes;
	struct source_fake *source;
	struct store *store;
	struct disk *disk;
	int err;
	bool done;
};

extern struct big_disk big;

/** big_setup() - a device of @bytes, formatted, @im bound, policy push */
void big_setup(const struct image_fake *im, u64 bytes);
/** big_bind() - as after a power cycle; @im another version, or the same one */
void big_bind(const struct image_fake *im);
void big_teardown(void);
/** big_io() - one request, waited for; the error */
int big_io(enum blk_op op, u64 lba, u32 sectors, u8 *buf);
/** big_until() - let time pass until @cond; fails when it takes too long */
void big_until(bool (*cond)(void));
u64 big_memory(void);

#endif
