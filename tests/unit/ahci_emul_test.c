/*
 * The AHCI front-end as a guest drives it: registers, every command of the
 * disk, frames and interrupts, errors queued and not, resets with requests in
 * flight, hostile lists and tables.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/plat_host.h"
#include "storage/spec/ahci.h"
#include "storage/spec/ata.h"
#include "tests/fakes/fake_bar.h"

#define SECTORS 8192u
#define RAM_BYTES (8u << 20)
#define RAM_GPA 0x100000ull
#define BAD_GPA 0xdead0000000ull
/* where things lie in guest memory */
#define CLIST 0x0000u
#define FRAMES 0x0400u
#define TABLES 0x10000u
#define TABLE_BYTES 0x8000u
#define DATA 0x200000u
#define PORT 1u

struct guest {
	struct fake_disk disk;
	struct fake_bar bar;
	u8 *ram;
};

static u32 rd(struct guest *g, u32 off)
{
	return (u32)ahci_emul_read(g->bar.ahci, off, 4);
}

static void wr(struct guest *g, u32 off, u32 value)
{
	ahci_emul_write(g->bar.ahci, off, 4, value);
}

static u32 px(struct guest *g, u32 reg)
{
	return rd(g, AHCI_PORT(PORT) + reg);
}

static void wpx(struct guest *g, u32 reg, u32 v)
{
	wr(g, AHCI_PORT(PORT) + reg, v);
}

/* Long commands are many requests, and each is a turn. */
static void run(struct guest *g)
{
	for (u32 i = 0; i < 40; i++)
		fake_bar_run(&g->bar);
}

static const struct ahci_emul_cfg config = {
	.serial = "S1", .model = "M1", .ports = 0x2f, .port = PORT,
};

static void guest_off(struct guest *g, u32 sector_bytes)
{
	memset(g, 0, sizeof(*g));
	plat_host_quiet = true;
	plat_host_now_ns = NS_PER_SEC;
	fake_disk_init(&g->disk, SECTORS, sector_bytes);
	fake_bar_init_ahci(&g->bar, &g->disk, &config);
	g->ram = aligned_alloc(4096, RAM_BYTES);
	memset(g->ram, 0, RAM_BYTES);
	fake_bar_window(&g->bar, RAM_GPA, g->ram, RAM_BYTES);
}

static void start(struct guest *g)
{
	wpx(g, AHCI_PX_CLB, (u32)RAM_GPA + CLIST);
	wpx(g, AHCI_PX_CLBU, 0);
	wpx(g, AHCI_PX_FB, (u32)RAM_GPA + FRAMES);
	wpx(g, AHCI_PX_FBU, 0);
	wpx(g, AHCI_PX_CMD, AHCI_PX_CMD_FRE);
	wpx(g, AHCI_PX_SERR, ~0u);
	wpx(g, AHCI_PX_IS, ~0u);
	wpx(g, AHCI_PX_IE, AHCI_PX_IS_ALL);
	wr(g, AHCI_IS, ~0u);
	wr(g, AHCI_GHC, AHCI_GHC_AE | AHCI_GHC_IE);
	wpx(g, AHCI_PX_CMD, AHCI_PX_CMD_FRE | AHCI_PX_CMD_ST);
}

static void guest_on(struct guest *g)
{
	guest_off(g, 512);
	start(g);
}

static void guest_end(struct guest *g)
{
	g->disk.hold = false;
	run(g);
	assert_int_equal(ahci_emul_inflight(g->bar.ahci), 0);
	fake_bar_fini(&g->bar);
	fake_disk_fini(&g->disk);
	free(g->ram);
	plat_host_now_ns = 0;
}

static struct ahci_cmd_header *header(struct guest *g, u32 tag)
{
	return (struct ahci_cmd_header *)(g->ram + CLIST) + tag;
}

static struct ahci_cmd_table *table(struct guest *g, u32 tag)
{
	return (struct ahci_cmd_table *)(g->ram + TABLES + tag * TABLE_BYTES);
}

static const struct ahci_rx_fis *rx(struct guest *g)
{
	return (const struct ahci_rx_fis *)(g->ram + FRAMES);
}

static struct fis_reg_h2d h2d(u8 command, u64 lba, u32 count)
{
	return (struct fis_reg_h2d){
		.type = FIS_REG_H2D, .flags = FIS_C, .command = command, .device = ATA_DEV_LBA,
		.lba = { (u8)lba, (u8)(lba >> 8), (u8)(lba >> 16) },
		.lba_exp = { (u8)(lba >> 24), (u8)(lba >> 32), (u8)(lba >> 40) },
		.count = (u8)count, .count_exp = (u8)(count >> 8),
	};
}

static struct fis_reg_h2d fpdma(u8 command, u64 lba, u32 count, u32 tag)
{
	struct fis_reg_h2d f = h2d(command, lba, tag << 3);

	f.features = (u8)count;
	f.features_exp = (u8)(count >> 8);
	return f;
}

/* One PRD for @bytes at @gpa, or none for 0. */
static void prepare(struct guest *g, u32 tag, struct fis_reg_h2d f, u64 gpa, u32 bytes)
{
	struct ahci_cmd_table *t = table(g, tag);
	u64 at = RAM_GPA + TABLES + tag * TABLE_BYTES;

	*header(g, tag) = (struct ahci_cmd_header){
		.flags = 5 | (bytes ? 1u << 16 : 0), .ctba = (u32)at, .prdbc = 0x55,
	};
	memcpy(t->cfis, &f, sizeof(f));
	t->prdt[0] = (struct ahci_prd){ .dba = (u32)gpa, .dbau = (u32)(gpa >> 32),
					.dbc = bytes - 1 };
}

static void prd(struct guest *g, u32 tag, u32 i, u64 gpa, u32 bytes)
{
	table(g, tag)->prdt[i] = (struct ahci_prd){ .dba = (u32)gpa, .dbau = (u32)(gpa >> 32),
						    .dbc = bytes - 1 };
	header(g, tag)->flags = (header(g, tag)->flags & 0xffff) | (i + 1) << 16;
}

static void issue(struct guest *g, u32 tags, bool queued)
{
	if (queued)
		assert_int_equal(ahci_emul_doorbell_store(g->bar.ahci, AHCI_PORT(PORT) +
							  AHCI_PX_SACT, 4, tags), AHCI_EMUL_NOTED);
	assert_int_equal(ahci_emul_doorbell_store(g->bar.ahci, AHCI_PORT(PORT) + AHCI_PX_CI, 4,
						  tags), AHCI_EMUL_RANG);
	run(g);
}

/* Take what is in PxIS, as an interrupt handler does. */
static u32 ack(struct guest *g)
{
	u32 is = px(g, AHCI_PX_IS);

	wpx(g, AHCI_PX_IS, is);
	wr(g, AHCI_IS, BIT(PORT));
	return is;
}

/* Software's way out of an error. */
static void restart(struct guest *g)
{
	wpx(g, AHCI_PX_CMD, AHCI_PX_CMD_FRE);
	assert_false(px(g, AHCI_PX_CMD) & AHCI_PX_CMD_CR);
	assert_int_equal(px(g, AHCI_PX_CI) | px(g, AHCI_PX_SACT), 0);
	wpx(g, AHCI_PX_SERR, ~0u);
	ack(g);
	wpx(g, AHCI_PX_CMD, AHCI_PX_CMD_FRE | AHCI_PX_CMD_ST);
}

/* One command that is not queued, at DATA; 0 or the error register. */
static u8 cmd(struct guest *g, struct fis_reg_h2d f, u32 bytes)
{
	u8 error;
	u32 is;

	prepare(g, 3, f, RAM_GPA + DATA, bytes);
	issue(g, BIT(3), false);
	is = ack(g);
	if (px(g, AHCI_PX_TFD) & ATA_STS_ERR) {
		error = (u8)(px(g, AHCI_PX_TFD) >> 8);
		assert_true(is & AHCI_PX_IS_TFES);
		assert_int_equal(rx(g)->rfis.error, error);
		assert_int_equal(rx(g)->rfis.status, px(g, AHCI_PX_TFD) & 0xff);
		assert_int_equal(px(g, AHCI_PX_CI), BIT(3));
		assert_int_equal(FIELD_GET(AHCI_PX_CMD_CCS, px(g, AHCI_PX_CMD)), 3);
		restart(g);
		assert_true(error);
		return error;
	}
	assert_int_equal(px(g, AHCI_PX_TFD) & 0xff, 0x50);
	assert_int_equal(px(g, AHCI_PX_CI), 0);
	assert_int_equal(is & ~(AHCI_PX_IS_DHRS | AHCI_PX_IS_PSS), 0);
	assert_true(is);
	if (bytes)
		assert_int_equal(header(g, 3)->prdbc, bytes);
	return 0;
}

