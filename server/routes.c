/*
 * routes.c - from a request to an answer
 *
 *	GET  /v1/boot?uuid=&mac=&disk=   a signed ticket
 *	GET  /v1/manifest/<digest>       a file that never changes
 *	GET  /v1/chunk/<digest>          likewise
 *	GET  /objects/<2 hex>/<digest>   the same, as a web server shows the folder
 *	GET  /v1/profile/<digest>        which chunks a boot reads
 *	POST /v1/profile?uuid=           ... in a machine's own boot
 *	POST /v1/report                  what a machine says of itself
 *	GET  /v1/machines                the list, to the server's own host only
 *	GET  /boot.ipxe /freshet.efi /freshet.conf
 *	     /api/...                    the JSON API, api/api.c
 *	GET  /metrics                    for Prometheus
 *	     / /dash/ /login ...         the dashboard, dash.c
 *
 * HEAD goes where GET goes. A digest is 64 hex digits or the path matches
 * nothing; file names are made from the parsed digest, never from the path.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/log.h"
#include "base/plat.h"
#include "server/api/api.h"
#include "server/cache.h"
#include "server/dash.h"
#include "server/data/channels.h"
#include "server/data/profiles.h"
#include "server/data/siteconf.h"
#include "server/fetch.h"
#include "server/site.h"
#include "server/verify.h"

#define IN_MEMORY_MAX (16 * 1024) /* shorter files are read, longer ones go by sendfile(2) */
#define CACHE_ASK "no-cache"

struct route {
	const char *path; /* a slash at the end: a digest follows */
	bool post;
	int (*answer)(struct site *s, const struct site_request *q, const u8 *digest,
		      struct reply *r);
};

/** site_tell_damaged() - an event for an object that is not what its name says */
void site_tell_damaged(struct site *s, const u8 digest[SHA256_BYTES])
{
	char hex[DIGEST_HEX + 1];

	if (s->fleet)
		fleet_event(s->fleet, "damaged", 0,
			    "object %.16s is damaged; push or build its image again",
			    fmt_hex(hex, digest, SHA256_BYTES));
}

/** site_status_of() - what an error is on the wire */
int site_status_of(int err)
{
	switch (err) {
	case 0:
		return 200;
	case -EINVAL:
		return 400;
	case -EACCES:
		return 401;
	case -EPERM:
		return 403;
	case -ENOENT:
		return 404;
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
	case -EBUSY:
	case -EREMOTEIO:
		return 503;
	case -ENOSPC:
	case -EDQUOT:
		return 507;
	default:
		return 500;
	}
}

static int answer_file(struct site *s, const char *path, const char *type, const char *cache,
		       struct reply *r)
{
	int fd = openat(s->dir.fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int err;

	if (fd < 0)
		return -errno;
	err = fstat(fd, &st) ? -errno : !S_ISREG(st.st_mode) ? -ENOENT : 0;
	if (err) {
		close(fd);
		return err;
	}
	r->type = type;
	r->cache = cache;
	if ((u64)st.st_size > IN_MEMORY_MAX) {
		r->fd = fd;
		r->bytes = (u64)st.st_size;
		return 0;
	}
	close(fd);
	err = datadir_read(&s->dir, path, IN_MEMORY_MAX, &r->data, (size_t *)&r->bytes);
	return err;
}

static int answer_boot(struct site *s, const struct site_request *q, const u8 *digest,
		       struct reply *r)
{
	(void)digest;
	return site_ticket(s, q, false, r);
}

static int answer_manifest(struct site *s, const struct site_request *q, const u8 *digest,
			   struct reply *r)
{
	char path[DATADIR_PATH_MAX];

	if (!q->tls && !s->conf.plain_objects)
		return -EPERM;
	path_manifest(path, digest);
	return answer_file(s, path, "application/octet-stream", CACHE_FOREVER, r);
}

/* A longer object goes out of the file that stays open for the next who asks. */
static int keep_open(struct site *s, const u8 *digest, const char *path, struct reply *r)
{
	int fd;

	if (!s->cache || s->faults.count)
		return 0;
	fd = r->fd >= 0 ? r->fd : openat(s->dir.fd, path, O_RDONLY | O_CLOEXEC);
	r->fd = -1;
	r->cached = fd < 0 ? NULL : cache_put(s->cache, digest, fd, r->bytes);
	return r->cached || r->data ? 0 : -ENOMEM;
}

static int answer_chunk(struct site *s, const struct site_request *q, const u8 *digest,
			struct reply *r)
{
	char path[DATADIR_PATH_MAX];
	int err;

