/*
 * publish.c - how objects get into the data folder and how a version gets its name
 *
 * Builds and uploads put objects into incoming/, whole, under their digest, but
 * neither synced nor named by anybody. That takes no lock, may be interrupted
 * at any moment, and is taken up again by whoever needs the same objects next.
 *
 * Publishing is short and under the folder's lock: sync the file system once, move
 * the objects that the version needs into objects/, sync again, then write the
 * manifest. So no name in objects/ ever stands for bytes that a power cut could
 * still take away, and a version that has a name is whole. An object that was in
 * objects/ when the push asked may have been collected since: then it is missing,
 * the pusher is told, and sends it.
 *
 * Where the objects are elsewhere (objects.h), they are sent there as they come: that
 * is durable when it is done, and goes over several connections at once, which a
 * publisher that holds the lock could not. An empty file in incoming/ says of each that
 * it waits for its version, and keeps the collector away from it as long as from
 * others that wait.
 */
#include "server/data/publish.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "server/data/digestset.h"
#include "server/data/objects.h"

/** path_incoming() - where an object waits for its version */
void path_incoming(char out[DATADIR_PATH_MAX], const u8 digest[SHA256_BYTES])
{
	char hex[DIGEST_HEX + 1];

	fmt_snprintf(out, DATADIR_PATH_MAX, "incoming/%s", fmt_hex(hex, digest, SHA256_BYTES));
}

/**
 * object_find_many() - where are these, and how long?
 * @places: out, an enum object_place for each
 */
int object_find_many(const struct datadir *d, const u8 *digests, u64 count, u8 *places,
		     u32 *bytes)
{
	int err = objects_find(d, digests, count, bytes);

	for (u64 i = 0; !err && i < count; i++) {
		char path[DATADIR_PATH_MAX];
		struct stat st;

		places[i] = OBJECT_STORED;
		if (bytes[i])
			continue;
		path_incoming(path, digests + i * SHA256_BYTES);
		if (!fstatat(d->fd, path, &st, 0) && st.st_size > CHUNK_HEADER_BYTES)
			bytes[i] = (u32)st.st_size;
		places[i] = bytes[i] ? OBJECT_INCOMING : OBJECT_NOWHERE;
	}
	return err;
}

/** object_find() - the place of one, or an error; @bytes may be NULL */
int object_find(const struct datadir *d, const u8 digest[SHA256_BYTES], u32 *bytes)
{
	u8 place = OBJECT_NOWHERE;
	u32 n = 0;
	int err = object_find_many(d, digest, 1, &place, &n);

	if (bytes)
		*bytes = n;
	return err ? err : place;
}

