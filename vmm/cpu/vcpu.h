/*
 * vcpu.h - a guest CPU as everything but vmm/svm and vmm/vmx sees it
 *
 * The vendor code owns the control block and the exit switch; it fills in the
 * neutral state below at each exit, calls vcpu_handle_*(), and loads the state
 * back before it enters the guest. Everything rarer goes through struct
 * vcpu_ops, bound once at boot. All of it belongs to the CPU it describes,
 * except where marked.
 */
#ifndef VMM_CPU_VCPU_H
#define VMM_CPU_VCPU_H

#include "base/field.h"
#include "base/types.h"

enum vcpu_gpr {
	GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP, GPR_RBP, GPR_RSI, GPR_RDI,
	GPR_COUNT = 16,
};

/* In the hardware's order, as enum decode_seg. */
enum vcpu_seg {
	SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR,
	SEG_COUNT,
};

struct vcpu_segment {
	u16 selector;
	u16 attr; /* descriptor bits 47:40 in 7:0, 55:52 in 11:8 */
	u32 limit;
	u64 base;
};

#define SEG_ATTR_L BIT(9)
#define SEG_ATTR_DB BIT(10)

enum vcpu_control {
	VCPU_CR0, VCPU_CR2, VCPU_CR3, VCPU_CR4, VCPU_EFER,
};

#define CR0_PE BIT64(0)
#define CR0_WP BIT64(16)
#define CR0_PG BIT64(31)
#define CR4_PSE BIT64(4)
#define CR4_PAE BIT64(5)
#define CR4_LA57 BIT64(12)
#define CR4_VMXE BIT64(13)
#define CR4_SMXE BIT64(14)
#define CR4_PCIDE BIT64(17)
#define CR4_OSXSAVE BIT64(18)
#define CR4_PKE BIT64(22)
#define CR4_CET BIT64(23)
#define EFER_SCE BIT64(0)
#define EFER_LME BIT64(8)
#define EFER_LMA BIT64(10)
#define EFER_NXE BIT64(11)
#define EFER_SVME BIT64(12)
#define RFLAGS_TF BIT64(8)
#define RFLAGS_IF BIT64(9)
#define RFLAGS_VM BIT64(17)

#define VEC_DB 1
#define VEC_NMI 2
#define VEC_UD 6
#define VEC_GP 13
#define VEC_PF 14

enum exit_reason {
	EXIT_NMI,
	EXIT_INTR,
	EXIT_SMI,
	EXIT_INIT,
	EXIT_CPUID,
	EXIT_HLT,
	EXIT_IO,
	EXIT_MSR,
	EXIT_NESTED_FAULT,
	EXIT_HYPERCALL,
	EXIT_IRET,
	EXIT_CONTROL, /* a control register, XCR0 */
	EXIT_TICK, /* a timer of the VMM's own */
	EXIT_FORBIDDEN, /* instructions of a virtualization that the guest does not have */
	EXIT_SHUTDOWN,
	EXIT_OTHER,
	EXIT_REASONS,
};

struct vcpu {
	u64 gpr[GPR_COUNT]; /* RSP and RAX too; first, for the entry code */
	u64 rip, rflags;
	u32 insn_bytes; /* of the instruction that exited, where it was one */
	u32 index; /* (c) */
	bool launched; /* (a) runs as a guest */
	bool in_guest; /* (a) has looked at npt_gen and is in, or about to enter, the guest */
	bool nmi_pending; /* an NMI for the guest waits */
	bool nmi_blocked; /* between its injection and the guest's IRET */
	bool tick; /* what the tick needs is switched on, on this CPU */
	/* AP capture, see apic.c */
	bool ap_parked; /* [ap_lock] INIT arrived and no SIPI since */
	bool ap_seen; /* (a) an OS's kernel runs here since its SIPI */
	u32 ap_init; /* (a) 1: enter wait-for-SIPI */
	u32 ap_sipi; /* (a) 0x100 | vector */
	u32 ap_nmi; /* (a) 1: the guest has sent it an NMI */
	u32 ldr, dfr; /* (a) the guest's logical APIC ID and its format */
	u64 npt_gen; /* (a) nested tables' generation that this CPU has flushed for */
};

/* The state a CPU came with, saved by entry.S; offsets are known there. */
struct entry_state {
	u64 rip, rsp, rflags;
	u64 rbx, rbp, r12, r13, r14, r15;
	u64 cr0, cr3, cr4;
	u16 es, cs, ss, ds, fs, gs, ldtr, tr;
	u16 pad0[3];
	u16 gdt_limit;
	u64 gdt_base;
	u16 pad1[3];
	u16 idt_limit;
	u64 idt_base;
} __aligned(16);

