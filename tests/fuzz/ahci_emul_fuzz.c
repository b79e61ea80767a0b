/*
 * The AHCI front-end, a disk and an optical drive, against a hostile guest: the
 * input is a program of register accesses, notes of PxCI and PxSACT, writes to
 * guest memory (command list, tables, PRDs) and turns of the pump. Guest memory
 * lies at a guest-physical address that is not the host's, between forbidden
 * bytes; the disk below checks that every request is whole and within its limits.
 *
 * A step is an operation byte and its operands; what runs out reads as zero.
 * Half of the operations make sensible things, so that the rest hits an adapter
 * that runs.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/plat_host.h"
#include "storage/spec/ahci.h"
#include "storage/spec/ata.h"
#include "tests/fakes/fake_bar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define RAM_PAGES 64u
#define RAM_GPA 0x40000000ull
#define STEPS 400u
#define PORT 2u
#define DRIVE 0u
#define FRAMES 0x400u
/* Tables at pages 1.., four to a page. */
#define TABLE(tag) (0x1000u + (tag) * 0x400u)

static u32 port; /* that the steps are about */

struct in {
	const u8 *p;
	size_t n;
};

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

	if (kind < 170)
		return a;
	if (kind < 230)
		return a + word(in, 2) % 4096;
	if (kind < 240)
		return RAM_GPA + RAM_PAGES * 4096 - 8 * byte(in);
	return word(in, 8);
}

static void reg(struct fake_bar *f, u32 off, u32 v)
{
	ahci_emul_write(f->ahci, off, 4, v);
}

static void px(struct fake_bar *f, u32 off, u32 v)
{
	reg(f, AHCI_PORT(port) + off, v);
}

static void start(struct fake_bar *f)
{
	px(f, AHCI_PX_CMD, 0);
	px(f, AHCI_PX_CLB, (u32)RAM_GPA);
	px(f, AHCI_PX_CLBU, 0);
	px(f, AHCI_PX_FB, (u32)RAM_GPA + FRAMES);
	px(f, AHCI_PX_FBU, 0);
	px(f, AHCI_PX_SCTL, 0);
	px(f, AHCI_PX_CMD, AHCI_PX_CMD_FRE);
	px(f, AHCI_PX_SERR, ~0u);
	px(f, AHCI_PX_IS, ~0u);
	px(f, AHCI_PX_IE, ~0u);
	reg(f, AHCI_GHC, AHCI_GHC_IE);
	px(f, AHCI_PX_CMD, AHCI_PX_CMD_FRE | AHCI_PX_CMD_ST);
}

static void frame(struct fis_reg_h2d *f, u32 tag, struct in *in)
{
	static const u8 known[] = {
		ATA_IDENTIFY, ATA_READ_DMA, ATA_WRITE_DMA_EXT, ATA_READ_SECTORS_EXT,
		ATA_WRITE_MULTIPLE, ATA_SET_MULTIPLE, ATA_DSM, ATA_READ_LOG_EXT, ATA_SMART,
		ATA_SET_FEATURES, ATA_VERIFY_EXT, ATA_FLUSH_EXT, ATA_SLEEP, ATA_STANDBY_IMMEDIATE,
		ATA_READ_FPDMA, ATA_WRITE_FPDMA, ATA_READ_FPDMA, ATA_WRITE_FPDMA,
		ATA_PACKET, ATA_PACKET, ATA_IDENTIFY_PACKET,
	};
	u8 what = byte(in);

	memset(f, 0, sizeof(*f));
	f->type = FIS_REG_H2D;
	f->flags = what < 245 ? FIS_C : 0;
	f->control = what & ATA_CTL_SRST;
	f->command = what < 220 ? known[what % sizeof(known)] : byte(in);
	f->device = (u8)(ATA_DEV_LBA | (byte(in) & 0x80));
	f->lba[0] = byte(in);
	f->features = byte(in);
	f->count = byte(in);
	if (f->command == ATA_READ_FPDMA || f->command == ATA_WRITE_FPDMA) {
		f->features %= 32;
		if (what < 210)
			f->count = (u8)(tag << 3);
	}
	if (f->command == ATA_DSM)
		f->features = 1;
	if (f->command == ATA_SMART) {
		f->lba[1] = ATA_SMART_LBA_MID;
		f->lba[2] = ATA_SMART_LBA_HI;
	}
	if (what > 250)
		((u8 *)f)[byte(in) % sizeof(*f)] = byte(in);
}

/* A command in slot @tag, most of the time with room for its data. */
static void build(u8 *ram, u32 tag, struct in *in)
{
	struct ahci_cmd_header *h = (struct ahci_cmd_header *)ram + tag;
	struct ahci_cmd_table *t = (struct ahci_cmd_table *)(ram + TABLE(tag));
	u8 shape = byte(in);
	u32 n = shape % 8, i;

	frame((struct fis_reg_h2d *)t->cfis, tag, in);
	t->acmd[0] = shape & 2 ? 0x28 : 0x2a;
	t->acmd[5] = byte(in);
	t->acmd[8] = byte(in) % 8;
	for (i = 0; i < n; i++) {
		u64 a = address(in);

		t->prdt[i] = (struct ahci_prd){
			.dba = (u32)a, .dbau = (u32)(a >> 32),
			.dbc = shape & 0x80 ? byte(in) * 2u : shape & 0x40 ? 511 :
			       shape & 0x20 ? (u32)word(in, 4) : 4095,
		};
	}
	*h = (struct ahci_cmd_header){
		.flags = 5 | n << 16 | (byte(in) & 1 ? AHCI_CH_C : 0) |
			 (shape & 2 ? 0 : AHCI_CH_W) | (port == DRIVE ? AHCI_CH_A : 0),
		.ctba = (u32)RAM_GPA + TABLE(tag),
	};
	if (shape == 0x1f)
		h->flags = (u32)word(in, 4);
	if (shape == 0x1e)
		h->ctba = (u32)word(in, 4);
}

