/*
 * swarm_disk.c - the disks of simulated PCs
 *
 * A thousand PCs that copy one image hold the same blocks a thousand times. Here
 * a block of 4 KiB is kept once: a disk is a table of numbers of blocks in a pool
 * that all disks share, found by a hash of the content and counted. What never
 * was written is zero, and is block 0. The table itself is memory that the system
 * hands out page by page as it is written.
 *
 * A request is finished by the next poll, in order; nothing is ever lost. That is
 * a fast and faultless disk: here the server is tried, not the store (tests/sim).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/plat.h"
#include "images/swarm.h"

#define BLOCK 4096u
#define SECTOR 512u
#define BUCKETS (1u << 18)

struct swarm_disk {
	struct blk_dev dev;
	struct list queue;
	u32 *map;
	size_t map_bytes;
};

struct block {
	u64 hash;
	u32 next; /* in its bucket, or of the free ones */
	u32 users;
	u8 *data;
};

static u32 buckets[BUCKETS];
static struct block *pool;
static u32 pool_used = 1, pool_room, pool_free, pool_live;

static u64 hash_of(const u8 *p)
{
	u64 h = 0x9e3779b97f4a7c15ull;

	for (u32 i = 0; i < BLOCK; i += 8) {
		u64 v;

		memcpy(&v, p + i, 8);
		h = (h ^ v) * 0xff51afd7ed558ccdull;
		h ^= h >> 29;
	}
	return h;
}

static void put(u32 n)
{
	u32 *at;

	if (!n || --pool[n].users)
		return;
	for (at = &buckets[pool[n].hash % BUCKETS]; *at != n;)
		at = &pool[*at].next;
	*at = pool[n].next;
	free(pool[n].data);
	pool[n].next = pool_free;
	pool_free = n;
	pool_live--;
}

static u32 fresh(void)
{
	u32 n = pool_free;

	if (n) {
		pool_free = pool[n].next;
		return n;
	}
	if (pool_used >= pool_room) {
		u32 room = pool_room ? pool_room * 2 : 65536;
		struct block *p = realloc(pool, room * sizeof(*p));

		if (!p)
			return 0;
		pool = p;
		pool_room = room;
	}
	return pool_used++;
}

/* The number of the block with this content; 0 with *err set when there is no memory. */
static u32 get(const u8 *data, int *err)
{
	static const u8 zero[BLOCK];
	u64 hash = hash_of(data);
	u32 n;

	if (!memcmp(data, zero, BLOCK))
		return 0;
	for (n = buckets[hash % BUCKETS]; n; n = pool[n].next) {
		if (pool[n].hash == hash && !memcmp(pool[n].data, data, BLOCK)) {
			pool[n].users++;
			return n;
		}
	}
	n = fresh();
	if (n)
		pool[n] = (struct block){ .hash = hash, .users = 1, .data = malloc(BLOCK) };
	if (!n || !pool[n].data) {
		*err = -EIO;
		return 0;
	}
	memcpy(pool[n].data, data, BLOCK);
	pool[n].next = buckets[hash % BUCKETS];
	buckets[hash % BUCKETS] = n;
	pool_live++;
	return n;
}

static void read_at(const struct swarm_disk *d, u64 at, u8 *out, u32 bytes)
{
	u32 n = d->map[at / BLOCK];

	if (n)
		memcpy(out, pool[n].data + at % BLOCK, bytes);
	else
		memset(out, 0, bytes);
}

static int write_at(struct swarm_disk *d, u64 at, const u8 *in, u32 bytes)
{
	u32 old = d->map[at / BLOCK];
	u8 block[BLOCK];
	int err = 0;

	read_at(d, at - at % BLOCK, block, BLOCK);
	if (in)
		memcpy(block + at % BLOCK, in, bytes);
	else
		memset(block + at % BLOCK, 0, bytes);
	d->map[at / BLOCK] = get(block, &err);
	put(old);
	return err;
}

