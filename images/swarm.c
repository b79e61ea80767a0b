/*
 * swarm.c - freshet swarm: many simulated PCs boot from a server at once
 *
 * One thread turns all of them: wait for the network, run the PCs that got
 * something or whose time has come. The PCs' clock, by which they give up and try
 * again, differs from the world's in two ways. While nobody waits for the network
 * (fill pauses, reports are a matter of seconds) it is put forward to the next PC
 * that has something to do; so a run takes as long as the server needs. And of
 * the time in which this process does the PCs' own work one after the other, only
 * the longest piece counts, in CPU time: real PCs do theirs at once, and nobody
 * takes their CPU away. Figures are in real time, all of it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/err.h"
#include "base/log.h"
#include "base/plat_host.h"
#include "images/options.h"
#include "images/swarm.h"
#include "net/stack/stack.h"

#define PCS_MAX 50000u
#define DAY_S 86400u

struct swarm {
	struct swarm_plan plan;
	struct swarm_times times;
	struct swarm_pc **pcs;
	u32 count;
	u64 spread_ns, limit_ns;
	u64 ahead_ns, behind_ns; /* the PCs' clock against the world's */
	const char *json, *keep;
	u8 key[1][P256_PUB_BYTES];
};

struct total {
	u64 ready, up, full, failed;
	u64 wire_bytes, plain_bytes, chunks;
	u64 corrupt, retries, lost, timeouts, refused, failed_reads, troubles;
	double seconds, ready_p50, ready_p99, up_p50, up_p99;
	char text[160];
};

/* ---------------------------------------------------------------- the loop */

static u64 cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (u64)ts.tv_sec * NS_PER_SEC + (u64)ts.tv_nsec;
}

static void set_clock(struct swarm *s)
{
	plat_host_now_ns = swarm_real_ns() + s->ahead_ns - s->behind_ns;
}

static u32 run_due(struct swarm *s, u64 *next, u32 *done)
{
	u64 start = swarm_real_ns(), t = cpu_ns(), longest = 0;
	u32 ran = 0;

	*next = ~0ull;
	*done = 0;
	for (u32 i = 0; i < s->count; i++) {
		struct swarm_pc *pc = s->pcs[i];

		if (swarm_pc_due(pc, plat_host_now_ns)) {
			u64 end;

			swarm_pc_run(pc);
			end = cpu_ns();
			longest = MAX(longest, end - t);
			t = end;
			ran++;
		}
		*next = MIN(*next, swarm_pc_next_ns(pc));
		*done += swarm_pc_done(pc);
	}
	/* What has arrived meanwhile is handed over in that time, too. */
	if (ran)
		sockets_wait(0);
	t = swarm_real_ns() - start;
	s->behind_ns += t - MIN(t, longest);
	return ran;
}

static bool anybody_waits(const struct swarm *s)
{
	for (u32 i = 0; i < s->count; i++)
		if (swarm_pc_waits(s->pcs[i]))
			return true;
	return false;
}

/* Returns false when the time is over. */
static bool run(struct swarm *s)
{
	u64 end = swarm_real_ns() + s->limit_ns, next;
	u32 done;

	for (;;) {
		u64 now;

		set_clock(s);
		if (swarm_real_ns() > end)
			return false;
		if (run_due(s, &next, &done))
			continue;
		if (done == s->count)
			return true;
		now = plat_host_now_ns;
		if (sockets_wait(0) || next <= now)
			continue;
		if (anybody_waits(s))
			sockets_wait((int)MIN((next - now) / NS_PER_MS + 1, 1000ull));
		else
			s->ahead_ns += next - now;
	}
}

/* ---------------------------------------------------------------- figures */

static int compare(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return (x > y) - (x < y);
}

static double at(u64 *ns, u64 n, double share)
{
	if (!n)
		return 0;
	qsort(ns, n, sizeof(*ns), compare);
	return (double)ns[MIN((u64)(share * (double)n), n - 1)] / 1e9;
}

