/*
 * plat_host.c - the port for hosted programs: the server, the tools, the tests
 *
 * Tests that need a virtual clock set plat_host_now_ns; everything else reads
 * CLOCK_MONOTONIC. Fuzzers want the same randomness each time and set
 * plat_host_predictable. A panic aborts, so that sanitizers and debuggers see it.
 */
#include "base/plat_host.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/plat.h"

u64 plat_host_now_ns;
bool plat_host_quiet;
bool plat_host_predictable;

u64 plat_time_ns(void)
{
	struct timespec ts;

	if (plat_host_now_ns)
		return plat_host_now_ns;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NS_PER_SEC + (u64)ts.tv_nsec;
}

void *plat_alloc(size_t bytes)
{
	void *p = NULL;

	/* Page-aligned like the VMM's larger allocations, so DMA buffers fit. */
	if (posix_memalign(&p, bytes >= PAGE_BYTES ? PAGE_BYTES : 16, bytes ? bytes : 1))
		return NULL;
	return memset(p, 0, bytes);
}

void plat_free(void *p)
{
	free(p);
}

void *plat_phys_to_virt(hpa_t pa)
{
	return (void *)(uintptr_t)pa.v;
}

hpa_t plat_virt_to_phys(const void *va)
{
	return HPA((uintptr_t)va);
}

void plat_random(void *out, size_t bytes)
{
	if (getrandom(out, bytes, 0) != (ssize_t)bytes)
		plat_panic("getrandom failed");
}

bool plat_entropy(void *out, size_t bytes)
{
	if (plat_host_predictable)
		memset(out, 0x5a, bytes);
	else
		plat_random(out, bytes);
	return true;
}

void plat_log_write(const char *line, size_t bytes)
{
	if (!plat_host_quiet)
		fwrite(line, 1, bytes, stderr);
}

void plat_panic(const char *fmt, ...)
{
	va_list ap;

	fputs("panic: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}