/* @p NULL: zeroes. Never across a block's edge in one step. */
static int move(struct swarm_disk *d, bool write, u64 at, u8 *p, u64 bytes)
{
	int err = 0;

	while (bytes && !err) {
		u32 n = (u32)MIN(bytes, (u64)(BLOCK - at % BLOCK));

		if (write)
			err = write_at(d, at, p, n);
		else
			read_at(d, at, p, n);
		p = p ? p + n : NULL;
		at += n;
		bytes -= n;
	}
	return err;
}

static int perform(struct swarm_disk *d, struct blk_req *r)
{
	u64 at = r->lba * SECTOR;
	int err = 0;

	if (r->op == BLK_FLUSH || r->op == BLK_TRIM)
		return 0;
	if (r->lba + r->sectors > d->dev.sectors)
		return -EINVAL;
	if (r->op == BLK_WRITE_ZEROES)
		return move(d, true, at, NULL, (u64)r->sectors * SECTOR);
	for (u32 i = 0; i < r->nsegs && !err; i++) {
		err = move(d, r->op == BLK_WRITE, at, plat_phys_to_virt(r->segs[i].pa),
			   r->segs[i].bytes);
		at += r->segs[i].bytes;
	}
	return err;
}

static void disk_submit(struct blk_dev *dev, struct blk_req *r)
{
	list_add_tail(&container_of(dev, struct swarm_disk, dev)->queue, &r->link);
}

static void disk_do(struct blk_dev *dev)
{
	struct swarm_disk *d = container_of(dev, struct swarm_disk, dev);
	struct list now;

	list_init(&now);
	list_splice_tail(&now, &d->queue);
	while (!list_empty(&now)) {
		struct blk_req *r = list_first(&now, struct blk_req, link);

		list_del(&r->link);
		r->done(r, perform(d, r));
	}
}

static const struct blk_ops disk_ops = { .submit = disk_submit, .poll = disk_do };

struct blk_dev *swarm_disk_create(u64 bytes, u32 index)
{
	struct swarm_disk *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->map_bytes = bytes / BLOCK * sizeof(u32);
	d->map = mmap(NULL, d->map_bytes, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (d->map == MAP_FAILED) {
		free(d);
		return NULL;
	}
	d->dev = (struct blk_dev){
		.ops = &disk_ops,
		.sector_bytes = SECTOR,
		.sectors = bytes / BLOCK * (BLOCK / SECTOR),
		.max_sectors = 2048,
		.max_segs = 256,
		.write_cache = true,
	};
	fmt_snprintf(d->dev.serial, sizeof(d->dev.serial), "SWARM%06u", index);
	fmt_snprintf(d->dev.model, sizeof(d->dev.model), "simulated");
	list_init(&d->queue);
	return &d->dev;
}

void swarm_disk_destroy(struct blk_dev *dev)
{
	struct swarm_disk *d = container_of(dev, struct swarm_disk, dev);

	munmap(d->map, d->map_bytes); /* the pool goes with the process */
	free(d);
}

bool swarm_disk_busy(struct blk_dev *dev)
{
	return !list_empty(&container_of(dev, struct swarm_disk, dev)->queue);
}

int swarm_disk_save(struct blk_dev *dev, const char *path)
{
	struct swarm_disk *d = container_of(dev, struct swarm_disk, dev);
	u64 bytes = dev->sectors * SECTOR;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int err = fd < 0 || ftruncate(fd, (off_t)bytes) ? -errno : 0;

	for (u64 n = 0; n < bytes / BLOCK && !err; n++)
		if (d->map[n] &&
		    pwrite(fd, pool[d->map[n]].data, BLOCK, (off_t)(n * BLOCK)) != BLOCK)
			err = errno ? -errno : -EIO;
	if (fd >= 0 && close(fd) && !err)
		err = -errno;
	return err;
}

u64 swarm_disk_memory(void)
{
	return (u64)pool_live * BLOCK;
}
