/* net/drivers/virtio_net against a model: event indices or flags, messages or none. */
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
#include "tests/fakes/net_virtio.h"

static struct vcard card;
static struct netif_dev *dev;
static u8 got[4096][1600];
static u32 got_bytes[4096];
static bool got_csum[4096];
static u32 gots, dones;
static u64 done_sum;

static void input(void *ctx, const void *frame, u32 bytes, bool csum_ok)
{
	u32 i = gots++ % 4096;

	assert_ptr_equal(ctx, &card);
	assert_true(bytes >= 14 && bytes <= 1518);
	memcpy(got[i], frame, bytes);
	got_bytes[i] = bytes;
	got_csum[i] = csum_ok;
}

static void tx_done(void *ctx)
{
	dones++;
	done_sum += (u64)(uintptr_t)ctx;
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
	done_sum = 0;
	vcard_init(&card, VIRTIO_PCI_DEVICE_NET, msix);
}

static void start(bool msix, bool events)
{
	prepare(msix);
	if (!events)
		card.offer &= ~BIT64(VIRTIO_F_RING_EVENT_IDX);
	assert_int_equal(netif_create(&card.bus, &dev), 0);
}

static void stop(void)
{
	plat_free(dev); /* the first member of what was allocated */
	vcard_fini(&card);
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
	return vcard_rx(&card, f, bytes, NULL);
}

static void assert_frame(u32 at, u32 bytes, u32 seed)
{
	u8 f[1600];

	frame_make(f, bytes, seed);
	assert_int_equal(got_bytes[at % 4096], bytes);
	assert_memory_equal(got[at % 4096], f, bytes);
}

static u8 data[256][NETIF_TX_SEGS_MAX][1600];

static int tx_segs(u32 nsegs, u32 seg_bytes, u64 tag, bool bell)
{
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

/* ---------------------------------------------------------------- start */

static void starts(void **state)
{
	static const u16 devices[] = { VIRTIO_PCI_DEVICE_NET, VIRTIO_PCI_DEVICE_NET_TRANSITIONAL };

	(void)state;
	for (u32 i = 0; i < 2; i++) {
		prepare(true);
		card.bus.device = devices[i];
		assert_int_equal(netif_create(&card.bus, &dev), 0);
		assert_int_equal(card.resets, 1);
		assert_true(dev->irq);
		assert_memory_equal(dev->mac, card.mac, 6);
		assert_true(dev->ops->link_up(dev));
		assert_int_equal(dev->ops->link_mbps(dev), 1000);
		assert_true(dev->features & NETIF_CSUM);
		/* nothing that makes frames longer or spreads them */
		assert_false(card.accepted & (BIT64(VIRTIO_NET_F_GUEST_TSO4) |
					      BIT64(VIRTIO_NET_F_MRG_RXBUF)));
		assert_true(rx_frame(60, i));
		assert_int_equal(poll(), 1);
		assert_frame(0, 60, i);
		dev->ops->stop(dev);
		assert_false(rx_frame(60, 0));
		stop();
	}
}

static void refused(int err)
{
	struct netif_dev *d = NULL;

	assert_int_equal(netif_create(&card.bus, &d), err);
	assert_null(d);
	vcard_fini(&card);
}

static void refuses(void **state)
{
	(void)state;
	prepare(true);
	card.bus.device = 0x1042; /* a disk */
	refused(-ENODEV);
	prepare(true);
	card.cfg[6] = 0; /* legacy: no capabilities */
	refused(-ENODEV);
	prepare(true);
	card.bus.window_bar = 1; /* the structures are elsewhere */
	refused(-ENODEV);
	prepare(true);
	card.bus.bar_bytes = 0x1800; /* the notifications end beyond it */
	refused(-ENODEV);
	prepare(true);
	card.cfg[0x7d] = 0x40; /* capabilities in a circle: all are found, and that is enough */
	assert_int_equal(netif_create(&card.bus, &dev), 0);
	stop();
	prepare(true);
	card.offer &= ~BIT64(VIRTIO_F_VERSION_1);
	refused(-ENODEV);
	prepare(true);
	card.stuck = true;
	refused(-EIO);
	prepare(true);
	card.refuse_features = true;
	refused(-EIO);
	prepare(true);
	card.refuse_vectors = true;
	refused(-EIO);
	prepare(true);
	card.offer &= ~BIT64(VIRTIO_NET_F_MAC);
	refused(-EIO);
	prepare(true);
	memset(card.mac, 0xff, 6);
	refused(-EIO);
	for (u32 bad = 0; bad < 2; bad++) {
		prepare(true);
		card.q[1].max = bad ? 8 : 0;
		refused(-ENODEV);
	}
	for (u32 n = 1; n <= 6; n++) {
		prepare(true);
		card.fail_alloc = n;
		refused(-ENOMEM);
	}
}

/* Queues of any size the device has; a hand in each. */
static void odd_queue_sizes(void **state)
{
	static const u16 sizes[] = { 16, 64, 256, 1024, 32768, 40 };

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(sizes); i++) {
		prepare(true);
		card.q[0].max = card.q[1].max = sizes[i];
		assert_int_equal(netif_create(&card.bus, &dev), 0);
		assert_true(card.q[0].size <= 256 && !(card.q[0].size & (card.q[0].size - 1)));
		for (u32 k = 0; k < 1000; k++) {
			assert_true(rx_frame(60 + k % 900, k));
			assert_int_equal(tx_segs(8, 70, k, false), 0);
			assert_int_equal(poll(), 2);
			assert_frame(k, 60 + k % 900, k);
		}
		assert_int_equal(dones, 1000);
		stop();
	}
}

