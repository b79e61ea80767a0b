/* storage/format/ticket, guid: round trips, signatures, and strictness. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto_sign.h"
#include "base/err.h"
#include "storage/format/ticket.h"

#define UUID "44454c4c-3000-1051-8032-b2c04f4d3132"
#define HEX64 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define MUST                                                                   \
	"freshet-ticket 1\nuuid " UUID "\nchannel lab-a/stable\nserial 7\n"    \
	"version " HEX64 "\npolicy push\n"

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

static void sign(char *text, size_t room, size_t *n)
{
	u8 digest[SHA256_BYTES], sig[P256_SIG_BYTES];

	sigtext_digest(digest, text, *n);
	assert_int_equal(key_sign(key, digest, sig), 0);
	assert_int_equal(sigtext_append_sig(text, room, n, sig), 0);
}

static int parse(const char *text)
{
	struct ticket t;
	/* Without a terminator, so that a sanitizer sees a read beyond. */
	size_t n = strlen(text);
	char *copy = malloc(n ? n : 1);
	int err;

	memcpy(copy, text, n);
	err = ticket_parse(copy, n, &t);
	free(copy);
	return err;
}

static struct ticket sample(void)
{
	struct ticket t = {
		.channel = "lab-a/stable",
		.serial = 18446744073709551615ull,
		.policy = TICKET_POLICY_PUSH,
		.has_esp = true,
		.claim = TICKET_CLAIM_SERIAL,
		.claim_serial = "S4EV NF0M 123456",
		.fill = false,
		.fill_limit_kib = 4294967295u,
		.fill_from = 1320,
		.fill_to = 360,
		.metered = true,
		.frontend = TICKET_FRONTEND_AHCI,
		.nic = TICKET_NIC_E1000E,
		.sources = { 2, { { 0x0a000007, 80, "/objects" }, { 0xac100001, 8080, "" } } },
		.time_unix = 1700000000,
		.has_credential = true,
	};

	assert_int_equal(guid_parse(t.uuid, UUID, 36), 0);
	memset(t.version, 0xab, sizeof(t.version));
	memset(t.esp, 0xcd, sizeof(t.esp));
	memset(t.credential, 0x5e, sizeof(t.credential));
	return t;
}

static void ticket_round_trip(void **state)
{
	struct ticket t = sample(), got;
	char text[SIGTEXT_MAX];
	size_t n;

	(void)state;
	assert_int_equal(ticket_build(&t, text, sizeof(text), &n), 0);
	sign(text, sizeof(text), &n);
	assert_int_equal(ticket_parse(text, n, &got), 0);
	assert_memory_equal(got.uuid, t.uuid, sizeof(t.uuid));
	assert_string_equal(got.channel, t.channel);
	assert_true(got.serial == t.serial);
	assert_memory_equal(got.version, t.version, 32);
	assert_int_equal(got.policy, t.policy);
	assert_true(got.has_esp);
	assert_memory_equal(got.esp, t.esp, 32);
	assert_int_equal(got.claim, TICKET_CLAIM_SERIAL);
	assert_string_equal(got.claim_serial, t.claim_serial);
	assert_false(got.fill);
	assert_true(got.fill_limit_kib == t.fill_limit_kib);
	assert_int_equal(got.fill_from, 1320);
	assert_int_equal(got.fill_to, 360);
	assert_true(got.metered);
	assert_int_equal(got.frontend, TICKET_FRONTEND_AHCI);
	assert_int_equal(got.nic, TICKET_NIC_E1000E);
	assert_non_null(strstr(text, "\nsources http://10.0.0.7/objects http://172.16.0.1:8080\n"));
	assert_memory_equal(&got.sources, &t.sources, sizeof(t.sources));
	assert_true(got.time_unix == t.time_unix);
	assert_true(got.has_credential);
	assert_memory_equal(got.credential, t.credential, sizeof(t.credential));
	assert_int_equal(sigtext_verify(text, n, pub, 1), 0);
}

static void defaults(void **state)
{
	struct ticket t;

	(void)state;
	assert_int_equal(ticket_parse(MUST, strlen(MUST), &t), 0);
	assert_int_equal(t.policy, TICKET_POLICY_PUSH);
	assert_false(t.has_esp);
	assert_int_equal(t.claim, TICKET_CLAIM_NONE);
	assert_true(t.fill);
	assert_int_equal(t.fill_limit_kib, 0);
	assert_int_equal(t.fill_from, t.fill_to);
	assert_false(t.metered);
	assert_int_equal(parse(MUST "fill_window 0-1439\ntime 1\n"), 0);
	assert_int_equal(t.frontend, TICKET_FRONTEND_SAME);
	assert_int_equal(t.nic, TICKET_NIC_NONE);
	assert_int_equal(t.sources.count, 0);
	assert_int_equal(t.serial, 7);
	assert_int_equal(parse(MUST "peers 10.0.0.1 10.0.0.2\nsomething new\n"), 0);
}