static void sum(struct swarm *s, struct total *t)
{
	u64 *ready = calloc(s->count, sizeof(u64)), *up = calloc(s->count, sizeof(u64));

	for (u32 i = 0; i < s->count && ready && up; i++) {
		struct swarm_result r;
		u64 bad;

		swarm_pc_result(s->pcs[i], &r);
		if (r.ready_ns)
			ready[t->ready++] = r.ready_ns;
		if (r.up_ns)
			up[t->up++] = r.up_ns;
		t->full += r.full_ns != 0;
		t->wire_bytes += r.wire_bytes;
		t->plain_bytes += r.plain_bytes;
		t->chunks += r.chunks;
		t->corrupt += r.corrupt;
		t->retries += r.retries;
		t->lost += r.lost;
		t->timeouts += r.timeouts;
		t->refused += r.refused;
		t->failed_reads += r.failed_reads;
		t->troubles += r.troubles;
		bad = r.corrupt + r.retries + r.lost + r.timeouts + r.refused + r.failed_reads +
		      r.troubles;
		t->failed += bad || r.phase != SWARM_DONE;
		if (r.troubles)
			memcpy(t->text, r.text, sizeof(t->text));
	}
	t->ready_p50 = at(ready, t->ready, 0.5);
	t->ready_p99 = at(ready, t->ready, 0.99);
	t->up_p50 = at(up, t->up, 0.5);
	t->up_p99 = at(up, t->up, 0.99);
	free(ready);
	free(up);
}

static const char *const kind_names[SWARM_KINDS] = {
	[SWARM_DOC] = "ticket and manifest",
	[SWARM_DEMAND] = "chunk, awaited",
	[SWARM_AHEAD] = "chunk, read ahead",
	[SWARM_FILL] = "chunk, fill",
};

static void print_table(const struct swarm *s, const struct total *t)
{
	printf("%u PCs in %.1f s: %llu ready, %llu up, %llu complete; %llu with an error\n",
	       s->count, t->seconds, (unsigned long long)t->ready, (unsigned long long)t->up,
	       (unsigned long long)t->full, (unsigned long long)t->failed);
	printf("switched on to disk ready: p50 %.2f s, p99 %.2f s; "
	       "to system up: p50 %.2f s, p99 %.2f s\n",
	       t->ready_p50, t->ready_p99, t->up_p50, t->up_p99);
	printf("%llu chunks, %.1f MiB over the wire, %.1f MiB plain; %.1f MiB/s, %.0f chunks/s\n\n",
	       (unsigned long long)t->chunks, (double)t->wire_bytes / MIB,
	       (double)t->plain_bytes / MIB, (double)t->wire_bytes / MIB / t->seconds,
	       (double)t->chunks / t->seconds);
	printf("%-20s %10s %10s %10s %10s   (ms)\n", "request", "count", "p50", "p99", "max");
	for (int k = 0; k < SWARM_KINDS; k++)
		printf("%-20s %10zu %10.2f %10.2f %10.2f\n", kind_names[k], s->times.count[k],
		       swarm_times_at(&s->times, k, 0.5), swarm_times_at(&s->times, k, 0.99),
		       swarm_times_at(&s->times, k, 1));
	if (t->failed)
		printf("\nerrors: corrupt=%llu retries=%llu lost=%llu timeouts=%llu refused=%llu "
		       "failed_reads=%llu troubles=%llu %s\n",
		       (unsigned long long)t->corrupt, (unsigned long long)t->retries,
		       (unsigned long long)t->lost, (unsigned long long)t->timeouts,
		       (unsigned long long)t->refused, (unsigned long long)t->failed_reads,
		       (unsigned long long)t->troubles, t->text);
}

