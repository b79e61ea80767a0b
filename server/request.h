/*
 * request.h - an HTTP/1.1 request's head, bytes to struct; pure
 */
#ifndef SERVER_REQUEST_H
#define SERVER_REQUEST_H

#include "base/types.h"

#define REQUEST_HEAD_MAX 8192 /* request line, fields and the empty line */
#define REQUEST_PATH_MAX 256
#define REQUEST_QUERY_MAX 512
#define REQUEST_TOKEN_MAX 128

enum request_method {
	METHOD_GET,
	METHOD_HEAD,
	METHOD_POST,
	METHOD_PUT,
	METHOD_PATCH,
	METHOD_DELETE,
	METHOD_COUNT,
};

struct request {
	enum request_method method;
	bool keep_alive;
	bool expect_continue;
	bool own_page;	 /* X-Freshet: a page of another site cannot make a browser send that */
	u64 body_bytes;
	u64 last_event;	 /* Last-Event-ID, of an event stream that begins again */
	char path[REQUEST_PATH_MAX];   /* starts with a slash; not decoded */
	char query[REQUEST_QUERY_MAX]; /* after the question mark; not decoded */
	char bearer[REQUEST_TOKEN_MAX]; /* Authorization: Bearer ...; "" without or too long */
	char cookie[REQUEST_TOKEN_MAX]; /* Cookie: freshet=...; likewise */
};

int request_parse(struct request *r, const char *buf, size_t bytes, size_t *used, int *status);
const char *request_method_name(enum request_method m);
int request_param(const struct request *r, const char *key, char *out, size_t room);

#endif
