/*
 * ahci.h - the AHCI host bus adapter that the guest sees, over any block device,
 * with optical drives on other ports that are passed through
 *
 * The integrator puts ahci_emul_read() and ahci_emul_write() behind BAR5, with
 * writes that any CPU may note taken out first through
 * ahci_emul_doorbell_store(), and runs ahci_emul_poll() in the
 * pump. See ahci.c for who may call what, where.
 */
#ifndef STORAGE_EMUL_AHCI_H
#define STORAGE_EMUL_AHCI_H

#include "storage/core/blk.h"
#include "storage/core/packet.h"
#include "storage/emul/host.h"

struct ahci_emul;

#define AHCI_EMUL_DRIVES 4u

struct ahci_emul_cfg {
	const char *serial; /* up to 20 characters; NULL: the block device's */
	const char *model; /* up to 40; NULL: "Freshet" */
	u32 ports; /* implemented, a bit each; 0: only the disk's */
	u32 port; /* where the disk is */
	struct { /* optical drives on other ports; the rest have no device */
		struct packet_dev *dev; /* takes at least 3 segments; NULL: none */
		u32 port;
	} drives[AHCI_EMUL_DRIVES];
};

struct ahci_emul_stats {
	u64 reads, writes, flushes, trims, verifies, others; /* commands that ended well */
	u64 sectors_read, sectors_written;
	u64 packets; /* that the drives have answered, well or not */
	u64 queued; /* of reads and writes: by NCQ */
	u64 errors; /* commands that ended otherwise */
	u64 irqs, resets;
	u32 inflight_max; /* requests below */
};

/* What ahci_emul_doorbell_store() did with a write. */
enum ahci_emul_store {
	AHCI_EMUL_NOT, /* no doorbell: nothing was done */
	AHCI_EMUL_NOTED, /* more is to come before there is work */
	AHCI_EMUL_RANG, /* the pump must run ahci_emul_poll() */
};

u32 ahci_emul_bar_bytes(const struct ahci_emul_cfg *cfg);
struct ahci_emul *ahci_emul_create(struct emul_host *host, struct blk_dev *blk,
				   const struct ahci_emul_cfg *cfg);
void ahci_emul_destroy(struct ahci_emul *e);
u64 ahci_emul_read(const struct ahci_emul *e, u64 off, u32 bytes);
void ahci_emul_write(struct ahci_emul *e, u64 off, u32 bytes, u64 value);
enum ahci_emul_store ahci_emul_doorbell_store(struct ahci_emul *e, u64 off, u32 bytes, u32 value);
bool ahci_emul_poll(struct ahci_emul *e);
bool ahci_emul_work(const struct ahci_emul *e);
u32 ahci_emul_inflight(const struct ahci_emul *e);
const struct ahci_emul_stats *ahci_emul_stats(const struct ahci_emul *e);

#endif
