/*
 * nvme.h - NVM Express 1.4 over PCIe: registers and structures, no code
 *
 * Serves the driver of real controllers (storage/drivers/nvme.c) and the
 * controller that the guest sees (storage/emul). All fields little-endian.
 * Only what one of the two uses is named. [NVMe 1.4]
 */
#ifndef STORAGE_SPEC_NVME_H
#define STORAGE_SPEC_NVME_H

#include "base/assert.h"
#include "base/field.h"
#include "base/types.h"

/* ---- controller registers [NVMe 1.4 §3.1] */

#define NVME_CAP 0x00
#define   NVME_CAP_MQES GENMASK(15, 0) /* entries - 1 */
#define   NVME_CAP_CQR BIT64(16)
#define   NVME_CAP_AMS GENMASK(18, 17)
#define   NVME_CAP_TO GENMASK(31, 24) /* in 500 ms */
#define   NVME_CAP_DSTRD GENMASK(35, 32) /* doorbells 4 << this apart */
#define   NVME_CAP_NSSRS BIT64(36)
#define   NVME_CAP_CSS GENMASK(44, 37)
#define     NVME_CAP_CSS_NVM BIT64(0)
#define   NVME_CAP_MPSMIN GENMASK(51, 48) /* 2^(12 + this) */
#define   NVME_CAP_MPSMAX GENMASK(55, 52)
#define NVME_VS 0x08
#define   NVME_VS_1_4 0x00010400u
#define NVME_INTMS 0x0c
#define NVME_INTMC 0x10
#define NVME_CC 0x14
#define   NVME_CC_EN BIT(0)
#define   NVME_CC_CSS 0x00000070u
#define   NVME_CC_MPS 0x00000780u
#define   NVME_CC_AMS 0x00003800u
#define   NVME_CC_SHN 0x0000c000u
#define     NVME_CC_SHN_NORMAL 1u
#define   NVME_CC_IOSQES 0x000f0000u
#define   NVME_CC_IOCQES 0x00f00000u
#define NVME_CSTS 0x1c
#define   NVME_CSTS_RDY BIT(0)
#define   NVME_CSTS_CFS BIT(1)
#define   NVME_CSTS_SHST 0x0000000cu
#define     NVME_CSTS_SHST_OCCURRING 1u
#define     NVME_CSTS_SHST_COMPLETE 2u
#define NVME_NSSR 0x20
#define NVME_AQA 0x24
#define   NVME_AQA_ASQS 0x00000fffu /* entries - 1 */
#define   NVME_AQA_ACQS 0x0fff0000u
#define NVME_ASQ 0x28
#define NVME_ACQ 0x30
#define NVME_DOORBELLS 0x1000 /* SQ0 tail, CQ0 head, SQ1 tail, ... */

/* log2 of entry sizes, CC.IOSQES and CC.IOCQES */
#define NVME_SQES 6
#define NVME_CQES 4

#define NVME_NSID_ALL 0xffffffffu

/* ---- submission queue entry [NVMe 1.4 §4.2] */

struct nvme_sqe {
	u8 opcode;
	u8 flags;
#define NVME_SQE_FUSE 0x03u
#define NVME_SQE_PSDT 0xc0u
	u16 cid;
	u32 nsid;
	u32 cdw2, cdw3;
	u64 mptr;
	u64 prp1, prp2;
	u32 cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
} __packed;
static_assert(sizeof(struct nvme_sqe) == 64, "SQE size");
static_assert(offsetof(struct nvme_sqe, prp1) == 24, "SQE PRP1");
static_assert(offsetof(struct nvme_sqe, cdw10) == 40, "SQE CDW10");

/* ---- completion queue entry [NVMe 1.4 §4.6] */

struct nvme_cqe {
	u32 result;
	u32 reserved;
	u16 sqhd;
	u16 sqid;
	u16 cid;
	u16 status; /* bit 0 phase; above it as NVME_SC_* and NVME_DNR */
} __packed;
static_assert(sizeof(struct nvme_cqe) == 16, "CQE size");
static_assert(offsetof(struct nvme_cqe, status) == 14, "CQE status");

