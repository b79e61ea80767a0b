/*
 * The NVMe front-end as a guest drives it: registers, every status, queue life,
 * interrupts, events, reset and shutdown with requests in flight.
 */
#include "tests/unit/nvme_guest.h"

/* ---------------------------------------------------------------- registers */

static void registers(void **state)
{
	struct guest g;
	u64 cap;

	(void)state;
	guest_off(&g, 0, 65);
	cap = rd(&g, NVME_CAP, 8);
	assert_int_equal(rd(&g, 0, 4), (u32)cap);
	assert_int_equal(rd(&g, 4, 4), cap >> 32);
	assert_int_equal(rd(&g, 1, 1), cap >> 8 & 0xff);
	assert_int_equal(rd(&g, 2, 2), cap >> 16 & 0xffff);
	assert_true(FIELD_GET(NVME_CAP_MQES, cap) >= 255);
	assert_true(cap & NVME_CAP_CQR);
	assert_int_equal(FIELD_GET(NVME_CAP_DSTRD, cap), 0);
	assert_int_equal(FIELD_GET(NVME_CAP_CSS, cap), 1);
	assert_int_equal(FIELD_GET(NVME_CAP_MPSMIN, cap), 0);
	assert_int_equal(FIELD_GET(NVME_CAP_MPSMAX, cap), 0);
	assert_int_equal(rd(&g, NVME_VS, 4), 0x10400);
	wr(&g, NVME_VS, 4, 7);
	assert_int_equal(rd(&g, NVME_VS, 4), 0x10400);
	wr(&g, NVME_INTMS, 4, 5);
	wr(&g, NVME_INTMC, 4, 1);
	assert_int_equal(rd(&g, NVME_INTMS, 4), 4);
	wr(&g, NVME_AQA, 2, 0xffff); /* not a size that registers have */
	assert_int_equal(rd(&g, NVME_AQA, 4), 0);
	assert_int_equal(rd(&g, 0x38, 4), 0); /* no memory buffer */
	assert_int_equal(rd(&g, 0x1000, 4), 0);
	assert_int_equal(rd(&g, NVME_CSTS, 4), 0);
	assert_false(nvme_emul_doorbell_store(g.bar.emul, 0x14, 1));
	assert_false(nvme_emul_doorbell_store(g.bar.emul, 0x2000, 1));
	guest_end(&g);
}

static void broken_enable(void **state)
{
	struct guest g;
	u32 i;

	(void)state;
	for (i = 0; i < 7; i++) {
		guest_off(&g, 0, 65);
		wr(&g, NVME_AQA, 4, i == 0 ? 0x1f0000 : i == 1 ? 0x1f : 0x1f001f);
		wr(&g, NVME_ASQ, 8, i == 2 ? RAM_GPA + 0x10 : i == 3 ? BAD_GPA : RAM_GPA);
		wr(&g, NVME_ACQ, 8, i == 4 ? RAM_GPA + RAM_BYTES : RAM_GPA + 0x1000);
		wr(&g, NVME_CC, 4, i == 5 ? 0x460081 : i == 6 ? 0x460061 : 0x460001);
		assert_int_equal(rd(&g, NVME_CSTS, 4), NVME_CSTS_CFS);
		wr(&g, NVME_CC, 4, 0);
		run(&g);
		assert_int_equal(rd(&g, NVME_CSTS, 4), 0);
		enable(&g);
		assert_int_equal(rd(&g, NVME_CSTS, 4), NVME_CSTS_RDY);
		guest_end(&g);
	}
}

/* ---------------------------------------------------------------- admin */

