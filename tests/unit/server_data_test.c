/* server/data: names and paths, settings, files written whole, channels, where objects are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/plat_host.h"
#include "server/data/channels.h"
#include "server/data/datadir.h"
#include "server/data/objects.h"
#include "server/data/s3.h"
#include "server/data/s3_list.h"
#include "server/data/siteconf.h"

#define UUID "01234567-89ab-cdef-0123-456789abcdef"
#define UUID2 "01234567-89ab-cdef-0123-456789abcdee"

static char folder[] = "/tmp/freshet-unit-XXXXXX";

static int make_folder(void **state)
{
	(void)state;
	plat_host_quiet = true;
	return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

static void names(void **state)
{
	char hex[DIGEST_HEX + 2];

	(void)state;
	memset(hex, 'a', sizeof(hex));
	assert_true(digest_hex_ok(hex, DIGEST_HEX));
	assert_false(digest_hex_ok(hex, DIGEST_HEX - 1));
	assert_false(digest_hex_ok(hex, DIGEST_HEX + 1));
	for (int c = 0; c < 256; c++) {
		hex[17] = (char)c;
		assert_int_equal(digest_hex_ok(hex, DIGEST_HEX),
				 c && strchr("0123456789abcdef", c) != NULL);
	}
	assert_true(uuid_ok(UUID));
	assert_false(uuid_ok(""));
	assert_false(uuid_ok(UUID "0"));
	assert_false(uuid_ok("01234567-89ab-cdef-0123-456789abcdeF"));
	assert_false(uuid_ok("01234567089ab-cdef-0123-456789abcdef"));
	assert_false(uuid_ok("../../../../../../../../etc/passwd00"));
}

static void settings(void **state)
{
	const char *text = "# c\npolicy push\n  claim   serial:A_1 \n\nmachine " UUID
			   "\npolicy boot\nfill_limit 4294967295\nmachine " UUID2
			   "\nfill off\nfrontend ahci\nnic virtio\n"
			   "sources http://10.0.0.7/o/ http://10.0.0.8:81\n";
	struct ticket t = { .fill = true };
	int line;

	(void)state;
	assert_int_equal(siteconf_apply(text, NULL, &t, &line), 0);
	assert_int_equal(t.policy, TICKET_POLICY_PUSH);
	assert_int_equal(t.claim, TICKET_CLAIM_SERIAL);
	assert_string_equal(t.claim_serial, "A_1");
	assert_int_equal(t.fill_limit_kib, 0);
	assert_int_equal(siteconf_apply(text, UUID, &t, &line), 0);
	assert_int_equal(t.policy, TICKET_POLICY_BOOT);
	assert_int_equal(t.fill_limit_kib, 4294967295u);
	assert_true(t.fill);
	assert_int_equal(siteconf_apply(text, UUID2, &t, &line), 0);
	assert_false(t.fill);
	assert_int_equal(siteconf_apply("policy never", UUID, &t, &line), 0);
	assert_int_equal(t.policy, TICKET_POLICY_NEVER);
	assert_int_equal(siteconf_apply("policy nevermore", UUID, &t, &line), -EINVAL);
	assert_int_equal(t.frontend, TICKET_FRONTEND_AHCI);
	assert_int_equal(t.nic, TICKET_NIC_VIRTIO);
	assert_int_equal(siteconf_apply("nic ne2000", UUID, &t, &line), -EINVAL);
	assert_int_equal(siteconf_apply("frontend ide", UUID, &t, &line), -EINVAL);
	assert_int_equal(t.sources.count, 2);
	assert_string_equal(t.sources.at[0].path, "/o");
	assert_int_equal(t.sources.at[1].port, 81);
	assert_int_equal(siteconf_apply("sources http://mirror/o", UUID, &t, &line), -EINVAL);
	assert_int_equal(siteconf_apply("sources none", UUID, &t, &line), 0);
	assert_int_equal(t.sources.count, 0);
	/* A bad line in another machine's section is found all the same. */
	assert_int_equal(siteconf_apply("policy boot\nmachine " UUID2 "\nfrob 1", UUID, &t, &line),
			 -ENOENT);
	assert_int_equal(line, 3);
	assert_int_equal(siteconf_apply("machine x\n", UUID, &t, &line), -EINVAL);
	assert_int_equal(siteconf_apply("fill_limit 4294967296", UUID, &t, &line), -ERANGE);
}

