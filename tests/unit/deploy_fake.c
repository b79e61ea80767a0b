/* The disk and the source of deploy_fake.h. */
#include "tests/unit/deploy_fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/plat.h"

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

/* Written through: whatever was cached for this sector no longer matters. */
static void forget(struct fake_disk *f, u64 lba, u32 sectors)
{
	struct dirty *d, *tmp;

	list_for_each_safe(d, tmp, &f->dirty, link) {
		if (d->lba < lba || d->lba >= lba + sectors)
			continue;
		list_del(&d->link);
		free(d);
	}
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
		if (r->fua)
			forget(f, r->lba, r->sectors);
		for (u32 i = 0; i < r->sectors && !r->fua; i++)
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
		list_add(&f->queue, &r->link);
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

	if (!strncmp(path, "/v1/profile?uuid=", 17)) {
		assert(bytes <= sizeof(f->told));
		memcpy(f->told, body, bytes);
		f->told_bytes = bytes;
		f->tolds++;
		return;
	}
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
	if (!strncmp(d->path, "/v1/profile/", 12)) {
		f->profile_gets++;
		return answer(d, f->profile_bytes ? 200 : 404, f->profile, f->profile_bytes);
	}
	assert(!strncmp(d->path, "/v1/manifest/", 13) && strlen(d->path) == 13 + 64);
	unhex_digest(digest, d->path + 13);
	i = find_object(f, digest);
	if (f->manifest_status || i < 0)
		return answer(d, f->manifest_status ? f->manifest_status : 404, NULL, 0);
	return answer(d, 200, f->objects[i].bytes, f->objects[i].n);
}

static void src_reprioritise(struct source *s, struct source_req *r, enum source_prio p)
{
	(void)s;
	r->prio = p;
}

static void src_cancel(struct source *s, struct source_req *r)
{
	list_del(&r->link);
	list_add_tail(&self(s)->cancelled, &r->link);
}

static void src_poll(struct source *s)
{
	struct fake_source *f = self(s);
	struct source_doc *d = list_first(&f->docs, struct source_doc, link);
	struct source_req *r = list_first(&f->chunks, struct source_req, link);

	struct source_req *c = list_first(&f->cancelled, struct source_req, link);

	if (c) {
		list_del(&c->link);
		c->done(c, -ECANCELED);
		return;
	}
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

static void fake_credential(struct source *src, const char *bearer)
{
	struct fake_source *s = container_of(src, struct fake_source, src);

	snprintf(s->bearer, sizeof(s->bearer), "%s", bearer ? bearer : "");
}

static void fake_signed_time(struct source *src, u64 unix_seconds)
{
	struct fake_source *s = container_of(src, struct fake_source, src);

	s->signed_time = MAX(s->signed_time, unix_seconds);
}

static const struct source_ops src_ops = {
	.credential = fake_credential,
	.signed_time = fake_signed_time,
	.fetch = src_fetch, .reprioritise = src_reprioritise, .cancel = src_cancel,
	.get = src_get, .post = src_post, .status = src_status, .poll = src_poll,
};

void fake_source_init(struct fake_source *s)
{
	memset(s, 0, sizeof(*s));
	s->src.ops = &src_ops;
	list_init(&s->docs);
	list_init(&s->chunks);
	list_init(&s->cancelled);
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
