/* net/emul/virtio_net with a small driver of the guest's on the other end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/plat.h"
#include "base/plat_host.h"
#include "net/emul/virtio_net.h"
#include "net/emul/virtq.h"
#include "tests/fakes/net_card.h"

#define F(f) (1ull << VIRTIO_##f)
#define BASE (F(F_VERSION_1) | F(NET_F_MAC) | F(NET_F_STATUS))
#define ALL (BASE | F(NET_F_MRG_RXBUF) | F(NET_F_CTRL_VQ) | F(NET_F_CTRL_RX) | \
	     F(NET_F_GUEST_CSUM) | F(F_RING_INDIRECT_DESC) | F(F_RING_EVENT_IDX))
#define OFFLOADS (ALL | F(NET_F_CSUM) | F(NET_F_HOST_TSO4))
#define STATUS VIRTIO_COMMON_STATUS
#define DEVICE 0x1000
#define NOTIFY 0x3000
#define HDR sizeof(struct virtio_net_hdr)
#define GPA0 NET_CARD_RAM_GPA

static struct net_card c;

/* One queue of the guest's: rings at fixed places, descriptors handed out in a circle. */
static struct gq {
	u32 size, desc, avail, used; /* offsets in RAM */
	u16 next, idx, seen;
	bool event_idx;
} gq[3];
static u32 heap;

static u64 rd(u64 off, u32 bytes)
{
	u64 v = 0;

	c.nic->ops->mmio(c.nic, off, bytes, false, &v);
	return v;
}

static void wr(u64 off, u32 bytes, u64 v)
{
	if (!c.nic->ops->bell(c.nic, off, v))
		c.nic->ops->mmio(c.nic, off, bytes, true, &v);
}

static u16 *ram16(u32 off)
{
	return (u16 *)(void *)(c.ram + off);
}

static void bell(u32 q)
{
	wr(NOTIFY + 4 * q, 2, q);
	net_card_run(&c);
}

static u64 offered(void)
{
	u64 v;

	wr(VIRTIO_COMMON_DFSELECT, 4, 1);
	v = rd(VIRTIO_COMMON_DF, 4) << 32;
	wr(VIRTIO_COMMON_DFSELECT, 4, 0);
	return v | rd(VIRTIO_COMMON_DF, 4);
}

static bool negotiate(u64 features)
{
	wr(STATUS, 1, 0);
	assert_int_equal(rd(STATUS, 1), 0);
	wr(STATUS, 1, 1);
	wr(STATUS, 1, 3);
	for (u32 i = 0; i < 2; i++) {
		wr(VIRTIO_COMMON_GFSELECT, 4, i);
		wr(VIRTIO_COMMON_GF, 4, (u32)(features >> (32 * i)));
	}
	wr(STATUS, 1, 11);
	return rd(STATUS, 1) & VIRTIO_STATUS_FEATURES_OK;
}

static void queue_setup(u32 i, u32 size)
{
	struct gq *q = &gq[i];

	*q = (struct gq){ .size = size, .desc = i * 0x8000, .avail = i * 0x8000 + 0x4000,
			  .used = i * 0x8000 + 0x6000 };
	memset(c.ram + q->desc, 0, 0x8000);
	wr(VIRTIO_COMMON_Q_SELECT, 2, i);
	assert_int_equal(rd(VIRTIO_COMMON_Q_SIZE, 2), VIRTQ_EMUL_SIZE_MAX);
	wr(VIRTIO_COMMON_Q_SIZE, 2, size);
	wr(VIRTIO_COMMON_Q_MSIX, 2, i + 1);
	assert_int_equal(rd(VIRTIO_COMMON_Q_MSIX, 2), i + 1);
	wr(VIRTIO_COMMON_Q_DESCLO, 4, (u32)(GPA0 + q->desc));
	wr(VIRTIO_COMMON_Q_DESCHI, 4, (GPA0 + q->desc) >> 32);
	wr(VIRTIO_COMMON_Q_AVAILLO, 8, GPA0 + q->avail);
	wr(VIRTIO_COMMON_Q_USEDLO, 8, GPA0 + q->used);
	wr(VIRTIO_COMMON_Q_ENABLE, 2, 1);
	assert_int_equal(rd(VIRTIO_COMMON_Q_ENABLE, 2), 1);
}

