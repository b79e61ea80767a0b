/*
 * igb.c - driver for Intel 82576, I350, I210 and relatives
 *
 * NOT YET RUN ON A DEVICE: Debian's QEMU has no model of one. Its register layer
 * is tested against a model of ours that follows the datasheet.
 *
 * One receive ring of RX_DESCS buffers of 2 KiB, one transmit ring that takes
 * the caller's segments as they are; queue 0 of each, advanced descriptors.
 *
 * Doorbells. With MSI-X, vector 0 rings for received frames and link changes,
 * vector 1 for sent frames, and is unmasked only while one is out that somebody
 * waits for. The card clears a vector's cause and masks it as its message goes
 * out (EIAC, EIAM); with plain MSI causes stay in ICR until written. poll() ends
 * as in e1000e.c: drain; forget the causes; look again; unmask.
 *
 * States: reset -> running; a transmitter that has had work and finished nothing
 * for TX_HUNG_NS with the link up -> reset again, frames given back. The PHY
 * stays as firmware left it: negotiating.
 *
 * Everything the card writes is checked before use.
 * [82576] §4.5 (init), §7.1 (receive), §7.2 (transmit), §7.3 (interrupts), §8.
 */
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "net/drivers/drivers.h"
#include "net/spec/e1000e.h"
#include "net/spec/igb.h"

#define RX_DESCS 256u
#define RX_BUF_BYTES 2048u
#define RX_TAIL_BATCH 32u
#define TX_DESCS 128u

#define LINK_CHECK_NS (500 * NS_PER_MS)
#define TX_HUNG_NS (2 * NS_PER_SEC)
#define ITR_US 50u /* at most 20000 doorbells a second */

#define VEC_RX BIT(0)
#define VEC_TX BIT(1)

typedef void (*input_fn)(void *ctx, const void *frame, u32 bytes, bool csum_ok);

struct tx_slot {
	void (*done)(void *ctx); /* this and the next two: on a frame's last descriptor */
	void *ctx;
	bool bell;
	u32 last; /* on a frame's first descriptor: index of its last */
};

struct igb {
	struct netif_dev dev;
	struct bus_dev *bus; /* (c) */
	volatile union igb_rx_desc *rx; /* (c) */
	u64 rx_dma;
	u8 *rx_buf; /* (c) */
	u64 rx_buf_dma;
	u32 rx_next; /* what the card fills next; (a) read by work() */
	u32 rx_owed; /* drained and not yet given back by the tail */
	bool rx_skip; /* in the middle of a frame longer than a buffer */
	volatile struct igb_tx_desc *tx; /* (c) */
	u64 tx_dma;
	struct tx_slot slot[TX_DESCS];
	u32 tx_next, tx_clean; /* where the next frame goes; oldest not yet reaped, (a) */
	u32 tx_bells; /* (a) frames in the ring that shall ring */
	bool tx_armed; /* sent frames may ring: to be masked when no bell is left */
	u64 tx_since_ns; /* when the transmitter last moved, or got work while idle */
	bool recent, rang; /* (a) as in e1000e.c */
	struct netif_filter filter;
	bool link; /* (a) */
	u64 link_next_ns;
	u64 rx_errors, resets;
};

static inline struct igb *to_igb(struct netif_dev *d)
{
	return container_of(d, struct igb, dev);
}

static inline u32 rd(struct igb *g, u32 off)
{
	return bus_read32(g->bus, off);
}

static inline void wr(struct igb *g, u32 off, u32 v)
{
	bus_write32(g->bus, off, v);
}

/* Stores to descriptors before the store to a register; x86 keeps that order. */
static inline void dma_barrier(void)
{
	__asm__ volatile("" ::: "memory");
}

static bool wait_bits(struct igb *g, u32 reg, u32 mask, u32 want, u32 us)
{
	for (u32 t = 0; t <= us; t += 100) {
		if ((rd(g, reg) & mask) == want)
			return true;
		g->bus->ops->delay_us(g->bus, 100);
	}
	return false;
}

