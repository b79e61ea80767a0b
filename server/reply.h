/*
 * reply.h - what the server is going to answer, before it is bytes
 */
#ifndef SERVER_REPLY_H
#define SERVER_REPLY_H

#include "base/types.h"

enum reply_manner {
	REPLY_WHOLE,
	/* for tests, see fault.h */
	REPLY_CUT,
	REPLY_STALL,
	REPLY_CLOSE,
	REPLY_NOISE,
};

#define CACHE_FOREVER "public, max-age=31536000, immutable" /* for what a digest names */

struct job;
struct cached;

#define REPLY_FIELDS_MAX 512

/* The body is @data, or @bytes of @fd; the reply owns both. */
struct reply {
	int status;
	const char *type;  /* Content-Type */
	const char *cache; /* Cache-Control */
	const char *allow; /* Allow, or NULL */
	char fields[REPLY_FIELDS_MAX]; /* more header lines, each with its CRLF */
	u8 *data;
	int fd; /* -1: none */
	u64 bytes;
	struct cached *cached; /* the body, or NULL */
	bool close; /* the connection ends after it */
	enum reply_manner manner;
	u32 delay_ms;
	bool stream;	 /* events follow until the peer goes */
	struct job *job; /* the reply comes when this is done */
};

void reply_init(struct reply *r);
void reply_fini(struct reply *r);
void reply_error(struct reply *r, int status);
void reply_field(struct reply *r, const char *name, const char *value);
int reply_text(struct reply *r, const char *type, const char *text);
const char *reply_reason(int status);

#endif
