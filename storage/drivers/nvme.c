/*
 * nvme.c - driver for a real NVMe controller
 *
 * One admin queue, one pair of I/O queues, one owner (the VMM's pump). The
 * owner calls submit() and poll(); nothing here waits, except start-up and
 * shutdown, which loop over the same state machine that recovery uses:
 *
 *   DISABLE -> ENABLE -> ID_CTRL -> ID_NS -> QUEUES -> CREATE_CQ -> CREATE_SQ
 *      ^                                                             |
 *      '--------- time-out, fatal status, garbage --------------- LIVE
 *   and DEAD, when it does not come back: all I/O then fails with -EIO.
 *
 * A request is carved from its front into commands, each holding one slot. A
 * slot keeps its submission entry, PRP list and bounce buffer until the command
 * ends well or for good, so sending again (after a retryable status or a
 * controller reset) is copying the entry to the ring. A slot's memory is given
 * back only when the controller cannot touch it any more: it completed the
 * command, or it showed RDY=0, or it lost bus mastering. Fewer slots than
 * ring entries: neither ring can overflow.
 *
 * Data goes to the requests' own segments. A place where two segments cannot
 * be neighbours in a PRP list ends the command; what is left between two such
 * places and smaller than a sector, or than a page when more follows, goes
 * through one of few bounce buffers.
 *
 * The controller is not trusted: identifiers of completions are checked, loops
 * over its queues are bounded, everything it can trigger is log-limited.
 *
 * [NVMe 1.4 §3.1, §4, §7.6.1]
 */
#include "storage/drivers/nvme.h"

#include <string.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"

#define DEPTH_DEFAULT 64u
#define SLOTS_MAX 127u
#define ADMIN_DEPTH 16u
#define COMMAND_BYTES_MAX (1u * (u32)MIB) /* one list page is enough: 257 pages */
#define REQUEST_BYTES_MAX (4u * (u32)MIB)
#define ZERO_SECTORS_MAX 32768u
#define BOUNCES 8u
#define BOUNCE_BYTES (32u * (u32)KIB)
#define NO_BOUNCE 0xffu
#define ATTEMPTS_MAX 4u
#define RESETS_MAX 3u
#define GARBAGE_MAX 64u
#define RETRY_NS (10 * NS_PER_MS)
#define WATCH_NS (100 * NS_PER_MS)
#define ADMIN_TIMEOUT_NS (5 * NS_PER_SEC)

#define PCI_COMMAND 0x04
#define PCI_COMMAND_MASTER BIT(2)

enum drv_state {
	DRV_DISABLE, /* CC.EN=0 written, waiting for RDY=0 */
	DRV_ENABLE, /* CC.EN=1 written, waiting for RDY=1 */
	DRV_ID_CTRL, /* from here on an admin command is on its way */
	DRV_ID_NS,
	DRV_QUEUES,
	DRV_CREATE_CQ,
	DRV_CREATE_SQ,
	DRV_LIVE,
	DRV_DEAD,
};

/* A pair of rings. */
struct drv_ring {
	struct nvme_sqe *sq;
	struct nvme_cqe *cq;
	u64 sq_dma, cq_dma;
	u32 depth; /* (c) entries of either */
	u32 sq_tail;
	u32 sq_rung; /* the tail that the controller knows */
	/*
	 * CQ head, and in bit 31 the phase it expects. (a): written by the
	 * owner, read by nvme_drv_work() from any CPU.
	 */
	u32 cq_pos;
	u32 sq_db, cq_db; /* (c) register offsets */
};
#define POS_PHASE BIT(31)

enum slot_state {
	SLOT_FREE,
	SLOT_SENT,
	SLOT_AGAIN, /* to be sent (again) at @when_ns */
};

struct drv_slot {
	enum slot_state state;
	u8 attempts;
	u8 generation; /* of the identifier, so that late answers are noticed */
	u8 bounce;
	bool aborting;
	struct blk_req *req;
	struct nvme_sqe sqe;
	u64 when_ns; /* SENT: time-out; AGAIN: not before */
	u64 *list;
	u64 list_dma;
	/* where the data is in the request */
	u32 seg, seg_off, bytes;
};

/* How far a request has got; lives in blk_req.scratch. */
struct drv_track {
	u32 issued; /* sectors in commands so far */
	u32 seg, seg_off; /* where the next command's data begins */
	u16 live; /* commands on their way */
	u8 err;
	u8 whole; /* all carved, or given up: off the waiting list */
};
static_assert(sizeof(struct drv_track) == sizeof(((struct blk_req *)0)->scratch), "track fits");

struct nvme_drv {
	struct blk_dev blk;
	struct bus_dev *bus;
	enum drv_state state;
	struct nvme_drv_opts opt; /* (c) */
	bool has_irq; /* (c) */
	bool known; /* (c) after the first start */
	bool polling; /* inside poll(): rings are rung at its end */
	u64 cap; /* (c) */
	u64 ready_ns; /* (c) CAP.TO */
	u64 state_ns; /* when the state's wait ends */
	u64 watch_ns; /* when to look for time-outs next */
	u64 due_ns; /* no command's time-out is before this; 0: not known */
	u32 resets; /* since a command last ended well */
	u32 garbage; /* since the last reset */
	struct nvme_drv_id id;

	struct drv_ring admin, io;
	u16 admin_cid; /* of the one admin command */
	bool admin_busy;
	bool admin_done; /* the state machine's command has an answer */
	u16 admin_status;
	u32 admin_result;
	void *id_page;
	u64 id_dma;
	u64 zero_dma; /* a page of zeroes that is never written */

	struct drv_slot slots[SLOTS_MAX];
	u32 nslots; /* (c) */
	u32 busy; /* slots not FREE */
	u32 again; /* slots AGAIN */
	u8 *bounce[BOUNCES];
	u64 bounce_dma[BOUNCES];
	u32 bounce_free; /* bits */

	struct list waiting; /* not wholly carved */
	struct list finished; /* done() is due */
	u32 news; /* (a) completions were reaped since nvme_drv_work() was asked */
	struct nvme_drv_stats stats;
};

static struct drv_track *track(struct blk_req *r)
{
	return (struct drv_track *)r->scratch;
}

