/*
 * hcdisk.h - the virtual disk over hypercalls
 */
#ifndef BOOT_LOADER_HCDISK_H
#define BOOT_LOADER_HCDISK_H

#include "base/types.h"

/*
 * Any number of bytes from @lba on, split into requests, each waited for.
 * Return: 0, or the first error of the VMM's; what came before is done.
 */
int hcdisk_read(u64 lba, u32 sector_bytes, void *buffer, u64 bytes);
int hcdisk_write(u64 lba, u32 sector_bytes, const void *buffer, u64 bytes);
int hcdisk_flush(void);

#endif
