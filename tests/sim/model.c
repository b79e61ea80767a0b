/*
 * What each sector of the guest's disk may hold
 *
 * A sector has a few values: what it held before, what was written since and is
 * not known to have been overruled. A write is known by its number; 0 is the
 * image. A value dies for readers when a write that was submitted after it was
 * complete is complete itself. It is gone for good, for crashes too, when a
 * flush that was submitted after its death is complete, or when a write with
 * FUA overruled it. A read must have seen a value that was not dead when the
 * read was submitted; where nothing was under way meanwhile, what it saw is
 * what is there, and the others die.
 *
 * After a crash every value that is not gone for good may be there, and the
 * first read says which one.
 */
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/fmt.h"
#include "tests/sim/sim.h"

struct val {
	u32 id;
	bool crash; /* may be found after a crash */
	u64 sub, comp; /* ~0: under way */
	u64 dead; /* ~0: alive */
};

struct cell {
	struct val v[SIM_VALS];
	u8 n; /* 0: the image's, for sure */
	bool listed;
	u16 writing;
	u64 last; /* when a write here was submitted or completed */
};

static const struct sim_version *version;
static struct cell *cells;
static u64 sectors, room;
static u32 *active; /* cells with n > 0 */
static u32 nactive;
static u64 now, oldest;
static bool was_cut, anything;

void sim_model_reset(const struct sim_version *v)
{
	version = v;
	sectors = v->image_bytes / 512;
	if (sectors > room) {
		free(cells);
		free(active);
		cells = calloc(sectors, sizeof(*cells));
		active = calloc(sectors, sizeof(*active));
		room = sectors;
		nactive = 0;
	}
	while (nactive)
		memset(&cells[active[--nactive]], 0, sizeof(*cells));
	now = 10;
	oldest = ~0ull;
	was_cut = anything = false;
}

u64 sim_model_sectors(void)
{
	return sectors;
}

u64 sim_model_tick(void)
{
	return ++now;
}

static struct cell *touch(u64 s)
{
	struct cell *c = &cells[s];

	if (!c->listed) {
		c->listed = true;
		active[nactive++] = (u32)s;
	}
	if (!c->n) {
		c->n = 1;
		c->v[0] = (struct val){ .crash = true, .dead = ~0ull };
	}
	return c;
}

/* Forget what can be seen by no read and no crash. */
static void gc(struct cell *c)
{
	u32 n = 0;

	for (u32 i = 0; i < c->n; i++)
		if (c->v[i].crash || c->v[i].dead == ~0ull || c->v[i].dead >= oldest)
			c->v[n++] = c->v[i];
	c->n = (u8)n;
}

bool sim_model_room(u64 first, u32 n)
{
	for (u64 s = first; s < first + n; s++) {
		if (cells[s].n >= SIM_VALS - 1)
			gc(&cells[s]);
		if (cells[s].n >= SIM_VALS - 1)
			return false;
	}
	return true;
}

void sim_model_write(u64 first, u32 n, u32 id, u64 sub)
{
	for (u64 s = first; s < first + n; s++) {
		struct cell *c = touch(s);

		c->v[c->n++] = (struct val){ .id = id, .crash = true, .sub = sub, .comp = ~0ull,
					     .dead = ~0ull };
		c->writing++;
		c->last = now;
	}
}

void sim_model_written(u64 first, u32 n, u32 id, u64 sub, bool ok, bool durable)
{
	u64 t = sim_model_tick();

	for (u64 s = first; s < first + n; s++) {
		struct cell *c = &cells[s];

		for (u32 i = 0; i < c->n; i++) {
			struct val *v = &c->v[i];

			if (v->id == id)
				v->comp = t;
			else if (ok && v->comp < sub) {
				if (v->dead == ~0ull)
					v->dead = t;
				if (durable)
					v->crash = false;
			}
		}
		c->writing--;
		c->last = t;
		gc(c);
	}
}

void sim_model_flushed(u64 sub)
{
	for (u32 k = 0; k < nactive; k++) {
		struct cell *c = &cells[active[k]];

		for (u32 i = 0; i < c->n; i++)
			if (c->v[i].dead <= sub)
				c->v[i].crash = false;
		gc(c);
	}
}

void sim_model_reading(u64 t)
{
	oldest = t;
}

/* ---------------------------------------------------------------- contents */

void sim_pattern(u64 sector, u32 id, u8 out[512])
{
	u64 x = sim_mix(sector, id);

	if (id & SIM_ZERO) {
		memset(out, 0, 512);
		return;
	}
	put_le32(out, 0x54535547); /* "GUST" */
	put_le32(out + 4, id);
	put_le64(out + 8, sector);
	for (u32 i = 16; i < 512; i += 8) {
		put_le64(out + i, x);
		x = x * 6364136223846793005ull + 1442695040888963407ull;
	}
}

static bool is(u64 s, u32 id, const u8 *data)
{
	u8 want[512];

	if (id && !(id & SIM_ZERO) && get_le32(data + 4) != id)
		return false;
	if (id)
		sim_pattern(s, id, want);
	else
		sim_base(version, s, want);
	return !memcmp(want, data, 512);
}

