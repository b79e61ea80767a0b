/*
 * request.h - an HTTP/1.1 request's head, bytes to struct; pure
 */
#ifndef SERVER_REQUEST_H
#define SERVER_REQUEST_H

#include "base/types.h"

#define REQUEST_HEAD_MAX 8192 /* request line, fields and the empty line */
#define REQUEST_PATH_MAX 256
#define REQUEST_QUERY_MAX 512

enum request_method {
	METHOD_GET,
	METHOD_HEAD,
	METHOD_POST,
};

struct request {
	enum request_method method;
	bool keep_alive;
	bool expect_continue;
	u64 body_bytes;
	char path[REQUEST_PATH_MAX];   /* starts with a slash; not decoded */
	char query[REQUEST_QUERY_MAX]; /* after the question mark; not decoded */
};

int request_parse(struct request *r, const char *buf, size_t bytes, size_t *used, int *status);
int request_param(const struct request *r, const char *key, char *out, size_t room);

#endif
