/*
 * e1000e.c - driver for Intel 82574L and relatives, back to the 82540EM
 *
 * One receive ring of RX_DESCS buffers of 2 KiB, one transmit ring that takes
 * the caller's segments as they are. Legacy descriptors: they are the same in
 * the whole family and carry the checksum verdict. A frame whose checksum the
 * card makes, or that it cuts into segments, has extended ones, behind a context
 * descriptor of its own. Cutting is for the 82574 alone: its relatives have
 * errata with it at lower speeds, and were not tried.
 *
 * There is no interrupt handler. The card's causes are doorbells that wake the
 * pump; poll() then looks at descriptors in memory. Received frames ring, and
 * sent frames while one is out that somebody waits for (netif_tx.bell); others
 * are reaped at the next poll. Every doorbell is explained by a descriptor.
 *
 * Link changes do not ring: with MSI-X they share the "other" cause with what
 * memory does not explain (QEMU raises it for every TCP acknowledgement), and
 * an unexplained NMI is the guest's. The link is read from STATUS at a poll, once
 * in LINK_CHECK_NS.
 *
 * The 82574 masks a cause by itself when its MSI-X message goes out (EIAC);
 * parts with plain MSI keep the cause asserted until ICR is written. poll()
 * ends the same way for both, and only when the rings were seen empty:
 *
 *	drain; write ICR (forget what was drained); look again; write IMS
 *
 * A frame that lands before the second look is drained, one that lands after
 * it rings. Doorbells already on their way when the ring was drained remain;
 * work() owns up to those.
 *
 * A card without MSI-X and MSI (82540EM: PCI 2.2, a pin and nothing else) has
 * no doorbell. Its causes stay masked for ever, because its pin may be wired to
 * an interrupt that the guest shares with other devices; it is polled: from the
 * tick, which whoever drives it keeps on while an answer is awaited, and at
 * every other visit to the pump. What arrives unasked meanwhile waits in the
 * ring, and is lost when the ring is full, as on any wire.
 *
 * States: reset -> running; a transmitter that has had work and finished
 * nothing for TX_HUNG_NS with the link up -> reset again, frames given back.
 *
 * Everything the card writes is checked before use; a wrong length or index
 * costs a frame, never memory.
 *
 * [82574] Intel 82574 GbE Controller Family datasheet rev. 3.4, §4.6 (init),
 * §7.1 (receive), §7.2 (transmit), §7.4 (interrupts), §10.2 (registers).
 * [8254x] PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's
 * Manual rev. 4.0, §13.4 (registers), §14.3 (init).
 */
#include "net/drivers/e1000e.h"

#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "net/drivers/drivers.h"
#include "net/spec/e1000e.h"

#define RX_DESCS 256u
#define RX_BUF_BYTES 2048u
#define RX_TAIL_BATCH 32u
#define TX_DESCS 128u
/* Of one descriptor; longer segments take several. */
#define TX_DESC_BYTES 8192u

/* At most 20000 doorbells a second; units of 256 ns. */
#define ITR_INTERVAL (50000 / 256)

#define LINK_CHECK_NS (500 * NS_PER_MS)
#define TX_HUNG_NS (2 * NS_PER_SEC)
#define PHY_KICK_NS (4 * NS_PER_SEC)

#define MII_BMCR 0
#define   BMCR_ANRESTART 0x0200
#define   BMCR_PDOWN 0x0800
#define   BMCR_ANENABLE 0x1000

struct tx_slot {
	void (*done)(void *ctx); /* on a frame's last descriptor, else NULL */
	void *ctx;
	bool bell; /* likewise */
	u32 last; /* on a frame's first descriptor: index of its last */
};

struct e1000e {
	struct netif_dev dev;
	struct bus_dev *bus; /* (c) */
	const struct nic_id *model; /* (c) flags: E1000E_... */
	u32 irq_causes; /* (c) what IMS is given */
	u32 irq_tx_cause; /* (c) in addition, while tx_bells is not 0 */

	volatile struct e1000_rx_desc *rx; /* (c) */
	u64 rx_dma;
	u8 *rx_buf; /* (c) */
	u64 rx_buf_dma;
	u32 rx_next; /* the descriptor that the card fills next; (a) read by work() */
	u32 rx_owed; /* drained and not yet given back by the tail */
	bool rx_skip; /* in the middle of a frame longer than a buffer */
	bool recent; /* (a) poll() found what rings since work() */
	bool rang; /* (a) a doorbell was ours: the cause may be masked now */

