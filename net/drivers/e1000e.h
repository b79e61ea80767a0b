/*
 * e1000e.h - Intel 82574L and relatives, 82540EM, as a struct netif_dev
 */
#ifndef NET_DRIVERS_E1000E_H
#define NET_DRIVERS_E1000E_H

#include "base/bus.h"
#include "net/spec/netif.h"

struct e1000e_counters {
	u64 rx_frames, rx_bytes, rx_errors, rx_polls;
	u64 tx_frames, tx_bytes, tx_full;
	u64 resets; /* after the first: hung transmitter */
	u64 link_changes;
	u64 rearms; /* interrupts re-enabled: an upper bound of doorbells */
};

/** e1000e_match() - does this driver know the device? For the loader's choice, too */
bool e1000e_match(u16 vendor, u16 device);

/**
 * e1000e_create() - reset the card and start it
 *
 * Takes about 10 ms of delay_us(). Memory: about 530 KiB of DMA memory, once.
 * Return: 0; -ENODEV unknown device; -ENOMEM; -EIO the card does not come out
 * of reset or has no address.
 */
int e1000e_create(struct bus_dev *bus, struct netif_dev **out);

const struct e1000e_counters *e1000e_counters(struct netif_dev *d);

#endif
