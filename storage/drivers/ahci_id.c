/*
 * ahci_id.c - what a disk says about itself
 *
 * Pure: bytes in, struct or error out. A disk may lie about everything; what
 * gets through here is a geometry that the driver can compute with, and texts
 * that end. [ACS-3 §7.12, §9.14]
 */
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "storage/drivers/ahci.h"
#include "storage/spec/ahci.h"

/* Printable ASCII without the spaces around it; the first character is the high byte. */
static void id_text(char *out, size_t room, const u16 *words, u32 nwords)
{
	u32 first = 0, end = 2 * nwords, n = 0;
	u8 text[2 * ATA_ID_MODEL_WORDS];

	for (u32 i = 0; i < end; i++)
		text[i] = (u8)(words[i / 2] >> (i & 1 ? 0 : 8));
	while (end && (text[end - 1] == ' ' || !text[end - 1]))
		end--;
	while (first < end && text[first] == ' ')
		first++;
	for (; first < end && n + 1 < room && text[first]; first++)
		out[n++] = text[first] >= 0x20 && text[first] < 0x7f ? (char)text[first] : '?';
	out[n] = 0;
}

static bool word_valid(u16 w)
{
	return (w & ATA_ID_VALID_MASK) == ATA_ID_VALID_WORD;
}

/* Where the integrity word is there, all bytes sum up to zero. */
static bool checksum_ok(const u16 *w)
{
	u8 sum = 0;

	if ((w[ATA_ID_INTEGRITY] & 0xff) != ATA_ID_INTEGRITY_SIGNATURE)
		return true;
	for (u32 i = 0; i < ATA_ID_WORDS; i++)
		sum = (u8)(sum + w[i] + (w[i] >> 8));
	return !sum;
}

static u32 sector_bytes(const u16 *w)
{
	u32 words = w[ATA_ID_SECTOR_WORDS] | (u32)w[ATA_ID_SECTOR_WORDS + 1] << 16;

	if (!word_valid(w[ATA_ID_SECTOR_SIZE]) || !(w[ATA_ID_SECTOR_SIZE] & ATA_ID_SECTOR_LOGICAL))
		return 512;
	return words == 256 || words == 2048 ? 2 * words : 0;
}

static u64 sectors48(const u16 *w)
{
	u64 n = 0;

	for (u32 i = 0; i < 4; i++)
		n |= (u64)w[ATA_ID_SECTORS48 + i] << (16 * i);
	return n;
}

/* Feature words hold 0000h or FFFFh where they do not exist. */
static bool feature(const u16 *w, u32 valid, u32 word, u32 bit)
{
	return word_valid(w[valid]) && w[word] & bit;
}

static void texts(const u16 *w, struct ahci_drv_id *id)
{
	id_text(id->serial, sizeof(id->serial), w + ATA_ID_SERIAL, ATA_ID_SERIAL_WORDS);
	id_text(id->model, sizeof(id->model), w + ATA_ID_MODEL, ATA_ID_MODEL_WORDS);
	id_text(id->firmware, sizeof(id->firmware), w + ATA_ID_FIRMWARE, ATA_ID_FIRMWARE_WORDS);
}

/**
 * ahci_drv_parse_id() - what we need of IDENTIFY DEVICE
 * @words: as the disk gave them; nothing in them is trusted
 * @id:    out
 *
 * The write cache counts as there when it could be: it may come back on with a
 * reset, and flushing a cache that is off costs nothing. FUA is believed only
 * where WRITE DMA FUA EXT is claimed, also for queued writes.
 *
 * Return: 0; -EBADMSG for data that was damaged on its way; -ENODEV for what is
 * no disk; -EACCES for one that is locked by a password; -EOPNOTSUPP for one
 * without 48-bit DMA commands, or a sector size other than 512 and 4096.
 */
