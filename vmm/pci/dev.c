/*
 * dev.c - a taken function: the real device as its driver reaches it
 *
 * pci_dev_probe() sizes the BARs and finds the capabilities; the rest is
 * struct bus_ops. The driver's window is BAR0 or, where that is not memory
 * (virtio), the first memory BAR but that of the MSI-X table; an AHCI
 * controller's is BAR5. It may move while the driver runs (the guest moves the
 * virtual function standing there); the mover keeps the driver quiet meanwhile,
 * so the register accessors look it up each time and take no lock.
 *
 * Interrupts are routed once, to the doorbell: delivery mode NMI. A device's
 * own MSI-X table lies in one of its BARs and is written through the direct
 * map; the guest cannot reach it, all BARs are hooked.
 */
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "vmm/cpu/lapic.h"
#include "vmm/pci/pci_priv.h"

#define AHCI_BAR 5
#define CAPS_MAX 48 /* as many as fit: a longer list is a loop */

static struct pci_slot *slot_of(struct bus_dev *d)
{
	return container_of(d, struct pci_slot, bus);
}

static u32 cfg_r(const struct pci_slot *s, u32 off, u32 size)
{
	return pci_hw_cfg_read(s->bdf, off, size);
}

static void cfg_w(const struct pci_slot *s, u32 off, u32 size, u32 v)
{
	pci_hw_cfg_write(s->bdf, off, size, v);
}

/* ---------------------------------------------------------------- BARs, capabilities */

/* Read back what BAR @i can hold. Decoding is off. Return: BARs used up, 1 or 2. */
static u32 size_bar(struct pci_slot *s, u32 i)
{
	struct pci_bar *b = &s->bars[i];
	u32 off = PCI_BAR0 + 4 * i;
	u32 lo = cfg_r(s, off, 4), hi = 0;
	u64 mask;

	b->io = lo & PCI_BAR_IO;
	b->wide = !b->io && FIELD_GET(PCI_BAR_TYPE, lo) == PCI_BAR_TYPE_64 && i + 1 < PCI_BARS;
	b->flags = lo & (b->io ? PCI_BAR_IO_FLAGS : PCI_BAR_MEM_FLAGS);
	cfg_w(s, off, 4, ~0u);
	mask = cfg_r(s, off, 4);
	cfg_w(s, off, 4, lo);
	if (b->wide) {
		hi = cfg_r(s, off + 4, 4);
		cfg_w(s, off + 4, 4, ~0u);
		mask |= (u64)cfg_r(s, off + 4, 4) << 32;
		cfg_w(s, off + 4, 4, hi);
	} else if (mask) {
		mask |= ~0ull << 32;
	}
	if (b->io)
		mask |= 0xffff0000u; /* 16 bits are enough for an I/O BAR */
	mask &= ~(u64)(b->io ? PCI_BAR_IO_FLAGS : PCI_BAR_MEM_FLAGS);
	b->bytes = (u32)mask || b->wide ? ~mask + 1 : 0;
	b->base = ((u64)hi << 32 | lo) & mask;
	return b->wide ? 2 : 1;
}

/* [AHCI 1.3.1 §2.1.11]: ABAR is the last one */
static bool is_ahci(const struct pci_slot *s)
{
	return cfg_r(s, PCI_CLASS + 1, 2) == PCI_CLASS_SATA && cfg_r(s, PCI_CLASS, 1) == 1;
}

static void probe_bars(struct pci_slot *s)
{
	u32 cmd = cfg_r(s, PCI_COMMAND, 2);

	cfg_w(s, PCI_COMMAND, 2, cmd & ~(PCI_COMMAND_MEM | PCI_COMMAND_IO));
	for (u32 i = 0; i < PCI_BARS;)
		i += size_bar(s, i);
	cfg_w(s, PCI_COMMAND, 2, cmd);
}