	volatile struct e1000_tx_desc *tx; /* (c) */
	u64 tx_dma;
	struct tx_slot slot[TX_DESCS];
	u32 tx_next; /* where the next frame goes */
	u32 tx_clean; /* oldest frame not yet reaped */
	u64 tx_since_ns; /* when the transmitter last moved, or got work while idle */
	u32 tx_bells; /* frames in the ring that shall ring; (a) read by work() */
	bool tx_armed; /* IMS was last given the cause */

	struct netif_filter filter;
	bool link;
	u64 link_next_ns, link_down_ns;
	struct e1000e_counters n;
};

static inline struct e1000e *to_e1000e(struct netif_dev *d)
{
	return container_of(d, struct e1000e, dev);
}

static inline u32 rd(struct e1000e *e, u32 off)
{
	return bus_read32(e->bus, off);
}

static inline void wr(struct e1000e *e, u32 off, u32 v)
{
	bus_write32(e->bus, off, v);
}

/* Stores to descriptors before the store to a register; x86 keeps that order. */
static inline void dma_barrier(void)
{
	__asm__ volatile("" ::: "memory");
}

static bool wait_bits(struct e1000e *e, u32 reg, u32 mask, u32 want, u32 us)
{
	for (u32 t = 0; t <= us; t += 100) {
		if ((rd(e, reg) & mask) == want)
			return true;
		e->bus->ops->delay_us(e->bus, 100);
	}
	return false;
}

/* ---------------------------------------------------------------- PHY */

static int mdic(struct e1000e *e, u32 op, u32 reg, u32 data, u16 *out)
{
	wr(e, E1000_MDIC, op | FIELD_PREP(E1000_MDIC_PHY, 1u) |
			  FIELD_PREP(E1000_MDIC_REG, reg) | data);
	if (!wait_bits(e, E1000_MDIC, E1000_MDIC_READY, E1000_MDIC_READY, 2000))
		return -ETIMEDOUT;
	if (rd(e, E1000_MDIC) & E1000_MDIC_ERROR)
		return -EIO;
	if (out)
		*out = (u16)FIELD_GET(E1000_MDIC_DATA, rd(e, E1000_MDIC));
	return 0;
}

/*
 * Firmware leaves the PHY negotiating. Where it does not (powered down, or no
 * link for PHY_KICK_NS), start negotiation once more.
 */
static void phy_kick(struct e1000e *e, bool only_if_off)
{
	u16 bmcr;

	if (mdic(e, E1000_MDIC_OP_READ, MII_BMCR, 0, &bmcr))
		return;
	if (only_if_off && !(bmcr & BMCR_PDOWN) && (bmcr & BMCR_ANENABLE))
		return;
	bmcr &= (u16)~BMCR_PDOWN;
	mdic(e, E1000_MDIC_OP_WRITE, MII_BMCR, bmcr | BMCR_ANENABLE | BMCR_ANRESTART, NULL);
}

/* ---------------------------------------------------------------- reset */

static bool mac_ok(const u8 *mac)
{
	static const u8 zero[6];

	return !(mac[0] & 1) && memcmp(mac, zero, 6) != 0;
}

static void mac_read(struct e1000e *e, u8 *mac)
{
	u32 lo = rd(e, E1000_RAL(0)), hi = rd(e, E1000_RAH(0));

	for (u32 i = 0; i < 4; i++)
		mac[i] = (u8)(lo >> (8 * i));
	mac[4] = (u8)hi;
	mac[5] = (u8)(hi >> 8);
}

/* One word of the EEPROM; [8254x §13.4.4]. Return: false when it does not answer. */
static bool eeprom_word(struct e1000e *e, u32 i, u16 *out)
{
	wr(e, E1000_EERD, E1000_EERD_START | FIELD_PREP(E1000_EERD_ADDR, i));
	if (!wait_bits(e, E1000_EERD, E1000_EERD_DONE, E1000_EERD_DONE, 5000))
		return false;
	*out = (u16)FIELD_GET(E1000_EERD_DATA, rd(e, E1000_EERD));
	return true;
}

/* Where a reset does not load the address into RAL, words 0 to 2 have it. */
static void mac_from_eeprom(struct e1000e *e, u8 *mac)
{
	u16 w;

	for (u32 i = 0; i < 3 && eeprom_word(e, i, &w); i++) {
		mac[2 * i] = (u8)w;
		mac[2 * i + 1] = (u8)(w >> 8);
	}
}

