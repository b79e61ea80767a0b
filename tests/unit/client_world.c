/*
 * client_world.c - see client_world.h
 */
#include "tests/unit/client_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/plat_host.h"
#include "storage/format/chunk.h"
#include "tests/fakes/net_tlsd.h"

struct world *w;
struct ssl_ctx_st *world_tls;
const struct client_opts world_client = { .ip = MIRROR_IP, .port = 8080 };

static int chunk_of(const char *request)
{
	char hex[65];

	for (int i = 0; i < CHUNKS; i++) {
		fmt_hex(hex, w->digest[i], 32);
		if (strstr(request, hex))
			return i;
	}
	return -1;
}

static void handle(void *ctx, const char *request, struct httpd_reply *r)
{
	int i = chunk_of(request);

	(void)ctx;
	if (!strncmp(request, "POST ", 5)) {
		w->posts++;
		snprintf(w->last_post, sizeof(w->last_post), "%s", request);
		r->status = 204;
		return;
	}
	if (i >= 0) {
		w->asked[i]++;
		w->served[w->serves++ % 4096] = i;
		r->body = w->object[i];
		r->bytes = w->object_bytes[i];
	} else if (strstr(request, "/v1/boot?")) {
		r->body = "freshet-ticket 1\n";
		r->bytes = 17;
	} else if (strstr(request, "/v1/big")) {
		static char big[1000];

		r->body = big;
		r->bytes = sizeof(big);
	} else {
		r->status = 404;
	}
	if (w->fault && w->fault(w, i, r))
		w->fault_count++;
}

static void req_done(struct source_req *r, int err)
{
	u32 i = (u32)(r - w->req);

	w->order[w->orders++] = (int)i;
	if (err == -ECANCELED) {
		w->cancelled++;
		return;
	}
	assert_int_equal(err, 0);
	assert_memory_equal(r->buf, w->plain[i], r->plain_bytes);
	w->done++;
}

static void doc_done(struct source_doc *d, int err)
{
	(void)d;
	w->doc_err = err;
	w->doc_done = true;
}

void fetch(u32 i, enum source_prio prio)
{
	w->req[i] = (struct source_req){ .plain_bytes = CHUNK_BYTES, .buf = w->buf[i],
					 .prio = prio, .done = req_done };
	memcpy(w->req[i].digest, w->digest[i], SHA256_BYTES);
	memset(w->buf[i], 0xee, CHUNK_BYTES);
	w->src->ops->fetch(w->src, &w->req[i]);
}

void get(const char *path, u32 room)
{
	memset(&w->doc, 0, sizeof(w->doc));
	snprintf(w->doc.path, sizeof(w->doc.path), "%s", path);
	w->doc.buf = w->doc_buf;
	w->doc.room = room;
	w->doc.done = doc_done;
	w->doc_done = false;
	w->src->ops->get(w->src, &w->doc);
}

/* One turn of the world; false when nothing will ever happen again. */
void step(void)
{
	u64 next, now = plat_time_ns();

	w->src->ops->poll(w->src);
	httpd_poll(&w->web);
	if (client_busy(w->src))
		return;
	next = MIN(client_deadline_ns(w->src), mirror_next_ns(&w->wire));
	next = MIN(next, httpd_next_ns(&w->web));
	plat_host_now_ns = MAX(next, now + 1000);
}

void run_for(u64 ns)
{
	u64 end = plat_time_ns() + ns;

	while (plat_time_ns() < end)
		step();
}

/* Half of the chunks compress well, half not at all. */
static void make_chunks(void)
{
	u32 seed = 1;

	for (u32 i = 0; i < CHUNKS; i++) {
		w->plain[i] = malloc(CHUNK_BYTES);
		w->object[i] = malloc(CHUNK_BYTES + CHUNK_HEADER_BYTES);
		w->buf[i] = malloc(CHUNK_BYTES);
		for (u32 j = 0; j < CHUNK_BYTES; j++) {
			seed = seed * 1664525 + 1013904223;
			w->plain[i][j] = i & 1 ? (u8)(seed >> 24) : (u8)(j / 64 + i);
		}
		crypto_sha256(w->digest[i], w->plain[i], CHUNK_BYTES);
		w->object_bytes[i] = (u32)chunk_encode(w->plain[i], CHUNK_BYTES, 6, w->object[i]);
	}
}

static u8 site_key[1][P256_PUB_BYTES];

int setup_with(struct stack_opts so, struct client_opts co)
{
	w = calloc(1, sizeof(*w));
	plat_host_quiet = !getenv("NOISY");
	if (!plat_host_now_ns)
		plat_host_now_ns = 1000 * NS_PER_SEC;
	mirror_init(&w->wire);
	make_chunks();
	w->web.handle = handle;
	if (stack_start(&w->wire.dev, &so))
		return -1;
	w->web.tls = world_tls;
	if (world_tls) {
		tlsd_site_key(site_key[0]);
		co.keys = site_key;
		co.nkeys = 1;
	}
	httpd_start(&w->web, 8080);
	return client_create(&co, &w->src);
}

static const struct stack_opts fixed = { .ip = MIRROR_OUR_IP, .mask = 0xffffff00 };

int setup(void **state)
{
	(void)state;
	return setup_with(fixed, world_client);
}

int teardown(void **state)
{
	u64 end;

	(void)state;
	client_destroy(w->src);
	httpd_stop(&w->web);
	/* let the pcbs die: their buffers are lwIP's, and the next test wants them */
	end = plat_time_ns() + 20 * NS_PER_SEC;
	while (plat_time_ns() < end) {
		stack_poll();
		plat_host_now_ns += 50 * NS_PER_MS;
	}
	mirror_fini(&w->wire);
	stack_stop();
	for (u32 i = 0; i < CHUNKS; i++) {
		free(w->plain[i]);
		free(w->object[i]);
		free(w->buf[i]);
	}
	free(w);
	return 0;
}

struct source_status status(void)
{
	struct source_status st;

	w->src->ops->status(w->src, &st);
	return st;
}
