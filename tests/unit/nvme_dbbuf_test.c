/*
 * Doorbell buffers of the NVMe front-end: a driver with doorbells in its memory, which
 * writes the register when the event index says so, as Linux does, and counts that.
 */
#include "tests/unit/nvme_guest.h"

#define SHADOW 0x20000u
#define EVENT 0x21000u

static u32 written; /* registers */

static u32 *word(struct guest *g, u32 page, u32 idx)
{
	return (u32 *)(void *)(g->ram + page) + idx;
}

static bool passed(u16 event, u16 now, u16 was)
{
	return (u16)(now - event - 1) < (u16)(now - was);
}

/* A doorbell in memory; the register, too, where it is asked for. */
static void bell(struct guest *g, u32 idx, u32 v)
{
	u32 was = *word(g, SHADOW, idx);

	__atomic_store_n(word(g, SHADOW, idx), v, __ATOMIC_SEQ_CST);
	if (!passed((u16)*word(g, EVENT, idx), (u16)v, (u16)was))
		return;
	written++;
	assert_true(nvme_emul_doorbell_store(g->bar.emul, 0x1000 + 4 * idx, v));
}

static u32 config(struct guest *g, u64 shadow, u64 event)
{
	return cmd(g, 0, (struct nvme_sqe){ .opcode = NVME_ADM_DBBUF, .prp1 = shadow,
					    .prp2 = event });
}

static void buffers_on(struct guest *g)
{
	guest_io(g);
	assert_int_equal(config(g, RAM_GPA + SHADOW, RAM_GPA + EVENT), 0);
	written = 0;
}

static void submit(struct guest *g)
{
	put(g, 1, (struct nvme_sqe){ .opcode = NVME_IO_READ, .nsid = 1, .prp1 = D });
	bell(g, 2, g->q[1].tail);
}

/* Completions of queue 1 that are there; their head is told. */
static u32 reap(struct guest *g)
{
	struct nvme_cqe c;
	u32 n = 0;

	while (get(g, 1, &c, false)) {
		assert_int_equal(c.status >> 1, 0);
		n++;
	}
	if (n)
		bell(g, 3, g->q[1].head);
	return n;
}

static void refused(void **state)
{
	struct guest g;

	(void)state;
	guest_io(&g);
	assert_int_equal(config(&g, D + 4, D + 4096), NVME_SC_PRP_OFFSET);
	assert_int_equal(config(&g, D, D + 4096 + 8), NVME_SC_PRP_OFFSET);
	assert_int_equal(config(&g, BAD_GPA, D), SC_FIELD);
	assert_int_equal(config(&g, D, BAD_GPA), SC_FIELD);
	assert_int_equal(config(&g, D, D), SC_FIELD);
	/* and it goes on by registers */
	assert_int_equal(IO(NVME_IO_READ, .prp1 = D), 0);
	guest_end(&g);
}

/* One at a time: a submission is told by register, a completion never. */
static void one_by_one(void **state)
{
	struct guest g;

	(void)state;
	buffers_on(&g);
	for (u32 i = 0; i < 200; i++) {
		submit(&g);
		run(&g);
		assert_int_equal(reap(&g), 1);
		run(&g);
	}
	assert_in_range(written, 200, 200 + 2 * 200 / 64);
	assert_int_equal(nvme_emul_stats(g.bar.emul)->bad_doorbells, 0);
	guest_end(&g);
}

/* While the disk has one, more come without a register; with its answer they are taken. */
static void while_it_works(void **state)
{
	struct guest g;
	u32 done = 0;

	(void)state;
	buffers_on(&g);
	g.disk.fast = g.disk.hold = true;
	submit(&g);
	run(&g);
	assert_int_equal(written, 1);
	for (u32 i = 0; i < 30; i++)
		submit(&g);
	assert_int_equal(written, 1);
	g.disk.hold = false;
	for (u32 i = 0; i < 40; i++) {
		run(&g);
		done += reap(&g);
	}
	assert_int_equal(done, 31);
	/* and then it sleeps: the next one has to ring */
	submit(&g);
	assert_int_equal(written, 2);
	run(&g);
	assert_int_equal(reap(&g), 1);
	guest_end(&g);
}

/* A disk that answers who knows when: every submission is told. */
static void while_it_waits(void **state)
{
	struct guest g;

	(void)state;
	buffers_on(&g);
	g.disk.hold = true;
	for (u32 i = 0; i < 10; i++) {
		submit(&g);
		run(&g);
	}
	assert_int_equal(written, 10);
	g.disk.hold = false;
	run(&g);
	assert_int_equal(reap(&g), 10);
	guest_end(&g);
}

/* A register that comes late, behind what memory has said since, moves nothing back. */
static void late_register(void **state)
{
	struct guest g;

	(void)state;
	buffers_on(&g);
	submit(&g);
	put(&g, 1, (struct nvme_sqe){ .opcode = NVME_IO_READ, .nsid = 1, .prp1 = D });
	*word(&g, SHADOW, 2) = 2;
	run(&g);
	assert_int_equal(nvme_emul_stats(g.bar.emul)->reads, 2);
	assert_true(nvme_emul_doorbell_store(g.bar.emul, 0x1000 + 4 * 2, 1));
	run(&g);
	assert_int_equal(nvme_emul_stats(g.bar.emul)->reads, 2);
	assert_int_equal(reap(&g), 2);
	/* and a head neither */
	assert_true(nvme_emul_doorbell_store(g.bar.emul, 0x1000 + 4 * 3, 1));
	run(&g);
	assert_int_equal(nvme_emul_stats(g.bar.emul)->bad_doorbells, 0);
	guest_end(&g);
}

