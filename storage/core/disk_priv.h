/*
 * disk_priv.h - the inside of the virtual disk
 *
 * disk.c	life, polling, settings, figures
 * bind.c	opening: the store's version or another one
 * sched.c	chunk buffers: what to fetch, when, and where it goes
 * guestio*.c	the guest's requests, cut into parts (guestio_priv.h)
 * reclaim.c	overlay slots that TRIM has emptied
 * scrub.c	looking at what lies there unread
 * profile.c	what this boot reads, and what earlier ones have read
 */
#ifndef STORAGE_CORE_DISK_PRIV_H
#define STORAGE_CORE_DISK_PRIV_H

#include "storage/core/disk.h"
#include "storage/core/imagemap.h"
#include "storage/core/store_priv.h"
#include "storage/format/profile.h"

#define POOL_MAX 128u
#define GOPS 128u /* guest requests worked on at a time; more wait in line */
#define PARTS 256u
#define PART_SEGS 64u
#define BOUNCES 64u
#define STREAMS 8u

/* ---------------------------------------------------------------- chunk buffers */

/*
 *	FREE -> WANT -> FETCH -> (data valid) WRITE -> COMMIT -> READY -> FREE
 *	FREE -> LOAD -> READY, or WANT when it turns out corrupt
 *
 * WANT waits for a table page, a source, or for being told "offline". READY
 * without waiters may be reused. A fetched chunk's readers are served the
 * moment the data is valid.
 */
enum cbuf_state {
	CBUF_FREE,
	CBUF_WANT,
	CBUF_FETCH,
	CBUF_LOAD, /* reading it back from its slot, block by block where that fails */
	CBUF_WRITE,
	CBUF_COMMIT,
	CBUF_READY,
};

struct cbuf {
	struct disk *d;
	enum cbuf_state state;
	enum source_prio prio;
	u32 idx; /* chunk, or chunks + table page */
	u32 slot;
	bool repair; /* its slot is corrupt; base[] still names it */
	bool suspect; /* WANT: data is the slot's, with bad[] marking what fails its check */
	bool unread; /* ... and some could not be read, or the digest is wrong */
	bool bad_known; /* the same, being served */
	bool ahead; /* fetched ahead, not asked for yet */
	bool listed; /* ... because the boot profile has it */
	bool singles; /* LOAD: a longer read failed */
	u32 blocks; /* of data, padded */
	u32 at; /* LOAD, WRITE: next block */
	u32 step; /* ... blocks in flight */
	u8 *data;
	u64 stamp;
	u64 bad[4];
	struct source_req src;
	struct source *from; /* FETCH: who has src */
	struct blk_req io;
	struct blk_seg seg;
	struct crctab_wait crcw;
	struct store_commit commit;
	struct list waiters; /* parts */
};

static inline bool cbuf_valid(const struct cbuf *c)
{
	return c->state == CBUF_READY || c->state == CBUF_WRITE || c->state == CBUF_COMMIT;
}

struct stream {
	u64 next; /* where the next sequential read would start */
	u64 run; /* bytes read in sequence */
	u32 window; /* chunks to be ahead */
	u64 stamp;
};

/* ---------------------------------------------------------------- guest requests */

struct gop {
	struct list link;
	struct disk *d;
	struct blk_req *r;
	u64 pos, end; /* bytes; what has not been dispatched yet */
	u32 seg, seg_off; /* where @pos is in the request's segments */
	u32 refs; /* parts, and one while dispatching */
	int err;
	bool remapped; /* overlay mappings changed that are not durable */
	bool waited; /* for the source */
	u32 steps; /* without I/O, since it was looked at last */
	u64 start_ns;
	struct store_sync sync;
};