static u8 simple(struct guest *g, u8 command, u8 features, u32 count)
{
	struct fis_reg_h2d f = h2d(command, 0, count);

	f.features = features;
	return cmd(g, f, 0);
}

static u8 smart(struct guest *g, u8 features, u32 bytes)
{
	struct fis_reg_h2d f = h2d(ATA_SMART, 0xc24f00, 1);

	f.features = features;
	return cmd(g, f, bytes);
}

static void fill(struct guest *g)
{
	for (u32 i = 0; i < SECTORS * g->disk.blk.sector_bytes; i++)
		g->disk.data[i] = (u8)(i * 7 + i / 512);
}

static u8 byte_sum(const u8 *p)
{
	u8 sum = 0;

	for (u32 i = 0; i < 512; i++)
		sum = (u8)(sum + p[i]);
	return sum;
}

/* ---------------------------------------------------------------- registers */

static void registers(void **state)
{
	struct guest g;
	u64 v;

	(void)state;
	guest_off(&g, 512);
	assert_int_equal(FIELD_GET(AHCI_CAP_NP, rd(&g, AHCI_CAP)), 5);
	assert_int_equal(FIELD_GET(AHCI_CAP_NCS, rd(&g, AHCI_CAP)), 31);
	assert_true(rd(&g, AHCI_CAP) & AHCI_CAP_SNCQ);
	assert_true(rd(&g, AHCI_CAP) & AHCI_CAP_SCLO);
	assert_true(rd(&g, AHCI_CAP) & AHCI_CAP_S64A);
	assert_false(rd(&g, AHCI_CAP) & (AHCI_CAP_SPM | AHCI_CAP_CCCS | AHCI_CAP_SSS));
	assert_int_equal(rd(&g, AHCI_PI), 0x2f);
	assert_int_equal(rd(&g, AHCI_VS), AHCI_VS_1_3_1);
	assert_int_equal(rd(&g, AHCI_GHC), AHCI_GHC_AE);
	for (u32 off = 0; off < 0x2c; off += 4) {
		u32 old = rd(&g, off);

		if (off == AHCI_GHC)
			continue;
		wr(&g, off, ~old);
		assert_int_equal(rd(&g, off), old);
	}
	wr(&g, AHCI_GHC, AHCI_GHC_IE);
	assert_int_equal(rd(&g, AHCI_GHC), AHCI_GHC_AE | AHCI_GHC_IE);
	v = ahci_emul_read(g.bar.ahci, AHCI_VS + 2, 2);
	assert_int_equal(v, 1);
	v = ahci_emul_read(g.bar.ahci, AHCI_VS, 8);
	assert_true(v == AHCI_VS_1_3_1);
	v = ahci_emul_read(g.bar.ahci, 0x1000, 4);
	assert_int_equal(v, 0);
	wpx(&g, AHCI_PX_CLB, 0xffffffff);
	wpx(&g, AHCI_PX_FB, 0xffffffff);
	assert_int_equal(px(&g, AHCI_PX_CLB), 0xfffffc00);
	assert_int_equal(px(&g, AHCI_PX_FB), 0xffffff00);
	v = 0x12345678deadbeefull;
	ahci_emul_write(g.bar.ahci, AHCI_PORT(PORT) + AHCI_PX_CLB, 8, v);
	assert_int_equal(px(&g, AHCI_PX_CLBU), 0x12345678);
	v = 0x11;
	ahci_emul_write(g.bar.ahci, AHCI_PORT(PORT) + AHCI_PX_CLBU, 1, v);
	assert_int_equal(px(&g, AHCI_PX_CLBU), 0x12345678); /* not a size that registers have */
	/* A port that is not implemented has no registers. */
	wr(&g, AHCI_PORT(4) + AHCI_PX_IE, 1);
	assert_int_equal(rd(&g, AHCI_PORT(4) + AHCI_PX_IE), 0);
	wr(&g, AHCI_PORT(5) + AHCI_PX_IE, 1);
	assert_int_equal(rd(&g, AHCI_PORT(5) + AHCI_PX_IE), 1);
	assert_int_equal(ahci_emul_doorbell_store(g.bar.ahci, AHCI_PORT(4) + AHCI_PX_CI, 4, 1),
			 AHCI_EMUL_NOT);
	assert_int_equal(ahci_emul_doorbell_store(g.bar.ahci, AHCI_PORT(1) + AHCI_PX_CI, 2, 1),
			 AHCI_EMUL_NOT);
	assert_int_equal(ahci_emul_doorbell_store(g.bar.ahci, AHCI_PORT(1) + AHCI_PX_IS, 4, 1),
			 AHCI_EMUL_NOT);
	assert_int_equal(ahci_emul_doorbell_store(g.bar.ahci, AHCI_GHC, 4, 1), AHCI_EMUL_NOT);
	assert_int_equal(ahci_emul_doorbell_store(g.bar.ahci, 0x1000, 4, 1), AHCI_EMUL_NOT);
	guest_end(&g);
}

static void ports(void **state)
{
	struct guest g;

	(void)state;
	guest_off(&g, 512);
	/* An empty port: no link, nothing answers, COMRESET changes nothing. */
	assert_int_equal(rd(&g, AHCI_PORT(0) + AHCI_PX_SSTS), 0);
	assert_int_equal(rd(&g, AHCI_PORT(0) + AHCI_PX_TFD), 0x7f);
	assert_int_equal(rd(&g, AHCI_PORT(0) + AHCI_PX_SIG), ~0u);
	wr(&g, AHCI_PORT(0) + AHCI_PX_SCTL, 1);
	wr(&g, AHCI_PORT(0) + AHCI_PX_SCTL, 0);
	wr(&g, AHCI_PORT(0) + AHCI_PX_CMD, AHCI_PX_CMD_FRE);
	assert_int_equal(rd(&g, AHCI_PORT(0) + AHCI_PX_SSTS), 0);
	assert_int_equal(rd(&g, AHCI_PORT(0) + AHCI_PX_TFD), 0x7f);
	assert_int_equal(rd(&g, AHCI_PORT(0) + AHCI_PX_CMD),
			 AHCI_PX_CMD_FRE | AHCI_PX_CMD_FR | AHCI_PX_CMD_SUD | AHCI_PX_CMD_POD);
	/* The disk's: link up, but its first frame waits for FRE. */
	assert_int_equal(px(&g, AHCI_PX_SSTS), 0x133);
	assert_int_equal(px(&g, AHCI_PX_SIG), ~0u);
	assert_int_equal(px(&g, AHCI_PX_TFD), ATA_STS_BSY);
	assert_true(px(&g, AHCI_PX_SERR) & AHCI_SERR_DIAG_X);
	assert_true(px(&g, AHCI_PX_IS) & AHCI_PX_IS_PCS);
	wpx(&g, AHCI_PX_IS, ~0u);
	assert_int_equal(px(&g, AHCI_PX_IS), AHCI_PX_IS_PCS | AHCI_PX_IS_PRCS);
	wpx(&g, AHCI_PX_SERR, AHCI_SERR_DIAG_X);
	assert_int_equal(px(&g, AHCI_PX_IS), AHCI_PX_IS_PRCS);
	wpx(&g, AHCI_PX_FB, (u32)RAM_GPA + FRAMES);
	wpx(&g, AHCI_PX_CMD, AHCI_PX_CMD_FRE);
	assert_int_equal(px(&g, AHCI_PX_SIG), AHCI_SIG_ATA);
	assert_int_equal(px(&g, AHCI_PX_TFD), 0x150);
	assert_int_equal(rx(&g)->rfis.type, FIS_REG_D2H);
	assert_int_equal(rx(&g)->rfis.error, 1);
	assert_int_equal(rx(&g)->rfis.count, 1);
	assert_int_equal(rx(&g)->rfis.lba[0], 1);
	/* Commands without ST are not taken. */
	ahci_emul_doorbell_store(g.bar.ahci, AHCI_PORT(PORT) + AHCI_PX_SACT, 4, 1);
	ahci_emul_doorbell_store(g.bar.ahci, AHCI_PORT(PORT) + AHCI_PX_CI, 4, 1);
	run(&g);
	assert_int_equal(px(&g, AHCI_PX_CI) | px(&g, AHCI_PX_SACT), 0);
	guest_end(&g);
}

