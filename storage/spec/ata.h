/*
 * ata.h - ATA commands, registers, IDENTIFY DEVICE, logs (ACS-3), no code
 *
 * What SATA frames carry (ahci.h): serves the driver of real disks and the disk
 * that the guest sees. All fields little-endian; text is in words whose bytes
 * are swapped.
 * [ACS-3], and [ATA8-ACS] for commands that ACS-3 has dropped
 */
#ifndef STORAGE_SPEC_ATA_H
#define STORAGE_SPEC_ATA_H

#include "base/assert.h"
#include "base/field.h"
#include "base/types.h"

/* ---- status and error [ACS-3 §6.2, §6.3] */

#define ATA_STS_ERR BIT(0)
#define ATA_STS_SENSE BIT(1)
#define ATA_STS_ALIGN BIT(2)
#define ATA_STS_DRQ BIT(3)
#define ATA_STS_DSC BIT(4) /* seek complete of old; always set by disks */
#define ATA_STS_DF BIT(5)
#define ATA_STS_DRDY BIT(6)
#define ATA_STS_BSY BIT(7)

#define ATA_ERR_AMNF BIT(0)
#define ATA_ERR_EOM BIT(1)
#define ATA_ERR_ABRT BIT(2)
#define ATA_ERR_MCR BIT(3)
#define ATA_ERR_IDNF BIT(4) /* no such address */
#define ATA_ERR_MC BIT(5)
#define ATA_ERR_UNC BIT(6) /* uncorrectable */
#define ATA_ERR_ICRC BIT(7) /* interface CRC */
#define ATA_ERR_DIAG_OK 0x01u /* after a reset: device 0 passed */

#define ATA_DEV_LBA BIT(6)
#define ATA_DEV_FUA BIT(7) /* of FPDMA commands */
#define ATA_DEV_OBSOLETE 0xa0u /* set by old software, ignored */
#define ATA_DEV_LBA28 0x0fu /* LBA 27:24 of 28-bit commands */
#define ATA_CTL_NIEN BIT(1)
#define ATA_CTL_SRST BIT(2)

/* ---- commands [ACS-3 §7] */

