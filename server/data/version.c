/*
 * version.c - a version of an image as the data folder has it
 *
 * Nothing in the folder is believed: the manifest by its digest and signature,
 * table pages and chunks by their digests.
 */
#include "server/data/version.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "server/data/digestset.h"
#include "server/data/objects.h"
#include "server/data/profiles.h"

/**
 * object_check() - decode an object and compare its content with its name
 * @plain: room for @plain_max bytes
 *
 * Return: length of the content; -EBADMSG; -ENOMEM.
 */
int object_check(const u8 *object, size_t bytes, const u8 digest[SHA256_BYTES], u8 *plain,
		 u32 plain_max)
{
	struct chunk_decoder *dec = malloc(sizeof(*dec));
	u8 found[SHA256_BYTES];
	int n;

	if (!dec)
		return -ENOMEM;
	n = chunk_decode(dec, object, bytes, plain, (int)plain_max);
	free(dec);
	if (n <= 0)
		return -EBADMSG;
	crypto_sha256(found, plain, (size_t)n);
	return memcmp(found, digest, SHA256_BYTES) ? -EBADMSG : n;
}

/** object_read() - the content of a stored object, checked; its length, or an error */
int object_read(const struct datadir *d, const u8 digest[SHA256_BYTES], u8 *plain, u32 plain_max)
{
	size_t bytes;
	u8 *object;
	int n = objects_get(d, digest, &object, &bytes);

	if (n)
		return n;
	n = object_check(object, bytes, digest, plain, plain_max);
	objects_note(d, digest, object, bytes, n);
	free(object);
	return n;
}

static int load_table(const struct datadir *d, struct version *v, const char **why)
{
	const struct manifest *m = &v->m;
	u8 *page = malloc(m->chunk_bytes);
	int err = 0;

	v->digests = calloc(m->chunk_count, SHA256_BYTES);
	if (!v->digests || !page)
		err = -ENOMEM;
	for (u32 i = 0; !err && i < m->page_count; i++) {
		u32 want = manifest_page_plain_bytes(m, i);
		const u8 *digest = manifest_page_digest(m, i);
		int n = manifest_digest_is_zero(digest) ? 0 :
			object_read(d, digest, page, m->chunk_bytes);

		if (n > 0 && (u32)n == want) {
			memcpy(v->digests + (size_t)i * m->digests_per_page * SHA256_BYTES, page,
			       want);
		} else if (n) {
			*why = n == -ENOENT ? "a table page is missing" :
			       n == -EREMOTEIO ? objects_why(n) : "a table page is damaged";
			err = n == -ENOENT || n == -EREMOTEIO ? n : -EBADMSG;
		}
	}
	free(page);
	return err;
}

/**
 * version_load() - read a version's manifest and table, and believe them
 * @why: out, on failure, in words
 *
 * Return: 0; -ENOENT; -EBADMSG; -EKEYREJECTED; -ENOMEM and others.
 */
int version_load(const struct datadir *d, const u8 version[SHA256_BYTES],
		 const u8 pub[P256_PUB_BYTES], struct version *v, const char **why)
{
	u8 keys[1][P256_PUB_BYTES], digest[SHA256_BYTES];
	char path[DATADIR_PATH_MAX];
	int err;

	memset(v, 0, sizeof(*v));
	*why = "no such version";
	path_manifest(path, version);
	err = datadir_read(d, path, MANIFEST_BYTES_MAX, &v->file, &v->file_bytes);
	if (err)
		return err;
	memcpy(keys[0], pub, P256_PUB_BYTES);
	manifest_digest(digest, v->file, v->file_bytes);
	if (memcmp(digest, version, SHA256_BYTES)) {
		*why = "the manifest is damaged";
		err = -EBADMSG;
	} else if (manifest_verify(v->file, v->file_bytes, (const u8(*)[P256_PUB_BYTES])keys, 1)) {
		*why = "the manifest is not signed with this site's key";
		err = -EKEYREJECTED;
	} else if (manifest_parse(v->file, v->file_bytes, &v->m)) {
		*why = "not a manifest of a format that we know";
		err = -EBADMSG;
	}
	if (!err)
		err = load_table(d, v, why);
	if (err)
		version_free(v);
	return err;
}

