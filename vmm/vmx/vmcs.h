/*
 * vmcs.h - Intel's virtual machine control structure [SDM 3 §25, appendices A to C]
 *
 * Included by vmm/vmx alone.
 */
#ifndef VMM_VMX_VMCS_H
#define VMM_VMX_VMCS_H

#include "base/field.h"
#include "base/types.h"

#define MSR_FEATURE_CONTROL 0x3au
#define  FEATURE_CONTROL_LOCK BIT64(0)
#define  FEATURE_CONTROL_VMXON BIT64(2) /* outside SMX */
#define MSR_VMX_BASIC 0x480u
#define  VMX_BASIC_REVISION GENMASK(30, 0)
#define  VMX_BASIC_INS_OUTS BIT64(54)
#define MSR_VMX_MISC 0x485u
#define  VMX_MISC_TIMER_SHIFT GENMASK(4, 0)
#define MSR_VMX_CR0_FIXED0 0x486u
#define MSR_VMX_CR4_FIXED0 0x488u
#define MSR_VMX_SECONDARY 0x48bu
#define MSR_VMX_EPT_VPID 0x48cu
#define  EPT_CAP_1G BIT64(17)
#define  EPT_CAP_INVEPT_SINGLE BIT64(25)
#define  EPT_CAP_INVVPID_SINGLE BIT64(41)
#define MSR_VMX_TRUE_PIN 0x48du
#define MSR_VMX_TRUE_PRIMARY 0x48eu
#define MSR_VMX_TRUE_EXIT 0x48fu
#define MSR_VMX_TRUE_ENTRY 0x490u
#define MSR_VMX_LAST 0x491u

/* Pin-based controls */
#define PIN_NMI BIT(3)
#define PIN_VIRTUAL_NMI BIT(5)
#define PIN_TIMER BIT(6)
/* Primary processor-based controls */
#define PRIMARY_HLT BIT(7)
#define PRIMARY_MWAIT BIT(10)
#define PRIMARY_TPR_SHADOW BIT(21)
#define PRIMARY_NMI_WINDOW BIT(22)
#define PRIMARY_IO_BITMAPS BIT(25)
#define PRIMARY_MSR_BITMAPS BIT(28)
#define PRIMARY_SECONDARY BIT(31)
/* Secondary processor-based controls */
#define SECONDARY_APIC_ACCESS BIT(0)
#define SECONDARY_EPT BIT(1)
#define SECONDARY_RDTSCP BIT(3)
#define SECONDARY_VPID BIT(5)
#define SECONDARY_UNRESTRICTED BIT(7)
#define SECONDARY_APIC_REGISTERS BIT(8)
#define SECONDARY_INVPCID BIT(12)
#define SECONDARY_XSAVES BIT(20)
#define SECONDARY_USER_WAIT BIT(26)
/* Exit controls */
#define EXITC_SAVE_DEBUG BIT(2)
#define EXITC_HOST_64 BIT(9)
#define EXITC_SAVE_PAT BIT(18)
#define EXITC_LOAD_PAT BIT(19)
#define EXITC_SAVE_EFER BIT(20)
#define EXITC_LOAD_EFER BIT(21)
/* Entry controls */
#define ENTRYC_LOAD_DEBUG BIT(2)
#define ENTRYC_IA32E BIT(9)
#define ENTRYC_LOAD_PAT BIT(14)
#define ENTRYC_LOAD_EFER BIT(15)

