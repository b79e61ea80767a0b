/* The chunk object: header, stored and zlib payloads, fed in pieces. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "storage/format/chunk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct chunk_decoder whole, parts;
	struct chunk_header h;
	size_t pos = 1, step;
	u8 *a, *b;
	int ra, rb = 0;

	if (n < 1 || chunk_header_parse(data + 1, n - 1, &h) || h.plain_bytes > 65536)
		return 0;
	step = 1 + data[0];
	a = calloc(1, h.plain_bytes);
	b = calloc(1, h.plain_bytes);
	ra = chunk_decode(&whole, data + 1, n - 1, a, h.plain_bytes);
	chunk_decoder_start(&parts, b, h.plain_bytes);
	for (; pos < n && rb >= 0; pos += step)
		rb = chunk_decoder_feed(&parts, data + pos, MIN(step, n - pos));
	assert((ra > 0) == (rb == 1));
	if (ra > 0)
		assert(ra == (int)h.plain_bytes && !memcmp(a, b, h.plain_bytes));
	free(a);
	free(b);
	return 0;
}
