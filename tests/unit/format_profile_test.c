/* storage/format/profile: round trip, signature, and every way to be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/crypto_sign.h"
#include "base/endian.h"
#include "base/err.h"
#include "storage/format/profile.h"

static const struct profile_run sample_runs[3] = { { 5, 3 }, { 0, 1 }, { 100, 20 } };

static size_t sample(u8 *out, u8 to_sign[SHA256_BYTES])
{
	struct profile p = { .chunk_bytes = 65536, .boots = 4, .nruns = 3 };

	memset(p.version, 0x7e, sizeof(p.version));
	assert_int_equal(profile_build(&p, sample_runs, out, PROFILE_BYTES_MAX, to_sign), 0);
	return profile_size(3);
}

static void round_trip(void **state)
{
	u8 b[PROFILE_BYTES_MAX], to_sign[SHA256_BYTES], pub[1][P256_PUB_BYTES];
	struct crypto_key *key;
	struct profile p;
	size_t n = sample(b, to_sign);

	(void)state;
	assert_int_equal(n, 64 + 3 * 8 + 64);
	assert_int_equal(profile_parse(b, n, &p), 0);
	assert_int_equal(p.chunk_bytes, 65536);
	assert_int_equal(p.boots, 4);
	assert_int_equal(p.nruns, 3);
	assert_int_equal(p.version[31], 0x7e);
	for (u32 i = 0; i < 3; i++) {
		struct profile_run r = profile_run_get(&p, i);

		assert_int_equal(r.first, sample_runs[i].first);
		assert_int_equal(r.count, sample_runs[i].count);
	}
	assert_int_equal(key_generate(&key), 0);
	key_public(key, pub[0]);
	assert_int_equal(profile_verify(b, n, pub, 1), -EKEYREJECTED);
	assert_int_equal(key_sign(key, to_sign, b + n - P256_SIG_BYTES), 0);
	assert_int_equal(profile_verify(b, n, pub, 1), 0);
	b[64]++;
	assert_int_equal(profile_verify(b, n, pub, 1), -EKEYREJECTED);
	assert_int_equal(profile_verify(b, 10, pub, 1), -EMSGSIZE);
	key_free(key);
}

static void lengths(void **state)
{
	u8 b[PROFILE_BYTES_MAX + 1];
	struct profile p;
	size_t n = sample(b, NULL);

	(void)state;
	for (size_t cut = 0; cut < n; cut++)
		assert_int_equal(profile_parse(b, cut, &p), -EMSGSIZE);
	assert_int_equal(profile_parse(b, n + 1, &p), -EMSGSIZE);
	assert_int_equal(profile_parse(b, sizeof(b), &p), -EMSGSIZE);
}

static void refused(size_t off, u32 value, int err)
{
	u8 b[PROFILE_BYTES_MAX];
	struct profile p;
	size_t n = sample(b, NULL);

	put_le32(b + off, value);
	assert_int_equal(profile_parse(b, n, &p), err);
}

static void wrong(void **state)
{
	(void)state;
	refused(0, 0x12345678, -EINVAL);
	refused(8, 2, -EOPNOTSUPP);
	refused(12, 32768, -EINVAL);
	refused(12, 65537, -EINVAL);
	refused(12, 2 << 20, -EINVAL);
	refused(16, 0, -EMSGSIZE);
	refused(16, 4, -EMSGSIZE);
	refused(16, PROFILE_RUNS_MAX + 1, -EMSGSIZE);
	refused(24, 1, -EINVAL);
	refused(68, 0, -EINVAL); /* an empty run */
	refused(68, PROFILE_CHUNKS_MAX, -EINVAL); /* too many in all */
	refused(64, 0xfffffffe, -EINVAL); /* past 2^32 */
}

static void cannot_build(void **state)
{
	struct profile p = { .chunk_bytes = 65536, .nruns = 1 };
	struct profile_run none = { 4, 0 }, all = { 0, PROFILE_CHUNKS_MAX };
	u8 b[PROFILE_BYTES_MAX];

	(void)state;
	assert_int_equal(profile_build(&p, &none, b, sizeof(b), NULL), -EINVAL);
	assert_int_equal(profile_build(&p, &all, b, profile_size(1) - 1, NULL), -ENOSPC);
	assert_int_equal(profile_build(&p, &all, b, profile_size(1), NULL), 0);
	p.nruns = 0;
	assert_int_equal(profile_build(&p, &all, b, sizeof(b), NULL), -EINVAL);
	p = (struct profile){ .chunk_bytes = 4096, .nruns = 1 };
	assert_int_equal(profile_build(&p, &all, b, sizeof(b), NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(lengths),
		cmocka_unit_test(wrong),
		cmocka_unit_test(cannot_build),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