static void wrong(u64 s, const u8 *data, const struct cell *c)
{
	char may[200] = "";
	u32 at = 0, id = get_le32(data + 4);
	u8 sector[512];
	const char *what = "garbage";

	for (u32 i = 0; i < c->n; i++)
		at += (u32)fmt_snprintf(may + at, sizeof(may) - at, " %s%u%s%s",
					c->v[i].id & SIM_ZERO ? "z" : "", c->v[i].id & ~SIM_ZERO,
					c->v[i].dead != ~0ull ? "+" : "",
					c->v[i].crash ? "" : "!");
	sim_pattern(s, id, sector);
	if (is(s, 0, data))
		what = "the image's";
	else if (!memcmp(sector, data, 512))
		what = "a write";
	else if (get_le32(data) == 0x54535547)
		what = "a write to another place";
	else if (get_le32(data) == 0x45534142)
		what = "another chunk or version";
	else if (gpt_is_zero(data, 512))
		what = "zeroes";
	sim_fail("wrong data sector=%llu: %s (%u), may be%s", (unsigned long long)s, what, id,
		 c->n ? may : " the image's only");
}

/* Nothing is known but that it must be of this sector. */
static bool plausible(u64 s, const u8 *data)
{
	return is(s, 0, data) || gpt_is_zero(data, 512) ||
	       (get_le64(data + 8) == s && is(s, get_le32(data + 4) & ~SIM_ZERO, data));
}

static void settle(struct cell *c, u64 s, const u8 *data)
{
	u32 id = is(s, 0, data) ? 0 : gpt_is_zero(data, 512) ? SIM_ZERO : get_le32(data + 4);

	(void)touch(s);
	for (u32 i = 0; i < c->n; i++)
		if (c->v[i].id == id)
			return;
	if (c->n < SIM_VALS)
		c->v[c->n++] = (struct val){ .id = id, .crash = true, .dead = ~0ull };
}

static void look(u64 s, const u8 *data, u64 sub)
{
	struct cell *c = &cells[s];
	u32 seen = c->n;

	if (!c->n) {
		if (is(s, 0, data))
			return;
		if (!anything || !plausible(s, data))
			wrong(s, data, c);
		settle(c, s, data);
		return;
	}
	for (u32 i = 0; i < c->n && seen == c->n; i++)
		if (c->v[i].dead > sub && is(s, c->v[i].id, data))
			seen = i;
	if (seen == c->n) {
		if (!anything || !plausible(s, data))
			wrong(s, data, c);
		settle(c, s, data);
		return;
	}
	if (c->writing || c->last > sub)
		return;
	/* nothing was under way: this is what is there */
	for (u32 i = 0; i < c->n; i++) {
		if (i == seen || c->v[i].id == c->v[seen].id)
			continue;
		/* equal contents under two numbers cannot be told apart */
		if (is(s, c->v[i].id, data))
			continue;
		if (c->v[i].dead == ~0ull)
			c->v[i].dead = now;
		if (was_cut && !c->last)
			c->v[i].crash = false;
	}
}

void sim_model_read(u64 first, u32 n, const u8 *data, u64 sub)
{
	sim_model_tick();
	for (u32 i = 0; i < n; i++)
		look(first + i, data + (size_t)i * 512, sub);
}

/* ---------------------------------------------------------------- crashes */

void sim_model_crash(bool cut)
{
	u32 kept = 0;

	for (u32 k = 0; k < nactive; k++) {
		struct cell *c = &cells[active[k]];
		u32 n = 0;

		for (u32 i = 0; i < c->n; i++)
			if (c->v[i].crash)
				c->v[n++] = (struct val){ .id = c->v[i].id, .crash = true,
							  .dead = ~0ull };
		c->n = (u8)n;
		c->writing = 0;
		c->last = 0;
		if (n == 1 && !c->v[0].id) {
			c->n = 0;
			c->listed = false;
			continue;
		}
		active[kept++] = active[k];
	}
	nactive = kept;
	was_cut = cut;
	oldest = ~0ull;
	now += 10;
}

void sim_model_anything(void)
{
	anything = true;
}

static bool base_possible(const struct cell *c)
{
	for (u32 i = 0; i < c->n; i++)
		if (c->v[i].crash && !c->v[i].id)
			return true;
	return false;
}

u32 sim_model_active(u64 *out, u32 max, u64 *rng, bool telling)
{
	u32 n = 0, start = nactive ? sim_below(rng, nactive) : 0;

	for (u32 i = 0; i < nactive && n < max; i++) {
		u32 s = active[(start + i * 7919ull) % nactive];

		if (!telling || !base_possible(&cells[s]))
			out[n++] = s;
	}
	return n;
}

int sim_model_dropped(u64 s, const u8 *data)
{
	struct cell *c = &cells[s];
	bool kept = !c->n && is(s, 0, data);

	for (u32 i = 0; i < c->n; i++)
		kept |= c->v[i].crash && is(s, c->v[i].id, data);
	if (kept)
		return is(s, 0, data) ? -1 : 0;
	return 1;
}
