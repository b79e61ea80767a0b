/* boot/vmx_need.h: what is missing is named, and no MSR is read that is not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "boot/vmx_need.h"

static struct {
	u32 msr, bit; /* this one is 0, all others are 1 */
	bool no_true, no_secondary, no_ept;
} cpu;

static u64 fake_read(u32 msr)
{
	u64 v = ~0ull;

	/* Reading these would be a #GP on such a processor [SDM 3 appendix A]. */
	if (msr >= 0x48d && msr <= 0x490)
		assert_false(cpu.no_true);
	if (msr == 0x48b)
		assert_false(cpu.no_secondary);
	if (msr == 0x48c)
		assert_false(cpu.no_ept);
	return msr == cpu.msr ? v & ~BIT64(cpu.bit) : v;
}

static const char *without(u32 msr, u32 bit)
{
	cpu.msr = msr;
	cpu.bit = bit;
	return vmx_missing(fake_read);
}

static void names_what_is_missing(void **state)
{
	(void)state;
	memset(&cpu, 0, sizeof(cpu));
	assert_null(vmx_missing(fake_read));
	assert_string_equal(without(0x48b, 32 + 7), "unrestricted guest");
	assert_string_equal(without(0x48b, 32 + 5), "VPID");
	assert_string_equal(without(0x48d, 32 + 5), "virtual NMIs");
	assert_string_equal(without(0x48d, 32 + 6), "preemption timer");
	assert_string_equal(without(0x48f, 32 + 21), "load host's EFER");
	assert_string_equal(without(0x48c, 20), "INVEPT");
	/* 1 GiB pages, INVEPT of one context: there are other ways. */
	assert_null(without(0x48c, 17));
	assert_null(without(0x48c, 25));
	/* The lower halves say what must be 1. */
	assert_null(without(0x48b, 7));
}

static void reads_nothing_that_is_not_there(void **state)
{
	(void)state;
	memset(&cpu, 0, sizeof(cpu));
	cpu.no_true = cpu.no_secondary = cpu.no_ept = true;
	assert_string_equal(without(0x480, 55), "true controls");
	cpu.no_true = false;
	assert_string_equal(without(0x48e, 63), "secondary controls");
	cpu.no_secondary = false;
	assert_string_equal(without(0x48b, 32 + 1), "EPT");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_what_is_missing),
		cmocka_unit_test(reads_nothing_that_is_not_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
