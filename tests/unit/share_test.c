/* net/stack/share and sorter: who gets what, who may send what, and how much of the wire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/plat.h"
#include "base/plat_host.h"
#include "net/stack/share.h"
#include "tests/fakes/net_frames.h"

#define VMM_IP 0x0a000063u
#define GUEST_IP 0x0a000064u
#define SERVER 0x0a000001u
#define SERVER_PORT 8080
#define VMM_PORT 50001
#define XID 0x12345678u

static u32 vmm_ip, vmm_xid;

static u32 own_ip(void)
{
	return vmm_ip;
}

static u32 own_xid(void)
{
	return vmm_xid;
}

static bool owns_tcp(u32 rip, u16 rport, u16 lport)
{
	return rip == SERVER && rport == SERVER_PORT && lport == VMM_PORT;
}

static const struct sorter_vmm vmm = { own_ip, own_xid, owns_tcp };

/* ---------------------------------------------------------------- a card without a wire */

#define CARD_RING 64

static struct {
	struct netif_dev dev;
	struct { u8 data[NETIF_CUT_MAX]; u32 bytes; struct netif_tx t; } ring[CARD_RING];
	u32 head, count, room;
	u64 sent[2], sents; /* bytes by first byte of source MAC: 'g' or 'v' */
	u8 last[NETIF_CUT_MAX];
	u32 last_bytes;
	struct netif_tx last_tx;
	u8 rx[16][2048];
	u32 rx_bytes[16], rxs;
	bool link;
	struct netif_filter filter;
} card;

static int card_tx(struct netif_dev *d, const struct netif_tx *t)
{
	u32 i = (card.head + card.count) % CARD_RING, n = 0;

	(void)d;
	if (card.count == card.room)
		return -ENOBUFS;
	for (u32 k = 0; k < t->n; k++) {
		memcpy(card.ring[i].data + n, plat_phys_to_virt(t->segs[k].pa), t->segs[k].bytes);
		n += t->segs[k].bytes;
	}
	assert_in_range(n, 60, t->mss ? NETIF_CUT_MAX : NETIF_FRAME_MAX);
	card.ring[i].bytes = n;
	card.ring[i].t = *t;
	card.count++;
	return 0;
}

/* The wire takes @n frames. */
static void card_send(u32 n)
{
	while (n-- && card.count) {
		u32 i = card.head;

		card.sents++;
		card.sent[card.ring[i].data[6] == 'v'] += card.ring[i].bytes;
		memcpy(card.last, card.ring[i].data, card.ring[i].bytes);
		card.last_bytes = card.ring[i].bytes;
		card.last_tx = card.ring[i].t;
		card.head = (i + 1) % CARD_RING;
		card.count--;
		card.ring[i].t.done(card.ring[i].t.ctx);
	}
}

static u32 card_poll(struct netif_dev *d, void (*input)(void *, const void *, u32, bool), void *ctx)
{
	u32 n = card.rxs;

	(void)d;
	for (u32 i = 0; i < n; i++)
		input(ctx, card.rx[i], card.rx_bytes[i], i & 1);
	card.rxs = 0;
	return n;
}

static bool card_link(struct netif_dev *d)
{
	(void)d;
	return card.link;
}

static u32 card_mbps(struct netif_dev *d)
{
	(void)d;
	return 100;
}

static void card_filter(struct netif_dev *d, const struct netif_filter *f)
{
	(void)d;
	card.filter = *f;
}

static const struct netif_ops card_ops = {
	.tx = card_tx, .poll = card_poll, .link_up = card_link, .link_mbps = card_mbps,
	.filter = card_filter,
};

/* ---------------------------------------------------------------- both users */

static struct share *s;
static struct { u32 n, bytes, links, rooms; bool full; u8 last[2048]; } guest;
static struct { u32 n, bytes; } vmm_in;
static u32 dones;

static bool guest_rx(void *ctx, const void *frame, u32 bytes, bool csum_ok)
{
	(void)csum_ok;
	assert_ptr_equal(ctx, &guest);
	guest.n++;
	guest.bytes += bytes;
	memcpy(guest.last, frame, bytes);
	return !guest.full;
}

static void guest_room(void *ctx)
{
	(void)ctx;
	guest.rooms++;
}

