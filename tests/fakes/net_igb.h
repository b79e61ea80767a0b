/*
 * net_igb.h - an 82576 as far as its driver can see it: queue 0, advanced
 * descriptors, vectors with auto-clear and auto-mask; after the datasheet
 */
#ifndef TESTS_FAKES_NET_IGB_H
#define TESTS_FAKES_NET_IGB_H

#include "base/bus.h"
#include "net/spec/e1000e.h"
#include "net/spec/igb.h"

#define IGB_CARD_REGS 0x10000
#define IGB_CARD_REGIONS 8
#define IGB_CARD_SENT 2048

struct igb_card {
	struct bus_dev bus;
	u32 reg[IGB_CARD_REGS / 4];
	u8 mac[6];
	u32 mac_after; /* reads of RAH until the address is there */
	bool link, stuck, hung, no_irq, dead_queues;
	u32 resets, doorbells, delays_us;
	bool irq_enabled;
	struct { u8 *at; size_t bytes; } mem[IGB_CARD_REGIONS];
	u32 mems, fail_alloc;
	struct { u8 data[2048]; u32 bytes; } *sent;
	u32 sents;
	u8 part[4096];
	u32 part_bytes, part_total;
};

void igb_card_init(struct igb_card *c, bool msix);
void igb_card_fini(struct igb_card *c);
/* A frame from the wire; @claim bytes are said, @status on top of DD. False: no descriptor. */
bool igb_card_rx(struct igb_card *c, const void *frame, u32 bytes, u32 claim, u32 status);
void igb_card_run(struct igb_card *c);
void igb_card_link(struct igb_card *c, bool up);

#endif
