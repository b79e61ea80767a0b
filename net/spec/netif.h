/*
 * netif.h - a network card as its users see it
 *
 * Implemented by net/drivers, used by net/stack. One owner calls everything
 * but work(): in the VMM that is the pump. There is no interrupt handler: the
 * doorbell wakes the pump, the pump calls poll().
 *
 * What a card need not have is NULL or 0: its user then does without.
 */
#ifndef NET_SPEC_NETIF_H
#define NET_SPEC_NETIF_H

#include "base/types.h"

#define NETIF_HEAD_BYTES 14 /* Ethernet's header */
#define NETIF_FRAME_MAX 1518 /* with a VLAN tag, without FCS */
#define NETIF_TX_SEGS_MAX 8
/* A frame that the card cuts: as long as an IPv4 packet may be, in more segments. */
#define NETIF_CUT_MAX (NETIF_HEAD_BYTES + 65535)
#define NETIF_CUT_SEGS_MAX 32
#define NETIF_MULTICAST_MAX 32

struct netif_seg {
	hpa_t pa;
	u32 bytes;
};

/* One Ethernet frame without FCS on its way out. */
struct netif_tx {
	const struct netif_seg *segs; /* the array is read before tx() returns */
	u32 n;
	/*
	 * Not 0: the card adds the one's complement sum of the bytes from
	 * csum_start to the frame's end to what stands at csum_at, and stores it
	 * inverted there. Only with NETIF_CSUM, TCP or UDP over IPv4, both in segs[0].
	 */
	u16 csum_start, csum_at;
	/*
	 * Not 0: the card makes frames of it, each with the first header_bytes,
	 * which are in segs[0], and mss bytes of the rest. Only with NETIF_TSO; TCP
	 * over IPv4 without a tag, and csum_start as above. Length and sum in the IP
	 * header are 0, and what stands at csum_at is the sum of the pseudo header
	 * without its length.
	 */
	u16 mss, header_bytes;
	/* Somebody waits for done(): the card may ring when it is sent. */
	bool bell;
	void (*done)(void *ctx); /* from poll(), once; the segments are free again */
	void *ctx;
};

enum netif_feature {
	NETIF_CSUM = 1, /* checksums of frames that go out */
	NETIF_TSO = 2, /* TCP segments that go out; with NETIF_CSUM */
};

/* What passes besides the card's own address and broadcasts. */
struct netif_filter {
	bool promiscuous;
	bool all_multicast;
	u32 n; /* exact group addresses; the card may let others through as well */
	u8 multicast[NETIF_MULTICAST_MAX][6];
};

struct netif_dev;

struct netif_ops {
	/* Queue one frame. -ENOBUFS when the ring is full, -EINVAL what no card can send. */
	int (*tx)(struct netif_dev *d, const struct netif_tx *t);
	/*
	 * Reap sent frames; hand every received frame to @input, which copies
	 * what it wants before it returns. @csum_ok: the card checked IP and
	 * TCP/UDP checksums. Returns frames handled, both ways.
	 */
	u32 (*poll)(struct netif_dev *d,
		    void (*input)(void *ctx, const void *frame, u32 bytes, bool csum_ok),
		    void *ctx);
	bool (*link_up)(struct netif_dev *d);
	/* Of the link, in Mbit/s. May be NULL. */
	u32 (*link_mbps)(struct netif_dev *d);
	/* Replace the filter. May be NULL: the card then lets too little through. */
	void (*filter)(struct netif_dev *d, const struct netif_filter *f);
	/*
	 * Does the card explain a doorbell? True when poll() has something to do,
	 * or did since the last call: the doorbell of that may still have been on
	 * its way. Context: any CPU, without the pump; changes nothing in the card.
	 */
	bool (*work)(struct netif_dev *d);
	/* No more DMA, no more interrupts (panic, hand-over). */
	void (*stop)(struct netif_dev *d);
};

struct netif_dev {
	const struct netif_ops *ops;
	u8 mac[6]; /* (c) */
	bool irq; /* (c) false: no doorbell, it must be polled from a tick */
	u32 features; /* (c) enum netif_feature */
	const char *name; /* (c) "e1000e 82574L" */
};

#endif
