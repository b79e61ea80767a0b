/*
 * api_images.c - versions, uploads, channels, roll-outs
 *
 * What touches more than a file or two is a job: it runs beside the event loop, on
 * copies of what it needs, and finishes on the loop, where the database is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/err.h"
#include "base/fmt.h"
#include "server/api/api.h"
#include "server/data/channels.h"
#include "server/data/objects.h"
#include "server/data/publish.h"
#include "server/data/version.h"

#define SMALL (64 * 1024)
#define MISSING_MAX 8192 /* digests in one question */

/* What any of these jobs may need. */
struct image_job {
	struct job job;
	struct datadir dir; /* a copy: the lock is its own */
	u8 pub[P256_PUB_BYTES];
	char key_path[CONFIG_TEXT_MAX];
	char who[64], address[64];
	enum fleet_role role;
	char channel[CHANNEL_NAME_MAX + 1], why_moved[200];
	long long rollout;
	u8 digest[SHA256_BYTES];
	u8 *bytes;
	size_t n;
	json_t *in, *out; /* jansson counts references of one value from one thread only */
	struct channel ch;
	struct gc_result gc;
	bool dry_run, force;
	u64 grace_s, incoming_s;
	int err;
	char why[GC_WHY_MAX];
};

static void drop(struct job *job)
{
	struct image_job *j = container_of(job, struct image_job, job);

	json_decref(j->in);
	json_decref(j->out);
	free(j->bytes);
	free(j);
}

static struct image_job *new_job(struct site *s, void (*run)(struct job *),
				 void (*finish)(struct job *, struct site *, struct reply *))
{
	struct image_job *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->job.run = run;
	j->job.finish = finish;
	j->job.drop = drop;
	j->dir = s->dir;
	j->dir.lock_fd = -1;
	memcpy(j->pub, s->pub, sizeof(j->pub));
	fmt_snprintf(j->key_path, sizeof(j->key_path), "%s", s->key_path);
	return j;
}

static struct image_job *new_call_job(struct api_call *c, void (*run)(struct job *),
				      void (*finish)(struct job *, struct site *, struct reply *))
{
	struct image_job *j = new_job(c->s, run, finish);

	if (j) {
		fmt_snprintf(j->who, sizeof(j->who), "%s", c->q->who);
		fmt_snprintf(j->address, sizeof(j->address), "%s", c->q->address);
		j->role = c->q->role;
	}
	return j;
}

static void reply_json(struct reply *r, json_t *o)
{
	char *text = json_dumps(o, JSON_COMPACT);

	r->type = "application/json";
	r->data = (u8 *)text;
	r->bytes = text ? strlen(text) : 0;
}

/* An error of a job: j->why if it has words. */
static void reply_failure(struct reply *r, const struct image_job *j)
{
	int status = site_status_of(j->err);

	if (j->err == -EBADMSG || j->err == -EKEYREJECTED)
		status = 422;
	else if (j->err == -EBUSY || j->err == -EEXIST)
		status = 409;
	api_reply_error(r, status, j->why[0] ? j->why : strerror(-j->err));
}

/* At the end of a run(): where objects are elsewhere, the words are that thread's. */
static void note_why(struct image_job *j)
{
	if (j->err == -EREMOTEIO)
		fmt_snprintf(j->why, sizeof(j->why), "%s", objects_why(j->err));
}

static int digest_param(const struct api_call *c, u8 digest[SHA256_BYTES])
{
	if (!digest_hex_ok(c->param[0], strlen(c->param[0])))
		return -ENOENT;
	return fmt_unhex(digest, SHA256_BYTES, c->param[0], DIGEST_HEX);
}

/** api_version_known() - is there a manifest of this name? */
bool api_version_known(struct site *s, const char *hex)
{
	char path[DATADIR_PATH_MAX];
	u8 digest[SHA256_BYTES];
	struct stat st;

	if (!hex || !digest_hex_ok(hex, strlen(hex)))
		return false;
	fmt_unhex(digest, SHA256_BYTES, hex, DIGEST_HEX);
	path_manifest(path, digest);
	return !fstatat(s->dir.fd, path, &st, 0);
}

