/*
 * Frames from a hostile wire: the stack and the client on it must neither
 * crash nor die of one of lwIP's assertions. The input is a list of actions;
 * a frame is mostly right, so that it gets somewhere: Ethernet, IP and TCP
 * headers are filled in and the checksums are declared good, then bytes of
 * the input are laid over them.
 */
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/plat.h"
#include "base/plat_host.h"
#include "net/client/client.h"
#include "net/stack/stack.h"

#define OUR_IP 0x0a000002u
#define SERVER_IP 0x0a000001u
#define REQS 4
#define CHUNK 8192u

static struct netif_dev dev;
static u8 queue[1600];
static u32 queued;
static struct { u16 port; u32 seq, ack; bool seen; } peer; /* of the last TCP frame sent */

static u32 be32(const u8 *p)
{
	return (u32)get_be16(p) << 16 | get_be16(p + 2);
}

static void put16(u8 *p, u32 v)
{
	p[0] = (u8)(v >> 8);
	p[1] = (u8)v;
}

static void put32(u8 *p, u32 v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static int tx(struct netif_dev *d, const struct netif_tx *t)
{
	u8 f[2048];
	u32 bytes = 0;

	(void)d;
	for (u32 i = 0; i < t->n; i++) {
		memcpy(f + bytes, (void *)(uintptr_t)t->segs[i].pa.v, t->segs[i].bytes);
		bytes += t->segs[i].bytes;
	}
	if (bytes >= 54 && get_be16(f + 12) == 0x0800 && f[23] == 6) {
		peer.port = get_be16(f + 34);
		peer.ack = be32(f + 38) + get_be16(f + 16) - 20 - (f[46] >> 4) * 4u +
			   !!(f[47] & 3);
		if (!peer.seen || be32(f + 42))
			peer.seq = be32(f + 42) ? be32(f + 42) : 1000;
		peer.seen = true;
	}
	t->done(t->ctx);
	return 0;
}

static u32 poll(struct netif_dev *d, void (*input)(void *, const void *, u32, bool), void *ctx)
{
	u32 n = queued;

	(void)d;
	queued = 0;
	if (n)
		input(ctx, queue, n, true);
	return n != 0;
}

static bool link_up(struct netif_dev *d)
{
	(void)d;
	return true;
}

static const struct netif_ops ops = { .tx = tx, .poll = poll, .link_up = link_up };

static void arp_reply(void)
{
	memset(queue, 0, 60);
	memcpy(queue, dev.mac, 6);
	queue[6] = 2;
	put16(queue + 12, 0x0806);
	put16(queue + 14, 1);
	put16(queue + 16, 0x0800);
	queue[18] = 6;
	queue[19] = 4;
	put16(queue + 20, 2);
	queue[22] = 2;
	put32(queue + 28, SERVER_IP);
	memcpy(queue + 32, dev.mac, 6);
	put32(queue + 38, OUR_IP);
	queued = 60;
}

/* A TCP frame in the right place, @flags, @payload from the input; then damage. */
static void tcp_frame(const u8 *in, u32 n)
{
	u32 payload = n > 6 ? n - 6 : 0, total = 40 + payload;
	u8 flags = n > 0 ? in[0] : 0x12;
	s32 shift = n > 2 ? (s16)get_be16(in + 1) : 0;

	memset(queue, 0, 54);
	memcpy(queue, dev.mac, 6);
	queue[6] = 2;
	put16(queue + 12, 0x0800);
	queue[14] = 0x45;
	put16(queue + 16, total);
	queue[22] = 64;
	queue[23] = 6;
	put32(queue + 26, SERVER_IP);
	put32(queue + 30, OUR_IP);
	put16(queue + 34, 80);
	put16(queue + 36, peer.port);
	put32(queue + 38, peer.seq + (u32)(n > 3 && in[3] & 1 ? shift : 0));
	put32(queue + 42, peer.ack + (u32)(n > 3 && in[3] & 2 ? shift : 0));
	queue[46] = n > 4 ? (u8)(0x50 + (in[4] & 0x30)) : 0x50;
	queue[47] = flags;
	put16(queue + 48, n > 3 && in[3] & 4 ? (u32)shift : 0xffff);
	if (n > 5)
		put16(queue + 52, in[5]);
	memcpy(queue + 54, in + n - payload, payload);
	queued = 14 + total;
}

static void raw_frame(const u8 *in, u32 n)
{
	memset(queue, 0, 60);
	memcpy(queue, in, n);
	memcpy(queue, dev.mac, 6);
	queued = MAX(n, 60u);
}

static void req_done(struct source_req *r, int err)
{
	(void)r;
	(void)err;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t n);
int LLVMFuzzerTestOneInput(const u8 *data, size_t n)
{
	static const u8 mac[6] = { 2, 0, 0, 0, 0, 2 };
	static u8 buf[REQS][CHUNK];
	static struct source_req req[REQS];
	struct stack_opts so = { .dhcp = n && data[0] & 1, .ip = OUR_IP, .mask = 0xffffff00 };
	struct client_opts co = { .ip = SERVER_IP, .port = 80 };
	struct source *src;
	size_t at = 1;

	plat_host_quiet = true;
	if (!plat_host_now_ns)
		plat_host_now_ns = NS_PER_SEC;
	memset(&peer, 0, sizeof(peer));
	dev.ops = &ops;
	memcpy(dev.mac, mac, 6);
	queued = 0;
	if (stack_start(&dev, &so) || client_create(&co, &src))
		abort();
	for (u32 i = 0; i < REQS; i++) {
		req[i] = (struct source_req){ .plain_bytes = CHUNK, .buf = buf[i],
					      .prio = i & 1 ? SOURCE_DEMAND : SOURCE_FILL,
					      .done = req_done };
		src->ops->fetch(src, &req[i]);
	}
	src->ops->poll(src);
	arp_reply();
	src->ops->poll(src);
	while (at + 2 < n) {
		u32 kind = data[at], len = MIN((u32)data[at + 1] * 2, (u32)(n - at - 2));

		at += 2;
		if (kind < 150)
			tcp_frame(data + at, len);
		else if (kind < 200)
			raw_frame(data + at, len);
		else
			plat_host_now_ns += (kind - 199) * 50 * NS_PER_MS;
		at += kind < 200 ? len : 0;
		src->ops->poll(src);
	}
	client_destroy(src);
	for (u32 i = 0; i < 120; i++) {
		plat_host_now_ns += 300 * NS_PER_MS;
		stack_poll();
	}
	stack_stop();
	return 0;
}
