/*
 * bus.h - a device as its driver sees it
 *
 * A driver is handed a struct bus_dev and reaches everything through it:
 * config space, one register window (the device's main memory BAR: BAR0, or
 * the first that is memory and more than an MSI-X table), memory
 * that the device may reach by DMA, and the doorbell interrupt. The VMM
 * implements it over real PCI (vmm/pci), tests over a fake BAR (tests/fakes).
 *
 * Interrupts are doorbells: the device is told to interrupt, the VMM notices,
 * and the pump then calls the driver's poll function. A driver therefore
 * never has an interrupt handler; it must find its work by looking at memory.
 */
#ifndef BASE_BUS_H
#define BASE_BUS_H

#include "base/types.h"

struct bus_dev;

struct bus_ops {
	/* Registers, @off bytes into the window; context: owner of the device. */
	u32 (*read32)(struct bus_dev *d, u32 off);
	void (*write32)(struct bus_dev *d, u32 off, u32 v);
	u64 (*read64)(struct bus_dev *d, u32 off);
	void (*write64)(struct bus_dev *d, u32 off, u64 v);
	/* The same for devices with narrow registers; NULL where no driver needs them. */
	u8 (*read8)(struct bus_dev *d, u32 off);
	void (*write8)(struct bus_dev *d, u32 off, u8 v);
	u16 (*read16)(struct bus_dev *d, u32 off);
	void (*write16)(struct bus_dev *d, u32 off, u16 v);
	/* PCI configuration space; @size 1, 2 or 4, naturally aligned. */
	u32 (*cfg_read)(struct bus_dev *d, u32 off, u32 size);
	void (*cfg_write)(struct bus_dev *d, u32 off, u32 size, u32 v);
	/*
	 * Zeroed, contiguous, never moved; *dma is what the device is given.
	 * NULL when there is none. Start-up only; there is no free.
	 */
	void *(*dma_alloc)(struct bus_dev *d, size_t bytes, size_t align, u64 *dma);
	/*
	 * Route the device's interrupt message(s) to the doorbell: MSI-X table
	 * entries 0..@vectors-1 or plain MSI. 0; -ENODEV when the device has
	 * neither (the caller then polls from the tick).
	 */
	int (*irq_enable)(struct bus_dev *d, u32 vectors);
	void (*irq_disable)(struct bus_dev *d);
	/* Busy-wait during reset sequences; start-up and recovery only. */
	void (*delay_us)(struct bus_dev *d, u32 us);
};

struct bus_dev {
	const struct bus_ops *ops;
	u16 vendor, device; /* (c) PCI ids */
	u16 bdf; /* (c) bus << 8 | device << 3 | function */
	u32 bar_bytes; /* (c) size of the register window */
	u8 window_bar; /* (c) number of the BAR that is the register window */
	bool has_msix, has_msi; /* (c) */
};

static inline u32 bus_read32(struct bus_dev *d, u32 off)
{
	return d->ops->read32(d, off);
}

static inline void bus_write32(struct bus_dev *d, u32 off, u32 v)
{
	d->ops->write32(d, off, v);
}

static inline u64 bus_read64(struct bus_dev *d, u32 off)
{
	return d->ops->read64(d, off);
}

static inline void bus_write64(struct bus_dev *d, u32 off, u64 v)
{
	d->ops->write64(d, off, v);
}

static inline u8 bus_read8(struct bus_dev *d, u32 off)
{
	return d->ops->read8(d, off);
}

static inline void bus_write8(struct bus_dev *d, u32 off, u8 v)
{
	d->ops->write8(d, off, v);
}

static inline u16 bus_read16(struct bus_dev *d, u32 off)
{
	return d->ops->read16(d, off);
}

static inline void bus_write16(struct bus_dev *d, u32 off, u16 v)
{
	d->ops->write16(d, off, v);
}

#endif
