/* nmi_test.c - echoes of our own NMIs, and NMIs of the guest */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/plat.h"
#include "vmm/cpu/nmi.h"

#define START (100 * NS_PER_SEC)

static void the_guest_gets_its_own(void **state)
{
	struct nmi_echo e = { 0 };

	(void)state;
	assert_true(nmi_is_the_guests(&e, false, START));
	assert_true(nmi_is_the_guests(&e, false, START + 1));
	assert_false(nmi_is_the_guests(&e, true, START + 2));
	assert_true(nmi_is_the_guests(&e, false, START + 2 + NS_PER_SEC));
}

static void echoes_are_swallowed(void **state)
{
	struct nmi_echo e = { 0 };

	(void)state;
	assert_false(nmi_is_the_guests(&e, true, START));
	for (u32 i = 1; i < 10; i++)
		assert_false(nmi_is_the_guests(&e, false, START + i * NS_PER_MS));
}

static void one_may_be_late(void **state)
{
	struct nmi_echo e = { 0 };

	(void)state;
	assert_false(nmi_is_the_guests(&e, true, START));
	assert_false(nmi_is_the_guests(&e, false, START + 1));
	assert_false(nmi_is_the_guests(&e, false, START + 200 * NS_PER_MS));
	assert_true(nmi_is_the_guests(&e, false, START + 201 * NS_PER_MS));
	/* The next of ours may have one again. */
	assert_false(nmi_is_the_guests(&e, true, START + 210 * NS_PER_MS));
	assert_false(nmi_is_the_guests(&e, false, START + 400 * NS_PER_MS));
	assert_true(nmi_is_the_guests(&e, false, START + 401 * NS_PER_MS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_guest_gets_its_own),
		cmocka_unit_test(echoes_are_swallowed),
		cmocka_unit_test(one_may_be_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
