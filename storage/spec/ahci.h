/*
 * ahci.h - Serial ATA AHCI 1.3.1: registers and structures in memory, no code
 *
 * Serves the driver of real host bus adapters (storage/drivers/ahci*.c) and
 * the one that the guest sees (storage/emul/ahci*.c). All fields little-endian.
 * What is in the frames (commands, status, IDENTIFY) is in ata.h.
 * [AHCI 1.3.1], frame layouts [SATA 3.2 §10]
 */
#ifndef STORAGE_SPEC_AHCI_H
#define STORAGE_SPEC_AHCI_H

#include "base/assert.h"
#include "base/field.h"
#include "base/types.h"

/* PCI: base address register 5 is the ABAR; class code [AHCI 1.3.1 §2.1] */
#define AHCI_ABAR 5u
#define AHCI_CLASS 0x010601u /* mass storage, SATA, AHCI 1.0 */

#define AHCI_PORTS_MAX 32u
#define AHCI_SLOTS_MAX 32u

/* ---- generic host control [AHCI 1.3.1 §3.1] */

#define AHCI_CAP 0x00
#define   AHCI_CAP_NP 0x0000001fu /* ports - 1 */
#define   AHCI_CAP_SXS BIT(5) /* external ports */
#define   AHCI_CAP_EMS BIT(6) /* enclosure management */
#define   AHCI_CAP_CCCS BIT(7) /* command completion coalescing */
#define   AHCI_CAP_NCS 0x00001f00u /* slots - 1 */
#define   AHCI_CAP_PSC BIT(13)
#define   AHCI_CAP_SSC BIT(14)
#define   AHCI_CAP_PMD BIT(15) /* a PIO transfer may have several DRQ blocks */
#define   AHCI_CAP_FBSS BIT(16)
#define   AHCI_CAP_SPM BIT(17) /* port multipliers */
#define   AHCI_CAP_SAM BIT(18) /* AHCI only */
#define   AHCI_CAP_ISS 0x00f00000u /* interface speed, AHCI_SPD_* */
#define   AHCI_CAP_SCLO BIT(24) /* command list override */
#define   AHCI_CAP_SAL BIT(25)
#define   AHCI_CAP_SALP BIT(26)
#define   AHCI_CAP_SSS BIT(27) /* staggered spin-up */
#define   AHCI_CAP_SMPS BIT(28)
#define   AHCI_CAP_SSNTF BIT(29)
#define   AHCI_CAP_SNCQ BIT(30) /* native command queueing */
#define   AHCI_CAP_S64A BIT(31) /* 64-bit addresses */
#define AHCI_GHC 0x04
#define   AHCI_GHC_HR BIT(0) /* reset; clears itself */
#define   AHCI_GHC_IE BIT(1)
#define   AHCI_GHC_MRSM BIT(2) /* fewer MSI messages than asked for: one */
#define   AHCI_GHC_AE BIT(31)
#define AHCI_IS 0x08 /* a bit per port, write one to clear */
#define AHCI_PI 0x0c /* ports implemented */
#define AHCI_VS 0x10
#define   AHCI_VS_1_0 0x00010000u
#define   AHCI_VS_1_1 0x00010100u /* CAP2 and BOHC are younger */
#define   AHCI_VS_1_3_1 0x00010301u
#define AHCI_CCC_CTL 0x14
#define   AHCI_CCC_CTL_EN BIT(0)
#define   AHCI_CCC_CTL_INT 0x000000f8u
#define   AHCI_CCC_CTL_CC 0x0000ff00u
#define   AHCI_CCC_CTL_TV 0xffff0000u
#define AHCI_CCC_PORTS 0x18
#define AHCI_EM_LOC 0x1c
#define AHCI_EM_CTL 0x20
#define AHCI_CAP2 0x24
#define   AHCI_CAP2_BOH BIT(0) /* BIOS/OS hand-off */
#define   AHCI_CAP2_NVMP BIT(1)
#define   AHCI_CAP2_APST BIT(2)
#define   AHCI_CAP2_SDS BIT(3) /* device sleep */
#define   AHCI_CAP2_SADM BIT(4)
#define   AHCI_CAP2_DESO BIT(5)
#define AHCI_BOHC 0x28
#define   AHCI_BOHC_BOS BIT(0) /* the BIOS owns it */
#define   AHCI_BOHC_OOS BIT(1) /* the OS owns it */
#define   AHCI_BOHC_SOOE BIT(2) /* SMI on a change of owner */
#define   AHCI_BOHC_OOC BIT(3) /* ownership changed, write one to clear */
#define   AHCI_BOHC_BB BIT(4) /* the BIOS is busy */
#define AHCI_VENDOR 0xa0

