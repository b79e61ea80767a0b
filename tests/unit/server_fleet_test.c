/* server/fleet: machines, identity, enrolment, groups, tokens, history, roll-outs, migration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/plat_host.h"
#include "server/fleet/fleet.h"

#define UUID "01234567-89ab-cdef-0123-456789abcdef"
#define UUID2 "01234567-89ab-cdef-0123-456789abcdee"
#define VERSION "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define VERSION2 "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static char folder[] = "/tmp/freshet-unit-XXXXXX";
static char path[64];

static int make_folder(void **state)
{
	(void)state;
	plat_host_quiet = true;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/fleet.db", folder);
	return 0;
}

static int drop_folder(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

static struct fleet *begin(void)
{
	struct fleet *f;

	unlink(path);
	assert_int_equal(fleet_open(&f, path), 0);
	return f;
}

static long long seen(struct fleet *f, const char *uuid, const char *disk)
{
	const struct fleet_boot b = { uuid, "52:54:00:12:34:56", disk, "192.0.2.7" };

	return fleet_seen(f, &b);
}

static int change(struct fleet *f, long long id, const char *json)
{
	json_t *o = json_loads(json, 0, NULL);
	const char *why;
	int err = fleet_machine_change(f, id, o, &why);

	json_decref(o);
	return err;
}

static int group(struct fleet *f, const char *name, const char *json)
{
	json_t *o = json_loads(json, 0, NULL);
	const char *why;
	int err = fleet_group_put(f, name, o, &why);

	json_decref(o);
	return err;
}

static void reports(void **state)
{
	static const char *const bad[] = { "", "{", "1", "null", "{\"uuid\":null}",
					   "{\"uuid\":\"" UUID "\",\"percent\":-1}" };
	const struct fleet_boot b = { UUID, "52:54:00:12:34:56", "S'1\"", "192.0.2.7" };
	const char *report = "{\"uuid\":\"" UUID2 "\",\"state\":\"ready\",\"percent\":100}";
	struct fleet *f;
	char *json;

	(void)state;
	assert_int_equal(fleet_open(&f, "/nonexistent/fleet.db"), -EIO);
	f = begin();
	assert_int_equal(fleet_seen(f, &b), 1);
	assert_int_equal(fleet_seen(f, &b), 1);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(fleet_report(f, bad[i], strlen(bad[i]), "a", ""), -EINVAL);
	assert_int_equal(fleet_report(f, "{\"uuid\":\"" UUID "\"}\0x", 49, "a", ""), -EINVAL);
	assert_int_equal(fleet_report(f, report, strlen(report), "192.0.2.8", ""), 0);
	fleet_close(f);
	assert_int_equal(fleet_open(&f, path), 0);
	assert_int_equal(fleet_list(f, &json), 0);
	assert_non_null(strstr(json, "\"uuid\":\"" UUID "\",\"mac\":\"52:54:00:12:34:56\","
				     "\"disk\":\"S'1\\\"\",\"address\":\"192.0.2.7\""));
	assert_non_null(strstr(json, "\"boots\":2"));
	assert_non_null(strstr(json, "\"state\":\"ready\""));
	free(json);
	fleet_close(f);
}

/* A UUID that many boards share, a disk that comes later, a disk that is replaced. */
static void identity(void **state)
{
	struct fleet *f = begin();
	long long a, b;

	(void)state;
	a = seen(f, UUID, "");
	assert_true(a > 0);
	assert_int_equal(seen(f, UUID, "D1"), a);
	assert_int_equal(seen(f, UUID, "D1"), a);
	assert_int_equal(seen(f, UUID, ""), a);
	b = seen(f, UUID, "D2");
	assert_true(b > 0 && b != a);
	assert_int_equal(seen(f, UUID, "D1"), a);
	assert_true(seen(f, UUID2, "D1") != a);
	fleet_close(f);
}

