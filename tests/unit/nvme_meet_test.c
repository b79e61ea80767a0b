/*
 * The NVMe driver meets the NVMe front-end through a fake BAR, over a disk in
 * memory. The disk's bytes are the model: what was written through both must be
 * there, and nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/plat_host.h"
#include "storage/drivers/nvme.h"
#include "tests/fakes/fake_bar.h"

#define SECTORS 16384u
#define BUF_BYTES (6u * 1024 * 1024)

struct rig {
	struct fake_disk disk;
	struct fake_bar bar;
	struct nvme_drv *drv;
	struct blk_dev *blk;
	u8 *buf; /* page-aligned memory that the controller may reach */
	u64 rnd;
};

static const struct nvme_emul_cfg cfg = {
	.serial = "SER123", .model = "Test model", .vendor = 0x1b36, .vectors = 65,
};

static u32 rnd(struct rig *g, u32 below)
{
	g->rnd = g->rnd * 6364136223846793005ull + 1442695040888963407ull;
	return (u32)((g->rnd >> 33) % below);
}

static void rig_init(struct rig *g, u32 sector_bytes)
{
	memset(g, 0, sizeof(*g));
	plat_host_quiet = true;
	plat_host_now_ns = NS_PER_SEC;
	fake_disk_init(&g->disk, SECTORS, sector_bytes);
	fake_bar_init(&g->bar, &g->disk, &cfg);
	g->buf = aligned_alloc(4096, BUF_BYTES);
	memset(g->buf, 0xa5, BUF_BYTES);
	fake_bar_identity(&g->bar, g->buf, BUF_BYTES);
	g->rnd = 0x5eed;
}

static void rig_start(struct rig *g, const struct nvme_drv_opts *o)
{
	assert_int_equal(nvme_drv_create(&g->bar.bus, o, &g->drv), 0);
	g->blk = nvme_drv_blk(g->drv);
}

static void rig_fini(struct rig *g)
{
	free(g->drv); /* plat_alloc() of the hosted port */
	fake_bar_fini(&g->bar);
	fake_disk_fini(&g->disk);
	free(g->buf);
	plat_host_now_ns = 0;
}

static void run(struct rig *g)
{
	fake_bar_run(&g->bar);
	blk_poll(g->blk);
}

/* Let time pass in steps as long as the driver wants to be called. */
static void run_for(struct rig *g, u64 ns)
{
	u64 end = plat_host_now_ns + ns;

	while (plat_host_now_ns < end) {
		plat_host_now_ns += 20 * NS_PER_MS;
		run(g);
	}
}

struct io {
	struct blk_req r;
	struct blk_seg segs[1200];
	bool done;
	int err;
};

static void io_done(struct blk_req *r, int err)
{
	struct io *io = r->owner;

	assert_false(io->done);
	io->done = true;
	io->err = err;
}

static void io_init(struct io *io, enum blk_op op, u64 lba, u32 sectors)
{
	memset(&io->r, 0, sizeof(io->r));
	io->r.op = op;
	io->r.lba = lba;
	io->r.sectors = sectors;
	io->r.segs = io->segs;
	io->r.done = io_done;
	io->r.owner = io;
	io->done = false;
	io->err = 1;
}

static void io_seg(struct io *io, void *p, u32 bytes)
{
	io->segs[io->r.nsegs++] = (struct blk_seg){ HPA((uintptr_t)p), bytes };
}

static int io_wait(struct rig *g, struct io *io)
{
	int i;

	blk_submit(g->blk, &io->r);
	assert_false(io->done); /* never from inside submit() */
	for (i = 0; i < 1000 && !io->done; i++)
		run(g);
	assert_true(io->done);
	return io->err;
}

static void bring_up(void **state)
{
	struct rig g;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, NULL);
	assert_true(g.bar.irq_enabled);
	assert_true(nvme_drv_has_irq(g.drv));
	assert_string_equal(g.blk->serial, "SER123");
	assert_string_equal(g.blk->model, "Test model");
	assert_int_equal(g.blk->sectors, SECTORS);
	assert_int_equal(g.blk->sector_bytes, 512);
	assert_true(g.blk->write_cache);
	assert_int_equal(g.bar.refused, 0);
	rig_fini(&g);
}