/* ---- port registers [AHCI 1.3.1 §3.3] */

#define AHCI_PORT_BASE 0x100
#define AHCI_PORT_BYTES 0x80
#define AHCI_PORT(n) (AHCI_PORT_BASE + (n) * AHCI_PORT_BYTES)
#define AHCI_BAR_BYTES (AHCI_PORT(AHCI_PORTS_MAX)) /* 1100h with all ports */
static_assert(AHCI_BAR_BYTES == 0x1100, "window of 32 ports");

#define AHCI_PX_CLB 0x00 /* command list, 1 KiB aligned */
#define AHCI_PX_CLBU 0x04
#define AHCI_PX_FB 0x08 /* received frames, 256 bytes aligned (4 KiB with FBS) */
#define AHCI_PX_FBU 0x0c
#define AHCI_PX_IS 0x10 /* write one to clear; some follow other registers */
#define   AHCI_PX_IS_DHRS BIT(0) /* D2H Register frame with I */
#define   AHCI_PX_IS_PSS BIT(1) /* PIO Setup with I */
#define   AHCI_PX_IS_DSS BIT(2) /* DMA Setup with I */
#define   AHCI_PX_IS_SDBS BIT(3) /* Set Device Bits with I */
#define   AHCI_PX_IS_UFS BIT(4) /* unknown frame; follows SERR.DIAG.F */
#define   AHCI_PX_IS_DPS BIT(5) /* PRD with I finished */
#define   AHCI_PX_IS_PCS BIT(6) /* connect change; follows SERR.DIAG.X */
#define   AHCI_PX_IS_DMPS BIT(7)
#define   AHCI_PX_IS_PRCS BIT(22) /* PhyRdy change; follows SERR.DIAG.N */
#define   AHCI_PX_IS_IPMS BIT(23)
#define   AHCI_PX_IS_OFS BIT(24) /* more data than the PRDT has room for */
#define   AHCI_PX_IS_INFS BIT(26) /* interface, not fatal */
#define   AHCI_PX_IS_IFS BIT(27) /* interface, fatal */
#define   AHCI_PX_IS_HBDS BIT(28) /* host bus, data */
#define   AHCI_PX_IS_HBFS BIT(29) /* host bus, fatal */
#define   AHCI_PX_IS_TFES BIT(30) /* task file error: status with ERR */
#define   AHCI_PX_IS_CPDS BIT(31)
#define   AHCI_PX_IS_FATAL \
	(AHCI_PX_IS_TFES | AHCI_PX_IS_HBFS | AHCI_PX_IS_HBDS | AHCI_PX_IS_IFS)
