/*
 * crypto_mbedtls.c - base/crypto.h by Mbed TLS, for the VMM
 *
 * Mbed TLS's big numbers want a heap: crypto_arena.c. When it runs out the
 * verification fails, and a failed verification refuses. A verification gives
 * everything back. One owner calls everything here: in the VMM that is the pump.
 */
#include "base/crypto.h"

#include <mbedtls/ecdsa.h>
#include <mbedtls/sha256.h>
#include <string.h>

#include "base/assert.h"
#include "base/err.h"

static_assert(sizeof(mbedtls_sha256_context) <= sizeof(struct crypto_sha256), "room for SHA-256");

/** crypto_sha256_init() - begin a digest; no other call is needed to end it */
void crypto_sha256_init(struct crypto_sha256 *s)
{
	mbedtls_sha256_context *c = (mbedtls_sha256_context *)s->state;

	mbedtls_sha256_init(c);
	mbedtls_sha256_starts_ret(c, 0);
}

/** crypto_sha256_update() - @bytes more */
void crypto_sha256_update(struct crypto_sha256 *s, const void *data, size_t bytes)
{
	mbedtls_sha256_update_ret((mbedtls_sha256_context *)s->state, data, bytes);
}

/** crypto_sha256_final() - the digest; @s must be initialised before its next use */
void crypto_sha256_final(struct crypto_sha256 *s, u8 out[SHA256_BYTES])
{
	mbedtls_sha256_finish_ret((mbedtls_sha256_context *)s->state, out);
}

/** crypto_sha256() - digest of @bytes at @data */
void crypto_sha256(u8 out[SHA256_BYTES], const void *data, size_t bytes)
{
	struct crypto_sha256 s;

	crypto_sha256_init(&s);
	crypto_sha256_update(&s, data, bytes);
	crypto_sha256_final(&s, out);
}

static int load_point(const mbedtls_ecp_group *g, mbedtls_ecp_point *q, const u8 *pub)
{
	u8 raw[1 + P256_PUB_BYTES] = { 0x04 };

	memcpy(raw + 1, pub, P256_PUB_BYTES);
	if (mbedtls_ecp_point_read_binary(g, q, raw, sizeof(raw)) ||
	    mbedtls_ecp_check_pubkey(g, q))
		return err_trace(-EINVAL);
	return 0;
}

/**
 * crypto_p256_verify() - is @sig a signature of @digest by @pub?
 *
 * Context: one owner; some milliseconds.
 * Return: 0; -EKEYREJECTED when it is not; -EINVAL for a point off the curve;
 * -ENOMEM when the arena is too small, which the unit test would show.
 */
int crypto_p256_verify(const u8 pub[P256_PUB_BYTES], const u8 digest[SHA256_BYTES],
		       const u8 sig[P256_SIG_BYTES])
{
	mbedtls_ecp_group g;
	mbedtls_ecp_point q;
	mbedtls_mpi r, s;
	int err;

	mbedtls_ecp_group_init(&g);
	mbedtls_ecp_point_init(&q);
	mbedtls_mpi_init(&r);
	mbedtls_mpi_init(&s);
	if (mbedtls_ecp_group_load(&g, MBEDTLS_ECP_DP_SECP256R1) ||
	    mbedtls_mpi_read_binary(&r, sig, 32) || mbedtls_mpi_read_binary(&s, sig + 32, 32)) {
		err = err_trace(-ENOMEM);
		goto out;
	}
	err = load_point(&g, &q, pub);
	if (err)
		goto out;
	if (mbedtls_ecdsa_verify(&g, digest, SHA256_BYTES, &q, &r, &s))
		err = err_trace(-EKEYREJECTED);
out:
	mbedtls_mpi_free(&s);
	mbedtls_mpi_free(&r);
	mbedtls_ecp_point_free(&q);
	mbedtls_ecp_group_free(&g);
	return err;
}