/* ---------------------------------------------------------------- reset */

static bool mac_read(struct igb *g)
{
	static const u8 zero[6];
	u32 lo = rd(g, E1000_RAL(0)), hi = rd(g, E1000_RAH(0));
	u8 *mac = g->dev.mac;

	for (u32 i = 0; i < 4; i++)
		mac[i] = (u8)(lo >> (8 * i));
	mac[4] = (u8)hi;
	mac[5] = (u8)(hi >> 8);
	return hi & E1000_RAH_AV && !(mac[0] & 1) && memcmp(mac, zero, 6);
}

static int hw_reset(struct igb *g)
{
	wr(g, IGB_IMC, ~0u);
	wr(g, IGB_EIMC, ~0u);
	wr(g, E1000_RCTL, 0);
	wr(g, E1000_TCTL, E1000_TCTL_PSP);
	wr(g, E1000_CTRL, rd(g, E1000_CTRL) | E1000_CTRL_GIO_MASTER_DISABLE);
	if (!wait_bits(g, E1000_STATUS, E1000_STATUS_GIO_MASTER, 0, 80000))
		log_warn("igb: requests still under way before reset");
	wr(g, E1000_CTRL, (rd(g, E1000_CTRL) & ~E1000_CTRL_GIO_MASTER_DISABLE) | E1000_CTRL_RST);
	g->bus->ops->delay_us(g->bus, 3000);
	if (!wait_bits(g, E1000_CTRL, E1000_CTRL_RST, 0, 20000))
		return -EIO;
	wr(g, IGB_IMC, ~0u);
	wr(g, IGB_EIMC, ~0u);
	rd(g, IGB_ICR);
	return 0;
}

static void hw_filters(struct igb *g)
{
	u32 mta[E1000_MTA_WORDS] = { 0 };
	const u8 *m = g->dev.mac;

	wr(g, E1000_RAL(0), m[0] | (u32)m[1] << 8 | (u32)m[2] << 16 | (u32)m[3] << 24);
	wr(g, E1000_RAH(0), m[4] | (u32)m[5] << 8 | E1000_RAH_AV);
	for (u32 i = 0; i < g->filter.n; i++) {
		u32 bit = (g->filter.multicast[i][4] | (u32)g->filter.multicast[i][5] << 8) >> 4;

		mta[bit / 32] |= BIT(bit % 32);
	}
	for (u32 i = 0; i < E1000_MTA_WORDS; i++)
		wr(g, E1000_MTA(i), mta[i]);
	wr(g, E1000_RCTL, E1000_RCTL_EN | E1000_RCTL_BAM | E1000_RCTL_SECRC |
	   (g->filter.promiscuous ? E1000_RCTL_UPE | E1000_RCTL_MPE : 0) |
	   (g->filter.all_multicast ? E1000_RCTL_MPE : 0));
}

static void rx_fill(struct igb *g, u32 i)
{
	g->rx[i].read.addr = g->rx_buf_dma + (u64)i * RX_BUF_BYTES;
	g->rx[i].read.header = 0; /* status among it */
}

static int hw_rx_start(struct igb *g)
{
	for (u32 i = 0; i < RX_DESCS; i++)
		rx_fill(g, i);
	g->rx_owed = 0;
	g->rx_skip = false;
	__atomic_store_n(&g->rx_next, 0, __ATOMIC_RELAXED);
	dma_barrier();
	wr(g, IGB_RDBAL, (u32)g->rx_dma);
	wr(g, IGB_RDBAH, (u32)(g->rx_dma >> 32));
	wr(g, IGB_RDLEN, RX_DESCS * sizeof(union igb_rx_desc));
	wr(g, IGB_SRRCTL, FIELD_PREP(IGB_SRRCTL_BSIZE, RX_BUF_BYTES / 1024) |
			  FIELD_PREP(IGB_SRRCTL_TYPE, IGB_SRRCTL_ONE_BUFFER) | IGB_SRRCTL_DROP);
	wr(g, IGB_MRQC, 0);
	wr(g, E1000_RXCSUM, E1000_RXCSUM_IPOFL | E1000_RXCSUM_TUOFL);
	hw_filters(g);
	wr(g, IGB_RXDCTL, FIELD_PREP(IGB_DCTL_WTHRESH, 1u) | IGB_DCTL_ENABLE);
	if (!wait_bits(g, IGB_RXDCTL, IGB_DCTL_ENABLE, IGB_DCTL_ENABLE, 10000))
		return -EIO;
	wr(g, IGB_RDH, 0);
	wr(g, IGB_RDT, RX_DESCS - 1); /* only an enabled queue takes its tail [82576 §4.5.9] */
	return 0;
}

