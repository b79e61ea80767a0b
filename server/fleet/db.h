/*
 * db.h - SQLite as the server uses it: statements by their text, rows as JSON
 *
 * Arguments are described by a string, a letter each:
 *	s  const char *, NULL for NULL	i  long long	d  double
 *	b  const void *, size_t		t  const char *, size_t
 */
#ifndef SERVER_FLEET_DB_H
#define SERVER_FLEET_DB_H

#include <jansson.h>

#include "base/types.h"

struct db;

int db_open(struct db **out, const char *path);
void db_close(struct db *d);
int db_exec(struct db *d, const char *script);
int db_run(struct db *d, const char *sql, const char *types, ...);
json_t *db_rows(struct db *d, const char *sql, const char *types, ...);
json_t *db_row(struct db *d, const char *sql, const char *types, ...);
long long db_int(struct db *d, long long otherwise, const char *sql, const char *types, ...);
char *db_text(struct db *d, const char *sql, const char *types, ...);
long long db_last_id(struct db *d);
long long db_changes(struct db *d);
int db_begin(struct db *d);
int db_commit(struct db *d);
void db_rollback(struct db *d);
int db_checkpoint(const char *path);

#endif
