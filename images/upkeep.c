/*
 * upkeep.c - freshet image show, diff, mount, rm, and freshet gc
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "images/nbd_server.h"
#include "images/reader.h"
#include "images/remote.h"
#include "server/data/channels.h"
#include "server/data/publish.h"
#include "server/data/version.h"

struct args {
	struct remote_args remote;
	const char *data, *key, *socket;
	u64 port, grace;
	bool force, dry_run;
	char **rest;
};

static const struct cli_option options[] = {
	REMOTE_OPTIONS(struct args, remote),
	CLI_TEXT("data", struct args, data),
	CLI_TEXT("key", struct args, key),
	CLI_TEXT("socket", struct args, socket),
	CLI_NUMBER("port", struct args, port),
	CLI_FLAG("force", struct args, force),
	CLI_FLAG("dry-run", struct args, dry_run),
	CLI_NUMBER("grace", struct args, grace),
	{ 0 },
};

static enum cli_exit parse(const struct cli_command *c, struct args *a, int argc, char **argv,
			   int want, bool may_be_remote)
{
	*a = (struct args){ .grace = 3600 };
	if (cli_options(c, options, a, &argc, &argv))
		return CLI_USAGE;
	if (a->port > 65535)
		return cli_usage(c, "--port is 1 to 65535");
	a->rest = argv;
	if (argc != want || (!a->data && !may_be_remote))
		return cli_usage(c, a->data || may_be_remote ? NULL : "--data is needed");
	return CLI_OK;
}

struct opened {
	struct datadir d;
	u8 pub[P256_PUB_BYTES], id[SHA256_BYTES];
	struct version v;
};

static int load(struct opened *o, const char *text)
{
	char hex[DIGEST_HEX + 1];
	const char *why;
	int err = cli_version(&o->d, text, o->pub, o->id);

	if (err)
		return err;
	err = version_load(&o->d, o->id, o->pub, &o->v, &why);
	if (err)
		cli_error("version %s: %s", cli_hex(hex, o->id), why);
	return err;
}

static int open_one(struct opened *o, const struct args *a)
{
	memset(o, 0, sizeof(*o));
	if (cli_public_key(o->pub, a->key, a->data) || cli_open_data(&o->d, a->data, false))
		return -EIO;
	if (!load(o, a->rest[0]))
		return 0;
	datadir_close(&o->d);
	return -EIO;
}

static void close_one(struct opened *o)
{
	version_free(&o->v);
	datadir_close(&o->d);
}

/* ---------------------------------------------------------------- show, diff */

/* Different chunks, and bytes of objects, of part of a version that are not in @other there. */
struct part {
	u64 chunks, changed, bytes;
};

static void count_part(const struct datadir *d, const struct version *v,
		       const struct version *other, u64 first, u64 end, struct part *out)
{
	memset(out, 0, sizeof(*out));
	for (u64 i = first; i < end && i < v->m.chunk_count; i++) {
		const u8 *digest = v->digests + i * SHA256_BYTES;
		u32 bytes = 0;

		out->chunks++;
		if (other && i < other->m.chunk_count &&
		    !memcmp(digest, other->digests + i * SHA256_BYTES, SHA256_BYTES))
			continue;
		if (manifest_digest_is_zero(digest) && !other)
			continue;
		out->changed++;
		if (!manifest_digest_is_zero(digest))
			object_find(d, digest, &bytes);
		out->bytes += bytes;
	}
}

static void print_part(const char *what, const char *name, const char *fs, u64 bytes,
		       const struct part *p, const char *word)
{
	printf("%-10s %-24s %-8s %8llu MiB  %8llu of %8llu chunks %s, %8llu KiB stored\n", what,
	       name, fs, (unsigned long long)(bytes / MIB), (unsigned long long)p->changed,
	       (unsigned long long)p->chunks, word, (unsigned long long)(p->bytes / KIB));
}

