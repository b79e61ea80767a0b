/*
 * The port as the simulator has it: a clock that stands still until somebody
 * moves it, memory that a power cut takes away whole, randomness that repeats.
 *
 * A signature is a hash with a secret in front: what is tried here is what is
 * done with the answer. SHA-256 is the real one but for chunks.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/crypto.h"
#include "base/err.h"
#include "base/list.h"
#include "base/plat.h"
#include "tests/sim/sim.h"

u64 sim_now = NS_PER_SEC;
u64 sim_random = 1;
u32 sim_allocs;
const u8 sim_keys[1][P256_PUB_BYTES] = { "the site" };

/* splitmix64: a good stream from any state, zero too */
u64 sim_rng(u64 *s)
{
	u64 x = *s += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

u64 sim_mix(u64 a, u64 b)
{
	u64 s = a * 0xd1342543de82ef95ull ^ b;

	sim_rng(&s);
	return sim_rng(&s);
}

/* ---------------------------------------------------------------- memory */

struct mem {
	struct list link;
	u64 pad[2];
};

static struct list mem = LIST_INIT(mem);

void *plat_alloc(size_t bytes)
{
	struct mem *m = calloc(1, sizeof(*m) + bytes);

	list_add_tail(&mem, &m->link);
	sim_allocs++;
	return m + 1;
}

void plat_free(void *p)
{
	struct mem *m;

	if (!p)
		return;
	m = (struct mem *)p - 1;
	list_del(&m->link);
	sim_allocs--;
	free(m);
}

void sim_forget_memory(void)
{
	struct mem *m, *tmp;

	list_for_each_safe(m, tmp, &mem, link)
		free(m);
	list_init(&mem);
	sim_allocs = 0;
}

void *plat_phys_to_virt(hpa_t pa)
{
	return (void *)(uintptr_t)pa.v;
}

hpa_t plat_virt_to_phys(const void *va)
{
	return HPA((uintptr_t)va);
}

/* ---------------------------------------------------------------- the rest of the port */

u64 plat_time_ns(void)
{
	return sim_now;
}

void plat_random(void *out, size_t bytes)
{
	u8 *p = out;

	while (bytes) {
		u64 x = sim_rng(&sim_random);
		size_t n = MIN(bytes, sizeof(x));

		memcpy(p, &x, n);
		p += n;
		bytes -= n;
	}
}

void plat_log_write(const char *line, size_t bytes)
{
	if (sim.verbose > 1)
		fprintf(stderr, "%12.6f %.*s", (double)sim_now / 1e9, (int)bytes, line);
}

void plat_panic(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	sim_fail("panic: %s", text);
}

/* ---------------------------------------------------------------- crypto */

/* For whole chunks: as good where nobody tries to cheat, and twenty times as fast. */
static void quick_hash(u8 out[SHA256_BYTES], const u8 *p, size_t bytes)
{
	u64 h[4] = { bytes, 1, 2, 3 }, x[4];

	for (; bytes >= sizeof(x); bytes -= sizeof(x), p += sizeof(x)) {
		memcpy(x, p, sizeof(x));
		for (u32 i = 0; i < 4; i++) {
			h[i] = (h[i] ^ x[i]) * 0x9e3779b97f4a7c15ull;
			h[i] ^= h[i] >> 29;
		}
	}
	memset(x, 0, sizeof(x));
	memcpy(x, p, bytes);
	for (u32 i = 0; i < 4; i++)
		h[i] = sim_mix(h[i] ^ x[i], h[(i + 1) % 4]);
	memcpy(out, h, SHA256_BYTES);
}

void crypto_sha256(u8 out[SHA256_BYTES], const void *data, size_t bytes)
{
	if (bytes >= 32768)
		quick_hash(out, data, bytes);
	else
		SHA256(data, bytes, out);
}

void sim_sign(u8 sig[P256_SIG_BYTES], const u8 digest[SHA256_BYTES])
{
	u8 text[64] = "what only the site knows";

	memcpy(text + 32, digest, SHA256_BYTES);
	SHA256(text, sizeof(text), sig);
	SHA256(sig, 32, sig + 32);
}

int crypto_p256_verify(const u8 pub[P256_PUB_BYTES], const u8 digest[SHA256_BYTES],
		       const u8 sig[P256_SIG_BYTES])
{
	u8 want[P256_SIG_BYTES];

	(void)pub;
	sim_sign(want, digest);
	return memcmp(want, sig, sizeof(want)) ? -EKEYREJECTED : 0;
}
