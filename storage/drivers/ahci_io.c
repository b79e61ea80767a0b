/*
 * ahci_io.c - from requests to commands and back
 *
 * A request is carved from its front into commands, each holding one slot. A
 * slot keeps its table of memory pieces and its bounce buffer until the command
 * ends well or for good, so sending again is setting its bit. Its memory is
 * given back only when the controller cannot touch it any more: it completed the
 * command, or its list was stopped and the disk reset.
 *
 * Reads and writes are queued (NCQ) where disk and controller can, else sent
 * as DMA EXT commands, several at once, which the controller takes one by one.
 * Queued and other commands are never out together, as the specification
 * demands: what cannot join waits until the rest has come back, and what comes
 * after it waits behind it. A command that failed in company goes out again
 * unqueued: then the controller knows which one fails.
 *
 * Data goes to the requests' own segments, as far as they lie at even addresses
 * and the controller reaches them; a piece that does not goes with its
 * neighbours through one of few bounce buffers.
 *
 * FUA on a disk that does not offer it is a flush after the request's writes.
 * Zeroes are written from one buffer of zeroes: what ATA has for them (TRIM with
 * "reads as zeroes") is a promise that disks are known to break.
 *
 * [AHCI 1.3.1 §5.5, §5.6; ACS-3 §7]
 */
#include <string.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/field.h"
#include "base/log.h"
#include "base/plat.h"
#include "storage/drivers/ahci_priv.h"

#define FLUSH_TIMEOUT_NS (30 * NS_PER_SEC) /* [ACS-3 §7.10]: it may take longer than 30 s */
#define RETRY_NS (10 * NS_PER_MS)
#define TRIM_SECTORS ((u32)ATA_DSM_RANGES * ATA_DSM_SECTORS_MAX)

/* How far a request has got; lives in blk_req.scratch. */
struct ahci_track {
	u32 issued; /* sectors in commands so far */
	u32 seg, seg_off; /* where the next command's data begins */
	u8 live; /* commands on their way */
	u8 err;
	bool whole; /* all carved, or given up: off the waiting list */
	bool flushing; /* the writes of a FUA request are through */
};
static_assert(sizeof(struct ahci_track) == sizeof(((struct blk_req *)0)->scratch), "track fits");

static struct ahci_track *track(struct blk_req *r)
{
	return (struct ahci_track *)r->scratch;
}

/* ---------------------------------------------------------------- requests */

/* done() is due, from the end of poll(). */
static void req_finish(struct ahci_port *p, struct blk_req *r, int err)
{
	track(r)->err = (u8)-err;
	list_del(&r->link);
	list_add_tail(&p->finished, &r->link);
}

/* Carve no more of @r. */
static void req_close(struct blk_req *r)
{
	track(r)->whole = true;
	list_del(&r->link);
}

/* Nothing of @r is on its way, and nothing is to be. */
static void req_over(struct ahci_port *p, struct blk_req *r)
{
	struct ahci_track *t = track(r);

	if (!t->err && r->fua && r->op != BLK_READ && p->blk.write_cache && !p->id.fua &&
	    !t->flushing) {
		t->flushing = true;
		t->whole = false;
		list_add(&p->waiting, &r->link);
		return;
	}
	req_finish(p, r, -(int)t->err);
}

/**
 * ahci_io_run_finished() - call done() of what is due now
 *
 * What it submits may finish at once: then it is due the next time.
 */
void ahci_io_run_finished(struct ahci_port *p)
{
	struct list due;

	if (p->packet) {
		ahci_packet_run_finished(p);
		return;
	}
	list_init(&due);
	list_splice_tail(&due, &p->finished);
	while (!list_empty(&due)) {
		struct blk_req *r = list_first(&due, struct blk_req, link);

		list_del(&r->link);
		r->done(r, -(int)track(r)->err);
	}
}

/* ---------------------------------------------------------------- slots */

