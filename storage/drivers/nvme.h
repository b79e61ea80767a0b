/*
 * nvme.h - a real NVMe controller's namespace as a block device
 */
#ifndef STORAGE_DRIVERS_NVME_H
#define STORAGE_DRIVERS_NVME_H

#include "base/bus.h"
#include "storage/core/blk.h"
#include "storage/spec/nvme.h"

struct nvme_drv;

struct nvme_drv_opts {
	u32 nsid; /* 0: namespace 1 */
	u32 depth; /* commands at once, 0: 64; at most 127 */
	u64 timeout_ns; /* of one command, 0: 10 s */
};

struct nvme_drv_stats {
	u64 reads, writes, flushes, trims, zeroes; /* commands that ended well */
	u64 bytes_read, bytes_written;
	u64 bounced; /* commands that went through a bounce buffer */
	u64 errors; /* commands with a status other than success */
	u64 retries, timeouts, aborts, resets;
	u64 garbage; /* completions that name no command of ours */
};

/* What Identify says, checked; nvme_drv_parse_*() fill it in. */
struct nvme_drv_id {
	char serial[24], model[44], firmware[12];
	u32 max_bytes; /* of one data transfer command */
	u32 namespaces;
	bool write_cache, trim, write_zeroes;
	u64 sectors;
	u32 sector_bytes;
};

int nvme_drv_create(struct bus_dev *bus, const struct nvme_drv_opts *opts, struct nvme_drv **out);
struct blk_dev *nvme_drv_blk(struct nvme_drv *d);
bool nvme_drv_work(struct nvme_drv *d);
u64 nvme_drv_deadline_ns(const struct nvme_drv *d);
bool nvme_drv_has_irq(const struct nvme_drv *d);
bool nvme_drv_dead(const struct nvme_drv *d);
void nvme_drv_shutdown(struct nvme_drv *d);
const struct nvme_drv_stats *nvme_drv_stats(const struct nvme_drv *d);

int nvme_drv_parse_ctrl(const struct nvme_id_ctrl *c, struct nvme_drv_id *id);
int nvme_drv_parse_ns(const struct nvme_id_ns *n, struct nvme_drv_id *id);

#endif
