/*
 * igb.h - registers and descriptors of Intel's 82576, I350, I210 and their like
 *
 * Where they are the 82574's, net/spec/e1000e.h has them: CTRL, STATUS, RCTL,
 * TCTL, RXCSUM, the address and multicast tables. Queues have their own blocks
 * here, interrupts are by vector, descriptors are "advanced".
 * [82576 §8] = Intel 82576EB GbE Controller datasheet, rev. 2.63.
 */
#ifndef NET_SPEC_IGB_H
#define NET_SPEC_IGB_H

#include "base/assert.h"
#include "base/field.h"
#include "base/types.h"

#define IGB_ICR 0x1500
#define   IGB_INT_TXDW BIT(0)
#define   IGB_INT_LSC BIT(2)
#define   IGB_INT_RXDW BIT(7)
#define IGB_IMS 0x1508
#define IGB_IMC 0x150c
#define IGB_GPIE 0x1514
#define   IGB_GPIE_MSIX BIT(4) /* a vector for each cause, by IVAR */
#define   IGB_GPIE_EIAME BIT(30) /* a message masks what EIAM names */
#define   IGB_GPIE_PBA BIT(31)
#define IGB_EIMS 0x1524
#define IGB_EIMC 0x1528
#define IGB_EIAC 0x152c
#define IGB_EIAM 0x1530
#define IGB_EICR 0x1580
#define IGB_EITR(n) (0x1680 + 4 * (n))
#define   IGB_EITR_INTERVAL 0x00007ffcu /* in microseconds, about */
#define IGB_IVAR0 0x1700 /* queue 0: receive in bits 7:0, transmit in 15:8 */
#define   IGB_IVAR_RX0 0x000000ffu
#define   IGB_IVAR_TX0 0x0000ff00u
#define IGB_IVAR_MISC 0x1740
#define   IGB_IVAR_OTHER 0x0000ff00u
#define   IGB_IVAR_VALID 0x80u
#define IGB_MRQC 0x5818

/* Queue 0; others follow at distances of 0x40. */
#define IGB_RDBAL 0xc000
#define IGB_RDBAH 0xc004
#define IGB_RDLEN 0xc008
#define IGB_SRRCTL 0xc00c
#define   IGB_SRRCTL_BSIZE 0x0000007fu /* KiB */
#define   IGB_SRRCTL_TYPE 0x0e000000u
#define     IGB_SRRCTL_ONE_BUFFER 1u
#define   IGB_SRRCTL_DROP BIT(31)
#define IGB_RDH 0xc010
#define IGB_RDT 0xc018
#define IGB_RXDCTL 0xc028
#define IGB_TDBAL 0xe000
#define IGB_TDBAH 0xe004
#define IGB_TDLEN 0xe008
#define IGB_TDH 0xe010
#define IGB_TDT 0xe018
#define IGB_TXDCTL 0xe028
#define   IGB_DCTL_WTHRESH 0x001f0000u
#define   IGB_DCTL_ENABLE BIT(25)

/* The driver writes both addresses, the card all of it. [82576 §7.1.5] */
union igb_rx_desc {
	struct {
		u64 addr, header;
	} __packed read;
	struct {
		u64 info;
		u32 status; /* E1000_RXX_... */
#define IGB_RXX_ERR_L4 BIT(29)
#define IGB_RXX_ERR_IP BIT(30)
#define IGB_RXX_ERR_RX BIT(31)
		u16 bytes;
		u16 vlan;
	} __packed wb;
};
static_assert(sizeof(union igb_rx_desc) == 16, "igb rx descriptor");
static_assert(offsetof(union igb_rx_desc, wb.bytes) == 12, "igb rx length");

/* [82576 §7.2.2.3] */
struct igb_tx_desc {
	u64 addr;
	u32 cmd;
#define IGB_TXD_BYTES 0x0000ffffu
#define IGB_TXD_DATA (3u << 20)
#define IGB_TXD_EOP BIT(24)
#define IGB_TXD_IFCS BIT(25)
#define IGB_TXD_RS BIT(27)
#define IGB_TXD_DEXT BIT(29)
	u32 status;
#define IGB_TXD_DD BIT(0)
#define IGB_TXD_PAYLEN 0xffffc000u
} __packed;
static_assert(sizeof(struct igb_tx_desc) == 16, "igb tx descriptor");
static_assert(offsetof(struct igb_tx_desc, status) == 12, "igb tx status");

#endif
