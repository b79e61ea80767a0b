/*
 * The store: making one, opening one, replaying its journal
 *
 * Open reads both superblocks, takes the newer intact one, and reads the
 * journal half it names, 64 KiB at a time: first the checkpoint (it ends with
 * an END record), then the log behind it, up to the first block that is not
 * the expected one. That is where the log ends: the last append may have been
 * torn. A block further on that belongs to a *later* append than the one that
 * is broken says that the broken block had once been complete: that is damage,
 * not a power cut, and the store is refused (-EBADMSG) rather than used with
 * records missing.
 *
 * Memory: the maps are sized by the bound image (chunkmap.h), the allocator by
 * the slots; the manifest root is kept as bytes.
 */
#include "storage/core/store.h"

#include <string.h>

#include "base/err.h"
#include "base/field.h"
#include "base/log.h"
#include "base/plat.h"
#include "storage/core/store_priv.h"

#define ROOT_MAX (2u << 20)

/* ---------------------------------------------------------------- format */

/* One superblock at a time: at any moment the other one is whole, or the marker. */
enum format_step {
	FORMAT_MARK, /* no store from here on */
	FORMAT_MARK2,
	FORMAT_JOURNAL, /* an empty checkpoint */
	FORMAT_FLUSH,
	FORMAT_SUPER,
	FORMAT_SUPER2,
	FORMAT_DONE,
};

static void format_next(struct blk_req *r, int err);

static void format_io(struct store_format *f, enum blk_op op, u64 off, u32 bytes)
{
	f->seg = (struct blk_seg){ plat_virt_to_phys(f->buf), bytes };
	f->req = (struct blk_req){
		.op = op,
		.fua = op == BLK_WRITE,
		.lba = op == BLK_FLUSH ? 0 : f->lba + off / f->blk->sector_bytes,
		.sectors = bytes / f->blk->sector_bytes,
		.segs = &f->seg,
		.nsegs = op == BLK_FLUSH ? 0 : 1,
		.done = format_next,
		.owner = f,
	};
	blk_submit(f->blk, &f->req);
}

static void format_next(struct blk_req *r, int err)
{
	struct store_format *f = r->owner;
	struct super *sb = (struct super *)((u8 *)f->buf + 2 * JOURNAL_BLOCK);
	u8 *b = f->buf;

	if (err)
		f->step = FORMAT_DONE;
	else
		f->step++;
	switch (f->step) {
	case FORMAT_MARK2:
		format_io(f, BLK_WRITE, JOURNAL_BLOCK, JOURNAL_BLOCK);
		break;
	case FORMAT_JOURNAL: {
		struct record end = { .type = REC_END };
		struct journal_head h = { .nonce = sb->nonce, .generation = sb->generation };

		h.bytes = record_put(b + JOURNAL_HEAD, JOURNAL_ROOM, &end);
		journal_seal(b, &h);
		format_io(f, BLK_WRITE, sb->half_off[0], JOURNAL_BLOCK);
		break;
	}
	case FORMAT_FLUSH:
		format_io(f, BLK_FLUSH, 0, 0);
		break;
	case FORMAT_SUPER:
	case FORMAT_SUPER2:
		super_build(sb, b);
		format_io(f, BLK_WRITE, f->step == FORMAT_SUPER ? 0 : JOURNAL_BLOCK, JOURNAL_BLOCK);
		break;
	default:
		plat_free(f->buf);
		f->buf = NULL;
		f->done(f, err ? -EIO : 0);
		break;
	}
}

static bool region_ok(const struct blk_dev *blk, u64 lba, u64 sectors)
{
	u32 align = BLOCK_BYTES / blk->sector_bytes;

	return (blk->sector_bytes == 512 || blk->sector_bytes == BLOCK_BYTES) &&
	       blk->max_sectors >= 2 * align && !(lba % align) && lba < blk->sectors &&
	       sectors <= blk->sectors - lba;
}

int store_format(struct store_format *f)
{
	struct super sb;
	int err;

	if (!region_ok(f->blk, f->lba, f->sectors))
		return err_trace(-EINVAL);
	err = super_layout(&sb, f->sectors * f->blk->sector_bytes, f->chunk_bytes);
	if (err)
		return err;
	f->buf = plat_alloc(3 * JOURNAL_BLOCK);
	if (!f->buf)
		return -ENOMEM;
	sb.generation = 1;
	plat_random(&sb.nonce, sizeof(sb.nonce));
	memcpy((u8 *)f->buf + 2 * JOURNAL_BLOCK, &sb, sizeof(sb));
	super_build_marker(f->buf);
	f->step = FORMAT_MARK;
	format_io(f, BLK_WRITE, 0, JOURNAL_BLOCK);
	return 0;
}

