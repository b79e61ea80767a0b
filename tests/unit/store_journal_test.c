/*
 * Superblocks, journal blocks and records; and what open makes of damage.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/endian.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "storage/core/store_priv.h"
#include "tests/fakes/rig.h"

static u64 seed_of(const struct image_fake *im, u64 chunk)
{
	(void)im;
	return chunk + 1;
}

static const struct image_fake im = {
	.version = 1, .image_bytes = 60 * 65536, .chunk_bytes = 65536, .sector_bytes = 512,
	.seed = seed_of,
};

static void layout_fits(void **state)
{
	static const u64 sizes[] = { 4 * MIB, 5 * MIB + 4096, 64 * MIB, 3 * GIB + 12288, 64 * GIB,
				     900 * GIB, 20000 * GIB };

	(void)state;
	for (u32 chunk = 65536; chunk <= 1 << 20; chunk *= 2) {
		for (u32 i = 0; i < ARRAY_SIZE(sizes); i++) {
			struct super a, b;
			u8 block[4096];
			int err = super_layout(&a, sizes[i], chunk);

			if (err) {
				assert_int_equal(err, -ENOSPC);
				assert_true(sizes[i] < store_min_bytes(chunk));
				continue;
			}
			a.generation = 7;
			a.nonce = 9;
			super_build(&a, block);
			assert_int_equal(super_parse(block, &b), 0);
			assert_int_equal(a.slots, b.slots);
			assert_int_equal(a.half_off[1], b.half_off[1]);
			/* metadata takes less than a twentieth of what is not tiny */
			if (sizes[i] >= 3 * GIB && a.slots < SUPER_SLOTS_MAX)
				assert_true((u64)a.slots * chunk > sizes[i] / 100 * 95);
		}
	}
	struct super a;

	assert_int_equal(super_layout(&a, GIB, 4096), -EINVAL);
	assert_int_equal(super_layout(&a, GIB, 65536 * 3), -EINVAL);
}

static void reseal(u8 *block)
{
	put_le32(block + 4092, crc32c(0, block, 4092));
}

static void superblock_lies(void **state)
{
	struct super a, b;
	u8 good[4096], bad[4096];

	(void)state;
	assert_int_equal(super_layout(&a, GIB, 65536), 0);
	a.generation = a.nonce = 1;
	super_build(&a, good);
	for (u32 i = 0; i < 4096; i += 7) {
		memcpy(bad, good, 4096);
		bad[i] ^= 0x10;
		assert_int_equal(super_parse(bad, &b), -ENODATA);
	}
	memcpy(bad, good, 4096);
	put_le32(bad + 8, 2);
	reseal(bad);
	assert_int_equal(super_parse(bad, &b), -EPROTO);
	/* any number that leads outside, with a right CRC */
	for (u32 off = 32; off < 88; off += 4) {
		memcpy(bad, good, 4096);
		put_le32(bad + off, 0xfffff123);
		reseal(bad);
		if (off != 32) /* a larger region contradicts nothing in here */
			assert_int_equal(super_parse(bad, &b), -EBADMSG);
	}
}

static void records_round_trip(void **state)
{
	u8 buf[4096], data[REC_ROOT_DATA_MAX];
	struct record in[6], out;
	u32 at = 0;

	(void)state;
	memset(in, 0, sizeof(in));
	memset(data, 0x77, sizeof(data));
	in[0].type = REC_META;
	in[0].meta.policy = 2;
	in[0].meta.serial = 1ull << 40;
	in[0].meta.image_bytes = 1ull << 41;
	in[0].meta.chunk_bytes = 65536;
	in[0].meta.sector_bytes = 512;
	in[0].meta.root_bytes = 999;
	memset(in[0].meta.next, 3, 32);
	strcpy(in[0].meta.image, "debian");
	in[1].type = REC_ROOT;
	in[1].root.offset = 2048;
	in[1].root.bytes = 333;
	in[1].root.data = data;
	in[2].type = REC_MAP;
	in[2].map.first = 1;
	in[2].map.slot = SLOT_ZERO;
	in[2].map.count = 100;
	in[3].type = REC_OVL;
	in[3].ovl.chunk = 5;
	in[3].ovl.slot = 6;
	in[3].ovl.bits_bytes = 32;
	memset(in[3].ovl.valid, 0xaa, 32);
	memset(in[3].ovl.zero, 0x55, 32);
	in[4] = in[3];
	in[4].ovl.bits_bytes = 2;
	memset(in[4].ovl.valid + 2, 0, 30);
	memset(in[4].ovl.zero + 2, 0, 30);
	in[5].type = REC_END;
	for (u32 i = 0; i < 6; i++) {
		u32 n = record_put(buf + at, 4096 - at, &in[i]);

		assert_true(n);
		assert_int_equal(record_put(buf + at, n - 1, &in[i]), 0);
		at += n;
	}
	for (u32 i = 0, pos = 0; i < 6; i++) {
		memset(&out, 0, sizeof(out));
		int n = record_get(buf + pos, at - pos, &out);

		assert_true(n > 0);
		for (int cut = 0; cut < n; cut++)
			assert_int_equal(record_get(buf + pos, (u32)cut, &out), -EBADMSG);
		memset(&out, 0, sizeof(out));
		record_get(buf + pos, at - pos, &out);
		if (out.type == REC_ROOT) {
			assert_int_equal(out.root.bytes, 333);
			assert_memory_equal(out.root.data, data, 333);
		} else {
			assert_memory_equal(&out, &in[i], sizeof(out));
		}
		pos += (u32)n;
	}
}

