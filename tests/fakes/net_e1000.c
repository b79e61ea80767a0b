/*
 * net_e1000.c - an 82574 as far as its driver can see it
 */
#include "tests/fakes/net_e1000.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/plat.h"

#define R(c, off) ((c)->reg[(off) / 4])

static void *reach(struct card *c, u64 addr, size_t bytes)
{
	for (u32 i = 0; i < c->mems; i++) {
		u64 lo = (u64)(uintptr_t)c->mem[i].at;

		if (addr >= lo && addr + bytes <= lo + c->mem[i].bytes)
			return (void *)(uintptr_t)addr;
	}
	return NULL;
}

/* Receive rings and buffers must be DMA memory; what is sent may be anywhere. */
static void *must_reach(struct card *c, u64 addr, size_t bytes)
{
	void *p = reach(c, addr, bytes);

	if (!p)
		plat_panic("card: DMA to %#llx, not the driver's memory", (unsigned long long)addr);
	return p;
}

static void irq_update(struct card *c)
{
	u32 on = R(c, E1000_ICR) & R(c, E1000_IMS);

	if (on && !c->bus.has_msix && !c->bus.has_msi)
		c->pin_raised = true;
	if (!on || !c->irq_enabled)
		return;
	if (c->bus.has_msix) {
		u32 clear = on & R(c, E1000_EIAC);

		/* all three go to vector 0: one message */
		if (((on & E1000_INT_RXQ0) && (R(c, E1000_IVAR) & E1000_IVAR_RXQ0_VALID)) ||
		    ((on & E1000_INT_TXQ0) && (R(c, E1000_IVAR) & E1000_IVAR_TXQ0_VALID)) ||
		    ((on & E1000_INT_OTHER) && (R(c, E1000_IVAR) & E1000_IVAR_OTHER_VALID)))
			c->doorbells++;
		R(c, E1000_ICR) &= ~clear;
		R(c, E1000_IMS) &= ~clear;
	} else if (!(R(c, E1000_ICR) & BIT(31))) {
		R(c, E1000_ICR) |= BIT(31); /* asserted; no more messages until cleared */
		c->doorbells++;
	}
}

static void cause(struct card *c, u32 bits)
{
	R(c, E1000_ICR) |= bits;
	irq_update(c);
}

static void reset(struct card *c)
{
	u32 status = R(c, E1000_STATUS);

	memset(c->reg, 0, sizeof(c->reg));
	(void)status;
	c->resets++;
	c->part_bytes = 0;
	if (c->bare)
		return;
	R(c, E1000_RAL(0)) = c->mac[0] | (u32)c->mac[1] << 8 | (u32)c->mac[2] << 16 |
			     (u32)c->mac[3] << 24;
	R(c, E1000_RAH(0)) = c->mac[4] | (u32)c->mac[5] << 8 | E1000_RAH_AV;
	R(c, E1000_EECD) = E1000_EECD_AUTO_RD;
}

static void put_be16(u8 *p, u32 v)
{
	p[0] = (u8)(v >> 8);
	p[1] = (u8)v;
}

/* The sum from @from on, @more added, to @at. */
static void insert_sum(u8 *f, u32 bytes, u32 from, u32 at, u32 more)
{
	for (u32 i = from; i < bytes; i++)
		more += (i - from) & 1 ? f[i] : (u32)f[i] << 8;
	while (more >> 16)
		more = (more & 0xffff) + (more >> 16);
	put_be16(f + at, ~more);
}

static void sent(struct card *c, const u8 *f, u32 bytes)
{
	u32 k = c->sents++ % CARD_SENT;

	if (bytes > sizeof(c->sent[k].data))
		plat_panic("card: frame too long");
	memcpy(c->sent[k].data, f, bytes);
	c->sent[k].bytes = bytes;
}

/* [82574 §7.3] of TCP over IPv4 */
static void segment(struct card *c)
{
	const struct e1000_tx_context *x = &c->context;
	u32 h = x->header_bytes, all = c->part_bytes - h;

	if (FIELD_GET(E1000_TXX_BYTES, x->cmd) != all || !(x->cmd & E1000_TXC_TSE) ||
	    !(x->cmd & E1000_TXC_TCP) || !(x->cmd & E1000_TXC_IP4) || !x->mss)
		plat_panic("card: a context that does not fit");
	for (u32 at = 0; at < all; at += x->mss) {
		u32 n = MIN(all - at, (u32)x->mss), seq;
		u8 f[2048], *ip = f + x->ipcss, *tcp = f + x->tucss;

		if (h + n > sizeof(f))
			plat_panic("card: segment too long");
		memcpy(f, c->part, h);
		memcpy(f + h, c->part + h + at, n);
		put_be16(ip + 2, h + n - x->ipcss);
		put_be16(ip + 4, ((u32)ip[4] << 8 | ip[5]) + at / x->mss);
		insert_sum(f, x->ipcse + 1u, x->ipcss, x->ipcso, 0);
		seq = ((u32)tcp[4] << 24 | tcp[5] << 16 | tcp[6] << 8 | tcp[7]) + at;
		put_be16(tcp + 4, seq >> 16);
		put_be16(tcp + 6, seq);
		if (at + n < all)
			tcp[13] &= (u8)~0x09;
		insert_sum(f, h + n, x->tucss, x->tucso, h + n - x->tucss);
		sent(c, f, h + n);
	}
}

