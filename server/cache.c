/*
 * cache.c - objects that were just served, ready to be served again
 *
 * When a lab boots, the same objects go to every PC within seconds. An entry is an
 * open file as libevent's file segment, which goes out by sendfile(2) on plain
 * connections and from one mapping on TLS; its bytes are in the page cache, once. Saved are
 * open, fstat, close and the set-up for each reply.
 *
 * A table of one slot per hash: a newcomer takes the slot of whoever has it. No
 * lists, no clock, and what is asked for most is there most of the time. Objects never
 * change, so an entry is never stale; one whose file was collected is served until
 * it loses its slot, which does no harm.
 */
#include "server/cache.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>

#include "base/endian.h"
#include "base/err.h"

struct cached {
	u8 digest[SHA256_BYTES];
	u64 bytes;
	struct evbuffer_file_segment *segment;
	u32 refs;
};

struct cache {
	u32 entries; /* a power of two */
	struct cached *slots[];
};

/** cache_create() - room for about @entries open files */
int cache_create(struct cache **out, u32 entries)
{
	u32 n = 16;

	while (n * 2 <= entries)
		n *= 2;
	*out = calloc(1, sizeof(**out) + n * sizeof((*out)->slots[0]));
	if (!*out)
		return -ENOMEM;
	(*out)->entries = n;
	return 0;
}

/** cached_hold() - count one more who has it */
void cached_hold(struct cached *o)
{
	o->refs++;
}

/** cached_release() - give back what get, put or hold returned */
void cached_release(struct cached *o)
{
	if (--o->refs)
		return;
	evbuffer_file_segment_free(o->segment); /* replies on their way hold it themselves */
	free(o);
}

/** cache_destroy() - NULL is fine */
void cache_destroy(struct cache *c)
{
	for (u32 i = 0; c && i < c->entries; i++)
		if (c->slots[i])
			cached_release(c->slots[i]);
	free(c);
}

static struct cached **slot_of(struct cache *c, const u8 *digest)
{
	return &c->slots[get_le64(digest) & (c->entries - 1)];
}

/** cache_get() - the object, counted; NULL when it is not here */
struct cached *cache_get(struct cache *c, const u8 digest[SHA256_BYTES])
{
	struct cached *o = *slot_of(c, digest);

	if (!o || memcmp(o->digest, digest, SHA256_BYTES))
		return NULL;
	o->refs++;
	return o;
}

/** cache_put() - keep an open file, which is taken; counted; NULL without memory, @fd closed */
struct cached *cache_put(struct cache *c, const u8 digest[SHA256_BYTES], int fd, u64 bytes)
{
	struct cached **slot = slot_of(c, digest);
	struct cached *o = calloc(1, sizeof(*o));

	if (o)
		o->segment = evbuffer_file_segment_new(fd, 0, (ev_off_t)bytes,
						       EVBUF_FS_CLOSE_ON_FREE);
	if (!o || !o->segment) {
		close(fd);
		free(o);
		return NULL;
	}
	memcpy(o->digest, digest, SHA256_BYTES);
	o->bytes = bytes;
	o->refs = 2; /* the slot's and the caller's */
	if (*slot)
		cached_release(*slot);
	*slot = o;
	return o;
}

/** cached_bytes() - how long it is */
u64 cached_bytes(const struct cached *o)
{
	return o->bytes;
}

/** cached_add() - the first @bytes of it behind @out; 0 or -ENOMEM */
int cached_add(struct evbuffer *out, struct cached *o, u64 bytes)
{
	return evbuffer_add_file_segment(out, o->segment, 0, (ev_off_t)bytes) ? -ENOMEM : 0;
}
