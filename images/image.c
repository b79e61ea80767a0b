/*
 * image.c - freshet image: build, verify, list and export versions
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "images/builder.h"
#include "images/cli.h"
#include "images/nbd_server.h"
#include "images/remote.h"
#include "images/walk.h"
#include "server/data/channels.h"
#include "server/data/objects.h"
#include "server/data/version.h"

extern char **environ;

#define LEVEL_DEFAULT 6
#define THREADS_MAX 64

static unsigned int thread_count(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > THREADS_MAX ? THREADS_MAX : (unsigned int)n;
}

/* ---------------------------------------------------------------- build */

struct build_args {
	const char *data, *key, *name, *channel, *label, *parent, *json, *disk, *format;
	u64 chunk, level, sector, created, threads;
	bool quiet;
};

static const struct cli_option build_options[] = {
	CLI_TEXT("data", struct build_args, data),
	CLI_TEXT("key", struct build_args, key),
	CLI_TEXT("name", struct build_args, name),
	CLI_TEXT("channel", struct build_args, channel),
	CLI_TEXT("label", struct build_args, label),
	CLI_SIZE("chunk", struct build_args, chunk),
	CLI_NUMBER("level", struct build_args, level),
	CLI_TEXT("parent", struct build_args, parent),
	CLI_NUMBER("sector", struct build_args, sector),
	CLI_NUMBER("created", struct build_args, created),
	CLI_NUMBER("threads", struct build_args, threads),
	CLI_TEXT("json", struct build_args, json),
	CLI_TEXT("format", struct build_args, format),
	CLI_FLAG("quiet", struct build_args, quiet),
	{ 0 },
};

static u64 now_unix(void)
{
	const char *fixed = getenv("SOURCE_DATE_EPOCH");
	u64 t;

	return fixed && !cli_u64(fixed, &t) ? t : (u64)time(NULL);
}

static enum cli_exit build_parse(const struct cli_command *c, struct build_args *a, int argc,
				 char **argv)
{
	*a = (struct build_args){
		.label = "",
		.level = LEVEL_DEFAULT,
		.sector = 512,
		.created = now_unix(),
		.threads = thread_count(),
	};
	if (cli_options(c, build_options, a, &argc, &argv))
		return CLI_USAGE;
	if (argc != 1 || !a->data || !a->name)
		return cli_usage(c, "--data, --name and one disk are needed");
	a->disk = argv[0];
	if (!manifest_name_ok(a->name, strlen(a->name)))
		return cli_usage(c, "a name is up to 63 of a-z 0-9 . _ -, and starts with no dot");
	if (a->channel && !channel_name_ok(a->channel, strlen(a->channel)))
		return cli_usage(c, "\"%s\" cannot be a channel's name", a->channel);
	if (strlen(a->label) > MANIFEST_LABEL_MAX)
		return cli_usage(c, "a label has at most %d bytes", MANIFEST_LABEL_MAX);
	if (a->chunk && (a->chunk < MANIFEST_CHUNK_MIN || a->chunk > MANIFEST_CHUNK_MAX ||
			 a->chunk & (a->chunk - 1)))
		return cli_usage(c, "--chunk is a power of two from 64K to 1M");
	if (a->level > 9)
		return cli_usage(c, "--level is 0 (fast) to 9 (small)");
	if (a->format && !strstr(" raw qcow2 vmdk vhdx vdi vpc ", a->format))
		return cli_usage(c, "--format is raw, qcow2, vmdk, vhdx, vdi or vpc");
	if (a->sector != 512 && a->sector != 4096)
		return cli_usage(c, "--sector is 512 or 4096");
	if (a->threads < 1 || a->threads > THREADS_MAX)
		return cli_usage(c, "--threads is 1 to %d", THREADS_MAX);
	return CLI_OK;
}

