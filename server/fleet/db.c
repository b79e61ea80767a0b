/*
 * db.c - SQLite as the server uses it: statements by their text, rows as JSON
 *
 * A statement is prepared when its text is first used and kept: texts are string
 * literals, so their address names them. A row becomes a JSON object keyed by
 * column name; a name that ends in "!bool" makes true or false of a number,
 * "!json" makes a value of a text that holds JSON.
 *
 * Write-ahead log, synchronous=NORMAL: a power cut may lose the last seconds,
 * never the file. Writes join one transaction that the caller commits a moment
 * later (db_begin(), db_commit()), so that a thousand reports cost one commit. The
 * log is folded back by db_checkpoint() on a connection and a thread of its own,
 * because that is the part that waits for the disk.
 */
#include "server/fleet/db.h"

#include <sqlite3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"

#define STATEMENTS_MAX 256 /* a power of two, larger than the number of texts */
#define BUSY_MS 1000	   /* another program's transaction, e.g. sqlite3(1) */

struct statement {
	const char *sql;
	sqlite3_stmt *stmt;
};

struct db {
	sqlite3 *db;
	struct statement statements[STATEMENTS_MAX];
	bool open; /* a transaction is */
};

static int say(struct db *d, const char *what)
{
	int rc = sqlite3_extended_errcode(d->db);

	if ((rc & 0xff) == SQLITE_CONSTRAINT)
		return -EEXIST;
	log_limited(LOG_ERR, "db: %s failed: %s", what, sqlite3_errmsg(d->db));
	switch (rc & 0xff) {
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EBADMSG;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_FULL:
		return -ENOSPC;
	default:
		return -EIO;
	}
}

/**
 * db_open() - open or make the database at @path
 *
 * Return: 0; -ENOMEM; -EBADMSG when it is damaged or no database; -EBUSY; -EIO.
 */
int db_open(struct db **out, const char *path)
{
	static const char setup[] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
				    "PRAGMA wal_autocheckpoint=0; PRAGMA foreign_keys=ON;";
	struct db *d = calloc(1, sizeof(*d));
	int err = 0;

	if (!d)
		return -ENOMEM;
	if (sqlite3_open(path, &d->db) != SQLITE_OK)
		err = say(d, "open");
	if (!err) {
		sqlite3_extended_result_codes(d->db, 1);
		sqlite3_busy_timeout(d->db, BUSY_MS);
		err = db_exec(d, setup);
	}
	if (!err && db_int(d, 0, "PRAGMA schema_version", "") < 0)
		err = -EIO;
	if (err)
		db_close(d);
	else
		*out = d;
	return err;
}

/** db_close() - commit and finish; NULL is fine */
void db_close(struct db *d)
{
	if (!d)
		return;
	db_commit(d);
	for (size_t i = 0; i < STATEMENTS_MAX; i++)
		sqlite3_finalize(d->statements[i].stmt);
	sqlite3_close(d->db);
	free(d);
}

/** db_exec() - a script without arguments */
int db_exec(struct db *d, const char *script)
{
	return sqlite3_exec(d->db, script, NULL, NULL, NULL) == SQLITE_OK ? 0 : say(d, "script");
}

static sqlite3_stmt *find(struct db *d, const char *sql)
{
	size_t i = ((uintptr_t)sql >> 3) * 0x9e3779b1u % STATEMENTS_MAX;
	struct statement *s = &d->statements[i];

	while (s->sql && s->sql != sql) {
		i = (i + 1) % STATEMENTS_MAX;
		s = &d->statements[i];
	}
	if (!s->sql) {
		if (sqlite3_prepare_v3(d->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->stmt,
				       NULL) != SQLITE_OK) {
			say(d, sql);
			return NULL;
		}
		s->sql = sql;
	}
	return s->stmt;
}

static void bind_all(sqlite3_stmt *s, const char *types, va_list ap)
{
	for (int i = 1; *types; types++, i++) {
		const void *p;
		size_t n;

		switch (*types) {
		case 's':
			sqlite3_bind_text(s, i, va_arg(ap, const char *), -1, SQLITE_STATIC);
			break;
		case 'i':
			sqlite3_bind_int64(s, i, va_arg(ap, long long));
			break;
		case 'd':
			sqlite3_bind_double(s, i, va_arg(ap, double));
			break;
		case 'b':
			p = va_arg(ap, const void *);
			n = va_arg(ap, size_t);
			sqlite3_bind_blob(s, i, p, (int)n, SQLITE_STATIC);
			break;
		case 't':
			p = va_arg(ap, const void *);
			n = va_arg(ap, size_t);
			sqlite3_bind_text(s, i, p, (int)n, SQLITE_STATIC);
			break;
		default:
			sqlite3_bind_null(s, i);
		}
	}
}

static void done(sqlite3_stmt *s)
{
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
}

/**
 * db_run() - a statement that returns nothing
 *
 * Return: 0; -EEXIST when a constraint forbids it; what say() makes of others.
 */