/* ---------------------------------------------------------------- versions */

static json_t *version_json(const u8 id[SHA256_BYTES], const struct manifest *m)
{
	static const u8 none[SHA256_BYTES];
	char hex[DIGEST_HEX + 1], parent[DIGEST_HEX + 1];

	fmt_hex(hex, id, SHA256_BYTES);
	fmt_hex(parent, m->parent, SHA256_BYTES);
	return json_pack("{s:s,s:s,s:s,s:I,s:I,s:i,s:I,s:i,s:s?}", "version", hex, "name", m->name,
			 "label", m->label, "image_bytes", (json_int_t)m->image_bytes, "created",
			 (json_int_t)m->created_unix, "chunk_bytes", (int)m->chunk_bytes, "chunks",
			 (json_int_t)m->chunk_count, "sector_bytes", (int)m->sector_bytes, "parent",
			 memcmp(m->parent, none, SHA256_BYTES) ? parent : NULL);
}

static int add_version(void *arg, const u8 id[SHA256_BYTES], const struct manifest *m)
{
	return json_array_append_new(arg, version_json(id, m)) ? -ENOMEM : 0;
}

static void add_channel(void *arg, const char *name, int err, const struct channel *ch)
{
	char hex[DIGEST_HEX + 1];

	fmt_hex(hex, ch->version, SHA256_BYTES);
	json_array_append_new(arg, json_pack("{s:s,s:I,s:s?,s:s?}", "name", name, "serial",
					     (json_int_t)ch->serial, "version", err ? NULL : hex,
					     "error", err ? err_name(err) : NULL));
}

static json_t *channel_array(struct site *s)
{
	json_t *all = json_array();

	channel_list(&s->dir, s->pub, add_channel, all);
	return all;
}

static int versions(struct api_call *c)
{
	json_t *all = json_array(), *channels = channel_array(c->s), *v, *ch;
	int err = version_list(&c->s->dir, add_version, all);
	size_t i, k;

	json_array_foreach(all, i, v) {
		const char *hex = json_string_value(json_object_get(v, "version"));
		json_t *names = json_array();

		json_array_foreach(channels, k, ch) {
			const char *at = json_string_value(json_object_get(ch, "version"));

			if (at && !strcmp(at, hex))
				json_array_append(names, json_object_get(ch, "name"));
		}
		json_object_set_new(v, "channels", names);
		json_object_set_new(v, "machines", json_integer(db_int(c->f->db, 0,
			"SELECT count(*) FROM machines WHERE version = ?1", "s", hex)));
	}
	json_decref(channels);
	if (!err)
		return api_json(c, all);
	json_decref(all);
	return err;
}

/* in: versions that machines have; out: what this one costs beyond each. */
static void run_cost(struct job *job)
{
	struct image_job *j = container_of(job, struct image_job, job);
	const char *why = "";
	struct version v, have;
	struct version_cost cost;
	const char *hex;
	json_t *count;

	j->err = version_load(&j->dir, j->digest, j->pub, &v, &why);
	if (j->err) {
		fmt_snprintf(j->why, sizeof(j->why), "%s", why);
		return;
	}
	j->out = version_json(j->digest, &v.m);
	j->err = version_cost(&j->dir, &v, NULL, &cost);
	json_object_update_new(j->out, json_pack("{s:I,s:I,s:I}", "stored_bytes",
						 (json_int_t)cost.bytes, "objects",
						 (json_int_t)cost.objects, "missing_objects",
						 (json_int_t)cost.missing));
	json_object_set_new(j->out, "from", json_array());
	json_object_foreach(j->in, hex, count) {
		u8 digest[SHA256_BYTES];
		bool blank = !digest_hex_ok(hex, strlen(hex));
		json_t *row;

		if (!blank)
			fmt_unhex(digest, SHA256_BYTES, hex, DIGEST_HEX);
		/* A version that has gone here counts as none: the PC may have all of it. */
		blank = blank || version_load(&j->dir, digest, j->pub, &have, &why);
		j->err = version_cost(&j->dir, &v, blank ? NULL : &have, &cost);
		if (j->err)
			break;
		if (!blank && !memcmp(digest, j->digest, SHA256_BYTES))
			memset(&cost, 0, sizeof(cost)); /* has it already */
		row = json_pack("{s:s?,s:I,s:I,s:I}", "version", blank && !*hex ? NULL : hex,
				"machines", json_integer_value(count), "bytes_per_machine",
				(json_int_t)cost.bytes, "objects_per_machine",
				(json_int_t)cost.objects);
		json_array_append_new(json_object_get(j->out, "from"), row);
		if (!blank)
			version_free(&have);
	}
	version_free(&v);
	note_why(j);
}

