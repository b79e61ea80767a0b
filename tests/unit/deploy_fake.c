#include "tests/unit/deploy_fake.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/plat.h"
#include "storage/format/manifest.h"

/* ------------------------------------------------------------------- disk */

struct dirty {
	struct list link;
	u64 lba;
	u8 before[4096];
};

static void fake_submit(struct blk_dev *dev, struct blk_req *r)
{
	struct fake_disk *f = container_of(dev, struct fake_disk, dev);

	assert(r->op == BLK_FLUSH || (r->sectors && r->sectors <= dev->max_sectors));
	list_add_tail(&f->queue, &r->link);
}

static void make_durable(struct fake_disk *f)
{
	struct dirty *d, *tmp;

	list_for_each_safe(d, tmp, &f->dirty, link) {
		list_del(&d->link);
		free(d);
	}
}

static void remember(struct fake_disk *f, u64 lba)
{
	struct dirty *d = malloc(sizeof(*d));

	d->lba = lba;
	memcpy(d->before, f->mem + lba * f->dev.sector_bytes, f->dev.sector_bytes);
	list_add_tail(&f->dirty, &d->link);
}

static int transfer(struct fake_disk *f, struct blk_req *r)
{
	u32 ss = f->dev.sector_bytes;
	u64 at = r->lba * ss, bytes = (u64)r->sectors * ss, sum = 0;

	if (r->lba + r->sectors > f->dev.sectors)
		return -EINVAL;
	if (r->op == BLK_READ ? f->fail_reads : f->fail_writes)
		return -EIO;
	if (r->op == BLK_WRITE) {
		f->writes++;
		for (u32 i = 0; i < r->sectors; i++)
			remember(f, r->lba + i);
	} else {
		f->reads++;
	}
	for (u32 i = 0; i < r->nsegs; i++) {
		void *p = plat_phys_to_virt(r->segs[i].pa);

		if (r->op == BLK_READ)
			memcpy(p, f->mem + at + sum, r->segs[i].bytes);
		else
			memcpy(f->mem + at + sum, p, r->segs[i].bytes);
		sum += r->segs[i].bytes;
	}
	assert(sum == bytes);
	return 0;
}

static void fake_poll(struct blk_dev *dev)
{
	struct fake_disk *f = container_of(dev, struct fake_disk, dev);
	struct blk_req *r = list_first(&f->queue, struct blk_req, link);
	int err = 0;

	if (!r || f->cut)
		return;
	list_del(&r->link);
	if (r->op == BLK_FLUSH) {
		f->flushes++;
		make_durable(f);
	} else {
		err = transfer(f, r);
	}
	/* The write is in the cache, the power goes, nobody hears of it. */
	if (f->cut_after_writes && f->writes >= f->cut_after_writes) {
		f->cut = true;
		return;
	}
	r->done(r, err);
}

static const struct blk_ops fake_ops = { .submit = fake_submit, .poll = fake_poll };

void fake_disk_init(struct fake_disk *f, u64 bytes, u32 sector_bytes, const char *serial)
{
	memset(f, 0, sizeof(*f));
	f->mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert(f->mem != MAP_FAILED);
	f->bytes = bytes;
	f->dev.ops = &fake_ops;
	f->dev.sector_bytes = sector_bytes;
	f->dev.sectors = bytes / sector_bytes;
	f->dev.max_sectors = 128 * 1024 / sector_bytes;
	f->dev.max_segs = 4;
	f->dev.write_cache = true;
	strncpy(f->dev.serial, serial, sizeof(f->dev.serial) - 1);
	list_init(&f->queue);
	list_init(&f->dirty);
}

void fake_disk_fini(struct fake_disk *f)
{
	make_durable(f);
	munmap(f->mem, f->bytes);
}

void fake_disk_power_cycle(struct fake_disk *f, u32 seed)
{
	seed = seed * 2654435761u ^ 0x9e3779b9u;
	/* Backwards, so that of two writes to a sector the later can be lost alone. */
	while (!list_empty(&f->dirty)) {
		struct dirty *d = list_entry(f->dirty.prev, struct dirty, link);

		seed = seed * 1664525 + 1013904223;
		if (seed >> 31)
			memcpy(f->mem + d->lba * f->dev.sector_bytes, d->before,
			       f->dev.sector_bytes);
		list_del(&d->link);
		free(d);
	}
	list_init(&f->queue);
	f->cut = false;
	f->cut_after_writes = 0;
}

/* ----------------------------------------------------------------- source */

static struct fake_source *self(struct source *s)
{
	return container_of(s, struct fake_source, src);
}

static void src_fetch(struct source *s, struct source_req *r)
{
	self(s)->fetches++;
	list_add_tail(&self(s)->chunks, &r->link);
}

