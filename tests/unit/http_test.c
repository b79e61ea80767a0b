/* net/http: a table of responses, each fed whole, split at every byte and byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "net/http/http.h"

#define H "HTTP/1.1 200 OK\r\n"

struct row {
	const char *in;
	bool eof; /* the connection closes after it */
	/* expected */
	enum http_event last; /* HTTP_END, HTTP_BAD or HTTP_MORE */
	u32 status;
	const char *body;
	bool close;
	const char *rest; /* what a pipelined parser must not have touched */
};

static const struct row rows[] = {
	{ H "Content-Length: 5\r\n\r\nhello", 0, HTTP_END, 200, "hello", 0, "" },
	{ H "content-LENGTH:5 \r\n\r\nhello", 0, HTTP_END, 200, "hello", 0, "" },
	{ H "Content-Length: 0\r\n\r\n", 0, HTTP_END, 200, "", 0, "" },
	{ H "Content-Length: 2\r\n\r\nabHTTP/1.1 404", 0, HTTP_END, 200, "ab", 0, "HTTP/1.1 404" },
	{ H "Content-Length: 2\r\nContent-Length: 2\r\n\r\nab", 0, HTTP_END, 200, "ab", 0, "" },
	{ "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", 0, HTTP_END, 404, "no", 0, "" },
	{ "HTTP/1.1 500\r\nContent-Length: 0\r\n\r\n", 0, HTTP_END, 500, "", 0, "" },
	{ "HTTP/1.1 204 No\r\n\r\nX", 0, HTTP_END, 204, "", 0, "X" },
	{ "HTTP/1.1 304 No\r\nContent-Length: 99\r\n\r\nX", 0, HTTP_END, 304, "", 0, "X" },
	{ "HTTP/1.1 200 OK\nContent-Length: 1\n\nx", 0, HTTP_END, 200, "x", 0, "" },
	{ H "Connection: close\r\nContent-Length: 1\r\n\r\nx", 0, HTTP_END, 200, "x", 1, "" },
	{ H "Connection: foo , Close,bar\r\nContent-Length: 1\r\n\r\nx", 0,
	  HTTP_END, 200, "x", 1, "" },
	{ H "Connection: closed\r\nContent-Length: 1\r\n\r\nx", 0, HTTP_END, 200, "x", 0, "" },
	{ "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", 0, HTTP_END, 200, "x", 1, "" },
	{ "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", 0, HTTP_END,
	  200, "x", 0, "" },
	/* until the connection closes */
	{ H "\r\nall of it", 1, HTTP_END, 200, "all of it", 1, "" },
	{ H "\r\n", 1, HTTP_END, 200, "", 1, "" },
	{ H "\r\nall of it", 0, HTTP_MORE, 200, "all of it", 1, "" },
	/* chunked */
	{ H "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nZ", 0, HTTP_END, 200, "hello",
	  0, "Z" },
	{ H "Transfer-Encoding: CHUNKED\r\n\r\n3;a=b\r\nhel\r\n02 \r\nlo\r\n000\r\nA: b\r\n\r\n", 0,
	  HTTP_END, 200, "hello", 0, "" },
	{ H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, HTTP_END, 200, "", 0, "" },
	/* interim responses */
	{ "HTTP/1.1 100 Continue\r\n\r\n" H "Content-Length: 1\r\n\r\nx", 0, HTTP_END, 200, "x", 0,
	  "" },
	/* cut short */
	{ H "Content-Length: 5\r\n\r\nhell", 1, HTTP_BAD, 200, "hell", 0, "" },
	{ H "Content-Length: 5\r\n\r\nhell", 0, HTTP_MORE, 200, "hell", 0, "" },
	{ H "Content-Len", 1, HTTP_BAD, 200, "", 0, "" },
	{ "", 1, HTTP_BAD, 0, "", 0, "" },
	{ H "Transfer-Encoding: chunked\r\n\r\n5\r\nhel", 1, HTTP_BAD, 200, "hel", 0, "" },
	{ H "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", 1, HTTP_BAD, 200, "hello", 0,
	  "" },
	/* not HTTP, or not for one reading only */
	{ "SSH-2.0-x\r\n", 0, HTTP_BAD, 0, "", 0, "" },
	{ "\r\n" H, 0, HTTP_BAD, 0, "", 0, "" },
	{ "HTTP/2.0 200 OK\r\n\r\n", 0, HTTP_BAD, 0, "", 0, "" },
	{ "HTTP/1.1 20 OK\r\n\r\n", 0, HTTP_BAD, 0, "", 0, "" },
	{ "HTTP/1.1 2000 OK\r\n\r\n", 0, HTTP_BAD, 0, "", 0, "" },
	{ "HTTP/1.1  200 OK\r\n\r\n", 0, HTTP_BAD, 0, "", 0, "" },
	{ "HTTP/1.1 600 OK\r\n\r\n", 0, HTTP_BAD, 600, "", 0, "" },
	{ "HTTP/1.1 101 Switching\r\n\r\n", 0, HTTP_BAD, 101, "", 0, "" },
	{ H "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H "Content-Length: 5, 5\r\n\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H "Content-Length: -5\r\n\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H "Content-Length: +5\r\n\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H "Content-Length: 0x5\r\n\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H "Content-Length:\r\n\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H "Content-Length: 18446744073709551616\r\n\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H "Content-Length: 99999999999999999999999999\r\n\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H "Content-Length : 5\r\n\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H " folded\r\n\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H "no colon\r\n\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H ": no name\r\n\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H "A: b\rC: d\r\n\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H "A: \001\r\n\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H "Transfer-Encoding: gzip\r\n\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H "Transfer-Encoding: gzip, chunked\r\n\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 0,
	  HTTP_BAD, 200, "",
	  0, "" },
	{ H "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 0,
	  HTTP_BAD, 200, "", 0, "" },
	{ H "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 0,
	  HTTP_BAD, 200, "", 0, "" },
	{ H "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H "Transfer-Encoding: chunked\r\n\r\n\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H "Transfer-Encoding: chunked\r\n\r\n;a\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H "Transfer-Encoding: chunked\r\n\r\n-1\r\n", 0, HTTP_BAD, 200, "", 0, "" },
	{ H "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 0,
	  HTTP_BAD, 200, "", 0, "" },
	{ H "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", 0, HTTP_BAD, 200, "abc", 0, "" },
};

struct result {
	enum http_event last;
	char body[4096];
	size_t body_bytes;
	size_t used;
	struct http_parser p;
	u32 heads;
};

/* Feed @n bytes at @in; true when a final event came. */
static bool feed(struct result *r, const char *in, size_t n)
{
	size_t at = 0;

	for (;;) {
		/* its own allocation, so that the sanitizer sees a byte too many */
		char *piece = malloc(n - at + !(n - at));
		size_t used = 0, bytes = 0;
		const u8 *body = NULL;

		memcpy(piece, in + at, n - at);
		r->last = http_parse(&r->p, piece, n - at, &used, &body, &bytes);
		assert_true(used <= n - at);
		if (r->last == HTTP_BODY) {
			assert_true(body >= (u8 *)piece && body + bytes <= (u8 *)piece + n - at);
			assert_true(r->body_bytes + bytes < sizeof(r->body));
			memcpy(r->body + r->body_bytes, body, bytes);
			r->body_bytes += bytes;
		}
		free(piece);
		at += used;
		r->used += used;
		if (r->last == HTTP_HEAD)
			assert_int_equal(r->heads++, 0);
		if (r->last == HTTP_END || r->last == HTTP_BAD)
			return true;
		if (r->last == HTTP_MORE) {
			assert_int_equal(at, n);
			return false;
		}
	}
}

static void check(const struct row *row, struct result *r, bool ended, u32 i, size_t split)
{
	if (!ended && row->eof)
		r->last = http_parse_eof(&r->p);
	if (r->last != row->last || r->p.status != row->status ||
	    r->body_bytes != strlen(row->body) || memcmp(r->body, row->body, r->body_bytes))
		fail_msg("row %u split %zu: event %d status %u body %.*s", i, split, r->last,
			 r->p.status, (int)r->body_bytes, r->body);
	if (row->last != HTTP_BAD) {
		assert_int_equal(r->p.close, row->close);
		assert_string_equal(row->in + r->used, row->rest);
	} else {
		size_t used;
		const u8 *b;

		assert_int_equal(http_parse(&r->p, "HTTP", 4, &used, &b, &used), HTTP_BAD);
	}
}

static void every_row_at_every_split(void **state)
{
	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *in = rows[i].in;
		size_t n = strlen(in);

		for (size_t split = 0; split <= n; split++) {
			struct result r = { 0 };
			bool end;

			http_parser_init(&r.p);
			assert_false(http_started(&r.p));
			end = feed(&r, in, split);
			if (!end)
				end = feed(&r, in + split, n - split);
			check(&rows[i], &r, end, i, split);
		}
		struct result r = { 0 };
		bool end = false;

		http_parser_init(&r.p);
		for (size_t at = 0; at < n && !end; at++)
			end = feed(&r, in + at, 1);
		/* an end that needs no more bytes still has to be asked for */
		if (!end)
			end = feed(&r, in + n, 0);
		check(&rows[i], &r, end, i, 99999);
	}
}

