/*
 * segs.c - guest buffers as segments of a block request
 *
 * The one way from a guest's data pointers, PRP or PRD, to memory: the host
 * allows each piece or refuses it, and neighbours become one segment. Small
 * structures go through the same segments, copied by the CPU.
 */
#include "storage/emul/segs.h"

#include <string.h>

#include "base/err.h"
#include "base/plat.h"

/**
 * emul_segs_add() - append @bytes of guest memory at @gpa
 * @segs: room for @max
 * @n:    in and out, segments used
 *
 * The sum of all lengths must fit 32 bits.
 * Return: 0; -EFAULT for memory that is not the guest's; -ENOSPC.
 */
int emul_segs_add(struct emul_host *h, u64 gpa, u32 bytes, struct blk_seg *segs, u32 *n, u32 max)
{
	hpa_t pa;

	if (h->ops->map(h, GPA(gpa), bytes, &pa))
		return -EFAULT;
	if (*n && segs[*n - 1].pa.v + segs[*n - 1].bytes == pa.v) {
		segs[*n - 1].bytes += bytes;
		return 0;
	}
	if (*n == max)
		return -ENOSPC;
	segs[*n] = (struct blk_seg){ .pa = pa, .bytes = bytes };
	*n += 1;
	return 0;
}

/** emul_segs_write() - fill all segments: @bytes of @buf, zeroes after them */
void emul_segs_write(const struct blk_seg *segs, u32 n, const void *buf, u32 bytes)
{
	const u8 *from = buf;

	for (u32 i = 0; i < n; i++) {
		u8 *to = plat_phys_to_virt(segs[i].pa);
		u32 have = MIN(bytes, segs[i].bytes);

		memcpy(to, from, have);
		memset(to + have, 0, segs[i].bytes - have);
		from += have;
		bytes -= have;
	}
}

/** emul_segs_read() - all segments into @buf */
void emul_segs_read(const struct blk_seg *segs, u32 n, void *buf)
{
	u8 *to = buf;

	for (u32 i = 0; i < n; i++) {
		memcpy(to, plat_phys_to_virt(segs[i].pa), segs[i].bytes);
		to += segs[i].bytes;
	}
}