u64 store_min_bytes(u32 chunk_bytes)
{
	struct super sb;

	for (u64 n = 4 * MIB; n < GIB; n += MIB)
		if (!super_layout(&sb, n, chunk_bytes))
			return n;
	return GIB;
}

/* ---------------------------------------------------------------- create */

int store_create(struct store **out, struct blk_dev *blk, u64 lba, u64 sectors)
{
	struct store *s;

	if (!region_ok(blk, lba, sectors))
		return err_trace(-EINVAL);
	s = plat_alloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->jbuf = plat_alloc(STORE_JBUF_BLOCKS * JOURNAL_BLOCK);
	if (!s->jbuf) {
		plat_free(s);
		return -ENOMEM;
	}
	s->bytes = sizeof(*s) + STORE_JBUF_BLOCKS * JOURNAL_BLOCK;
	s->blk = blk;
	s->jmax = MIN(blk->max_sectors / (BLOCK_BYTES / blk->sector_bytes), STORE_JBUF_BLOCKS);
	s->lba = lba;
	s->sectors = sectors;
	list_init(&s->ready);
	list_init(&s->syncs);
	list_init(&s->ckpt_syncs);
	list_init(&s->cycle_commits);
	list_init(&s->cycle_syncs);
	*out = s;
	return 0;
}

void store_destroy(struct store *s)
{
	if (!s)
		return;
	chunkmap_destroy(s->map);
	chunkmap_destroy(s->dropped);
	store_other_free(&s->other);
	slotmap_fini(&s->slots);
	crctab_fini(&s->crc);
	plat_free(s->root);
	plat_free(s->jbuf);
	plat_free(s);
}

int store_crc_init(struct store *s, u32 cache_bytes)
{
	u64 blocks = (u64)s->sb.slots * s->bpc;

	return crctab_init(&s->crc, s->blk, store_sector(s, s->sb.crc_off),
			   (u32)DIV_ROUND_UP(blocks, CRCTAB_SUMS), cache_bytes);
}

const struct store_meta *store_meta(const struct store *s)
{
	return &s->meta;
}

const void *store_manifest(const struct store *s, u32 *bytes)
{
	*bytes = s->meta.bound ? s->root_bytes : 0;
	return s->meta.bound ? s->root : NULL;
}

u32 store_chunk_bytes(const struct store *s)
{
	return s->sb.chunk_bytes;
}

void store_space(const struct store *s, struct store_space *out)
{
	*out = (struct store_space){
		.slots = s->sb.slots,
		.slots_free = s->slots.free,
	};
	if (s->map) {
		out->slots_base = s->map->slots_base;
		out->slots_overlay = s->map->slots_ovl;
	}
	for (u32 i = 0; s->map && s->other.map && i < s->other.map->n; i++)
		out->slots_other += s->other.map->base[i] < SLOT_LIMIT &&
				    s->other.map->base[i] !=
					    chunkmap_same(s->map, s->other.map, i);
}

void store_second(const struct store *s, struct store_second *out)
{
	const struct store_other *o = &s->other;

	*out = (struct store_second){ .role = o->role, .complete = o->complete, .root = o->root,
				      .root_bytes = o->root_bytes };
	memcpy(out->version, o->version, 32);
}

void store_other_free(struct store_other *o)
{
	chunkmap_destroy(o->map);
	plat_free(o->root);
	memset(o, 0, sizeof(*o));
}

void store_meta_record(const struct store *s, struct record *r)
{
	const struct store_meta *m = &s->meta;

	memset(r, 0, sizeof(*r));
	r->type = REC_META;
	r->meta.policy = m->policy;
	r->meta.flags = (m->complete ? REC_META_COMPLETE : 0) | (m->up ? REC_META_UP : 0) |
			FIELD_PREP(REC_META_FRONTEND, m->frontend) |
			FIELD_PREP(REC_META_NIC, m->nic);
	r->meta.tries = m->tries;
	r->meta.bad_serial = m->bad_serial;
	memcpy(r->meta.bad, m->bad, 32);
	r->meta.time = m->time;
	memcpy(r->meta.credential, m->credential, 32);
	r->meta.serial = m->serial;
	r->meta.image_bytes = m->image_bytes;
	r->meta.chunk_bytes = m->chunk_bytes;
	r->meta.sector_bytes = m->sector_bytes;
	r->meta.root_bytes = s->root_bytes;
	memcpy(r->meta.version, m->version, 32);
	memcpy(r->meta.esp, m->esp, 32);
	memcpy(r->meta.next, m->next, 32);
	memcpy(r->meta.image, m->image, STORE_IMAGE_BYTES);
}