static void interrupts(void **state)
{
	struct guest g;
	u32 n;

	(void)state;
	guest_on(&g);
	n = g.bar.irqs[0];
	prepare(&g, 0, h2d(ATA_CHECK_POWER, 0, 0), 0, 0);
	issue(&g, 1, false);
	assert_int_equal(g.bar.irqs[0], n + 1);
	assert_true(g.bar.intx);
	assert_int_equal(rd(&g, AHCI_IS), BIT(PORT));
	/* A second event while the bit stands: no message. */
	issue(&g, 1, false);
	assert_int_equal(g.bar.irqs[0], n + 1);
	/* Cleared in the wrong order, it comes back, with a message. */
	wr(&g, AHCI_IS, BIT(PORT));
	assert_int_equal(rd(&g, AHCI_IS), BIT(PORT));
	assert_int_equal(g.bar.irqs[0], n + 2);
	wpx(&g, AHCI_PX_IS, ~0u);
	assert_true(g.bar.intx);
	wr(&g, AHCI_IS, BIT(PORT));
	assert_int_equal(rd(&g, AHCI_IS), 0);
	assert_false(g.bar.intx);
	assert_int_equal(g.bar.irqs[0], n + 2);
	/* Masked in the port, then in the adapter. */
	wpx(&g, AHCI_PX_IE, AHCI_PX_IS_TFES);
	issue(&g, 1, false);
	assert_int_equal(rd(&g, AHCI_IS), 0);
	wr(&g, AHCI_GHC, AHCI_GHC_AE);
	wpx(&g, AHCI_PX_IE, AHCI_PX_IS_DHRS);
	assert_int_equal(rd(&g, AHCI_IS), BIT(PORT));
	assert_int_equal(g.bar.irqs[0], n + 2);
	wr(&g, AHCI_GHC, AHCI_GHC_AE | AHCI_GHC_IE);
	assert_int_equal(g.bar.irqs[0], n + 3);
	assert_int_equal(ahci_emul_stats(g.bar.ahci)->irqs, g.bar.irqs[0]);
	guest_end(&g);
}

/* ---------------------------------------------------------------- the disk */

static void identify(void **state)
{
	struct guest g;
	u16 w[256];

	(void)state;
	guest_on(&g);
	assert_int_equal(cmd(&g, h2d(ATA_IDENTIFY, 0, 0), 512), 0);
	assert_int_equal(rx(&g)->psfis.type, FIS_PIO_SETUP);
	assert_int_equal(rx(&g)->psfis.bytes, 512);
	assert_int_equal(rx(&g)->psfis.e_status, 0x50);
	memcpy(w, g.ram + DATA, 512);
	assert_memory_equal(g.ram + DATA + 20, "1S                  ", 20);
	assert_memory_equal(g.ram + DATA + 54, "1M                  ", 20);
	assert_int_equal(w[100] | (u32)w[101] << 16, SECTORS);
	assert_int_equal(w[60], SECTORS);
	assert_int_equal(w[75], 31);
	assert_true(w[76] & ATA_ID_SATA_NCQ);
	assert_int_equal(w[106], 0x6003);
	assert_int_equal(w[128], 9);
	assert_true(w[169] & 1);
	assert_int_equal(w[88], 0x407f);
	assert_int_equal(w[85] & ATA_ID_CMDS1_WCACHE, ATA_ID_CMDS1_WCACHE);
	assert_int_equal(byte_sum(g.ram + DATA), 0);
	/* Modes and settings show. */
	assert_int_equal(simple(&g, ATA_SET_FEATURES, ATA_SF_XFER_MODE, 0x22), 0);
	assert_int_equal(simple(&g, ATA_SET_FEATURES, ATA_SF_WCACHE_OFF, 0), 0);
	assert_int_equal(g.disk.flushes, 1);
	assert_int_equal(simple(&g, ATA_SET_FEATURES, ATA_SF_LOOKAHEAD_OFF, 0), 0);
	assert_int_equal(simple(&g, ATA_SET_MULTIPLE, 0, 8), 0);
	assert_int_equal(cmd(&g, h2d(ATA_IDENTIFY, 0, 0), 512), 0);
	memcpy(w, g.ram + DATA, 512);
	assert_int_equal(w[63], 0x0407);
	assert_int_equal(w[88], 0x007f);
	assert_int_equal(w[85] & (ATA_ID_CMDS1_WCACHE | ATA_ID_CMDS1_LOOKAHEAD), 0);
	assert_int_equal(w[59], 0x0108);
	guest_end(&g);

	guest_off(&g, 4096);
	start(&g);
	assert_int_equal(cmd(&g, h2d(ATA_IDENTIFY, 0, 0), 512), 0);
	memcpy(w, g.ram + DATA, 512);
	assert_int_equal(w[106], 0x5000);
	assert_int_equal(w[117] | (u32)w[118] << 16, 2048);
	guest_end(&g);
}

static void settings(void **state)
{
	static const u8 good[] = { 0, 1, 8, 12, 0x20, 0x22, 0x40, 0x46 };
	static const u8 bad[] = { 2, 7, 13, 0x10, 0x23, 0x47, 0x80 };
	struct guest g;
	u32 i;

	(void)state;
	guest_on(&g);
	for (i = 0; i < sizeof(good); i++)
		assert_int_equal(simple(&g, ATA_SET_FEATURES, ATA_SF_XFER_MODE, good[i]), 0);
	for (i = 0; i < sizeof(bad); i++)
		assert_int_equal(simple(&g, ATA_SET_FEATURES, ATA_SF_XFER_MODE, bad[i]), 4);
	assert_int_equal(simple(&g, ATA_SET_FEATURES, ATA_SF_LOOKAHEAD_ON, 0), 0);
	assert_int_equal(simple(&g, ATA_SET_FEATURES, ATA_SF_NO_REVERT, 0), 0);
	assert_int_equal(simple(&g, ATA_SET_FEATURES, ATA_SF_APM_ON, 1), 4);
	assert_int_equal(simple(&g, ATA_SET_FEATURES, ATA_SF_SATA_ON, 3), 4);
	assert_int_equal(simple(&g, ATA_SET_MULTIPLE, 0, 3), 4);
	assert_int_equal(simple(&g, ATA_SET_MULTIPLE, 0, 32), 4);
	/* Without the cache every write is durable before it ends. */
	assert_int_equal(simple(&g, ATA_SET_FEATURES, ATA_SF_WCACHE_OFF, 0), 0);
	assert_int_equal(cmd(&g, h2d(ATA_WRITE_DMA, 1, 1), 512), 0);
	assert_int_equal(g.disk.fuas, 1);
	assert_int_equal(simple(&g, ATA_SET_FEATURES, ATA_SF_WCACHE_ON, 0), 0);
	assert_int_equal(cmd(&g, h2d(ATA_WRITE_DMA, 1, 1), 512), 0);
	assert_int_equal(g.disk.fuas, 1);
	assert_int_equal(cmd(&g, h2d(ATA_WRITE_DMA_FUA_EXT, 1, 1), 512), 0);
	assert_int_equal(g.disk.fuas, 2);
	guest_end(&g);
	guest_off(&g, 512);
	g.disk.blk.write_cache = false;
	wr(&g, AHCI_GHC, AHCI_GHC_HR);
	start(&g);
	assert_int_equal(simple(&g, ATA_SET_FEATURES, ATA_SF_WCACHE_ON, 0), 4);
	assert_int_equal(simple(&g, ATA_FLUSH_EXT, 0, 0), 0);
	assert_int_equal(g.disk.flushes, 0);
	guest_end(&g);
}

static void power(void **state)
{
	struct guest g;

	(void)state;
	guest_on(&g);
	assert_int_equal(simple(&g, ATA_CHECK_POWER, 0, 0), 0);
	assert_int_equal(rx(&g)->rfis.count, 0xff);
	assert_int_equal(simple(&g, ATA_IDLE_IMMEDIATE, 0, 0), 0);
	assert_int_equal(simple(&g, ATA_CHECK_POWER, 0, 0), 0);
	assert_int_equal(rx(&g)->rfis.count, 0x80);
	assert_int_equal(simple(&g, ATA_IDLE_IMMEDIATE, ATA_UNLOAD_FEATURES, 0), 4);
	assert_int_equal(simple(&g, ATA_IDLE, 0, 5), 0);
	assert_int_equal(simple(&g, ATA_STANDBY, 0, 0), 0);
	assert_int_equal(simple(&g, ATA_STANDBY_IMMEDIATE, 0, 0), 0);
	assert_int_equal(g.disk.flushes, 2);
	assert_int_equal(simple(&g, ATA_CHECK_POWER, 0, 0), 0);
	assert_int_equal(rx(&g)->rfis.count, 0);
	assert_int_equal(cmd(&g, h2d(ATA_READ_DMA, 1, 1), 512), 0);
	assert_int_equal(simple(&g, ATA_CHECK_POWER, 0, 0), 0);
	assert_int_equal(rx(&g)->rfis.count, 0xff);
	/* Asleep: only a reset wakes it. */
	assert_int_equal(simple(&g, ATA_SLEEP, 0, 0), 0);
	prepare(&g, 5, h2d(ATA_CHECK_POWER, 0, 0), 0, 0);
	issue(&g, BIT(5), false);
	assert_int_equal(px(&g, AHCI_PX_CI), BIT(5));
	assert_int_equal(px(&g, AHCI_PX_TFD) & 0xff, ATA_STS_BSY);
	wpx(&g, AHCI_PX_CMD, AHCI_PX_CMD_FRE);
	wpx(&g, AHCI_PX_SCTL, 1);
	wpx(&g, AHCI_PX_SCTL, 0);
	assert_int_equal(px(&g, AHCI_PX_TFD) & 0xff, 0x50);
	wpx(&g, AHCI_PX_CMD, AHCI_PX_CMD_FRE | AHCI_PX_CMD_ST);
	ack(&g);
	wpx(&g, AHCI_PX_SERR, ~0u);
	ack(&g);
	assert_int_equal(simple(&g, ATA_CHECK_POWER, 0, 0), 0);
	guest_end(&g);
}

