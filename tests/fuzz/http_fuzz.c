/*
 * The response parser: any bytes, cut into pieces by the first byte, and the
 * same bytes at once, must give the same events and the same body.
 */
#include <stdlib.h>
#include <string.h>

#include "net/http/http.h"

struct outcome {
	u32 ends;
	u32 bad;
	u64 body_bytes, sum;
};

static void run(struct outcome *o, const u8 *in, size_t n, size_t piece)
{
	struct http_parser p;
	size_t at = 0;

	http_parser_init(&p);
	for (;;) {
		size_t part = MIN(piece, n - at), used = 0, bytes = 0;
		u8 *copy = malloc(part + !part);
		const u8 *body = NULL;
		enum http_event e;

		memcpy(copy, in + at, part);
		e = http_parse(&p, copy, part, &used, &body, &bytes);
		if (used > part)
			abort();
		if (e == HTTP_BODY) {
			if (body < copy || body + bytes > copy + part)
				abort();
			for (size_t i = 0; i < bytes; i++)
				o->sum = o->sum * 31 + body[i];
			o->body_bytes += bytes;
		}
		free(copy);
		at += used;
		if (e == HTTP_BAD) {
			o->bad = 1;
			return;
		}
		if (e == HTTP_END) {
			o->ends++;
			http_parser_next(&p);
		}
		if (e == HTTP_MORE) {
			if (used != part)
				abort();
			if (at == n) {
				o->bad = 2 + (http_parse_eof(&p) == HTTP_END);
				return;
			}
		}
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t n);
int LLVMFuzzerTestOneInput(const u8 *data, size_t n)
{
	struct outcome whole = { 0 }, parts = { 0 };

	if (!n)
		return 0;
	run(&whole, data + 1, n - 1, n);
	run(&parts, data + 1, n - 1, 1 + data[0] % 40u);
	if (memcmp(&whole, &parts, sizeof(whole)))
		abort();
	return 0;
}
