/*
 * nics.h - which network controllers the VMM can drive
 */
#ifndef BOOT_LOADER_NICS_H
#define BOOT_LOADER_NICS_H

#include "base/types.h"

bool nic_supported(u16 vendor, u16 device);

#endif
