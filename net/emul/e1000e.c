/*
 * e1000e.c - the 82574L that the guest sees: registers, reset, link
 *
 * For guests whose images have no virtio drivers: Linux's e1000e, Windows' own
 * driver, firmware and iPXE take it for the card. What is written is kept, and
 * what a driver waits for happens at once. Registers above REG_BYTES and unknown
 * ones have no effect. A register is 4 bytes; other widths are what the bus would
 * make of them: 8 bytes are two registers, narrow reads a part, narrow writes
 * nothing.
 *
 * The real card's address and link are the guest's: the address through NVM and
 * RAL/RAH after every reset, the link in STATUS, PHY and as cause LSC when it
 * changes.
 *
 * Ownership: the pump's, but for e1000e_emul_bell(): it stores to RDT and TDT.
 * A ring is read from memory only when the guest has rung or slots have come free.
 *
 * Not there: flash, I/O window, management, wake-up, time stamps, a second queue,
 * the register aliases of the 82542.
 * [82574 §4.6 reset and initialisation, §10.2 registers]
 */
#include "net/emul/e1000e.h"

#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "net/emul/e1000e_priv.h"

#define CTRL_DEFAULT (E1000_CTRL_FD | E1000_CTRL_SLU | FIELD_PREP(0x300u, 2u))
#define PBA_DEFAULT 0x00140014u
#define STATS_END 0x4100u

/* ---------------------------------------------------------------- figures */

/** emul_count_octets() - a pair of statistics registers, low half first */
void emul_count_octets(struct e1000e_emul *e, u32 off, u32 by)
{
	u64 v = (R(e, off) | (u64)R(e, off + 4) << 32) + by;

	R(e, off) = (u32)v;
	R(e, off + 4) = (u32)(v >> 32);
}

/** emul_count_size() - one of six registers by the frame's length with FCS */
void emul_count_size(struct e1000e_emul *e, u32 off, u32 bytes)
{
	static const u16 ends[] = { 64, 127, 255, 511, 1023 };
	u32 i = 0;

	while (i < ARRAY_SIZE(ends) && bytes > ends[i])
		i++;
	emul_count(e, off + 4 * i, 1);
}

/* ---------------------------------------------------------------- link, reset */

static void link_read(struct e1000e_emul *e)
{
	e->mbps = 1000;
	e->link = share_link(e->cfg.share, &e->mbps);
	emul_phy_link(e);
}

static u32 status(struct e1000e_emul *e)
{
	u32 speed = e->mbps >= 1000 ? 2 : e->mbps >= 100 ? 1 : 0;
	u32 s = E1000_STATUS_FD | E1000_STATUS_LAN_INIT_DONE |
		FIELD_PREP(E1000_STATUS_SPEED, speed);

	if (e->link)
		s |= E1000_STATUS_LU;
	if (!(R(e, E1000_CTRL) & E1000_CTRL_GIO_MASTER_DISABLE))
		s |= E1000_STATUS_GIO_MASTER;
	return s;
}

/* As after power-on, or CTRL.RST; the PHY has its own reset. */
static void reset(struct e1000e_emul *e)
{
	const u8 *mac = share_mac(e->cfg.share);

	e->generation++;
	share_tx_flush(e->cfg.share);
	memset(e->reg, 0, sizeof(e->reg));
	memset(&e->tx, 0, sizeof(e->tx));
	memset(&e->context, 0, sizeof(e->context));
	e->tx_held = false;
	e->tso_at = 0;
	e->sent = 0;
	R(e, E1000_CTRL) = CTRL_DEFAULT;
	R(e, E1000_EECD) = E1000_EECD_AUTO_RD | E1000_EECD_PRES;
	R(e, E1000_VET) = 0x8100;
	R(e, E1000_PBA) = PBA_DEFAULT;
	R(e, E1000_PSRCTL) = 0x00040402; /* 256 bytes, then 4 KiB each */
	R(e, E1000_RAL(0)) = mac[0] | (u32)mac[1] << 8 | (u32)mac[2] << 16 | (u32)mac[3] << 24;
	R(e, E1000_RAH(0)) = mac[4] | (u32)mac[5] << 8 | E1000_RAH_AV;
	emul_rx_filter(e);
}

