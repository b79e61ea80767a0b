/*
 * memdisk.h - a range of memory as a block device
 */
#ifndef STORAGE_DRIVERS_MEMDISK_H
#define STORAGE_DRIVERS_MEMDISK_H

#include "storage/core/blk.h"

#define MEMDISK_SECTOR_BYTES 4096u
#define MEMDISK_SERIAL "memory"

struct memdisk_stats {
	u64 reads, writes, bytes_read, bytes_written;
	u64 sectors_used; /* that have been written */
};

/**
 * memdisk_create() - a disk of zeroes on @bytes of memory at @pa
 *
 * Both multiples of 4 KiB. The memory's contents do not matter, and it belongs
 * to the disk for ever; a thirty-two-thousandth of it becomes the map of what
 * was written. Return: 0; -EINVAL; -ENOMEM.
 */
int memdisk_create(struct blk_dev **out, hpa_t pa, u64 bytes);

/** memdisk_pending() - poll again: something was submitted meanwhile */
bool memdisk_pending(struct blk_dev *d);

const struct memdisk_stats *memdisk_stats(struct blk_dev *d);

#endif
