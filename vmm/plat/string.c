/*
 * string.c - the C library functions that the VMM and its libraries call
 *
 * No SSE state is ever touched in the host, for it is the guest's: copies go by
 * words. The string instructions take some 30 cycles to begin (in an emulator
 * each of their steps costs what a loop's does, and more), so what is short
 * does without them. Backwards they are slow anywhere.
 */
#include <string.h>

#include "base/types.h"

/* Or the loops below become calls of the functions that they are in. */
#pragma GCC optimize("no-tree-loop-distribute-patterns")

#define SHORT 512u

typedef u64 word __attribute__((aligned(1), may_alias));

/* From the first byte on: right where @d is below @s, or they do not overlap. */
static void forward(u8 *d, const u8 *s, size_t n)
{
	if (n >= SHORT) {
		size_t words = n / 8;

		asm volatile("rep movsq" : "+D"(d), "+S"(s), "+c"(words) :: "memory");
		n %= 8;
	}
	for (; n >= 8; n -= 8, d += 8, s += 8)
		*(word *)d = *(const word *)s;
	while (n--)
		*d++ = *s++;
}

static void backward(u8 *d, const u8 *s, size_t n)
{
	d += n;
	s += n;
	for (; n >= 8; n -= 8) {
		d -= 8;
		s -= 8;
		*(word *)d = *(const word *)s;
	}
	while (n--)
		*--d = *--s;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	forward(to, from, n);
	return to;
}

void *memmove(void *to, const void *from, size_t n)
{
	if ((uintptr_t)to - (uintptr_t)from >= n)
		forward(to, from, n);
	else
		backward(to, from, n);
	return to;
}

void *memset(void *to, int c, size_t n)
{
	u64 fill = (u8)c * 0x0101010101010101ull;
	u8 *d = to;

	if (n >= SHORT) {
		size_t words = n / 8;

		asm volatile("rep stosq" : "+D"(d), "+c"(words) : "a"(fill) : "memory");
		n %= 8;
	}
	for (; n >= 8; n -= 8, d += 8)
		*(word *)d = fill;
	while (n--)
		*d++ = (u8)c;
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;

	for (; n >= 8; n -= 8, x += 8, y += 8) {
		u64 p, q;

		__builtin_memcpy(&p, x, 8);
		__builtin_memcpy(&q, y, 8);
		if (p != q)
			break;
	}
	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

void *memchr(const void *s, int c, size_t n)
{
	const u8 *p = s;

	for (; n; n--, p++)
		if (*p == (u8)c)
			return (void *)(uintptr_t)p;
	return NULL;
}

size_t strlen(const char *s)
{
	const char *p = s;

	while (*p)
		p++;
	return (size_t)(p - s);
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (u8)*a - (u8)*b;
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n; n--, a++, b++)
		if (*a != *b || !*a)
			return (u8)*a - (u8)*b;
	return 0;
}

char *strchr(const char *s, int c)
{
	for (;; s++) {
		if (*s == (char)c)
			return (char *)(uintptr_t)s;
		if (!*s)
			return NULL;
	}
}

char *strstr(const char *s, const char *what)
{
	size_t n = strlen(what);

	for (; *s || !n; s++)
		if (!strncmp(s, what, n))
			return (char *)(uintptr_t)s;
	return NULL;
}