static void print_parts(struct opened *o, const struct version *other, const char *word)
{
	struct partition *parts = calloc(PARTITIONS_MAX, sizeof(*parts));
	u32 count = 0, chunk = o->v.m.chunk_bytes;
	struct reader r;
	struct part p;

	reader_init(&r, &o->d, &o->v);
	if (!parts || partitions_read(&r, o->v.m.sector_bytes, parts, &count))
		printf("no partition table (GPT) that can be read\n");
	for (u32 i = 0; i < count; i++) {
		char label[16];

		fmt_snprintf(label, sizeof(label), "part %u", i + 1);
		count_part(&o->d, &o->v, other, parts[i].start / chunk,
			   (parts[i].start + parts[i].bytes + chunk - 1) / chunk, &p);
		print_part(label, parts[i].name, parts[i].fs, parts[i].bytes, &p, word);
	}
	count_part(&o->d, &o->v, other, 0, o->v.m.chunk_count, &p);
	print_part("whole disk", "", "", o->v.m.image_bytes, &p, word);
	reader_fini(&r);
	free(parts);
}

static enum cli_exit run_show(const struct cli_command *c, int argc, char **argv)
{
	char hex[DIGEST_HEX + 1], when[32] = "";
	static const u8 none[SHA256_BYTES];
	struct version_cost cost;
	struct opened o;
	struct args a;
	struct tm tm;
	time_t t;
	enum cli_exit ret = parse(c, &a, argc, argv, 1, false);

	if (ret)
		return ret;
	if (open_one(&o, &a))
		return CLI_FAILED;
	t = (time_t)o.v.m.created_unix;
	if (gmtime_r(&t, &tm))
		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	printf("version    %s\nname       %s\nlabel      %s\nmade       %s\n",
	       cli_hex(hex, o.id), o.v.m.name, o.v.m.label, when);
	printf("parent     %s\n", memcmp(o.v.m.parent, none, SHA256_BYTES) ?
					  cli_hex(hex, o.v.m.parent) : "none");
	printf("image      %llu MiB, chunks of %u KiB, sectors of %u bytes\n",
	       (unsigned long long)(o.v.m.image_bytes / MIB), o.v.m.chunk_bytes / 1024,
	       o.v.m.sector_bytes);
	if (!version_cost(&o.d, &o.v, NULL, &cost))
		printf("stored     %llu MiB in %llu objects, %llu missing\n",
		       (unsigned long long)(cost.bytes / MIB), (unsigned long long)cost.objects,
		       (unsigned long long)cost.missing);
	print_parts(&o, NULL, "used");
	close_one(&o);
	return CLI_OK;
}

static enum cli_exit run_diff(const struct cli_command *c, int argc, char **argv)
{
	struct version_cost cost;
	struct opened o, other;
	struct args a;
	enum cli_exit ret = parse(c, &a, argc, argv, 2, false);

	if (ret)
		return ret;
	if (open_one(&o, &a))
		return CLI_FAILED;
	other = o; /* the folder is one */
	memset(&other.v, 0, sizeof(other.v));
	ret = CLI_FAILED;
	if (load(&other, a.rest[1]))
		goto out;
	if (o.v.m.chunk_bytes != other.v.m.chunk_bytes) {
		cli_error("the versions have chunks of different sizes: nothing is shared");
	} else {
		print_parts(&other, &o.v, "changed");
		if (!version_cost(&o.d, &other.v, &o.v, &cost))
			printf("a PC that has the first fetches %llu objects, %llu KiB\n",
			       (unsigned long long)cost.objects,
			       (unsigned long long)(cost.bytes / KIB));
		ret = CLI_OK;
	}
	version_free(&other.v);
out:
	close_one(&o);
	return ret;
}

/* ---------------------------------------------------------------- mount */

static enum cli_exit run_mount(const struct cli_command *c, int argc, char **argv)
{
	struct nbd_server s = { .fd = -1 };
	struct opened o;
	struct args a;
	sigset_t stop;
	enum cli_exit ret = parse(c, &a, argc, argv, 1, false);
	int fd, err;

