/*
 * version.h - a version of an image as the data folder has it
 */
#ifndef SERVER_DATA_VERSION_H
#define SERVER_DATA_VERSION_H

#include "server/data/datadir.h"
#include "storage/format/chunk.h"
#include "storage/format/manifest.h"

#define OBJECT_BYTES_MAX CHUNK_OBJECT_MAX

/* A manifest with its whole table: 32 bytes for each chunk. */
struct version {
	u8 *file;
	size_t file_bytes;
	struct manifest m;
	u8 *digests; /* m.chunk_count of them */
};

/* Different objects that some versions need. */
struct version_cost {
	u64 objects, bytes; /* as stored, which is as they go over the wire */
	u64 missing;	    /* that the folder does not have */
};

int version_load(const struct datadir *d, const u8 version[SHA256_BYTES],
		 const u8 pub[P256_PUB_BYTES], struct version *v, const char **why);
void version_free(struct version *v);
int version_cost(const struct datadir *d, const struct version *v, const struct version *have,
		 struct version_cost *out);
int version_list(const struct datadir *d,
		 int (*one)(void *arg, const u8 version[SHA256_BYTES], const struct manifest *m),
		 void *arg);
int version_unlink(const struct datadir *d, const u8 version[SHA256_BYTES]);

int object_read(const struct datadir *d, const u8 digest[SHA256_BYTES], u8 *plain, u32 plain_max);
int object_check(const u8 *object, size_t bytes, const u8 digest[SHA256_BYTES], u8 *plain,
		 u32 plain_max);

#endif
