/*
 * pci_priv.h - what the files of vmm/pci share
 *
 * pci.c   slots, interception of configuration space
 * dev.c   the real function: BARs, capabilities, interrupts, struct bus_ops
 * virt.c  the virtual one: its configuration space, BAR0, where it is hooked
 * msix.c  an emulated MSI-X table
 * hw.c    the machine; tests put their own in its place
 */
#ifndef VMM_PCI_PCI_PRIV_H
#define VMM_PCI_PCI_PRIV_H

#include "base/bus.h"
#include "base/types.h"
#include "vmm/cpu/cpu.h"
#include "vmm/cpu/mmio.h"
#include "vmm/cpu/pio.h"
#include "vmm/pci/pci.h"
#include "vmm/pci/pci_regs.h"

#define PCI_SLOTS_MAX HANDOFF_PCI_MAX
#define PCI_CFG_BYTES 256u /* emulated; the extended space above reads zero */

/* ---------------------------------------------------------------- the machine */

u32 pci_hw_cfg_read(u16 bdf, u32 off, u32 size);
void pci_hw_cfg_write(u16 bdf, u32 off, u32 size, u32 v);
/* Registers at @pa as the CPU reaches them; NULL when out of reach. */
void *pci_hw_map(u64 pa, u64 bytes);

/* CONFIG_ADDRESS as the guest left it; hw.c puts it back after its own use. */
struct pci_cf8 {
	struct spinlock lock; /* around every use of 0xCF8/0xCFC */
	u32 value; /* [lock] */
};

extern struct pci_cf8 pci_cf8;
extern const struct handoff *pci_handoff; /* (c) */

/* ---------------------------------------------------------------- MSI-X */

struct msix {
	struct spinlock lock;
	u32 vectors; /* (c) */
	bool enabled, masked; /* [lock] of the function */
	u32 table[PCI_VIRT_VECTORS_MAX][4]; /* [lock] */
	u64 pending[2]; /* [lock] */
};

void msix_init(struct msix *m, u32 vectors);
void msix_control(struct msix *m, bool enabled, bool masked);
void msix_raise(struct msix *m, u32 vec);
u32 msix_table_read(struct msix *m, u32 off);
void msix_table_write(struct msix *m, u32 off, u32 v);
u32 msix_pba_read(struct msix *m, u32 off);
void msi_message(u64 address, u32 data);

/* ---------------------------------------------------------------- slots */

struct pci_bar {
	u64 base, bytes; /* bytes 0: not there */
	bool io, wide; /* wide: 64-bit, takes the next one's place too */
	u32 flags; /* low bits as the hardware has them */
};

/* One function that the guest does not see as it is. */
struct pci_slot {
	bool used;
	bool unreal; /* (c) no function of the machine stands behind it */
	u16 bdf; /* (c) */
	struct bus_dev bus; /* (c) the real device */
	struct pci_bar bars[PCI_BARS]; /* BAR0's base: changed with the driver quiet */
	u32 cap_msi, cap_msix, cap_pcie; /* (c) offsets, 0: none */
	u32 msix_size; /* (c) entries in the real table */
	u32 window; /* (c) which BAR the driver gets */
	volatile u8 *regs; /* the window; changes as bars[] */
	struct mmio_region ecam;
	struct mmio_region hide[PCI_BARS];
	struct pio_region hide_io[PCI_BARS];
	/* The window's hook; a move adds the other one before it drops this. */
	struct mmio_region hook[2];
	u32 hook_now;
	struct pci_virt *virt; /* (a) NULL: all ones */
};

struct pci_slot *pci_slot_find(u16 bdf);
u32 pci_slot_cfg_read(struct pci_slot *s, u32 off, u32 size);
void pci_slot_cfg_write(struct pci_slot *s, u32 off, u32 size, u32 v);

/* dev.c */
int pci_dev_probe(struct pci_slot *s);
void pci_dev_move(struct pci_slot *s, u64 base);

/* virt.c; @off below PCI_CFG_BYTES, not across a dword */
u32 pci_virt_cfg_read(struct pci_virt *v, u32 off, u32 size);
void pci_virt_cfg_write(struct pci_virt *v, u32 off, u32 size, u32 value);
/* The window's hook, for a function with or without a virtual one. */
void pci_window_access(void *ctx, struct mmio_access *a);

#endif