static void probe_caps(struct pci_slot *s)
{
	u32 off;

	if (!(cfg_r(s, PCI_STATUS, 2) & PCI_STATUS_CAPS))
		return;
	off = cfg_r(s, PCI_CAPS, 1) & ~3u;
	for (u32 n = 0; off >= 0x40 && n < CAPS_MAX; n++) {
		switch (cfg_r(s, off, 1)) {
		case PCI_CAP_MSI:
			s->cap_msi = off;
			break;
		case PCI_CAP_MSIX:
			s->cap_msix = off;
			break;
		case PCI_CAP_PCIE:
			s->cap_pcie = off;
			break;
		}
		off = cfg_r(s, off + 1, 1) & ~3u;
	}
}

static int choose_window(struct pci_slot *s)
{
	u32 table = s->cap_msix ? cfg_r(s, s->cap_msix + PCI_MSIX_TABLE, 4) & PCI_MSIX_BIR : 0;

	for (u32 i = is_ahci(s) ? AHCI_BAR : 0; i < PCI_BARS; i++) {
		const struct pci_bar *b = &s->bars[i];

		if (!b->bytes || b->io || !b->base || (i && i == table))
			continue;
		s->regs = pci_hw_map(b->base, b->bytes);
		if (!s->regs)
			continue;
		s->window = i;
		s->bus.window_bar = (u8)i;
		s->bus.bar_bytes = (u32)MIN(b->bytes, (u64)1 << 31);
		return 0;
	}
	return -ENODEV;
}

/* The real MSI-X table, or NULL when the device's word about it makes no sense. */
static volatile u32 *msix_table(const struct pci_slot *s, u32 entries)
{
	u32 where = cfg_r(s, s->cap_msix + PCI_MSIX_TABLE, 4);
	u32 bir = where & PCI_MSIX_BIR;
	u64 off = where & ~PCI_MSIX_BIR;
	const struct pci_bar *b = &s->bars[bir < PCI_BARS ? bir : 0];

	if (bir >= PCI_BARS || b->io || !b->base ||
	    off + entries * PCI_MSIX_ENTRY_BYTES > b->bytes)
		return NULL;
	return pci_hw_map(b->base + off, entries * PCI_MSIX_ENTRY_BYTES);
}

/* ---------------------------------------------------------------- interrupts */

/*
 * Enabled with the function masked, then the table, then unmasked: some
 * devices (QEMU's NVMe) look at the enable bit when a queue is made, and none
 * may send before its message is there. Every other vector stays masked.
 */
static int msix_route(struct pci_slot *s, u32 vectors)
{
	u32 ctl = cfg_r(s, s->cap_msix + PCI_MSIX_CTL, 2);
	u32 entries = FIELD_GET(PCI_MSIX_CTL_SIZE, ctl) + 1;
	volatile u32 *t = msix_table(s, entries);
	u64 address;
	u32 data;

	if (!t)
		return -ENODEV;
	lapic_doorbell_msi(0, &address, &data);
	ctl |= PCI_MSIX_CTL_ENABLE;
	cfg_w(s, s->cap_msix + PCI_MSIX_CTL, 2, ctl | PCI_MSIX_CTL_MASK);
	for (u32 i = 0; i < entries; i++, t += PCI_MSIX_ENTRY_BYTES / 4) {
		t[PCI_MSIX_ENTRY_CTL / 4] = PCI_MSIX_ENTRY_MASK;
		if (i >= vectors)
			continue;
		t[PCI_MSIX_ENTRY_ADDR / 4] = (u32)address;
		t[PCI_MSIX_ENTRY_ADDR_HI / 4] = (u32)(address >> 32);
		t[PCI_MSIX_ENTRY_DATA / 4] = data;
		t[PCI_MSIX_ENTRY_CTL / 4] = 0;
	}
	cfg_w(s, s->cap_msix + PCI_MSIX_CTL, 2, ctl & ~PCI_MSIX_CTL_MASK);
	return 0;
}

