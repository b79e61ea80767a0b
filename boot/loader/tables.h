/*
 * tables.h - what the loader reads in the firmware's ACPI and SMBIOS tables
 */
#ifndef BOOT_LOADER_TABLES_H
#define BOOT_LOADER_TABLES_H

#include "base/types.h"

struct tables_ecam {
	u64 base; /* 0: none */
	u32 bus_first, bus_last;
};

int tables_find_ecam(u64 rsdp_pa, struct tables_ecam *out);
int tables_smbios_uuid(const void *table, size_t bytes, u8 uuid[16]);
int tables_smbios_entry(const void *entry, u64 *table_pa, u32 *bytes);

#endif
