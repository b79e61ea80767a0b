/*
 * gpt_classify() on a table of ours with bytes changed and, by choice,
 * checksums repaired: whatever it calls ours lies on the disk, clear of the tables.
 */
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "base/endian.h"
#include "storage/format/gpt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_part(const struct gpt_part *p, u32 ss, u64 sectors)
{
	if (!p->first_lba)
		return;
	assert(p->first_lba >= GPT_HEAD_BYTES(ss) / ss && p->sectors && p->sectors < sectors);
	assert(p->first_lba + p->sectors <= sectors - GPT_TAIL_BYTES(ss) / ss);
}

static void repair(u8 *header, const u8 *entries)
{
	put_le32(header + 88, gpt_crc32(entries, GPT_TABLE_BYTES));
	put_le32(header + 16, 0);
	put_le32(header + 16, gpt_crc32(header, 92));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static u8 head[GPT_HEAD_BYTES_MAX], tail[GPT_TAIL_BYTES_MAX];
	struct gpt_layout l, got;
	u8 random[48] = { 0 };
	u64 sectors;
	u32 ss;

	if (n < 1)
		return 0;
	ss = data[0] & 1 ? 4096 : 512;
	sectors = (512 * MIB) / ss;
	assert(!gpt_plan(&l, sectors, ss, random));
	gpt_build_head(&l, head);
	gpt_build_tail(&l, tail);
	/* Triples: where (two bytes), what. */
	for (size_t i = 1; i + 2 < n; i += 3) {
		u32 at = get_le16(data + i);

		if (at & 0x8000)
			tail[(at & 0x7fff) % GPT_TAIL_BYTES(ss)] = data[i + 2];
		else
			head[at % GPT_HEAD_BYTES(ss)] = data[i + 2];
	}
	if (data[0] & 2) {
		repair(head + ss, head + 2 * ss);
		repair(tail + GPT_TABLE_BYTES, tail);
	}
	if (gpt_classify(head, GPT_HEAD_BYTES(ss), tail, GPT_TAIL_BYTES(ss), ss, sectors, &got) !=
	    GPT_DISK_OURS)
		return 0;
	assert(got.store.first_lba);
	check_part(&got.store, ss, sectors);
	check_part(&got.esp, ss, sectors);
	return 0;
}