static void guest_link(void *ctx)
{
	(void)ctx;
	guest.links++;
}

static const struct share_port_ops port = { guest_rx, guest_room, guest_link };

static void vmm_input(void *ctx, const void *frame, u32 bytes, bool csum_ok)
{
	(void)ctx;
	(void)frame;
	(void)csum_ok;
	vmm_in.n++;
	vmm_in.bytes += bytes;
}

static void done(void *ctx)
{
	(void)ctx;
	dones++;
}

static void start(void)
{
	plat_host_quiet = true;
	memset(&card, 0, sizeof(card));
	memset(&guest, 0, sizeof(guest));
	memset(&vmm_in, 0, sizeof(vmm_in));
	dones = 0;
	card.dev.ops = &card_ops;
	card.room = CARD_RING;
	card.link = true;
	memcpy(card.dev.mac, frame_mac, 6);
	vmm_ip = VMM_IP;
	vmm_xid = XID;
	assert_int_equal(share_create(&card.dev, &s), 0);
	share_vmm(s, &vmm);
	share_attach(s, &port, &guest);
	share_netif(s)->ops->poll(share_netif(s), vmm_input, NULL);
}

static void stop(void)
{
	card_send(CARD_RING);
	share_detach(s);
	card_send(CARD_RING);
	assert_int_equal(share_tx_busy(s), 0);
	share_destroy(s);
}

static void wire(const u8 *f, u32 bytes)
{
	memcpy(card.rx[card.rxs], f, bytes);
	card.rx_bytes[card.rxs++] = bytes;
}

/* Hands the frame in; returns who got it. */
static u32 who(const struct frame_spec *spec)
{
	u8 f[1600];
	u32 bytes = frame_build(f, spec), g = guest.n, v = vmm_in.n;

	wire(f, bytes);
	assert_int_equal(share_poll(s), 1);
	return (guest.n > g ? SORTER_GUEST : 0) | (vmm_in.n > v ? SORTER_VMM : 0);
}

/* The guest sends @bytes of @f, @head of them copied. Returns: did it go out? */
static bool guest_sends(const u8 *f, u32 bytes, u32 head)
{
	u32 sents = card.sents, was = dones;
	struct share_tx *t = share_tx_get(s);

	assert_non_null(t);
	assert_true(head <= SHARE_HEAD_ROOM);
	memcpy(t->head, f, head);
	t->head_bytes = head;
	for (u32 at = head; at < bytes; at += t->segs[t->n++].bytes) {
		t->segs[t->n].pa = plat_virt_to_phys((void *)(uintptr_t)(f + at));
		t->segs[t->n].bytes = MIN(bytes - at, (bytes - head) / SHARE_SEGS_MAX + 1);
	}
	t->done = done;
	share_tx_put(s, t);
	card_send(CARD_RING);
	assert_int_equal(dones, was + 1);
	return card.sents > sents;
}

static bool guest_sends_spec(const struct frame_spec *spec)
{
	u8 f[1600];
	u32 n = frame_build(f, spec);

	return guest_sends(f, n, MIN(n, SHARE_HEAD_MIN));
}

/* ---------------------------------------------------------------- received */

