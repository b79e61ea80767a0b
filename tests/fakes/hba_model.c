/* See hba_model.h. */
#include "tests/fakes/hba_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/field.h"
#include "base/plat_host.h"

#define R(k, at) ((k)->reg[(at) / 4])
#define LINK_NS (5 * NS_PER_MS)
#define READY_NS (20 * NS_PER_MS)
#define HR_NS (3 * NS_PER_MS)
#define CMD_WRITABLE (AHCI_PX_CMD_ST | AHCI_PX_CMD_SUD | AHCI_PX_CMD_POD | AHCI_PX_CMD_FRE | \
		      AHCI_PX_CMD_ATAPI | AHCI_PX_CMD_PMA | AHCI_PX_CMD_ALPE | AHCI_PX_CMD_ASP)

static void rule(struct hba_model *m, bool ok, const char *what)
{
	if (ok || m->lenient)
		return;
	m->broken++;
	fprintf(stderr, "hba_model: the driver broke a rule: %s\n", what);
}

/* ---------------------------------------------------------------- interrupts, frames */

static void interrupts(struct hba_model *m)
{
	u32 before = m->is;

	for (u32 n = 0; n < HBA_MODEL_PORTS; n++)
		if (R(&m->disk[n], AHCI_PX_IS) & R(&m->disk[n], AHCI_PX_IE))
			m->is |= BIT(n);
	if (m->is & ~before && m->ghc & AHCI_GHC_IE && m->irq_enabled)
		m->irqs++;
}

static void raise(struct hba_disk *k, u32 bits)
{
	R(k, AHCI_PX_IS) |= bits;
	interrupts(k->m);
}

static u64 addr(const struct hba_disk *k, u32 at)
{
	return R(k, at) | (u64)R(k, at + 4) << 32;
}

static struct ahci_rx_fis *rx(struct hba_disk *k)
{
	static struct ahci_rx_fis nowhere;

	if (k->no_frames || !(R(k, AHCI_PX_CMD) & AHCI_PX_CMD_FRE) || !R(k, AHCI_PX_FB))
		return &nowhere;
	return (struct ahci_rx_fis *)(uintptr_t)addr(k, AHCI_PX_FB);
}

static void task_file(struct hba_disk *k, u8 status, u8 error)
{
	R(k, AHCI_PX_TFD) = status | (u32)error << 8;
}

static void send_d2h(struct hba_disk *k, u8 status, u8 error, bool irq)
{
	struct fis_reg_d2h f = { .type = FIS_REG_D2H, .flags = irq ? FIS_I : 0, .status = status,
				 .error = error };

	rx(k)->rfis = f;
	task_file(k, status, error);
	if (status & ATA_STS_ERR)
		raise(k, AHCI_PX_IS_TFES);
	if (irq)
		raise(k, AHCI_PX_IS_DHRS);
}

static void send_sdb(struct hba_disk *k, u32 tags, u8 status, u8 error)
{
	struct fis_set_dev_bits f = { .type = FIS_SET_DEV_BITS, .flags = FIS_I,
				      .status = status & FIS_SDB_STATUS, .error = error,
				      .active = tags };

	R(k, AHCI_PX_SACT) &= ~tags;
	rx(k)->sdbfis = f;
	task_file(k, status, error);
	raise(k, status & ATA_STS_ERR ? AHCI_PX_IS_TFES | AHCI_PX_IS_SDBS : AHCI_PX_IS_SDBS);
}

/* ---------------------------------------------------------------- the link */

static void com_reset_ends(struct hba_disk *k)
{
	k->comresets++;
	k->failed = false;
	R(k, AHCI_PX_TFD) = AHCI_PX_TFD_NONE;
	R(k, AHCI_PX_SIG) = AHCI_SIG_NONE;
	R(k, AHCI_PX_SSTS) = 0;
	if (!k->present || k->no_link)
		return;
	k->up_ns = plat_host_now_ns + LINK_NS;
	k->ready_ns = plat_host_now_ns + READY_NS;
	k->silent = true;
	if (k->other) {
		k->id[ATA_ID_SERIAL] ^= 0x0101;
		hba_model_seal(k);
		k->other = false;
	}
}

