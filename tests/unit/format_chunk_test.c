/* storage/format/chunk: encode, decode in pieces, and everything cut or changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "storage/format/chunk.h"

#define PLAIN (128u * 1024)

static struct chunk_decoder dec;
static u8 plain[PLAIN], object[CHUNK_OBJECT_MAX], out[CHUNK_PLAIN_MAX + 64];
static u32 seed = 12345;

static u32 rnd(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 8;
}

/* Text-like: compresses, with matches further back than one feed. */
static void fill_text(u8 *p, u32 n)
{
	for (u32 i = 0; i < n; i++)
		p[i] = rnd() % 5 && i > 30000 ? p[i - 30000 + rnd() % 3] :
						(u8)('a' + rnd() % 20);
}

static void fill_noise(u8 *p, u32 n)
{
	for (u32 i = 0; i < n; i++)
		p[i] = (u8)rnd();
}

static void decode_in_pieces(const u8 *obj, u32 n, u32 plain_bytes, u32 piece_max)
{
	u32 pos = 0;
	int err = 0;

	memset(out, 0xa5, sizeof(out));
	chunk_decoder_start(&dec, out, plain_bytes);
	while (pos < n) {
		u32 piece = 1 + rnd() % piece_max;

		piece = MIN(piece, n - pos);
		assert_int_equal(err, 0);
		err = chunk_decoder_feed(&dec, obj + pos, piece);
		assert_true(err >= 0);
		pos += piece;
	}
	assert_int_equal(err, 1);
	assert_int_equal(dec.done, plain_bytes);
	assert_memory_equal(out, plain, plain_bytes);
	for (u32 i = 0; i < 64; i++)
		assert_int_equal(out[plain_bytes + i], 0xa5);
	assert_int_equal(chunk_decoder_feed(&dec, obj, 0), 1);
	assert_int_equal(chunk_decoder_feed(&dec, obj, 1), -EBADMSG);
}

static void round_trips(void **state)
{
	static const u32 sizes[] = { 1, 7, 512, 4096, 65535, 65536, PLAIN };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (int kind = 0; kind < 3; kind++) {
			int n;

			if (kind == 0)
				fill_text(plain, sizes[i]);
			else if (kind == 1)
				fill_noise(plain, sizes[i]);
			else
				memset(plain, 0, sizes[i]);
			n = chunk_encode(plain, sizes[i], 6, object);
			assert_in_range(n, 9, sizes[i] + 8);
			assert_int_equal(get_le32(object), n == (int)sizes[i] + 8 ? 0 : 1);
			assert_int_equal(get_le32(object + 4), sizes[i]);
			decode_in_pieces(object, (u32)n, sizes[i], 1 << 20);
			decode_in_pieces(object, (u32)n, sizes[i], 1460);
			if (sizes[i] <= 4096)
				decode_in_pieces(object, (u32)n, sizes[i], 1);
			assert_int_equal(chunk_decode(&dec, object, (size_t)n, out, sizes[i]),
					 (int)sizes[i]);
			assert_memory_equal(out, plain, sizes[i]);
			assert_int_equal(chunk_decode(&dec, object, (size_t)n, out, sizes[i] - 1),
					 -ENOSPC);
		}
	}
}

static void short_objects_are_not_complete(void **state)
{
	int n;

	(void)state;
	fill_text(plain, 3000);
	n = chunk_encode(plain, 3000, 9, object);
	assert_int_equal(get_le32(object), CHUNK_ZLIB);
	for (int cut = 0; cut < n; cut++) {
		chunk_decoder_start(&dec, out, 3000);
		assert_int_equal(chunk_decoder_feed(&dec, object, (size_t)cut), 0);
		assert_true(chunk_decode(&dec, object, (size_t)cut, out, 3000) < 0);
	}
}

