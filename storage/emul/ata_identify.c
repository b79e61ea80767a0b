/*
 * ata_identify.c - what the emulated disk says about itself
 *
 * IDENTIFY DEVICE, the logs of READ LOG EXT, the SMART data. A solid-state
 * disk of ACS-3: 48-bit addresses, NCQ of 32, FUA, TRIM, write cache; sectors
 * as below, on the storage core's blocks of 4 KiB.
 *
 * [ACS-3 §7.12.7, §9; ATA8-ACS §7.53.6]
 */
#include <string.h>

#include "base/endian.h"
#include "base/plat.h"
#include "storage/emul/ahci_priv.h"

#define BLOCK_BYTES 4096u
#define TEMPERATURE 40u
#define CYLINDERS 16383u /* what every disk says that is too large for CHS */
#define HEADS 16u
#define CHS_SECTORS 63u
#define MULTIPLE_MAX 16u
/* ATA/ATAPI-5 to -8, ACS-2, ACS-3; serial, SATA 1.0a to 3.1 */
#define MAJOR 0x07e0u
#define TRANSPORT (ATA_ID_TRANSPORT_SATA | 0x003fu)
#define CYCLE_NS 120u

static void put_text(u16 *w, u32 words, const char *text)
{
	size_t n = strlen(text);

	for (u32 i = 0; i < 2 * words; i++) {
		u16 c = i < n ? (u8)text[i] : ' ';

		w[i / 2] = (u16)(i % 2 ? w[i / 2] | c : c << 8);
	}
}

static void put_words(u16 *w, u32 words, u64 v)
{
	for (u32 i = 0; i < words; i++)
		w[i] = (u16)(v >> 16 * i);
}

/* A name of its own (NAA 3: locally assigned) that follows from model and serial: FNV-1a. */
static u64 wwn(const struct ahci_emul *e)
{
	u64 h = 0xcbf29ce484222325ull;

	for (u32 i = 0; i < sizeof(e->model); i++)
		h = (h ^ (u8)e->model[i]) * 0x100000001b3ull;
	for (u32 i = 0; i < sizeof(e->serial); i++)
		h = (h ^ (u8)e->serial[i]) * 0x100000001b3ull;
	return 3ull << 60 | h >> 4;
}

static void put_geometry(const struct ahci_emul *e, u16 *w)
{
	const struct blk_dev *b = e->blk;
	u64 chs = (u64)CYLINDERS * HEADS * CHS_SECTORS, wwn_now = wwn(e);

	w[ATA_ID_CYLINDERS] = w[ATA_ID_CUR_CYLINDERS] = CYLINDERS;
	w[ATA_ID_HEADS] = w[ATA_ID_CUR_HEADS] = HEADS;
	w[ATA_ID_CHS_SECTORS] = w[ATA_ID_CUR_SECTORS] = CHS_SECTORS;
	put_words(&w[ATA_ID_CUR_CAPACITY], 2, MIN(chs, b->sectors));
	put_words(&w[ATA_ID_SECTORS28], 2, MIN(b->sectors, (u64)ATA_ID_SECTORS28_MAX));
	put_words(&w[ATA_ID_SECTORS48], 4, b->sectors);
	w[ATA_ID_SECTOR_SIZE] = ATA_ID_VALID_WORD;
	if (b->sector_bytes < BLOCK_BYTES)
		w[ATA_ID_SECTOR_SIZE] |= ATA_ID_SECTOR_PHYSICAL |
			(u16)__builtin_ctz(BLOCK_BYTES / b->sector_bytes);
	if (b->sector_bytes != 512) {
		w[ATA_ID_SECTOR_SIZE] |= ATA_ID_SECTOR_LOGICAL;
		put_words(&w[ATA_ID_SECTOR_WORDS], 2, b->sector_bytes / 2);
	}
	w[ATA_ID_ALIGNMENT] = ATA_ID_ALIGNMENT_FIXED;
	w[ATA_ID_ROTATION] = ATA_ID_ROTATION_SSD;
	for (u32 i = 0; i < 4; i++)
		w[ATA_ID_WWN + i] = (u16)(wwn_now >> (48 - 16 * i));
}

static void put_modes(const struct ahci_emul *e, u16 *w)
{
	u8 xfer = e->ata.xfer, mode = xfer & ATA_XFER_MODE;

	w[ATA_ID_MULTIPLE_MAX] = ATA_ID_MULTIPLE_FIXED | MULTIPLE_MAX;
	w[ATA_ID_MULTIPLE] = ATA_ID_MULTIPLE_VALID | e->ata.multiple;
	w[ATA_ID_MWDMA] = 0x07;
	w[ATA_ID_PIO] = 0x03;
	w[ATA_ID_UDMA] = 0x7f;
	if ((xfer & ~ATA_XFER_MODE) == ATA_XFER_MWDMA)
		w[ATA_ID_MWDMA] |= (u16)(BIT(mode) << 8);
	if ((xfer & ~ATA_XFER_MODE) == ATA_XFER_UDMA)
		w[ATA_ID_UDMA] |= (u16)(BIT(mode) << 8);
	for (u32 i = ATA_ID_MWDMA_MIN; i <= ATA_ID_PIO_MIN_IORDY; i++)
		w[i] = CYCLE_NS;
}