static void finish_cost(struct job *job, struct site *s, struct reply *r)
{
	struct image_job *j = container_of(job, struct image_job, job);
	json_int_t bytes = 0, machines = 0;
	json_t *row;
	size_t i;

	(void)s;
	if (j->err) {
		reply_failure(r, j);
		return;
	}
	json_array_foreach(json_object_get(j->out, "from"), i, row) {
		json_int_t n = json_integer_value(json_object_get(row, "machines"));

		machines += n;
		bytes += n * json_integer_value(json_object_get(row, "bytes_per_machine"));
	}
	json_object_set_new(j->out, "machines", json_integer(machines));
	json_object_set_new(j->out, "total_bytes", json_integer(bytes));
	reply_json(r, j->out);
}

/* GET /api/v1/versions/{version}?group=: with what it costs the group's machines */
static int version_show(struct api_call *c)
{
	char group[64];
	struct image_job *j;
	u8 digest[SHA256_BYTES];
	json_t *rows, *row;
	size_t i;
	int err = digest_param(c, digest);

	if (!err)
		err = api_param(c, "group", group, sizeof(group));
	if (err)
		return err;
	if (!api_version_known(c->s, c->param[0]))
		return -ENOENT;
	if (*group && !fleet_group_known(c->f, group))
		return api_fail(c, 422, "no such group");
	j = new_call_job(c, run_cost, finish_cost);
	if (!j)
		return -ENOMEM;
	memcpy(j->digest, digest, SHA256_BYTES);
	j->in = json_object();
	rows = db_rows(c->f->db, "SELECT ifnull(version, '') AS version, count(*) AS n FROM"
				 " machines WHERE ?1 = '' OR grp = ?1 GROUP BY 1", "s", group);
	json_array_foreach(rows, i, row)
		json_object_set(j->in, json_string_value(json_object_get(row, "version")),
				json_object_get(row, "n"));
	json_decref(rows);
	return api_submit(c, &j->job);
}

static void run_delete(struct job *job)
{
	struct image_job *j = container_of(job, struct image_job, job);

	j->err = datadir_lock(&j->dir);
	if (j->err)
		return;
	j->err = version_unlink(&j->dir, j->digest);
	datadir_unlock(&j->dir);
}

static void finish_delete(struct job *job, struct site *s, struct reply *r)
{
	struct image_job *j = container_of(job, struct image_job, job);
	char hex[DIGEST_HEX + 1];

	if (j->err) {
		reply_failure(r, j);
		return;
	}
	fmt_hex(hex, j->digest, SHA256_BYTES);
	fleet_event(s->fleet, "version", 0, "%.12s was removed by %s", hex, j->who);
	r->status = 204;
}

static bool is_esp(struct site *s, const char *hex)
{
	size_t bytes;
	bool same;
	u8 *text;

	if (datadir_read(&s->dir, "netboot/esp", DIGEST_HEX + 1, &text, &bytes))
		return false;
	same = bytes >= DIGEST_HEX && !memcmp(text, hex, DIGEST_HEX);
	free(text);
	return same;
}

