/*
 * request.c - an HTTP/1.1 request's head, bytes to struct; pure
 *
 * Freshet's server answers machines, caches and curl, so the parser takes what
 * [RFC 9112] calls valid and nothing more: CRLF line ends, no folded fields,
 * no space before a colon, one Content-Length, no Transfer-Encoding. Being
 * strict here is what makes pipelining safe: two parties that disagree on
 * where a request ends are how requests are smuggled past a cache.
 *
 * The path is matched as it was sent. Routes consist of fixed words and hex
 * digits, so an escaped character never matches and nothing is ever decoded
 * into a path; only query values are.
 */
#include "server/request.h"

#include <string.h>
#include <strings.h>

#include "base/err.h"

struct field {
	const char *name, *value;
	size_t name_bytes, value_bytes;
};

/* What the fields said so far. */
struct head {
	bool http11;
	bool have_host;
	bool have_length;
	bool close, keep;
};

static bool is_token(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool word_is(const char *p, size_t n, const char *word)
{
	return n == strlen(word) && !strncasecmp(p, word, n);
}

/* Is @word one of the comma-separated words of a field's value? */
static bool list_has(const struct field *f, const char *word)
{
	const char *p = f->value, *end = p + f->value_bytes;

	while (p < end) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		const char *stop = comma ? comma : end;
		const char *q = stop;

		while (p < stop && (*p == ' ' || *p == '\t'))
			p++;
		while (q > p && (q[-1] == ' ' || q[-1] == '\t'))
			q--;
		if (word_is(p, (size_t)(q - p), word))
			return true;
		p = stop + 1;
	}
	return false;
}

static int parse_length(const struct field *f, u64 *out)
{
	u64 v = 0;

	if (!f->value_bytes || f->value_bytes > 15)
		return -EBADMSG;
	for (size_t i = 0; i < f->value_bytes; i++) {
		if (f->value[i] < '0' || f->value[i] > '9')
			return -EBADMSG;
		v = v * 10 + (u64)(f->value[i] - '0');
	}
	*out = v;
	return 0;
}

static int copy_target(struct request *r, const char *p, size_t n)
{
	const char *mark, *slash;
	size_t path_bytes, query_bytes;

	/* absolute-form, as a proxy would send it [RFC 9112 §3.2.2] */
	if (n > 7 && !strncasecmp(p, "http://", 7)) {
		slash = memchr(p + 7, '/', n - 7);
		if (!slash)
			return -EBADMSG;
		n -= (size_t)(slash - p);
		p = slash;
	}
	if (!n || p[0] != '/')
		return -EBADMSG;
	for (size_t i = 0; i < n; i++)
		if (p[i] <= ' ' || p[i] == 0x7f || p[i] == '#')
			return -EBADMSG;
	mark = memchr(p, '?', n);
	path_bytes = mark ? (size_t)(mark - p) : n;
	query_bytes = mark ? n - path_bytes - 1 : 0;
	if (path_bytes >= sizeof(r->path) || query_bytes >= sizeof(r->query))
		return -EMSGSIZE;
	memcpy(r->path, p, path_bytes);
	if (query_bytes)
		memcpy(r->query, mark + 1, query_bytes);
	return 0;
}

static const char *const methods[METHOD_COUNT] = {
	[METHOD_GET] = "GET", [METHOD_HEAD] = "HEAD",	[METHOD_POST] = "POST",
	[METHOD_PUT] = "PUT", [METHOD_PATCH] = "PATCH", [METHOD_DELETE] = "DELETE",
};

/** request_method_name() - as it stands in a request */
const char *request_method_name(enum request_method m)
{
	return methods[m];
}

static int find_method(const char *p, size_t n, enum request_method *out)
{
	for (int i = 0; i < METHOD_COUNT; i++)
		if (strlen(methods[i]) == n && !memcmp(p, methods[i], n)) {
			*out = (enum request_method)i;
			return 0;
		}
	return -ENOENT;
}

