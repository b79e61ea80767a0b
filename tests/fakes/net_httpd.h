/*
 * net_httpd.h - a small HTTP server on lwIP's raw API that can misbehave
 *
 * Runs in the same lwIP instance as the code under test, behind the mirror.
 * The test's handler decides every answer.
 */
#ifndef TESTS_FAKES_NET_HTTPD_H
#define TESTS_FAKES_NET_HTTPD_H

#include "base/types.h"

struct httpd_reply {
	u32 status; /* default 200 */
	const void *body; /* copied */
	u32 bytes;
	bool chunked; /* in pieces of 1000 bytes */
	bool close; /* Connection: close, and close after it */
	bool no_length; /* body ends with the connection */
	s64 cut_at; /* >= 0: send so many bytes of the response, then end */
	bool cut_reset; /* ... by RST instead of FIN */
	const char *garbage; /* instead of a response */
	u64 delay_ns; /* before the first byte */
	bool silent; /* no answer, nothing after it either */
	u32 dribble; /* so many bytes per second, 0: all at once */
};

struct httpd {
	/* "GET /path" or "POST /path"; fill in *r (zeroed, cut_at -1) */
	void (*handle)(void *ctx, const char *request, struct httpd_reply *r);
	void *ctx;
	u32 accepted, requests, open, most_open, most_pipelined;
	bool refuse; /* new connections get RST */
	struct ssl_ctx_st *tls; /* NULL: plain HTTP */
	s64 cut_wire_at; /* > 0: end a connection after so many bytes of TLS */
	bool cut_reset; /* ... by RST instead of FIN */
	bool rude; /* no close_notify */
	void *listener; /* the fake's own */
};

void httpd_start(struct httpd *h, u16 port);
void httpd_stop(struct httpd *h);
void httpd_kill(struct httpd *h); /* reset every connection of it; go on listening */
void httpd_poll(struct httpd *h); /* of all servers, and so is next_ns */
u64 httpd_next_ns(struct httpd *h); /* when poll() has something to do */

#endif
