/*
 * reader.c - the bytes of a version, from anywhere in it; and its partitions
 *
 * Chunks are checked against their digests as they are read. A few decoded ones
 * are kept, the least recently used goes.
 */
#include "images/reader.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"

/** reader_init() - begin; needs no memory yet */
void reader_init(struct reader *r, const struct datadir *d, const struct version *v)
{
	memset(r, 0, sizeof(*r));
	r->d = d;
	r->v = v;
}

/** reader_fini() - drop what is kept */
void reader_fini(struct reader *r)
{
	for (u32 i = 0; i < READER_SLOTS; i++)
		free(r->slots[i].plain);
	memset(r->slots, 0, sizeof(r->slots));
}

static int load(struct reader *r, u64 chunk, u8 **out)
{
	u32 oldest = 0, want = manifest_chunk_plain_bytes(&r->v->m, chunk);
	int n;

	r->clock++;
	for (u32 i = 0; i < READER_SLOTS; i++) {
		if (r->slots[i].used && r->slots[i].chunk == chunk) {
			r->slots[i].used = r->clock;
			*out = r->slots[i].plain;
			return 0;
		}
		if (r->slots[i].used < r->slots[oldest].used)
			oldest = i;
	}
	if (!r->slots[oldest].plain)
		r->slots[oldest].plain = malloc(r->v->m.chunk_bytes);
	if (!r->slots[oldest].plain)
		return -ENOMEM;
	r->slots[oldest].used = 0;
	n = object_read(r->d, r->v->digests + chunk * SHA256_BYTES, r->slots[oldest].plain,
			r->v->m.chunk_bytes);
	if (n < 0)
		return n;
	if ((u32)n != want)
		return -EBADMSG;
	r->slots[oldest].chunk = chunk;
	r->slots[oldest].used = r->clock;
	*out = r->slots[oldest].plain;
	return 0;
}

/** reader_read() - @bytes from @off; 0; -EINVAL beyond the end; -ENOENT, -EBADMSG of an object */
int reader_read(struct reader *r, u64 off, u8 *out, size_t bytes)
{
	const struct manifest *m = &r->v->m;

	if (off > m->image_bytes || bytes > m->image_bytes - off)
		return -EINVAL;
	while (bytes) {
		u64 chunk = off / m->chunk_bytes;
		u32 at = (u32)(off % m->chunk_bytes);
		size_t n = MIN(bytes, (size_t)(m->chunk_bytes - at));
		u8 *plain;
		int err;

		if (manifest_digest_is_zero(r->v->digests + chunk * SHA256_BYTES)) {
			memset(out, 0, n);
		} else {
			err = load(r, chunk, &plain);
			if (err)
				return err;
			memcpy(out, plain + at, n);
		}
		out += n;
		off += n;
		bytes -= n;
	}
	return 0;
}

/* ---------------------------------------------------------------- partitions */

static const struct {
	const char *name, *magic;
	u32 bytes, offset;
} file_systems[] = {
	{ "ext4", "\x53\xef", 2, 1080 },	{ "ntfs", "NTFS    ", 8, 3 },
	{ "fat32", "FAT32   ", 8, 82 },		{ "fat16", "FAT16   ", 8, 54 },
	{ "xfs", "XFSB", 4, 0 },		{ "btrfs", "_BHRfS_M", 8, 65600 },
	{ "exfat", "EXFAT   ", 8, 3 },		{ "swap", "SWAPSPACE2", 10, 4086 },
	{ "bitlocker", "-FVE-FS-", 8, 3 },	{ "luks", "LUKS\xba\xbe", 6, 0 },
};

static const char *find_fs(struct reader *r, u64 start)
{
	u8 head[16];

	for (size_t i = 0; i < ARRAY_SIZE(file_systems); i++)
		if (!reader_read(r, start + file_systems[i].offset, head, file_systems[i].bytes) &&
		    !memcmp(head, file_systems[i].magic, file_systems[i].bytes))
			return file_systems[i].name;
	return "";
}

/*
 * The disk's content is somebody's, so every number of it is checked. Entries are
 * read one by one: [UEFI 2.10 §5.3.2, §5.3.3].
 */
static void take_entry(struct reader *r, u32 sector, const u8 *e, struct partition *out,
		       u32 *count)
{
	u64 first = get_le64(e + 32), last = get_le64(e + 40);
	u64 sectors = r->v->m.image_bytes / sector;
	struct partition *p = &out[*count];
	static const u8 none[16];

	if (!memcmp(e, none, 16) || first > last || last >= sectors || *count == PARTITIONS_MAX)
		return;
	memset(p, 0, sizeof(*p));
	p->start = first * sector;
	p->bytes = (last - first + 1) * sector;
	for (int i = 0; i < 36 && get_le16(e + 56 + 2 * i); i++) {
		u16 c = get_le16(e + 56 + 2 * i);

		p->name[i] = c >= 0x20 && c < 0x7f ? (char)c : '?';
	}
	p->fs = find_fs(r, p->start);
	++*count;
}

/** partitions_read() - the GPT's partitions in the order of the table; 0, or -ENOENT without GPT */
int partitions_read(struct reader *r, u32 sector, struct partition *out, u32 *count)
{
	u8 head[92], entry[128];
	u32 n, size;
	u64 at;

	*count = 0;
	if (reader_read(r, sector, head, sizeof(head)) || memcmp(head, "EFI PART", 8))
		return -ENOENT;
	at = get_le64(head + 72);
	n = MIN(get_le32(head + 80), (u32)PARTITIONS_MAX);
	size = get_le32(head + 84);
	if (at > r->v->m.image_bytes / sector || size < 128 || size > 4096)
		return -ENOENT;
	for (u32 i = 0; i < n; i++) {
		if (reader_read(r, at * sector + (u64)i * size, entry, sizeof(entry)))
			break;
		take_entry(r, sector, entry, out, count);
	}
	return 0;
}
