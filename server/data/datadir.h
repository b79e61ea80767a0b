/*
 * datadir.h - a site's data folder: what lies where, and how it is written
 *
 * One folder holds everything that the server serves. Its tools write it, the
 * server reads it, and both go through these few calls, so that the rules of
 * docs/formats/server-store.md are kept in one place.
 */
#ifndef SERVER_DATA_DATADIR_H
#define SERVER_DATA_DATADIR_H

#include "base/crypto.h"
#include "base/types.h"

#define DATADIR_PATH_MAX 128 /* any relative path made below, with its NUL */
#define DIGEST_HEX (2 * SHA256_BYTES)

struct objects;

struct datadir {
	int fd;			 /* the folder itself */
	int lock_fd;		 /* -1: not locked */
	const char *path;	 /* as the user wrote it, for messages */
	struct objects *objects; /* where they are; NULL: here (objects.h) */
};

int datadir_open(struct datadir *d, const char *path, bool create);
void datadir_close(struct datadir *d);
int datadir_lock(struct datadir *d);
void datadir_unlock(struct datadir *d);

int datadir_read(const struct datadir *d, const char *rel, size_t max, u8 **data, size_t *bytes);
int datadir_write(const struct datadir *d, const char *rel, const void *data, size_t bytes,
		  u32 mode);
int datadir_sync(const struct datadir *d);
int datadir_mkdir_for(const struct datadir *d, const char *rel);

int fd_write_all(int fd, const void *data, size_t bytes);

bool digest_hex_ok(const char *hex, size_t len);
bool uuid_ok(const char *uuid);

void path_object(char out[DATADIR_PATH_MAX], const u8 digest[SHA256_BYTES]);
void path_manifest(char out[DATADIR_PATH_MAX], const u8 digest[SHA256_BYTES]);
void path_channel(char out[DATADIR_PATH_MAX], const char *name);

#endif
