/*
 * tables.c - what the loader reads in the firmware's ACPI and SMBIOS tables
 *
 * The ECAM window of segment 0 (MCFG) and the machine's UUID (SMBIOS type 1).
 * Tables are read where they lie: memory is identity-mapped under UEFI. Lengths
 * come from the firmware, so each is bounded before it is followed.
 */
#include "boot/loader/tables.h"

#include <string.h>

#include "base/endian.h"
#include "base/err.h"

/* [ACPI 6.4 §5.2.5.3] RSDP, [§5.2.6] table header, [PCI FW 3.3 §4.1.2] MCFG */
#define RSDP_REVISION 15
#define RSDP_RSDT 16
#define RSDP_XSDT 24
#define SDT_LENGTH 4
#define SDT_HEADER_BYTES 36
#define SDT_BYTES_MAX (1u << 20)
#define MCFG_ENTRIES 44
#define MCFG_ENTRY_BYTES 16
#define MCFG_SEGMENT 8
#define MCFG_BUS_FIRST 10
#define MCFG_BUS_LAST 11

static const u8 *at_pa(u64 pa)
{
	return (const u8 *)(uintptr_t)pa;
}

/* The length of a table whose header is sane, or 0. */
static u32 sdt_bytes(const u8 *sdt, const char *signature)
{
	u32 n;

	if (!sdt || memcmp(sdt, signature, 4))
		return 0;
	n = get_le32(sdt + SDT_LENGTH);
	return n >= SDT_HEADER_BYTES && n <= SDT_BYTES_MAX ? n : 0;
}

static const u8 *find_sdt(const u8 *rsdp, const char *signature)
{
	bool wide = rsdp[RSDP_REVISION] >= 2 && get_le64(rsdp + RSDP_XSDT);
	const u8 *root = at_pa(wide ? get_le64(rsdp + RSDP_XSDT) : get_le32(rsdp + RSDP_RSDT));
	u32 n = sdt_bytes(root, wide ? "XSDT" : "RSDT"), step = wide ? 8 : 4;

	for (u32 at = SDT_HEADER_BYTES; n && at + step <= n; at += step) {
		const u8 *sdt = at_pa(wide ? get_le64(root + at) : get_le32(root + at));

		if (sdt_bytes(sdt, signature))
			return sdt;
	}
	return NULL;
}

/**
 * tables_find_ecam() - the memory-mapped configuration space of segment 0
 * @rsdp_pa: from the UEFI configuration table; 0 is none
 * @out:     zeroed when there is none
 *
 * Return: 0; -ENOENT.
 */
int tables_find_ecam(u64 rsdp_pa, struct tables_ecam *out)
{
	const u8 *rsdp = at_pa(rsdp_pa), *mcfg;
	u32 n;

	memset(out, 0, sizeof(*out));
	if (!rsdp || memcmp(rsdp, "RSD PTR ", 8))
		return -ENOENT;
	mcfg = find_sdt(rsdp, "MCFG");
	n = sdt_bytes(mcfg, "MCFG");
	for (u32 at = MCFG_ENTRIES; at + MCFG_ENTRY_BYTES <= n; at += MCFG_ENTRY_BYTES) {
		if (get_le16(mcfg + at + MCFG_SEGMENT))
			continue;
		out->base = get_le64(mcfg + at);
		out->bus_first = mcfg[at + MCFG_BUS_FIRST];
		out->bus_last = mcfg[at + MCFG_BUS_LAST];
		return 0;
	}
	return -ENOENT;
}

/* [SMBIOS 3.4 §5.2] entry points, [§6.1.2] structures, [§7.2] System Information */
#define SMBIOS2_LENGTH 0x16
#define SMBIOS2_TABLE 0x18
#define SMBIOS3_LENGTH 0x0c
#define SMBIOS3_TABLE 0x10
#define SMBIOS_TYPE_SYSTEM 1
#define SMBIOS_TYPE_END 127
#define SMBIOS_SYSTEM_UUID 8

/**
 * tables_smbios_entry() - where an entry point says that the structures lie
 *
 * Understands the 32-bit ("_SM_") and the 64-bit ("_SM3_") entry point.
 * Return: 0; -EINVAL.
 */
int tables_smbios_entry(const void *entry, u64 *table_pa, u32 *bytes)
{
	const u8 *p = entry;

	if (!memcmp(p, "_SM3_", 5)) {
		*table_pa = get_le64(p + SMBIOS3_TABLE);
		*bytes = get_le32(p + SMBIOS3_LENGTH);
	} else if (!memcmp(p, "_SM_", 4)) {
		*table_pa = get_le32(p + SMBIOS2_TABLE);
		*bytes = get_le16(p + SMBIOS2_LENGTH);
	} else {
		return -EINVAL;
	}
	return *table_pa && *bytes ? 0 : -EINVAL;
}

/**
 * tables_smbios_uuid() - the system's UUID, bytes as in the table
 *
 * Return: 0; -ENOENT when there is no System Information, or when the maker
 * left its UUID all zeros or all ones ("not present", "not settable").
 */
int tables_smbios_uuid(const void *table, size_t bytes, u8 uuid[16])
{
	const u8 *p = table;
	size_t at = 0;

	while (at + 4 <= bytes && p[at] != SMBIOS_TYPE_END) {
		size_t n = p[at + 1];

		if (n < 4 || at + n > bytes)
			break;
		if (p[at] == SMBIOS_TYPE_SYSTEM && n >= SMBIOS_SYSTEM_UUID + 16) {
			const u8 *u = p + at + SMBIOS_SYSTEM_UUID;
			u8 all_or = 0, all_and = 0xff;

			for (int i = 0; i < 16; i++) {
				all_or |= u[i];
				all_and &= u[i];
			}
			if (!all_or || all_and == 0xff)
				return -ENOENT;
			memcpy(uuid, u, 16);
			return 0;
		}
		/* strings follow, and end with an empty one */
		for (at += n; at + 2 <= bytes && (p[at] || p[at + 1]); at++)
			;
		at += 2;
	}
	return -ENOENT;
}
