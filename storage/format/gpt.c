/*
 * gpt.c - build and recognise our partition table
 *
 * Building is deterministic given 48 random bytes. Recognising is careful in
 * one direction: in doubt a disk is foreign, and foreign disks are not
 * written. A table is believed only if both its checksums are right, it says
 * it stands where we found it, and its numbers stay on the disk.
 */
#include "storage/format/gpt.h"

#include <string.h>

#include "base/crc32c.h"
#include "base/endian.h"
#include "base/err.h"

#define GPT_REVISION 0x00010000u
#define MBR_ENTRY_OFF 446
#define MBR_SIGNATURE_OFF 510
#define MBR_TYPE_PROTECTIVE 0xee
#define MARKER_MAGIC "FRSHCLM1"
#define MARKER_TEXT "Freshet is taking this disk; the claim was not finished.\n"
#define MARKER_CRC_OFF 252 /* CRC-32C of the 252 bytes before it */

const u8 gpt_type_esp[GUID_BYTES] = { 0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
				      0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b };
const u8 gpt_type_store[GUID_BYTES] = { 0x48, 0x53, 0x52, 0x46, 0x54, 0x45, 0x53, 0x46,
					0x64, 0x4f, 0x52, 0x45, 0x31, 0x30, 0x30, 0x31 };

