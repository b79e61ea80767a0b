/*
 * conn.c - one HTTP connection: bytes between lwIP and the requests on it
 *
 * States: CLOSED -> CONNECTING (-> HANDSHAKE, with TLS) -> OPEN -> CLOSED. lwIP's
 * callbacks only note what happened (a buffer queued, an end, an error); everything is acted upon
 * from the client's poll, so that no callback ever frees its own connection
 * or runs a requester's code.
 *
 * Received buffers wait in a ring and keep the TCP window closed until they
 * are consumed: a poll that has used up its budget of plain bytes leaves the
 * rest there, and the server is slowed down by that alone. With TLS they are
 * consumed by the record layer, which decrypts into a small buffer of ours; that
 * buffer is emptied first.
 *
 * Answers come in the order of the requests (slots). A chunk is inflated and
 * hashed piece by piece as it arrives, straight into the requester's buffer,
 * which is never touched again after a cancel. When a connection ends, slots
 * whose answers are missing go back to the client in order; only the one that
 * was being answered is held responsible.
 */
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "net/client/client_priv.h"

static u32 rx_pop(struct conn *k)
{
	struct pbuf *p = k->rxq[k->rx_head];
	u32 bytes = p->len;

	k->rx_head = (k->rx_head + 1) % CONN_RXQ;
	k->rx_count--;
	k->rx_off = 0;
	pbuf_free(p);
	return bytes;
}

/* ---------------------------------------------------------------- lwIP's callbacks */

static err_t on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
	struct conn *k = arg;

	(void)pcb;
	(void)err;
	if (!p) {
		k->eof = true;
		return ERR_OK;
	}
	if (k->rx_count + pbuf_clen(p) > CONN_RXQ)
		return ERR_MEM; /* lwIP keeps it and offers it again */
	k->since_ns = plat_time_ns();
	while (p) {
		struct pbuf *rest = p->next;

		/* the chain holds the reference to its rest; take it over */
		if (rest) {
			pbuf_ref(rest);
			pbuf_dechain(p);
		}
		k->rxq[(k->rx_head + k->rx_count++) % CONN_RXQ] = p;
		p = rest;
	}
	return ERR_OK;
}

static void on_err(void *arg, err_t err)
{
	struct conn *k = arg;

	k->pcb = NULL;
	if (k->state == CONN_CONNECTING)
		k->lost = err == ERR_RST ? -ECONNREFUSED : -ETIMEDOUT;
	else
		k->lost = err == ERR_RST ? -ECONNRESET : -ECONNABORTED;
}

/*
 * A peer whose first window holds not one segment of the smallest size that
 * every host takes (RFC 9293, 3.7.1) can serve nobody. lwIP moreover cuts
 * segments by half of the largest window it has seen, and an assertion of its
 * tcp_write() ends the VMM when that size shrinks with data waiting, which it
 * does once: as the first window opens after none.
 */
#define WINDOW_MIN 536

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t err)
{
	struct conn *k = arg;

	(void)err;
	if (pcb->snd_wnd_max < WINDOW_MIN) {
		k->lost = -ECONNABORTED;
		return ERR_OK;
	}
	k->state = conn_tls(k) ? CONN_HANDSHAKE : CONN_OPEN;
	k->since_ns = k->response_ns = plat_time_ns();
	return ERR_OK;
}

/* ---------------------------------------------------------------- the wire, as TLS sees it */

static int wire_send(void *ctx, const void *data, size_t bytes)
{
	struct conn *k = ctx;
	size_t n = k->pcb ? MIN(bytes, (size_t)tcp_sndbuf(k->pcb)) : 0;

	if (!n || tcp_write(k->pcb, data, (u16_t)n, TCP_WRITE_FLAG_COPY) != ERR_OK)
		return -EAGAIN;
	tcp_output(k->pcb);
	return (int)n;
}

/* Of the first buffer, @used bytes more are done with. */
static void rx_consume(struct conn *k, size_t used)
{
	k->rx_off += (u32)used;
	if (k->rx_off < k->rxq[k->rx_head]->len)
		return;
	used = rx_pop(k);
	if (k->pcb)
		tcp_recved(k->pcb, (u16_t)used);
}

static int wire_recv(void *ctx, void *out, size_t room)
{
	struct conn *k = ctx;
	const struct pbuf *p = k->rxq[k->rx_head];
	size_t n;

	if (!k->rx_count)
		return k->eof ? 0 : -EAGAIN;
	n = MIN(room, (size_t)(p->len - k->rx_off));
	memcpy(out, (const u8 *)p->payload + k->rx_off, n);
	rx_consume(k, n);
	return (int)n;
}

const struct tls_wire conn_wire = { .send = wire_send, .recv = wire_recv };

/* ---------------------------------------------------------------- open, close */