static void blocks_are_sealed(void **state)
{
	struct journal_head h = { .nonce = 1, .generation = 2, .seq = 9, .append_seq = 8,
				  .prev_crc = 77, .bytes = 4 }, got;
	u8 block[4096] = { 0 };
	u32 crc, sum;

	(void)state;
	crc = journal_seal(block, &h);
	assert_int_equal(journal_open_block(block, &got, &sum), 0);
	assert_int_equal(sum, crc);
	assert_memory_equal(&got, &h, sizeof(h));
	for (u32 i = 0; i < 4096; i++) {
		block[i] ^= 1;
		assert_int_equal(journal_open_block(block, &got, &sum), -EBADMSG);
		block[i] ^= 1;
	}
}

/* ---------------------------------------------------------------- open */

static struct rig *used(u32 appends)
{
	struct rig *g = rig_create(3, &im, 24 * MIB, 512);

	rig_format(g);
	assert_int_equal(rig_open(g), 0);
	for (u32 i = 0; i < appends; i++) {
		assert_int_equal(rig_io(g, BLK_WRITE, i % 50 * 128 + i / 50 * 8, 8, false), 0);
		assert_int_equal(rig_io(g, BLK_FLUSH, 0, 0, false), 0);
	}
	return g;
}

static u64 half_at(struct rig *g, u32 block)
{
	return g->store_lba * 512 + g->store->pos.off + (u64)block * 4096;
}

static void either_superblock_will_do(void **state)
{
	(void)state;
	for (u32 copy = 0; copy < 2; copy++) {
		struct rig *g = used(5);

		rig_crash(g);
		disk_fake_rot(g->dev, g->store_lba * 512 + copy * 4096 + 100, 1);
		assert_int_equal(rig_open(g), 0);
		rig_check_all(g, false);
		/* and both are there again after the next checkpoint */
		g->serial = 5;
		rig_crash(g);
		assert_int_equal(rig_open(g), 0);
		rig_crash(g);
		disk_fake_rot(g->dev, g->store_lba * 512 + (1 - copy) * 4096 + 100, 1);
		assert_int_equal(rig_open(g), 0);
		rig_check_all(g, false);
		rig_crash(g);
		disk_fake_rot(g->dev, g->store_lba * 512 + 102, 1);
		disk_fake_rot(g->dev, g->store_lba * 512 + 4096 + 102, 1);
		assert_int_equal(rig_open(g), -EBADMSG);
		rig_destroy(g);
	}
}

static void one_superblock_unreadable(void **state)
{
	(void)state;
	for (u32 copy = 0; copy < 2; copy++) {
		struct rig *g = used(5);

		rig_crash(g);
		g->dev->bad_from = g->store_lba + copy * 8;
		g->dev->bad_to = g->dev->bad_from + 8;
		assert_int_equal(rig_open(g), 0);
		rig_check_all(g, false);
		rig_destroy(g);
	}
}

/* Wherever a format stops, there is the old store, no store, or the new one. */
static void format_interrupted(void **state)
{
	(void)state;
	for (u32 cut = 1; cut <= 6; cut++) {
		for (u32 seed = 0; seed < 8; seed++) {
			struct rig *g = used(5 + seed);
			int err;

			rig_crash(g);
			g->dev->dead_after = cut;
			rig_try_format(g);
			rig_crash(g);
			err = rig_open(g);
			if (err && err != -ENODATA)
				fail_msg("cut=%u seed=%u err=%d", cut, seed, err);
			rig_close(g);
			rig_format(g);
			rig_destroy(g);
		}
	}
}

