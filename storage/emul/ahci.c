/*
 * ahci.c - the AHCI adapter that the guest sees: registers, interrupts, resets
 *
 * AHCI 1.3.1, ports as told, a disk on one of them, optical drives or nothing on
 * the others,
 * 32 slots, NCQ, command list override; no port multiplier, no coalescing, no
 * staggered spin-up, no power states of the link: what Linux, UEFI, GRUB and
 * Windows use, and nothing that they would have to be told of without asking.
 *
 * Who calls what:
 *   any CPU   ahci_emul_doorbell_store(): notes PxCI and PxSACT;
 *             ahci_emul_read(): reads change nothing
 *   owner     everything else
 *
 * Registers lie in an array as they read; what a write does is in write_port()
 * and write_generic(). poll() takes the notes, lets the ports run and raises
 * the interrupt. A bit of IS follows PxIS & PxIE until the guest clears it, and
 * comes back when there is still a reason. The message is sent when a bit of IS
 * rises, and when the guest has left one standing. [AHCI 1.3.1 §10.7.2]
 *
 * A reset of any kind forgets what the block device has of the port, but the
 * disk answers again only when the last has come back (ahci_port.c).
 *
 * [AHCI 1.3.1 §3, §10]
 */
#include "storage/emul/ahci.h"

#include <string.h>

#include "base/plat.h"
#include "storage/emul/ahci_priv.h"

#define CMD_WRITABLE                                                           \
	(AHCI_PX_CMD_ST | AHCI_PX_CMD_FRE | AHCI_PX_CMD_ATAPI | AHCI_PX_CMD_DLAE)
/* Without staggered spin-up and power control: always on. */
#define CMD_FIXED (AHCI_PX_CMD_SUD | AHCI_PX_CMD_POD)
/* These follow PxSERR and are not cleared by themselves. */
#define IS_FOLLOWS (AHCI_PX_IS_PCS | AHCI_PX_IS_PRCS | AHCI_PX_IS_UFS)

#define SSTS_UP                                                                \
	((u32)FIELD_PREP(AHCI_SSTS_DET, AHCI_DET_UP) |                         \
	 (u32)FIELD_PREP(AHCI_SSTS_SPD, AHCI_SPD_6) |                          \
	 (u32)FIELD_PREP(AHCI_SSTS_IPM, AHCI_IPM_ACTIVE))

static u32 *reg(struct ahci_emul *e, u32 off)
{
	return &e->regs[off / 4];
}

/* ---------------------------------------------------------------- interrupts */

static void follow_serr(struct ahci_port *p)
{
	u32 serr = *ahci_px(p, AHCI_PX_SERR), *is = ahci_px(p, AHCI_PX_IS);

	*is &= ~IS_FOLLOWS;
	*is |= (serr & AHCI_SERR_DIAG_X ? AHCI_PX_IS_PCS : 0) |
	       (serr & AHCI_SERR_DIAG_N ? AHCI_PX_IS_PRCS : 0) |
	       (serr & AHCI_SERR_DIAG_F ? AHCI_PX_IS_UFS : 0);
}

/* @again: the guest was told and has left something standing: tell it again. */
static void update_irq(struct ahci_emul *e, bool again)
{
	u32 *is = reg(e, AHCI_IS), old = *is;
	bool level;

	e->unsaid = false;
	for (u32 bits = e->implemented; bits; bits &= bits - 1) {
		const struct ahci_port *p = &e->port[__builtin_ctz(bits)];

		if (*ahci_px(p, AHCI_PX_IS) & *ahci_px(p, AHCI_PX_IE))
			*is |= BIT(p->index);
	}
	level = *is && *reg(e, AHCI_GHC) & AHCI_GHC_IE;
	if (level && (again || !e->level || *is & ~old)) {
		e->stats.irqs++;
		e->host->ops->irq(e->host, 0);
	}
	if (level != e->level && e->host->ops->intx)
		e->host->ops->intx(e->host, level);
	e->level = level;
}

/* ---------------------------------------------------------------- resets */

static void link_up(struct ahci_port *p)
{
	if (!p->slots)
		return;
	p->link = p->sig_owed = true;
	*ahci_px(p, AHCI_PX_SSTS) = SSTS_UP;
	*ahci_px(p, AHCI_PX_TFD) = ATA_STS_BSY;
	*ahci_px(p, AHCI_PX_SERR) |= AHCI_SERR_DIAG_X | AHCI_SERR_DIAG_N;
	follow_serr(p);
	ahci_emul_port_receive(p);
}

