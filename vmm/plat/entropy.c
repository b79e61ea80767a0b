/*
 * entropy.c - randomness for keys: the processor's, the firmware's, and time
 *
 * Everything there is goes through SHA-256 together, so a bad source spoils no
 * good one: the loader's seed (boot/loader/entropy.c), RDSEED and RDRAND, the TSC
 * before and after each, a count of the calls. "Good" means that the firmware's
 * generator or the processor's was among them.
 *
 * The seed lies in the VMM's region, which no guest can read.
 */
#include "base/crypto.h"
#include "base/plat.h"
#include "boot/handoff.h"
#include "vmm/cpu/cpu.h"
#include "vmm/main/core.h"

#define WORDS 8
#define TRIES 10

static u64 calls;

static bool rdrand(u64 *v)
{
	u8 ok;

	asm volatile("rdrand %0; setc %1" : "=r"(*v), "=qm"(ok) :: "cc");
	return ok;
}

static bool rdseed(u64 *v)
{
	u8 ok;

	asm volatile("rdseed %0; setc %1" : "=r"(*v), "=qm"(ok) :: "cc");
	return ok;
}

static bool word(u64 *v, bool (*from)(u64 *v))
{
	for (u32 i = 0; i < TRIES; i++)
		if (from(v))
			return true;
	return false;
}

/*
 * WORDS words into @s. False when there is no such instruction, it fails, or it
 * always says the same, as some processors do after sleep.
 */
static bool add_words(struct crypto_sha256 *s, bool there, bool (*from)(u64 *v))
{
	u64 v[WORDS] = { 0 };
	bool ok = there, differ = false;

	for (u32 i = 0; i < WORDS && ok; i++) {
		ok = word(&v[i], from);
		differ |= i && v[i] != v[0];
	}
	crypto_sha256_update(s, v, sizeof(v));
	return ok && differ;
}

static void add_time(struct crypto_sha256 *s)
{
	u64 now = rdtsc();

	crypto_sha256_update(s, &now, sizeof(now));
}

/** plat_entropy() - see base/plat.h */
bool plat_entropy(void *out, size_t bytes)
{
	struct crypto_sha256 s;
	u8 pool[SHA256_BYTES], block[SHA256_BYTES], *p = out;
	u32 leaf1[4], leaf7[4];
	bool good = core_handoff->seed_good;

	cpuid(1, 0, leaf1);
	cpuid(7, 0, leaf7);
	crypto_sha256_init(&s);
	crypto_sha256_update(&s, core_handoff->seed, sizeof(core_handoff->seed));
	calls++;
	crypto_sha256_update(&s, &calls, sizeof(calls));
	add_time(&s);
	good |= add_words(&s, leaf1[2] & BIT(30), rdrand);
	add_time(&s);
	good |= add_words(&s, leaf7[1] & BIT(18), rdseed);
	add_time(&s);
	crypto_sha256_final(&s, pool);
	for (u64 n = 0; bytes; n++) {
		size_t part = MIN(bytes, sizeof(block));

		crypto_sha256_init(&s);
		crypto_sha256_update(&s, pool, sizeof(pool));
		crypto_sha256_update(&s, &n, sizeof(n));
		crypto_sha256_final(&s, block);
		for (size_t i = 0; i < part; i++)
			*p++ = block[i];
		bytes -= part;
	}
	return good;
}