static void link_step(struct hba_disk *k)
{
	u64 now = plat_host_now_ns;

	if (!k->up_ns || now < k->up_ns)
		return;
	if (!R(k, AHCI_PX_SSTS)) {
		R(k, AHCI_PX_SSTS) = FIELD_PREP(AHCI_SSTS_DET, AHCI_DET_UP) |
			FIELD_PREP(AHCI_SSTS_SPD, AHCI_SPD_6) |
			FIELD_PREP(AHCI_SSTS_IPM, AHCI_IPM_ACTIVE);
		R(k, AHCI_PX_SERR) |= AHCI_SERR_DIAG_X | AHCI_SERR_DIAG_N;
		raise(k, AHCI_PX_IS_PCS | AHCI_PX_IS_PRCS);
	}
	if (k->silent && now >= k->ready_ns && !k->busy &&
	    R(k, AHCI_PX_CMD) & AHCI_PX_CMD_FRE) {
		k->silent = false;
		R(k, AHCI_PX_SIG) = k->atapi ? AHCI_SIG_ATAPI : AHCI_SIG_ATA;
		send_d2h(k, ATA_STS_DRDY | ATA_STS_DSC, ATA_ERR_DIAG_OK, false);
	}
}

void hba_model_lose_link(struct hba_disk *k)
{
	R(k, AHCI_PX_SSTS) = 0;
	k->up_ns = plat_host_now_ns + LINK_NS;
	R(k, AHCI_PX_SERR) |= AHCI_SERR_DIAG_X | AHCI_SERR_DIAG_N;
	raise(k, AHCI_PX_IS_PCS | AHCI_PX_IS_PRCS);
}

/* ---------------------------------------------------------------- commands */

struct order {
	struct ahci_cmd_header *h;
	struct ahci_cmd_table *t;
	struct fis_reg_h2d *f;
	u32 slot;
	u64 lba;
	u32 count;
	bool queued;
};

static struct order order_of(struct hba_disk *k, u32 slot)
{
	struct ahci_cmd_header *list = (void *)(uintptr_t)addr(k, AHCI_PX_CLB);
	struct order o = { .h = &list[slot], .slot = slot };

	rule(k->m, !(o.h->ctba & (AHCI_CTBA_ALIGN - 1)), "a table is not aligned");
	rule(k->m, o.h->ctba, "no table");
	if (!o.h->ctba)
		return o;
	o.t = (void *)(uintptr_t)(o.h->ctba | (u64)o.h->ctbau << 32);
	o.f = (struct fis_reg_h2d *)o.t->cfis;
	rule(k->m, (o.h->flags & AHCI_CH_CFL) == 5, "length of the command frame");
	rule(k->m, o.f->type == FIS_REG_H2D && o.f->flags == FIS_C, "kind of frame");
	for (u32 i = 0; i < 3; i++)
		o.lba |= (u64)o.f->lba[i] << (8 * i) | (u64)o.f->lba_exp[i] << (24 + 8 * i);
	o.queued = o.f->command == ATA_READ_FPDMA || o.f->command == ATA_WRITE_FPDMA;
	o.count = o.queued ? o.f->features | o.f->features_exp << 8 :
			     o.f->count | o.f->count_exp << 8;
	if (!o.count)
		o.count = ATA_SECTORS_MAX_LBA48;
	return o;
}

/* Data between the pieces of @o and @buf. False: they are not @bytes long. */
static bool move(struct hba_disk *k, const struct order *o, u8 *buf, u64 bytes, bool to_disk)
{
	u32 n = FIELD_GET(AHCI_CH_PRDTL, o->h->flags);

	bool packet = o->f->command == ATA_PACKET; /* the room may be longer than the data */

	rule(k->m, !!(o->h->flags & AHCI_CH_W) == to_disk, "direction of the data");
	for (u32 i = 0; i < n && (bytes || !packet); i++) {
		const struct ahci_prd *p = &o->t->prdt[i];
		u64 at = p->dba | (u64)p->dbau << 32;
		u32 len = (p->dbc & AHCI_PRD_DBC) + 1;

		rule(k->m, !(at & 1) && !(len & 1), "an odd piece of memory");
		rule(k->m, k->m->cap & AHCI_CAP_S64A || at + len <= 4 * GIB, "an address too high");
		if (len > bytes && packet)
			len = (u32)bytes;
		if (len > bytes) {
			rule(k->m, false, "more memory than data");
			return false;
		}
		if (to_disk)
			memcpy(buf, (void *)(uintptr_t)at, len);
		else
			memcpy((void *)(uintptr_t)at, buf, len);
		buf += len;
		bytes -= len;
		o->h->prdbc += len;
	}
	rule(k->m, !bytes || packet, "less memory than data");
	return !bytes;
}

