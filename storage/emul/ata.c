/*
 * ata.c - the disk on the emulated port: what each ATA command does
 *
 * ACS-3 without what is optional and not used by the drivers of UEFI, GRUB,
 * Linux and Windows; what is not here is aborted, as a disk without it does.
 * Security is supported and frozen from the start, as firmware leaves it: its
 * commands but FREEZE LOCK are aborted.
 *
 * A read or write becomes requests of at most AHCI_PART_BYTES on the guest's
 * own memory, one after the other; DATA SET MANAGEMENT becomes one trim after
 * the other; VERIFY reads into a page that nobody looks at.
 *
 * -EIO below is UNC for reads and ABRT for writes, with the address where the
 * part began that failed; so is -ENOSPC: ATA has no word for a full store.
 *
 * [ACS-3 §4, §7]
 */
#include <string.h>

#include "base/endian.h"
#include "base/plat.h"
#include "storage/emul/ahci_priv.h"

#define LBA48_MASK GENMASK(47, 0)
#define XFER_DEFAULT (ATA_XFER_UDMA | 6)
#define MULTIPLE_MAX 16u

enum xfer_flags { X_WRITE = 1, X_EXT = 2, X_FUA = 4, X_MULTIPLE = 8 };

/* The reads and writes. NCQ is not among them: its fields lie elsewhere. */
static const struct xfer {
	u8 command;
	u8 proto;
	u8 flags;
} xfers[] = {
	{ ATA_READ_DMA, ATA_DMA, 0 },
	{ ATA_READ_DMA_NORETRY, ATA_DMA, 0 },
	{ ATA_READ_DMA_EXT, ATA_DMA, X_EXT },
	{ ATA_WRITE_DMA, ATA_DMA, X_WRITE },
	{ ATA_WRITE_DMA_NORETRY, ATA_DMA, X_WRITE },
	{ ATA_WRITE_DMA_EXT, ATA_DMA, X_WRITE | X_EXT },
	{ ATA_WRITE_DMA_FUA_EXT, ATA_DMA, X_WRITE | X_EXT | X_FUA },
	{ ATA_READ_SECTORS, ATA_PIO_IN, 0 },
	{ ATA_READ_SECTORS_NORETRY, ATA_PIO_IN, 0 },
	{ ATA_READ_SECTORS_EXT, ATA_PIO_IN, X_EXT },
	{ ATA_WRITE_SECTORS, ATA_PIO_OUT, X_WRITE },
	{ ATA_WRITE_SECTORS_NORETRY, ATA_PIO_OUT, X_WRITE },
	{ ATA_WRITE_SECTORS_EXT, ATA_PIO_OUT, X_WRITE | X_EXT },
	{ ATA_READ_MULTIPLE, ATA_PIO_IN, X_MULTIPLE },
	{ ATA_READ_MULTIPLE_EXT, ATA_PIO_IN, X_EXT | X_MULTIPLE },
	{ ATA_WRITE_MULTIPLE, ATA_PIO_OUT, X_WRITE | X_MULTIPLE },
	{ ATA_WRITE_MULTIPLE_EXT, ATA_PIO_OUT, X_WRITE | X_EXT | X_MULTIPLE },
	{ ATA_WRITE_MULTIPLE_FUA_EXT, ATA_PIO_OUT, X_WRITE | X_EXT | X_MULTIPLE | X_FUA },
	{ ATA_VERIFY, ATA_NO_DATA, 0 },
	{ ATA_VERIFY_NORETRY, ATA_NO_DATA, 0 },
	{ ATA_VERIFY_EXT, ATA_NO_DATA, X_EXT },
};

static enum slot_end fail(struct ahci_slot *s, u8 error)
{
	s->out.error = error;
	return SLOT_ERROR;
}

static u64 lba48(const struct fis_reg_h2d *f)
{
	return f->lba[0] | (u64)f->lba[1] << 8 | (u64)f->lba[2] << 16 |
	       (u64)f->lba_exp[0] << 24 | (u64)f->lba_exp[1] << 32 | (u64)f->lba_exp[2] << 40;
}

