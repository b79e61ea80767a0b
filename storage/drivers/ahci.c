/*
 * ahci.c - driver for a real AHCI controller
 *
 * The controller itself: taken from the firmware (BIOS/OS hand-off), reset, its
 * ports looked at; a port behind which something answers becomes a struct
 * ahci_port (ahci_port.c), one with a disk a block device (ahci_io.c), one with an
 * optical drive a packet device (ahci_packet.c). Ports with other things are left
 * stopped, and all are behind a controller without a disk: it goes back.
 *
 *   LIVE <-> RESET   when a port's command list does not stop: all ports begin anew
 *   DEAD             gone from the bus, or no way back: all disks are dead
 *
 * One owner (the VMM's pump) calls everything; nothing waits but the start and
 * the shutdown. Polling one disk polls them all: they share the interrupt.
 *
 * Interrupts are a doorbell, without MSI there are none (a pin would ring at the
 * guest). What rang is read from memory, where the disks' frames arrive; only
 * what has no frame, an error of the link, must be looked up in a register.
 *
 * The controller is not trusted: bits of slots that are not ours are ignored,
 * loops are bounded, everything it can trigger is log-limited.
 *
 * [AHCI 1.3.1 §3.1, §10.1, §10.4, §10.6]
 */
#include "storage/drivers/ahci.h"

#include "base/assert.h"
#include "base/err.h"
#include "base/field.h"
#include "base/log.h"
#include "base/plat.h"
#include "storage/drivers/ahci_priv.h"

#define HBA_RESET_NS NS_PER_SEC /* [AHCI 1.3.1 §10.4.3] */
#define HBA_RESETS_MAX 3u
#define BIOS_NS (25 * NS_PER_MS)
#define BIOS_BUSY_NS (2 * NS_PER_SEC) /* [AHCI 1.3.1 §10.6.3] */
/* After a reset: for ports that had a device before it, and where none had. */
#define DETECT_KNOWN_NS (2 * NS_PER_SEC)
#define DETECT_NS (100 * NS_PER_MS)
#define STEP_US 20

#define PCI_COMMAND 0x04
#define PCI_COMMAND_MASTER BIT(2)

/* ---------------------------------------------------------------- state */

static void enable(struct ahci_drv *d)
{
	bus_write32(d->bus, AHCI_GHC, AHCI_GHC_AE);
	bus_write32(d->bus, AHCI_IS, ~0u);
	if (d->has_irq)
		bus_write32(d->bus, AHCI_GHC, AHCI_GHC_AE | AHCI_GHC_IE);
}

/** ahci_hba_die() - no more of it: all disks fail */
void ahci_hba_die(struct ahci_drv *d, const char *why)
{
	u32 cmd;

	if (d->state == HBA_DEAD)
		return;
	log_err("ahci: controller dead bdf=%04x why=%s", d->bus->bdf, why);
	d->state = HBA_DEAD;
	/* Whatever it still believes to own must not be written any more. */
	cmd = d->bus->ops->cfg_read(d->bus, PCI_COMMAND, 2);
	d->bus->ops->cfg_write(d->bus, PCI_COMMAND, 2, cmd & ~PCI_COMMAND_MASTER);
	for (u32 i = 0; i < d->nports; i++)
		ahci_port_die(d->ports[i], why);
}

/** ahci_hba_reset() - the last resort; what is out goes out again when it is back */
void ahci_hba_reset(struct ahci_drv *d, const char *why)
{
	if (d->state != HBA_LIVE)
		return;
	d->stats.hba_resets++;
	if (++d->hba_resets > HBA_RESETS_MAX) {
		ahci_hba_die(d, why);
		return;
	}
	log_limited(LOG_WARN, "ahci: controller reset bdf=%04x why=%s", d->bus->bdf, why);
	bus_write32(d->bus, AHCI_GHC, AHCI_GHC_AE | AHCI_GHC_HR);
	d->state = HBA_RESET;
	d->state_ns = plat_time_ns() + HBA_RESET_NS;
	for (u32 i = 0; i < d->nports; i++)
		ahci_port_hold(d->ports[i]);
}