static void without_interrupt(void **state)
{
	struct rig g;
	struct io io;

	(void)state;
	rig_init(&g, 4096);
	g.bar.no_irq = true;
	rig_start(&g, NULL);
	assert_false(nvme_drv_has_irq(g.drv));
	assert_int_equal(g.blk->sector_bytes, 4096);
	memset(g.bar.irqs, 0, sizeof(g.bar.irqs));
	io_init(&io, BLK_WRITE, 1, 1);
	io_seg(&io, g.buf, 4096);
	assert_int_equal(io_wait(&g, &io), 0);
	assert_int_equal(g.bar.irqs[0], 0);
	rig_fini(&g);
}

/* Cut a piece of @bytes of the buffer into segments of a style; returns its start. */
static u8 *shape(struct rig *g, struct io *io, u32 bytes, int style)
{
	u8 *p = g->buf + 4096 * rnd(g, 100);
	u8 *at;
	u32 left = bytes, n;

	if (style == 1) /* anywhere, dword-aligned */
		p += 4 * rnd(g, 1024);
	if (style == 2) /* anywhere at all */
		p += rnd(g, 4096);
	for (at = p; left; at += n, left -= n) {
		n = left;
		if (style == 3) /* pages of their own */
			n = MIN(left, 4096u);
		if (style == 4) /* crumbs */
			n = MIN(left, 1 + rnd(g, 9000));
		if (style == 5) /* sectors */
			n = MIN(left, 512u);
		if (io->r.nsegs == ARRAY_SIZE(io->segs) - 1)
			n = left;
		io_seg(io, at, n);
	}
	return p;
}

/* As shape(), but the pieces lie apart and out of order: a scatter list. */
static void scatter(struct rig *g, struct io *io, u32 bytes, int style, u8 **pieces)
{
	u32 left = bytes, n, i = 0;

	while (left) {
		u8 *p = g->buf + 8192 * (i + 1);

		n = MIN(left, 4096u);
		if (style == 1) /* only whole pages meet */
			n = MIN(left, i ? 4096u : 512 * (1 + rnd(g, 8)));
		if (style == 1 && !i)
			p += 4096 - n;
		if (style == 2) { /* sectors that no PRP list can join */
			n = MIN(left, 512 * (1 + rnd(g, 7)));
			p += 512 * rnd(g, 2);
		}
		if (style == 3) { /* nothing aligned */
			n = MIN(left, 1 + rnd(g, 3000));
			p += rnd(g, 1000);
		}
		if (i == 500)
			n = MIN(left, 4096u);
		pieces[i++] = p;
		io_seg(io, p, n);
		left -= n;
	}
}

static void every_shape(void **state)
{
	struct rig g;
	struct io *io = malloc(sizeof(*io));
	u8 *want = malloc(BUF_BYTES), *pieces[1200];
	u32 i, j, unit;

	(void)state;
	for (unit = 512; unit <= 4096; unit *= 8) {
		rig_init(&g, unit);
		rig_start(&g, NULL);
		for (i = 0; i < 400; i++) {
			u32 sectors = 1 + rnd(&g, i % 10 ? 64 : (u32)MIB / unit);
			u32 bytes = sectors * unit;
			u32 lba = rnd(&g, SECTORS - sectors);
			u8 *p;

			io_init(io, BLK_WRITE, lba, sectors);
			p = shape(&g, io, bytes, (int)(i % 6));
			for (j = 0; j < bytes; j++)
				want[j] = p[j] = (u8)rnd(&g, 256);
			assert_int_equal(io_wait(&g, io), 0);
			assert_memory_equal(g.disk.data + (u64)lba * unit, want, bytes);

			memset(g.buf, 0xee, BUF_BYTES);
			io_init(io, BLK_READ, lba, sectors);
			if (bytes <= 256 * 1024 && i & 1) {
				u32 off = 0;

				scatter(&g, io, bytes, (int)(i / 2 % 4), pieces);
				assert_int_equal(io_wait(&g, io), 0);
				for (j = 0; j < io->r.nsegs; j++) {
					u8 *q = pieces[j];

					assert_memory_equal(q, want + off, io->segs[j].bytes);
					assert_int_equal(q[io->segs[j].bytes], 0xee);
					assert_int_equal(q[-1], 0xee);
					off += io->segs[j].bytes;
				}
			} else {
				p = shape(&g, io, bytes, (int)(i / 2 % 6));
				assert_int_equal(io_wait(&g, io), 0);
				assert_memory_equal(p, want, bytes);
				assert_int_equal(p[bytes], 0xee);
			}
		}
		assert_true(nvme_drv_stats(g.drv)->bounced > 0);
		assert_int_equal(nvme_drv_stats(g.drv)->errors, 0);
		assert_int_equal(g.bar.refused, 0);
		rig_fini(&g);
	}
	free(io);
	free(want);
}

