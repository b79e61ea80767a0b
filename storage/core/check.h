/*
 * check.h - is this store sound? For tools and tests, over the VMM's own code
 *
 * A region of a block device is opened as the VMM would open it; then everything
 * that can be held against something else is: superblocks against each other,
 * the manifest root against the version, table pages and chunks against sums and
 * digests, the maps against each other. Nothing is written by a check.
 *
 * A repair writes what a check knows to be better: a superblock from the other
 * copy, sums from data that has the right digest; and it takes chunks that are
 * wrong out of the map, so that they are fetched again. A journal that is damaged
 * is believed up to the damage, and only when the caller says so: what was
 * flushed after it is lost.
 *
 * Synchronous: polls the device until it is done. Hosted programs only.
 */
#ifndef STORAGE_CORE_CHECK_H
#define STORAGE_CORE_CHECK_H

#include "storage/core/blk.h"
#include "storage/core/store.h"
#include "storage/format/journal.h"

enum check_level {
	CHECK_NOTE, /* worth knowing */
	CHECK_BAD, /* wrong, and the PC copes: fetched again, other copy, made anew */
	CHECK_LOST, /* wrong, and something is lost or the store is refused */
};

struct store_check {
	struct blk_dev *blk;
	u64 lba, sectors; /* the region */
	bool quick; /* metadata only */
	bool repair;
	bool salvage; /* repair: go on before a damaged place of the journal */
	void (*say)(struct store_check *k, enum check_level level, const char *text);
	void (*progress)(struct store_check *k, u64 done, u64 total); /* chunks; or NULL */
	void *owner;

	/* out */
	struct super super[2];
	int super_err[2];
	struct store *store; /* NULL when it could not be opened; store_check_end() */
	int open_err;
	u32 checked, bad_chunks, bad_sums, bad_pages, unknown; /* chunks */
	u32 problems, repaired;
	int io_err;
};

/** store_check() - 0: sound; 1: not, k->problems says how much; negative: cannot tell */
int store_check(struct store_check *k);
void store_check_end(struct store_check *k);

#endif
