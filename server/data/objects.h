/*
 * objects.h - where a site's chunk objects lie: the data folder, or S3-compatible storage
 *
 * Manifests, channels, keys and the database are in the data folder always. Its
 * objects are there too, unless objects_open() found that they are elsewhere; who
 * reads or writes one goes through these calls and need not know.
 */
#ifndef SERVER_DATA_OBJECTS_H
#define SERVER_DATA_OBJECTS_H

#include <time.h>

#include "server/data/datadir.h"

#define OBJECTS_RECORD "objects.conf" /* in the data folder: where its objects are */
#define OBJECTS_TEXT_MAX 256
#define OBJECTS_WHY_MAX 320

/* One that objects_list() found. */
struct object_entry {
	u8 digest[SHA256_BYTES];
	u64 bytes;
	time_t modified;
};

typedef int (*objects_one)(void *arg, const struct object_entry *e);

/*
 * A place for objects. All calls may block and come from any thread; they return 0
 * or an error, -EREMOTEIO when the place itself cannot be used (objects_why() has
 * the words).
 */
struct objects_ops {
	/* How long each of @count is; 0: it is not there. */
	int (*find)(const struct datadir *d, const u8 *digests, u64 count, u32 *bytes);
	/* Its bytes as they are, to be freed; -ENOENT; -EFBIG when it cannot be one. */
	int (*get)(const struct datadir *d, const u8 *digest, u8 **object, size_t *bytes);
	/* Durable when it returns; what was there is replaced. */
	int (*put)(const struct datadir *d, const u8 *digest, const u8 *object, size_t bytes);
	/* One that is not there is no error; @gone counts those that went. */
	int (*remove)(const struct datadir *d, const u8 *digests, u64 count, u64 *gone);
	int (*list)(const struct datadir *d, objects_one one, void *arg);
	/* Can it be used at all? One try, no patience. */
	int (*check)(const struct datadir *d);
	/* Calls that run return soon, new ones at once, with an error. */
	void (*stop)(struct objects *o);
	void (*close)(struct objects *o);
	bool remote;
};

/* The head of a place's own state. */
struct objects {
	const struct objects_ops *ops;
};

/* As written by the admin; "" is not said. */
struct objects_conf {
	char place[OBJECTS_TEXT_MAX]; /* "folder", "s3://BUCKET@URL[/REGION]" */
	char credentials[OBJECTS_TEXT_MAX];
	char ca[OBJECTS_TEXT_MAX];
};

int objects_open(struct datadir *d, const struct objects_conf *conf, bool record,
		 char why[OBJECTS_WHY_MAX]);
bool objects_remote(const struct datadir *d);
const char *objects_why(int err);

int objects_find(const struct datadir *d, const u8 *digests, u64 count, u32 *bytes);
int objects_get(const struct datadir *d, const u8 digest[SHA256_BYTES], u8 **object,
		size_t *bytes);
int objects_put(const struct datadir *d, const u8 digest[SHA256_BYTES], const u8 *object,
		size_t bytes);
int objects_remove(const struct datadir *d, const u8 *digests, u64 count, u64 *gone);
int objects_list(const struct datadir *d, objects_one one, void *arg);
int objects_check(const struct datadir *d);
void objects_stop(const struct datadir *d);

/* One that came damaged out of a remote place counts as missing until it is sound again. */
void path_damaged(char out[DATADIR_PATH_MAX], const u8 digest[SHA256_BYTES]);
void objects_note(const struct datadir *d, const u8 digest[SHA256_BYTES], const u8 *object,
		  size_t bytes, int found);

#endif
