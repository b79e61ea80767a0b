/*
 * dump.c - exit reasons and errors in words, and the VMCS for a panic
 *
 * Spec: [SDM 3 appendix C, §31.4]
 */
#include "base/log.h"
#include "vmm/vmx/vmcs.h"
#include "vmm/vmx/vmx_priv.h"

#define LLU(x) ((unsigned long long)(x))

/** vmx_reason_name() - of a basic exit reason */
const char *vmx_reason_name(u32 reason)
{
	static const char *const names[] = {
		[0] = "exception or NMI", [1] = "external interrupt", [2] = "triple fault",
		[3] = "INIT", [4] = "SIPI", [5] = "I/O SMI", [6] = "SMI",
		[7] = "interrupt window", [8] = "NMI window", [9] = "task switch",
		[10] = "CPUID", [11] = "GETSEC", [12] = "HLT", [13] = "INVD", [14] = "INVLPG",
		[15] = "RDPMC", [16] = "RDTSC", [17] = "RSM", [18] = "VMCALL", [19] = "VMCLEAR",
		[20] = "VMLAUNCH", [21] = "VMPTRLD", [22] = "VMPTRST", [23] = "VMREAD",
		[24] = "VMRESUME", [25] = "VMWRITE", [26] = "VMXOFF", [27] = "VMXON",
		[28] = "control register", [29] = "debug register", [30] = "I/O",
		[31] = "RDMSR", [32] = "WRMSR", [33] = "entry failed: guest state",
		[34] = "entry failed: MSR list", [36] = "MWAIT", [37] = "monitor trap flag",
		[39] = "MONITOR", [40] = "PAUSE", [41] = "entry failed: machine check",
		[43] = "TPR below threshold", [44] = "APIC access", [45] = "virtualized EOI",
		[46] = "GDTR or IDTR", [47] = "LDTR or TR", [48] = "EPT violation",
		[49] = "EPT misconfiguration", [50] = "INVEPT", [51] = "RDTSCP",
		[52] = "preemption timer", [53] = "INVVPID", [54] = "WBINVD", [55] = "XSETBV",
		[56] = "APIC write", [57] = "RDRAND", [58] = "INVPCID", [59] = "VMFUNC",
		[60] = "ENCLS", [61] = "RDSEED", [62] = "page-modification log full",
		[63] = "XSAVES", [64] = "XRSTORS", [67] = "UMWAIT", [68] = "TPAUSE",
	};
	u32 basic = reason & 0xffff;

	return basic < ARRAY_SIZE(names) && names[basic] ? names[basic] : "?";
}

/** vmx_error_name() - of a VM-instruction error */
const char *vmx_error_name(u32 error)
{
	static const char *const names[] = {
		[1] = "VMCALL in root operation", [2] = "VMCLEAR with invalid address",
		[3] = "VMCLEAR with VMXON pointer", [4] = "VMLAUNCH with non-clear VMCS",
		[5] = "VMRESUME with non-launched VMCS", [6] = "VMRESUME after VMXOFF",
		[7] = "entry with invalid control fields", [8] = "entry with invalid host state",
		[9] = "VMPTRLD with invalid address", [10] = "VMPTRLD with VMXON pointer",
		[11] = "VMPTRLD with wrong revision", [12] = "unsupported VMCS component",
		[13] = "VMWRITE to read-only component", [15] = "VMXON in root operation",
		[16] = "entry with invalid executive VMCS",
		[17] = "entry with non-launched executive VMCS",
		[18] = "entry with executive VMCS not VMXON pointer",
		[19] = "VMCALL with non-clear VMCS", [20] = "VMCALL with invalid exit controls",
		[22] = "VMCALL with wrong MSEG revision",
		[23] = "VMXOFF under dual-monitor treatment",
		[24] = "VMCALL with invalid SMM features",
		[25] = "entry with invalid executive controls",
		[26] = "entry with events blocked by MOV SS",
		[28] = "invalid operand to INVEPT or INVVPID",
	};

	return error < ARRAY_SIZE(names) && names[error] ? names[error] : "?";
}

