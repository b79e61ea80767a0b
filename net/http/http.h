/*
 * http.h - HTTP/1.1 as a client needs it: a response parser and a request line
 *
 * Pure: bytes in, events out, no memory but the struct, no clock. The parser
 * accepts its input in pieces of any size and never looks at a byte twice, so
 * pipelined responses are parsed straight from the network's buffers.
 * [RFC 9112]
 */
#ifndef NET_HTTP_HTTP_H
#define NET_HTTP_HTTP_H

#include "base/types.h"

#define HTTP_HEAD_MAX 8192 /* status line, headers, trailers of one response */
#define HTTP_LINE_MAX 192 /* longer lines are allowed, but only this much is read */
#define HTTP_INTERIM_MAX 8 /* 1xx responses before the real one */

enum http_event {
	HTTP_MORE, /* all input used; give more */
	HTTP_HEAD, /* status, length and close are known */
	HTTP_BODY, /* *body, *body_bytes: a piece of it, inside the input */
	HTTP_END, /* the response is complete; http_parser_next() for another */
	HTTP_BAD, /* not HTTP; sticks */
};

enum http_state {
	HTTP_S_STATUS,
	HTTP_S_HEADER,
	HTTP_S_HEAD_DONE,
	HTTP_S_BODY, /* counted */
	HTTP_S_BODY_EOF, /* until the connection closes */
	HTTP_S_CHUNK_SIZE,
	HTTP_S_CHUNK_DATA,
	HTTP_S_CHUNK_END, /* the line end after a piece */
	HTTP_S_TRAILER,
	HTTP_S_END,
	HTTP_S_BAD,
};

struct http_parser {
	enum http_state state;
	u32 status; /* 200 .. 599, valid from HTTP_HEAD on */
	bool close; /* the connection ends with this response */
	bool chunked;
	bool has_length;
	bool http10;
	u64 length; /* of the body, when has_length */
	u64 left; /* of the body or the current chunk */
	u32 head_bytes;
	u32 interim;
	u32 line_bytes; /* the line's length so far, also what did not fit */
	bool line_cr; /* a CR was seen: only LF may follow */
	char line[HTTP_LINE_MAX];
};

/** http_parser_init() - ready for the first response of a connection */
void http_parser_init(struct http_parser *p);

/** http_parser_next() - ready for the response after HTTP_END */
static inline void http_parser_next(struct http_parser *p)
{
	http_parser_init(p);
}

/**
 * http_parse() - take some input
 * @used: out, bytes consumed; call again with the rest until HTTP_MORE
 * @body: out, for HTTP_BODY only
 *
 * Return: what happened; bytes after HTTP_END are not touched.
 */
enum http_event http_parse(struct http_parser *p, const void *in, size_t n, size_t *used,
			   const u8 **body, size_t *body_bytes);

/** http_parse_eof() - the peer closed: HTTP_END if that ends the body, else HTTP_BAD */
enum http_event http_parse_eof(struct http_parser *p);

/** http_started() - has a byte of this response been seen? */
static inline bool http_started(const struct http_parser *p)
{
	return p->state != HTTP_S_STATUS || p->line_bytes || p->interim;
}

/**
 * http_request() - write a request's head
 * @path: "/..." of printable characters
 * @body_bytes: length of the body that follows, or -1 for a GET without one
 *
 * Return: its length; -EMSGSIZE; -EINVAL for a path that would not be one.
 */
int http_request(char *out, size_t room, const char *method, const char *path, const char *host,
		 s64 body_bytes);

/** http_request_as() - the same with "Authorization: Bearer @bearer"; NULL or "": without */
int http_request_as(char *out, size_t room, const char *method, const char *path,
		    const char *host, const char *bearer, s64 body_bytes);

#endif
