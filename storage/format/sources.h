/*
 * sources.h - where else chunk objects lie: a list of base URLs, in the order of preference
 *
 *	http://10.0.0.7/objects http://10.0.0.8:8080/cdn/site-a
 *
 * An object's URL is the base, '/', the first two digits of its digest, '/', the
 * digest: objects/ of a data folder served by any web server. Dotted quads only,
 * as PCs have no resolver; plain HTTP only, as objects are checked against their
 * digests and nobody has to trust who serves them. Part of the ticket and of site.conf.
 */
#ifndef STORAGE_FORMAT_SOURCES_H
#define STORAGE_FORMAT_SOURCES_H

#include "base/types.h"

#define SOURCES_MAX 4
#define SOURCES_PATH_MAX 63
#define SOURCES_TEXT_BYTES 384 /* of a list, with its end */

struct source_url {
	u32 ip; /* host order */
	u32 port;
	char path[SOURCES_PATH_MAX + 1]; /* "" or "/...", without a slash at its end */
};

struct sources {
	u32 count;
	struct source_url at[SOURCES_MAX]; /* zero beyond @count */
};

/** sources_parse() - "none", or URLs with one space between; 0 or -EINVAL */
int sources_parse(struct sources *out, const char *s, size_t n);
/** sources_print() - the one way to write it; returns @out */
char *sources_print(char out[SOURCES_TEXT_BYTES], const struct sources *list);

#endif