/* Bounced data between the buffer and the request's segments. */
static void bounce_copy(struct ahci_port *p, const struct ahci_slot *s, bool to_segs)
{
	const struct blk_seg *segs = s->req->segs;
	u8 *buf = p->bounce[s->bounce];
	u32 seg = s->seg, off = s->seg_off, left = s->bytes;

	while (left) {
		u32 n = MIN(segs[seg].bytes - off, left);
		u8 *at = plat_phys_to_virt(HPA(segs[seg].pa.v + off));

		if (to_segs)
			memcpy(at, buf, n);
		else
			memcpy(buf, at, n);
		buf += n;
		left -= n;
		off = 0;
		seg++;
	}
}

static void slot_leave(struct ahci_port *p, struct ahci_slot *s)
{
	u32 bit = BIT(s - p->slots);

	if (s->state == SLOT_AGAIN)
		p->again--;
	p->sent &= ~bit;
	p->ring &= ~bit;
}

/* The slot's command has ended; the controller does not touch it any more. */
static void slot_end(struct ahci_port *p, struct ahci_slot *s, int err)
{
	struct blk_req *r = s->req;
	struct ahci_track *t = track(r);

	if (s->bounce != AHCI_DRV_NO_BOUNCE) {
		if (!err && r->op == BLK_READ)
			bounce_copy(p, s, true);
		p->bounce_free |= BIT(s->bounce);
	}
	slot_leave(p, s);
	s->state = SLOT_FREE;
	s->req = NULL;
	if (err) {
		t->err = (u8)-err;
		if (!t->whole)
			req_close(r);
	}
	if (!--t->live && t->whole)
		req_over(p, r);
}

static void slot_again(struct ahci_port *p, struct ahci_slot *s, u64 when_ns)
{
	slot_leave(p, s);
	s->state = SLOT_AGAIN;
	s->when_ns = when_ns;
	p->again++;
}

static enum port_kind kind_of(const struct ahci_port *p, enum blk_op op, bool plain)
{
	return op == BLK_FLUSH || op == BLK_TRIM || plain || !p->ncq ? KIND_PLAIN : KIND_QUEUED;
}

static u8 command_of(const struct ahci_port *p, const struct ahci_slot *s, bool fua)
{
	switch (s->op) {
	case BLK_FLUSH:
		return ATA_FLUSH_EXT;
	case BLK_TRIM:
		return ATA_DSM;
	case BLK_READ:
		return kind_of(p, s->op, s->plain) == KIND_QUEUED ? ATA_READ_FPDMA :
								    ATA_READ_DMA_EXT;
	default:
		if (kind_of(p, s->op, s->plain) == KIND_QUEUED)
			return ATA_WRITE_FPDMA;
		return fua ? ATA_WRITE_DMA_FUA_EXT : ATA_WRITE_DMA_EXT;
	}
}

/* The command's frame. The sector count and the tag swap places when it is queued. */
static void slot_frame(const struct ahci_port *p, const struct ahci_slot *s)
{
	struct fis_reg_h2d *f = (struct fis_reg_h2d *)s->table->cfis;
	bool queued = kind_of(p, s->op, s->plain) == KIND_QUEUED;
	bool fua = s->req->fua && p->id.fua && s->op != BLK_READ;
	u32 count = s->op == BLK_TRIM ? 1 : s->sectors;

	memset(s->table, 0, sizeof(*s->table));
	f->type = FIS_REG_H2D;
	f->flags = FIS_C;
	f->command = command_of(p, s, fua);
	f->device = ATA_DEV_LBA;
	if (s->op == BLK_TRIM)
		f->features = ATA_DSM_TRIM;
	if (s->op != BLK_TRIM && s->op != BLK_FLUSH)
		for (u32 i = 0; i < 3; i++) {
			f->lba[i] = (u8)(s->lba >> (8 * i));
			f->lba_exp[i] = (u8)(s->lba >> (24 + 8 * i));
		}
	if (queued) {
		f->features = (u8)count;
		f->features_exp = (u8)(count >> 8);
		f->count = (u8)FIELD_PREP(ATA_FPDMA_TAG, (u32)(s - p->slots));
		if (fua)
			f->device |= ATA_DEV_FUA;
	} else if (s->op != BLK_FLUSH) {
		f->count = (u8)count;
		f->count_exp = (u8)(count >> 8);
	}
}

