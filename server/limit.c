/*
 * limit.c - so many a second, per address
 *
 * A fixed table, indexed by a hash of the address. When two addresses want the
 * same slot the newcomer takes it over with a full bucket: a limit that a flood of
 * addresses could turn against a third party would be worse than one it can dodge.
 */
#include "server/limit.h"

#include <string.h>

/** limit_init() - @per_period in each @period_ns, and as many at once */
void limit_init(struct limit *l, u32 per_period, u64 period_ns)
{
	memset(l, 0, sizeof(*l));
	l->per_period = per_period;
	l->period_ns = period_ns;
}

static struct limit_slot *slot_of(struct limit *l, const char *address, u64 now_ns)
{
	struct limit_slot *s;
	u32 hash = 2166136261u; /* FNV-1a */
	u64 gained;

	for (; *address; address++)
		hash = (hash ^ (u8)*address) * 16777619u;
	s = &l->slots[hash % LIMIT_SLOTS];
	if (s->hash != hash || !s->time_ns) {
		s->hash = hash;
		s->left = l->per_period;
		s->time_ns = now_ns;
		return s;
	}
	gained = now_ns > s->time_ns ? (now_ns - s->time_ns) / (l->period_ns / l->per_period) : 0;
	if (gained >= l->per_period - s->left) {
		s->left = l->per_period;
		s->time_ns = now_ns;
	} else {
		s->left += (u32)gained;
		s->time_ns += gained * (l->period_ns / l->per_period);
	}
	return s;
}

/** limit_has() - would limit_take() say yes? */
bool limit_has(struct limit *l, const char *address, u64 now_ns)
{
	return slot_of(l, address, now_ns)->left > 0;
}

/** limit_take() - one more; false when there were too many */
bool limit_take(struct limit *l, const char *address, u64 now_ns)
{
	struct limit_slot *s = slot_of(l, address, now_ns);

	if (!s->left)
		return false;
	s->left--;
	return true;
}