static void step_reset(struct ahci_drv *d)
{
	u32 ghc = bus_read32(d->bus, AHCI_GHC);

	if (ghc == ~0u) {
		ahci_hba_die(d, "gone from the bus");
	} else if (!(ghc & AHCI_GHC_HR)) {
		d->state = HBA_LIVE;
		enable(d);
		for (u32 i = 0; i < d->nports; i++)
			if (d->ports[i]->state != PORT_DEAD)
				ahci_port_begin(d->ports[i]);
	} else if (plat_time_ns() >= d->state_ns) {
		ahci_hba_die(d, "does not come back from a reset");
	}
}

/** ahci_hba_poll() - one round over the controller and its ports */
void ahci_hba_poll(struct ahci_drv *d)
{
	if (d->polling) /* from a callback */
		return;
	d->polling = true;
	d->looking = __atomic_exchange_n(&d->look, 0, __ATOMIC_ACQ_REL);
	if (d->state == HBA_RESET)
		step_reset(d);
	for (u32 i = 0; i < d->nports && d->state == HBA_LIVE; i++)
		ahci_port_step(d->ports[i]);
	for (u32 i = 0; i < d->nports; i++) {
		ahci_io_run_finished(d->ports[i]);
		ahci_io_start(d->ports[i]);
	}
	d->polling = false;
	for (u32 i = 0; i < d->nports; i++)
		ahci_io_ring(d->ports[i]);
}

/* ---------------------------------------------------------------- start */

/* Until all of @bits of @reg are as in @want; start-up only. */
static bool wait_bits(struct ahci_drv *d, u32 reg, u32 bits, u32 want, u64 limit_ns)
{
	u64 end = plat_time_ns() + limit_ns;

	for (;;) {
		if ((bus_read32(d->bus, reg) & bits) == want)
			return true;
		if (plat_time_ns() >= end)
			return false;
		d->bus->ops->delay_us(d->bus, STEP_US);
	}
}

/* The firmware may own it, through SMIs. */
static void take_from_bios(struct ahci_drv *d)
{
	u32 bohc;

	if (!(d->cap2 & AHCI_CAP2_BOH))
		return;
	bohc = bus_read32(d->bus, AHCI_BOHC);
	if (!(bohc & AHCI_BOHC_BOS) && bohc & AHCI_BOHC_OOS)
		return;
	bus_write32(d->bus, AHCI_BOHC, (bohc & ~AHCI_BOHC_OOC) | AHCI_BOHC_OOS);
	if (wait_bits(d, AHCI_BOHC, AHCI_BOHC_BOS, 0, BIOS_NS))
		return;
	if (!(bus_read32(d->bus, AHCI_BOHC) & AHCI_BOHC_BB) ||
	    !wait_bits(d, AHCI_BOHC, AHCI_BOHC_BOS | AHCI_BOHC_BB, 0, BIOS_BUSY_NS))
		log_warn("ahci: the firmware does not let go bdf=%04x", d->bus->bdf);
}

static u32 detect(struct ahci_drv *d, u32 ports)
{
	u32 seen = 0;

	for (u32 n = 0; n < AHCI_PORTS_MAX; n++)
		if (ports & BIT(n) &&
		    FIELD_GET(AHCI_SSTS_DET, bus_read32(d->bus, AHCI_PORT(n) + AHCI_PX_SSTS)) ==
		    AHCI_DET_UP)
			seen |= BIT(n);
	return seen;
}

/* A port that waited for it spins its disk up now; where it need not, this changes nothing. */
static void spin_up(struct ahci_drv *d, u32 n)
{
	u32 at = AHCI_PORT(n) + AHCI_PX_CMD;

	bus_write32(d->bus, at, (bus_read32(d->bus, at) & ~AHCI_PX_CMD_ICC) | AHCI_PX_CMD_SUD |
		    AHCI_PX_CMD_POD);
}