#define ATA_NOP 0x00u
#define ATA_DSM 0x06u
#define ATA_DEVICE_RESET 0x08u
#define ATA_RECALIBRATE 0x10u
#define ATA_READ_SECTORS 0x20u
#define ATA_READ_SECTORS_NORETRY 0x21u
#define ATA_READ_SECTORS_EXT 0x24u
#define ATA_READ_DMA_EXT 0x25u
#define ATA_READ_NATIVE_MAX_EXT 0x27u
#define ATA_READ_MULTIPLE_EXT 0x29u
#define ATA_READ_STREAM_DMA_EXT 0x2au
#define ATA_READ_STREAM_EXT 0x2bu
#define ATA_READ_LOG_EXT 0x2fu
#define ATA_WRITE_SECTORS 0x30u
#define ATA_WRITE_SECTORS_NORETRY 0x31u
#define ATA_WRITE_SECTORS_EXT 0x34u
#define ATA_WRITE_DMA_EXT 0x35u
#define ATA_SET_MAX_EXT 0x37u
#define ATA_WRITE_MULTIPLE_EXT 0x39u
#define ATA_WRITE_STREAM_DMA_EXT 0x3au
#define ATA_WRITE_STREAM_EXT 0x3bu
#define ATA_WRITE_DMA_FUA_EXT 0x3du
#define ATA_WRITE_LOG_EXT 0x3fu
#define ATA_VERIFY 0x40u
#define ATA_VERIFY_NORETRY 0x41u
#define ATA_VERIFY_EXT 0x42u
#define ATA_WRITE_UNCORRECTABLE_EXT 0x45u
#define ATA_READ_LOG_DMA_EXT 0x47u
#define ATA_CONFIGURE_STREAM 0x51u
#define ATA_WRITE_LOG_DMA_EXT 0x57u
#define ATA_TRUSTED_NON_DATA 0x5bu
#define ATA_TRUSTED_RECEIVE 0x5cu
#define ATA_TRUSTED_RECEIVE_DMA 0x5du
#define ATA_TRUSTED_SEND 0x5eu
#define ATA_TRUSTED_SEND_DMA 0x5fu
#define ATA_READ_FPDMA 0x60u
#define ATA_WRITE_FPDMA 0x61u
#define ATA_NCQ_NON_DATA 0x63u
#define ATA_SEND_FPDMA 0x64u
#define ATA_RECEIVE_FPDMA 0x65u
#define ATA_SEEK 0x70u
#define ATA_SET_DATE_TIME_EXT 0x77u
#define ATA_MAX_ADDRESS_CONFIG 0x78u
#define ATA_DIAGNOSTIC 0x90u
#define ATA_INIT_PARAMETERS 0x91u
#define ATA_DOWNLOAD_MICROCODE 0x92u
#define ATA_DOWNLOAD_MICROCODE_DMA 0x93u
#define ATA_PACKET 0xa0u
#define ATA_IDENTIFY_PACKET 0xa1u
#define ATA_SMART 0xb0u
#define ATA_DCO 0xb1u
#define ATA_SANITIZE 0xb4u
#define ATA_READ_MULTIPLE 0xc4u
#define ATA_WRITE_MULTIPLE 0xc5u
#define ATA_SET_MULTIPLE 0xc6u
#define ATA_READ_DMA 0xc8u
#define ATA_READ_DMA_NORETRY 0xc9u
#define ATA_WRITE_DMA 0xcau
#define ATA_WRITE_DMA_NORETRY 0xcbu
#define ATA_WRITE_MULTIPLE_FUA_EXT 0xceu
#define ATA_STANDBY_IMMEDIATE 0xe0u
#define ATA_IDLE_IMMEDIATE 0xe1u
#define ATA_STANDBY 0xe2u
#define ATA_IDLE 0xe3u
#define ATA_READ_BUFFER 0xe4u
#define ATA_CHECK_POWER 0xe5u
#define ATA_SLEEP 0xe6u
#define ATA_FLUSH 0xe7u
#define ATA_WRITE_BUFFER 0xe8u
#define ATA_READ_BUFFER_DMA 0xe9u
#define ATA_FLUSH_EXT 0xeau
#define ATA_WRITE_BUFFER_DMA 0xebu
#define ATA_IDENTIFY 0xecu
#define ATA_SET_FEATURES 0xefu
#define ATA_SECURITY_SET_PASSWORD 0xf1u
#define ATA_SECURITY_UNLOCK 0xf2u
#define ATA_SECURITY_ERASE_PREPARE 0xf3u
#define ATA_SECURITY_ERASE_UNIT 0xf4u
#define ATA_SECURITY_FREEZE 0xf5u
#define ATA_SECURITY_DISABLE 0xf6u
#define ATA_READ_NATIVE_MAX 0xf8u
#define ATA_SET_MAX 0xf9u

/* CHECK POWER MODE: count [ACS-3 §7.3] */
#define ATA_POWER_STANDBY 0x00u
#define ATA_POWER_IDLE 0x80u
#define ATA_POWER_ACTIVE 0xffu

/* FPDMA: the sector count is in FEATURES, the tag in COUNT [ACS-3 §7.23] */
#define ATA_FPDMA_TAG 0xf8u

#define ATA_SECTORS_MAX_LBA28 256u /* 0 in the count field */
#define ATA_SECTORS_MAX_LBA48 65536u

/* DATA SET MANAGEMENT: features, and ranges in blocks of 512 bytes [ACS-3 §7.6] */
#define ATA_DSM_TRIM BIT(0)
#define ATA_DSM_BLOCK_BYTES 512u
#define ATA_DSM_RANGES (ATA_DSM_BLOCK_BYTES / 8)
#define ATA_DSM_LBA GENMASK(47, 0)
#define ATA_DSM_SECTORS GENMASK(63, 48) /* 0: an entry that is not used */
#define ATA_DSM_SECTORS_MAX 65535u

/* IDLE IMMEDIATE with unload: features and LBA [ACS-3 §7.14] */
#define ATA_UNLOAD_FEATURES 0x44u
#define ATA_UNLOAD_LBA 0x554e4cu
#define ATA_UNLOAD_DONE 0xc4u /* in LBA 7:0 of the answer */