static u8 read_write(struct hba_disk *k, const struct order *o, bool write)
{
	u64 bytes = (u64)o->count * k->sector_bytes;

	rule(k->m, o->f->device & ATA_DEV_LBA, "LBA mode");
	if (o->lba >= k->sectors || o->count > k->sectors - o->lba) {
		rule(k->m, false, "beyond the end of the disk");
		return ATA_ERR_IDNF;
	}
	if (k->bad_count && k->bad_lba - o->lba < o->count) {
		k->bad_count--;
		return k->bad_error;
	}
	return move(k, o, k->data + o->lba * k->sector_bytes, bytes, write) ? 0 : ATA_ERR_ABRT;
}

static u8 trim(struct hba_disk *k, const struct order *o)
{
	u64 range[ATA_DSM_RANGES];

	if (k->refuse_trim && k->refuse_trim--)
		return ATA_ERR_ABRT;
	if (o->count != 1 || o->f->features != ATA_DSM_TRIM || !move(k, o, (u8 *)range, 512, true))
		return ATA_ERR_ABRT;
	for (u32 i = 0; i < ATA_DSM_RANGES; i++) {
		u64 n = FIELD_GET(ATA_DSM_SECTORS, range[i]), lba = range[i] & ATA_DSM_LBA;

		if (!n)
			continue;
		if (lba + n > k->sectors)
			return ATA_ERR_IDNF;
		k->trim_ranges++;
		k->trim_sectors += n;
	}
	return 0;
}

static u8 error_log(struct hba_disk *k, const struct order *o)
{
	struct ata_ncq_error log = { .tag = k->failed_tag, .status = ATA_STS_DRDY | ATA_STS_ERR,
				     .error = k->failed_error };
	u8 sum = 0;

	if (k->no_log || o->f->lba[0] != ATA_LOG_NCQ_ERROR || o->count != 1)
		return ATA_ERR_ABRT;
	k->logs++;
	if (k->wrong_log)
		log.tag ^= 0x11;
	for (u32 i = 0; i < sizeof(log); i++)
		sum = (u8)(sum + ((u8 *)&log)[i]);
	log.checksum = (u8)-sum;
	k->failed = false;
	return move(k, o, (u8 *)&log, sizeof(log), false) ? 0 : ATA_ERR_ABRT;
}

static u8 identify(struct hba_disk *k, const struct order *o)
{
	u16 id[ATA_ID_WORDS];

	k->identifies++;
	if (k->refuse_identify && k->refuse_identify--)
		return ATA_ERR_ABRT;
	memcpy(id, k->id, sizeof(id));
	if (k->damage_identify && k->damage_identify--)
		id[100] ^= 0x40;
	return move(k, o, (u8 *)id, sizeof(id), false) ? 0 : ATA_ERR_ABRT;
}

#define SENSE(key) ((key) << 4 | ATA_ERR_ABRT)

/* TEST UNIT READY, READ(10), WRITE(10); nothing else is known. */
static u8 packet(struct hba_disk *k, const struct order *o)
{
	const u8 *c = o->t->acmd;
	u64 lba = (u32)c[2] << 24 | (u32)c[3] << 16 | (u32)c[4] << 8 | c[5];
	u32 n = (u32)c[7] << 8 | c[8];

	k->packets++;
	k->packet_features = o->f->features;
	k->packet_limit = o->f->lba[1] | (u32)o->f->lba[2] << 8;
	rule(k->m, o->h->flags & AHCI_CH_A, "a packet without the bit for it");
	if (k->empty)
		return SENSE(2);
	if (!c[0])
		return 0;
	if ((c[0] != 0x28 && c[0] != 0x2a) || lba > k->sectors || n > k->sectors - lba)
		return SENSE(5);
	k->overrun = !move(k, o, k->data + lba * k->sector_bytes, (u64)n * k->sector_bytes,
			   c[0] == 0x2a);
	return 0;
}

static u8 execute_drive(struct hba_disk *k, const struct order *o)
{
	if (o->f->command == ATA_IDENTIFY_PACKET)
		return identify(k, o);
	if (o->f->command == ATA_PACKET)
		return packet(k, o);
	rule(k->m, false, "a command that no drive knows");
	return ATA_ERR_ABRT;
}

