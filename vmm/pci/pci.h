/*
 * pci.h - the functions that Freshet takes, hides or presents
 *
 * Only those functions' configuration space is intercepted: 0xCF8/0xCFC and
 * their own ECAM pages. A taken device is driven by the VMM through
 * struct bus_dev; a virtual function normally stands at a taken one's address.
 */
#ifndef VMM_PCI_PCI_H
#define VMM_PCI_PCI_H

#include "base/bus.h"
#include "base/types.h"
#include "boot/handoff.h"
#include "vmm/cpu/mmio.h"

#define PCI_VIRT_VECTORS_MAX 65

struct pci_virt;

/* What a virtual function is; the caller's constant. */
struct pci_virt_desc {
	u16 vendor, device, subvendor, subdevice;
	u32 class_code; /* 24 bits: base, sub, prog-if */
	u8 revision;
	u32 bar0_bytes; /* 64-bit memory BAR; a power of two >= 16 KiB */
	u32 msix_vectors; /* 0: none */
	u32 msix_table_off; /* in BAR0, page-aligned; PBA at + 0x800 */
	const char *name;
	/* BAR0 accesses outside the MSI-X table and PBA; as mmio_region.access */
	void (*access)(void *ctx, struct mmio_access *a);
	void *ctx;
};

/* Once, on the boot CPU; remembers ECAM, hooks nothing. */
int pci_init(const struct handoff *h);

/*
 * pci_take() - the VMM's driver gets this function; the guest sees nothing
 * there any more (reads of all ones), unless pci_present() puts something.
 * Bus mastering on, window mapped, *out ready for a driver.
 */
int pci_take(u16 bdf, struct bus_dev **out);

/*
 * pci_present() - a virtual function for the guest. At a taken function's bdf
 * it inherits BAR0's address, and when the guest moves the BAR, the hook and
 * the real device's BAR follow.
 */
int pci_present(u16 bdf, const struct pci_virt_desc *desc, struct pci_virt **out);

/* Raise MSI-X vector: sent, or kept pending while masked. Pump context. */
void pci_virt_irq(struct pci_virt *v, u32 vec);
bool pci_virt_msix_enabled(const struct pci_virt *v);

#endif