static void pipelined(void **state)
{
	static const char in[] = H "Content-Length: 1\r\n\r\nA" H
		"Transfer-Encoding: chunked\r\n\r\n1\r\nB\r\n0\r\n\r\n"
		H "Content-Length: 1\r\n\r\nC";
	struct result r = { 0 };
	size_t at = 0;

	(void)state;
	http_parser_init(&r.p);
	for (u32 i = 0; i < 3; i++) {
		r.used = 0;
		r.heads = 0;
		assert_true(feed(&r, in + at, sizeof(in) - 1 - at));
		assert_int_equal(r.last, HTTP_END);
		at += r.used;
		http_parser_next(&r.p);
	}
	assert_int_equal(at, sizeof(in) - 1);
	assert_memory_equal(r.body, "ABC", 3);
}

static void heads_are_bounded(void **state)
{
	struct result r = { 0 };
	bool end = false;
	u32 n = 0;

	(void)state;
	/* one endless line */
	http_parser_init(&r.p);
	feed(&r, H "X: ", strlen(H "X: "));
	while (!end && n++ < 2 * HTTP_HEAD_MAX)
		end = feed(&r, "a", 1);
	assert_int_equal(r.last, HTTP_BAD);
	assert_true(n < HTTP_HEAD_MAX);
	/* endless lines */
	memset(&r, 0, sizeof(r));
	http_parser_init(&r.p);
	feed(&r, H, strlen(H));
	for (end = false, n = 0; !end && n < HTTP_HEAD_MAX; n++)
		end = feed(&r, "A: b\r\n", 6);
	assert_int_equal(r.last, HTTP_BAD);
	/* endless interim responses */
	memset(&r, 0, sizeof(r));
	http_parser_init(&r.p);
	for (end = false, n = 0; !end && n < 100; n++)
		end = feed(&r, "HTTP/1.1 102 Wait\r\n\r\n", 21);
	assert_int_equal(r.last, HTTP_BAD);
	/* endless trailers */
	memset(&r, 0, sizeof(r));
	http_parser_init(&r.p);
	feed(&r, H "Transfer-Encoding: chunked\r\n\r\n0\r\n", strlen(H) + 33);
	for (end = false, n = 0; !end && n < HTTP_HEAD_MAX; n++)
		end = feed(&r, "A: b\r\n", 6);
	assert_int_equal(r.last, HTTP_BAD);
	/* a long header that we do not need is fine, one that we need is not */
	char line[1000];

	memset(&r, 0, sizeof(r));
	http_parser_init(&r.p);
	feed(&r, H, strlen(H));
	snprintf(line, sizeof(line), "Via: %0600d\r\nContent-Length: 0\r\n\r\n", 1);
	assert_true(feed(&r, line, strlen(line)));
	assert_int_equal(r.last, HTTP_END);
	memset(&r, 0, sizeof(r));
	http_parser_init(&r.p);
	feed(&r, H, strlen(H));
	snprintf(line, sizeof(line), "Content-Length: %0600d\r\n\r\n", 1);
	assert_true(feed(&r, line, strlen(line)));
	assert_int_equal(r.last, HTTP_BAD);
}

