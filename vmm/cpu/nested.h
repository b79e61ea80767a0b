/* nested.h - the one nested map, changed under all running guests */
#ifndef VMM_CPU_NESTED_H
#define VMM_CPU_NESTED_H

#include "base/types.h"
#include "vmm/mm/npt.h"

int nested_init(u64 limit, u64 region_pa, u64 region_bytes);
int nested_set(u64 gpa, u64 bytes, enum npt_access access);
void nested_retype(const struct memtypes *now);
bool nested_allows(u64 gpa, bool write);
u64 nested_root(void);
u64 nested_limit(void);
u64 nested_generation(void);

#endif
