/*
 * Superblocks, journal blocks, records: bytes to structs and back. See
 * journal.h and docs/formats/store.md.
 *
 * Record: u8 type, u8 zero, u16 length of the whole, then the body:
 *
 *	META	u32 policy, u32 flags, u32 chunk_bytes, u32 sector_bytes, u32 root_bytes,
 *		u64 serial, u64 image_bytes, version[32], esp[32], next[32], image[64]
 *	ROOT	u32 offset, data (padded to 4)
 *		(the length of the data is in the u32 after the offset)
 *	MAP	u32 first, u32 slot, u32 count
 *	OVL	u32 chunk, u32 slot, valid[n], zero[n]
 *	END	nothing
 *	OTHER	u32 role, u32 flags, u32 root_bytes, u32 0, u64 image_bytes, version[32]
 *	OROOT, OMAP	as ROOT, MAP
 *
 * META ends with u32 tries, u64 bad_serial, bad[32], then u64 time, credential[32];
 * older stores do not have the former or the latter.
 */
#include "storage/format/journal.h"

#include <string.h>

#include "base/crc32c.h"
#include "base/endian.h"
#include "base/err.h"

#define MARKER_MAGIC "FRSHFMT1"
#define MARKER_TEXT "a Freshet store is being made here"
#define MARKER_CRC 508u
#define META_OLD_BYTES (4u + 5 * 4 + 2 * 8 + 3 * 32 + 64)
#define META_TRIES_BYTES (META_OLD_BYTES + 4 + 8 + 32)
#define META_BYTES (META_TRIES_BYTES + 8 + 32)
#define OTHER_BYTES (4u + 4 * 4 + 8 + 32)
#define SLOTS_ALIGN (1u << 20)
#define HALVES_OFF (64u * 1024)
/* room in a half beside what the slots need: manifest root, log, zero runs */
#define HALF_EXTRA (6u << 20)

void super_build(const struct super *sb, void *out)
{
	struct super_wire *w = out;

	memset(w, 0, sizeof(*w));
	memcpy(w->magic, SUPER_MAGIC, 8);
	put_le32(w->format, SUPER_FORMAT);
	put_le32(w->chunk_bytes, sb->chunk_bytes);
	put_le64(w->generation, sb->generation);
	put_le64(w->nonce, sb->nonce);
	put_le64(w->region_bytes, sb->region_bytes);
	put_le64(w->half_bytes, sb->half_bytes);
	put_le64(w->half_off[0], sb->half_off[0]);
	put_le64(w->half_off[1], sb->half_off[1]);
	put_le64(w->crc_off, sb->crc_off);
	put_le64(w->slots_off, sb->slots_off);
	put_le32(w->slots, sb->slots);
	put_le32(w->active, sb->active);
	put_le32(w->crc, crc32c(0, w, offsetof(struct super_wire, crc)));
}

void super_build_marker(void *out)
{
	u8 *p = out;

	memset(p, 0, JOURNAL_BLOCK);
	memcpy(p, MARKER_MAGIC, 8);
	memcpy(p + 8, MARKER_TEXT, sizeof(MARKER_TEXT) - 1);
	put_le32(p + MARKER_CRC, crc32c(0, p, MARKER_CRC));
}

bool super_is_marker(const void *block)
{
	const u8 *p = block;

	return !memcmp(p, MARKER_MAGIC, 8) && get_le32(p + MARKER_CRC) == crc32c(0, p, MARKER_CRC);
}

static bool chunk_bytes_ok(u32 n)
{
	return n >= 64 * 1024 && n <= 1024 * 1024 && !(n & (n - 1));
}

static u64 crc_table_bytes(u64 slots, u32 chunk_bytes)
{
	return ALIGN_UP(slots * (chunk_bytes / JOURNAL_BLOCK) * 4, (u64)JOURNAL_BLOCK);
}