static void put_features(const struct ahci_emul *e, u16 *w)
{
	const struct ata_disk *d = &e->ata;
	u16 cache = e->blk->write_cache ? ATA_ID_CMDS1_WCACHE : 0;

	w[ATA_ID_CMDS1] = ATA_ID_CMDS1_SMART | ATA_ID_CMDS1_SECURITY | ATA_ID_CMDS1_POWER |
			  ATA_ID_CMDS1_LOOKAHEAD | ATA_ID_CMDS1_NOP | cache;
	w[ATA_ID_CMDS1_ON] = (u16)(ATA_ID_CMDS1_POWER | ATA_ID_CMDS1_NOP |
				   (d->smart ? ATA_ID_CMDS1_SMART : 0) |
				   (d->wcache ? ATA_ID_CMDS1_WCACHE : 0) |
				   (d->lookahead ? ATA_ID_CMDS1_LOOKAHEAD : 0));
	w[ATA_ID_CMDS2_ON] = ATA_ID_CMDS2_LBA48 | ATA_ID_CMDS2_FLUSH | ATA_ID_CMDS2_FLUSH_EXT;
	w[ATA_ID_CMDS2] = ATA_ID_CMDS2_FIXED | w[ATA_ID_CMDS2_ON];
	w[ATA_ID_CMDS2_ON] |= ATA_ID_CMDS2_W119;
	w[ATA_ID_CMDS3] = w[ATA_ID_CMDS3_ON] = ATA_ID_CMDS3_FIXED | ATA_ID_CMDS3_GPL |
					       ATA_ID_CMDS3_FUA | ATA_ID_CMDS3_WWN;
	w[ATA_ID_CMDS4] = w[ATA_ID_CMDS4_ON] = ATA_ID_CMDS4_FIXED | ATA_ID_CMDS4_LOG_DMA;
	w[ATA_ID_SECURITY] = ATA_ID_SECURITY_SUPPORTED | ATA_ID_SECURITY_FROZEN;
	w[ATA_ID_DSM] = ATA_ID_DSM_TRIM;
	w[ATA_ID_DSM_BLOCKS] = AHCI_DSM_BLOCKS;
}

/* The last byte makes the sum of all 0. */
static void put_checksum(u8 *page)
{
	u8 sum = 0;

	for (u32 i = 0; i < ATA_LOG_BYTES - 1; i++)
		sum = (u8)(sum + page[i]);
	page[ATA_LOG_BYTES - 1] = (u8)-sum;
}

/** ata_emul_seal() - the sum of an IDENTIFY page, if it says that it has one */
void ata_emul_seal(u16 w[ATA_ID_WORDS])
{
	if ((w[ATA_ID_INTEGRITY] & 0xff) == ATA_ID_INTEGRITY_SIGNATURE)
		put_checksum((u8 *)w);
}

/** ata_emul_identify() - IDENTIFY DEVICE data as of now */
void ata_emul_identify(const struct ahci_emul *e, u16 w[ATA_ID_WORDS])
{
	memset(w, 0, ATA_ID_BYTES);
	w[ATA_ID_CONFIG] = 0x0040; /* not removable */
	put_text(&w[ATA_ID_SERIAL], ATA_ID_SERIAL_WORDS, e->serial);
	put_text(&w[ATA_ID_FIRMWARE], ATA_ID_FIRMWARE_WORDS, "1.0");
	put_text(&w[ATA_ID_MODEL], ATA_ID_MODEL_WORDS, e->model);
	w[ATA_ID_TRUSTED] = ATA_ID_TRUSTED_FIXED;
	w[ATA_ID_CAPS] = ATA_ID_CAPS_DMA | ATA_ID_CAPS_LBA | ATA_ID_CAPS_IORDY_OFF |
			 ATA_ID_CAPS_IORDY | ATA_ID_CAPS_STANDBY;
	w[ATA_ID_CAPS2] = ATA_ID_CAPS2_FIXED;
	w[ATA_ID_VALID] = ATA_ID_VALID_CHS | ATA_ID_VALID_PIO | ATA_ID_VALID_UDMA;
	w[ATA_ID_QUEUE_DEPTH] = AHCI_SLOTS_MAX - 1;
	w[ATA_ID_SATA_CAPS] = ATA_ID_SATA_GEN1 | ATA_ID_SATA_GEN2 | ATA_ID_SATA_GEN3 |
			      ATA_ID_SATA_NCQ | ATA_ID_SATA_LOG_DMA;
	w[ATA_ID_SATA_CAPS2] = (u16)FIELD_PREP(ATA_ID_SATA_SPEED, AHCI_SPD_6);
	w[ATA_ID_MAJOR] = MAJOR;
	w[ATA_ID_TRANSPORT] = TRANSPORT;
	put_geometry(e, w);
	put_modes(e, w);
	put_features(e, w);
	w[ATA_ID_INTEGRITY] = ATA_ID_INTEGRITY_SIGNATURE;
	ata_emul_seal(w);
}