static void window(const char *value, u32 from, u32 to)
{
	struct ticket t = { .fill_from = 7, .fill_to = 7 };

	assert_int_equal(siteconf_set(&t, "fill_window", value), 0);
	assert_int_equal(t.fill_from, from);
	assert_int_equal(t.fill_to, to);
}

/* By the server's clock; in the ticket by UTC. */
static void windows(void **state)
{
	static const char *const bad[] = {
		"", "22:00", "22:00-6:00", "22:00-06:60", "25:00-06:00", "24:01-06:00",
		"22:00-06:00 ", "22.00-06:00", "aa:00-06:00", "22:00_06:00",
	};
	struct ticket t = { 0 };

	(void)state;
	setenv("TZ", "UTC0", 1);
	tzset();
	window("22:00-06:00", 1320, 360);
	window("08:00-24:00", 480, 0);
	window("00:00-24:00", 0, 0);
	window("none", 0, 0);
	setenv("TZ", "EAST-9:30", 1);
	tzset();
	window("22:00-06:00", 750, 1230);
	setenv("TZ", "WEST8", 1);
	tzset();
	window("22:00-06:00", 360, 840);
	unsetenv("TZ");
	tzset();
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(siteconf_set(&t, "fill_window", bad[i]), -EINVAL);
	assert_int_equal(siteconf_set(&t, "metered", "on"), 0);
	assert_true(t.metered);
	assert_int_equal(siteconf_set(&t, "metered", "off"), 0);
	assert_false(t.metered);
	assert_int_equal(siteconf_set(&t, "metered", "perhaps"), -EINVAL);
}

static void edit(const char *text, const char *uuid, const char *key, const char *value,
		 const char *want)
{
	char out[512];
	size_t n = strlen(want);

	assert_int_equal(siteconf_edit(text, uuid, key, value, out, sizeof(out)), 0);
	assert_string_equal(out, want);
	assert_int_equal(siteconf_edit(text, uuid, key, value, out, n + 1), 0);
	for (size_t room = 0; room <= n; room++)
		assert_int_equal(siteconf_edit(text, uuid, key, value, out, room), -ENOSPC);
}

static void edits(void **state)
{
	char out[64];

	(void)state;
	edit("", NULL, "fill", "on", "fill on\n");
	edit("fill on\n", NULL, "fill", "off", "fill off\n");
	edit("fill on", NULL, "policy", "boot", "fill on\npolicy boot\n");
	edit("", UUID, "fill", "on", "machine " UUID "\nfill on\n");
	edit("# c\n\nfill on\nfill off\n", NULL, "fill", "on", "# c\n\nfill on\n");
	edit("policy boot\n\nmachine " UUID "\nfill on\n", NULL, "fill", "off",
	     "policy boot\nfill off\n\nmachine " UUID "\nfill on\n");
	edit("policy boot\n\nmachine " UUID "\nfill on\n", UUID, "fill", "off",
	     "policy boot\n\nmachine " UUID "\nfill off\n");
	edit("machine " UUID "\nfill on\n", UUID2, "fill", "off",
	     "machine " UUID "\nfill on\n\nmachine " UUID2 "\nfill off\n");
	edit("machine " UUID "\nfill on\n\nmachine " UUID2 "\n", UUID, "policy", "push",
	     "machine " UUID "\nfill on\npolicy push\n\nmachine " UUID2 "\n");
	assert_int_equal(siteconf_edit("", NULL, "frob", "1", out, sizeof(out)), -ENOENT);
	assert_int_equal(siteconf_edit("", NULL, "fill", "1", out, sizeof(out)), -EINVAL);
}

