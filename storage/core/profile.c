/*
 * The boot profile: noting what a boot reads, and fetching what earlier ones read
 *
 * Recording: a bit for each chunk says whether the guest has read it; the first
 * read appends it to a row of runs. A chunk just behind one of the last few
 * runs, or in a gap of two, joins it: a boot reads many files a few at a time.
 * Chunks that are all zero are not noted, they cost nothing. Whoever drives the
 * disk says when the boot is over (disk_profile_stop()).
 *
 * Playing: the chunks of a profile that are not here are fetched in its order,
 * PROFILE_FLIGHT at a time, ahead of fill and behind what the guest waits
 * for. Nothing in a profile is believed: numbers beyond the image are passed
 * over, and a chunk is checked by its digest like any other.
 *
 * Fill begins with the neighbours of what was read (profile_neighbour()): the rest of
 * a file that a boot has begun to read is likely to be wanted first.
 */
#include <string.h>

#include "base/bitmap.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "storage/core/disk_priv.h"

#define PROFILE_FLIGHT 32u
#define PROFILE_SCAN 4096u /* chunks looked at in one poll */
#define JOIN_RUNS 8u
#define JOIN_GAP 2u
#define NEAR_AFTER 6u /* chunks behind a run that fill takes first */
#define NEAR_BEFORE 2u

int profile_note_init(struct disk *d)
{
	struct recorder *r = &d->rec;
	u64 bytes = BITMAP_WORDS(d->m->chunks) * 8;

	r->seen = plat_alloc(bytes);
	r->runs = plat_alloc(PROFILE_RUNS_MAX * sizeof(*r->runs));
	d->bytes += bytes + PROFILE_RUNS_MAX * sizeof(*r->runs);
	if (!r->seen || !r->runs)
		return -ENOMEM;
	r->on = true;
	r->last_ns = plat_time_ns();
	return 0;
}

void profile_fini(struct disk *d)
{
	plat_free(d->rec.seen);
	plat_free(d->rec.runs);
	plat_free(d->play.runs);
}

/* ---------------------------------------------------------------- recording */

static bool join(struct recorder *r, u32 c)
{
	for (u32 i = r->n; i && r->n - i < JOIN_RUNS; i--) {
		struct profile_run *run = &r->runs[i - 1];
		u32 end = run->first + run->count;

		if (c >= run->first && c < end)
			return true; /* in a gap that was closed before */
		if (c >= end && c - end <= JOIN_GAP &&
		    r->chunks + (c - end) < PROFILE_CHUNKS_MAX) {
			r->chunks += c + 1 - end;
			run->count += c + 1 - end;
			return true;
		}
	}
	return false;
}

void profile_note(struct disk *d, u64 block, u32 nblocks)
{
	struct recorder *r = &d->rec;
	u32 c = (u32)(block >> d->m->bpc_shift);
	u32 last = (u32)((block + nblocks - 1) >> d->m->bpc_shift);

	for (; c <= last && r->on; c++) {
		if (bitmap_test(r->seen, c))
			continue;
		bitmap_set(r->seen, c);
		r->last_ns = plat_time_ns();
		if (join(r, c))
			continue;
		if (r->n == PROFILE_RUNS_MAX || r->chunks == PROFILE_CHUNKS_MAX) {
			r->full = true;
			return;
		}
		r->runs[r->n++] = (struct profile_run){ c, 1 };
		r->chunks++;
	}
}

/**
 * disk_profile_state() - how recording stands
 */
void disk_profile_state(const struct disk *d, struct disk_profile *out)
{
	const struct recorder *r = &d->rec;

	*out = (struct disk_profile){ .recording = r->on, .full = r->full, .runs = r->n,
				      .chunks = r->chunks, .last_ns = r->last_ns };
}

/** disk_profile_stop() - the boot is over; what it cost is in disk_stats */
void disk_profile_stop(struct disk *d)
{
	d->rec.on = false;
	d->st.boot_demand_chunks = d->st.demand_chunks;
}

/**
 * disk_profile_build() - what was recorded, as a PC posts it
 *
 * Return: its length; 0 when there is nothing, or @room is too small.
 */
