/*
 * httpd.c - connections: bytes to requests, replies to bytes
 *
 * libevent's own HTTP server answers one request at a time and reads no further
 * meanwhile, has its own idea of what a request may look like, and cannot hold a
 * reply back; so connections here are bufferevents with our own strict parser.
 *
 * A connection is in one of these states:
 *
 *	HEAD    collecting a request's head; between requests when nothing is there
 *	BODY    the head is known, its body is not all there
 *	WAIT    the reply is made but held back (a fault for tests), or a job makes it
 *	STREAM  an endless reply: events are added to it as they happen
 *	LAST    the last reply is queued; when it is out, LINGER
 *	LINGER  our side is shut down; what still comes is thrown away, so that the
 *	        peer reads our last reply before it sees a reset [RFC 9112 §9.6]
 *	STUCK   nothing more will ever be sent (a fault for tests)
 *
 * Pipelining: requests are answered strictly in the order they came, as many as
 * are there, while less than OUT_HIGH bytes wait to be sent. Above that reading
 * stops until the peer has taken some. So a connection costs at most OUT_HIGH
 * plus one reply, IN_HIGH of input, and OUT_HIGH / 16 KiB open files (shorter ones
 * are read at once), whatever the peer does.
 *
 * When all connections are taken, the one that has been idle longest makes
 * room; when none is idle, the newcomer is sent away.
 */
#include "server/httpd.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/list.h"
#include "base/log.h"
#include "server/cache.h"
#include "server/jobs.h"

#define OUT_HIGH (512 * 1024)
#define OUT_LOW (128 * 1024)
#define IN_HIGH (128 * 1024)
#define STREAM_HIGH (256 * 1024) /* a watcher that is so far behind is let go */
#define WRITE_AT_ONCE (256 * 1024)
#define LISTENERS_MAX 8
#define STREAMS_MAX 64
#define LINGER_S 2
#define ADDRESS_BYTES 64

const struct httpd_limits httpd_limits_default = {
	.connections = 1024,
	.idle_s = 120,
	.request_s = 20,
	.stall_s = 60,
};

enum conn_state {
	CONN_HEAD,
	CONN_BODY,
	CONN_WAIT,
	CONN_STREAM,
	CONN_LAST,
	CONN_LINGER,
	CONN_STUCK,
};

struct conn {
	struct list node; /* of httpd.conns, the longest idle first */
	struct httpd *h;
	struct bufferevent *bev;
	struct event *timer; /* the state's deadline, or the end of WAIT */
	enum conn_state state;
	bool timing;	/* the deadline of a request runs */
	bool paused;	/* OUT_HIGH was reached */
	bool continued; /* 100 Continue was sent for this request */
	bool loopback;
	SSL *tls;	  /* the bufferevent's; NULL: plain */
	bool shaking;	  /* hands, still */
	struct job *job;  /* WAIT: it makes the reply */
	struct request head; /* BODY, WAIT */
	struct reply reply;  /* WAIT */
	char address[ADDRESS_BYTES];
};

struct listener {
	struct httpd *h;
	SSL_CTX *tls; /* NULL: plain */
	struct evconnlistener *l;
};

struct httpd {
	struct event_base *base;
	struct site *site;
	struct httpd_limits limits;
	struct listener listeners[LISTENERS_MAX];
	u32 listener_count;
	struct list conns;
	u32 count, streams;
	bool stopping;
};

static void conn_work(struct conn *c);

static void conn_free(struct conn *c)
{
	list_del(&c->node);
	c->h->count--;
	c->h->streams -= c->state == CONN_STREAM;
	if (c->job)
		c->job->conn = NULL; /* it goes on, nobody waits */
	reply_fini(&c->reply);
	event_free(c->timer);
	bufferevent_free(c->bev);
	free(c);
}

static void arm(struct conn *c, u32 seconds)
{
	const struct timeval tv = { .tv_sec = seconds };

	evtimer_add(c->timer, &tv);
}

