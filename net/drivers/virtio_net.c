/*
 * virtio_net.c - driver for virtio-net: PCs that are virtual machines themselves
 *
 * Modern devices (virtio 1.0 and later) alone; a transitional one has the modern
 * registers too. One pair of queues, and the control queue where there is one.
 *
 * Receive: descriptor i stands for buffer i, for ever; a buffer holds the
 * header and one frame, no offload is accepted that would make frames longer.
 * Transmit: a chain of a common header of zeros (or, for a frame whose checksum
 * the device fills in, one of its own) and the caller's segments as they are.
 *
 * Doorbells. Received frames ring once, until poll() has seen the queue empty
 * and asked again; sent frames ring only while one is out that somebody waits
 * for; link changes ring, and the link is read every LINK_CHECK_NS besides.
 * Without MSI-X nothing rings: the pin may be shared with a device of the guest's.
 *
 * Checksums. On one host, frames between machines travel with unfinished
 * checksums (NEEDS_CSUM). They are finished here before anybody sees the frame:
 * it may go on to the guest, or to a wire.
 *
 * States: reset -> running. A device that asks for it, or that has used no
 * transmit buffer for TX_HUNG_NS and again so long after another kick, is reset;
 * frames in its queue are given back.
 *
 * Everything the device writes is checked; a wrong index or length costs a
 * frame, never memory. [VIRTIO 1.1 §5.1]
 */
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "net/drivers/drivers.h"
#include "net/drivers/virtio.h"

#define RX_BUF_BYTES 2048u
#define TX_SEGS (1 + NETIF_TX_SEGS_MAX) /* with the header */
#define QUEUE_MIN 16u

#define LINK_CHECK_NS (500 * NS_PER_MS)
#define TX_HUNG_NS (4 * NS_PER_SEC)
#define DEAD_NS (30 * NS_PER_SEC) /* a reset that fails takes time: not again for so long */

#define HDR_BYTES ((u32)sizeof(struct virtio_net_hdr))

/* What the control queue is given: one command at a time, built here. */
#define CTRL_ACK 0u
#define CTRL_CMD 8u
#define CTRL_BYTES (CTRL_CMD + 2 + 8 + 6 * NETIF_MULTICAST_MAX)

enum ctrl_step { CTRL_PROMISC, CTRL_ALLMULTI, CTRL_TABLE, CTRL_DONE };

struct tx_slot {
	void (*done)(void *ctx);
	void *ctx;
	bool bell;
	bool out;
};

struct virtio_net {
	struct netif_dev dev;
	struct virtio v;
	struct virtio_queue rx, tx, ctrl;
	u8 *rx_buf; /* (c) */
	u64 rx_buf_dma;
	struct virtio_net_hdr *tx_hdr; /* (c) one for each head */
	u64 tx_hdr_dma;
	u8 *ctrl_mem; /* (c) NULL: no control queue */
	u64 ctrl_dma;
	u16 vector; /* (c) of both data queues */
	struct tx_slot slot[VIRTQ_DRV_MAX]; /* by head */
	u32 tx_out; /* frames that the device has */
	u32 tx_bells; /* of those, the ones that shall ring; (a) read by work() */
	u64 tx_since_ns; /* when the device last moved, or got work while idle */
	bool tx_kicked; /* it was told again since */
	bool recent; /* (a) poll() found what rings since work() */
	bool look; /* (a) work() saw another link than the one known */
	struct netif_filter filter;
	enum ctrl_step step; /* of telling the filter */
	bool ctrl_out;
	bool link; /* (a) read by work() */
	u32 mbps;
	u64 link_next_ns;
	u64 rx_errors, resets;
};

static inline struct virtio_net *to_vn(struct netif_dev *d)
{
	return container_of(d, struct virtio_net, dev);
}

/* ---------------------------------------------------------------- receive */

typedef void (*input_fn)(void *ctx, const void *frame, u32 bytes, bool csum_ok);

static u8 *rx_at(struct virtio_net *n, u32 id)
{
	return n->rx_buf + (size_t)id * RX_BUF_BYTES;
}

/*
 * Give a buffer to the device. The free list is last in, first out, so that
 * what virtio_queue_pop() has just freed is what virtio_queue_add() takes: head and buffer
 * stay the same number.
 */
static void rx_give(struct virtio_net *n, u32 id)
{
	struct virtio_seg s = { n->rx_buf_dma + (u64)id * RX_BUF_BYTES, RX_BUF_BYTES, true };
	u16 head;

	if (virtio_queue_add(&n->rx, &s, 1, &head) || head != id)
		plat_panic("virtio_net: buffer %u is not its descriptor", id);
}

