/*
 * The AHCI driver against a model of a controller that keeps the driver to the
 * specification: start-up, data of every shape, and all that can go wrong on a
 * disk, its wire, and in the controller. The model's bytes are what must be.
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
#include "tests/fakes/hba_model.h"

#define SECTORS 16384u
#define BUF_BYTES (6u * 1024 * 1024)
#define IOS 100

struct rig {
	struct hba_model m;
	struct hba_disk *k;
	struct ahci_drv *drv;
	struct blk_dev *blk;
	u8 *buf;
	u64 rnd;
};

struct io {
	struct blk_req r;
	struct blk_seg segs[1200];
	int err;
	u32 done;
};

static u32 rnd(struct rig *g, u32 below)
{
	g->rnd = g->rnd * 6364136223846793005ull + 1442695040888963407ull;
	return (u32)((g->rnd >> 33) % below);
}

static void rig_init(struct rig *g, u32 sector_bytes)
{
	memset(g, 0, sizeof(*g));
	hba_model_init(&g->m);
	g->k = hba_model_disk(&g->m, 1, SECTORS, sector_bytes);
	g->buf = aligned_alloc(4096, BUF_BYTES);
	memset(g->buf, 0xee, BUF_BYTES);
	g->rnd = sector_bytes;
}

static void rig_start(struct rig *g, const struct ahci_drv_opts *opts)
{
	assert_int_equal(ahci_drv_create(&g->m.bus, opts, &g->drv), 0);
	g->blk = ahci_drv_blk(g->drv, 0);
}

/* The driver's memory is its own for ever; here it is found by its disks. */
static void drv_free(struct ahci_drv *d)
{
	u32 n = ahci_drv_disks(d);

	while (n--)
		free(container_of(ahci_drv_blk(d, n), struct { struct blk_dev blk; }, blk));
	free(d);
}

static void rig_fini(struct rig *g)
{
	assert_int_equal(g->m.broken, 0);
	if (g->drv)
		drv_free(g->drv);
	hba_model_fini(&g->m);
	free(g->buf);
}

static void io_done(struct blk_req *r, int err)
{
	struct io *io = container_of(r, struct io, r);

	io->err = err;
	io->done++;
}

static void io_init(struct io *io, enum blk_op op, u64 lba, u32 sectors)
{
	memset(io, 0, sizeof(*io));
	io->r = (struct blk_req){ .op = op, .lba = lba, .sectors = sectors, .segs = io->segs,
				  .done = io_done };
}

static void io_seg(struct io *io, void *p, u32 bytes)
{
	io->segs[io->r.nsegs++] = (struct blk_seg){ HPA((uintptr_t)p), bytes };
}

/* One turn of the owner: when the driver wants it, or an interrupt came. */
static void turn(struct rig *g)
{
	u64 due = ahci_drv_deadline_ns(g->drv);
	u32 irqs = g->m.irqs;

	hba_model_run(&g->m);
	if (g->m.irqs != irqs && g->m.irq_enabled)
		assert_true(ahci_drv_work(g->drv));
	else if (due > plat_host_now_ns)
		plat_host_now_ns = MIN(due, plat_host_now_ns + 10 * NS_PER_MS);
	blk_poll(g->blk);
}

static int io_wait(struct rig *g, struct io *io)
{
	blk_submit(g->blk, &io->r);
	assert_int_equal(io->done, 0);
	for (u32 i = 0; i < 200000 && !io->done; i++)
		turn(g);
	assert_int_equal(io->done, 1);
	return io->err;
}

static int simple(struct rig *g, enum blk_op op, u64 lba, u32 sectors, void *p, bool fua)
{
	struct io *io = malloc(sizeof(*io));
	int err;

	io_init(io, op, lba, sectors);
	if (p)
		io_seg(io, p, sectors * g->blk->sector_bytes);
	io->r.fua = fua;
	err = io_wait(g, io);
	free(io);
	return err;
}

/* ---------------------------------------------------------------- start */