#define NVME_CQE_PHASE 0x0001u
/* Everything below: the status field after a shift right by one. */
#define NVME_STATUS_CODE 0x07ffu /* type << 8 | code */
#define NVME_DNR 0x4000u

/* generic [NVMe 1.4 §4.6.1.2.1] */
#define NVME_SC_OK 0x000u
#define NVME_SC_INVALID_OPCODE 0x001u
#define NVME_SC_INVALID_FIELD 0x002u
#define NVME_SC_CID_CONFLICT 0x003u
#define NVME_SC_DATA_TRANSFER 0x004u
#define NVME_SC_INTERNAL 0x006u
#define NVME_SC_ABORT_REQUESTED 0x007u
#define NVME_SC_SQ_DELETED 0x008u
#define NVME_SC_INVALID_NS 0x00bu
#define NVME_SC_SEQUENCE 0x00cu
#define NVME_SC_PRP_OFFSET 0x013u
#define NVME_SC_LBA_RANGE 0x080u
#define NVME_SC_CAPACITY 0x081u
#define NVME_SC_NS_NOT_READY 0x082u
/* command specific [NVMe 1.4 §4.6.1.2.2] */
#define NVME_SC_INVALID_CQ 0x100u
#define NVME_SC_INVALID_QID 0x101u
#define NVME_SC_INVALID_QSIZE 0x102u
#define NVME_SC_AER_LIMIT 0x105u
#define NVME_SC_INVALID_VECTOR 0x108u
#define NVME_SC_INVALID_LOG 0x109u
#define NVME_SC_INVALID_QDEL 0x10cu
#define NVME_SC_NOT_SAVEABLE 0x10du
/* media [NVMe 1.4 §4.6.1.2.3] */
#define NVME_SC_WRITE_FAULT 0x280u
#define NVME_SC_READ_ERROR 0x281u

/* ---- admin commands [NVMe 1.4 §5] */

#define NVME_ADM_DELETE_SQ 0x00
#define NVME_ADM_CREATE_SQ 0x01
#define NVME_ADM_GET_LOG 0x02
#define NVME_ADM_DELETE_CQ 0x04
#define NVME_ADM_CREATE_CQ 0x05
#define NVME_ADM_IDENTIFY 0x06
#define NVME_ADM_ABORT 0x08
#define NVME_ADM_SET_FEATURES 0x09
#define NVME_ADM_GET_FEATURES 0x0a
#define NVME_ADM_AER 0x0c
#define NVME_ADM_DBBUF 0x7c

#define NVME_CNS_NS 0x00
#define NVME_CNS_CTRL 0x01
#define NVME_CNS_NS_LIST 0x02
#define NVME_CNS_NS_DESC 0x03

/* Create I/O queues: CDW10 [NVMe 1.4 §5.3, §5.4] */
#define NVME_CQ_QID 0x0000ffffu
#define NVME_CQ_QSIZE 0xffff0000u /* entries - 1 */
/* CDW11 */
#define NVME_QUEUE_PC BIT(0)
#define NVME_CQ_IEN BIT(1)
#define NVME_CQ_IV 0xffff0000u
#define NVME_SQ_CQID 0xffff0000u

#define NVME_FEAT_ARBITRATION 0x01
#define NVME_FEAT_POWER 0x02
#define NVME_FEAT_TEMP 0x04
#define NVME_FEAT_ERROR_RECOVERY 0x05
#define NVME_FEAT_VWC 0x06
#define NVME_FEAT_QUEUES 0x07
#define NVME_FEAT_COALESCING 0x08
#define NVME_FEAT_VECTOR 0x09
#define NVME_FEAT_ATOMICITY 0x0a
#define NVME_FEAT_ASYNC 0x0b
#define NVME_FEAT_FID 0x000000ffu /* CDW10 */
#define NVME_FEAT_SV BIT(31)

