/*
 * net/emul/e1000e: a small guest driver with rings of its own, and our real driver
 * (net/drivers/e1000e.c) as the guest's, over a fake BAR.
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
#include "base/plat.h"
#include "base/plat_host.h"
#include "net/drivers/drivers.h"
#include "net/emul/e1000e.h"
#include "net/spec/e1000e.h"
#include "tests/fakes/nic_rig.h"

#define RAM_GPA 0x40000000ull
#define RAM_BYTES (512 * 1024u)
#define TX_RING 0x0000u
#define RX_RING 0x2000u
#define RX_BUFS 0x10000u
#define TX_BUFS 0x40000u
#define RING 64u

static struct nic_rig rig;
static u8 *ram;
static u32 tx_tail;

static void start(bool msix)
{
	struct e1000e_emul_cfg cfg;

	plat_host_quiet = true;
	plat_host_now_ns = 5 * NS_PER_SEC;
	rig_init(&rig);
	rig.bus.vendor = E1000E_EMUL_VENDOR;
	rig.bus.device = E1000E_EMUL_DEVICE;
	rig.bus.bar_bytes = E1000E_EMUL_BAR_BYTES;
	rig.bus.has_msix = msix;
	rig.bus.has_msi = true;
	cfg = (struct e1000e_emul_cfg){ &rig.host, rig.share, rig_msix, &rig };
	assert_int_equal(e1000e_emul_create(&cfg, &rig.nic), 0);
	ram = calloc(1, RAM_BYTES);
	rig_window(&rig, RAM_GPA, ram, RAM_BYTES);
	tx_tail = 0;
}

static void stop(void)
{
	e1000e_emul_destroy(rig.nic);
	rig_fini(&rig);
	free(ram);
}

static void rx_start(u32 rctl, u32 rfctl)
{
	u32 size = FIELD_GET(E1000_RCTL_DTYP, rctl) ? 32 : 16;

	for (u32 i = 0; i < RING; i++) {
		memset(ram + RX_RING + size * i, 0, size);
		put_le64(ram + RX_RING + size * i, RAM_GPA + RX_BUFS + 2048 * i);
		if (size == 32)
			put_le64(ram + RX_RING + size * i + 8, RAM_GPA + RX_BUFS + 2048 * i + 1024);
	}
	rig_write(&rig, E1000_RFCTL, rfctl);
	rig_write(&rig, E1000_RDBAL, (u32)RAM_GPA + RX_RING);
	rig_write(&rig, E1000_RDBAH, 0);
	rig_write(&rig, E1000_RDLEN, RING * size);
	rig_write(&rig, E1000_RDH, 0);
	rig_write(&rig, E1000_RDT, RING - 1);
	rig_write(&rig, E1000_RXCSUM, E1000_RXCSUM_IPOFL | E1000_RXCSUM_TUOFL);
	rig_write(&rig, E1000_RCTL, rctl | E1000_RCTL_EN);
}

static void tx_start(void)
{
	rig_write(&rig, E1000_TDBAL, (u32)RAM_GPA + TX_RING);
	rig_write(&rig, E1000_TDBAH, 0);
	rig_write(&rig, E1000_TDLEN, RING * 16);
	rig_write(&rig, E1000_TDH, 0);
	rig_write(&rig, E1000_TDT, 0);
	rig_write(&rig, E1000_TCTL, E1000_TCTL_EN | E1000_TCTL_PSP);
}

static void tx_desc(u64 first, u64 second)
{
	put_le64(ram + TX_RING + 16 * tx_tail, first);
	put_le64(ram + TX_RING + 16 * tx_tail + 8, second);
	tx_tail = (tx_tail + 1) % RING;
}

static void tx_legacy(u32 off, u32 bytes, u32 cmd, u32 cso, u32 css, u32 special)
{
	tx_desc(RAM_GPA + off, bytes | cso << 16 | (u64)cmd << 24 | (u64)css << 40 |
				       (u64)special << 48);
}

static void tx_data(u32 off, u32 bytes, u32 cmd, u32 popts, u32 special)
{
	tx_desc(RAM_GPA + off, bytes | E1000_TXX_DATA << 20 |
				       (u64)(cmd | E1000_TXD_DEXT) << 24 | (u64)popts << 40 |
				       (u64)special << 48);
}

static void tx_go(void)
{
	rig_write(&rig, E1000_TDT, tx_tail);
	rig_run(&rig);
}

static bool tx_dd(u32 i)
{
	return ram[TX_RING + 16 * (i % RING) + 12] & E1000_TXD_DD;
}

static void frame_make(u8 *f, u32 bytes, u32 seed)
{
	for (u32 i = 0; i < bytes; i++)
		f[i] = (u8)(seed * 7 + i * 13 + (i >> 8));
	memcpy(f, "\x52\x54\x00\xaa\xbb\xcc", MIN(bytes, 6u));
	if (bytes >= 14) {
		memcpy(f + 6, "\x52\x54\x00\xaa\xbb\xcc", 6);
		put_le16(f + 12, 0xb588); /* no protocol that anybody looks at */
	}
}

static void rx(u32 bytes, u32 seed, bool csum_ok)
{
	u8 f[NETIF_FRAME_MAX];

	frame_make(f, bytes, seed);
	rig_rx(&rig, f, bytes, csum_ok);
}

/* ---------------------------------------------------------------- registers */

