/*
 * sources.c - the list of base URLs of a ticket and of site.conf
 *
 * Refused is everything that is not exactly the documented form. The path's
 * characters are those that need no escaping in a request line, and no part of it
 * is "." or "..", which servers and proxies would each understand in their own way.
 */
#include "storage/format/sources.h"

#include <string.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/fmt.h"

#define SCHEME "http://"

/* "http://255.255.255.255:65535" and a path, and the space or the end behind it */
static_assert(SOURCES_MAX * (28 + SOURCES_PATH_MAX + 1) <= SOURCES_TEXT_BYTES, "room for a list");

struct cursor {
	const char *s, *end;
};

static bool take(struct cursor *c, char want)
{
	if (c->s == c->end || *c->s != want)
		return false;
	c->s++;
	return true;
}

/* Decimal without leading zeros, at most @max. */
static bool take_number(struct cursor *c, u32 max, u32 *out)
{
	const char *start = c->s;
	u32 v = 0;

	while (c->s < c->end && *c->s >= '0' && *c->s <= '9') {
		v = v * 10 + (u32)(*c->s++ - '0');
		if (v > max)
			return false;
	}
	*out = v;
	return c->s > start && (*start != '0' || c->s == start + 1);
}

static bool take_quad(struct cursor *c, u32 *ip)
{
	u32 byte;

	*ip = 0;
	for (u32 i = 0; i < 4; i++) {
		if ((i && !take(c, '.')) || !take_number(c, 255, &byte))
			return false;
		*ip = *ip << 8 | byte;
	}
	return *ip != 0;
}

static bool is_path_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '_' || c == '.' || c == '~';
}

/* "/part/part", up to a space or the end; a last slash is dropped. */
static bool take_path(struct cursor *c, char out[SOURCES_PATH_MAX + 1])
{
	u32 used = 0;

	while (take(c, '/')) {
		const char *part = c->s;
		size_t n;

		while (c->s < c->end && is_path_char(*c->s))
			c->s++;
		n = (size_t)(c->s - part);
		if (!n)
			return c->s == c->end || *c->s == ' ';
		if ((n == 1 && part[0] == '.') || (n == 2 && !memcmp(part, "..", 2)) ||
		    used + 1 + n > SOURCES_PATH_MAX)
			return false;
		out[used++] = '/';
		memcpy(out + used, part, n);
		used += (u32)n;
	}
	return true;
}

static bool take_url(struct cursor *c, struct source_url *u)
{
	size_t n = strlen(SCHEME);

	if ((size_t)(c->end - c->s) < n || memcmp(c->s, SCHEME, n))
		return false;
	c->s += n;
	u->port = 80;
	if (!take_quad(c, &u->ip))
		return false;
	if (take(c, ':') && (!take_number(c, 65535, &u->port) || !u->port))
		return false;
	return take_path(c, u->path);
}

/** sources_parse() - "none", or URLs with one space between; 0 or -EINVAL */
int sources_parse(struct sources *out, const char *s, size_t n)
{
	struct cursor c = { s, s + n };
	struct sources list;

	memset(&list, 0, sizeof(list));
	if (n != 4 || memcmp(s, "none", 4)) {
		do {
			if (list.count == SOURCES_MAX || !take_url(&c, &list.at[list.count++]))
				return err_trace(-EINVAL);
		} while (take(&c, ' '));
		if (c.s != c.end)
			return err_trace(-EINVAL);
	}
	*out = list;
	return 0;
}

/** sources_print() - the one way to write it; returns @out */
char *sources_print(char out[SOURCES_TEXT_BYTES], const struct sources *list)
{
	size_t used = 0;

	fmt_snprintf(out, SOURCES_TEXT_BYTES, "none");
	for (u32 i = 0; i < list->count; i++) {
		const struct source_url *u = &list->at[i];
		char port[8] = "";

		if (u->port != 80)
			fmt_snprintf(port, sizeof(port), ":%u", u->port);
		used += (size_t)fmt_snprintf(out + used, SOURCES_TEXT_BYTES - used,
					     "%shttp://%u.%u.%u.%u%s%s", i ? " " : "", u->ip >> 24,
					     u->ip >> 16 & 255, u->ip >> 8 & 255, u->ip & 255, port,
					     u->path);
	}
	return out;
}