static struct nvme_drv *from_blk(struct blk_dev *b)
{
	return container_of(b, struct nvme_drv, blk);
}

/* ---------------------------------------------------------------- Identify */

/* Printable ASCII without the spaces around it. */
static void id_text(char *out, size_t room, const u8 *in, size_t bytes)
{
	size_t n = 0;

	while (bytes && (in[bytes - 1] == ' ' || !in[bytes - 1]))
		bytes--;
	while (bytes && *in == ' ')
		in++, bytes--;
	for (; n < bytes && n + 1 < room && in[n]; n++)
		out[n] = in[n] >= 0x20 && in[n] < 0x7f ? (char)in[n] : '?';
	out[n] = 0;
}

/**
 * nvme_drv_parse_ctrl() - what we need of Identify Controller
 * @c:  as the controller gave it; nothing in it is trusted
 * @id: out: serial, model, firmware, limits, abilities
 *
 * Return: 0; -ENODEV for a controller that does not do I/O.
 * Spec: [NVMe 1.4 §5.15.2.2]
 */
int nvme_drv_parse_ctrl(const struct nvme_id_ctrl *c, struct nvme_drv_id *id)
{
	if (c->cntrltype > NVME_CNTRLTYPE_IO) /* 0: not reported, before 1.4 */
		return err_trace(-ENODEV);
	id_text(id->serial, sizeof(id->serial), c->sn, sizeof(c->sn));
	id_text(id->model, sizeof(id->model), c->mn, sizeof(c->mn));
	id_text(id->firmware, sizeof(id->firmware), c->fr, sizeof(c->fr));
	id->max_bytes = COMMAND_BYTES_MAX;
	if (c->mdts && c->mdts < 8)
		id->max_bytes = MIN(id->max_bytes, PAGE_BYTES << c->mdts);
	id->namespaces = c->nn;
	id->write_cache = c->vwc & NVME_VWC_PRESENT;
	id->trim = c->oncs & NVME_ONCS_DSM;
	id->write_zeroes = c->oncs & NVME_ONCS_WRITE_ZEROES;
	return 0;
}

/**
 * nvme_drv_parse_ns() - geometry out of Identify Namespace
 * @n:  as the controller gave it
 * @id: out: sectors, sector_bytes
 *
 * Return: 0; -ENODEV for an inactive namespace; -EOPNOTSUPP for a format with
 * metadata or a sector size other than 512 and 4096.
 */
int nvme_drv_parse_ns(const struct nvme_id_ns *n, struct nvme_drv_id *id)
{
	const struct nvme_lbaf *f = &n->lbaf[n->flbas & NVME_FLBAS_FORMAT];

	if (!n->nsze)
		return err_trace(-ENODEV);
	if (f->ms || (f->lbads != 9 && f->lbads != 12))
		return err_trace(-EOPNOTSUPP);
	if (n->nsze > ~0ull >> (f->lbads + 1))
		return err_trace(-EOPNOTSUPP);
	id->sectors = n->nsze;
	id->sector_bytes = 1u << f->lbads;
	return 0;
}

/* ---------------------------------------------------------------- rings */

static u32 ring_pos(const struct drv_ring *q)
{
	return __atomic_load_n(&q->cq_pos, __ATOMIC_ACQUIRE);
}

static void ring_clear(struct drv_ring *q)
{
	memset(q->cq, 0, q->depth * sizeof(*q->cq));
	q->sq_tail = q->sq_rung = 0;
	__atomic_store_n(&q->cq_pos, POS_PHASE, __ATOMIC_RELEASE);
}

static void ring_push(struct drv_ring *q, const struct nvme_sqe *e)
{
	memcpy(&q->sq[q->sq_tail], e, sizeof(*e));
	if (++q->sq_tail == q->depth)
		q->sq_tail = 0;
}

/* Entries are in memory before the doorbell: pairs with the controller's fetch. */
static void ring_ring(struct nvme_drv *d, struct drv_ring *q)
{
	if (q->sq_tail == q->sq_rung)
		return;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	bus_write32(d->bus, q->sq_db, q->sq_tail);
	q->sq_rung = q->sq_tail;
}

/* The third word of an entry holds the phase: is the one at @pos new? */
static bool ring_new(const struct drv_ring *q, u32 pos, u32 *word)
{
	const u8 *e = (const u8 *)&q->cq[pos & ~POS_PHASE];

	*word = __atomic_load_n((const u32 *)(e + 12), __ATOMIC_ACQUIRE);
	return !!(*word & NVME_CQE_PHASE << 16) == !!(pos & POS_PHASE);
}

/* Take the next completion, copied once; false when there is none. */
static bool ring_take(struct drv_ring *q, u32 *pos, struct nvme_cqe *out)
{
	u32 word;

	if (!ring_new(q, *pos, &word))
		return false;
	memcpy(out, &q->cq[*pos & ~POS_PHASE], sizeof(*out));
	out->cid = (u16)word;
	out->status = (u16)(word >> 16);
	*pos += 1;
	if ((*pos & ~POS_PHASE) == q->depth)
		*pos = *pos & POS_PHASE ? 0 : POS_PHASE;
	return true;
}

static int ring_alloc(struct nvme_drv *d, struct drv_ring *q, u32 depth, u32 qid)
{
	u32 stride = 4u << FIELD_GET(NVME_CAP_DSTRD, d->cap);

	q->depth = depth;
	q->sq_db = NVME_DOORBELLS + 2 * qid * stride;
	q->cq_db = q->sq_db + stride;
	if (d->bus->bar_bytes && q->cq_db + 4 > d->bus->bar_bytes)
		return err_trace(-ENODEV);
	q->sq = d->bus->ops->dma_alloc(d->bus, depth * sizeof(*q->sq), PAGE_BYTES, &q->sq_dma);
	q->cq = d->bus->ops->dma_alloc(d->bus, depth * sizeof(*q->cq), PAGE_BYTES, &q->cq_dma);
	return q->sq && q->cq ? 0 : err_trace(-ENOMEM);
}

/* ---------------------------------------------------------------- requests */

/* done() is due, from the end of poll(). */
static void req_finish(struct nvme_drv *d, struct blk_req *r, int err)
{
	track(r)->err = (u8)-err;
	list_del(&r->link);
	list_add_tail(&d->finished, &r->link);
}

