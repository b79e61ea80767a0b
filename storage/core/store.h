/*
 * store.h - the region of a PC's own disk that keeps chunks and guest writes
 *
 * Format and guarantees: docs/formats/store.md. A store lies on a range of a
 * block device (a GPT partition) and is bound to one version of one image; it
 * holds that version's manifest root and table pages too, so that a complete
 * store boots without a server.
 *
 * Life: store_format() once; store_create(), store_open(), then look at
 * store_meta() and hand the store to disk_create() (disk.h), which owns it
 * until disk_destroy(). A store that was never given to a disk is destroyed
 * with store_destroy().
 *
 * Nothing here polls the block device: whoever owns it calls blk_poll(), and
 * all callbacks below come from there or from disk_poll(), never from inside
 * the call that started the work.
 *
 * Context: pump. Memory is allocated by create, open and bind, and by disk_poll() for
 * the map of guest writes as it grows, between requests (chunkmap.h).
 */
#ifndef STORAGE_CORE_STORE_H
#define STORAGE_CORE_STORE_H

#include "base/types.h"
#include "storage/core/blk.h"

#define STORE_IMAGE_BYTES 64 /* image name, zero padded; as in a manifest */
#define STORE_CHUNK_MIN (64 * 1024u)
#define STORE_CHUNK_MAX (1024 * 1024u)

/* What becomes of guest writes. Values are on the disk. */
enum store_policy {
	STORE_POLICY_BOOT = 1, /* forgotten when the store is opened again */
	STORE_POLICY_PUSH = 2, /* kept until another version is bound */
	STORE_POLICY_NEVER = 3, /* kept, and no other version is bound */
};

/* What a second version in the store is there for. Values are on the disk. */
enum store_role {
	STORE_OTHER_NONE = 0,
	STORE_OTHER_NEXT = 1, /* being fetched, or waiting for the next boot */
	STORE_OTHER_PREV = 2, /* was shown before the one that is bound: the way back */
};

/* The controller that the guest sees; 0 where a field is left alone: same. */
enum store_frontend {
	STORE_FRONTEND_SAME = 1,
	STORE_FRONTEND_NVME,
	STORE_FRONTEND_AHCI,
};

/* The network card that it sees; 0 where a field is left alone: none. */
enum store_nic {
	STORE_NIC_NONE = 1,
	STORE_NIC_VIRTIO,
	STORE_NIC_E1000E,
};

/*
 * What the store knows beside its chunks. The upper half is set when a
 * version is bound (disk_create()), the lower half at any time
 * (disk_set_state()).
 */
struct store_meta {
	bool bound; /* false: freshly formatted, everything else is zero */
	u32 chunk_bytes;
	u64 image_bytes;
	u32 sector_bytes;
	u8 version[32]; /* digest of the manifest root */
	char image[STORE_IMAGE_BYTES];

	bool complete; /* every chunk and table page is here; the store sets it */
	enum store_policy policy;
	enum store_frontend frontend;
	enum store_nic nic;
	u64 serial; /* highest channel serial seen */
	u8 esp[32]; /* version of the ESP image that was installed; zeros: none */
	u8 next[32]; /* version seen on the channel but not bound yet; zeros: none */
	bool up; /* a guest has come up with the bound version */
	u32 tries; /* boots that were begun with it and did not bring a guest up */
	u8 bad[32]; /* version that did not come up, and was left; zeros: none */
	u64 bad_serial; /* the channel's serial then */
	u64 time; /* the latest that a ticket said, unix, give or take a day; 0: none did */
	u8 credential[32]; /* who we are to the server; zeros: not issued */
};

struct store;

/*
 * store_format(): the caller fills the upper half and keeps the struct until
 * done(). @buf is the function's own.
 */
struct store_format {
	struct blk_dev *blk;
	u64 lba; /* the region, in the device's sectors; 4 KiB aligned */
	u64 sectors;
	u32 chunk_bytes; /* of the image that will be bound */
	void (*done)(struct store_format *f, int err);
	void *owner;

	struct blk_req req;
	struct blk_seg seg;
	void *buf;
	u32 step;
};

/**
 * store_format() - make an empty store; whatever was there is lost
 *
 * Writes only metadata. An interrupted format leaves what was there, whole, or
 * the marker of a store that is being made, never a wrong store.
 * Return: 0, done() will be called with 0 or -EIO; -EINVAL (alignment, chunk
 * size); -ENOSPC (smaller than store_min_bytes()); -ENOMEM.
 */
int store_format(struct store_format *f);

/** store_min_bytes() - the smallest region that makes sense with this chunk size */
u64 store_min_bytes(u32 chunk_bytes);

/**
 * store_create() - a store on @sectors sectors of @blk from @lba
 *
 * Return: 0; -EINVAL for an unaligned region; -ENOMEM. No I/O yet.
 */
int store_create(struct store **out, struct blk_dev *blk, u64 lba, u64 sectors);
void store_destroy(struct store *s);

/**
 * store_open() - read superblocks and journal
 * @done: called once. 0; -ENODATA: a store was being made here and is not
 *	  finished, there is nothing to lose; -EBADMSG: there is no superblock
 *	  left, or the journal is damaged beyond what a power cut can do;
 *	  -EPROTO: a format this code does not know; -EIO; -ENOMEM.
 *
 * Guest writes of a store whose policy is "boot" are forgotten here.
 */
void store_open(struct store *s, void (*done)(struct store *s, int err, void *arg), void *arg);

/** store_meta() - valid after store_open() succeeded; follows later changes */
const struct store_meta *store_meta(const struct store *s);

/** store_manifest() - the bound manifest root's bytes, NULL when not bound */
const void *store_manifest(const struct store *s, u32 *bytes);

/*
 * A second version: its chunks lie in the same slots where both have the same
 * chunk at the same place, in slots of their own otherwise.
 */
struct store_second {
	enum store_role role;
	bool complete;
	u8 version[32];
	const void *root; /* its manifest */
	u32 root_bytes;
};

void store_second(const struct store *s, struct store_second *out);

/** store_chunk_bytes() - the slot size that the store was formatted with */
u32 store_chunk_bytes(const struct store *s);

struct store_space {
	u64 slots, slots_free;
	u64 slots_base; /* chunks and table pages of the bound version */
	u64 slots_overlay; /* guest writes */
	u64 slots_other; /* of the second version alone */
};

void store_space(const struct store *s, struct store_space *out);

#endif