static u64 lba28(const struct fis_reg_h2d *f)
{
	return f->lba[0] | (u64)f->lba[1] << 8 | (u64)f->lba[2] << 16 |
	       (u64)(f->device & ATA_DEV_LBA28) << 24;
}

static u32 count48(const struct fis_reg_h2d *f)
{
	return f->count | (u32)f->count_exp << 8;
}

/* ---------------------------------------------------------------- requests below */

static void blk_ended(struct blk_req *r, int err);

static enum slot_end submit(struct ahci_slot *s)
{
	struct ahci_emul *e = s->p->e;

	s->req.done = blk_ended;
	s->req.owner = s;
	s->in_blk = true;
	s->p->in_blk++;
	e->stats.inflight_max = MAX(e->stats.inflight_max, s->p->in_blk);
	blk_submit(e->blk, &s->req);
	return SLOT_LATER;
}

static bool verifies(const struct ahci_slot *s)
{
	return s->proto == ATA_NO_DATA && s->req.op == BLK_READ;
}

/* Sectors that go where nobody looks: one page, again and again. */
static u32 verify_part(struct ahci_slot *s, u32 bytes)
{
	const struct ahci_emul *e = s->p->e;
	u32 max = MIN(AHCI_SEGS, e->blk->max_segs), n = DIV_ROUND_UP(bytes, PAGE_BYTES);
	hpa_t pa = plat_virt_to_phys(e->scratch);

	n = MIN(n, max);
	bytes = MIN(bytes, n * PAGE_BYTES);
	for (u32 i = 0; i < n; i++) {
		u32 piece = MIN(bytes - i * PAGE_BYTES, PAGE_BYTES);

		s->segs[i] = (struct blk_seg){ .pa = pa, .bytes = piece };
	}
	s->req.nsegs = n;
	return bytes;
}

/* The next part of a read, write or verify. */
static enum slot_end next_part(struct ahci_slot *s)
{
	const struct blk_dev *b = s->p->e->blk;
	u32 most = MIN(AHCI_PART_BYTES / b->sector_bytes, b->max_sectors);
	u32 bytes = MIN(s->left, most) * b->sector_bytes, got;
	enum slot_end end = SLOT_OK;

	if (verifies(s))
		got = verify_part(s, bytes);
	else
		end = ahci_emul_prd_part(s, bytes, b->sector_bytes, &got);
	if (end != SLOT_OK)
		return end;
	s->req.segs = s->segs;
	s->req.lba = s->lba;
	s->req.sectors = got / b->sector_bytes;
	s->lba += s->req.sectors;
	s->left -= s->req.sectors;
	return submit(s);
}

/* The next range that is not empty. */
static enum slot_end next_range(struct ahci_slot *s)
{
	while (s->range < s->ranges) {
		u64 d = s->dsm[s->range++];

		if (!FIELD_GET(ATA_DSM_SECTORS, d))
			continue;
		s->req.lba = FIELD_GET(ATA_DSM_LBA, d);
		s->req.sectors = (u32)FIELD_GET(ATA_DSM_SECTORS, d);
		return submit(s);
	}
	return SLOT_OK;
}

static void count(struct ahci_emul *e, const struct ahci_slot *s)
{
	e->stats.queued += s->proto == ATA_NCQ;
	switch (s->req.op) {
	case BLK_READ:
		if (verifies(s))
			e->stats.verifies++;
		else
			e->stats.reads++;
		break;
	case BLK_WRITE:
		e->stats.writes++;
		break;
	case BLK_FLUSH:
		e->stats.flushes++;
		break;
	default:
		e->stats.trims++;
	}
}

/* What goes on after a request that ended well. */
static enum slot_end next(struct ahci_slot *s)
{
	struct ahci_emul *e = s->p->e;
	enum slot_end end = SLOT_OK;

