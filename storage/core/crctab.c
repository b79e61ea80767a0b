/*
 * The cache of the checksum table; see crctab.h. Replacement is a clock; lines
 * that are being read or are dirty stay.
 */
#include "storage/core/crctab.h"

#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"

int crctab_init(struct crctab *t, struct blk_dev *blk, u64 lba, u32 lines, u32 cache_bytes)
{
	u32 most = MAX(lines, 8u);
	u32 n = MAX(cache_bytes / BLOCK_BYTES, 8u);

	memset(t, 0, sizeof(*t));
	t->blk = blk;
	t->lba = lba;
	t->lines = lines;
	n = MIN(n, most);
	t->n = MIN(n, 32768u);
	list_init(&t->starved);
	t->ents = plat_alloc(t->n * sizeof(*t->ents));
	t->mem = plat_alloc((size_t)t->n * BLOCK_BYTES);
	t->where = plat_alloc(lines * sizeof(*t->where));
	t->bytes = t->n * (sizeof(*t->ents) + BLOCK_BYTES) + lines * sizeof(*t->where);
	if (!t->ents || !t->mem || !t->where) {
		crctab_fini(t);
		return -ENOMEM;
	}
	for (u32 i = 0; i < t->n; i++) {
		t->ents[i].tab = t;
		t->ents[i].line = ~0u;
		t->ents[i].data = t->mem + (size_t)i * BLOCK_BYTES;
		list_init(&t->ents[i].waiters);
	}
	return 0;
}

void crctab_fini(struct crctab *t)
{
	plat_free(t->ents);
	plat_free(t->mem);
	plat_free(t->where);
	t->ents = NULL;
	t->mem = NULL;
	t->where = NULL;
}

static struct crctab_ent *find(struct crctab *t, u64 block)
{
	u16 at = t->where[block / CRCTAB_SUMS];

	return at ? &t->ents[at - 1] : NULL;
}

static struct crctab_ent *evict(struct crctab *t)
{
	for (u32 i = 0; i < 2 * t->n; i++) {
		struct crctab_ent *e = &t->ents[t->hand];

		t->hand = (t->hand + 1) % t->n;
		if (e->line == ~0u)
			return e;
		if (!e->valid || e->dirty)
			continue;
		if (e->recent) {
			e->recent = false;
			continue;
		}
		t->where[e->line] = 0;
		e->line = ~0u;
		return e;
	}
	return NULL;
}

static void wake(struct list *l)
{
	struct list todo;

	list_init(&todo);
	list_splice_tail(&todo, l);
	while (!list_empty(&todo)) {
		struct crctab_wait *w = list_first(&todo, struct crctab_wait, link);

		list_del(&w->link);
		w->done(w);
	}
}

static void line_read(struct blk_req *r, int err)
{
	struct crctab_ent *e = container_of(r, struct crctab_ent, req);
	struct crctab *t = e->tab;

	if (err) {
		t->read_errors++;
		log_limited(LOG_ERR, "store: checksum line unreadable line=%u err=%s", e->line,
			    err_name(err));
		memset(e->data, 0xff, BLOCK_BYTES);
	}
	e->valid = true;
	wake(&e->waiters);
	wake(&t->starved);
}

bool crctab_want(struct crctab *t, u64 block, struct crctab_wait *w)
{
	struct crctab_ent *e = find(t, block);

	if (e && e->valid) {
		e->recent = true;
		return true;
	}
	if (!e) {
		e = evict(t);
		if (!e) {
			list_add_tail(&t->starved, &w->link);
			return false;
		}
		e->line = (u32)(block / CRCTAB_SUMS);
		e->valid = e->dirty = false;
		e->recent = true;
		t->where[e->line] = (u16)(e - t->ents + 1);
		e->seg = (struct blk_seg){ plat_virt_to_phys(e->data), BLOCK_BYTES };
		e->req = (struct blk_req){
			.op = BLK_READ,
			.lba = t->lba + (u64)e->line * (BLOCK_BYTES / t->blk->sector_bytes),
			.sectors = BLOCK_BYTES / t->blk->sector_bytes,
			.segs = &e->seg,
			.nsegs = 1,
			.done = line_read,
		};
		list_add_tail(&e->waiters, &w->link);
		blk_submit(t->blk, &e->req);
		return false;
	}
	list_add_tail(&e->waiters, &w->link);
	return false;
}

bool crctab_ok(struct crctab *t, u64 block, u32 sum)
{
	struct crctab_ent *e = find(t, block);

	return e && e->valid && get_le32(e->data + block % CRCTAB_SUMS * 4) == sum;
}

void crctab_set(struct crctab *t, u64 block, u32 sum)
{
	struct crctab_ent *e = find(t, block);

	put_le32(e->data + block % CRCTAB_SUMS * 4, sum);
	e->dirty = true;
}