static int version_delete(struct api_call *c)
{
	json_t *channels, *ch;
	char force[8], why[128];
	struct image_job *j;
	u8 digest[SHA256_BYTES];
	int err = digest_param(c, digest);
	size_t i;

	if (!err)
		err = api_param(c, "force", force, sizeof(force));
	if (err)
		return err;
	if (!api_version_known(c->s, c->param[0]))
		return -ENOENT;
	channels = channel_array(c->s);
	json_array_foreach(channels, i, ch) {
		const char *at = json_string_value(json_object_get(ch, "version"));

		if (at && !strcmp(at, c->param[0]))
			err = api_fail(c, 409, "channel %s points at it",
				       json_string_value(json_object_get(ch, "name")));
	}
	json_decref(channels);
	if (err)
		return err;
	if (is_esp(c->s, c->param[0]))
		return api_fail(c, 409, "it is the image of the PCs' ESP");
	if (!*force && fleet_version_used(c->f, c->param[0], why))
		return api_fail(c, 409, "%s; force=1 removes it all the same", why);
	j = new_call_job(c, run_delete, finish_delete);
	if (!j)
		return -ENOMEM;
	memcpy(j->digest, digest, SHA256_BYTES);
	return api_submit(c, &j->job);
}

/* ---------------------------------------------------------------- uploads */

static void run_missing(struct job *job)
{
	struct image_job *j = container_of(job, struct image_job, job);

	u8 *places = calloc(j->n + 1, sizeof(*places));
	u32 *bytes = calloc(j->n + 1, sizeof(*bytes));

	j->out = json_array();
	j->err = places && bytes ? object_find_many(&j->dir, j->bytes, j->n, places, bytes) :
				   -ENOMEM;
	for (size_t i = 0; !j->err && i < j->n; i++)
		if (places[i] == OBJECT_NOWHERE)
			json_array_append_new(j->out, json_integer((json_int_t)i));
	note_why(j);
	free(places);
	free(bytes);
}

static void finish_missing(struct job *job, struct site *s, struct reply *r)
{
	struct image_job *j = container_of(job, struct image_job, job);
	json_t *o;

	(void)s;
	if (j->err) {
		reply_failure(r, j);
		return;
	}
	o = json_pack("{s:O}", "missing", j->out);
	reply_json(r, o);
	json_decref(o);
}

/* {"digests": [...]} to {"missing": [indexes]} */
static int missing(struct api_call *c)
{
	json_t *digests = json_object_get(c->body, "digests"), *v;
	struct image_job *j;
	size_t i;

	if (!json_is_array(digests) || json_array_size(digests) > MISSING_MAX)
		return api_fail(c, 422, "digests: up to %d of them", MISSING_MAX);
	j = new_call_job(c, run_missing, finish_missing);
	if (!j)
		return -ENOMEM;
	j->n = json_array_size(digests);
	j->bytes = calloc(j->n + 1, SHA256_BYTES);
	json_array_foreach(digests, i, v) {
		const char *hex = json_string_value(v);

		if (!j->bytes || !hex || !digest_hex_ok(hex, strlen(hex))) {
			drop(&j->job);
			return api_fail(c, 422, "digests: entry %zu is no digest", i);
		}
		fmt_unhex(j->bytes + i * SHA256_BYTES, SHA256_BYTES, hex, DIGEST_HEX);
	}
	return api_submit(c, &j->job);
}

/* Where they are in the folder, one that is there but damaged is mended by this. */
static int keep_chunk(struct image_job *j, u8 *plain)
{
	int n;

	if (objects_remote(&j->dir) || object_find(&j->dir, j->digest, NULL) != OBJECT_STORED)
		return incoming_put(&j->dir, j->digest, j->bytes, j->n);
	n = object_read(&j->dir, j->digest, plain, MANIFEST_CHUNK_MAX);
	if (n > 0)
		return 0;
	if (n != -EBADMSG)
		return incoming_put(&j->dir, j->digest, j->bytes, j->n);
	n = datadir_lock(&j->dir);
	if (!n)
		n = objects_put(&j->dir, j->digest, j->bytes, j->n);
	datadir_unlock(&j->dir);
	return n;
}

static void run_chunk(struct job *job)
{
	struct image_job *j = container_of(job, struct image_job, job);
	u8 *plain = malloc(MANIFEST_CHUNK_MAX);
	int n = plain ? object_check(j->bytes, j->n, j->digest, plain, MANIFEST_CHUNK_MAX) :
			-ENOMEM;

	if (n == -EBADMSG)
		fmt_snprintf(j->why, sizeof(j->why), "not the chunk that its name says");
	j->err = n < 0 ? n : keep_chunk(j, plain);
	note_why(j);
	free(plain);
}

