/*
 * e1000e.h - registers and descriptors of Intel's 82574 and its relatives
 *
 * Offsets are bytes into BAR0; masks stand beneath their register. Only what
 * the driver, its test model and a later emulation use.
 * The 82540EM has the subset that its manual lists [8254x §13.4].
 * [82574 §10.2] = Intel 82574 GbE Controller Family datasheet, rev. 3.4.
 */
#ifndef NET_SPEC_E1000E_H
#define NET_SPEC_E1000E_H

#include "base/assert.h"
#include "base/field.h"
#include "base/types.h"

#define E1000_VENDOR 0x8086

#define E1000_CTRL 0x0000
#define   E1000_CTRL_GIO_MASTER_DISABLE BIT(2)
#define   E1000_CTRL_ASDE BIT(5)
#define   E1000_CTRL_SLU BIT(6)
#define   E1000_CTRL_FRCSPD BIT(11)
#define   E1000_CTRL_FRCDPX BIT(12)
#define   E1000_CTRL_RST BIT(26)
#define   E1000_CTRL_RFCE BIT(27)
#define   E1000_CTRL_TFCE BIT(28)
#define   E1000_CTRL_VME BIT(30)
#define E1000_STATUS 0x0008
#define   E1000_STATUS_FD BIT(0)
#define   E1000_STATUS_LU BIT(1)
#define   E1000_STATUS_SPEED 0x000000c0u
#define   E1000_STATUS_LAN_INIT_DONE BIT(9)
#define   E1000_STATUS_GIO_MASTER BIT(19)
#define E1000_EECD 0x0010
#define   E1000_EECD_AUTO_RD BIT(9)
#define E1000_EERD 0x0014 /* layout of the 82540, 82545, 82546 */
#define   E1000_EERD_START BIT(0)
#define   E1000_EERD_DONE BIT(4)
#define   E1000_EERD_ADDR 0x0000ff00u
#define   E1000_EERD_DATA 0xffff0000u
#define E1000_CTRL_EXT 0x0018
#define   E1000_CTRL_EXT_DRV_LOAD BIT(28)
#define   E1000_CTRL_EXT_EIAME BIT(24)
#define   E1000_CTRL_EXT_IAME BIT(27)
#define   E1000_CTRL_EXT_PBA_CLR BIT(31)
#define E1000_MDIC 0x0020
#define   E1000_MDIC_DATA 0x0000ffffu
#define   E1000_MDIC_REG 0x001f0000u
#define   E1000_MDIC_PHY 0x03e00000u
#define   E1000_MDIC_OP_WRITE BIT(26)
#define   E1000_MDIC_OP_READ BIT(27)
#define   E1000_MDIC_READY BIT(28)
#define   E1000_MDIC_ERROR BIT(30)
#define E1000_ICR 0x00c0
#define   E1000_INT_TXDW BIT(0)
#define   E1000_INT_LSC BIT(2)
#define   E1000_INT_RXDMT0 BIT(4)
#define   E1000_INT_RXO BIT(6)
#define   E1000_INT_RXT0 BIT(7)
#define   E1000_INT_RXQ0 BIT(20)
#define   E1000_INT_TXQ0 BIT(22)
#define   E1000_INT_OTHER BIT(24)
#define E1000_ITR 0x00c4
#define E1000_ICS 0x00c8
#define E1000_IMS 0x00d0
#define E1000_IMC 0x00d8
#define E1000_EIAC 0x00dc
#define E1000_IAM 0x00e0
#define E1000_IVAR 0x00e4
#define   E1000_IVAR_RXQ0 0x00000007u
#define   E1000_IVAR_RXQ0_VALID BIT(3)
#define   E1000_IVAR_TXQ0 0x00000700u
#define   E1000_IVAR_TXQ0_VALID BIT(11)
#define   E1000_IVAR_OTHER 0x00070000u
#define   E1000_IVAR_OTHER_VALID BIT(19)
#define E1000_EITR(n) (0x00e8 + 4 * (n))
#define E1000_RCTL 0x0100
#define   E1000_RCTL_EN BIT(1)
#define   E1000_RCTL_UPE BIT(3)
#define   E1000_RCTL_MPE BIT(4)
#define   E1000_RCTL_BAM BIT(15)
#define   E1000_RCTL_SECRC BIT(26)
#define E1000_TCTL 0x0400
#define   E1000_TCTL_EN BIT(1)
#define   E1000_TCTL_PSP BIT(3)
#define   E1000_TCTL_CT 0x00000ff0u
#define   E1000_TCTL_COLD 0x003ff000u
#define   E1000_TCTL_RTLC BIT(24)
#define E1000_TIPG 0x0410
#define E1000_RDBAL 0x2800
#define E1000_RDBAH 0x2804
#define E1000_RDLEN 0x2808
#define E1000_RDH 0x2810
#define E1000_RDT 0x2818
#define E1000_RDTR 0x2820
#define E1000_RXDCTL 0x2828
#define   E1000_DCTL_WTHRESH 0x003f0000u
#define   E1000_DCTL_GRAN BIT(24)
#define E1000_RADV 0x282c
#define E1000_TDBAL 0x3800
#define E1000_TDBAH 0x3804
#define E1000_TDLEN 0x3808
#define E1000_TDH 0x3810
#define E1000_TDT 0x3818
#define E1000_TIDV 0x3820
#define E1000_TXDCTL 0x3828
#define   E1000_TXDCTL_COUNT_DESC BIT(22)
#define E1000_TADV 0x382c
#define E1000_TARC0 0x3840
#define E1000_RXCSUM 0x5000
#define   E1000_RXCSUM_IPOFL BIT(8)
#define   E1000_RXCSUM_TUOFL BIT(9)
#define E1000_RFCTL 0x5008
#define   E1000_RFCTL_EXSTEN BIT(15)
#define E1000_MTA(n) (0x5200 + 4 * (n))
#define   E1000_MTA_WORDS 128
#define   E1000_MTA_WORDS_ICH 32
#define E1000_RAL(n) (0x5400 + 8 * (n))
#define E1000_RAH(n) (0x5404 + 8 * (n))
#define   E1000_RAH_AV BIT(31)
#define E1000_GCR 0x5b00
#define E1000_GCR2 0x5b64

