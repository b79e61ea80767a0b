/*
 * hw.c - configuration cycles and device memory on the real machine
 *
 * ECAM through the direct map where it covers the bus, the two ports
 * otherwise. The ports are the guest's as well: CONFIG_ADDRESS is put back
 * before the lock is given up.
 */
#include "base/err.h"
#include "vmm/pci/pci_priv.h"

static volatile u8 *ecam(u16 bdf, u32 off)
{
	const struct handoff *h = pci_handoff;
	u32 bus = bdf >> 8;

	if (!h->ecam_base || bus < h->ecam_bus_first || bus > h->ecam_bus_last)
		return NULL;
	return (volatile u8 *)(PHYS_BASE + h->ecam_base + ((u64)bdf << 12) + off);
}

/*
 * Plain MOV between memory and the accumulator: some processors carry out
 * configuration accesses in no other form. [BKDG 10h §2.11]
 */
static u32 ecam_read(const volatile u8 *p, u32 size)
{
	u32 v = 0;

	if (size == 1)
		asm volatile("movb %1, %b0" : "+a"(v) : "m"(*p) : "memory");
	else if (size == 2)
		asm volatile("movw %1, %w0" : "+a"(v) : "m"(*p) : "memory");
	else
		asm volatile("movl %1, %0" : "=a"(v) : "m"(*p) : "memory");
	return v;
}

static void ecam_write(volatile u8 *p, u32 size, u32 v)
{
	if (size == 1)
		asm volatile("movb %b1, %0" : "=m"(*p) : "a"(v) : "memory");
	else if (size == 2)
		asm volatile("movw %w1, %0" : "=m"(*p) : "a"(v) : "memory");
	else
		asm volatile("movl %1, %0" : "=m"(*p) : "a"(v) : "memory");
}

static void ports(u16 bdf, u32 off, struct pio_access *data)
{
	struct pio_access addr = { .port = 0xcf8, .bytes = 4, .write = true };

	data->port = (u16)(0xcfc + (off & 3));
	spin_lock(&pci_cf8.lock);
	addr.value = 0x80000000u | (u32)bdf << 8 | (off & 0xfc);
	pio_native(&addr);
	pio_native(data);
	addr.value = pci_cf8.value;
	pio_native(&addr);
	spin_unlock(&pci_cf8.lock);
}

/**
 * pci_hw_cfg_read() - @size 1, 2 or 4, naturally aligned
 *
 * Registers above 0xff without ECAM: all ones.
 */
u32 pci_hw_cfg_read(u16 bdf, u32 off, u32 size)
{
	volatile u8 *p = ecam(bdf, off & 0xfff);
	struct pio_access a = { .bytes = size };

	if (p)
		return ecam_read(p, size);
	if (off > 0xff)
		return ~0u >> (32 - 8 * size);
	ports(bdf, off, &a);
	return a.value;
}

/**
 * pci_hw_cfg_write() - the reverse
 */
void pci_hw_cfg_write(u16 bdf, u32 off, u32 size, u32 v)
{
	volatile u8 *p = ecam(bdf, off & 0xfff);
	struct pio_access a = { .bytes = size, .write = true, .value = v };

	if (p)
		ecam_write(p, size, v);
	else if (off <= 0xff)
		ports(bdf, off, &a);
}

/**
 * pci_hw_map() - device memory lies in the direct map like everything else
 */
void *pci_hw_map(u64 pa, u64 bytes)
{
	if (pa > pci_handoff->phys_limit || bytes > pci_handoff->phys_limit - pa)
		return NULL;
	return (void *)(PHYS_BASE + pa);
}