static void drive(u64 features, u32 size)
{
	assert_true(negotiate(features));
	for (u32 i = 0; i < 3; i++) {
		queue_setup(i, size);
		gq[i].event_idx = features & F(F_RING_EVENT_IDX);
	}
	wr(VIRTIO_COMMON_MSIX, 2, 0);
	wr(STATUS, 1, 15);
	heap = 0x20000;
	memset(c.irqs, 0, sizeof(c.irqs));
}

static void start(u64 features, u32 size)
{
	plat_host_quiet = true;
	assert_int_equal(net_card_init(&c, virtio_net_create), 0);
	if (features)
		drive(features, size);
}

static void stop(void)
{
	net_card_send(&c, NET_CARD_RING);
	virtio_net_destroy(c.nic);
	share_destroy(c.share);
}

static struct virtq_desc *desc(struct gq *q, u32 i)
{
	return (struct virtq_desc *)(void *)(c.ram + q->desc) + i;
}

/* Space for @bytes in the guest's memory, for the time of a test. */
static u32 space(u32 bytes)
{
	u32 at = heap;

	heap += (bytes + 15) & ~15u;
	if (heap > NET_CARD_RAM) {
		heap = 0x20000;
		return space(bytes);
	}
	return at;
}

static void publish(struct gq *q, u16 head)
{
	*ram16(q->avail + 4 + 2 * (q->idx % q->size)) = head;
	*ram16(q->avail + 2) = ++q->idx;
}

/* A chain of @n pieces of [at, bytes); with a table of its own if @indirect. Return: its head. */
static u16 chain(struct gq *q, const u32 (*p)[2], u32 n, bool write, bool indirect)
{
	u32 table = indirect ? space(16 * n) : q->desc;
	u16 head = (u16)(q->next % q->size);

	for (u32 i = 0; i < n; i++) {
		u32 k = indirect ? i : (q->next + i) % q->size;
		u32 after = indirect ? i + 1 : (q->next + i + 1) % q->size;
		struct virtq_desc *d = (struct virtq_desc *)(void *)(c.ram + table) + k;

		*d = (struct virtq_desc){ GPA0 + p[i][0], p[i][1],
			(u16)((write ? VIRTQ_DESC_WRITE : 0) | (i + 1 < n ? VIRTQ_DESC_NEXT : 0)),
			(u16)after };
	}
	if (indirect)
		*desc(q, head) = (struct virtq_desc){ GPA0 + table, 16 * n,
						      VIRTQ_DESC_INDIRECT, 0 };
	q->next = (u16)(q->next + (indirect ? 1 : n));
	publish(q, head);
	return head;
}

/* The next entry of the used ring; false: none. */
static bool used(struct gq *q, u32 *id, u32 *len)
{
	struct virtq_used_elem *e;

	if (*ram16(q->used + 2) == q->seen)
		return false;
	e = (struct virtq_used_elem *)(void *)(c.ram + q->used + 4) + q->seen % q->size;
	*id = e->id;
	*len = e->len;
	q->seen++;
	return true;
}

static void pattern(u8 *p, u32 n, u32 seed)
{
	for (u32 i = 0; i < n; i++)
		p[i] = (u8)(seed * 5 + i * 11 + (i >> 8));
	p[12] = 0x88; /* no IP */
}

/* ---------------------------------------------------------------- registers */

static void negotiation(void **state)
{
	(void)state;
	start(0, 0);
	assert_int_equal(rd(VIRTIO_COMMON_NUMQ, 2), 3);
	assert_int_equal(offered() & ALL, ALL);
	/* nothing is promised that is not done */
	assert_int_equal(offered() & (F(NET_F_CSUM) | F(NET_F_HOST_TSO4) | F(NET_F_GUEST_TSO4) |
				      F(NET_F_CTRL_MAC_ADDR) | F(NET_F_MQ)), 0);
	assert_true(negotiate(ALL));
	assert_true(negotiate(BASE));
	assert_false(negotiate(ALL & ~F(F_VERSION_1)));
	assert_false(negotiate(ALL | F(NET_F_HOST_TSO4)));
	assert_false(negotiate(F(F_VERSION_1) | F(NET_F_CTRL_RX)));
	wr(VIRTIO_COMMON_Q_SELECT, 2, 3);
	assert_int_equal(rd(VIRTIO_COMMON_Q_SIZE, 2), 0);
	wr(VIRTIO_COMMON_Q_SELECT, 2, 0);
	wr(VIRTIO_COMMON_Q_SIZE, 2, 100);
	assert_int_equal(rd(VIRTIO_COMMON_Q_SIZE, 2), 256);
	wr(VIRTIO_COMMON_Q_MSIX, 2, 4);
	assert_int_equal(rd(VIRTIO_COMMON_Q_MSIX, 2), VIRTIO_NO_VECTOR);
	wr(VIRTIO_COMMON_MSIX, 2, 77);
	assert_int_equal(rd(VIRTIO_COMMON_MSIX, 2), VIRTIO_NO_VECTOR);
	for (u32 i = 0; i < 6; i++)
		assert_int_equal(rd(DEVICE + i, 1), c.dev.mac[i]);
	assert_int_equal(rd(DEVICE + VIRTIO_NET_CFG_STATUS, 2), VIRTIO_NET_S_LINK_UP);
	assert_int_equal(rd(DEVICE + VIRTIO_NET_CFG_SPEED, 4), 1000);
	/* the address cannot be written; what is not there reads zero */
	wr(DEVICE, 1, 0);
	assert_int_equal(rd(DEVICE, 1), c.dev.mac[0]);
	assert_int_equal(rd(0x700, 4), 0);
	assert_int_equal(rd(DEVICE + 18, 8), 0);
	stop();
}

