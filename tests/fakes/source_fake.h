/*
 * source_fake.h - chunks by a rule instead of a server
 *
 * A chunk's digest holds what it is made of, so no table of digests is needed.
 * The source answers late and out of order; it may be gone.
 */
#ifndef TESTS_FAKES_SOURCE_FAKE_H
#define TESTS_FAKES_SOURCE_FAKE_H

#include "storage/core/source.h"

/* What version @version of the image is: one seed per chunk, 0: all zero. */
struct image_fake {
	u64 version;
	u64 image_bytes;
	u32 chunk_bytes;
	u32 sector_bytes;
	u64 (*seed)(const struct image_fake *im, u64 chunk);
};

void image_fake_sector(const struct image_fake *im, u64 sector512, u8 out[512]);
/** image_fake_manifest() - malloc'd root */
u8 *image_fake_manifest(const struct image_fake *im, u32 *bytes);

struct source_fake {
	struct source src;
	const struct image_fake *images[4];
	u32 nimages;
	struct list queue;
	u32 waiting;
	u64 rng;
	bool gone, prompt;
	u64 fetched, cancelled;
	u32 most_waiting;
	u32 order[4096]; /* first digits of what was asked, for tests of order */
	u32 norder;
};

struct source_fake *source_fake_create(u64 seed);
void source_fake_destroy(struct source_fake *s);
void source_fake_add(struct source_fake *s, const struct image_fake *im);

#endif
