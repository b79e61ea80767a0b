/*
 * s3_priv.h - what s3.c and s3_http.c share
 */
#ifndef SERVER_DATA_S3_PRIV_H
#define SERVER_DATA_S3_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include <curl/curl.h>

#include "server/data/s3.h"

#define S3_TRIES 4
#define S3_KEY_MAX 2048
#define S3_HANDLES_MAX 128

struct s3 {
	struct objects base;
	struct s3_place at;			/* (c) */
	char user[OBJECTS_TEXT_MAX], secret[OBJECTS_TEXT_MAX], ca[OBJECTS_TEXT_MAX]; /* (c) */
	char sign[64];				/* (c) */
	atomic_bool stopping;			/* (a) */
	atomic_ullong down_until_ns;		/* (a) */
	pthread_mutex_t lock;
	CURL *idle[S3_HANDLES_MAX];		/* [lock] */
	u32 idle_count;				/* [lock] */
	char down_why[OBJECTS_WHY_MAX];		/* [lock] */
};

/* A request and what came back. */
struct s3_call {
	const char *method;
	char key[S3_KEY_MAX]; /* behind the bucket's name, with its slash, or a query */
	const u8 *body;
	size_t body_bytes;
	u8 *data; /* a NUL stands behind the last byte */
	size_t have, room, max;
	long patience_s; /* 0: as usual */
	bool too_long;
	long status;
	u64 length; /* of what HEAD asked about */
	CURL *curl;
	struct curl_slist *fields;
	char why[CURL_ERROR_SIZE];
};

typedef int (*s3_done)(void *arg, u64 index, int err, const struct s3_call *c);

int s3_perform(struct s3 *s, struct s3_call *c, int tries);
int s3_for_each(struct s3 *s, const char *method, const u8 *digests, u64 count, s3_done done,
		void *arg);
void s3_call_object(struct s3_call *c, const char *method, const u8 *digest);
int s3_say(const struct s3 *s, const char *text, const char *more);

#endif
