/*
 * deploy_slots.c - one thing at a time: a disk request, a document, a chunk
 *
 * A step that needs one calls the same function again whenever it runs: the
 * first call starts it, those until it has ended say so, and the one after
 * that brings the result.
 */
#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/plat.h"
#include "storage/core/deploy_priv.h"

static void io_done(struct blk_req *r, int err)
{
	struct deploy *d = r->owner;
	struct deploy_io *io = &d->io;
	u32 ss = d->cfg.blk->sector_bytes;

	if (err || !io->left) {
		io->err = err;
		io->busy = false;
		return;
	}
	io->buf += (size_t)r->sectors * ss;
	r->lba += r->sectors;
	r->sectors = MIN(io->left, d->cfg.blk->max_sectors);
	io->left -= r->sectors;
	io->seg = (struct blk_seg){ plat_virt_to_phys(io->buf), r->sectors * ss };
	blk_submit(d->cfg.blk, r);
}

/**
 * deploy_io_run() - one read, write or flush of the real disk
 * @sectors: any number; 0 for a flush
 *
 * Call with the same arguments until it does not return -EINPROGRESS.
 * Return: -EINPROGRESS, 0, or the device's error.
 */
int deploy_io_run(struct deploy *d, enum blk_op op, u64 lba, u32 sectors, void *buf)
{
	struct deploy_io *io = &d->io;
	struct blk_dev *blk = d->cfg.blk;

	if (!io->started) {
		u32 first = MIN(sectors, blk->max_sectors);

		io->started = io->busy = true;
		io->buf = buf;
		io->left = sectors - first;
		io->seg = (struct blk_seg){ buf ? plat_virt_to_phys(buf) : HPA(0),
					    first * blk->sector_bytes };
		io->req = (struct blk_req){ .op = op, .lba = lba, .sectors = first,
					    .segs = &io->seg, .nsegs = first ? 1 : 0,
					    .done = io_done, .owner = d };
		blk_submit(blk, &io->req);
	}
	if (io->busy)
		return -EINPROGRESS;
	io->started = false;
	return io->err;
}

static void doc_done(struct source_doc *doc, int err)
{
	struct deploy *d = doc->owner;

	d->doc.err = err;
	d->doc.busy = false;
}

/**
 * deploy_doc_run() - one attempt at a document
 *
 * Waits first for an answer that nobody wants any more.
 * Return: -EINPROGRESS, or as source_doc.done(); length in d->doc.doc.bytes.
 */
int deploy_doc_run(struct deploy *d, const char *path, void *buf, u32 room)
{
	struct deploy_doc *doc = &d->doc;
	struct source *s = d->cfg.source;

	if (doc->busy && doc->orphan)
		return -EINPROGRESS;
	if (!doc->started) {
		doc->started = doc->busy = true;
		doc->orphan = false;
		memset(&doc->doc, 0, sizeof(doc->doc));
		fmt_snprintf(doc->doc.path, sizeof(doc->doc.path), "%s", path);
		doc->doc.buf = buf;
		doc->doc.room = room;
		doc->doc.done = doc_done;
		doc->doc.owner = d;
		s->ops->get(s, &doc->doc);
	}
	if (doc->busy)
		return -EINPROGRESS;
	doc->started = false;
	if (!doc->err && doc->doc.bytes > room)
		return err_trace(-EMSGSIZE);
	return doc->err;
}

static void fetch_done(struct source_req *r, int err)
{
	struct deploy *d = r->owner;

	d->fetch.err = err;
	d->fetch.busy = false;
}

/** deploy_fetch_run() - one chunk; the source keeps trying until it has it */
int deploy_fetch_run(struct deploy *d, const u8 *digest, u32 plain_bytes, void *buf)
{
	struct deploy_fetch *f = &d->fetch;
	struct source *s = d->cfg.source;

	if (!f->started) {
		f->started = f->busy = true;
		memset(&f->req, 0, sizeof(f->req));
		memcpy(f->req.digest, digest, SHA256_BYTES);
		f->req.plain_bytes = plain_bytes;
		f->req.buf = buf;
		f->req.prio = d->step == STEP_READY ? SOURCE_FILL : SOURCE_DEMAND;
		f->req.done = fetch_done;
		f->req.owner = d;
		s->ops->fetch(s, &f->req);
	}
	if (f->busy)
		return -EINPROGRESS;
	f->started = false;
	return f->err;
}
