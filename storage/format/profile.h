/*
 * profile.h - boot profile: which chunks a version's boot reads, in order
 *
 * A row of runs of chunk numbers. PCs record one and post it; the server
 * merges what it gets and serves the result, signed. Layout:
 * docs/formats/profile.md. A profile is advice: whoever follows it checks each
 * chunk number against its image, and each chunk against the manifest.
 */
#ifndef STORAGE_FORMAT_PROFILE_H
#define STORAGE_FORMAT_PROFILE_H

#include "base/assert.h"
#include "base/crypto.h"
#include "base/types.h"

#define PROFILE_MAGIC "FRSHPRO1"
#define PROFILE_FORMAT 1
#define PROFILE_RUNS_MAX 2000
#define PROFILE_CHUNKS_MAX 32768 /* of all runs; 2 GiB of the smallest chunks */
#define PROFILE_BYTES_MAX (64 + PROFILE_RUNS_MAX * 8 + P256_SIG_BYTES)

/* On the wire, little-endian; runs and signature follow. */
struct profile_wire {
	u8 magic[8];
	u8 format[4];
	u8 chunk_bytes[4];
	u8 runs[4];
	u8 boots[4];
	u8 reserved[8];
	u8 version[SHA256_BYTES];
};

static_assert(sizeof(struct profile_wire) == 64, "profile_wire");
static_assert(offsetof(struct profile_wire, chunk_bytes) == 12, "chunk_bytes");
static_assert(offsetof(struct profile_wire, runs) == 16, "runs");
static_assert(offsetof(struct profile_wire, boots) == 20, "boots");
static_assert(offsetof(struct profile_wire, version) == 32, "version");

struct profile_run {
	u32 first, count;
};

struct profile {
	u8 version[SHA256_BYTES];
	u32 chunk_bytes;
	u32 boots; /* that were merged; 1 in what a PC posts */
	u32 nruns;
	const u8 *runs; /* inside the parsed bytes */
};

/**
 * profile_parse() - bytes to struct, everything checked but the signature
 * @out: filled on success only; out->runs points into @bytes
 *
 * Return: 0; -EINVAL; -EMSGSIZE (cut short or too long); -EOPNOTSUPP for a
 * format number of the future.
 */
int profile_parse(const void *bytes, size_t n, struct profile *out);

/** profile_verify() - signed by one of @keys? 0; -EKEYREJECTED; -EMSGSIZE */
int profile_verify(const void *bytes, size_t n, const u8 keys[][P256_PUB_BYTES], u32 nkeys);

/** profile_run_get() - run @i < nruns; never empty, never past 2^32 */
struct profile_run profile_run_get(const struct profile *p, u32 i);

/** profile_size() - length of the file that so many runs make */
size_t profile_size(u32 nruns);

/**
 * profile_build() - runs to bytes, up to where the signature goes
 * @p: p->runs is not looked at
 * @out: room for profile_size(); the last 64 bytes are left zero
 * @to_sign: out, may be NULL
 *
 * Return: 0; -EINVAL for runs that no profile may have; -ENOSPC.
 */
int profile_build(const struct profile *p, const struct profile_run *runs, void *out, size_t room,
		  u8 to_sign[SHA256_BYTES]);

#endif
