/*
 * pe.c - the one thing we do to a PE file: find a section's bytes [PE/COFF §3, §4]
 */
#include "images/pe.h"

#include <string.h>

#include "base/endian.h"
#include "base/err.h"

#define DOS_LFANEW 0x3c
#define COFF_SECTIONS 6 /* from "PE\0\0" */
#define COFF_OPTIONAL_BYTES 20
#define COFF_BYTES 24
#define SECTION_BYTES 40
#define SECTION_NAME_BYTES 8
#define SECTION_RAW_BYTES 16
#define SECTION_RAW_OFF 20

/**
 * pe_find_section() - where do the raw bytes of section @name lie?
 *
 * Return: 0; -EINVAL for what is no PE file; -ENOENT without such a section;
 * -EMSGSIZE when it reaches beyond the end.
 */
int pe_find_section(const u8 *file, size_t bytes, const char *name, size_t *off, size_t *n)
{
	size_t pe, table, sections;

	if (bytes < DOS_LFANEW + 4 || memcmp(file, "MZ", 2))
		return -EINVAL;
	pe = get_le32(file + DOS_LFANEW);
	if (pe > bytes || bytes - pe < COFF_BYTES || memcmp(file + pe, "PE\0", 4))
		return -EINVAL;
	sections = get_le16(file + pe + COFF_SECTIONS);
	table = pe + COFF_BYTES + get_le16(file + pe + COFF_OPTIONAL_BYTES);
	if (table > bytes || (bytes - table) / SECTION_BYTES < sections)
		return -EINVAL;
	for (size_t i = 0; i < sections; i++) {
		const u8 *s = file + table + i * SECTION_BYTES;

		if (strncmp((const char *)s, name, SECTION_NAME_BYTES))
			continue;
		*n = get_le32(s + SECTION_RAW_BYTES);
		*off = get_le32(s + SECTION_RAW_OFF);
		return *off > bytes || bytes - *off < *n ? -EMSGSIZE : 0;
	}
	return -ENOENT;
}
