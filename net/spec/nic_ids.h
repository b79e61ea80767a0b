/*
 * nic_ids.h - the PCI ids of the network cards that Freshet drives
 *
 * One list for each driver: X(vendor, device, flags, name), flags and name
 * being the driver's. The loader, which must know what the VMM can drive before
 * it takes a card from the firmware, goes through the same lists: NIC_IDS() has
 * all of them. "No device yet" marks what has not run on a device so far.
 */
#ifndef NET_SPEC_NIC_IDS_H
#define NET_SPEC_NIC_IDS_H

#include "base/types.h"

struct nic_id {
	u16 vendor, device;
	u16 flags; /* the driver's own */
	const char *name;
};

#define NIC_ID(vendor, device, flags, name) { vendor, device, flags, name },

/* Flags of net/drivers/e1000e.c: what makes family members differ. */
#define E1000E_ERRATA_82574 0x1 /* GCR completion time-out work-around, TARC0, COUNT_DESC */
#define E1000E_ICH 0x2 /* part of the chipset: 32 MTA words, LAN_INIT_DONE after reset */
#define E1000E_PCI 0x4 /* conventional PCI: nothing of PCIe's master disable, fewer registers */

#define NIC_IDS_E1000E(X)                                                          \
	X(0x8086, 0x10d3, E1000E_ERRATA_82574, "e1000e 82574L")                    \
	X(0x8086, 0x100e, E1000E_PCI, "e1000 82540EM")                             \
	/* no device yet, from here to the end */                                  \
	X(0x8086, 0x100f, E1000E_PCI, "e1000 82545EM")                             \
	X(0x8086, 0x10f6, E1000E_ERRATA_82574, "e1000e 82574LA")                   \
	X(0x8086, 0x150c, E1000E_ERRATA_82574, "e1000e 82583V")                    \
	X(0x8086, 0x153a, E1000E_ICH, "e1000e I217-LM")                            \
	X(0x8086, 0x153b, E1000E_ICH, "e1000e I217-V")                             \
	X(0x8086, 0x155a, E1000E_ICH, "e1000e I218-LM")                            \
	X(0x8086, 0x1559, E1000E_ICH, "e1000e I218-V")                             \
	X(0x8086, 0x15a0, E1000E_ICH, "e1000e I218-LM")                            \
	X(0x8086, 0x15a1, E1000E_ICH, "e1000e I218-V")                             \
	X(0x8086, 0x15a2, E1000E_ICH, "e1000e I218-LM")                            \
	X(0x8086, 0x15a3, E1000E_ICH, "e1000e I218-V")                             \
	X(0x8086, 0x156f, E1000E_ICH, "e1000e I219-LM")                            \
	X(0x8086, 0x1570, E1000E_ICH, "e1000e I219-V")                             \
	X(0x8086, 0x15b7, E1000E_ICH, "e1000e I219-LM")                            \
	X(0x8086, 0x15b8, E1000E_ICH, "e1000e I219-V")                             \
	X(0x8086, 0x15d7, E1000E_ICH, "e1000e I219-LM")                            \
	X(0x8086, 0x15d8, E1000E_ICH, "e1000e I219-V")                             \
	X(0x8086, 0x15e3, E1000E_ICH, "e1000e I219-LM")                            \
	X(0x8086, 0x15d6, E1000E_ICH, "e1000e I219-V")                             \
	X(0x8086, 0x15bb, E1000E_ICH, "e1000e I219-LM")                            \
	X(0x8086, 0x15bc, E1000E_ICH, "e1000e I219-V")                             \
	X(0x8086, 0x15bd, E1000E_ICH, "e1000e I219-LM")                            \
	X(0x8086, 0x15be, E1000E_ICH, "e1000e I219-V")

#define NIC_IDS_IGB(X)                                                             \
	/* no device yet, all of them */                                           \
	X(0x8086, 0x10c9, 0, "igb 82576")                                          \
	X(0x8086, 0x10e6, 0, "igb 82576 fiber")                                    \
	X(0x8086, 0x10e7, 0, "igb 82576 serdes")                                   \
	X(0x8086, 0x10e8, 0, "igb 82576 quad")                                     \
	X(0x8086, 0x1521, 0, "igb I350")                                           \
	X(0x8086, 0x1522, 0, "igb I350 fiber")                                     \
	X(0x8086, 0x1523, 0, "igb I350 serdes")                                    \
	X(0x8086, 0x1533, 0, "igb I210")                                           \
	X(0x8086, 0x1536, 0, "igb I210 fiber")                                     \
	X(0x8086, 0x1537, 0, "igb I210 serdes")                                    \
	X(0x8086, 0x157b, 0, "igb I210 without flash")                             \
	X(0x8086, 0x1539, 0, "igb I211")

#define NIC_IDS_VIRTIO_NET(X)                                                      \
	X(0x1af4, 0x1041, 0, "virtio-net")                                         \
	X(0x1af4, 0x1000, 0, "virtio-net transitional")

#define NIC_IDS(X)                                                                 \
	NIC_IDS_E1000E(X)                                                          \
	NIC_IDS_IGB(X)                                                             \
	NIC_IDS_VIRTIO_NET(X)

#endif