static int msi_route(struct pci_slot *s)
{
	u32 cap = s->cap_msi;
	u32 ctl = cfg_r(s, cap + PCI_MSI_CTL, 2) & ~PCI_MSI_CTL_COUNT;
	bool wide = ctl & PCI_MSI_CTL_64;
	u64 address;
	u32 data;

	lapic_doorbell_msi(0, &address, &data);
	cfg_w(s, cap + PCI_MSI_CTL, 2, ctl & ~PCI_MSI_CTL_ENABLE);
	cfg_w(s, cap + PCI_MSI_ADDR, 4, (u32)address);
	if (wide)
		cfg_w(s, cap + PCI_MSI_ADDR_HI, 4, (u32)(address >> 32));
	cfg_w(s, cap + (wide ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32), 2, data);
	if (ctl & PCI_MSI_CTL_MASKS)
		cfg_w(s, cap + (wide ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32), 4, 0);
	cfg_w(s, cap + PCI_MSI_CTL, 2, ctl | PCI_MSI_CTL_ENABLE);
	return 0;
}

static int bus_irq_enable(struct bus_dev *d, u32 vectors)
{
	struct pci_slot *s = slot_of(d);

	if (s->cap_msix && !msix_route(s, vectors))
		return 0;
	return s->cap_msi ? msi_route(s) : -ENODEV;
}

/*
 * MSI-X is masked, never disabled: a device may have a moderation timer
 * running that fires into it (QEMU's e1000e asserts on that), and with MSI-X
 * off it would fall back to its pin.
 */
static void bus_irq_disable(struct bus_dev *d)
{
	struct pci_slot *s = slot_of(d);
	u32 ctl;

	if (s->cap_msix) {
		ctl = cfg_r(s, s->cap_msix + PCI_MSIX_CTL, 2);
		cfg_w(s, s->cap_msix + PCI_MSIX_CTL, 2, ctl | PCI_MSIX_CTL_MASK);
	}
	if (s->cap_msi) {
		ctl = cfg_r(s, s->cap_msi + PCI_MSI_CTL, 2);
		cfg_w(s, s->cap_msi + PCI_MSI_CTL, 2, ctl & ~PCI_MSI_CTL_ENABLE);
	}
}

/* ---------------------------------------------------------------- the rest of bus_ops */

/* A driver that leaves its window is broken: reads give all ones, writes are lost. */
static bool inside(const struct bus_dev *d, u32 off, u32 bytes)
{
	return off <= d->bar_bytes && bytes <= d->bar_bytes - off && IS_ALIGNED(off, bytes);
}

static u32 bus_read32_op(struct bus_dev *d, u32 off)
{
	return inside(d, off, 4) ? *(volatile u32 *)(slot_of(d)->regs + off) : ~0u;
}

static void bus_write32_op(struct bus_dev *d, u32 off, u32 v)
{
	if (inside(d, off, 4))
		*(volatile u32 *)(slot_of(d)->regs + off) = v;
}

static u8 bus_read8_op(struct bus_dev *d, u32 off)
{
	return inside(d, off, 1) ? *(volatile u8 *)(slot_of(d)->regs + off) : 0xff;
}

static void bus_write8_op(struct bus_dev *d, u32 off, u8 v)
{
	if (inside(d, off, 1))
		*(volatile u8 *)(slot_of(d)->regs + off) = v;
}

static u16 bus_read16_op(struct bus_dev *d, u32 off)
{
	return inside(d, off, 2) ? *(volatile u16 *)(slot_of(d)->regs + off) : 0xffff;
}

static void bus_write16_op(struct bus_dev *d, u32 off, u16 v)
{
	if (inside(d, off, 2))
		*(volatile u16 *)(slot_of(d)->regs + off) = v;
}

static u64 bus_read64_op(struct bus_dev *d, u32 off)
{
	return inside(d, off, 8) ? *(volatile u64 *)(slot_of(d)->regs + off) : ~0ull;
}

static void bus_write64_op(struct bus_dev *d, u32 off, u64 v)
{
	if (inside(d, off, 8))
		*(volatile u64 *)(slot_of(d)->regs + off) = v;
}

static u32 bus_cfg_read(struct bus_dev *d, u32 off, u32 size)
{
	return pci_hw_cfg_read(d->bdf, off, size);
}

static void bus_cfg_write(struct bus_dev *d, u32 off, u32 size, u32 v)
{
	pci_hw_cfg_write(d->bdf, off, size, v);
}

