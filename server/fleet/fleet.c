/*
 * fleet.c - machines as they tell of themselves, in SQLite
 *
 * A machine is an SMBIOS UUID together with a disk's serial number. Either alone
 * is not enough: boards are sold with the same UUID a hundred times over, and a
 * disk moves. MAC addresses are noted and never asked: docks and dongles are shared.
 * A machine that told no serial number yet is completed by the first one told.
 *
 * A row is made by the machine's first ticket or report. All of it is hearsay:
 * plain HTTP proves nothing about the sender. So the number of rows is
 * bounded, and losing the file loses settings and history, no images.
 *
 * Nothing here waits for the disk: writes join a transaction that fleet_commit()
 * ends a moment later, whoever calls next.
 */
#include "server/fleet/fleet.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/log.h"
#include "server/data/datadir.h"

/* migrations[i] takes the file from user_version i to i + 1. */
static const char *const migrations[] = {
	/* 0: the first server's one table, which may be there already */
	"CREATE TABLE IF NOT EXISTS machines ("
	"  uuid TEXT PRIMARY KEY, mac TEXT, disk TEXT, address TEXT,"
	"  first_seen INTEGER, last_seen INTEGER, boots INTEGER DEFAULT 0,"
	"  state TEXT, version TEXT, percent REAL, reported INTEGER, report TEXT"
	") WITHOUT ROWID;",

	/* 1: groups, enrolment, claims, tokens, channels' history, roll-outs */
	"CREATE TABLE groups ("
	"  name TEXT PRIMARY KEY, channel TEXT, policy TEXT, claim TEXT, fill TEXT,"
	"  fill_limit INTEGER, fill_window TEXT, note TEXT NOT NULL DEFAULT ''"
	") WITHOUT ROWID;"
	"INSERT INTO groups (name) VALUES ('default');"
	"ALTER TABLE machines RENAME TO machines1;"
	"CREATE TABLE machines ("
	"  id INTEGER PRIMARY KEY, uuid TEXT NOT NULL, disk TEXT NOT NULL DEFAULT '',"
	"  mac TEXT NOT NULL DEFAULT '', address TEXT NOT NULL DEFAULT '',"
	"  name TEXT UNIQUE, grp TEXT NOT NULL DEFAULT 'default' REFERENCES groups(name)"
	"    ON UPDATE CASCADE,"
	"  approved INTEGER NOT NULL DEFAULT 0, note TEXT NOT NULL DEFAULT '',"
	"  first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL,"
	"  boots INTEGER NOT NULL DEFAULT 0, booted INTEGER,"
	"  state TEXT, code INTEGER, text TEXT, version TEXT, percent REAL, complete INTEGER,"
	"  reported INTEGER, report TEXT,"
	"  channel TEXT, policy TEXT, claim TEXT, fill TEXT, fill_limit INTEGER,"
	"  pinned TEXT, reset_once INTEGER NOT NULL DEFAULT 0,"
	"  serial_floor INTEGER NOT NULL DEFAULT 0,"
	"  UNIQUE (uuid, disk)"
	");"
	"INSERT INTO machines (uuid, disk, mac, address, approved, first_seen, last_seen, boots,"
	"  state, version, percent, reported, report)"
	"  SELECT uuid, ifnull(disk, ''), ifnull(mac, ''), ifnull(address, ''), 1,"
	"  ifnull(first_seen, 0), ifnull(last_seen, 0), ifnull(boots, 0), state, version, percent,"
	"  reported, report FROM machines1;"
	"DROP TABLE machines1;"
	"CREATE INDEX machines_grp ON machines (grp);"
	"CREATE TABLE rules ("
	"  id INTEGER PRIMARY KEY, field TEXT NOT NULL, pattern TEXT NOT NULL,"
	"  grp TEXT NOT NULL REFERENCES groups(name) ON UPDATE CASCADE ON DELETE CASCADE);"
	"CREATE TABLE tokens ("
	"  name TEXT PRIMARY KEY, role INTEGER NOT NULL, hash BLOB NOT NULL UNIQUE,"
	"  created INTEGER NOT NULL, expires INTEGER, last_used INTEGER) WITHOUT ROWID;"
	"CREATE TABLE audit ("
	"  id INTEGER PRIMARY KEY, time INTEGER NOT NULL, who TEXT NOT NULL, role TEXT NOT NULL,"
	"  address TEXT NOT NULL, action TEXT NOT NULL, target TEXT NOT NULL,"
	"  detail TEXT NOT NULL);"
	"CREATE TABLE events ("
	"  id INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind TEXT NOT NULL, machine INTEGER,"
	"  text TEXT NOT NULL);"
	"CREATE TABLE channels ("
	"  name TEXT NOT NULL, serial INTEGER NOT NULL, version TEXT NOT NULL,"
	"  time INTEGER NOT NULL, who TEXT NOT NULL, why TEXT NOT NULL,"
	"  PRIMARY KEY (name, serial)) WITHOUT ROWID;"
	"CREATE TABLE rollouts ("
	"  id INTEGER PRIMARY KEY, channel TEXT NOT NULL, version TEXT NOT NULL,"
	"  canary TEXT, state TEXT NOT NULL, start_at INTEGER NOT NULL,"
	"  promote_after INTEGER, created INTEGER NOT NULL, changed INTEGER NOT NULL,"
	"  who TEXT NOT NULL, note TEXT NOT NULL DEFAULT '');",

	/* 2: the controller that the guest sees */
	"ALTER TABLE machines ADD COLUMN frontend TEXT;"
	"ALTER TABLE groups ADD COLUMN frontend TEXT;",

	/* 3: credentials of machines: hashes of the proven one and of the one offered last */
	"ALTER TABLE machines ADD COLUMN credential BLOB;"
	"ALTER TABLE machines ADD COLUMN credential_offered BLOB;",

	/* 4: the network card that the guest sees */
	"ALTER TABLE machines ADD COLUMN nic TEXT;"
	"ALTER TABLE groups ADD COLUMN nic TEXT;",
};