/* ---------------------------------------------------------------- replay */

static int replay_bind(struct store *s, const struct record *r)
{
	struct store_meta *m = &s->meta;

	if (s->replay_end || r->meta.chunk_bytes != s->sb.chunk_bytes ||
	    !r->meta.image_bytes || !r->meta.root_bytes || r->meta.root_bytes > ROOT_MAX ||
	    (r->meta.sector_bytes != 512 && r->meta.sector_bytes != 4096))
		return -EBADMSG;
	m->bound = true;
	m->chunk_bytes = r->meta.chunk_bytes;
	m->image_bytes = r->meta.image_bytes;
	m->sector_bytes = r->meta.sector_bytes;
	memcpy(m->version, r->meta.version, 32);
	memcpy(m->image, r->meta.image, STORE_IMAGE_BYTES);
	s->root_bytes = r->meta.root_bytes;
	s->root = plat_alloc(s->root_bytes);
	s->map = chunkmap_create(m->image_bytes, m->chunk_bytes);
	return s->root && s->map ? 0 : -ENOMEM;
}

static int replay_meta(struct store *s, const struct record *r)
{
	struct store_meta *m = &s->meta;
	int err;

	if (r->meta.policy < STORE_POLICY_BOOT || r->meta.policy > STORE_POLICY_NEVER)
		return -EBADMSG;
	if (!m->bound) {
		err = replay_bind(s, r);
		if (err)
			return err;
	} else if (r->meta.image_bytes != m->image_bytes || r->meta.root_bytes != s->root_bytes ||
		   memcmp(r->meta.version, m->version, 32)) {
		return -EBADMSG;
	}
	m->policy = r->meta.policy;
	m->complete = r->meta.flags & REC_META_COMPLETE;
	m->up = r->meta.flags & REC_META_UP;
	m->frontend = FIELD_GET(REC_META_FRONTEND, r->meta.flags);
	m->nic = FIELD_GET(REC_META_NIC, r->meta.flags);
	m->tries = r->meta.tries;
	m->bad_serial = r->meta.bad_serial;
	memcpy(m->bad, r->meta.bad, 32);
	m->time = r->meta.time;
	memcpy(m->credential, r->meta.credential, 32);
	m->serial = r->meta.serial;
	memcpy(m->esp, r->meta.esp, 32);
	memcpy(m->next, r->meta.next, 32);
	return 0;
}

static int replay_other(struct store *s, const struct record *r)
{
	struct store_other *o = &s->other;

	if (s->replay_end || !s->map || o->map || !r->other.image_bytes || !r->other.root_bytes ||
	    r->other.root_bytes > ROOT_MAX || r->other.role < STORE_OTHER_NEXT ||
	    r->other.role > STORE_OTHER_PREV)
		return -EBADMSG;
	o->role = r->other.role;
	o->complete = r->other.flags & REC_OTHER_COMPLETE;
	memcpy(o->version, r->other.version, 32);
	o->root_bytes = r->other.root_bytes;
	o->root = plat_alloc(o->root_bytes);
	o->map = chunkmap_create_base(r->other.image_bytes, s->sb.chunk_bytes);
	return o->root && o->map ? 0 : -ENOMEM;
}

static int replay_root(u8 *root, u32 root_bytes, u32 *have, const struct record *r)
{
	/* Pieces come in order, without holes. */
	if (!root || r->root.offset != *have || r->root.bytes > root_bytes - *have)
		return -EBADMSG;
	memcpy(root + r->root.offset, r->root.data, r->root.bytes);
	*have += r->root.bytes;
	return 0;
}

static int replay_map(struct store *s, struct chunkmap *m, const struct record *r)
{
	u32 first = r->map.first, count = r->map.count, slot = r->map.slot;

	if (!m || !count || first >= m->n || count > m->n - first)
		return -EBADMSG;
	if (slot < SLOT_LIMIT && (slot >= s->sb.slots || count > s->sb.slots - slot))
		return -EBADMSG;
	if (slot >= SLOT_LIMIT && slot != SLOT_ZERO && slot != SLOT_NONE)
		return -EBADMSG;
	for (u32 i = 0; i < count; i++)
		chunkmap_base_set(m, first + i, slot < SLOT_LIMIT ? slot + i : slot);
	return 0;
}