static void finish_chunk(struct job *job, struct site *s, struct reply *r)
{
	struct image_job *j = container_of(job, struct image_job, job);

	if (j->err) {
		reply_failure(r, j);
		return;
	}
	s->counts.uploads++;
	r->status = 204;
}

static int put_raw(struct api_call *c, void (*run)(struct job *),
		   void (*finish)(struct job *, struct site *, struct reply *))
{
	u8 digest[SHA256_BYTES];
	struct image_job *j;
	int err = digest_param(c, digest);

	if (err)
		return err;
	j = new_call_job(c, run, finish);
	if (j)
		j->bytes = malloc(c->q->head->body_bytes + 1);
	if (!j || !j->bytes) {
		free(j);
		return -ENOMEM;
	}
	j->n = c->q->head->body_bytes;
	memcpy(j->bytes, c->q->body, j->n);
	memcpy(j->digest, digest, SHA256_BYTES);
	return api_submit(c, &j->job);
}

static int chunk_put(struct api_call *c)
{
	return put_raw(c, run_chunk, finish_chunk);
}

static void note_missing(void *arg, const u8 digest[SHA256_BYTES])
{
	struct image_job *j = arg;
	char hex[DIGEST_HEX + 1];

	if (json_array_size(j->out) < MISSING_MAX)
		json_array_append_new(j->out, json_string(fmt_hex(hex, digest, SHA256_BYTES)));
}

static void run_publish(struct job *job)
{
	struct image_job *j = container_of(job, struct image_job, job);
	u8 version[SHA256_BYTES];
	const char *why = "";

	j->out = json_array();
	manifest_digest(version, j->bytes, j->n);
	if (memcmp(version, j->digest, SHA256_BYTES)) {
		fmt_snprintf(j->why, sizeof(j->why), "the manifest's digest is not its name");
		j->err = -EBADMSG;
		return;
	}
	j->err = publish_version(&j->dir, j->bytes, j->n, j->pub, version, note_missing, j, &why);
	fmt_snprintf(j->why, sizeof(j->why), "%s", why);
}

static void finish_publish(struct job *job, struct site *s, struct reply *r)
{
	struct image_job *j = container_of(job, struct image_job, job);
	struct manifest m;
	json_t *o;

	/* With any other error the list is not whole. */
	if (j->err == -ENOENT && json_array_size(j->out)) {
		o = json_pack("{s:s,s:O}", "error", "objects are missing", "missing", j->out);
		r->status = 409;
		reply_json(r, o);
		json_decref(o);
		return;
	}
	if (j->err) {
		if (j->err != -EBADMSG && j->err != -EKEYREJECTED && j->err != -EREMOTEIO)
			j->why[0] = 0;
		reply_failure(r, j);
		return;
	}
	manifest_parse(j->bytes, j->n, &m);
	fleet_event(s->fleet, "version", 0, "%s published %s%s%s", j->who, m.name,
		    m.label[0] ? ", " : "", m.label);
	o = version_json(j->digest, &m);
	r->status = 201;
	reply_json(r, o);
	json_decref(o);
}

static int manifest_put(struct api_call *c)
{
	return put_raw(c, run_publish, finish_publish);
}

static void run_gc(struct job *job)
{
	struct image_job *j = container_of(job, struct image_job, job);

	j->err = gc_run(&j->dir, j->pub, j->grace_s, j->incoming_s, j->dry_run, &j->gc, j->why);
	note_why(j);
}

static void finish_gc(struct job *job, struct site *s, struct reply *r)
{
	struct image_job *j = container_of(job, struct image_job, job);
	json_t *o;

	if (j->err) {
		reply_failure(r, j);
		return;
	}
	if (!j->dry_run)
		fleet_event(s->fleet, "gc", 0, "%llu objects, %llu MiB were not needed any more",
			    (unsigned long long)(j->gc.gone_objects + j->gc.gone_incoming),
			    (unsigned long long)((j->gc.gone_bytes + j->gc.gone_incoming_bytes) /
						 MIB));
	o = json_pack("{s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "dry_run", j->dry_run, "versions",
		      (json_int_t)j->gc.versions, "kept_objects", (json_int_t)j->gc.objects,
		      "kept_bytes", (json_int_t)j->gc.bytes, "removed_objects",
		      (json_int_t)j->gc.gone_objects, "removed_bytes",
		      (json_int_t)j->gc.gone_bytes, "removed_uploads",
		      (json_int_t)j->gc.gone_incoming, "removed_upload_bytes",
		      (json_int_t)j->gc.gone_incoming_bytes);
	reply_json(r, o);
	json_decref(o);
}

