/*
 * The NVMe front-end against a hostile guest: the input is a program of register
 * accesses, doorbells, writes to guest memory (queue entries and PRP lists among
 * them) and turns of the pump. Guest memory lies at a guest-physical address
 * that is not the host's, between forbidden bytes; the disk below checks that
 * every request is whole and within its limits.
 *
 * A step is an operation byte and its operands; what runs out reads as zero.
 * Half of the operations make sensible things, so that the rest hits a
 * controller that runs.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/plat_host.h"
#include "storage/spec/nvme.h"
#include "tests/fakes/fake_bar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define RAM_PAGES 64u
#define RAM_GPA 0x40000000ull
#define STEPS 400u

struct in {
	const u8 *p;
	size_t n;
	/* what a decent guest would know of its first queues */
	u32 size[4], tail[4];
};

static u64 queue_page(u32 qid)
{
	return qid ? 8 + 2 * qid : 0;
}

static u8 byte(struct in *in)
{
	if (!in->n)
		return 0;
	in->n--;
	return *in->p++;
}

static u64 word(struct in *in, u32 bytes)
{
	u64 v = 0;

	while (bytes--)
		v = v << 8 | byte(in);
	return v;
}

/* A page of the guest's, sometimes an offset in it, sometimes not its memory at all. */
static u64 address(struct in *in)
{
	u8 kind = byte(in);
	u64 a = RAM_GPA + (u64)(byte(in) % RAM_PAGES) * 4096;

	if (kind < 160)
		return a;
	if (kind < 200)
		return a + (u64)(byte(in) << 4);
	if (kind < 220)
		return a + word(in, 2) % 4096;
	if (kind < 230)
		return RAM_GPA + RAM_PAGES * 4096 - 8 * byte(in);
	return word(in, 8);
}

static void access(struct fake_bar *f, u64 off, u32 bytes, bool write, u64 v)
{
	nvme_emul_mmio(f->emul, off, bytes, write, &v);
}

static void enable(struct fake_bar *f, struct in *in)
{
	u8 size = byte(in);

	access(f, NVME_CC, 4, true, 0);
	fake_bar_run(f);
	access(f, NVME_AQA, 4, true, (u32)(size % 64 + 1) << 16 | (size % 32 + 1));
	access(f, NVME_ASQ, 8, true, RAM_GPA);
	access(f, NVME_ACQ, 8, true, RAM_GPA + 4096);
	access(f, NVME_CC, 4, true, 0x00460001);
	memset(in->tail, 0, sizeof(in->tail));
	in->size[0] = size % 32 + 2;
}

static void entry(u8 *ram, u32 at, struct in *in)
{
	struct nvme_sqe s = { .cid = 7 };
	u8 op = byte(in);

	s.opcode = op < 255 ? op % 16 : NVME_ADM_DBBUF;
	s.flags = byte(in) < 250 ? 0 : byte(in);
	s.nsid = byte(in) < 240 ? 1 : (u32)word(in, 4);
	s.prp1 = address(in);
	s.prp2 = address(in);
	s.cdw10 = byte(in) < 128 ? byte(in) : (u32)word(in, 4);
	s.cdw11 = byte(in) < 128 ? byte(in) : (u32)word(in, 4);
	s.cdw12 = byte(in) < 200 ? (u32)byte(in) << 2 : (u32)word(in, 4);
	memcpy(ram + at, &s, sizeof(s));
}

/* The next entry of a queue, and its doorbell. */
static void send(struct fake_bar *f, u8 *ram, struct in *in)
{
	u32 qid = byte(in) % 4;

	if (!in->size[qid])
		return;
	entry(ram, (u32)queue_page(qid) * 4096 + in->tail[qid] * 64, in);
	in->tail[qid] = (in->tail[qid] + 1) % in->size[qid];
	nvme_emul_doorbell_store(f->emul, 0x1000 + 8 * qid, in->tail[qid]);
	if (byte(in) & 1)
		fake_bar_run(f);
}

/* Whatever completed has been seen. */
static void seen(struct fake_bar *f, u8 *ram, struct in *in)
{
	u32 qid = byte(in) % 4, head = byte(in) % 64;

	(void)ram;
	nvme_emul_doorbell_store(f->emul, 0x1004 + 8 * qid, head);
}

