/*
 * admin.c - what people decide about machines: groups, rules, approval, settings
 *
 * A ticket's settings come from, the later the stronger: what is built in, the
 * lines of site.conf for everybody, the machine's group, the machine itself, the
 * lines of site.conf for this machine. Here are the third and the fourth. A
 * value that is NULL says nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/fmt.h"
#include "server/data/datadir.h"
#include "server/data/siteconf.h"
#include "server/fleet/fleet.h"

#define NAME_MAX_BYTES 63
#define NOTE_MAX_BYTES 2000

#define MACHINE_COLUMNS                                                                            \
	"SELECT id, name, uuid, disk, mac, address, grp AS \"group\", approved AS"                \
	" \"approved!bool\", note, first_seen, last_seen, boots, booted, state, code, text,"      \
	" version, percent, complete AS \"complete!bool\", reported, channel, policy, claim,"     \
	" fill, fill_limit, frontend, nic, pinned, reset_once AS \"reset_once!bool\""

/** fleet_machines() - all machines, or those of which @match is name, group, UUID, number... */
json_t *fleet_machines(struct fleet *f, const char *match)
{
	return db_rows(f->db,
		       MACHINE_COLUMNS
		       " FROM machines WHERE ?1 IS NULL OR name = ?1 OR grp = ?1 OR uuid = ?1 OR"
		       " disk = ?1 OR mac = ?1 OR address = ?1 OR state = ?1 OR"
		       " cast(id AS TEXT) = ?1 OR (?1 = 'pending' AND NOT approved) OR"
		       " (length(?1) >= 4 AND uuid LIKE ?1 || '%') ORDER BY grp, name IS NULL,"
		       " name, id", "s", match);
}

/** fleet_machine() - one, with its whole last report; NULL when there is none */
json_t *fleet_machine(struct fleet *f, long long id)
{
	return db_row(f->db,
		      MACHINE_COLUMNS ", CASE WHEN json_valid(report) THEN report END AS"
				      " \"report!json\" FROM machines WHERE id = ?1", "i", id);
}

/** fleet_dirty() - the machines that changed since the last call */
json_t *fleet_dirty(struct fleet *f)
{
	json_t *all = json_array();

	for (u32 i = 0; i < f->dirty_count; i++) {
		json_t *m = db_row(f->db, MACHINE_COLUMNS " FROM machines WHERE id = ?1", "i",
				   (long long)f->dirty[i]);

		if (m)
			json_array_append_new(all, m);
	}
	f->dirty_count = 0;
	return all;
}

/* ---------------------------------------------------------------- changes, checked */

/* What a change may name, and what is right for it. */
enum kind {
	KIND_NAME,
	KIND_GROUP,
	KIND_NOTE,
	KIND_BOOL,
	KIND_SETTING, /* as in site.conf */
	KIND_VERSION,
};

struct column {
	const char *key;
	enum kind kind;
	const char *sql; /* ?1: the row, ?2: the value */
};

static const struct column machine_columns[] = {
	{ "name", KIND_NAME, "UPDATE machines SET name = ?2 WHERE id = ?1" },
	{ "group", KIND_GROUP, "UPDATE machines SET grp = ?2 WHERE id = ?1" },
	{ "note", KIND_NOTE, "UPDATE machines SET note = ifnull(?2, '') WHERE id = ?1" },
	{ "approved", KIND_BOOL, "UPDATE machines SET approved = ?2 WHERE id = ?1" },
	{ "reset_once", KIND_BOOL, "UPDATE machines SET reset_once = ?2 WHERE id = ?1" },
	{ "channel", KIND_SETTING, "UPDATE machines SET channel = ?2 WHERE id = ?1" },
	{ "policy", KIND_SETTING, "UPDATE machines SET policy = ?2 WHERE id = ?1" },
	{ "claim", KIND_SETTING, "UPDATE machines SET claim = ?2 WHERE id = ?1" },
	{ "fill", KIND_SETTING, "UPDATE machines SET fill = ?2 WHERE id = ?1" },
	{ "fill_limit", KIND_SETTING, "UPDATE machines SET fill_limit = ?2 WHERE id = ?1" },
	{ "frontend", KIND_SETTING, "UPDATE machines SET frontend = ?2 WHERE id = ?1" },
	{ "nic", KIND_SETTING, "UPDATE machines SET nic = ?2 WHERE id = ?1" },
	{ "pinned", KIND_VERSION, "UPDATE machines SET pinned = ?2 WHERE id = ?1" },
};