int super_parse(const void *block, struct super *out)
{
	const struct super_wire *w = block;
	struct super s;
	u64 end;

	if (memcmp(w->magic, SUPER_MAGIC, 8) ||
	    get_le32(w->crc) != crc32c(0, w, offsetof(struct super_wire, crc)))
		return -ENODATA;
	if (get_le32(w->format) != SUPER_FORMAT)
		return -EPROTO;
	s.chunk_bytes = get_le32(w->chunk_bytes);
	s.generation = get_le64(w->generation);
	s.nonce = get_le64(w->nonce);
	s.region_bytes = get_le64(w->region_bytes);
	s.half_bytes = get_le64(w->half_bytes);
	s.half_off[0] = get_le64(w->half_off[0]);
	s.half_off[1] = get_le64(w->half_off[1]);
	s.crc_off = get_le64(w->crc_off);
	s.slots_off = get_le64(w->slots_off);
	s.slots = get_le32(w->slots);
	s.active = get_le32(w->active);

	if (!chunk_bytes_ok(s.chunk_bytes) || s.active > 1 || s.slots < SUPER_SLOTS_MIN ||
	    s.slots > SUPER_SLOTS_MAX || s.region_bytes > 1ull << 60)
		return -EBADMSG;
	/* In this order, without overlap: superblocks, halves, CRCs, slots. */
	end = s.region_bytes;
	if (s.slots_off > end || (u64)s.slots * s.chunk_bytes > end - s.slots_off ||
	    s.crc_off > s.slots_off ||
	    crc_table_bytes(s.slots, s.chunk_bytes) > s.slots_off - s.crc_off ||
	    s.half_bytes < 64 * JOURNAL_BLOCK || s.half_bytes > 1ull << 40 ||
	    s.half_bytes > s.crc_off ||
	    s.half_off[1] > s.crc_off - s.half_bytes || s.half_off[0] < 2 * sizeof(*w) ||
	    s.half_off[0] > s.half_off[1] || s.half_off[1] - s.half_off[0] < s.half_bytes)
		return -EBADMSG;
	if ((s.half_bytes | s.half_off[0] | s.half_off[1] | s.crc_off | s.slots_off) %
	    JOURNAL_BLOCK)
		return -EBADMSG;
	*out = s;
	return 0;
}

int super_layout(struct super *out, u64 region_bytes, u32 chunk_bytes)
{
	u64 slots, half, need, rec, extra;

	if (!chunk_bytes_ok(chunk_bytes))
		return -EINVAL;
	/* a slot's worst records: one MAP, one OMAP and one OVL */
	rec = 2 * 16 + 12 + 2 * (chunk_bytes / JOURNAL_BLOCK / 8) + 16;
	extra = MIN((u64)HALF_EXTRA, ALIGN_UP(region_bytes / 64, (u64)JOURNAL_BLOCK));
	extra = MAX(extra, (u64)512 * 1024);
	slots = MIN(region_bytes / chunk_bytes, (u64)SUPER_SLOTS_MAX);
	for (;; slots--) {
		half = ALIGN_UP(slots * rec + extra, (u64)JOURNAL_BLOCK);
		need = HALVES_OFF + 2 * half + crc_table_bytes(slots, chunk_bytes);
		need = ALIGN_UP(need, (u64)SLOTS_ALIGN) + slots * chunk_bytes;
		if (need <= region_bytes)
			break;
		/* close in quickly: the overshoot in slots is a safe step */
		u64 over = (need - region_bytes) / (chunk_bytes + 3 * rec);

		if (slots <= SUPER_SLOTS_MIN || over >= slots)
			return -ENOSPC;
		slots -= over;
	}
	if (slots < SUPER_SLOTS_MIN)
		return -ENOSPC;
	*out = (struct super){
		.chunk_bytes = chunk_bytes,
		.slots = (u32)slots,
		.region_bytes = region_bytes,
		.half_bytes = half,
		.half_off = { HALVES_OFF, HALVES_OFF + half },
		.crc_off = HALVES_OFF + 2 * half,
		.slots_off = ALIGN_UP(HALVES_OFF + 2 * half + crc_table_bytes(slots, chunk_bytes),
				      (u64)SLOTS_ALIGN),
	};
	return 0;
}

