/*
 * The virtio card against a hostile guest: the input is its driver. A set-up
 * that works comes first, then steps of register accesses, writes to memory
 * (the rings among it), bells, frames from the wire and turns of the real card.
 * Whatever happens, the real card is given whole frames only (tests/fakes/net_card.c
 * checks), and a reset makes it all work again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/plat.h"
#include "base/plat_host.h"
#include "net/emul/virtio_net.h"
#include "net/spec/virtio.h"
#include "tests/fakes/net_card.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define STEPS 300u
#define QUEUE_BYTES 0x4000u

static struct net_card c;
static const u8 *in;
static size_t left;

static u64 take(u32 bytes)
{
	u64 v = 0;

	while (bytes--) {
		v = v << 8 | (left ? *in : 0);
		if (left) {
			left--;
			in++;
		}
	}
	return v;
}

static u64 reg(u64 off, u32 bytes, bool write, u64 v)
{
	if (!write || !c.nic->ops->bell(c.nic, off, v))
		c.nic->ops->mmio(c.nic, off, bytes, write, &v);
	return v;
}

static void setup(u64 features)
{
	reg(VIRTIO_COMMON_STATUS, 1, true, 0);
	net_card_send(&c, NET_CARD_RING);
	net_card_run(&c);
	if (reg(VIRTIO_COMMON_STATUS, 1, false, 0))
		plat_panic("reset does not end");
	for (u32 i = 0; i < 2; i++) {
		reg(VIRTIO_COMMON_GFSELECT, 4, true, i);
		reg(VIRTIO_COMMON_GF, 4, true, (u32)(features >> (32 * i)));
	}
	reg(VIRTIO_COMMON_STATUS, 1, true, 11);
	for (u32 q = 0; q < 3; q++) {
		u64 at = NET_CARD_RAM_GPA + q * QUEUE_BYTES;

		memset(c.ram + q * QUEUE_BYTES, 0, QUEUE_BYTES);
		reg(VIRTIO_COMMON_Q_SELECT, 2, true, q);
		reg(VIRTIO_COMMON_Q_SIZE, 2, true, 16);
		reg(VIRTIO_COMMON_Q_MSIX, 2, true, q);
		reg(VIRTIO_COMMON_Q_DESCLO, 8, true, at);
		reg(VIRTIO_COMMON_Q_AVAILLO, 8, true, at + 0x1000);
		reg(VIRTIO_COMMON_Q_USEDLO, 8, true, at + 0x2000);
		reg(VIRTIO_COMMON_Q_ENABLE, 2, true, 1);
	}
	reg(VIRTIO_COMMON_STATUS, 1, true, 15);
}

/* A descriptor that makes sense, mostly. */
static void descriptor(void)
{
	u32 q = (u32)take(1) % 3, i = (u32)take(1) % 16;
	struct virtq_desc d = {
		.addr = NET_CARD_RAM_GPA + 0x10000 + take(2) * 8, .len = (u32)take(2) % 4096,
		.flags = (u16)take(1) % 8, .next = (u16)take(1) % 17,
	};
	u8 *avail = c.ram + q * QUEUE_BYTES + 0x1000;
	u16 idx;

	memcpy(c.ram + q * QUEUE_BYTES + 16 * i, &d, sizeof(d));
	memcpy(&idx, avail + 2, 2);
	avail[4 + 2 * (idx % 16)] = (u8)i;
	avail[5 + 2 * (idx % 16)] = 0;
	idx = (u16)(idx + (take(1) & 1));
	memcpy(avail + 2, &idx, 2);
}

static void step(void)
{
	static u8 frame[NETIF_FRAME_MAX];
	u64 off;

	switch (take(1) % 8) {
	case 0:
		off = take(2) % VIRTIO_NET_BAR_BYTES;
		reg(off, 1u << take(1) % 4, true, take(8));
		break;
	case 1:
		off = take(2) % VIRTIO_NET_BAR_BYTES;
		reg(off, 1u << take(1) % 4, false, 0);
		break;
	case 2:
		off = take(3) % (NET_CARD_RAM - 8);
		if (take(1) & 1)
			off %= 3 * QUEUE_BYTES;
		for (u32 i = 0, n = (u32)take(1) % 9; i < n; i++)
			c.ram[off + i] = (u8)take(1);
		break;
	case 3:
	case 4:
		descriptor();
		break;
	case 5:
		reg(0x3000 + 4 * (take(1) % 4), 2, true, 0);
		net_card_run(&c);
		break;
	case 6:
		for (u32 i = 0; i < 40; i++)
			frame[i] = (u8)take(1);
		net_card_rx(&c, frame, 14 + (u32)take(2) % (NETIF_FRAME_MAX - 13), take(1) & 1);
		break;
	default:
		net_card_send(&c, (u32)take(1) % 8);
		c.down = take(1) & 1;
		c.no_dma = !(take(1) % 16);
		net_card_run(&c);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const u64 all = 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_F_RING_EVENT_IDX |
			1ull << VIRTIO_F_RING_INDIRECT_DESC | 1ull << VIRTIO_NET_F_MRG_RXBUF |
			1ull << VIRTIO_NET_F_CTRL_VQ | 1ull << VIRTIO_NET_F_CTRL_RX;

	u32 kind;

	plat_host_quiet = true;
	in = data;
	left = n;
	/* One card for all inputs: setup() resets it, or says that it cannot. */
	if (!c.nic && net_card_init(&c, virtio_net_create))
		return 0;
	memset(c.ram, 0, sizeof(c.ram));
	kind = (u32)take(1);
	c.dev.features = kind & 2 ? NETIF_CSUM | NETIF_TSO : 0;
	setup((kind & 1 ? all : 1ull << VIRTIO_F_VERSION_1) |
	      (kind & 2 ? 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_HOST_TSO4 : 0));
	for (u32 i = 0; i < STEPS && left; i++)
		step();
	c.no_dma = false;
	setup(all);
	net_card_run(&c);
	if (reg(VIRTIO_COMMON_STATUS, 1, false, 0) != 15)
		plat_panic("no life after a reset");
	return 0;
}