static int write_json(const char *path, const struct build_args *a, const struct build_params *p,
		      const struct build_result *r, const struct channel *ch)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "we") : stdout;
	char hex[DIGEST_HEX + 1];

	if (!f)
		goto bad;
	fprintf(f, "{\n  \"version\": \"%s\",\n  \"name\": ", cli_hex(hex, r->version));
	cli_json_text(f, a->name);
	fprintf(f, ",\n  \"label\": ");
	cli_json_text(f, a->label);
	if (ch) {
		fprintf(f, ",\n  \"channel\": ");
		cli_json_text(f, ch->name);
		fprintf(f, ",\n  \"serial\": %llu", (unsigned long long)ch->serial);
	}
	fprintf(f,
		",\n  \"image_bytes\": %llu,\n  \"used_bytes\": %llu,\n  \"chunk_bytes\": %u,\n"
		"  \"chunks\": %llu,\n  \"unique_chunks\": %llu,\n  \"zero_chunks\": %llu,\n"
		"  \"stored_bytes\": %llu,\n  \"new_objects\": %llu,\n  \"new_bytes\": %llu,\n"
		"  \"seconds\": %llu.%03llu\n}\n",
		(unsigned long long)p->source->bytes, (unsigned long long)r->used_bytes,
		p->chunk_bytes, (unsigned long long)r->chunks, (unsigned long long)r->unique,
		(unsigned long long)r->zero, (unsigned long long)r->stored_bytes,
		(unsigned long long)r->new_objects, (unsigned long long)r->new_bytes,
		(unsigned long long)(r->ns / NS_PER_SEC),
		(unsigned long long)(r->ns / NS_PER_MS % 1000));
	if (f == stdout ? fflush(f) : fclose(f))
		goto bad;
	return 0;
bad:
	cli_error("cannot write %s: %s", path, strerror(errno));
	return -EIO;
}

static void print_summary(const struct build_params *p, const struct build_result *r,
			  const struct channel *ch)
{
	char hex[DIGEST_HEX + 1];
	u64 ms = r->ns / NS_PER_MS + 1;

	printf("version  %s\n", cli_hex(hex, r->version));
	printf("image    %llu MiB, %llu MiB of it used\n",
	       (unsigned long long)(p->source->bytes / MIB),
	       (unsigned long long)(r->used_bytes / MIB));
	printf("chunks   %llu of %u KiB: %llu different, %llu zero\n",
	       (unsigned long long)r->chunks, p->chunk_bytes / 1024,
	       (unsigned long long)r->unique, (unsigned long long)r->zero);
	if (r->resumed)
		printf("resumed  %llu objects of a build that was interrupted\n",
		       (unsigned long long)r->resumed);
	printf("stored   %llu MiB, %llu MiB of it new (%llu objects)\n",
	       (unsigned long long)(r->stored_bytes / MIB),
	       (unsigned long long)(r->new_bytes / MIB), (unsigned long long)r->new_objects);
	printf("time     %llu.%llu s, %llu MB/s of used bytes\n", (unsigned long long)(ms / 1000),
	       (unsigned long long)(ms % 1000 / 100),
	       (unsigned long long)(r->used_bytes / 1000 / ms));
	if (ch)
		printf("channel  %s, serial %llu\n", ch->name, (unsigned long long)ch->serial);
}

static enum cli_exit build_and_publish(const struct build_args *a, struct build_params *p,
				       struct datadir *d)
{
	struct channel ch, *chp = NULL;
	struct build_result r;
	int err = image_build(p, &r);

	if (err) {
		cli_error("building failed: %s; nothing was published",
			  err == -ENODATA ? "the disk became shorter meanwhile" :
			  err == -EAGAIN ? "objects were collected meanwhile; run it again" :
					   objects_why(err));
		return CLI_FAILED;
	}
	if (a->channel) {
		err = datadir_lock(d);
		if (!err)
			err = channel_point(d, p->key, a->channel, r.version, &ch);
		datadir_unlock(d);
		if (err) {
			cli_error("the version is there, but channel %s was not moved: %s",
				  a->channel, strerror(-err));
			return CLI_FAILED;
		}
		chp = &ch;
	}
	if (!a->json || strcmp(a->json, "-"))
		print_summary(p, &r, chp);
	cli_be_self();
	return a->json && write_json(a->json, a, p, &r, chp) ? CLI_FAILED : CLI_OK;
}

/* The size that nobody has given: the parent's, whose chunks are to be shared, or by the image. */
static int choose_chunk(struct build_args *a, const struct datadir *d,
			const u8 parent[SHA256_BYTES], const u8 pub[P256_PUB_BYTES], u64 bytes)
{
	struct version v;
	const char *why;

	if (a->chunk)
		return 0;
	a->chunk = manifest_chunk_default(bytes);
	if (!a->parent)
		return 0;
	if (version_load(d, parent, pub, &v, &why)) {
		cli_error("version %s: %s", a->parent, why);
		return -EINVAL;
	}
	a->chunk = v.m.chunk_bytes;
	version_free(&v);
	return 0;
}

