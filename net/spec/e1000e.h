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
#define   E1000_CTRL_FD BIT(0)
#define   E1000_CTRL_ASDE BIT(5)
#define   E1000_CTRL_SLU BIT(6)
#define   E1000_CTRL_FRCSPD BIT(11)
#define   E1000_CTRL_FRCDPX BIT(12)
#define   E1000_CTRL_RST BIT(26)
#define   E1000_CTRL_RFCE BIT(27)
#define   E1000_CTRL_TFCE BIT(28)
#define   E1000_CTRL_VME BIT(30)
#define   E1000_CTRL_PHY_RST BIT(31)
#define E1000_STATUS 0x0008
#define   E1000_STATUS_FD BIT(0)
#define   E1000_STATUS_LU BIT(1)
#define   E1000_STATUS_SPEED 0x000000c0u
#define   E1000_STATUS_LAN_INIT_DONE BIT(9)
#define   E1000_STATUS_GIO_MASTER BIT(19)
#define E1000_EECD 0x0010
#define   E1000_EECD_REQ BIT(6)
#define   E1000_EECD_GNT BIT(7)
#define   E1000_EECD_PRES BIT(8)
#define   E1000_EECD_AUTO_RD BIT(9)
#define E1000_EERD 0x0014 /* layout of the 82540, 82545, 82546 */
#define   E1000_EERD_START BIT(0)
#define   E1000_EERD_DONE BIT(4)
#define   E1000_EERD_ADDR 0x0000ff00u
#define   E1000_EERD_DATA 0xffff0000u
#define   E1000_EERD_START_82574 BIT(0) /* layout of the 82574 [82574 §10.2.1.7] */
#define   E1000_EERD_DONE_82574 BIT(1)
#define   E1000_EERD_ADDR_82574 0x0000fffcu
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
#define   E1000_MDIC_INTERRUPT BIT(29)
#define   E1000_MDIC_ERROR BIT(30)
#define E1000_VET 0x0038
#define E1000_ICR 0x00c0
#define   E1000_INT_TXDW BIT(0)
#define   E1000_INT_LSC BIT(2)
#define   E1000_INT_RXDMT0 BIT(4)
#define   E1000_INT_RXO BIT(6)
#define   E1000_INT_RXT0 BIT(7)
#define   E1000_INT_RXQ0 BIT(20)
#define   E1000_INT_TXQ0 BIT(22)
#define   E1000_INT_TXQE BIT(1)
#define   E1000_INT_MDAC BIT(9)
#define   E1000_INT_SRPD BIT(16)
#define   E1000_INT_ACK BIT(17)
#define   E1000_INT_MNG BIT(18)
#define   E1000_INT_OTHER BIT(24)
#define   E1000_INT_ASSERTED BIT(31)
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
#define E1000_IVAR_ENTRIES 5 /* of 4 bits: RXQ0, RXQ1, TXQ0, TXQ1, other */
#define   E1000_IVAR_VECTOR 0x7u
#define   E1000_IVAR_VALID 0x8u
#define E1000_EITR(n) (0x00e8 + 4 * (n))
#define E1000_RCTL 0x0100
#define   E1000_RCTL_EN BIT(1)
#define   E1000_RCTL_UPE BIT(3)
#define   E1000_RCTL_MPE BIT(4)
#define   E1000_RCTL_LPE BIT(5)
#define   E1000_RCTL_DTYP 0x00000c00u
#define     E1000_RCTL_DTYP_SPLIT 1u
#define   E1000_RCTL_MO 0x00003000u
#define   E1000_RCTL_BAM BIT(15)
#define   E1000_RCTL_BSIZE 0x00030000u
#define   E1000_RCTL_VFE BIT(18)
#define   E1000_RCTL_BSEX BIT(25)
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
#define E1000_PBA 0x1000
#define E1000_PSRCTL 0x2170
#define E1000_STATS 0x4000 /* up to 0x4100: read-only, cleared by reading */
#define E1000_RXCSUM 0x5000
#define   E1000_RXCSUM_IPOFL BIT(8)
#define   E1000_RXCSUM_TUOFL BIT(9)
#define E1000_RFCTL 0x5008
#define   E1000_RFCTL_EXSTEN BIT(15)
#define E1000_MTA(n) (0x5200 + 4 * (n))
#define   E1000_MTA_WORDS 128
#define E1000_RA_ENTRIES 16
#define E1000_VFTA(n) (0x5600 + 4 * (n))
#define   E1000_VFTA_WORDS 128
#define   E1000_MTA_WORDS_ICH 32
#define E1000_RAL(n) (0x5400 + 8 * (n))
#define E1000_RAH(n) (0x5404 + 8 * (n))
#define   E1000_RAH_AV BIT(31)
#define E1000_GCR 0x5b00
#define E1000_SWSM 0x5b50
#define   E1000_SWSM_SMBI BIT(0)
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