static void nvm_and_phy(void **state)
{
	u16 sum = 0;

	(void)state;
	start(false);
	for (u32 i = 0; i < 64; i++) {
		u32 v;

		rig_write(&rig, E1000_EERD, i << 2 | E1000_EERD_START_82574);
		v = rig_read(&rig, E1000_EERD);
		assert_true(v & E1000_EERD_DONE_82574);
		sum = (u16)(sum + (v >> 16));
		if (i < 3)
			assert_int_equal(v >> 16, get_le16(rig.card.mac + 2 * i));
	}
	assert_int_equal(sum, 0xbaba);
	rig_write(&rig, E1000_EERD, 1000 << 2 | E1000_EERD_START_82574);
	assert_int_equal(rig_read(&rig, E1000_EERD) >> 16, 0xffff);
	rig_write(&rig, E1000_MDIC, E1000_MDIC_OP_READ | 2 << 16 | 1 << 21);
	assert_int_equal(rig_read(&rig, E1000_MDIC) & 0xffff, 0x0141);
	rig_write(&rig, E1000_MDIC, E1000_MDIC_OP_READ | 2 << 16 | 2 << 21);
	assert_true(rig_read(&rig, E1000_MDIC) & E1000_MDIC_ERROR);
	/* the identity cannot be written; another page is another register */
	rig_write(&rig, E1000_MDIC, E1000_MDIC_OP_WRITE | 2 << 16 | 1 << 21 | 7);
	rig_write(&rig, E1000_MDIC, E1000_MDIC_OP_WRITE | 22 << 16 | 1 << 21 | 5);
	rig_write(&rig, E1000_MDIC, E1000_MDIC_OP_READ | 17 << 16 | 1 << 21);
	assert_int_equal(rig_read(&rig, E1000_MDIC) & 0xffff, 0);
	rig_write(&rig, E1000_MDIC, E1000_MDIC_OP_READ | 2 << 16 | 1 << 21);
	assert_int_equal(rig_read(&rig, E1000_MDIC) & 0xffff, 0x0141);
	stop();
}

static void reset_and_widths(void **state)
{
	u64 v;

	(void)state;
	start(false);
	rig_write(&rig, 0x5a00, 0x12345678); /* WUS: only kept */
	assert_int_equal(rig_read(&rig, 0x5a00), 0x12345678);
	rig.nic->ops->mmio(rig.nic, 0x5a02, 2, false, &v);
	assert_int_equal(v, 0x1234);
	v = 0xffff;
	rig.nic->ops->mmio(rig.nic, 0x5a02, 2, true, &v);
	assert_int_equal(rig_read(&rig, 0x5a00), 0x12345678);
	v = 0x1111111122222222;
	rig.nic->ops->mmio(rig.nic, 0x5a00, 8, true, &v);
	assert_int_equal(rig_read(&rig, 0x5a04), 0x11111111);
	rig.nic->ops->mmio(rig.nic, 0x5a00, 8, false, &v);
	assert_true(v == 0x1111111122222222);
	/* beyond what there is */
	v = ~0ull;
	rig.nic->ops->mmio(rig.nic, 0x5ffc, 8, true, &v);
	rig.nic->ops->mmio(rig.nic, 0x1fffc, 8, false, &v);
	assert_true(v == 0);
	rig.nic->ops->mmio(rig.nic, ~7ull, 8, false, &v);
	assert_true(v == 0);
	rig_write(&rig, E1000_RAL(0), 0);
	rig_write(&rig, E1000_CTRL, E1000_CTRL_RST);
	assert_int_equal(rig_read(&rig, 0x5a00), 0);
	assert_false(rig_read(&rig, E1000_CTRL) & E1000_CTRL_RST);
	assert_int_equal(rig_read(&rig, E1000_RAL(0)), get_le32(rig.card.mac));
	assert_int_equal(rig_read(&rig, E1000_RAH(0)),
			 get_le16(rig.card.mac + 4) | E1000_RAH_AV);
	/* GIO master disable is answered */
	rig_write(&rig, E1000_CTRL, E1000_CTRL_GIO_MASTER_DISABLE);
	assert_false(rig_read(&rig, E1000_STATUS) & E1000_STATUS_GIO_MASTER);
	/* the semaphore goes to who reads it clear */
	assert_int_equal(rig_read(&rig, E1000_SWSM) & 1, 0);
	assert_int_equal(rig_read(&rig, E1000_SWSM) & 1, 1);
	rig_write(&rig, E1000_SWSM, 0);
	assert_int_equal(rig_read(&rig, E1000_SWSM) & 1, 0);
	stop();
}

static void link_follows(void **state)
{
	(void)state;
	start(false);
	rig_write(&rig, E1000_IMS, E1000_INT_LSC);
	for (u32 i = 0; i < 6; i++) {
		rig.link = i & 1;
		rig.mbps = i & 2 ? 100 : 1000;
		plat_host_now_ns += NS_PER_SEC;
		rig_run(&rig);
		assert_int_equal(!!(rig_read(&rig, E1000_STATUS) & E1000_STATUS_LU), i & 1);
		assert_int_equal(rig.irqs[0], i + 1);
		assert_true(rig_read(&rig, E1000_ICR) & E1000_INT_LSC);
		rig_write(&rig, E1000_MDIC, E1000_MDIC_OP_READ | 1 << 16 | 1 << 21);
		assert_int_equal(!!(rig_read(&rig, E1000_MDIC) & E1000_BMSR_LINK), i & 1);
		rig_read(&rig, E1000_ICR);
		if (i & 1)
			assert_int_equal(FIELD_GET(E1000_STATUS_SPEED,
						   rig_read(&rig, E1000_STATUS)), i & 2 ? 1 : 2);
	}
	stop();
}

/* ---------------------------------------------------------------- interrupts */

static void one_message(void **state)
{
	(void)state;
	start(false);
	rig_write(&rig, E1000_ICS, E1000_INT_TXDW);
	assert_int_equal(rig.irqs[0], 0);
	rig_write(&rig, E1000_IMS, E1000_INT_TXDW | E1000_INT_RXT0);
	assert_int_equal(rig.irqs[0], 1); /* unmasking lets it out */
	rig_write(&rig, E1000_ICS, E1000_INT_RXT0);
	assert_int_equal(rig.irqs[0], 1); /* asserted already */
	assert_int_equal(rig_read(&rig, E1000_ICR),
			 E1000_INT_ASSERTED | E1000_INT_TXDW | E1000_INT_RXT0);
	assert_int_equal(rig_read(&rig, E1000_ICR), 0);
	rig_write(&rig, E1000_ICS, E1000_INT_RXT0);
	assert_int_equal(rig.irqs[0], 2);
	rig_write(&rig, E1000_IMC, ~0u);
	rig_write(&rig, E1000_IMS, E1000_INT_RXT0);
	assert_int_equal(rig.irqs[0], 3);
	/* auto-mask: reading masks what IAM names */
	rig_write(&rig, E1000_IAM, ~0u);
	rig_write(&rig, E1000_CTRL_EXT, E1000_CTRL_EXT_IAME);
	assert_true(rig_read(&rig, E1000_ICR) & E1000_INT_RXT0);
	rig_write(&rig, E1000_ICS, E1000_INT_RXT0);
	assert_int_equal(rig.irqs[0], 3);
	assert_int_equal(rig_read(&rig, E1000_IMS), 0);
	stop();
}

