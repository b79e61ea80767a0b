/*
 * The pump's visits: marks are never lost, and nobody else's marks keep a CPU
 * in the pump for longer than its visit may last.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/plat.h"
#include "vmm/main/machine.h"
#include "vmm/main/pump.h"

#define STAY_NS 1000000u
#define ROUND_NS 300000u

static u64 now_ns, round_ns;
static u32 rounds, marks_left, more_left, ends;
static bool ended_with_more;

u64 plat_time_ns(void)
{
	return now_ns;
}

u64 machine_stay_ns(void)
{
	return STAY_NS;
}

/* While this CPU works, others mark: they do not get the ownership. */
bool machine_poll(void)
{
	assert_true(rounds < 1000);
	rounds++;
	now_ns += round_ns;
	if (marks_left) {
		marks_left--;
		pump_kick();
	}
	if (!more_left)
		return false;
	more_left--;
	return true;
}

void machine_visit_end(bool more)
{
	ends++;
	ended_with_more = more;
}

static int setup(void **state)
{
	(void)state;
	pump_kick(); /* clears a mark that the test before left */
	rounds = marks_left = more_left = ends = 0;
	round_ns = ROUND_NS;
	return 0;
}

static void test_one_mark_one_round(void **state)
{
	(void)state;
	pump_kick();
	assert_int_equal(rounds, 1);
	assert_int_equal(ends, 1);
	assert_false(ended_with_more);
}

static void test_marks_meanwhile_are_served(void **state)
{
	(void)state;
	marks_left = 2;
	pump_kick();
	assert_int_equal(rounds, 3);
	assert_false(ended_with_more);
	more_left = 1;
	pump_kick();
	assert_int_equal(rounds, 5);
}

/* A tick elsewhere may be faster than a round. */
static void test_marks_without_end_let_go(void **state)
{
	(void)state;
	marks_left = ~0u;
	pump_kick();
	assert_int_equal(rounds, 4);
	assert_true(ended_with_more); /* the tick comes back for the mark */
	rounds = 0;
	pump_lock();
	pump_unlock();
	assert_int_equal(rounds, 4);
	assert_true(ended_with_more);
	marks_left = 0;
	rounds = 0;
	pump_kick();
	assert_int_equal(rounds, 1);
	assert_false(ended_with_more);
}

/* A long round alone asks for no tick: an idle guest must stay idle. */
static void test_one_long_round(void **state)
{
	(void)state;
	round_ns = 3 * STAY_NS;
	pump_kick();
	assert_int_equal(rounds, 1);
	assert_false(ended_with_more);
	pump_lock();
	pump_unlock();
	assert_int_equal(rounds, 2);
	assert_false(ended_with_more);
}

static void test_work_without_end_lets_go(void **state)
{
	(void)state;
	more_left = ~0u;
	pump_kick();
	assert_int_equal(rounds, 4);
	assert_true(ended_with_more);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_one_mark_one_round, setup),
		cmocka_unit_test_setup(test_marks_meanwhile_are_served, setup),
		cmocka_unit_test_setup(test_marks_without_end_let_go, setup),
		cmocka_unit_test_setup(test_one_long_round, setup),
		cmocka_unit_test_setup(test_work_without_end_lets_go, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