static int hw_tx_start(struct igb *g)
{
	g->tx_next = 0;
	__atomic_store_n(&g->tx_clean, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&g->tx_bells, 0, __ATOMIC_RELAXED);
	for (u32 i = 0; i < TX_DESCS; i++)
		g->tx[i].status = 0;
	dma_barrier();
	wr(g, IGB_TDBAL, (u32)g->tx_dma);
	wr(g, IGB_TDBAH, (u32)(g->tx_dma >> 32));
	wr(g, IGB_TDLEN, TX_DESCS * sizeof(struct igb_tx_desc));
	wr(g, IGB_TDH, 0);
	wr(g, IGB_TDT, 0);
	wr(g, IGB_TXDCTL, FIELD_PREP(IGB_DCTL_WTHRESH, 1u) | IGB_DCTL_ENABLE);
	if (!wait_bits(g, IGB_TXDCTL, IGB_DCTL_ENABLE, IGB_DCTL_ENABLE, 10000))
		return -EIO;
	wr(g, E1000_TCTL, E1000_TCTL_EN | E1000_TCTL_PSP | E1000_TCTL_RTLC |
			  FIELD_PREP(E1000_TCTL_CT, 15u) | FIELD_PREP(E1000_TCTL_COLD, 63u));
	return 0;
}

static void unmask(struct igb *g)
{
	bool bells = g->tx_bells;

	if (g->tx_armed && !bells)
		wr(g, g->bus->has_msix ? IGB_EIMC : IGB_IMC,
		   g->bus->has_msix ? VEC_TX : IGB_INT_TXDW);
	g->tx_armed = bells;
	if (g->bus->has_msix) {
		wr(g, IGB_EIMS, VEC_RX | (bells ? VEC_TX : 0));
		wr(g, IGB_IMS, IGB_INT_LSC);
	} else {
		wr(g, IGB_IMS, IGB_INT_RXDW | IGB_INT_LSC | (bells ? IGB_INT_TXDW : 0));
	}
}

static void hw_irq_start(struct igb *g)
{
	if (!g->dev.irq)
		return;
	if (g->bus->has_msix) {
		wr(g, IGB_GPIE, IGB_GPIE_MSIX | IGB_GPIE_EIAME | IGB_GPIE_PBA);
		wr(g, IGB_IVAR0, FIELD_PREP(IGB_IVAR_RX0, IGB_IVAR_VALID) |
				 FIELD_PREP(IGB_IVAR_TX0, IGB_IVAR_VALID | 1u));
		wr(g, IGB_IVAR_MISC, FIELD_PREP(IGB_IVAR_OTHER, IGB_IVAR_VALID));
		wr(g, IGB_EIAC, VEC_RX | VEC_TX);
		wr(g, IGB_EIAM, VEC_RX | VEC_TX);
		wr(g, IGB_EITR(1), ITR_US & IGB_EITR_INTERVAL);
	}
	wr(g, IGB_EITR(0), ITR_US & IGB_EITR_INTERVAL);
	unmask(g);
}

/* After a reset: everything but interrupts. */
static int hw_start(struct igb *g)
{
	u32 ctrl = rd(g, E1000_CTRL) & ~(E1000_CTRL_FRCSPD | E1000_CTRL_FRCDPX | E1000_CTRL_VME |
					 E1000_CTRL_RFCE | E1000_CTRL_TFCE);
	int err;

	wr(g, E1000_CTRL, ctrl | E1000_CTRL_SLU);
	wr(g, E1000_CTRL_EXT, rd(g, E1000_CTRL_EXT) | E1000_CTRL_EXT_DRV_LOAD);
	err = hw_rx_start(g);
	return err ? err : hw_tx_start(g);
}