static void start_up(void **state)
{
	struct rig g;

	(void)state;
	rig_init(&g, 512);
	hba_model_disk(&g.m, 0, 100, 4096);
	hba_model_disk(&g.m, 2, 100, 512)->atapi = true; /* of which it knows nothing */
	rig_start(&g, NULL);
	assert_int_equal(ahci_drv_disks(g.drv), 2);
	assert_int_equal(ahci_drv_port(g.drv, 0), 0);
	assert_int_equal(ahci_drv_port(g.drv, 1), 1);
	assert_string_equal(ahci_drv_blk(g.drv, 0)->serial, "MODEL0001");
	assert_int_equal(ahci_drv_blk(g.drv, 0)->sector_bytes, 4096);
	g.blk = ahci_drv_blk(g.drv, 1);
	assert_string_equal(g.blk->serial, "MODEL0002");
	assert_string_equal(g.blk->model, "Model of a disk");
	assert_int_equal(g.blk->sectors, SECTORS);
	assert_int_equal(g.blk->sector_bytes, 512);
	assert_true(g.blk->write_cache);
	assert_true(ahci_drv_has_irq(g.drv));
	assert_int_equal(g.m.bohc & (AHCI_BOHC_OOS | AHCI_BOHC_BOS), AHCI_BOHC_OOS);
	assert_int_equal(g.m.hrs, 1);
	/* what is no disk does not write to memory any more */
	assert_int_equal(g.m.disk[2].reg[AHCI_PX_CMD / 4] & (AHCI_PX_CMD_FRE | AHCI_PX_CMD_ST), 0);
	assert_int_equal(ahci_drv_deadline_ns(g.drv), 0);
	assert_false(ahci_drv_work(g.drv));
	assert_int_equal(simple(&g, BLK_WRITE, 3, 1, g.buf, false), 0);
	assert_memory_equal(g.k->data + 3 * 512, g.buf, 512);
	rig_fini(&g);
}

static void staggered(void **state)
{
	struct rig g;

	(void)state;
	rig_init(&g, 512);
	g.m.cap |= AHCI_CAP_SSS;
	hba_model_disk(&g.m, 3, 100, 512);
	rig_start(&g, NULL);
	assert_int_equal(ahci_drv_disks(g.drv), 2);
	assert_true(g.m.disk[0].reg[AHCI_PX_CMD / 4] & AHCI_PX_CMD_SUD);
	rig_fini(&g);
}

static void refusals(void **state)
{
	struct rig g;

	(void)state;
	for (u32 i = 0; i < 12; i++) {
		int want = -ENODEV;

		rig_init(&g, 512);
		switch (i) {
		case 0: g.m.gone = true; break;
		case 1: g.m.stuck_hr = true; want = -EIO; break;
		case 2: g.k->present = false; break;
		case 3: g.k->atapi = true; break;
		case 4: g.k->no_link = true; break;
		case 5: g.k->busy = true; break;
		case 6: g.k->refuse_identify = 100; break;
		case 7: g.k->damage_identify = 100; break;
		case 8: g.k->id[ATA_ID_SECURITY] = ATA_ID_SECURITY_LOCKED; break;
		case 9: g.k->id[ATA_ID_CMDS2] &= (u16)~ATA_ID_CMDS2_LBA48; break;
		case 10: g.k->sectors = g.k->id[ATA_ID_SECTORS48] = 0; break;
		case 11: g.m.vs = 0; break;
		}
		hba_model_seal(g.k);
		assert_int_equal(ahci_drv_create(&g.m.bus, NULL, &g.drv), want);
		g.drv = NULL;
		if (i > 1)
			assert_false(g.m.irq_enabled);
		rig_fini(&g);
	}
}

static void start_with_trouble(void **state)
{
	struct rig g;

	(void)state;
	for (u32 i = 0; i < 5; i++) {
		rig_init(&g, 512);
		switch (i) {
		case 0: g.m.bios_busy = true; break; /* the firmware keeps it: taken anyway */
		case 1: g.k->damage_identify = 2; break;
		case 2: g.k->refuse_identify = 1; break;
		case 3: g.k->deaf = 1; break;
		case 4: g.k->wire_errors = 2; break;
		}
		rig_start(&g, NULL);
		assert_int_equal(simple(&g, BLK_READ, 3, 1, g.buf, false), 0);
		rig_fini(&g);
	}
}

static void no_memory(void **state)
{
	struct rig g;
	u32 n = 1;
	int err;

	(void)state;
	do {
		rig_init(&g, 512);
		g.m.alloc_fail = n++;
		err = ahci_drv_create(&g.m.bus, NULL, &g.drv);
		if (err) {
			assert_true(err == -ENOMEM || err == -ENODEV);
			g.drv = NULL;
		}
		rig_fini(&g);
	} while (err);
	assert_true(n > 40);
}

/* ---------------------------------------------------------------- data */

static u8 *shape(struct rig *g, struct io *io, u32 bytes, u32 style)
{
	u8 *p = g->buf + 4096 * rnd(g, 100);
	u32 left = bytes, n;

	if (style == 1) /* anywhere even */
		p += 2 * rnd(g, 2048);
	if (style == 2) /* anywhere at all */
		p += rnd(g, 4096);
	for (u8 *at = p; left; at += n, left -= n) {
		n = left;
		if (style == 3) /* pages of their own */
			n = MIN(left, 4096u);
		if (style == 4) /* crumbs */
			n = MIN(left, 1 + rnd(g, 9000));
		if (style == 5) /* even crumbs */
			n = MIN(left, 2 + 2 * rnd(g, 400));
		if (io->r.nsegs == ARRAY_SIZE(io->segs) - 1)
			n = left;
		io_seg(io, at, n);
	}
	return p;
}

