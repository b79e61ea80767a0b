/*
 * base/crypto.h against known answers. Linked twice: with Mbed TLS as the VMM
 * has it, and with OpenSSL.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/crypto.h"
#include "base/err.h"
#include "base/fmt.h"

/* [RFC 6979 §A.2.5], the key and its two SHA-256 signatures */
static const char pub_hex[] = "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
			      "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
static const struct {
	const char *message, *sig_hex;
} signatures[] = {
	{ "sample", "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
		    "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8" },
	{ "test", "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367"
		  "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083" },
};
static const char order_hex[] = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

static void unhex(void *out, size_t bytes, const char *hex)
{
	assert_int_equal(fmt_unhex(out, bytes, hex, strlen(hex)), 0);
}

static void assert_sha256(const void *data, size_t n, const char *want_hex)
{
	u8 got[SHA256_BYTES], want[SHA256_BYTES];

	unhex(want, sizeof(want), want_hex);
	crypto_sha256(got, data, n);
	assert_memory_equal(got, want, sizeof(want));
}

/* [FIPS 180-2 §B] and the empty message */
static void sha256_known_answers(void **state)
{
	struct crypto_sha256 s;
	u8 got[SHA256_BYTES], want[SHA256_BYTES], block[1000];
	const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";

	(void)state;
	assert_sha256("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	assert_sha256("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_sha256(two, strlen(two),
		      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	memset(block, 'a', sizeof(block));
	crypto_sha256_init(&s);
	for (int i = 0; i < 1000; i++)
		crypto_sha256_update(&s, block, sizeof(block));
	crypto_sha256_final(&s, got);
	unhex(want, sizeof(want),
	      "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	assert_memory_equal(got, want, sizeof(want));
}

static void sha256_pieces_do_not_matter(void **state)
{
	u8 data[300], whole[SHA256_BYTES], parts[SHA256_BYTES];
	struct crypto_sha256 s, copy;

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (u8)(i * 7);
	crypto_sha256(whole, data, sizeof(data));
	for (size_t cut = 0; cut <= sizeof(data); cut++) {
		crypto_sha256_init(&s);
		crypto_sha256_update(&s, data, cut);
		copy = s; /* the state is plain memory in either library */
		crypto_sha256_update(&copy, data + cut, sizeof(data) - cut);
		crypto_sha256_final(&copy, parts);
		assert_memory_equal(whole, parts, sizeof(whole));
	}
}

static void p256_known_signatures(void **state)
{
	u8 pub[P256_PUB_BYTES], sig[P256_SIG_BYTES], digest[SHA256_BYTES];

	(void)state;
	unhex(pub, sizeof(pub), pub_hex);
	for (size_t i = 0; i < ARRAY_SIZE(signatures); i++) {
		unhex(sig, sizeof(sig), signatures[i].sig_hex);
		crypto_sha256(digest, signatures[i].message, strlen(signatures[i].message));
		assert_int_equal(crypto_p256_verify(pub, digest, sig), 0);
	}
}

static void p256_refuses_any_flipped_bit(void **state)
{
	u8 pub[P256_PUB_BYTES], sig[P256_SIG_BYTES], digest[SHA256_BYTES];

	(void)state;
	unhex(pub, sizeof(pub), pub_hex);
	unhex(sig, sizeof(sig), signatures[0].sig_hex);
	crypto_sha256(digest, "sample", 6);
	for (u32 bit = 0; bit < 8 * sizeof(sig); bit += 13) {
		sig[bit / 8] ^= (u8)(1 << bit % 8);
		assert_int_equal(crypto_p256_verify(pub, digest, sig), -EKEYREJECTED);
		sig[bit / 8] ^= (u8)(1 << bit % 8);
	}
	for (u32 bit = 0; bit < 8 * sizeof(digest); bit += 13) {
		digest[bit / 8] ^= (u8)(1 << bit % 8);
		assert_int_equal(crypto_p256_verify(pub, digest, sig), -EKEYREJECTED);
		digest[bit / 8] ^= (u8)(1 << bit % 8);
	}
	assert_int_equal(crypto_p256_verify(pub, digest, sig), 0);
}

static void p256_refuses_numbers_out_of_range(void **state)
{
	u8 pub[P256_PUB_BYTES], good[P256_SIG_BYTES], sig[P256_SIG_BYTES], digest[SHA256_BYTES];

	(void)state;
	unhex(pub, sizeof(pub), pub_hex);
	unhex(good, sizeof(good), signatures[0].sig_hex);
	crypto_sha256(digest, "sample", 6);
	for (int half = 0; half < 2; half++) {
		memcpy(sig, good, sizeof(sig));
		memset(sig + 32 * half, 0, 32);
		assert_int_equal(crypto_p256_verify(pub, digest, sig), -EKEYREJECTED);
		unhex(sig + 32 * half, 32, order_hex);
		assert_int_equal(crypto_p256_verify(pub, digest, sig), -EKEYREJECTED);
		memset(sig + 32 * half, 0xff, 32);
		assert_int_equal(crypto_p256_verify(pub, digest, sig), -EKEYREJECTED);
	}
	memset(sig, 0, sizeof(sig));
	assert_int_equal(crypto_p256_verify(pub, digest, sig), -EKEYREJECTED);
}

static void p256_refuses_points_off_the_curve(void **state)
{
	u8 pub[P256_PUB_BYTES], sig[P256_SIG_BYTES], digest[SHA256_BYTES];

	(void)state;
	unhex(sig, sizeof(sig), signatures[0].sig_hex);
	crypto_sha256(digest, "sample", 6);
	unhex(pub, sizeof(pub), pub_hex);
	pub[63] ^= 1;
	assert_int_equal(crypto_p256_verify(pub, digest, sig), -EINVAL);
	memset(pub, 0, sizeof(pub));
	assert_int_equal(crypto_p256_verify(pub, digest, sig), -EINVAL);
	memset(pub, 0xff, sizeof(pub));
	assert_int_equal(crypto_p256_verify(pub, digest, sig), -EINVAL);
}

/* Also shows that the arena is empty again after each, errors included. */
static void p256_many_times(void **state)
{
	u8 pub[P256_PUB_BYTES], sig[P256_SIG_BYTES], digest[SHA256_BYTES];

	(void)state;
	unhex(pub, sizeof(pub), pub_hex);
	unhex(sig, sizeof(sig), signatures[1].sig_hex);
	crypto_sha256(digest, "test", 4);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(crypto_p256_verify(pub, digest, sig), 0);
		sig[0] ^= 1;
		assert_int_equal(crypto_p256_verify(pub, digest, sig), -EKEYREJECTED);
		sig[0] ^= 1;
		pub[0] ^= 1;
		assert_int_equal(crypto_p256_verify(pub, digest, sig), -EINVAL);
		pub[0] ^= 1;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sha256_known_answers),
		cmocka_unit_test(sha256_pieces_do_not_matter),
		cmocka_unit_test(p256_known_signatures),
		cmocka_unit_test(p256_refuses_any_flipped_bit),
		cmocka_unit_test(p256_refuses_numbers_out_of_range),
		cmocka_unit_test(p256_refuses_points_off_the_curve),
		cmocka_unit_test(p256_many_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
