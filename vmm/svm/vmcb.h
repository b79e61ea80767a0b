/*
 * vmcb.h - AMD's virtual machine control block [APM 2 appendix B]
 *
 * Included by vmm/svm alone.
 */
#ifndef VMM_SVM_VMCB_H
#define VMM_SVM_VMCB_H

#include "base/assert.h"
#include "base/field.h"
#include "base/types.h"

struct vmcb_seg {
	u16 selector;
	u16 attr;
	u32 limit;
	u64 base;
} __packed;

struct vmcb {
	/* Control area */
	u16 intercept_cr_read, intercept_cr_write; /* 000 */
	u16 intercept_dr_read, intercept_dr_write;
	u32 intercept_exceptions; /* 008 */
	u32 intercept1; /* 00c */
	u32 intercept2; /* 010 */
	u32 intercept3; /* 014 */
	u8 reserved0[0x40 - 0x18];
	u64 iopm_pa; /* 040 */
	u64 msrpm_pa; /* 048 */
	u64 tsc_offset; /* 050 */
	u32 asid; /* 058 */
	u8 tlb_control; /* 05c */
	u8 reserved1[3];
	u64 vintr; /* 060 */
	u64 int_state; /* 068 */
	u64 exit_code; /* 070 */
	u64 exit_info1; /* 078 */
	u64 exit_info2; /* 080 */
	u64 exit_int_info; /* 088 */
	u64 np_enable; /* 090 */
	u64 avic_bar; /* 098 */
	u64 ghcb; /* 0a0 */
	u64 event_inj; /* 0a8 */
	u64 n_cr3; /* 0b0 */
	u64 lbr_virt; /* 0b8 */
	u64 clean; /* 0c0 */
	u64 next_rip; /* 0c8 */
	u8 insn_count; /* 0d0 */
	u8 insn[15];
	u8 reserved2[0x400 - 0xe0];
	/* State save area */
	struct vmcb_seg es, cs, ss, ds, fs, gs; /* 400 */
	struct vmcb_seg gdtr, ldtr, idtr, tr; /* 460 */
	u8 reserved3[0x4cb - 0x4a0];
	u8 cpl; /* 4cb */
	u8 reserved4[4];
	u64 efer; /* 4d0 */
	u8 reserved5[0x548 - 0x4d8];
	u64 cr4, cr3, cr0; /* 548 */
	u64 dr7, dr6; /* 560 */
	u64 rflags, rip; /* 570 */
	u8 reserved6[0x5d8 - 0x580];
	u64 rsp; /* 5d8 */
	u64 s_cet, ssp, isst; /* 5e0 */
	u64 rax; /* 5f8 */
	u64 star, lstar, cstar, sfmask; /* 600 */
	u64 kernel_gs_base; /* 620 */
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 cr2; /* 640 */
	u8 reserved7[0x668 - 0x648];
	u64 g_pat; /* 668 */
	u64 debugctl; /* 670 */
	u8 reserved8[0x1000 - 0x678];
} __packed;

static_assert(sizeof(struct vmcb) == 4096, "vmcb");
static_assert(offsetof(struct vmcb, iopm_pa) == 0x40, "iopm_pa");
static_assert(offsetof(struct vmcb, asid) == 0x58, "asid");
static_assert(offsetof(struct vmcb, exit_code) == 0x70, "exit_code");
static_assert(offsetof(struct vmcb, np_enable) == 0x90, "np_enable");
static_assert(offsetof(struct vmcb, event_inj) == 0xa8, "event_inj");
static_assert(offsetof(struct vmcb, next_rip) == 0xc8, "next_rip");
static_assert(offsetof(struct vmcb, es) == 0x400, "es");
static_assert(offsetof(struct vmcb, gdtr) == 0x460, "gdtr");
static_assert(offsetof(struct vmcb, cpl) == 0x4cb, "cpl");
static_assert(offsetof(struct vmcb, efer) == 0x4d0, "efer");
static_assert(offsetof(struct vmcb, cr4) == 0x548, "cr4");
static_assert(offsetof(struct vmcb, rflags) == 0x570, "rflags");
static_assert(offsetof(struct vmcb, rsp) == 0x5d8, "rsp");
static_assert(offsetof(struct vmcb, rax) == 0x5f8, "rax");
static_assert(offsetof(struct vmcb, star) == 0x600, "star");
static_assert(offsetof(struct vmcb, cr2) == 0x640, "cr2");
static_assert(offsetof(struct vmcb, g_pat) == 0x668, "g_pat");

/* intercept1 */
#define I1_INTR BIT(0)
#define I1_NMI BIT(1)
#define I1_SMI BIT(2)
#define I1_INIT BIT(3)
#define I1_CPUID BIT(18)
#define I1_IRET BIT(20)
#define I1_HLT BIT(24)
#define I1_INVLPGA BIT(26)
#define I1_IOIO BIT(27)
#define I1_MSR BIT(28)
#define I1_SHUTDOWN BIT(31)
/* intercept2 */
#define I2_VMRUN BIT(0)
#define I2_VMMCALL BIT(1)
#define I2_VMLOAD BIT(2)
#define I2_VMSAVE BIT(3)
#define I2_STGI BIT(4)
#define I2_CLGI BIT(5)
#define I2_SKINIT BIT(6)

#define TLB_FLUSH_ALL 1u

#define INT_STATE_SHADOW BIT64(0)

#define EVENT_VECTOR GENMASK(7, 0)
#define EVENT_TYPE GENMASK(10, 8)
#define  EVENT_INTR 0u
#define  EVENT_NMI 2u
#define  EVENT_EXCEPTION 3u
#define  EVENT_SOFT 4u
#define EVENT_CODE_VALID BIT64(11)
#define EVENT_VALID BIT64(31)
#define EVENT_CODE GENMASK(63, 32)

#define VMEXIT_DB 0x41 /* an exception: 40h + vector */
#define VMEXIT_INTR 0x60
#define VMEXIT_NMI 0x61
#define VMEXIT_SMI 0x62
#define VMEXIT_INIT 0x63
#define VMEXIT_CPUID 0x72
#define VMEXIT_IRET 0x74
#define VMEXIT_HLT 0x78
#define VMEXIT_INVLPGA 0x7a
#define VMEXIT_IOIO 0x7b
#define VMEXIT_MSR 0x7c
#define VMEXIT_SHUTDOWN 0x7f
#define VMEXIT_VMRUN 0x80
#define VMEXIT_VMMCALL 0x81
#define VMEXIT_VMLOAD 0x82
#define VMEXIT_VMSAVE 0x83
#define VMEXIT_STGI 0x84
#define VMEXIT_CLGI 0x85
#define VMEXIT_SKINIT 0x86
#define VMEXIT_NPF 0x400
#define VMEXIT_INVALID 0xffffffffu /* low half: some write 32 bits only */

/* EXITINFO1 of IOIO [APM 2 §15.10.2] */
#define IOIO_IN BIT64(0)
#define IOIO_STRING BIT64(2)
#define IOIO_REP BIT64(3)
#define IOIO_BYTES GENMASK(6, 4)
#define IOIO_ADDR GENMASK(9, 7)
#define IOIO_SEG GENMASK(12, 10)
#define IOIO_PORT GENMASK(31, 16)

/* EXITINFO1 of NPF [APM 2 §15.25.6] */
#define NPF_WRITE BIT64(1)
#define NPF_FETCH BIT64(4)
#define NPF_WALK BIT64(33)

#endif
