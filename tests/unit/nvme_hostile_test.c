/*
 * The NVMe driver against a controller that does as it likes: it answers what
 * was never asked, twice, to nobody, with nonsense in Identify, or lets its
 * queues overflow. The driver must neither crash nor write past its memory, and
 * each request must end, once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/bus.h"
#include "base/err.h"
#include "base/plat_host.h"
#include "storage/drivers/nvme.h"

#define ALLOCS 256

/* A controller of a few lines: it answers at once, unless told to be evil. */
struct evil {
	struct bus_dev bus;
	u64 cap;
	u32 cc;
	u64 asq, acq;
	struct {
		struct nvme_sqe *sq;
		struct nvme_cqe *cq;
		u32 size, head, tail;
		u16 phase;
	} q[2];
	void *allocs[ALLOCS];
	u32 nallocs;
	struct nvme_id_ctrl ctrl;
	struct nvme_id_ns ns;
	u32 fail_opcode; /* this admin command fails; ~0: none */
	bool twice, strange_cid, strange_sqid, stale, silent, flood, bad_status;
	u32 dones;
};

static struct evil *of(struct bus_dev *b)
{
	return container_of(b, struct evil, bus);
}

static void post(struct evil *e, u32 qid, u16 cid, u16 sqid, u16 status)
{
	struct nvme_cqe *c = &e->q[qid].cq[e->q[qid].tail];

	*c = (struct nvme_cqe){ .cid = cid, .sqid = sqid, .sqhd = 0xffff, .result = ~0u,
				.status = (u16)(status << 1 | e->q[qid].phase) };
	if (++e->q[qid].tail == e->q[qid].size) {
		e->q[qid].tail = 0;
		e->q[qid].phase ^= 1;
	}
}

static void serve(struct evil *e, u32 qid, const struct nvme_sqe *s)
{
	void *page = (void *)(uintptr_t)s->prp1;
	u16 status = 0;

	if (!qid && s->opcode == e->fail_opcode) {
		status = NVME_SC_INVALID_FIELD;
	} else if (!qid && s->opcode == NVME_ADM_IDENTIFY) {
		memcpy(page, s->cdw10 ? (void *)&e->ctrl : (void *)&e->ns, 4096);
	} else if (!qid && s->opcode <= NVME_ADM_CREATE_CQ && s->opcode & 1) {
		e->q[1].size = (s->cdw10 >> 16) + 1;
		if (s->opcode == NVME_ADM_CREATE_SQ)
			e->q[1].sq = page;
		else
			e->q[1].cq = page;
		e->q[1].head = e->q[1].tail = 0;
		e->q[1].phase = 1;
	}
	if (qid && e->silent)
		return;
	if (qid && e->bad_status)
		status = 0x3fff;
	if (qid && e->strange_cid) {
		post(e, qid, (u16)(s->cid ^ 0x100), (u16)qid, 0);
		post(e, qid, (u16)(s->cid | 0xff), (u16)qid, 0);
		post(e, qid, 0xffff, (u16)qid, 0);
	}
	if (qid && e->stale)
		post(e, qid, (u16)(s->cid - 0x100), (u16)qid, 0);
	else if (qid && e->strange_sqid)
		post(e, qid, s->cid, 7, 0);
	else
		post(e, qid, s->cid, (u16)qid, status);
	if (qid && e->twice)
		post(e, qid, s->cid, (u16)qid, 0);
}

static u32 evil_read32(struct bus_dev *b, u32 off)
{
	return off == NVME_CSTS ? of(b)->cc & 1 : off == NVME_CC ? of(b)->cc : 0;
}

static u64 evil_read64(struct bus_dev *b, u32 off)
{
	return off == NVME_CAP ? of(b)->cap : 0;
}

static void evil_write32(struct bus_dev *b, u32 off, u32 v)
{
	struct evil *e = of(b);
	u32 qid = (off - 0x1000) / 8, i;

	if (off == NVME_CC) {
		e->cc = v;
		e->q[0].sq = (void *)(uintptr_t)e->asq;
		e->q[0].cq = (void *)(uintptr_t)e->acq;
		e->q[0].size = 16;
		e->q[0].head = e->q[0].tail = 0;
		e->q[0].phase = 1;
	}
	if (off < 0x1000 || off & 4 || qid > 1)
		return;
	while (e->q[qid].head != v) {
		struct nvme_sqe s = e->q[qid].sq[e->q[qid].head];

		e->q[qid].head = (e->q[qid].head + 1) % e->q[qid].size;
		serve(e, qid, &s);
	}
	for (i = 0; qid && e->flood && i < 3 * e->q[1].size; i++)
		post(e, 1, (u16)(i * 257), 1, (u16)i);
}

