/*
 * The command line: run worlds, say what they found, make a failure small
 *
 *	sim [--seed n] [--worlds n | --boots n | --hours h] [--world-boots n] [--ops n]
 *	    [--without kind,kind] [--shrink] [-v[v]]
 *
 * A failure is one line with the command that repeats it; the exit status is 1.
 * --shrink runs that seed again and again, each time with fewer boots, fewer
 * requests, or one kind of fault less, and prints the smallest that still fails.
 */
#include <fcntl.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/sim.h"

const char *const sim_fault_names[SIM_KINDS] = {
	"cut", "lose", "warm", "reorder", "bad", "werr", "rot", "super", "supers", "jrot", "net",
	"late", "doc", "admin", "trim", "overlap", "fua", "zeroes", "full", "claim", "sick",
	"profile",
};

struct sim_cfg sim = { .seed = 1, .faults = SIM_ALL, .boots = 40, .ops = 120 };
static u64 at_seed;
static u32 at_boot;
static bool shrinking;

void sim_where_is(u64 seed, u32 boot)
{
	at_seed = seed;
	at_boot = boot;
	sim_say("---- seed %llu boot %u", (unsigned long long)seed, boot);
}

void sim_say(const char *fmt, ...)
{
	va_list ap;

	if (!sim.verbose)
		return;
	fprintf(stderr, "%12.6f sim: ", (double)sim_now / 1e9);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static void print_without(FILE *f)
{
	bool first = true;

	for (u32 i = 0; i < SIM_KINDS; i++)
		if (!(sim.faults & 1u << i)) {
			fprintf(f, "%s%s", first ? " --without " : ",", sim_fault_names[i]);
			first = false;
		}
}

static void print_command(u64 seed, u32 boots)
{
	printf("again: sim --seed %llu --worlds 1 --world-boots %u --ops %u",
	       (unsigned long long)seed, boots, sim.ops);
	print_without(stdout);
	putchar('\n');
}

void sim_fail(const char *fmt, ...)
{
	va_list ap;

	printf("FAIL seed %llu boot %u t=%.6f s: ", (unsigned long long)at_seed, at_boot,
	       (double)sim_now / 1e9);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	if (!shrinking)
		print_command(at_seed, at_boot + 1);
	fflush(stdout);
	_exit(1);
}

/* ---------------------------------------------------------------- shrinking */

static bool fails(const struct sim_cfg *cfg)
{
	int status;
	pid_t p;

	fflush(stdout);
	p = fork();
	if (p < 0)
		exit(2);
	if (!p) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 1);
		dup2(null, 2);
		alarm(60);
		sim = *cfg;
		sim_world(cfg->seed);
		_exit(0);
	}
	waitpid(p, &status, 0);
	return !WIFEXITED(status) || WEXITSTATUS(status);
}

static bool smaller(struct sim_cfg *c, u32 *what, u32 value)
{
	u32 was = *what;

	if (value == was)
		return false;
	*what = value;
	if (fails(c))
		return true;
	*what = was;
	return false;
}

static void shrink(void)
{
	struct sim_cfg c = sim;
	bool again = true;

	shrinking = true;
	c.verbose = 0;
	if (!fails(&c)) {
		printf("seed %llu does not fail\n", (unsigned long long)c.seed);
		return;
	}
	while (again) {
		again = false;
		for (u32 n = 1; n < c.boots; n = MAX(n + 1, n * 5 / 4))
			if (smaller(&c, &c.boots, n))
				again = true;
		for (u32 i = 0; i < SIM_KINDS; i++)
			if (c.faults & 1u << i)
				again |= smaller(&c, &c.faults, c.faults & ~(1u << i));
		for (u32 n = 1; n < c.ops; n = MAX(n + 1, n * 5 / 4))
			if (smaller(&c, &c.ops, n))
				again = true;
	}
	sim = c;
	printf("the smallest that fails:\n");
	print_command(c.seed, c.boots);
	fflush(stdout);
	sim_world(c.seed);
}

/* ---------------------------------------------------------------- main */