/* ---------------------------------------------------------------- registers */

static u32 reg_read(struct e1000e_emul *e, u32 off)
{
	u32 v;

	if (off >= REG_BYTES)
		return 0;
	switch (off) {
	case E1000_STATUS:
		return status(e);
	case E1000_ICR:
		return emul_icr_read(e);
	case E1000_IMC:
	case E1000_ICS:
		return 0;
	case E1000_SWSM: /* who reads it as clear has the semaphore */
		v = R(e, off);
		R(e, off) |= E1000_SWSM_SMBI;
		return v;
	case E1000_RDT:
	case E1000_TDT:
		return __atomic_load_n(emul_reg(e, off), __ATOMIC_RELAXED);
	default:
		v = R(e, off);
		if (off >= E1000_STATS && off < STATS_END)
			R(e, off) = 0;
		return v;
	}
}

static void ctrl_write(struct e1000e_emul *e, u32 v)
{
	if (v & E1000_CTRL_RST) {
		e->n.resets++;
		reset(e);
		return;
	}
	R(e, E1000_CTRL) = v & ~E1000_CTRL_PHY_RST;
	if (!(v & E1000_CTRL_PHY_RST))
		return;
	emul_phy_init(e);
	emul_cause(e, E1000_INT_LSC);
}

static void eecd_write(struct e1000e_emul *e, u32 v)
{
	u32 grant = v & E1000_EECD_REQ ? E1000_EECD_REQ | E1000_EECD_GNT : 0;

	R(e, E1000_EECD) = E1000_EECD_AUTO_RD | E1000_EECD_PRES | grant;
}

static bool filter_register(u32 off)
{
	return off == E1000_RCTL ||
	       (off >= E1000_MTA(0) && off < E1000_MTA(E1000_MTA_WORDS)) ||
	       (off >= E1000_RAL(0) && off < E1000_RAL(E1000_RA_ENTRIES));
}

/* Of the registers that are only kept: what can be written. */
static u32 writable(u32 off)
{
	switch (off) {
	case E1000_RDLEN:
	case E1000_TDLEN:
		return 0x000fff80;
	case E1000_RDBAL:
	case E1000_TDBAL:
		return ~15u;
	case E1000_RDH:
	case E1000_TDH:
	case E1000_RDT:
	case E1000_TDT:
		return 0xffff;
	case E1000_SWSM:
		return 0xf;
	default:
		return off >= E1000_STATS && off < STATS_END ? 0 : ~0u;
	}
}

static void reg_write(struct e1000e_emul *e, u32 off, u32 v)
{
	u32 was;

	if (off >= REG_BYTES)
		return;
	switch (off) {
	case E1000_CTRL:
		ctrl_write(e, v);
		return;
	case E1000_STATUS:
		return;
	case E1000_EECD:
		eecd_write(e, v);
		return;
	case E1000_EERD:
		emul_eerd(e, v);
		return;
	case E1000_MDIC:
		emul_mdic(e, v);
		return;
	case E1000_ICR:
		emul_icr_write(e, v);
		return;
	case E1000_ICS:
		emul_cause(e, v);
		return;
	case E1000_IMS:
		emul_ims_write(e, v);
		return;
	case E1000_IMC:
		emul_imc_write(e, v);
		return;
	}
	was = R(e, off);
	__atomic_store_n(emul_reg(e, off), v & writable(off), __ATOMIC_RELEASE);
	if (off == E1000_TDT || off == E1000_TCTL)
		__atomic_store_n(&e->rung, 1, __ATOMIC_RELEASE);
	/* the address register is complete with its high half */
	if (filter_register(off) && was != v)
		emul_rx_filter(e);
}

/* ---------------------------------------------------------------- ops */