	if (s->req.op == BLK_READ && !verifies(s))
		e->stats.sectors_read += s->req.sectors;
	if (s->req.op == BLK_WRITE)
		e->stats.sectors_written += s->req.sectors;
	if (s->req.op == BLK_TRIM)
		end = next_range(s);
	else if (s->left)
		end = next_part(s);
	if (end == SLOT_OK)
		count(e, s);
	return end;
}

static void blk_ended(struct blk_req *r, int err)
{
	struct ahci_slot *s = r->owner;
	bool orphan = s->orphan;
	enum slot_end end;

	ahci_emul_sends(s);
	if (orphan)
		return;
	if (err) {
		s->out.lba = r->lba & LBA48_MASK;
		s->out.device = s->fis.device;
		end = fail(s, r->op == BLK_READ ? ATA_ERR_UNC : ATA_ERR_ABRT);
	} else {
		end = next(s);
	}
	if (end != SLOT_LATER)
		ahci_emul_slot_ended(s, end);
}

/* ---------------------------------------------------------------- reads, writes */

static enum slot_end transfer(struct ahci_emul *e, struct ahci_slot *s, u64 lba, u32 sectors,
			      bool write, bool fua)
{
	if (lba > e->blk->sectors || sectors > e->blk->sectors - lba) {
		s->out.lba = lba;
		return fail(s, ATA_ERR_IDNF);
	}
	e->ata.power = ATA_POWER_ACTIVE;
	s->lba = lba;
	s->left = sectors;
	s->req.op = write ? BLK_WRITE : BLK_READ;
	s->req.fua = write && (fua || !e->ata.wcache);
	return next_part(s);
}

static enum slot_end plain(struct ahci_emul *e, struct ahci_slot *s, const struct xfer *x)
{
	const struct fis_reg_h2d *f = &s->fis;
	u32 sectors = x->flags & X_EXT ? count48(f) : f->count;
	u32 block = x->flags & X_MULTIPLE ? e->ata.multiple : 1;

	s->proto = x->proto;
	s->drq_bytes = block * e->blk->sector_bytes;
	if (!(f->device & ATA_DEV_LBA) || !block)
		return fail(s, ATA_ERR_ABRT);
	if (!sectors)
		sectors = x->flags & X_EXT ? ATA_SECTORS_MAX_LBA48 : ATA_SECTORS_MAX_LBA28;
	return transfer(e, s, x->flags & X_EXT ? lba48(f) : lba28(f), sectors,
			x->flags & X_WRITE, x->flags & X_FUA);
}

static enum slot_end fpdma(struct ahci_emul *e, struct ahci_slot *s, bool write)
{
	const struct fis_reg_h2d *f = &s->fis;
	u32 sectors = f->features | (u32)f->features_exp << 8;

	s->proto = ATA_NCQ;
	if (!(f->device & ATA_DEV_LBA) || FIELD_GET(ATA_FPDMA_TAG, f->count) != s->tag)
		return fail(s, ATA_ERR_ABRT);
	return transfer(e, s, lba48(f), sectors ? sectors : ATA_SECTORS_MAX_LBA48, write,
			f->device & ATA_DEV_FUA);
}

static enum slot_end flush(struct ahci_emul *e, struct ahci_slot *s)
{
	s->req.op = BLK_FLUSH;
	if (e->blk->write_cache)
		return submit(s);
	e->stats.flushes++;
	return SLOT_OK;
}

/* All ranges are looked at before the first is trimmed. */
static enum slot_end dsm(struct ahci_emul *e, struct ahci_slot *s)
{
	u32 blocks = count48(&s->fis);
	enum slot_end end;

