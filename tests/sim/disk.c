/*
 * A disk with a volatile cache
 *
 * A request takes its time; those in flight complete in any order. A completed
 * write is in the cache only, until it is destaged (at random), flushed, or was
 * FUA; a flush covers what had completed when it was submitted. When the power
 * goes, every sector in the cache and every sector of a write in flight survives
 * or not by a coin of its own.
 *
 * Rot flips bits on the medium. Bad sectors cannot be read until they are written
 * again. Either is healed by what reaches the medium: a rewrite that the power
 * cut takes out of the cache leaves the damage as it was.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/err.h"
#include "tests/sim/sim.h"

#define PAGE 65536u
#define CACHE 16384u /* sectors */

struct dirty {
	u32 sector;
	u32 since;
	u8 data[4096];
};

static u8 *pages[SIM_DISK_BYTES / PAGE];
static u32 *where; /* sector -> dirty + 1 */
static struct dirty *dirty;
static u32 ndirty, stamp;

static u8 *medium(u64 off)
{
	u8 **p = &pages[off / PAGE];

	if (!*p)
		*p = calloc(1, PAGE);
	return *p + off % PAGE;
}

/* A sector has reached the medium: what it lay on is as good as new. */
static void heal(struct sim_disk *d, u32 sector)
{
	u32 per = 4096 / d->blk.sector_bytes;

	for (u32 i = 0; i < d->ndamaged; i++) {
		if (d->damaged[i] != sector / per)
			continue;
		d->hurt[i] &= (u8)~(1u << sector % per);
		if (d->hurt[i])
			return;
		d->healed[d->nhealed++ % ARRAY_SIZE(d->healed)] = sector / per;
		d->ndamaged--;
		d->damaged[i] = d->damaged[d->ndamaged];
		d->hurt[i] = d->hurt[d->ndamaged];
		d->bad[i] = d->bad[d->ndamaged];
		return;
	}
}

static void destage(struct sim_disk *d, u32 i)
{
	u32 ss = d->blk.sector_bytes;

	heal(d, dirty[i].sector);
	memcpy(medium((u64)dirty[i].sector * ss), dirty[i].data, ss);
	where[dirty[i].sector] = 0;
	if (i != --ndirty) {
		dirty[i].sector = dirty[ndirty].sector;
		dirty[i].since = dirty[ndirty].since;
		memcpy(dirty[i].data, dirty[ndirty].data, ss);
		where[dirty[i].sector] = i + 1;
	}
}

static void put(struct sim_disk *d, u32 sector, const u8 *data, bool through)
{
	u32 ss = d->blk.sector_bytes, i = where[sector];

	if (!i) {
		if (ndirty == CACHE)
			destage(d, sim_below(&d->rng, ndirty));
		i = ++ndirty;
		where[sector] = i;
		dirty[i - 1].sector = sector;
		dirty[i - 1].since = stamp;
	}
	memcpy(dirty[i - 1].data, data, ss);
	if (through)
		destage(d, i - 1);
}

static const u8 *get(struct sim_disk *d, u32 sector)
{
	u32 i = where[sector];

	return i ? dirty[i - 1].data : medium((u64)sector * d->blk.sector_bytes);
}

/* Bytes to and from a request's segments. */
static void seg_copy(const struct blk_req *r, u64 off, u8 *data, u32 bytes, bool to_segs)
{
	for (u32 i = 0; i < r->nsegs && bytes; i++) {
		u8 *p = plat_phys_to_virt(r->segs[i].pa);
		u32 take;

		if (off >= r->segs[i].bytes) {
			off -= r->segs[i].bytes;
			continue;
		}
		take = MIN(r->segs[i].bytes - (u32)off, bytes);
		if (to_segs)
			memcpy(p + off, data, take);
		else
			memcpy(data, p + off, take);
		data += take;
		bytes -= take;
		off = 0;
	}
}

/* On the medium only, and not to be read there. */
static bool unreadable(const struct sim_disk *d, u32 sector)
{
	u32 per = 4096 / d->blk.sector_bytes;

	for (u32 i = 0; i < d->ndamaged; i++)
		if (d->damaged[i] == sector / per)
			return d->bad[i] && d->hurt[i] & 1u << sector % per && !where[sector];
	return false;
}

static int do_read(struct sim_disk *d, struct blk_req *r)
{
	u32 ss = d->blk.sector_bytes, seg = 0, off = 0;

	d->reads++;
	for (u32 s = 0; d->ndamaged && s < r->sectors; s++)
		if (unreadable(d, (u32)r->lba + s))
			return -EIO;
	for (u32 s = 0; s < r->sectors; s++) {
		const u8 *p = get(d, (u32)r->lba + s);

		for (u32 left = ss; left;) {
			u32 take = MIN(left, r->segs[seg].bytes - off);

			memcpy((u8 *)plat_phys_to_virt(r->segs[seg].pa) + off, p, take);
			p += take;
			left -= take;
			off += take;
			if (off == r->segs[seg].bytes) {
				seg++;
				off = 0;
			}
		}
	}
	return 0;
}

