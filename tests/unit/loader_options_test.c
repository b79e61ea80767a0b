/* boot/loader/options.c: what is accepted, what is refused, and how it is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/err.h"
#include "boot/loader/options.h"

static struct options o;
static struct options_error e;

static int fresh(void **state)
{
	(void)state;
	options_init(&o);
	memset(&e, 0x5a, sizeof(e));
	return 0;
}

static int file(const char *text)
{
	return options_file(&o, text, strlen(text), &e);
}

static int load(const char *text)
{
	u8 wide[512];
	size_t n = strlen(text) + 1;

	for (size_t i = 0; i < n; i++) {
		wide[2 * i] = (u8)text[i];
		wide[2 * i + 1] = 0;
	}
	return options_load(&o, wide, 2 * n, &e);
}

static void reads_a_file(void **state)
{
	(void)state;
	assert_int_equal(file("\xef\xbb\xbf# lab A\r\n\r\n  server\t 10.0.0.1:8080 \r\n"
			      "mode normal\nip 10.0.0.9/24,10.0.0.254\nverbose 1\nwait 5\n"
			      "loader \\EFI\\my os\\boot.efi"), 0);
	assert_string_equal(o.value[OPTION_SERVER], "10.0.0.1:8080");
	assert_string_equal(o.value[OPTION_IP], "10.0.0.9/24,10.0.0.254");
	assert_string_equal(o.value[OPTION_LOADER], "\\EFI\\my os\\boot.efi");
	assert_int_equal(options_wait(&o), 5);
	assert_false(options_null_mode(&o));
	assert_int_equal(options_complete(&o, &e), 0);
}

static void reads_disk_and_memory(void **state)
{
	(void)state;
	assert_int_equal(options_disk(&o), OPTIONS_DISK_AUTO);
	assert_int_equal(options_memory(&o), 0);
	assert_int_equal(file("disk none\nmemory 513\n"), 0);
	assert_int_equal(options_disk(&o), OPTIONS_DISK_NONE);
	assert_int_equal(options_memory(&o), 514 * MIB);
	assert_int_equal(load("freshet.efi disk=nvme memory=16777216"), 0);
	assert_int_equal(options_disk(&o), OPTIONS_DISK_NVME);
	assert_true(options_memory(&o) == 16777216ull * MIB);
	assert_int_equal(load("disk=auto"), 0);
	assert_int_equal(options_disk(&o), OPTIONS_DISK_AUTO);
	assert_int_equal(file("memory 63\n"), -EINVAL);
	assert_string_equal(e.key, "memory");
	assert_int_equal(file("memory 16777217\n"), -EINVAL);
	assert_int_equal(file("disk sda\n"), -EINVAL);
}

static void load_options_win(void **state)
{
	char text[512];

	(void)state;
	assert_int_equal(file("server 10.0.0.1:80\nwait 5\n"), 0);
	assert_int_equal(load("freshet.efi  server=http://10.0.0.2:81/ mode=null"), 0);
	assert_string_equal(o.value[OPTION_SERVER], "http://10.0.0.2:81/");
	assert_int_equal(options_wait(&o), 5);
	assert_true(options_null_mode(&o));
	assert_int_equal(options_render(&o, text, sizeof(text)),
			 strlen("server http://10.0.0.2:81/\nmode null\nwait 5\n"));
	assert_string_equal(text, "server http://10.0.0.2:81/\nmode null\nwait 5\n");
}

static void load_options_without_a_name(void **state)
{
	(void)state;
	assert_int_equal(load("server=1.2.3.4:5"), 0);
	assert_string_equal(o.value[OPTION_SERVER], "1.2.3.4:5");
	assert_int_equal(load(""), 0);
	assert_int_equal(options_load(&o, NULL, 0, &e), 0);
}

/* Firmware marks its own boot entries with a GUID in the load options. */
static void binary_load_options_are_ignored(void **state)
{
	static const u8 guid[16] = { 0x4e, 0xac, 0x08, 0x81, 0x11, 0x9f, 0x59, 0x4d,
				     0x85, 0x0e, 0xe2, 0x1a, 0x52, 0x2c, 0x59, 0xb2 };

	(void)state;
	assert_int_equal(options_load(&o, guid, 16, &e), -ENODATA);
	assert_int_equal(options_load(&o, "a", 1, &e), -ENODATA);
}