static void files(void **state)
{
	struct datadir d;
	size_t bytes;
	u8 *data;

	(void)state;
	assert_int_equal(datadir_open(&d, "/nonexistent/x", false), -ENOENT);
	assert_int_equal(datadir_open(&d, folder, true), 0);
	assert_int_equal(datadir_lock(&d), 0);
	assert_int_equal(datadir_read(&d, "site.conf", 100, &data, &bytes), -ENOENT);
	assert_int_equal(datadir_write(&d, "channels/a/b", "hello", 5, 0644), 0);
	assert_int_equal(datadir_read(&d, "channels/a/b", 5, &data, &bytes), 0);
	assert_int_equal(bytes, 5);
	assert_string_equal((char *)data, "hello");
	free(data);
	assert_int_equal(datadir_read(&d, "channels/a/b", 4, &data, &bytes), -EFBIG);
	assert_int_equal(datadir_read(&d, "channels/a", 100, &data, &bytes), -EINVAL);
	/* Nothing half-done stays, and what was left by another is swept. */
	assert_int_equal(datadir_write(&d, "channels/a", "x", 1, 0644), -EISDIR);
	assert_int_equal(faccessat(d.fd, "tmp/left", F_OK, 0), -1);
	close(openat(d.fd, "tmp/left", O_CREAT | O_WRONLY, 0600));
	datadir_close(&d);
	assert_int_equal(datadir_open(&d, folder, false), 0);
	assert_int_equal(datadir_lock(&d), 0);
	assert_int_equal(faccessat(d.fd, "tmp/left", F_OK, 0), -1);
	datadir_close(&d);
}

static void channels(void **state)
{
	u8 version[SHA256_BYTES] = { 1, 2, 3 }, pub[P256_PUB_BYTES], other_pub[P256_PUB_BYTES];
	struct crypto_key *key, *other;
	struct channel ch;
	struct datadir d;
	size_t bytes;
	u8 *file;

	(void)state;
	assert_int_equal(key_generate(&key), 0);
	assert_int_equal(key_generate(&other), 0);
	key_public(key, pub);
	key_public(other, other_pub);
	assert_int_equal(datadir_open(&d, folder, true), 0);
	assert_int_equal(channel_read(&d, "lab/x", pub, &ch), -ENOENT);
	for (u64 serial = 1; serial <= 3; serial++) {
		assert_int_equal(channel_point(&d, key, "lab/x", version, &ch), 0);
		assert_int_equal(ch.serial, serial);
		assert_int_equal(channel_read(&d, "lab/x", pub, &ch), 0);
		assert_int_equal(ch.serial, serial);
		assert_memory_equal(ch.version, version, sizeof(version));
	}
	assert_int_equal(channel_read(&d, "lab/x", other_pub, &ch), -EKEYREJECTED);
	assert_int_equal(channel_point(&d, other, "lab/x", version, &ch), -EKEYREJECTED);
	/* A file under another channel's name, and every file with one bit changed. */
	assert_int_equal(datadir_read(&d, "channels/lab/x", SIGTEXT_MAX, &file, &bytes), 0);
	assert_int_equal(datadir_write(&d, "channels/lab/y", file, bytes, 0644), 0);
	assert_int_equal(channel_read(&d, "lab/y", pub, &ch), -ESTALE);
	for (size_t i = 0; i < bytes; i += 3) {
		int fd = openat(d.fd, "channels/lab/x", O_WRONLY | O_TRUNC);

		file[i] ^= 1;
		assert_int_equal(fd_write_all(fd, file, bytes), 0);
		close(fd);
		assert_int_not_equal(channel_read(&d, "lab/x", pub, &ch), 0);
		file[i] ^= 1;
	}
	free(file);
	key_free(key);
	key_free(other);
	datadir_close(&d);
}

