/*
 * net_tlsd.c - the server's side of TLS, and certificates right and wrong
 */
#include "tests/fakes/net_tlsd.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "base/plat.h"

struct tlsd {
	SSL *ssl;
	BIO *in, *out;
};

struct tlsd *tlsd_create(SSL_CTX *ctx)
{
	struct tlsd *t = calloc(1, sizeof(*t));

	t->ssl = SSL_new(ctx);
	t->in = BIO_new(BIO_s_mem());
	t->out = BIO_new(BIO_s_mem());
	BIO_set_mem_eof_return(t->in, -1);
	SSL_set_bio(t->ssl, t->in, t->out);
	SSL_set_accept_state(t->ssl);
	return t;
}

void tlsd_free(struct tlsd *t)
{
	if (t)
		SSL_free(t->ssl);
	free(t);
}

void tlsd_feed(struct tlsd *t, const void *cipher, u32 bytes)
{
	BIO_write(t->in, cipher, (int)bytes);
}

int tlsd_read(struct tlsd *t, void *plain, u32 room)
{
	int n = SSL_read(t->ssl, plain, (int)room);

	return MAX(n, 0);
}

void tlsd_write(struct tlsd *t, const void *plain, u32 bytes)
{
	if (bytes && SSL_write(t->ssl, plain, (int)bytes) != (int)bytes)
		plat_panic("tlsd: write");
}

u32 tlsd_pending(struct tlsd *t)
{
	return (u32)BIO_pending(t->out);
}

u32 tlsd_take(struct tlsd *t, void *cipher, u32 room)
{
	int n = BIO_read(t->out, cipher, (int)room);

	return n > 0 ? (u32)n : 0;
}

void tlsd_shutdown(struct tlsd *t)
{
	if (SSL_is_init_finished(t->ssl))
		SSL_shutdown(t->ssl);
}

/* ---------------------------------------------------------------- certificates */

static EVP_PKEY *site_key(void)
{
	static EVP_PKEY *key;

	if (!key)
		key = EVP_EC_gen("P-256");
	return key;
}

void tlsd_site_key(u8 pub[P256_PUB_BYTES])
{
	u8 raw[1 + P256_PUB_BYTES];
	size_t n;

	EVP_PKEY_get_octet_string_param(site_key(), "pub", raw, sizeof(raw), &n);
	memcpy(pub, raw + 1, P256_PUB_BYTES);
}

static void extend(X509 *x, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	X509_add_ext(x, e, -1);
	X509_EXTENSION_free(e);
}

static void set_name(X509_NAME *n, const char *cn)
{
	X509_NAME_add_entry_by_txt(n, "O", MBSTRING_UTF8, (const u8 *)"Freshet", -1, -1, 0);
	X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_UTF8, (const u8 *)cn, -1, -1, 0);
}

static X509 *make(const char *cn, EVP_PKEY *key, const char *issuer, long ends_in_s)
{
	X509 *x = X509_new();

	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 7);
	X509_gmtime_adj(X509_getm_notBefore(x), -86400 * 1000);
	X509_gmtime_adj(X509_getm_notAfter(x), ends_in_s);
	X509_set_pubkey(x, key);
	set_name(X509_get_subject_name(x), cn);
	set_name(X509_get_issuer_name(x), issuer);
	return x;
}

static X509 *make_authority(EVP_PKEY *key, const char *cn, EVP_PKEY *signer)
{
	X509 *x = make(cn, key, "Freshet site", 86400);

	extend(x, NID_basic_constraints, "critical,CA:TRUE");
	extend(x, NID_key_usage, "critical,keyCertSign");
	X509_sign(x, signer, EVP_sha256());
	return x;
}

static X509 *make_leaf(const struct tlsd_cert *c, EVP_PKEY *key, const char *issuer)
{
	X509 *x = make("server", key, c->self_signed ? "server" : issuer,
		       c->ends_in_s ? c->ends_in_s : 86400 * 365);

	extend(x, NID_basic_constraints, "critical,CA:FALSE");
	extend(x, NID_key_usage, "critical,digitalSignature");
	extend(x, NID_ext_key_usage, c->client_only ? "clientAuth" : "serverAuth");
	if (!c->no_names)
		extend(x, NID_subject_alt_name,
		       c->other_name ? "DNS:localhost,IP:10.0.0.9,IP:fd00::1" :
		       c->dns_name   ? "DNS:10.0.0.1" :
				       "DNS:localhost,IP:127.0.0.1,IP:10.0.0.1");
	return x;
}

/* Change one byte that is signed and that parses all the same. */
static X509 *tamper(X509 *x)
{
	u8 *der = NULL, *at;
	const u8 *p;
	int n = i2d_X509(x, &der);
	X509 *out;

	at = memmem(der, (size_t)n, "server", 6);
	*at = 'S';
	p = der;
	out = d2i_X509(NULL, &p, n);
	OPENSSL_free(der);
	X509_free(x);
	return out;
}

SSL_CTX *tlsd_context(const struct tlsd_cert *c)
{
	EVP_PKEY *key = c->rsa ? EVP_RSA_gen(2048) : EVP_EC_gen(c->p384 ? "P-384" : "P-256");
	EVP_PKEY *other = EVP_EC_gen("P-256"), *signer = site_key();
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	X509 *x;

	SSL_CTX_set_min_proto_version(ctx, c->min_version ? c->min_version : TLS1_2_VERSION);
	SSL_CTX_set_max_proto_version(ctx, c->max_version);
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_cipher_list(ctx, c->ciphers ? c->ciphers : "ECDHE+AESGCM:ECDHE+CHACHA20");
	if (c->ca_itself) {
		x = make_authority(site_key(), "Freshet site", site_key());
		EVP_PKEY_free(key);
		key = site_key();
		EVP_PKEY_up_ref(key);
	} else {
		x = make_leaf(c, key, c->in_between ? "between" : "Freshet site");
		signer = c->self_signed ? key : c->wrong_ca_key || c->in_between ? other : signer;
		X509_sign(x, signer, c->sha384 ? EVP_sha384() : EVP_sha256());
	}
	if (c->tampered)
		x = tamper(x);
	SSL_CTX_use_certificate(ctx, x);
	SSL_CTX_use_PrivateKey(ctx, key);
	if (c->in_between)
		SSL_CTX_add_extra_chain_cert(ctx, make_authority(other, "between", site_key()));
	if (c->wrong_ca_key)
		SSL_CTX_add_extra_chain_cert(ctx, make_authority(other, "Freshet site", other));
	X509_free(x);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
	return ctx;
}
