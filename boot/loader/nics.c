/*
 * nics.c - which network controllers the VMM can drive
 *
 * The loader may not include net/, so the drivers' tables are repeated here; a
 * unit test goes through all numbers and holds the two against each other.
 */
#include "boot/loader/nics.h"

#define INTEL 0x8086

static const u16 e1000e[] = {
	0x100e, 0x100f, /* 82540EM (QEMU's and Bochs' e1000), 82545EM */
	0x10d3, 0x10f6, /* 82574L (QEMU's e1000e), LA */
	0x150c, /* 82583V */
	0x153a, 0x153b, /* I217-LM, -V */
	0x155a, 0x1559, 0x15a0, 0x15a1, 0x15a2, 0x15a3, /* I218 */
	0x156f, 0x1570, 0x15b7, 0x15b8, 0x15d7, 0x15d8, 0x15e3, /* I219 */
	0x15d6, 0x15bb, 0x15bc, 0x15bd, 0x15be,
};

/** nic_supported() - has net/drivers a driver for this PCI device? */
bool nic_supported(u16 vendor, u16 device)
{
	for (size_t i = 0; i < ARRAY_SIZE(e1000e); i++)
		if (vendor == INTEL && device == e1000e[i])
			return true;
	return false;
}
