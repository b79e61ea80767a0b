/* boot/loader/nics.c says yes to exactly what the drivers take; no two drivers take the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "boot/loader/nics.h"
#include "net/drivers/drivers.h"

static void agrees_with_the_drivers(void **state)
{
	static const u16 vendors[] = { 0x8086, 0x1af4, 0x10ec, 0 };
	const struct netif_driver *d;
	const struct nic_id *id;
	u32 yes = 0, listed = 0, drivers = 0;

	(void)state;
	for (; (d = netif_driver_at(drivers)); drivers++) {
		assert_true(d->nids > 0);
		listed += d->nids;
		/* what is listed is found, and by this driver: nobody else has it, too */
		for (u32 k = 0; k < d->nids; k++) {
			const struct nic_id *want = &d->ids[k];

			assert_ptr_equal(netif_driver_find(want->vendor, want->device, &id), d);
			assert_ptr_equal(id, want);
		}
	}
	/* a driver that is not linked would be missed by nobody else */
	assert_true(drivers >= 3);
	for (u32 v = 0; v < ARRAY_SIZE(vendors); v++)
		for (u32 device = 0; device <= 0xffff; device++) {
			bool ours = nic_supported(vendors[v], (u16)device);

			if (ours != !!netif_driver_find(vendors[v], (u16)device, &id))
				fail_msg("%04x:%04x: loader says %d", vendors[v], device, ours);
			yes += ours;
		}
	assert_int_equal(yes, listed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_the_drivers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
