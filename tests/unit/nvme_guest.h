/*
 * nvme_guest.h - a guest's NVMe driver for tests of the front-end, command by command
 *
 * For test programs alone: each has its own.
 */
#ifndef TESTS_UNIT_NVME_GUEST_H
#define TESTS_UNIT_NVME_GUEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/plat_host.h"
#include "storage/spec/nvme.h"
#include "tests/fakes/fake_bar.h"

#define SECTORS 4096u
#define RAM_BYTES (4u << 20)
#define RAM_GPA 0x100000ull
#define BAD_GPA 0xdead0000000ull
/* where things lie in guest memory */
#define ASQ 0x0000u
#define ACQ 0x1000u
#define DATA 0x10000u
#define LIST 0x8000u
#define IOQ 0x200000u
#define ASIZE 32u

struct guest {
	struct fake_disk disk;
	struct fake_bar bar;
	u8 *ram;
	struct {
		u32 sq, cq; /* offsets in ram */
		u32 size, tail, head;
		u16 phase;
	} q[66];
	u16 cid;
};

static u64 rd(struct guest *g, u32 off, u32 bytes)
{
	u64 v = 0;

	nvme_emul_mmio(g->bar.emul, off, bytes, false, &v);
	return v;
}

static void wr(struct guest *g, u32 off, u32 bytes, u64 v)
{
	nvme_emul_mmio(g->bar.emul, off, bytes, true, &v);
}

static void run(struct guest *g)
{
	fake_bar_run(&g->bar);
}

static void guest_off(struct guest *g, u32 queues, u32 vectors)
{
	struct nvme_emul_cfg cfg = {
		.serial = "S1", .model = "M1", .vendor = 0x1234, .subvendor = 0x5678,
		.vectors = vectors, .queues = queues, .msix_table_off = 0x2000,
	};

	memset(g, 0, sizeof(*g));
	plat_host_quiet = true;
	plat_host_now_ns = NS_PER_SEC;
	fake_disk_init(&g->disk, SECTORS, 512);
	fake_bar_init(&g->bar, &g->disk, &cfg);
	g->ram = aligned_alloc(4096, RAM_BYTES);
	memset(g->ram, 0, RAM_BYTES);
	fake_bar_window(&g->bar, RAM_GPA, g->ram, RAM_BYTES);
}

static void enable(struct guest *g)
{
	wr(g, NVME_AQA, 4, (ASIZE - 1) << 16 | (ASIZE - 1));
	wr(g, NVME_ASQ, 8, RAM_GPA + ASQ);
	wr(g, NVME_ACQ, 4, (u32)(RAM_GPA + ACQ));
	wr(g, NVME_ACQ + 4, 4, 0);
	memset(g->ram + ACQ, 0, 4096);
	g->q[0].sq = ASQ;
	g->q[0].cq = ACQ;
	g->q[0].size = ASIZE;
	g->q[0].tail = g->q[0].head = 0;
	g->q[0].phase = 1;
	wr(g, NVME_CC, 4, 0x00460001);
}

static void guest_on(struct guest *g)
{
	guest_off(g, 0, 65);
	enable(g);
	assert_int_equal(rd(g, NVME_CSTS, 4), NVME_CSTS_RDY);
}

static void guest_end(struct guest *g)
{
	g->disk.hold = false;
	run(g);
	fake_bar_fini(&g->bar);
	fake_disk_fini(&g->disk);
	free(g->ram);
	plat_host_now_ns = 0;
}

static u16 put(struct guest *g, u32 qid, struct nvme_sqe s)
{
	s.cid = ++g->cid;
	memcpy(g->ram + g->q[qid].sq + 64 * g->q[qid].tail, &s, 64);
	g->q[qid].tail = (g->q[qid].tail + 1) % g->q[qid].size;
	return s.cid;
}

static void ring(struct guest *g, u32 qid)
{
	assert_true(nvme_emul_doorbell_store(g->bar.emul, 0x1000 + 8 * qid, g->q[qid].tail));
}

/* The next completion, if there is one; moves on, and tells the head if @tell. */
static bool get(struct guest *g, u32 qid, struct nvme_cqe *c, bool tell)
{
	memcpy(c, g->ram + g->q[qid].cq + 16 * g->q[qid].head, 16);
	if ((c->status & 1) != g->q[qid].phase)
		return false;
	if (++g->q[qid].head == g->q[qid].size) {
		g->q[qid].head = 0;
		g->q[qid].phase ^= 1;
	}
	if (tell)
		nvme_emul_doorbell_store(g->bar.emul, 0x1004 + 8 * qid, g->q[qid].head);
	return true;
}

static u32 result;

/* Send one command, wait for its end: the status without "do not retry". */
static u32 cmd(struct guest *g, u32 qid, struct nvme_sqe s)
{
	struct nvme_cqe c;
	u16 cid = put(g, qid, s);
	bool got = false;
	u32 i;

	ring(g, qid);
	for (i = 0; i < 100 && !got; i++) {
		run(g);
		got = get(g, qid, &c, true);
	}
	assert_true(got);
	assert_int_equal(c.cid, cid);
	assert_int_equal(c.sqid, qid);
	assert_int_equal(c.sqhd, g->q[qid].tail);
	result = c.result;
	return c.status >> 1 & NVME_STATUS_CODE;
}

#define ADM(op, ...) cmd(&g, 0, (struct nvme_sqe){ .opcode = (op), __VA_ARGS__ })
#define SC_FIELD NVME_SC_INVALID_FIELD
#define SC_NS NVME_SC_INVALID_NS
#define SC_QID NVME_SC_INVALID_QID
#define SC_QSIZE NVME_SC_INVALID_QSIZE
#define SC_CQ NVME_SC_INVALID_CQ
#define SC_QDEL NVME_SC_INVALID_QDEL
#define SC_OPCODE NVME_SC_INVALID_OPCODE
#define SC_VECTOR NVME_SC_INVALID_VECTOR
#define SC_LOG NVME_SC_INVALID_LOG
#define IO(op, ...) cmd(&g, 1, (struct nvme_sqe){ .opcode = (op), .nsid = 1, __VA_ARGS__ })
#define D (RAM_GPA + DATA)

static u32 make_cq(struct guest *gp, u32 qid, u32 size, u32 vec)
{
	struct guest *g_ = gp;

	g_->q[qid].cq = IOQ + qid * 0x4000 + 0x2000;
	g_->q[qid].head = 0;
	g_->q[qid].phase = 1;
	g_->q[qid].size = size;
	memset(g_->ram + g_->q[qid].cq, 0, 16 * size);
	return cmd(g_, 0, (struct nvme_sqe){ .opcode = 5, .prp1 = RAM_GPA + g_->q[qid].cq,
					     .cdw10 = (size - 1) << 16 | qid,
					     .cdw11 = vec << 16 | 3 });
}

static u32 make_sq(struct guest *g_, u32 qid, u32 size)
{
	g_->q[qid].sq = IOQ + qid * 0x4000;
	g_->q[qid].tail = 0;
	return cmd(g_, 0, (struct nvme_sqe){ .opcode = 1, .prp1 = RAM_GPA + g_->q[qid].sq,
					     .cdw10 = (size - 1) << 16 | qid,
					     .cdw11 = qid << 16 | 1 });
}

static void guest_io(struct guest *g)
{
	guest_on(g);
	assert_int_equal(make_cq(g, 1, 64, 1), 0);
	assert_int_equal(make_sq(g, 1, 64), 0);
}

#endif