static void errors_name_line_and_key(void **state)
{
	(void)state;
	assert_int_equal(file("# x\n\nsever 10.0.0.1:80\n"), -EINVAL);
	assert_int_equal(e.line, 3);
	assert_string_equal(e.key, "sever");
	assert_string_equal(e.what, "no such option");
	assert_int_equal(file("verbose 2"), -EINVAL);
	assert_int_equal(e.line, 1);
	assert_string_equal(e.what, "wanted 0 or 1");
	assert_int_equal(load("freshet.efi verbose=x"), -EINVAL);
	assert_int_equal(e.line, 0);
	assert_string_equal(e.key, "verbose");
	assert_int_equal(load("freshet.efi quiet"), -EINVAL);
	assert_string_equal(e.key, "quiet");
	assert_int_equal(file("\x1b[2J 1"), -EINVAL);
	assert_string_equal(e.key, "?[2J");
}

static void a_source_must_not_contradict_itself(void **state)
{
	(void)state;
	assert_int_equal(file("wait 1\nmode null\nwait 1\n"), -EINVAL);
	assert_int_equal(e.line, 3);
	assert_int_equal(load("a wait=1 wait=2"), -EINVAL);
}

static void refuses_bad_values(void **state)
{
	static const char *const bad[] = {
		"server", "server 10.0.0.1", "server 10.0.0.1:0", "server 10.0.0.1:65536",
		"server 10.0.0:80", "server 10.0.0.1.2:80", "server 10.0.0.256:80",
		"server https://10.0.0.1", "server https://", "server http://", "server :80",
		"server 1.2.3.4:", "server 1.2.3.4:80/x", "server https://http://1.2.3.4:80",
		"mode", "mode Null", "ip 10.0.0.1", "ip 10.0.0.1/24",
		"ip 10.0.0.1/31,10.0.0.2", "ip 10.0.0.1/24,", "wait -1", "wait 86401",
		"wait 1000000000000", "verbose", "loader EFI\\x", "loader \\", "fallback local",
		"server 1.2.3.4:80\x01",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (file(bad[i]) != -EINVAL)
			fail_msg("accepted: %s", bad[i]);
}

static void bounds(void **state)
{
	static char text[OPTIONS_FILE_MAX + 1];
	char out[64];

	(void)state;
	memset(text, '#', sizeof(text));
	assert_int_equal(options_file(&o, text, OPTIONS_FILE_MAX, &e), 0);
	assert_int_equal(options_file(&o, text, OPTIONS_FILE_MAX + 1, &e), -EINVAL);

	memcpy(text, "loader \\", 8);
	memset(text + 8, 'a', OPTION_BYTES - 2);
	assert_int_equal(options_file(&o, text, 8 + OPTION_BYTES - 2, &e), 0);
	assert_int_equal(strlen(o.value[OPTION_LOADER]), OPTION_BYTES - 1);
	assert_int_equal(options_file(&o, text, 8 + OPTION_BYTES - 1, &e), -EINVAL);
	assert_int_equal(options_render(&o, out, sizeof(out)), -EMSGSIZE);
	assert_int_equal(options_render(&o, out, 0), -EMSGSIZE);
}

static void a_server_is_needed_unless_null(void **state)
{
	(void)state;
	assert_int_equal(options_complete(&o, &e), -EINVAL);
	assert_string_equal(e.key, "server");
	assert_int_equal(file("mode null"), 0);
	assert_int_equal(options_complete(&o, &e), 0);
	assert_int_equal(options_wait(&o), 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(reads_a_file, fresh),
		cmocka_unit_test_setup(reads_disk_and_memory, fresh),
		cmocka_unit_test_setup(load_options_win, fresh),
		cmocka_unit_test_setup(load_options_without_a_name, fresh),
		cmocka_unit_test_setup(binary_load_options_are_ignored, fresh),
		cmocka_unit_test_setup(errors_name_line_and_key, fresh),
		cmocka_unit_test_setup(a_source_must_not_contradict_itself, fresh),
		cmocka_unit_test_setup(refuses_bad_values, fresh),
		cmocka_unit_test_setup(bounds, fresh),
		cmocka_unit_test_setup(a_server_is_needed_unless_null, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