static void identify(void **state)
{
	struct guest g;
	struct nvme_id_ctrl *c;
	struct nvme_id_ns *n;

	(void)state;
	guest_on(&g);
	memset(g.ram + DATA, 0xff, 8192);
	assert_int_equal(ADM(6, .prp1 = D, .cdw10 = 1), 0);
	c = (struct nvme_id_ctrl *)(g.ram + DATA);
	assert_memory_equal(c->sn, "S1                  ", 20);
	assert_memory_equal(c->mn, "M1    ", 6);
	assert_int_equal(c->nn, 1);
	assert_int_equal(c->ver, 0x10400);
	assert_int_equal(c->oacs, NVME_OACS_DBBUF);
	assert_int_equal(c->sgls, 0);
	assert_int_equal(c->sqes, 0x66);
	assert_int_equal(c->cqes, 0x44);
	assert_int_equal(c->mdts, 7);
	assert_int_equal(c->vwc & 1, 1);
	assert_memory_equal(c->subnqn, "nqn.2014.08.org.nvmexpress:12345678S1  ", 39);
	assert_int_equal(g.ram[DATA + 4096], 0xff);

	/* across two pages, from the middle of the first */
	memset(g.ram + DATA, 0xff, 16384);
	assert_int_equal(ADM(6, .prp1 = D + 0x800, .prp2 = D + 0x2000, .nsid = 1, .cdw10 = 0), 0);
	n = (struct nvme_id_ns *)(g.ram + DATA + 0x800);
	assert_int_equal(n->nsze, SECTORS);
	assert_int_equal(n->dlfeat, 1);
	assert_int_equal(n->lbaf[0].lbads, 9);
	assert_int_equal(n->nlbaf, 0);
	assert_int_equal(g.ram[DATA + 0x1000], 0xff);
	assert_int_equal(g.ram[DATA + 0x2000], 0);
	assert_int_equal(g.ram[DATA + 0x2800], 0xff);

	assert_int_equal(ADM(6, .prp1 = D, .cdw10 = 2), 0);
	assert_int_equal(g.ram[DATA], 1);
	assert_int_equal(g.ram[DATA + 4], 0);
	assert_int_equal(ADM(6, .prp1 = D, .cdw10 = 2, .nsid = 1), 0);
	assert_int_equal(g.ram[DATA], 0);
	assert_int_equal(ADM(6, .prp1 = D, .cdw10 = 2, .nsid = ~0u), SC_NS);
	assert_int_equal(ADM(6, .prp1 = D, .cdw10 = 3, .nsid = 1), 0);
	assert_int_equal(g.ram[DATA], NVME_NIDT_NGUID);
	assert_int_equal(g.ram[DATA + 1], 16);
	assert_int_equal(g.ram[DATA + 20], 0);
	assert_int_equal(ADM(6, .prp1 = D, .cdw10 = 3, .nsid = 2), SC_NS);
	assert_int_equal(ADM(6, .prp1 = D, .cdw10 = 0), SC_NS);
	assert_int_equal(ADM(6, .prp1 = D, .cdw10 = 0, .nsid = 2), SC_NS);
	assert_int_equal(ADM(6, .prp1 = D, .cdw10 = 0x10), SC_FIELD);
	assert_int_equal(ADM(6, .prp1 = D, .cdw10 = 6), SC_FIELD);
	assert_int_equal(ADM(6, .prp1 = D + 2, .cdw10 = 1), NVME_SC_PRP_OFFSET);
	assert_int_equal(ADM(6, .prp1 = BAD_GPA, .cdw10 = 1), NVME_SC_DATA_TRANSFER);
	assert_int_equal(ADM(6, .prp1 = D + 8, .prp2 = D + 8, .cdw10 = 1), NVME_SC_PRP_OFFSET);
	guest_end(&g);
}

static void queue_commands(void **state)
{
	struct guest g;
	u32 i;

	(void)state;
	guest_on(&g);
	/* Create CQ */
	assert_int_equal(ADM(5, .prp1 = D, .cdw10 = 0x3f0000, .cdw11 = 3), SC_QID);
	assert_int_equal(ADM(5, .prp1 = D, .cdw10 = 0x3f0041, .cdw11 = 3), SC_QID);
	assert_int_equal(ADM(5, .prp1 = D, .cdw10 = 0x000001, .cdw11 = 3), SC_QSIZE);
	assert_int_equal(ADM(5, .prp1 = D, .cdw10 = 0x4000001, .cdw11 = 3), SC_QSIZE);
	assert_int_equal(ADM(5, .prp1 = D, .cdw10 = 0x3f0001, .cdw11 = 2), SC_FIELD);
	assert_int_equal(ADM(5, .prp1 = D, .cdw10 = 0x3f0001, .cdw11 = 65 << 16 | 3),
			 SC_VECTOR);
	assert_int_equal(ADM(5, .prp1 = D + 16, .cdw10 = 0x3f0001, .cdw11 = 3), NVME_SC_PRP_OFFSET);
	assert_int_equal(ADM(5, .prp1 = BAD_GPA, .cdw10 = 0x3f0001, .cdw11 = 3), SC_FIELD);
	assert_int_equal(make_cq(&g, 1, 64, 1), 0);
	assert_int_equal(make_cq(&g, 1, 64, 1), SC_QID);
	/* Create SQ */
	assert_int_equal(ADM(1, .prp1 = D, .cdw10 = 0x3f0000, .cdw11 = 0x10001), SC_QID);
	assert_int_equal(ADM(1, .prp1 = D, .cdw10 = 0x3f0001, .cdw11 = 1), SC_QID);
	assert_int_equal(ADM(1, .prp1 = D, .cdw10 = 0x3f0001, .cdw11 = 0x20001), SC_CQ);
	assert_int_equal(ADM(1, .prp1 = D, .cdw10 = 0x000001, .cdw11 = 0x10001), SC_QSIZE);
	assert_int_equal(ADM(1, .prp1 = D, .cdw10 = 0x3f0001, .cdw11 = 0x10000), SC_FIELD);
	assert_int_equal(ADM(1, .prp1 = D + 64, .cdw10 = 0x3f0001, .cdw11 = 0x10001),
			 NVME_SC_PRP_OFFSET);
	assert_int_equal(make_sq(&g, 1, 64), 0);
	assert_int_equal(make_sq(&g, 1, 64), SC_QID);
	assert_int_equal(IO(NVME_IO_FLUSH), 0);
	/* Delete */
	assert_int_equal(ADM(4, .cdw10 = 1), SC_QDEL);
	assert_int_equal(ADM(4, .cdw10 = 0), SC_QID);
	assert_int_equal(ADM(4, .cdw10 = 2), SC_QID);
	assert_int_equal(ADM(0, .cdw10 = 2), SC_QID);
	assert_int_equal(ADM(0, .cdw10 = 0), SC_QID);
	assert_int_equal(ADM(0, .cdw10 = 1), 0);
	assert_int_equal(ADM(4, .cdw10 = 1), 0);
	/* all there are, at once, each used */
	for (i = 1; i <= 64; i++) {
		assert_int_equal(make_cq(&g, i, 16, i), 0);
		assert_int_equal(make_sq(&g, i, 16), 0);
		assert_int_equal(cmd(&g, i, (struct nvme_sqe){ .nsid = 1 }), 0);
		assert_int_equal(g.bar.irqs[i], i == 1 ? 2 : 1);
	}
	guest_end(&g);
}

