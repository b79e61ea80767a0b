/*
 * s3_http.c - requests to S3-compatible storage
 *
 * Path-style addresses (http://host/bucket/key), signed with AWS Signature Version 4 by
 * libcurl; the header x-amz-content-sha256 is ours, so that an upload that changes on its
 * way is refused, and libcurl signs it with the rest.
 *
 * Trouble is of two kinds. What may pass (no connection, a time-out, 429, 5xx) is
 * tried again after a pause that grows; when that did not help, everybody hears the
 * same answer at once for DOWN_S, so that workers are not all held up by
 * a server that is gone. What will not pass (a wrong key, no such bucket, clocks too far
 * apart) is not tried again. Both are -EREMOTEIO, with words in s3_why().
 *
 * Threads: all may call; each call borrows a handle, with its open connection, from
 * a pool.
 */
#include "server/data/s3_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/plat.h"
#include "server/data/s3_list.h"
#include "server/data/version.h"

#define PAUSE_MS 100 /* before the second try; four times as long before each further one */
#define DOWN_S 2
#define CONNECT_MS 3000
#define STALL_S 8 /* under 1 KiB a second for so long is a time-out */
#define WHOLE_S 60
#define WIDTH 16 /* requests at once, when many are to be asked about */

static _Thread_local char words[OBJECTS_WHY_MAX];
static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER;
static char last_words[OBJECTS_WHY_MAX]; /* [last_lock] */

/** s3_why() - the last -EREMOTEIO of this thread in words, or of another if this had none */
const char *s3_why(void)
{
	if (!words[0]) {
		pthread_mutex_lock(&last_lock);
		memcpy(words, last_words, sizeof(words));
		pthread_mutex_unlock(&last_lock);
	}
	return words;
}

/** s3_say() - have words for -EREMOTEIO, and return that */
int s3_say(const struct s3 *s, const char *text, const char *more)
{
	fmt_snprintf(words, sizeof(words), "s3: %s, bucket %s: %s%s%s%s", s->at.url, s->at.bucket,
		     text, *more ? " (" : "", more, *more ? ")" : "");
	for (char *p = words; *p; p++) /* some of it is the server's: into logs and JSON */
		if (*p < ' ' || *p > '~')
			*p = '?';
	pthread_mutex_lock(&last_lock);
	memcpy(last_words, words, sizeof(words));
	pthread_mutex_unlock(&last_lock);
	return -EREMOTEIO;
}

/* ---------------------------------------------------------------- one request */

static CURL *take_handle(struct s3 *s)
{
	CURL *c = NULL;

	pthread_mutex_lock(&s->lock);
	if (s->idle_count)
		c = s->idle[--s->idle_count];
	pthread_mutex_unlock(&s->lock);
	return c ? c : curl_easy_init();
}

/* It keeps its connection, and nothing that points at the call it served. */
static void give_handle(struct s3 *s, CURL *c)
{
	curl_easy_reset(c);
	pthread_mutex_lock(&s->lock);
	if (s->idle_count < S3_HANDLES_MAX) {
		s->idle[s->idle_count++] = c;
		c = NULL;
	}
	pthread_mutex_unlock(&s->lock);
	if (c)
		curl_easy_cleanup(c);
}

static size_t on_data(char *p, size_t one, size_t n, void *arg)
{
	struct s3_call *c = arg;

	n *= one;
	if (n > c->max - c->have) {
		c->too_long = true;
		return 0;
	}
	if (c->have + n + 1 > c->room) {
		size_t room = MIN(MAX(c->room * 2, c->have + n + 1), c->max + 1);
		u8 *more = realloc(c->data, room);

		if (!more)
			return 0;
		c->data = more;
		c->room = room;
	}
	memcpy(c->data + c->have, p, n);
	c->have += n;
	c->data[c->have] = 0;
	return n;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t e, curl_off_t f)
{
	(void)a;
	(void)b;
	(void)e;
	(void)f;
	return atomic_load(&((struct s3 *)arg)->stopping);
}

