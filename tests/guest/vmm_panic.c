/*
 * vmm_panic.c - an OS whose only wish is the VMM's end (mode test, AMD)
 */
#include <efi.h>

#include "base/types.h"
#include "boot/handoff.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table);

EFI_STATUS efi_main(EFI_HANDLE image __unused, EFI_SYSTEM_TABLE *table)
{
	static struct handoff_test t = { .op = HT_PANIC };
	s64 ret;

	table->ConOut->OutputString(table->ConOut, L"vmm_panic: now\r\n");
	__asm__ volatile("vmmcall"
			 : "=a"(ret)
			 : "a"((u64)(HC_MAGIC | HC_TEST)), "b"((u64)(UINTN)&t)
			 : "memory");
	table->ConOut->OutputString(table->ConOut, L"vmm_panic: refused\r\n");
	return EFI_ABORTED;
}
