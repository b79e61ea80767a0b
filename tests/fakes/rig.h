/*
 * rig.h - a virtual disk on a fake disk and a fake source, with a model guest
 *
 * The model: for every 512-byte sector the number of the last write to it, and
 * of the last one known to be durable. A written sector holds its own address
 * and the write's number, so one look says whether what was read is right.
 * Writes never overlap in flight at sector granularity, reads never overlap
 * writes in flight; sharing a 4 KiB block is fine, and wanted.
 */
#ifndef TESTS_FAKES_RIG_H
#define TESTS_FAKES_RIG_H

#include "storage/core/disk.h"
#include "tests/fakes/disk_fake.h"
#include "tests/fakes/source_fake.h"

#define RIG_OPS 24u

struct rig;

struct rig_op {
	struct rig *rig;
	struct blk_req r;
	struct blk_seg segs[80];
	bool busy;
	u32 id;
	u64 first, n; /* 512-byte sectors */
	u8 *buf;
	u32 *snap; /* flush: what it covers */
	int err;
};

struct rig {
	struct disk_fake *dev;
	struct source_fake *source;
	const struct image_fake *image;
	struct store *store;
	struct disk *disk;
	u64 store_lba, store_sectors;
	u64 rng, seed;

	enum store_policy policy;
	struct disk_fill fill;
	u32 pool_bytes, crc_bytes;
	bool no_source, offline, no_manifest;
	u64 serial;

	int result; /* of the last open */
	bool ready;

	/* model */
	u64 sectors;
	u32 *last, *durable, *last_zero;
	u8 *zero_id; /* by id */
	u32 ids;
	u8 *busy; /* per sector: write in flight */
	struct rig_op ops[RIG_OPS];
	bool expect_errors;
	u64 errors, completed;
	u64 done_read_bytes;
};

struct rig *rig_create(u64 seed, const struct image_fake *im, u64 dev_bytes, u32 dev_sector);
void rig_destroy(struct rig *g);
void rig_format(struct rig *g);
int rig_try_format(struct rig *g);
/** rig_open() - open store and disk; the error, or 0 */
int rig_open(struct rig *g);
int rig_open_store(struct rig *g);
void rig_close(struct rig *g); /* just forget it, nothing is flushed */
void rig_crash(struct rig *g); /* power cut; then the model accepts what may be, by reading all */
void rig_set_image(struct rig *g, const struct image_fake *im);
void rig_tick(struct rig *g);
/** rig_until_idle() - until nothing is in flight; false: takes too long, or the power went */
bool rig_until_idle(struct rig *g);
bool rig_until_complete(struct rig *g);
/** rig_random_op() - start one, if there is room */
void rig_random_op(struct rig *g);
void rig_check_all(struct rig *g, bool after_crash);
/** rig_accept() - after a power cut: read these sectors, take them if they may be so */
void rig_accept(struct rig *g, u64 sector, u32 n);
/** rig_io() - one op, waited for; the error. @data may be NULL. */
int rig_io(struct rig *g, enum blk_op op, u64 sector, u32 n, bool fua);
bool rig_start(struct rig *g, enum blk_op op, u64 sector, u32 n, bool fua);
/** rig_forget() - the model loses all guest writes (policy "boot", new version) */
void rig_forget(struct rig *g);
int rig_quiesce(struct rig *g);
/** rig_read() - read into @buf without looking at it; the error */
int rig_read(struct rig *g, u64 first, u32 n, u8 *buf);

#endif