static u16 fold(u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (u16)(sum + (sum >> 16));
}

/*
 * Finish a checksum: the sum of what stands from csum_start on, the pseudo
 * header's sum being in its field already. False: it lies outside the frame.
 */
static bool csum_finish(u8 *frame, u32 bytes, u32 start, u32 at)
{
	u32 sum = 0, i;
	u16 v;

	if (start >= bytes || at + 2 > bytes || at < start)
		return false;
	for (i = start; i + 1 < bytes; i += 2)
		sum += (u32)frame[i] << 8 | frame[i + 1];
	if (i < bytes)
		sum += (u32)frame[i] << 8;
	v = (u16)~fold(sum);
	if (!v)
		v = 0xffff; /* UDP's zero means none; for TCP the two are the same */
	frame[at] = (u8)(v >> 8);
	frame[at + 1] = (u8)v;
	return true;
}

static void rx_one(struct virtio_net *n, u32 id, u32 bytes, input_fn input, void *ctx)
{
	u8 *frame = rx_at(n, id) + HDR_BYTES;
	struct virtio_net_hdr h;
	bool ok;

	memcpy(&h, rx_at(n, id), sizeof(h));
	ok = bytes >= HDR_BYTES + NETIF_HEAD_BYTES && bytes <= HDR_BYTES + NETIF_FRAME_MAX &&
	     h.gso_type == VIRTIO_NET_GSO_NONE;
	bytes -= HDR_BYTES;
	if (ok && h.flags & VIRTIO_NET_HDR_NEEDS_CSUM)
		ok = csum_finish(frame, bytes, h.csum_start, (u32)h.csum_start + h.csum_offset);
	if (!ok) {
		n->rx_errors++;
		log_limited(LOG_WARN, "virtio-net: bad frame bytes=%d flags=%#x gso=%u",
			    (int)bytes, h.flags, h.gso_type);
		return;
	}
	input(ctx, frame, bytes,
	      h.flags & (VIRTIO_NET_HDR_NEEDS_CSUM | VIRTIO_NET_HDR_DATA_VALID));
}

static u32 rx_drain(struct virtio_net *n, input_fn input, void *ctx)
{
	u32 frames = 0, bytes;
	u16 id;

	while (frames < n->rx.size && virtio_queue_pop(&n->rx, &id, &bytes)) {
		__atomic_store_n(&n->recent, true, __ATOMIC_RELAXED);
		rx_one(n, id, bytes, input, ctx);
		rx_give(n, id);
		frames++;
	}
	if (frames)
		virtio_queue_kick(&n->rx);
	return frames;
}

/* ---------------------------------------------------------------- transmit */

static void bells_set(struct virtio_net *n, u32 bells)
{
	__atomic_store_n(&n->tx_bells, bells, __ATOMIC_RELAXED);
}

static u32 tx_reap(struct virtio_net *n)
{
	u32 frames = 0, bytes;
	u16 head;

	while (virtio_queue_pop(&n->tx, &head, &bytes)) {
		struct tx_slot s = n->slot[head];

		n->slot[head] = (struct tx_slot){ 0 };
		n->tx_out--;
		bells_set(n, n->tx_bells - s.bell);
		n->tx_since_ns = plat_time_ns();
		n->tx_kicked = false;
		if (s.bell)
			__atomic_store_n(&n->recent, true, __ATOMIC_RELAXED);
		if (s.done)
			s.done(s.ctx);
		frames++;
	}
	return frames;
}

static int virtio_net_tx(struct netif_dev *d, const struct netif_tx *t)
{
	struct virtio_net *n = to_vn(d);
	struct virtio_seg segs[TX_SEGS];
	struct virtio_net_hdr *h;
	u16 head = n->tx.free;

	if (!t->n || t->n > NETIF_TX_SEGS_MAX)
		return -EINVAL;
	if (n->tx.frees < t->n + 1)
		return -ENOBUFS;
	h = &n->tx_hdr[head];
	memset(h, 0, sizeof(*h));
	if (t->csum_start) {
		h->flags = VIRTIO_NET_HDR_NEEDS_CSUM;
		h->csum_start = t->csum_start;
		h->csum_offset = (u16)(t->csum_at - t->csum_start);
	}
	segs[0] = (struct virtio_seg){ n->tx_hdr_dma + head * sizeof(*h), HDR_BYTES, false };
	for (u32 i = 0; i < t->n; i++)
		segs[i + 1] = (struct virtio_seg){ t->segs[i].pa.v, t->segs[i].bytes, false };
	if (virtio_queue_add(&n->tx, segs, t->n + 1, &head))
		return -ENOBUFS;
	n->slot[head] = (struct tx_slot){ t->done, t->ctx, t->bell, true };
	if (!n->tx_out++)
		n->tx_since_ns = plat_time_ns();
	if (t->bell) {
		bells_set(n, n->tx_bells + 1);
		virtio_queue_bell(&n->tx, n->dev.irq);
	}
	virtio_queue_kick(&n->tx);
	return 0;
}

