/*
 * virtio.h - registers and structures of virtio 1.x: PCI transport, split rings, network device
 *
 * Serves the driver of a real (that is, another hypervisor's) virtio-net card
 * and the virtio-net that Freshet presents. Everything is little-endian. Only
 * "modern" devices: where both exist, the legacy register window is not used.
 *
 * [VIRTIO 1.1] = Virtual I/O Device Version 1.1, OASIS: §2.1 status, §2.6 split
 * virtqueues, §4.1 PCI, §5.1 network device, §6 reserved feature bits.
 */
#ifndef NET_SPEC_VIRTIO_H
#define NET_SPEC_VIRTIO_H

#include "base/assert.h"
#include "base/field.h"
#include "base/types.h"

/* ---------------------------------------------------------------- PCI [§4.1.2, §4.1.4] */

#define VIRTIO_PCI_VENDOR 0x1af4
#define VIRTIO_PCI_DEVICE_NET 0x1041 /* 0x1040 + device type 1 */
#define VIRTIO_PCI_DEVICE_NET_TRANSITIONAL 0x1000

/* A vendor-specific capability that says where a structure lies. */
#define VIRTIO_CAP_ID 0x09
struct virtio_pci_cap {
	u8 cap_vndr, cap_next;
	u8 cap_len; /* 16; 20 with the notify multiplier behind */
	u8 cfg_type;
#define VIRTIO_CAP_COMMON 1
#define VIRTIO_CAP_NOTIFY 2
#define VIRTIO_CAP_ISR 3
#define VIRTIO_CAP_DEVICE 4
#define VIRTIO_CAP_PCI_CFG 5
	u8 bar;
	u8 padding[3];
	u32 offset;
	u32 length;
	u32 notify_off_multiplier; /* VIRTIO_CAP_NOTIFY alone */
} __packed;
static_assert(sizeof(struct virtio_pci_cap) == 20, "virtio capability");
static_assert(offsetof(struct virtio_pci_cap, cfg_type) == 3, "cfg_type");
static_assert(offsetof(struct virtio_pci_cap, bar) == 4, "bar");
static_assert(offsetof(struct virtio_pci_cap, offset) == 8, "offset");
static_assert(offsetof(struct virtio_pci_cap, length) == 12, "length");
static_assert(offsetof(struct virtio_pci_cap, notify_off_multiplier) == 16, "multiplier");

/* Common configuration structure [§4.1.4.3]; accessed by the width of each field. */
#define VIRTIO_COMMON_DFSELECT 0x00 /* 32 */
#define VIRTIO_COMMON_DF 0x04 /* 32, ro */
#define VIRTIO_COMMON_GFSELECT 0x08 /* 32 */
#define VIRTIO_COMMON_GF 0x0c /* 32 */
#define VIRTIO_COMMON_MSIX 0x10 /* 16: vector of configuration changes */
#define   VIRTIO_NO_VECTOR 0xffffu
#define VIRTIO_COMMON_NUMQ 0x12 /* 16, ro */
#define VIRTIO_COMMON_STATUS 0x14 /* 8 */
#define   VIRTIO_STATUS_ACKNOWLEDGE BIT(0)
#define   VIRTIO_STATUS_DRIVER BIT(1)
#define   VIRTIO_STATUS_DRIVER_OK BIT(2)
#define   VIRTIO_STATUS_FEATURES_OK BIT(3)
#define   VIRTIO_STATUS_NEEDS_RESET BIT(6)
#define   VIRTIO_STATUS_FAILED BIT(7)
#define VIRTIO_COMMON_CFGGENERATION 0x15 /* 8, ro */
#define VIRTIO_COMMON_Q_SELECT 0x16 /* 16 */
#define VIRTIO_COMMON_Q_SIZE 0x18 /* 16 */
#define VIRTIO_COMMON_Q_MSIX 0x1a /* 16 */
#define VIRTIO_COMMON_Q_ENABLE 0x1c /* 16 */
#define VIRTIO_COMMON_Q_NOFF 0x1e /* 16, ro */
#define VIRTIO_COMMON_Q_DESCLO 0x20 /* 64 in two halves, as the next two */
#define VIRTIO_COMMON_Q_DESCHI 0x24
#define VIRTIO_COMMON_Q_AVAILLO 0x28
#define VIRTIO_COMMON_Q_AVAILHI 0x2c
#define VIRTIO_COMMON_Q_USEDLO 0x30
#define VIRTIO_COMMON_Q_USEDHI 0x34
#define VIRTIO_COMMON_BYTES 0x38

