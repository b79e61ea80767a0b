/*
 * triple.c - a guest that shuts down by a triple fault
 *
 * The VMM must say where and in what state, and restart the machine.
 */
#include <efi.h>

#include "base/types.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table);

EFI_STATUS efi_main(EFI_HANDLE image __unused, EFI_SYSTEM_TABLE *table)
{
	static const struct {
		u16 limit;
		u64 base;
	} __packed none;

	table->ConOut->OutputString(table->ConOut, L"triple: no IDT, then UD2\r\n");
	__asm__ volatile("cli; lidt %0; mov $0x7472697031ull, %%rax; ud2" :: "m"(none) : "rax");
	return EFI_SUCCESS;
}