/* Carve no more of @r. */
static void req_close(struct blk_req *r)
{
	track(r)->whole = 1;
	list_del(&r->link);
}

static void run_finished(struct nvme_drv *d)
{
	struct list due;

	/* Only what is due now: a callback may submit what finishes at once. */
	list_init(&due);
	list_splice_tail(&due, &d->finished);
	while (!list_empty(&due)) {
		struct blk_req *r = list_first(&due, struct blk_req, link);

		list_del(&r->link);
		r->done(r, -(int)track(r)->err);
	}
}

/* Bounced data between the buffer and the request's segments. */
static void bounce_copy(struct nvme_drv *d, const struct drv_slot *s, bool to_segs)
{
	const struct blk_seg *segs = s->req->segs;
	u8 *buf = d->bounce[s->bounce];
	u32 seg = s->seg, off = s->seg_off, left = s->bytes;

	while (left) {
		u32 n = MIN(segs[seg].bytes - off, left);
		u8 *p = plat_phys_to_virt(HPA(segs[seg].pa.v + off));

		if (to_segs)
			memcpy(p, buf, n);
		else
			memcpy(buf, p, n);
		buf += n;
		left -= n;
		off = 0;
		seg++;
	}
}

/* The slot's command has ended; the controller does not touch it any more. */
static void slot_end(struct nvme_drv *d, struct drv_slot *s, int err)
{
	struct blk_req *r = s->req;
	struct drv_track *t = track(r);

	if (s->bounce != NO_BOUNCE) {
		if (!err && r->op == BLK_READ)
			bounce_copy(d, s, true);
		d->bounce_free |= BIT(s->bounce);
	}
	if (s->state == SLOT_AGAIN)
		d->again--;
	s->state = SLOT_FREE;
	s->req = NULL;
	d->busy--;

	if (err) {
		t->err = (u8)-err;
		if (!t->whole)
			req_close(r);
	}
	if (!--t->live && t->whole)
		req_finish(d, r, -(int)t->err);
}

static void slot_send(struct nvme_drv *d, struct drv_slot *s)
{
	if (s->state == SLOT_AGAIN)
		d->again--;
	s->state = SLOT_SENT;
	s->aborting = false;
	s->generation++;
	s->sqe.cid = (u16)((u32)(s - d->slots) | (u32)s->generation << 8);
	s->when_ns = plat_time_ns() + d->opt.timeout_ns;
	if (!d->due_ns)
		d->due_ns = s->when_ns;
	ring_push(&d->io, &s->sqe);
}

static void slot_again(struct nvme_drv *d, struct drv_slot *s, u64 when_ns)
{
	s->state = SLOT_AGAIN;
	s->when_ns = when_ns;
	d->again++;
}

/* ---------------------------------------------------------------- carving */

/*
 * How many bytes from segment @seg, @off on, at most @max, one PRP list can
 * name: it begins dword-aligned, and where two pieces meet that are not
 * neighbours in memory, both sides are page borders. [NVMe 1.4 §4.3]
 */
static u32 prp_run(const struct blk_req *r, u32 seg, u32 off, u32 max)
{
	u64 end = 0;
	u32 bytes = 0;

	for (; seg < r->nsegs && bytes < max; seg++, off = 0) {
		u64 pa = r->segs[seg].pa.v + off;
		u32 n = MIN(r->segs[seg].bytes - off, max - bytes);

		if (!n)
			continue;
		if (!bytes && pa & 3)
			return 0;
		if (bytes && pa != end && (pa | end) & (PAGE_BYTES - 1))
			break;
		bytes += n;
		end = pa + n;
	}
	return bytes;
}

/* PRPs out of page addresses given one by one. */
struct prp_fill {
	struct drv_slot *s;
	u32 n;
};

static void prp_add(struct prp_fill *f, u64 dma)
{
	if (!f->n)
		f->s->sqe.prp1 = dma;
	else
		f->s->list[f->n - 1] = dma;
	f->n++;
	assert(f->n <= 1 + PAGE_BYTES / sizeof(u64));
}

static void prp_close(struct prp_fill *f)
{
	f->s->sqe.prp2 = f->n < 2 ? 0 : f->n == 2 ? f->s->list[0] : f->s->list_dma;
}

static void prp_piece(struct prp_fill *f, u64 dma, u32 bytes)
{
	while (bytes) {
		u32 n = MIN(PAGE_BYTES - (u32)(dma & (PAGE_BYTES - 1)), bytes);

		/* A piece that goes on in the middle of a page has its entry. */
		if (!f->n || !(dma & (PAGE_BYTES - 1)))
			prp_add(f, dma);
		dma += n;
		bytes -= n;
	}
}

/* Move the request's cursor over @bytes of data, naming them in @f if given. */
static void carve_data(struct blk_req *r, u32 bytes, struct prp_fill *f)
{
	struct drv_track *t = track(r);

	while (bytes) {
		u32 n = MIN(r->segs[t->seg].bytes - t->seg_off, bytes);

		if (f)
			prp_piece(f, r->segs[t->seg].pa.v + t->seg_off, n);
		bytes -= n;
		t->seg_off += n;
		if (t->seg_off == r->segs[t->seg].bytes) {
			t->seg++;
			t->seg_off = 0;
		}
	}
}

static void carve_lba(struct drv_slot *s, u8 opcode, u64 lba, u32 sectors)
{
	s->sqe.opcode = opcode;
	s->sqe.cdw10 = (u32)lba;
	s->sqe.cdw11 = (u32)(lba >> 32);
	s->sqe.cdw12 = sectors - 1;
	if (s->req->fua && opcode != NVME_IO_READ)
		s->sqe.cdw12 |= NVME_RW_FUA;
}

