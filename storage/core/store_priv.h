/*
 * store_priv.h - the store as the virtual disk sees it
 *
 * Three files share struct store: store.c (format, open, replay), journal.c
 * (the commit engine: what becomes durable, in which order), and through the
 * functions below disk.c and sched.c.
 */
#ifndef STORAGE_CORE_STORE_PRIV_H
#define STORAGE_CORE_STORE_PRIV_H

#include "storage/core/blk.h"
#include "storage/core/chunkmap.h"
#include "storage/core/crctab.h"
#include "storage/core/store.h"
#include "storage/format/journal.h"

#define STORE_JBUF_BLOCKS 16u
#define STORE_TAIL_BLOCKS 512u /* log longer than this: checkpoint; 2 MiB to replay */

/*
 * A chunk whose data the device has acknowledged, on its way into the map.
 * @data stays until done(): its sums are computed when it is captured.
 */
struct store_commit {
	struct list link;
	struct crctab_wait wait;
	struct store *store;
	u32 idx; /* image chunk, or chunks + table page */
	bool other; /* ... of the second version */
	u32 slot;
	const u8 *data;
	u32 blocks;
	/* 0: durable and in the map; -EIO: neither, and the slot is lost until the next open */
	void (*done)(struct store_commit *c, int err);
};

/* Somebody who waits until all that is acknowledged now is durable. */
struct store_sync {
	struct list link;
	void (*done)(struct store_sync *w, int err);
};

enum engine_state {
	ENGINE_IDLE,
	ENGINE_LINES, /* writing checksum lines */
	ENGINE_FLUSH, /* ... flushing data and lines */
	ENGINE_APPEND, /* ... appending records */
	ENGINE_SNAP, /* writing a checkpoint into the other half */
	ENGINE_SNAP_FLUSH,
	ENGINE_SUPER, /* first superblock copy */
	ENGINE_SUPER2,
};

enum snap_phase {
	SNAP_META,
	SNAP_ROOT,
	SNAP_MAP,
	SNAP_OVL,
	SNAP_OTHER,
	SNAP_OROOT,
	SNAP_OMAP,
	SNAP_END,
	SNAP_DONE,
};

/* A position in a journal half. */
struct journal_pos {
	u64 nonce, generation;
	u64 off; /* of the half */
	u32 seq; /* next block */
	u32 prev_crc;
};

/* The second version. @map has base[] only; NULL: there is none. */
struct store_other {
	enum store_role role;
	bool complete;
	u8 version[32];
	u8 *root;
	u32 root_bytes;
	struct chunkmap *map;
};

struct store {
	struct blk_dev *blk; /* (c) */
	u64 lba, sectors; /* (c) */
	struct super sb;
	u32 sb_best; /* the copy that was written last and is known good */
	struct store_meta meta;
	u8 *root;
	u32 root_bytes;
	struct chunkmap *map; /* NULL: not bound */
	struct store_other other;
	/* The map of a second version that has been dropped: its slots are not free yet. */
	struct chunkmap *dropped;
	struct store_sync drop_sync;
	void (*drop_done)(struct store *s); /* set by the disk; may be NULL */
	struct slotmap slots;
	struct crctab crc;
	u32 bpc;
	bool open;
	bool failed; /* the journal could not be written: nothing new becomes durable */
	bool keep_overlay; /* policy "push" in this session */
	bool salvage; /* tools: open in spite of damage in the log, as if it ended there */
	bool salvaged; /* ... and so it was */
	void *owner; /* the disk */

	/* open */
	void (*open_done)(struct store *s, int err, void *arg);
	void *open_arg;
	struct open_super {
		struct super sb;
		int err;
	} open_super[2];
	bool replay_end;
	u32 replay_root, replay_oroot;
	u32 replay_last; /* after the log's end: blocks looked at for signs of damage */

	/* engine */
	enum engine_state state;
	struct journal_pos pos;
	u32 log_start; /* first block after the checkpoint */
	struct list ready; /* commits */
	u32 nready;
	bool more; /* further commits are about to come: a short wait pays */
	struct list syncs;
	struct list ckpt_syncs; /* ... for a checkpoint that begins from now on */
	bool meta_dirty, ckpt_want;
	struct list cycle_commits, cycle_syncs;
	u32 lines_left;
	int cycle_err;
	u32 tries;
	bool again; /* kicked from inside */
	bool running;
	struct blk_req req;
	struct blk_seg seg;
	u8 *jbuf; /* STORE_JBUF_BLOCKS blocks */
	u32 jmax; /* (c) ... of which one request of the device takes so many */
	u32 jblocks, jused;

	/* checkpoint */
	struct journal_pos snap;
	enum snap_phase snap_phase;
	u32 snap_at;
	u32 snap_sb; /* the copy being written */
	struct super snap_super;

	u64 appends, checkpoints, flushes;
	u64 bytes; /* of memory, without map and crc */
};

static inline u64 store_sector(const struct store *s, u64 off)
{
	return s->lba + off / s->blk->sector_bytes;
}

/* Device sector of block @block of the slot area. */
static inline u64 store_block_lba(const struct store *s, u64 block)
{
	return store_sector(s, s->sb.slots_off + block * BLOCK_BYTES);
}

static inline u64 store_slot_block(const struct store *s, u32 slot)
{
	return (u64)slot * s->bpc;
}

/** store_crc_init() - the checksum cache; once, after open */
int store_crc_init(struct store *s, u32 cache_bytes);

void store_commit(struct store *s, struct store_commit *c);
void store_sync(struct store *s, struct store_sync *w);
/** store_checkpoint() - @w->done() when a checkpoint begun from now on is in force */
void store_checkpoint(struct store *s, struct store_sync *w);

/** store_kick() - start a cycle when there is cause and none is running */
void store_kick(struct store *s);

/** store_idle() - nothing captured, nothing waiting */
bool store_idle(const struct store *s);

/** store_other_free() - forget the second version, in memory only */
void store_other_free(struct store_other *o);
/** store_drop_other() - give up the second version; its slots are free when that is durable */
void store_drop_other(struct store *s);

/** store_log_meta() - a record that holds the scalars */
void store_meta_record(const struct store *s, struct record *r);

#endif