/* A long body in many small pieces must not run into the head's limit. */
static void many_small_chunks(void **state)
{
	struct result r = { 0 };

	(void)state;
	http_parser_init(&r.p);
	feed(&r, H "Transfer-Encoding: chunked\r\n\r\n", strlen(H) + 30);
	for (u32 i = 0; i < 20000; i++) {
		r.body_bytes = 0;
		assert_false(feed(&r, "1\r\nx\r\n", 6));
	}
	assert_true(feed(&r, "0\r\n\r\n", 5));
	assert_int_equal(r.last, HTTP_END);
}

static void requests(void **state)
{
	char out[200];

	(void)state;
	assert_true(http_request(out, sizeof(out), "GET", "/v1/x?a=b", "1.2.3.4:80", -1) > 0);
	assert_string_equal(out, "GET /v1/x?a=b HTTP/1.1\r\nHost: 1.2.3.4:80\r\n\r\n");
	int n = http_request(out, sizeof(out), "POST", "/r", "h", 12);

	assert_int_equal(n, strlen(out));
	assert_non_null(strstr(out, "\r\nContent-Length: 12\r\n"));
	assert_int_equal(http_request(out, sizeof(out), "GET", "v1", "h", -1), -EINVAL);
	assert_int_equal(http_request(out, sizeof(out), "GET", "", "h", -1), -EINVAL);
	assert_int_equal(http_request(out, sizeof(out), "GET", "/a b", "h", -1), -EINVAL);
	assert_int_equal(http_request(out, sizeof(out), "GET", "/a\r\nX: y", "h", -1), -EINVAL);
	assert_int_equal(http_request(out, 20, "GET", "/v1/x", "h", -1), -EMSGSIZE);
	n = http_request_as(out, sizeof(out), "GET", "/r", "h", "frm_1", -1);
	assert_int_equal(n, strlen(out));
	assert_string_equal(out, "GET /r HTTP/1.1\r\nHost: h\r\n"
				 "Authorization: Bearer frm_1\r\n\r\n");
	for (size_t room = 0; room <= (size_t)n; room++)
		assert_int_equal(http_request_as(out, room, "GET", "/r", "h", "frm_1", -1),
				 -EMSGSIZE);
	assert_int_equal(http_request_as(out, sizeof(out), "GET", "/r", "h", "a\r\nb", -1),
			 -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_at_every_split),
		cmocka_unit_test(pipelined),
		cmocka_unit_test(heads_are_bounded),
		cmocka_unit_test(many_small_chunks),
		cmocka_unit_test(requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
