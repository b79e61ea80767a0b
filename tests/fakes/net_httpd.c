/*
 * net_httpd.c - a small HTTP server on lwIP's raw API that can misbehave
 */
#include "tests/fakes/net_httpd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/plat.h"
#include "lwip/tcp.h"
#include "tests/fakes/net_tlsd.h"

#define CONNS 16
#define IN_BYTES 65536

struct hconn {
	struct httpd *h;
	struct tcp_pcb *pcb;
	char in[IN_BYTES];
	u32 in_bytes;
	u8 *out;
	u32 out_bytes, out_sent;
	bool answering; /* a response is being sent */
	bool end, reset, stuck;
	u64 not_before;
	u32 dribble;
	u64 dribble_next;
	struct tlsd *tls; /* NULL: plain */
	u8 wire[TCP_MSS]; /* of TLS, on their way to lwIP */
	u32 wire_bytes, wire_sent;
};

static struct hconn *conns[CONNS];

/* Bytes of TLS to the wire, as far as there is room. False: this is where it is cut. */
static bool send_wire(struct hconn *k)
{
	while (k->tls) {
		u32 room = sizeof(k->wire);

		if (k->h->cut_wire_at > 0)
			room = MIN(room, (u32)k->h->cut_wire_at - k->wire_sent);
		if (!room)
			return false;
		if (!k->wire_bytes)
			k->wire_bytes = tlsd_take(k->tls, k->wire, room);
		if (!k->wire_bytes || tcp_sndbuf(k->pcb) < k->wire_bytes ||
		    tcp_write(k->pcb, k->wire, (u16_t)k->wire_bytes, TCP_WRITE_FLAG_COPY))
			break;
		k->wire_sent += k->wire_bytes;
		k->wire_bytes = 0;
	}
	tcp_output(k->pcb);
	return true;
}

static bool wire_busy(const struct hconn *k)
{
	return k->tls && (k->wire_bytes || tlsd_pending(k->tls));
}

static void hconn_free(struct hconn *k, bool reset)
{
	for (u32 i = 0; i < CONNS; i++)
		if (conns[i] == k)
			conns[i] = NULL;
	k->h->open--;
	if (k->tls && k->pcb && !reset && !k->h->rude) {
		tlsd_shutdown(k->tls);
		send_wire(k);
	}
	tlsd_free(k->tls);
	if (k->pcb) {
		tcp_arg(k->pcb, NULL);
		tcp_recv(k->pcb, NULL);
		tcp_err(k->pcb, NULL);
		if (reset || tcp_close(k->pcb) != ERR_OK)
			tcp_abort(k->pcb);
	}
	free(k->out);
	free(k);
}

static void append(struct hconn *k, const void *p, u32 n)
{
	if (!n)
		return;
	k->out = realloc(k->out, k->out_bytes + n + 1);
	memcpy(k->out + k->out_bytes, p, n);
	k->out_bytes += n;
}

static void build(struct hconn *k, const struct httpd_reply *r)
{
	char head[400];
	u32 n;

	if (r->garbage) {
		append(k, r->garbage, (u32)strlen(r->garbage));
		return;
	}
	n = (u32)snprintf(head, sizeof(head), "HTTP/1.1 %u Whatever\r\nServer: fake\r\n%s",
			  r->status ? r->status : 200, r->close ? "Connection: close\r\n" : "");
	append(k, head, n);
	if (r->chunked)
		n = (u32)snprintf(head, sizeof(head), "Transfer-Encoding: chunked\r\n\r\n");
	else if (r->no_length)
		n = (u32)snprintf(head, sizeof(head), "\r\n");
	else
		n = (u32)snprintf(head, sizeof(head), "Content-Length: %u\r\n\r\n", r->bytes);
	append(k, head, n);
	if (!r->chunked) {
		append(k, r->body, r->bytes);
		return;
	}
	for (u32 at = 0; at < r->bytes; at += 1000) {
		u32 part = MIN(1000u, r->bytes - at);

		n = (u32)snprintf(head, sizeof(head), "%x;x=y\r\n", part);
		append(k, head, n);
		append(k, (const u8 *)r->body + at, part);
		append(k, "\r\n", 2);
	}
	append(k, "0\r\nTrailer: x\r\n\r\n", 17);
}

static u32 requests_in(const struct hconn *k)
{
	u32 n = 0;

	for (u32 i = 0; i + 4 <= k->in_bytes; i++)
		n += !memcmp(k->in + i, "\r\n\r\n", 4);
	return n;
}

/* Take the next complete request off the input, if there is one. */
static bool next_request(struct hconn *k, char *line, size_t room)
{
	char *end, *sp, *cl;
	u32 total, body = 0;

	k->in[k->in_bytes] = 0;
	end = strstr(k->in, "\r\n\r\n");
	if (!end)
		return false;
	cl = strstr(k->in, "Content-Length: ");
	if (cl && cl < end)
		body = (u32)atoi(cl + 16);
	total = (u32)(end + 4 - k->in) + body;
	if (total > k->in_bytes)
		return false;
	snprintf(line, room, "%.*s", (int)(strchr(k->in, '\r') - k->in), k->in);
	sp = strrchr(line, ' ');
	if (sp)
		*sp = 0;
	memmove(k->in, k->in + total, k->in_bytes - total);
	k->in_bytes -= total;
	return true;
}

