/*
 * builder.c - a disk into chunk objects and a signed manifest
 *
 * Threads take the next chunk of the disk off a counter, so reading stays close
 * to sequential. A chunk is skipped if it is a hole or zero, hashed, looked up
 * in the set of this run, then in the store, and compressed only if it is new to
 * both. New objects go to incoming/; one that an interrupted run left there is
 * compared and used again, so that run's compressing is not lost.
 *
 * When all are there they are published (server/data/publish.c), which is the only
 * moment that needs the folder's lock. A run that is killed names nothing.
 */
#include "images/builder.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/plat.h"
#include "server/data/digestset.h"
#include "server/data/publish.h"
#include "storage/format/chunk.h"

#define BLOCK_BYTES 4096u /* what used_bytes counts in */

enum { OBJECT_OLD, OBJECT_NEW };

struct build {
	const struct build_params *p; /* (c) */
	struct manifest m;	      /* (c) */
	u8 *digests;		      /* (o) entry i belongs to the thread that took chunk i */
	atomic_ullong next, done, used, zero; /* (a) */
	atomic_int err;			      /* (a) first error; others stop */
	pthread_mutex_t lock;
	struct digestset set;	/* [lock] */
	u64 new_bytes, new_objects, stored_bytes, resumed; /* [lock] */
};

struct worker {
	struct build *b;
	u8 *plain, *object;
	u8 *old; /* what incoming/ has of a chunk */
	struct chunk_encoder *encoder;
	struct source_reader reader;
	pthread_t thread;
};

static void fail(struct build *b, int err)
{
	int none = 0;

	atomic_compare_exchange_strong(&b->err, &none, err);
}

static bool block_is_zero(const u8 *p, size_t n)
{
	return !p[0] && !memcmp(p, p + 1, n - 1);
}

static u64 used_bytes(const u8 *p, u32 bytes)
{
	u64 used = 0;

	for (u32 off = 0; off < bytes; off += BLOCK_BYTES) {
		u32 n = MIN(BLOCK_BYTES, bytes - off);

		if (!block_is_zero(p + off, n))
			used += n;
	}
	return used;
}

/* Note what became of a digest: its object's size, and whether it is to be renamed. */
static int note_object(struct build *b, const u8 digest[SHA256_BYTES], u32 bytes, u8 flag)
{
	struct digestset_entry *e;
	bool added;

	pthread_mutex_lock(&b->lock);
	e = digestset_add(&b->set, digest, &added);
	if (e) {
		e->bytes = bytes;
		e->flag = flag;
		b->stored_bytes += bytes;
		if (flag == OBJECT_NEW) {
			b->new_objects++;
			b->new_bytes += bytes;
		}
	}
	pthread_mutex_unlock(&b->lock);
	return e ? 0 : -ENOMEM;
}

/* Is what an earlier run left the same chunk, whole? Nothing there was ever synced. */
static bool still_good(struct worker *w, const u8 *plain, u32 bytes, const u8 digest[SHA256_BYTES])
{
	int n = incoming_read(w->b->p->dir, digest, w->old, w->b->m.chunk_bytes);

	return n == (int)bytes && !memcmp(w->old, plain, bytes);
}

/* Make sure that the store will have @plain, whose digest is @digest. */
static int keep_chunk(struct worker *w, const u8 *plain, u32 bytes, const u8 digest[SHA256_BYTES])
{
	struct build *b = w->b;
	int place;
	u32 stored = 0;
	bool added;
	int n, err;

	pthread_mutex_lock(&b->lock);
	err = digestset_add(&b->set, digest, &added) ? 0 : -ENOMEM;
	pthread_mutex_unlock(&b->lock);
	if (err || !added)
		return err;
	place = object_find(b->p->dir, digest, &stored);
	if (place < 0)
		return place;
	if (place == OBJECT_STORED)
		return note_object(b, digest, stored, OBJECT_OLD);
	if (place == OBJECT_INCOMING && still_good(w, plain, bytes, digest)) {
		pthread_mutex_lock(&b->lock);
		b->resumed++;
		pthread_mutex_unlock(&b->lock);
		return note_object(b, digest, stored, OBJECT_NEW);
	}
	n = chunk_encoder_run(w->encoder, plain, bytes, w->object);
	if (n < 0)
		return n;
	err = incoming_put(b->p->dir, digest, w->object, (size_t)n);
	return err ? err : note_object(b, digest, (u32)n, OBJECT_NEW);
}

