/*
 * net_virtio.c - a virtio-net device as far as its driver can see it
 */
#include "tests/fakes/net_virtio.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/plat.h"

/* Where things lie in the BAR. */
#define COMMON 0x0100u
#define ISR 0x0180u
#define DEVICE 0x0200u
#define NOTIFY 0x1000u
#define NOTIFY_MULT 4u
#define BAR_BYTES 0x4000u

static void *reach(struct vcard *c, u64 addr, size_t bytes)
{
	for (u32 i = 0; i < c->mems; i++) {
		u64 lo = (u64)(uintptr_t)c->mem[i].at;

		if (addr >= lo && addr + bytes <= lo + c->mem[i].bytes)
			return (void *)(uintptr_t)addr;
	}
	plat_panic("vcard: DMA to %#llx, not the driver's memory", (unsigned long long)addr);
}

/* ---------------------------------------------------------------- queues */

static u16 avail_idx(struct vcard *c, struct vcard_queue *q)
{
	return get_le16((u8 *)reach(c, q->avail, 4) + 2);
}

static u16 avail_head(struct vcard *c, struct vcard_queue *q, u16 i)
{
	u16 head = get_le16((u8 *)reach(c, q->avail, VIRTQ_AVAIL_BYTES(q->size)) + 4 +
			    2 * (i % q->size));

	if (head >= q->size)
		plat_panic("vcard: head beyond the queue");
	return head;
}

static struct virtq_desc *desc_at(struct vcard *c, struct vcard_queue *q, u16 i)
{
	if (i >= q->size)
		plat_panic("vcard: descriptor beyond the queue");
	return (struct virtq_desc *)reach(c, q->desc, VIRTQ_DESC_BYTES(q->size)) + i;
}

static bool event_idx(struct vcard *c)
{
	return c->accepted & BIT64(VIRTIO_F_RING_EVENT_IDX);
}

static void put_used(struct vcard *c, struct vcard_queue *q, u32 id, u32 len)
{
	u8 *used = reach(c, q->used, VIRTQ_USED_BYTES(q->size));
	u8 *avail = reach(c, q->avail, VIRTQ_AVAIL_BYTES(q->size));
	u16 old = q->used_idx++;
	bool ring;

	if (c->wrong_id)
		id = c->wrong_id;
	if (c->wrong_len)
		len = c->wrong_len;
	c->wrong_id = c->wrong_len = 0;
	put_le32(used + 4 + 8 * (old % q->size), id);
	put_le32(used + 8 + 8 * (old % q->size), len);
	put_le16(used + 2, q->used_idx);
	ring = !(get_le16(avail) & VIRTQ_AVAIL_NO_INTERRUPT);
	if (event_idx(c))
		ring = virtq_need_event(get_le16(avail + 4 + 2 * q->size), q->used_idx, old);
	if (!ring)
		return;
	if (q->vector == VIRTIO_NO_VECTOR && !c->bus.has_msix)
		plat_panic("vcard: the pin is asserted");
	if (q->vector == 0 && c->irq_enabled)
		c->doorbells++;
}

/* All that the driver reads is told again when it comes: avail_event follows. */
static void want_notify(struct vcard *c, struct vcard_queue *q)
{
	u8 *used = reach(c, q->used, VIRTQ_USED_BYTES(q->size));

	if (event_idx(c))
		put_le16(used + 4 + 8 * q->size, q->seen);
}

static u32 gather(struct vcard *c, struct vcard_queue *q, u16 head, u8 *out, u32 room, u8 **answer)
{
	u32 bytes = 0, n = 0;

	*answer = NULL;
	for (u16 i = head;;) {
		struct virtq_desc *d = desc_at(c, q, i);

		if (++n > q->size)
			plat_panic("vcard: chain without end");
		if (d->flags & VIRTQ_DESC_WRITE) {
			*answer = reach(c, d->addr, d->len);
		} else {
			if (bytes + d->len > room)
				plat_panic("vcard: frame too long");
			memcpy(out + bytes, (void *)(uintptr_t)d->addr, d->len);
			bytes += d->len;
		}
		if (!(d->flags & VIRTQ_DESC_NEXT))
			return bytes;
		i = d->next;
	}
}

