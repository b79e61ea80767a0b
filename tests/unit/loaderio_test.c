/*
 * The loader's disk, both ends: hcdisk.c asks, loaderio.c answers, over a guest
 * whose RAM is an array with a hole that is the VMM's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/err.h"
#include "base/plat.h"
#include "base/plat_host.h"
#include "boot/loader/hcdisk.h"
#include "tests/fakes/fake_launch.h"
#include "vmm/cpu/guest.h"
#include "vmm/main/loaderio.h"
#include "vmm/main/machine.h"
#include "vmm/main/pump.h"

#define SS 512u
#define SECTORS 2048u

static u8 ram[3 * MIB], media[SECTORS * SS];
static bool attached, locked;
static u32 polls_needed, polls_left, submitted;
static int io_err;
static struct blk_req *waiting;

/* ---------------------------------------------------------------- the VMM's surroundings */

static void submit(struct blk_dev *d, struct blk_req *r)
{
	(void)d;
	assert_true(locked);
	assert_null(waiting);
	waiting = r;
	polls_left = polls_needed;
	submitted++;
}

static void run(void)
{
	struct blk_req *r = waiting;

	if (!r || polls_left--)
		return;
	waiting = NULL;
	if (r->op != BLK_FLUSH && !io_err) {
		u8 *p = (u8 *)(uintptr_t)r->segs[0].pa.v, *m = media + r->lba * SS;

		assert_int_equal(r->nsegs, 1);
		assert_int_equal(r->segs[0].bytes, r->sectors * SS);
		assert_true(r->lba + r->sectors <= SECTORS);
		memcpy(r->op == BLK_WRITE ? m : p, r->op == BLK_WRITE ? p : m, r->sectors * SS);
	}
	r->done(r, io_err);
}

static const struct blk_ops blk_ops = { .submit = submit };
static struct blk_dev blk = { .ops = &blk_ops, .sector_bytes = SS, .sectors = SECTORS };

struct blk_dev *machine_disk(void)
{
	assert_true(locked);
	return attached ? &blk : NULL;
}

void pump_lock(void)
{
	assert_false(locked);
	locked = true;
}

void pump_unlock(void)
{
	locked = false;
}

void pump_kick(void)
{
	run();
}

/* The middle MiB is the VMM's. Arguments on the test's stack are RAM as well. */
int guest_map(gpa_t gpa, u64 bytes, hpa_t *out)
{
	u64 base = (u64)(uintptr_t)ram, at = gpa.v - base;

	if (at >= sizeof(ram) || bytes > sizeof(ram) - at ||
	    (at < 2 * MIB && at + bytes > MIB))
		return -EFAULT;
	*out = HPA(gpa.v);
	return 0;
}

int guest_read(gpa_t gpa, void *to, u64 bytes)
{
	if (!gpa.v)
		return -EFAULT;
	memcpy(to, (void *)(uintptr_t)gpa.v, bytes);
	return 0;
}

s64 fake_hypercall(u32 number, u64 arg)
{
	switch (number) {
	case HC_READ:
	case HC_WRITE:
	case HC_FLUSH:
		return loaderio_begin(number, arg);
	case HC_IO_STATUS:
		return loaderio_status();
	}
	fail();
	return -ENOSYS;
}

static int setup(void **state)
{
	(void)state;
	plat_host_quiet = attached = true;
	locked = false;
	waiting = NULL;
	polls_needed = submitted = 0;
	io_err = 0;
	for (u32 i = 0; i < sizeof(media); i++)
		media[i] = (u8)(i * 7 + i / SS);
	memset(ram, 0, sizeof(ram));
	return 0;
}

/* ---------------------------------------------------------------- tests */