static void logs(void **state)
{
	struct guest g;
	struct fis_reg_h2d f;
	u8 id[512];

	(void)state;
	guest_on(&g);
	assert_int_equal(cmd(&g, h2d(ATA_IDENTIFY, 0, 0), 512), 0);
	memcpy(id, g.ram + DATA, 512);
	assert_int_equal(cmd(&g, h2d(ATA_READ_LOG_EXT, 0, 1), 512), 0);
	assert_int_equal(get_le16(g.ram + DATA), 1);
	assert_int_equal(get_le16(g.ram + DATA + 2 * 0x30), 2);
	assert_int_equal(get_le16(g.ram + DATA + 2 * 0x10), 1);
	assert_int_equal(get_le16(g.ram + DATA + 2 * 0x04), 0);
	assert_int_equal(cmd(&g, h2d(ATA_READ_LOG_DMA_EXT, 0x30, 2), 1024), 0);
	assert_int_equal(g.ram[DATA + 8], 2);
	assert_memory_equal(g.ram + DATA + 512, id, 512);
	assert_int_equal(cmd(&g, h2d(ATA_READ_LOG_EXT, 0x0130, 1), 512), 0);
	assert_memory_equal(g.ram + DATA, id, 512);
	assert_int_equal(cmd(&g, h2d(ATA_READ_LOG_EXT, 0x0230, 1), 512), 4);
	assert_int_equal(cmd(&g, h2d(ATA_READ_LOG_EXT, 0x30, 3), 1536), 4);
	assert_int_equal(cmd(&g, h2d(ATA_READ_LOG_EXT, 0x30, 0), 512), 4);
	assert_int_equal(cmd(&g, h2d(ATA_READ_LOG_EXT, 0x04, 1), 512), 4);
	assert_int_equal(cmd(&g, h2d(ATA_READ_LOG_EXT, 0x10, 1), 512), 0);
	/* SMART */
	assert_int_equal(smart(&g, ATA_SMART_READ_DATA, 512), 0);
	assert_int_equal(byte_sum(g.ram + DATA), 0);
	assert_int_equal(g.ram[DATA + 2], 5);
	assert_int_equal(smart(&g, ATA_SMART_READ_THRESHOLDS, 512), 0);
	assert_int_equal(byte_sum(g.ram + DATA), 0);
	assert_int_equal(g.ram[DATA + 3], 10);
	assert_int_equal(smart(&g, ATA_SMART_STATUS, 0), 0);
	assert_int_equal(rx(&g)->rfis.lba[1], 0x4f);
	assert_int_equal(rx(&g)->rfis.lba[2], 0xc2);
	assert_int_equal(smart(&g, ATA_SMART_AUTOSAVE, 0), 0);
	assert_int_equal(smart(&g, ATA_SMART_READ_LOG, 512), 4);
	assert_int_equal(smart(&g, ATA_SMART_OFFLINE, 0), 4);
	assert_int_equal(smart(&g, ATA_SMART_DISABLE, 0), 0);
	assert_int_equal(smart(&g, ATA_SMART_STATUS, 0), 4);
	assert_int_equal(smart(&g, ATA_SMART_ENABLE, 0), 0);
	assert_int_equal(smart(&g, ATA_SMART_STATUS, 0), 0);
	f = h2d(ATA_SMART, 0, 1);
	f.features = ATA_SMART_STATUS;
	assert_int_equal(cmd(&g, f, 0), 4); /* without the key */
	guest_end(&g);
}

/* A command or a subcommand that the disk has, and the data that it wants. */
struct known {
	u8 code;
	u16 bytes;
	u8 error; /* not 0: it is known, but not with these fields */
};

static const struct known *known_as(const struct known *list, u32 n, u32 code)
{
	for (u32 i = 0; i < n; i++)
		if (list[i].code == code)
			return &list[i];
	return NULL;
}

/* Refused is: ABRT and nothing else in the registers, nothing moved, and the next one works. */
static void check_refusal(struct guest *g, struct fis_reg_h2d f)
{
	u64 errors = ahci_emul_stats(g->bar.ahci)->errors;

	memset(g->ram + DATA, 0x77, 512);
	assert_int_equal(cmd(g, f, 512), ATA_ERR_ABRT);
	assert_int_equal(rx(g)->rfis.type, FIS_REG_D2H);
	assert_int_equal(rx(g)->rfis.status, ATA_STS_DRDY | ATA_STS_DSC | ATA_STS_ERR);
	assert_int_equal(rx(g)->rfis.lba[0] | rx(g)->rfis.lba[1] | rx(g)->rfis.lba[2], 0);
	assert_int_equal(rx(g)->rfis.count | rx(g)->rfis.count_exp, 0);
	assert_int_equal(header(g, 3)->prdbc, 0x55); /* as the guest left it: no data */
	for (u32 i = 0; i < 512; i++)
		assert_int_equal(g->ram[DATA + i], 0x77);
	assert_true(ahci_emul_stats(g->bar.ahci)->errors == errors + 1);
	assert_int_equal(simple(g, ATA_CHECK_POWER, 0, 0), 0);
}

/* Each of the 256 codes: what this disk has, and nothing else. [ACS-3 §4, table of commands] */
static void every_command(void **state)
{
	static const struct known list[] = {
		{ ATA_DSM, 512, 4 }, /* not without the bit for TRIM */
		{ ATA_READ_SECTORS, 512, 0 }, { ATA_READ_SECTORS_NORETRY, 512, 0 },
		{ ATA_READ_SECTORS_EXT, 512, 0 }, { ATA_READ_DMA_EXT, 512, 0 },
		{ ATA_READ_MULTIPLE_EXT, 512, 4 }, /* not before SET MULTIPLE */
		{ ATA_READ_LOG_EXT, 512, 0 }, { ATA_READ_LOG_DMA_EXT, 512, 0 },
		{ ATA_WRITE_SECTORS, 512, 0 }, { ATA_WRITE_SECTORS_NORETRY, 512, 0 },
		{ ATA_WRITE_SECTORS_EXT, 512, 0 }, { ATA_WRITE_DMA_EXT, 512, 0 },
		{ ATA_WRITE_MULTIPLE_EXT, 512, 4 }, { ATA_WRITE_DMA_FUA_EXT, 512, 0 },
		{ ATA_VERIFY, 0, 0 }, { ATA_VERIFY_NORETRY, 0, 0 }, { ATA_VERIFY_EXT, 0, 0 },
		/* not with a tag of another slot; one of the right slot: queued() */
		{ ATA_READ_FPDMA, 512, 4 }, { ATA_WRITE_FPDMA, 512, 4 },
		{ ATA_DIAGNOSTIC, 0, 0 },
		{ ATA_SMART, 512, 4 }, /* not without its key */
		{ ATA_READ_MULTIPLE, 512, 4 }, { ATA_WRITE_MULTIPLE, 512, 4 },
		{ ATA_SET_MULTIPLE, 0, 0 },
		{ ATA_READ_DMA, 512, 0 }, { ATA_READ_DMA_NORETRY, 512, 0 },
		{ ATA_WRITE_DMA, 512, 0 }, { ATA_WRITE_DMA_NORETRY, 512, 0 },
		{ ATA_WRITE_MULTIPLE_FUA_EXT, 512, 4 },
		{ ATA_STANDBY_IMMEDIATE, 0, 0 }, { ATA_IDLE_IMMEDIATE, 0, 0 },
		{ ATA_STANDBY, 0, 0 }, { ATA_IDLE, 0, 0 }, { ATA_CHECK_POWER, 0, 0 },
		{ ATA_SLEEP, 0, 0 }, { ATA_FLUSH, 0, 0 }, { ATA_FLUSH_EXT, 0, 0 },
		{ ATA_IDENTIFY, 512, 0 },
		{ ATA_SET_FEATURES, 0, 4 }, /* there is no subcommand 0 */
		{ ATA_SECURITY_FREEZE, 0, 0 },
	};

	struct guest g;

	(void)state;
	guest_off(&g, 512);
	for (u32 code = 0; code < 256; code++) {
		const struct known *k = known_as(list, ARRAY_SIZE(list), code);
		struct fis_reg_h2d f = h2d((u8)code, 0, 1);
		u32 below = g.disk.requests;

		wr(&g, AHCI_GHC, AHCI_GHC_HR); /* asleep, or with settings that have been changed */
		start(&g);
		if (code == ATA_SET_MULTIPLE)
			f.count = 0;
		if (!k) {
			check_refusal(&g, f);
			assert_int_equal(g.disk.requests, below);
		} else if (code == ATA_READ_FPDMA || code == ATA_WRITE_FPDMA) {
			prepare(&g, 3, f, RAM_GPA + DATA, 512);
			issue(&g, BIT(3), true);
			assert_true(ack(&g) & AHCI_PX_IS_TFES);
			assert_int_equal(px(&g, AHCI_PX_TFD) >> 8, k->error);
			assert_int_equal(g.disk.requests, below);
		} else {
			assert_int_equal(cmd(&g, f, k->bytes), k->error);
		}
	}
	guest_end(&g);
}

