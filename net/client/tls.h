/*
 * tls.h - the client's side of a TLS 1.2 connection to the site's own server
 *
 * A struct tls_site is what all connections share: whom to believe, and where
 * randomness comes from. A struct tls is one connection's; it is set up once and
 * used again and again. Bytes go in and out by tls_wire's functions; nothing here
 * waits, and nothing is allocated but of crypto_arena.c's arena.
 */
#ifndef NET_CLIENT_TLS_H
#define NET_CLIENT_TLS_H

#include "base/crypto.h"
#include "base/types.h"

#define TLS_KEYS_MAX 4

struct tls_wire {
	/* Bytes taken, at least 1; -EAGAIN. */
	int (*send)(void *ctx, const void *data, size_t bytes);
	/* Bytes put at @out; 0: the peer sends no more; -EAGAIN. */
	int (*recv)(void *ctx, void *out, size_t room);
};

struct tls_site;
struct tls;

/**
 * tls_site_create() - what connections to one site's server at @ip share
 * @keys: the site's public keys; one of them must have signed the certificate
 * @ip:   host order; the certificate must name it
 *
 * Return: 0; -EINVAL; -ENOMEM.
 */
int tls_site_create(struct tls_site **out, const u8 (*keys)[P256_PUB_BYTES], u32 nkeys, u32 ip);
void tls_site_destroy(struct tls_site *s);
/**
 * tls_site_time() - the site itself said that it is at least @unix_seconds
 *
 * The one clock there is: certificates that ended before are refused. Never
 * goes back.
 */
void tls_site_time(struct tls_site *s, u64 unix_seconds);

int tls_create(struct tls **out, struct tls_site *s, const struct tls_wire *wire, void *ctx);
void tls_destroy(struct tls *t);

/** tls_begin() - forget the last connection, be ready for a new one; 0, -ENOMEM */
int tls_begin(struct tls *t);

/**
 * tls_handshake() - go on with it
 *
 * Return: 0: done, and the server is the site's; -EAGAIN: the wire first;
 * -EINPROGRESS: call again, there is more to compute; -EKEYREJECTED: it is not
 * the site's server; -EOPNOTSUPP: nothing in common, or no TLS at all; -ECONNRESET;
 * -ENOMEM; -EPROTO. What is wrong has been logged.
 */
int tls_handshake(struct tls *t);

/** tls_read() - bytes; 0: the end, as the peer meant it; -EAGAIN; -ECONNRESET; -EPROTO */
int tls_read(struct tls *t, void *out, size_t room);

/** tls_pending() - is there something to read that has left the wire already? */
bool tls_pending(const struct tls *t);

/**
 * tls_room() - how much the wire must have room for, for tls_write() of @bytes
 */
size_t tls_room(size_t bytes);

/** tls_write() - all of it: 0; others: the connection is of no more use */
int tls_write(struct tls *t, const void *data, size_t bytes);

/** tls_end() - tell the peer, best effort */
void tls_end(struct tls *t);

#endif