static void send(struct fake_bar *f, u8 *ram, struct in *in)
{
	u32 tag = byte(in) % 32;

	build(ram, tag, in);
	if (byte(in) & 1)
		ahci_emul_doorbell_store(f->ahci, AHCI_PORT(port) + AHCI_PX_SACT, 4, BIT(tag));
	ahci_emul_doorbell_store(f->ahci, AHCI_PORT(port) + AHCI_PX_CI, 4, BIT(tag));
	if (byte(in) & 1)
		fake_bar_run(f);
}

static void step(struct fake_bar *f, u8 *ram, struct in *in)
{
	static const u32 sizes[] = { 1, 2, 4, 8 };
	u64 v;
	u32 at;

	switch (byte(in) % 17) {
	case 0:
		start(f);
		break;
	case 1:
		v = word(in, 4);
		at = (u32)word(in, 2) % 0x1100;
		ahci_emul_write(f->ahci, at, sizes[byte(in) % 4], v);
		break;
	case 2:
		at = (u32)word(in, 2) % 0x1100;
		ahci_emul_read(f->ahci, at, sizes[byte(in) % 4]);
		break;
	case 3:
		px(f, (byte(in) % 24) * 4u, (u32)word(in, 4));
		break;
	case 4:
	case 5:
	case 6:
	case 7:
		send(f, ram, in);
		break;
	case 8:
		px(f, AHCI_PX_SCTL, byte(in) % 8);
		break;
	case 9:
		ahci_emul_doorbell_store(f->ahci, word(in, 2), 4, (u32)word(in, 4));
		break;
	case 10:
		px(f, AHCI_PX_CMD, byte(in));
		break;
	case 11:
		at = (u32)word(in, 3) % (RAM_PAGES * 4096);
		ram[at] = byte(in);
		break;
	case 12:
		f->drive->hold = byte(in) & 1;
		f->drive->empty = byte(in) & 1;
		f->disk->hold = byte(in) & 1;
		break;
	case 13:
		f->disk->fail_count = byte(in) % 4;
		f->disk->fail_err = byte(in) & 1 ? -EIO : -ENOSPC;
		break;
	case 14:
		ahci_emul_doorbell_store(f->ahci, AHCI_PORT(port) + AHCI_PX_CI, 4,
					 (u32)word(in, 4));
		break;
	case 15:
		port = byte(in) & 1 ? DRIVE : PORT;
		start(f);
		break;
	default:
		fake_bar_run(f);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct fake_drive drive;
	const struct ahci_emul_cfg cfg = {
		.serial = "F", .ports = 0xf, .port = PORT, .drives = { { &drive.dev, DRIVE } },
	};
	static u8 disk_bytes[512 * 256];
	static u8 *ram;
	struct ahci_cmd_table *t;
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
	disk.blk.max_segs = byte(&in) & 1 ? 5 : 257;
	fake_drive_init(&drive, 16);
	fake_bar_init_ahci(&bar, &disk, &cfg);
	bar.drive = &drive;
	port = PORT;
	fake_bar_window(&bar, RAM_GPA, ram, RAM_PAGES * 4096);
	start(&bar);
	for (i = 0; i < STEPS && in.n; i++)
		step(&bar, ram, &in);

	/* Whatever happened: a reset brings it back, and all commands with it. */
	disk.hold = drive.hold = false;
	disk.fail_count = 0;
	port = PORT;
	reg(&bar, AHCI_GHC, AHCI_GHC_HR);
	for (i = 0; i < 300; i++)
		fake_bar_run(&bar);
	assert(ahci_emul_inflight(bar.ahci) == 0);
	start(&bar);
	t = (struct ahci_cmd_table *)(ram + TABLE(0));
	memset(t->cfis, 0, sizeof(t->cfis));
	t->cfis[0] = FIS_REG_H2D;
	t->cfis[1] = FIS_C;
	t->cfis[2] = ATA_IDENTIFY;
	t->prdt[0] = (struct ahci_prd){ .dba = (u32)RAM_GPA + 0x20000, .dbc = 511 };
	*(struct ahci_cmd_header *)ram = (struct ahci_cmd_header){
		.flags = 5 | 1 << 16, .ctba = (u32)RAM_GPA + TABLE(0),
	};
	ahci_emul_doorbell_store(bar.ahci, AHCI_PORT(PORT) + AHCI_PX_CI, 4, 1);
	fake_bar_run(&bar);
	assert(ram[0x20000 + 2 * ATA_ID_SECTORS28 + 1] == 1); /* 256 sectors */
	fake_bar_fini(&bar);
	fake_drive_fini(&drive);
	return 0;
}