/* Without one of these the secret would go elsewhere, or in clear: no request then. */
static CURLcode guard(const struct s3 *s, CURL *h)
{
	CURLcode code = curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");

	if (!code)
		code = curl_easy_setopt(h, CURLOPT_AWS_SIGV4, s->sign);
	if (!code && s->ca[0])
		code = curl_easy_setopt(h, CURLOPT_CAINFO, s->ca);
	return code;
}

/* The handle is ready to go when this returns 0. */
static int prepare(struct s3 *s, struct s3_call *c)
{
	char url[sizeof(s->at.url) + sizeof(s->at.bucket) + S3_KEY_MAX + 4];
	char field[32 + 2 * SHA256_BYTES], hex[2 * SHA256_BYTES + 1];
	u8 digest[SHA256_BYTES];
	CURL *h = c->curl;
	CURLcode code;

	c->have = 0;
	c->too_long = false;
	c->why[0] = 0;
	crypto_sha256(digest, c->body ? c->body : (const u8 *)"", c->body_bytes);
	fmt_snprintf(field, sizeof(field), "x-amz-content-sha256:%s",
		     fmt_hex(hex, digest, SHA256_BYTES));
	curl_easy_reset(h);
	code = guard(s, h);
	if (code)
		return s3_say(s, "libcurl cannot make signed requests", curl_easy_strerror(code));
	c->fields = curl_slist_append(NULL, field);
	if (!c->fields)
		return -ENOMEM;
	fmt_snprintf(url, sizeof(url), "%s/%s%s", s->at.url, s->at.bucket, c->key);
	curl_easy_setopt(h, CURLOPT_URL, url);
	curl_easy_setopt(h, CURLOPT_USERNAME, s->user);
	curl_easy_setopt(h, CURLOPT_PASSWORD, s->secret);
	curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
	curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1024L);
	curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, c->patience_s ? c->patience_s : (long)STALL_S);
	curl_easy_setopt(h, CURLOPT_TIMEOUT, c->patience_s ? c->patience_s : (long)WHOLE_S);
	curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(h, CURLOPT_WRITEDATA, c);
	curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(h, CURLOPT_XFERINFODATA, s);
	curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(h, CURLOPT_ERRORBUFFER, c->why);
	if (!strcmp(c->method, "HEAD")) {
		curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
	} else if (c->body) {
		struct curl_slist *more;

		more = curl_slist_append(c->fields, "Content-Type: application/octet-stream");
		c->fields = more ? more : c->fields;
		curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->body_bytes);
		curl_easy_setopt(h, CURLOPT_POSTFIELDS, c->body);
	}
	if (strcmp(c->method, "GET") && strcmp(c->method, "HEAD"))
		curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, c->method);
	curl_easy_setopt(h, CURLOPT_HTTPHEADER, c->fields);
	return 0;
}

/* A status that is no success, in words. */
static int explain(const struct s3 *s, const struct s3_call *c)
{
	static const struct {
		const char *code, *text;
	} known[] = {
		{ "NoSuchBucket", "there is no such bucket; make it, or correct the setting" },
		{ "InvalidAccessKeyId", "this access key is not known there" },
		{ "SignatureDoesNotMatch", "the access key or the secret key is wrong" },
		{ "AccessDenied", "this key may not use the bucket" },
		{ "RequestTimeTooSkewed", "this host's clock and the server's are too far apart" },
		{ "AuthorizationHeaderMalformed", "the region is wrong" },
		{ "PermanentRedirect", "the bucket is in another region" },
		{ "SlowDown", "the server is overloaded" },
	};
	char code[48], message[120], more[200];

	s3_xml_text((char *)c->data, "Code", code, sizeof(code));
	s3_xml_text((char *)c->data, "Message", message, sizeof(message));
	fmt_snprintf(more, sizeof(more), "status %ld%s%s%s%s", c->status, *code ? ", " : "", code,
		     *message ? ": " : "", message);
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (!strcmp(code, known[i].code))
			return s3_say(s, known[i].text, more);
	return s3_say(s, c->status >= 500 ? "the server fails" : "the request was refused", more);
}