/* The pieces lie apart, some with an odd byte at an end. */
static void scatter(struct rig *g, struct io *io, u32 bytes, bool odd, u8 **pieces)
{
	u32 left = bytes, n;

	for (u32 i = 0; left; i++) {
		n = MIN(left, odd ? 1 + rnd(g, 3000) : 2 + 2 * rnd(g, 1000));
		if (i == 700)
			n = MIN(left, 4096u);
		pieces[i] = g->buf + 8192 * (i + 1) + (odd ? rnd(g, 1000) : 2 * rnd(g, 500));
		io_seg(io, pieces[i], n);
		left -= n;
	}
}

static void read_scattered(struct rig *g, struct io *io, u32 bytes, bool odd, const u8 *want)
{
	u8 *pieces[1200];
	u32 off = 0;

	scatter(g, io, bytes, odd, pieces);
	assert_int_equal(io_wait(g, io), 0);
	for (u32 i = 0; i < io->r.nsegs; i++) {
		assert_memory_equal(pieces[i], want + off, io->segs[i].bytes);
		assert_int_equal(pieces[i][io->segs[i].bytes], 0xee);
		assert_int_equal(pieces[i][-1], 0xee);
		off += io->segs[i].bytes;
	}
}

static void shapes(u32 unit, const struct ahci_drv_opts *opts)
{
	struct rig g;
	struct io *io = malloc(sizeof(*io));
	u8 *want = malloc(BUF_BYTES), *p;

	rig_init(&g, unit);
	rig_start(&g, opts);
	for (u32 i = 0; i < 150; i++) {
		u32 sectors = 1 + rnd(&g, i % 10 ? 64 : (u32)MIB / unit);
		u32 bytes = sectors * unit, lba = rnd(&g, SECTORS - sectors);

		io_init(io, BLK_WRITE, lba, sectors);
		p = shape(&g, io, bytes, i % 6);
		for (u32 j = 0; j < bytes; j++)
			want[j] = p[j] = (u8)rnd(&g, 256);
		assert_int_equal(io_wait(&g, io), 0);
		assert_memory_equal(g.k->data + (u64)lba * unit, want, bytes);

		memset(g.buf, 0xee, BUF_BYTES);
		io_init(io, BLK_READ, lba, sectors);
		if (bytes <= 256 * 1024 && i & 1) {
			read_scattered(&g, io, bytes, i & 2, want);
		} else {
			p = shape(&g, io, bytes, i / 2 % 6);
			assert_int_equal(io_wait(&g, io), 0);
			assert_memory_equal(p, want, bytes);
			assert_int_equal(p[bytes], 0xee);
		}
	}
	assert_true(ahci_drv_stats(g.drv)->bounced > 0);
	assert_int_equal(ahci_drv_stats(g.drv)->errors, 0);
	assert_int_equal(ahci_drv_stats(g.drv)->resets, 0);
	rig_fini(&g);
	free(io);
	free(want);
}

static void every_shape(void **state)
{
	(void)state;
	shapes(512, NULL);
	shapes(4096, NULL);
	shapes(512, &(struct ahci_drv_opts){ .no_ncq = true });
}

/* A controller of 32-bit addresses gets nothing it cannot reach: all of it is bounced. */
static void low_addresses(void **state)
{
	struct rig g;

	(void)state;
	rig_init(&g, 512);
	g.m.cap &= ~AHCI_CAP_S64A;
	/* the model's memory is high: there is none for the driver, and it says so */
	assert_int_equal(ahci_drv_create(&g.m.bus, NULL, &g.drv), -ENOMEM);
	g.drv = NULL;
	rig_fini(&g);
}

/* Longer than one command may be: the driver splits. */
static void long_request(void **state)
{
	struct rig g;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, NULL);
	for (u32 i = 0; i < 4 * MIB; i++)
		g.buf[i] = (u8)(i * 2654435761u >> 24);
	assert_int_equal(g.blk->max_sectors, 8192);
	assert_int_equal(simple(&g, BLK_WRITE, 100, 8192, g.buf, false), 0);
	assert_memory_equal(g.k->data + 100 * 512, g.buf, 4u << 20);
	assert_int_equal(ahci_drv_stats(g.drv)->writes, 4);
	rig_fini(&g);
}