static void damage_is_not_a_torn_tail(void **state)
{
	struct rig *g = used(20);
	u32 start = g->store->log_start, end = g->store->pos.seq;

	(void)state;
	assert_true(end - start >= 20);
	/* in the checkpoint, in the midst of the log: refused */
	for (u32 b = 0; b < end - 1; b += 3) {
		u64 off = half_at(g, b) + 60;

		rig_crash(g);
		disk_fake_rot(g->dev, off, 1);
		assert_int_equal(rig_open(g), -EBADMSG);
		rig_crash(g);
		disk_fake_rot(g->dev, off, 1);
		assert_int_equal(rig_open(g), 0);
	}
	rig_check_all(g, false);
	rig_destroy(g);
}

/*
 * An append of several blocks loses its first one; the next append takes that
 * block's place. What is left of the torn one behind it must not be believed.
 */
static void leftovers_of_a_torn_append(void **state)
{
	static const struct image_fake wide = {
		.version = 1, .image_bytes = 700 * 65536, .chunk_bytes = 65536, .sector_bytes = 512,
		.seed = seed_of,
	};
	struct rig *g = rig_create(3, &wide, 80 * MIB, 512);
	u32 k, first = 0;

	(void)state;
	rig_format(g);
	assert_int_equal(rig_open(g), 0);
	k = g->store->pos.seq;
	for (u32 c = 0; c < 600; c++)
		assert_int_equal(rig_io(g, BLK_WRITE, c * 128, 8, false), 0);
	assert_int_equal(rig_io(g, BLK_FLUSH, 0, 0, false), 0);
	assert_true(g->store->pos.seq >= k + 3);
	u64 off = half_at(g, k);

	rig_crash(g);
	disk_fake_rot(g->dev, off + 50, 1);
	rig_forget(g);
	assert_int_equal(rig_open(g), 0);
	assert_int_equal(g->store->pos.seq, k);
	assert_int_equal(g->store->map->slots_ovl, 0);
	assert_int_equal(rig_io(g, BLK_WRITE, 650 * 128, 8, false), 0);
	assert_int_equal(rig_io(g, BLK_FLUSH, 0, 0, false), 0);
	assert_int_equal(g->store->pos.seq, k + 1);
	rig_crash(g);
	assert_int_equal(rig_open(g), 0);
	assert_int_equal(g->store->map->slots_ovl, 1);
	for (u32 c = 0; c < 600; c++)
		first += chunkmap_ovl_slot(g->store->map, c) != SLOT_NONE;
	assert_int_equal(first, 0);
	rig_destroy(g);
}

static void unreadable_journal(void **state)
{
	struct rig *g = used(3);
	u64 at = half_at(g, 0) / 512;

	(void)state;
	rig_crash(g);
	g->dev->bad_from = at;
	g->dev->bad_to = at + 1;
	assert_int_equal(rig_open(g), -EIO);
	g->dev->bad_to = 0;
	rig_close(g);
	assert_int_equal(rig_open(g), 0);
	rig_check_all(g, false);
	rig_destroy(g);
}

/* However long it has been used, opening reads a few MiB at most. */
static void open_reads_little(void **state)
{
	struct rig *g = used(1200);

	(void)state;
	assert_true(g->store->checkpoints >= 2);
	rig_crash(g);
	g->dev->read_bytes = 0;
	assert_int_equal(rig_open_store(g), 0);
	assert_true(g->dev->read_bytes < 3 * MIB);
	rig_crash(g);
	assert_int_equal(rig_open(g), 0);
	rig_check_all(g, false);
	rig_destroy(g);
}

/* Random bytes flipped anywhere in the metadata: an error or the right data, nothing else. */
static void random_damage(void **state)
{
	(void)state;
	for (u32 seed = 1; seed <= 150; seed++) {
		struct rig *g = used(4);
		u64 rng = seed * 12345678901ull, meta = g->store->sb.slots_off;

		rig_crash(g);
		for (u32 n = 1 + fake_rng(&rng) % 4; n; n--) {
			u64 off = fake_rng(&rng) % 2 ? fake_rng(&rng) % (80 * 1024)
						     : fake_rng(&rng) % meta;

			disk_fake_rot(g->dev, g->store_lba * 512 + off, 1);
		}
		int err = rig_open(g);

		if (!err)
			rig_accept(g, 0, 64);
		else
			assert_true(err == -EBADMSG || err == -ENODATA || err == -EPROTO);
		rig_destroy(g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layout_fits),
		cmocka_unit_test(superblock_lies),
		cmocka_unit_test(records_round_trip),
		cmocka_unit_test(blocks_are_sealed),
		cmocka_unit_test(either_superblock_will_do),
		cmocka_unit_test(one_superblock_unreadable),
		cmocka_unit_test(format_interrupted),
		cmocka_unit_test(damage_is_not_a_torn_tail),
		cmocka_unit_test(leftovers_of_a_torn_append),
		cmocka_unit_test(unreadable_journal),
		cmocka_unit_test(open_reads_little),
		cmocka_unit_test(random_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