static bool idle(const struct conn *c)
{
	return c->state == CONN_HEAD && !c->timing && !c->paused &&
	       !evbuffer_get_length(bufferevent_get_output(c->bev));
}

/* ---------------------------------------------------------------- sending */

/* Made once a second. */
static const char *date_now(void)
{
	static char text[40];
	static time_t made;
	time_t now = time(NULL);
	struct tm tm;

	if (now != made && gmtime_r(&now, &tm)) {
		strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		made = now;
	}
	return text;
}

static void put_head(struct evbuffer *out, const struct reply *r)
{
	char head[REPLY_FIELDS_MAX + 512], length[48] = "";
	int n;

	if (r->status != 204 && !r->stream)
		fmt_snprintf(length, sizeof(length), "Content-Length: %llu\r\n",
			     (unsigned long long)r->bytes);
	n = fmt_snprintf(head, sizeof(head),
			 "HTTP/1.1 %d %s\r\nDate: %s\r\nServer: freshetd\r\n%s%s%s%s%s"
			 "Cache-Control: %s\r\n%s%s%s%s\r\n",
			 r->status, reply_reason(r->status), date_now(),
			 r->status != 204 ? "Content-Type: " : "", r->status != 204 ? r->type : "",
			 r->status != 204 ? "\r\n" : "", length, r->fields, r->cache,
			 r->allow ? "Allow: " : "", r->allow ? r->allow : "",
			 r->allow ? "\r\n" : "",
			 r->close ? "Connection: close\r\n" : "");
	evbuffer_add(out, head, MIN((size_t)n, sizeof(head) - 1));
}

static void free_data(const void *data, size_t bytes, void *arg)
{
	(void)bytes;
	(void)arg;
	free((void *)(uintptr_t)data);
}

/* The first @bytes of the body; the reply's memory or file goes with it. */
static int put_body(struct evbuffer *out, struct reply *r, u64 bytes)
{
	int err = 0;

	if (!bytes)
		return 0;
	if (r->cached) {
		err = cached_add(out, r->cached, bytes);
	} else if (r->fd >= 0) {
		err = evbuffer_add_file(out, r->fd, 0, (ev_off_t)bytes);
		r->fd = -1; /* closed on failure too */
	} else {
		err = evbuffer_add_reference(out, r->data, bytes, free_data, NULL);
		if (!err)
			r->data = NULL;
	}
	return err ? -ENOMEM : 0;
}

static void finish_output(struct conn *c)
{
	c->state = CONN_LAST;
	bufferevent_disable(c->bev, EV_READ);
	bufferevent_setwatermark(c->bev, EV_WRITE, 0, 0);
	evtimer_del(c->timer);
	if (!evbuffer_get_length(bufferevent_get_output(c->bev)))
		bufferevent_trigger(c->bev, EV_WRITE, BEV_TRIG_DEFER_CALLBACKS |
							       BEV_TRIG_IGNORE_WATERMARKS);
}

/* Queue the reply to the current request. False when the connection is no more to be worked on. */
static bool send_reply(struct conn *c, struct reply *r)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);
	u64 bytes = c->head.method == METHOD_HEAD || r->status == 204 ? 0 : r->bytes;
	int err = 0;

	r->close |= !c->head.keep_alive || c->h->stopping;
	log_dbg("http: %s %s %s status=%d bytes=%llu", c->address,
		request_method_name(c->head.method), c->head.path, r->status,
		(unsigned long long)r->bytes);
	site_count(c->h->site, r, bytes);
	if (r->stream && c->h->streams >= STREAMS_MAX) {
		reply_error(r, 503);
		r->stream = false;
		bytes = r->bytes;
	}
	r->close |= r->stream;
	if (r->manner == REPLY_CUT || r->manner == REPLY_STALL)
		bytes /= 2;
	if (r->manner == REPLY_NOISE)
		evbuffer_add_printf(out, "\001\002 no HTTP \r\n\r\n%s", c->head.path);
	else if (r->manner != REPLY_CLOSE)
		put_head(out, r);
	if (r->manner != REPLY_CLOSE && r->manner != REPLY_NOISE)
		err = put_body(out, r, bytes);
	if (r->manner == REPLY_STALL) {
		c->state = CONN_STUCK;
		arm(c, c->h->limits.idle_s);
		return false;
	}
	if (!err && r->stream) {
		c->state = CONN_STREAM;
		c->h->streams++;
		evtimer_del(c->timer);
		return false;
	}
	if (err || r->close || r->manner != REPLY_WHOLE) {
		finish_output(c);
		return false;
	}
	return true;
}

