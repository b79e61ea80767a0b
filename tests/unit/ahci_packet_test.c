/*
 * Optical drives: the driver against the model of a controller, the front-end
 * as a guest drives it, and both together through a fake BAR.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/plat_host.h"
#include "storage/drivers/ahci.h"
#include "storage/spec/ahci.h"
#include "storage/spec/ata.h"
#include "tests/fakes/fake_bar.h"
#include "tests/fakes/hba_model.h"

#define BLOCKS 512u
#define BLOCK 2048u
#define BUF_BYTES (2u << 20)

struct cmd {
	struct packet_req r;
	struct blk_seg segs[300];
	int err;
	u32 done;
};

static void cmd_done(struct packet_req *r, int err)
{
	struct cmd *c = r->owner;

	c->err = err;
	c->done++;
}

/* READ(10) by default; the data go to @buf in pieces of @piece, @gap apart. */
static struct cmd *cmd_new(u8 op, u32 lba, u32 blocks, u8 *buf, u32 room, u32 piece, u32 gap)
{
	struct cmd *c = calloc(1, sizeof(*c));

	c->r = (struct packet_req){
		.cdb = { op, 0, (u8)(lba >> 24), (u8)(lba >> 16), (u8)(lba >> 8), (u8)lba, 0,
			 (u8)(blocks >> 8), (u8)blocks },
		.features = ATAPI_DMA, .limit = 0x8000, .to_device = op == 0x2a,
		.segs = c->segs, .done = cmd_done, .owner = c,
	};
	for (u32 at = 0; at < room; at += piece)
		c->segs[c->r.nsegs++] = (struct blk_seg){
			HPA((uintptr_t)buf + at / piece * (piece + gap)), MIN(piece, room - at),
		};
	return c;
}

static void drv_free(struct ahci_drv *d)
{
	for (u32 n = ahci_drv_disks(d); n--;)
		free(ahci_drv_blk(d, n)); /* it is the first of what it stands in */
	for (u32 n = ahci_drv_packets(d); n--;)
		free(ahci_drv_packet(d, n));
	free(d);
}

/* ---------------------------------------------------------------- driver and model */

struct rig {
	struct hba_model m;
	struct hba_disk *k;
	struct ahci_drv *drv;
	struct packet_dev *dev;
	u8 *buf;
};

static void rig_init(struct rig *g)
{
	memset(g, 0, sizeof(*g));
	hba_model_init(&g->m);
	g->k = hba_model_drive(&g->m, 1, BLOCKS);
	for (u32 i = 0; i < BLOCKS * BLOCK; i++)
		g->k->data[i] = (u8)(i * 7 + i / BLOCK);
	hba_model_disk(&g->m, 2, 1024, 512);
	g->buf = aligned_alloc(4096, BUF_BYTES);
	memset(g->buf, 0xee, BUF_BYTES);
	assert_int_equal(ahci_drv_create(&g->m.bus, NULL, &g->drv), 0);
	assert_int_equal(ahci_drv_disks(g->drv), 1);
	assert_int_equal(ahci_drv_port(g->drv, 0), 2);
	assert_int_equal(ahci_drv_packets(g->drv), 1);
	g->dev = ahci_drv_packet(g->drv, 0);
}

static void rig_fini(struct rig *g)
{
	assert_int_equal(g->m.broken, 0);
	drv_free(g->drv);
	hba_model_fini(&g->m);
	free(g->buf);
}

static void turn(struct rig *g)
{
	u64 due = ahci_drv_deadline_ns(g->drv);

	hba_model_run(&g->m);
	if (!ahci_drv_work(g->drv) && due > plat_host_now_ns)
		plat_host_now_ns = MIN(due, plat_host_now_ns + 10 * NS_PER_MS);
	blk_poll(ahci_drv_blk(g->drv, 0));
}

/* Return: the error register, or what done() said. */
static int send(struct rig *g, struct cmd *c)
{
	packet_submit(g->dev, &c->r);
	assert_int_equal(c->done, 0);
	for (u32 i = 0; i < 200000 && !c->done; i++)
		turn(g);
	assert_int_equal(c->done, 1);
	return c->err ? c->err : c->r.error;
}

static void end(struct cmd *c)
{
	free(c);
}

/* Until the drive has come back from what it was reset for. */
static void settle(struct rig *g)
{
	for (u32 i = 0; i < 1000 && ahci_drv_deadline_ns(g->drv); i++)
		turn(g);
}