/* A queue with commands in flight goes when they have ended, not before. */
static void delete_busy_queue(void **state)
{
	struct guest g;
	struct nvme_cqe c;

	(void)state;
	guest_io(&g);
	g.disk.hold = true;
	put(&g, 1, (struct nvme_sqe){ .opcode = 2, .nsid = 1, .prp1 = D });
	ring(&g, 1);
	run(&g);
	put(&g, 0, (struct nvme_sqe){ .opcode = 0, .cdw10 = 1 });
	ring(&g, 0);
	run(&g);
	assert_false(get(&g, 0, &c, true));
	put(&g, 1, (struct nvme_sqe){ .opcode = 2, .nsid = 1, .prp1 = D });
	ring(&g, 1);
	run(&g);
	assert_int_equal(g.disk.queued, 1); /* nothing is fetched any more */
	g.disk.hold = false;
	run(&g);
	assert_true(get(&g, 1, &c, true));
	assert_false(get(&g, 1, &c, true));
	assert_true(get(&g, 0, &c, true));
	assert_int_equal(c.status >> 1, 0);
	assert_int_equal(ADM(4, .cdw10 = 1), 0);
	guest_end(&g);
}

static void features(void **state)
{
	struct guest g;
	u32 i;
	static const u32 unknown[] = { 0, 3, 0xc, 0xd, 0xe, 0xf, 0x10, 0x80, 0xff };

	(void)state;
	guest_on(&g);
	assert_int_equal(ADM(9, .cdw10 = 7, .cdw11 = 0x00030003), 0);
	assert_int_equal(result, 63 << 16 | 63);
	assert_int_equal(ADM(9, .cdw10 = 7, .cdw11 = 0xffff0000), SC_FIELD);
	assert_int_equal(ADM(10, .cdw10 = 7), 0);
	assert_int_equal(result, 63 << 16 | 63);
	for (i = 0; i < ARRAY_SIZE(unknown); i++) {
		assert_int_equal(ADM(9, .cdw10 = unknown[i]), SC_FIELD);
		assert_int_equal(ADM(10, .cdw10 = unknown[i]), SC_FIELD);
	}
	assert_int_equal(ADM(9, .cdw10 = 1u << 31 | 1), NVME_SC_NOT_SAVEABLE);
	assert_int_equal(ADM(10, .cdw10 = 6), 0);
	assert_int_equal(result, 1);
	assert_int_equal(ADM(9, .cdw10 = 4, .cdw11 = 400), 0);
	assert_int_equal(ADM(9, .cdw10 = 4, .cdw11 = 1 << 20 | 200), 0);
	assert_int_equal(ADM(10, .cdw10 = 4), 0);
	assert_int_equal(result, 400);
	assert_int_equal(ADM(10, .cdw10 = 4, .cdw11 = 1 << 20), 0);
	assert_int_equal(result, 200);
	assert_int_equal(ADM(10, .cdw10 = 4, .cdw11 = 1 << 16), SC_FIELD);
	assert_int_equal(ADM(9, .cdw10 = 2, .cdw11 = 1), SC_FIELD);
	assert_int_equal(ADM(9, .cdw10 = 5, .cdw11 = 1 << 16), SC_FIELD);
	assert_int_equal(ADM(9, .cdw10 = 9, .cdw11 = 65), SC_FIELD);
	assert_int_equal(ADM(9, .cdw10 = 9, .cdw11 = 1 << 16 | 64), 0);
	assert_int_equal(ADM(10, .cdw10 = 9, .cdw11 = 64), 0);
	assert_int_equal(result, 1 << 16 | 64);
	assert_int_equal(ADM(9, .cdw10 = 11, .cdw11 = ~0u), 0);
	assert_int_equal(ADM(10, .cdw10 = 11), 0);
	assert_int_equal(result, 0xff);
	assert_int_equal(make_cq(&g, 1, 16, 0), 0);
	assert_int_equal(ADM(9, .cdw10 = 7, .cdw11 = 0), NVME_SC_SEQUENCE);
	guest_end(&g);

	/* a disk without a cache has no such feature */
	guest_on(&g);
	g.disk.blk.write_cache = false;
	assert_int_equal(ADM(9, .cdw10 = 6, .cdw11 = 1), SC_FIELD);
	assert_int_equal(ADM(10, .cdw10 = 6), SC_FIELD);
	guest_end(&g);
}