static void longer_or_shorter_than_promised(void **state)
{
	int n;

	(void)state;
	memset(plain, 'x', 5000);
	n = chunk_encode(plain, 5000, 6, object);
	memset(out, 0xa5, sizeof(out));
	/* The header tells the truth, and it is not what the manifest promised. */
	chunk_decoder_start(&dec, out, 4999);
	assert_int_equal(chunk_decoder_feed(&dec, object, (size_t)n), -EBADMSG);
	assert_int_equal(out[0], 0xa5);
	/* The header lies: a bomb stops at the promised length. */
	put_le32(object + 4, 100);
	chunk_decoder_start(&dec, out, 100);
	assert_int_equal(chunk_decoder_feed(&dec, object, (size_t)n), -EBADMSG);
	assert_int_equal(out[100], 0xa5);
	assert_int_equal(chunk_decoder_feed(&dec, object, 1), -EBADMSG);
	put_le32(object + 4, 6000);
	chunk_decoder_start(&dec, out, 6000);
	assert_int_equal(chunk_decoder_feed(&dec, object, (size_t)n), -EBADMSG);
	/* Something behind the end. */
	put_le32(object + 4, 5000);
	object[n] = 0;
	chunk_decoder_start(&dec, out, 5000);
	assert_int_equal(chunk_decoder_feed(&dec, object, (size_t)n + 1), -EBADMSG);
	chunk_header_build(object, CHUNK_STORED, 10);
	chunk_decoder_start(&dec, out, 10);
	assert_int_equal(chunk_decoder_feed(&dec, object, 19), -EBADMSG);
}

static void headers(void **state)
{
	struct chunk_header h;
	u8 b[8];

	(void)state;
	chunk_header_build(b, CHUNK_ZLIB, 77);
	assert_memory_equal(b, "\1\0\0\0\x4d\0\0\0", 8);
	assert_int_equal(chunk_header_parse(b, 8, &h), 0);
	assert_int_equal(h.method, CHUNK_ZLIB);
	assert_int_equal(h.plain_bytes, 77);
	assert_int_equal(chunk_header_parse(b, 7, &h), -EMSGSIZE);
	b[0] = 2;
	assert_int_equal(chunk_header_parse(b, 8, &h), -EINVAL);
	b[0] = 0;
	put_le32(b + 4, 0);
	assert_int_equal(chunk_header_parse(b, 8, &h), -EINVAL);
	put_le32(b + 4, CHUNK_PLAIN_MAX);
	assert_int_equal(chunk_header_parse(b, 8, &h), 0);
	put_le32(b + 4, CHUNK_PLAIN_MAX + 1);
	assert_int_equal(chunk_header_parse(b, 8, &h), -EINVAL);
}

/*
 * Adler-32 is weak (+1 -2 +1 in three neighbours passes), which is why the
 * digest has the last word; but nearly all damage is noticed here already, and
 * none of it writes outside.
 */
static void damage_is_mostly_noticed_and_never_escapes(void **state)
{
	int n, missed = 0;

	(void)state;
	fill_text(plain, 2000);
	n = chunk_encode(plain, 2000, 6, object);
	for (int i = 0; i < n; i++) {
		int got;

		object[i] ^= 0x40;
		memset(out, 0xa5, sizeof(out));
		got = chunk_decode(&dec, object, (size_t)n, out, 2000);
		assert_true(got < 0 || got == 2000);
		missed += got == 2000;
		for (u32 k = 0; k < 64; k++)
			assert_int_equal(out[2000 + k], 0xa5);
		object[i] ^= 0x40;
	}
	assert_in_range(missed, 0, n / 100);
}

static void encoder_refuses(void **state)
{
	(void)state;
	assert_int_equal(chunk_encode(plain, 0, 6, object), -EINVAL);
	assert_int_equal(chunk_encode(plain, CHUNK_PLAIN_MAX + 1, 6, object), -EINVAL);
	assert_int_equal(chunk_encode(plain, 1, 10, object), -EINVAL);
}

/* An encoder that was used before, also for what it could not shorten, makes the same bytes. */
static void encoder_starts_anew(void **state)
{
	static u8 alone[CHUNK_OBJECT_MAX];
	struct chunk_encoder *e;

	(void)state;
	assert_int_equal(chunk_encoder_create(&e, 6), 0);
	for (int i = 0; i < 12; i++) {
		u32 bytes = i % 4 == 3 ? 3000 : PLAIN;
		int n;

		if (i % 3)
			fill_text(plain, bytes);
		else
			fill_noise(plain, bytes);
		n = chunk_encode(plain, bytes, 6, alone);
		assert_int_equal(chunk_encoder_run(e, plain, bytes, object), n);
		assert_memory_equal(object, alone, (size_t)n);
		decode_in_pieces(object, (u32)n, bytes, 4096);
	}
	assert_int_equal(chunk_encoder_run(e, plain, 0, object), -EINVAL);
	chunk_encoder_destroy(e);
	chunk_encoder_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trips),
		cmocka_unit_test(short_objects_are_not_complete),
		cmocka_unit_test(longer_or_shorter_than_promised),
		cmocka_unit_test(headers),
		cmocka_unit_test(damage_is_mostly_noticed_and_never_escapes),
		cmocka_unit_test(encoder_refuses),
		cmocka_unit_test(encoder_starts_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
