/*
 * cc.h - what lwIP must know of our compiler and C library
 *
 * The same file serves the freestanding VMM and hosted tests. lwIP prints
 * nothing; its assertions guard its own invariants and are ours to die of.
 */
#ifndef NET_STACK_PORT_ARCH_CC_H
#define NET_STACK_PORT_ARCH_CC_H

#include "base/plat.h"

/* Freestanding: no <inttypes.h>, <unistd.h>, <ctype.h>; <limits.h> is gcc's. */
#define LWIP_NO_INTTYPES_H 1
#define LWIP_NO_CTYPE_H 1
#define LWIP_NO_UNISTD_H 1
#define LWIP_NO_LIMITS_H 1
#ifndef INT_MAX
#define INT_MAX __INT_MAX__
#endif
/* lwIP defines ssize_t unless this exists; hosted code has its own. */
#if __STDC_HOSTED__
#include <sys/types.h>
#else
typedef long ssize_t;
#endif
#ifndef SSIZE_MAX
#define SSIZE_MAX __LONG_MAX__
#endif

#define X8_F "02x"
#define U16_F "u"
#define S16_F "d"
#define X16_F "x"
#define U32_F "u"
#define S32_F "d"
#define X32_F "x"
#define SZT_F "zu"

#define LWIP_PLATFORM_DIAG(x) do { } while (0)
#define LWIP_PLATFORM_ASSERT(x) plat_panic("lwip: %s (%s:%d)", (x), __FILE__, __LINE__)

static inline u32 lwip_port_rand(void)
{
	u32 v;

	plat_random(&v, sizeof(v));
	return v;
}
#define LWIP_RAND() lwip_port_rand()

/* No threads: the pump's owner is alone in here. */
#define SYS_ARCH_DECL_PROTECT(x)
#define SYS_ARCH_PROTECT(x)
#define SYS_ARCH_UNPROTECT(x)

#endif
