/*
 * virtio_net.c - the virtio network card that the guest sees
 *
 * A modern (1.x) device, one queue pair and a control queue. BAR:
 *
 *	0x0000 common  0x0800 ISR  0x1000 device  0x2000 MSI-X (not here)  0x3000 notify
 *
 * Transmit: a chain is the header of 12 bytes, then a frame. The frame's head
 * is copied (share.h), the rest is sent from where it lies; the chain goes into
 * the used ring when the real card has sent it. Receive: chains are gathered
 * until the frame fits (mergeable buffers; without them one must do), the frame
 * is copied once. No buffer: the frame is lost.
 *
 *	reset -> (status bits of the driver) -> DRIVER_OK: running
 *	running -> nonsense in a queue: NEEDS_RESET; queues are not touched again
 *	any -> status 0: resetting until the real card has sent what it has, as its
 *	DMA may not go on in memory that the guest uses otherwise; then reset
 *
 * The address cannot be changed: it is the VMM's, too. Offloads are what the
 * real card does: checksums of received frames that it has checked (DATA_VALID),
 * and of frames to send, and cutting TCP over IPv4 into segments.
 *
 * bell() may come from any CPU and only sets bits; all else runs in the pump.
 *
 * [VIRTIO 1.1 §2.1, §4.1, §5.1]
 */
#include "net/emul/virtio_net.h"

#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "net/emul/virtq.h"

#define COMMON_OFF 0x0000u
#define ISR_OFF 0x0800u
#define DEVICE_OFF 0x1000u
#define NOTIFY_OFF 0x3000u
#define NOTIFY_MULTIPLIER 4u

enum { Q_RX, Q_TX, Q_CTRL, QUEUES };

/* Whole frames below this are copied: one descriptor of the real card, not two. */
#define COPY_BYTES 256u
/* Frames that one poll() takes from the guest. */
#define TX_BUDGET 128u
/* A buffer holds at least a header [§5.1.6.3.1]: a frame needs no more of them. */
#define RX_CHAINS_MAX ((NETIF_FRAME_MAX + 2 * sizeof(struct virtio_net_hdr)) / \
		       sizeof(struct virtio_net_hdr))
#define MACS_MAX 256u

#define FEATURE(f) (1ull << VIRTIO_##f)
#define FEATURES (FEATURE(NET_F_MAC) | FEATURE(NET_F_STATUS) | FEATURE(NET_F_MRG_RXBUF) | \
		  FEATURE(NET_F_CTRL_VQ) | FEATURE(NET_F_CTRL_RX) | FEATURE(NET_F_GUEST_CSUM) | \
		  FEATURE(NET_F_SPEED_DUPLEX) | FEATURE(F_RING_INDIRECT_DESC) | \
		  FEATURE(F_RING_EVENT_IDX) | FEATURE(F_VERSION_1))

struct virtio_net;

struct tx_note {
	struct virtio_net *e; /* (c) */
	u16 head; /* (c) */
};

struct virtio_net {
	struct nic_emul nic;
	struct emul_host *host; /* (c) */
	struct share *share; /* (c) */
	u32 df_select, gf_select, q_select;
	u64 features; /* what the driver wants */
	u8 status, isr, generation;
	bool resetting, resting; /* resting: share_tx_get() had no slot */
	u16 config_vector;
	u32 bells; /* (a) queues that the guest has rung for */
	struct virtq q[QUEUES];
	struct tx_note notes[VIRTQ_EMUL_SIZE_MAX];
	struct virtq_chain chain; /* scratch, not across calls */
	struct netif_filter filter;
	u16 rx_heads[RX_CHAINS_MAX]; /* scratch */
	u32 rx_bytes[RX_CHAINS_MAX];
	u8 macs[4 + 6 * MACS_MAX]; /* scratch */
	struct virtio_net_stats n;
};

static struct virtio_net *of(struct nic_emul *e)
{
	return container_of(e, struct virtio_net, nic);
}

