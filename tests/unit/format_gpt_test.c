/* storage/format/gpt: what it builds it recognises; damage makes a disk foreign. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/endian.h"
#include "base/err.h"
#include "storage/format/gpt.h"

#define DISK_BYTES (1 * GIB)

static u8 head[GPT_HEAD_BYTES_MAX], tail[GPT_TAIL_BYTES_MAX];
static u32 ss;
static struct gpt_layout layout;

static void make(u32 sector_bytes)
{
	u8 random[48];

	ss = sector_bytes;
	for (size_t i = 0; i < sizeof(random); i++)
		random[i] = (u8)(i * 5 + 1);
	assert_int_equal(gpt_plan(&layout, DISK_BYTES / ss, ss, random), 0);
	gpt_build_head(&layout, head);
	gpt_build_tail(&layout, tail);
}

static enum gpt_disk classify(struct gpt_layout *out)
{
	return gpt_classify(head, GPT_HEAD_BYTES(ss), tail, GPT_TAIL_BYTES(ss), ss,
			    DISK_BYTES / ss, out);
}

static void crc_is_zlibs(void **state)
{
	(void)state;
	assert_true(gpt_crc32("123456789", 9) == 0xcbf43926u);
	assert_true(gpt_crc32(head, 1000) == crc32(0, head, 1000));
	assert_true(gpt_crc32("", 0) == 0);
}

static void store_type_is_the_documents(void **state)
{
	char text[GUID_TEXT_BYTES];

	(void)state;
	assert_string_equal(guid_format(text, gpt_type_store),
			    "46525348-4554-4653-644f-524531303031");
	assert_string_equal(guid_format(text, gpt_type_esp),
			    "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
}

static void layout_and_round_trip(void **state)
{
	(void)state;
	for (u32 s = 512; s <= 4096; s *= 8) {
		struct gpt_layout got;
		u64 mib = MIB / s;

		make(s);
		assert_true(layout.esp.first_lba == mib);
		assert_true(layout.esp.sectors == 64 * mib);
		assert_true(layout.store.first_lba == 65 * mib);
		assert_true(layout.store.sectors == (1024 - 65 - 1) * mib);
		assert_int_equal(classify(&got), GPT_DISK_OURS);
		assert_memory_equal(&got, &layout, sizeof(got));
	}
}

/* Read with offsets from the specification, not with our structures. */
static void headers_follow_the_specification(void **state)
{
	const u8 *h, *b;
	u8 copy[92];

	(void)state;
	make(512);
	assert_int_equal(head[446 + 4], 0xee);
	assert_int_equal(get_le32(head + 446 + 8), 1);
	assert_int_equal(get_le32(head + 446 + 12), DISK_BYTES / 512 - 1);
	assert_int_equal(get_le16(head + 510), 0xaa55);
	h = head + 512;
	b = tail + GPT_TABLE_BYTES;
	assert_memory_equal(h, "EFI PART\0\0\1\0\x5c\0\0\0", 16);
	memcpy(copy, h, 92);
	put_le32(copy + 16, 0);
	assert_true(get_le32(h + 16) == crc32(0, copy, 92));
	assert_true(get_le64(h + 24) == 1 && get_le64(b + 24) == DISK_BYTES / 512 - 1);
	assert_true(get_le64(h + 32) == DISK_BYTES / 512 - 1 && get_le64(b + 32) == 1);
	assert_true(get_le64(h + 40) == 34 && get_le64(b + 40) == 34);
	assert_true(get_le64(h + 48) == DISK_BYTES / 512 - 34);
	assert_true(get_le64(h + 72) == 2 && get_le64(b + 72) == DISK_BYTES / 512 - 33);
	assert_true(get_le32(h + 88) == crc32(0, head + 1024, 16384));
	assert_memory_equal(head + 1024, tail, GPT_TABLE_BYTES);
	assert_int_equal(head[1024 + 56], 'E');
}

static void sizes(void **state)
{
	u8 random[48] = { 0 };
	struct gpt_layout l;

	(void)state;
	assert_int_equal(gpt_plan(&l, GPT_DISK_MIN_BYTES / 512 - 1, 512, random), -ENOSPC);
	assert_int_equal(gpt_plan(&l, GPT_DISK_MIN_BYTES / 512, 512, random), 0);
	assert_int_equal(gpt_plan(&l, 1 << 30, 520, random), -EINVAL);
	/* An odd number of sectors: the end is cut to 1 MiB. */
	assert_int_equal(gpt_plan(&l, 2097152 + 1000, 512, random), 0);
	assert_true((l.store.first_lba + l.store.sectors) % 2048 == 0);
	assert_true(l.store.first_lba + l.store.sectors <= 2097152 + 1000 - 33);
	/* 4 TiB: the protective MBR saturates. */
	assert_int_equal(gpt_plan(&l, 1ull << 33, 512, random), 0);
	gpt_build_head(&l, head);
	assert_true(get_le32(head + 446 + 12) == 0xffffffffu);
}

