/*
 * nbd_server.c - a version as a read-only network block device
 *
 * The fixed newstyle handshake and simple replies of the NBD protocol
 * [NBD proto.md], which is what qemu, nbd-client, nbdkit and libnbd all speak. A
 * thread per client, each with its own reader. The client may be anybody on this
 * host or, by TCP, on the loopback: lengths are bounded, nothing is written.
 */
#include "images/nbd_server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/log.h"
#include "images/reader.h"

#define NBDMAGIC 0x4e42444d41474943ull
#define IHAVEOPT 0x49484156454f5054ull
#define OPT_REPLY_MAGIC 0x0003e889045565a9ull
#define REQUEST_MAGIC 0x25609513u
#define REPLY_MAGIC 0x67446698u
#define FLAG_FIXED_NEWSTYLE 1
#define FLAG_NO_ZEROES 2
#define TX_HAS_FLAGS 1
#define TX_READ_ONLY 2
#define TX_CAN_MULTI_CONN 0x100
#define READ_MAX (32u * 1024 * 1024)
#define OPTION_MAX 4096
#define CLIENTS_MAX 64

enum { OPT_EXPORT_NAME = 1, OPT_ABORT = 2, OPT_LIST = 3, OPT_INFO = 6, OPT_GO = 7 };
enum { REP_ACK = 1, REP_SERVER = 2, REP_INFO = 3 };
#define REP_ERR_UNSUP 0x80000001u
#define REP_ERR_INVALID 0x80000003u
enum { CMD_READ = 0, CMD_WRITE = 1, CMD_DISC = 2, CMD_FLUSH = 3 };

struct client {
	struct nbd_server *s;
	int fd;
	atomic_int *count;
};

static void put_be16(u8 *p, u16 v)
{
	p[0] = (u8)(v >> 8);
	p[1] = (u8)v;
}

static void put_be32(u8 *p, u32 v)
{
	put_be16(p, (u16)(v >> 16));
	put_be16(p + 2, (u16)v);
}

static void put_be64(u8 *p, u64 v)
{
	put_be32(p, (u32)(v >> 32));
	put_be32(p + 4, (u32)v);
}

static u64 get_be64(const u8 *p)
{
	return (u64)get_be32(p) << 32 | get_be32(p + 4);
}

static bool receive(int fd, void *out, size_t n)
{
	u8 *p = out;

	while (n) {
		ssize_t got = recv(fd, p, n, MSG_WAITALL);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		p += got;
		n -= (size_t)got;
	}
	return true;
}

static bool transmit(int fd, const void *data, size_t n)
{
	const u8 *p = data;

	while (n) {
		ssize_t put = send(fd, p, n, MSG_NOSIGNAL);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return false;
		p += put;
		n -= (size_t)put;
	}
	return true;
}

/* ---------------------------------------------------------------- handshake */

static bool option_reply(const struct client *c, u32 option, u32 type, const void *data, u32 n)
{
	u8 head[20];

	put_be64(head, OPT_REPLY_MAGIC);
	put_be32(head + 8, option);
	put_be32(head + 12, type);
	put_be32(head + 16, n);
	return transmit(c->fd, head, sizeof(head)) && transmit(c->fd, data, n);
}

static bool send_info(const struct client *c, u32 option)
{
	u8 info[12], sizes[14];

	put_be16(info, 0); /* NBD_INFO_EXPORT */
	put_be64(info + 2, c->s->v->m.image_bytes);
	put_be16(info + 10, TX_HAS_FLAGS | TX_READ_ONLY | TX_CAN_MULTI_CONN);
	put_be16(sizes, 3); /* NBD_INFO_BLOCK_SIZE */
	put_be32(sizes + 2, 1);
	put_be32(sizes + 6, c->s->v->m.chunk_bytes);
	put_be32(sizes + 10, READ_MAX);
	return option_reply(c, option, REP_INFO, info, sizeof(info)) &&
	       option_reply(c, option, REP_INFO, sizes, sizeof(sizes)) &&
	       option_reply(c, option, REP_ACK, NULL, 0);
}

static bool send_list(const struct client *c, u32 option)
{
	const char *name = c->s->v->m.name;
	u32 n = (u32)strlen(name);
	u8 entry[4 + MANIFEST_NAME_BYTES];

	put_be32(entry, n);
	memcpy(entry + 4, name, n);
	return option_reply(c, option, REP_SERVER, entry, 4 + n) &&
	       option_reply(c, option, REP_ACK, NULL, 0);
}

static bool export_name(const struct client *c, bool zeroes)
{
	u8 reply[10 + 124] = { 0 };

	put_be64(reply, c->s->v->m.image_bytes);
	put_be16(reply + 8, TX_HAS_FLAGS | TX_READ_ONLY | TX_CAN_MULTI_CONN);
	return transmit(c->fd, reply, zeroes ? sizeof(reply) : 10);
}