/* Forget the pcb and everything received; the slots stay. */
static void conn_reset(struct conn *k, bool graceful)
{
	struct tcp_pcb *pcb = k->pcb;

	if (pcb) {
		if (conn_tls(k) && graceful && k->state == CONN_OPEN)
			tls_end(conn_tls(k));
		tcp_arg(pcb, NULL);
		tcp_recv(pcb, NULL);
		tcp_err(pcb, NULL);
		if (!graceful || tcp_close(pcb) != ERR_OK)
			tcp_abort(pcb);
		k->pcb = NULL;
	}
	while (k->rx_count)
		rx_pop(k);
	k->plain_at = k->plain_bytes = 0;
	k->state = CONN_CLOSED;
	k->lost = 0;
	k->eof = false;
}

void conn_drop(struct conn *k, int err)
{
	bool begun = http_started(&k->parser);
	bool worked = k->served > 0, was_open = k->state == CONN_OPEN;
	u32 count = k->count;

	if (was_open && err)
		log_limited(LOG_WARN, "client: connection lost conn=%u err=%s waiting=%u", k->index,
			    err_name(err), count);
	conn_reset(k, !err);
	k->count = 0;
	/* from the last to the first, so that going back to a queue's front keeps the order */
	for (u32 i = count; i-- > 0;)
		client_slot_lost(k, *conn_slot(k, i), err, i == 0,
				 i > 0 || (worked && !begun));
	if (err)
		client_conn_failed(k, err, worked);
}

void conn_close(struct conn *k)
{
	conn_reset(k, true);
}

void conn_connect(struct conn *k)
{
	const struct source_url *u;
	ip_addr_t ip;
	err_t err;

	k->mirror = mirror_of(k->c, k->index);
	u = k->mirror ? k->mirror->url : NULL;
	http_parser_init(&k->parser);
	k->served = 0;
	k->head = k->count = 0;
	k->discarded = 0;
	k->lost = 0;
	k->eof = false;
	k->since_ns = plat_time_ns();
	k->state = CONN_CONNECTING;
	k->c->n.connects++;
	k->pcb = conn_tls(k) && tls_begin(conn_tls(k)) ? NULL : tcp_new();
	if (!k->pcb) {
		k->lost = -ENOMEM;
		return;
	}
	tcp_arg(k->pcb, k);
	tcp_err(k->pcb, on_err);
	tcp_recv(k->pcb, on_recv);
	tcp_nagle_disable(k->pcb);
	ip_addr_set_ip4_u32(&ip, lwip_htonl(u ? u->ip : k->c->o.ip));
	err = tcp_connect(k->pcb, &ip, u ? (u16_t)u->port : k->c->o.port, on_connected);
	if (err != ERR_OK)
		k->lost = err == ERR_RTE ? -ENETUNREACH : -ENOMEM;
}

/* ---------------------------------------------------------------- send */

/* Room for all of a request, so that it never goes out by halves? */
static bool has_room(const struct conn *k, size_t bytes)
{
	if (conn_tls(k))
		return tcp_sndbuf(k->pcb) >= tls_room(bytes) &&
		       tcp_sndqueuelen(k->pcb) + SENDQ_TLS <= TCP_SND_QUEUELEN;
	return tcp_sndbuf(k->pcb) >= bytes && tcp_sndqueuelen(k->pcb) + SENDQ <= TCP_SND_QUEUELEN;
}

static int put(struct conn *k, const void *data, size_t bytes)
{
	if (conn_tls(k))
		return tls_write(conn_tls(k), data, bytes);
	return tcp_write(k->pcb, data, (u16_t)bytes, TCP_WRITE_FLAG_COPY) == ERR_OK ? 0 : -EAGAIN;
}

int conn_send(struct conn *k, struct slot s, const char *method, const char *path,
	      const void *body, s64 body_bytes)
{
	char head[512];
	const char *bearer = conn_tls(k) && s.kind != SLOT_CHUNK ? k->c->bearer : NULL;
	int n = http_request_as(head, sizeof(head), method, path,
				k->mirror ? k->mirror->host : k->c->host, bearer, body_bytes);
	int err;
	u32 extra = body_bytes > 0 ? (u32)body_bytes : 0;

	if (n < 0)
		return -EINVAL;
	if (k->count == CLIENT_DEPTH_MAX || !has_room(k, (u32)n + extra))
		return -EAGAIN;
	err = put(k, head, (size_t)n);
	if (err == -EAGAIN)
		return err;
	if (!k->count)
		k->since_ns = k->response_ns = plat_time_ns();
	*conn_slot(k, k->count++) = s;
	k->c->n.requests++;
	if (err || (extra && put(k, body, extra))) {
		conn_drop(k, -ENOMEM);
		return -ENOMEM;
	}
	tcp_output(k->pcb);
	return 0;
}

