/*
 * net_igb.c - an 82576 as far as its driver can see it
 */
#include "tests/fakes/net_igb.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/plat.h"

#define R(c, off) ((c)->reg[(off) / 4])

static void *reach(struct igb_card *c, u64 addr, size_t bytes)
{
	for (u32 i = 0; i < c->mems; i++) {
		u64 lo = (u64)(uintptr_t)c->mem[i].at;

		if (addr >= lo && addr + bytes <= lo + c->mem[i].bytes)
			return (void *)(uintptr_t)addr;
	}
	plat_panic("igb card: DMA to %#llx, not the driver's memory", (unsigned long long)addr);
}

static void vectors(struct igb_card *c)
{
	for (u32 v = 0; v < 2; v++) {
		u32 bit = BIT(v);

		if (!(R(c, IGB_EICR) & R(c, IGB_EIMS) & bit))
			continue;
		c->doorbells++;
		if (R(c, IGB_EIAC) & bit)
			R(c, IGB_EICR) &= ~bit;
		if (R(c, IGB_GPIE) & IGB_GPIE_EIAME)
			R(c, IGB_EIMS) &= ~R(c, IGB_EIAM) | ~bit;
	}
}

static void update(struct igb_card *c)
{
	if (!c->irq_enabled)
		return;
	if (R(c, IGB_GPIE) & IGB_GPIE_MSIX) {
		vectors(c);
	} else if (R(c, IGB_ICR) & R(c, IGB_IMS) && !(R(c, IGB_ICR) & BIT(31))) {
		R(c, IGB_ICR) |= BIT(31);
		c->doorbells++;
	}
}

static void by_entry(struct igb_card *c, u32 entry)
{
	if (entry & IGB_IVAR_VALID)
		R(c, IGB_EICR) |= BIT(entry & 0x1f);
}

static void cause(struct igb_card *c, u32 icr)
{
	R(c, IGB_ICR) |= icr;
	if (R(c, IGB_GPIE) & IGB_GPIE_MSIX) {
		if (icr & IGB_INT_RXDW)
			by_entry(c, FIELD_GET(IGB_IVAR_RX0, R(c, IGB_IVAR0)));
		if (icr & IGB_INT_TXDW)
			by_entry(c, FIELD_GET(IGB_IVAR_TX0, R(c, IGB_IVAR0)));
		if (icr & IGB_INT_LSC & R(c, IGB_IMS))
			by_entry(c, FIELD_GET(IGB_IVAR_OTHER, R(c, IGB_IVAR_MISC)));
	}
	update(c);
}

static void reset(struct igb_card *c)
{
	memset(c->reg, 0, sizeof(c->reg));
	c->resets++;
	c->part_bytes = 0;
	if (c->stuck)
		R(c, E1000_CTRL) = E1000_CTRL_RST;
}

void igb_card_run(struct igb_card *c)
{
	u32 n = R(c, IGB_TDLEN) / 16;
	u64 base = R(c, IGB_TDBAL) | (u64)R(c, IGB_TDBAH) << 32;

	if (c->hung || !(R(c, E1000_TCTL) & E1000_TCTL_EN) || !n ||
	    !(R(c, IGB_TXDCTL) & IGB_DCTL_ENABLE))
		return;
	if (R(c, IGB_TDT) >= n)
		plat_panic("igb card: TDT beyond the ring");
	while (R(c, IGB_TDH) != R(c, IGB_TDT)) {
		struct igb_tx_desc *d = reach(c, base + 16ull * R(c, IGB_TDH), 16);
		u32 bytes = d->cmd & IGB_TXD_BYTES;

		if ((d->cmd & 0x00f00000) != IGB_TXD_DATA || !(d->cmd & IGB_TXD_DEXT))
			plat_panic("igb card: odd descriptor %#x", d->cmd);
		if (!c->part_bytes)
			c->part_total = FIELD_GET(IGB_TXD_PAYLEN, d->status);
		memcpy(c->part + c->part_bytes, (void *)(uintptr_t)d->addr, bytes);
		c->part_bytes += bytes;
		if (d->cmd & IGB_TXD_EOP) {
			u32 k = c->sents++ % IGB_CARD_SENT;

			if (c->part_bytes != c->part_total)
				plat_panic("igb card: PAYLEN is not the frame's length");
			memcpy(c->sent[k].data, c->part, c->part_bytes);
			c->sent[k].bytes = c->part_bytes;
			c->part_bytes = 0;
		}
		if (d->cmd & IGB_TXD_RS)
			d->status = IGB_TXD_DD;
		R(c, IGB_TDH) = (R(c, IGB_TDH) + 1) % n;
	}
	cause(c, IGB_INT_TXDW);
}

