/*
 * log.h - one line per fact: "module: fact key=value"
 *
 * ERR: someone must act. WARN: degraded. INFO: a state changed. DBG: per
 * module, at run time. Whatever a guest, the network or a disk can trigger
 * goes through log_limited().
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/types.h"

enum log_level {
	LOG_ERR,
	LOG_WARN,
	LOG_INFO,
	LOG_DBG,
};

extern enum log_level log_level; /* lines above this level are dropped */

void log_line(enum log_level level, const char *fmt, ...) __printf_like(2, 3);

#define log_err(...) log_line(LOG_ERR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_dbg(...)                                                           \
	do {                                                                   \
		if (log_level >= LOG_DBG)                                      \
			log_line(LOG_DBG, __VA_ARGS__);                        \
	} while (0)

/* At most @burst lines per second from one place; the rest are counted. */
struct log_limit {
	u64 window_ns;
	u32 used;
	u32 dropped;
};

bool log_limit_ok(struct log_limit *l, u32 burst);

#define log_limited(level, ...)                                                \
	do {                                                                   \
		static struct log_limit _limit;                                \
		if (log_limit_ok(&_limit, 5))                                  \
			log_line((level), __VA_ARGS__);                        \
	} while (0)

#endif
