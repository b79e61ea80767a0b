/*
 * cache.h - objects that were just served, ready to be served again
 */
#ifndef SERVER_CACHE_H
#define SERVER_CACHE_H

#include "base/crypto.h"
#include "base/types.h"

struct cache;
struct evbuffer;

/* An object, open; counted. */
struct cached;

int cache_create(struct cache **out, u32 entries);
void cache_destroy(struct cache *c);
struct cached *cache_get(struct cache *c, const u8 digest[SHA256_BYTES]);
struct cached *cache_put(struct cache *c, const u8 digest[SHA256_BYTES], int fd, u64 bytes);
u64 cached_bytes(const struct cached *o);
int cached_add(struct evbuffer *out, struct cached *o, u64 bytes);
void cached_hold(struct cached *o);
void cached_release(struct cached *o);

#endif