static void master_disable(struct e1000e *e)
{
	wr(e, E1000_CTRL, rd(e, E1000_CTRL) | E1000_CTRL_GIO_MASTER_DISABLE);
	if (!wait_bits(e, E1000_STATUS, E1000_STATUS_GIO_MASTER, 0, 80000))
		log_warn("e1000e: requests still under way before reset");
}

/*
 * [82574 §4.6.3]. The reset comes before anything is done to MSI-X: some
 * emulated cards do not survive MSI-X being switched while a throttling timer
 * of the firmware's driver still runs.
 */
static int hw_reset(struct e1000e *e)
{
	wr(e, E1000_IMC, ~0u);
	wr(e, E1000_RCTL, 0);
	wr(e, E1000_TCTL, E1000_TCTL_PSP);
	if (!(e->model->flags & E1000E_PCI))
		master_disable(e);
	wr(e, E1000_CTRL, (rd(e, E1000_CTRL) & ~E1000_CTRL_GIO_MASTER_DISABLE) | E1000_CTRL_RST);
	e->bus->ops->delay_us(e->bus, 3000);
	if (!wait_bits(e, E1000_CTRL, E1000_CTRL_RST, 0, 20000))
		return -EIO;
	if (e->model->flags & E1000E_ICH)
		wait_bits(e, E1000_STATUS, E1000_STATUS_LAN_INIT_DONE,
			  E1000_STATUS_LAN_INIT_DONE, 15000);
	else if (e->model->flags & E1000E_PCI)
		e->bus->ops->delay_us(e->bus, 5000); /* the EEPROM is read, and nothing tells */
	else
		wait_bits(e, E1000_EECD, E1000_EECD_AUTO_RD, E1000_EECD_AUTO_RD, 10000);
	wr(e, E1000_IMC, ~0u);
	rd(e, E1000_ICR);
	return 0;
}

static void hw_errata(struct e1000e *e)
{
	if (!(e->model->flags & E1000E_ERRATA_82574))
		return;
	/* Unreliable completions with ASPM [82574 spec. update, erratum 20]. */
	wr(e, E1000_GCR, rd(e, E1000_GCR) | BIT(22));
	wr(e, E1000_GCR2, rd(e, E1000_GCR2) | BIT(0));
	wr(e, E1000_TARC0, (rd(e, E1000_TARC0) & ~0x78000000u) | BIT(26));
}

static void hw_filters(struct e1000e *e)
{
	u32 words = e->model->flags & E1000E_ICH ? E1000_MTA_WORDS_ICH : E1000_MTA_WORDS;
	u32 mta[E1000_MTA_WORDS] = { 0 };
	const u8 *m = e->dev.mac;

	wr(e, E1000_RAL(0), m[0] | (u32)m[1] << 8 | (u32)m[2] << 16 | (u32)m[3] << 24);
	wr(e, E1000_RAH(0), m[4] | (u32)m[5] << 8 | E1000_RAH_AV);
	for (u32 i = 0; i < e->filter.n; i++) {
		/* the address's topmost bits, as many as the table has [82574 §10.2.5.12] */
		u32 top = e->filter.multicast[i][4] | (u32)e->filter.multicast[i][5] << 8;
		u32 bit = words == E1000_MTA_WORDS ? top >> 4 : top >> 6;

		mta[bit / 32] |= BIT(bit % 32);
	}
	for (u32 i = 0; i < words; i++)
		wr(e, E1000_MTA(i), mta[i]);
}

/* 2 KiB buffers are BSIZE 0; long frames off, FCS stripped. */
static u32 rctl(const struct e1000e *e)
{
	return E1000_RCTL_EN | E1000_RCTL_BAM | E1000_RCTL_SECRC |
	       (e->filter.promiscuous ? E1000_RCTL_UPE | E1000_RCTL_MPE : 0) |
	       (e->filter.all_multicast ? E1000_RCTL_MPE : 0);
}