static void dump_segments(void)
{
	static const char names[SEG_COUNT][5] = { "es", "cs", "ss", "ds",
						  "fs", "gs", "ldtr", "tr" };
	u32 i;

	for (i = 0; i < SEG_COUNT; i++)
		log_err("vmx: %s=%llx ar=%llx limit=%llx base=%llx", names[i],
			LLU(vmcs_read(vmcs_seg(VMCS_GUEST_ES, i))),
			LLU(vmcs_read(vmcs_seg(VMCS_GUEST_ES_AR, i))),
			LLU(vmcs_read(vmcs_seg(VMCS_GUEST_ES_LIMIT, i))),
			LLU(vmcs_read(vmcs_seg(VMCS_GUEST_ES_BASE, i))));
}

/** vmx_dump() - for vcpu_ops; on the CPU itself */
void vmx_dump(struct vcpu *v)
{
	u32 reason = (u32)vmcs_read(VMCS_EXIT_REASON), error = (u32)vmcs_read(VMCS_ERROR);

	log_err("vmx: cpu %u exit=%x (%s) qualification=%llx gpa=%llx linear=%llx bytes=%llu",
		v->index, reason, vmx_reason_name(reason), LLU(vmcs_read(VMCS_QUALIFICATION)),
		LLU(vmcs_read(VMCS_GUEST_PHYSICAL)), LLU(vmcs_read(VMCS_GUEST_LINEAR)),
		LLU(vmcs_read(VMCS_EXIT_BYTES)));
	log_err("vmx: error=%u (%s) event=%llx vectoring=%llx next=%x", error,
		vmx_error_name(error), LLU(vmcs_read(VMCS_EXIT_EVENT)),
		LLU(vmcs_read(VMCS_VECTORING)), vmx_of(v)->event);
	log_err("vmx: rip=%llx rsp=%llx rflags=%llx rax=%llx", LLU(vmcs_read(VMCS_GUEST_RIP)),
		LLU(vmcs_read(VMCS_GUEST_RSP)), LLU(vmcs_read(VMCS_GUEST_RFLAGS)),
		LLU(v->gpr[GPR_RAX]));
	log_err("vmx: cr0=%llx shadow=%llx cr2=%llx cr3=%llx cr4=%llx shadow=%llx efer=%llx",
		LLU(vmcs_read(VMCS_GUEST_CR0)), LLU(vmcs_read(VMCS_CR0_SHADOW)), LLU(READ_CR(2)),
		LLU(vmcs_read(VMCS_GUEST_CR3)), LLU(vmcs_read(VMCS_GUEST_CR4)),
		LLU(vmcs_read(VMCS_CR4_SHADOW)), LLU(vmcs_read(VMCS_GUEST_EFER)));
	dump_segments();
	log_err("vmx: gdt=%llx/%llx idt=%llx/%llx blocking=%llx activity=%llx pending=%llx",
		LLU(vmcs_read(VMCS_GUEST_GDTR_BASE)), LLU(vmcs_read(VMCS_GUEST_GDTR_LIMIT)),
		LLU(vmcs_read(VMCS_GUEST_IDTR_BASE)), LLU(vmcs_read(VMCS_GUEST_IDTR_LIMIT)),
		LLU(vmcs_read(VMCS_GUEST_BLOCKING)), LLU(vmcs_read(VMCS_GUEST_ACTIVITY)),
		LLU(vmcs_read(VMCS_GUEST_PENDING_DEBUG)));
	log_err("vmx: pin=%llx primary=%llx secondary=%llx exit=%llx entry=%llx eptp=%llx",
		LLU(vmcs_read(VMCS_PIN)), LLU(vmcs_read(VMCS_PRIMARY)),
		LLU(vmcs_read(VMCS_SECONDARY)), LLU(vmcs_read(VMCS_EXIT_CONTROLS)),
		LLU(vmcs_read(VMCS_ENTRY_CONTROLS)), LLU(vmcs_read(VMCS_EPTP)));
}