static void log_pages(void **state)
{
	struct guest g;
	struct nvme_smart_log *s;

	(void)state;
	guest_io(&g);
	assert_int_equal(IO(2, .prp1 = D, .cdw12 = 7), 0);
	memset(g.ram + DATA, 0xff, 8192);
	assert_int_equal(ADM(2, .prp1 = D, .nsid = ~0u, .cdw10 = 127 << 16 | 2), 0);
	s = (struct nvme_smart_log *)(g.ram + DATA);
	assert_int_equal(s->reads[0], 1);
	assert_int_equal(s->units_read[0], 1);
	assert_int_equal(s->spare, 100);
	assert_int_equal(g.ram[DATA + 512], 0xff);
	assert_int_equal(ADM(2, .prp1 = D, .cdw10 = 0x3ff << 16 | 3), 0);
	assert_int_equal(g.ram[DATA], 1);
	assert_int_equal(g.ram[DATA + 4095], 0); /* longer than the page: zeroes */
	assert_int_equal(ADM(2, .prp1 = D, .cdw10 = 15 << 16 | 1), 0);
	assert_int_equal(ADM(2, .prp1 = D, .cdw10 = 15 << 16 | 4), 0);
	assert_int_equal(ADM(2, .prp1 = D, .cdw10 = 15 << 16 | 5), SC_LOG);
	assert_int_equal(ADM(2, .prp1 = D, .cdw10 = 15 << 16), SC_LOG);
	assert_int_equal(ADM(2, .prp1 = D, .nsid = 5, .cdw10 = 15 << 16 | 2), SC_NS);
	assert_int_equal(ADM(2, .prp1 = D, .cdw10 = 15 << 16 | 2, .cdw11 = 0xffff),
			 SC_FIELD);
	guest_end(&g);
}

static void other_admin(void **state)
{
	struct guest g;
	u32 op;

	(void)state;
	guest_on(&g);
	assert_int_equal(ADM(8, .cdw10 = 0x50001), 0);
	assert_int_equal(result, 1); /* not aborted */
	for (op = 0x0d; op < 0x100; op++)
		if (op != NVME_ADM_DBBUF) /* nvme_dbbuf_test.c */
			assert_int_equal(ADM((u8)op), SC_OPCODE);
	assert_int_equal(ADM(3), SC_OPCODE);
	assert_int_equal(ADM(6, .flags = 1, .prp1 = D, .cdw10 = 1), SC_FIELD);
	assert_int_equal(ADM(6, .flags = 0x40, .prp1 = D, .cdw10 = 1), SC_FIELD);
	guest_end(&g);
}

static void events(void **state)
{
	struct guest g;
	struct nvme_cqe c;
	u16 cid[5];
	u32 i;

	(void)state;
	guest_on(&g);
	for (i = 0; i < 5; i++)
		cid[i] = put(&g, 0, (struct nvme_sqe){ .opcode = 0x0c });
	ring(&g, 0);
	run(&g);
	assert_true(get(&g, 0, &c, true)); /* the fifth is one too many */
	assert_int_equal(c.cid, cid[4]);
	assert_int_equal(c.status >> 1 & NVME_STATUS_CODE, NVME_SC_AER_LIMIT);
	assert_false(get(&g, 0, &c, true));

	nvme_emul_doorbell_store(g.bar.emul, 0x1000 + 8 * 3, 1); /* no such queue */
	run(&g);
	assert_true(get(&g, 0, &c, true));
	assert_int_equal(c.status >> 1, 0);
	assert_int_equal(c.result, 0x010000);
	nvme_emul_doorbell_store(g.bar.emul, 0x1000, ASIZE); /* a value too large */
	run(&g);
	assert_false(get(&g, 0, &c, true)); /* masked until the log is read */
	assert_int_equal(ADM(2, .prp1 = D, .cdw10 = 15 << 16 | 1), 0);
	run(&g);
	assert_true(get(&g, 0, &c, true));
	assert_int_equal(c.result, 0x010100);

	assert_int_equal(ADM(2, .prp1 = D, .cdw10 = 15 << 16 | 1), 0);
	/* not posted yet */
	nvme_emul_doorbell_store(g.bar.emul, 0x1004, (g.q[0].head + 3) % ASIZE);
	run(&g);
	assert_true(get(&g, 0, &c, true));
	assert_int_equal(c.result, 0x010100);
	assert_int_equal(ADM(2, .prp1 = D, .cdw10 = 15 << 16 | 1), 0);
	nvme_emul_doorbell_store(g.bar.emul, 0x1ff8, 0); /* no such register */
	run(&g);
	assert_true(get(&g, 0, &c, true));
	assert_int_equal(c.result, 0x010000);
	/* reset forgets the requests */
	assert_int_equal(ADM(2, .prp1 = D, .cdw10 = 15 << 16 | 1), 0);
	put(&g, 0, (struct nvme_sqe){ .opcode = 0x0c });
	ring(&g, 0);
	run(&g);
	assert_false(get(&g, 0, &c, true));
	wr(&g, NVME_CC, 4, 0);
	run(&g);
	enable(&g);
	nvme_emul_doorbell_store(g.bar.emul, 0x1000 + 8 * 3, 1);
	run(&g);
	assert_false(get(&g, 0, &c, true));
	guest_end(&g);
}

/* ---------------------------------------------------------------- I/O */

