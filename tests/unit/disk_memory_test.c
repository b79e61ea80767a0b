/*
 * What a virtual disk of 1 TiB takes of the VMM's memory: at most 96 MiB
 *
 * A real store and disk over a sparse device, fetched from a little; then the map of
 * guest writes is made to grow as far as it goes, and the map of a second version is
 * added. Allocations are counted where they are made, so nothing can be forgotten.
 */
#include <malloc.h>
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
#include "storage/core/disk_priv.h"
#include "tests/fakes/source_fake.h"

#define BAR (96 * MIB)
#define PIECE MIB

/* ---------------------------------------------------------------- a sparse device */

struct sparse {
	struct blk_dev blk;
	struct list queue;
	u8 **piece;
	u64 writes;
	u32 pieces;
};

static void sparse_submit(struct blk_dev *b, struct blk_req *r)
{
	struct sparse *s = container_of(b, struct sparse, blk);

	list_add_tail(&s->queue, &r->link);
}

static void sparse_copy(struct sparse *s, const struct blk_req *r)
{
	u64 off = r->lba * s->blk.sector_bytes;

	for (u32 i = 0; i < r->nsegs; i++) {
		u8 *mem = plat_phys_to_virt(r->segs[i].pa);

		for (u32 done = 0, n; done < r->segs[i].bytes; done += n, off += n) {
			u8 **p = &s->piece[off / PIECE];

			n = MIN(r->segs[i].bytes - done, (u32)(PIECE - off % PIECE));
			if (r->op == BLK_WRITE && !*p)
				*p = calloc(1, PIECE);
			if (r->op == BLK_WRITE)
				memcpy(*p + off % PIECE, mem + done, n);
			else if (*p)
				memcpy(mem + done, *p + off % PIECE, n);
			else
				memset(mem + done, 0, n);
		}
	}
}

static void sparse_poll(struct blk_dev *b)
{
	struct sparse *s = container_of(b, struct sparse, blk);

	while (!list_empty(&s->queue)) {
		struct blk_req *r = list_first(&s->queue, struct blk_req, link);

		list_del(&r->link);
		if (r->op == BLK_READ || r->op == BLK_WRITE)
			sparse_copy(s, r);
		s->writes += r->op == BLK_WRITE;
		r->done(r, 0);
	}
}

static const struct blk_ops sparse_ops = { .submit = sparse_submit, .poll = sparse_poll };

static void sparse_init(struct sparse *s, u64 bytes)
{
	memset(s, 0, sizeof(*s));
	s->pieces = (u32)(bytes / PIECE);
	s->piece = calloc(s->pieces, sizeof(*s->piece));
	list_init(&s->queue);
	s->blk = (struct blk_dev){ .ops = &sparse_ops, .sector_bytes = 512, .sectors = bytes / 512,
				   .max_sectors = 2048, .max_segs = 128, .write_cache = true };
}

static void sparse_fini(struct sparse *s)
{
	for (u32 i = 0; i < s->pieces; i++)
		free(s->piece[i]);
	free(s->piece);
}

/* ---------------------------------------------------------------- a disk on it */

static u64 seed_sparse(const struct image_fake *im, u64 chunk)
{
	(void)im;
	return chunk % 4096 ? 0 : chunk + 1;
}

struct setting {
	struct sparse dev;
	struct source_fake *source;
	struct store *store;
	struct disk *disk;
	int err;
	bool done;
};

static struct setting k;

static void formatted(struct store_format *f, int err)
{
	(void)f;
	k.err = err;
	k.done = true;
}

static void opened(struct store *s, int err, void *arg)
{
	(void)s;
	(void)arg;
	k.err = err;
	k.done = true;
}

static void ready(struct disk *d, int err, void *arg)
{
	(void)d;
	opened(NULL, err, arg);
}

static void wait_done(void)
{
	for (u32 i = 0; i < 2000000 && !k.done; i++) {
		plat_host_now_ns += NS_PER_MS;
		blk_poll(&k.dev.blk);
		k.source->src.ops->poll(&k.source->src);
		if (k.disk)
			disk_poll(k.disk);
	}
	assert_true(k.done);
	assert_int_equal(k.err, 0);
	k.done = false;
}

static void set_up(const struct image_fake *im, u64 dev_bytes)
{
	struct disk_cfg cfg = { .policy = STORE_POLICY_PUSH, .ready = ready };
	struct store_format f = { .blk = &k.dev.blk, .done = formatted,
				  .chunk_bytes = im->chunk_bytes };
	u8 *root;

	memset(&k, 0, sizeof(k));
	plat_host_quiet = true;
	plat_host_now_ns = NS_PER_SEC;
	sparse_init(&k.dev, dev_bytes);
	k.source = source_fake_create(1);
	source_fake_add(k.source, im);
	f.sectors = k.dev.blk.sectors;
	assert_int_equal(store_format(&f), 0);
	wait_done();
	assert_int_equal(store_create(&k.store, &k.dev.blk, 0, k.dev.blk.sectors), 0);
	store_open(k.store, opened, NULL);
	wait_done();
	root = image_fake_manifest(im, &cfg.manifest_bytes);
	cfg.manifest = root;
	cfg.store = k.store;
	cfg.source = &k.source->src;
	assert_int_equal(disk_create(&k.disk, &cfg), 0);
	wait_done();
	free(root);
}

static void tear_down(void)
{
	disk_destroy(k.disk);
	source_fake_destroy(k.source);
	sparse_fini(&k.dev);
}

