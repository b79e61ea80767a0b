/*
 * The client over TLS where it must not go on: servers of others, versions and
 * suites of others, connections that are cut at any byte; and what a handshake
 * costs. client_test.c tries all that is the same as over plain HTTP.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/crypto_arena.h"
#include "base/err.h"
#include "base/plat_host.h"
#include "net/client/tls.h"
#include "tests/fakes/net_tlsd.h"
#include "tests/unit/client_world.h"

/* ---------------------------------------------------------------- whom we refuse */

struct bad_case {
	const char *name;
	struct tlsd_cert cert;
	int err;
	const char *what; /* part of what people are told */
};

#define NOT_OURS "not this site's server"
#define NO_TLS "does not speak TLS with us"

static const struct bad_case bad_cases[] = {
	{ "right", { 0 }, 0, "connected" },
	{ "other key, same names", { .wrong_ca_key = true }, -EKEYREJECTED, NOT_OURS },
	{ "self-signed", { .self_signed = true }, -EKEYREJECTED, NOT_OURS },
	{ "changed after signing", { .tampered = true }, -EKEYREJECTED, NOT_OURS },
	{ "no name", { .no_names = true }, -EKEYREJECTED, NOT_OURS },
	{ "other name", { .other_name = true }, -EKEYREJECTED, NOT_OURS },
	{ "address as a host name", { .dns_name = true }, -EKEYREJECTED, NOT_OURS },
	{ "for clients", { .client_only = true }, -EKEYREJECTED, NOT_OURS },
	{ "the authority itself", { .ca_itself = true }, -EOPNOTSUPP, NO_TLS },
	{ "an authority in between", { .in_between = true }, -EKEYREJECTED, NOT_OURS },
	{ "other digest", { .sha384 = true }, -EKEYREJECTED, NOT_OURS },
	{ "RSA", { .rsa = true }, -EOPNOTSUPP, NO_TLS },
	{ "other curve", { .p384 = true }, -EOPNOTSUPP, NO_TLS },
	{ "TLS 1.1 at most", { .min_version = TLS1_VERSION, .max_version = TLS1_1_VERSION },
	  -EOPNOTSUPP, NO_TLS },
	{ "TLS 1.3 at least", { .min_version = TLS1_3_VERSION }, -EOPNOTSUPP, NO_TLS },
	{ "other suites", { .max_version = TLS1_2_VERSION, .ciphers = "ECDHE+AESGCM" },
	  -EOPNOTSUPP, NO_TLS },
	{ "no encryption", { .max_version = TLS1_2_VERSION, .ciphers = "eNULL" }, -EOPNOTSUPP,
	  NO_TLS },
};

static void refuses_wrong_servers(void **state)
{
	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(bad_cases); i++) {
		const struct bad_case *b = &bad_cases[i];

		world_tls = tlsd_context(&b->cert);
		setup(NULL);
		get("/v1/boot?uuid=1", 256);
		run_until(w->doc_done, 12);
		if (w->doc_err != b->err)
			fail_msg("%s: %s instead of %s", b->name, err_name(w->doc_err),
				 err_name(b->err));
		if (b->what && !strstr(status().what, b->what))
			fail_msg("%s: \"%s\"", b->name, status().what);
		/* not a byte of a request goes to them */
		if (b->err && w->web.requests)
			fail_msg("%s: it saw a request", b->name);
		teardown(NULL);
		SSL_CTX_free(world_tls);
		world_tls = NULL;
	}
}

static void plain_http_server(void **state)
{
	(void)state;
	world_tls = tlsd_context(&(struct tlsd_cert){ 0 });
	setup(NULL);
	w->web.tls = NULL;
	get("/v1/boot?uuid=1", 256);
	/* it waits for an end of our "request", as HTTP servers do: silence */
	run_until(w->doc_done, 30);
	assert_int_equal(w->doc_err, -ETIMEDOUT);
	teardown(NULL);
	SSL_CTX_free(world_tls);
}