static int take_chunk(struct worker *w, u64 i)
{
	struct build *b = w->b;
	u32 bytes = manifest_chunk_plain_bytes(&b->m, i);
	u64 off = i * b->m.chunk_bytes, used;
	u8 *digest = b->digests + i * SHA256_BYTES;
	int err;

	if (source_hole(&w->reader, off, bytes)) {
		atomic_fetch_add(&b->zero, 1);
		return 0;
	}
	err = source_read(&w->reader, w->plain, bytes, off);
	if (err)
		return err;
	used = used_bytes(w->plain, bytes);
	if (!used) {
		atomic_fetch_add(&b->zero, 1);
		return 0;
	}
	atomic_fetch_add(&b->used, used);
	crypto_sha256(digest, w->plain, bytes);
	return keep_chunk(w, w->plain, bytes, digest);
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;
	struct build *b = w->b;

	while (!atomic_load(&b->err)) {
		u64 i = atomic_fetch_add(&b->next, 1);
		int err;

		if (i >= b->m.chunk_count)
			break;
		err = take_chunk(w, i);
		if (err)
			fail(b, err);
		atomic_fetch_add(&b->done, manifest_chunk_plain_bytes(&b->m, i));
	}
	return NULL;
}

static int worker_init(struct worker *w, struct build *b)
{
	int err = chunk_encoder_create(&w->encoder, b->p->level);

	if (err)
		return err;
	w->b = b;
	w->plain = malloc(b->m.chunk_bytes);
	w->object = malloc(CHUNK_HEADER_BYTES + b->m.chunk_bytes);
	w->old = malloc(b->m.chunk_bytes);
	if (!w->plain || !w->object || !w->old)
		return -ENOMEM;
	return source_reader_init(&w->reader, b->p->source);
}

static void worker_fini(struct worker *w)
{
	free(w->plain);
	free(w->object);
	free(w->old);
	chunk_encoder_destroy(w->encoder);
	source_reader_fini(&w->reader);
}

/* The threads do the work, this one watches. */
static int run_workers(struct build *b, struct worker *workers, unsigned int count)
{
	const struct timespec nap = { .tv_nsec = 50 * (long)NS_PER_MS };
	struct cli_progress progress;
	unsigned int started = 0;

	cli_progress_start(&progress, "image", b->p->source->bytes, b->p->quiet);
	for (; started < count; started++) {
		int err = pthread_create(&workers[started].thread, NULL, worker_run,
					 &workers[started]);

		if (err) {
			fail(b, -err);
			break;
		}
	}
	while (!atomic_load(&b->err) && atomic_load(&b->done) < b->p->source->bytes) {
		nanosleep(&nap, NULL);
		cli_progress_at(&progress, atomic_load(&b->done));
	}
	for (unsigned int i = 0; i < started; i++)
		pthread_join(workers[i].thread, NULL);
	cli_progress_end(&progress);
	return atomic_load(&b->err);
}

/* The table: digests of all chunks, cut into pages that are chunks themselves. */
static int make_pages(struct worker *w, u8 *pages)
{
	struct build *b = w->b;

	for (u32 i = 0; i < b->m.page_count; i++) {
		const u8 *plain = b->digests + (size_t)i * b->m.digests_per_page * SHA256_BYTES;
		u32 bytes = manifest_page_plain_bytes(&b->m, i);
		int err;

		crypto_sha256(pages + (size_t)i * SHA256_BYTES, plain, bytes);
		err = keep_chunk(w, plain, bytes, pages + (size_t)i * SHA256_BYTES);
		if (err)
			return err;
	}
	return 0;
}

static void count_missing(void *arg, const u8 digest[SHA256_BYTES])
{
	(void)digest;
	++*(u64 *)arg;
}

/* New objects get their names; old ones may have been collected since we saw them. */
static int publish_all(struct build *b, const u8 *pages)
{
	u64 missing = 0;
	int err = publish_objects(b->p->dir, b->digests, b->m.chunk_count, count_missing,
				  &missing);

	if (!err)
		err = publish_objects(b->p->dir, pages, b->m.page_count, count_missing, &missing);
	return missing ? -EAGAIN : err;
}