/** version_free() - what version_load() took */
void version_free(struct version *v)
{
	free(v->file);
	free(v->digests);
	memset(v, 0, sizeof(*v));
}

/* Those of @digests that @set does not have yet, into it and behind @fresh. */
static int add_some(struct digestset *set, const u8 *digests, u64 count, u8 *fresh, u64 *n)
{
	bool added;

	for (u64 i = 0; i < count; i++) {
		const u8 *digest = digests + i * SHA256_BYTES;

		if (manifest_digest_is_zero(digest))
			continue;
		if (!digestset_add(set, digest, &added))
			return -ENOMEM;
		if (added && fresh)
			memcpy(fresh + (*n)++ * SHA256_BYTES, digest, SHA256_BYTES);
	}
	return 0;
}

static int add_all(struct digestset *set, const struct version *v, u8 *fresh, u64 *n)
{
	int err = add_some(set, v->digests, v->m.chunk_count, fresh, n);

	return err ? err : add_some(set, v->m.pages, v->m.page_count, fresh, n);
}

/**
 * version_cost() - what @v needs beyond what @have has
 * @have: NULL: nothing
 */
int version_cost(const struct datadir *d, const struct version *v, const struct version *have,
		 struct version_cost *out)
{
	u64 all = v->m.chunk_count + v->m.page_count, n = 0;
	u8 *fresh = calloc(all + 1, SHA256_BYTES);
	u32 *bytes = calloc(all + 1, sizeof(*bytes));
	struct digestset set;
	int err = digestset_init(&set);

	memset(out, 0, sizeof(*out));
	if (!err && (!fresh || !bytes))
		err = -ENOMEM;
	if (!err && have)
		err = add_all(&set, have, NULL, NULL);
	if (!err)
		err = add_all(&set, v, fresh, &n);
	if (!err)
		err = objects_find(d, fresh, n, bytes);
	for (u64 i = 0; !err && i < n; i++) {
		out->objects += bytes[i] > 0;
		out->missing += !bytes[i];
		out->bytes += bytes[i];
	}
	out->bytes += v->file_bytes;
	digestset_fini(&set);
	free(fresh);
	free(bytes);
	return err;
}

/** version_list() - all versions whose manifests parse, in no order; signatures are not checked */
int version_list(const struct datadir *d,
		 int (*one)(void *arg, const u8 version[SHA256_BYTES], const struct manifest *m),
		 void *arg)
{
	int fd = openat(d->fd, "manifests", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir) {
		err = -errno;
		if (fd >= 0)
			close(fd);
		return err;
	}
	while (!err && (e = readdir(dir))) {
		u8 version[SHA256_BYTES], *file;
		char path[DATADIR_PATH_MAX];
		struct manifest m;
		size_t bytes;

		if (!digest_hex_ok(e->d_name, strlen(e->d_name)))
			continue;
		fmt_unhex(version, SHA256_BYTES, e->d_name, DIGEST_HEX);
		path_manifest(path, version);
		if (datadir_read(d, path, MANIFEST_BYTES_MAX, &file, &bytes))
			continue;
		if (!manifest_parse(file, bytes, &m))
			err = one(arg, version, &m);
		free(file);
	}
	closedir(dir);
	return err;
}

/** version_unlink() - take its name away, and its boot profile; its objects wait for a gc */
int version_unlink(const struct datadir *d, const u8 version[SHA256_BYTES])
{
	char path[DATADIR_PATH_MAX];

	path_manifest(path, version);
	if (unlinkat(d->fd, path, 0))
		return -errno;
	profiles_drop(d, version);
	return 0;
}
