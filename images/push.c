/*
 * push.c - freshet push, pull: a version from a data folder to a server, and back
 *
 * Push: ask which objects the server lacks, send those over a few connections, then
 * the manifest, which the server publishes if all is there. What was sent stays on
 * the server, so an interrupted push goes on where it was; a chunk that is lost on
 * the way, or collected meanwhile, is in the server's answer to the manifest and is
 * sent then. Nothing is visible before that answer.
 *
 * Pull: manifest, table pages, then the chunks that the folder lacks; checked like
 * everything else, published like a build.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/plat.h"
#include "images/remote.h"
#include "server/data/channels.h"
#include "server/data/digestset.h"
#include "server/data/objects.h"
#include "server/data/publish.h"
#include "server/data/version.h"

#define ASK_AT_ONCE 4096
#define THREADS_MAX 16
#define TRIES 4

struct args {
	struct remote_args remote;
	const char *data, *key, *channel, *version;
	u64 threads;
	bool quiet;
};

static const struct cli_option options[] = {
	REMOTE_OPTIONS(struct args, remote),
	CLI_TEXT("data", struct args, data),
	CLI_TEXT("key", struct args, key),
	CLI_TEXT("channel", struct args, channel),
	CLI_NUMBER("threads", struct args, threads),
	CLI_FLAG("quiet", struct args, quiet),
	{ 0 },
};

static enum cli_exit parse(const struct cli_command *c, struct args *a, int argc, char **argv)
{
	*a = (struct args){ .threads = 4 };
	if (cli_options(c, options, a, &argc, &argv))
		return CLI_USAGE;
	if (!a->threads || a->threads > THREADS_MAX)
		return cli_usage(c, "--threads is 1 to %d", THREADS_MAX);
	if (!a->data || argc != 1)
		return cli_usage(c, "--data and a version are needed");
	a->version = argv[0];
	return CLI_OK;
}

struct transfer {
	const struct datadir *d;
	struct remote *remote;
	u8 (*todo)[SHA256_BYTES];
	size_t count, room;
	atomic_size_t next, done;
	atomic_ullong bytes;
	atomic_int err;
	pthread_mutex_t lock;
	char why[256]; /* [lock] */
	int (*one)(struct transfer *t, struct remote *r, const u8 *digest, u8 *scratch);
};

static void fail(struct transfer *t, int err, const char *why)
{
	pthread_mutex_lock(&t->lock);
	if (!atomic_load(&t->err))
		fmt_snprintf(t->why, sizeof(t->why), "%s", why);
	atomic_store(&t->err, err);
	pthread_mutex_unlock(&t->lock);
}

static int send_one(struct transfer *t, struct remote *r, const u8 *digest, u8 *scratch)
{
	const struct timespec nap = { .tv_nsec = 300000000 };
	char path[120], hex[DIGEST_HEX + 1];
	long status = 0;
	size_t bytes;
	u8 *object;
	int err;

	(void)scratch;
	err = objects_get(t->d, digest, &object, &bytes);
	if (err) {
		fail(t, err, err == -EREMOTEIO ? objects_why(err) :
		     "an object of this folder cannot be read; see freshet image verify");
		return err;
	}
	fmt_snprintf(path, sizeof(path), "/api/v1/chunks/%s", cli_hex(hex, digest));
	for (int i = 0; i < TRIES; i++) {
		json_t *o = remote_put(r, path, object, bytes, &status);
		const char *why = json_string_value(json_object_get(o, "error"));

		err = status == 204 ? 0 : -EIO;
		if (err && (i + 1 == TRIES || (status >= 400 && status < 500 && status != 429)))
			fail(t, err, why ? why : "refused");
		json_decref(o);
		if (!err || atomic_load(&t->err))
			break;
		nanosleep(&nap, NULL);
	}
	if (!err)
		atomic_fetch_add(&t->bytes, bytes);
	free(object);
	return err;
}

static int fetch_one(struct transfer *t, struct remote *r, const u8 *digest, u8 *scratch)
{
	char path[120], hex[DIGEST_HEX + 1];
	long status = 0;
	u8 *object = NULL;
	size_t bytes = 0;
	int err;

	fmt_snprintf(path, sizeof(path), "/v1/chunk/%s", cli_hex(hex, digest));
	err = remote_get(r, path, &object, &bytes, &status, NULL);
	if (!err && status != 200)
		err = -EIO;
	if (!err && object_check(object, bytes, digest, scratch, MANIFEST_CHUNK_MAX) < 0)
		err = -EBADMSG;
	if (!err)
		err = incoming_put(t->d, digest, object, bytes);
	if (err)
		fail(t, err, err == -EBADMSG ? "a chunk came damaged" :
			     err == -EIO ? "a chunk could not be fetched" : objects_why(err));
	else
		atomic_fetch_add(&t->bytes, bytes);
	free(object);
	return err;
}