/*
 * What became of it: 0; -ENOENT; -EFBIG; -EREMOTEIO with words. @again: it may
 * go better another time.
 */
static int judge(const struct s3 *s, struct s3_call *c, CURLcode code, bool *again)
{
	char error[48];
	curl_off_t length = 0;

	curl_slist_free_all(c->fields);
	c->fields = NULL;
	*again = false;
	if (c->too_long)
		return -EFBIG;
	if (atomic_load(&s->stopping))
		return s3_say(s, "the program ends", "");
	if (code == CURLE_OUT_OF_MEMORY || code == CURLE_WRITE_ERROR)
		return -ENOMEM;
	if (code) {
		*again = code != CURLE_PEER_FAILED_VERIFICATION && code != CURLE_SSL_CACERT_BADFILE;
		return s3_say(s, code == CURLE_OPERATION_TIMEDOUT ? "does not answer" :
			   *again ? "cannot be reached" : "the server's certificate is not trusted",
			   c->why[0] ? c->why : curl_easy_strerror(code));
	}
	curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &c->status);
	curl_easy_getinfo(c->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	c->length = length > 0 ? (u64)length : 0;
	if (c->status >= 200 && c->status < 300)
		return 0;
	s3_xml_text(c->have ? (char *)c->data : NULL, "Code", error, sizeof(error));
	if (c->status == 404 && strcmp(error, "NoSuchBucket"))
		return -ENOENT;
	*again = c->status == 429 || c->status >= 500 || !strcmp(error, "RequestTimeout");
	return explain(s, c);
}

static void pause_for(struct s3 *s, u32 ms)
{
	const struct timespec bit = { .tv_nsec = 20 * (long)NS_PER_MS };

	for (u32 i = 0; i < ms / 20 && !atomic_load(&s->stopping); i++)
		nanosleep(&bit, NULL);
}

static bool known_down(struct s3 *s)
{
	if (plat_time_ns() >= atomic_load(&s->down_until_ns))
		return false;
	pthread_mutex_lock(&s->lock);
	memcpy(words, s->down_why, sizeof(words));
	pthread_mutex_unlock(&s->lock);
	return true;
}

static void note_down(struct s3 *s)
{
	pthread_mutex_lock(&s->lock);
	memcpy(s->down_why, words, sizeof(words));
	pthread_mutex_unlock(&s->lock);
	atomic_store(&s->down_until_ns, plat_time_ns() + DOWN_S * NS_PER_SEC);
}

/**
 * s3_perform() - a request and its answer, up to @tries times
 *
 * A time-out has cost enough after the second. Return: 0; -ENOENT; -EFBIG; -ENOMEM; -EREMOTEIO.
 */
int s3_perform(struct s3 *s, struct s3_call *c, int tries)
{
	CURLcode code = CURLE_OK;
	bool again = false;
	u32 ms = PAUSE_MS;
	int err;

	if (known_down(s))
		return -EREMOTEIO;
	c->curl = take_handle(s);
	if (!c->curl)
		return -ENOMEM;
	for (int i = 0;; i++) {
		again = false;
		err = prepare(s, c);
		if (!err) {
			code = curl_easy_perform(c->curl);
			err = judge(s, c, code, &again);
		}
		if (!err || !again || i + 1 >= tries || (code == CURLE_OPERATION_TIMEDOUT && i))
			break;
		pause_for(s, ms);
		ms *= 4;
	}
	if (err == -EREMOTEIO && again && tries > 1)
		note_down(s);
	give_handle(s, c->curl);
	c->curl = NULL;
	return err;
}

/** s3_call_object() - a request for the object of @digest */
void s3_call_object(struct s3_call *c, const char *method, const u8 *digest)
{
	char path[DATADIR_PATH_MAX];

	c->method = method;
	c->max = OBJECT_BYTES_MAX;
	path_object(path, digest);
	fmt_snprintf(c->key, sizeof(c->key), "/%s", path);
}