static const struct {
	struct frame_spec f;
	u32 to; /* with an address each */
	u32 same; /* with one address for both */
} received[] = {
#define TCP(d, s, di, sp, dp, fr) .dst = d, .src = s, .dst_ip = di, .proto = 6, \
	.sport = sp, .dport = dp, .frag = fr
#define UDP(d, s, di, sp, dp) .dst = d, .src = s, .dst_ip = di, .proto = 17, \
	.sport = sp, .dport = dp
#define ARP(d, s, di) .dst = d, .type = 0x0806, .src = s, .dst_ip = di
	{ { "tcp to the VMM", TCP('u', SERVER, VMM_IP, 8080, VMM_PORT, 0) }, 1, 1 },
	{ { "tcp to the VMM's address, not its connection",
	    TCP('u', SERVER, VMM_IP, 8080, 22, 0) }, 1, 2 },
	{ { "first fragment", TCP('u', SERVER, VMM_IP, 8080, VMM_PORT, 0x2000) }, 1, 1 },
	{ { "later fragment", TCP('u', SERVER, VMM_IP, 8080, VMM_PORT, 0x0010) }, 1, 2 },
	{ { "tcp to the guest", TCP('u', SERVER, GUEST_IP, 8080, VMM_PORT, 0) }, 2, 2 },
	{ { "udp to the VMM", UDP('u', SERVER, VMM_IP, 53, 4000) }, 1, 2 },
	{ { "udp to the guest", UDP('u', SERVER, GUEST_IP, 53, 4000) }, 2, 2 },
	{ { "icmp to the VMM", .dst = 'u', .src = SERVER, .dst_ip = VMM_IP,
	    .proto = 1 }, 1, 2 },
	{ { "icmp to the guest", .dst = 'u', .src = SERVER, .dst_ip = GUEST_IP,
	    .proto = 1 }, 2, 2 },
	{ { "not for this MAC", TCP('o', SERVER, VMM_IP, 8080, VMM_PORT, 0) }, 2, 2 },
	{ { "broadcast", UDP('b', SERVER, 0xffffffff, 137, 137) }, 3, 3 },
	{ { "multicast", UDP('m', SERVER, 0xe00000fb, 5353, 5353) }, 3, 3 },
	{ { "arp, broadcast", ARP('b', SERVER, VMM_IP) }, 3, 3 },
	{ { "arp for the VMM", ARP('u', SERVER, VMM_IP) }, 1, 3 },
	{ { "arp for the guest", ARP('u', SERVER, GUEST_IP) }, 2, 2 },
	{ { "short arp", ARP('u', SERVER, VMM_IP), .bytes = 14 + 27 }, 2, 2 },
	{ { "vlan", TCP('u', SERVER, VMM_IP, 8080, VMM_PORT, 0), .tag = 1 + 7 }, 2, 2 },
	{ { "priority tag", TCP('u', SERVER, VMM_IP, 8080, VMM_PORT, 0), .tag = 1 }, 2, 2 },
	{ { "ipv6", .dst = 'u', .type = 0x86dd }, 2, 2 },
	{ { "ipv6 multicast", .dst = 'm', .type = 0x86dd }, 2, 2 },
	{ { "lldp", .dst = 'm', .type = 0x88cc }, 2, 2 },
	{ { "no ip header", TCP('u', SERVER, VMM_IP, 8080, VMM_PORT, 0), .bytes = 33 }, 2, 2 },
	{ { "nothing but a header", TCP('u', SERVER, VMM_IP, 1, 1, 0), .bytes = 14 }, 2, 2 },
	{ { "ports cut off", TCP('u', SERVER, VMM_IP, 8080, VMM_PORT, 0), .bytes = 37 }, 1, 2 },
	{ { "dhcp to the VMM, broadcast", UDP('b', SERVER, 0xffffffff, 67, 68), .xid = XID,
	    .yiaddr = VMM_IP, .dhcp_type = 2 }, 1, 1 },
	{ { "dhcp to the VMM", UDP('u', SERVER, VMM_IP, 67, 68), .xid = XID,
	    .yiaddr = VMM_IP, .dhcp_type = 5 }, 1, 1 },
	{ { "dhcp to the guest, broadcast", UDP('b', SERVER, 0xffffffff, 67, 68), .xid = 9,
	    .dhcp_type = 2 }, 2, 2 },
	{ { "dhcp to the guest", UDP('u', SERVER, GUEST_IP, 67, 68), .xid = 9,
	    .dhcp_type = 2 }, 2, 2 },
	{ { "dhcp cut off", UDP('u', SERVER, VMM_IP, 67, 68), .xid = XID, .bytes = 100 }, 1, 2 },
};

static void same_ip(void)
{
	struct frame_spec ack = { "ack", UDP('u', SERVER, VMM_IP, 67, 68), .xid = 9,
				  .yiaddr = VMM_IP, .dhcp_type = 5 };

	assert_int_equal(who(&ack), SORTER_GUEST);
}

static void who_gets_what(void **state)
{
	(void)state;
	for (u32 same = 0; same < 2; same++) {
		start();
		if (same)
			same_ip();
		for (u32 i = 0; i < ARRAY_SIZE(received); i++) {
			u32 want = same ? received[i].same : received[i].to;
			u32 got = who(&received[i].f);

			if (got != want)
				print_error("%s, same=%u: to %u, not to %u\n", received[i].f.name,
					    same, got, want);
			assert_int_equal(got, want);
		}
		stop();
	}
}