/* The one clock: what the site has signed last. */
static void ended_before_the_last_ticket(void **state)
{
	u64 now = (u64)time(NULL);

	(void)state;
	world_tls = tlsd_context(&(struct tlsd_cert){ .ends_in_s = -86400 });
	setup(NULL);
	/* for all that we know it is not over */
	get("/v1/boot?uuid=1", 256);
	run_until(w->doc_done, 5);
	assert_int_equal(w->doc_err, 0);
	w->src->ops->signed_time(w->src, now - 2 * 86400);
	httpd_kill(&w->web);
	get("/v1/boot?uuid=1", 256);
	run_until(w->doc_done, 5);
	assert_int_equal(w->doc_err, 0);
	w->src->ops->signed_time(w->src, now);
	w->src->ops->signed_time(w->src, 5); /* never goes back */
	httpd_kill(&w->web);
	get("/v1/boot?uuid=1", 256);
	run_until(w->doc_done, 5);
	assert_int_equal(w->doc_err, -EKEYREJECTED);
	teardown(NULL);
	SSL_CTX_free(world_tls);
}

static void bad_keys(void **state)
{
	static u8 keys[5][P256_PUB_BYTES];
	struct client_opts o = { .ip = 1, .port = 1, .keys = keys, .nkeys = 1 };
	size_t had = crypto_arena_used(NULL);
	struct source *s;

	(void)state;
	memset(keys, 0x11, sizeof(keys));
	assert_int_equal(client_create(&o, &s), -EINVAL); /* no point of the curve */
	o.nkeys = 5;
	tlsd_site_key(keys[0]);
	assert_int_equal(client_create(&o, &s), -EINVAL);
	assert_int_equal(crypto_arena_used(NULL), had);
}

/* ---------------------------------------------------------------- without a network */

#define TAPE (64 * KIB)

/* A client and a server in memory; everything the server has said. */
struct pair {
	struct tlsd *server;
	u8 tape[TAPE];
	u32 said, heard;
};

static int pair_send(void *ctx, const void *data, size_t bytes)
{
	tlsd_feed(((struct pair *)ctx)->server, data, (u32)bytes);
	return (int)bytes;
}

static int pair_recv(void *ctx, void *out, size_t room)
{
	struct pair *p = ctx;
	u32 n;

	p->said += tlsd_take(p->server, p->tape + p->said, TAPE - p->said);
	n = MIN((u32)room, p->said - p->heard);
	memcpy(out, p->tape + p->heard, n);
	p->heard += n;
	return n ? (int)n : -EAGAIN;
}

static const struct tls_wire pair_wire = { .send = pair_send, .recv = pair_recv };

/*
 * The calls of tls.h by themselves; more in a record than is read at once. With
 * TLS_RECORD=file what the server said is kept for tests/fuzz/tls_client_fuzz.c.
 */
static void by_itself(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));
	SSL_CTX *ctx = tlsd_context(&(struct tlsd_cert){ 0 });
	const char *record = getenv("TLS_RECORD");
	u8 key[1][P256_PUB_BYTES], buf[1000];
	char plain[64];
	struct tls_site *site;
	struct tls *t;
	int err, n = 0;
	u32 got = 0;

	(void)state;
	plat_host_predictable = record;
	p->server = tlsd_create(ctx);
	tlsd_site_key(key[0]);
	assert_int_equal(tls_site_create(&site, key, 1, MIRROR_IP), 0);
	assert_int_equal(tls_create(&t, site, &pair_wire, p), 0);
	assert_int_equal(tls_begin(t), 0);
	while ((err = tls_handshake(t)) == -EAGAIN || err == -EINPROGRESS)
		assert_int_equal(tlsd_read(p->server, plain, sizeof(plain)), 0);
	assert_int_equal(err, 0);
	assert_int_equal(tls_write(t, "question", 8), 0);
	n = tlsd_read(p->server, plain, sizeof(plain));
	assert_int_equal(n, 8);
	assert_memory_equal(plain, "question", 8);
	assert_int_equal(tls_read(t, buf, sizeof(buf)), -EAGAIN);
	tlsd_write(p->server, p->tape, 2500);
	tlsd_shutdown(p->server);
	while ((n = tls_read(t, buf, sizeof(buf))) > 0) {
		got += (u32)n;
		assert_true(tls_pending(t) == (got < 2500));
	}
	assert_int_equal(n, 0);
	assert_int_equal(got, 2500);
	if (record) {
		FILE *f = fopen(record, "w");

		fwrite(key[0], 1, P256_PUB_BYTES, f);
		fwrite(p->tape, 1, p->said, f);
		fclose(f);
	}
	tls_destroy(t);
	tls_site_destroy(site);
	tlsd_free(p->server);
	SSL_CTX_free(ctx);
	free(p);
	plat_host_predictable = false;
	assert_int_equal(crypto_arena_used(NULL), 0);
}

