/*
 * builder.h - a disk into chunk objects and a signed manifest
 */
#ifndef IMAGES_BUILDER_H
#define IMAGES_BUILDER_H

#include "images/cli.h"
#include "images/source.h"
#include "storage/format/manifest.h"

struct build_params {
	struct datadir *dir; /* locked or not: publishing takes the lock if need be */
	const struct crypto_key *key;
	struct source *source;
	const char *name, *label;
	u32 chunk_bytes, sector_bytes;
	int level;
	unsigned int threads;
	u64 created_unix;
	u8 parent[SHA256_BYTES];
	const u8 *reuse; /* NULL, or a version to keep if only the signature would differ */
	bool quiet;
};

struct build_result {
	u8 version[SHA256_BYTES];
	bool reused;
	u64 used_bytes;	  /* 4 KiB blocks that are not all zero */
	u64 chunks, zero; /* of the image */
	u64 unique;	  /* different chunks, table pages not counted */
	u64 stored_bytes; /* objects that the version needs, pages and manifest too */
	u64 new_objects, new_bytes;
	u64 resumed; /* of them, left by a build that was interrupted */
	u64 ns;
};

int image_build(const struct build_params *p, struct build_result *r);

#endif
