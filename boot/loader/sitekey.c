/* sitekey.c - reading the `.sitekey` section; its layout is in sitekey.h */
#include "boot/loader/sitekey.h"

#include <string.h>

#include "base/endian.h"
#include "base/err.h"

#define SITEKEY_OFF_COUNT 8
#define SITEKEY_OFF_RESERVED 12
#define SITEKEY_OFF_KEYS 16

/**
 * sitekey_read() - copy the site's public keys out of the section
 * @section: SITEKEY_BYTES bytes
 * @keys:    out
 *
 * Return: how many keys; -ENOENT when the site's were never filled in;
 * -EINVAL when the section is damaged.
 */
int sitekey_read(const void *section, u8 keys[SITEKEY_MAX][SITEKEY_KEY_BYTES])
{
	const u8 *p = section;
	u32 count = get_le32(p + SITEKEY_OFF_COUNT);

	if (memcmp(p, "FRSHKEY1", 8) || get_le32(p + SITEKEY_OFF_RESERVED) ||
	    count > SITEKEY_MAX)
		return -EINVAL;
	if (!count)
		return -ENOENT;
	memcpy(keys, p + SITEKEY_OFF_KEYS, (size_t)count * SITEKEY_KEY_BYTES);
	return (int)count;
}
