/* crash.h - a panic's last words, kept for the next boot; see boot/crash.h */
#ifndef VMM_PLAT_CRASH_H
#define VMM_PLAT_CRASH_H

#include "boot/handoff.h"

/* Log what the loader has @found, and keep it at @place, where a panic will be kept. */
void crash_init(struct crash_record *place, const struct crash_record *found);
void crash_keep(u64 log_from); /* panic: the log from there on; caches are the caller's affair */
u32 crash_report(char *out, u32 room); /* for deploy_cfg.report_more */

#endif