/* Longer than the controller takes in one command: the driver splits. */
static void long_request(void **state)
{
	struct rig g;
	struct io *io = malloc(sizeof(*io));
	u32 i;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, NULL);
	assert_true(g.blk->max_sectors >= 8192);
	for (i = 0; i < 4 * MIB; i++)
		g.buf[i] = (u8)(i * 2654435761u >> 24);
	io_init(io, BLK_WRITE, 100, 8192);
	io_seg(io, g.buf, 4u << 20);
	assert_int_equal(io_wait(&g, io), 0);
	assert_memory_equal(g.disk.data + 100 * 512, g.buf, 4u << 20);
	assert_true(g.disk.requests >= 8);
	assert_true(g.disk.sectors_longest <= 1024); /* MDTS 7 */
	rig_fini(&g);
	free(io);
}

/* Many at once, ending in any order: queues wrap, phases flip, nothing is lost. */
static void many_at_once(void **state)
{
	enum { N = 200 };
	struct rig g;
	struct io *io = calloc(N, sizeof(*io));
	u32 round, i;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, &(struct nvme_drv_opts){ .depth = 7 });
	g.disk.shuffle = 99;
	for (round = 0; round < 10; round++) {
		for (i = 0; i < N; i++) {
			memset(g.buf + i * 8192, (int)(round * 31 + i), 8192);
			io_init(&io[i], BLK_WRITE, i * 16, 16);
			io_seg(&io[i], g.buf + i * 8192, 8192);
			blk_submit(g.blk, &io[i].r);
		}
		for (i = 0; i < 2000; i++)
			run(&g);
		for (i = 0; i < N; i++) {
			assert_true(io[i].done);
			assert_int_equal(io[i].err, 0);
		}
		assert_memory_equal(g.disk.data, g.buf, N * 8192);
	}
	assert_int_equal(nvme_drv_stats(g.drv)->writes, 10 * N);
	assert_int_equal(nvme_drv_stats(g.drv)->garbage, 0);
	rig_fini(&g);
	free(io);
}

static void flush_fua_trim_zeroes(void **state)
{
	struct rig g;
	struct io io;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, NULL);
	io_init(&io, BLK_FLUSH, 0, 0);
	assert_int_equal(io_wait(&g, &io), 0);
	assert_int_equal(g.disk.flushes, 1);
	io_init(&io, BLK_WRITE, 8, 8);
	io_seg(&io, g.buf, 4096);
	assert_int_equal(io_wait(&g, &io), 0);
	assert_int_equal(g.disk.fuas, 0);
	io_init(&io, BLK_WRITE, 8, 8);
	io.r.fua = true;
	io_seg(&io, g.buf, 4096);
	assert_int_equal(io_wait(&g, &io), 0);
	assert_int_equal(g.disk.fuas, 1);
	io_init(&io, BLK_TRIM, 8, 8);
	assert_int_equal(io_wait(&g, &io), 0);
	assert_int_equal(g.disk.trims, 1);
	memset(g.disk.data, 0x77, 512 * SECTORS);
	io_init(&io, BLK_WRITE_ZEROES, 10, 100);
	assert_int_equal(io_wait(&g, &io), 0);
	assert_int_equal(g.disk.zeroes, 1);
	assert_int_equal(g.disk.data[10 * 512 - 1], 0x77);
	assert_int_equal(g.disk.data[10 * 512], 0);
	assert_int_equal(g.disk.data[110 * 512 - 1], 0);
	assert_int_equal(g.disk.data[110 * 512], 0x77);
	rig_fini(&g);
}