/* SET FEATURES: features [ACS-3 §7.45] */
#define ATA_SF_WCACHE_ON 0x02u
#define ATA_SF_XFER_MODE 0x03u
#define ATA_SF_APM_ON 0x05u
#define ATA_SF_PUIS_ON 0x06u
#define ATA_SF_PUIS_SPIN_UP 0x07u
#define ATA_SF_SATA_ON 0x10u
#define ATA_SF_LOOKAHEAD_OFF 0x55u
#define ATA_SF_NO_REVERT 0x66u
#define ATA_SF_WCACHE_OFF 0x82u
#define ATA_SF_APM_OFF 0x85u
#define ATA_SF_PUIS_OFF 0x86u
#define ATA_SF_SATA_OFF 0x90u
#define ATA_SF_LOOKAHEAD_ON 0xaau
#define ATA_SF_REVERT 0xccu
/* transfer modes, in count */
#define ATA_XFER_PIO_DEFAULT 0x00u
#define ATA_XFER_PIO_NO_IORDY 0x01u
#define ATA_XFER_PIO 0x08u /* + mode */
#define ATA_XFER_MWDMA 0x20u
#define ATA_XFER_UDMA 0x40u
#define ATA_XFER_MODE 0x07u

/* SMART: features, and the key in LBA 23:8 [ACS-3 §7.48, ATA8-ACS §7.53] */
#define ATA_SMART_READ_DATA 0xd0u
#define ATA_SMART_READ_THRESHOLDS 0xd1u
#define ATA_SMART_AUTOSAVE 0xd2u
#define ATA_SMART_SAVE 0xd3u
#define ATA_SMART_OFFLINE 0xd4u
#define ATA_SMART_READ_LOG 0xd5u
#define ATA_SMART_WRITE_LOG 0xd6u
#define ATA_SMART_ENABLE 0xd8u
#define ATA_SMART_DISABLE 0xd9u
#define ATA_SMART_STATUS 0xdau
#define ATA_SMART_LBA_MID 0x4fu
#define ATA_SMART_LBA_HI 0xc2u
#define ATA_SMART_BAD_MID 0xf4u /* a threshold is exceeded */
#define ATA_SMART_BAD_HI 0x2cu

/* ---- IDENTIFY DEVICE, as words [ACS-3 §7.12.7] */

