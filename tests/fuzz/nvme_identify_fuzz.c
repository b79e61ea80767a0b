/*
 * Identify data of a hostile controller: whatever the parsers accept is a
 * geometry that the driver can compute with, and texts that end.
 */
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "storage/drivers/nvme.h"

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
		u8 bytes[4096];
		struct nvme_id_ctrl ctrl;
		struct nvme_id_ns ns;
	} u;
	struct nvme_drv_id id;

	memset(&u, 0, sizeof(u));
	memset(&id, 0xff, sizeof(id));
	memcpy(u.bytes, data, n < sizeof(u) ? n : sizeof(u));
	if (!nvme_drv_parse_ctrl(&u.ctrl, &id)) {
		check_text(id.serial, sizeof(id.serial));
		check_text(id.model, sizeof(id.model));
		check_text(id.firmware, sizeof(id.firmware));
		assert(id.max_bytes >= 8192 && id.max_bytes <= MIB);
	}
	if (!nvme_drv_parse_ns(&u.ns, &id)) {
		assert(id.sector_bytes == 512 || id.sector_bytes == 4096);
		assert(id.sectors && id.sectors * id.sector_bytes / id.sector_bytes == id.sectors);
	}
	return 0;
}