/* ---------------------------------------------------------------- many requests */

struct many {
	struct s3 *s;
	const char *method;
	const u8 *digests;
	u64 count, next;
	CURLM *multi;
	struct {
		struct s3_call c;
		u64 index;
	} slots[WIDTH];
	s3_done done;
	void *arg;
};

/* The next one into a slot that has a handle. */
static int start_one(struct many *m, u32 slot)
{
	struct s3_call *c = &m->slots[slot].c;
	int err;

	if (m->next == m->count)
		return 0;
	m->slots[slot].index = m->next++;
	s3_call_object(c, m->method, m->digests + m->slots[slot].index * SHA256_BYTES);
	err = prepare(m->s, c);
	if (err)
		return err;
	curl_easy_setopt(c->curl, CURLOPT_PRIVATE, (char *)(uintptr_t)slot);
	return curl_multi_add_handle(m->multi, c->curl) ? -ENOMEM : 0;
}

static int finish_one(struct many *m, const CURLMsg *msg)
{
	CURLcode code = msg->data.result;
	CURL *h = msg->easy_handle;
	char *private = NULL;
	struct s3_call *c, alone;
	bool again;
	u32 slot;
	int err;

	curl_easy_getinfo(h, CURLINFO_PRIVATE, &private);
	slot = (u32)(uintptr_t)private;
	c = &m->slots[slot].c;
	curl_multi_remove_handle(m->multi, h);
	err = judge(m->s, c, code, &again);
	if (err == -EREMOTEIO && again) {
		memset(&alone, 0, sizeof(alone));
		s3_call_object(&alone, m->method, m->digests + m->slots[slot].index * SHA256_BYTES);
		err = s3_perform(m->s, &alone, S3_TRIES);
		c->length = alone.length;
		c->status = alone.status;
		free(alone.data);
	}
	err = m->done(m->arg, m->slots[slot].index, err, c);
	return err ? err : start_one(m, slot);
}

static int run_many(struct many *m)
{
	int running = 0, left, err = 0;
	CURLMsg *msg;

	for (u32 i = 0; !err && i < WIDTH; i++) {
		m->slots[i].c.curl = take_handle(m->s);
		err = m->slots[i].c.curl ? start_one(m, i) : -ENOMEM;
	}
	while (!err) {
		if (curl_multi_perform(m->multi, &running))
			err = -ENOMEM;
		while (!err && (msg = curl_multi_info_read(m->multi, &left)))
			if (msg->msg == CURLMSG_DONE) {
				err = finish_one(m, msg);
				running = 1; /* another may have begun */
			}
		if (!running)
			break;
		if (!err)
			curl_multi_poll(m->multi, NULL, 0, 100, NULL);
	}
	return err;
}

/**
 * s3_for_each() - @method for each digest, WIDTH at a time
 * @done: hears of each; what it returns ends it if it is not 0
 */
int s3_for_each(struct s3 *s, const char *method, const u8 *digests, u64 count, s3_done done,
		void *arg)
{
	struct many *m;
	struct s3_call c = { 0 };
	int err;

	if (known_down(s))
		return -EREMOTEIO;
	if (count == 1) {
		s3_call_object(&c, method, digests);
		err = s3_perform(s, &c, S3_TRIES);
		free(c.data);
		return done(arg, 0, err, &c);
	}
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->s = s;
	m->method = method;
	m->digests = digests;
	m->count = count;
	m->done = done;
	m->arg = arg;
	m->multi = curl_multi_init();
	err = m->multi ? run_many(m) : -ENOMEM;
	for (u32 i = 0; i < WIDTH; i++) {
		struct s3_call *k = &m->slots[i].c;

		if (!k->curl)
			continue;
		curl_multi_remove_handle(m->multi, k->curl);
		curl_slist_free_all(k->fields);
		k->fields = NULL;
		give_handle(s, k->curl);
		free(k->data);
	}
	if (m->multi)
		curl_multi_cleanup(m->multi);
	free(m);
	return err;
}