static int migrate(struct fleet *f)
{
	long long have = db_int(f->db, 0, "PRAGMA user_version", "");
	char pragma[64];
	int err = 0;

	if (have > (long long)ARRAY_SIZE(migrations)) {
		log_err("fleet: %s is from a newer freshetd format=%lld", f->path, have);
		return -EOPNOTSUPP;
	}
	/* A file of the first server says 1 and has its table: that step is idempotent. */
	for (size_t i = (size_t)have; !err && i < ARRAY_SIZE(migrations); i++) {
		err = db_begin(f->db);
		if (!err)
			err = db_exec(f->db, migrations[i]);
		snprintf(pragma, sizeof(pragma), "PRAGMA user_version=%zu", i + 1);
		if (!err)
			err = db_exec(f->db, pragma);
		if (!err)
			err = db_commit(f->db);
		if (err)
			db_rollback(f->db);
	}
	return err;
}

/**
 * fleet_open() - open or make the database at @path, in today's format
 * @path: kept by the caller
 *
 * Return: 0; an error of db_open(), having said why.
 */
int fleet_open(struct fleet **out, const char *path)
{
	struct fleet *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	f->path = path;
	f->open_enrolment = true;
	err = db_open(&f->db, path);
	if (!err)
		err = migrate(f);
	if (!err) /* a roll-out that was being moved when the server died */
		err = db_exec(f->db, "UPDATE rollouts SET state = 'scheduled' WHERE"
				     " state = 'moving'");
	if (err) {
		log_err("fleet: cannot use %s err=%s", path, err_name(err));
		fleet_close(f);
	} else {
		*out = f;
	}
	return err;
}

/** fleet_close() - finish; NULL is fine */
void fleet_close(struct fleet *f)
{
	if (!f)
		return;
	db_close(f->db);
	free(f);
}

/** fleet_commit() - what was written so far is in the file */
int fleet_commit(struct fleet *f)
{
	return db_commit(f->db);
}

/** fleet_touch() - a machine changed: those who watch are told at the next occasion */
void fleet_touch(struct fleet *f, long long machine)
{
	for (u32 i = 0; i < MIN(f->dirty_count, 64u); i++)
		if (f->dirty[f->dirty_count - 1 - i] == (u32)machine)
			return;
	if (f->dirty_count < FLEET_DIRTY_MAX)
		f->dirty[f->dirty_count++] = (u32)machine;
}

/** fleet_event() - something that people may want to read; kept, and shown to who watches */
void fleet_event(struct fleet *f, const char *kind, long long machine, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	db_begin(f->db);
	db_run(f->db, "INSERT INTO events (time, kind, machine, text) VALUES (?1, ?2,"
		      " nullif(?3, 0), ?4)", "isis", (long long)time(NULL), kind, machine, text);
	/* Ten thousand are kept. */
	db_run(f->db, "DELETE FROM events WHERE id <= ?1", "i", db_last_id(f->db) - 10000);
	if (f->event)
		f->event(f->event_arg, kind, machine, text);
}

