/*
 * net/client/mirror.c: two sources of chunks besides home, each good, gone, silent, late
 * or lying. Home speaks plain HTTP once and TLS once; the sources are always plain.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fmt.h"
#include "base/plat_host.h"
#include "tests/fakes/net_tlsd.h"
#include "tests/unit/client_world.h"

static struct far {
	struct httpd web;
	u32 asked, odd; /* odd: what no client of ours should ask a source for */
	const char *path;
	enum { GOOD, LACKS_SOME, LACKS_ALL, LIES, SILENT } is;
} far[2];

static const struct sources both = {
	2, { { MIRROR_IP, 8081, "/objects" }, { MIRROR_IP, 8082, "" } },
};

static void far_handle(void *ctx, const char *request, struct httpd_reply *r)
{
	struct far *f = ctx;
	char want[160], hex[65];

	f->asked++;
	r->status = 404;
	for (u32 i = 0; i < CHUNKS; i++) {
		fmt_hex(hex, w->digest[i], SHA256_BYTES);
		snprintf(want, sizeof(want), "GET %s/%.2s/%s", f->path, hex, hex);
		if (strcmp(request, want))
			continue;
		r->silent = f->is == SILENT;
		if (f->is == LACKS_ALL || (f->is == LACKS_SOME && i % 8 == 3))
			return;
		r->status = 200;
		r->body = w->object[f->is == LIES ? i ^ 1 : i];
		r->bytes = w->object_bytes[f->is == LIES ? i ^ 1 : i];
		return;
	}
	f->odd++;
}

static void far_stop(u32 i)
{
	far[i].web.refuse = true;
	httpd_kill(&far[i].web);
}

static void far_start(u32 i)
{
	far[i].web.refuse = false;
}

static int set_up(void **state)
{
	if (setup(state))
		return -1;
	for (u32 i = 0; i < 2; i++) {
		far[i] = (struct far){ .web = { .handle = far_handle, .ctx = &far[i] },
				       .path = both.at[i].path };
		httpd_start(&far[i].web, (u16)both.at[i].port);
	}
	/* The ticket names the sources: home is connected, and its address is known. */
	get("/v1/boot?uuid=x", sizeof(w->doc_buf));
	run_until(w->doc_done, 5);
	w->src->ops->sources(w->src, &both);
	return 0;
}

static int tear_down(void **state)
{
	u32 odd = far[0].odd + far[1].odd;

	for (u32 i = 0; i < 2; i++)
		httpd_stop(&far[i].web);
	return teardown(state) || odd;
}

static u32 home_asked(void)
{
	return w->serves;
}

static void fetch_some(u32 from, u32 to, enum source_prio prio)
{
	for (u32 i = from; i < to; i++)
		fetch(i, prio);
}

static void fetch_and_wait(u32 from, u32 to, u64 seconds)
{
	u32 done = w->done;

	fetch_some(from, to, SOURCE_DEMAND);
	run_until(w->done == done + to - from, seconds);
}

/* ---------------------------------------------------------------- tests */

static void first_in_the_list(void **state)
{
	u32 home;

	(void)state;
	fetch_and_wait(0, 16, 5); /* home helps until the source is proven */
	home = home_asked();
	assert_true(far[0].asked >= 1);
	fetch_and_wait(16, CHUNKS, 5);
	assert_int_equal(home_asked(), home);
	assert_int_equal(far[1].asked, 0);
	assert_int_equal(far[0].asked + home, CHUNKS);
	assert_int_equal(status().state, SOURCE_UP);
	assert_int_equal(status().retries, 0);
}

static void fill_too(void **state)
{
	(void)state;
	fetch_some(0, CHUNKS, SOURCE_FILL);
	run_until(w->done == CHUNKS, 10);
	assert_true(far[0].asked > CHUNKS / 2);
}

static void documents_go_home(void **state)
{
	(void)state;
	fetch_and_wait(0, 16, 5);
	get("/v1/boot?uuid=x", sizeof(w->doc_buf));
	run_until(w->doc_done, 5);
	assert_int_equal(w->doc_err, 0);
	w->src->ops->post(w->src, "/v1/report", "{}", 2);
	run_until(w->posts == 1, 5);
}

static void over_and_back(void **state)
{
	u32 asked, home;

	(void)state;
	fetch_and_wait(0, 8, 5);
	far_stop(0);
	fetch_and_wait(8, 32, 10);
	assert_true(far[1].asked > 0);
	home = home_asked();
	asked = far[0].asked;
	fetch_and_wait(32, 48, 10);
	/* the second one carries it all; what a try at the first costs goes home */
	assert_in_range(home_asked(), home, home + 2);
	assert_int_equal(far[0].asked, asked);
	far_start(0);
	run_for(70 * NS_PER_SEC);
	fetch_and_wait(0, 16, 10);
	assert_true(far[0].asked > asked); /* tried, with what there was to fetch */
	asked = far[1].asked;
	fetch_and_wait(16, CHUNKS, 10);
	assert_int_equal(far[1].asked, asked);
	assert_in_range(home_asked(), home, home + 2);
}