/* What the real card does with frames that go out is offered, and nothing else. */
static void offloads_are_the_cards(void **state)
{
	(void)state;
	start(0, 0);
	c.dev.features = NETIF_CSUM;
	assert_true(offered() & F(NET_F_CSUM));
	assert_false(offered() & F(NET_F_HOST_TSO4));
	assert_true(negotiate(ALL | F(NET_F_CSUM)));
	assert_false(negotiate(ALL | F(NET_F_CSUM) | F(NET_F_HOST_TSO4)));
	c.dev.features = NETIF_CSUM | NETIF_TSO;
	assert_true(offered() & F(NET_F_HOST_TSO4));
	assert_true(negotiate(OFFLOADS));
	assert_false(negotiate(ALL | F(NET_F_HOST_TSO4)));
	assert_false(offered() & (F(NET_F_HOST_TSO6) | F(NET_F_GUEST_TSO4)));
	stop();
}

static void capabilities(void **state)
{
	u8 cap[20];
	u32 seen = 0;

	(void)state;
	for (u32 i = 0; i < VIRTIO_NET_CAPS; i++) {
		u32 n = virtio_net_cap(i, cap), end = get_le32(cap + 8) + get_le32(cap + 12);

		assert_int_equal(cap[0], VIRTIO_CAP_ID);
		assert_int_equal(cap[2], n);
		seen |= 1u << cap[3];
		assert_true(end <= VIRTIO_NET_BAR_BYTES);
		/* none lies in the page of the MSI-X table */
		assert_true(end <= VIRTIO_NET_MSIX_OFF ||
			    get_le32(cap + 8) >= VIRTIO_NET_MSIX_OFF + 0x1000);
	}
	assert_int_equal(seen, 0x3e);
}

/* ---------------------------------------------------------------- transmit */

static void send(struct gq *q, u32 at, u32 bytes, u32 pieces, bool indirect)
{
	u32 p[80][2] = { { at, HDR } }, n = 1, left = bytes, pos = at + HDR;

	memset(c.ram + at, 0, HDR);
	while (left) {
		u32 take = n == pieces ? left : MIN(left, bytes / pieces + 1);

		p[n][0] = pos;
		p[n++][1] = take;
		pos += take;
		left -= take;
	}
	chain(q, p, n, false, indirect);
}

static void transmits(void **state)
{
	struct gq *q = &gq[VIRTIO_NET_Q_TX];
	u32 id, len;

	(void)state;
	for (u32 kind = 0; kind < 2; kind++) {
		start(kind ? ALL : BASE, 64);
		for (u32 n = 14; n <= NETIF_FRAME_MAX; n += 1 + n / 50) {
			for (u32 pieces = 1; pieces <= 40; pieces += 3) {
				u32 at = space(n + HDR), sents = c.sents;

				pattern(c.ram + at + HDR, n, n + pieces);
				send(q, at, n, pieces, kind && pieces > 1);
				bell(VIRTIO_NET_Q_TX);
				/* not before the real card has it */
				assert_false(used(q, &id, &len));
				net_card_send(&c, 1);
				assert_int_equal(c.sents, sents + 1);
				assert_int_equal(c.last_bytes, MAX(n, 60u));
				assert_memory_equal(c.last, c.ram + at + HDR, n);
				assert_true(used(q, &id, &len));
				assert_int_equal(len, 0);
			}
		}
		assert_int_equal(virtio_net_stats(c.nic)->broken, 0);
		stop();
	}
}

