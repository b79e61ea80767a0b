/*
 * net/client over lwIP over a mirrored wire, against a server that misbehaves:
 * once over plain HTTP and once over TLS.
 *
 * The clock is virtual and only moves to the next deadline that the code
 * itself names, so a wrong deadline shows as a test that never ends.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/plat_host.h"
#include "net/stack/stack.h"
#include "tests/fakes/net_tlsd.h"
#include "tests/unit/client_world.h"

/* ---------------------------------------------------------------- the good days */

static void fetches_all(void **state)
{
	(void)state;
	for (u32 i = 0; i < CHUNKS; i++)
		fetch(i, SOURCE_DEMAND);
	assert_int_equal(w->done, 0);
	run_until(w->done == CHUNKS, 10);
	assert_int_equal(status().chunks, CHUNKS);
	assert_int_equal(status().plain_bytes, CHUNKS * CHUNK_BYTES);
	assert_int_equal(status().corrupt, 0);
	assert_int_equal(status().state, SOURCE_UP);
	assert_true(status().wire_bytes < CHUNKS * CHUNK_BYTES);
	assert_true(w->web.most_pipelined > 1);
	assert_in_range(w->web.accepted, 1, 3);
}

static void chunked_coding_works(void **state)
{
	(void)state;
	bool f(struct world *x, int i, struct httpd_reply *r)
	{
		(void)x;
		(void)i;
		return r->chunked = true;
	}
	w->fault = f;
	for (u32 i = 0; i < 8; i++)
		fetch(i, SOURCE_DEMAND);
	run_until(w->done == 8, 10);
	assert_int_equal(client_counters(w->src)->lost, 0);
}

static void close_after_each_works(void **state)
{
	(void)state;
	bool f(struct world *x, int i, struct httpd_reply *r)
	{
		(void)x;
		r->close = i % 2;
		return r->no_length = !(i % 2);
	}
	w->fault = f;
	for (u32 i = 0; i < 16; i++)
		fetch(i, SOURCE_DEMAND);
	run_until(w->done == 16, 20);
	assert_int_equal(status().corrupt, 0);
}

static void demand_passes_fill(void **state)
{
	(void)state;
	for (u32 i = 0; i < 60; i++)
		fetch(i, SOURCE_FILL);
	run_until(w->done >= 4, 10);
	u32 at = w->orders;

	for (u32 i = 60; i < 64; i++)
		fetch(i, SOURCE_DEMAND);
	run_until(w->done == 64, 20);
	/* all four within what was on the wire already and themselves */
	u32 seen = 0, soon = world_tls ? 16 : 12; /* handshakes leave their windows smaller */

	for (u32 i = at; i < at + soon; i++)
		seen += w->order[i] >= 60;
	assert_int_equal(seen, 4);
}

static void reprioritise_moves_a_waiting_one(void **state)
{
	(void)state;
	for (u32 i = 0; i < 60; i++)
		fetch(i, SOURCE_FILL);
	run_until(w->done >= 2, 10);
	u32 at = w->orders;

	w->src->ops->reprioritise(w->src, &w->req[59], SOURCE_DEMAND);
	run_until(w->done == 60, 20);
	u32 pos = 0;

	while (w->order[pos] != 59)
		pos++;
	assert_true(pos < at + 10);
}

static void cancel_anywhere(void **state)
{
	(void)state;
	for (u32 i = 0; i < 40; i++)
		fetch(i, SOURCE_DEMAND);
	/* waiting */
	w->src->ops->cancel(w->src, &w->req[39]);
	assert_int_equal(w->cancelled, 0);
	run_until(w->done >= 3, 10);
	assert_int_equal(w->cancelled, 1);
	/* some on the wire, one of them half arrived; their buffers are ours again at once */
	for (u32 i = 0; i < 39; i++) {
		w->src->ops->cancel(w->src, &w->req[i]);
	}
	run_until(w->done + w->cancelled == 40, 10);
	for (u32 i = 0; i < 40; i++)
		memset(w->buf[i], 0x77, CHUNK_BYTES);
	run_for(2 * NS_PER_SEC);
	for (u32 i = 0; i < 40; i++)
		for (u32 j = 0; j < CHUNK_BYTES; j++)
			assert_int_equal(w->buf[i][j], 0x77);
	u32 had = w->done;

	fetch(50, SOURCE_DEMAND);
	run_until(w->done == had + 1, 10);
	assert_int_equal(client_counters(w->src)->lost, 0);
}