int db_run(struct db *d, const char *sql, const char *types, ...)
{
	sqlite3_stmt *s = find(d, sql);
	va_list ap;
	int rc, err = 0;

	if (!s)
		return -EIO;
	va_start(ap, types);
	bind_all(s, types, ap);
	va_end(ap);
	rc = sqlite3_step(s);
	if (rc != SQLITE_DONE && rc != SQLITE_ROW)
		err = say(d, "statement");
	done(s);
	return err;
}

static json_t *column_value(sqlite3_stmt *s, int i, const char *suffix)
{
	const char *text;

	switch (sqlite3_column_type(s, i)) {
	case SQLITE_NULL:
		return json_null();
	case SQLITE_INTEGER:
		if (suffix && !strcmp(suffix, "!bool"))
			return json_boolean(sqlite3_column_int64(s, i));
		return json_integer(sqlite3_column_int64(s, i));
	case SQLITE_FLOAT:
		return json_real(sqlite3_column_double(s, i));
	default:
		text = (const char *)sqlite3_column_text(s, i);
		if (suffix && !strcmp(suffix, "!json"))
			return json_loads(text, JSON_DECODE_ANY, NULL);
		return json_string(text);
	}
}

static json_t *row_object(sqlite3_stmt *s)
{
	json_t *o = json_object();

	for (int i = 0; o && i < sqlite3_column_count(s); i++) {
		const char *name = sqlite3_column_name(s, i);
		const char *suffix = strchr(name, '!');
		char key[64];
		json_t *v = column_value(s, i, suffix);

		snprintf(key, sizeof(key), "%.*s", suffix ? (int)(suffix - name) : 63, name);
		/* Text that is not UTF-8, or broken JSON, is no value. */
		json_object_set_new(o, key, v ? v : json_null());
	}
	return o;
}

static json_t *collect(struct db *d, sqlite3_stmt *s, bool one)
{
	json_t *all = one ? NULL : json_array();
	int rc;

	while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
		if (one) {
			all = row_object(s);
			break;
		}
		json_array_append_new(all, row_object(s));
	}
	if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
		say(d, "query");
		json_decref(all);
		all = NULL;
	}
	done(s);
	return all;
}

/** db_rows() - all rows as an array of objects; NULL on failure */
json_t *db_rows(struct db *d, const char *sql, const char *types, ...)
{
	sqlite3_stmt *s = find(d, sql);
	va_list ap;

	if (!s)
		return NULL;
	va_start(ap, types);
	bind_all(s, types, ap);
	va_end(ap);
	return collect(d, s, false);
}

/** db_row() - the first row as an object; NULL when there is none */
json_t *db_row(struct db *d, const char *sql, const char *types, ...)
{
	sqlite3_stmt *s = find(d, sql);
	va_list ap;

	if (!s)
		return NULL;
	va_start(ap, types);
	bind_all(s, types, ap);
	va_end(ap);
	return collect(d, s, true);
}

/** db_int() - the first column of the first row; @otherwise when there is none */
long long db_int(struct db *d, long long otherwise, const char *sql, const char *types, ...)
{
	sqlite3_stmt *s = find(d, sql);
	long long v = otherwise;
	va_list ap;

	if (!s)
		return v;
	va_start(ap, types);
	bind_all(s, types, ap);
	va_end(ap);
	if (sqlite3_step(s) == SQLITE_ROW && sqlite3_column_type(s, 0) != SQLITE_NULL)
		v = sqlite3_column_int64(s, 0);
	done(s);
	return v;
}

/** db_text() - likewise as text, to be freed; NULL when there is none */
char *db_text(struct db *d, const char *sql, const char *types, ...)
{
	sqlite3_stmt *s = find(d, sql);
	char *v = NULL;
	va_list ap;

	if (!s)
		return NULL;
	va_start(ap, types);
	bind_all(s, types, ap);
	va_end(ap);
	if (sqlite3_step(s) == SQLITE_ROW && sqlite3_column_type(s, 0) != SQLITE_NULL)
		v = strdup((const char *)sqlite3_column_text(s, 0));
	done(s);
	return v;
}

/** db_last_id() - rowid of the last insert */
long long db_last_id(struct db *d)
{
	return sqlite3_last_insert_rowid(d->db);
}

/** db_changes() - rows that the last statement changed */
long long db_changes(struct db *d)
{
	return sqlite3_changes(d->db);
}

/** db_begin() - open a transaction unless one is open */
int db_begin(struct db *d)
{
	int err = d->open ? 0 : db_exec(d, "BEGIN IMMEDIATE");

	d->open |= !err;
	return err;
}

/** db_commit() - end it, keeping what was written */
int db_commit(struct db *d)
{
	int err = d->open ? db_exec(d, "COMMIT") : 0;

	if (d->open && err)
		db_exec(d, "ROLLBACK");
	d->open = false;
	return err;
}

/** db_rollback() - end it, dropping what was written */
void db_rollback(struct db *d)
{
	if (d->open)
		db_exec(d, "ROLLBACK");
	d->open = false;
}

/** db_checkpoint() - fold the log back into the file; slow, from any thread */
int db_checkpoint(const char *path)
{
	sqlite3 *db = NULL;
	int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	sqlite3_close(db);
	return rc == SQLITE_OK ? 0 : rc == SQLITE_BUSY ? -EBUSY : -EIO;
}
