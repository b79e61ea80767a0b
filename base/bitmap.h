/*
 * bitmap.h - bits in an array of u64, caller's memory
 */
#ifndef BASE_BITMAP_H
#define BASE_BITMAP_H

#include "base/types.h"

#define BITMAP_WORDS(bits) DIV_ROUND_UP((size_t)(bits), 64u)

static inline bool bitmap_test(const u64 *map, size_t i)
{
	return map[i / 64] >> (i % 64) & 1;
}

static inline void bitmap_set(u64 *map, size_t i)
{
	map[i / 64] |= 1ull << (i % 64);
}

static inline void bitmap_clear(u64 *map, size_t i)
{
	map[i / 64] &= ~(1ull << (i % 64));
}

/* First clear bit at or after @from, or @bits when there is none. */
static inline size_t bitmap_next_clear(const u64 *map, size_t bits, size_t from)
{
	while (from < bits) {
		u64 w = ~map[from / 64] >> (from % 64);

		if (w) {
			from += (size_t)__builtin_ctzll(w);
			return from < bits ? from : bits;
		}
		from = (from / 64 + 1) * 64;
	}
	return bits;
}

/* First set bit at or after @from, or @bits when there is none. */
static inline size_t bitmap_next_set(const u64 *map, size_t bits, size_t from)
{
	while (from < bits) {
		u64 w = map[from / 64] >> (from % 64);

		if (w) {
			from += (size_t)__builtin_ctzll(w);
			return from < bits ? from : bits;
		}
		from = (from / 64 + 1) * 64;
	}
	return bits;
}

#endif