static void hw_rx_start(struct e1000e *e)
{
	for (u32 i = 0; i < RX_DESCS; i++) {
		e->rx[i].addr = e->rx_buf_dma + (u64)i * RX_BUF_BYTES;
		e->rx[i].status = 0;
		e->rx[i].errors = 0;
		e->rx[i].bytes = 0;
	}
	e->rx_next = 0;
	e->rx_owed = 0;
	e->rx_skip = false;
	dma_barrier();
	wr(e, E1000_RDBAL, (u32)e->rx_dma);
	wr(e, E1000_RDBAH, (u32)(e->rx_dma >> 32));
	wr(e, E1000_RDLEN, RX_DESCS * sizeof(struct e1000_rx_desc));
	wr(e, E1000_RDH, 0);
	wr(e, E1000_RDTR, 0);
	wr(e, E1000_RADV, 0);
	wr(e, E1000_RXDCTL, E1000_DCTL_GRAN | FIELD_PREP(E1000_DCTL_WTHRESH, 1u));
	if (!(e->model->flags & E1000E_PCI))
		wr(e, E1000_RFCTL, rd(e, E1000_RFCTL) & ~E1000_RFCTL_EXSTEN);
	wr(e, E1000_RXCSUM, E1000_RXCSUM_IPOFL | E1000_RXCSUM_TUOFL);
	wr(e, E1000_RCTL, rctl(e));
	wr(e, E1000_RDT, RX_DESCS - 1);
}

static void hw_tx_start(struct e1000e *e)
{
	for (u32 i = 0; i < TX_DESCS; i++)
		e->tx[i].status = 0;
	e->tx_next = e->tx_clean = 0;
	e->tx_armed = false;
	dma_barrier();
	wr(e, E1000_TDBAL, (u32)e->tx_dma);
	wr(e, E1000_TDBAH, (u32)(e->tx_dma >> 32));
	wr(e, E1000_TDLEN, TX_DESCS * sizeof(struct e1000_tx_desc));
	wr(e, E1000_TDH, 0);
	wr(e, E1000_TDT, 0);
	wr(e, E1000_TIDV, 0);
	wr(e, E1000_TADV, 0);
	wr(e, E1000_TXDCTL, E1000_DCTL_GRAN | FIELD_PREP(E1000_DCTL_WTHRESH, 1u) |
			    (e->model->flags & E1000E_PCI ? 0 : E1000_TXDCTL_COUNT_DESC));
	/* 8 + 8 + 6: the values for copper [82574 §10.2.6.2] */
	wr(e, E1000_TIPG, 8 | 8 << 10 | 6 << 20);
	wr(e, E1000_TCTL, E1000_TCTL_EN | E1000_TCTL_PSP | E1000_TCTL_RTLC |
			  FIELD_PREP(E1000_TCTL_CT, 15u) | FIELD_PREP(E1000_TCTL_COLD, 63u));
}

static void hw_irq_start(struct e1000e *e)
{
	if (!e->dev.irq)
		return;
	if (e->bus->has_msix) {
		/* every cause to vector 0; only those of the queues are ever unmasked */
		wr(e, E1000_IVAR, E1000_IVAR_RXQ0_VALID | E1000_IVAR_TXQ0_VALID |
				  E1000_IVAR_OTHER_VALID);
		wr(e, E1000_EIAC, E1000_INT_RXQ0 | E1000_INT_TXQ0);
		wr(e, E1000_EITR(0), ITR_INTERVAL);
	} else {
		wr(e, E1000_ITR, ITR_INTERVAL);
	}
	wr(e, E1000_IMS, e->irq_causes);
}

/* After a reset: everything but interrupts. */
static int hw_start(struct e1000e *e)
{
	u32 ctrl;

	if (!mac_ok(e->dev.mac))
		mac_read(e, e->dev.mac);
	if (!mac_ok(e->dev.mac) && (e->model->flags & E1000E_PCI))
		mac_from_eeprom(e, e->dev.mac);
	if (!mac_ok(e->dev.mac))
		return -EIO;
	hw_errata(e);
	hw_filters(e);
	ctrl = rd(e, E1000_CTRL) & ~(E1000_CTRL_FRCSPD | E1000_CTRL_FRCDPX | E1000_CTRL_VME |
				     E1000_CTRL_RFCE | E1000_CTRL_TFCE);
	wr(e, E1000_CTRL, ctrl | E1000_CTRL_SLU | E1000_CTRL_ASDE);
	if (!(e->model->flags & E1000E_PCI))
		wr(e, E1000_CTRL_EXT, (rd(e, E1000_CTRL_EXT) & ~(E1000_CTRL_EXT_IAME |
				       E1000_CTRL_EXT_EIAME)) | E1000_CTRL_EXT_DRV_LOAD);
	phy_kick(e, true);
	hw_rx_start(e);
	hw_tx_start(e);
	return 0;
}

