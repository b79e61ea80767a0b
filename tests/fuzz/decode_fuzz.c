/* Any bytes in any mode: read, checked for sense, carried out on a page that must not be left. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "vmm/cpu/decode.h"

static u8 page[PAGE_BYTES];

static void check(bool ok)
{
	if (!ok)
		abort();
}

static int dev_read(void *ctx, u64 gpa, u32 bytes, u64 *v)
{
	(void)ctx;
	check(bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8);
	*v = 0;
	memcpy(v, page + (gpa - 0x10000), bytes);
	return 0;
}

static int dev_write(void *ctx, u64 gpa, u32 bytes, u64 v)
{
	(void)ctx;
	memcpy(page + (gpa - 0x10000), &v, bytes);
	return 0;
}

static int mem_read(void *ctx, enum decode_seg seg, u64 off, u32 bytes, u64 *v)
{
	(void)ctx;
	check(seg <= DECODE_GS && bytes <= 8);
	*v = off;
	return off & 1 ? -EFAULT : 0;
}

static int mem_write(void *ctx, enum decode_seg seg, u64 off, u32 bytes, u64 v)
{
	(void)ctx;
	(void)v;
	check(seg == DECODE_ES && bytes <= 8);
	return off & 1 ? -EFAULT : 0;
}

static const struct decode_ops ops = {
	.mmio_read = dev_read,
	.mmio_write = dev_write,
	.mem_read = mem_read,
	.mem_write = mem_write,
};

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct decode_insn i, again;
	struct decode_cpu cpu = { .rip = 0xfff8, .rflags = 2 };
	enum decode_mode mode;
	int err;

	if (size < 4)
		return 0;
	mode = data[0] % 3;
	cpu.write = data[1] & 1;
	cpu.rflags |= data[1] & 2 ? 0x400 : 0;
	cpu.gpa = 0x10000 + (data[2] << 4 | data[1] >> 4);
	for (u32 k = 0; k < 16; k++)
		cpu.gpr[k] = 0x0123456789abcdefull * (k + data[2]);
	err = decode_insn(&i, data + 3, size - 3, mode);
	check(err == 0 || err == -ENODATA || err == -EOPNOTSUPP);
	if (err)
		return 0;
	check(i.length >= 1 && i.length <= DECODE_BYTES_MAX && i.length <= size - 3);
	check(i.op < DECODE_OPS && i.reg < 16 && (i.mem_read || i.mem_write));
	check(mode == DECODE_64 || (i.reg < 8 && i.mem_bytes <= 4 && i.reg_bytes <= 4));
	/* Bytes behind the instruction do not matter; the last one does. */
	check(decode_insn(&again, data + 3, i.length, mode) == 0);
	check(!memcmp(&i, &again, sizeof(i)));
	check(decode_insn(&again, data + 3, i.length - 1u, mode) == -ENODATA);
	decode_execute(&i, &cpu, &ops);
	return 0;
}