u32 disk_profile_build(const struct disk *d, void *out, u32 room)
{
	struct profile p = { .chunk_bytes = d->s->sb.chunk_bytes, .boots = 1, .nruns = d->rec.n };

	memcpy(p.version, d->s->meta.version, SHA256_BYTES);
	if (!p.nruns || profile_build(&p, d->rec.runs, out, room, NULL))
		return 0;
	return (u32)profile_size(p.nruns);
}

/* ---------------------------------------------------------------- playing */

/**
 * disk_profile_play() - fetch what this profile lists, from now on
 * @bytes: its signature has been checked; copied
 *
 * Return: 0; -EINVAL when it is none, or another version's; -EBUSY when there is one
 * already; -ENOMEM.
 */
int disk_profile_play(struct disk *d, const void *bytes, u32 n)
{
	struct player *p = &d->play;
	struct profile f;

	if (d->phase != DISK_READY || p->runs)
		return -EBUSY;
	if (profile_parse(bytes, n, &f) || f.chunk_bytes != d->s->sb.chunk_bytes ||
	    memcmp(f.version, d->s->meta.version, SHA256_BYTES))
		return -EINVAL;
	p->runs = plat_alloc(f.nruns * sizeof(*p->runs));
	if (!p->runs)
		return -ENOMEM;
	d->bytes += f.nruns * sizeof(*p->runs);
	for (u32 i = 0; i < f.nruns; i++)
		p->runs[i] = profile_run_get(&f, i);
	p->n = f.nruns;
	d->again = true;
	log_info("disk: boot profile runs=%u boots=%u", f.nruns, f.boots);
	return 0;
}

static u32 listed_in_flight(const struct disk *d)
{
	u32 n = 0;

	for (u32 i = 0; d->nactive && i < d->npool; i++)
		n += d->pool[i].listed && (d->pool[i].state == CBUF_WANT ||
					   d->pool[i].state == CBUF_FETCH);
	return n;
}

/* The next chunk of the profile that is not here; ~0: none, or not in this poll. */
static u32 play_next(struct disk *d)
{
	struct player *p = &d->play;

	for (u32 n = 0; p->at < p->n; n++) {
		struct profile_run run = p->runs[p->at];
		u32 c = run.first + p->in;

		if (n == PROFILE_SCAN) {
			d->again = true;
			break;
		}
		if (p->in == run.count || c >= d->m->chunks) {
			p->at++;
			p->in = 0;
			continue;
		}
		if (d->m->base[c] == SLOT_NONE && !cbuf_find(d, c))
			return c;
		p->in++;
	}
	return ~0u;
}

/** profile_poll() - keep the profile's chunks coming */
void profile_poll(struct disk *d)
{
	struct player *p = &d->play;
	struct cbuf *c;
	u32 flight, i;

	if (p->at == p->n || !d->src || d->fill.metered || d->offline || d->quiescing ||
	    d->s->failed || d->st.store_full)
		return;
	flight = listed_in_flight(d);
	while (flight < PROFILE_FLIGHT && (i = play_next(d)) != ~0u) {
		c = cbuf_get(d, i, SOURCE_AHEAD);
		if (!c)
			return; /* a buffer that gets free calls again */
		c->listed = true;
		p->in++;
		flight++;
	}
}

/** profile_neighbour() - a chunk close to what was read that is not here; ~0: none (left) */
u32 profile_neighbour(struct disk *d)
{
	const struct recorder *r = &d->rec;

	for (; d->near < r->n * (NEAR_AFTER + NEAR_BEFORE); d->near++) {
		struct profile_run run = r->runs[d->near / (NEAR_AFTER + NEAR_BEFORE)];
		u32 k = d->near % (NEAR_AFTER + NEAR_BEFORE);
		u32 c = k < NEAR_AFTER ? run.first + run.count + k :
					 run.first - 1 - (k - NEAR_AFTER);

		if (c < d->m->chunks && d->m->base[c] == SLOT_NONE && !cbuf_find(d, c))
			return c;
	}
	return ~0u;
}
