/*
 * vmx_lock.c - a firmware that switches VT-x off: locks IA32_FEATURE_CONTROL
 *
 * Run before freshet.efi on a virtual Intel PC whose own firmware leaves the
 * register alone. Of the CPU it runs on; the others do not matter, as freshet.efi
 * looks at this one first.
 * Spec: [SDM 3 §24.7]
 */
#include <efi.h>

#include "base/types.h"

#define MSR_FEATURE_CONTROL 0x3au
#define FEATURE_CONTROL_LOCK BIT(0)

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table);

EFI_STATUS efi_main(EFI_HANDLE image __unused, EFI_SYSTEM_TABLE *table)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(MSR_FEATURE_CONTROL), "a"((u32)FEATURE_CONTROL_LOCK), "d"(0));
	table->ConOut->OutputString(table->ConOut, L"vmx_lock: locked off\r\n");
	return EFI_SUCCESS;
}
