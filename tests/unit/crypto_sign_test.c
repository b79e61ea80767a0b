/* base/crypto_sign.h: what it signs verifies, what it saves it loads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crypto_sign.h"
#include "base/err.h"

static char dir[] = "/tmp/freshet-key-XXXXXX";

static const char *in_dir(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int drop_dir(void **state)
{
	(void)state;
	unlink(in_dir("a.pem"));
	unlink(in_dir("junk.pem"));
	return rmdir(dir);
}

static void signs_and_verifies(void **state)
{
	u8 pub[P256_PUB_BYTES], other[P256_PUB_BYTES], sig[P256_SIG_BYTES], digest[SHA256_BYTES];
	struct crypto_key *k, *k2;

	(void)state;
	assert_int_equal(key_generate(&k), 0);
	assert_int_equal(key_generate(&k2), 0);
	key_public(k, pub);
	key_public(k2, other);
	assert_memory_not_equal(pub, other, sizeof(pub));
	/* Often enough to meet numbers with leading zero bytes. */
	for (int i = 0; i < 600; i++) {
		crypto_sha256(digest, &i, sizeof(i));
		assert_int_equal(key_sign(k, digest, sig), 0);
		assert_int_equal(crypto_p256_verify(pub, digest, sig), 0);
	}
	assert_int_equal(crypto_p256_verify(other, digest, sig), -EKEYREJECTED);
	key_free(k);
	key_free(k2);
	key_free(NULL);
}

static void saves_and_loads(void **state)
{
	u8 pub[P256_PUB_BYTES], again[P256_PUB_BYTES];
	struct crypto_key *k, *k2;
	struct stat st;

	(void)state;
	assert_int_equal(key_generate(&k), 0);
	assert_int_equal(key_save_pem(k, in_dir("a.pem")), 0);
	assert_int_equal(stat(in_dir("a.pem"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(key_save_pem(k, in_dir("a.pem")), -EEXIST);
	assert_int_equal(key_load_pem(&k2, in_dir("a.pem")), 0);
	key_public(k, pub);
	key_public(k2, again);
	assert_memory_equal(pub, again, sizeof(pub));
	key_free(k);
	key_free(k2);
}

static void refuses_other_files(void **state)
{
	struct crypto_key *k;
	int fd;

	(void)state;
	assert_int_equal(key_load_pem(&k, in_dir("none.pem")), -ENOENT);
	fd = open(in_dir("junk.pem"), O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, "-----BEGIN PRIVATE KEY-----\nAAAA\n", 33), 33);
	close(fd);
	assert_int_equal(key_load_pem(&k, in_dir("junk.pem")), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signs_and_verifies),
		cmocka_unit_test(saves_and_loads),
		cmocka_unit_test(refuses_other_files),
	};

	return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
