/*
 * net_mirror.c - a network card whose wire ends in a mirror
 */
#include "tests/fakes/net_mirror.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/plat.h"

#define FRAMES 8192

struct frame {
	u64 at_ns;
	u32 bytes;
	u8 data[NETIF_FRAME_MAX];
};

static struct frame *ring[FRAMES];
static u32 head, count;
static struct { void (*done)(void *); void *ctx; } sent[FRAMES];
static u32 sent_count;

static const u8 peer_mac[6] = { 2, 0, 0, 0, 0, 1 };

static void put_be16(u8 *p, u32 v)
{
	p[0] = (u8)(v >> 8);
	p[1] = (u8)v;
}

static void put_be32(u8 *p, u32 v)
{
	put_be16(p, v >> 16);
	put_be16(p + 2, v);
}

static void deliver(struct mirror *m, const u8 *data, u32 bytes)
{
	struct frame *f;

	if (count == FRAMES)
		return;
	f = calloc(1, sizeof(*f));
	f->at_ns = plat_time_ns() + m->latency_ns;
	f->bytes = bytes;
	memcpy(f->data, data, bytes);
	ring[(head + count++) % FRAMES] = f;
}

void mirror_inject(struct mirror *m, const void *frame, u32 bytes)
{
	deliver(m, frame, bytes);
}

static u16 ip_sum(const u8 *h, u32 bytes)
{
	u32 s = 0;

	for (u32 i = 0; i < bytes; i += 2)
		s += get_be16(h + i);
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (u16)~s;
}

static void arp(struct mirror *m, u8 *f, u32 n)
{
	u8 *a = f + 14;

	if (n < 42 || get_be16(a + 6) != 1 || get_be32(a + 24) == MIRROR_OUR_IP)
		return;
	memcpy(f, f + 6, 6);
	memcpy(f + 6, peer_mac, 6);
	put_be16(a + 6, 2);
	memcpy(a + 18, a + 8, 6);
	u8 asked[4];
	memcpy(asked, a + 24, 4);
	memcpy(a + 24, a + 14, 4);
	memcpy(a + 14, asked, 4);
	memcpy(a + 8, peer_mac, 6);
	deliver(m, f, n);
}

/* A server that offers one address: enough to walk the client through a lease. */
static void dhcp(struct mirror *m, const u8 *f, u32 n)
{
	static u8 r[14 + 20 + 8 + 300];
	const u8 *msg = f + 42, *o = msg + 240;
	u8 type = 0, *q, *ip = r + 14, *udp = r + 34, *b = r + 42;

	if (n < 42 + 244)
		return;
	while (o < f + n && *o != 255) {
		if (!*o) {
			o++;
			continue;
		}
		if (*o == 53)
			type = o[2];
		if (*o == 61 && o[1] <= sizeof(m->client_id)) {
			memcpy(m->client_id, o + 2, o[1]);
			m->client_id_bytes = o[1];
		}
		o += 2 + o[1];
	}
	m->dhcp_seen++;
	if (type != 1 && type != 3)
		return;
	memset(r, 0, sizeof(r));
	memcpy(r, m->dev.mac, 6);
	memcpy(r + 6, peer_mac, 6);
	put_be16(r + 12, 0x0800);
	ip[0] = 0x45;
	put_be16(ip + 2, sizeof(r) - 14);
	ip[8] = 64;
	ip[9] = 17;
	put_be32(ip + 12, MIRROR_IP);
	put_be32(ip + 16, MIRROR_OUR_IP);
	put_be16(ip + 10, ip_sum(ip, 20));
	put_be16(udp, 67);
	put_be16(udp + 2, 68);
	put_be16(udp + 4, sizeof(r) - 34);
	b[0] = 2;
	b[1] = 1;
	b[2] = 6;
	memcpy(b + 4, msg + 4, 4);
	put_be32(b + 16, MIRROR_OUR_IP);
	memcpy(b + 28, m->dev.mac, 6);
	put_be32(b + 236, 0x63825363);
	q = b + 240;
	*q++ = 53, *q++ = 1, *q++ = type == 1 ? 2 : 5;
	*q++ = 54, *q++ = 4, put_be32(q, MIRROR_IP), q += 4;
	*q++ = 51, *q++ = 4, put_be32(q, 3600), q += 4;
	*q++ = 1, *q++ = 4, put_be32(q, 0xffffff00), q += 4;
	*q++ = 3, *q++ = 4, put_be32(q, MIRROR_IP), q += 4;
	*q = 255;
	deliver(m, r, sizeof(r));
}

/* Take the window scale option out of a SYN [RFC 7323 §2.2]. */
static void tcp_sum(u8 *f, u32 n)
{
	u8 *t = f + 34, pseudo[12] = { 0 };
	u32 sum;

	put_be16(t + 16, 0);
	memcpy(pseudo, f + 26, 8);
	pseudo[9] = 6;
	put_be16(pseudo + 10, n - 34);
	sum = (u16)~ip_sum(pseudo, 12) + (u32)(u16)~ip_sum(t, n - 34);
	sum = (sum & 0xffff) + (sum >> 16);
	put_be16(t + 16, (u16)~sum);
}

static void strip_scaling(u8 *f, u32 n)
{
	u8 *t = f + 34, *o = t + 20, *end = t + (t[12] >> 4) * 4;

	if (!(t[13] & 2) || end > f + n)
		return;
	while (o < end && *o) {
		if (*o == 3)
			memset(o, 1, 3);
		o += *o == 1 ? 1 : o[1];
	}
	tcp_sum(f, n);
}