static int ready(struct rig *g)
{
	struct cmd *c = cmd_new(0, 0, 0, NULL, 0, 1, 0);
	int got = send(g, c);

	end(c);
	return got;
}

static void reads(void **state)
{
	struct rig g;
	struct cmd *c;

	(void)state;
	rig_init(&g);
	assert_int_equal(g.dev->id[ATA_ID_CONFIG], 0x8580);
	c = cmd_new(0x28, 7, 5, g.buf, 5 * BLOCK, 5 * BLOCK, 0);
	assert_int_equal(send(&g, c), 0);
	assert_int_equal(c->r.moved, 5 * BLOCK);
	assert_memory_equal(g.buf, g.k->data + 7 * BLOCK, 5 * BLOCK);
	assert_int_equal(g.buf[5 * BLOCK], 0xee);
	assert_int_equal(g.k->packet_features, ATAPI_DMA);
	assert_int_equal(g.k->packet_limit, 0x8000);
	end(c);
	/* in pieces; the room is longer than the data */
	c = cmd_new(0x28, 9, 3, g.buf, 9 * BLOCK, 1000, 1000);
	assert_int_equal(send(&g, c), 0);
	assert_int_equal(c->r.moved, 3 * BLOCK);
	for (u32 i = 0; i < 6; i++)
		assert_memory_equal(g.buf + 2000 * i, g.k->data + 9 * BLOCK + 1000 * i, 1000);
	end(c);
	c = cmd_new(0x2a, 3, 1, g.buf, BLOCK, BLOCK, 0);
	assert_int_equal(send(&g, c), 0);
	assert_memory_equal(g.buf, g.k->data + 3 * BLOCK, BLOCK);
	end(c);
	/* more pieces than a table has */
	c = cmd_new(0x28, 9, 1, g.buf, 299 * 2, 2, 2);
	assert_int_equal(send(&g, c), -EINVAL);
	end(c);
	assert_int_equal(ahci_drv_stats(g.drv)->packets, 3);
	assert_int_equal(g.k->packets, 3);
	rig_fini(&g);
}

/* What the drive refuses is passed on, costs no reset, and is not tried again. */
static void refused(void **state)
{
	struct rig g;
	struct cmd *c;

	(void)state;
	rig_init(&g);
	g.k->empty = true;
	for (u32 i = 0; i < 10; i++)
		assert_int_equal(ready(&g), 0x24);
	assert_int_equal(g.k->packets, 10);
	assert_int_equal(g.k->comresets, 1);
	g.k->empty = false;
	c = cmd_new(0x28, BLOCKS, 1, g.buf, BLOCK, BLOCK, 0);
	assert_int_equal(send(&g, c), 0x54);
	assert_int_equal(c->r.moved, 0);
	end(c);
	/* busy after an error: reset, and the answer stands */
	g.k->sticks = true;
	g.k->empty = true;
	assert_int_equal(ready(&g), 0x24);
	assert_int_equal(g.k->comresets, 2);
	g.k->empty = g.k->sticks = false;
	assert_int_equal(ready(&g), 0);
	rig_fini(&g);
}

/* No answer, trouble on the wire, too little room: -EIO after a reset, as often as one likes. */
static void lost(void **state)
{
	struct rig g;
	struct cmd *c;
	u64 from;

	(void)state;
	rig_init(&g);
	for (u32 i = 0; i < 8; i++) {
		if (i < 4)
			g.k->wire_errors = 1;
		c = cmd_new(0x28, 1, 2, g.buf, i < 4 ? 2 * BLOCK : BLOCK, BLOCK, 0);
		assert_int_equal(send(&g, c), -EIO);
		end(c);
		settle(&g);
		assert_int_equal(g.k->comresets, 2 + i);
		if (i & 1)
			assert_int_equal(ready(&g), 0);
	}
	g.k->deaf = 1;
	from = plat_host_now_ns;
	assert_int_equal(ready(&g), -EIO);
	assert_true(plat_host_now_ns - from >= 600 * NS_PER_SEC);
	settle(&g);
	assert_int_equal(ready(&g), 0);
	/* another drive at the other end: no more of it */
	g.k->other = true;
	g.k->wire_errors = 1;
	assert_int_equal(ready(&g), -EIO);
	assert_int_equal(ready(&g), -EIO);
	assert_int_equal(g.k->deaf, 0);
	assert_false(ahci_drv_dead(g.drv, 0)); /* the disk's neighbour has died */
	rig_fini(&g);
}

