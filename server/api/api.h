/*
 * api.h - the JSON API: what its parts share
 */
#ifndef SERVER_API_API_H
#define SERVER_API_API_H

#include <jansson.h>

#include "server/jobs.h"
#include "server/site.h"

#define API_PARAMS_MAX 2
#define API_PARAM_MAX 80

struct api_call {
	struct site *s;
	struct fleet *f;
	const struct site_request *q;
	struct reply *r;
	json_t *body; /* NULL: none, or not JSON by the route's own wish */
	char param[API_PARAMS_MAX][API_PARAM_MAX]; /* what stands for {...} in the pattern */
	char detail[200]; /* for the audit log */
	char target[96];
};

struct api_route {
	enum request_method method;
	const char *pattern;
	enum fleet_role role;
	const char *action; /* in the audit log; NULL: changes nothing */
	u64 body_max;	    /* 0: no body */
	bool raw;	    /* the body is no JSON */
	int (*answer)(struct api_call *c); /* 0, or an error that api.c makes a status of */
};

extern const struct api_route api_machine_routes[], api_image_routes[], api_site_routes[];

void api_answer(struct site *s, struct site_request *q, struct reply *r);
const struct api_route *api_find(const struct request *head, bool *path_known, char *allow,
				 char param[API_PARAMS_MAX][API_PARAM_MAX]);
u64 api_body_max(struct site *s, const struct request *head);
void api_print_routes(void);

/* For the routes' own use. */
int api_json(struct api_call *c, json_t *o);
int api_fail(struct api_call *c, int status, const char *fmt, ...) __printf_like(3, 4);
void api_reply_error(struct reply *r, int status, const char *text);
int api_id(const struct api_call *c, int i, long long *id);
int api_param(const struct api_call *c, const char *key, char *out, size_t room);
const char *api_text(const struct api_call *c, const char *key);
int api_submit(struct api_call *c, struct job *j);

/* api_images.c, also of use to roll-outs */
int api_point(struct api_call *c, const char *channel, const char *version, const char *why,
	      long long rollout);
int api_point_alone(struct site *s, const char *channel, const char *version, const char *who,
		    const char *why, long long rollout);
bool api_version_known(struct site *s, const char *hex);

/* events.c */
void events_send(struct site *s, const char *kind, long long id, json_t *o);
void events_hook(void *arg, const char *kind, long long machine, const char *text);
void events_tick(struct site *s);
int events_answer(struct api_call *c);
int events_body(struct site *s, u64 last, char **text);

/* metrics.c */
int metrics_text(struct site *s, char **text);

#endif