bool igb_card_rx(struct igb_card *c, const void *frame, u32 bytes, u32 claim, u32 status)
{
	u32 n = R(c, IGB_RDLEN) / 16, i = R(c, IGB_RDH);
	u64 base = R(c, IGB_RDBAL) | (u64)R(c, IGB_RDBAH) << 32;
	union igb_rx_desc *d;

	if (!(R(c, E1000_RCTL) & E1000_RCTL_EN) || !(R(c, IGB_RXDCTL) & IGB_DCTL_ENABLE) || !n)
		return false;
	if (R(c, IGB_RDT) >= n)
		plat_panic("igb card: RDT beyond the ring");
	if (i == R(c, IGB_RDT))
		return false;
	d = reach(c, base + 16ull * i, 16);
	memcpy(reach(c, d->read.addr, FIELD_GET(IGB_SRRCTL_BSIZE, R(c, IGB_SRRCTL)) * 1024), frame,
	       bytes);
	if (d->read.header)
		plat_panic("igb card: a status that was not cleared");
	d->wb.info = 0;
	d->wb.bytes = (u16)claim;
	d->wb.vlan = 0;
	d->wb.status = status | E1000_RXX_DD;
	R(c, IGB_RDH) = (i + 1) % n;
	cause(c, IGB_INT_RXDW);
	return true;
}

void igb_card_link(struct igb_card *c, bool up)
{
	c->link = up;
	cause(c, IGB_INT_LSC);
}

static u32 read32(struct bus_dev *b, u32 off)
{
	struct igb_card *c = container_of(b, struct igb_card, bus);
	u32 v;

	if (off >= IGB_CARD_REGS || off & 3)
		plat_panic("igb card: read of %#x", off);
	switch (off) {
	case E1000_STATUS:
		return (c->link ? E1000_STATUS_LU | E1000_STATUS_FD | 0x80 : 0);
	case E1000_RAH(0):
		if (!R(c, off) && (!c->mac_after || !--c->mac_after)) {
			memcpy(&R(c, E1000_RAL(0)), c->mac, 4);
			R(c, off) = c->mac[4] | (u32)c->mac[5] << 8 | E1000_RAH_AV;
		}
		return R(c, off);
	case IGB_ICR:
		v = R(c, off);
		R(c, off) = 0;
		return v;
	default:
		return R(c, off);
	}
}

static void write32(struct bus_dev *b, u32 off, u32 v)
{
	struct igb_card *c = container_of(b, struct igb_card, bus);

	if (off >= IGB_CARD_REGS || off & 3)
		plat_panic("igb card: write of %#x", off);
	switch (off) {
	case E1000_CTRL:
		if (v & E1000_CTRL_RST)
			reset(c);
		else
			R(c, off) = v;
		break;
	case IGB_ICR:
	case IGB_EICR:
		R(c, off) &= ~v;
		if (!(R(c, off) & ~BIT(31)) && off == IGB_ICR)
			R(c, off) = 0;
		break;
	case IGB_IMS:
	case IGB_EIMS:
		R(c, off) |= v;
		update(c);
		break;
	case IGB_IMC:
		R(c, IGB_IMS) &= ~v;
		break;
	case IGB_EIMC:
		R(c, IGB_EIMS) &= ~v;
		break;
	case IGB_RXDCTL:
	case IGB_TXDCTL:
		R(c, off) = c->dead_queues ? v & ~IGB_DCTL_ENABLE : v;
		break;
	case IGB_RDT:
		if (!(R(c, IGB_RXDCTL) & IGB_DCTL_ENABLE))
			plat_panic("igb card: tail of a queue that is off");
		R(c, off) = v;
		break;
	case IGB_TDT:
		R(c, off) = v;
		igb_card_run(c);
		break;
	default:
		R(c, off) = v;
	}
}

static void *dma_alloc(struct bus_dev *b, size_t bytes, size_t align, u64 *dma)
{
	struct igb_card *c = container_of(b, struct igb_card, bus);
	void *p = NULL;

	if (c->fail_alloc && c->mems + 1 == c->fail_alloc)
		return NULL;
	if (c->mems == IGB_CARD_REGIONS || posix_memalign(&p, align, bytes))
		return NULL;
	memset(p, 0, bytes);
	c->mem[c->mems].at = p;
	c->mem[c->mems++].bytes = bytes;
	*dma = (u64)(uintptr_t)p;
	return p;
}

static int irq_enable(struct bus_dev *b, u32 n)
{
	struct igb_card *c = container_of(b, struct igb_card, bus);

	if (c->no_irq || n < 2)
		return -ENODEV;
	c->irq_enabled = true;
	return 0;
}

static void delay_us(struct bus_dev *b, u32 us)
{
	container_of(b, struct igb_card, bus)->delays_us += us;
}

static const struct bus_ops igb_card_ops = {
	.read32 = read32, .write32 = write32, .dma_alloc = dma_alloc,
	.irq_enable = irq_enable, .delay_us = delay_us,
};

void igb_card_init(struct igb_card *c, bool msix)
{
	static const u8 mac[6] = { 0x52, 0x54, 0, 0x12, 0x34, 0x58 };

	memset(c, 0, sizeof(*c));
	c->bus.ops = &igb_card_ops;
	c->bus.vendor = E1000_VENDOR;
	c->bus.device = 0x10c9;
	c->bus.bar_bytes = 128 * 1024;
	c->bus.has_msix = msix;
	c->bus.has_msi = true;
	c->link = true;
	memcpy(c->mac, mac, 6);
	c->sent = calloc(IGB_CARD_SENT, sizeof(*c->sent));
}

void igb_card_fini(struct igb_card *c)
{
	for (u32 i = 0; i < c->mems; i++)
		free(c->mem[i].at);
	free(c->sent);
}
