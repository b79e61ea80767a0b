/*
 * reply.c - what the server is going to answer, before it is bytes
 */
#include "server/reply.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "server/cache.h"

static const struct {
	int status;
	const char *reason;
} reasons[] = {
	{ 200, "OK" },
	{ 201, "Created" },
	{ 204, "No Content" },
	{ 303, "See Other" },
	{ 400, "Bad Request" },
	{ 401, "Unauthorized" },
	{ 403, "Forbidden" },
	{ 404, "Not Found" },
	{ 405, "Method Not Allowed" },
	{ 408, "Request Timeout" },
	{ 409, "Conflict" },
	{ 413, "Content Too Large" },
	{ 414, "URI Too Long" },
	{ 417, "Expectation Failed" },
	{ 422, "Unprocessable Content" },
	{ 429, "Too Many Requests" },
	{ 431, "Request Header Fields Too Large" },
	{ 500, "Internal Server Error" },
	{ 501, "Not Implemented" },
	{ 503, "Service Unavailable" },
	{ 507, "Insufficient Storage" },
	{ 505, "HTTP Version Not Supported" },
};

/** reply_reason() - the words behind a status */
const char *reply_reason(int status)
{
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Error";
}

/** reply_init() - an empty 200 */
void reply_init(struct reply *r)
{
	memset(r, 0, sizeof(*r));
	r->status = 200;
	r->type = "application/octet-stream";
	r->cache = "no-store";
	r->fd = -1;
}

/** reply_fini() - drop the body */
void reply_fini(struct reply *r)
{
	free(r->data);
	if (r->cached)
		cached_release(r->cached);
	r->cached = NULL;
	if (r->fd >= 0)
		close(r->fd);
	r->data = NULL;
	r->fd = -1;
	r->bytes = 0;
}

/** reply_error() - instead of whatever @r was: a status, with its reason as the body */
void reply_error(struct reply *r, int status)
{
	char text[64];

	reply_fini(r);
	r->status = status;
	r->cache = "no-store";
	fmt_snprintf(text, sizeof(text), "%d %s\n", status, reply_reason(status));
	reply_text(r, "text/plain", text); /* without memory: an empty body */
}

/** reply_text() - a copy of @text as the body; 0 or -ENOMEM */
int reply_text(struct reply *r, const char *type, const char *text)
{
	r->type = type;
	r->data = (u8 *)strdup(text);
	r->bytes = r->data ? strlen(text) : 0;
	return r->data ? 0 : -ENOMEM;
}

/** reply_field() - another header line; one that does not fit is left out */
void reply_field(struct reply *r, const char *name, const char *value)
{
	size_t have = strlen(r->fields), room = sizeof(r->fields) - have;

	if (fmt_snprintf(r->fields + have, room, "%s: %s\r\n", name, value) >= (int)room)
		r->fields[have] = 0;
}
