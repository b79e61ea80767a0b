/*
 * verify.c - an object is looked at before it is served for the first time
 *
 * Disks lose bits. A PC notices (it compares every chunk with its digest) but can only
 * ask again, and the same file comes again. So the server decodes an object and
 * compares it before it serves it for the first time since the start; one that is
 * not what its name says is moved to damaged/, is then missing, and comes back with
 * the next push or build. The work is a job; when too many wait, the object is
 * served unseen, because a boot matters more and the PC looks anyway.
 */
#include "server/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/log.h"
#include "server/data/objects.h"
#include "server/data/version.h"
#include "server/jobs.h"

struct verify_job {
	struct job job;
	const struct datadir *d;
	u8 digest[SHA256_BYTES];
	u8 *object;
	size_t bytes;
	int err;
};

static void run(struct job *job)
{
	struct verify_job *v = container_of(job, struct verify_job, job);
	char path[DATADIR_PATH_MAX];
	u8 *plain = malloc(MANIFEST_CHUNK_MAX);
	int n = -ENOMEM;

	path_object(path, v->digest);
	v->err = plain ? datadir_read(v->d, path, OBJECT_BYTES_MAX, &v->object, &v->bytes) : n;
	if (!v->err)
		n = object_check(v->object, v->bytes, v->digest, plain, MANIFEST_CHUNK_MAX);
	if (!v->err && n < 0)
		v->err = n;
	free(plain);
}

/* Out of the way, but not away: somebody may want to know what happened to it. */
static void put_aside(struct site *s, const u8 digest[SHA256_BYTES])
{
	char from[DATADIR_PATH_MAX], to[DATADIR_PATH_MAX];

	path_object(from, digest);
	path_damaged(to, digest);
	if (datadir_mkdir_for(&s->dir, to) || renameat(s->dir.fd, from, s->dir.fd, to)) {
		log_err("verify: cannot move a damaged object away path=%s", from);
		return;
	}
	log_err("verify: a damaged object was moved away path=%s", to);
	site_tell_damaged(s, digest);
}

static void finish(struct job *job, struct site *s, struct reply *r)
{
	struct verify_job *v = container_of(job, struct verify_job, job);
	bool added;

	if (v->err == -EBADMSG || v->err == -EFBIG)
		put_aside(s, v->digest);
	if (v->err) {
		reply_error(r, v->err == -EBADMSG || v->err == -EFBIG ? 404 :
						    site_status_of(v->err));
		return;
	}
	digestset_add(&s->verified, v->digest, &added);
	r->cache = CACHE_FOREVER;
	r->data = v->object;
	r->bytes = v->bytes;
	v->object = NULL;
	s->counts.objects++;
	s->counts.object_bytes += r->bytes;
}

static void drop(struct job *job)
{
	struct verify_job *v = container_of(job, struct verify_job, job);

	free(v->object);
	free(v);
}

/** verify_begin() - true: @r will be made by a job that looks at the object first */
bool verify_begin(struct site *s, const u8 digest[SHA256_BYTES], struct reply *r)
{
	struct verify_job *v;
	char path[DATADIR_PATH_MAX];
	struct stat st;

	if (!s->conf.verify || s->faults.count || !s->jobs || !s->verified.slots ||
	    digestset_has(&s->verified, digest))
		return false;
	path_object(path, digest);
	if (fstatat(s->dir.fd, path, &st, 0))
		return false;
	v = calloc(1, sizeof(*v));
	if (!v)
		return false;
	v->job = (struct job){ .run = run, .finish = finish, .drop = drop };
	v->d = &s->dir;
	memcpy(v->digest, digest, SHA256_BYTES);
	if (jobs_submit(s->jobs, &v->job)) {
		free(v);
		return false;
	}
	r->job = &v->job;
	return true;
}