#define   AHCI_PX_IS_ALL 0xfdc000ffu /* bits that are defined */
#define AHCI_PX_IE 0x14 /* the same bits */
#define AHCI_PX_CMD 0x18
#define   AHCI_PX_CMD_ST BIT(0)
#define   AHCI_PX_CMD_SUD BIT(1) /* spin up */
#define   AHCI_PX_CMD_POD BIT(2) /* power on */
#define   AHCI_PX_CMD_CLO BIT(3) /* clear BSY and DRQ; clears itself */
#define   AHCI_PX_CMD_FRE BIT(4)
#define   AHCI_PX_CMD_CCS 0x00001f00u /* slot at work */
#define   AHCI_PX_CMD_MPSS BIT(13)
#define   AHCI_PX_CMD_FR BIT(14) /* frame receive runs */
#define   AHCI_PX_CMD_CR BIT(15) /* command list runs */
#define   AHCI_PX_CMD_CPS BIT(16)
#define   AHCI_PX_CMD_PMA BIT(17)
#define   AHCI_PX_CMD_HPCP BIT(18)
#define   AHCI_PX_CMD_MPSP BIT(19)
#define   AHCI_PX_CMD_CPD BIT(20) /* cold presence detection */
#define   AHCI_PX_CMD_ESP BIT(21)
#define   AHCI_PX_CMD_FBSCP BIT(22)
#define   AHCI_PX_CMD_APSTE BIT(23)
#define   AHCI_PX_CMD_ATAPI BIT(24)
#define   AHCI_PX_CMD_DLAE BIT(25)
#define   AHCI_PX_CMD_ALPE BIT(26)
#define   AHCI_PX_CMD_ASP BIT(27)
#define   AHCI_PX_CMD_ICC 0xf0000000u
#define     AHCI_ICC_IDLE 0u
#define     AHCI_ICC_ACTIVE 1u
#define     AHCI_ICC_PARTIAL 2u
#define     AHCI_ICC_SLUMBER 6u
#define     AHCI_ICC_DEVSLEEP 8u
#define AHCI_PX_TFD 0x20
#define   AHCI_PX_TFD_STS 0x000000ffu /* ATA_STS_* */
#define   AHCI_PX_TFD_ERR 0x0000ff00u /* ATA_ERR_* */
#define   AHCI_PX_TFD_NONE 0x0000007fu /* as long as nothing answered */
#define AHCI_PX_SIG 0x24 /* of the first D2H Register frame */
#define   AHCI_SIG_ATA 0x00000101u
#define   AHCI_SIG_ATAPI 0xeb140101u
#define   AHCI_SIG_SEMB 0xc33c0101u
#define   AHCI_SIG_PM 0x96690101u
#define   AHCI_SIG_NONE 0xffffffffu
#define AHCI_PX_SSTS 0x28
#define   AHCI_SSTS_DET 0x0000000fu
#define     AHCI_DET_NONE 0u
#define     AHCI_DET_PRESENT 1u /* no communication */
#define     AHCI_DET_UP 3u
#define     AHCI_DET_OFFLINE 4u
#define   AHCI_SSTS_SPD 0x000000f0u
#define     AHCI_SPD_1_5 1u
#define     AHCI_SPD_3 2u
#define     AHCI_SPD_6 3u
#define   AHCI_SSTS_IPM 0x00000f00u
#define     AHCI_IPM_ACTIVE 1u
#define     AHCI_IPM_PARTIAL 2u
#define     AHCI_IPM_SLUMBER 6u
#define     AHCI_IPM_DEVSLEEP 8u
#define AHCI_PX_SCTL 0x2c
#define   AHCI_SCTL_DET 0x0000000fu
#define     AHCI_SCTL_DET_IDLE 0u
#define     AHCI_SCTL_DET_COMRESET 1u /* at least 1 ms */
#define     AHCI_SCTL_DET_OFFLINE 4u
#define   AHCI_SCTL_SPD 0x000000f0u /* 0: any speed */
#define   AHCI_SCTL_IPM 0x00000f00u /* states that are not to be entered */
#define     AHCI_SCTL_IPM_NONE 3u /* neither Partial nor Slumber */
#define     AHCI_SCTL_IPM_NONE_DEVSLP 7u
#define AHCI_PX_SERR 0x30 /* write one to clear */
#define   AHCI_SERR_I BIT(0) /* recovered data integrity */
#define   AHCI_SERR_M BIT(1) /* recovered communication */
#define   AHCI_SERR_T BIT(8) /* transient data integrity */
#define   AHCI_SERR_C BIT(9) /* persistent communication */
#define   AHCI_SERR_P BIT(10) /* protocol */
#define   AHCI_SERR_E BIT(11) /* internal */
#define   AHCI_SERR_DIAG_N BIT(16) /* PhyRdy changed */
#define   AHCI_SERR_DIAG_I BIT(17)
#define   AHCI_SERR_DIAG_W BIT(18) /* Comm Wake */
#define   AHCI_SERR_DIAG_B BIT(19) /* 10b to 8b */
#define   AHCI_SERR_DIAG_D BIT(20) /* disparity; not used by AHCI */
#define   AHCI_SERR_DIAG_C BIT(21) /* CRC */
#define   AHCI_SERR_DIAG_H BIT(22) /* handshake */
#define   AHCI_SERR_DIAG_S BIT(23) /* link sequence */
#define   AHCI_SERR_DIAG_T BIT(24) /* transport state */
#define   AHCI_SERR_DIAG_F BIT(25) /* unknown frame */
#define   AHCI_SERR_DIAG_X BIT(26) /* exchanged: COMINIT */
#define   AHCI_SERR_ALL 0x07ff0f03u
#define AHCI_PX_SACT 0x34 /* a bit per NCQ tag; writing ones sets */
#define AHCI_PX_CI 0x38 /* a bit per slot; writing ones sets */
#define AHCI_PX_SNTF 0x3c
#define AHCI_PX_FBS 0x40
#define   AHCI_PX_FBS_EN BIT(0)
#define   AHCI_PX_FBS_DEC BIT(1)
#define   AHCI_PX_FBS_SDE BIT(2)
#define   AHCI_PX_FBS_DEV 0x00000f00u
#define   AHCI_PX_FBS_ADO 0x0000f000u
#define   AHCI_PX_FBS_DWE 0x000f0000u
#define AHCI_PX_DEVSLP 0x44
#define   AHCI_PX_DEVSLP_ADSE BIT(0)
#define   AHCI_PX_DEVSLP_DSP BIT(1)
#define AHCI_PX_VS 0x70

