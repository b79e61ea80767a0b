/*
 * mmio.h - guest-physical ranges whose accesses exit
 *
 * A region covers whole 4 KiB pages of the nested tables. Its handler runs on
 * the CPU that made the access, in the host, interrupts and GIF off, with no
 * lock held; it may take the pump.
 */
#ifndef VMM_CPU_MMIO_H
#define VMM_CPU_MMIO_H

#include "base/list.h"
#include "base/types.h"

struct mmio_access {
	u64 off; /* from the region's base */
	u32 bytes; /* 1, 2, 4 or 8 */
	bool write;
	u64 value; /* in for writes, out for reads; upper bytes are ignored */
};

enum mmio_mode {
	MMIO_TRAP_ALL, /* reads and writes exit */
	MMIO_TRAP_WRITES, /* reads go to the hardware behind */
	MMIO_ABSENT, /* reads give all ones, writes vanish; handler may be NULL */
};

struct mmio_region {
	gpa_t base; /* page-aligned */
	u64 bytes; /* whole pages */
	enum mmio_mode mode;
	void (*access)(void *ctx, struct mmio_access *a);
	void *ctx;
	const char *name;
	struct list link; /* mmio.c's */
};

/* Add, remove, move: change nested tables on all CPUs before they return. */
int mmio_region_add(struct mmio_region *r);
void mmio_region_remove(struct mmio_region *r);
int mmio_region_move(struct mmio_region *r, gpa_t base);

/* Used by the nested-fault exit; true when a region took the access. */
bool mmio_dispatch(u64 gpa, struct mmio_access *a);

#endif
