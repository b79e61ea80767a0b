/*
 * swarm_time.c - how long the requests of simulated PCs take
 *
 * A source between the storage core and the real client: it hands requests on,
 * and notes the time from then until the answer is delivered, whole and checked.
 * That is what a PC waits, the queue in its own client included. Each request is
 * submitted below as a copy of ours, so that neither side's fields are touched.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/plat.h"
#include "images/swarm.h"

struct timed {
	struct source src;
	struct source *below;
	struct swarm_times *times;
};

struct timed_req {
	struct source_req r; /* the copy */
	struct source_req *orig;
	struct timed *t;
	u64 since_ns;
};

struct timed_doc {
	struct source_doc d;
	struct source_doc *orig;
	struct timed *t;
	u64 since_ns;
};

/* ---------------------------------------------------------------- numbers */

u64 swarm_real_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NS_PER_SEC + (u64)ts.tv_nsec;
}

bool swarm_times_add(struct swarm_times *t, enum swarm_kind k, u64 ns)
{
	if (t->count[k] == t->room[k]) {
		size_t room = t->room[k] ? 2 * t->room[k] : 4096;
		u32 *p = realloc(t->us[k], room * sizeof(*p));

		if (!p)
			return false;
		t->us[k] = p;
		t->room[k] = room;
	}
	t->us[k][t->count[k]++] = (u32)MIN(ns / NS_PER_US, (u64)UINT32_MAX);
	return true;
}

static int compare(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	return (x > y) - (x < y);
}

void swarm_times_sort(struct swarm_times *t)
{
	for (int k = 0; k < SWARM_KINDS; k++)
		if (t->count[k])
			qsort(t->us[k], t->count[k], sizeof(u32), compare);
}

double swarm_times_at(const struct swarm_times *t, enum swarm_kind k, double share)
{
	size_t n = t->count[k];
	size_t at = (size_t)(share * (double)n);

	return n ? t->us[k][MIN(at, n - 1)] / 1000.0 : 0;
}

void swarm_times_free(struct swarm_times *t)
{
	for (int k = 0; k < SWARM_KINDS; k++)
		free(t->us[k]);
}

/* ---------------------------------------------------------------- the source */

static struct timed *to_timed(struct source *s)
{
	return container_of(s, struct timed, src);
}

static void req_done(struct source_req *r, int err)
{
	struct timed_req *q = container_of(r, struct timed_req, r);
	struct source_req *orig = q->orig;

	if (!err)
		swarm_times_add(q->t->times,
				orig->prio == SOURCE_DEMAND ? SWARM_DEMAND :
				orig->prio == SOURCE_AHEAD  ? SWARM_AHEAD :
							      SWARM_FILL,
				swarm_real_ns() - q->since_ns);
	free(q);
	orig->done(orig, err);
}

static void timed_fetch(struct source *s, struct source_req *r)
{
	struct timed *t = to_timed(s);
	struct timed_req *q = malloc(sizeof(*q));

	if (!q)
		plat_panic("swarm: no memory");
	*q = (struct timed_req){ .r = *r, .orig = r, .t = t, .since_ns = swarm_real_ns() };
	q->r.done = req_done;
	r->scratch[0] = (u64)(uintptr_t)q;
	list_init(&r->link);
	t->below->ops->fetch(t->below, &q->r);
}

static struct timed_req *copy_of(const struct source_req *r)
{
	return (struct timed_req *)(uintptr_t)r->scratch[0];
}

static void timed_reprioritise(struct source *s, struct source_req *r, enum source_prio p)
{
	struct timed *t = to_timed(s);

	r->prio = p;
	t->below->ops->reprioritise(t->below, &copy_of(r)->r, p);
}

static void timed_cancel(struct source *s, struct source_req *r)
{
	struct timed *t = to_timed(s);

	t->below->ops->cancel(t->below, &copy_of(r)->r);
}

static void doc_done(struct source_doc *d, int err)
{
	struct timed_doc *q = container_of(d, struct timed_doc, d);
	struct source_doc *orig = q->orig;

	orig->bytes = d->bytes;
	orig->http_status = d->http_status;
	if (!err)
		swarm_times_add(q->t->times, SWARM_DOC, swarm_real_ns() - q->since_ns);
	free(q);
	orig->done(orig, err);
}

static void timed_get(struct source *s, struct source_doc *d)
{
	struct timed *t = to_timed(s);
	struct timed_doc *q = malloc(sizeof(*q));

	if (!q)
		plat_panic("swarm: no memory");
	*q = (struct timed_doc){ .d = *d, .orig = d, .t = t, .since_ns = swarm_real_ns() };
	q->d.done = doc_done;
	list_init(&d->link);
	t->below->ops->get(t->below, &q->d);
}

static void timed_post(struct source *s, const char *path, const void *body, u32 bytes)
{
	struct timed *t = to_timed(s);

	t->below->ops->post(t->below, path, body, bytes);
}

static void timed_status(struct source *s, struct source_status *out)
{
	struct timed *t = to_timed(s);

	t->below->ops->status(t->below, out);
}

static void timed_sources(struct source *s, const struct sources *list)
{
	struct timed *t = to_timed(s);

	t->below->ops->sources(t->below, list);
}

static void timed_poll(struct source *s)
{
	struct timed *t = to_timed(s);

	t->below->ops->poll(t->below);
}

static const struct source_ops timed_ops = {
	.fetch = timed_fetch,
	.reprioritise = timed_reprioritise,
	.cancel = timed_cancel,
	.get = timed_get,
	.post = timed_post,
	.status = timed_status,
	.sources = timed_sources,
	.poll = timed_poll,
};

struct source *swarm_source(struct source *below, struct swarm_times *times)
{
	struct timed *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	*t = (struct timed){ .src.ops = &timed_ops, .below = below, .times = times };
	return &t->src;
}

void swarm_source_destroy(struct source *s)
{
	free(to_timed(s));
}
