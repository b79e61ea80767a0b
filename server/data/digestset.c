/*
 * digestset.c - a set of digests: open addressing, doubled when half full
 *
 * A digest is its own hash: SHA-256 spreads as well as any function could.
 */
#include "server/data/digestset.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"

#define ROOM_FIRST 1024

/** digestset_init() - an empty set; 0 or -ENOMEM */
int digestset_init(struct digestset *s)
{
	s->room = ROOM_FIRST;
	s->count = 0;
	s->slots = calloc(s->room, sizeof(*s->slots));
	return s->slots ? 0 : -ENOMEM;
}

void digestset_fini(struct digestset *s)
{
	free(s->slots);
	memset(s, 0, sizeof(*s));
}

static struct digestset_entry *find(struct digestset *s, const u8 *digest)
{
	size_t i = get_le64(digest) & (s->room - 1);

	while (s->slots[i].used && memcmp(s->slots[i].digest, digest, SHA256_BYTES))
		i = (i + 1) & (s->room - 1);
	return &s->slots[i];
}

static int grow(struct digestset *s)
{
	struct digestset bigger = { .room = s->room * 2, .count = s->count };

	bigger.slots = calloc(bigger.room, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < s->room; i++)
		if (s->slots[i].used)
			*find(&bigger, s->slots[i].digest) = s->slots[i];
	free(s->slots);
	*s = bigger;
	return 0;
}

/** digestset_has() - is it there? */
bool digestset_has(struct digestset *s, const u8 digest[SHA256_BYTES])
{
	return find(s, digest)->used;
}

/**
 * digestset_add() - find a digest, or add it
 * @added: out: it was not there
 *
 * Return: the entry, valid until the next call; NULL when memory is short.
 */
struct digestset_entry *digestset_add(struct digestset *s, const u8 digest[SHA256_BYTES],
				      bool *added)
{
	struct digestset_entry *e;

	if (s->count >= s->room / 2 && grow(s))
		return NULL;
	e = find(s, digest);
	*added = !e->used;
	if (!e->used) {
		memcpy(e->digest, digest, SHA256_BYTES);
		e->used = 1;
		s->count++;
	}
	return e;
}