static void five_vectors(void **state)
{
	(void)state;
	start(true);
	rig.msix = true;
	/* RXQ0 to 0, TXQ0 to 1, other to 2; RXQ1 says nothing; TXQ1 to one that is not there */
	rig_write(&rig, E1000_IVAR, 0x8 | 0x9 << 8 | 0xf << 12 | 0xa << 16);
	rig_write(&rig, E1000_EIAC, E1000_INT_RXQ0 | E1000_INT_TXQ0);
	rig_write(&rig, E1000_IMS, 0x01f00000 | E1000_INT_LSC);
	rig_write(&rig, E1000_ICS, E1000_INT_RXQ0);
	assert_int_equal(rig.irqs[0], 1);
	/* cleared and masked by itself */
	assert_int_equal(rig_read(&rig, E1000_IMS) & E1000_INT_RXQ0, 0);
	rig_write(&rig, E1000_ICS, E1000_INT_RXQ0);
	assert_int_equal(rig.irqs[0], 1);
	rig_write(&rig, E1000_IMS, E1000_INT_RXQ0);
	assert_int_equal(rig.irqs[0], 2);
	rig_write(&rig, E1000_ICS, BIT(21) | BIT(23));
	rig_write(&rig, E1000_ICS, E1000_INT_TXQ0);
	assert_int_equal(rig.irqs[1], 1);
	/* a cause without a vector of its own: other, until it is cleared */
	rig_write(&rig, E1000_ICS, E1000_INT_LSC);
	assert_int_equal(rig.irqs[2], 1);
	rig_write(&rig, E1000_ICS, E1000_INT_LSC);
	assert_int_equal(rig.irqs[2], 1);
	assert_true(rig_read(&rig, E1000_ICR) & E1000_INT_OTHER);
	rig_write(&rig, E1000_ICR, E1000_INT_LSC | E1000_INT_OTHER);
	rig_write(&rig, E1000_ICS, E1000_INT_LSC);
	assert_int_equal(rig.irqs[2], 2);
	/* as Linux has it: the handler reads, which clears, and unmasks again */
	assert_true(rig_read(&rig, E1000_ICR) & E1000_INT_LSC);
	rig_write(&rig, E1000_IMS, E1000_INT_OTHER | E1000_INT_LSC);
	assert_int_equal(rig.irqs[2], 2);
	rig_write(&rig, E1000_ICS, E1000_INT_LSC);
	assert_int_equal(rig.irqs[2], 3);
	assert_int_equal(rig.irqs[3] + rig.irqs[4] + rig.irqs[7], 0);
	stop();
}

/* ---------------------------------------------------------------- receive */

static void receives(void **state)
{
	(void)state;
	for (u32 ext = 0; ext < 2; ext++) {
		start(false);
		rx_start(E1000_RCTL_SECRC, ext ? E1000_RFCTL_EXSTEN : 0);
		rig_write(&rig, E1000_IMS, E1000_INT_RXT0);
		for (u32 i = 0; i < 500; i++) {
			u32 bytes = 60 + i * 2, at = i % RING;
			u8 f[NETIF_FRAME_MAX], *d = ram + RX_RING + 16 * at;

			rx(bytes, i, i & 1);
			frame_make(f, bytes, i);
			assert_memory_equal(ram + RX_BUFS + 2048 * at, f, bytes);
			assert_int_equal(get_le16(d + (ext ? 12 : 8)), bytes);
			/* whole, done, and with the verdict */
			assert_int_equal(d[ext ? 8 : 12], i & 1 ? 0x63 : 0x07);
			memset(d + 8, 0, 8);
			put_le64(d, RAM_GPA + RX_BUFS + 2048 * at);
			rig_write(&rig, E1000_RDT, at);
			assert_int_equal(rig.irqs[0], i + 1);
			rig_read(&rig, E1000_ICR);
		}
		assert_int_equal(rig_read(&rig, 0x4074), 500); /* GPRC, and reading clears */
		assert_int_equal(rig_read(&rig, 0x4074), 0);
		stop();
	}
}

static void overrun(void **state)
{
	(void)state;
	start(false);
	rx_start(E1000_RCTL_SECRC, 0);
	for (u32 i = 0; i < 100; i++)
		rx(60, i, false);
	assert_int_equal(rig_read(&rig, E1000_RDH), RING - 1);
	assert_int_equal(rig_read(&rig, 0x4010), 100 - (RING - 1));
	assert_true(rig_read(&rig, E1000_ICR) & E1000_INT_RXO);
	/* frames over several buffers: whole or not at all */
	rx_start(E1000_RCTL_SECRC | 3 << 16, 0); /* 256 bytes each */
	rig_write(&rig, E1000_RDT, 6);
	rx(1000, 1, false);
	assert_int_equal(rig_read(&rig, E1000_RDH), 4);
	for (u32 i = 0; i < 4; i++) {
		assert_int_equal(get_le16(ram + RX_RING + 16 * i + 8), i < 3 ? 256 : 1000 - 768);
		assert_int_equal(ram[RX_RING + 16 * i + 12] & 3, i < 3 ? 1 : 3);
	}
	rx(1000, 2, false);
	assert_int_equal(rig_read(&rig, E1000_RDH), 4);
	rx(500, 2, false);
	assert_int_equal(rig_read(&rig, E1000_RDH), 6);
	stop();
}

