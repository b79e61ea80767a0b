/*
 * s3.c - objects in S3-compatible storage: Ceph, Swift, MinIO, Garage, Amazon's
 *
 * An object's key is its path in a data folder, objects/<2 hex>/<64 hex>, so a bucket
 * and a folder can be copied into each other by any tool, and a bucket that the
 * world may read serves PCs as a web server does. Five kinds of requests: HEAD, GET, PUT,
 * DELETE of a key, and a list; s3_http.c makes them.
 *
 * Nothing that comes back is believed: who serves an object compares it with its
 * digest. A list only says what may be removed, and only what is named as ours is looked at.
 */
#include "server/data/s3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "server/data/s3_list.h"
#include "server/data/s3_priv.h"
#include "server/data/version.h"

#define LIST_MAX (4 * MIB)
#define TOKEN_MAX 512 /* three times as long in a query */
#define CHECK_S 3 /* who starts a server waits for no longer */

static struct s3 *of(const struct datadir *d)
{
	return container_of(d->objects, struct s3, base);
}

/* ---------------------------------------------------------------- settings */

static bool bucket_ok(const char *p, size_t n)
{
	if (n < 3 || n > 63 || p[0] == '.' || p[0] == '-')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= '0' && p[i] <= '9') ||
		      p[i] == '-' || p[i] == '.'))
			return false;
	return true;
}

/**
 * s3_place_parse() - "s3://BUCKET@http[s]://HOST[:PORT][/REGION]"
 *
 * Return: 0; -EINVAL. Without a region it is us-east-1, which most servers take.
 */
