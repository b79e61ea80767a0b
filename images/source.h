/*
 * source.h - the disk that an image is made of: a raw file, a block device, or any format
 * that qemu-nbd reads
 */
#ifndef IMAGES_SOURCE_H
#define IMAGES_SOURCE_H

#include "base/types.h"

struct nbd_handle;

struct source {
	int fd; /* raw; else -1 */
	u64 bytes;
	const char *format;
	/* Another program reads it: where that listens, and who keeps it running. */
	char folder[64], socket[96];
	int pid;
	struct nbd_handle *keeper;
};

/* One thread's way into it. */
struct source_reader {
	struct source *s;
	struct nbd_handle *nbd;
	u64 data_start, data_end; /* the extent we are in; [start, end) holds data */
};

int source_open(struct source *s, const char *path, const char *format, u64 sector);
void source_close(struct source *s);
int source_reader_init(struct source_reader *r, struct source *s);
void source_reader_fini(struct source_reader *r);
int source_read(struct source_reader *r, u8 *out, u32 bytes, u64 off);
bool source_hole(struct source_reader *r, u64 off, u32 bytes);

#endif
