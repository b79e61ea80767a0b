/*
 * fmt.h - printf-like formatting without a C library
 *
 * Understands %d %i %u %x %X %p %s %c %% with flags "-0#", width, precision
 * (numbers or *), and the lengths hh h l ll z. Output is always terminated
 * when there is room for one byte; the return value is the length the whole
 * text would have had.
 */
#ifndef BASE_FMT_H
#define BASE_FMT_H

#include <stdarg.h>

#include "base/types.h"

int fmt_vsnprintf(char *out, size_t room, const char *fmt, va_list ap);
int fmt_snprintf(char *out, size_t room, const char *fmt, ...) __printf_like(3, 4);

/** fmt_hex() - @bytes as lower-case hex; @out has room for 2 * bytes + 1 */
char *fmt_hex(char *out, const void *data, size_t bytes);
/** fmt_unhex() - the reverse; 0, or -EINVAL unless @hex is exactly 2 * bytes digits long */
int fmt_unhex(void *out, size_t bytes, const char *hex, size_t hex_len);

#endif