static void send_one(struct vcard *c, struct vcard_queue *q, u16 head)
{
	u8 buf[4096], *answer;
	u32 bytes = gather(c, q, head, buf, sizeof(buf), &answer), k = c->sents++ % VCARD_SENT;

	if (answer || bytes < 12)
		plat_panic("vcard: odd chain");
	memcpy(&c->sent[k].hdr, buf, 12);
	memcpy(c->sent[k].data, buf + 12, bytes - 12);
	c->sent[k].bytes = bytes - 12;
	put_used(c, q, head, 0);
}

static void run_tx(struct vcard *c)
{
	struct vcard_queue *q = &c->q[1];
	u16 n = (u16)(avail_idx(c, q) - q->seen);

	if (n > q->size)
		plat_panic("vcard: more is available than there is");
	for (u16 i = 0; i < n; i++)
		send_one(c, q, avail_head(c, q, (u16)(q->seen + (c->shuffle ? n - 1 - i : i))));
	q->seen = (u16)(q->seen + n);
	want_notify(c, q);
}

static void run_ctrl(struct vcard *c)
{
	struct vcard_queue *q = &c->q[2];

	while (q->seen != avail_idx(c, q)) {
		u16 head = avail_head(c, q, q->seen++);
		u8 buf[512], *answer;
		u32 bytes = gather(c, q, head, buf, sizeof(buf), &answer);

		if (!answer || bytes < 3)
			plat_panic("vcard: odd command");
		if (buf[0] == VIRTIO_NET_CTRL_RX && buf[1] == VIRTIO_NET_CTRL_RX_PROMISC)
			c->promisc = buf[2];
		else if (buf[0] == VIRTIO_NET_CTRL_RX && buf[1] == VIRTIO_NET_CTRL_RX_ALLMULTI)
			c->allmulti = buf[2];
		else if (buf[0] == VIRTIO_NET_CTRL_MAC && bytes == 10 + 6 * get_le32(buf + 6))
			c->groups = get_le32(buf + 6);
		else
			plat_panic("vcard: command %u %u of %u bytes", buf[0], buf[1], bytes);
		c->commands++;
		*answer = c->ctrl_answer;
		put_used(c, q, head, 1);
	}
	want_notify(c, q);
}

void vcard_run(struct vcard *c)
{
	if (!(c->status & VIRTIO_STATUS_DRIVER_OK))
		return;
	if (!c->hung && c->q[1].enabled)
		run_tx(c);
	if (c->q[2].enabled)
		run_ctrl(c);
}

void vcard_link(struct vcard *c, bool up)
{
	c->link = up;
	if (c->config_vector == 0 && c->irq_enabled)
		c->doorbells++;
}

bool vcard_rx(struct vcard *c, const void *frame, u32 bytes, const struct virtio_net_hdr *h)
{
	static const struct virtio_net_hdr none = { .num_buffers = 1 };
	struct vcard_queue *q = &c->q[0];
	struct virtq_desc *d;
	u16 head;
	u8 *p;

	if (!(c->status & VIRTIO_STATUS_DRIVER_OK) || q->seen == avail_idx(c, q)) {
		c->missed++;
		return false;
	}
	head = avail_head(c, q, q->seen++);
	d = desc_at(c, q, head);
	if (!(d->flags & VIRTQ_DESC_WRITE) || d->flags & VIRTQ_DESC_NEXT || d->len < bytes + 12)
		plat_panic("vcard: odd receive buffer");
	p = reach(c, d->addr, d->len);
	memcpy(p, h ? h : &none, 12);
	memcpy(p + 12, frame, bytes);
	want_notify(c, q);
	put_used(c, q, head, bytes + 12);
	return true;
}