/* ---------------------------------------------------------------- receiving */

/* The request line or a field is bad: where the next request would begin is unknown. */
static bool refuse(struct conn *c, int status)
{
	struct reply r;

	reply_init(&r);
	site_refuse(&c->head, status, &r);
	r.close = true;
	c->head.method = METHOD_GET;
	memcpy(c->head.path, "-", 2);
	send_reply(c, &r);
	reply_fini(&r);
	return false;
}

static void next_request(struct conn *c)
{
	c->state = CONN_HEAD;
	c->timing = c->continued = false;
	evtimer_del(c->timer);
	if (c->head.body_bytes > IN_HIGH / 2)
		bufferevent_setwatermark(c->bev, EV_READ, 0, IN_HIGH);
}

/* Head and body are there: answer. False to stop working. */
static bool answer(struct conn *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	struct site_request q = {
		.head = &c->head,
		.address = c->address,
		.loopback = c->loopback,
		.tls = c->tls,
	};
	struct reply r;
	bool go_on;

	if (c->head.body_bytes) {
		q.body = evbuffer_pullup(in, (ev_ssize_t)c->head.body_bytes);
		if (!q.body)
			return refuse(c, 503);
	} else {
		q.body = (const u8 *)"";
	}
	site_answer(c->h->site, &q, &r);
	evbuffer_drain(in, c->head.body_bytes);
	next_request(c);
	if (r.job) {
		c->job = r.job;
		c->job->conn = c;
		c->state = CONN_WAIT;
		return false;
	}
	if (r.delay_ms) {
		const struct timeval tv = { r.delay_ms / 1000, r.delay_ms % 1000 * 1000 };

		c->reply = r;
		c->state = CONN_WAIT;
		evtimer_add(c->timer, &tv);
		return false;
	}
	go_on = send_reply(c, &r);
	reply_fini(&r);
	return go_on;
}

static void start_timing(struct conn *c)
{
	if (!c->timing)
		arm(c, c->h->limits.request_s);
	c->timing = true;
}

static bool work_head(struct conn *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	size_t have = evbuffer_get_length(in), used = 0;
	int status, err;
	u8 *p;

	if (!have)
		return false;
	have = MIN(have, (size_t)REQUEST_HEAD_MAX);
	p = evbuffer_pullup(in, (ev_ssize_t)have);
	err = p ? request_parse(&c->head, (const char *)p, have, &used, &status) : -ENOMEM;
	if (err == -EAGAIN) {
		start_timing(c);
		return false;
	}
	if (err)
		return refuse(c, err == -ENOMEM ? 503 : status);
	if (c->head.body_bytes > site_body_max(c->h->site, &c->head))
		return refuse(c, 413);
	evbuffer_drain(in, used);
	if (c->head.body_bytes > IN_HIGH / 2)
		bufferevent_setwatermark(c->bev, EV_READ, 0,
					 c->head.body_bytes + REQUEST_HEAD_MAX);
	c->state = CONN_BODY;
	return true;
}

static bool work_body(struct conn *c)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct evbuffer *in = bufferevent_get_input(c->bev);

	if (evbuffer_get_length(in) >= c->head.body_bytes)
		return answer(c);
	start_timing(c);
	if (c->head.expect_continue && !c->continued) {
		evbuffer_add(bufferevent_get_output(c->bev), go_on, sizeof(go_on) - 1);
		c->continued = true;
	}
	return false;
}

