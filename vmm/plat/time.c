/*
 * time.c - monotonic time from the TSC, randomness that needs no secrecy
 *
 * The loader measured the TSC; it runs at a constant rate and equal on all
 * CPUs on everything that has SVM with nested paging and an OS that trusts it.
 */
#include "vmm/plat/time.h"

#include "base/plat.h"
#include "vmm/cpu/cpu.h"

static u64 tsc_start;
static u64 ns_per_tsc_q32; /* nanoseconds per tick, 32 fraction bits */
static u64 random_state;
static bool have_rdrand;

/** time_init() - @tsc_hz from the loader; an implausible one counts as 1 GHz */
void time_init(u64 tsc_hz)
{
	u32 r[4];

	if (tsc_hz < 1000000)
		tsc_hz = 1000000000;
	tsc_start = rdtsc();
	ns_per_tsc_q32 = (NS_PER_SEC << 32) / tsc_hz;
	cpuid(1, 0, r);
	have_rdrand = r[2] & BIT(30);
	random_state = rdtsc() * 0x9e3779b97f4a7c15ull | 1;
}

/** time_tsc_to_ns() - length of a span of TSC ticks */
u64 time_tsc_to_ns(u64 ticks)
{
	return (u64)((unsigned __int128)ticks * ns_per_tsc_q32 >> 32);
}

u64 plat_time_ns(void)
{
	return time_tsc_to_ns(rdtsc() - tsc_start);
}

static u64 random_word(void)
{
	u64 v = 0;
	u8 ok = 0;
	u32 i;

	for (i = 0; have_rdrand && i < 10 && !ok; i++)
		asm volatile("rdrand %0; setc %1" : "=r"(v), "=qm"(ok) :: "cc");
	random_state ^= rdtsc();
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return v ^ random_state;
}

/** plat_random() - see base/plat.h; identifiers only, never keys */
void plat_random(void *out, size_t bytes)
{
	u8 *p = out;

	while (bytes) {
		u64 w = random_word();
		u32 i;

		for (i = 0; i < 8 && bytes; i++, bytes--, w >>= 8)
			*p++ = (u8)w;
	}
}