static bool has(const struct virtio_net *e, u32 feature)
{
	return e->features >> feature & 1;
}

static u64 offered(const struct virtio_net *e)
{
	u32 card = share_features(e->share);

	return FEATURES | (card & NETIF_CSUM ? FEATURE(NET_F_CSUM) : 0) |
	       (card & NETIF_TSO ? FEATURE(NET_F_HOST_TSO4) : 0);
}

/* Of what is offered, what goes together. [§5.1.3.1] */
static bool features_ok(const struct virtio_net *e)
{
	return !(e->features & ~offered(e)) && has(e, VIRTIO_F_VERSION_1) &&
	       (!has(e, VIRTIO_NET_F_CTRL_RX) || has(e, VIRTIO_NET_F_CTRL_VQ)) &&
	       (!has(e, VIRTIO_NET_F_HOST_TSO4) || has(e, VIRTIO_NET_F_CSUM));
}

static bool running(const struct virtio_net *e)
{
	return (e->status & VIRTIO_STATUS_DRIVER_OK) && !(e->status & VIRTIO_STATUS_NEEDS_RESET) &&
	       !e->resetting;
}

/* ---------------------------------------------------------------- interrupts, trouble */

static void raise(struct virtio_net *e, u16 vector, u8 isr)
{
	e->isr |= isr;
	if (vector == VIRTIO_NO_VECTOR)
		return;
	e->n.irqs++;
	e->host->ops->irq(e->host, vector);
}

static void config_changed(struct virtio_net *e)
{
	e->generation++;
	if (e->status & VIRTIO_STATUS_DRIVER_OK)
		raise(e, e->config_vector, VIRTIO_ISR_CONFIG);
}

/* The guest has broken its queues: no more of them until it resets. */
static void broken(struct virtio_net *e, u32 q, int err)
{
	if (e->status & VIRTIO_STATUS_NEEDS_RESET)
		return;
	e->n.broken++;
	log_limited(LOG_WARN, "virtio-net: guest error queue=%u err=%s", q, err_name(err));
	e->status |= VIRTIO_STATUS_NEEDS_RESET;
	config_changed(e);
}

static void signal(struct virtio_net *e)
{
	for (u32 i = 0; i < QUEUES && running(e); i++) {
		int want = virtq_wants_irq(&e->q[i]);

		if (want < 0)
			broken(e, i, want);
		else if (want)
			raise(e, e->q[i].vector, VIRTIO_ISR_QUEUE);
	}
}

/* ---------------------------------------------------------------- transmit */

static void tx_done(void *ctx)
{
	struct tx_note *note = ctx;
	struct virtio_net *e = note->e;
	int err;

	if (!running(e))
		return;
	err = virtq_push(&e->q[Q_TX], note->head, 0);
	if (err)
		broken(e, Q_TX, err);
}

/* What is not copied, as host addresses. -E2BIG: too many pieces. */
static int tx_segs(struct virtio_net *e, struct share_tx *t, u32 skip)
{
	const struct virtq_chain *c = &e->chain;
	u32 max = t->mss ? SHARE_CUT_SEGS_MAX : SHARE_SEGS_MAX;

	for (u32 i = 0; i < c->n; i++) {
		const struct virtq_seg *s = &c->segs[i];
		int err;

		if (skip >= s->bytes) {
			skip -= s->bytes;
			continue;
		}
		if (t->n == max)
			return -E2BIG;
		t->segs[t->n].bytes = s->bytes - skip;
		err = e->host->ops->map(e->host, GPA(s->addr + skip), s->bytes - skip,
					&t->segs[t->n++].pa);
		if (err)
			return err;
		skip = 0;
	}
	return 0;
}

/* What the header wants done, into @t; false: what was not negotiated, or nonsense. */
static bool tx_wants(const struct virtio_net *e, const struct virtio_net_hdr *h, u32 bytes,
		     struct share_tx *t)
{
	bool sum = h->flags & VIRTIO_NET_HDR_NEEDS_CSUM;
	bool cut = h->gso_type == VIRTIO_NET_GSO_TCPV4;
	u32 at = h->csum_start + h->csum_offset;

