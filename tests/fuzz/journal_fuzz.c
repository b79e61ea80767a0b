/*
 * Superblock, journal block, records: whatever the bytes, no more than an
 * error; and what parses builds the same bytes again.
 */
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/endian.h"
#include "base/types.h"
#include "storage/format/journal.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void super(const u8 *data, size_t size)
{
	u8 block[4096] = { 0 }, again[4096];
	struct super sb;

	memcpy(block, data, MIN(size, sizeof(block)));
	memcpy(block, SUPER_MAGIC, 8);
	memset(block + 88, 0, 4000);
	put_le32(block + 4092, crc32c(0, block, 4092));
	if (super_parse(block, &sb))
		return;
	check((u64)sb.slots * sb.chunk_bytes + sb.slots_off <= sb.region_bytes);
	check(sb.half_off[0] + sb.half_bytes <= sb.half_off[1]);
	super_build(&sb, again);
	check(!memcmp(block, again, 4096));
}

static void records(const u8 *data, size_t size)
{
	u32 at = 0;

	while (at < size) {
		struct record r;
		u8 again[4096];
		int n = record_get(data + at, (u32)(size - at), &r);

		if (n < 0)
			return;
		check(n > 0 && at + (u32)n <= size);
		if (r.type == REC_ROOT && r.root.bytes > 3000)
			return;
		check(record_put(again, sizeof(again), &r) == (u32)n);
		at += (u32)n;
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	u8 block[4096] = { 0 };
	struct journal_head h;
	u32 crc;

	super(data, size);
	records(data, MIN(size, (size_t)JOURNAL_ROOM));
	memcpy(block, data, MIN(size, sizeof(block)));
	if (!journal_open_block(block, &h, &crc))
		check(h.bytes <= JOURNAL_ROOM);
	return 0;
}