struct vcpu_io {
	u16 port;
	u8 bytes; /* 1, 2 or 4 */
	bool in, string, rep;
	u8 seg; /* of OUTS' source */
	u8 addr_bytes; /* of the string's pointer: 2, 4, 8 */
	u64 next_rip;
};

/* Host code in which an NMI must not be lost: when one is taken there, go on at @resume. */
struct vcpu_nmi_range {
	const char *first, *end, *resume;
};

struct npt_shape;

struct vcpu_ops {
	const char *name;
	/* How the nested tables must look; may lower the limit. After init(). */
	void (*nested_shape)(struct npt_shape *s);
	/* NMIs and SMIs that wait are taken now, in the host. */
	void (*window)(void);
	/* The same with interrupts on: at most one is taken, see cpu.intr_vector. */
	void (*window_intr)(void);
	/* Sleep until an NMI, unless one came that nobody has looked at. */
	void (*wait_nmi)(void);
	const struct vcpu_nmi_range *nmi_range;
	/* Boot CPU, once: what all CPUs share. 0 or a negative error. */
	int (*init)(void);
	/* This CPU: switch virtualization on, take over the live state. */
	int (*cpu_init)(struct vcpu *v, const struct entry_state *e);
	/* Run the guest; never returns. */
	__attribute__((noreturn)) void (*run)(struct vcpu *v);
	u64 (*get)(struct vcpu *v, enum vcpu_control what);
	void (*set)(struct vcpu *v, enum vcpu_control what, u64 value);
	void (*segment)(struct vcpu *v, enum vcpu_seg which, struct vcpu_segment *out);
	u32 (*cpl)(struct vcpu *v);
	/* An exception at the guest's next instruction. */
	void (*inject_exception)(struct vcpu *v, u8 vector, bool has_code, u32 code);
	/* Architectural state after INIT, start at @cs_base with @cs_selector and @rip. */
	void (*reset)(struct vcpu *v, u16 cs_selector, u64 cs_base, u64 rip);
	/* The instruction was emulated: RIP has moved, the interrupt shadow ends. */
	void (*skip)(struct vcpu *v, u64 next_rip);
	/* Shared by all CPUs, seen at each one's next entry. */
	void (*intercept_io)(u16 first, u32 count, bool on);
	void (*intercept_msr)(u32 msr, bool read, bool write);
	/* A dump for a panic. */
	void (*dump)(struct vcpu *v);
};

extern const struct vcpu_ops *vcpu_ops; /* (c) after boot */

/* What an exit handler tells the vendor's loop. */
enum vcpu_verdict {
	VCPU_NEXT, /* emulated: go on after the instruction (handler has skipped) */
	VCPU_AGAIN, /* state changed, RIP stands */
	VCPU_SHUTDOWN, /* as after a triple fault */
};

void vcpu_handle_cpuid(struct vcpu *v);
void vcpu_handle_msr(struct vcpu *v, bool write);
void vcpu_handle_io(struct vcpu *v, const struct vcpu_io *io);
enum vcpu_verdict vcpu_handle_nested_fault(struct vcpu *v, u64 gpa, bool write, bool fetch,
					   bool walk);
void vcpu_handle_hypercall(struct vcpu *v);
void vcpu_handle_nmi(struct vcpu *v);
s32 vcpu_handle_intr(struct vcpu *v); /* vector to inject, or -1 */
s32 vcpu_handle_hlt(struct vcpu *v); /* the same */
void vcpu_handle_tick(bool idle); /* the tick's own timer; @idle: the guest halts */
__attribute__((noreturn)) void vcpu_handle_shutdown(struct vcpu *v);
/* After each exit's own handling: NMIs taken meanwhile, INIT. */
void vcpu_after_exit(struct vcpu *v);
/* Before each entry: requests of other CPUs. Returns true when TLBs must go. */
bool vcpu_before_entry(struct vcpu *v);

/*
 * vcpu_tick_set() - the tick CPU (CPU 0) calls vmm_main_tick() regularly, or
 * does not. SVM intercepts INTR and HLT for it, VMX has a timer. Context: any
 * CPU, host.
 */
void vcpu_tick_set(bool on);
bool vcpu_tick_wanted(void);

#endif