/* The machine's row, or 0. A row without a serial number takes the first one told. */
static long long find_machine(struct fleet *f, const char *uuid, const char *disk)
{
	long long id;

	if (!*disk)
		return db_int(f->db, 0,
			      "SELECT id FROM machines WHERE uuid = ?1 ORDER BY last_seen DESC, id"
			      " LIMIT 1", "s", uuid);
	id = db_int(f->db, 0, "SELECT id FROM machines WHERE uuid = ?1 AND disk = ?2", "ss", uuid,
		    disk);
	if (!id) {
		id = db_int(f->db, 0, "SELECT id FROM machines WHERE uuid = ?1 AND disk = ''", "s",
			    uuid);
		if (id)
			db_run(f->db, "UPDATE machines SET disk = ?2 WHERE id = ?1", "is", id,
			       disk);
	}
	return id;
}

/* The group of the first rule that fits, to be freed; NULL: none does. */
static char *match_rules(struct fleet *f, const struct fleet_boot *b)
{
	return db_text(f->db,
		       "SELECT grp FROM rules WHERE CASE field WHEN 'mac' THEN ?1"
		       " WHEN 'address' THEN ?2 WHEN 'uuid' THEN ?3 WHEN 'disk' THEN ?4 END"
		       " GLOB pattern ORDER BY id LIMIT 1", "ssss", b->mac, b->address, b->uuid,
		       b->disk);
}

static long long add_machine(struct fleet *f, const struct fleet_boot *b)
{
	long long now = time(NULL), id, twins;
	char *group;
	bool approved;
	int err;

	if (db_int(f->db, 0, "SELECT count(*) FROM machines", "") >= FLEET_MACHINES_MAX) {
		log_limited(LOG_WARN, "fleet: full machines=%d", FLEET_MACHINES_MAX);
		return -ENOSPC;
	}
	twins = db_int(f->db, 0, "SELECT id FROM machines WHERE uuid = ?1 LIMIT 1", "s", b->uuid);
	group = match_rules(f, b);
	approved = group || f->open_enrolment;
	err = db_run(f->db,
		     "INSERT INTO machines (uuid, disk, mac, address, grp, approved, first_seen,"
		     " last_seen) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
		     "sssssii", b->uuid, b->disk, b->mac, b->address,
		     group ? group : FLEET_GROUP_DEFAULT, (long long)approved, now);
	id = err ? err : db_last_id(f->db);
	if (id > 0)
		fleet_event(f, "new", id, "new machine %s, disk %s, at %s%s%s%s%s", b->uuid,
			    *b->disk ? b->disk : "not told", b->address,
			    group ? ", by rule in group " : "", group ? group : "",
			    approved ? "" : ", waits for approval",
			    twins ? "; another machine has the same UUID: replaced disk?" : "");
	free(group);
	return id;
}

static long long find_or_add(struct fleet *f, const struct fleet_boot *b)
{
	long long id;
	int err = db_begin(f->db);

	if (err)
		return err;
	id = find_machine(f, b->uuid, b->disk);
	return id ? id : add_machine(f, b);
}

/**
 * fleet_seen() - a machine asked for its ticket
 *
 * Return: its number; -ENOSPC; -EIO and other errors of the database.
 */
long long fleet_seen(struct fleet *f, const struct fleet_boot *b)
{
	long long id = find_or_add(f, b);
	int err;

	if (id < 0)
		return id;
	err = db_run(f->db,
		     "UPDATE machines SET mac = CASE ?2 WHEN '' THEN mac ELSE ?2 END, address = ?3,"
		     " last_seen = ?4, booted = ?4, boots = boots + 1 WHERE id = ?1", "issi", id,
		     b->mac, b->address, (long long)time(NULL));
	f->boots++;
	fleet_touch(f, id);
	return err ? err : id;
}

static const char *text_of(const json_t *o, const char *key, size_t max, bool *bad)
{
	const json_t *v = json_object_get(o, key);

	if (!v || json_is_null(v))
		return NULL;
	if (!json_is_string(v) || json_string_length(v) > max)
		*bad = true;
	return json_string_value(v);
}

static bool number_ok(const json_t *v, double max)
{
	return !v || json_is_null(v) ||
	       (json_is_number(v) && json_number_value(v) >= 0 && json_number_value(v) <= max);
}