/* Which of @ports have a device; those that @had one before the reset get more time. */
static u32 wait_devices(struct ahci_drv *d, u32 ports, u32 had)
{
	u64 end = plat_time_ns() + (had & ports ? DETECT_KNOWN_NS : DETECT_NS);
	u32 seen;

	for (;;) {
		seen = detect(d, ports);
		if ((had & ports && (seen & had) == (had & ports)) || plat_time_ns() >= end)
			return seen;
		d->bus->ops->delay_us(d->bus, STEP_US);
	}
}

static void run_until_settled(struct ahci_drv *d)
{
	for (;;) {
		bool more = false;

		ahci_hba_poll(d);
		for (u32 i = 0; i < d->nports; i++)
			more |= d->ports[i]->state != PORT_LIVE && d->ports[i]->state != PORT_DEAD;
		if (!more)
			return;
		d->bus->ops->delay_us(d->bus, STEP_US);
	}
}

static int add_ports(struct ahci_drv *d, u32 ports)
{
	int err = 0;

	for (u32 n = 0; n < AHCI_PORTS_MAX && !err; n++) {
		if (!(ports & BIT(n)))
			continue;
		err = ahci_port_create(d, n, &d->ports[d->nports]);
		if (!err)
			ahci_port_begin(d->ports[d->nports++]);
	}
	run_until_settled(d);
	return err;
}

/* Staggered: the next disk spins up when the one before it is ready. [AHCI 1.3.1 §10.10.1] */
static int find_disks(struct ahci_drv *d, u32 had)
{
	u32 all = d->implemented;
	int err = 0;

	if (!(d->cap & AHCI_CAP_SSS)) {
		for (u32 n = 0; n < AHCI_PORTS_MAX; n++)
			if (all & BIT(n))
				spin_up(d, n);
		return add_ports(d, wait_devices(d, all, had));
	}
	for (u32 n = 0; n < AHCI_PORTS_MAX && !err; n++) {
		if (!(all & BIT(n)))
			continue;
		spin_up(d, n);
		err = add_ports(d, wait_devices(d, BIT(n), had));
	}
	return err;
}

/* Its list stops, then its frames: they arrived in memory that now belongs to nobody. */
static void drop(struct ahci_port *p)
{
	u32 at = AHCI_PORT(p->n) + AHCI_PX_CMD, cmd;

	port_write(p, AHCI_PX_IE, 0);
	cmd = port_read(p, AHCI_PX_CMD) & ~(AHCI_PX_CMD_ICC | AHCI_PX_CMD_ST);
	port_write(p, AHCI_PX_CMD, cmd);
	wait_bits(p->d, at, AHCI_PX_CMD_CR, 0, 500 * NS_PER_MS);
	port_write(p, AHCI_PX_CMD, cmd & ~AHCI_PX_CMD_FRE);
	wait_bits(p->d, at, AHCI_PX_CMD_FR, 0, 500 * NS_PER_MS);
	plat_free(p);
}

/* Disks come first, then drives; what turned out to be neither, or dead, goes. */
static void sort_ports(struct ahci_drv *d)
{
	struct ahci_port *drives[AHCI_PORTS_MAX];
	u32 ndrives = 0, n = 0;

	for (u32 i = 0; i < d->nports; i++) {
		struct ahci_port *p = d->ports[i];

		if (!p->known || p->state != PORT_LIVE)
			drop(p);
		else if (p->packet)
			drives[ndrives++] = p;
		else
			d->ports[n++] = p;
	}
	d->ndisks = d->nports = n;
	for (u32 i = 0; i < ndrives; i++) {
		if (d->ndisks)
			d->ports[d->nports++] = drives[i];
		else
			drop(drives[i]);
	}
}

