/*
 * gpt.h - the partition table that Freshet writes, and telling whose disk this is
 *
 * [UEFI 2.10 §5.3]. Two partitions: an ESP of 64 MiB at 1 MiB, and the store,
 * the rest, both ends aligned to 1 MiB. docs/formats/gpt-layout.md.
 *
 * A disk becomes ours in one sector write. A claim begins by writing a marker
 * to LBA 0 (from then on the disk is "claiming": it was ours to take, nothing
 * on it counts) and ends by replacing it with the protective MBR, after both
 * tables, the ESP and the store are durable. Logical blocks are written whole
 * or not at all over a power cut [NVMe 1.4 §6.4, AWUPF].
 *
 * No I/O here: callers read and write the two ends of the disk.
 */
#ifndef STORAGE_FORMAT_GPT_H
#define STORAGE_FORMAT_GPT_H

#include "base/assert.h"
#include "base/types.h"
#include "storage/format/guid.h"

#define GPT_ENTRIES 128
#define GPT_ENTRY_BYTES 128
#define GPT_TABLE_BYTES (GPT_ENTRIES * GPT_ENTRY_BYTES)
#define GPT_ESP_BYTES (64 * MIB)
#define GPT_ALIGN_BYTES (1 * MIB)
/* Smaller than this a disk is refused: the store would be of no use. */
#define GPT_DISK_MIN_BYTES (256 * MIB)

/* Protective MBR, header, entries: a whole number of sectors of either size. */
#define GPT_HEAD_BYTES(ss) (2 * (ss) + GPT_TABLE_BYTES)
/* Entries, header: the last sectors of the disk. */
#define GPT_TAIL_BYTES(ss) (GPT_TABLE_BYTES + (ss))
#define GPT_HEAD_BYTES_MAX GPT_HEAD_BYTES(4096)
#define GPT_TAIL_BYTES_MAX GPT_TAIL_BYTES(4096)

extern const u8 gpt_type_esp[GUID_BYTES];
extern const u8 gpt_type_store[GUID_BYTES]; /* 46525348-4554-4653-644f-524531303031 */

struct gpt_header_wire {
	u8 signature[8]; /* "EFI PART" */
	u8 revision[4];
	u8 header_bytes[4];
	u8 header_crc[4];
	u8 reserved[4];
	u8 my_lba[8];
	u8 alternate_lba[8];
	u8 first_usable[8];
	u8 last_usable[8];
	u8 disk_guid[16];
	u8 entries_lba[8];
	u8 entries[4];
	u8 entry_bytes[4];
	u8 entries_crc[4];
};

static_assert(sizeof(struct gpt_header_wire) == 92, "gpt_header_wire");
static_assert(offsetof(struct gpt_header_wire, header_crc) == 16, "header_crc");
static_assert(offsetof(struct gpt_header_wire, my_lba) == 24, "my_lba");
static_assert(offsetof(struct gpt_header_wire, alternate_lba) == 32, "alternate_lba");
static_assert(offsetof(struct gpt_header_wire, first_usable) == 40, "first_usable");
static_assert(offsetof(struct gpt_header_wire, last_usable) == 48, "last_usable");
static_assert(offsetof(struct gpt_header_wire, disk_guid) == 56, "disk_guid");
static_assert(offsetof(struct gpt_header_wire, entries_lba) == 72, "entries_lba");
static_assert(offsetof(struct gpt_header_wire, entries) == 80, "entries");
static_assert(offsetof(struct gpt_header_wire, entry_bytes) == 84, "entry_bytes");
static_assert(offsetof(struct gpt_header_wire, entries_crc) == 88, "entries_crc");

struct gpt_entry_wire {
	u8 type[16];
	u8 guid[16];
	u8 first_lba[8];
	u8 last_lba[8]; /* inclusive */
	u8 attributes[8];
	u8 name[72]; /* UTF-16LE */
};

static_assert(sizeof(struct gpt_entry_wire) == GPT_ENTRY_BYTES, "gpt_entry_wire");
static_assert(offsetof(struct gpt_entry_wire, guid) == 16, "guid");
static_assert(offsetof(struct gpt_entry_wire, first_lba) == 32, "first_lba");
static_assert(offsetof(struct gpt_entry_wire, last_lba) == 40, "last_lba");
static_assert(offsetof(struct gpt_entry_wire, attributes) == 48, "attributes");
static_assert(offsetof(struct gpt_entry_wire, name) == 56, "name");

struct gpt_part {
	u8 guid[GUID_BYTES];
	u64 first_lba; /* 0: there is none */
	u64 sectors;
};

/* Our two partitions on a disk. */
struct gpt_layout {
	u32 sector_bytes;
	u64 disk_sectors;
	u8 disk_guid[GUID_BYTES];
	struct gpt_part esp, store;
};

enum gpt_disk {
	GPT_DISK_BLANK, /* the ends are zero; the caller samples the middle */
	GPT_DISK_CLAIMING, /* a claim of ours was interrupted; free to take again */
	GPT_DISK_OURS,
	GPT_DISK_FOREIGN,
};

/**
 * gpt_plan() - where things go on a disk of this size
 * @random: 48 bytes: the GUIDs of disk, ESP and store are made of them
 *
 * Return: 0; -ENOSPC under GPT_DISK_MIN_BYTES; -EINVAL for a sector size not 512 or 4096.
 */
int gpt_plan(struct gpt_layout *l, u64 disk_sectors, u32 sector_bytes, const u8 random[48]);

/** gpt_build_head() - GPT_HEAD_BYTES for LBA 0 and on */
void gpt_build_head(const struct gpt_layout *l, void *out);
/** gpt_build_tail() - GPT_TAIL_BYTES for the last sectors */
void gpt_build_tail(const struct gpt_layout *l, void *out);
/** gpt_build_marker() - one sector for LBA 0 while a claim is going on */
void gpt_build_marker(void *out, u32 sector_bytes);

/**
 * gpt_classify() - whose disk is this?
 * @head: first @head_bytes of the disk, at least GPT_HEAD_BYTES(sector_bytes)
 * @tail: last @tail_bytes of the disk, at least GPT_TAIL_BYTES(sector_bytes)
 * @out:  filled when the answer is GPT_DISK_OURS
 *
 * Ours: LBA 0 is a protective MBR, and the primary table, or the backup one
 * when the primary is damaged, has a store partition of sane bounds. Anything
 * that is not zero and not understood is foreign.
 */
enum gpt_disk gpt_classify(const void *head, size_t head_bytes, const void *tail,
			   size_t tail_bytes, u32 sector_bytes, u64 disk_sectors,
			   struct gpt_layout *out);

/** gpt_is_zero() - nothing but zeroes */
bool gpt_is_zero(const void *p, size_t n);

/** gpt_crc32() - CRC-32 of IEEE 802.3, as GPT wants it */
u32 gpt_crc32(const void *p, size_t n);

#endif
