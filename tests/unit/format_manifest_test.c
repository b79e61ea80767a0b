/* storage/format/manifest: round trip, signature, and every way to be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto_sign.h"
#include "base/endian.h"
#include "base/err.h"
#include "storage/format/manifest.h"

#define CHUNK (128u * 1024)
#define ROOM 65536

static u8 page_digests[16 * SHA256_BYTES];
static struct crypto_key *key;
static u8 pub[1][P256_PUB_BYTES];

static int make_key(void **state)
{
	(void)state;
	if (key_generate(&key))
		return -1;
	key_public(key, pub[0]);
	return 0;
}

static int drop_key(void **state)
{
	(void)state;
	key_free(key);
	return 0;
}

static struct manifest sample(void)
{
	struct manifest m = {
		.chunk_bytes = CHUNK,
		.image_bytes = 5ull * 4096 * CHUNK + 3 * CHUNK + 1536,
		.sector_bytes = 512,
		.created_unix = 1700000000,
		.name = "debian-12.5_lab",
		.label = "Debian 12, week 47",
		.pages = page_digests,
	};

	for (size_t i = 0; i < sizeof(page_digests); i++)
		page_digests[i] = (u8)(i * 31 + 7);
	memset(m.parent, 0x5a, sizeof(m.parent));
	assert_int_equal(manifest_fill_counts(&m), 0);
	return m;
}

static size_t build(const struct manifest *m, u8 *out)
{
	u8 digest[SHA256_BYTES];
	size_t n = manifest_size(m);

	assert_int_equal(manifest_build(m, out, ROOM, digest), 0);
	assert_int_equal(key_sign(key, digest, out + n - P256_SIG_BYTES), 0);
	return n;
}

static void round_trip(void **state)
{
	struct manifest m = sample(), got;
	u8 b[ROOM];
	size_t n = build(&m, b);

	(void)state;
	assert_int_equal(m.chunk_count, 5 * 4096 + 4);
	assert_int_equal(m.digests_per_page, 4096);
	assert_int_equal(m.page_count, 6);
	assert_int_equal(n, 160 + 32 + 6 * 32 + 64);
	assert_int_equal(manifest_parse(b, n, &got), 0);
	assert_int_equal(got.chunk_bytes, m.chunk_bytes);
	assert_true(got.image_bytes == m.image_bytes);
	assert_true(got.chunk_count == m.chunk_count);
	assert_int_equal(got.page_count, m.page_count);
	assert_int_equal(got.digests_per_page, m.digests_per_page);
	assert_int_equal(got.sector_bytes, 512);
	assert_true(got.created_unix == m.created_unix);
	assert_memory_equal(got.parent, m.parent, sizeof(m.parent));
	assert_string_equal(got.name, m.name);
	assert_string_equal(got.label, m.label);
	for (u32 p = 0; p < 6; p++)
		assert_memory_equal(manifest_page_digest(&got, p), page_digests + 32 * p, 32);
	assert_int_equal(manifest_chunk_plain_bytes(&got, 0), CHUNK);
	assert_int_equal(manifest_chunk_plain_bytes(&got, m.chunk_count - 1), 1536);
	assert_int_equal(manifest_page_plain_bytes(&got, 0), CHUNK);
	assert_int_equal(manifest_page_plain_bytes(&got, 5), 4 * 32);
}

/* The layout is a promise to other programs: these offsets are the document's. */
static void bytes_stand_where_the_document_says(void **state)
{
	struct manifest m = sample();
	u8 b[ROOM];
	size_t n = build(&m, b);

	(void)state;
	assert_memory_equal(b, "FRSHMAN1", 8);
	assert_int_equal(get_le32(b + 8), 1);
	assert_int_equal(get_le32(b + 12), CHUNK);
	assert_true(get_le64(b + 16) == m.image_bytes);
	assert_true(get_le64(b + 24) == m.chunk_count);
	assert_int_equal(get_le32(b + 32), CHUNK / 32);
	assert_int_equal(get_le32(b + 36), 6);
	assert_int_equal(get_le32(b + 40), 512);
	assert_int_equal(get_le32(b + 44), strlen(m.label));
	assert_true(get_le64(b + 48) == m.created_unix);
	assert_true(get_le64(b + 56) == 0);
	assert_int_equal(b[64], 0x5a);
	assert_string_equal((char *)b + 96, m.name);
	assert_memory_equal(b + 160, m.label, strlen(m.label));
	assert_memory_equal(b + 192, page_digests, 6 * 32);
	assert_int_equal(n, 192 + 6 * 32 + 64);
}

