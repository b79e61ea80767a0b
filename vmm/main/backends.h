/*
 * backends.h - the real disk controllers
 */
#ifndef VMM_MAIN_BACKENDS_H
#define VMM_MAIN_BACKENDS_H

#include "base/types.h"
#include "boot/handoff.h"
#include "storage/core/blk.h"
#include "storage/core/packet.h"

/* Take the controllers of the handoff. 0; -ENODEV: none; else why none of them works. */
int backends_start(const struct handoff *h);
/* All disks, in the loader's order. Return: how many. */
u32 backends_disks(struct blk_dev **out, u32 room);
/*
 * @disk is the one: other controllers are the guest's again. *bdf is where its
 * own stands; *ahci: and whether that is AHCI, else NVMe. Pump only.
 */
void backends_keep(const struct blk_dev *disk, u16 *bdf, bool *ahci);
/* Optical drives behind the controllers that were kept. Return: how many. Pump only. */
u32 backends_drives(struct packet_dev **out, u32 room);
void backends_poll(void);
/* As of the drivers: when polling is wanted, 0: by interrupt alone. */
u64 backends_deadline_ns(void);
/* Did one of them interrupt? Any CPU, NMI included. */
bool backends_work(void);

#endif