static void idle_needs_no_tick(void **state)
{
	u32 polls = 0;

	(void)state;
	fetch(0, SOURCE_DEMAND);
	run_until(w->done == 1, 10);
	run_for(60 * NS_PER_SEC);
	assert_int_equal(w->web.open, 0);
	for (u64 end = plat_time_ns() + 600 * NS_PER_SEC; plat_time_ns() < end; polls++)
		step();
	assert_true(polls <= 30);
	fetch(1, SOURCE_DEMAND);
	run_until(w->done == 2, 10);
}

static void budget_bounds_one_poll(void **state)
{
	u32 most = 0;

	(void)state;
	for (u32 i = 0; i < CHUNKS; i++)
		fetch(i, SOURCE_DEMAND);
	for (u32 n = 0; w->done < CHUNKS && n < 100000; n++) {
		u32 was = w->done;

		step();
		most = MAX(most, w->done - was);
	}
	/* 64 KiB are one chunk; each of three connections may have had one begun */
	assert_in_range(most, 1, 4);
}

/* ---------------------------------------------------------------- documents, reports */

static void documents(void **state)
{
	(void)state;
	get("/v1/boot?uuid=1", 256);
	run_until(w->doc_done, 5);
	assert_int_equal(w->doc_err, 0);
	assert_int_equal(w->doc.bytes, 17);
	assert_int_equal(w->doc.http_status, 200);
	assert_memory_equal(w->doc_buf, "freshet-ticket 1\n", 17);
	get("/v1/nothing", 256);
	run_until(w->doc_done, 5);
	assert_int_equal(w->doc_err, -ENOENT);
	assert_int_equal(w->doc.http_status, 404);
	get("/v1/big", 256);
	run_until(w->doc_done, 5);
	assert_int_equal(w->doc_err, -EMSGSIZE);
	get("no slash", 256);
	run_until(w->doc_done, 5);
	assert_int_equal(w->doc_err, -EINVAL);
	get("/v1/boot?uuid=2", 256);
	run_until(w->doc_done, 5);
	assert_int_equal(w->doc_err, 0);
}

static void document_without_server(void **state)
{
	(void)state;
	httpd_stop(&w->web);
	/* the stack itself would not answer, see unasked_frames_get_no_answer */
	w->wire.refuse = true;
	get("/v1/boot?uuid=1", 256);
	run_until(w->doc_done, 2);
	w->wire.refuse = false;
	assert_int_equal(w->doc_err, -ECONNREFUSED);
	assert_int_equal(w->doc.http_status, 0);
	assert_int_equal(status().state, SOURCE_RETRYING);
	assert_non_null(strstr(status().what, "refused by 10.0.0.1:8080"));
	w->wire.no_tcp = true;
	get("/v1/boot?uuid=1", 256);
	run_until(w->doc_done, 12);
	assert_int_equal(w->doc_err, -ETIMEDOUT);
	assert_non_null(strstr(status().what, "no answer from"));
	w->wire.link = false;
	get("/v1/boot?uuid=1", 256);
	run_until(w->doc_done, 12);
	assert_int_equal(w->doc_err, -ENETUNREACH);
	assert_int_equal(status().state, SOURCE_DOWN);
	assert_string_equal(status().what, "no network link");
	httpd_start(&w->web, 8080);
}

/* A server that closes an idle connection just as a document is asked for. */
static void document_on_a_stale_connection(void **state)
{
	(void)state;
	get("/v1/boot?uuid=1", 256);
	run_until(w->doc_done, 5);
	assert_int_equal(w->doc_err, 0);
	httpd_kill(&w->web);
	get("/v1/boot?uuid=1", 256);
	run_until(w->doc_done, 5);
	assert_int_equal(w->doc_err, 0);
}