static void print_json(FILE *f, const struct swarm *s, const struct total *t)
{
	static const char *const names[SWARM_KINDS] = { "doc", "demand", "ahead", "fill" };

	fprintf(f, "{\"pcs\":%u,\"seconds\":%.3f,\"ready\":%llu,\"up\":%llu,\"complete\":%llu,",
		s->count, t->seconds, (unsigned long long)t->ready, (unsigned long long)t->up,
		(unsigned long long)t->full);
	fprintf(f, "\"with_error\":%llu,\"corrupt\":%llu,\"retries\":%llu,\"lost\":%llu,",
		(unsigned long long)t->failed, (unsigned long long)t->corrupt,
		(unsigned long long)t->retries, (unsigned long long)t->lost);
	fprintf(f, "\"timeouts\":%llu,\"refused\":%llu,\"failed_reads\":%llu,\"troubles\":%llu,",
		(unsigned long long)t->timeouts, (unsigned long long)t->refused,
		(unsigned long long)t->failed_reads, (unsigned long long)t->troubles);
	fprintf(f, "\"chunks\":%llu,\"wire_bytes\":%llu,\"plain_bytes\":%llu,",
		(unsigned long long)t->chunks, (unsigned long long)t->wire_bytes,
		(unsigned long long)t->plain_bytes);
	fprintf(f, "\"ready_s\":{\"p50\":%.3f,\"p99\":%.3f},\"up_s\":{\"p50\":%.3f,\"p99\":%.3f},",
		t->ready_p50, t->ready_p99, t->up_p50, t->up_p99);
	fprintf(f, "\"latency_ms\":{");
	for (int k = 0; k < SWARM_KINDS; k++)
		fprintf(f, "%s\"%s\":{\"count\":%zu,\"p50\":%.3f,\"p99\":%.3f,\"max\":%.3f}",
			k ? "," : "", names[k], s->times.count[k],
			swarm_times_at(&s->times, k, 0.5), swarm_times_at(&s->times, k, 0.99),
			swarm_times_at(&s->times, k, 1));
	fprintf(f, "},\"text\":");
	cli_json_text(f, t->text);
	fprintf(f, "}\n");
}

static int write_json(const struct swarm *s, const struct total *t)
{
	FILE *f = strcmp(s->json, "-") ? fopen(s->json, "w") : stdout;

	if (!f) {
		cli_error("cannot write %s: %s", s->json, strerror(errno));
		return -EIO;
	}
	print_json(f, s, t);
	if (f != stdout && fclose(f)) {
		cli_error("cannot write %s: %s", s->json, strerror(errno));
		return -EIO;
	}
	return 0;
}

/* ---------------------------------------------------------------- the command */

static int raise_limit(u32 pcs)
{
	u64 need = (u64)pcs * STACK_CONNS_MAX + 64;
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r))
		return -errno;
	if (r.rlim_max < need) {
		cli_error("%u PCs need %llu open files, the limit is %llu; see ulimit -Hn", pcs,
			  (unsigned long long)need, (unsigned long long)r.rlim_max);
		return -EMFILE;
	}
	r.rlim_cur = r.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &r) ? -errno : 0;
}

static int make_pcs(struct swarm *s)
{
	u64 now;

	s->pcs = calloc(s->count, sizeof(struct swarm_pc *));
	set_clock(s);
	now = plat_host_now_ns;
	for (u32 i = 0; s->pcs && i < s->count; i++) {
		s->pcs[i] = swarm_pc_create(&s->plan, i, now + s->spread_ns * i / s->count);
		if (!s->pcs[i])
			return -ENOMEM;
	}
	return s->pcs ? 0 : -ENOMEM;
}

static int keep_disk(const struct swarm *s)
{
	int err = s->keep ? swarm_pc_save(s->pcs[0], s->keep) : 0;

	if (err)
		cli_error("cannot write %s: %s", s->keep, strerror(-err));
	return err;
}

static enum cli_exit simulate(struct swarm *s)
{
	struct total t = { 0 };
	enum cli_exit rc = CLI_FAILED;
	u64 start;
	bool ended;

	if (raise_limit(s->count) || sockets_open())
		return CLI_FAILED;
	s->plan.times = &s->times;
	s->plan.keys = (const u8(*)[P256_PUB_BYTES])s->key;
	s->plan.local = s->plan.server_ip >> 24 == 127;
	if (make_pcs(s)) {
		cli_error("no memory for %u PCs", s->count);
		goto out;
	}
	start = swarm_real_ns();
	ended = run(s);
	t.seconds = (double)(swarm_real_ns() - start) / 1e9;
	swarm_times_sort(&s->times);
	sum(s, &t);
	if (!ended)
		cli_error("not done after %llu s", (unsigned long long)(s->limit_ns / NS_PER_SEC));
	if (s->json && write_json(s, &t))
		goto out;
	if (!s->json || strcmp(s->json, "-"))
		print_table(s, &t);
	rc = t.failed || !ended || keep_disk(s) ? CLI_FAILED : CLI_OK;
out:
	for (u32 i = 0; s->pcs && i < s->count; i++)
		swarm_pc_destroy(s->pcs[i]);
	free(s->pcs);
	swarm_times_free(&s->times);
	sockets_close();
	return rc;
}

struct args {
	const char *server, *key, *data, *until, *json, *keep;
	u64 pcs, boot, spread, disk, seed, limit;
	bool verbose;
};

