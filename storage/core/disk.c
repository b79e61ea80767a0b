/*
 * The virtual disk: its life, its settings, its figures
 *
 *	OPENING/BINDING -> SEALING -> READY     FAILED from any of the first
 *
 * disk_poll() is the only engine: submissions queue, completions of devices and
 * of the source note what they changed and set "again", and polling goes round
 * until a round changes nothing.
 */
#include "storage/core/disk.h"

#include <string.h>

#include "base/bitmap.h"
#include "base/err.h"
#include "base/fmt.h"
#include "base/log.h"
#include "base/plat.h"
#include "storage/core/disk_priv.h"

#define POOL_BYTES (8u << 20)
#define CRC_BYTES (2u << 20)
#define FILL_IDLE_MS 15000u
#define RESERVE_BYTES (512ull << 20)
#define ROUNDS 16
#define SOON_PARTS 4 /* owed so many answers, the next is near; fewer may all be slow ones */
#define ASKED_BITS (8ull << 20) /* a block each up to 32 GiB, then several share one */

static void disk_submit(struct blk_dev *b, struct blk_req *r)
{
	struct disk *d = container_of(b, struct disk, blk);

	list_add_tail(&d->incoming, &r->link);
	d->again = true;
}

static void disk_blk_poll(struct blk_dev *b)
{
	disk_poll(container_of(b, struct disk, blk));
}

static bool disk_soon(const struct blk_dev *b)
{
	return container_of(b, struct disk, blk)->owed >= SOON_PARTS;
}

static const struct blk_ops disk_ops = {
	.submit = disk_submit,
	.poll = disk_blk_poll,
	.soon = disk_soon,
};

static void set_fill(struct disk *d, const struct disk_fill *fill)
{
	d->fill = *fill;
	if (!d->fill.idle_ms)
		d->fill.idle_ms = FILL_IDLE_MS;
	d->fill_tokens = 0;
	d->fill_time = plat_time_ns();
}

/* ---------------------------------------------------------------- create, destroy */

static void release(struct disk *d)
{
	bind_fini(d);
	stage_fini(d);
	imagemap_fini(&d->im);
	sched_fini(d);
	guestio_fini(d);
	profile_fini(d);
	plat_free(d->asked);
	plat_free(d);
}