/* Legacy receive descriptor [82574 §7.1.4.1]. */
struct e1000_rx_desc {
	u64 addr;
	u16 bytes;
	u16 csum;
	u8 status;
#define E1000_RXD_DD BIT(0)
#define E1000_RXD_EOP BIT(1)
#define E1000_RXD_IXSM BIT(2)
#define E1000_RXD_UDPCS BIT(4)
#define E1000_RXD_TCPCS BIT(5)
#define E1000_RXD_IPCS BIT(6)
	u8 errors;
#define E1000_RXD_ERR_CE BIT(0)
#define E1000_RXD_ERR_SE BIT(1)
#define E1000_RXD_ERR_SEQ BIT(2)
#define E1000_RXD_ERR_CXE BIT(4)
#define E1000_RXD_ERR_TCPE BIT(5)
#define E1000_RXD_ERR_IPE BIT(6)
#define E1000_RXD_ERR_RXE BIT(7)
	u16 special;
} __packed;
static_assert(sizeof(struct e1000_rx_desc) == 16, "rx descriptor");
static_assert(offsetof(struct e1000_rx_desc, bytes) == 8, "rx length");
static_assert(offsetof(struct e1000_rx_desc, status) == 12, "rx status");
static_assert(offsetof(struct e1000_rx_desc, errors) == 13, "rx errors");

/* Legacy transmit descriptor [82574 §7.2.10]. */
struct e1000_tx_desc {
	u64 addr;
	u16 bytes;
	u8 cso;
	u8 cmd;
#define E1000_TXD_EOP BIT(0)
#define E1000_TXD_IFCS BIT(1)
#define E1000_TXD_RS BIT(3)
	u8 status;
#define E1000_TXD_DD BIT(0)
	u8 css;
	u16 special;
} __packed;
static_assert(sizeof(struct e1000_tx_desc) == 16, "tx descriptor");
static_assert(offsetof(struct e1000_tx_desc, cmd) == 11, "tx command");
static_assert(offsetof(struct e1000_tx_desc, status) == 12, "tx status");

#endif
