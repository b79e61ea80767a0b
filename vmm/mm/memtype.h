/*
 * memtype.h - which memory type the MTRRs give an address
 *
 * Copied from the MSRs once; pure from there on.
 */
#ifndef VMM_MM_MEMTYPE_H
#define VMM_MM_MEMTYPE_H

#include "base/types.h"

enum memtype {
	MEMTYPE_UC = 0,
	MEMTYPE_WC = 1,
	MEMTYPE_WT = 4,
	MEMTYPE_WP = 5,
	MEMTYPE_WB = 6,
};

#define MEMTYPE_FIXED 11
#define MEMTYPE_VARIABLE_MAX 16

struct memtypes {
	u64 def; /* IA32_MTRR_DEF_TYPE */
	u64 fixed[MEMTYPE_FIXED]; /* 64K_00000, 16K_80000, 16K_A0000, 4K_C0000 .. 4K_F8000 */
	bool have_fixed; /* MTRRCAP.FIX */
	u32 count; /* of variable ranges */
	u64 base[MEMTYPE_VARIABLE_MAX], mask[MEMTYPE_VARIABLE_MAX];
};

bool memtype_uniform(const struct memtypes *m, u64 pa, u64 bytes, enum memtype *type);
enum memtype memtype_of(const struct memtypes *m, u64 pa);

#endif