#define ATA_ID_WORDS 256u
#define ATA_ID_BYTES 512u
#define ATA_ID_CONFIG 0
#define   ATA_ID_NOT_ATA BIT(15)
#define   ATA_ID_INCOMPLETE BIT(2)
#define ATA_ID_CYLINDERS 1
#define ATA_ID_HEADS 3
#define ATA_ID_CHS_SECTORS 6
#define ATA_ID_SERIAL 10
#define   ATA_ID_SERIAL_WORDS 10u
#define ATA_ID_FIRMWARE 23
#define   ATA_ID_FIRMWARE_WORDS 4u
#define ATA_ID_MODEL 27
#define   ATA_ID_MODEL_WORDS 20u
#define ATA_ID_MULTIPLE_MAX 47
#define   ATA_ID_MULTIPLE_SECTORS 0x00ffu
#define   ATA_ID_MULTIPLE_FIXED 0x8000u
#define ATA_ID_TRUSTED 48
#define   ATA_ID_TRUSTED_FIXED BIT(14)
#define ATA_ID_CAPS 49
#define   ATA_ID_CAPS_DMA BIT(8)
#define   ATA_ID_CAPS_LBA BIT(9)
#define   ATA_ID_CAPS_IORDY_OFF BIT(10)
#define   ATA_ID_CAPS_IORDY BIT(11)
#define   ATA_ID_CAPS_STANDBY BIT(13)
#define ATA_ID_CAPS2 50
#define   ATA_ID_CAPS2_FIXED BIT(14)
#define ATA_ID_VALID 53
#define   ATA_ID_VALID_CHS BIT(0) /* words 54..58 */
#define   ATA_ID_VALID_PIO BIT(1) /* words 64..70 */
#define   ATA_ID_VALID_UDMA BIT(2) /* word 88 */
#define ATA_ID_CUR_CYLINDERS 54
#define ATA_ID_CUR_HEADS 55
#define ATA_ID_CUR_SECTORS 56
#define ATA_ID_CUR_CAPACITY 57 /* two words */
#define ATA_ID_MULTIPLE 59
#define   ATA_ID_MULTIPLE_VALID BIT(8)
#define ATA_ID_SECTORS28 60 /* two words */
#define   ATA_ID_SECTORS28_MAX 0x0fffffffu
#define ATA_ID_MWDMA 63 /* bits 2:0 supported, 10:8 selected */
#define ATA_ID_PIO 64 /* bits 1:0: modes 3, 4 */
#define ATA_ID_MWDMA_MIN 65 /* cycle times, ns */
#define ATA_ID_MWDMA_REC 66
#define ATA_ID_PIO_MIN 67
#define ATA_ID_PIO_MIN_IORDY 68
#define ATA_ID_ADDITIONAL 69
#define   ATA_ID_TRIM_ZEROES BIT(5) /* with DRAT: trimmed sectors read as zeroes */
#define   ATA_ID_DRAT BIT(14) /* trimmed sectors read the same each time */
#define ATA_ID_QUEUE_DEPTH 75
#define   ATA_ID_QUEUE_DEPTH_MASK 0x001fu /* - 1 */
#define ATA_ID_SATA_CAPS 76
#define   ATA_ID_SATA_GEN1 BIT(1)
#define   ATA_ID_SATA_GEN2 BIT(2)
#define   ATA_ID_SATA_GEN3 BIT(3)
#define   ATA_ID_SATA_NCQ BIT(8)
#define   ATA_ID_SATA_HIPM BIT(9)
#define   ATA_ID_SATA_PHY_LOG BIT(10)
#define   ATA_ID_SATA_UNLOAD BIT(11)
#define   ATA_ID_SATA_PRIORITY BIT(12)
#define   ATA_ID_SATA_LOG_DMA BIT(15)
#define ATA_ID_SATA_CAPS2 77
#define   ATA_ID_SATA_SPEED 0x000eu /* AHCI_SPD_* */
#define   ATA_ID_SATA_NCQ_NON_DATA BIT(5)
#define   ATA_ID_SATA_NCQ_SEND BIT(6)
#define ATA_ID_SATA_FEATURES 78
#define ATA_ID_SATA_ENABLED 79
#define ATA_ID_MAJOR 80 /* bit n: ATA/ATAPI-n */
#define   ATA_ID_MAJOR_ATA6 BIT(6)
#define   ATA_ID_MAJOR_ATA7 BIT(7)
#define   ATA_ID_MAJOR_ATA8 BIT(8)
#define   ATA_ID_MAJOR_ACS2 BIT(9)
#define   ATA_ID_MAJOR_ACS3 BIT(10)
#define ATA_ID_MINOR 81
#define ATA_ID_CMDS1 82 /* supported; 85 enabled */
#define ATA_ID_CMDS1_ON 85
#define   ATA_ID_CMDS1_SMART BIT(0)
#define   ATA_ID_CMDS1_SECURITY BIT(1)
#define   ATA_ID_CMDS1_POWER BIT(3)
#define   ATA_ID_CMDS1_PACKET BIT(4)
#define   ATA_ID_CMDS1_WCACHE BIT(5)
#define   ATA_ID_CMDS1_LOOKAHEAD BIT(6)
#define   ATA_ID_CMDS1_DEVICE_RESET BIT(9)
#define   ATA_ID_CMDS1_HPA BIT(10)
#define   ATA_ID_CMDS1_WRITE_BUFFER BIT(12)
#define   ATA_ID_CMDS1_READ_BUFFER BIT(13)
#define   ATA_ID_CMDS1_NOP BIT(14)
#define ATA_ID_CMDS2 83 /* 86 enabled */
#define ATA_ID_CMDS2_ON 86
#define   ATA_ID_CMDS2_MICROCODE BIT(0)
#define   ATA_ID_CMDS2_APM BIT(3)
#define   ATA_ID_CMDS2_PUIS BIT(5)
#define   ATA_ID_CMDS2_SPIN_UP BIT(6)
#define   ATA_ID_CMDS2_LBA48 BIT(10)
#define   ATA_ID_CMDS2_DCO BIT(11)
#define   ATA_ID_CMDS2_FLUSH BIT(12)
#define   ATA_ID_CMDS2_FLUSH_EXT BIT(13)
#define   ATA_ID_CMDS2_FIXED BIT(14) /* word 83 alone */
#define   ATA_ID_CMDS2_W119 BIT(15) /* word 86 alone: 119, 120 are valid */
#define ATA_ID_CMDS3 84 /* 87 enabled */
#define ATA_ID_CMDS3_ON 87
#define   ATA_ID_CMDS3_SMART_LOG BIT(0)
#define   ATA_ID_CMDS3_SELF_TEST BIT(1)
#define   ATA_ID_CMDS3_GPL BIT(5)
#define   ATA_ID_CMDS3_FUA BIT(6) /* WRITE DMA FUA EXT */
#define   ATA_ID_CMDS3_WWN BIT(8)
#define   ATA_ID_CMDS3_UNLOAD BIT(13)
#define   ATA_ID_CMDS3_FIXED BIT(14)
#define ATA_ID_VALID_MASK 0xc000u /* words 48, 83, 84, 87, 106, 119: 4000h here */
#define ATA_ID_VALID_WORD 0x4000u
#define ATA_ID_UDMA 88 /* bits 6:0 supported, 14:8 selected */
#define ATA_ID_HW_RESET 93
#define ATA_ID_SECTORS48 100 /* four words */
#define ATA_ID_DSM_BLOCKS 105
#define ATA_ID_SECTOR_SIZE 106
#define   ATA_ID_SECTOR_LOGICAL BIT(12) /* words 117, 118 are valid */
#define   ATA_ID_SECTOR_PHYSICAL BIT(13)
#define   ATA_ID_SECTOR_SHIFT 0x000fu /* logical sectors per physical, log2 */
#define ATA_ID_WWN 108 /* four words */
#define ATA_ID_SECTOR_WORDS 117 /* two words: of a logical sector */
#define ATA_ID_CMDS4 119
#define ATA_ID_CMDS4_ON 120
#define   ATA_ID_CMDS4_UNCORRECTABLE BIT(2)
#define   ATA_ID_CMDS4_LOG_DMA BIT(3)
#define   ATA_ID_CMDS4_FIXED BIT(14)
#define ATA_ID_SECURITY 128
#define   ATA_ID_SECURITY_SUPPORTED BIT(0)
#define   ATA_ID_SECURITY_ENABLED BIT(1)
#define   ATA_ID_SECURITY_LOCKED BIT(2)
#define   ATA_ID_SECURITY_FROZEN BIT(3)
#define ATA_ID_FORM_FACTOR 168
#define ATA_ID_DSM 169
#define   ATA_ID_DSM_TRIM BIT(0)
#define ATA_ID_SCT 206
#define ATA_ID_ALIGNMENT 209
#define   ATA_ID_ALIGNMENT_FIXED BIT(14)
#define ATA_ID_ROTATION 217
#define   ATA_ID_ROTATION_SSD 1u
#define ATA_ID_TRANSPORT 222
#define   ATA_ID_TRANSPORT_SATA 0x1000u
#define ATA_ID_INTEGRITY 255
#define   ATA_ID_INTEGRITY_SIGNATURE 0xa5u /* low byte; the sum of all bytes is 0 */

