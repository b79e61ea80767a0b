/*
 * nvme.c - the NVMe controller that the guest sees: registers, queues, life
 *
 * NVMe 1.4, one namespace, PRPs, no SGLs, no memory buffer, no command sets but
 * NVM: what Linux, UEFI and Windows drivers need; and doorbell buffers, which save
 * exits (nvme_dbbuf.c).
 *
 * Who calls what:
 *   any CPU   nvme_emul_doorbell_store(): notes the value, marks the queue
 *   owner     everything else. Register accesses are rare; the integrator takes
 *             the owner's role for them. Reads change nothing.
 *
 * poll() turns notes into queue positions, fetches entries (copied in once),
 * starts them, writes completion entries, raises one interrupt per queue and
 * batch. A command holds one of a fixed pool from its fetch until its completion
 * entry is written; with the pool empty, entries stay in the guest's queues.
 *
 *   CC.EN=0 -> EN=1 with sane admin queues -> RDY=1
 *           -> EN=1 otherwise              -> CSTS.CFS, until EN=0
 *   EN=1 -> EN=0: queues are gone at once; RDY falls when the block device has
 *           given back every request, because it may still write to guest memory.
 *
 * The guest is not trusted: what it says is range-checked at one place each, and
 * memory comes only through emul_host.
 *
 * [NVMe 1.4 §3.1, §4.1, §7.3, §7.6]
 */
#include "storage/emul/nvme.h"

#include <string.h>

#include "base/log.h"
#include "base/plat.h"
#include "storage/emul/nvme_priv.h"

#define CC_WRITABLE                                                            \
	(NVME_CC_EN | NVME_CC_CSS | NVME_CC_MPS | NVME_CC_AMS | NVME_CC_SHN |  \
	 NVME_CC_IOSQES | NVME_CC_IOCQES)

/* The time-out is the longest there is: a block may have to come over a network. */
#define CAP_VALUE                                                              \
	(FIELD_PREP(NVME_CAP_MQES, EMUL_MQES) | NVME_CAP_CQR |                 \
	 FIELD_PREP(NVME_CAP_TO, 0xff) | FIELD_PREP(NVME_CAP_CSS, NVME_CAP_CSS_NVM))

/* Entries taken from one queue before the next has its turn. */
#define FETCH_BURST 16u
#define FETCH_ROUNDS 64u

static bool emul_running(const struct nvme_emul *e)
{
	return (e->csts & (NVME_CSTS_RDY | NVME_CSTS_CFS)) == NVME_CSTS_RDY && !e->resetting;
}

static void fatal(struct nvme_emul *e, const char *why)
{
	log_limited(LOG_WARN, "nvme-emul: controller fatal why=%s", why);
	e->csts |= NVME_CSTS_CFS;
}

/* The level of the pin, for a guest without MSI-X. */
static void update_intx(struct nvme_emul *e)
{
	bool level = false;
	u32 i;

	for (i = 0; i <= e->queues && !level; i++) {
		const struct emul_cq *q = &e->cq[i];

		level = q->live && q->ien && q->head != q->tail &&
			!(q->vector < 32 && e->intms & BIT(q->vector));
	}
	if (level == e->intx)
		return;
	e->intx = level;
	if (e->host->ops->intx)
		e->host->ops->intx(e->host, level);
}

/* ---------------------------------------------------------------- commands */

static void cmd_free(struct nvme_emul *e, struct emul_cmd *c)
{
	list_del(&c->link);
	list_add(&e->free, &c->link);
	e->nfree++;
}

/**
 * nvme_emul_complete() - a busy command has ended: queue its completion entry
 * @status: NVME_SC_*, NVME_DNR
 */
void nvme_emul_complete(struct nvme_emul *e, struct emul_cmd *c, u16 status)
{
	struct emul_sq *sq = &e->sq[c->sqid];

	c->status = status;
	if (status)
		e->stats.errors++;
	list_del(&c->link);
	list_add_tail(&e->cq[sq->cqid].pending, &c->link);
	e->unposted = true;
	sq->inflight--;
	if (!sq->inflight && sq->deleting) {
		struct emul_cmd *del = sq->deleting;

		sq->deleting = NULL;
		sq->live = false;
		e->cq[sq->cqid].sqs--;
		nvme_emul_complete(e, del, NVME_SC_OK); /* of queue 0: no further */
	}
}

