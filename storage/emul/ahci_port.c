/*
 * ahci_port.c - one port's command list: from PxCI to the frame that answers
 *
 * The port of the disk takes slots from PxCI in turn while ST is set, the task
 * file is neither busy nor in error, and nothing of an earlier life is still
 * under way. Commands that are not queued go one at a time; queued ones, up
 * to 32, and their tag is their slot. Their ends are gathered and told by one
 * Set Device Bits frame per turn.
 *
 *   command list   PxCI bit -> issued -> the disk: SLOT_LATER .. end
 *     not queued     PRDBC, PIO Setup or D2H Register frame, PxCI bit off
 *     queued         PxCI bit off when issued, PxSACT bit off by the frame
 *     error          frame with ERR, PxIS.TFES; halted until ST falls. The PxCI
 *                    or PxSACT bits stay and tell software what was under way
 *     host refused   PxIS.HBFS; the disk stays busy, as it waits for data
 *     PRDT short     PxIS.OFS, the same
 *
 * The port of an optical drive goes the same ways, with one command at a time and
 * the other table of commands (atapi.c).
 *
 * ST=0 and resets make orphans of what the block device has: no frame will
 * tell of them. But they may still write to guest memory, and cannot be called
 * back, so CR and BSY stay until the last has come back, and nothing new starts.
 *
 * [AHCI 1.3.1 §5.3, §5.5, §6]
 */
#include <string.h>

#include "base/log.h"
#include "base/plat.h"
#include "storage/emul/ahci_priv.h"

static struct ahci_slot *slot_of(struct ahci_port *p, u32 tag)
{
	if (p->disk)
		return &p->slots[tag];
	p->slots->tag = tag; /* one command at a time */
	return p->slots;
}

static u64 px_addr(const struct ahci_port *p, u32 lo)
{
	return *ahci_px(p, lo) | (u64)*ahci_px(p, lo + 4) << 32;
}

static void set_tfd(struct ahci_port *p, u8 status, u8 error)
{
	*ahci_px(p, AHCI_PX_TFD) = (u32)FIELD_PREP(AHCI_PX_TFD_ERR, error) | status;
	if (status & ATA_STS_ERR)
		*ahci_px(p, AHCI_PX_IS) |= AHCI_PX_IS_TFES;
}

static void set_is(struct ahci_port *p, u32 bits)
{
	*ahci_px(p, AHCI_PX_IS) |= bits;
	p->e->unsaid = true;
}

/* The guest gave an address that the bus refuses. */
static void host_bus_fatal(struct ahci_port *p, const char *what)
{
	log_limited(LOG_WARN, "ahci-emul: host bus error what=%s", what);
	p->halted = true;
	set_is(p, AHCI_PX_IS_HBFS);
}

/* ---------------------------------------------------------------- frames received */

static void post(struct ahci_port *p, u32 off, const void *fis, u32 bytes)
{
	const struct emul_host_ops *ops = p->e->host->ops;

	if (!(*ahci_px(p, AHCI_PX_CMD) & AHCI_PX_CMD_FRE))
		return;
	if (ops->write(p->e->host, GPA(px_addr(p, AHCI_PX_FB) + off), fis, bytes))
		host_bus_fatal(p, "received frames");
}

static void post_d2h(struct ahci_port *p, u8 status, const struct ata_result *r)
{
	struct fis_reg_d2h f = {
		.type = FIS_REG_D2H, .flags = FIS_I, .status = status, .error = r->error,
		.lba = { (u8)r->lba, (u8)(r->lba >> 8), (u8)(r->lba >> 16) },
		.device = r->device,
		.lba_exp = { (u8)(r->lba >> 24), (u8)(r->lba >> 32), (u8)(r->lba >> 40) },
		.count = (u8)r->count, .count_exp = (u8)(r->count >> 8),
	};

	post(p, offsetof(struct ahci_rx_fis, rfis), &f, sizeof(f));
	set_tfd(p, status, r->error);
	set_is(p, AHCI_PX_IS_DHRS);
}

/* The frame before the last block of a PIO transfer, which also tells how it will end. */
static void post_pio(struct ahci_port *p, const struct ahci_slot *s)
{
	bool in = s->proto == ATA_PIO_IN;
	u32 last = s->moved % s->drq_bytes ? s->moved % s->drq_bytes : s->drq_bytes;
	struct fis_pio_setup f = {
		.type = FIS_PIO_SETUP, .flags = (u8)(in ? FIS_I | FIS_D : 0),
		.status = AHCI_STS_READY | ATA_STS_DRQ, .e_status = AHCI_STS_READY,
		.lba = { s->fis.lba[0], s->fis.lba[1], s->fis.lba[2] }, .device = s->fis.device,
		.count = s->fis.count, .count_exp = s->fis.count_exp,
		.bytes = (u16)last,
	};

	if (!in)
		f.e_status |= ATA_STS_BSY;
	post(p, offsetof(struct ahci_rx_fis, psfis), &f, sizeof(f));
	if (in) {
		set_tfd(p, AHCI_STS_READY, 0);
		set_is(p, AHCI_PX_IS_PSS);
	}
}