#define VIRTIO_ISR_QUEUE BIT(0)
#define VIRTIO_ISR_CONFIG BIT(1)

/* Feature bits that belong to no device type [§6]. */
#define VIRTIO_F_RING_INDIRECT_DESC 28
#define VIRTIO_F_RING_EVENT_IDX 29
#define VIRTIO_F_VERSION_1 32
#define VIRTIO_F_ACCESS_PLATFORM 33

/* ---------------------------------------------------------------- split virtqueue [§2.6] */

#define VIRTQ_SIZE_MAX 32768u

struct virtq_desc {
	u64 addr;
	u32 len;
	u16 flags;
#define VIRTQ_DESC_NEXT BIT(0)
#define VIRTQ_DESC_WRITE BIT(1) /* the device writes */
#define VIRTQ_DESC_INDIRECT BIT(2)
	u16 next;
} __packed;
static_assert(sizeof(struct virtq_desc) == 16, "descriptor");
static_assert(offsetof(struct virtq_desc, len) == 8, "descriptor length");
static_assert(offsetof(struct virtq_desc, flags) == 12, "descriptor flags");

/* Behind ring[size]: u16 used_event, with VIRTIO_F_RING_EVENT_IDX. */
struct virtq_avail {
	u16 flags;
#define VIRTQ_AVAIL_NO_INTERRUPT BIT(0)
	u16 idx;
	u16 ring[];
} __packed;

struct virtq_used_elem {
	u32 id; /* head of the chain */
	u32 len; /* bytes that the device wrote */
} __packed;

/* Behind ring[size]: u16 avail_event, with VIRTIO_F_RING_EVENT_IDX. */
struct virtq_used {
	u16 flags;
#define VIRTQ_USED_NO_NOTIFY BIT(0)
	u16 idx;
	struct virtq_used_elem ring[];
} __packed;
static_assert(sizeof(struct virtq_used_elem) == 8, "used element");
static_assert(sizeof(struct virtq_avail) == 4 && sizeof(struct virtq_used) == 4, "rings");

#define VIRTQ_DESC_BYTES(size) (16u * (size))
#define VIRTQ_AVAIL_BYTES(size) (6u + 2u * (size))
#define VIRTQ_USED_BYTES(size) (6u + 8u * (size))

/* Has an index that went from @old to @now passed @event? [§2.6.7.2] */
static inline bool virtq_need_event(u16 event, u16 now, u16 old)
{
	return (u16)(now - event - 1) < (u16)(now - old);
}

/* ---------------------------------------------------------------- network device [§5.1] */

#define VIRTIO_NET_F_CSUM 0
#define VIRTIO_NET_F_GUEST_CSUM 1
#define VIRTIO_NET_F_CTRL_GUEST_OFFLOADS 2
#define VIRTIO_NET_F_MTU 3
#define VIRTIO_NET_F_MAC 5
#define VIRTIO_NET_F_GUEST_TSO4 7
#define VIRTIO_NET_F_GUEST_TSO6 8
#define VIRTIO_NET_F_GUEST_ECN 9
#define VIRTIO_NET_F_GUEST_UFO 10
#define VIRTIO_NET_F_HOST_TSO4 11
#define VIRTIO_NET_F_HOST_TSO6 12
#define VIRTIO_NET_F_HOST_ECN 13
#define VIRTIO_NET_F_HOST_UFO 14
#define VIRTIO_NET_F_MRG_RXBUF 15
#define VIRTIO_NET_F_STATUS 16
#define VIRTIO_NET_F_CTRL_VQ 17
#define VIRTIO_NET_F_CTRL_RX 18
#define VIRTIO_NET_F_CTRL_VLAN 19
#define VIRTIO_NET_F_CTRL_RX_EXTRA 20
#define VIRTIO_NET_F_GUEST_ANNOUNCE 21
#define VIRTIO_NET_F_MQ 22
#define VIRTIO_NET_F_CTRL_MAC_ADDR 23
#define VIRTIO_NET_F_SPEED_DUPLEX 63

