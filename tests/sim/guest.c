/*
 * The guest: random requests, some of them at the same place at the same time
 *
 * It knows nothing but its disk. What it reads is checked against the model
 * when the request is complete, its writes are told to the model before they
 * are submitted and after they are complete.
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "tests/sim/sim.h"

#define SLOTS 32u
#define MOST 512u /* sectors of one request, but one that carries no data */
#define WHOLE 2048u

struct op {
	struct blk_req r;
	struct blk_seg segs[140];
	bool busy;
	u32 id;
	u64 first, sub;
	u32 n; /* 512-byte sectors */
	u8 buf[MOST * 512];
	int *err; /* somebody waits for it */
	u8 *out;
};

static struct op *ops;
static struct blk_dev *dev;
static u64 rng, think_until;
static u32 left, depth, flying, ids;
static bool durable;
static u32 scatter;
u64 sim_ops, sim_errors;

void sim_guest_gone(void)
{
	if (!ops)
		ops = calloc(SLOTS, sizeof(*ops));
	for (u32 i = 0; i < SLOTS; i++)
		ops[i].busy = false;
	dev = NULL;
	left = flying = 0;
}

void sim_guest_init(struct blk_dev *b, u64 seed, u32 n, u32 qd, bool keeps)
{
	sim_guest_gone();
	dev = b;
	rng = seed;
	left = n;
	depth = qd;
	durable = keeps;
	think_until = sim_now;
}

void sim_guest_more(u32 n, u32 scattered)
{
	left = n;
	scatter = scattered;
	think_until = sim_now;
}

u32 sim_guest_left(void)
{
	return left;
}

u32 sim_guest_inflight(void)
{
	return flying;
}

void sim_guest_say(void)
{
	for (u32 i = 0; i < SLOTS; i++)
		if (ops[i].busy)
			sim_say("under way: op=%u first=%llu n=%u fua=%u", ops[i].r.op,
				(unsigned long long)ops[i].first, ops[i].n, ops[i].r.fua);
}

bool sim_guest_idle(void)
{
	return !left && !flying;
}

static void reading(void)
{
	u64 oldest = ~0ull;

	for (u32 i = 0; i < SLOTS; i++)
		if (ops[i].busy && ops[i].r.op == BLK_READ)
			oldest = MIN(oldest, ops[i].sub);
	sim_model_reading(oldest);
}

/* Whole blocks of 4 KiB are zero now; the others may be what they were, or zeroes. */
static void trimmed(const struct op *o, bool ok)
{
	u64 end = o->first + o->n, from = MIN(ALIGN_UP(o->first, 8ull), end);
	u64 to = MAX(ALIGN_DOWN(end, 8ull), from);

	sim_model_written(o->first, (u32)(from - o->first), o->id, o->sub, false, false);
	sim_model_written(from, (u32)(to - from), o->id, o->sub, ok, false);
	sim_model_written(to, (u32)(end - to), o->id, o->sub, false, false);
}

static void done(struct blk_req *r, int err)
{
	struct op *o = r->owner;

	if (!o->busy)
		sim_fail("a request completes twice op=%u first=%llu", r->op,
			 (unsigned long long)o->first);
	o->busy = false;
	flying--;
	sim_ops++;
	if (err) {
		sim_errors++;
		sim_explain(r->op, o->first, o->n, err);
	}
	switch (r->op) {
	case BLK_READ:
		if (!err && !o->out)
			sim_model_read(o->first, o->n, o->buf, o->sub);
		if (o->out)
			memcpy(o->out, o->buf, (size_t)o->n * 512);
		reading();
		break;
	case BLK_WRITE:
	case BLK_WRITE_ZEROES:
		sim_model_written(o->first, o->n, o->id, o->sub, !err, r->fua && durable);
		break;
	case BLK_TRIM:
		trimmed(o, !err);
		break;
	case BLK_FLUSH:
		if (!err && durable)
			sim_model_flushed(o->sub);
		break;
	}
	if (o->err)
		*o->err = err;
}

/* The buffer in pieces, like a PRP list: a first piece of any length, then pages. */
static u32 cut(struct op *o)
{
	u32 bytes = o->n * 512, off = 0, n = 0;
	u32 first = sim_below(&rng, 3) ? 4096 : 512 * (1 + sim_below(&rng, 7));
	bool odd = sim_one_in(&rng, 8);

	while (off < bytes) {
		u32 take = n ? 4096 : first;

		if (odd && n)
			take = 4 * (1 + sim_below(&rng, 2000));
		take = MIN(take, bytes - off);
		if (n == ARRAY_SIZE(o->segs) - 1)
			take = bytes - off;
		o->segs[n++] = (struct blk_seg){ plat_virt_to_phys(o->buf + off), take };
		off += take;
	}
	return n;
}

static bool meets(u64 first, u32 n)
{
	for (u32 i = 0; i < SLOTS; i++)
		if (ops[i].busy && ops[i].r.op != BLK_FLUSH && ops[i].first < first + n &&
		    first < ops[i].first + ops[i].n)
			return true;
	return false;
}