static void port_defaults(struct ahci_port *p)
{
	ahci_emul_port_reset(p);
	ahci_emul_port_stop(p);
	*ahci_px(p, AHCI_PX_IS) = *ahci_px(p, AHCI_PX_IE) = 0;
	*ahci_px(p, AHCI_PX_CMD) = CMD_FIXED;
	*ahci_px(p, AHCI_PX_SSTS) = *ahci_px(p, AHCI_PX_SCTL) = *ahci_px(p, AHCI_PX_SERR) = 0;
	link_up(p);
}

/* All registers but the addresses of lists and frames. [AHCI 1.3.1 §10.4.3] */
static void adapter_reset(struct ahci_emul *e)
{
	e->stats.resets++;
	*reg(e, AHCI_GHC) = AHCI_GHC_AE;
	*reg(e, AHCI_IS) = 0;
	for (u32 bits = e->implemented; bits; bits &= bits - 1) {
		struct ahci_port *p = &e->port[__builtin_ctz(bits)];

		__atomic_store_n(&p->ci_note, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&p->sact_note, 0, __ATOMIC_RELAXED);
		port_defaults(p);
	}
	update_irq(e, false);
}

/* DET: 1 holds COMRESET, 4 switches the link off, 0 after either brings it up. */
static void write_sctl(struct ahci_port *p, u32 v)
{
	u32 old = (u32)FIELD_GET(AHCI_SCTL_DET, *ahci_px(p, AHCI_PX_SCTL));
	u32 det = (u32)FIELD_GET(AHCI_SCTL_DET, v);

	*ahci_px(p, AHCI_PX_SCTL) = v & (AHCI_SCTL_DET | AHCI_SCTL_SPD | AHCI_SCTL_IPM);
	if (det == old)
		return;
	if (det == AHCI_SCTL_DET_IDLE) {
		link_up(p);
		return;
	}
	p->e->stats.resets++;
	ahci_emul_port_reset(p);
	*ahci_px(p, AHCI_PX_SSTS) = det == AHCI_SCTL_DET_OFFLINE ? AHCI_DET_OFFLINE :
				    p->slots			 ? AHCI_DET_PRESENT :
								   AHCI_DET_NONE;
}

/* ---------------------------------------------------------------- writes */

static void write_cmd(struct ahci_port *p, u32 v)
{
	u32 *cmd = ahci_px(p, AHCI_PX_CMD), old = *cmd;

	*cmd = (old & ~CMD_WRITABLE) | (v & CMD_WRITABLE);
	if (v & AHCI_PX_CMD_ST)
		*cmd |= AHCI_PX_CMD_CR;
	else if (old & AHCI_PX_CMD_ST)
		ahci_emul_port_stop(p);
	/* Only with ST=0 [AHCI 1.3.1 §3.3.7]; the bit reads 0 at once. */
	if (v & AHCI_PX_CMD_CLO && !(*cmd & AHCI_PX_CMD_ST))
		*ahci_px(p, AHCI_PX_TFD) &= ~(ATA_STS_BSY | ATA_STS_DRQ);
	*cmd = *cmd & AHCI_PX_CMD_FRE ? *cmd | AHCI_PX_CMD_FR : *cmd & ~AHCI_PX_CMD_FR;
	ahci_emul_port_receive(p);
}

static void write_port(struct ahci_port *p, u32 off, u32 v)
{
	switch (off) {
	case AHCI_PX_CLB:
		*ahci_px(p, off) = ALIGN_DOWN(v, AHCI_CMD_LIST_ALIGN);
		break;
	case AHCI_PX_FB:
		*ahci_px(p, off) = ALIGN_DOWN(v, AHCI_RX_FIS_ALIGN);
		break;
	case AHCI_PX_CLBU:
	case AHCI_PX_FBU:
		*ahci_px(p, off) = v;
		break;
	case AHCI_PX_IS:
		*ahci_px(p, off) &= ~(v & ~IS_FOLLOWS);
		break;
	case AHCI_PX_IE:
		*ahci_px(p, off) = v & AHCI_PX_IS_ALL;
		break;
	case AHCI_PX_CMD:
		write_cmd(p, v);
		break;
	case AHCI_PX_SCTL:
		write_sctl(p, v);
		break;
	case AHCI_PX_SERR:
		*ahci_px(p, off) &= ~v;
		follow_serr(p);
		break;
	case AHCI_PX_SACT:
	case AHCI_PX_CI:
		ahci_emul_doorbell_store(p->e, (u64)AHCI_PORT(p->index) + off, 4, v);
		break;
	default:
		break; /* read-only, reserved, or a feature that is not there */
	}
}