	if (!q->tls && !s->conf.plain_objects)
		return -EPERM;
	if (s->cache && !s->faults.count)
		r->cached = cache_get(s->cache, digest);
	if (r->cached) {
		r->cache = CACHE_FOREVER;
		r->bytes = cached_bytes(r->cached);
	} else {
		if (s->fetchers)
			return fetch_begin(s, digest, r);
		if (verify_begin(s, digest, r))
			return 0;
		path_object(path, digest);
		err = answer_file(s, path, "application/octet-stream", CACHE_FOREVER, r);
		if (!err)
			err = keep_open(s, digest, path, r);
		if (err)
			return err;
	}
	s->counts.objects++;
	s->counts.object_bytes += r->bytes;
	return 0;
}

static int answer_profile(struct site *s, const struct site_request *q, const u8 *digest,
			  struct reply *r)
{
	char path[DATADIR_PATH_MAX];

	if (!q->tls && !s->conf.plain_objects)
		return -EPERM;
	path_profile(path, digest, "merged");
	return answer_file(s, path, "application/octet-stream", CACHE_ASK, r);
}

static int answer_profile_told(struct site *s, const struct site_request *q, const u8 *digest,
			       struct reply *r)
{
	char uuid[40];
	int err;

	(void)digest;
	if (request_param(q->head, "uuid", uuid, sizeof(uuid)) || !uuid_ok(uuid))
		return -EINVAL;
	err = profiles_add(&s->dir, s->key, uuid, q->body, (size_t)q->head->body_bytes);
	if (!err)
		r->status = 204;
	return err;
}

static int answer_report(struct site *s, const struct site_request *q, const u8 *digest,
			 struct reply *r)
{
	int err = s->fleet ? fleet_report(s->fleet, (const char *)q->body,
					  (size_t)q->head->body_bytes, q->address,
					  q->tls ? q->head->bearer : "") :
			     0;

	(void)digest;
	if (!err)
		r->status = 204;
	return err;
}

static int answer_machines(struct site *s, const struct site_request *q, const u8 *digest,
			   struct reply *r)
{
	char *json;
	int err;

	(void)digest;
	if (!q->loopback)
		return -EPERM;
	if (!s->fleet)
		return reply_text(r, "application/json", "[]");
	err = fleet_list(s->fleet, &json);
	if (err)
		return err;
	r->type = "application/json";
	r->data = (u8 *)json;
	r->bytes = strlen(json);
	return 0;
}

static int answer_metrics(struct site *s, const struct site_request *q, const u8 *digest,
			  struct reply *r)
{
	bool plain_ok = s->conf.metrics == PLAIN_ON ||
			(s->conf.metrics == PLAIN_LOOPBACK && q->loopback);
	char name[64], *text;
	int err;

	(void)digest;
	if (!plain_ok && !(q->tls && s->fleet && q->head->bearer[0] &&
			   fleet_token_role(s->fleet, q->head->bearer, name) >= ROLE_READER))
		return -EPERM;
	err = metrics_text(s, &text);
	if (err)
		return err;
	r->type = "text/plain; version=0.0.4";
	r->data = (u8 *)text;
	r->bytes = strlen(text);
	return 0;
}

static int answer_netboot(struct site *s, const struct site_request *q, const u8 *digest,
			  struct reply *r)
{
	static const struct {
		const char *path, *file, *type;
	} files[] = {
		{ "/boot.ipxe", "netboot/boot.ipxe", "text/plain" },
		{ "/freshet.conf", "netboot/freshet.conf", "text/plain" },
		{ "/freshet.efi", "netboot/freshet.efi", "application/efi" },
		{ "/ipxe.efi", "netboot/ipxe.efi", "application/efi" },
	};

	(void)digest;
	if (!q->tls && !s->conf.plain_boot)
		return -EPERM;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (!strcmp(q->head->path, files[i].path))
			return answer_file(s, files[i].file, files[i].type, CACHE_ASK, r);
	return -ENOENT;
}

static const struct route routes[] = {
	{ "/v1/chunk/", false, answer_chunk },	   { "/v1/manifest/", false, answer_manifest },
	{ "/v1/profile/", false, answer_profile }, { "/v1/profile", true, answer_profile_told },
	{ "/v1/boot", false, answer_boot },
	{ "/v1/report", true, answer_report },	   { "/v1/machines", false, answer_machines },
	{ "/boot.ipxe", false, answer_netboot },   { "/freshet.efi", false, answer_netboot },
	{ "/freshet.conf", false, answer_netboot }, { "/ipxe.efi", false, answer_netboot },
	{ "/metrics", false, answer_metrics },
};

/* "/objects/ab/ab..": what PCs ask a source of chunks for, when we are one to others. */
static bool is_object(const char *path)
{
	static const char folder[] = "/objects/";
	const char *two = path + sizeof(folder) - 1;

	return !strncmp(path, folder, sizeof(folder) - 1) && strlen(two) == 3 + DIGEST_HEX &&
	       two[2] == '/' && !memcmp(two, two + 3, 2) && digest_hex_ok(two + 3, DIGEST_HEX);
}

static const struct route *find_route(const char *path, u8 digest[SHA256_BYTES])
{
	if (is_object(path)) {
		fmt_unhex(digest, SHA256_BYTES, path + strlen(path) - DIGEST_HEX, DIGEST_HEX);
		return &routes[0];
	}
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		size_t n = strlen(routes[i].path);

		if (routes[i].path[n - 1] != '/') {
			if (!strcmp(path, routes[i].path))
				return &routes[i];
		} else if (!strncmp(path, routes[i].path, n) &&
			   digest_hex_ok(path + n, strlen(path + n))) {
			fmt_unhex(digest, SHA256_BYTES, path + n, DIGEST_HEX);
			return &routes[i];
		}
	}
	return NULL;
}

