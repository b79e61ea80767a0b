/*
 * npt.h - the nested page tables, AMD's and Intel's: one identity map for all CPUs
 */
#ifndef VMM_MM_NPT_H
#define VMM_MM_NPT_H

#include "base/types.h"
#include "vmm/mm/memtype.h"

enum npt_access {
	NPT_NONE, /* every access exits */
	NPT_RO, /* writes exit */
	NPT_RW,
};

enum npt_format {
	NPT_AMD, /* as page tables; types are the MTRRs' own affair */
	NPT_EPT, /* Intel's: a memory type in each leaf */
};

#define NPT_RETIRED_MAX 64

/* What the tables are for; the caller keeps @types as long as the map lives, see npt_retype(). */
struct npt_shape {
	enum npt_format format;
	u64 limit; /* end of guest-physical space, a multiple of 1 GiB, at most 1 << 48 */
	bool gib; /* 1 GiB leaves exist */
	const struct memtypes *types; /* NULL: no types in leaves */
};

struct npt {
	u64 *root; /* (c) the level-4 table */
	struct npt_shape shape; /* (c) but types */
	u8 *pool; /* (c) page-aligned tables */
	u32 pool_pages; /* (c) */
	u32 pool_used; /* pages ever taken from the pool's start */
	u32 free_count; /* pages on the free list */
	u64 *free; /* list through the first word of each page */
	u32 retired_count;
	u64 *retired[NPT_RETIRED_MAX]; /* out of use after the next shootdown */
};

u32 npt_pool_pages(const struct npt_shape *s, u32 hooks);
int npt_init(struct npt *n, const struct npt_shape *s, void *pool, u32 pool_pages);
int npt_set(struct npt *n, u64 gpa, u64 bytes, enum npt_access access);
bool npt_retype(struct npt *n, const struct memtypes *now);
void npt_reclaim(struct npt *n);
enum npt_access npt_lookup(const struct npt *n, u64 gpa, u64 *leaf_bytes);
u64 npt_root_pa(const struct npt *n);

#endif
