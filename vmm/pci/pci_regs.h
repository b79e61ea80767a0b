/*
 * pci_regs.h - PCI configuration space: offsets, and masks beneath them
 *
 * [PCI 3.0 §6, §6.7, §6.8; PCIe 4.0 §7.5; PCI PM 1.2 §3.2]
 */
#ifndef VMM_PCI_PCI_REGS_H
#define VMM_PCI_PCI_REGS_H

#include "base/field.h"

#define PCI_VENDOR 0x00
#define PCI_DEVICE 0x02
#define PCI_COMMAND 0x04
#define   PCI_COMMAND_IO 0x0001u
#define   PCI_COMMAND_MEM 0x0002u
#define   PCI_COMMAND_MASTER 0x0004u
#define   PCI_COMMAND_INTX_OFF 0x0400u
#define PCI_STATUS 0x06
#define   PCI_STATUS_CAPS 0x0010u
#define PCI_REVISION 0x08
#define PCI_CLASS 0x09
#define   PCI_CLASS_SATA 0x0106u /* base and sub-class */
#define PCI_CACHE_LINE 0x0c
#define PCI_HEADER 0x0e
#define   PCI_HEADER_TYPE 0x7fu
#define PCI_BAR0 0x10
#define   PCI_BAR_IO 0x1u
#define   PCI_BAR_TYPE 0x6u
#define   PCI_BAR_TYPE_64 0x2u
#define   PCI_BAR_MEM_FLAGS 0xfu
#define   PCI_BAR_IO_FLAGS 0x3u
#define PCI_BARS 6
#define PCI_SUBVENDOR 0x2c
#define PCI_SUBDEVICE 0x2e
#define PCI_CAPS 0x34
#define PCI_INT_LINE 0x3c
#define PCI_INT_PIN 0x3d

#define PCI_CAP_PM 0x01
#define PCI_CAP_MSI 0x05
#define PCI_CAP_PCIE 0x10
#define PCI_CAP_MSIX 0x11

#define PCI_PM_CAPS 0x02
#define   PCI_PM_CAPS_V3 0x0003u
#define PCI_PM_CSR 0x04
#define   PCI_PM_CSR_STATE 0x0003u
#define   PCI_PM_CSR_NO_SOFT_RESET 0x0008u
#define PCI_PM_BYTES 0x08

#define PCI_MSI_CTL 0x02
#define   PCI_MSI_CTL_ENABLE 0x0001u
#define   PCI_MSI_CTL_COUNT 0x0070u /* log2 of the vectors granted */
#define   PCI_MSI_CTL_64 0x0080u
#define   PCI_MSI_CTL_MASKS 0x0100u
#define PCI_MSI_ADDR 0x04
#define PCI_MSI_ADDR_HI 0x08
#define PCI_MSI_DATA_32 0x08
#define PCI_MSI_DATA_64 0x0c
#define PCI_MSI_MASK_32 0x0c
#define PCI_MSI_MASK_64 0x10

#define PCI_MSIX_CTL 0x02
#define   PCI_MSIX_CTL_SIZE 0x07ffu /* vectors - 1 */
#define   PCI_MSIX_CTL_MASK 0x4000u
#define   PCI_MSIX_CTL_ENABLE 0x8000u
#define PCI_MSIX_TABLE 0x04
#define PCI_MSIX_PBA 0x08
#define   PCI_MSIX_BIR 0x7u
#define PCI_MSIX_BYTES 0x0c
#define PCI_MSIX_ENTRY_BYTES 16u
#define   PCI_MSIX_ENTRY_ADDR 0x0
#define   PCI_MSIX_ENTRY_ADDR_HI 0x4
#define   PCI_MSIX_ENTRY_DATA 0x8
#define   PCI_MSIX_ENTRY_CTL 0xc
#define     PCI_MSIX_ENTRY_MASK 0x1u

#define PCI_EXP_CAPS 0x02
#define   PCI_EXP_CAPS_VERSION 0x000fu
#define   PCI_EXP_CAPS_TYPE 0x00f0u
#define   PCI_EXP_TYPE_ENDPOINT 0x0u
#define   PCI_EXP_TYPE_RC_ENDPOINT 0x9u
#define PCI_EXP_DEVCAP 0x04
#define   PCI_EXP_DEVCAP_PAYLOAD 0x00000007u
#define   PCI_EXP_DEVCAP_RBER 0x00008000u /* role-based error reporting */
#define PCI_EXP_DEVCTL 0x08
#define   PCI_EXP_DEVCTL_PAYLOAD 0x00e0u
#define   PCI_EXP_DEVCTL_READRQ 0x7000u
#define PCI_EXP_LNKCAP 0x0c
#define   PCI_EXP_LNKCAP_SPEED_WIDTH 0x000003ffu
#define   PCI_EXP_LNKCAP_PORT 0xff000000u
#define PCI_EXP_LNKSTA 0x12
#define   PCI_EXP_LNKSTA_SPEED_WIDTH 0x03ffu
#define PCI_EXP_BYTES 0x3c

#endif
