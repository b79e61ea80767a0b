/*
 * assert.h - checks of our own invariants, never compiled out
 *
 * A value that came from the guest, the network, a disk or the firmware must
 * never reach assert(): such a value gets an error, not a panic.
 */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

#include "base/plat.h"

#undef assert
#define assert(cond)                                                           \
	do {                                                                   \
		if (__builtin_expect(!(cond), 0))                              \
			plat_panic("%s:%d: assertion failed: %s", __FILE__,    \
				   __LINE__, #cond);                           \
	} while (0)

#ifndef static_assert
#define static_assert _Static_assert
#endif

#endif