static const struct column group_columns[] = {
	{ "note", KIND_NOTE, "UPDATE groups SET note = ifnull(?2, '') WHERE name = ?1" },
	{ "channel", KIND_SETTING, "UPDATE groups SET channel = ?2 WHERE name = ?1" },
	{ "policy", KIND_SETTING, "UPDATE groups SET policy = ?2 WHERE name = ?1" },
	{ "claim", KIND_SETTING, "UPDATE groups SET claim = ?2 WHERE name = ?1" },
	{ "fill", KIND_SETTING, "UPDATE groups SET fill = ?2 WHERE name = ?1" },
	{ "fill_limit", KIND_SETTING, "UPDATE groups SET fill_limit = ?2 WHERE name = ?1" },
	{ "fill_window", KIND_SETTING, "UPDATE groups SET fill_window = ?2 WHERE name = ?1" },
	{ "frontend", KIND_SETTING, "UPDATE groups SET frontend = ?2 WHERE name = ?1" },
	{ "nic", KIND_SETTING, "UPDATE groups SET nic = ?2 WHERE name = ?1" },
};

static bool name_fits(const char *s)
{
	size_t n = strlen(s);

	if (!n || n > NAME_MAX_BYTES || s[0] == '-' || strspn(s, "0123456789") == n)
		return false; /* all digits is a machine's number */
	for (; *s; s++)
		if (*s <= ' ' || *s == 0x7f || strchr("/\\\"'<>&?#%", *s))
			return false;
	return true;
}

static bool setting_fits(const char *key, const json_t *v, char room[64], const char **value)
{
	struct ticket scratch = { 0 };

	if (json_is_integer(v)) {
		snprintf(room, 64, "%lld", (long long)json_integer_value(v));
		*value = room;
	} else {
		*value = json_string_value(v);
	}
	return *value && !siteconf_set(&scratch, key, *value);
}

/* @v to text for the column; NULL is always right but for a few. */
static bool value_fits(struct fleet *f, const struct column *c, const json_t *v, char room[64],
		       const char **value)
{

	*value = json_string_value(v);
	if (c->kind == KIND_BOOL) {
		*value = json_is_true(v) ? "1" : "0";
		return json_is_boolean(v);
	}
	if (json_is_null(v))
		return c->kind != KIND_GROUP;
	if (c->kind == KIND_SETTING)
		return setting_fits(c->key, v, room, value);
	if (!*value)
		return false;
	switch (c->kind) {
	case KIND_NAME:
		return name_fits(*value);
	case KIND_GROUP:
		return fleet_group_known(f, *value);
	case KIND_NOTE:
		return strlen(*value) <= NOTE_MAX_BYTES;
	case KIND_VERSION:
		return digest_hex_ok(*value, strlen(*value));
	default:
		return false;
	}
}

static const struct column *find_column(const struct column *c, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(c[i].key, key))
			return &c[i];
	return NULL;
}

/* All of @change or nothing. The row is @id or @name. */
static int change_row(struct fleet *f, const struct column *columns, size_t n, long long id,
		      const char *name, const json_t *change, const char **why)
{
	const char *key;
	json_t *v;
	int err = 0;

	*why = "not an object of settings";
	if (!json_is_object(change))
		return -EINVAL;
	for (int pass = 0; pass < 2 && !err; pass++) {
		json_object_foreach((json_t *)change, key, v) {
			const struct column *c = find_column(columns, n, key);
			const char *value;
			char room[64];

			*why = key;
			if (!c || !value_fits(f, c, v, room, &value))
				return -EINVAL;
			if (pass && !err)
				err = name ? db_run(f->db, c->sql, "ss", name, value) :
					     db_run(f->db, c->sql, "is", id, value);
		}
		if (!pass)
			err = db_commit(f->db) || db_begin(f->db) ? -EIO : 0;
	}
	if (err)
		db_rollback(f->db);
	else
		err = db_commit(f->db);
	return err;
}