static void every_subcommand(void **state)
{
	static const struct known features[] = {
		{ ATA_SF_WCACHE_ON, 0, 0 }, { ATA_SF_XFER_MODE, 0, 0 },
		{ ATA_SF_LOOKAHEAD_OFF, 0, 0 }, { ATA_SF_NO_REVERT, 0, 0 },
		{ ATA_SF_WCACHE_OFF, 0, 0 }, { ATA_SF_LOOKAHEAD_ON, 0, 0 },
		{ ATA_SF_REVERT, 0, 0 },
	};
	static const struct known smarts[] = {
		{ ATA_SMART_READ_DATA, 512, 0 }, { ATA_SMART_READ_THRESHOLDS, 512, 0 },
		{ ATA_SMART_AUTOSAVE, 0, 0 }, { ATA_SMART_SAVE, 0, 0 },
		{ ATA_SMART_ENABLE, 0, 0 }, { ATA_SMART_DISABLE, 0, 0 },
		{ ATA_SMART_STATUS, 0, 0 },
	};
	struct guest g;

	(void)state;
	guest_on(&g);
	for (u32 code = 0; code < 256; code++) {
		const struct known *k = known_as(features, ARRAY_SIZE(features), code);
		struct fis_reg_h2d f = h2d(ATA_SET_FEATURES, 0, 1);

		f.features = (u8)code;
		if (k)
			assert_int_equal(cmd(&g, f, k->bytes), 0);
		else
			check_refusal(&g, f);
		k = known_as(smarts, ARRAY_SIZE(smarts), code);
		f = h2d(ATA_SMART, 0xc24f00, 1);
		f.features = (u8)code;
		if (k)
			assert_int_equal(cmd(&g, f, k->bytes), 0);
		else
			check_refusal(&g, f);
		assert_int_equal(smart(&g, ATA_SMART_ENABLE, 0), 0);
	}
	assert_int_equal(g.disk.requests, g.disk.flushes);
	guest_end(&g);
}

static void transfers(void **state)
{
	static const u8 reads[] = { ATA_READ_DMA, ATA_READ_DMA_EXT, ATA_READ_SECTORS,
				    ATA_READ_SECTORS_EXT, ATA_READ_MULTIPLE,
				    ATA_READ_MULTIPLE_EXT };
	static const u8 writes[] = { ATA_WRITE_DMA, ATA_WRITE_DMA_EXT, ATA_WRITE_SECTORS,
				     ATA_WRITE_SECTORS_EXT, ATA_WRITE_MULTIPLE,
				     ATA_WRITE_MULTIPLE_EXT, ATA_WRITE_MULTIPLE_FUA_EXT };
	struct fis_reg_h2d f;
	struct guest g;
	u32 i;

	(void)state;
	guest_on(&g);
	fill(&g);
	assert_int_equal(cmd(&g, h2d(ATA_READ_MULTIPLE, 3, 1), 512), 4); /* not set */
	assert_int_equal(simple(&g, ATA_SET_MULTIPLE, 0, 2), 0);
	for (i = 0; i < sizeof(reads); i++) {
		memset(g.ram + DATA, 0, 1536);
		assert_int_equal(cmd(&g, h2d(reads[i], 40 + i, 3), 1536), 0);
		assert_memory_equal(g.ram + DATA, g.disk.data + 512 * (40 + i), 1536);
		if (i >= 2)
			assert_int_equal(rx(&g)->psfis.bytes, 512);
	}
	assert_int_equal(cmd(&g, h2d(ATA_READ_MULTIPLE, 3, 4), 2048), 0);
	assert_int_equal(rx(&g)->psfis.bytes, 1024);
	for (i = 0; i < sizeof(writes); i++) {
		memset(g.ram + DATA, 0x31 + (int)i, 1536);
		assert_int_equal(cmd(&g, h2d(writes[i], 80 + i, 3), 1536), 0);
		assert_memory_equal(g.ram + DATA, g.disk.data + 512 * (80 + i), 1536);
	}
	assert_int_equal(g.disk.fuas, 1);
	/* 28-bit addresses have their top in the device register. */
	f = h2d(ATA_READ_DMA, 1, 1);
	f.device |= 1;
	assert_int_equal(cmd(&g, f, 512), ATA_ERR_IDNF);
	f.device = 0; /* CHS */
	assert_int_equal(cmd(&g, f, 512), 4);
	/* Count 0 is the most. */
	assert_int_equal(cmd(&g, h2d(ATA_READ_DMA, 0, 0), 256 * 512), 0);
	assert_memory_equal(g.ram + DATA, g.disk.data, 256 * 512);
	assert_int_equal(cmd(&g, h2d(ATA_READ_DMA_EXT, 0, 0), 512), ATA_ERR_IDNF);
	assert_int_equal(cmd(&g, h2d(ATA_READ_DMA_EXT, SECTORS - 1, 1), 512), 0);
	assert_int_equal(cmd(&g, h2d(ATA_READ_DMA_EXT, SECTORS - 1, 2), 1024), ATA_ERR_IDNF);
	assert_int_equal(cmd(&g, h2d(ATA_READ_DMA_EXT, 1ull << 47, 1), 512), ATA_ERR_IDNF);
	/* Longer than one request below takes. */
	assert_int_equal(cmd(&g, h2d(ATA_READ_DMA_EXT, 1, 5000), 5000 * 512), 0);
	assert_memory_equal(g.ram + DATA, g.disk.data + 512, 5000 * 512);
	assert_int_equal(g.disk.sectors_longest, 2048);
	/* VERIFY touches nothing of the guest's. */
	i = g.disk.requests;
	memset(g.ram + DATA, 0x77, 512);
	assert_int_equal(cmd(&g, h2d(ATA_VERIFY_EXT, 5, 4000), 0), 0);
	assert_int_equal(cmd(&g, h2d(ATA_VERIFY, 5, 1), 0), 0);
	assert_true(g.disk.requests >= i + 3);
	assert_int_equal(g.ram[DATA], 0x77);
	assert_int_equal(ahci_emul_stats(g.bar.ahci)->verifies, 2);
	assert_int_equal(simple(&g, ATA_FLUSH, 0, 0), 0);
	assert_int_equal(simple(&g, ATA_FLUSH_EXT, 0, 0), 0);
	assert_int_equal(g.disk.flushes, 2);
	guest_end(&g);
}

/* PRDs of every length: the guest's bytes come in the order of the table. */
static void scattered(struct guest *g, u32 sectors, u32 piece, u32 step)
{
	u32 bytes = sectors * g->disk.blk.sector_bytes, n = 0, at;

	prepare(g, 3, h2d(ATA_READ_DMA_EXT, 7, sectors), RAM_GPA + DATA, 2);
	for (at = 0; at < bytes; at += piece, n++)
		prd(g, 3, n, RAM_GPA + DATA + n * step, MIN(piece, bytes - at));
	issue(g, BIT(3), false);
	assert_int_equal(ack(g), AHCI_PX_IS_DHRS);
	assert_int_equal(header(g, 3)->prdbc, bytes);
	for (at = 0, n = 0; at < bytes; at += piece, n++)
		assert_memory_equal(g->ram + DATA + n * step,
				    g->disk.data + 7 * g->disk.blk.sector_bytes + at,
				    MIN(piece, bytes - at));
}

