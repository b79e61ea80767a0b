/*
 * segs.h - guest buffers as segments of a block request
 */
#ifndef STORAGE_EMUL_SEGS_H
#define STORAGE_EMUL_SEGS_H

#include "storage/core/blk.h"
#include "storage/emul/host.h"

int emul_segs_add(struct emul_host *h, u64 gpa, u32 bytes, struct blk_seg *segs, u32 *n, u32 max);
void emul_segs_write(const struct blk_seg *segs, u32 n, const void *buf, u32 bytes);
void emul_segs_read(const struct blk_seg *segs, u32 n, void *buf);

#endif
