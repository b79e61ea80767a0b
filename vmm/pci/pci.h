/*
 * pci.h - the functions that Freshet takes, hides or presents
 *
 * Only those functions' configuration space is intercepted: 0xCF8/0xCFC and
 * their own ECAM pages. A taken device is driven by the VMM through
 * struct bus_dev; a virtual function normally stands at a taken one's address,
 * and where there is none to take, at a free one.
 */
#ifndef VMM_PCI_PCI_H
#define VMM_PCI_PCI_H

#include "base/bus.h"
#include "base/types.h"
#include "boot/handoff.h"
#include "vmm/cpu/mmio.h"

#define PCI_VIRT_VECTORS_MAX 65
#define PCI_VIRT_CAPS_MAX 5
#define PCI_VIRT_CAP_BYTES 20

struct pci_virt;

/* A capability of the function's own kind. */
struct pci_virt_cap {
	u8 bytes; /* 4 to PCI_VIRT_CAP_BYTES; the first is its number, the second is filled in */
	u8 data[PCI_VIRT_CAP_BYTES];
	/*
	 * A window onto BAR0 [VIRTIO 1.1 §4.1.4.8]: bar, offset and length at 4, 8
	 * and 12, which the guest sets; four bytes at 16 that are then BAR0's.
	 */
	bool window;
};

/* What a virtual function is; the caller's constant. */
struct pci_virt_desc {
	u16 vendor, device, subvendor, subdevice;
	u32 class_code; /* 24 bits: base, sub, prog-if */
	u8 revision;
	u8 bar; /* its one memory BAR: 0, or another, which has 32 bits */
	u32 bar_bytes; /* a power of two, a page or more */
	u32 msix_vectors; /* 0: none */
	u32 msix_table_off; /* in the BAR, page-aligned; PBA at + 0x800 */
	bool msi; /* it has one message by MSI; used while MSI-X is off */
	u32 ncaps;
	struct pci_virt_cap caps[PCI_VIRT_CAPS_MAX];
	const char *name;
	/*
	 * BAR accesses below bar_bytes and outside the MSI-X table's page, of
	 * 1, 2, 4 or 8 bytes, aligned or not; as mmio_region.access.
	 */
	void (*access)(void *ctx, struct mmio_access *a);
	/*
	 * May be NULL. Called with true before the real device's BAR moves and
	 * with false after it: its driver must not run in between (pump_lock,
	 * pump_unlock). On the guest CPU that wrote, no lock held.
	 */
	void (*quiesce)(void *ctx, bool on);
	void *ctx;
};

/* Once, on the boot CPU; remembers @h (which stays), hooks nothing. */
int pci_init(const struct handoff *h);

/*
 * pci_take() - the VMM's driver gets this function; the guest sees nothing
 * there any more (reads of all ones), unless pci_present() puts something.
 * Its BARs are hooked from now on. Bus mastering on, window mapped, *out ready
 * for a driver.
 */
int pci_take(u16 bdf, struct bus_dev **out);

/* The guest may have it back: its driver has let it go, nothing was presented there. */
int pci_release(u16 bdf);

/*
 * pci_add() - a place for a virtual function that replaces no real one: a device
 * of bus 0 that answers at none of its functions, which becomes *bdf, and a
 * 32-bit memory BAR of @bytes at @bar, where nothing may be and which the guest
 * can be expected to find inside the bridge's window. Then pci_present().
 * 0; -EINVAL; -ENODEV when bus 0 is full; -ENOSPC.
 */
int pci_add(u64 bar, u64 bytes, u16 *bdf);

/*
 * pci_present() - a virtual function for the guest, at the bdf that pci_take()
 * was given or pci_add() has found. At a taken function's it inherits the
 * address and, where that is larger, the size of the BAR that the driver uses;
 * when the guest moves the BAR, the hook and the real device's BAR follow.
 */
int pci_present(u16 bdf, const struct pci_virt_desc *desc, struct pci_virt **out);

/* Could pci_present() put it there? */
bool pci_fits(u16 bdf, const struct pci_virt_desc *desc);

/*
 * Raise MSI-X vector: sent, kept pending while masked, lost while disabled. With
 * MSI: its message. Any context.
 */
void pci_virt_irq(struct pci_virt *v, u32 vec);
bool pci_virt_msix_enabled(const struct pci_virt *v);

/* May the function do DMA? (the guest's Bus Master Enable) */
bool pci_virt_bus_master(const struct pci_virt *v);

#endif