static enum cli_exit run_build(const struct cli_command *c, int argc, char **argv)
{
	enum cli_exit ret = CLI_FAILED;
	struct build_params p = { 0 };
	struct crypto_key *key;
	u8 pub[P256_PUB_BYTES];
	struct build_args a;
	struct source source;
	struct datadir d;

	ret = build_parse(c, &a, argc, argv);
	if (ret)
		return ret;
	if (source_open(&source, a.disk, a.format, a.sector))
		return CLI_FAILED;
	ret = CLI_FAILED;
	if (cli_private_key(&key, a.key, a.data))
		goto no_key;
	if (cli_make_data(&d, a.data))
		goto no_data;
	key_public(key, pub);
	if (a.parent && cli_version(&d, a.parent, pub, p.parent))
		goto out;
	if (choose_chunk(&a, &d, p.parent, pub, source.bytes))
		goto out;
	p.dir = &d;
	p.key = key;
	p.source = &source;
	p.name = a.name;
	p.label = a.label;
	p.chunk_bytes = (u32)a.chunk;
	p.sector_bytes = (u32)a.sector;
	p.level = (int)a.level;
	p.threads = (unsigned int)a.threads;
	p.created_unix = a.created;
	p.quiet = a.quiet;
	ret = build_and_publish(&a, &p, &d);
out:
	datadir_close(&d);
no_data:
	key_free(key);
no_key:
	cli_be_self();
	source_close(&source);
	return ret;
}

const struct cli_command cmd_image_build = {
	.group = "image",
	.verb = "build",
	.args = "--data DIR --name NAME [OPTIONS] DISK",
	.summary = "make a version of a disk: chunk objects and a signed manifest",
	.help = "  --data DIR        the site's data folder; made if need be\n"
		"  --key FILE        the site's private key (default DIR/site.key)\n"
		"  --name NAME       the image's name: a-z 0-9 . _ -\n"
		"  --channel NAME    point this channel at the new version, e.g. lab/stable\n"
		"  --label TEXT      a word for people, up to 128 bytes\n"
		"  --parent VERSION  the version that this one comes after\n"
		"  --chunk SIZE      64K to 1M (default: the parent's, or by size)\n"
		"  --level N         zlib's, 0 to 9 (default 6)\n"
		"  --sector BYTES    of the PC's virtual disk: 512 (default) or 4096\n"
		"  --created UNIX    time in the manifest (default SOURCE_DATE_EPOCH or now)\n"
		"  --format F        raw, qcow2, vmdk, vhdx, vdi, vpc (default: by its\n"
		"                    first bytes)\n"
		"  --threads N       (default: one per CPU)\n"
		"  --json FILE       the summary as JSON; - for standard output\n"
		"  --quiet           no progress\n"
		"\n"
		"Holes and zero chunks cost nothing, chunks that the store has are not written\n"
		"again. A build that is interrupted has published nothing; run it again, and\n"
		"it goes on with what it has. DISK is a file or a block device; other formats\n"
		"than raw are read through qemu-nbd, without a copy.\n",
	.run = run_build,
};

/* ---------------------------------------------------------------- verify, export */

struct version_args {
	const char *data, *key, *format;
	bool quiet;
	char **rest;
};

static const struct cli_option version_options[] = {
	CLI_TEXT("data", struct version_args, data),
	CLI_TEXT("key", struct version_args, key),
	CLI_TEXT("format", struct version_args, format),
	CLI_FLAG("quiet", struct version_args, quiet),
	{ 0 },
};

static enum cli_exit version_parse(const struct cli_command *c, struct version_args *a, int argc,
				   char **argv, int want)
{
	*a = (struct version_args){ 0 };
	if (cli_options(c, version_options, a, &argc, &argv))
		return CLI_USAGE;
	a->rest = argv;
	return a->data && argc == want ? CLI_OK : cli_usage(c, NULL);
}

struct opened {
	struct datadir d;
	u8 pub[P256_PUB_BYTES];
	u8 version[SHA256_BYTES];
	u8 *file;
	struct manifest m;
};

static int open_version(struct opened *o, const struct version_args *a)
{
	if (cli_public_key(o->pub, a->key, a->data) || cli_open_data(&o->d, a->data, false))
		return -EINVAL;
	if (cli_version(&o->d, a->rest[0], o->pub, o->version) ||
	    manifest_load(&o->d, o->version, o->pub, &o->file, &o->m)) {
		datadir_close(&o->d);
		return -EINVAL;
	}
	return 0;
}