/** nvme_emul_ended() - the block device has answered for the last time */
void nvme_emul_ended(struct nvme_emul *e, struct emul_cmd *c, u16 status)
{
	if (c->orphan)
		cmd_free(e, c);
	else
		nvme_emul_complete(e, c, status);
}

/** nvme_emul_ring_forget() - the queue is gone, and with it what was to be told there */
void nvme_emul_ring_forget(struct nvme_emul *e, struct emul_cq *q)
{
	while (!list_empty(&q->pending))
		cmd_free(e, list_first(&q->pending, struct emul_cmd, link));
	q->live = false;
	q->head = q->tail = 0;
}

/* ---------------------------------------------------------------- completion */

/* One entry, phase last: the guest may look at any moment. */
static bool post_entry(struct nvme_emul *e, struct emul_cq *q, const struct emul_cmd *c)
{
	u64 gpa = q->base.v + (u64)q->tail * sizeof(struct nvme_cqe);
	u64 tail_word = (u64)e->sq[c->sqid].head | (u64)c->sqid << 16 | (u64)c->sqe.cid << 32 |
			(u64)(u16)(c->status << 1 | q->phase) << 48;
	u64 *to;
	hpa_t pa;

	if (e->host->ops->map(e->host, GPA(gpa), sizeof(struct nvme_cqe), &pa))
		return false;
	to = plat_phys_to_virt(pa);
	__atomic_store_n(&to[0], (u64)c->result, __ATOMIC_RELAXED);
	/* Pairs with the guest's look at the phase. */
	__atomic_store_n(&to[1], tail_word, __ATOMIC_RELEASE);
	if (++q->tail == q->size) {
		q->tail = 0;
		q->phase = !q->phase;
	}
	return true;
}

static bool cq_full(const struct emul_cq *q)
{
	return (q->tail + 1 == q->size ? 0 : q->tail + 1) == q->head;
}

static bool post_queue(struct nvme_emul *e, struct emul_cq *q)
{
	bool any = false;

	while (!list_empty(&q->pending) && !cq_full(q)) {
		struct emul_cmd *c = list_first(&q->pending, struct emul_cmd, link);

		if (!post_entry(e, q, c)) {
			fatal(e, "completion queue outside memory");
			return any;
		}
		cmd_free(e, c);
		any = true;
	}
	if (any && q->ien) {
		e->stats.irqs++;
		e->host->ops->irq(e->host, q->vector);
	}
	return any;
}

static bool post_all(struct nvme_emul *e)
{
	bool any = false;
	u32 i;

	e->unposted = false;
	for (i = 0; i <= e->queues && emul_running(e); i++) {
		if (e->cq[i].live && !list_empty(&e->cq[i].pending))
			any |= post_queue(e, &e->cq[i]);
	}
	if (any)
		update_intx(e);
	return any;
}

/* ---------------------------------------------------------------- submission */

static void cmd_start(struct nvme_emul *e, struct emul_cmd *c)
{
	u16 status;

	if (c->sqe.flags & (NVME_SQE_FUSE | NVME_SQE_PSDT))
		status = NVME_SC_INVALID_FIELD | NVME_DNR;
	else
		status = c->sqid ? nvme_emul_io(e, c) : nvme_emul_admin(e, c);
	if (status != NVME_LATER)
		nvme_emul_complete(e, c, status);
}

/* Take the next entry of queue @qid. False: none, no room, or broken memory. */
static bool fetch_one(struct nvme_emul *e, u32 qid)
{
	struct emul_sq *q = &e->sq[qid];
	struct emul_cmd *c;
	u64 gpa;

	if (!q->live || q->deleting || q->head == q->tail)
		return false;
	if (e->nfree <= (qid ? EMUL_RESERVE : 0)) {
		e->backlog = true;
		return false;
	}
	c = list_first(&e->free, struct emul_cmd, link);
	gpa = q->base.v + (u64)q->head * sizeof(c->sqe);
	if (e->host->ops->read(e->host, GPA(gpa), &c->sqe, sizeof(c->sqe))) {
		fatal(e, "submission queue outside memory");
		return false;
	}
	q->head = q->head + 1 == q->size ? 0 : q->head + 1;
	list_del(&c->link);
	e->nfree--;
	list_add_tail(&e->busy, &c->link);
	q->inflight++;
	c->sqid = (u16)qid;
	c->status = 0;
	c->result = 0;
	c->in_blk = c->orphan = false;
	c->range = c->ranges = 0;
	memset(&c->req, 0, sizeof(c->req));
	list_init(&c->req.link);
	cmd_start(e, c);
	return true;
}

