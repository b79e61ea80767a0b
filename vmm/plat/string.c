/*
 * string.c - the C library functions that the VMM and its libraries call
 *
 * Copies use the string instructions: no SSE state is ever touched in the
 * host, for it is the guest's.
 */
#include <string.h>

#include "base/types.h"

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	void *ret = to;

	asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) :: "memory");
	return ret;
}

void *memmove(void *to, const void *from, size_t n)
{
	void *ret = to;

	if ((uintptr_t)to - (uintptr_t)from >= n)
		return memcpy(to, from, n);
	to = (u8 *)to + n - 1;
	from = (const u8 *)from + n - 1;
	asm volatile("std; rep movsb; cld" : "+D"(to), "+S"(from), "+c"(n) :: "memory");
	return ret;
}

void *memset(void *to, int c, size_t n)
{
	void *p = to;
	size_t words = n / 8, tail = n % 8;
	u64 fill = (u8)c * 0x0101010101010101ull;

	asm volatile("rep stosq" : "+D"(p), "+c"(words) : "a"(fill) : "memory");
	asm volatile("rep stosb" : "+D"(p), "+c"(tail) : "a"(fill) : "memory");
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