#define NVME_LOG_ERROR 0x01
#define NVME_LOG_SMART 0x02
#define NVME_LOG_FIRMWARE 0x03
#define NVME_LOG_CHANGED_NS 0x04
#define NVME_LOG_LID 0x000000ffu /* CDW10 */
#define NVME_LOG_RAE BIT(15)
#define NVME_LOG_NUMDL 0xffff0000u
#define NVME_LOG_NUMDU 0x0000ffffu /* CDW11 */

/* Asynchronous event: type 0 (error) in DW0 [NVMe 1.4 §5.2.1] */
#define NVME_AER_TYPE 0x00000007u
#define NVME_AER_INFO 0x0000ff00u
#define   NVME_AER_BAD_DB_REGISTER 0u
#define   NVME_AER_BAD_DB_VALUE 1u
#define NVME_AER_LID 0x00ff0000u

/* ---- I/O commands [NVMe 1.4 §6] */

#define NVME_IO_FLUSH 0x00
#define NVME_IO_WRITE 0x01
#define NVME_IO_READ 0x02
#define NVME_IO_WRITE_ZEROES 0x08
#define NVME_IO_DSM 0x09

#define NVME_RW_NLB 0x0000ffffu /* CDW12, blocks - 1 */
#define NVME_RW_FUA BIT(30)
#define NVME_DSM_NR 0x000000ffu /* CDW10, ranges - 1 */
#define NVME_DSM_AD BIT(2) /* CDW11: deallocate */

struct nvme_dsm_range {
	u32 attributes;
	u32 blocks;
	u64 slba;
} __packed;
static_assert(sizeof(struct nvme_dsm_range) == 16, "DSM range size");

/* ---- Identify [NVMe 1.4 §5.15.2] */

struct nvme_power_state {
	u16 max_power; /* 0.01 W */
	u8 reserved2;
	u8 flags;
	u32 entry_us;
	u32 exit_us;
	u8 reserved12[20];
} __packed;
static_assert(sizeof(struct nvme_power_state) == 32, "power state size");

struct nvme_id_ctrl {
	u16 vid;
	u16 ssvid;
	u8 sn[20]; /* padded with spaces */
	u8 mn[40];
	u8 fr[8];
	u8 rab;
	u8 ieee[3];
	u8 cmic;
	u8 mdts; /* 2^this pages of CAP.MPSMIN; 0: no limit */
	u16 cntlid;
	u32 ver;
	u32 rtd3r; /* us */
	u32 rtd3e;
	u32 oaes;
	u32 ctratt;
	u8 reserved100[11];
	u8 cntrltype;
#define NVME_CNTRLTYPE_IO 1u
	u8 reserved112[144];
	u16 oacs;
#define NVME_OACS_DBBUF BIT(8)
	u8 acl;
	u8 aerl;
	u8 frmw;
	u8 lpa;
#define NVME_LPA_EXTENDED BIT(2)
	u8 elpe;
	u8 npss;
	u8 avscc;
	u8 apsta;
	u16 wctemp; /* kelvin */
	u16 cctemp;
	u8 reserved270[242];
	u8 sqes;
	u8 cqes;
	u16 maxcmd;
	u32 nn;
	u16 oncs;
#define NVME_ONCS_DSM BIT(2)
#define NVME_ONCS_WRITE_ZEROES BIT(3)
	u16 fuses;
	u8 fna;
	u8 vwc;
#define NVME_VWC_PRESENT BIT(0)
#define NVME_VWC_FLUSH_ALL 0x06u /* Flush takes NSID FFFFFFFFh */
	u16 awun;
	u16 awupf;
	u8 nvscc;
	u8 nwpc;
	u16 acwu;
	u8 reserved534[2];
	u32 sgls;
	u32 mnan;
	u8 reserved544[224];
	u8 subnqn[256];
	u8 reserved1024[1024];
	struct nvme_power_state psd[32];
	u8 vendor[1024];
} __packed;
static_assert(sizeof(struct nvme_id_ctrl) == 4096, "identify controller size");
static_assert(offsetof(struct nvme_id_ctrl, mdts) == 77, "MDTS");
static_assert(offsetof(struct nvme_id_ctrl, ver) == 80, "VER");
static_assert(offsetof(struct nvme_id_ctrl, cntrltype) == 111, "CNTRLTYPE");
static_assert(offsetof(struct nvme_id_ctrl, oacs) == 256, "OACS");
static_assert(offsetof(struct nvme_id_ctrl, wctemp) == 266, "WCTEMP");
static_assert(offsetof(struct nvme_id_ctrl, sqes) == 512, "SQES");
static_assert(offsetof(struct nvme_id_ctrl, nn) == 516, "NN");
static_assert(offsetof(struct nvme_id_ctrl, oncs) == 520, "ONCS");
static_assert(offsetof(struct nvme_id_ctrl, vwc) == 525, "VWC");
static_assert(offsetof(struct nvme_id_ctrl, sgls) == 536, "SGLS");
static_assert(offsetof(struct nvme_id_ctrl, subnqn) == 768, "SUBNQN");
static_assert(offsetof(struct nvme_id_ctrl, psd) == 2048, "PSD0");