u32 journal_seal(void *block, const struct journal_head *h)
{
	struct journal_head_wire *w = block;
	u32 crc;

	memset((u8 *)block + JOURNAL_HEAD + h->bytes, 0, JOURNAL_ROOM - h->bytes);
	memcpy(w->magic, "FJB1", 4);
	put_le32(w->crc, 0);
	put_le64(w->nonce, h->nonce);
	put_le64(w->generation, h->generation);
	put_le32(w->seq, h->seq);
	put_le32(w->append_seq, h->append_seq);
	put_le32(w->prev_crc, h->prev_crc);
	put_le16(w->bytes, (u16)h->bytes);
	put_le16(w->reserved, 0);
	crc = crc32c(0, block, JOURNAL_BLOCK);
	put_le32(w->crc, crc);
	return crc;
}

int journal_open_block(const void *block, struct journal_head *h, u32 *crc)
{
	static const u8 zero[4];
	const struct journal_head_wire *w = block;
	u32 sum;

	if (memcmp(w->magic, "FJB1", 4))
		return -EBADMSG;
	sum = crc32c(0, block, offsetof(struct journal_head_wire, crc));
	sum = crc32c(sum, zero, 4);
	sum = crc32c(sum, w->nonce, JOURNAL_BLOCK - offsetof(struct journal_head_wire, nonce));
	if (sum != get_le32(w->crc))
		return -EBADMSG;
	h->nonce = get_le64(w->nonce);
	h->generation = get_le64(w->generation);
	h->seq = get_le32(w->seq);
	h->append_seq = get_le32(w->append_seq);
	h->prev_crc = get_le32(w->prev_crc);
	h->bytes = get_le16(w->bytes);
	if (h->bytes > JOURNAL_ROOM || h->append_seq > h->seq)
		return -EBADMSG;
	*crc = sum;
	return 0;
}

static u32 record_bytes(const struct record *r)
{
	switch (r->type) {
	case REC_META:
		return META_BYTES;
	case REC_ROOT:
	case REC_OROOT:
		return 12 + ALIGN_UP(r->root.bytes, 4u);
	case REC_MAP:
	case REC_OMAP:
		return 16;
	case REC_OTHER:
		return OTHER_BYTES;
	case REC_OVL:
		return 12 + 2 * r->ovl.bits_bytes;
	case REC_END:
		return 4;
	}
	return 0;
}

static void put_meta(u8 *p, const struct record *r)
{
	put_le32(p, r->meta.policy);
	put_le32(p + 4, r->meta.flags);
	put_le32(p + 8, r->meta.chunk_bytes);
	put_le32(p + 12, r->meta.sector_bytes);
	put_le32(p + 16, r->meta.root_bytes);
	put_le64(p + 20, r->meta.serial);
	put_le64(p + 28, r->meta.image_bytes);
	memcpy(p + 36, r->meta.version, 32);
	memcpy(p + 68, r->meta.esp, 32);
	memcpy(p + 100, r->meta.next, 32);
	memcpy(p + 132, r->meta.image, 64);
	put_le32(p + 196, r->meta.tries);
	put_le64(p + 200, r->meta.bad_serial);
	memcpy(p + 208, r->meta.bad, 32);
	put_le64(p + 240, r->meta.time);
	memcpy(p + 248, r->meta.credential, 32);
}

u32 record_put(void *out, u32 room, const struct record *r)
{
	u32 n = record_bytes(r), bits;
	u8 *p = out;

	if (!n || n > room)
		return 0;
	memset(p, 0, n);
	p[0] = (u8)r->type;
	put_le16(p + 2, (u16)n);
	p += 4;
	switch (r->type) {
	case REC_META:
		put_meta(p, r);
		break;
	case REC_OTHER:
		put_le32(p, r->other.role);
		put_le32(p + 4, r->other.flags);
		put_le32(p + 8, r->other.root_bytes);
		put_le64(p + 16, r->other.image_bytes);
		memcpy(p + 24, r->other.version, 32);
		break;
	case REC_ROOT:
	case REC_OROOT:
		put_le32(p, r->root.offset);
		put_le32(p + 4, r->root.bytes);
		memcpy(p + 8, r->root.data, r->root.bytes);
		break;
	case REC_MAP:
	case REC_OMAP:
		put_le32(p, r->map.first);
		put_le32(p + 4, r->map.slot);
		put_le32(p + 8, r->map.count);
		break;
	case REC_OVL:
		bits = r->ovl.bits_bytes;
		put_le32(p, r->ovl.chunk);
		put_le32(p + 4, r->ovl.slot);
		memcpy(p + 8, r->ovl.valid, bits);
		memcpy(p + 8 + bits, r->ovl.zero, bits);
		break;
	case REC_END:
		break;
	}
	return n;
}