static void *work(void *arg)
{
	u8 *scratch = malloc(MANIFEST_CHUNK_MAX);
	struct transfer *t = arg;
	struct remote *r = remote_again(t->remote);

	if (!r || !scratch)
		fail(t, -ENOMEM, "out of memory");
	while (!atomic_load(&t->err)) {
		size_t i = atomic_fetch_add(&t->next, 1);

		if (i >= t->count || t->one(t, r, t->todo[i], scratch))
			break;
		atomic_fetch_add(&t->done, 1);
	}
	remote_close(r);
	free(scratch);
	return NULL;
}

/* All of t->todo; 0 or the first error, said. */
static int run(struct transfer *t, const char *what, const struct args *a)
{
	const struct timespec nap = { .tv_nsec = 50000000 };
	pthread_t threads[THREADS_MAX];
	struct cli_progress p;
	unsigned int n = 0;

	atomic_store(&t->next, 0);
	atomic_store(&t->done, 0);
	cli_progress_start(&p, what, t->count * MIB, a->quiet || !t->count);
	p.counts = true;
	while (n < a->threads && n < t->count && !pthread_create(&threads[n], NULL, work, t))
		n++;
	if (!n && t->count)
		fail(t, -EAGAIN, "no threads");
	while (!atomic_load(&t->err) && atomic_load(&t->done) < t->count) {
		nanosleep(&nap, NULL);
		cli_progress_at(&p, atomic_load(&t->done) * MIB);
	}
	while (n)
		pthread_join(threads[--n], NULL);
	cli_progress_end(&p);
	if (atomic_load(&t->err))
		cli_error("%s: %s; run it again to go on", what, t->why);
	return atomic_load(&t->err);
}

/* ---------------------------------------------------------------- push */

/* The server lacks this one. It may say so of each place in the image, and no more. */
static int lacks(struct transfer *t, const u8 *digest)
{
	if (t->count == t->room) {
		cli_error("the server asks for more objects than there are");
		return -EBADMSG;
	}
	memcpy(t->todo[t->count++], digest, SHA256_BYTES);
	return 0;
}

/* Which of @all does the server lack? */
static int ask_missing(struct transfer *t, const struct digestset *all)
{
	json_t *digests = json_array(), *o = NULL, *v;
	u8 (*asked)[SHA256_BYTES] = calloc(ASK_AT_ONCE, SHA256_BYTES);
	char hex[DIGEST_HEX + 1];
	long status;
	size_t i, k, n = 0;
	int err = asked ? 0 : -ENOMEM;

	for (i = 0; !err && i <= all->room; i++) {
		if (i < all->room && all->slots[i].used) {
			memcpy(asked[n++], all->slots[i].digest, SHA256_BYTES);
			json_array_append_new(digests,
					      json_string(cli_hex(hex, all->slots[i].digest)));
		}
		if (!n || (n < ASK_AT_ONCE && i < all->room))
			continue;
		o = remote_call(t->remote, "POST", "/api/v1/missing",
				json_pack("{s:o}", "digests", digests), &status);
		digests = json_array();
		err = o ? remote_say(o, status) : -EIO;
		json_array_foreach(json_object_get(o, "missing"), k, v)
			if (!err && json_integer_value(v) >= 0 && (size_t)json_integer_value(v) < n)
				err = lacks(t, asked[json_integer_value(v)]);
		json_decref(o);
		n = 0;
	}
	json_decref(digests);
	free(asked);
	return err;
}

static int collect(struct digestset *set, const struct version *v)
{
	bool added;

	for (u64 i = 0; i < v->m.chunk_count; i++)
		if (!manifest_digest_is_zero(v->digests + i * SHA256_BYTES) &&
		    !digestset_add(set, v->digests + i * SHA256_BYTES, &added))
			return -ENOMEM;
	for (u32 i = 0; i < v->m.page_count; i++)
		if (!manifest_digest_is_zero(manifest_page_digest(&v->m, i)) &&
		    !digestset_add(set, manifest_page_digest(&v->m, i), &added))
			return -ENOMEM;
	return 0;
}

