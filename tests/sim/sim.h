/*
 * sim.h - years of a lab PC's boots in minutes, against an obvious model
 *
 * One seed is one world: a disk, a server with versions of an image, an admin,
 * and a PC that is switched on again and again. storage/core runs as it is, from
 * deploy.c down; everything around it is here:
 *
 *	plat.c		clock, memory, randomness, a signature that is only a hash
 *	disk.c		a disk with a volatile cache, rot, bad sectors, power cuts
 *	source.c	versions of an image; a server that is late, gone, wrong
 *	model.c		what each sector of the guest's disk may hold
 *	guest.c		the guest's requests, overlapping and in any order
 *	world.c		one world: boots, the admin, what must hold
 *	damage.c	what rots on its disk, and which errors that excuses
 *	main.c		the command line, replay, shrinking
 *
 * Everything that is random comes from streams seeded by (seed, boot, stream),
 * so a run can be repeated, and taking one kind of fault away leaves the others
 * much as they were.
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "base/types.h"
#include "storage/core/deploy_priv.h"
#include "storage/core/disk_priv.h"

/* Kinds of trouble; --without takes them away one by one. */
enum sim_fault {
	SIM_CUT = 1 << 0, /* the power goes in the midst of things */
	SIM_LOSE = 1 << 1, /* ... and what is not durable is lost, by the sector */
	SIM_WARM = 1 << 2, /* reset with the disk's cache intact */
	SIM_REORDER = 1 << 3, /* requests of the disk complete in any order */
	SIM_BAD = 1 << 4, /* sectors that cannot be read until written again */
	SIM_WERR = 1 << 5, /* writes and flushes that fail */
	SIM_ROT = 1 << 6, /* flipped bits in chunks and checksums */
	SIM_SUPER = 1 << 7, /* one superblock is damaged */
	SIM_SUPERS = 1 << 8, /* both are: the store has to be claimed */
	SIM_JROT = 1 << 9, /* the journal is damaged: likewise */
	SIM_NET = 1 << 10, /* the network goes and comes */
	SIM_LATE = 1 << 11, /* chunks come late and in any order */
	SIM_DOC = 1 << 12, /* tickets and manifests that are short, wrong, old */
	SIM_ADMIN = 1 << 13, /* pushes, rollbacks, changes of policy */
	SIM_TRIM = 1 << 14,
	SIM_OVERLAP = 1 << 15, /* requests of the guest in flight at the same place */
	SIM_FUA = 1 << 16,
	SIM_ZEROES = 1 << 17,
	SIM_FULL = 1 << 18, /* stores that have hardly room */
	SIM_CLAIM = 1 << 19, /* begin with a blank disk */
	SIM_SICK = 1 << 20, /* versions that do not boot */
	SIM_PROFILE = 1 << 21, /* boot profiles that list anything */
	SIM_KINDS = 22,
	SIM_ALL = (1 << SIM_KINDS) - 1,
};

extern const char *const sim_fault_names[SIM_KINDS];

struct sim_cfg {
	u64 seed;
	u32 faults;
	u32 boots; /* of one world */
	u32 ops; /* of the guest in one boot, at most */
	u32 verbose;
};

extern struct sim_cfg sim;

/* ---------------------------------------------------------------- streams */

u64 sim_mix(u64 a, u64 b);
u64 sim_rng(u64 *state); /* 64 bits */
static inline u32 sim_below(u64 *s, u32 n)
{
	return (u32)((sim_rng(s) >> 32) * n >> 32);
}
/* One in @n */
static inline bool sim_one_in(u64 *s, u32 n)
{
	return !sim_below(s, n);
}

static inline bool sim_has(u32 fault)
{
	return sim.faults & fault;
}

/* ---------------------------------------------------------------- plat.c */

extern u64 sim_now; /* ns */
extern u64 sim_random; /* plat_random()'s stream */
extern u32 sim_allocs; /* blocks that are not freed */

void sim_forget_memory(void); /* the power is gone, and with it all that was allocated */
void sim_sign(u8 sig[P256_SIG_BYTES], const u8 digest[SHA256_BYTES]);
extern const u8 sim_keys[1][P256_PUB_BYTES];
/* Something that must not be has happened. */
__attribute__((noreturn)) void sim_fail(const char *fmt, ...) __printf_like(1, 2);
void sim_say(const char *fmt, ...) __printf_like(1, 2); /* when verbose */
void sim_where_is(u64 seed, u32 boot); /* for messages */

/* ---------------------------------------------------------------- disk.c */

#define SIM_DISK_BYTES (256 * MIB)

struct sim_disk {
	struct blk_dev blk;
	u64 rng;
	struct list queue;
	u32 inflight;
	u64 die_after; /* writes until the power goes; 0: never */
	u64 die_fua; /* the same, counting writes with FUA only: those of the journal */
	u64 fail_after; /* writes until none works any more */
	bool dead;
	u32 write_fails; /* one in so many; 0: none */
	u64 writes, reads, flushes, write_bytes;
	/* things that have been done to the medium */
	u32 ndamaged;
	bool prompt;
	u64 damaged[256]; /* blocks of 4 KiB with rot or bad sectors, till rewritten */
	u8 hurt[256]; /* ... of which these sectors are not rewritten yet */
	u8 bad[256]; /* ... cannot be read */
	u64 healed[64]; /* written again in this boot: a request may still tell of it */
	u32 nhealed;
};