static void src_get(struct source *s, struct source_doc *d)
{
	self(s)->gets++;
	strcpy(self(s)->last_path, d->path);
	list_add_tail(&self(s)->docs, &d->link);
}

static void src_post(struct source *s, const char *path, const void *body, u32 bytes)
{
	struct fake_source *f = self(s);

	assert(!strcmp(path, "/v1/report") && bytes < sizeof(f->last_post));
	f->posts++;
	memcpy(f->last_post, body, bytes);
	f->last_post[bytes] = 0;
}

static void src_status(struct source *s, struct source_status *out)
{
	struct fake_source *f = self(s);

	memset(out, 0, sizeof(*out));
	out->link_up = f->link;
	out->ip = f->ip ? 0x0a00020f : 0;
	out->state = !f->link || !f->ip ? SOURCE_DOWN : f->up ? SOURCE_UP : SOURCE_RETRYING;
	if (f->ip && !f->up)
		strcpy(out->what, "no answer from 10.0.2.2:8080");
}

static int find_object(struct fake_source *f, const u8 *digest)
{
	for (u32 i = 0; i < f->object_count; i++)
		if (!memcmp(f->objects[i].digest, digest, 32))
			return (int)i;
	return -1;
}

static int unhex_digest(u8 *out, const char *hex)
{
	for (int i = 0; i < 32; i++) {
		unsigned v = 0;

		for (int k = 0; k < 2; k++) {
			char c = hex[2 * i + k];

			v = v * 16 + (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
		}
		out[i] = (u8)v;
	}
	return 0;
}

static int answer(struct source_doc *d, u32 status, const void *bytes, u32 n)
{
	d->http_status = status;
	if (status == 404)
		return -ENOENT;
	if (status != 200)
		return -EIO;
	if (n > d->room)
		return -EMSGSIZE;
	memcpy(d->buf, bytes, n);
	d->bytes = n;
	return 0;
}

static int serve(struct fake_source *f, struct source_doc *d)
{
	u8 digest[32];
	int i;

	if (f->get_err || !f->up || !f->link)
		return f->get_err ? f->get_err : -ETIMEDOUT;
	if (!strncmp(d->path, "/v1/boot?", 9))
		return answer(d, f->ticket_status ? f->ticket_status : 200, f->ticket,
			      f->ticket_bytes);
	assert(!strncmp(d->path, "/v1/manifest/", 13) && strlen(d->path) == 13 + 64);
	unhex_digest(digest, d->path + 13);
	i = find_object(f, digest);
	if (f->manifest_status || i < 0)
		return answer(d, f->manifest_status ? f->manifest_status : 404, NULL, 0);
	return answer(d, 200, f->objects[i].bytes, f->objects[i].n);
}

static void src_poll(struct source *s)
{
	struct fake_source *f = self(s);
	struct source_doc *d = list_first(&f->docs, struct source_doc, link);
	struct source_req *r = list_first(&f->chunks, struct source_req, link);

	if (d && !f->hold_docs) {
		int err = serve(f, d);

		list_del(&d->link);
		d->done(d, err);
	}
	if (r && f->up && f->link) {
		int i = find_object(f, r->digest);

		if (i < 0)
			return; /* as a real source: never */
		assert(f->objects[i].n == r->plain_bytes);
		memcpy(r->buf, f->objects[i].bytes, r->plain_bytes);
		list_del(&r->link);
		r->done(r, 0);
	}
}

static const struct source_ops src_ops = {
	.fetch = src_fetch, .get = src_get, .post = src_post, .status = src_status, .poll = src_poll,
};

void fake_source_init(struct fake_source *s)
{
	memset(s, 0, sizeof(*s));
	s->src.ops = &src_ops;
	list_init(&s->docs);
	list_init(&s->chunks);
	fake_source_up(s, true);
}

void fake_source_fini(struct fake_source *s)
{
	for (u32 i = 0; i < s->object_count; i++)
		free(s->objects[i].bytes);
}

void fake_source_up(struct fake_source *s, bool up)
{
	s->link = s->ip = s->up = up;
}

void fake_source_add(struct fake_source *s, const u8 digest[32], const void *bytes, u32 n)
{
	u32 i = s->object_count++;

	assert(i < ARRAY_SIZE(s->objects));
	memcpy(s->objects[i].digest, digest, 32);
	s->objects[i].bytes = malloc(n);
	memcpy(s->objects[i].bytes, bytes, n);
	s->objects[i].n = n;
}

/* --------------------------------------------------------- store and disk */

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

static void take_state(struct store_meta *m, enum store_policy policy, u64 serial, const u8 *esp,
		       const u8 *next)
{
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
	take_state(&s->meta, cfg->policy, cfg->serial, cfg->esp, NULL);
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
	take_state(&d->store->super->meta, st->policy, st->serial, st->esp, st->next);
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