static void packet_split(void **state)
{
	u8 f[1400];

	(void)state;
	start(false);
	rx_start(E1000_RCTL_SECRC | E1000_RCTL_DTYP_SPLIT << 10, E1000_RFCTL_EXSTEN);
	rig_write(&rig, E1000_PSRCTL, 2 | 1 << 8 | 1 << 16);
	for (u32 i = 0; i < RING; i++)
		put_le64(ram + RX_RING + 32 * i + 16, RAM_GPA + TX_BUFS + 1024 * i);
	rx(1400, 3, true);
	frame_make(f, 1400, 3);
	assert_memory_equal(ram + RX_BUFS, f, 256);
	assert_memory_equal(ram + RX_BUFS + 1024, f + 256, 1024);
	assert_memory_equal(ram + TX_BUFS, f + 1280, 120);
	assert_int_equal(get_le16(ram + RX_RING + 12), 256);
	assert_int_equal(get_le16(ram + RX_RING + 18), 1024);
	assert_int_equal(get_le16(ram + RX_RING + 20), 120);
	assert_int_equal(ram[RX_RING + 8] & 3, 3);
	stop();
}

static void fcs_and_padding(void **state)
{
	/* CRC-32 of 60 zeros but the first 14 bytes is checked by its residue */
	u32 c = ~0u;

	(void)state;
	start(false);
	rx_start(0, 0);
	rx(40, 1, false);
	assert_int_equal(get_le16(ram + RX_RING + 8), 64);
	for (u32 i = 0; i < 64; i++) {
		c ^= ram[RX_BUFS + i];
		for (u32 b = 0; b < 8; b++)
			c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
	}
	assert_int_equal(c, 0xdebb20e3);
	for (u32 i = 40; i < 60; i++)
		assert_int_equal(ram[RX_BUFS + i], 0);
	stop();
}

static void filters(void **state)
{
	u8 f[60] = { 0 };
	u32 head = 0;
	static const struct { u8 first, last; u32 rctl; u32 mta; bool pass; } rows[] = {
		{ 0xff, 0xff, E1000_RCTL_BAM, 0, true },
		{ 0xff, 0xff, 0, 0, false },
		{ 0x52, 0xcc, 0, 0, true }, /* its own */
		{ 0x54, 0xcc, 0, 0, false },
		{ 0x54, 0xcc, E1000_RCTL_UPE, 0, true },
		{ 0x01, 0x30, 0, 0, false },
		{ 0x01, 0x30, E1000_RCTL_MPE, 0, true },
		{ 0x01, 0x30, 0, 0x30bb >> 4, true },
		{ 0x01, 0x31, 0, 0x30bb >> 4, false },
		{ 0x01, 0x30, 1 << 12, 0x30bb >> 3 & 0xfff, true },
	};

	(void)state;
	start(false);
	for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
		memcpy(f, "\x52\x54\x00\xaa\xbb\xcc", 6);
		if (rows[i].first == 0xff)
			memset(f, 0xff, 6);
		f[0] = rows[i].first;
		f[5] = rows[i].last;
		rx_start(E1000_RCTL_SECRC | rows[i].rctl, 0);
		if (rows[i].mta)
			rig_write(&rig, E1000_MTA(rows[i].mta / 32), BIT(rows[i].mta % 32));
		assert_int_equal(rig.filter.all_multicast,
				 rows[i].mta || rows[i].rctl & E1000_RCTL_MPE);
		assert_int_equal(rig.filter.promiscuous, !!(rows[i].rctl & E1000_RCTL_UPE));
		rig_rx(&rig, f, 60, false);
		head = rig_read(&rig, E1000_RDH);
		assert_int_equal(head, rows[i].pass);
		if (rows[i].mta)
			rig_write(&rig, E1000_MTA(rows[i].mta / 32), 0);
	}
	/* a second address: the real card must let everything through */
	rig_write(&rig, E1000_RAL(3), 0x12345678 & ~1u);
	rig_write(&rig, E1000_RAH(3), E1000_RAH_AV | 0x1111);
	assert_true(rig.filter.promiscuous);
	rig_write(&rig, E1000_RAH(3), 0);
	assert_false(rig.filter.promiscuous);
	stop();
}

static void vlans(void **state)
{
	u8 f[100];

	(void)state;
	start(false);
	rx_start(E1000_RCTL_SECRC | E1000_RCTL_VFE, E1000_RFCTL_EXSTEN);
	rig_write(&rig, E1000_CTRL, rig_read(&rig, E1000_CTRL) | E1000_CTRL_VME);
	frame_make(f, 100, 1);
	memcpy(f + 12, "\x81\x00\x20\x05", 4);
	rig_rx(&rig, f, 100, false);
	assert_int_equal(rig_read(&rig, E1000_RDH), 0); /* not in the table */
	rig_write(&rig, E1000_VFTA(0), BIT(5));
	rig_rx(&rig, f, 100, false);
	assert_int_equal(rig_read(&rig, E1000_RDH), 1);
	assert_true(ram[RX_RING + 8] & E1000_RXX_VP);
	assert_int_equal(get_le16(ram + RX_RING + 14), 0x2005);
	assert_int_equal(get_le16(ram + RX_RING + 12), 96);
	assert_memory_equal(ram + RX_BUFS, f, 12);
	assert_memory_equal(ram + RX_BUFS + 12, f + 16, 84);
	/* and out */
	tx_start();
	frame_make(ram + TX_BUFS, 200, 2);
	tx_legacy(TX_BUFS, 200, E1000_TXD_EOP | E1000_TXD_RS | E1000_TXD_VLE, 0, 0, 0x2006);
	tx_go();
	assert_int_equal(rig.sent[0].bytes, 204);
	assert_memory_equal(rig.sent[0].data + 12, "\x81\x00\x20\x06", 4);
	assert_memory_equal(rig.sent[0].data + 16, ram + TX_BUFS + 12, 188);
	stop();
}

/* ---------------------------------------------------------------- transmit */

