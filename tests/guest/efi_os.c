/*
 * efi_os.c - the smallest OS: leaves boot services, says so, powers off
 *
 * Built a second time with COMES_BACK: an OS loader that gives up.
 */
#include <efi.h>

#include "base/types.h"

#define COM1 0x3f8
#define Q35_PM1A_CNT 0x604
#define SLP_EN_S5 0x2000

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table);

#ifdef COMES_BACK
EFI_STATUS efi_main(EFI_HANDLE image __unused, EFI_SYSTEM_TABLE *table)
{
	table->ConOut->OutputString(table->ConOut, L"efi_os: started\r\n");
	return EFI_LOAD_ERROR;
}
#else
static void say(const char *text)
{
	for (; *text; text++)
		__asm__ volatile("outb %0, %w1" : : "a"(*text), "Nd"(COM1));
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table)
{
	static char map[65536];
	UINTN bytes = sizeof(map), key, step;
	UINT32 version;

	table->ConOut->OutputString(table->ConOut, L"efi_os: started\r\n");
	if (table->BootServices->GetMemoryMap(&bytes, (void *)map, &key, &step, &version) ||
	    table->BootServices->ExitBootServices(image, key))
		say("efi_os: failed\r\n");
	else
		say("efi_os: alone\r\n");
	__asm__ volatile("outw %0, %w1" : : "a"((u16)SLP_EN_S5), "Nd"(Q35_PM1A_CNT));
	for (;;)
		__asm__ volatile("hlt");
}
#endif
