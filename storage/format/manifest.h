/*
 * manifest.h - the root of an image version: sizes, names, digests of the table pages, signature
 *
 * The layout is in docs/formats/manifest.md. A version is named by the SHA-256
 * of the whole file, signature included. The table pages are themselves chunks
 * of chunk_bytes (the last one short), each an array of chunk digests, so that
 * a large image's table never has to be in memory at once.
 *
 * Nothing here does I/O. manifest_parse() checks everything that can be checked
 * without the pages; it does not look at the signature, manifest_verify() does,
 * and both are wanted before a manifest is believed.
 */
#ifndef STORAGE_FORMAT_MANIFEST_H
#define STORAGE_FORMAT_MANIFEST_H

#include "base/assert.h"
#include "base/crypto.h"
#include "base/types.h"

#define MANIFEST_MAGIC "FRSHMAN1"
#define MANIFEST_FORMAT 1
#define MANIFEST_CHUNK_MIN (64u * 1024)
#define MANIFEST_CHUNK_MAX (1024u * 1024)
#define MANIFEST_CHUNK_DEFAULT (64u * 1024) /* up to 256 GiB */
#define MANIFEST_CHUNKS_DEFAULT (4u << 20) /* ... then chunks double rather than be more */
#define MANIFEST_NAME_BYTES 64 /* zero padded; 63 characters at most */
#define MANIFEST_LABEL_MAX 128
#define MANIFEST_PAGES_MAX 32768 /* 16 TiB at the default chunk size */
#define MANIFEST_BYTES_MAX (160 + MANIFEST_LABEL_MAX + MANIFEST_PAGES_MAX * 32 + 64)

/* On the wire; every field little-endian (access by get_le32() and friends). */
struct manifest_wire {
	u8 magic[8];
	u8 format[4];
	u8 chunk_bytes[4];
	u8 image_bytes[8];
	u8 chunk_count[8];
	u8 digests_per_page[4];
	u8 page_count[4];
	u8 sector_bytes[4];
	u8 label_bytes[4];
	u8 created_unix[8];
	u8 reserved[8];
	u8 parent[SHA256_BYTES];
	u8 name[MANIFEST_NAME_BYTES];
	/* label, padded to a multiple of 32; page digests; signature */
};

static_assert(sizeof(struct manifest_wire) == 160, "manifest_wire");
static_assert(offsetof(struct manifest_wire, format) == 8, "format");
static_assert(offsetof(struct manifest_wire, chunk_bytes) == 12, "chunk_bytes");
static_assert(offsetof(struct manifest_wire, image_bytes) == 16, "image_bytes");
static_assert(offsetof(struct manifest_wire, chunk_count) == 24, "chunk_count");
static_assert(offsetof(struct manifest_wire, digests_per_page) == 32, "digests_per_page");
static_assert(offsetof(struct manifest_wire, page_count) == 36, "page_count");
static_assert(offsetof(struct manifest_wire, sector_bytes) == 40, "sector_bytes");
static_assert(offsetof(struct manifest_wire, label_bytes) == 44, "label_bytes");
static_assert(offsetof(struct manifest_wire, created_unix) == 48, "created_unix");
static_assert(offsetof(struct manifest_wire, reserved) == 56, "reserved");
static_assert(offsetof(struct manifest_wire, parent) == 64, "parent");
static_assert(offsetof(struct manifest_wire, name) == 96, "name");

struct manifest {
	u32 chunk_bytes;
	u32 digests_per_page;
	u32 page_count;
	u32 sector_bytes; /* of the virtual disk: 512 or 4096 */
	u64 image_bytes;
	u64 chunk_count;
	u64 created_unix;
	u8 parent[SHA256_BYTES]; /* zeros: none */
	char name[MANIFEST_NAME_BYTES + 1];
	char label[MANIFEST_LABEL_MAX + 1];
	const u8 *pages; /* page_count digests, inside the parsed bytes: live as long as those */
};

/**
 * manifest_parse() - bytes to struct, everything checked but the signature
 * @bytes, @n: exactly one manifest; @n must be its exact length
 * @out:       filled on success only; out->pages points into @bytes
 *
 * Return: 0; -EINVAL (what is wrong: not a manifest); -EMSGSIZE (cut short or too long);
 * -EOPNOTSUPP for a format number of the future.
 */
int manifest_parse(const void *bytes, size_t n, struct manifest *out);

/**
 * manifest_verify() - was it signed by one of @keys?
 *
 * Return: 0; -EKEYREJECTED; -EMSGSIZE when @n cannot hold a signature.
 */
int manifest_verify(const void *bytes, size_t n, const u8 keys[][P256_PUB_BYTES], u32 nkeys);

/** manifest_digest() - the version's name: SHA-256 of the whole file */
void manifest_digest(u8 out[SHA256_BYTES], const void *bytes, size_t n);

/*
 * manifest_chunk_default() - chunk size of an image that nobody has chosen one for
 *
 * What a PC keeps of a chunk in memory is the same for any size, so it grows
 * with the image: never more than 4 Mi chunks below 4 TiB.
 */
u32 manifest_chunk_default(u64 image_bytes);

/** manifest_fill_counts() - derive counts from image_bytes and chunk_bytes; 0 or -EINVAL */
int manifest_fill_counts(struct manifest *m);

/** manifest_size() - length of the file that @m makes, signature included */
size_t manifest_size(const struct manifest *m);

/**
 * manifest_build() - struct to bytes, up to where the signature goes
 * @m:     checked like a parsed one; m->pages: page_count digests
 * @out:   room for manifest_size(@m); the last 64 bytes are left zero
 * @to_sign: out, the digest to be signed
 *
 * The signature then goes to out + manifest_size(m) - P256_SIG_BYTES.
 * Return: 0, -EINVAL, -ENOSPC.
 */
int manifest_build(const struct manifest *m, void *out, size_t room, u8 to_sign[SHA256_BYTES]);

/** manifest_name_ok() - [a-z0-9._-]{1,63}, no dot first; also a part of a channel name */
bool manifest_name_ok(const char *s, size_t n);

/** manifest_chunk_plain_bytes() - length of image chunk @i: chunk_bytes but for the last */
static inline u32 manifest_chunk_plain_bytes(const struct manifest *m, u64 i)
{
	u64 off = i * m->chunk_bytes;

	return (u32)MIN((u64)m->chunk_bytes, m->image_bytes - off);
}

/** manifest_page_plain_bytes() - length of table page @p */
static inline u32 manifest_page_plain_bytes(const struct manifest *m, u32 p)
{
	u64 first = (u64)p * m->digests_per_page;

	return (u32)MIN((u64)m->digests_per_page, m->chunk_count - first) * SHA256_BYTES;
}

static inline const u8 *manifest_page_digest(const struct manifest *m, u32 p)
{
	return m->pages + (size_t)p * SHA256_BYTES;
}

/** manifest_digest_is_zero() - the chunk is all zero: never stored, never fetched */
static inline bool manifest_digest_is_zero(const u8 digest[SHA256_BYTES])
{
	u8 any = 0;

	for (u32 i = 0; i < SHA256_BYTES; i++)
		any |= digest[i];
	return !any;
}

#endif
