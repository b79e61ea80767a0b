/* net/drivers/igb against a model of the card, with vectors and with one message. */
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
#include "tests/fakes/net_igb.h"

static struct igb_card card;
static struct netif_dev *dev;
static u8 last[2048];
static u32 last_bytes, gots, dones;
static bool last_csum;

static void input(void *ctx, const void *frame, u32 bytes, bool csum_ok)
{
	assert_ptr_equal(ctx, &card);
	assert_in_range(bytes, 14, 1518);
	memcpy(last, frame, bytes);
	last_bytes = bytes;
	last_csum = csum_ok;
	gots++;
}

static void tx_done(void *ctx)
{
	assert_int_equal((uintptr_t)ctx % 256, dones % 256);
	dones++;
}

static u32 poll(void)
{
	return dev->ops->poll(dev, input, &card);
}

static void prepare(bool msix)
{
	plat_host_quiet = true;
	plat_host_now_ns = 5 * NS_PER_SEC;
	gots = dones = 0;
	igb_card_init(&card, msix);
}

static void start(bool msix)
{
	prepare(msix);
	assert_int_equal(netif_create(&card.bus, &dev), 0);
}

static void stop(void)
{
	plat_free(dev); /* the first member of what was allocated */
	igb_card_fini(&card);
}

static void frame_make(u8 *f, u32 bytes, u32 seed)
{
	for (u32 i = 0; i < bytes; i++)
		f[i] = (u8)(seed * 7 + i * 13 + (i >> 8));
}

static bool rx(u32 bytes, u32 seed, u32 status)
{
	u8 f[2048];

	frame_make(f, bytes, seed);
	return igb_card_rx(&card, f, bytes, bytes, E1000_RXX_EOP | status);
}

static void assert_last(u32 bytes, u32 seed)
{
	u8 f[2048];

	frame_make(f, bytes, seed);
	assert_int_equal(last_bytes, bytes);
	assert_memory_equal(last, f, bytes);
}

static int tx(u32 nsegs, u32 seg_bytes, u32 tag, bool bell)
{
	static u8 data[256][NETIF_TX_SEGS_MAX][1600];
	struct netif_seg segs[NETIF_TX_SEGS_MAX + 1];

	for (u32 i = 0; i < nsegs && i < NETIF_TX_SEGS_MAX; i++) {
		memset(data[tag % 256][i], (int)(tag + i), seg_bytes);
		segs[i].pa = HPA((uintptr_t)data[tag % 256][i]);
		segs[i].bytes = seg_bytes;
	}
	return dev->ops->tx(dev, &(struct netif_tx){ .segs = segs, .n = nsegs, .bell = bell,
						     .done = tx_done,
						     .ctx = (void *)(uintptr_t)tag });
}

static void starts(void **state)
{
	static const u16 devices[] = { 0x10c9, 0x1521, 0x1533, 0x157b };

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(devices); i++) {
		prepare(i & 1);
		card.bus.device = devices[i];
		card.mac_after = 3; /* the NVM is read after the reset */
		assert_int_equal(netif_create(&card.bus, &dev), 0);
		assert_int_equal(card.resets, 1);
		assert_memory_equal(dev->mac, card.mac, 6);
		assert_true(dev->irq && dev->ops->link_up(dev));
		assert_int_equal(dev->ops->link_mbps(dev), 1000);
		assert_true(rx(60, i, 0));
		assert_int_equal(poll(), 1);
		assert_last(60, i);
		assert_true(card.delays_us < 100000);
		dev->ops->stop(dev);
		assert_false(rx(60, 0, 0));
		stop();
	}
}

static void refused(int err)
{
	struct netif_dev *d = NULL;

	assert_int_equal(netif_create(&card.bus, &d), err);
	assert_null(d);
	assert_true(card.delays_us < 300000);
	igb_card_fini(&card);
}

static void refuses(void **state)
{
	(void)state;
	prepare(true);
	card.bus.device = 0x10d3; /* the neighbour's, which is not linked here */
	refused(-ENODEV);
	prepare(true);
	card.stuck = true;
	refused(-EIO);
	prepare(true);
	card.mac_after = 1000;
	refused(-EIO);
	prepare(true);
	card.dead_queues = true;
	refused(-EIO);
	prepare(true);
	memset(card.mac, 0xff, 6);
	refused(-EIO);
	for (u32 n = 1; n <= 3; n++) {
		prepare(true);
		card.fail_alloc = n;
		refused(-ENOMEM);
	}
}

static void receives(void **state)
{
	(void)state;
	for (u32 msix = 0; msix < 2; msix++) {
		start(msix);
		for (u32 bytes = 14; bytes <= 1518; bytes++) {
			u32 checked = E1000_RXX_IPCS | E1000_RXX_TCPCS;

			assert_true(rx(bytes, bytes, bytes & 1 ? checked : 0));
			assert_int_equal(poll(), 1);
			assert_last(bytes, bytes);
			assert_int_equal(last_csum, bytes & 1);
		}
		/* overrun: 255 wait, the others are lost */
		gots = 0;
		for (u32 i = 0; i < 400; i++)
			rx(60, i, 0);
		while (poll())
			;
		assert_int_equal(gots, 255);
		assert_last(60, 254);
		stop();
	}
}