static void refused_requests(void **state)
{
	struct rig g;
	struct io io;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, NULL);
	io_init(&io, BLK_READ, SECTORS - 1, 2);
	io_seg(&io, g.buf, 1024);
	assert_int_equal(io_wait(&g, &io), -EINVAL);
	io_init(&io, BLK_READ, ~0ull, 1);
	io_seg(&io, g.buf, 512);
	assert_int_equal(io_wait(&g, &io), -EINVAL);
	io_init(&io, BLK_READ, 0, 2);
	io_seg(&io, g.buf, 512);
	assert_int_equal(io_wait(&g, &io), -EINVAL);
	io_init(&io, BLK_READ, 0, 0);
	assert_int_equal(io_wait(&g, &io), -EINVAL);
	rig_fini(&g);
}

/* The front-end says "do not retry" for errors of the media: one error, one failure. */
static void error_below(void **state)
{
	struct rig g;
	struct io io;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, NULL);
	g.disk.fail_err = -EIO;
	g.disk.fail_count = 1;
	io_init(&io, BLK_READ, 0, 8);
	io_seg(&io, g.buf, 4096);
	assert_int_equal(io_wait(&g, &io), -EIO);
	assert_int_equal(nvme_drv_stats(g.drv)->errors, 1);
	io_init(&io, BLK_READ, 0, 8);
	io_seg(&io, g.buf, 4096);
	assert_int_equal(io_wait(&g, &io), 0);
	rig_fini(&g);
}

/* A status without "do not retry" is tried again, not for ever. */
static void retryable_error(void **state)
{
	struct rig g;
	struct io io;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, NULL);
	g.disk.fail_err = -ECANCELED; /* Abort Requested */
	g.disk.fail_count = 2;
	io_init(&io, BLK_READ, 0, 8);
	io_seg(&io, g.buf, 4096);
	blk_submit(g.blk, &io.r);
	run(&g);
	run(&g);
	assert_false(io.done);
	assert_in_range(nvme_drv_deadline_ns(g.drv), plat_host_now_ns + 1,
			plat_host_now_ns + NS_PER_SEC);
	run_for(&g, NS_PER_SEC);
	assert_true(io.done);
	assert_int_equal(io.err, 0);
	assert_int_equal(nvme_drv_stats(g.drv)->retries, 2);

	g.disk.fail_count = 1000;
	io_init(&io, BLK_WRITE, 0, 8);
	io_seg(&io, g.buf, 4096);
	blk_submit(g.blk, &io.r);
	run_for(&g, NS_PER_SEC);
	assert_true(io.done);
	assert_int_equal(io.err, -EIO);
	assert_int_equal(g.disk.fail_count, 996);
	rig_fini(&g);
}

/* Lost doorbell: time-out, abort lost too, reset, resubmission, data right. */
static void timeout_and_reset(void **state)
{
	struct rig g;
	struct io io[20];
	u32 i;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, &(struct nvme_drv_opts){ .depth = 8 });
	memset(g.buf, 0x3c, sizeof(io) / sizeof(io[0]) * 4096);
	g.bar.deaf = true;
	for (i = 0; i < ARRAY_SIZE(io); i++) {
		io_init(&io[i], BLK_WRITE, i * 8, 8);
		io_seg(&io[i], g.buf + i * 4096, 4096);
		blk_submit(g.blk, &io[i].r);
	}
	assert_int_equal(nvme_drv_deadline_ns(g.drv), plat_host_now_ns + 10 * NS_PER_SEC);
	run_for(&g, 11 * NS_PER_SEC);
	assert_int_equal(nvme_drv_stats(g.drv)->aborts, 1);
	assert_false(io[0].done);
	g.bar.deaf = false;
	run_for(&g, 8 * NS_PER_SEC);
	assert_int_equal(nvme_drv_stats(g.drv)->resets, 1);
	for (i = 0; i < ARRAY_SIZE(io); i++) {
		assert_true(io[i].done);
		assert_int_equal(io[i].err, 0);
	}
	assert_memory_equal(g.disk.data, g.buf, ARRAY_SIZE(io) * 4096);
	assert_int_equal(nvme_emul_stats(g.bar.emul)->resets, 1);
	rig_fini(&g);
}