static void conn_work(struct conn *c)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);
	bool go_on = true;

	list_del(&c->node);
	list_add_tail(&c->h->conns, &c->node);
	while (go_on) {
		if (evbuffer_get_length(out) >= OUT_HIGH) {
			c->paused = true;
			evtimer_del(c->timer);
			c->timing = false;
			bufferevent_disable(c->bev, EV_READ);
			return;
		}
		if (c->state == CONN_HEAD)
			go_on = work_head(c);
		else if (c->state == CONN_BODY)
			go_on = work_body(c);
		else
			return;
	}
	/* Between requests: the peer may stay for a while. */
	if (c->state == CONN_HEAD && !c->timing)
		arm(c, c->h->limits.idle_s);
}

/* ---------------------------------------------------------------- events */

static void on_read(struct bufferevent *bev, void *arg)
{
	struct evbuffer *in = bufferevent_get_input(bev);
	struct conn *c = arg;

	if (c->state == CONN_LINGER || c->state == CONN_STUCK || c->state == CONN_STREAM)
		evbuffer_drain(in, evbuffer_get_length(in));
	else if (!c->paused)
		conn_work(c);
}

/* Output fell to OUT_LOW, or in LAST to nothing. */
static void on_write(struct bufferevent *bev, void *arg)
{
	struct conn *c = arg;

	if (c->state == CONN_LAST && !evbuffer_get_length(bufferevent_get_output(bev))) {
		c->state = CONN_LINGER;
		if (c->tls)
			SSL_shutdown(c->tls); /* close_notify, so that the end is seen as meant */
		shutdown(bufferevent_getfd(bev), SHUT_WR);
		evbuffer_drain(bufferevent_get_input(bev), IN_HIGH * 2);
		bufferevent_enable(bev, EV_READ);
		arm(c, LINGER_S);
	} else if (c->paused && evbuffer_get_length(bufferevent_get_output(bev)) <= OUT_LOW) {
		c->paused = false;
		bufferevent_enable(bev, EV_READ);
		conn_work(c);
	}
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct conn *c = arg;

	if (what & BEV_EVENT_CONNECTED) {
		c->shaking = false;
		arm(c, c->h->limits.idle_s);
		return;
	}
	/*
	 * The peer has sent all it will, but may still want its answers: "printf | nc".
	 * All of them are queued by now: while some are not, reading is off, and so is
	 * the news of the end.
	 */
	if (what == (BEV_EVENT_READING | BEV_EVENT_EOF) &&
	    (c->state == CONN_HEAD || c->state == CONN_BODY) &&
	    evbuffer_get_length(bufferevent_get_output(bev)))
		finish_output(c);
	else
		conn_free(c);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	struct reply r;
	bool go_on;

	(void)fd;
	(void)what;
	if (c->state == CONN_WAIT) {
		r = c->reply;
		reply_init(&c->reply);
		c->state = CONN_HEAD;
		go_on = send_reply(c, &r);
		reply_fini(&r);
		if (go_on)
			conn_work(c);
	} else if (c->shaking) {
		conn_free(c);
	} else if (c->timing && (c->state == CONN_HEAD || c->state == CONN_BODY)) {
		refuse(c, 408);
	} else if (c->state == CONN_HEAD && evbuffer_get_length(bufferevent_get_output(c->bev))) {
		arm(c, c->h->limits.idle_s); /* still sending: the write time-out watches that */
	} else {
		conn_free(c);
	}
}

/* ---------------------------------------------------------------- accepting */

static bool make_room(struct httpd *h)
{
	struct conn *c;

	if (h->count < h->limits.connections)
		return true;
	list_for_each(c, &h->conns, node) {
		if (idle(c)) {
			conn_free(c);
			return true;
		}
	}
	return false;
}

static void format_address(struct conn *c, const struct sockaddr *sa)
{
	char text[INET6_ADDRSTRLEN] = "?";
	const struct sockaddr_in *v4 = (const void *)sa;
	const struct sockaddr_in6 *v6 = (const void *)sa;

	if (sa->sa_family == AF_INET) {
		inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text));
		c->loopback = ntohl(v4->sin_addr.s_addr) >> 24 == 127;
	} else if (sa->sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text));
		c->loopback = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
			      (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) &&
			       v6->sin6_addr.s6_addr[12] == 127);
	}
	fmt_snprintf(c->address, sizeof(c->address), "%s", text);
}