static void every_required_key_is_required(void **state)
{
	static const char *const keys[] = { "uuid", "channel", "serial", "version", "policy" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		char text[512], find[32], *line, *end;

		snprintf(text, sizeof(text), "%s", MUST);
		snprintf(find, sizeof(find), "\n%s ", keys[i]);
		line = strstr(text, find) + 1;
		end = strchr(line, '\n') + 1;
		memmove(line, end, strlen(end) + 1);
		assert_int_equal(parse(text), -EINVAL);
	}
}

static void strictness(void **state)
{
	static const char *const wrong[] = {
		"",
		"\n",
		"freshet-ticket 1",
		"freshet-ticket 2\n",
		"freshet-channel 1\n",
		" " MUST,
		MUST "serial 8\n",
		MUST "new 1\nnew 1\n",
		MUST "claim blank\nclaim none\n",
		MUST "\n",
		MUST "fill\n",
		MUST "fill \n",
		MUST "fill  on\n",
		MUST "fill on \n",
		MUST "fill ON\n",
		MUST "fill on\r\n",
		MUST "Fill on\n",
		MUST "fill\ton\n",
		MUST "fill on", /* no newline */
		MUST "fill_window 1-2\n", /* no time */
		MUST "fill_window 1-2\ntime 0\n",
		MUST "fill_window 1440-2\ntime 1\n",
		MUST "fill_window 1-1440\ntime 1\n",
		MUST "fill_window 1-\ntime 1\n",
		MUST "fill_window -1\ntime 1\n",
		MUST "fill_window 5\ntime 1\n",
		MUST "fill_window 1-2-3\ntime 1\n",
		MUST "metered yes\n",
		MUST "fill_limit -1\n",
		MUST "fill_limit +1\n",
		MUST "fill_limit 01\n",
		MUST "fill_limit 1k\n",
		MUST "fill_limit 4294967296\n",
		MUST "time 18446744073709551616\n",
		MUST "credential abcd\n",
		MUST "credential none\n",
		MUST "time 99999999999999999999999\n",
		MUST "esp " HEX64 "0\n",
		MUST "esp 0011\n",
		MUST "esp AA112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n",
		MUST "esp NONE\n",
		MUST "claim all\n",
		MUST "frontend ide\n",
		MUST "nic same\n",
		MUST "nic virtio-net\n",
		MUST "frontend AHCI\n",
		MUST "frontend ahc\n",
		MUST "sources https://10.0.0.1/o\n",
		MUST "sources 10.0.0.1\n",
		MUST "sources http://cdn.example/o\n",
		MUST "sources http://10.0.0/o\n",
		MUST "sources http://10.0.0.256\n",
		MUST "sources http://10.0.0.01\n",
		MUST "sources http://0.0.0.0\n",
		MUST "sources http://10.0.0.1:0\n",
		MUST "sources http://10.0.0.1:65536\n",
		MUST "sources http://10.0.0.1:\n",
		MUST "sources http://10.0.0.1/../o\n",
		MUST "sources http://10.0.0.1/a/./o\n",
		MUST "sources http://10.0.0.1/a//o\n",
		MUST "sources http://10.0.0.1/a?b\n",
		MUST "sources http://10.0.0.1/a%20\n",
		MUST "sources http://10.0.0.1  http://10.0.0.2\n",
		MUST "sources none http://10.0.0.2\n",
		MUST "sources http://1.1.1.1 http://1.1.1.2 http://1.1.1.3 http://1.1.1.4 "
		     "http://1.1.1.5\n",
		MUST "sources http://1.1.1.1/"
		     "0123456789012345678901234567890123456789012345678901234567890123\n",
		MUST "claim serial:\n",
		MUST "claim serial: x\n",
		MUST "claim serial:12345678901234567890123456789012345678901\n",
		MUST "name caf\xc3\xa9\n",
		MUST "sig 00\nfill on\n", /* sig is last */
	};

	(void)state;
	assert_int_equal(parse(MUST), 0);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		if (parse(wrong[i]) != -EINVAL)
			fail_msg("accepted: %s", wrong[i]);
	assert_int_equal(parse(MUST "claim serial:1234567890123456789012345678901234567890\n"), 0);
	assert_int_equal(parse(MUST "time 18446744073709551615\n"), 0);
	assert_int_equal(parse(MUST "sources none\n"), 0);
	assert_int_equal(parse(MUST "sources http://1.1.1.1/a.b/..c/ http://1.1.1.2:65535\n"), 0);
	assert_int_equal(parse(MUST "sources http://1.1.1.1/0123456789012345678901234567890123"
				    "4567890123456789012345678901\n"), 0);
}