static void frames_that_no_card_sends(void **state)
{
	struct gq *q = &gq[VIRTIO_NET_Q_TX];
	u32 id, len, at;

	(void)state;
	start(ALL, 64);
	for (u32 i = 0; i < 4; i++) {
		at = space(2000);
		pattern(c.ram + at + HDR, 1600, i);
		send(q, at, i == 0 ? 1519 : i == 1 ? 13 : 100, 1, false);
		if (i == 2)
			c.ram[at + 1] = VIRTIO_NET_GSO_TCPV4;
		if (i == 3)
			c.ram[at] = VIRTIO_NET_HDR_NEEDS_CSUM;
		bell(VIRTIO_NET_Q_TX);
		assert_int_equal(c.count, 0);
		assert_true(used(q, &id, &len));
	}
	assert_int_equal(virtio_net_stats(c.nic)->broken, 0);
	stop();
}

/* TCP over IPv4, its header of 54 bytes; what is to be done with it in front. */
static void send_tcp(u32 bytes, u32 pieces, struct virtio_net_hdr h)
{
	u32 at = space(bytes + HDR);
	u8 *f = c.ram + at + HDR;

	pattern(f, bytes, bytes);
	memcpy(f + 12, "\x08\0\x45\0\0\0\0\0\x40\0\x40\x06\0\0"
		       "\x0a\0\0\x02\x0a\0\0\x03", 22);
	f[46] = 0x50;
	send(&gq[VIRTIO_NET_Q_TX], at, bytes, pieces, true);
	memcpy(c.ram + at, &h, HDR);
	bell(VIRTIO_NET_Q_TX);
}

static void offloads(void **state)
{
	struct virtio_net_hdr h = { .flags = VIRTIO_NET_HDR_NEEDS_CSUM, .csum_start = 34,
				    .csum_offset = 16, .gso_size = 1000 };
	struct gq *q = &gq[VIRTIO_NET_Q_TX];
	u32 id, len;

	(void)state;
	start(0, 0);
	c.dev.features = NETIF_CSUM | NETIF_TSO;
	drive(OFFLOADS, 256);
	for (u32 n = 70; n < 1514; n += 101)
		for (u32 pieces = 1; pieces < 40; pieces += 19) {
			send_tcp(n, pieces, h);
			net_card_send(&c, 1);
			assert_int_equal(c.last_bytes, n);
			assert_int_equal(c.last_tx.csum_start, 34);
			assert_int_equal(c.last_tx.csum_at, 50);
			assert_int_equal(c.last_tx.mss, 0);
			assert_true(used(q, &id, &len));
		}
	h.gso_type = VIRTIO_NET_GSO_TCPV4;
	for (u32 n = 1600; n <= NETIF_CUT_MAX; n += n / 3)
		for (u32 pieces = 1; pieces < 31; pieces += 13) {
			send_tcp(n, pieces, h);
			assert_false(used(q, &id, &len));
			net_card_send(&c, 1);
			assert_int_equal(c.last_bytes, n);
			assert_int_equal(c.last_tx.mss, 1000);
			assert_int_equal(c.last_tx.header_bytes, 54);
			assert_true(used(q, &id, &len));
		}
	assert_int_equal(virtio_net_stats(c.nic)->tx_dropped, 0);
	stop();
}

