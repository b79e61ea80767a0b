/*
 * addr.c - the two options that name addresses, from text
 *
 * Dotted quads only: there is no resolver. Everything is refused that is not
 * exactly one of the documented forms, so that a typing error shows.
 */
#include "base/err.h"
#include "net/stack/stack.h"

/* Decimal number of at most @max; false without digits or above it. */
static bool num(const char **s, u32 max, u32 *out)
{
	u32 v = 0, digits = 0;

	while (**s >= '0' && **s <= '9') {
		v = v * 10 + (u32)(**s - '0');
		if (v > max)
			return false;
		(*s)++;
		digits++;
	}
	*out = v;
	return digits > 0;
}

static bool quad(const char **s, u32 *ip)
{
	*ip = 0;
	for (u32 i = 0; i < 4; i++) {
		u32 v;

		if (i && *(*s)++ != '.')
			return false;
		if (!num(s, 255, &v))
			return false;
		*ip = *ip << 8 | v;
	}
	return true;
}

static bool skip(const char **s, const char *word)
{
	const char *p = *s;

	while (*word)
		if (*p++ != *word++)
			return false;
	*s = p;
	return true;
}

int stack_parse_server(const char *text, u32 *ip, u16 *port, bool *tls)
{
	u32 p;

	*tls = skip(&text, "https://");
	if (!*tls)
		skip(&text, "http://");
	p = *tls ? 443 : 80;
	if (!quad(&text, ip) || !*ip)
		return -EINVAL;
	if (*text == ':') {
		text++;
		if (!num(&text, 65535, &p) || !p)
			return -EINVAL;
	}
	if (*text == '/')
		text++;
	*port = (u16)p;
	return *text ? -EINVAL : 0;
}

int stack_opts_parse(const char *text, struct stack_opts *out)
{
	u32 len;

	*out = (struct stack_opts){ .dhcp = true };
	if (skip(&text, "dhcp"))
		return *text ? -EINVAL : 0;
	out->dhcp = false;
	if (!quad(&text, &out->ip) || !out->ip || *text++ != '/' || !num(&text, 32, &len) || !len)
		return -EINVAL;
	out->mask = ~0u << (32 - len);
	if (*text == ',') {
		text++;
		if (!quad(&text, &out->gw))
			return -EINVAL;
	}
	return *text ? -EINVAL : 0;
}