static void write_generic(struct ahci_emul *e, u32 off, u32 v)
{
	switch (off) {
	case AHCI_GHC:
		if (v & AHCI_GHC_HR)
			adapter_reset(e);
		else
			*reg(e, off) = AHCI_GHC_AE | (v & AHCI_GHC_IE);
		break;
	case AHCI_IS:
		*reg(e, off) &= ~v;
		break;
	default:
		break;
	}
}

static void write_reg(struct ahci_emul *e, u32 off, u32 v)
{
	u32 n = (off - AHCI_PORT_BASE) / AHCI_PORT_BYTES;

	if (off >= e->bar_bytes)
		return;
	if (off < AHCI_PORT_BASE)
		write_generic(e, off, v);
	else if (n < AHCI_PORTS_MAX && e->implemented & BIT(n))
		write_port(&e->port[n], off % AHCI_PORT_BYTES, v);
	update_irq(e, off == AHCI_IS);
}

/* ---------------------------------------------------------------- notes */

/**
 * ahci_emul_doorbell_store() - note a write to PxCI or PxSACT
 * @off:   in BAR5
 * @value: written, 32 bits
 *
 * Context: any CPU, host, no lock.
 * Return: what is to be done now.
 */
enum ahci_emul_store ahci_emul_doorbell_store(struct ahci_emul *e, u64 off, u32 bytes, u32 value)
{
	u32 n = (u32)(off - AHCI_PORT_BASE) / AHCI_PORT_BYTES, in = off % AHCI_PORT_BYTES;
	u32 *note;

	if (off < AHCI_PORT_BASE || off >= e->bar_bytes || bytes != 4 || n >= AHCI_PORTS_MAX ||
	    (in != AHCI_PX_CI && in != AHCI_PX_SACT) || !(e->implemented & BIT(n)))
		return AHCI_EMUL_NOT;
	note = in == AHCI_PX_CI ? &e->port[n].ci_note : &e->port[n].sact_note;
	/* Pairs with take_notes(): who sees the bit in .dirty sees the note. */
	__atomic_fetch_or(note, value, __ATOMIC_RELEASE);
	__atomic_fetch_or(&e->dirty, BIT(n), __ATOMIC_RELEASE);
	return in == AHCI_PX_CI ? AHCI_EMUL_RANG : AHCI_EMUL_NOTED;
}

/*
 * What is noted becomes part of the register before it is no note any more, so
 * that a reader sees a bit in one of the two (ahci_emul_read()).
 */
static void take_note(u32 *note, u32 *to, bool keep)
{
	u32 v = __atomic_load_n(note, __ATOMIC_ACQUIRE);

	if (keep)
		__atomic_store_n(to, *to | v, __ATOMIC_RELEASE);
	__atomic_fetch_and(note, ~v, __ATOMIC_RELEASE);
}

static bool take_notes(struct ahci_emul *e)
{
	u32 bits = __atomic_exchange_n(&e->dirty, 0, __ATOMIC_ACQUIRE), all = bits;

	for (; bits; bits &= bits - 1) {
		struct ahci_port *p = &e->port[__builtin_ctz(bits)];
		/* Without ST neither can be written. */
		bool keep = *ahci_px(p, AHCI_PX_CMD) & AHCI_PX_CMD_ST;

		take_note(&p->ci_note, ahci_px(p, AHCI_PX_CI), keep);
		take_note(&p->sact_note, ahci_px(p, AHCI_PX_SACT), keep);
	}
	return all;
}

/* A register with what is noted for it. */
static u32 read_reg(const struct ahci_emul *e, u32 off)
{
	u32 n = (off - AHCI_PORT_BASE) / AHCI_PORT_BYTES, in = off % AHCI_PORT_BYTES, noted = 0;

	if (off >= e->bar_bytes)
		return 0;
	if (off >= AHCI_PORT_BASE && n < AHCI_PORTS_MAX) {
		if (in == AHCI_PX_CI)
			noted = __atomic_load_n(&e->port[n].ci_note, __ATOMIC_ACQUIRE);
		else if (in == AHCI_PX_SACT)
			noted = __atomic_load_n(&e->port[n].sact_note, __ATOMIC_ACQUIRE);
	}
	return noted | __atomic_load_n(&e->regs[off / 4], __ATOMIC_ACQUIRE);
}