/* Read or write: sectors in this command, 0 when it has to wait for a bounce buffer. */
static u32 carve_rw(struct nvme_drv *d, struct drv_slot *s, struct blk_req *r)
{
	struct drv_track *t = track(r);
	u32 unit = d->blk.sector_bytes;
	u32 rest = r->sectors - t->issued;
	u32 max = rest > d->id.max_bytes / unit ? d->id.max_bytes : rest * unit;
	u32 bytes = ALIGN_DOWN(prp_run(r, t->seg, t->seg_off, max), unit);
	struct prp_fill f = { .s = s };

	s->seg = t->seg;
	s->seg_off = t->seg_off;
	if (!bytes || (bytes < PAGE_BYTES && bytes < max)) {
		if (!d->bounce_free)
			return 0;
		bytes = MIN(max, BOUNCE_BYTES);
		s->bounce = (u8)__builtin_ctz(d->bounce_free);
		d->bounce_free &= ~BIT(s->bounce);
		s->bytes = bytes;
		if (r->op == BLK_WRITE)
			bounce_copy(d, s, false);
		prp_piece(&f, d->bounce_dma[s->bounce], bytes);
		carve_data(r, bytes, NULL);
		d->stats.bounced++;
	} else {
		s->bytes = bytes;
		carve_data(r, bytes, &f);
	}
	prp_close(&f);
	carve_lba(s, r->op == BLK_READ ? NVME_IO_READ : NVME_IO_WRITE, r->lba + t->issued,
		  bytes / unit);
	return bytes / unit;
}

/* Zeroes: the command for it, or a write of one page over and over. */
static u32 carve_zeroes(struct nvme_drv *d, struct drv_slot *s, struct blk_req *r)
{
	struct drv_track *t = track(r);
	u32 rest = r->sectors - t->issued;
	struct prp_fill f = { .s = s };
	u32 n, i;

	if (d->id.write_zeroes) {
		n = MIN(rest, ZERO_SECTORS_MAX);
		carve_lba(s, NVME_IO_WRITE_ZEROES, r->lba + t->issued, n);
		return n;
	}
	n = MIN(rest, d->id.max_bytes / d->blk.sector_bytes);
	s->bytes = n * d->blk.sector_bytes;
	for (i = 0; i < s->bytes; i += PAGE_BYTES)
		prp_add(&f, d->zero_dma);
	prp_close(&f);
	carve_lba(s, NVME_IO_WRITE, r->lba + t->issued, n);
	return n;
}

static u32 carve_trim(struct drv_slot *s, struct blk_req *r)
{
	struct nvme_dsm_range *range = (struct nvme_dsm_range *)s->list;

	*range = (struct nvme_dsm_range){ .blocks = r->sectors, .slba = r->lba };
	s->sqe.opcode = NVME_IO_DSM;
	s->sqe.prp1 = s->list_dma;
	s->sqe.cdw10 = 0;
	s->sqe.cdw11 = NVME_DSM_AD;
	return r->sectors;
}

/* The next command of @r into @s. False: no bounce buffer, try later. */
static bool carve(struct nvme_drv *d, struct drv_slot *s, struct blk_req *r)
{
	struct drv_track *t = track(r);
	u32 n = 0;

	memset(&s->sqe, 0, sizeof(s->sqe));
	s->sqe.nsid = d->opt.nsid;
	s->req = r;
	s->bounce = NO_BOUNCE;
	s->attempts = 0;
	s->bytes = 0;
	switch (r->op) {
	case BLK_READ:
	case BLK_WRITE:
		n = carve_rw(d, s, r);
		if (!n)
			return false;
		break;
	case BLK_FLUSH:
		s->sqe.opcode = NVME_IO_FLUSH;
		break;
	case BLK_TRIM:
		n = carve_trim(s, r);
		break;
	case BLK_WRITE_ZEROES:
		n = carve_zeroes(d, s, r);
		break;
	}
	t->issued += n;
	t->live++;
	d->busy++;
	if (r->op == BLK_FLUSH || t->issued == r->sectors)
		req_close(r);
	return true;
}

/* Send what is to be sent again, then what waits, while there are slots. */
static void start(struct nvme_drv *d)
{
	u64 now = 0;
	u32 i;

	if (d->state != DRV_LIVE)
		return;
	if (d->again)
		now = plat_time_ns();
	for (i = 0; i < d->nslots && d->again; i++) {
		if (d->slots[i].state == SLOT_AGAIN && d->slots[i].when_ns <= now)
			slot_send(d, &d->slots[i]);
	}
	for (i = 0; i < d->nslots && !list_empty(&d->waiting); i++) {
		struct drv_slot *s = &d->slots[i];

		if (s->state != SLOT_FREE)
			continue;
		if (!carve(d, s, list_first(&d->waiting, struct blk_req, link)))
			break;
		slot_send(d, s);
	}
	if (!d->polling)
		ring_ring(d, &d->io);
}

/* ---------------------------------------------------------------- states */

static void admin_send(struct nvme_drv *d, struct nvme_sqe *e)
{
	e->cid = ++d->admin_cid;
	d->admin_busy = true;
	d->admin_done = false;
	ring_push(&d->admin, e);
	ring_ring(d, &d->admin);
}

static void setup_send(struct nvme_drv *d, enum drv_state state, struct nvme_sqe *e)
{
	d->state = state;
	d->state_ns = plat_time_ns() + ADMIN_TIMEOUT_NS;
	admin_send(d, e);
}

/* Everything fails from now on. */
static void die(struct nvme_drv *d, const char *why)
{
	u32 i, cmd;

	if (d->state == DRV_DEAD)
		return;
	log_err("nvme: dead bdf=%04x why=%s", d->bus->bdf, why);
	d->state = DRV_DEAD;
	/* Whatever it still believes to own must not be written any more. */
	cmd = d->bus->ops->cfg_read(d->bus, PCI_COMMAND, 2);
	d->bus->ops->cfg_write(d->bus, PCI_COMMAND, 2, cmd & ~PCI_COMMAND_MASTER);
	for (i = 0; i < d->nslots; i++) {
		if (d->slots[i].state != SLOT_FREE)
			slot_end(d, &d->slots[i], -EIO);
	}
	while (!list_empty(&d->waiting)) {
		struct blk_req *r = list_first(&d->waiting, struct blk_req, link);

		req_close(r);
		req_finish(d, r, -EIO);
	}
}

static void disable(struct nvme_drv *d)
{
	u32 cc = bus_read32(d->bus, NVME_CC);

	bus_write32(d->bus, NVME_CC, cc & ~(NVME_CC_EN | NVME_CC_SHN));
	d->state = DRV_DISABLE;
	d->state_ns = plat_time_ns() + d->ready_ns;
}