/* Dropped like any frame that no card sends; the queue goes on. */
static void bad_offloads(void **state)
{
	static const struct { u32 bytes, pieces; struct virtio_net_hdr h; } bad[] = {
#define CSUM VIRTIO_NET_HDR_NEEDS_CSUM
#define TCPV4 VIRTIO_NET_GSO_TCPV4
		{ 1600, 1, { CSUM, 0, 0, 0, 34, 16, 0 } },
		{ 100, 1, { CSUM, 0, 0, 0, 34, 65, 0 } },
		{ 100, 1, { CSUM, 0, 0, 0, 65535, 65535, 0 } },
		{ 100, 1, { CSUM | 4, 0, 0, 0, 34, 16, 0 } },
		{ 5000, 1, { 0, TCPV4, 0, 1000, 34, 16, 0 } },
		{ 5000, 1, { CSUM, TCPV4, 0, 0, 34, 16, 0 } },
		{ 5000, 1, { CSUM, TCPV4 | VIRTIO_NET_GSO_ECN, 0, 1000, 34, 16, 0 } },
		{ 5000, 1, { CSUM, VIRTIO_NET_GSO_TCPV6, 0, 1000, 34, 16, 0 } },
		{ 5000, 1, { CSUM, VIRTIO_NET_GSO_UDP, 0, 1000, 34, 16, 0 } },
		{ 5000, 40, { CSUM, TCPV4, 0, 1000, 34, 16, 0 } },
		{ 5000, 1, { CSUM, TCPV4, 0, 2000, 34, 16, 0 } },
		{ 5000, 1, { CSUM, TCPV4, 0, 1000, 300, 16, 0 } },
		{ NETIF_CUT_MAX + 1, 1, { CSUM, TCPV4, 0, 1000, 34, 16, 0 } },
	};
	u32 id, len;

	(void)state;
	start(0, 0);
	c.dev.features = NETIF_CSUM | NETIF_TSO;
	drive(OFFLOADS, 256);
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		send_tcp(bad[i].bytes, bad[i].pieces, bad[i].h);
		if (c.count)
			print_error("case %u\n", i);
		assert_int_equal(c.count, 0);
		assert_true(used(&gq[VIRTIO_NET_Q_TX], &id, &len));
	}
	assert_int_equal(virtio_net_stats(c.nic)->broken, 0);
	stop();
}

/* More frames than the real card takes: they wait, in order, and none is lost. */
static void a_full_card(void **state)
{
	struct gq *q = &gq[VIRTIO_NET_Q_TX];
	u32 id, len, done = 0;

	(void)state;
	start(ALL, 256);
	for (u32 i = 0; i < 256; i++) {
		u32 at = space(100 + HDR);

		pattern(c.ram + at + HDR, 100, i);
		send(q, at, 100, 1, true);
	}
	bell(VIRTIO_NET_Q_TX);
	for (u32 turns = 0; done < 256 && turns < 1000; turns++) {
		net_card_send(&c, 1);
		net_card_run(&c);
		while (used(q, &id, &len)) {
			assert_int_equal(id, done);
			done++;
		}
	}
	assert_int_equal(done, 256);
	stop();
}

/* ---------------------------------------------------------------- receive */

static void give(u32 bytes)
{
	u32 p[2][2] = { { space(bytes), bytes } };

	chain(&gq[VIRTIO_NET_Q_RX], p, 1, true, false);
}

static void receives(void **state)
{
	static const u32 sizes[] = { 12, 13, 64, 700, 1530, 2048 };
	struct gq *q = &gq[VIRTIO_NET_Q_RX];
	u8 frame[NETIF_FRAME_MAX], got[2 * NETIF_FRAME_MAX];

	(void)state;
	start(ALL, 256);
	for (u32 s = 0; s < ARRAY_SIZE(sizes); s++) {
		for (u32 n = 14; n <= NETIF_FRAME_MAX; n += 1 + n / 20) {
			u32 want = (n + (u32)HDR + sizes[s] - 1) / sizes[s], at = 0;
			u32 id = 0, len = 0;
			struct virtio_net_hdr h;

			for (u32 i = 0; i < want; i++)
				give(sizes[s]);
			pattern(frame, n, n);
			net_card_rx(&c, frame, n, n & 1);
			for (u32 i = 0; i < want; i++) {
				assert_true(used(q, &id, &len));
				memcpy(got + at, c.ram + desc(q, id)->addr - GPA0, len);
				at += len;
			}
			assert_int_equal(at, n + HDR);
			memcpy(&h, got, HDR);
			assert_int_equal(h.num_buffers, want);
			assert_int_equal(h.flags, n & 1 ? VIRTIO_NET_HDR_DATA_VALID : 0);
			assert_memory_equal(got + HDR, frame, n);
			assert_false(used(q, &id, &len));
		}
	}
	assert_int_equal(virtio_net_stats(c.nic)->broken, 0);
	stop();
}

/* Too little room: the frame is lost, the buffers are not. */
static void lost_frames(void **state)
{
	struct gq *q = &gq[VIRTIO_NET_Q_RX];
	u8 frame[1000];
	u32 id, len;

	(void)state;
	for (u32 mergeable = 0; mergeable < 2; mergeable++) {
		start(mergeable ? ALL : BASE, 64);
		pattern(frame, sizeof(frame), 1);
		net_card_rx(&c, frame, sizeof(frame), false);
		give(600);
		net_card_rx(&c, frame, sizeof(frame), false);
		assert_false(used(q, &id, &len));
		give(600);
		net_card_rx(&c, frame, sizeof(frame), false);
		assert_int_equal(used(q, &id, &len), mergeable);
		net_card_rx(&c, frame, 100, false);
		assert_int_equal(virtio_net_stats(c.nic)->broken, 0);
		assert_int_equal(virtio_net_stats(c.nic)->rx_no_buffer, mergeable ? 3 : 3);
		stop();
	}
}