/* ---------------------------------------------------------------- control queue */

static u32 ctrl_build(struct virtio_net *n, u8 *p)
{
	const struct netif_filter *f = &n->filter;
	u32 count = f->n;

	switch (n->step) {
	case CTRL_PROMISC:
	case CTRL_ALLMULTI:
		p[0] = VIRTIO_NET_CTRL_RX;
		p[1] = n->step == CTRL_PROMISC ? VIRTIO_NET_CTRL_RX_PROMISC :
						 VIRTIO_NET_CTRL_RX_ALLMULTI;
		p[2] = n->step == CTRL_PROMISC ? f->promiscuous : f->all_multicast;
		return 3;
	default:
		/* no other unicast addresses, then the groups; counts of 32 bits each */
		p[0] = VIRTIO_NET_CTRL_MAC;
		p[1] = VIRTIO_NET_CTRL_MAC_TABLE_SET;
		memset(p + 2, 0, 4);
		memcpy(p + 6, &count, 4);
		memcpy(p + 10, f->multicast, 6 * (size_t)count);
		return 10 + 6 * count;
	}
}

/* The next command of the filter's three, when the one before is answered. */
static void ctrl_run(struct virtio_net *n)
{
	struct virtio_seg segs[2];
	u32 bytes;
	u16 head;

	if (!n->ctrl_mem)
		return;
	if (n->ctrl_out && virtio_queue_pop(&n->ctrl, &head, &bytes)) {
		n->ctrl_out = false;
		if (n->ctrl_mem[CTRL_ACK] != VIRTIO_NET_OK)
			log_limited(LOG_WARN, "virtio-net: filter refused");
	}
	if (n->ctrl_out || n->step == CTRL_DONE)
		return;
	n->ctrl_mem[CTRL_ACK] = VIRTIO_NET_ERR;
	segs[0] = (struct virtio_seg){ n->ctrl_dma + CTRL_CMD,
				      ctrl_build(n, n->ctrl_mem + CTRL_CMD), false };
	segs[1] = (struct virtio_seg){ n->ctrl_dma + CTRL_ACK, 1, true };
	if (virtio_queue_add(&n->ctrl, segs, 2, &head))
		return;
	virtio_queue_kick(&n->ctrl);
	n->ctrl_out = true;
	n->step++;
}

static void virtio_net_filter(struct netif_dev *d, const struct netif_filter *f)
{
	struct virtio_net *n = to_vn(d);

	n->filter = *f;
	n->filter.n = MIN(f->n, (u32)NETIF_MULTICAST_MAX);
	n->step = CTRL_PROMISC; /* a command under way ends first: ctrl_run() */
	ctrl_run(n);
}

/* ---------------------------------------------------------------- link, reset */

static bool link_now(struct virtio_net *n)
{
	return !virtio_has(&n->v, VIRTIO_NET_F_STATUS) ||
	       virtio_config16(&n->v, VIRTIO_NET_CFG_STATUS) & VIRTIO_NET_S_LINK_UP;
}

static void link_read(struct virtio_net *n)
{
	u32 mbps = ~0u;

	__atomic_store_n(&n->link, link_now(n), __ATOMIC_RELAXED);
	if (virtio_has(&n->v, VIRTIO_NET_F_SPEED_DUPLEX))
		mbps = virtio_config32(&n->v, VIRTIO_NET_CFG_SPEED);
	n->mbps = mbps && mbps <= 1000000 ? mbps : 1000; /* "unknown" is the usual answer */
}