/* Without an address of its own the VMM gets broadcasts and its DHCP answers only. */
static void before_the_lease(void **state)
{
	(void)state;
	start();
	vmm_ip = 0;
	for (u32 i = 0; i < ARRAY_SIZE(received); i++) {
		bool dhcp = received[i].f.xid == XID && !received[i].f.bytes;
		u32 want = dhcp ? SORTER_VMM : received[i].to == SORTER_BOTH ? SORTER_BOTH :
			   SORTER_GUEST;

		assert_int_equal(who(&received[i].f), want);
	}
	stop();
}

/* Without a guest everything is the VMM's, and a guest that leaves takes nothing along. */
static void without_a_guest(void **state)
{
	(void)state;
	start();
	share_filter(s, &(struct netif_filter){ .promiscuous = true });
	assert_true(card.filter.promiscuous);
	share_detach(s);
	assert_false(card.filter.promiscuous);
	for (u32 i = 0; i < ARRAY_SIZE(received); i++)
		assert_int_equal(who(&received[i].f), SORTER_VMM);
	assert_int_equal(guest.n, 0);
	stop();
}

/* The guest's lease is believed from an acknowledgement alone, and forgotten with another. */
static void lease_of_the_guest(void **state)
{
	struct frame_spec ping = { "ping", .dst = 'u', .src = SERVER,
				   .dst_ip = VMM_IP, .proto = 1 };
	struct frame_spec msg = { "dhcp", UDP('u', SERVER, VMM_IP, 67, 68), .xid = 9,
				  .yiaddr = VMM_IP, .dhcp_type = 2 };

	(void)state;
	start();
	who(&msg);
	assert_int_equal(who(&ping), SORTER_VMM);
	msg.dhcp_type = 5;
	who(&msg);
	assert_int_equal(who(&ping), SORTER_GUEST);
	msg.yiaddr = GUEST_IP;
	who(&msg);
	assert_int_equal(who(&ping), SORTER_VMM);
	/* the VMM comes to the guest's address later */
	vmm_ip = GUEST_IP;
	ping.dst_ip = GUEST_IP;
	assert_int_equal(who(&ping), SORTER_GUEST);
	stop();
}

static void lost_without_a_buffer(void **state)
{
	struct frame_spec f = { "udp", UDP('u', SERVER, GUEST_IP, 1, 2) };

	(void)state;
	start();
	guest.full = true;
	assert_int_equal(who(&f), SORTER_GUEST);
	assert_int_equal(share_counters(s)->rx_guest_lost, 1);
	stop();
}

/* ---------------------------------------------------------------- sent */

static const struct {
	struct frame_spec f;
	bool out, same;
} sent[] = {
	{ { "tcp", TCP('o', GUEST_IP, SERVER, 1000, 8080, 0) }, true, true },
	{ { "tcp as the VMM", TCP('o', VMM_IP, SERVER, 1000, 8080, 0) }, false, true },
	{ { "the VMM's connection", TCP('o', VMM_IP, SERVER, VMM_PORT, 8080, 0) }, false, false },
	{ { "the VMM's connection, tagged 0",
	    TCP('o', VMM_IP, SERVER, VMM_PORT, 8080, 0), .tag = 1 }, false, false },
	{ { "the VMM's connection, in another VLAN",
	    TCP('o', VMM_IP, SERVER, VMM_PORT, 8080, 0), .tag = 1 + 5 }, true, true },
	{ { "later fragment as the VMM", TCP('o', VMM_IP, SERVER, 1, 2, 0x10) }, false, true },
	{ { "udp as the VMM", UDP('o', VMM_IP, SERVER, 1, 2) }, false, true },
	{ { "udp", UDP('o', GUEST_IP, SERVER, 1, 2) }, true, true },
	{ { "to the VMM", UDP('u', GUEST_IP, VMM_IP, 1, 2) }, true, true },
	{ { "arp", ARP('b', GUEST_IP, VMM_IP) }, true, true },
	{ { "arp as the VMM", ARP('b', VMM_IP, VMM_IP) }, false, true },
	{ { "arp as the VMM, tagged 0", ARP('b', VMM_IP, SERVER), .tag = 1 }, false, true },
	{ { "arp probe", ARP('b', 0, VMM_IP) }, true, true },
	{ { "dhcp discover", UDP('b', 0, 0xffffffff, 68, 67), .xid = 9, .dhcp_type = 1 },
	  true, true },
	{ { "dhcp release of the VMM's lease", UDP('o', GUEST_IP, SERVER, 68, 67),
	    .ciaddr = VMM_IP, .dhcp_type = 7 }, false, true },
	{ { "dhcp release", UDP('o', GUEST_IP, SERVER, 68, 67), .ciaddr = GUEST_IP,
	    .dhcp_type = 7 }, true, true },
	{ { "ipv6", .dst = 'o', .type = 0x86dd }, true, true },
	{ { "a header alone", .dst = 'o', .type = 0x88b5, .bytes = 14 }, true, true },
	{ { "tcp without ports", TCP('o', VMM_IP, SERVER, 1, 2, 0), .bytes = 37 }, false, false },
};