static void many(struct rig *g, u32 rounds)
{
	struct io *io = calloc(IOS, sizeof(*io));

	for (u32 round = 0; round < rounds; round++) {
		for (u32 i = 0; i < IOS; i++) {
			memset(g->buf + i * 8192, (int)(round * 31 + i), 8192);
			io_init(&io[i], BLK_WRITE, i * 16, 16);
			io_seg(&io[i], g->buf + i * 8192, 8192);
			blk_submit(g->blk, &io[i].r);
		}
		for (u32 i = 0; i < 20000 && !io[IOS - 1].done; i++)
			turn(g);
		for (u32 i = 0; i < 100; i++)
			turn(g);
		for (u32 i = 0; i < IOS; i++) {
			assert_int_equal(io[i].done, 1);
			assert_int_equal(io[i].err, 0);
		}
		assert_memory_equal(g->k->data, g->buf, IOS * 8192);
	}
	free(io);
}

static void many_at_once(void **state)
{
	struct rig g;

	(void)state;
	rig_init(&g, 512);
	g.k->shuffle = 99;
	rig_start(&g, NULL);
	many(&g, 10);
	assert_int_equal(ahci_drv_stats(g.drv)->writes, 10 * IOS);
	assert_int_equal(g.k->queued, 10 * IOS);
	assert_int_equal(g.k->most_out, 32);
	rig_fini(&g);

	rig_init(&g, 512); /* the disk's queue is shorter than the controller's list */
	g.k->id[ATA_ID_QUEUE_DEPTH] = 4;
	hba_model_seal(g.k);
	rig_start(&g, NULL);
	many(&g, 2);
	assert_int_equal(g.k->most_out, 5);
	rig_fini(&g);

	rig_init(&g, 512); /* no queue at all: the controller sends one after the other */
	g.k->id[ATA_ID_SATA_CAPS] = 0;
	hba_model_seal(g.k);
	rig_start(&g, NULL);
	many(&g, 2);
	assert_int_equal(g.k->queued, 0);
	rig_fini(&g);
}

static void without_interrupt(void **state)
{
	struct rig g;

	(void)state;
	rig_init(&g, 512);
	g.m.no_irq = true;
	rig_start(&g, NULL);
	assert_false(ahci_drv_has_irq(g.drv));
	assert_int_equal(g.m.ghc & AHCI_GHC_IE, 0);
	many(&g, 2);
	assert_int_equal(g.m.irqs, 0);
	rig_fini(&g);
}

/* Frames that never reach memory: registers are looked at all the same, ten times a second. */
static void lost_frames(void **state)
{
	struct rig g;
	u64 from;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, NULL);
	g.k->no_frames = true;
	g.m.no_irq = true;
	g.m.irq_enabled = false;
	from = plat_host_now_ns;
	assert_int_equal(simple(&g, BLK_READ, 5, 1, g.buf, false), 0);
	assert_true(plat_host_now_ns - from < 200 * NS_PER_MS);
	assert_int_equal(ahci_drv_stats(g.drv)->timeouts, 0);
	rig_fini(&g);
}

/* ---------------------------------------------------------------- other commands */

static void flush_and_fua(void **state)
{
	struct rig g;

	(void)state;
	for (u32 fua = 0; fua < 2; fua++)
		for (u32 ncq = 0; ncq < 2; ncq++) {
			rig_init(&g, 512);
			if (!fua)
				g.k->id[ATA_ID_CMDS3] &= (u16)~ATA_ID_CMDS3_FUA;
			hba_model_seal(g.k);
			rig_start(&g, &(struct ahci_drv_opts){ .no_ncq = !ncq });
			assert_int_equal(simple(&g, BLK_WRITE, 5, 4000, g.buf, true), 0);
			assert_int_equal(g.k->fuas, fua ? 2 : 0);
			assert_int_equal(g.k->flushes, fua ? 0 : 1);
			assert_int_equal(simple(&g, BLK_FLUSH, 0, 0, NULL, false), 0);
			assert_int_equal(g.k->flushes, fua ? 1 : 2);
			assert_int_equal(simple(&g, BLK_READ, 5, 8, g.buf, true), 0);
			assert_int_equal(g.k->flushes, fua ? 1 : 2);
			rig_fini(&g);
		}
	rig_init(&g, 512); /* no write cache: nothing to flush */
	g.k->id[ATA_ID_CMDS1] = 0;
	hba_model_seal(g.k);
	rig_start(&g, NULL);
	assert_false(g.blk->write_cache);
	assert_int_equal(simple(&g, BLK_FLUSH, 0, 0, NULL, false), 0);
	assert_int_equal(g.k->flushes, 0);
	rig_fini(&g);
}