static void transmits(void **state)
{
	(void)state;
	start(false);
	tx_start();
	rig_write(&rig, E1000_IMS, E1000_INT_TXDW);
	for (u32 i = 0; i < 500; i++) {
		u32 bytes = 60 + i * 2, first = tx_tail, cut = MIN(bytes - 1, 20 + i % 300);

		frame_make(ram + TX_BUFS, bytes, i);
		if (i & 1) {
			tx_legacy(TX_BUFS, bytes, E1000_TXD_EOP | E1000_TXD_RS, 0, 0, 0);
		} else {
			tx_data(TX_BUFS, cut, 0, 0, 0);
			tx_data(TX_BUFS + cut, bytes - cut, E1000_TXD_EOP | E1000_TXD_RS, 0, 0);
		}
		rig.hold = true;
		tx_go();
		/* what lies in guest memory still is not done before it is sent */
		assert_int_equal(tx_dd(tx_tail + RING - 1), bytes <= SHARE_HEAD_MIN);
		rig.hold = false;
		rig_run(&rig);
		assert_true(tx_dd(tx_tail + RING - 1));
		assert_int_equal(rig.sents, i + 1);
		assert_int_equal(rig.sent[i].bytes, bytes);
		assert_memory_equal(rig.sent[i].data, ram + TX_BUFS, bytes);
		assert_int_equal(rig_read(&rig, E1000_TDH), tx_tail);
		assert_true(rig_read(&rig, E1000_ICR) & E1000_INT_TXDW);
		assert_int_equal(rig.irqs[0], i + 1);
		memset(ram + TX_RING + 16 * first, 0, 16);
		memset(ram + TX_RING + 16 * ((first + 1) % RING), 0, 16);
	}
	assert_int_equal(rig_read(&rig, 0x4080), 500); /* GPTC */
	assert_true(e1000e_emul_stats(rig.nic)->tx_copied < 100);
	stop();
}

static u16 sum16(const u8 *p, u32 bytes)
{
	u32 sum = 0;

	for (u32 i = 0; i < bytes; i++)
		sum += i & 1 ? p[i] : (u32)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (u16)sum;
}

static void ip_tcp(u8 *f, u32 bytes, u32 seed)
{
	frame_make(f, bytes, seed);
	memcpy(f + 12, "\x08\x00\x45\x00", 4);
	f[20] = f[21] = 0; /* not a fragment */
	f[23] = 6;
	memcpy(f + 26, "\x0a\x00\x00\x64\x0a\x00\x00\x01", 8);
	f[46] = 0x50;
	f[47] = 0x19; /* ACK, PSH, FIN */
}

static void checksums(void **state)
{
	(void)state;
	for (u32 bytes = 80; bytes < 1500; bytes += 71) {
		u8 *f;
		u16 pseudo = (u16)(bytes * 31);

		start(false);
		tx_start();
		f = ram + TX_BUFS;
		ip_tcp(f, bytes, bytes);
		f[24] = f[25] = 0;
		f[50] = (u8)(pseudo >> 8);
		f[51] = (u8)pseudo;
		tx_desc(14 | 24 << 8 | 33u << 16 | 34ull << 32 | 50ull << 40,
			(u64)(E1000_TXD_DEXT) << 24);
		tx_data(TX_BUFS, bytes, E1000_TXD_EOP | E1000_TXD_RS,
			E1000_TXX_IXSM | E1000_TXX_TXSM, 0);
		tx_go();
		assert_int_equal(rig.sents, 1);
		assert_int_equal(sum16(rig.sent[0].data + 14, 20), 0xffff);
		u32 sum = sum16(rig.sent[0].data + 34, bytes - 34) + pseudo;

		assert_int_equal((u16)((sum & 0xffff) + (sum >> 16)), 0xffff);
		stop();
	}
}

static void segments(void **state)
{
	static const u32 payloads[] = { 1, 1000, 1448, 1449, 2896, 20000, 65000 };

	(void)state;
	for (u32 p = 0; p < ARRAY_SIZE(payloads); p++) {
		u32 total = 54 + payloads[p], n = (payloads[p] + 1447) / 1448, seen = 0, done = 0;
		u8 *f;

		start(false);
		rig.room = 5; /* slots run short, and frames wait for room in between */
		tx_start();
		f = ram + TX_BUFS;
		ip_tcp(f, total, p);
		put_le32(f + 38, 0x00100000); /* sequence number 0x1000 */
		f[50] = f[51] = 0;
		f[24] = f[25] = 0;
		f[18] = f[19] = 0xff;
		tx_desc(14 | 24 << 8 | 33u << 16 | 34ull << 32 | 50ull << 40,
			payloads[p] | (u64)(E1000_TXD_DEXT | 7) << 24 | 54ull << 40 |
			1448ull << 48);
		for (; done < total; done += MIN(total - done, 8000u))
			tx_data(TX_BUFS + done, MIN(total - done, 8000u),
				E1000_TXD_TSE | E1000_TXD_RS |
				(total - done <= 8000 ? E1000_TXD_EOP : 0),
				E1000_TXX_IXSM | E1000_TXX_TXSM, 0);
		tx_go();
		assert_int_equal(rig.sents, n);
		for (u32 i = 0; i < n; i++) {
			u8 *s = rig.sent[i].data;
			u32 bytes = MIN(payloads[p] - seen, 1448u), sum;

			assert_int_equal(rig.sent[i].bytes, MAX(54 + bytes, 60u));
			assert_memory_equal(s, f, 16);
			assert_int_equal(get_be16(s + 16), 40 + bytes);
			assert_int_equal(get_be16(s + 18), (u16)(0xffff + i));
			assert_int_equal(get_be32(s + 38), 0x1000 + seen);
			assert_int_equal(s[47], i + 1 == n ? 0x19 : 0x10);
			assert_memory_equal(s + 54, f + 54 + seen, bytes);
			assert_int_equal(sum16(s + 14, 20), 0xffff);
			/* the length is what the card adds to the pseudo header's sum */
			sum = sum16(s + 34, 20 + bytes) + 20 + bytes;
			assert_int_equal((u16)((sum & 0xffff) + (sum >> 16)), 0xffff);
			seen += bytes;
		}
		for (u32 i = 1; i < tx_tail; i++)
			assert_true(tx_dd(i));
		stop();
	}
}