	if (h->flags & ~VIRTIO_NET_HDR_NEEDS_CSUM || (sum && !has(e, VIRTIO_NET_F_CSUM)) ||
	    (cut && (!has(e, VIRTIO_NET_F_HOST_TSO4) || !sum || !h->gso_size)) ||
	    (!cut && h->gso_type != VIRTIO_NET_GSO_NONE) ||
	    bytes > (cut ? NETIF_CUT_MAX : NETIF_FRAME_MAX) || (sum && at + 2 > bytes))
		return false;
	t->csum_start = sum ? h->csum_start : 0;
	t->csum_at = sum ? (u16)at : 0;
	t->mss = cut ? h->gso_size : 0;
	return true;
}

/*
 * The chain becomes a frame of share's. Return: 0; an error of the guest's
 * memory. A frame that no card sends is 0, too, with nothing in it.
 */
static int tx_fill(struct virtio_net *e, struct share_tx *t)
{
	struct virtq *q = &e->q[Q_TX];
	struct virtio_net_hdr h;
	u32 bytes = e->chain.readable - sizeof(h), head;
	int err = virtq_copy_in(q, &e->chain, 0, &h, sizeof(h));

	if (err)
		return err;
	if (!tx_wants(e, &h, bytes, t)) {
		e->n.tx_dropped++;
		return 0;
	}
	head = bytes <= COPY_BYTES || (t->csum_at && t->csum_at + 2u > SHARE_HEAD_MIN) ?
	       bytes : SHARE_HEAD_MIN;
	err = tx_segs(e, t, sizeof(h) + head);
	if (err == -E2BIG) {
		head = bytes;
		t->n = 0;
	} else if (err) {
		return err;
	}
	if (head > NETIF_FRAME_MAX) { /* to be cut, and in too many pieces */
		e->n.tx_dropped++;
		return 0;
	}
	err = virtq_copy_in(q, &e->chain, sizeof(h), t->head, head);
	if (err)
		return err;
	t->head_bytes = head;
	e->n.tx_frames++;
	return 0;
}

/* Return: 1 a frame was taken; 0 none, or no room; an error. */
static int tx_one(struct virtio_net *e)
{
	struct share_tx *t = share_tx_get(e->share);
	int got, err = 0;

	if (!t) {
		e->resting = true;
		return 0;
	}
	got = virtq_pop(&e->q[Q_TX], &e->chain);
	if (got > 0) {
		t->done = tx_done;
		t->ctx = &e->notes[e->chain.head];
		if (e->chain.writable || e->chain.readable < sizeof(struct virtio_net_hdr))
			err = err_trace(-EINVAL);
		else
			err = tx_fill(e, t);
	}
	if (err || got <= 0)
		share_tx_drop(e->share, t);
	else
		share_tx_put(e->share, t); /* one without bytes is refused there, and done */
	return err ? err : got;
}

static bool tx_poll(struct virtio_net *e)
{
	u32 budget = TX_BUDGET;
	int n = 1;

	e->resting = false;
	while (running(e) && !e->resting && budget) {
		n = tx_one(e);
		if (n > 0) {
			budget--;
			continue;
		}
		if (!n && !e->resting)
			n = virtq_rearm(&e->q[Q_TX]);
		if (n < 0)
			broken(e, Q_TX, n);
		if (n <= 0)
			break;
	}
	return !budget;
}

static void tx_room(void *ctx)
{
	struct virtio_net *e = ctx;

	if (tx_poll(e))
		__atomic_or_fetch(&e->bells, BIT(Q_TX), __ATOMIC_RELAXED);
}

/* ---------------------------------------------------------------- receive */

