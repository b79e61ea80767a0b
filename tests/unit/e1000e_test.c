/* net/drivers/e1000e against a model of the card, with both kinds of interrupt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/plat.h"
#include "base/plat_host.h"
#include "net/drivers/drivers.h"
#include "net/drivers/e1000e.h"
#include "tests/fakes/net_e1000.h"

static struct card card;
static struct netif_dev *dev;
static u8 got[4096][1600];
static u32 got_bytes[4096];
static bool got_csum[4096];
static u32 gots;
static u32 dones;
static u64 done_order[8192];

static void input(void *ctx, const void *frame, u32 bytes, bool csum_ok)
{
	u32 i = gots++ % 4096;

	assert_ptr_equal(ctx, &card);
	assert_true(bytes <= 1518);
	memcpy(got[i], frame, bytes);
	got_bytes[i] = bytes;
	got_csum[i] = csum_ok;
}

static void tx_done(void *ctx)
{
	done_order[dones++ % 8192] = (u64)(uintptr_t)ctx;
}

static u32 poll(void)
{
	return dev->ops->poll(dev, input, &card);
}

static void start(u16 device, bool msix)
{
	plat_host_quiet = true;
	plat_host_now_ns = 5 * NS_PER_SEC;
	gots = dones = 0;
	card_init(&card, device, msix);
	assert_int_equal(netif_create(&card.bus, &dev), 0);
}

static void stop(void)
{
	plat_free(dev); /* the first member of what was allocated */
	card_fini(&card);
}

static void frame_make(u8 *f, u32 bytes, u32 seed)
{
	for (u32 i = 0; i < bytes; i++)
		f[i] = (u8)(seed * 7 + i * 13 + (i >> 8));
}

static bool rx_frame(u32 bytes, u32 seed)
{
	u8 f[1600];

	frame_make(f, bytes, seed);
	return card_rx(&card, f, bytes, 0, 0);
}

static void assert_frame(u32 at, u32 bytes, u32 seed)
{
	u8 f[1600];

	frame_make(f, bytes, seed);
	assert_int_equal(got_bytes[at % 4096], bytes);
	assert_memory_equal(got[at % 4096], f, bytes);
}

static bool want_bell;

static int tx_frame(u32 nsegs, u32 seg_bytes, u64 tag)
{
	static u8 data[256][NETIF_TX_SEGS_MAX][1600];
	struct netif_seg segs[NETIF_TX_SEGS_MAX + 1];

	for (u32 i = 0; i < nsegs && i < NETIF_TX_SEGS_MAX; i++) {
		memset(data[tag % 256][i], (int)(tag + i), seg_bytes);
		segs[i].pa = HPA((uintptr_t)data[tag % 256][i]);
		segs[i].bytes = seg_bytes;
	}
	return dev->ops->tx(dev, &(struct netif_tx){ .segs = segs, .n = nsegs, .done = tx_done,
						     .ctx = (void *)(uintptr_t)tag,
						     .bell = want_bell });
}

/* ---------------------------------------------------------------- start */

static void starts(void **state)
{
	static const u16 devices[] = { 0x10d3, 0x153a, 0x1559, 0x15d8 };

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(devices); i++) {
		start(devices[i], i == 0);
		assert_int_equal(card.resets, 1);
		assert_int_equal(card.irq_before_reset, 0);
		assert_true(dev->irq);
		assert_memory_equal(dev->mac, card.mac, 6);
		assert_true(dev->ops->link_up(dev));
		assert_true(rx_frame(60, i));
		assert_int_equal(poll(), 1);
		assert_frame(0, 60, i);
		assert_true(card.delays_us < 100000);
		dev->ops->stop(dev);
		assert_false(rx_frame(60, 0));
		stop();
	}
}