/* ---------------------------------------------------------------- transmit */

static int igb_tx(struct netif_dev *d, const struct netif_tx *t)
{
	struct igb *g = to_igb(d);
	u32 first = g->tx_next, i = first, total = 0;

	if (!t->n || t->n > NETIF_TX_SEGS_MAX)
		return -EINVAL;
	/* one descriptor stays free: head == tail means empty */
	if ((g->tx_clean - g->tx_next - 1) % TX_DESCS < t->n)
		return -ENOBUFS;
	for (u32 s = 0; s < t->n; s++)
		total += t->segs[s].bytes;
	for (u32 s = 0; s < t->n; s++, i = (i + 1) % TX_DESCS) {
		bool last = s + 1 == t->n;

		g->tx[i].addr = t->segs[s].pa.v;
		g->tx[i].cmd = (t->segs[s].bytes & IGB_TXD_BYTES) | IGB_TXD_DATA | IGB_TXD_DEXT |
			       IGB_TXD_IFCS | (last ? IGB_TXD_EOP | IGB_TXD_RS : 0);
		g->tx[i].status = FIELD_PREP(IGB_TXD_PAYLEN, total);
		g->slot[i] = last ? (struct tx_slot){ t->done, t->ctx, t->bell, 0 } :
				    (struct tx_slot){ 0 };
	}
	g->slot[first].last = (first + t->n - 1) % TX_DESCS;
	if (g->tx_clean == g->tx_next)
		g->tx_since_ns = plat_time_ns();
	g->tx_next = i;
	if (t->bell) {
		__atomic_store_n(&g->tx_bells, g->tx_bells + 1, __ATOMIC_RELAXED);
		if (g->dev.irq)
			unmask(g);
	}
	dma_barrier();
	wr(g, IGB_TDT, i);
	return 0;
}

/* Give back one frame; the callback may send the next. */
static void tx_finish(struct igb *g)
{
	u32 last = g->slot[g->tx_clean].last;
	struct tx_slot s = g->slot[last];

	__atomic_store_n(&g->tx_clean, (last + 1) % TX_DESCS, __ATOMIC_RELAXED);
	if (s.bell)
		__atomic_store_n(&g->tx_bells, g->tx_bells - 1, __ATOMIC_RELAXED);
	if (s.done)
		s.done(s.ctx);
}

static bool tx_ready(const struct igb *g)
{
	u32 at = __atomic_load_n(&g->tx_clean, __ATOMIC_RELAXED) % TX_DESCS;

	return at != g->tx_next && g->tx[g->slot[at].last % TX_DESCS].status & IGB_TXD_DD;
}

static u32 tx_reap(struct igb *g)
{
	u32 n = 0;

	for (; n < TX_DESCS && tx_ready(g); n++) {
		g->tx_since_ns = plat_time_ns();
		if (g->tx_bells)
			__atomic_store_n(&g->recent, true, __ATOMIC_RELAXED);
		tx_finish(g);
	}
	return n;
}

/* ---------------------------------------------------------------- receive */

static bool rx_ready(const struct igb *g)
{
	return g->rx[__atomic_load_n(&g->rx_next, __ATOMIC_RELAXED) % RX_DESCS].wb.status &
	       E1000_RXX_DD;
}

