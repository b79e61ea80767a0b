/*
 * nvme.h - the NVMe controller that the guest sees, over any block device
 *
 * The integrator puts nvme_emul_mmio() behind BAR0, with doorbell writes taken
 * out first through nvme_emul_doorbell_store(), and runs nvme_emul_poll() in
 * the pump. See nvme.c for who may call what, where.
 */
#ifndef STORAGE_EMUL_NVME_H
#define STORAGE_EMUL_NVME_H

#include "storage/core/blk.h"
#include "storage/emul/host.h"

#define NVME_EMUL_QUEUES_MAX 64u /* pairs of I/O queues; the admin pair comes on top */
#define NVME_EMUL_VECTORS_MAX 65u
#define NVME_EMUL_COMMANDS 256u /* in flight, over all queues */
/* Registers and doorbells; whatever else is in BAR0 comes after them. */
#define NVME_EMUL_BAR_BYTES 0x2000u

struct nvme_emul;

struct nvme_emul_cfg {
	const char *serial; /* up to 20 characters; NULL: the block device's */
	const char *model; /* up to 40; NULL: "Freshet" */
	u16 vendor, subvendor; /* as in PCI configuration space */
	u32 vectors; /* MSI-X vectors, 1..65 */
	u32 queues; /* pairs of I/O queues offered, 1..64; 0: 64 */
	u32 msix_table_off; /* 0, or at NVME_EMUL_BAR_BYTES or above */
};

struct nvme_emul_stats {
	u64 reads, writes, flushes, trims, zeroes, admin;
	u64 sectors_read, sectors_written;
	u64 errors; /* completions with a status */
	u64 irqs, resets, bad_doorbells;
	u32 inflight_max;
};

struct nvme_emul *nvme_emul_create(struct emul_host *host, struct blk_dev *blk,
				   const struct nvme_emul_cfg *cfg);
void nvme_emul_destroy(struct nvme_emul *e);
void nvme_emul_mmio(struct nvme_emul *e, u64 off, u32 bytes, bool write, u64 *value);
bool nvme_emul_doorbell_store(struct nvme_emul *e, u64 off, u32 value);
bool nvme_emul_poll(struct nvme_emul *e);
bool nvme_emul_work(const struct nvme_emul *e);
u32 nvme_emul_inflight(const struct nvme_emul *e);
const struct nvme_emul_stats *nvme_emul_stats(const struct nvme_emul *e);

#endif