static void trims(void **state)
{
	struct rig g;

	(void)state;
	rig_init(&g, 512);
	g.k->sectors = 10000000;
	for (u32 i = 0; i < 4; i++)
		g.k->id[ATA_ID_SECTORS48 + i] = (u16)(g.k->sectors >> 16 * i);
	hba_model_seal(g.k);
	rig_start(&g, NULL);
	assert_int_equal(simple(&g, BLK_TRIM, 10, 9000000, NULL, false), 0);
	assert_int_equal(g.k->trim_sectors, 9000000);
	assert_int_equal(g.k->trim_ranges, (9000000 + 65534) / 65535 );
	assert_int_equal(ahci_drv_stats(g.drv)->trims, 3);
	/* refused: no error, and not tried again */
	g.k->refuse_trim = 1;
	assert_int_equal(simple(&g, BLK_TRIM, 10, 10, NULL, false), 0);
	assert_int_equal(simple(&g, BLK_TRIM, 10, 10, NULL, false), 0);
	assert_int_equal(g.k->trim_sectors, 9000000);
	assert_int_equal(simple(&g, BLK_READ, 10, 10, g.buf, false), 0);
	rig_fini(&g);
}

static bool is_all(const u8 *p, u32 bytes, u8 value)
{
	return p[0] == value && !memcmp(p, p + 1, bytes - 1);
}

static void zeroes(void **state)
{
	struct rig g;

	(void)state;
	for (u32 unit = 512; unit <= 4096; unit *= 8) {
		rig_init(&g, unit);
		rig_start(&g, NULL);
		memset(g.k->data, 0x55, SECTORS * unit);
		assert_int_equal(simple(&g, BLK_WRITE_ZEROES, 3, 7001, NULL, false), 0);
		for (u32 i = 0; i < 7004; i++)
			assert_int_equal(is_all(g.k->data + i * unit, unit, i < 3 ? 0x55 : 0), 1);
		assert_true(is_all(g.k->data + 7004 * unit, unit, 0x55));
		rig_fini(&g);
	}
}

static void bad_requests(void **state)
{
	struct rig g;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, NULL);
	assert_int_equal(simple(&g, BLK_READ, SECTORS, 1, g.buf, false), -EINVAL);
	assert_int_equal(simple(&g, BLK_READ, SECTORS - 1, 2, g.buf, false), -EINVAL);
	assert_int_equal(simple(&g, BLK_READ, ~0ull, 1, g.buf, false), -EINVAL);
	assert_int_equal(simple(&g, BLK_READ, 0, 0, NULL, false), -EINVAL);
	assert_int_equal(simple(&g, BLK_READ, 0, 1, NULL, false), -EINVAL);
	assert_int_equal(simple(&g, BLK_TRIM, SECTORS - 1, 2, NULL, false), -EINVAL);
	assert_int_equal(g.k->queued + g.k->plain, 1); /* IDENTIFY */
	rig_fini(&g);
}

/* ---------------------------------------------------------------- errors */

/* One bad sector among many commands: that command fails or is retried, no other. */
static void among_many(struct rig *g, u32 bad, int want)
{
	struct io *io = calloc(IOS, sizeof(*io));

	for (u32 i = 0; i < IOS; i++) {
		memset(g->k->data + i * 8192, (int)i, 8192);
		io_init(&io[i], BLK_READ, i * 16, 16);
		io_seg(&io[i], g->buf + i * 8192, 8192);
		blk_submit(g->blk, &io[i].r);
	}
	for (u32 i = 0; i < 5000 && (i < 300 || ahci_drv_deadline_ns(g->drv)); i++)
		turn(g);
	for (u32 i = 0; i < IOS; i++) {
		assert_int_equal(io[i].done, 1);
		assert_int_equal(io[i].err, i == bad ? want : 0);
		if (!io[i].err)
			assert_memory_equal(g->buf + i * 8192, g->k->data + i * 8192, 8192);
	}
	free(io);
}

static void bad_sector(void **state)
{
	struct rig g;

	(void)state;
	for (u32 log = 0; log < 2; log++)
		for (u32 ncq = 0; ncq < 2; ncq++)
			for (u32 times = 1; times < 20; times += 18) {
				rig_init(&g, 512);
				if (!log)
					g.k->id[ATA_ID_CMDS3] = ATA_ID_CMDS3_FIXED;
				hba_model_seal(g.k);
				rig_start(&g, &(struct ahci_drv_opts){ .no_ncq = !ncq });
				g.k->bad_lba = 37 * 16 + 5;
				g.k->bad_count = times;
				g.k->bad_error = ATA_ERR_UNC;
				among_many(&g, 37, times == 1 ? 0 : -EIO);
				/* the log names it; without one it takes a reset to go on */
				assert_int_equal(ahci_drv_stats(g.drv)->logs, !(log && ncq) ? 0 :
						 times == 1 ? 1 : 2);
				assert_int_equal(g.k->comresets - 1, ncq && !log);
				/* and the disk is none the worse for it */
				g.k->bad_count = 0;
				g.k->most_out = 0;
				among_many(&g, 0, 0);
				assert_int_equal(g.k->most_out, 32);
				rig_fini(&g);
			}
}