int s3_place_parse(struct s3_place *p, const char *text)
{
	const char *at, *host, *slash;
	size_t n;

	memset(p, 0, sizeof(*p));
	if (strncmp(text, "s3://", 5))
		return -EINVAL;
	text += 5;
	at = strchr(text, '@');
	if (!at || !bucket_ok(text, (size_t)(at - text)))
		return -EINVAL;
	memcpy(p->bucket, text, (size_t)(at - text));
	at++;
	host = !strncmp(at, "https://", 8) ? at + 8 : !strncmp(at, "http://", 7) ? at + 7 : NULL;
	if (!host)
		return -EINVAL;
	slash = host + strcspn(host, "/");
	n = (size_t)(slash - at);
	if (slash == host || n >= sizeof(p->url) ||
	    strcspn(host, "@?#% \t") < n - (size_t)(host - at))
		return -EINVAL;
	memcpy(p->url, at, n);
	text = *slash ? slash + 1 : "";
	n = strlen(text);
	if (n >= sizeof(p->region) || strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") != n)
		return -EINVAL;
	strcpy(p->region, n ? text : "us-east-1");
	return 0;
}

/* "access_key NAME", "secret_key SECRET"; nobody else may read it. */
static int read_credentials(struct s3 *s, const char *path, char why[OBJECTS_WHY_MAX])
{
	FILE *f = fopen(path, "re");
	char line[OBJECTS_TEXT_MAX + 32], key[16], value[OBJECTS_TEXT_MAX];
	struct stat st;
	int err = 0;

	if (!f || fstat(fileno(f), &st)) {
		fmt_snprintf(why, OBJECTS_WHY_MAX, "s3: cannot read the credentials %s: %s", path,
			     strerror(errno));
		err = -errno;
	} else if (!S_ISREG(st.st_mode) || st.st_mode & 077) {
		fmt_snprintf(why, OBJECTS_WHY_MAX, "s3: the credentials %s can be read by others: "
			     "chmod 600", path);
		err = -EPERM;
	}
	while (!err && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%15s %255s", key, value) != 2 || key[0] == '#')
			continue;
		if (!strcmp(key, "access_key"))
			fmt_snprintf(s->user, sizeof(s->user), "%s", value);
		else if (!strcmp(key, "secret_key"))
			fmt_snprintf(s->secret, sizeof(s->secret), "%s", value);
	}
	if (!err && (!s->user[0] || !s->secret[0])) {
		fmt_snprintf(why, OBJECTS_WHY_MAX, "s3: %s needs the lines \"access_key NAME\" and "
			     "\"secret_key SECRET\"", path);
		err = -EINVAL;
	}
	if (f)
		fclose(f);
	return err;
}

/* ---------------------------------------------------------------- as a place for objects */

static int check(const struct datadir *d)
{
	struct s3_call c = { .method = "GET", .key = "?list-type=2&max-keys=1&prefix=objects%2F",
			       .max = LIST_MAX, .patience_s = CHECK_S };
	int err = s3_perform(of(d), &c, 1);

	free(c.data);
	return err == -ENOENT ? s3_say(of(d), "this is no S3 server", "status 404") : err;
}

struct finding {
	const struct datadir *d;
	u32 *bytes;
};

static int found(void *arg, u64 i, int err, const struct s3_call *c)
{
	const struct finding *f = arg;

	/* One that is too long to be an object is none: the next push overwrites it. */
	f->bytes[i] = err || c->length > OBJECT_BYTES_MAX ? 0 : (u32)c->length;
	if (err == -ENOENT)
		return 0;
	/* An answer to HEAD has no words; ask for some. */
	if (err == -EREMOTEIO && c->status >= 400 && c->status < 500)
		check(f->d);
	return err;
}

static int find(const struct datadir *d, const u8 *digests, u64 count, u32 *bytes)
{
	struct finding f = { d, bytes };

	return count ? s3_for_each(of(d), "HEAD", digests, count, found, &f) : 0;
}

static int get(const struct datadir *d, const u8 *digest, u8 **object, size_t *bytes)
{
	struct s3_call c = { 0 };
	int err;

	s3_call_object(&c, "GET", digest);
	err = s3_perform(of(d), &c, S3_TRIES);
	if (!err && !c.data)
		c.data = calloc(1, 1); /* an empty one */
	if (!err && !c.data)
		err = -ENOMEM;
	if (err) {
		free(c.data);
		return err;
	}
	*object = c.data;
	*bytes = c.have;
	return 0;
}

static int put(const struct datadir *d, const u8 *digest, const u8 *object, size_t bytes)
{
	struct s3_call c = { .body = object, .body_bytes = bytes };
	int err;

	s3_call_object(&c, "PUT", digest);
	err = s3_perform(of(d), &c, S3_TRIES);
	free(c.data);
	return err == -ENOENT ? s3_say(of(d), "this is no S3 server", "status 404") : err;
}

static int removed(void *arg, u64 i, int err, const struct s3_call *c)
{
	(void)i;
	(void)c;
	*(u64 *)arg += !err;
	return err == -ENOENT ? 0 : err;
}

static int remove_all(const struct datadir *d, const u8 *digests, u64 count, u64 *gone)
{
	return count ? s3_for_each(of(d), "DELETE", digests, count, removed, gone) : 0;
}

static int list(const struct datadir *d, objects_one one, void *arg)
{
	struct s3_call c = { .method = "GET", .key = "?list-type=2&prefix=objects%2F",
			     .max = LIST_MAX };
	char token[TOKEN_MAX] = "", mark[TOKEN_MAX] = "", *escaped;
	u64 pages = 0;
	int err;

	do {
		err = s3_perform(of(d), &c, S3_TRIES);
		if (!err && !c.have)
			break;
		if (!err)
			err = s3_list_parse((char *)c.data, one, arg, token, sizeof(token));
		/* A circle would go on for ever; the mark, set at powers of two, is met in any. */
		if (err == -EBADMSG || (!err && *token && !strcmp(token, mark)))
			err = s3_say(of(d), "its list cannot be read", "NextContinuationToken");
		pages++;
		if (!(pages & (pages - 1)))
			memcpy(mark, token, sizeof(mark));
		escaped = err ? NULL : curl_easy_escape(NULL, token, 0);
		if (!err && !escaped)
			err = -ENOMEM;
		if (!err)
			fmt_snprintf(c.key, sizeof(c.key),
				     "?continuation-token=%s&list-type=2&prefix=objects%%2F",
				     escaped);
		curl_free(escaped);
	} while (!err && *token);
	free(c.data);
	return err == -ENOENT ? s3_say(of(d), "this is no S3 server", "status 404") : err;
}

static void stop(struct objects *o)
{
	atomic_store(&container_of(o, struct s3, base)->stopping, true);
}

static void close_all(struct objects *o)
{
	struct s3 *s = container_of(o, struct s3, base);

	while (s->idle_count)
		curl_easy_cleanup(s->idle[--s->idle_count]);
	pthread_mutex_destroy(&s->lock);
	explicit_bzero(s->secret, sizeof(s->secret));
	free(s);
}

static const struct objects_ops ops = {
	.find = find,
	.get = get,
	.put = put,
	.remove = remove_all,
	.list = list,
	.check = check,
	.stop = stop,
	.close = close_all,
	.remote = true,
};

/**
 * s3_open() - be ready to use a bucket; asks nobody
 *
 * Before other threads run, for libcurl's sake. Return: 0; an error, with @why in words.
 */
int s3_open(struct objects **out, const struct objects_conf *conf, char why[OBJECTS_WHY_MAX])
{
	struct s3 *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	s->base.ops = &ops;
	pthread_mutex_init(&s->lock, NULL);
	err = s3_place_parse(&s->at, conf->place);
	if (err)
		fmt_snprintf(why, OBJECTS_WHY_MAX, "objects: neither \"folder\" nor "
			     "s3://BUCKET@http[s]://HOST[:PORT][/REGION]: %s", conf->place);
	if (!err && !conf->credentials[0]) {
		fmt_snprintf(why, OBJECTS_WHY_MAX, "s3_credentials is needed too: a file with the "
			     "bucket's keys");
		err = -EINVAL;
	}
	if (!err)
		err = read_credentials(s, conf->credentials, why);
	if (!err && conf->ca[0] && access(conf->ca, R_OK)) {
		err = -errno;
		fmt_snprintf(why, OBJECTS_WHY_MAX, "s3_ca: cannot read %s: %s", conf->ca,
			     strerror(-err));
	}
	if (err) {
		close_all(&s->base);
		return err;
	}
	fmt_snprintf(s->ca, sizeof(s->ca), "%s", conf->ca);
	fmt_snprintf(s->sign, sizeof(s->sign), "aws:amz:%s:s3", s->at.region);
	curl_global_init(CURL_GLOBAL_DEFAULT);
	*out = &s->base;
	return 0;
}
