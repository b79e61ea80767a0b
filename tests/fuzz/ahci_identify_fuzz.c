/*
 * IDENTIFY data and error log of a hostile disk: whatever the parsers accept is a
 * geometry that the driver can compute with, texts that end, a tag that exists.
 */
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "storage/drivers/ahci.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_text(const char *s, size_t room)
{
	assert(strnlen(s, room) < room);
	for (; *s; s++)
		assert(*s >= 0x20 && *s < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static union {
		u8 bytes[ATA_ID_BYTES];
		u16 words[ATA_ID_WORDS];
		struct ata_ncq_error log;
	} u;
	struct ahci_drv_id id;
	u32 tag = ~0u;

	memset(&u, 0, sizeof(u));
	memset(&id, 0xff, sizeof(id));
	memcpy(u.bytes, data, n < sizeof(u) ? n : sizeof(u));
	if (!ahci_drv_parse_id(u.words, &id)) {
		check_text(id.serial, sizeof(id.serial));
		check_text(id.model, sizeof(id.model));
		check_text(id.firmware, sizeof(id.firmware));
		assert(id.sector_bytes == 512 || id.sector_bytes == 4096);
		assert(id.sectors && id.sectors <= 1ull << 48);
		assert(id.depth <= 32);
	}
	if (!ahci_drv_parse_ncq_error(&u.log, &tag))
		assert(tag < 32);
	return 0;
}