/* Chains for @need bytes into rx_heads. Return: how many; 0: not enough; an error. */
static int rx_gather(struct virtio_net *e, u32 need)
{
	struct virtq *q = &e->q[Q_RX];
	u32 max = has(e, VIRTIO_NET_F_MRG_RXBUF) ? RX_CHAINS_MAX : 1, n = 0, room = 0;

	while (room < need && n < max) {
		int got = virtq_pop(q, &e->chain);

		if (got < 0)
			return got;
		if (!got)
			break;
		n++;
		if (e->chain.readable || e->chain.writable < sizeof(struct virtio_net_hdr))
			return err_trace(-EINVAL);
		e->rx_heads[n - 1] = e->chain.head;
		e->rx_bytes[n - 1] = MIN(e->chain.writable, need - room);
		room += e->rx_bytes[n - 1];
	}
	virtq_unpop(q, n); /* they are taken again, one by one */
	return room < need ? 0 : (int)n;
}

/*
 * A chain is looked at twice, for its room and for its addresses; what the
 * guest has changed in between fails the second look.
 */
static int rx_fill(struct virtio_net *e, u32 chains, const u8 *hdr, const u8 *frame)
{
	struct virtq *q = &e->q[Q_RX];
	u32 at = 0;

	for (u32 i = 0; i < chains; i++) {
		u32 bytes = e->rx_bytes[i], h = 0;
		int got = virtq_pop(q, &e->chain), err;

		if (got <= 0 || e->chain.head != e->rx_heads[i])
			return got < 0 ? got : err_trace(-EINVAL);
		if (!i) {
			h = sizeof(struct virtio_net_hdr);
			err = virtq_copy_out(q, &e->chain, 0, hdr, h);
			if (err)
				return err;
		}
		err = virtq_copy_out(q, &e->chain, h, frame + at, bytes - h);
		if (err)
			return err;
		at += bytes - h;
	}
	/* all of a frame's buffers appear before the guest hears of any */
	for (u32 i = 0; i < chains; i++) {
		int err = virtq_push(q, e->rx_heads[i], e->rx_bytes[i]);

		if (err)
			return err;
	}
	return 0;
}

static bool rx(void *ctx, const void *frame, u32 bytes, bool csum_ok)
{
	struct virtio_net *e = ctx;
	struct virtio_net_hdr h = { 0 };
	int n;

	if (!running(e))
		return false;
	n = rx_gather(e, sizeof(h) + bytes);
	if (n > 0) {
		h.flags = csum_ok && has(e, VIRTIO_NET_F_GUEST_CSUM) ?
			  VIRTIO_NET_HDR_DATA_VALID : 0;
		h.num_buffers = (u16)n;
		n = rx_fill(e, (u32)n, (const u8 *)&h, frame);
		if (!n) {
			e->n.rx_frames++;
			return true;
		}
	}
	if (n < 0)
		broken(e, Q_RX, n);
	else
		e->n.rx_no_buffer++;
	return false;
}

static void link(void *ctx)
{
	config_changed(ctx);
}

static const struct share_port_ops port_ops = { .rx = rx, .tx_room = tx_room, .link = link };

/* ---------------------------------------------------------------- control queue */

static bool ctrl_rx(struct virtio_net *e, u8 command, const u8 *data, u32 bytes)
{
	if (bytes != 1)
		return false;
	if (command == VIRTIO_NET_CTRL_RX_PROMISC)
		e->filter.promiscuous = data[0];
	else if (command == VIRTIO_NET_CTRL_RX_ALLMULTI)
		e->filter.all_multicast = data[0];
	else
		return false;
	return true;
}

/* One of the two tables: how many addresses; false: it does not fit. */
static bool table_at(const u8 *data, u32 bytes, u32 at, u32 *n)
{
	if (bytes < at + 4)
		return false;
	*n = get_le32(data + at);
	return *n <= (bytes - at - 4) / 6;
}

