/*
 * ahci_port.c - a port with a disk: from the link to work, and back after errors
 *
 *   RESET -> LINK -> READY -> IDENTIFY -> LIVE
 *     ^                                     | error, time-out, link lost
 *     |                                     v
 *     '---------- reset wanted ---------- STOP --- restart is enough ---> LIVE
 *                                           '----> LOG (which command?) -> LIVE
 *   and DEAD, when it does not come back: its I/O then fails with -EIO.
 *
 * Nothing waits: each state has an end, and ahci_port_step() looks. At the start the
 * same states run in a loop of ahci_drv_create()'s.
 *
 * Who was it? A command that was not queued is named by the controller (CCS).
 * Of queued ones, the disk's NCQ error log names it, where there is such a log;
 * reading it also makes the disk take commands again. Without one the disk is
 * reset, and all that was out is sent again unqueued. In any case those that
 * did not fail lose nothing but time. Errors of the wire or the bus, and
 * time-outs, always reset the disk; after some of those NCQ is not used any more.
 *
 * A restart that finds the disk busy becomes a reset; a command list that does
 * not stop is the controller's fault and resets that, with all its ports.
 *
 * The disk must come back as the one it was: serial number and size.
 *
 * A drive of packets (an optical one) goes the same ways with IDENTIFY PACKET
 * DEVICE; a packet that it refuses is no more than a restart (ahci_packet.c).
 *
 * [AHCI 1.3.1 §6.2.2 errors, §10.1.2 start, §10.4 reset; SATA 3.2 §13.6.4 NCQ errors]
 */
#include <string.h>

#include "base/err.h"
#include "base/field.h"
#include "base/log.h"
#include "base/plat.h"
#include "storage/drivers/ahci_priv.h"

#define STOP_NS (500 * NS_PER_MS) /* [AHCI 1.3.1 §10.1.2] */
#define COMRESET_NS (2 * NS_PER_MS) /* at least 1 ms [AHCI 1.3.1 §3.3.11] */
#define LINK_NS (2 * NS_PER_SEC)
#define READY_NS (31 * NS_PER_SEC) /* spin-up [ACS-3 §A] */
#define OWN_NS (10 * NS_PER_SEC)
#define LOOK_NS (100 * NS_PER_MS)
#define DISTRUST_MAX 3u

#define ERRORS (AHCI_PX_IS_FATAL | AHCI_PX_IS_OFS)
#define LINK_LOST (AHCI_PX_IS_PCS | AHCI_PX_IS_PRCS)
#define ENABLED (ERRORS | LINK_LOST | AHCI_PX_IS_DHRS | AHCI_PX_IS_PSS | AHCI_PX_IS_SDBS)

/* ---------------------------------------------------------------- received frames */

/* A frame's type is cleared when it was looked at: what is not zero is new. */
static bool fresh(const u8 *type)
{
	return __atomic_load_n(type, __ATOMIC_ACQUIRE);
}

/** ahci_port_news() - has the disk answered? Any CPU; memory only. */
bool ahci_port_news(const struct ahci_port *p)
{
	return fresh(&p->rx->sdbfis.type) || fresh(&p->rx->rfis.type) ||
	       fresh(&p->rx->psfis.type);
}

