/*
 * limit.h - so many a second, per address
 */
#ifndef SERVER_LIMIT_H
#define SERVER_LIMIT_H

#include "base/types.h"

#define LIMIT_SLOTS 4096

/* A token bucket per address; few share one by their hash, which only makes it stricter. */
struct limit {
	u32 per_period; /* and the burst */
	u64 period_ns;
	struct limit_slot {
		u64 time_ns;
		u32 left; /* at time_ns */
		u32 hash;
	} slots[LIMIT_SLOTS];
};

void limit_init(struct limit *l, u32 per_period, u64 period_ns);
bool limit_take(struct limit *l, const char *address, u64 now_ns);
bool limit_has(struct limit *l, const char *address, u64 now_ns);

#endif