/* ---------------------------------------------------------------- receive */

static int response_head(struct conn *k)
{
	const struct http_parser *p = &k->parser;
	struct slot *s = conn_slot(k, 0);

	k->body_err = 0;
	k->discarded = 0;
	k->want_body = p->status == 200 && (s->kind == SLOT_CHUNK || s->kind == SLOT_DOC);
	if (!k->want_body)
		return 0;
	if (s->kind == SLOT_CHUNK) {
		chunk_decoder_start(&k->dec, s->req->buf, s->req->plain_bytes);
		crypto_sha256_init(&k->sha);
		k->hashed = 0;
	} else {
		s->doc->bytes = 0;
	}
	return 0;
}

static void chunk_body(struct conn *k, const u8 *in, size_t n)
{
	int r = chunk_decoder_feed(&k->dec, in, n);

	if (r < 0) {
		k->body_err = -EBADMSG;
		k->want_body = false;
		return;
	}
	crypto_sha256_update(&k->sha, k->dec.out + k->hashed, k->dec.done - k->hashed);
	k->c->made += k->dec.done - k->hashed;
	k->hashed = k->dec.done;
}

static void doc_body(struct conn *k, struct source_doc *d, const u8 *in, size_t n)
{
	if (n > d->room - d->bytes) {
		k->body_err = -EMSGSIZE;
		k->want_body = false;
		return;
	}
	memcpy((u8 *)d->buf + d->bytes, in, n);
	d->bytes += (u32)n;
}

static int response_body(struct conn *k, const u8 *in, size_t n)
{
	struct slot *s = conn_slot(k, 0);

	k->c->st.wire_bytes += n;
	/* A cancelled request's buffer is not ours any more. */
	if (s->kind == SLOT_GONE)
		k->want_body = false;
	if (!k->want_body) {
		k->discarded += n;
		return k->discarded > DISCARD_MAX ? -EMSGSIZE : 0;
	}
	if (s->kind == SLOT_CHUNK)
		chunk_body(k, in, n);
	else
		doc_body(k, s->doc, in, n);
	return 0;
}

/* Is what arrived the chunk that was asked for? */
static int chunk_verdict(struct conn *k, const struct source_req *r)
{
	u8 digest[SHA256_BYTES];

	if (k->body_err || k->dec.done != r->plain_bytes || k->dec.err != 1)
		return -EBADMSG;
	crypto_sha256_final(&k->sha, digest);
	return memcmp(digest, r->digest, SHA256_BYTES) ? -EBADMSG : 0;
}

/* Returns true when the connection ends with this response. */
static bool response_end(struct conn *k)
{
	struct slot s = *conn_slot(k, 0);
	u32 status = k->parser.status;
	bool last;
	int err = 0;

	if (status == 200 && s.kind == SLOT_CHUNK)
		err = chunk_verdict(k, s.req);
	else if (status == 200 && s.kind == SLOT_DOC)
		err = k->body_err;
	else if (status != 200)
		err = status == 404 ? -ENOENT : -EIO;
	k->head = (k->head + 1) % CLIENT_DEPTH_MAX;
	k->count--;
	k->served++;
	k->response_ns = k->since_ns = plat_time_ns();
	client_slot_done(k, s, err, status);
	last = k->parser.close;
	http_parser_next(&k->parser);
	return last;
}

/*
 * Feed one buffer's rest to the parser. Returns 0 with *used set: all of it,
 * or up to the end of a response when the budget is used up; a negative
 * number: the connection is of no more use; 1: it ended in good order.
 */
static int feed(struct conn *k, const u8 *in, size_t n, size_t *used)
{
	size_t at = 0, step, body_bytes;
	const u8 *body;
	int err;

	for (;;) {
		if (!k->count && at < n)
			return -EPROTO; /* nobody asked */
		switch (http_parse(&k->parser, in + at, n - at, &step, &body, &body_bytes)) {
		case HTTP_HEAD:
			err = response_head(k);
			break;
		case HTTP_BODY:
			err = response_body(k, body, body_bytes);
			break;
		case HTTP_END:
			*used = at + step;
			if (response_end(k))
				return 1;
			if (k->c->made >= k->c->o.budget_bytes)
				return 0;
			err = 0;
			break;
		case HTTP_MORE:
			*used = n;
			return 0;
		default:
			return -EPROTO;
		}
		if (err)
			return err;
		at += step;
	}
}

/* The peer closed, everything it sent has been parsed. */
static void ended(struct conn *k)
{
	if (k->count && http_started(&k->parser) && http_parse_eof(&k->parser) == HTTP_END) {
		response_end(k);
		conn_drop(k, 0);
		return;
	}
	/* Closing an idle connection is a server's right. */
	conn_drop(k, k->count ? -ECONNRESET : 0);
}