/* ---------------------------------------------------------------- cut anywhere */

static int setup_tls(void **state)
{
	world_tls = tlsd_context(&(struct tlsd_cert){ 0 });
	return setup(state);
}

static int teardown_tls(void **state)
{
	teardown(state);
	SSL_CTX_free(world_tls);
	world_tls = NULL;
	/* no connection has left anything behind */
	return crypto_arena_used(NULL) ? -1 : 0;
}

/*
 * The server's side of a connection ends after so many bytes; the next one is
 * whole. A chunk arrives all the same, and nothing that is wrong.
 */
static void cut_at_every_point(void **state)
{
	u32 done = 0, i = 0;

	(void)state;
	for (s64 at = 1; at < 1500; at += at < 900 ? 7 : 31, i++) {
		w->web.cut_wire_at = at;
		w->web.cut_reset = i & 1;
		fetch(i % CHUNKS, SOURCE_DEMAND);
		run_until(client_counters(w->src)->lost > i, 30);
		w->web.cut_wire_at = 0;
		run_until(w->done == done + 1, 30);
		done++;
		httpd_kill(&w->web);
		run_until(!w->web.open, 5);
		run_for(3 * NS_PER_SEC);
		i = (u32)client_counters(w->src)->lost - 1;
	}
}

/* A body that ends with the connection is whole only when the server says so. */
static void truncation_is_noticed(void **state)
{
	(void)state;
	bool f(struct world *x, int i, struct httpd_reply *r)
	{
		(void)i;
		x->web.rude = x->fault_count < 3;
		return r->no_length = true;
	}
	w->fault = f;
	get("/v1/boot?uuid=1", 256);
	run_until(w->doc_done, 5);
	assert_int_equal(w->doc_err, -ECONNRESET);
	w->fault_count = 3;
	get("/v1/boot?uuid=1", 256);
	run_until(w->doc_done, 5);
	assert_int_equal(w->doc_err, 0);
	assert_int_equal(w->doc.bytes, 17);
}

/* The handshake itself may stall: nobody waits for ever. */
static void silent_in_the_handshake(void **state)
{
	(void)state;
	fetch(0, SOURCE_DEMAND);
	run_until(w->web.accepted == 1, 5);
	w->wire.no_tcp = true;
	run_for(30 * NS_PER_SEC);
	assert_true(client_counters(w->src)->timeouts > 0);
	w->wire.no_tcp = false;
	run_until(w->done == 1, 60);
}

/* ---------------------------------------------------------------- what it costs */

/* Polls between the first byte and the end of the handshake, and the arena at its fullest. */
static void handshake_is_cut_up(void **state)
{
	size_t most, before = crypto_arena_used(NULL);
	u32 polls = 0;

	(void)state;
	get("/v1/boot?uuid=1", 256);
	while (!w->doc_done && polls < 10000) {
		step();
		polls += client_busy(w->src);
	}
	assert_int_equal(w->doc_err, 0);
	crypto_arena_used(&most);
	print_message("handshake: busy_polls=%u arena_before=%zu arena_most=%zu\n", polls, before,
		      most);
	/* about 20000 operations on the curve, in steps of 400 */
	assert_in_range(polls, 30, 120);
	assert_true(most - before < 24 * 1024);
}

/* When there is no memory for a handshake, connections fail, and come back. */
static void arena_full(void **state)
{
	void *all[512];
	u32 n = 0;

	(void)state;
	while (n < ARRAY_SIZE(all) && (all[n] = crypto_arena_calloc(1, 1008)))
		n++;
	assert_true(n < ARRAY_SIZE(all));
	fetch(0, SOURCE_DEMAND);
	run_until(client_counters(w->src)->lost > 3, 30);
	assert_int_equal(w->done, 0);
	/* a little at a time: it fails at all places */
	while (n) {
		crypto_arena_free(all[--n]);
		run_for(NS_PER_SEC);
	}
	run_until(w->done == 1, 30);
}

#define T(f) cmocka_unit_test(f)
#define TT(f) cmocka_unit_test_setup_teardown(f, setup_tls, teardown_tls)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(refuses_wrong_servers),
		T(plain_http_server),
		T(ended_before_the_last_ticket),
		T(bad_keys),
		T(by_itself),
		TT(cut_at_every_point),
		TT(truncation_is_noticed),
		TT(silent_in_the_handshake),
		TT(handshake_is_cut_up),
		TT(arena_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
