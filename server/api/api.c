/*
 * api.c - the JSON API: who asks, what for, and what becomes of it
 *
 * A route is a method, a pattern and the least role that may use it. Here the token
 * is checked, the limits are kept, the body is parsed, and what changed something
 * is written to the audit log; the routes themselves are in api_*.c. The whole is
 * described in docs/api/openapi.json, which a test holds against this table.
 *
 * A token comes as "Authorization: Bearer ..." or, from a browser, as a cookie. A
 * page of another site could make a browser send the cookie, so with a cookie a
 * change also needs the field X-Freshet, which such a page cannot set.
 */
#include "server/api/api.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"

static const struct api_route *const tables[] = {
	api_machine_routes,
	api_image_routes,
	api_site_routes,
};

/** api_reply_error() - {"error": "..."} */
void api_reply_error(struct reply *r, int status, const char *text)
{
	json_t *o = json_pack("{s:s}", "error", text);
	char *dump = o ? json_dumps(o, JSON_COMPACT) : NULL;

	reply_error(r, status);
	if (dump) {
		reply_fini(r);
		r->data = (u8 *)dump;
		r->bytes = strlen(dump);
		r->type = "application/json";
	}
	json_decref(o);
}

/** api_fail() - answer with a status and words; always -ECANCELED, "has been answered" */
int api_fail(struct api_call *c, int status, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	api_reply_error(c->r, status, text);
	return -ECANCELED;
}

/** api_json() - answer with @o, which is taken; NULL is a failure of the database */
int api_json(struct api_call *c, json_t *o)
{
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

	json_decref(o);
	if (!text)
		return -EIO;
	c->r->type = "application/json";
	c->r->data = (u8 *)text;
	c->r->bytes = strlen(text);
	return 0;
}

/** api_id() - a parameter of the path as a number; 0 or -ENOENT */
int api_id(const struct api_call *c, int i, long long *id)
{
	const char *p = c->param[i];

	if (!*p || strlen(p) > 15 || strspn(p, "0123456789") != strlen(p))
		return -ENOENT;
	*id = atoll(p);
	return 0;
}

/** api_param() - one of the query; "" when it is not there */
int api_param(const struct api_call *c, const char *key, char *out, size_t room)
{
	int err = request_param(c->q->head, key, out, room);

	if (err == -ENOENT)
		out[0] = 0;
	return err == -ENOENT ? 0 : err ? -EINVAL : 0;
}

/** api_text() - a text of the body; NULL when it is not there or no text */
const char *api_text(const struct api_call *c, const char *key)
{
	return json_string_value(json_object_get(c->body, key));
}

/** api_submit() - answer when @j is done */
int api_submit(struct api_call *c, struct job *j)
{
	int err = jobs_submit(c->s->jobs, j);

	if (err) {
		j->drop(j);
		return api_fail(c, 503, "too much to do; try again");
	}
	c->r->job = j;
	return 0;
}

/* ---------------------------------------------------------------- routes */

static bool match(const char *pattern, const char *path, char param[][API_PARAM_MAX])
{
	int n = 0;

	while (*pattern && *path) {
		size_t len;

		if (*pattern != '{') {
			if (*pattern++ != *path++)
				return false;
			continue;
		}
		len = strcspn(path, "/");
		if (!len || len >= API_PARAM_MAX || n == API_PARAMS_MAX)
			return false;
		memcpy(param[n], path, len);
		param[n++][len] = 0;
		path += len;
		pattern = strchr(pattern, '}') + 1;
	}
	return !*pattern && !*path;
}

/**
 * api_find() - the route of a request; NULL when there is none
 * @path_known: out: with another method there is one
 * @allow:      out, room for 64: those methods
 */
const struct api_route *api_find(const struct request *head, bool *path_known, char *allow,
				 char param[API_PARAMS_MAX][API_PARAM_MAX])
{
	enum request_method m = head->method == METHOD_HEAD ? METHOD_GET : head->method;

	*path_known = false;
	allow[0] = 0;
	for (size_t t = 0; t < ARRAY_SIZE(tables); t++)
		for (const struct api_route *r = tables[t]; r->pattern; r++) {
			if (!match(r->pattern, head->path, param))
				continue;
			if (r->method == m)
				return r;
			if (*path_known)
				strcat(allow, ", ");
			strcat(allow, request_method_name(r->method));
			*path_known = true;
		}
	return NULL;
}

/** api_print_routes() - method, role and pattern of each, for the test of the description */
void api_print_routes(void)
{
	for (size_t t = 0; t < ARRAY_SIZE(tables); t++)
		for (const struct api_route *r = tables[t]; r->pattern; r++)
			printf("%s %s %s\n", request_method_name(r->method), r->pattern,
			       fleet_role_name(r->role));
}

/* ---------------------------------------------------------------- who asks */