static int do_write(struct sim_disk *d, struct blk_req *r)
{
	u32 ss = d->blk.sector_bytes, n = r->sectors;
	u8 sector[4096];
	int err = 0;

	if (d->fail_after && !--d->fail_after)
		d->write_fails = 1;
	d->writes++;
	d->write_bytes += (u64)r->sectors * ss;
	if (d->write_fails && sim_one_in(&d->rng, d->write_fails)) {
		n = sim_below(&d->rng, r->sectors + 1); /* it got so far */
		err = -EIO;
	}
	stamp++;
	for (u32 s = 0; s < n; s++) {
		seg_copy(r, (u64)s * ss, sector, ss, false);
		put(d, (u32)r->lba + s, sector, r->fua || !d->blk.write_cache);
	}
	return err;
}

static int execute(struct sim_disk *d, struct blk_req *r)
{
	switch (r->op) {
	case BLK_READ:
		return do_read(d, r);
	case BLK_WRITE:
		return do_write(d, r);
	case BLK_FLUSH:
		d->flushes++;
		if (d->write_fails && sim_one_in(&d->rng, d->write_fails))
			return -EIO;
		for (u32 i = ndirty; i-- > 0;)
			if (dirty[i].since <= r->scratch[0])
				destage(d, i);
		return 0;
	default:
		return -EINVAL;
	}
}

static void dev_submit(struct blk_dev *b, struct blk_req *r)
{
	struct sim_disk *d = container_of(b, struct sim_disk, blk);
	u64 bytes = 0, last = 0;

	for (u32 i = 0; i < r->nsegs; i++) {
		if (!r->segs[i].bytes)
			sim_fail("a segment without bytes");
		bytes += r->segs[i].bytes;
	}
	if (r->op == BLK_READ || r->op == BLK_WRITE) {
		if (!r->sectors || r->sectors > b->max_sectors || r->nsegs > b->max_segs ||
		    bytes != (u64)r->sectors * b->sector_bytes || r->lba >= b->sectors ||
		    r->sectors > b->sectors - r->lba)
			sim_fail("a request that the disk would refuse");
	}
	r->scratch[0] = stamp;
	if (!list_empty(&d->queue))
		last = list_entry(d->queue.prev, struct blk_req, link)->scratch[1];
	r->scratch[1] = sim_now + 5 * NS_PER_US +
			sim_below(&d->rng, sim_one_in(&d->rng, 16) ? 3000000 : 60000);
	if (d->prompt)
		r->scratch[1] = sim_now;
	else if (!sim_has(SIM_REORDER))
		r->scratch[1] = MAX(last, sim_now + 20 * NS_PER_US);
	list_add_tail(&d->queue, &r->link);
	d->inflight++;
}

u64 sim_disk_next(const struct sim_disk *d)
{
	struct blk_req *r;
	u64 next = ~0ull;

	if (d->dead)
		return next;
	list_for_each(r, &d->queue, link)
		next = MIN(next, r->scratch[1]);
	return next;
}

static void dev_poll(struct blk_dev *b)
{
	struct sim_disk *d = container_of(b, struct sim_disk, blk);

	while (!d->dead) {
		struct blk_req *r, *first = NULL;
		int err;

		list_for_each(r, &d->queue, link)
			if (r->scratch[1] <= sim_now &&
			    (!first || r->scratch[1] < first->scratch[1]))
				first = r;
		if (!first)
			break;
		if (first->op == BLK_WRITE && d->die_after && !--d->die_after)
			d->dead = true; /* with this write in flight */
		if (first->op == BLK_WRITE && first->fua && d->die_fua && !--d->die_fua)
			d->dead = true;
		if (d->dead)
			return;
		list_del(&first->link);
		d->inflight--;
		err = execute(d, first);
		first->done(first, err);
	}
	if (ndirty && sim_one_in(&d->rng, 32))
		for (u32 i = sim_below(&d->rng, ndirty + 1); i; i--)
			destage(d, sim_below(&d->rng, ndirty));
}

static const struct blk_ops dev_ops = { .submit = dev_submit, .poll = dev_poll };