static bool fetch_all(struct nvme_emul *e)
{
	bool any = false, more = true;
	u32 round, i, n;

	e->backlog = false;
	for (round = 0; round < FETCH_ROUNDS && more; round++) {
		more = false;
		for (i = 0; i <= e->queues; i++) {
			u32 qid = (e->rr + i) % (e->queues + 1);

			for (n = 0; n < FETCH_BURST && emul_running(e) && fetch_one(e, qid); n++)
				any = more = true;
		}
		e->rr = (e->rr + 1) % (e->queues + 1);
	}
	if (more)
		e->backlog = true;
	return any;
}

/* ---------------------------------------------------------------- doorbells */

static void sq_doorbell(struct nvme_emul *e, u32 qid, u32 v)
{
	struct emul_sq *q = &e->sq[qid];

	if (!q->live)
		nvme_emul_event(e, NVME_AER_BAD_DB_REGISTER);
	else if (v >= q->size)
		nvme_emul_event(e, NVME_AER_BAD_DB_VALUE);
	else
		q->tail = v;
}

/* The head moves within what was posted, no further. */
static void cq_doorbell(struct nvme_emul *e, u32 qid, u32 v)
{
	struct emul_cq *q = &e->cq[qid];
	u32 posted, taken;

	if (!q->live) {
		nvme_emul_event(e, NVME_AER_BAD_DB_REGISTER);
		return;
	}
	posted = (q->tail + q->size - q->head) % q->size;
	taken = (v + q->size - q->head) % q->size;
	if (v >= q->size || taken > posted)
		nvme_emul_event(e, NVME_AER_BAD_DB_VALUE);
	else
		q->head = v;
}

/** nvme_emul_doorbell() - doorbell number @idx has come to stand at @v */
void nvme_emul_doorbell(struct nvme_emul *e, u32 idx, u32 v)
{
	if (idx & 1)
		cq_doorbell(e, idx / 2, v);
	else
		sq_doorbell(e, idx / 2, v);
}

/**
 * nvme_emul_registers() - noted doorbell registers to queue positions. Return: were there any?
 *
 * Where a queue has its doorbells in memory the register only says: look there.
 */
bool nvme_emul_registers(struct nvme_emul *e)
{
	bool any = false;
	u32 w;

	for (w = 0; w < ARRAY_SIZE(e->dirty); w++) {
		u64 bits;

		if (!__atomic_load_n(&e->dirty[w], __ATOMIC_RELAXED))
			continue;
		/* Pairs with nvme_emul_doorbell_store(): the value is there. */
		bits = __atomic_exchange_n(&e->dirty[w], 0, __ATOMIC_ACQ_REL);
		while (bits) {
			u32 idx = w * 64 + (u32)__builtin_ctzll(bits);
			u32 v = __atomic_load_n(&e->db[idx], __ATOMIC_ACQUIRE) & 0xffff;

			bits &= bits - 1;
			any = true;
			if (emul_running(e) && !nvme_dbbuf_has(e, idx))
				nvme_emul_doorbell(e, idx, v);
		}
	}
	return any;
}

static bool take_doorbells(struct nvme_emul *e)
{
	bool any = nvme_emul_registers(e);

	if (__atomic_load_n(&e->bad_db, __ATOMIC_RELAXED) &&
	    __atomic_exchange_n(&e->bad_db, 0, __ATOMIC_ACQ_REL) && emul_running(e))
		nvme_emul_event(e, NVME_AER_BAD_DB_REGISTER);
	if (emul_running(e))
		any |= nvme_dbbuf_take(e);
	if (any)
		update_intx(e);
	return any;
}

/**
 * nvme_emul_doorbell_store() - note a doorbell write
 * @off:   in BAR0
 * @value: written, 32 bits
 *
 * Context: any CPU, host, no lock. The pump must run nvme_emul_poll() after it.
 * Return: false when @off is not in the doorbells; nothing was done.
 */
bool nvme_emul_doorbell_store(struct nvme_emul *e, u64 off, u32 value)
{
	u64 idx = (off - NVME_DOORBELLS) / 4;

	if (off < NVME_DOORBELLS || off >= NVME_EMUL_BAR_BYTES)
		return false;
	if (off & 3)
		return true;
	if (idx >= 2 * (e->queues + 1)) {
		__atomic_store_n(&e->bad_db, 1, __ATOMIC_RELEASE);
		return true;
	}
	__atomic_store_n(&e->db[idx], value, __ATOMIC_RELEASE);
	__atomic_fetch_or(&e->dirty[idx / 64], BIT64(idx % 64), __ATOMIC_ACQ_REL);
	return true;
}

