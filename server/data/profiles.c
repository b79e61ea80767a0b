/*
 * profiles.c - boot profiles: the reports of a few machines, merged and signed
 *
 *	profiles/<version>/<uuid>	what a machine read in its first boot
 *	profiles/<version>/merged	what the others are told
 *
 * Nobody has authenticated who reports. So a report must fit a version that is
 * here, the first eight machines are heard, each once, and a chunk needs half of
 * them: what one liar can do is to make boots of this version read chunks early
 * that they would have read later. Order is that of the median position.
 *
 * Written without the folder's lock: who sweeps tmp/ meanwhile costs a report.
 * docs/formats/profile.md.
 */
#include "server/data/profiles.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "storage/format/manifest.h"
#include "storage/format/profile.h"

#define MERGED "merged"
#define JOIN_RUNS 8u

/* A chunk's place in one report; later in all. */
struct place {
	u32 chunk, at;
};

struct merge {
	struct place *places; /* of all reports, one after the other */
	u32 n;
	u32 reports;
};

/** path_profile() - @name: a machine's UUID or "merged" */
void path_profile(char out[DATADIR_PATH_MAX], const u8 version[SHA256_BYTES], const char *name)
{
	char hex[DIGEST_HEX + 1];

	fmt_snprintf(out, DATADIR_PATH_MAX, "profiles/%s/%s",
		     fmt_hex(hex, version, SHA256_BYTES), name);
}