static void post_sdb(struct ahci_port *p, u8 status, u8 error, u32 tags)
{
	struct fis_set_dev_bits f = {
		.type = FIS_SET_DEV_BITS, .flags = FIS_I, .status = status & FIS_SDB_STATUS,
		.error = error, .active = tags,
	};

	post(p, offsetof(struct ahci_rx_fis, sdbfis), &f, sizeof(f));
	*ahci_px(p, AHCI_PX_SACT) &= ~tags;
	set_tfd(p, status, error);
	set_is(p, AHCI_PX_IS_SDBS);
}

/* Everything queued that has ended, by one frame. */
static bool tell_ended(struct ahci_port *p)
{
	u32 tags = p->ended;

	if (!tags)
		return false;
	p->ended = 0;
	post_sdb(p, AHCI_STS_READY, 0, tags);
	return true;
}

/**
 * ahci_emul_port_receive() - send the first frame after a reset, if it can go
 *
 * It waits for FRE, and for what the block device has of an earlier life.
 */
void ahci_emul_port_receive(struct ahci_port *p)
{
	/* What tells a disk from a drive of packets, which is not DRDY yet. [ACS-3 §7.2.3] */
	static const struct ata_result disk = { .error = ATA_ERR_DIAG_OK, .count = 1, .lba = 1 };
	static const struct ata_result drive = { .error = ATA_ERR_DIAG_OK, .count = 1,
						 .lba = ATAPI_SIG_LBA };

	if (!p->sig_owed || p->srst || p->orphans ||
	    !(*ahci_px(p, AHCI_PX_CMD) & AHCI_PX_CMD_FRE))
		return;
	p->sig_owed = false;
	post_d2h(p, p->disk ? AHCI_STS_READY : 0, p->disk ? &disk : &drive);
	*ahci_px(p, AHCI_PX_SIG) = p->disk ? AHCI_SIG_ATA : AHCI_SIG_ATAPI;
	if (p->current) { /* the SRST=0 frame is answered by this */
		*ahci_px(p, AHCI_PX_CI) &= ~BIT(p->current->tag);
		p->issued &= ~BIT(p->current->tag);
		p->current = NULL;
	}
}

/* ---------------------------------------------------------------- the end of a life */

/* What the block device has of this port belongs to nobody from now on. */
static void forget(struct ahci_port *p)
{
	for (u32 bits = p->issued; bits; bits &= bits - 1) {
		struct ahci_slot *s = slot_of(p, (u32)__builtin_ctz(bits));

		if (s->in_blk && !s->orphan) {
			s->orphan = true;
			p->orphans++;
			/* A drive may be at it for minutes. */
			if (p->packet)
				packet_reset(p->packet);
		}
	}
	p->issued = p->queued = p->ended = 0;
	p->current = NULL;
}

/* The last orphan is home: what waited for it. */
static void settled(struct ahci_port *p)
{
	if (!(*ahci_px(p, AHCI_PX_CMD) & AHCI_PX_CMD_ST))
		*ahci_px(p, AHCI_PX_CMD) &= ~AHCI_PX_CMD_CR;
	/* A command that the guest gave up has ended: the disk is ready again. */
	if (p->link && !p->sig_owed && !p->srst && !p->halted)
		*ahci_px(p, AHCI_PX_TFD) &= ~(ATA_STS_BSY | ATA_STS_DRQ);
	ahci_emul_port_receive(p);
}

/** ahci_emul_port_stop() - ST fell: the command list is forgotten */
void ahci_emul_port_stop(struct ahci_port *p)
{
	forget(p);
	p->halted = false;
	*ahci_px(p, AHCI_PX_CI) = *ahci_px(p, AHCI_PX_SACT) = 0;
	*ahci_px(p, AHCI_PX_CMD) &= ~AHCI_PX_CMD_CCS;
	p->next = 0;
	if (!p->orphans)
		*ahci_px(p, AHCI_PX_CMD) &= ~AHCI_PX_CMD_CR;
}

/**
 * ahci_emul_port_reset() - COMRESET, or the adapter's reset: the link goes down
 *
 * The registers that software sets up, ST and FRE among them, are the caller's.
 */