/* Resets that work out again and again are not the end: only those in a row count. */
static void many_resets(void **state)
{
	struct rig g;
	struct io io;
	u32 i;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, NULL);
	for (i = 0; i < 10; i++) {
		io_init(&io, BLK_WRITE, i, 1);
		io_seg(&io, g.buf, 512);
		g.bar.deaf = true;
		blk_submit(g.blk, &io.r);
		run_for(&g, 11 * NS_PER_SEC);
		g.bar.deaf = false;
		run_for(&g, 8 * NS_PER_SEC);
		assert_true(io.done);
		assert_int_equal(io.err, 0);
	}
	assert_int_equal(nvme_drv_stats(g.drv)->resets, 10);
	rig_fini(&g);
}

static void fatal_status(void **state)
{
	struct rig g;
	struct io io;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, NULL);
	g.disk.hold = true;
	io_init(&io, BLK_WRITE, 0, 8);
	io_seg(&io, g.buf, 4096);
	blk_submit(g.blk, &io.r);
	run(&g);
	g.bar.fatal = true;
	run_for(&g, NS_PER_SEC);
	assert_int_equal(nvme_drv_stats(g.drv)->resets, 1);
	assert_true(nvme_drv_deadline_ns(g.drv) <= plat_host_now_ns + NS_PER_MS);
	assert_false(io.done); /* RDY stays while the disk below holds the request */
	g.disk.hold = false;
	run_for(&g, NS_PER_SEC);
	assert_true(io.done);
	assert_int_equal(io.err, 0);
	assert_memory_equal(g.disk.data, g.buf, 4096);
	rig_fini(&g);
}

/* The deadlines alone, without any other call, lead from a lost command to its end. */
static void deadlines_suffice(void **state)
{
	struct rig g;
	struct io io;
	u32 calls;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, NULL);
	io_init(&io, BLK_WRITE, 0, 8);
	io_seg(&io, g.buf, 4096);
	g.bar.deaf = true;
	blk_submit(g.blk, &io.r);
	g.bar.deaf = false;
	for (calls = 0; calls < 2000 && !io.done; calls++) {
		u64 when = nvme_drv_deadline_ns(g.drv);

		assert_int_not_equal(when, 0);
		plat_host_now_ns = MAX(when, plat_host_now_ns);
		fake_bar_run(&g.bar);
		if (!io.done)
			blk_poll(g.blk);
	}
	assert_true(io.done);
	assert_int_equal(io.err, 0);
	assert_true(calls < 200);
	assert_int_equal(nvme_drv_deadline_ns(g.drv), 0);
	rig_fini(&g);
}

static void for_ever_deaf(void **state)
{
	struct rig g;
	struct io io[3];
	u32 i;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, &(struct nvme_drv_opts){ .depth = 2 });
	g.bar.deaf = true;
	for (i = 0; i < 3; i++) {
		io_init(&io[i], BLK_READ, i, 1);
		io_seg(&io[i], g.buf + i * 512, 512);
		blk_submit(g.blk, &io[i].r);
	}
	run_for(&g, 60 * NS_PER_SEC);
	assert_true(nvme_drv_dead(g.drv));
	assert_int_equal(g.bar.cfg_command & 4, 0); /* no bus mastering */
	for (i = 0; i < 3; i++) {
		assert_true(io[i].done);
		assert_int_equal(io[i].err, -EIO);
	}
	io_init(&io[0], BLK_READ, 0, 1);
	io_seg(&io[0], g.buf, 512);
	assert_int_equal(io_wait(&g, &io[0]), -EIO);
	assert_int_equal(nvme_drv_deadline_ns(g.drv), 0);
	rig_fini(&g);
}

static void unplugged(void **state)
{
	struct rig g;
	struct io io;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, NULL);
	g.bar.gone = true;
	io_init(&io, BLK_READ, 0, 1);
	io_seg(&io, g.buf, 512);
	blk_submit(g.blk, &io.r);
	run_for(&g, NS_PER_SEC);
	assert_true(io.done);
	assert_int_equal(io.err, -EIO);
	rig_fini(&g);
}