/* ---------------------------------------------------------------- transmit */

static u32 tx_room(const struct e1000e *e)
{
	/* one descriptor stays free: head == tail means empty */
	return (e->tx_clean - e->tx_next - 1) % TX_DESCS;
}

static bool tx_possible(const struct e1000e *e, const struct netif_tx *f)
{
	if (!f->n || f->n > (f->mss ? NETIF_CUT_SEGS_MAX : NETIF_TX_SEGS_MAX))
		return false;
	for (u32 s = 0; s < f->n; s++)
		if (!f->segs[s].bytes)
			return false;
	if (!f->csum_at)
		return !f->mss;
	return e->dev.features & NETIF_CSUM && f->csum_at <= 0xff && f->csum_start <= f->csum_at &&
	       f->csum_start > NETIF_HEAD_BYTES &&
	       (!f->mss || (e->dev.features & NETIF_TSO && f->header_bytes <= 0xff));
}

static u32 tx_descs(const struct netif_tx *f)
{
	u32 n = f->csum_at != 0;

	for (u32 s = 0; s < f->n; s++)
		n += DIV_ROUND_UP(f->segs[s].bytes, TX_DESC_BYTES);
	return n;
}

/* What is to be computed in the data that follows. [82574 §7.2.10.1] */
static void tx_context(struct e1000e *e, u32 i, const struct netif_tx *f, u32 bytes)
{
	volatile struct e1000_tx_context *c = (volatile void *)&e->tx[i];

	c->ipcss = NETIF_HEAD_BYTES;
	c->ipcso = NETIF_HEAD_BYTES + 10;
	c->ipcse = (u16)(f->csum_start - 1);
	c->tucss = (u8)f->csum_start;
	c->tucso = (u8)f->csum_at;
	c->tucse = 0; /* to the end */
	c->status = 0;
	c->header_bytes = (u8)f->header_bytes;
	c->mss = f->mss;
	c->cmd = FIELD_PREP(E1000_TXX_CMD, (u32)E1000_TXD_DEXT) |
		 (f->mss ? E1000_TXC_TSE | E1000_TXC_TCP | E1000_TXC_IP4 |
			   (bytes - f->header_bytes) : 0);
	e->slot[i] = (struct tx_slot){ 0 };
}

static void tx_desc(struct e1000e *e, u32 i, const struct netif_tx *f, u64 addr, u32 bytes,
		    bool last)
{
	u8 cmd = (u8)(E1000_TXD_IFCS | (last ? E1000_TXD_EOP | E1000_TXD_RS : 0));

	if (f->csum_at) {
		volatile struct e1000_tx_data *x = (volatile void *)&e->tx[i];

		cmd |= (u8)(E1000_TXD_DEXT | (f->mss ? E1000_TXD_TSE : 0));
		x->addr = addr;
		x->cmd = FIELD_PREP(E1000_TXX_TYPE, E1000_TXX_DATA) |
			 FIELD_PREP(E1000_TXX_CMD, (u32)cmd) | bytes;
		x->status = 0;
		x->popts = (u8)(E1000_TXX_TXSM | (f->mss ? E1000_TXX_IXSM : 0));
		x->special = 0;
	} else {
		volatile struct e1000_tx_desc *t = &e->tx[i];

		t->addr = addr;
		t->bytes = (u16)bytes;
		t->cso = 0;
		t->cmd = cmd;
		t->status = 0;
		t->css = 0;
		t->special = 0;
	}
	e->slot[i] = last ? (struct tx_slot){ .done = f->done, .ctx = f->ctx, .bell = f->bell } :
			    (struct tx_slot){ 0 };
}