static void refuses(void **state)
{
	struct netif_dev *d = NULL;

	(void)state;
	plat_host_quiet = true;
	card_init(&card, 0x1004, true);
	assert_int_equal(netif_create(&card.bus, &d), -ENODEV);
	assert_int_equal(card.resets, 0);
	card_fini(&card);
	card_init(&card, 0x10d3, true);
	card.stuck = true;
	assert_int_equal(netif_create(&card.bus, &d), -EIO);
	assert_true(card.delays_us < 300000);
	card_fini(&card);
	for (u32 bad = 0; bad < 2; bad++) {
		card_init(&card, 0x10d3, true);
		memset(card.mac, bad ? 0xff : 0, 6);
		assert_int_equal(netif_create(&card.bus, &d), -EIO);
		card_fini(&card);
	}
	for (u32 n = 1; n <= 3; n++) {
		card_init(&card, 0x10d3, true);
		card.fail_alloc = n;
		assert_int_equal(netif_create(&card.bus, &d), -ENOMEM);
		card_fini(&card);
	}
	assert_null(d);
}

static void survives_odd_cards(void **state)
{
	(void)state;
	/* requests outstanding, PHY powered down by firmware, no interrupt at all */
	plat_host_quiet = true;
	gots = 0;
	card_init(&card, 0x10d3, true);
	card.busy = true;
	card.no_irq = true;
	card.phy[0] = 0x0800;
	assert_int_equal(netif_create(&card.bus, &dev), 0);
	assert_int_equal(card.phy[0], 0x1200);
	assert_false(dev->irq);
	assert_true(rx_frame(64, 1));
	assert_int_equal(poll(), 1);
	stop();
}

static void pci_card(u16 device)
{
	plat_host_quiet = true;
	gots = dones = 0;
	card_init(&card, device, false);
	card.bus.has_msi = false;
	card.no_irq = true;
	/* STATUS bit 19 means something else here and is set for ever. */
	card.busy = true;
}

/* 82540EM: no MSI, no PCIe, a pin that must stay quiet; polled both ways. */
static void works_without_messages(void **state)
{
	(void)state;
	pci_card(0x100e);
	assert_int_equal(netif_create(&card.bus, &dev), 0);
	assert_false(dev->irq);
	assert_memory_equal(dev->mac, card.mac, 6);
	assert_true(card.delays_us < 20000);
	assert_int_equal(card.reg[E1000_IMS / 4], 0);
	for (u32 i = 0; i < 1000; i++) {
		assert_true(rx_frame(60 + i, i));
		assert_int_equal(tx_frame(2, 60, i), 0);
		assert_int_equal(poll(), 2);
		assert_frame(i, 60 + i, i);
		assert_int_equal(dones, i + 1);
	}
	/* a hung transmitter's reset leaves the causes masked, too */
	card.hung = true;
	assert_int_equal(tx_frame(1, 60, 1), 0);
	plat_host_now_ns += 3 * NS_PER_SEC;
	poll();
	assert_int_equal(card.resets, 2);
	card.hung = false;
	rx_frame(64, 1);
	assert_int_equal(poll(), 1);
	assert_int_equal(card.reg[E1000_IMS / 4], 0);
	assert_false(card.pin_raised);
	stop();
}

static void address_from_the_eeprom(void **state)
{
	struct netif_dev *d = NULL;

	(void)state;
	pci_card(0x100e);
	card.bare = true;
	assert_int_equal(netif_create(&card.bus, &dev), 0);
	assert_memory_equal(dev->mac, card.mac, 6);
	/* and the filter has it */
	assert_int_equal(card.reg[E1000_RAL(0) / 4], 0x12005452);
	assert_int_equal(card.reg[E1000_RAH(0) / 4], 0x80005634);
	stop();
	pci_card(0x100e);
	card.bare = card.no_eeprom = true;
	assert_int_equal(netif_create(&card.bus, &d), -EIO);
	card_fini(&card);
	assert_null(d);
}

/* ---------------------------------------------------------------- receive */

static void receives_every_size(void **state)
{
	u32 n = 0;

	(void)state;
	start(0x10d3, true);
	for (u32 bytes = 14; bytes <= 1518; bytes++) {
		assert_true(rx_frame(bytes, bytes));
		if (bytes % 7 == 0)
			poll();
	}
	while (poll())
		;
	assert_int_equal(gots, 1518 - 14 + 1);
	for (u32 bytes = 14; bytes <= 1518; bytes++)
		assert_frame(n++, bytes, bytes);
	assert_int_equal(e1000e_counters(dev)->rx_frames, n);
	stop();
}