static int reset_first(struct ahci_drv *d)
{
	u32 pi = bus_read32(d->bus, AHCI_PI), cap = d->cap;

	bus_write32(d->bus, AHCI_GHC, AHCI_GHC_AE | AHCI_GHC_HR);
	if (!wait_bits(d, AHCI_GHC, AHCI_GHC_HR, 0, HBA_RESET_NS)) {
		log_err("ahci: controller reset timed out bdf=%04x", d->bus->bdf);
		return err_trace(-EIO);
	}
	bus_write32(d->bus, AHCI_GHC, AHCI_GHC_AE);
	/* The firmware's word about the board, which some controllers forget. */
	bus_write32(d->bus, AHCI_CAP, cap);
	bus_write32(d->bus, AHCI_PI, pi);
	d->implemented = bus_read32(d->bus, AHCI_PI);
	if (!d->implemented)
		d->implemented = pi;
	return 0;
}

/* Only ports whose registers are in the window. */
static u32 ports_in(u32 ports, u32 bar_bytes)
{
	for (u32 n = 0; n < AHCI_PORTS_MAX; n++)
		if (bar_bytes && AHCI_PORT(n + 1) > bar_bytes)
			ports &= ~BIT(n);
	return ports;
}

static void set_options(struct ahci_drv *d, const struct ahci_drv_opts *opts)
{
	if (opts)
		d->opt = *opts;
	if (!d->opt.depth || d->opt.depth > AHCI_SLOTS_MAX)
		d->opt.depth = AHCI_SLOTS_MAX;
	if (!d->opt.timeout_ns)
		d->opt.timeout_ns = 10 * NS_PER_SEC;
}

/**
 * ahci_drv_create() - take a controller into service
 * @bus:  the function; no other driver holds it
 * @opts: may be NULL
 * @out:  the driver, with at least one disk
 *
 * Memory given out by @bus is not returned on failure.
 * Context: start-up; busy-waits, bounded by the disks' time to spin up.
 * Return: 0; -ENODEV for no such controller or no disk behind it; -ENOMEM; -EIO
 * when it does not start.
 * Spec: [AHCI 1.3.1 §10.1]
 */
int ahci_drv_create(struct bus_dev *bus, const struct ahci_drv_opts *opts, struct ahci_drv **out)
{
	u32 cap = bus_read32(bus, AHCI_CAP), had;
	struct ahci_drv *d;
	int err;

	if (cap == ~0u || bus_read32(bus, AHCI_VS) < AHCI_VS_1_0)
		return err_trace(-ENODEV);
	d = plat_alloc(sizeof(*d));
	if (!d)
		return err_trace(-ENOMEM);
	d->bus = bus;
	d->cap = cap;
	d->cap2 = bus_read32(bus, AHCI_VS) > AHCI_VS_1_1 ? bus_read32(bus, AHCI_CAP2) : 0;
	set_options(d, opts);
	bus_write32(bus, AHCI_GHC, AHCI_GHC_AE);
	take_from_bios(d);
	had = detect(d, ports_in(bus_read32(bus, AHCI_PI), bus->bar_bytes));
	err = reset_first(d);
	if (err)
		goto free;
	d->implemented = ports_in(d->implemented, bus->bar_bytes);
	d->has_irq = !bus->ops->irq_enable(bus, 1);
	enable(d);
	err = err_trace(-ENOMEM);
	d->zeroes = bus->ops->dma_alloc(bus, AHCI_DRV_ZEROES_BYTES, PAGE_BYTES, &d->zeroes_dma);
	if (!d->zeroes)
		goto irq;
	err = find_disks(d, had);
	sort_ports(d);
	/* Memory for some of the disks is better than none. */
	if (d->nports) {
		*out = d;
		return 0;
	}
	if (!err)
		err = err_trace(d->state == HBA_DEAD ? -EIO : -ENODEV);
irq:
	bus_write32(bus, AHCI_GHC, AHCI_GHC_AE);
	if (d->has_irq)
		bus->ops->irq_disable(bus);
free:
	plat_free(d);
	return err;
}

/* ---------------------------------------------------------------- the outside */

/** ahci_drv_disks() - how many there are, in the order of their ports */
u32 ahci_drv_disks(const struct ahci_drv *d)
{
	return d->ndisks;
}

