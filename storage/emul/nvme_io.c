/*
 * nvme_io.c - I/O commands of the NVMe front-end [NVMe 1.4 §6]
 *
 * A command becomes one block request on the guest's own memory; Dataset
 * Management becomes one after the other. What the block device answers comes
 * back as the status that a disk would give.
 */
#include <string.h>

#include "base/err.h"
#include "base/plat.h"
#include "storage/emul/nvme_priv.h"

static bool io_range_ok(const struct nvme_emul *e, u64 lba, u64 blocks)
{
	return lba <= e->blk->sectors && blocks <= e->blk->sectors - lba;
}

/* All status codes that retrying does not mend say so. */
static u16 io_status(const struct blk_req *r, int err)
{
	switch (err) {
	case 0:
		return NVME_SC_OK;
	case -EINVAL:
		return NVME_SC_LBA_RANGE | NVME_DNR;
	case -ENOSPC:
		return NVME_SC_CAPACITY | NVME_DNR;
	case -ECANCELED:
		return NVME_SC_ABORT_REQUESTED;
	default:
		return NVME_DNR | (r->op == BLK_READ ? NVME_SC_READ_ERROR : NVME_SC_WRITE_FAULT);
	}
}

static void io_count(struct nvme_emul *e, const struct emul_cmd *c)
{
	switch (c->req.op) {
	case BLK_READ:
		e->stats.reads++;
		e->stats.sectors_read += c->req.sectors;
		break;
	case BLK_WRITE:
		e->stats.writes++;
		e->stats.sectors_written += c->req.sectors;
		break;
	case BLK_FLUSH:
		e->stats.flushes++;
		break;
	case BLK_TRIM:
		e->stats.trims++;
		break;
	case BLK_WRITE_ZEROES:
		e->stats.zeroes++;
		break;
	}
}

static void io_submit(struct nvme_emul *e, struct emul_cmd *c);

/* The next non-empty range; false when there is none left. */
static bool io_next_range(struct nvme_emul *e, struct emul_cmd *c)
{
	for (; c->range < c->ranges; c->range++) {
		const struct nvme_dsm_range *d = &c->dsm[c->range];

		if (!d->blocks)
			continue;
		c->req.op = BLK_TRIM;
		c->req.lba = d->slba;
		c->req.sectors = d->blocks;
		c->range++;
		io_submit(e, c);
		return true;
	}
	return false;
}

static void io_done(struct blk_req *r, int err)
{
	struct emul_cmd *c = r->owner;
	struct nvme_emul *e = c->e;

	c->in_blk = false;
	e->in_blk--;
	e->unposted = true;
	if (!err)
		io_count(e, c);
	if (!err && !c->orphan && io_next_range(e, c))
		return;
	nvme_emul_ended(e, c, io_status(r, err));
}

static void io_submit(struct nvme_emul *e, struct emul_cmd *c)
{
	c->req.done = io_done;
	c->req.owner = c;
	c->in_blk = true;
	e->in_blk++;
	e->stats.inflight_max = MAX(e->stats.inflight_max, e->in_blk);
	blk_submit(e->blk, &c->req);
}

static u16 io_rw(struct nvme_emul *e, struct emul_cmd *c, enum blk_op op)
{
	struct blk_req *r = &c->req;
	u32 blocks = (u32)FIELD_GET(NVME_RW_NLB, c->sqe.cdw12) + 1;
	u64 lba = c->sqe.cdw10 | (u64)c->sqe.cdw11 << 32;
	u64 bytes = (u64)blocks * e->blk->sector_bytes;
	u16 status;

	if (op != BLK_WRITE_ZEROES && bytes > (u64)PAGE_BYTES << e->mdts)
		return NVME_SC_INVALID_FIELD | NVME_DNR;
	if (!io_range_ok(e, lba, blocks))
		return NVME_SC_LBA_RANGE | NVME_DNR;
	r->op = op;
	r->lba = lba;
	r->sectors = blocks;
	r->segs = c->segs;
	r->fua = op != BLK_READ &&
		 (c->sqe.cdw12 & NVME_RW_FUA || !(e->feat[NVME_FEAT_VWC] & 1));
	if (op != BLK_WRITE_ZEROES) {
		status = nvme_emul_map_prp(e, &c->sqe, (u32)bytes, c->segs, &r->nsegs);
		if (status)
			return status | NVME_DNR;
	}
	io_submit(e, c);
	return NVME_LATER;
}

static u16 io_flush(struct nvme_emul *e, struct emul_cmd *c)
{
	if (!e->blk->write_cache) {
		e->stats.flushes++;
		return NVME_SC_OK;
	}
	c->req.op = BLK_FLUSH;
	io_submit(e, c);
	return NVME_LATER;
}

static u16 io_dsm(struct nvme_emul *e, struct emul_cmd *c)
{
	const struct nvme_dsm_range *d = (const struct nvme_dsm_range *)e->page;
	u32 n = (u32)FIELD_GET(NVME_DSM_NR, c->sqe.cdw10) + 1, i;
	u16 status = nvme_emul_from_guest(e, c, e->page, n * (u32)sizeof(*d));

	if (status)
		return status | NVME_DNR;
	for (i = 0; i < n; i++) {
		if (!io_range_ok(e, d[i].slba, d[i].blocks))
			return NVME_SC_LBA_RANGE | NVME_DNR;
	}
	if (!(c->sqe.cdw11 & NVME_DSM_AD))
		return NVME_SC_OK; /* hints that we have no use for */
	memcpy(c->dsm, d, n * sizeof(*d));
	c->ranges = n;
	return io_next_range(e, c) ? NVME_LATER : NVME_SC_OK;
}

/**
 * nvme_emul_io() - start a command from an I/O queue
 *
 * Context: owner. Return: status, or NVME_LATER.
 */
u16 nvme_emul_io(struct nvme_emul *e, struct emul_cmd *c)
{
	const struct nvme_sqe *s = &c->sqe;
	bool all = s->opcode == NVME_IO_FLUSH && s->nsid == NVME_NSID_ALL;

	switch (s->opcode) {
	case NVME_IO_FLUSH:
	case NVME_IO_WRITE:
	case NVME_IO_READ:
	case NVME_IO_WRITE_ZEROES:
	case NVME_IO_DSM:
		break;
	default:
		return NVME_SC_INVALID_OPCODE | NVME_DNR;
	}
	if (s->nsid != 1 && !all)
		return NVME_SC_INVALID_NS | NVME_DNR;
	switch (s->opcode) {
	case NVME_IO_WRITE:
		return io_rw(e, c, BLK_WRITE);
	case NVME_IO_READ:
		return io_rw(e, c, BLK_READ);
	case NVME_IO_WRITE_ZEROES:
		return io_rw(e, c, BLK_WRITE_ZEROES);
	case NVME_IO_DSM:
		return io_dsm(e, c);
	default:
		return io_flush(e, c);
	}
}