static void io_status(void **state)
{
	struct guest g;

	(void)state;
	guest_io(&g);
	assert_int_equal(IO(2, .prp1 = D, .cdw10 = SECTORS - 1), 0);
	assert_int_equal(g.disk.requests, 1);
	assert_int_equal(IO(2, .prp1 = D, .cdw10 = SECTORS), NVME_SC_LBA_RANGE);
	assert_int_equal(IO(2, .prp1 = D, .cdw10 = SECTORS - 1, .cdw12 = 1), NVME_SC_LBA_RANGE);
	assert_int_equal(IO(2, .prp1 = D, .cdw10 = ~0u, .cdw11 = ~0u), NVME_SC_LBA_RANGE);
	assert_int_equal(IO(2, .prp1 = D, .cdw12 = 1024), SC_FIELD); /* MDTS */
	assert_int_equal(IO(2, .prp1 = D + 1), NVME_SC_PRP_OFFSET);
	assert_int_equal(IO(1, .prp1 = BAD_GPA), NVME_SC_DATA_TRANSFER);
	assert_int_equal(IO(2, .prp1 = D, .prp2 = BAD_GPA, .cdw12 = 15), NVME_SC_DATA_TRANSFER);
	assert_int_equal(IO(2, .prp1 = D, .prp2 = D + 512, .cdw12 = 15), NVME_SC_PRP_OFFSET);
	assert_int_equal(IO(2, .prp1 = D, .prp2 = BAD_GPA, .cdw12 = 31), NVME_SC_DATA_TRANSFER);
	assert_int_equal(IO(2, .prp1 = D, .prp2 = D + 4, .cdw12 = 31), NVME_SC_PRP_OFFSET);
	assert_int_equal(IO(5, .prp1 = D), SC_OPCODE); /* Compare */
	assert_int_equal(IO(4), SC_OPCODE);
	assert_int_equal(IO(0x0d), SC_OPCODE);
	assert_int_equal(IO(2, .flags = 0x80, .prp1 = D), SC_FIELD);
	assert_int_equal(g.disk.requests, 1); /* none of these went down */
#define NS(op, n) cmd(&g, 1, (struct nvme_sqe){ .opcode = (op), .nsid = (n), .prp1 = D })
	assert_int_equal(NS(2, 0), SC_NS);
	assert_int_equal(NS(2, 2), SC_NS);
	assert_int_equal(NS(1, ~0u), SC_NS);
	assert_int_equal(NS(0, ~0u), 0);
	assert_int_equal(NS(0, 0), SC_NS);
	g.disk.fail_count = 5;
	g.disk.fail_err = -EIO;
	assert_int_equal(IO(2, .prp1 = D), NVME_SC_READ_ERROR);
	assert_int_equal(IO(1, .prp1 = D), NVME_SC_WRITE_FAULT);
	assert_int_equal(IO(0), NVME_SC_WRITE_FAULT);
	g.disk.fail_err = -ENOSPC;
	assert_int_equal(IO(1, .prp1 = D), NVME_SC_CAPACITY);
	g.disk.fail_err = -ECANCELED;
	assert_int_equal(IO(1, .prp1 = D), NVME_SC_ABORT_REQUESTED);
	assert_int_equal(IO(1, .prp1 = D), 0);
	guest_end(&g);
}

/* PRP lists: from the middle of a page, over more than one list page, with broken links. */
static void prp_lists(void **state)
{
	struct guest g;
	u64 *list;
	u32 i;

	(void)state;
	guest_io(&g);
	for (i = 0; i < 512 * 1024; i++)
		g.disk.data[i] = (u8)(i * 40503u >> 7);
	/* 128 pages, scattered backwards; the list has room for four before its page ends */
	list = (u64 *)(g.ram + LIST + 4096 - 32);
	for (i = 0; i < 3; i++)
		list[i] = D + 4096 * (2 * (127 - i));
	list[3] = RAM_GPA + LIST + 0x2000;
	list = (u64 *)(g.ram + LIST + 0x2000);
	for (i = 3; i < 127; i++)
		list[i - 3] = D + 4096 * (2 * (127 - i));
	memset(g.ram + DATA, 0xee, 256 * 4096);
	assert_int_equal(IO(2, .prp1 = D + 4096 * 300, .prp2 = RAM_GPA + LIST + 4096 - 32,
			    .cdw12 = 1023),
			 0);
	assert_memory_equal(g.ram + DATA + 4096 * 300, g.disk.data, 4096);
	for (i = 0; i < 127; i++) {
		assert_memory_equal(g.ram + DATA + 4096 * 2 * (127 - i),
				    g.disk.data + 4096 * (i + 1), 4096);
		assert_int_equal(g.ram[DATA + 4096 * (2 * (127 - i) - 1)], 0xee);
	}
	/* an offset start needs one entry more, MDTS and all */
	list[124] = D + 4096 * 290;
	assert_int_equal(IO(2, .prp1 = D + 4096 * 300 + 512, .prp2 = RAM_GPA + LIST + 4096 - 32,
			    .cdw12 = 1023),
			 0);
	assert_memory_equal(g.ram + DATA + 4096 * 290, g.disk.data + 4096 * 128 - 512, 512);
	list[50] |= 8;
	assert_int_equal(IO(2, .prp1 = D, .prp2 = RAM_GPA + LIST + 4096 - 32, .cdw12 = 1023),
			 NVME_SC_PRP_OFFSET);
	list[50] = BAD_GPA;
	assert_int_equal(IO(2, .prp1 = D, .prp2 = RAM_GPA + LIST + 4096 - 32, .cdw12 = 1023),
			 NVME_SC_DATA_TRANSFER);
	/* a list not at a page's start */
	*(u64 *)(g.ram + LIST + 4096 - 8) = RAM_GPA + LIST + 0x2008;
	assert_int_equal(IO(2, .prp1 = D, .prp2 = RAM_GPA + LIST + 4096 - 32, .cdw12 = 1023),
			 NVME_SC_PRP_OFFSET);
	*(u64 *)(g.ram + LIST + 4096 - 8) = RAM_GPA + RAM_BYTES;
	assert_int_equal(IO(2, .prp1 = D, .prp2 = RAM_GPA + LIST + 4096 - 32, .cdw12 = 1023),
			 NVME_SC_DATA_TRANSFER);
	guest_end(&g);
}