void sim_disk_init(struct sim_disk *d, u32 sector_bytes, u64 rng);
void sim_disk_fini(struct sim_disk *d);
u64 sim_disk_next(const struct sim_disk *d); /* when the next request is due */
void sim_disk_cut(struct sim_disk *d); /* the power goes, and comes back */
void sim_disk_prompt(struct sim_disk *d, bool prompt); /* no waiting: for tools */
void sim_disk_reset(struct sim_disk *d); /* the controller forgets its queues */
/* Straight to the medium and the cache, at @off bytes. */
void sim_disk_peek(struct sim_disk *d, u64 off, void *out, u32 bytes);
void sim_disk_poke(struct sim_disk *d, u64 off, const void *data, u32 bytes);
bool sim_disk_cached(struct sim_disk *d, u64 off, u32 bytes);
void sim_disk_rot(struct sim_disk *d, u64 block, u32 bit); /* flips a bit of a 4 KiB block */
void sim_disk_bad(struct sim_disk *d, u64 block);
bool sim_disk_is_damaged(const struct sim_disk *d, u64 block);

/* ---------------------------------------------------------------- source.c */

#define SIM_VERSIONS 12
#define SIM_CHUNKS 700

struct sim_version {
	u32 chunks;
	u64 image_bytes;
	u32 chunk_bytes, sector_bytes;
	u64 seed[SIM_CHUNKS]; /* what a chunk holds; 0: zeroes */
	u8 digest[32];
	u8 root[1024];
	u32 root_bytes;
	u8 page[SIM_CHUNKS * 32];
	u8 page_digest[32];
	bool sick; /* its guest never comes up */
};

struct sim_source {
	struct source src;
	u64 rng;
	bool up;
	struct list chunks, docs;
	u32 nversions;
	struct sim_version v[SIM_VERSIONS];
	/* what the admin has set */
	u32 channel; /* a version */
	u64 serial;
	u32 policy; /* enum ticket_policy */
	bool fill;
	u32 fill_limit, fill_from, fill_to;
	bool metered;
	bool claim_serial;
	/* what went over the wire since the boot began */
	u32 served; /* versions whose ticket was handed out, one bit each */
	u32 policies; /* ... policies, one bit each */
	u64 highest; /* serial handed out */
	u8 old_ticket[1024]; /* to be served when it should not count any more */
	u32 old_bytes, old_channel, old_policy;
	u64 fetched;
};

void sim_source_init(struct sim_source *s, u64 rng);
void sim_source_push(struct sim_source *s, u64 *rng, u64 image_bytes, u32 chunk_bytes,
		     u32 sector_bytes, bool sick);
void sim_source_reset(struct sim_source *s); /* the PC is gone */
u64 sim_source_next(const struct sim_source *s);
void sim_source_set(struct sim_source *s, bool up);
void sim_base(const struct sim_version *v, u64 sector512, u8 out[512]);

/* ---------------------------------------------------------------- model.c */

#define SIM_VALS 10u /* values that a sector may hold at a time */
#define SIM_ZERO 0x80000000u /* in an id: it was written as zeroes */

void sim_model_reset(const struct sim_version *v); /* base, and nothing else */
u64 sim_model_sectors(void);
bool sim_model_room(u64 first, u32 n); /* may one more write be remembered? */
u64 sim_model_tick(void);
/* @sub: sim_model_tick() of the submission */
void sim_model_write(u64 first, u32 n, u32 id, u64 sub);
void sim_model_written(u64 first, u32 n, u32 id, u64 sub, bool ok, bool durable);
void sim_model_flushed(u64 sub);
void sim_model_read(u64 first, u32 n, const u8 *data, u64 sub);
void sim_model_reading(u64 oldest); /* the oldest read under way, ~0: none */
/* The PC was reset. @dropped: every write is gone; @cut: the disk's cache, too. */
void sim_model_crash(bool cut);
/* After damage that the format cannot survive: any value there ever was may be back. */
void sim_model_anything(void);
/* Sectors worth looking at; @telling: only those that cannot be the image's. */
u32 sim_model_active(u64 *out, u32 max, u64 *rng, bool telling);
void sim_pattern(u64 sector, u32 id, u8 out[512]);
/** sim_model_dropped() - have all writes gone? 1 yes, 0 no, -1 cannot tell by this sector */
int sim_model_dropped(u64 sector, const u8 *data);

/* ---------------------------------------------------------------- guest.c */

void sim_guest_init(struct blk_dev *b, u64 rng, u32 ops, u32 depth, bool durable);
void sim_guest_gone(void);
/* Submit what it wants to; when it wants to be called again, ~0: never. */
u64 sim_guest_poll(void);
bool sim_guest_idle(void); /* all done, or nothing in flight */
u32 sim_guest_left(void);
u32 sim_guest_inflight(void);
void sim_guest_say(void); /* what is under way */
/* @scattered: small writes all over the place; 2: and one flush, at the end */
void sim_guest_more(u32 ops, u32 scattered);
/* A read of all of [first, first + n), waited for by the caller; 1 while under way. */
void sim_guest_read(u64 first, u32 n, int *err, u8 *out);
void sim_guest_flush(int *err);
extern u64 sim_ops, sim_errors;

/* What damage.c says about an error that the guest got. */
void sim_explain(enum blk_op op, u64 first, u32 n, int err);

/* ---------------------------------------------------------------- world.c */

struct sim_totals {
	u64 boots, ready, complete, cuts, warm, orderly;
	u64 pushes, rollbacks, switches, claims, rots, bads, supers, offline;
	u64 profiles, listed, reclaimed, scrubbed, passes;
	u64 checked, rolled_back, dropped, enospc, eio, repaired, checkpoints, hours_ns;
};

extern struct sim_totals sim_total;

void sim_world(u64 seed);

#endif
