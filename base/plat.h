/*
 * plat.h - the port: what every portable file may ask of its surroundings
 *
 * The VMM implements it in vmm/plat, hosted programs and unit tests in
 * tests/fakes/plat_host.c or base/plat_host.c. Portable code includes this
 * header and no operating system's.
 */
#ifndef BASE_PLAT_H
#define BASE_PLAT_H

#include "base/types.h"

/**
 * plat_time_ns() - monotonic time in nanoseconds since an arbitrary start
 *
 * Context: any. The VMM reads the TSC; tests set a virtual clock.
 */
u64 plat_time_ns(void);

/**
 * plat_alloc() - zeroed memory, 16-byte aligned
 *
 * Only at start-up and on rare control paths: no I/O path allocates.
 * Context: pump or start-up. Return: memory, or NULL when there is none.
 */
void *plat_alloc(size_t bytes);
void plat_free(void *p);

/**
 * plat_phys_to_virt() - how the CPU reaches a host-physical address
 *
 * The VMM adds its direct map's base. On a host, "physical" addresses are
 * pointers, unless a test's fake says otherwise.
 */
void *plat_phys_to_virt(hpa_t pa);
hpa_t plat_virt_to_phys(const void *va);

/** plat_random() - @bytes of randomness for protocol identifiers, not keys */
void plat_random(void *out, size_t bytes);

/**
 * plat_entropy() - @bytes of randomness that nobody can guess, for keys
 *
 * At start-up; may take a millisecond. Return: false when there is no source that
 * deserves the name; @out is then the best that was there.
 */
bool plat_entropy(void *out, size_t bytes);

/** plat_log_write() - where finished log lines go; @line ends with a newline */
void plat_log_write(const char *line, size_t bytes);

/** plat_panic() - our own invariant is broken: stop everything, say why */
__attribute__((noreturn)) void plat_panic(const char *fmt, ...) __printf_like(1, 2);

#endif
