/*
 * source.c - the disk that an image is made of
 *
 * Raw files and block devices are read directly. For qcow2, vmdk, vhdx, vdi and vhd
 * qemu-nbd(8) is started beside us on a Unix socket, read-only, and libnbd asks it for
 * bytes and for what is a hole: nothing is converted, no second copy is made. It ends
 * by itself when its last client goes, so a freshet that is killed leaves none behind.
 *
 * The format is told by the first bytes. A raw disk whose owner can write to
 * its beginning could pretend to be another format that names files of this host;
 * --format raw is there for disks that are not trusted.
 */
#include "images/source.h"

#include <fcntl.h>
#include <libnbd.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>

#include "base/err.h"
#include "base/fmt.h"
#include "images/cli.h"

#define START_TRIES 500 /* of 20 ms, until qemu-nbd listens */

extern char **environ;

static const struct {
	const char *name; /* as --format and qemu-nbd have it */
	const char *magic;
	u32 magic_bytes, offset;
} formats[] = {
	{ "qcow2", "QFI\xfb", 4, 0 },
	{ "vmdk", "KDMV", 4, 0 },
	{ "vmdk", "# Disk DescriptorFile", 21, 0 },
	{ "vhdx", "vhdxfile", 8, 0 },
	{ "vdi", "\x7f\x10\xda\xbe", 4, 64 },
	{ "vpc", "conectix", 8, 0 },
};

static const char *detect(int fd)
{
	u8 head[128] = { 0 };
	ssize_t n = pread(fd, head, sizeof(head), 0);

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (n >= (ssize_t)(formats[i].offset + formats[i].magic_bytes) &&
		    !memcmp(head + formats[i].offset, formats[i].magic, formats[i].magic_bytes))
			return formats[i].name;
	return "raw";
}

static int open_raw(struct source *s, const char *path)
{
	struct stat st;

	if (fstat(s->fd, &st))
		return -errno;
	s->bytes = (u64)st.st_size;
	if (S_ISBLK(st.st_mode) && ioctl(s->fd, BLKGETSIZE64, &s->bytes)) {
		cli_error("cannot tell the size of %s: %s", path, strerror(errno));
		return -EIO;
	}
	if (!S_ISBLK(st.st_mode) && !S_ISREG(st.st_mode)) {
		cli_error("%s is neither a file nor a disk", path);
		return -EINVAL;
	}
	posix_fadvise(s->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return 0;
}

/* ---------------------------------------------------------------- others, by NBD */

static struct nbd_handle *connect_to(const char *socket)
{
	struct nbd_handle *h = nbd_create();

	if (h && !nbd_add_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) &&
	    !nbd_connect_unix(h, socket))
		return h;
	nbd_close(h);
	return NULL;
}

static int start_server(struct source *s, const char *path)
{
	const char *argv[] = { "qemu-nbd", "--read-only", "--shared=0", "--socket", s->socket,
			       "--format", s->format,	  path,		NULL };
	const struct timespec nap = { .tv_nsec = 20000000 };
	int err;

	err = posix_spawnp(&s->pid, argv[0], NULL, NULL, (char *const *)argv, environ);
	if (err) {
		s->pid = 0;
		cli_error("cannot run qemu-nbd: %s; install the package qemu-utils", strerror(err));
		return -err;
	}
	for (int i = 0; i < START_TRIES; i++) {
		s->keeper = access(s->socket, F_OK) ? NULL : connect_to(s->socket);
		if (s->keeper)
			return 0;
		if (waitpid(s->pid, NULL, WNOHANG) == s->pid) {
			s->pid = 0; /* its own words are on the screen */
			return -EINVAL;
		}
		nanosleep(&nap, NULL);
	}
	return -ETIMEDOUT;
}

static int open_other(struct source *s, const char *path)
{
	int64_t bytes;
	int err;

	fmt_snprintf(s->folder, sizeof(s->folder), "/tmp/freshet-XXXXXX");
	if (!mkdtemp(s->folder)) {
		s->folder[0] = 0;
		return -errno;
	}
	fmt_snprintf(s->socket, sizeof(s->socket), "%s/nbd", s->folder);
	err = start_server(s, path);
	if (err) {
		cli_error("cannot read %s as %s", path, s->format);
		return err;
	}
	bytes = nbd_get_size(s->keeper);
	s->bytes = bytes < 0 ? 0 : (u64)bytes;
	return bytes < 0 ? -EIO : 0;
}

/**
 * source_open() - find out what @path is, and get ready to read it
 * @format: "raw", "qcow2", ...; NULL: see for yourself
 * @sector: the size must be a multiple of this
 *
 * Says what is wrong. Return: 0 or an error.
 */