static void fua_and_cache(void **state)
{
	struct guest g;

	(void)state;
	guest_io(&g);
	assert_int_equal(IO(1, .prp1 = D), 0);
	assert_int_equal(g.disk.fuas, 0);
	assert_int_equal(IO(1, .prp1 = D, .cdw12 = 1u << 30), 0);
	assert_int_equal(g.disk.fuas, 1);
	assert_int_equal(IO(2, .prp1 = D, .cdw12 = 1u << 30), 0);
	assert_int_equal(g.disk.fuas, 1);
	assert_int_equal(ADM(9, .cdw10 = 6, .cdw11 = 0), 0); /* cache off: all writes are durable */
	assert_int_equal(IO(1, .prp1 = D), 0);
	assert_int_equal(g.disk.fuas, 2);
	assert_int_equal(IO(0), 0);
	assert_int_equal(g.disk.flushes, 1);
	g.disk.blk.write_cache = false;
	assert_int_equal(IO(0), 0);
	assert_int_equal(g.disk.flushes, 1);
	guest_end(&g);
}

static void trim_and_zeroes(void **state)
{
	struct guest g;
	struct nvme_dsm_range *r;
	u32 i;

	(void)state;
	guest_io(&g);
	r = (struct nvme_dsm_range *)(g.ram + DATA);
	for (i = 0; i < 256; i++)
		r[i] = (struct nvme_dsm_range){ .blocks = i % 3 ? 4 : 0, .slba = i * 8 };
	assert_int_equal(IO(9, .prp1 = D, .cdw10 = 255, .cdw11 = 4), 0);
	assert_int_equal(g.disk.trims, 170);
	assert_int_equal(IO(9, .prp1 = D, .cdw10 = 255, .cdw11 = 3), 0);
	assert_int_equal(g.disk.trims, 170);
	r[200].slba = SECTORS - 3;
	assert_int_equal(IO(9, .prp1 = D, .cdw10 = 255, .cdw11 = 4), NVME_SC_LBA_RANGE);
	assert_int_equal(g.disk.trims, 170);
	assert_int_equal(IO(9, .prp1 = D, .cdw10 = 0, .cdw11 = 4), 0); /* one range of nothing */
	assert_int_equal(IO(9, .prp1 = BAD_GPA, .cdw10 = 0, .cdw11 = 4), NVME_SC_DATA_TRANSFER);
	r[0] = (struct nvme_dsm_range){ .blocks = 1 };
	g.disk.fail_count = 1;
	g.disk.fail_err = -EIO;
	assert_int_equal(IO(9, .prp1 = D, .cdw10 = 1, .cdw11 = 4), NVME_SC_WRITE_FAULT);

	memset(g.disk.data, 0x55, SECTORS * 512);
	assert_int_equal(IO(8, .cdw10 = 1, .cdw12 = 2999), 0); /* more than MDTS */
	assert_int_equal(g.disk.data[511], 0x55);
	assert_int_equal(g.disk.data[512], 0);
	assert_int_equal(g.disk.data[3001 * 512 - 1], 0);
	assert_int_equal(g.disk.data[3001 * 512], 0x55);
	assert_int_equal(IO(8, .cdw10 = SECTORS - 1, .cdw12 = 1), NVME_SC_LBA_RANGE);
	guest_end(&g);
}

/* ---------------------------------------------------------------- flow */

/* One interrupt a batch; none without IEN; a full CQ holds back what it must. */
static void batches(void **state)
{
	struct guest g;
	struct nvme_cqe c;
	u32 i, n = 0;

	(void)state;
	guest_on(&g);
	assert_int_equal(make_cq(&g, 1, 8, 2), 0);
	assert_int_equal(make_sq(&g, 1, 8), 0);
	for (i = 0; i < 7; i++)
		put(&g, 1, (struct nvme_sqe){ .opcode = 2, .nsid = 1, .prp1 = D });
	ring(&g, 1);
	run(&g);
	assert_int_equal(g.bar.irqs[2], 1);
	assert_int_equal(g.bar.irqs[1], 0);
	for (i = 0; i < 7; i++) /* completion queue full: these end, but are not told */
		put(&g, 1, (struct nvme_sqe){ .opcode = 2, .nsid = 1, .prp1 = D });
	ring(&g, 1);
	run(&g);
	assert_int_equal(nvme_emul_inflight(g.bar.emul), 0);
	assert_int_equal(g.bar.irqs[2], 1);
	while (get(&g, 1, &c, false))
		n++;
	assert_int_equal(n, 7);
	nvme_emul_doorbell_store(g.bar.emul, 0x100c, g.q[1].head);
	run(&g);
	while (get(&g, 1, &c, true))
		n++;
	assert_int_equal(n, 14);
	assert_int_equal(g.bar.irqs[2], 2);
	assert_int_equal(ADM(0, .cdw10 = 1), 0);
	assert_int_equal(ADM(4, .cdw10 = 1), 0);
	assert_int_equal(ADM(5, .prp1 = RAM_GPA + g.q[1].cq, .cdw10 = 7 << 16 | 1,
			     .cdw11 = 2 << 16 | 1), 0); /* no IEN */
	memset(g.ram + g.q[1].cq, 0, 128);
	g.q[1].head = 0;
	g.q[1].phase = 1;
	assert_int_equal(make_sq(&g, 1, 8), 0);
	assert_int_equal(IO(0), 0);
	assert_int_equal(g.bar.irqs[2], 2);
	guest_end(&g);
}

