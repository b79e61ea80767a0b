#include "tests/fakes/disk_fake.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/plat.h"

u64 fake_rng(u64 *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s * 0x2545f4914f6cdd1dull >> 16;
}

static u8 *at(struct disk_fake *f, u8 *base, u64 lba)
{
	return base + lba * f->blk.sector_bytes;
}

static void destage(struct disk_fake *f, u64 lba)
{
	memcpy(at(f, f->media, lba), at(f, f->view, lba), f->blk.sector_bytes);
	f->since[lba] = 0;
}

static void segs_copy(const struct blk_req *r, u8 *p, bool to_segs)
{
	for (u32 i = 0; i < r->nsegs; i++) {
		void *v = plat_phys_to_virt(r->segs[i].pa);

		if (to_segs)
			memcpy(v, p, r->segs[i].bytes);
		else
			memcpy(p, v, r->segs[i].bytes);
		p += r->segs[i].bytes;
	}
}

static void fake_submit(struct blk_dev *b, struct blk_req *r)
{
	struct disk_fake *f = container_of(b, struct disk_fake, blk);
	u64 bytes = 0;

	for (u32 i = 0; i < r->nsegs; i++) {
		assert(r->segs[i].bytes);
		bytes += r->segs[i].bytes;
	}
	if (r->op == BLK_READ || r->op == BLK_WRITE) {
		assert(r->sectors && r->sectors <= b->max_sectors && r->nsegs <= b->max_segs);
		assert(bytes == (u64)r->sectors * b->sector_bytes);
		assert(r->lba < b->sectors && r->sectors <= b->sectors - r->lba);
	}
	r->scratch[0] = f->clock; /* a flush covers what is older */
	list_add_tail(&f->queue, &r->link);
	f->inflight++;
}

static bool touches(const struct blk_req *r, u64 from, u64 to)
{
	return r->lba < to && from < r->lba + r->sectors;
}

static int execute(struct disk_fake *f, struct blk_req *r)
{
	switch (r->op) {
	case BLK_READ:
		f->reads++;
		f->read_bytes += (u64)r->sectors * f->blk.sector_bytes;
		if (touches(r, f->bad_from, f->bad_to))
			return -EIO;
		segs_copy(r, at(f, f->view, r->lba), true);
		return 0;
	case BLK_WRITE:
		f->writes++;
		f->write_bytes += (u64)r->sectors * f->blk.sector_bytes;
		if (touches(r, f->badw_from, f->badw_to))
			return -EIO;
		segs_copy(r, at(f, f->view, r->lba), false);
		f->clock++;
		for (u64 s = r->lba; s < r->lba + r->sectors; s++) {
			if (!f->since[s])
				f->since[s] = f->clock;
			if (r->fua || !f->blk.write_cache)
				destage(f, s);
		}
		return 0;
	case BLK_FLUSH:
		f->flushes++;
		if (f->flush_fails)
			return -EIO;
		for (u64 s = 0; s < f->blk.sectors; s++)
			if (f->since[s] && f->since[s] <= r->scratch[0])
				destage(f, s);
		return 0;
	default:
		return -EINVAL;
	}
}

static void fake_poll(struct blk_dev *b)
{
	struct disk_fake *f = container_of(b, struct disk_fake, blk);
	u32 n = f->inflight;

	if (!f->prompt && n)
		n = (u32)(fake_rng(&f->rng) % (n + 1));
	while (n-- && !list_empty(&f->queue) && !f->dead) {
		u32 skip = f->prompt ? 0 : (u32)(fake_rng(&f->rng) % f->inflight);
		struct list *l = f->queue.next;
		struct blk_req *r;
		int err;

		while (skip--)
			l = l->next;
		r = list_entry(l, struct blk_req, link);
		if (r->op == BLK_WRITE && f->dead_after && !--f->dead_after) {
			f->dead = true;
			return; /* the write is in flight */
		}
		list_del(&r->link);
		f->inflight--;
		err = execute(f, r);
		r->done(r, err);
	}
	if (!f->prompt && f->blk.write_cache && fake_rng(&f->rng) % 64 == 0)
		for (u32 i = 0; i < 64; i++) {
			u64 s = fake_rng(&f->rng) % f->blk.sectors;

			if (f->since[s])
				destage(f, s);
		}
}

static const struct blk_ops fake_ops = { .submit = fake_submit, .poll = fake_poll };

struct disk_fake *disk_fake_create(u64 sectors, u32 sector_bytes, u64 seed)
{
	struct disk_fake *f = calloc(1, sizeof(*f));

	f->media = calloc(sectors, sector_bytes);
	f->view = calloc(sectors, sector_bytes);
	f->since = calloc(sectors, 4);
	f->clock = 1;
	f->rng = seed * 2654435761u + 88172645463325252ull;
	list_init(&f->queue);
	f->blk = (struct blk_dev){
		.ops = &fake_ops,
		.sector_bytes = sector_bytes,
		.sectors = sectors,
		.max_sectors = 256 * 1024 / sector_bytes,
		.max_segs = 32,
		.write_cache = true,
		.serial = "FAKE",
		.model = "fake",
	};
	return f;
}

void disk_fake_destroy(struct disk_fake *f)
{
	free(f->media);
	free(f->view);
	free(f->since);
	free(f);
}

void disk_fake_power_cut(struct disk_fake *f)
{
	u8 *tmp = malloc(8u << 20);

	for (u64 s = 0; s < f->blk.sectors; s++)
		if (f->since[s] && (fake_rng(&f->rng) & 1))
			destage(f, s);
	while (!list_empty(&f->queue)) {
		struct blk_req *r = list_first(&f->queue, struct blk_req, link);

		list_del(&r->link);
		if (r->op != BLK_WRITE)
			continue;
		segs_copy(r, tmp, false);
		for (u32 i = 0; i < r->sectors; i++)
			if (fake_rng(&f->rng) & 1)
				memcpy(at(f, f->media, r->lba + i), tmp + i * f->blk.sector_bytes,
				       f->blk.sector_bytes);
	}
	memcpy(f->view, f->media, f->blk.sectors * f->blk.sector_bytes);
	memset(f->since, 0, f->blk.sectors * 4);
	f->inflight = 0;
	f->dead = false;
	f->dead_after = 0;
	free(tmp);
}

void disk_fake_rot(struct disk_fake *f, u64 off, u32 bytes)
{
	for (u64 i = off; i < off + bytes; i++)
		f->media[i] = f->view[i] = f->view[i] ^ 0x5a;
}