static bool may_come(const struct site *s, const struct site_request *q)
{
	return q->tls || s->conf.plain_api == PLAIN_ON ||
	       (s->conf.plain_api == PLAIN_LOOPBACK && q->loopback);
}

/* Who is it? False when the request has been answered. */
static bool find_role(struct site *s, struct site_request *q, struct reply *r)
{
	const char *token = q->head->bearer[0] ? q->head->bearer : q->head->cookie;
	u64 now = plat_time_ns();

	q->role = ROLE_NONE;
	if (!*token)
		return true;
	if (!limit_has(&s->login_limit, q->address, now)) {
		s->counts.limited++;
		api_reply_error(r, 429, "too many wrong tokens; wait a minute");
		reply_field(r, "Retry-After", "60");
		return false;
	}
	q->role = fleet_token_role(s->fleet, token, q->who);
	if (q->role == ROLE_NONE) {
		limit_take(&s->login_limit, q->address, now);
		log_limited(LOG_WARN, "api: wrong token address=%s", q->address);
	}
	return true;
}

static bool allowed(struct site *s, struct site_request *q, const struct api_route *route,
		    struct reply *r)
{
	if (!may_come(s, q)) {
		api_reply_error(r, 403, "the API wants HTTPS; see plain_api in freshetd.conf");
		return false;
	}
	if (!s->fleet) {
		api_reply_error(r, 503, "the database is not usable; see the log");
		return false;
	}
	if (!limit_take(&s->api_limit, q->address, plat_time_ns())) {
		s->counts.limited++;
		api_reply_error(r, 429, "too many requests");
		reply_field(r, "Retry-After", "1");
		return false;
	}
	if (!find_role(s, q, r))
		return false;
	if (q->role < route->role) {
		api_reply_error(r, q->role == ROLE_NONE ? 401 : 403,
				q->role == ROLE_NONE ? "a token is needed" :
						       "your role may not do that");
		if (q->role == ROLE_NONE)
			reply_field(r, "WWW-Authenticate", "Bearer realm=\"freshet\"");
		return false;
	}
	if (route->method != METHOD_GET && !q->head->bearer[0] && !q->head->own_page) {
		api_reply_error(r, 403, "a change with a cookie needs the field X-Freshet");
		return false;
	}
	return true;
}

/* ---------------------------------------------------------------- */

static bool parse_body(struct api_call *c, const struct api_route *route)
{
	json_error_t e;

	if (route->raw || !route->body_max)
		return true;
	if (!c->q->head->body_bytes) {
		c->body = json_object();
		return true;
	}
	c->body = json_loadb((const char *)c->q->body, c->q->head->body_bytes,
			     JSON_REJECT_DUPLICATES, &e);
	if (json_is_object(c->body))
		return true;
	api_reply_error(c->r, 400, c->body ? "the body is no JSON object" : "the body is no JSON");
	json_decref(c->body);
	return false;
}

static void call(struct api_call *c, const struct api_route *route)
{
	int err = route->answer(c);

	if (err && err != -ECANCELED) {
		int status = site_status_of(err);

		api_reply_error(c->r, status, status == 404 ? "not found" :
				status == 507 ? "no room on the server's disk" :
				status == 500 ? "the server failed; see its log" :
						reply_reason(status));
	}
	if (route->action && !err)
		fleet_audit(c->f, c->q->who, c->q->role, c->q->address, route->action,
			    c->target[0] ? c->target : c->param[0], c->detail);
	if (c->f)
		fleet_commit(c->f);
}

/** api_answer() - everything below /api/ */
void api_answer(struct site *s, struct site_request *q, struct reply *r)
{
	struct api_call c = { .s = s, .f = s->fleet, .q = q, .r = r };
	const struct api_route *route;
	bool known;
	char allow[64];

	r->type = "application/json";
	route = api_find(q->head, &known, allow, c.param);
	if (!route && !known) {
		api_reply_error(r, 404, "no such path; see /openapi.json");
	} else if (!route) {
		api_reply_error(r, 405, "no such method here");
		reply_field(r, "Allow", allow);
	} else if (q->head->body_bytes > route->body_max) {
		api_reply_error(r, 413, "the body is too long");
	} else if (allowed(s, q, route, r) && parse_body(&c, route)) {
		call(&c, route);
		json_decref(c.body);
	}
}

/** api_body_max() - how long a body may be: long ones for those only who may send them */
u64 api_body_max(struct site *s, const struct request *head)
{
	char param[API_PARAMS_MAX][API_PARAM_MAX], allow[64], name[64];
	const struct api_route *route;
	bool known;

	route = api_find(head, &known, allow, param);
	if (!route || !s->fleet || route->body_max <= FLEET_REPORT_MAX || !head->bearer[0] ||
	    fleet_token_role(s->fleet, head->bearer, name) < route->role)
		return FLEET_REPORT_MAX;
	return route->body_max;
}