/* ---------------------------------------------------------------- receive */

static void receives_every_size(void **state)
{
	u32 n = 0;

	(void)state;
	for (u32 events = 0; events < 2; events++) {
		start(true, events);
		n = 0;
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
		stop();
	}
}

static void overrun_loses_frames_and_nothing_else(void **state)
{
	u32 taken = 0;

	(void)state;
	start(true, true);
	for (u32 round = 0; round < 5; round++) {
		for (u32 i = 0; i < 300; i++)
			if (rx_frame(100, taken))
				taken++;
		while (poll())
			;
		assert_int_equal(gots, taken);
	}
	assert_int_equal(taken, 5 * 256);
	for (u32 i = 0; i < taken; i++)
		assert_frame(i, 100, i);
	stop();
}

/* The sum of everything from csum_start on, the field among it, must come out as all ones. */
static u16 sum_of(const u8 *f, u32 from, u32 to)
{
	u32 sum = 0;

	for (u32 i = from; i < to; i++)
		sum += (i - from) & 1 ? f[i] : (u32)f[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (u16)sum;
}

static void unfinished_checksums_are_finished(void **state)
{
	struct virtio_net_hdr h = { .flags = VIRTIO_NET_HDR_NEEDS_CSUM, .csum_start = 34,
				    .csum_offset = 16 };
	u8 f[200];

	(void)state;
	start(true, true);
	for (u32 bytes = 60; bytes < 200; bytes++) {
		u16 pseudo = (u16)(bytes * 77);

		frame_make(f, bytes, bytes);
		f[50] = (u8)(pseudo >> 8);
		f[51] = (u8)pseudo;
		assert_true(vcard_rx(&card, f, bytes, &h));
		poll();
		assert_true(got_csum[gots - 1]);
		/* what a receiver adds up: data, checksum, and the pseudo header's sum */
		u32 sum = sum_of(got[gots - 1], 34, bytes) + pseudo;

		assert_int_equal((u16)((sum & 0xffff) + (sum >> 16)), 0xffff);
		assert_memory_equal(got[gots - 1], f, 50);
		assert_memory_equal(got[gots - 1] + 52, f + 52, bytes - 52);
	}
	/* nothing said: to be checked by the receiver; said to be right: not */
	h = (struct virtio_net_hdr){ 0 };
	vcard_rx(&card, f, 100, &h);
	h.flags = VIRTIO_NET_HDR_DATA_VALID;
	vcard_rx(&card, f, 100, &h);
	poll();
	assert_false(got_csum[gots - 2]);
	assert_true(got_csum[gots - 1]);
	stop();
}

static void bad_frames_are_dropped(void **state)
{
	static const struct virtio_net_hdr rows[] = {
		{ .flags = 1, .csum_start = 100, .csum_offset = 0 },
		{ .flags = 1, .csum_start = 34, .csum_offset = 65 },
		{ .flags = 1, .csum_start = 65535, .csum_offset = 65535 },
		{ .flags = 1, .csum_start = 34, .csum_offset = 65535 },
		{ .gso_type = VIRTIO_NET_GSO_TCPV4 },
	};
	static const u32 lens[] = { 1, 12, 25, 1531, 2048, 2049, 0xffffffff };
	u8 f[200] = { 0 };

	(void)state;
	start(true, true);
	for (u32 i = 0; i < ARRAY_SIZE(rows); i++)
		vcard_rx(&card, f, 100, &rows[i]);
	for (u32 i = 0; i < ARRAY_SIZE(lens); i++) {
		card.wrong_len = lens[i];
		rx_frame(100, i);
	}
	/* an entry for a descriptor that is not there, and one for a buffer that was not named */
	card.wrong_id = 256;
	rx_frame(100, 1);
	card.wrong_id = 0x12345678;
	rx_frame(100, 1);
	poll();
	assert_int_equal(gots, 0);
	for (u32 i = 0; i < 1000; i++) {
		assert_true(rx_frame(99, i));
		poll();
		assert_frame(i, 99, i);
	}
	stop();
}

/* ---------------------------------------------------------------- doorbells */

static void doorbells(void **state)
{
	(void)state;
	for (u32 events = 0; events < 2; events++) {
		start(true, events);
		assert_false(dev->ops->work(dev));
		for (u32 i = 0; i < 1000; i++) {
			u32 rang = card.doorbells;

			assert_true(rx_frame(64, i));
			assert_int_equal(card.doorbells, rang + 1);
			/* with event indices: more frames before anybody looks ring no more */
			for (u32 k = 0; events && k < i % 5; k++)
				rx_frame(64, 1);
			assert_int_equal(card.doorbells, rang + 1);
			assert_true(dev->ops->work(dev));
			assert_int_equal(poll(), events ? 1 + i % 5 : 1);
			assert_int_equal(poll(), 0);
			/* one late doorbell is owned up to, the next is somebody else's */
			assert_true(dev->ops->work(dev));
			assert_false(dev->ops->work(dev));
		}
		stop();
	}
}

/* Sent frames ring when somebody waits for one, and otherwise never. */
static void transmit_doorbells(void **state)
{
	(void)state;
	for (u32 events = 0; events < 2; events++) {
		start(true, events);
		poll();
		for (u32 i = 0; i < 70000; i++) {
			assert_int_equal(tx_segs(1, 60, i, false), 0);
			poll();
		}
		assert_int_equal(card.doorbells, 0);
		assert_false(dev->ops->work(dev));
		card.hung = true;
		tx_segs(1, 60, 1, false);
		tx_segs(1, 60, 2, true);
		poll();
		card.hung = false;
		vcard_run(&card);
		assert_true(card.doorbells >= 1);
		assert_true(dev->ops->work(dev));
		poll();
		assert_int_equal(dones, 70002);
		u32 rang = card.doorbells;

		tx_segs(1, 60, 3, false);
		assert_int_equal(card.doorbells, rang);
		stop();
	}
}

/* A link change rings, and is known when the pump has been. */
static void link_changes(void **state)
{
	(void)state;
	start(true, true);
	poll();
	assert_false(dev->ops->work(dev));
	for (u32 i = 0; i < 10; i++) {
		u32 rang = card.doorbells;

		vcard_link(&card, i & 1);
		assert_int_equal(card.doorbells, rang + 1);
		assert_true(dev->ops->work(dev));
		poll();
		assert_int_equal(dev->ops->link_up(dev), i & 1);
		assert_false(dev->ops->work(dev));
	}
	stop();
}

static void works_without_messages(void **state)
{
	(void)state;
	for (u32 kind = 0; kind < 4; kind++) {
		prepare(kind & 1);
		card.no_irq = true;
		if (kind & 2)
			card.offer &= ~BIT64(VIRTIO_F_RING_EVENT_IDX);
		assert_int_equal(netif_create(&card.bus, &dev), 0);
		assert_false(dev->irq);
		for (u32 i = 0; i < 70000; i++) {
			/* the model panics when it would have to assert its pin */
			rx_frame(60, i);
			tx_segs(1, 60, i, i & 1);
			assert_int_equal(poll(), 2);
		}
		stop();
	}
}

/* ---------------------------------------------------------------- transmit */

static void transmits(void **state)
{
	u64 sum = 0;

	(void)state;
	for (u32 shuffle = 0; shuffle < 2; shuffle++) {
		start(true, true);
		sum = 0;
		card.shuffle = shuffle;
		for (u32 i = 0; i < 1000; i++) {
			u32 segs = 1 + i % NETIF_TX_SEGS_MAX;

			card.hung = shuffle && i % 4;
			assert_int_equal(tx_segs(segs, 60 + i % 100, i, false), 0);
			vcard_run(&card);
			sum += i;
			if (!shuffle) {
				assert_int_equal(card.sents, i + 1);
				assert_int_equal(card.sent[i].bytes, segs * (60 + i % 100));
				assert_int_equal(card.sent[i].hdr.flags, 0);
				for (u32 s = 0; s < segs; s++)
					assert_int_equal(card.sent[i].data[s * (60 + i % 100)],
							 (u8)(i + s));
			}
			if (i % 10 == 0)
				poll();
		}
		card.hung = false;
		vcard_run(&card);
		poll();
		assert_int_equal(dones, 1000);
		assert_int_equal(done_sum, sum);
		assert_int_equal(tx_segs(0, 60, 1, false), -EINVAL);
		assert_int_equal(tx_segs(NETIF_TX_SEGS_MAX + 1, 60, 1, false), -EINVAL);
		stop();
	}
}

static void checksums_are_left_to_the_device(void **state)
{
	struct netif_seg s = { HPA((uintptr_t)data[0][0]), 100 };
	struct netif_tx t = { .segs = &s, .n = 1, .csum_start = 34, .csum_at = 50 };

	(void)state;
	start(true, true);
	assert_int_equal(dev->ops->tx(dev, &t), 0);
	assert_int_equal(card.sent[0].hdr.flags, VIRTIO_NET_HDR_NEEDS_CSUM);
	assert_int_equal(card.sent[0].hdr.csum_start, 34);
	assert_int_equal(card.sent[0].hdr.csum_offset, 16);
	poll();
	/* the header is not left over for the next frame */
	t.csum_start = t.csum_at = 0;
	assert_int_equal(dev->ops->tx(dev, &t), 0);
	assert_int_equal(card.sent[1].hdr.flags, 0);
	stop();
}

static void full_transmit_queue(void **state)
{
	u32 n = 0;

	(void)state;
	start(true, true);
	card.hung = true;
	while (!tx_segs(3, 60, n, false))
		n++;
	assert_int_equal(n, 256 / 4);
	assert_int_equal(tx_segs(1, 60, n, false), -ENOBUFS);
	assert_int_equal(poll(), 0);
	card.hung = false;
	vcard_run(&card);
	assert_int_equal(poll(), n);
	assert_int_equal(dones, n);
	assert_int_equal(tx_segs(3, 60, n, false), 0);
	stop();
}

/* ---------------------------------------------------------------- trouble */

static void hung_transmitter(void **state)
{
	(void)state;
	start(true, true);
	/* a notification that was lost: told again, no reset */
	card.deaf = true;
	tx_segs(1, 60, 1, false);
	card.deaf = false;
	plat_host_now_ns += 5 * NS_PER_SEC;
	poll();
	poll();
	assert_int_equal(dones, 1);
	assert_int_equal(card.resets, 1);
	card.hung = true;
	for (u32 i = 0; i < 10; i++)
		tx_segs(2, 60, i, i & 1);
	plat_host_now_ns += 5 * NS_PER_SEC;
	poll();
	assert_int_equal(card.resets, 1);
	/* without a link nothing is sent, and that is no fault */
	card.link = false;
	plat_host_now_ns += 5 * NS_PER_SEC;
	poll();
	plat_host_now_ns += 5 * NS_PER_SEC;
	poll();
	assert_int_equal(card.resets, 1);
	assert_false(dev->ops->link_up(dev));
	card.link = true;
	plat_host_now_ns += NS_PER_SEC;
	poll();
	plat_host_now_ns += 5 * NS_PER_SEC;
	poll();
	assert_int_equal(card.resets, 2);
	assert_int_equal(dones, 11);
	/* as good as new: both ways, with doorbells, and with the filter */
	card.hung = false;
	assert_int_equal(tx_segs(1, 70, 3, false), 0);
	poll();
	assert_int_equal(dones, 12);
	u32 rang = card.doorbells;

	assert_true(rx_frame(80, 9));
	assert_int_equal(card.doorbells, rang + 1);
	poll();
	assert_frame(gots - 1, 80, 9);
	stop();
}

static void device_asks_for_a_reset(void **state)
{
	(void)state;
	start(true, true);
	card.hung = true;
	tx_segs(1, 60, 1, false);
	card.hung = false;
	card.status |= VIRTIO_STATUS_NEEDS_RESET;
	plat_host_now_ns += NS_PER_SEC;
	poll();
	assert_int_equal(card.resets, 2);
	assert_int_equal(dones, 1);
	assert_true(rx_frame(80, 1));
	assert_int_equal(poll(), 1);
	/* one that never comes back is left alone, and nothing is lost or read twice */
	card.stuck = true;
	card.status = 0;
	plat_host_now_ns += NS_PER_SEC;
	poll();
	assert_false(rx_frame(80, 1));
	assert_int_equal(poll(), 0);
	stop();
}

static void tells_the_filter(void **state)
{
	struct netif_filter f = { .promiscuous = true, .n = 3 };

	(void)state;
	start(true, true);
	for (u32 i = 0; i < 5; i++)
		poll();
	assert_int_equal(card.commands, 3);
	assert_int_equal(card.promisc, 0);
	card.promisc = card.allmulti = 9;
	dev->ops->filter(dev, &f);
	for (u32 i = 0; i < 5; i++)
		poll();
	assert_int_equal(card.promisc, 1);
	assert_int_equal(card.allmulti, 0);
	assert_int_equal(card.groups, 3);
	assert_int_equal(card.commands, 6);
	/* more than fit is cut; refusals are no reason to stop */
	f.n = 1000;
	card.ctrl_answer = VIRTIO_NET_ERR;
	dev->ops->filter(dev, &f);
	for (u32 i = 0; i < 5; i++)
		poll();
	assert_int_equal(card.groups, NETIF_MULTICAST_MAX);
	assert_int_equal(card.commands, 9);
	stop();
	/* and a device without the queue is not asked */
	prepare(true);
	card.offer &= ~BIT64(VIRTIO_NET_F_CTRL_VQ);
	assert_int_equal(netif_create(&card.bus, &dev), 0);
	dev->ops->filter(dev, &f);
	poll();
	assert_int_equal(card.commands, 0);
	stop();
}

static void both_ways_at_random(void **state)
{
	u32 seed = 4711, in = 0, out = 0, taken = 0;

	(void)state;
	for (u32 events = 0; events < 2; events++) {
		start(true, events);
		in = out = taken = 0;
		for (u32 n = 0; n < 20000; n++) {
			seed = seed * 1664525 + 1013904223;
			switch (seed >> 28) {
			case 0 ... 6:
				if (rx_frame(14 + in % 1400, in))
					in++;
				break;
			case 7 ... 12:
				card.hung = seed & BIT(20);
				card.shuffle = seed & BIT(21);
				if (!tx_segs(1 + out % 3, 60, out, seed & BIT(22)))
					out++;
				break;
			default:
				card.hung = false;
				vcard_run(&card);
				poll();
				for (; taken < gots; taken++)
					assert_frame(taken, 14 + taken % 1400, taken);
			}
		}
		card.hung = false;
		vcard_run(&card);
		while (poll())
			;
		assert_int_equal(gots, in);
		assert_int_equal(dones, out);
		assert_int_equal(card.sents, out);
		assert_true(in > 3000 && out > 1000);
		stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(starts),
		cmocka_unit_test(refuses),
		cmocka_unit_test(odd_queue_sizes),
		cmocka_unit_test(receives_every_size),
		cmocka_unit_test(overrun_loses_frames_and_nothing_else),
		cmocka_unit_test(unfinished_checksums_are_finished),
		cmocka_unit_test(bad_frames_are_dropped),
		cmocka_unit_test(doorbells),
		cmocka_unit_test(transmit_doorbells),
		cmocka_unit_test(link_changes),
		cmocka_unit_test(works_without_messages),
		cmocka_unit_test(transmits),
		cmocka_unit_test(checksums_are_left_to_the_device),
		cmocka_unit_test(full_transmit_queue),
		cmocka_unit_test(hung_transmitter),
		cmocka_unit_test(device_asks_for_a_reset),
		cmocka_unit_test(tells_the_filter),
		cmocka_unit_test(both_ways_at_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