static void who_may_send_what(void **state)
{
	(void)state;
	for (u32 same = 0; same < 2; same++) {
		start();
		if (same)
			same_ip();
		for (u32 i = 0; i < ARRAY_SIZE(sent); i++) {
			bool want = same ? sent[i].same : sent[i].out;
			bool out = guest_sends_spec(&sent[i].f);

			if (out != want)
				print_error("%s, same=%u\n", sent[i].f.name, same);
			assert_int_equal(out, want);
		}
		vmm_ip = 0;
		for (u32 i = 0; i < ARRAY_SIZE(sent); i++)
			assert_true(guest_sends_spec(&sent[i].f));
		stop();
	}
}

/* Every length: what is in the head and what is not arrives in one piece, or not at all. */
static void sizes(void **state)
{
	u8 f[1700];

	(void)state;
	start();
	for (u32 i = 0; i < sizeof(f); i++)
		f[i] = (u8)(i * 7 + (i >> 8) + 2);
	for (u32 n = 1; n <= SHARE_HEAD_ROOM; n++) {
		bool fits = n >= NETIF_HEAD_BYTES && n <= NETIF_FRAME_MAX;

		assert_int_equal(guest_sends(f, n, n), fits);
		if (fits) {
			assert_int_equal(card.last_bytes, MAX(n, 60u));
			assert_memory_equal(card.last, f, n);
		}
		if (n <= SHARE_HEAD_MIN)
			continue;
		assert_int_equal(guest_sends(f, n, SHARE_HEAD_MIN), fits);
		if (fits)
			assert_memory_equal(card.last, f, n);
		/* the head must hold all that is looked at */
		assert_false(guest_sends(f, n, SHARE_HEAD_MIN - 1));
	}
	assert_false(guest_sends(f, 1600, SHARE_HEAD_MIN));
	assert_true(share_counters(s)->tx_oversize > 0);
	/* short frames are padded with nothing of anybody's */
	guest_sends(f, 20, 20);
	for (u32 i = 20; i < 60; i++)
		assert_int_equal(card.last[i], 0);
	stop();
}

static u32 sum(const u8 *p, u32 n)
{
	u32 v = 0;

	for (u32 i = 0; i < n; i++)
		v += i & 1 ? p[i] : (u32)p[i] << 8;
	while (v >> 16)
		v = (v & 0xffff) + (v >> 16);
	return v;
}

/* A header that the card can do something with: TCP or UDP over IPv4, pure and simple. */
static void plain_header(u8 *f, u8 proto, u32 ip_bytes, u32 tcp_bytes)
{
	u8 *ip = f + NETIF_HEAD_BYTES;

	f[12] = 8;
	f[13] = 0;
	ip[0] = (u8)(0x40 | ip_bytes / 4);
	ip[6] = 0x40; /* not to be fragmented */
	ip[7] = 0;
	ip[9] = proto;
	memcpy(ip + 12, "\x0a\x00\x00\x64\x0a\x00\x00\x01", 8);
	ip[ip_bytes + 12] = (u8)(tcp_bytes << 2);
}

