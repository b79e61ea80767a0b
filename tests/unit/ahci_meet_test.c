/*
 * The AHCI driver meets the AHCI front-end through a fake BAR, over a disk in
 * memory. The disk's bytes are the model: what was written through both must be
 * there, and nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/plat_host.h"
#include "storage/drivers/ahci.h"
#include "tests/fakes/fake_bar.h"

#define SECTORS 16384u
#define BUF_BYTES (4u * 1024 * 1024)
#define IOS 24u
#define SLICE (BUF_BYTES / IOS / 4096 * 4096) /* of the buffer, for each request */

struct io {
	struct blk_req r;
	struct blk_seg segs[64];
	u8 *at;
	bool busy;
	int err;
};

struct rig {
	struct fake_disk disk;
	struct fake_bar bar;
	struct ahci_drv *drv;
	struct blk_dev *blk;
	u8 *buf, *model;
	struct io io[IOS];
	u64 rnd;
};

static u32 rnd(struct rig *g, u32 below)
{
	g->rnd = g->rnd * 6364136223846793005ull + 1442695040888963407ull;
	return (u32)((g->rnd >> 33) % below);
}

static void rig_init(struct rig *g, u32 sector_bytes, const struct ahci_drv_opts *o)
{
	static const struct ahci_emul_cfg cfg = {
		.serial = "SER123", .model = "Test model", .ports = 0x3f, .port = 2,
	};

	memset(g, 0, sizeof(*g));
	plat_host_quiet = true;
	plat_host_now_ns = NS_PER_SEC;
	fake_disk_init(&g->disk, SECTORS, sector_bytes);
	fake_bar_init_ahci(&g->bar, &g->disk, &cfg);
	g->buf = aligned_alloc(4096, BUF_BYTES);
	memset(g->buf, 0xa5, BUF_BYTES);
	g->model = calloc(SECTORS, sector_bytes);
	fake_bar_identity(&g->bar, g->buf, BUF_BYTES);
	g->rnd = 0x5eed;
	assert_int_equal(ahci_drv_create(&g->bar.bus, o, &g->drv), 0);
	assert_int_equal(ahci_drv_disks(g->drv), 1);
	assert_int_equal(ahci_drv_port(g->drv, 0), 2);
	g->blk = ahci_drv_blk(g->drv, 0);
}

static void rig_fini(struct rig *g)
{
	ahci_drv_shutdown(g->drv);
	assert_int_equal(ahci_emul_inflight(g->bar.ahci), 0);
	free(g->blk); /* plat_alloc() of the hosted port; it is the first of what it stands in */
	free(g->drv);
	fake_bar_fini(&g->bar);
	fake_disk_fini(&g->disk);
	free(g->buf);
	free(g->model);
	plat_host_now_ns = 0;
}

static void run(struct rig *g)
{
	fake_bar_run(&g->bar);
	blk_poll(g->blk);
}

static void io_done(struct blk_req *r, int err)
{
	struct io *io = r->owner;

	assert_true(io->busy);
	io->busy = false;
	io->err = err;
}

static struct io *io_new(struct rig *g, u32 n, enum blk_op op, u64 lba, u32 sectors)
{
	struct io *io = &g->io[n];

	memset(&io->r, 0, sizeof(io->r));
	io->at = g->buf + n * SLICE;
	io->r = (struct blk_req){ .op = op, .lba = lba, .sectors = sectors, .segs = io->segs,
				  .done = io_done, .owner = io };
	if (op == BLK_READ || op == BLK_WRITE) {
		io->segs[0] = (struct blk_seg){ HPA((uintptr_t)io->at),
						sectors * g->blk->sector_bytes };
		io->r.nsegs = 1;
	}
	io->busy = true;
	io->err = 1;
	return io;
}

/* Time passes as long as it takes; the driver has its own time-outs. */
static int io_end(struct rig *g, struct io *io)
{
	for (u32 i = 0; i < 20000 && io->busy; i++) {
		run(g);
		if (i > 50)
			plat_host_now_ns += 20 * NS_PER_MS;
	}
	assert_false(io->busy);
	return io->err;
}