/* Before the registers are read: what comes later is seen later. */
static void news_seen(struct ahci_port *p)
{
	__atomic_store_n(&p->rx->sdbfis.type, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&p->rx->rfis.type, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&p->rx->psfis.type, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Errors first: those bits hold their interrupt bits up. Then the port's bit of IS. */
static u32 ack(struct ahci_port *p, u32 is)
{
	u32 serr = 0;

	if (is & ~(AHCI_PX_IS_DHRS | AHCI_PX_IS_PSS | AHCI_PX_IS_SDBS | AHCI_PX_IS_DPS)) {
		serr = port_read(p, AHCI_PX_SERR);
		port_write(p, AHCI_PX_SERR, serr);
	}
	if (is)
		port_write(p, AHCI_PX_IS, is);
	bus_write32(p->d->bus, AHCI_IS, BIT(p->n));
	return serr;
}

static void set_state(struct ahci_port *p, enum port_state state, u64 wait_ns)
{
	p->state = state;
	p->state_ns = plat_time_ns() + wait_ns;
}

static bool late(const struct ahci_port *p)
{
	return plat_time_ns() >= p->state_ns;
}

/* ---------------------------------------------------------------- down */

/**
 * ahci_port_die() - everything fails from now on
 *
 * The controller cannot touch this port's memory: its command list has stopped,
 * or it has lost bus mastering.
 */
void ahci_port_die(struct ahci_port *p, const char *why)
{
	if (p->state == PORT_DEAD)
		return;
	if (!p->other)
		log_err("ahci: dead bdf=%04x port=%u why=%s", p->d->bus->bdf, p->n, why);
	p->state = PORT_DEAD;
	ahci_io_fail_all(p);
}

/** ahci_port_hold() - nothing is sent while the controller is reset, until ahci_port_begin() */
void ahci_port_hold(struct ahci_port *p)
{
	if (p->state != PORT_DEAD)
		p->state = PORT_STOP;
}

static u32 port_command(struct ahci_port *p, u32 clear, u32 set)
{
	u32 cmd = (port_read(p, AHCI_PX_CMD) & ~(clear | AHCI_PX_CMD_CLO | AHCI_PX_CMD_ICC)) | set;

	port_write(p, AHCI_PX_CMD, cmd);
	return cmd;
}

static void stop(struct ahci_port *p, enum port_plan plan)
{
	port_write(p, AHCI_PX_IE, 0);
	port_command(p, AHCI_PX_CMD_ST, 0);
	p->plan = plan;
	set_state(p, PORT_STOP, STOP_NS);
}

/* No power saving of the link's own: a doorbell would ring for each change. */
static u32 sctl(const struct ahci_port *p, u32 det)
{
	u32 ipm = p->d->cap2 & AHCI_CAP2_SDS ? AHCI_SCTL_IPM_NONE_DEVSLP : AHCI_SCTL_IPM_NONE;

	return FIELD_PREP(AHCI_SCTL_IPM, ipm) | FIELD_PREP(AHCI_SCTL_DET, det);
}

static void comreset(struct ahci_port *p)
{
	port_write(p, AHCI_PX_SCTL, sctl(p, AHCI_SCTL_DET_COMRESET));
	set_state(p, PORT_RESET, COMRESET_NS);
}

static void give_up(struct ahci_port *p, const char *why)
{
	p->why = why;
	stop(p, PLAN_DIE);
}

/* A step of coming up did not work. */
static void fall_back(struct ahci_port *p, const char *why)
{
	if (++p->resets > AHCI_DRV_RESETS) {
		give_up(p, why);
		return;
	}
	log_limited(LOG_WARN, "ahci: once more port=%u why=%s state=%u", p->n, why, p->state);
	p->d->stats.resets += p->known;
	stop(p, PLAN_RESET);
}

/* From work to recovery. */
static void recover(struct ahci_port *p, enum port_plan plan, const char *why, u32 is, u32 serr)
{
	/* A packet that is refused is how a drive says that it is empty. */
	if (!p->packet || plan != PLAN_RESTART)
		log_limited(LOG_WARN, "ahci: recovery port=%u why=%s is=%08x serr=%08x out=%08x "
			    "queued=%u", p->n, why, is, serr, p->sent,
			    p->out_kind == KIND_QUEUED);
	if (plan == PLAN_RESET) {
		p->d->stats.resets++;
		if (++p->resets > AHCI_DRV_RESETS) {
			give_up(p, why);
			return;
		}
	}
	stop(p, plan);
}

/** ahci_port_reset() - what is out is not wanted any more: COMRESET */
void ahci_port_reset(struct ahci_port *p, const char *why)
{
	if (p->state == PORT_LIVE)
		recover(p, PLAN_RESET, why, 0, 0);
}

/* NCQ is one more thing that can be broken: do without it after some failures. */
static void distrust(struct ahci_port *p)
{
	if (!p->ncq || p->out_kind != KIND_QUEUED || ++p->distrust < DISTRUST_MAX)
		return;
	log_warn("ahci: queueing is not used any more port=%u", p->n);
	p->ncq = false;
}

/* ---------------------------------------------------------------- commands of our own */

static void own_send(struct ahci_port *p, enum port_state state, u8 command, u64 lba)
{
	struct fis_reg_h2d *f = (struct fis_reg_h2d *)p->own->cfis;

	memset(p->own, 0, sizeof(*p->own));
	memset(p->own_data, 0, ATA_ID_BYTES);
	f->type = FIS_REG_H2D;
	f->flags = FIS_C;
	f->command = command;
	f->device = ATA_DEV_LBA;
	f->lba[0] = (u8)lba;
	f->count = 1;
	p->own->prdt[0] = (struct ahci_prd){
		.dba = (u32)p->own_data_dma, .dbau = (u32)(p->own_data_dma >> 32),
		.dbc = ATA_ID_BYTES - 1,
	};
	p->list[0] = (struct ahci_cmd_header){
		.flags = sizeof(*f) / 4 | FIELD_PREP(AHCI_CH_PRDTL, 1),
		.ctba = (u32)p->own_dma, .ctbau = (u32)(p->own_dma >> 32),
	};
	set_state(p, state, OWN_NS);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	port_write(p, AHCI_PX_CI, BIT(0));
}

/* 1: it ended well; 0: not yet; negative: it failed. */
static int own_answer(struct ahci_port *p)
{
	u32 is, ci;

	news_seen(p);
	ci = port_read(p, AHCI_PX_CI);
	is = port_read(p, AHCI_PX_IS);
	if (is & (ERRORS | LINK_LOST)) {
		ack(p, is);
		return -EIO;
	}
	if (ci & BIT(0))
		return late(p) ? -ETIMEDOUT : 0;
	ack(p, is);
	return 1;
}

/* The list may run: neither BSY nor DRQ, a link. */
static void run_list(struct ahci_port *p)
{
	port_write(p, AHCI_PX_SERR, ~0u);
	port_write(p, AHCI_PX_IS, ~0u);
	port_command(p, 0, AHCI_PX_CMD_ST);
}

/* ---------------------------------------------------------------- up */

static void went_live(struct ahci_port *p)
{
	news_seen(p);
	ack(p, port_read(p, AHCI_PX_IS));
	if (p->d->has_irq)
		port_write(p, AHCI_PX_IE, ENABLED);
	p->state = PORT_LIVE;
	p->look_ns = plat_time_ns() + LOOK_NS;
}

static void *dma_alloc(struct ahci_drv *d, size_t bytes, size_t align, u64 *dma)
{
	void *m = d->bus->ops->dma_alloc(d->bus, bytes, align, dma);

	if (m && !(d->cap & AHCI_CAP_S64A) && *dma + bytes > 4 * GIB) {
		log_err("ahci: memory beyond the controller's reach bdf=%04x", d->bus->bdf);
		return NULL;
	}
	return m;
}

/* It is a disk: what its commands need. */
static int port_memory(struct ahci_port *p)
{
	for (u32 i = 0; i < p->nslots; i++) {
		struct ahci_slot *s = &p->slots[i];

		s->table = dma_alloc(p->d, PAGE_BYTES, PAGE_BYTES, &s->table_dma);
		if (!s->table)
			return err_trace(-ENOMEM);
	}
	for (u32 i = 0; i < AHCI_DRV_BOUNCES; i++) {
		p->bounce[i] = dma_alloc(p->d, AHCI_DRV_BOUNCE_BYTES, PAGE_BYTES,
					 &p->bounce_dma[i]);
		if (!p->bounce[i])
			return err_trace(-ENOMEM);
	}
	p->bounce_free = BIT(AHCI_DRV_BOUNCES) - 1;
	return 0;
}

/* A drive of packets that has come back, or is new here. */
static void identified_packet(struct ahci_port *p)
{
	struct ahci_slot *s = &p->slots[0];
	u16 words[ATA_ID_WORDS];
	struct ahci_drv_id id;
	int err;

	memcpy(words, p->own_data, sizeof(words));
	err = ahci_drv_parse_packet_id(words, &id);
	if (err == -EBADMSG) {
		fall_back(p, "IDENTIFY damaged");
		return;
	}
	if (!err && p->known && (strcmp(id.serial, p->id.serial) || strcmp(id.model, p->id.model)))
		err = -ENODEV;
	if (!err && !p->known) {
		s->table = dma_alloc(p->d, PAGE_BYTES, PAGE_BYTES, &s->table_dma);
		err = s->table ? 0 : err_trace(-ENOMEM);
	}
	if (err) {
		give_up(p, p->known ? "another drive after a reset" : "no drive for packets");
		return;
	}
	p->resets = 0; /* whoever sends bad packets does not lose the drive by it */
	if (!p->known) {
		p->id = id;
		p->known = true;
		p->nslots = 1;
		ahci_packet_announce(p, words);
		log_info("ahci: ready bdf=%04x port=%u model=\"%s\" fw=%s packets irq=%d",
			 p->d->bus->bdf, p->n, id.model, id.firmware, p->d->has_irq);
	}
	went_live(p);
}

static void identified(struct ahci_port *p)
{
	struct ahci_drv_id id = p->id;
	u16 words[ATA_ID_WORDS];
	int err;

	if (p->packet) {
		identified_packet(p);
		return;
	}
	memcpy(words, p->own_data, sizeof(words));
	err = ahci_drv_parse_id(words, &id);
	if (err == -EBADMSG) {
		fall_back(p, "IDENTIFY damaged");
		return;
	}
	if (!err && p->known && (strcmp(id.serial, p->id.serial) || id.sectors != p->id.sectors ||
				 id.sector_bytes != p->id.sector_bytes))
		err = -ENODEV;
	if (!err && !p->known)
		err = port_memory(p);
	if (err) {
		give_up(p, p->known ? "another disk after a reset" :
			err == -EACCES ? "locked by a password" :
			err == -EOPNOTSUPP ? "no 48-bit DMA, or an unusual sector" :
			err == -ENOMEM ? "no memory" : "no disk");
		return;
	}
	if (p->known) {
		log_limited(LOG_WARN, "ahci: back port=%u again=%u", p->n, p->again);
		went_live(p);
		return;
	}
	p->id = id;
	p->known = true;
	p->ncq = id.depth && p->d->cap & AHCI_CAP_SNCQ && !p->d->opt.no_ncq;
	if (p->ncq)
		p->nslots = MIN(p->nslots, id.depth);
	ahci_io_announce(p);
	went_live(p);
	log_info("ahci: ready bdf=%04x port=%u model=\"%s\" serial=%s fw=%s sectors=%llu bytes=%u "
		 "slots=%u ncq=%d cache=%d fua=%d trim=%d log=%d irq=%d", p->d->bus->bdf, p->n,
		 id.model, id.serial, id.firmware, (unsigned long long)id.sectors, id.sector_bytes,
		 p->nslots, p->ncq, id.write_cache, id.fua, id.trim, id.log, p->d->has_irq);
}

static void step_reset(struct ahci_port *p)
{
	if (!late(p))
		return;
	port_write(p, AHCI_PX_SCTL, sctl(p, AHCI_SCTL_DET_IDLE));
	/* A disk that is being reset has nothing in flight any more. */
	ahci_io_forget(p);
	set_state(p, PORT_LINK, LINK_NS);
}

static void step_link(struct ahci_port *p)
{
	if (FIELD_GET(AHCI_SSTS_DET, port_read(p, AHCI_PX_SSTS)) == AHCI_DET_UP) {
		port_write(p, AHCI_PX_SERR, ~0u);
		set_state(p, PORT_READY, READY_NS);
	} else if (late(p)) {
		fall_back(p, "no link");
	}
}

static void step_ready(struct ahci_port *p)
{
	u32 sig;

	if (port_read(p, AHCI_PX_TFD) & (ATA_STS_BSY | ATA_STS_DRQ)) {
		if (late(p))
			fall_back(p, "busy");
		return;
	}
	sig = port_read(p, AHCI_PX_SIG);
	if (!p->known)
		p->packet = sig == AHCI_SIG_ATAPI;
	if (sig != (p->packet ? AHCI_SIG_ATAPI : AHCI_SIG_ATA)) {
		p->other = !p->known;
		give_up(p, "another kind of device");
		return;
	}
	run_list(p);
	own_send(p, PORT_IDENTIFY, p->packet ? ATA_IDENTIFY_PACKET : ATA_IDENTIFY, 0);
}

static void step_identify(struct ahci_port *p)
{
	int got = own_answer(p);

	if (got < 0)
		fall_back(p, got == -ETIMEDOUT ? "IDENTIFY timed out" : "IDENTIFY failed");
	else if (got)
		identified(p);
}

static void step_log(struct ahci_port *p)
{
	struct ata_ncq_error log;
	int got = own_answer(p);
	u32 tag;

	if (!got)
		return;
	memcpy(&log, p->own_data, sizeof(log));
	if (got < 0 || ahci_drv_parse_ncq_error(&log, &tag) || !(p->sent & BIT(tag))) {
		log_limited(LOG_WARN, "ahci: no word about the failed command port=%u", p->n);
		distrust(p);
		p->blame_all = true;
		fall_back(p, "NCQ error log");
		return;
	}
	p->d->stats.logs++;
	p->resets = 0;
	p->culprit = (u8)tag;
	p->culprit_error = log.error;
	ahci_io_forget(p);
	went_live(p);
}

/* The command list has stopped: what now? */
static void stopped(struct ahci_port *p)
{
	port_write(p, AHCI_PX_SERR, ~0u);
	port_write(p, AHCI_PX_IS, ~0u);
	if (p->plan == PLAN_DIE) {
		ahci_port_die(p, p->why);
		return;
	}
	if (p->plan == PLAN_RESET || port_read(p, AHCI_PX_TFD) & (ATA_STS_BSY | ATA_STS_DRQ)) {
		p->blame_all |= p->plan == PLAN_LOG;
		comreset(p);
		return;
	}
	run_list(p);
	if (p->plan == PLAN_LOG) {
		own_send(p, PORT_LOG, ATA_READ_LOG_EXT, ATA_LOG_NCQ_ERROR);
	} else {
		ahci_io_forget(p);
		went_live(p);
	}
}

static void step_stop(struct ahci_port *p)
{
	u32 cmd = port_read(p, AHCI_PX_CMD);

	if (cmd == ~0u)
		ahci_hba_die(p->d, "gone from the bus");
	else if (!(cmd & AHCI_PX_CMD_CR))
		stopped(p);
	else if (late(p))
		ahci_hba_reset(p->d, "a command list does not stop");
}

/* ---------------------------------------------------------------- work */

static void queued_error(struct ahci_port *p, u32 is, u32 serr)
{
	if (p->id.log) {
		recover(p, PLAN_LOG, "queued command failed", is, serr);
		return;
	}
	p->blame_all = true;
	recover(p, PLAN_RESET, "queued command failed", is, serr);
}

static void plain_error(struct ahci_port *p, u32 is, u32 serr, u32 slot)
{
	p->resets = 0; /* an answer, if no good one */
	if (p->sent & BIT(slot)) {
		p->culprit = (u8)slot;
		p->culprit_error = (u8)FIELD_GET(AHCI_PX_TFD_ERR, port_read(p, AHCI_PX_TFD));
	} else {
		p->blame_all = true;
	}
	recover(p, PLAN_RESTART, "command failed", is, serr);
}

static void port_error(struct ahci_port *p, u32 is, u32 serr, u32 slot)
{
	if (!(is & AHCI_PX_IS_TFES) || is & ~AHCI_PX_IS_TFES & (ERRORS | LINK_LOST)) {
		p->d->stats.link_errors++;
		distrust(p);
		p->blame_all = true;
		recover(p, PLAN_RESET, is & LINK_LOST ? "link lost" : "interface error", is, serr);
	} else if (!p->sent) {
		recover(p, PLAN_RESTART, "error of nothing", is, serr);
	} else if (p->out_kind == KIND_QUEUED) {
		queued_error(p, is, serr);
	} else {
		plain_error(p, is, serr, slot);
	}
}

/* Registers: who has ended, did anything fail? */
static void look(struct ahci_port *p)
{
	u32 is, serr, busy, done, slot = 0;

	p->look_ns = plat_time_ns() + LOOK_NS;
	news_seen(p);
	is = port_read(p, AHCI_PX_IS);
	if (is == ~0u) {
		ahci_hba_die(p->d, "gone from the bus");
		return;
	}
	serr = ack(p, is);
	busy = port_read(p, AHCI_PX_CI);
	if (p->out_kind == KIND_QUEUED)
		busy |= port_read(p, AHCI_PX_SACT);
	if (is & AHCI_PX_IS_TFES && p->out_kind == KIND_PLAIN) {
		slot = FIELD_GET(AHCI_PX_CMD_CCS, port_read(p, AHCI_PX_CMD));
		busy |= BIT(slot); /* it has ended, but not well */
	}
	done = p->sent & ~p->ring & ~busy;
	if (is || done)
		__atomic_store_n(&p->d->news, 1, __ATOMIC_RELEASE);
	if (done)
		ahci_io_done(p, done);
	if (is & (ERRORS | LINK_LOST))
		port_error(p, is, serr, slot);
}

/* Time-outs: the late commands are sent again after a reset, unqueued. */
static void watch(struct ahci_port *p)
{
	u64 now = plat_time_ns();
	bool any = false;

	for (u32 i = 0; i < p->nslots; i++) {
		struct ahci_slot *s = &p->slots[i];

		if (s->state != SLOT_SENT || now < s->when_ns)
			continue;
		log_limited(LOG_WARN, "ahci: time-out port=%u op=%u lba=%llu", p->n, s->op,
			    (unsigned long long)s->lba);
		p->d->stats.timeouts++;
		s->attempts++;
		s->plain = true;
		any = true;
	}
	if (!any)
		return;
	distrust(p);
	recover(p, PLAN_RESET, "time-out", 0, 0);
}

static void step_live(struct ahci_port *p)
{
	bool due = p->sent && plat_time_ns() >= p->look_ns;

	if (ahci_port_news(p) || due || p->d->looking)
		look(p);
	if (p->state == PORT_LIVE && due)
		watch(p);
}

/** ahci_port_step() - look whether the state's wait has ended */
void ahci_port_step(struct ahci_port *p)
{
	switch (p->state) {
	case PORT_STOP:
		step_stop(p);
		break;
	case PORT_RESET:
		step_reset(p);
		break;
	case PORT_LINK:
		step_link(p);
		break;
	case PORT_READY:
		step_ready(p);
		break;
	case PORT_IDENTIFY:
		step_identify(p);
		break;
	case PORT_LOG:
		step_log(p);
		break;
	case PORT_LIVE:
		step_live(p);
		break;
	case PORT_DEAD:
		break;
	}
}

/** ahci_port_deadline_ns() - when ahci_port_step() wants to be called; 0: when something happens */
u64 ahci_port_deadline_ns(const struct ahci_port *p)
{
	u64 now = plat_time_ns(), when = 0;

	if (!list_empty(&p->finished))
		return now;
	if (p->state == PORT_DEAD)
		return 0;
	if (p->state != PORT_LIVE || (p->sent && !p->d->has_irq))
		return now + NS_PER_MS;
	for (u32 i = 0; i < p->nslots && (p->sent || p->again); i++)
		if (p->slots[i].state != SLOT_FREE)
			when = when ? MIN(when, p->slots[i].when_ns) : p->slots[i].when_ns;
	return when;
}

/* ---------------------------------------------------------------- life */

/**
 * ahci_port_begin() - after a reset of the controller: tell it the memory, reset the disk
 */
void ahci_port_begin(struct ahci_port *p)
{
	port_write(p, AHCI_PX_IE, 0);
	port_write(p, AHCI_PX_CLB, (u32)p->list_dma);
	port_write(p, AHCI_PX_CLBU, (u32)(p->list_dma >> 32));
	port_write(p, AHCI_PX_FB, (u32)p->rx_dma);
	port_write(p, AHCI_PX_FBU, (u32)(p->rx_dma >> 32));
	port_command(p, AHCI_PX_CMD_ST | AHCI_PX_CMD_ALPE | AHCI_PX_CMD_ATAPI | AHCI_PX_CMD_PMA,
		     AHCI_PX_CMD_FRE | AHCI_PX_CMD_SUD | AHCI_PX_CMD_POD |
		     FIELD_PREP(AHCI_PX_CMD_ICC, AHCI_ICC_ACTIVE));
	port_write(p, AHCI_PX_SERR, ~0u);
	port_write(p, AHCI_PX_IS, ~0u);
	comreset(p);
}

/* One page: command list, received frames, a table and data of our own. */
#define PAGE_RX 1024u
#define PAGE_OWN 1280u
#define PAGE_DATA 2048u
static_assert(PAGE_RX >= AHCI_CMD_LIST_BYTES && PAGE_RX % AHCI_RX_FIS_ALIGN == 0, "frames");
static_assert(PAGE_OWN >= PAGE_RX + sizeof(struct ahci_rx_fis) && PAGE_OWN % AHCI_CTBA_ALIGN == 0 &&
	      PAGE_OWN + sizeof(struct ahci_cmd_table) + sizeof(struct ahci_prd) <= PAGE_DATA &&
	      PAGE_DATA + ATA_ID_BYTES <= PAGE_BYTES, "page of a port");

/**
 * ahci_port_create() - a port behind which something answers
 *
 * Return: 0; -ENOMEM.
 */
int ahci_port_create(struct ahci_drv *d, u32 n, struct ahci_port **out)
{
	struct ahci_port *p = plat_alloc(sizeof(*p));
	u8 *page;

	if (!p)
		return err_trace(-ENOMEM);
	p->d = d;
	p->n = n;
	p->culprit = AHCI_DRV_NO_SLOT;
	list_init(&p->waiting);
	list_init(&p->finished);
	p->nslots = MIN((u32)FIELD_GET(AHCI_CAP_NCS, d->cap) + 1, d->opt.depth);
	page = dma_alloc(d, PAGE_BYTES, PAGE_BYTES, &p->list_dma);
	if (!page) {
		plat_free(p);
		return err_trace(-ENOMEM);
	}
	p->list = (struct ahci_cmd_header *)page;
	p->rx = (struct ahci_rx_fis *)(page + PAGE_RX);
	p->rx_dma = p->list_dma + PAGE_RX;
	p->own = (struct ahci_cmd_table *)(page + PAGE_OWN);
	p->own_dma = p->list_dma + PAGE_OWN;
	p->own_data = page + PAGE_DATA;
	p->own_data_dma = p->list_dma + PAGE_DATA;
	*out = p;
	return 0;
}
