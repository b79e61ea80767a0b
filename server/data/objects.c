/*
 * objects.c - where a site's chunk objects lie, and the data folder as one such place
 *
 * The file objects.conf in the data folder says that its objects are elsewhere. The
 * server writes it from its settings, and the tools that open the folder follow it:
 * so all who work on one folder work on the same objects, and nobody mistakes an
 * empty objects/ for a site without any. A server whose settings say nothing goes
 * by it too; "objects folder" takes it away.
 *
 * A damaged object of the folder is moved to damaged/ and is then missing
 * (server/verify.c). One of a remote place stays where it is: what we read may have been
 * spoilt on its way. A file in damaged/ marks it, and marked ones count as missing, so
 * the next push sends them and overwrites whatever is there.
 */
#include "server/data/objects.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/log.h"
#include "server/data/s3.h"
#include "server/data/version.h"

/* ---------------------------------------------------------------- the folder */

static int folder_find(const struct datadir *d, const u8 *digests, u64 count, u32 *bytes)
{
	char path[DATADIR_PATH_MAX];
	struct stat st;

	for (u64 i = 0; i < count; i++) {
		path_object(path, digests + i * SHA256_BYTES);
		bytes[i] = fstatat(d->fd, path, &st, 0) ? 0 : (u32)st.st_size;
	}
	return 0;
}

static int folder_get(const struct datadir *d, const u8 *digest, u8 **object, size_t *bytes)
{
	char path[DATADIR_PATH_MAX];

	path_object(path, digest);
	return datadir_read(d, path, OBJECT_BYTES_MAX, object, bytes);
}

/* The caller holds the folder's lock. */
static int folder_put(const struct datadir *d, const u8 *digest, const u8 *object, size_t bytes)
{
	char path[DATADIR_PATH_MAX];

	path_object(path, digest);
	return datadir_write(d, path, object, bytes, 0644);
}

static int folder_remove(const struct datadir *d, const u8 *digests, u64 count, u64 *gone)
{
	char path[DATADIR_PATH_MAX];

	for (u64 i = 0; i < count; i++) {
		path_object(path, digests + i * SHA256_BYTES);
		*gone += !unlinkat(d->fd, path, 0);
	}
	return 0;
}

