/*
 * ahci_prd.c - a command's PRDT as segments, part by part
 *
 * A PRD names 2 bytes to 4 MiB anywhere in memory, a table up to 65535 of them,
 * and a command may move 32 MiB: it goes to the block device in parts, each of
 * whole sectors. Where the room for segments ends amid a sector, the segments
 * beyond the last whole one are carried to the next part. Every entry is read
 * once. [AHCI 1.3.1 §4.2.3.3]
 */
#include <string.h>

#include "base/err.h"
#include "storage/emul/ahci_priv.h"
#include "storage/emul/segs.h"

/* The next entry of the table becomes the one at hand. */
static enum slot_end prd_fetch(struct ahci_slot *s)
{
	struct emul_host *h = s->p->e->host;
	struct ahci_prd d;

	if (!s->prd_left)
		return SLOT_SHORT;
	if (h->ops->read(h, GPA(s->prd_next), &d, sizeof(d)))
		return SLOT_BUS;
	s->prd_next += sizeof(d);
	s->prd_left--;
	s->prd_addr = (d.dba & ~1u) | (u64)d.dbau << 32;
	s->prd_bytes = ((d.dbc | 1) & AHCI_PRD_DBC) + 1;
	return SLOT_OK;
}

static u32 segs_bytes(const struct blk_seg *segs, u32 n)
{
	u32 bytes = 0;

	for (u32 i = 0; i < n; i++)
		bytes += segs[i].bytes;
	return bytes;
}

/* The request gets the first @whole bytes of the @n segments, the next part the rest. */
static void prd_cut(struct ahci_slot *s, u32 n, u32 whole)
{
	u32 i = 0, sum = 0, excess;

	while (i < n && sum + s->segs[i].bytes <= whole)
		sum += s->segs[i++].bytes;
	s->req.nsegs = i;
	if (sum < whole) {
		memmove(&s->segs[i + 1], &s->segs[i], (n - i) * sizeof(s->segs[0]));
		excess = s->segs[i].bytes - (whole - sum);
		s->segs[i].bytes = whole - sum;
		s->segs[i + 1].pa.v += whole - sum;
		s->segs[i + 1].bytes = excess;
		s->req.nsegs++;
		n++;
	}
	s->carried = n - s->req.nsegs;
}

/**
 * ahci_emul_prd_part() - segments for the next part of a command's data
 * @bytes: wanted, a multiple of @unit, at most AHCI_PART_BYTES
 * @unit:  the part is a multiple of it
 * @got:   out, its length, not 0
 *
 * They are s->segs and s->req.nsegs.
 * Return: SLOT_OK; SLOT_SHORT when the table ends before @bytes are named;
 * SLOT_BUS for memory that is not the guest's, or a unit that is in more
 * pieces than there are segments.
 */
enum slot_end ahci_emul_prd_part(struct ahci_slot *s, u32 bytes, u32 unit, u32 *got)
{
	struct ahci_emul *e = s->p->e;
	u32 max = MIN(AHCI_SEGS, e->blk->max_segs), n = s->carried, sum, piece;
	enum slot_end end;
	int err = 0;

	memmove(s->segs, &s->segs[s->req.nsegs], n * sizeof(s->segs[0]));
	s->carried = 0;
	sum = segs_bytes(s->segs, n);
	while (sum < bytes) {
		end = s->prd_bytes ? SLOT_OK : prd_fetch(s);
		if (end != SLOT_OK)
			return end;
		piece = MIN(s->prd_bytes, bytes - sum);
		err = emul_segs_add(e->host, s->prd_addr, piece, s->segs, &n, max);
		if (err)
			break;
		s->prd_addr += piece;
		s->prd_bytes -= piece;
		sum += piece;
	}
	*got = sum - sum % unit;
	if (err == -EFAULT || !*got)
		return SLOT_BUS;
	prd_cut(s, n, *got);
	s->moved += *got;
	return SLOT_OK;
}

/**
 * ahci_emul_prd_whole() - segments for all that a command's table names
 * @bytes: what is beyond them is left out
 * @max:   segments, at most AHCI_SEGS
 *
 * They are s->segs and s->req.nsegs; how much of it the data fill is not known here.
 * Return: SLOT_OK; SLOT_BUS as ahci_emul_prd_part().
 */
enum slot_end ahci_emul_prd_whole(struct ahci_slot *s, u32 bytes, u32 max)
{
	struct emul_host *h = s->p->e->host;
	u32 n = 0;

	while (bytes && s->prd_left) {
		enum slot_end end = prd_fetch(s);
		u32 piece;

		if (end != SLOT_OK)
			return end;
		piece = MIN(s->prd_bytes, bytes);
		if (emul_segs_add(h, s->prd_addr, piece, s->segs, &n, MIN(max, AHCI_SEGS)))
			return SLOT_BUS;
		bytes -= piece;
	}
	s->req.nsegs = n;
	return SLOT_OK;
}

/**
 * ahci_emul_give() - a small structure for the guest, @bytes long
 *
 * Return: as ahci_emul_prd_part().
 */
enum slot_end ahci_emul_give(struct ahci_slot *s, const void *buf, u32 bytes)
{
	const u8 *from = buf;
	enum slot_end end = SLOT_OK;
	u32 got;

	for (; bytes && end == SLOT_OK; bytes -= got, from += got) {
		end = ahci_emul_prd_part(s, bytes, 2, &got);
		if (end != SLOT_OK)
			break;
		emul_segs_write(s->segs, s->req.nsegs, from, got);
	}
	return end;
}

/** ahci_emul_take() - @bytes of the guest's into @buf */
enum slot_end ahci_emul_take(struct ahci_slot *s, void *buf, u32 bytes)
{
	enum slot_end end = SLOT_OK;
	u8 *to = buf;
	u32 got;

	for (; bytes && end == SLOT_OK; bytes -= got, to += got) {
		end = ahci_emul_prd_part(s, bytes, 2, &got);
		if (end != SLOT_OK)
			break;
		emul_segs_read(s->segs, s->req.nsegs, to);
	}
	return end;
}
