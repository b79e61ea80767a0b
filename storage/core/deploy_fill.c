/*
 * deploy_fill.c - what the ticket allows the background to do, now
 *
 * Fill may be off, limited, or allowed in a window of the day only. The window is
 * in minutes of the UTC day; this PC's idea of the time is the ticket's plus what has
 * passed since it came, so a wrong clock in the PC does not matter, and the edge of
 * a window is kept to without asking again. On a metered network nothing is fetched
 * that the guest does not wait for.
 */
#include "base/log.h"
#include "base/plat.h"
#include "storage/core/deploy_priv.h"

#define DAY_SECONDS (24 * 60 * 60u)

/**
 * deploy_fill_fits() - may chunks that nobody asked for be kept?
 *
 * In memory only when the whole image leaves a quarter to the guest's writes;
 * else filling would but use up the room for what the guest does ask for.
 */
bool deploy_fill_fits(const struct deploy *d)
{
	u64 room = d->layout.store.sectors * d->cfg.blk->sector_bytes;

	return !d->cfg.memory || d->m.image_bytes <= room / 4 * 3;
}

/* Second of the UTC day. */
static u32 second_of_day(const struct deploy *d, u64 now)
{
	return (u32)((d->ticket.time_unix + (now - d->ticket_ns) / NS_PER_SEC) % DAY_SECONDS);
}

/* Is the window open, and for how many seconds will that be so? ~0: for ever. */
static bool window_open(const struct deploy *d, u64 now, u32 *left)
{
	u32 from = d->ticket.fill_from * 60, to = d->ticket.fill_to * 60, at, in, wide;

	*left = ~0u;
	if (from == to)
		return true;
	at = second_of_day(d, now);
	in = (at + DAY_SECONDS - from) % DAY_SECONDS;
	wide = (to + DAY_SECONDS - from) % DAY_SECONDS;
	*left = in < wide ? wide - in : DAY_SECONDS - in;
	return in < wide;
}

/** deploy_fill_now() - what the present ticket allows */
void deploy_fill_now(const struct deploy *d, u64 now, struct disk_fill *out)
{
	u32 left;

	*out = (struct disk_fill){ .on = d->cfg.source != NULL };
	if (!d->have_ticket)
		return;
	out->metered = d->ticket.metered;
	out->limit_kib_s = d->ticket.fill_limit_kib;
	out->on &= d->ticket.fill && !d->ticket.metered && deploy_fill_fits(d) &&
		   window_open(d, now, &left);
}

/**
 * deploy_fill_poll() - tell the disk when that has changed
 *
 * Return: ns until it wants to be called again.
 */
u64 deploy_fill_poll(struct deploy *d, u64 now)
{
	struct disk_fill f;
	u32 left = ~0u;

	if (!d->have_ticket)
		return ~0ull;
	deploy_fill_now(d, now, &f);
	if (f.on != d->fill.on || f.metered != d->fill.metered ||
	    f.limit_kib_s != d->fill.limit_kib_s) {
		log_info("deploy: fill=%s limit_kib=%u metered=%u", f.on ? "on" : "off",
			 f.limit_kib_s, f.metered);
		d->fill = f;
		disk_set_fill(d->disk, &f);
	}
	if (store_meta(d->store)->complete && d->bg == BG_WAIT && !d->ticket.fill)
		return ~0ull;
	window_open(d, now, &left);
	return left == ~0u ? ~0ull : left * NS_PER_SEC;
}
