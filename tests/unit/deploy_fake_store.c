/* Stand-ins for store.h and disk.h: they keep meta and manifest, and no chunk. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/plat.h"
#include "storage/format/manifest.h"
#include "tests/unit/deploy_fake.h"

#define SUPER_BYTES 16384u
#define SUPER_MAGIC 0x46414b45u

struct super {
	u32 magic, chunk_bytes, manifest_bytes;
	struct store_meta meta;
	u8 manifest[4096];
};

static_assert(sizeof(struct super) <= SUPER_BYTES, "super");

struct store {
	struct blk_dev *blk;
	u64 lba, sectors;
	struct super *super; /* SUPER_BYTES */
	void (*open_done)(struct store *s, int err, void *arg);
	void *open_arg;
	struct blk_req req;
	struct blk_seg seg;
};

struct disk {
	struct blk_dev dev;
	struct store *store;
	struct disk_cfg cfg;
	bool told, io_busy, io_done;
	int io_err;
	void (*note_done)(struct disk *d, int err, void *arg);
	void *note_arg;
	bool noting, flushing;
};

struct fake_store_world fake_store;

u64 store_min_bytes(u32 chunk_bytes)
{
	(void)chunk_bytes;
	return 16 * MIB;
}

static void super_req(struct store *s, enum blk_op op, void (*done)(struct blk_req *, int),
		      void *owner)
{
	s->seg = (struct blk_seg){ plat_virt_to_phys(s->super), SUPER_BYTES };
	s->req = (struct blk_req){ .op = op, .lba = s->lba, .done = done, .owner = owner };
	if (op != BLK_FLUSH) {
		s->req.sectors = SUPER_BYTES / s->blk->sector_bytes;
		s->req.segs = &s->seg;
		s->req.nsegs = 1;
	}
	blk_submit(s->blk, &s->req);
}

static void format_done(struct blk_req *r, int err)
{
	struct store_format *f = r->owner;

	if (!err && !f->step++) {
		f->req = (struct blk_req){ .op = BLK_FLUSH, .done = format_done, .owner = f };
		blk_submit(f->blk, &f->req);
		return;
	}
	f->done(f, err);
}

int store_format(struct store_format *f)
{
	static u8 buf[SUPER_BYTES] __aligned(16); /* one at a time */
	struct super *s = memset(buf, 0, sizeof(buf));

	fake_store.format_calls++;
	if (f->sectors * f->blk->sector_bytes < store_min_bytes(f->chunk_bytes))
		return -ENOSPC;
	s->magic = SUPER_MAGIC;
	s->chunk_bytes = f->chunk_bytes;
	f->buf = s;
	f->step = 0;
	f->seg = (struct blk_seg){ plat_virt_to_phys(s), SUPER_BYTES };
	f->req = (struct blk_req){ .op = BLK_WRITE, .lba = f->lba,
				   .sectors = SUPER_BYTES / f->blk->sector_bytes,
				   .segs = &f->seg, .nsegs = 1, .done = format_done, .owner = f };
	blk_submit(f->blk, &f->req);
	return 0;
}

int store_create(struct store **out, struct blk_dev *blk, u64 lba, u64 sectors)
{
	struct store *s = calloc(1, sizeof(*s));

	s->blk = blk;
	s->lba = lba;
	s->sectors = sectors;
	s->super = calloc(1, SUPER_BYTES);
	*out = s;
	return 0;
}

void store_destroy(struct store *s)
{
	free(s->super);
	free(s);
}

static void open_done(struct blk_req *r, int err)
{
	struct store *s = r->owner;

	if (!err && fake_store.open_err)
		err = fake_store.open_err;
	if (!err && s->super->magic != SUPER_MAGIC)
		err = -ENODATA;
	s->open_done(s, err, s->open_arg);
}

void store_open(struct store *s, void (*done)(struct store *s, int err, void *arg), void *arg)
{
	s->open_done = done;
	s->open_arg = arg;
	super_req(s, BLK_READ, open_done, s);
}

const struct store_meta *store_meta(const struct store *s)
{
	return &s->super->meta;
}

const void *store_manifest(const struct store *s, u32 *bytes)
{
	*bytes = s->super->manifest_bytes;
	return s->super->meta.bound ? s->super->manifest : NULL;
}

u32 store_chunk_bytes(const struct store *s)
{
	return s->super->chunk_bytes;
}

static void disk_io_done(struct blk_req *r, int err)
{
	struct disk *d = r->owner;

	if (!err && !d->flushing) {
		d->flushing = true;
		super_req(d->store, BLK_FLUSH, disk_io_done, d);
		return;
	}
	d->io_busy = false;
	d->io_done = true;
	d->io_err = err;
}

static void write_super(struct disk *d)
{
	d->io_busy = true;
	d->io_done = d->flushing = false;
	super_req(d->store, BLK_WRITE, disk_io_done, d);
}

static void take_state(struct store_meta *m, enum store_policy policy,
		       enum store_frontend frontend, enum store_nic nic, u64 serial, const u8 *esp,
		       const u8 *next)
{
	if (nic)
		m->nic = nic;
	if (frontend)
		m->frontend = frontend;
	if (policy)
		m->policy = policy;
	if (serial > m->serial)
		m->serial = serial;
	if (esp)
		memcpy(m->esp, esp, 32);
	if (next)
		memcpy(m->next, next, 32);
}

