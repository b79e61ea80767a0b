/*
 * reader.h - the bytes of a version, from anywhere in it
 */
#ifndef IMAGES_READER_H
#define IMAGES_READER_H

#include "server/data/version.h"

#define READER_SLOTS 16

/* One thread's; the version may be shared. */
struct reader {
	const struct datadir *d;
	const struct version *v;
	struct {
		u64 chunk, used; /* used: 0 empty, else when */
		u8 *plain;
	} slots[READER_SLOTS];
	u64 clock;
};

void reader_init(struct reader *r, const struct datadir *d, const struct version *v);
void reader_fini(struct reader *r);
int reader_read(struct reader *r, u64 off, u8 *out, size_t bytes);

/* A partition, as the version's GPT has it. */
struct partition {
	u64 start, bytes;
	char name[40]; /* printable ASCII of it */
	const char *fs;
};

#define PARTITIONS_MAX 128

int partitions_read(struct reader *r, u32 sector, struct partition *out, u32 *count);

#endif
