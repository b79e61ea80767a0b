/*
 * http.c - HTTP/1.1 response parser and request writer
 *
 * The parser is a state machine over lines and counted bytes. Lines are kept
 * up to HTTP_LINE_MAX; of longer ones only the start is looked at, and a
 * header whose value we need must fit. What two parsers could understand
 * differently is refused: folded headers, stray CRs, space before a colon,
 * two lengths that differ, a length beside chunked coding, codings other than
 * chunked. Sums are bounded before they are made.
 *
 * [RFC 9112 §2.2 lines, §4 status line, §5 fields, §6 body length, §7 chunked]
 */
#include "net/http/http.h"

#include <string.h>

#include "base/err.h"
#include "base/fmt.h"

#define LENGTH_MAX (1ull << 40)

void http_parser_init(struct http_parser *p)
{
	memset(p, 0, offsetof(struct http_parser, line));
}

static enum http_event bad(struct http_parser *p)
{
	p->state = HTTP_S_BAD;
	return HTTP_BAD;
}

/* ---------------------------------------------------------------- lines */

/*
 * Collect a line. 1: complete, terminated in p->line without its end, its
 * full length in p->line_bytes; 0: more input wanted; -EPROTO.
 */
static int line_feed(struct http_parser *p, const u8 *in, size_t n, size_t *used)
{
	for (size_t i = 0; i < n; i++) {
		u8 c = in[i];

		if (++p->head_bytes > HTTP_HEAD_MAX)
			return -EPROTO;
		if (c == '\n') {
			*used = i + 1;
			p->line_cr = false;
			p->line[MIN(p->line_bytes, HTTP_LINE_MAX - 1u)] = 0;
			return 1;
		}
		if (p->line_cr)
			return -EPROTO;
		if (c == '\r') {
			p->line_cr = true;
			continue;
		}
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return -EPROTO;
		if (p->line_bytes < HTTP_LINE_MAX - 1u)
			p->line[p->line_bytes] = (char)c;
		p->line_bytes++;
	}
	*used = n;
	return 0;
}