/* The VMM's heap is physically contiguous, zeroed, and never moves. */
static void *bus_dma_alloc(struct bus_dev *d, size_t bytes, size_t align, u64 *dma)
{
	u8 *p;

	(void)d;
	bytes = ALIGN_UP(bytes, (size_t)16);
	align = MAX(align, (size_t)16);
	p = plat_alloc(bytes);
	if (p && !IS_ALIGNED(plat_virt_to_phys(p).v, align)) {
		plat_free(p);
		p = plat_alloc(bytes + align - 16);
	}
	if (!p)
		return NULL;
	*dma = ALIGN_UP(plat_virt_to_phys(p).v, (u64)align);
	return p + (*dma - plat_virt_to_phys(p).v);
}

static void bus_delay_us(struct bus_dev *d, u32 us)
{
	u64 until = plat_time_ns() + us * NS_PER_US;

	(void)d;
	while (plat_time_ns() < until)
		cpu_pause();
}

static const struct bus_ops pci_bus_ops = {
	.read32 = bus_read32_op,
	.write32 = bus_write32_op,
	.read64 = bus_read64_op,
	.write64 = bus_write64_op,
	.read8 = bus_read8_op,
	.write8 = bus_write8_op,
	.read16 = bus_read16_op,
	.write16 = bus_write16_op,
	.cfg_read = bus_cfg_read,
	.cfg_write = bus_cfg_write,
	.dma_alloc = bus_dma_alloc,
	.irq_enable = bus_irq_enable,
	.irq_disable = bus_irq_disable,
	.delay_us = bus_delay_us,
};

/**
 * pci_dev_probe() - fill in @s for the function at @s->bdf, ready for a driver
 *
 * The pin is switched off: it might be shared with a device of the guest's.
 * Context: start-up; the guest has no driver for this function any more.
 * Return: 0; -ENODEV when nothing usable is there. Then it is as it was.
 */
int pci_dev_probe(struct pci_slot *s)
{
	u32 cmd;
	int err;

	s->bus = (struct bus_dev){ .ops = &pci_bus_ops, .bdf = s->bdf };
	s->bus.vendor = (u16)cfg_r(s, PCI_VENDOR, 2);
	s->bus.device = (u16)cfg_r(s, PCI_DEVICE, 2);
	if (s->bus.vendor == 0xffff || cfg_r(s, PCI_HEADER, 1) & PCI_HEADER_TYPE)
		return -ENODEV;
	probe_bars(s);
	probe_caps(s);
	err = choose_window(s);
	if (err)
		return err;
	if (s->cap_msix)
		s->msix_size = FIELD_GET(PCI_MSIX_CTL_SIZE,
					 cfg_r(s, s->cap_msix + PCI_MSIX_CTL, 2)) + 1;
	s->bus.has_msix = s->cap_msix;
	s->bus.has_msi = s->cap_msi;
	cmd = cfg_r(s, PCI_COMMAND, 2);
	cfg_w(s, PCI_COMMAND, 2, cmd | PCI_COMMAND_MEM | PCI_COMMAND_MASTER |
	      PCI_COMMAND_INTX_OFF);
	return 0;
}

/**
 * pci_dev_move() - give the window another address
 *
 * Context: the driver is quiet. The new address is hooked already.
 */
void pci_dev_move(struct pci_slot *s, u64 base)
{
	struct pci_bar *b = &s->bars[s->window];
	u32 off = PCI_BAR0 + 4 * s->window;
	u32 cmd;

	b->base = base;
	if (s->unreal)
		return;
	cmd = cfg_r(s, PCI_COMMAND, 2);
	cfg_w(s, PCI_COMMAND, 2, cmd & ~PCI_COMMAND_MEM);
	cfg_w(s, off, 4, (u32)base | b->flags);
	if (b->wide)
		cfg_w(s, off + 4, 4, (u32)(base >> 32));
	cfg_w(s, PCI_COMMAND, 2, cmd | PCI_COMMAND_MEM);
	s->regs = pci_hw_map(base, b->bytes);
}