/* More commands than the pool holds stay in the guest's queues, and none is lost. */
static void pool_dry(void **state)
{
	struct guest g;
	struct nvme_cqe c;
	u32 i, n = 0, idle = 0;

	(void)state;
	guest_on(&g);
	assert_int_equal(make_cq(&g, 1, 256, 1), 0);
	assert_int_equal(make_sq(&g, 1, 128), 0);
	g.q[1].size = 256;
	assert_int_equal(ADM(0, .cdw10 = 1), 0);
	g.q[1].sq = IOQ + 0x80000;
	assert_int_equal(ADM(1, .prp1 = RAM_GPA + g.q[1].sq, .cdw10 = 255 << 16 | 1,
			     .cdw11 = 0x10001), 0);
	assert_int_equal(ADM(1, .prp1 = RAM_GPA + g.q[1].sq + 0x8000, .cdw10 = 255 << 16 | 2,
			     .cdw11 = 0x10001), 0);
	g.q[2] = g.q[1];
	g.q[2].sq += 0x8000;
	g.disk.hold = true;
	for (i = 0; i < 255; i++) {
		put(&g, 1, (struct nvme_sqe){ .opcode = 2, .nsid = 1, .prp1 = D });
		put(&g, 2, (struct nvme_sqe){ .opcode = 2, .nsid = 1, .prp1 = D });
	}
	ring(&g, 1);
	ring(&g, 2);
	run(&g);
	assert_int_equal(nvme_emul_inflight(g.bar.emul), NVME_EMUL_COMMANDS - 8);
	assert_int_equal(ADM(6, .prp1 = D, .cdw10 = 1), 0); /* the admin queue still works */
	g.disk.hold = false;
	while (idle < 3) {
		run(&g);
		for (i = 0; get(&g, 1, &c, true); i++)
			n++;
		idle = i ? 0 : idle + 1;
	}
	assert_int_equal(n, 510);
	guest_end(&g);
}

static void pin(void **state)
{
	struct guest g;
	struct nvme_cqe c;

	(void)state;
	guest_on(&g);
	put(&g, 0, (struct nvme_sqe){ .opcode = 8 });
	ring(&g, 0);
	run(&g);
	assert_true(g.bar.intx);
	wr(&g, NVME_INTMS, 4, 1);
	assert_false(g.bar.intx);
	wr(&g, NVME_INTMC, 4, 1);
	assert_true(g.bar.intx);
	assert_true(get(&g, 0, &c, true));
	run(&g);
	assert_false(g.bar.intx);
	guest_end(&g);
}

static void reset_in_flight(void **state)
{
	struct guest g;
	struct nvme_cqe c;
	u32 i;

	(void)state;
	guest_io(&g);
	g.disk.hold = true;
	for (i = 0; i < 20; i++)
		put(&g, 1, (struct nvme_sqe){ .opcode = 2, .nsid = 1, .prp1 = D });
	ring(&g, 1);
	run(&g);
	assert_int_equal(nvme_emul_inflight(g.bar.emul), 20);
	wr(&g, NVME_CC, 4, 0x00460000);
	run(&g);
	assert_int_equal(rd(&g, NVME_CSTS, 4), NVME_CSTS_RDY); /* it may still write to memory */
	enable(&g); /* a guest that does not wait gets its queues when all has ended */
	put(&g, 0, (struct nvme_sqe){ .opcode = 8 });
	ring(&g, 0);
	run(&g);
	assert_false(get(&g, 0, &c, true));
	wr(&g, NVME_CC, 4, 0x00460000);
	g.disk.hold = false;
	run(&g);
	assert_int_equal(rd(&g, NVME_CSTS, 4), 0);
	assert_false(get(&g, 1, &c, true)); /* nothing was told of the twenty */
	assert_int_equal(nvme_emul_inflight(g.bar.emul), 0);
	enable(&g);
	assert_int_equal(make_cq(&g, 1, 64, 1), 0);
	assert_int_equal(make_sq(&g, 1, 64), 0);
	/* the pool is whole again */
	g.disk.hold = true;
	for (i = 0; i < 60; i++)
		put(&g, 1, (struct nvme_sqe){ .opcode = 2, .nsid = 1, .prp1 = D });
	ring(&g, 1);
	run(&g);
	assert_int_equal(nvme_emul_inflight(g.bar.emul), 60);
	g.disk.hold = false;
	run(&g);
	for (i = 0; get(&g, 1, &c, true); i++)
		assert_int_equal(c.status >> 1, 0);
	assert_int_equal(i, 60);
	guest_end(&g);
}

/* A queue's deletion that waits when the reset comes gives back its command. */
static void reset_while_deleting(void **state)
{
	struct guest g;
	u32 i;

	(void)state;
	for (i = 0, guest_on(&g); i < 300; i++) {
		assert_int_equal(make_cq(&g, 1, 16, 1), 0);
		assert_int_equal(make_sq(&g, 1, 16), 0);
		g.disk.hold = true;
		put(&g, 1, (struct nvme_sqe){ .opcode = 2, .nsid = 1, .prp1 = D });
		ring(&g, 1);
		run(&g);
		assert_int_equal(g.disk.queued, 1);
		put(&g, 0, (struct nvme_sqe){ .opcode = 0, .cdw10 = 1 });
		ring(&g, 0);
		run(&g);
		wr(&g, NVME_CC, 4, 0);
		g.disk.hold = false;
		run(&g);
		assert_int_equal(rd(&g, NVME_CSTS, 4), 0);
		enable(&g);
	}
	guest_end(&g);
}

