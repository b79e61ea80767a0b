/*
 * plat_host.h - knobs of the hosted port
 */
#ifndef BASE_PLAT_HOST_H
#define BASE_PLAT_HOST_H

#include "base/types.h"

extern u64 plat_host_now_ns; /* not 0: plat_time_ns() returns exactly this */
extern bool plat_host_quiet; /* drop log lines */
extern bool plat_host_predictable; /* plat_entropy() always says the same */

#endif