static void frame_end(struct card *c, u8 cmd, u8 popts)
{
	if (cmd & E1000_TXD_DEXT && cmd & E1000_TXD_TSE) {
		segment(c);
	} else {
		if (popts & E1000_TXX_TXSM)
			insert_sum(c->part, c->part_bytes, c->context.tucss, c->context.tucso, 0);
		sent(c, c->part, c->part_bytes);
	}
	c->part_bytes = 0;
}

static void tx_one(struct card *c, struct e1000_tx_desc *d)
{
	const struct e1000_tx_data *x = (const void *)d;
	bool extended = d->cmd & E1000_TXD_DEXT;
	u32 bytes = extended ? FIELD_GET(E1000_TXX_BYTES, x->cmd) : d->bytes;

	if (extended && FIELD_GET(E1000_TXX_TYPE, x->cmd) == E1000_TXX_CONTEXT) {
		if (c->part_bytes)
			plat_panic("card: a context inside a frame");
		memcpy(&c->context, d, sizeof(c->context));
		c->contexts++;
		return;
	}
	if (c->part_bytes + bytes > sizeof(c->part))
		plat_panic("card: endless frame");
	memcpy(c->part + c->part_bytes, (void *)(uintptr_t)d->addr, bytes);
	c->part_bytes += bytes;
	if (d->cmd & E1000_TXD_EOP)
		frame_end(c, d->cmd, extended ? x->popts : 0);
	if (d->cmd & E1000_TXD_RS)
		d->status |= E1000_TXD_DD;
}

void card_tx_run(struct card *c)
{
	u32 n = R(c, E1000_TDLEN) / 16;
	u64 base = R(c, E1000_TDBAL) | (u64)R(c, E1000_TDBAH) << 32;

	if (c->hung || !(R(c, E1000_TCTL) & E1000_TCTL_EN) || !n)
		return;
	if (R(c, E1000_TDT) >= n)
		plat_panic("card: TDT beyond the ring");
	u32 sents = c->sents;
	while (R(c, E1000_TDH) != R(c, E1000_TDT)) {
		u32 i = R(c, E1000_TDH);
		struct e1000_tx_desc *d = must_reach(c, base + 16ull * i, 16);

		tx_one(c, d);
		R(c, E1000_TDH) = (i + 1) % n;
	}
	if (c->sents != sents)
		cause(c, E1000_INT_TXQ0 | E1000_INT_TXDW);
}

void card_link(struct card *c, bool up)
{
	c->link = up;
	cause(c, E1000_INT_LSC | E1000_INT_OTHER);
}

static u32 read32(struct bus_dev *b, u32 off)
{
	struct card *c = (struct card *)b;
	u32 v;

	if (off >= CARD_REGS || off & 3)
		plat_panic("card: read of %#x", off);
	switch (off) {
	case E1000_STATUS:
		return (c->link ? E1000_STATUS_LU | E1000_STATUS_FD | 0x80 : 0) |
		       (c->busy ? E1000_STATUS_GIO_MASTER : 0) | E1000_STATUS_LAN_INIT_DONE;
	case E1000_ICR:
		v = R(c, off);
		R(c, off) = 0;
		return v;
	default:
		return R(c, off);
	}
}

static void eerd(struct card *c, u32 v)
{
	u32 i = FIELD_GET(E1000_EERD_ADDR, v);

	if (!(v & E1000_EERD_START) || c->no_eeprom || i > 2)
		return;
	R(c, E1000_EERD) = E1000_EERD_DONE |
			   FIELD_PREP(E1000_EERD_DATA,
				      c->mac[2 * i] | (u32)c->mac[2 * i + 1] << 8);
}

static void mdic(struct card *c, u32 v)
{
	u32 reg = FIELD_GET(E1000_MDIC_REG, v);

	if (v & E1000_MDIC_OP_WRITE)
		c->phy[reg] = (u16)v;
	else
		v = (v & ~E1000_MDIC_DATA) | c->phy[reg];
	R(c, E1000_MDIC) = v | E1000_MDIC_READY;
}

