/*
 * fleet.c - what the server knows of each machine, in SQLite
 *
 * One row per SMBIOS UUID. A row is made by the machine's first ticket or
 * report and updated by later ones. All of it is hearsay: plain HTTP proves
 * nothing about the sender, so nothing here ever decides what a machine boots, and
 * the number of rows is bounded. Losing the file loses a list, no images.
 *
 * Write-ahead log, synchronous=NORMAL: a power cut may lose the last seconds,
 * never the file. Statements are prepared once; SQLite's own JSON functions
 * read reports and write the list.
 */
#include "server/fleet.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/log.h"
#include "server/data/datadir.h"

static const char schema[] =
	"PRAGMA journal_mode=WAL;"
	"PRAGMA synchronous=NORMAL;"
	"CREATE TABLE IF NOT EXISTS machines ("
	"  uuid TEXT PRIMARY KEY, mac TEXT, disk TEXT, address TEXT,"
	"  first_seen INTEGER, last_seen INTEGER, boots INTEGER DEFAULT 0,"
	"  state TEXT, version TEXT, percent REAL, reported INTEGER, report TEXT"
	") WITHOUT ROWID;"
	"PRAGMA user_version=1;";

enum {
	SQL_SEEN,
	SQL_READ,
	SQL_REPORT,
	SQL_LIST,
	SQL_COUNT,
	SQL_HAVE,
	SQL_N,
};

static const char *const sql[SQL_N] = {
	[SQL_SEEN] = "INSERT INTO machines (uuid, mac, disk, address, first_seen, last_seen, boots)"
		     " VALUES (?1, ?2, ?3, ?4, ?5, ?5, 1) ON CONFLICT (uuid) DO UPDATE SET"
		     " mac = ?2, disk = ?3, address = ?4, last_seen = ?5, boots = boots + 1",
	[SQL_READ] = "SELECT lower(json_extract(?1, '$.uuid')), json_extract(?1, '$.state'),"
		     " json_extract(?1, '$.version'), json_extract(?1, '$.percent')"
		     " WHERE json_valid(?1) AND json_type(?1) = 'object'",
	[SQL_REPORT] = "INSERT INTO machines (uuid, address, first_seen, last_seen, state, version,"
		       " percent, reported, report) VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?3, ?7)"
		       " ON CONFLICT (uuid) DO UPDATE SET address = ?2, last_seen = ?3,"
		       " state = ?4, version = ?5, percent = ?6, reported = ?3, report = ?7",
	[SQL_LIST] = "SELECT json_group_array(json_object('uuid', uuid, 'mac', mac, 'disk', disk,"
		     " 'address', address, 'first_seen', first_seen, 'last_seen', last_seen,"
		     " 'boots', boots, 'state', state, 'version', version, 'percent', percent,"
		     " 'reported', reported, 'report', json(report)))"
		     " FROM (SELECT * FROM machines ORDER BY uuid)",
	[SQL_COUNT] = "SELECT count(*) FROM machines",
	[SQL_HAVE] = "SELECT 1 FROM machines WHERE uuid = ?1",
};

struct fleet {
	sqlite3 *db;
	sqlite3_stmt *stmt[SQL_N];
};

static int say(struct fleet *f, const char *what)
{
	log_limited(LOG_ERR, "fleet: %s failed: %s", what, sqlite3_errmsg(f->db));
	return -EIO;
}

/**
 * fleet_open() - open or make the database at @path
 *
 * Return: 0; -ENOMEM; -EIO, having said why.
 */
int fleet_open(struct fleet **out, const char *path)
{
	struct fleet *f = calloc(1, sizeof(*f));
	int err = 0;

	if (!f)
		return -ENOMEM;
	if (sqlite3_open(path, &f->db) != SQLITE_OK)
		err = say(f, "open");
	if (!err)
		sqlite3_busy_timeout(f->db, 2000);
	if (!err && sqlite3_exec(f->db, schema, NULL, NULL, NULL) != SQLITE_OK)
		err = say(f, "schema");
	for (int i = 0; !err && i < SQL_N; i++)
		if (sqlite3_prepare_v3(f->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &f->stmt[i],
				       NULL) != SQLITE_OK)
			err = say(f, "prepare");
	if (err)
		fleet_close(f);
	else
		*out = f;
	return err;
}

/** fleet_close() - finish; NULL is fine */
void fleet_close(struct fleet *f)
{
	if (!f)
		return;
	for (int i = 0; i < SQL_N; i++)
		sqlite3_finalize(f->stmt[i]);
	sqlite3_close(f->db);
	free(f);
}