static void never_ready(void **state)
{
	struct rig g;

	(void)state;
	rig_init(&g, 512);
	g.bar.stuck = true;
	assert_int_equal(nvme_drv_create(&g.bar.bus, NULL, &g.drv), -EIO);
	assert_true(plat_host_now_ns < 400 * NS_PER_SEC); /* bounded by CAP.TO */
	g.bar.stuck_csts = NVME_CSTS_RDY;
	assert_int_equal(nvme_drv_create(&g.bar.bus, NULL, &g.drv), -EIO);
	g.bar.stuck = false;
	g.bar.gone = true;
	assert_int_equal(nvme_drv_create(&g.bar.bus, NULL, &g.drv), -ENODEV);
	g.bar.gone = false;
	g.bar.deaf = true; /* admin commands never end */
	assert_int_equal(nvme_drv_create(&g.bar.bus, NULL, &g.drv), -EIO);
	assert_false(g.bar.irq_enabled);
	g.drv = NULL;
	rig_fini(&g);
}

static void no_memory(void **state)
{
	struct rig g;
	u32 n;
	int err = -ENOMEM;

	(void)state;
	for (n = 1; err && n < 200; n++) {
		rig_init(&g, 512);
		g.bar.alloc_fail = n;
		g.drv = NULL;
		err = nvme_drv_create(&g.bar.bus, &(struct nvme_drv_opts){ .depth = 4 }, &g.drv);
		assert_true(!err || err == -ENOMEM);
		rig_fini(&g);
	}
	assert_true(n > 10 && n < 200);
}

/* An NMI is explained whether the completion still lies there or was reaped. */
static void work_predicate(void **state)
{
	struct rig g;
	struct io io;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, NULL);
	nvme_drv_work(g.drv);
	assert_false(nvme_drv_work(g.drv));
	io_init(&io, BLK_READ, 0, 1);
	io_seg(&io, g.buf, 512);
	blk_submit(g.blk, &io.r);
	assert_false(nvme_drv_work(g.drv));
	fake_bar_run(&g.bar);
	assert_true(nvme_drv_work(g.drv));
	assert_true(nvme_drv_work(g.drv)); /* still there */
	blk_poll(g.blk);
	assert_true(io.done);
	assert_true(nvme_drv_work(g.drv)); /* reaped since */
	assert_false(nvme_drv_work(g.drv));
	assert_int_equal(nvme_drv_deadline_ns(g.drv), 0);
	rig_fini(&g);
}

static void one_doorbell_a_batch(void **state)
{
	struct rig g;
	struct io io[10];
	u32 i, before;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, NULL);
	for (i = 0; i < 10; i++) {
		io_init(&io[i], BLK_READ, i, 1);
		io_seg(&io[i], g.buf + 512 * i, 512);
		blk_submit(g.blk, &io[i].r);
	}
	fake_bar_run(&g.bar);
	before = g.bar.doorbells;
	blk_poll(g.blk);
	for (i = 0; i < 10; i++)
		assert_true(io[i].done);
	assert_int_equal(g.bar.doorbells, before + 1);
	rig_fini(&g);
}

static void shut_down(void **state)
{
	struct rig g;
	struct io io;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, NULL);
	nvme_drv_shutdown(g.drv);
	assert_int_equal(g.disk.flushes, 1);
	assert_true(plat_host_now_ns < 3 * NS_PER_SEC);
	io_init(&io, BLK_READ, 0, 1);
	io_seg(&io, g.buf, 512);
	assert_int_equal(io_wait(&g, &io), -EIO);
	rig_fini(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bring_up),
		cmocka_unit_test(without_interrupt),
		cmocka_unit_test(every_shape),
		cmocka_unit_test(long_request),
		cmocka_unit_test(many_at_once),
		cmocka_unit_test(flush_fua_trim_zeroes),
		cmocka_unit_test(refused_requests),
		cmocka_unit_test(error_below),
		cmocka_unit_test(retryable_error),
		cmocka_unit_test(timeout_and_reset),
		cmocka_unit_test(many_resets),
		cmocka_unit_test(fatal_status),
		cmocka_unit_test(deadlines_suffice),
		cmocka_unit_test(for_ever_deaf),
		cmocka_unit_test(unplugged),
		cmocka_unit_test(never_ready),
		cmocka_unit_test(no_memory),
		cmocka_unit_test(work_predicate),
		cmocka_unit_test(one_doorbell_a_batch),
		cmocka_unit_test(shut_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