static void given_up(void **state)
{
	struct rig g;
	struct cmd *c, *d;

	(void)state;
	rig_init(&g);
	packet_reset(g.dev); /* nothing is out */
	assert_int_equal(g.k->comresets, 1);
	g.k->hold = true;
	c = cmd_new(0x28, 1, 2, g.buf, 2 * BLOCK, 2 * BLOCK, 0);
	d = cmd_new(0x28, 1, 2, g.buf, 2 * BLOCK, 2 * BLOCK, 0);
	packet_submit(g.dev, &c->r);
	packet_submit(g.dev, &d->r);
	turn(&g);
	packet_reset(g.dev);
	packet_reset(g.dev);
	assert_int_equal(c->done + d->done, 0);
	g.k->hold = false;
	for (u32 i = 0; i < 1000 && (!c->done || ahci_drv_deadline_ns(g.drv)); i++)
		turn(&g);
	assert_int_equal(c->done, 1);
	assert_int_equal(c->err, -EIO);
	assert_int_equal(d->done, 1);
	assert_int_equal(d->err, -EIO);
	assert_int_equal(g.k->packets, 0);
	assert_int_equal(ready(&g), 0);
	end(c);
	end(d);
	rig_fini(&g);
}

/* Damaged words are asked for again; what is no drive, or alone, is not ours. */
static void identities(void **state)
{
	struct ahci_drv *drv;
	struct hba_model m;

	(void)state;
	for (u32 i = 0; i < 4; i++) {
		struct hba_disk *k;

		hba_model_init(&m);
		k = hba_model_drive(&m, 1, BLOCKS);
		if (i < 3)
			hba_model_disk(&m, 2, 1024, 512);
		if (i == 0)
			k->damage_identify = 2;
		if (i == 1)
			k->id[ATA_ID_CONFIG] = 0x8582;
		if (i == 2)
			k->damage_identify = 100;
		hba_model_seal(k);
		if (i == 3) {
			assert_int_equal(ahci_drv_create(&m.bus, NULL, &drv), -ENODEV);
		} else {
			assert_int_equal(ahci_drv_create(&m.bus, NULL, &drv), 0);
			assert_int_equal(ahci_drv_disks(drv), 1);
			assert_int_equal(ahci_drv_packets(drv), i == 0);
			drv_free(drv);
		}
		if (i)
			assert_int_equal(k->reg[AHCI_PX_CMD / 4] &
					 (AHCI_PX_CMD_FRE | AHCI_PX_CMD_ST | AHCI_PX_CMD_CR), 0);
		assert_int_equal(m.broken, 0);
		hba_model_fini(&m);
	}
}

/* ---------------------------------------------------------------- a guest by hand */

#define RAM_GPA 0x40000000ull
#define RAM_BYTES (1u << 20)
#define FRAMES 0x400u
#define TABLE 0x1000u
#define DATA 0x10000u
#define PORT 3u
#define TAG 9u

struct guest {
	struct fake_disk disk;
	struct fake_drive drive;
	struct fake_bar bar;
	u8 *ram;
};

static void wpx(struct guest *g, u32 reg, u32 v)
{
	ahci_emul_write(g->bar.ahci, AHCI_PORT(PORT) + reg, 4, v);
}

static u32 px(struct guest *g, u32 reg)
{
	return (u32)ahci_emul_read(g->bar.ahci, AHCI_PORT(PORT) + reg, 4);
}

static void bar_with_drive(struct fake_bar *bar, struct fake_disk *disk, struct fake_drive *drive)
{
	const struct ahci_emul_cfg cfg = {
		.serial = "S", .port = 0, .drives = { { &drive->dev, PORT } },
	};

	plat_host_quiet = true;
	plat_host_now_ns = NS_PER_SEC;
	fake_disk_init(disk, 1024, 512);
	fake_drive_init(drive, BLOCKS);
	fake_bar_init_ahci(bar, disk, &cfg);
	bar->drive = drive;
}

static void list_on(struct guest *g)
{
	wpx(g, AHCI_PX_SERR, ~0u);
	wpx(g, AHCI_PX_IS, ~0u);
	wpx(g, AHCI_PX_CMD, AHCI_PX_CMD_FRE | AHCI_PX_CMD_ST);
}