static const struct cli_option options[] = {
	CLI_TEXT("server", struct args, server),
	CLI_NUMBER("pcs", struct args, pcs),
	CLI_TEXT("key", struct args, key),
	CLI_TEXT("data", struct args, data),
	CLI_SIZE("boot", struct args, boot),
	CLI_TEXT("until", struct args, until),
	CLI_NUMBER("spread", struct args, spread),
	CLI_SIZE("disk", struct args, disk),
	CLI_NUMBER("seed", struct args, seed),
	CLI_TEXT("json", struct args, json),
	CLI_TEXT("keep", struct args, keep),
	CLI_NUMBER("limit", struct args, limit),
	CLI_FLAG("verbose", struct args, verbose),
	{ 0 },
};

static enum cli_exit check(const struct cli_command *c, const struct args *a, struct swarm *s)
{
	bool tls;

	if (!a->pcs || a->pcs > PCS_MAX)
		return cli_usage(c, "--pcs is 1 to %u", PCS_MAX);
	if (strcmp(a->until, "boot") && strcmp(a->until, "full"))
		return cli_usage(c, "--until is boot or full");
	if (a->spread > DAY_S || a->limit > DAY_S)
		return cli_usage(c, "--spread and --limit are a day at most");
	if (a->disk < MIB || a->disk > 16384 * GIB)
		return cli_usage(c, "--disk is 1M to 16384G");
	if (!a->key && !a->data)
		return cli_usage(c, "--key FILE (the site's public key) or --data DIR is missing");
	if (stack_parse_server(a->server, &s->plan.server_ip, &s->plan.port, &tls) || tls)
		return cli_usage(c, "--server: not [http://]a.b.c.d[:port]: %s", a->server);
	return cli_public_key(s->key[0], a->key, a->data) ? CLI_FAILED : CLI_OK;
}

static enum cli_exit swarm_run(const struct cli_command *c, int argc, char **argv)
{
	struct args a = { .server = "127.0.0.1:8080", .until = "full", .pcs = 100,
			  .boot = 32 * MIB, .disk = 64 * GIB, .limit = 3600 };
	struct swarm s = { 0 };
	enum cli_exit rc = cli_options(c, options, &a, &argc, &argv);

	if (!rc && argc)
		rc = cli_usage(c, "no argument is wanted: %s", argv[0]);
	if (!rc)
		rc = check(c, &a, &s);
	if (rc)
		return rc;
	s.count = (u32)a.pcs;
	s.json = a.json;
	s.keep = a.keep;
	s.spread_ns = a.spread * NS_PER_SEC;
	s.limit_ns = a.limit * NS_PER_SEC;
	s.plan.disk_bytes = a.disk;
	s.plan.boot_bytes = a.boot;
	s.plan.full = !strcmp(a.until, "full");
	s.plan.seed = a.seed;
	plat_host_quiet = !a.verbose;
	return simulate(&s);
}

const struct cli_command cmd_swarm = {
	.group = "swarm",
	.args = "[--server ADDRESS] [--pcs N] --key FILE | --data DIR [OPTIONS]",
	.summary = "let many simulated PCs boot from a server at once",
	.help = "  --server A       the server's plain HTTP, [http://]a.b.c.d[:port]; default\n"
		"                   127.0.0.1:8080\n"
		"  --pcs N          how many; default 100\n"
		"  --key FILE       the site's public key; --data DIR: the one of that folder\n"
		"  --boot SIZE      what a PC's system has to fetch until it is up; default 32M\n"
		"  --until STEP     boot: until all are up; full: until all have the whole image\n"
		"                   and have reported it; default full\n"
		"  --spread S       switch them on over S seconds; default 0: all at once\n"
		"  --disk SIZE      of each PC, blank; default 64G\n"
		"  --seed N         another order of reading\n"
		"  --limit S        give up after so long; default 3600\n"
		"  --keep FILE      the first PC's disk afterwards, sparse: for freshet store\n"
		"  --json FILE      the figures as JSON; - for standard output\n"
		"  --verbose        what the PCs log\n"
		"\n"
		"The PCs run the VMM's own client and store. They enrol as 73776172-6d00-*; where\n"
		"approval is needed, add a rule: freshet rule add uuid '73776172-6d00-*' GROUP.\n"
		"Returns 1 if any PC saw an error, even one that a PC copes with.\n",
	.run = swarm_run,
};