/* Send the manifest; -EAGAIN when the server named objects that it lacks, now in t->todo. */
static int publish(struct transfer *t, const struct version *v, const char *hex)
{
	u8 digest[SHA256_BYTES];
	char path[120];
	long status;
	json_t *o, *d;
	size_t i;
	int err = 0;

	fmt_snprintf(path, sizeof(path), "/api/v1/manifests/%s", hex);
	o = remote_put(t->remote, path, v->file, v->file_bytes, &status);
	t->count = 0;
	json_array_foreach(json_object_get(o, "missing"), i, d) {
		const char *text = json_string_value(d);

		if (!err && text && !fmt_unhex(digest, SHA256_BYTES, text, strlen(text)))
			err = lacks(t, digest);
	}
	if (!err)
		err = t->count ? -EAGAIN : remote_say(o, status);
	json_decref(o);
	return err;
}

static int move_channel(const struct args *a, struct remote *r, const char *hex)
{
	long status;
	json_t *o = remote_call(r, "POST", "/api/v1/channels",
				json_pack("{s:s,s:s}", "channel", a->channel, "version", hex),
				&status);
	int err = o ? remote_say(o, status) : -EIO;

	if (!err)
		printf("channel  %s, serial %lld\n", a->channel,
		       (long long)json_integer_value(json_object_get(o, "serial")));
	json_decref(o);
	return err;
}

static enum cli_exit push_version(const struct args *a, struct remote *r, const struct datadir *d,
				  const struct version *v, const char *hex)
{
	struct transfer t = { .d = d, .remote = r, .one = send_one,
			      .lock = PTHREAD_MUTEX_INITIALIZER };
	u64 start = plat_time_ns();
	struct digestset set;
	size_t total;
	int err = digestset_init(&set);

	if (!err)
		err = collect(&set, v);
	total = set.count;
	t.room = v->m.chunk_count + v->m.page_count;
	t.todo = calloc(t.room, SHA256_BYTES);
	if (!t.todo)
		err = -ENOMEM;
	if (!err)
		err = ask_missing(&t, &set);
	for (int i = 0; !err && i < TRIES; i++) {
		err = run(&t, "push", a);
		if (!err)
			err = publish(&t, v, hex);
		if (err != -EAGAIN)
			break;
		err = i + 1 == TRIES ? -EIO : 0;
	}
	if (!err) {
		u64 ms = (plat_time_ns() - start) / NS_PER_MS + 1, sent = atomic_load(&t.bytes);

		printf("version  %s\nobjects  %zu, %llu bytes sent of those the server lacked\n"
		       "time     %llu.%llu s\n", hex, total,
		       (unsigned long long)(sent + v->file_bytes), (unsigned long long)(ms / 1000),
		       (unsigned long long)(ms % 1000 / 100));
	}
	if (!err && a->channel)
		err = move_channel(a, r, hex);
	digestset_fini(&set);
	free(t.todo);
	return err ? CLI_FAILED : CLI_OK;
}

static enum cli_exit run_push(const struct cli_command *c, int argc, char **argv)
{
	u8 pub[P256_PUB_BYTES], id[SHA256_BYTES];
	char hex[DIGEST_HEX + 1];
	struct remote *r = NULL;
	const char *why;
	struct version v;
	struct datadir d;
	struct args a;
	enum cli_exit ret = parse(c, &a, argc, argv);

	if (ret)
		return ret;
	if (cli_public_key(pub, a.key, a.data) || cli_open_data(&d, a.data, false))
		return CLI_FAILED;
	ret = CLI_FAILED;
	if (!cli_version(&d, a.version, pub, id) && !remote_open(&r, &a.remote)) {
		if (version_load(&d, id, pub, &v, &why)) {
			cli_error("version %s: %s", cli_hex(hex, id), why);
		} else {
			cli_hex(hex, id);
			ret = push_version(&a, r, &d, &v, hex);
			version_free(&v);
		}
	}
	remote_close(r);
	datadir_close(&d);
	return ret;
}

const struct cli_command cmd_push = {
	.group = "push",
	.args = "--data DIR [--channel NAME] [OPTIONS] VERSION",
	.summary = "send a version to a server: only what it lacks, visible when whole",
	.help = "  --data DIR     the folder that has the version\n"
		"  --key FILE     the site's key, either half (default DIR/site.pub or site.key)\n"
		"  --channel NAME then point this channel at it\n"
		"  --threads N    connections (default 4)\n"
		"  --quiet        no progress\n" REMOTE_HELP
		"\n"
		"VERSION is 64 hex digits or a channel of the folder. A push that is\n"
		"interrupted is taken up by the next.\n",
	.run = run_push,
};

/* ---------------------------------------------------------------- pull */

static void none_missing(void *arg, const u8 digest[SHA256_BYTES])
{
	(void)arg;
	(void)digest;
}