static void guest_on(struct guest *g)
{
	memset(g, 0, sizeof(*g));
	bar_with_drive(&g->bar, &g->disk, &g->drive);
	g->ram = aligned_alloc(4096, RAM_BYTES);
	memset(g->ram, 0, RAM_BYTES);
	fake_bar_window(&g->bar, RAM_GPA, g->ram, RAM_BYTES);
	assert_int_equal(ahci_emul_read(g->bar.ahci, AHCI_PI, 4), BIT(PORT) | 1);
	wpx(g, AHCI_PX_CLB, (u32)RAM_GPA);
	wpx(g, AHCI_PX_FB, (u32)RAM_GPA + FRAMES);
	wpx(g, AHCI_PX_CMD, AHCI_PX_CMD_FRE);
	assert_int_equal(px(g, AHCI_PX_SIG), AHCI_SIG_ATAPI);
	assert_int_equal(px(g, AHCI_PX_TFD), ATA_ERR_DIAG_OK << 8);
	list_on(g);
}

static void guest_end(struct guest *g)
{
	g->drive.hold = false;
	fake_bar_run(&g->bar);
	assert_int_equal(ahci_emul_inflight(g->bar.ahci), 0);
	fake_bar_fini(&g->bar);
	fake_drive_fini(&g->drive);
	fake_disk_fini(&g->disk);
	free(g->ram);
	plat_host_now_ns = 0;
}

static struct ahci_cmd_header *header(struct guest *g)
{
	return (struct ahci_cmd_header *)g->ram + TAG;
}

/* A command with @prds pieces of @bytes at DATA, and READ(10) of two blocks as its packet. */
static void issue(struct guest *g, u8 command, u32 flags, u32 prds, u32 bytes)
{
	struct ahci_cmd_table *t = (struct ahci_cmd_table *)(g->ram + TABLE);
	struct fis_reg_h2d f = { .type = FIS_REG_H2D, .flags = FIS_C, .command = command,
				 .features = command == ATA_SET_FEATURES ? ATA_SF_XFER_MODE : 1,
				 .lba = { 0, 0x34, 0x12 }, .count = 0x42 };
	static const u8 cdb[] = { 0x28, 0, 0, 0, 0, 11, 0, 0, 2 };

	memcpy(t->cfis, &f, sizeof(f));
	memcpy(t->acmd, cdb, sizeof(cdb));
	for (u32 i = 0; i < prds; i++)
		t->prdt[i] = (struct ahci_prd){ .dba = (u32)RAM_GPA + DATA + i * 2 * bytes,
						.dbc = bytes - 1 };
	*header(g) = (struct ahci_cmd_header){ .flags = 5 | flags | prds << 16,
					       .ctba = (u32)RAM_GPA + TABLE };
	ahci_emul_doorbell_store(g->bar.ahci, AHCI_PORT(PORT) + AHCI_PX_CI, 4, BIT(TAG));
	fake_bar_run(&g->bar);
}

static const struct fis_reg_d2h *answer(struct guest *g)
{
	return &((const struct ahci_rx_fis *)(g->ram + FRAMES))->rfis;
}