/* True when the transmission phase begins. Any export name means the one that there is. */
static bool shake_hands(const struct client *c)
{
	u8 hello[18], flags[4], head[16], data[OPTION_MAX];
	bool zeroes;

	put_be64(hello, NBDMAGIC);
	put_be64(hello + 8, IHAVEOPT);
	put_be16(hello + 16, FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES);
	if (!transmit(c->fd, hello, sizeof(hello)) || !receive(c->fd, flags, sizeof(flags)))
		return false;
	zeroes = !(get_be32(flags) & FLAG_NO_ZEROES);
	while (receive(c->fd, head, sizeof(head))) {
		u32 option = get_be32(head + 8), n = get_be32(head + 12);
		bool ok;

		if (get_be64(head) != IHAVEOPT || n > sizeof(data) || !receive(c->fd, data, n))
			return false;
		switch (option) {
		case OPT_EXPORT_NAME:
			return export_name(c, zeroes);
		case OPT_ABORT:
			option_reply(c, option, REP_ACK, NULL, 0);
			return false;
		case OPT_LIST:
			ok = n ? option_reply(c, option, REP_ERR_INVALID, NULL, 0) :
				 send_list(c, option);
			break;
		case OPT_GO:
		case OPT_INFO:
			ok = send_info(c, option);
			if (ok && option == OPT_GO)
				return true;
			break;
		default:
			ok = option_reply(c, option, REP_ERR_UNSUP, NULL, 0);
		}
		if (!ok)
			return false;
	}
	return false;
}

/* ---------------------------------------------------------------- requests */

static bool answer_read(const struct client *c, struct reader *r, const u8 *head, u8 *buf)
{
	u64 off = get_be64(head + 16);
	u32 n = get_be32(head + 24);
	u8 reply[16];
	int err = n > READ_MAX ? -EINVAL : reader_read(r, off, buf, n);

	if (err && err != -EINVAL)
		log_err("nbd: an object is missing or damaged offset=%llu err=%s",
			(unsigned long long)off, err_name(err));
	put_be32(reply, REPLY_MAGIC);
	put_be32(reply + 4, !err ? 0 : err == -EINVAL ? 22 : 5);
	memcpy(reply + 8, head + 8, 8);
	return transmit(c->fd, reply, sizeof(reply)) && (err || transmit(c->fd, buf, n));
}

/* What writes says that this is not to be written: EPERM; its data is thrown away. */
static bool answer_other(const struct client *c, const u8 *head, u8 *buf)
{
	u16 type = (u16)(head[6] << 8 | head[7]);
	u32 n = get_be32(head + 24);
	u8 reply[16];

	if (type == CMD_WRITE && (n > READ_MAX || !receive(c->fd, buf, n)))
		return false;
	put_be32(reply, REPLY_MAGIC);
	put_be32(reply + 4, type == CMD_FLUSH ? 0 : type == CMD_WRITE ? 1 : 22);
	memcpy(reply + 8, head + 8, 8);
	return transmit(c->fd, reply, sizeof(reply));
}

static void serve(const struct client *c)
{
	u8 head[28], *buf = malloc(READ_MAX);
	struct reader r;

	reader_init(&r, c->s->d, c->s->v);
	while (buf && receive(c->fd, head, sizeof(head)) && get_be32(head) == REQUEST_MAGIC) {
		u16 type = (u16)(head[6] << 8 | head[7]);

		if (type == CMD_DISC)
			break;
		if (type == CMD_READ ? !answer_read(c, &r, head, buf) : !answer_other(c, head, buf))
			break;
	}
	reader_fini(&r);
	free(buf);
}

static void *client_run(void *arg)
{
	struct client *c = arg;

	if (shake_hands(c))
		serve(c);
	close(c->fd);
	atomic_fetch_sub(c->count, 1);
	free(c);
	return NULL;
}

/* ---------------------------------------------------------------- listening */

/** nbd_server_listen_unix() - at a socket that only its owner may use */
int nbd_server_listen_unix(struct nbd_server *s, const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	mode_t old;
	int err = 0;

	if (strlen(path) >= sizeof(sa.sun_path))
		return -EINVAL;
	strcpy(sa.sun_path, path);
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return -errno;
	old = umask(0177);
	if (bind(s->fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(s->fd, 16))
		err = -errno;
	umask(old);
	return err;
}

/** nbd_server_listen_tcp() - on the loopback only: there is no password */
int nbd_server_listen_tcp(struct nbd_server *s, u16 port)
{
	struct sockaddr_in sa = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr = { htonl(INADDR_LOOPBACK) },
	};
	int one = 1;

	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return -errno;
	setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return bind(s->fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(s->fd, 16) ? -errno : 0;
}

static void take_client(struct nbd_server *s, atomic_int *count)
{
	struct client *c = calloc(1, sizeof(*c));
	pthread_t thread;
	int fd = accept(s->fd, NULL, NULL);

	if (fd < 0 || !c || atomic_load(count) >= CLIENTS_MAX) {
		if (fd >= 0)
			close(fd);
		free(c);
		return;
	}
	*c = (struct client){ .s = s, .fd = fd, .count = count };
	atomic_fetch_add(count, 1);
	if (pthread_create(&thread, NULL, client_run, c)) {
		atomic_fetch_sub(count, 1);
		close(fd);
		free(c);
		return;
	}
	pthread_detach(thread);
}

/**
 * nbd_server_run() - serve until @stop_fd can be read
 *
 * Clients still there then are left to the end of the process.
 */
int nbd_server_run(struct nbd_server *s, int stop_fd)
{
	struct pollfd p[2] = { { .fd = s->fd, .events = POLLIN },
			       { .fd = stop_fd, .events = POLLIN } };
	static atomic_int count;
	bool had = false;

	while (poll(p, 2, 200) >= 0 || errno == EINTR) {
		if (p[1].revents)
			break;
		if (p[0].revents & POLLIN) {
			take_client(s, &count);
			had = true;
		} else if (s->once && had && !atomic_load(&count)) {
			break;
		}
	}
	close(s->fd);
	return 0;
}