/* ---------------------------------------------------------------- the outside */

/**
 * ahci_emul_read() - the guest reads BAR5
 * @off:   bytes into it
 * @bytes: 1, 2, 4 or 8
 *
 * Any size gives the bytes that are there, inside one aligned 8-byte word.
 * Context: any CPU, host, no lock.
 */
u64 ahci_emul_read(const struct ahci_emul *e, u64 off, u32 bytes)
{
	u32 shift = (u32)(off & 7) * 8, at;
	u64 v;

	if (off >= e->bar_bytes)
		return 0;
	at = (u32)ALIGN_DOWN(off, 8);
	v = (read_reg(e, at) | (u64)read_reg(e, at + 4) << 32) >> shift;
	return bytes < 8 ? v & (BIT64(bytes * 8) - 1) : v;
}

/**
 * ahci_emul_write() - the guest writes BAR5
 *
 * 4 or 8 bytes and aligned; others are dropped.
 * Context: owner. Spec: [AHCI 1.3.1 §3]
 */
void ahci_emul_write(struct ahci_emul *e, u64 off, u32 bytes, u64 value)
{
	if ((bytes != 4 && bytes != 8) || off & (bytes - 1) || off >= e->bar_bytes)
		return;
	take_notes(e);
	write_reg(e, (u32)off, (u32)value);
	if (bytes == 8)
		write_reg(e, (u32)off + 4, (u32)(value >> 32));
}

/**
 * ahci_emul_poll() - advance: notes, commands, frames, the interrupt
 *
 * Call it after a doorbell and after the block device below was polled. It
 * never waits and is bounded by the slots.
 * Context: owner, not from a block device's callback.
 * Return: true when anything happened.
 */
bool ahci_emul_poll(struct ahci_emul *e)
{
	bool any = take_notes(e);

	for (u32 bits = e->implemented; bits; bits &= bits - 1) {
		struct ahci_port *p = &e->port[__builtin_ctz(bits)];

		if (p->slots)
			any |= ahci_emul_port_run(p);
	}
	if (e->unsaid)
		update_irq(e, false);
	return any;
}

/** ahci_emul_work() - is there something for poll() to do? Context: owner. */
bool ahci_emul_work(const struct ahci_emul *e)
{
	return __atomic_load_n(&e->dirty, __ATOMIC_RELAXED) || e->unsaid;
}

/** ahci_emul_inflight() - requests that the block device has */
u32 ahci_emul_inflight(const struct ahci_emul *e)
{
	u32 n = 0;

	for (u32 i = 0; i < AHCI_PORTS_MAX; i++)
		n += e->port[i].in_blk;
	return n;
}

/** ahci_emul_stats() - counters since creation */
const struct ahci_emul_stats *ahci_emul_stats(const struct ahci_emul *e)
{
	return &e->stats;
}

/* Trailing zeroes stay: the buffer is cleared. */
static void copy_text(char *to, size_t room, const char *from)
{
	memcpy(to, from, MIN(strlen(from), room - 1));
}

static u32 ports_of(const struct ahci_emul_cfg *cfg)
{
	u32 ports = cfg->ports | BIT(cfg->port & 31);

	for (u32 i = 0; i < AHCI_EMUL_DRIVES; i++)
		if (cfg->drives[i].dev)
			ports |= BIT(cfg->drives[i].port & 31);
	return ports;
}

/** ahci_emul_bar_bytes() - how long BAR5 is: a page, or two with ports beyond it */
u32 ahci_emul_bar_bytes(const struct ahci_emul_cfg *cfg)
{
	u32 last = 31 - (u32)__builtin_clz(ports_of(cfg));

	return AHCI_PORT(last + 1) > PAGE_BYTES ? 2 * PAGE_BYTES : PAGE_BYTES;
}