static void many_pieces(void **state)
{
	(void)state;
	start(false);
	tx_start();
	/* more pieces than can be handed on: copied whole */
	frame_make(ram + TX_BUFS, 600, 1);
	for (u32 i = 0; i < 30; i++)
		tx_legacy(TX_BUFS + 20 * i, 20, i == 29 ? E1000_TXD_EOP | E1000_TXD_RS :
			  E1000_TXD_RS, 0, 0, 0);
	tx_go();
	assert_int_equal(rig.sents, 1);
	assert_memory_equal(rig.sent[0].data, ram + TX_BUFS, 600);
	for (u32 i = 0; i < 30; i++)
		assert_true(tx_dd(i));
	stop();
}

/* More frames than there are slots: the rest waits in the ring, in order. */
static void slots_run_short(void **state)
{
	u32 n = 0;

	(void)state;
	start(false);
	tx_start();
	rig.hold = true;
	rig.room = 5;
	for (u32 round = 0; round < 5; round++) {
		for (u32 i = 0; i < 50; i++, n++) {
			frame_make(ram + TX_BUFS + 128 * i, 100, n);
			tx_legacy(TX_BUFS + 128 * i, 100, E1000_TXD_EOP | E1000_TXD_RS, 0, 0, 0);
		}
		tx_go();
		if (round < 2)
			assert_int_equal(rig_read(&rig, E1000_TDH), tx_tail);
		else
			break;
	}
	/* one is gathered already, and held */
	assert_int_equal((tx_tail - rig_read(&rig, E1000_TDH)) % RING, 150 - SHARE_TX_SLOTS - 1);
	assert_int_equal(share_tx_busy(rig.share), SHARE_TX_SLOTS);
	rig.hold = false;
	rig_run(&rig);
	assert_int_equal(rig.sents, 150);
	for (u32 i = 0; i < 150; i++)
		assert_int_equal(rig.sent[i].data[20], (u8)(i * 7 + 20 * 13));
	assert_int_equal(rig_read(&rig, E1000_TDH), tx_tail);
	stop();
}

/* A frame that cannot be: it is lost, its descriptors are done, the next one goes out. */
static void broken_frames(void **state)
{
	(void)state;
	for (u32 kind = 0; kind < 7; kind++) {
		u32 rs = E1000_TXD_RS, end = E1000_TXD_EOP | E1000_TXD_RS;

		start(false);
		tx_start();
		switch (kind) {
		case 0: /* too long */
			tx_legacy(TX_BUFS, 1519, end, 0, 0, 0);
			break;
		case 1: /* too short */
			tx_legacy(TX_BUFS, 13, end, 0, 0, 0);
			break;
		case 2: /* nowhere */
			tx_desc(0x123456789000, 100 | (u64)end << 24);
			break;
		case 3: /* half of it */
			tx_legacy(RAM_BYTES - 50, 100, end, 0, 0, 0);
			break;
		case 4: /* no end for a long time */
			for (u32 i = 0; i < 200; i++) {
				tx_legacy(TX_BUFS, 16000, rs, 0, 0, 0);
				tx_go();
			}
			tx_legacy(TX_BUFS, 60, end, 0, 0, 0);
			break;
		case 5: /* segments of nothing */
			tx_desc(0, (u64)(E1000_TXD_DEXT | 7) << 24);
			tx_data(TX_BUFS, 5000, end | E1000_TXD_TSE, 3, 0);
			break;
		default: /* a header beyond the frame */
			tx_desc(255 | 255 << 8 | 255ull << 32 | 255ull << 40,
				100 | (u64)(E1000_TXD_DEXT | 7) << 24 | 255ull << 40 |
				1000ull << 48);
			tx_data(TX_BUFS, 200, end | E1000_TXD_TSE, 3, 0);
		}
		tx_go();
		assert_int_equal(rig.sents, 0);
		assert_true(tx_dd(tx_tail + RING - 1));
		assert_int_equal(e1000e_emul_stats(rig.nic)->tx_bad, 1);
		frame_make(ram + TX_BUFS, 300, 5);
		tx_legacy(TX_BUFS, 300, end, 0, 0, 0);
		tx_go();
		assert_int_equal(rig.sents, 1);
		assert_memory_equal(rig.sent[0].data, ram + TX_BUFS, 300);
		stop();
	}
}

static void broken_rings(void **state)
{
	(void)state;
	start(false);
	tx_start();
	rx_start(E1000_RCTL_SECRC, 0);
	frame_make(ram + TX_BUFS, 100, 1);
	rig_write(&rig, E1000_TDT, 1000);
	rig_write(&rig, E1000_RDT, 1000);
	rig_run(&rig);
	rx(60, 1, false);
	assert_int_equal(rig.sents, 0);
	assert_int_equal(rig_read(&rig, E1000_RDH), 0);
	rig_write(&rig, E1000_TDH, 64);
	rig_write(&rig, E1000_TDT, 3);
	rig_write(&rig, E1000_RDH, 64);
	rig_run(&rig);
	rx(60, 1, false);
	rig_write(&rig, E1000_TDLEN, 0);
	rig_write(&rig, E1000_RDLEN, 0);
	rig_write(&rig, E1000_TDH, 0);
	rig_write(&rig, E1000_RDH, 0);
	rig_write(&rig, E1000_TDT, 3);
	rig_run(&rig);
	rx(60, 1, false);
	/* rings that are no memory */
	tx_start();
	rx_start(E1000_RCTL_SECRC, 0);
	rig_write(&rig, E1000_TDBAH, 0x1234);
	rig_write(&rig, E1000_RDBAH, 0x1234);
	rig_write(&rig, E1000_TDT, 3);
	rig_run(&rig);
	rx(60, 1, false);
	assert_int_equal(rig.sents, 0);
	/* and set up again, all is well */
	tx_start();
	rx_start(E1000_RCTL_SECRC, 0);
	tx_legacy(TX_BUFS, 100, E1000_TXD_EOP, 0, 0, 0);
	tx_go();
	assert_int_equal(rig.sents, 1);
	rx(60, 1, false);
	assert_int_equal(rig_read(&rig, E1000_RDH), 1);
	stop();
}

