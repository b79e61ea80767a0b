/* server/request.c and server/fault.c: heads of requests, query parameters, faults on purpose. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "server/fault.h"
#include "server/request.h"

/* Parse from memory of exactly the right size, so that a sanitizer sees any byte too far. */
static int parse(const char *text, size_t bytes, struct request *r, size_t *used, int *status)
{
	char *copy = malloc(bytes ? bytes : 1);
	int err;

	memcpy(copy, text, bytes);
	err = request_parse(r, copy, bytes, used, status);
	free(copy);
	return err;
}

static void good(const char *text, struct request *r)
{
	size_t used;
	int status;

	assert_int_equal(parse(text, strlen(text), r, &used, &status), 0);
	assert_int_equal(used, strlen(text));
	/* No prefix of it is a request, and none is refused. */
	for (size_t n = 0; n < strlen(text); n++)
		assert_int_equal(parse(text, n, r, &used, &status), -EAGAIN);
	assert_int_equal(parse(text, strlen(text), r, &used, &status), 0);
}

static void bad(const char *text, int want)
{
	struct request r;
	size_t used;
	int status = 0;

	assert_int_equal(parse(text, strlen(text), &r, &used, &status), -EBADMSG);
	assert_int_equal(status, want);
}

static void request_good(void **state)
{
	struct request r;

	(void)state;
	good("GET / HTTP/1.1\r\nHost: x\r\n\r\n", &r);
	assert_int_equal(r.method, METHOD_GET);
	assert_string_equal(r.path, "/");
	assert_string_equal(r.query, "");
	assert_true(r.keep_alive);
	assert_int_equal(r.body_bytes, 0);

	good("POST /v1/report?a=b HTTP/1.1\r\nhOST:x\r\nContent-Length:  17 \r\n"
	     "Connection: a , CLOSE\r\nExpect: 100-continue\r\n\r\n", &r);
	assert_int_equal(r.method, METHOD_POST);
	assert_string_equal(r.path, "/v1/report");
	assert_string_equal(r.query, "a=b");
	assert_false(r.keep_alive);
	assert_true(r.expect_continue);
	assert_int_equal(r.body_bytes, 17);

	good("HEAD /x HTTP/1.0\r\n\r\n", &r);
	assert_int_equal(r.method, METHOD_HEAD);
	assert_false(r.keep_alive);
	good("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &r);
	assert_true(r.keep_alive);
	good("GET http://host:80/x?y HTTP/1.1\r\nHost: host\r\n\r\n", &r);
	assert_string_equal(r.path, "/x");
	assert_string_equal(r.query, "y");
	good("\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", &r);
	good("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", &r);
	assert_int_equal(r.body_bytes, 5);
}

static void request_takes_one(void **state)
{
	const char *two = "GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n";
	struct request r;
	size_t used;
	int status;

	(void)state;
	assert_int_equal(parse(two, strlen(two), &r, &used, &status), 0);
	assert_string_equal(r.path, "/a");
	assert_int_equal(used, strlen(two) / 2);
	assert_int_equal(parse(two + used, strlen(two) - used, &r, &used, &status), 0);
	assert_string_equal(r.path, "/b");
}

static void request_bad(void **state)
{
	(void)state;
	bad("GET / HTTP/1.1\r\n\r\n", 400);
	bad("GET / HTTP/1.1\nHost: x\n\n", 400);
	bad("GET / HTTP/1.1\r\nHost: x\n\r\n", 400);
	bad("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400);
	bad("GET / HTTP/1.2\r\n", 505);
	bad("GET / HTTP/11\r\n", 400);
	bad("GET / http/1.1\r\n", 400);
	bad("GET /\r\n", 400);
	bad(" GET / HTTP/1.1\r\n", 400);
	bad("get / HTTP/1.1\r\n", 501);
	bad("GET  / HTTP/1.1\r\n", 400);
	bad("GET /a b HTTP/1.1\r\n", 400);
	bad("GET /a#b HTTP/1.1\r\n", 400);
	bad("GET a HTTP/1.1\r\n", 400);
	bad("GET http://x HTTP/1.1\r\n", 400);
	bad("GET /\x80 HTTP/1.1\r\n", 400);
	bad("GET / HTTP/1.1\r\nA : b\r\n", 400);
	bad("GET / HTTP/1.1\r\n: b\r\n", 400);
	bad("GET / HTTP/1.1\r\nA: b\r\n c\r\n", 400);
	bad("GET / HTTP/1.1\r\nA: b\rc\r\n", 400);
	bad("GET / HTTP/1.1\r\nContent-Length: \r\n", 400);
	bad("GET / HTTP/1.1\r\nContent-Length: 1,1\r\n", 400);
	bad("GET / HTTP/1.1\r\nContent-Length: +1\r\n", 400);
	bad("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n", 400);
	bad("GET / HTTP/1.1\r\nContent-Length: 1000000000000000\r\n", 400);
	bad("GET / HTTP/1.1\r\nTransfer-Encoding: identity\r\n", 501);
	bad("GET / HTTP/1.1\r\nExpect: wonders\r\n", 417);
}

/* The longest that is taken, and one byte more. */
static void request_limits(void **state)
{
	static char text[REQUEST_HEAD_MAX + 64];
	struct request r;
	size_t used, n;
	int status;

	(void)state;
	n = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: x\r\nA: ");
	memset(text + n, 'a', sizeof(text) - n);
	memcpy(text + REQUEST_HEAD_MAX - 4, "\r\n\r\n", 4);
	assert_int_equal(parse(text, REQUEST_HEAD_MAX, &r, &used, &status), 0);
	assert_int_equal(used, REQUEST_HEAD_MAX);
	memcpy(text + REQUEST_HEAD_MAX - 4, "a\r\n\r\n", 5);
	assert_int_equal(parse(text, REQUEST_HEAD_MAX + 1, &r, &used, &status), -EBADMSG);
	assert_int_equal(status, 431);

	for (size_t len = REQUEST_PATH_MAX - 2; len <= REQUEST_PATH_MAX + 1; len++) {
		memcpy(text, "GET ", 4);
		memset(text + 4, '/', len);
		strcpy(text + 4 + len, " HTTP/1.1\r\nHost: x\r\n\r\n");
		if (len < REQUEST_PATH_MAX) {
			good(text, &r);
			assert_int_equal(strlen(r.path), len);
		} else {
			bad(text, 414);
		}
	}
	for (size_t len = REQUEST_QUERY_MAX - 2; len <= REQUEST_QUERY_MAX + 1; len++) {
		memcpy(text, "GET /?", 6);
		memset(text + 6, 'q', len);
		strcpy(text + 6 + len, " HTTP/1.1\r\nHost: x\r\n\r\n");
		if (len < REQUEST_QUERY_MAX)
			good(text, &r);
		else
			bad(text, 414);
	}
}

static void request_params(void **state)
{
	struct request r = { .query = "a=1&bb=x%20y+z&empty=&a2=7&c=%4&d=%00&dd=1&dd=2&e=%7e" };
	char out[16];

	(void)state;
	assert_int_equal(request_param(&r, "a", out, sizeof(out)), 0);
	assert_string_equal(out, "1");
	assert_int_equal(request_param(&r, "bb", out, sizeof(out)), 0);
	assert_string_equal(out, "x y z");
	assert_int_equal(request_param(&r, "empty", out, sizeof(out)), 0);
	assert_string_equal(out, "");
	assert_int_equal(request_param(&r, "e", out, sizeof(out)), 0);
	assert_string_equal(out, "~");
	assert_int_equal(request_param(&r, "b", out, sizeof(out)), -ENOENT);
	assert_int_equal(request_param(&r, "c", out, sizeof(out)), -EBADMSG);
	assert_int_equal(request_param(&r, "d", out, sizeof(out)), -EBADMSG);
	assert_int_equal(request_param(&r, "dd", out, sizeof(out)), -EEXIST);
	assert_int_equal(request_param(&r, "bb", out, 6), 0);
	assert_int_equal(request_param(&r, "bb", out, 5), -EMSGSIZE);
	strcpy(r.query, "x=%");
	assert_int_equal(request_param(&r, "x", out, sizeof(out)), -EBADMSG);
	strcpy(r.query, "x=%41");
	assert_int_equal(request_param(&r, "x", out, sizeof(out)), 0);
	assert_string_equal(out, "A");
}

static void fault_specs(void **state)
{
	struct faults f = { 0 };

	(void)state;
	assert_int_equal(fault_add(&f, "404:/v1/chunk:10"), 0);
	assert_int_equal(f.list[0].kind, FAULT_STATUS);
	assert_int_equal(f.list[0].status, 404);
	assert_string_equal(f.list[0].prefix, "/v1/chunk");
	assert_int_equal(f.list[0].count, 10);
	assert_int_equal(fault_add(&f, "delay:250:p=30:after=2"), 0);
	assert_int_equal(f.list[1].ms, 250);
	assert_int_equal(f.list[1].percent, 30);
	assert_int_equal(f.list[1].after, 2);
	for (size_t i = 0; i < 8; i++) {
		static const char *const wrong[] = { "",       "frob",	"399",	     "600",
						     "500:p=", "cut:x", "404:after", "404::" };

		assert_int_equal(fault_add(&f, wrong[i]), -EINVAL);
	}
	assert_int_equal(f.count, 2);
	while (f.count < FAULTS_MAX)
		assert_int_equal(fault_add(&f, "500"), 0);
	assert_int_equal(fault_add(&f, "500"), -ENOSPC);
}

static void fault_picks(void **state)
{
	struct faults f = { 0 };
	struct fault_hit h;

	(void)state;
	h = fault_pick(&f, "/x");
	assert_int_equal(h.kind, FAULT_NONE);
	fault_add(&f, "delay:/v1:10");
	fault_add(&f, "delay:5");
	fault_add(&f, "cut:/v1/chunk:after=1:count=2");
	fault_add(&f, "500:/v1/chunk:1");
	for (int i = 0; i < 5; i++) {
		static const enum fault_kind want[] = { FAULT_STATUS, FAULT_CUT, FAULT_CUT,
							FAULT_NONE, FAULT_NONE };

		h = fault_pick(&f, "/v1/chunk/0");
		assert_int_equal(h.kind, want[i]);
		assert_int_equal(h.delay_ms, 15);
	}
	h = fault_pick(&f, "/freshet.efi");
	assert_int_equal(h.kind, FAULT_NONE);
	assert_int_equal(h.delay_ms, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_good),	  cmocka_unit_test(request_takes_one),
		cmocka_unit_test(request_bad),	  cmocka_unit_test(request_limits),
		cmocka_unit_test(request_params), cmocka_unit_test(fault_specs),
		cmocka_unit_test(fault_picks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