static void reports(void **state)
{
	char body[5000];

	(void)state;
	memset(body, 'x', sizeof(body));
	w->src->ops->post(w->src, "/v1/report", body, sizeof(body));
	run_until(w->posts == 1, 5);
	assert_string_equal(w->last_post, "POST /v1/report");
	run_for(NS_PER_SEC);
	/* two buffers: the newest two are kept */
	for (u32 i = 0; i < 10; i++)
		w->src->ops->post(w->src, "/v1/report", body, sizeof(body));
	run_until(w->posts == 3, 5);
	run_for(NS_PER_SEC);
	assert_int_equal(w->posts, 3);
	fetch(1, SOURCE_DEMAND);
	run_until(w->done == 1, 5);
}

/* ---------------------------------------------------------------- the bad days */

struct fault_case {
	const char *name;
	bool (*fault)(struct world *, int, struct httpd_reply *);
	u32 seconds;
};

#define FIRST_TRIES 3

static bool f_404(struct world *x, int i, struct httpd_reply *r)
{
	if (i % 5 || x->asked[i] > FIRST_TRIES)
		return false;
	r->status = 404;
	r->body = "no";
	r->bytes = 2;
	return true;
}

static bool f_500(struct world *x, int i, struct httpd_reply *r)
{
	if (i % 5 || x->asked[i] > FIRST_TRIES)
		return false;
	r->status = 500;
	r->bytes = 0;
	return true;
}

static bool f_corrupt(struct world *x, int i, struct httpd_reply *r)
{
	static u8 bad[CHUNK_BYTES + 8];

	if (i % 5 || x->asked[i] > FIRST_TRIES)
		return false;
	memcpy(bad, r->body, r->bytes);
	bad[r->bytes / 2] ^= 1;
	r->body = bad;
	return true;
}

static bool f_wrong_chunk(struct world *x, int i, struct httpd_reply *r)
{
	if (i % 5 || x->asked[i] > FIRST_TRIES)
		return false;
	r->body = x->object[(i + 1) % CHUNKS];
	r->bytes = x->object_bytes[(i + 1) % CHUNKS];
	return true;
}

/* Shorter inside, but an honest HTTP response. */
static bool f_short_object(struct world *x, int i, struct httpd_reply *r)
{
	if (i % 5 || x->asked[i] > FIRST_TRIES)
		return false;
	r->bytes = x->asked[i] == 1 ? 0 : x->asked[i] == 2 ? 4 : r->bytes - 1;
	return true;
}

static bool f_cut(struct world *x, int i, struct httpd_reply *r)
{
	if (i % 5 || x->asked[i] > FIRST_TRIES)
		return false;
	r->cut_at = x->asked[i] == 1 ? 0 : x->asked[i] == 2 ? 30 : 300;
	return true;
}

static bool f_reset(struct world *x, int i, struct httpd_reply *r)
{
	if (i % 5 || x->asked[i] > FIRST_TRIES)
		return false;
	r->cut_at = 200;
	return r->cut_reset = true;
}