static void bind_text(sqlite3_stmt *s, int i, const char *text)
{
	sqlite3_bind_text(s, i, text, -1, SQLITE_TRANSIENT);
}

static int finish(struct fleet *f, sqlite3_stmt *s, const char *what)
{
	int rc = sqlite3_step(s);

	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	return rc == SQLITE_DONE ? 0 : say(f, what);
}

/* Is the machine known, or is there room for one more? */
static bool may_have(struct fleet *f, const char *uuid)
{
	sqlite3_stmt *s = f->stmt[SQL_HAVE];
	bool ok;

	bind_text(s, 1, uuid);
	ok = sqlite3_step(s) == SQLITE_ROW;
	sqlite3_reset(s);
	if (ok)
		return true;
	s = f->stmt[SQL_COUNT];
	ok = sqlite3_step(s) == SQLITE_ROW && sqlite3_column_int(s, 0) < FLEET_MACHINES_MAX;
	sqlite3_reset(s);
	if (!ok)
		log_limited(LOG_WARN, "fleet: full machines=%d", FLEET_MACHINES_MAX);
	return ok;
}

/** fleet_seen() - a machine asked for its ticket; 0, -ENOSPC, -EIO */
int fleet_seen(struct fleet *f, const struct fleet_boot *b)
{
	sqlite3_stmt *s = f->stmt[SQL_SEEN];

	if (!may_have(f, b->uuid))
		return -ENOSPC;
	bind_text(s, 1, b->uuid);
	bind_text(s, 2, b->mac);
	bind_text(s, 3, b->disk);
	bind_text(s, 4, b->address);
	sqlite3_bind_int64(s, 5, time(NULL));
	return finish(f, s, "record of a boot");
}

static bool short_text(sqlite3_stmt *s, int i, int max)
{
	int type = sqlite3_column_type(s, i);

	return type == SQLITE_NULL || (type == SQLITE_TEXT && sqlite3_column_bytes(s, i) <= max);
}

static bool sane_report(sqlite3_stmt *s)
{
	int type = sqlite3_column_type(s, 3);
	double percent = sqlite3_column_double(s, 3);
	bool number = type == SQLITE_INTEGER || type == SQLITE_FLOAT;

	return sqlite3_column_type(s, 0) == SQLITE_TEXT &&
	       uuid_ok((const char *)sqlite3_column_text(s, 0)) && short_text(s, 1, 32) &&
	       short_text(s, 2, DIGEST_HEX) &&
	       (type == SQLITE_NULL || (number && percent >= 0 && percent <= 100));
}

/**
 * fleet_report() - a machine's report, a JSON object with at least its uuid
 *
 * Return: 0; -EINVAL for what is no sane report; -ENOSPC; -EIO.
 */
int fleet_report(struct fleet *f, const char *json, size_t bytes, const char *address)
{
	sqlite3_stmt *in = f->stmt[SQL_READ], *s = f->stmt[SQL_REPORT];
	int err = -EINVAL;

	if (bytes > FLEET_REPORT_MAX || memchr(json, 0, bytes))
		return -EINVAL;
	sqlite3_bind_text(in, 1, json, (int)bytes, SQLITE_STATIC);
	if (sqlite3_step(in) == SQLITE_ROW && sane_report(in)) {
		const char *uuid = (const char *)sqlite3_column_text(in, 0);

		err = may_have(f, uuid) ? 0 : -ENOSPC;
		if (!err) {
			bind_text(s, 1, uuid);
			bind_text(s, 2, address);
			sqlite3_bind_int64(s, 3, time(NULL));
			for (int i = 1; i <= 3; i++)
				sqlite3_bind_value(s, 3 + i, sqlite3_column_value(in, i));
			sqlite3_bind_text(s, 7, json, (int)bytes, SQLITE_STATIC);
			err = finish(f, s, "record of a report");
		}
	}
	sqlite3_reset(in);
	sqlite3_clear_bindings(in);
	return err;
}

/** fleet_list() - all machines as a JSON array, to be freed; 0, -ENOMEM, -EIO */
int fleet_list(struct fleet *f, char **json)
{
	sqlite3_stmt *s = f->stmt[SQL_LIST];
	int err = 0;

	if (sqlite3_step(s) != SQLITE_ROW)
		err = say(f, "list");
	if (!err) {
		*json = strdup((const char *)sqlite3_column_text(s, 0));
		err = *json ? 0 : -ENOMEM;
	}
	sqlite3_reset(s);
	return err;
}