static void packets_pass(void **state)
{
	struct guest g;

	(void)state;
	guest_on(&g);
	issue(&g, ATA_PACKET, AHCI_CH_A, 8, 600);
	assert_int_equal(px(&g, AHCI_PX_CI), 0);
	assert_int_equal(px(&g, AHCI_PX_TFD), ATA_STS_DRDY | ATA_STS_DSC);
	assert_int_equal(px(&g, AHCI_PX_IS), AHCI_PX_IS_DHRS);
	assert_int_equal(answer(&g)->count, ATAPI_REASON_STATUS);
	assert_int_equal(header(&g)->prdbc, 4096);
	assert_int_equal(g.drive.last.features, 1);
	assert_int_equal(g.drive.last.limit, 0x1234);
	for (u32 i = 0; i < 6; i++)
		assert_memory_equal(g.ram + DATA + 1200 * i,
				    g.drive.data + 11 * BLOCK + 600 * i, 600);
	/* refused by the drive: its own word, and the list stands until it is started again */
	g.drive.empty = true;
	issue(&g, ATA_PACKET, AHCI_CH_A, 1, 4096);
	assert_int_equal(px(&g, AHCI_PX_TFD), 0x2400 | ATA_STS_DRDY | ATA_STS_DSC | ATA_STS_ERR);
	assert_int_equal(answer(&g)->error, 0x24);
	assert_int_equal(px(&g, AHCI_PX_CI), BIT(TAG));
	wpx(&g, AHCI_PX_CMD, AHCI_PX_CMD_FRE);
	list_on(&g);
	g.drive.empty = false;
	/* memory that is not the guest's */
	issue(&g, ATA_PACKET, AHCI_CH_A, 1, 2u << 20);
	assert_true(px(&g, AHCI_PX_IS) & AHCI_PX_IS_HBFS);
	assert_int_equal(g.drive.packets, 2);
	/* more pieces than the drive's controller takes */
	wpx(&g, AHCI_PX_CMD, AHCI_PX_CMD_FRE);
	wpx(&g, AHCI_PX_SCTL, 1);
	wpx(&g, AHCI_PX_SCTL, 0);
	list_on(&g);
	issue(&g, ATA_PACKET, AHCI_CH_A, 201, 16);
	assert_true(px(&g, AHCI_PX_IS) & AHCI_PX_IS_HBFS);
	assert_true(ahci_emul_stats(g.bar.ahci)->packets == 2);
	guest_end(&g);
}

/* All 256 commands: what a drive has. [ACS-3 §4.3] */
static void every_command(void **state)
{
	static const u8 good[] = {
		ATA_DEVICE_RESET, ATA_DIAGNOSTIC, ATA_PACKET, ATA_IDENTIFY_PACKET,
		ATA_STANDBY_IMMEDIATE, ATA_IDLE_IMMEDIATE, ATA_STANDBY, ATA_IDLE, ATA_CHECK_POWER,
		ATA_SLEEP, ATA_SET_FEATURES,
	};

	(void)state;
	for (u32 code = 0; code < 256; code++) {
		bool known = memchr(good, (int)code, sizeof(good)), sig;
		struct guest g;
		u32 tfd, lba;

		guest_on(&g);
		issue(&g, (u8)code, AHCI_CH_A, 1, 4096);
		tfd = px(&g, AHCI_PX_TFD);
		assert_int_equal(!(tfd & ATA_STS_ERR), known);
		if (!known)
			assert_int_equal(tfd >> 8, ATA_ERR_ABRT);
		sig = code == ATA_IDENTIFY || code == ATA_READ_SECTORS || code == ATA_DIAGNOSTIC ||
		      code == ATA_DEVICE_RESET;
		lba = answer(&g)->lba[1] | (u32)answer(&g)->lba[2] << 8;
		if (code != ATA_IDENTIFY_PACKET) /* it ends with its data, not with such a frame */
			assert_int_equal(lba, sig ? 0xeb14 : 0);
		assert_int_equal(g.drive.packets, code == ATA_PACKET);
		guest_end(&g);
	}
}

static void identify(void **state)
{
	struct guest g;
	const u16 *w;

	(void)state;
	guest_on(&g);
	issue(&g, ATA_IDENTIFY_PACKET, 0, 1, 512);
	w = (const u16 *)(g.ram + DATA);
	assert_int_equal(w[ATA_ID_CONFIG], 0x8580);
	assert_memory_equal(&w[ATA_ID_MODEL], &g.drive.dev.id[ATA_ID_MODEL], 40);
	assert_int_equal(w[ATA_ID_SATA_FEATURES], BIT(3));
	assert_int_equal(px(&g, AHCI_PX_IS), AHCI_PX_IS_PSS);
	guest_end(&g);
}