/* ---------------------------------------------------------------- registers */

static struct vcard *from(struct bus_dev *b)
{
	return container_of(b, struct vcard, bus);
}

static void reset(struct vcard *c)
{
	c->resets++;
	c->accepted = 0;
	c->status = c->stuck ? VIRTIO_STATUS_ACKNOWLEDGE : 0;
	c->config_vector = VIRTIO_NO_VECTOR;
	for (u32 i = 0; i < VCARD_QUEUES; i++)
		c->q[i] = (struct vcard_queue){ .size = c->q[i].max, .max = c->q[i].max,
						.vector = VIRTIO_NO_VECTOR, .noff = (u16)i };
}

static void status_write(struct vcard *c, u8 v)
{
	if (!v) {
		reset(c);
		return;
	}
	if (v & VIRTIO_STATUS_FEATURES_OK && (c->accepted & ~c->offer || c->refuse_features))
		v &= (u8)~VIRTIO_STATUS_FEATURES_OK;
	if (v & VIRTIO_STATUS_DRIVER_OK && !(c->status & VIRTIO_STATUS_FEATURES_OK))
		plat_panic("vcard: DRIVER_OK before FEATURES_OK");
	c->status = v;
}

static u64 *ring_of(struct vcard_queue *q, u32 off)
{
	return off < VIRTIO_COMMON_Q_AVAILLO ? &q->desc :
	       off < VIRTIO_COMMON_Q_USEDLO ? &q->avail : &q->used;
}

static u32 common_read(struct vcard *c, u32 off, u32 bytes)
{
	struct vcard_queue *q = &c->q[c->qsel < VCARD_QUEUES ? c->qsel : 0];

	switch (off << 4 | bytes) {
	case VIRTIO_COMMON_MSIX << 4 | 2:
		return c->config_vector;
	case VIRTIO_COMMON_DF << 4 | 4:
		return c->dfsel < 2 ? (u32)(c->offer >> (32 * c->dfsel)) : 0;
	case VIRTIO_COMMON_NUMQ << 4 | 2:
		return c->offer & BIT64(VIRTIO_NET_F_CTRL_VQ) ? 3 : 2;
	case VIRTIO_COMMON_STATUS << 4 | 1:
		return c->status;
	case VIRTIO_COMMON_Q_SIZE << 4 | 2:
		return q->size;
	case VIRTIO_COMMON_Q_NOFF << 4 | 2:
		return q->noff;
	case VIRTIO_COMMON_Q_MSIX << 4 | 2:
		return q->vector;
	default:
		plat_panic("vcard: read of %u bytes at common+%#x", bytes, off);
	}
}

static void common_write(struct vcard *c, u32 off, u32 bytes, u32 v)
{
	struct vcard_queue *q = &c->q[c->qsel < VCARD_QUEUES ? c->qsel : 0];

	switch (off << 4 | bytes) {
	case VIRTIO_COMMON_MSIX << 4 | 2:
		c->config_vector = (u16)v;
		break;
	case VIRTIO_COMMON_DFSELECT << 4 | 4:
		c->dfsel = v;
		break;
	case VIRTIO_COMMON_GFSELECT << 4 | 4:
		c->gfsel = v;
		break;
	case VIRTIO_COMMON_GF << 4 | 4:
		c->accepted &= ~(0xffffffffull << (32 * (c->gfsel & 1)));
		c->accepted |= (u64)v << (32 * (c->gfsel & 1));
		break;
	case VIRTIO_COMMON_STATUS << 4 | 1:
		status_write(c, (u8)v);
		break;
	case VIRTIO_COMMON_Q_SELECT << 4 | 2:
		c->qsel = (u16)v;
		break;
	case VIRTIO_COMMON_Q_SIZE << 4 | 2:
		if (!v || v > q->max || v & (v - 1))
			plat_panic("vcard: queue size %u", v);
		q->size = (u16)v;
		break;
	case VIRTIO_COMMON_Q_MSIX << 4 | 2:
		q->vector = c->refuse_vectors ? VIRTIO_NO_VECTOR : (u16)v;
		break;
	case VIRTIO_COMMON_Q_ENABLE << 4 | 2:
		if (!(c->status & VIRTIO_STATUS_FEATURES_OK) ||
		    c->status & VIRTIO_STATUS_DRIVER_OK || v != 1)
			plat_panic("vcard: queue enabled out of order");
		reach(c, q->desc, VIRTQ_DESC_BYTES(q->size));
		reach(c, q->avail, VIRTQ_AVAIL_BYTES(q->size));
		reach(c, q->used, VIRTQ_USED_BYTES(q->size));
		q->enabled = 1;
		break;
	default:
		if (off < VIRTIO_COMMON_Q_DESCLO || bytes != 4)
			plat_panic("vcard: write of %u bytes at common+%#x", bytes, off);
		if (off & 4)
			*ring_of(q, off) = (u32)*ring_of(q, off) | (u64)v << 32;
		else
			*ring_of(q, off) = (*ring_of(q, off) >> 32) << 32 | v;
	}
}