static void back_under_load(void **state)
{
	u32 asked;

	(void)state;
	fetch_and_wait(0, 8, 5);
	far_stop(0);
	fetch_and_wait(8, 32, 10);
	far_start(0);
	asked = far[0].asked;
	for (u32 n = 0; n < 100 && far[0].asked < asked + 20; n++) {
		fetch_and_wait(0, 8, 10);
		run_for(NS_PER_SEC);
	}
	assert_true(far[0].asked >= asked + 20);
}

static void all_gone(void **state)
{
	(void)state;
	far_stop(0);
	far_stop(1);
	fetch_and_wait(0, CHUNKS, 5);
	assert_int_equal(home_asked(), CHUNKS);
	assert_int_equal(status().state, SOURCE_UP);
}

/* A source that lags behind is asked for what it has; the rest comes from home. */
static void lags_behind(void **state)
{
	(void)state;
	far[0].is = LACKS_SOME;
	fetch_and_wait(0, CHUNKS, 10);
	assert_true(far[0].asked > CHUNKS / 2);
	assert_int_equal(far[1].asked, 0);
	assert_int_equal(status().corrupt, 0);
}

static void has_nothing(void **state)
{
	(void)state;
	far[0].is = LACKS_ALL;
	fetch_and_wait(0, CHUNKS, 10);
	assert_in_range(far[0].asked, 1, 4); /* a try now and then */
	assert_true(far[1].asked > CHUNKS / 2);
}

/* Intact objects, but others than were asked for; at first good, so that it is trusted. */
static void turns_liar(void **state)
{
	(void)state;
	fetch_and_wait(0, 16, 5);
	far[0].is = LIES;
	far[0].asked = 0;
	fetch_and_wait(16, CHUNKS, 10); /* req_done() looks at every byte */
	assert_in_range(status().corrupt, 1, 24);
	assert_in_range(far[0].asked, 1, 30);
}

/* Takes connections and says nothing: one chunk waits for it, no more. */
static void says_nothing(void **state)
{
	u64 start = plat_time_ns();

	(void)state;
	far[0].is = SILENT;
	fetch_some(0, CHUNKS, SOURCE_DEMAND);
	run_until(w->done == CHUNKS - 1, 3);
	run_until(w->done == CHUNKS, 10);
	assert_true(plat_time_ns() - start < 8 * NS_PER_SEC);
	assert_int_equal(far[0].asked, 1);
}

static void falls_silent(void **state)
{
	(void)state;
	fetch_and_wait(0, 16, 5);
	far[0].is = SILENT;
	fetch_and_wait(16, CHUNKS, 20);
	assert_true(far[1].asked > 0);
}

static void home_is_gone(void **state)
{
	(void)state;
	fetch_and_wait(0, 16, 5);
	httpd_stop(&w->web);
	fetch_and_wait(16, CHUNKS, 5);
	assert_int_equal(status().state, SOURCE_UP);
}

static void another_list(void **state)
{
	static const struct sources second = { 1, { { MIRROR_IP, 8082, "" } } }, none;
	u32 home;

	(void)state;
	fetch_some(0, 24, SOURCE_DEMAND);
	run_until(w->done >= 12, 5); /* some are under way */
	w->src->ops->sources(w->src, &second);
	run_until(w->done == 24, 10);
	far[0].asked = 0;
	fetch_and_wait(24, 48, 5);
	assert_int_equal(far[0].asked, 0);
	assert_true(far[1].asked > 0);
	w->src->ops->sources(w->src, &none);
	home = home_asked();
	fetch_and_wait(48, CHUNKS, 5);
	assert_int_equal(home_asked(), home + CHUNKS - 48);
}

static void cancelled_on_the_way_home(void **state)
{
	(void)state;
	fetch_and_wait(0, 16, 5);
	far[0].is = LACKS_ALL;
	w->wire.latency_ns = 20 * NS_PER_MS;
	fetch_some(16, 24, SOURCE_DEMAND);
	run_for(50 * NS_PER_MS);
	for (u32 i = 16; i < 24; i++)
		w->src->ops->cancel(w->src, &w->req[i]);
	run_until(w->done + w->cancelled == 24, 5);
	run_until(client_idle(w->src), 20);
}

static void one_connection_knows_no_sources(void **state)
{
	struct client_opts co = world_client;
	struct stack_opts so = { .ip = MIRROR_OUR_IP, .mask = 0xffffff00 };

	(void)state;
	co.conns = 1;
	assert_int_equal(setup_with(so, co), 0);
	w->src->ops->sources(w->src, &both);
	fetch_and_wait(0, 8, 5);
	assert_int_equal(home_asked(), 8);
	assert_int_equal(teardown(state), 0);
}

#define ONE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ONE(first_in_the_list), ONE(fill_too),		 ONE(documents_go_home),
		ONE(over_and_back),	ONE(back_under_load),	 ONE(all_gone),
		ONE(lags_behind),	ONE(has_nothing),	 ONE(turns_liar),
		ONE(says_nothing),	ONE(falls_silent),	 ONE(home_is_gone),
		ONE(another_list),	ONE(cancelled_on_the_way_home),
		cmocka_unit_test(one_connection_knows_no_sources),
	};
	int bad = cmocka_run_group_tests_name("plain home", tests, NULL, NULL);

	world_tls = tlsd_context(&(struct tlsd_cert){ 0 });
	bad += cmocka_run_group_tests_name("TLS home", tests, NULL, NULL);
	SSL_CTX_free(world_tls);
	return bad;
}