/* No packet behind the command, asleep, given up: only a reset helps, and it does. */
static void resets(void **state)
{
	struct guest g;

	(void)state;
	guest_on(&g);
	for (u32 how = 0; how < 3; how++) {
		g.drive.hold = how == 2;
		if (how == 1)
			issue(&g, ATA_SLEEP, 0, 0, 2);
		issue(&g, ATA_PACKET, how ? AHCI_CH_A : 0, 1, 4096);
		assert_int_equal(px(&g, AHCI_PX_CI), BIT(TAG));
		assert_true(px(&g, AHCI_PX_TFD) & ATA_STS_BSY);
		assert_int_equal(g.drive.packets, how == 2);
		wpx(&g, AHCI_PX_CMD, AHCI_PX_CMD_FRE);
		wpx(&g, AHCI_PX_SCTL, 1);
		wpx(&g, AHCI_PX_SCTL, 0);
		assert_int_equal(g.drive.resets, how == 2);
		fake_bar_run(&g.bar); /* what was below comes back */
		assert_false(px(&g, AHCI_PX_CMD) & AHCI_PX_CMD_CR);
		assert_int_equal(px(&g, AHCI_PX_SIG), AHCI_SIG_ATAPI);
		list_on(&g);
	}
	g.drive.hold = false;
	issue(&g, ATA_PACKET, AHCI_CH_A, 1, 4096);
	assert_int_equal(px(&g, AHCI_PX_CI), 0);
	assert_memory_equal(g.ram + DATA, g.drive.data + 11 * BLOCK, 4096);
	guest_end(&g);
}

static void configurations(void **state)
{
	struct ahci_emul_cfg cfg = { .port = 1 };
	struct fake_drive drive;
	struct fake_disk disk;
	struct emul_host host = { 0 };

	(void)state;
	fake_disk_init(&disk, 1024, 512);
	fake_drive_init(&drive, 4);
	cfg.drives[1].dev = &drive.dev;
	cfg.drives[1].port = 1; /* the disk's */
	assert_null(ahci_emul_create(&host, &disk.blk, &cfg));
	cfg.drives[1].port = 32;
	assert_null(ahci_emul_create(&host, &disk.blk, &cfg));
	cfg.drives[1].port = 2;
	drive.dev.max_segs = 2;
	assert_null(ahci_emul_create(&host, &disk.blk, &cfg));
	fake_drive_fini(&drive);
	fake_disk_fini(&disk);
}

/* ---------------------------------------------------------------- driver meets front-end */

static void meet(void **state)
{
	u8 *buf = aligned_alloc(4096, BUF_BYTES);
	struct fake_drive drive;
	struct packet_dev *dev;
	struct fake_disk disk;
	struct ahci_drv *drv;
	struct fake_bar bar;

	(void)state;
	memset(&bar, 0, sizeof(bar));
	bar_with_drive(&bar, &disk, &drive);
	fake_bar_identity(&bar, buf, BUF_BYTES);
	assert_int_equal(ahci_drv_create(&bar.bus, NULL, &drv), 0);
	assert_int_equal(ahci_drv_packets(drv), 1);
	dev = ahci_drv_packet(drv, 0);
	assert_int_equal(dev->id[ATA_ID_CONFIG], 0x8580);
	for (u32 i = 0; i < 60; i++) {
		u32 n = 1 + i * 5 % 37, lba = i * 8;
		struct cmd *c = cmd_new(i % 5 ? 0x28 : 0x2a, lba, n, buf, n * BLOCK,
					i & 1 ? n * BLOCK : 1u << (9 + i % 4), i & 2 ? 64 : 0);

		drive.empty = i % 7 == 3;
		packet_submit(dev, &c->r);
		for (u32 k = 0; k < 2000 && !c->done; k++) {
			fake_bar_run(&bar);
			plat_host_now_ns += NS_PER_MS;
			blk_poll(ahci_drv_blk(drv, 0));
		}
		assert_int_equal(c->done, 1);
		assert_int_equal(c->err, 0);
		assert_int_equal(c->r.error, drive.empty ? 0x24 : lba + n > BLOCKS ? 0x54 : 0);
		assert_int_equal(c->r.moved, c->r.error ? 0u : n * BLOCK);
		if (!c->r.error)
			assert_memory_equal(plat_phys_to_virt(c->segs[0].pa),
					    drive.data + lba * BLOCK, c->segs[0].bytes);
		end(c);
	}
	assert_int_equal(ahci_drv_stats(drv)->resets, 0);
	ahci_drv_shutdown(drv);
	drv_free(drv);
	fake_bar_fini(&bar);
	fake_drive_fini(&drive);
	fake_disk_fini(&disk);
	free(buf);
	plat_host_now_ns = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads),
		cmocka_unit_test(refused),
		cmocka_unit_test(lost),
		cmocka_unit_test(given_up),
		cmocka_unit_test(identities),
		cmocka_unit_test(packets_pass),
		cmocka_unit_test(every_command),
		cmocka_unit_test(identify),
		cmocka_unit_test(resets),
		cmocka_unit_test(configurations),
		cmocka_unit_test(meet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
