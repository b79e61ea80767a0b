/*
 * site.h - everything that answers are made from
 */
#ifndef SERVER_SITE_H
#define SERVER_SITE_H

#include "base/crypto_sign.h"
#include "base/list.h"
#include "server/config.h"
#include "server/data/datadir.h"
#include "server/data/digestset.h"
#include "server/fault.h"
#include "server/fleet/fleet.h"
#include "server/limit.h"
#include "server/reply.h"
#include "server/request.h"

#define SITE_UPLOAD_MAX (8 * MIB) /* a manifest of 16 TiB is less, a chunk far less */

struct jobs;
struct cache;

struct site_counts {
	u64 replies[6]; /* by hundreds of the status */
	u64 bytes, objects, object_bytes, tickets, uploads, limited;
	u64 fetches, fetch_errors; /* of objects that lie elsewhere */
};

struct site {
	struct datadir dir;
	const char *key_path;
	struct crypto_key *key;
	u8 pub[P256_PUB_BYTES];
	struct config conf;
	struct fleet *fleet; /* NULL: damaged or not recorded */
	struct jobs *jobs;
	struct jobs *fetchers; /* of objects that lie elsewhere; NULL: they are here */
	struct list fetches;   /* under way */
	struct limit api_limit, login_limit, boot_limit;
	struct site_counts counts;
	struct faults faults;
	struct cache *cache; /* of open objects; NULL: none */
	struct digestset verified; /* objects that were looked at since the start */
	u8 last_chunk[SHA256_BYTES]; /* served before; what wrong-chunk answers with */
	u64 start_ns;
	/* Sends text to all event streams, and how many of those and connections there are. */
	void (*publish)(void *arg, const char *text, size_t bytes);
	u32 (*load)(void *arg, u32 *streams);
	void *publish_arg;
};

/* A request with everything that came with it. */
struct site_request {
	const struct request *head;
	const u8 *body; /* head->body_bytes */
	const char *address;
	bool loopback, tls;
	/* Set by api.c once it knows. */
	enum fleet_role role;
	char who[64];
};

int site_load_key(struct site *s);
int site_check(struct site *s);
void site_answer(struct site *s, struct site_request *q, struct reply *r);
u64 site_body_max(struct site *s, const struct request *head);
void site_refuse(const struct request *head, int status, struct reply *r);
void site_count(struct site *s, const struct reply *r, u64 bytes);
int site_status_of(int err);
void site_tell_damaged(struct site *s, const u8 digest[SHA256_BYTES]);

int site_ticket(struct site *s, const struct site_request *q, bool stale, struct reply *r);

#endif