static u64 memory(void)
{
	struct disk_stats st;

	disk_stats(k.disk, &st);
	return st.memory_bytes;
}

static void io_done(struct blk_req *r, int err)
{
	(void)r;
	opened(NULL, err, NULL);
}

static void io(enum blk_op op, u64 lba, u32 sectors, u8 *buf)
{
	struct blk_seg seg = { plat_virt_to_phys(buf), sectors * 512 };
	struct blk_req r = { .op = op, .lba = lba, .sectors = sectors, .segs = &seg,
			     .nsegs = op == BLK_FLUSH ? 0 : 1, .done = io_done };

	blk_submit(disk_blk(k.disk), &r);
	wait_done();
}

/* Guest writes as scattered as they can be: a leaf for every MiB, until there is none. */
static u32 grow_map(void)
{
	struct chunkmap *m = k.disk->m;
	u32 n = 0, per = GROUP_BLOCKS / m->bpc;

	for (u32 c = 0; c < m->chunks; c += per, n++) {
		chunkmap_spare(m);
		if (!chunkmap_ovl_room(m, c))
			break;
	}
	return n;
}

static void a_tebibyte(void **state)
{
	struct image_fake im = {
		.version = 1, .image_bytes = 1024 * GIB, .sector_bytes = 512, .seed = seed_sparse,
	};
	static u8 buf[4096], want[512];
	struct chunkmap *second;
	u64 idle, most, heap;

	(void)state;
	heap = mallinfo2().uordblks + mallinfo2().hblkhd;
	im.chunk_bytes = manifest_chunk_default(im.image_bytes);
	set_up(&im, 1280 * GIB);
	for (u64 s = 5; s < im.image_bytes / 512; s += im.image_bytes / 512 / 13) {
		io(BLK_READ, s, 1, buf);
		image_fake_sector(&im, s, want);
		assert_memory_equal(buf, want, 512);
	}
	memset(buf, 0x5a, sizeof(buf));
	for (u64 s = 0; s < im.image_bytes / 512; s += im.image_bytes / 512 / 64)
		io(BLK_WRITE, s, 8, buf);
	io(BLK_FLUSH, 0, 0, buf);
	idle = memory();
	assert_true(grow_map() > 200000);
	second = chunkmap_create_base(im.image_bytes, im.chunk_bytes);
	assert_non_null(second);
	most = memory() + second->bytes;
	print_message("1 TiB: %llu KiB, at most %llu KiB\n", (unsigned long long)idle / 1024,
		      (unsigned long long)most / 1024);
	assert_true(idle <= BAR / 2);
	assert_true(most <= BAR);
	/* and all of it is counted: the allocator's own figure, less the device's pieces */
	heap = mallinfo2().uordblks + mallinfo2().hblkhd - heap;
	for (u32 i = 0; i < k.dev.pieces; i++)
		heap -= k.dev.piece[i] ? PIECE : 0;
	heap -= k.dev.pieces * sizeof(*k.dev.piece);
	print_message("allocated: %llu KiB\n", (unsigned long long)heap / 1024);
#ifndef __SANITIZE_ADDRESS__ /* which has an allocator of its own */
	assert_true(heap <= BAR);
#endif
	chunkmap_destroy(second);
	tear_down();
}

/* Up to 256 GiB no pattern of writes can fill the map before the disk is full. */
static void all_of_256_gib(void **state)
{
	struct chunkmap *m = chunkmap_create(256 * GIB, manifest_chunk_default(256 * GIB));

	(void)state;
	assert_non_null(m);
	for (u32 c = 0; c < m->chunks; c++) {
		chunkmap_spare(m);
		assert_true(chunkmap_ovl_room(m, c));
	}
	assert_true(m->bytes <= 64 * MIB);
	chunkmap_destroy(m);
}

/* No leaf is left: the write ends as on a full disk, and what was written before is there. */
static void full_map_is_a_full_disk(void **state)
{
	struct image_fake im = { .version = 1, .image_bytes = 64 * GIB, .chunk_bytes = 64 * KIB,
				 .sector_bytes = 512, .seed = seed_sparse };
	static u8 buf[4096], got[4096];
	struct blk_seg seg = { plat_virt_to_phys(buf), sizeof(buf) };
	struct blk_req r = { .op = BLK_WRITE, .lba = 8192, .sectors = 8, .segs = &seg, .nsegs = 1,
			     .done = io_done };

	(void)state;
	set_up(&im, 80 * GIB);
	k.disk->m->max_slabs = 1;
	memset(buf, 0x5a, sizeof(buf));
	io(BLK_WRITE, 0, 8, buf);
	while (chunkmap_ovl_room(k.disk->m, k.disk->m->chunks - 1 - 16 * k.disk->m->nfree))
		;
	blk_submit(disk_blk(k.disk), &r);
	for (u32 i = 0; i < 1000 && !k.done; i++) {
		plat_host_now_ns += NS_PER_MS;
		blk_poll(&k.dev.blk);
		disk_poll(k.disk);
	}
	assert_true(k.done);
	assert_int_equal(k.err, -ENOSPC);
	k.done = false;
	io(BLK_READ, 0, 8, got);
	assert_memory_equal(got, buf, sizeof(buf));
	io(BLK_WRITE, 64, 8, buf); /* where there is a leaf already */
	k.disk->m->max_slabs = 4; /* memory has come: it goes on */
	io(BLK_WRITE, 8192, 8, buf);
	tear_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tebibyte),
		cmocka_unit_test(all_of_256_gib),
		cmocka_unit_test(full_map_is_a_full_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
