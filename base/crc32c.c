/*
 * Slicing by eight: eight tables let the loop take eight bytes a turn with
 * independent loads. The tables are computed at first use; SSE4.2 is not
 * assumed, because lab PCs and emulators without it exist.
 */
#include "base/crc32c.h"

#include "base/endian.h"

#define POLY_REFLECTED 0x82f63b78u

static u32 table[8][256];
static bool ready;

static void make_tables(void)
{
	for (u32 i = 0; i < 256; i++) {
		u32 c = i;

		for (int bit = 0; bit < 8; bit++)
			c = c >> 1 ^ (c & 1 ? POLY_REFLECTED : 0);
		table[0][i] = c;
	}
	for (u32 i = 0; i < 256; i++)
		for (int t = 1; t < 8; t++)
			table[t][i] = table[t - 1][i] >> 8 ^ table[0][table[t - 1][i] & 255];
	ready = true;
}

u32 crc32c(u32 crc, const void *data, size_t bytes)
{
	const u8 *p = data;

	if (!ready)
		make_tables();
	crc = ~crc;
	for (; bytes >= 8; bytes -= 8, p += 8) {
		u32 lo = get_le32(p) ^ crc, hi = get_le32(p + 4);

		crc = table[7][lo & 255] ^ table[6][lo >> 8 & 255] ^
		      table[5][lo >> 16 & 255] ^ table[4][lo >> 24] ^
		      table[3][hi & 255] ^ table[2][hi >> 8 & 255] ^
		      table[1][hi >> 16 & 255] ^ table[0][hi >> 24];
	}
	for (; bytes; bytes--, p++)
		crc = crc >> 8 ^ table[0][(crc ^ *p) & 255];
	return ~crc;
}
