/*
 * rollout.c - where channels point, over time
 *
 * The truth about a channel is its signed file. What is kept here is its history,
 * for people and for going back, and roll-outs, which are on their way:
 *
 *	scheduled -> canary -> done
 *	     |          |
 *	     +----------+----> cancelled
 *
 * In "canary" the machines of one group get the new version in their tickets while
 * the channel's file still names the old one for all others. "done" is when the
 * file was moved. A roll-out without a canary group goes from scheduled to done.
 * At most one roll-out of a channel is under way.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/fmt.h"
#include "server/data/datadir.h"
#include "server/fleet/fleet.h"

#define ROLLOUT_COLUMNS                                                                            \
	"SELECT id, channel, version, canary, state, start_at, promote_after, created, changed,"  \
	" who, note, (SELECT count(*) FROM machines WHERE grp = canary) AS canary_machines,"      \
	" (SELECT count(*) FROM machines WHERE grp = canary AND"                                  \
	" machines.version = rollouts.version AND machines.state IN ('ready', 'attached'))"       \
	" AS canary_ready, (SELECT count(*) FROM machines WHERE grp = canary AND"                 \
	" machines.state = 'trouble') AS canary_trouble FROM rollouts"

/**
 * fleet_channel_seen() - a channel points here now
 *
 * Called by who moves one, and with @who "" whenever one is read: a move made by
 * other means (freshet channel set) is noted then.
 */
int fleet_channel_seen(struct fleet *f, const struct channel *ch, const char *who,
		       const char *why)
{
	char hex[DIGEST_HEX + 1];
	int err;

	if (db_int(f->db, 0, "SELECT 1 FROM channels WHERE name = ?1 AND serial >= ?2", "si",
		   ch->name, (long long)ch->serial))
		return 0;
	fmt_hex(hex, ch->version, SHA256_BYTES);
	err = db_begin(f->db);
	if (!err)
		err = db_run(f->db,
			     "INSERT INTO channels (name, serial, version, time, who, why)"
			     " VALUES (?1, ?2, ?3, ?4, ?5, ?6)", "sisiss", ch->name,
			     (long long)ch->serial, hex, (long long)time(NULL), who, why);
	if (!err)
		fleet_event(f, "channel", 0, "%s points at %.12s, serial %llu%s%s", ch->name, hex,
			    (unsigned long long)ch->serial, *why ? ": " : "", why);
	return err;
}

/**
 * fleet_channel_before() - the version before the present one, to be freed; NULL: none
 *
 * The newest entry that differs from the present version and that no later entry
 * already went back from, so that going back twice goes back two steps.
 */
char *fleet_channel_before(struct fleet *f, const char *channel)
{
	/*
	 * A step back is noted as "rollback:<serial of what it went back to>"; from there
	 * the search goes on before that entry.
	 */
	return db_text(f->db,
		       "WITH head AS (SELECT version, CASE WHEN why LIKE 'rollback:%' THEN"
		       " cast(substr(why, 10) AS INTEGER) ELSE serial END AS at FROM channels"
		       " WHERE name = ?1 ORDER BY serial DESC LIMIT 1)"
		       " SELECT channels.version || ' ' || channels.serial FROM channels, head"
		       " WHERE name = ?1 AND serial < head.at AND channels.version != head.version"
		       " ORDER BY serial DESC LIMIT 1", "s", channel);
}

/** fleet_channel_history() - the last hundred moves, the newest first */
json_t *fleet_channel_history(struct fleet *f, const char *channel)
{
	return db_rows(f->db,
		       "SELECT serial, version, time, who, why FROM channels WHERE name = ?1"
		       " ORDER BY serial DESC LIMIT 100", "s", channel);
}

/** fleet_rollouts() - those under way, and the last fifty */
json_t *fleet_rollouts(struct fleet *f)
{
	return db_rows(f->db, ROLLOUT_COLUMNS " ORDER BY id DESC LIMIT 50", "");
}

/** fleet_rollout() - one; NULL when there is none */
json_t *fleet_rollout(struct fleet *f, long long id)
{
	return db_row(f->db, ROLLOUT_COLUMNS " WHERE id = ?1", "i", id);
}