/* Recovery: in flight commands go out again when it is back. */
static void reset(struct nvme_drv *d, const char *why)
{
	if (d->state == DRV_DEAD)
		return;
	d->stats.resets++;
	if (++d->resets > RESETS_MAX) {
		die(d, why);
		return;
	}
	log_limited(LOG_WARN, "nvme: reset bdf=%04x why=%s state=%u inflight=%u", d->bus->bdf, why,
		    d->state, d->busy);
	disable(d);
}

static void enable(struct nvme_drv *d)
{
	u64 now = plat_time_ns();
	u32 i;

	/* RDY=0: it has forgotten its commands. */
	for (i = 0; i < d->nslots; i++) {
		struct drv_slot *s = &d->slots[i];

		if (s->state != SLOT_SENT)
			continue;
		if (++s->attempts >= ATTEMPTS_MAX)
			slot_end(d, s, -EIO);
		else
			slot_again(d, s, now);
	}
	d->garbage = 0;
	d->admin_busy = d->admin_done = false;
	ring_clear(&d->admin);
	ring_clear(&d->io);
	bus_write32(d->bus, NVME_AQA,
		    FIELD_PREP(NVME_AQA_ASQS, ADMIN_DEPTH - 1) |
		    FIELD_PREP(NVME_AQA_ACQS, ADMIN_DEPTH - 1));
	bus_write64(d->bus, NVME_ASQ, d->admin.sq_dma);
	bus_write64(d->bus, NVME_ACQ, d->admin.cq_dma);
	bus_write32(d->bus, NVME_CC,
		    NVME_CC_EN | FIELD_PREP(NVME_CC_IOSQES, NVME_SQES) |
		    FIELD_PREP(NVME_CC_IOCQES, NVME_CQES));
	d->state = DRV_ENABLE;
	d->state_ns = now + d->ready_ns;
}

static void send_identify(struct nvme_drv *d, enum drv_state state, u32 cns, u32 nsid)
{
	struct nvme_sqe e = {
		.opcode = NVME_ADM_IDENTIFY, .nsid = nsid, .prp1 = d->id_dma, .cdw10 = cns,
	};

	memset(d->id_page, 0, PAGE_BYTES);
	setup_send(d, state, &e);
}

static void send_queues(struct nvme_drv *d)
{
	struct nvme_sqe e = { .opcode = NVME_ADM_SET_FEATURES, .cdw10 = NVME_FEAT_QUEUES };

	setup_send(d, DRV_QUEUES, &e); /* CDW11 0: one of each */
}

static void send_create_cq(struct nvme_drv *d)
{
	struct nvme_sqe e = {
		.opcode = NVME_ADM_CREATE_CQ, .prp1 = d->io.cq_dma,
		.cdw10 = FIELD_PREP(NVME_CQ_QID, 1) | FIELD_PREP(NVME_CQ_QSIZE, d->io.depth - 1),
		.cdw11 = NVME_QUEUE_PC | (d->has_irq ? NVME_CQ_IEN : 0), /* vector 0 */
	};

	setup_send(d, DRV_CREATE_CQ, &e);
}

static void send_create_sq(struct nvme_drv *d)
{
	struct nvme_sqe e = {
		.opcode = NVME_ADM_CREATE_SQ, .prp1 = d->io.sq_dma,
		.cdw10 = FIELD_PREP(NVME_CQ_QID, 1) | FIELD_PREP(NVME_CQ_QSIZE, d->io.depth - 1),
		.cdw11 = NVME_QUEUE_PC | FIELD_PREP(NVME_SQ_CQID, 1),
	};

	setup_send(d, DRV_CREATE_SQ, &e);
}

static bool got_ctrl(struct nvme_drv *d)
{
	struct nvme_drv_id id = d->id;

	if (nvme_drv_parse_ctrl(d->id_page, &id)) {
		die(d, "not an I/O controller");
		return false;
	}
	if (d->known && (strcmp(id.serial, d->id.serial) || id.max_bytes < d->id.max_bytes)) {
		die(d, "another controller after a reset");
		return false;
	}
	if (!d->known)
		d->id = id;
	return true;
}

static bool got_ns(struct nvme_drv *d)
{
	struct nvme_drv_id id = d->id;
	int err = nvme_drv_parse_ns(d->id_page, &id);

	if (err) {
		die(d, err == -ENODEV ? "no such namespace" : "unsupported sector format");
		return false;
	}
	if (d->known && (id.sectors != d->id.sectors || id.sector_bytes != d->id.sector_bytes)) {
		die(d, "another size after a reset");
		return false;
	}
	d->id = id;
	return true;
}

static void went_live(struct nvme_drv *d)
{
	d->state = DRV_LIVE;
	d->watch_ns = plat_time_ns() + WATCH_NS;
	if (d->known) {
		log_limited(LOG_WARN, "nvme: back bdf=%04x again=%u", d->bus->bdf, d->again);
		return;
	}
	d->known = true;
	log_info("nvme: ready bdf=%04x model=\"%s\" serial=%s fw=%s sectors=%llu bytes=%u "
		 "mdts=%u depth=%u cache=%d trim=%d zeroes=%d irq=%d",
		 d->bus->bdf, d->id.model, d->id.serial, d->id.firmware,
		 (unsigned long long)d->id.sectors, d->id.sector_bytes, d->id.max_bytes,
		 d->io.depth, d->id.write_cache, d->id.trim, d->id.write_zeroes, d->has_irq);
}

/* The answer to the state's admin command. */
static void setup_answer(struct nvme_drv *d)
{
	d->admin_done = false;
	if (d->admin_status & NVME_STATUS_CODE && d->state != DRV_LIVE) {
		log_limited(LOG_ERR, "nvme: start-up command failed state=%u status=%03x", d->state,
			    d->admin_status & NVME_STATUS_CODE);
		reset(d, "start-up command failed");
		return;
	}
	switch (d->state) {
	case DRV_ID_CTRL:
		if (got_ctrl(d))
			send_identify(d, DRV_ID_NS, NVME_CNS_NS, d->opt.nsid);
		break;
	case DRV_ID_NS:
		if (got_ns(d))
			send_queues(d);
		break;
	case DRV_QUEUES:
		send_create_cq(d);
		break;
	case DRV_CREATE_CQ:
		send_create_sq(d);
		break;
	case DRV_CREATE_SQ:
		went_live(d);
		break;
	default: /* an Abort; the aborted command speaks for itself */
		break;
	}
}