static void write32(struct bus_dev *b, u32 off, u32 v)
{
	struct card *c = (struct card *)b;

	if (off >= CARD_REGS || off & 3)
		plat_panic("card: write of %#x", off);
	switch (off) {
	case E1000_CTRL:
		if (v & E1000_CTRL_RST) {
			reset(c);
			if (c->stuck)
				R(c, off) = E1000_CTRL_RST;
		} else {
			R(c, off) = v;
		}
		break;
	case E1000_ICR:
		R(c, off) &= ~(v | BIT(31));
		irq_update(c);
		break;
	case E1000_IMS:
		R(c, off) |= v;
		irq_update(c);
		break;
	case E1000_IMC:
		R(c, E1000_IMS) &= ~v;
		break;
	case E1000_EERD:
		eerd(c, v);
		break;
	case E1000_MDIC:
		mdic(c, v);
		break;
	case E1000_TDT:
		R(c, off) = v;
		card_tx_run(c);
		break;
	default:
		R(c, off) = v;
	}
	if (c->on_write)
		c->on_write(c, off, v);
}

static void *dma_alloc(struct bus_dev *b, size_t bytes, size_t align, u64 *dma)
{
	struct card *c = (struct card *)b;
	void *p = NULL;

	if (c->fail_alloc && c->mems + 1 == c->fail_alloc)
		return NULL;
	if (c->mems == CARD_REGIONS || posix_memalign(&p, align, bytes))
		return NULL;
	memset(p, 0, bytes);
	c->mem[c->mems].at = p;
	c->mem[c->mems++].bytes = bytes;
	*dma = (u64)(uintptr_t)p;
	return p;
}

static int irq_enable(struct bus_dev *b, u32 vectors)
{
	struct card *c = (struct card *)b;

	(void)vectors;
	if (c->no_irq)
		return -ENODEV;
	c->irq_before_reset += !c->resets;
	c->irq_enabled = true;
	irq_update(c);
	return 0;
}

static void irq_disable(struct bus_dev *b)
{
	((struct card *)b)->irq_enabled = false;
}

static void delay_us(struct bus_dev *b, u32 us)
{
	((struct card *)b)->delays_us += us;
}

static const struct bus_ops card_ops = {
	.read32 = read32,
	.write32 = write32,
	.dma_alloc = dma_alloc,
	.irq_enable = irq_enable,
	.irq_disable = irq_disable,
	.delay_us = delay_us,
};

bool card_rx_raw(struct card *c, const void *frame, u32 bytes, u32 claim, u8 status, u8 errors)
{
	u32 n = R(c, E1000_RDLEN) / 16, i = R(c, E1000_RDH);
	u64 base = R(c, E1000_RDBAL) | (u64)R(c, E1000_RDBAH) << 32;
	struct e1000_rx_desc *d;

	if (!(R(c, E1000_RCTL) & E1000_RCTL_EN) || !n)
		return false;
	if (R(c, E1000_RDT) >= n)
		plat_panic("card: RDT beyond the ring");
	if (i == R(c, E1000_RDT)) {
		c->missed++;
		cause(c, E1000_INT_RXO);
		return false;
	}
	d = must_reach(c, base + 16ull * i, 16);
	memcpy(must_reach(c, d->addr, 2048), frame, bytes);
	d->bytes = (u16)claim;
	d->errors = errors;
	d->status = status | E1000_RXD_DD;
	R(c, E1000_RDH) = (i + 1) % n;
	/* QEMU's card raises "other" for TCP acknowledgements, too */
	cause(c, E1000_INT_RXQ0 | E1000_INT_RXT0 | E1000_INT_OTHER);
	return true;
}

bool card_rx(struct card *c, const void *frame, u32 bytes, u8 status, u8 errors)
{
	return card_rx_raw(c, frame, bytes, bytes, status | E1000_RXD_EOP, errors);
}

void card_init(struct card *c, u16 device, bool msix)
{
	static const u8 mac[6] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };

	memset(c, 0, sizeof(*c));
	c->bus.ops = &card_ops;
	c->bus.vendor = E1000_VENDOR;
	c->bus.device = device;
	c->bus.bar_bytes = 128 * 1024;
	c->bus.has_msix = msix;
	c->bus.has_msi = true;
	c->link = true;
	c->phy[0] = 0x1140;
	memcpy(c->mac, mac, 6);
	c->sent = calloc(CARD_SENT, sizeof(*c->sent));
}

void card_fini(struct card *c)
{
	for (u32 i = 0; i < c->mems; i++)
		free(c->mem[i].at);
	free(c->sent);
}
