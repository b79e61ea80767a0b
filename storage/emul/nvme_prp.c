/*
 * nvme_prp.c - guest data pointers into host segments
 *
 * PRP1 may begin anywhere dword-aligned in a page; every further page begins
 * at its border. Two pages are named by PRP1 and PRP2, more by a list at PRP2,
 * whose last entry in a page leads to the next list page when it is not the
 * last of all. Entries are copied in once. [NVMe 1.4 §4.3]
 */
#include "storage/emul/nvme_priv.h"
#include "storage/emul/segs.h"

/* A PRP list of the longest transfer has no more pages than there are segments. */
static u16 map_add(struct nvme_emul *e, u64 gpa, u32 bytes, struct blk_seg *segs, u32 *n)
{
	return emul_segs_add(e->host, gpa, bytes, segs, n, EMUL_SEGS) ? NVME_SC_DATA_TRANSFER :
									NVME_SC_OK;
}

/* The list at @list names @bytes. */
static u16 map_list(struct nvme_emul *e, u64 list, u32 bytes, struct blk_seg *segs, u32 *n)
{
	u16 status = NVME_SC_OK;

	if (list & 7)
		return NVME_SC_PRP_OFFSET;
	while (bytes && !status) {
		u32 room = (PAGE_BYTES - (u32)(list & (PAGE_BYTES - 1))) / (u32)sizeof(u64);
		u32 want = DIV_ROUND_UP(bytes, PAGE_BYTES);
		u32 take = MIN(room, want), i;

		if (e->host->ops->read(e->host, GPA(list), e->prps, take * sizeof(u64)))
			return NVME_SC_DATA_TRANSFER;
		for (i = 0; i < take && !status; i++) {
			u32 piece = MIN(bytes, PAGE_BYTES);

			if (e->prps[i] & (PAGE_BYTES - 1))
				return NVME_SC_PRP_OFFSET;
			if (i == take - 1 && want > take) {
				list = e->prps[i]; /* at a page's start: room for 512 */
				break;
			}
			status = map_add(e, e->prps[i], piece, segs, n);
			bytes -= piece;
		}
	}
	return status;
}

/**
 * nvme_emul_map_prp() - turn a command's PRPs into host segments
 * @s:     our copy of the command
 * @bytes: to be named, at most 1 << EMUL_MDTS_MAX pages
 * @segs:  out, room for EMUL_SEGS
 * @n:     out, segments used
 *
 * Context: owner. Return: NVME_SC_OK, NVME_SC_PRP_OFFSET for a misaligned
 * pointer, NVME_SC_DATA_TRANSFER for memory that is not the guest's.
 * Spec: [NVMe 1.4 §4.3]
 */
u16 nvme_emul_map_prp(struct nvme_emul *e, const struct nvme_sqe *s, u32 bytes,
		      struct blk_seg *segs, u32 *n)
{
	u32 first = PAGE_BYTES - (u32)(s->prp1 & (PAGE_BYTES - 1));
	u16 status;

	*n = 0;
	if (s->prp1 & 3)
		return NVME_SC_PRP_OFFSET;
	first = MIN(first, bytes);
	status = map_add(e, s->prp1, first, segs, n);
	bytes -= first;
	if (status || !bytes)
		return status;
	if (bytes > PAGE_BYTES)
		return map_list(e, s->prp2, bytes, segs, n);
	if (s->prp2 & (PAGE_BYTES - 1))
		return NVME_SC_PRP_OFFSET;
	return map_add(e, s->prp2, bytes, segs, n);
}

/**
 * nvme_emul_to_guest() - give a small structure to the guest
 * @buf:   @bytes of content; what is asked for beyond them is zero
 * @total: asked for, at most 1 << EMUL_MDTS_MAX pages
 *
 * Return: status.
 */
u16 nvme_emul_to_guest(struct nvme_emul *e, struct emul_cmd *c, const void *buf, u32 bytes,
		       u32 total)
{
	u32 n;
	u16 status = nvme_emul_map_prp(e, &c->sqe, total, c->segs, &n);

	if (!status)
		emul_segs_write(c->segs, n, buf, bytes);
	return status;
}

/** nvme_emul_from_guest() - copy @bytes that a command points to */
u16 nvme_emul_from_guest(struct nvme_emul *e, struct emul_cmd *c, void *buf, u32 bytes)
{
	u32 n;
	u16 status = nvme_emul_map_prp(e, &c->sqe, bytes, c->segs, &n);

	if (!status)
		emul_segs_read(c->segs, n, buf);
	return status;
}