/* Advance whatever the state waits for. */
static void step(struct nvme_drv *d)
{
	bool late = plat_time_ns() >= d->state_ns;
	u32 csts;

	switch (d->state) {
	case DRV_LIVE:
		if (d->admin_done)
			setup_answer(d);
		return;
	case DRV_DEAD:
		return;
	case DRV_DISABLE:
	case DRV_ENABLE:
		csts = bus_read32(d->bus, NVME_CSTS);
		if (csts == ~0u) {
			die(d, "gone from the bus");
		} else if (d->state == DRV_DISABLE && !(csts & NVME_CSTS_RDY)) {
			enable(d);
		} else if (d->state == DRV_ENABLE && csts & NVME_CSTS_CFS) {
			reset(d, "fatal status while enabling");
		} else if (d->state == DRV_ENABLE && csts & NVME_CSTS_RDY) {
			send_identify(d, DRV_ID_CTRL, NVME_CNS_CTRL, 0);
		} else if (late) {
			die(d, d->state == DRV_DISABLE ? "still ready" : "never ready");
		}
		return;
	default:
		if (d->admin_done)
			setup_answer(d);
		else if (late)
			reset(d, "start-up command timed out");
	}
}

/* ---------------------------------------------------------------- reaping */

static const char *status_text(u32 code)
{
	switch (code) {
	case NVME_SC_INVALID_OPCODE: return "invalid opcode";
	case NVME_SC_INVALID_FIELD: return "invalid field";
	case NVME_SC_DATA_TRANSFER: return "data transfer error";
	case NVME_SC_INTERNAL: return "internal error";
	case NVME_SC_ABORT_REQUESTED: return "abort requested";
	case NVME_SC_SQ_DELETED: return "queue deleted";
	case NVME_SC_INVALID_NS: return "invalid namespace";
	case NVME_SC_PRP_OFFSET: return "PRP offset invalid";
	case NVME_SC_LBA_RANGE: return "LBA out of range";
	case NVME_SC_CAPACITY: return "capacity exceeded";
	case NVME_SC_NS_NOT_READY: return "namespace not ready";
	case NVME_SC_WRITE_FAULT: return "write fault";
	case NVME_SC_READ_ERROR: return "unrecovered read error";
	default: return "?";
	}
}

static void count_ok(struct nvme_drv *d, const struct drv_slot *s)
{
	switch (s->req->op) {
	case BLK_READ:
		d->stats.reads++;
		d->stats.bytes_read += s->bytes;
		break;
	case BLK_WRITE:
		d->stats.writes++;
		d->stats.bytes_written += s->bytes;
		break;
	case BLK_FLUSH:
		d->stats.flushes++;
		break;
	case BLK_TRIM:
		d->stats.trims++;
		break;
	case BLK_WRITE_ZEROES:
		d->stats.zeroes++;
		break;
	}
}

static void slot_answer(struct nvme_drv *d, struct drv_slot *s, u32 status)
{
	u32 code = status & NVME_STATUS_CODE;

	if (!code) {
		d->resets = 0;
		count_ok(d, s);
		slot_end(d, s, 0);
		return;
	}
	d->stats.errors++;
	/* A hint that was not taken is no error. */
	if (s->req->op == BLK_TRIM) {
		slot_end(d, s, 0);
		return;
	}
	log_limited(LOG_WARN, "nvme: command failed bdf=%04x op=%02x lba=%llu sectors=%u "
		    "status=%03x (%s) dnr=%d attempt=%u",
		    d->bus->bdf, s->sqe.opcode,
		    (unsigned long long)(s->sqe.cdw10 | (u64)s->sqe.cdw11 << 32),
		    (s->sqe.cdw12 & NVME_RW_NLB) + 1, code, status_text(code),
		    !!(status & NVME_DNR), s->attempts);
	if (status & NVME_DNR || ++s->attempts >= ATTEMPTS_MAX) {
		slot_end(d, s, -EIO);
		return;
	}
	d->stats.retries++;
	slot_again(d, s, plat_time_ns() + (RETRY_NS << s->attempts));
}

static void garbage(struct nvme_drv *d, const char *queue, const struct nvme_cqe *c)
{
	d->stats.garbage++;
	d->garbage++;
	log_limited(LOG_WARN, "nvme: stray completion queue=%s cid=%04x sqid=%u status=%04x", queue,
		    c->cid, c->sqid, c->status);
}

static void reap_admin(struct nvme_drv *d)
{
	struct drv_ring *q = &d->admin;
	u32 pos = ring_pos(q), first = pos, i;
	struct nvme_cqe c;

	for (i = 0; i < q->depth && ring_take(q, &pos, &c); i++) {
		if (!d->admin_busy || c.cid != d->admin_cid || c.sqid != 0) {
			garbage(d, "admin", &c);
			continue;
		}
		d->admin_busy = false;
		d->admin_done = true;
		d->admin_status = c.status >> 1;
		d->admin_result = c.result;
	}
	if (pos == first)
		return;
	__atomic_store_n(&d->news, 1, __ATOMIC_RELEASE);
	__atomic_store_n(&q->cq_pos, pos, __ATOMIC_RELEASE);
	bus_write32(d->bus, q->cq_db, pos & ~POS_PHASE);
}

static void reap_io(struct nvme_drv *d)
{
	struct drv_ring *q = &d->io;
	u32 pos = ring_pos(q), first = pos, i;
	struct nvme_cqe c;

	for (i = 0; i < q->depth && ring_take(q, &pos, &c); i++) {
		u32 n = c.cid & 0xff;
		struct drv_slot *s = n < d->nslots ? &d->slots[n] : NULL;

		if (!s || s->state != SLOT_SENT || s->sqe.cid != c.cid || c.sqid != 1)
			garbage(d, "io", &c);
		else
			slot_answer(d, s, c.status >> 1);
	}
	if (pos == first)
		return;
	__atomic_store_n(&d->news, 1, __ATOMIC_RELEASE);
	__atomic_store_n(&q->cq_pos, pos, __ATOMIC_RELEASE);
	bus_write32(d->bus, q->cq_db, pos & ~POS_PHASE);
}