	s->proto = ATA_DMA;
	if (s->fis.features != ATA_DSM_TRIM || !blocks || blocks > AHCI_DSM_BLOCKS)
		return fail(s, ATA_ERR_ABRT);
	end = ahci_emul_take(s, e->page, blocks * ATA_DSM_BLOCK_BYTES);
	if (end != SLOT_OK)
		return end;
	s->ranges = blocks * ATA_DSM_RANGES;
	s->req.nsegs = 0;
	for (u32 i = 0; i < s->ranges; i++) {
		u64 d = get_le64(e->page + 8 * i), lba = FIELD_GET(ATA_DSM_LBA, d);
		u64 sectors = FIELD_GET(ATA_DSM_SECTORS, d);

		s->dsm[i] = d;
		if (sectors && (lba > e->blk->sectors || sectors > e->blk->sectors - lba)) {
			s->out.lba = lba;
			return fail(s, ATA_ERR_IDNF);
		}
	}
	s->req.op = BLK_TRIM;
	return next_range(s);
}

/* ---------------------------------------------------------------- what the disk says */

static enum slot_end give_page(struct ahci_slot *s, enum ata_proto proto, const void *buf,
			       u32 bytes)
{
	s->proto = proto;
	s->drq_bytes = ATA_LOG_BYTES;
	return ahci_emul_give(s, buf, bytes);
}

static enum slot_end identify(struct ahci_emul *e, struct ahci_slot *s)
{
	u16 w[ATA_ID_WORDS];

	ata_emul_identify(e, w);
	return give_page(s, ATA_PIO_IN, w, sizeof(w));
}

/* Page by page: a reader may want as many as the log has. */
static enum slot_end read_log(struct ahci_emul *e, struct ahci_slot *s, enum ata_proto proto)
{
	const struct fis_reg_h2d *f = &s->fis;
	u32 first = f->lba[1] | (u32)f->lba_exp[1] << 8, pages = count48(f);
	u32 have = ata_emul_log(e, f->lba[0], first, e->page);
	enum slot_end end = SLOT_OK;

	s->proto = proto;
	if (!pages || first >= have || pages > have - first)
		return fail(s, ATA_ERR_ABRT);
	for (u32 i = 0; i < pages && end == SLOT_OK; i++) {
		ata_emul_log(e, f->lba[0], first + i, e->page);
		end = give_page(s, proto, e->page, ATA_LOG_BYTES);
	}
	if (f->lba[0] == ATA_LOG_NCQ_ERROR)
		e->ata.ncq_failed = false;
	return end;
}

static enum slot_end smart(struct ahci_emul *e, struct ahci_slot *s)
{
	const struct fis_reg_h2d *f = &s->fis;

	if (f->lba[1] != ATA_SMART_LBA_MID || f->lba[2] != ATA_SMART_LBA_HI ||
	    (!e->ata.smart && f->features != ATA_SMART_ENABLE))
		return fail(s, ATA_ERR_ABRT);
	memset(e->page, 0, ATA_LOG_BYTES);
	switch (f->features) {
	case ATA_SMART_READ_DATA:
		ata_emul_smart_data(e, (struct ata_smart_data *)e->page);
		return give_page(s, ATA_PIO_IN, e->page, ATA_LOG_BYTES);
	case ATA_SMART_READ_THRESHOLDS:
		ata_emul_smart_thresholds(e->page);
		return give_page(s, ATA_PIO_IN, e->page, ATA_LOG_BYTES);
	case ATA_SMART_ENABLE:
	case ATA_SMART_DISABLE:
		e->ata.smart = f->features == ATA_SMART_ENABLE;
		return SLOT_OK;
	case ATA_SMART_AUTOSAVE:
	case ATA_SMART_SAVE:
		return SLOT_OK; /* nothing is ever unsaved */
	case ATA_SMART_STATUS: /* no threshold is exceeded */
		s->out.lba = (u64)ATA_SMART_LBA_HI << 16 | (u64)ATA_SMART_LBA_MID << 8;
		return SLOT_OK;
	default:
		return fail(s, ATA_ERR_ABRT);
	}
}

/* ---------------------------------------------------------------- settings */