static void rx_one(struct igb *g, u32 i, input_fn input, void *ctx)
{
	u32 status = g->rx[i].wb.status, bytes = g->rx[i].wb.bytes;
	bool whole = status & E1000_RXX_EOP && !g->rx_skip;
	bool ok = status & E1000_RXX_IPCS && status & (E1000_RXX_TCPCS | E1000_RXX_UDPCS) &&
		  !(status & (E1000_RXX_IXSM | IGB_RXX_ERR_L4 | IGB_RXX_ERR_IP));

	g->rx_skip = !(status & E1000_RXX_EOP);
	if (!whole || bytes < NETIF_HEAD_BYTES || bytes > NETIF_FRAME_MAX ||
	    status & IGB_RXX_ERR_RX) {
		g->rx_errors++;
		log_limited(LOG_WARN, "igb: bad frame bytes=%u status=%#x", bytes, status);
		return;
	}
	input(ctx, g->rx_buf + (size_t)i * RX_BUF_BYTES, bytes, ok);
}

/* Hand drained descriptors back: the tail stands on the last one that is the card's. */
static void rx_return(struct igb *g)
{
	if (!g->rx_owed)
		return;
	g->rx_owed = 0;
	dma_barrier();
	wr(g, IGB_RDT, (g->rx_next + RX_DESCS - 1) % RX_DESCS);
}

static u32 rx_drain(struct igb *g, input_fn input, void *ctx)
{
	u32 n = 0;

	for (; n < RX_DESCS && rx_ready(g); n++) {
		u32 i = g->rx_next;

		dma_barrier(); /* status before the rest of the descriptor and the frame */
		rx_one(g, i, input, ctx);
		rx_fill(g, i);
		__atomic_store_n(&g->recent, true, __ATOMIC_RELAXED);
		__atomic_store_n(&g->rx_next, (i + 1) % RX_DESCS, __ATOMIC_RELAXED);
		if (++g->rx_owed >= RX_TAIL_BATCH)
			rx_return(g);
	}
	rx_return(g);
	return n;
}

/* ---------------------------------------------------------------- watchdog */

static bool link_now(struct igb *g)
{
	return rd(g, E1000_STATUS) & E1000_STATUS_LU;
}

static void link_check(struct igb *g, u64 now, bool at_once)
{
	bool up;

	if (now < g->link_next_ns && !at_once)
		return;
	g->link_next_ns = now + LINK_CHECK_NS;
	up = link_now(g);
	if (up != g->link)
		log_info("igb: link %s", up ? "up" : "down");
	__atomic_store_n(&g->link, up, __ATOMIC_RELAXED);
}

static void tx_watchdog(struct igb *g, u64 now)
{
	int err;

	if (g->tx_clean == g->tx_next || now < g->tx_since_ns + TX_HUNG_NS)
		return;
	g->tx_since_ns = now;
	if (!g->link)
		return;
	g->resets++;
	log_limited(LOG_WARN, "igb: transmitter hung, resetting tdh=%u tdt=%u", rd(g, IGB_TDH),
		    rd(g, IGB_TDT));
	err = hw_reset(g);
	while (g->tx_clean != g->tx_next)
		tx_finish(g);
	if (!err)
		err = hw_start(g);
	if (err)
		log_limited(LOG_ERR, "igb: no answer after reset err=%s", err_name(err));
	hw_irq_start(g);
}

/* ---------------------------------------------------------------- ops */

static u32 igb_poll(struct netif_dev *d, input_fn input, void *ctx)
{
	struct igb *g = to_igb(d);
	u32 n = tx_reap(g) + rx_drain(g, input, ctx);
	bool rang = __atomic_exchange_n(&g->rang, false, __ATOMIC_RELAXED);

	if ((rang || n) && g->dev.irq) {
		wr(g, g->bus->has_msix ? IGB_EICR : IGB_ICR, ~0u);
		n += tx_reap(g) + rx_drain(g, input, ctx);
		if (g->bus->has_msix)
			wr(g, IGB_ICR, IGB_INT_LSC);
		link_check(g, plat_time_ns(), rang);
		unmask(g);
	}
	link_check(g, plat_time_ns(), false);
	tx_watchdog(g, plat_time_ns());
	return n;
}

static bool igb_link_up(struct netif_dev *d)
{
	return to_igb(d)->link;
}

static u32 igb_link_mbps(struct netif_dev *d)
{
	static const u16 mbps[] = { 10, 100, 1000, 1000 };

	return mbps[FIELD_GET(E1000_STATUS_SPEED, rd(to_igb(d), E1000_STATUS))];
}