static void send_abort(struct nvme_drv *d, struct drv_slot *s)
{
	struct nvme_sqe e = { .opcode = NVME_ADM_ABORT, .cdw10 = 1 | (u32)s->sqe.cid << 16 };

	d->stats.aborts++;
	s->aborting = true;
	s->when_ns += d->opt.timeout_ns / 2;
	d->due_ns = d->watch_ns;
	d->state_ns = plat_time_ns() + ADMIN_TIMEOUT_NS;
	admin_send(d, &e);
}

/* A look at the clock and at CSTS, ten times a second while anything is out. */
static void watch(struct nvme_drv *d)
{
	u64 now;
	u32 csts, i;

	if (!d->busy) {
		d->due_ns = 0;
		return;
	}
	now = plat_time_ns();
	if (now < d->watch_ns)
		return;
	d->watch_ns = now + WATCH_NS;
	d->due_ns = 0;
	csts = bus_read32(d->bus, NVME_CSTS);
	if (csts == ~0u) {
		die(d, "gone from the bus");
		return;
	}
	if (csts & NVME_CSTS_CFS) {
		reset(d, "controller fatal status");
		return;
	}
	if (d->admin_busy && now >= d->state_ns) {
		reset(d, "abort timed out");
		return;
	}
	for (i = 0; i < d->nslots; i++) {
		struct drv_slot *s = &d->slots[i];

		if (s->state != SLOT_SENT)
			continue;
		if (now < s->when_ns) {
			d->due_ns = d->due_ns ? MIN(d->due_ns, s->when_ns) : s->when_ns;
			continue;
		}
		if (s->aborting) {
			reset(d, "command timed out");
			return;
		}
		if (d->admin_busy) { /* another one's abort */
			d->due_ns = d->watch_ns;
			continue;
		}
		d->stats.timeouts++;
		log_limited(LOG_WARN, "nvme: time-out bdf=%04x op=%02x lba=%llu", d->bus->bdf,
			    s->sqe.opcode,
			    (unsigned long long)(s->sqe.cdw10 | (u64)s->sqe.cdw11 << 32));
		send_abort(d, s);
	}
}

/* ---------------------------------------------------------------- blk_dev */

static bool req_valid(const struct nvme_drv *d, const struct blk_req *r)
{
	u64 bytes = 0;
	u32 i;

	if (r->op == BLK_FLUSH)
		return true;
	if (!r->sectors || r->lba >= d->blk.sectors || r->sectors > d->blk.sectors - r->lba)
		return false;
	if (r->op != BLK_READ && r->op != BLK_WRITE)
		return true;
	for (i = 0; i < r->nsegs; i++)
		bytes += r->segs[i].bytes;
	return bytes == (u64)r->sectors * d->blk.sector_bytes;
}

static void drv_submit(struct blk_dev *b, struct blk_req *r)
{
	struct nvme_drv *d = from_blk(b);
	bool nothing = (r->op == BLK_FLUSH && !b->write_cache) ||
		       (r->op == BLK_TRIM && !d->id.trim);

	memset(r->scratch, 0, sizeof(r->scratch));
	list_init(&r->link);
	if (!req_valid(d, r)) {
		req_finish(d, r, -EINVAL);
	} else if (d->state == DRV_DEAD) {
		req_finish(d, r, -EIO);
	} else if (nothing) {
		req_finish(d, r, 0);
	} else {
		list_add_tail(&d->waiting, &r->link);
		start(d);
	}
}

static void drv_poll(struct blk_dev *b)
{
	struct nvme_drv *d = from_blk(b);

	if (d->polling) /* from a callback */
		return;
	d->polling = true;
	/* While it is being reset its rings mean nothing. */
	if (d->state > DRV_ENABLE && d->state != DRV_DEAD)
		reap_admin(d);
	if (d->state == DRV_LIVE) {
		reap_io(d);
		if (d->garbage > GARBAGE_MAX)
			reset(d, "stray completions");
		else
			watch(d);
	}
	step(d);
	run_finished(d);
	start(d);
	d->polling = false;
	if (d->state == DRV_LIVE)
		ring_ring(d, &d->io);
}

static const struct blk_ops drv_ops = {
	.submit = drv_submit,
	.poll = drv_poll,
};

/* ---------------------------------------------------------------- life */

static int drv_memory(struct nvme_drv *d)
{
	struct bus_dev *bus = d->bus;
	u32 mqes = (u32)FIELD_GET(NVME_CAP_MQES, d->cap) + 1;
	u32 depth = MIN(d->opt.depth + 1, mqes), i;
	u64 dma;
	int err;

	if (depth < 2)
		return err_trace(-ENODEV);
	err = ring_alloc(d, &d->admin, ADMIN_DEPTH, 0);
	if (!err)
		err = ring_alloc(d, &d->io, depth, 1);
	if (err)
		return err;
	d->id_page = bus->ops->dma_alloc(bus, PAGE_BYTES, PAGE_BYTES, &d->id_dma);
	if (!d->id_page || !bus->ops->dma_alloc(bus, PAGE_BYTES, PAGE_BYTES, &d->zero_dma))
		return err_trace(-ENOMEM);
	for (i = 0; i < BOUNCES; i++) {
		d->bounce[i] = bus->ops->dma_alloc(bus, BOUNCE_BYTES, PAGE_BYTES,
						   &d->bounce_dma[i]);
		if (!d->bounce[i])
			return err_trace(-ENOMEM);
	}
	d->bounce_free = BIT(BOUNCES) - 1;
	for (i = 0; i < depth - 1; i++) {
		d->slots[i].list = bus->ops->dma_alloc(bus, PAGE_BYTES, PAGE_BYTES, &dma);
		if (!d->slots[i].list)
			return err_trace(-ENOMEM);
		d->slots[i].list_dma = dma;
	}
	d->nslots = depth - 1;
	return 0;
}

static void drv_announce(struct nvme_drv *d)
{
	struct blk_dev *b = &d->blk;

	b->ops = &drv_ops;
	b->sector_bytes = d->id.sector_bytes;
	b->sectors = d->id.sectors;
	b->max_sectors = REQUEST_BYTES_MAX / b->sector_bytes;
	b->max_segs = REQUEST_BYTES_MAX / 512;
	b->write_cache = d->id.write_cache;
	memcpy(b->serial, d->id.serial, sizeof(b->serial));
	memcpy(b->model, d->id.model, sizeof(b->model));
}