/* Return: ATA_ERR_*, 0 when it went well. */
static u8 execute(struct hba_disk *k, const struct order *o)
{
	if (k->atapi)
		return execute_drive(k, o);
	switch (o->f->command) {
	case ATA_IDENTIFY:
		return identify(k, o);
	case ATA_READ_LOG_EXT:
		return error_log(k, o);
	case ATA_READ_DMA_EXT:
	case ATA_READ_FPDMA:
		return read_write(k, o, false);
	case ATA_WRITE_DMA_FUA_EXT:
		k->fuas++;
		return read_write(k, o, true);
	case ATA_WRITE_FPDMA:
		k->fuas += !!(o->f->device & ATA_DEV_FUA);
		return read_write(k, o, true);
	case ATA_WRITE_DMA_EXT:
		return read_write(k, o, true);
	case ATA_FLUSH_EXT:
		k->flushes++;
		if (k->bad_count && k->bad_lba == ~0ull) {
			k->bad_count--;
			return k->bad_error;
		}
		return 0;
	case ATA_DSM:
		return trim(k, o);
	default:
		rule(k->m, false, "a command that no disk knows");
		return ATA_ERR_ABRT;
	}
}

static void ended(struct hba_disk *k, const struct order *o, u8 error)
{
	u8 status = ATA_STS_DRDY | ATA_STS_DSC | (error ? ATA_STS_ERR : 0);

	if (o->queued) {
		k->queued++;
		if (error) {
			k->failed = true;
			k->failed_tag = (u8)o->slot;
			k->failed_error = error;
		}
		send_sdb(k, error ? 0 : BIT(o->slot), status, error);
		return;
	}
	k->plain++;
	if (error) {
		R(k, AHCI_PX_CMD) = (R(k, AHCI_PX_CMD) & ~AHCI_PX_CMD_CCS) |
				    FIELD_PREP(AHCI_PX_CMD_CCS, o->slot);
		k->failed = true;
	}
	if (!error || k->clears_ci)
		R(k, AHCI_PX_CI) &= ~BIT(o->slot);
	send_d2h(k, status, error, true);
}

static void finish(struct hba_disk *k, const struct order *o, u8 error)
{
	ended(k, o, error);
	if (error && k->sticks)
		R(k, AHCI_PX_TFD) |= ATA_STS_DRQ;
}

static void one(struct hba_disk *k, u32 slot)
{
	struct order o = order_of(k, slot);
	u8 error;

	if (!o.t) {
		R(k, AHCI_PX_CI) &= ~BIT(slot);
		R(k, AHCI_PX_SACT) &= ~BIT(slot);
		return;
	}
	if (o.queued)
		rule(k->m, FIELD_GET(ATA_FPDMA_TAG, (u32)o.f->count) == slot, "tag");
	if (k->deaf) { /* it stays out */
		k->deaf--;
		if (o.queued)
			R(k, AHCI_PX_CI) &= ~BIT(slot);
		k->failed = true;
		return;
	}
	if (k->wire_errors) {
		k->wire_errors--;
		k->failed = true;
		R(k, AHCI_PX_SERR) |= AHCI_SERR_DIAG_C | AHCI_SERR_T;
		raise(k, AHCI_PX_IS_IFS);
		return;
	}
	if (o.queued)
		R(k, AHCI_PX_CI) &= ~BIT(slot);
	error = execute(k, &o);
	if (k->overrun) {
		k->overrun = false;
		k->failed = true;
		raise(k, AHCI_PX_IS_OFS);
		return;
	}
	finish(k, &o, error);
}

static u32 pick(struct hba_disk *k, u32 out)
{
	u32 n = 0;

	if (k->shuffle) {
		k->shuffle = k->shuffle * 6364136223846793005ull + 1442695040888963407ull;
		n = (u32)(k->shuffle >> 33) % (u32)__builtin_popcount(out);
	}
	for (; n; n--)
		out &= out - 1;
	return (u32)__builtin_ctz(out);
}

