/*
 * datadir.c - a site's data folder: what lies where, and how it is written
 *
 *	objects/<2 hex>/<64 hex>   chunk objects, named by their plain content
 *	manifests/<64 hex>         manifest roots, named by all their bytes
 *	channels/<name>            signed pointers to a version; a name may hold slashes
 *	netboot/                   what a PC loads before it is Freshet's
 *	site.conf                  policy, by default and per machine
 *	site.key site.pub          the site's key (may live elsewhere)
 *	fleet.db                   SQLite, the server's own
 *	objects.conf               where the objects are, if not here (objects.c)
 *	incoming/<64 hex>          objects on their way; kept between attempts (publish.c)
 *	damaged/<64 hex>           objects that were not what their names say
 *	tmp/                       files on their way to a name; swept by the next writer
 *	.lock                      flock(2): one writer at a time; readers need none
 *
 * Objects and manifests never change once they have their name, and get it by
 * rename(2) after their bytes are on the disk. So a reader, a copy or a plain
 * web server sees each of them whole or not at all, and a writer killed at any
 * moment leaves a store that is valid: at worst with objects that no manifest
 * names yet.
 */
#include "server/data/datadir.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "server/data/objects.h"

static const char *const folders[] = {
	"objects", "manifests", "channels", "netboot", "incoming", "tmp",
};

/**
 * datadir_open() - open the data folder at @path
 * @create: make it and its folders when they are not there
 *
 * Return: 0; -ENOENT and other errors of open(2) and mkdir(2).
 */
int datadir_open(struct datadir *d, const char *path, bool create)
{
	d->path = path;
	d->lock_fd = -1;
	d->objects = NULL;
	if (create && mkdir(path, 0755) && errno != EEXIST)
		return -errno;
	d->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->fd < 0)
		return -errno;
	for (size_t i = 0; create && i < ARRAY_SIZE(folders); i++)
		if (mkdirat(d->fd, folders[i], 0755) && errno != EEXIST) {
			int err = -errno;

			close(d->fd);
			return err;
		}
	return 0;
}

/** datadir_close() - give back what datadir_open(), objects_open() and datadir_lock() took */
void datadir_close(struct datadir *d)
{
	if (d->objects)
		d->objects->ops->close(d->objects);
	d->objects = NULL;
	if (d->lock_fd >= 0)
		close(d->lock_fd);
	if (d->fd >= 0)
		close(d->fd);
	d->fd = d->lock_fd = -1;
}