/*
 * Extended receive descriptor [82574 §7.1.5]: the driver writes the address and
 * zeros, the card all of it. Packet split has 32 bytes: four addresses, then this
 * at the start, with the lengths of the buffers behind the first further on.
 */
struct e1000_rx_ext {
	u32 mrq;
	u32 rss;
	u32 status;
#define E1000_RXX_DD BIT(0)
#define E1000_RXX_EOP BIT(1)
#define E1000_RXX_IXSM BIT(2)
#define E1000_RXX_VP BIT(3)
#define E1000_RXX_UDPCS BIT(4)
#define E1000_RXX_TCPCS BIT(5)
#define E1000_RXX_IPCS BIT(6)
	u16 bytes;
	u16 vlan;
} __packed;
static_assert(sizeof(struct e1000_rx_ext) == 16, "extended rx descriptor");
static_assert(offsetof(struct e1000_rx_ext, status) == 8, "extended rx status");
static_assert(offsetof(struct e1000_rx_ext, bytes) == 12, "extended rx length");

#define E1000_RX_SPLIT_BYTES 32u
#define E1000_RX_SPLIT_LENGTHS 18u /* three u16 */
#define E1000_RX_SPLIT_BUFFERS 4u

/* Legacy transmit descriptor [82574 §7.2.10]. */
struct e1000_tx_desc {
	u64 addr;
	u16 bytes;
	u8 cso;
	u8 cmd;
#define E1000_TXD_EOP BIT(0)
#define E1000_TXD_IFCS BIT(1)
#define E1000_TXD_IC BIT(2) /* legacy: insert a checksum */
#define E1000_TXD_TSE BIT(2) /* extended: segment */
#define E1000_TXD_RS BIT(3)
#define E1000_TXD_DEXT BIT(5)
#define E1000_TXD_VLE BIT(6)
	u8 status;
#define E1000_TXD_DD BIT(0)
	u8 css;
	u16 special;
} __packed;
static_assert(sizeof(struct e1000_tx_desc) == 16, "tx descriptor");
static_assert(offsetof(struct e1000_tx_desc, cmd) == 11, "tx command");
static_assert(offsetof(struct e1000_tx_desc, status) == 12, "tx status");

/*
 * Extended transmit descriptors [82574 §7.2.11]. Both have at dword 2: length in
 * bits 19:0, type in 23:20, command as above in 31:24.
 */
#define E1000_TXX_BYTES 0x000fffffu
#define E1000_TXX_TYPE 0x00f00000u
#define   E1000_TXX_CONTEXT 0u
#define   E1000_TXX_DATA 1u
#define E1000_TXX_CMD 0xff000000u

struct e1000_tx_context {
	u8 ipcss, ipcso;
	u16 ipcse;
	u8 tucss, tucso;
	u16 tucse;
	u32 cmd; /* length: payload of all segments; command: below */
#define E1000_TXC_TCP BIT(24)
#define E1000_TXC_IP4 BIT(25)
#define E1000_TXC_TSE BIT(26)
	u8 status;
	u8 header_bytes;
	u16 mss;
} __packed;
static_assert(sizeof(struct e1000_tx_context) == 16, "context descriptor");
static_assert(offsetof(struct e1000_tx_context, cmd) == 8, "context command");
static_assert(offsetof(struct e1000_tx_context, mss) == 14, "context mss");

struct e1000_tx_data {
	u64 addr;
	u32 cmd;
	u8 status;
	u8 popts;
#define E1000_TXX_IXSM BIT(0)
#define E1000_TXX_TXSM BIT(1)
	u16 special;
} __packed;
static_assert(sizeof(struct e1000_tx_data) == 16, "data descriptor");
static_assert(offsetof(struct e1000_tx_data, popts) == 13, "data options");

/* ---------------------------------------------------------------- PHY [82574 §10.4] */

#define E1000_PHY_BMCR 0
#define   E1000_BMCR_RESET BIT(15)
#define   E1000_BMCR_ANRESTART BIT(9)
#define E1000_PHY_BMSR 1
#define   E1000_BMSR_LINK BIT(2)
#define   E1000_BMSR_ANDONE BIT(5)
#define E1000_PHY_ID1 2
#define E1000_PHY_ID2 3
#define E1000_PHY_ANAR 4
#define E1000_PHY_LPAR 5
#define E1000_PHY_GBCR 9
#define E1000_PHY_GBSR 10
#define E1000_PHY_ESTATUS 15
#define E1000_PHY_PSSR 17 /* copper specific status */
#define   E1000_PSSR_LINK BIT(10)
#define   E1000_PSSR_RESOLVED BIT(11)
#define   E1000_PSSR_FD BIT(13)
#define   E1000_PSSR_SPEED 0xc000u
#define E1000_PHY_PAGE 22

#endif
