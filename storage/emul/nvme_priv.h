/*
 * nvme_priv.h - shared by the files of the NVMe front-end
 */
#ifndef STORAGE_EMUL_NVME_PRIV_H
#define STORAGE_EMUL_NVME_PRIV_H

#include "base/list.h"
#include "storage/core/blk.h"
#include "storage/emul/host.h"
#include "storage/emul/nvme.h"
#include "storage/spec/nvme.h"

#define EMUL_RINGS (NVME_EMUL_QUEUES_MAX + 1) /* of each kind */
#define EMUL_MQES 1023u
#define EMUL_MDTS_MAX 7u /* 512 KiB */
#define EMUL_SEGS ((1u << EMUL_MDTS_MAX) + 1)
#define EMUL_AERS 4u
#define EMUL_DSM_RANGES 256u
/* An I/O queue leaves these to the admin queue. */
#define EMUL_RESERVE 8u

#define NVME_LATER 0xffffu /* no status: the command ends later */

/* A command of the guest's from fetch to completion entry. */
struct emul_cmd {
	struct list link; /* free, busy, or a CQ's pending list */
	struct nvme_emul *e; /* (c) */
	struct nvme_sqe sqe; /* our copy */
	u16 sqid;
	u16 status;
	u32 result;
	bool in_blk; /* the block device has req */
	bool orphan; /* the queue has gone: no completion entry */
	u32 range, ranges; /* of dsm */
	struct blk_req req;
	union {
		struct blk_seg segs[EMUL_SEGS];
		struct nvme_dsm_range dsm[EMUL_DSM_RANGES];
	};
};

struct emul_sq {
	bool live;
	u16 cqid;
	u32 size; /* entries */
	u32 head, tail;
	u32 inflight;
	struct emul_cmd *deleting; /* Delete I/O SQ waiting for inflight 0 */
	gpa_t base;
};

struct emul_cq {
	bool live;
	bool ien;
	bool phase;
	u16 vector;
	u32 size;
	u32 head, tail;
	u32 sqs; /* submission queues that complete here */
	gpa_t base;
	struct list pending; /* ended, waiting for room */
};

/* Doorbells in the guest's memory (nvme_dbbuf.c), by index as registers are. */
struct emul_dbbuf {
	/*
	 * Pages of the guest's; NULL: registers only. Kept as pointers: guest memory does
	 * not move, and as a device's DMA may, they are looked at until the reset.
	 */
	u32 *shadow, *event;
	u32 seen[2 * EMUL_RINGS]; /* last taken from the shadow */
};

struct nvme_emul {
	struct emul_host *host; /* (c) */
	struct blk_dev *blk; /* (c) */
	char serial[21], model[41]; /* (c) */
	u16 vendor, subvendor; /* (c) */
	u32 vectors, queues; /* (c) */
	u32 mdts; /* (c) */

	u32 cc, csts, aqa, intms;
	u64 asq, acq;
	bool resetting; /* EN fell, RDY waits for in_blk == 0 */
	bool shutting; /* SHN set, SHST waits */
	bool backlog; /* the pool ran dry with entries left in queues */
	bool unposted; /* there are new completions */
	bool intx;

	struct emul_sq sq[EMUL_RINGS];
	struct emul_cq cq[EMUL_RINGS];
	u32 rr; /* submission queue that is looked at first */

	struct emul_cmd *cmds; /* (c) */
	struct list free, busy;
	u32 nfree, in_blk;

	u32 feat[16];
	u32 temp_over, temp_under;
	u32 vector_cfg[NVME_EMUL_VECTORS_MAX];
	u16 aers[EMUL_AERS];
	u32 naers;
	u32 events; /* BIT(NVME_AER_BAD_DB_*) to be told */
	bool events_masked; /* until the log page is read */

	struct blk_req flush; /* of a shutdown */
	struct emul_dbbuf dbbuf;

	/* (a) written by any CPU, taken by poll() */
	u32 db[2 * EMUL_RINGS];
	u64 dirty[(2 * EMUL_RINGS + 63) / 64];
	u32 bad_db;

	struct nvme_emul_stats stats;
	u64 prps[PAGE_BYTES / sizeof(u64)]; /* scratch: a copy of a PRP list */
	u8 page[PAGE_BYTES]; /* scratch: identify data, log pages, ranges */
};

/* nvme.c */
void nvme_emul_complete(struct nvme_emul *e, struct emul_cmd *c, u16 status);
void nvme_emul_ended(struct nvme_emul *e, struct emul_cmd *c, u16 status);
void nvme_emul_ring_forget(struct nvme_emul *e, struct emul_cq *q);
void nvme_emul_doorbell(struct nvme_emul *e, u32 idx, u32 v);
bool nvme_emul_registers(struct nvme_emul *e);
/* nvme_dbbuf.c */
u16 nvme_dbbuf_config(struct nvme_emul *e, const struct nvme_sqe *s);
void nvme_dbbuf_ring(struct nvme_emul *e, u32 idx, u32 v);
void nvme_dbbuf_off(struct nvme_emul *e);
bool nvme_dbbuf_has(const struct nvme_emul *e, u32 idx);
bool nvme_dbbuf_take(struct nvme_emul *e);
bool nvme_dbbuf_arm(struct nvme_emul *e);
bool nvme_dbbuf_work(const struct nvme_emul *e);
/* nvme_prp.c */
u16 nvme_emul_map_prp(struct nvme_emul *e, const struct nvme_sqe *s, u32 bytes,
		      struct blk_seg *segs, u32 *n);
u16 nvme_emul_to_guest(struct nvme_emul *e, struct emul_cmd *c, const void *buf, u32 bytes,
		       u32 total);
u16 nvme_emul_from_guest(struct nvme_emul *e, struct emul_cmd *c, void *buf, u32 bytes);
/* nvme_admin.c */
u16 nvme_emul_admin(struct nvme_emul *e, struct emul_cmd *c);
void nvme_emul_features_reset(struct nvme_emul *e);
void nvme_emul_event(struct nvme_emul *e, u32 info);
/* nvme_io.c */
u16 nvme_emul_io(struct nvme_emul *e, struct emul_cmd *c);

#endif