static void enrolment(void **state)
{
	struct fleet *f = begin();
	struct ticket t = { .channel = "lab/stable", .fill = true };
	const char *why = NULL;
	json_t *rule;
	long long a;

	(void)state;
	f->open_enrolment = false;
	a = seen(f, UUID, "D1");
	assert_int_equal(fleet_ticket(f, a, &t, &why), -EPERM);
	assert_non_null(why);
	assert_int_equal(change(f, a, "{\"approved\": true}"), 0);
	assert_int_equal(fleet_ticket(f, a, &t, &why), 0);
	assert_int_equal(group(f, "lab3", "{}"), 0);
	rule = json_loads("{\"field\": \"address\", \"pattern\": \"192.0.2.*\", \"group\":"
			  " \"lab3\"}", 0, NULL);
	assert_int_equal(fleet_rule_add(f, rule, &why), 0);
	json_object_set_new(rule, "group", json_string("none"));
	assert_int_equal(fleet_rule_add(f, rule, &why), -EINVAL);
	assert_string_equal(why, "group");
	json_decref(rule);
	a = seen(f, UUID2, "D2");
	assert_int_equal(fleet_ticket(f, a, &t, &why), 0);
	rule = fleet_machine(f, a);
	assert_string_equal(json_string_value(json_object_get(rule, "group")), "lab3");
	json_decref(rule);
	fleet_close(f);
}

static void settings(void **state)
{
	static const char *const bad[] = {
		"{\"policy\": \"x\"}", "{\"frob\": 1}", "{\"group\": \"none\"}",
		"{\"group\": null}",
		"{\"name\": \"12\"}", "{\"name\": \"a b\"}", "{\"approved\": 1}", "[]",
		"{\"pinned\": \"12\"}", "{\"frontend\": \"ide\"}", "{\"nic\": \"ne2000\"}",
		"{\"note\": \"x\", \"fill_limit\": -1}",
	};
	const char *up = "{\"uuid\":\"" UUID "\",\"disk\":\"D1\",\"state\":\"ready\"}";
	struct fleet *f = begin();
	struct ticket t = { .channel = "lab/stable", .fill = true };
	const char *why;
	long long a = seen(f, UUID, "D1"), b = seen(f, UUID2, "D2");
	json_t *m;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(change(f, a, bad[i]), -EINVAL);
	m = fleet_machine(f, a);
	assert_string_equal(json_string_value(json_object_get(m, "note")), ""); /* all or nothing */
	json_decref(m);
	assert_int_equal(group(f, "lab", "{\"policy\": \"push\", \"fill_limit\": 7, \"channel\":"
					 " \"lab/beta\", \"frontend\": \"ahci\","
					 " \"nic\": \"virtio\"}"), 0);
	assert_int_equal(change(f, a, "{\"group\": \"lab\", \"fill_limit\": 9,"
				      " \"name\": \"pc1\"}"), 0);
	assert_int_equal(change(f, b, "{\"name\": \"pc1\"}"), -EEXIST);
	assert_int_equal(change(f, 99, "{}"), -ENOENT);
	assert_int_equal(fleet_ticket(f, a, &t, &why), 0);
	assert_int_equal(t.policy, TICKET_POLICY_PUSH);
	assert_int_equal(t.fill_limit_kib, 9);
	assert_string_equal(t.channel, "lab/beta");
	assert_int_equal(t.frontend, TICKET_FRONTEND_AHCI);
	assert_int_equal(t.nic, TICKET_NIC_VIRTIO);
	assert_int_equal(change(f, a, "{\"fill_limit\": null, \"claim\": \"serial:D1\"}"), 0);
	assert_int_equal(fleet_ticket(f, a, &t, &why), 0);
	assert_int_equal(t.fill_limit_kib, 7);
	assert_int_equal(t.claim, TICKET_CLAIM_SERIAL);
	/* The serial number never goes back, whatever the channel says. */
	t.serial = 5;
	assert_int_equal(fleet_ticket_made(f, a, &t), 0);
	t.serial = 2;
	assert_int_equal(fleet_ticket_made(f, a, &t), 0);
	assert_int_equal(t.serial, 5);
	/* A reset holds until the machine says that it is up. */
	assert_int_equal(change(f, a, "{\"reset_once\": true}"), 0);
	assert_int_equal(fleet_ticket_made(f, a, &t), 0);
	assert_int_equal(t.policy, TICKET_POLICY_BOOT);
	assert_int_equal(fleet_report(f, up, strlen(up), "a", ""), 0);
	t.policy = TICKET_POLICY_PUSH;
	assert_int_equal(fleet_ticket_made(f, a, &t), 0);
	assert_int_equal(t.policy, TICKET_POLICY_PUSH);
	assert_int_equal(fleet_group_delete(f, "default"), -EPERM);
	assert_int_equal(fleet_group_delete(f, "lab"), 0);
	assert_int_equal(fleet_group_delete(f, "lab"), -ENOENT);
	assert_int_equal(fleet_machine_forget(f, a), 0);
	assert_int_equal(fleet_machine_forget(f, a), -ENOENT);
	fleet_close(f);
}

