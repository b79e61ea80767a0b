/*
 * chunk_encode.c - making chunk objects: tools, server and tests only
 */
#include <string.h>
#include <zlib.h>

#include "base/err.h"
#include "storage/format/chunk.h"

/**
 * chunk_encode() - plain bytes to an object
 * @plain: @n bytes, 1..CHUNK_PLAIN_MAX
 * @level: zlib's, 0..9
 * @out:   room for CHUNK_HEADER_BYTES + @n
 *
 * Stored when zlib does not make it shorter, so an object is never more than
 * its header longer than its content.
 * Return: length of the object; -EINVAL; -ENOMEM.
 */
int chunk_encode(const void *plain, u32 n, int level, void *out)
{
	u8 *p = out;
	z_stream z;
	int err;

	if (!n || n > CHUNK_PLAIN_MAX || level < 0 || level > 9)
		return err_trace(-EINVAL);
	memset(&z, 0, sizeof(z));
	if (deflateInit(&z, level) != Z_OK)
		return err_trace(-ENOMEM);
	z.next_in = (z_const Bytef *)plain;
	z.avail_in = n;
	z.next_out = p + CHUNK_HEADER_BYTES;
	z.avail_out = n;
	err = deflate(&z, Z_FINISH);
	deflateEnd(&z);
	if (err == Z_STREAM_END && z.total_out < n) {
		chunk_header_build(p, CHUNK_ZLIB, n);
		return CHUNK_HEADER_BYTES + (int)z.total_out;
	}
	chunk_header_build(p, CHUNK_STORED, n);
	memcpy(p + CHUNK_HEADER_BYTES, plain, n);
	return CHUNK_HEADER_BYTES + (int)n;
}