/* A piece of a request with one way of being served. */
struct part {
	struct list link; /* free list, or a chunk buffer's waiters */
	struct list active; /* disk.writes */
	struct gop *g;
	bool rmw; /* a partial block: read it into the bounce buffer first */
	bool check; /* data of base chunks: verify before use */
	bool unread; /* ... the device could not read it */
	u8 parity; /* an overlay read: which count of reclaim.reads it is in */
	u64 block; /* first block of the image */
	u32 nblocks;
	u32 off; /* in the first block, with a bounce buffer */
	u32 bytes; /* of the guest's */
	u64 dev; /* block of the slot area */
	u32 vblk; /* blocks verified */
	u8 *bounce; /* one block, or NULL: the guest's segments are used */
	u32 nsegs;
	struct blk_seg segs[PART_SEGS];
	struct blk_seg bseg;
	struct blk_req req;
	void (*then)(struct blk_req *r, int err); /* what .req ends with */
	struct crctab_wait crcw;
};

enum disk_phase {
	DISK_OPENING, /* nothing to do but to say ready */
	DISK_BINDING, /* comparing table pages */
	DISK_SEALING, /* the checkpoint that makes it so is being written */
	DISK_READY,
	DISK_FAILED,
};

struct bind_state {
	u8 *root; /* the new one */
	u32 root_bytes;
	struct manifest mf;
	struct chunkmap *map;
	u32 page;
	bool old_ok; /* page's old content is in pool[0] */
	bool busy;
	struct store_sync sync;
};

enum stage_step {
	STAGE_IDLE,
	STAGE_BEGIN, /* make room for its map */
	STAGE_PAGE,
	STAGE_SEAL,
};

/* Fetching the next version beside the bound one; stage.c. */
struct stage {
	enum stage_step step;
	u8 *root;
	u32 root_bytes;
	u8 version[SHA256_BYTES];
	struct manifest mf;
	u8 *page_data, *data; /* a table page, a chunk */
	u32 page, chunk;
	bool page_here;
	bool busy; /* fetching, writing, committing, or in a checkpoint */
	bool abort, full, refused;
	u32 fails, own;
	u32 idx, slot, at, len, blocks;
	u8 *into;
	struct source *from;
	struct source_req src;
	struct blk_req io;
	struct blk_seg seg;
	struct store_commit commit;
	struct store_sync sync;
};

/* What this boot reads; profile.c. */
struct recorder {
	bool on, full;
	u32 n, chunks;
	struct profile_run *runs; /* PROFILE_RUNS_MAX */
	u64 *seen; /* bit per chunk */
	u64 last_ns; /* when the last one was noted */
};

/* What earlier boots have read. */
struct player {
	struct profile_run *runs; /* NULL: no profile */
	u32 n, at, in; /* the next is runs[at].first + in */
};

/* scrub.c */
struct scrub {
	u32 kib_s; /* 0: none under way */
	u32 at, left; /* next entry of the map, entries to go */
	u64 next_ns;
};

#define RECLAIM_MAX 256u

/* Overlay slots on their way to being free; reclaim.c. */
struct reclaim {
	u32 slots[RECLAIM_MAX], going[RECLAIM_MAX];
	u32 n, ngoing;
	bool syncing;
	u8 parity;
	u32 reads[2]; /* of overlay slots, in flight */
	struct store_sync sync;
};

struct disk {
	struct blk_dev blk;
	struct store *s;
	struct chunkmap *m; /* s->map */
	struct imagemap im;
	struct source *src;
	bool offline;
	enum disk_phase phase;
	int open_err;
	bool told;
	bool in_poll, again;
	void (*ready)(struct disk *d, int err, void *arg);
	void *arg;
	struct bind_state bind;
	u64 bytes; /* of memory, beside maps and store */

	/* chunk buffers */
	struct cbuf *pool;
	u32 *pool_idx; /* idx of each, ~0u when free: searched often */
	u8 *pool_mem;
	u32 npool;
	u32 owed; /* parts of guest requests that the device has */
	u32 nactive; /* of them, neither free nor ready: none, and no poll need look at them */
	u32 repairs;
	u32 keep_failed;
	u32 reserve; /* slots that only guest writes may take */
	u64 clock;
	struct stream streams[STREAMS];
	u64 *asked; /* bit per 1 << asked_shift blocks */
	u32 asked_shift;

	struct recorder rec;
	struct player play;

