/*
 * store_cmd.c - freshet store: look into a PC's store on its disk or in a copy of it
 *
 * The store is opened by the VMM's own code (storage/core) over a file or a
 * block device. A disk is recognised by its partition table, for sectors of 512
 * or 4096 bytes; anything else must begin with the store itself.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plat_host.h"
#include "images/options.h"
#include "storage/core/check.h"
#include "storage/core/store_priv.h"
#include "storage/format/gpt.h"

#define ANYWHERE ~0ull /* no --offset: the partition table says where */

struct args {
	u64 offset;
	bool quick, salvage, quiet;
};

#define OFFSET CLI_SIZE("offset", struct args, offset)

static const struct cli_option check_options[] = {
	OFFSET, CLI_FLAG("quiet", struct args, quiet), CLI_FLAG("quick", struct args, quick), { 0 },
};
static const struct cli_option repair_options[] = {
	OFFSET, CLI_FLAG("quiet", struct args, quiet), CLI_FLAG("lose-log", struct args, salvage),
	{ 0 },
};
static const struct cli_option dump_options[] = { OFFSET, { 0 } };

/* ---------------------------------------------------------------- a file as a block device */

struct file_blk {
	struct blk_dev blk;
	int fd;
	struct list queue;
};

static int file_rw(struct file_blk *f, struct blk_req *r)
{
	off_t at = (off_t)(r->lba * f->blk.sector_bytes);

	for (u32 i = 0; i < r->nsegs; i++) {
		u8 *p = (u8 *)(uintptr_t)r->segs[i].pa.v;

		for (u32 left = r->segs[i].bytes; left;) {
			ssize_t n = r->op == BLK_READ ? pread(f->fd, p, left, at) :
							pwrite(f->fd, p, left, at);

			if (n <= 0)
				return -EIO;
			p += n;
			at += n;
			left -= (u32)n;
		}
	}
	return 0;
}

static void file_submit(struct blk_dev *b, struct blk_req *r)
{
	struct file_blk *f = container_of(b, struct file_blk, blk);

	list_add_tail(&f->queue, &r->link);
}

static void file_poll(struct blk_dev *b)
{
	struct file_blk *f = container_of(b, struct file_blk, blk);
	struct blk_req *r = list_first(&f->queue, struct blk_req, link);
	int err = 0;

	if (!r)
		return;
	list_del(&r->link);
	if (r->op == BLK_READ || r->op == BLK_WRITE)
		err = file_rw(f, r);
	if (!err && (r->op == BLK_FLUSH || r->fua) && fdatasync(f->fd))
		err = -EIO;
	r->done(r, err);
}

static const struct blk_ops file_ops = { .submit = file_submit, .poll = file_poll };

struct found {
	struct file_blk f;
	u64 lba, sectors;
	const char *path;
};

static int file_open(struct found *d, const char *path, bool write)
{
	struct stat st;
	u64 bytes;

	d->path = path;
	d->f.fd = open(path, write ? O_RDWR : O_RDONLY);
	if (d->f.fd < 0 || fstat(d->f.fd, &st)) {
		cli_error("%s: %s", path, strerror(errno));
		return -1;
	}
	/* A disk that is in use is not for us; a copy may be. */
	if (write && flock(d->f.fd, LOCK_EX | LOCK_NB)) {
		cli_error("%s: in use by somebody else", path);
		return -1;
	}
	bytes = (u64)st.st_size;
	if (S_ISBLK(st.st_mode) && ioctl(d->f.fd, BLKGETSIZE64, &bytes))
		bytes = 0;
	list_init(&d->f.queue);
	d->f.blk = (struct blk_dev){ .ops = &file_ops, .sector_bytes = 512, .sectors = bytes / 512,
				     .max_sectors = 2048, .max_segs = 128, .write_cache = true };
	return 0;
}

/* ---------------------------------------------------------------- where the store is */

static bool by_table(struct found *d, u32 ss)
{
	u64 bytes = d->f.blk.sectors * 512;
	u8 *head = calloc(1, GPT_HEAD_BYTES_MAX), *tail = calloc(1, GPT_TAIL_BYTES_MAX);
	struct gpt_layout l;
	bool ours = false;

	if (head && tail && bytes > GPT_HEAD_BYTES_MAX + GPT_TAIL_BYTES_MAX &&
	    pread(d->f.fd, head, GPT_HEAD_BYTES(ss), 0) == (ssize_t)GPT_HEAD_BYTES(ss) &&
	    pread(d->f.fd, tail, GPT_TAIL_BYTES(ss), (off_t)(bytes - GPT_TAIL_BYTES(ss))) ==
		    (ssize_t)GPT_TAIL_BYTES(ss))
		ours = gpt_classify(head, GPT_HEAD_BYTES(ss), tail, GPT_TAIL_BYTES(ss), ss,
				    bytes / ss, &l) == GPT_DISK_OURS;
	free(head);
	free(tail);
	if (!ours)
		return false;
	d->lba = l.store.first_lba * (ss / 512);
	d->sectors = l.store.sectors * (ss / 512);
	return true;
}