/* From reset to DRIVER_OK; what is allocated stays. */
static int hw_begin(struct virtio_net *n)
{
	u64 want = BIT64(VIRTIO_NET_F_MAC) | BIT64(VIRTIO_NET_F_STATUS) | BIT64(VIRTIO_NET_F_CSUM) |
		   BIT64(VIRTIO_NET_F_GUEST_CSUM) | BIT64(VIRTIO_NET_F_CTRL_VQ) |
		   BIT64(VIRTIO_NET_F_CTRL_RX) | BIT64(VIRTIO_NET_F_SPEED_DUPLEX);
	int err = virtio_reset(&n->v);

	/* An event index is passed again after 65536 entries: it cannot mean "never". */
	if (n->dev.irq)
		want |= BIT64(VIRTIO_F_RING_EVENT_IDX);
	return err ? err : virtio_negotiate(&n->v, want);
}

static int hw_start(struct virtio_net *n)
{
	int err = virtio_config_vector(&n->v, n->vector);

	if (!err)
		err = virtio_queue_start(&n->rx, n->vector);
	if (!err)
		err = virtio_queue_start(&n->tx, n->vector);
	if (!err && n->ctrl_mem)
		err = virtio_queue_start(&n->ctrl, VIRTIO_NO_VECTOR);
	if (err)
		return err;
	n->ctrl_out = false;
	n->step = CTRL_PROMISC;
	n->tx_out = 0;
	bells_set(n, 0);
	n->tx_kicked = false;
	for (u32 i = 0; i < n->rx.size; i++)
		rx_give(n, i);
	virtio_start(&n->v);
	virtio_queue_bell(&n->rx, n->dev.irq);
	virtio_queue_kick(&n->rx);
	link_read(n);
	return 0;
}

static void tx_give_back(struct virtio_net *n)
{
	for (u32 i = 0; i < n->tx.size; i++) {
		struct tx_slot s = n->slot[i];

		n->slot[i] = (struct tx_slot){ 0 };
		if (s.out && s.done)
			s.done(s.ctx);
	}
}

static void restart(struct virtio_net *n, const char *why)
{
	int err;

	n->resets++;
	log_limited(LOG_WARN, "virtio-net: reset why=%s out=%u", why, n->tx_out);
	err = hw_begin(n);
	tx_give_back(n);
	if (!err)
		err = hw_start(n);
	if (!err)
		return;
	log_limited(LOG_ERR, "virtio-net: no answer after reset err=%s", err_name(err));
	__atomic_store_n(&n->link, false, __ATOMIC_RELAXED);
	n->link_next_ns = plat_time_ns() + DEAD_NS;
}

static void watch(struct virtio_net *n)
{
	u64 now = plat_time_ns();

	if (now >= n->link_next_ns || __atomic_exchange_n(&n->look, false, __ATOMIC_RELAXED)) {
		bool was = n->link;

		n->link_next_ns = now + LINK_CHECK_NS;
		if (virtio_broken(&n->v)) {
			restart(n, "asked for");
			return;
		}
		link_read(n);
		if (n->link != was)
			log_info("virtio-net: link %s", n->link ? "up" : "down");
	}
	if (!n->tx_out || now < n->tx_since_ns + TX_HUNG_NS)
		return;
	n->tx_since_ns = now;
	if (n->tx_kicked && n->link) {
		restart(n, "transmitter hung");
		return;
	}
	bus_write16(n->v.bus, n->tx.notify, n->tx.index);
	n->tx_kicked = true;
}

/* ---------------------------------------------------------------- ops */

static u32 virtio_net_poll(struct netif_dev *d, input_fn input, void *ctx)
{
	struct virtio_net *n = to_vn(d);
	u32 tx = tx_reap(n), rx = rx_drain(n, input, ctx);

	if (n->dev.irq) {
		/* ask for the next doorbell, then look again: what came between does not ring */
		virtio_queue_bell(&n->rx, true);
		virtio_queue_bell(&n->tx, n->tx_bells);
		tx += tx_reap(n);
		rx += rx_drain(n, input, ctx);
	}
	ctrl_run(n);
	watch(n);
	return tx + rx;
}

static bool virtio_net_link_up(struct netif_dev *d)
{
	return to_vn(d)->link;
}

static u32 virtio_net_link_mbps(struct netif_dev *d)
{
	return to_vn(d)->mbps;
}

static bool virtio_net_work(struct netif_dev *d)
{
	struct virtio_net *n = to_vn(d);

	if (__atomic_exchange_n(&n->recent, false, __ATOMIC_RELAXED) || virtio_queue_work(&n->rx) ||
	    (__atomic_load_n(&n->tx_bells, __ATOMIC_RELAXED) && virtio_queue_work(&n->tx)))
		return true;
	if (link_now(n) == __atomic_load_n(&n->link, __ATOMIC_RELAXED))
		return false;
	__atomic_store_n(&n->look, true, __ATOMIC_RELAXED);
	return true;
}