	/* fill */
	struct disk_fill fill;
	u32 fill_pos;
	u32 near; /* how far profile_neighbour() is */
	s64 fill_tokens;
	u64 fill_time; /* of the last token count */
	u64 miss_time; /* when the guest last waited for the source */
	u64 guest_time; /* when it last asked for anything */
	u64 stage_time; /* when staging last went on */

	struct stage stage;
	struct reclaim reclaim;
	struct scrub scrub;

	/* guest */
	struct list incoming; /* blk_req */
	struct gop *gops;
	struct list gop_free, stalled;
	u32 gops_busy;
	struct part *parts;
	struct list part_free;
	struct list writes; /* parts on their way to the overlay */
	struct list blocked; /* parts that need a chunk buffer to go on checking */
	u8 *bounce_mem;
	u8 *bounce[BOUNCES];
	u32 nbounce;
	bool map_full; /* no memory for more guest writes in the map */

	/* quiesce, state */
	bool quiescing, quiesce_syncing;
	void (*quiesce_done)(struct disk *d, int err, void *arg);
	void *quiesce_arg;
	struct store_sync quiesce_sync;
	bool state_busy;
	void (*state_done)(struct disk *d, int err, void *arg);
	void *state_arg;
	struct store_sync state_sync;

	struct disk_stats st;
};

static inline bool cbuf_at_rest(enum cbuf_state s)
{
	return s == CBUF_FREE || s == CBUF_READY;
}

static inline void cbuf_set(struct cbuf *c, enum cbuf_state state)
{
	c->d->nactive += (u32)cbuf_at_rest(c->state) - (u32)cbuf_at_rest(state);
	c->state = state;
}

/* sched.c */
int sched_init(struct disk *d, u32 pool_bytes);
void sched_fini(struct disk *d);
struct cbuf *cbuf_find(struct disk *d, u32 idx);
/** cbuf_get() - the buffer of chunk @idx, fetching or loading it; NULL: none free now */
struct cbuf *cbuf_get(struct disk *d, u32 idx, enum source_prio prio);
/** cbuf_load() - read @idx back from @slot into @c, which is free */
void cbuf_load(struct cbuf *c, u32 idx, u32 slot);
void cbuf_free(struct cbuf *c);
void sched_read(struct disk *d, u64 pos, u64 end); /* the guest reads here: read ahead? */
void sched_poll(struct disk *d);
u64 sched_fill(struct disk *d);
bool sched_busy(const struct disk *d); /* anything between source and map? */
void sched_cancel(struct disk *d, bool all);
void sched_page(struct disk *d, u32 page, const u8 *data); /* a table page's content came */

void sched_room(struct disk *d); /* slots have become free */
/** sched_fill_wait() - ns until something may be fetched in the background; 0: now; ~0: no idea */
u64 sched_fill_wait(struct disk *d);

/* scrub.c */
u64 scrub_poll(struct disk *d);

/* reclaim.c */
bool reclaim_put(struct disk *d, u32 slot);
bool reclaim_busy(const struct disk *d);
void reclaim_poll(struct disk *d);

/* profile.c */
int profile_note_init(struct disk *d);
void profile_fini(struct disk *d);
void profile_note(struct disk *d, u64 block, u32 nblocks);
void profile_poll(struct disk *d);
u32 profile_neighbour(struct disk *d);

/* stage.c */
u64 stage_poll(struct disk *d);
bool stage_active(const struct disk *d);
bool stage_busy(const struct disk *d);
bool stage_pressure(struct disk *d);
void stage_dropped(struct store *s);
void stage_cancel(struct disk *d);
void stage_fini(struct disk *d);

/* bind.c */
int bind_start(struct disk *d, const struct disk_cfg *cfg);
void bind_poll(struct disk *d);
void bind_old_page(struct disk *d, struct cbuf *c, bool ok);
void bind_fini(struct disk *d);

/* guestio.c */
int guestio_init(struct disk *d);
void guestio_fini(struct disk *d);
void guestio_poll(struct disk *d);

/* guestio_read.c */
void part_serve(struct part *p, struct cbuf *c, int err);

#endif
