/*
 * host.h - what an emulated controller asks of the machine it stands in
 *
 * The VMM implements it over guest memory and the local APICs; tests over an
 * array. Guest structures are copied in once through it, never pointed to.
 */
#ifndef STORAGE_EMUL_HOST_H
#define STORAGE_EMUL_HOST_H

#include "base/types.h"

struct emul_host;

struct emul_host_ops {
	/* Copy; -EFAULT when any byte is not guest RAM (VMM memory, MMIO, a hole). */
	int (*read)(struct emul_host *h, gpa_t src, void *dst, size_t bytes);
	int (*write)(struct emul_host *h, gpa_t dst, const void *src, size_t bytes);
	/*
	 * May the device do DMA to this range? Then *pa is its host-physical
	 * address, contiguous for @bytes. -EFAULT as above.
	 */
	int (*map)(struct emul_host *h, gpa_t a, size_t bytes, hpa_t *pa);
	/* Raise MSI-X vector @vec (or the pin when MSI-X is off and @vec is 0). */
	void (*irq)(struct emul_host *h, u32 vec);
	/* INTx level for controllers whose guest has not enabled MSI-X. */
	void (*intx)(struct emul_host *h, bool level);
};

struct emul_host {
	const struct emul_host_ops *ops;
};

#endif
