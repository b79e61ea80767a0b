/* manifest_parse(): whatever is accepted can be built again, byte for byte. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "storage/format/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	u8 digest[SHA256_BYTES], *again;
	struct manifest m;

	if (manifest_parse(data, n, &m))
		return 0;
	assert(manifest_size(&m) == n);
	assert(manifest_chunk_plain_bytes(&m, m.chunk_count - 1) <= m.chunk_bytes);
	assert(manifest_page_plain_bytes(&m, m.page_count - 1) <= m.chunk_bytes);
	assert(manifest_page_digest(&m, m.page_count - 1) + 32 + 64 == data + n);
	again = malloc(n);
	assert(!manifest_build(&m, again, n, digest));
	assert(!memcmp(again, data, n - P256_SIG_BYTES));
	free(again);
	return 0;
}