static u32 device_read(struct vcard *c, u32 off, u32 bytes)
{
	u8 cfg[VIRTIO_NET_CFG_BYTES] = { 0 };
	u32 v = 0;

	memcpy(cfg, c->mac, 6);
	put_le16(cfg + VIRTIO_NET_CFG_STATUS, c->link);
	put_le32(cfg + VIRTIO_NET_CFG_SPEED, ~0u);
	memcpy(&v, cfg + off, bytes);
	return v;
}

static u32 bar_read(struct bus_dev *b, u32 off, u32 bytes)
{
	struct vcard *c = from(b);

	if (off >= COMMON && off < COMMON + VIRTIO_COMMON_BYTES)
		return common_read(c, off - COMMON, bytes);
	if (off >= DEVICE && off + bytes <= DEVICE + VIRTIO_NET_CFG_BYTES)
		return device_read(c, off - DEVICE, bytes);
	plat_panic("vcard: read of %#x", off);
}

static void bar_write(struct bus_dev *b, u32 off, u32 bytes, u32 v)
{
	struct vcard *c = from(b);

	if (off >= COMMON && off < COMMON + VIRTIO_COMMON_BYTES) {
		common_write(c, off - COMMON, bytes, v);
	} else if (off >= NOTIFY && off < NOTIFY + NOTIFY_MULT * VCARD_QUEUES && bytes == 2) {
		if (v != (off - NOTIFY) / NOTIFY_MULT)
			plat_panic("vcard: notification of %u at %#x", v, off);
		c->q[v].notified++;
		if (!c->deaf)
			vcard_run(c);
	} else {
		plat_panic("vcard: write of %#x", off);
	}
}

static u8 read8(struct bus_dev *b, u32 off) { return (u8)bar_read(b, off, 1); }
static u16 read16(struct bus_dev *b, u32 off) { return (u16)bar_read(b, off, 2); }
static u32 read32(struct bus_dev *b, u32 off) { return bar_read(b, off, 4); }
static void write8(struct bus_dev *b, u32 off, u8 v) { bar_write(b, off, 1, v); }
static void write16(struct bus_dev *b, u32 off, u16 v) { bar_write(b, off, 2, v); }
static void write32(struct bus_dev *b, u32 off, u32 v) { bar_write(b, off, 4, v); }

static u32 cfg_read(struct bus_dev *b, u32 off, u32 size)
{
	u32 v = 0;

	if (off + size > sizeof(from(b)->cfg))
		plat_panic("vcard: configuration space");
	memcpy(&v, from(b)->cfg + off, size);
	return v;
}

