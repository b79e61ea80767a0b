/*
 * crypto_openssl.c - base/crypto.h and base/crypto_sign.h by OpenSSL, for hosted programs
 *
 * SHA-256 uses the low-level calls on purpose: they need no heap, so a digest
 * that is begun and dropped leaks nothing, as with the VMM's implementation.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/crypto_sign.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/err.h"

static_assert(sizeof(SHA256_CTX) <= sizeof(struct crypto_sha256), "room for SHA-256");

struct crypto_key {
	EVP_PKEY *pkey;
};

/** crypto_sha256_init() - begin a digest; no other call is needed to end it */
void crypto_sha256_init(struct crypto_sha256 *s)
{
	SHA256_Init((SHA256_CTX *)s->state);
}

/** crypto_sha256_update() - @bytes more */
void crypto_sha256_update(struct crypto_sha256 *s, const void *data, size_t bytes)
{
	SHA256_Update((SHA256_CTX *)s->state, data, bytes);
}

/** crypto_sha256_final() - the digest; @s must be initialised before its next use */
void crypto_sha256_final(struct crypto_sha256 *s, u8 out[SHA256_BYTES])
{
	SHA256_Final(out, (SHA256_CTX *)s->state);
}

/** crypto_sha256() - digest of @bytes at @data */
void crypto_sha256(u8 out[SHA256_BYTES], const void *data, size_t bytes)
{
	SHA256(data, bytes, out);
}

/* NULL for a point that is not on the curve. */
static EVP_PKEY *public_from_raw(const u8 pub[P256_PUB_BYTES])
{
	u8 raw[1 + P256_PUB_BYTES] = { 0x04 };
	char group[] = "prime256v1";
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	EVP_PKEY *pkey = NULL;
	OSSL_PARAM params[] = {
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group) - 1),
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, raw, sizeof(raw)),
		OSSL_PARAM_END,
	};

	memcpy(raw + 1, pub, P256_PUB_BYTES);
	if (c && EVP_PKEY_fromdata_init(c) == 1)
		if (EVP_PKEY_fromdata(c, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
			pkey = NULL;
	EVP_PKEY_CTX_free(c);
	return pkey;
}

/* r || s to DER; 0 and *der (to be freed by OPENSSL_free), or -ENOMEM. */
static int sig_to_der(const u8 sig[P256_SIG_BYTES], u8 **der, int *der_bytes)
{
	ECDSA_SIG *s = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(sig, 32, NULL), *v = BN_bin2bn(sig + 32, 32, NULL);

	if (!s || !r || !v || !ECDSA_SIG_set0(s, r, v)) {
		BN_free(r);
		BN_free(v);
		ECDSA_SIG_free(s);
		return err_trace(-ENOMEM);
	}
	*der = NULL;
	*der_bytes = i2d_ECDSA_SIG(s, der);
	ECDSA_SIG_free(s);
	return *der_bytes > 0 ? 0 : err_trace(-ENOMEM);
}

/**
 * crypto_p256_verify() - is @sig a signature of @digest by @pub?
 *
 * Return: 0; -EKEYREJECTED when it is not; -EINVAL for a point off the curve; -ENOMEM.
 */
int crypto_p256_verify(const u8 pub[P256_PUB_BYTES], const u8 digest[SHA256_BYTES],
		       const u8 sig[P256_SIG_BYTES])
{
	EVP_PKEY *pkey = public_from_raw(pub);
	EVP_PKEY_CTX *c;
	u8 *der;
	int der_bytes, err;

	if (!pkey)
		return err_trace(-EINVAL);
	err = sig_to_der(sig, &der, &der_bytes);
	if (err)
		goto out_key;
	c = EVP_PKEY_CTX_new(pkey, NULL);
	if (!c || EVP_PKEY_verify_init(c) != 1)
		err = err_trace(-ENOMEM);
	else if (EVP_PKEY_verify(c, der, (size_t)der_bytes, digest, SHA256_BYTES) != 1)
		err = err_trace(-EKEYREJECTED);
	EVP_PKEY_CTX_free(c);
	OPENSSL_free(der);
out_key:
	EVP_PKEY_free(pkey);
	return err;
}

static int key_wrap(struct crypto_key **out, EVP_PKEY *pkey)
{
	struct crypto_key *k = malloc(sizeof(*k));

	if (!k) {
		EVP_PKEY_free(pkey);
		return err_trace(-ENOMEM);
	}
	k->pkey = pkey;
	*out = k;
	return 0;
}

/**
 * key_generate() - a new private key from the system's randomness
 *
 * Return: 0; -EIO when the library refuses; -ENOMEM.
 */
int key_generate(struct crypto_key **out)
{
	EVP_PKEY *pkey = EVP_EC_gen("P-256");

	return pkey ? key_wrap(out, pkey) : err_trace(-EIO);
}

static bool is_p256(EVP_PKEY *pkey)
{
	char group[32];

	return EVP_PKEY_is_a(pkey, "EC") &&
	       EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, group,
					      sizeof(group), NULL) == 1 &&
	       !strcmp(group, "prime256v1");
}

