/*
 * The scrub: what lies on the disk unread is looked at now and then
 *
 * One pass over all chunks and table pages of the bound version, from a random place
 * on, so that boots that are too short for a pass cover everything in time. One
 * chunk at a time is loaded through a chunk buffer, where it is checked and, when it is
 * bad, fetched again and rewritten as if the guest had asked for it; without a
 * source it is named in the log, and stays an I/O error of that range.
 *
 * It keeps to a rate, and away while the guest has used its disk within SCRUB_IDLE_NS. When the
 * pass is over nothing ticks any more.
 */
#include "base/log.h"
#include "base/plat.h"
#include "storage/core/disk_priv.h"

#define SCRUB_IDLE_NS (2 * NS_PER_SEC)
#define SCRUB_LOOK 65536u /* entries without a slot passed over in one poll */

/**
 * disk_scrub() - begin a pass, unless one is under way
 * @kib_s: at most so fast; 0: stop
 */
void disk_scrub(struct disk *d, u32 kib_s)
{
	struct scrub *s = &d->scrub;

	if (d->phase != DISK_READY || !kib_s || s->kib_s) {
		s->kib_s = kib_s ? s->kib_s : 0;
		return;
	}
	plat_random(&s->at, sizeof(s->at));
	s->at %= d->m->n;
	s->left = d->m->n;
	s->kib_s = kib_s;
	d->again = true;
	log_info("disk: scrub begins entry=%u of=%u", s->at, d->m->n);
}

static void over(struct disk *d)
{
	d->scrub.kib_s = 0;
	log_info("disk: scrub over chunks=%llu corrupt=%llu repaired=%llu",
		 (unsigned long long)d->st.scrubbed_chunks,
		 (unsigned long long)d->st.corrupt_chunks,
		 (unsigned long long)d->st.repaired_chunks);
}

/* On to the next entry that is in a slot and not in a buffer; false: none, or not now. */
static bool next_entry(struct disk *d)
{
	struct scrub *s = &d->scrub;

	for (u32 n = 0; s->left; n++) {
		if (n == SCRUB_LOOK) {
			d->again = true;
			return false;
		}
		if (d->m->base[s->at] < SLOT_LIMIT && !cbuf_find(d, s->at))
			return true;
		s->at = (s->at + 1) % d->m->n;
		s->left--;
	}
	over(d);
	return false;
}

/**
 * scrub_poll() - look at the next chunk when it is time
 *
 * Return: ns until it wants to be called again; ~0: no scrub, or other events help.
 */
u64 scrub_poll(struct disk *d)
{
	struct scrub *s = &d->scrub;
	u64 now = plat_time_ns(), step;

	if (!s->kib_s || d->quiescing || d->s->failed)
		return ~0ull;
	if (now - d->guest_time < SCRUB_IDLE_NS)
		return SCRUB_IDLE_NS - (now - d->guest_time);
	if (now < s->next_ns)
		return s->next_ns - now;
	if (!next_entry(d))
		return ~0ull;
	step = (u64)d->s->sb.chunk_bytes * NS_PER_SEC / ((u64)s->kib_s * 1024);
	s->next_ns = now + step;
	if (cbuf_get(d, s->at, SOURCE_FILL)) {
		d->st.scrubbed_chunks++;
		s->at = (s->at + 1) % d->m->n;
		s->left--;
	}
	return step;
}
