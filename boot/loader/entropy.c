/*
 * entropy.c - what the firmware has of randomness, for the VMM's TLS
 *
 * EFI_RNG_PROTOCOL where there is one [UEFI 2.10 §37.5]. Beside it, and as all
 * there is without it: a count that no boot of this PC repeats, the clock, and how
 * long short waits take by the TSC. The VMM hashes everything together and adds
 * the processor's own (vmm/plat/entropy.c).
 */
#include "boot/loader/loader.h"

#define RNG_BYTES 32
#define JITTER_US 10

static EFI_GUID rng_guid = EFI_RNG_PROTOCOL_GUID;

static u64 tsc(void)
{
	u32 lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}

static bool firmware_rng(u8 *out)
{
	EFI_RNG_PROTOCOL *rng = NULL;

	if (EFI_ERROR(BS->LocateProtocol(&rng_guid, NULL, (void **)&rng)) || !rng)
		return false;
	return !EFI_ERROR(rng->GetRNG(rng, NULL, RNG_BYTES, out));
}

/** entropy_collect() - fill in h->seed and h->seed_good */
void entropy_collect(struct handoff *h)
{
	u8 *p = h->seed + RNG_BYTES, *end = h->seed + HANDOFF_SEED_BYTES;
	UINT64 count = 0;
	EFI_TIME now = { 0 };

	h->seed_good = firmware_rng(h->seed);
	BS->GetNextMonotonicCount(&count);
	__builtin_memcpy(p, &count, sizeof(count));
	p += sizeof(count);
	RT->GetTime(&now, NULL);
	__builtin_memcpy(p, &now, sizeof(now));
	p += sizeof(now);
	while (p + 2 <= end) {
		u64 at = tsc();

		BS->Stall(JITTER_US);
		at = tsc() - at;
		*p++ = (u8)at;
		*p++ = (u8)(at >> 8);
	}
}