static void blank_and_claiming(void **state)
{
	struct gpt_layout got;

	(void)state;
	make(512);
	memset(head, 0, sizeof(head));
	assert_int_equal(classify(&got), GPT_DISK_FOREIGN); /* a backup table without an MBR */
	memset(tail, 0, sizeof(tail));
	assert_int_equal(classify(&got), GPT_DISK_BLANK);
	tail[GPT_TAIL_BYTES(ss) - 1] = 1;
	assert_int_equal(classify(&got), GPT_DISK_FOREIGN);
	gpt_build_marker(head, ss);
	assert_int_equal(classify(&got), GPT_DISK_CLAIMING);
	/* During a claim the tables are there already; the marker decides. */
	make(512);
	gpt_build_marker(head, ss);
	assert_int_equal(classify(&got), GPT_DISK_CLAIMING);
	for (u32 i = 0; i < ss; i += 3) {
		head[i] ^= 4;
		assert_int_equal(classify(&got), GPT_DISK_FOREIGN);
		head[i] ^= 4;
	}
}

static void one_damaged_table_is_survived(void **state)
{
	struct gpt_layout got;

	(void)state;
	make(512);
	memset(head + 512, 0, sizeof(head) - 512);
	assert_int_equal(classify(&got), GPT_DISK_OURS);
	assert_memory_equal(&got, &layout, sizeof(got));
	make(512);
	memset(tail, 0xff, sizeof(tail));
	assert_int_equal(classify(&got), GPT_DISK_OURS);
	memset(head + 1024, 0xff, 128);
	assert_int_equal(classify(&got), GPT_DISK_FOREIGN);
}

static void fix_crcs(u8 *header, u8 *entries)
{
	put_le32(header + 88, gpt_crc32(entries, GPT_TABLE_BYTES));
	put_le32(header + 16, 0);
	put_le32(header + 16, gpt_crc32(header, 92));
}

#define FOREIGN(change)                                                        \
	do {                                                                   \
		make(512);                                                     \
		memset(tail, 0, sizeof(tail));                                 \
		change;                                                        \
		fix_crcs(head + 512, head + 1024);                             \
		assert_int_equal(classify(&got), GPT_DISK_FOREIGN);            \
	} while (0)

static void others_tables_are_foreign(void **state)
{
	struct gpt_layout got;
	u8 *e = head + 1024, *h = head + 512;

	(void)state;
	FOREIGN(memset(head, 0, 512));
	FOREIGN(head[446 + 16 + 4] = 7); /* hybrid MBR */
	FOREIGN(head[446 + 4] = 7);
	FOREIGN(head[510] = 0);
	FOREIGN(e[128] ^= 1); /* not our type */
	FOREIGN(memset(e + 128, 0, 128));
	FOREIGN(memcpy(e + 256, e + 128, 128)); /* two stores */
	FOREIGN(put_le64(e + 128 + 32, 3)); /* inside the table */
	FOREIGN(put_le64(e + 128 + 32, 2048)); /* over the ESP */
	FOREIGN(put_le64(e + 128 + 40, DISK_BYTES / 512)); /* beyond the end */
	FOREIGN(put_le64(e + 128 + 40, 5)); /* ends before it begins */
	FOREIGN(put_le64(e + 128 + 40, ~0ull));
	FOREIGN(put_le64(h + 24, 2));
	FOREIGN(put_le64(h + 32, 77)); /* was made for a disk of another size */
	FOREIGN(put_le64(h + 40, 1));
	FOREIGN(put_le64(h + 48, ~0ull));
	FOREIGN(put_le64(h + 72, 3));
	FOREIGN(put_le32(h + 80, 127));
	FOREIGN(put_le32(h + 84, 256));
	make(512);
	memset(tail, 0, sizeof(tail));
	e[0x300] ^= 1; /* checksums not repaired */
	assert_int_equal(classify(&got), GPT_DISK_FOREIGN);
}

/* Somebody repartitioned; the old backup table must not bring our store back. */
static void intact_primary_without_store_wins(void **state)
{
	struct gpt_layout got;

	(void)state;
	make(512);
	memset(head + 1024 + 128, 0, 128);
	fix_crcs(head + 512, head + 1024);
	assert_int_equal(classify(&got), GPT_DISK_FOREIGN);
}

static void tiny_disks(void **state)
{
	struct gpt_layout got;

	(void)state;
	make(512);
	for (u64 sectors = 0; sectors < 100; sectors++)
		assert_int_equal(gpt_classify(head, GPT_HEAD_BYTES(512), tail, GPT_TAIL_BYTES(512),
					      512, sectors, &got),
				 GPT_DISK_FOREIGN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc_is_zlibs),
		cmocka_unit_test(store_type_is_the_documents),
		cmocka_unit_test(layout_and_round_trip),
		cmocka_unit_test(headers_follow_the_specification),
		cmocka_unit_test(sizes),
		cmocka_unit_test(blank_and_claiming),
		cmocka_unit_test(one_damaged_table_is_survived),
		cmocka_unit_test(others_tables_are_foreign),
		cmocka_unit_test(intact_primary_without_store_wins),
		cmocka_unit_test(tiny_disks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