/* No password prompt on a terminal: an encrypted key is refused instead. */
static int no_password(char *buf, int size, int rwflag, void *ctx)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)ctx;
	return -1;
}

/**
 * key_load_pem() - read a private key
 *
 * Return: 0; -ENOENT and other errors of fopen(); -EINVAL: not a plain P-256 private key.
 */
int key_load_pem(struct crypto_key **out, const char *path)
{
	FILE *f = fopen(path, "re");
	EVP_PKEY *pkey;

	if (!f)
		return err_trace(-errno);
	pkey = PEM_read_PrivateKey(f, NULL, no_password, NULL);
	fclose(f);
	if (!pkey || !is_p256(pkey)) {
		EVP_PKEY_free(pkey);
		return err_trace(-EINVAL);
	}
	return key_wrap(out, pkey);
}

/**
 * key_save_pem() - write a private key to a new file, mode 0600, durable
 *
 * Return: 0; -EEXIST rather than overwrite; other errors of open() and write().
 */
int key_save_pem(const struct crypto_key *k, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int err = 0;
	FILE *f;

	if (fd < 0)
		return err_trace(-errno);
	f = fdopen(fd, "w");
	if (!f) {
		err = err_trace(-errno);
		close(fd);
		unlink(path);
		return err;
	}
	if (PEM_write_PKCS8PrivateKey(f, k->pkey, NULL, NULL, 0, NULL, NULL) != 1 ||
	    fflush(f) || fsync(fd))
		err = err_trace(-EIO);
	if (fclose(f) && !err)
		err = err_trace(-EIO);
	if (err)
		unlink(path);
	return err;
}

/** key_public() - the public half, as it goes into freshet.efi */
void key_public(const struct crypto_key *k, u8 pub[P256_PUB_BYTES])
{
	u8 raw[1 + P256_PUB_BYTES];
	size_t n = 0;
	int ok = EVP_PKEY_get_octet_string_param(k->pkey, OSSL_PKEY_PARAM_PUB_KEY, raw,
						 sizeof(raw), &n);

	assert(ok == 1 && n == sizeof(raw) && raw[0] == 0x04);
	memcpy(pub, raw + 1, P256_PUB_BYTES);
}

/**
 * key_sign() - sign @digest
 * @sig: out, r || s
 *
 * Return: 0; -EIO.
 */
int key_sign(const struct crypto_key *k, const u8 digest[SHA256_BYTES], u8 sig[P256_SIG_BYTES])
{
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(k->pkey, NULL);
	u8 der[128];
	const u8 *p = der;
	size_t n = sizeof(der);
	ECDSA_SIG *s = NULL;
	int err = 0;

	if (c && EVP_PKEY_sign_init(c) == 1 &&
	    EVP_PKEY_sign(c, der, &n, digest, SHA256_BYTES) == 1)
		s = d2i_ECDSA_SIG(NULL, &p, (long)n);
	if (!s || BN_bn2binpad(ECDSA_SIG_get0_r(s), sig, 32) != 32 ||
	    BN_bn2binpad(ECDSA_SIG_get0_s(s), sig + 32, 32) != 32)
		err = err_trace(-EIO);
	ECDSA_SIG_free(s);
	EVP_PKEY_CTX_free(c);
	return err;
}

/** key_free() - also of NULL; the library wipes it */
void key_free(struct crypto_key *k)
{
	if (!k)
		return;
	EVP_PKEY_free(k->pkey);
	free(k);
}