/* What is under way when the guest resets its card is finished, and writes nothing any more. */
static void reset_with_frames_under_way(void **state)
{
	u8 before[RING * 16];

	(void)state;
	start(false);
	for (u32 round = 0; round < 20; round++) {
		tx_start();
		tx_tail = 0;
		rig.hold = true;
		rig.room = round; /* some with the real card, some waiting for it */
		for (u32 i = 0; i < 50; i++) {
			frame_make(ram + TX_BUFS + 2048 * i, 500, i);
			tx_legacy(TX_BUFS + 2048 * i, 500, E1000_TXD_EOP | E1000_TXD_RS, 0, 0, 0);
		}
		tx_go();
		rig_write(&rig, E1000_CTRL, E1000_CTRL_RST);
		memset(ram + TX_RING, 0x5a, RING * 16);
		memcpy(before, ram + TX_RING, sizeof(before));
		rig.hold = false;
		rig_run(&rig);
		assert_memory_equal(ram + TX_RING, before, sizeof(before));
		assert_int_equal(share_tx_busy(rig.share), 0);
		assert_int_equal(rig_read(&rig, E1000_ICR), 0);
	}
	stop();
}

/* ---------------------------------------------------------------- as Linux drives it */

/*
 * Interrupts as Linux's e1000e uses them: three vectors, or one message; handlers
 * that come late; each unmasks what is its own. The ring is kept full of frames that
 * wait for their interrupt: one that does not come is one that is missed.
 */
#define OTHER (E1000_INT_OTHER | E1000_INT_LSC | E1000_INT_RXO | E1000_INT_MDAC |            \
	       E1000_INT_SRPD | E1000_INT_ACK | E1000_INT_MNG)
#define ALL (E1000_INT_RXT0 | E1000_INT_TXDW | E1000_INT_RXDMT0 | E1000_INT_LSC)

static struct {
	u32 served[3];
	u32 cleaned, sent, got, came, links;
	u32 rx_at;
} lin;

static void lin_start(bool msix)
{
	u32 ext;

	start(msix);
	rig.msix = msix;
	lin = (typeof(lin)){ 0 };
	tx_start();
	rig_write(&rig, E1000_IAM, ~0u);
	rig_write(&rig, E1000_CTRL_EXT, E1000_CTRL_EXT_IAME);
	rx_start(E1000_RCTL_SECRC, E1000_RFCTL_EXSTEN);
	if (!msix) {
		rig_write(&rig, E1000_IMS, ALL);
		rig_write(&rig, E1000_ICS, E1000_INT_LSC);
		return;
	}
	rig_write(&rig, E1000_EITR(0), 195);
	rig_write(&rig, E1000_EITR(1), 195);
	rig_write(&rig, E1000_IVAR, 0x8 | 0x9 << 8 | 0xa << 16 | BIT(31));
	ext = rig_read(&rig, E1000_CTRL_EXT) & ~E1000_CTRL_EXT_IAME;
	rig_write(&rig, E1000_CTRL_EXT, ext | E1000_CTRL_EXT_PBA_CLR | E1000_CTRL_EXT_EIAME);
	rig_write(&rig, E1000_EIAC, E1000_INT_RXQ0 | E1000_INT_TXQ0);
	rig_write(&rig, E1000_IMS, E1000_INT_RXQ0 | E1000_INT_TXQ0 | OTHER);
	rig_write(&rig, E1000_ICS, E1000_INT_LSC | E1000_INT_OTHER);
}

/* A context, and the frame in two pieces. */
static void lin_send(void)
{
	u8 *f = ram + TX_BUFS + 2048 * (lin.sent % 8);
	u32 bytes = 300 + lin.sent % 900;

	if ((lin.sent - lin.cleaned) * 3 + 3 >= RING)
		return;
	ip_tcp(f, bytes, lin.sent);
	tx_desc(34ull << 32 | 50ull << 40, (u64)E1000_TXD_DEXT << 24);
	tx_data((u32)(f - ram), 60, E1000_TXD_IFCS, E1000_TXX_TXSM, 0);
	tx_data((u32)(f - ram) + 60, bytes - 60, E1000_TXD_EOP | E1000_TXD_IFCS | E1000_TXD_RS,
		E1000_TXX_TXSM, 0);
	rig_write(&rig, E1000_TDT, tx_tail);
	lin.sent++;
}

static void lin_clean_tx(void)
{
	for (; lin.cleaned < lin.sent && tx_dd(lin.cleaned * 3 + 2); lin.cleaned++)
		ram[TX_RING + 16 * ((lin.cleaned * 3 + 2) % RING) + 12] = 0;
}

static void lin_clean_rx(void)
{
	u8 *d;

	while (d = ram + RX_RING + 16 * lin.rx_at, d[8] & E1000_RXX_DD) {
		memset(d, 0, 16);
		put_le64(d, RAM_GPA + RX_BUFS + 2048 * lin.rx_at);
		rig_write(&rig, E1000_RDT, lin.rx_at);
		lin.rx_at = (lin.rx_at + 1) % RING;
		lin.got++;
	}
}

static void lin_other(void)
{
	u32 icr = rig_read(&rig, E1000_ICR);

	if (icr & (E1000_INT_RXQ0 | E1000_INT_TXQ0))
		rig_write(&rig, E1000_ICS, icr & (E1000_INT_RXQ0 | E1000_INT_TXQ0));
	lin.links += !!(icr & E1000_INT_LSC);
	rig_write(&rig, E1000_IMS, OTHER);
}

static void lin_one(void)
{
	lin.links += !!(rig_read(&rig, E1000_ICR) & E1000_INT_LSC);
	lin_clean_tx();
	lin_clean_rx();
	rig_write(&rig, E1000_IMS, ALL);
}

/* The handler of vector @v, if its message has come since it ran last. */
static void lin_handle(u32 v)
{
	if (rig.irqs[v] == lin.served[v])
		return;
	lin.served[v] = rig.irqs[v];
	if (!rig.msix) {
		lin_one();
	} else if (v == 2) {
		lin_other();
	} else {
		(v ? lin_clean_tx : lin_clean_rx)();
		rig_write(&rig, E1000_IMS, v ? E1000_INT_TXQ0 : E1000_INT_RXQ0);
	}
}