static void places(void **state)
{
	static const char *const bad[] = {
		"", "s3://", "s3:/bucket@http://h", "s3://bucket", "s3://bucket@", "s3://bucket@h",
		"s3://bucket@http://", "s3://bucket@http:///region", "s3://bucket@ftp://h",
		"s3://ab@http://h", "s3://Bucket@http://h", "s3://-bucket@http://h",
		"s3://buc/ket@http://h", "s3://bucket@http://user:pw@h", "s3://bucket@http://h?x",
		"s3://bucket@http://h/Region", "s3://bucket@http://h/a/b", "s3://bucket@http://h h",
	};
	struct s3_place p;
	char text[600];

	(void)state;
	assert_int_equal(s3_place_parse(&p, "s3://my.bucket-1@https://[::1]:9000/eu-west-1"), 0);
	assert_string_equal(p.bucket, "my.bucket-1");
	assert_string_equal(p.url, "https://[::1]:9000");
	assert_string_equal(p.region, "eu-west-1");
	assert_int_equal(s3_place_parse(&p, "s3://abc@http://h"), 0);
	assert_string_equal(p.region, "us-east-1");
	assert_int_equal(s3_place_parse(&p, "s3://abc@http://h/"), 0);
	assert_string_equal(p.url, "http://h");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(s3_place_parse(&p, bad[i]), -EINVAL);
	/* Each part at its longest, and one more. */
	snprintf(text, sizeof(text), "s3://%063d@http://h", 0);
	assert_int_equal(s3_place_parse(&p, text), 0);
	snprintf(text, sizeof(text), "s3://%064d@http://h", 0);
	assert_int_equal(s3_place_parse(&p, text), -EINVAL);
	snprintf(text, sizeof(text), "s3://abc@http://%0184d/%039d", 0, 0);
	assert_int_equal(s3_place_parse(&p, text), 0);
	snprintf(text, sizeof(text), "s3://abc@http://%0185d", 0);
	assert_int_equal(s3_place_parse(&p, text), -EINVAL);
	snprintf(text, sizeof(text), "s3://abc@http://h/%040d", 0);
	assert_int_equal(s3_place_parse(&p, text), -EINVAL);
}

static int take(void *arg, const struct object_entry *e)
{
	struct object_entry *out = arg;

	assert_int_equal(out->digest[0], 0); /* there is one only */
	*out = *e;
	return e->bytes == 13 ? -E2BIG : 0;
}

static void lists(void **state)
{
	static const char page[] =
		"<IsTruncated>true</IsTruncated>"
		"<NextContinuationToken>a&amp;b&lt;c&quot;&apos;&gt;&x;</NextContinuationToken>"
		"<Contents><Key>objects/aa/%s</Key><Size>%d</Size>"
		"<LastModified>2026-11-28T09:20:37.000Z</LastModified></Contents>"
		"<Contents><Key>objects/ab/%s</Key></Contents>"
		"<Contents><Key>aa/%s</Key></Contents><Contents><Key></Key></Contents><Contents>";
	char hex[DIGEST_HEX + 1], xml[1024], token[32];
	struct object_entry e = { 0 };

	(void)state;
	memset(hex, 'a', DIGEST_HEX);
	hex[DIGEST_HEX] = 0;
	snprintf(xml, sizeof(xml), page, hex, 70000, hex, hex);
	assert_int_equal(s3_list_parse(xml, take, &e, token, sizeof(token)), 0);
	assert_string_equal(token, "a&b<c\"'>&x;");
	assert_int_equal(e.bytes, 70000);
	assert_int_equal(e.modified, 1795857637);
	e.digest[0] = 0;
	assert_int_equal(s3_list_parse(xml, take, &e, token, 8), -EBADMSG);
	snprintf(xml, sizeof(xml), page, hex, 13, hex, hex);
	assert_int_equal(s3_list_parse(xml, take, &e, token, sizeof(token)), -E2BIG);
	strcpy(xml, "<Contents><Key>");
	assert_int_equal(s3_list_parse(xml, take, &e, token, sizeof(token)), 0);
	assert_string_equal(token, "");
	assert_int_equal(s3_xml_text("<Code>NoSuchKey</Code>", "Code", token, 5), 9);
	assert_string_equal(token, "NoSu");
	assert_int_equal(s3_xml_text(NULL, "Code", token, 5), 0);
}