/* A queue pair by the book, most of the time. */
static void make_queues(struct fake_bar *f, u8 *ram, struct in *in)
{
	u32 qid = 1 + byte(in) % 3, size = byte(in) % 63 + 1, odd = byte(in), i;
	struct nvme_sqe e[2] = {
		{ .opcode = 5, .prp1 = RAM_GPA + queue_page(qid) * 4096 + 4096,
		  .cdw10 = size << 16 | qid, .cdw11 = 3 },
		{ .opcode = 1, .prp1 = RAM_GPA + queue_page(qid) * 4096,
		  .cdw10 = size << 16 | qid, .cdw11 = qid << 16 | 1 },
	};

	if (odd > 250)
		e[odd & 1].prp1 = address(in);
	else if (odd > 240)
		e[odd & 1].cdw11 = (u32)word(in, 4);
	for (i = 0; i < 2; i++) {
		memcpy(ram + in->tail[0] * 64, &e[i], 64);
		in->tail[0] = (in->tail[0] + 1) % in->size[0];
	}
	in->size[qid] = size + 1;
	in->tail[qid] = 0;
	nvme_emul_doorbell_store(f->emul, 0x1000, in->tail[0]);
	fake_bar_run(f);
}

static void list(u8 *ram, struct in *in)
{
	u64 *to = (u64 *)(ram + (u32)(byte(in) % RAM_PAGES) * 4096);
	u32 first = byte(in) * 2u, count = byte(in) / 2, i;

	for (i = first; i < 512 && i < first + count; i++)
		to[i] = byte(in) < 250 ? RAM_GPA + (u64)(i * 7 % RAM_PAGES) * 4096 : address(in);
}

static void step(struct fake_bar *f, u8 *ram, struct in *in)
{
	static const u32 sizes[] = { 1, 2, 4, 8 };
	u32 at;

	switch (byte(in) % 16) {
	case 0:
		enable(f, in);
		break;
	case 1:
		access(f, word(in, 2) % 0x2100, sizes[byte(in) % 4], true, word(in, 8));
		break;
	case 2:
		access(f, word(in, 2) % 0x2100, sizes[byte(in) % 4], false, 0);
		break;
	case 3:
		make_queues(f, ram, in);
		break;
	case 4:
	case 5:
		send(f, ram, in);
		break;
	case 6:
		if (byte(in) & 1)
			seen(f, ram, in);
		else
			entry(ram, (u32)(byte(in) % RAM_PAGES) * 4096 + (byte(in) % 64) * 64u, in);
		break;
	case 7:
	case 8:
		nvme_emul_doorbell_store(f->emul, 0x1000 + 4 * (byte(in) % 12), byte(in));
		break;
	case 9:
		nvme_emul_doorbell_store(f->emul, word(in, 2), (u32)word(in, 4));
		break;
	case 10:
		list(ram, in);
		break;
	case 11:
		at = (u32)word(in, 4) % (RAM_PAGES * 4096);
		ram[at] = byte(in);
		break;
	case 12:
		f->disk->hold = byte(in) & 1;
		break;
	case 13:
		f->disk->fail_count = byte(in) % 4;
		f->disk->fail_err = byte(in) & 1 ? -EIO : -ENOSPC;
		break;
	case 14:
		access(f, NVME_CC, 4, true, byte(in) & 1 ? 0x00464001 : 0x00460000);
		break;
	default:
		fake_bar_run(f);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const struct nvme_emul_cfg cfg = { .serial = "F", .vectors = 8, .vendor = 1 };
	static u8 disk_bytes[512 * 256];
	static u8 *ram;
	struct fake_disk disk;
	struct fake_bar bar;
	struct in in = { .p = data, .n = n };
	u32 i;

	plat_host_quiet = true;
	plat_host_now_ns = NS_PER_SEC;
	if (!ram)
		ram = aligned_alloc(4096, RAM_PAGES * 4096);
	memset(ram, 0, RAM_PAGES * 4096);
	fake_disk_init(&disk, 1, 512);
	free(disk.data);
	disk.data = disk_bytes;
	disk.blk.sectors = 256;
	fake_bar_init(&bar, &disk, &cfg);
	fake_bar_window(&bar, RAM_GPA, ram, RAM_PAGES * 4096);
	enable(&bar, &in);
	for (i = 0; i < STEPS && in.n; i++)
		step(&bar, ram, &in);

	/* Whatever happened: a reset brings it back, and all commands with it. */
	disk.hold = false;
	disk.fail_count = 0;
	access(&bar, NVME_CC, 4, true, 0);
	for (i = 0; i < 300; i++)
		fake_bar_run(&bar);
	assert(nvme_emul_inflight(bar.emul) == 0);
	enable(&bar, &in);
	memset(ram, 0, 3 * 4096);
	*(struct nvme_sqe *)ram = (struct nvme_sqe){ .opcode = NVME_ADM_IDENTIFY, .cdw10 = 1,
						    .prp1 = RAM_GPA + 0x2000 };
	nvme_emul_doorbell_store(bar.emul, 0x1000, 1);
	fake_bar_run(&bar);
	assert(ram[4096 + 14] == 1 && ram[4096 + 15] == 0);
	assert(ram[0x2000 + 77] == 7);
	fake_bar_fini(&bar);
	return 0;
}
