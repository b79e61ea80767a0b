/*
 * The device, and everything that waits for it; see big_disk.h
 */
#include "tests/fakes/big_disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/plat.h"
#include "base/plat_host.h"

#define TICKS_MAX 2000000u

struct big_disk big;

static void dev_submit(struct blk_dev *b, struct blk_req *r)
{
	list_add_tail(&container_of(b, struct big_disk, blk)->queue, &r->link);
}

static __attribute__((noinline)) void dev_copy(struct big_disk *d, const struct blk_req *r)
{
	u64 off = r->lba * d->blk.sector_bytes;

	for (u32 i = 0; i < r->nsegs; i++) {
		u8 *mem = plat_phys_to_virt(r->segs[i].pa);

		for (u32 at = 0, n; at < r->segs[i].bytes; at += n, off += n) {
			u8 **p = &d->piece[off / BIG_PIECE];

			n = MIN(r->segs[i].bytes - at, (u32)(BIG_PIECE - off % BIG_PIECE));
			if (r->op == BLK_WRITE && !*p)
				*p = calloc(1, BIG_PIECE);
			if (r->op == BLK_WRITE)
				memcpy(*p + off % BIG_PIECE, mem + at, n);
			else if (*p)
				memcpy(mem + at, *p + off % BIG_PIECE, n);
			else
				memset(mem + at, 0, n);
		}
	}
}

static void dev_poll(struct blk_dev *b)
{
	struct big_disk *d = container_of(b, struct big_disk, blk);

	while (!list_empty(&d->queue)) {
		struct blk_req *r = list_first(&d->queue, struct blk_req, link);
		u64 bytes = (u64)r->sectors * b->sector_bytes;

		list_del(&r->link);
		if (r->op == BLK_READ || r->op == BLK_WRITE)
			dev_copy(d, r);
		d->writes += r->op == BLK_WRITE;
		d->write_bytes += r->op == BLK_WRITE ? bytes : 0;
		d->reads += r->op == BLK_READ;
		d->read_bytes += r->op == BLK_READ ? bytes : 0;
		r->done(r, 0);
	}
}

static const struct blk_ops dev_ops = { .submit = dev_submit, .poll = dev_poll };

/* ---------------------------------------------------------------- waiting */

static void finished(int err)
{
	big.err = err;
	big.done = true;
}

static bool is_done(void)
{
	return big.done;
}

void big_until(bool (*cond)(void))
{
	for (u32 i = 0; i < TICKS_MAX; i++) {
		if (cond())
			return;
		plat_host_now_ns += NS_PER_MS;
		blk_poll(&big.blk);
		big.source->src.ops->poll(&big.source->src);
		if (big.disk)
			disk_poll(big.disk);
	}
	fail_msg("this takes for ever");
}

static int result(void)
{
	big_until(is_done);
	big.done = false;
	return big.err;
}

static void io_done(struct blk_req *r, int err)
{
	(void)r;
	finished(err);
}

int big_io(enum blk_op op, u64 lba, u32 sectors, u8 *buf)
{
	struct blk_seg seg = { plat_virt_to_phys(buf), sectors * 512 };
	struct blk_req r = { .op = op, .lba = lba, .sectors = sectors, .segs = &seg,
			     .nsegs = op == BLK_READ || op == BLK_WRITE, .done = io_done };

	blk_submit(disk_blk(big.disk), &r);
	return result();
}

/* ---------------------------------------------------------------- life */

static void formatted(struct store_format *f, int err)
{
	(void)f;
	finished(err);
}

static void opened(struct store *s, int err, void *arg)
{
	(void)s;
	(void)arg;
	finished(err);
}

static void ready(struct disk *d, int err, void *arg)
{
	(void)d;
	(void)arg;
	finished(err);
}

void big_bind(const struct image_fake *im)
{
	struct disk_cfg cfg = { .policy = STORE_POLICY_PUSH, .ready = ready,
				.fill = { .on = true, .idle_ms = 1 } };
	u8 *root = image_fake_manifest(im, &cfg.manifest_bytes);

	disk_destroy(big.disk);
	big.disk = NULL;
	source_fake_add(big.source, im);
	assert_int_equal(store_create(&big.store, &big.blk, 0, big.blk.sectors), 0);
	store_open(big.store, opened, NULL);
	assert_int_equal(result(), 0);
	cfg.manifest = root;
	cfg.store = big.store;
	cfg.source = &big.source->src;
	assert_int_equal(disk_create(&big.disk, &cfg), 0);
	assert_int_equal(result(), 0);
	free(root);
}

void big_setup(const struct image_fake *im, u64 bytes)
{
	struct store_format f = { .blk = &big.blk, .done = formatted,
				  .chunk_bytes = im->chunk_bytes };

	memset(&big, 0, sizeof(big));
	plat_host_quiet = true;
	plat_host_now_ns = NS_PER_SEC;
	big.pieces = (u32)(bytes / BIG_PIECE);
	big.piece = calloc(big.pieces, sizeof(*big.piece));
	list_init(&big.queue);
	big.blk = (struct blk_dev){ .ops = &dev_ops, .sector_bytes = 512, .sectors = bytes / 512,
				    .max_sectors = 2048, .max_segs = 128, .write_cache = true };
	big.source = source_fake_create(1);
	f.sectors = big.blk.sectors;
	assert_int_equal(store_format(&f), 0);
	assert_int_equal(result(), 0);
	big_bind(im);
}

void big_teardown(void)
{
	disk_destroy(big.disk);
	source_fake_destroy(big.source);
	for (u32 i = 0; i < big.pieces; i++)
		free(big.piece[i]);
	free(big.piece);
}

u64 big_memory(void)
{
	struct disk_stats st;

	disk_stats(big.disk, &st);
	return st.memory_bytes;
}
