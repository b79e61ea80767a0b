/*
 * err.h - error numbers, Linux's values, in every part of Freshet
 *
 * A function returns 0 or a negative number from this list. Freestanding code
 * has no <errno.h>; hosted code does, and the values agree.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#if __STDC_HOSTED__
#include <errno.h>
#else
#define EPERM 1
#define ENOENT 2
#define EINTR 4
#define EIO 5
#define ENXIO 6
#define E2BIG 7
#define EAGAIN 11
#define ENOMEM 12
#define EACCES 13
#define EFAULT 14
#define EBUSY 16
#define EEXIST 17
#define ENODEV 19
#define EINVAL 22
#define ENFILE 23
#define EFBIG 27
#define ENOSPC 28
#define EROFS 30
#define EPIPE 32
#define ERANGE 34
#define ENOSYS 38
#define ENODATA 61
#define ETIME 62
#define EPROTO 71
#define EBADMSG 74
#define EOVERFLOW 75
#define EILSEQ 84
#define EMSGSIZE 90
#define EOPNOTSUPP 95
#define EADDRNOTAVAIL 99
#define ENETUNREACH 101
#define ECONNABORTED 103
#define ECONNRESET 104
#define ENOBUFS 105
#define ENOTCONN 107
#define ETIMEDOUT 110
#define ECONNREFUSED 111
#define EHOSTUNREACH 113
#define EALREADY 114
#define EINPROGRESS 115
#define ESTALE 116
#define EREMOTEIO 121
#define ECANCELED 125
#define EKEYREJECTED 129
#endif

const char *err_name(int err);

#ifdef FRESHET_DEBUG
int err_trace_at(int err, const char *file, int line);
#define err_trace(e) err_trace_at((e), __FILE__, __LINE__)
#else
#define err_trace(e) (e)
#endif

#endif