/** fleet_rollouts_due() - those that time moves on: to start, or to promote */
json_t *fleet_rollouts_due(struct fleet *f, long long now)
{
	return db_rows(f->db,
		       ROLLOUT_COLUMNS
		       " WHERE (state = 'scheduled' AND start_at <= ?1) OR (state = 'canary' AND"
		       " promote_after IS NOT NULL AND changed + promote_after <= ?1)", "i", now);
}

static long long number_of(const json_t *o, const char *key, long long otherwise)
{
	const json_t *v = json_object_get(o, key);

	return json_is_integer(v) ? json_integer_value(v) : otherwise;
}

/**
 * fleet_rollout_add() - plan one
 * @o:   channel, version, and if wanted canary (a group), start_at (unix), promote_after
 *       (seconds), note; the caller has checked that channel and version are there
 * @why: out, on -EINVAL: the key that is wrong
 *
 * Return: 0; -EINVAL; -EEXIST when one of this channel is under way.
 */
int fleet_rollout_add(struct fleet *f, const json_t *o, const char *who, long long *id,
		      const char **why)
{
	const char *channel = json_string_value(json_object_get(o, "channel"));
	const char *version = json_string_value(json_object_get(o, "version"));
	const char *canary = json_string_value(json_object_get(o, "canary"));
	const char *note = json_string_value(json_object_get(o, "note"));
	long long now = time(NULL), after = number_of(o, "promote_after", -1);
	int err;

	*why = canary && !fleet_group_known(f, canary) ? "canary" : NULL;
	if (note && strlen(note) > 500)
		*why = "note";
	if (!canary && after >= 0)
		*why = "promote_after";
	if (*why)
		return -EINVAL;
	if (db_int(f->db, 0, "SELECT 1 FROM rollouts WHERE channel = ?1 AND state IN"
			     " ('scheduled', 'canary')", "s", channel))
		return -EEXIST;
	err = db_begin(f->db);
	if (!err)
		err = db_run(f->db,
			     "INSERT INTO rollouts (channel, version, canary, state, start_at,"
			     " promote_after, created, changed, who, note) VALUES (?1, ?2, ?3,"
			     " 'scheduled', ?4, nullif(?5, -1), ?6, ?6, ?7, ifnull(?8, ''))",
			     "sssiiiss", channel, version, canary, number_of(o, "start_at", now),
			     after, now, who, note);
	*id = db_last_id(f->db);
	return err ? err : db_commit(f->db);
}

/** fleet_rollout_state() - it is in another state from now on */
int fleet_rollout_state(struct fleet *f, long long id, const char *state)
{
	int err = db_begin(f->db);

	if (!err)
		err = db_run(f->db, "UPDATE rollouts SET state = ?2, changed = ?3 WHERE id = ?1",
			     "isi", id, state, (long long)time(NULL));
	return err ? err : db_commit(f->db);
}

/** fleet_rollout_version() - a canary's version instead of its channel's; 0, or -ENOENT */
int fleet_rollout_version(struct fleet *f, const char *channel, const char *group,
			  u8 version[SHA256_BYTES])
{
	char *hex = db_text(f->db,
			    "SELECT version FROM rollouts WHERE state = 'canary' AND channel = ?1"
			    " AND canary = ?2", "ss", channel, group);
	int err = hex ? fmt_unhex(version, SHA256_BYTES, hex, strlen(hex)) : -ENOENT;

	free(hex);
	return err;
}

/** fleet_version_used() - does a machine run it, a pin or a roll-out name it? */
bool fleet_version_used(struct fleet *f, const char *version, char why[128])
{
	long long n = db_int(f->db, 0, "SELECT count(*) FROM machines WHERE pinned = ?1", "s",
			     version);

	if (n) {
		snprintf(why, 128, "%lld machines are pinned to it", n);
		return true;
	}
	if (db_int(f->db, 0, "SELECT 1 FROM rollouts WHERE version = ?1 AND state IN"
			     " ('scheduled', 'canary')", "s", version)) {
		snprintf(why, 128, "a roll-out of it is under way");
		return true;
	}
	n = db_int(f->db, 0, "SELECT count(*) FROM machines WHERE version = ?1 AND last_seen > ?2",
		   "si", version, (long long)time(NULL) - 86400 * 7);
	if (n)
		snprintf(why, 128, "%lld machines ran it within a week", n);
	return n > 0;
}