static void overrun_loses_frames_and_nothing_else(void **state)
{
	u32 taken = 0;

	(void)state;
	start(0x10d3, true);
	for (u32 round = 0; round < 5; round++) {
		for (u32 i = 0; i < 300; i++)
			if (rx_frame(100, taken))
				taken++;
		while (poll())
			;
		assert_int_equal(gots, taken);
	}
	assert_int_equal(taken, 5 * 255);
	for (u32 i = 0; i < taken; i++)
		assert_frame(i, 100, i);
	stop();
}

static void checksum_verdicts(void **state)
{
	static const struct { u8 status, errors; bool ok; } rows[] = {
		{ E1000_RXD_IPCS | E1000_RXD_TCPCS, 0, true },
		{ E1000_RXD_IPCS | E1000_RXD_UDPCS, 0, true },
		{ E1000_RXD_IPCS, 0, false },
		{ E1000_RXD_TCPCS, 0, false },
		{ 0, 0, false },
		{ E1000_RXD_IPCS | E1000_RXD_TCPCS | E1000_RXD_IXSM, 0, false },
		{ E1000_RXD_IPCS | E1000_RXD_TCPCS, E1000_RXD_ERR_TCPE, false },
		{ E1000_RXD_IPCS | E1000_RXD_TCPCS, E1000_RXD_ERR_IPE, false },
	};
	u8 f[100] = { 0 };

	(void)state;
	start(0x10d3, true);
	for (u32 i = 0; i < ARRAY_SIZE(rows); i++)
		assert_true(card_rx(&card, f, sizeof(f), rows[i].status, rows[i].errors));
	poll();
	assert_int_equal(gots, ARRAY_SIZE(rows));
	for (u32 i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(got_csum[i], rows[i].ok);
	stop();
}

static void bad_frames_are_dropped(void **state)
{
	static const u8 errors[] = { E1000_RXD_ERR_CE, E1000_RXD_ERR_SE, E1000_RXD_ERR_SEQ,
				     E1000_RXD_ERR_CXE, E1000_RXD_ERR_RXE };
	static const u32 lies[] = { 0, 1, 13, 1519, 2048, 2049, 65535 };
	u8 f[2048] = { 0 };
	u32 bad = 0;

	(void)state;
	start(0x10d3, true);
	for (u32 i = 0; i < ARRAY_SIZE(errors); i++, bad++)
		card_rx(&card, f, 100, 0, errors[i]);
	for (u32 i = 0; i < ARRAY_SIZE(lies); i++, bad++)
		card_rx_raw(&card, f, 100, lies[i], E1000_RXD_EOP, 0);
	/* one frame over three buffers, then a good one */
	card_rx_raw(&card, f, 2048, 2048, 0, 0);
	card_rx_raw(&card, f, 2048, 2048, 0, 0);
	card_rx_raw(&card, f, 100, 100, E1000_RXD_EOP, 0);
	bad += 3;
	rx_frame(99, 5);
	poll();
	assert_int_equal(gots, 1);
	assert_frame(0, 99, 5);
	assert_int_equal(e1000e_counters(dev)->rx_errors, bad);
	stop();
}

/* ---------------------------------------------------------------- doorbells */

static void doorbell_kind(u16 device, bool msix)
{
	u32 rang;

	start(device, msix);
	assert_false(dev->ops->work(dev));
	for (u32 i = 0; i < 1000; i++) {
		rang = card.doorbells;
		assert_true(rx_frame(64, i));
		assert_int_equal(card.doorbells, rang + 1);
		/* more frames before anybody looks: no more doorbells */
		for (u32 k = 0; k < i % 5; k++)
			rx_frame(64, 1);
		assert_int_equal(card.doorbells, rang + 1);
		assert_true(dev->ops->work(dev));
		assert_int_equal(poll(), 1 + i % 5);
		assert_int_equal(poll(), 0);
		/* one late doorbell is owned up to, the next is somebody else's */
		assert_true(dev->ops->work(dev));
		poll();
		assert_false(dev->ops->work(dev));
		assert_int_equal(card.doorbells, rang + 1);
	}
	stop();
}

static void doorbells(void **state)
{
	(void)state;
	doorbell_kind(0x10d3, true);
	doorbell_kind(0x10d3, false);
	doorbell_kind(0x15d8, false);
}

static u32 race_reg;
static u32 race_left;

static void race(struct card *c, u32 off, u32 v)
{
	(void)c;
	(void)v;
	if (off != race_reg || !race_left)
		return;
	race_left--;
	rx_frame(64, 7);
}

/* A frame that lands between any two steps of poll() is drained or rings. */
static void no_frame_is_forgotten(void **state)
{
	static const u32 regs[] = { E1000_ICR, E1000_IMS, E1000_RDT };

	(void)state;
	for (u32 kind = 0; kind < 2; kind++)
		for (u32 i = 0; i < ARRAY_SIZE(regs); i++)
			for (u32 n = 1; n < 4; n++) {
				u32 turns = 0;

				start(0x10d3, kind);
				card.on_write = race;
				race_reg = regs[i];
				race_left = n;
				rx_frame(64, 7);
				/* the pump: polls once for every doorbell */
				for (u32 seen = 0; seen < card.doorbells; turns++) {
					seen = card.doorbells;
					assert_true(dev->ops->work(dev));
					poll();
				}
				card.on_write = NULL;
				assert_int_equal(gots, 1 + n - race_left);
				assert_true(turns < 10);
				/* and the next one rings again */
				u32 rang = card.doorbells;

				rx_frame(64, 7);
				assert_int_equal(card.doorbells, rang + 1);
				stop();
			}
}

/* A doorbell that was held back and rings after the ring was drained leaves the cause masked. */
static void late_doorbell_is_rearmed(void **state)
{
	(void)state;
	start(0x10d3, true);
	rx_frame(64, 1);
	poll();
	card.reg[E1000_IMS / 4] = 0; /* what the card does when the late message goes out */
	assert_true(dev->ops->work(dev));
	poll();
	u32 rang = card.doorbells;

	rx_frame(64, 1);
	assert_int_equal(card.doorbells, rang + 1);
	stop();
}

/* Sent frames ring while somebody waits for one, and only then. */
static void sent_frames_ring(void **state)
{
	(void)state;
	for (u32 kind = 0; kind < 2; kind++) {
		start(0x10d3, kind);
		for (u32 i = 0; i < 300; i++) {
			u32 rang = card.doorbells;

			card.hung = true;
			assert_int_equal(tx_frame(2, 60, 1), 0);
			poll();
			want_bell = i % 3;
			assert_int_equal(tx_frame(1, 60, 2), 0);
			want_bell = false;
			poll();
			assert_int_equal(card.doorbells, rang);
			assert_false(dev->ops->work(dev));
			card.hung = false;
			card_tx_run(&card);
			assert_int_equal(card.doorbells, rang + !!(i % 3));
			assert_int_equal(dev->ops->work(dev), i % 3 != 0);
			poll();
			assert_int_equal(dones, 2 * (i + 1));
			/* a message that is late is owned up to, once */
			assert_int_equal(dev->ops->work(dev), i % 3 != 0);
			poll();
			assert_false(dev->ops->work(dev));
		}
		stop();
	}
}

/* Not by a doorbell: nothing in memory would explain it. */
static void link_changes_are_seen(void **state)
{
	(void)state;
	for (u32 kind = 0; kind < 2; kind++) {
		start(0x10d3, kind);
		assert_int_equal(dev->ops->link_mbps(dev), 1000);
		poll();
		for (u32 i = 0; i < 20; i++) {
			u32 rang = card.doorbells;

			card_link(&card, i & 1);
			assert_int_equal(card.doorbells, rang);
			assert_false(dev->ops->work(dev));
			plat_host_now_ns += 500 * NS_PER_MS;
			poll();
			assert_int_equal(dev->ops->link_up(dev), i & 1);
		}
		stop();
	}
}

/* Group addresses are hashed as the manuals say, and survive a reset. */
static void filters(void **state)
{
	struct netif_filter f = { .n = 1, .multicast = { { 1, 0, 0x5e, 0, 0x12, 0x34 } } };

	(void)state;
	for (u32 kind = 0; kind < 2; kind++) {
		u32 bit = kind ? 0x3412 >> 6 & 0x3ff : 0x3412 >> 4;

		start(kind ? 0x15d8 : 0x10d3, false);
		dev->ops->filter(dev, &f);
		assert_int_equal(card.reg[E1000_MTA(bit / 32) / 4], 1u << bit % 32);
		assert_int_equal(card.reg[E1000_RCTL / 4] & (E1000_RCTL_UPE | E1000_RCTL_MPE), 0);
		card.hung = true;
		tx_frame(1, 60, 1);
		plat_host_now_ns += 3 * NS_PER_SEC;
		poll();
		assert_int_equal(card.resets, 2);
		assert_int_equal(card.reg[E1000_MTA(bit / 32) / 4], 1u << bit % 32);
		dev->ops->filter(dev, &(struct netif_filter){ .promiscuous = true });
		assert_int_equal(card.reg[E1000_MTA(bit / 32) / 4], 0);
		assert_int_equal(card.reg[E1000_RCTL / 4] & (E1000_RCTL_UPE | E1000_RCTL_MPE),
				 E1000_RCTL_UPE | E1000_RCTL_MPE);
		dev->ops->filter(dev, &(struct netif_filter){ .all_multicast = true });
		assert_int_equal(card.reg[E1000_RCTL / 4] & (E1000_RCTL_UPE | E1000_RCTL_MPE),
				 E1000_RCTL_MPE);
		stop();
	}
}

/* ---------------------------------------------------------------- transmit */

static u32 sum16(const u8 *p, u32 n, u32 v)
{
	for (u32 i = 0; i < n; i++)
		v += i & 1 ? p[i] : (u32)p[i] << 8;
	while (v >> 16)
		v = (v & 0xffff) + (v >> 16);
	return v;
}

#define SEQ(p) ((u32)(p)[38] << 24 | (p)[39] << 16 | (p)[40] << 8 | (p)[41])

/* TCP over IPv4 of @bytes, in pieces of @piece, as struct netif_tx wants it. */
static int tx_tcp(u8 *f, u32 bytes, u32 piece, u16 mss)
{
	struct netif_seg segs[NETIF_CUT_SEGS_MAX] = { { HPA((uintptr_t)f), 66 } };
	u32 n = 1, v;

	for (u32 i = 0; i < bytes; i++)
		f[i] = (u8)(i * 7 + (i >> 8));
	memcpy(f + 12, "\x08\0\x45\0\0\0\0\x05\x40\0\x40\x06\0\0"
		       "\x0a\0\0\x02\x0a\0\0\x03", 22);
	f[46] = 0x80;
	f[47] = 0x19; /* FIN, PSH, ACK */
	v = sum16(f + 26, 8, 6 + (mss ? 0 : bytes - 34));
	f[50] = (u8)(v >> 8);
	f[51] = (u8)v;
	for (u32 at = 66; at < bytes; at += segs[n++].bytes)
		segs[n] = (struct netif_seg){ HPA((uintptr_t)f + at), MIN(bytes - at, piece) };
	return dev->ops->tx(dev, &(struct netif_tx){
		.segs = segs, .n = n, .csum_start = 34, .csum_at = 50, .mss = mss,
		.header_bytes = mss ? 66 : 0, .done = tx_done });
}

static void sums_by_the_card(void **state)
{
	static u8 f[1600];

	(void)state;
	start(0x15d8, true);
	assert_int_equal(dev->features, NETIF_CSUM);
	for (u32 n = 67; n <= 1514; n += 13) {
		u32 k = card.sents;

		assert_int_equal(tx_tcp(f, n, 700, 0), 0);
		assert_int_equal(card.sents, k + 1);
		assert_int_equal(card.sent[k].bytes, n);
		assert_int_equal(sum16(card.sent[k].data + 34, n - 34,
				       sum16(f + 26, 8, 6 + n - 34)), 0xffff);
		poll();
		assert_int_equal(dones, k + 1);
		/* others after it are left alone */
		assert_int_equal(tx_frame(1, 60, 9), 0);
		assert_int_equal(card.sent[k + 1].data[50], 9);
		card.sents = dones = k + 1;
		poll();
		dones = k + 1;
	}
	/* cutting was not promised, nor anything for 8-bit fields to hold */
	assert_int_equal(tx_tcp(f, 1600, 700, 500), -EINVAL);
	stop();
	pci_card(0x100e);
	assert_int_equal(netif_create(&card.bus, &dev), 0);
	assert_int_equal(dev->features, 0);
	assert_int_equal(tx_tcp(f, 100, 700, 0), -EINVAL);
	stop();
}

static void segments_by_the_card(void **state)
{
	static u8 f[NETIF_CUT_MAX];

	(void)state;
	start(0x10d3, true);
	assert_int_equal(dev->features, NETIF_CSUM | NETIF_TSO);
	for (u32 n = 1600; n <= NETIF_CUT_MAX; n += 1 + n / 5) {
		u32 at = 66;

		card.sents = dones = 0;
		/* some pieces are longer than a descriptor's */
		assert_int_equal(tx_tcp(f, n, MAX(n / 30 + 1, n % 3 * 9000), 1400), 0);
		assert_int_equal(card.sents, DIV_ROUND_UP(n - 66, 1400));
		for (u32 k = 0; k < card.sents; k++) {
			const u8 *s = card.sent[k].data;
			u32 bytes = card.sent[k].bytes, take = bytes - 66, v;

			assert_memory_equal(s + 66, f + at, take);
			assert_int_equal(s[16] << 8 | s[17], bytes - 14);
			assert_int_equal(sum16(s + 14, 20, 0), 0xffff);
			v = sum16(s + 26, 8, 6 + bytes - 34);
			assert_int_equal(sum16(s + 34, bytes - 34, v), 0xffff);
			assert_int_equal(SEQ(s), SEQ(f) + at - 66);
			at += take;
		}
		assert_int_equal(at, n);
		poll();
		assert_int_equal(dones, 1);
	}
	/* a full ring refuses it whole, and takes it later */
	card.hung = true;
	while (!tx_tcp(f, 60000, 8192, 1400))
		;
	assert_int_equal(tx_tcp(f, 60000, 8192, 1400), -ENOBUFS);
	card.hung = false;
	card_tx_run(&card);
	poll();
	assert_int_equal(tx_tcp(f, 60000, 8192, 1400), 0);
	stop();
}

static void transmits(void **state)
{
	(void)state;
	start(0x10d3, true);
	for (u32 i = 0; i < 1000; i++) {
		u32 segs = 1 + i % NETIF_TX_SEGS_MAX;

		assert_int_equal(tx_frame(segs, 60 + i % 100, i), 0);
		assert_int_equal(card.sents, i + 1);
		assert_int_equal(card.sent[i].bytes, segs * (60 + i % 100));
		for (u32 s = 0; s < segs; s++)
			assert_int_equal(card.sent[i].data[s * (60 + i % 100)], (u8)(i + s));
		if (i % 10 == 0)
			poll();
	}
	poll();
	assert_int_equal(dones, 1000);
	for (u32 i = 0; i < 1000; i++)
		assert_int_equal(done_order[i], i);
	assert_int_equal(tx_frame(0, 60, 1), -EINVAL);
	assert_int_equal(tx_frame(NETIF_TX_SEGS_MAX + 1, 60, 1), -EINVAL);
	/* sending rings no doorbell */
	assert_int_equal(card.doorbells, 0);
	stop();
}

static void full_transmit_ring(void **state)
{
	u32 n = 0;

	(void)state;
	start(0x10d3, true);
	card.hung = true;
	while (!tx_frame(3, 60, n))
		n++;
	assert_int_equal(n, 127 / 3);
	assert_int_equal(tx_frame(3, 60, n), -ENOBUFS);
	assert_int_equal(poll(), 0);
	assert_int_equal(dones, 0);
	card.hung = false;
	card_tx_run(&card);
	assert_int_equal(card.sents, n);
	assert_int_equal(poll(), n);
	assert_int_equal(dones, n);
	assert_int_equal(tx_frame(3, 60, n), 0);
	stop();
}

static void hung_transmitter_is_reset(void **state)
{
	(void)state;
	start(0x10d3, true);
	poll();
	card.hung = true;
	for (u32 i = 0; i < 10; i++)
		assert_int_equal(tx_frame(2, 60, i), 0);
	plat_host_now_ns += 1900 * NS_PER_MS;
	poll();
	assert_int_equal(card.resets, 1);
	/* without a link nothing is sent, and that is no fault */
	card.link = false;
	for (u32 i = 0; i < 10; i++) {
		plat_host_now_ns += NS_PER_SEC;
		poll();
	}
	assert_int_equal(card.resets, 1);
	assert_false(dev->ops->link_up(dev));
	card.link = true;
	for (u32 i = 0; i < 4; i++) {
		plat_host_now_ns += NS_PER_SEC;
		poll();
	}
	assert_int_equal(card.resets, 2);
	assert_int_equal(dones, 10);
	assert_int_equal(e1000e_counters(dev)->resets, 1);
	card.hung = false;
	/* as good as new: both ways, and with doorbells */
	assert_int_equal(tx_frame(1, 70, 3), 0);
	poll();
	assert_int_equal(dones, 11);
	assert_int_equal(card.sent[0].bytes, 70);
	u32 rang = card.doorbells;

	assert_true(rx_frame(80, 9));
	assert_int_equal(card.doorbells, rang + 1);
	poll();
	assert_frame(gots - 1, 80, 9);
	stop();
}

static void answering_input(void *ctx, const void *frame, u32 bytes, bool csum_ok)
{
	input(ctx, frame, bytes, csum_ok);
	plat_host_now_ns += 3 * NS_PER_US;
	assert_int_equal(tx_frame(1, 60, gots), 0);
}

/* Time goes on inside poll(): what was queued there is not overdue at its end. */
static void answers_are_not_overdue(void **state)
{
	(void)state;
	start(0x10d3, true);
	for (u32 i = 0; i < 50; i++) {
		card.hung = true;
		rx_frame(64, i);
		dev->ops->poll(dev, answering_input, &card);
		card.hung = false;
		card_tx_run(&card);
	}
	poll();
	assert_int_equal(card.resets, 1);
	assert_int_equal(dones, 50);
	stop();
}

static void both_ways_at_random(void **state)
{
	u32 seed = 12345, in = 0, out = 0, taken = 0;

	(void)state;
	start(0x10d3, true);
	for (u32 n = 0; n < 20000; n++) {
		seed = seed * 1664525 + 1013904223;
		switch (seed >> 28) {
		case 0 ... 6:
			if (rx_frame(14 + in % 1400, in))
				in++;
			break;
		case 7 ... 12:
			card.hung = seed & BIT(20);
			if (!tx_frame(1 + out % 3, 60, out))
				out++;
			break;
		default:
			card.hung = false;
			card_tx_run(&card);
			poll();
			for (; taken < gots; taken++)
				assert_frame(taken, 14 + taken % 1400, taken);
			for (u32 i = 0; i < MIN(dones, 8192u); i++)
				assert_true(done_order[i] % 8192 == i || dones > 8192);
		}
	}
	card.hung = false;
	card_tx_run(&card);
	while (poll())
		;
	assert_int_equal(gots, in);
	assert_int_equal(dones, out);
	assert_true(in > 3000 && out > 1000);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(starts),
		cmocka_unit_test(refuses),
		cmocka_unit_test(survives_odd_cards),
		cmocka_unit_test(works_without_messages),
		cmocka_unit_test(address_from_the_eeprom),
		cmocka_unit_test(receives_every_size),
		cmocka_unit_test(overrun_loses_frames_and_nothing_else),
		cmocka_unit_test(checksum_verdicts),
		cmocka_unit_test(bad_frames_are_dropped),
		cmocka_unit_test(doorbells),
		cmocka_unit_test(no_frame_is_forgotten),
		cmocka_unit_test(late_doorbell_is_rearmed),
		cmocka_unit_test(sent_frames_ring),
		cmocka_unit_test(link_changes_are_seen),
		cmocka_unit_test(filters),
		cmocka_unit_test(sums_by_the_card),
		cmocka_unit_test(segments_by_the_card),
		cmocka_unit_test(transmits),
		cmocka_unit_test(full_transmit_ring),
		cmocka_unit_test(hung_transmitter_is_reset),
		cmocka_unit_test(answers_are_not_overdue),
		cmocka_unit_test(both_ways_at_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