/* ---------------------------------------------------------------- telling and asking */

static void interrupts_as_wanted(void **state)
{
	struct gq *q = &gq[VIRTIO_NET_Q_RX];
	u8 frame[100];

	(void)state;
	pattern(frame, sizeof(frame), 1);
	for (u32 kind = 0; kind < 2; kind++) {
		start(kind ? ALL : ALL & ~F(F_RING_EVENT_IDX), 256);
		for (u32 i = 0; i < 100; i++)
			give(1530);
		net_card_rx(&c, frame, sizeof(frame), false);
		assert_int_equal(c.irqs[1], 1);
		assert_int_equal(rd(0x800, 1), VIRTIO_ISR_QUEUE);
		assert_int_equal(rd(0x800, 1), 0);
		/* none wanted for a while */
		if (kind)
			*ram16(q->avail + 4 + 2 * q->size) = 10;
		else
			*ram16(q->avail) = VIRTQ_AVAIL_NO_INTERRUPT;
		for (u32 i = 1; i < 10; i++)
			net_card_rx(&c, frame, sizeof(frame), false);
		assert_int_equal(c.irqs[1], 1);
		*ram16(q->avail) = 0;
		net_card_rx(&c, frame, sizeof(frame), false);
		assert_int_equal(c.irqs[1], 2);
		stop();
	}
}

/* With event indices the guest rings once for a burst, and never in vain. */
static void notifications(void **state)
{
	struct gq *q = &gq[VIRTIO_NET_Q_TX];
	u32 event = q->used + 4 + 8 * 64;

	(void)state;
	start(ALL, 64);
	event = q->used + 4 + 8 * q->size;
	for (u32 i = 0; i < 30; i++) {
		u16 before = q->idx;

		assert_true(virtq_need_event(*ram16(event), (u16)(before + 1), before));
		for (u32 k = 0; k <= i % 3; k++)
			send(q, space(100 + HDR), 100, 1, false);
		bell(VIRTIO_NET_Q_TX);
		assert_int_equal(*ram16(event), q->idx);
		net_card_send(&c, NET_CARD_RING);
	}
	stop();
}

static void link_changes(void **state)
{
	(void)state;
	start(ALL, 64);
	u64 gen = rd(VIRTIO_COMMON_CFGGENERATION, 1);

	c.down = true;
	net_card_run(&c);
	assert_int_equal(c.irqs[0], 1);
	assert_int_equal(rd(0x800, 1), VIRTIO_ISR_CONFIG);
	assert_int_not_equal(rd(VIRTIO_COMMON_CFGGENERATION, 1), gen);
	assert_int_equal(rd(DEVICE + VIRTIO_NET_CFG_STATUS, 2), 0);
	assert_int_equal(rd(DEVICE + VIRTIO_NET_CFG_SPEED, 4), ~0u);
	stop();
}

/* ---------------------------------------------------------------- control */

static u8 command(u8 class, u8 cmd, const void *data, u32 bytes)
{
	struct gq *q = &gq[2];
	u32 at = space(bytes + 16), id, len;
	u16 head = (u16)(q->next % q->size), second = (u16)((q->next + 1) % q->size);

	c.ram[at] = class;
	c.ram[at + 1] = cmd;
	memcpy(c.ram + at + 2, data, bytes);
	c.ram[at + 2 + bytes] = 0xee;
	*desc(q, head) = (struct virtq_desc){ GPA0 + at, bytes + 2, VIRTQ_DESC_NEXT, second };
	*desc(q, second) = (struct virtq_desc){ GPA0 + at + 2 + bytes, 1, VIRTQ_DESC_WRITE, 0 };
	q->next = (u16)(q->next + 2);
	publish(q, head);
	bell(2);
	assert_true(used(q, &id, &len));
	assert_int_equal(len, 1);
	return c.ram[at + 2 + bytes];
}

