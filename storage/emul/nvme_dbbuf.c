/*
 * nvme_dbbuf.c - doorbells in the guest's memory, which cost no exit
 *
 * With Doorbell Buffer Config a driver writes its doorbells to a page of its own
 * memory (the shadow), and the register only where we have asked for it in a second
 * page (the event index): when the value passes what stands there. Our part in it:
 *
 *   submission	While the disk below owes an answer (blk_soon()) nothing is asked for:
 *		the poll that takes that answer takes what was submitted meanwhile.
 *		Else the next entry is asked for; and then the shadow is looked at
 *		once more, for what came between.
 *   completion	The head is wanted only while completions wait for room, and where
 *		the vector is 0: that may be the pin, whose level depends on it.
 *
 * A value is taken when it has changed, and is believed no more than a register's
 * is. The driver writes memory first: a register that is written says only that
 * there is something, because its value may be older than what was taken from memory
 * meanwhile. The admin queue has registers only.
 *
 * A driver asks: has [old, new) passed the event index? One that is left where it
 * was asks for nothing until the queue has gone around once.
 *
 * [NVMe 1.4 §5.7, §7.13]
 */
#include <string.h>

#include "base/plat.h"
#include "storage/emul/nvme_priv.h"

static_assert(2 * EMUL_RINGS * sizeof(u32) <= PAGE_BYTES, "a page has all doorbells");

/** nvme_dbbuf_ring() - a ring was created, or is there as the buffers come: both sides at @v */
void nvme_dbbuf_ring(struct nvme_emul *e, u32 idx, u32 v)
{
	struct emul_dbbuf *b = &e->dbbuf;

	if (!b->shadow || idx < 2)
		return;
	b->seen[idx] = v;
	__atomic_store_n(&b->shadow[idx], v, __ATOMIC_RELAXED);
	/* The next submission is wanted; a head is not, until it is (nvme_dbbuf_arm()). */
	__atomic_store_n(&b->event[idx], idx & 1 ? (u16)(v - 1) : v, __ATOMIC_RELAXED);
}

static u32 *page_of(struct nvme_emul *e, u64 gpa)
{
	hpa_t pa;

	return e->host->ops->map(e->host, GPA(gpa), PAGE_BYTES, &pa) ? NULL : plat_phys_to_virt(pa);
}

/** nvme_dbbuf_config() - the command. Return: status */
u16 nvme_dbbuf_config(struct nvme_emul *e, const struct nvme_sqe *s)
{
	u32 *shadow, *event;

	if ((s->prp1 | s->prp2) & (PAGE_BYTES - 1))
		return NVME_SC_PRP_OFFSET;
	shadow = page_of(e, s->prp1);
	event = page_of(e, s->prp2);
	if (!shadow || !event || shadow == event)
		return NVME_SC_INVALID_FIELD;
	nvme_emul_registers(e); /* what was written before is where the buffers begin */
	e->dbbuf.shadow = shadow;
	e->dbbuf.event = event;
	for (u32 q = 1; q <= e->queues; q++) {
		if (e->sq[q].live)
			nvme_dbbuf_ring(e, 2 * q, e->sq[q].tail);
		if (e->cq[q].live)
			nvme_dbbuf_ring(e, 2 * q + 1, e->cq[q].head);
	}
	return NVME_SC_OK;
}

/** nvme_dbbuf_off() - the controller is reset: registers only, until the next command */
void nvme_dbbuf_off(struct nvme_emul *e)
{
	e->dbbuf.shadow = e->dbbuf.event = NULL;
}

/** nvme_dbbuf_has() - is doorbell @idx one in memory? */
bool nvme_dbbuf_has(const struct nvme_emul *e, u32 idx)
{
	u32 q = idx / 2;

	return e->dbbuf.shadow && q && q <= e->queues && (idx & 1 ? e->cq[q].live : e->sq[q].live);
}

static bool changed(const struct nvme_emul *e, u32 idx)
{
	/* Pairs with the driver's barrier: the entries are there. */
	return __atomic_load_n(&e->dbbuf.shadow[idx], __ATOMIC_ACQUIRE) != e->dbbuf.seen[idx];
}

/** nvme_dbbuf_work() - has the driver moved a doorbell in its memory? */
bool nvme_dbbuf_work(const struct nvme_emul *e)
{
	if (!e->dbbuf.shadow)
		return false;
	for (u32 q = 1; q <= e->queues; q++)
		if ((e->sq[q].live && changed(e, 2 * q)) ||
		    (e->cq[q].live && changed(e, 2 * q + 1)))
			return true;
	return false;
}

static bool take(struct nvme_emul *e, u32 idx)
{
	u32 v;

	if (!changed(e, idx))
		return false;
	v = __atomic_load_n(&e->dbbuf.shadow[idx], __ATOMIC_ACQUIRE);
	e->dbbuf.seen[idx] = v;
	nvme_emul_doorbell(e, idx, v);
	return true;
}

/** nvme_dbbuf_take() - doorbells in memory to queue positions. Return: were there any? */
bool nvme_dbbuf_take(struct nvme_emul *e)
{
	bool any = false;

	if (!e->dbbuf.shadow)
		return false;
	for (u32 q = 1; q <= e->queues; q++) {
		if (e->sq[q].live)
			any |= take(e, 2 * q);
		if (e->cq[q].live)
			any |= take(e, 2 * q + 1);
	}
	return any;
}

/**
 * nvme_dbbuf_arm() - all that was there is taken: ask for what is to come
 *
 * Return: something has come meanwhile, and perhaps without a register being written.
 */
bool nvme_dbbuf_arm(struct nvme_emul *e)
{
	struct emul_dbbuf *b = &e->dbbuf;
	bool soon;

	if (!b->shadow)
		return false;
	soon = blk_soon(e->blk);
	for (u32 q = 1; q <= e->queues; q++) {
		const struct emul_cq *c = &e->cq[q];

		if (e->sq[q].live && !soon)
			__atomic_store_n(&b->event[2 * q], b->seen[2 * q], __ATOMIC_RELAXED);
		if (c->live && (!c->vector || !list_empty(&c->pending)))
			__atomic_store_n(&b->event[2 * q + 1], b->seen[2 * q + 1],
					 __ATOMIC_RELAXED);
	}
	/* Pairs with the driver's, between its doorbell and its look at the event index. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return nvme_dbbuf_work(e);
}
