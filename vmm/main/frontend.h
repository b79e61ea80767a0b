/*
 * frontend.h - the disk controller that the guest sees
 */
#ifndef VMM_MAIN_FRONTEND_H
#define VMM_MAIN_FRONTEND_H

#include "storage/core/blk.h"
#include "vmm/pci/pci.h"

enum frontend_kind { FRONTEND_NVME, FRONTEND_AHCI };

/* The virtual function of a kind, for pci_fits(), pci_add(). */
const struct pci_virt_desc *frontend_desc(enum frontend_kind kind);
/* Put @blk behind a controller at @bdf, once. Pump only. 0, -EEXIST, -ENOMEM, as pci_present(). */
int frontend_present(enum frontend_kind kind, struct blk_dev *blk, u16 bdf);
/* Is there one? Any CPU. */
bool frontend_up(void);
/* Advance; true when anything happened. Pump only. */
bool frontend_poll(void);
/* Its figures to the log. Pump only. */
void frontend_say(void);

#endif
