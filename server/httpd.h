/*
 * httpd.h - connections: bytes to requests, replies to bytes
 */
#ifndef SERVER_HTTPD_H
#define SERVER_HTTPD_H

#include <openssl/ssl.h>

#include "server/site.h"

struct event_base;
struct httpd;

struct httpd_limits {
	u32 connections;
	u32 idle_s;    /* between requests */
	u32 request_s; /* from a request's first byte to its last */
	u32 stall_s;   /* the peer takes nothing of what we send */
};

extern const struct httpd_limits httpd_limits_default;

int httpd_create(struct httpd **out, struct event_base *base, struct site *site,
		 const struct httpd_limits *limits);
int httpd_listen(struct httpd *h, const char *address, SSL_CTX *tls);
void httpd_publish(struct httpd *h, const char *text, size_t bytes);
void httpd_job_done(void *conn, struct reply *r);
void httpd_stop(struct httpd *h);
u32 httpd_connections(const struct httpd *h);
u32 httpd_streams(const struct httpd *h);
void httpd_destroy(struct httpd *h);

#endif