static int replay_record(struct store *s, const struct record *r)
{
	switch (r->type) {
	case REC_META:
		return replay_meta(s, r);
	case REC_ROOT:
		return replay_root(s->root, s->root_bytes, &s->replay_root, r);
	case REC_MAP:
		return replay_map(s, s->map, r);
	case REC_OTHER:
		return replay_other(s, r);
	case REC_OROOT:
		return replay_root(s->other.root, s->other.root_bytes, &s->replay_oroot, r);
	case REC_OMAP:
		return replay_map(s, s->other.map, r);
	case REC_OVL:
		if (!s->map || (r->ovl.slot < SLOT_LIMIT && r->ovl.slot >= s->sb.slots))
			return -EBADMSG;
		return chunkmap_ovl_put(s->map, r);
	case REC_END:
		if (s->replay_end || s->replay_root != s->root_bytes ||
		    s->replay_oroot != s->other.root_bytes)
			return -EBADMSG;
		s->replay_end = true;
		return 0;
	}
	return -EBADMSG;
}

static int replay_block(struct store *s, const u8 *block, const struct journal_head *h)
{
	u32 at = 0;

	while (at < h->bytes) {
		struct record r;
		int n = record_get(block + JOURNAL_HEAD + at, h->bytes - at, &r);

		if (n < 0)
			return n;
		n = (int)at + n;
		int err = replay_record(s, &r);

		if (err)
			return err;
		if (r.type == REC_END)
			s->log_start = h->seq + 1;
		at = (u32)n;
	}
	return 0;
}

/* ---------------------------------------------------------------- open */

static void open_finish(struct store *s, int err)
{
	if (err) {
		log_warn("store: not usable err=%s", err_name(err));
	} else {
		s->open = true;
		log_info("store: open slots=%u free=%u bound=%u complete=%u log=%u", s->sb.slots,
			 s->slots.free, s->meta.bound, s->meta.complete,
			 s->pos.seq - s->log_start);
	}
	s->open_done(s, err, s->open_arg);
}

/*
 * After a reset without a power cut the end of the log may be in the disk's
 * cache only. What has been seen shall not be lost by a power cut that comes later.
 */
static void open_flushed(struct blk_req *r, int err)
{
	struct store *s = r->owner;

	if (err)
		log_warn("store: cannot flush err=%s", err_name(err));
	open_finish(s, 0);
}

static void open_flush(struct store *s)
{
	if (!s->blk->write_cache) {
		open_finish(s, 0);
		return;
	}
	s->req = (struct blk_req){ .op = BLK_FLUSH, .done = open_flushed, .owner = s };
	blk_submit(s->blk, &s->req);
}

static void open_end(struct store *s)
{
	int err;

	if (!s->replay_end) {
		open_finish(s, -EBADMSG);
		return;
	}
	if (s->map && s->meta.policy == STORE_POLICY_BOOT) {
		for (u32 c = 0; c < s->map->chunks && !s->ckpt_want; c++)
			s->ckpt_want = chunkmap_ovl_any(s->map, c);
		chunkmap_ovl_drop(s->map);
	}
	s->keep_overlay = s->meta.bound && s->meta.policy != STORE_POLICY_BOOT;
	err = slotmap_init(&s->slots, s->sb.slots);
	if (!err)
		err = slotmap_rebuild(&s->slots, s->map, s->other.map);
	if (err)
		open_finish(s, err);
	else
		open_flush(s);
}

static void open_read_journal(struct store *s);

/* Past the log's end: a later append than the broken one means damage. */
static bool tail_damaged(struct store *s, const u8 *block, u32 seq)
{
	struct journal_head h;
	u32 crc;

	return !journal_open_block(block, &h, &crc) && h.nonce == s->pos.nonce &&
	       h.generation == s->pos.generation && h.seq == seq && h.append_seq > s->pos.seq;
}

