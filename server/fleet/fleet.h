/*
 * fleet.h - what the server knows of each machine, group, token and roll-out
 */
#ifndef SERVER_FLEET_FLEET_H
#define SERVER_FLEET_FLEET_H

#include <jansson.h>

#include "base/crypto.h"
#include "base/types.h"
#include "server/fleet/db.h"
#include "storage/format/ticket.h"

#define FLEET_MACHINES_MAX 65536
#define FLEET_REPORT_MAX (64 * 1024)
#define FLEET_GROUP_DEFAULT "default"
#define FLEET_DIRTY_MAX 4096

struct fleet {
	struct db *db;
	const char *path;
	bool open_enrolment; /* new machines are approved as they come */
	u32 dirty[FLEET_DIRTY_MAX]; /* machines to be told to whoever watches */
	u32 dirty_count;
	/* Called for what people should see; NULL: nobody. */
	void (*event)(void *arg, const char *kind, long long machine, const char *text);
	void *event_arg;
	u64 reports, boots; /* counted since the start */
};

struct fleet_boot {
	const char *uuid, *mac, *disk, *address; /* validated; "" when not told */
};

enum fleet_role {
	ROLE_NONE,
	ROLE_READER,
	ROLE_OPERATOR,
	ROLE_ADMIN,
};

/* fleet.c: machines as they tell of themselves */
int fleet_open(struct fleet **out, const char *path);
void fleet_close(struct fleet *f);
int fleet_commit(struct fleet *f);
long long fleet_seen(struct fleet *f, const struct fleet_boot *b);
int fleet_report(struct fleet *f, const char *json, size_t bytes, const char *address,
		 const char *bearer);
int fleet_list(struct fleet *f, char **json);
void fleet_touch(struct fleet *f, long long machine);
void fleet_event(struct fleet *f, const char *kind, long long machine, const char *fmt, ...)
	__printf_like(4, 5);

/* admin.c: what people decide about them */
json_t *fleet_machines(struct fleet *f, const char *match);
json_t *fleet_machine(struct fleet *f, long long id);
json_t *fleet_dirty(struct fleet *f);
int fleet_machine_change(struct fleet *f, long long id, const json_t *change, const char **why);
int fleet_machine_forget(struct fleet *f, long long id);
bool fleet_group_known(struct fleet *f, const char *group);
json_t *fleet_groups(struct fleet *f);
int fleet_group_put(struct fleet *f, const char *name, const json_t *change, const char **why);
int fleet_group_delete(struct fleet *f, const char *name);
json_t *fleet_rules(struct fleet *f);
int fleet_rule_add(struct fleet *f, const json_t *rule, const char **why);
int fleet_rule_delete(struct fleet *f, long long id);
int fleet_ticket(struct fleet *f, long long id, struct ticket *t, const char **why);
int fleet_ticket_made(struct fleet *f, long long id, struct ticket *t);

/* credentials.c: is it the machine that was approved? */
enum fleet_credential {
	CREDENTIAL_REFUSED,
	CREDENTIAL_FINE,
	CREDENTIAL_ISSUE, /* fine, and it waits for one */
};
enum fleet_credential fleet_credential_check(struct fleet *f, long long id, const char *bearer);
int fleet_credential_issue(struct fleet *f, long long id, u8 out[CREDENTIAL_BYTES]);

/* rollout.c: where channels point, over time */
int fleet_channel_seen(struct fleet *f, const struct channel *ch, const char *who,
		       const char *why);
char *fleet_channel_before(struct fleet *f, const char *channel);
json_t *fleet_channel_history(struct fleet *f, const char *channel);
int fleet_rollout_add(struct fleet *f, const json_t *o, const char *who, long long *id,
		      const char **why);
json_t *fleet_rollouts(struct fleet *f);
json_t *fleet_rollout(struct fleet *f, long long id);
json_t *fleet_rollouts_due(struct fleet *f, long long now);
int fleet_rollout_state(struct fleet *f, long long id, const char *state);
bool fleet_version_used(struct fleet *f, const char *version, char why[128]);
int fleet_rollout_version(struct fleet *f, const char *channel, const char *group,
			  u8 version[SHA256_BYTES]);

/* tokens.c: who may do what, and who did */
int fleet_token_add(struct fleet *f, const char *name, enum fleet_role role, long long expires,
		    char token[64]);
enum fleet_role fleet_token_role(struct fleet *f, const char *token, char name[64]);
int fleet_token_delete(struct fleet *f, const char *name);
json_t *fleet_tokens(struct fleet *f);
const char *fleet_role_name(enum fleet_role r);
int fleet_role_parse(const char *text, enum fleet_role *out);
int fleet_audit(struct fleet *f, const char *who, enum fleet_role role, const char *address,
		const char *action, const char *target, const char *detail);
json_t *fleet_audit_list(struct fleet *f, long long before, long long count);
json_t *fleet_events(struct fleet *f, long long before, long long count);

#endif
