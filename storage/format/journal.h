/*
 * journal.h - what a store's metadata looks like on the disk
 *
 * docs/formats/store.md has the whole picture. Here are the pieces that are
 * read back after a crash and therefore never trusted: superblock, journal
 * block, and the records inside a journal block. Nothing here does I/O.
 *
 * Everything is little-endian and lies in blocks of 4096 bytes. A journal
 * block holds whole records; it is valid when its CRC is right and nonce,
 * generation, position and the CRC of the block before it are the expected
 * ones, so neither a torn write nor a leftover of an earlier life passes.
 */
#ifndef STORAGE_FORMAT_JOURNAL_H
#define STORAGE_FORMAT_JOURNAL_H

#include "base/assert.h"
#include "base/types.h"

#define JOURNAL_BLOCK 4096u
#define JOURNAL_HEAD 40u
#define JOURNAL_ROOM (JOURNAL_BLOCK - JOURNAL_HEAD)

#define SUPER_MAGIC "FRSHSTO1"
#define SUPER_FORMAT 1

struct super_wire {
	u8 magic[8];
	u8 format[4];
	u8 chunk_bytes[4];
	u8 generation[8]; /* grows with every checkpoint; the higher copy counts */
	u8 nonce[8]; /* of the journal half in use */
	u8 region_bytes[8];
	u8 half_bytes[8];
	u8 half_off[2][8]; /* from the start of the region, like all offsets */
	u8 crc_off[8];
	u8 slots_off[8];
	u8 slots[4];
	u8 active[4]; /* 0 or 1 */
	u8 reserved[4096 - 92];
	u8 crc[4]; /* CRC32C of all before it */
} __packed;

static_assert(sizeof(struct super_wire) == 4096, "super_wire");
static_assert(offsetof(struct super_wire, generation) == 16, "generation");
static_assert(offsetof(struct super_wire, region_bytes) == 32, "region_bytes");
static_assert(offsetof(struct super_wire, half_off) == 48, "half_off");
static_assert(offsetof(struct super_wire, slots) == 80, "slots");

struct super {
	u32 chunk_bytes;
	u32 slots;
	u32 active;
	u64 generation;
	u64 nonce;
	u64 region_bytes;
	u64 half_bytes;
	u64 half_off[2];
	u64 crc_off;
	u64 slots_off;
};

/** super_build() - @out has 4096 bytes */
void super_build(const struct super *sb, void *out);

/**
 * super_parse() - bytes to struct; every geometry rule checked
 *
 * Return: 0; -ENODATA: not a superblock, or a torn one; -EPROTO: a format of
 * the future; -EBADMSG: intact, but its numbers contradict each other.
 */
int super_parse(const void *block, struct super *out);

/*
 * While a store is being made, both superblocks are a marker (all of it in the
 * first 512 bytes, so it is never torn): nothing that was here counts any more.
 * A place without superblocks and without a marker has been damaged.
 */
void super_build_marker(void *out); /* 4096 bytes */
bool super_is_marker(const void *block);

/**
 * super_layout() - place everything in a region of @region_bytes
 *
 * Return: 0; -EINVAL for the chunk size; -ENOSPC when fewer than SUPER_SLOTS_MIN slots fit.
 */
int super_layout(struct super *out, u64 region_bytes, u32 chunk_bytes);

#define SUPER_SLOTS_MIN 16u
#define SUPER_SLOTS_MAX (8u << 20) /* bounds the allocator's memory: 1 MiB */

struct journal_head_wire {
	u8 magic[4]; /* "FJB1" */
	u8 crc[4]; /* CRC32C of the block with this field zero */
	u8 nonce[8];
	u8 generation[8];
	u8 seq[4]; /* position in the half, in blocks */
	u8 append_seq[4]; /* position of the first block of the same append */
	u8 prev_crc[4]; /* crc of the block at seq - 1; 0 for the first */
	u8 bytes[2]; /* of records */
	u8 reserved[2];
} __packed;

static_assert(sizeof(struct journal_head_wire) == JOURNAL_HEAD, "journal_head_wire");

struct journal_head {
	u64 nonce;
	u64 generation;
	u32 seq;
	u32 append_seq;
	u32 prev_crc;
	u32 bytes;
};

/** journal_seal() - write the head of a block whose records are in place; returns its CRC */
u32 journal_seal(void *block, const struct journal_head *h);

/** journal_open_block() - 0 and the head, or -EBADMSG; *crc: the block's, for the chain */
int journal_open_block(const void *block, struct journal_head *h, u32 *crc);

enum record_type {
	REC_META = 1, /* all scalars; the last one counts */
	REC_ROOT = 2, /* a piece of the manifest root */
	REC_MAP = 3, /* base chunks first..first+count-1 in slots slot.. */
	REC_OVL = 4, /* the whole overlay state of one chunk */
	REC_END = 5, /* the checkpoint is complete; what follows is the log */
	REC_OTHER = 6, /* there is a second version; checkpoints only */
	REC_OROOT = 7, /* a piece of its manifest root */
	REC_OMAP = 8, /* REC_MAP of its chunks */
};

#define SLOT_NONE 0xffffffffu
#define SLOT_ZERO 0xfffffffeu /* REC_MAP only: the chunk is all zero, no slot */
#define SLOT_LIMIT 0xfffffff0u /* real slots are below */

#define REC_META_COMPLETE 1u /* flags */
#define REC_META_UP 2u /* a guest has come up with this version */
#define REC_META_FRONTEND 0x0000000cu /* enum store_frontend; 0 in records of before it */
#define REC_META_NIC 0x00000030u /* enum store_nic; 0 likewise */
#define REC_OTHER_COMPLETE 1u
#define REC_OVL_BITS_MAX 32u /* bytes of one bitmap: 256 blocks in 1 MiB */

struct record {
	enum record_type type;
	union {
		struct {
			u32 policy;
			u32 flags;
			u64 serial;
			u64 image_bytes;
			u32 chunk_bytes;
			u32 sector_bytes;
			u32 root_bytes;
			u8 version[32];
			u8 esp[32];
			u8 next[32];
			char image[64];
			u32 tries; /* zero in records of before these three */
			u64 bad_serial;
			u8 bad[32];
			u64 time; /* zero in records of before these two */
			u8 credential[32];
		} meta;
		struct {
			u32 role; /* enum store_role */
			u32 flags;
			u32 root_bytes;
			u64 image_bytes;
			u8 version[32];
		} other;
		struct {
			u32 offset;
			u32 bytes;
			const u8 *data; /* inside the block */
		} root;
		struct {
			u32 first, slot, count;
		} map;
		struct {
			u32 chunk, slot;
			u32 bits_bytes; /* of each bitmap: 2, 4, 8, 16, 32 */
			u8 valid[REC_OVL_BITS_MAX];
			u8 zero[REC_OVL_BITS_MAX];
		} ovl;
	};
};

#define REC_ROOT_DATA_MAX 2048u

/** record_put() - append @r at @out; bytes written, 0 when @room is too small */
u32 record_put(void *out, u32 room, const struct record *r);

/**
 * record_get() - parse the record at @p
 * @room: bytes left in the block's records
 *
 * Checks form only; whether numbers fit the store is the caller's.
 * Return: bytes used; -EBADMSG.
 */
int record_get(const void *p, u32 room, struct record *out);

#endif