/* Replay what was read; 1: the log's end was found; 0: read on; else the error. */
static int open_blocks(struct store *s, u32 first, u32 n)
{
	for (u32 i = 0; i < n; i++) {
		const u8 *block = s->jbuf + (size_t)i * JOURNAL_BLOCK;
		struct journal_head h;
		u32 crc;
		int err;

		if (s->replay_last) {
			if (tail_damaged(s, block, first + i)) {
				if (!s->salvage)
					return -EBADMSG;
				s->salvaged = true;
			}
			if (first + i >= s->replay_last)
				return 1;
			continue;
		}
		if (journal_open_block(block, &h, &crc) || h.nonce != s->pos.nonce ||
		    h.generation != s->pos.generation || h.seq != s->pos.seq ||
		    h.prev_crc != s->pos.prev_crc) {
			s->replay_last = s->pos.seq + 2 * STORE_JBUF_BLOCKS;
			continue;
		}
		err = replay_block(s, block, &h);
		if (err)
			return err;
		s->pos.prev_crc = crc;
		s->pos.seq++;
	}
	return 0;
}

static void journal_read(struct blk_req *r, int err)
{
	struct store *s = r->owner;
	u32 half = (u32)(s->sb.half_bytes / JOURNAL_BLOCK);
	u32 n = r->sectors * s->blk->sector_bytes / JOURNAL_BLOCK;

	if (!err)
		err = open_blocks(s, s->tries, n);
	if (err < 0) {
		open_finish(s, err);
		return;
	}
	s->tries += n;
	if (err == 1 || s->tries == half)
		open_end(s);
	else
		open_read_journal(s);
}

static void open_io(struct store *s, u64 off, u32 bytes, void (*done)(struct blk_req *, int))
{
	s->seg = (struct blk_seg){ plat_virt_to_phys(s->jbuf), bytes };
	s->req = (struct blk_req){
		.op = BLK_READ,
		.lba = store_sector(s, off),
		.sectors = bytes / s->blk->sector_bytes,
		.segs = &s->seg,
		.nsegs = 1,
		.done = done,
		.owner = s,
	};
	blk_submit(s->blk, &s->req);
}

/* s->tries counts blocks read while opening */
static void open_read_journal(struct store *s)
{
	u32 half = (u32)(s->sb.half_bytes / JOURNAL_BLOCK);

	open_io(s, s->pos.off + (u64)s->tries * JOURNAL_BLOCK,
		MIN(half - s->tries, s->jmax) * JOURNAL_BLOCK, journal_read);
}

/* Neither copy can be used: is that what a format leaves, a device's fault, or damage? */
static int no_super(const struct store *s)
{
	if (s->open_super[0].err == -ESTALE || s->open_super[1].err == -ESTALE)
		return -ENODATA;
	for (u32 i = 0; i < 2; i++)
		if (s->open_super[i].err == -EPROTO || s->open_super[i].err == -EIO)
			return s->open_super[i].err;
	return -EBADMSG;
}

static int take_super(struct store *s)
{
	const struct open_super *o = s->open_super;
	u32 best = o[0].err || (!o[1].err && o[1].sb.generation > o[0].sb.generation);

	if (o[best].err)
		return no_super(s);
	if (o[1 - best].err)
		log_warn("store: superblock %u not usable err=%s", 1 - best,
			 err_name(o[1 - best].err));
	s->sb = o[best].sb;
	s->sb_best = best;
	return s->sb.region_bytes > s->sectors * s->blk->sector_bytes ? -EBADMSG : 0;
}

/* One copy at a time: what is wrong with one must not cost the other. */
static void super_read(struct blk_req *r, int err)
{
	struct store *s = r->owner;
	struct open_super *o = &s->open_super[s->tries++];

	o->err = err ? -EIO : super_parse(s->jbuf, &o->sb);
	if (!err && super_is_marker(s->jbuf))
		o->err = -ESTALE;
	if (s->tries < 2) {
		open_io(s, JOURNAL_BLOCK, JOURNAL_BLOCK, super_read);
		return;
	}
	err = take_super(s);
	if (err) {
		open_finish(s, err);
		return;
	}
	s->bpc = s->sb.chunk_bytes / BLOCK_BYTES;
	s->meta.chunk_bytes = s->sb.chunk_bytes;
	s->pos = (struct journal_pos){
		.nonce = s->sb.nonce,
		.generation = s->sb.generation,
		.off = s->sb.half_off[s->sb.active],
	};
	s->tries = 0;
	open_read_journal(s);
}

void store_open(struct store *s, void (*done)(struct store *s, int err, void *arg), void *arg)
{
	s->open_done = done;
	s->open_arg = arg;
	s->tries = 0;
	open_io(s, 0, JOURNAL_BLOCK, super_read);
}