static void slot_send(struct ahci_port *p, struct ahci_slot *s)
{
	u32 i = (u32)(s - p->slots);
	u32 flags = sizeof(struct fis_reg_h2d) / 4 | FIELD_PREP(AHCI_CH_PRDTL, s->prds);
	u64 timeout = s->op == BLK_FLUSH ? MAX(p->d->opt.timeout_ns, FLUSH_TIMEOUT_NS) :
					   p->d->opt.timeout_ns;

	slot_leave(p, s);
	slot_frame(p, s);
	if (s->op != BLK_READ && s->op != BLK_FLUSH)
		flags |= AHCI_CH_W;
	p->list[i] = (struct ahci_cmd_header){
		.flags = flags, .ctba = (u32)s->table_dma, .ctbau = (u32)(s->table_dma >> 32),
	};
	if (!p->sent)
		p->out_kind = kind_of(p, s->op, s->plain);
	*(p->out_kind == KIND_QUEUED ? &p->d->stats.queued : &p->d->stats.plain) += 1;
	s->state = SLOT_SENT;
	s->when_ns = plat_time_ns() + timeout;
	p->sent |= BIT(i);
	p->ring |= BIT(i);
}

/**
 * ahci_io_ring() - tell the controller what was sent
 *
 * Tables are in memory before the registers are written: pairs with the
 * controller's fetch. A queued command's bit in SACT comes first.
 */
void ahci_io_ring(struct ahci_port *p)
{
	u32 bits = p->ring;

	if (!bits || p->state != PORT_LIVE)
		return;
	p->ring = 0;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (p->out_kind == KIND_QUEUED)
		port_write(p, AHCI_PX_SACT, bits);
	port_write(p, AHCI_PX_CI, bits);
}

/* ---------------------------------------------------------------- carving */

/** ahci_io_reachable() - can the controller reach these @bytes by itself? [AHCI 1.3.1 §4.2.3.3] */
bool ahci_io_reachable(const struct ahci_port *p, u64 pa, u32 bytes)
{
	return !(pa & 1) && !(bytes & 1) &&
	       (p->d->cap & AHCI_CAP_S64A || pa + bytes <= 4 * GIB);
}

/** ahci_io_prd_add() - name one more piece. Return: how many of the @bytes found room. */
u32 ahci_io_prd_add(struct prd_fill *f, u64 pa, u32 bytes)
{
	u32 done = 0, n;

	while (done < bytes) {
		bool joins = f->n && pa == f->end && f->bytes < AHCI_PRD_BYTES_MAX;

		if (!joins && f->n == AHCI_DRV_PRDS)
			break;
		if (!joins) {
			f->n++;
			f->bytes = 0;
			if (f->prd)
				f->prd[f->n - 1] = (struct ahci_prd){
					.dba = (u32)pa, .dbau = (u32)(pa >> 32),
				};
		}
		n = MIN(bytes - done, AHCI_PRD_BYTES_MAX - f->bytes);
		f->bytes += n;
		pa += n;
		done += n;
		f->end = pa;
		if (f->prd)
			f->prd[f->n - 1].dbc = f->bytes - 1;
	}
	return done;
}

/* How many bytes from segment @seg, @off on, at most @max, one table can name. */
static u32 prd_run(const struct ahci_port *p, const struct blk_req *r, u32 seg, u32 off, u32 max)
{
	struct prd_fill f = { 0 };
	u32 bytes = 0;

	for (; seg < r->nsegs && bytes < max; seg++, off = 0) {
		u64 pa = r->segs[seg].pa.v + off;
		u32 n = MIN(r->segs[seg].bytes - off, max - bytes), took;

		if (!n)
			continue;
		if (!ahci_io_reachable(p, pa, n))
			break;
		took = ahci_io_prd_add(&f, pa, n);
		bytes += took;
		if (took < n)
			break;
	}
	return bytes;
}

/* Move the request's cursor over @bytes of data, naming them in @f if given. */
static void carve_data(struct blk_req *r, u32 bytes, struct prd_fill *f)
{
	struct ahci_track *t = track(r);

	while (bytes) {
		u32 n = MIN(r->segs[t->seg].bytes - t->seg_off, bytes);

		if (f && n)
			ahci_io_prd_add(f, r->segs[t->seg].pa.v + t->seg_off, n);
		bytes -= n;
		t->seg_off += n;
		if (t->seg_off == r->segs[t->seg].bytes) {
			t->seg++;
			t->seg_off = 0;
		}
	}
}

