/*
 * walk.c - every chunk of a version, read from the store and checked
 *
 * Behind `freshet image verify` and `freshet image export`. Nothing in the
 * store is believed: the manifest by its digest and signature, pages and chunks
 * by their digests. All that is wrong is reported by name, not just the first.
 */
#include "images/walk.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "server/data/digestset.h"
#include "server/data/objects.h"
#include "server/data/version.h"

struct walking {
	struct walk *w;	 /* (c) */
	u8 *digests;	 /* (c) once the pages are read */
	bool *page_bad;	 /* (c) likewise: these chunks are unknown */
	atomic_ullong next, done, good, zero, bad; /* (a) */
	atomic_int err;				   /* (a) */
	pthread_mutex_t lock;
	struct digestset seen; /* [lock] */
};

struct walker {
	struct walking *g;
	u8 *plain; /* an object may be longer than this manifest wants */
	pthread_t thread;
};

/**
 * manifest_load() - read a version's manifest and believe it
 * @file: out, to be freed; @m points into it
 *
 * Says what is wrong. Return: 0 or an error.
 */
int manifest_load(const struct datadir *d, const u8 version[SHA256_BYTES],
		  const u8 pub[P256_PUB_BYTES], u8 **file, struct manifest *m)
{
	u8 keys[1][P256_PUB_BYTES], digest[SHA256_BYTES];
	char path[DATADIR_PATH_MAX];
	const char *why = NULL;
	size_t bytes;
	int err;

	path_manifest(path, version);
	err = datadir_read(d, path, MANIFEST_BYTES_MAX, file, &bytes);
	if (err) {
		cli_error("%s/%s: %s", d->path, path, strerror(-err));
		return err;
	}
	memcpy(keys[0], pub, P256_PUB_BYTES);
	manifest_digest(digest, *file, bytes);
	if (memcmp(digest, version, SHA256_BYTES))
		why = "corrupt: its digest is not its name";
	else if (manifest_verify(*file, bytes, (const u8(*)[P256_PUB_BYTES])keys, 1))
		why = "bad signature: not signed with this site's key";
	else if (manifest_parse(*file, bytes, m))
		why = "not a manifest of a format that we know";
	if (!why)
		return 0;
	cli_error("%s/%s: %s", d->path, path, why);
	free(*file);
	return -EBADMSG;
}

/* The object of @digest, decoded and checked; NULL when all is well, else what is wrong. */
static const char *read_object(struct walker *t, const u8 digest[SHA256_BYTES], u32 plain_bytes)
{
	int n = object_read(t->g->w->dir, digest, t->plain, MANIFEST_CHUNK_MAX);

	if (n == -ENOENT)
		return "missing";
	if (n == -EFBIG)
		return "too long";
	if (n == -EBADMSG)
		return "corrupt: its content is not what its name says";
	if (n < 0)
		return objects_why(n);
	return (u32)n == plain_bytes ? NULL : "sound, but not of the length that the manifest says";
}

/* Named by its file, or by its digest where there is none of ours. */
static void report(struct walker *t, const char *what, u64 index, const u8 *digest,
		   const char *why)
{
	const struct datadir *d = t->g->w->dir;
	char path[DATADIR_PATH_MAX], hex[DIGEST_HEX + 1];

	path_object(path, digest);
	if (objects_remote(d))
		cli_error("object %s: %s (%s %llu)", cli_hex(hex, digest), why, what,
			  (unsigned long long)index);
	else
		cli_error("%s/%s: %s (%s %llu)", d->path, path, why, what,
			  (unsigned long long)index);
	atomic_fetch_add(&t->g->bad, 1);
}

static void read_pages(struct walker *t)
{
	struct walking *g = t->g;
	const struct manifest *m = g->w->m;

	for (u32 i = 0; i < m->page_count; i++) {
		const u8 *digest = manifest_page_digest(m, i);
		u32 bytes = manifest_page_plain_bytes(m, i);
		const char *why = read_object(t, digest, bytes);

		g->page_bad[i] = why;
		if (why)
			report(t, "table page", i, digest, why);
		else
			memcpy(g->digests + (size_t)i * m->digests_per_page * SHA256_BYTES,
			       t->plain, bytes);
	}
}