static int e1000e_tx(struct netif_dev *d, const struct netif_tx *f)
{
	struct e1000e *e = to_e1000e(d);
	u32 first = e->tx_next, i = first, last_desc = first, bytes = 0;

	if (!tx_possible(e, f))
		return -EINVAL;
	if (tx_room(e) < tx_descs(f)) {
		e->n.tx_full++;
		return -ENOBUFS;
	}
	for (u32 s = 0; s < f->n; s++)
		bytes += f->segs[s].bytes;
	if (f->csum_at) {
		tx_context(e, i, f, bytes);
		i = (i + 1) % TX_DESCS;
	}
	for (u32 s = 0; s < f->n; s++) {
		for (u32 at = 0; at < f->segs[s].bytes; at += TX_DESC_BYTES) {
			u32 take = MIN(f->segs[s].bytes - at, TX_DESC_BYTES);
			bool last = s + 1 == f->n && at + take == f->segs[s].bytes;

			tx_desc(e, i, f, f->segs[s].pa.v + at, take, last);
			last_desc = i;
			i = (i + 1) % TX_DESCS;
		}
	}
	e->slot[first].last = last_desc;
	if (e->tx_clean == e->tx_next)
		e->tx_since_ns = plat_time_ns();
	__atomic_store_n(&e->tx_next, i, __ATOMIC_RELAXED);
	__atomic_store_n(&e->tx_bells, e->tx_bells + f->bell, __ATOMIC_RELAXED);
	e->n.tx_frames++;
	e->n.tx_bytes += bytes;
	dma_barrier();
	wr(e, E1000_TDT, i);
	return 0;
}

/* Give back one frame; the callback only releases memory. */
static void tx_finish(struct e1000e *e)
{
	u32 last = e->slot[e->tx_clean].last;
	struct tx_slot s = e->slot[last];

	__atomic_store_n(&e->tx_clean, (last + 1) % TX_DESCS, __ATOMIC_RELAXED);
	if (s.bell) {
		__atomic_store_n(&e->tx_bells, e->tx_bells - 1, __ATOMIC_RELAXED);
		__atomic_store_n(&e->recent, true, __ATOMIC_RELAXED);
	}
	if (s.done)
		s.done(s.ctx);
}

/* Is a frame sent that somebody waits for? Also for work(), where all may be outdated. */
static bool tx_ready(const struct e1000e *e)
{
	u32 clean = __atomic_load_n(&e->tx_clean, __ATOMIC_RELAXED) % TX_DESCS;
	u32 last = e->slot[clean].last % TX_DESCS;

	return __atomic_load_n(&e->tx_bells, __ATOMIC_RELAXED) &&
	       clean != __atomic_load_n(&e->tx_next, __ATOMIC_RELAXED) &&
	       (e->tx[last].status & E1000_TXD_DD);
}

static u32 tx_reap(struct e1000e *e)
{
	u32 n = 0;

	while (e->tx_clean != e->tx_next) {
		u32 last = e->slot[e->tx_clean].last;

		if (!(e->tx[last].status & E1000_TXD_DD))
			break;
		e->tx_since_ns = plat_time_ns();
		tx_finish(e);
		n++;
	}
	return n;
}

/* ---------------------------------------------------------------- receive */

static bool rx_ready(const struct e1000e *e)
{
	return e->rx[__atomic_load_n(&e->rx_next, __ATOMIC_RELAXED) % RX_DESCS].status &
	       E1000_RXD_DD;
}

/* Did the card check both the IP header and the TCP or UDP checksum, and find them right? */
static bool rx_csum_ok(u8 status, u8 errors)
{
	return !(status & E1000_RXD_IXSM) && (status & E1000_RXD_IPCS) &&
	       (status & (E1000_RXD_TCPCS | E1000_RXD_UDPCS)) &&
	       !(errors & (E1000_RXD_ERR_TCPE | E1000_RXD_ERR_IPE));
}

static void rx_one(struct e1000e *e, u32 i,
		   void (*input)(void *, const void *, u32, bool), void *ctx)
{
	volatile struct e1000_rx_desc *r = &e->rx[i];
	u8 status = r->status, errors = r->errors;
	u32 bytes = r->bytes;
	bool whole = (status & E1000_RXD_EOP) && !e->rx_skip;

	/* A frame over several buffers is too long for us: drop up to its end. */
	e->rx_skip = !(status & E1000_RXD_EOP);
	if (!whole || bytes < 14 || bytes > NETIF_FRAME_MAX ||
	    (errors & (E1000_RXD_ERR_CE | E1000_RXD_ERR_SE | E1000_RXD_ERR_SEQ |
		       E1000_RXD_ERR_CXE | E1000_RXD_ERR_RXE))) {
		e->n.rx_errors++;
		log_limited(LOG_WARN, "e1000e: bad frame bytes=%u status=%#x errors=%#x", bytes,
			    status, errors);
		return;
	}
	e->n.rx_frames++;
	e->n.rx_bytes += bytes;
	input(ctx, e->rx_buf + (size_t)i * RX_BUF_BYTES, bytes, rx_csum_ok(status, errors));
}

