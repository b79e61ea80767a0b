/*
 * source.h - where chunks and small signed documents come from
 *
 * Implemented by net/client over HTTP, by tools over a directory, by tests
 * over a fake that is late, short, corrupt or gone. One owner calls
 * everything: in the VMM that is the pump.
 *
 * A source hides the network: it reconnects, retries and backs off for ever,
 * refetches what arrives corrupt, and delivers only chunks whose SHA-256 is
 * the one asked for. So a chunk request ends in 0 or -ECANCELED, nothing else;
 * source_status says what a waiting user should be told.
 */
#ifndef STORAGE_CORE_SOURCE_H
#define STORAGE_CORE_SOURCE_H

#include "base/crypto.h"
#include "base/list.h"
#include "base/types.h"
#include "storage/format/sources.h"

enum source_prio {
	SOURCE_DEMAND, /* a guest waits for it */
	SOURCE_AHEAD, /* read-ahead, boot profile */
	SOURCE_FILL, /* background */
};

struct source_req {
	u8 digest[SHA256_BYTES];
	u32 plain_bytes; /* exact length of the chunk */
	void *buf; /* room for plain_bytes; undefined until done() */
	enum source_prio prio;
	/* 0 or -ECANCELED; never called from inside fetch() */
	void (*done)(struct source_req *r, int err);
	void *owner;
	struct list link; /* the source's while submitted */
	u64 scratch[2]; /* the source's while submitted */
};

/*
 * A small document: "/v1/boot?..." or "/v1/manifest/<hex>". The answer is not
 * verified here, the caller checks its signature. One attempt a call.
 */
struct source_doc {
	char path[256];
	void *buf;
	u32 room; /* answer longer than this: -EMSGSIZE */
	u32 bytes; /* out */
	u32 http_status; /* out; 0 when there was no answer */
	/* 0; -ENOENT (404); -EIO (other status); -ETIMEDOUT, -ECONNREFUSED,
	 * -ENETUNREACH ... no answer; -EMSGSIZE; -EPROTO; -ECANCELED */
	void (*done)(struct source_doc *d, int err);
	void *owner;
	struct list link;
	u64 scratch[2];
};

enum source_state {
	SOURCE_DOWN, /* no link or no address yet */
	SOURCE_CONNECTING,
	SOURCE_UP,
	SOURCE_RETRYING, /* it worked or not, and now it does not; backing off */
};

struct source_status {
	enum source_state state;
	bool link_up;
	u32 ip; /* our address, host order; 0: none */
	int last_err; /* why the last attempt failed, 0 if none did */
	char what[64]; /* for people: "no answer from 10.0.2.2:8080" */
	u64 wire_bytes; /* bodies received, compressed */
	u64 plain_bytes; /* verified bytes delivered */
	u64 chunks, corrupt, retries;
};

struct source;

struct source_ops {
	void (*fetch)(struct source *s, struct source_req *r);
	/* Move a waiting request to another priority; no-op if on the wire. */
	void (*reprioritise)(struct source *s, struct source_req *r, enum source_prio p);
	void (*cancel)(struct source *s, struct source_req *r); /* done(-ECANCELED) later */
	void (*get)(struct source *s, struct source_doc *d);
	/* Best effort; @body is copied. */
	void (*post)(struct source *s, const char *path, const void *body, u32 bytes);
	void (*status)(struct source *s, struct source_status *out);
	/*
	 * The site has said, signed, that it is at least @unix_seconds. NULL: the
	 * source does not care.
	 */
	void (*signed_time)(struct source *s, u64 unix_seconds);
	/*
	 * Who asks: goes with documents and reports, over TLS alone. Copied; NULL:
	 * nobody. NULL slot: the source has no use for it.
	 */
	void (*credential)(struct source *s, const char *bearer);
	/*
	 * Where else the site has said, signed, that chunk objects lie; instead of what
	 * it said before. Copied. NULL slot: the source has no use for it.
	 */
	void (*sources)(struct source *s, const struct sources *list);
	void (*poll)(struct source *s);
};

struct source {
	const struct source_ops *ops;
};

#endif
