/*
 * What TLS costs the client, on this machine: one line of JSON for rows_tls.py.
 *
 * The client, lwIP and a server share one process and a virtual clock; only the
 * time inside the client's poll() counts, so the server's half of TLS does not.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/plat_host.h"
#include "tests/fakes/net_tlsd.h"
#include "tests/unit/client_world.h"

#define ROUNDS 8
#define HANDSHAKES 40

static u64 cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (u64)t.tv_sec * NS_PER_SEC + (u64)t.tv_nsec;
}

/* One turn of the world; how long the client took. */
static u64 turn(void)
{
	u64 next, at = cpu_ns();

	w->src->ops->poll(w->src);
	at = cpu_ns() - at;
	httpd_poll(&w->web);
	if (client_busy(w->src))
		return at;
	next = MIN(client_deadline_ns(w->src), mirror_next_ns(&w->wire));
	plat_host_now_ns = MAX(MIN(next, httpd_next_ns(&w->web)), plat_host_now_ns + 1000);
	return at;
}

/* MiB of chunks a second of the client's time. */
static double throughput(SSL_CTX *tls)
{
	u64 ns = 0;

	world_tls = tls;
	if (setup(NULL))
		abort();
	for (u32 r = 0; r < ROUNDS; r++) {
		w->done = w->orders = 0;
		for (u32 i = 0; i < CHUNKS; i++)
			fetch(i, SOURCE_DEMAND);
		while (w->done < CHUNKS)
			ns += turn();
	}
	teardown(NULL);
	return (double)ROUNDS * CHUNKS * CHUNK_BYTES / MIB / ((double)ns / NS_PER_SEC);
}

/* Handshakes with one document each: the client's time for one, its longest poll. */
static void handshakes(SSL_CTX *tls, double *one_us, double *longest_us)
{
	u64 ns = 0, longest = 0, t;

	world_tls = tls;
	if (setup(NULL))
		abort();
	for (u32 i = 0; i < HANDSHAKES; i++) {
		get("/v1/boot?uuid=1", 256);
		while (!w->doc_done) {
			t = turn();
			ns += t;
			longest = MAX(longest, t);
		}
		httpd_kill(&w->web);
		while (w->web.open)
			turn();
		run_for(NS_PER_SEC);
	}
	teardown(NULL);
	*one_us = (double)ns / HANDSHAKES / NS_PER_US;
	*longest_us = (double)longest / NS_PER_US;
}

int main(void)
{
	SSL_CTX *tls = tlsd_context(&(struct tlsd_cert){ 0 });
	double one, longest, plain = throughput(NULL), over_tls = throughput(tls);

	handshakes(tls, &one, &longest);
	printf("{\"plain_mib_s\": %.1f, \"tls_mib_s\": %.1f, \"handshake_us\": %.0f, "
	       "\"longest_poll_us\": %.0f}\n", plain, over_tls, one, longest);
	SSL_CTX_free(tls);
	return 0;
}