/* What a setting says is remembered by the folder, and taken away by another. */
static void remembered(void **state)
{
	struct objects_conf c = { .place = "s3://bucket@http://127.0.0.1:1" };
	char why[OBJECTS_WHY_MAX];
	struct datadir d;

	(void)state;
	snprintf(c.credentials, sizeof(c.credentials), "%s/keys", folder);
	assert_int_equal(datadir_open(&d, folder, true), 0);
	assert_int_equal(objects_open(&d, NULL, false, why), 0);
	assert_false(objects_remote(&d));
	assert_int_equal(objects_open(&d, &c, true, why), -ENOENT);
	assert_non_null(strstr(why, "cannot read the credentials"));
	assert_int_equal(datadir_lock(&d), 0);
	assert_int_equal(datadir_write(&d, "keys", "access_key a\nsecret_key b\n", 26, 0644), 0);
	datadir_unlock(&d);
	assert_int_equal(objects_open(&d, &c, true, why), -EPERM);
	assert_int_equal(fchmodat(d.fd, "keys", 0600, 0), 0);
	assert_int_equal(objects_open(&d, &c, true, why), 0);
	assert_true(objects_remote(&d));
	datadir_close(&d);
	assert_int_equal(datadir_open(&d, folder, false), 0);
	assert_false(objects_remote(&d));
	assert_int_equal(objects_open(&d, NULL, false, why), 0);
	assert_true(objects_remote(&d));
	/* Nobody is at port 1. */
	assert_int_equal(objects_check(&d), -EREMOTEIO);
	assert_non_null(strstr(objects_why(-EREMOTEIO), "cannot be reached"));
	datadir_close(&d);
	strcpy(c.place, "folder");
	assert_int_equal(datadir_open(&d, folder, false), 0);
	assert_int_equal(objects_open(&d, &c, true, why), 0);
	assert_false(objects_remote(&d));
	assert_int_equal(faccessat(d.fd, OBJECTS_RECORD, F_OK, 0), -1);
	assert_int_equal(datadir_write(&d, OBJECTS_RECORD, "objects x\nfrob y\n", 17, 0644), 0);
	assert_int_equal(objects_open(&d, NULL, false, why), -EINVAL);
	assert_non_null(strstr(why, "unknown key"));
	unlinkat(d.fd, OBJECTS_RECORD, 0);
	datadir_close(&d);
}

/* The setting is short, the absolute name is not: refused, in words, and nothing is written. */
static void long_names(void **state)
{
	struct objects_conf c = { .place = "s3://bucket@http://127.0.0.1:1" };
	char part[201], why[OBJECTS_WHY_MAX], text[2 * OBJECTS_TEXT_MAX], *deep;
	int n, keys, home = open(".", O_RDONLY | O_DIRECTORY);
	struct datadir d;

	(void)state;
	memset(part, 'd', 200);
	part[200] = 0;
	assert_int_equal(datadir_open(&d, folder, true), 0);
	assert_int_equal(fchdir(d.fd), 0);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(mkdir(part, 0755), 0);
		assert_int_equal(chdir(part), 0);
	}
	keys = open("keys", O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(keys, "access_key a\nsecret_key b\n", 26), 26);
	close(keys);
	strcpy(c.credentials, "keys");
	for (int ca = 0; ca < 2; ca++) {
		assert_int_equal(objects_open(&d, &c, true, why), -ENAMETOOLONG);
		assert_non_null(strstr(why, "longer than 255 bytes"));
		assert_int_equal(faccessat(d.fd, OBJECTS_RECORD, F_OK, 0), -1);
		datadir_close(&d);
		assert_int_equal(datadir_open(&d, folder, false), 0);
		strcpy(c.ca, "keys");
		deep = realpath("../../../../../../../..", NULL);
		assert_non_null(deep);
		snprintf(c.credentials, sizeof(c.credentials), "%s/short", deep);
		free(deep);
		keys = open(c.credentials, O_WRONLY | O_CREAT, 0600);
		assert_int_equal(write(keys, "access_key a\nsecret_key b\n", 26), 26);
		close(keys);
	}
	assert_int_equal(fchdir(home), 0);
	close(home);
	/* Nor is one in a record cut. */
	n = snprintf(text, sizeof(text), "objects folder\ns3_ca /%0300d\n", 1);
	assert_int_equal(datadir_lock(&d), 0);
	assert_int_equal(datadir_write(&d, OBJECTS_RECORD, text, (size_t)n, 0644), 0);
	assert_int_equal(objects_open(&d, NULL, false, why), -ENAMETOOLONG);
	unlinkat(d.fd, OBJECTS_RECORD, 0);
	datadir_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),    cmocka_unit_test(settings), cmocka_unit_test(windows),
		cmocka_unit_test(edits),
		cmocka_unit_test(files),    cmocka_unit_test(channels),
		cmocka_unit_test(places),   cmocka_unit_test(lists),
		cmocka_unit_test(remembered), cmocka_unit_test(long_names),
	};

	return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
