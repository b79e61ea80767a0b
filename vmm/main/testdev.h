/*
 * testdev.h - pages and ports hooked at the wish of the bare-metal test guest
 */
#ifndef VMM_MAIN_TESTDEV_H
#define VMM_MAIN_TESTDEV_H

#include "base/types.h"

/* HC_TEST; @gpa of a struct handoff_test, not trusted. 0 or a negative error. */
s64 testdev_call(u64 gpa);

#endif
