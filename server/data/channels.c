/*
 * channels.c - signed pointers from a name to a version, as files of the data folder
 *
 * A channel's serial number only grows. It is under the signature, PCs remember
 * the highest they saw, and so an old file put back by somebody without the
 * key, or by mistake, is refused by every PC that has seen a newer one.
 */
#include "server/data/channels.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"

/**
 * channel_read() - where does @name point?
 * @pub: the site's key: signature and name are verified
 *
 * Return: 0; -ENOENT; -EINVAL, -EMSGSIZE for a file that is no channel;
 * -EKEYREJECTED; -ESTALE when the file is another channel's.
 */
int channel_read(const struct datadir *d, const char *name, const u8 pub[P256_PUB_BYTES],
		 struct channel *out)
{
	char path[DATADIR_PATH_MAX];
	u8 keys[1][P256_PUB_BYTES];
	size_t bytes;
	u8 *text;
	int err;

	path_channel(path, name);
	err = datadir_read(d, path, SIGTEXT_MAX, &text, &bytes);
	if (err)
		return err == -EFBIG ? -EMSGSIZE : err;
	memcpy(keys[0], pub, P256_PUB_BYTES);
	err = sigtext_verify(text, bytes, (const u8(*)[P256_PUB_BYTES])keys, 1);
	if (!err)
		err = channel_parse(text, bytes, out);
	if (!err && strcmp(out->name, name))
		err = -ESTALE;
	free(text);
	return err;
}

struct listing {
	const struct datadir *d;
	const u8 *pub;
	void (*one)(void *arg, const char *name, int err, const struct channel *ch);
	void *arg;
};

/* A folder of channels/; its own name so far is @prefix, with its slash. */
static int list_folder(const struct listing *l, int parent, const char *folder, const char *prefix)
{
	int fd = openat(parent, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir)
		return -errno;
	while ((e = readdir(dir))) {
		char name[CHANNEL_NAME_MAX + 300];
		struct channel ch = { 0 };
		struct stat st;
		int err = -EINVAL;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
		    fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW))
			continue;
		snprintf(name, sizeof(name), "%s%s", prefix, e->d_name);
		if (S_ISDIR(st.st_mode) && strlen(name) < CHANNEL_NAME_MAX) {
			strcat(name, "/");
			list_folder(l, fd, e->d_name, name);
			continue;
		}
		if (channel_name_ok(name, strlen(name)))
			err = channel_read(l->d, name, l->pub, &ch);
		l->one(l->arg, name, err, &ch);
	}
	closedir(dir);
	return 0;
}

/** channel_list() - every channel, and for one that is not to be trusted what is wrong */
int channel_list(const struct datadir *d, const u8 pub[P256_PUB_BYTES],
		 void (*one)(void *arg, const char *name, int err, const struct channel *ch),
		 void *arg)
{
	const struct listing l = { d, pub, one, arg };

	return list_folder(&l, d->fd, "channels", "");
}

/**
 * channel_point() - make @name point to @version, with the next serial number
 *
 * Under the folder's lock. A file that is there but does not verify is not
 * overwritten: its serial number is unknown.
 * Return: 0; what channel_read() and datadir_write() return.
 */
int channel_point(const struct datadir *d, const struct crypto_key *key, const char *name,
		  const u8 version[SHA256_BYTES], struct channel *out)
{
	u8 pub[P256_PUB_BYTES], digest[SHA256_BYTES], sig[P256_SIG_BYTES];
	char text[SIGTEXT_MAX], path[DATADIR_PATH_MAX];
	struct channel old = { 0 };
	size_t bytes = 0;
	int err;

	key_public(key, pub);
	err = channel_read(d, name, pub, &old);
	if (err && err != -ENOENT)
		return err;
	memset(out, 0, sizeof(*out));
	memcpy(out->name, name, strlen(name) + 1);
	out->serial = old.serial + 1;
	memcpy(out->version, version, SHA256_BYTES);
	err = channel_build(out, text, sizeof(text), &bytes);
	if (err)
		return err;
	sigtext_digest(digest, text, bytes);
	err = key_sign(key, digest, sig);
	if (!err)
		err = sigtext_append_sig(text, sizeof(text), &bytes, sig);
	path_channel(path, name);
	return err ? err : datadir_write(d, path, text, bytes, 0644);
}