static void shut_down(void **state)
{
	struct guest g;

	(void)state;
	guest_io(&g);
	g.disk.hold = true;
	put(&g, 1, (struct nvme_sqe){ .opcode = 1, .nsid = 1, .prp1 = D });
	ring(&g, 1);
	run(&g);
	wr(&g, NVME_CC, 4, 0x00464001);
	run(&g);
	assert_int_equal(rd(&g, NVME_CSTS, 4), 1 | 1 << 2);
	assert_int_equal(g.disk.queued, 1); /* the flush comes after the write */
	g.disk.hold = false;
	run(&g);
	run(&g);
	assert_int_equal(g.disk.flushes, 1);
	assert_int_equal(rd(&g, NVME_CSTS, 4), 1 | 2 << 2);
	wr(&g, NVME_CC, 4, 0);
	run(&g);
	assert_int_equal(rd(&g, NVME_CSTS, 4), 0);
	enable(&g);
	assert_int_equal(rd(&g, NVME_CSTS, 4), 1);
	assert_int_equal(ADM(8), 0);
	guest_end(&g);

	/* a reset while the flush is under way: the flush says nothing afterwards */
	guest_on(&g);
	g.disk.hold = true;
	wr(&g, NVME_CC, 4, 0x00464001);
	run(&g);
	wr(&g, NVME_CC, 4, 0);
	run(&g);
	assert_int_equal(rd(&g, NVME_CSTS, 4) & 1, 1);
	g.disk.hold = false;
	run(&g);
	run(&g);
	assert_int_equal(rd(&g, NVME_CSTS, 4), 0);
	guest_end(&g);
}

/* Queue memory that goes away (a BAR moved there, say) is the guest's fault. */
static void vanished_queue(void **state)
{
	struct guest g;

	(void)state;
	guest_io(&g);
	g.bar.windows[0].bytes = IOQ;
	put(&g, 1, (struct nvme_sqe){ .opcode = 0, .nsid = 1 });
	ring(&g, 1);
	run(&g);
	assert_int_equal(rd(&g, NVME_CSTS, 4), NVME_CSTS_RDY | NVME_CSTS_CFS);
	wr(&g, NVME_CC, 4, 0);
	run(&g);
	assert_int_equal(rd(&g, NVME_CSTS, 4), 0);
	enable(&g);
	assert_int_equal(ADM(8), 0);
	guest_end(&g);
}

static void configurations(void **state)
{
	struct guest g;
	struct nvme_emul_cfg cfg = { .vectors = 1 };
	struct nvme_id_ctrl *c;
	struct nvme_emul *e;

	(void)state;
	guest_off(&g, 2, 3);
	enable(&g);
	assert_int_equal(ADM(10, .cdw10 = 7), 0);
	assert_int_equal(result, 1 << 16 | 1);
	assert_int_equal(make_cq(&g, 3, 16, 0), SC_QID);
	assert_int_equal(make_cq(&g, 2, 16, 3), SC_VECTOR);
	assert_int_equal(make_cq(&g, 2, 16, 2), 0);
	/* the block device's limits become MDTS */
	g.disk.blk.max_segs = 20;
	e = nvme_emul_create(&g.bar.host, &g.disk.blk, &cfg);
	nvme_emul_destroy(g.bar.emul);
	g.bar.emul = e;
	enable(&g);
	assert_int_equal(ADM(6, .prp1 = D, .cdw10 = 1), 0);
	c = (struct nvme_id_ctrl *)(g.ram + DATA);
	assert_int_equal(c->mdts, 4);
	assert_memory_equal(c->sn, "FAKE0001   ", 11);
	assert_null(nvme_emul_create(&g.bar.host, &g.disk.blk, &(struct nvme_emul_cfg){ 0 }));
	cfg.vectors = 66;
	assert_null(nvme_emul_create(&g.bar.host, &g.disk.blk, &cfg));
	cfg.vectors = 1;
	cfg.msix_table_off = 0x1000;
	assert_null(nvme_emul_create(&g.bar.host, &g.disk.blk, &cfg));
	guest_end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(registers),
		cmocka_unit_test(broken_enable),
		cmocka_unit_test(identify),
		cmocka_unit_test(queue_commands),
		cmocka_unit_test(delete_busy_queue),
		cmocka_unit_test(features),
		cmocka_unit_test(log_pages),
		cmocka_unit_test(other_admin),
		cmocka_unit_test(events),
		cmocka_unit_test(io_status),
		cmocka_unit_test(prp_lists),
		cmocka_unit_test(fua_and_cache),
		cmocka_unit_test(trim_and_zeroes),
		cmocka_unit_test(batches),
		cmocka_unit_test(pool_dry),
		cmocka_unit_test(pin),
		cmocka_unit_test(reset_in_flight),
		cmocka_unit_test(reset_while_deleting),
		cmocka_unit_test(shut_down),
		cmocka_unit_test(vanished_queue),
		cmocka_unit_test(configurations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
