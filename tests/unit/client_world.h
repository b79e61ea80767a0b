/*
 * client_world.h - a client, a server and the wire between them, for tests
 */
#ifndef TESTS_UNIT_CLIENT_WORLD_H
#define TESTS_UNIT_CLIENT_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/plat.h"
#include "net/client/client.h"
#include "net/stack/stack.h"
#include "tests/fakes/net_httpd.h"
#include "tests/fakes/net_mirror.h"

#define CHUNKS 64
#define CHUNK_BYTES 65536u

struct world {
	struct mirror wire;
	struct httpd web;
	struct source *src;
	u8 *plain[CHUNKS], *object[CHUNKS];
	u32 object_bytes[CHUNKS];
	u8 digest[CHUNKS][SHA256_BYTES];
	struct source_req req[CHUNKS];
	u8 *buf[CHUNKS];
	u32 done, cancelled;
	int order[CHUNKS * 4];
	u32 orders;
	u32 asked[CHUNKS]; /* requests the server saw */
	int served[4096]; /* in this order */
	u32 serves;
	/* the fault of the moment */
	bool (*fault)(struct world *w, int chunk, struct httpd_reply *r);
	u32 fault_count;
	char last_post[64];
	u32 posts;
	/* a document */
	struct source_doc doc;
	char doc_buf[256];
	int doc_err;
	bool doc_done;
};

extern struct world *w;
extern struct ssl_ctx_st *world_tls; /* from setup() on the server speaks TLS with it */
extern const struct client_opts world_client;

int setup(void **state);
int setup_with(struct stack_opts so, struct client_opts co);
int teardown(void **state);
void fetch(u32 i, enum source_prio prio);
void get(const char *path, u32 room);
struct source_status status(void);
void step(void); /* one turn of the world */
void run_for(u64 ns);

#define run_until(cond, seconds)                                               \
	do {                                                                   \
		u64 _end = plat_time_ns() + (seconds) * NS_PER_SEC;            \
		u32 _n = 0;                                                    \
		while (!(cond)) {                                              \
			if (plat_time_ns() >= _end || _n++ > 2000000)          \
				fail_msg("not in time: %s (done %u)", #cond, w->done); \
			step();                                                \
		}                                                              \
	} while (0)

#endif
