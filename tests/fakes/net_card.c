/*
 * net_card.c - a guest's machine around an emulated card: memory, interrupts, a real card
 */
#include "tests/fakes/net_card.h"

#include <string.h>

#include "base/err.h"
#include "base/plat.h"

static struct net_card *of(struct netif_dev *d)
{
	return container_of(d, struct net_card, dev);
}

static int tx(struct netif_dev *d, const struct netif_tx *t)
{
	struct net_card *c = of(d);
	u32 i = (c->head + c->count) % NET_CARD_RING, n = 0;

	if (c->count == NET_CARD_RING)
		return -ENOBUFS;
	if ((t->csum_at && !(c->dev.features & NETIF_CSUM)) ||
	    (t->mss && (!(c->dev.features & NETIF_TSO) || t->header_bytes > t->segs[0].bytes)))
		plat_panic("card: asked for what it cannot do");
	for (u32 k = 0; k < t->n; k++) {
		u32 room = (u32)sizeof(c->ring[i].data) - MIN(n, (u32)sizeof(c->ring[i].data));

		if (!t->segs[k].bytes ||
		    n + t->segs[k].bytes > (t->mss ? NETIF_CUT_MAX : NETIF_FRAME_MAX))
			plat_panic("card: a frame of nothing or too much");
		memcpy(c->ring[i].data + n, plat_phys_to_virt(t->segs[k].pa),
		       MIN(t->segs[k].bytes, room));
		n += t->segs[k].bytes;
	}
	c->ring[i].bytes = n;
	c->ring[i].t = *t;
	c->count++;
	return 0;
}

void net_card_send(struct net_card *c, u32 n)
{
	while (n-- && c->count) {
		u32 i = c->head;

		memcpy(c->last, c->ring[i].data, MIN(c->ring[i].bytes, (u32)sizeof(c->last)));
		c->last_bytes = c->ring[i].bytes;
		c->last_tx = c->ring[i].t;
		c->sents++;
		c->head = (i + 1) % NET_CARD_RING;
		c->count--;
		c->ring[i].t.done(c->ring[i].t.ctx);
	}
}

static u32 poll(struct netif_dev *d, void (*input)(void *, const void *, u32, bool), void *ctx)
{
	struct net_card *c = of(d);
	u32 n = c->rx_bytes;

	c->rx_bytes = 0;
	if (n)
		input(ctx, c->rx, n, c->rx_csum_ok);
	return n != 0;
}

static bool link_up(struct netif_dev *d)
{
	return !of(d)->down;
}

static void filter(struct netif_dev *d, const struct netif_filter *f)
{
	of(d)->filter = *f;
}

static const struct netif_ops ops = {
	.tx = tx, .poll = poll, .link_up = link_up, .filter = filter,
};

static int map(struct emul_host *h, gpa_t a, size_t bytes, hpa_t *pa)
{
	struct net_card *c = container_of(h, struct net_card, host);
	u64 off = a.v - NET_CARD_RAM_GPA;

	if (c->no_dma || off > NET_CARD_RAM || bytes > NET_CARD_RAM - off)
		return -EFAULT;
	*pa = plat_virt_to_phys(c->ram + off);
	return 0;
}

static int host_read(struct emul_host *h, gpa_t src, void *dst, size_t bytes)
{
	hpa_t pa;
	int err = map(h, src, bytes, &pa);

	if (!err)
		memcpy(dst, plat_phys_to_virt(pa), bytes);
	return err;
}

static int host_write(struct emul_host *h, gpa_t dst, const void *src, size_t bytes)
{
	hpa_t pa;
	int err = map(h, dst, bytes, &pa);

	if (!err)
		memcpy(plat_phys_to_virt(pa), src, bytes);
	return err;
}

static void irq(struct emul_host *h, u32 vec)
{
	struct net_card *c = container_of(h, struct net_card, host);

	if (vec >= NET_CARD_VECTORS)
		plat_panic("card: vector %u", vec);
	c->irqs[vec]++;
}

static void intx(struct emul_host *h, bool level)
{
	(void)h;
	(void)level;
}

static const struct emul_host_ops host_ops = { host_read, host_write, map, irq, intx };

void net_card_rx(struct net_card *c, const void *frame, u32 bytes, bool csum_ok)
{
	c->rx = frame;
	c->rx_bytes = bytes;
	c->rx_csum_ok = csum_ok;
	net_card_run(c);
}

void net_card_run(struct net_card *c)
{
	while (c->nic->ops->poll(c->nic))
		;
	share_poll(c->share);
	c->nic->ops->poll(c->nic);
}

int net_card_init(struct net_card *c, int (*create)(struct emul_host *, struct share *,
						    struct nic_emul **))
{
	static const u8 mac[6] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };

	memset(c, 0, sizeof(*c));
	c->dev.ops = &ops;
	memcpy(c->dev.mac, mac, 6);
	c->host.ops = &host_ops;
	if (share_create(&c->dev, &c->share))
		return -ENOMEM;
	return create(&c->host, c->share, &c->nic);
}