int ahci_drv_parse_id(const u16 words[ATA_ID_WORDS], struct ahci_drv_id *id)
{
	const u16 *w = words;

	if (!checksum_ok(w))
		return -EBADMSG;
	if (w[ATA_ID_CONFIG] & ATA_ID_NOT_ATA)
		return err_trace(-ENODEV);
	texts(w, id);
	if (w[ATA_ID_SECURITY] & ATA_ID_SECURITY_LOCKED)
		return err_trace(-EACCES);
	if ((w[ATA_ID_CAPS] & (ATA_ID_CAPS_DMA | ATA_ID_CAPS_LBA)) !=
	    (ATA_ID_CAPS_DMA | ATA_ID_CAPS_LBA) ||
	    !feature(w, ATA_ID_CMDS2, ATA_ID_CMDS2, ATA_ID_CMDS2_LBA48))
		return err_trace(-EOPNOTSUPP);
	id->sectors = sectors48(w);
	id->sector_bytes = sector_bytes(w);
	if (!id->sector_bytes || id->sectors > 1ull << 48)
		return err_trace(-EOPNOTSUPP);
	if (!id->sectors)
		return err_trace(-ENODEV);
	id->write_cache = feature(w, ATA_ID_CMDS2, ATA_ID_CMDS1, ATA_ID_CMDS1_WCACHE);
	id->fua = feature(w, ATA_ID_CMDS3, ATA_ID_CMDS3, ATA_ID_CMDS3_FUA);
	id->log = feature(w, ATA_ID_CMDS3, ATA_ID_CMDS3, ATA_ID_CMDS3_GPL);
	id->trim = w[ATA_ID_DSM] != 0xffff && w[ATA_ID_DSM] & ATA_ID_DSM_TRIM;
	id->depth = 0;
	if (w[ATA_ID_SATA_CAPS] != 0xffff && w[ATA_ID_SATA_CAPS] & ATA_ID_SATA_NCQ)
		id->depth = (w[ATA_ID_QUEUE_DEPTH] & ATA_ID_QUEUE_DEPTH_MASK) + 1;
	return 0;
}

/**
 * ahci_drv_parse_packet_id() - what we need of IDENTIFY PACKET DEVICE: who it is
 * @id: out; only the texts are filled in
 *
 * Return: 0; -EBADMSG for data that was damaged on its way; -ENODEV for what takes
 * no packets of 12 or 16 bytes. Spec: [ACS-3 §7.13]
 */
int ahci_drv_parse_packet_id(const u16 words[ATA_ID_WORDS], struct ahci_drv_id *id)
{
	memset(id, 0, sizeof(*id));
	if (!checksum_ok(words))
		return -EBADMSG;
	if (FIELD_GET(ATAPI_ID_KIND, words[ATA_ID_CONFIG]) != ATAPI_ID_KIND_PACKET ||
	    FIELD_GET(ATAPI_ID_CDB, words[ATA_ID_CONFIG]) > ATAPI_ID_CDB_16)
		return err_trace(-ENODEV);
	texts(words, id);
	return 0;
}

/**
 * ahci_drv_parse_ncq_error() - which queued command failed
 * @log: page 10h as the disk gave it
 * @tag: out, 0..31
 *
 * Return: 0; -EBADMSG when the sum is wrong; -ENOENT when it was none of the queue's.
 */
int ahci_drv_parse_ncq_error(const struct ata_ncq_error *log, u32 *tag)
{
	const u8 *bytes = (const u8 *)log;
	u8 sum = 0;

	for (u32 i = 0; i < sizeof(*log); i++)
		sum = (u8)(sum + bytes[i]);
	if (sum)
		return -EBADMSG;
	if (log->tag & (ATA_NCQ_ERROR_NQ | ATA_NCQ_ERROR_UNL) || !(log->status & ATA_STS_ERR))
		return -ENOENT;
	*tag = log->tag & ATA_NCQ_ERROR_TAG;
	return 0;
}