static void prd_tables(void **state)
{
	struct guest g;

	(void)state;
	guest_on(&g);
	fill(&g);
	scattered(&g, 4, 2, 4); /* a request per sector, no more fits */
	scattered(&g, 9, 6, 8);
	scattered(&g, 20, 10, 10); /* neighbours become one */
	scattered(&g, 200, 100, 102);
	scattered(&g, 64, 510, 520);
	scattered(&g, 5, 4096, 8192);
	/* A table longer than its data is no error. */
	prepare(&g, 3, h2d(ATA_READ_DMA_EXT, 7, 1), RAM_GPA + DATA, 4 << 20);
	prd(&g, 3, 1, BAD_GPA, 512);
	issue(&g, BIT(3), false);
	assert_int_equal(ack(&g), AHCI_PX_IS_DHRS);
	assert_int_equal(header(&g, 3)->prdbc, 512);
	guest_end(&g);

	/* Sectors of 4 KiB in pieces that no request has room for: a bus error. */
	guest_off(&g, 4096);
	start(&g);
	fill(&g);
	scattered(&g, 3, 100, 200);
	prepare(&g, 3, h2d(ATA_READ_DMA_EXT, 7, 1), RAM_GPA + DATA, 2);
	for (u32 i = 0; i < 512; i++)
		prd(&g, 3, i, RAM_GPA + DATA + i * 16, 8);
	issue(&g, BIT(3), false);
	assert_int_equal(ack(&g), AHCI_PX_IS_HBFS);
	guest_end(&g);
}

static void trims(void **state)
{
	struct fis_reg_h2d f = h2d(ATA_DSM, 0, 1);
	struct guest g;
	u64 *r;

	(void)state;
	guest_on(&g);
	r = (u64 *)(g.ram + DATA);
	f.features = 1;
	assert_int_equal(cmd(&g, f, 512), 0); /* nothing but empty ranges */
	assert_int_equal(g.disk.trims, 0);
	r[0] = 100 | 8ull << 48;
	r[5] = 200 | 1000ull << 48;
	r[63] = (SECTORS - 1) | 1ull << 48;
	assert_int_equal(cmd(&g, f, 512), 0);
	assert_int_equal(g.disk.trims, 3);
	r[7] = SECTORS | 1ull << 48;
	assert_int_equal(cmd(&g, f, 512), ATA_ERR_IDNF);
	assert_int_equal(g.disk.trims, 3);
	r[7] = 0;
	f.count = 8;
	r[511] = 5 | 1ull << 48;
	assert_int_equal(cmd(&g, f, 4096), 0);
	assert_int_equal(g.disk.trims, 7);
	f.count = 9;
	assert_int_equal(cmd(&g, f, 4096), 4);
	f.count = 0;
	assert_int_equal(cmd(&g, f, 4096), 4);
	f.count = 1;
	f.features = 0;
	assert_int_equal(cmd(&g, f, 512), 4);
	f.features = 1;
	g.disk.fail_count = 1;
	g.disk.fail_err = -EIO;
	assert_int_equal(cmd(&g, f, 512), 4);
	guest_end(&g);
}

/* ---------------------------------------------------------------- NCQ */

static void queued(void **state)
{
	struct guest g;
	u32 i, all = ~0u;

	(void)state;
	guest_on(&g);
	fill(&g);
	g.disk.shuffle = 5;
	g.disk.hold = true;
	for (i = 0; i < 32; i++)
		prepare(&g, i, fpdma(ATA_READ_FPDMA, 10 + 3 * i, 3, i),
			RAM_GPA + DATA + i * 1536, 1536);
	issue(&g, all, true);
	assert_int_equal(px(&g, AHCI_PX_CI), 0);
	assert_int_equal(px(&g, AHCI_PX_SACT), all);
	assert_int_equal(px(&g, AHCI_PX_TFD) & 0xff, 0x50);
	assert_int_equal(ahci_emul_inflight(g.bar.ahci), 32);
	assert_int_equal(px(&g, AHCI_PX_IS), 0);
	i = g.bar.irqs[0];
	g.disk.hold = false;
	run(&g);
	assert_int_equal(px(&g, AHCI_PX_SACT), 0);
	assert_int_equal(ack(&g), AHCI_PX_IS_SDBS);
	assert_int_equal(rx(&g)->sdbfis.type, FIS_SET_DEV_BITS);
	assert_int_equal(rx(&g)->sdbfis.active, all);
	assert_int_equal(g.bar.irqs[0], i + 1);
	assert_memory_equal(g.ram + DATA, g.disk.data + 5120, 32 * 1536);
	assert_int_equal(ahci_emul_stats(g.bar.ahci)->inflight_max, 32);
	assert_int_equal(ahci_emul_stats(g.bar.ahci)->queued, 32);
	/* FUA, and 0 for the most */
	prepare(&g, 9, fpdma(ATA_WRITE_FPDMA, 10, 1, 9), RAM_GPA + DATA, 512);
	((struct fis_reg_h2d *)table(&g, 9)->cfis)->device |= ATA_DEV_FUA;
	issue(&g, BIT(9), true);
	assert_int_equal(ack(&g), AHCI_PX_IS_SDBS);
	assert_int_equal(g.disk.fuas, 1);
	prepare(&g, 9, fpdma(ATA_READ_FPDMA, 0, 0, 9), RAM_GPA + DATA, 512);
	issue(&g, BIT(9), true);
	assert_int_equal(ack(&g), AHCI_PX_IS_SDBS | AHCI_PX_IS_TFES);
	assert_int_equal(px(&g, AHCI_PX_TFD) >> 8, ATA_ERR_IDNF);
	guest_end(&g);
}

static void queued_error(void **state)
{
	struct ata_ncq_error log;
	struct guest g;
	u32 i;

	(void)state;
	guest_on(&g);
	for (i = 0; i < 6; i++)
		prepare(&g, i, fpdma(ATA_READ_FPDMA, 100 + i, 1, i), RAM_GPA + DATA, 512);
	g.disk.hold = true;
	issue(&g, 0x3f, true);
	g.disk.fail_count = 1; /* the first of them, and only that */
	g.disk.fail_err = -EIO;
	g.disk.hold = false;
	run(&g);
	assert_int_equal(px(&g, AHCI_PX_SACT), 0x3f);
	assert_int_equal(ack(&g), AHCI_PX_IS_SDBS | AHCI_PX_IS_TFES);
	assert_int_equal(px(&g, AHCI_PX_TFD), 0x4051);
	assert_int_equal(rx(&g)->sdbfis.active, 0);
	assert_int_equal(rx(&g)->sdbfis.status, 0x51);
	/* Halted: a new command is not looked at. */
	prepare(&g, 9, h2d(ATA_CHECK_POWER, 0, 0), 0, 0);
	issue(&g, BIT(9), false);
	assert_int_equal(px(&g, AHCI_PX_CI), BIT(9));
	restart(&g);
	/* Everything is aborted until the log was read. */
	assert_int_equal(cmd(&g, h2d(ATA_CHECK_POWER, 0, 0), 0), 4);
	assert_int_equal(cmd(&g, h2d(ATA_READ_LOG_EXT, 0x10, 1), 512), 0);
	memcpy(&log, g.ram + DATA, sizeof(log));
	assert_int_equal(log.tag, 0);
	assert_int_equal(log.status, 0x51);
	assert_int_equal(log.error, ATA_ERR_UNC);
	assert_int_equal(log.lba[0], 100);
	assert_int_equal(byte_sum(g.ram + DATA), 0);
	assert_int_equal(cmd(&g, h2d(ATA_CHECK_POWER, 0, 0), 0), 0);
	/* A tag that is not the slot's; then a write without room. */
	prepare(&g, 2, fpdma(ATA_READ_FPDMA, 1, 1, 3), RAM_GPA + DATA, 512);
	issue(&g, BIT(2), true);
	assert_int_equal(ack(&g), AHCI_PX_IS_SDBS | AHCI_PX_IS_TFES);
	restart(&g);
	assert_int_equal(cmd(&g, h2d(ATA_READ_LOG_DMA_EXT, 0x10, 1), 512), 0);
	g.disk.fail_count = 1;
	g.disk.fail_err = -ENOSPC;
	prepare(&g, 2, fpdma(ATA_WRITE_FPDMA, 1, 1, 2), RAM_GPA + DATA, 512);
	issue(&g, BIT(2), true);
	assert_int_equal(px(&g, AHCI_PX_TFD), 0x0451);
	guest_end(&g);
}