/* Other unicast addresses than ours: the card has no filter for them, all pass. */
static bool ctrl_mac(struct virtio_net *e, u8 command, const u8 *data, u32 bytes)
{
	u32 unicast, multicast, at;

	if (command != VIRTIO_NET_CTRL_MAC_TABLE_SET || !table_at(data, bytes, 0, &unicast))
		return false;
	at = 4 + 6 * unicast;
	if (!table_at(data, bytes, at, &multicast))
		return false;
	e->filter.promiscuous |= unicast > 1 ||
				 (unicast && memcmp(data + 4, share_mac(e->share), 6));
	e->filter.n = 0;
	if (multicast > NETIF_MULTICAST_MAX) {
		e->filter.all_multicast = true;
	} else {
		memcpy(e->filter.multicast, data + at + 4, 6 * multicast);
		e->filter.n = multicast;
	}
	return true;
}

static int ctrl_one(struct virtio_net *e)
{
	struct virtq *q = &e->q[Q_CTRL];
	u8 ack = VIRTIO_NET_ERR, head[2];
	int got = virtq_pop(q, &e->chain), err;
	u32 bytes;

	if (got <= 0)
		return got;
	if (e->chain.readable < sizeof(head) || !e->chain.writable)
		return err_trace(-EINVAL);
	e->n.commands++;
	bytes = e->chain.readable - (u32)sizeof(head);
	err = virtq_copy_in(q, &e->chain, 0, head, sizeof(head));
	if (!err && bytes <= sizeof(e->macs)) {
		err = virtq_copy_in(q, &e->chain, sizeof(head), e->macs, bytes);
		if (!err && ((head[0] == VIRTIO_NET_CTRL_RX &&
			      ctrl_rx(e, head[1], e->macs, bytes)) ||
			     (head[0] == VIRTIO_NET_CTRL_MAC &&
			      ctrl_mac(e, head[1], e->macs, bytes)))) {
			ack = VIRTIO_NET_OK;
			share_filter(e->share, &e->filter);
		}
	}
	if (!err)
		err = virtq_copy_out(q, &e->chain, 0, &ack, 1);
	if (!err)
		err = virtq_push(q, e->chain.head, 1);
	return err ? err : 1;
}

static void ctrl_poll(struct virtio_net *e)
{
	int n = 1;

	for (u32 i = 0; i < VIRTQ_EMUL_SIZE_MAX && n > 0 && running(e); i++) {
		n = ctrl_one(e);
		if (!n)
			n = virtq_rearm(&e->q[Q_CTRL]);
	}
	if (n < 0)
		broken(e, Q_CTRL, n);
}

/* ---------------------------------------------------------------- registers */

static void reset_finish(struct virtio_net *e)
{
	if (!e->resetting || share_tx_busy(e->share))
		return;
	e->resetting = false;
	e->status = e->isr = 0;
	e->features = 0;
	e->df_select = e->gf_select = e->q_select = 0;
	e->config_vector = VIRTIO_NO_VECTOR;
	__atomic_store_n(&e->bells, 0, __ATOMIC_RELAXED);
	for (u32 i = 0; i < QUEUES; i++)
		virtq_reset(&e->q[i]);
	/* a driver without a control queue gets every multicast */
	e->filter = (struct netif_filter){ .all_multicast = true };
	share_filter(e->share, &e->filter);
}

static void reset_begin(struct virtio_net *e)
{
	e->n.resets++;
	e->resetting = true;
	share_tx_flush(e->share);
	reset_finish(e);
}

static void set_status(struct virtio_net *e, u8 v)
{
	u8 was = e->status;

	if (!v) {
		reset_begin(e);
		return;
	}
	if (e->resetting)
		return;
	e->status |= v & (u8)~VIRTIO_STATUS_NEEDS_RESET;
	if (!(was & VIRTIO_STATUS_FEATURES_OK) && (v & VIRTIO_STATUS_FEATURES_OK)) {
		if (!features_ok(e))
			e->status &= (u8)~VIRTIO_STATUS_FEATURES_OK;
		for (u32 i = 0; i < QUEUES; i++) {
			e->q[i].event_idx = has(e, VIRTIO_F_RING_EVENT_IDX);
			e->q[i].indirect = has(e, VIRTIO_F_RING_INDIRECT_DESC);
		}
	}
	if (!(was & VIRTIO_STATUS_DRIVER_OK) && (e->status & VIRTIO_STATUS_DRIVER_OK))
		log_limited(LOG_INFO, "virtio-net: driver runs features=%llx",
			    (unsigned long long)e->features);
}