/* ---------------------------------------------------------------- life */

static void emul_start(struct nvme_emul *e)
{
	u32 asqs = FIELD_GET(NVME_AQA_ASQS, e->aqa), acqs = FIELD_GET(NVME_AQA_ACQS, e->aqa);
	hpa_t pa;

	if (e->cc & (NVME_CC_CSS | NVME_CC_MPS | NVME_CC_AMS)) {
		fatal(e, "unsupported CC");
		return;
	}
	if (!asqs || !acqs || (e->asq | e->acq) & (PAGE_BYTES - 1) ||
	    e->host->ops->map(e->host, GPA(e->asq), (asqs + 1) * sizeof(struct nvme_sqe), &pa) ||
	    e->host->ops->map(e->host, GPA(e->acq), (acqs + 1) * sizeof(struct nvme_cqe), &pa)) {
		fatal(e, "bad admin queues");
		return;
	}
	e->sq[0] = (struct emul_sq){ .live = true, .size = asqs + 1, .base = GPA(e->asq) };
	e->cq[0].live = e->cq[0].ien = e->cq[0].phase = true;
	e->cq[0].vector = 0;
	e->cq[0].size = acqs + 1;
	e->cq[0].head = e->cq[0].tail = 0;
	e->cq[0].sqs = 1;
	e->cq[0].base = GPA(e->acq);
	e->csts = NVME_CSTS_RDY;
}

static void emul_reset(struct nvme_emul *e)
{
	struct emul_cmd *c, *next;
	u32 i;

	e->stats.resets++;
	list_for_each_safe(c, next, &e->busy, link) {
		if (c->in_blk)
			c->orphan = true;
		else
			cmd_free(e, c);
	}
	for (i = 0; i < EMUL_RINGS; i++) {
		nvme_emul_ring_forget(e, &e->cq[i]);
		e->sq[i].live = false;
		e->sq[i].deleting = NULL;
		e->sq[i].inflight = 0;
	}
	for (i = 0; i < ARRAY_SIZE(e->db); i++)
		__atomic_store_n(&e->db[i], 0, __ATOMIC_RELAXED);
	for (i = 0; i < ARRAY_SIZE(e->dirty); i++)
		__atomic_store_n(&e->dirty[i], 0, __ATOMIC_RELEASE);
	__atomic_store_n(&e->bad_db, 0, __ATOMIC_RELAXED);
	e->naers = e->events = e->intms = 0;
	e->events_masked = e->shutting = e->backlog = e->unposted = false;
	nvme_emul_features_reset(e);
	nvme_dbbuf_off(e);
	e->resetting = true;
	update_intx(e);
}

static void set_shst(struct nvme_emul *e, u32 v)
{
	e->csts = (e->csts & ~NVME_CSTS_SHST) | (u32)FIELD_PREP(NVME_CSTS_SHST, v);
}

static void shutdown_done(struct blk_req *r, int err)
{
	struct nvme_emul *e = r->owner;

	(void)err; /* the guest is told nothing but that it is over */
	e->in_blk--;
	set_shst(e, NVME_CSTS_SHST_COMPLETE); /* a reset that came meanwhile clears it */
}

/* Commands end, then the cache is written, then it is told. */
static void shutdown_step(struct nvme_emul *e)
{
	if (e->in_blk)
		return;
	e->shutting = false;
	if (!e->blk->write_cache) {
		set_shst(e, NVME_CSTS_SHST_COMPLETE);
		return;
	}
	memset(&e->flush, 0, sizeof(e->flush));
	list_init(&e->flush.link);
	e->flush.op = BLK_FLUSH;
	e->flush.done = shutdown_done;
	e->flush.owner = e;
	e->in_blk++;
	blk_submit(e->blk, &e->flush);
}

/* What follows from CC and from what is in flight. */
static void update(struct nvme_emul *e)
{
	if (e->resetting && !e->in_blk) {
		e->resetting = false;
		e->csts = 0;
	}
	if (!e->resetting && e->cc & NVME_CC_EN && !(e->csts & (NVME_CSTS_RDY | NVME_CSTS_CFS)))
		emul_start(e);
	if (e->shutting && !e->resetting)
		shutdown_step(e);
}