/* True: it is over, and requests may be sent. */
static bool handshake(struct conn *k)
{
	int err = tls_handshake(conn_tls(k));

	switch (err) {
	case 0:
		k->state = CONN_OPEN;
		k->since_ns = plat_time_ns();
		return true;
	case -EINPROGRESS:
		k->since_ns = plat_time_ns();
		k->c->more = true;
		return false;
	case -EAGAIN:
		if (k->lost)
			conn_drop(k, k->lost);
		return false;
	default:
		conn_drop(k, err);
		return false;
	}
}

/* What there is to parse: 1 and where; 0 nothing now; the connection's end: others. */
static int input(struct conn *k, const u8 **in, size_t *n)
{
	int got;

	if (!conn_tls(k)) {
		if (!k->rx_count)
			return 0;
		*in = (const u8 *)k->rxq[k->rx_head]->payload + k->rx_off;
		*n = k->rxq[k->rx_head]->len - k->rx_off;
		return 1;
	}
	if (k->plain_at == k->plain_bytes) {
		got = tls_read(conn_tls(k), k->plain, sizeof(k->plain));
		if (!got)
			k->eof = true; /* as meant; what follows is not looked at */
		if (got == -ECONNRESET && !k->count)
			got = 0; /* nothing is cut short by that */
		if (got <= 0)
			return got == -EAGAIN ? 0 : got;
		k->plain_at = 0;
		k->plain_bytes = (u32)got;
	}
	*in = k->plain + k->plain_at;
	*n = k->plain_bytes - k->plain_at;
	return 1;
}

static void consume(struct conn *k, size_t used)
{
	if (conn_tls(k))
		k->plain_at += (u32)used;
	else
		rx_consume(k, used);
}

void conn_process(struct conn *k)
{
	struct client *c = k->c;
	const u8 *in = NULL;
	size_t n = 0, used;
	int r;

	if (k->state == CONN_CLOSED)
		return;
	if (k->state == CONN_HANDSHAKE && !handshake(k))
		return;
	if (k->state == CONN_OPEN && !k->served && !k->lost)
		client_conn_up(k);
	for (;;) {
		if (c->made >= c->o.budget_bytes && conn_rx_pending(k)) {
			c->more = true;
			return;
		}
		r = k->state == CONN_OPEN ? input(k, &in, &n) : 0;
		if (!r)
			break;
		if (r > 0) {
			used = 0;
			r = feed(k, in, n, &used);
			if (!r) {
				consume(k, used);
				continue;
			}
		}
		conn_drop(k, MIN(r, 0));
		return;
	}
	if (k->lost)
		conn_drop(k, k->lost);
	else if (k->eof)
		ended(k);
}

bool conn_rx_pending(const struct conn *k)
{
	return k->rx_count || k->plain_at < k->plain_bytes || k->lost || k->eof ||
	       (conn_tls(k) && k->state == CONN_OPEN && tls_pending(conn_tls(k)));
}

/* ---------------------------------------------------------------- time */

void conn_timeouts(struct conn *k, u64 now)
{
	bool late = false;

	if (k->state == CONN_CLOSED || conn_rx_pending(k))
		return;
	if (k->state == CONN_CONNECTING)
		late = now >= k->since_ns + CONNECT_NS;
	else if (k->state == CONN_HANDSHAKE)
		late = now >= k->since_ns + SILENCE_NS || now >= k->response_ns + HANDSHAKE_NS;
	else if (k->count)
		late = now >= k->since_ns + SILENCE_NS || now >= k->response_ns + RESPONSE_NS;
	else if (now >= k->since_ns + IDLE_CLOSE_NS)
		conn_close(k);
	if (!late)
		return;
	k->c->n.timeouts++;
	conn_drop(k, -ETIMEDOUT);
}

int conn_pending(const struct conn *k)
{
	int best = NONE_PENDING;

	for (u32 i = 0; i < k->count; i++) {
		const struct slot *s = &k->slots[(k->head + i) % CLIENT_DEPTH_MAX];

		if (s->kind == SLOT_CHUNK)
			best = MIN(best, (int)s->req->prio);
	}
	return best;
}

u64 conn_deadline(const struct conn *k)
{
	if (k->state == CONN_CLOSED)
		return ~0ull;
	if (k->state == CONN_CONNECTING)
		return k->since_ns + CONNECT_NS;
	if (k->state == CONN_HANDSHAKE)
		return MIN(k->since_ns + SILENCE_NS, k->response_ns + HANDSHAKE_NS);
	if (k->count)
		return MIN(k->since_ns + SILENCE_NS, k->response_ns + RESPONSE_NS);
	return k->since_ns + IDLE_CLOSE_NS;
}