static void answer(struct hconn *k)
{
	struct httpd_reply r = { .cut_at = -1 };
	char line[600];

	if (k->answering || k->stuck)
		return;
	k->h->most_pipelined = MAX(k->h->most_pipelined, requests_in(k));
	if (!next_request(k, line, sizeof(line)))
		return;
	k->h->requests++;
	k->h->handle(k->h->ctx, line, &r);
	if (r.silent) {
		k->stuck = true;
		return;
	}
	k->out_bytes = k->out_sent = 0;
	build(k, &r);
	k->end = r.close || r.no_length || r.cut_at >= 0;
	k->reset = r.cut_reset;
	if (r.cut_at >= 0)
		k->out_bytes = MIN(k->out_bytes, (u32)r.cut_at);
	k->answering = true;
	k->not_before = plat_time_ns() + r.delay_ns;
	k->dribble = r.dribble;
	k->dribble_next = k->not_before;
}

/* Of @n bytes of an answer so many were taken. */
static u32 send_some(struct hconn *k, const u8 *p, u32 n)
{
	if (k->tls) {
		if (tlsd_pending(k->tls) > TCP_SND_BUF)
			return 0;
		tlsd_write(k->tls, p, n);
		return n;
	}
	if (n && tcp_write(k->pcb, p, (u16_t)n, TCP_WRITE_FLAG_COPY) != ERR_OK)
		return 0;
	return n;
}

/* Send what fits. False when the connection is gone. */
static bool push(struct hconn *k)
{
	u64 now = plat_time_ns();

	for (;;) {
		u32 n;

		if (!send_wire(k)) {
			hconn_free(k, k->h->cut_reset);
			return false;
		}
		answer(k);
		if (!k->answering || now < k->not_before)
			return true;
		n = MIN(k->out_bytes - k->out_sent, (u32)tcp_sndbuf(k->pcb));
		n = MIN(n, 8u * 1460);
		if (k->dribble) {
			if (now < k->dribble_next)
				return true;
			n = MIN(n, k->dribble);
			k->dribble_next = now + NS_PER_SEC;
		}
		n = send_some(k, k->out + k->out_sent, n);
		k->out_sent += n;
		if (!send_wire(k)) {
			hconn_free(k, k->h->cut_reset);
			return false;
		}
		tcp_output(k->pcb);
		if (k->out_sent < k->out_bytes) {
			if (!n)
				return true;
			continue;
		}
		if (wire_busy(k))
			return true;
		k->answering = false;
		if (k->end) {
			hconn_free(k, k->reset);
			return false;
		}
	}
}

static void take_tls(struct hconn *k, const struct pbuf *p)
{
	int n;

	for (; p; p = p->next)
		tlsd_feed(k->tls, p->payload, p->len);
	while ((n = tlsd_read(k->tls, k->in + k->in_bytes, IN_BYTES - 1 - k->in_bytes)) > 0)
		k->in_bytes += (u32)n;
}

static err_t on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
	struct hconn *k = arg;

	(void)pcb;
	(void)err;
	if (!p) {
		hconn_free(k, false);
		return ERR_OK;
	}
	if (k->in_bytes + p->tot_len >= IN_BYTES)
		plat_panic("httpd: request flood");
	if (k->tls) {
		take_tls(k, p);
	} else {
		pbuf_copy_partial(p, k->in + k->in_bytes, p->tot_len, 0);
		k->in_bytes += p->tot_len;
	}
	tcp_recved(pcb, p->tot_len);
	pbuf_free(p);
	return ERR_OK;
}

static void on_err(void *arg, err_t err)
{
	struct hconn *k = arg;

	(void)err;
	k->pcb = NULL;
	hconn_free(k, true);
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
	struct httpd *h = arg;

	if (err != ERR_OK)
		return err;
	if (h->refuse) {
		tcp_abort(pcb);
		return ERR_ABRT;
	}
	for (u32 i = 0; i < CONNS; i++) {
		if (conns[i])
			continue;
		conns[i] = calloc(1, sizeof(struct hconn));
		conns[i]->h = h;
		conns[i]->pcb = pcb;
		if (h->tls) {
			conns[i]->tls = tlsd_create(h->tls);
			tcp_nagle_disable(pcb); /* records end anywhere */
		}
		tcp_arg(pcb, conns[i]);
		tcp_recv(pcb, on_recv);
		tcp_err(pcb, on_err);
		h->accepted++;
		h->open++;
		h->most_open = MAX(h->most_open, h->open);
		return ERR_OK;
	}
	return ERR_MEM;
}

void httpd_start(struct httpd *h, u16 port)
{
	struct tcp_pcb *pcb = tcp_new(), *listener;

	if (tcp_bind(pcb, IP_ADDR_ANY, port) != ERR_OK)
		plat_panic("httpd: bind");
	listener = tcp_listen(pcb);
	tcp_arg(listener, h);
	tcp_accept(listener, on_accept);
	h->listener = listener;
}

void httpd_kill(struct httpd *h)
{
	for (u32 i = 0; i < CONNS; i++)
		if (conns[i] && conns[i]->h == h)
			hconn_free(conns[i], true);
}

void httpd_stop(struct httpd *h)
{
	httpd_kill(h);
	if (h->listener)
		tcp_close(h->listener);
	h->listener = NULL;
}

void httpd_poll(struct httpd *h)
{
	(void)h;
	for (u32 i = 0; i < CONNS; i++)
		if (conns[i])
			push(conns[i]);
}

u64 httpd_next_ns(struct httpd *h)
{
	u64 d = ~0ull, now = plat_time_ns();

	(void)h;
	for (u32 i = 0; i < CONNS; i++) {
		struct hconn *k = conns[i];

		if (!k || !k->answering)
			continue;
		if (k->not_before > now)
			d = MIN(d, k->not_before);
		else if (k->dribble && k->dribble_next > now)
			d = MIN(d, k->dribble_next);
	}
	return d;
}
