/*
 * deploy_fake.h - the world of deploy.c: a disk that loses power, a site's server, a store
 *
 * Disk: a volatile cache; a power cut takes back any subset of the sectors not
 * flushed. Source: documents and chunks from tables, each fault by a flag.
 * Store and virtual disk (deploy_fake_store.c) are stand-ins that keep what deploy
 * cares about (meta, manifest) in the first sectors of the region, through
 * the same fake disk.
 */
#ifndef TESTS_UNIT_DEPLOY_FAKE_H
#define TESTS_UNIT_DEPLOY_FAKE_H

#include "base/crypto_sign.h"
#include "storage/core/blk.h"
#include "storage/core/disk.h"
#include "storage/core/source.h"
#include "storage/core/store.h"
#include "storage/format/profile.h"

struct fake_disk {
	struct blk_dev dev;
	struct list queue;
	u8 *mem;
	u64 bytes;
	struct list dirty; /* sectors not durable, with what was there before */
	u64 reads, writes, flushes;
	u64 cut_after_writes; /* 0: never; then nothing completes any more */
	bool cut;
	bool fail_reads, fail_writes;
};

void fake_disk_init(struct fake_disk *f, u64 bytes, u32 sector_bytes, const char *serial);
void fake_disk_fini(struct fake_disk *f);
/* Power is back: pseudo-randomly lose what was not durable. */
void fake_disk_power_cycle(struct fake_disk *f, u32 seed);

struct fake_source {
	struct source src;
	struct list docs, chunks, cancelled;
	bool link, ip, up;
	int get_err; /* not 0: no answer, this error */
	u32 ticket_status, manifest_status; /* not 0: this HTTP status instead of the document */
	bool hold_docs; /* answers stay on the wire */
	u8 ticket[4200];
	u32 ticket_bytes;
	struct {
		u8 digest[32];
		u8 *bytes;
		u32 n;
	} objects[1024]; /* manifests and chunks */
	u32 object_count;
	u8 profile[PROFILE_BYTES_MAX], told[PROFILE_BYTES_MAX]; /* asked for, posted */
	u32 profile_bytes, told_bytes, profile_gets, tolds;
	u32 gets, fetches, posts;
	char last_path[256], last_post[8192];
	char bearer[128]; /* last told; "": nobody */
	u64 signed_time;
};

void fake_source_init(struct fake_source *s);
void fake_source_fini(struct fake_source *s);
void fake_source_up(struct fake_source *s, bool up);
void fake_source_add(struct fake_source *s, const u8 digest[32], const void *bytes, u32 n);

/* What the stand-ins of store and disk were told and shall do. */
extern struct fake_store_world {
	int open_err;
	int format_calls, create_calls;
	struct disk_cfg last_cfg;
	bool offline;
	u32 offline_calls;
	int ready_err;
	struct disk_fill fill;
	struct disk_profile profile; /* what disk_profile_state() says */
	u32 plays, played_bytes, stops;
	u32 waiting, scrubs;
} fake_store;

/* Straight into the medium: a store as an earlier boot left it. */
void fake_store_plant(struct fake_disk *f, u64 lba, const struct store_meta *meta,
		      const void *manifest, u32 bytes);
void fake_store_read(struct fake_disk *f, u64 lba, struct store_meta *meta);

#endif