/* Hand drained descriptors back: the tail stands on the last one that is the card's. */
static void rx_return(struct e1000e *e)
{
	if (!e->rx_owed)
		return;
	e->rx_owed = 0;
	dma_barrier();
	wr(e, E1000_RDT, (e->rx_next + RX_DESCS - 1) % RX_DESCS);
}

static u32 rx_drain(struct e1000e *e, u32 budget,
		    void (*input)(void *, const void *, u32, bool), void *ctx)
{
	u32 n = 0;

	while (n < budget && rx_ready(e)) {
		u32 i = e->rx_next;

		dma_barrier(); /* status before the rest of the descriptor and the frame */
		rx_one(e, i, input, ctx);
		e->rx[i].status = 0;
		e->rx[i].errors = 0;
		__atomic_store_n(&e->recent, true, __ATOMIC_RELAXED);
		__atomic_store_n(&e->rx_next, (i + 1) % RX_DESCS, __ATOMIC_RELAXED);
		if (++e->rx_owed >= RX_TAIL_BATCH)
			rx_return(e);
		n++;
	}
	rx_return(e);
	return n;
}

/* ---------------------------------------------------------------- watchdog */

static u32 e1000e_link_mbps(struct netif_dev *d)
{
	static const u16 mbps[] = { 10, 100, 1000, 1000 };

	return mbps[FIELD_GET(E1000_STATUS_SPEED, rd(to_e1000e(d), E1000_STATUS))];
}

static void link_check(struct e1000e *e, u64 now)
{
	bool up;

	if (now < e->link_next_ns)
		return;
	e->link_next_ns = now + LINK_CHECK_NS;
	up = rd(e, E1000_STATUS) & E1000_STATUS_LU;
	if (up != e->link) {
		e->link = up;
		e->link_down_ns = now;
		e->n.link_changes++;
		if (up)
			log_info("e1000e: link up mbps=%u", e1000e_link_mbps(&e->dev));
		else
			log_info("e1000e: link down");
	}
	if (!up && now > e->link_down_ns + PHY_KICK_NS) {
		e->link_down_ns = now;
		phy_kick(e, true);
	}
}

static void tx_watchdog(struct e1000e *e, u64 now)
{
	if (e->tx_clean == e->tx_next || now < e->tx_since_ns + TX_HUNG_NS)
		return;
	if (!e->link) {
		e->tx_since_ns = now;
		return;
	}
	e->n.resets++;
	log_limited(LOG_WARN, "e1000e: transmitter hung, resetting tdh=%u tdt=%u",
		    rd(e, E1000_TDH), rd(e, E1000_TDT));
	if (hw_reset(e))
		log_limited(LOG_ERR, "e1000e: no answer after reset");
	while (e->tx_clean != e->tx_next)
		tx_finish(e);
	hw_start(e);
	hw_irq_start(e);
}

/* ---------------------------------------------------------------- ops */

/*
 * Forget the causes of what was drained, look once more, and only then let
 * the card ring again.
 */
static u32 rearm(struct e1000e *e, u32 budget,
		 void (*input)(void *, const void *, u32, bool), void *ctx)
{
	u32 n;

	wr(e, E1000_ICR, e->irq_causes | e->irq_tx_cause);
	n = tx_reap(e);
	n += rx_drain(e, budget, input, ctx);
	if (e->tx_armed && !e->tx_bells)
		wr(e, E1000_IMC, e->irq_tx_cause);
	e->tx_armed = e->tx_bells;
	wr(e, E1000_IMS, e->irq_causes | (e->tx_armed ? e->irq_tx_cause : 0));
	e->n.rearms++;
	return n;
}

static u32 e1000e_poll(struct netif_dev *d,
		       void (*input)(void *ctx, const void *frame, u32 bytes, bool csum_ok),
		       void *ctx)
{
	struct e1000e *e = to_e1000e(d);
	bool rang = __atomic_exchange_n(&e->rang, false, __ATOMIC_RELAXED);
	u32 tx = tx_reap(e), rx;
	u64 now;

	e->n.rx_polls++;
	rx = rx_drain(e, RX_DESCS, input, ctx);
	if ((rang || rx || (e->tx_bells && !e->tx_armed)) && e->dev.irq)
		rx += rearm(e, RX_DESCS, input, ctx);
	now = plat_time_ns();
	link_check(e, now);
	tx_watchdog(e, now);
	return tx + rx;
}