/* The command list of some controllers forgets a command that failed: it ended, but not well. */
static void failed_and_gone(void **state)
{
	struct rig g;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, &(struct ahci_drv_opts){ .no_ncq = true });
	g.k->clears_ci = true;
	g.k->bad_lba = 37 * 16 + 5;
	g.k->bad_error = ATA_ERR_UNC;
	g.k->bad_count = 1000;
	among_many(&g, 37, -EIO);
	g.k->bad_count = 1;
	among_many(&g, 37, 0);
	assert_int_equal(g.k->comresets, 1);
	rig_fini(&g);
}

/* A disk that is busy after its error cannot take commands: a restart becomes a reset. */
static void stuck_after_error(void **state)
{
	struct rig g;

	(void)state;
	for (u32 ncq = 0; ncq < 2; ncq++) {
		rig_init(&g, 512);
		rig_start(&g, &(struct ahci_drv_opts){ .no_ncq = !ncq });
		g.k->sticks = true;
		g.k->bad_lba = 37 * 16 + 5;
		g.k->bad_error = ATA_ERR_UNC;
		g.k->bad_count = 1;
		among_many(&g, 37, 0);
		assert_int_equal(g.k->comresets, 2);
		assert_int_equal(ahci_drv_stats(g.drv)->logs, 0);
		g.k->bad_count = 1000;
		among_many(&g, 37, -EIO);
		assert_false(ahci_drv_dead(g.drv, 0));
		rig_fini(&g);
	}
}

/* A disk that fails every write for ever is not dead: it can be read. */
static void read_only_disk(void **state)
{
	struct rig g;

	(void)state;
	for (u32 log = 0; log < 2; log++) {
		rig_init(&g, 512);
		if (!log)
			g.k->id[ATA_ID_CMDS3] = ATA_ID_CMDS3_FIXED;
		hba_model_seal(g.k);
		rig_start(&g, NULL);
		g.k->bad_lba = 5;
		g.k->bad_count = 1000;
		g.k->bad_error = ATA_ERR_ABRT;
		for (u32 i = 0; i < 20; i++)
			assert_int_equal(simple(&g, BLK_WRITE, 5, 1, g.buf, false), -EIO);
		assert_false(ahci_drv_dead(g.drv, 0));
		assert_int_equal(simple(&g, BLK_READ, 6, 1, g.buf, false), 0);
		rig_fini(&g);
	}
}

static void flush_fails(void **state)
{
	struct rig g;

	(void)state;
	rig_init(&g, 512);
	g.k->id[ATA_ID_CMDS3] = ATA_ID_CMDS3_FIXED; /* no FUA */
	hba_model_seal(g.k);
	rig_start(&g, NULL);
	g.k->bad_lba = ~0ull;
	g.k->bad_error = ATA_ERR_ABRT;
	g.k->bad_count = 1;
	assert_int_equal(simple(&g, BLK_FLUSH, 0, 0, NULL, false), 0);
	assert_int_equal(ahci_drv_stats(g.drv)->retries, 1);
	g.k->bad_count = 4;
	assert_int_equal(simple(&g, BLK_FLUSH, 0, 0, NULL, false), -EIO);
	g.k->bad_count = 4;
	assert_int_equal(simple(&g, BLK_WRITE, 9, 1, g.buf, true), -EIO);
	g.k->bad_count = 0;
	assert_int_equal(simple(&g, BLK_WRITE, 9, 1, g.buf, true), 0);
	rig_fini(&g);
}

/* The log cannot be read, or names what was never sent. */
static void log_nonsense(void **state)
{
	struct rig g;

	(void)state;
	for (u32 i = 0; i < 2; i++) {
		rig_init(&g, 512);
		rig_start(&g, NULL);
		g.k->no_log = !i;
		g.k->wrong_log = i;
		g.k->bad_lba = 37 * 16 + 5;
		g.k->bad_count = 5;
		g.k->bad_error = ATA_ERR_UNC;
		if (i) { /* one at a time, so that the wrong tag is nobody's */
			assert_int_equal(simple(&g, BLK_READ, 37 * 16, 16, g.buf, false), -EIO);
			assert_int_equal(simple(&g, BLK_READ, 36 * 16, 16, g.buf, false), 0);
		} else {
			among_many(&g, 37, -EIO);
		}
		assert_int_equal(ahci_drv_stats(g.drv)->logs, 0);
		rig_fini(&g);
	}
}