static void without(const char *list)
{
	char copy[512];

	snprintf(copy, sizeof(copy), "%s", list);
	for (char *s = strtok(copy, ","); s; s = strtok(NULL, ",")) {
		u32 i;

		for (i = 0; i < SIM_KINDS && strcmp(s, sim_fault_names[i]); i++)
			;
		if (i == SIM_KINDS) {
			fprintf(stderr, "sim: no such kind of fault: %s\n", s);
			exit(2);
		}
		sim.faults &= ~(1u << i);
	}
}

static void print_totals(double seconds)
{
	const struct sim_totals *t = &sim_total;

	printf("%llu boots (%.0f/s), %.1f simulated hours, %llu requests, %llu to READY, "
	       "%llu power cuts, %llu resets, %llu in order, %llu without network, "
	       "%llu checked offline\n",
	       (unsigned long long)t->boots, (double)t->boots / seconds,
	       (double)t->hours_ns / 3.6e12, (unsigned long long)sim_ops,
	       (unsigned long long)t->ready, (unsigned long long)t->cuts,
	       (unsigned long long)t->warm, (unsigned long long)t->orderly,
	       (unsigned long long)t->offline, (unsigned long long)t->checked);
	printf("%llu pushes, %llu rollbacks, %llu switches, %llu rolled back by the PC, "
	       "%llu complete, %llu claimed anew, %llu rotten, %llu unreadable, %llu superblocks, "
	       "%llu repaired, %llu EIO, %llu ENOSPC, %llu checkpoints, %llu profiles told, "
	       "%llu chunks by profile, %llu slots given back, "
	       "%llu scrubbed, %llu whole passes\n",
	       (unsigned long long)t->pushes, (unsigned long long)t->rollbacks,
	       (unsigned long long)t->switches, (unsigned long long)t->rolled_back,
	       (unsigned long long)t->complete, (unsigned long long)t->claims,
	       (unsigned long long)t->rots, (unsigned long long)t->bads,
	       (unsigned long long)t->supers, (unsigned long long)t->repaired,
	       (unsigned long long)t->eio, (unsigned long long)t->enospc,
	       (unsigned long long)t->checkpoints, (unsigned long long)t->profiles,
	       (unsigned long long)t->listed, (unsigned long long)t->reclaimed,
	       (unsigned long long)t->scrubbed, (unsigned long long)t->passes);
}

static const char *value(int argc, char **argv, int *i)
{
	if (*i + 1 >= argc) {
		fprintf(stderr, "sim: %s wants a value\n", argv[*i]);
		exit(2);
	}
	return argv[++*i];
}

int main(int argc, char **argv)
{
	u64 worlds = ~0ull, boots = ~0ull, seed;
	double hours = 0;
	bool small = false;
	struct timespec a, b;

	for (int i = 1; i < argc; i++) {
		const char *o = argv[i];

		if (!strcmp(o, "--seed"))
			sim.seed = strtoull(value(argc, argv, &i), NULL, 0);
		else if (!strcmp(o, "--worlds"))
			worlds = strtoull(value(argc, argv, &i), NULL, 0);
		else if (!strcmp(o, "--boots"))
			boots = strtoull(value(argc, argv, &i), NULL, 0);
		else if (!strcmp(o, "--hours"))
			hours = strtod(value(argc, argv, &i), NULL);
		else if (!strcmp(o, "--world-boots"))
			sim.boots = (u32)atoi(value(argc, argv, &i));
		else if (!strcmp(o, "--ops"))
			sim.ops = (u32)atoi(value(argc, argv, &i));
		else if (!strcmp(o, "--without"))
			without(value(argc, argv, &i));
		else if (!strcmp(o, "--shrink"))
			small = true;
		else if (!strncmp(o, "-v", 2))
			sim.verbose = (u32)strlen(o) - 1;
		else {
			fprintf(stderr, "sim: unknown option %s\n", o);
			return 2;
		}
	}
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	if (worlds == ~0ull && boots == ~0ull && hours == 0)
		worlds = 25;
	if (small) {
		shrink();
		return 0;
	}
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (seed = sim.seed; worlds && sim_total.boots < boots; seed++, worlds--) {
		if (hours > 0 && (double)sim_total.hours_ns / 3.6e12 >= hours)
			break;
		sim_world(seed);
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	print_totals((double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9);
	return 0;
}
