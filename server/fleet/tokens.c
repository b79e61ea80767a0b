/*
 * tokens.c - who may do what, and who did
 *
 * A token is "frt_" and 32 random bytes in hex; the database has its SHA-256 only,
 * so who reads the database cannot act as anybody. 256 random bits need no slow
 * hash. A browser's session is such a token too, one that expires.
 */
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/fmt.h"
#include "server/fleet/fleet.h"

#define TOKEN_RANDOM_BYTES 28
#define TOKEN_PREFIX "frt_"

static const char *const roles[] = {
	[ROLE_NONE] = "none",
	[ROLE_READER] = "reader",
	[ROLE_OPERATOR] = "operator",
	[ROLE_ADMIN] = "admin",
};

/** fleet_role_name() - for people */
const char *fleet_role_name(enum fleet_role r)
{
	return roles[r];
}

/** fleet_role_parse() - 0 or -EINVAL */
int fleet_role_parse(const char *text, enum fleet_role *out)
{
	for (int i = ROLE_READER; text && i <= ROLE_ADMIN; i++)
		if (!strcmp(text, roles[i])) {
			*out = (enum fleet_role)i;
			return 0;
		}
	return -EINVAL;
}

/**
 * fleet_token_add() - a new token under a new name
 * @expires: Unix seconds; 0: never
 * @token:   out, the only time that it is seen
 *
 * Return: 0; -EEXIST; -EIO.
 */
int fleet_token_add(struct fleet *f, const char *name, enum fleet_role role, long long expires,
		    char token[64])
{
	u8 random[TOKEN_RANDOM_BYTES], hash[SHA256_BYTES];
	int err;

	if (RAND_bytes(random, sizeof(random)) != 1)
		return -EIO;
	memcpy(token, TOKEN_PREFIX, sizeof(TOKEN_PREFIX));
	fmt_hex(token + strlen(TOKEN_PREFIX), random, sizeof(random));
	crypto_sha256(hash, token, strlen(token));
	err = db_begin(f->db);
	if (!err)
		err = db_run(f->db,
			     "INSERT INTO tokens (name, role, hash, created, expires) VALUES (?1,"
			     " ?2, ?3, ?4, nullif(?5, 0))", "sibii", name, (long long)role, hash,
			     sizeof(hash), (long long)time(NULL), expires);
	return err ? err : db_commit(f->db);
}

/**
 * fleet_token_role() - what may the bearer of @token do?
 * @name: out, whose it is
 *
 * Return: ROLE_NONE for one that is unknown or has expired.
 */
enum fleet_role fleet_token_role(struct fleet *f, const char *token, char name[64])
{
	enum fleet_role role = ROLE_NONE;
	long long now = time(NULL);
	u8 hash[SHA256_BYTES];
	json_t *row;

	if (strncmp(token, TOKEN_PREFIX, strlen(TOKEN_PREFIX)))
		return ROLE_NONE;
	crypto_sha256(hash, token, strlen(token));
	row = db_row(f->db,
		     "SELECT name, role, ifnull(last_used, 0) AS used FROM tokens WHERE hash = ?1"
		     " AND (expires IS NULL OR expires > ?2)", "bi", hash, sizeof(hash), now);
	if (row) {
		role = (enum fleet_role)json_integer_value(json_object_get(row, "role"));
		snprintf(name, 64, "%s", json_string_value(json_object_get(row, "name")));
		if (now - json_integer_value(json_object_get(row, "used")) > 60 &&
		    !db_begin(f->db))
			db_run(f->db, "UPDATE tokens SET last_used = ?2 WHERE hash = ?1", "bi",
			       hash, sizeof(hash), now);
		json_decref(row);
	}
	return role >= ROLE_READER && role <= ROLE_ADMIN ? role : ROLE_NONE;
}

/** fleet_token_delete() - 0; -ENOENT; -EPERM for the last admin's */
int fleet_token_delete(struct fleet *f, const char *name)
{
	int err;

	if (!db_int(f->db, 0, "SELECT count(*) FROM tokens WHERE role = 3 AND expires IS NULL AND"
			      " name != ?1", "s", name))
		return -EPERM;
	err = db_begin(f->db);
	if (!err)
		err = db_run(f->db, "DELETE FROM tokens WHERE name = ?1", "s", name);
	if (!err && !db_changes(f->db))
		err = -ENOENT;
	return err ? err : db_commit(f->db);
}

/** fleet_tokens() - all but the secrets; sessions that expired go on the way */
json_t *fleet_tokens(struct fleet *f)
{
	if (!db_begin(f->db))
		db_run(f->db, "DELETE FROM tokens WHERE expires < ?1", "i", (long long)time(NULL));
	return db_rows(f->db,
		       "SELECT name, CASE role WHEN 1 THEN 'reader' WHEN 2 THEN 'operator' ELSE"
		       " 'admin' END AS role, created, expires, last_used FROM tokens ORDER BY"
		       " name", "");
}

/** fleet_audit() - somebody did something; in the file when this returns 0 */
int fleet_audit(struct fleet *f, const char *who, enum fleet_role role, const char *address,
		const char *action, const char *target, const char *detail)
{
	int err = db_begin(f->db);

	if (!err)
		err = db_run(f->db,
			     "INSERT INTO audit (time, who, role, address, action, target, detail)"
			     " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", "issssss",
			     (long long)time(NULL), who, roles[role], address, action, target,
			     detail);
	return err ? err : db_commit(f->db);
}

/** fleet_audit_list() - the newest first, those before entry @before */
json_t *fleet_audit_list(struct fleet *f, long long before, long long count)
{
	return db_rows(f->db,
		       "SELECT id, time, who, role, address, action, target, detail FROM audit"
		       " WHERE id < ?1 ORDER BY id DESC LIMIT ?2", "ii", before, count);
}

/** fleet_events() - likewise for events */
json_t *fleet_events(struct fleet *f, long long before, long long count)
{
	return db_rows(f->db,
		       "SELECT id, time, kind, machine, text FROM events WHERE id < ?1"
		       " ORDER BY id DESC LIMIT ?2", "ii", before, count);
}