static void signature(void **state)
{
	struct manifest m = sample();
	u8 b[ROOM], keys[2][P256_PUB_BYTES];
	struct crypto_key *other;
	size_t n = build(&m, b);

	(void)state;
	assert_int_equal(key_generate(&other), 0);
	key_public(other, keys[0]);
	memcpy(keys[1], pub[0], sizeof(pub[0]));
	assert_int_equal(manifest_verify(b, n, pub, 1), 0);
	assert_int_equal(manifest_verify(b, n, keys, 2), 0);
	assert_int_equal(manifest_verify(b, n, keys, 1), -EKEYREJECTED);
	assert_int_equal(manifest_verify(b, n, keys, 0), -EKEYREJECTED);
	assert_int_equal(manifest_verify(b, 64, pub, 1), -EMSGSIZE);
	for (size_t i = 0; i < n; i += 5) {
		b[i] ^= 0x10;
		assert_int_equal(manifest_verify(b, n, pub, 1), -EKEYREJECTED);
		b[i] ^= 0x10;
	}
	key_free(other);
}

static void version_is_digest_of_everything(void **state)
{
	struct manifest m = sample();
	u8 b[ROOM], v1[32], v2[32];
	size_t n = build(&m, b);

	(void)state;
	manifest_digest(v1, b, n);
	b[n - 1] ^= 1;
	manifest_digest(v2, b, n);
	assert_memory_not_equal(v1, v2, 32);
}

static void wrong_length_is_refused(void **state)
{
	struct manifest m = sample(), got;
	u8 b[ROOM];
	size_t n = build(&m, b);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		/* Exactly as long as it is, so that a sanitizer sees a read beyond. */
		u8 *cut = malloc(i ? i : 1);

		memcpy(cut, b, i);
		assert_int_equal(manifest_parse(cut, i, &got), -EMSGSIZE);
		free(cut);
	}
	assert_int_equal(manifest_parse(b, n + 1, &got), -EMSGSIZE);
	assert_int_equal(manifest_parse(b, n + 32, &got), -EMSGSIZE);
}

#define REFUSED(want, change)                                                  \
	do {                                                                   \
		memcpy(b, good, n);                                            \
		change;                                                        \
		assert_int_equal(manifest_parse(b, n, &got), want);            \
	} while (0)