static bool is_store(const u8 *block)
{
	struct super sb;

	return !memcmp(block, SUPER_MAGIC, 8) || !super_parse(block, &sb) || super_is_marker(block);
}

/* @offset: -1: look for it */
static int find_store(struct found *d, u64 offset)
{
	u8 block[2 * JOURNAL_BLOCK];
	bool anywhere = offset == ANYWHERE;

	if (anywhere && (by_table(d, 512) || by_table(d, 4096)))
		return 0;
	d->lba = anywhere ? 0 : offset / 512;
	if (!anywhere && (offset % 4096 || d->lba >= d->f.blk.sectors)) {
		cli_error("%s: no store can be at %llu", d->path, (unsigned long long)offset);
		return -1;
	}
	d->sectors = d->f.blk.sectors - d->lba;
	if (anywhere && (pread(d->f.fd, block, sizeof(block), 0) != (ssize_t)sizeof(block) ||
			 (!is_store(block) && !is_store(block + JOURNAL_BLOCK)))) {
		cli_error("%s: neither a disk of Freshet's nor a store", d->path);
		return -1;
	}
	return 0;
}

/* ---------------------------------------------------------------- check and repair */

static void say(struct store_check *k, enum check_level level, const char *text)
{
	(void)k;
	printf("%s%s\n", level == CHECK_LOST ? "LOST: " : level == CHECK_BAD ? "bad: " : "note: ",
	       text);
}

static void progress(struct store_check *k, u64 done, u64 total)
{
	struct cli_progress *p = k->owner;

	p->total = total;
	cli_progress_at(p, done);
}

static void summary(const struct store_check *k)
{
	const struct store_meta *m;
	struct store_space sp;

	if (!k->store)
		return;
	m = store_meta(k->store);
	store_space(k->store, &sp);
	if (m->bound)
		printf("image %s, %llu MiB, %s; ", m->image,
		       (unsigned long long)(m->image_bytes / MIB),
		       m->complete ? "complete" : "not complete");
	else
		printf("no image yet; ");
	printf("%llu slots of %u KiB, %llu hold chunks, %llu guest writes, %llu are free\n",
	       (unsigned long long)sp.slots, store_chunk_bytes(k->store) / 1024,
	       (unsigned long long)sp.slots_base, (unsigned long long)sp.slots_overlay,
	       (unsigned long long)sp.slots_free);
	printf("%u chunks looked at, %u damaged, %u with wrong sums, %u table pages damaged\n",
	       k->checked, k->bad_chunks, k->bad_sums, k->bad_pages);
}

static enum cli_exit work(const struct cli_command *c, int argc, char **argv, bool repair)
{
	struct cli_progress p;
	struct store_check k = { .repair = repair, .say = say, .progress = progress, .owner = &p };
	struct args a = { .offset = ANYWHERE };
	struct found d;
	int r;

	if (cli_options(c, repair ? repair_options : check_options, &a, &argc, &argv))
		return CLI_USAGE;
	if (argc != 1)
		return cli_usage(c, "one disk or image is wanted");
	if (file_open(&d, argv[0], repair) || find_store(&d, a.offset))
		return CLI_FAILED;
	k.quick = a.quick;
	k.salvage = a.salvage;
	plat_host_quiet = true;
	k.blk = &d.f.blk;
	k.lba = d.lba;
	k.sectors = d.sectors;
	cli_progress_start(&p, "checking", 0, a.quiet);
	r = store_check(&k);
	cli_progress_end(&p);
	summary(&k);
	if (r < 0)
		cli_error("%s: %s", d.path, err_name(r));
	else if (!r)
		printf("sound\n");
	else if (repair)
		printf("%u problems, %u repaired\n", k.problems, k.repaired);
	else
		printf("%u problems\n", k.problems);
	store_check_end(&k);
	close(d.f.fd);
	return r ? CLI_FAILED : CLI_OK;
}

static enum cli_exit run_check(const struct cli_command *c, int argc, char **argv)
{
	return work(c, argc, argv, false);
}

static enum cli_exit run_repair(const struct cli_command *c, int argc, char **argv)
{
	return work(c, argc, argv, true);
}

/* ---------------------------------------------------------------- dump */

static void dump_super(const struct store_check *k, u32 i)
{
	const struct super *s = &k->super[i];

	if (k->super_err[i]) {
		printf("superblock %u  not usable (%s)\n", i, err_name(k->super_err[i]));
		return;
	}
	printf("superblock %u  generation %llu, journal half %u (nonce %016llx)\n", i,
	       (unsigned long long)s->generation, s->active, (unsigned long long)s->nonce);
	printf("              chunks of %u, %u slots at %llu, sums at %llu, halves of %llu at %llu"
	       " and %llu\n", s->chunk_bytes, s->slots, (unsigned long long)s->slots_off,
	       (unsigned long long)s->crc_off, (unsigned long long)s->half_bytes,
	       (unsigned long long)s->half_off[0], (unsigned long long)s->half_off[1]);
}