static int seen_before(struct walking *g, const u8 *digest, bool *seen)
{
	bool added;
	int err;

	*seen = false;
	if (!g->w->once)
		return 0;
	pthread_mutex_lock(&g->lock);
	err = digestset_add(&g->seen, digest, &added) ? 0 : -ENOMEM;
	pthread_mutex_unlock(&g->lock);
	*seen = !added;
	return err;
}

static int walk_chunk(struct walker *t, u64 i)
{
	struct walking *g = t->g;
	const struct manifest *m = g->w->m;
	const u8 *digest = g->digests + i * SHA256_BYTES;
	u32 bytes = manifest_chunk_plain_bytes(m, i);
	const char *why;
	bool seen;
	int err;

	if (g->page_bad[i / m->digests_per_page])
		return 0;
	if (manifest_digest_is_zero(digest)) {
		atomic_fetch_add(&g->zero, 1);
		return 0;
	}
	err = seen_before(g, digest, &seen);
	if (err || seen)
		return err;
	why = read_object(t, digest, bytes);
	if (why) {
		report(t, "image chunk", i, digest, why);
		return 0;
	}
	atomic_fetch_add(&g->good, 1);
	return g->w->chunk ? g->w->chunk(g->w->arg, i, t->plain, bytes) : 0;
}

static void *walker_run(void *arg)
{
	struct walker *t = arg;
	struct walking *g = t->g;

	while (!atomic_load(&g->err)) {
		u64 i = atomic_fetch_add(&g->next, 1);
		int err;

		if (i >= g->w->m->chunk_count)
			break;
		err = walk_chunk(t, i);
		if (err)
			atomic_store(&g->err, err);
		atomic_fetch_add(&g->done, manifest_chunk_plain_bytes(g->w->m, i));
	}
	return NULL;
}

static void run_walkers(struct walking *g, struct walker *walkers)
{
	const struct timespec nap = { .tv_nsec = 50 * (long)NS_PER_MS };
	struct cli_progress progress;
	unsigned int started = 0;

	cli_progress_start(&progress, g->w->what, g->w->m->image_bytes, g->w->quiet);
	for (; started < g->w->threads; started++) {
		int err = pthread_create(&walkers[started].thread, NULL, walker_run,
					 &walkers[started]);

		if (err) {
			atomic_store(&g->err, -err);
			break;
		}
	}
	while (!atomic_load(&g->err) && atomic_load(&g->done) < g->w->m->image_bytes) {
		nanosleep(&nap, NULL);
		cli_progress_at(&progress, atomic_load(&g->done));
	}
	for (unsigned int i = 0; i < started; i++)
		pthread_join(walkers[i].thread, NULL);
	cli_progress_end(&progress);
}

/**
 * walk_run() - go over the whole version
 *
 * Return: 0 when all was looked at, and w->bad counts what was wrong;
 * an error when that could not be done, or what w->chunk returned.
 */
int walk_run(struct walk *w)
{
	struct walking g = { .w = w, .lock = PTHREAD_MUTEX_INITIALIZER };
	struct walker *walkers = calloc(w->threads, sizeof(*walkers));
	int err = walkers ? digestset_init(&g.seen) : -ENOMEM;

	if (!err) {
		g.digests = calloc(w->m->chunk_count, SHA256_BYTES);
		g.page_bad = calloc(w->m->page_count, sizeof(*g.page_bad));
		err = g.digests && g.page_bad ? 0 : -ENOMEM;
	}
	for (unsigned int i = 0; !err && i < w->threads; i++) {
		walkers[i].g = &g;
		walkers[i].plain = malloc(MANIFEST_CHUNK_MAX);
		err = walkers[i].plain ? 0 : -ENOMEM;
	}
	if (!err) {
		read_pages(&walkers[0]);
		run_walkers(&g, walkers);
		err = atomic_load(&g.err);
	}
	w->good = atomic_load(&g.good);
	w->zero = atomic_load(&g.zero);
	w->bad = atomic_load(&g.bad);
	for (unsigned int i = 0; walkers && i < w->threads; i++)
		free(walkers[i].plain);
	free(walkers);
	free(g.digests);
	free(g.page_bad);
	digestset_fini(&g.seen);
	return err;
}
