/*
 * chunk_encode.c - making chunk objects: tools, server and tests only
 *
 * zlib's state for one stream is a quarter of a megabyte. Allocated and freed for
 * every chunk it is given back to the kernel and faulted in again each time, in
 * threads that share an address space: a tenth of a build. So an encoder keeps it,
 * and resets it for each chunk; what comes out does not depend on what came before.
 */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/err.h"
#include "storage/format/chunk.h"

struct chunk_encoder {
	z_stream z;
};

/**
 * chunk_encoder_create() - for one thread
 * @level: zlib's, 0..9
 *
 * Return: 0; -EINVAL; -ENOMEM.
 */
int chunk_encoder_create(struct chunk_encoder **out, int level)
{
	struct chunk_encoder *e;

	if (level < 0 || level > 9)
		return err_trace(-EINVAL);
	e = calloc(1, sizeof(*e));
	if (!e || deflateInit(&e->z, level) != Z_OK) {
		free(e);
		return err_trace(-ENOMEM);
	}
	*out = e;
	return 0;
}

/** chunk_encoder_destroy() - NULL is fine */
void chunk_encoder_destroy(struct chunk_encoder *e)
{
	if (e)
		deflateEnd(&e->z);
	free(e);
}

/**
 * chunk_encoder_run() - plain bytes to an object
 * @plain: @n bytes, 1..CHUNK_PLAIN_MAX
 * @out:   room for CHUNK_HEADER_BYTES + @n
 *
 * Stored when zlib does not make it shorter, so an object is never more than
 * its header longer than its content.
 * Return: length of the object; -EINVAL.
 */
int chunk_encoder_run(struct chunk_encoder *e, const void *plain, u32 n, void *out)
{
	z_stream *z = &e->z;
	u8 *p = out;

	if (!n || n > CHUNK_PLAIN_MAX)
		return err_trace(-EINVAL);
	deflateReset(z);
	z->next_in = (z_const Bytef *)plain;
	z->avail_in = n;
	z->next_out = p + CHUNK_HEADER_BYTES;
	z->avail_out = n;
	if (deflate(z, Z_FINISH) == Z_STREAM_END && z->total_out < n) {
		chunk_header_build(p, CHUNK_ZLIB, n);
		return CHUNK_HEADER_BYTES + (int)z->total_out;
	}
	chunk_header_build(p, CHUNK_STORED, n);
	memcpy(p + CHUNK_HEADER_BYTES, plain, n);
	return CHUNK_HEADER_BYTES + (int)n;
}

/** chunk_encode() - one chunk; as chunk_encoder_run(), and -ENOMEM */
int chunk_encode(const void *plain, u32 n, int level, void *out)
{
	struct chunk_encoder *e;
	int err = chunk_encoder_create(&e, level);

	if (err)
		return err;
	err = chunk_encoder_run(e, plain, n, out);
	chunk_encoder_destroy(e);
	return err;
}
