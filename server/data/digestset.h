/*
 * digestset.h - a set of digests with a number each; grows; not thread-safe by itself
 */
#ifndef SERVER_DATA_DIGESTSET_H
#define SERVER_DATA_DIGESTSET_H

#include "base/crypto.h"
#include "base/types.h"

struct digestset_entry {
	u8 digest[SHA256_BYTES];
	u32 bytes; /* of the object */
	u8 used, flag;
};

struct digestset {
	struct digestset_entry *slots;
	size_t room, count; /* room: a power of two */
};

int digestset_init(struct digestset *s);
void digestset_fini(struct digestset *s);
bool digestset_has(struct digestset *s, const u8 digest[SHA256_BYTES]);
struct digestset_entry *digestset_add(struct digestset *s, const u8 digest[SHA256_BYTES],
				      bool *added);

#endif