static void tokens(void **state)
{
	struct fleet *f = begin();
	char token[64], other[64], name[64];

	(void)state;
	assert_int_equal(fleet_token_add(f, "root", ROLE_ADMIN, 0, token), 0);
	assert_int_equal(fleet_token_add(f, "root", ROLE_READER, 0, other), -EEXIST);
	assert_int_equal(fleet_token_add(f, "old", ROLE_ADMIN, 1, other), 0);
	assert_int_equal(fleet_token_role(f, token, name), ROLE_ADMIN);
	assert_string_equal(name, "root");
	assert_int_equal(fleet_token_role(f, other, name), ROLE_NONE); /* expired in 1970 */
	assert_int_equal(fleet_token_role(f, "", name), ROLE_NONE);
	token[8] ^= 1;
	assert_int_equal(fleet_token_role(f, token, name), ROLE_NONE);
	assert_int_equal(fleet_token_delete(f, "root"), -EPERM);
	assert_int_equal(fleet_token_add(f, "b", ROLE_ADMIN, 0, other), 0);
	assert_int_equal(fleet_token_delete(f, "root"), 0);
	assert_int_equal(fleet_token_delete(f, "root"), -ENOENT);
	fleet_close(f);
}

static void point(struct fleet *f, u64 serial, u8 version, const char *why)
{
	struct channel ch = { .name = "lab/x", .serial = serial, .version = { version } };

	assert_int_equal(fleet_channel_seen(f, &ch, "me", why), 0);
}

static int before(struct fleet *f)
{
	char *text = fleet_channel_before(f, "lab/x");
	int v = -1;

	if (text)
		sscanf(text, "%2x", (unsigned int *)&v);
	free(text);
	return v;
}

/* Versions 1, 2, 3; back, back again, forward, back. */
static void history(void **state)
{
	struct fleet *f = begin();

	(void)state;
	assert_int_equal(before(f), -1);
	point(f, 1, 1, "");
	assert_int_equal(before(f), -1);
	point(f, 2, 2, "");
	point(f, 3, 3, "");
	point(f, 3, 9, ""); /* read again */
	assert_int_equal(before(f), 2);
	point(f, 4, 2, "rollback:2");
	assert_int_equal(before(f), 1);
	point(f, 5, 1, "rollback:1");
	assert_int_equal(before(f), -1);
	point(f, 6, 3, "");
	assert_int_equal(before(f), 1);
	fleet_close(f);
}

static void rollouts(void **state)
{
	struct fleet *f = begin();
	json_t *o = json_pack("{s:s,s:s,s:s,s:i}", "channel", "lab/x", "version", VERSION, "canary",
			      "lab3", "promote_after", 0), *due;
	u8 version[32] = { 0 };
	const char *why;
	char text[128];
	long long id;

	(void)state;
	assert_int_equal(fleet_rollout_add(f, o, "me", &id, &why), -EINVAL);
	assert_string_equal(why, "canary");
	assert_int_equal(group(f, "lab3", "{}"), 0);
	assert_int_equal(fleet_rollout_add(f, o, "me", &id, &why), 0);
	assert_int_equal(fleet_rollout_add(f, o, "me", &id, &why), -EEXIST);
	assert_int_equal(fleet_rollout_version(f, "lab/x", "lab3", version), -ENOENT);
	due = fleet_rollouts_due(f, 1ll << 40);
	assert_int_equal(json_array_size(due), 1);
	json_decref(due);
	due = fleet_rollouts_due(f, 1);
	assert_int_equal(json_array_size(due), 0);
	json_decref(due);
	assert_true(fleet_version_used(f, VERSION, text));
	assert_int_equal(fleet_rollout_state(f, 1, "canary"), 0);
	assert_int_equal(fleet_rollout_version(f, "lab/x", "lab3", version), 0);
	assert_int_equal(version[1], 0x11);
	assert_int_equal(fleet_rollout_version(f, "lab/x", "default", version), -ENOENT);
	assert_int_equal(fleet_rollout_version(f, "lab/y", "lab3", version), -ENOENT);
	assert_int_equal(fleet_rollout_state(f, 1, "done"), 0);
	assert_false(fleet_version_used(f, VERSION, text));
	assert_false(fleet_version_used(f, VERSION2, text));
	json_decref(o);
	fleet_close(f);
}

