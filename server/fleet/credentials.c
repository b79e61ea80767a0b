/*
 * credentials.c - is it the machine that was approved?
 *
 * A machine's credential is 32 random bytes in its ticket, which it keeps on its
 * disk and says with every ticket and report it asks for or sends, over TLS. The
 * database has SHA-256 of what is said.
 *
 *	none     -> offered	an approved machine asks over TLS and says that it can keep one
 *	offered  -> offered	it asks again without it: the answer was lost; a new one
 *	offered  -> proven	it says it for the first time
 *	proven			nothing else is accepted, plain HTTP neither
 *
 * So the first one to ask as an approved machine is that machine (trust on first
 * use); forgetting the machine begins again.
 */
#include <openssl/rand.h>
#include <string.h>

#include "base/err.h"
#include "server/fleet/fleet.h"

static bool is_credential(const char *bearer)
{
	return !strncmp(bearer, CREDENTIAL_PREFIX, strlen(CREDENTIAL_PREFIX));
}

static bool proves(struct fleet *f, long long id, const char *bearer)
{
	u8 hash[SHA256_BYTES];

	crypto_sha256(hash, bearer, strlen(bearer));
	if (db_int(f->db, 0, "SELECT credential = ?2 FROM machines WHERE id = ?1", "ib", id, hash,
		   sizeof(hash)) > 0)
		return true;
	if (db_int(f->db, 0, "SELECT credential IS NULL AND credential_offered = ?2 FROM machines"
			     " WHERE id = ?1", "ib", id, hash, sizeof(hash)) <= 0)
		return false;
	if (db_begin(f->db) ||
	    db_run(f->db, "UPDATE machines SET credential = credential_offered,"
			  " credential_offered = NULL WHERE id = ?1", "i", id))
		return false;
	fleet_event(f, "credential", id, "the machine has its credential");
	return true;
}

/**
 * fleet_credential_check() - may who says @bearer ask as machine @id?
 * @bearer: "" without one, and always over plain HTTP
 */
enum fleet_credential fleet_credential_check(struct fleet *f, long long id, const char *bearer)
{
	if (is_credential(bearer) && strcmp(bearer, CREDENTIAL_WANTED) && proves(f, id, bearer))
		return CREDENTIAL_FINE;
	/* An error of the database is no reason to let anybody in. */
	if (db_int(f->db, 1, "SELECT credential IS NOT NULL FROM machines WHERE id = ?1", "i", id))
		return CREDENTIAL_REFUSED;
	return is_credential(bearer) ? CREDENTIAL_ISSUE : CREDENTIAL_FINE;
}

/** fleet_credential_issue() - a new one for machine @id; 0, -EIO, errors of the database */
int fleet_credential_issue(struct fleet *f, long long id, u8 out[CREDENTIAL_BYTES])
{
	char text[CREDENTIAL_TEXT_BYTES];
	u8 hash[SHA256_BYTES];
	int err;

	if (RAND_bytes(out, CREDENTIAL_BYTES) != 1)
		return -EIO;
	credential_text(text, out);
	crypto_sha256(hash, text, strlen(text));
	err = db_begin(f->db);
	if (!err)
		err = db_run(f->db, "UPDATE machines SET credential_offered = ?2 WHERE id = ?1",
			     "ib", id, hash, sizeof(hash));
	return err ? err : db_commit(f->db);
}