static int add_todo(struct transfer *t, struct digestset *seen, const u8 *digest)
{
	int place = OBJECT_STORED;
	bool added;

	if (manifest_digest_is_zero(digest))
		return 0;
	if (!digestset_add(seen, digest, &added))
		return -ENOMEM;
	if (added)
		place = object_find(t->d, digest, NULL);
	if (place == OBJECT_NOWHERE)
		memcpy(t->todo[t->count++], digest, SHA256_BYTES);
	return place < 0 ? place : 0;
}

/* Pages first: they name the chunks. */
static int pull_objects(struct transfer *t, const struct manifest *m, const struct args *a)
{
	u8 *page = malloc(m->chunk_bytes);
	struct digestset seen;
	int err = digestset_init(&seen);

	t->todo = calloc(m->chunk_count + m->page_count, SHA256_BYTES);
	if (!t->todo || !page)
		err = -ENOMEM;
	for (u32 i = 0; !err && i < m->page_count; i++)
		err = add_todo(t, &seen, manifest_page_digest(m, i));
	if (!err)
		err = run(t, "table", a);
	t->count = 0;
	for (u32 i = 0; !err && i < m->page_count; i++) {
		const u8 *digest = manifest_page_digest(m, i);
		int n = manifest_digest_is_zero(digest) ? 0 :
			object_read(t->d, digest, page, m->chunk_bytes);

		if (n == -ENOENT)
			n = incoming_read(t->d, digest, page, m->chunk_bytes);
		err = n < 0 ? n : 0;
		for (int k = 0; !err && k + SHA256_BYTES <= n; k += SHA256_BYTES)
			err = add_todo(t, &seen, page + k);
	}
	if (!err)
		err = run(t, "pull", a);
	digestset_fini(&seen);
	free(page);
	free(t->todo);
	return err;
}

static enum cli_exit pull_version(const struct args *a, struct remote *r, struct datadir *d,
				  const u8 pub[P256_PUB_BYTES], const char *hex)
{
	struct transfer t = { .d = d, .remote = r, .one = fetch_one,
			      .lock = PTHREAD_MUTEX_INITIALIZER };
	u8 version[SHA256_BYTES], *file = NULL;
	const char *why = "not a manifest of a format that we know";
	struct manifest m;
	char path[120];
	long status = 0;
	size_t n;
	int err;

	fmt_snprintf(path, sizeof(path), "/v1/manifest/%s", hex);
	err = remote_get(r, path, &file, &n, &status, NULL);
	if (!err && status != 200)
		err = -EIO;
	if (err || manifest_parse(file, n, &m)) {
		cli_error("manifest %s: %s", hex, err ? "could not be fetched" : why);
		free(file);
		return CLI_FAILED;
	}
	err = pull_objects(&t, &m, a);
	if (!err) {
		err = publish_version(d, file, n, pub, version, none_missing, NULL, &why);
		if (err)
			cli_error("version %s: %s", hex, err == -ENOENT ? "objects vanished" : why);
	}
	if (!err)
		printf("version  %s\nfetched  %llu bytes\n", hex,
		       (unsigned long long)atomic_load(&t.bytes));
	free(file);
	return err ? CLI_FAILED : CLI_OK;
}

static enum cli_exit run_pull(const struct cli_command *c, int argc, char **argv)
{
	u8 pub[P256_PUB_BYTES];
	char hex[DIGEST_HEX + 1];
	struct remote *r = NULL;
	struct datadir d;
	struct args a;
	enum cli_exit ret = parse(c, &a, argc, argv);

	if (ret)
		return ret;
	if (cli_public_key(pub, a.key, a.data) || cli_make_data(&d, a.data))
		return CLI_FAILED;
	ret = CLI_FAILED;
	if (!remote_open(&r, &a.remote) && !remote_version(r, a.version, hex))
		ret = pull_version(&a, r, &d, pub, hex);
	remote_close(r);
	datadir_close(&d);
	return ret;
}

const struct cli_command cmd_pull = {
	.group = "pull",
	.args = "--data DIR [OPTIONS] VERSION",
	.summary = "fetch a version from a server into a data folder",
	.help = "  --data DIR     the folder; it needs the site's public key\n"
		"  --key FILE     the site's key, either half (default DIR/site.pub or site.key)\n"
		"  --threads N    connections (default 4)\n"
		"  --quiet        no progress\n" REMOTE_HELP
		"\n"
		"VERSION is 64 hex digits, six or more of them, or a channel of the server.\n",
	.run = run_pull,
};