static u64 seconds_of(const struct api_call *c, const char *key, u64 otherwise)
{
	const json_t *v = json_object_get(c->body, key);

	return json_is_integer(v) && json_integer_value(v) >= 0 ? (u64)json_integer_value(v) :
								  otherwise;
}

static int gc(struct api_call *c)
{
	struct image_job *j = new_call_job(c, run_gc, finish_gc);

	if (!j)
		return -ENOMEM;
	j->dry_run = json_is_true(json_object_get(c->body, "dry_run"));
	j->grace_s = seconds_of(c, "grace_s", 3600);
	j->incoming_s = seconds_of(c, "upload_keep_s", INCOMING_KEEP_S);
	return api_submit(c, &j->job);
}

/* ---------------------------------------------------------------- channels */

static void run_point(struct job *job)
{
	struct image_job *j = container_of(job, struct image_job, job);
	struct crypto_key *key = NULL;

	j->err = key_load_pem(&key, j->key_path);
	if (!j->err)
		j->err = datadir_lock(&j->dir);
	if (!j->err) {
		j->err = channel_point(&j->dir, key, j->channel, j->digest, &j->ch);
		datadir_unlock(&j->dir);
	}
	key_free(key);
	if (j->err == -EKEYREJECTED)
		fmt_snprintf(j->why, sizeof(j->why), "the channel's file is not signed with this"
			     " site's key");
}

static void finish_point(struct job *job, struct site *s, struct reply *r)
{
	struct image_job *j = container_of(job, struct image_job, job);
	char hex[DIGEST_HEX + 1];
	json_t *o;

	if (j->err) {
		fleet_event(s->fleet, "trouble", 0, "channel %s could not be moved: %s",
			    j->channel, strerror(-j->err));
		reply_failure(r, j);
		return;
	}
	fleet_channel_seen(s->fleet, &j->ch, j->who, j->why_moved);
	if (j->rollout)
		fleet_rollout_state(s->fleet, j->rollout, "done");
	fleet_commit(s->fleet);
	o = json_pack("{s:s,s:I,s:s}", "name", j->channel, "serial", (json_int_t)j->ch.serial,
		      "version", fmt_hex(hex, j->digest, SHA256_BYTES));
	reply_json(r, o);
	json_decref(o);
}

static struct image_job *point_job(struct site *s, const char *channel, const char *version,
				   const char *who, const char *why, long long rollout)
{
	struct image_job *j = new_job(s, run_point, finish_point);

	if (!j)
		return NULL;
	fmt_snprintf(j->channel, sizeof(j->channel), "%s", channel);
	fmt_snprintf(j->why_moved, sizeof(j->why_moved), "%s", why);
	fmt_snprintf(j->who, sizeof(j->who), "%s", who);
	j->rollout = rollout;
	fmt_unhex(j->digest, SHA256_BYTES, version, DIGEST_HEX);
	return j;
}

/** api_point() - move a channel, and answer with where it points; what it names is known */
int api_point(struct api_call *c, const char *channel, const char *version, const char *why,
	      long long rollout)
{
	struct image_job *j = point_job(c->s, channel, version, c->q->who, why, rollout);

	return j ? api_submit(c, &j->job) : -ENOMEM;
}

/** api_point_alone() - likewise when nobody waits for the answer: a planned roll-out */
int api_point_alone(struct site *s, const char *channel, const char *version, const char *who,
		    const char *why, long long rollout)
{
	struct image_job *j = point_job(s, channel, version, who, why, rollout);
	int err = j ? jobs_submit(s->jobs, &j->job) : -ENOMEM;

	if (j && err)
		drop(&j->job);
	return err;
}