static bool bounce_get(struct ahci_port *p, struct ahci_slot *s)
{
	if (!p->bounce_free)
		return false;
	s->bounce = (u8)__builtin_ctz(p->bounce_free);
	p->bounce_free &= ~BIT(s->bounce);
	return true;
}

/* Read or write: sectors in this command, 0 when it has to wait for a bounce buffer. */
static u32 carve_rw(struct ahci_port *p, struct ahci_slot *s, struct blk_req *r)
{
	struct ahci_track *t = track(r);
	u32 unit = p->blk.sector_bytes;
	u32 rest = r->sectors - t->issued;
	u32 max = MIN(rest, AHCI_DRV_COMMAND_BYTES / unit) * unit;
	u32 bytes = ALIGN_DOWN(prd_run(p, r, t->seg, t->seg_off, max), unit);
	struct prd_fill f = { .prd = s->table->prdt };

	s->seg = t->seg;
	s->seg_off = t->seg_off;
	if (!bytes || (bytes < PAGE_BYTES && bytes < max)) {
		if (!bounce_get(p, s))
			return 0;
		s->bytes = MIN(max, AHCI_DRV_BOUNCE_BYTES);
		if (r->op == BLK_WRITE)
			bounce_copy(p, s, false);
		ahci_io_prd_add(&f, p->bounce_dma[s->bounce], s->bytes);
		carve_data(r, s->bytes, NULL);
		p->d->stats.bounced++;
	} else {
		s->bytes = bytes;
		carve_data(r, bytes, &f);
	}
	s->prds = f.n;
	return s->bytes / unit;
}

/* One buffer of zeroes over and over: its pieces are no neighbours of themselves. */
static u32 carve_zeroes(struct ahci_port *p, struct ahci_slot *s, struct blk_req *r)
{
	u32 unit = p->blk.sector_bytes;
	u32 n = MIN(r->sectors - track(r)->issued, AHCI_DRV_COMMAND_BYTES / unit);
	struct prd_fill f = { .prd = s->table->prdt };

	s->bytes = n * unit;
	for (u32 done = 0; done < s->bytes; done += AHCI_DRV_ZEROES_BYTES)
		ahci_io_prd_add(&f, p->d->zeroes_dma, MIN(s->bytes - done, AHCI_DRV_ZEROES_BYTES));
	s->prds = f.n;
	return n;
}

/* One block of ranges; 0: no buffer for it. */
static u32 carve_trim(struct ahci_port *p, struct ahci_slot *s, struct blk_req *r)
{
	u32 n = MIN(r->sectors - track(r)->issued, TRIM_SECTORS);
	struct prd_fill f = { .prd = s->table->prdt };
	u64 *range;

	if (!bounce_get(p, s))
		return 0;
	range = (u64 *)p->bounce[s->bounce];
	memset(range, 0, ATA_DSM_BLOCK_BYTES);
	for (u32 done = 0, k; done < n; done += k) {
		k = MIN(n - done, ATA_DSM_SECTORS_MAX);
		*range++ = (s->lba + done) | FIELD_PREP(ATA_DSM_SECTORS, (u64)k);
	}
	ahci_io_prd_add(&f, p->bounce_dma[s->bounce], ATA_DSM_BLOCK_BYTES);
	s->prds = f.n;
	return n;
}

static enum blk_op next_op(struct blk_req *r)
{
	return track(r)->flushing ? BLK_FLUSH : r->op;
}

/* The next command of @r into @s. False: no bounce buffer, try later. */
static bool carve(struct ahci_port *p, struct ahci_slot *s, struct blk_req *r)
{
	struct ahci_track *t = track(r);
	u32 n = 0;

	s->req = r;
	s->op = next_op(r);
	s->lba = r->lba + t->issued;
	s->bounce = AHCI_DRV_NO_BOUNCE;
	s->attempts = 0;
	s->plain = false;
	s->bytes = s->prds = 0;
	switch (s->op) {
	case BLK_READ:
	case BLK_WRITE:
		n = carve_rw(p, s, r);
		break;
	case BLK_TRIM:
		n = carve_trim(p, s, r);
		break;
	case BLK_WRITE_ZEROES:
		n = carve_zeroes(p, s, r);
		break;
	case BLK_FLUSH:
		break;
	}
	if (!n && s->op != BLK_FLUSH)
		return false;
	s->sectors = n;
	t->issued += n;
	t->live++;
	if (s->op == BLK_FLUSH || t->issued == r->sectors)
		req_close(r);
	return true;
}