int disk_create(struct disk **out, const struct disk_cfg *cfg)
{
	struct disk *d = calloc(1, sizeof(*d));
	struct super *s = cfg->store->super;
	struct manifest m;

	fake_store.create_calls++;
	fake_store.last_cfg = *cfg;
	d->store = cfg->store;
	d->cfg = *cfg;
	if (cfg->manifest) {
		if (manifest_parse(cfg->manifest, cfg->manifest_bytes, &m) ||
		    m.chunk_bytes != s->chunk_bytes || cfg->manifest_bytes > sizeof(s->manifest)) {
			free(d);
			return -EINVAL;
		}
		s->meta.bound = true;
		s->meta.complete = false;
		s->meta.chunk_bytes = m.chunk_bytes;
		s->meta.image_bytes = m.image_bytes;
		manifest_digest(s->meta.version, cfg->manifest, cfg->manifest_bytes);
		memcpy(s->manifest, cfg->manifest, cfg->manifest_bytes);
		s->manifest_bytes = cfg->manifest_bytes;
		memset(s->meta.image, 0, sizeof(s->meta.image));
		strcpy(s->meta.image, m.name);
	}
	take_state(&s->meta, cfg->policy, cfg->frontend, cfg->nic, cfg->serial, cfg->esp,
		   NULL);
	d->dev.sector_bytes = 512;
	d->dev.sectors = s->meta.image_bytes / 512;
	write_super(d);
	*out = d;
	return 0;
}

void disk_destroy(struct disk *d)
{
	store_destroy(d->store);
	free(d);
}

struct blk_dev *disk_blk(struct disk *d)
{
	return &d->dev;
}

u64 disk_poll(struct disk *d)
{
	if (!d->io_done)
		return ~0ull;
	d->io_done = false;
	if (!d->told) {
		d->told = true;
		d->cfg.ready(d, d->io_err ? d->io_err : fake_store.ready_err, d->cfg.arg);
	} else if (d->noting) {
		d->noting = false;
		d->note_done(d, d->io_err, d->note_arg);
	}
	return 0;
}

void disk_set_source(struct disk *d, struct source *src)
{
	(void)d;
	(void)src;
}

void disk_set_offline(struct disk *d, bool offline)
{
	(void)d;
	fake_store.offline = offline;
	fake_store.offline_calls++;
}

void disk_set_fill(struct disk *d, const struct disk_fill *fill)
{
	(void)d;
	fake_store.fill = *fill;
}

int disk_set_state(struct disk *d, const struct disk_state *st,
		   void (*done)(struct disk *d, int err, void *arg), void *arg)
{
	if (d->io_busy || d->io_done)
		return -EBUSY;
	take_state(&d->store->super->meta, st->policy, st->frontend, st->nic, st->serial,
		   st->esp, st->next);
	d->noting = true;
	d->note_done = done;
	d->note_arg = arg;
	write_super(d);
	return 0;
}

void disk_stats(struct disk *d, struct disk_stats *out)
{
	memset(out, 0, sizeof(*out));
	out->complete = d->store->super->meta.complete;
	out->fill_permille = out->complete ? 1000 : 123;
}

u32 disk_waiting(const struct disk *d)
{
	(void)d;
	return fake_store.waiting;
}

/* The guest never asks for anything here. */
u64 disk_last_guest_ns(const struct disk *d)
{
	(void)d;
	return 0;
}

void fake_store_plant(struct fake_disk *f, u64 lba, const struct store_meta *meta,
		      const void *manifest, u32 bytes)
{
	struct super *s = (struct super *)(f->mem + lba * f->dev.sector_bytes);

	s->magic = SUPER_MAGIC;
	s->chunk_bytes = meta->chunk_bytes;
	s->meta = *meta;
	memcpy(s->manifest, manifest, bytes);
	s->manifest_bytes = bytes;
}

void fake_store_read(struct fake_disk *f, u64 lba, struct store_meta *meta)
{
	struct super *s = (struct super *)(f->mem + lba * f->dev.sector_bytes);

	assert(s->magic == SUPER_MAGIC);
	*meta = s->meta;
}

void store_second(const struct store *s, struct store_second *out)
{
	(void)s;
	memset(out, 0, sizeof(*out));
}

int disk_stage(struct disk *d, const void *root, u32 bytes)
{
	(void)d;
	(void)root;
	(void)bytes;
	return 0;
}

void disk_stage_drop(struct disk *d)
{
	(void)d;
}

void disk_profile_state(const struct disk *d, struct disk_profile *out)
{
	(void)d;
	*out = fake_store.profile;
}

void disk_profile_stop(struct disk *d)
{
	(void)d;
	fake_store.stops++;
}

u32 disk_profile_build(const struct disk *d, void *out, u32 room)
{
	(void)d;
	if (!fake_store.profile.runs || room < 5)
		return 0;
	memcpy(out, "reads", 5);
	return 5;
}

int disk_profile_play(struct disk *d, const void *bytes, u32 n)
{
	(void)d;
	(void)bytes;
	fake_store.plays++;
	fake_store.played_bytes = n;
	return 0;
}

void disk_scrub(struct disk *d, u32 kib_s)
{
	(void)d;
	fake_store.scrubs += kib_s != 0;
}