static void dump_meta(const struct store *s)
{
	const struct store_meta *m = store_meta(s);
	char hex[DIGEST_HEX + 1];

	printf("log           %u blocks behind a checkpoint of %u\n", s->pos.seq - s->log_start,
	       s->log_start);
	if (!m->bound)
		return;
	printf("image         %s, %llu bytes, sectors of %u\n", m->image,
	       (unsigned long long)m->image_bytes, m->sector_bytes);
	printf("version       %s\n", cli_hex(hex, m->version));
	printf("next          %s\n", cli_hex(hex, m->next));
	printf("esp           %s\n", cli_hex(hex, m->esp));
	printf("policy        %s, serial %llu, %s\n",
	       m->policy == STORE_POLICY_PUSH ? "push" : m->policy == STORE_POLICY_NEVER ? "never" :
											 "boot",
	       (unsigned long long)m->serial, m->complete ? "complete" : "not complete");
	printf("trial         %s, %u boots\n", m->up ? "a guest has come up" : "not yet up",
	       m->tries);
	printf("bad           %s, serial %llu\n", cli_hex(hex, m->bad),
	       (unsigned long long)m->bad_serial);
	if (s->other.map)
		printf("%s  %s, %u of %u chunks%s\n",
		       s->other.role == STORE_OTHER_NEXT ? "staged      " : "previous    ",
		       cli_hex(hex, s->other.version), s->other.map->present, s->other.map->n,
		       s->other.complete ? ", complete" : "");
}

static void dump_map(const struct store *s)
{
	const struct chunkmap *m = s->map;

	for (u32 i = 0, n; i < m->n; i += n) {
		u32 slot = m->base[i];

		for (n = 1; i + n < m->n && (i < m->chunks) == (i + n < m->chunks); n++)
			if (m->base[i + n] != (slot < SLOT_LIMIT ? slot + n : slot))
				break;
		printf("%s %u..%u  ", i < m->chunks ? "chunk" : "page ",
		       i < m->chunks ? i : i - m->chunks,
		       (i < m->chunks ? i : i - m->chunks) + n - 1);
		if (slot < SLOT_LIMIT)
			printf("slot %u..%u\n", slot, slot + n - 1);
		else
			printf("%s\n", slot == SLOT_ZERO ? "zero" : "not here");
	}
	for (u32 c = 0; c < m->chunks; c++) {
		u32 valid = 0, zero = 0, slot;

		for (u64 b = (u64)c << m->bpc_shift; b < (u64)(c + 1) << m->bpc_shift; b++) {
			enum ovl_state own = chunkmap_ovl_at(m, b, &slot);

			valid += own == OVL_VALID;
			zero += own == OVL_ZERO;
		}
		if (valid || zero)
			printf("write %u  slot %d, %u blocks, %u zeroed\n", c,
			       (int)chunkmap_ovl_slot(m, c), valid, zero);
	}
}

static enum cli_exit run_dump(const struct cli_command *c, int argc, char **argv)
{
	struct store_check k = { .quick = true, .say = say };
	struct args a = { .offset = ANYWHERE };
	struct found d;
	int r;

	if (cli_options(c, dump_options, &a, &argc, &argv))
		return CLI_USAGE;
	if (argc != 1)
		return cli_usage(c, "one disk or image is wanted");
	if (file_open(&d, argv[0], false) || find_store(&d, a.offset))
		return CLI_FAILED;
	plat_host_quiet = true;
	k.blk = &d.f.blk;
	k.lba = d.lba;
	k.sectors = d.sectors;
	printf("store         at %llu, %llu bytes\n", (unsigned long long)d.lba * 512,
	       (unsigned long long)d.sectors * 512);
	r = store_check(&k);
	dump_super(&k, 0);
	dump_super(&k, 1);
	if (k.store) {
		dump_meta(k.store);
		if (k.store->map)
			dump_map(k.store);
	}
	store_check_end(&k);
	close(d.f.fd);
	return r ? CLI_FAILED : CLI_OK;
}

const struct cli_command cmd_store_check = {
	.group = "store", .verb = "check", .args = "[options] DISK-OR-IMAGE",
	.summary = "say whether a PC's store is sound; writes nothing",
	.help = "  --quick         metadata only, not every chunk\n"
		"  --offset BYTES  the store is there, whatever the partition table says\n"
		"  --quiet         no progress\n",
	.run = run_check,
};

const struct cli_command cmd_store_dump = {
	.group = "store", .verb = "dump", .args = "[options] DISK-OR-IMAGE",
	.summary = "print superblocks, version and maps of a PC's store",
	.help = "  --offset BYTES  the store is there, whatever the partition table says\n",
	.run = run_dump,
};

const struct cli_command cmd_store_repair = {
	.group = "store", .verb = "repair", .args = "[options] DISK-OR-IMAGE",
	.summary = "mend a PC's store: superblocks, sums; damaged chunks will be fetched again",
	.help = "  --lose-log      of a damaged journal keep what is before the damage\n"
		"  --offset BYTES  the store is there, whatever the partition table says\n"
		"  --quiet         no progress\n",
	.run = run_repair,
};
