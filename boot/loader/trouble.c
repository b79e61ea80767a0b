/*
 * trouble.c - the screen that says what is wrong, and the ways out
 *
 * Every failure ends here: a code that docs/messages.md lists, what it means,
 * what to do, and keys with a time-out. The default is a reboot, because a lab
 * PC in trouble usually has nobody in front of it and what was wrong (server,
 * switch, cable) may be right the next time. There is no way to the local OS
 * around Freshet: it would write to a disk that Freshet believes to own.
 *
 * While the VMM is in trouble it keeps trying by itself. The screen goes on
 * calling HC_STATUS, which advances it, and vanishes when the trouble does.
 */
#include "base/fmt.h"
#include "boot/loader/launch.h"
#include "boot/loader/loader.h"
#include "boot/loader/messages.h"

#define POLL_MS 20
#define OS_INDICATIONS_BOOT_TO_FW_UI 1ull /* [UEFI 2.10 §8.5.4] */

static EFI_GUID global_variable = EFI_GLOBAL_VARIABLE;

/** reboot() - a cold reset; does not return */
void reboot(void)
{
	con_print("\nrestarting\n");
	for (;;)
		RT->ResetSystem(EfiResetCold, EFI_SUCCESS, 0, NULL);
}

static bool setup_supported(void)
{
	u64 supported = 0;
	UINTN bytes = sizeof(supported);
	EFI_STATUS s = RT->GetVariable(L"OsIndicationsSupported", &global_variable, NULL, &bytes,
				       &supported);

	return !EFI_ERROR(s) && (supported & OS_INDICATIONS_BOOT_TO_FW_UI);
}

/* The firmware shows its setup at the next start. */
static void reboot_to_setup(void)
{
	u64 wanted = 0;
	UINTN bytes = sizeof(wanted);

	RT->GetVariable(L"OsIndications", &global_variable, NULL, &bytes, &wanted);
	wanted |= OS_INDICATIONS_BOOT_TO_FW_UI;
	RT->SetVariable(L"OsIndications", &global_variable,
			EFI_VARIABLE_NON_VOLATILE | EFI_VARIABLE_BOOTSERVICE_ACCESS |
				EFI_VARIABLE_RUNTIME_ACCESS,
			sizeof(wanted), &wanted);
	reboot();
}

static void show(struct loader *l, u32 code)
{
	const struct message *m = message_find(code);
	const u8 *u = l->status.uuid;

	con_print("\nFR-%02u  %s\n", code, m ? m->what : "An unknown trouble.");
	if (l->detail[0])
		con_print("       %s\n", l->detail);
	if (m)
		con_print("       %s\n", m->help);
	/* [SMBIOS 3.4 §7.2.1]: the first three fields are little-endian */
	if (code == FR_TICKET_REFUSED || code == FR_CREDENTIAL)
		con_print("       UUID %02x%02x%02x%02x-%02x%02x-%02x%02x-"
			  "%02x%02x-%02x%02x%02x%02x%02x%02x\n",
			  u[3], u[2], u[1], u[0], u[5], u[4], u[7], u[6], u[8], u[9], u[10], u[11],
			  u[12], u[13], u[14], u[15]);
}

/* True: the VMM got out of the trouble, or into another one, by itself. */
static bool changed(struct loader *l, u32 code)
{
	if (!l->running || code < FR_DISK_FOREIGN || hypercall(HC_STATUS, (u64)&l->status))
		return false;
	return l->status.state != HS_TROUBLE || l->status.code != code;
}

/**
 * trouble() - show @code and l->detail, wait for a decision
 * @ways: enum way bits that make sense; reboot and setup always do
 *
 * Return: the way chosen. WAY_RETRY also when the VMM's state changed meanwhile.
 */
enum way trouble(struct loader *l, u32 code, u32 ways)
{
	u32 left_ms = options_wait(&l->options) * 1000, shown = ~0u;
	bool setup = setup_supported();

	show(l, code);
	for (;;) {
		if (code >= FR_DISK_FOREIGN && l->running && l->status.can_boot_cache)
			ways |= WAY_CACHE;
		if (left_ms / 1000 != shown) {
			shown = left_ms / 1000;
			con_redraw("       %s%s%sEnter: restart (by itself in %u s) ",
				   ways & WAY_RETRY ? "R: retry  " : "",
				   ways & WAY_CACHE ? "B: boot cached  " : "",
				   setup ? "S: setup  " : "", shown);
		}
		switch (con_key()) {
		case 'r':
			if (ways & WAY_RETRY)
				return con_redraw_end(), WAY_RETRY;
			break;
		case 'b':
			if (ways & WAY_CACHE)
				return con_redraw_end(), WAY_CACHE;
			break;
		case 's':
			if (setup)
				reboot_to_setup();
			break;
		case '\r':
			reboot();
		}
		if (changed(l, code))
			return con_redraw_end(), WAY_RETRY;
		if (!left_ms)
			reboot();
		BS->Stall(LOADER_MS(POLL_MS));
		left_ms -= MIN(left_ms, (u32)POLL_MS);
	}
}
