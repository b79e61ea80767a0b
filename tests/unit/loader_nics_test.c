/* boot/loader/nics.c says yes to exactly what the drivers take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "boot/loader/nics.h"
#include "net/drivers/e1000e.h"

static void agrees_with_the_drivers(void **state)
{
	unsigned int yes = 0;

	(void)state;
	for (u32 device = 0; device <= 0xffff; device++) {
		bool ours = nic_supported(0x8086, (u16)device);

		if (ours != e1000e_match(0x8086, (u16)device))
			fail_msg("8086:%04x: loader says %d", device, ours);
		yes += ours;
		assert_false(nic_supported(0x1af4, (u16)device));
	}
	assert_true(yes > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_the_drivers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
