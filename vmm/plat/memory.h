/* memory.h - the VMM's region of memory */
#ifndef VMM_PLAT_MEMORY_H
#define VMM_PLAT_MEMORY_H

#include "base/types.h"

void memory_init(u64 region_pa, u64 region_bytes, u64 free_pa);
bool memory_in_region(u64 pa, u64 bytes); /* touches the VMM's region, or what was hidden */
/* Another range that is no longer the guest's; once, at start-up. */
void memory_hide(u64 pa, u64 bytes);
u64 memory_used(void); /* bytes of the region in use */

#endif