/** ata_emul_xfer_ok() - is it a mode of transfer that SET FEATURES may set? */
bool ata_emul_xfer_ok(u8 mode)
{
	switch (mode & ~ATA_XFER_MODE) {
	case ATA_XFER_PIO_DEFAULT:
		return mode <= ATA_XFER_PIO_NO_IORDY;
	case ATA_XFER_PIO:
		return (mode & ATA_XFER_MODE) <= 4;
	case ATA_XFER_MWDMA:
		return (mode & ATA_XFER_MODE) <= 2;
	case ATA_XFER_UDMA:
		return (mode & ATA_XFER_MODE) <= 6;
	default:
		return false;
	}
}

static enum slot_end set_features(struct ahci_emul *e, struct ahci_slot *s)
{
	struct ata_disk *d = &e->ata;

	switch (s->fis.features) {
	case ATA_SF_WCACHE_ON:
		if (!e->blk->write_cache)
			return fail(s, ATA_ERR_ABRT);
		d->wcache = true;
		return SLOT_OK;
	case ATA_SF_WCACHE_OFF: /* what is cached now becomes durable */
		d->wcache = false;
		return flush(e, s);
	case ATA_SF_LOOKAHEAD_ON:
	case ATA_SF_LOOKAHEAD_OFF:
		d->lookahead = s->fis.features == ATA_SF_LOOKAHEAD_ON;
		return SLOT_OK;
	case ATA_SF_REVERT:
	case ATA_SF_NO_REVERT:
		d->revert = s->fis.features == ATA_SF_REVERT;
		return SLOT_OK;
	case ATA_SF_XFER_MODE:
		if (!ata_emul_xfer_ok(s->fis.count))
			return fail(s, ATA_ERR_ABRT);
		d->xfer = s->fis.count;
		return SLOT_OK;
	default:
		return fail(s, ATA_ERR_ABRT);
	}
}

static enum slot_end set_multiple(struct ahci_emul *e, struct ahci_slot *s)
{
	u8 n = s->fis.count;

	if (n > MULTIPLE_MAX || n & (n - 1))
		return fail(s, ATA_ERR_ABRT);
	e->ata.multiple = n;
	return SLOT_OK;
}

/* Standby with the cache written; a transfer wakes it up. */
static enum slot_end power(struct ahci_emul *e, struct ahci_slot *s, u8 mode)
{
	e->ata.power = mode;
	return mode == ATA_POWER_STANDBY ? flush(e, s) : SLOT_OK;
}

static enum slot_end idle_immediate(struct ahci_emul *e, struct ahci_slot *s)
{
	const struct fis_reg_h2d *f = &s->fis;

	/* Heads that could be unloaded there are none. */
	if (f->features == ATA_UNLOAD_FEATURES)
		return fail(s, ATA_ERR_ABRT);
	return power(e, s, ATA_POWER_IDLE);
}

static enum slot_end go_to_sleep(struct ahci_emul *e, struct ahci_slot *s)
{
	s->p->asleep = true;
	return power(e, s, ATA_POWER_STANDBY);
}

static enum slot_end diagnostic(struct ahci_slot *s)
{
	s->out = (struct ata_result){ .error = ATA_ERR_DIAG_OK, .count = 1, .lba = 1 };
	return SLOT_OK;
}

/* ---------------------------------------------------------------- the table of commands */

static enum slot_end other(struct ahci_emul *e, struct ahci_slot *s)
{
	switch (s->fis.command) {
	case ATA_IDENTIFY:
		return identify(e, s);
	case ATA_FLUSH:
	case ATA_FLUSH_EXT:
		return flush(e, s);
	case ATA_DSM:
		return dsm(e, s);
	case ATA_READ_LOG_EXT:
		return read_log(e, s, ATA_PIO_IN);
	case ATA_READ_LOG_DMA_EXT:
		return read_log(e, s, ATA_DMA);
	case ATA_SMART:
		return smart(e, s);
	case ATA_SET_FEATURES:
		return set_features(e, s);
	case ATA_SET_MULTIPLE:
		return set_multiple(e, s);
	case ATA_STANDBY:
	case ATA_STANDBY_IMMEDIATE:
		return power(e, s, ATA_POWER_STANDBY);
	case ATA_IDLE:
		return power(e, s, ATA_POWER_IDLE);
	case ATA_IDLE_IMMEDIATE:
		return idle_immediate(e, s);
	case ATA_CHECK_POWER:
		s->out.count = e->ata.power;
		return SLOT_OK;
	case ATA_SLEEP:
		return go_to_sleep(e, s);
	case ATA_SECURITY_FREEZE:
		return SLOT_OK;
	case ATA_DIAGNOSTIC:
		return diagnostic(s);
	default:
		return fail(s, ATA_ERR_ABRT);
	}
}