static void port_run(struct hba_disk *k)
{
	u32 out = R(k, AHCI_PX_CI) | R(k, AHCI_PX_SACT);

	link_step(k);
	k->most_out = MAX(k->most_out, (u32)__builtin_popcount(out));
	while (!k->hold && !k->failed && R(k, AHCI_PX_CMD) & AHCI_PX_CMD_CR) {
		out = R(k, AHCI_PX_CI) | R(k, AHCI_PX_SACT);
		if (!out)
			break;
		one(k, pick(k, out));
	}
}

/** hba_model_run() - do what there is to do now */
void hba_model_run(struct hba_model *m)
{
	if (m->gone)
		return;
	if (m->hr_ns && plat_host_now_ns >= m->hr_ns && !m->stuck_hr) {
		m->hr_ns = 0;
		m->ghc &= ~AHCI_GHC_HR;
	}
	if (m->bohc & AHCI_BOHC_OOS && !m->bios_busy)
		m->bohc &= ~(AHCI_BOHC_BOS | AHCI_BOHC_BB);
	for (u32 n = 0; n < HBA_MODEL_PORTS; n++)
		port_run(&m->disk[n]);
}

/* ---------------------------------------------------------------- registers */

static void hba_reset_now(struct hba_model *m)
{
	m->hrs++;
	m->hr_ns = plat_host_now_ns + HR_NS;
	m->ghc = AHCI_GHC_HR | AHCI_GHC_AE;
	m->is = 0;
	for (u32 n = 0; n < HBA_MODEL_PORTS; n++) {
		struct hba_disk *k = &m->disk[n];

		memset(k->reg, 0, sizeof(k->reg));
		k->stuck = false;
		R(k, AHCI_PX_CMD) = m->cap & AHCI_CAP_SSS ? 0 : AHCI_PX_CMD_SUD;
		R(k, AHCI_PX_TFD) = AHCI_PX_TFD_NONE;
		R(k, AHCI_PX_SIG) = AHCI_SIG_NONE;
		k->up_ns = 0;
		if (k->present && !k->no_link && !(m->cap & AHCI_CAP_SSS))
			k->up_ns = plat_host_now_ns + HR_NS + LINK_NS;
		k->ready_ns = plat_host_now_ns + READY_NS;
		k->silent = true;
	}
}

static void write_cmd(struct hba_disk *k, u32 v)
{
	u32 was = R(k, AHCI_PX_CMD), cmd = (was & ~CMD_WRITABLE) | (v & CMD_WRITABLE);
	u32 tfd = R(k, AHCI_PX_TFD);

	if (cmd & ~was & AHCI_PX_CMD_ST) {
		rule(k->m, cmd & AHCI_PX_CMD_FRE, "ST without FRE");
		rule(k->m, !(was & AHCI_PX_CMD_CR), "ST while the list still runs");
		rule(k->m, !(tfd & (ATA_STS_BSY | ATA_STS_DRQ)), "ST with a busy disk");
		rule(k->m, !R(k, AHCI_PX_SERR), "ST with errors left");
		cmd |= AHCI_PX_CMD_CR;
	}
	if (was & ~cmd & AHCI_PX_CMD_ST) {
		R(k, AHCI_PX_CI) = R(k, AHCI_PX_SACT) = 0;
		/* A deaf command leaves the disk at work, a failed one does not. */
		if (!k->stuck)
			cmd &= ~(AHCI_PX_CMD_CR | AHCI_PX_CMD_CCS);
		if (!(tfd & ATA_STS_ERR) && k->failed)
			R(k, AHCI_PX_TFD) |= ATA_STS_BSY;
	}
	if (!(was & AHCI_PX_CMD_ST) && !(cmd & AHCI_PX_CMD_ST) && !k->stuck)
		cmd &= ~AHCI_PX_CMD_CR;
	if (cmd & ~was & AHCI_PX_CMD_SUD && k->present && !k->up_ns && !k->no_link)
		k->up_ns = plat_host_now_ns + LINK_NS;
	cmd = cmd & AHCI_PX_CMD_FRE ? cmd | AHCI_PX_CMD_FR : cmd & ~AHCI_PX_CMD_FR;
	R(k, AHCI_PX_CMD) = cmd;
	/* An error that is not of the queue's is over with the restart. */
	if (cmd & AHCI_PX_CMD_ST && tfd & ATA_STS_ERR)
		k->failed = false;
}