static void virtio_net_stop(struct netif_dev *d)
{
	bus_write8(to_vn(d)->v.bus, to_vn(d)->v.common + VIRTIO_COMMON_STATUS, 0);
}

static const struct netif_ops virtio_net_ops = {
	.tx = virtio_net_tx,
	.poll = virtio_net_poll,
	.link_up = virtio_net_link_up,
	.link_mbps = virtio_net_link_mbps,
	.filter = virtio_net_filter,
	.work = virtio_net_work,
	.stop = virtio_net_stop,
};

/* ---------------------------------------------------------------- start */

static bool mac_read(struct virtio_net *n)
{
	static const u8 zero[6];
	u8 *mac = n->dev.mac;

	for (u32 i = 0; i < 6; i++)
		mac[i] = virtio_config8(&n->v, VIRTIO_NET_CFG_MAC + i);
	return virtio_has(&n->v, VIRTIO_NET_F_MAC) && !(mac[0] & 1) && memcmp(mac, zero, 6);
}

static int memory(struct virtio_net *n)
{
	struct bus_dev *bus = n->v.bus;
	int err = virtio_queue_alloc(&n->v, &n->rx, VIRTIO_NET_Q_RX);

	if (!err)
		err = virtio_queue_alloc(&n->v, &n->tx, VIRTIO_NET_Q_TX);
	if (err)
		return err;
	if (n->rx.size < QUEUE_MIN || n->tx.size < QUEUE_MIN)
		return -ENODEV;
	n->rx_buf = bus->ops->dma_alloc(bus, (size_t)n->rx.size * RX_BUF_BYTES, PAGE_BYTES,
					&n->rx_buf_dma);
	n->tx_hdr = bus->ops->dma_alloc(bus, n->tx.size * sizeof(*n->tx_hdr), PAGE_BYTES,
					&n->tx_hdr_dma);
	if (!n->rx_buf || !n->tx_hdr)
		return -ENOMEM;
	if (!virtio_has(&n->v, VIRTIO_NET_F_CTRL_VQ) || !virtio_has(&n->v, VIRTIO_NET_F_CTRL_RX))
		return 0;
	/* behind the only pair that is in use without VIRTIO_NET_F_MQ */
	err = virtio_queue_alloc(&n->v, &n->ctrl, 2);
	if (err)
		return err;
	n->ctrl_mem = bus->ops->dma_alloc(bus, CTRL_BYTES, PAGE_BYTES, &n->ctrl_dma);
	return n->ctrl_mem ? 0 : -ENOMEM;
}

static int virtio_net_create(struct bus_dev *bus, const struct nic_id *id, struct netif_dev **out)
{
	struct virtio_net *n = plat_alloc(sizeof(*n));
	int err;

	if (!n)
		return -ENOMEM;
	err = virtio_probe(&n->v, bus);
	if (err)
		goto fail;
	n->dev.irq = bus->has_msix && !bus->ops->irq_enable(bus, 1);
	n->vector = n->dev.irq ? 0 : VIRTIO_NO_VECTOR;
	err = hw_begin(n);
	if (!err && !mac_read(n))
		err = -EIO;
	if (!err)
		err = memory(n);
	if (!err)
		err = hw_start(n);
	if (err) {
		virtio_fail(&n->v);
		goto fail;
	}
	n->dev.ops = &virtio_net_ops;
	n->dev.name = id->name;
	n->dev.features = virtio_has(&n->v, VIRTIO_NET_F_CSUM) ? NETIF_CSUM : 0;
	log_info("virtio-net: %s mac=%02x:%02x:%02x:%02x:%02x:%02x link=%d irq=%s queue=%u "
		 "features=%llx", id->name, n->dev.mac[0], n->dev.mac[1], n->dev.mac[2],
		 n->dev.mac[3], n->dev.mac[4], n->dev.mac[5], n->link,
		 n->dev.irq ? "msi-x" : "none", n->rx.size, (unsigned long long)n->v.features);
	*out = &n->dev;
	return 0;
fail:
	log_err("virtio-net: not usable err=%s", err_name(err));
	plat_free(n);
	return err;
}

static const struct nic_id ids[] = { NIC_IDS_VIRTIO_NET(NIC_ID) };

static const struct netif_driver virtio_net_driver = {
	.name = "virtio_net",
	.ids = ids,
	.nids = ARRAY_SIZE(ids),
	.create = virtio_net_create,
};
NETIF_DRIVER(virtio_net_driver);