static void *dma_alloc(struct bus_dev *b, size_t bytes, size_t align, u64 *dma)
{
	struct vcard *c = from(b);
	void *p = NULL;

	if (c->fail_alloc && c->mems + 1 == c->fail_alloc)
		return NULL;
	if (c->mems == VCARD_REGIONS || posix_memalign(&p, align, bytes))
		return NULL;
	memset(p, 0, bytes);
	c->mem[c->mems].at = p;
	c->mem[c->mems++].bytes = bytes;
	*dma = (u64)(uintptr_t)p;
	return p;
}

static int irq_enable(struct bus_dev *b, u32 vectors)
{
	struct vcard *c = from(b);

	(void)vectors;
	if (c->no_irq)
		return -ENODEV;
	c->irq_enabled = true;
	return 0;
}

static void delay_us(struct bus_dev *b, u32 us)
{
	(void)b;
	(void)us;
}

static const struct bus_ops vcard_ops = {
	.read8 = read8, .read16 = read16, .read32 = read32,
	.write8 = write8, .write16 = write16, .write32 = write32,
	.cfg_read = cfg_read,
	.dma_alloc = dma_alloc,
	.irq_enable = irq_enable,
	.delay_us = delay_us,
};

/* ---------------------------------------------------------------- start */

static u32 put_cap(struct vcard *c, u32 at, u8 type, u32 off, u32 bytes)
{
	u8 *p = c->cfg + at;

	p[0] = VIRTIO_CAP_ID;
	p[1] = (u8)(at + 20);
	p[2] = 20;
	p[3] = type;
	p[4] = c->bus.window_bar;
	put_le32(p + 8, off);
	put_le32(p + 12, bytes);
	put_le32(p + 16, NOTIFY_MULT);
	return at + 20;
}

void vcard_init(struct vcard *c, u16 device, bool msix)
{
	static const u8 mac[6] = { 0x52, 0x54, 0, 0x12, 0x34, 0x57 };
	u32 at = 0x40;

	memset(c, 0, sizeof(*c));
	c->bus.ops = &vcard_ops;
	c->bus.vendor = VIRTIO_PCI_VENDOR;
	c->bus.device = device;
	c->bus.bar_bytes = BAR_BYTES;
	c->bus.window_bar = 4;
	c->bus.has_msix = msix;
	c->link = true;
	memcpy(c->mac, mac, 6);
	c->offer = BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_NET_F_MAC) |
		   BIT64(VIRTIO_NET_F_STATUS) | BIT64(VIRTIO_NET_F_CSUM) |
		   BIT64(VIRTIO_NET_F_GUEST_CSUM) | BIT64(VIRTIO_NET_F_GUEST_TSO4) |
		   BIT64(VIRTIO_NET_F_MRG_RXBUF) | BIT64(VIRTIO_NET_F_CTRL_VQ) |
		   BIT64(VIRTIO_NET_F_CTRL_RX) | BIT64(VIRTIO_F_RING_EVENT_IDX) |
		   BIT64(VIRTIO_F_RING_INDIRECT_DESC) | BIT64(VIRTIO_NET_F_SPEED_DUPLEX);
	for (u32 i = 0; i < VCARD_QUEUES; i++)
		c->q[i].max = i == 2 ? 64 : 256;
	c->sent = calloc(VCARD_SENT, sizeof(*c->sent));
	c->cfg[6] = 0x10;
	c->cfg[0x34] = 0x40;
	at = put_cap(c, at, VIRTIO_CAP_ISR, ISR, 1);
	at = put_cap(c, at, VIRTIO_CAP_COMMON, COMMON, VIRTIO_COMMON_BYTES);
	at = put_cap(c, at, VIRTIO_CAP_DEVICE, DEVICE, VIRTIO_NET_CFG_BYTES);
	at = put_cap(c, at, VIRTIO_CAP_NOTIFY, NOTIFY, 0x1000);
	c->cfg[at - 20 + 1] = 0;
}

void vcard_fini(struct vcard *c)
{
	for (u32 i = 0; i < c->mems; i++)
		free(c->mem[i].at);
	free(c->sent);
}
