/*
 * net_virtio.h - a virtio-net device as far as its driver can see it
 *
 * The modern PCI transport in one BAR, split queues with and without event
 * indices, a frame in, frames out; behind a struct bus_dev. What the driver
 * gives the device is checked: addresses, order of the start, widths of
 * accesses. What the device says can be made wrong.
 */
#ifndef TESTS_FAKES_NET_VIRTIO_H
#define TESTS_FAKES_NET_VIRTIO_H

#include "base/bus.h"
#include "net/spec/virtio.h"

#define VCARD_REGIONS 16
#define VCARD_SENT 4096
#define VCARD_QUEUES 3

struct vcard_queue {
	u16 size, max, vector, enabled, noff;
	u64 desc, avail, used;
	u16 seen; /* of avail */
	u16 used_idx;
	u32 notified;
};

struct vcard {
	struct bus_dev bus;
	u8 cfg[256];
	u64 offer, accepted; /* features */
	u32 dfsel, gfsel;
	u8 status;
	u16 qsel, config_vector;
	struct vcard_queue q[VCARD_QUEUES];
	u8 mac[6];
	bool link;
	bool stuck; /* a reset never ends */
	bool no_irq;
	bool refuse_features, refuse_vectors;
	bool hung; /* transmits nothing */
	bool deaf; /* notifications are lost */
	bool shuffle; /* uses transmit chains in reverse order */
	u32 resets, doorbells, missed;
	bool irq_enabled;
	struct { u8 *at; size_t bytes; } mem[VCARD_REGIONS];
	u32 mems, fail_alloc;
	struct { u8 data[2048]; u32 bytes; struct virtio_net_hdr hdr; } *sent;
	u32 sents;
	u32 promisc, allmulti, groups, commands; /* what the control queue said */
	u8 ctrl_answer;
	u32 wrong_id, wrong_len; /* not 0: what the next used entry says instead */
};

void vcard_init(struct vcard *c, u16 device, bool msix);
void vcard_fini(struct vcard *c);
/* A frame from the wire; false: no buffer. */
bool vcard_rx(struct vcard *c, const void *frame, u32 bytes, const struct virtio_net_hdr *h);
void vcard_link(struct vcard *c, bool up);
/* Transmit and answer what is there. */
void vcard_run(struct vcard *c);

#endif