/* A command that is not queued among queued ones ends them all. */
static void mixed(void **state)
{
	struct guest g;

	(void)state;
	guest_on(&g);
	g.disk.hold = true;
	prepare(&g, 1, fpdma(ATA_READ_FPDMA, 1, 1, 1), RAM_GPA + DATA, 512);
	issue(&g, BIT(1), true);
	prepare(&g, 2, h2d(ATA_READ_DMA, 1, 1), RAM_GPA + DATA, 512);
	issue(&g, BIT(2), false);
	assert_int_equal(ack(&g), AHCI_PX_IS_DHRS | AHCI_PX_IS_TFES);
	assert_int_equal(px(&g, AHCI_PX_TFD), 0x0451);
	assert_int_equal(px(&g, AHCI_PX_SACT), BIT(1));
	wpx(&g, AHCI_PX_CMD, AHCI_PX_CMD_FRE);
	assert_true(px(&g, AHCI_PX_CMD) & AHCI_PX_CMD_CR); /* the read is still under way */
	g.disk.hold = false;
	run(&g);
	assert_false(px(&g, AHCI_PX_CMD) & AHCI_PX_CMD_CR);
	wpx(&g, AHCI_PX_CMD, AHCI_PX_CMD_FRE | AHCI_PX_CMD_ST);
	assert_int_equal(cmd(&g, h2d(ATA_READ_LOG_EXT, 0x10, 1), 512), 0);
	assert_int_equal(g.ram[DATA], 0x80);
	guest_end(&g);
}

/* ---------------------------------------------------------------- errors */

static void disk_errors(void **state)
{
	struct guest g;

	(void)state;
	guest_on(&g);
	g.disk.fail_err = -EIO;
	g.disk.fail_count = 1;
	assert_int_equal(cmd(&g, h2d(ATA_READ_DMA_EXT, 77, 2), 1024), ATA_ERR_UNC);
	assert_int_equal(rx(&g)->rfis.lba[0], 77);
	g.disk.fail_count = 1;
	assert_int_equal(cmd(&g, h2d(ATA_READ_SECTORS, 77, 2), 1024), ATA_ERR_UNC);
	g.disk.fail_count = 1;
	assert_int_equal(cmd(&g, h2d(ATA_WRITE_DMA_EXT, 77, 2), 1024), ATA_ERR_ABRT);
	g.disk.fail_count = 1;
	assert_int_equal(cmd(&g, h2d(ATA_FLUSH_EXT, 0, 0), 0), ATA_ERR_ABRT);
	g.disk.fail_count = 1;
	assert_int_equal(cmd(&g, h2d(ATA_VERIFY, 9, 1), 0), ATA_ERR_UNC);
	assert_int_equal(cmd(&g, h2d(ATA_READ_DMA_EXT, 77, 2), 1024), 0);
	guest_end(&g);
}

/* What the guest's own structures can have wrong; COMRESET always helps. */
static void guest_errors(void **state)
{
	static const u32 expected[] = {
		AHCI_PX_IS_HBFS, AHCI_PX_IS_HBFS, AHCI_PX_IS_HBFS, AHCI_PX_IS_HBFS,
		AHCI_PX_IS_OFS, AHCI_PX_IS_IFS, AHCI_PX_IS_IFS, AHCI_PX_IS_IFS, AHCI_PX_IS_HBFS,
		AHCI_PX_IS_HBFS, AHCI_PX_IS_OFS,
	};
	struct guest g;

	(void)state;
	guest_on(&g);
	for (u32 i = 0; i < ARRAY_SIZE(expected); i++) {
		u32 tag = 4;

		prepare(&g, tag, h2d(ATA_READ_DMA, 1, 4), RAM_GPA + DATA, 2048);
		switch (i) {
		case 0: /* the list */
			wpx(&g, AHCI_PX_CLBU, 0xdead);
			break;
		case 1: /* the table */
			header(&g, tag)->ctbau = 0xdead;
			break;
		case 2: /* the buffer */
			prd(&g, tag, 0, BAD_GPA, 2048);
			break;
		case 3: /* the buffer's end */
			prd(&g, tag, 0, RAM_GPA + RAM_BYTES - 1024, 2048);
			break;
		case 4: /* too short */
			prd(&g, tag, 0, RAM_GPA + DATA, 1024);
			break;
		case 5: /* not a command frame */
			table(&g, tag)->cfis[0] = FIS_REG_D2H;
			break;
		case 6: /* too little of one */
			header(&g, tag)->flags = 1;
			break;
		case 7: /* a self-test of the link */
			header(&g, tag)->flags |= AHCI_CH_B;
			break;
		case 8: /* the PRDT lies beyond memory */
			header(&g, tag)->ctba = (u32)RAM_GPA + RAM_BYTES - 128;
			memcpy(g.ram + RAM_BYTES - 128, table(&g, tag)->cfis, 20);
			break;
		case 9: /* a queued one */
			prepare(&g, tag, fpdma(ATA_WRITE_FPDMA, 1, 4, tag), BAD_GPA, 2048);
			wpx(&g, AHCI_PX_SACT, BIT(tag));
			break;
		case 10: /* no table at all for IDENTIFY */
			prepare(&g, tag, h2d(ATA_IDENTIFY, 1, 4), RAM_GPA + DATA, 0);
			break;
		}
		issue(&g, BIT(tag), false);
		assert_int_equal(px(&g, AHCI_PX_IS), expected[i]);
		assert_int_equal(px(&g, AHCI_PX_CI), BIT(tag));
		/* Nothing goes on until the port was reset. */
		prepare(&g, 5, h2d(ATA_CHECK_POWER, 0, 0), 0, 0);
		issue(&g, BIT(5), false);
		assert_int_equal(px(&g, AHCI_PX_CI), BIT(tag) | BIT(5));
		wpx(&g, AHCI_PX_CLBU, 0);
		wpx(&g, AHCI_PX_CMD, AHCI_PX_CMD_FRE);
		wpx(&g, AHCI_PX_SCTL, 1);
		assert_int_equal(px(&g, AHCI_PX_SSTS), AHCI_DET_PRESENT);
		wpx(&g, AHCI_PX_SCTL, 0);
		restart(&g);
		assert_int_equal(cmd(&g, h2d(ATA_READ_DMA, 1, 4), 2048), 0);
	}
	/* Frames that cannot be received. */
	wpx(&g, AHCI_PX_FBU, 0xdead);
	prepare(&g, 4, h2d(ATA_CHECK_POWER, 0, 0), 0, 0);
	issue(&g, BIT(4), false);
	assert_true(px(&g, AHCI_PX_IS) & AHCI_PX_IS_HBFS);
	guest_end(&g);
}

/* ---------------------------------------------------------------- resets */

static void software_reset(void **state)
{
	struct fis_reg_h2d f = h2d(0, 0, 0);
	struct guest g;

	(void)state;
	guest_on(&g);
	assert_int_equal(simple(&g, ATA_SET_MULTIPLE, 0, 8), 0);
	wpx(&g, AHCI_PX_SERR, ~0u);
	f.flags = 0;
	f.control = ATA_CTL_SRST;
	prepare(&g, 0, f, 0, 0);
	header(&g, 0)->flags |= AHCI_CH_R | AHCI_CH_C;
	issue(&g, 1, false);
	assert_int_equal(px(&g, AHCI_PX_CI), 0);
	assert_int_equal(px(&g, AHCI_PX_TFD) & (ATA_STS_BSY | ATA_STS_DRQ), 0);
	/* Held: a command gets no answer. */
	prepare(&g, 1, h2d(ATA_CHECK_POWER, 0, 0), 0, 0);
	issue(&g, 2, false);
	assert_int_equal(px(&g, AHCI_PX_CI), 2);
	wpx(&g, AHCI_PX_CMD, AHCI_PX_CMD_FRE);
	wpx(&g, AHCI_PX_CMD, AHCI_PX_CMD_FRE | AHCI_PX_CMD_CLO);
	assert_int_equal(px(&g, AHCI_PX_TFD) & ATA_STS_BSY, 0);
	assert_int_equal(px(&g, AHCI_PX_CMD) & AHCI_PX_CMD_CLO, 0);
	wpx(&g, AHCI_PX_CMD, AHCI_PX_CMD_FRE | AHCI_PX_CMD_ST);
	f.control = 0;
	prepare(&g, 0, f, 0, 0);
	issue(&g, 1, false);
	assert_int_equal(px(&g, AHCI_PX_CI), 0);
	assert_int_equal(px(&g, AHCI_PX_TFD), 0x150);
	assert_int_equal(px(&g, AHCI_PX_SIG), AHCI_SIG_ATA);
	assert_int_equal(rx(&g)->rfis.lba[0], 1);
	ack(&g);
	/* Settings survive, unless that was changed. */
	assert_int_equal(cmd(&g, h2d(ATA_READ_MULTIPLE, 1, 1), 512), 0);
	assert_int_equal(simple(&g, ATA_SET_FEATURES, ATA_SF_REVERT, 0), 0);
	for (u32 i = 0; i < 2; i++) {
		f.control = i ? 0 : ATA_CTL_SRST;
		prepare(&g, 0, f, 0, 0);
		header(&g, 0)->flags |= AHCI_CH_C;
		issue(&g, 1, false);
	}
	ack(&g);
	assert_int_equal(cmd(&g, h2d(ATA_READ_MULTIPLE, 1, 1), 512), 4);
	/* A control frame that changes nothing */
	prepare(&g, 0, f, 0, 0);
	issue(&g, 1, false);
	assert_int_equal(px(&g, AHCI_PX_CI), 0);
	guest_end(&g);
}

