/*
 * remote.h - the server's API, from the command line
 */
#ifndef IMAGES_REMOTE_H
#define IMAGES_REMOTE_H

#include <jansson.h>

#include "images/options.h"

struct remote;

/* What every command that talks to a server takes. */
struct remote_args {
	const char *server, *token, *ca; /* NULL: environment, client.conf, this host */
	bool json;			 /* print what the server said */
};

/* Their options, for a struct @type that has them as member @m. */
#define REMOTE_OPTIONS(type, m)                                                                    \
	CLI_TEXT("server", type, m.server), CLI_TEXT("token", type, m.token),                      \
		CLI_TEXT("ca", type, m.ca), CLI_FLAG("json", type, m.json)

#define REMOTE_HELP                                                                                \
	"  --server URL   the server's API (default: FRESHET_SERVER, client.conf, this host)\n"   \
	"  --token FILE   file with a token (default: FRESHET_TOKEN_FILE, ...)\n"                  \
	"  --ca FILE      the site's ca.crt, for https (default: FRESHET_CA, ...)\n"               \
	"  --json         print the server's answer as it is\n"

int remote_open(struct remote **out, const struct remote_args *a);
void remote_close(struct remote *r);
struct remote *remote_again(const struct remote *r);
const char *remote_url(const struct remote *r);

json_t *remote_call(struct remote *r, const char *method, const char *path, json_t *body,
		    long *status);
json_t *remote_put(struct remote *r, const char *path, const void *bytes, size_t n, long *status);
int remote_get(struct remote *r, const char *path, u8 **bytes, size_t *n, long *status,
	       long long *date);
int remote_follow(struct remote *r, const char *path,
		  void (*line)(void *arg, const char *text), void *arg);
int remote_say(const json_t *answer, long status);
int remote_version(struct remote *r, const char *text, char hex[DIGEST_HEX + 1]);

#endif
