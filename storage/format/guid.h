/*
 * guid.h - UUIDs as UEFI, GPT and SMBIOS store them: first three fields little-endian
 *
 * [UEFI 2.10 App. A], [SMBIOS 3.6 §7.2.1]. Text is lower case with hyphens.
 */
#ifndef STORAGE_FORMAT_GUID_H
#define STORAGE_FORMAT_GUID_H

#include "base/types.h"

#define GUID_BYTES 16
#define GUID_TEXT_BYTES 37 /* with the terminator */

/** guid_format() - @guid as text in @out; returns @out */
char *guid_format(char out[GUID_TEXT_BYTES], const u8 guid[GUID_BYTES]);
/** guid_parse() - the reverse, either case; 0 or -EINVAL unless @n is 36 and all is in place */
int guid_parse(u8 guid[GUID_BYTES], const char *text, size_t n);

#endif