static void checksums(void **state)
{
	static const struct { u32 features; u8 proto; bool card; } rounds[] = {
		{ 0, 6, false }, { NETIF_CSUM, 0, false }, { NETIF_CSUM, 6, true },
		{ NETIF_CSUM, 17, true }, { NETIF_CSUM, 1, false }, { 0, 0, false },
	};
	u8 f[1500];

	(void)state;
	start();
	for (u32 round = 0; round < ARRAY_SIZE(rounds); round++)
		for (u32 n = 200; n < 1500; n += 13) {
			struct share_tx *t = share_tx_get(s);

			for (u32 i = 0; i < n; i++)
				f[i] = (u8)(i * 31 + n);
			f[12] = 0x88;
			if (rounds[round].proto)
				plain_header(f, rounds[round].proto, 20, 20);
			memcpy(t->head, f, 131);
			t->head_bytes = 131;
			t->segs[0] = (struct netif_seg){ plat_virt_to_phys(f + 131), 33 };
			t->segs[1] = (struct netif_seg){ plat_virt_to_phys(f + 164), n - 164 };
			t->n = 2;
			t->csum_start = 34;
			t->csum_at = 50;
			t->done = done;
			card.dev.features = rounds[round].features;
			share_tx_put(s, t);
			card_send(1);
			assert_int_equal(card.last_bytes, n);
			if (rounds[round].card) {
				assert_int_equal(card.last_tx.csum_at, 50);
				assert_int_equal(card.last_tx.csum_start, 34);
				assert_memory_equal(card.last, f, n);
				continue;
			}
			assert_int_equal(card.last_tx.csum_at, 0);
			/* the field held a part of the sum: now all of it gives that again */
			u32 v = sum(card.last + 34, n - 34) + (u32)(f[50] << 8 | f[51]);

			assert_int_equal((v & 0xffff) + (v >> 16), 0xffff);
		}
	stop();
}

/* A frame made longer has more than its headers say: its sum is not the card's. */
static void checksum_of_a_short_frame(void **state)
{
	struct share_tx *t;

	(void)state;
	for (u32 n = 54; n < 64; n++) {
		start();
		card.dev.features = NETIF_CSUM;
		t = share_tx_get(s);
		memset(t->head, 0x35, n);
		plain_header(t->head, 6, 20, 20);
		t->head_bytes = n;
		t->csum_start = 34;
		t->csum_at = 50;
		share_tx_put(s, t);
		card_send(1);
		assert_int_equal(card.last_tx.csum_at, n < 60 ? 0 : 50);
		stop();
	}
}

/* @bytes of the guest's for the card to cut; false: refused. */
static bool guest_cuts(u8 *f, u32 bytes, u32 head, u32 ip_bytes, u16 mss)
{
	struct share_tx *t = share_tx_get(s);
	u32 piece = MAX(bytes / 20 + 1, 190u);
	u64 sents = card.sents;

	assert_non_null(t);
	memcpy(t->head, f, head);
	t->head_bytes = head;
	for (u32 at = head; at < bytes; at += t->segs[t->n++].bytes) {
		t->segs[t->n].pa = plat_virt_to_phys(f + at);
		t->segs[t->n].bytes = MIN(bytes - at, piece);
	}
	t->csum_start = (u16)(NETIF_HEAD_BYTES + ip_bytes);
	t->csum_at = (u16)(t->csum_start + 16);
	t->mss = mss;
	t->done = done;
	share_tx_put(s, t);
	card_send(1);
	return card.sents > sents;
}