/* Queue numbers: receive 2n, transmit 2n + 1, control behind the last pair. */
#define VIRTIO_NET_Q_RX 0
#define VIRTIO_NET_Q_TX 1

/* Device configuration [§5.1.4] */
#define VIRTIO_NET_CFG_MAC 0 /* 6 bytes */
#define VIRTIO_NET_CFG_STATUS 6 /* 16 */
#define   VIRTIO_NET_S_LINK_UP BIT(0)
#define   VIRTIO_NET_S_ANNOUNCE BIT(1)
#define VIRTIO_NET_CFG_MAX_PAIRS 8 /* 16 */
#define VIRTIO_NET_CFG_MTU 10 /* 16 */
#define VIRTIO_NET_CFG_SPEED 12 /* 32: Mbit/s, ~0 unknown */
#define VIRTIO_NET_CFG_DUPLEX 16 /* 8: 1 full, 0xff unknown */
#define VIRTIO_NET_CFG_BYTES 20

/* Before every frame, both ways; num_buffers is always there in 1.x [§5.1.6] */
struct virtio_net_hdr {
	u8 flags;
#define VIRTIO_NET_HDR_NEEDS_CSUM BIT(0)
#define VIRTIO_NET_HDR_DATA_VALID BIT(1)
	u8 gso_type;
#define VIRTIO_NET_GSO_NONE 0
#define VIRTIO_NET_GSO_TCPV4 1
#define VIRTIO_NET_GSO_UDP 3
#define VIRTIO_NET_GSO_TCPV6 4
#define VIRTIO_NET_GSO_ECN 0x80
	u16 hdr_len;
	u16 gso_size;
	u16 csum_start;
	u16 csum_offset;
	u16 num_buffers;
} __packed;
static_assert(sizeof(struct virtio_net_hdr) == 12, "virtio-net header");
static_assert(offsetof(struct virtio_net_hdr, csum_start) == 6, "csum_start");
static_assert(offsetof(struct virtio_net_hdr, num_buffers) == 10, "num_buffers");

/* Control queue: class, command, data, then one byte of answer [§5.1.6.5] */
#define VIRTIO_NET_OK 0
#define VIRTIO_NET_ERR 1
#define VIRTIO_NET_CTRL_RX 0
#define   VIRTIO_NET_CTRL_RX_PROMISC 0
#define   VIRTIO_NET_CTRL_RX_ALLMULTI 1
#define   VIRTIO_NET_CTRL_RX_ALLUNI 2
#define   VIRTIO_NET_CTRL_RX_NOMULTI 3
#define   VIRTIO_NET_CTRL_RX_NOUNI 4
#define   VIRTIO_NET_CTRL_RX_NOBCAST 5
#define VIRTIO_NET_CTRL_MAC 1
#define   VIRTIO_NET_CTRL_MAC_TABLE_SET 0
#define   VIRTIO_NET_CTRL_MAC_ADDR_SET 1
#define VIRTIO_NET_CTRL_VLAN 2
#define   VIRTIO_NET_CTRL_VLAN_ADD 0
#define   VIRTIO_NET_CTRL_VLAN_DEL 1
#define VIRTIO_NET_CTRL_ANNOUNCE 3
#define   VIRTIO_NET_CTRL_ANNOUNCE_ACK 0
#define VIRTIO_NET_CTRL_MQ 4
#define   VIRTIO_NET_CTRL_MQ_PAIRS_SET 0

#endif