/**
 * fleet_machine_change() - change what people decide about a machine
 * @change: keys of machine_columns; null takes a setting back to the group's
 * @why:    out, on failure: the key that is wrong
 *
 * Return: 0; -ENOENT; -EINVAL; -EEXIST for a name that another machine has.
 */
int fleet_machine_change(struct fleet *f, long long id, const json_t *change, const char **why)
{
	if (!db_int(f->db, 0, "SELECT 1 FROM machines WHERE id = ?1", "i", id))
		return -ENOENT;
	fleet_touch(f, id);
	return change_row(f, machine_columns, ARRAY_SIZE(machine_columns), id, NULL, change, why);
}

/** fleet_machine_forget() - as if it had never asked; 0 or -ENOENT */
int fleet_machine_forget(struct fleet *f, long long id)
{
	int err = db_begin(f->db);

	if (!err)
		err = db_run(f->db, "DELETE FROM machines WHERE id = ?1", "i", id);
	if (!err && !db_changes(f->db))
		err = -ENOENT;
	return err ? err : db_commit(f->db);
}

/* ---------------------------------------------------------------- groups, rules */

/** fleet_group_known() - is there such a group? */
bool fleet_group_known(struct fleet *f, const char *group)
{
	return db_int(f->db, 0, "SELECT 1 FROM groups WHERE name = ?1", "s", group);
}

/** fleet_groups() - all of them, with how many machines are in which state */
json_t *fleet_groups(struct fleet *f)
{
	return db_rows(f->db,
		       "SELECT name, channel, policy, claim, fill, fill_limit, frontend,"
		       " nic, fill_window, note,"
		       " (SELECT count(*) FROM machines WHERE grp = groups.name) AS machines,"
		       " (SELECT count(*) FROM machines WHERE grp = groups.name AND complete)"
		       " AS complete,"
		       " (SELECT count(*) FROM machines WHERE grp = groups.name AND"
		       " state = 'trouble') AS trouble FROM groups ORDER BY name", "");
}

/** fleet_group_put() - make a group if need be, and change its settings */
int fleet_group_put(struct fleet *f, const char *name, const json_t *change, const char **why)
{
	int err;

	*why = "name";
	if (!name_fits(name))
		return -EINVAL;
	err = db_begin(f->db);
	if (!err)
		err = db_run(f->db, "INSERT OR IGNORE INTO groups (name) VALUES (?1)", "s", name);
	return err ? err : change_row(f, group_columns, ARRAY_SIZE(group_columns), 0, name, change,
				      why);
}

/** fleet_group_delete() - its machines go back to the default group; -EPERM for that one */
int fleet_group_delete(struct fleet *f, const char *name)
{
	int err;

	if (!strcmp(name, FLEET_GROUP_DEFAULT))
		return -EPERM;
	err = db_begin(f->db);
	if (!err)
		err = db_run(f->db, "UPDATE machines SET grp = 'default' WHERE grp = ?1", "s",
			     name);
	if (!err)
		err = db_run(f->db, "DELETE FROM groups WHERE name = ?1", "s", name);
	if (!err && !db_changes(f->db))
		err = -ENOENT;
	return err ? err : db_commit(f->db);
}

/** fleet_rules() - by which new machines are approved and grouped, the first that fits */
json_t *fleet_rules(struct fleet *f)
{
	return db_rows(f->db,
		       "SELECT id, field, pattern, grp AS \"group\" FROM rules ORDER BY id", "");
}