static u16 vector_ok(u64 v)
{
	return v < VIRTIO_NET_VECTORS ? (u16)v : VIRTIO_NO_VECTOR;
}

static void put(u8 *p, u64 v, u32 bytes)
{
	for (u32 i = 0; i < bytes; i++)
		p[i] = (u8)(v >> (8 * i));
}

/* The structure as it stands, for reads of any width. */
static void common_image(const struct virtio_net *e, u8 *c)
{
	const struct virtq *q = e->q_select < QUEUES ? &e->q[e->q_select] : NULL;

	memset(c, 0, VIRTIO_COMMON_BYTES);
	put(c + VIRTIO_COMMON_DFSELECT, e->df_select, 4);
	put(c + VIRTIO_COMMON_DF, e->df_select < 2 ? offered(e) >> (32 * e->df_select) : 0, 4);
	put(c + VIRTIO_COMMON_GFSELECT, e->gf_select, 4);
	put(c + VIRTIO_COMMON_GF, e->gf_select < 2 ? e->features >> (32 * e->gf_select) : 0, 4);
	put(c + VIRTIO_COMMON_MSIX, e->config_vector, 2);
	put(c + VIRTIO_COMMON_NUMQ, QUEUES, 2);
	c[VIRTIO_COMMON_STATUS] = e->status;
	c[VIRTIO_COMMON_CFGGENERATION] = e->generation;
	put(c + VIRTIO_COMMON_Q_SELECT, e->q_select, 2);
	if (!q)
		return;
	put(c + VIRTIO_COMMON_Q_SIZE, q->size, 2);
	put(c + VIRTIO_COMMON_Q_MSIX, q->vector, 2);
	put(c + VIRTIO_COMMON_Q_ENABLE, q->ready, 2);
	put(c + VIRTIO_COMMON_Q_NOFF, e->q_select, 2);
	put(c + VIRTIO_COMMON_Q_DESCLO, q->desc, 8);
	put(c + VIRTIO_COMMON_Q_AVAILLO, q->avail, 8);
	put(c + VIRTIO_COMMON_Q_USEDLO, q->used, 8);
}

static void set_half(u64 *field, bool high, u64 v, u32 bytes)
{
	if (bytes == 8)
		*field = v;
	else if (high)
		*field = (u32)*field | v << 32;
	else
		*field = (*field & ~0xffffffffull) | (u32)v;
}

/* A field of the selected queue, which is not enabled yet. */
static void queue_write(struct virtio_net *e, struct virtq *q, u32 off, u32 bytes, u64 v)
{
	int err;

	switch (off) {
	case VIRTIO_COMMON_Q_SIZE:
		if (v && v <= VIRTQ_EMUL_SIZE_MAX && !(v & (v - 1)))
			q->size = (u16)v;
		break;
	case VIRTIO_COMMON_Q_ENABLE:
		err = v == 1 ? virtq_start(q) : 0;
		if (err)
			broken(e, e->q_select, err);
		break;
	case VIRTIO_COMMON_Q_DESCLO:
	case VIRTIO_COMMON_Q_DESCHI:
		set_half(&q->desc, off & 4, v, bytes);
		break;
	case VIRTIO_COMMON_Q_AVAILLO:
	case VIRTIO_COMMON_Q_AVAILHI:
		set_half(&q->avail, off & 4, v, bytes);
		break;
	case VIRTIO_COMMON_Q_USEDLO:
	case VIRTIO_COMMON_Q_USEDHI:
		set_half(&q->used, off & 4, v, bytes);
		break;
	}
}

