/*
 * sorter.h - whose frame is it: the VMM's, the guest's, or of both
 */
#ifndef NET_STACK_SORTER_H
#define NET_STACK_SORTER_H

#include "base/types.h"

#define SORTER_VMM 1u
#define SORTER_GUEST 2u
#define SORTER_BOTH (SORTER_VMM | SORTER_GUEST)

/* The VMM's stack tells about itself; addresses and ports in host order. */
struct sorter_vmm {
	u32 (*ip)(void); /* 0: none yet */
	u32 (*dhcp_xid)(void); /* of the exchange under way; 0: none */
	/* Does a connection of the VMM's go from @lport to @rip:@rport? */
	bool (*owns_tcp)(u32 rip, u16 rport, u16 lport);
};

struct sorter {
	const struct sorter_vmm *vmm; /* NULL: it has no address and no connection */
	u8 mac[6]; /* of both */
	u32 guest_ip; /* what a DHCP server last gave the guest; 0: not seen */
};

/** sorter_same_ip() - has the DHCP server given both the same address? */
bool sorter_same_ip(const struct sorter *s);

/**
 * sorter_rx() - SORTER_* of a received frame; takes note of the guest's lease
 *
 * Any bytes will do; @bytes at least 14.
 */
u32 sorter_rx(struct sorter *s, const u8 *frame, u32 bytes);

/**
 * sorter_tx_spoofed() - would this frame of the guest's pass for the VMM's?
 * @head: the frame's first bytes, 128 or the whole frame
 */
bool sorter_tx_spoofed(const struct sorter *s, const u8 *head, u32 bytes);

#endif