/* A token of the API, if @p is one; a longer one is none. */
static void copy_token(char out[REQUEST_TOKEN_MAX], const char *p, size_t n)
{
	out[0] = 0;
	if (n >= REQUEST_TOKEN_MAX)
		return;
	for (size_t i = 0; i < n; i++)
		if (!is_token(p[i]))
			return;
	memcpy(out, p, n);
	out[n] = 0;
}

/* "a=b; freshet=..." */
static void find_cookie(struct request *r, const char *p, size_t n)
{
	static const char name[] = "freshet=";
	const char *end = p + n;

	while (p < end) {
		const char *stop = memchr(p, ';', (size_t)(end - p));

		stop = stop ? stop : end;
		while (p < stop && *p == ' ')
			p++;
		if ((size_t)(stop - p) > sizeof(name) - 1 && !memcmp(p, name, sizeof(name) - 1))
			copy_token(r->cookie, p + sizeof(name) - 1,
				   (size_t)(stop - p) - sizeof(name) + 1);
		p = stop + 1;
	}
}

/* "GET /path HTTP/1.1" */
static int parse_line(struct request *r, struct head *h, const char *p, size_t n, int *status)
{
	const char *sp1 = memchr(p, ' ', n);
	const char *sp2 = sp1 ? memchr(sp1 + 1, ' ', n - (size_t)(sp1 + 1 - p)) : NULL;
	const char *version = sp2 ? sp2 + 1 : NULL;
	size_t method_bytes;
	int err;

	*status = 400;
	if (!version || p + n - version != 8 || memcmp(version, "HTTP/", 5))
		return -EBADMSG;
	if (memcmp(version, "HTTP/1.", 7) || (version[7] != '0' && version[7] != '1')) {
		*status = 505;
		return -EBADMSG;
	}
	h->http11 = version[7] == '1';
	method_bytes = (size_t)(sp1 - p);
	for (size_t i = 0; i < method_bytes; i++)
		if (!is_token(p[i]))
			return -EBADMSG;
	if (find_method(p, method_bytes, &r->method)) {
		*status = method_bytes ? 501 : 400;
		return -EBADMSG;
	}
	err = copy_target(r, sp1 + 1, (size_t)(sp2 - sp1 - 1));
	if (err == -EMSGSIZE)
		*status = 414;
	return err;
}

static int parse_field(struct request *r, struct head *h, const struct field *f, int *status)
{
	u64 length;

	*status = 400;
	if (word_is(f->name, f->name_bytes, "host")) {
		if (h->have_host)
			return -EBADMSG;
		h->have_host = true;
	} else if (word_is(f->name, f->name_bytes, "content-length")) {
		if (parse_length(f, &length) || (h->have_length && length != r->body_bytes))
			return -EBADMSG;
		h->have_length = true;
		r->body_bytes = length;
	} else if (word_is(f->name, f->name_bytes, "transfer-encoding")) {
		*status = 501;
		return -EBADMSG;
	} else if (word_is(f->name, f->name_bytes, "connection")) {
		h->close |= list_has(f, "close");
		h->keep |= list_has(f, "keep-alive");
	} else if (word_is(f->name, f->name_bytes, "expect")) {
		*status = 417;
		if (!list_has(f, "100-continue"))
			return -EBADMSG;
		r->expect_continue = true;
	} else if (word_is(f->name, f->name_bytes, "authorization")) {
		if (f->value_bytes > 7 && !strncasecmp(f->value, "bearer ", 7))
			copy_token(r->bearer, f->value + 7, f->value_bytes - 7);
	} else if (word_is(f->name, f->name_bytes, "cookie")) {
		find_cookie(r, f->value, f->value_bytes);
	} else if (word_is(f->name, f->name_bytes, "x-freshet")) {
		r->own_page = true;
	} else if (word_is(f->name, f->name_bytes, "last-event-id")) {
		parse_length(f, &r->last_event);
	}
	return 0;
}

