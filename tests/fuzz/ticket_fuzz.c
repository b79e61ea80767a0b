/* ticket_parse(), channel_parse(): what is accepted can be built and parsed to the same. */
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "storage/format/ticket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const u8 key[1][P256_PUB_BYTES] = { { 1 } };
	char text[SIGTEXT_MAX];
	struct ticket t, t2;
	struct channel c, c2;
	size_t m;

	if (!ticket_parse(data, n, &t)) {
		assert(!ticket_build(&t, text, sizeof(text), &m));
		assert(!ticket_parse(text, m, &t2));
		assert(!memcmp(&t, &t2, sizeof(t)));
	}
	if (!channel_parse(data, n, &c)) {
		assert(!channel_build(&c, text, sizeof(text), &m));
		assert(!channel_parse(text, m, &c2));
		assert(!memcmp(&c, &c2, sizeof(c)));
	}
	assert(sigtext_verify(data, n, key, 1) < 0);
	return 0;
}
