/*
 * disk.h - the virtual disk: a version of an image, the guest's writes on top
 *
 * A block device whose blocks come, in this order, from the overlay (guest
 * writes), from the store's chunks on the local disk (checked against CRCs),
 * from chunk buffers in memory, and from the source. What came from the source
 * is kept in the store. Every chunk that is missing can be fetched in the
 * background (fill).
 *
 *	disk_create() -> opening -> ready -> ... -> disk_quiesce() -> disk_destroy()
 *
 * Driving it: after anything was submitted, after the back-end or the source
 * was polled, and on every tick, call disk_poll(). It polls neither the
 * back-end nor the source. Completions (blk_req.done) come from disk_poll() or
 * from the back-end's or the source's poll, never from inside submit.
 *
 * What the guest can count on: a write that completed and was then flushed (or
 * had FUA) survives a power cut under policy "push"; base data is never wrong:
 * it is verified by SHA-256 on its way in, by CRC32C on its way back from the
 * local disk.
 *
 * Context: pump.
 */
#ifndef STORAGE_CORE_DISK_H
#define STORAGE_CORE_DISK_H

#include "base/types.h"
#include "storage/core/blk.h"
#include "storage/core/source.h"
#include "storage/core/store.h"

struct disk;

struct disk_fill {
	bool on;
	u32 limit_kib_s; /* 0: none */
	bool metered; /* nothing that the guest does not wait for: no read-ahead, no profile */
	/*
	 * Fill waits until the guest has missed nothing for so long. 0: the
	 * default, 15 s: a boot reads in bursts, and fill is not to get between.
	 */
	u32 idle_ms;
};

struct disk_cfg {
	/*
	 * An open store; it belongs to the disk once disk_create() returned 0,
	 * and still to the caller when it failed.
	 */
	struct store *store;
	/*
	 * The version to show: a manifest root whose signature the caller has
	 * checked, copied. NULL: the version that the store is bound to. When it
	 * is another version than the store's, the store is bound to it: chunks
	 * that both have are kept, the overlay is dropped.
	 */
	const void *manifest;
	u32 manifest_bytes;
	/* NULL: none yet, disk_set_source() may bring one. */
	struct source *source;
	bool offline; /* see disk_set_offline() */
	enum store_policy policy; /* 0: what the store says */
	enum store_frontend frontend; /* 0: what the store says */
	enum store_nic nic; /* 0: what the store says */
	u64 serial; /* 0: leave; never goes back */
	const u8 *esp; /* [32] or NULL: leave */
	/*
	 * The bound version does not come up: @manifest is the one before it, which
	 * the store has. It is noted as bad, and its chunks are given up.
	 */
	bool give_up;
	struct disk_fill fill;
	/* 0: defaults, which keep the whole below 28 MiB for 64 GiB in 64 KiB chunks */
	u32 pool_bytes; /* chunk buffers; default 8 MiB */
	u32 crc_cache_bytes; /* default 2 MiB */
	/*
	 * Once, from disk_poll() or a device's poll. 0: ready; -EIO and whatever
	 * store_open() may say. While a binding needs table pages from the source
	 * it simply waits for the source.
	 */
	void (*ready)(struct disk *d, int err, void *arg);
	void *arg;
};

/**
 * disk_create() - start opening the virtual disk
 *
 * Return: 0, and cfg->ready comes later; -EINVAL: no manifest, malformed
 * manifest, or the store was formatted for another chunk size (then format
 * again); -ENOMEM.
 */
int disk_create(struct disk **out, const struct disk_cfg *cfg);

/** disk_destroy() - free everything, with the store; only when quiet or never ready */
void disk_destroy(struct disk *d);

/** disk_blk() - the guest's disk; valid when ready */
struct blk_dev *disk_blk(struct disk *d);

/**
 * disk_poll() - do everything that can be done now
 *
 * Return: time in ns until it wants to be called again without other cause
 * (fill pacing), or ~0ull when only a completion or a submission can give it work.
 */
u64 disk_poll(struct disk *d);

/** disk_set_source() - the network came up after the disk did; NULL takes it away */
void disk_set_source(struct disk *d, struct source *src);

/**
 * disk_set_offline() - say whether to wait for a source
 *
 * false (default): a guest read that only the source could answer waits for it,
 * for ever. true: it fails with -EIO, and so do those that are waiting already.
 */
void disk_set_offline(struct disk *d, bool offline);

void disk_set_fill(struct disk *d, const struct disk_fill *fill);