static int get_meta(const u8 *p, u32 n, struct record *r)
{
	if (n != META_BYTES && n != META_TRIES_BYTES && n != META_OLD_BYTES)
		return -EBADMSG;
	r->meta.policy = get_le32(p);
	r->meta.flags = get_le32(p + 4);
	r->meta.chunk_bytes = get_le32(p + 8);
	r->meta.sector_bytes = get_le32(p + 12);
	r->meta.root_bytes = get_le32(p + 16);
	r->meta.serial = get_le64(p + 20);
	r->meta.image_bytes = get_le64(p + 28);
	memcpy(r->meta.version, p + 36, 32);
	memcpy(r->meta.esp, p + 68, 32);
	memcpy(r->meta.next, p + 100, 32);
	memcpy(r->meta.image, p + 132, 64);
	r->meta.tries = 0;
	r->meta.bad_serial = 0;
	memset(r->meta.bad, 0, 32);
	r->meta.time = 0;
	memset(r->meta.credential, 0, 32);
	if (n >= META_TRIES_BYTES) {
		r->meta.tries = get_le32(p + 196);
		r->meta.bad_serial = get_le64(p + 200);
		memcpy(r->meta.bad, p + 208, 32);
	}
	if (n == META_BYTES) {
		r->meta.time = get_le64(p + 240);
		memcpy(r->meta.credential, p + 248, 32);
	}
	return (int)n;
}

static int get_ovl(const u8 *p, u32 n, struct record *r)
{
	u32 bits;

	if (n < 16 || n > 12 + 2 * REC_OVL_BITS_MAX || n % 2)
		return -EBADMSG;
	bits = (n - 12) / 2;
	if (bits & (bits - 1))
		return -EBADMSG;
	r->ovl.chunk = get_le32(p);
	r->ovl.slot = get_le32(p + 4);
	r->ovl.bits_bytes = bits;
	memcpy(r->ovl.valid, p + 8, bits);
	memcpy(r->ovl.zero, p + 8 + bits, bits);
	return (int)n;
}

int record_get(const void *from, u32 room, struct record *out)
{
	const u8 *p = from;
	u32 n;

	if (room < 4)
		return -EBADMSG;
	n = get_le16(p + 2);
	if (n < 4 || n > room || n % 4 || p[1])
		return -EBADMSG;
	out->type = p[0];
	p += 4;
	switch (out->type) {
	case REC_META:
		return get_meta(p, n, out);
	case REC_OTHER:
		if (n != OTHER_BYTES)
			return -EBADMSG;
		out->other.role = get_le32(p);
		out->other.flags = get_le32(p + 4);
		out->other.root_bytes = get_le32(p + 8);
		out->other.image_bytes = get_le64(p + 16);
		memcpy(out->other.version, p + 24, 32);
		return (int)n;
	case REC_ROOT:
	case REC_OROOT:
		if (n < 12)
			return -EBADMSG;
		out->root.offset = get_le32(p);
		out->root.bytes = get_le32(p + 4);
		out->root.data = p + 8;
		if (out->root.bytes > n - 12 || ALIGN_UP(out->root.bytes, 4u) != n - 12)
			return -EBADMSG;
		return (int)n;
	case REC_MAP:
	case REC_OMAP:
		if (n != 16)
			return -EBADMSG;
		out->map.first = get_le32(p);
		out->map.slot = get_le32(p + 4);
		out->map.count = get_le32(p + 8);
		return (int)n;
	case REC_OVL:
		return get_ovl(p, n, out);
	case REC_END:
		return n == 4 ? (int)n : -EBADMSG;
	}
	return -EBADMSG;
}
