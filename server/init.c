/*
 * init.c - the first start: keys, folders, an admin's token
 *
 * A folder that has manifests or channels but no key is not begun anew: the PCs out
 * there believe the old key only, so a new one would be the wrong help.
 */
#include "server/init.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/log.h"

static bool folder_used(const struct datadir *d, const char *rel)
{
	int fd = openat(d->fd, rel, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	bool used = false;

	while (dir && !used && (e = readdir(dir)))
		used = strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
	if (dir)
		closedir(dir);
	return used;
}

/* A folder that was in use had a key: it has to come back. */
static int refuse_used(const struct config *c)
{
	struct datadir d;
	int err = datadir_open(&d, c->data, false);

	if (err)
		return err == -ENOENT ? 0 : err;
	if (folder_used(&d, "manifests") || folder_used(&d, "channels")) {
		log_err("freshetd: %s has images but the key %s is not there; put it back", c->data,
			c->key);
		err = -ENOENT;
	}
	datadir_close(&d);
	return err;
}

static int make_key(const struct config *c)
{
	char text[2 * P256_PUB_BYTES + 2];
	u8 pub[P256_PUB_BYTES];
	struct crypto_key *key;
	struct datadir d;
	int err = datadir_open(&d, c->data, true);

	if (err)
		return err;
	err = key_generate(&key);
	if (!err) {
		err = key_save_pem(key, c->key);
		key_public(key, pub);
		fmt_hex(text, pub, P256_PUB_BYTES);
		strcat(text, "\n");
		if (!err)
			err = datadir_write(&d, "site.pub", text, strlen(text), 0644);
		key_free(key);
	}
	datadir_close(&d);
	if (!err)
		log_info("freshetd: made a new site: folder=%s key=%s (keep a copy of the key"
			 " offline: PCs believe nothing else)", c->data, c->key);
	return err;
}

/**
 * init_pending() - is a first start still to come?
 * @pending: out. A key that cannot be read is there: who reads it will say what is wrong
 *
 * Return: 0; -ENOENT and others when a first start would refuse.
 */
int init_pending(const struct config *c, bool *pending)
{
	struct stat st;

	*pending = stat(c->key, &st) && errno == ENOENT;
	return *pending ? refuse_used(c) : 0;
}

/** init_data() - make folder and key if this is the first start; 0 or an error, said */
int init_data(const struct config *c)
{
	bool pending;
	int err = init_pending(c, &pending);

	if (!err && pending)
		err = make_key(c);
	if (err)
		log_err("freshetd: cannot begin a new site folder=%s err=%s", c->data,
			strerror(-err));
	return err;
}

/**
 * init_token() - see that somebody can be admin
 *
 * When there is no lasting admin's token, one is made and put into the file
 * admin.token of the data folder, which is for root and the server to read.
 */
int init_token(struct site *s)
{
	char token[64], text[80];
	int fd, err;

	if (db_int(s->fleet->db, 0, "SELECT 1 FROM tokens WHERE role = 3 AND expires IS NULL", ""))
		return 0;
	err = fleet_token_add(s->fleet, "admin", ROLE_ADMIN, 0, token);
	if (err)
		return err;
	fd = openat(s->dir.fd, "admin.token", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	fmt_snprintf(text, sizeof(text), "%s\n", token);
	err = fd_write_all(fd, text, strlen(text));
	if (close(fd) && !err)
		err = -errno;
	log_info("freshetd: made an admin's token file=%s/admin.token", s->dir.path);
	log_info("freshetd: what next: 1. freshet image build, 2. freshet push, 3. freshet boot "
		 "build, 4. freshet doctor; man freshet has an example");
	return err;
}