static void reads_and_writes(void **state)
{
	u8 *low = ram + 100, *high = ram + 2 * MIB;

	(void)state;
	polls_needed = 5;
	assert_int_equal(hcdisk_read(0, SS, low, SS), 0);
	assert_memory_equal(low, media, SS);
	assert_int_equal(hcdisk_read(3, SS, high, 700 * SS), 0);
	assert_memory_equal(high, media + 3 * SS, 700 * SS);
	assert_int_equal(submitted, 1 + DIV_ROUND_UP(700 * SS, HANDOFF_IO_BYTES_MAX));
	memset(high, 0x11, 600 * SS);
	assert_int_equal(hcdisk_write(SECTORS - 600, SS, high, 600 * SS), 0);
	assert_memory_equal(media + (SECTORS - 600) * SS, high, 600 * SS);
	assert_int_equal(media[(SECTORS - 600) * SS - 1],
			 (u8)(((SECTORS - 600) * SS - 1) * 7 + SECTORS - 601));
	assert_int_equal(hcdisk_flush(), 0);
	assert_int_equal(hcdisk_read(5, SS, low, 0), 0);
}

static void refuses(void **state)
{
	static const struct handoff_io bad[] = {
		{ .bytes = 0 }, { .bytes = SS - 1 }, { .bytes = SS + 1 },
		{ .bytes = HANDOFF_IO_BYTES_MAX + SS }, { .bytes = 0xfffffe00 },
		{ .bytes = SS, .lba = SECTORS }, { .bytes = 2 * SS, .lba = SECTORS - 1 },
		{ .bytes = SS, .lba = ~0ull }, { .bytes = SS, .reserved = 1 },
	};
	struct handoff_io io;

	(void)state;
	for (u32 nr = HC_READ; nr <= HC_WRITE; nr++)
		for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
			io = bad[i];
			io.buffer = (u64)(uintptr_t)ram;
			assert_int_equal(loaderio_begin(nr, (u64)(uintptr_t)&io), -EINVAL);
		}
	assert_int_equal(loaderio_begin(HC_READ, 0), -EFAULT);
	io = (struct handoff_io){ .bytes = SS };
	assert_int_equal(loaderio_begin(HC_FLUSH, (u64)(uintptr_t)&io), -EINVAL);
	/* What touches the VMM's memory, from either side or within, or wraps */
	assert_int_equal(hcdisk_read(0, SS, ram + MIB, SS), -EFAULT);
	assert_int_equal(hcdisk_write(0, SS, ram + MIB - 1, SS), -EFAULT);
	assert_int_equal(hcdisk_read(0, SS, ram + 2 * MIB - 1, SS), -EFAULT);
	assert_int_equal(hcdisk_read(0, SS, (void *)(uintptr_t)-SS, SS), -EFAULT);
	assert_int_equal(submitted, 0);
	/* none of them has left it busy */
	assert_int_equal(hcdisk_read(0, SS, ram, SS), 0);
	attached = false;
	assert_int_equal(hcdisk_read(0, SS, ram, SS), -EAGAIN);
	attached = true;
	assert_int_equal(hcdisk_flush(), 0);
}

static void one_at_a_time(void **state)
{
	struct handoff_io io = { .buffer = (u64)(uintptr_t)ram, .bytes = SS };

	(void)state;
	polls_needed = 2;
	assert_int_equal(loaderio_begin(HC_READ, (u64)(uintptr_t)&io), 0);
	assert_int_equal(loaderio_begin(HC_READ, (u64)(uintptr_t)&io), -EBUSY);
	assert_int_equal(loaderio_begin(HC_FLUSH, (u64)(uintptr_t)&io), -EBUSY);
	io.buffer = 0; /* copied in: what the guest does to it afterwards does not matter */
	assert_int_equal(loaderio_status(), -EINPROGRESS);
	assert_int_equal(loaderio_status(), -EINPROGRESS);
	assert_int_equal(loaderio_status(), 0);
	assert_memory_equal(ram, media, SS);
	assert_int_equal(submitted, 1);
}

static void errors_end_a_transfer(void **state)
{
	(void)state;
	io_err = -EIO;
	assert_int_equal(hcdisk_read(0, SS, ram, 600 * SS), -EIO);
	assert_int_equal(submitted, 1);
	io_err = -ENOSPC;
	assert_int_equal(hcdisk_write(0, SS, ram, SS), -ENOSPC);
	io_err = 0;
	assert_int_equal(hcdisk_write(0, SS, ram, SS), 0);
}

#define T(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(reads_and_writes),
		T(refuses),
		T(one_at_a_time),
		T(errors_end_a_transfer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
