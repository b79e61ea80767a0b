/*
 * site.h - everything that answers are made from
 */
#ifndef SERVER_SITE_H
#define SERVER_SITE_H

#include "base/crypto_sign.h"
#include "server/data/datadir.h"
#include "server/fault.h"
#include "server/fleet.h"
#include "server/reply.h"
#include "server/request.h"

struct site {
	struct datadir dir;
	const char *key_path;
	struct crypto_key *key;
	u8 pub[P256_PUB_BYTES];
	struct fleet *fleet; /* NULL: not recorded */
	struct faults faults;
	u8 last_chunk[SHA256_BYTES]; /* served before; what wrong-chunk answers with */
};

/* A request with everything that came with it. */
struct site_request {
	const struct request *head;
	const u8 *body; /* head->body_bytes */
	const char *address;
	bool loopback;
};

int site_load_key(struct site *s);
int site_check(struct site *s);
void site_answer(struct site *s, const struct site_request *q, struct reply *r);

int site_ticket(struct site *s, const struct site_request *q, bool stale, struct reply *r);

#endif
