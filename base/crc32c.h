/*
 * crc32c.h - CRC-32C (Castagnoli), the checksum of every record on our disk
 *
 * [RFC 3720 §B.4]. Reflected, initial value and final xor all ones: the CRC of
 * "123456789" is 0xe3069283.
 */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include "base/types.h"

/** crc32c() - checksum of @bytes at @data, going on from @crc (0 at first) */
u32 crc32c(u32 crc, const void *data, size_t bytes);

/* The same without the processor's instruction; crc32c() chooses. */
u32 crc32c_tables(u32 crc, const void *data, size_t bytes);

#endif