/* What a killed writer left; nobody else writes while we hold the lock. */
static void sweep_tmp(const struct datadir *d)
{
	int fd = openat(d->fd, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(dir)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			unlinkat(fd, e->d_name, 0);
	closedir(dir);
}

/**
 * datadir_lock() - become the folder's one writer
 *
 * Waits for another writer to finish. The lock falls with the process.
 * Return: 0; errors of open(2) and flock(2).
 */
int datadir_lock(struct datadir *d)
{
	d->lock_fd = openat(d->fd, ".lock", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (d->lock_fd < 0)
		return -errno;
	while (flock(d->lock_fd, LOCK_EX))
		if (errno != EINTR)
			return -errno;
	sweep_tmp(d);
	return 0;
}

/** datadir_unlock() - let others write */
void datadir_unlock(struct datadir *d)
{
	if (d->lock_fd >= 0)
		close(d->lock_fd);
	d->lock_fd = -1;
}

/**
 * datadir_read() - the whole of a small file
 * @max:  refuse more than this
 * @data: out, to be freed by the caller; a NUL stands after the last byte
 *
 * Return: 0; -ENOENT; -EFBIG; -EINVAL for what is no regular file; -EIO.
 */
int datadir_read(const struct datadir *d, const char *rel, size_t max, u8 **data, size_t *bytes)
{
	int fd = openat(d->fd, rel, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	size_t have = 0;
	u8 *buf = NULL;
	int err;

	if (fd < 0)
		return -errno;
	err = fstat(fd, &st) ? -errno : 0;
	if (!err && !S_ISREG(st.st_mode))
		err = -EINVAL;
	if (!err && (u64)st.st_size > max)
		err = -EFBIG;
	if (!err) {
		buf = malloc((size_t)st.st_size + 1);
		err = buf ? 0 : -ENOMEM;
	}
	while (!err && have < (size_t)st.st_size) {
		ssize_t n = read(fd, buf + have, (size_t)st.st_size - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			err = -errno;
		if (n <= 0)
			break;
		have += (size_t)n;
	}
	close(fd);
	if (err) {
		free(buf);
		return err;
	}
	buf[have] = 0;
	*data = buf;
	*bytes = have;
	return 0;
}

/** fd_write_all() - write(2) until all is written; 0 or an error of write(2) */
int fd_write_all(int fd, const void *data, size_t bytes)
{
	const u8 *p = data;

	while (bytes) {
		ssize_t n = write(fd, p, bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		bytes -= (size_t)n;
	}
	return 0;
}

/** datadir_mkdir_for() - make the folders that @rel needs above it */
int datadir_mkdir_for(const struct datadir *d, const char *rel)
{
	char dir[DATADIR_PATH_MAX];
	size_t n = strlen(rel);

	if (n >= sizeof(dir))
		return -EINVAL;
	memcpy(dir, rel, n + 1);
	for (char *p = strchr(dir, '/'); p; p = strchr(p + 1, '/')) {
		*p = 0;
		if (mkdirat(d->fd, dir, 0755) && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	return 0;
}

static int sync_parent(const struct datadir *d, const char *rel)
{
	char dir[DATADIR_PATH_MAX];
	const char *slash = strrchr(rel, '/');
	int fd, err;

	fmt_snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - rel) : 1, slash ? rel : ".");
	fd = openat(d->fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = fsync(fd) ? -errno : 0;
	close(fd);
	return err;
}

/**
 * datadir_write() - give @rel new content, whole and durable
 *
 * Written beside, synced, renamed, folder synced: a crash leaves the old file
 * or the new one. The caller holds the lock, or another writer would sweep tmp/.
 * Return: 0; errors of the calls it makes.
 */
int datadir_write(const struct datadir *d, const char *rel, const void *data, size_t bytes,
		  u32 mode)
{
	static unsigned int count;
	char tmp[64];
	int err, fd;

	fmt_snprintf(tmp, sizeof(tmp), "tmp/w.%d.%u", (int)getpid(), count++);
	err = datadir_mkdir_for(d, tmp);
	if (!err)
		err = datadir_mkdir_for(d, rel);
	if (err)
		return err;
	fd = openat(d->fd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0)
		return -errno;
	err = fd_write_all(fd, data, bytes);
	if (!err && fsync(fd))
		err = -errno;
	if (close(fd) && !err)
		err = -errno;
	if (!err && renameat(d->fd, tmp, d->fd, rel))
		err = -errno;
	if (err) {
		unlinkat(d->fd, tmp, 0);
		return err;
	}
	return sync_parent(d, rel);
}

/** datadir_sync() - everything written so far is on the disk when this returns 0 */
int datadir_sync(const struct datadir *d)
{
	return syncfs(d->fd) ? -errno : 0;
}

/** digest_hex_ok() - 64 lower-case hex digits and nothing else? */
bool digest_hex_ok(const char *hex, size_t len)
{
	if (len != DIGEST_HEX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!((hex[i] >= '0' && hex[i] <= '9') || (hex[i] >= 'a' && hex[i] <= 'f')))
			return false;
	return true;
}

/** uuid_ok() - 8-4-4-4-12 lower-case hex digits? */
bool uuid_ok(const char *uuid)
{
	if (strlen(uuid) != 36)
		return false;
	for (size_t i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		bool hex = (uuid[i] >= '0' && uuid[i] <= '9') || (uuid[i] >= 'a' && uuid[i] <= 'f');

		if (dash ? uuid[i] != '-' : !hex)
			return false;
	}
	return true;
}

/** path_object() - where the chunk object of @digest lies */
void path_object(char out[DATADIR_PATH_MAX], const u8 digest[SHA256_BYTES])
{
	char hex[DIGEST_HEX + 1];

	fmt_hex(hex, digest, SHA256_BYTES);
	fmt_snprintf(out, DATADIR_PATH_MAX, "objects/%.2s/%s", hex, hex);
}

/** path_manifest() - where the manifest root of version @digest lies */
void path_manifest(char out[DATADIR_PATH_MAX], const u8 digest[SHA256_BYTES])
{
	char hex[DIGEST_HEX + 1];

	fmt_hex(hex, digest, SHA256_BYTES);
	fmt_snprintf(out, DATADIR_PATH_MAX, "manifests/%s", hex);
}

/** path_channel() - where the channel @name lies; @name has passed channel_name_ok() */
void path_channel(char out[DATADIR_PATH_MAX], const char *name)
{
	fmt_snprintf(out, DATADIR_PATH_MAX, "channels/%s", name);
}