	if (ret)
		return ret;
	if (!a.socket == !a.port)
		return cli_usage(c, "either --socket or --port");
	if (open_one(&o, &a))
		return CLI_FAILED;
	sigemptyset(&stop);
	sigaddset(&stop, SIGINT);
	sigaddset(&stop, SIGTERM);
	sigprocmask(SIG_BLOCK, &stop, NULL);
	fd = signalfd(-1, &stop, SFD_CLOEXEC);
	s.d = &o.d;
	s.v = &o.v;
	err = a.socket ? nbd_server_listen_unix(&s, a.socket) :
			 nbd_server_listen_tcp(&s, (u16)a.port);
	if (err) {
		cli_error("cannot listen: %s", strerror(-err));
	} else {
		if (a.socket)
			printf("nbd+unix:///%s?socket=%s\n", o.v.m.name, a.socket);
		else
			printf("nbd://127.0.0.1:%llu/%s\n", (unsigned long long)a.port, o.v.m.name);
		fflush(stdout);
		err = nbd_server_run(&s, fd);
		if (a.socket)
			unlink(a.socket);
	}
	/* Clients' threads may still read: the process ends with what they read from. */
	exit(err ? CLI_FAILED : CLI_OK);
}

/* ---------------------------------------------------------------- rm, gc */

struct used {
	const u8 *id;
	char name[CHANNEL_NAME_MAX + 1];
};

static void find_use(void *arg, const char *name, int err, const struct channel *ch)
{
	struct used *u = arg;

	if (!err && !memcmp(ch->version, u->id, SHA256_BYTES))
		fmt_snprintf(u->name, sizeof(u->name), "%s", name);
}

static enum cli_exit rm_here(const struct args *a)
{
	u8 pub[P256_PUB_BYTES], id[SHA256_BYTES];
	struct used u = { .id = id };
	struct datadir d;
	int err = -1;

	if (cli_public_key(pub, a->key, a->data) || cli_open_data(&d, a->data, true))
		return CLI_FAILED;
	if (!cli_version(&d, a->rest[0], pub, id)) {
		channel_list(&d, pub, find_use, &u);
		if (u.name[0])
			cli_error("channel %s points at it", u.name);
		else
			err = version_unlink(&d, id);
		if (err && !u.name[0])
			cli_error("cannot remove it: %s", strerror(-err));
	}
	datadir_close(&d);
	return err ? CLI_FAILED : CLI_OK;
}

static enum cli_exit run_rm(const struct cli_command *c, int argc, char **argv)
{
	char path[128], hex[DIGEST_HEX + 1];
	struct remote *r;
	struct args a;
	json_t *o = NULL;
	long status = 0;
	enum cli_exit ret = parse(c, &a, argc, argv, 1, true);

	if (ret)
		return ret;
	if (a.data)
		return rm_here(&a);
	if (remote_open(&r, &a.remote))
		return CLI_FAILED;
	if (!remote_version(r, a.rest[0], hex)) {
		fmt_snprintf(path, sizeof(path), "/api/v1/versions/%s%s", hex,
			     a.force ? "?force=1" : "");
		o = remote_call(r, "DELETE", path, NULL, &status);
	}
	ret = o && !remote_say(o, status) ? CLI_OK : CLI_FAILED;
	json_decref(o);
	remote_close(r);
	return ret;
}

static void print_gc(bool dry, u64 objects, u64 bytes, u64 uploads, u64 upload_bytes, u64 kept,
		     u64 kept_bytes)
{
	const char *word = dry ? "would remove" : "removed";

	printf("%s %llu objects, %llu MiB; %llu unfinished uploads, %llu MiB\n", word,
	       (unsigned long long)objects, (unsigned long long)(bytes / MIB),
	       (unsigned long long)uploads, (unsigned long long)(upload_bytes / MIB));
	printf("kept %llu objects, %llu MiB\n", (unsigned long long)kept,
	       (unsigned long long)(kept_bytes / MIB));
}

static enum cli_exit gc_here(const struct args *a)
{
	u8 pub[P256_PUB_BYTES];
	struct gc_result g;
	struct datadir d;
	char why[GC_WHY_MAX];
	int err;

