/* storage/drivers/memdisk against a model: garbage below, odd segments, requests from callbacks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/plat.h"
#include "base/plat_host.h"
#include "storage/drivers/memdisk.h"

#define SS MEMDISK_SECTOR_BYTES
#define BYTES (2 * MIB)

static struct blk_dev *blk;
static u8 *mem, *model;
static u8 buf[256 * SS];
static int last_err;
static u32 dones;

static int setup(void **state)
{
	(void)state;
	plat_host_quiet = true;
	mem = aligned_alloc(SS, BYTES + SS);
	memset(mem, 0xc3, BYTES + SS);
	model = calloc(1, BYTES);
	dones = 0;
	return memdisk_create(&blk, HPA((u64)(uintptr_t)mem), BYTES);
}

static int teardown(void **state)
{
	(void)state;
	plat_free(blk); /* the first member of what was allocated */
	free(mem);
	free(model);
	return 0;
}

static void done(struct blk_req *r, int err)
{
	(void)r;
	last_err = err;
	dones++;
}

/* @cuts: into so many segments of odd lengths */
static int io(enum blk_op op, u64 lba, u32 sectors, u32 cuts)
{
	struct blk_seg segs[8];
	struct blk_req r = { .op = op, .lba = lba, .sectors = sectors, .segs = segs, .done = done };
	u32 left = sectors * SS, at = 0;

	for (u32 i = 0; (op == BLK_READ || op == BLK_WRITE) && left; i++) {
		u32 n = i + 1 < cuts ? MIN(left, 1000 * (i + 1) + 4u) : left;

		segs[r.nsegs++] = (struct blk_seg){ HPA((u64)(uintptr_t)(buf + at)), n };
		at += n;
		left -= n;
	}
	last_err = 1;
	blk_submit(blk, &r);
	assert_int_equal(last_err, 1); /* never from inside submit */
	assert_true(memdisk_pending(blk));
	blk_poll(blk);
	assert_false(memdisk_pending(blk));
	return last_err;
}

static void is_what_was_written(void **state)
{
	u32 seed = 1;

	(void)state;
	assert_int_equal(blk->sectors, BYTES / SS - 1);
	assert_string_equal(blk->serial, MEMDISK_SERIAL);
	for (u32 n = 0; n < 5000; n++) {
		u32 sectors, lba;

		seed = seed * 1664525 + 1013904223;
		sectors = 1 + (seed >> 8) % 7;
		lba = (seed >> 12) % ((u32)blk->sectors - sectors + 1);
		switch (seed >> 30) {
		case 0:
			for (u32 i = 0; i < sectors * SS; i++)
				buf[i] = (u8)(n + i * 7);
			memcpy(model + lba * SS, buf, sectors * SS);
			assert_int_equal(io(BLK_WRITE, lba, sectors, 1 + n % 6), 0);
			break;
		case 1:
			memset(model + lba * SS, 0, sectors * SS);
			assert_int_equal(io(n % 2 ? BLK_TRIM : BLK_WRITE_ZEROES, lba, sectors, 0),
					 0);
			break;
		default:
			memset(buf, 0xee, sizeof(buf));
			assert_int_equal(io(BLK_READ, lba, sectors, 1 + n % 6), 0);
			assert_memory_equal(buf, model + lba * SS, sectors * SS);
			assert_int_equal(buf[sectors * SS], 0xee);
		}
	}
	for (u32 i = 0; i < SS; i++)
		assert_int_equal(mem[BYTES + i], 0xc3);
	assert_true(memdisk_stats(blk)->sectors_used <= blk->sectors);
	assert_int_equal(io(BLK_FLUSH, 0, 0, 0), 0);
}

static void refuses_what_is_outside(void **state)
{
	struct blk_seg s = { HPA((u64)(uintptr_t)buf), SS - 1 };
	struct blk_req r = { .op = BLK_WRITE, .sectors = 1, .segs = &s, .nsegs = 1, .done = done };
	u32 end = (u32)blk->sectors;

	(void)state;
	assert_int_equal(io(BLK_READ, end, 1, 1), -EINVAL);
	assert_int_equal(io(BLK_READ, ~0ull, 1, 1), -EINVAL);
	assert_int_equal(io(BLK_WRITE, end - 1, 2, 1), -EINVAL);
	assert_int_equal(io(BLK_TRIM, end - 1, 2, 1), -EINVAL);
	assert_int_equal(io(BLK_READ, 0, 0, 1), -EINVAL);
	assert_int_equal(io(BLK_READ, end - 1, 1, 1), 0);
	blk_submit(blk, &r);
	blk_poll(blk);
	assert_int_equal(last_err, -EINVAL); /* segments and sectors disagree */
	for (u32 i = 0; i < SS; i++)
		assert_int_equal(mem[BYTES + i], 0xc3);
}

static void again(struct blk_req *r, int err)
{
	assert_int_equal(err, 0);
	if (++dones < 10)
		blk_submit(blk, r);
}

/* A callback that submits again does not keep poll() for ever. */
static void polls_end(void **state)
{
	struct blk_seg s = { HPA((u64)(uintptr_t)buf), SS };
	struct blk_req a = { .op = BLK_READ, .sectors = 1, .segs = &s, .nsegs = 1, .done = again };
	struct blk_req b = a;

	(void)state;
	blk_submit(blk, &a);
	blk_submit(blk, &b);
	blk_poll(blk);
	assert_int_equal(dones, 2);
	assert_true(memdisk_pending(blk));
	for (u32 i = 0; i < 10; i++)
		blk_poll(blk);
	assert_false(memdisk_pending(blk));
}

static void bad_ranges(void **state)
{
	struct blk_dev *d = NULL;

	(void)state;
	assert_int_equal(memdisk_create(&d, HPA(0x1001), BYTES), -EINVAL);
	assert_int_equal(memdisk_create(&d, HPA(0x1000), BYTES + 512), -EINVAL);
	assert_int_equal(memdisk_create(&d, HPA(0x1000), SS), -EINVAL);
	assert_int_equal(memdisk_create(&d, HPA(0x1000), 0), -EINVAL);
	assert_null(d);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(is_what_was_written),
		T(refuses_what_is_outside),
		T(polls_end),
		cmocka_unit_test(bad_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
