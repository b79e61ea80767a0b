/* See nic_rig.h. */
#include "tests/fakes/nic_rig.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/plat.h"

/* ---------------------------------------------------------------- the real card */

static struct nic_rig *of_card(struct netif_dev *d)
{
	return container_of(d, struct nic_rig, card);
}

static int card_tx(struct netif_dev *d, const struct netif_tx *t)
{
	struct nic_rig *r = of_card(d);
	u32 i = r->queued;

	if (!t->n || t->n > NETIF_TX_SEGS_MAX)
		plat_panic("rig: %u segments", t->n);
	if (i == r->room)
		return -ENOBUFS;
	r->queue[i].t = *t;
	memcpy(r->queue[i].segs, t->segs, t->n * sizeof(t->segs[0]));
	r->queued++;
	return 0;
}

/* The real card sends up to @n frames. */
void rig_send(struct nic_rig *r, u32 n)
{
	while (n-- && r->queued) {
		struct netif_tx t = r->queue[0].t;
		u32 k = r->sents++ % RIG_SENT, bytes = 0;

		for (u32 i = 0; i < t.n; i++) {
			struct netif_seg *s = &r->queue[0].segs[i];

			if (bytes + s->bytes > NETIF_FRAME_MAX)
				plat_panic("rig: frame too long");
			memcpy(r->sent[k].data + bytes, plat_phys_to_virt(s->pa), s->bytes);
			bytes += s->bytes;
		}
		if (bytes < 60)
			plat_panic("rig: frame of %u bytes", bytes);
		r->sent[k].bytes = bytes;
		r->sent[k].segs = t.n;
		memmove(&r->queue[0], &r->queue[1], --r->queued * sizeof(r->queue[0]));
		t.done(t.ctx);
	}
}

static u32 card_poll(struct netif_dev *d, void (*input)(void *, const void *, u32, bool), void *ctx)
{
	struct nic_rig *r = of_card(d);
	u32 n = r->on_wire + (r->hold ? 0 : r->queued);

	if (!r->hold)
		rig_send(r, r->queued);
	if (r->on_wire) {
		r->on_wire = false;
		input(ctx, r->wire.data, r->wire.bytes, r->wire.csum_ok);
	}
	return n;
}

static bool card_link(struct netif_dev *d)
{
	return of_card(d)->link;
}

static u32 card_mbps(struct netif_dev *d)
{
	return of_card(d)->mbps;
}

static void card_filter(struct netif_dev *d, const struct netif_filter *f)
{
	of_card(d)->filter = *f;
}

static const struct netif_ops card_ops = {
	.tx = card_tx, .poll = card_poll, .link_up = card_link, .link_mbps = card_mbps,
	.filter = card_filter,
};

/* ---------------------------------------------------------------- guest memory */

static u8 *reach(struct emul_host *h, u64 gpa, size_t bytes)
{
	struct nic_rig *r = container_of(h, struct nic_rig, host);

	for (u32 i = 0; i < r->windows; i++) {
		u64 off = gpa - r->window[i].gpa;

		if (gpa >= r->window[i].gpa && off < r->window[i].bytes &&
		    bytes <= r->window[i].bytes - off)
			return r->window[i].p + off;
	}
	r->refused++;
	return NULL;
}

static int host_read(struct emul_host *h, gpa_t src, void *dst, size_t bytes)
{
	u8 *p = reach(h, src.v, bytes);

	if (!p)
		return -EFAULT;
	memcpy(dst, p, bytes);
	return 0;
}

static int host_write(struct emul_host *h, gpa_t dst, const void *src, size_t bytes)
{
	u8 *p = reach(h, dst.v, bytes);

	if (!p)
		return -EFAULT;
	memcpy(p, src, bytes);
	return 0;
}

static int host_map(struct emul_host *h, gpa_t a, size_t bytes, hpa_t *pa)
{
	u8 *p = reach(h, a.v, bytes);

	if (!p)
		return -EFAULT;
	*pa = plat_virt_to_phys(p);
	return 0;
}