static void wire_errors(void **state)
{
	struct rig g;

	(void)state;
	for (u32 ncq = 0; ncq < 2; ncq++) {
		rig_init(&g, 512);
		rig_start(&g, &(struct ahci_drv_opts){ .no_ncq = !ncq });
		for (u32 i = 0; i < 4; i++) {
			g.k->wire_errors = 1;
			among_many(&g, 0, 0);
		}
		assert_int_equal(ahci_drv_stats(g.drv)->link_errors, 4);
		assert_int_equal(g.k->comresets, 1 + 4);
		/* NCQ was under suspicion three times */
		g.k->queued = 0;
		among_many(&g, 0, 0);
		assert_int_equal(g.k->queued, 0);
		rig_fini(&g);
	}
}

static void timeouts(void **state)
{
	struct rig g;
	u64 from;

	(void)state;
	for (u32 ncq = 0; ncq < 2; ncq++) {
		rig_init(&g, 512);
		rig_start(&g, &(struct ahci_drv_opts){ .no_ncq = !ncq });
		g.k->deaf = 1;
		from = plat_host_now_ns;
		among_many(&g, 0, 0);
		assert_true(ahci_drv_stats(g.drv)->timeouts > 0);
		assert_int_equal(g.k->comresets, 2);
		assert_true(plat_host_now_ns - from >= 10 * NS_PER_SEC);
		/* it answers nothing any more: in the end it is dead */
		g.k->deaf = 1000;
		assert_int_equal(simple(&g, BLK_READ, 6, 1, g.buf, false), -EIO);
		rig_fini(&g);
	}
}

static void dead_disk(struct rig *g)
{
	u32 turns = 0;

	assert_int_equal(simple(g, BLK_READ, 6, 1, g->buf, false), -EIO);
	assert_true(ahci_drv_dead(g->drv, 0));
	assert_int_equal(simple(g, BLK_WRITE, 6, 1, g->buf, false), -EIO);
	while (ahci_drv_deadline_ns(g->drv) && turns++ < 10)
		turn(g);
	assert_int_equal(ahci_drv_deadline_ns(g->drv), 0);
}

static void link_goes(void **state)
{
	struct rig g;

	(void)state;
	rig_init(&g, 512); /* and comes back */
	rig_start(&g, NULL);
	g.k->hold = true;
	{
		struct io *io = malloc(sizeof(*io));

		io_init(io, BLK_READ, 7, 1);
		io_seg(io, g.buf, 512);
		blk_submit(g.blk, &io->r);
		turn(&g);
		hba_model_lose_link(g.k);
		assert_true(ahci_drv_work(g.drv)); /* no frame: by the register */
		g.k->hold = false;
		for (u32 i = 0; i < 1000; i++)
			turn(&g);
		assert_int_equal(io->done, 1);
		assert_int_equal(io->err, 0);
		free(io);
	}
	assert_int_equal(ahci_drv_stats(g.drv)->resets, 1);
	/* while nothing is out */
	hba_model_lose_link(g.k);
	assert_true(ahci_drv_work(g.drv));
	blk_poll(g.blk);
	assert_true(ahci_drv_deadline_ns(g.drv) > 0);
	assert_int_equal(simple(&g, BLK_READ, 6, 1, g.buf, false), 0);
	/* for good */
	g.k->no_link = true;
	hba_model_lose_link(g.k);
	assert_true(ahci_drv_work(g.drv));
	blk_poll(g.blk);
	dead_disk(&g);
	rig_fini(&g);

	for (u32 i = 0; i < 3; i++) {
		rig_init(&g, 512);
		rig_start(&g, NULL);
		g.k->wire_errors = 1;
		g.k->busy = i == 0;
		g.k->other = i == 1;
		g.k->refuse_identify = i == 2 ? 100 : 0;
		dead_disk(&g);
		rig_fini(&g);
	}
}

/* The command list does not stop: the controller is reset, the other disk's commands live on. */
static void stuck_list(void **state)
{
	struct rig g;
	struct io *io = malloc(sizeof(*io));
	struct hba_disk *second;

	(void)state;
	rig_init(&g, 512);
	second = hba_model_disk(&g.m, 2, SECTORS, 512);
	rig_start(&g, NULL);
	second->hold = true;
	memset(second->data, 0x77, 512);
	io_init(io, BLK_READ, 0, 1);
	io_seg(io, g.buf + 8192, 512);
	blk_submit(ahci_drv_blk(g.drv, 1), &io->r);
	g.k->stuck = true;
	g.k->wire_errors = 1;
	assert_int_equal(simple(&g, BLK_READ, 6, 1, g.buf, false), 0);
	assert_int_equal(g.m.hrs, 2);
	second->hold = false;
	for (u32 i = 0; i < 1000; i++)
		turn(&g);
	assert_int_equal(io->done, 1);
	assert_int_equal(io->err, 0);
	assert_int_equal(g.buf[8192], 0x77);
	/* and when not even that helps */
	g.k->stuck = true;
	g.k->wire_errors = 1;
	g.m.stuck_hr = true;
	dead_disk(&g);
	assert_true(ahci_drv_dead(g.drv, 1));
	assert_int_equal(g.m.cfg_command & 4, 0);
	rig_fini(&g);
	free(io);
}