int source_open(struct source *s, const char *path, const char *format, u64 sector)
{
	int err;

	memset(s, 0, sizeof(*s));
	s->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (s->fd < 0) {
		err = -errno;
		cli_error("cannot open %s: %s", path, strerror(errno));
		return err;
	}
	s->format = format ? format : detect(s->fd);
	if (!strcmp(s->format, "raw")) {
		err = open_raw(s, path);
	} else {
		close(s->fd);
		s->fd = -1;
		err = open_other(s, path);
	}
	if (!err && (!s->bytes || s->bytes % sector)) {
		cli_error("%s has %llu bytes, which is no whole number of %llu-byte sectors; "
			  "is it a raw disk?", path, (unsigned long long)s->bytes,
			  (unsigned long long)sector);
		err = -EINVAL;
	}
	if (err)
		source_close(s);
	return err;
}

/** source_close() - give it all back */
void source_close(struct source *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	if (s->keeper) {
		nbd_shutdown(s->keeper, 0);
		nbd_close(s->keeper);
	}
	if (s->pid && !s->keeper)
		kill(s->pid, SIGTERM);
	if (s->pid)
		waitpid(s->pid, NULL, 0);
	if (s->folder[0]) {
		unlink(s->socket);
		rmdir(s->folder);
	}
	memset(s, 0, sizeof(*s));
	s->fd = -1;
}

/* ---------------------------------------------------------------- reading */

/** source_reader_init() - for one thread; 0 or -EIO */
int source_reader_init(struct source_reader *r, struct source *s)
{
	memset(r, 0, sizeof(*r));
	r->s = s;
	if (s->fd < 0) {
		r->nbd = connect_to(s->socket);
		return r->nbd ? 0 : -EIO;
	}
	return 0;
}

/** source_reader_fini() - one that was never begun is fine */
void source_reader_fini(struct source_reader *r)
{
	if (r->nbd) {
		nbd_shutdown(r->nbd, 0);
		nbd_close(r->nbd);
	}
	r->nbd = NULL;
}

/** source_read() - @bytes at @off; 0; -ENODATA when it became shorter; -EIO and others */
int source_read(struct source_reader *r, u8 *out, u32 bytes, u64 off)
{
	if (r->nbd)
		return nbd_pread(r->nbd, out, bytes, off, 0) ? -EIO : 0;
	while (bytes) {
		ssize_t n = pread(r->s->fd, out, bytes, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -ENODATA;
		out += n;
		off += (u64)n;
		bytes -= (u32)n;
	}
	return 0;
}

struct extent {
	u64 bytes;
	bool zero, have;
};

/* Only the first extent counts: it begins where we asked. */
static int take_extent(void *arg, const char *context, uint64_t off, uint32_t *entries, size_t n,
		       int *error)
{
	struct extent *e = arg;

	(void)context;
	(void)off;
	(void)error;
	if (e->have || n < 2)
		return 0;
	e->have = true;
	e->bytes = entries[0];
	e->zero = entries[1] & LIBNBD_STATE_ZERO;
	for (size_t i = 2; i + 1 < n; i += 2) {
		if (!(entries[i + 1] & LIBNBD_STATE_ZERO) != !e->zero)
			break;
		e->bytes += entries[i];
	}
	return 0;
}

static void look_nbd(struct source_reader *r, u64 off)
{
	struct extent e = { 0 };
	nbd_extent_callback cb = { .callback = take_extent, .user_data = &e };
	u64 ask = MIN(r->s->bytes - off, (u64)1 << 30);

	if (nbd_block_status(r->nbd, ask, off, cb, 0) || !e.have || !e.bytes) {
		r->data_start = off; /* cannot tell: it is data */
		r->data_end = off + ask;
	} else if (e.zero) {
		r->data_start = r->data_end = off + e.bytes;
	} else {
		r->data_start = off;
		r->data_end = off + e.bytes;
	}
}

static void look_file(struct source_reader *r, u64 off)
{
	off_t data = lseek(r->s->fd, (off_t)off, SEEK_DATA), hole;

	if (data < 0 && errno == ENXIO)
		data = (off_t)r->s->bytes;
	else if (data < 0)
		data = (off_t)off;
	hole = lseek(r->s->fd, data, SEEK_HOLE);
	r->data_start = (u64)data;
	r->data_end = hole > data ? (u64)hole : r->s->bytes;
}

/** source_hole() - is all of it zero without reading it? When in doubt, no. */
bool source_hole(struct source_reader *r, u64 off, u32 bytes)
{
	if (off >= r->data_end) {
		if (r->nbd)
			look_nbd(r, off);
		else
			look_file(r, off);
	}
	return off + bytes <= r->data_start;
}
