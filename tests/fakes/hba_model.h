/*
 * hba_model.h - an AHCI controller with disks, as a driver's test wants one
 *
 * A bus_dev whose registers and DMA behave as AHCI 1.3.1 and ATA say, written
 * from the specification and nothing of the front-end's. It is strict: what a
 * driver must not do is counted in .broken and said on stderr. Time is virtual:
 * delays advance plat_host_now_ns and let the model work. Memory is the test's
 * own, addresses are pointers.
 */
#ifndef TESTS_FAKES_HBA_MODEL_H
#define TESTS_FAKES_HBA_MODEL_H

#include "base/bus.h"
#include "storage/spec/ahci.h"
#include "storage/spec/ata.h"

#define HBA_MODEL_PORTS 4
#define HBA_MODEL_ALLOCS 512

struct hba_model;

struct hba_disk {
	struct hba_model *m;
	u32 n;
	bool present, atapi;
	u8 *data;
	u64 sectors;
	u32 sector_bytes;
	u16 id[ATA_ID_WORDS];
	u32 reg[AHCI_PORT_BYTES / 4];
	u64 up_ns; /* the link is there */
	u64 ready_ns; /* the first frame comes */
	bool silent; /* the first frame has not come */
	bool failed; /* an error is out: no commands are taken until it is read or reset */
	u8 failed_tag, failed_error;
	/* what is to go wrong */
	u64 bad_lba; /* with bad_count: commands that touch it fail */
	u32 bad_count;
	u8 bad_error;
	u32 deaf; /* so many commands are never answered */
	u32 wire_errors; /* so many commands end in an interface error */
	u32 refuse_trim, refuse_identify, damage_identify;
	bool no_log, wrong_log; /* no NCQ error log, or one that says nonsense */
	bool no_frames; /* registers only: frames do not reach memory */
	bool no_link, busy; /* from the next COMRESET on */
	bool stuck; /* the command list does not stop */
	bool other; /* after the next COMRESET it is another disk */
	bool hold; /* take commands, end none */
	bool clears_ci; /* a command that fails leaves PxCI, as some controllers have it */
	bool empty; /* an optical drive without a disc */
	bool overrun; /* the model's own: more data than the table has room for */
	bool sticks; /* after an error the disk wants data still: DRQ until it is reset */
	u64 shuffle; /* not 0: seed; queued commands end in any order */
	/* what happened */
	u32 comresets, queued, plain, flushes, fuas, identifies, logs, packets;
	u8 packet_features; /* of the last one */
	u32 packet_limit;
	u32 trim_ranges;
	u64 trim_sectors;
	u32 most_out; /* commands at once */
};

struct hba_model {
	struct bus_dev bus;
	u32 cap, cap2, pi, ghc, is, bohc, vs;
	u64 hr_ns; /* a reset ends */
	bool stuck_hr, bios_busy, gone;
	bool no_irq, irq_enabled;
	bool lenient; /* the driver is lied to: no rules for it */
	u32 cfg_command;
	u32 irqs, hrs, broken, reads, writes;
	u32 alloc_fail; /* not 0: the n-th dma_alloc fails */
	struct {
		void *p;
		size_t bytes;
	} allocs[HBA_MODEL_ALLOCS];
	u32 nallocs;
	struct hba_disk disk[HBA_MODEL_PORTS];
};

void hba_model_init(struct hba_model *m);
void hba_model_fini(struct hba_model *m);
struct hba_disk *hba_model_disk(struct hba_model *m, u32 port, u64 sectors, u32 sector_bytes);
struct hba_disk *hba_model_drive(struct hba_model *m, u32 port, u64 blocks); /* of 2 KiB */
void hba_model_seal(struct hba_disk *k); /* the IDENTIFY data was changed: sum it up again */
void hba_model_run(struct hba_model *m);
void hba_model_lose_link(struct hba_disk *k);

#endif