/* Is the version @reuse the same but for its signature? */
static bool same_but_signature(const struct build *b, const u8 *file, size_t bytes)
{
	char path[DATADIR_PATH_MAX];
	size_t old_bytes;
	bool same;
	u8 *old;

	if (!b->p->reuse)
		return false;
	path_manifest(path, b->p->reuse);
	if (datadir_read(b->p->dir, path, MANIFEST_BYTES_MAX, &old, &old_bytes))
		return false;
	same = old_bytes == bytes && !memcmp(old, file, bytes - P256_SIG_BYTES);
	if (same) {
		u8 pub[1][P256_PUB_BYTES];

		key_public(b->p->key, pub[0]);
		same = !manifest_verify(old, old_bytes, (const u8(*)[P256_PUB_BYTES])pub, 1);
	}
	free(old);
	return same;
}

static int publish_manifest(struct build *b, struct build_result *r)
{
	size_t bytes = manifest_size(&b->m);
	char path[DATADIR_PATH_MAX];
	u8 digest[SHA256_BYTES];
	u8 *file = malloc(bytes);
	int err = file ? manifest_build(&b->m, file, bytes, digest) : -ENOMEM;

	b->stored_bytes += bytes;
	if (!err && same_but_signature(b, file, bytes)) {
		memcpy(r->version, b->p->reuse, SHA256_BYTES);
		r->reused = true;
		free(file);
		return 0;
	}
	if (!err)
		err = key_sign(b->p->key, digest, file + bytes - P256_SIG_BYTES);
	if (!err) {
		manifest_digest(r->version, file, bytes);
		path_manifest(path, r->version);
		err = datadir_write(b->p->dir, path, file, bytes, 0644);
	}
	free(file);
	return err;
}

static int describe(struct build *b)
{
	const struct build_params *p = b->p;

	b->m = (struct manifest){
		.chunk_bytes = p->chunk_bytes,
		.sector_bytes = p->sector_bytes,
		.image_bytes = p->source->bytes,
		.created_unix = p->created_unix,
	};
	memcpy(b->m.parent, p->parent, SHA256_BYTES);
	fmt_snprintf(b->m.name, sizeof(b->m.name), "%s", p->name);
	fmt_snprintf(b->m.label, sizeof(b->m.label), "%s", p->label);
	return manifest_fill_counts(&b->m);
}

/**
 * image_build() - make a version of the disk @p->source
 * @r: out, on success
 *
 * Return: 0; -ENODATA when the disk shrank meanwhile; -EAGAIN when objects were collected
 * meanwhile; errors of files, memory, key.
 */
int image_build(const struct build_params *p, struct build_result *r)
{
	struct build b = { .p = p, .lock = PTHREAD_MUTEX_INITIALIZER };
	struct worker *workers = calloc(p->threads, sizeof(*workers));
	bool locked = p->dir->lock_fd >= 0;
	u64 start = plat_time_ns();
	u8 *pages = NULL;
	int err;

	memset(r, 0, sizeof(*r));
	err = workers ? describe(&b) : -ENOMEM;
	if (!err)
		err = digestset_init(&b.set);
	if (!err) {
		b.digests = calloc(b.m.chunk_count, SHA256_BYTES);
		pages = calloc(b.m.page_count, SHA256_BYTES);
		err = b.digests && pages ? 0 : -ENOMEM;
	}
	cli_be_self(); /* who opened the disk: its owner's alone are file and socket */
	for (unsigned int i = 0; !err && i < p->threads; i++)
		err = worker_init(&workers[i], &b);
	cli_be_owner(p->dir);
	if (!err)
		err = run_workers(&b, workers, p->threads);
	r->unique = b.set.count;
	if (!err)
		err = make_pages(&workers[0], pages);
	b.m.pages = pages;
	if (!err && !locked)
		err = datadir_lock(p->dir);
	if (!err)
		err = publish_all(&b, pages);
	if (!err)
		err = publish_manifest(&b, r);
	if (!err) {
		incoming_forget(p->dir, b.digests, b.m.chunk_count);
		incoming_forget(p->dir, pages, b.m.page_count);
	}
	if (!locked)
		datadir_unlock(p->dir);
	r->used_bytes = atomic_load(&b.used);
	r->chunks = b.m.chunk_count;
	r->zero = atomic_load(&b.zero);
	r->stored_bytes = b.stored_bytes;
	r->new_objects = b.new_objects;
	r->new_bytes = b.new_bytes;
	r->resumed = b.resumed;
	r->ns = plat_time_ns() - start;
	for (unsigned int i = 0; workers && i < p->threads; i++)
		worker_fini(&workers[i]);
	free(workers);
	free(pages);
	free(b.digests);
	digestset_fini(&b.set);
	return err;
}