/* The peer's windows: none in its SYN, then a tiny one. */
static void starve(u8 *f, u32 n)
{
	if (get_be16(f + 34) != 8080)
		return;
	put_be16(f + 34 + 14, f[47] & 2 ? 0 : 1);
	tcp_sum(f, n);
}

/* One more option: a maximum segment size of 1, as a SYN alone may have it. */
static u32 name_mss(u8 *f, u32 n)
{
	static const u8 option[4] = { 2, 4, 0, 1 };
	u8 *t = f + 34, *end = t + (t[12] >> 4) * 4;

	if (get_be16(t) != 8080 || t[13] & 2 || n + 4 > NETIF_FRAME_MAX)
		return n;
	memmove(end + 4, end, n - (u32)(end - f));
	memcpy(end, option, 4);
	t[12] = (u8)(t[12] + 0x10);
	put_be16(f + 16, get_be16(f + 16) + 4u);
	put_be16(f + 24, 0);
	put_be16(f + 24, ip_sum(f + 14, 20));
	tcp_sum(f, n + 4);
	return n + 4;
}

/* Turn a SYN, addresses swapped, into the answer of a machine where nobody listens. */
static u32 refuse(u8 *f)
{
	u8 *t = f + 34;
	u32 seq = get_be32(t + 4), port = get_be16(t);

	put_be16(f + 16, 40);
	put_be16(f + 24, 0);
	put_be16(f + 24, ip_sum(f + 14, 20));
	put_be16(t, get_be16(t + 2));
	put_be16(t + 2, port);
	put_be32(t + 4, 0);
	put_be32(t + 8, seq + 1);
	t[12] = 5 << 4;
	t[13] = 0x14; /* RST, ACK */
	tcp_sum(f, 54);
	return 54;
}

static void tcp(struct mirror *m, u8 *f, u32 n)
{
	u8 src[4];

	if (n < 54 || m->no_tcp)
		return;
	m->tcp_count++;
	if (m->drop_every && m->tcp_count % m->drop_every == 0) {
		m->dropped++;
		return;
	}
	memcpy(f, m->dev.mac, 6);
	memcpy(f + 6, peer_mac, 6);
	memcpy(src, f + 26, 4);
	memcpy(f + 26, f + 30, 4);
	memcpy(f + 30, src, 4);
	if (m->refuse && (f[47] & 2))
		n = refuse(f);
	if (m->no_scaling)
		strip_scaling(f, n);
	if (m->late_mss)
		n = name_mss(f, n);
	if (m->no_window)
		starve(f, n);
	if (m->corrupt_every && n > 600 && m->tcp_count % m->corrupt_every == 0)
		f[n - 1] ^= 0x55;
	deliver(m, f, n);
}

static int mirror_tx(struct netif_dev *d, const struct netif_tx *t)
{
	struct mirror *m = (struct mirror *)d;
	u8 f[NETIF_FRAME_MAX];
	u32 n = 0;

	if (sent_count == FRAMES || (m->room && count >= m->room))
		return -ENOBUFS;
	for (u32 i = 0; i < t->n; i++) {
		memcpy(f + n, (void *)(uintptr_t)t->segs[i].pa.v, t->segs[i].bytes);
		n += t->segs[i].bytes;
	}
	sent[sent_count].done = t->done;
	sent[sent_count++].ctx = t->ctx;
	m->frames++;
	if (!m->link)
		return 0;
	if (get_be16(f + 12) == 0x0806)
		arp(m, f, n);
	else if (get_be16(f + 12) == 0x0800 && f[23] == 6)
		tcp(m, f, n);
	else if (get_be16(f + 12) == 0x0800 && f[23] == 17 && m->dhcp && get_be16(f + 36) == 67)
		dhcp(m, f, n);
	return 0;
}

static u32 mirror_poll(struct netif_dev *d, void (*input)(void *, const void *, u32, bool),
		       void *ctx)
{
	struct mirror *m = (struct mirror *)d;
	u32 n = 0;

	while (sent_count) {
		sent_count--;
		sent[sent_count].done(sent[sent_count].ctx);
		n++;
	}
	for (u32 k = 0; k < 256 && count && ring[head]->at_ns <= plat_time_ns(); k++) {
		struct frame *f = ring[head];

		head = (head + 1) % FRAMES;
		count--;
		if (m->link)
			input(ctx, f->data, f->bytes, m->csum_by_card);
		free(f);
		n++;
	}
	return n;
}

static bool mirror_link(struct netif_dev *d)
{
	return ((struct mirror *)d)->link;
}

static const struct netif_ops mirror_ops = {
	.tx = mirror_tx,
	.poll = mirror_poll,
	.link_up = mirror_link,
};

void mirror_init(struct mirror *m)
{
	static const u8 mac[6] = { 2, 0, 0, 0, 0, 2 };

	memset(m, 0, sizeof(*m));
	m->dev.ops = &mirror_ops;
	m->dev.name = "mirror";
	memcpy(m->dev.mac, mac, 6);
	m->link = true;
	m->latency_ns = 100 * NS_PER_US;
}

void mirror_fini(struct mirror *m)
{
	(void)m;
	while (sent_count) {
		sent_count--;
		sent[sent_count].done(sent[sent_count].ctx);
	}
	while (count) {
		free(ring[head]);
		head = (head + 1) % FRAMES;
		count--;
	}
}

u64 mirror_next_ns(struct mirror *m)
{
	(void)m;
	return sent_count ? plat_time_ns() : count ? ring[head]->at_ns : ~0ull;
}