enum vmcs_field {
	VMCS_VPID = 0x0000,
	VMCS_GUEST_ES = 0x0800, /* selectors: ES, CS, SS, DS, FS, GS, LDTR, TR, two apart */
	VMCS_HOST_ES = 0x0c00,
	VMCS_HOST_CS = 0x0c02,
	VMCS_HOST_SS = 0x0c04,
	VMCS_HOST_DS = 0x0c06,
	VMCS_HOST_FS = 0x0c08,
	VMCS_HOST_GS = 0x0c0a,
	VMCS_HOST_TR = 0x0c0c,
	VMCS_IO_BITMAP_A = 0x2000,
	VMCS_IO_BITMAP_B = 0x2002,
	VMCS_MSR_BITMAP = 0x2004,
	VMCS_VIRTUAL_APIC = 0x2012,
	VMCS_APIC_ACCESS = 0x2014,
	VMCS_EPTP = 0x201a,
	VMCS_XSS_BITMAP = 0x202c,
	VMCS_GUEST_PHYSICAL = 0x2400,
	VMCS_LINK = 0x2800,
	VMCS_GUEST_DEBUGCTL = 0x2802,
	VMCS_GUEST_PAT = 0x2804,
	VMCS_GUEST_EFER = 0x2806,
	VMCS_GUEST_PDPTE0 = 0x280a, /* four, two apart */
	VMCS_HOST_PAT = 0x2c00,
	VMCS_HOST_EFER = 0x2c02,
	VMCS_PIN = 0x4000,
	VMCS_PRIMARY = 0x4002,
	VMCS_EXCEPTIONS = 0x4004,
	VMCS_PF_MASK = 0x4006,
	VMCS_PF_MATCH = 0x4008,
	VMCS_CR3_TARGETS = 0x400a,
	VMCS_EXIT_CONTROLS = 0x400c,
	VMCS_EXIT_MSR_STORE = 0x400e,
	VMCS_EXIT_MSR_LOAD = 0x4010,
	VMCS_ENTRY_CONTROLS = 0x4012,
	VMCS_ENTRY_MSR_LOAD = 0x4014,
	VMCS_ENTRY_EVENT = 0x4016,
	VMCS_ENTRY_CODE = 0x4018,
	VMCS_ENTRY_BYTES = 0x401a,
	VMCS_TPR_THRESHOLD = 0x401c,
	VMCS_SECONDARY = 0x401e,
	VMCS_ERROR = 0x4400,
	VMCS_EXIT_REASON = 0x4402,
	VMCS_EXIT_EVENT = 0x4404,
	VMCS_EXIT_CODE = 0x4406,
	VMCS_VECTORING = 0x4408,
	VMCS_VECTORING_CODE = 0x440a,
	VMCS_EXIT_BYTES = 0x440c,
	VMCS_EXIT_INSN = 0x440e,
	VMCS_GUEST_ES_LIMIT = 0x4800, /* in the order of the selectors */
	VMCS_GUEST_GDTR_LIMIT = 0x4810,
	VMCS_GUEST_IDTR_LIMIT = 0x4812,
	VMCS_GUEST_ES_AR = 0x4814, /* in the order of the selectors */
	VMCS_GUEST_BLOCKING = 0x4824, /* interruptibility state */
	VMCS_GUEST_ACTIVITY = 0x4826,
	VMCS_GUEST_SYSENTER_CS = 0x482a,
	VMCS_TIMER = 0x482e,
	VMCS_HOST_SYSENTER_CS = 0x4c00,
	VMCS_CR0_MASK = 0x6000,
	VMCS_CR4_MASK = 0x6002,
	VMCS_CR0_SHADOW = 0x6004,
	VMCS_CR4_SHADOW = 0x6006,
	VMCS_QUALIFICATION = 0x6400,
	VMCS_GUEST_LINEAR = 0x640a,
	VMCS_GUEST_CR0 = 0x6800,
	VMCS_GUEST_CR3 = 0x6802,
	VMCS_GUEST_CR4 = 0x6804,
	VMCS_GUEST_ES_BASE = 0x6806, /* in the order of the selectors */
	VMCS_GUEST_GDTR_BASE = 0x6816,
	VMCS_GUEST_IDTR_BASE = 0x6818,
	VMCS_GUEST_DR7 = 0x681a,
	VMCS_GUEST_RSP = 0x681c,
	VMCS_GUEST_RIP = 0x681e,
	VMCS_GUEST_RFLAGS = 0x6820,
	VMCS_GUEST_PENDING_DEBUG = 0x6822,
	VMCS_GUEST_SYSENTER_ESP = 0x6824,
	VMCS_GUEST_SYSENTER_EIP = 0x6826,
	VMCS_HOST_CR0 = 0x6c00,
	VMCS_HOST_CR3 = 0x6c02,
	VMCS_HOST_CR4 = 0x6c04,
	VMCS_HOST_FS_BASE = 0x6c06,
	VMCS_HOST_GS_BASE = 0x6c08,
	VMCS_HOST_TR_BASE = 0x6c0a,
	VMCS_HOST_GDTR_BASE = 0x6c0c,
	VMCS_HOST_IDTR_BASE = 0x6c0e,
	VMCS_HOST_SYSENTER_ESP = 0x6c10,
	VMCS_HOST_SYSENTER_EIP = 0x6c12,
	VMCS_HOST_RSP = 0x6c14,
	VMCS_HOST_RIP = 0x6c16,
};