static void close_version(struct opened *o)
{
	free(o->file);
	datadir_close(&o->d);
}

static enum cli_exit run_verify(const struct cli_command *c, int argc, char **argv)
{
	char hex[DIGEST_HEX + 1];
	struct version_args a;
	struct walk w = { 0 };
	enum cli_exit ret;
	struct opened o;
	int err;

	ret = version_parse(c, &a, argc, argv, 1);
	if (ret)
		return ret;
	if (open_version(&o, &a))
		return CLI_FAILED;
	w.dir = &o.d;
	w.m = &o.m;
	w.threads = thread_count();
	w.once = true;
	w.quiet = a.quiet;
	w.what = "verify";
	err = walk_run(&w);
	cli_hex(hex, o.version);
	if (err)
		cli_error("could not look at everything: %s", strerror(-err));
	else if (w.bad)
		cli_error("version %s: %llu bad objects; remove them and build the image again",
			  hex, (unsigned long long)w.bad);
	else
		printf("version %s good: signature, %u table pages, %llu different chunks, "
		       "%llu zero\n",
		       hex, o.m.page_count, (unsigned long long)w.good,
		       (unsigned long long)w.zero);
	close_version(&o);
	return err || w.bad ? CLI_FAILED : CLI_OK;
}

const struct cli_command cmd_image_verify = {
	.group = "image",
	.verb = "verify",
	.args = "--data DIR [--key FILE] VERSION",
	.summary = "check a version: signature, and every object against its digest",
	.help = "  --data DIR   the site's data folder\n"
		"  --key FILE   the site's key, either half (default DIR/site.pub or site.key)\n"
		"  --quiet      no progress\n"
		"\n"
		"VERSION is 64 hex digits or a channel's name. Every bad or missing object is\n"
		"named; the command then returns 1.\n",
	.run = run_verify,
};

static int export_chunk(void *arg, u64 index, const u8 *plain, u32 bytes)
{
	const struct opened *o = ((void **)arg)[0];
	int fd = *(int *)((void **)arg)[1];
	u64 off = index * o->m.chunk_bytes;

	while (bytes) {
		ssize_t n = pwrite(fd, plain, bytes, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		plain += n;
		off += (u64)n;
		bytes -= (u32)n;
	}
	return 0;
}

static enum cli_exit export_to(struct opened *o, const char *path, bool quiet)
{
	struct walk w = { .dir = &o->d, .m = &o->m, .threads = thread_count(), .quiet = quiet };
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	void *args[2] = { o, &fd };
	int err;

	if (fd < 0) {
		cli_error("cannot write %s: %s", path, strerror(errno));
		return CLI_FAILED;
	}
	w.what = "export";
	w.chunk = export_chunk;
	w.arg = args;
	err = ftruncate(fd, (off_t)o->m.image_bytes) ? -errno : walk_run(&w);
	if (close(fd) && !err)
		err = -errno;
	if (err)
		cli_error("cannot write %s: %s", path, strerror(-err));
	else if (w.bad)
		cli_error("%s is not complete: %llu bad objects", path, (unsigned long long)w.bad);
	return err || w.bad ? CLI_FAILED : CLI_OK;
}

static void *serve_run(void *arg)
{
	nbd_server_run(arg, -1);
	return NULL;
}

/* qemu-img reads the version from us as a disk and writes what it likes: no copy between. */
static int convert(const struct datadir *d, const struct version *v, const char *format,
		   const char *path, bool quiet)
{
	char folder[] = "/tmp/freshet-XXXXXX", socket[64], url[128];
	const char *argv[] = { "qemu-img", "convert", quiet ? "-q" : "-p", "-f", "raw", "-O",
			       format,	   url,	      path,		   NULL };
	struct nbd_server s = { .d = d, .v = v, .fd = -1, .once = true };
	pthread_t thread;
	int err, status = -1;
	pid_t pid;

	if (!mkdtemp(folder))
		return -errno;
	fmt_snprintf(socket, sizeof(socket), "%s/nbd", folder);
	fmt_snprintf(url, sizeof(url), "nbd+unix:///?socket=%s", socket);
	err = nbd_server_listen_unix(&s, socket);
	if (!err)
		err = -pthread_create(&thread, NULL, serve_run, &s);
	if (!err) {
		err = -posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ);
		if (err)
			cli_error("cannot run qemu-img: %s; install the package qemu-utils",
				  strerror(-err));
	}
	if (!err && (waitpid(pid, &status, 0) < 0 || status))
		err = -EIO; /* its own words are on the screen; the thread ends with us */
	unlink(socket);
	rmdir(folder);
	return err;
}

