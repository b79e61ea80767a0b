/*
 * net_tlsd.h - the server's side of TLS for net_httpd.c, by OpenSSL, and
 * certificates right and wrong
 */
#ifndef TESTS_FAKES_NET_TLSD_H
#define TESTS_FAKES_NET_TLSD_H

#include <openssl/ssl.h>

#include "base/crypto.h"
#include "base/types.h"

/* One connection; bytes go through memory. */
struct tlsd;
struct tlsd *tlsd_create(SSL_CTX *ctx);
void tlsd_free(struct tlsd *t);
void tlsd_feed(struct tlsd *t, const void *cipher, u32 bytes);
int tlsd_read(struct tlsd *t, void *plain, u32 room); /* 0: nothing now */
void tlsd_write(struct tlsd *t, const void *plain, u32 bytes);
u32 tlsd_pending(struct tlsd *t); /* cipher bytes to be sent */
u32 tlsd_take(struct tlsd *t, void *cipher, u32 room);
void tlsd_shutdown(struct tlsd *t);

/* What is special about a certificate; all zero: what server/tls.c makes. */
struct tlsd_cert {
	bool wrong_ca_key; /* signed by another authority of the same name */
	bool self_signed;
	bool no_names, other_name; /* instead of 10.0.0.1 */
	bool dns_name; /* "10.0.0.1" as a host name */
	bool client_only; /* not for servers */
	bool ca_itself; /* the site's own key and certificate as the server's */
	bool in_between; /* signed by an authority that the site key has signed */
	bool rsa; /* an RSA key, signed by the site key */
	bool p384; /* a key on another curve */
	bool sha384; /* another digest */
	bool tampered; /* one byte of the name changed after signing */
	long ends_in_s; /* from now; 0: a year */
	int min_version, max_version; /* 0: TLS 1.2 and 1.3 */
	const char *ciphers; /* NULL: as server/tls.c */
};

/* A server's context with such a certificate. */
SSL_CTX *tlsd_context(const struct tlsd_cert *c);
/* The site's public key, the same in all tests of one program. */
void tlsd_site_key(u8 pub[P256_PUB_BYTES]);

#endif