static void segmentation(void **state)
{
	static u8 f[NETIF_CUT_MAX + 100];

	(void)state;
	start();
	card.dev.features = NETIF_CSUM | NETIF_TSO;
	for (u32 n = 1600; n <= NETIF_CUT_MAX; n += 1 + n / 3)
		for (u32 ip = 20; ip <= 60; ip += 20)
			for (u32 tcp = 20; tcp <= 60 && ip + tcp <= 100; tcp += 20) {
				u32 h = 14 + ip + tcp;

				memset(f, 0x77, sizeof(f));
				plain_header(f, 6, ip, tcp);
				assert_true(guest_cuts(f, n, SHARE_HEAD_MIN, ip, 1400));
				assert_int_equal(card.last_bytes, n);
				assert_int_equal(card.last_tx.mss, 1400);
				assert_int_equal(card.last_tx.header_bytes, h);
				/* addresses and protocol: a00 + 64 + a00 + 1 + 6 */
				assert_memory_equal(card.last + 14 + ip + 16, "\x14\x6b", 2);
				assert_memory_equal(card.last + 16, "\0\0", 2);
				assert_memory_equal(card.last + 24, "\0\0", 2);
				assert_memory_equal(card.last + h, f + h, n - h);
			}
	/* what fits into one segment is a frame like others */
	memset(f, 0x77, sizeof(f));
	plain_header(f, 6, 20, 20);
	assert_true(guest_cuts(f, 54 + 1400, SHARE_HEAD_MIN, 20, 1400));
	assert_int_equal(card.last_tx.mss, 0);
	assert_int_equal(card.last_tx.csum_at, 50);
	assert_memory_equal(card.last, f, 54 + 1400);
	/* and has no more pieces than they */
	assert_false(guest_cuts(f, 54 + 1464, SHARE_HEAD_MIN, 20, 1464));
	stop();
}

/* What the card would make nonsense of, or more of than a frame. */
static void bad_segmentation_requests(void **state)
{
	static u8 f[NETIF_CUT_MAX + 100];
	u32 bad = 0;

	(void)state;
	start();
	for (u32 i = 0; i < 14; i++) {
		u32 n = 8000, ip = 20;
		u16 mss = 1400;

		card.dev.features = NETIF_CSUM | NETIF_TSO;
		memset(f, 0x77, sizeof(f));
		plain_header(f, 6, 20, 20);
		switch (i) {
		case 0: card.dev.features = NETIF_CSUM; break;
		case 1: f[12] = 0x81; break; /* a tag */
		case 2: f[14] = 0x65; break; /* IPv6 */
		case 3: f[14] = 0x44; break; /* header too short */
		case 4: f[20] = 0x20; break; /* a fragment */
		case 5: f[21] = 1; break; /* another */
		case 6: f[23] = 17; break; /* UDP */
		case 7: f[46] = 0x40; break; /* TCP header too short */
		case 8: f[14] = 0x4f, ip = 60, f[86] = 0xf0; break; /* headers beyond the head */
		case 9: ip = 24; break; /* begins elsewhere */
		case 10: mss = 1500; break;
		case 11: mss = 65535; break;
		case 12: n = NETIF_CUT_MAX + 1; break;
		case 13: n = 53; break; /* not even the headers */
		}
		if (guest_cuts(f, n, MIN(n, SHARE_HEAD_MIN), ip, mss)) {
			print_error("case %u\n", i);
			fail();
		}
		assert_int_equal(dones, ++bad);
	}
	/* as it was, it goes */
	card.dev.features = NETIF_CSUM | NETIF_TSO;
	memset(f, 0x77, sizeof(f));
	plain_header(f, 6, 20, 20);
	assert_true(guest_cuts(f, 8000, SHARE_HEAD_MIN, 20, 1400));
	stop();
}

static void bad_checksum_requests(void **state)
{
	static const struct { u16 start, at; } bad[] = {
		{ 34, 200 }, { 34, 127 }, { 0, 10 }, { 60, 50 }, { 500, 600 },
	};

	(void)state;
	start();
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		struct share_tx *t = share_tx_get(s);

		memset(t->head, 0x11, 128);
		t->head_bytes = 128;
		t->csum_start = bad[i].start;
		t->csum_at = bad[i].at;
		t->done = done;
		share_tx_put(s, t);
		assert_int_equal(dones, i + 1);
		assert_int_equal(card.count, 0);
	}
	assert_int_equal(share_counters(s)->tx_bad, ARRAY_SIZE(bad));
	stop();
}

/* ---------------------------------------------------------------- the wire's share */

static u8 vmm_frame[NETIF_FRAME_MAX];

static int vmm_sends(u32 bytes)
{
	struct netif_seg seg = { plat_virt_to_phys(vmm_frame), bytes };
	struct netif_dev *d = share_netif(s);

	vmm_frame[6] = 'v';
	return d->ops->tx(d, &(struct netif_tx){ .segs = &seg, .n = 1, .done = done });
}

