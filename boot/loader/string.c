/*
 * string.c - the C library functions that the compiler and portable code ask for
 *
 * Built with -fno-tree-loop-distribute-patterns, or they would call themselves.
 */
#include <string.h>

#include "base/plat.h"
#include "base/types.h"
#include "boot/loader/loader.h"

void *memcpy(void *restrict d, const void *restrict s, size_t n)
{
	u8 *to = d;
	const u8 *from = s;

	while (n--)
		*to++ = *from++;
	return d;
}

void *memmove(void *d, const void *s, size_t n)
{
	u8 *to = d;
	const u8 *from = s;

	if (to <= from)
		return memcpy(d, s, n);
	while (n--)
		to[n] = from[n];
	return d;
}

void *memset(void *d, int c, size_t n)
{
	u8 *to = d;

	while (n--)
		*to++ = (u8)c;
	return d;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;

	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

int strcmp(const char *a, const char *b)
{
	for (; *a && *a == *b; a++, b++)
		;
	return (u8)*a - (u8)*b;
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n && *a && *a == *b; a++, b++, n--)
		;
	return n ? (u8)*a - (u8)*b : 0;
}

/* An own invariant is broken: before the launch, so nothing needs stopping. */
void plat_panic(const char *fmt, ...)
{
	con_print("\nfreshet: %s\n", fmt);
	reboot();
}
