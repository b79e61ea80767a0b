/*
 * httpd.h - connections: bytes to requests, replies to bytes
 */
#ifndef SERVER_HTTPD_H
#define SERVER_HTTPD_H

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
int httpd_listen(struct httpd *h, const char *address);
void httpd_stop(struct httpd *h);
u32 httpd_connections(const struct httpd *h);
void httpd_destroy(struct httpd *h);

#endif
