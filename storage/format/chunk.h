/*
 * chunk.h - the chunk object: what a server keeps and sends for a digest
 *
 * Eight bytes (u32 method, u32 plain length, little-endian), then the payload:
 * the plain bytes or a zlib stream [RFC 1950] of them. docs/formats/chunk.md.
 *
 * The decoder is incremental: feed it what arrives, in pieces of any size, and
 * it writes plain bytes straight to their final place; no second buffer. It
 * checks lengths and zlib's own checksum; whether the content is what the
 * digest says is the caller's to check.
 */
#ifndef STORAGE_FORMAT_CHUNK_H
#define STORAGE_FORMAT_CHUNK_H

#include "base/assert.h"
#include "base/types.h"

#define CHUNK_HEADER_BYTES 8
#define CHUNK_PLAIN_MAX (1024u * 1024)
/* A sane object is never longer than this: we store what zlib would make longer. */
#define CHUNK_OBJECT_MAX (CHUNK_HEADER_BYTES + CHUNK_PLAIN_MAX)

enum chunk_method {
	CHUNK_STORED = 0,
	CHUNK_ZLIB = 1,
};

struct chunk_wire {
	u8 method[4];
	u8 plain_bytes[4];
};

static_assert(sizeof(struct chunk_wire) == CHUNK_HEADER_BYTES, "chunk_wire");
static_assert(offsetof(struct chunk_wire, plain_bytes) == 4, "plain_bytes");

struct chunk_header {
	u32 method; /* enum chunk_method */
	u32 plain_bytes; /* 1..CHUNK_PLAIN_MAX */
};

/** chunk_header_parse() - 0; -EMSGSIZE under 8 bytes; -EINVAL for a bad method or length */
int chunk_header_parse(const void *bytes, size_t n, struct chunk_header *out);
void chunk_header_build(u8 out[CHUNK_HEADER_BYTES], enum chunk_method method, u32 plain_bytes);

/*
 * About 42 KiB, most of it zlib's window: one per connection, from
 * plat_alloc(), used again for every chunk. No allocation afterwards.
 */
struct chunk_decoder {
	u8 *out; /* where the plain bytes go */
	u32 plain_bytes; /* expected; header must agree */
	u32 done; /* plain bytes written */
	u32 header_have;
	u8 header[CHUNK_HEADER_BYTES];
	u32 method;
	int err; /* sticky; 1: complete */
	u32 arena_used;
	u64 zs[16]; /* a z_stream */
	u8 arena[42 * 1024] __aligned(16);
};

/**
 * chunk_decoder_start() - get ready for one object
 * @out:         room for @plain_bytes
 * @plain_bytes: the exact length that the manifest promises
 */
void chunk_decoder_start(struct chunk_decoder *d, void *out, u32 plain_bytes);

/**
 * chunk_decoder_feed() - the next @n bytes of the object
 *
 * Return: 0 more is wanted; 1 complete (exactly, nothing behind it);
 * -EBADMSG for anything that is not the object promised. Errors stick.
 */
int chunk_decoder_feed(struct chunk_decoder *d, const void *in, size_t n);

/**
 * chunk_decode() - a whole object at once
 * @d: scratch memory
 *
 * Return: plain bytes written (> 0); -ENOSPC when @out_room is too small; -EBADMSG, -EINVAL.
 */
int chunk_decode(struct chunk_decoder *d, const void *in, size_t n, void *out, size_t out_room);

#if __STDC_HOSTED__
/* Making objects (chunk_encode.c, hosted only): zlib's state, kept from chunk to chunk. */
struct chunk_encoder;

int chunk_encoder_create(struct chunk_encoder **out, int level);
void chunk_encoder_destroy(struct chunk_encoder *e);
int chunk_encoder_run(struct chunk_encoder *e, const void *plain, u32 n, void *out);

/**
 * chunk_encode() - make an object of @n plain bytes
 * @out:  room for CHUNK_HEADER_BYTES + @n: stored when zlib does not shorten it
 * @level: zlib's, 0..9
 *
 * Return: length of the object; -EINVAL, -ENOMEM.
 */
int chunk_encode(const void *plain, u32 n, int level, void *out);
#endif

#endif