void ahci_emul_port_reset(struct ahci_port *p)
{
	forget(p);
	p->link = p->sig_owed = p->srst = p->asleep = false;
	p->halted = *ahci_px(p, AHCI_PX_CMD) & AHCI_PX_CMD_ST;
	*ahci_px(p, AHCI_PX_TFD) = AHCI_PX_TFD_NONE;
	*ahci_px(p, AHCI_PX_SIG) = AHCI_SIG_NONE;
	if (p->disk)
		ata_emul_reset(p->e, true);
}

/* ---------------------------------------------------------------- the end of a command */

/* PRD byte count: only commands that are not queued have one. */
static void put_prdbc(struct ahci_slot *s)
{
	struct ahci_port *p = s->p;
	u64 at = px_addr(p, AHCI_PX_CLB) + s->tag * sizeof(struct ahci_cmd_header) +
		 offsetof(struct ahci_cmd_header, prdbc);

	if (p->e->host->ops->write(p->e->host, GPA(at), &s->moved, sizeof(s->moved)))
		host_bus_fatal(p, "command list");
}

static void end_plain(struct ahci_slot *s, bool ok)
{
	struct ahci_port *p = s->p;

	if (s->proto != ATA_NO_DATA)
		put_prdbc(s);
	if (!ok) {
		p->halted = true;
		post_d2h(p, AHCI_STS_READY | ATA_STS_ERR, &s->out);
		return; /* the PxCI bit stays */
	}
	if (s->proto == ATA_PIO_IN || s->proto == ATA_PIO_OUT)
		post_pio(p, s);
	if (s->proto != ATA_PIO_IN)
		post_d2h(p, AHCI_STS_READY, &s->out);
	*ahci_px(p, AHCI_PX_CI) &= ~BIT(s->tag);
}

/* The disk stops all that is queued, and waits to be asked about it. */
static void end_queued_badly(struct ahci_slot *s)
{
	struct ahci_port *p = s->p;
	u8 status = AHCI_STS_READY | ATA_STS_ERR;

	tell_ended(p);
	ata_emul_ncq_error(p->e, s, status);
	p->halted = true;
	post_sdb(p, status, s->out.error, 0);
	forget(p);
}

/**
 * ahci_emul_slot_ended() - a command has ended as @end says
 *
 * Context: owner; from a block device's callback too.
 */
void ahci_emul_slot_ended(struct ahci_slot *s, enum slot_end end)
{
	struct ahci_port *p = s->p;

	if (end != SLOT_OK)
		p->e->stats.errors++;
	p->issued &= ~BIT(s->tag);
	p->queued &= ~BIT(s->tag);
	if (p->current == s)
		p->current = NULL;
	if (end == SLOT_BUS) {
		host_bus_fatal(p, "data");
		forget(p);
	} else if (end == SLOT_SHORT) {
		p->halted = true;
		set_is(p, AHCI_PX_IS_OFS);
		forget(p);
	} else if (s->proto != ATA_NCQ) {
		end_plain(s, end == SLOT_OK);
	} else if (end == SLOT_OK) {
		p->ended |= BIT(s->tag);
		p->e->unsaid = true;
	} else {
		end_queued_badly(s);
	}
}

/** ahci_emul_sends() - the block device gives back a request; a forgotten one ends here */
void ahci_emul_sends(struct ahci_slot *s)
{
	struct ahci_port *p = s->p;

	s->in_blk = false;
	p->in_blk--;
	if (!s->orphan)
		return;
	s->orphan = false;
	if (!--p->orphans)
		settled(p);
}

/* ---------------------------------------------------------------- the start of a command */

/* SRST on: everything stops. SRST off: the disk starts anew and says so. [ATA8-AST §9.3] */
static void control(struct ahci_port *p, struct ahci_slot *s, const struct ahci_cmd_header *h)
{
	if (s->fis.control & ATA_CTL_SRST) {
		forget(p);
		p->srst = true;
		p->asleep = false;
		if (p->disk)
			ata_emul_reset(p->e, false);
		set_tfd(p, ATA_STS_BSY, 0);
	} else if (p->srst) {
		p->srst = false;
		p->sig_owed = true;
		set_tfd(p, ATA_STS_BSY, 0);
		p->issued |= BIT(s->tag);
		p->current = s;
		ahci_emul_port_receive(p);
		return;
	}
	/* Nothing answers such a frame; with C the adapter goes on by itself. */
	if (h->flags & AHCI_CH_C)
		*ahci_px(p, AHCI_PX_TFD) &= ~(ATA_STS_BSY | ATA_STS_DRQ);
	*ahci_px(p, AHCI_PX_CI) &= ~BIT(s->tag);
}

/* Not queued, while others are: all of them end. [SATA 3.2 §13.6.4] */
static void mixed(struct ahci_port *p, struct ahci_slot *s)
{
	tell_ended(p);
	s->out.error = ATA_ERR_ABRT;
	ata_emul_ncq_error(p->e, s, AHCI_STS_READY | ATA_STS_ERR);
	ahci_emul_slot_ended(s, SLOT_ERROR);
	forget(p);
}

