/*
 * sockets.c - lwIP's raw TCP calls over the host's sockets; see sockets.h
 *
 * lwIP's rules for who frees what are kept: after the error callback the pcb is
 * gone; a receive callback that returns ERR_MEM is offered the same buffer again;
 * bytes count against the window until tcp_recved(). A pcb here is lwIP's own
 * struct with a descriptor behind it, so the client's macros (tcp_sndbuf and the
 * like) read real fields.
 *
 * Callbacks run inside sockets_wait() alone, never inside a call of the client.
 */
#include "net/sockets/sockets.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/list.h"
#include "lwip/pbuf.h"
#include "lwip/tcp.h"
#include "net/stack/stack.h"

#define READ_BYTES 32768u /* into one buffer; its length is 16 bits wide */
#define EVENTS 256

struct sock {
	struct tcp_pcb pcb; /* first: what the client holds */
	struct list link; /* in dead */
	int fd;
	struct sockets_owner *owner;
	bool connecting, ended, freed;
	u32 unread; /* given to the client and not yet tcp_recved() */
	struct pbuf *refused; /* the client had no room for it */
	u32 events; /* what epoll watches */
	u32 out_used, out_sent;
	u8 out[TCP_SND_BUF];
};

static int poll_fd = -1;
static struct sockets_owner *owner;
static struct list dead = { &dead, &dead }; /* freed while events of theirs may be under way */

static struct sock *to_sock(const struct tcp_pcb *pcb)
{
	return container_of(pcb, struct sock, pcb);
}

/* ---------------------------------------------------------------- buffers */

static struct pbuf *pbuf_new(const void *from, size_t bytes)
{
	struct pbuf *p = calloc(1, sizeof(*p) + bytes);

	if (!p)
		return NULL;
	p->payload = p + 1;
	p->len = p->tot_len = (u16_t)bytes;
	p->ref = 1;
	memcpy(p->payload, from, bytes);
	return p;
}

u8_t pbuf_free(struct pbuf *p)
{
	u8_t n = 0;

	while (p && !--p->ref) {
		struct pbuf *next = p->next;

		free(p);
		p = next;
		n++;
	}
	return n;
}

void pbuf_ref(struct pbuf *p)
{
	p->ref++;
}

/* Buffers here are never chained. */
struct pbuf *pbuf_dechain(struct pbuf *p)
{
	p->tot_len = p->len;
	p->next = NULL;
	return NULL;
}

u16_t pbuf_clen(const struct pbuf *p)
{
	return p != NULL;
}

/* ---------------------------------------------------------------- what is watched */

static void watch(struct sock *s)
{
	bool in = !s->connecting && !s->ended && !s->refused && s->unread < TCP_WND;
	/* What was refused is offered again at the next event: there is always one for EPOLLOUT. */
	bool again = s->refused && s->unread < TCP_WND / 2;
	struct epoll_event e = { .data.ptr = s };

	e.events = (in ? (u32)EPOLLIN : 0) |
		   (s->connecting || again || s->out_used > s->out_sent ? (u32)EPOLLOUT : 0);
	if (e.events == s->events)
		return;
	s->events = e.events;
	epoll_ctl(poll_fd, EPOLL_CTL_MOD, s->fd, &e);
}

/* The descriptor goes at once, the struct when no event can name it any more. */
static void sock_free(struct sock *s)
{
	if (s->freed)
		return;
	s->freed = true;
	close(s->fd);
	pbuf_free(s->refused);
	list_add_tail(&dead, &s->link);
}

static void bury(void)
{
	struct sock *s, *t;

	list_for_each_safe(s, t, &dead, link) {
		list_del(&s->link);
		free(s);
	}
}

static void sock_failed(struct sock *s, err_t err)
{
	tcp_err_fn errf = s->pcb.errf;
	void *arg = s->pcb.callback_arg;

	sock_free(s);
	if (errf)
		errf(arg, err);
}

/* ---------------------------------------------------------------- lwIP's calls */

struct tcp_pcb *tcp_new(void)
{
	struct epoll_event e = { 0 };
	struct sock *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	s->owner = owner;
	s->pcb.snd_buf = s->pcb.snd_wnd_max = TCP_SND_BUF;
	e.data.ptr = s;
	if (s->fd < 0 || epoll_ctl(poll_fd, EPOLL_CTL_ADD, s->fd, &e)) {
		if (s->fd >= 0)
			close(s->fd);
		free(s);
		return NULL;
	}
	return &s->pcb;
}

void tcp_arg(struct tcp_pcb *pcb, void *arg)
{
	pcb->callback_arg = arg;
}

void tcp_recv(struct tcp_pcb *pcb, tcp_recv_fn fn)
{
	pcb->recv = fn;
}

void tcp_sent(struct tcp_pcb *pcb, tcp_sent_fn fn)
{
	pcb->sent = fn;
}

void tcp_err(struct tcp_pcb *pcb, tcp_err_fn fn)
{
	pcb->errf = fn;
}

static void bind_owner(struct sock *s)
{
	struct sockaddr_in from = { .sin_family = AF_INET };
	int one = 1;

	if (!s->owner || !s->owner->ip)
		return;
	from.sin_addr.s_addr = htonl(s->owner->ip);
	/* The port is chosen at connect(): one for each peer, not one of all. */
	setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (bind(s->fd, (struct sockaddr *)&from, sizeof(from)))
		s->owner->ip = 0;
}

