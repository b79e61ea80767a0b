/*
 * launch.h - the VMM's start under the running firmware
 */
#ifndef BOOT_LOADER_LAUNCH_H
#define BOOT_LOADER_LAUNCH_H

#include "base/types.h"
#include "boot/handoff.h"

/*
 * launch_vmm() - reserve the region, load the VMM, make every CPU its guest
 * @h:     filled in but for region, tables, CPUs and RAM; on success a copy of
 *         what the VMM was given
 *
 * Return: 0: this code is a guest now; -ENOMEM: no room for the region;
 * -EINVAL: no VMM inside; else the VMM's reason. On an error nothing runs,
 * unless an AP failed after the BSP was in (-EIO).
 */
int launch_vmm(struct handoff *h, const void *elf, size_t elf_bytes);

/* boot/loader/map.c: page tables and memory */
struct map_pages {
	u64 next, end; /* physical = identity */
};

int map_region_reserve(u64 bytes, u64 *pa);
void map_region_free(u64 pa, u64 bytes);
int map_launch_tables(struct map_pages *p, u64 limit, u64 region_pa, u64 region_bytes, u64 *cr3);
u64 map_phys_limit(void);
int map_ram(struct handoff *h);

extern bool hypercall_by_vmcall; /* Intel's instruction; machine_check() knows */

/** hypercall() - ask the VMM; only while its guest, before HC_DONE */
static inline s64 hypercall(u32 number, u64 arg)
{
	s64 ret;

	if (hypercall_by_vmcall)
		__asm__ volatile("vmcall" : "=a"(ret) : "a"((u64)(HC_MAGIC | number)), "b"(arg)
				 : "memory");
	else
		__asm__ volatile("vmmcall" : "=a"(ret) : "a"((u64)(HC_MAGIC | number)), "b"(arg)
				 : "memory");
	return ret;
}

#endif
