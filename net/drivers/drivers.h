/*
 * drivers.h - every driver of a network card, and the choice among them
 *
 * A driver puts itself on the list: a card more is a file more, a line of
 * module.mk, and its ids in net/spec/nic_ids.h. See docs/howto/nic-driver.md.
 */
#ifndef NET_DRIVERS_DRIVERS_H
#define NET_DRIVERS_DRIVERS_H

#include "base/bus.h"
#include "net/spec/netif.h"
#include "net/spec/nic_ids.h"

struct netif_driver {
	const char *name;
	const struct nic_id *ids;
	u32 nids;
	/*
	 * Reset the card and start it; some ms of delay_us(), some 100 KiB of DMA
	 * memory. @id is one of ids[]. 0; -ENODEV after a closer look; -ENOMEM;
	 * -EIO the card does not come out of reset or has no address.
	 */
	int (*create)(struct bus_dev *bus, const struct nic_id *id, struct netif_dev **out);
};

/* A linker set: the VMM is linked from objects, none of them is left out. */
#define NETIF_DRIVER(d)                                                            \
	static const struct netif_driver *const netif_driver_##d                   \
		__attribute__((used, section("netif_drivers"))) = &(d)

/** netif_driver_find() - the driver that takes the device, and its id there; NULL: none */
const struct netif_driver *netif_driver_find(u16 vendor, u16 device, const struct nic_id **id);

/** netif_driver_at() - all of them, by number; NULL: there are no more */
const struct netif_driver *netif_driver_at(u32 i);

/** netif_create() - find the driver for @bus and start the card; see netif_driver.create() */
int netif_create(struct bus_dev *bus, struct netif_dev **out);

#endif
