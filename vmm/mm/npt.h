/*
 * npt.h - the nested page tables: one identity map for all CPUs
 */
#ifndef VMM_MM_NPT_H
#define VMM_MM_NPT_H

#include "base/types.h"

enum npt_access {
	NPT_NONE, /* every access exits */
	NPT_RO, /* writes exit */
	NPT_RW,
};

#define NPT_RETIRED_MAX 64

struct npt {
	u64 *root; /* (c) the level-4 table */
	u64 limit; /* (c) addresses below are mapped */
	bool gib; /* (c) 1 GiB leaves allowed */
	u8 *pool; /* (c) page-aligned tables */
	u32 pool_pages; /* (c) */
	u32 pool_used; /* pages ever taken from the pool's start */
	u32 free_count; /* pages on the free list */
	u64 *free; /* list through the first word of each page */
	u32 retired_count;
	u64 *retired[NPT_RETIRED_MAX]; /* out of use after the next shootdown */
};

u32 npt_pool_pages(u64 limit, bool gib, u32 hooks);
int npt_init(struct npt *n, u64 limit, bool gib, void *pool, u32 pool_pages);
int npt_set(struct npt *n, u64 gpa, u64 bytes, enum npt_access access);
void npt_reclaim(struct npt *n);
enum npt_access npt_lookup(const struct npt *n, u64 gpa, u64 *leaf_bytes);
u64 npt_root_pa(const struct npt *n);

#endif