static bool guest_queues(u32 bytes)
{
	static u8 f[NETIF_FRAME_MAX];
	struct share_tx *t = share_tx_get(s);

	if (!t)
		return false;
	f[6] = 'g';
	memcpy(t->head, f, MIN(bytes, SHARE_HEAD_MIN));
	t->head_bytes = MIN(bytes, SHARE_HEAD_MIN);
	if (bytes > SHARE_HEAD_MIN) {
		t->segs[0] = (struct netif_seg){ plat_virt_to_phys(f + SHARE_HEAD_MIN),
						 bytes - SHARE_HEAD_MIN };
		t->n = 1;
	}
	t->done = done;
	share_tx_put(s, t);
	return true;
}

/* Both flood, with frames of any size: each gets half the bytes. */
static void neither_starves(void **state)
{
	static const struct { u32 guest, vmm; } floods[] = {
		{ 1514, 1514 }, { 60, 1514 }, { 1514, 60 }, { 200, 333 },
	};

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(floods); i++) {
		start();
		card.room = 16;
		for (u32 turn = 0; turn < 20000; turn++) {
			while (guest_queues(floods[i].guest))
				;
			while (!vmm_sends(floods[i].vmm))
				;
			card_send(1);
			share_poll(s);
		}
		u64 all = card.sent[0] + card.sent[1];

		assert_in_range(card.sent[0], all * 48 / 100, all * 52 / 100);
		/* alone, the guest has the whole wire, at once */
		card_send(CARD_RING);
		for (u32 k = 0; k < 100; k++) {
			share_poll(s);
			card_send(CARD_RING);
		}
		assert_int_equal(share_tx_busy(s), 0);
		stop();
	}
}

/* A frame of the VMM's waits for a bounded number of the guest's bytes. */
static void small_beside_a_flood(void **state)
{
	(void)state;
	start();
	card.room = 8;
	for (u32 turn = 0; turn < 500; turn++) {
		u64 before;

		while (guest_queues(1514))
			;
		before = card.sent[0];
		vmm_frame[7] = (u8)turn;
		assert_int_equal(vmm_sends(60), 0);
		for (u64 v = card.sent[1]; card.sent[1] == v;) {
			card_send(1);
			share_poll(s);
		}
		assert_true(card.sent[0] - before <= (8 + 5) * 1514);
	}
	stop();
}

static void room_is_told(void **state)
{
	(void)state;
	start();
	card.room = 4;
	while (guest_queues(100))
		;
	share_poll(s);
	assert_int_equal(guest.rooms, 0);
	card_send(1);
	share_poll(s);
	assert_int_equal(guest.rooms, 1);
	share_poll(s);
	assert_int_equal(guest.rooms, 1);
	assert_true(guest_queues(100));
	/* a reset drops what has not gone out */
	assert_false(guest_queues(100));
	share_tx_flush(s);
	assert_int_equal(share_tx_busy(s), 4);
	share_poll(s);
	assert_int_equal(guest.rooms, 1);
	stop();
}

static void link_is_told(void **state)
{
	u32 mbps;

	(void)state;
	start();
	assert_true(share_link(s, &mbps));
	assert_int_equal(mbps, 100);
	share_poll(s);
	assert_int_equal(guest.links, 0);
	card.link = false;
	share_poll(s);
	share_poll(s);
	assert_int_equal(guest.links, 1);
	assert_false(share_link(s, &mbps));
	assert_int_equal(mbps, 0);
	assert_false(share_netif(s)->ops->link_up(share_netif(s)));
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_gets_what),
		cmocka_unit_test(before_the_lease),
		cmocka_unit_test(without_a_guest),
		cmocka_unit_test(lease_of_the_guest),
		cmocka_unit_test(lost_without_a_buffer),
		cmocka_unit_test(who_may_send_what),
		cmocka_unit_test(sizes),
		cmocka_unit_test(checksums),
		cmocka_unit_test(bad_checksum_requests),
		cmocka_unit_test(checksum_of_a_short_frame),
		cmocka_unit_test(segmentation),
		cmocka_unit_test(bad_segmentation_requests),
		cmocka_unit_test(neither_starves),
		cmocka_unit_test(small_beside_a_flood),
		cmocka_unit_test(room_is_told),
		cmocka_unit_test(link_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