err_t tcp_connect(struct tcp_pcb *pcb, const ip_addr_t *ip, u16_t port, tcp_connected_fn fn)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sock *s = to_sock(pcb);
	int one = 1;

	pcb->connected = fn;
	to.sin_addr.s_addr = ip_addr_get_ip4_u32(ip);
	bind_owner(s);
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	s->connecting = true;
	if (connect(s->fd, (struct sockaddr *)&to, sizeof(to)) && errno != EINPROGRESS) {
		s->connecting = false;
		return errno == ENETUNREACH || errno == EHOSTUNREACH ? ERR_RTE : ERR_MEM;
	}
	watch(s);
	return ERR_OK;
}

err_t tcp_write(struct tcp_pcb *pcb, const void *data, u16_t bytes, u8_t flags)
{
	struct sock *s = to_sock(pcb);

	(void)flags;
	if (s->freed || bytes > pcb->snd_buf)
		return ERR_MEM;
	memcpy(s->out + s->out_used, data, bytes);
	s->out_used += bytes;
	pcb->snd_buf = (tcpwnd_size_t)(pcb->snd_buf - bytes);
	return ERR_OK;
}

err_t tcp_output(struct tcp_pcb *pcb)
{
	struct sock *s = to_sock(pcb);
	ssize_t n;

	if (s->connecting || s->freed)
		return ERR_OK;
	while (s->out_sent < s->out_used) {
		n = send(s->fd, s->out + s->out_sent, s->out_used - s->out_sent, MSG_NOSIGNAL);
		if (n < 0)
			break; /* full, or broken: epoll says which */
		s->out_sent += (u32)n;
	}
	if (s->out_sent == s->out_used) {
		s->out_sent = s->out_used = 0;
		pcb->snd_buf = TCP_SND_BUF;
	}
	watch(s);
	return ERR_OK;
}

void tcp_recved(struct tcp_pcb *pcb, u16_t bytes)
{
	struct sock *s = to_sock(pcb);

	s->unread -= MIN(s->unread, (u32)bytes);
	watch(s);
}

err_t tcp_close(struct tcp_pcb *pcb)
{
	tcp_output(pcb);
	sock_free(to_sock(pcb));
	return ERR_OK;
}

void tcp_abort(struct tcp_pcb *pcb)
{
	struct linger l = { .l_onoff = 1 };

	setsockopt(to_sock(pcb)->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	sock_failed(to_sock(pcb), ERR_ABRT);
}

/* lwIP's headers make htonl() and htons() of these. */
u32_t lwip_htonl(u32_t v)
{
	return __builtin_bswap32(v);
}

u16_t lwip_htons(u16_t v)
{
	return __builtin_bswap16(v);
}

/* ---------------------------------------------------------------- net/stack's */

u32 stack_poll(void)
{
	return 0; /* sockets_wait() has done it */
}

u64 stack_deadline_ns(void)
{
	return ~0ull;
}

bool stack_link_up(void)
{
	return true;
}

u32 stack_ip(void)
{
	return owner && owner->ip ? owner->ip : INADDR_LOOPBACK;
}

/* ---------------------------------------------------------------- events */

static void connected(struct sock *s)
{
	int err = 0;
	socklen_t n = sizeof(err);

	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &n) || err) {
		sock_failed(s, err == ECONNREFUSED ? ERR_RST : ERR_ABRT);
		return;
	}
	s->connecting = false;
	if (s->pcb.connected)
		s->pcb.connected(s->pcb.callback_arg, &s->pcb, ERR_OK);
	tcp_output(&s->pcb);
}

static void offer(struct sock *s, struct pbuf *p)
{
	u32 bytes = p ? p->len : 0;

	if (!s->pcb.recv)
		pbuf_free(p);
	else if (s->pcb.recv(s->pcb.callback_arg, &s->pcb, p, ERR_OK) != ERR_OK)
		s->refused = p;
	else
		s->unread += bytes;
}

static void receive(struct sock *s)
{
	static u8 in[READ_BYTES];

	while (!s->freed && !s->ended && !s->refused && s->unread < TCP_WND) {
		ssize_t n = recv(s->fd, in, sizeof(in), 0);
		struct pbuf *p;

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) {
			sock_failed(s, errno == ECONNRESET ? ERR_RST : ERR_ABRT);
			return;
		}
		if (!n) {
			s->ended = true;
			offer(s, NULL);
			return;
		}
		p = pbuf_new(in, (size_t)n);
		if (!p) {
			sock_failed(s, ERR_ABRT);
			return;
		}
		offer(s, p);
	}
}

static void handle(struct sock *s, u32 events)
{
	struct pbuf *p = s->refused;

	if (s->owner)
		s->owner->ready = true;
	if (s->connecting) {
		connected(s);
		return;
	}
	if (events & EPOLLOUT)
		tcp_output(&s->pcb);
	if (p) {
		s->refused = NULL;
		offer(s, p);
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		receive(s);
	if (!s->freed)
		watch(s);
}

int sockets_open(void)
{
	poll_fd = epoll_create1(EPOLL_CLOEXEC);
	return poll_fd < 0 ? -errno : 0;
}

void sockets_close(void)
{
	bury();
	close(poll_fd);
	poll_fd = -1;
}

void sockets_owner_set(struct sockets_owner *o)
{
	owner = o;
}

int sockets_wait(int timeout_ms)
{
	struct epoll_event e[EVENTS];
	int n;

	bury();
	n = epoll_wait(poll_fd, e, EVENTS, timeout_ms);
	for (int i = 0; i < n; i++) {
		struct sock *s = e[i].data.ptr;

		if (!s->freed)
			handle(s, e[i].events);
	}
	return MAX(n, 0);
}
