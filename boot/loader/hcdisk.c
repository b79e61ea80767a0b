/*
 * hcdisk.c - the virtual disk over hypercalls
 *
 * Waiting is asking: HC_IO_STATUS advances the VMM, so there is nothing better
 * to do meanwhile. It may take as long as the server is away.
 *
 * Portable: no EFI header, so that a test runs it against a VMM of its own.
 */
#include "boot/loader/hcdisk.h"

#include "base/err.h"
#include "boot/loader/launch.h"

static int request(u32 nr, struct handoff_io *io)
{
	s64 err = hypercall(nr, (u64)(uintptr_t)io);

	while (!err) {
		err = hypercall(HC_IO_STATUS, 0);
		if (err != -EINPROGRESS)
			return (int)err;
		__asm__ volatile("pause" : : : "memory");
		err = 0;
	}
	return (int)err;
}

static int transfer(u32 nr, u64 lba, u32 sector_bytes, u64 buffer, u64 bytes)
{
	struct handoff_io io = { .buffer = buffer, .lba = lba };
	int err = 0;

	while (bytes && !err) {
		io.bytes = (u32)MIN(bytes, (u64)HANDOFF_IO_BYTES_MAX);
		err = request(nr, &io);
		io.buffer += io.bytes;
		io.lba += io.bytes / sector_bytes;
		bytes -= io.bytes;
	}
	return err;
}

int hcdisk_read(u64 lba, u32 sector_bytes, void *buffer, u64 bytes)
{
	return transfer(HC_READ, lba, sector_bytes, (u64)(uintptr_t)buffer, bytes);
}

int hcdisk_write(u64 lba, u32 sector_bytes, const void *buffer, u64 bytes)
{
	return transfer(HC_WRITE, lba, sector_bytes, (u64)(uintptr_t)buffer, bytes);
}

int hcdisk_flush(void)
{
	struct handoff_io io = { 0 };

	return request(HC_FLUSH, &io);
}