static int channels(struct api_call *c)
{
	json_t *all = channel_array(c->s), *ch;
	size_t i;

	json_array_foreach(all, i, ch) {
		const char *name = json_string_value(json_object_get(ch, "name"));

		json_object_set_new(ch, "history", fleet_channel_history(c->f, name));
		json_object_set_new(ch, "machines", json_integer(db_int(c->f->db, 0,
			"SELECT count(*) FROM machines LEFT JOIN groups ON groups.name = grp WHERE"
			" coalesce(machines.channel, groups.channel, 'lab/stable') = ?1", "s",
			name)));
	}
	return api_json(c, all);
}

static const char *good_channel(const struct api_call *c)
{
	const char *name = api_text(c, "channel");

	return name && strlen(name) <= CHANNEL_NAME_MAX && channel_name_ok(name, strlen(name)) ?
		       name : NULL;
}

static int channel_set(struct api_call *c)
{
	const char *name = good_channel(c), *version = api_text(c, "version");
	const char *note = api_text(c, "note");

	if (!name)
		return api_fail(c, 422, "channel: bad or missing");
	if (!api_version_known(c->s, version))
		return api_fail(c, 422, "version: there is none of that name");
	snprintf(c->target, sizeof(c->target), "%s", name);
	snprintf(c->detail, sizeof(c->detail), "%s", version);
	return api_point(c, name, version, note ? note : "", 0);
}

/* Back to what the channel pointed at before; a roll-out under way is ended. */
static int rollback(struct api_call *c)
{
	const char *name = good_channel(c);
	char why[64], *before;
	long long id;
	struct channel ch;
	int err;

	if (!name)
		return api_fail(c, 422, "channel: bad or missing");
	id = db_int(c->f->db, 0, "SELECT id FROM rollouts WHERE channel = ?1 AND state IN"
				 " ('scheduled', 'canary')", "s", name);
	err = channel_read(&c->s->dir, name, c->s->pub, &ch);
	if (err)
		return err;
	snprintf(c->target, sizeof(c->target), "%s", name);
	if (id) {
		char hex[DIGEST_HEX + 1];

		fleet_rollout_state(c->f, id, "cancelled");
		fleet_event(c->f, "rollout", 0, "roll-out %lld of %s was taken back by %s", id,
			    name, c->q->who);
		fmt_hex(hex, ch.version, SHA256_BYTES);
		return api_json(c, json_pack("{s:s,s:I,s:s,s:I}", "name", name, "serial",
					     (json_int_t)ch.serial, "version", hex, "cancelled",
					     (json_int_t)id));
	}
	fleet_channel_seen(c->f, &ch, "", "");
	before = fleet_channel_before(c->f, name);
	if (!before)
		return api_fail(c, 409, "channel %s has pointed at nothing else yet", name);
	snprintf(why, sizeof(why), "rollback:%s", before + DIGEST_HEX + 1);
	before[DIGEST_HEX] = 0;
	snprintf(c->detail, sizeof(c->detail), "%s", before);
	err = api_version_known(c->s, before) ? api_point(c, name, before, why, 0) :
		api_fail(c, 409, "version %.12s has been removed", before);
	free(before);
	return err;
}

/* ---------------------------------------------------------------- roll-outs */

static int rollouts(struct api_call *c)
{
	return api_json(c, fleet_rollouts(c->f));
}

static int rollout_add(struct api_call *c)
{
	const char *name = good_channel(c), *version = api_text(c, "version"), *why = "";
	long long id;
	int err;

	if (!name)
		return api_fail(c, 422, "channel: bad or missing");
	if (!api_version_known(c->s, version))
		return api_fail(c, 422, "version: there is none of that name");
	err = fleet_rollout_add(c->f, c->body, c->q->who, &id, &why);
	if (err == -EINVAL)
		return api_fail(c, 422, "%s: bad", why);
	if (err == -EEXIST)
		return api_fail(c, 409, "a roll-out of %s is under way; cancel it first", name);
	if (err)
		return err;
	snprintf(c->target, sizeof(c->target), "%s", name);
	snprintf(c->detail, sizeof(c->detail), "%lld: %s", id, version);
	fleet_event(c->f, "rollout", 0, "roll-out %lld: %.12s to %s, by %s", id, version, name,
		    c->q->who);
	events_tick(c->s); /* one that is due begins at once */
	c->r->status = 201;
	return api_json(c, fleet_rollout(c->f, id));
}

