/*
 * netif.h - a network card as the stack sees it
 *
 * Implemented by net/drivers, used by net/stack. One owner calls everything:
 * in the VMM that is the pump. There is no interrupt handler: the doorbell
 * wakes the pump, the pump calls rx().
 */
#ifndef NET_SPEC_NETIF_H
#define NET_SPEC_NETIF_H

#include "base/types.h"

#define NETIF_FRAME_MAX 1518
#define NETIF_TX_SEGS_MAX 8

struct netif_seg {
	hpa_t pa;
	u32 bytes;
};

struct netif_dev;

struct netif_ops {
	/*
	 * Queue one Ethernet frame without FCS. Segments must stay untouched
	 * until @done(@ctx) (from poll()). -ENOBUFS when the ring is full.
	 */
	int (*tx)(struct netif_dev *d, const struct netif_seg *segs, u32 n,
		  void (*done)(void *ctx), void *ctx);
	/*
	 * Reap sent frames; hand every received frame to @input, which copies
	 * what it wants before it returns. @csum_ok: the card checked IP and
	 * TCP/UDP checksums. Returns frames handled, both ways.
	 */
	u32 (*poll)(struct netif_dev *d,
		    void (*input)(void *ctx, const void *frame, u32 bytes, bool csum_ok),
		    void *ctx);
	bool (*link_up)(struct netif_dev *d);
};

struct netif_dev {
	const struct netif_ops *ops;
	u8 mac[6]; /* (c) */
	const char *name; /* (c) "e1000e 82574L" */
};

#endif