/** ata_emul_is_ncq() - is it one of the queued commands that exist here? */
bool ata_emul_is_ncq(const struct ahci_slot *s)
{
	return s->fis.command == ATA_READ_FPDMA || s->fis.command == ATA_WRITE_FPDMA;
}

static bool reads_ncq_log(const struct ahci_slot *s)
{
	return (s->fis.command == ATA_READ_LOG_EXT || s->fis.command == ATA_READ_LOG_DMA_EXT) &&
	       s->fis.lba[0] == ATA_LOG_NCQ_ERROR;
}

/**
 * ata_emul_exec() - carry out the command of @s->fis
 *
 * Fills in s->proto and, where it has ended, s->out.
 * After a queued command has failed, all but the reading of its log is aborted.
 * Context: owner. Return: how it stands. Spec: [ACS-3 §7]
 */
enum slot_end ata_emul_exec(struct ahci_emul *e, struct ahci_slot *s)
{
	enum slot_end end;

	s->out.device = s->fis.device;
	if (e->ata.ncq_failed && !reads_ncq_log(s)) {
		s->proto = ata_emul_is_ncq(s) ? ATA_NCQ : ATA_NO_DATA;
		return fail(s, ATA_ERR_ABRT);
	}
	if (ata_emul_is_ncq(s))
		return fpdma(e, s, s->fis.command == ATA_WRITE_FPDMA);
	for (u32 i = 0; i < ARRAY_SIZE(xfers); i++)
		if (xfers[i].command == s->fis.command)
			return plain(e, s, &xfers[i]);
	end = other(e, s);
	if (end == SLOT_OK)
		e->stats.others++;
	return end;
}

/**
 * ata_emul_reset() - as after COMRESET (@hard), or SRST
 */
void ata_emul_reset(struct ahci_emul *e, bool hard)
{
	struct ata_disk *d = &e->ata;

	d->ncq_failed = false;
	d->power = ATA_POWER_ACTIVE;
	if (!hard && !d->revert)
		return;
	d->wcache = e->blk->write_cache;
	d->lookahead = d->smart = true;
	d->revert = false;
	d->multiple = 0;
	d->xfer = XFER_DEFAULT;
}

/**
 * ata_emul_ncq_error() - remember what log 10h has to say
 * @s: the command that failed; one that was not queued among queued ones too
 */
void ata_emul_ncq_error(struct ahci_emul *e, const struct ahci_slot *s, u8 status)
{
	const struct ata_result *o = &s->out;
	u8 *raw = (u8 *)&e->ata.ncq, sum = 0;

	memset(&e->ata.ncq, 0, sizeof(e->ata.ncq));
	e->ata.ncq = (struct ata_ncq_error){
		.tag = (u8)(ata_emul_is_ncq(s) ? s->tag : ATA_NCQ_ERROR_NQ),
		.status = status, .error = o->error, .device = o->device,
		.lba = { (u8)o->lba, (u8)(o->lba >> 8), (u8)(o->lba >> 16) },
		.lba_exp = { (u8)(o->lba >> 24), (u8)(o->lba >> 32), (u8)(o->lba >> 40) },
		.count = s->fis.count,
	};
	for (u32 i = 0; i < sizeof(e->ata.ncq) - 1; i++)
		sum = (u8)(sum + raw[i]);
	e->ata.ncq.checksum = (u8)-sum;
	e->ata.ncq_failed = true;
}