/* ---- logs, by READ LOG EXT and READ LOG DMA EXT [ACS-3 §9] */

#define ATA_LOG_BYTES 512u /* of a page */
#define ATA_LOG_DIRECTORY 0x00u
#define   ATA_LOG_DIRECTORY_VERSION 0x0001u /* word 0; word n: pages of log n */
#define ATA_LOG_SMART_SUMMARY 0x01u
#define ATA_LOG_SMART_ERRORS 0x02u
#define ATA_LOG_ERRORS_EXT 0x03u
#define ATA_LOG_STATISTICS 0x04u
#define ATA_LOG_SELF_TEST 0x06u
#define ATA_LOG_SELF_TEST_EXT 0x07u
#define ATA_LOG_SELECTIVE_TEST 0x09u
#define ATA_LOG_NCQ_ERROR 0x10u
#define ATA_LOG_PHY 0x11u
#define ATA_LOG_NCQ_NON_DATA 0x12u
#define ATA_LOG_NCQ_SEND 0x13u
#define ATA_LOG_IDENTIFY 0x30u

/* NCQ Command Error log [ACS-3 §9.14] */
struct ata_ncq_error {
	u8 tag;
#define ATA_NCQ_ERROR_TAG 0x1fu
#define ATA_NCQ_ERROR_UNL BIT(6)
#define ATA_NCQ_ERROR_NQ BIT(7) /* the error was of a command that is not queued */
	u8 reserved1;
	u8 status;
	u8 error;
	u8 lba[3];
	u8 device;
	u8 lba_exp[3];
	u8 reserved11;
	u8 count;
	u8 count_exp;
	u8 sense_key, sense_code, sense_qualifier;
	u8 reserved17[239];
	u8 vendor[255];
	u8 checksum; /* the sum of all bytes is 0 */
} __packed;
static_assert(sizeof(struct ata_ncq_error) == 512, "NCQ error log size");
static_assert(offsetof(struct ata_ncq_error, status) == 2, "NCQ error status");
static_assert(offsetof(struct ata_ncq_error, lba_exp) == 8, "NCQ error LBA");
static_assert(offsetof(struct ata_ncq_error, sense_key) == 14, "NCQ error sense");
static_assert(offsetof(struct ata_ncq_error, vendor) == 256, "NCQ error vendor");

