/*
 * Where the processor has it (SSE4.2, and nothing of it but general registers),
 * its own instruction: every block is summed when it is stored and when it is
 * read. Else slicing by eight: eight tables let the loop take eight bytes a turn
 * with independent loads; they are computed at first use. Lab PCs and emulators
 * of either kind exist.
 */
#include "base/crc32c.h"

#include "base/endian.h"

#define POLY_REFLECTED 0x82f63b78u
#define CPUID_1_ECX_SSE42 (1u << 20)

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

u32 crc32c_tables(u32 crc, const void *data, size_t bytes)
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

static bool insn_exists(void)
{
	static enum { UNKNOWN, NO, YES } known;
	u32 a = 1, b, c = 0, d;

	if (known == UNKNOWN) {
		__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
		known = c & CPUID_1_ECX_SSE42 ? YES : NO;
	}
	return known == YES;
}

u32 crc32c(u32 crc, const void *data, size_t bytes)
{
	const u8 *p = data;
	u64 c = (u32)~crc;

	if (!insn_exists())
		return crc32c_tables(crc, data, bytes);
	for (; bytes >= 8; bytes -= 8, p += 8)
		__asm__("crc32q %1, %0" : "+r"(c) : "r"(get_le64(p)));
	for (; bytes; bytes--, p++)
		__asm__("crc32b %1, %k0" : "+r"(c) : "r"(*p));
	return ~(u32)c;
}
