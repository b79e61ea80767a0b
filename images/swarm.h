/*
 * swarm.h - simulated PCs: disk, life and figures, shared by the files of freshet swarm
 */
#ifndef IMAGES_SWARM_H
#define IMAGES_SWARM_H

#include "base/crypto.h"
#include "net/sockets/sockets.h"
#include "storage/core/blk.h"
#include "storage/core/source.h"

/* ---- swarm_disk.c: disks in memory; equal blocks are kept once for all of them */

/** swarm_disk_create() - a blank disk; NULL: no memory */
struct blk_dev *swarm_disk_create(u64 bytes, u32 index);
void swarm_disk_destroy(struct blk_dev *d);
/** swarm_disk_busy() - poll again: requests wait */
bool swarm_disk_busy(struct blk_dev *d);
/** swarm_disk_save() - into a sparse file; 0 or an error of files */
int swarm_disk_save(struct blk_dev *d, const char *path);
/** swarm_disk_memory() - bytes that all disks hold together */
u64 swarm_disk_memory(void);

/* ---- swarm_time.c: how long requests take */

/** swarm_real_ns() - the world's clock; plat_time_ns() is the PCs' */
u64 swarm_real_ns(void);

enum swarm_kind {
	SWARM_DOC, /* tickets and manifests */
	SWARM_DEMAND, /* the guest waits */
	SWARM_AHEAD,
	SWARM_FILL,
	SWARM_KINDS,
};

struct swarm_times {
	u32 *us[SWARM_KINDS];
	size_t count[SWARM_KINDS], room[SWARM_KINDS];
};

/** swarm_times_add() - one request's time; false: no memory */
bool swarm_times_add(struct swarm_times *t, enum swarm_kind k, u64 ns);
/** swarm_times_sort() - before swarm_times_at() */
void swarm_times_sort(struct swarm_times *t);
/** swarm_times_at() - the time that @share of the requests stayed below, 0 to 1, in ms */
double swarm_times_at(const struct swarm_times *t, enum swarm_kind k, double share);
void swarm_times_free(struct swarm_times *t);

/** swarm_source() - @below, with the time of each request noted in @t; NULL: no memory */
struct source *swarm_source(struct source *below, struct swarm_times *t);
void swarm_source_destroy(struct source *s);

/* ---- swarm_pc.c: one PC */

enum swarm_phase {
	SWARM_OFF, /* not switched on yet */
	SWARM_BOOT, /* until there is a disk to boot from */
	SWARM_GUEST, /* its system reads what a boot needs */
	SWARM_COPY, /* the rest of the image comes */
	SWARM_DONE,
};

struct swarm_plan {
	u32 server_ip;
	u16 port;
	const u8 (*keys)[P256_PUB_BYTES];
	u64 disk_bytes;
	u64 boot_bytes; /* what the guest has to fetch to be up */
	bool full; /* go on until the whole image is there */
	bool local; /* the server is on this machine: an address of its own for each PC */
	u64 seed;
	struct swarm_times *times;
};

struct swarm_result {
	enum swarm_phase phase;
	u64 ready_ns, up_ns, full_ns; /* real time since it was switched on; 0: not yet */
	u64 wire_bytes, plain_bytes, chunks;
	/* What must not happen. */
	u64 corrupt, retries, lost, timeouts, refused, failed_reads, troubles;
	char text[160]; /* of the last trouble */
};

struct swarm_pc;

struct swarm_pc *swarm_pc_create(const struct swarm_plan *p, u32 index, u64 on_ns);
void swarm_pc_destroy(struct swarm_pc *pc);
/** swarm_pc_due() - it has work at @now */
bool swarm_pc_due(const struct swarm_pc *pc, u64 now);
/** swarm_pc_next_ns() - when it wants to be run though nothing arrives; ~0: never */
u64 swarm_pc_next_ns(const struct swarm_pc *pc);
/** swarm_pc_waits() - something of its is under way in the network */
bool swarm_pc_waits(const struct swarm_pc *pc);
/** swarm_pc_done() - switched off */
bool swarm_pc_done(const struct swarm_pc *pc);
void swarm_pc_run(struct swarm_pc *pc);
/** swarm_pc_save() - its disk into a file; 0 or an error of files */
int swarm_pc_save(struct swarm_pc *pc, const char *path);
void swarm_pc_result(struct swarm_pc *pc, struct swarm_result *out);

#endif