/* In trouble now, and not before: say so once. */
static void tell_trouble(struct fleet *f, long long id, const char *state, long long code,
			 const char *text)
{
	if (!state || strcmp(state, "trouble"))
		return;
	if (db_int(f->db, 0, "SELECT state = 'trouble' AND ifnull(code, 0) = ?2 FROM machines"
			     " WHERE id = ?1", "ii", id, code))
		return;
	fleet_event(f, "trouble", id, "FR-%lld %s", code, text ? text : "");
}

/* The VMM's last run ended in a panic. It says so in every report until it thinks that we know. */
static void tell_crash(struct fleet *f, long long id, const char *words)
{
	if (!words || !*words)
		return;
	if (db_int(f->db, 0, "SELECT CASE WHEN json_valid(report) THEN json_extract(report,"
			     " '$.crash') IS ?2 END FROM machines WHERE id = ?1", "is", id, words))
		return;
	fleet_event(f, "crash", id, "Freshet's last run ended in a panic: %.*s",
		    (int)strcspn(words, "\n"), words);
}

static int keep_report(struct fleet *f, const json_t *o, const char *json, size_t bytes,
		       const char *address, const char *bearer)
{
	const json_t *percent = json_object_get(o, "percent");
	const json_t *code = json_object_get(o, "code");
	char uuid[40] = "";
	bool bad = false;
	const char *told = text_of(o, "uuid", 36, &bad);
	const char *state = text_of(o, "state", 32, &bad);
	const char *version = text_of(o, "version", DIGEST_HEX, &bad);
	const char *text = text_of(o, "text", 1024, &bad);
	const char *crash = text_of(o, "crash", 2048, &bad);
	const char *mac = text_of(o, "mac", 20, &bad);
	const char *disk = text_of(o, "disk", TICKET_DISK_SERIAL_MAX, &bad);
	struct fleet_boot b = { uuid, mac ? mac : "", disk ? disk : "", address };
	long long id;

	if (bad || !told || !number_ok(percent, 100) || !number_ok(code, 1e6))
		return -EINVAL;
	for (size_t i = 0; told[i]; i++)
		uuid[i] = (char)(told[i] | (told[i] >= 'A' && told[i] <= 'F' ? 0x20 : 0));
	if (!uuid_ok(uuid))
		return -EINVAL;
	id = find_or_add(f, &b);
	if (id < 0)
		return (int)id;
	if (fleet_credential_check(f, id, bearer) == CREDENTIAL_REFUSED)
		return -EACCES;
	tell_trouble(f, id, state, json_integer_value(code), text);
	tell_crash(f, id, crash);
	f->reports++;
	fleet_touch(f, id);
	return db_run(f->db,
		      "UPDATE machines SET address = ?2, last_seen = ?3, reported = ?3, state = ?4,"
		      " code = ?5, text = ?6, version = ?7, percent = nullif(?8, -1.0),"
		      " complete = ?9, report = ?10, reset_once = CASE WHEN ?4 IN ('ready',"
		      " 'attached') THEN 0 ELSE reset_once END WHERE id = ?1",
		      "isisissdit", id, address, (long long)time(NULL), state,
		      (long long)json_integer_value(code), text, version,
		      json_is_number(percent) ? json_number_value(percent) : -1.0,
		      (long long)json_integer_value(json_object_get(o, "complete")), json, bytes);
}

/**
 * fleet_report() - a machine's report, a JSON object with at least its uuid
 * @bearer: its credential, if it came over TLS, else ""
 *
 * Return: 0; -EINVAL for what is no sane report; -EACCES; -ENOSPC; errors of the
 * database.
 */
int fleet_report(struct fleet *f, const char *json, size_t bytes, const char *address,
		 const char *bearer)
{
	json_t *o;
	int err;

	if (bytes > FLEET_REPORT_MAX)
		return -EINVAL;
	o = json_loadb(json, bytes, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(o)) {
		json_decref(o);
		return -EINVAL;
	}
	err = keep_report(f, o, json, bytes, address, bearer);
	json_decref(o);
	return err;
}

/** fleet_list() - all machines with their last reports as a JSON array, to be freed */
int fleet_list(struct fleet *f, char **json)
{
	*json = db_text(f->db,
			"SELECT json_group_array(json_object('uuid', uuid, 'mac', mac, 'disk',"
			" disk, 'address', address, 'first_seen', first_seen, 'last_seen',"
			" last_seen, 'boots', boots, 'state', state, 'version', version,"
			" 'percent', percent, 'reported', reported, 'report',"
			" CASE WHEN json_valid(report) THEN json(report) END))"
			" FROM (SELECT * FROM machines ORDER BY uuid, disk)", "");
	return *json ? 0 : -EIO;
}