static int split_field(struct field *f, const char *p, size_t n)
{
	const char *colon = memchr(p, ':', n);
	const char *end = p + n;

	if (!colon || colon == p)
		return -EBADMSG;
	f->name = p;
	f->name_bytes = (size_t)(colon - p);
	for (size_t i = 0; i < f->name_bytes; i++)
		if (!is_token(p[i]))
			return -EBADMSG;
	for (p = colon + 1; p < end && (*p == ' ' || *p == '\t'); p++)
		;
	while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	f->value = p;
	f->value_bytes = (size_t)(end - p);
	for (size_t i = 0; i < f->value_bytes; i++)
		if ((p[i] >= 0 && p[i] < ' ' && p[i] != '\t') || p[i] == 0x7f)
			return -EBADMSG;
	return 0;
}

/* The next line without its CRLF; NULL when it is not all there yet. */
static const char *next_line(const char *p, const char *end, size_t *n)
{
	const char *lf = memchr(p, '\n', (size_t)(end - p));

	if (!lf)
		return NULL;
	*n = (size_t)(lf - p);
	return p;
}

/**
 * request_parse() - one request's head from the front of what was received
 * @used:   out, on success: bytes that the head takes, empty line included
 * @status: out, on failure: what to answer before closing the connection
 *
 * Nothing is remembered between calls: with -EAGAIN, call again with more.
 * Return: 0; -EAGAIN when the head is not complete; -EBADMSG.
 * Spec: [RFC 9112 §2-§6]
 */
int request_parse(struct request *r, const char *buf, size_t bytes, size_t *used, int *status)
{
	const char *p = buf, *end = buf + MIN(bytes, (size_t)REQUEST_HEAD_MAX), *line;
	struct head h = { 0 };
	bool first = true;
	size_t n;

	memset(r, 0, sizeof(*r));
	*status = 400;
	while (p < end && p < buf + 4 && (*p == '\r' || *p == '\n'))
		p++; /* an empty line or two before a request [RFC 9112 §2.2] */
	while ((line = next_line(p, end, &n))) {
		struct field f;
		int err;

		p += n + 1;
		if (!n || line[n - 1] != '\r')
			return -EBADMSG;
		n--;
		if (first) {
			err = parse_line(r, &h, line, n, status);
			first = false;
		} else if (n) {
			err = split_field(&f, line, n);
			if (!err)
				err = parse_field(r, &h, &f, status);
		} else {
			break;
		}
		if (err)
			return -EBADMSG;
	}
	if (!line) {
		*status = 431;
		return bytes >= REQUEST_HEAD_MAX ? -EBADMSG : -EAGAIN;
	}
	*status = 400;
	if (h.http11 && !h.have_host)
		return -EBADMSG;
	r->keep_alive = h.http11 ? !h.close : h.keep && !h.close;
	*used = (size_t)(p - buf);
	return 0;
}

static int unhex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int decode(const char *p, size_t n, char *out, size_t room)
{
	size_t have = 0;

	for (size_t i = 0; i < n; i++) {
		int c = (u8)p[i];

		if (c == '%') {
			int hi = i + 2 < n ? unhex_digit(p[i + 1]) : -1;
			int lo = i + 2 < n ? unhex_digit(p[i + 2]) : -1;

			if (hi < 0 || lo < 0)
				return -EBADMSG;
			c = hi << 4 | lo;
			i += 2;
		} else if (c == '+') {
			c = ' ';
		}
		if (c < ' ' || c > '~')
			return -EBADMSG;
		if (have + 1 >= room)
			return -EMSGSIZE;
		out[have++] = (char)c;
	}
	out[have] = 0;
	return 0;
}

/**
 * request_param() - a query parameter's value, decoded, printable ASCII
 *
 * Return: 0; -ENOENT when it is not there; -EEXIST when it is there twice;
 * -EBADMSG for a bad escape or an unprintable character; -EMSGSIZE.
 */
int request_param(const struct request *r, const char *key, char *out, size_t room)
{
	const char *p = r->query;
	size_t key_bytes = strlen(key);
	int err = -ENOENT;

	while (*p) {
		size_t n = strcspn(p, "&");

		if (n > key_bytes && p[key_bytes] == '=' && !memcmp(p, key, key_bytes)) {
			if (err != -ENOENT)
				return -EEXIST;
			err = decode(p + key_bytes + 1, n - key_bytes - 1, out, room);
			if (err)
				return err;
		}
		p += n;
		if (*p == '&')
			p++;
	}
	return err;
}