/** gpt_crc32() - CRC-32 of IEEE 802.3; tables are small and rare, so bit by bit */
u32 gpt_crc32(const void *p, size_t n)
{
	const u8 *b = p;
	u32 crc = ~0u;

	while (n--) {
		crc ^= *b++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

/** gpt_is_zero() - nothing but zeroes */
bool gpt_is_zero(const void *p, size_t n)
{
	const u8 *b = p;

	/* All bytes equal their neighbour, and the first is zero. */
	return !n || (!b[0] && !memcmp(b, b + 1, n - 1));
}

/* Random bytes to a version 4 UUID, as stored [RFC 4122 §4.4]. */
static void make_guid(u8 out[GUID_BYTES], const u8 *random)
{
	memcpy(out, random, GUID_BYTES);
	out[7] = (u8)((out[7] & 0x0f) | 0x40);
	out[8] = (u8)((out[8] & 0x3f) | 0x80);
}

/**
 * gpt_plan() - where things go on a disk of this size
 * @l:      out
 * @random: 48 bytes for the GUIDs of disk, ESP and store
 *
 * Return: 0; -ENOSPC under GPT_DISK_MIN_BYTES; -EINVAL for another sector size.
 */
int gpt_plan(struct gpt_layout *l, u64 disk_sectors, u32 sector_bytes, const u8 random[48])
{
	u64 align, tail, end;

	if (sector_bytes != 512 && sector_bytes != 4096)
		return err_trace(-EINVAL);
	if (disk_sectors < GPT_DISK_MIN_BYTES / sector_bytes)
		return err_trace(-ENOSPC);
	memset(l, 0, sizeof(*l));
	l->sector_bytes = sector_bytes;
	l->disk_sectors = disk_sectors;
	align = GPT_ALIGN_BYTES / sector_bytes;
	tail = GPT_TAIL_BYTES(sector_bytes) / sector_bytes;
	end = ALIGN_DOWN(disk_sectors - tail, align);
	make_guid(l->disk_guid, random);
	make_guid(l->esp.guid, random + 16);
	make_guid(l->store.guid, random + 32);
	l->esp.first_lba = align;
	l->esp.sectors = GPT_ESP_BYTES / sector_bytes;
	l->store.first_lba = l->esp.first_lba + l->esp.sectors;
	l->store.sectors = end - l->store.first_lba;
	return 0;
}

static void build_entry(u8 *at, const struct gpt_part *p, const u8 *type, const char *name)
{
	struct gpt_entry_wire *e = (struct gpt_entry_wire *)at;

	if (!p->first_lba)
		return;
	memcpy(e->type, type, GUID_BYTES);
	memcpy(e->guid, p->guid, GUID_BYTES);
	put_le64(e->first_lba, p->first_lba);
	put_le64(e->last_lba, p->first_lba + p->sectors - 1);
	for (size_t i = 0; name[i]; i++)
		put_le16(e->name + 2 * i, (u16)name[i]);
}

static void build_entries(const struct gpt_layout *l, u8 *out)
{
	memset(out, 0, GPT_TABLE_BYTES);
	build_entry(out, &l->esp, gpt_type_esp, "EFI system partition");
	build_entry(out + GPT_ENTRY_BYTES, &l->store, gpt_type_store, "Freshet store");
}

static void build_header(const struct gpt_layout *l, u8 *out, const u8 *entries, u64 my_lba,
			 u64 alternate, u64 entries_lba)
{
	struct gpt_header_wire *h = (struct gpt_header_wire *)out;
	u64 table_sectors = GPT_TABLE_BYTES / l->sector_bytes;

	memset(out, 0, l->sector_bytes);
	memcpy(h->signature, "EFI PART", 8);
	put_le32(h->revision, GPT_REVISION);
	put_le32(h->header_bytes, sizeof(*h));
	put_le64(h->my_lba, my_lba);
	put_le64(h->alternate_lba, alternate);
	put_le64(h->first_usable, 2 + table_sectors);
	put_le64(h->last_usable, l->disk_sectors - 2 - table_sectors);
	memcpy(h->disk_guid, l->disk_guid, GUID_BYTES);
	put_le64(h->entries_lba, entries_lba);
	put_le32(h->entries, GPT_ENTRIES);
	put_le32(h->entry_bytes, GPT_ENTRY_BYTES);
	put_le32(h->entries_crc, gpt_crc32(entries, GPT_TABLE_BYTES));
	put_le32(h->header_crc, gpt_crc32(h, sizeof(*h)));
}

/**
 * gpt_build_head() - protective MBR, primary header, entries
 * @out: GPT_HEAD_BYTES(sector_bytes) for LBA 0 and on
 *
 * Spec: [UEFI 2.10 §5.2.3, §5.3.2]
 */
void gpt_build_head(const struct gpt_layout *l, void *out)
{
	u32 ss = l->sector_bytes;
	u8 *mbr = out, *entries = mbr + 2 * ss, *e = mbr + MBR_ENTRY_OFF;

	memset(mbr, 0, ss);
	e[2] = 2; /* starting CHS 0/0/2 */
	e[4] = MBR_TYPE_PROTECTIVE;
	e[5] = e[6] = e[7] = 0xff;
	put_le32(e + 8, 1);
	put_le32(e + 12, (u32)MIN(l->disk_sectors - 1, 0xffffffffull));
	put_le16(mbr + MBR_SIGNATURE_OFF, 0xaa55);
	build_entries(l, entries);
	build_header(l, mbr + ss, entries, 1, l->disk_sectors - 1, 2);
}

/**
 * gpt_build_tail() - entries, backup header
 * @out: GPT_TAIL_BYTES(sector_bytes) for the last sectors of the disk
 */
void gpt_build_tail(const struct gpt_layout *l, void *out)
{
	u8 *entries = out;
	u64 table_sectors = GPT_TABLE_BYTES / l->sector_bytes;

	build_entries(l, entries);
	build_header(l, entries + GPT_TABLE_BYTES, entries, l->disk_sectors - 1, 1,
		     l->disk_sectors - 1 - table_sectors);
}

/**
 * gpt_build_marker() - one sector for LBA 0 while a claim is going on
 *
 * Readable by people who look at a half-claimed disk.
 */
void gpt_build_marker(void *out, u32 sector_bytes)
{
	u8 *p = out;

	memset(p, 0, sector_bytes);
	memcpy(p, MARKER_MAGIC, 8);
	memcpy(p + 8, MARKER_TEXT, sizeof(MARKER_TEXT) - 1);
	put_le32(p + MARKER_CRC_OFF, crc32c(0, p, MARKER_CRC_OFF));
}

static bool is_marker(const u8 *p, u32 sector_bytes)
{
	return !memcmp(p, MARKER_MAGIC, 8) &&
	       get_le32(p + MARKER_CRC_OFF) == crc32c(0, p, MARKER_CRC_OFF) &&
	       gpt_is_zero(p + MARKER_CRC_OFF + 4, sector_bytes - MARKER_CRC_OFF - 4);
}

/* Exactly one partition of type 0xEE that begins at LBA 1 [UEFI 2.10 §5.2.3]. */
static bool is_protective_mbr(const u8 *p)
{
	u32 used = 0, protective = 0;

	if (get_le16(p + MBR_SIGNATURE_OFF) != 0xaa55)
		return false;
	for (u32 i = 0; i < 4; i++) {
		const u8 *e = p + MBR_ENTRY_OFF + 16 * i;

		used += e[4] != 0;
		protective += e[4] == MBR_TYPE_PROTECTIVE && get_le32(e + 8) == 1;
	}
	return used == 1 && protective == 1;
}

static int take_part(const struct gpt_entry_wire *e, u64 first_usable, u64 last_usable,
		     struct gpt_part *out)
{
	u64 first = get_le64(e->first_lba), last = get_le64(e->last_lba);

	/* Two of a kind: not a table that we wrote. */
	if (out->first_lba || first < first_usable || last > last_usable || first > last)
		return err_trace(-EINVAL);
	memcpy(out->guid, e->guid, GUID_BYTES);
	out->first_lba = first;
	out->sectors = last - first + 1;
	return 0;
}

static bool parts_overlap(const struct gpt_part *a, const struct gpt_part *b)
{
	return a->first_lba < b->first_lba + b->sectors && b->first_lba < a->first_lba + a->sectors;
}

/*
 * One table. @header and @entries were read from where @my_lba and
 * @entries_lba say. 0: intact, l->store.first_lba says whether it has a store.
 */
static int parse_table(const u8 *header, const u8 *entries, u64 my_lba, u64 alternate,
		       u64 entries_lba, struct gpt_layout *l)
{
	struct gpt_header_wire h;
	u64 first_usable, last_usable, table_sectors = GPT_TABLE_BYTES / l->sector_bytes;
	u32 crc;

	memcpy(&h, header, sizeof(h));
	crc = get_le32(h.header_crc);
	put_le32(h.header_crc, 0);
	if (memcmp(h.signature, "EFI PART", 8) || get_le32(h.revision) != GPT_REVISION ||
	    get_le32(h.header_bytes) != sizeof(h) || gpt_crc32(&h, sizeof(h)) != crc)
		return err_trace(-EINVAL);
	if (get_le64(h.my_lba) != my_lba || get_le64(h.alternate_lba) != alternate ||
	    get_le64(h.entries_lba) != entries_lba || get_le32(h.entries) != GPT_ENTRIES ||
	    get_le32(h.entry_bytes) != GPT_ENTRY_BYTES ||
	    get_le32(h.entries_crc) != gpt_crc32(entries, GPT_TABLE_BYTES))
		return err_trace(-EINVAL);
	first_usable = get_le64(h.first_usable);
	last_usable = get_le64(h.last_usable);
	if (first_usable < 2 + table_sectors || last_usable > l->disk_sectors - 2 - table_sectors ||
	    first_usable > last_usable)
		return err_trace(-EINVAL);
	memcpy(l->disk_guid, h.disk_guid, GUID_BYTES);
	for (u32 i = 0; i < GPT_ENTRIES; i++) {
		struct gpt_entry_wire e;
		struct gpt_part *p = NULL;

		memcpy(&e, entries + i * GPT_ENTRY_BYTES, sizeof(e));
		if (!memcmp(e.type, gpt_type_store, GUID_BYTES))
			p = &l->store;
		else if (!memcmp(e.type, gpt_type_esp, GUID_BYTES))
			p = &l->esp;
		if (p && take_part(&e, first_usable, last_usable, p))
			return err_trace(-EINVAL);
	}
	if (l->esp.first_lba && l->store.first_lba && parts_overlap(&l->esp, &l->store))
		return err_trace(-EINVAL);
	return 0;
}

/**
 * gpt_classify() - whose disk is this?
 * @head: first @head_bytes of the disk, at least GPT_HEAD_BYTES(@sector_bytes)
 * @tail: last @tail_bytes of the disk, at least GPT_TAIL_BYTES(@sector_bytes)
 * @out:  filled when the answer is GPT_DISK_OURS
 *
 * The backup table counts only when the primary one is damaged: an intact
 * primary table without a store means that somebody repartitioned the disk.
 */
enum gpt_disk gpt_classify(const void *head, size_t head_bytes, const void *tail,
			   size_t tail_bytes, u32 sector_bytes, u64 disk_sectors,
			   struct gpt_layout *out)
{
	const u8 *h = head, *t = (const u8 *)tail + tail_bytes - GPT_TAIL_BYTES(sector_bytes);
	u64 table_sectors = GPT_TABLE_BYTES / sector_bytes;
	struct gpt_layout l;
	int err;

	if (disk_sectors < GPT_DISK_MIN_BYTES / sector_bytes / 2)
		return GPT_DISK_FOREIGN;
	if (is_marker(h, sector_bytes))
		return GPT_DISK_CLAIMING;
	if (gpt_is_zero(head, head_bytes) && gpt_is_zero(tail, tail_bytes))
		return GPT_DISK_BLANK;
	if (!is_protective_mbr(h))
		return GPT_DISK_FOREIGN;
	memset(&l, 0, sizeof(l));
	l.sector_bytes = sector_bytes;
	l.disk_sectors = disk_sectors;
	err = parse_table(h + sector_bytes, h + 2 * sector_bytes, 1, disk_sectors - 1, 2, &l);
	if (err) {
		memset(&l, 0, sizeof(l));
		l.sector_bytes = sector_bytes;
		l.disk_sectors = disk_sectors;
		err = parse_table(t + GPT_TABLE_BYTES, t, disk_sectors - 1, 1,
				  disk_sectors - 1 - table_sectors, &l);
	}
	if (err || !l.store.first_lba)
		return GPT_DISK_FOREIGN;
	*out = l;
	return GPT_DISK_OURS;
}