/*
 * Requests below outlive the guest's interest in them. Every way to forget
 * them: nothing starts, and the disk does not answer, before they are home.
 */
static void forgotten(void **state)
{
	struct fis_reg_h2d f = h2d(0, 0, 0);
	struct guest g;

	(void)state;
	f.flags = 0;
	for (u32 i = 0; i < 4; i++) {
		guest_on(&g);
		g.disk.hold = true;
		prepare(&g, 1, fpdma(ATA_WRITE_FPDMA, 1, 1, 1), RAM_GPA + DATA, 512);
		prepare(&g, 2, fpdma(ATA_WRITE_FPDMA, 2, 1, 2), RAM_GPA + DATA, 512);
		issue(&g, 6, true);
		switch (i) {
		case 0: /* COMRESET */
			wpx(&g, AHCI_PX_CMD, AHCI_PX_CMD_FRE);
			assert_true(px(&g, AHCI_PX_CMD) & AHCI_PX_CMD_CR);
			wpx(&g, AHCI_PX_SCTL, 1);
			wpx(&g, AHCI_PX_SCTL, 0);
			assert_int_equal(px(&g, AHCI_PX_SSTS), 0x133);
			break;
		case 1: /* the adapter */
			wr(&g, AHCI_GHC, AHCI_GHC_HR);
			assert_int_equal(rd(&g, AHCI_GHC), AHCI_GHC_AE);
			assert_int_equal(px(&g, AHCI_PX_CLB), RAM_GPA + CLIST);
			wpx(&g, AHCI_PX_CMD, AHCI_PX_CMD_FRE);
			break;
		case 2: /* SRST */
			f.control = ATA_CTL_SRST;
			prepare(&g, 0, f, 0, 0);
			header(&g, 0)->flags |= AHCI_CH_C;
			issue(&g, 1, false);
			assert_int_equal(px(&g, AHCI_PX_CI), 0);
			f.control = 0;
			prepare(&g, 0, f, 0, 0);
			issue(&g, 1, false);
			assert_int_equal(px(&g, AHCI_PX_CI), 1); /* not before they are home */
			break;
		default: /* the list alone */
			wpx(&g, AHCI_PX_CMD, AHCI_PX_CMD_FRE);
			wpx(&g, AHCI_PX_CMD, AHCI_PX_CMD_FRE | AHCI_PX_CMD_ST);
			prepare(&g, 1, h2d(ATA_CHECK_POWER, 0, 0), 0, 0);
			issue(&g, 2, false);
			assert_int_equal(px(&g, AHCI_PX_CI), 2);
		}
		if (i < 2)
			assert_int_equal(px(&g, AHCI_PX_TFD), ATA_STS_BSY);
		assert_int_equal(ahci_emul_inflight(g.bar.ahci), 2);
		g.disk.hold = false;
		run(&g);
		assert_int_equal(px(&g, AHCI_PX_TFD) & 0xff, 0x50);
		if (i < 3)
			assert_int_equal(px(&g, AHCI_PX_SIG), AHCI_SIG_ATA);
		assert_int_equal(px(&g, AHCI_PX_CI), 0);
		assert_int_equal(rx(&g)->sdbfis.type, 0); /* nobody was told of them */
		start(&g);
		ack(&g);
		assert_int_equal(cmd(&g, h2d(ATA_READ_DMA, 1, 4), 2048), 0);
		guest_end(&g);
	}
	/* Not queued, and given up: the disk is busy until it has ended. */
	guest_on(&g);
	g.disk.hold = true;
	prepare(&g, 1, h2d(ATA_READ_DMA, 1, 1), RAM_GPA + DATA, 512);
	issue(&g, 2, false);
	assert_int_equal(px(&g, AHCI_PX_TFD) & 0xff, 0xd0);
	wpx(&g, AHCI_PX_CMD, AHCI_PX_CMD_FRE);
	assert_int_equal(px(&g, AHCI_PX_TFD) & 0xff, 0xd0);
	g.disk.hold = false;
	run(&g);
	assert_int_equal(px(&g, AHCI_PX_TFD) & 0xff, 0x50);
	guest_end(&g);
}

static void link_control(void **state)
{
	struct guest g;

	(void)state;
	guest_on(&g);
	wpx(&g, AHCI_PX_CMD, AHCI_PX_CMD_FRE);
	wpx(&g, AHCI_PX_SCTL, 0x304);
	assert_int_equal(px(&g, AHCI_PX_SCTL), 0x304);
	assert_int_equal(px(&g, AHCI_PX_SSTS), AHCI_DET_OFFLINE);
	assert_int_equal(px(&g, AHCI_PX_TFD), 0x7f);
	wpx(&g, AHCI_PX_SCTL, 0x300);
	assert_int_equal(px(&g, AHCI_PX_SSTS), 0x133);
	assert_int_equal(px(&g, AHCI_PX_TFD), 0x150);
	assert_true(px(&g, AHCI_PX_IS) & AHCI_PX_IS_PCS);
	/* With ST on, the list stands still until ST was off. */
	start(&g);
	wpx(&g, AHCI_PX_SCTL, 1);
	wpx(&g, AHCI_PX_SCTL, 0);
	prepare(&g, 1, h2d(ATA_CHECK_POWER, 0, 0), 0, 0);
	issue(&g, 2, false);
	assert_int_equal(px(&g, AHCI_PX_CI), 2);
	restart(&g);
	assert_int_equal(cmd(&g, h2d(ATA_CHECK_POWER, 0, 0), 0), 0);
	guest_end(&g);
}

static void configurations(void **state)
{
	struct ahci_emul_cfg cfg = { .port = 31 };
	struct ahci_emul *e;
	struct guest g;
	u64 v;

	(void)state;
	guest_off(&g, 512);
	assert_int_equal(ahci_emul_bar_bytes(&config), 4096);
	assert_int_equal(ahci_emul_bar_bytes(&cfg), 8192);
	e = ahci_emul_create(&g.bar.host, &g.disk.blk, &cfg);
	assert_non_null(e);
	v = ahci_emul_read(e, AHCI_PORT(31) + AHCI_PX_SSTS, 4);
	assert_int_equal(v, 0x133);
	v = ahci_emul_read(e, AHCI_PI, 4);
	assert_int_equal(v, 0x80000000);
	ahci_emul_destroy(e);
	cfg.port = 32;
	assert_null(ahci_emul_create(&g.bar.host, &g.disk.blk, &cfg));
	cfg.port = 0;
	g.disk.blk.max_segs = 2;
	assert_null(ahci_emul_create(&g.bar.host, &g.disk.blk, &cfg));
	guest_end(&g);
	guest_off(&g, 512);
	/* A disk below that takes little at a time. */
	g.disk.blk.max_segs = 3;
	g.disk.blk.max_sectors = 16;
	start(&g);
	fill(&g);
	assert_int_equal(cmd(&g, h2d(ATA_READ_DMA_EXT, 1, 100), 51200), 0);
	assert_memory_equal(g.ram + DATA, g.disk.data + 512, 51200);
	assert_int_equal(cmd(&g, h2d(ATA_VERIFY_EXT, 1, 100), 0), 0);
	scattered(&g, 30, 600, 700);
	assert_int_equal(g.disk.sectors_longest, 16);
	guest_end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(registers),
		cmocka_unit_test(ports),
		cmocka_unit_test(interrupts),
		cmocka_unit_test(identify),
		cmocka_unit_test(settings),
		cmocka_unit_test(power),
		cmocka_unit_test(logs),
		cmocka_unit_test(every_command),
		cmocka_unit_test(every_subcommand),
		cmocka_unit_test(transfers),
		cmocka_unit_test(prd_tables),
		cmocka_unit_test(trims),
		cmocka_unit_test(queued),
		cmocka_unit_test(queued_error),
		cmocka_unit_test(mixed),
		cmocka_unit_test(disk_errors),
		cmocka_unit_test(guest_errors),
		cmocka_unit_test(software_reset),
		cmocka_unit_test(forgotten),
		cmocka_unit_test(link_control),
		cmocka_unit_test(configurations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