static bool f_garbage(struct world *x, int i, struct httpd_reply *r)
{
	if (i % 5 || x->asked[i] > FIRST_TRIES)
		return false;
	static const char *const texts[] = {
		"SSH-2.0-OpenSSH\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	};

	r->garbage = texts[(x->asked[i] - 1) % 3];
	return true;
}

static bool f_slow(struct world *x, int i, struct httpd_reply *r)
{
	if (i % 5 || x->asked[i] > 1)
		return false;
	r->delay_ns = 3 * NS_PER_SEC;
	return true;
}

static bool f_silent(struct world *x, int i, struct httpd_reply *r)
{
	if (i % 20 || x->asked[i] > 1)
		return false;
	return r->silent = true;
}

/* A byte now and then keeps the silence rule away, not the one for the whole response. */
static bool f_dribble(struct world *x, int i, struct httpd_reply *r)
{
	if (i != 5 || x->asked[i] > 1)
		return false;
	r->dribble = 1;
	return true;
}

static const struct fault_case faults[] = {
	{ "404", f_404, 30 },
	{ "500", f_500, 30 },
	{ "corrupt", f_corrupt, 30 },
	{ "wrong chunk", f_wrong_chunk, 30 },
	{ "short object", f_short_object, 30 },
	{ "cut", f_cut, 60 },
	{ "reset", f_reset, 60 },
	{ "garbage", f_garbage, 60 },
	{ "slow", f_slow, 60 },
	{ "silent", f_silent, 60 },
	{ "dribble", f_dribble, 90 },
};

static void survives_faults(void **state)
{
	(void)state;
	for (u32 f = 0; f < ARRAY_SIZE(faults); f++) {
		memset(w->asked, 0, sizeof(w->asked));
		w->fault = faults[f].fault;
		w->fault_count = 0;
		w->done = w->orders = 0;
		for (u32 i = 0; i < CHUNKS; i++)
			fetch(i, i % 3 ? SOURCE_DEMAND : SOURCE_FILL);
		u64 end = plat_time_ns() + faults[f].seconds * NS_PER_SEC;

		while (w->done < CHUNKS && plat_time_ns() < end)
			step();
		if (w->done != CHUNKS)
			fail_msg("%s: %u chunks after %u s", faults[f].name, w->done,
				 faults[f].seconds);
		if (!w->fault_count)
			fail_msg("%s: the fault never happened", faults[f].name);
	}
}

/* One chunk that the server never has right keeps nobody else waiting. */
static void one_bad_chunk_blocks_nobody(void **state)
{
	(void)state;
	bool f(struct world *x, int i, struct httpd_reply *r)
	{
		(void)x;
		if (i == 0)
			r->status = 404;
		if (i == 1)
			r->bytes -= 5;
		return i <= 1;
	}
	w->fault = f;
	for (u32 i = 0; i < CHUNKS; i++)
		fetch(i, SOURCE_DEMAND);
	run_until(w->done == CHUNKS - 2, 3);
	run_for(60 * NS_PER_SEC);
	/* 100 ms doubling to 2 s: about 33 in a minute */
	assert_in_range(w->asked[0], 25, 45);
	assert_in_range(w->asked[1], 25, 45);
	assert_true(status().corrupt >= 25);
	w->fault = NULL;
	run_until(w->done == CHUNKS, 3);
	assert_int_equal(status().state, SOURCE_UP);
}

/* A response that always kills its connection costs the others little. */
static void one_poisonous_chunk(void **state)
{
	(void)state;
	bool f(struct world *x, int i, struct httpd_reply *r)
	{
		(void)x;
		if (i == 0)
			r->cut_at = 100;
		return !i;
	}
	w->fault = f;
	for (u32 i = 0; i < CHUNKS; i++)
		fetch(i, SOURCE_DEMAND);
	run_until(w->done == CHUNKS - 1, 10);
	w->fault = NULL;
	run_until(w->done == CHUNKS, 5);
}

static void server_restarts(void **state)
{
	(void)state;
	for (u32 i = 0; i < CHUNKS; i++)
		fetch(i, SOURCE_FILL);
	run_until(w->done >= 10, 10);
	httpd_stop(&w->web);
	run_for(20 * NS_PER_SEC);
	u32 had = w->done;

	assert_true(had < CHUNKS);
	assert_int_equal(status().state, SOURCE_RETRYING);
	/* one probe at a time, no faster than the back-off says */
	assert_in_range(client_counters(w->src)->connects, 5, 30);
	httpd_start(&w->web, 8080);
	run_until(w->done == CHUNKS, 8);
	assert_int_equal(status().state, SOURCE_UP);
}

/*
 * A retry that becomes due after the poll and before the question for the next
 * deadline must still be named, or nobody comes back for it.
 */
static void due_retry_is_named(void **state)
{
	u64 due;

	(void)state;
	httpd_stop(&w->web);
	fetch(0, SOURCE_DEMAND);
	run_until(status().state == SOURCE_RETRYING, 10);
	for (int i = 0; i < 20; i++) {
		w->src->ops->poll(w->src);
		due = client_deadline_ns(w->src);
		assert_true(due < plat_time_ns() + 10 * NS_PER_SEC);
		plat_host_now_ns = MAX(due, plat_time_ns()) + NS_PER_MS;
		assert_true(client_deadline_ns(w->src) <= plat_time_ns());
	}
}

static void network_vanishes(void **state)
{
	(void)state;
	for (u32 i = 0; i < CHUNKS; i++)
		fetch(i, SOURCE_DEMAND);
	run_until(w->done >= 10, 10);
	w->wire.no_tcp = true;
	run_for(60 * NS_PER_SEC);
	assert_true(w->done < CHUNKS);
	w->wire.no_tcp = false;
	run_until(w->done == CHUNKS, 20);
}

static void cable_pulled(void **state)
{
	(void)state;
	for (u32 i = 0; i < CHUNKS; i++)
		fetch(i, SOURCE_DEMAND);
	run_until(w->done >= 10, 10);
	w->wire.link = false;
	run_for(60 * NS_PER_SEC);
	assert_int_equal(status().state, SOURCE_DOWN);
	w->wire.link = true;
	run_until(w->done == CHUNKS, 20);
}

static void lossy_wire(void **state)
{
	(void)state;
	w->wire.drop_every = 97;
	w->wire.corrupt_every = 131;
	w->wire.latency_ns = 2 * NS_PER_MS;
	for (u32 i = 0; i < CHUNKS; i++)
		fetch(i, SOURCE_DEMAND);
	run_until(w->done == CHUNKS, 240);
	assert_int_equal(status().corrupt, 0);
	assert_true(w->wire.dropped > 10);
}

/* The same damage, with a card that vouches for checksums: the digest is what saves us. */
static void lying_card(void **state)
{
	(void)state;
	w->wire.csum_by_card = true;
	w->wire.corrupt_every = 211;
	for (u32 i = 0; i < CHUNKS; i++)
		fetch(i, SOURCE_DEMAND);
	run_until(w->done == CHUNKS, 120);
	/* TLS notices first */
	assert_true(world_tls ? client_counters(w->src)->lost > 0 : status().corrupt > 0);
	assert_true(stack_counters()->rx_csum_by_card > 100);
}

/* A window of 64 KiB that is used up and must be opened again by our updates alone. */
static void peer_without_scaling(void **state)
{
	(void)state;
	w->wire.no_scaling = true;
	for (u32 i = 0; i < CHUNKS; i++)
		fetch(i, SOURCE_DEMAND);
	run_until(w->done == CHUNKS, 2);
	assert_int_equal(client_counters(w->src)->timeouts, 0);
}

/* One that offers no window, then a tiny one: refused before lwIP can run into it. */
static void peer_without_a_window(void **state)
{
	(void)state;
	w->wire.no_window = true;
	for (u32 i = 0; i < CHUNKS; i++)
		fetch(i, SOURCE_DEMAND);
	run_until(status().state == SOURCE_RETRYING, 20);
	run_for(20 * NS_PER_SEC);
	assert_int_equal(w->done, 0);
	assert_int_equal(status().last_err, -ECONNABORTED);
	w->wire.no_window = false;
	run_until(w->done == CHUNKS, 20);
}

/* What says after its SYN how long a segment is gets no further, and nothing is cut anew. */
static void peer_with_a_late_segment_size(void **state)
{
	(void)state;
	w->wire.late_mss = true;
	for (u32 i = 0; i < CHUNKS; i++)
		fetch(i, SOURCE_DEMAND);
	run_for(30 * NS_PER_SEC);
	assert_int_equal(w->done, 0);
	assert_true(stack_counters()->rx_refused > 0);
	w->wire.late_mss = false;
	run_until(w->done == CHUNKS, 30);
}

static void full_ring(void **state)
{
	(void)state;
	w->wire.room = 24;
	w->wire.latency_ns = NS_PER_MS;
	for (u32 i = 0; i < CHUNKS; i++)
		fetch(i, SOURCE_DEMAND);
	run_until(w->done == CHUNKS, 120);
	assert_true(stack_counters()->tx_dropped > 0);
}

/* ---------------------------------------------------------------- the stack itself */

static int setup_dhcp(void **state)
{
	struct stack_opts so;

	(void)state;
	if (stack_opts_parse("dhcp", &so))
		return -1;
	return setup_with(so, world_client);
}

/* Strangers get an answer to a ping, if that is wanted, and to nothing else. */
static void unasked_frames_get_no_answer(void **state)
{
	static const struct { u8 proto, b0; u16 dport; bool answer; } unasked[] = {
		{ 6, 0, 8081, false }, /* TCP to a closed port: no reset */
		{ 17, 0, 4000, false }, /* UDP likewise: no "unreachable" */
		{ 17, 0, 68, false },
		{ 1, 8, 0, true }, /* echo */
		{ 1, 13, 0, false }, /* timestamp */
		{ 2, 0, 0, false }, { 41, 0, 0, false }, { 132, 0, 0, false },
	};

	(void)state;
	fetch(0, SOURCE_DEMAND);
	run_until(w->done == 1, 5);
	run_for(30 * NS_PER_SEC); /* idle connections are closed by then */
	w->wire.csum_by_card = true;
	for (u32 i = 0; i < ARRAY_SIZE(unasked); i++) {
		u8 f[74] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45 }, *p = f + 14;
		u64 sent = w->wire.frames;

		p[3] = 60;
		p[8] = 64;
		p[9] = unasked[i].proto;
		p[12] = p[16] = 10;
		p[15] = 1; /* from MIRROR_IP to MIRROR_OUR_IP */
		p[19] = 2;
		p[20] = unasked[i].b0;
		p[22] = (u8)(unasked[i].dport >> 8);
		p[23] = (u8)unasked[i].dport;
		if (unasked[i].proto == 6) {
			p[32] = 5 << 4;
			p[33] = 2; /* SYN */
		}
		if (unasked[i].proto == 1) { /* the sum of an echo that is zero but for its type */
			p[22] = (u8)~unasked[i].b0;
			p[23] = 0xff;
		}
		mirror_inject(&w->wire, f, sizeof(f));
		run_for(NS_PER_SEC);
		if ((w->wire.frames > sent) != unasked[i].answer)
			print_error("protocol %u: %llu answers\n", unasked[i].proto,
				    (unsigned long long)(w->wire.frames - sent));
		assert_int_equal(w->wire.frames > sent, unasked[i].answer);
	}
}