static void capabilities(struct ahci_emul *e)
{
	u32 last = 31 - (u32)__builtin_clz(e->implemented);

	*reg(e, AHCI_CAP) = (u32)FIELD_PREP(AHCI_CAP_NP, last) |
			    (u32)FIELD_PREP(AHCI_CAP_NCS, AHCI_SLOTS_MAX - 1) | AHCI_CAP_PMD |
			    AHCI_CAP_SAM | (u32)FIELD_PREP(AHCI_CAP_ISS, AHCI_SPD_6) |
			    AHCI_CAP_SCLO | AHCI_CAP_SNCQ | AHCI_CAP_S64A;
	*reg(e, AHCI_PI) = e->implemented;
	*reg(e, AHCI_VS) = AHCI_VS_1_3_1;
}

/* Slots are what makes a port one with a device. */
static bool alloc_slots(struct ahci_port *p, u32 n)
{
	p->slots = plat_alloc(n * sizeof(*p->slots));
	for (u32 i = 0; i < n && p->slots; i++) {
		p->slots[i].p = p;
		p->slots[i].tag = i;
	}
	return p->slots;
}

static bool alloc_parts(struct ahci_emul *e, const struct ahci_emul_cfg *cfg)
{
	e->regs = plat_alloc(e->bar_bytes);
	e->scratch = plat_alloc(PAGE_BYTES);
	if (!e->regs || !e->scratch)
		return false;
	e->port[cfg->port].disk = true;
	if (!alloc_slots(&e->port[cfg->port], AHCI_SLOTS_MAX))
		return false;
	for (u32 i = 0; i < AHCI_EMUL_DRIVES; i++) {
		struct ahci_port *p = &e->port[cfg->drives[i].port];

		p->packet = p->packet ? p->packet : cfg->drives[i].dev;
		if (cfg->drives[i].dev && !alloc_slots(p, 1))
			return false;
	}
	return true;
}

/* A port has one device, and each has room for what one part of a command may need. */
static bool cfg_possible(const struct blk_dev *blk, const struct ahci_emul_cfg *cfg)
{
	u32 used = BIT(cfg->port & 31);

	for (u32 i = 0; i < AHCI_EMUL_DRIVES; i++) {
		u32 port = cfg->drives[i].port;

		if (!cfg->drives[i].dev)
			continue;
		if (port >= AHCI_PORTS_MAX || used & BIT(port) || cfg->drives[i].dev->max_segs < 3)
			return false;
		used |= BIT(port);
	}
	return cfg->port < AHCI_PORTS_MAX && blk->max_segs >= 3 &&
	       (u64)blk->max_sectors * blk->sector_bytes >= 2 * PAGE_BYTES;
}

/**
 * ahci_emul_create() - an adapter as after its reset, the link to the disk up
 * @host: guest memory and the interrupt
 * @blk:  the disk; takes at least 3 segments and 8 KiB in one request
 * @cfg:  copied
 *
 * About 150 KiB, most of it segments, and 5 KiB for each drive. Context: start-up.
 * Return: the adapter; NULL for lack of memory or a configuration that cannot be.
 */
struct ahci_emul *ahci_emul_create(struct emul_host *host, struct blk_dev *blk,
				   const struct ahci_emul_cfg *cfg)
{
	struct ahci_emul *e;

	if (!cfg_possible(blk, cfg))
		return NULL;
	e = plat_alloc(sizeof(*e));
	if (!e)
		return NULL;
	e->implemented = ports_of(cfg);
	e->bar_bytes = ahci_emul_bar_bytes(cfg);
	for (u32 i = 0; i < AHCI_PORTS_MAX; i++) {
		e->port[i].e = e;
		e->port[i].index = i;
	}
	if (!alloc_parts(e, cfg)) {
		ahci_emul_destroy(e);
		return NULL;
	}
	e->host = host;
	e->blk = blk;
	copy_text(e->serial, sizeof(e->serial), cfg->serial ? cfg->serial : blk->serial);
	copy_text(e->model, sizeof(e->model), cfg->model ? cfg->model : "Freshet");
	capabilities(e);
	adapter_reset(e);
	e->stats.resets = 0;
	return e;
}

/** ahci_emul_destroy() - give back the memory; the block device holds no request of it */
void ahci_emul_destroy(struct ahci_emul *e)
{
	for (u32 i = 0; i < AHCI_PORTS_MAX; i++)
		plat_free(e->port[i].slots);
	plat_free(e->scratch);
	plat_free(e->regs);
	plat_free(e);
}
