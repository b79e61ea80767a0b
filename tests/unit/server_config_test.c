/* server/config.c and server/limit.c: the file's lines, and so many a second. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "server/config.h"
#include "server/limit.h"

static int read_text(struct config *c, const char *text, char why[256])
{
	char path[] = "/tmp/freshet-conf-XXXXXX";
	int fd = mkstemp(path), err;

	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	config_default(c);
	err = config_read(c, path, why);
	unlink(path);
	return err;
}

static void lines(void **state)
{
	static const char *const bad[] = {
		"frob 1", "max_connections 0", "max_connections x", "enrol", "enrol yes",
		"plain_api maybe", "listen a\nlisten b\nlisten c\nlisten d\nlisten e", "jobs 65",
	};
	char why[256];
	struct config c;

	(void)state;
	assert_int_equal(read_text(&c, "# c\n\n data /srv/x \nlisten 1.2.3.4:5\nlisten [::]:6\n"
				       "enrol approve\r\nplain_api on\nlog_level debug", why), 0);
	assert_string_equal(c.data, "/srv/x");
	assert_int_equal(c.listens, 2);
	assert_string_equal(c.listen[1], "[::]:6");
	assert_false(c.open_enrolment);
	assert_int_equal(c.plain_api, PLAIN_ON);
	assert_int_equal(c.log_level, 3);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_not_equal(read_text(&c, bad[i], why), 0);
	assert_int_equal(read_text(&c, "data x\n\njobs 0\n", why), -ERANGE);
	assert_non_null(strstr(why, "line 3: jobs"));
	config_default(&c);
	assert_int_equal(config_read(&c, "/nonexistent", why), -ENOENT);
}

/* The file that is installed is right, and what it calls a default is one. */
static void shipped(void **state)
{
	struct config c, d;
	char why[256], line[300], key[64], value[200];
	FILE *f;

	(void)state;
	config_default(&c);
	assert_int_equal(config_read(&c, "server/freshetd.conf", why), 0);
	assert_false(c.open_enrolment);
	f = fopen("server/freshetd.conf", "r");
	while (fgets(line, sizeof(line), f)) {
		if (line[0] != '#' || line[1] == ' ' || line[1] == '\n')
			continue;
		assert_int_equal(sscanf(line + 1, "%63s %199[^\n]", key, value), 2);
		config_default(&c);
		config_default(&d);
		assert_int_equal(config_set(&c, key, value), 0);
		/* Examples, not defaults. */
		if (strcmp(key, "key") && strncmp(key, "tls_", 4) && strcmp(key, "objects") &&
		    strcmp(key, "s3_credentials") && strcmp(key, "s3_ca"))
			assert_memory_equal(&c, &d, sizeof(c));
	}
	fclose(f);
}

static void limits(void **state)
{
	static struct limit l;
	u64 now = 1000 * NS_PER_SEC;

	(void)state;
	limit_init(&l, 10, NS_PER_SEC);
	for (int i = 0; i < 10; i++)
		assert_true(limit_take(&l, "10.0.0.1", now));
	assert_false(limit_has(&l, "10.0.0.1", now));
	assert_false(limit_take(&l, "10.0.0.1", now));
	assert_true(limit_take(&l, "10.0.0.2", now));
	now += NS_PER_SEC / 10;
	assert_true(limit_take(&l, "10.0.0.1", now));
	assert_false(limit_take(&l, "10.0.0.1", now));
	now += 100 * NS_PER_SEC; /* a long rest fills the bucket once, not more */
	for (int i = 0; i < 10; i++)
		assert_true(limit_take(&l, "10.0.0.1", now));
	assert_false(limit_take(&l, "10.0.0.1", now));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines),
		cmocka_unit_test(shipped),
		cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