static bool may_join(const struct ahci_port *p, enum port_kind kind)
{
	return !p->sent || p->out_kind == kind;
}

/* What is to be sent again, as far as it may. Return: some of it has to wait for what is out. */
static bool start_again(struct ahci_port *p)
{
	u64 now = p->again ? plat_time_ns() : 0;
	bool blocked = false;

	for (u32 i = 0; i < p->nslots && p->again; i++) {
		struct ahci_slot *s = &p->slots[i];

		if (s->state != SLOT_AGAIN || s->when_ns > now)
			continue;
		if (may_join(p, kind_of(p, s->op, s->plain)))
			slot_send(p, s);
		else
			blocked = true;
	}
	return blocked;
}

/** ahci_io_start() - send what is to be sent again, then what waits, while there are slots */
void ahci_io_start(struct ahci_port *p)
{
	if (p->packet) {
		ahci_packet_start(p);
		return;
	}
	if (p->state != PORT_LIVE || start_again(p))
		return;
	for (u32 i = 0; i < p->nslots && !list_empty(&p->waiting); i++) {
		struct blk_req *r = list_first(&p->waiting, struct blk_req, link);
		struct ahci_slot *s = &p->slots[i];

		if (s->state != SLOT_FREE)
			continue;
		if (!may_join(p, kind_of(p, next_op(r), false)) || !carve(p, s, r))
			break;
		slot_send(p, s);
	}
	if (!p->d->polling)
		ahci_io_ring(p);
}

/* ---------------------------------------------------------------- ends */

static void count_ok(struct ahci_drv_stats *st, const struct ahci_slot *s)
{
	switch (s->op) {
	case BLK_READ:
		st->reads++;
		st->bytes_read += s->bytes;
		break;
	case BLK_WRITE:
		st->writes++;
		st->bytes_written += s->bytes;
		break;
	case BLK_FLUSH:
		st->flushes++;
		break;
	case BLK_TRIM:
		st->trims++;
		break;
	case BLK_WRITE_ZEROES:
		st->zeroes++;
		break;
	}
}

/** ahci_io_done() - the commands of @slots have ended well */
void ahci_io_done(struct ahci_port *p, u32 slots)
{
	p->resets = 0;
	p->d->hba_resets = 0;
	if (p->packet) {
		ahci_packet_done(p);
		return;
	}
	for (u32 i = 0; i < p->nslots; i++)
		if (slots & BIT(i)) {
			count_ok(&p->d->stats, &p->slots[i]);
			slot_end(p, &p->slots[i], 0);
		}
}

static const char *error_text(u8 error)
{
	return error & ATA_ERR_UNC ? "uncorrectable" : error & ATA_ERR_ICRC ? "interface CRC" :
	       error & ATA_ERR_IDNF ? "no such sector" : error & ATA_ERR_ABRT ? "aborted" : "?";
}

/* The disk has said that this command failed. */
static void slot_failed(struct ahci_port *p, struct ahci_slot *s, u8 error)
{
	u32 limit = error & (ATA_ERR_UNC | ATA_ERR_IDNF) ? AHCI_DRV_ATTEMPTS_MEDIUM :
							     AHCI_DRV_ATTEMPTS;

	p->d->stats.errors++;
	/* A hint that was not taken is no error; no more hints. */
	if (s->op == BLK_TRIM) {
		log_limited(LOG_WARN, "ahci: trim refused port=%u error=%02x", p->n, error);
		p->id.trim = false;
		slot_end(p, s, 0);
		return;
	}
	log_limited(LOG_WARN, "ahci: command failed port=%u op=%u lba=%llu sectors=%u error=%02x "
		    "(%s) attempt=%u", p->n, s->op, (unsigned long long)s->lba, s->sectors, error,
		    error_text(error), s->attempts);
	if (++s->attempts >= limit) {
		slot_end(p, s, -EIO);
		return;
	}
	p->d->stats.retries++;
	slot_again(p, s, plat_time_ns() + (RETRY_NS << s->attempts));
}