static void write_cc(struct nvme_emul *e, u32 v)
{
	u32 old = e->cc;

	e->cc = v & CC_WRITABLE;
	if (old & NVME_CC_EN && !(v & NVME_CC_EN))
		emul_reset(e);
	if (v & NVME_CC_SHN && !(old & NVME_CC_SHN) && !e->resetting) {
		set_shst(e, NVME_CSTS_SHST_OCCURRING);
		e->shutting = true;
	}
}

/* ---------------------------------------------------------------- registers */

static void write_reg(struct nvme_emul *e, u32 off, u32 v)
{
	switch (off) {
	case NVME_INTMS:
		e->intms |= v;
		update_intx(e);
		break;
	case NVME_INTMC:
		e->intms &= ~v;
		update_intx(e);
		break;
	case NVME_CC:
		write_cc(e, v);
		update(e);
		break;
	case NVME_AQA:
		e->aqa = v & (NVME_AQA_ASQS | NVME_AQA_ACQS);
		break;
	case NVME_ASQ:
		e->asq = (e->asq & ~0xffffffffull) | v;
		break;
	case NVME_ASQ + 4:
		e->asq = (e->asq & 0xffffffffull) | (u64)v << 32;
		break;
	case NVME_ACQ:
		e->acq = (e->acq & ~0xffffffffull) | v;
		break;
	case NVME_ACQ + 4:
		e->acq = (e->acq & 0xffffffffull) | (u64)v << 32;
		break;
	default:
		break; /* read-only, reserved, or a feature that is not there */
	}
}

static u32 read_reg(const struct nvme_emul *e, u32 off)
{
	switch (off) {
	case NVME_CAP:
		return (u32)CAP_VALUE;
	case NVME_CAP + 4:
		return (u32)(CAP_VALUE >> 32);
	case NVME_VS:
		return NVME_VS_1_4;
	case NVME_INTMS:
	case NVME_INTMC:
		return e->intms;
	case NVME_CC:
		return e->cc;
	case NVME_CSTS:
		return e->csts;
	case NVME_AQA:
		return e->aqa;
	case NVME_ASQ:
		return (u32)e->asq;
	case NVME_ASQ + 4:
		return (u32)(e->asq >> 32);
	case NVME_ACQ:
		return (u32)e->acq;
	case NVME_ACQ + 4:
		return (u32)(e->acq >> 32);
	default:
		return 0;
	}
}

/**
 * nvme_emul_mmio() - an access to BAR0 outside the MSI-X table
 * @off:   bytes into BAR0
 * @bytes: 1, 2, 4 or 8
 * @value: in for writes, out for reads
 *
 * Reads of any size give the bytes that are there, inside one aligned 8-byte
 * word. Writes must be 4 or 8 bytes and aligned; others are dropped.
 * Doorbell writes are noted, as nvme_emul_doorbell_store() does.
 * Context: owner. Spec: [NVMe 1.4 §3.1]
 */
void nvme_emul_mmio(struct nvme_emul *e, u64 off, u32 bytes, bool write, u64 *value)
{
	u32 at = (u32)ALIGN_DOWN(off, 8), shift = (u32)(off & 7) * 8;
	u64 v;

	if (write && off >= NVME_DOORBELLS) {
		if (bytes == 4 || bytes == 2)
			nvme_emul_doorbell_store(e, off, (u32)*value);
		return;
	}
	if (off >= NVME_DOORBELLS) {
		*value = 0;
		return;
	}
	if (!write) {
		v = (read_reg(e, at) | (u64)read_reg(e, at + 4) << 32) >> shift;
		*value = bytes < 8 ? v & (BIT64(bytes * 8) - 1) : v;
		return;
	}
	if ((bytes != 4 && bytes != 8) || off & (bytes - 1))
		return;
	write_reg(e, (u32)off, (u32)*value);
	if (bytes == 8)
		write_reg(e, (u32)off + 4, (u32)(*value >> 32));
}

/**
 * nvme_emul_poll() - advance: doorbells, fetches, completions, state
 *
 * Call it when a doorbell was noted and after the block device below was
 * polled. It never waits and is bounded by the pool of commands.
 * Context: owner, not from a block device's callback.
 * Return: true when anything happened, or has come meanwhile: then call it again.
 */