static void evil_write64(struct bus_dev *b, u32 off, u64 v)
{
	if (off == NVME_ASQ)
		of(b)->asq = v;
	if (off == NVME_ACQ)
		of(b)->acq = v;
}

static u32 evil_cfg_read(struct bus_dev *b, u32 off, u32 size)
{
	(void)b, (void)off, (void)size;
	return 6;
}

static void evil_cfg_write(struct bus_dev *b, u32 off, u32 size, u32 v)
{
	(void)b, (void)off, (void)size, (void)v;
}

static void *evil_alloc(struct bus_dev *b, size_t bytes, size_t align, u64 *dma)
{
	struct evil *e = of(b);
	void *p = aligned_alloc(align, ALIGN_UP(bytes, align));

	memset(p, 0, ALIGN_UP(bytes, align));
	assert_true(e->nallocs < ALLOCS);
	e->allocs[e->nallocs++] = p;
	*dma = (uintptr_t)p;
	return p;
}

static int evil_irq(struct bus_dev *b, u32 vectors)
{
	(void)b, (void)vectors;
	return 0;
}

static void evil_irq_off(struct bus_dev *b)
{
	(void)b;
}

static void evil_delay(struct bus_dev *b, u32 us)
{
	(void)b;
	plat_host_now_ns += us * NS_PER_US;
}

static const struct bus_ops evil_ops = {
	.read32 = evil_read32,
	.write32 = evil_write32,
	.read64 = evil_read64,
	.write64 = evil_write64,
	.cfg_read = evil_cfg_read,
	.cfg_write = evil_cfg_write,
	.dma_alloc = evil_alloc,
	.irq_enable = evil_irq,
	.irq_disable = evil_irq_off,
	.delay_us = evil_delay,
};

static void evil_init(struct evil *e)
{
	memset(e, 0, sizeof(*e));
	plat_host_quiet = true;
	plat_host_now_ns = NS_PER_SEC;
	e->bus.ops = &evil_ops;
	e->cap = NVME_CAP_CQR | 255 | FIELD_PREP(NVME_CAP_TO, 1) | FIELD_PREP(NVME_CAP_CSS, 1);
	e->fail_opcode = ~0u;
	memset(e->ctrl.sn, ' ', 20);
	memcpy(e->ctrl.sn, "EVIL", 4);
	memset(e->ctrl.mn, 'x', 40);
	e->ctrl.nn = 1;
	e->ns.nsze = 1000;
	e->ns.lbaf[0].lbads = 9;
}

static void evil_fini(struct evil *e, struct nvme_drv *d)
{
	while (e->nallocs)
		free(e->allocs[--e->nallocs]);
	free(d);
	plat_host_now_ns = 0;
}

static int try_create(struct evil *e, struct nvme_drv **d)
{
	*d = NULL;
	return nvme_drv_create(&e->bus, &(struct nvme_drv_opts){ .depth = 16 }, d);
}

/* ---------------------------------------------------------------- start-up */

static void identify_nonsense(void **state)
{
	struct evil e;
	struct nvme_drv *d;
	u32 i;

	(void)state;
	for (i = 0; i < 11; i++) {
		evil_init(&e);
		switch (i) {
		case 0: e.ns.nsze = 0; break;
		case 1: e.ns.lbaf[0].lbads = 0; break;
		case 2: e.ns.lbaf[0].lbads = 255; break;
		case 3: e.ns.lbaf[0].ms = 8; break;
		case 4: e.ns.flbas = 0xff; break; /* format 15: all zero */
		case 5: e.ns.nsze = ~0ull; break;
		case 6: e.ctrl.cntrltype = 3; break;
		case 7: e.fail_opcode = NVME_ADM_IDENTIFY; break;
		case 8: e.fail_opcode = NVME_ADM_SET_FEATURES; break;
		case 9: e.fail_opcode = NVME_ADM_CREATE_CQ; break;
		case 10: e.fail_opcode = NVME_ADM_CREATE_SQ; break;
		}
		assert_int_equal(try_create(&e, &d), -EIO);
		evil_fini(&e, d);
	}
	/* odd, but it will do: texts that are not, no MDTS or an absurd one */
	evil_init(&e);
	memset(&e.ctrl, 0xff, 256);
	e.ctrl.cntrltype = 1;
	e.ctrl.mdts = 200;
	assert_int_equal(try_create(&e, &d), 0);
	assert_string_equal(nvme_drv_blk(d)->serial, "????????????????????");
	assert_int_equal(strlen(nvme_drv_blk(d)->model), 40);
	evil_fini(&e, d);
}

