/*
 * net_e1000.h - an 82574 as far as its driver can see it
 *
 * Registers, descriptor rings (extended ones for what is sent, too: checksums
 * and TCP segmentation are done as the card does them), interrupt causes with auto-clear and
 * auto-mask, a PHY that answers; behind a struct bus_dev. Every address that
 * the driver gives the card is checked against the memory it was given.
 */
#ifndef TESTS_FAKES_NET_E1000_H
#define TESTS_FAKES_NET_E1000_H

#include "base/bus.h"
#include "net/spec/e1000e.h"

#define CARD_REGS 0x6000
#define CARD_REGIONS 16
#define CARD_SENT 4096

struct card {
	struct bus_dev bus;
	u32 reg[CARD_REGS / 4];
	u8 mac[6]; /* what a reset loads */
	bool link;
	bool stuck; /* reset never ends */
	bool hung; /* transmits nothing */
	bool no_irq;
	bool busy; /* master requests outstanding for ever */
	bool bare; /* a reset loads nothing: the address is in the EEPROM alone */
	bool no_eeprom; /* EERD is never done */
	bool pin_raised; /* the pin was asserted */
	u32 resets, doorbells, missed, delays_us;
	bool irq_enabled;
	u32 irq_before_reset; /* irq_enable() came first: some cards do not survive that */
	struct { u8 *at; size_t bytes; } mem[CARD_REGIONS];
	u32 mems, fail_alloc; /* n-th allocation fails, 1-based */
	struct { u8 data[2048]; u32 bytes; } *sent; /* CARD_SENT of them */
	u32 sents;
	u16 phy[32];
	u8 part[65536 + 4096]; /* the frame being gathered */
	u32 part_bytes;
	struct e1000_tx_context context;
	u32 contexts;
	void (*on_write)(struct card *c, u32 off, u32 v); /* races */
};

void card_init(struct card *c, u16 device, bool msix);
void card_fini(struct card *c);
/* A frame from the wire, with the verdict that the card would write; false: no descriptor. */
bool card_rx(struct card *c, const void *frame, u32 bytes, u8 status, u8 errors);
/* The same with the length field as given, for cards that lie. */
bool card_rx_raw(struct card *c, const void *frame, u32 bytes, u32 claim, u8 status, u8 errors);
void card_tx_run(struct card *c);
/* The cable: the cause is raised, too. */
void card_link(struct card *c, bool up);

#endif