static void command(struct ahci_port *p, struct ahci_slot *s)
{
	enum slot_end end;

	p->issued |= BIT(s->tag);
	if (p->srst || p->asleep) {
		p->current = s; /* no answer before a reset */
		set_tfd(p, ATA_STS_BSY, 0);
		return;
	}
	if (p->queued && !ata_emul_is_ncq(s)) {
		mixed(p, s);
		return;
	}
	end = p->packet ? atapi_emul_exec(p, s) : ata_emul_exec(p->e, s);
	if (s->proto == ATA_NCQ) {
		p->queued |= BIT(s->tag);
		if (end != SLOT_BUS && end != SLOT_SHORT)
			*ahci_px(p, AHCI_PX_CI) &= ~BIT(s->tag);
	} else {
		p->current = s;
		*ahci_px(p, AHCI_PX_CMD) = (*ahci_px(p, AHCI_PX_CMD) & ~AHCI_PX_CMD_CCS) |
					   (u32)FIELD_PREP(AHCI_PX_CMD_CCS, s->tag);
		set_tfd(p, AHCI_STS_READY | ATA_STS_BSY, 0);
	}
	if (end != SLOT_LATER)
		ahci_emul_slot_ended(s, end);
}

/* Header and command frame, copied in once. */
static bool fetch(struct ahci_port *p, struct ahci_slot *s, struct ahci_cmd_header *h)
{
	struct emul_host *host = p->e->host;
	u64 at = px_addr(p, AHCI_PX_CLB) + s->tag * sizeof(*h), table;
	u32 bytes;

	if (host->ops->read(host, GPA(at), h, sizeof(*h))) {
		host_bus_fatal(p, "command list");
		return false;
	}
	table = ALIGN_DOWN(h->ctba | (u64)h->ctbau << 32, (u64)AHCI_CTBA_ALIGN);
	bytes = MIN((u32)FIELD_GET(AHCI_CH_CFL, h->flags) * 4, (u32)sizeof(s->fis));
	memset(&s->fis, 0, sizeof(s->fis));
	if (host->ops->read(host, GPA(table), &s->fis, bytes)) {
		host_bus_fatal(p, "command table");
		return false;
	}
	/* What is no command frame, the disk refuses. */
	if (bytes < 8 || s->fis.type != FIS_REG_H2D || h->flags & AHCI_CH_B) {
		p->halted = true;
		*ahci_px(p, AHCI_PX_SERR) |= AHCI_SERR_DIAG_H | AHCI_SERR_P;
		set_is(p, AHCI_PX_IS_IFS);
		return false;
	}
	s->flags = h->flags;
	s->table = table;
	s->prd_next = table + sizeof(struct ahci_cmd_table);
	s->prd_left = (u32)FIELD_GET(AHCI_CH_PRDTL, h->flags);
	return true;
}

static void slot_start(struct ahci_port *p, struct ahci_slot *s)
{
	struct ahci_cmd_header h;

	s->prd_bytes = s->moved = s->carried = 0;
	s->range = s->ranges = s->left = 0;
	s->proto = ATA_NO_DATA;
	memset(&s->out, 0, sizeof(s->out));
	memset(&s->req, 0, sizeof(s->req));
	list_init(&s->req.link);
	if (!fetch(p, s, &h))
		return;
	if (s->fis.flags & FIS_C)
		command(p, s);
	else
		control(p, s, &h);
}

/* The next slot in turn, or NULL: none, or none may go now. */
static struct ahci_slot *pick(struct ahci_port *p)
{
	u32 bits = *ahci_px(p, AHCI_PX_CI) & ~p->issued, at;

	if (!bits || !(*ahci_px(p, AHCI_PX_CMD) & AHCI_PX_CMD_ST) || !p->link || p->halted ||
	    p->sig_owed || p->orphans || p->current ||
	    *ahci_px(p, AHCI_PX_TFD) & (ATA_STS_BSY | ATA_STS_DRQ))
		return NULL;
	at = (u32)__builtin_ctz(bits >> p->next ? bits >> p->next << p->next : bits);
	p->next = (at + 1) % AHCI_SLOTS_MAX;
	return slot_of(p, at);
}

/**
 * ahci_emul_port_run() - start what may start, tell what has ended
 *
 * Bounded: a slot that was started does not come back within one call.
 * Return: true when anything happened.
 */
bool ahci_emul_port_run(struct ahci_port *p)
{
	struct ahci_slot *s;
	bool any = false;

	ahci_emul_port_receive(p);
	for (u32 i = 0; i < AHCI_SLOTS_MAX && (s = pick(p)); i++) {
		slot_start(p, s);
		any = true;
	}
	return tell_ended(p) || any;
}