static DIR *open_reports(const struct datadir *d, const u8 version[SHA256_BYTES])
{
	char path[DATADIR_PATH_MAX];
	int fd;

	path_profile(path, version, "");
	fd = openat(d->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? NULL : fdopendir(fd);
}

/* ---------------------------------------------------------------- does it fit? */

static int fits(const struct datadir *d, const struct profile *p)
{
	char path[DATADIR_PATH_MAX];
	struct manifest m;
	size_t bytes;
	u8 *file;
	int err;

	path_manifest(path, p->version);
	err = datadir_read(d, path, MANIFEST_BYTES_MAX, &file, &bytes);
	if (err)
		return err;
	err = manifest_parse(file, bytes, &m);
	if (!err && m.chunk_bytes != p->chunk_bytes)
		err = -EINVAL;
	for (u32 i = 0; !err && i < p->nruns; i++) {
		struct profile_run r = profile_run_get(p, i);

		if ((u64)r.first + r.count > m.chunk_count)
			err = -EINVAL;
	}
	free(file);
	return err;
}

/* How many machines have reported; *has: this one is among them. */
static u32 count_reports(const struct datadir *d, const u8 version[SHA256_BYTES],
			 const char *uuid, bool *has)
{
	DIR *dir = open_reports(d, version);
	struct dirent *e;
	u32 n = 0;

	*has = false;
	while (dir && (e = readdir(dir))) {
		n += uuid_ok(e->d_name);
		*has |= !strcmp(e->d_name, uuid);
	}
	if (dir)
		closedir(dir);
	return n;
}

/* ---------------------------------------------------------------- merging */

static int by_chunk(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->chunk != y->chunk)
		return x->chunk < y->chunk ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

static int by_place(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->chunk < y->chunk ? -1 : x->chunk > y->chunk;
}

/* One report's chunks, each once, at its first place. */
static int take_report(struct merge *g, const struct profile *p)
{
	struct place *all = realloc(g->places, (g->n + PROFILE_CHUNKS_MAX) * sizeof(*all)), *mine;
	u32 n = 0, kept = 0;

	if (!all)
		return -ENOMEM;
	g->places = all;
	mine = all + g->n;
	for (u32 i = 0; i < p->nruns; i++) {
		struct profile_run r = profile_run_get(p, i);

		for (u32 k = 0; k < r.count; k++, n++)
			mine[n] = (struct place){ r.first + k, n };
	}
	qsort(mine, n, sizeof(*mine), by_chunk);
	for (u32 i = 0; i < n; i++)
		if (!i || mine[i].chunk != mine[i - 1].chunk)
			mine[kept++] = mine[i];
	g->n += kept;
	g->reports++;
	return 0;
}

static int take_file(struct merge *g, const struct datadir *d, const char *path)
{
	struct profile p;
	size_t bytes;
	u8 *file;
	int err = datadir_read(d, path, PROFILE_BYTES_MAX, &file, &bytes);

	if (err)
		return err;
	err = profile_parse(file, bytes, &p);
	if (!err)
		err = take_report(g, &p);
	free(file);
	return err;
}

static int take_all(struct merge *g, const struct datadir *d, const u8 version[SHA256_BYTES])
{
	DIR *dir = open_reports(d, version);
	struct dirent *e;
	int err = 0;

	while (dir && err != -ENOMEM && (e = readdir(dir))) {
		char path[DATADIR_PATH_MAX];

		if (!uuid_ok(e->d_name))
			continue;
		path_profile(path, version, e->d_name);
		err = take_file(g, d, path);
	}
	if (dir)
		closedir(dir);
	return err == -ENOMEM ? err : g->reports ? 0 : -ENOENT;
}

/* What half of the reports have, at its median place; returns how many. */
static u32 vote(struct merge *g)
{
	u32 kept = 0, end;

	qsort(g->places, g->n, sizeof(*g->places), by_chunk);
	for (u32 i = 0; i < g->n; i = end) {
		for (end = i + 1; end < g->n && g->places[end].chunk == g->places[i].chunk; end++)
			;
		if (2 * (end - i) >= g->reports)
			g->places[kept++] = g->places[i + (end - i - 1) / 2];
	}
	qsort(g->places, kept, sizeof(*g->places), by_place);
	return MIN(kept, (u32)PROFILE_CHUNKS_MAX);
}

static u32 to_runs(const struct place *p, u32 n, struct profile_run *runs)
{
	u32 used = 0;

	for (u32 i = 0; i < n; i++) {
		u32 k = used;

		while (k && used - k < JOIN_RUNS &&
		       runs[k - 1].first + runs[k - 1].count != p[i].chunk)
			k--;
		if (k && used - k < JOIN_RUNS)
			runs[k - 1].count++;
		else if (used < PROFILE_RUNS_MAX)
			runs[used++] = (struct profile_run){ p[i].chunk, 1 };
	}
	return used;
}

static int write_merged(const struct datadir *d, const struct crypto_key *key,
			const struct profile *like, struct merge *g)
{
	struct profile_run *runs = calloc(PROFILE_RUNS_MAX, sizeof(*runs));
	u8 *out = malloc(PROFILE_BYTES_MAX), to_sign[SHA256_BYTES];
	struct profile p = { .chunk_bytes = like->chunk_bytes, .boots = g->reports };
	char path[DATADIR_PATH_MAX];
	int err = -ENOMEM;

	if (runs && out) {
		memcpy(p.version, like->version, SHA256_BYTES);
		p.nruns = to_runs(g->places, vote(g), runs);
		/* reports that agree in nothing make no profile */
		err = p.nruns ? profile_build(&p, runs, out, PROFILE_BYTES_MAX, to_sign) : -ENODATA;
	}
	if (!err)
		err = key_sign(key, to_sign, out + profile_size(p.nruns) - P256_SIG_BYTES);
	path_profile(path, p.version, MERGED);
	if (!err)
		err = datadir_write(d, path, out, profile_size(p.nruns), 0644);
	free(runs);
	free(out);
	return err == -ENODATA ? 0 : err;
}

/**
 * profiles_add() - what a machine read in a boot; the merged profile follows
 * @uuid: checked
 *
 * Return: 0, also when enough is known or this machine has been heard; -EINVAL for what
 * is no profile of a version that is here; -ENOENT without that version; others.
 */
int profiles_add(const struct datadir *d, const struct crypto_key *key, const char *uuid,
		 const void *bytes, size_t n)
{
	struct merge g = { 0 };
	char path[DATADIR_PATH_MAX];
	struct profile p;
	bool has;
	int err;

	if (profile_parse(bytes, n, &p))
		return -EINVAL;
	err = fits(d, &p);
	if (err)
		return err;
	if (count_reports(d, p.version, uuid, &has) >= PROFILES_REPORTS || has)
		return 0;
	path_profile(path, p.version, uuid);
	err = datadir_write(d, path, bytes, n, 0644);
	if (!err)
		err = take_all(&g, d, p.version);
	if (!err)
		err = write_merged(d, key, &p, &g);
	free(g.places);
	return err;
}

/** profiles_drop() - the version is gone */
void profiles_drop(const struct datadir *d, const u8 version[SHA256_BYTES])
{
	DIR *dir = open_reports(d, version);
	char path[DATADIR_PATH_MAX];
	struct dirent *e;

	if (!dir)
		return;
	while ((e = readdir(dir)))
		if (uuid_ok(e->d_name) || !strcmp(e->d_name, MERGED))
			unlinkat(dirfd(dir), e->d_name, 0);
	closedir(dir);
	path_profile(path, version, "");
	unlinkat(d->fd, path, AT_REMOVEDIR);
}
