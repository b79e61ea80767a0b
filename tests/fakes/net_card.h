/*
 * net_card.h - a guest's machine around an emulated card: memory, interrupts, a real card
 *
 * The real card keeps what it is given until net_card_send() and receives what
 * net_card_rx() hands in.
 */
#ifndef TESTS_FAKES_NET_CARD_H
#define TESTS_FAKES_NET_CARD_H

#include "net/emul/nic.h"
#include "net/spec/netif.h"

#define NET_CARD_RING 64u
#define NET_CARD_RAM 0x100000u
#define NET_CARD_RAM_GPA 0x40000000ull
#define NET_CARD_VECTORS 8u

struct net_card {
	struct netif_dev dev;
	struct { u8 data[2048]; u32 bytes; struct netif_tx t; } ring[NET_CARD_RING];
	u32 head, count;
	u8 last[2048];
	u32 last_bytes, sents; /* of a frame to be cut only the first 2 KiB are kept */
	struct netif_tx last_tx;
	const u8 *rx;
	u32 rx_bytes;
	bool rx_csum_ok;
	bool down;
	struct netif_filter filter;

	struct emul_host host;
	u8 ram[NET_CARD_RAM];
	bool no_dma;
	u32 irqs[NET_CARD_VECTORS];

	struct share *share;
	struct nic_emul *nic;
};

int net_card_init(struct net_card *c, int (*create)(struct emul_host *, struct share *,
						    struct nic_emul **));
void net_card_send(struct net_card *c, u32 n);
/* A frame from the wire, at once. */
void net_card_rx(struct net_card *c, const void *frame, u32 bytes, bool csum_ok);
/* What the pump does. */
void net_card_run(struct net_card *c);

#endif