static int rollout_of(struct api_call *c, json_t **o)
{
	long long id;
	int err = api_id(c, 0, &id);

	*o = err ? NULL : fleet_rollout(c->f, id);
	return *o ? 0 : -ENOENT;
}

static int rollout_show(struct api_call *c)
{
	json_t *o;
	int err = rollout_of(c, &o);

	return err ? err : api_json(c, o);
}

static bool under_way(const json_t *o)
{
	const char *state = json_string_value(json_object_get(o, "state"));

	return state && (!strcmp(state, "canary") || !strcmp(state, "scheduled"));
}

static int promote(struct api_call *c)
{
	json_t *o;
	int err = rollout_of(c, &o);

	if (err)
		return err;
	if (under_way(o))
		err = api_point(c, json_string_value(json_object_get(o, "channel")),
				json_string_value(json_object_get(o, "version")), "roll-out",
				json_integer_value(json_object_get(o, "id")));
	else
		err = api_fail(c, 409, "it is not under way");
	json_decref(o);
	return err;
}

static int cancel(struct api_call *c)
{
	json_t *o;
	int err = rollout_of(c, &o);
	long long id;

	if (err)
		return err;
	id = json_integer_value(json_object_get(o, "id"));
	if (under_way(o)) {
		err = fleet_rollout_state(c->f, id, "cancelled");
		fleet_event(c->f, "rollout", 0, "roll-out %lld was cancelled by %s", id,
			    c->q->who);
	} else {
		err = api_fail(c, 409, "it is not under way");
	}
	json_decref(o);
	return err ? err : api_json(c, fleet_rollout(c->f, id));
}

const struct api_route api_image_routes[] = {
	{ METHOD_GET, "/api/v1/versions", ROLE_READER, NULL, 0, false, versions },
	{ METHOD_GET, "/api/v1/versions/{version}", ROLE_READER, NULL, 0, false, version_show },
	{ METHOD_DELETE, "/api/v1/versions/{version}", ROLE_OPERATOR, "version.delete", 0, false,
	  version_delete },
	{ METHOD_POST, "/api/v1/missing", ROLE_OPERATOR, NULL, MIB, false, missing },
	{ METHOD_PUT, "/api/v1/chunks/{digest}", ROLE_OPERATOR, NULL, OBJECT_BYTES_MAX, true,
	  chunk_put },
	{ METHOD_PUT, "/api/v1/manifests/{version}", ROLE_OPERATOR, "version.publish",
	  SITE_UPLOAD_MAX, true, manifest_put },
	{ METHOD_POST, "/api/v1/gc", ROLE_OPERATOR, "gc", SMALL, false, gc },
	{ METHOD_GET, "/api/v1/channels", ROLE_READER, NULL, 0, false, channels },
	{ METHOD_POST, "/api/v1/channels", ROLE_OPERATOR, "channel.set", SMALL, false,
	  channel_set },
	{ METHOD_POST, "/api/v1/rollback", ROLE_OPERATOR, "channel.rollback", SMALL, false,
	  rollback },
	{ METHOD_GET, "/api/v1/rollouts", ROLE_READER, NULL, 0, false, rollouts },
	{ METHOD_POST, "/api/v1/rollouts", ROLE_OPERATOR, "rollout.start", SMALL, false,
	  rollout_add },
	{ METHOD_GET, "/api/v1/rollouts/{id}", ROLE_READER, NULL, 0, false, rollout_show },
	{ METHOD_POST, "/api/v1/rollouts/{id}/promote", ROLE_OPERATOR, "rollout.promote", SMALL,
	  false, promote },
	{ METHOD_POST, "/api/v1/rollouts/{id}/cancel", ROLE_OPERATOR, "rollout.cancel", SMALL,
	  false, cancel },
	{ 0 },
};