static struct op *start(enum blk_op kind, u64 first, u32 n, bool fua)
{
	u32 per = dev->sector_bytes / 512;
	struct op *o = NULL;

	for (u32 i = 0; i < SLOTS && !o; i++)
		if (!ops[i].busy)
			o = &ops[i];
	if (!o || (kind != BLK_FLUSH && !sim_has(SIM_OVERLAP) && meets(first, n)))
		return NULL;
	if (kind != BLK_READ && kind != BLK_FLUSH && !sim_model_room(first, n))
		return NULL;
	o->busy = true;
	o->err = NULL;
	o->out = NULL;
	o->first = first;
	o->n = n;
	o->sub = sim_model_tick();
	o->r = (struct blk_req){ .op = kind, .fua = fua, .lba = first / per, .sectors = n / per,
				 .segs = o->segs, .done = done, .owner = o };
	if (kind == BLK_WRITE || kind == BLK_READ)
		o->r.nsegs = cut(o);
	if (kind == BLK_WRITE || kind == BLK_WRITE_ZEROES || kind == BLK_TRIM) {
		o->id = ++ids & ~SIM_ZERO;
		if (kind != BLK_WRITE)
			o->id |= SIM_ZERO;
		sim_model_write(first, n, o->id, o->sub);
		if (kind == BLK_WRITE)
			for (u32 i = 0; i < n; i++)
				sim_pattern(first + i, o->id, o->buf + i * 512);
	}
	flying++;
	blk_submit(dev, &o->r);
	reading();
	return o;
}

static void one(void)
{
	u64 sectors = sim_model_sectors(), span = sectors, first;
	u32 per = dev->sector_bytes / 512, n, what = sim_below(&rng, 100);
	enum blk_op kind = BLK_READ;
	bool fua = false;

	if (sim_below(&rng, 3)) /* a small place where things meet */
		span = MIN(span, 768u);
	if (sim_below(&rng, 2))
		n = 1 + sim_below(&rng, 8);
	else if (sim_below(&rng, 8))
		n = 8 * (1 + sim_below(&rng, 6));
	else
		n = 1 + sim_below(&rng, MOST - 1);
	n = (u32)MIN((u64)n, span);
	first = sim_below(&rng, (u32)(span - n + 1));
	if (span < sectors && sim_one_in(&rng, 4)) /* ... or the end */
		first += sectors - span;
	if (sim_below(&rng, 2))
		first = first / 8 * 8;
	first = first / per * per;
	n = DIV_ROUND_UP(n, per) * per;
	if (first + n > sectors || n > MOST)
		return;
	if (!scatter && what >= 82 && what < 90 && sectors > WHOLE && sim_one_in(&rng, 4)) {
		/* a file that was large is gone: whole groups of the map */
		first = sim_below(&rng, (u32)(sectors / WHOLE)) * WHOLE;
		n = (u32)MIN(sectors - first, WHOLE * (1ull + sim_below(&rng, 2)));
	}
	if (what >= 45 && what < 82)
		kind = BLK_WRITE;
	else if (what >= 82 && what < 86 && sim_has(SIM_ZEROES))
		kind = BLK_WRITE_ZEROES;
	else if (what >= 86 && what < 90 && sim_has(SIM_TRIM))
		kind = BLK_TRIM;
	else if (what >= 90)
		kind = BLK_FLUSH;
	if (kind == BLK_WRITE || kind == BLK_WRITE_ZEROES)
		fua = sim_has(SIM_FUA) && sim_one_in(&rng, 6);
	if (kind == BLK_READ && n > MOST)
		return; /* neither trims nor zeroes in this world */
	if (scatter == 2)
		what = left ? 0 : 99;
	if (scatter && what < 97) {
		/* a mapping each, and many of them to one flush */
		kind = BLK_WRITE;
		n = 8;
		first = sim_below(&rng, (u32)(sectors / 8)) * 8;
		fua = false;
	} else if (scatter) {
		kind = BLK_FLUSH;
	}
	if (kind == BLK_FLUSH)
		first = n = 0;
	start(kind, first, n, fua);
}

u64 sim_guest_poll(void)
{
	if (!dev || !left)
		return ~0ull;
	if (sim_now < think_until)
		return think_until;
	while (left && flying < depth) {
		left--;
		one();
		if (sim_one_in(&rng, 8)) {
			think_until = sim_now + sim_below(&rng, 2000000);
			break;
		}
		if (sim_one_in(&rng, 300)) {
			think_until = sim_now + (20 + sim_below(&rng, 60)) * NS_PER_SEC;
			break;
		}
	}
	return left && flying < depth ? MAX(think_until, sim_now + 1) : ~0ull;
}

void sim_guest_read(u64 first, u32 n, int *err, u8 *out)
{
	struct op *o = start(BLK_READ, first, n, false);

	*err = 1;
	if (!o)
		sim_fail("the guest has no room for its own check");
	o->err = err;
	o->out = out;
}

void sim_guest_flush(int *err)
{
	struct op *o = start(BLK_FLUSH, 0, 0, false);

	*err = 1;
	if (!o)
		sim_fail("the guest has no room for its own check");
	o->err = err;
}