static void capabilities(void **state)
{
	struct evil e;
	struct nvme_drv *d;

	(void)state;
	evil_init(&e);
	e.cap |= FIELD_PREP(NVME_CAP_MPSMIN, 1);
	assert_int_equal(try_create(&e, &d), -ENODEV);
	e.cap = 0;
	assert_int_equal(try_create(&e, &d), -ENODEV);
	e.cap = 255; /* no NVM command set */
	assert_int_equal(try_create(&e, &d), -ENODEV);
	evil_init(&e);
	e.cap &= ~0xffffull; /* queues of one entry */
	assert_int_equal(try_create(&e, &d), -ENODEV);
	evil_init(&e);
	e.cap |= FIELD_PREP(NVME_CAP_DSTRD, 15);
	e.bus.bar_bytes = 0x4000; /* the doorbells are not in there */
	assert_int_equal(try_create(&e, &d), -ENODEV);
	evil_init(&e);
	e.cap = (e.cap & ~0xffffull) | 1; /* of two: one command at a time */
	assert_int_equal(try_create(&e, &d), 0);
	evil_fini(&e, d);
}

/* ---------------------------------------------------------------- I/O */

static void count(struct blk_req *r, int err)
{
	u32 *n = r->owner;

	assert_true(err == 0 || err == -EIO);
	*n += 1;
}

/* Forty requests and all the time they need: each must end, once. */
static void forty(struct nvme_drv *d, u32 batch)
{
	static u8 data[40 * 512] __aligned(4096);
	struct blk_req r[40];
	struct blk_seg seg[40];
	u32 done[40] = { 0 }, i;

	memset(r, 0, sizeof(r));
	for (i = 0; i < 40; i++) {
		seg[i] = (struct blk_seg){ HPA((uintptr_t)data + 512 * i), 512 };
		r[i] = (struct blk_req){ .op = i & 1 ? BLK_READ : BLK_WRITE, .lba = i, .sectors = 1,
					 .segs = &seg[i], .nsegs = 1, .done = count,
					 .owner = &done[i] };
		blk_submit(nvme_drv_blk(d), &r[i]);
		if (i % batch == batch - 1)
			blk_poll(nvme_drv_blk(d));
	}
	for (i = 0; i < 20000; i++) {
		plat_host_now_ns += 10 * NS_PER_MS;
		blk_poll(nvme_drv_blk(d));
	}
	for (i = 0; i < 40; i++)
		assert_int_equal(done[i], 1);
}

#define EVIL(name, field, batch, check)                                        \
	static void name(void **state)                                         \
	{                                                                      \
		struct evil e;                                                 \
		struct nvme_drv *d;                                            \
									       \
		(void)state;                                                   \
		evil_init(&e);                                                 \
		assert_int_equal(try_create(&e, &d), 0);                       \
		e.field = true;                                                \
		forty(d, batch);                                               \
		assert_true(check);                                            \
		e.field = false;                                               \
		forty(d, batch);                                               \
		evil_fini(&e, d);                                              \
	}

EVIL(answers_twice, twice, 4, nvme_drv_stats(d)->garbage > 0)
EVIL(answers_strangers, strange_cid, 4, nvme_drv_stats(d)->garbage > 0)
EVIL(overflows, twice, 40, true) /* more answers than the ring holds */
EVIL(answers_for_another_queue, strange_sqid, 4, nvme_drv_stats(d)->garbage > 0)
/* the answer to what was in this place before ends nothing */
EVIL(answers_the_past, stale, 4,
     nvme_drv_stats(d)->garbage > 0 && !nvme_drv_stats(d)->reads && !nvme_drv_stats(d)->writes)
EVIL(never_answers, silent, 40, nvme_drv_dead(d) && nvme_drv_stats(d)->resets > 0)
EVIL(floods, flood, 40, nvme_drv_stats(d)->garbage > 0)
EVIL(strange_status, bad_status, 40, nvme_drv_stats(d)->errors > 0)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identify_nonsense),
		cmocka_unit_test(capabilities),
		cmocka_unit_test(answers_twice),
		cmocka_unit_test(answers_strangers),
		cmocka_unit_test(overflows),
		cmocka_unit_test(answers_for_another_queue),
		cmocka_unit_test(answers_the_past),
		cmocka_unit_test(never_answers),
		cmocka_unit_test(floods),
		cmocka_unit_test(strange_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