/* The first server's file, and one of the future. */
static void migration(void **state)
{
	struct fleet *f;
	sqlite3 *db;
	json_t *m;

	(void)state;
	unlink(path);
	assert_int_equal(sqlite3_open(path, &db), 0);
	assert_int_equal(sqlite3_exec(db,
		"PRAGMA journal_mode=WAL; CREATE TABLE machines (uuid TEXT PRIMARY KEY, mac TEXT,"
		" disk TEXT, address TEXT, first_seen INTEGER, last_seen INTEGER,"
		" boots INTEGER DEFAULT 0, state TEXT, version TEXT, percent REAL,"
		" reported INTEGER, report TEXT) WITHOUT ROWID; PRAGMA user_version=1;"
		"INSERT INTO machines (uuid, mac, disk, first_seen, boots) VALUES ('" UUID
		"', '52:54:00:00:00:01', 'D1', 7, 3)", NULL, NULL, NULL), 0);
	sqlite3_close(db);
	assert_int_equal(fleet_open(&f, path), 0);
	m = fleet_machine(f, seen(f, UUID, "D1"));
	assert_int_equal(json_integer_value(json_object_get(m, "first_seen")), 7);
	assert_int_equal(json_integer_value(json_object_get(m, "boots")), 4);
	assert_true(json_is_true(json_object_get(m, "approved")));
	json_decref(m);
	fleet_close(f);
	assert_int_equal(sqlite3_open(path, &db), 0);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=99", NULL, NULL, NULL), 0);
	sqlite3_close(db);
	assert_int_equal(fleet_open(&f, path), -EOPNOTSUPP);
}

/* none -> offered -> proven, and what each accepts. */
static void credentials(void **state)
{
	const char *report = "{\"uuid\":\"" UUID "\",\"disk\":\"D1\",\"state\":\"ready\"}";
	char first[CREDENTIAL_TEXT_BYTES], second[CREDENTIAL_TEXT_BYTES];
	struct fleet *f = begin();
	long long id = seen(f, UUID, "D1"), other = seen(f, UUID2, "D2");
	u8 c[CREDENTIAL_BYTES];

	(void)state;
	/* a PC over plain HTTP, or without a disk: as it always was */
	assert_int_equal(fleet_credential_check(f, id, ""), CREDENTIAL_FINE);
	assert_int_equal(fleet_credential_check(f, id, "frt_admin"), CREDENTIAL_FINE);
	assert_int_equal(fleet_credential_check(f, id, CREDENTIAL_WANTED), CREDENTIAL_ISSUE);
	assert_int_equal(fleet_credential_issue(f, id, c), 0);
	credential_text(first, c);
	/* the answer was lost: another one, and the first is worth nothing */
	assert_int_equal(fleet_credential_check(f, id, CREDENTIAL_WANTED), CREDENTIAL_ISSUE);
	assert_int_equal(fleet_credential_issue(f, id, c), 0);
	credential_text(second, c);
	assert_string_not_equal(first, second);
	assert_int_equal(fleet_credential_check(f, id, first), CREDENTIAL_ISSUE);
	assert_int_equal(fleet_credential_check(f, other, second), CREDENTIAL_ISSUE);
	assert_int_equal(fleet_report(f, report, strlen(report), "a", CREDENTIAL_WANTED), 0);
	/* proven: nothing else any more */
	assert_int_equal(fleet_credential_check(f, id, second), CREDENTIAL_FINE);
	assert_int_equal(fleet_credential_check(f, id, second), CREDENTIAL_FINE);
	assert_int_equal(fleet_credential_check(f, id, first), CREDENTIAL_REFUSED);
	assert_int_equal(fleet_credential_check(f, id, CREDENTIAL_WANTED), CREDENTIAL_REFUSED);
	assert_int_equal(fleet_credential_check(f, id, ""), CREDENTIAL_REFUSED);
	assert_int_equal(fleet_report(f, report, strlen(report), "a", ""), -EACCES);
	assert_int_equal(fleet_report(f, report, strlen(report), "a", first), -EACCES);
	assert_int_equal(fleet_report(f, report, strlen(report), "a", second), 0);
	/* forgotten: from the beginning, and what it has is no key any more */
	assert_int_equal(fleet_machine_forget(f, id), 0);
	id = seen(f, UUID, "D1");
	assert_int_equal(fleet_credential_check(f, id, second), CREDENTIAL_ISSUE);
	assert_int_equal(fleet_credential_check(f, id, ""), CREDENTIAL_FINE);
	fleet_close(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reports),  cmocka_unit_test(identity), cmocka_unit_test(enrolment),
		cmocka_unit_test(settings),	cmocka_unit_test(tokens),
		cmocka_unit_test(history),  cmocka_unit_test(rollouts), cmocka_unit_test(migration),
		cmocka_unit_test(credentials),
	};

	return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