static void lin_step(u32 what)
{
	switch (what) {
	case 0:
	case 1:
	case 2:
		lin_handle(what);
		break;
	case 3:
		rig.link = !rig.link;
		plat_host_now_ns += NS_PER_SEC;
		rig_run(&rig);
		break;
	case 4: /* drivers look at the PHY now and then, and ask for receive's interrupt */
		rig_write(&rig, E1000_MDIC, E1000_MDIC_OP_READ | 1 << 16 | 1 << 21);
		rig_write(&rig, E1000_ICS, rig.msix ? E1000_INT_RXQ0 : E1000_INT_RXDMT0);
		break;
	case 5:
		rig.hold = !rig.hold;
		rig_run(&rig);
		break;
	case 6:
	case 7:
	case 8:
		if (lin.came - lin.got < RING / 2) {
			rx(60 + lin.came % 1000, lin.came, true);
			lin.came++;
		}
		break;
	default:
		lin_send();
		rig_run(&rig);
	}
}

static void nothing_is_missed(void **state)
{
	u32 x = 1;

	(void)state;
	for (u32 round = 0; round < 40; round++) {
		lin_start(round & 1);
		for (u32 i = 0; i < 1000; i++) {
			x = x * 1103515245 + 12345;
			lin_step((x >> 16) % 12);
		}
		/* to rest: only messages lead to a look at a ring */
		rig.hold = false;
		for (u32 i = 0; i < 8; i++) {
			rig_run(&rig);
			lin_handle(i % 3);
		}
		assert_int_equal(lin.cleaned, lin.sent);
		assert_int_equal(lin.got, lin.came);
		assert_true(lin.sent > 100 && lin.came > 100 && lin.links > 10);
		assert_int_equal(rig.sents, lin.sent);
		/* and one more of each still comes */
		for (u32 v = 0; v < 3; v++)
			assert_int_equal(rig.irqs[v], lin.served[v]);
		lin_send();
		rig_run(&rig);
		lin_handle(rig.msix);
		assert_int_equal(lin.cleaned, lin.sent);
		stop();
	}
}

/* ---------------------------------------------------------------- our own driver as the guest's */

static struct netif_dev *drv;
static u8 last[NETIF_FRAME_MAX];
static u32 last_bytes, gots, dones;
static bool last_csum;

static void drv_input(void *ctx, const void *frame, u32 bytes, bool csum_ok)
{
	(void)ctx;
	memcpy(last, frame, bytes);
	last_bytes = bytes;
	last_csum = csum_ok;
	gots++;
}

static void drv_done(void *ctx)
{
	(void)ctx;
	dones++;
}

static void driver_meets_card(void **state)
{
	static u8 out[4][NETIF_FRAME_MAX];
	u8 f[NETIF_FRAME_MAX];

	(void)state;
	for (u32 msix = 0; msix < 2; msix++) {
		u32 rang = 0;

		start(msix);
		rig_window(&rig, (u64)(uintptr_t)out, out, sizeof(out));
		gots = dones = 0;
		assert_int_equal(netif_create(&rig.bus, &drv), 0);
		assert_memory_equal(drv->mac, rig.card.mac, 6);
		assert_true(drv->ops->link_up(drv));
		for (u32 i = 0; i < 3000; i++) {
			u32 bytes = 60 + i % 1400, n = 1 + i % 4;
			struct netif_seg segs[4];
			struct netif_tx t = { .segs = segs, .n = n, .done = drv_done };

			rang = rig.irqs[0];
			rx(bytes, i, i & 1);
			assert_int_equal(rig.irqs[0], rang + 1);
			assert_true(drv->ops->work(drv));
			assert_int_equal(drv->ops->poll(drv, drv_input, NULL), 1);
			frame_make(f, bytes, i);
			assert_int_equal(last_bytes, bytes);
			assert_memory_equal(last, f, bytes);
			assert_int_equal(last_csum, i & 1);
			for (u32 s = 0; s < n; s++) {
				frame_make(out[s], 300, i + s);
				segs[s].pa = HPA((uintptr_t)out[s]);
				segs[s].bytes = 60 + (i + s) % 240;
			}
			assert_int_equal(drv->ops->tx(drv, &t), 0);
			rig_run(&rig);
			drv->ops->poll(drv, drv_input, NULL);
			assert_int_equal(dones, i + 1);
			u32 at = 0;

			for (u32 s = 0; s < n; at += segs[s++].bytes)
				assert_memory_equal(rig.sent[i % RIG_SENT].data + at, out[s],
						    segs[s].bytes);
			assert_int_equal(rig.sent[i % RIG_SENT].bytes, at);
		}
		assert_int_equal(gots, 3000);
		/* the link, live */
		rig.link = false;
		plat_host_now_ns += NS_PER_SEC;
		rig_run(&rig);
		drv->ops->poll(drv, drv_input, NULL);
		assert_false(drv->ops->link_up(drv));
		drv->ops->stop(drv);
		rx(60, 1, false);
		assert_int_equal(gots, 3000);
		plat_free(drv);
		stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nvm_and_phy),
		cmocka_unit_test(reset_and_widths),
		cmocka_unit_test(link_follows),
		cmocka_unit_test(one_message),
		cmocka_unit_test(five_vectors),
		cmocka_unit_test(receives),
		cmocka_unit_test(overrun),
		cmocka_unit_test(packet_split),
		cmocka_unit_test(fcs_and_padding),
		cmocka_unit_test(filters),
		cmocka_unit_test(vlans),
		cmocka_unit_test(transmits),
		cmocka_unit_test(checksums),
		cmocka_unit_test(segments),
		cmocka_unit_test(many_pieces),
		cmocka_unit_test(slots_run_short),
		cmocka_unit_test(broken_frames),
		cmocka_unit_test(broken_rings),
		cmocka_unit_test(reset_with_frames_under_way),
		cmocka_unit_test(nothing_is_missed),
		cmocka_unit_test(driver_meets_card),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