/* ---- command list [AHCI 1.3.1 §4.2.2] */

struct ahci_cmd_header {
	u32 flags;
#define AHCI_CH_CFL 0x0000001fu /* dwords of the command frame, 2..16 */
#define AHCI_CH_A BIT(5) /* ATAPI */
#define AHCI_CH_W BIT(6) /* to the device */
#define AHCI_CH_P BIT(7) /* prefetchable */
#define AHCI_CH_R BIT(8) /* reset */
#define AHCI_CH_B BIT(9) /* BIST */
#define AHCI_CH_C BIT(10) /* clear BSY once the frame is through */
#define AHCI_CH_PMP 0x0000f000u
#define AHCI_CH_PRDTL 0xffff0000u /* entries */
	u32 prdbc; /* bytes that were moved */
	u32 ctba; /* 128 bytes aligned */
	u32 ctbau;
	u32 reserved[4];
} __packed;
static_assert(sizeof(struct ahci_cmd_header) == 32, "command header size");
static_assert(offsetof(struct ahci_cmd_header, prdbc) == 4, "PRDBC");
static_assert(offsetof(struct ahci_cmd_header, ctba) == 8, "CTBA");
static_assert(offsetof(struct ahci_cmd_header, ctbau) == 12, "CTBAU");

#define AHCI_CTBA_ALIGN 128u
#define AHCI_CMD_LIST_BYTES (AHCI_SLOTS_MAX * 32u)
#define AHCI_CMD_LIST_ALIGN 1024u

/* ---- command table [AHCI 1.3.1 §4.2.3] */

struct ahci_prd {
	u32 dba; /* even */
	u32 dbau;
	u32 reserved;
	u32 dbc;
#define AHCI_PRD_DBC 0x003fffffu /* bytes - 1; odd, so that bytes are even */
#define AHCI_PRD_I BIT(31) /* interrupt when it is done */
} __packed;
static_assert(sizeof(struct ahci_prd) == 16, "PRD size");
static_assert(offsetof(struct ahci_prd, dbc) == 12, "PRD byte count");

#define AHCI_PRD_BYTES_MAX (4u << 20)
#define AHCI_PRDTL_MAX 65535u

struct ahci_cmd_table {
	u8 cfis[64];
	u8 acmd[16];
	u8 reserved[48];
	struct ahci_prd prdt[];
} __packed;
static_assert(sizeof(struct ahci_cmd_table) == 128, "command table size");
static_assert(offsetof(struct ahci_cmd_table, acmd) == 0x40, "ATAPI command");
static_assert(offsetof(struct ahci_cmd_table, prdt) == 0x80, "PRDT");

/* ---- frames [SATA 3.2 §10.5]; byte 1 holds flags and the PM port */

#define FIS_REG_H2D 0x27u
#define FIS_REG_D2H 0x34u
#define FIS_DMA_ACTIVATE 0x39u
#define FIS_DMA_SETUP 0x41u
#define FIS_DATA 0x46u
#define FIS_BIST 0x58u
#define FIS_PIO_SETUP 0x5fu
#define FIS_SET_DEV_BITS 0xa1u