static int list_one(int dir_fd, const char *name, objects_one one, void *arg)
{
	struct object_entry e;
	struct stat st;

	if (!digest_hex_ok(name, strlen(name)) ||
	    fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
		return 0;
	fmt_unhex(e.digest, SHA256_BYTES, name, DIGEST_HEX);
	e.bytes = (u64)st.st_size;
	e.modified = st.st_mtime;
	return one(arg, &e);
}

static int folder_list(const struct datadir *d, objects_one one, void *arg)
{
	int err = 0;

	for (int i = 0; !err && i < 256; i++) {
		char path[16];
		struct dirent *e;
		DIR *dir;
		int fd;

		fmt_snprintf(path, sizeof(path), "objects/%02x", i);
		fd = openat(d->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		dir = fd < 0 ? NULL : fdopendir(fd);
		while (!err && dir && (e = readdir(dir)))
			err = list_one(fd, e->d_name, one, arg);
		if (dir)
			closedir(dir);
	}
	return err;
}

/* Not there yet is fine: the first push makes it. */
static int folder_check(const struct datadir *d)
{
	if (!faccessat(d->fd, "objects", R_OK | X_OK, AT_EACCESS) || errno == ENOENT)
		return 0;
	return -errno;
}

static const struct objects_ops folder = {
	.find = folder_find,
	.get = folder_get,
	.put = folder_put,
	.remove = folder_remove,
	.list = folder_list,
	.check = folder_check,
};

static const struct objects_ops *ops_of(const struct datadir *d)
{
	return d->objects ? d->objects->ops : &folder;
}

/* ---------------------------------------------------------------- which place it is */

/* "objects PLACE", "s3_credentials FILE", "s3_ca FILE". */
static int read_record(const struct datadir *d, struct objects_conf *c)
{
	char key[32], value[OBJECTS_TEXT_MAX];
	size_t bytes;
	u8 *text;
	int n, err = datadir_read(d, OBJECTS_RECORD, 4096, &text, &bytes);

	if (err)
		return err == -ENOENT ? 0 : err;
	for (char *rest = NULL, *p = strtok_r((char *)text, "\n", &rest); !err && p;
	     p = strtok_r(NULL, "\n", &rest)) {
		if (*p == '#' || sscanf(p, "%31s %255[^\n]%n", key, value, &n) != 2)
			continue;
		if (p[n])
			err = -ENAMETOOLONG;
		else if (!strcmp(key, "objects"))
			fmt_snprintf(c->place, sizeof(c->place), "%s", value);
		else if (!strcmp(key, "s3_credentials"))
			fmt_snprintf(c->credentials, sizeof(c->credentials), "%s", value);
		else if (!strcmp(key, "s3_ca"))
			fmt_snprintf(c->ca, sizeof(c->ca), "%s", value);
		else
			err = -EINVAL;
	}
	free(text);
	return err;
}

/* The tools may stand elsewhere than the server: absolute names. */
static int absolute(char out[OBJECTS_TEXT_MAX], const char *path, char why[OBJECTS_WHY_MAX])
{
	char *real = *path ? realpath(path, NULL) : NULL;
	const char *name = real ? real : path;
	int err = strlen(name) < OBJECTS_TEXT_MAX ? 0 : -ENAMETOOLONG;

	if (err)
		fmt_snprintf(why, OBJECTS_WHY_MAX, "%.80s: its absolute name is longer than %d "
			     "bytes; put it elsewhere", path, OBJECTS_TEXT_MAX - 1);
	else if (strchr(name, '\n'))
		err = -EINVAL;
	else
		strcpy(out, name);
	free(real);
	return err;
}

static int write_record(struct datadir *d, const struct objects_conf *c,
			char why[OBJECTS_WHY_MAX])
{
	char credentials[OBJECTS_TEXT_MAX], ca[OBJECTS_TEXT_MAX];
	char text[3 * OBJECTS_TEXT_MAX + 256];
	size_t bytes = 0;
	u8 *old = NULL;
	int n, err = absolute(credentials, c->credentials, why);

	if (!err)
		err = absolute(ca, c->ca, why);
	if (err)
		return err;
	n = fmt_snprintf(text, sizeof(text),
			 "# Where the objects are; freshetd writes this from its settings.\n"
			 "objects %s\ns3_credentials %s\n%s%s%s", c->place, credentials,
			 *ca ? "s3_ca " : "", ca, *ca ? "\n" : "");
	if (datadir_read(d, OBJECTS_RECORD, 4096, &old, &bytes) || bytes != (size_t)n ||
	    memcmp(old, text, bytes))
		err = datadir_lock(d);
	if (!err && d->lock_fd >= 0) {
		err = datadir_write(d, OBJECTS_RECORD, text, (size_t)n, 0644);
		datadir_unlock(d);
	}
	free(old);
	return err;
}

/**
 * objects_open() - find out where the folder's objects are, and be ready to use them
 * @conf:   what the settings say; NULL, or without a place: what the folder's record says
 * @record: write it down for others who open the folder
 * @why:    out, on failure, in words
 *
 * Asks nobody: a place that does not answer shows when it is used. datadir_close()
 * undoes it. Return: 0 or an error.
 */
int objects_open(struct datadir *d, const struct objects_conf *conf, bool record,
		 char why[OBJECTS_WHY_MAX])
{
	struct objects_conf c = { 0 };
	bool said = conf && conf->place[0];
	int err = 0;

	*why = 0;
	if (said)
		c = *conf;
	else
		err = read_record(d, &c);
	if (err) {
		fmt_snprintf(why, OBJECTS_WHY_MAX, "%s/" OBJECTS_RECORD " cannot be read: %s",
			     d->path, err == -EINVAL ? "unknown key" : strerror(-err));
		return err;
	}
	if (!c.place[0] || !strcmp(c.place, "folder")) {
		if (said && record && unlinkat(d->fd, OBJECTS_RECORD, 0) && errno != ENOENT)
			return -errno;
		return 0;
	}
	err = s3_open(&d->objects, &c, why);
	if (!err && said && record) {
		err = write_record(d, &c, why);
		if (err && !*why)
			fmt_snprintf(why, OBJECTS_WHY_MAX, "%s/" OBJECTS_RECORD
				     " cannot be written: %s", d->path, strerror(-err));
	}
	return err;
}

/** objects_remote() - are they somewhere else than in the folder? */
bool objects_remote(const struct datadir *d)
{
	return ops_of(d)->remote;
}

/** objects_why() - an error of the last call on this thread, in words */
const char *objects_why(int err)
{
	return err == -EREMOTEIO ? s3_why() : strerror(-err);
}

/* ---------------------------------------------------------------- */

/** path_damaged() - where one that was damaged is kept, or marked */
void path_damaged(char out[DATADIR_PATH_MAX], const u8 digest[SHA256_BYTES])
{
	char hex[DIGEST_HEX + 1];

	fmt_snprintf(out, DATADIR_PATH_MAX, "damaged/%s", fmt_hex(hex, digest, SHA256_BYTES));
}

/* Keeps what came where the mark is; for the thread's file system user. */
static void make_note(const struct datadir *d, const char *path, const u8 *object, size_t bytes)
{
	int fd;

	if (datadir_mkdir_for(d, path))
		return;
	fd = openat(d->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return;
	fd_write_all(fd, object, bytes);
	close(fd);
}

/**
 * objects_note() - a remote object was read: mark it as damaged, or as sound again
 * @object: what came; it is kept when it is bad, for whoever wants to know
 * @found:  what object_check() said
 *
 * A note that cannot be made does no harm: the next reader finds the same. One that
 * cannot be taken away does: so root notes as the folder's owner (this thread alone, for
 * tools read with many, and write elsewhere as root), whose freshetd takes it away.
 */
void objects_note(const struct datadir *d, const u8 digest[SHA256_BYTES], const u8 *object,
		  size_t bytes, int found)
{
	char path[DATADIR_PATH_MAX];
	bool as_owner;
	struct stat st;

	if (!objects_remote(d) || (found < 0 && found != -EBADMSG))
		return;
	path_damaged(path, digest);
	if (found >= 0) {
		if (unlinkat(d->fd, path, 0) && errno != ENOENT)
			log_limited(LOG_ERR, "objects: sound again, but missing until somebody "
				    "removes path=%s/%s err=%s", d->path, path, strerror(errno));
		return;
	}
	as_owner = !geteuid() && !fstat(d->fd, &st) && st.st_uid;
	if (as_owner) {
		setfsgid(st.st_gid);
		setfsuid(st.st_uid);
	}
	make_note(d, path, object, bytes);
	if (as_owner) {
		setfsuid(geteuid());
		setfsgid(getegid());
	}
}

static bool marked(const struct datadir *d, const u8 *digest)
{
	char path[DATADIR_PATH_MAX];

	if (!objects_remote(d))
		return false;
	path_damaged(path, digest);
	return !faccessat(d->fd, path, F_OK, AT_EACCESS);
}

/** objects_find() - how long each of @count is; 0: it is not there, or not whole, or damaged */
int objects_find(const struct datadir *d, const u8 *digests, u64 count, u32 *bytes)
{
	int err = ops_of(d)->find(d, digests, count, bytes);

	for (u64 i = 0; !err && i < count; i++)
		if (bytes[i] <= CHUNK_HEADER_BYTES || marked(d, digests + i * SHA256_BYTES))
			bytes[i] = 0;
	return err;
}

/** objects_get() - its bytes as they are, nothing checked; to be freed */
int objects_get(const struct datadir *d, const u8 digest[SHA256_BYTES], u8 **object,
		size_t *bytes)
{
	return ops_of(d)->get(d, digest, object, bytes);
}

/**
 * objects_put() - store one, durably, in place of what is there
 *
 * The caller has checked it, and holds the folder's lock if the objects are there.
 */
int objects_put(const struct datadir *d, const u8 digest[SHA256_BYTES], const u8 *object,
		size_t bytes)
{
	int err = ops_of(d)->put(d, digest, object, bytes);

	if (!err)
		objects_note(d, digest, object, bytes, 0);
	return err;
}

/** objects_remove() - remove @count of them; @gone: out, how many went */
int objects_remove(const struct datadir *d, const u8 *digests, u64 count, u64 *gone)
{
	*gone = 0;
	return ops_of(d)->remove(d, digests, count, gone);
}

/** objects_list() - all that there are, in no order, until @one returns an error */
int objects_list(const struct datadir *d, objects_one one, void *arg)
{
	return ops_of(d)->list(d, one, arg);
}

/** objects_check() - can they be reached? One try */
int objects_check(const struct datadir *d)
{
	return ops_of(d)->check(d);
}

/** objects_stop() - let calls of other threads return, with errors: the program ends */
void objects_stop(const struct datadir *d)
{
	if (d->objects)
		d->objects->ops->stop(d->objects);
}
