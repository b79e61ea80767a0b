/*
 * client.h - a chunk source over pipelined HTTP connections (source.h)
 *
 * source_ops.poll() advances everything below it as well: the network card,
 * lwIP, its timers. So the pump needs three calls: poll, busy, deadline.
 */
#ifndef NET_CLIENT_CLIENT_H
#define NET_CLIENT_CLIENT_H

#include "storage/core/source.h"

#define CLIENT_CONNS_MAX 4
#define CLIENT_DEPTH_MAX 8

struct client_opts {
	u32 ip; /* the server, host order */
	u16 port;
	u32 conns; /* 0: the default, 3 */
	u32 depth; /* requests under way on one connection; 0: the default, 6 */
	u32 budget_bytes; /* plain bytes made in one poll before it returns; 0: 64 KiB */
	/* TLS, with a server whose certificate one of these has signed; nkeys 0: plain HTTP */
	const u8 (*keys)[P256_PUB_BYTES];
	u32 nkeys;
};

/**
 * client_create() - a source that fetches from one server
 *
 * The stack is started separately and may come up later. Memory: about
 * 49 KiB a connection and 40 KiB more; none afterwards.
 * Return: 0, -EINVAL, -ENOMEM.
 */
int client_create(const struct client_opts *opts, struct source **out);

/** client_busy() - poll() again without waiting for anything */
bool client_busy(struct source *s);

/**
 * client_pending() - the most urgent thing that waits for the network
 *
 * Return: enum source_prio of a chunk request; SOURCE_FILL for documents and
 * reports; -1 when nothing is asked for: then no timer matters to anybody.
 */
int client_pending(struct source *s);

/** client_idle() - nothing waits to be sent and no answer is due, reports included */
bool client_idle(struct source *s);

/**
 * client_deadline_ns() - when poll() must run even if no frame arrives
 *
 * Absolute, as plat_time_ns(); includes the stack's. A minute away when there
 * is nothing to wait for.
 */
u64 client_deadline_ns(struct source *s);

/** client_destroy() - drop connections without calling back; for tests and tools */
void client_destroy(struct source *s);

struct client_counters {
	u64 connects, lost, timeouts, http_errors, requests, posts_dropped;
};
const struct client_counters *client_counters(struct source *s);

#endif