static void write_ci(struct hba_disk *k, u32 v)
{
	u32 out = R(k, AHCI_PX_CI) | R(k, AHCI_PX_SACT);

	rule(k->m, R(k, AHCI_PX_CMD) & AHCI_PX_CMD_CR, "a command while the list does not run");
	rule(k->m, !(R(k, AHCI_PX_CI) & v), "a slot that is out");
	if (!(R(k, AHCI_PX_CMD) & AHCI_PX_CMD_CR))
		return;
	for (u32 i = 0; i < 32; i++) {
		struct order o;

		if (!(v & BIT(i)))
			continue;
		o = order_of(k, i);
		o.h->prdbc = 0;
		rule(k->m, o.queued == !!(R(k, AHCI_PX_SACT) & BIT(i)), "SACT");
		rule(k->m, !(out & ~v) || o.queued == !!R(k, AHCI_PX_SACT),
		     "queued and other commands together");
		rule(k->m, i <= FIELD_GET(AHCI_CAP_NCS, k->m->cap), "a slot that is not there");
		rule(k->m, !o.queued || i <= (k->id[ATA_ID_QUEUE_DEPTH] & 31), "a tag too high");
	}
	R(k, AHCI_PX_CI) |= v;
}

static void write_sctl(struct hba_disk *k, u32 v)
{
	u32 was = FIELD_GET(AHCI_SCTL_DET, R(k, AHCI_PX_SCTL));

	R(k, AHCI_PX_SCTL) = v;
	rule(k->m, !(v & AHCI_SCTL_DET) || !(R(k, AHCI_PX_CMD) & AHCI_PX_CMD_ST),
	     "COMRESET while the list runs");
	if (was == AHCI_SCTL_DET_COMRESET && !(v & AHCI_SCTL_DET))
		com_reset_ends(k);
	else if (v & AHCI_SCTL_DET)
		R(k, AHCI_PX_SSTS) = 0, k->up_ns = 0;
}

static void port_write(struct hba_disk *k, u32 at, u32 v)
{
	switch (at) {
	case AHCI_PX_CLB:
		rule(k->m, !(v & (AHCI_CMD_LIST_ALIGN - 1)), "alignment of the list");
		rule(k->m, !(R(k, AHCI_PX_CMD) & AHCI_PX_CMD_CR), "CLB while it runs");
		R(k, at) = v;
		break;
	case AHCI_PX_FB:
		rule(k->m, !(v & (AHCI_RX_FIS_ALIGN - 1)), "alignment of received frames");
		rule(k->m, !(R(k, AHCI_PX_CMD) & AHCI_PX_CMD_FR), "FB while it runs");
		R(k, at) = v;
		break;
	case AHCI_PX_IS:
		/* These stand as long as what they stand for. */
		v &= ~(R(k, AHCI_PX_SERR) & AHCI_SERR_DIAG_X ? AHCI_PX_IS_PCS : 0);
		v &= ~(R(k, AHCI_PX_SERR) & AHCI_SERR_DIAG_N ? AHCI_PX_IS_PRCS : 0);
		R(k, at) &= ~v;
		break;
	case AHCI_PX_SERR:
		R(k, at) &= ~v;
		if (v & AHCI_SERR_DIAG_X)
			R(k, AHCI_PX_IS) &= ~AHCI_PX_IS_PCS;
		if (v & AHCI_SERR_DIAG_N)
			R(k, AHCI_PX_IS) &= ~AHCI_PX_IS_PRCS;
		break;
	case AHCI_PX_CMD:
		write_cmd(k, v);
		break;
	case AHCI_PX_SACT:
		rule(k->m, R(k, AHCI_PX_CMD) & AHCI_PX_CMD_ST, "SACT while the list does not run");
		R(k, at) |= v;
		break;
	case AHCI_PX_CI:
		write_ci(k, v);
		break;
	case AHCI_PX_SCTL:
		write_sctl(k, v);
		break;
	case AHCI_PX_CLBU:
	case AHCI_PX_FBU:
	case AHCI_PX_IE:
		R(k, at) = v;
		break;
	}
	interrupts(k->m);
}

static u32 host_read(struct hba_model *m, u32 off)
{
	switch (off) {
	case AHCI_CAP:
		return m->cap;
	case AHCI_GHC:
		return m->ghc;
	case AHCI_IS:
		return m->is;
	case AHCI_PI:
		return m->pi;
	case AHCI_VS:
		return m->vs;
	case AHCI_CAP2:
		return m->cap2;
	case AHCI_BOHC:
		return m->bohc;
	default:
		return 0;
	}
}

