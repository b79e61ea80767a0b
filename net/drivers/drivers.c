/*
 * drivers.c - which driver takes a card
 *
 * Drivers register themselves in a linker set of pointers (drivers.h), so that
 * nothing here knows them. No id is in two tables; a test sees to that.
 */
#include "net/drivers/drivers.h"

#include "base/err.h"

extern const struct netif_driver *const __start_netif_drivers[];
extern const struct netif_driver *const __stop_netif_drivers[];

const struct netif_driver *netif_driver_at(u32 i)
{
	return i < (size_t)(__stop_netif_drivers - __start_netif_drivers) ?
		       __start_netif_drivers[i] : NULL;
}

const struct netif_driver *netif_driver_find(u16 vendor, u16 device, const struct nic_id **id)
{
	const struct netif_driver *d;

	for (u32 i = 0; (d = netif_driver_at(i)); i++)
		for (u32 k = 0; k < d->nids; k++)
			if (d->ids[k].vendor == vendor && d->ids[k].device == device) {
				*id = &d->ids[k];
				return d;
			}
	return NULL;
}

int netif_create(struct bus_dev *bus, struct netif_dev **out)
{
	const struct nic_id *id;
	const struct netif_driver *d = netif_driver_find(bus->vendor, bus->device, &id);

	return d ? d->create(bus, id, out) : -ENODEV;
}