/* To where the objects are, with a note that its version is still to come. */
static int send_away(const struct datadir *d, const u8 *digest, const u8 *object, size_t bytes)
{
	char path[DATADIR_PATH_MAX];
	int fd, err;

	path_incoming(path, digest);
	err = datadir_mkdir_for(d, path);
	if (err)
		return err;
	fd = openat(d->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	close(fd);
	return objects_put(d, digest, object, bytes);
}

/**
 * incoming_put() - keep an object until a version wants it; from any thread
 *
 * The caller has checked that it is what @digest says.
 */
int incoming_put(const struct datadir *d, const u8 digest[SHA256_BYTES], const u8 *object,
		 size_t bytes)
{
	static atomic_uint count;
	char tmp[DATADIR_PATH_MAX], path[DATADIR_PATH_MAX];
	int fd, err;

	if (objects_remote(d))
		return send_away(d, digest, object, bytes);
	path_incoming(path, digest);
	fmt_snprintf(tmp, sizeof(tmp), "incoming/.%d.%u", (int)getpid(),
		     atomic_fetch_add(&count, 1));
	fd = openat(d->fd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 && errno == ENOENT && !datadir_mkdir_for(d, tmp))
		fd = openat(d->fd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	err = fd_write_all(fd, object, bytes);
	if (close(fd) && !err)
		err = -errno;
	if (!err && renameat(d->fd, tmp, d->fd, path))
		err = -errno;
	if (err)
		unlinkat(d->fd, tmp, 0);
	return err;
}

/** incoming_read() - content of one that came, checked; its length, or an error */
int incoming_read(const struct datadir *d, const u8 digest[SHA256_BYTES], u8 *plain, u32 plain_max)
{
	char path[DATADIR_PATH_MAX];
	size_t bytes;
	u8 *object;
	int n;

	path_incoming(path, digest);
	n = datadir_read(d, path, OBJECT_BYTES_MAX, &object, &bytes);
	if (n)
		return n;
	n = object_check(object, bytes, digest, plain, plain_max);
	free(object);
	return n;
}

static int take_in(const struct datadir *d, const u8 digest[SHA256_BYTES])
{
	char from[DATADIR_PATH_MAX], to[DATADIR_PATH_MAX];
	size_t bytes;
	u8 *object;
	int err;

	path_incoming(from, digest);
	if (objects_remote(d)) { /* it came before the objects went elsewhere */
		err = datadir_read(d, from, OBJECT_BYTES_MAX, &object, &bytes);
		if (!err) {
			err = objects_put(d, digest, object, bytes);
			free(object);
		}
		return err;
	}
	path_object(to, digest);
	err = datadir_mkdir_for(d, to);
	return err ? err : renameat(d->fd, from, d->fd, to) ? -errno : 0;
}

/* Those that are not zero, each once; to be freed. */
static int distinct(const u8 *digests, u64 count, u8 **out, u64 *n)
{
	struct digestset seen;
	bool added;
	int err = digestset_init(&seen);

	*n = 0;
	*out = calloc(count + 1, SHA256_BYTES);
	if (!err && !*out)
		err = -ENOMEM;
	for (u64 i = 0; !err && i < count; i++) {
		const u8 *digest = digests + i * SHA256_BYTES;

		if (manifest_digest_is_zero(digest))
			continue;
		if (!digestset_add(&seen, digest, &added))
			err = -ENOMEM;
		else if (added)
			memcpy(*out + (*n)++ * SHA256_BYTES, digest, SHA256_BYTES);
	}
	digestset_fini(&seen);
	return err;
}

/** incoming_forget() - these have a version now: the notes that they wait for one go */
void incoming_forget(const struct datadir *d, const u8 *digests, u64 count)
{
	char path[DATADIR_PATH_MAX];

	for (u64 i = 0; objects_remote(d) && i < count; i++) {
		path_incoming(path, digests + i * SHA256_BYTES);
		if (!manifest_digest_is_zero(digests + i * SHA256_BYTES))
			unlinkat(d->fd, path, 0);
	}
}

/**
 * publish_objects() - see that objects/ has all of @digests, durably
 * @digests: zero ones are skipped, doubled ones do no harm
 *
 * Under the folder's lock. Return: 0; -ENOENT when @missing was called; others.
 */
int publish_objects(struct datadir *d, const u8 *digests, u64 count, publish_missing missing,
		    void *arg)
{
	bool synced = false, lost = false;
	u8 *all = NULL, *places = NULL;
	u32 *bytes = NULL;
	u64 n;
	int err = distinct(digests, count, &all, &n);

	if (!err) {
		places = calloc(n + 1, sizeof(*places));
		bytes = calloc(n + 1, sizeof(*bytes));
		err = places && bytes ? object_find_many(d, all, n, places, bytes) : -ENOMEM;
	}
	/* Nothing is moved if something is missing. */
	for (u64 i = 0; !err && i < n; i++)
		if (places[i] == OBJECT_NOWHERE) {
			missing(arg, all + i * SHA256_BYTES);
			lost = true;
		}
	if (lost)
		err = -ENOENT;
	for (u64 i = 0; !err && i < n; i++) {
		if (places[i] == OBJECT_STORED)
			continue;
		if (!synced)
			err = datadir_sync(d);
		synced = true;
		if (!err)
			err = take_in(d, all + i * SHA256_BYTES);
	}
	free(all);
	free(places);
	free(bytes);
	return err || !synced ? err : datadir_sync(d);
}

/* One table page from wherever it is; its digests into @out. */
static int read_page(struct datadir *d, const struct manifest *m, u32 i, u8 *out, u8 *page)
{
	const u8 *digest = manifest_page_digest(m, i);
	u32 want = manifest_page_plain_bytes(m, i);
	int n;

	if (manifest_digest_is_zero(digest))
		return 0;
	n = object_read(d, digest, page, m->chunk_bytes);
	if (n == -ENOENT || n == -EBADMSG)
		n = incoming_read(d, digest, page, m->chunk_bytes);
	if (n == -EBADMSG && objects_remote(d))
		n = -ENOENT; /* what waits there is a note, and what is stored is marked */
	if (n < 0)
		return n;
	if ((u32)n != want)
		return -EBADMSG;
	memcpy(out, page, want);
	return 0;
}

static int check_manifest(const u8 *file, size_t bytes, const u8 pub[P256_PUB_BYTES],
			  struct manifest *m, const char **why)
{
	u8 keys[1][P256_PUB_BYTES];

	memcpy(keys[0], pub, P256_PUB_BYTES);
	*why = "not a manifest of a format that we know";
	if (manifest_parse(file, bytes, m))
		return -EBADMSG;
	*why = "not signed with this site's key";
	return manifest_verify(file, bytes, (const u8(*)[P256_PUB_BYTES])keys, 1) ? -EKEYREJECTED :
										    0;
}

/**
 * publish_version() - give a version its name, if all that it needs is there
 * @file:    the manifest, signed
 * @version: out
 * @missing: called for each object that must be uploaded first
 *
 * Takes the folder's lock. Return: 0, also when it had its name already; -ENOENT:
 * objects are missing; -EBADMSG, -EKEYREJECTED: @why; errors of files.
 */
int publish_version(struct datadir *d, const u8 *file, size_t bytes, const u8 pub[P256_PUB_BYTES],
		    u8 version[SHA256_BYTES], publish_missing missing, void *arg, const char **why)
{
	char path[DATADIR_PATH_MAX];
	u8 *digests = NULL, *page = NULL;
	bool pages_lost = false;
	struct manifest m;
	int err = check_manifest(file, bytes, pub, &m, why);

	if (err)
		return err;
	*why = "a table page is damaged";
	digests = calloc(m.chunk_count, SHA256_BYTES);
	page = malloc(m.chunk_bytes);
	err = digests && page ? datadir_lock(d) : -ENOMEM;
	if (err)
		goto out;
	for (u32 i = 0; !err && i < m.page_count; i++) {
		err = read_page(d, &m, i,
				digests + (size_t)i * m.digests_per_page * SHA256_BYTES, page);
		if (err == -ENOENT) {
			missing(arg, manifest_page_digest(&m, i));
			pages_lost = true;
			err = 0;
		}
	}
	if (!err && pages_lost)
		err = -ENOENT;
	if (!err)
		err = publish_objects(d, m.pages, m.page_count, missing, arg);
	if (!err)
		err = publish_objects(d, digests, m.chunk_count, missing, arg);
	manifest_digest(version, file, bytes);
	path_manifest(path, version);
	if (!err)
		err = datadir_write(d, path, file, bytes, 0644);
	if (!err) {
		incoming_forget(d, m.pages, m.page_count);
		incoming_forget(d, digests, m.chunk_count);
	}
	if (err == -EREMOTEIO)
		*why = objects_why(err);
	datadir_unlock(d);
out:
	free(digests);
	free(page);
	return err;
}