static void lease(void **state)
{
	static const u8 id[] = { 0, 'f', 'r', 'e', 's', 'h', 'e', 't', 2, 0, 0, 0, 0, 2 };

	(void)state;
	fetch(0, SOURCE_DEMAND);
	run_for(5 * NS_PER_SEC);
	assert_int_equal(status().state, SOURCE_DOWN);
	assert_string_equal(status().what, "waiting for an address (DHCP)");
	w->wire.dhcp = true;
	run_until(w->done == 1, 60);
	assert_int_equal(stack_ip(), MIRROR_OUR_IP);
	assert_int_equal(w->wire.client_id_bytes, sizeof(id));
	assert_memory_equal(w->wire.client_id, id, sizeof(id));
	/* renewed in time, for hours, with few wake-ups */
	u64 seen = w->wire.dhcp_seen;

	run_for(4 * 3600 * NS_PER_SEC);
	assert_true(w->wire.dhcp_seen >= seen + 4);
	assert_int_equal(stack_ip(), MIRROR_OUR_IP);
	fetch(1, SOURCE_DEMAND);
	run_until(w->done == 2, 5);
	/* the server is gone for longer than the lease */
	w->wire.dhcp = false;
	run_for(2 * 3600 * NS_PER_SEC);
	assert_int_equal(stack_ip(), 0);
	w->wire.dhcp = true;
	fetch(2, SOURCE_DEMAND);
	run_until(w->done == 3, 120);
}