bool nvme_emul_poll(struct nvme_emul *e)
{
	bool any = take_doorbells(e);

	if (emul_running(e)) {
		if (e->events)
			nvme_emul_event(e, ~0u);
		any |= fetch_all(e);
		any |= post_all(e);
		any |= emul_running(e) && nvme_dbbuf_arm(e);
	}
	update(e);
	return any;
}

/**
 * nvme_emul_work() - is there something for poll() to do?
 *
 * Context: owner.
 */
bool nvme_emul_work(const struct nvme_emul *e)
{
	u32 w;

	for (w = 0; w < ARRAY_SIZE(e->dirty); w++) {
		if (__atomic_load_n(&e->dirty[w], __ATOMIC_RELAXED))
			return true;
	}
	if ((e->resetting || e->shutting) && !e->in_blk)
		return true;
	return emul_running(e) &&
	       (e->unposted || nvme_dbbuf_work(e) || (e->backlog && e->nfree > EMUL_RESERVE) ||
		__atomic_load_n(&e->bad_db, __ATOMIC_RELAXED));
}

/** nvme_emul_inflight() - requests that the block device has */
u32 nvme_emul_inflight(const struct nvme_emul *e)
{
	return e->in_blk;
}

/** nvme_emul_stats() - counters since creation */
const struct nvme_emul_stats *nvme_emul_stats(const struct nvme_emul *e)
{
	return &e->stats;
}

/* The largest transfer that the block device takes in one request, as pages. */
static u32 mdts(const struct blk_dev *b)
{
	u64 pages = (u64)b->max_sectors * b->sector_bytes / PAGE_BYTES;
	u32 n = 0;

	pages = MIN(pages, (u64)b->max_segs - 1);
	while (n < EMUL_MDTS_MAX && 2ull << n <= pages)
		n++;
	return n ? n : 1;
}

/* Trailing zeroes stay: the buffer is cleared. */
static void copy_text(char *to, size_t room, const char *from)
{
	size_t n = MIN(strlen(from), room - 1);

	memcpy(to, from, n);
}

/**
 * nvme_emul_create() - a controller in reset
 * @host: guest memory and interrupts
 * @blk:  the disk; takes at least 3 segments and 8 KiB in one request
 * @cfg:  copied
 *
 * About 1.2 MiB, most of it segments of NVME_EMUL_COMMANDS commands.
 * Context: start-up. Return: the controller; NULL for lack of memory or a
 * configuration that cannot be.
 */
struct nvme_emul *nvme_emul_create(struct emul_host *host, struct blk_dev *blk,
				   const struct nvme_emul_cfg *cfg)
{
	u32 queues = cfg->queues ? cfg->queues : NVME_EMUL_QUEUES_MAX, i;
	struct nvme_emul *e;

	if (!cfg->vectors || cfg->vectors > NVME_EMUL_VECTORS_MAX || queues > NVME_EMUL_QUEUES_MAX)
		return NULL;
	if ((cfg->msix_table_off && cfg->msix_table_off < NVME_EMUL_BAR_BYTES) ||
	    blk->max_segs < 3 || (u64)blk->max_sectors * blk->sector_bytes < 2 * PAGE_BYTES)
		return NULL;
	e = plat_alloc(sizeof(*e));
	if (!e)
		return NULL;
	e->cmds = plat_alloc(NVME_EMUL_COMMANDS * sizeof(*e->cmds));
	if (!e->cmds) {
		plat_free(e);
		return NULL;
	}
	e->host = host;
	e->blk = blk;
	copy_text(e->serial, sizeof(e->serial), cfg->serial ? cfg->serial : blk->serial);
	copy_text(e->model, sizeof(e->model), cfg->model ? cfg->model : "Freshet");
	e->vendor = cfg->vendor;
	e->subvendor = cfg->subvendor;
	e->vectors = cfg->vectors;
	e->queues = queues;
	e->mdts = mdts(blk);
	list_init(&e->free);
	list_init(&e->busy);
	for (i = 0; i < EMUL_RINGS; i++)
		list_init(&e->cq[i].pending);
	for (i = 0; i < NVME_EMUL_COMMANDS; i++) {
		e->cmds[i].e = e;
		list_add_tail(&e->free, &e->cmds[i].link);
	}
	e->nfree = NVME_EMUL_COMMANDS;
	nvme_emul_features_reset(e);
	return e;
}

/** nvme_emul_destroy() - give back the memory; the block device holds no request of it */
void nvme_emul_destroy(struct nvme_emul *e)
{
	plat_free(e->cmds);
	plat_free(e);
}
