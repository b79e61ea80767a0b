/*
 * api_site.c - the server itself: state, tokens, audit log, events
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "base/err.h"
#include "base/plat.h"
#include "server/api/api.h"

#define SMALL (64 * 1024)
#define LIST_MAX 1000

static int status(struct api_call *c)
{
	struct statvfs v = { 0 };
	struct site *s = c->s;
	u32 streams = 0, connections = s->load ? s->load(s->publish_arg, &streams) : 0;

	fstatvfs(s->dir.fd, &v);
	return api_json(c, json_pack(
		"{s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b}", "server", "freshetd", "who",
		c->q->who, "role", fleet_role_name(c->q->role), "time", (json_int_t)time(NULL),
		"uptime_s", (json_int_t)((plat_time_ns() - s->start_ns) / NS_PER_SEC),
		"disk_bytes", (json_int_t)(v.f_blocks * v.f_frsize), "disk_free_bytes",
		(json_int_t)(v.f_bavail * v.f_frsize), "machines",
		(json_int_t)db_int(c->f->db, 0, "SELECT count(*) FROM machines", ""),
		"connections", (json_int_t)connections, "jobs", (json_int_t)jobs_waiting(s->jobs),
		"open_enrolment", s->conf.open_enrolment));
}

static int tokens(struct api_call *c)
{
	return api_json(c, fleet_tokens(c->f));
}

static bool token_name_ok(const char *s)
{
	return s && *s && strlen(s) < 48 &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@") ==
		       strlen(s);
}

static int token_add(struct api_call *c)
{
	const char *name = api_text(c, "name");
	const json_t *days = json_object_get(c->body, "days");
	long long expires = 0;
	enum fleet_role role;
	char token[64];
	int err;

	if (!token_name_ok(name))
		return api_fail(c, 422, "name: up to 47 letters, digits, . _ - @");
	if (fleet_role_parse(api_text(c, "role"), &role))
		return api_fail(c, 422, "role: reader, operator or admin");
	if (days && (!json_is_integer(days) || json_integer_value(days) < 1 ||
		     json_integer_value(days) > 36500))
		return api_fail(c, 422, "days: 1 to 36500");
	if (days)
		expires = (long long)time(NULL) + json_integer_value(days) * 86400;
	err = fleet_token_add(c->f, name, role, expires, token);
	if (err == -EEXIST)
		return api_fail(c, 409, "there is a token of that name");
	if (err)
		return err;
	snprintf(c->target, sizeof(c->target), "%s", name);
	snprintf(c->detail, sizeof(c->detail), "%s", fleet_role_name(role));
	c->r->status = 201;
	return api_json(c, json_pack("{s:s,s:s,s:s}", "name", name, "role", fleet_role_name(role),
				     "token", token));
}

static int token_delete(struct api_call *c)
{
	int err = fleet_token_delete(c->f, c->param[0]);

	if (err == -EPERM)
		return api_fail(c, 409, "the last admin's token stays");
	if (!err)
		c->r->status = 204;
	return err;
}

static int page(struct api_call *c, json_t *(*list)(struct fleet *, long long, long long))
{
	char before[24], count[24];
	long long n;
	int err = api_param(c, "before", before, sizeof(before));

	if (!err)
		err = api_param(c, "count", count, sizeof(count));
	if (err)
		return err;
	n = *count ? atoll(count) : 100;
	return api_json(c, list(c->f, *before ? atoll(before) : INT64_MAX,
				n < 1 ? 1 : n > LIST_MAX ? LIST_MAX : n));
}

static int audit(struct api_call *c)
{
	return page(c, fleet_audit_list);
}

static int log_list(struct api_call *c)
{
	return page(c, fleet_events);
}

const struct api_route api_site_routes[] = {
	{ METHOD_GET, "/api/v1/status", ROLE_READER, NULL, 0, false, status },
	{ METHOD_GET, "/api/v1/events", ROLE_READER, NULL, 0, false, events_answer },
	{ METHOD_GET, "/api/v1/log", ROLE_READER, NULL, 0, false, log_list },
	{ METHOD_GET, "/api/v1/audit", ROLE_OPERATOR, NULL, 0, false, audit },
	{ METHOD_GET, "/api/v1/tokens", ROLE_ADMIN, NULL, 0, false, tokens },
	{ METHOD_POST, "/api/v1/tokens", ROLE_ADMIN, "token.add", SMALL, false, token_add },
	{ METHOD_DELETE, "/api/v1/tokens/{name}", ROLE_ADMIN, "token.delete", 0, false,
	  token_delete },
	{ 0 },
};