static void nul_and_length(void **state)
{
	char text[SIGTEXT_MAX + 2];
	struct ticket t;
	size_t n = strlen(MUST);

	(void)state;
	memcpy(text, MUST, n);
	text[20] = 0;
	assert_int_equal(ticket_parse(text, n, &t), -EINVAL);
	memcpy(text, MUST "x ", n + 2);
	memset(text + n + 2, 'y', sizeof(text) - n - 2);
	text[SIGTEXT_MAX - 1] = '\n';
	assert_int_equal(ticket_parse(text, SIGTEXT_MAX, &t), 0);
	text[SIGTEXT_MAX - 1] = 'y';
	text[SIGTEXT_MAX] = '\n';
	assert_int_equal(ticket_parse(text, SIGTEXT_MAX + 1, &t), -EMSGSIZE);
}

static void signatures(void **state)
{
	struct ticket t = sample();
	char text[SIGTEXT_MAX], bad[SIGTEXT_MAX];
	u8 keys[2][P256_PUB_BYTES];
	struct crypto_key *other;
	size_t n;

	(void)state;
	assert_int_equal(ticket_build(&t, text, sizeof(text), &n), 0);
	assert_int_equal(sigtext_verify(text, n, pub, 1), -EINVAL);
	sign(text, sizeof(text), &n);
	assert_int_equal(key_generate(&other), 0);
	key_public(other, keys[0]);
	memcpy(keys[1], pub[0], sizeof(pub[0]));
	assert_int_equal(sigtext_verify(text, n, keys, 2), 0);
	assert_int_equal(sigtext_verify(text, n, keys, 1), -EKEYREJECTED);
	assert_int_equal(sigtext_verify(text, n, keys, 0), -EKEYREJECTED);
	for (size_t i = 0; i < n; i += 3) {
		memcpy(bad, text, n);
		bad[i] ^= 1;
		assert_true(sigtext_verify(bad, n, pub, 1) < 0);
	}
	assert_int_equal(sigtext_verify(text, n - 1, pub, 1), -EINVAL);
	assert_int_equal(sigtext_verify(text, 10, pub, 1), -EINVAL);
	assert_int_equal(sigtext_verify(text, 0, pub, 1), -EINVAL);
	text[n] = '\n';
	assert_int_equal(sigtext_verify(text, n + 1, pub, 1), -EINVAL);
	key_free(other);
}

static void a_channel_is_no_ticket(void **state)
{
	struct channel c = { .name = "lab-a/stable", .serial = 3 }, got;
	struct ticket t;
	char text[SIGTEXT_MAX];
	size_t n;

	(void)state;
	memset(c.version, 0x11, sizeof(c.version));
	assert_int_equal(channel_build(&c, text, sizeof(text), &n), 0);
	sign(text, sizeof(text), &n);
	assert_int_equal(channel_parse(text, n, &got), 0);
	assert_string_equal(got.name, c.name);
	assert_int_equal(got.serial, 3);
	assert_memory_equal(got.version, c.version, 32);
	assert_int_equal(sigtext_verify(text, n, pub, 1), 0);
	assert_int_equal(ticket_parse(text, n, &t), -EINVAL);
	assert_int_equal(channel_parse(MUST, strlen(MUST), &got), -EINVAL);
}

static void builders_refuse(void **state)
{
	struct ticket t = sample();
	char text[SIGTEXT_MAX];
	size_t n;

	(void)state;
	assert_int_equal(ticket_build(&t, text, 100, &n), -ENOSPC);
	strcpy(t.channel, "../etc");
	assert_int_equal(ticket_build(&t, text, sizeof(text), &n), -EINVAL);
	t = sample();
	strcpy(t.claim_serial, "a\nfill on");
	assert_int_equal(ticket_build(&t, text, sizeof(text), &n), -EINVAL);
}

static void channel_names(void **state)
{
	static const char *const good[] = { "a", "lab-a/stable", "a/b/c", "x_1.2" };
	static const char *const bad[] = { "", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "A",
					   "a b", "a/.b", "a\\b" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(channel_name_ok(good[i], strlen(good[i])));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(channel_name_ok(bad[i], strlen(bad[i])));
}

static void guids(void **state)
{
	u8 g[16];
	char text[37];
	static const u8 esp[16] = { 0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
				    0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b };

	(void)state;
	assert_int_equal(guid_parse(g, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", 36), 0);
	assert_memory_equal(g, esp, 16);
	assert_string_equal(guid_format(text, g), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
	assert_int_equal(guid_parse(g, "c12a7328-f81f-11d2-ba4b-00a0c93ec93", 35), -EINVAL);
	assert_int_equal(guid_parse(g, "c12a7328-f81f-11d2-ba4b000a0c93ec93b", 36), -EINVAL);
	assert_int_equal(guid_parse(g, "c12a7328-f81f-11d2-ba4b-00a0c93ec93g", 36), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ticket_round_trip),
		cmocka_unit_test(defaults),
		cmocka_unit_test(every_required_key_is_required),
		cmocka_unit_test(strictness),
		cmocka_unit_test(nul_and_length),
		cmocka_unit_test(signatures),
		cmocka_unit_test(a_channel_is_no_ticket),
		cmocka_unit_test(builders_refuse),
		cmocka_unit_test(channel_names),
		cmocka_unit_test(guids),
	};

	return cmocka_run_group_tests(tests, make_key, drop_key);
}