void sim_disk_init(struct sim_disk *d, u32 sector_bytes, u64 rng)
{
	memset(d, 0, sizeof(*d));
	if (!where) {
		where = calloc(SIM_DISK_BYTES / 512, sizeof(*where));
		dirty = malloc(CACHE * sizeof(*dirty));
	}
	while (ndirty)
		where[dirty[--ndirty].sector] = 0;
	for (u32 i = 0; i < ARRAY_SIZE(pages); i++) {
		free(pages[i]);
		pages[i] = NULL;
	}
	stamp = 1;
	d->rng = rng;
	list_init(&d->queue);
	d->blk = (struct blk_dev){
		.ops = &dev_ops,
		.sector_bytes = sector_bytes,
		.sectors = SIM_DISK_BYTES / sector_bytes,
		.max_sectors = 256 * 1024 / sector_bytes,
		.max_segs = 32,
		.write_cache = true,
		.serial = "SIM1",
		.model = "sim",
	};
}

void sim_disk_prompt(struct sim_disk *d, bool prompt)
{
	d->prompt = prompt;
}

static void drop_queue(struct sim_disk *d)
{
	list_init(&d->queue);
	d->inflight = 0;
	d->dead = false;
	d->nhealed = 0;
	d->die_after = d->die_fua = 0;
}

/* Sectors of writes in flight may have got somewhere. */
static void tear(struct sim_disk *d, bool through)
{
	u32 ss = d->blk.sector_bytes;
	struct blk_req *r;
	u8 sector[4096];

	list_for_each(r, &d->queue, link) {
		u32 unit = sim_below(&d->rng, 2) ? 1 : MAX(4096 / ss, 1u), n = r->sectors;
		bool here = false;

		if (r->op != BLK_WRITE || sim_one_in(&d->rng, 4))
			continue;
		if (sim_one_in(&d->rng, 3)) { /* from its beginning */
			n = sim_below(&d->rng, n + 1);
			unit = n + 1;
			here = true;
		}
		for (u32 i = 0; i < n; i++) {
			if (i % unit == 0 && unit <= n)
				here = sim_rng(&d->rng) & 1;
			if (!here)
				continue;
			seg_copy(r, (u64)i * ss, sector, ss, false);
			put(d, (u32)r->lba + i, sector, through);
		}
	}
}

void sim_disk_cut(struct sim_disk *d)
{
	u32 keep = sim_has(SIM_LOSE) ? sim_below(&d->rng, 5) : 4;

	for (u32 i = ndirty; i-- > 0;)
		if (sim_below(&d->rng, 4) < keep)
			destage(d, i);
	while (ndirty)
		where[dirty[--ndirty].sector] = 0;
	if (sim_has(SIM_LOSE))
		tear(d, true);
	drop_queue(d);
}

void sim_disk_reset(struct sim_disk *d)
{
	tear(d, !d->blk.write_cache);
	drop_queue(d);
}

void sim_disk_peek(struct sim_disk *d, u64 off, void *out, u32 bytes)
{
	u32 ss = d->blk.sector_bytes;

	for (u32 i = 0; i < bytes; i += ss)
		memcpy((u8 *)out + i, get(d, (u32)((off + i) / ss)), ss);
}

void sim_disk_poke(struct sim_disk *d, u64 off, const void *data, u32 bytes)
{
	u32 ss = d->blk.sector_bytes;

	for (u32 i = 0; i < bytes; i += ss)
		put(d, (u32)((off + i) / ss), (const u8 *)data + i, true);
}

bool sim_disk_cached(struct sim_disk *d, u64 off, u32 bytes)
{
	for (u64 s = off / d->blk.sector_bytes; s * d->blk.sector_bytes < off + bytes; s++)
		if (where[s])
			return true;
	return false;
}

static bool note(struct sim_disk *d, u64 block, u8 sectors, bool bad)
{
	u32 i = 0;

	while (i < d->ndamaged && d->damaged[i] != block)
		i++;
	if (i == ARRAY_SIZE(d->damaged))
		return false;
	if (i == d->ndamaged) {
		d->damaged[d->ndamaged++] = block;
		d->hurt[i] = 0;
		d->bad[i] = false;
	}
	d->hurt[i] |= sectors;
	d->bad[i] |= bad;
	return true;
}

void sim_disk_rot(struct sim_disk *d, u64 block, u32 bit)
{
	u8 sector = (u8)(1u << bit / 8 / d->blk.sector_bytes);

	if (sim_disk_cached(d, block * 4096, 4096) || !note(d, block, sector, false))
		return;
	*medium(block * 4096 + bit / 8) ^= (u8)(1 << bit % 8);
}

void sim_disk_bad(struct sim_disk *d, u64 block)
{
	if (!sim_disk_cached(d, block * 4096, 4096))
		note(d, block, (u8)((1u << 4096 / d->blk.sector_bytes) - 1), true);
}

bool sim_disk_is_damaged(const struct sim_disk *d, u64 block)
{
	for (u32 i = 0; i < d->nhealed && i < ARRAY_SIZE(d->healed); i++)
		if (d->healed[i] == block)
			return true;
	for (u32 i = 0; i < d->ndamaged; i++)
		if (d->damaged[i] == block)
			return true;
	return false;
}