/* What registers have said before the buffers came is not lost. */
static void register_before(void **state)
{
	struct guest g;

	(void)state;
	guest_io(&g);
	put(&g, 1, (struct nvme_sqe){ .opcode = NVME_IO_READ, .nsid = 1, .prp1 = D });
	put(&g, 0, (struct nvme_sqe){ .opcode = NVME_ADM_DBBUF, .prp1 = RAM_GPA + SHADOW,
				      .prp2 = RAM_GPA + EVENT });
	assert_true(nvme_emul_doorbell_store(g.bar.emul, 0x1000, g.q[0].tail));
	assert_true(nvme_emul_doorbell_store(g.bar.emul, 0x1000 + 4 * 2, g.q[1].tail));
	run(&g);
	assert_int_equal(nvme_emul_stats(g.bar.emul)->reads, 1);
	assert_int_equal(*word(&g, SHADOW, 2), 1);
	guest_end(&g);
}

/* Completions that wait for room want the head, and get it. */
static void no_room(void **state)
{
	struct guest g;
	u32 done = 0;

	(void)state;
	guest_on(&g);
	assert_int_equal(make_cq(&g, 1, 8, 1), 0);
	g.q[1].size = 64;
	assert_int_equal(make_sq(&g, 1, 64), 0);
	assert_int_equal(config(&g, RAM_GPA + SHADOW, RAM_GPA + EVENT), 0);
	for (u32 i = 0; i < 20; i++) {
		submit(&g);
		run(&g);
	}
	g.q[1].size = 8; /* from here on, of completions */
	written = 0;
	for (u32 i = 0; i < 4; i++) {
		done += reap(&g);
		run(&g);
	}
	assert_int_equal(done, 20);
	assert_in_range(written, 2, 4);
	guest_end(&g);
}

/* Vector 0 may be the pin: its level needs the head. */
static void pin(void **state)
{
	struct guest g;

	(void)state;
	guest_on(&g);
	assert_int_equal(make_cq(&g, 1, 64, 0), 0);
	assert_int_equal(make_sq(&g, 1, 64), 0);
	assert_int_equal(config(&g, RAM_GPA + SHADOW, RAM_GPA + EVENT), 0);
	written = 0;
	for (u32 i = 0; i < 10; i++) {
		submit(&g);
		run(&g);
		assert_true(g.bar.intx);
		assert_int_equal(reap(&g), 1);
		run(&g);
		assert_false(g.bar.intx);
	}
	assert_int_equal(written, 20);
	guest_end(&g);
}

/* Values that cannot be are told once, and change nothing. */
static void nonsense(void **state)
{
	struct guest g;

	(void)state;
	buffers_on(&g);
	*word(&g, SHADOW, 2) = 64;
	*word(&g, SHADOW, 3) = 5;
	for (u32 i = 0; i < 5; i++)
		run(&g);
	assert_int_equal(nvme_emul_stats(g.bar.emul)->bad_doorbells, 2);
	assert_false(nvme_emul_work(g.bar.emul));
	*word(&g, SHADOW, 2) = 0xffff0001;
	run(&g);
	assert_int_equal(nvme_emul_stats(g.bar.emul)->bad_doorbells, 3);
	assert_int_equal(nvme_emul_stats(g.bar.emul)->reads, 0);
	*word(&g, SHADOW, 2) = *word(&g, SHADOW, 3) = 0;
	run(&g);
	submit(&g);
	run(&g);
	assert_int_equal(reap(&g), 1);
	guest_end(&g);
}

/* A reset ends it: what was the shadow is ordinary memory. */
static void reset_ends_it(void **state)
{
	struct guest g;

	(void)state;
	buffers_on(&g);
	wr(&g, NVME_CC, 4, 0);
	run(&g);
	memset(g.ram + SHADOW, 0x11, 8192);
	enable(&g);
	assert_int_equal(make_cq(&g, 1, 64, 1), 0);
	assert_int_equal(make_sq(&g, 1, 64), 0);
	assert_int_equal(IO(NVME_IO_READ, .prp1 = D), 0);
	assert_int_equal(*word(&g, SHADOW, 2), 0x11111111);
	assert_int_equal(*word(&g, EVENT, 2), 0x11111111);
	assert_int_equal(nvme_emul_stats(g.bar.emul)->bad_doorbells, 0);
	guest_end(&g);
}

/* A queue that is made later begins at zero on both sides, whatever stood there. */
static void queues_made_later(void **state)
{
	struct guest g;

	(void)state;
	guest_on(&g);
	memset(g.ram + SHADOW, 0x22, 8192);
	assert_int_equal(config(&g, RAM_GPA + SHADOW, RAM_GPA + EVENT), 0);
	assert_int_equal(make_cq(&g, 1, 64, 1), 0);
	assert_int_equal(make_sq(&g, 1, 64), 0);
	assert_int_equal(*word(&g, SHADOW, 2), 0);
	written = 0;
	submit(&g);
	assert_int_equal(written, 1);
	run(&g);
	assert_int_equal(reap(&g), 1);
	assert_int_equal(nvme_emul_stats(g.bar.emul)->bad_doorbells, 0);
	guest_end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused),
		cmocka_unit_test(one_by_one),
		cmocka_unit_test(while_it_works),
		cmocka_unit_test(while_it_waits),
		cmocka_unit_test(late_register),
		cmocka_unit_test(register_before),
		cmocka_unit_test(no_room),
		cmocka_unit_test(pin),
		cmocka_unit_test(nonsense),
		cmocka_unit_test(reset_ends_it),
		cmocka_unit_test(queues_made_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