/* ---------------------------------------------------------------- logs */

static void log_directory(u8 *to)
{
	put_le16(to, ATA_LOG_DIRECTORY_VERSION);
	put_le16(to + 2 * ATA_LOG_NCQ_ERROR, 1);
	put_le16(to + 2 * ATA_LOG_IDENTIFY, 2);
}

/* Page 0 lists the pages, page 1 is the IDENTIFY data. [ACS-3 §9.12] */
static void log_identify(const struct ahci_emul *e, u32 page, u8 *to)
{
	if (page) {
		ata_emul_identify(e, (u16 *)to);
		return;
	}
	put_le16(to, 1); /* revision */
	to[8] = 2; /* entries */
	to[10] = 1; /* after page 0: 1 */
}

/**
 * ata_emul_log() - page @page of a log of READ LOG EXT
 * @to: ATA_LOG_BYTES, aligned to 2
 *
 * Return: how many pages the log has; 0: it does not exist.
 */
u32 ata_emul_log(struct ahci_emul *e, u8 log, u32 page, u8 *to)
{
	memset(to, 0, ATA_LOG_BYTES);
	switch (log) {
	case ATA_LOG_DIRECTORY:
		log_directory(to);
		return 1;
	case ATA_LOG_NCQ_ERROR:
		memcpy(to, &e->ata.ncq, sizeof(e->ata.ncq));
		return 1;
	case ATA_LOG_IDENTIFY:
		log_identify(e, page, to);
		return 2;
	default:
		return 0;
	}
}

/* ---------------------------------------------------------------- SMART */

/* Numbers and flags as vendors use them: 2 updated online, 10h a count, 20h kept by itself. */
enum smart_id {
	SMART_REALLOCATED = 5, SMART_HOURS = 9, SMART_CYCLES = 12, SMART_TEMPERATURE = 194,
	SMART_PENDING = 197, SMART_WRITTEN = 241, SMART_READ = 242,
};

static const struct {
	u8 id, threshold;
	u16 flags;
} smart_attrs[] = {
	{ SMART_REALLOCATED, 10, 0x33 }, { SMART_HOURS, 0, 0x32 }, { SMART_CYCLES, 0, 0x32 },
	{ SMART_TEMPERATURE, 0, 0x22 }, { SMART_PENDING, 0, 0x32 }, { SMART_WRITTEN, 0, 0x32 },
	{ SMART_READ, 0, 0x32 },
};

static u64 smart_raw(const struct ahci_emul *e, u8 id)
{
	switch (id) {
	case SMART_HOURS:
		return plat_time_ns() / (3600 * NS_PER_SEC);
	case SMART_CYCLES:
		return 1;
	case SMART_TEMPERATURE:
		return TEMPERATURE;
	case SMART_WRITTEN:
		return e->stats.sectors_written;
	case SMART_READ:
		return e->stats.sectors_read;
	default:
		return 0;
	}
}

/** ata_emul_smart_data() - SMART READ DATA into a cleared page */
void ata_emul_smart_data(const struct ahci_emul *e, struct ata_smart_data *d)
{
	d->version = 0x10;
	for (u32 i = 0; i < ARRAY_SIZE(smart_attrs); i++) {
		struct ata_smart_attr *a = &d->attr[i];
		u64 raw = smart_raw(e, smart_attrs[i].id);

		a->id = smart_attrs[i].id;
		a->flags = smart_attrs[i].flags;
		a->value = a->worst = 100;
		for (u32 b = 0; b < sizeof(a->raw); b++)
			a->raw[b] = (u8)(raw >> 8 * b);
	}
	d->smart_caps = 0x0003; /* saved before power goes, and at any time */
	put_checksum((u8 *)d);
}

/** ata_emul_smart_thresholds() - the same for READ THRESHOLDS, whose layout is alike */
void ata_emul_smart_thresholds(u8 to[ATA_LOG_BYTES])
{
	struct ata_smart_data *d = (struct ata_smart_data *)to;

	d->version = 0x10;
	for (u32 i = 0; i < ARRAY_SIZE(smart_attrs); i++) {
		u8 *entry = (u8 *)&d->attr[i];

		entry[0] = smart_attrs[i].id;
		entry[1] = smart_attrs[i].threshold;
	}
	put_checksum(to);
}
