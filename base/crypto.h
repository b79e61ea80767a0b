/*
 * crypto.h - the two primitives that Freshet's trust rests on
 *
 * SHA-256 names everything, ECDSA on P-256 signs it. The VMM's implementation
 * is Mbed TLS (crypto_mbedtls.c), the server's and the tools' is OpenSSL
 * (crypto_openssl.c); both pass the same test.
 */
#ifndef BASE_CRYPTO_H
#define BASE_CRYPTO_H

#include "base/types.h"

#define SHA256_BYTES 32
#define P256_PUB_BYTES 64 /* X || Y, big-endian, no 0x04 in front */
#define P256_SIG_BYTES 64 /* r || s, big-endian */

/* Room for either library's state; initialised by crypto_sha256_init(). */
struct crypto_sha256 {
	u64 state[32];
};

void crypto_sha256_init(struct crypto_sha256 *s);
void crypto_sha256_update(struct crypto_sha256 *s, const void *data, size_t bytes);
void crypto_sha256_final(struct crypto_sha256 *s, u8 out[SHA256_BYTES]);

/** crypto_sha256() - digest of @bytes at @data */
void crypto_sha256(u8 out[SHA256_BYTES], const void *data, size_t bytes);

/**
 * crypto_p256_verify() - is @sig a signature of @digest by @pub?
 *
 * Return: 0; -EKEYREJECTED when it is not; -EINVAL for a point off the curve.
 */
int crypto_p256_verify(const u8 pub[P256_PUB_BYTES], const u8 digest[SHA256_BYTES],
		       const u8 sig[P256_SIG_BYTES]);

#endif