static void wrong_fields_are_refused(void **state)
{
	struct manifest m = sample(), got;
	u8 good[ROOM], b[ROOM];
	size_t n = build(&m, good);

	(void)state;
	REFUSED(0, (void)0);
	REFUSED(-EINVAL, b[0] = 'f');
	REFUSED(-EOPNOTSUPP, b[8] = 2);
	REFUSED(-EINVAL, put_le32(b + 12, 0));
	REFUSED(-EINVAL, put_le32(b + 12, 32768));
	REFUSED(-EINVAL, put_le32(b + 12, 2097152));
	REFUSED(-EINVAL, put_le32(b + 12, CHUNK + 512));
	REFUSED(-EINVAL, put_le64(b + 16, 0));
	REFUSED(-EINVAL, put_le64(b + 16, m.image_bytes + 1));
	REFUSED(-EINVAL, put_le64(b + 16, ~0ull));
	REFUSED(-EINVAL, put_le64(b + 16, ~0ull - 511));
	REFUSED(-EINVAL, put_le64(b + 16, m.image_bytes + CHUNK));
	REFUSED(-EINVAL, put_le64(b + 24, m.chunk_count - 1));
	REFUSED(-EINVAL, put_le64(b + 24, m.chunk_count + (1ull << 32)));
	REFUSED(-EINVAL, put_le32(b + 32, 2048));
	REFUSED(-EINVAL, put_le32(b + 36, 5));
	REFUSED(-EINVAL, put_le32(b + 36, 0xffffffff));
	REFUSED(-EINVAL, put_le32(b + 40, 0));
	REFUSED(-EINVAL, put_le32(b + 40, 1024));
	REFUSED(-EINVAL, put_le32(b + 40, 4096)); /* image is no multiple of it */
	REFUSED(-EINVAL, put_le32(b + 44, 129));
	REFUSED(-EINVAL, put_le32(b + 44, 0xffffffff));
	REFUSED(-EINVAL, put_le32(b + 44, 10)); /* padding not zero */
	REFUSED(-EMSGSIZE, put_le32(b + 44, 33));
	REFUSED(-EINVAL, b[56] = 1);
	REFUSED(-EINVAL, b[63] = 1);
	REFUSED(-EINVAL, b[96] = 0);
	REFUSED(-EINVAL, b[96] = '.');
	REFUSED(-EINVAL, b[97] = '/');
	REFUSED(-EINVAL, b[97] = 'E');
	REFUSED(-EINVAL, b[97] = 0x80);
	REFUSED(-EINVAL, b[159] = 1); /* behind the name's end */
	REFUSED(-EINVAL, memset(b + 96, 'a', 64)); /* no terminator */
	REFUSED(-EINVAL, b[160] = '\n');
	REFUSED(-EINVAL, b[160] = 0);
	REFUSED(-EINVAL, b[160] = 0xc3);
	REFUSED(-EINVAL, b[191] = ' '); /* behind the label's end */
}

static void extremes(void **state)
{
	struct manifest m = sample();
	u8 b[ROOM], digest[32];
	struct manifest got;
	size_t n;

	(void)state;
	m.image_bytes = 512;
	m.label[0] = 0;
	assert_int_equal(manifest_fill_counts(&m), 0);
	n = build(&m, b);
	assert_int_equal(n, 160 + 32 + 64);
	assert_int_equal(manifest_parse(b, n, &got), 0);
	assert_int_equal(manifest_chunk_plain_bytes(&got, 0), 512);
	assert_int_equal(manifest_page_plain_bytes(&got, 0), 32);

	memset(m.label, 'x', MANIFEST_LABEL_MAX);
	m.label[MANIFEST_LABEL_MAX] = 0;
	memset(m.name, 'n', 63);
	m.name[63] = 0;
	n = build(&m, b);
	assert_int_equal(manifest_parse(b, n, &got), 0);
	assert_string_equal(got.label, m.label);
	assert_string_equal(got.name, m.name);

	m.name[63] = 'n';
	m.name[64] = 0;
	assert_int_equal(manifest_build(&m, b, ROOM, digest), -EINVAL);
	m = sample();
	m.page_count++;
	assert_int_equal(manifest_build(&m, b, ROOM, digest), -EINVAL);
	m = sample();
	assert_int_equal(manifest_build(&m, b, manifest_size(&m) - 1, digest), -ENOSPC);
	m.image_bytes = (u64)MANIFEST_PAGES_MAX * 4096 * CHUNK;
	assert_int_equal(manifest_fill_counts(&m), 0);
	m.image_bytes += 512;
	assert_int_equal(manifest_fill_counts(&m), -EINVAL);
}

static void zero_digest(void **state)
{
	u8 d[32] = { 0 };

	(void)state;
	assert_true(manifest_digest_is_zero(d));
	d[31] = 1;
	assert_false(manifest_digest_is_zero(d));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(bytes_stand_where_the_document_says),
		cmocka_unit_test(signature),
		cmocka_unit_test(version_is_digest_of_everything),
		cmocka_unit_test(wrong_length_is_refused),
		cmocka_unit_test(wrong_fields_are_refused),
		cmocka_unit_test(extremes),
		cmocka_unit_test(zero_digest),
	};

	return cmocka_run_group_tests(tests, make_key, drop_key);
}