static bool line_cut(const struct http_parser *p)
{
	return p->line_bytes > HTTP_LINE_MAX - 1u;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Does @s, up to @n characters, equal @word (lower case)? */
static bool same(const char *s, size_t n, const char *word)
{
	size_t i;

	for (i = 0; i < n && word[i]; i++)
		if (lower(s[i]) != word[i])
			return false;
	return i == n && !word[i];
}

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

/* A field name is a token [RFC 9110 §5.6.2]. */
static bool token_char(char c)
{
	return digit(c) || (lower(c) >= 'a' && lower(c) <= 'z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* ---------------------------------------------------------------- head */

/* "HTTP/1.1 200 OK" */
static int status_line(struct http_parser *p)
{
	const char *l = p->line;

	if (strncmp(l, "HTTP/1.", 7) || !digit(l[7]) || l[8] != ' ' || !digit(l[9]) ||
	    !digit(l[10]) || !digit(l[11]) || (l[12] && l[12] != ' '))
		return -EPROTO;
	p->http10 = l[7] == '0';
	p->close = p->http10;
	p->status = (u32)(l[9] - '0') * 100 + (u32)(l[10] - '0') * 10 + (u32)(l[11] - '0');
	return p->status >= 100 && p->status < 600 ? 0 : -EPROTO;
}

static int content_length(struct http_parser *p, const char *v, size_t n)
{
	u64 len = 0;

	if (!n)
		return -EPROTO;
	for (size_t i = 0; i < n; i++) {
		if (!digit(v[i]))
			return -EPROTO;
		len = len * 10 + (u64)(v[i] - '0');
		if (len > LENGTH_MAX)
			return -EPROTO;
	}
	if (p->has_length && p->length != len)
		return -EPROTO;
	p->has_length = true;
	p->length = len;
	return 0;
}

static int transfer_encoding(struct http_parser *p, const char *v, size_t n)
{
	if (!same(v, n, "chunked") || p->chunked || p->http10)
		return -EPROTO;
	p->chunked = true;
	return 0;
}

/* Connection: a list of tokens, of which two matter. */
static void connection(struct http_parser *p, const char *v, size_t n)
{
	while (n) {
		size_t k = 0, len;

		while (k < n && v[k] != ',')
			k++;
		len = k;
		while (len && blank(v[len - 1]))
			len--;
		if (same(v, len, "close"))
			p->close = true;
		else if (same(v, len, "keep-alive") && p->http10)
			p->close = false;
		if (k < n)
			k++;
		v += k;
		n -= k;
		while (n && blank(*v)) {
			v++;
			n--;
		}
	}
}

static int header_line(struct http_parser *p)
{
	const char *l = p->line, *v;
	size_t name = 0, n;

	while (token_char(l[name]))
		name++;
	if (!name || l[name] != ':')
		return -EPROTO;
	for (v = l + name + 1; blank(*v); v++)
		;
	n = strlen(v);
	while (n && blank(v[n - 1]))
		n--;
	if (same(l, name, "content-length"))
		return line_cut(p) ? -EPROTO : content_length(p, v, n);
	if (same(l, name, "transfer-encoding"))
		return line_cut(p) ? -EPROTO : transfer_encoding(p, v, n);
	if (same(l, name, "connection"))
		connection(p, v, n);
	return 0;
}

/* The empty line: what follows? [RFC 9112 §6.3] */
static int head_end(struct http_parser *p)
{
	if (p->status < 200) {
		u32 interim = p->interim + 1, bytes = p->head_bytes;

		if (p->status == 101 || interim > HTTP_INTERIM_MAX)
			return -EPROTO;
		http_parser_init(p);
		p->interim = interim;
		p->head_bytes = bytes;
		return 0;
	}
	if (p->chunked && p->has_length)
		return -EPROTO;
	p->state = HTTP_S_HEAD_DONE;
	return 0;
}

static enum http_event head_event(struct http_parser *p)
{
	if (p->status == 204 || p->status == 304) {
		p->chunked = false;
		p->has_length = true;
		p->length = 0;
	}
	if (p->chunked) {
		p->state = HTTP_S_CHUNK_SIZE;
		p->line_bytes = 0;
	} else if (p->has_length) {
		p->state = p->length ? HTTP_S_BODY : HTTP_S_END;
		p->left = p->length;
	} else {
		p->state = HTTP_S_BODY_EOF;
		p->close = true;
	}
	return HTTP_HEAD;
}

/* ---------------------------------------------------------------- chunked body */

/* "1a2b" or "1a2b;name=value" [RFC 9112 §7.1] */
static int chunk_size(struct http_parser *p)
{
	const char *l = p->line;
	u64 v = 0;
	u32 i = 0;

	for (;; i++) {
		char c = lower(l[i]);

		if (digit(c))
			v = v << 4 | (u64)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (u64)(c - 'a' + 10);
		else
			break;
		if (v > LENGTH_MAX)
			return -EPROTO;
	}
	while (i && blank(l[i]))
		i++;
	if (!i || (l[i] && l[i] != ';'))
		return -EPROTO;
	/* Extensions count towards the limit; a long body in pieces must not. */
	p->head_bytes -= MIN(p->head_bytes, p->line_bytes <= 16 ? p->line_bytes + 2 : 0);
	p->left = v;
	p->state = v ? HTTP_S_CHUNK_DATA : HTTP_S_TRAILER;
	return 0;
}

static int line_done(struct http_parser *p)
{
	int err = 0;

	switch (p->state) {
	case HTTP_S_STATUS:
		err = status_line(p);
		p->state = HTTP_S_HEADER;
		break;
	case HTTP_S_HEADER:
		err = p->line_bytes ? header_line(p) : head_end(p);
		break;
	case HTTP_S_CHUNK_SIZE:
		err = chunk_size(p);
		break;
	case HTTP_S_CHUNK_END:
		err = p->line_bytes ? -EPROTO : 0;
		p->head_bytes -= MIN(p->head_bytes, 2u);
		p->state = HTTP_S_CHUNK_SIZE;
		break;
	case HTTP_S_TRAILER:
		if (!p->line_bytes)
			p->state = HTTP_S_END;
		break;
	default:
		err = -EPROTO;
	}
	p->line_bytes = 0;
	return err;
}

/* ---------------------------------------------------------------- driver */

static enum http_event body_event(struct http_parser *p, const u8 *in, size_t n, size_t *used,
				  const u8 **body, size_t *body_bytes)
{
	size_t k = n;

	if (p->state != HTTP_S_BODY_EOF) {
		k = (size_t)MIN((u64)n, p->left);
		p->left -= k;
		if (!p->left)
			p->state = p->state == HTTP_S_BODY ? HTTP_S_END : HTTP_S_CHUNK_END;
	}
	*used = k;
	*body = in;
	*body_bytes = k;
	return HTTP_BODY;
}

enum http_event http_parse(struct http_parser *p, const void *in, size_t n, size_t *used,
			   const u8 **body, size_t *body_bytes)
{
	const u8 *bytes = in;
	size_t at = 0, k = 0;
	int r;

	*used = 0;
	for (;;) {
		switch (p->state) {
		case HTTP_S_BAD:
			return HTTP_BAD;
		case HTTP_S_END:
			*used = at;
			return HTTP_END;
		case HTTP_S_HEAD_DONE:
			*used = at;
			return head_event(p);
		case HTTP_S_BODY:
		case HTTP_S_BODY_EOF:
		case HTTP_S_CHUNK_DATA:
			if (at == n)
				goto more;
			body_event(p, bytes + at, n - at, &k, body, body_bytes);
			*used = at + k;
			return HTTP_BODY;
		default:
			if (at == n)
				goto more;
			r = line_feed(p, bytes + at, n - at, &k);
			if (r < 0)
				return bad(p);
			at += k;
			if (r && line_done(p))
				return bad(p);
		}
	}
more:
	*used = at;
	return HTTP_MORE;
}

enum http_event http_parse_eof(struct http_parser *p)
{
	if (p->state == HTTP_S_END)
		return HTTP_END;
	if (p->state == HTTP_S_BODY_EOF) {
		p->state = HTTP_S_END;
		return HTTP_END;
	}
	return bad(p);
}

static bool printable(const char *s)
{
	for (; *s; s++)
		if (*s <= ' ' || *s > '~')
			return false;
	return true;
}

int http_request_as(char *out, size_t room, const char *method, const char *path,
		    const char *host, const char *bearer, s64 body_bytes)
{
	bool as = bearer && *bearer;
	int n;

	if (path[0] != '/' || !printable(path) || (as && !printable(bearer)))
		return -EINVAL;
	n = fmt_snprintf(out, room, "%s %s HTTP/1.1\r\nHost: %s\r\n%s%s%s", method, path, host,
			 as ? "Authorization: Bearer " : "", as ? bearer : "", as ? "\r\n" : "");
	if (n < 0 || (size_t)n >= room)
		return -EMSGSIZE;
	out += n;
	room -= (size_t)n;
	if (body_bytes < 0)
		body_bytes = fmt_snprintf(out, room, "\r\n");
	else
		body_bytes = fmt_snprintf(out, room, "Content-Type: application/json\r\n"
						     "Content-Length: %llu\r\n\r\n",
					  (unsigned long long)body_bytes);
	return body_bytes < 0 || (size_t)body_bytes >= room ? -EMSGSIZE : n + (int)body_bytes;
}

int http_request(char *out, size_t room, const char *method, const char *path, const char *host,
		 s64 body_bytes)
{
	return http_request_as(out, room, method, path, host, NULL, body_bytes);
}
