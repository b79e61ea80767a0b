/*
 * fetch.c - an object that lies elsewhere is fetched, looked at and served
 *
 * For a site whose objects are in S3-compatible storage (data/objects.h). The loop never
 * waits for it: a fetch is a job of threads of its own, of which there are as many as
 * requests to the storage at once. When a lab boots, all PCs want the same object
 * at the same time, so there is one fetch for it and a list of who waits:
 *
 *	asked  ->  cached                      from there, at once
 *	       ->  a fetch of it is under way  its list
 *	       ->  a new fetch                 its list; 503 when too many wait
 *
 * What came is decoded and compared with its digest before anybody gets a byte of it.
 * A wrong one is marked (objects_note()), is 404 to those who wait, and comes back
 * with the next push; storage that cannot be used is 503. What is right goes into
 * a file without a name in the data folder's tmp/ and from there into the cache of open
 * objects, which bounds how many there are; the page cache keeps its bytes while
 * there is memory. Where that cannot be done (disk full, no cache) it is sent from memory.
 */
#include "server/fetch.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/log.h"
#include "server/cache.h"
#include "server/data/objects.h"
#include "server/data/version.h"
#include "server/jobs.h"

struct fetch {
	struct job job;
	struct list node; /* of site.fetches */
	struct list waiting;
	const struct datadir *d;
	u8 digest[SHA256_BYTES];
	bool keep; /* there is a cache */
	/* what the job found */
	u8 *object;
	size_t bytes;
	int fd; /* -1, or the object in a file */
	int err;
	char why[OBJECTS_WHY_MAX];
	struct cached *cached;
};

/* A request that waits; never in a queue, so it has no run(). */
struct waiter {
	struct job job;
	struct list node;
	struct fetch *of;
};

/* ---------------------------------------------------------------- beside the loop */

static int into_file(const struct fetch *f)
{
	int fd = datadir_mkdir_for(f->d, "tmp/") ? -1 :
		 openat(f->d->fd, "tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 && fd_write_all(fd, f->object, f->bytes)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static void run(struct job *job)
{
	struct fetch *f = container_of(job, struct fetch, job);
	u8 *plain = malloc(MANIFEST_CHUNK_MAX);
	int n;

	f->err = plain ? objects_get(f->d, f->digest, &f->object, &f->bytes) : -ENOMEM;
	if (!f->err) {
		n = object_check(f->object, f->bytes, f->digest, plain, MANIFEST_CHUNK_MAX);
		objects_note(f->d, f->digest, f->object, f->bytes, n);
		f->err = MIN(n, 0);
	}
	if (f->err)
		fmt_snprintf(f->why, sizeof(f->why), "%s", objects_why(f->err));
	else if (f->keep)
		f->fd = into_file(f);
	free(plain);
}

/* ---------------------------------------------------------------- on the loop */

static void answer(struct job *job, struct site *s, struct reply *r)
{
	struct fetch *f = container_of(job, struct waiter, job)->of;
	bool bad = f->err == -EBADMSG || f->err == -EFBIG;

	if (f->err) {
		reply_error(r, bad ? 404 : site_status_of(f->err));
		if (f->err == -EREMOTEIO)
			reply_field(r, "Retry-After", "2");
		return;
	}
	if (f->cached) {
		cached_hold(f->cached);
		r->cached = f->cached;
	} else {
		r->data = malloc(f->bytes);
		if (!r->data) {
			reply_error(r, 503);
			return;
		}
		memcpy(r->data, f->object, f->bytes);
	}
	r->bytes = f->bytes;
	r->cache = CACHE_FOREVER;
	s->counts.objects++;
	s->counts.object_bytes += r->bytes;
}

static void drop_waiter(struct job *job)
{
	struct waiter *w = container_of(job, struct waiter, job);

	list_del(&w->node);
	free(w);
}

static void tell(struct fetch *f, struct site *s)
{
	char hex[DIGEST_HEX + 1];

	fmt_hex(hex, f->digest, SHA256_BYTES);
	if (f->err == -EREMOTEIO) {
		s->counts.fetch_errors++;
		log_limited(LOG_ERR, "%s", f->why);
	} else if (f->err == -EBADMSG || f->err == -EFBIG) {
		log_limited(LOG_ERR, "fetch: a stored object is damaged digest=%s", hex);
		site_tell_damaged(s, f->digest);
	}
}

static void finish(struct job *job, struct site *s, struct reply *r)
{
	struct fetch *f = container_of(job, struct fetch, job);

	(void)r; /* nobody's: those who wait get theirs */
	list_del(&f->node);
	list_init(&f->node);
	s->counts.fetches++;
	tell(f, s);
	if (f->fd >= 0) {
		f->cached = cache_put(s->cache, f->digest, f->fd, f->bytes);
		f->fd = -1;
	}
	/* A connection that has its answer may ask again, even for this; not of this fetch. */
	while (!list_empty(&f->waiting))
		jobs_answer(s->fetchers, &list_first(&f->waiting, struct waiter, node)->job);
}

static void drop(struct job *job)
{
	struct fetch *f = container_of(job, struct fetch, job);

	while (!list_empty(&f->waiting))
		drop_waiter(&list_first(&f->waiting, struct waiter, node)->job);
	list_del(&f->node);
	if (f->cached)
		cached_release(f->cached);
	if (f->fd >= 0)
		close(f->fd);
	free(f->object);
	free(f);
}

static struct fetch *under_way(struct site *s, const u8 *digest)
{
	struct fetch *f;

	list_for_each(f, &s->fetches, node)
		if (!memcmp(f->digest, digest, SHA256_BYTES))
			return f;
	return NULL;
}

static struct fetch *start(struct site *s, const u8 *digest)
{
	struct fetch *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->job = (struct job){ .run = run, .finish = finish, .drop = drop };
	f->d = &s->dir;
	f->fd = -1;
	f->keep = s->cache;
	memcpy(f->digest, digest, SHA256_BYTES);
	list_init(&f->waiting);
	if (jobs_submit(s->fetchers, &f->job)) {
		free(f);
		return NULL;
	}
	list_add_tail(&s->fetches, &f->node);
	return f;
}

/**
 * fetch_begin() - @r will be made when the object is there
 *
 * Return: 0; -EBUSY when too many wait; -ENOMEM.
 */
int fetch_begin(struct site *s, const u8 digest[SHA256_BYTES], struct reply *r)
{
	struct waiter *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->job = (struct job){ .finish = answer, .drop = drop_waiter };
	w->of = under_way(s, digest);
	if (!w->of)
		w->of = start(s, digest);
	if (!w->of) {
		free(w);
		return -EBUSY;
	}
	list_add_tail(&w->of->waiting, &w->node);
	r->job = &w->job;
	return 0;
}
