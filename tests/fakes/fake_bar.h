/*
 * fake_bar.h - an NVMe controller or an AHCI adapter without a machine
 *
 * A bus_dev whose registers are the front-end's, the emul_host below it
 * over windows of ordinary memory, and a disk in memory at the bottom: driver
 * and front-end meet, or a test plays the guest itself. Time is virtual:
 * delays advance plat_host_now_ns and run the controller.
 */
#ifndef TESTS_FAKES_FAKE_BAR_H
#define TESTS_FAKES_FAKE_BAR_H

#include "base/bus.h"
#include "base/list.h"
#include "storage/core/blk.h"
#include "storage/core/packet.h"
#include "storage/emul/ahci.h"
#include "storage/emul/host.h"
#include "storage/emul/nvme.h"

/* A disk in memory with faults to order. */
struct fake_disk {
	struct blk_dev blk;
	u8 *data;
	struct list queue;
	u32 queued;
	bool hold; /* take requests, end none */
	bool fast; /* says that it answers soon, while it has any */
	u64 shuffle; /* not 0: seed; requests end in any order */
	int fail_err; /* what the next fail_count requests end with */
	u32 fail_count;
	u32 flushes, fuas, trims, zeroes, requests;
	u32 sectors_longest;
};

void fake_disk_init(struct fake_disk *d, u64 sectors, u32 sector_bytes);
void fake_disk_fini(struct fake_disk *d);

/* An optical drive in memory: TEST UNIT READY, READ(10), WRITE(10). */
struct fake_drive {
	struct packet_dev dev;
	u8 *data;
	u32 blocks; /* of 2 KiB */
	struct packet_req *req;
	bool hold, empty;
	u32 packets, resets;
	struct packet_req last; /* as it came */
};

void fake_drive_init(struct fake_drive *k, u32 blocks);
void fake_drive_fini(struct fake_drive *k);
void fake_drive_poll(struct fake_drive *k);

#define FAKE_BAR_WINDOWS 32
#define FAKE_BAR_ALLOCS 512

struct fake_bar {
	struct bus_dev bus;
	struct emul_host host;
	struct nvme_emul *emul; /* one of the two */
	struct ahci_emul *ahci;
	struct fake_disk *disk;
	struct fake_drive *drive; /* or NULL */
	struct {
		u64 gpa;
		u8 *p;
		size_t bytes;
	} windows[FAKE_BAR_WINDOWS];
	u32 nwindows;
	struct {
		void *p;
		size_t bytes;
	} allocs[FAKE_BAR_ALLOCS];
	u32 nallocs;
	u32 alloc_fail; /* not 0: the n-th dma_alloc fails */
	u32 irqs[NVME_EMUL_VECTORS_MAX];
	bool irq_enabled, no_irq, intx;
	u32 cfg_command;
	bool deaf; /* doorbells are lost (PxCI is one) */
	bool gone; /* all reads give ones */
	bool stuck; /* CSTS never changes from what it was */
	u32 stuck_csts;
	bool fatal; /* CSTS.CFS shows until the next disable */
	u32 register_reads, doorbells;
	u32 refused; /* accesses outside the windows */
};

void fake_bar_init(struct fake_bar *f, struct fake_disk *disk, const struct nvme_emul_cfg *cfg);
void fake_bar_init_ahci(struct fake_bar *f, struct fake_disk *disk,
			const struct ahci_emul_cfg *cfg);
void fake_bar_fini(struct fake_bar *f);
void fake_bar_window(struct fake_bar *f, u64 gpa, void *p, size_t bytes);
void fake_bar_identity(struct fake_bar *f, void *p, size_t bytes);
void fake_bar_run(struct fake_bar *f);

#endif