struct nvme_lbaf {
	u16 ms; /* metadata bytes */
	u8 lbads; /* log2 of sector bytes */
	u8 rp;
} __packed;

struct nvme_id_ns {
	u64 nsze, ncap, nuse; /* sectors */
	u8 nsfeat;
	u8 nlbaf; /* formats - 1 */
	u8 flbas;
#define NVME_FLBAS_FORMAT 0x0fu
	u8 mc, dpc, dps;
	u8 nmic, rescap, fpi;
	u8 dlfeat;
#define NVME_DLFEAT_ZEROES 1 /* deallocated blocks read as zeroes */
	u16 nawun, nawupf, nacwu, nabsn, nabo, nabspf, noiob;
	u8 nvmcap[16];
	u8 reserved64[40];
	u8 nguid[16];
	u8 eui64[8];
	struct nvme_lbaf lbaf[16];
	u8 reserved192[192];
	u8 vendor[3712];
} __packed;
static_assert(sizeof(struct nvme_id_ns) == 4096, "identify namespace size");
static_assert(offsetof(struct nvme_id_ns, flbas) == 26, "FLBAS");
static_assert(offsetof(struct nvme_id_ns, nguid) == 104, "NGUID");
static_assert(offsetof(struct nvme_id_ns, lbaf) == 128, "LBAF0");

/* Namespace identification descriptor, followed by @bytes [§5.15.2.3] */
struct nvme_ns_desc {
	u8 type;
#define NVME_NIDT_NGUID 2u
	u8 bytes;
	u16 reserved;
} __packed;
static_assert(sizeof(struct nvme_ns_desc) == 4, "descriptor size");

/* ---- log pages [NVMe 1.4 §5.14.1] */

struct nvme_smart_log {
	u8 critical;
	u8 temperature[2]; /* kelvin */
	u8 spare, spare_threshold;
	u8 percent_used;
	u8 reserved6[26];
	u64 units_read[2]; /* 1000 * 512 bytes, rounded up */
	u64 units_written[2];
	u64 reads[2];
	u64 writes[2];
	u64 busy_minutes[2];
	u64 power_cycles[2];
	u64 power_on_hours[2];
	u64 unsafe_shutdowns[2];
	u64 media_errors[2];
	u64 error_entries[2];
	u8 reserved192[320];
} __packed;
static_assert(sizeof(struct nvme_smart_log) == 512, "SMART size");
static_assert(offsetof(struct nvme_smart_log, units_read) == 32, "SMART units");
static_assert(offsetof(struct nvme_smart_log, error_entries) == 176, "SMART errors");

struct nvme_fw_log {
	u8 afi;
	u8 reserved1[7];
	u8 frs[7][8];
	u8 reserved64[448];
} __packed;
static_assert(sizeof(struct nvme_fw_log) == 512, "firmware log size");

#endif