/**
 * ahci_io_forget() - the controller has forgotten what was out: end it or send it again
 *
 * .culprit is the command that failed, the others are innocent; without one
 * .blame_all says whether the attempt counts.
 */
void ahci_io_forget(struct ahci_port *p)
{
	u64 now = plat_time_ns();

	if (p->packet) {
		ahci_packet_forget(p);
		return;
	}
	for (u32 i = 0; i < p->nslots; i++) {
		struct ahci_slot *s = &p->slots[i];

		if (s->state != SLOT_SENT)
			continue;
		if (i == p->culprit) {
			slot_failed(p, s, p->culprit_error);
			continue;
		}
		if (p->blame_all) {
			s->attempts++;
			s->plain = true;
		}
		if (s->attempts >= AHCI_DRV_ATTEMPTS)
			slot_end(p, s, -EIO);
		else
			slot_again(p, s, now);
	}
	assert(!p->sent && !p->ring);
	p->culprit = AHCI_DRV_NO_SLOT;
	p->blame_all = false;
}

/** ahci_io_fail_all() - nothing will be answered any more */
void ahci_io_fail_all(struct ahci_port *p)
{
	if (p->packet) {
		ahci_packet_fail_all(p);
		return;
	}
	for (u32 i = 0; i < p->nslots; i++)
		if (p->slots[i].state != SLOT_FREE)
			slot_end(p, &p->slots[i], -EIO);
	while (!list_empty(&p->waiting)) {
		struct blk_req *r = list_first(&p->waiting, struct blk_req, link);

		req_close(r);
		req_finish(p, r, -EIO);
	}
}

/* ---------------------------------------------------------------- blk_dev */

static bool req_valid(const struct ahci_port *p, const struct blk_req *r)
{
	u64 bytes = 0;

	if (r->op == BLK_FLUSH)
		return true;
	if (!r->sectors || r->lba >= p->blk.sectors || r->sectors > p->blk.sectors - r->lba)
		return false;
	if (r->op != BLK_READ && r->op != BLK_WRITE)
		return true;
	for (u32 i = 0; i < r->nsegs; i++)
		bytes += r->segs[i].bytes;
	return bytes == (u64)r->sectors * p->blk.sector_bytes;
}

static void io_submit(struct blk_dev *b, struct blk_req *r)
{
	struct ahci_port *p = container_of(b, struct ahci_port, blk);
	bool nothing = (r->op == BLK_FLUSH && !b->write_cache) ||
		       (r->op == BLK_TRIM && !p->id.trim);

	memset(r->scratch, 0, sizeof(r->scratch));
	list_init(&r->link);
	if (!req_valid(p, r)) {
		req_finish(p, r, -EINVAL);
	} else if (p->state == PORT_DEAD) {
		req_finish(p, r, -EIO);
	} else if (nothing) {
		req_finish(p, r, 0);
	} else {
		list_add_tail(&p->waiting, &r->link);
		ahci_io_start(p);
	}
}

static void io_poll(struct blk_dev *b)
{
	ahci_hba_poll(container_of(b, struct ahci_port, blk)->d);
}

static const struct blk_ops io_ops = {
	.submit = io_submit,
	.poll = io_poll,
};

/** ahci_io_announce() - fill in the block device of an identified disk */
void ahci_io_announce(struct ahci_port *p)
{
	struct blk_dev *b = &p->blk;

	b->ops = &io_ops;
	b->sector_bytes = p->id.sector_bytes;
	b->sectors = p->id.sectors;
	b->max_sectors = AHCI_DRV_REQUEST_BYTES / b->sector_bytes;
	b->max_segs = AHCI_DRV_REQUEST_BYTES / 512;
	b->write_cache = p->id.write_cache;
	memcpy(b->serial, p->id.serial, sizeof(b->serial));
	memcpy(b->model, p->id.model, sizeof(b->model));
}
