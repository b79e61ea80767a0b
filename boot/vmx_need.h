/*
 * vmx_need.h - what Freshet needs of Intel's VMX, by name
 *
 * Loader and VMM ask the same list: the loader to tell the person at the PC,
 * the VMM because each CPU might differ. Bits are those of the capability
 * MSRs; of a control's MSR the upper half says what may be 1. The order
 * matters: the later MSRs exist when the earlier bits are set.
 *
 * Spec: [SDM 3 appendix A]
 */
#ifndef BOOT_VMX_NEED_H
#define BOOT_VMX_NEED_H

#include "base/field.h"
#include "base/types.h"

struct vmx_need {
	u32 msr;
	u32 bit;
	const char *name;
};

#define VMX_CONTROL(msr, bit, name) { msr, 32 + bit, name }

/* The first missing name, or NULL. */
static inline const char *vmx_missing(u64 (*read)(u32 msr))
{
	static const struct vmx_need needs[] = {
		{ 0x480, 55, "true controls" },
		VMX_CONTROL(0x48e, 31, "secondary controls"),
		VMX_CONTROL(0x48b, 1, "EPT"),
		VMX_CONTROL(0x48b, 7, "unrestricted guest"),
		VMX_CONTROL(0x48b, 5, "VPID"),
		VMX_CONTROL(0x48e, 25, "I/O bitmaps"),
		VMX_CONTROL(0x48e, 28, "MSR bitmaps"),
		VMX_CONTROL(0x48e, 22, "NMI-window exiting"),
		VMX_CONTROL(0x48d, 3, "NMI exiting"),
		VMX_CONTROL(0x48d, 5, "virtual NMIs"),
		VMX_CONTROL(0x48d, 6, "preemption timer"),
		VMX_CONTROL(0x48f, 9, "64-bit host"),
		VMX_CONTROL(0x48f, 18, "save PAT"),
		VMX_CONTROL(0x48f, 19, "load host's PAT"),
		VMX_CONTROL(0x48f, 20, "save EFER"),
		VMX_CONTROL(0x48f, 21, "load host's EFER"),
		VMX_CONTROL(0x490, 9, "IA-32e mode guest"),
		VMX_CONTROL(0x490, 14, "load PAT"),
		VMX_CONTROL(0x490, 15, "load EFER"),
		{ 0x48c, 6, "EPT with four levels" },
		{ 0x48c, 14, "write-back EPT tables" },
		{ 0x48c, 16, "EPT with 2 MiB pages" },
		{ 0x48c, 20, "INVEPT" },
		{ 0x48c, 32, "INVVPID" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(needs); i++)
		if (!(read(needs[i].msr) & BIT64(needs[i].bit)))
			return needs[i].name;
	return NULL;
}

#endif