/** ahci_drv_blk() - disk number @disk as a block device */
struct blk_dev *ahci_drv_blk(struct ahci_drv *d, u32 disk)
{
	assert(disk < d->ndisks);
	return &d->ports[disk]->blk;
}

/** ahci_drv_port() - the port that disk number @disk is behind */
u32 ahci_drv_port(const struct ahci_drv *d, u32 disk)
{
	assert(disk < d->ndisks);
	return d->ports[disk]->n;
}

/** ahci_drv_packets() - how many optical drives there are, in the order of their ports */
u32 ahci_drv_packets(const struct ahci_drv *d)
{
	return d->nports - d->ndisks;
}

/** ahci_drv_packet() - optical drive number @drive as a packet device */
struct packet_dev *ahci_drv_packet(struct ahci_drv *d, u32 drive)
{
	assert(drive < d->nports - d->ndisks);
	return &d->ports[d->ndisks + drive]->pkt;
}

/**
 * ahci_drv_work() - did this controller interrupt?
 *
 * True when a frame has arrived, or was looked at since this was last asked: the
 * interrupt of one that another CPU has just seen is explained too. When memory
 * shows nothing, one register is read.
 * Context: any CPU, NMI included; takes no lock.
 */
bool ahci_drv_work(struct ahci_drv *d)
{
	bool news = __atomic_exchange_n(&d->news, 0, __ATOMIC_ACQ_REL);
	u32 is;

	for (u32 i = 0; i < d->nports; i++)
		if (ahci_port_news(d->ports[i]))
			return true;
	if (!d->has_irq || d->state != HBA_LIVE)
		return news;
	is = bus_read32(d->bus, AHCI_IS);
	if (!is || is == ~0u)
		return news;
	__atomic_store_n(&d->look, 1, __ATOMIC_RELEASE);
	return true;
}

/**
 * ahci_drv_deadline_ns() - when poll() wants to be called although nothing happens
 *
 * Far away while commands are merely out and will interrupt; near while one is
 * to be sent again, while a disk is being recovered, or without interrupts.
 * Return: plat_time_ns() value; 0 when only an interrupt or a submission can
 * bring work.
 */
u64 ahci_drv_deadline_ns(const struct ahci_drv *d)
{
	u64 when = d->state == HBA_RESET ? plat_time_ns() + NS_PER_MS : 0;

	for (u32 i = 0; i < d->nports; i++) {
		u64 t = ahci_port_deadline_ns(d->ports[i]);

		if (t)
			when = when ? MIN(when, t) : t;
	}
	return when;
}

/** ahci_drv_has_irq() - false: the integrator must poll from a tick while I/O is out */
bool ahci_drv_has_irq(const struct ahci_drv *d)
{
	return d->has_irq;
}

/** ahci_drv_dead() - given up; all I/O of disk number @disk fails with -EIO */
bool ahci_drv_dead(const struct ahci_drv *d, u32 disk)
{
	assert(disk < d->ndisks);
	return d->ports[disk]->state == PORT_DEAD;
}

/** ahci_drv_stats() - counters since creation, of all disks together */
const struct ahci_drv_stats *ahci_drv_stats(const struct ahci_drv *d)
{
	return &d->stats;
}

/**
 * ahci_drv_shutdown() - let the controller go: stopped, silent, as after a reset
 *
 * The caller has no I/O on its way. Further I/O fails with -EIO.
 * Context: owner; busy-waits up to some seconds.
 */
void ahci_drv_shutdown(struct ahci_drv *d)
{
	if (d->state == HBA_DEAD)
		return;
	bus_write32(d->bus, AHCI_GHC, AHCI_GHC_AE | AHCI_GHC_HR);
	if (!wait_bits(d, AHCI_GHC, AHCI_GHC_HR, 0, HBA_RESET_NS))
		log_warn("ahci: reset timed out bdf=%04x", d->bus->bdf);
	if (d->has_irq)
		d->bus->ops->irq_disable(d->bus);
	ahci_hba_die(d, "shut down");
}