static void bad_frames_are_dropped(void **state)
{
	static const u32 lies[] = { 0, 1, 13, 1519, 2048, 65535 };
	u8 f[2048] = { 0 };

	(void)state;
	start(true);
	for (u32 i = 0; i < ARRAY_SIZE(lies); i++)
		igb_card_rx(&card, f, 100, lies[i], E1000_RXX_EOP);
	igb_card_rx(&card, f, 100, 100, E1000_RXX_EOP | IGB_RXX_ERR_RX);
	igb_card_rx(&card, f, 2048, 2048, 0); /* over two buffers */
	igb_card_rx(&card, f, 100, 100, E1000_RXX_EOP);
	rx(99, 5, E1000_RXX_IPCS | E1000_RXX_TCPCS | IGB_RXX_ERR_L4);
	poll();
	assert_int_equal(gots, 1);
	assert_last(99, 5);
	assert_false(last_csum);
	stop();
}

static void doorbells(void **state)
{
	(void)state;
	for (u32 msix = 0; msix < 2; msix++) {
		start(msix);
		assert_false(dev->ops->work(dev));
		for (u32 i = 0; i < 1000; i++) {
			u32 rang = card.doorbells;

			for (u32 k = 0; k <= i % 5; k++)
				rx(64, k, 0);
			assert_int_equal(card.doorbells, rang + 1);
			assert_true(dev->ops->work(dev));
			assert_int_equal(poll(), 1 + i % 5);
			/* a late one is owned up to once */
			assert_true(dev->ops->work(dev));
			poll();
			assert_false(dev->ops->work(dev));
			/* sent frames ring only when somebody waits */
			rang = card.doorbells;
			assert_int_equal(tx(2, 60, dones, false), 0);
			assert_int_equal(card.doorbells, rang);
			poll();
			card.hung = true;
			assert_int_equal(tx(2, 60, dones, true), 0);
			card.hung = false;
			igb_card_run(&card);
			assert_int_equal(card.doorbells, rang + 1);
			assert_true(dev->ops->work(dev));
			poll();
			dev->ops->work(dev);
			poll();
			/* and so does the link */
			rang = card.doorbells;
			igb_card_link(&card, i & 1);
			assert_int_equal(card.doorbells, rang + 1);
			assert_true(dev->ops->work(dev));
			poll();
			assert_int_equal(dev->ops->link_up(dev), i & 1);
			assert_false(dev->ops->work(dev));
		}
		stop();
	}
}

static void transmits(void **state)
{
	u32 n = 0;

	(void)state;
	start(true);
	for (u32 i = 0; i < 1000; i++) {
		u32 segs = 1 + i % NETIF_TX_SEGS_MAX;

		assert_int_equal(tx(segs, 60 + i % 100, i, false), 0);
		assert_int_equal(card.sent[i].bytes, segs * (60 + i % 100));
		for (u32 s = 0; s < segs; s++)
			assert_int_equal(card.sent[i].data[s * (60 + i % 100)], (u8)(i + s));
		if (i % 10 == 0)
			poll();
	}
	poll();
	assert_int_equal(dones, 1000);
	assert_int_equal(tx(0, 60, 1, false), -EINVAL);
	assert_int_equal(tx(NETIF_TX_SEGS_MAX + 1, 60, 1, false), -EINVAL);
	card.hung = true;
	while (!tx(3, 60, dones + n, false))
		n++;
	assert_int_equal(n, 127 / 3);
	/* hung: nothing without a link, a reset with it, and as good as new */
	card.link = false;
	for (u32 i = 0; i < 5; i++) {
		plat_host_now_ns += 3 * NS_PER_SEC;
		poll();
	}
	assert_int_equal(card.resets, 1);
	card.link = true;
	for (u32 i = 0; i < 2; i++) {
		plat_host_now_ns += 3 * NS_PER_SEC;
		poll();
	}
	assert_int_equal(card.resets, 2);
	assert_int_equal(dones, 1000 + n);
	card.hung = false;
	assert_int_equal(tx(1, 70, dones, false), 0);
	poll();
	assert_int_equal(dones, 1001 + n);
	assert_true(rx(80, 9, 0));
	poll();
	assert_last(80, 9);
	stop();
}

static void works_without_messages(void **state)
{
	(void)state;
	prepare(false);
	card.no_irq = true;
	assert_int_equal(netif_create(&card.bus, &dev), 0);
	assert_false(dev->irq);
	assert_int_equal(card.reg[IGB_IMS / 4] | card.reg[IGB_EIMS / 4], 0);
	for (u32 i = 0; i < 1000; i++) {
		rx(60, i, 0);
		assert_int_equal(tx(1, 60, i, i & 1), 0);
		assert_int_equal(poll(), 2);
	}
	assert_int_equal(card.reg[IGB_IMS / 4] | card.reg[IGB_EIMS / 4], 0);
	stop();
}

static void filters(void **state)
{
	struct netif_filter f = { .n = 1, .multicast = { { 1, 0, 0x5e, 0, 0x12, 0x34 } } };

	(void)state;
	start(true);
	dev->ops->filter(dev, &f);
	assert_int_equal(card.reg[E1000_MTA(0x341 / 32) / 4], BIT(0x341 % 32));
	assert_false(card.reg[E1000_RCTL / 4] & (E1000_RCTL_UPE | E1000_RCTL_MPE));
	f.promiscuous = true;
	f.n = 1000; /* what does not fit is cut */
	dev->ops->filter(dev, &f);
	assert_true(card.reg[E1000_RCTL / 4] & E1000_RCTL_UPE);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(starts),
		cmocka_unit_test(refuses),
		cmocka_unit_test(receives),
		cmocka_unit_test(bad_frames_are_dropped),
		cmocka_unit_test(doorbells),
		cmocka_unit_test(transmits),
		cmocka_unit_test(works_without_messages),
		cmocka_unit_test(filters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
