/*
 * profile.c - boot profile, bytes <-> runs
 *
 * The input comes from PCs that nobody has authenticated, or from a server.
 * What is accepted is bounded: so many runs, so many chunks in all, no run that
 * is empty or wraps. That a chunk number exists in the image is for the reader to
 * check, who has the image.
 */
#include "storage/format/profile.h"

#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "storage/format/manifest.h"

static bool chunk_bytes_ok(u32 v)
{
	return v >= MANIFEST_CHUNK_MIN && v <= MANIFEST_CHUNK_MAX && !(v & (v - 1));
}

static bool run_ok(struct profile_run r, u32 *total)
{
	if (!r.count || r.count > PROFILE_CHUNKS_MAX - *total || r.first > ~0u - r.count)
		return false;
	*total += r.count;
	return true;
}

size_t profile_size(u32 nruns)
{
	return sizeof(struct profile_wire) + (size_t)nruns * 8 + P256_SIG_BYTES;
}

struct profile_run profile_run_get(const struct profile *p, u32 i)
{
	return (struct profile_run){ get_le32(p->runs + i * 8), get_le32(p->runs + i * 8 + 4) };
}

int profile_parse(const void *bytes, size_t n, struct profile *out)
{
	const struct profile_wire *w = bytes;
	struct profile p;
	u32 total = 0;

	if (n < profile_size(1) || n > PROFILE_BYTES_MAX)
		return err_trace(-EMSGSIZE);
	if (memcmp(w->magic, PROFILE_MAGIC, sizeof(w->magic)))
		return err_trace(-EINVAL);
	if (get_le32(w->format) != PROFILE_FORMAT)
		return err_trace(-EOPNOTSUPP);
	p.chunk_bytes = get_le32(w->chunk_bytes);
	p.boots = get_le32(w->boots);
	p.nruns = get_le32(w->runs);
	if (!p.nruns || p.nruns > PROFILE_RUNS_MAX || n != profile_size(p.nruns))
		return err_trace(-EMSGSIZE);
	if (!chunk_bytes_ok(p.chunk_bytes) || get_le64(w->reserved))
		return err_trace(-EINVAL);
	memcpy(p.version, w->version, SHA256_BYTES);
	p.runs = (const u8 *)bytes + sizeof(*w);
	for (u32 i = 0; i < p.nruns; i++)
		if (!run_ok(profile_run_get(&p, i), &total))
			return err_trace(-EINVAL);
	*out = p;
	return 0;
}

int profile_verify(const void *bytes, size_t n, const u8 keys[][P256_PUB_BYTES], u32 nkeys)
{
	const u8 *sig = (const u8 *)bytes + n - P256_SIG_BYTES;
	u8 digest[SHA256_BYTES];

	if (n < profile_size(1))
		return err_trace(-EMSGSIZE);
	crypto_sha256(digest, bytes, n - P256_SIG_BYTES);
	for (u32 i = 0; i < nkeys; i++)
		if (!crypto_p256_verify(keys[i], digest, sig))
			return 0;
	return -EKEYREJECTED;
}

int profile_build(const struct profile *p, const struct profile_run *runs, void *out, size_t room,
		  u8 to_sign[SHA256_BYTES])
{
	struct profile_wire *w = out;
	size_t n = profile_size(p->nruns);
	u8 *at = (u8 *)out + sizeof(*w);
	u32 total = 0;

	if (!p->nruns || p->nruns > PROFILE_RUNS_MAX || !chunk_bytes_ok(p->chunk_bytes))
		return err_trace(-EINVAL);
	if (room < n)
		return err_trace(-ENOSPC);
	memset(out, 0, n);
	memcpy(w->magic, PROFILE_MAGIC, sizeof(w->magic));
	put_le32(w->format, PROFILE_FORMAT);
	put_le32(w->chunk_bytes, p->chunk_bytes);
	put_le32(w->runs, p->nruns);
	put_le32(w->boots, p->boots);
	memcpy(w->version, p->version, SHA256_BYTES);
	for (u32 i = 0; i < p->nruns; i++, at += 8) {
		if (!run_ok(runs[i], &total))
			return err_trace(-EINVAL);
		put_le32(at, runs[i].first);
		put_le32(at + 4, runs[i].count);
	}
	if (to_sign)
		crypto_sha256(to_sign, out, n - P256_SIG_BYTES);
	return 0;
}