static void e1000e_emul_mmio(struct nic_emul *n, u64 off, u32 bytes, bool write, u64 *value)
{
	struct e1000e_emul *e = to_emul(n);
	u32 at = (u32)MIN(off, (u64)E1000E_EMUL_BAR_BYTES) & ~3u, shift = 8 * (off & 3);
	bool whole = bytes >= 4 && !shift;

	if (write) {
		if (!whole)
			return;
		reg_write(e, at, (u32)*value);
		if (bytes == 8)
			reg_write(e, at + 4, (u32)(*value >> 32));
		return;
	}
	*value = (u64)reg_read(e, at) >> shift;
	if (bytes == 8)
		*value |= (u64)reg_read(e, at + 4) << 32;
}

static bool e1000e_emul_bell(struct nic_emul *n, u64 off, u64 value)
{
	struct e1000e_emul *e = to_emul(n);

	if (off != E1000_TDT && off != E1000_RDT)
		return false;
	__atomic_store_n(emul_reg(e, (u32)off), (u32)value & 0xffff, __ATOMIC_RELEASE);
	if (off == E1000_TDT)
		__atomic_store_n(&e->rung, 1, __ATOMIC_RELEASE);
	return true;
}

static bool e1000e_emul_poll(struct nic_emul *n)
{
	struct e1000e_emul *e = to_emul(n);
	bool more;

	if (!__atomic_exchange_n(&e->rung, 0, __ATOMIC_ACQUIRE))
		return false;
	more = emul_tx_run(e);
	if (more)
		__atomic_store_n(&e->rung, 1, __ATOMIC_RELAXED);
	return more;
}

/* A driver that waits for the link has neither ring on. */
static bool e1000e_emul_active(struct nic_emul *n)
{
	struct e1000e_emul *e = to_emul(n);

	return R(e, E1000_RCTL) & E1000_RCTL_EN || R(e, E1000_TCTL) & E1000_TCTL_EN ||
	       R(e, E1000_IMS);
}

static void e1000e_emul_say(struct nic_emul *n)
{
	const struct e1000e_emul_stats *s = &to_emul(n)->n;

	log_info("figures: nic=e1000e rx=%llu rx_lost=%llu tx=%llu tx_copied=%llu tx_bad=%llu "
		 "irqs=%llu resets=%llu", (unsigned long long)s->rx_frames,
		 (unsigned long long)s->rx_lost, (unsigned long long)s->tx_frames,
		 (unsigned long long)s->tx_copied, (unsigned long long)s->tx_bad,
		 (unsigned long long)s->irqs, (unsigned long long)s->resets);
}

static const struct nic_emul_ops e1000e_emul_ops = {
	.mmio = e1000e_emul_mmio,
	.bell = e1000e_emul_bell,
	.poll = e1000e_emul_poll,
	.active = e1000e_emul_active,
	.say = e1000e_emul_say,
};

/* ---------------------------------------------------------------- the port */

static void port_room(void *ctx)
{
	struct e1000e_emul *e = ctx;

	if (emul_tx_run(e))
		__atomic_store_n(&e->rung, 1, __ATOMIC_RELAXED);
}

static void port_link(void *ctx)
{
	struct e1000e_emul *e = ctx;

	link_read(e);
	emul_cause(e, E1000_INT_LSC);
}

static const struct share_port_ops port_ops = {
	.rx = emul_rx,
	.tx_room = port_room,
	.link = port_link,
};

/* ---------------------------------------------------------------- the outside */

/** e1000e_emul_create() - see e1000e.h. Context: start-up; allocates. */
int e1000e_emul_create(const struct e1000e_emul_cfg *cfg, struct nic_emul **out)
{
	struct e1000e_emul *e = plat_alloc(sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->cfg = *cfg;
	e->nic.ops = &e1000e_emul_ops;
	e->nic.name = "e1000e";
	emul_nvm_init(e);
	reset(e);
	link_read(e);
	emul_phy_init(e);
	share_attach(cfg->share, &port_ops, e);
	*out = &e->nic;
	return 0;
}

/** e1000e_emul_destroy() - see e1000e.h */
void e1000e_emul_destroy(struct nic_emul *n)
{
	share_detach(to_emul(n)->cfg.share);
	plat_free(to_emul(n));
}

/** e1000e_emul_stats() - since it was made */
const struct e1000e_emul_stats *e1000e_emul_stats(const struct nic_emul *n)
{
	return &container_of(n, struct e1000e_emul, nic)->n;
}