/* Access rights: as descriptor bits 47:40 and 55:52, in 7:0 and 15:12 [SDM 3 §25.4.1] */
#define AR_LOW GENMASK(7, 0)
#define AR_HIGH GENMASK(15, 12)
#define AR_UNUSABLE BIT(16)

#define BLOCKING_STI BIT(0)
#define BLOCKING_MOV_SS BIT(1)
#define BLOCKING_SMI BIT(2)
#define BLOCKING_NMI BIT(3)

#define ACTIVITY_ACTIVE 0u
#define ACTIVITY_HLT 1u

#define PENDING_DEBUG_BS BIT64(14)

/* Events, of entries, exits and vectoring alike [SDM 3 §25.8.3, §25.9.2] */
#define EVENT_VECTOR GENMASK(7, 0)
#define EVENT_TYPE GENMASK(10, 8)
#define  EVENT_INTR 0u
#define  EVENT_NMI 2u
#define  EVENT_EXCEPTION 3u
#define  EVENT_SOFT_INTR 4u
#define  EVENT_ICEBP 5u
#define  EVENT_SOFT_EXCEPTION 6u
#define EVENT_CODE BIT(11)
#define EVENT_VALID BIT(31)

/* EPT pointer [SDM 3 §25.6.11] */
#define EPTP_WB 6u
#define EPTP_LEVELS_4 (3u << 3)

enum vmx_reason {
	VMX_EXCEPTION_NMI = 0,
	VMX_INTR = 1,
	VMX_TRIPLE_FAULT = 2,
	VMX_INIT = 3,
	VMX_SIPI = 4,
	VMX_NMI_WINDOW = 8,
	VMX_TASK_SWITCH = 9,
	VMX_CPUID = 10,
	VMX_GETSEC = 11,
	VMX_HLT = 12,
	VMX_INVD = 13,
	VMX_VMCALL = 18,
	VMX_VMXON = 27,
	VMX_CR = 28,
	VMX_IO = 30,
	VMX_RDMSR = 31,
	VMX_WRMSR = 32,
	VMX_MWAIT = 36,
	VMX_APIC_ACCESS = 44,
	VMX_EPT_VIOLATION = 48,
	VMX_EPT_MISCONFIG = 49,
	VMX_INVEPT = 50,
	VMX_TIMER = 52,
	VMX_INVVPID = 53,
	VMX_XSETBV = 55,
	VMX_APIC_WRITE = 56,
	VMX_VMFUNC = 59,
	VMX_ENTRY_FAILED = 0x80000000,
};

/* Qualification of an I/O exit [SDM 3 table 28-5] */
#define IOQ_BYTES GENMASK(2, 0) /* minus one */
#define IOQ_IN BIT64(3)
#define IOQ_STRING BIT64(4)
#define IOQ_REP BIT64(5)
#define IOQ_PORT GENMASK(31, 16)
/* Instruction information of INS and OUTS [SDM 3 table 28-9] */
#define IOI_ADDR GENMASK(9, 7)
#define IOI_SEG GENMASK(17, 15)

/* Qualification of a control register access [SDM 3 table 28-3] */
#define CRQ_NUMBER GENMASK(3, 0)
#define CRQ_TYPE GENMASK(5, 4)
#define  CRQ_TO 0u
#define CRQ_GPR GENMASK(11, 8)

/* Qualification of an EPT violation [SDM 3 table 28-7] */
#define EPTQ_WRITE BIT64(1)
#define EPTQ_FETCH BIT64(2)
#define EPTQ_LINEAR BIT64(7)
#define EPTQ_FINAL BIT64(8)
#define EPTQ_NMI_UNBLOCKED BIT64(12)

/* Qualification of a task switch [SDM 3 table 28-2] */
#define TSQ_SELECTOR GENMASK(15, 0)
#define TSQ_SOURCE GENMASK(31, 30)

static inline u64 vmcs_read(u32 field)
{
	u64 v;

	asm volatile("vmread %1, %0" : "=r"(v) : "r"((u64)field) : "cc");
	return v;
}

static inline void vmcs_write(u32 field, u64 v)
{
	asm volatile("vmwrite %0, %1" :: "r"(v), "r"((u64)field) : "cc", "memory");
}

static inline u32 vmcs_seg(u32 first, u32 seg)
{
	return first + 2 * seg;
}

#endif
