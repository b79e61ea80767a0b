/*
 * pio.h - I/O ports whose accesses exit
 */
#ifndef VMM_CPU_PIO_H
#define VMM_CPU_PIO_H

#include "base/list.h"
#include "base/types.h"

struct pio_access {
	u16 port;
	u32 bytes; /* 1, 2 or 4 */
	bool write;
	u32 value;
};

struct pio_region {
	u16 first;
	u16 count;
	/* As in mmio.h. Return false to let the access go to the hardware. */
	bool (*access)(void *ctx, struct pio_access *a);
	void *ctx;
	const char *name;
	struct list link;
};

int pio_region_add(struct pio_region *r);
void pio_region_remove(struct pio_region *r);

/* The access itself, on the hardware. */
void pio_native(struct pio_access *a);

#endif