	if (cli_public_key(pub, a->key, a->data) || cli_open_data(&d, a->data, false))
		return CLI_FAILED;
	cli_be_owner(&d);
	err = gc_run(&d, pub, a->grace, INCOMING_KEEP_S, a->dry_run, &g, why);
	datadir_close(&d);
	if (err) {
		cli_error("nothing was removed: %s", why[0] ? why : strerror(-err));
		return CLI_FAILED;
	}
	print_gc(a->dry_run, g.gone_objects, g.gone_bytes, g.gone_incoming, g.gone_incoming_bytes,
		 g.objects, g.bytes);
	return CLI_OK;
}

static u64 number(const json_t *o, const char *key)
{
	return (u64)json_integer_value(json_object_get(o, key));
}

static enum cli_exit run_gc(const struct cli_command *c, int argc, char **argv)
{
	struct remote *r;
	struct args a;
	json_t *o;
	long status;
	enum cli_exit ret = parse(c, &a, argc, argv, 0, true);

	if (ret)
		return ret;
	if (a.data)
		return gc_here(&a);
	if (remote_open(&r, &a.remote))
		return CLI_FAILED;
	o = remote_call(r, "POST", "/api/v1/gc",
			json_pack("{s:b,s:I}", "dry_run", a.dry_run, "grace_s",
				  (json_int_t)a.grace), &status);
	ret = o && !remote_say(o, status) ? CLI_OK : CLI_FAILED;
	if (!ret)
		print_gc(a.dry_run, number(o, "removed_objects"), number(o, "removed_bytes"),
			 number(o, "removed_uploads"), number(o, "removed_upload_bytes"),
			 number(o, "kept_objects"), number(o, "kept_bytes"));
	json_decref(o);
	remote_close(r);
	return ret;
}

#define DATA_HELP                                                                                  \
	"  --data DIR     the site's data folder\n"                                                \
	"  --key FILE     the site's key, either half (default DIR/site.pub or site.key)\n"

const struct cli_command cmd_image_show = {
	.group = "image", .verb = "show", .args = "--data DIR VERSION",
	.summary = "what a version is: sizes, partitions, what is stored",
	.help = DATA_HELP, .run = run_show,
};
const struct cli_command cmd_image_diff = {
	.group = "image", .verb = "diff", .args = "--data DIR OLD NEW",
	.summary = "what changed between two versions, by partition",
	.help = DATA_HELP, .run = run_diff,
};
const struct cli_command cmd_image_mount = {
	.group = "image", .verb = "mount", .args = "--data DIR --socket PATH | --port N VERSION",
	.summary = "serve a version as a read-only disk (NBD) until interrupted",
	.help = DATA_HELP "  --socket PATH  at a Unix socket\n"
			  "  --port N       at TCP port N of this host's loopback\n"
			  "\n"
			  "Then for example, as root:  nbd-client -unix PATH /dev/nbd0\n"
			  "or without root:  guestfish --ro --format=raw -a "
			  "\"nbd+unix:///?socket=PATH\"\n",
	.run = run_mount,
};
const struct cli_command cmd_image_rm = {
	.group = "image", .verb = "rm", .args = "[--data DIR] VERSION",
	.summary = "remove a version that nothing uses; its chunks go with freshet gc",
	.help = DATA_HELP "                 (without: the server's)\n"
			  "  --force        although machines ran it lately (server only)\n"
		REMOTE_HELP,
	.run = run_rm,
};
const struct cli_command cmd_gc = {
	.group = "gc", .args = "[--data DIR] [--dry-run]",
	.summary = "remove objects that no version needs",
	.help = DATA_HELP "                 (without: the server's)\n"
			  "  --dry-run      only say what would go\n"
			  "  --grace S      keep what is younger than S seconds (default 3600)\n"
		REMOTE_HELP "\nSafe beside builds, pushes and boots. If any manifest cannot be "
			    "read, nothing is removed.\n",
	.run = run_gc,
};
