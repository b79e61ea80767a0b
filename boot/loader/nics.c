/*
 * nics.c - which network controllers the VMM can drive
 *
 * The lists are those of the drivers themselves; a unit test goes through all
 * numbers and holds the two against each other.
 */
#include "boot/loader/nics.h"

#include "net/spec/nic_ids.h"

static const struct nic_id ids[] = { NIC_IDS(NIC_ID) };

/** nic_supported() - has net/drivers a driver for this PCI device? */
bool nic_supported(u16 vendor, u16 device)
{
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		if (vendor == ids[i].vendor && device == ids[i].device)
			return true;
	return false;
}