static void host_write(struct hba_model *m, u32 off, u32 v)
{
	if (off == AHCI_GHC) {
		rule(m, v & AHCI_GHC_AE, "AHCI mode left");
		if (v & AHCI_GHC_HR)
			hba_reset_now(m);
		else if (!m->hr_ns)
			m->ghc = v & (AHCI_GHC_AE | AHCI_GHC_IE);
	} else if (off == AHCI_IS) {
		m->is &= ~v;
	} else if (off == AHCI_BOHC) {
		m->bohc = (m->bohc & ~AHCI_BOHC_OOS) | (v & AHCI_BOHC_OOS);
	}
	interrupts(m);
}

static struct hba_model *of(struct bus_dev *b)
{
	return container_of(b, struct hba_model, bus);
}

static u32 model_read32(struct bus_dev *b, u32 off)
{
	struct hba_model *m = of(b);

	m->reads++;
	hba_model_run(m);
	if (m->gone)
		return ~0u;
	if (off < AHCI_PORT_BASE)
		return host_read(m, off);
	off -= AHCI_PORT_BASE;
	return off / AHCI_PORT_BYTES < HBA_MODEL_PORTS ?
	       m->disk[off / AHCI_PORT_BYTES].reg[off % AHCI_PORT_BYTES / 4] : 0;
}

static void model_write32(struct bus_dev *b, u32 off, u32 v)
{
	struct hba_model *m = of(b);

	m->writes++;
	if (m->gone)
		return;
	if (off < AHCI_PORT_BASE) {
		host_write(m, off, v);
		return;
	}
	off -= AHCI_PORT_BASE;
	if (off / AHCI_PORT_BYTES < HBA_MODEL_PORTS)
		port_write(&m->disk[off / AHCI_PORT_BYTES], off % AHCI_PORT_BYTES, v);
}

static u32 model_cfg_read(struct bus_dev *b, u32 off, u32 size)
{
	(void)size;
	return off == 4 ? of(b)->cfg_command : 0;
}

static void model_cfg_write(struct bus_dev *b, u32 off, u32 size, u32 v)
{
	(void)size;
	if (off == 4)
		of(b)->cfg_command = v;
}

static void *model_alloc(struct bus_dev *b, size_t bytes, size_t align, u64 *dma)
{
	struct hba_model *m = of(b);
	size_t room = ALIGN_UP(bytes, align);
	void *p;

	if (m->alloc_fail && !--m->alloc_fail)
		return NULL;
	if (m->nallocs == HBA_MODEL_ALLOCS)
		abort();
	p = aligned_alloc(align, room);
	memset(p, 0, room);
	m->allocs[m->nallocs].bytes = room;
	m->allocs[m->nallocs++].p = p;
	*dma = (uintptr_t)p;
	return p;
}

static int model_irq_enable(struct bus_dev *b, u32 vectors)
{
	(void)vectors;
	of(b)->irq_enabled = !of(b)->no_irq;
	return of(b)->no_irq ? -ENODEV : 0;
}

static void model_irq_disable(struct bus_dev *b)
{
	of(b)->irq_enabled = false;
}

static void model_delay(struct bus_dev *b, u32 us)
{
	plat_host_now_ns += us * NS_PER_US;
	hba_model_run(of(b));
}

static const struct bus_ops model_ops = {
	.read32 = model_read32,
	.write32 = model_write32,
	.cfg_read = model_cfg_read,
	.cfg_write = model_cfg_write,
	.dma_alloc = model_alloc,
	.irq_enable = model_irq_enable,
	.irq_disable = model_irq_disable,
	.delay_us = model_delay,
};

/* ---------------------------------------------------------------- life */

/** hba_model_init() - four ports, 32 slots, NCQ, no disks; owned by a firmware */
void hba_model_init(struct hba_model *m)
{
	memset(m, 0, sizeof(*m));
	plat_host_quiet = true;
	plat_host_now_ns = NS_PER_SEC;
	m->bus.ops = &model_ops;
	m->bus.bar_bytes = 4096;
	m->cap = AHCI_CAP_S64A | AHCI_CAP_SNCQ | FIELD_PREP(AHCI_CAP_NCS, 31) |
		 (HBA_MODEL_PORTS - 1);
	m->cap2 = AHCI_CAP2_BOH;
	m->bohc = AHCI_BOHC_BOS;
	m->vs = AHCI_VS_1_3_1;
	m->pi = BIT(HBA_MODEL_PORTS) - 1;
	m->cfg_command = 6;
	for (u32 n = 0; n < HBA_MODEL_PORTS; n++) {
		m->disk[n].m = m;
		m->disk[n].n = n;
	}
}

