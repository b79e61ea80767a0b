/*
 * manifest.c - manifest root, bytes <-> struct
 *
 * The input is whatever a server, a proxy or a disk gave us. Every count is
 * recomputed from the two that cannot be derived (image_bytes, chunk_bytes)
 * and compared, so that nothing behind this parser has to ask again whether
 * chunk numbers and page numbers fit together.
 */
#include "storage/format/manifest.h"

#include <string.h>

#include "base/endian.h"
#include "base/err.h"

static bool is_power_of_two(u32 v)
{
	return v && !(v & (v - 1));
}

static u32 label_room(u32 label_bytes)
{
	return ALIGN_UP(label_bytes, 32u);
}

/**
 * manifest_name_ok() - may an image be called this?
 *
 * [a-z0-9._-]{1,63}, not starting with a dot: names become file names.
 */
bool manifest_name_ok(const char *s, size_t n)
{
	if (n < 1 || n >= MANIFEST_NAME_BYTES || s[0] == '.')
		return false;
	for (size_t i = 0; i < n; i++) {
		char c = s[i];

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
		      c == '-'))
			return false;
	}
	return true;
}

static bool label_ok(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] < 0x20 || s[i] > 0x7e)
			return false;
	return true;
}

static bool all_zero(const u8 *p, size_t n)
{
	u8 any = 0;

	for (size_t i = 0; i < n; i++)
		any |= p[i];
	return !any;
}

/** manifest_chunk_default() - bytes of a chunk for an image that nobody has chosen them for */
u32 manifest_chunk_default(u64 image_bytes)
{
	u32 chunk = MANIFEST_CHUNK_DEFAULT;

	while (chunk < MANIFEST_CHUNK_MAX && image_bytes > (u64)chunk * MANIFEST_CHUNKS_DEFAULT)
		chunk *= 2;
	return chunk;
}

/**
 * manifest_fill_counts() - chunk_count, digests_per_page, page_count from the sizes
 * @m: chunk_bytes, image_bytes and sector_bytes are set
 *
 * Return: 0; -EINVAL for sizes that no manifest may have.
 */
int manifest_fill_counts(struct manifest *m)
{
	u64 pages;

	if (!is_power_of_two(m->chunk_bytes) || m->chunk_bytes < MANIFEST_CHUNK_MIN ||
	    m->chunk_bytes > MANIFEST_CHUNK_MAX)
		return err_trace(-EINVAL);
	if (m->sector_bytes != 512 && m->sector_bytes != 4096)
		return err_trace(-EINVAL);
	if (!m->image_bytes || m->image_bytes % m->sector_bytes)
		return err_trace(-EINVAL);
	/* Not DIV_ROUND_UP: image_bytes may be close to 2^64. */
	m->chunk_count = (m->image_bytes - 1) / m->chunk_bytes + 1;
	m->digests_per_page = m->chunk_bytes / SHA256_BYTES;
	pages = (m->chunk_count - 1) / m->digests_per_page + 1;
	if (pages > MANIFEST_PAGES_MAX)
		return err_trace(-EINVAL);
	m->page_count = (u32)pages;
	return 0;
}

static size_t size_for(u32 label_bytes, u32 page_count)
{
	return sizeof(struct manifest_wire) + label_room(label_bytes) +
	       (size_t)page_count * SHA256_BYTES + P256_SIG_BYTES;
}

/** manifest_size() - length of the file that @m makes, signature included */
size_t manifest_size(const struct manifest *m)
{
	return size_for((u32)strlen(m->label), m->page_count);
}

/* The fixed part; counts are recomputed and must agree. */
static int parse_numbers(const struct manifest_wire *w, struct manifest *m)
{
	if (memcmp(w->magic, MANIFEST_MAGIC, sizeof(w->magic)))
		return err_trace(-EINVAL);
	if (get_le32(w->format) != MANIFEST_FORMAT)
		return err_trace(-EOPNOTSUPP);
	m->chunk_bytes = get_le32(w->chunk_bytes);
	m->image_bytes = get_le64(w->image_bytes);
	m->sector_bytes = get_le32(w->sector_bytes);
	if (manifest_fill_counts(m))
		return err_trace(-EINVAL);
	if (get_le64(w->chunk_count) != m->chunk_count ||
	    get_le32(w->digests_per_page) != m->digests_per_page ||
	    get_le32(w->page_count) != m->page_count)
		return err_trace(-EINVAL);
	if (!all_zero(w->reserved, sizeof(w->reserved)))
		return err_trace(-EINVAL);
	m->created_unix = get_le64(w->created_unix);
	memcpy(m->parent, w->parent, sizeof(m->parent));
	return 0;
}

static int parse_name(const u8 *name, char *out)
{
	size_t n = 0;

	while (n < MANIFEST_NAME_BYTES && name[n])
		n++;
	if (!manifest_name_ok((const char *)name, n) ||
	    !all_zero(name + n, MANIFEST_NAME_BYTES - n))
		return err_trace(-EINVAL);
	memcpy(out, name, n);
	out[n] = 0;
	return 0;
}

