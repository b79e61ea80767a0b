/*
 * virtio_net.h - the virtio network card that the guest sees
 */
#ifndef NET_EMUL_VIRTIO_NET_H
#define NET_EMUL_VIRTIO_NET_H

#include "net/emul/nic.h"

#define VIRTIO_NET_BAR_BYTES 0x4000u
#define VIRTIO_NET_MSIX_OFF 0x2000u /* a page that is not ours */
#define VIRTIO_NET_VECTORS 4u
#define VIRTIO_NET_CAPS 5u

/* Capability @i of VIRTIO_NET_CAPS, as it stands in configuration space; returns its length. */
u32 virtio_net_cap(u32 i, u8 out[20]);

struct virtio_net_stats {
	u64 rx_frames, rx_no_buffer, tx_frames, tx_dropped, irqs, resets, broken, commands;
};

/* 0, -ENOMEM. About 40 KiB, once. */
int virtio_net_create(struct emul_host *host, struct share *share, struct nic_emul **out);
/* With nothing under way; for tests and tools. */
void virtio_net_destroy(struct nic_emul *e);
const struct virtio_net_stats *virtio_net_stats(const struct nic_emul *e);

#endif