/*
 * Remember what the ticket said; NULL or 0 leaves a field. A policy, a
 * front-end or a card given here holds from the next boot on.
 */
struct disk_state {
	enum store_policy policy;
	enum store_frontend frontend;
	enum store_nic nic;
	u64 serial;
	const u8 *esp; /* [32] */
	const u8 *next; /* [32] */
	bool up; /* a guest has come up */
	u64 time;
	const u8 *credential; /* [32] */
};

/**
 * disk_set_state() - put it into the store
 * @done: may be NULL; called once it is durable, or with -EIO
 *
 * Return: 0; -EBUSY while an earlier one is on its way; -EINVAL before ready.
 */
int disk_set_state(struct disk *d, const struct disk_state *st,
		   void (*done)(struct disk *d, int err, void *arg), void *arg);

void disk_scrub(struct disk *d, u32 kib_s);
int disk_stage(struct disk *d, const void *root, u32 bytes);
void disk_stage_drop(struct disk *d);

/**
 * disk_quiesce() - stop fill and read-ahead, finish what is in flight, make all durable
 *
 * Guest requests go on being served. Waits for no source: fetches are cancelled.
 * @done: 0 or -EIO
 */
void disk_quiesce(struct disk *d, void (*done)(struct disk *d, int err, void *arg), void *arg);

/*
 * The boot profile: the disk notes which chunks the guest reads for the first time,
 * from ready on, until disk_profile_stop(). docs/formats/profile.md.
 */
struct disk_profile {
	bool recording;
	bool full; /* nothing more can be noted */
	u32 runs, chunks;
	u64 last_ns; /* when the last chunk was noted; plat_time_ns() */
};

void disk_profile_state(const struct disk *d, struct disk_profile *out);
void disk_profile_stop(struct disk *d);
u32 disk_profile_build(const struct disk *d, void *out, u32 room);
int disk_profile_play(struct disk *d, const void *bytes, u32 n);

struct disk_stats {
	u64 guest_reads, guest_writes, guest_flushes; /* requests */
	u64 guest_read_bytes, guest_write_bytes, guest_trim_bytes;
	u64 asked_bytes; /* distinct blocks of the image that the guest has read; 4 KiB to 32 GiB */
	u64 local_bytes; /* read from the store's chunks */
	u64 overlay_bytes; /* read from the overlay */
	u64 zero_bytes; /* read without any I/O */
	u64 copied_bytes; /* read from chunk buffers */
	u64 fetched_bytes; /* plain bytes from the source, without table pages */
	u64 demand_chunks, ahead_chunks, fill_chunks; /* fetched, by cause */
	u64 ahead_used; /* of those fetched ahead: a guest read them later */
	u64 reclaimed_slots; /* of guest writes, emptied by TRIM or zeroes */
	u64 listed_chunks; /* fetched because the boot profile has them; not in the others */
	u64 boot_demand_chunks; /* demand_chunks when the boot was over */
	u64 page_chunks; /* table pages fetched */
	u64 chunks_total; /* all chunks of the image, zero chunks included */
	u64 chunks_present; /* local or zero */
	u32 fill_permille; /* chunks_present / chunks_total, rounded down */
	bool complete;
	bool filling; /* fill has something to do, now or when the guest has been quiet */
	u64 staged_bytes; /* fetched for the next version */
	bool stage_refused; /* ... which does not fit beside this one */
	bool store_full; /* chunks are served but no longer kept */
	u64 corrupt_chunks; /* found on the local disk */
	u64 repaired_chunks; /* ... fetched again and rewritten */
	u64 scrubbed_chunks; /* looked at by the scrub */
	u64 failed_reads; /* -EIO given to the guest */
	u64 failed_writes;
	u64 journal_appends, checkpoints;
	u64 device_flushes;
	u32 waiting; /* guest requests that wait for the source now */
	u64 longest_wait_ns; /* ... the longest that one has waited so far */
	u64 last_guest_ns; /* when the guest last asked for anything; plat_time_ns() */
	u64 longest_read_ns; /* submission to completion */
	u64 memory_bytes; /* all that store and disk have allocated */
};

void disk_stats(struct disk *d, struct disk_stats *out);

/* What is asked at every poll, without all the rest: .filling, .waiting, .last_guest_ns */
bool disk_filling(const struct disk *d);
u32 disk_waiting(const struct disk *d);
u64 disk_last_guest_ns(const struct disk *d);

#endif