static void control(void **state)
{
	u8 t[4 + 6 + 4 + 6 * 40] = { 0 };

	(void)state;
	start(ALL, 64);
	assert_true(c.filter.all_multicast);
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, 0, "\1", 1), VIRTIO_NET_OK);
	assert_true(c.filter.promiscuous);
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, 0, "\0", 1), VIRTIO_NET_OK);
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, 1, "\0", 1), VIRTIO_NET_OK);
	assert_false(c.filter.promiscuous || c.filter.all_multicast);
	/* no unicast address, two groups */
	put_le32(t + 4, 2);
	memset(t + 8, 0x33, 12);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 0, t, 8 + 12), VIRTIO_NET_OK);
	assert_int_equal(c.filter.n, 2);
	assert_int_equal(c.filter.multicast[1][5], 0x33);
	/* more groups than the card's filter has room for: all of them */
	put_le32(t + 4, 40);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 0, t, 8 + 240), VIRTIO_NET_OK);
	assert_true(c.filter.all_multicast);
	/* cut off, unknown, or not ours to change */
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 0, t, 8 + 239), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 0, t, 3), VIRTIO_NET_ERR);
	put_le32(t, ~0u);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 0, t, 100), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 1, "abcdef", 6), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, 0, "", 0), VIRTIO_NET_ERR);
	assert_int_equal(command(9, 0, t, 1), VIRTIO_NET_ERR);
	/* a reset forgets the filter */
	drive(ALL, 64);
	assert_int_equal(c.filter.n, 0);
	assert_true(c.filter.all_multicast);
	stop();
}

/* ---------------------------------------------------------------- reset, nonsense */

/* While the real card reads the guest's memory, the reset is not over. */
static void reset_waits_for_dma(void **state)
{
	struct gq *q = &gq[VIRTIO_NET_Q_TX];

	(void)state;
	start(ALL, 64);
	send(q, space(1000), 900, 1, false);
	bell(VIRTIO_NET_Q_TX);
	assert_int_equal(c.count, 1);
	memset(c.ram + q->used, 0x5a, 100);
	wr(STATUS, 1, 0);
	assert_int_not_equal(rd(STATUS, 1), 0);
	wr(STATUS, 1, 1);
	wr(VIRTIO_COMMON_Q_ENABLE, 2, 1);
	net_card_send(&c, 1);
	net_card_run(&c);
	assert_int_equal(rd(STATUS, 1), 0);
	/* and what was sent is nobody's any more */
	for (u32 i = 0; i < 100; i++)
		assert_int_equal(c.ram[q->used + i], 0x5a);
	drive(ALL, 64);
	send(q, space(1000), 900, 1, false);
	bell(VIRTIO_NET_Q_TX);
	assert_int_equal(c.count, 1);
	stop();
}

static void spoil(u32 how)
{
	struct gq *tx = &gq[VIRTIO_NET_Q_TX], *rxq = &gq[VIRTIO_NET_Q_RX];
	u8 frame[100];
	u32 at = space(2000);

	pattern(frame, sizeof(frame), 1);
	*desc(tx, 0) = (struct virtq_desc){ GPA0 + at, 100, 0, 0 };
	switch (how) {
	case 0: /* an index that ran away */
		*ram16(tx->avail + 2) = 200;
		break;
	case 1: /* a head beyond the table */
		publish(tx, 64);
		break;
	case 2: /* a loop */
		desc(tx, 0)->flags = VIRTQ_DESC_NEXT;
		publish(tx, 0);
		break;
	case 3: /* a next beyond the table */
		desc(tx, 0)->flags = VIRTQ_DESC_NEXT;
		desc(tx, 0)->next = 999;
		publish(tx, 0);
		break;
	case 4: /* memory that is not there */
		desc(tx, 0)->addr = 0x1000;
		publish(tx, 0);
		break;
	case 5: /* past its end */
		desc(tx, 0)->addr = GPA0 + NET_CARD_RAM - 50;
		publish(tx, 0);
		break;
	case 6: /* a buffer to write, to be sent */
		desc(tx, 0)->flags = VIRTQ_DESC_WRITE;
		publish(tx, 0);
		break;
	case 7: /* not even a header */
		desc(tx, 0)->len = 11;
		publish(tx, 0);
		break;
	case 8: /* an indirect table within an indirect table */
		*desc(tx, 0) = (struct virtq_desc){ GPA0 + at, 16, VIRTQ_DESC_INDIRECT, 0 };
		memcpy(c.ram + at, desc(tx, 0), 16);
		publish(tx, 0);
		break;
	case 9: /* a table of half a descriptor */
		*desc(tx, 0) = (struct virtq_desc){ GPA0 + at, 24, VIRTQ_DESC_INDIRECT, 0 };
		publish(tx, 0);
		break;
	case 10: /* lengths that add up to more than there is */
		*desc(tx, 0) = (struct virtq_desc){ GPA0 + at, ~0u, VIRTQ_DESC_NEXT, 1 };
		*desc(tx, 1) = (struct virtq_desc){ GPA0 + at, 100, 0, 0 };
		publish(tx, 0);
		break;
	case 11: /* a receive buffer to read */
		*desc(rxq, 0) = (struct virtq_desc){ GPA0 + at, 1600, 0, 0 };
		publish(rxq, 0);
		net_card_rx(&c, frame, sizeof(frame), false);
		return;
	case 12: /* a receive buffer without room for the header */
		*desc(rxq, 0) = (struct virtq_desc){ GPA0 + at, 11, VIRTQ_DESC_WRITE, 0 };
		publish(rxq, 0);
		net_card_rx(&c, frame, sizeof(frame), false);
		return;
	case 13: /* a receive buffer that is not there */
		*desc(rxq, 0) = (struct virtq_desc){ 0x1000, 1600, VIRTQ_DESC_WRITE, 0 };
		publish(rxq, 0);
		net_card_rx(&c, frame, sizeof(frame), false);
		return;
	case 14: /* a command without room for the answer */
		*desc(&gq[2], 0) = (struct virtq_desc){ GPA0 + at, 3, 0, 0 };
		publish(&gq[2], 0);
		bell(2);
		return;
	case 15: /* bus mastering off */
		c.no_dma = true;
		publish(tx, 0);
		break;
	}
	bell(VIRTIO_NET_Q_TX);
}