/**
 * nvme_drv_create() - take a controller into service
 * @bus:  the function; no other driver holds it
 * @opts: may be NULL
 * @out:  the driver
 *
 * Interrupts are enabled before the completion queue is created: QEMU looks at
 * MSI-X only then. Memory given out by @bus is not returned on failure.
 * Context: start-up; busy-waits, bounded by CAP.TO and admin time-outs.
 * Return: 0; -ENODEV for a controller that cannot be used; -ENOMEM; -EIO when
 * it does not start.
 * Spec: [NVMe 1.4 §7.6.1]
 */
int nvme_drv_create(struct bus_dev *bus, const struct nvme_drv_opts *opts, struct nvme_drv **out)
{
	u64 cap = bus_read64(bus, NVME_CAP);
	struct nvme_drv *d;
	int err;

	if (cap == ~0ull || !cap)
		return err_trace(-ENODEV);
	if (FIELD_GET(NVME_CAP_MPSMIN, cap) || !(FIELD_GET(NVME_CAP_CSS, cap) & NVME_CAP_CSS_NVM)) {
		log_err("nvme: unsupported bdf=%04x cap=%016llx", bus->bdf,
			(unsigned long long)cap);
		return err_trace(-ENODEV);
	}
	d = plat_alloc(sizeof(*d));
	if (!d)
		return err_trace(-ENOMEM);
	d->bus = bus;
	d->cap = cap;
	if (opts)
		d->opt = *opts;
	if (!d->opt.nsid)
		d->opt.nsid = 1;
	if (!d->opt.depth)
		d->opt.depth = DEPTH_DEFAULT;
	d->opt.depth = MIN(d->opt.depth, SLOTS_MAX);
	if (!d->opt.timeout_ns)
		d->opt.timeout_ns = 10 * NS_PER_SEC;
	d->ready_ns = (FIELD_GET(NVME_CAP_TO, cap) + 1) * 500 * NS_PER_MS;
	list_init(&d->waiting);
	list_init(&d->finished);
	err = drv_memory(d);
	if (err)
		goto free;
	d->has_irq = !bus->ops->irq_enable(bus, 1);
	for (disable(d); d->state != DRV_LIVE && d->state != DRV_DEAD;) {
		drv_poll(&d->blk);
		bus->ops->delay_us(bus, 20);
	}
	if (d->state == DRV_DEAD) {
		err = err_trace(-EIO);
		goto irq;
	}
	drv_announce(d);
	*out = d;
	return 0;
irq:
	if (d->has_irq)
		bus->ops->irq_disable(bus);
free:
	plat_free(d);
	return err;
}

/** nvme_drv_blk() - the namespace as a block device */
struct blk_dev *nvme_drv_blk(struct nvme_drv *d)
{
	return &d->blk;
}

/**
 * nvme_drv_work() - did this controller interrupt?
 *
 * True when a completion lies in a queue, or was reaped since this was last
 * asked: the interrupt of one that another CPU has just reaped is explained too.
 * Context: any CPU, NMI included; takes no lock, touches no register.
 */
bool nvme_drv_work(struct nvme_drv *d)
{
	bool news = __atomic_exchange_n(&d->news, 0, __ATOMIC_ACQ_REL);
	u32 word;

	return ring_new(&d->io, ring_pos(&d->io), &word) ||
	       ring_new(&d->admin, ring_pos(&d->admin), &word) || news;
}

/**
 * nvme_drv_deadline_ns() - when poll() wants to be called although nothing happens
 *
 * Far away while commands are merely out and will interrupt; near while one is
 * to be sent again, while the controller is being reset, or without interrupts.
 * Return: plat_time_ns() value; 0 when only an interrupt or a submission can
 * bring work.
 */
u64 nvme_drv_deadline_ns(const struct nvme_drv *d)
{
	u64 when;
	u32 i;

	if (!list_empty(&d->finished))
		return plat_time_ns();
	if (d->state == DRV_DEAD)
		return 0;
	if (d->state != DRV_LIVE)
		return plat_time_ns() + NS_PER_MS;
	if (!d->busy)
		return 0;
	if (!d->has_irq)
		return plat_time_ns() + NS_PER_MS;
	when = d->due_ns ? d->due_ns : plat_time_ns() + WATCH_NS;
	for (i = 0; i < d->nslots && d->again; i++) {
		if (d->slots[i].state == SLOT_AGAIN)
			when = MIN(when, d->slots[i].when_ns);
	}
	return when;
}

/** nvme_drv_has_irq() - false: the integrator must poll from a tick while I/O is out */
bool nvme_drv_has_irq(const struct nvme_drv *d)
{
	return d->has_irq;
}

/** nvme_drv_dead() - given up; all I/O fails with -EIO */
bool nvme_drv_dead(const struct nvme_drv *d)
{
	return d->state == DRV_DEAD;
}

/** nvme_drv_stats() - counters since creation */
const struct nvme_drv_stats *nvme_drv_stats(const struct nvme_drv *d)
{
	return &d->stats;
}

/**
 * nvme_drv_shutdown() - tell the controller that power will go
 *
 * The caller has no I/O on its way. Further I/O fails with -EIO.
 * Context: owner; busy-waits up to five seconds.
 * Spec: [NVMe 1.4 §7.6.2]
 */
void nvme_drv_shutdown(struct nvme_drv *d)
{
	u64 end = plat_time_ns() + 5 * NS_PER_SEC;
	u32 cc, csts;

	if (d->state == DRV_DEAD)
		return;
	cc = bus_read32(d->bus, NVME_CC) & ~NVME_CC_SHN;
	bus_write32(d->bus, NVME_CC, cc | FIELD_PREP(NVME_CC_SHN, NVME_CC_SHN_NORMAL));
	do {
		csts = bus_read32(d->bus, NVME_CSTS);
		if (csts == ~0u || FIELD_GET(NVME_CSTS_SHST, csts) == NVME_CSTS_SHST_COMPLETE)
			break;
		d->bus->ops->delay_us(d->bus, 1000);
	} while (plat_time_ns() < end);
	die(d, "shut down");
}