static struct bufferevent *new_bufferevent(struct conn *c, struct listener *from, int fd)
{
	struct bufferevent *bev;

	if (!from->tls)
		return bufferevent_socket_new(c->h->base, fd, BEV_OPT_CLOSE_ON_FREE);
	c->tls = SSL_new(from->tls);
	if (!c->tls)
		return NULL;
	bev = bufferevent_openssl_socket_new(c->h->base, fd, c->tls, BUFFEREVENT_SSL_ACCEPTING,
					     BEV_OPT_CLOSE_ON_FREE);
	if (bev) {
		bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
		c->shaking = true;
	}
	return bev;
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int len,
		      void *arg)
{
	struct listener *from = arg;
	struct httpd *h = from->h;
	struct timeval stall = { .tv_sec = h->limits.stall_s };
	struct conn *c = make_room(h) ? calloc(1, sizeof(*c)) : NULL;
	int one = 1;

	(void)l;
	(void)len;
	if (!c) {
		log_limited(LOG_WARN, "http: too many connections limit=%u",
			    h->limits.connections);
		close(fd);
		return;
	}
	c->h = h;
	reply_init(&c->reply);
	c->timer = evtimer_new(h->base, on_timer, c);
	c->bev = new_bufferevent(c, from, fd);
	if (!c->timer || !c->bev) {
		if (c->timer)
			event_free(c->timer);
		if (c->bev) {
			bufferevent_free(c->bev);
		} else {
			SSL_free(c->tls);
			close(fd);
		}
		free(c);
		return;
	}
	format_address(c, sa);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	list_add_tail(&h->conns, &c->node);
	h->count++;
	bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
	bufferevent_setwatermark(c->bev, EV_READ, 0, IN_HIGH);
	bufferevent_setwatermark(c->bev, EV_WRITE, OUT_LOW, 0);
	bufferevent_set_max_single_write(c->bev, WRITE_AT_ONCE);
	bufferevent_set_timeouts(c->bev, NULL, &stall);
	bufferevent_enable(c->bev, EV_READ | EV_WRITE);
	arm(c, c->shaking ? h->limits.request_s : h->limits.idle_s);
}

static void on_accept_error(struct evconnlistener *l, void *arg)
{
	(void)l;
	(void)arg;
	log_limited(LOG_ERR, "http: accept failed err=%s", strerror(errno));
}

/**
 * httpd_create() - a server of @site on @base, not listening yet
 *
 * Return: 0 or -ENOMEM.
 */
int httpd_create(struct httpd **out, struct event_base *base, struct site *site,
		 const struct httpd_limits *limits)
{
	struct httpd *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->base = base;
	h->site = site;
	h->limits = *limits;
	list_init(&h->conns);
	*out = h;
	return 0;
}

/* "127.0.0.1:8080" or "[::1]:8080"; libevent's own parser refuses port 0. */
static int parse_address(const char *text, struct sockaddr_storage *ss, int *len)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ss;
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN + 2];
	u32 port = 0;
	size_t n;

	if (!colon || (size_t)(colon - text) >= sizeof(host) || !colon[1] || strlen(colon) > 6)
		return -EINVAL;
	for (const char *p = colon + 1; *p; p++) {
		if (*p < '0' || *p > '9')
			return -EINVAL;
		port = port * 10 + (u32)(*p - '0');
	}
	n = (size_t)(colon - text);
	memcpy(host, text, n);
	host[n] = 0;
	memset(ss, 0, sizeof(*ss));
	if (port > 65535)
		return -EINVAL;
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((u16)port);
		*len = sizeof(*v4);
		return 0;
	}
	if (n < 3 || host[0] != '[' || host[n - 1] != ']')
		return -EINVAL;
	host[n - 1] = 0;
	if (inet_pton(AF_INET6, host + 1, &v6->sin6_addr) != 1)
		return -EINVAL;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((u16)port);
	*len = sizeof(*v6);
	return 0;
}

