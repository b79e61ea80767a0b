/*
 * cli.c - what freshet's commands share: messages, arguments, keys, progress
 */
#include "images/cli.h"

#include <grp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/plat.h"
#include "server/data/channels.h"
#include "server/data/objects.h"

#define PUB_HEX (2 * P256_PUB_BYTES)

/** cli_error() - one line on standard error: what is wrong and what to do */
void cli_error(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "freshet: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static const char *verb(const struct cli_command *c)
{
	return c->verb ? c->verb : "";
}

static const char *space(const struct cli_command *c)
{
	return c->verb ? " " : "";
}

/** cli_usage() - the command line is wrong: say how it should be */
enum cli_exit cli_usage(const struct cli_command *c, const char *fmt, ...)
{
	va_list ap;

	if (fmt && *fmt) {
		fprintf(stderr, "freshet %s%s%s: ", c->group, space(c), verb(c));
		va_start(ap, fmt);
		vfprintf(stderr, fmt, ap);
		va_end(ap);
		fputc('\n', stderr);
	}
	fprintf(stderr, "usage: freshet %s%s%s %s\n", c->group, space(c), verb(c), c->args);
	fprintf(stderr, "freshet %s%s%s --help tells more\n", c->group, space(c), verb(c));
	return CLI_USAGE;
}

/** cli_help() - what --help prints */
enum cli_exit cli_help(const struct cli_command *c)
{
	printf("usage: freshet %s%s%s %s\n\n%s\n\n%s", c->group, space(c), verb(c), c->args,
	       c->summary, c->help);
	return CLI_OK;
}

/** cli_u64() - a plain decimal number; 0 or -EINVAL */
int cli_u64(const char *text, u64 *out)
{
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	*out = strtoull(text, &end, 10);
	return *end || errno ? -EINVAL : 0;
}

/** cli_size() - bytes, with K, M or G for powers of 1024; 0 or -EINVAL */
int cli_size(const char *text, u64 *out)
{
	char number[24];
	size_t n = strlen(text);
	u64 unit = 1;

	if (!n || n >= sizeof(number))
		return -EINVAL;
	memcpy(number, text, n + 1);
	switch (number[n - 1]) {
	case 'k':
	case 'K':
		unit = KIB;
		break;
	case 'm':
	case 'M':
		unit = MIB;
		break;
	case 'g':
	case 'G':
		unit = GIB;
		break;
	}
	if (unit != 1)
		number[n - 1] = 0;
	if (cli_u64(number, out) || *out > UINT64_MAX / unit)
		return -EINVAL;
	*out *= unit;
	return 0;
}

/** cli_hex() - a digest as text */
const char *cli_hex(char out[DIGEST_HEX + 1], const u8 digest[SHA256_BYTES])
{
	return fmt_hex(out, digest, SHA256_BYTES);
}

/** cli_json_text() - a JSON string, with its quotes */
void cli_json_text(FILE *f, const char *text)
{
	fputc('"', f);
	for (; *text; text++) {
		u8 c = (u8)*text;

		if (c == '"' || c == '\\')
			fprintf(f, "\\%c", c);
		else if (c < 0x20)
			fprintf(f, "\\u%04x", c);
		else
			fputc(c, f);
	}
	fputc('"', f);
}

/**
 * cli_be_owner() - write into the folder as the one it belongs to
 *
 * freshetd runs as a user of its own. What root wrote there it could not change: a
 * folder of objects made by a build would be closed to the next push.
 */
void cli_be_owner(const struct datadir *d)
{
	struct stat st;

	if (geteuid() || fstat(d->fd, &st) || !st.st_uid)
		return;
	if (setgroups(0, NULL) || setegid(st.st_gid) || seteuid(st.st_uid))
		cli_error("cannot act as the owner of %s: %s", d->path, strerror(errno));
}

/** cli_be_self() - back again, to write elsewhere */
void cli_be_self(void)
{
	if (geteuid() != getuid() && (seteuid(getuid()) || setegid(getgid())))
		cli_error("cannot act as root again: %s", strerror(errno));
}

/* The folder, and its objects where they are; says what is wrong. */
static int open_data(struct datadir *d, const char *path, bool create)
{
	char why[OBJECTS_WHY_MAX] = "";
	int err = datadir_open(d, path, create);

	if (err) {
		cli_error("cannot open the data folder %s: %s", path, strerror(-err));
		return err;
	}
	err = objects_open(d, NULL, false, why);
	if (err) {
		cli_error("cannot use the objects of %s: %s", path, *why ? why : strerror(-err));
		datadir_close(d);
	}
	return err;
}

/** cli_make_data() - open the data folder, make it if need be, and lock nothing */
int cli_make_data(struct datadir *d, const char *path)
{
	int err = open_data(d, path, true);

	if (!err)
		cli_be_owner(d);
	return err;
}

/**
 * cli_open_data() - open the data folder, and say what is wrong when it does not open
 * @write: make it if need be, and wait to be its only writer
 */
int cli_open_data(struct datadir *d, const char *path, bool write)
{
	int err = open_data(d, path, write);

	if (err)
		return err;
	if (write) {
		cli_be_owner(d);
		err = datadir_lock(d);
	}
	if (err) {
		cli_error("cannot lock the data folder %s: %s", path, strerror(-err));
		datadir_close(d);
	}
	return err;
}

static const char *default_path(const char *path, const char *data, const char *name, char *room)
{
	if (path)
		return path;
	fmt_snprintf(room, 4096, "%s/%s", data, name);
	return room;
}

/** cli_private_key() - load the site's key; @path NULL: the data folder's site.key */
int cli_private_key(struct crypto_key **out, const char *path, const char *data)
{
	char room[4096];
	int err;

	path = default_path(path, data, "site.key", room);
	err = key_load_pem(out, path);
	if (err == -ENOENT)
		cli_error("no key %s; make one with: freshet key new DIR", path);
	else if (err == -EINVAL)
		cli_error("%s holds no P-256 private key in PEM form", path);
	else if (err)
		cli_error("cannot read the key %s: %s", path, strerror(-err));
	return err;
}

/* A file of 128 hex digits, as `freshet key new` writes site.pub. */
static int read_pub(u8 pub[P256_PUB_BYTES], const char *path)
{
	char text[PUB_HEX + 4];
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		return -errno;
	n = fread(text, 1, sizeof(text), f);
	fclose(f);
	while (n && (text[n - 1] == '\n' || text[n - 1] == '\r'))
		n--;
	return fmt_unhex(pub, P256_PUB_BYTES, text, n);
}

/**
 * cli_public_key() - the site's public key, from either half
 * @path: site.pub or site.key; NULL: whichever the data folder has
 */
int cli_public_key(u8 pub[P256_PUB_BYTES], const char *path, const char *data)
{
	struct crypto_key *key;
	char room[4096];
	int err = -ENOENT;

	if (!path) {
		err = read_pub(pub, default_path(NULL, data, "site.pub", room));
		if (!err)
			return 0;
	} else if (!read_pub(pub, path)) {
		return 0;
	}
	path = default_path(path, data, "site.key", room);
	err = key_load_pem(&key, path);
	if (err) {
		cli_error("cannot read the site's key %s: %s; name it with --key FILE", path,
			  err == -EINVAL ? "neither a public nor a private key" : strerror(-err));
		return err;
	}
	key_public(key, pub);
	key_free(key);
	return 0;
}

/**
 * cli_version() - what the user calls a version: all 64 hex digits, or a channel's name
 */
int cli_version(const struct datadir *d, const char *text, const u8 pub[P256_PUB_BYTES],
		u8 version[SHA256_BYTES])
{
	char path[DATADIR_PATH_MAX];
	struct channel ch;
	struct stat st;
	int err;

	if (digest_hex_ok(text, strlen(text))) {
		fmt_unhex(version, SHA256_BYTES, text, strlen(text));
		path_manifest(path, version);
		if (!fstatat(d->fd, path, &st, 0))
			return 0;
		cli_error("%s has no version %s; see: freshet image ls --data %s", d->path, text,
			  d->path);
		return -ENOENT;
	}
	if (!channel_name_ok(text, strlen(text))) {
		cli_error("\"%s\" is neither a version (64 hex digits) nor a channel's name", text);
		return -EINVAL;
	}
	err = channel_read(d, text, pub, &ch);
	if (err == -ENOENT)
		cli_error("%s has no channel %s; see: freshet channel show --data %s", d->path,
			  text, d->path);
	else if (err)
		cli_error("channel %s is not to be trusted: %s; set it again with its file removed",
			  text, err_name(err));
	else
		memcpy(version, ch.version, SHA256_BYTES);
	return err;
}

/** cli_progress_start() - @total bytes of @what are to be worked through */
void cli_progress_start(struct cli_progress *p, const char *what, u64 total, bool quiet)
{
	memset(p, 0, sizeof(*p));
	p->what = what;
	p->total = total ? total : 1;
	p->quiet = quiet;
	p->tty = isatty(STDERR_FILENO);
	p->start_ns = plat_time_ns();
}

/** cli_progress_at() - @done bytes are; rewrites a line on a terminal, else a line per tenth */
void cli_progress_at(struct cli_progress *p, u64 done)
{
	u64 now = plat_time_ns();
	u64 ms = (now - p->start_ns) / NS_PER_MS + 1;
	int tenth = (int)(done * 10 / p->total);

	if (p->quiet)
		return;
	if (p->tty ? now - p->last_ns < 200 * NS_PER_MS && done < p->total :
		     tenth == p->last_tenth)
		return;
	p->last_ns = now;
	p->last_tenth = tenth;
	if (p->counts) {
		fprintf(stderr, "%s%s: %3llu%%  %llu of %llu objects%s", p->tty ? "\r" : "",
			p->what, (unsigned long long)(done * 100 / p->total),
			(unsigned long long)(done / MIB), (unsigned long long)(p->total / MIB),
			p->tty ? "  " : "\n");
		return;
	}
	fprintf(stderr, "%s%s: %3llu%%  %llu of %llu MiB  %llu MB/s%s", p->tty ? "\r" : "", p->what,
		(unsigned long long)(done * 100 / p->total), (unsigned long long)(done / MIB),
		(unsigned long long)(p->total / MIB), (unsigned long long)(done / 1000 / ms),
		p->tty ? "  " : "\n");
}

/** cli_progress_end() - nothing more will come */
void cli_progress_end(struct cli_progress *p)
{
	if (p->tty && !p->quiet && p->last_ns)
		fputc('\n', stderr);
}