/* SMART READ DATA [ATA8-ACS §7.53.6]; attributes are the vendors' convention */
#define ATA_SMART_ATTRIBUTES 30u
struct ata_smart_attr {
	u8 id;
	u16 flags;
	u8 value;
	u8 worst;
	u8 raw[6];
	u8 reserved;
} __packed;
static_assert(sizeof(struct ata_smart_attr) == 12, "SMART attribute size");

struct ata_smart_data {
	u16 version;
	struct ata_smart_attr attr[ATA_SMART_ATTRIBUTES];
	u8 offline_status;
	u8 self_test_status;
	u16 offline_seconds;
	u8 vendor366;
	u8 offline_caps;
	u16 smart_caps;
	u8 error_log_caps;
	u8 vendor371;
	u8 short_minutes;
	u8 extended_minutes;
	u8 conveyance_minutes;
	u16 extended_minutes_long;
	u8 reserved377[9];
	u8 vendor386[125];
	u8 checksum;
} __packed;
static_assert(sizeof(struct ata_smart_data) == 512, "SMART data size");
static_assert(offsetof(struct ata_smart_data, offline_status) == 362, "SMART status");
static_assert(offsetof(struct ata_smart_data, smart_caps) == 368, "SMART caps");
static_assert(offsetof(struct ata_smart_data, short_minutes) == 372, "SMART polling");
static_assert(offsetof(struct ata_smart_data, checksum) == 511, "SMART checksum");

/* ---- ATAPI [SPC-3], what SATA adds to it [ACS-3 §7.18] */

#define ATAPI_CDB_BYTES 12u
/* IDENTIFY PACKET DEVICE, word 0 [ACS-3 §7.13.6] */
#define ATAPI_ID_KIND 0xc000u
#define   ATAPI_ID_KIND_PACKET 2u
#define ATAPI_ID_CDB 0x0003u
#define   ATAPI_ID_CDB_16 1u
/* words 78, 79 [ACS-3 §7.13.6.29] */
#define ATAPI_ID_SATA_NOTIFIES BIT(5)
/* what such a device leaves in LBA 23:8 after a reset, or when taken for a disk */
#define ATAPI_SIG_LBA 0xeb1401u
/* error register: what REQUEST SENSE will say in full */
#define ATAPI_ERR_SENSE 0xf0u
#define   ATAPI_SENSE_ABORTED 0x0bu
/* count register at the end: the command is over, status to the host */
#define ATAPI_REASON_STATUS 3u
#define ATAPI_DMA BIT(0) /* features */
#define ATAPI_DMADIR BIT(2)

#endif