static bool e1000e_link_up(struct netif_dev *d)
{
	return to_e1000e(d)->link;
}

static void e1000e_filter(struct netif_dev *d, const struct netif_filter *f)
{
	struct e1000e *e = to_e1000e(d);

	e->filter = *f;
	e->filter.n = MIN(f->n, (u32)NETIF_MULTICAST_MAX);
	hw_filters(e);
	wr(e, E1000_RCTL, rctl(e));
}

static bool e1000e_work(struct netif_dev *d)
{
	struct e1000e *e = to_e1000e(d);
	bool ours = __atomic_exchange_n(&e->recent, false, __ATOMIC_RELAXED) || rx_ready(e) ||
		    tx_ready(e);

	if (ours)
		__atomic_store_n(&e->rang, true, __ATOMIC_RELAXED);
	return ours;
}

static void e1000e_stop(struct netif_dev *d)
{
	struct e1000e *e = to_e1000e(d);

	wr(e, E1000_IMC, ~0u);
	wr(e, E1000_RCTL, 0);
	wr(e, E1000_TCTL, 0);
	wr(e, E1000_CTRL, rd(e, E1000_CTRL) | E1000_CTRL_RST);
}

static const struct netif_ops e1000e_ops = {
	.tx = e1000e_tx,
	.poll = e1000e_poll,
	.link_up = e1000e_link_up,
	.link_mbps = e1000e_link_mbps,
	.filter = e1000e_filter,
	.work = e1000e_work,
	.stop = e1000e_stop,
};

/* ---------------------------------------------------------------- public */

static int e1000e_create(struct bus_dev *bus, const struct nic_id *m, struct netif_dev **out)
{
	struct e1000e *e = plat_alloc(sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	e->bus = bus;
	e->model = m;
	e->dev.ops = &e1000e_ops;
	e->dev.name = m->name;
	if (!(m->flags & E1000E_PCI))
		e->dev.features = NETIF_CSUM |
				  (m->flags & E1000E_ERRATA_82574 ? NETIF_TSO : 0);
	e->rx = bus->ops->dma_alloc(bus, RX_DESCS * sizeof(*e->rx), PAGE_BYTES, &e->rx_dma);
	e->tx = bus->ops->dma_alloc(bus, TX_DESCS * sizeof(*e->tx), PAGE_BYTES, &e->tx_dma);
	e->rx_buf = bus->ops->dma_alloc(bus, RX_DESCS * RX_BUF_BYTES, PAGE_BYTES, &e->rx_buf_dma);
	err = -ENOMEM;
	if (!e->rx || !e->tx || !e->rx_buf)
		goto fail;
	err = hw_reset(e);
	if (!err)
		err = hw_start(e);
	if (err)
		goto fail;
	e->dev.irq = bus->ops->irq_enable(bus, 1) == 0;
	e->irq_causes = bus->has_msix ? E1000_INT_RXQ0 :
			E1000_INT_RXT0 | E1000_INT_RXO | E1000_INT_RXDMT0;
	e->irq_tx_cause = bus->has_msix ? E1000_INT_TXQ0 : E1000_INT_TXDW;
	hw_irq_start(e);
	e->link = rd(e, E1000_STATUS) & E1000_STATUS_LU;
	e->link_down_ns = plat_time_ns();
	log_info("e1000e: %s mac=%02x:%02x:%02x:%02x:%02x:%02x link=%d irq=%s", m->name,
		 e->dev.mac[0], e->dev.mac[1], e->dev.mac[2], e->dev.mac[3], e->dev.mac[4],
		 e->dev.mac[5], e->link, !e->dev.irq ? "none" : bus->has_msix ? "msi-x" : "msi");
	*out = &e->dev;
	return 0;
fail:
	log_err("e1000e: not usable err=%s", err_name(err));
	plat_free(e);
	return err;
}

const struct e1000e_counters *e1000e_counters(struct netif_dev *d)
{
	return &to_e1000e(d)->n;
}

static const struct nic_id ids[] = { NIC_IDS_E1000E(NIC_ID) };

static const struct netif_driver e1000e_driver = {
	.name = "e1000e",
	.ids = ids,
	.nids = ARRAY_SIZE(ids),
	.create = e1000e_create,
};
NETIF_DRIVER(e1000e_driver);
