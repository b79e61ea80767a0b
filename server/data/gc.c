/*
 * gc.c - what nothing names any more goes
 *
 * Mark: every manifest, its table pages, their chunks. If one cannot be read it is
 * unknown what it names, and nothing is removed at all. Sweep: objects that are not
 * marked. All of it under the folder's lock, so no version is published meanwhile;
 * one that is being pushed has its new objects in incoming/, and learns when it
 * publishes that an old one has gone (publish.c). A PC that boots a version which
 * was removed a moment ago asks for its chunks in vain, which is why
 * removing a version in use is refused elsewhere.
 *
 * Objects that are elsewhere have no incoming/ there: a note here says which of them wait
 * for their version (publish.c).
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "server/data/digestset.h"
#include "server/data/objects.h"
#include "server/data/publish.h"

struct gc {
	struct datadir *d;
	const u8 *pub;
	struct digestset live;
	struct gc_result *r;
	char *why;
	time_t now;
	u64 grace_s, incoming_s;
	bool dry_run;
	u8 *dead; /* dead_count digests */
	u64 dead_count, dead_room;
};

static int mark_version(void *arg, const u8 id[SHA256_BYTES], const struct manifest *m)
{
	struct gc *g = arg;
	const char *why = "";
	char hex[DIGEST_HEX + 1];
	struct version v;
	bool added;
	int err;

	(void)m;
	err = version_load(g->d, id, g->pub, &v, &why);
	if (err) {
		if (err == -EREMOTEIO)
			fmt_snprintf(g->why, GC_WHY_MAX, "%s", why);
		else
			fmt_snprintf(g->why, GC_WHY_MAX, "version %s: %s; remove it or repair it"
				     " first", fmt_hex(hex, id, SHA256_BYTES), why);
		return err;
	}
	for (u32 i = 0; !err && i < v.m.page_count; i++)
		if (!digestset_add(&g->live, manifest_page_digest(&v.m, i), &added))
			err = -ENOMEM;
	for (u64 i = 0; !err && i < v.m.chunk_count; i++)
		if (!manifest_digest_is_zero(v.digests + i * SHA256_BYTES) &&
		    !digestset_add(&g->live, v.digests + i * SHA256_BYTES, &added))
			err = -ENOMEM;
	version_free(&v);
	g->r->versions++;
	return err;
}

/* A manifest that is not even one: version_list() goes past it, so look again. */
static int count_manifests(const struct datadir *d, u64 *n)
{
	int fd = openat(d->fd, "manifests", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	*n = 0;
	if (!dir)
		return -errno;
	while ((e = readdir(dir)))
		*n += digest_hex_ok(e->d_name, strlen(e->d_name));
	closedir(dir);
	return 0;
}

/* Does a note say that its version is still to come? */
static bool waits(const struct gc *g, const u8 *digest)
{
	char path[DATADIR_PATH_MAX];
	struct stat st;

	path_incoming(path, digest);
	return objects_remote(g->d) && !fstatat(g->d->fd, path, &st, 0) &&
	       g->now - st.st_mtime < (time_t)g->incoming_s;
}

static int sweep_one(void *arg, const struct object_entry *e)
{
	struct gc *g = arg;

	if (digestset_has(&g->live, e->digest)) {
		g->r->objects++;
		g->r->bytes += e->bytes;
		return 0;
	}
	/* Another host's clock, or one that rounds up, may be ahead: no grace is none at all. */
	if (g->grace_s && g->now - e->modified < (time_t)g->grace_s)
		return 0;
	if (waits(g, e->digest))
		return 0;
	if (g->dead_count == g->dead_room) {
		u64 room = g->dead_room ? g->dead_room * 2 : 1024;
		u8 *more = realloc(g->dead, room * SHA256_BYTES);

		if (!more)
			return -ENOMEM;
		g->dead = more;
		g->dead_room = room;
	}
	memcpy(g->dead + g->dead_count++ * SHA256_BYTES, e->digest, SHA256_BYTES);
	g->r->gone_bytes += e->bytes;
	return 0;
}

static int sweep_objects(struct gc *g)
{
	int err = objects_list(g->d, sweep_one, g);

	g->r->gone_objects = g->dead_count;
	if (!err && !g->dry_run)
		err = objects_remove(g->d, g->dead, g->dead_count, &g->r->gone_objects);
	if (err)
		fmt_snprintf(g->why, GC_WHY_MAX, "%s", objects_why(err));
	free(g->dead);
	return err;
}

static void sweep_incoming(struct gc *g)
{
	int fd = openat(g->d->fd, "incoming", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		struct stat st;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
		    fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) ||
		    g->now - st.st_mtime < (time_t)g->incoming_s)
			continue;
		if (g->dry_run || !unlinkat(fd, e->d_name, 0)) {
			g->r->gone_incoming++;
			g->r->gone_incoming_bytes += (u64)st.st_size;
		}
	}
	if (dir)
		closedir(dir);
}

/**
 * gc_run() - remove objects that no version names, and uploads that nobody finished
 * @grace_s:    objects younger than this stay
 * @incoming_s: likewise for uploads
 * @why:        out, on failure, in words
 *
 * Takes the folder's lock. Return: 0; what version_load() returns; others.
 */
int gc_run(struct datadir *d, const u8 pub[P256_PUB_BYTES], u64 grace_s, u64 incoming_s,
	   bool dry_run, struct gc_result *r, char why[GC_WHY_MAX])
{
	struct gc g = {
		.d = d, .pub = pub, .r = r, .why = why, .grace_s = grace_s,
		.incoming_s = incoming_s, .dry_run = dry_run, .now = time(NULL),
	};
	u64 files = 0;
	int err;

	memset(r, 0, sizeof(*r));
	why[0] = 0;
	err = digestset_init(&g.live);
	if (!err)
		err = datadir_lock(d);
	if (!err) {
		err = version_list(d, mark_version, &g);
		if (!err)
			err = count_manifests(d, &files);
		if (!err && files != r->versions) {
			fmt_snprintf(why, GC_WHY_MAX,
				     "a file in manifests/ is no manifest; remove it");
			err = -EBADMSG;
		}
		if (!err)
			err = sweep_objects(&g);
		if (!err)
			sweep_incoming(&g);
		datadir_unlock(d);
	}
	digestset_fini(&g.live);
	return err;
}