/**
 * manifest_parse() - bytes to struct, everything checked but the signature
 * @bytes: exactly one manifest
 * @n:     its length
 * @out:   filled on success only; out->pages points into @bytes
 *
 * Return: 0; -EINVAL: not a manifest; -EMSGSIZE: cut short or too long;
 * -EOPNOTSUPP: a format of the future.
 */
int manifest_parse(const void *bytes, size_t n, struct manifest *out)
{
	const u8 *p = bytes;
	struct manifest_wire w;
	struct manifest m;
	u32 label_bytes;
	int err;

	if (n < sizeof(w) + SHA256_BYTES + P256_SIG_BYTES)
		return err_trace(-EMSGSIZE);
	memcpy(&w, p, sizeof(w));
	memset(&m, 0, sizeof(m));
	err = parse_numbers(&w, &m);
	if (err)
		return err;
	err = parse_name(w.name, m.name);
	if (err)
		return err;
	label_bytes = get_le32(w.label_bytes);
	if (label_bytes > MANIFEST_LABEL_MAX)
		return err_trace(-EINVAL);
	if (n != size_for(label_bytes, m.page_count))
		return err_trace(-EMSGSIZE);
	p += sizeof(w);
	if (!label_ok((const char *)p, label_bytes) ||
	    !all_zero(p + label_bytes, label_room(label_bytes) - label_bytes))
		return err_trace(-EINVAL);
	memcpy(m.label, p, label_bytes);
	m.pages = p + label_room(label_bytes);
	*out = m;
	return 0;
}

/**
 * manifest_verify() - was it signed by one of @keys?
 *
 * Return: 0; -EKEYREJECTED; -EMSGSIZE when @n cannot hold a signature.
 */
int manifest_verify(const void *bytes, size_t n, const u8 keys[][P256_PUB_BYTES], u32 nkeys)
{
	u8 digest[SHA256_BYTES];
	const u8 *sig;

	if (n <= P256_SIG_BYTES)
		return err_trace(-EMSGSIZE);
	sig = (const u8 *)bytes + n - P256_SIG_BYTES;
	crypto_sha256(digest, bytes, n - P256_SIG_BYTES);
	for (u32 i = 0; i < nkeys; i++)
		if (!crypto_p256_verify(keys[i], digest, sig))
			return 0;
	return err_trace(-EKEYREJECTED);
}

/** manifest_digest() - the version's name: SHA-256 of the whole file */
void manifest_digest(u8 out[SHA256_BYTES], const void *bytes, size_t n)
{
	crypto_sha256(out, bytes, n);
}

/**
 * manifest_build() - struct to bytes, up to where the signature goes
 * @m:       checked like a parsed one; m->pages has page_count digests
 * @out:     room for manifest_size(@m); the last 64 bytes are left zero
 * @room:    of @out
 * @to_sign: out, the digest to be signed
 *
 * Return: 0; -EINVAL for a struct that would not parse; -ENOSPC.
 */
int manifest_build(const struct manifest *m, void *out, size_t room, u8 to_sign[SHA256_BYTES])
{
	struct manifest counts = *m;
	struct manifest_wire w;
	size_t size, label_bytes = strlen(m->label), name_bytes = strlen(m->name);
	u8 *p = out;

	if (manifest_fill_counts(&counts) || counts.chunk_count != m->chunk_count ||
	    counts.digests_per_page != m->digests_per_page || counts.page_count != m->page_count)
		return err_trace(-EINVAL);
	if (!manifest_name_ok(m->name, name_bytes) || label_bytes > MANIFEST_LABEL_MAX ||
	    !label_ok(m->label, label_bytes))
		return err_trace(-EINVAL);
	size = manifest_size(m);
	if (room < size)
		return err_trace(-ENOSPC);

	memset(&w, 0, sizeof(w));
	memcpy(w.magic, MANIFEST_MAGIC, sizeof(w.magic));
	put_le32(w.format, MANIFEST_FORMAT);
	put_le32(w.chunk_bytes, m->chunk_bytes);
	put_le64(w.image_bytes, m->image_bytes);
	put_le64(w.chunk_count, m->chunk_count);
	put_le32(w.digests_per_page, m->digests_per_page);
	put_le32(w.page_count, m->page_count);
	put_le32(w.sector_bytes, m->sector_bytes);
	put_le32(w.label_bytes, (u32)label_bytes);
	put_le64(w.created_unix, m->created_unix);
	memcpy(w.parent, m->parent, sizeof(w.parent));
	memcpy(w.name, m->name, name_bytes);

	memset(p, 0, size);
	memcpy(p, &w, sizeof(w));
	memcpy(p + sizeof(w), m->label, label_bytes);
	memcpy(p + sizeof(w) + label_room((u32)label_bytes), m->pages,
	       (size_t)m->page_count * SHA256_BYTES);
	crypto_sha256(to_sign, p, size - P256_SIG_BYTES);
	return 0;
}