static void igb_filter(struct netif_dev *d, const struct netif_filter *f)
{
	struct igb *g = to_igb(d);

	g->filter = *f;
	g->filter.n = MIN(f->n, (u32)NETIF_MULTICAST_MAX);
	hw_filters(g);
}

static bool igb_work(struct netif_dev *d)
{
	struct igb *g = to_igb(d);
	bool ours = __atomic_exchange_n(&g->recent, false, __ATOMIC_RELAXED) || rx_ready(g) ||
		    (__atomic_load_n(&g->tx_bells, __ATOMIC_RELAXED) && tx_ready(g)) ||
		    link_now(g) != __atomic_load_n(&g->link, __ATOMIC_RELAXED);

	if (ours)
		__atomic_store_n(&g->rang, true, __ATOMIC_RELAXED);
	return ours;
}

static void igb_stop(struct netif_dev *d)
{
	struct igb *g = to_igb(d);

	wr(g, IGB_IMC, ~0u);
	wr(g, IGB_EIMC, ~0u);
	wr(g, E1000_RCTL, 0);
	wr(g, E1000_TCTL, 0);
	wr(g, E1000_CTRL, rd(g, E1000_CTRL) | E1000_CTRL_RST);
}

static const struct netif_ops igb_ops = {
	.tx = igb_tx,
	.poll = igb_poll,
	.link_up = igb_link_up,
	.link_mbps = igb_link_mbps,
	.filter = igb_filter,
	.work = igb_work,
	.stop = igb_stop,
};

/* ---------------------------------------------------------------- start */

static int memory(struct igb *g)
{
	struct bus_dev *b = g->bus;

	g->rx = b->ops->dma_alloc(b, RX_DESCS * sizeof(*g->rx), PAGE_BYTES, &g->rx_dma);
	g->tx = b->ops->dma_alloc(b, TX_DESCS * sizeof(*g->tx), PAGE_BYTES, &g->tx_dma);
	g->rx_buf = b->ops->dma_alloc(b, RX_DESCS * RX_BUF_BYTES, PAGE_BYTES, &g->rx_buf_dma);
	return g->rx && g->tx && g->rx_buf ? 0 : -ENOMEM;
}

static int igb_create(struct bus_dev *bus, const struct nic_id *id, struct netif_dev **out)
{
	struct igb *g = plat_alloc(sizeof(*g));
	int err;

	if (!g)
		return -ENOMEM;
	g->bus = bus;
	g->dev.ops = &igb_ops;
	g->dev.name = id->name;
	err = memory(g);
	if (!err)
		err = hw_reset(g);
	/* the address comes with the NVM's automatic read, which goes on after the reset */
	for (u32 i = 0; !err && !mac_read(g) && i < 20; i++)
		bus->ops->delay_us(bus, 1000);
	if (!err && !mac_read(g))
		err = -EIO;
	if (!err)
		err = hw_start(g);
	if (err)
		goto fail;
	g->dev.irq = bus->ops->irq_enable(bus, 2) == 0;
	hw_irq_start(g);
	g->link = link_now(g);
	log_info("igb: %s mac=%02x:%02x:%02x:%02x:%02x:%02x link=%d irq=%s", id->name,
		 g->dev.mac[0], g->dev.mac[1], g->dev.mac[2], g->dev.mac[3], g->dev.mac[4],
		 g->dev.mac[5], g->link, !g->dev.irq ? "none" : bus->has_msix ? "msi-x" : "msi");
	*out = &g->dev;
	return 0;
fail:
	log_err("igb: not usable err=%s", err_name(err));
	plat_free(g);
	return err;
}

static const struct nic_id ids[] = { NIC_IDS_IGB(NIC_ID) };

static const struct netif_driver igb_driver = {
	.name = "igb",
	.ids = ids,
	.nids = ARRAY_SIZE(ids),
	.create = igb_create,
};
NETIF_DRIVER(igb_driver);
