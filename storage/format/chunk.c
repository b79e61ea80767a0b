/*
 * chunk.c - chunk objects: header and incremental decoder
 *
 * zlib writes its output straight to the final buffer. Its window is only a
 * side copy that inflate() keeps because it may be called again; it and the
 * state come from the decoder's arena, so nothing is allocated. zlib frees in
 * any order and only at the end, so the arena is a bump allocator that is
 * reset by the next start.
 */
#include "storage/format/chunk.h"

#include <string.h>

#ifndef Z_SOLO
#define Z_SOLO /* no headers of an operating system */
#endif
#include <zlib.h>

#include "base/endian.h"
#include "base/err.h"

static_assert(sizeof(z_stream) <= sizeof(((struct chunk_decoder *)0)->zs), "z_stream fits");

enum { DECODER_COMPLETE = 1 };

/**
 * chunk_header_parse() - the eight bytes before the payload
 *
 * Return: 0; -EMSGSIZE under 8 bytes; -EINVAL for a bad method or length.
 */
int chunk_header_parse(const void *bytes, size_t n, struct chunk_header *out)
{
	const struct chunk_wire *w = bytes;
	struct chunk_header h;

	if (n < CHUNK_HEADER_BYTES)
		return err_trace(-EMSGSIZE);
	h.method = get_le32(w->method);
	h.plain_bytes = get_le32(w->plain_bytes);
	if (h.method != CHUNK_STORED && h.method != CHUNK_ZLIB)
		return err_trace(-EINVAL);
	if (!h.plain_bytes || h.plain_bytes > CHUNK_PLAIN_MAX)
		return err_trace(-EINVAL);
	*out = h;
	return 0;
}

/** chunk_header_build() - the reverse */
void chunk_header_build(u8 out[CHUNK_HEADER_BYTES], enum chunk_method method, u32 plain_bytes)
{
	put_le32(out, method);
	put_le32(out + 4, plain_bytes);
}

static voidpf arena_alloc(voidpf opaque, uInt items, uInt size)
{
	struct chunk_decoder *d = opaque;
	u64 bytes = ALIGN_UP((u64)items * size, 16ull);
	void *p;

	if (bytes > sizeof(d->arena) - d->arena_used)
		return Z_NULL;
	p = d->arena + d->arena_used;
	d->arena_used += (u32)bytes;
	return p;
}

static void arena_free(voidpf opaque, voidpf p)
{
	(void)opaque;
	(void)p;
}

/**
 * chunk_decoder_start() - get ready for one object
 * @d:           used before or not
 * @out:         room for @plain_bytes
 * @plain_bytes: the exact length that the manifest promises
 */
void chunk_decoder_start(struct chunk_decoder *d, void *out, u32 plain_bytes)
{
	d->out = out;
	d->plain_bytes = plain_bytes;
	d->done = 0;
	d->header_have = 0;
	d->method = CHUNK_STORED;
	d->err = 0;
	d->arena_used = 0;
	memset(d->zs, 0, sizeof(d->zs));
}

static int begin_payload(struct chunk_decoder *d)
{
	z_stream *z = (z_stream *)d->zs;
	struct chunk_header h;

	if (chunk_header_parse(d->header, sizeof(d->header), &h) ||
	    h.plain_bytes != d->plain_bytes)
		return err_trace(-EBADMSG);
	d->method = h.method;
	if (h.method != CHUNK_ZLIB)
		return 0;
	z->zalloc = arena_alloc;
	z->zfree = arena_free;
	z->opaque = d;
	if (inflateInit(z) != Z_OK)
		return err_trace(-EBADMSG);
	z->next_out = d->out;
	z->avail_out = d->plain_bytes;
	return 0;
}

static int feed_stored(struct chunk_decoder *d, const u8 *in, size_t n)
{
	if (n > d->plain_bytes - d->done)
		return err_trace(-EBADMSG);
	memcpy(d->out + d->done, in, n);
	d->done += (u32)n;
	return d->done == d->plain_bytes ? DECODER_COMPLETE : 0;
}

static int feed_zlib(struct chunk_decoder *d, const u8 *in, size_t n)
{
	z_stream *z = (z_stream *)d->zs;
	int err;

	if (n > CHUNK_OBJECT_MAX)
		return err_trace(-EBADMSG);
	z->next_in = (z_const Bytef *)in;
	z->avail_in = (uInt)n;
	err = inflate(z, Z_NO_FLUSH);
	d->done = d->plain_bytes - z->avail_out;
	if (err == Z_STREAM_END) {
		/* Exactly the promised bytes, and nothing behind the stream. */
		if (z->avail_in || d->done != d->plain_bytes)
			return err_trace(-EBADMSG);
		return DECODER_COMPLETE;
	}
	/*
	 * Z_BUF_ERROR: no progress. With input left it means that the stream
	 * wants to write more than was promised.
	 */
	if ((err != Z_OK && err != Z_BUF_ERROR) || z->avail_in)
		return err_trace(-EBADMSG);
	return 0;
}

/**
 * chunk_decoder_feed() - the next piece of the object
 * @d:  started
 * @in: @n bytes, any number
 *
 * Context: owner of @d; never allocates.
 * Return: 0 more is wanted; 1 complete; -EBADMSG for anything that is not the
 * object promised, data behind its end included. Errors stick.
 */
int chunk_decoder_feed(struct chunk_decoder *d, const void *in, size_t n)
{
	const u8 *p = in;

	if (d->err == DECODER_COMPLETE && n)
		d->err = err_trace(-EBADMSG);
	if (d->err)
		return d->err;
	while (n && d->header_have < CHUNK_HEADER_BYTES) {
		d->header[d->header_have++] = *p++;
		n--;
		if (d->header_have == CHUNK_HEADER_BYTES)
			d->err = begin_payload(d);
	}
	if (d->err || !n)
		return d->err;
	d->err = d->method == CHUNK_ZLIB ? feed_zlib(d, p, n) : feed_stored(d, p, n);
	return d->err;
}

/**
 * chunk_decode() - a whole object at once
 * @d:   scratch
 * @in:  the object, @n bytes
 * @out: room for @out_room
 *
 * Return: plain bytes written; -ENOSPC when @out_room is too small; -EMSGSIZE,
 * -EINVAL for a bad header; -EBADMSG for a bad payload, short ones included.
 */
int chunk_decode(struct chunk_decoder *d, const void *in, size_t n, void *out, size_t out_room)
{
	struct chunk_header h;
	int err;

	err = chunk_header_parse(in, n, &h);
	if (err)
		return err;
	if (h.plain_bytes > out_room)
		return err_trace(-ENOSPC);
	chunk_decoder_start(d, out, h.plain_bytes);
	err = chunk_decoder_feed(d, in, n);
	if (err < 0)
		return err;
	return err == DECODER_COMPLETE ? (int)h.plain_bytes : err_trace(-EBADMSG);
}