int disk_create(struct disk **out, const struct disk_cfg *cfg)
{
	struct disk *d;
	int err;

	if (!cfg->store || !cfg->store->open)
		return err_trace(-EINVAL);
	d = plat_alloc(sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->bytes = sizeof(*d);
	d->s = cfg->store;
	d->s->owner = d;
	d->s->drop_done = stage_dropped;
	d->src = cfg->source;
	d->offline = cfg->offline;
	d->ready = cfg->ready;
	d->arg = cfg->arg;
	d->again = true;
	set_fill(d, &cfg->fill);
	err = guestio_init(d);
	if (!err)
		err = sched_init(d, cfg->pool_bytes ? cfg->pool_bytes : POOL_BYTES);
	if (!err && !d->s->crc.ents)
		err = store_crc_init(d->s, cfg->crc_cache_bytes ? cfg->crc_cache_bytes : CRC_BYTES);
	if (!err)
		err = bind_start(d, cfg);
	if (err) {
		release(d);
		return err;
	}
	d->reserve = (u32)MIN((u64)d->s->sb.slots / 8, RESERVE_BYTES / d->s->sb.chunk_bytes);
	*out = d;
	return 0;
}

void disk_destroy(struct disk *d)
{
	if (!d)
		return;
	store_destroy(d->s);
	release(d);
}

struct blk_dev *disk_blk(struct disk *d)
{
	return &d->blk;
}

static int become_ready(struct disk *d)
{
	const struct manifest *mf = &d->im.mf;
	u64 bytes;

	while (d->m->blocks >> d->asked_shift > ASKED_BITS)
		d->asked_shift++;
	bytes = BITMAP_WORDS((d->m->blocks >> d->asked_shift) + 1) * 8;
	d->asked = plat_alloc(bytes);
	if (!d->asked)
		return -ENOMEM;
	d->bytes += bytes;
	if (profile_note_init(d))
		return -ENOMEM;
	d->blk.ops = &disk_ops;
	d->blk.sector_bytes = mf->sector_bytes;
	d->blk.sectors = mf->image_bytes / mf->sector_bytes;
	d->blk.max_sectors = (u32)(4 * MIB / mf->sector_bytes);
	d->blk.max_segs = 2048;
	d->blk.write_cache = d->s->keep_overlay;
	memcpy(d->blk.model, "Freshet disk", 13);
	fmt_hex(d->blk.serial, d->s->meta.version, 8);
	d->fill_time = d->miss_time = plat_time_ns();
	log_info("disk: ready image=%s present=%u of=%u policy=%s", mf->name,
		 d->m->present_chunks, d->m->chunks, d->s->keep_overlay ? "push" : "boot");
	return 0;
}

/* ---------------------------------------------------------------- polling */

static void tell(struct disk *d)
{
	int err = d->open_err;

	if (d->phase == DISK_READY)
		err = become_ready(d);
	if (err)
		d->phase = DISK_FAILED;
	d->told = true;
	d->ready(d, err, d->arg);
}

static void quiesced(struct store_sync *w, int err)
{
	struct disk *d = container_of(w, struct disk, quiesce_sync);

	d->quiescing = d->quiesce_syncing = false;
	d->again = true;
	d->quiesce_done(d, err, d->quiesce_arg);
}

static void quiesce_poll(struct disk *d)
{
	if (!d->quiescing || d->quiesce_syncing || sched_busy(d) || reclaim_busy(d))
		return;
	d->quiesce_syncing = true;
	d->quiesce_sync.done = quiesced;
	store_sync(d->s, &d->quiesce_sync);
}

static bool more_commits(const struct disk *d)
{
	u32 left = 0;
	bool more = false;

	for (u32 i = 0; d->nactive && i < d->npool; i++) {
		left += d->pool[i].state == CBUF_FREE || d->pool[i].state == CBUF_READY;
		more |= d->pool[i].state == CBUF_WRITE;
	}
	return more && left > d->npool / 4;
}

static u64 poll_round(struct disk *d)
{
	u64 next, scrub;

	d->again = false;
	bind_poll(d);
	if (d->phase != DISK_READY || !d->told)
		return ~0ull;
	d->map_full = !chunkmap_spare(d->m);
	sched_poll(d);
	guestio_poll(d);
	reclaim_poll(d);
	quiesce_poll(d);
	profile_poll(d);
	next = sched_fill(d);
	next = MIN(next, stage_poll(d));
	scrub = scrub_poll(d);
	next = MIN(next, scrub);
	d->s->more = more_commits(d);
	store_kick(d->s);
	return next;
}

u64 disk_poll(struct disk *d)
{
	u64 next;
	u32 n = 0;

	if (d->in_poll) {
		d->again = true;
		return ~0ull;
	}
	d->in_poll = true;
	do {
		next = poll_round(d);
	} while (d->again && ++n < ROUNDS);
	d->in_poll = false;
	if (!d->told && (d->phase == DISK_READY || d->phase == DISK_FAILED)) {
		tell(d); /* may destroy us */
		return 0;
	}
	return d->again ? 0 : next;
}

/* ---------------------------------------------------------------- settings */

void disk_set_source(struct disk *d, struct source *src)
{
	if (d->src && d->src != src)
		sched_cancel(d, true);
	d->src = src;
	d->again = true;
}

void disk_set_offline(struct disk *d, bool offline)
{
	if (d->offline != offline)
		log_info("disk: offline=%u", offline);
	d->offline = offline;
	d->again = true;
}

void disk_set_fill(struct disk *d, const struct disk_fill *fill)
{
	set_fill(d, fill);
	d->again = true;
}

static void state_synced(struct store_sync *w, int err)
{
	struct disk *d = container_of(w, struct disk, state_sync);

	d->state_busy = false;
	if (d->state_done)
		d->state_done(d, err ? -EIO : 0, d->state_arg);
}

int disk_set_state(struct disk *d, const struct disk_state *st,
		   void (*done)(struct disk *d, int err, void *arg), void *arg)
{
	struct store_meta *m = &d->s->meta;

	if (d->phase != DISK_READY || !d->told)
		return -EINVAL;
	if (d->state_busy)
		return -EBUSY;
	if (st->policy)
		m->policy = st->policy;
	if (st->frontend)
		m->frontend = st->frontend;
	if (st->nic)
		m->nic = st->nic;
	m->up |= st->up;
	m->serial = MAX(m->serial, st->serial);
	if (st->esp)
		memcpy(m->esp, st->esp, 32);
	if (st->next)
		memcpy(m->next, st->next, 32);
	m->time = MAX(m->time, st->time);
	if (st->credential)
		memcpy(m->credential, st->credential, 32);
	d->s->meta_dirty = true;
	d->state_busy = true;
	d->state_done = done;
	d->state_arg = arg;
	d->state_sync.done = state_synced;
	/* Queued only; disk_poll() starts it, so done() is never called from in here. */
	list_add_tail(&d->s->syncs, &d->state_sync.link);
	d->again = true;
	return 0;
}

void disk_quiesce(struct disk *d, void (*done)(struct disk *d, int err, void *arg), void *arg)
{
	d->quiescing = true;
	d->quiesce_done = done;
	d->quiesce_arg = arg;
	d->again = true;
	sched_cancel(d, false);
}

/* ---------------------------------------------------------------- figures */

bool disk_filling(const struct disk *d)
{
	return d->told && d->m && d->fill.on && d->src && !d->s->meta.complete &&
	       !d->st.store_full && !d->s->failed;
}

u32 disk_waiting(const struct disk *d)
{
	return d->st.waiting;
}

u64 disk_last_guest_ns(const struct disk *d)
{
	return d->guest_time;
}

static u64 longest_wait(const struct disk *d)
{
	u64 now = plat_time_ns(), most = d->st.longest_wait_ns;

	for (u32 i = 0; i < GOPS; i++)
		if (d->gops[i].r && d->gops[i].waited)
			most = MAX(most, now - d->gops[i].start_ns);
	return most;
}

void disk_stats(struct disk *d, struct disk_stats *out)
{
	const struct store *s = d->s;

	*out = d->st;
	out->memory_bytes = d->bytes + d->im.bytes + s->bytes + s->crc.bytes + s->root_bytes +
			    BITMAP_WORDS(s->sb.slots) * 8;
	if (!d->told || !d->m)
		return;
	out->memory_bytes += d->m->bytes;
	out->chunks_total = d->m->chunks;
	out->chunks_present = d->m->present_chunks;
	out->fill_permille = (u32)((u64)d->m->present_chunks * 1000 / d->m->chunks);
	out->complete = s->meta.complete;
	out->filling = disk_filling(d);
	out->journal_appends = s->appends;
	out->checkpoints = s->checkpoints;
	out->device_flushes = s->flushes;
	out->longest_wait_ns = longest_wait(d);
	out->last_guest_ns = disk_last_guest_ns(d);
}
