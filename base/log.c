#include "base/log.h"

#include <stdarg.h>

#include "base/fmt.h"
#include "base/plat.h"

#define LOG_LINE_BYTES 256

enum log_level log_level = LOG_INFO;

static const char level_tag[] = { 'E', 'W', 'I', 'D' };

/**
 * log_line() - format one line, stamp it and hand it to the platform
 * @level: lines above log_level are dropped
 * @fmt:   printf-like; no newline at its end; cut at 256 bytes
 *
 * The stamp is seconds since plat_time_ns() began, microseconds after the dot.
 * Context: any, NMI included; takes no lock (the platform's sink may).
 */
void log_line(enum log_level level, const char *fmt, ...)
{
	char line[LOG_LINE_BYTES];
	size_t n, room = sizeof(line) - 1;
	u64 us;
	va_list ap;

	if (level > log_level)
		return;
	us = plat_time_ns() / NS_PER_US;
	n = (size_t)fmt_snprintf(line, room, "[%5llu.%06llu] %c ",
				 (unsigned long long)(us / 1000000),
				 (unsigned long long)(us % 1000000),
				 level_tag[level]);
	va_start(ap, fmt);
	n += (size_t)fmt_vsnprintf(line + n, room - n, fmt, ap);
	va_end(ap);
	if (n > room - 1)
		n = room - 1;
	line[n++] = '\n';
	plat_log_write(line, n);
}

/**
 * log_limit_ok() - may this place log now?
 * @l:     the place's own counter, zeroed at first
 * @burst: lines allowed per second
 */
bool log_limit_ok(struct log_limit *l, u32 burst)
{
	u64 now = plat_time_ns();

	if (!l->window_ns || now - l->window_ns >= NS_PER_SEC) {
		u32 dropped = l->dropped;

		l->window_ns = now ? now : 1;
		l->used = 0;
		l->dropped = 0;
		if (dropped)
			log_line(LOG_WARN, "log: %u similar lines were dropped", dropped);
	}
	if (l->used >= burst) {
		l->dropped++;
		return false;
	}
	l->used++;
	return true;
}