static void options_from_text(void **state)
{
	static const struct { const char *text; u32 ip; u16 port; int err; } servers[] = {
		{ "10.0.2.2", 0x0a000202, 80, 0 },
		{ "10.0.2.2:8080", 0x0a000202, 8080, 0 },
		{ "http://10.0.2.2:8080/", 0x0a000202, 8080, 0 },
		{ "http://10.0.2.2", 0x0a000202, 80, 0 },
		{ "", 0, 0, -EINVAL }, { "10.0.2", 0, 0, -EINVAL },
		{ "10.0.2.256", 0, 0, -EINVAL }, { "10.0.2.2:0", 0, 0, -EINVAL },
		{ "10.0.2.2:65536", 0, 0, -EINVAL }, { "10.0.2.2:", 0, 0, -EINVAL },
		{ "10.0.2.2/x", 0, 0, -EINVAL }, { "https:/10.0.2.2", 0, 0, -EINVAL },
		{ "https://10.0.2.2", 0x0a000202, 443, 0 },
		{ "https://10.0.2.2:8443/", 0x0a000202, 8443, 0 },
		{ "https://http://10.0.2.2", 0, 0, -EINVAL },
		{ "0.0.0.0:80", 0, 0, -EINVAL }, { "10.0.2.2 ", 0, 0, -EINVAL },
		{ "10..2.2", 0, 0, -EINVAL }, { "99999999999.0.0.1", 0, 0, -EINVAL },
	};
	static const struct { const char *text; struct stack_opts o; int err; } ips[] = {
		{ "dhcp", { .dhcp = true }, 0 },
		{ "10.1.2.3/24,10.1.2.1",
		  { .ip = 0x0a010203, .mask = 0xffffff00, .gw = 0x0a010201 }, 0 },
		{ "10.1.2.3/32", { .ip = 0x0a010203, .mask = 0xffffffff }, 0 },
		{ "10.1.2.3", { 0 }, -EINVAL }, { "10.1.2.3/0", { 0 }, -EINVAL },
		{ "10.1.2.3/33", { 0 }, -EINVAL }, { "10.1.2.3/24,", { 0 }, -EINVAL },
		{ "dhcpx", { 0 }, -EINVAL }, { "", { 0 }, -EINVAL },
	};

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(servers); i++) {
		u32 ip = 0;
		u16 port = 0;
		bool tls;

		assert_int_equal(stack_parse_server(servers[i].text, &ip, &port, &tls),
				 servers[i].err);
		if (servers[i].err)
			continue;
		assert_int_equal(ip, servers[i].ip);
		assert_int_equal(port, servers[i].port);
		assert_int_equal(tls, !strncmp(servers[i].text, "https", 5));
	}
	for (u32 i = 0; i < ARRAY_SIZE(ips); i++) {
		struct stack_opts o;

		assert_int_equal(stack_opts_parse(ips[i].text, &o), ips[i].err);
		if (ips[i].err)
			continue;
		assert_int_equal(o.dhcp, ips[i].o.dhcp);
		assert_int_equal(o.ip, ips[i].o.ip);
		assert_int_equal(o.mask, ips[i].o.mask);
		assert_int_equal(o.gw, ips[i].o.gw);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(fetches_all),
		T(chunked_coding_works),
		T(close_after_each_works),
		T(demand_passes_fill),
		T(reprioritise_moves_a_waiting_one),
		T(cancel_anywhere),
		T(idle_needs_no_tick),
		T(budget_bounds_one_poll),
		T(documents),
		T(document_without_server),
		T(document_on_a_stale_connection),
		T(reports),
		T(survives_faults),
		T(one_bad_chunk_blocks_nobody),
		T(one_poisonous_chunk),
		T(server_restarts),
		T(due_retry_is_named),
		T(network_vanishes),
		T(cable_pulled),
		T(lossy_wire),
		T(lying_card),
		T(peer_without_scaling),
		T(peer_without_a_window),
		T(peer_with_a_late_segment_size),
		T(full_ring),
		T(unasked_frames_get_no_answer),
		cmocka_unit_test_setup_teardown(lease, setup_dhcp, teardown),
		cmocka_unit_test(options_from_text),
	};

	int failed = cmocka_run_group_tests_name("plain", tests, NULL, NULL);

	world_tls = tlsd_context(&(struct tlsd_cert){ 0 });
	failed += cmocka_run_group_tests_name("tls", tests, NULL, NULL);
	SSL_CTX_free(world_tls);
	return failed;
}