/**
 * httpd_listen() - accept connections at @address, "127.0.0.1:8080" or "[::]:8080"
 *
 * @tls: NULL: plain
 *
 * Port 0 takes a free one; the log says which.
 * Return: 0; -EINVAL for what is no address; -ENOSPC; errors of bind(2).
 */
int httpd_listen(struct httpd *h, const char *address, SSL_CTX *tls)
{
	struct listener *at = &h->listeners[h->listener_count];
	struct sockaddr_storage ss;
	char text[INET6_ADDRSTRLEN] = "?";
	struct evconnlistener *l;
	socklen_t got = sizeof(ss);
	u16 port;
	int len;

	if (h->listener_count == LISTENERS_MAX)
		return -ENOSPC;
	if (parse_address(address, &ss, &len))
		return -EINVAL;
	errno = 0;
	at->h = h;
	at->tls = tls;
	l = evconnlistener_new_bind(h->base, on_accept, at,
				    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC |
					    LEV_OPT_REUSEABLE,
				    511, (struct sockaddr *)&ss, len);
	if (!l)
		return errno ? -errno : -EIO;
	evconnlistener_set_error_cb(l, on_accept_error);
	at->l = l;
	h->listener_count++;
	getsockname(evconnlistener_get_fd(l), (struct sockaddr *)&ss, &got);
	if (ss.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&ss)->sin6_addr, text, sizeof(text));
		port = ntohs(((struct sockaddr_in6 *)&ss)->sin6_port);
	} else {
		inet_ntop(AF_INET, &((struct sockaddr_in *)&ss)->sin_addr, text, sizeof(text));
		port = ntohs(((struct sockaddr_in *)&ss)->sin_port);
	}
	log_info("freshetd: listening address=%s port=%u%s", text, port, tls ? " tls=1" : "");
	return 0;
}

/** httpd_stop() - no new connections; idle ones go, the others after their reply */
void httpd_stop(struct httpd *h)
{
	struct conn *c, *tmp;

	h->stopping = true;
	for (u32 i = 0; i < h->listener_count; i++)
		evconnlistener_free(h->listeners[i].l);
	h->listener_count = 0;
	list_for_each_safe(c, tmp, &h->conns, node) {
		if (idle(c) || c->state == CONN_STREAM)
			conn_free(c);
		else if (c->state == CONN_HEAD && !c->timing && !c->paused)
			finish_output(c);
	}
}

/** httpd_publish() - add @text to all event streams */
void httpd_publish(struct httpd *h, const char *text, size_t bytes)
{
	struct conn *c, *tmp;

	if (!h->streams)
		return;
	list_for_each_safe(c, tmp, &h->conns, node) {
		struct evbuffer *out = bufferevent_get_output(c->bev);

		if (c->state != CONN_STREAM)
			continue;
		if (evbuffer_get_length(out) > STREAM_HIGH)
			conn_free(c);
		else
			evbuffer_add(out, text, bytes);
	}
}

/** httpd_job_done() - the reply that @conn waits for; takes it */
void httpd_job_done(void *conn, struct reply *r)
{
	struct conn *c = conn;
	bool go_on;

	c->job = NULL;
	c->state = CONN_HEAD;
	go_on = send_reply(c, r);
	reply_fini(r);
	if (go_on)
		conn_work(c);
}

/** httpd_streams() - how many watch */
u32 httpd_streams(const struct httpd *h)
{
	return h->streams;
}

/** httpd_connections() - how many there are */
u32 httpd_connections(const struct httpd *h)
{
	return h->count;
}

/** httpd_destroy() - end everything at once; NULL is fine */
void httpd_destroy(struct httpd *h)
{
	struct conn *c, *tmp;

	if (!h)
		return;
	for (u32 i = 0; i < h->listener_count; i++)
		evconnlistener_free(h->listeners[i].l);
	list_for_each_safe(c, tmp, &h->conns, node)
		conn_free(c);
	free(h);
}