/** fleet_rule_add() - {"field": "address", "pattern": "10.0.3.*", "group": "lab3"} */
int fleet_rule_add(struct fleet *f, const json_t *rule, const char **why)
{
	static const char *const fields[] = { "mac", "address", "uuid", "disk" };
	const char *field = json_string_value(json_object_get(rule, "field"));
	const char *pattern = json_string_value(json_object_get(rule, "pattern"));
	const char *group = json_string_value(json_object_get(rule, "group"));
	bool known = false;
	int err;

	for (size_t i = 0; field && i < ARRAY_SIZE(fields); i++)
		known |= !strcmp(field, fields[i]);
	*why = !known ? "field" : !pattern || !*pattern || strlen(pattern) > 64 ? "pattern" : NULL;
	if (!*why && (!group || !fleet_group_known(f, group)))
		*why = "group";
	if (*why)
		return -EINVAL;
	err = db_begin(f->db);
	if (!err)
		err = db_run(f->db, "INSERT INTO rules (field, pattern, grp) VALUES (?1, ?2, ?3)",
			     "sss", field, pattern, group);
	return err ? err : db_commit(f->db);
}

/** fleet_rule_delete() - 0 or -ENOENT */
int fleet_rule_delete(struct fleet *f, long long id)
{
	int err = db_begin(f->db);

	if (!err)
		err = db_run(f->db, "DELETE FROM rules WHERE id = ?1", "i", id);
	if (!err && !db_changes(f->db))
		err = -ENOENT;
	return err ? err : db_commit(f->db);
}

/* ---------------------------------------------------------------- tickets */

static void apply_settings(struct ticket *t, const json_t *row)
{
	static const char *const keys[] = { "channel", "policy", "claim", "fill", "fill_limit",
					    "fill_window", "frontend", "nic" };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const json_t *v = json_object_get(row, keys[i]);
		const char *value;
		char room[64];

		/* Checked when it was set; a database that says otherwise is not followed. */
		if (v && !json_is_null(v) && setting_fits(keys[i], v, room, &value))
			siteconf_set(t, keys[i], value);
	}
}

/**
 * fleet_ticket() - what group and machine say, into a ticket
 * @why: out, on -EPERM: for the machine's screen
 *
 * Return: 0; -EPERM when the machine is not approved; -ENOENT.
 */
int fleet_ticket(struct fleet *f, long long id, struct ticket *t, const char **why)
{
	json_t *m = db_row(f->db,
			   "SELECT approved, grp, channel, policy, claim, fill, fill_limit,"
			   " frontend, nic, pinned, reset_once, serial_floor FROM machines"
			   " WHERE id = ?1", "i", id);
	json_t *g;

	if (!m)
		return -ENOENT;
	if (!json_integer_value(json_object_get(m, "approved"))) {
		*why = "this machine waits for approval\n";
		json_decref(m);
		return -EPERM;
	}
	g = db_row(f->db,
		   "SELECT channel, policy, claim, fill, fill_limit, frontend, nic,"
		   " fill_window FROM groups WHERE name = ?1", "s",
		   json_string_value(json_object_get(m, "grp")));
	apply_settings(t, g);
	apply_settings(t, m);
	json_decref(g);
	json_decref(m);
	return 0;
}

/**
 * fleet_ticket_made() - the last word on a ticket, once channel and version are in it
 *
 * Roll-out and pin choose another version. The serial number is the channel's, or
 * what this machine was told before if that is higher: a machine that moves to a
 * channel with a lower number would refuse the ticket.
 */
int fleet_ticket_made(struct fleet *f, long long id, struct ticket *t)
{
	json_t *m = db_row(f->db,
			   "SELECT grp, pinned, reset_once, serial_floor FROM machines"
			   " WHERE id = ?1", "i", id);
	const char *pinned;
	u64 floor;

	if (!m)
		return -ENOENT;
	fleet_rollout_version(f, t->channel, json_string_value(json_object_get(m, "grp")),
			      t->version);
	pinned = json_string_value(json_object_get(m, "pinned"));
	if (pinned)
		fmt_unhex(t->version, SHA256_BYTES, pinned, strlen(pinned));
	if (json_integer_value(json_object_get(m, "reset_once")))
		t->policy = TICKET_POLICY_BOOT;
	floor = (u64)json_integer_value(json_object_get(m, "serial_floor"));
	json_decref(m);
	t->serial = MAX(t->serial, floor);
	if (t->serial == floor)
		return 0;
	db_begin(f->db);
	return db_run(f->db, "UPDATE machines SET serial_floor = ?2 WHERE id = ?1", "ii", id,
		      (long long)t->serial);
}