static enum cli_exit export_as(struct opened *o, const struct version_args *a)
{
	const char *why;
	struct version v;
	int err = version_load(&o->d, o->version, o->pub, &v, &why);

	if (err) {
		cli_error("version %s: %s", a->rest[0], why);
		return CLI_FAILED;
	}
	err = convert(&o->d, &v, a->format, a->rest[1], a->quiet);
	if (err)
		cli_error("%s is not complete", a->rest[1]);
	/* After a failure the thread may still serve from @v. */
	if (!err)
		version_free(&v);
	return err ? CLI_FAILED : CLI_OK;
}

static enum cli_exit run_export(const struct cli_command *c, int argc, char **argv)
{
	struct version_args a;
	enum cli_exit ret;
	struct opened o;

	ret = version_parse(c, &a, argc, argv, 2);
	if (ret)
		return ret;
	if (open_version(&o, &a))
		return CLI_FAILED;
	ret = !a.format || !strcmp(a.format, "raw") ? export_to(&o, a.rest[1], a.quiet) :
						      export_as(&o, &a);
	close_version(&o);
	return ret;
}

const struct cli_command cmd_image_export = {
	.group = "image",
	.verb = "export",
	.args = "--data DIR [--key FILE] [--format F] VERSION OUT",
	.summary = "write a version back into a disk file",
	.help = "  --data DIR   the site's data folder\n"
		"  --key FILE   the site's key, either half (default DIR/site.pub or site.key)\n"
		"  --format F   raw (default), or qcow2, vmdk, vhdx, vdi, vpc: by qemu-img\n"
		"  --quiet      no progress\n"
		"\n"
		"VERSION is 64 hex digits or a channel's name. OUT is sparse where the image is\n"
		"zero.\n",
	.run = run_export,
};

/* ---------------------------------------------------------------- ls */

static void print_version(const struct datadir *d, const char *hex)
{
	char path[DATADIR_PATH_MAX], when[32] = "";
	u8 version[SHA256_BYTES];
	struct manifest m;
	struct tm tm;
	size_t bytes;
	time_t t;
	u8 *file;

	fmt_unhex(version, SHA256_BYTES, hex, DIGEST_HEX);
	path_manifest(path, version);
	if (datadir_read(d, path, MANIFEST_BYTES_MAX, &file, &bytes)) {
		printf("%s  unreadable\n", hex);
		return;
	}
	if (manifest_parse(file, bytes, &m)) {
		printf("%s  not a manifest\n", hex);
	} else {
		t = (time_t)m.created_unix;
		if (gmtime_r(&t, &tm))
			strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
		printf("%s  %s  %-16s %7llu MiB  %s\n", hex, when, m.name,
		       (unsigned long long)(m.image_bytes / MIB), m.label);
	}
	free(file);
}

static enum cli_exit run_ls(const struct cli_command *c, int argc, char **argv)
{
	struct version_args a;
	enum cli_exit ret;
	struct dirent *e;
	struct datadir d;
	DIR *dir;
	bool local = false;
	int fd;

	for (int i = 1; i < argc; i++)
		local |= !strncmp(argv[i], "--data", 6);
	if (!local)
		return image_ls_remote(c, argc, argv);
	ret = version_parse(c, &a, argc, argv, 0);
	if (ret)
		return ret;
	if (cli_open_data(&d, a.data, false))
		return CLI_FAILED;
	fd = openat(d.fd, "manifests", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		cli_error("cannot read %s/manifests: %s", a.data, strerror(errno));
		datadir_close(&d);
		return CLI_FAILED;
	}
	while ((e = readdir(dir)))
		if (digest_hex_ok(e->d_name, strlen(e->d_name)))
			print_version(&d, e->d_name);
	closedir(dir);
	datadir_close(&d);
	return CLI_OK;
}

const struct cli_command cmd_image_ls = {
	.group = "image",
	.verb = "ls",
	.args = "[--data DIR]",
	.summary = "list the versions in a data folder, or of a server",
	.help = "  --data DIR     the site's data folder (without: the server's)\n" REMOTE_HELP
		"\n"
		"One line each: version, time, image, size, label. Signatures are not checked.\n",
	.run = run_ls,
};
