/*
 * e1000e.h - figures of the driver of Intel 82574L and relatives, 82540EM
 */
#ifndef NET_DRIVERS_E1000E_H
#define NET_DRIVERS_E1000E_H

#include "net/spec/netif.h"

struct e1000e_counters {
	u64 rx_frames, rx_bytes, rx_errors, rx_polls;
	u64 tx_frames, tx_bytes, tx_full;
	u64 resets; /* after the first: hung transmitter */
	u64 link_changes;
	u64 rearms; /* interrupts re-enabled: an upper bound of doorbells */
};

const struct e1000e_counters *e1000e_counters(struct netif_dev *d);

#endif
