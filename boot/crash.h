/*
 * crash.h - what is left of a panic when the machine starts again
 *
 * The last CRASH_BYTES of the VMM's region are nobody's but a panic's. A warm
 * reset leaves memory as it is: at the next boot the loader looks at every place
 * where a region may have ended, and hands on what it finds (handoff.crash). The
 * VMM logs it, keeps it in its own region, and forgets it when the server has
 * been told; so a PC without a network may be reset again. Power-off ends it.
 *
 * Anybody may have written to that memory: magic, length and CRC must be right,
 * and even then it is hearsay, and no more than text.
 */
#ifndef BOOT_CRASH_H
#define BOOT_CRASH_H

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/types.h"

#define CRASH_MAGIC 0x3148534152435246ull /* "FRCRASH1", little-endian */
#define CRASH_BYTES 4096u
#define CRASH_TEXT_MAX (CRASH_BYTES - 16)
#define CRASH_ALIGN (2 * MIB) /* regions end at multiples of it */
#define CRASH_LIMIT (4 * GIB) /* and below this */

struct crash_record {
	u64 magic;
	u32 bytes; /* of text */
	u32 crc; /* CRC-32C of the two above and the text */
	char text[CRASH_TEXT_MAX]; /* lines of the log, from the panic on */
};

static_assert(sizeof(struct crash_record) == CRASH_BYTES, "crash_record");

static inline u32 crash_crc(const struct crash_record *r)
{
	return crc32c(crc32c(0, r, 12), r->text, r->bytes);
}

static inline void crash_seal(struct crash_record *r, u32 bytes)
{
	r->magic = CRASH_MAGIC;
	r->bytes = bytes;
	r->crc = crash_crc(r);
}

static inline bool crash_valid(const struct crash_record *r)
{
	return r->magic == CRASH_MAGIC && r->bytes && r->bytes <= CRASH_TEXT_MAX &&
	       r->crc == crash_crc(r);
}

/* One line of the text, printable and ended; false: there is no more. *at: 0 at first. */
static inline bool crash_line(const struct crash_record *r, u32 *at, char *out, u32 room)
{
	u32 n = 0;

	if (*at >= r->bytes || *at >= CRASH_TEXT_MAX)
		return false;
	while (*at < r->bytes && *at < CRASH_TEXT_MAX) {
		char c = r->text[(*at)++];

		if (c == '\n')
			break;
		if (n + 1 < room && c != '\r')
			out[n++] = c < 0x20 || c > 0x7e ? '?' : c;
	}
	out[n] = 0;
	return true;
}

#endif
