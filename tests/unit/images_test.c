/* images/: the digest set against a model, sizes as text, command lines, sections of a PE file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "images/options.h"
#include "server/data/digestset.h"
#include "images/pe.h"

#define MANY 20000

static void nth_digest(u8 out[SHA256_BYTES], u32 n)
{
	/* The first eight bytes collide in runs: probing and growing must cope. */
	memset(out, 0, SHA256_BYTES);
	put_le64(out, n / 7);
	put_le32(out + 20, n);
}

static void set_grows(void **state)
{
	struct digestset_entry *e;
	u8 digest[SHA256_BYTES];
	struct digestset s;
	bool added;

	(void)state;
	assert_int_equal(digestset_init(&s), 0);
	for (u32 round = 0; round < 2; round++)
		for (u32 i = 0; i < MANY; i++) {
			nth_digest(digest, i);
			e = digestset_add(&s, digest, &added);
			assert_non_null(e);
			assert_int_equal(added, !round);
			if (!round)
				e->bytes = i;
			assert_int_equal(e->bytes, i);
			assert_memory_equal(e->digest, digest, sizeof(digest));
		}
	assert_int_equal(s.count, MANY);
	digestset_fini(&s);
}

static void sizes(void **state)
{
	static const char *const bad[] = { "", "K", "-1", "1KK", "0x10", "1.5M", " 1", "1 ",
					   "99999999999999999999", "17179869184G" };
	u64 v;

	(void)state;
	assert_int_equal(cli_size("0", &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(cli_size("128K", &v), 0);
	assert_int_equal(v, 131072);
	assert_int_equal(cli_size("1m", &v), 0);
	assert_int_equal(v, 1048576);
	assert_int_equal(cli_size("17179869183G", &v), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(cli_size(bad[i], &v), -EINVAL);
}

static size_t make_pe(u8 *f)
{
	memset(f, 0, 0x400);
	memcpy(f, "MZ", 2);
	put_le32(f + 0x3c, 0x40);
	memcpy(f + 0x40, "PE\0\0", 4);
	put_le16(f + 0x46, 2);
	put_le16(f + 0x54, 16);
	memcpy(f + 0x68, ".text", 5);
	put_le32(f + 0x68 + 16, 0x80);
	put_le32(f + 0x68 + 20, 0x200);
	memcpy(f + 0x90, ".sitekey", 8);
	put_le32(f + 0x90 + 16, 0x100);
	put_le32(f + 0x90 + 20, 0x300);
	return 0x400;
}

static void pe_sections(void **state)
{
	u8 model[0x400], *f;
	size_t bytes = make_pe(model), off, n;

	(void)state;
	assert_int_equal(pe_find_section(model, bytes, ".sitekey", &off, &n), 0);
	assert_int_equal(off, 0x300);
	assert_int_equal(n, 0x100);
	assert_int_equal(pe_find_section(model, bytes, ".text", &off, &n), 0);
	assert_int_equal(off, 0x200);
	assert_int_equal(pe_find_section(model, bytes, ".tex", &off, &n), -ENOENT);
	/* Cut anywhere: never found, never read beyond. */
	for (size_t cut = 0; cut < bytes; cut++) {
		f = malloc(cut ? cut : 1);
		memcpy(f, model, cut);
		assert_int_not_equal(pe_find_section(f, cut, ".sitekey", &off, &n), 0);
		free(f);
	}
	/* Every header byte to an extreme: an answer, and one within the file. */
	f = malloc(bytes);
	for (size_t i = 0; i < 0xb8; i++)
		for (int v = 0; v < 2; v++) {
			memcpy(f, model, bytes);
			f[i] = v ? 0xff : 0x80;
			if (!pe_find_section(f, bytes, ".sitekey", &off, &n)) {
				assert_true(off <= bytes);
				assert_true(n <= bytes - off);
			}
		}
	free(f);
}

struct answers {
	const char *text;
	u64 number, size;
	bool flag;
	struct cli_texts texts;
};

/* Words of a command line, its name first; what is left goes to @argc and @argv. */
static enum cli_exit parsed(struct answers *a, int *argc, char ***argv)
{
	static const struct cli_command command = { .group = "test", .args = "", .help = "" };
	static const struct cli_option table[] = {
		CLI_TEXT("text", struct answers, text),
		CLI_NUMBER("number", struct answers, number),
		CLI_SIZE("size", struct answers, size),
		CLI_FLAG("flag", struct answers, flag),
		CLI_TEXTS("texts", struct answers, texts),
		{ 0 },
	};

	*a = (struct answers){ .number = 7 };
	for (*argc = 0; (*argv)[*argc]; ++*argc)
		;
	return cli_options(&command, table, a, argc, argv);
}

static void command_lines(void **state)
{
	char *good[] = { "test", "--text", "x", "first", "--size=2K", "--flag", "--texts", "a",
			 "--texts", "b", "second", NULL };
	char *bad[][4] = { { "test", "--number", "-1" }, { "test", "--size", "2T" },
			   { "test", "--unknown" }, { "test", "--text" } };
	char *many[2 * CLI_TEXTS_MAX + 4] = { "test" }, **argv = good;
	struct answers a;
	int argc;

	(void)state;
	assert_int_equal(parsed(&a, &argc, &argv), CLI_OK);
	assert_string_equal(a.text, "x");
	assert_int_equal(a.number, 7); /* its default */
	assert_int_equal(a.size, 2048);
	assert_true(a.flag);
	assert_int_equal(a.texts.n, 2);
	assert_string_equal(a.texts.text[1], "b");
	assert_int_equal(argc, 2);
	assert_string_equal(argv[0], "first");
	assert_string_equal(argv[1], "second");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		argv = bad[i];
		assert_int_equal(parsed(&a, &argc, &argv), CLI_USAGE);
	}
	for (int i = 0; i <= CLI_TEXTS_MAX; i++) {
		many[1 + 2 * i] = "--texts";
		many[2 + 2 * i] = "x";
	}
	argv = many;
	assert_int_equal(parsed(&a, &argc, &argv), CLI_USAGE);
	assert_int_equal(a.texts.n, CLI_TEXTS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_grows),
		cmocka_unit_test(sizes),
		cmocka_unit_test(command_lines),
		cmocka_unit_test(pe_sections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