static void common_write(struct virtio_net *e, u32 off, u32 bytes, u64 v)
{
	struct virtq *q = e->q_select < QUEUES ? &e->q[e->q_select] : NULL;

	if (e->resetting)
		return;
	switch (off) {
	case VIRTIO_COMMON_DFSELECT:
		e->df_select = (u32)v;
		break;
	case VIRTIO_COMMON_GFSELECT:
		e->gf_select = (u32)v;
		break;
	case VIRTIO_COMMON_GF:
		if (e->gf_select < 2 && !(e->status & VIRTIO_STATUS_FEATURES_OK))
			set_half(&e->features, e->gf_select, v, 4);
		break;
	case VIRTIO_COMMON_MSIX:
		e->config_vector = vector_ok(v);
		break;
	case VIRTIO_COMMON_STATUS:
		set_status(e, (u8)v);
		break;
	case VIRTIO_COMMON_Q_SELECT:
		e->q_select = (u16)v;
		break;
	case VIRTIO_COMMON_Q_MSIX:
		if (q)
			q->vector = vector_ok(v);
		break;
	default:
		if (q && !q->ready)
			queue_write(e, q, off, bytes, v);
	}
}

static void device_image(const struct virtio_net *e, u8 *c)
{
	u32 mbps;
	bool up = share_link(e->share, &mbps);

	memset(c, 0, VIRTIO_NET_CFG_BYTES);
	memcpy(c + VIRTIO_NET_CFG_MAC, share_mac(e->share), 6);
	put(c + VIRTIO_NET_CFG_STATUS, up ? VIRTIO_NET_S_LINK_UP : 0, 2);
	put(c + VIRTIO_NET_CFG_MAX_PAIRS, 1, 2);
	put(c + VIRTIO_NET_CFG_SPEED, up ? mbps : ~0u, 4);
	c[VIRTIO_NET_CFG_DUPLEX] = up ? 1 : 0xff;
}

/* Up to 8 bytes of a structure of @size; what is beyond it reads 0. */
static u64 image_read(const u8 *image, u32 size, u64 off, u32 bytes)
{
	u64 v = 0;

	for (u32 i = 0; i < bytes; i++)
		if (off + i < size)
			v |= (u64)image[off + i] << (8 * i);
	return v;
}

static u64 mmio_read(struct virtio_net *e, u64 off, u32 bytes)
{
	u8 image[VIRTIO_COMMON_BYTES];
	u64 v = 0;

	if (off < VIRTIO_COMMON_BYTES) {
		common_image(e, image);
		v = image_read(image, VIRTIO_COMMON_BYTES, off, bytes);
	} else if (off == ISR_OFF) {
		v = e->isr;
		e->isr = 0;
	} else if (off >= DEVICE_OFF && off < DEVICE_OFF + VIRTIO_NET_CFG_BYTES) {
		device_image(e, image);
		v = image_read(image, VIRTIO_NET_CFG_BYTES, off - DEVICE_OFF, bytes);
	}
	return v;
}

static void virtio_net_mmio(struct nic_emul *nic, u64 off, u32 bytes, bool write, u64 *value)
{
	struct virtio_net *e = of(nic);
	u64 v = bytes < 8 ? *value & ((1ull << (8 * bytes)) - 1) : *value;

	reset_finish(e);
	if (!write)
		*value = mmio_read(e, off, bytes);
	else if (off < VIRTIO_COMMON_BYTES)
		common_write(e, (u32)off, bytes, v);
}

static bool virtio_net_bell(struct nic_emul *nic, u64 off, u64 value)
{
	struct virtio_net *e = of(nic);
	u64 q = (off - NOTIFY_OFF) / NOTIFY_MULTIPLIER;

	(void)value; /* the queue's number, once more */
	if (off < NOTIFY_OFF || q >= QUEUES)
		return false;
	__atomic_or_fetch(&e->bells, BIT(q), __ATOMIC_RELEASE);
	return true;
}

