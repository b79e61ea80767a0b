/*
 * Overlay slots that nothing is in any more
 *
 * TRIM and WRITE ZEROES leave chunks whose overlay has no block in a slot. Such a slot is
 * taken out of the map at once, and free for others later: when
 *
 *  - the record that no longer names it is durable (else a power cut would bring
 *    back a record that names a slot which another chunk is in), and
 *  - reads that were sent to it before have come back (else they would bring what
 *    another chunk has put there).
 *
 * Slots wait in a batch; one batch at a time is on its way. Reads count
 * themselves by a parity that changes when a batch starts, so it waits for those
 * before it only. When the batch is full, requests that free more stall.
 */
#include "base/log.h"
#include "base/plat.h"
#include "storage/core/disk_priv.h"

/** reclaim_put() - @slot is out of the map; false: no room, ask again later */
bool reclaim_put(struct disk *d, u32 slot)
{
	struct reclaim *r = &d->reclaim;

	if (r->n == RECLAIM_MAX)
		return false;
	r->slots[r->n++] = slot;
	d->again = true;
	return true;
}

/** reclaim_busy() - is anything on its way? */
bool reclaim_busy(const struct disk *d)
{
	return d->reclaim.n || d->reclaim.ngoing;
}

static void synced(struct store_sync *w, int err)
{
	struct disk *d = container_of(w, struct disk, reclaim.sync);

	d->reclaim.syncing = false;
	if (err)
		d->reclaim.ngoing = 0; /* they stay taken until the next open */
	d->again = true;
}

static void begin(struct disk *d)
{
	struct reclaim *r = &d->reclaim;

	for (r->ngoing = 0; r->ngoing < r->n; r->ngoing++)
		r->going[r->ngoing] = r->slots[r->ngoing];
	r->n = 0;
	r->parity ^= 1;
	if (!d->s->keep_overlay)
		return; /* no record has ever named them */
	r->syncing = true;
	r->sync.done = synced;
	store_sync(d->s, &r->sync);
}

/** reclaim_poll() - give back what can be given back */
void reclaim_poll(struct disk *d)
{
	struct reclaim *r = &d->reclaim;

	if (r->ngoing && !r->syncing && !r->reads[r->parity ^ 1]) {
		d->st.reclaimed_slots += r->ngoing;
		while (r->ngoing)
			slotmap_put(&d->s->slots, r->going[--r->ngoing]);
		d->st.store_full = false;
		sched_room(d);
		d->again = true;
	}
	if (!r->ngoing && r->n)
		begin(d);
}