static void nonsense_needs_a_reset(void **state)
{
	(void)state;
	for (u32 how = 0; how < 16; how++) {
		start(ALL, 64);
		spoil(how);
		if (!(rd(STATUS, 1) & VIRTIO_STATUS_NEEDS_RESET))
			print_error("case %u\n", how);
		assert_true(rd(STATUS, 1) & VIRTIO_STATUS_NEEDS_RESET);
		assert_int_equal(c.count, 0);
		assert_int_equal(c.irqs[0], 1);
		assert_int_equal(virtio_net_stats(c.nic)->broken, 1);
		/* nothing more happens, whatever the guest rings */
		spoil(how);
		assert_int_equal(virtio_net_stats(c.nic)->broken, 1);
		c.no_dma = false;
		drive(ALL, 64);
		send(&gq[VIRTIO_NET_Q_TX], space(200), 100, 1, false);
		bell(VIRTIO_NET_Q_TX);
		assert_int_equal(c.count, 1);
		stop();
	}
}

static void rings_that_are_not_there(void **state)
{
	(void)state;
	for (u32 i = 0; i < 3; i++) {
		start(0, 0);
		negotiate(ALL);
		wr(VIRTIO_COMMON_Q_SELECT, 2, 1);
		wr(VIRTIO_COMMON_Q_DESCLO, 8, i == 0 ? 0x1000 : GPA0);
		wr(VIRTIO_COMMON_Q_AVAILLO, 8, i == 1 ? GPA0 + NET_CARD_RAM - 8 : GPA0 + 0x4000);
		wr(VIRTIO_COMMON_Q_USEDLO, 8, i == 2 ? GPA0 + 0x6001 : GPA0 + 0x6000);
		wr(VIRTIO_COMMON_Q_ENABLE, 2, 1);
		assert_int_equal(rd(VIRTIO_COMMON_Q_ENABLE, 2), 0);
		assert_true(rd(STATUS, 1) & VIRTIO_STATUS_NEEDS_RESET);
		stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(negotiation),
		cmocka_unit_test(offloads_are_the_cards),
		cmocka_unit_test(capabilities),
		cmocka_unit_test(transmits),
		cmocka_unit_test(frames_that_no_card_sends),
		cmocka_unit_test(offloads),
		cmocka_unit_test(bad_offloads),
		cmocka_unit_test(a_full_card),
		cmocka_unit_test(receives),
		cmocka_unit_test(lost_frames),
		cmocka_unit_test(interrupts_as_wanted),
		cmocka_unit_test(notifications),
		cmocka_unit_test(link_changes),
		cmocka_unit_test(control),
		cmocka_unit_test(reset_waits_for_dma),
		cmocka_unit_test(nonsense_needs_a_reset),
		cmocka_unit_test(rings_that_are_not_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
