/* time.h - the TSC as a clock */
#ifndef VMM_PLAT_TIME_H
#define VMM_PLAT_TIME_H

#include "base/types.h"

void time_init(u64 tsc_hz);
u64 time_tsc_to_ns(u64 ticks);

#endif