static void host_irq(struct emul_host *h, u32 vec)
{
	if (vec >= RIG_VECTORS)
		plat_panic("rig: vector %u", vec);
	container_of(h, struct nic_rig, host)->irqs[vec]++;
}

static const struct emul_host_ops host_ops = {
	.read = host_read, .write = host_write, .map = host_map, .irq = host_irq,
};

/* ---------------------------------------------------------------- the guest's bus */

static u32 bus_read(struct bus_dev *d, u32 off)
{
	return rig_read(container_of(d, struct nic_rig, bus), off);
}

static void bus_write(struct bus_dev *d, u32 off, u32 v)
{
	rig_write(container_of(d, struct nic_rig, bus), off, v);
}

static void *bus_dma_alloc(struct bus_dev *d, size_t bytes, size_t align, u64 *dma)
{
	struct nic_rig *r = container_of(d, struct nic_rig, bus);
	void *p = NULL;

	if (r->allocs == RIG_ALLOCS || posix_memalign(&p, align, bytes))
		return NULL;
	memset(p, 0, bytes);
	r->alloc[r->allocs++] = p;
	rig_window(r, (u64)(uintptr_t)p, p, bytes);
	*dma = (u64)(uintptr_t)p;
	return p;
}

static int bus_irq_enable(struct bus_dev *d, u32 vectors)
{
	struct nic_rig *r = container_of(d, struct nic_rig, bus);

	(void)vectors;
	r->msix = d->has_msix;
	return 0;
}

static void bus_delay_us(struct bus_dev *d, u32 us)
{
	(void)us;
	rig_run(container_of(d, struct nic_rig, bus));
}

static const struct bus_ops bus_ops = {
	.read32 = bus_read, .write32 = bus_write, .dma_alloc = bus_dma_alloc,
	.irq_enable = bus_irq_enable, .delay_us = bus_delay_us,
};

/* ---------------------------------------------------------------- the outside */

u32 rig_read(struct nic_rig *r, u32 off)
{
	u64 v = 0;

	r->nic->ops->mmio(r->nic, off, 4, false, &v);
	return (u32)v;
}

void rig_write(struct nic_rig *r, u32 off, u32 v)
{
	u64 value = v;

	if (!r->nic->ops->bell(r->nic, off, v))
		r->nic->ops->mmio(r->nic, off, 4, true, &value);
}

void rig_run(struct nic_rig *r)
{
	for (u32 i = 0; i < 1000; i++) {
		bool more = r->nic->ops->poll(r->nic);

		more |= share_poll(r->share) != 0;
		if (!more)
			break;
	}
}

void rig_rx(struct nic_rig *r, const void *frame, u32 bytes, bool csum_ok)
{
	memcpy(r->wire.data, frame, bytes);
	r->wire.bytes = bytes;
	r->wire.csum_ok = csum_ok;
	r->on_wire = true;
	share_poll(r->share);
}

bool rig_msix(void *ctx)
{
	return ((struct nic_rig *)ctx)->msix;
}

void rig_window(struct nic_rig *r, u64 gpa, void *p, size_t bytes)
{
	if (r->windows == RIG_WINDOWS)
		plat_panic("rig: windows");
	r->window[r->windows].gpa = gpa;
	r->window[r->windows].p = p;
	r->window[r->windows++].bytes = bytes;
}

void rig_init(struct nic_rig *r)
{
	static const u8 mac[6] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc };

	memset(r, 0, offsetof(struct nic_rig, sent));
	r->host.ops = &host_ops;
	r->bus.ops = &bus_ops;
	r->card.ops = &card_ops;
	r->card.name = "rig";
	memcpy(r->card.mac, mac, 6);
	r->link = true;
	r->mbps = 1000;
	r->room = ARRAY_SIZE(r->queue);
	if (share_create(&r->card, &r->share))
		plat_panic("rig: no share");
}

void rig_fini(struct nic_rig *r)
{
	share_destroy(r->share);
	for (u32 i = 0; i < r->allocs; i++)
		free(r->alloc[i]);
}
