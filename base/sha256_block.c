/*
 * sha256_block.c - SHA-256 of one block, in registers
 *
 * Takes the place of Mbed TLS's own (MBEDTLS_SHA256_PROCESS_ALT), which keeps its
 * variables in memory to wipe them: every chunk that comes over the network is
 * hashed, and that is no secret. Keys of TLS pass through here too; what is left of
 * them stays on the VMM's own stack. The rest of SHA-256 stays Mbed TLS's.
 *
 * The eight variables change names instead of places, and the schedule is a ring
 * of sixteen words. Three rotations of one word are two chained ones, and
 * Maj(a,b,c) uses a^b of this round and of the one before.
 *
 * Spec: [FIPS 180-4 §6.2.2]
 */
#include <mbedtls/sha256.h>

#include "base/endian.h"

static const u32 k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

static inline u32 ror(u32 x, u32 n)
{
	return x >> n | x << (32 - n);
}

/* Rotations by 6, 11, 25; and 2, 13, 22. */
#define SUM1(x) ror(ror(ror((x), 14) ^ (x), 5) ^ (x), 6)
#define SUM0(x) ror(ror(ror((x), 9) ^ (x), 11) ^ (x), 2)
/* 7, 18, and a shift by 3; 17, 19, and a shift by 10. */
#define SIGMA0(x) (ror(ror((x), 11) ^ (x), 7) ^ (x) >> 3)
#define SIGMA1(x) (ror(ror((x), 2) ^ (x), 17) ^ (x) >> 10)

/* @bc is b^c, and a^b for the next round, which calls it @ab. */
#define ROUND(a, b, c, d, e, f, g, h, ab, bc, i, word)                                    \
	do {                                                                              \
		(h) += SUM1(e) + ((g) ^ ((e) & ((f) ^ (g)))) + k[i] + (word);             \
		(d) += (h);                                                               \
		(ab) = (a) ^ (b);                                                         \
		(bc) = ((bc) & (ab)) ^ (b);                                               \
		(h) += SUM0(a) + (bc);                                                    \
	} while (0)

#define FIRST(i) (w[i] = get_be32(data + 4 * (i)))
#define NEXT(i)                                                                           \
	(w[(i) & 15] += SIGMA1(w[((i) - 2) & 15]) + w[((i) - 7) & 15] +                   \
			SIGMA0(w[((i) - 15) & 15]))

#define EIGHT(i, word)                                                                    \
	do {                                                                              \
		ROUND(a, b, c, d, e, f, g, h, x, y, (i), word(i));                        \
		ROUND(h, a, b, c, d, e, f, g, y, x, (i) + 1, word((i) + 1));              \
		ROUND(g, h, a, b, c, d, e, f, x, y, (i) + 2, word((i) + 2));              \
		ROUND(f, g, h, a, b, c, d, e, y, x, (i) + 3, word((i) + 3));              \
		ROUND(e, f, g, h, a, b, c, d, x, y, (i) + 4, word((i) + 4));              \
		ROUND(d, e, f, g, h, a, b, c, y, x, (i) + 5, word((i) + 5));              \
		ROUND(c, d, e, f, g, h, a, b, x, y, (i) + 6, word((i) + 6));              \
		ROUND(b, c, d, e, f, g, h, a, y, x, (i) + 7, word((i) + 7));              \
	} while (0)

/** mbedtls_internal_sha256_process() - see mbedtls/sha256.h; cannot fail */
int mbedtls_internal_sha256_process(mbedtls_sha256_context *ctx, const unsigned char data[64])
{
	u32 *s = ctx->state;
	u32 a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];
	u32 w[16], x, y = b ^ c;

	EIGHT(0, FIRST);
	EIGHT(8, FIRST);
	for (u32 i = 16; i < 64; i += 16) {
		EIGHT(i, NEXT);
		EIGHT(i + 8, NEXT);
	}
	s[0] += a;
	s[1] += b;
	s[2] += c;
	s[3] += d;
	s[4] += e;
	s[5] += f;
	s[6] += g;
	s[7] += h;
	return 0;
}