void hba_model_fini(struct hba_model *m)
{
	while (m->nallocs)
		free(m->allocs[--m->nallocs].p);
	for (u32 n = 0; n < HBA_MODEL_PORTS; n++)
		free(m->disk[n].data);
	plat_host_now_ns = 0;
}

static void id_text(u16 *w, u32 words, const char *text)
{
	size_t len = strlen(text);

	for (u32 i = 0; i < 2 * words; i++) {
		u8 c = i < len ? (u8)text[i] : ' ';

		w[i / 2] = (u16)(i & 1 ? (w[i / 2] & 0xff00) | c : c << 8);
	}
}

void hba_model_seal(struct hba_disk *k)
{
	u8 sum = ATA_ID_INTEGRITY_SIGNATURE;

	for (u32 i = 0; i < ATA_ID_INTEGRITY; i++)
		sum = (u8)(sum + k->id[i] + (k->id[i] >> 8));
	k->id[ATA_ID_INTEGRITY] = (u16)((u8)-sum << 8 | ATA_ID_INTEGRITY_SIGNATURE);
}

/** hba_model_disk() - a disk with all that a good one has; the firmware has seen it */
struct hba_disk *hba_model_disk(struct hba_model *m, u32 port, u64 sectors, u32 sector_bytes)
{
	struct hba_disk *k = &m->disk[port];
	char serial[] = "MODEL0001";

	k->present = true;
	k->sectors = sectors;
	k->sector_bytes = sector_bytes;
	k->data = calloc(sectors, sector_bytes);
	serial[8] = (char)('1' + port);
	id_text(k->id + ATA_ID_SERIAL, ATA_ID_SERIAL_WORDS, serial);
	id_text(k->id + ATA_ID_FIRMWARE, ATA_ID_FIRMWARE_WORDS, "1.0");
	id_text(k->id + ATA_ID_MODEL, ATA_ID_MODEL_WORDS, "Model of a disk");
	k->id[ATA_ID_CAPS] = ATA_ID_CAPS_DMA | ATA_ID_CAPS_LBA;
	k->id[ATA_ID_QUEUE_DEPTH] = 31;
	k->id[ATA_ID_SATA_CAPS] = ATA_ID_SATA_GEN3 | ATA_ID_SATA_NCQ;
	k->id[ATA_ID_CMDS1] = ATA_ID_CMDS1_WCACHE;
	k->id[ATA_ID_CMDS2] = ATA_ID_CMDS2_FIXED | ATA_ID_CMDS2_LBA48 | ATA_ID_CMDS2_FLUSH_EXT;
	k->id[ATA_ID_CMDS3] = ATA_ID_CMDS3_FIXED | ATA_ID_CMDS3_FUA | ATA_ID_CMDS3_GPL;
	for (u32 i = 0; i < 4; i++)
		k->id[ATA_ID_SECTORS48 + i] = (u16)(sectors >> (16 * i));
	if (sector_bytes != 512) {
		k->id[ATA_ID_SECTOR_SIZE] = ATA_ID_VALID_WORD | ATA_ID_SECTOR_LOGICAL;
		k->id[ATA_ID_SECTOR_WORDS] = (u16)(sector_bytes / 2);
	}
	k->id[ATA_ID_DSM] = ATA_ID_DSM_TRIM;
	hba_model_seal(k);
	R(k, AHCI_PX_SSTS) = FIELD_PREP(AHCI_SSTS_DET, AHCI_DET_UP);
	return k;
}

/** hba_model_drive() - an optical drive with a disc in it */
struct hba_disk *hba_model_drive(struct hba_model *m, u32 port, u64 blocks)
{
	struct hba_disk *k = hba_model_disk(m, port, blocks, 2048);

	k->atapi = true;
	k->id[ATA_ID_CONFIG] = 0x8580; /* packets of 12 bytes, of a CD-ROM */
	hba_model_seal(k);
	return k;
}