#define FIS_PM_PORT 0x0fu
#define FIS_D BIT(5) /* PIO and DMA Setup: from the device to the host */
#define FIS_I BIT(6) /* interrupt */
#define FIS_C BIT(7) /* H2D: command rather than control */
#define FIS_A BIT(7) /* DMA Setup: auto-activate */
#define FIS_N BIT(7) /* Set Device Bits: notification */

struct fis_reg_h2d {
	u8 type;
	u8 flags;
	u8 command;
	u8 features;
	u8 lba[3]; /* 7:0, 15:8, 23:16 */
	u8 device;
	u8 lba_exp[3]; /* 31:24, 39:32, 47:40 */
	u8 features_exp;
	u8 count;
	u8 count_exp;
	u8 icc;
	u8 control;
	u8 aux[4];
} __packed;
static_assert(sizeof(struct fis_reg_h2d) == 20, "H2D size");
static_assert(offsetof(struct fis_reg_h2d, device) == 7, "H2D device");
static_assert(offsetof(struct fis_reg_h2d, features_exp) == 11, "H2D features");
static_assert(offsetof(struct fis_reg_h2d, count) == 12, "H2D count");
static_assert(offsetof(struct fis_reg_h2d, control) == 15, "H2D control");

struct fis_reg_d2h {
	u8 type;
	u8 flags;
	u8 status;
	u8 error;
	u8 lba[3];
	u8 device;
	u8 lba_exp[3];
	u8 reserved11;
	u8 count;
	u8 count_exp;
	u8 reserved14[6];
} __packed;
static_assert(sizeof(struct fis_reg_d2h) == 20, "D2H size");
static_assert(offsetof(struct fis_reg_d2h, count) == 12, "D2H count");

struct fis_set_dev_bits {
	u8 type;
	u8 flags;
	u8 status; /* bits 6:4 and 2:0 of the status */
#define FIS_SDB_STATUS 0x77u
	u8 error;
	u32 active; /* tags that have ended */
} __packed;
static_assert(sizeof(struct fis_set_dev_bits) == 8, "SDB size");
static_assert(offsetof(struct fis_set_dev_bits, active) == 4, "SDB active");

struct fis_pio_setup {
	u8 type;
	u8 flags;
	u8 status;
	u8 error;
	u8 lba[3];
	u8 device;
	u8 lba_exp[3];
	u8 reserved11;
	u8 count;
	u8 count_exp;
	u8 reserved14;
	u8 e_status; /* status after the data */
	u16 bytes;
	u8 reserved18[2];
} __packed;
static_assert(sizeof(struct fis_pio_setup) == 20, "PIO Setup size");
static_assert(offsetof(struct fis_pio_setup, e_status) == 15, "PIO E_STATUS");
static_assert(offsetof(struct fis_pio_setup, bytes) == 16, "PIO count");

struct fis_dma_setup {
	u8 type;
	u8 flags;
	u8 reserved2[2];
	u32 buffer_lo; /* the NCQ tag */
	u32 buffer_hi;
	u32 reserved12;
	u32 offset;
	u32 bytes;
	u32 reserved24;
} __packed;
static_assert(sizeof(struct fis_dma_setup) == 28, "DMA Setup size");
static_assert(offsetof(struct fis_dma_setup, offset) == 16, "DMA Setup offset");

/* ---- received frames [AHCI 1.3.1 §4.2.1] */

struct ahci_rx_fis {
	struct fis_dma_setup dsfis;
	u8 reserved1c[4];
	struct fis_pio_setup psfis;
	u8 reserved34[12];
	struct fis_reg_d2h rfis;
	u8 reserved54[4];
	struct fis_set_dev_bits sdbfis;
	u8 ufis[64];
	u8 reserveda0[96];
} __packed;
static_assert(sizeof(struct ahci_rx_fis) == 256, "received FIS size");
static_assert(offsetof(struct ahci_rx_fis, psfis) == 0x20, "PSFIS");
static_assert(offsetof(struct ahci_rx_fis, rfis) == 0x40, "RFIS");
static_assert(offsetof(struct ahci_rx_fis, sdbfis) == 0x58, "SDBFIS");
static_assert(offsetof(struct ahci_rx_fis, ufis) == 0x60, "UFIS");

#define AHCI_RX_FIS_ALIGN 256u

#endif
