/*
 * crypto_sign.h - making signatures: the server and the tools only
 *
 * Site keys are PEM files (unencrypted PKCS#8, mode 0600) that `freshet key
 * new` makes. crypto_openssl.c implements this; the VMM never signs.
 */
#ifndef BASE_CRYPTO_SIGN_H
#define BASE_CRYPTO_SIGN_H

#include "base/crypto.h"

struct crypto_key; /* a private P-256 key */

/** key_generate() - 0, -ENOMEM, -EIO when the library refuses */
int key_generate(struct crypto_key **out);
/** key_load_pem() - 0; -ENOENT and other errors of open(); -EINVAL: not a P-256 private key */
int key_load_pem(struct crypto_key **out, const char *path);
/** key_save_pem() - new file, mode 0600, fsynced; -EEXIST rather than overwrite */
int key_save_pem(const struct crypto_key *k, const char *path);
void key_public(const struct crypto_key *k, u8 pub[P256_PUB_BYTES]);
/** key_sign() - 0 or -EIO */
int key_sign(const struct crypto_key *k, const u8 digest[SHA256_BYTES], u8 sig[P256_SIG_BYTES]);
void key_free(struct crypto_key *k);

#endif