static void gone(void **state)
{
	struct rig g;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, NULL);
	g.m.gone = true;
	assert_false(ahci_drv_work(g.drv));
	dead_disk(&g);
	rig_fini(&g);
}

static void shutdown(void **state)
{
	struct rig g;

	(void)state;
	rig_init(&g, 512);
	rig_start(&g, NULL);
	ahci_drv_shutdown(g.drv);
	assert_false(g.m.irq_enabled);
	assert_int_equal(g.m.ghc, AHCI_GHC_AE);
	dead_disk(&g);
	ahci_drv_shutdown(g.drv);
	rig_fini(&g);
}

/* Any number of faults in any order: every request ends once, and well unless the disk said no. */
static void storm(void **state)
{
	struct io *io = calloc(IOS, sizeof(*io));
	struct rig g;

	(void)state;
	for (u32 seed = 1; seed <= 30; seed++) {
		rig_init(&g, seed & 1 ? 512 : 4096);
		g.rnd = seed;
		g.k->shuffle = seed;
		if (seed % 3 == 0)
			g.k->id[ATA_ID_CMDS3] = ATA_ID_CMDS3_FIXED;
		hba_model_seal(g.k);
		rig_start(&g, &(struct ahci_drv_opts){ .no_ncq = seed % 5 == 0 });
		for (u32 i = 0; i < IOS; i++) {
			static const enum blk_op ops[] = { BLK_READ, BLK_WRITE, BLK_READ, BLK_WRITE,
							   BLK_FLUSH, BLK_TRIM, BLK_WRITE_ZEROES };
			enum blk_op op = ops[rnd(&g, 7)];

			io_init(&io[i], op, i * 8, 1 + rnd(&g, 8));
			if (op == BLK_READ || op == BLK_WRITE)
				io_seg(&io[i], g.buf + i * 32768 + rnd(&g, 2),
				       io[i].r.sectors * g.blk->sector_bytes);
			io[i].r.fua = op == BLK_WRITE && rnd(&g, 2);
			blk_submit(g.blk, &io[i].r);
			switch (rnd(&g, 12)) {
			case 0:
				g.k->bad_lba = i * 8;
				g.k->bad_count = 1;
				g.k->bad_error = ATA_ERR_UNC;
				break;
			case 1: g.k->wire_errors = 1; break;
			case 2: g.k->refuse_trim = 1; break;
			case 3: hba_model_lose_link(g.k); break;
			case 4: g.k->wrong_log = !g.k->wrong_log; break;
			}
			for (u32 n = rnd(&g, 40); n; n--)
				turn(&g);
		}
		for (u32 i = 0; i < 20000 && (i < 1000 || ahci_drv_deadline_ns(g.drv)); i++)
			turn(&g);
		for (u32 i = 0; i < IOS; i++) {
			assert_int_equal(io[i].done, 1);
			assert_true(!io[i].err || io[i].err == -EIO);
		}
		assert_int_equal(ahci_drv_deadline_ns(g.drv), 0);
		rig_fini(&g);
	}
	free(io);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(start_up),
		cmocka_unit_test(staggered),
		cmocka_unit_test(refusals),
		cmocka_unit_test(start_with_trouble),
		cmocka_unit_test(no_memory),
		cmocka_unit_test(every_shape),
		cmocka_unit_test(low_addresses),
		cmocka_unit_test(long_request),
		cmocka_unit_test(many_at_once),
		cmocka_unit_test(without_interrupt),
		cmocka_unit_test(lost_frames),
		cmocka_unit_test(flush_and_fua),
		cmocka_unit_test(trims),
		cmocka_unit_test(zeroes),
		cmocka_unit_test(bad_requests),
		cmocka_unit_test(bad_sector),
		cmocka_unit_test(failed_and_gone),
		cmocka_unit_test(stuck_after_error),
		cmocka_unit_test(read_only_disk),
		cmocka_unit_test(flush_fails),
		cmocka_unit_test(log_nonsense),
		cmocka_unit_test(wire_errors),
		cmocka_unit_test(timeouts),
		cmocka_unit_test(link_goes),
		cmocka_unit_test(stuck_list),
		cmocka_unit_test(gone),
		cmocka_unit_test(shutdown),
		cmocka_unit_test(storm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
