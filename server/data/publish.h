/*
 * publish.h - how objects get into the data folder, how a version gets its name, and how
 * what nothing names any more goes
 */
#ifndef SERVER_DATA_PUBLISH_H
#define SERVER_DATA_PUBLISH_H

#include "server/data/version.h"

#define INCOMING_KEEP_S (7 * 86400) /* an upload that was not finished within a week is dropped */

enum object_place {
	OBJECT_NOWHERE,
	OBJECT_STORED,
	OBJECT_INCOMING,
};

int object_find(const struct datadir *d, const u8 digest[SHA256_BYTES], u32 *bytes);
int object_find_many(const struct datadir *d, const u8 *digests, u64 count, u8 *places,
		     u32 *bytes);
void path_incoming(char out[DATADIR_PATH_MAX], const u8 digest[SHA256_BYTES]);
int incoming_put(const struct datadir *d, const u8 digest[SHA256_BYTES], const u8 *object,
		 size_t bytes);
int incoming_read(const struct datadir *d, const u8 digest[SHA256_BYTES], u8 *plain,
		  u32 plain_max);

void incoming_forget(const struct datadir *d, const u8 *digests, u64 count);

/* Called for each object that neither place has. */
typedef void (*publish_missing)(void *arg, const u8 digest[SHA256_BYTES]);

int publish_objects(struct datadir *d, const u8 *digests, u64 count, publish_missing missing,
		    void *arg);
int publish_version(struct datadir *d, const u8 *file, size_t bytes, const u8 pub[P256_PUB_BYTES],
		    u8 version[SHA256_BYTES], publish_missing missing, void *arg,
		    const char **why);

#define GC_WHY_MAX 320

struct gc_result {
	u64 versions, objects, bytes;		  /* kept */
	u64 gone_objects, gone_bytes;		  /* removed, or with dry_run would be */
	u64 gone_incoming, gone_incoming_bytes;
};

int gc_run(struct datadir *d, const u8 pub[P256_PUB_BYTES], u64 grace_s, u64 incoming_s,
	   bool dry_run, struct gc_result *r, char why[GC_WHY_MAX]);

#endif