static int one(struct rig *g, enum blk_op op, u64 lba, u32 sectors)
{
	struct io *io = io_new(g, 0, op, lba, sectors);

	blk_submit(g->blk, &io->r);
	assert_true(io->busy); /* never from inside submit() */
	return io_end(g, io);
}

static void bring_up(void **state)
{
	struct rig g;

	(void)state;
	for (u32 bytes = 512; bytes <= 4096; bytes *= 8) {
		rig_init(&g, bytes, NULL);
		assert_true(g.bar.irq_enabled);
		assert_string_equal(g.blk->serial, "SER123");
		assert_string_equal(g.blk->model, "Test model");
		assert_int_equal(g.blk->sectors, SECTORS);
		assert_int_equal(g.blk->sector_bytes, bytes);
		assert_true(g.blk->write_cache);
		assert_int_equal(g.bar.refused, 0);
		rig_fini(&g);
	}
}

/* A request of the model's: the bytes are known when it is sent. */
static void random_one(struct rig *g, u32 n, u32 round)
{
	static const enum blk_op ops[] = { BLK_READ, BLK_WRITE, BLK_READ, BLK_WRITE, BLK_FLUSH };
	enum blk_op op = ops[rnd(g, ARRAY_SIZE(ops))];
	u32 sb = g->blk->sector_bytes, part = SECTORS / IOS; /* each has sectors of its own */
	u32 most = MIN(SLICE / sb, part), sectors = 1 + rnd(g, rnd(g, 4) ? 16 : most);
	u64 lba = n * part + rnd(g, part - sectors + 1);
	struct io *io = io_new(g, n, op, op == BLK_FLUSH ? 0 : lba, op == BLK_FLUSH ? 0 : sectors);
	u32 at = 0, bytes = sectors * sb;

	if (op == BLK_FLUSH) {
		blk_submit(g->blk, &io->r);
		return;
	}
	io->r.fua = op == BLK_WRITE && !rnd(g, 4);
	for (io->r.nsegs = 0; at < bytes;) { /* even pieces, as DMA can take them */
		u32 piece = io->r.nsegs == 63 || !rnd(g, 3) ? bytes - at :
			    MIN(bytes - at, 2 + 2 * rnd(g, 4000));

		io->segs[io->r.nsegs++] = (struct blk_seg){ HPA((uintptr_t)io->at + at), piece };
		at += piece;
	}
	if (op == BLK_WRITE) {
		memset(io->at, (int)(round * 31 + n), bytes);
		memcpy(g->model + lba * sb, io->at, bytes);
	}
	blk_submit(g->blk, &io->r);
}

static void random_end(struct rig *g, u32 n)
{
	struct io *io = &g->io[n];
	u32 sb = g->blk->sector_bytes;

	assert_int_equal(io_end(g, io), 0);
	if (io->r.op == BLK_READ)
		assert_memory_equal(io->at, g->model + io->r.lba * sb, io->r.sectors * sb);
}

static void random_io(struct rig *g, u32 rounds)
{
	g->disk.shuffle = 77;
	for (u32 round = 0; round < rounds; round++) {
		for (u32 n = 0; n < IOS; n++)
			random_one(g, n, round);
		for (u32 n = 0; n < IOS; n++)
			random_end(g, n);
	}
	assert_memory_equal(g->disk.data, g->model, SECTORS * g->blk->sector_bytes);
	assert_int_equal(g->bar.refused, 0);
	assert_int_equal(ahci_emul_stats(g->bar.ahci)->errors, 0);
}

static void queued_io(void **state)
{
	struct rig g;

	(void)state;
	rig_init(&g, 512, NULL);
	random_io(&g, 60);
	assert_true(ahci_emul_stats(g.bar.ahci)->queued > 500);
	assert_true(ahci_emul_stats(g.bar.ahci)->inflight_max > 10);
	assert_true(g.disk.flushes && g.disk.fuas);
	rig_fini(&g);
	rig_init(&g, 4096, NULL);
	random_io(&g, 20);
	rig_fini(&g);
}