static bool virtio_net_poll(struct nic_emul *nic)
{
	struct virtio_net *e = of(nic);
	u32 bells;
	bool more = false;

	reset_finish(e);
	bells = __atomic_exchange_n(&e->bells, 0, __ATOMIC_ACQUIRE);
	if (bells & BIT(Q_CTRL))
		ctrl_poll(e);
	if (bells & BIT(Q_TX))
		more = tx_poll(e);
	if (more)
		__atomic_or_fetch(&e->bells, BIT(Q_TX), __ATOMIC_RELAXED);
	signal(e);
	return more;
}

static bool virtio_net_active(struct nic_emul *nic)
{
	return of(nic)->status || of(nic)->resetting;
}

static void virtio_net_say(struct nic_emul *nic)
{
	const struct virtio_net_stats *n = &of(nic)->n;

	log_info("figures: guest_rx_frames=%llu guest_rx_lost=%llu guest_tx_frames=%llu "
		 "guest_tx_dropped=%llu guest_nic_irqs=%llu guest_nic_resets=%llu "
		 "guest_nic_broken=%llu", (unsigned long long)n->rx_frames,
		 (unsigned long long)n->rx_no_buffer, (unsigned long long)n->tx_frames,
		 (unsigned long long)n->tx_dropped, (unsigned long long)n->irqs,
		 (unsigned long long)n->resets, (unsigned long long)n->broken);
}

static const struct nic_emul_ops virtio_net_ops = {
	.mmio = virtio_net_mmio,
	.bell = virtio_net_bell,
	.poll = virtio_net_poll,
	.active = virtio_net_active,
	.say = virtio_net_say,
};

/* ---------------------------------------------------------------- the outside */

u32 virtio_net_cap(u32 i, u8 out[20])
{
	static const struct { u8 type; u32 offset, bytes; } at[VIRTIO_NET_CAPS] = {
		{ VIRTIO_CAP_COMMON, COMMON_OFF, VIRTIO_COMMON_BYTES },
		{ VIRTIO_CAP_NOTIFY, NOTIFY_OFF, QUEUES * NOTIFY_MULTIPLIER },
		{ VIRTIO_CAP_ISR, ISR_OFF, 1 },
		{ VIRTIO_CAP_DEVICE, DEVICE_OFF, VIRTIO_NET_CFG_BYTES },
		{ VIRTIO_CAP_PCI_CFG, 0, 0 },
	};
	struct virtio_pci_cap c = {
		.cap_vndr = VIRTIO_CAP_ID, .cfg_type = at[i].type, .offset = at[i].offset,
		.length = at[i].bytes, .notify_off_multiplier = NOTIFY_MULTIPLIER,
	};
	bool wide = at[i].type == VIRTIO_CAP_NOTIFY || at[i].type == VIRTIO_CAP_PCI_CFG;

	if (at[i].type != VIRTIO_CAP_NOTIFY)
		c.notify_off_multiplier = 0;
	c.cap_len = wide ? 20 : 16;
	memcpy(out, &c, c.cap_len);
	return c.cap_len;
}

int virtio_net_create(struct emul_host *host, struct share *share, struct nic_emul **out)
{
	struct virtio_net *e = plat_alloc(sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->nic.ops = &virtio_net_ops;
	e->nic.name = "virtio-net";
	e->host = host;
	e->share = share;
	for (u32 i = 0; i < QUEUES; i++)
		e->q[i].host = host;
	for (u32 i = 0; i < VIRTQ_EMUL_SIZE_MAX; i++)
		e->notes[i] = (struct tx_note){ e, (u16)i };
	share_attach(share, &port_ops, e);
	e->resetting = true;
	reset_finish(e);
	*out = &e->nic;
	return 0;
}

void virtio_net_destroy(struct nic_emul *nic)
{
	share_detach(of(nic)->share);
	plat_free(of(nic));
}

const struct virtio_net_stats *virtio_net_stats(const struct nic_emul *nic)
{
	return &container_of(nic, struct virtio_net, nic)->n;
}