/* ---------------------------------------------------------------- faults, for tests */

/* The body into memory, where it can be spoilt. */
static void take_in(struct reply *r)
{
	u64 have = 0;
	ssize_t n = 1;

	if (r->fd < 0)
		return;
	r->data = malloc(r->bytes);
	while (r->data && have < r->bytes && n > 0) {
		n = pread(r->fd, r->data + have, r->bytes - have, (off_t)have);
		have += n > 0 ? (u64)n : 0;
	}
	r->bytes = r->data ? have : 0;
	close(r->fd);
	r->fd = -1;
}

/* Any chunk but @digest: the one served before, else the first that the store shows. */
static bool other_chunk(struct site *s, const u8 *digest, u8 out[SHA256_BYTES])
{
	static const u8 none[SHA256_BYTES];
	bool found = false;

	memcpy(out, s->last_chunk, SHA256_BYTES);
	if (memcmp(out, none, SHA256_BYTES) && memcmp(out, digest, SHA256_BYTES))
		return true;
	for (int i = 0; !found && i < 256; i++) {
		char path[16];
		struct dirent *e;
		int fd;
		DIR *dir;

		fmt_snprintf(path, sizeof(path), "objects/%02x", i);
		fd = openat(s->dir.fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		dir = fd < 0 ? NULL : fdopendir(fd);
		while (dir && !found && (e = readdir(dir)))
			found = !fmt_unhex(out, SHA256_BYTES, e->d_name, strlen(e->d_name)) &&
				memcmp(out, digest, SHA256_BYTES);
		if (dir)
			closedir(dir);
	}
	return found;
}

/* One of the signature's bytes: in a ticket the last digit, in a manifest the last byte. */
static void spoil_signature(struct reply *r, bool text)
{
	take_in(r);
	if (text && r->bytes > 2)
		r->data[r->bytes - 2] = r->data[r->bytes - 2] == '0' ? '1' : '0';
	else if (r->bytes)
		r->data[r->bytes - 1] ^= 1;
}

static void scramble(struct reply *r)
{
	u32 x = 0x2545f491;

	take_in(r);
	for (u64 i = 0; i < r->bytes; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		r->data[i] = (u8)x;
	}
}

static void misbehave(struct site *s, const struct route *route, const struct site_request *q,
		      const u8 *digest, const struct fault_hit *hit, struct reply *r)
{
	bool boot = route && route->answer == answer_boot;
	u8 other[SHA256_BYTES];

	r->delay_ms = hit->delay_ms;
	switch (hit->kind) {
	case FAULT_STATUS:
		reply_error(r, hit->status);
		break;
	case FAULT_CUT:
		r->manner = REPLY_CUT;
		break;
	case FAULT_STALL:
		r->manner = REPLY_STALL;
		break;
	case FAULT_CLOSE:
		r->manner = REPLY_CLOSE;
		break;
	case FAULT_NOISE:
		r->manner = REPLY_NOISE;
		break;
	case FAULT_GARBAGE:
		scramble(r);
		break;
	case FAULT_WRONG_CHUNK:
		if (route && route->answer == answer_chunk && other_chunk(s, digest, other)) {
			reply_fini(r);
			answer_chunk(s, q, other, r);
		}
		break;
	case FAULT_BAD_SIGNATURE:
		if (boot || (route && route->answer == answer_manifest))
			spoil_signature(r, boot);
		break;
	case FAULT_STALE_SERIAL:
		if (boot) {
			reply_fini(r);
			site_ticket(s, q, true, r);
		}
		break;
	case FAULT_NONE:
	case FAULT_DELAY:
		break;
	}
	if (hit->kind != FAULT_NONE)
		log_info("fault: fired path=%s kind=%d", q->head->path, hit->kind);
}

/* ---------------------------------------------------------------- */

static void answer_well(struct site *s, const struct route *route, const struct site_request *q,
			const u8 *digest, struct reply *r)
{
	bool get = q->head->method == METHOD_GET || q->head->method == METHOD_HEAD;
	int err;

	if (!route) {
		reply_error(r, 404);
	} else if (route->post ? q->head->method != METHOD_POST : !get) {
		reply_error(r, 405);
		r->allow = route->post ? "POST" : "GET, HEAD";
	} else if ((route->answer == answer_boot || route->answer == answer_report ||
		    route->answer == answer_profile_told) &&
		   !limit_take(&s->boot_limit, q->address, plat_time_ns())) {
		s->counts.limited++;
		reply_error(r, 429);
		reply_field(r, "Retry-After", "1");
	} else {
		err = route->answer(s, q, digest, r);
		if (err)
			reply_error(r, site_status_of(err));
	}
}

/**
 * site_answer() - what to say to @q
 * @r: out; to be finished by the caller
 */
void site_answer(struct site *s, struct site_request *q, struct reply *r)
{
	u8 digest[SHA256_BYTES] = { 0 };
	const struct route *route = find_route(q->head->path, digest);
	struct fault_hit hit = fault_pick(&s->faults, q->head->path);

	reply_init(r);
	if (!strncmp(q->head->path, "/api/", 5))
		api_answer(s, q, r);
	else if (route || !dash_answer(s, q, r))
		answer_well(s, route, q, digest, r);
	if (hit.kind != FAULT_NONE || hit.delay_ms)
		misbehave(s, route, q, digest, &hit, r);
	else if (route && route->answer == answer_chunk && r->status == 200)
		memcpy(s->last_chunk, digest, SHA256_BYTES);
}

/** site_body_max() - how long the body of this request may be */
u64 site_body_max(struct site *s, const struct request *head)
{
	return strncmp(head->path, "/api/", 5) ? FLEET_REPORT_MAX : api_body_max(s, head);
}

/** site_refuse() - what to say to a request that is not even looked at */
void site_refuse(const struct request *head, int status, struct reply *r)
{
	if (!strncmp(head->path, "/api/", 5))
		api_reply_error(r, status, reply_reason(status));
	else
		reply_error(r, status);
}

/** site_count() - a reply was sent */
void site_count(struct site *s, const struct reply *r, u64 bytes)
{
	s->counts.replies[r->status / 100 % 6]++;
	s->counts.bytes += bytes;
}

/**
 * site_load_key() - read the site's key, again on SIGHUP
 *
 * On failure the old one stays. Return: 0 or the error, having said so.
 */
int site_load_key(struct site *s)
{
	struct crypto_key *key;
	int err = key_load_pem(&key, s->key_path);

	if (err) {
		log_err("freshetd: cannot read the key path=%s err=%s", s->key_path,
			err_name(err));
		return err;
	}
	key_free(s->key);
	s->key = key;
	key_public(key, s->pub);
	return 0;
}

/**
 * site_check() - is what tickets are made from in order?
 *
 * Return: 0; the first error, having said all.
 */
int site_check(struct site *s)
{
	static const char usual[] = "lab/stable";
	struct ticket t = { .channel = "lab/stable" };
	char path[DATADIR_PATH_MAX];
	struct channel ch;
	struct stat st;
	size_t bytes;
	bool missing;
	u8 *text;
	int line = 0, ret = 0;
	int err = datadir_read(&s->dir, SITECONF_PATH, SITECONF_MAX, &text, &bytes);

	if (!err) {
		err = siteconf_apply((char *)text, NULL, &t, &line);
		free(text);
	} else if (err == -ENOENT) {
		err = 0;
	}
	if (err)
		log_err("freshetd: %s is bad line=%d err=%s", SITECONF_PATH, line, err_name(err));
	ret = err;
	err = channel_read(&s->dir, t.channel, s->pub, &ch);
	if (err)
		log_warn("freshetd: channel is not usable name=%s err=%s", t.channel,
			 err_name(err));
	/* A site is new before it has a channel; one that site.conf names has to be there. */
	missing = err == -ENOENT && !strcmp(t.channel, usual);
	ret = ret || missing ? ret : err;
	if (!err) {
		path_manifest(path, ch.version);
		err = fstatat(s->dir.fd, path, &st, 0) ? -errno : 0;
		if (err)
			log_warn("freshetd: channel's version is missing name=%s", t.channel);
	}
	if (fstatat(s->dir.fd, "netboot/freshet.efi", &st, 0))
		log_warn("freshetd: no boot files yet; make them with freshet boot build");
	return ret || missing ? ret : err;
}
