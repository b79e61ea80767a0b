/*
 * walk.h - every chunk of a version, read from the store and checked
 */
#ifndef IMAGES_WALK_H
#define IMAGES_WALK_H

#include "images/cli.h"
#include "storage/format/manifest.h"

struct walk {
	const struct datadir *dir;
	const struct manifest *m;
	unsigned int threads;
	bool once; /* a digest that occurs twice is looked at once */
	bool quiet;
	const char *what; /* for the progress line */
	/* Called for each good chunk, not for zero ones, from any thread; may be NULL. */
	int (*chunk)(void *arg, u64 index, const u8 *plain, u32 bytes);
	void *arg;
	/* out */
	u64 good, zero, bad;
};

int walk_run(struct walk *w);
int manifest_load(const struct datadir *d, const u8 version[SHA256_BYTES],
		  const u8 pub[P256_PUB_BYTES], u8 **file, struct manifest *m);

#endif