static void plain_io(void **state)
{
	static const struct ahci_drv_opts o = { .no_ncq = true };
	struct rig g;

	(void)state;
	rig_init(&g, 512, &o);
	random_io(&g, 15);
	assert_int_equal(ahci_emul_stats(g.bar.ahci)->queued, 0);
	rig_fini(&g);
}

static void trims(void **state)
{
	struct rig g;

	(void)state;
	rig_init(&g, 512, NULL);
	assert_int_equal(one(&g, BLK_TRIM, 100, 8), 0);
	assert_int_equal(g.disk.trims, 1);
	assert_int_equal(one(&g, BLK_WRITE, 64, 64), 0);
	assert_int_equal(one(&g, BLK_WRITE_ZEROES, 64, 32), 0);
	assert_int_equal(g.disk.data[64 * 512], 0);
	assert_int_equal(g.disk.data[96 * 512], 0xa5);
	rig_fini(&g);
}

/* One failure is retried; one that stays is that request's, and of no other. */
static void disk_errors(void **state)
{
	struct rig g;
	struct io *bad, *good[4];

	(void)state;
	for (u32 plain = 0; plain < 2; plain++) {
		rig_init(&g, 512, &(struct ahci_drv_opts){ .no_ncq = plain });
		g.disk.fail_err = -EIO;
		g.disk.fail_count = 1;
		assert_int_equal(one(&g, BLK_READ, 5, 8), 0);
		assert_true(ahci_drv_stats(g.drv)->errors >= 1);
		assert_int_equal(ahci_drv_stats(g.drv)->logs, !plain);
		g.disk.fail_count = 1;
		assert_int_equal(one(&g, BLK_FLUSH, 0, 0), 0);
		g.disk.fail_count = 100;
		assert_int_equal(one(&g, BLK_WRITE, 5, 8), -EIO);
		g.disk.fail_count = 0;
		assert_int_equal(one(&g, BLK_WRITE, 5, 8), 0);
		/* several under way, one of which fails once */
		bad = io_new(&g, 0, BLK_READ, 10, 1);
		blk_submit(g.blk, &bad->r);
		for (u32 i = 0; i < 4; i++) {
			good[i] = io_new(&g, 1 + i, BLK_READ, 20 + i, 1);
			blk_submit(g.blk, &good[i]->r);
		}
		g.disk.fail_count = 1;
		assert_int_equal(io_end(&g, bad), 0);
		for (u32 i = 0; i < 4; i++)
			assert_int_equal(io_end(&g, good[i]), 0);
		assert_false(ahci_drv_dead(g.drv, 0));
		rig_fini(&g);
	}
}

/* Commands that nobody answers: a reset brings them back, and they go out again. */
static void lost_commands(void **state)
{
	struct rig g;
	struct io *io;

	(void)state;
	rig_init(&g, 512, NULL);
	g.bar.deaf = true;
	io = io_new(&g, 0, BLK_WRITE, 7, 8);
	blk_submit(g.blk, &io->r);
	for (u32 i = 0; i < 100; i++)
		run(&g);
	assert_true(io->busy);
	g.bar.deaf = false;
	assert_int_equal(io_end(&g, io), 0);
	assert_true(ahci_drv_stats(g.drv)->timeouts >= 1);
	assert_true(ahci_emul_stats(g.bar.ahci)->resets >= 1);
	assert_int_equal(g.disk.data[7 * 512], 0xa5);
	/* The disk below takes longer than the driver waits: nothing is lost, nothing doubled. */
	g.disk.hold = true;
	io = io_new(&g, 0, BLK_READ, 7, 8);
	blk_submit(g.blk, &io->r);
	for (u32 i = 0; i < 700; i++) {
		plat_host_now_ns += 20 * NS_PER_MS;
		run(&g);
	}
	assert_true(io->busy);
	g.disk.hold = false;
	assert_int_equal(io_end(&g, io), 0);
	rig_fini(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bring_up),
		cmocka_unit_test(queued_io),
		cmocka_unit_test(plain_io),
		cmocka_unit_test(trims),
		cmocka_unit_test(disk_errors),
		cmocka_unit_test(lost_commands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
